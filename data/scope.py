"""Which venues and symbols a question is about, as SQL.

A user writes BTCUSDT or BTC/USDT:USDT; `scope` finds what is stored under either, or says what there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data import sql
from data.errors import NotFound, did_you_mean
from data.schema import TABLES
from data.symbols import unified

if TYPE_CHECKING:
    from data.store import Store

ANY = "*"  # in `gaps`: every symbol of the venue

_NAMED = tuple(t.name for t in TABLES.values() if {"venue", "symbol"} <= set(t.key))


@dataclass(frozen=True)
class Scope:
    """One venue or all, some unified symbols or all."""

    venue: str | None = None
    symbols: tuple[str, ...] = ()

    def where(self, venue: str = "venue", symbol: str | None = "symbol", also: Sequence[str] = ()) -> str:
        """A condition on two columns; `also` are symbols that always count, None a table without symbols."""
        clauses = [f"{venue} = {sql.text(self.venue)}"] if self.venue is not None else []
        if self.symbols:
            clauses.append(_within(symbol, (*self.symbols, *also)))
        return " AND ".join(clauses) or "TRUE"


def _within(symbol: str | None, names: Sequence[str]) -> str:
    return "FALSE" if symbol is None else f"{symbol} IN ({', '.join(map(sql.text, names))})"


def scope(store: Store, venue: str | None = None, symbol: str | None = None) -> Scope:
    """The stored venue and symbols that a user's words mean."""
    if venue is None and symbol is None:
        return Scope()
    pairs = stored_pairs(store)
    if not pairs:
        return Scope(venue)
    venues = {v for v, _ in pairs}
    if venue is not None and venue not in venues:
        raise NotFound(f"nothing is stored from venue {venue!r}; {did_you_mean(venue, venues)}")
    if symbol is None:
        return Scope(venue)
    within = [(v, s) for v, s in pairs if venue in (None, v)]
    found = {s for v, s in within if s in (symbol, unified(symbol, v))}
    if not found:
        place = f" from {venue}" if venue else ""
        raise NotFound(f"no {symbol!r} is stored{place}; {did_you_mean(symbol, {s for _, s in within})}")
    return Scope(venue, tuple(sorted(found)))


def stored_pairs(store: Store) -> list[tuple[str, str]]:
    """Every (venue, symbol) of any table."""
    parts = " UNION ".join(f"SELECT DISTINCT venue, symbol FROM {sql.name(n)}" for n in _NAMED)
    return [(row["venue"], row["symbol"]) for row in store.query(f"{parts} ORDER BY ALL").to_pylist()]
