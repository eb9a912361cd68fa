"""The store as a folder of Parquet: many machines can read one lake.

Layout: `venue=binance/table=candles/symbol=BTC%2FUSDT%3AUSDT/month=2024-01/part.parquet`; tables without a symbol or
a time in their key leave that level out. Files keep every column, so any Parquet reader can use them.
`unwind-lake.json` at the top names the schema version; it is written last, so that a half-written folder is not taken
for a whole one.
"""

from __future__ import annotations

import json
import shutil
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import clock, sql
from data.errors import NotFound, StoreNotWritable, StoreVersion
from data.reading import filters
from data.rows import Batch, Col, Origin, Rows, Scan, Time, Written, sha256_of
from data.schema import SCHEMA_VERSION, TABLES, Kind, Table, ddl, table
from data.sql import Connection

if TYPE_CHECKING:
    from data.store import Store

_MARK = "unwind-lake.json"


def check(folder: Path) -> None:
    mark = folder / _MARK
    if not mark.is_file():
        raise StoreVersion(
            f"{folder} is a folder but no exported lake (no {_MARK} in it); name a .duckdb file or run unwind export"
        )
    found = json.loads(mark.read_text())["schema_version"]
    if found != SCHEMA_VERSION:
        raise StoreVersion(
            f"{folder} was exported with schema {found}, this version reads {SCHEMA_VERSION}; export it again"
        )


def export(
    con: Connection,
    folder: Path,
    venue: str | None,
    symbol: str | None,
    tables: Sequence[str] | None,
    start: Any,
    end: Any,
) -> dict[str, int]:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not (folder / _MARK).is_file():
        raise StoreNotWritable(f"{folder} is not empty and no earlier export; name a new folder")
    chosen = [table(n) for n in tables] if tables else list(TABLES.values())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MARK).unlink(missing_ok=True)
    except OSError as problem:
        raise StoreNotWritable(f"{folder} cannot be written: {problem.strerror}") from None
    counts = {t.name: n for t in chosen if (n := _export_table(con, t, folder, venue, symbol, start, end))}
    _export_ingests(con, folder, [t.name for t in chosen], venue, symbol, start, end)
    (folder / _MARK).write_text(json.dumps({"schema_version": SCHEMA_VERSION, "rows": counts}, indent=1) + "\n")
    return counts


def _export_table(
    con: Connection, t: Table, folder: Path, venue: str | None, symbol: str | None, start: Any, end: Any
) -> int:
    where, params = filters(t, venue, symbol, start, end, None)
    levels = [c for c in ("venue", "symbol") if c in t.key]
    by_month = sql.month_of(t) is not None
    fields = sql.names(t.names)
    month = f", strftime({sql.name(t.time)}, '%Y-%m') AS _month" if by_month else ""
    keys = sql.names(levels) + (", " if levels and by_month else "") + ("_month" if by_month else "")
    source = f"(SELECT {fields}{month} FROM {sql.name(t.name)} WHERE {where})"
    parts = con.execute(f"SELECT DISTINCT {keys or '1'} FROM {source} ORDER BY ALL", params).fetchall()
    for part in parts:
        target = folder / _place(t, levels, by_month, part)
        if target.parent.exists():
            shutil.rmtree(target.parent)
        target.parent.mkdir(parents=True)
        values = list(part) if keys else []
        names = [*levels, *(["_month"] if by_month else [])]
        own = " AND ".join(f"{sql.name(n)} = {sql.literal(v)}" for n, v in zip(names, values, strict=True)) or "TRUE"
        con.execute(
            f"COPY (SELECT {fields} FROM {source} WHERE {own} ORDER BY {sql.names(t.key)}) TO {sql.text(str(target))} "
            "(FORMAT parquet, COMPRESSION zstd)",
            params,
        )
    row = sql.one(con, f"SELECT count(*) FROM {source}", params)
    return int(row[0]) if row else 0


def _export_ingests(
    con: Connection, folder: Path, tables: Sequence[str], venue: str | None, symbol: str | None, start: Any, end: Any
) -> None:
    """Provenance of the tables exported. What an origin covers is cut to the selection: the rest is not in the lake."""
    clauses, params = [f"table_name IN ({', '.join(map(sql.text, tables))})"], []
    covers = {"covers_from": "covers_from", "covers_to": "covers_to"}
    names = "symbols"
    if venue is not None:
        clauses.append("coalesce(venue, ?) = ?")
        params += [venue, venue]
    if symbol is not None:
        clauses.append("(symbols IS NULL OR list_contains(symbols, ?))")
        params.append(symbol)
        names = f"[{sql.text(symbol)}]"
    if start is not None:
        covers["covers_from"] = f"greatest(covers_from, {sql.literal(clock.naive(clock.moment(start)))})"
    if end is not None:
        covers["covers_to"] = f"least(covers_to, {sql.literal(clock.naive(clock.moment(end)))})"
    replaced = ", ".join(f"{v} AS {k}" for k, v in covers.items())
    target = folder / "table=ingests" / "part.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    con.execute(
        f"COPY (SELECT * REPLACE ({replaced}, {names} AS symbols) FROM ingests WHERE {' AND '.join(clauses)} ORDER "
        "BY id) "
        f"TO {sql.text(str(target))} (FORMAT parquet)",
        params,
    )


def _place(t: Table, levels: Sequence[str], by_month: bool, part: Sequence[str]) -> Path:
    values = dict(zip([*levels, *(["month"] if by_month else [])], part, strict=False))
    steps = [f"venue={_quoted(values['venue'])}"] if "venue" in values else []
    steps.append(f"table={t.name}")
    steps += [f"{level}={_quoted(values[level])}" for level in ("symbol", "month") if level in values]
    return Path(*steps) / "part.parquet"


def _quoted(value: str) -> str:
    return urllib.parse.quote(value, safe="")


def open_views(con: Connection, folder: Path) -> None:
    """Each table as a view over its files."""
    for t in TABLES.values():
        files = _files(folder, t)
        if not files:
            con.execute(ddl(t))
            continue
        pattern = f"{'venue=*/' if 'venue' in t.key else ''}table={t.name}/**/*.parquet"
        glob = sql.text(str(folder / pattern))
        con.execute(
            f"CREATE VIEW {sql.name(t.name)} AS SELECT {sql.names(t.names)} FROM read_parquet({glob}, "
            "hive_partitioning = true, hive_types_autocast = false)"
        )


def _files(folder: Path, t: Table) -> list[Path]:
    return sorted(folder.glob(f"{'venue=*/' if 'venue' in t.key else ''}table={t.name}/**/*.parquet"))


def import_into(store: Store, folder: Path) -> Written:
    """Each file of the lake as one transaction; files stored before are skipped."""
    if not folder.is_dir():
        raise NotFound(f"{folder} is no folder")
    check(folder)
    total = Written()
    for t in TABLES.values():
        if t.name == "ingests":
            continue
        files = [(p, sha256_of(p)) for p in _files(folder, t)]
        origins = {p: Origin("lake", str(p.relative_to(folder)), sha, f"lake-{SCHEMA_VERSION}") for p, sha in files}
        done = store.stored(origins.values(), [t.name])
        for path, origin in origins.items():
            if (origin.sha256, origin.recipe) in done:
                total = total + Written(skipped=1)
                continue
            columns = {c.name: Time(c.name) if c.kind is Kind.TIME else Col(c.name) for c in t.columns}
            total = total + store.write(Batch((Rows(t.name, Scan(path, "parquet", columns)),), (origin,)))
    _import_coverage(store, folder)
    return total


def _import_coverage(store: Store, folder: Path) -> None:
    """What the lake's own origins covered, without claiming that those files were stored here."""
    import pyarrow.parquet as pq

    path = folder / "table=ingests" / "part.parquet"
    if not path.is_file():
        return
    name, sha = str(path.relative_to(folder)), sha256_of(path)
    mark = Origin("lake", name, sha, f"lake-{SCHEMA_VERSION}", rows=0, tables=("ingests",))
    if store.stored([mark], ["ingests"]):
        return
    origins = [
        Origin(
            "lake",
            row["origin"],
            rows=0,
            covers=(clock.moment(row["covers_from"]), clock.moment(row["covers_to"])),
            symbols=None if row["symbols"] is None else tuple(row["symbols"]),
            tables=(row["table_name"],),
            venue=row["venue"] or "",
        )
        for row in pq.read_table(path).to_pylist()
        if row["covers_from"] is not None and row["covers_to"] is not None and row["covers_from"] < row["covers_to"]
    ]
    store.write(Batch((), (mark, *origins)))
