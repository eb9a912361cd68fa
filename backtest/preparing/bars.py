"""Bars without holes: views of the market's own arrays where they are whole, else copies with the holes filled.

1. Prices of bars that traded are finite and above zero, or refused by name and time.
2. A bar without a mark is marked at its trade price; a bar that is missing stands at the last mark, one before the
   first at the first.
3. High and low contain open and close, else they are widened, and counted.
4. Behind the last bar of a delisted symbol nothing trades.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.jit import jit_alone
from backtest.prepare import Bars, Flags, Floats, Ints
from data import clock
from data.errors import BadInput

if TYPE_CHECKING:
    from data.market import Market

TRADE = ("open", "high", "low", "close")
MARK = ("mark_open", "mark_high", "mark_low", "mark_close")
FAR = 10.0  # an open or close so many times beyond its bar's own high or low is a mistake, no wick
Four = tuple[Floats, Floats, Floats, Floats]  # open, high, low, close

FIRST, LAST, OUTSIDE, GAP, GAP_END, UNMARKED = range(6)  # columns of what a survey counts


def bars_of(market: Market, last_bar: Ints, what: str = "") -> tuple[Bars, list[str]]:
    """All bars of a market, and what a reader has to know of them. `what` says in messages which market it is."""
    trade, mark, present = _four(market, TRADE), _four(market, MARK), two(market.present, market)
    same = all(m.ctypes.data == t.ctypes.data for m, t in zip(mark, trade, strict=True))
    if (last_bar >= 0).any():
        present, same = _until(present, last_bar), False
    traded = _surveyed(market, trade, present, TRADE, what)
    marked = traded if same else _surveyed(market, mark, present, MARK, what)
    notes = _notes(market, traded, marked, last_bar, same, what)
    whole = bool(present.all()) and not marked[:, UNMARKED].any()
    if not (whole and not traded[:, OUTSIDE].any() and not marked[:, OUTSIDE].any()):
        filled = _like(trade)
        filled_marks = filled if same else _like(mark)
        fill(trade, mark, present, filled, filled_marks)
        trade, mark = filled, filled_marks
    return Bars(*[frozen(a) for a in (*trade, *mark, present)]), notes


def _four(market: Market, names: Sequence[str]) -> Four:
    o, h, lo, c = columns(market, names)
    return o, h, lo, c


def _like(four: Four) -> Four:
    o, h, lo, c = (np.empty_like(a) for a in four)
    return o, h, lo, c


def columns(market: Market, names: Sequence[str]) -> list[Floats]:
    return [two(getattr(market, name), market) for name in names]


def two(array: npt.NDArray[Any], market: Market) -> npt.NDArray[Any]:
    """(n, k), whether there is one symbol or many."""
    return array.reshape(len(market), len(market.symbols))


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Read-only, like the market's own arrays: the loops are compiled for one kind only."""
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array


def _until(present: Flags, last_bar: Ints) -> Flags:
    present = present.copy()
    for j in np.flatnonzero(last_bar >= 0):
        present[last_bar[j] + 1 :, j] = False
    return frozen(present)


def _surveyed(market: Market, prices: Four, present: Flags, names: Sequence[str], what: str) -> Ints:
    found = np.zeros((len(market.symbols), 6), dtype=np.int64)
    bar, at, field = survey(prices, present, names is MARK, found)
    if bar >= 0:
        where, when = market.symbols[at], clock.iso(market.start + bar * market.interval)
        value, high, low = (float(prices[f][bar, at]) for f in (field, 1, 2))
        rule = "prices are above zero and finite"
        if 0.0 < value < np.inf:
            rule = f"that is no price of a bar from {low:g} to {high:g}"
        raise BadInput(
            f"{what}{where}: {names[field]} is {value:g} at {when}: {rule}. Correct the bar, or leave it out"
        )
    for j in np.flatnonzero(found[:, FIRST] < 0):
        raise BadInput(f"{what}{market.symbols[j]} has no bar in this market: leave it out, or widen the range")
    return found


def _notes(market: Market, traded: Ints, marked: Ints, last_bar: Ints, same: bool, what: str) -> list[str]:
    notes, interval = [], market.interval
    for j, symbol in enumerate(market.symbols):
        _, last, outside, gap, gap_end, _ = (int(v) for v in traded[j])
        if gap:
            start = clock.iso(market.start + (gap_end - gap) * interval)
            length = clock.label(gap * interval)
            notes.append(f"{symbol}: the longest gap is {length} from {start}: positions are held through it")
        if outside:
            notes.append(f"{symbol}: {outside:,} bars did not contain their own open and close; they were widened")
        if not same and (wide := int(marked[j, OUTSIDE])):
            notes.append(f"{symbol}: {wide:,} mark bars did not contain their own open and close; they were widened")
        if bare := int(marked[j, UNMARKED]):
            notes.append(f"{symbol}: {bare:,} bars have no mark; the trade price stands in")
        if last < len(market) - 1 and last_bar[j] < 0:
            when = clock.iso(market.start + (last + 1) * interval)
            notes.append(
                f"{symbol}: no bars from {when} on, and no delisting is known: positions stand at the last mark"
            )
    return [what + note for note in notes]


@jit_alone
def survey(prices: Four, present: Flags, marks: bool, found: Ints) -> tuple[int, int, int]:
    """Counts of each symbol into `found`; the first price that cannot be (bar, symbol, field), or -1."""
    open_, high, low, close = prices
    n, k = close.shape
    found[:, :] = 0
    found[:, FIRST:OUTSIDE] = -1
    for i in range(n):
        for j in range(k):
            o, h, lo, c = open_[i, j], high[i, j], low[i, j], close[i, j]
            there = present[i, j]
            if marks and np.isnan(o + h + lo + c):
                found[j, UNMARKED] += there
            elif marks or there:
                if not (o > 0.0 and h > 0.0 and lo > 0.0 and c > 0.0 and o + h + lo + c < np.inf):
                    for field, price in enumerate((o, h, lo, c)):
                        if not 0.0 < price < np.inf:
                            return i, j, field
                if h < max(o, c) or lo > min(o, c):
                    for field, price in ((0, o), (3, c)):
                        if price > FAR * h or price * FAR < lo:
                            return i, j, field
                    found[j, OUTSIDE] += 1
            if there:
                gap = i - 1 - found[j, LAST]
                if found[j, FIRST] < 0:
                    found[j, FIRST] = i
                elif gap > found[j, GAP]:
                    found[j, GAP], found[j, GAP_END] = gap, i
                found[j, LAST] = i
    return -1, -1, -1


@jit_alone
def fill(trade: Four, mark: Four, present: Flags, to_trade: Four, to_mark: Four) -> None:
    """The bars with the holes filled. The marks may be written where the trades are, if they are the same."""
    open_, high, low, close = trade
    mark_open, mark_high, mark_low, mark_close = mark
    to_open, to_high, to_low, to_close = to_trade
    to_mark_open, to_mark_high, to_mark_low, to_mark_close = to_mark
    n, k = close.shape
    last = np.full(k, np.nan)
    for j in range(k):
        for i in range(n):
            known = mark_open[i, j] if mark_open[i, j] > 0.0 else open_[i, j]
            if known > 0.0:
                last[j] = known
                break
    for i in range(n):
        for j in range(k):
            o, h, lo, c = mark_open[i, j], mark_high[i, j], mark_low[i, j], mark_close[i, j]
            if np.isnan(o + h + lo + c):
                o = h = lo = c = last[j]
                if present[i, j]:
                    o, h, lo, c = open_[i, j], high[i, j], low[i, j], close[i, j]
            to_open[i, j] = to_high[i, j] = to_low[i, j] = to_close[i, j] = last[j]
            if present[i, j]:
                to_open[i, j], to_close[i, j] = open_[i, j], close[i, j]
                to_high[i, j] = max(open_[i, j], high[i, j], close[i, j])
                to_low[i, j] = min(open_[i, j], low[i, j], close[i, j])
            to_mark_open[i, j], to_mark_close[i, j] = o, c
            to_mark_high[i, j], to_mark_low[i, j] = max(o, h, c), min(o, lo, c)
            last[j] = c


@jit_alone
def sizes(values: Floats) -> tuple[int, int, bool]:
    """The first size (volume, depth) that is negative or infinite, as bar and symbol or -1; and whether any is NaN."""
    lacking = False
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            if values[i, j] < 0.0 or values[i, j] == np.inf:
                return i, j, lacking
            lacking = lacking or np.isnan(values[i, j])
    return -1, -1, lacking
