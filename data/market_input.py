"""What a `Market` is made from: the rows of each symbol as plain arrays, and the fields they end up in.

`SymbolData` holds one symbol; everything in it is optional. `GridBars` takes candles chunk by chunk straight into the
arrays that the market will hold, so that nothing is held twice. Rows from before the market's first bar are welcome:
the last funding rate and the last open interest known before it are looked up there.
All times are int64 nanoseconds since 1970, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import clock
from data.align import Bars, Flags, Floats, Grid, Ints, aggregate
from data.errors import BadInput
from data.schema import NUMPY, TABLES, Feed, Ratio

CANDLE = {
    "open": "first traded price",
    "high": "highest traded price",
    "low": "lowest traded price",
    "close": "last traded price",
    "volume": "traded size, base (contracts if inverse)",
    "quote_volume": "traded notional, quote",
    "taker_buy_volume": "part of volume bought by takers",
}
MARK = {
    "mark_open": "mark price at the open",
    "mark_high": "highest mark price",
    "mark_low": "lowest mark price",
    "mark_close": "mark price at the close",
}
KNOWN = {
    "index": "index price at the close",
    "premium": "premium index at the close",
    "funding_8h": "last settled funding rate, per 8 hours",
    "open_interest": "size open, base (contracts if inverse)",
    "open_interest_value": "notional open, quote",
    "liq_long": "long positions liquidated, notional",
    "liq_short": "short positions liquidated, notional",
    "ratio_accounts": "long / short, all accounts",
    "ratio_top_accounts": "long / short, top traders by account",
    "ratio_top_positions": "long / short, top traders by position",
    "taker_ratio": "taker buys / sells",
    "bid_depth_1pct": "bids within 1 % of the mid, notional",
    "ask_depth_1pct": "asks within 1 % of the mid, notional",
}
FIELDS = CANDLE | MARK | KNOWN
SUMS = ("volume", "quote_volume", "taker_buy_volume")

RATIO_FIELDS = {
    Ratio.ACCOUNTS: "ratio_accounts",
    Ratio.TOP_ACCOUNTS: "ratio_top_accounts",
    Ratio.TOP_POSITIONS: "ratio_top_positions",
    Ratio.TAKER_VOLUME: "taker_ratio",
}


def _columns(table: str, *names: str) -> list[tuple[str, str]]:
    """Columns of the store's contract, as fields of a structured array."""
    return [(name, NUMPY[TABLES[table].column(name).kind]) for name in names]


SETTLEMENT = np.dtype(
    [
        *_columns("funding", "ts", "raw_ts"),
        ("bar", "int64"),
        ("symbol", "int32"),
        *_columns("funding", "rate", "interval_hours", "price", "known_at"),
    ]
)
LACKING = np.dtype([("ts", "int64"), ("bar", "int64"), ("symbol", "int32")])
TIER = np.dtype(
    [
        ("symbol", "int32"),
        *_columns("tiers", "valid_from", "tier", "floor", "cap", "mmr", "max_leverage", "cum", "known_at"),
    ]
)


@dataclass(frozen=True)
class Points:
    """Snapshots: open interest, a ratio, depth. `interval` (nanoseconds, one or per row) says when one is stale."""

    ts: Ints
    known_at: Ints
    interval: Ints | int
    values: Mapping[str, Floats]


@dataclass(frozen=True)
class Settlements:
    """Funding settlements, every version of each."""

    ts: Ints
    raw_ts: Ints
    known_at: Ints
    rate: Floats
    interval_hours: Floats
    price: Floats


@dataclass(frozen=True)
class Flow:
    """Liquidated notional: one row an event, or one a source bar (all of one interval, `ts` the bar's open).

    `spans` are the times for which the feed speaks and `gaps` those when it was down, as in `align.covered`, in the
    feed's own time; `lag` is how much later a row is known (a source bar: its interval and its delay).
    """

    ts: Ints
    known_at: Ints
    long: Floats
    short: Floats
    feed: str = Feed.UNKNOWN
    spans: Sequence[tuple[int, int]] = ()
    gaps: Sequence[tuple[int, ...]] = ()
    lag: int = 0


@dataclass(frozen=True)
class SymbolData:
    candles: Bars | None = None
    marks: Sequence[Bars] = ()
    index: Sequence[Bars] = ()
    premium: Sequence[Bars] = ()
    funding: Settlements | None = None
    open_interest: Points | None = None  # values: quantity, value
    ratios: Mapping[str, Points] = field(default_factory=dict)  # kind of schema.Ratio -> values: ratio
    depth: Points | None = None  # values: bid_1pct, ask_1pct
    liquidations: Flow | None = None
    liquidation_bars: Flow | None = None
    tiers: NDArray[Any] | None = None  # structured, the columns of TIER except symbol
    instrument: Mapping[str, Any] | None = None


class GridBars:
    """Candles laid on the grid as they come. `arrays` are (n,) for one symbol and (n, k) for k."""

    def __init__(self, grid: Grid, symbols: Sequence[str]) -> None:
        self.grid, self.symbols = grid, tuple(symbols)
        for name in self.symbols:
            if self.symbols.count(name) > 1:
                raise BadInput(f"{name} is asked for twice: name each symbol once")
        self._shape = (grid.n,) if len(self.symbols) == 1 else (grid.n, len(self.symbols))
        self.arrays: dict[str, Floats] = {}
        self.present: Flags = np.zeros(self._shape, dtype=bool)
        self.partial: Flags | None = None  # bars made of fewer finer ones than they should be; None: no bar is

    def add(self, symbol: str, ts: Ints, columns: Mapping[str, Floats | None], unit: int = 1) -> None:
        """Rows of one symbol, in any order; `ts` in units of so many nanoseconds (a store's microseconds: 1000)."""
        if len(ts) == 0:
            return
        rows, bars = self._place(ts, unit)
        present = self._column(self.present, symbol)
        if present[bars].any():
            doubled = bars.start if isinstance(bars, slice) else int(bars[present[bars]][0])
            self._refuse_double(symbol, doubled)
        for name, values in columns.items():
            if values is not None:
                if name not in self.arrays:
                    self.arrays[name] = np.full(self._shape, np.nan)
                self._column(self.arrays[name], symbol)[bars] = values[rows]
        close = columns["close"]
        assert close is not None
        present[bars] = ~np.isnan(close[rows])

    def add_bars(self, symbol: str, bars: Bars) -> None:
        """Candles of the grid's interval, or finer ones that add up to it."""
        if bars.interval > self.grid.step:
            fine, coarse = clock.label(self.grid.step), clock.label(bars.interval)
            raise BadInput(f"{symbol}: {coarse} candles cannot make {fine} bars: ask for {coarse} or coarser")
        if bars.interval < self.grid.step:
            whole = self.grid.step // bars.interval
            bars, count = aggregate(bars, self.grid.step)
            self._short(symbol, self.grid.bar(bars.ts[count < whole]))
        self.add(symbol, bars.ts, {name: getattr(bars, name) for name in CANDLE})

    def _short(self, symbol: str, bars: Ints) -> None:
        bars = bars[(bars >= 0) & (bars < self.grid.n)]
        if len(bars):
            self.partial = np.zeros(self._shape, dtype=bool) if self.partial is None else self.partial
            self._column(self.partial, symbol)[bars] = True

    def _column(self, array: NDArray[Any], symbol: str) -> NDArray[Any]:
        return array if array.ndim == 1 else array[:, self.symbols.index(symbol)]

    def _place(self, ts: Ints, unit: int) -> tuple[slice | Ints, slice | Ints]:
        """Which rows lie on the grid, and on which bars. Regular rows are placed as one slice."""
        start, step, n = self.grid
        if step % unit or start % unit:
            ts, unit = ts * unit, 1
        step, start = step // unit, start // unit
        regular = ts[-1] - ts[0] == (len(ts) - 1) * step and bool(np.all(np.diff(ts) == step))
        if regular and (ts[0] - start) % step == 0:
            first = int(ts[0] - start) // step
            low, high = max(0, -first), max(min(len(ts), n - first), max(0, -first))
            return slice(low, high), slice(first + low, first + high)
        bars, rest = np.divmod(ts - start, step)
        rows = np.flatnonzero((bars >= 0) & (bars < n))
        if rest[rows].any():
            off = int(ts[rows][rest[rows] != 0][0]) * unit
            raise BadInput(f"a bar opens at {clock.iso(off)}, which is no multiple of {clock.label(self.grid.step)}")
        order = np.sort(bars[rows])
        if (same := np.flatnonzero(np.diff(order) == 0)).size:
            self._refuse_double("candles", int(order[same[0]]))
        return rows, bars[rows]

    def _refuse_double(self, symbol: str, bar: int) -> None:
        when = clock.iso(self.grid.start + bar * self.grid.step)
        raise BadInput(f"{symbol}: two bars open at {when}: keep one of them")
