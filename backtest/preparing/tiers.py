"""Maintenance brackets laid on bars: which table of each symbol holds from which bar on.

1. The market's own, dated: a table holds from the first bar whose open is at or after both its date and the time it
   was known. A table never gives way to one of an earlier date that became known later.
2. Before the first of them, that one, with a warning: a venue's present table may be for another contract.
3. Without any, the venue's built-in table, with a warning that says its date; without that none, with a warning.
Spot has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from backtest.prepare import SPOT, TIER_ROW, TIER_TABLE, Ints
from backtest.preparing.bars import frozen
from backtest.venue import Venue
from data import clock
from data.errors import BadInput

if TYPE_CHECKING:
    from data.market import Market

Rows = npt.NDArray[np.void]
NAMES = ("floor", "cap", "mmr", "max_leverage", "cum")


def tiers_of(market: Market, venue: Venue, kind: Ints) -> tuple[Rows, Rows, list[str]]:
    """Rows, tables, and what a reader has to know of them."""
    rows: list[Rows] = []
    tables: list[tuple[int, int, int, int]] = []
    notes: list[str] = []
    for j, symbol in enumerate(market.symbols):
        for bar, table in _tables(market, venue, j, bool(kind[j] == SPOT), notes):
            _check(symbol, table)
            tables.append((j, bar, sum(map(len, rows)), len(table)))
            rows.append(table)
    every = np.concatenate([*rows, np.zeros(0, TIER_ROW)])
    if venue.tier_rule == "whole":
        every["cum"] = 0.0
    every["max_leverage"] = np.where(np.isnan(every["max_leverage"]), np.inf, every["max_leverage"])
    return frozen(every), frozen(np.array(tables, dtype=TIER_TABLE)), notes


def _tables(market: Market, venue: Venue, j: int, spot: bool, notes: list[str]) -> list[tuple[int, Rows]]:
    symbol, own = market.symbols[j], market.tiers[market.tiers["symbol"] == j]
    if spot:
        return [(0, np.zeros(0, TIER_ROW))]
    if not len(own):
        notes.append(_built_in(symbol, venue))
        return [(0, _rows((t.floor, t.cap, t.mmr, t.max_leverage, t.cum) for t in venue.tiers_for(symbol)))]
    dated = in_force(own, market.start, market.interval, len(market))
    days = ", ".join(clock.iso(valid)[:10] for _, valid, _ in dated[:3]) + (" ..." if len(dated) > 3 else "")
    notes.append(f"maintenance: {symbol}: brackets of {days}")
    if dated[0][0] > 0:
        since = clock.iso(max(dated[0][1:]))
        notes.append(f"{symbol}: no brackets are known before {since}: those are used from the first bar on")
    return [(0 if not at else bar, _picked(own, valid, known)) for at, (bar, valid, known) in enumerate(dated)]


def in_force(own: Rows, start: int, step: int, n: int) -> list[tuple[int, int, int]]:
    """(bar, valid_from, known_at) of each table that comes into force before bar n; at least the earliest one."""
    versions = sorted(
        {(max(v, k), v, k) for v, k in zip(own["valid_from"].tolist(), own["known_at"].tolist(), strict=True)}
    )
    found: list[tuple[int, int, int]] = []
    for since, valid, known in versions:
        bar = max(0, -((start - since) // step))
        if found and (bar >= n or (valid, known) < found[-1][1:]):
            continue
        if found and found[-1][0] == bar:
            found.pop()
        found.append((bar, valid, known))
    return found


def _picked(own: Rows, valid: int, known: int) -> Rows:
    rows = own[(own["valid_from"] == valid) & (own["known_at"] == known)]
    out = np.zeros(len(rows), TIER_ROW)
    for name in NAMES:
        out[name] = rows[name]
    return np.sort(out, order="floor")


def _rows(brackets: Iterable[tuple[float, ...]]) -> Rows:
    return np.array(list(brackets), dtype=TIER_ROW)


def _built_in(symbol: str, venue: Venue) -> str:
    if not venue.tiers_for(symbol):
        return f"{symbol}: no maintenance brackets are known: it is liquidated only when its margin is gone"
    date = f"as of {venue.tiers_as_of}" if venue.tiers_as_of else "without a date"
    whose = "its own" if venue.knows(symbol) else "those for symbols without their own"
    return f"{symbol}: the market holds no brackets: {whose} in the profile {venue.name} are used throughout, {date}"


def _check(symbol: str, table: Rows) -> None:
    for at, row in enumerate(table):
        below = float(table[at - 1]["cap"]) if at else 0.0
        if not math.isclose(row["floor"], below, rel_tol=1e-9) or not row["cap"] > row["floor"]:
            raise BadInput(
                f"{symbol}: bracket {at + 1} goes from {row['floor']:g} to {row['cap']:g}: it begins at {below:g}"
            )
        if not 0.0 <= row["mmr"] < 1.0:
            raise BadInput(
                f"{symbol}: bracket {at + 1} has a maintenance rate of {row['mmr']:g}: it is a fraction below 1"
            )
