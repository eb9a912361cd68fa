"""A user's frame as `data.market_frames` reads it: columns as arrays, times as nanoseconds, rows by contract.

pandas and polars alike; a lazy polars frame is collected. What is wrong is refused with its row, counted from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data import clock
from data.align import Floats, Ints
from data.errors import BadInput, BadRow, MissingColumn, did_you_mean
from data.market_input import RATIO_FIELDS
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

    def real(self, name: str, *, signed: bool = False, unbounded: bool = False) -> Floats:
        """Numbers, which are below zero only if `signed` and infinite only if `unbounded`. Missing ones are NaN."""
        if (found := self.find(name)) is None:
            raise MissingColumn(self.where, [name], self.names)
        values = _numbers(self.frame[found], f"{self.where}: column {found}")[self.rows]
        if not unbounded and np.isinf(values).any():
            raise self.bad(int(np.argmax(np.isinf(values))), f"{found} is infinite")
        if not signed and np.any(values < 0):
            j = int(np.argmax(values < 0))
            raise self.bad(j, f"{found} is negative: {values[j]:g}")
        return values

    def maybe(self, name: str, *, unbounded: bool = False) -> Floats | None:
        return None if self.find(name) is None else self.real(name, unbounded=unbounded)

    def time(self, name: str) -> Ints | None:
        return _times(self.frame[name], f"{self.where}: column {name}")[self.rows] if name in self.names else None

    def text(self, name: str) -> list[str]:
        if (found := self.find(name)) is None:
            raise MissingColumn(self.where, [name], self.names)
        values = list(self.frame[found])
        return [str(values[row]).strip().lower() for row in self.rows]

    def known_at(self, fact: Ints) -> Ints | None:
        """When each row was known, which cannot be before the fact; None if the frame does not say."""
        known = self.time("known_at")
        if known is not None and np.any(early := known < fact):
            j = int(np.argmax(early))
            what = f"known_at is {clock.iso(int(known[j]))}, before what it tells of at {clock.iso(int(fact[j]))}"
            raise self.bad(j, f"{what}: nobody knows a row before its time")
        return known

    def bad(self, j: int, problem: str) -> BadRow:
        return BadRow(self.where, int(self.rows[j]), problem)


# ---- frames ------------------------------------------------------------------------------------


def tables(frame: Any, where: str, venue: str, symbols: Iterable[str]) -> dict[str, Table]:
    """A frame, a mapping of frames or a frame with a column `symbol`, by unified symbol."""
    if frame is None:
        return {}
    if isinstance(frame, Mapping):
        named = {str(s): _table(f, f"{where} of {s}") for s, f in frame.items()}
        for name, table in named.items():
            _only(table, name, venue)
    else:
        whole = _table(frame, where)
        if "symbol" not in whole.names:
            wanted = [unified(s, venue) for s in symbols]
            if len(wanted) != 1:
                raise BadInput(f"{where}: say of which symbol: give a dict of symbol to frame, or a column symbol")
            return {wanted[0]: whole}
        named = _by_symbol(whole)
    names: dict[str, str] = {}
    for name in named:
        if (twin := names.setdefault(unified(name, venue), name)) != name:
            raise BadInput(f"{where}: {twin} and {name} are one contract, {unified(name, venue)}: use one name for it")
    return {unified(name, venue): table for name, table in named.items()}


def joined(found: dict[str, Table], kind: str, symbols: Iterable[str], notes: list[str]) -> dict[str, Table]:
    """The tables of the candles' symbols. If none of them is, the names do not fit, and that is refused."""
    there = list(symbols)
    extra = [s for s in found if s not in there]
    if extra and len(extra) == len(found):
        hint = did_you_mean(extra[0], there)
        name = f"give both one name (candles without a name: symbol={extra[0]!r})"
        raise BadInput(f"{kind}: is of {extra[0]}, of which there are no candles: {hint} If they are one, {name}")
    if extra:
        notes.append(f"{kind} of {', '.join(extra)} is left out: there are no candles of that name")
    return {s: table for s, table in found.items() if s in there}


def _table(frame: Any, where: str) -> Table:
    library = type(frame).__module__.split(".")[0]
    if library == "polars" and type(frame).__name__ == "LazyFrame":
        frame = frame.collect()
    if library not in ("pandas", "polars") or not hasattr(frame, "columns"):
        raise BadInput(f"{where}: a {type(frame).__name__} is no pandas or polars frame")
    names = [str(c) for c in frame.columns]
    if doubled := next((n for n in names if names.count(n) > 1), None):
        raise BadInput(f"{where}: two columns are called {doubled}: keep one of them")
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


def _by_symbol(whole: Table) -> dict[str, Table]:
    column = whole.frame["symbol"]
    gone = np.asarray(column.is_null() if hasattr(column, "is_null") else column.isna())[whole.rows]
    if gone.any():
        raise whole.bad(int(np.argmax(gone)), "the symbol is missing")
    named = np.array([str(s) for s in column], dtype=object)[whole.rows]
    return {
        s: Table(f"{whole.where} of {s}", whole.frame, whole.rows[named == s], whole.ts[named == s])
        for s in dict.fromkeys(named)
    }


def _only(table: Table, name: str, venue: str) -> None:
    if "symbol" in table.names:
        for other in _by_symbol(table):
            if unified(other, venue) != unified(name, venue):
                raise BadInput(f"{table.where}: its column symbol holds {other}: give the frame itself, or one of each")


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
