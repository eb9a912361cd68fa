"""A market as a notebook shows it: one heading and its coverage, in the colours of the page around it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from data import clock
from data.market_input import FIELDS

if TYPE_CHECKING:
    from data.market import Market

_CELL = 'style="text-align:{0};padding:1px 10px 1px 0;border:0;background:transparent;color:inherit"'
_LEFT, _RIGHT = _CELL.format("left"), _CELL.format("right")
_BOX = "color:inherit;background:transparent;font-size:0.92em;line-height:1.35"
_TRACK = "display:inline-block;width:72px;height:7px;border:1px solid currentColor;border-radius:2px;opacity:.65"
_SHOWN = 5


def page(market: Market) -> str:
    symbols = ", ".join(market.symbols[:_SHOWN])
    if len(market.symbols) > _SHOWN:
        symbols += f" and {len(market.symbols) - _SHOWN} more"
    span = f"{clock.iso(market.start)} to {clock.iso(market.end)} UTC"
    facts = f"{market.interval_label} · {span} · {len(market):,} bars · hash {market.hash[:12]}"
    head = f"<div><strong>{escape(symbols)}</strong> on {escape(market.venue)}</div><div>{escape(facts)}</div>"
    return f'<div style="{_BOX}">{head}{_table(market)}{_notes(market)}</div>'


def _table(market: Market) -> str:
    heads = "".join(
        f"<th {_LEFT if j in (0, 1, 5) else _RIGHT}>{name}</th>"
        for j, name in enumerate(("field", "coverage", "present", "missing", "stale", "what it is"))
    )
    body = "".join(_row(market, name) for name in market.held)
    absent = [name for name in FIELDS if name not in market.held]
    rest = f'<div style="opacity:.7">not there: {escape(", ".join(absent))}</div>' if absent else ""
    return f'<table style="border-collapse:collapse;margin:4px 0;{_BOX}"><tr>{heads}</tr>{body}</table>{rest}'


def _row(market: Market, name: str) -> str:
    rows = [r for r in market.coverage.fields if r.field == name]
    present, missing, stale = (sum(getattr(r, what) for r in rows) for what in ("present", "missing", "stale"))
    share = present / (present + missing) if rows and present + missing else 0.0
    fill = f"width:{100 * share:.4g}%;height:100%;background:currentColor"
    percent = "100 %" if missing == 0 and present else f"{min(100 * share, 99.99):.2f} %"
    bar = f'<span style="{_TRACK}"><span style="display:block;{fill}"></span></span> {percent}'
    counts = "".join(f"<td {_RIGHT}>{n:,}</td>" for n in (present, missing, stale))
    return (
        f"<tr><td {_LEFT}>{escape(name)}</td><td {_LEFT}>{bar}</td>{counts}<td {_LEFT}>{escape(FIELDS[name])}</td></tr>"
    )


def _notes(market: Market) -> str:
    found = sum(s.settlements_found for s in market.coverage.symbols)
    expected = sum(s.settlements_expected for s in market.coverage.symbols)
    lines = [f"settlements: {found:,} of {expected:,} expected"] if expected else []
    lines += market.warnings
    shown = "".join(f"<li>{escape(line)}</li>" for line in lines[: 4 * _SHOWN])
    more = f"<li>and {len(lines) - 4 * _SHOWN} more in market.warnings</li>" if len(lines) > 4 * _SHOWN else ""
    return f'<ul style="margin:4px 0;padding-left:1.2em">{shown}{more}</ul>' if lines else ""
