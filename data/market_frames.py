"""A market from the user's own frames: pandas or polars (also lazy), one for each kind of data.

* Several symbols: a mapping of symbol to frame, or a column `symbol`. Names of venues are made unified. A frame whose
  symbols have no candles at all is refused; one that also holds others leaves a warning.
* Time: a column `ts`, `time`, `timestamp`, `date`, `datetime` or `open_time`, or a DatetimeIndex. Without a zone it is
  UTC; a zone other than UTC is refused, and so are plain numbers, whose unit nobody can tell.
* `known_at`, where the frame has it, is the time from which a row was known, never before its own time (but for tiers,
  which are announced); else its own time. Bars are always known at their end: those said to be known later are counted
  in a warning.
* candles: open, high, low, close and, if there, volume, quote_volume, taker_buy_volume. The interval is told by the
  spacing. mark: the same four, also coarser or finer than the candles. index, premium: close.
* funding: rate as a fraction, and interval_hours or a spacing of 1, 2, 4 or 8 hours. open_interest: quantity, value
  or both. ratios: accounts, top_accounts, top_positions, taker_volume. liquidations: position or side (long, short) and
  notional, or price and quantity; they cover the bars from the first row to the last. tiers: floor, mmr and, if there,
  valid_from, cap, cum, max_leverage, tier; the brackets must fit together.

Prices (but for the premium) and sizes are not negative. Rows may come in any order. What is wrong is refused with its
row, counted from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import align, clock
from data.align import Bars, Floats, Grid, Ints
from data.errors import BadInput, MissingColumn
from data.market_input import RATIO_FIELDS, SUMS, TIER, Flow, Points, Settlements, SymbolData
from data.market_table import Table, joined, tables
from data.schema import TABLES, Feed


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
) -> tuple[str, Grid, dict[str, SymbolData], tuple[str, ...]]:
    """The venue, the grid, what lies on it by symbol, and what a reader should know of it."""
    bars = tables(candles, "candles", venue, [symbol])
    step = None if interval is None else clock.duration(interval)
    laid: dict[str, Bars] = {}
    notes: list[str] = []
    for name, table in bars.items():
        laid[name] = _bars(table, step, notes)
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
    parts = {kind: joined(tables(frame, kind, venue, laid), kind, laid, notes) for kind, frame in others.items()}
    data = {
        name: _symbol(laid[name], step, {k: t[name] for k, t in parts.items() if name in t}, notes) for name in laid
    }
    first = min(int(b.ts[0]) for b in laid.values()) if start is None else clock.moment(start)
    last = max(int(b.ts[-1]) for b in laid.values()) + step if end is None else clock.moment(end)
    return venue, align.grid_of(step, first, last), data, tuple(notes)


def _symbol(candles: Bars, step: int, own: Mapping[str, Table], notes: list[str]) -> SymbolData:
    return SymbolData(
        candles=candles,
        marks=(_bars(own["mark"], None, notes),) if "mark" in own else (),
        index=(_closes(own["index"], notes),) if "index" in own else (),
        premium=(_closes(own["premium"], notes, signed=True),) if "premium" in own else (),
        funding=_funding(own["funding"]) if "funding" in own else None,
        open_interest=_points(own["open_interest"], ("quantity", "value")) if "open_interest" in own else None,
        ratios=_ratios(own["ratios"]) if "ratios" in own else {},
        liquidations=_liquidations(own["liquidations"], step) if "liquidations" in own else None,
        tiers=_tiers(own["tiers"]) if "tiers" in own else None,
    )


# ---- kinds of data -----------------------------------------------------------------------------


def _bars(table: Table, interval: int | None, notes: list[str]) -> Bars:
    interval = _opens(table, interval, notes)
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


def _closes(table: Table, notes: list[str], signed: bool = False) -> Bars:
    interval = _opens(table, None, notes)
    close = table.real("close", signed=signed)
    return Bars(interval, table.ts, close, close, close, close)


def _opens(table: Table, interval: int | None, notes: list[str]) -> int:
    """The interval of bars, whose times are in order."""
    _once(table, "bar")
    interval = _regular(table, interval)
    known, end = table.known_at(table.ts + interval), table.ts + interval
    if known is not None and (late := np.count_nonzero(known > end)):
        notes.append(f"{table.where}: known_at of {late:,} bars is after their end; they are taken as known at it")
    return interval


def _funding(table: Table) -> Settlements:
    rate, limits = table.real("rate", signed=True), TABLES["funding"].column("rate")
    if (
        limits.low is not None
        and limits.high is not None
        and np.any(wild := (rate < limits.low) | (rate > limits.high))
    ):
        j = int(np.argmax(wild))
        raise table.bad(j, f"a funding rate of {rate[j]:g} is no fraction: if it is percent, divide by 100")
    if np.isnan(rate).any():
        raise table.bad(int(np.argmax(np.isnan(rate))), "the funding rate is missing: leave the row out")
    ts = align.snapped(table.ts)
    known = table.known_at(np.minimum(ts, table.ts))
    if known is None:
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
    known = table.known_at(table.ts)
    if known is None:
        _once(table, "row")
        known = table.ts
    seconds = table.maybe("interval_s")
    interval = _spacing(table.ts) if seconds is None else (seconds * clock.SECOND).astype(np.int64)
    return Points(table.ts, known, interval, values)


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
    amount, known = _notional(table), table.known_at(table.ts)
    known = table.ts if known is None else known
    spans = [(clock.floor(int(known.min()), step), clock.floor(int(known.max()), step) + step)] if len(known) else []
    long = np.where(side == "long", amount, 0.0)
    return Flow(table.ts, known, long, np.where(side == "short", amount, 0.0), _feed(table), spans)


def _notional(table: Table) -> Floats:
    amount = table.maybe("notional")
    price, quantity = table.maybe("price"), table.maybe("quantity")
    if price is not None and quantity is not None:
        worked = price * quantity
        amount = worked if amount is None else np.where(np.isnan(amount), worked, amount)
    if amount is None:
        raise MissingColumn(table.where, ["notional (or price and quantity)"], table.names)
    if np.isnan(amount).any():
        raise table.bad(int(np.argmax(np.isnan(amount))), "the size is missing: notional, or price and quantity")
    return amount


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
    cap, cum = table.maybe("cap", unbounded=True), table.maybe("cum")
    ends = np.where(np.append(same[1:], False), np.append(out["floor"][1:], np.nan), np.inf)
    out["cap"] = ends if cap is None else cap[order]
    steps = np.where(same, out["floor"] * np.diff(out["mmr"], prepend=0.0), 0.0)
    groups = np.split(np.arange(len(out)), np.flatnonzero(~same)[1:])
    for group in groups:
        out["cum"][group] = np.cumsum(steps[group])
    if cum is not None:
        out["cum"] = cum[order]
    for name in ("tier", "max_leverage"):
        column = table.maybe(name)
        fallback = np.arange(len(out)) - starts + 1 if name == "tier" else np.nan
        out[name] = fallback if column is None else np.where(np.isnan(column[order]), fallback, column[order])
    for group in groups:
        _fit_together(out[group], table.where)
    return out


def _fit_together(rows: NDArray[Any], where: str) -> None:
    from data.sources.tiers import Bracket, check_brackets  # here: what reads files is not needed for a market

    brackets = [
        Bracket(int(r["tier"]), float(r["floor"]), float(r["cap"]) if r["cap"] < np.inf else None, r["mmr"], r["cum"])
        for r in rows
    ]
    since = int(rows["valid_from"][0]) if len(rows) else 0
    check_brackets(f"the brackets from {clock.iso(since)}" if since else "the brackets", brackets, where)


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
