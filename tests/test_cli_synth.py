"""`unwind synth`: a simulated history in the store, whole, true, and the same however it got there."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from backtest import Account, simulate
from backtest.cli import main
from backtest.cli.synth_rows import BANDS, Recorder
from backtest.cli.synth_source import Synthetic, parts_of
from backtest.compiled import CROWD_NOTICE
from backtest.crowd import truth
from backtest.crowd.kernel import layout as at
from backtest.crowd.machine import History
from backtest.crowd.market import Simulated
from data import quality
from data.clock import DAY, HOUR, MINUTE, SECOND
from data.ingest import NoProgress, Report, ingest
from data.rows import Rows
from data.schema import TABLES
from data.store import Store

MARKET = Simulated(days=10, symbols=2, accounts=3_000)
AURUM, BERYL = MARKET.names
PART_DAYS = 2
STEPS = 10 * 1440
SETTLEMENTS = (30, 9 + 24 + 9)  # the second coin has four hours from the third day to the seventh

Array = np.ndarray[Any, Any]


def fill(path: Path, market: Simulated = MARKET, **options: Any) -> Report:
    return ingest(Synthetic(market, **({"part_days": PART_DAYS} | options)), Store(path))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("synth") / "sim.duckdb"
    assert fill(made).files == len(Synthetic(MARKET, part_days=PART_DAYS)) == 10
    return made


@pytest.fixture(scope="module")
def store(path: Path) -> Store:
    return Store(path, read_only=True)


@pytest.fixture(scope="module")
def histories() -> list[History]:
    """What the machine says, in one piece."""
    return [next(MARKET.run(number).parts(MARKET.days)) for number in range(2)]


def rows(store: Store, table: str, symbol: str, where: str = "TRUE") -> dict[str, Array]:
    """Columns of one symbol in the order of time; times in nanoseconds since the start."""
    order = TABLES[table].time
    found = store.query(f"SELECT * FROM {table} WHERE symbol = ? AND {where} ORDER BY {order}", [symbol])
    out = {name: found.column(name).to_numpy(zero_copy_only=False) for name in found.column_names}
    for name, values in out.items():
        if values.dtype.kind == "M":
            out[name] = values.astype("datetime64[ns]").astype(np.int64) - MARKET.start
    return out


def candles(store: Store, symbol: str, price: str) -> dict[str, Array]:
    return rows(store, "candles", symbol, f"price = '{price}'")


# ---- the store as a whole --------------------------------------------------------------------------


def test_the_market_holds_every_field(store: Store) -> None:
    market = store.market([AURUM, BERYL], "1m", venue="sim")
    assert market.warnings == []
    assert len(market.close) == STEPS
    for field in market.coverage.fields:
        assert field.share == 1.0, field
    for one, count in zip(market.coverage.symbols, SETTLEMENTS, strict=True):
        assert one.settlements_found == one.settlements_expected == count


def test_nothing_is_wrong_with_it(store: Store) -> None:
    found = [(f.check, f.symbol) for f in quality.check(store)]
    assert found == [("funding_interval", BERYL)]  # which did change


def test_every_table_of_a_venue_is_filled(store: Store) -> None:
    filled = {name for name in TABLES if store.query(f"SELECT count(*) AS n FROM {name}").to_pylist()[0]["n"]}
    assert filled == set(TABLES) - {"liquidation_bars", "adl", "gaps", "marks", "raw", "trials"}


def test_every_part_says_what_it_covers(store: Store) -> None:
    """An hour without an event is an hour without one, not one of which nobody knows."""
    for table in ("liquidations", "adl"):
        for symbol in MARKET.names:
            found = store.query(
                "SELECT covers_from, covers_to FROM ingests WHERE table_name = ? AND symbols = [?] ORDER BY 1",
                [table, symbol],
            ).to_pandas()
            assert len(found) == 5
            assert found["covers_from"][0].value == MARKET.start
            assert found["covers_to"][4].value == MARKET.end
            assert (found["covers_to"][:-1].to_numpy() == found["covers_from"][1:].to_numpy()).all()


def test_simulate_runs_on_it(store: Store) -> None:
    market = store.market(BERYL, "1m", venue="sim")
    held = simulate(market, exposure=1.0, venue="sim")
    assert len(held.fundings) == SETTLEMENTS[1] - 1  # it holds nothing at the first
    careless = simulate(market, exposure=40.0, venue="sim", account=Account(leverage=50))
    assert len(careless.liquidations) > 0
    assert not any("no profile" in warning for warning in careless.warnings)


# ---- candles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(("price", "first"), [("trade", at.T_OPEN), ("mark", at.M_OPEN), ("index", at.I_OPEN)])
def test_prices_are_the_machines_in_ticks(
    store: Store, histories: list[History], number: int, price: str, first: int
) -> None:
    bars, coin = candles(store, MARKET.names[number], price), MARKET.world(number).coin
    step = coin.tick if price == "trade" else coin.tick / 10
    assert (bars["ts"] == np.arange(STEPS) * MINUTE).all()
    for i, name in enumerate(("open", "high", "low", "close")):
        assert np.abs(bars[name] - histories[number].bars[:, first + i]).max() <= 0.5001 * step
        assert np.abs(bars[name] / step - np.round(bars[name] / step)).max() < 1e-4
    assert (bars["high"] >= np.maximum(bars["open"], bars["close"])).all()
    assert (bars["low"] <= np.minimum(bars["open"], bars["close"])).all()
    if price == "trade":
        assert (bars["open"][1:] == bars["close"][:-1]).all()  # where parts meet, too


def test_the_premium_index_is_a_sample_a_minute(store: Store, histories: list[History]) -> None:
    bars = candles(store, AURUM, "premium")
    assert bars["close"] == pytest.approx(histories[0].bars[:, at.PREM], abs=1e-8)
    assert (bars["open"][1:] == bars["close"][:-1]).all()
    assert (bars["high"] == np.maximum(bars["open"], bars["close"])).all()


@pytest.mark.parametrize("number", [0, 1])
def test_volume_holds_the_crowds_and_follows_volatility(store: Store, histories: list[History], number: int) -> None:
    trade, bars, coin = candles(store, MARKET.names[number], "trade"), histories[number].bars, MARKET.world(number).coin
    bought, sold = trade["taker_buy_volume"], trade["volume"] - trade["taker_buy_volume"]
    assert (bought >= bars[:, at.BOUGHT] - coin.lot).all()
    assert (sold >= bars[:, at.SOLD] - 2 * coin.lot).all()
    assert (trade["trades"] >= 1).all()
    for quote, base in (("quote_volume", "volume"), ("taker_buy_quote_volume", "taker_buy_volume")):
        paid = trade[quote] / trade[base]
        assert (paid <= trade["high"] * (1 + 1e-9)).all()
        assert (paid >= trade["low"] * (1 - 1e-9)).all()
    a_day = trade["quote_volume"].sum() / MARKET.days
    assert 0.5 < a_day / coin.volume < 2.0
    moves = np.log(trade["close"] / trade["open"])
    by_hour = [x.reshape(-1, 60) for x in (moves, trade["volume"])]
    assert np.corrcoef(by_hour[0].std(axis=1), by_hour[1].sum(axis=1))[0, 1] > 0.5
    assert np.corrcoef(moves, bought / trade["volume"])[0, 1] > 0.5


# ---- what is settled and what happens ----------------------------------------------------------------


@pytest.mark.parametrize(("number", "count"), list(enumerate(SETTLEMENTS)))
def test_settlements_are_stamped_and_spaced_as_they_were(
    store: Store, histories: list[History], number: int, count: int
) -> None:
    settled, history = rows(store, "funding", MARKET.names[number]), histories[number]
    assert len(settled["ts"]) == count
    assert settled["ts"][0] == 0
    assert (settled["ts"][1:] == history.settled[:-1] * MINUTE).all()  # that of the last instant has no bar
    assert settled["rate"][1:] == pytest.approx(history.rate[:-1], abs=1e-8)
    assert (np.diff(settled["ts"]) == settled["interval_hours"][1:] * HOUR).all()
    assert set(settled["interval_hours"]) == ({8.0} if number == 0 else {8.0, 4.0})
    marks = candles(store, MARKET.names[number], "mark")
    assert (settled["price"][1:] == marks["close"][settled["ts"][1:] // MINUTE - 1]).all()


@pytest.mark.parametrize("number", [0, 1])
def test_every_liquidation_is_an_event_of_its_minute(store: Store, histories: list[History], number: int) -> None:
    symbol, bars = MARKET.names[number], histories[number].bars
    found = rows(store, "liquidations", symbol)
    told = histories[number].events
    told = told[told[:, at.E_KIND] == at.LIQUIDATION_EVENT]
    assert len(found["ts"]) == len(told) > 100
    order = found["event_id"].astype(np.int64)
    assert sorted(order) == list(range(1, len(told) + 1))
    by_event = np.argsort(order)
    ts = found["ts"][by_event]
    assert (ts // MINUTE == told[:, at.E_STEP]).all()
    assert (np.diff(ts) > 0).all()  # in the order in which they came, no two at once
    assert set(found["price_kind"]) == {"bankruptcy"}  # venue sim takes every position over
    assert set(found["feed"]) == {"complete"}
    minute = found["ts"] // MINUTE
    for side, column in (("long", at.LIQ_LONG), ("short", at.LIQ_SHORT)):
        mine = found["position"] == side
        forced = np.bincount(minute[mine], found["notional"][mine], minlength=STEPS)
        there = bars[:, column] > 0.0
        assert (there == (forced > 0.0)).all()
        assert forced[there] == pytest.approx(bars[there, column], rel=0.35)  # theirs is at the mark
        assert forced.sum() == pytest.approx(bars[:, column].sum(), rel=0.03)


def test_deleveraging_is_summed_up_by_minute_and_side() -> None:
    run = MARKET.run(0)
    history = next(run.parts(1))
    #          step, kind, account, quantity, price, mark
    events = [
        (5, at.ADL_EVENT, 1, -2.0, 90.0, 80.0),
        (5, at.WAVE_EVENT, 0, 1.0, 1.0, 1.0),
        (5, at.ADL_EVENT, 2, -1.0, 93.0, 80.0),
        (5, at.ADL_EVENT, 3, 1.0, 100.0, 101.0),
        (7, at.LIQUIDATION_EVENT, 4, 3.0, 70.0, 71.0),
        (9, at.ADL_EVENT, 5, 4.0, 100.0, 99.0),
    ]
    made = np.zeros((len(events), at.EVENT_COLUMNS))
    made[:, : len(events[0])] = events
    found = table(Recorder(run, 0).rows(dataclasses.replace(history, events=made)), "adl").sort("ts", "position")
    assert found["position"].to_list() == ["long", "short", "long"]
    assert found["quantity"].to_list() == [1.0, 3.0, 4.0]
    assert found["price"].to_list() == [100.0, 91.0, 100.0]
    assert found["notional"].to_list() == [100.0, 273.0, 400.0]
    # shorts were closed above the mark: 2 x 10 + 1 x 13; the last longs above it, which costs them nothing
    assert found["deficit"].to_list() == [1.0, 33.0, 0.0]
    assert (found["known_at"] == found["ended"]).all()
    assert (found["ended"] - found["ts"]).to_list() == [pl.Series([MINUTE // 1000]).cast(pl.Duration("us"))[0]] * 3
    assert found["event_id"].is_unique().all()


def table(found: tuple[Rows, ...], name: str) -> pl.DataFrame:
    return next(r.data for r in found if r.table == name)


def test_what_is_sent_to_the_book_has_its_average_price() -> None:
    run = MARKET.run(0)
    history = next(run.parts(1))
    made = np.zeros((2, at.EVENT_COLUMNS))
    made[:, at.E_KIND] = at.LIQUIDATION_EVENT
    made[:, at.E_QUANTITY], made[:, at.E_PRICE], made[:, at.E_BANKRUPT] = (1.5, -2.5), 90.0, (90.0, 91.0)
    found = table(Recorder(run, 0).rows(dataclasses.replace(history, events=made)), "liquidations")
    assert found["price_kind"].to_list() == ["bankruptcy", "average"]
    assert found["position"].to_list() == ["long", "short"]
    assert found["quantity"].to_list() == [1.5, 2.5]
    seconds = [t.second for t in found["ts"].to_list()]
    assert seconds == [15, 45]


# ---- snapshots ---------------------------------------------------------------------------------------


def test_snapshots_say_what_was_known_at_their_stamp(store: Store, histories: list[History]) -> None:
    bars = histories[1].bars
    interest = rows(store, "open_interest", BERYL)
    assert (interest["ts"] == np.arange(0, STEPS, 5) * MINUTE).all()
    assert interest["quantity"][1:] == pytest.approx(bars[4:-1:5, at.OI], abs=0.001)
    assert interest["value"] == pytest.approx(interest["quantity"] * _before(bars, at.M_CLOSE, interest), rel=1e-3)
    for kind, column in (
        ("accounts", at.SHARE_LONG), ("top_accounts", at.SHARE_TOP), ("top_positions", at.SHARE_TOP_SIZE),
    ):  # fmt: skip
        share = rows(store, "ratios", BERYL, f"kind = '{kind}'")
        assert (share["ts"] == interest["ts"]).all()
        assert share["long"][1:] == pytest.approx(bars[0:-5:5, column], abs=1e-4)
        assert share["long"] + share["short"] == pytest.approx(1.0)
        assert share["ratio"] == pytest.approx(share["long"] / share["short"], abs=1e-3)
    trade = candles(store, BERYL, "trade")
    taker = rows(store, "ratios", BERYL, "kind = 'taker_volume'")
    five = trade["taker_buy_volume"].reshape(-1, 5).sum(axis=1)[:-1]
    assert taker["long"][1:] == pytest.approx(five)  # across parts, too
    assert taker["long"][1:] + taker["short"][1:] == pytest.approx(trade["volume"].reshape(-1, 5).sum(axis=1)[:-1])


def _before(bars: Array, column: int, snapshots: dict[str, Array]) -> Array:
    """Of the step before each snapshot; the first snapshot's own is not in the history."""
    step = snapshots["ts"] // MINUTE - 1
    return np.where(step < 0, bars[0, column - 3], bars[step, column])


def test_depth_is_the_machines_within_one_percent_and_grows_with_the_distance(
    store: Store, histories: list[History]
) -> None:
    bars = histories[0].bars
    for percent, column in ((-1.0, at.DEPTH_BID), (1.0, at.DEPTH_ASK)):
        one = rows(store, "depth", AURUM, f"percent = {percent}")
        assert one["notional"][1:] == pytest.approx(bars[4:-1:5, column], abs=0.01)
    found = store.query("SELECT * FROM depth WHERE symbol = ? ORDER BY ts, abs(percent)", [AURUM]).to_pandas()
    assert sorted(found["percent"].unique()) == sorted(BANDS)
    for side in (found[found["percent"] < 0], found[found["percent"] > 0]):
        by_band = side["notional"].to_numpy().reshape(-1, 4)
        assert (np.diff(by_band, axis=1) > 0).all()
    price = np.repeat(_before(bars, at.T_CLOSE, {"ts": np.arange(0, STEPS, 5) * MINUTE}), len(BANDS))
    paid = (found["notional"] / found["quantity"]).to_numpy()
    assert paid == pytest.approx(price * (1.0 + found["percent"].to_numpy() / 200.0), rel=1e-3)  # mid of the band


def test_the_fund_is_told_hourly(store: Store, histories: list[History]) -> None:
    found = store.query("SELECT * FROM insurance WHERE fund = 'AURUMUSDT' ORDER BY ts").to_pandas()
    assert len(found) == MARKET.days * 24
    assert found["balance"][1:].to_numpy() == pytest.approx(histories[0].bars[59:-1:60, at.FUND_BALANCE], abs=0.01)


# ---- terms and truth -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("day", "table"), [(0, 0), (3, 0), (4, 1), (7, 1), (8, 2), (9, 2)])
def test_tiers_by_date_are_those_of_the_machine(store: Store, day: int, table: int) -> None:
    expected = MARKET.tiers(1)[table][1]
    found = store.tiers(BERYL, np.datetime64(MARKET.start + day * DAY, "ns"), venue="sim")
    for name in ("floor", "mmr", "max_leverage", "cum"):
        assert found[name].tolist() == [getattr(t, name) for t in expected]
    assert found["cap"].tolist()[:-1] == [t.cap for t in expected[:-1]]
    assert found["cap"].isna().tolist()[-1]  # without bound


def test_terms_of_the_contracts(store: Store) -> None:
    found = store.instruments("2023-01-06", venue="sim")
    assert found["symbol"].tolist() == [AURUM, BERYL]
    for i, number in enumerate(range(2)):
        coin = MARKET.world(number).coin
        assert (found["tick_size"][i], found["lot_size"][i]) == (coin.tick, coin.lot)


@pytest.mark.parametrize("number", [0, 1])
def test_the_truth_is_that_of_the_machine(store: Store, histories: list[History], number: int) -> None:
    symbol, history = MARKET.names[number], histories[number]
    expected = truth.cascades(history)
    found = rows(store, "truth", symbol, "kind = 'cascade'")
    assert (found["ts"] // MINUTE == expected.start).all()
    assert (found["until"] // MINUTE == expected.end).all()
    assert found["value"] == pytest.approx(expected.size)
    sides = np.where(expected.side > 0, "long", "short")
    causes = np.where(expected.news, "news", "endogenous")
    assert found["label"].tolist() == [f"{cause} {side}" for cause, side in zip(causes, sides, strict=True)]
    assert (found["ts"] >= 0).all()
    assert (found["until"] <= MARKET.days * DAY).all()
    for kind in ("fragility", "leverage"):
        hourly = rows(store, "truth", symbol, f"kind = '{kind}'")
        assert (hourly["ts"] == np.arange(MARKET.days * 24) * HOUR).all()
        assert (hourly["until"] - hourly["ts"] == HOUR).all()
        assert np.isfinite(hourly["value"]).all()
    assert hourly["value"] == pytest.approx(history.bars[55::60, at.LEVER])


@pytest.mark.parametrize("symbol", MARKET.names)
def test_phases_cover_the_span_without_gap_or_overlap(store: Store, histories: list[History], symbol: str) -> None:
    found = rows(store, "truth", symbol, "kind = 'phase'")
    assert found["ts"][0] == 0
    assert found["until"][-1] == MARKET.days * DAY
    assert (found["ts"][1:] == found["until"][:-1]).all()
    assert (found["label"][1:] != found["label"][:-1]).all()
    assert set(found["label"]) <= set(truth.PHASES)
    history = histories[MARKET.names.index(symbol)]
    codes = truth.phases(history, truth.cascades(history))
    hours = np.repeat(found["label"], (found["until"] - found["ts"]) // HOUR)
    assert hours.tolist() == [truth.PHASES[code] for code in codes]


def test_two_cascades_of_one_minute_are_both_kept(store: Store) -> None:
    """The key of the table has no side."""
    one = np.array([100, 100, 130])
    found = truth.Cascades(one, one + 9, np.array([-1, 1, 1]), one > 120, one / 1e3, one / 1e4, one)
    columns = Recorder(MARKET.run(0), 0)._cascades(0, found)
    ts = columns["ts"].astype("datetime64[ns]").astype(np.int64) - MARKET.start
    assert ts.tolist() == [100 * MINUTE, 100 * MINUTE + SECOND, 130 * MINUTE]
    assert columns["label"].tolist() == ["endogenous short", "endogenous long", "news long"]


# ---- the same, however it got there --------------------------------------------------------------------


SHORT = dataclasses.replace(MARKET, days=6)  # three parts a coin, and other terms of the second from the third day on


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("short") / "sim.duckdb"
    assert fill(made, SHORT).files == 6
    return made


def test_threads_and_parts_make_no_difference(short: Path, tmp_path: Path) -> None:
    expected = Store(short).fingerprint()
    for name, options in (
        ("one after the other, whole", {"at_a_time": 1, "part_days": 30}),
        ("six threads, day by day", {"at_a_time": 6, "part_days": 1}),
    ):
        fill(tmp_path / name, SHORT, **options)
        assert Store(tmp_path / name).fingerprint() == expected, name


def test_a_coin_more_leaves_the_others_as_they_were(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(path.read_bytes())
    before = Store(copy).query("SELECT * FROM candles WHERE symbol <> 'CUPRITE/USDT:USDT' ORDER BY ALL")
    report = fill(copy, dataclasses.replace(MARKET, symbols=3))
    assert (report.skipped, report.files, report.written.changed) == (10, 5, 0)
    assert Store(copy).query("SELECT * FROM candles WHERE symbol <> 'CUPRITE/USDT:USDT' ORDER BY ALL") == before


def test_a_second_time_nothing_is_simulated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nothing is to be simulated")

    before = Store(path).fingerprint()
    monkeypatch.setattr(Simulated, "run", refuse)
    report = fill(path)
    assert (report.files, report.skipped) == (0, 10)
    assert Store(path).fingerprint() == before


KILLED = """
import os, signal, sys
from backtest.cli.synth_source import Synthetic
from backtest.crowd.market import Simulated
from data.ingest import ingest
from data.store import Store

class Killer:
    done = 0
    def advance(self, files, rows):
        self.done += files
        if self.done >= int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

market = Simulated(days=6, symbols=2, accounts=3_000)
ingest(Synthetic(market, part_days=2), Store(sys.argv[1]), transaction_rows=1, progress=Killer())
"""


@pytest.mark.kill
@pytest.mark.parametrize("after", [1, 4])
def test_killed_it_goes_on_where_it_stopped(short: Path, tmp_path: Path, after: int) -> None:
    half = tmp_path / "half.duckdb"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(half), str(after)], capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr
    names = Store(half).query("SELECT DISTINCT origin FROM ingests").column("origin").to_pylist()
    assert len(names) == after
    report = fill(half, SHORT)
    assert (report.skipped, report.files, report.written.changed) == (after, 6 - after, 0)
    assert Store(half).fingerprint() == Store(short).fingerprint()


def test_parts_may_be_asked_for_in_any_order() -> None:
    """Threads ask nearly in order; whoever asks late gets the same, if need be from a new run."""
    market = dataclasses.replace(MARKET, symbols=1, days=4)
    in_order = [piece.read() for piece in Synthetic(market, part_days=1)]
    pieces = list(Synthetic(market, part_days=1))
    for index in (1, 0, 3, 2, 0, 3):
        batch = pieces[index].read()
        assert batch.origins == in_order[index].origins
        for a, b in zip(batch.rows, in_order[index].rows, strict=True):
            assert a.data.equals(b.data, null_equal=True), (index, a.table)


def test_a_piece_says_beforehand_what_it_fills() -> None:
    for piece in Synthetic(dataclasses.replace(MARKET, symbols=1), part_days=PART_DAYS):
        assert piece.tables == tuple(dict.fromkeys(r.table for r in piece.read().rows))


# ---- the command ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    db = tmp_path_factory.mktemp("verb") / "sim.duckdb"
    assert main(words(db)) == 0
    return db


def words(db: Path, *flags: str, **other: str) -> list[str]:
    options = {"years": "0.01", "accounts": "1000", "db": str(db)} | other
    return ["synth", *(word for name, value in options.items() for word in (f"--{name}", value)), *flags]


def test_it_says_what_became_of_each_coin(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(made, "--json")) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["arguments"] == "start=2023-01-06 days=4 seed=7 accounts=1000"
    assert (facts["files"], facts["skipped"], facts["new"]) == (0, 2, 0)
    assert facts["stored"]["symbols"] == 2
    assert facts["stored"]["last"] == "2023-01-09T23:59:00"
    store = Store(made)
    for told, symbol in zip(facts["symbols"], (AURUM, BERYL), strict=True):
        bars = store.query("SELECT * FROM candles WHERE symbol = ? AND price = 'trade' ORDER BY ts", [symbol])
        close = bars.column("close").to_numpy()
        assert told["price_change"] == pytest.approx(close[-1] / bars.column("open")[0].as_py() - 1.0)
        hourly = np.diff(np.log(close[59::60]))
        assert told["volatility"] == pytest.approx(hourly.std(ddof=1) * np.sqrt(24 * 365))
        forced = store.table("liquidations", symbol=symbol)
        assert told["liquidations"] == len(forced) > 0
        assert told["liquidated"] == pytest.approx(forced["notional"].sum())
        assert told["cascades"] == told["endogenous"] + told["news"]


def test_it_says_so_in_words(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(made)) == 0
    said = capsys.readouterr().out
    assert "nothing in it ever happened" in said
    assert "All of it was stored before" in said
    assert AURUM in said
    assert "2 symbols, 2023-01-06 to 2023-01-09 23:59" in said


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", "--help"]) == 0
    said = capsys.readouterr().out
    for option in ("--years", "--symbols", "--seed", "--start", "--accounts", "--db", "--json"):
        assert option in said
    assert "unwind synth --years 3 --symbols 4 --seed 7" in said


@pytest.mark.parametrize(
    "other",
    [{"seed": "8"}, {"years": "0.02"}, {"start": "2023-01-07"}, {"accounts": "1001"}],
)
def test_another_history_is_refused(made: Path, capsys: pytest.CaptureFixture[str], other: dict[str, str]) -> None:
    before = Store(made).fingerprint()
    assert main(words(made, **other)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(made) in said
    assert "(start=2023-01-06 days=4 seed=7 accounts=1000)" in said
    assert "--db" in said
    assert Store(made).fingerprint() == before


def test_that_of_another_version_is_refused(
    made: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest.cli.synth_source.recipe", lambda *_: "another")
    assert main(words(made)) == 2
    assert "another version of Unwind" in capsys.readouterr().err


def test_rows_of_the_venue_from_elsewhere_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rates.csv").write_text("ts,rate\n2023-01-06,0.0001\n")
    own = ["--table", "funding", "--venue", "sim", "--symbol", "AURUMUSDT", "--unit", "fraction"]
    db = tmp_path / "mine.duckdb"
    assert main(["import", "file", str(tmp_path / "rates.csv"), *own, "--db", str(db)]) == 0
    capsys.readouterr()
    assert main(words(db)) == 2
    assert "rates.csv" in capsys.readouterr().err


def test_an_imported_lake_does_not_say_which_version_made_it(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store(made).export(tmp_path / "lake")
    back = tmp_path / "back.duckdb"
    Store(back).import_lake(tmp_path / "lake")
    assert Store(back).fingerprint() == Store(made).fingerprint()
    assert main(words(back)) == 2
    assert "holds rows of venue sim from lake" in capsys.readouterr().err


def test_a_lake_is_refused_before_anything_is_simulated(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store(made).export(tmp_path / "lake")
    assert main(words(tmp_path / "lake")) == 2
    assert "name a file with --db" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"symbols": "0"}, "1 to 6 symbols"),
        ({"symbols": "99"}, "1 to 6 symbols"),
        ({"years": "-1"}, "years=-1: write a number"),
        ({"years": "0.001"}, "years=0.001: write a number"),
        ({"years": "11"}, "years=11: write a number"),
        ({"years": "nan"}, "years=nan: write a number"),
        ({"seed": "-7"}, "at least 0"),
        ({"accounts": "5"}, "at least 100"),
        ({"start": "soon"}, "'soon' is no time"),
        ({"start": "2023-01-06T12:00"}, "write a day"),
        ({"start": "1999-01-01"}, "from 2010-01-01"),
        ({"symbols": "two"}, "--symbols"),
    ],
)
def test_a_mistake_is_a_line_and_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, str], said: str
) -> None:
    assert main(words(tmp_path / "new.duckdb", **wrong)) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert not (tmp_path / "new.duckdb").exists()


def test_a_bar_is_drawn_on_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int | None] = []

    class Bar(NoProgress):
        @classmethod
        def of(cls, source: Synthetic) -> Bar:
            drawn.append(len(source))
            return cls()

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            drawn.append(None)

    monkeypatch.setattr("data.ingest.TqdmProgress", Bar)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    db = tmp_path / "sim.duckdb"
    assert main(words(db, symbols="1")) == 0
    assert main(words(db, "--json", symbols="1")) == 0  # not for programs
    assert drawn == [1, None]


def test_it_warns_before_the_venue_is_compiled(path: Path, tmp_path: Path) -> None:
    """`path` has compiled it. Another folder of compiled code is empty."""
    code = "from backtest.compiled import announce_crowd; announce_crowd(); announce_crowd()"
    for there, said in (({}, ""), ({"NUMBA_CACHE_DIR": str(tmp_path)}, f"{CROWD_NOTICE}\n")):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env=os.environ | there,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == said


def test_parts_are_thirty_days_and_join() -> None:
    parts = parts_of(Simulated(days=365), 0)
    spans = [p.covers for p in parts]
    assert len(parts) == 13
    assert all(end == begin for (_, end), (begin, _) in itertools.pairwise(spans))
    assert [p.is_last for p in parts] == [False] * 12 + [True]
    assert len({p.origin.sha256 for p in parts}) == 13


@pytest.fixture(autouse=True)
def _no_default_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("UNWIND_DB", str(tmp_path / "default.duckdb"))
    yield
    assert not (tmp_path / "default.duckdb").exists()
