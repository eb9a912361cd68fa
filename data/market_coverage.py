"""How much of a market is really there: per field and symbol, settlements, marks, and what its liquidation feed is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data import clock
from data.align import CLIPPED, EXACT, STOOD_IN, Flags
from data.errors import NotFound, did_you_mean
from data.market_build import Laid
from data.market_input import FIELDS
from data.schema import Feed

if TYPE_CHECKING:
    import pandas as pd

FEED_WORDS = {
    Feed.COMPLETE: "complete",
    Feed.SAMPLED: "sampled: a lower bound",
    Feed.AGGREGATED: "aggregated by its source",
    Feed.UNKNOWN: "of unknown completeness: may be a lower bound",
}


@dataclass(frozen=True)
class FieldCoverage:
    """Bars of one field and symbol. `stale` ones are missing because the last value known had grown too old."""

    field: str
    symbol: str
    present: int
    missing: int
    stale: int

    @property
    def share(self) -> float:
        total = self.present + self.missing
        return self.present / total if total else 0.0


@dataclass(frozen=True)
class SymbolCoverage:
    symbol: str
    settlements_found: int
    settlements_expected: int
    marks_exact: int
    marks_clipped: int  # the trade price, held inside a coarser mark bar
    marks_stood_in: int  # the trade price
    liquidation_feed: str  # in words; empty: none
    bars_partial: int  # made of fewer finer bars than they should be


@dataclass(frozen=True)
class Coverage:
    fields: tuple[FieldCoverage, ...]
    symbols: tuple[SymbolCoverage, ...]

    def of(self, field: str, symbol: str | None = None) -> FieldCoverage:
        """One field of one symbol (of the first, if it is not named)."""
        for row in self.fields:
            if row.field == field and symbol in (None, row.symbol):
                return row
        raise NotFound(f"no coverage of {field} {symbol or ''}: {did_you_mean(field, FIELDS)}")

    def to_frame(self) -> pd.DataFrame:
        import pandas as pd

        rows = [(r.field, r.symbol, r.present, r.missing, r.stale, r.share) for r in self.fields]
        return pd.DataFrame(rows, columns=["field", "symbol", "present", "missing", "stale", "share"])


def coverage(laid: Laid) -> Coverage:
    k = len(laid.symbols)
    fields = []
    for name in FIELDS:
        there = _per_symbol(~np.isnan(laid.fields[name]), k) if name in laid.fields else [0] * k
        stale = _per_symbol(laid.stale[name], k) if name in laid.stale else [0] * k
        for j, symbol in enumerate(laid.symbols):
            fields.append(FieldCoverage(name, symbol, there[j], laid.grid.n - there[j], stale[j]))
    return Coverage(tuple(fields), tuple(_symbol(laid, j, symbol) for j, symbol in enumerate(laid.symbols)))


def _per_symbol(flags: Flags, k: int) -> list[int]:
    counts: Any = np.count_nonzero(flags.reshape(len(flags), k), axis=0)
    return [int(n) for n in counts]


def _symbol(laid: Laid, j: int, symbol: str) -> SymbolCoverage:
    found = int(np.count_nonzero(laid.settlements["symbol"] == j))
    lacking = int(np.count_nonzero(laid.lacking["symbol"] == j))
    marks = {EXACT: 0, CLIPPED: 0, STOOD_IN: 0}
    if "mark_close" in laid.fields:
        marked = ~np.isnan(laid.column(laid.fields["mark_close"], j))
        source = laid.column(laid.mark_source, j)
        marks = {code: int(np.count_nonzero(marked & (source == code))) for code in marks}
    feeds = "; ".join(dict.fromkeys(FEED_WORDS.get(Feed(f), f) for f in laid.feeds.get(symbol, ())))
    partial = 0 if laid.partial is None else int(np.count_nonzero(laid.column(laid.partial, j)))
    return SymbolCoverage(symbol, found, found + lacking, marks[EXACT], marks[CLIPPED], marks[STOOD_IN], feeds, partial)


def warnings(laid: Laid, covered: Coverage) -> list[str]:
    """What a reader of results should know about the data, in sentences; first of all, what has no candles at all."""
    span = f"{clock.iso(laid.grid.start)} and {clock.iso(laid.grid.end)}"
    bare = [s for j, s in enumerate(laid.symbols) if not laid.column(laid.present, j).any()]
    notes = [*(f"no candle of {symbol} lies between {span}" for symbol in bare), *laid.notes]
    for j, one in enumerate(covered.symbols):
        about = _about(laid, covered, j, one)
        notes += [f"{one.symbol}: {text}" if len(covered.symbols) > 1 else text for text in about]
    return notes


def _about(laid: Laid, covered: Coverage, j: int, one: SymbolCoverage) -> list[str]:
    n, notes = laid.grid.n, []
    absent = n - int(np.count_nonzero(laid.column(laid.present, j)))
    if 0 < absent < n:
        notes.append(f"{absent:,} of {n:,} bars are missing: nothing trades in them")
    if one.bars_partial:
        notes.append(f"{one.bars_partial:,} of {n:,} bars are made of fewer bars than they should be")
    if one.marks_stood_in:
        notes.append(f"marks stood in by trades in {one.marks_stood_in:,} of {n:,} bars")
    if one.marks_clipped:
        notes.append(f"marks made from trades inside coarser mark bars in {one.marks_clipped:,} of {n:,} bars")
    gap = one.settlements_expected - one.settlements_found
    if gap:
        first = clock.iso(int(laid.lacking["ts"][laid.lacking["symbol"] == j][0]))
        notes.append(f"{gap:,} of {one.settlements_expected:,} settlements are missing, the first at {first}")
    notes += [
        f"{row.field} is missing in {row.stale:,} of {n:,} bars because the last value known was stale"
        for row in covered.fields
        if row.symbol == one.symbol and row.stale
    ]
    if one.liquidation_feed and one.liquidation_feed != FEED_WORDS[Feed.COMPLETE]:
        notes.append(f"liquidation feed is {one.liquidation_feed}")
    if outside := len(laid.outside.get(one.symbol, ())):
        notes.append(f"{outside:,} liquidation rows lie outside what their feed covers and are left out")
    return notes
