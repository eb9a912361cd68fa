"""Where rows came from: one line in `ingests` for each file, page or request, in the transaction of its rows.

1. What an origin covers tells silence from absence in event feeds. Where a source does not say, a file of liquidations
   speaks for the time from its first to its last event, and for the symbols in it.
2. `stored` tells which origins need not be read again: they are stored, and no *other* import has changed anything
   since that they speak of. Files of one import keep their order among themselves (data.ingest).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from data import clock, sql
from data.rows import Batch, Const, Expr, Origin, Rows, Scan, Written
from data.scanning import to_arrow
from data.schema import TABLES, Kind
from data.sql import Connection

_DIRECT = Origin("direct", "rows")
_EVENTS = "liquidations"


def record(con: Connection, batches: Sequence[Batch], done: dict[str, Written], version: str) -> None:
    row = sql.one(con, "SELECT coalesce(max(id), 0) + 1 FROM ingests")
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    lines = []
    for b in batches:
        venue = _venue_of(b)
        for origin in b.origins or (_DIRECT,):
            for name in origin.tables or dict.fromkeys(r.table for r in b.rows):
                told = _spoken_for(b, origin) if name == _EVENTS else origin
                w = done.get(name, Written())
                lines.append(_line(row[0], now, name, replace(told, venue=origin.venue or venue), w, version))
    if lines:
        _insert(con, lines)


def _spoken_for(b: Batch, origin: Origin) -> Origin:
    """The origin with what its events cover, where it does not say so itself."""
    frames = [_events(r) for r in b.rows if r.table == _EVENTS and not isinstance(r.data, Scan)]
    spans = [f for f in frames if f is not None]
    if origin.covers is not None or not spans:
        return origin
    covers = (min(s[0] for s in spans), max(s[1] for s in spans) + 1)
    symbols = tuple(sorted({name for s in spans for name in s[2]}))
    return replace(origin, covers=covers, symbols=origin.symbols or symbols)


def _events(rows: Rows) -> tuple[int, int, list[str]] | None:
    """First and last time (nanoseconds) and symbols of a frame of events."""
    import pyarrow as pa
    import pyarrow.compute as pc

    frame = to_arrow(rows.data, rows.table)
    if not len(frame) or "ts" not in frame.schema.names or not pa.types.is_timestamp(frame.schema.field("ts").type):
        return None
    ts = frame.column("ts").cast(pa.timestamp("ns")).cast(pa.int64())
    both = pc.min_max(ts).as_py()
    if both["min"] is None:
        return None
    named = rows.constants.get("symbol")
    symbols = [named] if named else pc.unique(frame.column("symbol")).to_pylist()
    return both["min"], both["max"], [s for s in symbols if s is not None]


def _venue_of(b: Batch) -> str:
    """The one venue that a batch names for all its rows, if it does."""
    named = {
        rows.constants.get("venue")
        or _constant(rows.data.columns.get("venue") if isinstance(rows.data, Scan) else None)
        for rows in b.rows
    }
    return str(named.pop() or "") if len(named) == 1 else ""


def _constant(e: Expr | None) -> Any:
    return e.value if isinstance(e, Const) else None


def _line(number: int, now: dt.datetime, name: str, o: Origin, w: Written, version: str) -> tuple[Any, ...]:
    covers = (clock.naive(o.covers[0]), clock.naive(o.covers[1])) if o.covers else (None, None)
    symbols = list(o.symbols) if o.symbols is not None else None
    counts = (o.rows if o.rows is not None else w.rows, w.inserted, w.changed, w.unchanged)
    return (
        number,
        now,
        name,
        o.venue or None,
        symbols,
        o.source,
        o.name,
        o.sha256,
        o.recipe,
        *counts,
        *covers,
        o.run or None,
        version,
    )


def _insert(con: Connection, lines: list[tuple[Any, ...]]) -> None:
    import pyarrow as pa

    types = {
        Kind.TIME: pa.timestamp("us"),
        Kind.INT: pa.int64(),
        Kind.TEXT: pa.string(),
        Kind.TEXTS: pa.list_(pa.string()),
    }
    columns = TABLES["ingests"].columns
    arrays = [pa.array([line[i] for line in lines], types[c.kind]) for i, c in enumerate(columns)]
    con.register("_ingests_arrow", pa.table(arrays, names=[c.name for c in columns]))
    con.execute("INSERT INTO ingests SELECT * FROM _ingests_arrow")
    con.unregister("_ingests_arrow")


def stored(con: Connection, origins: Iterable[Origin], tables: Iterable[str], run: str = "") -> set[tuple[str, str]]:
    """(sha256, recipe) of origins that are stored in all these tables and still in force.

    An origin is no longer in force once an import other than `run` changed rows of its table, venue, symbols and time.
    """
    wanted = {(o.sha256, o.recipe) for o in origins if o.sha256}
    found: set[tuple[str, str]] | None = None
    for name in tables:
        rows = con.execute(_IN_FORCE, [name, run, run]).fetchall()
        here = {(r[0], r[1]) for r in rows} & wanted
        found = here if found is None else found & here
    return found or set()


_IN_FORCE = """
    WITH mine AS (SELECT * FROM ingests WHERE table_name = ?)
    SELECT DISTINCT sha256, recipe FROM mine i WHERE NOT EXISTS (
        SELECT 1 FROM mine j WHERE j.id > i.id AND j.changed > 0 AND (? = '' OR coalesce(j.run, '') <> ?)
        AND (i.venue IS NULL OR j.venue IS NULL OR i.venue = j.venue)
        AND (i.symbols IS NULL OR j.symbols IS NULL OR list_has_any(i.symbols, j.symbols))
        AND (i.covers_from IS NULL OR j.covers_from IS NULL
             OR (i.covers_from < j.covers_to AND j.covers_from < i.covers_to))
    )
"""
