"""Tables in files, looked at before they are read and read in memory where they are small.

`look` tells what a file is and which columns it has; `head` and `read` give polars frames whose
columns are as in the file (CSV as text); `numbers`, `times`, `translated` and `named` turn one
column into what the schema wants, and name file and row where they cannot; `collect` does that for
a whole mapping. Rows are counted from 1, without the header.

A CSV file has a first line that names its columns; the separator is the one of `, ; tab |` that stands in
it most often (`dialect`), and every row must have as many. Lines end in LF or CR LF.
Epoch numbers must lie in the years 2001 to 2102, so that a wrong or mixed unit is never stored.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import clock
from data.errors import BadInput, BadRow, MissingColumn, NotThisFormat
from data.rows import Const, Expr, Symbol, Time, format_of
from data.schema import Column, Kind, Table
from data.symbols import parted, unified

if TYPE_CHECKING:
    import polars as pl

_UTC = ("UTC", "Z", "GMT", "ETC/UTC", "+00:00", "ZULU")
_FAR = 9.0e18  # beyond what 64 bits hold
_EARLIEST_S, _LATEST_S = 1.0e9, 4.2e9  # 2001 to 2103; Binance writes December 2100 for "never"
_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_CALENDAR = re.compile(r"^(?P<y>(19|20)\d\d)(?P<m>0[1-9]|1[0-2])(?P<d>[0-2]\d|3[01])(\d{4}|\d{6})?$")
_SEPARATORS, _QUOTED = ",;\t|", re.compile('"[^"]*"')
_ROWS_LOOKED_AT = 1_000_000  # of a CSV file, for rows of another length; the store sees to those beyond
_TIME_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_DOLLARS = ("USDT", "USDC", "BUSD", "FDUSD", "TUSD", "USD1", "USD")
_COIN_QUOTED = ("ETHBTC",)
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

    @cached_property
    def is_even(self) -> bool:
        """That each row of a CSV file has the columns of its header; else the first that has not is an error."""
        if self.format == "csv":
            _refuse_ragged(self)
        return True


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
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as problem:
        raise NotThisFormat(f"{path.name}: cannot be read as csv: {_first(problem)}") from None
    if not line.strip():
        raise BadInput(f"{path.name}: is empty; nothing to import")
    if "\r" in line:
        raise NotThisFormat(
            f"{path.name}: its lines end in CR alone, as on old Macs; convert them, such as with "
            "tr '\\r' '\\n' < old.csv > new.csv"
        )
    separator, columns = dialect(line)
    return Found(path, "csv", columns, {}, separator)


def dialect(header: str) -> tuple[str, tuple[str, ...]]:
    """Separator and columns of a CSV file, by its first line."""
    unquoted = _QUOTED.sub("", header)
    separator = max(_SEPARATORS, key=unquoted.count)
    return separator, tuple(c.strip() for c in next(csv.reader([header], delimiter=separator)))


def _refuse_ragged(found: Found) -> None:
    width = len(found.columns)
    try:
        with _opened(found.path) as raw, io.TextIOWrapper(raw, "utf-8", "replace", newline="") as text:
            lines = csv.reader(text, delimiter=found.separator)
            next(lines)
            for n, row in enumerate(islice(filter(None, lines), _ROWS_LOOKED_AT), 1):
                if len(row) != width:
                    raise BadRow(found.name, n, f"has {len(row)} columns, not {width}; is the file cut short?")
    except (OSError, EOFError, csv.Error, zlib.error) as problem:
        raise NotThisFormat(f"{found.name}: cannot be read as csv: {_first(problem)}") from None


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


def words(found: Found, column: str) -> list[str]:
    """The different words in a column, in order; empty fields are none."""
    import polars as pl

    return sorted(_stripped(read(found, [column])[column].cast(pl.String)).drop_nulls().unique().to_list())


def _read(found: Found, columns: Sequence[str], rows: int | None) -> pl.DataFrame:
    import polars as pl
    import pyarrow as pa

    wanted = list(dict.fromkeys(columns))
    assert found.is_even
    try:
        if found.format == "parquet":
            return pl.read_parquet(found.path, columns=wanted, n_rows=rows, glob=False)
        if found.format == "feather":
            return _feather(found.path, wanted, rows)
        return pl.read_csv(
            found.path,
            columns=wanted,
            n_rows=rows,
            infer_schema=False,
            separator=found.separator,
            glob=False,
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
    numeric = _epoch_numbers(column, where)
    if numeric is not None:
        return _epochs(numeric, where, unit)
    if column.dtype != pl.String:
        raise BadInput(f"{where}: column {column.name} holds {column.dtype}, which is no time")
    text = _stripped(column)
    zoned = text.str.contains(_OFFSET) & ~text.str.contains(_NO_OFFSET)
    _refuse(text, zoned, where, "is not in UTC; convert the column to UTC first")
    out = _dates(text.str.replace(_UTC_TAIL, ""))
    _refuse(text, text.is_not_null() & out.is_null(), where, "is no time; write 2024-01-31 08:00")
    return out


def refuse_odd_epochs(found: Found, columns: Iterable[Time]) -> None:
    """Refuse epoch numbers at the file's beginning that are no times of this century: dates, mixed or wrong units."""
    exprs = list(columns)
    frame = head(found, [e.name for e in exprs])
    for e in exprs:
        numeric = _epoch_numbers(frame[e.name], found.name)
        if numeric is not None:
            _epochs(numeric, found.name, e.unit)


def _epoch_numbers(column: pl.Series, where: str) -> pl.Series | None:
    """A column that is, or is mostly, numbers, as numbers."""
    import polars as pl

    if column.dtype.is_numeric():
        return column
    if column.dtype != pl.String:
        return None
    text = _stripped(column)
    mostly = text.cast(pl.Float64, strict=False).is_not_null().sum() > len(text) // 2
    return _whole(text, where) if mostly else None


def _whole(text: pl.Series, where: str) -> pl.Series:
    import polars as pl

    exact = text.cast(pl.Int64, strict=False)
    real = text.cast(pl.Float64, strict=False)
    known = real.is_finite().fill_null(value=False) & (real.abs() <= _FAR).fill_null(value=False)
    _refuse(text, text.is_not_null() & ~known, where, "is no time")
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
    _refuse_odd(column, where, unit)
    if unit == "ns":
        return (column.cast(pl.Int64) // 1_000).cast(pl.Datetime("us"))
    if column.dtype.is_float():
        return (column * _TIME_UNITS[unit]).round().cast(pl.Int64).cast(pl.Datetime("us"))
    return (column.cast(pl.Int64) * _TIME_UNITS[unit]).cast(pl.Datetime("us"))


def _refuse_odd(column: pl.Series, where: str, unit: str) -> None:
    low, high = _EARLIEST_S * _PER_SECOND[unit], _LATEST_S * _PER_SECOND[unit]
    odd = ((column < low) | (column > high)).fill_null(value=False)
    first = odd.arg_max() if odd.any() else None
    if first is None:
        return
    value = column[first]
    if date := _CALENDAR.match(f"{value:.0f}"):
        complaint = f"is a date and no epoch number; write {date['y']}-{date['m']}-{date['d']}"
    else:
        micros = value / _PER_SECOND[unit] * 1e6
        read = f"is {clock.naive(int(micros) * clock.US):%Y-%m-%d}" if abs(micros) < 1e17 else "is no time"
        complaint = f"{read} in {unit}: the column mixes units, or has another; pass --time-unit s, ms, us or ns"
    raise BadRow(where, first + 1, f"{column.name} {value:.0f} {complaint}")


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
    """The unified symbol; a full name of a contract is not put into the template, the name of a coin is.

    Full is a pair that ends in a dollar, with or without the end of a contract (BTCUSDT, BTCUSD_PERP, BTCUSDT_240628);
    BTC_240628 is a coin and such an end. A name that ends in another coin's is a coin, as NEIROETH is, but for the one
    contract of Binance that is quoted in a coin.
    """
    pair, end = parted(name)
    upper = pair.upper()
    dollar = any(upper.endswith(d) and len(upper) > len(d) for d in _DOLLARS)
    full = template == "{}" or dollar or upper in _COIN_QUOTED
    return unified(name if full else template.replace("{}", pair) + end, venue)


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
