"""Common exports: freqtrade, Tardis, CoinGlass and kept force orders, in the form that their makers write."""

from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.feather
import pytest

from data.errors import BadInput, BadRow, MissingColumn, NotFound, NotThisFormat
from data.ingest import Report, ingest
from data.sources import Piece
from data.sources.files import Declared
from data.sources.presets import PRESETS, PresetFiles, freqtrade_name
from data.store import Store

START = dt.datetime(2024, 1, 1)  # noqa: DTZ001 - naive UTC is the store's form
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store" / "s.duckdb")


def take(store: Store, path: Path, preset: str, **declared: Any) -> Report:
    return ingest(PresetFiles([path], preset, Declared("", **declared)), store)


def us(when: dt.datetime) -> int:
    return int((when - dt.datetime(1970, 1, 1)).total_seconds() * 1_000_000)  # noqa: DTZ001


# ---- freqtrade ---------------------------------------------------------------------------------


def freqtrade(path: Path, every: dt.timedelta = HOUR, n: int = 48, zone: str = "UTC", **columns: Any) -> Path:
    """date in UTC with milliseconds, prices and volume, lz4-compressed feather."""
    frame = pl.DataFrame({"date": [START + i * every for i in range(n)]}).with_columns(
        pl.col("date").cast(pl.Datetime("ms")).dt.replace_time_zone(zone),
        *(pl.lit(v).alias(c) for c, v in {"open": 100.0, "high": 102.0, "low": 99.0, "close": 101.0}.items()),
        pl.lit(7.0).alias("volume"),
    )
    frame = frame.with_columns(**columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.feather.write_feather(frame.to_arrow(), path, compression="lz4")
    return path


def test_freqtrade_a_whole_folder(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "binance" / "futures"
    freqtrade(folder / "BTC_USDT_USDT-1h-futures.feather")
    freqtrade(folder / "BTC_USDT_USDT-1h-mark.feather", volume=pl.lit(0.0))
    freqtrade(folder / "BTC_USDT_USDT-8h-funding_rate.feather", 8 * HOUR, 6, open=pl.lit(0.0001), close=pl.lit(0.0))
    freqtrade(folder.parent / "BTC_USDT-5m.feather", HOUR / 12)
    assert ingest(PresetFiles([folder.parent], "freqtrade"), store).files == 4
    candles = store.table("candles").groupby(["venue", "symbol", "price", "interval_s"])["volume"].max()
    assert {k: None if v != v else v for k, v in candles.to_dict().items()} == {
        ("binance", "BTC/USDT", "trade", 300): 7.0,
        ("binance", "BTC/USDT:USDT", "mark", 3600): None,
        ("binance", "BTC/USDT:USDT", "trade", 3600): 7.0,
    }
    funding = store.table("funding")
    assert set(zip(funding["rate"], funding["interval_hours"], strict=True)) == {(0.0001, 8.0)}
    assert ingest(PresetFiles([folder.parent], "freqtrade"), store).skipped == 4


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("BTC_USDT_USDT-1h-futures.feather", ("BTC/USDT:USDT", "1h", "futures")),
        ("1000PEPE_USDT_USDT-15m-mark.feather", ("1000PEPE/USDT:USDT", "15m", "mark")),
        ("BTC_USD_BTC-8h-funding_rate.feather", ("BTC/USD:BTC", "8h", "funding_rate")),
        ("ETH_USDT-1d.feather", ("ETH/USDT", "1d", "")),
        ("BTC_USDT_USDT-250328-1h-futures.feather", ("BTC/USDT:USDT-250328", "1h", "futures")),
    ],
)
def test_freqtrade_names(name: str, told: tuple[str, str, str]) -> None:
    assert freqtrade_name(name) == told


@pytest.mark.parametrize("name", ["btc.feather", "BTCUSDT-1h.feather", "BTC_USDT_USDT-1h-spread.feather"])
def test_freqtrade_names_that_say_nothing(store: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(NotThisFormat, match=name):
        take(store, freqtrade(tmp_path / name), "freqtrade", venue="binance")


def test_freqtrade_the_venue_is_asked_for(store: Store, tmp_path: Path) -> None:
    path = freqtrade(tmp_path / "somewhere" / "BTC_USDT_USDT-1h-futures.feather")
    with pytest.raises(BadInput, match="of which venue"):
        take(store, path, "freqtrade")
    assert take(store, path, "freqtrade", venue="bybit").written.inserted == 48


def test_freqtrade_a_name_that_lies_about_the_interval(store: Store, tmp_path: Path) -> None:
    path = freqtrade(tmp_path / "BTC_USDT_USDT-5m-futures.feather")
    with pytest.raises(BadInput, match="rows come every 1h, not every 5m"):
        take(store, path, "freqtrade", venue="binance")


def test_freqtrade_a_zone(store: Store, tmp_path: Path) -> None:
    path = freqtrade(tmp_path / "BTC_USDT_USDT-1h-futures.feather", zone="Asia/Tokyo")
    with pytest.raises(BadInput, match="Asia/Tokyo"):
        take(store, path, "freqtrade", venue="binance")


# ---- Tardis ------------------------------------------------------------------------------------

TICKER = (
    "exchange,symbol,timestamp,local_timestamp,funding_timestamp,funding_rate,predicted_funding_rate,"
    "open_interest,last_price,index_price,mark_price"
)
LIQUIDATIONS = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"


def tardis(path: Path, header: str, lines: list[tuple[Any, ...]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join([header, *(",".join("" if v is None else str(v) for v in line) for line in lines)]) + "\n"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def tick(
    when: dt.datetime, due: dt.datetime | None, rate: float | None, oi: float | None, **more: Any
) -> tuple[Any, ...]:
    exchange, symbol = more.get("exchange", "binance-futures"), more.get("symbol", "BTCUSDT")
    due_us = None if due is None else us(due)
    arrived = us(when) + 150_000
    return (exchange, symbol, us(when), arrived, due_us, rate, None, oi, 42_000, 42_001, more.get("mark", 42_002.0))


def at(hours: float) -> dt.datetime:
    return START + dt.timedelta(hours=hours)


def test_tardis_settlements_are_the_last_rate_before_them(store: Store, tmp_path: Path) -> None:
    ticks = [
        tick(at(0.001), at(0), 0.0009, 1.0),  # still names a settlement that is over
        tick(at(0.01), at(8), 0.0001, 1.0),
        tick(at(7.99), at(8), 0.0002, 1.0),
        tick(at(8.001), at(8), 0.0005, 1.0),  # a late message, after the settlement
        tick(at(8.002), at(16), 0.0003, 1.0),
        tick(at(16.5), at(24), 0.0004, 1.0),
        tick(at(23.9), at(24), 0.0006, 1.0),  # six minutes early: not the final rate
    ]
    path = tardis(tmp_path / "binance-futures_derivative_ticker_2024-01-01_BTCUSDT.csv.gz", TICKER, ticks)
    take(store, path, "tardis")
    found = store.table("funding")
    assert found["ts"].tolist() == [at(8), at(16)]
    assert found["rate"].tolist() == [0.0002, 0.0003]
    late = dt.timedelta(microseconds=150_000)
    assert found["known_at"].tolist() == [at(8.001) + late, at(16.5) + late]
    assert set(found["venue"]) == {"binance"}


def test_tardis_the_settlement_at_midnight_is_in_the_file_of_the_day_before(store: Store, tmp_path: Path) -> None:
    midnight = at(24)
    first = [tick(at(23), midnight, 0.0001, 1.0), tick(midnight - dt.timedelta(seconds=2), midnight, 0.0007, 1.0)]
    second = [tick(midnight + dt.timedelta(seconds=1), midnight, 0.0007, 1.0), tick(at(24.1), at(32), 0.0002, 1.0)]
    for day, ticks in (("2024-01-01", first), ("2024-01-02", second)):
        take(store, tardis(tmp_path / f"x_derivative_ticker_{day}_BTCUSDT.csv.gz", TICKER, ticks), "tardis")
    found = store.table("funding")
    assert found[["ts", "rate"]].to_numpy().tolist() == [[midnight, 0.0007]]
    assert (found["known_at"] == midnight + dt.timedelta(minutes=1)).all()


def test_tardis_open_interest_is_the_last_of_each_minute(store: Store, tmp_path: Path) -> None:
    seconds = [(0, 100.0), (30, 110.0), (59.5, None), (60, 120.0), (200, 130.0)]
    ticks = [tick(START + dt.timedelta(seconds=s), at(8), 0.0001, oi) for s, oi in seconds]
    take(store, tardis(tmp_path / "x_derivative_ticker_BTCUSDT.csv.gz", TICKER, ticks), "tardis")
    found = store.table("open_interest")
    assert found["quantity"].tolist() == [110.0, 120.0, 130.0]
    assert found["value"].tolist() == pytest.approx([q * 42_002 for q in (110, 120, 130)])
    assert found["ts"].tolist() == [START + dt.timedelta(seconds=s) for s in (30, 60, 200)]
    assert ((found["known_at"] - found["ts"]) == dt.timedelta(microseconds=150_000)).all()
    assert set(found["interval_s"]) == {60}


@pytest.mark.parametrize(("name", "header"), [("derivative_ticker", TICKER), ("liquidations", LIQUIDATIONS)])
def test_tardis_a_day_on_which_nothing_happened(store: Store, tmp_path: Path, name: str, header: str) -> None:
    path = tardis(tmp_path / f"binance-futures_{name}_2024-01-01_BTCUSDT.csv.gz", header, [])
    assert take(store, path, "tardis").written.rows == 0
    assert take(store, path, "tardis").skipped == 1


def test_tardis_a_ticker_without_settlements(store: Store, tmp_path: Path) -> None:
    ticks = [tick(at(i), None, 0.0001, 50.0, exchange="deribit", symbol="BTC-PERPETUAL") for i in range(3)]
    path = tardis(tmp_path / "deribit_derivative_ticker_BTC-PERPETUAL.csv.gz", TICKER, ticks)
    source = PresetFiles([path], "tardis")
    ingest(source, store)
    assert set(store.table("open_interest")["symbol"]) == {"BTC/USD:BTC"}
    assert store.table("open_interest")["value"].isna().all()  # inverse: contracts are no coin
    assert len(store.table("funding")) == 0
    assert any("without a settlement" in r for r in source.remarks)
    assert ingest(PresetFiles([path], "tardis"), store).skipped == 1


def test_tardis_contracts_are_not_taken_for_coin(store: Store, tmp_path: Path) -> None:
    more = {"exchange": "okex-swap", "symbol": "BTC-USDT-SWAP"}
    ticks = [tick(at(7.99), at(8), 0.0001, 5e6, **more), tick(at(8.01), at(16), 0.0002, 5e6, **more)]
    source = PresetFiles([tardis(tmp_path / "okex-swap_derivative_ticker.csv.gz", TICKER, ticks)], "tardis")
    ingest(source, store)
    assert len(store.table("open_interest")) == 0
    assert store.table("funding")["rate"].tolist() == [0.0001]
    assert any("okx counts open interest in contracts" in r for r in source.remarks)
    path = tardis(tmp_path / "liquidations.csv.gz", LIQUIDATIONS, [liquidation("okex-swap", "BTC-USDT-SWAP")])
    with pytest.raises(BadInput, match="contract size"):
        take(store, path, "tardis")


def liquidation(exchange: str, symbol: str, side: str = "sell", when: dt.datetime = START) -> tuple[Any, ...]:
    return (exchange, symbol, us(when), us(when) + 250_000, None, side, 40_000, 0.5)


@pytest.mark.parametrize(
    ("exchange", "when", "feed", "kind"),
    [
        ("binance-futures", dt.datetime(2020, 9, 1), "complete", "unknown"),  # noqa: DTZ001
        ("binance-futures", dt.datetime(2024, 9, 1), "sampled", "unknown"),  # noqa: DTZ001
        ("bybit", dt.datetime(2024, 9, 1), "sampled", "bankruptcy"),  # noqa: DTZ001
        ("bybit", dt.datetime(2025, 9, 1), "complete", "bankruptcy"),  # noqa: DTZ001
        ("kraken-futures", dt.datetime(2024, 9, 1), "unknown", "unknown"),  # noqa: DTZ001
    ],
)
def test_tardis_liquidations(
    store: Store, tmp_path: Path, exchange: str, when: dt.datetime, feed: str, kind: str
) -> None:
    lines = [liquidation(exchange, "BTCUSDT", side, when) for side in ("sell", "buy")]
    take(store, tardis(tmp_path / "liquidations" / "2024" / "BTCUSDT.csv.gz", LIQUIDATIONS, lines), "tardis")
    found = store.table("liquidations")
    assert found["position"].tolist() == ["long", "short"]
    assert set(found["notional"]) == {20_000.0}
    assert (set(found["feed"]), set(found["price_kind"])) == ({feed}, {kind})
    assert ((found["known_at"] - found["ts"]) == dt.timedelta(microseconds=250_000)).all()


def test_tardis_trades_are_not_taken_for_liquidations(store: Store, tmp_path: Path) -> None:
    lines = [liquidation("binance-futures", "BTCUSDT")]
    for name in ("binance-futures_trades_2024-01-01_BTCUSDT.csv.gz", "BTCUSDT.csv.gz"):
        with pytest.raises(NotThisFormat, match="trades and liquidations have the same columns"):
            take(store, tardis(tmp_path / name, LIQUIDATIONS, lines), "tardis")


def test_tardis_an_unknown_side_names_the_row(store: Store, tmp_path: Path) -> None:
    lines = [liquidation("binance-futures", "BTCUSDT"), liquidation("binance-futures", "BTCUSDT", "unknown")]
    with pytest.raises(BadRow, match=r"liquidations\.csv\.gz, row 2: side 'unknown'"):
        take(store, tardis(tmp_path / "liquidations.csv.gz", LIQUIDATIONS, lines), "tardis")


# ---- CoinGlass ---------------------------------------------------------------------------------


def panel(n: int = 24) -> pl.DataFrame:
    columns = {
        "price_open": 100.0,
        "price_high": 102.0,
        "price_low": 99.0,
        "price_close": 101.0,
        "liquidation_long_usd": 5e6,
        "liquidation_short_usd": 2e6,
        "funding_close": 0.0056,  # percent
        "oi_close": 8e9,
    }
    frame = pl.DataFrame({"ts": [START + i * HOUR for i in range(n)]})
    return frame.with_columns(*(pl.lit(v).alias(c) for c, v in columns.items()), symbol=pl.lit("BTC"))


def test_coinglass_panels_fill_three_tables(store: Store, tmp_path: Path) -> None:
    panel().write_parquet(tmp_path / "p.parquet")
    source = PresetFiles([tmp_path / "p.parquet"], "coinglass")
    report = ingest(source, store)
    assert dict(report.written.per_table) == {"candles": 24, "liquidation_bars": 24, "open_interest": 24}
    bars, interest = store.table("liquidation_bars"), store.table("open_interest")
    assert bars["ts"].tolist() == [START + i * HOUR for i in range(24)]
    assert ((bars["known_at"] - bars["ts"]) == HOUR).all()
    assert set(zip(bars["long_notional"], bars["short_notional"], bars["feed"], strict=True)) == {
        (5e6, 2e6, "aggregated")
    }
    assert interest["ts"].tolist() == [START + (i + 1) * HOUR for i in range(24)]  # the value at the bar's end
    assert (interest["known_at"] == interest["ts"]).all()
    assert set(store.table("candles")["symbol"]) == {"BTC"}
    assert len(store.table("funding")) == 0
    assert any("funding columns are left out" in r for r in source.remarks)


def test_coinglass_of_one_contract(store: Store, tmp_path: Path) -> None:
    panel().drop("symbol").rename({"ts": "time"}).write_csv(tmp_path / "p.csv")
    take(store, tmp_path / "p.csv", "coinglass", venue="binance", symbol="BTCUSDT", lag_s=60.0)
    found = store.table("liquidation_bars")
    assert set(zip(found["venue"], found["symbol"], strict=True)) == {("binance", "BTC/USDT:USDT")}
    assert ((found["known_at"] - found["ts"]) == HOUR + dt.timedelta(minutes=1)).all()


# ---- force orders ------------------------------------------------------------------------------


def test_force_orders_are_priced_at_the_average_where_there_is_one(store: Store, tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "ts": [START, START + HOUR],
            "symbol": ["BTC", "SUIUSDC"],
            "side": ["SELL", "BUY"],
            "price": [40_000.0, 2.0],
            "average_price": [40_100.0, None],
            "accumulated_quantity": [0.5, 100.0],
        }
    )
    frame.write_parquet(tmp_path / "f.parquet")
    take(store, tmp_path / "f.parquet", "binance-force-orders")
    found = store.table("liquidations").set_index("symbol")
    assert found["position"].to_dict() == {"BTC/USDT:USDT": "long", "SUI/USDC:USDC": "short"}
    assert found["price"].tolist() == [40_100.0, 2.0]
    assert found["price_kind"].tolist() == ["average", "limit"]
    assert found["notional"].tolist() == [20_050.0, 200.0]
    assert set(found["feed"]) == {"sampled"}
    assert ((found["known_at"] - found["ts"]) == dt.timedelta(seconds=1)).all()


def orders(*events: tuple[str, float, float]) -> pl.DataFrame:
    """(symbol, price, quantity), one an hour."""
    names, prices, sizes = zip(*events, strict=True)
    ts = [START + i * HOUR for i in range(len(names))]
    frame = pl.DataFrame({"ts": ts, "symbol": names, "price": prices, "accumulated_quantity": sizes})
    return frame.with_columns(side=pl.lit("SELL"), average_price=pl.col("price"))


def test_force_orders_full_names_stay_and_inverse_contracts_have_their_worth(store: Store, tmp_path: Path) -> None:
    rows = [("BTC", 40_000.0, 0.5), ("NEIROETH", 0.1, 100.0), ("ETHBTC", 0.05, 3.0), ("BTCUSDT_240628", 41_000.0, 1.0)]
    rows += [("BTCUSD_PERP", 40_000.0, 5.0), ("ETHUSD_240628", 2_000.0, 7.0), ("ETH_250627", 2_000.0, 2.0)]
    orders(*rows).write_parquet(tmp_path / "f.parquet")
    take(store, tmp_path / "f.parquet", "binance-force-orders")
    found = store.table("liquidations").set_index("symbol")["notional"].to_dict()
    assert found == pytest.approx(
        {
            "BTC/USDT:USDT": 20_000.0,
            "NEIROETH/USDT:USDT": 10.0,
            "ETH/BTC:BTC": 0.15,
            "BTC/USDT:USDT-240628": 41_000.0,
            "ETH/USDT:USDT-250627": 4_000.0,
            "BTC/USD:BTC": 500.0,  # 5 contracts of 100 USD
            "ETH/USD:ETH-240628": 70.0,  # 7 of 10 USD
        }
    )


def test_force_orders_of_another_venue_have_no_contract_size(store: Store, tmp_path: Path) -> None:
    orders(("BTCUSD_PERP", 40_000.0, 5.0)).write_parquet(tmp_path / "f.parquet")
    take(store, tmp_path / "f.parquet", "binance-force-orders", venue="aster")
    assert store.table("liquidations")["notional"].isna().all()


# ---- a symbol or venue that the export contradicts ---------------------------------------------


def test_force_orders_of_other_symbols(store: Store, tmp_path: Path) -> None:
    orders(("BTC", 40_000.0, 1.0), ("ETH", 2_000.0, 1.0)).write_csv(tmp_path / "f.csv")
    with pytest.raises(BadInput, match=r"f\.csv: column symbol says ETH, --symbol says BTCUSDT"):
        take(store, tmp_path / "f.csv", "binance-force-orders", symbol="BTCUSDT")


def test_coinglass_of_other_symbols(store: Store, tmp_path: Path) -> None:
    panel().write_csv(tmp_path / "p.csv")
    with pytest.raises(BadInput, match="column symbol says BTC, --symbol says ETHUSDT"):
        take(store, tmp_path / "p.csv", "coinglass", venue="binance", symbol="ETHUSDT")
    take(store, tmp_path / "p.csv", "coinglass", venue="binance", symbol="BTCUSDT")
    assert set(store.table("candles")["symbol"]) == {"BTC/USDT:USDT"}


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"symbol": "ETHUSDT"}, "column symbol says BTCUSDT, --symbol says ETHUSDT"),
        ({"venue": "bybit"}, "is of binance, --venue says bybit"),
    ],
)
def test_tardis_of_something_else(store: Store, tmp_path: Path, declared: dict[str, str], words: str) -> None:
    path = tardis(tmp_path / "liquidations.csv.gz", LIQUIDATIONS, [liquidation("binance-futures", "BTCUSDT")])
    with pytest.raises(BadInput, match=words):
        take(store, path, "tardis", **declared)
    take(store, path, "tardis", symbol="BTCUSDT", venue="binance")
    assert len(store.table("liquidations")) == 1


def test_freqtrade_of_another_symbol(store: Store, tmp_path: Path) -> None:
    path = freqtrade(tmp_path / "BTC_USDT_USDT-1h-futures.feather")
    with pytest.raises(BadInput, match="is of BTC/USDT:USDT by its name, --symbol says ETHUSDT"):
        take(store, path, "freqtrade", venue="binance", symbol="ETHUSDT")
    assert take(store, path, "freqtrade", venue="binance", symbol="BTCUSDT").written.inserted == 48


def test_a_row_cut_short(store: Store, tmp_path: Path) -> None:
    text = panel(5).write_csv().rstrip("\n")
    (tmp_path / "p.csv").write_text(text[: text.rindex(",")])
    with pytest.raises(BadRow, match=r"p\.csv, row 5: has 9 columns, not 10"):
        take(store, tmp_path / "p.csv", "coinglass")


# ---- every preset ------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_a_file_that_does_not_fit_says_what_is_missing(store: Store, tmp_path: Path, preset: str) -> None:
    path = tmp_path / "BTC_USDT_USDT-1h-futures.csv"
    path.write_text("date,symbol,high\n2024-01-01,BTCUSDT,1\n2024-01-02,BTCUSDT,1\n")
    with pytest.raises(MissingColumn, match=r"no column .*The file has: date, symbol, high"):
        take(store, path, preset, venue="binance")
    assert not any(n.split(":")[0] != "0" for n in store.fingerprint().values())


def test_an_unknown_preset() -> None:
    with pytest.raises(NotFound, match="did you mean freqtrade"):
        PresetFiles([], "freqtrad")


def test_each_piece_names_the_tables_it_fills(tmp_path: Path) -> None:
    freqtrade(tmp_path / "BTC_USDT_USDT-8h-funding_rate.feather", 8 * HOUR)
    (piece,) = PresetFiles([tmp_path], "freqtrade", Declared("", venue="binance"))
    assert isinstance(piece, Piece)
    assert piece.tables == ("funding",)
