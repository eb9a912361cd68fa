"""What comes in, as one SQL relation with exactly the columns of a table.

1. A frame (pandas, polars, Arrow) is registered; a `Scan` becomes a read of its file with each `Expr` compiled.
2. Times become naive UTC, NaN becomes NULL, names become unified symbols.
3. The table's own rules are laid over it: settlement stamps snapped to the hour, `known_at` filled in.
4. Every relation carries `_row`, the number of the row in its file, for error messages.

CSV is read as text, so that a word where a number belongs is an error with a row, never a NULL.
"""

from __future__ import annotations

import csv
import glob
import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data import sql
from data.errors import BadInput, BadRow, MissingColumn, NotThisFormat
from data.rows import Col, Const, Expr, Rows, Scan, Symbol, Time
from data.schema import Column, Kind, Table, table
from data.sql import Connection
from data.symbols import unified

_UNIT_TO_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
_NUMBERS = ("BIGINT", "INTEGER", "HUGEINT", "UBIGINT", "UINTEGER", "SMALLINT", "DOUBLE", "FLOAT", "DECIMAL")
_HOUR_US = 3_600_000_000
_SNAP_US = 60_000_000


@dataclass(frozen=True)
class Incoming:
    """A relation `view` with the table's columns and `_row`; `given` are the columns that the input really fills."""

    table: Table
    view: str
    given: tuple[str, ...]
    where: str
    guessed: tuple[str, ...] = ()  # worked out from the rows around, not told by the source


def incoming(con: Connection, rows: Rows, view: str) -> Incoming:
    t = table(rows.table)
    if isinstance(rows.data, Scan):
        where = rows.data.path.name
        source, mapping, texts = _open_scan(con, rows.data, view)
    else:
        where = t.name
        source, mapping, texts = _open_frame(con, rows.data, t, view)
    mapping = {**mapping, **{k: Const(v) for k, v in rows.constants.items()}}
    unknown = [c for c in mapping if c not in t.names]
    if unknown:
        raise MissingColumn(f"table {t.name}", unknown, t.names)
    types = {r[0]: r[1] for r in con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    _need(where, mapping, types)
    venue = mapping.get("venue")
    reader = _Reader(con, source, types, where, texts, str(venue.value) if isinstance(venue, Const) else "")
    fields = [f"{reader.compile(t.column(c), e)} AS {sql.name(c)}" for c, e in mapping.items()]
    joins = " ".join(reader.joins)
    base = f"SELECT {', '.join(fields)}, _row FROM {source} {joins}"
    given = tuple(c for c in t.names if c in mapping or c == "known_at" or (t.name == "funding" and c in _FUNDING))
    con.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS {_complete(t, rows.lag_s, base, set(mapping))}")
    guessed = ("interval_hours",) if t.name == "funding" and "interval_hours" not in mapping else ()
    return Incoming(t, view, given, where, guessed)


# ---- sources -------------------------------------------------------------------------------------------------------


def _open_scan(con: Connection, scan: Scan, view: str) -> tuple[str, Mapping[str, Expr], bool]:
    path = sql.text(glob.escape(str(scan.path)))
    raw = sql.name(view + "_raw")
    try:
        if scan.format == "parquet":
            con.execute(
                f"CREATE OR REPLACE TEMP VIEW {raw} AS SELECT *, file_row_number + 1 AS _row "
                f"FROM read_parquet({path}, file_row_number = true)"
            )
        elif scan.format == "csv":
            con.execute(
                f"CREATE OR REPLACE TEMP TABLE {raw} AS SELECT *, row_number() OVER () AS _row "
                f"FROM read_csv({path}, {_dialect(scan)}, header = true, auto_detect = false, strict_mode = true)"
            )
        else:
            con.register(view + "_arrow", _feather(scan))
            con.execute(
                f"CREATE OR REPLACE TEMP VIEW {raw} AS SELECT *, row_number() OVER () AS _row FROM "
                f"{sql.name(view + '_arrow')}"
            )
    except Exception as problem:
        kind = type(problem).__name__
        if kind in ("InvalidInputException", "IOException", "ConversionException") and "No space" not in str(problem):
            _refuse_ragged(scan, str(problem))
            first = str(problem).strip().splitlines()[0].replace(str(scan.path), scan.path.name)
            raise NotThisFormat(f"{scan.path.name}: cannot be read as {scan.format}: {first}") from None
        raise
    return raw, scan.columns, scan.format == "csv"


def _dialect(scan: Scan) -> str:
    """Separator and columns of a CSV, by its first line; nothing is guessed from what follows."""
    opener = gzip.open if scan.path.name.lower().endswith(".gz") else open
    with opener(scan.path, "rt", encoding="utf-8-sig", newline="") as f:
        header = f.readline()
    unquoted = re.sub('"[^"]*"', "", header)
    separator = max(",;\t|", key=unquoted.count)
    names = [n.strip() for n in next(csv.reader([header], delimiter=separator), [])]
    if not names or len(set(names)) != len(names):
        raise NotThisFormat(
            f"{scan.path.name}: the first line does not name the columns, each once: {header.strip()[:80]!r}"
        )
    columns = ", ".join(f"{sql.text(n)}: 'VARCHAR'" for n in names)
    quote = sql.text('"')
    return f"delim = {sql.text(separator)}, quote = {quote}, escape = {quote}, columns = {{{columns}}}"


def _refuse_ragged(scan: Scan, problem: str) -> None:
    line = re.search(r"CSV Error on Line: (\d+)", problem)
    counts = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", problem)
    if line and counts:
        raise BadRow(
            scan.path.name, int(line[1]) - 1, f"has {counts[2]} columns, not {counts[1]}; is the file cut short?"
        )


def _feather(scan: Scan) -> Any:
    import pyarrow as pa
    from pyarrow import feather

    try:
        frame = feather.read_table(scan.path)
    except (pa.ArrowInvalid, OSError) as problem:
        raise NotThisFormat(f"{scan.path.name}: cannot be read as feather: {problem}") from None
    _refuse_zones(frame.schema, scan.path.name)
    return frame


def _open_frame(con: Connection, data: Any, t: Table, view: str) -> tuple[str, Mapping[str, Expr], bool]:
    frame = to_arrow(data, t.name)
    _refuse_zones(frame.schema, t.name)
    con.register(view + "_arrow", frame)
    raw = sql.name(view + "_raw")
    con.execute(
        f"CREATE OR REPLACE TEMP VIEW {raw} AS SELECT *, row_number() OVER () AS _row FROM {sql.name(view + '_arrow')}"
    )
    times = {c.name for c in t.columns if c.kind is Kind.TIME}
    return raw, {n: Time(n) if n in times else Col(n) for n in frame.schema.names}, False


def to_arrow(data: Any, where: str) -> Any:
    """An Arrow table of a pandas or polars frame, or of an Arrow table."""
    import pyarrow as pa

    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if hasattr(data, "collect"):  # polars.LazyFrame
        data = data.collect()
    if hasattr(data, "to_arrow"):
        return data.to_arrow()
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        return pa.Table.from_pandas(data, preserve_index=False)
    raise BadInput(f"{where}: {type(data).__name__} is no pandas, polars or Arrow frame")


def _refuse_zones(schema: Any, where: str) -> None:
    for field in schema:
        zone = getattr(field.type, "tz", None)
        if zone is not None and zone.upper() not in ("UTC", "Z", "GMT", "ETC/UTC", "+00:00", "ZULU"):
            raise BadInput(
                f"{where}: column {field.name} is in {zone} time; convert it to UTC first, such as tz_convert('UTC')"
            )


def _need(where: str, mapping: Mapping[str, Expr], types: Mapping[str, str]) -> None:
    wanted = [e.name for e in mapping.values() if not isinstance(e, Const)]
    missing = [n for n in wanted if n not in types]
    if missing:
        raise MissingColumn(where, missing, [c for c in types if c != "_row"])


# ---- expressions ---------------------------------------------------------------------------------------------------


class _Reader:
    """Compiles expressions over one source; collects the joins they need."""

    def __init__(
        self, con: Connection, source: str, types: Mapping[str, str], where: str, texts: bool, venue: str
    ) -> None:
        self.con, self.source, self.types, self.where, self.texts, self.venue = con, source, types, where, texts, venue
        self.joins: list[str] = []

    def compile(self, column: Column, e: Expr) -> str:
        if isinstance(e, Const):
            return f"CAST({sql.literal(e.value)} AS {column.kind.value})"
        if isinstance(e, Symbol):
            return self._symbol(e)
        if isinstance(e, Time) or column.kind is Kind.TIME:
            return self._time(e if isinstance(e, Time) else Time(e.name))
        if e.values is not None:
            return self._translated(column, e)
        if column.kind is Kind.TEXT:
            return f"CAST({sql.name(e.name)} AS VARCHAR)"
        return self._number(column, e)

    def _number(self, column: Column, e: Col) -> str:
        raw = sql.name(e.name)
        if self.texts or self.types[e.name] == "VARCHAR":
            raw = self._parsed(e.name, "DOUBLE", "is no number")
        scaled = raw if e.scale == 1.0 else f"{raw} * {e.scale!r}"
        if column.kind is Kind.REAL:
            real = f"CAST({scaled} AS DOUBLE)"
            kind = self.types[e.name]
            return (
                real
                if kind.endswith("INT") or kind == "INTEGER"
                else f"CASE WHEN isnan({real}) THEN NULL ELSE {real} END"
            )
        return f"CAST({scaled} AS {column.kind.value})"

    def _parsed(self, column: str, kind: str, complaint: str) -> str:
        """TRY_CAST of a text column, after a look for words that are not of that kind."""
        raw = f"nullif(trim(CAST({sql.name(column)} AS VARCHAR)), '')"
        bad = sql.one(
            self.con,
            f"SELECT _row, {raw} FROM {self.source} WHERE {raw} IS NOT NULL AND TRY_CAST({raw} AS {kind}) IS NULL "
            "ORDER BY _row LIMIT 1",
        )
        if bad is not None:
            raise BadRow(self.where, bad[0], f"{column} {bad[1]!r} {complaint}")
        return f"TRY_CAST({raw} AS {kind})"

    def _time(self, e: Time) -> str:
        kind, raw = self.types[e.name], sql.name(e.name)
        if kind == "VARCHAR":
            raw = f"nullif(trim({raw}), '')"
            if self._all_numbers(raw):
                return self._epoch(e, self._parsed(e.name, "DOUBLE", "is no time"), raw)
            zone = sql.one(
                self.con,
                f"SELECT _row, {raw} FROM {self.source} WHERE regexp_matches({raw}, '[0-9][ "
                f"]?([+-][0-9]{{2}}:?([0-9]{{2}})?|[A-Z]{{3,4}})$') "
                f"AND NOT regexp_matches({raw}, '([+-]00:?(00)?|UTC|GMT)$') AND NOT regexp_matches({raw}, "
                f"'^[0-9-]{{4,10}}$') ORDER BY _row LIMIT 1",
            )
            if zone is not None:
                raise BadRow(
                    self.where, zone[0], f"{e.name} {zone[1]!r} is not in UTC; convert the column to UTC first"
                )
            stripped = f"regexp_replace({raw}, '[ ]?(UTC|GMT|Z)$', '')"
            bad = sql.one(
                self.con,
                f"SELECT _row, {raw} FROM {self.source} WHERE {raw} IS NOT NULL AND TRY_CAST({stripped} AS "
                "TIMESTAMP) IS NULL ORDER BY _row LIMIT 1",
            )
            if bad is not None:
                raise BadRow(
                    self.where, bad[0], f"{e.name} {bad[1]!r} is no time; write 2024-01-31 08:00:00 or an epoch number"
                )
            return f"TRY_CAST({stripped} AS TIMESTAMP)"
        if kind.startswith(_NUMBERS):
            return self._epoch(e, raw)
        if kind.startswith("TIMESTAMP") or kind == "DATE":
            return f"CAST({raw} AS TIMESTAMP)"
        raise BadInput(f"{self.where}: column {e.name} holds {kind.lower()}, which is no time")

    def _all_numbers(self, raw: str) -> bool:
        row = sql.one(
            self.con,
            f"SELECT bool_and(TRY_CAST({raw} AS DOUBLE) IS NOT NULL) FROM (SELECT * FROM {self.source} WHERE {raw} "
            "IS NOT NULL LIMIT 100)",
        )
        return bool(row and row[0])

    def _epoch(self, e: Time, raw: str, text: str = "") -> str:
        whole = f"TRY_CAST({text} AS BIGINT)" if text else "NULL"  # nanoseconds are more digits than a double has
        unit = e.unit
        raw = f"CASE WHEN isfinite(CAST({raw} AS DOUBLE)) THEN {raw} END"
        if unit == "auto":
            row = sql.one(self.con, f"SELECT max(abs({raw})) FROM {self.source}")
            unit = _epoch_unit(float(row[0])) if row and row[0] is not None else "ms"
        if unit not in _UNIT_TO_US:
            raise BadInput(f"{self.where}: time unit {unit!r} is not one of s, ms, us, ns")
        factor = _UNIT_TO_US[unit]
        micros = f"CAST(round({raw} * {factor!r}) AS BIGINT)"
        if unit == "ns":
            micros = f"coalesce({whole}, CAST({raw} AS BIGINT)) // 1000"
        return f"make_timestamp({micros})"

    def _translated(self, column: Column, e: Col) -> str:
        assert e.values is not None
        raw = f"CAST({sql.name(e.name)} AS VARCHAR)"
        known = ", ".join(sql.text(k) for k in e.values)
        bad = sql.one(
            self.con, f"SELECT _row, {raw} FROM {self.source} WHERE {raw} NOT IN ({known}) ORDER BY _row LIMIT 1"
        )
        if bad is not None:
            raise BadRow(
                self.where,
                bad[0],
                f"{e.name} {bad[1]!r} is not one of {', '.join(e.values)} ({column.name} cannot be told)",
            )
        return f"CASE {raw} " + " ".join(f"WHEN {sql.text(k)} THEN {sql.text(v)}" for k, v in e.values.items()) + " END"

    def _symbol(self, e: Symbol) -> str:
        raw = f"CAST({sql.name(e.name)} AS VARCHAR)"
        found = [
            r[0] for r in self.con.execute(f"SELECT DISTINCT {raw} FROM {self.source}").fetchall() if r[0] is not None
        ]
        known = {s: unified(e.template.replace("{}", s), e.venue or self.venue) for s in found}
        if all(a == b for a, b in known.items()):
            return raw
        pairs = ", ".join(f"({sql.text(a)}, {sql.text(b)})" for a, b in known.items())
        alias = f"_s{len(self.joins)}"
        self.joins.append(f"LEFT JOIN (VALUES {pairs}) AS {alias}(raw, unified) ON {alias}.raw = {raw}")
        return f"{alias}.unified"


def _epoch_unit(largest: float) -> str:
    """Seconds, milli-, micro- or nanoseconds, told by size: 2001..2100 lies in a different decade for each."""
    for unit, top in (("s", 1e11), ("ms", 1e14), ("us", 1e17)):
        if largest < top:
            return unit
    return "ns"


# ---- the tables' own rules -----------------------------------------------------------------------------------------

# Exports write rows without any value where nothing was traded or measured: they say nothing and are no rows.
_SAYS = {
    "candles": ("open", "high", "low", "close"),
    "open_interest": ("quantity", "value"),
    "ratios": ("ratio", "long", "short"),
    "depth": ("quantity", "notional"),
    "liquidation_bars": ("long_notional", "short_notional", "long_count", "short_count"),
}
_FUNDING = ("raw_ts", "interval_hours")


def _complete(t: Table, lag_s: float, base: str, given: set[str]) -> str:
    """The base relation with every column of the table, in order."""
    inner = base
    if t.name == "funding":
        inner, given = _settlements(base, given), given | set(_FUNDING)
    known = _known_at(t, lag_s, given)
    fields = []
    for c in t.columns:
        if c.name == "known_at":
            fields.append(f"CAST({known} AS TIMESTAMP) AS known_at")
        elif c.name in given:
            fields.append(f"b.{sql.name(c.name)}")
        else:
            fields.append(f"CAST(NULL AS {c.kind.value}) AS {sql.name(c.name)}")
    said = [f"b.{sql.name(c)} IS NOT NULL" for c in _SAYS.get(t.name, ()) if c in given]
    empty = f" WHERE {' OR '.join(said)}" if said else ""
    return f"SELECT {', '.join(fields)}, b._row FROM ({inner}) b{empty}"


def _known_at(t: Table, lag_s: float, given: set[str]) -> str:
    if not t.has_known_at:
        return "NULL"
    adds = f" + to_microseconds(b.{sql.name(t.known_adds)} * 1000000)" if t.known_adds else ""
    lag = f" + to_microseconds({round(lag_s * 1e6)})" if lag_s else ""
    rule = f"b.{sql.name(t.known_from)}{adds}{lag}"
    if "known_at" not in given:
        return rule
    # A stamp some milliseconds before the hour is snapped to the hour: it was not known earlier than that.
    return f"greatest(coalesce(b.known_at, {rule}), b.ts)" if t.name == "funding" else f"coalesce(b.known_at, {rule})"


def _settlements(base: str, given: set[str]) -> str:
    """Stamps within a minute of a whole hour are snapped to it; a missing interval is told by the spacing.

    Spacing: the time since the settlement before (of the file, or the stored one before its first), or, where that is
    no interval a venue uses (a settlement is missing, or it is the very first), the time to the next.
    """
    hour = f"make_timestamp(CAST(round(epoch_us(ts) / {_HOUR_US}.0) AS BIGINT) * {_HOUR_US})"
    snapped = f"CASE WHEN abs(epoch_us(ts) - epoch_us({hour})) <= {_SNAP_US} THEN {hour} ELSE ts END"
    raw = "coalesce(raw_ts, ts)" if "raw_ts" in given else "ts"
    rest = ", raw_ts" if "raw_ts" in given else ""
    stamped = f"SELECT * EXCLUDE (ts{rest}), {snapped} AS ts, {raw} AS raw_ts FROM ({base})"
    if "interval_hours" in given:
        return stamped
    window = "OVER (PARTITION BY s.venue, s.symbol ORDER BY s.ts)"
    spaced = (
        f"SELECT s.*, (epoch_us(s.ts) - epoch_us(coalesce(lag(s.ts) {window}, f.ts))) / {_HOUR_US}.0 AS _back, "
        f"(epoch_us(lead(s.ts) {window}) - epoch_us(s.ts)) / {_HOUR_US}.0 AS _ahead FROM ({stamped}) s "
        "ASOF LEFT JOIN funding f ON s.venue = f.venue AND s.symbol = f.symbol AND s.ts > f.ts"
    )
    usual = "(1, 2, 4, 8)"
    told = f"CASE WHEN _back IN {usual} THEN _back WHEN _ahead IN {usual} THEN _ahead ELSE NULL END"
    return f"SELECT * EXCLUDE (_back, _ahead), {told} AS interval_hours FROM ({spaced})"
