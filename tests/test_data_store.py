"""The store: opening, versions, locking, idempotent transactional writes, reads as of a time."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import migrations, schema
from data.clock import moment
from data.errors import BadInput, BadRow, MissingColumn, NotFound, StoreLocked, StoreNotWritable, StoreVersion
from data.rows import Batch, Col, Const, Origin, Rows, Scan, Symbol, Time
from data.store import Store

GOLDEN = Path(__file__).parent / "golden"
KEY = {"venue": "binance", "symbol": "BTC/USDT:USDT", "price": "trade", "interval_s": 60}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "s.duckdb")


def bars(n: int = 100, start: str = "2024-01-31 23:00", **columns: object) -> pd.DataFrame:
    base = pd.Series(range(n), dtype="float64")
    frame = pd.DataFrame(
        {
            "ts": pd.date_range(start, periods=n, freq="1min"),
            "open": 100 + base,
            "high": 102 + base,
            "low": 99 + base,
            "close": 101 + base,
            "volume": 1.0,
        }
    )
    return frame.assign(**columns)


def candles(frame: object, **constants: object) -> Batch:
    return Batch((Rows("candles", frame, KEY | constants),), ())


# ---- writing -------------------------------------------------------------------------------------------------------


def test_the_same_rows_twice_change_nothing(store: Store) -> None:
    first = store.write(candles(bars()))
    before = store.fingerprint()
    again = store.write(candles(bars()))
    assert (first.inserted, again.inserted, again.unchanged) == (100, 0, 100)
    assert store.fingerprint() == before


def test_a_later_ingest_wins_and_is_counted(store: Store) -> None:
    store.write(Batch((Rows("candles", bars(), KEY),), (Origin("test", "one", "sha1", "r"),)))
    changed = bars()
    changed.loc[7, "close"] = 105.5
    done = store.write(Batch((Rows("candles", changed, KEY),), (Origin("test", "two", "sha2", "r"),)))
    assert (done.inserted, done.changed, done.unchanged) == (0, 1, 99)
    assert store.table("candles")["close"][7] == 105.5
    log = store.query("SELECT origin, inserted, changed, unchanged FROM ingests ORDER BY id").to_pylist()
    assert log == [
        {"origin": "one", "inserted": 100, "changed": 0, "unchanged": 0},
        {"origin": "two", "inserted": 0, "changed": 1, "unchanged": 99},
    ]


def test_an_overlapping_write_adds_only_what_is_new(store: Store) -> None:
    store.write(candles(bars(100)))
    done = store.write(candles(bars(150)))
    assert (done.inserted, done.changed, done.unchanged) == (50, 0, 100)
    assert len(store.table("candles")) == 150


@pytest.mark.parametrize("seed", range(3))
def test_unsorted_input_is_stored_in_order(store: Store, seed: int) -> None:
    store.write(candles(bars(500).sample(frac=1, random_state=seed)))
    stored = store.query("SELECT ts FROM candles ORDER BY rowid").column("ts").to_pylist()
    assert stored == sorted(stored)
    assert len(stored) == 500


@pytest.mark.parametrize(
    "convert",
    [
        lambda f: f,
        lambda f: f.assign(ts=f["ts"].astype("datetime64[s]")),
        lambda f: f.assign(ts=f["ts"].astype("datetime64[ns]")),
        lambda f: f.assign(ts=f["ts"].dt.tz_localize("UTC")),
        pl.from_pandas,
        lambda f: pl.from_pandas(f).lazy(),
        lambda f: pa.Table.from_pandas(f, preserve_index=False),
    ],
    ids=["pandas-us", "pandas-s", "pandas-ns", "pandas-utc", "polars", "polars-lazy", "arrow"],
)
def test_every_kind_of_frame_is_the_same_rows(tmp_path: Path, store: Store, convert: object) -> None:
    Store(tmp_path / "plain.duckdb").write(candles(bars()))
    store.write(candles(convert(bars())))  # type: ignore[operator]
    assert store.fingerprint()["candles"] == Store(tmp_path / "plain.duckdb").fingerprint()["candles"]


def test_a_parquet_scan_equals_the_frame(tmp_path: Path, store: Store) -> None:
    pq.write_table(pa.Table.from_pandas(bars().rename(columns={"ts": "when"})), tmp_path / "b.parquet")
    mapping = {n: Col(n) for n in ("open", "high", "low", "close", "volume")} | {"ts": Time("when")}
    scan = Scan(tmp_path / "b.parquet", "parquet", mapping | {k: Const(v) for k, v in KEY.items()})
    store.write(Batch((Rows("candles", scan),), ()))
    other = Store(tmp_path / "frame.duckdb")
    other.write(candles(bars()))
    assert store.fingerprint() == other.fingerprint()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "auto"])
def test_epoch_numbers_in_csv(tmp_path: Path, store: Store, unit: str) -> None:
    scale = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1, "auto": 10**6}[unit]
    epoch = bars()["ts"].astype("datetime64[ns]").astype("int64") // scale
    bars().assign(ts=epoch).to_csv(tmp_path / "b.csv", index=False)
    mapping = {n: Col(n) for n in ("open", "high", "low", "close", "volume")} | {"ts": Time("ts", unit)}
    store.write(Batch((Rows("candles", Scan(tmp_path / "b.csv", "csv", mapping), KEY),), ()))
    assert store.table("candles")["ts"].tolist() == bars()["ts"].tolist()


def test_nanoseconds_in_csv_keep_all_their_digits(tmp_path: Path, store: Store) -> None:
    stamp = pd.Timestamp("2024-01-31 23:00:00.001234")
    (tmp_path / "b.csv").write_text(f"ts,quantity\n{stamp.as_unit('ns').value},5\n")
    scan = Scan(tmp_path / "b.csv", "csv", {"ts": Time("ts"), "quantity": Col("quantity")})
    store.write(Batch((Rows("open_interest", scan, {"venue": "b", "symbol": "X", "interval_s": 300}),), ()))
    assert store.table("open_interest")["ts"].tolist() == [stamp]


def test_venue_names_become_unified(tmp_path: Path, store: Store) -> None:
    bars().assign(pair=["BTC"] * 50 + ["ETH"] * 50).to_csv(tmp_path / "b.csv", index=False)
    mapping = {n: Col(n) for n in ("open", "high", "low", "close")} | {
        "ts": Time("ts"),
        "symbol": Symbol("pair", "{}USDT"),
    }
    rest = {k: v for k, v in KEY.items() if k != "symbol"}
    store.write(Batch((Rows("candles", Scan(tmp_path / "b.csv", "csv", mapping), rest),), ()))
    assert set(store.table("candles")["symbol"]) == {"BTC/USDT:USDT", "ETH/USDT:USDT"}


def test_doubled_rows_are_stored_once(store: Store) -> None:
    frame = bars(1000)
    done = store.write(candles(pd.concat([frame, frame.iloc[400:403]])))
    assert (done.inserted, done.doubled) == (1000, 3)
    assert len(store.table("candles")) == 1000


def test_rows_that_contradict_each_other_are_refused(store: Store) -> None:
    frame = pd.concat([bars(), bars().iloc[[3]].assign(close=99.5)])
    with pytest.raises(BadRow, match=r"row 101: has the same key as row 4 but other values"):
        store.write(candles(frame))
    assert store.table("candles").empty


BAD = {
    "negative volume": ({"volume": -1.0}, "row 8: volume is -1.0, below 0"),
    "NaN price": ({"close": float("nan")}, "row 8: close is empty"),
    "infinite price": ({"high": float("inf")}, "row 8: high is infinite"),
    "no time": ({"ts": pd.NaT}, "row 8: ts is empty"),
    "a time before there was any market": ({"ts": pd.Timestamp("1970-01-20")}, "row 8: ts is .* unit of time wrong"),
    "between two bars": ({"ts": pd.Timestamp("2024-01-31 23:07:30")}, "row 8: ts .* is not the open of a 60 s bar"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_row_is_named_and_nothing_is_stored(store: Store, what: str) -> None:
    values, message = BAD[what]
    frame = bars()
    for column, value in values.items():
        frame.loc[7, column] = value
    good = Rows(
        "funding", pd.DataFrame({"ts": [pd.Timestamp("2024-01-01")], "rate": 1e-4}), {"venue": "b", "symbol": "X"}
    )
    with pytest.raises(BadRow, match=message):
        store.write(Batch((good, Rows("candles", frame, KEY)), (Origin("t", "f"),)))
    assert not any(int(v.split(":")[0]) for v in store.fingerprint().values())
    assert store.query("SELECT count(*) AS n FROM ingests").to_pylist() == [{"n": 0}]


def test_a_key_without_a_value_is_refused(store: Store) -> None:
    with pytest.raises(BadRow, match="row 1: symbol is empty"):
        store.write(candles(bars(), symbol=None))


def test_rows_without_any_price_are_no_bars(store: Store) -> None:
    frame = bars(10)
    frame.loc[4, ["open", "high", "low", "close", "volume"]] = float("nan")
    assert store.write(candles(frame)).inserted == 9


def test_wrong_interval_is_told_by_the_spacing(store: Store) -> None:
    with pytest.raises(BadInput, match="said to have 30s bars, but they come every 1m"):
        store.write(candles(bars(), interval_s=30))


def test_gaps_alone_do_not_make_a_wrong_interval(store: Store) -> None:
    frame = bars(100)
    assert store.write(candles(pd.concat([frame[:5], frame[90:]]))).inserted == 15


def test_weeks_begin_on_monday(store: Store) -> None:
    weeks = bars(10).assign(ts=pd.date_range("2024-01-01", periods=10, freq="7D"))
    assert store.write(candles(weeks, interval_s=7 * 86_400)).inserted == 10
    with pytest.raises(BadRow, match=r"row 1: ts 2024-01-04 .* is not the open"):
        store.write(candles(weeks.assign(ts=weeks["ts"] + pd.Timedelta("3D")), interval_s=7 * 86_400))


def test_ingests_name_the_one_venue_of_their_rows(store: Store) -> None:
    store.write(Batch((Rows("candles", bars(), KEY),), (Origin("t", "f"),)))
    assert store.table("ingests", venue="binance")["origin"].tolist() == ["f"]


def test_an_empty_value_never_erases_a_stored_one(store: Store) -> None:
    store.write(candles(bars()))
    done = store.write(candles(bars().drop(columns="volume")))
    assert (done.changed, done.unchanged) == (0, 100)
    store.write(candles(bars(volume=None)))
    assert store.table("candles")["volume"].tolist() == [1.0] * 100


def test_a_guessed_interval_never_corrects_a_told_one(store: Store) -> None:
    store.write(funding(["2024-01-01 00:00", "2024-01-01 08:00"], interval_hours=8.0))
    store.write(funding(["2024-01-01 08:00"], rate=2e-4))
    f = store.table("funding")
    assert f["interval_hours"].tolist() == [8, 8]
    assert f["rate"].tolist() == [1e-4, 2e-4]


def test_the_first_settlement_of_a_file_is_told_by_the_stored_one_before_it(store: Store) -> None:
    store.write(funding(["2024-01-31 08:00", "2024-01-31 16:00"]))
    store.write(funding(["2024-02-01 00:00", "2024-02-01 04:00", "2024-02-01 08:00"]))
    assert store.table("funding")["interval_hours"].tolist() == [8, 8, 8, 4, 4]


def test_nothing_is_known_before_it_happened(store: Store) -> None:
    frame = pd.DataFrame({"ts": [pd.Timestamp("2024-01-01 10:00")], "known_at": [pd.Timestamp("2024-01-01 10:30")]})
    key = {"venue": "v", "symbol": "BTC", "interval_s": 3600}
    store.write(Batch((Rows("open_interest", frame.assign(quantity=1.0), key),), ()))
    early = frame.assign(long_notional=1.0, feed="aggregated")
    with pytest.raises(BadRow, match=r"row 1: known_at 2024-01-01 10:30:00 lies before what it tells of"):
        store.write(Batch((Rows("liquidation_bars", early, key),), ()))


def tier_table(floors: list[float], when: str = "2024-01-01", **columns: object) -> Batch:
    mmr = [0.004 * (i + 1) for i in range(len(floors))]
    cum = [0.0]
    for i in range(1, len(floors)):
        cum.append(cum[-1] + floors[i] * (mmr[i] - mmr[i - 1]))
    frame = pd.DataFrame(
        {"tier": range(1, len(floors) + 1), "floor": floors, "cap": [*floors[1:], None], "mmr": mmr, "cum": cum}
    ).assign(**columns)
    key = {"venue": "binance", "symbol": "BTC/USDT:USDT", "valid_from": pd.Timestamp(when)}
    return Batch((Rows("tiers", frame, key),), ())


def test_a_corrected_tier_table_replaces_the_whole_one(store: Store) -> None:
    store.write(tier_table([0.0, 50_000.0, 250_000.0]))
    done = store.write(tier_table([0.0, 100_000.0]))
    assert store.tiers("BTCUSDT", "2024-02-01")["floor"].tolist() == [0.0, 100_000.0]
    assert (done.inserted, done.changed) == (1, 3)
    assert store.write(tier_table([0.0, 100_000.0])).changed == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"cum": [0.0, 999.0]}, "tier 2: cum is 999, but follows as 200"),
        ({"cap": [40_000.0, None]}, "tier 2: begins at 50000, but the one below ends at 40000"),
        ({"floor": [10.0, 50_000.0]}, "the lowest bracket has floor 10"),
    ],
)
def test_broken_tiers_are_refused(store: Store, columns: dict[str, object], message: str) -> None:
    with pytest.raises(BadRow, match=message):
        store.write(tier_table([0.0, 50_000.0], **columns))


def test_of_batches_that_contradict_the_last_one_wins(store: Store) -> None:
    values = [2.0, 3.0, 2.5]
    frames = [bars(3, open=101.0, close=101.0, volume=v) for v in values]
    frames[1] = frames[1].assign(trades=7)
    assert store.write([candles(f) for f in frames]).inserted == 3
    c = store.table("candles")
    assert c["volume"].tolist() == [2.5] * 3
    assert c["trades"].tolist() == [7] * 3


def test_glob_characters_in_a_path_are_only_characters(tmp_path: Path, store: Store) -> None:
    mapping = {n: Col(n) for n in ("open", "high", "low", "close", "volume")} | {"ts": Time("ts")}
    for suffix, write in (("parquet", pd.DataFrame.to_parquet), ("csv", pd.DataFrame.to_csv)):
        write(bars(volume=5.0), tmp_path / f"a1.{suffix}", index=False)  # type: ignore[operator]
        write(bars(volume=9.0), tmp_path / f"a[1].{suffix}", index=False)  # type: ignore[operator]
        store.write(Batch((Rows("candles", Scan(tmp_path / f"a[1].{suffix}", suffix, mapping), KEY),), ()))
        assert store.table("candles")["volume"].tolist() == [9.0] * 100


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_csv_separators(tmp_path: Path, store: Store, separator: str) -> None:
    bars().to_csv(tmp_path / "b.csv", index=False, sep=separator, encoding="utf-8-sig", lineterminator="\r\n")
    mapping = {n: Col(n) for n in ("open", "high", "low", "close", "volume")} | {"ts": Time("ts")}
    assert store.write(Batch((Rows("candles", Scan(tmp_path / "b.csv", "csv", mapping), KEY),), ())).inserted == 100


def test_a_csv_that_is_cut_short_names_the_row(tmp_path: Path, store: Store) -> None:
    bars().to_csv(tmp_path / "b.csv", index=False)
    (tmp_path / "b.csv").write_text((tmp_path / "b.csv").read_text()[:-12])
    mapping = {n: Col(n) for n in ("open", "high", "low", "close", "volume")} | {"ts": Time("ts")}
    with pytest.raises(BadRow, match=r"b\.csv, row 100: has \d columns, not 6; is the file cut short"):
        store.write(Batch((Rows("candles", Scan(tmp_path / "b.csv", "csv", mapping), KEY),), ()))


def test_thinly_traded_bars_keep_their_interval(store: Store) -> None:
    frame = bars(100)
    assert store.write(candles(pd.concat([frame[::2], frame[1:4:2]]).sort_values("ts"))).inserted == 52


def test_unknown_columns_are_named(store: Store) -> None:
    with pytest.raises(MissingColumn, match="did you mean volume"):
        store.write(candles(bars().rename(columns={"volume": "volum"})))


def test_another_zone_is_refused(store: Store) -> None:
    with pytest.raises(BadInput, match="column ts is in Asia/Tokyo time; convert it to UTC"):
        store.write(candles(bars().assign(ts=lambda f: f["ts"].dt.tz_localize("Asia/Tokyo"))))


def test_an_offset_in_text_is_refused(tmp_path: Path, store: Store) -> None:
    text = bars().assign(ts=lambda f: f["ts"].dt.strftime("%Y-%m-%dT%H:%M:%S+09:00"))
    text.to_csv(tmp_path / "b.csv", index=False)
    mapping = {n: Col(n) for n in ("open", "high", "low", "close")} | {"ts": Time("ts")}
    with pytest.raises(BadRow, match=r"row 1: ts .*09:00' is not in UTC"):
        store.write(Batch((Rows("candles", Scan(tmp_path / "b.csv", "csv", mapping), KEY),), ()))


@pytest.mark.parametrize("ending", ["", "Z", "+00:00", " UTC", ".250"])
def test_utc_texts_are_read_as_they_stand(tmp_path: Path, store: Store, ending: str) -> None:
    rows = pd.DataFrame({"ts": ["2024-03-31T02:30:00" + ending], "quantity": [5.0]})
    rows.to_csv(tmp_path / "b.csv", index=False)
    scan = Scan(tmp_path / "b.csv", "csv", {"ts": Time("ts"), "quantity": Col("quantity")})
    store.write(Batch((Rows("open_interest", scan, {"venue": "b", "symbol": "X", "interval_s": 300}),), ()))
    expected = pd.Timestamp("2024-03-31 02:30:00" + (".250" if ending == ".250" else ""))
    assert store.table("open_interest")["ts"].tolist() == [expected]


def test_a_word_in_a_number_column_is_named(tmp_path: Path, store: Store) -> None:
    (tmp_path / "b.csv").write_text("ts,quantity\n2024-01-01,5\n2024-01-02,five\n")
    scan = Scan(tmp_path / "b.csv", "csv", {"ts": Time("ts"), "quantity": Col("quantity")})
    with pytest.raises(BadRow, match=r"b.csv, row 2: quantity 'five' is no number"):
        store.write(Batch((Rows("open_interest", scan, {"venue": "b", "symbol": "X", "interval_s": 86400}),), ()))


# ---- the tables' own rules -----------------------------------------------------------------------------------------


def funding(stamps: list[str], **columns: object) -> Batch:
    frame = pd.DataFrame({"ts": pd.to_datetime(stamps, format="ISO8601"), "rate": 1e-4}).assign(**columns)
    return Batch((Rows("funding", frame, {"venue": "binance", "symbol": "BTC/USDT:USDT"}),), ())


def test_settlement_stamps_are_snapped_and_the_raw_one_kept(store: Store) -> None:
    store.write(funding(["2024-01-01 00:00:00.007", "2024-01-01 07:59:30", "2024-01-01 16:01:01"], interval_hours=8.0))
    f = store.table("funding")
    assert f["ts"].dt.strftime("%H:%M:%S").tolist() == ["00:00:00", "08:00:00", "16:01:01"]
    assert f["raw_ts"].dt.strftime("%H:%M:%S").tolist() == ["00:00:00", "07:59:30", "16:01:01"]


def test_settlement_intervals_are_told_by_the_spacing(store: Store) -> None:
    hours = [0, 8, 16, 20, 24, 40, 48]  # eight-hourly, then four-hourly, one missing at 32, eight-hourly
    stamps = [str(pd.Timestamp("2024-01-01") + pd.Timedelta(hours=h)) for h in hours]
    store.write(funding(stamps))
    assert store.table("funding")["interval_hours"].tolist() == [8, 8, 8, 4, 4, 8, 8]


def test_a_rate_in_percent_is_refused(store: Store) -> None:
    with pytest.raises(BadRow, match=r"rate is 1\.2, above 0\.2; rates are fractions: is it in percent"):
        store.write(funding(["2024-01-01"], rate=1.2))


def test_known_at_follows_the_tables_rule_and_the_lag(store: Store) -> None:
    frame = pd.DataFrame({"ts": [pd.Timestamp("2024-01-01 10:00")], "long_notional": 5.0})
    constants = {"venue": "v", "symbol": "BTC", "interval_s": 3600, "feed": "aggregated"}
    store.write(Batch((Rows("liquidation_bars", frame, constants, lag_s=90),), ()))
    assert store.table("liquidation_bars")["known_at"].tolist() == [pd.Timestamp("2024-01-01 11:01:30")]


def test_a_later_version_is_kept_beside_the_earlier(store: Store) -> None:
    frame = pd.DataFrame({"ts": [pd.Timestamp("2024-01-01")], "quantity": 5.0})
    constants = {"venue": "v", "symbol": "BTC", "interval_s": 300}
    store.write(Batch((Rows("open_interest", frame, constants),), ()))
    store.write(Batch((Rows("open_interest", frame.assign(quantity=6.0), constants, lag_s=60),), ()))
    assert store.table("open_interest", as_of="2024-01-01 00:01")["quantity"].tolist() == [5.0]
    assert store.table("open_interest", as_of="2024-01-01 00:02")["quantity"].tolist() == [5.0, 6.0]


def test_tiers_and_instruments_as_of_a_time(store: Store) -> None:
    def tiers(when: str, mmr: float) -> Rows:
        frame = pd.DataFrame(
            {"tier": [1, 2], "floor": [0.0, 50_000.0], "mmr": [mmr, 2 * mmr], "cum": [0.0, 50_000.0 * mmr]}
        )
        return Rows("tiers", frame, {"venue": "binance", "symbol": "SOL/USDT:USDT", "valid_from": pd.Timestamp(when)})

    def terms(when: str, lot: float) -> Rows:
        frame = pd.DataFrame({"valid_from": [pd.Timestamp(when)], "lot_size": lot})
        return Rows("instruments", frame, {"venue": "binance", "symbol": "SOL/USDT:USDT"})

    store.write(
        Batch(
            (tiers("2022-09-27", 0.01), tiers("2022-11-10", 0.02), terms("2022-01-01", 1.0), terms("2023-01-01", 0.1)),
            (),
        )
    )
    assert store.tiers("SOLUSDT", "2022-11-09")["mmr"].tolist() == [0.01, 0.02]
    assert store.tiers("SOLUSDT", "2022-11-10")["mmr"].tolist() == [0.02, 0.04]
    assert store.tiers("SOLUSDT", "2022-01-01").empty
    assert store.instruments("2022-06-01")["lot_size"].tolist() == [1.0]
    assert store.instruments("2024-06-01", venue="binance")["lot_size"].tolist() == [0.1]
    with pytest.raises(NotFound, match="did you mean binance"):
        store.instruments("2024-06-01", venue="binanc")
    with pytest.raises(NotFound, match="did you mean SOL/USDT:USDT"):
        store.tiers("SOL/USDT", "2022-11-09")


def test_stored_forgets_what_others_changed(store: Store) -> None:
    mine, other = Origin("t", "mine", "a", "r", venue="binance"), Origin("t", "other", "b", "r", venue="binance")
    store.write(Batch((Rows("candles", bars(), KEY),), (mine,)))
    assert store.stored([mine, other], ["candles"]) == {("a", "r")}
    store.write(Batch((Rows("candles", bars(close=50.0, low=50.0), KEY),), (other,)))
    assert store.stored([mine, other], ["candles"]) == {("b", "r")}


# ---- opening, versions, locks --------------------------------------------------------------------------------------


def test_version_2_is_frozen() -> None:
    """A changed table needs a new schema version and a migration, or stores in the field break."""
    frozen = (GOLDEN / "schema_v2.sql").read_text().split("\n", 1)[1]
    assert schema.SCHEMA_VERSION == 2, "write the migration, and freeze the new version beside this one"
    assert ";\n".join(schema.ddl(t) for t in schema.TABLES.values()) + ";\n" == frozen


def test_a_version_1_file_opens(tmp_path: Path) -> None:
    con = duckdb.connect(str(tmp_path / "old.duckdb"))
    con.execute((GOLDEN / "schema_v1.sql").read_text())
    con.execute("CREATE TABLE meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL)")
    con.execute("INSERT INTO meta VALUES ('schema_version', '1')")
    con.close()
    with pytest.raises(StoreVersion, match="open it once for writing"):
        Store(tmp_path / "old.duckdb", read_only=True)
    store = Store(tmp_path / "old.duckdb")
    assert store.write(candles(bars())).inserted == 100
    fresh = Store(tmp_path / "new.duckdb")
    shape = "SELECT table_name, column_name, data_type, is_nullable, column_index FROM duckdb_columns() ORDER BY ALL"
    assert store.query(shape).to_pylist() == fresh.query(shape).to_pylist()


def test_migration_is_all_or_nothing(store: Store) -> None:
    store.write(candles(bars()))
    con = duckdb.connect(str(store.path))
    steps = {
        2: ("ALTER TABLE candles ADD COLUMN vwap DOUBLE", "UPDATE candles SET vwap = close"),
        3: ("SELECT nonsense",),
    }
    with pytest.raises(duckdb.Error):
        migrations.migrate(con, 1, steps, to=3)
    assert migrations.version(con, "s") == schema.SCHEMA_VERSION
    assert "vwap" not in [r[0] for r in con.execute("DESCRIBE candles").fetchall()]
    migrations.migrate(con, 1, {**steps, 3: ()}, to=3)
    assert migrations.version(con, "s") == 3
    assert con.execute("SELECT count(vwap) FROM candles").fetchall() == [(100,)]
    with pytest.raises(StoreVersion, match="no way from schema 3 to 4"):
        migrations.migrate(con, 3, steps, to=4)
    con.close()
    with pytest.raises(StoreVersion, match="written by a newer Unwind"):
        Store(store.path)


def test_a_stranger_is_not_taken_for_a_store(tmp_path: Path) -> None:
    (tmp_path / "words.duckdb").write_text("price,volume\n" * 1000)
    with pytest.raises(StoreVersion, match="no DuckDB file"):
        Store(tmp_path / "words.duckdb")
    duckdb.connect(str(tmp_path / "other.duckdb")).execute("CREATE TABLE t (x INT)").close()
    with pytest.raises(StoreVersion, match="no Unwind store"):
        Store(tmp_path / "other.duckdb")
    with pytest.raises(StoreVersion, match="no exported lake"):
        Store(tmp_path)
    with pytest.raises(NotFound, match="no store at"):
        Store(tmp_path / "none.duckdb", read_only=True)


def test_read_only_refuses_writing(store: Store) -> None:
    with pytest.raises(StoreNotWritable, match="opened read-only"):
        Store(store.path, read_only=True).write(candles(bars()))


HOLD = """
import duckdb, sys, time
c = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "r")
print("on", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("mode", "write"), [("w", False), ("w", True), ("r", True)])
def test_a_taken_file_says_who_has_it(store: Store, mode: str, write: bool) -> None:
    store.write(candles(bars()))
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(store.path), mode], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        store.wait_s = 0.2
        with pytest.raises(StoreLocked, match=f"in use by process {holder.pid} .*Wait for it to finish, or stop it"):
            store.write(candles(bars(101))) if write else store.table("candles")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    store.wait_s = 5.0
    assert len(store.table("candles")) == 100


def test_a_waiting_writer_gets_its_turn(store: Store) -> None:
    """A notebook that reads now and then does not block a writer, and the other way round."""
    stop = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not stop.is_set():
            seen.append(len(store.table("candles")))
            time.sleep(0.005)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for n in range(1, 16):
            store.write(candles(bars(n)))
    finally:
        stop.set()
        reader.join()
    assert seen == sorted(seen)
    assert len(store.table("candles")) == 15


def test_fingerprint_ignores_order_and_sees_every_bit(tmp_path: Path) -> None:
    one, two = Store(tmp_path / "1.duckdb"), Store(tmp_path / "2.duckdb")
    one.write([candles(bars(50)), candles(bars(100))])
    two.write(candles(bars(100)[50:]))
    two.write(candles(bars(50)))
    assert one.fingerprint() == two.fingerprint()
    two.write(candles(bars(1, volume=1.0 + 2**-52)))
    assert one.fingerprint() != two.fingerprint()


def test_compacting_keeps_every_row_and_the_order(store: Store) -> None:
    for day in range(20, 0, -1):
        store.write(candles(bars(50, start=f"2024-02-{day:02d}")))
    before = store.fingerprint()
    store.compact()
    assert store.fingerprint() == before
    stored = store.query("SELECT ts FROM candles ORDER BY rowid").column("ts").to_pylist()
    assert stored == sorted(stored)
    assert store.write(candles(bars(50, start="2024-02-01"))).unchanged == 50


def test_queries_take_parameters_and_explain_mistakes(store: Store) -> None:
    store.write(candles(bars()))
    when = pd.Timestamp(moment("2024-02-01"))
    assert store.query("SELECT count(*) AS n FROM candles WHERE ts < ?", [when]).to_pylist() == [{"n": 60}]
    with pytest.raises(BadInput, match="candels"):
        store.query("SELECT * FROM candels")
    with pytest.raises(BadInput, match="a query is a SELECT"):
        store.query("")
    with pytest.raises(NotFound, match="did you mean candles"):
        store.table("candels")
