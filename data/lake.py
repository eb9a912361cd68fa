"""The store as a folder of Parquet: many machines can read one lake.

Layout: `venue=binance/table=candles/symbol=BTC%2FUSDT%3AUSDT/month=2024-01/part.parquet`; tables without a symbol or
a time in their key leave that level out. Files keep every column, so any Parquet reader can use them.
`unwind-lake.json` at the top names the schema version and says when the export is complete, so that a half-written
folder is not taken for a whole one. Exporting again into the same folder replaces or extends it file by file.
"""

from __future__ import annotations

import glob
import json
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
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
_INGESTS = Path("table=ingests") / "part.parquet"
_READABLE = (1, SCHEMA_VERSION)  # version 2 added a table and changed none; a table without files is empty
_TOGETHER = 32  # files of a lake that are imported in one transaction
LOOK_BACK = 8 * clock.DAY  # so that what was known at the start is known in the lake too


def check(folder: Path) -> None:
    mark = folder / _MARK
    if not mark.is_file():
        raise StoreVersion(
            f"{folder} is a folder but no exported lake (no {_MARK} in it); name a .duckdb file or run unwind export"
        )
    about = json.loads(mark.read_text())
    if not about.get("complete"):
        raise StoreVersion(f"{folder}: its export was interrupted; run the same unwind export again")
    if about["schema_version"] not in _READABLE:
        raise StoreVersion(
            f"{folder} was exported with schema {about['schema_version']}, this version reads {SCHEMA_VERSION}; "
            "export it again"
        )


def _set_mark(folder: Path, complete: bool) -> None:
    about = {"schema_version": SCHEMA_VERSION, "complete": complete}
    fresh = folder / (_MARK + ".new")
    fresh.write_text(json.dumps(about) + "\n")
    fresh.replace(folder / _MARK)


@dataclass(frozen=True)
class Selection:
    """What is exported. Times are [start, end); what was known at the start comes along."""

    venue: str | None = None
    symbol: str | None = None
    start: int | None = None
    end: int | None = None

    def where(self, t: Table) -> tuple[str, list[Any]]:
        """Terms and brackets hold from their date on, so earlier ones stay; feeds reach back a little."""
        start = self.start
        if start is not None and t.time == "valid_from":
            start = None
        elif start is not None and t.name != "candles":
            start -= LOOK_BACK
        clause, params = filters(t, self.venue, None, start, self.end, None)
        if self.symbol is not None and "symbol" in t.names:
            clause += " AND symbol IN (?, '*')"
            params.append(self.symbol)
        return clause, params


def export(con: Connection, folder: Path, chosen: Selection, tables: Sequence[str] | None) -> dict[str, int]:
    """Files are replaced one by one, each whole; what lies beside the selection stays as it is."""
    wanted = [table(n) for n in (tables or TABLES) if n != "ingests"]
    known = (folder / _MARK).is_file()
    if folder.exists() and not known and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreNotWritable(f"{folder} is not empty and no earlier export; name a new folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not known:
            _set_mark(folder, complete=False)
        counts = {t.name: n for t in wanted if (n := _export_table(con, t, folder, chosen))}
        _export_ingests(con, folder, [t.name for t in wanted], chosen)
        _set_mark(folder, complete=True)
    except OSError as problem:
        raise StoreNotWritable(f"{folder} cannot be written: {problem.strerror}") from None
    return counts


def _export_table(con: Connection, t: Table, folder: Path, chosen: Selection) -> int:
    where, params = chosen.where(t)
    levels = [c for c in ("venue", "symbol") if c in t.key]
    by_month = sql.month_of(t) is not None
    fields = sql.names(t.names)
    month = f", strftime({sql.name(t.time)}, '%Y-%m') AS _month" if by_month else ""
    names = [*levels, *(["_month"] if by_month else [])]
    source = f"(SELECT {fields}{month} FROM {sql.name(t.name)} WHERE {where})"
    keys = sql.names(names)
    parts = con.execute(f"SELECT {keys + ', ' if keys else ''}count(*) FROM {source} GROUP BY ALL", params).fetchall()
    for *part, count in parts:
        if not count:
            continue
        own = " AND ".join(f"{sql.name(n)} = {sql.literal(v)}" for n, v in zip(names, part, strict=True)) or "TRUE"
        rows = f"SELECT {fields} FROM {source} WHERE {own}"
        target = folder / _place(t, levels, by_month, part)
        if target.is_file() and (chosen.start is not None or chosen.end is not None):
            old = f"SELECT {fields} FROM read_parquet({_quoted_path(target)}, hive_partitioning = false)"
            rows = f"{rows} UNION ALL SELECT * FROM ({old}) o WHERE NOT EXISTS (SELECT 1 FROM ({rows}) n WHERE "
            rows += f"{sql.same(t.key, 'o', 'n')})"
            params_here = [*params, *params]
        else:
            params_here = params
        _write(con, f"SELECT * FROM ({rows}) ORDER BY {sql.names(t.key)}", params_here, target)
    return sum(count for *_, count in parts)


def _write(con: Connection, query: str, params: Sequence[Any], target: Path) -> None:
    """A file appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name("." + target.name + ".new")
    con.execute(f"COPY ({query}) TO {sql.text(str(fresh))} (FORMAT parquet, COMPRESSION zstd)", list(params))
    fresh.replace(target)


def _quoted_path(path: Path) -> str:
    return sql.text(glob.escape(str(path)))


def _export_ingests(con: Connection, folder: Path, tables: Sequence[str], chosen: Selection) -> None:
    """Provenance of the tables exported. What an origin covers is cut to the selection: the rest is not in the lake."""
    clauses: list[str] = [f"table_name IN ({', '.join(map(sql.text, tables))})"]
    params: list[Any] = []
    covers = {"covers_from": "covers_from", "covers_to": "covers_to"}
    names = "symbols"
    if chosen.venue is not None:
        clauses.append("coalesce(venue, ?) = ?")
        params += [chosen.venue, chosen.venue]
    if chosen.symbol is not None:
        clauses.append("(symbols IS NULL OR list_contains(symbols, ?))")
        params.append(chosen.symbol)
        names = f"[{sql.text(chosen.symbol)}]"
    if chosen.start is not None:
        covers["covers_from"] = f"greatest(covers_from, {sql.literal(clock.naive(chosen.start))})"
    if chosen.end is not None:
        covers["covers_to"] = f"least(covers_to, {sql.literal(clock.naive(chosen.end))})"
    replaced = ", ".join(f"{v} AS {k}" for k, v in covers.items())
    rows = f"SELECT * REPLACE ({replaced}, {names} AS symbols) FROM ingests WHERE {' AND '.join(clauses)}"
    target = folder / _INGESTS
    if target.is_file():
        rows = f"{rows} UNION SELECT * FROM read_parquet({_quoted_path(target)}, hive_partitioning = false)"
    _write(con, f"SELECT * FROM ({rows}) ORDER BY id, table_name, origin", params, target)


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
        files_sql = sql.text(f"{glob.escape(str(folder))}/{pattern}")
        con.execute(
            f"CREATE VIEW {sql.name(t.name)} AS SELECT {sql.names(t.names)} FROM read_parquet({files_sql}, "
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
        todo = [(p, o) for p, o in origins.items() if (o.sha256, o.recipe) not in done]
        total = total + Written(skipped=len(files) - len(todo))
        columns = {c.name: Time(c.name) if c.kind is Kind.TIME else Col(c.name) for c in t.columns}
        batches = [Batch((Rows(t.name, Scan(p, "parquet", columns)),), (o,)) for p, o in todo]
        for i in range(0, len(batches), _TOGETHER):
            total = total + store.write(batches[i : i + _TOGETHER])
    _import_coverage(store, folder)
    return total


def _import_coverage(store: Store, folder: Path) -> None:
    """What the lake's own origins covered, without claiming that those files were stored here."""
    import pyarrow.parquet as pq

    path = folder / _INGESTS
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
