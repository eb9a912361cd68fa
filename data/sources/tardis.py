"""Tardis CSV files: `derivative_ticker` and `liquidations`, one day of one or more symbols.

Times are microseconds; `local_timestamp` is when the message arrived, and so when a row was known.

A ticker file gives:

1. open interest: the last snapshot of each minute;
2. funding settlements: a ticker names the next settlement and its rate. The last rate seen before
   that time is the settled one; it is known when the ticker moves past it. At the end of a file, a
   ticker that ends less than a minute before the settlement is taken to have shown the final rate,
   known a minute later. A settlement whose file ends earlier is left out.

Last, index and mark prices are not imported.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from data import clock
from data.errors import BadInput, NotThisFormat
from data.rows import Rows, Symbol
from data.schema import Feed, Position, PriceKind
from data.sources import tabular
from data.sources.files import Declared, liquidations, refuse_other_names
from data.sources.tabular import Found
from data.symbols import contract_kind

if TYPE_CHECKING:
    import polars as pl

TICKER = (
    *("exchange", "symbol", "timestamp", "local_timestamp", "funding_timestamp"),
    *("funding_rate", "open_interest", "mark_price"),
)
LIQUIDATIONS = (*("exchange", "symbol", "timestamp", "local_timestamp", "id", "side", "price", "amount"),)
VENUES: Mapping[str, str] = {  # Tardis writes one name for each market of a venue
    "binance-futures": "binance",
    "binance-delivery": "binance",
    "okex-swap": "okx",
    "okex-futures": "okx",
    "gate-io-futures": "gate",
    "huobi-dm": "htx",
    "huobi-dm-swap": "htx",
    "huobi-dm-linear-swap": "htx",
    "kraken-futures": "kraken",
    "cryptofacilities": "kraken",
    "bitget-futures": "bitget",
    "dydx-v4": "dydx",
    "woo-x": "woo",
}
_IN_CONTRACTS = ("okx", "htx", "gate", "kucoin")  # linear contracts counted in pieces, not in coin
_SAMPLED = ("binance", "okx")  # at most one event a second and symbol
_SIDES = {"sell": Position.LONG, "buy": Position.SHORT}  # the order that closed the position
_BYBIT_ALL = clock.naive(clock.moment("2025-02-20"))  # every event is published from here on
_BINANCE_SAMPLED = clock.naive(clock.moment("2021-04-27"))
_MINUTE = dt.timedelta(minutes=1)


def kind_of(found: Found) -> str:
    """ticker or liquidations; trades have the columns of liquidations and are told by name."""
    if "funding_timestamp" in found.columns or "open_interest" in found.columns:
        return "ticker"
    places = "/".join(found.path.parts[-6:])
    if "liquidations" in places:
        return "liquidations"
    if "trades" in places or set(LIQUIDATIONS) <= set(found.columns):
        raise NotThisFormat(
            f"{found.name}: trades and liquidations have the same columns; the name of the file or "
            "of its folders must have liquidations in it"
        )
    found.need(TICKER)
    return "ticker"


def tables(found: Found) -> tuple[str, ...]:
    return ("open_interest", "funding") if kind_of(found) == "ticker" else ("liquidations",)


def read(found: Found, declared: Declared) -> tuple[tuple[Rows, ...], tuple[str, ...]]:
    """Rows and remarks."""
    return _ticker(found, declared) if kind_of(found) == "ticker" else _liquidations(found, declared)


# ---- liquidations ------------------------------------------------------------------------------


def _liquidations(found: Found, declared: Declared) -> tuple[tuple[Rows, ...], tuple[str, ...]]:
    import polars as pl

    frame, venue = _opened(found, LIQUIDATIONS, declared)
    raw = frame.select(
        "symbol",
        "ts",
        "known_at",
        tabular.translated(frame["side"], _SIDES, found.name).alias("position"),
        tabular.numbers(frame["price"], found.name).alias("price"),
        tabular.numbers(frame["amount"], found.name).alias("quantity"),
        pl.col("id").cast(pl.String).fill_null("").alias("event_id"),
    )
    _refuse_contracts(found, raw, venue)
    feed = declared.constants.get("feed")
    kind = PriceKind.BANKRUPTCY if venue == "bybit" else PriceKind.UNKNOWN
    out = liquidations(raw, found.name).with_columns(
        venue=pl.lit(venue),
        price_kind=pl.lit(declared.constants.get("price_kind", kind)),
        feed=pl.lit(feed) if feed else _feed(venue),
    )
    return (Rows("liquidations", out),), ()


def _feed(venue: str) -> pl.Expr:
    """How much of what happened the venue's stream showed at that time."""
    import polars as pl

    ts = pl.col("ts")
    sampled, complete = pl.lit(Feed.SAMPLED.value), pl.lit(Feed.COMPLETE.value)
    if venue == "binance":
        return pl.when(ts < _BINANCE_SAMPLED).then(complete).otherwise(sampled)
    if venue == "bybit":
        return pl.when(ts < _BYBIT_ALL).then(sampled).otherwise(complete)
    return sampled if venue in _SAMPLED else pl.lit(Feed.UNKNOWN.value)


def _refuse_contracts(found: Found, frame: pl.DataFrame, venue: str) -> None:
    if linear := _linear(frame, venue):
        raise BadInput(
            f"{found.name}: {venue} counts {linear[0]} in contracts; multiply the amounts by the "
            "contract size and import the outcome with --table liquidations and --map"
        )


def _linear(frame: pl.DataFrame, venue: str) -> list[str]:
    """Symbols that should be in coin and are in contracts."""
    names = [s for s in frame["symbol"].unique().to_list() if s is not None]
    return sorted(s for s in names if venue in _IN_CONTRACTS and contract_kind(s) == "linear")


# ---- tickers -----------------------------------------------------------------------------------


def _ticker(found: Found, declared: Declared) -> tuple[tuple[Rows, ...], tuple[str, ...]]:
    frame, venue = _opened(found, TICKER, declared)
    rows, remarks = [], ["tardis: last, index and mark prices are not imported"]
    if counted := _linear(frame, venue):
        remarks.append(f"tardis: {venue} counts open interest in contracts; {', '.join(counted)} left out")
    else:
        rows.append(Rows("open_interest", _open_interest(frame, found.name), {"venue": venue}))
    settled = _settlements(frame, found.name)
    if len(settled):
        rows.append(Rows("funding", settled, {"venue": venue}))
    else:
        remarks.append("tardis: files without a settlement in them, as far as the ticker tells")
    return tuple(rows), tuple(remarks)


def _open_interest(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    import polars as pl

    quantity = tabular.numbers(frame["open_interest"], where)
    mark = tabular.numbers(frame["mark_price"], where)
    linear = [s for s in frame["symbol"].unique().to_list() if s and contract_kind(s) == "linear"]
    seen = frame.select("symbol", "ts", "known_at", quantity=quantity, mark=mark)
    seen = seen.with_columns(pl.col("mark").forward_fill().over("symbol"))
    last = (
        seen.drop_nulls("quantity")
        .sort("symbol", "ts", maintain_order=True)
        .group_by("symbol", pl.col("ts").dt.truncate("1m").alias("_minute"), maintain_order=True)
        .last()
    )
    paid = pl.when(pl.col("symbol").is_in(linear)).then(pl.col("quantity") * pl.col("mark"))
    return last.select("symbol", "ts", "quantity", paid.alias("value"), "known_at", interval_s=60)


def _settlements(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    import polars as pl

    due = tabular.times(frame["funding_timestamp"], where, "us")
    rate = tabular.numbers(frame["funding_rate"], where)
    seen = frame.select("symbol", "ts", "known_at", due=due, rate=rate)
    seen = seen.sort("symbol", "ts", maintain_order=True)
    lines = [
        (symbol, *line) for (symbol,), group in seen.group_by("symbol", maintain_order=True) for line in _settled(group)
    ]
    stamp = pl.Datetime("us")
    schema: dict[str, Any] = {"symbol": pl.String, "ts": stamp, "rate": pl.Float64, "known_at": stamp}
    return pl.DataFrame(lines, schema=schema, orient="row")


def _settled(ticks: pl.DataFrame) -> Iterator[tuple[dt.datetime, float, dt.datetime]]:
    """(time, rate, known at) of the settlements that one symbol's ticks show."""
    import polars as pl

    named = ticks.drop_nulls(["due", "rate"])
    for due in named["due"].unique().sort():
        before = named.filter((pl.col("due") == due) & (pl.col("ts") < due))
        past = ticks.filter(pl.col("ts") >= due)
        if before.is_empty():
            continue
        ts, rate = before.row(-1, named=True)["ts"], float(before["rate"][-1])
        if len(past):
            yield due, rate, max(past["known_at"][0], due)
        elif due - ts <= _MINUTE:
            yield due, rate, due + _MINUTE


def _opened(found: Found, columns: tuple[str, ...], declared: Declared) -> tuple[pl.DataFrame, str]:
    """The file's columns, with `ts`, `known_at` and unified symbols, and the venue."""
    found.need(columns)
    frame = tabular.read(found, columns)
    exchanges = frame["exchange"].unique().to_list()
    if len(exchanges) > 1:
        raise BadInput(f"{found.name}: holds {len(exchanges)} exchanges; a Tardis file holds one")
    exchange = str(exchanges[0]) if exchanges else ""
    told = VENUES.get(exchange, exchange)
    if declared.venue and exchange and declared.venue != told:
        raise BadInput(f"{found.name}: is of {told}, --venue says {declared.venue}; leave --venue out")
    venue = declared.venue or told
    refuse_other_names(found, replace(declared, venue=venue), "symbol", None)
    ts = tabular.times(frame["timestamp"], found.name, "us")
    known = tabular.times(frame["local_timestamp"], found.name, "us")
    symbol = tabular.named(frame["symbol"], Symbol("symbol"), venue)
    return frame.with_columns(symbol=symbol, ts=ts, known_at=known), venue
