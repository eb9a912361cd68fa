"""How rows get into the store: one transaction, all or nothing, the same thing twice changes nothing.

1. Each input becomes a relation with the table's columns (data.scanning).
2. One pass over it looks for rows that break the contract (data.refusing); the first is named, nothing is stored.
3. The same pass counts and hashes it by series and month. A part whose count and hash equal the stored part is left
   alone; a part of which nothing is stored is appended in key order; only what remains is compared row by row (MERGE).
4. What was appended must rise strictly in its key. If it does not, rows stand twice in the input: everything is rolled
   back and written again with doubled rows collapsed, or refused if they disagree.
5. `ingests` gets one row for each origin, in the same transaction (data.provenance).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data import provenance, sql
from data.errors import BadInput, BadRow
from data.refusing import check_brackets, check_spacing, explain, rules
from data.rows import Batch, Rows, Scan, Written
from data.scanning import Incoming, incoming, to_arrow
from data.schema import Table
from data.sql import Connection


class _Doubled(Exception):
    """The input has rows with the same key."""


class _Clash(BadRow):
    """The input has rows with the same key and other values."""


def write(con: Connection, batches: Sequence[Batch], version: str) -> Written:
    """Store the batches in one transaction of their own.

    Of two batches that contradict each other the later one wins, as if each had been written alone.
    """
    try:
        return _attempt(con, batches, version, careful=False)
    except _Doubled:
        pass
    try:
        return _attempt(con, batches, version, careful=True)
    except _Clash:
        if len(batches) == 1:
            raise
    return _attempt(con, batches, version, careful=True, apart=True)


def _attempt(con: Connection, batches: Sequence[Batch], version: str, careful: bool, apart: bool = False) -> Written:
    con.execute("BEGIN TRANSACTION")
    views: list[str] = []
    try:
        total = Written()
        by_table: dict[str, Written] = {}
        for i, rows in enumerate(_gathered(batches, apart)):
            views.append(f"_in{i}")
            one = _write_rows(con, rows, views[-1], careful)
            by_table[rows.table] = by_table.get(rows.table, Written()) + one
            total = total + one
        provenance.record(con, batches, by_table, version)
        con.execute("COMMIT")
        return total
    except BaseException:
        _quietly(con, "ROLLBACK")
        raise
    finally:
        for view in views:
            for suffix in ("", "_raw"):
                _quietly(con, f"DROP VIEW IF EXISTS {sql.name(view + suffix)}")
            for suffix in ("_raw", "_stage"):
                _quietly(con, f"DROP TABLE IF EXISTS temp.{sql.name(view + suffix)}")


def _quietly(con: Connection, statement: str) -> None:
    """Cleaning up after a failure must not hide the failure."""
    try:
        con.execute(statement)
    except Exception as ignored:  # noqa: BLE001
        del ignored


def _gathered(batches: Sequence[Batch], apart: bool) -> list[Rows]:
    """Neighbours of one table, alike in everything but their rows, as one: a thousand small files are one insert."""
    groups: dict[str, list[tuple[Any, list[tuple[Rows, Any]]]]] = {}
    for rows in (r for b in batches for r in b.rows):
        of_table = groups.setdefault(rows.table, [])
        frame = None if isinstance(rows.data, Scan) else to_arrow(rows.data, rows.table)
        alike = None if apart or frame is None else _alike(rows, frame)
        if alike is not None and of_table and of_table[-1][0] == alike:
            of_table[-1][1].append((rows, frame))
        else:
            of_table.append((alike, [(rows, frame)]))
    return [_joined(group) for of_table in groups.values() for _, group in of_table]


def _alike(rows: Rows, frame: Any) -> tuple[Any, ...] | None:
    if rows.table == "funding" and "interval_hours" not in (*frame.schema.names, *rows.constants):
        return None  # the interval is told by the spacing within one file
    constants = tuple(sorted(rows.constants.items(), key=str))
    return rows.lag_s, constants, str(frame.schema.remove_metadata())


def _joined(group: list[tuple[Rows, Any]]) -> Rows:
    import pyarrow as pa

    first = group[0][0]
    if len(group) == 1:
        return first
    data = pa.concat_tables([frame.replace_schema_metadata(None) for _, frame in group])
    return Rows(first.table, data, first.constants, first.lag_s)


# ---- one relation into one table -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """One series in one month: what comes in."""

    keys: tuple[Any, ...]
    count: int
    first: dt.datetime | None
    last: dt.datetime | None
    hash: int


def _write_rows(con: Connection, rows: Rows, view: str, careful: bool) -> Written:
    inc = incoming(con, rows, view)
    t = inc.table
    parts = _profile(con, inc)
    read = sum(p.count for p in parts)
    if t.name == "candles":
        check_spacing(con, inc, _spans(parts))
    dropped = 0
    if t.name == "tiers":
        check_brackets(con, inc)
        dropped = _drop_replaced(con, inc)
    stored = _stored_parts(con, inc, parts)
    new = [p for p in parts if p.keys not in stored]
    touched = [p for p in parts if p.keys in stored and stored[p.keys] != (p.count, p.hash)]
    same = read - sum(p.count for p in new) - sum(p.count for p in touched)
    if careful:
        touched, new = touched + new, []
    done = Written(rows=read, unchanged=same, changed=dropped, per_table={t.name: read})
    if new:
        done = done + _append(con, inc, new, everything=len(new) == len(parts))
    if touched:
        done = done + _merge(con, inc, touched, everything=len(touched) == len(parts))
    return done


def _spans(parts: list[_Part]) -> list[tuple[tuple[Any, ...], int, Any, Any]]:
    """Series by series: how many rows, from when to when."""
    spans: dict[tuple[Any, ...], list[Any]] = {}
    for p in parts:
        n, first, last = spans.setdefault(p.keys[:-1], [0, p.first, p.last])
        spans[p.keys[:-1]] = [n + p.count, min(first, p.first), max(last, p.last)]
    return [(keys, n, first, last) for keys, (n, first, last) in spans.items()]


def _drop_replaced(con: Connection, inc: Incoming) -> int:
    """A table of brackets replaces the whole one of the same moment: brackets that are gone must not linger."""
    whole = ("venue", "symbol", "valid_from", "known_at")
    gone = con.execute(
        f"DELETE FROM tiers t WHERE EXISTS (SELECT 1 FROM {inc.view} v WHERE {sql.same(whole, 't', 'v')}) "
        f"AND NOT EXISTS (SELECT 1 FROM {inc.view} v WHERE {sql.same((*whole, 'floor'), 't', 'v')}) RETURNING 1"
    ).fetchall()
    return len(gone)


def _profile(con: Connection, inc: Incoming) -> list[_Part]:
    t = inc.table
    month = sql.month_of(t) or "NULL"
    time = sql.name(t.time) if sql.month_of(t) else "CAST(NULL AS TIMESTAMP)"
    broken = " OR ".join(f"({test})" for test, _ in rules(inc))
    query = (
        f"SELECT {sql.names(t.series)}{', ' if t.series else ''}{month} AS _month, count(*), min({time}), max({time}), "
        f"CAST(sum(hash({sql.names(t.names)})) AS VARCHAR), count_if({broken}) FROM {inc.view} GROUP BY ALL"
    )
    try:
        found = con.execute(query).fetchall()
    except Exception as problem:
        if type(problem).__name__ in ("ConversionException", "OutOfRangeException", "InvalidInputException"):
            raise BadInput(f"{inc.where}: {str(problem).strip().splitlines()[0]}") from None
        raise
    if any(r[-1] for r in found):
        explain(con, inc)
    return [_Part(tuple(r[:-5]), r[-5], r[-4], r[-3], int(r[-2])) for r in found]


def _stored_parts(con: Connection, inc: Incoming, parts: list[_Part]) -> dict[tuple[Any, ...], tuple[int, int]]:
    """Count and hash of what is stored within the bounds of each incoming part; absent where nothing is."""
    t = inc.table
    row = sql.one(con, f"SELECT count(*) FROM {sql.name(t.name)}")
    if not parts or row is None or row[0] == 0:
        return {}
    month = sql.month_of(t)
    _parts_table(con, inc, parts)
    bounds = f" AND t.{sql.name(t.time)} BETWEEN p._first AND p._last" if month else ""
    query = (
        f"SELECT {sql.names(t.series, 'p.')}{', ' if t.series else ''}p._month, count(*), "
        f"CAST(sum(hash({sql.names(t.names, 't.')})) AS VARCHAR) "
        f"FROM {sql.name(t.name)} t JOIN _parts p ON {_on_part(t)}{bounds} GROUP BY ALL"
    )
    return {tuple(r[:-2]): (r[-2], int(r[-1])) for r in con.execute(query).fetchall()}


def _on_part(t: Table, alias: str = "t") -> str:
    clauses = [sql.same(t.series, alias, "p")] if t.series else []
    if sql.month_of(t):
        clauses.append(f"date_trunc('month', {alias}.{sql.name(t.time)}) = p._month")
    return " AND ".join(clauses) or "TRUE"


def _parts_table(con: Connection, inc: Incoming, parts: list[_Part]) -> None:
    import pyarrow as pa

    t = inc.table
    columns: dict[str, Any] = {c: [p.keys[i] for p in parts] for i, c in enumerate(t.series)}
    stamps = pa.timestamp("us")
    columns["_month"] = pa.array([p.keys[-1] for p in parts], stamps)
    columns["_first"] = pa.array([p.first for p in parts], stamps)
    columns["_last"] = pa.array([p.last for p in parts], stamps)
    con.register("_parts_arrow", pa.table(columns))
    con.execute("CREATE OR REPLACE TEMP TABLE _parts AS SELECT * FROM _parts_arrow")
    con.unregister("_parts_arrow")


def _from_parts(con: Connection, inc: Incoming, parts: list[_Part], everything: bool) -> str:
    if everything:
        return f"{inc.view} v"
    _parts_table(con, inc, parts)
    return f"{inc.view} v SEMI JOIN _parts p ON {_on_part(inc.table, 'v')}"


def _append(con: Connection, inc: Incoming, parts: list[_Part], everything: bool) -> Written:
    t = inc.table
    row = sql.one(con, f"SELECT coalesce(max(rowid), -1) FROM {sql.name(t.name)}")
    source = _from_parts(con, inc, parts, everything)
    fields = sql.names(t.names)
    con.execute(
        f"INSERT INTO {sql.name(t.name)} SELECT {sql.names(t.names, 'v.')} FROM {source} ORDER BY "
        f"{sql.names(t.key, 'v.')}"
    )
    lags = ", ".join(f"lag({sql.name(c)}) OVER () AS {sql.name('p_' + c)}" for c in t.key)
    twice = sql.one(
        con,
        f"SELECT count(*) FROM (SELECT {fields}, {lags} FROM {sql.name(t.name)} WHERE rowid > {row[0]}) WHERE "
        f"{sql.not_rising(t.key)}",
    )
    if twice and twice[0]:
        raise _Doubled
    return Written(inserted=sum(p.count for p in parts))


def _merge(con: Connection, inc: Incoming, parts: list[_Part], everything: bool) -> Written:
    t = inc.table
    stage = f"temp.{sql.name(inc.view + '_stage')}"
    source = _from_parts(con, inc, parts, everything)
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {sql.name(inc.view + '_stage')} AS SELECT DISTINCT {sql.names(t.names, 'v.')} "
        f"FROM {source}"
    )
    distinct = sql.one(con, f"SELECT count(*) FROM {stage}")[0]
    clash = sql.one(
        con, f"SELECT {sql.names(t.key)} FROM {stage} GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT 1"
    )
    if clash is not None:
        _refuse_clash(con, inc, clash)
    # An empty value never erases one that is stored, and a guessed interval never corrects a told one.
    values = [c for c in t.values if c in inc.given]
    news = " OR ".join(_is_news(inc, c) for c in values) or "FALSE"
    changes = f"WHEN MATCHED AND ({news}) THEN UPDATE SET " + ", ".join(_replacing(inc, c) for c in values)
    actions = con.execute(
        f"MERGE INTO {sql.name(t.name)} t USING (SELECT * FROM {stage} ORDER BY {sql.names(t.key)}) s ON "
        f"{sql.same(t.key, 't', 's')} "
        f"{changes if values else ''} WHEN NOT MATCHED THEN INSERT ({sql.names(t.names)}) VALUES "
        f"({sql.names(t.names, 's.')}) "
        "RETURNING merge_action"
    ).fetchnumpy()["merge_action"]
    inserted, changed = int((actions == "INSERT").sum()), int((actions == "UPDATE").sum())
    count = sum(p.count for p in parts)
    return Written(
        inserted=inserted, changed=changed, unchanged=distinct - inserted - changed, doubled=count - distinct
    )


def _is_news(inc: Incoming, column: str) -> str:
    c = sql.name(column)
    if column in inc.guessed:
        return f"(t.{c} IS NULL AND s.{c} IS NOT NULL)"
    return f"(s.{c} IS NOT NULL AND s.{c} IS DISTINCT FROM t.{c})"


def _replacing(inc: Incoming, column: str) -> str:
    c = sql.name(column)
    first, second = ("t", "s") if column in inc.guessed else ("s", "t")
    return f"{c} = coalesce({first}.{c}, {second}.{c})"


def _refuse_clash(con: Connection, inc: Incoming, key: Sequence[Any]) -> None:
    where = " AND ".join(f"{sql.name(c)} = {sql.literal(v)}" for c, v in zip(inc.table.key, key, strict=True))
    rows = [r[0] for r in con.execute(f"SELECT _row FROM {inc.view} WHERE {where} ORDER BY _row LIMIT 2").fetchall()]
    named = ", ".join(f"{c} {v}" for c, v in zip(inc.table.key, key, strict=True))
    first, second = ([*rows, None, None])[:2]
    raise _Clash(inc.where, second, f"has the same key as row {first} but other values ({named}); keep one of them")
