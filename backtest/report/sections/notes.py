"""What to mind: warnings, what was assumed, data that is missing, and every setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backtest.report import words
from backtest.report.parts import Notes, Section, Table
from backtest.report.subject import Subject

SHOWN = (
    ("open, high, low, close", "close"),
    ("volume", "volume"),
    ("mark price", "mark_close"),
    ("index price", "index"),
    ("premium index", "premium"),
    ("funding, last settled rate", "funding_8h"),
    ("open interest", "open_interest"),
    ("liquidations", "liq_long"),
    ("long/short ratio, accounts", "ratio_accounts"),
    ("taker ratio", "taker_ratio"),
    ("order book depth, 1 %", "bid_depth_1pct"),
)
SYMBOLS = 6  # with a column each


def section(subject: Subject) -> Section:
    result = subject.result
    warned = [*result.warnings, *(subject.market.warnings if subject.market is not None else ())]
    blocks: list[Any] = [
        Notes("Warnings", list(dict.fromkeys(warned)) or ["None."]),
        Notes("Assumptions", [_sentence(text) for text in result.assumptions] or ["None were noted."]),
    ]
    if result.band:
        other = ", ".join(f"{words.label(str(k))} {v}" for k, v in result.band.items())
        blocks.append(Notes("Other readings of the same bars", [other]))
    if subject.market is not None:
        blocks.append(_coverage(subject))
    blocks.append(_settings(subject))
    return Section("notes", "Warnings, assumptions, settings", blocks=blocks, short="Assumptions")


def _sentence(text: str) -> str:
    text = text.removeprefix("assumption: ")
    return text[:1].upper() + text[1:]


def _coverage(subject: Subject) -> Table:
    assert subject.market is not None
    cover, symbols = subject.market.coverage, subject.market.symbols
    shown = symbols if len(symbols) <= SYMBOLS else ()
    heads = ("Field", *(shown or ("Least of all", "Symbol")))
    rows = []
    for name, field in SHOWN:
        found = {s: cover.of(field, s) for s in symbols}
        if shown:
            rows.append((name, *(words.share(one.present, one.present + one.missing) for one in found.values())))
        else:
            least = min(found.values(), key=lambda one: one.share)
            rows.append((name, words.share(least.present, least.present + least.missing), least.symbol))
    settled = [words.share(s.settlements_found, s.settlements_expected) for s in cover.symbols]
    if shown:
        rows.append(("funding settlements", *settled))
    feeds = {s.symbol: s.liquidation_feed for s in cover.symbols if s.liquidation_feed}
    note = "; ".join(f"liquidations of {s}: {feed}" for s, feed in list(feeds.items())[:SYMBOLS])
    return Table("What the data covers", heads, rows, note=note)


def _settings(subject: Subject) -> Table:
    result = subject.result
    rows = [
        *((f"parameter {name}", _text(value)) for name, value in result.parameters.items()),
        *((f"account: {words.label(name)}", _text(value)) for name, value in result.account.items()),
        *((f"costs: {words.label(name)}", _text(value)) for name, value in result.costs.items()),
        ("rules of", result.venue),
        *((f"hash of {words.label(name)}", value[:12]) for name, value in _hashes(result.fingerprint).items()),
        ("fingerprint", result.fingerprint_id),
        *((f"version of {name}", str(value)) for name, value in dict(result.fingerprint.get("versions") or {}).items()),
    ]
    return Table("Every setting", ("", ""), rows, words=2, wraps=True, folded=True)


def _hashes(fingerprint: Mapping[str, Any]) -> dict[str, str]:
    return {k: v for k, v in fingerprint.items() if isinstance(v, str) and len(v) == 64}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{words.label(str(k))} {_text(v)}" for k, v in value.items())
    if value is None:
        return "as the venue has it"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(v) for v in value) or "none"
    return str(value)
