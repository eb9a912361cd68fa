"""How rows get out as frames: filters, names, and what was in force at a time.

Every read obeys the times of knowledge: with `as_of`, rows known at that time or later do not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data import clock, sql
from data.errors import NotFound, did_you_mean
from data.schema import Table
from data.symbols import unified

TIERS_AT = """
    WITH visible AS (
        SELECT * FROM tiers WHERE venue = ? AND symbol = ? AND known_at <= ? AND valid_from <= ?
    ), newest AS (
        SELECT valid_from, known_at FROM visible ORDER BY valid_from DESC, known_at DESC LIMIT 1
    )
    SELECT visible.* FROM visible SEMI JOIN newest USING (valid_from, known_at) ORDER BY floor
"""

INSTRUMENTS_AT = """
    SELECT * FROM instruments
    WHERE (CAST(? AS VARCHAR) IS NULL OR venue = ?) AND known_at <= ? AND valid_from <= ?
    QUALIFY row_number() OVER (PARTITION BY venue, symbol ORDER BY valid_from DESC, known_at DESC) = 1
    ORDER BY venue, symbol
"""


def filters(t: Table, venue: str | None, symbol: str | None, start: Any, end: Any, as_of: Any) -> tuple[str, list[Any]]:
    """A WHERE clause and its parameters; times are [start, end) on the table's own time."""
    clauses: list[str] = ["TRUE"]
    params: list[Any] = []
    for column, value in (("venue", venue), ("symbol", symbol)):
        if value is not None and column in t.names:
            clauses.append(f"{sql.name(column)} = ?")
            params.append(value)
    for compare, when in ((">=", start), ("<", end)):
        if when is not None:
            clauses.append(f"{sql.name(t.time)} {compare} ?")
            params.append(clock.naive(clock.moment(when)))
    if as_of is not None:
        clauses.append(f"{known(t)} {'<=' if t.name == 'candles' else '<'} ?")  # a bar is known at its close
        params.append(clock.naive(clock.moment(as_of)))
    return " AND ".join(clauses), params


def known(t: Table) -> str:
    """SQL of the time from which a row was known."""
    if t.has_known_at:
        return "known_at"
    if t.name == "candles":
        return "ts + to_microseconds(interval_s * 1000000)"
    return sql.name(t.time)


def resolve(stored: Sequence[tuple[str, str]], symbol: str, venue: str | None, name: str) -> tuple[str, str]:
    """The one stored (venue, symbol) that a user's word means."""
    venues = sorted({v for v, _ in stored})
    if venue is not None and venue not in venues:
        raise NotFound(f"{name}: nothing from venue {venue!r}; {did_you_mean(venue, venues)}")
    within = [(v, s) for v, s in stored if venue is None or v == venue]
    hits = [(v, s) for v, s in within if s == symbol] or [(v, s) for v, s in within if s == unified(symbol, v)]
    if not hits:
        place = f" from {venue}" if venue else ""
        raise NotFound(f"{name}: no {symbol!r}{place}; {did_you_mean(symbol, {s for _, s in within})}")
    if len(hits) > 1:
        raise NotFound(f"{symbol} is stored from {', '.join(sorted(v for v, _ in hits))}: say which venue")
    return hits[0]
