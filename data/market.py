"""`Market`: aligned, read-only arrays of one bar grid, for one symbol or many.

    market = store.market("BTC/USDT:USDT", "1m", "2024-01-01", "2025-01-01")
    market.close, market.funding_8h, market.settlements      # (n,) for one symbol, (n, k) for k: bars in rows
    market["2024-03":"2024-06"], market[100:200]             # views, [from, to) both ways: nothing is copied
    market["ETH/USDT:USDT"], market.resample("1h")

Every value of bar i was known strictly before the bar's close (candles: at it). Missing is NaN and counted: see
`coverage` and `warnings`. Two things in a market are for the engine and not for signals, since they may hold what was
known later: marks clipped into a coarser mark bar, and settlements (their last version, at the time they were paid).
`features_view()` is the same market without them; strategies are given that.

Where the rest is: `data.align` has the rules, `data.market_input` the inputs and the list of fields,
`data.market_build` applies the rules; `data.market_parts`, `market_resample`, `market_coverage`, `market_hash`,
`market_frames`, `market_html` and `market_figure` do what their names say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data import align, clock, market_build, market_coverage, market_hash, market_parts, market_resample
from data.align import Bars, Codes, Flags, Floats, Grid, Ints
from data.errors import BadInput, NotFound, did_you_mean
from data.market_build import Laid
from data.market_coverage import Coverage
from data.market_input import FIELDS, Flow, GridBars, Points, Settlements, SymbolData
from data.symbols import unified

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FIELDS", "Bars", "Coverage", "Flow", "Grid", "GridBars", "Market", "Points", "Settlements", "SymbolData"]


class Market:
    """Read-only arrays of one bar grid. Build one with `Store.market`, `Market.from_frames` or `Market.build`."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    quote_volume: Floats
    taker_buy_volume: Floats
    mark_open: Floats
    mark_high: Floats
    mark_low: Floats
    mark_close: Floats
    index: Floats
    premium: Floats
    funding_8h: Floats
    open_interest: Floats
    open_interest_value: Floats
    liq_long: Floats
    liq_short: Floats
    ratio_accounts: Floats
    ratio_top_accounts: Floats
    ratio_top_positions: Floats
    taker_ratio: Floats
    bid_depth_1pct: Floats
    ask_depth_1pct: Floats

    venue: str
    register: str  # folder where trials on it are noted, see backtest.trials; empty: nowhere
    _laid: Laid

    def __init__(self, venue: str, laid: Laid, register: str = "") -> None:
        self.__dict__["venue"] = venue
        self.__dict__["_laid"] = laid
        self.__dict__["register"] = register
        arrays = (*laid.fields.values(), *laid.stale.values(), laid.present, laid.mark_source)
        if laid.partial is not None:
            laid.partial.setflags(write=False)
        for array in (*arrays, laid.settlements, laid.versions, laid.lacking, laid.tiers):
            array.setflags(write=False)

    @classmethod
    def build(
        cls,
        venue: str,
        data: Mapping[str, SymbolData],
        interval: str | int,
        start: Any,
        end: Any,
        *,
        candles: GridBars | None = None,
    ) -> Market:
        """The whole bars inside [start, end), which may be any nanoseconds, as those of the arrays in `data` may.

        `candles`: bars already laid on that grid, for all symbols.
        """
        grid = align.grid_of(clock.duration(interval), _nanoseconds(start), _nanoseconds(end))
        return cls(venue, market_build.lay(grid, data, candles))

    @classmethod
    def from_frames(
        cls,
        candles: Any,
        *,
        mark: Any = None,
        index: Any = None,
        premium: Any = None,
        funding: Any = None,
        open_interest: Any = None,
        liquidations: Any = None,
        ratios: Any = None,
        tiers: Any = None,
        interval: str | int | None = None,
        venue: str = "user",
        symbol: str = "PERP/USDT:USDT",
        start: Any = None,
        end: Any = None,
    ) -> Market:
        """A market from your own pandas or polars frames; `data.market_frames` says what each may hold."""
        from data import market_frames

        given = {name: value for name, value in locals().items() if name not in ("cls", "candles", "market_frames")}
        name, grid, data, notes = market_frames.read(candles, **given)
        return cls(name, replace(market_build.lay(grid, data), notes=notes))

    # ---- what it is ----------------------------------------------------------------------------

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._laid.symbols

    @property
    def interval(self) -> int:
        """Nanoseconds."""
        return self._laid.grid.step

    @property
    def interval_label(self) -> str:
        return clock.label(self.interval)

    @property
    def start(self) -> int:
        """Open of the first bar, nanoseconds."""
        return self._laid.grid.start

    @property
    def end(self) -> int:
        """End of the last bar, nanoseconds."""
        return self._laid.grid.end

    def __len__(self) -> int:
        return self._laid.grid.n

    def bars(self, length: str | int) -> int:
        """How many bars a duration is."""
        ns = clock.duration(length)
        if ns < self.interval or ns % self.interval:
            raise BadInput(f"{clock.label(ns)} is no whole number of {self.interval_label} bars")
        return ns // self.interval

    # ---- arrays --------------------------------------------------------------------------------

    @cached_property
    def ts(self) -> Ints:
        """Opens of the bars, nanoseconds since 1970, UTC."""
        return _frozen(self._laid.grid.opens())

    @cached_property
    def present(self) -> Flags:
        """Where there is a candle. Nothing trades in a bar without one."""
        return _frozen(self._laid.present)

    @cached_property
    def partial(self) -> Flags:
        """Where a bar is made of fewer finer bars than it should be: some of its minutes are missing."""
        made = self._laid.partial
        return _frozen(np.zeros_like(self._laid.present) if made is None else made)

    @cached_property
    def mark_source(self) -> Codes:
        """What the mark is: 0 the trade price, 1 the trade price clipped into a coarser mark bar, 2 a mark bar."""
        return _frozen(self._laid.mark_source)

    @property
    def settlements(self) -> NDArray[Any]:
        """Funding settlements: ts, raw_ts, bar (that contains ts), symbol (index), rate, interval_hours, price."""
        return self._laid.settlements

    @property
    def tiers(self) -> NDArray[Any]:
        """Maintenance brackets of all dates: symbol (index), valid_from, tier, floor, cap, mmr, max_leverage, cum."""
        return self._laid.tiers

    @property
    def held(self) -> tuple[str, ...]:
        """The fields that hold something; the others are all NaN."""
        return tuple(name for name in FIELDS if name in self._laid.fields)

    def __getattr__(self, name: str) -> Any:
        if name in FIELDS:
            if name in (fields := self._laid.fields):
                fields[name] = _frozen(fields[name])  # a column of many becomes an array of its own
            array = self.__dict__[name] = fields[name] if name in fields else self._nothing  # noqa: SIM401 - made late
            return array
        if name.startswith("_"):
            raise AttributeError(name)
        public = [n for n in dir(type(self)) if not n.startswith("_")]
        raise AttributeError(f"a market has no {name!r}: {did_you_mean(name, [*FIELDS, *public])}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a market cannot be changed: build another one")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *FIELDS})

    @cached_property
    def _nothing(self) -> Floats:
        return _frozen(np.full(self._laid.present.shape, np.nan))

    def tiers_at(self, when: Any, symbol: str | None = None) -> NDArray[Any]:
        """The brackets in force at a time, lowest first, by the last table published by then; empty before the first.

        These are the venue's rules and not a signal: a table holds from its very moment on.
        """
        at, j = clock.moment(when), self._number(symbol)
        rows = self.tiers[self.tiers["symbol"] == j]
        rows = rows[(rows["valid_from"] <= at) & (rows["known_at"] <= at)]
        for stamp in ("valid_from", "known_at") if len(rows) else ():
            rows = rows[rows[stamp] == rows[stamp].max()]
        return np.asarray(rows)

    def instrument(self, symbol: str | None = None) -> Mapping[str, Any]:
        """What is known of a contract (tick_size, lot_size, ...); empty if nothing is."""
        return self._laid.instruments.get(self.symbols[self._number(symbol)], {})

    def _number(self, symbol: str | None) -> int:
        if symbol is None:
            if len(self.symbols) > 1:
                raise BadInput(f"say which symbol: {', '.join(self.symbols)}")
            return 0
        for name in (symbol, unified(symbol, self.venue), unified(symbol)):
            if name in self.symbols:
                return self.symbols.index(name)
        raise NotFound(f"the market does not hold {symbol}: {did_you_mean(symbol, self.symbols)}")

    # ---- parts ---------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Market:
        if isinstance(key, slice):
            return self._sliced(key)
        if isinstance(key, str):
            return self.select([key])
        if isinstance(key, Sequence):
            return self.select(key)
        raise BadInput(
            f"{key!r} is no part of a market: write market[100:200], market['2024-01':'2024-03'] or a symbol"
        )

    def _sliced(self, key: slice) -> Market:
        ends = [e for e in (key.start, key.stop) if e is not None]
        if key.step not in (None, 1):
            raise BadInput("a market has no every other bar: resample it instead")
        if all(isinstance(e, int | np.integer) for e in ends):
            first, stop, _ = key.indices(len(self))
            if stop <= first:
                raise NotFound(f"no bar lies in [{key.start}:{key.stop}]: the market has {len(self):,} bars")
            return self._cut(first, stop)
        return self.between(key.start, key.stop)

    def between(self, start: Any = None, end: Any = None) -> Market:
        """The bars that lie wholly inside [start, end): "2024-01" to "2024-03" is January and February."""
        low = self.start if start is None else max(clock.moment(start), self.start)
        high = self.end if end is None else min(clock.moment(end), self.end)
        first, stop = -((self.start - low) // self.interval), (high - self.start) // self.interval
        if stop <= first:
            span = f"{clock.iso(self.start)} to {clock.iso(self.end)}"
            raise NotFound(f"no whole bar lies between {start} and {end}: the market goes from {span}")
        return self._cut(first, stop)

    def _cut(self, first: int, stop: int) -> Market:
        return Market(self.venue, market_parts.cut(self._laid, first, stop), self.register)

    def select(self, symbols: Iterable[str]) -> Market:
        """The market of some of its symbols, in the order asked for. Columns are copied when first used."""
        picked = [self._number(s) for s in symbols]
        if len(set(picked)) != len(picked) or not picked:
            raise BadInput("name each symbol once, and at least one")
        if picked == list(range(len(self.symbols))):
            return self
        return Market(self.venue, market_parts.chosen(self._laid, picked), self.register)

    def resample(self, interval: str | int) -> Market:
        """The same market in coarser bars; only buckets that are complete."""
        ns = clock.duration(interval)
        if ns == self.interval:
            return self
        return Market(self.venue, market_resample.coarser(self._laid, ns), self.register)

    def registered(self, folder: str) -> Market:
        """The same market, with a folder where trials on it are noted; "" for none."""
        return Market(self.venue, self._laid, folder)

    def features_view(self) -> Market:
        """What a strategy's features may see of this market: nothing that was known later than its bar.

        * Marks that are not mark bars of this interval are the trade price (a clipped one knows the range of a coarser
          bar before that has ended), and `mark_source` does not say which were clipped.
        * `settlements` are all their versions, each in the bar in which it became known. Those that became known after
          the last bar are not there.
        * `instrument` and `tiers` hold no listing, delisting or brackets that became known after the last bar.
        """
        return self._features

    @cached_property
    def _features(self) -> Market:
        return Market(self.venue, market_parts.for_features(self._laid), self.register)

    # ---- what it holds -------------------------------------------------------------------------

    @cached_property
    def hash(self) -> str:
        """A hash of the content: the same on every machine, however the arrays lie; any other bit, another hash."""
        return market_hash.content_hash(self.venue, self._laid)

    def __eq__(self, other: object) -> bool:
        """The same content, wherever it came from."""
        return self is other or (isinstance(other, Market) and self.hash == other.hash)

    def __hash__(self) -> int:
        return hash(self.hash)

    def __reduce__(self) -> tuple[Any, ...]:
        return Market, (self.venue, self._laid, self.register)

    @cached_property
    def coverage(self) -> Coverage:
        """Bars present, missing and stale by field and symbol; settlements found and expected; what marks are."""
        return market_coverage.coverage(self._laid)

    @property
    def warnings(self) -> list[str]:
        """What a reader of results should know about the data."""
        return market_coverage.warnings(self._laid, self.coverage)

    def to_frame(self) -> pd.DataFrame:
        """A pandas frame of the fields that hold something, indexed by the bars' opens (naive UTC, nanoseconds)."""
        import pandas as pd

        index = pd.DatetimeIndex(self.ts.view("datetime64[ns]"), name="ts")
        columns = {name: getattr(self, name) for name in (*self.held, "mark_source", "present")}
        if len(self.symbols) == 1:
            return pd.DataFrame(columns, index=index)
        named = {(name, s): a[:, j] for name, a in columns.items() for j, s in enumerate(self.symbols)}
        frame = pd.DataFrame(named, index=index)
        frame.columns.names = ["field", "symbol"]
        return frame

    def __repr__(self) -> str:
        few = ", ".join(self.symbols[:3]) + (f" and {len(self.symbols) - 3} more" if len(self.symbols) > 3 else "")
        span = f"{clock.iso(self.start)} to {clock.iso(self.end)}"
        return f"Market({self.venue}, {few}, {self.interval_label}, {span}, {len(self):,} bars)"

    def _repr_html_(self) -> str:
        from data import market_html

        return market_html.page(self)

    def plot(self) -> Any:
        """A plotly figure: price, funding, open interest and liquidations, as far as the market holds them."""
        from data import market_figure

        return market_figure.figure(self)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array


def _nanoseconds(when: Any) -> int:
    return int(when) if isinstance(when, int | np.integer) else clock.moment(when)
