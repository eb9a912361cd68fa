"""A market from the user's own frames: pandas or polars, one for each kind of data.

* Several symbols: a mapping of symbol to frame, or a column `symbol`. Names of venues are made unified.
* Time: a column `ts`, `time`, `timestamp`, `date`, `datetime` or `open_time`, or a DatetimeIndex. Without a zone it is
  UTC; a zone other than UTC is refused, and so are plain numbers, whose unit nobody can tell.
* `known_at`, where the frame has it, is the time from which a row was known; else its own time (bars: their end).
* candles: open, high, low, close and, if there, volume, quote_volume, taker_buy_volume. The interval is told by the
  spacing. mark: the same four, also coarser or finer than the candles. index, premium: close.
* funding: rate as a fraction, and interval_hours or a spacing of 1, 2, 4 or 8 hours. open_interest: quantity, value
  or both. ratios: accounts, top_accounts, top_positions, taker_volume. liquidations: position or side (long, short) and
  notional, or price and quantity; they cover the bars from the first row to the last. tiers: floor, mmr and, if there,
  valid_from, cap, cum, max_leverage, tier.

Rows may come in any order. What is wrong is refused with its row, counted from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import align, clock
from data.align import Bars, Floats, Ints
from data.errors import BadInput, BadRow, MissingColumn
from data.market_input import RATIO_FIELDS, SUMS, TIER, Flow, Points, Settlements, SymbolData
from data.schema import TABLES, Feed
from data.symbols import unified

TIMES = ("ts", "time", "timestamp", "date", "datetime", "open_time")
_UTC = {"UTC", "ETC/UTC", "Z", "GMT", "+00:00", "UTC+00:00"}
_NAMES = {  # what others call our columns
    "rate": ("funding_rate", "last_funding_rate", "fundingRate"),
    "quantity": ("open_interest", "sum_open_interest", "amount"),
    "value": ("open_interest_value", "sum_open_interest_value", "notional"),
    "position": ("side",),
    **{str(kind): (name,) for kind, name in RATIO_FIELDS.items()},
}


@dataclass(frozen=True)
class Table:
    """One symbol's rows of a frame, sorted by time."""

    where: str
    frame: Any
    rows: Ints  # positions in the frame
    ts: Ints

    @property
    def names(self) -> list[str]:
        return [str(c) for c in self.frame.columns]

    def find(self, name: str) -> str | None:
        return next((n for n in (name, *_NAMES.get(name, ())) if n in self.names), None)

    def real(self, name: str) -> Floats:
        if (found := self.find(name)) is None:
            raise MissingColumn(self.where, [name], self.names)
        values = _numbers(self.frame[found], f"{self.where}: column {found}")[self.rows]
        if np.isinf(values).any():
            raise self.bad(int(np.argmax(np.isinf(values))), f"{found} is infinite")
        return values

    def maybe(self, name: str) -> Floats | None:
        return None if self.find(name) is None else self.real(name)

    def time(self, name: str) -> Ints | None:
        return _times(self.frame[name], f"{self.where}: column {name}")[self.rows] if name in self.names else None

    def text(self, name: str) -> list[str]:
        if (found := self.find(name)) is None:
            raise MissingColumn(self.where, [name], self.names)
        values = list(self.frame[found])
        return [str(values[row]).strip().lower() for row in self.rows]

    def known_at(self) -> Ints:
        known = self.time("known_at")
        return self.ts if known is None else known

    def bad(self, j: int, problem: str) -> BadRow:
        return BadRow(self.where, int(self.rows[j]), problem)


def read(
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
) -> tuple[str, dict[str, SymbolData], int, Any, Any]:
    """What `Market.build` takes: venue, data by symbol, interval, start and end."""
    bars = _tables(candles, "candles", venue, [symbol])
    step = None if interval is None else clock.duration(interval)
    laid: dict[str, Bars] = {}
    for name, table in bars.items():
        laid[name] = _bars(table, step)
        step = laid[name].interval
    if step is None:
        raise BadInput("candles: there are no rows")
    others = {
        "mark": mark,
        "index": index,
        "premium": premium,
        "funding": funding,
        "open_interest": open_interest,
        "liquidations": liquidations,
        "ratios": ratios,
        "tiers": tiers,
    }
    parts = {kind: _tables(frame, kind, venue, laid) for kind, frame in others.items()}
    data = {name: _symbol(laid[name], step, {k: t[name] for k, t in parts.items() if name in t}) for name in laid}
    first = min(int(b.ts[0]) for b in laid.values()) if start is None else start
    last = max(int(b.ts[-1]) for b in laid.values()) + step if end is None else end
    return venue, data, step, first, last


def _symbol(candles: Bars, step: int, tables: Mapping[str, Table]) -> SymbolData:
    def bars(kind: str, close_only: bool) -> tuple[Bars, ...]:
        return (_bars(tables[kind], None, close_only),) if kind in tables else ()

    return SymbolData(
        candles=candles,
        marks=bars("mark", False),
        index=bars("index", True),
        premium=bars("premium", True),
        funding=_funding(tables["funding"]) if "funding" in tables else None,
        open_interest=_points(tables["open_interest"], ("quantity", "value")) if "open_interest" in tables else None,
        ratios=_ratios(tables["ratios"]) if "ratios" in tables else {},
        liquidations=_liquidations(tables["liquidations"], step) if "liquidations" in tables else None,
        tiers=_tiers(tables["tiers"]) if "tiers" in tables else None,
    )


# ---- kinds of data -----------------------------------------------------------------------------


def _bars(table: Table, interval: int | None, close_only: bool = False) -> Bars:
    _once(table, "bar")
    interval = _regular(table, interval)
    if close_only:
        close = table.real("close")
        return Bars(interval, table.ts, close, close, close, close)
    if missing := [n for n in ("open", "high", "low", "close") if n not in table.names]:
        raise MissingColumn(table.where, missing, table.names)
    o, h, lo, c = (table.real(n) for n in ("open", "high", "low", "close"))
    upside_down = np.flatnonzero((lo > h) | (np.minimum(o, c) < lo) | (np.maximum(o, c) > h))
    if len(upside_down):
        raise table.bad(
            int(upside_down[0]), "open, high, low and close do not fit: high is not highest or low not lowest"
        )
    sizes = {name: table.maybe(name) for name in SUMS}
    return Bars(interval, table.ts, o, h, lo, c, **sizes)


def _funding(table: Table) -> Settlements:
    rate, limits = table.real("rate"), TABLES["funding"].column("rate")
    if (
        limits.low is not None
        and limits.high is not None
        and np.any(wild := (rate < limits.low) | (rate > limits.high))
    ):
        j = int(np.argmax(wild))
        raise table.bad(j, f"a funding rate of {rate[j]:g} is no fraction: if it is percent, divide by 100")
    known, ts = table.known_at(), align.snapped(table.ts)
    if table.time("known_at") is None:
        _once(table, "settlement")
        known = ts
    hours = table.maybe("interval_hours")
    if hours is None:
        hours = align.spacing_hours(ts)
        if len(ts) > 1 and np.isnan(hours).all():
            raise BadInput(f"{table.where}: settlements are not 1, 2, 4 or 8 hours apart: add a column interval_hours")
    price = table.maybe("price")
    return Settlements(ts, table.ts, known, rate, hours, np.full(len(ts), np.nan) if price is None else price)


def _points(table: Table, names: Iterable[str]) -> Points:
    values = {name: column for name in names if (column := table.maybe(name)) is not None}
    if not values:
        raise MissingColumn(table.where, list(names), table.names)
    if table.time("known_at") is None:
        _once(table, "row")
    seconds = table.maybe("interval_s")
    interval = _spacing(table.ts) if seconds is None else (seconds * clock.SECOND).astype(np.int64)
    return Points(table.ts, table.known_at(), interval, values)


def _ratios(table: Table) -> dict[str, Points]:
    points = _points(table, [str(kind) for kind in RATIO_FIELDS])
    return {
        kind: Points(points.ts, points.known_at, points.interval, {"ratio": values})
        for kind, values in points.values.items()
    }


def _liquidations(table: Table, step: int) -> Flow:
    side = np.array(table.text("position"), dtype=object)
    wrong = np.flatnonzero((side != "long") & (side != "short"))
    if len(wrong):
        hint = "say which position was liquidated, long or short (Binance: SELL is long; Bybit: Buy is long)"
        raise table.bad(int(wrong[0]), f"position {side[wrong[0]]!r}: {hint}")
    amount = table.maybe("notional")
    if amount is None:
        if table.find("price") is None or table.find("quantity") is None:
            raise MissingColumn(table.where, ["notional (or price and quantity)"], table.names)
        amount = table.real("price") * table.real("quantity")
    if np.any(amount < 0):
        raise table.bad(int(np.argmax(amount < 0)), "a liquidation's size is negative")
    known = table.known_at()
    spans = [(clock.floor(int(known.min()), step), clock.floor(int(known.max()), step) + step)] if len(known) else []
    long = np.where(side == "long", amount, 0.0)
    return Flow(table.ts, known, long, np.where(side == "short", amount, 0.0), _feed(table), spans)


def _feed(table: Table) -> str:
    named = set(table.text("feed")) if table.find("feed") else set()
    for name in named:
        if name not in set(Feed):
            raise BadInput(f"{table.where}: feed {name!r} is none of {', '.join(Feed)}")
    return named.pop() if len(named) == 1 else Feed.UNKNOWN


def _tiers(table: Table) -> NDArray[Any]:
    out = np.zeros(len(table.rows), TIER)
    out["valid_from"], known = table.ts, table.time("known_at")
    out["known_at"] = table.ts if known is None else known
    out["floor"], out["mmr"] = table.real("floor"), table.real("mmr")
    out = out[order := np.lexsort((out["floor"], out["known_at"], out["valid_from"]))]
    same = np.zeros(len(out), dtype=bool)  # goes on from the bracket before
    same[1:] = (out["valid_from"][1:] == out["valid_from"][:-1]) & (out["known_at"][1:] == out["known_at"][:-1])
    starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(out))))
    cap, cum = table.maybe("cap"), table.maybe("cum")
    ends = np.where(np.append(same[1:], False), np.append(out["floor"][1:], np.nan), np.inf)
    out["cap"] = ends if cap is None else cap[order]
    steps = np.where(same, out["floor"] * np.diff(out["mmr"], prepend=0.0), 0.0)
    for group in np.split(np.arange(len(out)), np.flatnonzero(~same)[1:]):
        out["cum"][group] = np.cumsum(steps[group])
    if cum is not None:
        out["cum"] = cum[order]
    for name in ("tier", "max_leverage"):
        column = table.maybe(name)
        fallback = np.arange(len(out)) - starts + 1 if name == "tier" else np.nan
        out[name] = fallback if column is None else column[order]
    return out


# ---- time and order ----------------------------------------------------------------------------


def _once(table: Table, what: str) -> None:
    doubled = np.flatnonzero(np.diff(table.ts) == 0)
    if len(doubled):
        j = int(doubled[0]) + 1
        raise table.bad(j, f"a second {what} at {clock.iso(int(table.ts[j]))}: keep one of them")


def _spacing(ts: Ints) -> int:
    """The most common distance between two rows; 0 if there is none."""
    apart, count = np.unique(np.diff(ts), return_counts=True)
    apart, count = apart[apart > 0], count[apart > 0]
    return int(apart[np.argmax(count)]) if len(apart) else 0


def _regular(table: Table, interval: int | None) -> int:
    """The interval of bars, which must be what their spacing says."""
    usual = _spacing(table.ts)
    if usual == 0 and interval is None:
        raise BadInput(f"{table.where}: one row does not tell the interval: give interval='1h'")
    interval = interval or usual
    if usual not in (0, interval):
        ours, said = clock.label(usual), clock.label(interval)
        raise BadInput(f"{table.where}: the bars are {ours} apart, not {said}: give interval='{ours}', resample later")
    off = np.flatnonzero((table.ts - clock.floor(0, interval)) % interval)
    if len(off):
        when = clock.iso(int(table.ts[off[0]]))
        raise table.bad(int(off[0]), f"a {clock.label(interval)} bar opens at {when}: stamp bars at their open")
    return interval


# ---- frames ------------------------------------------------------------------------------------


def _tables(frame: Any, where: str, venue: str, symbols: Iterable[str]) -> dict[str, Table]:
    """A frame, a mapping of frames or a frame with a column `symbol`, by unified symbol."""
    if frame is None:
        return {}
    if isinstance(frame, Mapping):
        return {unified(s, venue): _table(f, f"{where} of {s}") for s, f in frame.items()}
    whole = _table(frame, where)
    if "symbol" in whole.names:
        named = np.array([str(s) for s in frame["symbol"]], dtype=object)[whole.rows]
        return {
            unified(s, venue): Table(f"{where} of {s}", frame, whole.rows[named == s], whole.ts[named == s])
            for s in dict.fromkeys(named)
        }
    wanted = [unified(s, venue) for s in symbols]
    if len(wanted) != 1:
        raise BadInput(f"{where}: say of which symbol: give a dict of symbol to frame, or a column symbol")
    return {wanted[0]: whole}


def _table(frame: Any, where: str) -> Table:
    library = type(frame).__module__.split(".")[0]
    if library not in ("pandas", "polars") or not hasattr(frame, "columns"):
        raise BadInput(f"{where}: a {type(frame).__name__} is no pandas or polars frame")
    names = [str(c) for c in frame.columns]
    wanted = ("valid_from",) if where.startswith("tiers") else TIMES
    found = next((n for n in wanted if n in names), None)
    if found is not None:
        ts = _times(frame[found], f"{where}: column {found}")
    elif library == "pandas" and type(frame.index).__name__ == "DatetimeIndex":
        ts = _times(frame.index.to_series(), f"{where}: the index")
    elif where.startswith("tiers"):
        ts = np.zeros(len(frame), np.int64)
    else:
        raise MissingColumn(where, ["ts"], names)
    order = np.argsort(ts, kind="stable")
    return Table(where, frame, order, ts[order])


def _numbers(column: Any, where: str) -> Floats:
    try:
        if type(column).__module__.startswith("polars"):
            values = column.to_numpy() if column.dtype.is_numeric() else column.to_list()
        else:
            values = column.to_numpy(dtype="float64", na_value=np.nan)
        return np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError):
        raise BadInput(f"{where} holds something that is no number") from None


def _times(column: Any, where: str) -> Ints:
    """Nanoseconds since 1970, UTC."""
    zone = _zone(column)
    if zone is not None and str(zone).upper() not in _UTC:
        how = "dt.convert_time_zone" if type(column).__module__.startswith("polars") else "dt.tz_convert"
        raise BadInput(f"{where} is in {zone}, and time is UTC here: convert it with .{how}('UTC')")
    if type(column).__module__.startswith("polars"):
        values = column.dt.replace_time_zone(None).to_numpy() if zone is not None else column.to_numpy()
    else:
        values = (column if zone is None else column.dt.tz_localize(None)).to_numpy()
    if values.dtype.kind != "M":
        how = (
            "pd.to_datetime(column, unit='ms'), with the unit it is in" if values.dtype.kind in "iuf" else "a datetime"
        )
        raise BadInput(f"{where} is not a time but {values.dtype}: make it {how}")
    if np.isnat(values).any():
        raise BadRow(where, int(np.argmax(np.isnat(values))), "the time is missing")
    return np.asarray(values.astype("datetime64[ns]").astype(np.int64))


def _zone(column: Any) -> Any:
    return getattr(column.dtype, "tz", None) or getattr(column.dtype, "time_zone", None)
