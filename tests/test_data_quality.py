"""Each check finds exactly its own defect, clean data give no finding, and the quick checks agree with slow ones."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from data import clock, quality
from data.checks import candles as candle_checks
from data.errors import NotFound
from data.quality import Level
from data.rows import Batch, Origin, Rows
from data.store import Store

BTC = "BTC/USDT:USDT"
NOW = dt.datetime(2024, 6, 1)  # noqa: DTZ001 - naive UTC is the store's form
START = pd.Timestamp("2024-01-01")
BARS = 400

Frames = dict[str, pd.DataFrame]


def bars(n: int = BARS, freq: str = "1min", start: pd.Timestamp = START, level: float = 100.0) -> pd.DataFrame:
    """Bars that rise and fall by some thousandths."""
    close = level * (1 + 0.01 * np.sin(np.arange(n) / 25))
    open_ = np.concatenate([[level], close[:-1]])
    return pd.DataFrame(
        {
            "ts": pd.date_range(start, periods=n, freq=freq),
            "open": open_,
            "high": np.maximum(open_, close) * 1.0005,
            "low": np.minimum(open_, close) * 0.9995,
            "close": close,
        }
    )


def snapshots(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"ts": pd.date_range(START, periods=80, freq="5min"), "interval_s": 300, **columns})


def brackets(valid_from: str = "2023-12-01") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "valid_from": pd.Timestamp(valid_from),
            "tier": [1, 2, 3],
            "floor": [0.0, 50_000.0, 600_000.0],
            "cap": [50_000.0, 600_000.0, np.nan],
            "mmr": [0.004, 0.005, 0.01],
            "max_leverage": [125.0, 100.0, 50.0],
            "cum": [0.0, 50.0, 3_050.0],
        }
    )


def clean() -> Frames:
    kinds = [bars().assign(price=p, interval_s=60) for p in ("mark", "index")]
    trade = bars().assign(price="trade", interval_s=60, volume=5.0)
    premium = bars(level=-0.0005).assign(price="premium", interval_s=60)
    premium[["high", "low"]] = premium[["low", "high"]]  # the level is negative
    position = ["long", "short"] * 5
    events = pd.DataFrame({"ts": pd.date_range(START, periods=10, freq="30min"), "position": position})
    return {
        "candles": pd.concat([trade, *kinds, premium], ignore_index=True),
        "funding": pd.DataFrame({"ts": pd.date_range(START, periods=42, freq="8h"), "rate": 0.0001}),
        "open_interest": snapshots(quantity=10.0, value=1000.0),
        "ratios": snapshots(kind="accounts", ratio=1.5, long=0.6, short=0.4),
        "depth": pd.concat([snapshots(percent=p, quantity=1.0, notional=100.0) for p in (-1.0, 1.0)]),
        "liquidations": events.assign(price=100.0, price_kind="average", quantity=1.0, feed="complete", event_id=""),
        "tiers": brackets(),
        "instruments": pd.DataFrame({"valid_from": [pd.Timestamp("2020-01-01")], "contract": "linear"}),
    }


def write(store: Store, frames: Frames, days: tuple[int, ...] = (0, 1, 2), symbol: str = BTC) -> None:
    """Store the frames at once; liquidations are said to come from one file for each of the days."""
    begin = clock.moment(START)
    rows = tuple(Rows(name, frame, {"venue": "binance", "symbol": symbol}) for name, frame in frames.items())
    told = {"venue": "binance", "symbols": (symbol,)}
    origins = [Origin("test", name, tables=(name,), **told) for name in frames if name != "liquidations"]
    for day in days if "liquidations" in frames else ():
        covers = (begin + day * clock.DAY, begin + (day + 1) * clock.DAY)
        origins.append(Origin("test", f"day {day}", covers=covers, tables=("liquidations",), **told))
    store.write(Batch(rows, tuple(origins)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "s.duckdb")


def test_clean_data_give_no_finding(store: Store) -> None:
    write(store, clean())
    assert quality.check(store, now=NOW) == []


def test_an_empty_store_gives_no_finding(store: Store) -> None:
    assert quality.check(store, now=NOW) == []


# ---- one defect, one finding ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A defect and the one finding it must give: its check, level, count, span (minutes from the start) and words."""

    check: str
    level: Level
    count: int
    first: str
    last: str
    says: str
    spoil: Callable[[Frames], None] = lambda frames: None
    after: Callable[[Store], None] = lambda store: None  # for what the store itself would refuse or collapse
    days: tuple[int, ...] = (0, 1, 2)
    now: dt.datetime = NOW


def _bar(frames: Frames, price: str, i: int) -> int:
    """Row of bar i of a kind of price."""
    return int(frames["candles"].index[frames["candles"]["price"] == price][i])


def _set(price: str, i: int, **values: float) -> Callable[[Frames], None]:
    def spoil(frames: Frames) -> None:
        for column, value in values.items():
            frames["candles"].loc[_bar(frames, price, i), column] = value

    return spoil


def _without(table: str, *places: int) -> Callable[[Frames], None]:
    def spoil(frames: Frames) -> None:
        frames[table] = frames[table].reset_index(drop=True).drop(index=list(places))

    return spoil


def _columns(table: str, **values: Any) -> Callable[[Frames], None]:
    def spoil(frames: Frames) -> None:
        frames[table] = frames[table].assign(**values)

    return spoil


def _flat_mark(frames: Frames) -> None:
    rows = slice(_bar(frames, "mark", 120), _bar(frames, "mark", 159))
    frames["candles"].loc[rows, ["open", "high", "low", "close"]] = 99.5


def _far_mark(frames: Frames) -> None:
    rows = slice(_bar(frames, "mark", 60), _bar(frames, "mark", 61))
    frames["candles"].loc[rows, ["open", "high", "low", "close"]] *= 0.9


def _no_volume(frames: Frames) -> None:
    frames["candles"].loc[_bar(frames, "trade", 200) : _bar(frames, "trade", 240), "volume"] = 0.0


def _four_hourly(frames: Frames) -> None:
    late = pd.date_range("2024-01-10T04:00", periods=12, freq="4h")
    early = frames["funding"].loc[lambda f: f["ts"] <= "2024-01-10"]
    frames["funding"] = pd.concat([early, pd.DataFrame({"ts": late, "rate": 0.0001})])


def _settled_twice(frames: Frames) -> None:
    again = pd.DataFrame({"ts": [pd.Timestamp("2024-01-02T00:10")], "rate": 0.0001})
    frames["funding"] = pd.concat([frames["funding"], again]).sort_values("ts")


def _zero_interest(frames: Frames) -> None:
    frames["open_interest"].loc[[5, 6], ["quantity", "value"]] = 0.0


def _feed_down(frames: Frames) -> None:
    hours = {"ts": [START + pd.Timedelta(hours=1)], "until": [START + pd.Timedelta(hours=3)]}
    frames["gaps"] = pd.DataFrame({**hours, "feed_table": "liquidations", "reason": "reconnected"})


def _candles_alone(frames: Frames) -> None:
    for name in list(frames):
        if name != "candles":
            del frames[name]
    frames["candles"] = frames["candles"].loc[lambda f: f["price"] == "trade"]


def _insert_again(store: Store) -> None:
    with duckdb.connect(str(store.path)) as con:
        con.execute("INSERT INTO candles SELECT * FROM candles WHERE price = 'trade' AND ts < '2024-01-01 00:02'")


def _past_the_store(statement: str) -> Callable[[Store], None]:
    """A defect that the store itself refuses, such as an older version may have left."""

    def change(store: Store) -> None:
        with duckdb.connect(str(store.path)) as con:
            con.execute(statement)

    return change


def _change(store: Store) -> None:
    one = bars(5).assign(price="trade", interval_s=60, volume=6.0)
    write(store, {"candles": one})


CASES = (
    Case("duplicates", Level.ERROR, 2, "00:00", "00:01", "new store", after=_insert_again),
    Case(
        "future",
        Level.ERROR,
        2,
        "06:38",
        "06:39",
        "2 bars that have not ended",
        _candles_alone,
        now=dt.datetime(2024, 1, 1, 6, 37, 30),  # noqa: DTZ001
    ),
    Case("impossible_bars", Level.ERROR, 1, "01:40", "01:40", "trade 1m: 1 bar", _set("trade", 100, high=99.0)),
    Case("impossible_bars", Level.ERROR, 1, "00:07", "00:07", "index 1m: 1 bar", _set("index", 7, low=101.0)),
    Case("bad_prices", Level.ERROR, 1, "00:09", "00:09", "index 1m: 1 bar", _set("index", 9, low=0.0)),
    Case("bad_prices", Level.ERROR, 1, "00:09", "00:09", "price of zero or below", _set("mark", 9, low=-1.0)),
    Case(
        "gaps",
        Level.WARNING,
        3,
        "01:00",
        "02:10",
        "3 bars are missing in 2 places, the longest 2 bars from 2024-01-01 01:00",
        _without("candles", 60, 61, 130),
    ),
    Case("outliers", Level.WARNING, 1, "03:20", "03:20", "the largest 29%", _set("index", 200, high=130.4)),
    Case("stale_mark", Level.WARNING, 40, "02:00", "02:39", "for 40 bars from 2024-01-01 02:00", _flat_mark),
    Case("mark_far", Level.WARNING, 2, "01:00", "01:01", "the furthest -10.0%", _far_mark),
    Case("quiet_volume", Level.WARNING, 41, "03:20", "04:00", "for 41 bars from 2024-01-01 03:20", _no_volume),
    Case(
        "after_delisting",
        Level.WARNING,
        200,
        "05:00",
        "06:39",
        "the delisting of 2024-01-01 05:00",
        _columns("instruments", delisted=pd.Timestamp("2024-01-01T05:00")),
    ),
    Case("settlements_doubled", Level.ERROR, 1, "2024-01-02 00:10", "2024-01-02 00:10", "10 min", _settled_twice),
    Case(
        "settlements_missing",
        Level.WARNING,
        2,
        "2024-01-02 08:00",
        "2024-01-02 16:00",
        "the longest silence 1 d from 2024-01-02 00:00",
        _without("funding", 4, 5),
    ),
    Case(
        "funding_unit",
        Level.ERROR,
        42,
        "00:00",
        "2024-01-14 16:00",
        "looks like percent",
        _columns("funding", rate=0.01),
    ),
    Case(
        "funding_interval",
        Level.INFO,
        1,
        "2024-01-10 04:00",
        "2024-01-10 04:00",
        "from 8 h to 4 h",
        _four_hourly,
    ),
    Case(
        "tiers_broken",
        Level.ERROR,
        1,
        "2023-12-01 00:00",
        "2023-12-01 00:00",
        "tier 3 has cum 3,000, not 3,050",
        after=_past_the_store("UPDATE tiers SET cum = 3000 WHERE tier = 3"),
    ),
    Case(
        "tiers_broken",
        Level.ERROR,
        1,
        "2023-12-01 00:00",
        "2023-12-01 00:00",
        "tier 2 begins at 50,000, not at 40,000",
        after=_past_the_store("UPDATE tiers SET cap = 40000 WHERE tier = 1"),
    ),
    Case(
        "tiers_late",
        Level.WARNING,
        1,
        "00:00",
        "02:00",
        "tiers begin on 2024-01-01 02:00; bars before them",
        _columns("tiers", valid_from=pd.Timestamp("2024-01-01T02:00")),
    ),
    Case(
        "tiers_old",
        Level.INFO,
        1,
        "2022-12-01 00:00",
        "06:39",
        "the newest tiers are of 2022-12-01",
        _columns("tiers", valid_from=pd.Timestamp("2022-12-01")),
    ),
    Case(
        "pauses", Level.WARNING, 1, "00:45", "01:10", "5m snapshots: 1 pause", _without("open_interest", *range(10, 14))
    ),
    Case("pauses", Level.WARNING, 1, "00:45", "01:10", "accounts 5m snapshots", _without("ratios", *range(10, 14))),
    Case(
        "pauses",
        Level.WARNING,
        1,
        "00:45",
        "01:10",
        "5m snapshots: 1 pause",
        _without("depth", *range(10, 14), *range(90, 94)),
    ),
    Case("zero_open_interest", Level.WARNING, 2, "00:25", "00:30", "2 snapshots of zero", _zero_interest),
    Case("sampled", Level.INFO, 10, "00:00", "04:30", "lower bound", _columns("liquidations", feed="sampled")),
    Case("uncovered", Level.WARNING, 1, "2024-01-02 00:00", "2024-01-03 00:00", "1 d in all", days=(0, 2)),
    Case("feed_down", Level.WARNING, 1, "01:00", "03:00", "liquidations: the feed was down 1 time, 2 h", _feed_down),
    Case(
        "changed", Level.INFO, 5, "", "", "5 rows replaced by different ones in 1 import, last from test", after=_change
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.check}-{c.says[:12]}")
def test_a_defect_gives_its_finding_and_no_other(store: Store, case: Case) -> None:
    frames = clean()
    case.spoil(frames)
    write(store, frames, case.days)
    case.after(store)
    (found,) = quality.check(store, now=case.now)
    assert (found.check, found.level, found.count) == (case.check, case.level, case.count)
    assert (found.venue, found.symbol) == ("binance", BTC)
    if case.first:
        assert (found.first, found.last) == (_moment(case.first), _moment(case.last))
    assert case.says in found.message


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text if "-" in text else f"2024-01-01 {text}")


def test_every_check_has_a_case() -> None:
    assert {c.check for c in CASES} == {c.name for c in quality.CHECKS}


def test_every_rule_begins_with_the_level_of_its_findings() -> None:
    for c in quality.CHECKS:
        assert {case.level for case in CASES if case.check == c.name} == {c.level}
        assert c.rule


# ---- what is no defect ---------------------------------------------------------------------------------------------


def _silent(store: Store, frames: Frames, **options: Any) -> None:
    write(store, frames)
    assert quality.check(store, now=NOW, **options) == []


def test_a_move_that_stays_is_no_outlier(store: Store) -> None:
    frames = clean()
    late = frames["candles"]["ts"] >= START + pd.Timedelta(hours=3)
    real = frames["candles"]["price"] != "premium"
    frames["candles"].loc[late & real, ["open", "high", "low", "close"]] *= 0.7
    _silent(store, frames)


def test_a_wick_that_the_mark_shares_is_no_outlier(store: Store) -> None:
    frames = clean()
    for price in ("trade", "mark", "index"):
        _set(price, 200, low=60.0)(frames)
    _silent(store, frames)


def test_a_close_that_comes_back_is_an_outlier(store: Store) -> None:
    frames = clean()
    row = _bar(frames, "index", 200)
    frames["candles"].loc[row, ["high", "close"]] = 130.0
    frames["candles"].loc[row + 1, ["open", "high"]] = 130.0
    write(store, frames)
    (found,) = quality.check(store, now=NOW)
    assert (found.check, found.first) == ("outliers", _moment("03:20"))


def test_a_spike_of_many_symbols_at_once_is_one_finding(store: Store) -> None:
    frame = bars().assign(price="trade", interval_s=60, volume=5.0)
    frame.loc[200, "low"] = 60.0
    for i in range(6):
        write(store, {"candles": frame}, symbol=f"S{i}/USDT:USDT")
    (found,) = quality.check(store, now=NOW)
    assert (found.check, found.symbol, found.count) == ("outliers", "*", 6)


def test_a_still_mark_while_trades_stand_still_is_sound(store: Store) -> None:
    frames = clean()
    for price in ("trade", "mark", "index"):
        rows = slice(_bar(frames, price, 100), _bar(frames, price, 139))
        frames["candles"].loc[rows, ["open", "high", "low", "close"]] = 100.0
    _silent(store, frames)


def test_no_volume_without_moves_is_sound(store: Store) -> None:
    frames = clean()
    for price in ("trade", "mark", "index"):
        rows = slice(_bar(frames, price, 100), _bar(frames, price, 139))
        frames["candles"].loc[rows, ["open", "high", "low", "close"]] = 100.0
    frames["candles"].loc[_bar(frames, "trade", 100) : _bar(frames, "trade", 139), "volume"] = 0.0
    _silent(store, frames)


def test_open_interest_that_ends_in_zero_is_sound(store: Store) -> None:
    frames = clean()
    frames["open_interest"].loc[78:, ["quantity", "value"]] = 0.0  # settled
    _silent(store, frames)


def test_a_squeeze_of_a_few_days_is_not_taken_for_percent(store: Store) -> None:
    frames = clean()
    frames["funding"] = pd.DataFrame({"ts": pd.date_range(START, periods=90, freq="1h"), "rate": -0.01})
    _silent(store, frames)


def test_a_simulated_market_may_lie_in_the_future(store: Store) -> None:
    frame = bars(start=pd.Timestamp("2030-01-01")).assign(price="trade", interval_s=60, volume=5.0)
    constants = {"venue": "sim", "symbol": BTC}
    store.write(Batch((Rows("candles", frame, constants),), ()))
    assert quality.check(store, now=NOW) == []
    store.write(Batch((Rows("candles", frame, {**constants, "venue": "okx"}),), ()))
    assert [f.check for f in quality.check(store, now=NOW)] == ["future"]


def test_spot_of_a_relisted_name_is_not_after_its_delisting(store: Store) -> None:
    frames = clean()
    ended = frames["instruments"].assign(delisted=pd.Timestamp("2024-01-01T05:00"))
    again = frames["instruments"].assign(valid_from=pd.Timestamp("2024-01-01T06:00"))
    frames["instruments"] = pd.concat([ended, again], ignore_index=True)
    _silent(store, frames)


# ---- the quick way against the slow one ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("freq", ["1min", "4h", "1D", "7D"])
def test_gaps_and_doubles_are_those_of_a_plain_count(store: Store, seed: int, freq: str) -> None:
    rng = np.random.default_rng(seed)
    keep = np.sort(rng.choice(500, size=int(rng.integers(100, 500)), replace=False))
    frame = bars(500, freq, start=pd.Timestamp("2011-01-03")).iloc[keep]
    interval_s = int(pd.Timedelta(freq).total_seconds())
    write(store, {"candles": frame.assign(price="trade", interval_s=interval_s)})
    doubled = rng.choice(len(keep), size=int(rng.integers(1, 40)), replace=False)
    with duckdb.connect(str(store.path)) as con:
        stamps = frame["ts"].iloc[doubled].to_frame()
        con.register("again", stamps)
        con.execute("INSERT INTO candles SELECT * FROM candles SEMI JOIN again USING (ts)")
    found = {f.check: f for f in quality.check(store, tables=["candles"], now=NOW)}
    steps = np.diff(keep)
    assert found["duplicates"].count == len(doubled)
    assert found["gaps"].count == keep[-1] - keep[0] + 1 - len(keep)
    assert f"{(steps > 1).sum():,} places, the longest {steps.max() - 1:,} bars" in found["gaps"].message
    assert found["gaps"].first == frame["ts"].iloc[int(np.argmax(steps > 1))] + pd.Timedelta(freq)


@pytest.mark.parametrize("seed", range(4))
def test_outliers_are_those_of_a_plain_search(store: Store, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 1000
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, n)))
    odd = rng.choice(n, size=25, replace=False)
    close[odd] *= rng.choice([0.85, 1.2, 1.05], size=25)
    open_ = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    high[rng.choice(n, size=10)] *= 1.15
    low[rng.choice(n, size=10)] *= 0.85
    frame = bars(n).assign(open=open_, high=high, low=low, close=close, price="trade", interval_s=60, volume=1.0)
    write(store, {"candles": frame})

    before, after = np.roll(close, 1), np.roll(close, -1)
    body_high, body_low = np.maximum(open_, close), np.minimum(open_, close)
    wick = np.maximum(high / body_high - 1, 1 - low / body_low)
    returned = np.abs(after - before) < 0.5 * np.abs(close - before)
    returned[[0, -1]] = False
    move = np.maximum(wick, np.where(returned, np.abs(close / before - 1), 0))
    usual = np.median(np.abs(close / open_ - 1))
    spikes = move > max(candle_checks.SPIKE, candle_checks.SPIKE_TIMES * usual)
    (found,) = (f for f in quality.check(store, now=NOW) if f.check == "outliers")
    assert found.count == spikes.sum()
    assert found.first == frame["ts"][int(np.argmax(spikes))]


# ---- what is asked about -------------------------------------------------------------------------------------------


@pytest.fixture
def two(store: Store) -> Store:
    """A gap in each of two symbols, and percent in one."""
    for symbol in (BTC, "ETH/USDT:USDT"):
        frames = clean()
        _without("candles", 60)(frames)
        _columns("funding", rate=0.01 if symbol == BTC else 0.0001)(frames)
        write(store, frames, symbol=symbol)
    return store


def test_the_worst_comes_first(two: Store) -> None:
    assert [(f.level.value, f.check, f.symbol) for f in quality.check(two, now=NOW)] == [
        ("error", "funding_unit", BTC),
        ("warning", "gaps", BTC),
        ("warning", "gaps", "ETH/USDT:USDT"),
    ]


def test_one_symbol_by_the_venues_own_name(two: Store) -> None:
    ask = functools.partial(quality.check, two, now=NOW)
    assert {f.symbol for f in ask(symbol="ETHUSDT")} == {"ETH/USDT:USDT"}
    assert ask(symbol="ETHUSDT") == ask("binance", "ETH/USDT:USDT")
    assert len(ask("binance")) == 3


def test_one_table(two: Store) -> None:
    assert {f.check for f in quality.check(two, tables=["funding"], now=NOW)} == {"funding_unit"}


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ({"symbol": "ETHUSDC"}, "no 'ETHUSDC' is stored"),
        ({"venue": "binanze"}, "did you mean binance?"),
        ({"tables": ["candle"]}, "did you mean candles?"),
    ],
)
def test_what_is_not_there_is_said(two: Store, ask: dict[str, Any], says: str) -> None:
    with pytest.raises(NotFound, match=re.escape(says)):
        quality.check(two, now=NOW, **ask)


def test_gaps_of_all_symbols_count_for_one(store: Store) -> None:
    write(store, clean())
    down = pd.DataFrame({"ts": [START], "until": [START + pd.Timedelta("1h")], "feed_table": "depth", "reason": "x"})
    store.write(Batch((Rows("gaps", down, {"venue": "binance", "symbol": "*"}),), ()))
    assert [f.check for f in quality.check(store, symbol="BTCUSDT", now=NOW)] == ["feed_down"]


def test_a_lake_is_checked_like_a_store(two: Store, tmp_path: Path) -> None:
    two.export(tmp_path / "lake")
    assert quality.check(Store(tmp_path / "lake"), now=NOW) == quality.check(two, now=NOW)
