"""Numbers as a reader wants them: a true minus, few digits, units."""

from __future__ import annotations

import math

NOTHING = "\u2013"  # an en dash where there is no number


def minus(number: str) -> str:
    return number.replace("-", "\u2212")


def percent(x: float, digits: int = 2, *, sign: bool = True) -> str:
    if not math.isfinite(x):
        return NOTHING if math.isnan(x) else ("+" if x > 0 else "\u2212") + "\u221e"
    if abs(x) >= 100.0:
        return "more than 9,999%" if x > 0.0 else "less than \u22129,999%"
    text = f"{x:+.{digits}%}" if sign else f"{x:.{digits}%}"
    return minus(_unsigned_zero(text))


def amount(x: float, digits: int = 2, *, sign: bool = False) -> str:
    if not math.isfinite(x):
        return NOTHING
    if abs(x) >= 100_000.0:
        return big(x, sign=sign)
    return minus(_unsigned_zero(f"{x:+,.{digits}f}" if sign else f"{x:,.{digits}f}"))


def big(x: float, *, sign: bool = False) -> str:
    """1.23M; below a thousand, whole."""
    if not math.isfinite(x):
        return NOTHING
    plus = "+" if sign else ""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return minus(f"{x / size:{plus},.2f}{letter}")
    return minus(_unsigned_zero(f"{x:{plus},.0f}"))


def plain(x: float, digits: int = 2) -> str:
    if math.isnan(x):
        return NOTHING
    if math.isinf(x):
        return "\u221e" if x > 0 else "\u2212\u221e"
    return minus(_unsigned_zero(f"{x:,.{digits}f}"))


def cents(start: float) -> int:
    """Decimals of money: two, more for an account that is small, such as one in coin."""
    return 2 if start >= 100.0 else 4 if start >= 1.0 else 6


def price(x: float) -> str:
    return NOTHING if not math.isfinite(x) else f"{x:,.8g}" if abs(x) >= 1.0 else f"{x:.6g}"


def share(found: float, whole: float) -> str:
    """Rounded down: what is not whole never reads 100 %."""
    if whole <= 0:
        return NOTHING
    return f"{math.floor(found * 10_000 / whole) / 10_000:.2%}"


def times(n: int, word: str, many: str = "") -> str:
    """1 trade, 2 trades."""
    return f"{n:,} {word if n == 1 else many or word + 's'}"


def often(n: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(n, f"{n:,} times")


SAID = {"sharpe": "Sharpe ratio", "sortino": "Sortino ratio", "calmar": "Calmar ratio", "var_95": "VaR 95%",
        "es_95": "expected shortfall 95%", "oi": "open interest"}  # fmt: skip


def label(name: str) -> str:
    """A name of the code as words."""
    return SAID.get(name, name.replace("_", " "))


def heading(name: str) -> str:
    """The same, where a line begins."""
    said = label(name)
    return said[:1].upper() + said[1:]


def multiple(x: float) -> str:
    """Exposure: +2.00x of equity."""
    return minus(_unsigned_zero(f"{x:+.2f}")) + "x" if math.isfinite(x) else NOTHING


def tone(x: float, better: int = 1) -> str:
    """good, bad, or neither."""
    signed = x * better
    return "good" if signed > 0.0 else "bad" if signed < 0.0 else ""


def listed(names: list[str] | tuple[str, ...], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _unsigned_zero(text: str) -> str:
    """-0.00 is 0.00."""
    return text.lstrip("+-") if text.strip("+-0.,%") == "" else text
