"""Files of the public archive: each kind and its quirks in hand-written rows, bad content by row, a served tree."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import archive_server as A
import pytest

from data import clock
from data.errors import BadInput, BadRow, Corrupt, MissingColumn, NotFound, SourceError, Unreachable
from data.ingest import Report, ingest
from data.rows import Rows
from data.sources import Note, Piece, Why
from data.sources.archive_layout import ArchiveFile, NotImported, Selection, parse
from data.sources.archive_rows import METRICS_LAG_S, contract_usd, rows_of
from data.sources.binance_archive import ArchiveTree, ArchiveUrl
from data.sources.http_tree import HttpTree
from data.store import Store

DAY = "2024-03-05"
T0 = A.day_ms(DAY)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def records(rows: Rows) -> list[dict[str, Any]]:
    return [{**rows.constants, **r} for r in rows.data.to_pylist()]


def read(
    kind: str, text: str, symbol: str = "BTCUSDT", market: str = "um", interval: str = "", date: str = DAY
) -> tuple[Rows, ...]:
    return rows_of(ArchiveFile(market, kind, symbol, date, interval), text.encode())[0]


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "path_in_archive", "symbol", "tables"),
    [
        (
            "any/where/futures/um/daily/markPriceKlines/BTCUSDT/1m/BTCUSDT-1m-2024-03-05.zip",
            "data/futures/um/daily/markPriceKlines/BTCUSDT/1m/BTCUSDT-1m-2024-03-05.zip",
            "BTC/USDT:USDT",
            ("candles",),
        ),
        (
            "data/futures/cm/monthly/klines/BTCUSD_PERP/4h/BTCUSD_PERP-4h-2024-03.csv",
            "data/futures/cm/monthly/klines/BTCUSD_PERP/4h/BTCUSD_PERP-4h-2024-03.csv",
            "BTC/USD:BTC",
            ("candles",),
        ),
        (
            "data/spot/daily/klines/ETHUSDT/1h/ETHUSDT-1h-2025-03-05.zip",
            "data/spot/daily/klines/ETHUSDT/1h/ETHUSDT-1h-2025-03-05.zip",
            "ETH/USDT",
            ("candles",),
        ),
        (
            "ETHUSDT-fundingRate-2024-03.zip",
            "data/futures/um/monthly/fundingRate/ETHUSDT/ETHUSDT-fundingRate-2024-03.zip",
            "ETH/USDT:USDT",
            ("funding",),
        ),
        (
            "BTCUSDT_240628-metrics-2024-03-05.zip",
            "data/futures/um/daily/metrics/BTCUSDT_240628/BTCUSDT_240628-metrics-2024-03-05.zip",
            "BTC/USDT:USDT-240628",
            ("open_interest", "ratios"),
        ),
        (
            "ETHUSD_PERP-liquidationSnapshot-2024-03-05.zip",
            "data/futures/cm/daily/liquidationSnapshot/ETHUSD_PERP/ETHUSD_PERP-liquidationSnapshot-2024-03-05.zip",
            "ETH/USD:ETH",
            ("liquidations",),
        ),
    ],
)
def test_a_name_and_its_folders_tell_what_a_file_is(
    path: str, path_in_archive: str, symbol: str, tables: tuple[str, ...]
) -> None:
    file = parse(Path(path))
    assert (file.path, file.unified, file.tables) == (path_in_archive, symbol, tables)


def test_a_file_covers_its_day_or_its_month() -> None:
    day = ArchiveFile("um", "metrics", "BTCUSDT", "2024-02-29")
    month = ArchiveFile("um", "fundingRate", "BTCUSDT", "2023-12")
    assert [clock.iso(t) for t in day.covers] == ["2024-02-29 00:00", "2024-03-01 00:00"]
    assert [clock.iso(t) for t in month.covers] == ["2023-12-01 00:00", "2024-01-01 00:00"]


def test_loose_bars_are_not_filed_by_guessing() -> None:
    loose = Path("BTCUSDT-1m-2024-03-05.zip")
    with pytest.raises(BadInput, match="does not say what the bars are made of; pass --kind, one of klines, markPrice"):
        parse(loose)
    with pytest.raises(BadInput, match="do not say which market it is of; pass --market, one of um, cm, spot"):
        parse(loose, kind="klines")
    assert parse(loose, kind="markPriceKlines", market="um").path.endswith(
        "um/daily/markPriceKlines/BTCUSDT/1m/" + loose.name
    )
    assert parse(Path("BTCUSD_PERP-1m-2024-03-05.zip"), kind="klines").market == "cm"
    assert parse(loose, kind="markPriceKlines").market == "um"  # spot has none


@pytest.mark.parametrize(("given", "market"), [("SPOT", "spot"), ("Um", "um"), (" cm ", "cm")])
def test_a_market_is_named_in_any_case(given: str, market: str) -> None:
    file = parse(Path("BTCUSDT-1m-2024-03-05.zip"), "KLINES", given)
    assert (file.market, file.kind) == (market, "klines")
    assert Selection(("BTCUSDT",), "2024-03-01", "2024-03-02", ("Klines",), given).market == market


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"market": "usdm"}, "--market 'usdm': did you mean um?"),
        ({"market": "USD-M"}, "did you mean um?"),
        ({"market": "coin-m"}, "--market 'coin-m': did you mean cm?"),
        ({"market": "sport"}, "did you mean spot?"),
        ({"kind": "markPriceKline"}, "--kind 'markPriceKline': did you mean markPriceKlines?"),
        ({"kind": "aggTrades"}, "--kind 'aggTrades': there is"),
    ],
)
def test_a_market_or_kind_that_is_none(given: dict[str, str], says: str) -> None:
    with pytest.raises(BadInput, match=re.escape(says)):
        parse(Path("BTCUSDT-1m-2024-03-05.zip"), **{"kind": "klines", "market": "um", **given})


@pytest.mark.parametrize(
    ("path", "given", "says"),
    [
        ("futures/um/daily/markPriceKlines/BTCUSDT/1m/BTCUSDT-1m-2024-03-05.zip", {"kind": "klines"},
         "its folder says markPriceKlines, --kind says klines"),
        ("BTCUSDT-metrics-2024-03-05.zip", {"kind": "klines"}, "its name says metrics, --kind says klines"),
        ("data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-03-05.zip", {"market": "um"},
         "its folders say spot, --market says um"),
        ("futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-03-05.zip", {"market": "SPOT"},
         "its folders say um, --market says spot"),
        ("klines/BTCUSD_PERP-1m-2024-03-05.zip", {"market": "um"}, "its name says cm, --market says um"),
        ("BTCUSDT-metrics-2024-03-05.zip", {"market": "spot"}, "metrics are of futures"),
    ],
)  # fmt: skip
def test_what_the_user_says_must_not_contradict_the_folders(path: str, given: dict[str, str], says: str) -> None:
    with pytest.raises(BadInput, match=re.escape(says)):
        parse(Path(path), **given)


@pytest.mark.parametrize(
    ("folders", "market"),
    [
        ("home/spot/downloads", "um"),
        ("spot/klines/old/spot", "spot"),
        ("um/cm/klines", "cm"),
        ("data/spot/mine/data/futures/um/daily/klines", "um"),
        ("data/spot", "spot"),
        ("spot/daily/klines/BTCUSDT/1m", "spot"),
        ("um/klines", "um"),
    ],
)
def test_only_folders_of_the_layout_say_the_market(folders: str, market: str) -> None:
    loose = folders == "home/spot/downloads"
    told = {"market": "um"} if loose else {}
    assert parse(Path(folders) / "BTCUSDT-1m-2024-03-05.zip", kind="klines", **told).market == market
    if loose:
        with pytest.raises(BadInput, match="pass --market"):
            parse(Path(folders) / "BTCUSDT-1m-2024-03-05.zip", kind="klines")


@pytest.mark.parametrize("base", ["http://[bad", "http://host:99999", "http://", "ftp://host", "https://:80"])
def test_an_address_that_is_none(base: str) -> None:
    with pytest.raises(BadInput, match="is no address: write http"):
        HttpTree(base)


def test_no_worker_fetches_nothing() -> None:
    with pytest.raises(BadInput, match="--workers 0: at least 1"):
        ArchiveUrl("http://127.0.0.1", Selection(("BTCUSDT",), "2024-03-01", "2024-03-02"), workers=0)


@pytest.mark.parametrize("name", ["notes.csv", "BTCUSDT-aggTrades-2024-03-05.zip", "BTCUSDT-1M-2024-03.zip"])
def test_other_files_are_not_imported(name: str) -> None:
    with pytest.raises(NotImported):
        parse(Path("data/futures/um/daily/klines") / name)


def test_a_selection_names_the_files_of_its_days_and_months() -> None:
    wanted = Selection(("BTCUSDT",), "2024-02-28", "2024-03-02", kinds=("klines", "fundingRate"))
    assert [f.name for f in wanted] == [
        "BTCUSDT-1m-2024-02-28.zip",
        "BTCUSDT-1m-2024-02-29.zip",
        "BTCUSDT-1m-2024-03-01.zip",
        "BTCUSDT-fundingRate-2024-02.zip",
        "BTCUSDT-fundingRate-2024-03.zip",
    ]
    index = Selection(
        ("BTCUSD_PERP",), "2024-02-01", "2024-03-01", kinds=("indexPriceKlines",), market="cm", period="monthly"
    )
    assert [f.path for f in index] == ["data/futures/cm/monthly/indexPriceKlines/BTCUSD/1m/BTCUSD-1m-2024-02.zip"]


def test_a_selection_without_end_stops_at_yesterday() -> None:
    today = dt.datetime.now(dt.UTC).date()
    last = list(Selection(("BTCUSDT",), (today - dt.timedelta(days=3)).isoformat(), kinds=("metrics",)))[-1]
    assert last.date == (today - dt.timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kinds": ("kline",)}, "did you mean klines"),
        ({"market": "usdm"}, "market 'usdm'"),
        ({"market": "spot", "kinds": ("metrics",)}, "kind 'metrics' of spot"),
        ({"until": "2024-01-01"}, "is empty"),
        ({"symbols": ()}, "nothing is selected"),
        ({"interval": "1x"}, "no duration"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Selection(**{"symbols": ("BTCUSDT",), "since": "2024-03-01", "until": "2024-03-02", **wrong})


# ---- rows of each kind -----------------------------------------------------------------------------------------------

BAR = "{t},100.5,101.25,99.75,100.0,12.5,{end},1251.25,42,7.5,750.75,0\n"


def bar(minute: int, scale: int = 1) -> str:
    t = T0 + minute * 60_000
    return BAR.format(t=t * scale, end=t * scale + 59_999)


@pytest.mark.parametrize("header", ["", A.KLINE_HEADER + "\n", A.KLINE_HEADER + "\r\n"])
@pytest.mark.parametrize("scale", [1, 1000], ids=["ms", "us"])
def test_klines_with_and_without_header_in_milli_and_microseconds(header: str, scale: int) -> None:
    (rows,) = read("klines", header + bar(1, scale) + bar(0, scale), interval="1m")
    expected = {
        "venue": "binance", "symbol": "BTC/USDT:USDT", "price": "trade", "interval_s": 60, "ts": at(f"{DAY} 00:01"),
        "open": 100.5, "high": 101.25, "low": 99.75, "close": 100.0, "volume": 12.5, "quote_volume": 1251.25,
        "trades": 42, "taker_buy_volume": 7.5, "taker_buy_quote_volume": 750.75,
    }  # fmt: skip
    assert records(rows) == [expected, {**expected, "ts": at(f"{DAY} 00:00")}]


@pytest.mark.parametrize(
    ("kind", "price"), [("markPriceKlines", "mark"), ("indexPriceKlines", "index"), ("premiumIndexKlines", "premium")]
)
def test_bars_without_trades_have_no_volume(kind: str, price: str) -> None:
    line = f"{T0},-0.0004,0.0001,-0.0005,-0.0002,0,{T0 + 59_999},0,60,0,0,0\n"
    (rows,) = read(kind, line, interval="1m")
    assert records(rows) == [
        {
            "venue": "binance", "symbol": "BTC/USDT:USDT", "price": price, "interval_s": 60, "ts": at(DAY),
            "open": -0.0004, "high": 0.0001, "low": -0.0005, "close": -0.0002,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(("symbol", "usd"), [("BTCUSD_PERP", 100.0), ("ETHUSD_PERP", 10.0), ("BTCUSD_240628", 100.0)])
def test_coin_margined_bars_count_contracts_and_value_them_in_usd(symbol: str, usd: float) -> None:
    (rows,) = read("klines", f"{T0},50000,50000,50000,50000,300,{T0 + 59_999},0.6,9,200,0.4,0\n", symbol, "cm", "1m")
    (got,) = records(rows)
    assert (got["volume"], got["quote_volume"]) == (300, 300 * usd)
    assert (got["taker_buy_volume"], got["taker_buy_quote_volume"]) == (200, 200 * usd)
    assert contract_usd(ArchiveFile("cm", "klines", symbol, DAY, "1m").unified) == usd


def test_funding_keeps_the_stamp_and_the_interval_of_the_file() -> None:
    text = "calc_time,funding_interval_hours,last_funding_rate\n1709251200003,8,0.00032156\n1709265600000,4,-0.00011\n"
    (rows,) = read("fundingRate", text, date="2024-03")
    base = {"venue": "binance", "symbol": "BTC/USDT:USDT"}
    assert records(rows) == [
        {**base, "ts": at("2024-03-01 00:00:00.003"), "rate": 0.00032156, "interval_hours": 8.0},
        {**base, "ts": at("2024-03-01 04:00"), "rate": -0.00011, "interval_hours": 4.0},
    ]


METRICS = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio\n"
)


def test_metrics_are_open_interest_and_four_ratios_and_empty_fields_are_no_rows() -> None:
    text = METRICS + (
        f"{DAY} 00:10:00,BTCUSDT,80000.5,5200000000.25,1.5,1.25,2.5,0.75\n"
        f"{DAY} 00:05:00,BTCUSDT,79000,5100000000,,1.125,,\n"
    )
    open_interest, *ratios = read("metrics", text)
    base = {"venue": "binance", "symbol": "BTC/USDT:USDT", "interval_s": 300}
    late, early = at(f"{DAY} 00:10"), at(f"{DAY} 00:05")
    assert records(open_interest) == [
        {**base, "ts": late, "quantity": 80000.5, "value": 5200000000.25},
        {**base, "ts": early, "quantity": 79000.0, "value": 5100000000.0},
    ]
    assert [r for one in ratios for r in records(one)] == [
        {**base, "kind": "top_accounts", "ts": late, "ratio": 1.5},
        {**base, "kind": "top_positions", "ts": late, "ratio": 1.25},
        {**base, "kind": "top_positions", "ts": early, "ratio": 1.125},
        {**base, "kind": "accounts", "ts": late, "ratio": 2.5},
        {**base, "kind": "taker_volume", "ts": late, "ratio": 0.75},
    ]
    assert {r.lag_s for r in (open_interest, *ratios)} == {METRICS_LAG_S}


def test_coin_margined_metrics_value_contracts_in_usd_and_have_no_ratios() -> None:
    open_interest, *ratios = read(
        "metrics", METRICS + f"{DAY} 00:05:00,BTCUSD_PERP,5000000,9000.5,,,,\n", "BTCUSD_PERP", "cm"
    )
    assert [(r["quantity"], r["value"]) for r in records(open_interest)] == [(5e6, 5e8)]
    assert [len(r.data) for r in ratios] == [0, 0, 0, 0]


def test_depth_bands() -> None:
    text = (
        f"timestamp,percentage,depth,notional\n{DAY} 00:00:06,-1,2500.5,160000000.5\n{DAY} 00:00:06,0.2,100,6400000\n"
    )
    (rows,) = read("bookDepth", text)
    base = {"venue": "binance", "symbol": "BTC/USDT:USDT", "interval_s": 30, "ts": at(f"{DAY} 00:00:06")}
    assert records(rows) == [
        {**base, "percent": -1.0, "quantity": 2500.5, "notional": 160000000.5},
        {**base, "percent": 0.2, "quantity": 100.0, "notional": 6400000.0},
    ]


LIQUIDATION = (
    "time,side,order_type,time_in_force,original_quantity,price,average_price,order_status,"
    "last_fill_quantity,accumulated_fill_quantity\n"
)


def force(second: int, side: str = "SELL", average: float = 60000.0, filled: int = 5, limit: float = 59000.0) -> str:
    return f"{T0 + second * 1000},{side},LIMIT,IOC,7,{limit},{average},FILLED,2,{filled}\n"


def liquidations(text: str, symbol: str = "BTCUSD_PERP") -> list[tuple[Any, ...]]:
    (rows,) = read("liquidationSnapshot", LIQUIDATION + text, symbol, "cm")
    assert rows.constants["feed"] == "sampled"
    found = sorted(records(rows), key=lambda r: (r["ts"], r["event_id"]))
    return [(r["ts"].second, r["position"], r["price"], r["quantity"], r["notional"], r["event_id"]) for r in found]


def test_a_sell_liquidates_a_long_and_every_row_that_stands_twice_is_one_event() -> None:
    text = force(2, "BUY", 61000.0, 3) + force(1) + force(1) + force(2, "BUY", 61000.0, 3)
    assert liquidations(text) == [(1, "long", 60000.0, 5, 500.0, "1"), (2, "short", 61000.0, 3, 300.0, "1")]
    assert liquidations(text, "ETHUSD_PERP")[0][4] == 50.0


def test_four_alike_are_two_events_and_orders_alike_in_price_and_size_keep_their_numbers() -> None:
    assert [e[-1] for e in liquidations(force(1) * 4)] == ["1", "2"]
    assert [e[-1] for e in liquidations(force(1) * 2 + force(1, limit=58000.0) * 2)] == ["1", "2"]


def test_a_file_that_is_not_doubled_throughout_is_kept_as_it_is() -> None:
    assert [(e[0], e[-1]) for e in liquidations(force(1) * 2 + force(2))] == [(1, "1"), (1, "2"), (2, "1")]


def test_the_order_of_rows_does_not_change_events() -> None:
    rows = [force(1), force(1), force(1, limit=58000.0), force(2, "BUY")] * 2
    assert liquidations("".join(rows)) == liquidations("".join(reversed(rows)))


def test_an_order_without_fill_has_its_limit_as_price() -> None:
    (rows,) = read("liquidationSnapshot", force(1, average=0.0) + force(2), "BTCUSD_PERP", "cm")
    assert {(r["price"], r["price_kind"]) for r in records(rows)} == {(59000.0, "limit"), (60000.0, "average")}


@pytest.mark.parametrize(
    ("kind", "text"), [("liquidationSnapshot", LIQUIDATION), ("metrics", METRICS), ("klines", A.KLINE_HEADER)]
)
def test_a_header_alone_is_a_day_on_which_nothing_happened(kind: str, text: str) -> None:
    assert [len(r.data) for r in read(kind, text, "BTCUSD_PERP", "cm", "1m" if kind == "klines" else "")] in (
        [0],
        [0] * 5,
    )


# ---- bad content -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "row", "says"),
    [
        ("klines", bar(0) + "1,2,3\n", 2, "has 3 columns, not 12"),
        ("klines", A.KLINE_HEADER + "\n" + bar(0) + bar(1).replace("100.5", "much"), 3, "open 'much' is no number"),
        ("klines", A.KLINE_HEADER + "\n\n" + bar(0) + bar(1).replace("100.5", "much"), 4, "open 'much' is no number"),
        ("klines", bar(0) + bar(1).replace(",42,", ",4.5,"), 2, "count '4.5' is no whole number"),
        ("klines", bar(0) + bar(1).replace("100.5", ""), 2, "open is empty"),
        ("klines", bar(0) + bar(1).replace("100.5", "inf"), 2, "open is inf"),
        ("klines", bar(0) + bar(1).replace("12.5", "-12.5"), 2, "volume is -12.5"),
        ("klines", bar(0) + bar(1440), 2, "open_time 2024-03-06 00:00 is not in 2024-03-05"),
        ("klines", bar(-1), 1, "is not in 2024-03-05"),
        ("klines", bar(0) + bar(1).replace(str(T0 + 60_000), str(T0 + 60_001)), 2, "is not the open of a 1m bar"),
        ("klines", bar(0) + "," + bar(1).split(",", 1)[1], 2, "open_time is empty"),
        ("fundingRate", f"{T0},8,\n", 1, "last_funding_rate is empty"),
        ("fundingRate", f"{T0},8,0.1%\n", 1, "last_funding_rate '0.1%' is no number"),
        ("metrics", METRICS + f"{DAY} 00:05:00+02:00,BTCUSDT,1,1,1,1,1,1\nx\n", 3, "has 1 columns, not 8"),
        ("metrics", METRICS + "yesterday,BTCUSDT,1,1,1,1,1,1\n", 2, "create_time 'yesterday' is no time"),
        ("metrics", METRICS + f"{DAY} 00:05:00,ETHUSDT,1,1,1,1,1,1\n", 2, "symbol is ETHUSDT, not BTCUSDT"),
        ("metrics", METRICS + "2024-03-07 00:05:00,BTCUSDT,1,1,1,1,1,1\n", 2, "is not in 2024-03-05"),
        ("bookDepth", f"{DAY} 00:00:06,-1,-5,1\n", 1, "depth is -5"),
        ("liquidationSnapshot", LIQUIDATION + force(1) + force(1, "LONG"), 3, "side is LONG, neither SELL nor BUY"),
    ],
)  # fmt: skip
def test_bad_content_is_refused_by_file_and_row(kind: str, text: str, row: int, says: str) -> None:
    date = "2024-03" if kind == "fundingRate" else DAY
    with pytest.raises(BadRow) as caught:
        read(kind, text, interval="1m" if kind == "klines" else "", date=date)
    assert caught.value.row == row
    assert f"{kind}/BTCUSDT/" in str(caught.value)
    assert f"row {row}: " in str(caught.value)
    assert says in str(caught.value)


def test_a_foreign_header_names_what_is_missing() -> None:
    with pytest.raises(MissingColumn, match=r"no column last_funding_rate.*The file has: calc_time, rate"):
        read("fundingRate", "calc_time,rate,funding_interval_hours\n1,2,3\n", date="2024-03")


def test_columns_are_found_by_name_where_there_is_a_header() -> None:
    text = f"last_funding_rate,note,calc_time,funding_interval_hours\n0.001,x,{T0},8\n"
    (rows,) = read("fundingRate", text, date="2024-03")
    assert [(r["rate"], r["interval_hours"]) for r in records(rows)] == [(0.001, 8.0)]


# ---- files and folders -----------------------------------------------------------------------------------------------


def closes_of(store: Store) -> dict[str, list[float]]:
    rows = store.query("SELECT symbol, close FROM candles ORDER BY symbol, ts").to_pylist()
    out: dict[str, list[float]] = {}
    for r in rows:
        out.setdefault(r["symbol"], []).append(r["close"])
    return out


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store" / "unwind.duckdb")


def test_a_single_file_and_its_csv_are_read(tmp_path: Path, store: Store) -> None:
    path = A.put(tmp_path / "a", A.kline_path("BTCUSDT", DAY), A.klines(DAY, [10, 20]))
    assert ingest(ArchiveTree(path), store).written.inserted == 2
    plain = A.put(tmp_path / "b", A.kline_path("BTCUSDT", DAY).replace(".zip", ".csv"), A.klines(DAY, [10, 30]))
    report = ingest(ArchiveTree(plain), store)
    assert (report.written.changed, closes_of(store)) == (1, {"BTC/USDT:USDT": [10.0, 30.0]})


def test_a_folder_is_read_with_what_it_does_not_import_listed(tmp_path: Path, store: Store) -> None:
    root = tmp_path / "tree"
    A.put(root, A.kline_path("BTCUSDT", DAY), A.klines(DAY, [10, 20]))
    A.put(root, A.kline_path("ETHUSDT", DAY), A.klines(DAY, [1, 2, 3]))
    A.put(root, f"data/futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-{DAY}.zip", "1,2\n")
    source = ArchiveTree(root)
    report = ingest(source, store)
    assert (len(source), report.files, len(report.ignored), report.exit_code) == (3, 2, 1, 0)
    assert closes_of(store) == {"BTC/USDT:USDT": [10.0, 20.0], "ETH/USDT:USDT": [1.0, 2.0, 3.0]}
    (origin,) = store.query("SELECT * FROM ingests WHERE symbols = ['ETH/USDT:USDT']").to_pylist()
    assert (origin["origin"], origin["source"], origin["rows"]) == (A.kline_path("ETHUSDT", DAY), "binance-archive", 3)
    assert (origin["covers_from"], origin["covers_to"]) == (at(DAY), at("2024-03-06"))
    assert (origin["table_name"], origin["venue"]) == ("candles", "binance")


def test_any_part_of_the_tree_will_do(tmp_path: Path, store: Store) -> None:
    A.put(tmp_path / "tree", A.kline_path("BTCUSDT", DAY, kind="markPriceKlines"), A.klines(DAY, [10]))
    deepest = tmp_path / "tree" / "data/futures/um/daily/markPriceKlines/BTCUSDT/1m"
    ingest(ArchiveTree(deepest), store)
    assert store.query("SELECT price, volume FROM candles").to_pylist() == [{"price": "mark", "volume": None}]


def test_days_without_liquidations_are_covered_each_though_their_bytes_are_alike(tmp_path: Path, store: Store) -> None:
    folder = "data/futures/cm/daily/liquidationSnapshot/BTCUSD_PERP"
    for done, day in enumerate(("2024-03-05", "2024-03-06")):
        A.put(tmp_path / "t", f"{folder}/BTCUSD_PERP-liquidationSnapshot-{day}.csv", LIQUIDATION)
        report = ingest(ArchiveTree(tmp_path / "t"), store)
        assert (report.files, report.skipped) == (1, done)
    covered = store.query("SELECT covers_from FROM ingests WHERE table_name = 'liquidations' ORDER BY 1").to_pylist()
    assert [c["covers_from"] for c in covered] == [at("2024-03-05"), at("2024-03-06")]
    assert ingest(ArchiveTree(tmp_path / "t"), store).skipped == 2


def test_metrics_are_known_late_and_funding_is_snapped(tmp_path: Path, store: Store) -> None:
    A.put(tmp_path / "t", f"BTCUSDT-metrics-{DAY}.zip", METRICS + f"{DAY} 00:05:00,BTCUSDT,5,50,,,2.5,\n")
    A.put(tmp_path / "t", "BTCUSDT-fundingRate-2024-03.zip", f"{T0 + 4},8,0.0001\n")
    ingest(ArchiveTree(tmp_path / "t"), store)
    known = at(f"{DAY} 00:05") + dt.timedelta(seconds=METRICS_LAG_S)
    for name in ("open_interest", "ratios"):
        assert store.query(f"SELECT known_at FROM {name}").to_pylist() == [{"known_at": known}]
    (settled,) = store.query("SELECT ts, raw_ts FROM funding").to_pylist()
    assert settled == {"ts": at(DAY), "raw_ts": at(f"{DAY} 00:00:00.004")}


def test_the_daily_file_has_the_last_word_over_the_monthly_one(tmp_path: Path, store: Store) -> None:
    month = A.kline_path("BTCUSDT", DAY).replace("/daily/", "/monthly/").replace(DAY, "2024-03")
    A.put(tmp_path / "t", month, A.klines(DAY, [10, 99]))
    A.put(tmp_path / "t", A.kline_path("BTCUSDT", DAY), A.klines(DAY, [10, 20]))
    ingest(ArchiveTree(tmp_path / "t"), store)
    assert closes_of(store) == {"BTC/USDT:USDT": [10.0, 20.0]}


def damaged(tmp_path: Path, how: str) -> Path:
    path: Path = A.put(
        tmp_path / "t", A.kline_path("BTCUSDT", DAY), A.klines(DAY, range(10, 400)), checksum=how == "checksum"
    )
    content = path.read_bytes()
    if how == "checksum":
        content = A.zipped(A.klines(DAY, range(11, 401)))
    if how == "cut":
        content = content[: len(content) // 2]
    if how == "flipped":
        content = content[:500] + bytes(b ^ 0xFF for b in content[500:520]) + content[520:]
    if how == "empty":
        content = A.zipped("")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("how", "says"),
    [("checksum", "does not match its checksum"), ("cut", "cut short"), ("flipped", "damaged"), ("empty", "is empty")],
)
def test_a_damaged_file_is_corrupt_and_nothing_of_it_is_stored(
    tmp_path: Path, store: Store, how: str, says: str
) -> None:
    path = damaged(tmp_path, how)
    with pytest.raises(Corrupt, match=f"BTCUSDT-1m-2024-03-05.zip: .*{says}"):
        ingest(ArchiveTree(path), store)
    assert closes_of(store) == {}


def test_a_zip_must_hold_one_csv(tmp_path: Path, store: Store) -> None:
    path = A.put(tmp_path / "t", A.kline_path("BTCUSDT", DAY), "")
    path.write_bytes(A.zipped("x", "readme.txt"))
    path.with_name(path.name + ".CHECKSUM").unlink()
    with pytest.raises(Corrupt, match="holds 0 csv files"):
        ingest(ArchiveTree(path), store)


def test_a_checksum_of_another_file_is_refused(tmp_path: Path, store: Store) -> None:
    path = A.put(tmp_path / "t", A.kline_path("BTCUSDT", DAY), A.klines(DAY, [1]))
    beside = path.with_name(path.name + ".CHECKSUM")
    beside.write_text(beside.read_text().replace("BTCUSDT", "ETHUSDT"))
    with pytest.raises(Corrupt, match="is no checksum of BTCUSDT"):
        ingest(ArchiveTree(path), store)


def test_an_empty_folder_and_a_missing_one_are_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no \.zip or \.csv"):
        ArchiveTree(tmp_path)
    with pytest.raises(BadInput, match="no such file or folder"):
        ArchiveTree(tmp_path / "nowhere")


# ---- http ------------------------------------------------------------------------------------------------------------

DAYS = [f"2024-03-{d:02d}" for d in range(1, 13)]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    root = tmp_path / "served"
    for i, day in enumerate(DAYS):
        A.put(root, A.kline_path("BTCUSDT", day), A.klines(day, [100 * i + m for m in range(30)], header=i % 2 == 0))
    with A.ArchiveServer(root) as server:
        yield server


def fetch(server: Any, store: Store, **more: Any) -> Report:
    return ingest(url_source(server, **more), store, on_bad="list")


def url_source(server: Any, until: str = "2024-03-13", kinds: tuple[str, ...] = ("klines",), **more: Any) -> ArchiveUrl:
    selection = Selection(("BTCUSDT",), "2024-03-01", until, kinds=kinds)
    return ArchiveUrl(server.url, selection, **{"pause_s": 0.01, "timeout_s": 5.0, **more})


def truth(skip: tuple[int, ...] = ()) -> dict[str, list[float]]:
    return {"BTC/USDT:USDT": [100.0 * i + m for i in range(len(DAYS)) if i not in skip for m in range(30)]}


def path_of(i: int) -> str:
    path: str = A.kline_path("BTCUSDT", DAYS[i])
    return path


def test_trouble_on_the_way_is_overcome_and_the_store_holds_the_truth(served: Any, store: Store) -> None:
    served.plan = {
        path_of(0): ["drop"],
        path_of(1): ["503", "503"],
        path_of(2): ["slow"],
        path_of(3): ["wrong"],
        path_of(4): ["cut"],
        path_of(5): ["429", "drop", "500", "wrong", "drop"],
        path_of(6) + ".CHECKSUM": ["503", "drop"],
    }
    report = fetch(served, store)
    assert (report.files, report.problems, report.missing, report.exit_code) == (12, [], [], 0)
    assert closes_of(store) == truth()


def test_a_file_that_stays_bad_is_listed_and_the_others_are_stored(served: Any, store: Store) -> None:
    for i in (2, 7):
        (served.root / path_of(i)).unlink()
        (served.root / (path_of(i) + ".CHECKSUM")).unlink()
    (served.root / path_of(4)).write_bytes((served.root / path_of(3)).read_bytes())
    content = (served.root / path_of(5)).read_bytes()
    cut = A.put(served.root, path_of(5), "")
    cut.write_bytes(content[:-40])
    A.put(served.root, path_of(8), A.klines(DAYS[8], [5]).replace(",6,", ",six,"))
    (served.root / (path_of(9) + ".CHECKSUM")).unlink()
    served.plan = {path_of(10): ["503"] * 9, path_of(11): ["403"]}
    report = fetch(served, store)
    assert report.missing == [path_of(2), path_of(7)]
    assert {p.name: type(p.error) for p in report.problems} == {
        path_of(4): Corrupt,
        path_of(5): Corrupt,
        path_of(8): BadRow,
        path_of(9): Corrupt,
        path_of(10): SourceError,
        path_of(11): SourceError,
    }
    assert report.exit_code == 2
    assert served.downloads[path_of(4)] == 2
    assert closes_of(store) == truth(skip=(2, 4, 5, 7, 8, 9, 10, 11))
    assert "has no .CHECKSUM beside it" in str(report)
    assert "503" in str(report)


def test_a_second_run_fetches_checksums_alone_and_completes_what_was_missing(served: Any, store: Store) -> None:
    served.plan = {path_of(6): ["403"]}
    assert fetch(served, store).files == 11
    served.log.clear()
    report = fetch(served, store)
    assert (report.files, report.skipped, dict(served.downloads)) == (1, 11, {path_of(6): 1})
    served.log.clear()
    report = fetch(served, store)
    assert (report.files, report.skipped, dict(served.downloads)) == (0, 12, {})
    assert closes_of(store) == truth()


def test_a_file_that_the_venue_replaced_is_fetched_again(served: Any, store: Store) -> None:
    fetch(served, store)
    A.put(served.root, path_of(3), A.klines(DAYS[3], [300 + m + (m == 7) for m in range(30)]))
    report = fetch(served, store)
    assert (report.files, report.written.changed) == (1, 1)
    assert closes_of(store)["BTC/USDT:USDT"][3 * 30 + 7] == 308.0


def test_without_checksums_files_are_stored_unverified_if_asked(served: Any, store: Store) -> None:
    for i in range(12):
        (served.root / (path_of(i) + ".CHECKSUM")).unlink()
    served.plan = {path_of(1): ["cut"]}
    assert fetch(served, store, checksum=False).files == 12
    assert closes_of(store) == truth()


def test_an_outage_stops_the_run_and_the_next_one_goes_on(served: Any, store: Store) -> None:
    served.plan = {p: ["503"] * 99 for i in range(1, 12) for p in (path_of(i),)}
    with pytest.raises(Unreachable, match=r"delivers nothing: 503.*the same command goes on"):
        fetch(served, store, workers=1)
    assert closes_of(store) == truth(skip=tuple(range(1, 12)))
    served.plan = {}
    report = fetch(served, store)
    assert (report.files, report.skipped) == (11, 1)
    assert closes_of(store) == truth()


def test_a_server_that_does_not_answer_in_time_is_tried_again(served: Any, store: Store) -> None:
    served.slow_s = 1.0
    served.plan = {path_of(0): ["slow"]}
    assert fetch(served, store, until="2024-03-02", timeout_s=0.3).files == 1
    assert served.downloads[path_of(0)] == 2


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
def test_no_network_is_one_clear_line(store: Store, address: str) -> None:
    source = ArchiveUrl(address, Selection(("BTCUSDT",), "2024-03-01", "2024-03-20"), pause_s=0.01)
    with pytest.raises(Unreachable, match=r"cannot be reached: .*Check the network and the address") as caught:
        ingest(source, store, on_bad="list")
    assert "\n" not in str(caught.value)


def test_an_address_that_is_none_is_refused(store: Store) -> None:
    with pytest.raises(BadInput, match="is no address"):
        ingest(ArchiveUrl("data.example", Selection(("BTCUSDT",), "2024-03-01", "2024-03-02")), store)


def test_a_selection_of_which_nothing_is_there_says_what_to_check(served: Any, store: Store) -> None:
    source = ArchiveUrl(served.url, Selection(("BTCUSTD",), "2024-03-01", "2024-03-04"), pause_s=0.01)
    with pytest.raises(NotFound, match=r"none of the 3 files asked for is at the source.*check symbols"):
        ingest(source, store, on_bad="list")


def test_missing_days_are_notes_and_the_source_knows_its_length(served: Any) -> None:
    (served.root / path_of(1)).unlink()
    (served.root / (path_of(1) + ".CHECKSUM")).unlink()
    source = url_source(served, until="2024-03-04")
    items = list(source)
    assert len(source) == len(items) == 3
    assert [type(i) for i in items] == [Piece, Note, Piece]
    assert items[1] == Note(path_of(1), Why.MISSING)


def test_every_kind_comes_over_http(served: Any, store: Store) -> None:
    root = served.root
    um, day = "data/futures/um", "2024-03-01"
    t = A.day_ms(day)
    for kind in ("markPriceKlines", "indexPriceKlines", "premiumIndexKlines"):
        A.put(root, A.kline_path("BTCUSDT", day, kind=kind), A.klines(day, [7, 8]))
    A.put(
        root,
        f"{um}/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-03.zip",
        f"{t},8,0.0001\n{t + 28_800_001},8,-0.0002\n",
    )
    A.put(
        root,
        f"{um}/daily/metrics/BTCUSDT/BTCUSDT-metrics-{day}.zip",
        METRICS + f"{day} 00:05:00,BTCUSDT,5,50,1,2,3,4\n" * 2,
    )
    A.put(
        root,
        f"{um}/daily/bookDepth/BTCUSDT/BTCUSDT-bookDepth-{day}.zip",
        f"{day} 00:00:06,-1,5,50\n{day} 00:00:06,1,6,60\n",
    )
    text = (force(1) * 2).replace(str(T0 + 1000), str(t + 1000))
    A.put(root, f"{um}/daily/liquidationSnapshot/BTCUSDT/BTCUSDT-liquidationSnapshot-{day}.zip", text)
    kinds = ("klines", "markPriceKlines", "indexPriceKlines", "premiumIndexKlines")
    kinds += ("fundingRate", "metrics", "bookDepth", "liquidationSnapshot")
    report = fetch(served, store, until="2024-03-02", kinds=kinds)
    assert (report.files, report.problems, report.missing) == (8, [], [])
    assert dict(report.written.per_table) == {
        "candles": 36, "funding": 2, "open_interest": 2, "ratios": 8, "depth": 2, "liquidations": 1
    }  # fmt: skip
    assert report.written.doubled == 5
    prices = store.query(
        "SELECT price, list(close ORDER BY ts)[:2] AS c FROM candles GROUP BY 1 ORDER BY 1"
    ).to_pylist()
    assert {p["price"]: p["c"] for p in prices} == {"index": [7, 8], "mark": [7, 8], "premium": [7, 8], "trade": [0, 1]}
    assert store.query("SELECT rate FROM funding ORDER BY ts").to_pylist() == [{"rate": 0.0001}, {"rate": -0.0002}]
    ratios = store.query("SELECT kind, ratio FROM ratios ORDER BY ratio").to_pylist()
    assert [r["kind"] for r in ratios] == ["top_accounts", "top_positions", "accounts", "taker_volume"]
    (liquidated,) = store.query("SELECT position, notional, quantity, known_at FROM liquidations").to_pylist()
    assert liquidated == {"position": "long", "notional": 300_000.0, "quantity": 5.0, "known_at": at(f"{day} 00:00:02")}
