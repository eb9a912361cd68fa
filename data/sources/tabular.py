"""Tables in files, looked at before they are read and read in memory where they are small.

`look` tells what a file is and which columns it has; `head` and `read` give polars frames whose
columns are as in the file (CSV as text); `numbers`, `times`, `translated` and `named` turn one
column into what the schema wants, and name file and row where they cannot; `collect` does that for
a whole mapping. Rows are counted from 1, without the header.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import BadInput, BadRow, MissingColumn, NotThisFormat
from data.rows import Const, Expr, Symbol, Time, format_of
from data.schema import Column, Kind, Table
from data.symbols import unified

if TYPE_CHECKING:
    import polars as pl

_UTC = ("UTC", "Z", "GMT", "ETC/UTC", "+00:00", "ZULU")
_FAR = 9.0e18  # beyond what 64 bits hold
_TIME_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_DOLLARS = ("USDT", "USDC", "BUSD", "FDUSD", "TUSD", "USD1")
_OFFSET = r"[0-9] ?([+-][0-9]{2}:?([0-9]{2})?|[A-Z]{3,4})$"
_NO_OFFSET = r"([+-]00:?(00)?|UTC|GMT)$|^[0-9-]{4,10}$"
_UTC_TAIL = r" ?(UTC|GMT|Z|[+-]00:?(00)?)$"


@dataclass(frozen=True)
class Found:
    """A file as it is: format, columns, and the zone of each column that has one."""

    path: Path
    format: str
    columns: tuple[str, ...]
    zones: Mapping[str, str]
    separator: str = ","

    @cached_property
    def name(self) -> str:
        return self.path.name

    def need(self, wanted: Iterable[str], hint: str = "") -> None:
        missing = [c for c in wanted if c not in self.columns]
        if missing:
            where = f"{self.name} ({hint})" if hint else self.name
            raise MissingColumn(where, missing, self.columns)


def look(path: Path) -> Found:
    """What a file is and which columns it has; only its beginning is read."""
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file")
    kind = format_of(path)
    if kind == "csv":
        return _look_csv(path)
    schema = _arrow_schema(path, kind)
    zones = {f.name: f.type.tz for f in schema if getattr(f.type, "tz", None)}
    return Found(path, kind, tuple(schema.names), zones)


def _arrow_schema(path: Path, kind: str) -> Any:
    import pyarrow as pa
    from pyarrow import feather, ipc, parquet

    try:
        if kind == "parquet":
            return parquet.read_schema(path)
        if _begins(path, b"FEA1"):  # the first version has no schema of its own
            return feather.read_table(path).schema
        with ipc.open_file(path) as file:
            return file.schema
    except (pa.ArrowException, OSError) as problem:
        raise NotThisFormat(f"{path.name}: cannot be read as {kind}: {_first(problem)}") from None


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as f:
        return f.read(len(magic)) == magic


def _look_csv(path: Path) -> Found:
    try:
        with _opened(path) as f:
            line = f.readline(1 << 20).decode("utf-8-sig").rstrip("\r\n")
    except (OSError, EOFError, UnicodeDecodeError) as problem:
        raise NotThisFormat(f"{path.name}: cannot be read as csv: {_first(problem)}") from None
    if not line.strip():
        raise BadInput(f"{path.name}: is empty; nothing to import")
    separator = max(",;\t|", key=line.count)
    columns = tuple(c.strip().strip('"') for c in line.split(separator))
    return Found(path, "csv", columns, {}, separator)


def _opened(path: Path) -> Any:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")


def refuse_zones(found: Found, columns: Iterable[str]) -> None:
    """Refuse columns that declare a zone other than UTC."""
    for c in columns:
        zone = found.zones.get(c, "UTC")
        if zone.upper() not in _UTC:
            raise BadInput(
                f"{found.name}: column {c} is in {zone} time; convert it to UTC first, such as "
                f"frame[{c!r}].dt.tz_convert('UTC')"
            )


# ---- reading -----------------------------------------------------------------------------------


def head(found: Found, columns: Sequence[str], rows: int = 65_536) -> pl.DataFrame:
    """The first rows of some columns."""
    return _read(found, columns, rows)


def read(found: Found, columns: Sequence[str]) -> pl.DataFrame:
    """All rows of some columns."""
    return _read(found, columns, None)


def _read(found: Found, columns: Sequence[str], rows: int | None) -> pl.DataFrame:
    import polars as pl
    import pyarrow as pa

    wanted = list(dict.fromkeys(columns))
    try:
        if found.format == "parquet":
            return pl.read_parquet(found.path, columns=wanted, n_rows=rows)
        if found.format == "feather":
            return _feather(found.path, wanted, rows)
        return pl.read_csv(
            found.path,
            columns=wanted,
            n_rows=rows,
            infer_schema=False,
            separator=found.separator,
        )
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError, EOFError) as problem:
        raise NotThisFormat(f"{found.name}: cannot be read as {found.format}: {_first(problem)}") from None


def _feather(path: Path, columns: Sequence[str], rows: int | None) -> pl.DataFrame:
    import polars as pl
    from pyarrow import feather

    frame = pl.from_arrow(feather.read_table(path, columns=list(columns)).slice(0, rows))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _first(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines()
    return lines[0] if lines else type(problem).__name__


# ---- one column --------------------------------------------------------------------------------


def numbers(column: pl.Series, where: str) -> pl.Series:
    """As float64; NaN and empty text are null, another word is an error."""
    import polars as pl

    if column.dtype != pl.String:
        return column.cast(pl.Float64).fill_nan(None)
    text = _stripped(column)
    out = text.cast(pl.Float64, strict=False)
    _refuse(text, text.is_not_null() & out.is_null(), where, "is no number")
    return out.fill_nan(None)


def times(column: pl.Series, where: str, unit: str = "auto") -> pl.Series:
    """As naive UTC microseconds, from a time, an epoch number or text in UTC."""
    import polars as pl

    if isinstance(column.dtype, pl.Datetime):
        utc = column.dt.convert_time_zone("UTC") if column.dtype.time_zone else column
        return utc.dt.replace_time_zone(None).cast(pl.Datetime("us"))
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("us"))
    if column.dtype.is_numeric():
        return _epochs(column, where, unit)
    if column.dtype != pl.String:
        raise BadInput(f"{where}: column {column.name} holds {column.dtype}, which is no time")
    text = _stripped(column)
    if text.cast(pl.Float64, strict=False).is_not_null().sum() > len(text) // 2:
        return _epochs(_whole(text, where), where, unit)
    zoned = text.str.contains(_OFFSET) & ~text.str.contains(_NO_OFFSET)
    _refuse(text, zoned, where, "is not in UTC; convert the column to UTC first")
    out = _dates(text.str.replace(_UTC_TAIL, ""))
    _refuse(text, text.is_not_null() & out.is_null(), where, "is no time; write 2024-01-31 08:00")
    return out


def _whole(text: pl.Series, where: str) -> pl.Series:
    import polars as pl

    exact = text.cast(pl.Int64, strict=False)
    real = text.cast(pl.Float64, strict=False)
    _refuse(text, text.is_not_null() & real.is_null(), where, "is no time")
    return exact.to_frame("e").select(pl.col("e").fill_null(real.round().cast(pl.Int64)))["e"].alias(text.name)


def _dates(text: pl.Series) -> pl.Series:
    import polars as pl

    frame = text.alias("t").to_frame()
    t = pl.col("t").str.replace("T", " ").str.replace_all("/", "-")
    forms = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y%m%d")
    return frame.select(pl.coalesce(t.str.to_datetime(f, time_unit="us", strict=False) for f in forms))["t"]


def _epochs(column: pl.Series, where: str, unit: str) -> pl.Series:
    import polars as pl

    column = column.fill_nan(None) if column.dtype.is_float() else column
    largest = float(column.abs().max() or 0)  # type: ignore[arg-type]
    unit = epoch_unit(largest) if unit == "auto" else unit
    if unit != "ns" and unit not in _TIME_UNITS:
        raise BadInput(f"{where}: time unit {unit!r} is not one of s, ms, us, ns")
    if largest * _TIME_UNITS.get(unit, 1) > _FAR:
        raise BadInput(f"{where}: {column.name} is up to {largest:g}, which is no time in {unit}; is it another unit?")
    if unit == "ns":
        return (column.cast(pl.Int64) // 1_000).cast(pl.Datetime("us"))
    if column.dtype.is_float():
        return (column * _TIME_UNITS[unit]).round().cast(pl.Int64).cast(pl.Datetime("us"))
    return (column.cast(pl.Int64) * _TIME_UNITS[unit]).cast(pl.Datetime("us"))


def epoch_unit(largest: float) -> str:
    """Told by size: the years 2001 to 2100 lie in another decade for each unit."""
    return next((u for u, top in (("s", 1e11), ("ms", 1e14), ("us", 1e17)) if largest < top), "ns")


def translated(column: pl.Series, values: Mapping[str, str], where: str) -> pl.Series:
    """Words by a table of words; one that is not in it is an error."""
    import polars as pl

    text = column.cast(pl.String)
    known = list(values)
    _refuse(text, text.is_not_null() & ~text.is_in(known), where, f"is not one of {', '.join(known)}")
    return text.replace_strict(known, list(values.values()), default=None, return_dtype=pl.String)


def named(column: pl.Series, e: Symbol, venue: str) -> pl.Series:
    """Unified symbols of the venue's own names."""
    import polars as pl

    text = column.cast(pl.String)
    found = [s for s in text.unique().to_list() if s is not None]
    full = [symbol_of(s, e.template, e.venue or venue) for s in found]
    return text.replace_strict(found, full, default=None, return_dtype=pl.String)


def symbol_of(name: str, template: str, venue: str) -> str:
    """The unified symbol; a name that has its dollar quote already is not put into the template."""
    plain = template == "{}" or name.upper().endswith(_DOLLARS)
    return unified(name if plain else template.replace("{}", name), venue)


def _stripped(column: pl.Series) -> pl.Series:
    import polars as pl

    text = column.cast(pl.String).str.strip_chars()
    return text.set(text == "", None)


def _refuse(column: pl.Series, bad: pl.Series, where: str, complaint: str) -> None:
    first = bad.fill_null(value=False).arg_max() if bad.any() else None
    if first is not None:
        raise BadRow(where, first + 1, f"{column.name} {column[first]!r} {complaint}")


# ---- a whole mapping ---------------------------------------------------------------------------


def collect(found: Found, columns: Mapping[str, Expr], t: Table, venue: str) -> pl.DataFrame:
    """The columns of a mapping as the schema wants them, in memory."""
    import polars as pl

    raw = read(found, [e.name for e in columns.values() if not isinstance(e, Const)])
    return pl.DataFrame([_one(raw, t.column(name), e, found.name, venue).alias(name) for name, e in columns.items()])


def _one(raw: pl.DataFrame, column: Column, e: Expr, where: str, venue: str) -> pl.Series:
    import polars as pl

    types: dict[Kind, Any] = {Kind.REAL: pl.Float64, Kind.INT: pl.Int64, Kind.TEXT: pl.String}
    if isinstance(e, Const):
        return pl.repeat(e.value, len(raw), dtype=types[column.kind], eager=True)
    if isinstance(e, Symbol):
        return named(raw[e.name], e, venue)
    if isinstance(e, Time) or column.kind is Kind.TIME:
        return times(raw[e.name], where, e.unit if isinstance(e, Time) else "auto")
    if e.values is not None:
        return translated(raw[e.name], e.values, where)
    if column.kind is Kind.TEXT:
        return raw[e.name].cast(pl.String)
    value = numbers(raw[e.name], where)
    if column.kind is Kind.INT:
        return value.cast(pl.Int64)
    return value * e.scale if e.scale != 1.0 else value
