"""From one answer of a venue to rows of the schema, and what makes an answer suspect.

1. The rows are found where the feed says, and the fields that its columns use are read as numbers.
2. A bar that is still open is left out: the venue's own flag, or its end, says so.
3. Suspect is an answer with a row outside the window that was asked for, a stamp off the interval's grid, a bar whose
   end does not fit its open, or two rows of one moment that differ. Nothing of it is taken; the caller asks again.

Rows come back sorted by time, each once, as a polars frame with `ts` in microseconds and the schema's columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data import clock
from data.errors import Corrupt
from data.schema import TABLES, Kind
from data.sources.manners import dig
from data.sources.venue_facts import Feed

if TYPE_CHECKING:
    import polars as pl

_WORD = re.compile(r"[A-Za-z_]\w*")
_FUNCTIONS = ("coalesce", "nullif", "size")


class Suspect(Corrupt):
    """An answer that cannot be what was asked for."""


@dataclass(frozen=True)
class Window:
    """What was asked for: nanoseconds, [start, stop); bars of `interval`, or 0 for settlements."""

    start: int
    stop: int
    interval: int = 0


def frame_of(feed: Feed, payload: Any, window: Window, inverse: bool, size: float) -> pl.DataFrame:
    """The rows of one answer, checked."""
    import polars as pl

    try:
        rows = dig(payload, feed.rows, feed.key)
    except Corrupt as problem:
        raise Suspect(str(problem)) from None
    columns = {**feed.columns, **(feed.inverse if inverse else {})}
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise Suspect(f"{feed.key}: the answer has not the documented form: no list of rows")
    fields = _fields(feed, columns)
    try:
        raw = pl.DataFrame([_series(feed, name, rows) for name in fields])
        wanted = [pl.sql_expr(formula).alias(name) for name, formula in columns.items()]
        frame = raw.with_columns(size=pl.lit(size)).select((pl.col(feed.time) * 1000).alias("ts"), *wanted)
        frame = frame.with_columns(pl.col(n).cast(t) for n, t in _types(feed, columns).items())
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, pl.exceptions.PolarsError) as problem:
        words = str(problem).strip().splitlines() or [type(problem).__name__]
        raise Suspect(f"{feed.key}: a row has not the documented form ({words[0][:120]})") from None
    _check(feed, raw, frame, window)
    if feed.confirmed is not None:
        frame = frame.filter(raw[feed.confirmed[0]] == float(feed.confirmed[1]))
    return _once(feed, frame)


def _fields(feed: Feed, columns: Mapping[str, str]) -> list[str]:
    words = {w for formula in columns.values() for w in _WORD.findall(formula)}
    extra = {feed.closes, feed.confirmed[0] if feed.confirmed else ""}
    return [feed.time, *sorted((words | extra) - {"", feed.time, *_FUNCTIONS})]


def _series(feed: Feed, name: str, rows: Sequence[Any]) -> pl.Series:
    """One field of all rows, as numbers; what is empty is null where it may be."""
    import polars as pl

    at: Any = feed.fields.index(name) if feed.fields else name
    loose = name in feed.optional
    values = [row.get(at) for row in rows] if loose else [row[at] for row in rows]
    kind = pl.Int64 if name in (feed.time, feed.closes) else pl.Float64
    if isinstance(next((v for v in values if v is not None), None), str):
        texts = pl.Series(name, [None if v == "" or v is None else str(v) for v in values], dtype=pl.String)
        numbers = texts.cast(kind)
    else:
        numbers = pl.Series(name, values, dtype=kind)
    if not loose and numbers.null_count():
        raise ValueError(f"{name} is empty")
    if kind == pl.Float64 and not numbers.drop_nulls().is_finite().all():
        raise ValueError(f"{name} is no number")
    return numbers


def _types(feed: Feed, columns: Mapping[str, str]) -> dict[str, Any]:
    import polars as pl

    t = TABLES[feed.table]
    return {n: pl.Int64 if t.column(n).kind is Kind.INT else pl.Float64 for n in columns}


def _check(feed: Feed, raw: pl.DataFrame, frame: pl.DataFrame, window: Window) -> None:
    import polars as pl

    if not len(frame):
        return
    stamps = frame["ts"] * clock.US
    first, last = int(stamps.min()), int(stamps.max())  # type: ignore[arg-type]
    if first < window.start or last >= window.stop:
        other = first if first < window.start else last
        raise Suspect(
            f"{feed.key}: asked from {clock.iso(window.start)} to {clock.iso(window.stop)}, "
            f"the answer has a row of {clock.iso(other)}: its rows are shifted"
        )
    if not window.interval:
        return
    origin = clock.floor(0, window.interval)
    off = stamps.filter((stamps - origin) % window.interval != 0)
    if len(off):
        raise Suspect(f"{feed.key}: {clock.iso(int(off[0]))} does not stand on {clock.label(window.interval)}")
    if feed.closes:
        length = pl.Series(raw[feed.closes] - raw[feed.time]) + 1
        if (length != window.interval // clock.MS).any():
            raise Suspect(f"{feed.key}: a bar does not end {clock.label(window.interval)} after its open")


def _once(feed: Feed, frame: pl.DataFrame) -> pl.DataFrame:
    frame = frame.unique(maintain_order=False).sort("ts")
    if frame["ts"].n_unique() != len(frame):
        double = frame.filter(frame["ts"].is_duplicated())["ts"][0]
        raise Suspect(f"{feed.key}: two rows of {clock.iso(double * clock.US)} differ")
    return frame
