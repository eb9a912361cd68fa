"""Common exports, by name: what `unwind import file --preset NAME` reads.

    PresetFiles([Path("BTC_USDT_USDT-1h-futures.feather")], "freqtrade", Declared("", venue="binance"))

To add one, write a function `Found, Declared -> Parts` and an entry in `PRESETS`. A file that does not
fit is refused with the column that is missing and the columns that it has. What a preset leaves out on
purpose it says in `Parts.remarks`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from data import clock
from data.errors import BadInput, NotFound, NotThisFormat, UnwindError, did_you_mean
from data.rows import Batch, Col, Const, Expr, Origin, Rows, Scan, Symbol, Time, key_of, recipe_of, sha256_of
from data.schema import Feed, Position, Price, PriceKind, table
from data.sources import Item, Note, Piece, tabular, tardis
from data.sources.archive_rows import contract_usd
from data.sources.files import VENUES, Declared, interval_of, liquidations, refuse_other_names, venue_name, walk
from data.sources.tabular import Found
from data.symbols import contract_kind, unified

if TYPE_CHECKING:
    import polars as pl

VERSION = 1  # goes up when the same file gives other rows


@dataclass(frozen=True)
class Parts:
    """What a preset makes of one file."""

    rows: tuple[Rows, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preset:
    """One kind of export. `tables`: what a file fills, told by name and columns; `read`: its rows."""

    what: str
    tables: Callable[[Found], tuple[str, ...]]
    read: Callable[[Found, Declared], Parts]


@dataclass
class PresetFiles:
    """Files of one kind of export as a source for `data.ingest`; a folder stands for all under it.

    Of `declared` a preset takes venue, symbol, symbol template, interval, feed and lag, each where
    the export does not say it itself; a symbol that contradicts the export is refused.
    """

    paths: Sequence[Path]
    preset: str
    declared: Declared = field(default_factory=lambda: Declared(""))
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise NotFound(f"no preset {self.preset!r}: {did_you_mean(self.preset, PRESETS)}")
        self.declared = replace(self.declared, venue=venue_name(self.declared.venue))
        self.items = list(walk(self.paths))

    @property
    def key(self) -> str:
        return key_of(*self.paths)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        for item in self.items:
            yield item if isinstance(item, Note) else self._item(item)

    def _item(self, path: Path) -> Item:
        preset = PRESETS[self.preset]
        try:
            found = tabular.look(path)
            tables = preset.tables(found)
        except UnwindError as problem:
            return Piece(Origin(self.preset, path.name), (), partial(_raise, problem))
        origin = Origin(
            self.preset,
            path.name,
            sha256_of(path),
            recipe_of(VERSION, self.preset, path.parts[-3:], self.declared),
            tables=tables,
            venue=self.declared.venue,
        )

        def read() -> Batch:
            parts = preset.read(found, self.declared)
            self.remarks += [r for r in parts.remarks if r not in self.remarks]
            return Batch(parts.rows, (origin,))

        return Piece(origin, tables, read)


def _raise(problem: UnwindError) -> Batch:
    raise problem


def _names_agree(found: Found, declared: Declared) -> None:
    symbol, venue = (c if c in found.columns else None for c in ("symbol", "venue"))
    refuse_other_names(found, declared, symbol, venue)


def _one_of(found: Found, *names: str) -> str:
    """The first of these columns that the file has."""
    found.need(names[:1] if not any(n in found.columns for n in names) else ())
    return next(n for n in names if n in found.columns)


# ---- freqtrade ---------------------------------------------------------------------------------

_FREQTRADE = re.compile(r"^(?P<pair>[A-Za-z0-9_-]+)-(?P<timeframe>\d+[a-zA-Z]{1,2})(-(?P<kind>[a-zA-Z_]+))?\.")
_FREQTRADE_PRICES = {
    "": Price.TRADE,
    "futures": Price.TRADE,
    "mark": Price.MARK,
    "index": Price.INDEX,
    "premiumIndex": Price.PREMIUM,
}


def freqtrade_name(name: str) -> tuple[str, str, str]:
    """Unified symbol, timeframe and kind of BTC_USDT_USDT-1h-futures.feather."""
    match = _FREQTRADE.match(name)
    parts = match["pair"].split("_") if match else []
    if match is None or len(parts) not in (2, 3):
        raise NotThisFormat(f"{name}: is not named as freqtrade does, such as BTC_USDT_USDT-1h-futures.feather")
    kind = match["kind"] or ""
    if kind not in (*_FREQTRADE_PRICES, "funding_rate"):
        raise NotThisFormat(f"{name}: {kind} is no kind of candle that is imported")
    symbol = "/".join(parts[:2]) + (f":{parts[2]}" if len(parts) == 3 else "")
    return symbol, match["timeframe"], kind


def _freqtrade_tables(found: Found) -> tuple[str, ...]:
    return ("funding",) if freqtrade_name(found.name)[2] == "funding_rate" else ("candles",)


def _freqtrade(found: Found, declared: Declared) -> Parts:
    """Candles as freqtrade stores them; funding candles have the rate in `open`."""
    symbol, timeframe, kind = freqtrade_name(found.name)
    found.need(("date", "open", "high", "low", "close", "volume"))
    if declared.symbol and unified(declared.symbol, declared.venue) != symbol:
        raise BadInput(f"{found.name}: is of {symbol} by its name, --symbol says {declared.symbol}; leave --symbol out")
    tabular.refuse_zones(found, ["date"])
    columns: dict[str, Expr] = {
        "venue": Const(declared.venue or _venue_by_folder(found)),
        "symbol": Const(symbol),
        "ts": Time("date"),
    }
    if kind == "funding_rate":
        scan = Scan(found.path, found.format, {**columns, "rate": Col("open")})
        return Parts((Rows("funding", scan, lag_s=declared.lag_s),))
    columns |= {"price": Const(_FREQTRADE_PRICES[kind].value)}
    columns |= {c: Col(c) for c in ("open", "high", "low", "close")}
    if kind in ("", "futures"):
        columns |= {"volume": Col("volume")}
    told = clock.duration(timeframe) // clock.SECOND
    columns |= {"interval_s": Const(interval_of(found, columns, told, table("candles")))}
    return Parts((Rows("candles", Scan(found.path, found.format, columns)),))


def _venue_by_folder(found: Found) -> str:
    """freqtrade keeps files in data/<exchange>/ and data/<exchange>/futures/."""
    for folder in reversed(found.path.resolve().parts[-3:-1]):
        if folder in VENUES:
            return folder
    raise BadInput(f"{found.name}: of which venue? Pass --venue, such as --venue binance")


# ---- CoinGlass ---------------------------------------------------------------------------------

_PANEL_PRICES = ("price_open", "price_high", "price_low", "price_close")
_PANEL = (*_PANEL_PRICES, "liquidation_long_usd", "liquidation_short_usd", "oi_close")


def _coinglass(found: Found, declared: Declared) -> Parts:
    """A panel of bars. Open interest at a bar's close is a snapshot at its end, and stamped there."""
    import polars as pl

    time = _one_of(found, "ts", "time", "timestamp")
    found.need((*_PANEL, *(() if declared.symbol else ("symbol",))))
    _names_agree(found, declared)
    tabular.refuse_zones(found, [time])
    own: dict[str, Expr] = {"ts": Time(time, declared.time_unit)}
    if not declared.symbol:
        own["symbol"] = Col("symbol")
    seconds = interval_of(found, own, declared.interval_s, table("candles"))
    raw = tabular.read(found, [time, *_PANEL, *(c for c in ("symbol",) if not declared.symbol)])
    venue = declared.venue or "coinglass"
    symbol = unified(declared.symbol, venue)
    frame = raw.select(
        pl.lit(symbol).alias("symbol") if symbol else pl.col("symbol").cast(pl.String),
        tabular.times(raw[time], found.name, declared.time_unit).alias("ts"),
        *(tabular.numbers(raw[c], found.name) for c in _PANEL),
    )
    prices = [pl.col(c).alias(c.removeprefix("price_")) for c in _PANEL_PRICES]
    sides = [pl.col(f"liquidation_{s}_usd").alias(f"{s}_notional") for s in ("long", "short")]
    bar_end = pl.col("ts") + pl.duration(seconds=seconds)
    said = {"venue": venue, "interval_s": seconds}
    lag = declared.lag_s
    return Parts(
        (
            Rows("candles", frame.select("symbol", "ts", *prices), {**said, "price": "trade"}),
            Rows(
                "liquidation_bars",
                frame.select("symbol", "ts", *sides),
                {**said, "feed": declared.constants.get("feed", Feed.AGGREGATED.value)},
                lag,
            ),
            Rows(
                "open_interest",
                frame.select("symbol", bar_end, pl.col("oi_close").alias("value")),
                said,
                lag,
            ),
        ),
        ("coinglass: its funding columns are left out: they follow the rate of the hour and are no settlements",),
    )


# ---- Binance's force orders --------------------------------------------------------------------


def _force_orders(found: Found, declared: Declared) -> Parts:
    """Events of Binance's forceOrder stream. SELL closes a long; one event a second and symbol at most.

    Names without a quote are coins of USDT contracts; full names stay (data.sources.tabular.symbol_of says which).
    """
    import polars as pl

    time = _one_of(found, "ts", "time", "timestamp", "event_time")
    size = _one_of(found, "accumulated_quantity", "accumulated_fill_quantity", "original_quantity")
    found.need((*(() if declared.symbol else ("symbol",)), "side", "price", "average_price"))
    tabular.refuse_zones(found, [time])
    raw = tabular.read(found, [time, size, "side", "price", "average_price", *(() if declared.symbol else ("symbol",))])
    venue = declared.venue or "binance"
    template = "{}USDT" if declared.symbol_template == "{}" else declared.symbol_template
    _names_agree(found, replace(declared, symbol_template=template))
    symbol = (
        pl.lit(unified(declared.symbol, venue))
        if declared.symbol
        else tabular.named(raw["symbol"], Symbol("symbol", template), venue)
    )
    average = tabular.numbers(raw["average_price"], found.name)
    paid = pl.when(average > 0).then(average)
    frame = raw.select(
        symbol.alias("symbol"),
        tabular.times(raw[time], found.name, declared.time_unit).alias("ts"),
        tabular.translated(raw["side"], _FORCED, found.name).alias("position"),
        pl.coalesce(paid, tabular.numbers(raw["price"], found.name)).alias("price"),
        pl.when(paid.is_null())
        .then(pl.lit(PriceKind.LIMIT.value))
        .otherwise(pl.lit(PriceKind.AVERAGE.value))
        .alias("price_kind"),
        tabular.numbers(raw[size], found.name).alias("quantity"),
    )
    said = {"venue": venue, "feed": declared.constants.get("feed", Feed.SAMPLED.value), "event_id": ""}
    frame = liquidations(frame, found.name)
    frame = _worth_of_contracts(frame) if venue == "binance" else frame
    return Parts((Rows("liquidations", frame, said, max(1.0, declared.lag_s)),))


def _worth_of_contracts(frame: pl.DataFrame) -> pl.DataFrame:
    """Inverse contracts are counted in pieces of a fixed worth in USD, whatever the price."""
    import polars as pl

    inverse = [s for s in frame["symbol"].unique().to_list() if s and contract_kind(s) == "inverse"]
    if not inverse:
        return frame
    each = pl.col("symbol").replace_strict(
        inverse, [contract_usd(s) for s in inverse], default=None, return_dtype=pl.Float64
    )
    return frame.with_columns(notional=pl.coalesce("notional", pl.col("quantity") * each))


_FORCED = {"SELL": Position.LONG.value, "BUY": Position.SHORT.value}


# ---- the presets -------------------------------------------------------------------------------


def _tardis(found: Found, declared: Declared) -> Parts:
    return Parts(*tardis.read(found, declared))


def _always(*tables: str) -> Callable[[Found], tuple[str, ...]]:
    return lambda found: tables


PRESETS: Mapping[str, Preset] = {
    "freqtrade": Preset(
        "freqtrade's candles: trade, mark, index, premium index and funding_rate",
        _freqtrade_tables,
        _freqtrade,
    ),
    "tardis": Preset(
        "Tardis CSV: derivative_ticker (open interest, funding) and liquidations",
        tardis.tables,
        _tardis,
    ),
    "coinglass": Preset(
        "a CoinGlass panel: price bars, liquidations by side, open interest",
        _always("candles", "liquidation_bars", "open_interest"),
        _coinglass,
    ),
    "binance-force-orders": Preset(
        "events kept from Binance's forceOrder stream, in its archive's columns",
        _always("liquidations"),
        _force_orders,
    ),
}
