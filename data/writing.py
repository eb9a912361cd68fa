"""How rows get into the store: one transaction, all or nothing, the same thing twice changes nothing.

1. Each input becomes a relation with the table's columns (data.scanning).
2. One pass over it looks for rows that break the contract; the first one is named, and nothing is stored.
3. The same pass counts and hashes it by series and month. A part whose count and hash equal the stored part is left
   alone; a part of which nothing is stored is appended in key order; only what remains is compared row by row (MERGE).
4. What was appended must rise strictly in its key. If it does not, rows stand twice in the input: everything is rolled
   back and written again with doubled rows collapsed, or refused if they disagree.
5. `ingests` gets one row for each origin, in the same transaction.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from data import clock, sql
from data.errors import BadInput, BadRow
from data.rows import Batch, Const, Expr, Origin, Rows, Scan, Written
from data.scanning import Incoming, incoming, to_arrow
from data.schema import TABLES, Column, Kind, Table
from data.sql import Connection

_OLDEST = "TIMESTAMP '2009-01-03'"  # the first bitcoin block; older stamps are a wrong unit
_YEARS_AHEAD = 50  # a simulated market may lie in the future; further is a wrong unit
_SPACING_FROM = 8  # bars before their spacing says anything
_WEEK_S = clock.WEEK // clock.SECOND
_MONDAY_S = 4 * 86_400


class _Doubled(Exception):
    """The input has rows with the same key."""


def write(con: Connection, batches: Sequence[Batch], version: str) -> Written:
    """Store the batches in one transaction of their own."""
    try:
        return _attempt(con, batches, version, careful=False)
    except _Doubled:
        return _attempt(con, batches, version, careful=True)


def _attempt(con: Connection, batches: Sequence[Batch], version: str, careful: bool) -> Written:
    con.execute("BEGIN TRANSACTION")
    views: list[str] = []
    try:
        total = Written()
        by_table: dict[str, Written] = {}
        for i, rows in enumerate(_gathered(batches)):
            views.append(f"_in{i}")
            one = _write_rows(con, rows, views[-1], careful)
            by_table[rows.table] = by_table.get(rows.table, Written()) + one
            total = total + one
        _record(con, batches, by_table, version)
        con.execute("COMMIT")
        return total
    except BaseException:
        _quietly(con, "ROLLBACK")
        raise
    finally:
        for view in views:
            for suffix in ("", "_raw"):
                _quietly(con, f"DROP VIEW IF EXISTS {sql.name(view + suffix)}")
            _quietly(con, f"DROP TABLE IF EXISTS temp.{sql.name(view + '_raw')}")
            _quietly(con, f"DROP TABLE IF EXISTS temp.{sql.name(view + '_stage')}")


def _quietly(con: Connection, statement: str) -> None:
    """Cleaning up after a failure must not hide the failure."""
    try:
        con.execute(statement)
    except Exception as ignored:  # noqa: BLE001
        del ignored


def _gathered(batches: Sequence[Batch]) -> list[Rows]:
    """Frames of one table, alike in everything but their rows, as one: a thousand small files are one insert."""
    import pyarrow as pa

    together: dict[tuple[Any, ...], list[Any]] = {}
    out: list[Rows] = []
    for rows in (r for b in batches for r in b.rows):
        if isinstance(rows.data, Scan):
            out.append(rows)
            continue
        frame = to_arrow(rows.data, rows.table)
        if rows.table == "funding" and "interval_hours" not in (*frame.schema.names, *rows.constants):
            out.append(rows)  # the interval is told by the spacing within one file
            continue
        key = (
            rows.table,
            rows.lag_s,
            tuple(sorted(rows.constants.items(), key=str)),
            str(frame.schema.remove_metadata()),
        )
        together.setdefault(key, []).append((rows, frame))
    for group in together.values():
        first = group[0][0]
        frames = [f for _, f in group]
        data = frames[0] if len(frames) == 1 else pa.concat_tables([f.replace_schema_metadata(None) for f in frames])
        out.append(Rows(first.table, data, first.constants, first.lag_s))
    return out


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
        _check_spacing(con, inc, parts)
    stored = _stored_parts(con, inc, parts)
    new = [p for p in parts if p.keys not in stored]
    touched = [p for p in parts if p.keys in stored and stored[p.keys] != (p.count, p.hash)]
    same = read - sum(p.count for p in new) - sum(p.count for p in touched)
    if careful:
        touched, new = touched + new, []
    done = Written(rows=read, unchanged=same, per_table={t.name: read})
    if new:
        done = done + _append(con, inc, new, everything=len(new) == len(parts))
    if touched:
        done = done + _merge(con, inc, touched, everything=len(touched) == len(parts))
    return done


def _profile(con: Connection, inc: Incoming) -> list[_Part]:
    t = inc.table
    month = sql.month_of(t) or "NULL"
    time = sql.name(t.time) if sql.month_of(t) else "CAST(NULL AS TIMESTAMP)"
    broken = " OR ".join(f"({test})" for test, _ in _rules(inc))
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
        _explain(con, inc)
    return [_Part(tuple(r[:-5]), r[-5], r[-4], r[-3], int(r[-2])) for r in found]


def _rules(inc: Incoming) -> list[tuple[str, str]]:
    """What makes a row unacceptable, and how to say so; `{}` is the row's value."""
    t, rules = inc.table, []
    for c in t.columns:
        if c.required or c.name in inc.given:
            rules += _column_rules(c, c.name in inc.given)
    if t.name == "candles":
        origin = f"CASE WHEN interval_s % {_WEEK_S} = 0 THEN {_MONDAY_S * 1_000_000} ELSE 0 END"
        rules.append(
            (
                f"(epoch_us(ts) - {origin}) % (interval_s * 1000000) <> 0",
                "ts {ts} is not the open of a {interval_s} s bar",
            )
        )
    return rules


def _column_rules(c: Column, given: bool) -> list[tuple[str, str]]:
    n, rules = sql.name(c.name), []
    if c.required:
        rules.append((f"{n} IS NULL", f"{c.name} is empty"))
    if not given:
        return rules
    if c.kind is Kind.REAL:
        rules.append((f"isinf({n})", f"{c.name} is infinite"))
    if c.low is not None:
        rules.append((f"{n} < {c.low!r}", f"{c.name} is {{{c.name}}}, below {c.low:g}{_hint(c)}"))
    if c.high is not None:
        rules.append((f"{n} > {c.high!r}", f"{c.name} is {{{c.name}}}, above {c.high:g}{_hint(c)}"))
    if c.choices:
        rules.append(
            (
                f"{n} NOT IN ({', '.join(map(sql.text, c.choices))})",
                f"{c.name} is {{{c.name}}}, not one of {', '.join(c.choices)}",
            )
        )
    if c.kind is Kind.TIME:
        newest = f"now()::TIMESTAMP + INTERVAL {_YEARS_AHEAD} YEAR"
        complaint = f"{c.name} is {{{c.name}}}: is the unit of time wrong?"
        rules.append((f"{n} < {_OLDEST} OR {n} > {newest}", complaint))
    return rules


def _hint(c: Column) -> str:
    return "; rates are fractions: is it in percent?" if c.name == "rate" else ""


def _explain(con: Connection, inc: Incoming) -> None:
    """Raise for the first row that breaks a rule."""
    rules = _rules(inc)
    broken = " OR ".join(f"({test})" for test, _ in rules)
    fields = sql.names(inc.table.names)
    flags = ", ".join(f"coalesce({test}, FALSE)" for test, _ in rules)
    row = sql.one(con, f"SELECT _row, {flags}, {fields} FROM {inc.view} WHERE {broken} ORDER BY _row LIMIT 1")
    complaint = next(say for (_, say), flag in zip(rules, row[1 : 1 + len(rules)], strict=True) if flag)
    values = dict(zip(inc.table.names, row[1 + len(rules) :], strict=True))
    raise BadRow(inc.where, row[0], complaint.format(**values))


def _check_spacing(con: Connection, inc: Incoming, parts: list[_Part]) -> None:
    """Refuse bars whose commonest spacing is not the interval they are said to have."""
    spans: dict[tuple[Any, ...], list[Any]] = {}
    for p in parts:
        n, first, last = spans.setdefault(p.keys[:-1], [0, p.first, p.last])
        spans[p.keys[:-1]] = [n + p.count, min(first, p.first), max(last, p.last)]
    for keys, (n, first, last) in spans.items():
        interval_s = keys[-1]
        slots = (last - first).total_seconds() / interval_s + 1
        if n < _SPACING_FROM or n / slots >= 0.75:
            continue
        series = " AND ".join(f"{sql.name(c)} = {sql.literal(v)}" for c, v in zip(inc.table.series, keys, strict=True))
        row = sql.one(
            con,
            "SELECT mode(d) FROM (SELECT (epoch_us(ts) - epoch_us(lag(ts) OVER (ORDER BY ts))) // 1000000 AS d "
            f"FROM (SELECT DISTINCT ts FROM {inc.view} WHERE {series}))",
        )
        if row and row[0] and row[0] != interval_s:
            told, real = clock.label(interval_s * clock.SECOND), clock.label(int(row[0]) * clock.SECOND)
            raise BadInput(
                f"{inc.where}: {keys[1]} is said to have {told} bars, but they come every {real}; pass --interval "
                f"{real}"
            )


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
    values = t.values
    changes = f"WHEN MATCHED AND ({sql.differ(values, 't', 's')}) THEN UPDATE SET " + ", ".join(
        f"{sql.name(c)} = s.{sql.name(c)}" for c in values
    )
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


def _refuse_clash(con: Connection, inc: Incoming, key: Sequence[Any]) -> None:
    where = " AND ".join(f"{sql.name(c)} = {sql.literal(v)}" for c, v in zip(inc.table.key, key, strict=True))
    rows = [r[0] for r in con.execute(f"SELECT _row FROM {inc.view} WHERE {where} ORDER BY _row LIMIT 2").fetchall()]
    named = ", ".join(f"{c} {v}" for c, v in zip(inc.table.key, key, strict=True))
    first, second = ([*rows, None, None])[:2]
    raise BadRow(inc.where, second, f"has the same key as row {first} but other values ({named}); keep one of them")


# ---- provenance ----------------------------------------------------------------------------------------------------


def _record(con: Connection, batches: Sequence[Batch], done: dict[str, Written], version: str) -> None:
    row = sql.one(con, "SELECT coalesce(max(id), 0) + 1 FROM ingests")
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    lines = []
    for b in batches:
        for origin in b.origins:
            for name in origin.tables or dict.fromkeys(r.table for r in b.rows):
                w = done.get(name, Written())
                venue = origin.venue or _venue_of(b)
                lines.append(_line(row[0], now, name, replace(origin, venue=venue), w, version))
    if lines:
        _insert_ingests(con, lines)


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
        version,
    )


def _insert_ingests(con: Connection, lines: list[tuple[Any, ...]]) -> None:
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


def stored(con: Connection, origins: Iterable[Origin], tables: Iterable[str]) -> set[tuple[str, str]]:
    """(sha256, recipe) of origins that are stored in all these tables, with nothing changed there since by another."""
    wanted = {(o.sha256, o.recipe) for o in origins if o.sha256}
    found: set[tuple[str, str]] | None = None
    for name in tables:
        rows = con.execute(
            "SELECT DISTINCT sha256, recipe FROM ingests i WHERE table_name = ? AND NOT EXISTS (SELECT 1 FROM "
            "ingests j "
            "WHERE j.table_name = i.table_name AND j.id > i.id AND j.changed > 0 AND coalesce(j.venue, '') = "
            "coalesce(i.venue, ''))",
            [name],
        ).fetchall()
        here = {(r[0], r[1]) for r in rows} & wanted
        found = here if found is None else found & here
    return found or set()
