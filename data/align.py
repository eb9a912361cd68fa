"""Laying facts on a grid of bars, each from the moment it was known. Pure functions on numpy arrays.

The decision clock: bar i covers [start + i*step, start + (i+1)*step). A decision at its close sees what was known
*strictly before* the close, so a row becomes visible in bar floor((known_at - start) / step), rows from before the
grid in bar 0.

1. `visible`: of the rows in order of `known_at`, those that are not older than what was seen already. A late row
   about an earlier time never replaces a newer one; a later version of the same time does. O(n + m).
2. `fill` lays their values on the bars; `expiry` ends each after two of its own intervals (it is then stale, NaN).
3. `bin_sum` adds events up in the bar in which they became known; `covered` tells silence from absence.
4. `mark_bars` makes the mark from trade bars and whatever mark bars there are; `aggregate` makes bars coarser;
   `ends` takes closes of bars that end with ours.
5. `missing_settlements` lists the funding settlements that should be there.

Candles are the one exception to "strictly": bar i itself is known at its close.
All times are int64 nanoseconds since 1970, UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data import clock
from data.errors import BadInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Codes = NDArray[np.uint8]

SNAP = 60 * clock.SECOND  # a settlement's stamp this near to a whole hour means that hour
STOOD_IN, CLIPPED, EXACT = 0, 1, 2  # what a mark price is made of


class Grid(NamedTuple):
    """n bars of `step` nanoseconds, the first of which opens at `start`."""

    start: int
    step: int
    n: int

    @property
    def end(self) -> int:
        return self.start + self.n * self.step

    def opens(self) -> Ints:
        return np.arange(self.start, self.end, self.step, dtype=np.int64)

    def bar(self, times: Ints) -> Ints:
        """The bar that contains each time; below 0 or from n on: outside."""
        return (times - self.start) // self.step

    def cut(self, first: int, stop: int) -> Grid:
        return Grid(self.start + first * self.step, self.step, stop - first)


def grid_of(interval: int, start: int, end: int) -> Grid:
    """The bars of one interval that lie wholly inside [start, end)."""
    first, stop = clock.ceil(start, interval), clock.floor(end, interval)
    if stop <= first:
        span = f"{clock.iso(start)} to {clock.iso(end)}"
        raise BadInput(f"no whole {clock.label(interval)} bar fits into {span}: widen the range")
    return Grid(first, interval, (stop - first) // interval)


@dataclass(frozen=True)
class Bars:
    """Bars of one series and one interval, stamped at their open, in any order."""

    interval: int
    ts: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats | None = None
    quote_volume: Floats | None = None
    taker_buy_volume: Floats | None = None

    @property
    def ohlc(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.open, self.high, self.low, self.close

    @property
    def priced(self) -> Flags:
        return ~np.isnan(self.open + self.high + self.low + self.close)

    def take(self, rows: NDArray[np.generic]) -> Bars:
        def some(a: Floats | None) -> Floats | None:
            return None if a is None else a[rows]

        o, h, lo, c = (a[rows] for a in self.ohlc)
        sizes = (some(self.volume), some(self.quote_volume), some(self.taker_buy_volume))
        return Bars(self.interval, self.ts[rows], o, h, lo, c, *sizes)


# ---- as of -------------------------------------------------------------------------------------


class Runs(NamedTuple):
    """Which row is in sight from which bar on: `rows[j]` from bar `first[j]` to bar `first[j + 1]`."""

    rows: Ints
    first: Ints


def ascending(a: Ints) -> bool:
    return bool(np.all(a[1:] >= a[:-1]))


def visible(grid: Grid, known_at: Ints, ts: Ints) -> Runs:
    """The row with the greatest `ts` (then the greatest `known_at`) among those known before each close."""
    order: Ints | None = None
    if not (ascending(known_at) and ascending(ts)):
        order = np.lexsort((ts, known_at))
        known_at, ts = known_at[order], ts[order]
        rows = np.flatnonzero(ts >= np.maximum.accumulate(ts))
    else:
        rows = np.arange(len(ts))
    first = np.maximum(grid.bar(known_at[rows]), 0)
    stop = int(np.searchsorted(first, grid.n))
    rows, first = rows[:stop], first[:stop]
    last_of_bar = np.ones(stop, dtype=bool)
    last_of_bar[:-1] = first[1:] != first[:-1]
    rows, first = rows[last_of_bar], first[last_of_bar]
    return Runs(rows if order is None else order[rows], first)


def as_of(grid: Grid, known_at: Ints, ts: Ints) -> Ints:
    """For each bar the row in sight at its close, or -1."""
    runs = visible(grid, known_at, ts)
    edges = np.append(runs.first, grid.n)
    before = np.full(int(edges[0]), -1, dtype=np.int64)
    return np.concatenate([before, np.repeat(runs.rows, np.diff(edges))])


def expiry(grid: Grid, known_at: Ints, ts: Ints, interval: Ints | int) -> Ints:
    """The first bar at whose close each row is stale: older than two intervals (at least two bars) and its lag."""
    lasts = np.maximum(2 * np.asarray(interval, dtype=np.int64), 2 * grid.step)
    return grid.bar(known_at + lasts)


def fill(grid: Grid, runs: Runs, values: Floats, expires: Ints) -> tuple[Floats, Flags | None]:
    """Values on bars, and where they are missing because the last one known was stale (None: nowhere)."""
    starts = runs.first
    stops = np.append(starts[1:], grid.n)
    live = np.clip(expires[runs.rows], starts, stops)
    picked = values[runs.rows]
    lead = int(starts[0]) if len(starts) else grid.n
    pieces, lengths = np.full(2 * len(starts) + 1, np.nan), np.empty(2 * len(starts) + 1, np.int64)
    pieces[1::2] = picked
    lengths[0], lengths[1::2], lengths[2::2] = lead, live - starts, stops - live
    laid = np.repeat(pieces, lengths)
    if not np.any(lengths[2::2]):
        return laid, None
    dead = np.zeros(len(lengths), dtype=bool)
    dead[2::2] = True
    return laid, np.repeat(dead, lengths)


def as_of_values(
    grid: Grid, known_at: Ints, ts: Ints, interval: Ints | int, values: Floats
) -> tuple[Floats, Flags | None]:
    """`visible`, `expiry` and `fill` in one. A row without a value says nothing and is passed over."""
    said = ~np.isnan(values)
    if not said.all():
        known_at, ts, values = known_at[said], ts[said], values[said]
        interval = interval[said] if isinstance(interval, np.ndarray) else interval
    runs = visible(grid, known_at, ts)
    return fill(grid, runs, values, expiry(grid, known_at, ts, interval))


# ---- events and coverage -----------------------------------------------------------------------


def bin_sum(grid: Grid, known_at: Ints, values: Floats) -> Floats:
    """Events added up in the bar in which they became known; 0 where there were none."""
    bars = grid.bar(known_at)
    inside = (bars >= 0) & (bars < grid.n)
    if not inside.all():
        bars, values = bars[inside], values[inside]
    return np.bincount(bars, weights=values, minlength=grid.n).astype(np.float64, copy=False)


def first_versions(known_at: Ints, ts: Ints) -> Ints:
    """The row of each time that was known first: a sum that was once shown is not revised."""
    if np.all(ts[1:] > ts[:-1]):
        return np.arange(len(ts))
    order = np.lexsort((known_at, ts))
    fresh = np.ones(len(ts), dtype=bool)
    fresh[1:] = np.diff(ts[order]) != 0
    return np.asarray(order[fresh])


def last_versions(known_at: Ints, ts: Ints) -> Ints:
    """The row of each time that was known last, in order of time."""
    if np.all(ts[1:] > ts[:-1]):
        return np.arange(len(ts))
    order = np.lexsort((known_at, ts))
    final = np.ones(len(ts), dtype=bool)
    final[:-1] = np.diff(ts[order]) != 0
    return np.asarray(order[final])


def covered(
    grid: Grid,
    spans: Iterable[tuple[int, int]],
    gaps: Iterable[tuple[int, ...]] = (),
    lag: int = 0,
) -> Flags:
    """The bars that lie wholly inside what a feed covers and touch none of its gaps.

    Spans and gaps are (from, to) in the feed's own time, whose rows are known `lag` later. A gap may name a third time,
    from which it was known: bars that closed before that are left as they looked.
    """
    seen = np.zeros(grid.n, dtype=bool)
    for start, end in _merged(spans):
        first = -((grid.start - start - lag) // grid.step)
        seen[max(first, 0) : max((end + lag - grid.start) // grid.step, 0)] = True
    for gap in gaps:
        first = (gap[0] + lag - grid.start) // grid.step
        if len(gap) > 2:
            first = max(first, (gap[2] - grid.start) // grid.step)
        seen[max(first, 0) : max(-((grid.start - gap[1] - lag) // grid.step), 0)] = False
    return seen


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that touch or overlap, joined: a bar across midnight is covered by two daily files."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted((int(a), int(b)) for a, b in spans if b > a):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


# ---- bars on bars ------------------------------------------------------------------------------


def aggregate(bars: Bars, step: int) -> tuple[Bars, Ints]:
    """Coarser bars from finer ones, and of how many each is made. Bars without prices are passed over."""
    if step % bars.interval:
        fine, coarse = clock.label(bars.interval), clock.label(step)
        raise BadInput(f"{fine} bars do not add up to {coarse}: choose a multiple of {fine}")
    if not (priced := bars.priced).all():
        bars = bars.take(priced)
    if not ascending(bars.ts):
        bars = bars.take(np.argsort(bars.ts, kind="stable"))
    if len(bars.ts) == 0:
        return replace(bars, interval=step), np.zeros(0, np.int64)
    opens = _floor(bars.ts, step)
    edges = np.flatnonzero(np.concatenate([[True], opens[1:] != opens[:-1]]))
    count = np.diff(np.append(edges, len(opens)))

    def total(a: Floats | None) -> Floats | None:
        return None if a is None else np.add.reduceat(a, edges)

    coarser = Bars(
        step,
        opens[edges],
        bars.open[edges],
        np.maximum.reduceat(bars.high, edges),
        np.minimum.reduceat(bars.low, edges),
        bars.close[edges + count - 1],
        volume=total(bars.volume),
        quote_volume=total(bars.quote_volume),
        taker_buy_volume=total(bars.taker_buy_volume),
    )
    return coarser, count


def _floor(ts: Ints, interval: int) -> Ints:
    origin = clock.floor(0, interval)
    return (ts - origin) // interval * interval + origin


def ends(grid: Grid, bars: Bars) -> Floats:
    """Closes of bars that end when ours do; for bars of our interval or finer."""
    laid = np.full(grid.n, np.nan)
    end = bars.ts + bars.interval - grid.start
    at = end // grid.step - 1
    good = (end % grid.step == 0) & (at >= 0) & (at < grid.n)
    laid[at[good]] = bars.close[good]
    return laid


def mark_bars(
    grid: Grid, trade: Sequence[Floats], marks: Iterable[Bars]
) -> tuple[tuple[Floats, Floats, Floats, Floats], Codes]:
    """Mark open, high, low and close, and of what each bar is made.

    1. The trade price stands in (source 0).
    2. From the coarsest mark bars to the finest that are coarser than ours: each of the four trade prices is clipped
       into the [low, high] of the mark bar around it (source 1). Such a price knows the range of a bar that has not
       ended: it is for the engine, never for a signal.
    3. Mark bars of our interval, or whole sets of finer ones, replace it (source 2).
    """
    o, h, lo, c = (np.array(price, dtype=np.float64) for price in trade)
    made, source = (o, h, lo, c), np.zeros(grid.n, dtype=np.uint8)
    for bars in sorted(marks, key=lambda b: -b.interval):
        if bars.interval > grid.step and bars.interval % grid.step == 0:
            _clip(grid, trade, bars, made, source)
    for bars in sorted(marks, key=lambda b: b.interval):
        if grid.step % bars.interval == 0:
            _replace(grid, bars, made, source)
    return made, source


def _clip(grid: Grid, trade: Sequence[Floats], bars: Bars, made: Sequence[Floats], source: Codes) -> None:
    around = clock.floor(grid.start, bars.interval)
    ratio = bars.interval // grid.step
    skip = (grid.start - around) // grid.step
    coarse = Grid(around, bars.interval, -(-(skip + grid.n) // ratio))
    at = coarse.bar(bars.ts)
    good = (at >= 0) & (at < coarse.n) & (bars.low <= bars.high)
    if not good.any():
        return
    _on_grid(bars, coarse)
    low, high = np.full(coarse.n, np.nan), np.full(coarse.n, np.nan)
    low[at[good]], high[at[good]] = bars.low[good], bars.high[good]
    low = np.repeat(low, ratio)[skip : skip + grid.n]
    high = np.repeat(high, ratio)[skip : skip + grid.n]
    held = ~np.isnan(low)
    every = bool(held.all())
    for price, out in zip(trade, made, strict=True):
        if every:
            np.clip(price, low, high, out=out)
        else:
            out[held] = np.clip(price[held], low[held], high[held])
    source[held & ~np.isnan(made[3])] = CLIPPED


def _replace(grid: Grid, bars: Bars, made: Sequence[Floats], source: Codes) -> None:
    if bars.interval < grid.step:
        coarser, count = aggregate(bars, grid.step)
        bars = coarser.take(np.flatnonzero(count == grid.step // bars.interval))
    at = grid.bar(bars.ts)
    good = (at >= 0) & (at < grid.n) & bars.priced
    if not good.any():
        return
    _on_grid(bars, grid)
    rows = slice(None) if good.all() else good
    at = at[rows]
    for price, out in zip(bars.ohlc, made, strict=True):
        out[at] = price[rows]
    source[at] = EXACT


def _on_grid(bars: Bars, grid: Grid) -> None:
    off = np.flatnonzero((bars.ts - grid.start) % grid.step)
    if len(off):
        where, length = clock.iso(int(bars.ts[off[0]])), clock.label(bars.interval)
        raise BadInput(f"a {length} bar opens at {where}, which is no multiple of {length}")


# ---- funding -----------------------------------------------------------------------------------


def snapped(ts: Ints) -> Ints:
    """Settlement stamps within 60 s of a whole hour, moved to it."""
    hour = (ts + clock.HOUR // 2) // clock.HOUR * clock.HOUR
    return np.where(np.abs(ts - hour) <= SNAP, hour, ts)


def spacing_hours(ts: Ints) -> Floats:
    """Hours since the settlement before, of sorted settlements; the first is unknown.

    A gap that no venue uses (16 h: one is missing) takes the interval before it.
    """
    hours = np.full(len(ts), np.nan)
    hours[1:] = np.diff(ts) / clock.HOUR
    usual = np.isin(hours, (1.0, 2.0, 4.0, 8.0))
    last = np.maximum.accumulate(np.where(usual, np.arange(len(ts)), -1))
    return np.where(last >= 0, hours[last], np.nan)


def missing_settlements(ts: Ints, interval_hours: Floats, start: int, end: int) -> Ints:
    """Times in [start, end) at which a settlement should be and is not, told by the intervals of those found."""
    step = np.rint(np.nan_to_num(interval_hours) * clock.HOUR).astype(np.int64)
    lacking: list[Ints] = []
    if len(ts) and step[0] > 0:
        lacking.append(np.arange(ts[0] - step[0], start - 1, -step[0], dtype=np.int64))
    if len(ts) and step[-1] > 0:
        lacking.append(np.arange(ts[-1] + step[-1], end, step[-1], dtype=np.int64))
    known = np.flatnonzero(step[1:] > 0) + 1
    absent = np.rint((ts[known] - ts[known - 1]) / step[known]).astype(np.int64) - 1
    for j, many in zip(known[absent > 0], absent[absent > 0], strict=True):
        lacking.append(ts[j] - step[j] * np.arange(1, many + 1, dtype=np.int64))
    times = np.sort(np.concatenate([*lacking, np.zeros(0, np.int64)]))
    return times[(times >= start) & (times < end)]


def funding_8h(
    grid: Grid, known_at: Ints, ts: Ints, rate: Floats, interval_hours: Floats
) -> tuple[Floats, Flags | None]:
    """The last settled rate known before each close, per 8 hours; NaN once two intervals have passed."""
    interval = np.rint(np.nan_to_num(interval_hours) * clock.HOUR).astype(np.int64)
    per_8h = rate * (8.0 / np.where(interval > 0, interval_hours, np.nan))
    return as_of_values(grid, known_at, ts, interval, per_8h)
