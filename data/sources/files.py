"""Files of your own with a declared mapping: CSV (also .csv.gz), Parquet and Feather.

    MappedFiles([Path("rates.csv")], Declared("funding", {"rate": "funding_rate"}, venue="binance"))

How one file becomes rows:

1. Its header is read. A column named in the mapping fills the schema's column; what is not named
   fills the schema's column of the same name, if there is one.
2. What a file cannot say itself is declared: venue, symbol, price, interval, feed. A venue or symbol
   that is given must agree with the file's own column, if there is one. An interval that is not given
   is told by the commonest spacing; one that is given must agree with it.
3. Rates need a unit. Without one they are looked at, and refused where they look like percent; a few
   high ones alone cannot tell, and need it.
4. The outcome is a `Scan`, which the store reads without a row loop. Liquidations and tiers, which
   are small, are read here: the notional of linear contracts is worked out, and maintenance brackets
   must be whole (data.sources.tiers).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from data import clock
from data.errors import BadInput, BadRow, NotFound, near
from data.rows import (
    Batch,
    Col,
    Const,
    Expr,
    Origin,
    Rows,
    Scan,
    Symbol,
    Time,
    key_of,
    recipe_of,
    sha256_of,
)
from data.schema import MARKET_TABLES, Feed, Kind, PriceKind, Table, table
from data.sources import Item, Note, Piece, Why, tabular, tiers
from data.sources.tabular import Found
from data.symbols import contract_kind, unified

if TYPE_CHECKING:
    import polars as pl

SOURCE = "file"
VERSION = 1  # goes up when the same file and mapping give other rows

VENUES = (
    *("aster", "binance", "binanceus", "bingx", "bitfinex", "bitget", "bitmex", "bitmart", "bybit"),
    *("coinbase", "coinex", "coinglass", "cryptocom", "delta", "deribit", "dydx", "gate", "gemini"),
    *("htx", "hyperliquid", "kraken", "kucoin", "lighter", "mexc", "okx", "paradex", "phemex"),
    *("poloniex", "sim", "woo"),
)
SCALES = {"percent": 0.01, "fraction": 1.0, "bps": 0.0001}
_RATES = {"funding": "rate", "tiers": "mmr"}  # the column that a unit is for
_IN_MEMORY = ("liquidations", "tiers")
_UNSAID: Mapping[str, Mapping[str, str]] = {  # what stands where a file and its mapping say nothing
    "liquidations": {"feed": Feed.UNKNOWN, "price_kind": PriceKind.UNKNOWN, "event_id": ""},
    "liquidation_bars": {"feed": Feed.UNKNOWN},
}
_OPTION = {"interval_s": "interval", "price_kind": "price-kind"}
_SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq", ".feather", ".arrow")
_MOST_HOURS = 24  # between settlements
_LONGEST_S = 31 * 86_400  # between rows: a month
_ENOUGH = 30  # settlements of which the middle tells fraction from percent
_LOOKS_PERCENT = 0.2
_LOOKS_PERCENT_8H = 0.003  # median |rate| for 8 hours; markets rest near 0.0001


@dataclass(frozen=True)
class Declared:
    """What the user says about files. `columns`: the schema's column -> the file's column."""

    table: str
    columns: Mapping[str, str] = field(default_factory=dict)
    venue: str = ""
    symbol: str = ""
    symbol_template: str = "{}"
    interval_s: int | None = None
    unit: str = ""
    time_unit: str = "auto"
    positions: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)  # price, feed, price_kind, kind
    lag_s: float = 0.0

    def __post_init__(self) -> None:
        if self.unit and self.unit not in SCALES:
            raise BadInput(f"unit {self.unit!r}: write one of {', '.join(SCALES)}")
        if self.symbol_template.count("{}") != 1:
            raise BadInput(
                f"symbol template {self.symbol_template!r}: write the venue's name with {{}} for "
                "what the file has, such as {}USDT"
            )
        if self.lag_s < 0:
            raise BadInput("the lag is how long after its own time a row is published: not below 0")


@dataclass
class MappedFiles:
    """The files as a source for `data.ingest`; a folder stands for all data files under it."""

    paths: Sequence[Path]
    declared: Declared

    def __post_init__(self) -> None:
        self.declared = settle(self.declared)
        self.items = list(walk(self.paths))

    @property
    def key(self) -> str:
        return key_of(*self.paths)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        for item in self.items:
            yield item if isinstance(item, Note) else piece(item, self.declared)


def walk(paths: Sequence[Path]) -> Iterator[Path | Note]:
    """The files behind what was typed; in a folder, those that hold no table are noted."""
    for path in paths:
        if not path.exists():
            raise NotFound(f"there is no file {path}")
        if path.is_file():
            yield path
            continue
        files = sorted(p for p in path.rglob("*") if p.is_file())
        if not any(f.name.lower().endswith(_SUFFIXES) for f in files):
            raise NotFound(f"no CSV, Parquet or Feather file under {path}")
        for file in files:
            if file.name.lower().endswith(_SUFFIXES):
                yield file
            elif not file.name.startswith("."):
                yield Note(file.name, Why.IGNORED, "not CSV, Parquet or Feather")


def piece(path: Path, declared: Declared) -> Piece:
    """One file, to be read when the store does not have it."""
    where = Origin(
        SOURCE,
        path.name,
        sha256_of(path),
        recipe_of(VERSION, declared),
        symbols=(unified(declared.symbol, declared.venue),) if declared.symbol else None,
        tables=(declared.table,),
        venue=declared.venue,
    )
    return Piece(where, where.tables, lambda: Batch((rows_of(tabular.look(path), declared),), (where,)))


# ---- what was declared -------------------------------------------------------------------------


def settle(declared: Declared) -> Declared:
    """The declaration with its names checked: table, venue, columns of the schema."""
    t = table(declared.table)
    if t.name not in MARKET_TABLES:
        raise BadInput(f"table {t.name} is kept by Unwind itself; nothing is imported into it")
    columns = {schema_name(t, name): source for name, source in declared.columns.items()}
    for name, value in declared.constants.items():
        choices = t.column(name).choices
        if not choices:
            raise BadInput(f"--{_option(name)} {value!r}: {name} is no choice in table {t.name}")
        if value not in choices:
            raise BadInput(f"--{_option(name)} {value!r}: write one of {', '.join(choices)}")
        if name in columns:
            raise BadInput(f"{name} is both mapped to a column and given as {value!r}; keep one")
    if declared.interval_s and "interval_s" not in t.names:
        raise BadInput(f"--interval: table {t.name} has no interval")
    if declared.unit and t.name not in _RATES:
        raise BadInput(f"--unit is for rates (tables {', '.join(_RATES)}); {t.name} has none")
    positions = _positions(t, declared.positions)
    return replace(declared, columns=columns, positions=positions, venue=venue_name(declared.venue))


def schema_name(t: Table, name: str) -> str:
    """The schema's column for the left side of a mapping; `time` and `ts` are the table's time."""
    name = t.time if name in ("time", "ts") else name
    return t.column("interval_s" if name == "interval" else name).name


def venue_name(venue: str) -> str:
    """Lower case, and refused where it looks like a slip of a venue that is known."""
    plain = venue.strip().lower()
    if plain in VENUES or not plain:
        return plain
    if close := near(plain, VENUES):
        import difflib

        if difflib.SequenceMatcher(None, plain, close[0]).ratio() >= 0.8:
            raise NotFound(f"no venue {venue!r}: did you mean {close[0]}?")
    return plain


def _positions(t: Table, given: Mapping[str, str]) -> Mapping[str, str]:
    if not given:
        return {}
    choices = t.column("position").choices  # says so where the table has none
    wrong = [v for v in given.values() if v not in choices]
    if wrong:
        raise BadInput(
            f"--position-map: {wrong[0]!r} is no position; write what the file has first, such as SELL=long,BUY=short"
        )
    return given


def _option(column: str) -> str:
    return _OPTION.get(column, column)


# ---- one file ----------------------------------------------------------------------------------


def rows_of(found: Found, declared: Declared) -> Rows:
    """The rows of one file, as a scan for the store or, for small tables, as a frame."""
    t = table(declared.table)
    columns = resolve(found, declared, t)
    if t.name in _IN_MEMORY:
        frame = tabular.collect(found, columns, t, declared.venue)
        return Rows(t.name, _FINISH[t.name](frame, found.name), lag_s=declared.lag_s)
    return Rows(t.name, Scan(found.path, found.format, columns), lag_s=declared.lag_s)


def resolve(found: Found, declared: Declared, t: Table) -> dict[str, Expr]:
    """What fills each column of the table."""
    found.need(declared.columns.values())
    own = {c: c for c in t.names if c in found.columns and c not in declared.constants}
    mapped = {**own, **declared.columns}
    refuse_other_names(found, declared, mapped.get("symbol"), mapped.get("venue"))
    if declared.symbol:
        mapped.pop("symbol", None)
    if declared.venue:
        mapped.pop("venue", None)
    out: dict[str, Expr] = {c: _expr(t, c, source, declared) for c, source in mapped.items()}
    if declared.symbol_template != "{}" and isinstance(e := out.get("symbol"), Symbol):
        out["symbol"] = _templated(found, e, declared.venue)
    out |= {c: Const(v) for c, v in declared.constants.items()}
    out |= {c: Const(v) for c, v in _UNSAID.get(t.name, {}).items() if c not in out}
    if declared.venue:
        out["venue"] = Const(declared.venue)
    if declared.symbol:
        out["symbol"] = Const(unified(declared.symbol, declared.venue))
    _need_all(found, t, out)
    times = [e for e in out.values() if isinstance(e, Time)]
    tabular.refuse_zones(found, [e.name for e in times])
    tabular.refuse_odd_epochs(found, times)
    if "interval_s" in t.names and "interval_s" not in mapped:
        seconds = interval_of(found, out, declared.interval_s, t)
        out |= {"interval_s": Const(seconds)} if seconds else {}
    if t.name == "funding":
        out["rate"] = _rate(found, out, declared)
        refuse_minutes(found, out.get("interval_hours"))
    return out


def refuse_other_names(found: Found, declared: Declared, symbol: str | None, venue: str | None) -> None:
    """Refuse a declared symbol or venue where the file's own column says something else."""
    if declared.symbol and symbol:
        wanted = unified(declared.symbol, declared.venue)
        same = (wanted, wanted.split("/", 1)[0])  # the coin alone says nothing else
        template = declared.symbol_template
        names = tabular.words(found, symbol)
        others = [n for n in names if not {n.upper(), tabular.symbol_of(n, template, declared.venue)} & set(same)]
        _refuse_others(found, symbol, others, f"--symbol says {declared.symbol}", "--symbol")
    if declared.venue and venue:
        others = [v for v in tabular.words(found, venue) if v.lower() != declared.venue]
        _refuse_others(found, venue, others, f"--venue says {declared.venue}", "--venue")


def _refuse_others(found: Found, column: str, others: Sequence[str], said: str, option: str) -> None:
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise BadInput(
            f"{found.name}: column {column} says {', '.join(others[:3])}{more}, {said}; leave {option} out, "
            "or take the other rows or the column out of the file"
        )


def _expr(t: Table, column: str, source: str, declared: Declared) -> Expr:
    kind = t.column(column).kind
    if column == "symbol":
        return Symbol(source, declared.symbol_template)
    if kind is Kind.TIME:
        return Time(source, declared.time_unit)
    if column == "position" and declared.positions:
        return Col(source, values=declared.positions)
    if column == _RATES.get(t.name) and declared.unit:
        return Col(source, SCALES[declared.unit])
    return Col(source)


def _templated(found: Found, e: Symbol, venue: str) -> Col:
    """Names of the file, each with its unified symbol."""
    names = tabular.read(found, [e.name])[e.name].unique().drop_nulls().to_list()
    known = {str(n): tabular.symbol_of(str(n), e.template, e.venue or venue) for n in sorted(names)}
    return Col(e.name, values=known)


def _need_all(found: Found, t: Table, out: Mapping[str, Expr]) -> None:
    """Refuse a mapping that leaves a required column open."""
    derived = ("known_at", "interval_s")
    lacking = [c.name for c in t.columns if c.required and c.name not in (*derived, *out)]
    if not lacking:
        return
    first = lacking[0]
    if first == "venue":
        raise BadInput(f"{found.name}: of which venue? Pass --venue, such as --venue binance")
    if first == "symbol":
        hint = "pass --symbol BTCUSDT, or name it with --map symbol=COLUMN"
    elif t.column(first).choices and first != "position":
        hint = f"pass --{_option(first)} with one of {', '.join(t.column(first).choices)}"
    else:
        hint = f"name yours with --map {first}=COLUMN"
    found.need(lacking, hint)
    raise AssertionError("a required column that is there was not mapped")


def _rate(found: Found, columns: Mapping[str, Expr], declared: Declared) -> Expr:
    e = columns["rate"]
    if not declared.unit and isinstance(e, Col):
        refuse_percent(found, columns, e)
    return e


def refuse_percent(found: Found, columns: Mapping[str, Expr], rate: Col) -> None:
    """Refuse funding whose unit is not given and that looks like percent."""
    frame = _series(found, columns, rows=None, also=(rate.name,))
    values = tabular.numbers(frame["_0"], found.name).abs()
    large = (values > _LOOKS_PERCENT).fill_null(value=False)
    if large.any():
        row = large.arg_max() or 0
        raise BadRow(
            found.name,
            row + 1,
            f"{rate.name} is {frame['_0'][row]}, which is {float(values[row]):.0%} in one settlement if a "
            "fraction; it looks like percent: pass --unit percent (or --unit bps)",
        )
    spacing = _spacings(frame).median()
    eight_hours = max(1.0, 8 * 3600 / float(spacing)) if spacing else 1.0  # type: ignore[arg-type]
    count = len(values) - values.null_count()
    if not count:
        return
    highest, middle = (float(v) * eight_hours for v in (values.max(), values.median()))  # type: ignore[arg-type]
    if count < _ENOUGH and highest >= _LOOKS_PERCENT_8H:
        raise BadInput(
            f"{found.name}: {rate.name} is up to {highest:.2%} for 8 hours if a fraction, and {count} settlements are "
            "too few to tell; say which: --unit percent, fraction or bps"
        )
    if count >= _ENOUGH and middle > _LOOKS_PERCENT_8H:
        raise BadInput(
            f"{found.name}: half of {rate.name} lies beyond {middle:.2%} for 8 hours if a fraction; "
            "it looks like percent: pass --unit percent (or --unit fraction to insist)"
        )


def refuse_minutes(found: Found, hours: Expr | None) -> None:
    """Refuse hours between settlements that no venue has; they are minutes."""
    if not isinstance(hours, Col):
        return
    values = tabular.numbers(tabular.read(found, [hours.name])[hours.name], found.name)
    long = (values > _MOST_HOURS).fill_null(value=False)
    if long.any():
        row = long.arg_max() or 0
        raise BadRow(
            found.name, row + 1, f"{hours.name} is {values[row]:g}, which no venue has; are these minutes? Write hours"
        )


# ---- spacing -----------------------------------------------------------------------------------


def interval_of(found: Found, columns: Mapping[str, Expr], given: int | None, t: Table) -> int | None:
    """Seconds between rows: as given, if the file agrees, else the commonest spacing."""
    frame = _series(found, columns, rows=65_536)
    spacings = _spacings(frame)
    if not len(spacings):
        if given is None and t.column("interval_s").required:
            raise BadInput(f"{found.name}: one row tells no interval; pass --interval, such as --interval 1h")
        return given
    commonest = float(spacings.mode().min())  # type: ignore[arg-type]
    if not 1 <= commonest <= _LONGEST_S:
        shown = f"{commonest:,.0f}" if commonest > 1 else f"{commonest:g}"
        raise BadInput(
            f"{found.name}: rows come every {shown} s as the times are read; the unit of time looks wrong: "
            "pass --time-unit s, ms, us or ns"
        )
    usual = int(commonest)
    if given is None or given == usual:
        return usual
    if (spacings == given).sum() < len(spacings) / 10:
        told, real = (clock.label(s * clock.SECOND) for s in (given, usual))
        raise BadInput(f"{found.name}: rows come every {real}, not every {told}; pass --interval {real}")
    return given


def _series(found: Found, columns: Mapping[str, Expr], rows: int | None, also: Sequence[str] = ()) -> pl.DataFrame:
    """Time, name of the series and, as `_0`, `_1`, ..., further columns, in the file's order."""
    import polars as pl

    time = next(e for e in columns.values() if isinstance(e, Time))
    parts = [e.name for c, e in columns.items() if c in _PARTS and isinstance(e, Symbol | Col)]
    wanted = [time.name, *parts, *also]
    frame = tabular.head(found, wanted, rows) if rows else tabular.read(found, wanted)
    return pl.select(
        tabular.times(frame[time.name], found.name, time.unit).alias("_ts"),
        pl.concat_str([frame[p].cast(pl.String) for p in parts]).alias("_of") if parts else pl.lit("").alias("_of"),
        *(frame[name].alias(f"_{i}") for i, name in enumerate(also)),
    )


_PARTS = ("venue", "symbol", "price", "kind")


def _spacings(frame: pl.DataFrame) -> pl.Series:
    """Seconds between neighbours of one series, whole ones from 1 s on; those of one moment left out."""
    import polars as pl

    apart = pl.col("_ts").diff().over("_of").dt.total_microseconds()
    apart_us = frame.drop_nulls("_ts").sort("_of", "_ts").select(apart.alias("us")).filter(pl.col("us") > 0)
    whole = pl.when(pl.col("us") >= 1_000_000).then(pl.col("us") // 1_000_000 * 1_000_000).otherwise(pl.col("us"))
    return apart_us.select((whole / 1e6).alias("s"))["s"]


# ---- tables that are read here -----------------------------------------------------------------


def liquidations(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """With the notional of linear contracts where the file has none."""
    import polars as pl

    paid = pl.col("price") * pl.col("quantity")
    linear = pl.col("symbol").is_in(
        [s for s in frame["symbol"].unique().to_list() if s and contract_kind(s) == "linear"]
    )
    own = pl.col("notional") if "notional" in frame.columns else pl.lit(None, pl.Float64)
    return frame.with_columns(notional=pl.coalesce(own, pl.when(linear).then(paid)))


_FINISH = {"liquidations": liquidations, "tiers": tiers.checked}
