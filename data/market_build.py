"""From rows to aligned arrays: each field of a `Market` by the rules of `data.align`.

1. candles onto the grid (`GridBars`); 2. marks (`mark_bars`); 3. index and premium: a bar that ends with ours, else the
last coarser one that was complete before; 4. snapshots as of what was known; 5. liquidations: events where they
cover a bar, else source bars where those do, else NaN; 6. settlements, each in the bar that contains it, and those that
are missing; 7. tiers and instruments, as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import align
from data.align import Bars, Codes, Flags, Floats, Grid, Ints
from data.errors import BadInput
from data.market_input import (
    LACKING,
    MARK,
    RATIO_FIELDS,
    SETTLEMENT,
    TIER,
    GridBars,
    Points,
    Settlements,
    SymbolData,
)

OPEN_INTEREST = {"quantity": "open_interest", "value": "open_interest_value"}
DEPTH = {"bid_1pct": "bid_depth_1pct", "ask_1pct": "ask_depth_1pct"}


@dataclass
class Laid:
    """Everything a `Market` holds. Arrays are (n,) for one symbol, (n, k) for k."""

    grid: Grid
    symbols: tuple[str, ...]
    fields: dict[str, Floats]
    present: Flags
    mark_source: Codes
    stale: dict[str, Flags] = field(default_factory=dict)
    settlements: NDArray[Any] = field(default_factory=lambda: np.zeros(0, SETTLEMENT))
    versions: NDArray[Any] = field(default_factory=lambda: np.zeros(0, SETTLEMENT))
    lacking: NDArray[Any] = field(default_factory=lambda: np.zeros(0, LACKING))
    tiers: NDArray[Any] = field(default_factory=lambda: np.zeros(0, TIER))
    instruments: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    feeds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    outside: dict[str, Ints] = field(default_factory=dict)  # bars of liquidation rows that their feed does not cover
    partial: Flags | None = None  # bars made of fewer finer ones than they should be; None: no bar is
    notes: tuple[str, ...] = ()  # what else a reader should know

    def column(self, array: NDArray[Any], j: int) -> NDArray[Any]:
        return array if array.ndim == 1 else array[:, j]

    def put(self, name: str, j: int, values: Floats, stale: Flags | None = None) -> None:
        if len(self.symbols) == 1:
            self.fields[name] = values
        else:
            if name not in self.fields:
                self.fields[name] = np.full(self.present.shape, np.nan)
            self.fields[name][:, j] = values
        if stale is not None and stale.any():
            if name not in self.stale:
                self.stale[name] = np.zeros(self.present.shape, dtype=bool)
            self.column(self.stale[name], j)[:] = stale


def lay(grid: Grid, data: Mapping[str, SymbolData], candles: GridBars | None = None) -> Laid:
    symbols = tuple(data)
    if not symbols:
        raise BadInput("a market needs at least one symbol")
    bars = candles or GridBars(grid, symbols)
    if bars.grid != grid or bars.symbols != symbols:
        raise BadInput("the candles were laid on another grid or for other symbols than the market's")
    for symbol, one in data.items():
        if one.candles is not None:
            bars.add_bars(symbol, one.candles)
    shape = bars.present.shape
    laid = Laid(grid, symbols, bars.arrays, bars.present, np.zeros(shape, np.uint8), partial=bars.partial)
    if any(one.marks for one in data.values()):
        for j, one in enumerate(data.values()):
            _mark(laid, j, one.marks)
    else:  # the trade price stands in everywhere: the same arrays, not a copy
        laid.fields |= {f"mark_{p}": laid.fields[p] for p in ("open", "high", "low", "close") if p in laid.fields}
    for j, (symbol, one) in enumerate(data.items()):
        _closes(laid, j, "index", one.index)
        _closes(laid, j, "premium", one.premium)
        _points(laid, j, one.open_interest, OPEN_INTEREST)
        for kind, points in one.ratios.items():
            _points(laid, j, points, {"ratio": RATIO_FIELDS[kind]})  # type: ignore[index]  # a StrEnum is its text
        _points(laid, j, one.depth, DEPTH)
        _liquidations(laid, j, symbol, one)
        if one.instrument is not None:
            laid.instruments[symbol] = dict(one.instrument)
    _funding(laid, data)
    laid.tiers = _tiers([one.tiers for one in data.values()])
    return laid


def _mark(laid: Laid, j: int, marks: Sequence[Bars]) -> None:
    nothing = np.full(laid.grid.n, np.nan)
    trade = [laid.column(laid.fields[p], j) if p in laid.fields else nothing for p in ("open", "high", "low", "close")]
    made, source = align.mark_bars(laid.grid, trade, marks)
    for name, price in zip(MARK, made, strict=True):
        laid.put(name, j, price)
    laid.column(laid.mark_source, j)[:] = source


def _closes(laid: Laid, j: int, name: str, series: Sequence[Bars]) -> None:
    if not series:
        return
    grid = laid.grid
    value, stale = np.full(grid.n, np.nan), None
    for bars in sorted(series, key=lambda b: b.interval):  # our own interval last, to win
        if bars.interval <= grid.step:
            last = align.ends(grid, bars)
            value = np.where(np.isnan(last), value, last)
    coarser = sorted((b for b in series if b.interval > grid.step), key=lambda b: -b.interval)
    if coarser and np.isnan(value).any():
        end = np.concatenate([b.ts + b.interval for b in coarser])
        interval = np.concatenate([np.full(len(b.ts), b.interval) for b in coarser])
        close = np.concatenate([b.close for b in coarser])
        last, stale = align.as_of_values(grid, end, end, interval, close)
        open_ = np.isnan(value)
        value = np.where(open_, last, value)
        stale = None if stale is None else stale & open_
    laid.put(name, j, value, stale)


def _points(laid: Laid, j: int, points: Points | None, names: Mapping[str, str]) -> None:
    if points is None:
        return
    for value, name in names.items():
        if value in points.values:
            rows = (points.known_at, points.ts, points.interval, points.values[value])
            laid.put(name, j, *align.as_of_values(laid.grid, *rows))


def _liquidations(laid: Laid, j: int, symbol: str, one: SymbolData) -> None:
    flows = [(flow, whole) for flow, whole in ((one.liquidation_bars, True), (one.liquidations, False)) if flow]
    if not flows:
        return
    long, short = np.full((2, laid.grid.n), np.nan)
    outside = []
    for flow, is_bars in flows:
        seen = align.covered(laid.grid, flow.spans, flow.gaps, flow.lag)
        rows = align.first_versions(flow.known_at, flow.ts) if is_bars else np.arange(len(flow.ts))
        known = flow.known_at[rows]
        for total, amount in ((long, flow.long), (short, flow.short)):
            np.copyto(total, align.bin_sum(laid.grid, known, amount[rows]), where=seen)
        at = laid.grid.bar(known)
        at = at[(at >= 0) & (at < laid.grid.n)]
        outside.append(at[~seen[at]])
    laid.outside[symbol] = np.concatenate(outside)
    laid.feeds[symbol] = tuple(str(flow.feed) for flow, _ in reversed(flows))
    laid.put("liq_long", j, long)
    laid.put("liq_short", j, short)


def _funding(laid: Laid, data: Mapping[str, SymbolData]) -> None:
    truth, versions, lacking = [], [], []
    for j, one in enumerate(data.values()):
        if (s := one.funding) is None:
            continue
        rate, stale = align.funding_8h(laid.grid, s.known_at, s.ts, s.rate, s.interval_hours)
        laid.put("funding_8h", j, rate, stale)
        final = align.last_versions(s.known_at, s.ts)
        truth.append(_settled(laid.grid, s, j, final, laid.grid.bar(s.ts[final])))
        order = np.lexsort((s.ts, s.known_at))
        versions.append(_settled(laid.grid, s, j, order, laid.grid.bar(s.known_at[order])))
        lacking.append(_lacking(laid, s, j, final))
    laid.settlements = _stacked(truth, SETTLEMENT, ("ts", "symbol"))
    laid.versions = _stacked(versions, SETTLEMENT, ("bar", "ts", "symbol", "known_at"))
    laid.lacking = _stacked(lacking, LACKING, ("ts", "symbol"))


def _settled(grid: Grid, s: Settlements, j: int, rows: NDArray[Any], bars: NDArray[Any]) -> NDArray[Any]:
    inside = (bars >= 0) & (bars < grid.n)
    rows, bars = rows[inside], bars[inside]
    out = np.zeros(len(rows), SETTLEMENT)
    for name in ("ts", "raw_ts", "rate", "interval_hours", "price", "known_at"):
        out[name] = getattr(s, name)[rows]
    out["bar"], out["symbol"] = bars, j
    return out


def _lacking(laid: Laid, s: Settlements, j: int, final: NDArray[Any]) -> NDArray[Any]:
    """Settlements that should lie between the first and the last bar that traded (or anywhere, without candles)."""
    grid, present = laid.grid, laid.column(laid.present, j)
    start, end = grid.start, grid.end
    if present.any():
        start = grid.start + int(np.argmax(present)) * grid.step
        end = grid.end - int(np.argmax(present[::-1])) * grid.step
    times = align.missing_settlements(s.ts[final], s.interval_hours[final], start, end)
    out = np.zeros(len(times), LACKING)
    out["ts"], out["bar"], out["symbol"] = times, grid.bar(times), j
    return out


def _stacked(parts: list[NDArray[Any]], dtype: np.dtype[Any], by: tuple[str, ...]) -> NDArray[Any]:
    rows = np.concatenate(parts) if parts else np.zeros(0, dtype)
    return rows[np.lexsort([rows[name] for name in reversed(by)])]


def _tiers(tables: Sequence[NDArray[Any] | None]) -> NDArray[Any]:
    parts = []
    for j, rows in enumerate(tables):
        if rows is None:
            continue
        assert rows.dtype.names is not None
        out = np.zeros(len(rows), TIER)
        for name in TIER.names or ():
            if name in rows.dtype.names and name != "symbol":
                out[name] = rows[name]
        if "known_at" not in rows.dtype.names:
            out["known_at"] = out["valid_from"]
        out["cap"] = np.where(np.isnan(out["cap"]), np.inf, out["cap"])
        out["symbol"] = j
        parts.append(out)
    return _stacked(parts, TIER, ("symbol", "valid_from", "known_at", "floor"))
