"""`Store.market`: every kind of row lands in its field, as of a time, from the store file and from a lake."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.clock import HOUR, MINUTE, moment
from data.errors import NotFound, StoreVersion
from data.rows import Batch, Origin, Rows
from data.store import Store

BTC, START = "BTC/USDT:USDT", pd.Timestamp("2024-01-31 20:00")
KEY = {"venue": "binance", "symbol": BTC}
N = 600  # minutes: a settlement at midnight lies inside, and so does the end of a month


def at(minutes: float) -> pd.Timestamp:
    return START + pd.Timedelta(minutes=minutes)


def bars(price: str, n: int, minutes: int, base: float, **extra: object) -> Rows:
    i = np.arange(n, dtype=float)
    frame = pd.DataFrame({"ts": [at(k * minutes) for k in range(n)], "open": base + i, "close": base + i + 0.5})
    frame = frame.assign(high=frame["close"] + 0.25, low=frame["open"] - 0.25, **extra)
    return Rows("candles", frame, {**KEY, "price": price, "interval_s": 60 * minutes})


def points(table: str, stamps: list[float], values: dict[str, list[float]], **constants: object) -> Rows:
    return Rows(table, pd.DataFrame({"ts": [at(m) for m in stamps], **values}), {**KEY, **constants})


def everything() -> list[Batch]:
    events = pd.DataFrame(
        {
            "ts": [at(10.5), at(10.7), at(10.9), at(100)],
            "position": ["long", "long", "short", "short"],
            "price": [100.0, 100.0, 100.0, 200.0],
            "quantity": [1.0, 2.0, 5.0, 1.0],
            "notional": [None, 200.0, None, None],
            "event_id": ["a", "b", "c", "d"],
        }
    )
    tiers = pd.DataFrame(
        {
            "valid_from": [at(-1000), at(-1000), at(300), at(300)],
            "tier": [1, 2, 1, 2],
            "floor": [0.0, 50_000.0, 0.0, 50_000.0],
            "cap": [50_000.0, None, 50_000.0, None],
            "mmr": [0.004, 0.005, 0.01, 0.02],
            "max_leverage": [125.0, 100.0, 50.0, 25.0],
            "cum": [0.0, 50.0, 0.0, 500.0],
        }
    )
    rows = (
        bars("trade", N, 1, 1000.0, volume=2.0, quote_volume=2000.0),
        bars("mark", N // 60, 60, 1000.0),
        bars("index", N, 1, 900.0),
        bars("premium", N, 1, 0.0),
        points("funding", [-240, 240], {"rate": [1e-4, 2e-4], "interval_hours": [8.0, 8.0], "price": [None, 1234.0]}),
        points("open_interest", [-3, 2, 7], {"quantity": [5.0, 6.0, 7.0], "value": [50.0, 60.0, 70.0]}, interval_s=300),
        points("ratios", [0], {"ratio": [1.5]}, kind="top_positions", interval_s=36_000),
        points("depth", [0, 0], {"percent": [-1.0, 1.0], "notional": [7e6, 8e6]}, interval_s=36_000),
        Rows("liquidations", events, {**KEY, "price_kind": "average", "feed": "sampled"}),
        points(
            "liquidation_bars",
            [60, 120],
            {"long_notional": [11.0, 22.0], "short_notional": [1.0, 2.0]},
            interval_s=3600,
            feed="aggregated",
        ),
        Rows("tiers", tiers, KEY),
        Rows("instruments", pd.DataFrame({"valid_from": [at(-9999)], "tick_size": [0.1]}), KEY),
    )
    covers = (moment(at(5)), moment(at(45)))
    origin = Origin("test", "events", covers=covers, tables=("liquidations",), venue="binance")
    return [Batch(rows, (origin,))]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("loading") / "s.duckdb")
    store.write(everything())
    return store


@pytest.fixture(scope="module")
def lake(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("lake") / "lake"
    store.export(folder)
    return Store(folder)


def test_candles_and_marks(store: Store) -> None:
    m = store.market("BTCUSDT", "1m")
    assert (m.symbols, m.venue, len(m), m.start) == ((BTC,), "binance", N, moment(START))
    assert m.close[:3].tolist() == [1000.5, 1001.5, 1002.5]
    assert m.volume.sum() == 2 * N
    assert "taker_buy_volume" not in m.held
    # The hourly mark of the first hour spans 999.75..1000.75: trades beyond it are clipped.
    assert (m.mark_high[5], m.mark_close[0], m.mark_low[0]) == (1000.75, 1000.5, 999.75)
    assert set(m.mark_source.tolist()) == {1}
    assert m.index[7] == 907.5
    assert m.premium[7] == 7.5


def test_snapshots_are_known_strictly_before_the_close(store: Store) -> None:
    m = store.market(BTC, "1m")
    # Stamps at -3, 2 and 7 minutes; the bar that opens at 1 closes at 2 and does not know the one stamped 2.
    assert m.open_interest[:9].tolist() == [5, 5, 6, 6, 6, 6, 6, 7, 7]
    assert m.open_interest_value[2] == 60.0
    assert np.isnan(m.open_interest[17:]).all(), "two intervals after the last one it is stale"
    assert not np.isnan(m.open_interest[16])
    assert m.ratio_top_positions[0] == 1.5
    assert (m.bid_depth_1pct[0], m.ask_depth_1pct[0]) == (7e6, 8e6)


def test_settlements_stay_a_list(store: Store) -> None:
    m = store.market(BTC, "1m")
    (s,) = m.settlements
    assert (s["ts"], s["bar"], s["rate"], s["price"]) == (moment("2024-02-01"), 240, 2e-4, 1234.0)
    assert m.funding_8h[239] == 1e-4
    assert m.funding_8h[240] == 2e-4


def test_liquidations_where_the_feed_covers_else_bars_else_nothing(store: Store) -> None:
    m = store.market(BTC, "1m")
    assert (m.liq_long[10], m.liq_short[10]) == (300.0, 500.0)
    assert m.liq_long[20] == 0.0
    assert np.isnan(m.liq_long[4])
    assert np.isnan(m.liq_long[45:60]).all()
    assert (m.liq_long[120], m.liq_short[120]) == (11.0, 1.0), "an hour's sum is known at its end"
    assert m.liq_long[121] == 0.0
    assert any("lower bound" in w for w in m.warnings)


def test_a_late_feed_covers_later_bars(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.duckdb")
    (batch,) = everything()
    store.write(
        Batch(tuple(replace(r, lag_s=120.0) if r.table == "liquidations" else r for r in batch.rows), batch.origins)
    )
    m = store.market(BTC, "1m")
    assert m.liq_long[12] == 300.0, "known two minutes after it happened"
    assert np.isnan(m.liq_long[6])
    assert m.liq_long[[7, 46]].tolist() == [0.0, 0.0]
    assert np.isnan(m.liq_long[47])


def test_tiers_are_those_of_the_day(store: Store) -> None:
    m = store.market(BTC, "1m")
    assert m.tiers_at(at(299))["mmr"].tolist() == [0.004, 0.005]
    assert m.tiers_at(at(300))["mmr"].tolist() == [0.01, 0.02]
    assert m.instrument()["tick_size"] == 0.1


@pytest.mark.parametrize("minutes", [1, 100, 241, 599])
def test_as_of_is_the_beginning_of_the_whole(store: Store, minutes: int) -> None:
    whole, then = store.market(BTC, "1m"), store.market(BTC, "1m", as_of=at(minutes))
    assert len(then) == minutes
    for name in whole.held:
        seen, shown = getattr(whole.features_view(), name), getattr(then.features_view(), name)
        np.testing.assert_array_equal(shown, seen[:minutes], err_msg=name)


def test_a_coarser_market_is_made_of_the_finer_one(store: Store) -> None:
    hourly = store.market(BTC, "1h", at(0), at(N))
    assert len(hourly) == 10
    assert hourly == store.market(BTC, "1m").resample("1h")
    assert hourly.volume.tolist() == [120.0] * 10


def test_a_range_gives_the_bars_inside_it(store: Store) -> None:
    m = store.market(BTC, "1m", at(30), at(90))
    assert (len(m), m.close[0]) == (60, 1030.5)
    assert m.hash == store.market(BTC, "1m", at(30), at(90)).hash


def test_a_lake_gives_the_same_market(store: Store, lake: Store) -> None:
    assert lake.market(BTC, "1m").hash == store.market(BTC, "1m").hash
    assert lake.fingerprint() == store.fingerprint()


def test_a_lake_goes_back_into_a_store(store: Store, lake: Store, tmp_path: Path) -> None:
    back = Store(tmp_path / "back.duckdb")
    done = back.import_lake(lake.path)
    assert back.fingerprint() == store.fingerprint()
    assert back.market(BTC, "1m").hash == store.market(BTC, "1m").hash, "what feeds covered comes along"
    again = back.import_lake(lake.path)
    assert (again.rows, again.skipped > 0, done.rows > 0) == (0, True, True)


def test_an_export_of_a_part_claims_no_more_than_it_holds(store: Store, tmp_path: Path) -> None:
    store.export(tmp_path / "part", symbol=BTC, venue="binance", start=at(0), end=at(30))
    part = Store(tmp_path / "part")
    m = part.market(BTC, "1m")
    assert len(m) == 30
    assert not np.isnan(m.liq_long[29])
    covers = part.query("SELECT max(covers_to) AS t FROM ingests").to_pylist()
    assert covers == [{"t": at(30).to_pydatetime()}]


def test_several_symbols_share_a_grid(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.duckdb")
    late = bars("trade", 50, 1, 10.0)
    eth = Rows("candles", late.data, {**late.constants, "symbol": "ETH/USDT:USDT"})
    store.write([*everything(), Batch((eth,), ())])
    m = store.market([BTC, "ETHUSDT"], "1m")
    assert m.close.shape == (N, 2)
    assert m.close[3].tolist() == [1003.5, 13.5]
    assert np.isnan(m.close[50:, 1]).all()
    assert m["ETHUSDT"].close[3] == 13.5


def test_gaps_make_silence_unknown(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.duckdb")
    gap = pd.DataFrame({"ts": [at(20)], "until": [at(22)]})
    rows = Rows("gaps", gap, {"venue": "binance", "symbol": "*", "feed_table": "liquidations"})
    store.write([*everything(), Batch((rows,), ())])
    m = store.market(BTC, "1m")
    assert np.isnan(m.liq_long[[20, 21]]).all()
    assert m.liq_long[[19, 22]].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("symbols", "interval", "kwargs", "message"),
    [
        ("BTCUSD", "1m", {}, "did you mean BTC/USDT:USDT"),
        ("BTCUSDT", "1m", {"venue": "binanc"}, "did you mean binance"),
        ("BTCUSDT", "30s", {}, "no candles that make 30s bars are stored .*1m"),
        ("BTCUSDT", "1m", {"as_of": "2020-01-01"}, "no trade candles known by 2020-01-01"),
    ],
)
def test_mistakes_say_what_there_is(
    store: Store, symbols: str, interval: str, kwargs: dict[str, str], message: str
) -> None:
    with pytest.raises(NotFound, match=message):
        store.market(symbols, interval, **kwargs)


def test_an_empty_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is none yet"):
        Store(tmp_path / "s.duckdb").market("BTCUSDT", "1m")


def test_intervals_in_the_store_may_differ(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.duckdb")
    store.write(Batch((bars("trade", 10, 60, 100.0), bars("trade", 40, 15, 100.0)), ()))
    assert store.market(BTC, "1h").interval == HOUR
    assert store.market(BTC, "30m").interval == 30 * MINUTE
    assert len(store.market(BTC, "30m")) == 20


# ---- lakes ---------------------------------------------------------------------------------------------------------


def test_a_lake_of_a_part_knows_what_was_known_at_its_start(store: Store, tmp_path: Path) -> None:
    store.export(tmp_path / "part", symbol=BTC, venue="binance", start=at(250), end=at(400))
    part, whole = Store(tmp_path / "part").market(BTC, "1m"), store.market(BTC, "1m", at(250), at(400))
    assert len(part.tiers_at(at(260))) == 2
    for name in ("funding_8h", "open_interest", "ratio_top_positions", "bid_depth_1pct", "close"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name), err_msg=name)


def test_a_lake_grows_by_further_exports(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.duckdb")
    (batch,) = everything()
    eth = tuple(Rows(r.table, r.data, {**r.constants, "symbol": "ETH/USDT:USDT"}, r.lag_s) for r in batch.rows)
    gap = pd.DataFrame({"ts": [at(20)], "until": [at(22)]})
    outage = Rows("gaps", gap, {"venue": "binance", "symbol": "*", "feed_table": "liquidations"})
    store.write([batch, Batch(eth, batch.origins), Batch((outage,), ())])
    for symbol in (BTC, "ETH/USDT:USDT"):
        store.export(tmp_path / "lake", symbol=symbol, venue="binance")
    for first, stop in ((0, 100), (100, 300)):
        store.export(tmp_path / "lake", symbol=BTC, venue="binance", start=at(first), end=at(stop))
    lake = Store(tmp_path / "lake")
    for symbol in (BTC, "ETH/USDT:USDT"):
        assert lake.market(symbol, "1m").hash == store.market(symbol, "1m").hash
    assert lake.fingerprint() == store.fingerprint()


def test_an_interrupted_export_is_refused_and_can_be_finished(store: Store, tmp_path: Path) -> None:
    store.export(tmp_path / "lake")
    mark = tmp_path / "lake" / "unwind-lake.json"
    mark.write_text(mark.read_text().replace("true", "false"))
    with pytest.raises(StoreVersion, match="export was interrupted; run the same unwind export again"):
        Store(tmp_path / "lake")
    store.export(tmp_path / "lake")
    assert Store(tmp_path / "lake").fingerprint() == store.fingerprint()


def test_a_lake_s_path_is_taken_as_it_stands(store: Store, tmp_path: Path) -> None:
    for name in ("la[1]ke", "la*ke", "lake"):
        store.export(tmp_path / name)
    assert Store(tmp_path / "la[1]ke").fingerprint() == store.fingerprint()
    assert Store(tmp_path / "la*ke").fingerprint() == store.fingerprint()


def test_a_lake_imported_again_puts_its_rows_back(store: Store, lake: Store, tmp_path: Path) -> None:
    back = Store(tmp_path / "back.duckdb")
    back.import_lake(lake.path)
    wrong = bars("trade", 5, 1, 5000.0)
    back.write(Batch((wrong,), (Origin("test", "wrong"),)))
    assert back.fingerprint() != store.fingerprint()
    back.import_lake(lake.path)
    assert back.table("candles")["close"].max() < 5000.0


# ---- what a feed covers, and eras ----------------------------------------------------------------------------------


def test_a_file_of_events_speaks_for_its_own_time_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.duckdb")
    store.write(Batch((bars("trade", N, 1, 1000.0),), ()))

    def events(*minutes: float) -> None:
        frame = pd.DataFrame({"ts": [at(m) for m in minutes], "event_id": [str(m) for m in minutes]})
        rest = {"position": "long", "price": 1.0, "price_kind": "average", "quantity": 2.0, "feed": "unknown"}
        store.write(Batch((Rows("liquidations", frame, {**KEY, **rest}),), ()))

    events(10, 19.9)
    first = store.market(BTC, "1m").liq_long
    assert first[[10, 15]].tolist() == [2.0, 0.0]
    assert np.isnan(first[20:]).all()
    events(50, 59.9)
    second = store.market(BTC, "1m").liq_long
    np.testing.assert_array_equal(second[:50], first[:50])
    assert second[55] == 0.0


def test_events_stamped_in_utc_cover_their_time_too(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.duckdb")
    store.write(Batch((bars("trade", N, 1, 1000.0),), ()))
    frame = pd.DataFrame({"ts": [at(10).tz_localize("UTC"), at(20.5).tz_localize("UTC")], "event_id": ["a", "b"]})
    rest = {"position": "short", "price": 1.0, "price_kind": "average", "quantity": 2.0, "feed": "unknown"}
    store.write(Batch((Rows("liquidations", frame, {**KEY, **rest}),), ()))
    m = store.market(BTC, "1m")
    assert m.liq_short[[10, 15]].tolist() == [2.0, 0.0]


def test_the_interval_that_covers_the_time_asked_for_is_taken(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.duckdb")
    hourly = bars("trade", 10, 60, 100.0)
    old = Rows("candles", hourly.data.assign(ts=lambda f: f["ts"] - pd.Timedelta("365D")), hourly.constants)
    store.write([Batch((bars("trade", N, 1, 1000.0),), ()), Batch((old,), ())])
    m = store.market(BTC, "1h", at(0), at(N))
    assert m.present.all()
    assert m.close[0] == 1059.5
