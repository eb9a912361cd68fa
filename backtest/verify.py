"""`unwind verify`: worked cases of real venues and of statistics, run through the program's own functions.

    load(path)      cases of a JSON file {"cases": [...]}; without a path, those of venues that come with the program
    load_statistics()  those of statistics
    check(case)     one outcome: pass, fail, or unsupported with the reason
    table(outcomes) rows to print

A case names a venue, a kind (`KINDS`), inputs, and the values it expects, each compared within its tolerance. Margins
and liquidation prices come from `backtest.margin`, which the loops call; what the loops do not need, from
`backtest.rules`. A case of statistics has no venue, see `backtest.worked_statistics`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from backtest import worked_margin, worked_rules, worked_statistics
from backtest.worked import Case, Underdetermined, checked, normal, sensible
from data.errors import BadInput

Status = Literal["pass", "fail", "unsupported"]

PACKAGED, PACKAGED_STATISTICS = "worked_cases.json", "worked_statistics.json"
KINDS: dict[str, Callable[[Case], dict[str, Any]]] = {**worked_margin.KINDS, **worked_rules.KINDS}
ROUNDING = 4e-16  # of the expected value: what one rounding of it may be off, beyond any tolerance
DEFAULT_RELATIVE = 1e-9
CURRENCIES = ("btc", "xbt", "eth", "usdc", "usdt", "usd", "coin")
SAME = {
    "liquidationprice": "liqprice",
    "lp": "liqprice",
    "liq": "liqprice",
    "bustprice": "bankruptcyprice",
    "bp": "bankruptcyprice",
    "mm": "maintenancemargin",
    "im": "initialmargin",
    "unrealized": "unrealised",
    "unrealizedpnl": "unrealised",
    "unrealisedpnl": "unrealised",
    "pnl": "unrealised",
    "realized": "realised",
    "realizedpnl": "realised",
    "realisedpnl": "realised",
    "fee": "fees",
    "cums": "cum",
    "positionvalue": "notional",
    "value": "notional",
    "liquidatable": "liquidated",
    "liquidation": "liquidated",
    "trigger": "triggered",
    "adltriggered": "triggered",
    "starts": "triggered",
    "stops": "stopped",
}


@dataclass(frozen=True)
class Outcome:
    """A worked case, what its source says, what our functions say, and whether the two agree."""

    id: str
    venue: str
    kind: str
    expected: Mapping[str, Any]
    ours: Mapping[str, Any]
    error: float | None  # the largest of all numbers; None where nothing is a number
    status: Status
    reason: str
    source: str = ""


def load(path: Path | None = None, packaged: str = PACKAGED) -> list[Case]:
    """Cases of a file; a mistake in it is said in one line."""
    where = packaged if path is None else str(path)
    try:
        text = _packaged(packaged) if path is None else path.read_text(encoding="utf-8")
        raw = json.loads(text)
    except UnicodeDecodeError:
        raise BadInput(f"{where}: not a text file in UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadInput(f"{where}: not JSON: {error.msg} in line {error.lineno}") from None
    except RecursionError:
        raise BadInput(f"{where}: nested too deep to be a file of cases") from None
    listed = raw.get("cases") if isinstance(raw, dict) else raw
    if not isinstance(listed, list) or not listed:
        raise BadInput(f'{where}: no cases; write {{"cases": [{{"id": ..., "kind": ..., ...}}]}}')
    return [_checked(one, number, where) for number, one in enumerate(listed, start=1)]


def _checked(one: Any, number: int, where: str) -> Case:
    if worked_statistics.is_statistic(one):
        return worked_statistics.as_case(one, number, where)
    return checked(one, number, where)


def load_statistics() -> list[Case]:
    """The cases of statistics that come with the program."""
    return load(packaged=PACKAGED_STATISTICS)


def _packaged(name: str) -> str:
    return resources.files("backtest").joinpath(name).read_text(encoding="utf-8")


Kinds = Mapping[str, Callable[[Case], dict[str, Any]]]


def run(cases: Iterable[Case], more: Kinds | None = None) -> list[Outcome]:
    """Check each case, in their order."""
    return [check(case, more) for case in cases]


def check(case: Case, more: Kinds | None = None) -> Outcome:
    """What our functions say of a case. `more`: kinds that this package cannot know of."""
    statistic = case.venue == worked_statistics.STATISTICS
    known: Kinds = {**worked_statistics.KINDS, **(more or {})} if statistic else KINDS
    kind = known.get(case.kind)
    if kind is None:
        return _outcome(case, {}, None, "unsupported", f"no kind {case.kind!r}; there is: {', '.join(sorted(known))}")
    try:
        if not statistic:
            sensible(case)
        with np.errstate(all="ignore"):
            values = kind(case)
    except Underdetermined as lacking:
        return _outcome(case, {}, None, "unsupported", str(lacking))
    except (ZeroDivisionError, OverflowError) as error:
        return _outcome(case, {}, None, "fail", f"its numbers have no answer: {error}")
    except (TypeError, ValueError, LookupError) as error:
        return _outcome(case, {}, None, "unsupported", f"its inputs cannot be read: {error}")
    return _compare(case, values)


def _compare(case: Case, values: Mapping[str, Any]) -> Outcome:
    known = {_key(name): value for name, value in values.items()}
    ours: dict[str, Any] = {}
    unknown, wrong, errors = [], [], []
    for name, expected in case.expected.items():
        if _key(name) not in known:
            unknown.append(name)
            continue
        ours[name] = known[_key(name)]
        error, agrees = difference(ours[name], expected, *_tolerance(case, name))
        errors += [error] if error is not None else []
        wrong += [] if agrees else [name]
    largest = max(errors) if errors else None
    if wrong:
        said = "; ".join(f"{name} is {_short(ours[name])}, not {_short(case.expected[name])}" for name in wrong)
        return _outcome(case, ours, largest, "fail", said)
    if unknown:
        return _outcome(case, ours, largest, "unsupported", f"no rule here gives {', '.join(unknown)} of these inputs")
    return _outcome(case, ours, largest, "pass", "")


def _outcome(case: Case, ours: Mapping[str, Any], error: float | None, status: Status, reason: str) -> Outcome:
    return Outcome(case.id, case.venue, case.kind, case.expected, ours, error, status, reason, case.source)


def _key(name: str) -> str:
    """One name for a value: without currency, and the same for both spellings."""
    words = [word for word in name.lower().split("_") if word not in CURRENCIES]
    plain = normal("".join(words))
    return SAME.get(plain, plain)


def _tolerance(case: Case, name: str) -> tuple[float, float]:
    """Absolute and relative; what is not said is 0, and where nothing is said 1e-9 of the value."""
    own = case.tolerance.get(name)
    said = own if isinstance(own, dict) else case.tolerance
    numbers = {key: float(v) for key, v in said.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    if "abs" not in numbers and "rel" not in numbers:
        return 0.0, DEFAULT_RELATIVE
    return numbers.get("abs", 0.0), numbers.get("rel", 0.0)


def difference(ours: Any, expected: Any, absolute: float, relative: float) -> tuple[float | None, bool]:
    """The largest error of numbers, and whether everything agrees."""
    if isinstance(expected, Mapping):
        return _of_mappings(ours, expected, absolute, relative)
    if isinstance(expected, list | tuple):
        same = isinstance(ours, list | tuple) and len(ours) == len(expected)
        return _all(
            [difference(o, e, absolute, relative) for o, e in zip(ours, expected, strict=True)] if same else [], same
        )
    if isinstance(expected, bool) or isinstance(ours, bool):
        return None, ours is expected
    if isinstance(expected, int | float) and isinstance(ours, int | float):
        error = 0.0 if ours == expected else abs(ours - expected)
        return error, error <= max(absolute, relative * abs(expected)) + ROUNDING * abs(expected)
    if isinstance(expected, str) and isinstance(ours, str):
        return None, ours.strip().lower() == expected.strip().lower()
    return None, ours is None and expected is None


def _of_mappings(ours: Any, expected: Mapping[str, Any], absolute: float, relative: float) -> tuple[float | None, bool]:
    if not isinstance(ours, Mapping):
        return None, False
    mine = {str(name): value for name, value in ours.items()}
    theirs = {str(name): value for name, value in expected.items()}
    names = sorted(mine.keys() | theirs.keys())
    return _all([difference(mine.get(n, 0.0), theirs.get(n, 0.0), absolute, relative) for n in names], True)


def _all(parts: Sequence[tuple[float | None, bool]], same: bool) -> tuple[float | None, bool]:
    errors = [error for error, _ in parts if error is not None]
    return (max(errors) if errors else None), same and all(agrees for _, agrees in parts)


# --- to print ------------------------------------------------------------------------------------------------------


def table(outcomes: Iterable[Outcome]) -> list[dict[str, object]]:
    """Rows by venue and kind."""
    ordered = sorted(outcomes, key=lambda o: (o.venue, o.kind))
    return [
        {
            "venue": o.venue,
            "kind": o.kind,
            "case": o.id,
            "expected": _short(o.expected),
            "ours": _short(o.ours) if o.ours else None,
            "error": o.error,
            "": o.status if not o.reason else f"{o.status}: {o.reason}",
            "source": o.source,
        }
        for o in ordered
    ]


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many agree, in one line."""
    counts = Counter(o.status for o in outcomes)
    words: dict[Status, str] = {"pass": "agree", "fail": "DO NOT AGREE", "unsupported": "unsupported"}
    said = [f"{counts[status]} {word}" for status, word in words.items() if counts[status] or status == "pass"]
    return f"{len(outcomes)} worked cases: {', '.join(said)}."


def as_json(outcomes: Iterable[Outcome]) -> dict[str, list[dict[str, Any]]]:
    """What `unwind verify --json` prints."""
    fields = ("id", "venue", "kind", "expected", "ours", "error", "status", "reason")
    return {"cases": [{name: getattr(o, name) for name in fields} for o in outcomes]}


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_short(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        shown = ", ".join(_short(item) for item in value[:3])
        return f"[{shown}{', ...' if len(value) > 3 else ''}]"
    if isinstance(value, float):
        return f"{value:,.10g}" if math.isfinite(value) else str(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
