"""Files with a declared mapping: what is told by the file, what by the user, and what is refused."""

from __future__ import annotations

import datetime as dt
import gzip
import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.feather
import pytest

from data.errors import BadInput, BadRow, MissingColumn, NotFound, NotThisFormat
from data.ingest import Report, ingest
from data.rows import Const, Scan
from data.sources import tabular
from data.sources.files import Declared, MappedFiles, rows_of, settle
from data.store import Store

START = dt.datetime(2024, 1, 1)  # noqa: DTZ001 - naive UTC is the store's form


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store" / "s.duckdb")


def bars(n: int = 48, every: str = "1h", symbol: str | None = "BTCUSDT") -> pl.DataFrame:
    base = pl.int_range(n, eager=True).cast(pl.Float64) + 100
    ts = pl.datetime_range(START, START + dt.timedelta(days=400), every, eager=True).head(n)
    frame = pl.DataFrame({"ts": ts, "open": base, "high": base + 2, "low": base - 1, "close": base + 1, "volume": base})
    return frame if symbol is None else frame.with_columns(symbol=pl.lit(symbol))


def rates(n: int = 90, rate: float = 0.0001, every: str = "8h") -> pl.DataFrame:
    return bars(n, every).select("symbol", "ts", funding_rate=pl.lit(rate))


def put(frame: pl.DataFrame, path: Path) -> Path:
    if path.name.endswith(".csv.gz"):
        path.write_bytes(gzip.compress(frame.write_csv().encode()))
    elif path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".feather":
        pyarrow.feather.write_feather(frame.to_arrow(), path)
    else:
        frame.write_parquet(path)
    return path


def take(store: Store, path: Path, declared: Declared) -> Report:
    return ingest(MappedFiles([path], declared), store)


CANDLES = Declared("candles", venue="binance", constants={"price": "trade"})
FUNDING = Declared("funding", {"rate": "funding_rate"}, venue="binance")


# ---- one content, whatever the file ------------------------------------------------------------


@pytest.mark.parametrize("name", ["b.parquet", "b.feather", "b.csv", "b.csv.gz"])
def test_every_format_stores_the_same(tmp_path: Path, name: str) -> None:
    reference = Store(tmp_path / "reference.duckdb")
    take(reference, put(bars(), tmp_path / "reference.parquet"), CANDLES)
    store = Store(tmp_path / "s.duckdb")
    take(store, put(bars(), tmp_path / name), CANDLES)
    assert store.fingerprint() == reference.fingerprint()
    stored = store.table("candles", symbol="BTCUSDT")
    assert list(stored["interval_s"].unique()) == [3600]
    assert stored["close"].tolist() == bars()["close"].to_list()


def test_the_same_file_again_is_not_read(store: Store, tmp_path: Path) -> None:
    path = put(bars(), tmp_path / "b.parquet")
    assert take(store, path, CANDLES).files == 1
    assert (again := take(store, path, CANDLES)).skipped == 1
    assert again.written.rows == 0


def test_another_mapping_reads_it_again(store: Store, tmp_path: Path) -> None:
    path = put(bars(), tmp_path / "b.parquet")
    take(store, path, CANDLES)
    mark = Declared("candles", venue="binance", constants={"price": "mark"})
    assert take(store, path, mark).written.inserted == 48


def test_a_folder_stands_for_its_files_and_names_the_others(store: Store, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    put(bars(24), tmp_path / "in" / "a.csv")
    put(bars(24, symbol="ETHUSDT"), tmp_path / "in" / "b.parquet")
    (tmp_path / "in" / "notes.md").write_text("hello")
    report = ingest(MappedFiles([tmp_path / "in"], CANDLES), store)
    assert (report.files, report.written.inserted) == (2, 48)
    assert report.ignored == ["notes.md (not CSV, Parquet or Feather)"]


def test_a_big_file_is_left_to_the_store(tmp_path: Path) -> None:
    rows = rows_of(tabular.look(put(bars(), tmp_path / "b.parquet")), settle(CANDLES))
    assert isinstance(rows.data, Scan)
    assert rows.data.columns["interval_s"] == Const(3600)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_csv_with_another_separator(store: Store, tmp_path: Path, separator: str) -> None:
    path = tmp_path / "b.csv"
    bars().write_csv(path, separator=separator)
    assert take(store, path, CANDLES).written.inserted == 48


@pytest.mark.parametrize(
    "stamp",
    [
        pl.col("ts").dt.epoch("ms"),
        pl.col("ts").dt.epoch("s"),
        pl.col("ts").dt.epoch("us"),
        pl.col("ts").dt.epoch("ns"),
        pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        pl.col("ts").dt.strftime("%Y-%m-%d %H:%M"),
        pl.col("ts").dt.strftime("%Y-%m-%d %H:%M:%S+00:00"),
        pl.col("ts").dt.replace_time_zone("UTC"),
    ],
)
@pytest.mark.parametrize("name", ["b.parquet", "b.csv"])
def test_times_of_every_make(store: Store, tmp_path: Path, stamp: pl.Expr, name: str) -> None:
    frame = bars().with_columns(stamp.alias("when")).drop("ts")
    take(
        store,
        put(frame, tmp_path / name),
        Declared("candles", {"time": "when"}, "binance", constants={"price": "trade"}),
    )
    stored = store.table("candles")["ts"]
    assert (stored.iloc[0], stored.iloc[-1]) == (START, START + dt.timedelta(hours=47))


def test_liquidation_times_are_read_alike_in_memory(store: Store, tmp_path: Path) -> None:
    for i, form in enumerate(("%Y-%m-%dT%H:%M:%S%.3fZ", "%Y/%m/%d %H:%M:%S", "%Y-%m-%d %H:%M")):
        frame = events().with_columns(pl.col("ts").dt.strftime(form))
        take(store, put(frame, tmp_path / f"{i}.csv"), LIQUIDATIONS)
    assert len(store.table("liquidations")) == 2  # the three files say the same


# ---- what is told by the file, and what by the user --------------------------------------------


def test_names_of_the_user_fill_what_the_file_leaves_open(store: Store, tmp_path: Path) -> None:
    path = put(bars(symbol=None), tmp_path / "b.parquet")
    take(store, path, Declared("candles", venue="bybit", symbol="ETHUSDT", constants={"price": "index"}))
    assert store.table("candles")[["venue", "symbol", "price"]].drop_duplicates().to_numpy().tolist() == [
        ["bybit", "ETH/USDT:USDT", "index"]
    ]


NAMED = Declared("candles", venue="binance", symbol="BTCUSDT", constants={"price": "trade"})


@pytest.mark.parametrize("name", ["b.csv", "b.parquet", "b.feather"])
@pytest.mark.parametrize(
    ("column", "others", "words"),
    [
        ("symbol", ["ETHUSDT"], "column symbol says ETHUSDT, --symbol says BTCUSDT; leave --symbol out"),
        ("symbol", ["BTCUSDC", "BTCUSDT", "SOL"], "says BTCUSDC, SOL, --symbol"),
        ("symbol", ["A", "B", "C", "D", "E"], "says A, B, C and 2 more, --symbol"),
        ("symbol", ["BTC/USDT"], "says BTC/USDT, --symbol"),
        ("venue", ["bybit", "binance"], "column venue says bybit, --venue says binance; leave --venue out"),
    ],
)
def test_a_column_that_says_something_else_is_not_overruled(
    store: Store, tmp_path: Path, name: str, column: str, others: list[str], words: str
) -> None:
    names = pl.Series(column, (others * 48)[:48])
    with pytest.raises(BadInput, match=re.escape(words)):
        take(store, put(bars().with_columns(names), tmp_path / name), NAMED)
    assert len(store.table("candles")) == 0


def test_a_mapped_column_of_names_is_looked_at_too(store: Store, tmp_path: Path) -> None:
    path = put(bars(symbol="ETHUSDT").rename({"symbol": "pair"}), tmp_path / "b.parquet")
    with pytest.raises(BadInput, match="column pair says ETHUSDT"):
        take(store, path, replace(NAMED, columns={"symbol": "pair"}))


@pytest.mark.parametrize("same", ["BTCUSDT", "btcusdt", "BTC/USDT:USDT", "BTC"])
def test_a_column_that_says_the_same_is_fine(store: Store, tmp_path: Path, same: str) -> None:
    frame = bars(symbol=same).with_columns(venue=pl.lit("Binance"))
    take(store, put(frame, tmp_path / "b.parquet"), NAMED)
    stored = store.table("candles")
    assert (set(stored["symbol"]), set(stored["venue"])) == ({"BTC/USDT:USDT"}, {"binance"})


def test_a_template_is_for_names_without_a_dollar(store: Store, tmp_path: Path) -> None:
    names = ["BTC", "SUIUSDC", "NEIROETH", "ETHUSDT", "ETHBTC", "BTCUSD_PERP", "BTCUSDT_240628"]
    path = put(pl.concat([bars(24, symbol=n) for n in names]), tmp_path / "b.parquet")
    take(store, path, Declared("candles", venue="binance", symbol_template="{}USDT", constants={"price": "trade"}))
    assert set(store.table("candles")["symbol"]) == {
        "BTC/USDT:USDT",
        "SUI/USDC:USDC",
        "NEIROETH/USDT:USDT",
        "ETH/USDT:USDT",
        "ETH/BTC:BTC",
        "BTC/USD:BTC",
        "BTC/USDT:USDT-240628",
    }


@pytest.mark.parametrize(("unit", "scale"), [("percent", 1e-2), ("fraction", 1.0), ("bps", 1e-4)])
def test_units_of_rates(store: Store, tmp_path: Path, unit: str, scale: float) -> None:
    take(
        store,
        put(rates(rate=0.01), tmp_path / "r.csv"),
        Declared("funding", {"rate": "funding_rate"}, "binance", unit=unit),
    )
    assert store.table("funding")["rate"].tolist() == pytest.approx([0.01 * scale] * 90)


def test_a_lag_moves_the_time_of_knowledge(store: Store, tmp_path: Path) -> None:
    frame = bars().select("symbol", "ts", value=pl.lit(1e9))
    take(store, put(frame, tmp_path / "o.parquet"), Declared("open_interest", venue="binance", lag_s=90.0))
    stored = store.table("open_interest")
    assert ((stored["known_at"] - stored["ts"]) == dt.timedelta(seconds=90)).all()
    assert set(stored["interval_s"]) == {3600}


def test_the_interval_is_the_commonest_spacing_of_one_series(store: Store, tmp_path: Path) -> None:
    both = pl.concat([bars(48), bars(48, symbol="ETHUSDT")]).sort("ts").filter(pl.int_range(pl.len()) % 11 != 5)
    take(store, put(both, tmp_path / "b.parquet"), CANDLES)
    assert set(store.table("candles")["interval_s"]) == {3600}


def events(n: int = 2) -> pl.DataFrame:
    two = pl.DataFrame(
        {
            "symbol": ["BTCUSDT", "BTCUSD_PERP"],
            "ts": [START, START + dt.timedelta(minutes=1)],
            "side": ["SELL", "BUY"],
            "price": [40_000.0, 40_100.0],
            "quantity": [0.5, 30.0],
        }
    )
    later = [two.with_columns(pl.col("ts") + dt.timedelta(hours=i)) for i in range((n + 1) // 2)]
    return pl.concat(later).head(n)


LIQUIDATIONS = Declared(
    "liquidations",
    {"position": "side"},
    "binance",
    positions={"SELL": "long", "BUY": "short"},
    constants={"feed": "sampled"},
)


def test_liquidations_name_the_position_and_linear_ones_get_a_notional(store: Store, tmp_path: Path) -> None:
    take(store, put(events(), tmp_path / "l.csv"), LIQUIDATIONS)
    stored = store.table("liquidations").set_index("symbol")
    assert stored["position"].to_dict() == {"BTC/USDT:USDT": "long", "BTC/USD:BTC": "short"}
    assert stored.loc["BTC/USDT:USDT", "notional"] == 20_000.0
    assert stored["notional"].isna().to_dict() == {"BTC/USDT:USDT": False, "BTC/USD:BTC": True}
    assert set(stored["feed"]) == {"sampled"}
    assert set(stored["price_kind"]) == {"unknown"}


def test_a_notional_of_the_file_stands(store: Store, tmp_path: Path) -> None:
    frame = events().with_columns(notional=pl.Series([19_999.0, 3_000.0]))
    take(store, put(frame, tmp_path / "l.csv"), LIQUIDATIONS)
    assert sorted(store.table("liquidations")["notional"]) == [3_000.0, 19_999.0]


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "error", "words"),
    [
        (Declared("fundin", venue="binance"), NotFound, "did you mean funding"),
        (Declared("trials", venue="binance"), BadInput, "kept by Unwind itself"),
        (Declared("funding", {"rat": "funding_rate"}, "binance"), NotFound, "did you mean rate"),
        (Declared("funding", {"rate": "funding_rat"}, "binance"), MissingColumn, "did you mean funding_rate"),
        (Declared("funding", {"rate": "funding_rate"}, "binanse"), NotFound, "did you mean binance"),
        (Declared("funding", {"rate": "funding_rate"}), BadInput, "--venue"),
        (Declared("funding", venue="binance"), MissingColumn, "--map rate=COLUMN"),
        (Declared("candles", venue="binance", unit="percent"), BadInput, "--unit is for rates"),
        (Declared("funding", venue="binance", interval_s=3600), BadInput, "has no interval"),
        (Declared("funding", venue="binance", constants={"price": "mark"}), BadInput, "no choice in table funding"),
        (Declared("candles", venue="binance", constants={"price": "marks"}), BadInput, "trade, mark, index"),
        (Declared("candles", venue="binance", positions={"SELL": "long"}), NotFound, "no column position"),
        (Declared("liquidations", venue="binance", positions={"long": "SELL"}), BadInput, "SELL=long"),
    ],
)
def test_a_declaration_that_does_not_fit(
    store: Store, tmp_path: Path, declared: Declared, error: type[Exception], words: str
) -> None:
    path = put(rates(), tmp_path / "r.csv")
    with pytest.raises(error, match=words):
        take(store, path, declared)
    assert len(store.table("funding")) == 0


@pytest.mark.parametrize("values", [{"unit": "percents"}, {"symbol_template": "USDT"}, {"lag_s": -1.0}])
def test_a_declaration_is_checked_when_it_is_made(values: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        Declared("funding", **values)  # type: ignore[arg-type]


def test_a_missing_column_shows_what_there_is(store: Store, tmp_path: Path) -> None:
    with pytest.raises(
        MissingColumn, match=r"c.csv.* no column close\. The file has: ts, open, high, low, volume, symbol"
    ):
        take(store, put(bars().drop("close"), tmp_path / "c.csv"), CANDLES)


def test_candles_must_say_what_they_are_made_of(store: Store, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--price with one of trade, mark, index, premium"):
        take(store, put(bars(), tmp_path / "c.csv"), Declared("candles", venue="binance"))


def test_no_symbol(store: Store, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--symbol BTCUSDT"):
        take(store, put(bars(symbol=None), tmp_path / "c.csv"), CANDLES)


@pytest.mark.parametrize(
    ("rate", "every", "refused"),
    [(0.0001, "8h", False), (0.01, "8h", True), (0.00125, "1h", True), (0.0000125, "1h", False), (0.0035, "8h", True)],
)
def test_rates_that_look_like_percent(store: Store, tmp_path: Path, rate: float, every: str, refused: bool) -> None:
    path = put(rates(rate=rate, every=every), tmp_path / "r.parquet")
    if refused:
        with pytest.raises(BadInput, match=r"r\.parquet: .*looks like percent.*--unit percent"):
            take(store, path, FUNDING)
        insist = Declared("funding", {"rate": "funding_rate"}, "binance", unit="fraction")
        assert take(store, path, insist).written.inserted == 90
    else:
        assert take(store, path, FUNDING).written.inserted == 90


@pytest.mark.parametrize(
    ("n", "rate", "every", "refused"),
    [
        (29, 0.01, "8h", True),
        (1, 0.01, "8h", True),
        (29, -0.003, "8h", True),
        (29, 0.0029, "8h", False),
        (3, 0.0004, "1h", True),
        (3, 0.0003, "1h", False),
    ],
)
def test_a_few_high_rates_need_their_unit(
    store: Store, tmp_path: Path, n: int, rate: float, every: str, refused: bool
) -> None:
    path = put(rates(n=n, rate=rate, every=every), tmp_path / "r.csv")
    if refused:
        with pytest.raises(BadInput, match=rf"r\.csv: .*{n} settlements are too few to tell; say which: --unit"):
            take(store, path, FUNDING)
        assert len(store.table("funding")) == 0
    declared = replace(FUNDING, unit="fraction") if refused else FUNDING
    assert take(store, path, declared).written.inserted == n
    assert set(store.table("funding")["rate"]) == {rate}


def test_one_high_rate_among_few_needs_the_unit(store: Store, tmp_path: Path) -> None:
    frame = rates(10).with_columns(funding_rate=pl.when(pl.int_range(pl.len()) == 4).then(0.005).otherwise(0.0001))
    with pytest.raises(BadInput, match=r"up to 0\.50% for 8 hours if a fraction, and 10 settlements"):
        take(store, put(frame, tmp_path / "r.parquet"), FUNDING)


@pytest.mark.parametrize(("hours", "refused"), [(60.0, True), (480.0, True), (24.5, True), (24.0, False), (8.0, False)])
@pytest.mark.parametrize("name", ["r.csv", "r.parquet"])
def test_hours_between_settlements_that_are_minutes(
    store: Store, tmp_path: Path, name: str, hours: float, refused: bool
) -> None:
    frame = rates().with_columns(interval_hours=pl.when(pl.int_range(pl.len()) == 2).then(hours).otherwise(8.0))
    path = put(frame, tmp_path / name)
    if refused:
        with pytest.raises(BadRow, match=rf"row 3: interval_hours is {hours:g}, .*are these minutes\?"):
            take(store, path, FUNDING)
    else:
        assert take(store, path, FUNDING).written.inserted == 90


def test_funding_of_1_2_names_the_row(store: Store, tmp_path: Path) -> None:
    frame = rates().with_columns(funding_rate=pl.when(pl.int_range(pl.len()) == 6).then(-1.2).otherwise(0.0001))
    path = put(frame, tmp_path / "r.csv")
    with pytest.raises(BadRow, match=r"r\.csv, row 7: funding_rate is -1\.2.*percent") as caught:
        take(store, path, FUNDING)
    assert caught.value.row == 7
    fraction = Declared("funding", {"rate": "funding_rate"}, "binance", unit="fraction")
    with pytest.raises(BadRow, match=r"r\.csv, row 7"):
        take(store, path, fraction)
    assert len(store.table("funding")) == 0


@pytest.mark.parametrize(("given", "real"), [(300, "1h"), (4 * 3600, "1h"), (1800, "1h")])
def test_an_interval_that_does_not_match(store: Store, tmp_path: Path, given: int, real: str) -> None:
    declared = Declared("candles", venue="binance", interval_s=given, constants={"price": "trade"})
    with pytest.raises(BadInput, match=f"b.parquet: rows come every {real}"):
        take(store, put(bars(), tmp_path / "b.parquet"), declared)


def test_one_row_tells_no_interval(store: Store, tmp_path: Path) -> None:
    path = put(bars(1), tmp_path / "b.csv")
    with pytest.raises(BadInput, match="pass --interval"):
        take(store, path, CANDLES)
    given = Declared("candles", venue="binance", interval_s=3600, constants={"price": "trade"})
    assert take(store, path, given).written.inserted == 1


@pytest.mark.parametrize("table", ["candles", "liquidations"])
@pytest.mark.parametrize("name", ["z.parquet", "z.feather", "z.csv"])
def test_a_zone_other_than_utc(store: Store, tmp_path: Path, table: str, name: str) -> None:
    frame, declared = (bars(), CANDLES) if table == "candles" else (events(), LIQUIDATIONS)
    frame = frame.with_columns(pl.col("ts").dt.replace_time_zone("Europe/Berlin"))
    if name.endswith("csv"):
        frame = frame.with_columns(pl.col("ts").dt.strftime("%Y-%m-%d %H:%M:%S%:z"))
    with pytest.raises(BadInput, match=r"z\..*(in Europe/Berlin time|is not in UTC).*convert"):
        take(store, put(frame, tmp_path / name), declared)


@pytest.mark.parametrize("table", ["candles", "liquidations"])
@pytest.mark.parametrize("word", ["nan", "inf", "-Infinity", "1e30", "soon"])
def test_a_word_among_epoch_numbers(store: Store, tmp_path: Path, table: str, word: str) -> None:
    frame, declared = (bars(), CANDLES) if table == "candles" else (events(3), LIQUIDATIONS)
    stamps = frame["ts"].dt.epoch("ms").cast(pl.String).to_list()
    frame = frame.with_columns(ts=pl.Series([stamps[0], word, *stamps[2:]]))
    with pytest.raises(BadRow, match=rf"z\.csv, row 2: ts '{word}' is no time"):
        take(store, put(frame, tmp_path / "z.csv"), declared)


@pytest.mark.parametrize("table", ["candles", "funding", "liquidations"])
@pytest.mark.parametrize("name", ["z.csv", "z.parquet", "z.feather"])
def test_times_in_two_units(store: Store, tmp_path: Path, table: str, name: str) -> None:
    frame = {"candles": bars(), "funding": rates(), "liquidations": events(3)}[table]
    declared = {"candles": CANDLES, "funding": replace(FUNDING, unit="fraction"), "liquidations": LIQUIDATIONS}[table]
    ms = pl.col("ts").dt.epoch("ms")
    frame = frame.with_columns(ts=pl.when(pl.int_range(pl.len()) == 0).then(ms).otherwise(ms * 1000))
    with pytest.raises(BadRow, match=r"row 1: ts 1704067200000 is 1970-01-20 in us: .*--time-unit s, ms, us or ns"):
        take(store, put(frame, tmp_path / name), declared)


@pytest.mark.parametrize("name", ["z.csv", "z.parquet"])
@pytest.mark.parametrize("form", ["%Y%m%d", "%Y%m%d%H%M%S"])
def test_calendar_dates_are_no_epoch_numbers(store: Store, tmp_path: Path, name: str, form: str) -> None:
    frame = bars(n=5, every="1d").with_columns(pl.col("ts").dt.strftime(form).cast(pl.Int64))
    with pytest.raises(BadRow, match=r"row 1: ts 20240101\d* is a date and no epoch number; write 2024-01-01"):
        take(store, put(frame, tmp_path / name), CANDLES)


def test_a_unit_of_time_that_was_named_wrongly(store: Store, tmp_path: Path) -> None:
    frame = bars().with_columns(pl.col("ts").dt.epoch("ms"))
    with pytest.raises(BadRow, match=r"row 1: ts 1704067200000 is 1970-01-20 in us: .* or has another"):
        take(store, put(frame, tmp_path / "z.parquet"), replace(CANDLES, time_unit="us"))


@pytest.mark.parametrize(("every", "shown"), [("31d1h", "2,682,000"), ("60ms", "0.06")])
def test_a_spacing_that_no_feed_has(store: Store, tmp_path: Path, every: str, shown: str) -> None:
    ts = pl.datetime_range(START, START + dt.timedelta(days=400), every, eager=True, time_unit="us").head(5)
    frame = bars(5).with_columns(ts=ts)
    for given in (None, 3600):
        with pytest.raises(BadInput, match=rf"b\.parquet: rows come every {shown} s .*--time-unit s, ms, us or ns"):
            take(store, put(frame, tmp_path / "b.parquet"), replace(CANDLES, interval_s=given))


def test_a_month_is_a_spacing(store: Store, tmp_path: Path) -> None:
    frame = bars(5).select(
        "symbol", value=pl.lit(1.0), ts=pl.Series([START + dt.timedelta(days=31 * i) for i in range(5)])
    )
    assert take(store, put(frame, tmp_path / "o.parquet"), Declared("open_interest", venue="x")).written.inserted == 5


def test_a_time_beyond_all_time(store: Store, tmp_path: Path) -> None:
    frame = events().with_columns(pl.col("ts").dt.epoch("ns"))
    declared = replace(LIQUIDATIONS, time_unit="s")
    with pytest.raises(BadInput, match=r"l\.csv: ts is up to 1\.704.*no time in s"):
        take(store, put(frame, tmp_path / "l.csv"), declared)


def test_an_unknown_side_names_the_row(store: Store, tmp_path: Path) -> None:
    frame = events().with_columns(side=pl.Series(["SELL", "HOLD"]))
    with pytest.raises(BadRow, match=r"l\.csv, row 2: side 'HOLD' is not one of SELL, BUY"):
        take(store, put(frame, tmp_path / "l.csv"), LIQUIDATIONS)


@pytest.mark.parametrize(("column", "value"), [("price", "cheap"), ("ts", "yesterday")])
def test_a_word_where_a_number_or_time_belongs(store: Store, tmp_path: Path, column: str, value: str) -> None:
    frame = events().with_columns(pl.col("ts").dt.strftime("%Y-%m-%d %H:%M"), pl.col("price").cast(pl.String))
    frame = frame.with_columns(pl.Series(column, [frame[column][0], value]))
    with pytest.raises(BadRow, match=rf"l\.csv, row 2: {column} '{value}' is no"):
        take(store, put(frame, tmp_path / "l.csv"), LIQUIDATIONS)


def test_a_negative_quantity_in_memory_names_file_and_row(store: Store, tmp_path: Path) -> None:
    frame = events().with_columns(quantity=pl.Series([0.5, -3.0]))
    with pytest.raises(BadRow, match=r"l\.csv.*row 2.*quantity is -3\.0"):
        take(store, put(frame, tmp_path / "l.csv"), LIQUIDATIONS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"ts,open\n1,2\n"),
        ("a.feather", b"PAR1 and more"),
        ("a.csv", b"PAR1\x00\x00\x00\x00"),
        ("a.csv.gz", b"ts,open\n1,2\n"),
        ("a.csv.gz", gzip.compress(b"ts,open\n1,2\n" * 50, mtime=0)[:-20]),
        ("a.csv", b"\xff\xfe\x00ts\n"),
        ("a.parquet", b"PAR1" + bytes(100)),
        ("a.xlsx", b"PK\x03\x04"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(store: Store, tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((NotThisFormat, MissingColumn), match=rf"{name}"):
        take(store, path, CANDLES)
    assert len(store.table("candles")) == 0


def test_a_truncated_parquet_file(store: Store, tmp_path: Path) -> None:
    path = put(bars(), tmp_path / "b.parquet")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(NotThisFormat, match=r"b\.parquet"):
        take(store, path, CANDLES)


HEADER = "symbol,ts,open,high,low,close"


@pytest.mark.parametrize("table", ["candles", "liquidations"])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["BTCUSDT,2024-01-01 00:00,1,1,1,1", "BTCUSDT,2024-01-01 01:00,1"], r"row 2: has 3 columns, not 6"),
        (["BTCUSDT,2024-01"], r"row 1: has 2 columns, not 6"),
        (["BTCUSDT,2024-01-01 00:00,1,1,1,1,", "BTCUSDT,2024-01-01 01:00,1,1,1,1"], r"row 1: has 7 columns, not 6"),
        (["BTCUSDT,2024-01-01 00:00,1,1,1,1", "", 'BTCUSDT,"2024-01-01 01:00,1,1,1,1'], r"row 2: has 2 columns"),
    ],
)
def test_a_row_with_other_columns_than_the_header(
    store: Store, tmp_path: Path, table: str, suffix: str, lines: list[str], words: str
) -> None:
    header = HEADER if table == "candles" else "symbol,ts,side,price,quantity,event_id"
    text = "\n".join([header, *lines]).encode()
    path = tmp_path / f"c{suffix}"
    path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    with pytest.raises(BadRow, match=rf"c{re.escape(suffix)}, {words}.*cut short"):
        take(store, path, CANDLES if table == "candles" else LIQUIDATIONS)
    assert len(store.table(table)) == 0


def test_lines_that_end_in_cr_alone(store: Store, tmp_path: Path) -> None:
    text = bars().write_csv()
    (tmp_path / "mac.csv").write_text(text.replace("\n", "\r"), newline="")
    with pytest.raises(NotThisFormat, match=r"mac\.csv: its lines end in CR alone.*convert them"):
        take(store, tmp_path / "mac.csv", CANDLES)
    (tmp_path / "dos.csv").write_text(text.replace("\n", "\r\n"), newline="")
    assert take(store, tmp_path / "dos.csv", CANDLES).written.inserted == 48


@pytest.mark.parametrize(
    ("line", "separator", "columns"),
    [
        ("ts,open,close", ",", ("ts", "open", "close")),
        ("ts; open ;close", ";", ("ts", "open", "close")),
        ("ts\topen, low\tclose", "\t", ("ts", "open, low", "close")),
        ('"ts"|"a,b,c,d"|close', "|", ("ts", "a,b,c,d", "close")),
        ('"a;b;c","d"', ",", ("a;b;c", "d")),
        ("ts", ",", ("ts",)),
    ],
)
def test_the_first_line_tells_the_separator(line: str, separator: str, columns: tuple[str, ...]) -> None:
    assert tabular.dialect(line) == (separator, columns)


@pytest.mark.parametrize("name", ["b[1].csv", "b[1].csv.gz", "b*?.csv", "b[1].parquet", "b[a-c].feather", "{b}.csv"])
@pytest.mark.parametrize("table", ["candles", "liquidations"])
def test_a_name_with_signs_of_a_pattern(store: Store, tmp_path: Path, name: str, table: str) -> None:
    frame, declared = (bars(), CANDLES) if table == "candles" else (events(), LIQUIDATIONS)
    folder = tmp_path / "in [2024]"
    folder.mkdir()
    put(bars(symbol="ETHUSDT"), folder / ("b1." + name.split(".", 1)[1]))  # what the pattern would find
    assert take(store, put(frame, folder / name), declared).written.inserted == len(frame)
    assert "ETH/USDT:USDT" not in set(store.table(table)["symbol"])


def test_a_folder_without_data(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "notes.md").write_text("hello")
    with pytest.raises(NotFound, match=r"no CSV, Parquet or Feather file under .*in$"):
        MappedFiles([tmp_path / "in"], CANDLES)


def test_an_empty_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("")
    with pytest.raises(BadInput, match=r"e\.csv: is empty"):
        take(store, tmp_path / "e.csv", CANDLES)


def test_no_such_file() -> None:
    with pytest.raises(NotFound, match=r"there is no file nowhere\.csv"):
        MappedFiles([Path("nowhere.csv")], CANDLES)
