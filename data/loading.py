"""From the store's rows to a Market: what is asked of the database, one symbol after another.

1. One look at what is stored of the symbol: which prices, intervals and spans.
2. The finest stored interval that adds up to the one asked for is loaded; a coarser market is resampled from it.
3. Candles go chunk by chunk into the market's own arrays; everything else is small and comes whole.
4. Snapshots and settlements are read from some days before the first bar, as the last known value lies there.
5. Liquidations: what the feed covers comes from `ingests` and `gaps`, so that silence is told from absence.

`as_of` removes what was known at that time or later; a candle is known at its end, and that end may be `as_of` itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data import clock, market_build, sql
from data.align import Bars, Floats, Grid, Ints, grid_of
from data.errors import NotFound
from data.market_input import TIER, Flow, GridBars, Points, Settlements, SymbolData
from data.reading import INSTRUMENTS_AT, resolve
from data.schema import Feed
from data.sql import Connection
from data.symbols import contract_kind, unified

if TYPE_CHECKING:
    from data.market import Market

_VENUE_STYLES = ("", "hyperliquid", "okx", "deribit", "bybit", "bitmex")
_LOOK_BACK = 8 * clock.DAY  # longer than two of any interval that snapshots and settlements have
_BAND = 1.0  # percent of the mid within which the market's depth fields count
_PRICES = ("open", "high", "low", "close")
_SIZES = ("volume", "quote_volume", "taker_buy_volume")


@dataclass(frozen=True)
class _Series:
    """Candles that are stored of one symbol: a price, an interval, a span, and which sizes are filled."""

    price: str
    interval: int
    first: int
    last: int
    sizes: tuple[str, ...]


@dataclass(frozen=True)
class _Stored:
    venue: str
    symbol: str
    series: tuple[_Series, ...]

    def of(self, price: str) -> list[_Series]:
        return [s for s in self.series if s.price == price]


def market(
    con: Connection,
    symbols: str | Sequence[str],
    interval: str | int,
    start: Any,
    end: Any,
    venue: str | None,
    as_of: Any,
) -> Market:
    from data.market import Market

    asked = [symbols] if isinstance(symbols, str) else list(symbols)
    if not asked:
        raise NotFound("a market needs at least one symbol")
    limit = None if as_of is None else clock.moment(as_of)
    found = [_look(con, s, venue, limit) for s in asked]
    step = clock.duration(interval)
    base = _base_interval(found, step, *_asked(found, start, end))
    grid = _grid(found, base, start, end, limit)
    candles = GridBars(grid, tuple(s.symbol for s in found))
    data = {}
    for stored in found:
        load = _Loader(con, stored, grid, limit)
        load.candles(candles)
        data[stored.symbol] = load.rest()
    venues = dict.fromkeys(s.venue for s in found)
    whole = Market("+".join(venues), market_build.lay(grid, data, candles))
    return whole if base == step else whole.resample(clock.label(step))


# ---- what is stored ------------------------------------------------------------------------------------------------


def _look(con: Connection, symbol: str, venue: str | None, as_of: int | None) -> _Stored:
    wanted = list(dict.fromkeys([symbol, *(unified(symbol, v) for v in (venue, *_VENUE_STYLES) if v is not None)]))
    known = "" if as_of is None else " AND ts + to_microseconds(interval_s * 1000000) <= ?"
    params: list[Any] = [wanted, *([] if as_of is None else [clock.naive(as_of)])]
    rows = con.execute(
        "SELECT venue, symbol, price, interval_s, epoch_us(min(ts)), epoch_us(max(ts)), count(volume), "
        f"count(quote_volume), count(taker_buy_volume) FROM candles WHERE list_contains(?, symbol){known} GROUP BY ALL",
        params,
    ).fetchall()
    pairs = list(dict.fromkeys((r[0], r[1]) for r in rows))
    if not any(venue in (None, v) for v, _ in pairs):
        pairs = con.execute("SELECT DISTINCT venue, symbol FROM candles").fetchall()
    at, name = resolve(pairs, symbol, venue, "candles")
    series = [
        _Series(
            price=r[2],
            interval=r[3] * clock.SECOND,
            first=r[4] * clock.US,
            last=r[5] * clock.US,
            sizes=tuple(n for n, filled in zip(_SIZES, r[6:9], strict=True) if filled),
        )
        for r in rows
        if (r[0], r[1]) == (at, name)
    ]
    if not any(s.price == "trade" for s in series):
        before = "" if as_of is None else f" known by {clock.iso(as_of)}"
        raise NotFound(f"{name} from {at} has no trade candles{before}; `unwind status` shows what there is")
    return _Stored(at, name, tuple(series))


def _asked(found: Iterable[_Stored], start: Any, end: Any) -> tuple[int, int]:
    trades = [s for f in found for s in f.of("trade")]
    first = clock.moment(start) if start is not None else min(s.first for s in trades)
    return first, clock.moment(end) if end is not None else max(s.last + s.interval for s in trades)


def _base_interval(found: Sequence[_Stored], step: int, start: int, end: int) -> int:
    """Of the intervals that every symbol has and that add up to the one asked for, the one that covers most of the time
    asked for; of equals the coarsest.
    """
    common = set.intersection(*({s.interval for s in f.of("trade")} for f in found))
    fitting = [i for i in common if step % i == 0]
    if not fitting:
        have = "; ".join(
            f"{f.symbol}: {', '.join(clock.label(i) for i in sorted({s.interval for s in f.of('trade')}))}"
            for f in found
        )
        raise NotFound(f"no candles that make {clock.label(step)} bars are stored ({have})")

    def covers(interval: int) -> int:
        spans = [(s.first, s.last + interval) for f in found for s in f.of("trade") if s.interval == interval]
        return sum(max(0, min(last, end) - max(first, start)) // step for first, last in spans)

    return max(fitting, key=lambda i: (covers(i), i))


def _grid(found: Iterable[_Stored], interval: int, start: Any, end: Any, as_of: int | None) -> Grid:
    trades = [s for f in found for s in f.of("trade") if s.interval == interval]
    first = clock.moment(start) if start is not None else min(s.first for s in trades)
    stop = clock.moment(end) if end is not None else max(s.last for s in trades) + interval
    return grid_of(interval, first, stop if as_of is None else min(stop, as_of))


# ---- one symbol ----------------------------------------------------------------------------------------------------


class _Loader:
    def __init__(self, con: Connection, stored: _Stored, grid: Grid, as_of: int | None) -> None:
        self.con, self.stored, self.grid, self.as_of = con, stored, grid, as_of
        self.key = [stored.venue, stored.symbol]

    def candles(self, into: GridBars) -> None:
        series = next(s for s in self.stored.of("trade") if s.interval == self.grid.step)
        columns = (*_PRICES, *series.sizes)
        query, params = self._bars_query(series, columns, self.grid.start)
        for chunk in self.con.sql(query, params=params).to_arrow_reader(122_880):
            ts = chunk.column(0).view("int64").to_numpy()
            into.add(
                self.stored.symbol, ts, {n: _floats(chunk.column(i + 1)) for i, n in enumerate(columns)}, unit=clock.US
            )

    def _bars_query(self, series: _Series, columns: Sequence[str], first: int) -> tuple[str, list[Any]]:
        last = self.grid.end if self.as_of is None else min(self.grid.end, self.as_of - series.interval + 1)
        return (
            f"SELECT ts, {sql.names(columns)} FROM candles WHERE venue = ? AND symbol = ? AND price = ? "
            "AND interval_s = ? AND ts >= ? AND ts < ?",
            [*self.key, series.price, series.interval // clock.SECOND, clock.naive(first), _stop(last)],
        )

    def _bars(self, price: str) -> list[Bars]:
        """Bars of one price in every interval that is stored, from a little before the grid."""
        out = []
        for series in self.stored.of(price):
            first = clock.floor(self.grid.start, series.interval) - 2 * max(series.interval, self.grid.step)
            rows = self._columns(*self._bars_query(series, _PRICES, first))
            if len(rows["ts"]):
                out.append(Bars(series.interval, _nanos(rows["ts"]), *(_floats(rows[p]) for p in _PRICES)))
        return out

    def rest(self) -> SymbolData:
        return SymbolData(
            marks=self._bars("mark"),
            index=self._bars("index"),
            premium=self._bars("premium"),
            funding=self._funding(),
            open_interest=self._points("open_interest", ("quantity", "value")),
            ratios=self._ratios(),
            depth=self._depth(),
            liquidations=self._events(),
            liquidation_bars=self._source_bars(),
            tiers=self._tiers(),
            instrument=self._instrument(),
        )

    def _columns(self, query: str, params: Sequence[Any]) -> dict[str, Any]:
        frame = self.con.sql(query, params=list(params)).to_arrow_table()
        return {name: frame.column(name).combine_chunks() for name in frame.column_names}

    def _rows(
        self, table: str, columns: Sequence[str], back: int, also: str = "", more: Sequence[Any] = ()
    ) -> dict[str, Any]:
        """Rows of this symbol from `back` before the grid to its end, as far as they were known."""
        start = clock.naive(self.grid.start - back)
        known = "" if self.as_of is None else " AND known_at < ?"
        limit = [] if self.as_of is None else [clock.naive(self.as_of)]
        return self._columns(
            f"SELECT {', '.join(columns)} FROM {sql.name(table)} WHERE venue = ? AND symbol = ? AND ts >= ? AND ts < ?"
            f"{known}{also}",
            [*self.key, start, _stop(self.grid.end), *limit, *more],
        )

    def _funding(self) -> Settlements | None:
        columns = ("ts", "raw_ts", "known_at", "rate", "interval_hours", "price")
        rows = self._rows("funding", columns, _LOOK_BACK, " ORDER BY ts, known_at")
        if not len(rows["ts"]):
            return None
        return Settlements(
            ts=_nanos(rows["ts"]),
            raw_ts=_nanos(rows["raw_ts"]),
            known_at=_nanos(rows["known_at"]),
            rate=_floats(rows["rate"]),
            interval_hours=_floats(rows["interval_hours"]),
            price=_floats(rows["price"]),
        )

    def _points(self, table: str, values: Sequence[str], also: str = "", more: Sequence[Any] = ()) -> Points | None:
        columns = ("ts", "known_at", "interval_s", *values)
        rows = self._rows(table, columns, _LOOK_BACK, f"{also} ORDER BY ts, known_at", more)
        if not len(rows["ts"]):
            return None
        return Points(
            _nanos(rows["ts"]),
            _nanos(rows["known_at"]),
            _interval(rows["interval_s"]),
            {v: _floats(rows[v]) for v in values},
        )

    def _ratios(self) -> dict[str, Points]:
        kinds = self.con.execute("SELECT DISTINCT kind FROM ratios WHERE venue = ? AND symbol = ?", self.key).fetchall()
        found = {k: self._points("ratios", ("ratio",), " AND kind = ?", [k]) for (k,) in kinds}
        return {k: p for k, p in found.items() if p is not None}

    def _depth(self) -> Points | None:
        sides = [
            f"max(notional) FILTER (percent = {sign * _BAND}) AS {side}"
            for side, sign in (("bid_1pct", -1), ("ask_1pct", 1))
        ]
        columns = ("ts", "known_at", "coalesce(max(interval_s), 60) AS interval_s", *sides)
        band = f" AND abs(percent) = {_BAND} GROUP BY ts, known_at ORDER BY ts, known_at"
        rows = self._rows("depth", columns, _LOOK_BACK, band)
        if not len(rows["ts"]):
            return None
        values = {n: _floats(rows[n]) for n in ("bid_1pct", "ask_1pct")}
        return Points(_nanos(rows["ts"]), _nanos(rows["known_at"]), _interval(rows["interval_s"]), values)

    # ---- liquidations ----------------------------------------------------------------------------------------------

    def _events(self) -> Flow | None:
        about = sql.one(
            self.con,
            "SELECT count(*), min(known_at - ts) = max(known_at - ts), list_sort(list(DISTINCT feed)), "
            "coalesce(arg_min(epoch_us(known_at) - epoch_us(ts), known_at), 0) "
            "FROM liquidations WHERE venue = ? AND symbol = ?" + ("" if self.as_of is None else " AND known_at < ?"),
            [*self.key, *([] if self.as_of is None else [clock.naive(self.as_of)])],
        )
        spans = self._covered("liquidations")
        if not about[0] and not spans:
            return None
        # An event told twice, at different times, counts when it was first known.
        once = (
            ""
            if about[1]
            else " QUALIFY row_number() OVER (PARTITION BY ts, position, price, quantity, event_id "
            "ORDER BY known_at) = 1"
        )
        money = "NULL" if contract_kind(self.stored.symbol) == "inverse" else "price * quantity"
        columns = ("ts", "known_at", "position = 'long' AS is_long", f"coalesce(notional, {money}) AS notional")
        rows = self._rows("liquidations", columns, clock.DAY, once)
        notional, is_long = _floats(rows["notional"]), rows["is_long"].to_numpy(zero_copy_only=False).astype(bool)
        return Flow(
            _nanos(rows["ts"]),
            _nanos(rows["known_at"]),
            np.where(is_long, notional, 0.0),
            np.where(is_long, 0.0, notional),
            feed=_worst(about[2] or []),
            spans=spans,
            gaps=self._gaps("liquidations"),
            lag=int(about[3]) * clock.US,
        )

    def _source_bars(self) -> Flow | None:
        """Of several intervals the one that was known first: what comes later must not change what was seen before."""
        about = sql.one(
            self.con,
            "SELECT interval_s, epoch_us(min(ts)), epoch_us(max(ts)), arg_min(epoch_us(known_at) - epoch_us(ts), "
            "known_at), list_sort(list(DISTINCT feed)) "
            "FROM liquidation_bars WHERE venue = ? AND symbol = ?"
            + ("" if self.as_of is None else " AND known_at < ?")
            + " GROUP BY interval_s ORDER BY min(known_at), interval_s LIMIT 1",
            [*self.key, *([] if self.as_of is None else [clock.naive(self.as_of)])],
        )
        if about is None:
            return None
        interval = about[0] * clock.SECOND
        columns = ("ts", "known_at", "coalesce(long_notional, 0) AS long", "coalesce(short_notional, 0) AS short")
        rows = self._rows(
            "liquidation_bars", columns, interval + clock.DAY, " AND interval_s = ? ORDER BY ts, known_at", [about[0]]
        )
        return Flow(
            _nanos(rows["ts"]),
            _nanos(rows["known_at"]),
            _floats(rows["long"]),
            _floats(rows["short"]),
            feed=_worst(about[4]),
            spans=_runs(_nanos(rows["ts"]), interval),
            gaps=self._gaps("liquidation_bars"),
            lag=int(about[3]) * clock.US,
        )

    def _covered(self, table: str) -> list[tuple[int, int]]:
        rows = self.con.execute(
            "SELECT epoch_us(covers_from), epoch_us(covers_to) FROM ingests WHERE table_name = ? AND covers_to > "
            "covers_from "
            "AND (venue IS NULL OR venue = ?) AND (symbols IS NULL OR list_contains(symbols, ?))",
            [table, *self.key],
        ).fetchall()
        last = self.grid.end if self.as_of is None else self.as_of
        return [(a * clock.US, min(b * clock.US, last)) for a, b in rows if a * clock.US < last]

    def _gaps(self, table: str) -> list[tuple[int, int, int]]:
        rows = self.con.execute(
            "SELECT epoch_us(ts), epoch_us(until), epoch_us(known_at) FROM gaps WHERE venue = ? AND symbol IN (?, "
            "'*') AND feed_table = ?",
            [*self.key, table],
        ).fetchall()
        gaps = [(a * clock.US, b * clock.US, k * clock.US) for a, b, k in rows]
        return [g for g in gaps if self.as_of is None or g[2] < self.as_of]

    # ---- terms -----------------------------------------------------------------------------------------------------

    def _tiers(self) -> Any:
        names = [n for n in TIER.names or () if n != "symbol"]
        last = self.grid.end if self.as_of is None else min(self.grid.end, self.as_of)
        rows = self._columns(
            f"SELECT {sql.names(names)} FROM tiers WHERE venue = ? AND symbol = ? AND valid_from < ? AND known_at < "
            "? ORDER BY valid_from, floor",
            [*self.key, *[clock.naive(last)] * 2],
        )
        if not len(rows["floor"]):
            return None
        out = np.zeros(len(rows["floor"]), [(n, TIER[n]) for n in names])
        for n in names:
            out[n] = _nanos(rows[n]) if n in ("valid_from", "known_at") else _floats(rows[n])
        return out

    def _instrument(self) -> Mapping[str, Any] | None:
        """The terms known at the first bar, or else the first ones known later; and the delisting, once known."""
        last = self.grid.end if self.as_of is None else min(self.grid.end, self.as_of)
        for when in (self.grid.start, last):
            at = clock.naive(when)
            rows = self.con.sql(INSTRUMENTS_AT, params=[self.key[0], self.key[0], at, at]).to_arrow_table().to_pylist()
            for terms in rows:
                if terms["symbol"] == self.stored.symbol:
                    return {**terms, **self._delisted(last)}
        return None

    def _delisted(self, last: int) -> dict[str, Any]:
        """The delisting that was known by the end, and since when."""
        row = sql.one(
            self.con,
            "SELECT delisted, known_at FROM instruments WHERE venue = ? AND symbol = ? AND known_at < ? "
            "AND delisted IS NOT NULL ORDER BY delisted DESC, known_at LIMIT 1",
            [*self.key, clock.naive(last)],
        )
        return {"delisted": row[0], "delisted_known_at": row[1]} if row else {"delisted": None}


def _stop(ns: int) -> Any:
    """An exclusive bound in the store's microseconds."""
    return clock.naive(ns + clock.US - 1)


def _nanos(column: Any) -> Ints:
    micros = column.view("int64").to_numpy(zero_copy_only=False)
    return np.asarray(micros, dtype=np.int64) * clock.US


def _floats(column: Any) -> Floats:
    values = column.to_numpy(zero_copy_only=False)
    return values if values.dtype == np.float64 else np.asarray(values, dtype=np.float64)


def _interval(column: Any) -> Ints | int:
    """Nanoseconds: one number where all rows have the same."""
    seconds = column.to_numpy(zero_copy_only=False)
    if len(seconds) and (seconds == seconds[0]).all():
        return int(seconds[0]) * clock.SECOND
    return np.asarray(seconds, dtype=np.int64) * clock.SECOND


def _runs(ts: Ints, interval: int) -> list[tuple[int, int]]:
    """Spans of bars without a hole."""
    if not len(ts):
        return []
    ts = np.unique(ts)
    breaks = np.flatnonzero(np.diff(ts) != interval)
    firsts, lasts = np.append(0, breaks + 1), np.append(breaks, len(ts) - 1)
    return [(int(ts[a]), int(ts[b]) + interval) for a, b in zip(firsts, lasts, strict=True)]


def _worst(feeds: Sequence[str]) -> str:
    """What may be said of several feeds together is what may be said of the poorest."""
    order = (Feed.UNKNOWN, Feed.SAMPLED, Feed.AGGREGATED, Feed.COMPLETE)
    return next((f for f in order if f in feeds), Feed.UNKNOWN)
