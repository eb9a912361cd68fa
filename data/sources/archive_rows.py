"""From the text of one archive file to rows of the schema, without a row loop.

1. The first byte tells whether there is a header (files before August 2022 have none).
2. Arrow reads the columns with their declared types; whatever does not fit is looked up again, slowly, to name its row.
3. Stamps in milli- or microseconds, told by size, are checked against the file's own date and, for bars, its interval.
4. One function for each kind turns the columns into `Rows`.

How soon a row could have been known is an assumption (the venue does not say), taken against the trader:

* metrics, bookDepth: one whole interval, as the stamp may be the start of what it measures; metrics a minute more for
  publishing.
* liquidations: 1 s, the rhythm at which the stream pushes.
* funding: at the settlement; joins are strictly before a decision, so none made at that moment sees it.

Amounts of inverse contracts: the archive counts contracts, and values in coin. Here sizes are contracts and money is
contracts times contract size.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from data import clock
from data.errors import BadInput, BadRow, Corrupt, MissingColumn
from data.rows import Rows
from data.schema import Feed, Position, PriceKind, Ratio
from data.sources.archive_layout import KLINES, ArchiveFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1  # of what the columns become; a change reads every file again

METRICS_S, DEPTH_S = 300, 30  # spacing of the snapshots
METRICS_LAG_S, DEPTH_LAG_S, LIQUIDATION_LAG_S = METRICS_S + 60.0, float(DEPTH_S), 1.0

# USD in one COIN-M contract: the venue's contract rules, 100 for BTC and 10 for every other coin.
_CONTRACT_USD = {"BTC": 100.0}
_CONTRACT_USD_OTHERS = 10.0

INT, REAL, TEXT, STAMP = "int64", "float64", "string", "timestamp[us]"
_SAYS = {INT: "is no whole number", REAL: "is no number", STAMP: "is no time"}

_KLINE = {
    "open_time": INT,
    "open": REAL,
    "high": REAL,
    "low": REAL,
    "close": REAL,
    "volume": REAL,
    "close_time": INT,
    "quote_volume": REAL,
    "count": INT,
    "taker_buy_volume": REAL,
    "taker_buy_quote_volume": REAL,
    "ignore": TEXT,
}
_PRICES = ("open", "high", "low", "close")
_TRADED = ("volume", "quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume")
_METRICS = {
    "create_time": STAMP,
    "symbol": TEXT,
    "sum_open_interest": REAL,
    "sum_open_interest_value": REAL,
    "count_toptrader_long_short_ratio": REAL,
    "sum_toptrader_long_short_ratio": REAL,
    "count_long_short_ratio": REAL,
    "sum_taker_long_short_vol_ratio": REAL,
}
_RATIOS = {
    "count_toptrader_long_short_ratio": Ratio.TOP_ACCOUNTS,
    "sum_toptrader_long_short_ratio": Ratio.TOP_POSITIONS,
    "count_long_short_ratio": Ratio.ACCOUNTS,
    "sum_taker_long_short_vol_ratio": Ratio.TAKER_VOLUME,
}
_FUNDING = {"calc_time": INT, "funding_interval_hours": REAL, "last_funding_rate": REAL}
_DEPTH = {"timestamp": STAMP, "percentage": REAL, "depth": REAL, "notional": REAL}
_LIQUIDATION = {
    "time": INT,
    "side": TEXT,
    "order_type": TEXT,
    "time_in_force": TEXT,
    "original_quantity": REAL,
    "price": REAL,
    "average_price": REAL,
    "order_status": TEXT,
    "last_fill_quantity": REAL,
    "accumulated_fill_quantity": REAL,
}


def contract_usd(symbol: str) -> float:
    """What one contract of an inverse symbol, such as BTC/USD:BTC, is worth on Binance, in USD."""
    return _CONTRACT_USD.get(symbol.split("/", 1)[0], _CONTRACT_USD_OTHERS)


@dataclass(frozen=True)
class _Read:
    """How the files of one kind are read: their columns, the ones that are used, the table's rows."""

    columns: Mapping[str, str]
    rows: Callable[[_Text], tuple[Rows, ...]]
    used: tuple[str, ...] = ()


@dataclass
class _Text:
    """One file's text and its columns."""

    file: ArchiveFile
    body: bytes
    columns: Mapping[str, str]
    header: list[str] = field(default_factory=list)
    frame: Any = None

    @property
    def constants(self) -> dict[str, Any]:
        return {"venue": "binance", "symbol": self.file.unified}

    def __len__(self) -> int:
        return len(self.frame)

    def values(self, name: str) -> NDArray[Any]:
        """A column as numpy; what is empty is NaN."""
        array: NDArray[Any] = self.frame.column(name).to_numpy(zero_copy_only=False)
        return array

    def refuse(self, index: int, problem: str) -> BadRow:
        return BadRow(self.file.path, self.line(index), problem)

    def line(self, index: int) -> int:
        """The number in the file, from 1 and the header included, of a row counted from 0."""
        wanted = index + (1 if self.header else 0)
        filled = (n for n, text in enumerate(self.body.splitlines(), 1) if text.strip())
        return next((n for i, n in enumerate(filled) if i == wanted), wanted + 1)


def rows_of(file: ArchiveFile, content: bytes) -> tuple[tuple[Rows, ...], int]:
    """The rows of one unpacked file, and how many it had."""
    how = _KINDS[file.kind]
    text = _open(file, content.removeprefix(b"\xef\xbb\xbf"), how.columns)
    text.frame = _parse(text, how.used)
    return how.rows(text), len(text)


# ---- text to columns -----------------------------------------------------------------------------------------------


def _open(file: ArchiveFile, body: bytes, columns: Mapping[str, str]) -> _Text:
    if not body.strip():
        raise Corrupt(f"{file.path}: the file is empty")
    if body[:1].isdigit():
        return _Text(file, body, columns)
    first = body.split(b"\n", 1)[0].decode("utf-8", "replace")
    header = [name.strip().strip('"') for name in first.split(",")]
    missing = [name for name in columns if name not in header and name != "ignore"]
    if missing:
        raise MissingColumn(file.path, missing, header)
    return _Text(file, body, columns, header)


def _parse(text: _Text, used: tuple[str, ...]) -> Any:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = text.header or list(text.columns)
    types = {name: pa.type_for_alias(kind) for name, kind in text.columns.items()}
    read = arrow_csv.ReadOptions(
        column_names=names, skip_rows=1 if text.header else 0, use_threads=False, block_size=len(text.body) + 1
    )
    convert = arrow_csv.ConvertOptions(
        column_types=types,
        include_columns=list(used or text.columns),
        strings_can_be_null=True,
        null_values=["", "null", "NULL"],
    )
    if text.header and b"\n" not in text.body.strip():  # a header alone: nothing happened
        return pa.table({n: pa.array([], types[n]) for n in convert.include_columns})
    try:
        return arrow_csv.read_csv(pa.BufferReader(text.body), read_options=read, convert_options=convert)
    except pa.ArrowInvalid as problem:
        _blame(text, used or tuple(text.columns))
        raise BadInput(f"{text.file.path}: cannot be read: {str(problem).splitlines()[0]}") from None


def _blame(text: _Text, used: tuple[str, ...]) -> None:
    """Raise for the first row that is not what it should be; slow, and only run on a file that is refused anyway."""
    names = text.header or list(text.columns)
    lines = csv.reader(io.StringIO(text.body.decode("utf-8", "replace")))
    for fields in lines:
        if not fields or (text.header and lines.line_num == 1):
            continue
        if len(fields) != len(names):
            raise BadRow(text.file.path, lines.line_num, f"has {len(fields)} columns, not {len(names)}")
        for name, value in zip(names, fields, strict=True):
            if name in used and not _fits(value, text.columns[name]):
                raise BadRow(text.file.path, lines.line_num, f"{name} {value!r} {_SAYS[text.columns[name]]}")


def _fits(value: str, kind: str) -> bool:
    if kind == TEXT or not value or value.lower() == "null":
        return True
    try:
        if kind == STAMP:
            return len(value) >= 10 and value[-1].isdigit() and clock.moment(value) > 0
        return float(value) is not None if kind == REAL else int(value) is not None
    except (ValueError, BadInput):
        return False


# ---- checks --------------------------------------------------------------------------------------------------------


def _micros(text: _Text, name: str) -> NDArray[np.int64]:
    """A column of stamps as microseconds; an empty one is refused."""
    import pyarrow as pa

    column = text.frame.column(name)
    if column.null_count:
        raise text.refuse(int(np.flatnonzero(column.is_null().to_numpy())[0]), f"{name} is empty")
    stamps: NDArray[np.int64] = column.cast(pa.int64()).to_numpy()
    is_epoch = text.columns[name] == INT
    return stamps * 1_000 if is_epoch and len(stamps) and abs(int(stamps[0])) < 10**14 else stamps


def _check_period(
    text: _Text, stamps: NDArray[np.int64], name: str, length_s: float = 0.0, slack_s: float = 0.0
) -> None:
    """Every row lies in the file's own day or month: a bar overlaps it, a moment is within `slack_s` of it."""
    first, after = (ns // clock.US for ns in text.file.covers)
    length, slack = int(length_s * 1e6), int(slack_s * 1e6)
    outside = (stamps + max(length, 1) + slack <= first) | (stamps >= after + slack + (1 if slack else 0))
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        shown = _shown(int(stamps[row]))
        raise text.refuse(row, f"{name} {shown} is not in {text.file.date}, the date in the file's name")


def _shown(micros: int) -> str:
    return clock.iso(micros * clock.US) if 0 <= micros < 4 * 10**15 else f"{micros} us"


def _check_numbers(text: _Text, names: tuple[str, ...], least: float | None = None, required: bool = False) -> None:
    for name in names:
        numbers = text.values(name)
        bad = ~np.isfinite(numbers) if required else np.isinf(numbers)
        if least is not None:
            bad |= numbers < least
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            problem = "is empty" if np.isnan(numbers[row]) else f"is {numbers[row]:g}"
            raise text.refuse(row, f"{name} {problem}")


def _table(text: _Text, stamps: NDArray[np.int64], **columns: Any) -> Any:
    import pyarrow as pa

    return pa.table({"ts": pa.array(stamps.view("datetime64[us]")), **columns})


# ---- one function for each kind ------------------------------------------------------------------------------------


def _candles(text: _Text) -> tuple[Rows, ...]:
    file = text.file
    interval = clock.duration(file.interval)
    stamps = _micros(text, "open_time")
    _check_period(text, stamps, "open_time", length_s=interval / clock.SECOND)
    origin = clock.floor(0, interval) // clock.US
    crooked = (stamps - origin) % (interval // clock.US) != 0
    if crooked.any():
        row = int(np.flatnonzero(crooked)[0])
        raise text.refuse(row, f"open_time {_shown(int(stamps[row]))} is not the open of a {file.interval} bar")
    _check_numbers(text, _PRICES, required=True)
    columns = {name: text.frame.column(name) for name in _PRICES}
    if file.kind == "klines":
        columns |= _volumes(text)
    constants = {**text.constants, "price": str(KLINES[file.kind]), "interval_s": interval // clock.SECOND}
    return (Rows("candles", _table(text, stamps, **columns), constants),)


def _volumes(text: _Text) -> dict[str, Any]:
    import pyarrow.compute as pc

    _check_numbers(text, _TRADED, least=0.0)
    names = ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
    out = {name: text.frame.column(source) for name, source in zip(names, _TRADED, strict=True)}
    if text.file.is_inverse:
        usd = contract_usd(text.file.unified)
        out["quote_volume"] = pc.multiply(out["volume"], usd)
        out["taker_buy_quote_volume"] = pc.multiply(out["taker_buy_volume"], usd)
    return out


def _funding(text: _Text) -> tuple[Rows, ...]:
    stamps = _micros(text, "calc_time")
    _check_period(text, stamps, "calc_time", slack_s=60.0)
    _check_numbers(text, ("last_funding_rate",), required=True)
    _check_numbers(text, ("funding_interval_hours",), least=0.0)
    rates, hours = text.frame.column("last_funding_rate"), text.frame.column("funding_interval_hours")
    return (Rows("funding", _table(text, stamps, rate=rates, interval_hours=hours), text.constants),)


def _metrics(text: _Text) -> tuple[Rows, ...]:
    """Open interest, and four ratios; a field that is empty gives no row."""
    stamps = _micros(text, "create_time")
    _check_period(text, stamps, "create_time", slack_s=float(METRICS_S))
    _check_symbol(text)
    _check_numbers(text, ("sum_open_interest", "sum_open_interest_value", *_RATIOS), least=0.0)
    quantity, value = text.values("sum_open_interest"), text.values("sum_open_interest_value")
    if text.file.is_inverse:
        value = quantity * contract_usd(text.file.unified)
    there = ~(np.isnan(quantity) & np.isnan(value))
    open_interest = _table(text, stamps[there], quantity=_reals(quantity[there]), value=_reals(value[there]))
    constants = {**text.constants, "interval_s": METRICS_S}
    parts = [Rows("open_interest", open_interest, constants, METRICS_LAG_S)]
    for name, kind in _RATIOS.items():
        ratio = text.values(name)
        there = ~np.isnan(ratio)
        frame = _table(text, stamps[there], ratio=_reals(ratio[there]))
        parts.append(Rows("ratios", frame, {**constants, "kind": str(kind)}, METRICS_LAG_S))
    return tuple(parts)


def _check_symbol(text: _Text) -> None:
    import pyarrow.compute as pc

    other = pc.fill_null(pc.not_equal(text.frame.column("symbol"), text.file.symbol), True).to_numpy()
    if other.any():
        row = int(np.flatnonzero(other)[0])
        found = text.frame.column("symbol")[row].as_py()
        raise text.refuse(row, f"symbol is {found}, not {text.file.symbol}, the one in the file's name")


def _depth(text: _Text) -> tuple[Rows, ...]:
    stamps = _micros(text, "timestamp")
    _check_period(text, stamps, "timestamp", slack_s=60.0)
    _check_numbers(text, ("percentage",), required=True)
    _check_numbers(text, ("depth", "notional"), least=0.0)
    quantity, notional = text.values("depth"), text.values("notional")
    if text.file.is_inverse:
        notional = quantity * contract_usd(text.file.unified)
    percent = text.frame.column("percentage")
    frame = _table(text, stamps, percent=percent, quantity=_reals(quantity), notional=_reals(notional))
    return (Rows("depth", frame, {**text.constants, "interval_s": DEPTH_S}, DEPTH_LAG_S),)


def _liquidations(text: _Text) -> tuple[Rows, ...]:
    """SELL closes a long. The feed shows at most one event a second and symbol, so it is a lower bound."""
    import pyarrow as pa

    stamps = _micros(text, "time")
    _check_period(text, stamps, "time", slack_s=60.0)
    side = text.values("side")
    unknown = ~np.isin(side, ("SELL", "BUY"))
    if unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        raise text.refuse(row, f"side is {side[row]}, neither SELL nor BUY")
    _check_numbers(text, ("price", "average_price", "accumulated_fill_quantity"), least=0.0, required=True)
    keep, number = _once(text)
    stamps, side = stamps[keep], side[keep]
    filled = text.values("average_price")[keep] > 0
    price = np.where(filled, text.values("average_price")[keep], text.values("price")[keep])
    quantity = text.values("accumulated_fill_quantity")[keep]
    columns = {
        "position": pa.array(np.where(side == "SELL", str(Position.LONG), str(Position.SHORT)), pa.string()),
        "price": price,
        "price_kind": pa.array(np.where(filled, str(PriceKind.AVERAGE), str(PriceKind.LIMIT)), pa.string()),
        "quantity": quantity,
        "notional": quantity * (contract_usd(text.file.unified) if text.file.is_inverse else price),
        "event_id": pa.array(number.astype(str), pa.string()),
    }
    constants = {**text.constants, "feed": str(Feed.SAMPLED)}
    return (Rows("liquidations", _table(text, stamps, **columns), constants, LIQUIDATION_LAG_S),)


def _once(text: _Text) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to keep, and their running number within one moment, side, price and size.

    The archive writes every liquidation twice. Where every row of a file stands an even number of times half of each
    are kept, so an event that really came twice, written four times, stays two. A file that is not doubled throughout
    is kept as it is.
    """
    import polars as pl

    frame = pl.DataFrame(pl.from_arrow(text.frame)).with_row_index("row")
    every = [c for c in frame.columns if c != "row"]
    frame = frame.with_columns(times=pl.len().over(every), copy=pl.int_range(pl.len()).over(every))
    if (frame["times"] % 2 == 0).all():
        frame = frame.filter(pl.col("copy") < pl.col("times") // 2)
    moment = ["time", "side", "average_price", "accumulated_fill_quantity"]
    frame = frame.sort([*every, "copy"]).with_columns(number=pl.int_range(1, pl.len() + 1).over(moment))
    return frame["row"].cast(pl.Int64).to_numpy(), frame["number"].cast(pl.Int64).to_numpy()


def _reals(numbers: NDArray[Any]) -> Any:
    import pyarrow as pa

    return pa.array(numbers, pa.float64(), from_pandas=True)


_USED = tuple(n for n in _KLINE if n not in ("close_time", "ignore"))
_KINDS: dict[str, _Read] = {
    **{kind: _Read(_KLINE, _candles, _USED if kind == "klines" else ("open_time", *_PRICES)) for kind in KLINES},
    "fundingRate": _Read(_FUNDING, _funding),
    "metrics": _Read(_METRICS, _metrics),
    "bookDepth": _Read(_DEPTH, _depth),
    "liquidationSnapshot": _Read(_LIQUIDATION, _liquidations),
}
