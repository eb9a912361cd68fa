"""The catalogue: events put into made-up series are found, and described as worked by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leverage_events import START, both_of, market_of, planted, quiet

from data import clock
from data.align import Bars
from data.errors import BadInput
from data.market import Market, Points, SymbolData
from strategies import events
from strategies.events.finding import COLUMNS
from strategies.events.rules import BuildUp, Unwind
from strategies.events.series import Series

HOUR = clock.HOUR
RULE = Unwind(horizon="2h", window="2d", sigmas=3.0, move=0.02, flush=0.05, apart="6h", recovery="5d")


def at(bar: int) -> pd.Timestamp:
    """The open of a bar, which is the close of the one before."""
    return pd.Timestamp(START + bar * HOUR)


def worked() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A fall over bars 100 and 101, the worst price in bar 102, half back in bar 110, open interest back in 120."""
    close, held = np.full(160, 100.0), np.full(160, 1000.0)
    close[::2] = 100.1  # so that there is a usual move
    close[100], close[101], close[102:110], close[110:] = 96.0, 92.0, 93.0, 97.0
    held[100], held[101], held[102:120], held[120:] = 940.0, 850.0, 850.0, 1001.0
    low, liq = close.copy(), np.zeros(160)
    low[101] = 90.0
    liq[100], liq[101] = 5e4, 9e4
    return close, held, low, liq


def test_an_unwind_worked_by_hand() -> None:
    close, held, low, liq = worked()
    found = events.find(market_of(close, held, low=low, liq_long=liq), RULE)
    assert len(found) == 1
    event = found.iloc[0]
    assert (event["symbol"], event["kind"], event["side"]) == ("BTC/USDT:USDT", "unwind", "long")
    # Bar 100: 4 % in two bars with 6 % gone. Hot until bar 102: 100 -> 93 over bars 101 and 102 of 96, 10 % gone.
    assert event["start"] == at(99)
    assert event["confirmed"] == at(101)
    assert event["end"] == at(103)
    assert event["peak"] == at(102)  # most liquidated in bar 101
    assert event["depth"] == pytest.approx(90.0 / 100.0 - 1.0, abs=2e-3)
    assert event["destroyed"] == pytest.approx(0.15)
    assert event["liquidated_long"] == 14e4
    assert event["liquidated_short"] == 0.0
    # Half of the way from 90 back to 100 is sqrt(9000) = 94.9: closed above in bar 110, 9 hours after bar 101.
    assert event["recovery_h"] == 9.0
    assert event["refill_h"] == 18.0  # bar 120 after bar 102
    assert event["cause"] == "unknown"  # of hourly bars nobody can say
    assert tuple(found.columns) == COLUMNS


def test_a_rise_throws_out_shorts_and_is_the_mirror_image() -> None:
    close, held, low, liq = worked()
    mirrored = market_of(1e4 / close, held, high=1e4 / low, liq_short=liq)
    event = events.find(mirrored, RULE).iloc[0]
    assert (event["side"], event["start"], event["confirmed"], event["end"]) == ("short", at(99), at(101), at(103))
    assert event["depth"] == pytest.approx(100.0 / 90.0 - 1.0, abs=2e-3)
    assert event["liquidated_short"] == 14e4
    assert (event["recovery_h"], event["refill_h"]) == (9.0, 18.0)


def test_no_unwind_where_open_interest_stays_or_the_price_does() -> None:
    close, held, _, _ = worked()
    assert len(events.find(market_of(close, np.full(160, 1000.0)), RULE)) == 0
    assert len(events.find(market_of(np.where(np.arange(160) % 2, 100.0, 100.1), held), RULE)) == 0


@settings(max_examples=25)
@given(
    gaps=st.lists(st.integers(12, 90), min_size=1, max_size=8),
    sides=st.lists(st.sampled_from([-1.0, 1.0]), min_size=8, max_size=8),
    seed=st.integers(0, 50),
)
def test_planted_events_are_found_exactly(gaps: list[int], sides: list[float], seed: int) -> None:
    bars = 100 + np.cumsum(gaps)
    put = [(int(bar), 0.08 * side, 0.12) for bar, side in zip(bars, sides, strict=False)]
    close, held = planted(int(bars[-1]) + 60, put, seed)
    rule = Unwind(horizon="1h", window="2d", sigmas=1.5, move=0.05, flush=0.08, apart="6h")
    found = events.find(market_of(close, held), rule)
    assert list(found["confirmed"]) == [at(bar + 1) for bar, _, _ in put]
    assert list(found["side"]) == ["short" if move > 0.0 else "long" for _, move, _ in put]
    assert found["destroyed"].to_numpy() == pytest.approx(0.12, abs=2e-3)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), apart=st.sampled_from(["2h", "6h", "1d"]), cut=st.integers(60, 399))
def test_events_of_a_side_never_overlap_and_longer_history_changes_no_beginning(
    seed: int, apart: str, cut: int
) -> None:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(0.01 * rng.standard_t(3, 400)))
    held = 1000.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(400)))
    held[rng.random(400) < 0.05] = np.nan
    market = market_of(close, held)
    rule = Unwind(horizon="2h", window="1d", sigmas=1.0, move=0.0, flush=0.01, apart=apart)
    found = events.find(market, rule)
    for _, mine in found.groupby("side"):
        assert (mine["start"].to_numpy()[1:] >= mine["end"].to_numpy()[:-1]).all()
    assert (found["start"] < found["confirmed"]).all()
    assert (found["confirmed"] <= found["end"]).all()
    early = events.find(market[:cut], rule)
    known = found[found["confirmed"] <= at(cut)].reset_index(drop=True)
    columns = ["symbol", "side", "start", "confirmed", "build"]
    pd.testing.assert_frame_equal(early[columns], known[columns])


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), price=st.sampled_from([1e-4, 3.0, 1e6]), size=st.sampled_from([1e-3, 7.0, 1e8]))
def test_units_change_nothing(seed: int, price: float, size: float) -> None:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(0.01 * rng.standard_t(3, 300)))
    held = 1000.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(300)))
    rule = Unwind(horizon="2h", window="1d", sigmas=1.0, move=0.0, flush=0.01, apart="6h")
    usual, other = (events.find(market_of(close * p, held * s), rule) for p, s in ((1.0, 1.0), (price, size)))
    pd.testing.assert_frame_equal(usual, other, rtol=1e-9)


def test_each_symbol_is_looked_at_by_itself() -> None:
    close, held, low, liq = worked()
    calm, full = quiet(160)
    market = both_of(
        market_of(close, held, low=low, liq_long=liq), market_of(calm, full), ("BTC/USDT:USDT", "ETH/USDT:USDT")
    )
    both = events.find(market, RULE)
    alone = events.find(market["BTC/USDT:USDT"], RULE)
    pd.testing.assert_frame_equal(both, alone)


def test_a_build_up_worked_by_hand() -> None:
    """Open interest 1000 for 100 hours, up to 1300 in 10 hours, stays 20, drops by 150, then 150 more."""
    held = np.concatenate((np.full(100, 1000.0), np.linspace(1030, 1300, 10), np.full(20, 1300.0), [1150.0],
                           np.full(30, 1000.0)))  # fmt: skip
    close = np.linspace(100.0, 120.0, len(held))
    rule = BuildUp(window="50h", crowded=1.15, relaxed=1.02, least="3h", flush=0.08)
    found = events.find(market_of(close, held), rule)
    assert len(found) == 1
    event = found.iloc[0]
    means = [held[max(0, i - 49) : i + 1].mean() for i in range(len(held))]
    first = next(i for i in range(49, len(held)) if held[i] >= 1.15 * means[i])
    assert first == 105
    last = next(i for i in range(first, len(held)) if held[i] < 1.02 * means[i])
    assert last == 130  # 1150, below 1.02 of a mean of 1156
    assert (event["start"], event["confirmed"], event["end"]) == (at(first), at(first + 3), at(last + 1))
    assert event["peak"] == at(110)
    assert event["depth"] == pytest.approx(close[109] / close[105] - 1.0)
    assert event["destroyed"] == pytest.approx(150 / 1300)
    assert event["ended"] == "unwind"
    assert event["side"] == "unknown"  # nobody knows what funding was


@pytest.mark.parametrize("least", ["1h", "4h", "12h"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_build_up_is_confirmed_when_it_has_lasted_and_not_before(seed: int, least: str) -> None:
    """A history that ends before it was confirmed does not have it, one that ends with it does, with the same times."""
    rng = np.random.default_rng(seed)
    held = 1000.0 * np.exp(np.cumsum(0.03 * rng.standard_normal(400)))
    held[rng.random(400) < 0.05] = np.nan
    market = market_of(np.full(400, 100.0), held)
    rule = BuildUp(window="2d", crowded=1.1, relaxed=1.02, least=least)
    found = events.find(market, rule)
    assert len(found)
    for _, event in found.iterrows():
        sure = round((event["confirmed"] - at(0)) / pd.Timedelta("1h"))
        assert event["start"] not in set(events.find(market[: sure - 1], rule)["start"])
        early = events.find(market[:sure], rule).iloc[-1]
        assert (early["start"], early["confirmed"]) == (event["start"], event["confirmed"])


def test_a_build_up_that_fades_and_one_that_goes_on() -> None:
    up = np.concatenate((np.full(60, 1000.0), np.full(40, 1300.0)))
    rule = BuildUp(window="50h", crowded=1.15, relaxed=1.05, least="3h", flush=0.08)
    assert list(events.find(market_of(np.full(60 + 10, 100.0), up[:70]), rule)["ended"]) == ["open"]
    assert list(events.find(market_of(np.full(100, 100.0), up), rule)["ended"]) == ["faded"]


def test_news_is_a_jump_and_a_slide_is_not() -> None:
    minute = clock.MINUTE
    rng = np.random.default_rng(3)
    n, fall = 3000, 2900
    noise = 0.0005 * rng.standard_normal(n)
    jump, slide = noise.copy(), noise.copy()
    jump[fall] -= 0.03
    slide[fall : fall + 30] -= 0.001
    held = np.where(np.arange(n) < fall, 1000.0, 900.0)
    slow = np.interp(np.arange(n), [fall, fall + 30], [1000.0, 900.0])
    rule = Unwind(horizon="30m", window="1d", sigmas=3.0, move=0.005, flush=0.05)
    for moves, open_interest, cause in ((jump, held, "news"), (slide, slow, "endogenous")):
        found = events.find(market_of(100.0 * np.exp(np.cumsum(moves)), open_interest, minute), rule)
        assert list(found["cause"]) == [cause]


def test_agreement_counts_guesses_against_causes() -> None:
    found = pd.DataFrame({
        "side": ["long", "long", "short", "long"], "start": [at(10), at(50), at(80), at(120)],
        "end": [at(12), at(52), at(82), at(122)], "cause": ["news", "endogenous", "news", "news"],
    })  # fmt: skip
    truth = pd.DataFrame({
        "ts": [at(10), at(51), at(80), at(200)], "until": [at(11), at(53), at(81), at(201)],
        "label": ["news long", "news long", "endogenous long", "endogenous short"],
    })  # fmt: skip
    table = events.agreement(found, truth)
    assert table.loc["news", "news"] == 1
    assert table.loc["endogenous", "news"] == 1
    assert table.loc["news", "none"] == 2  # the short of bar 80 met a cascade of longs; bar 120 met nothing
    assert table.loc["none", "endogenous"] == 2
    assert int(table.to_numpy().sum()) == 6


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Unwind(flush=1.5), "flush=1.5"),
        (lambda: Unwind(apart="30m"), "shorter than horizon"),
        (lambda: BuildUp(relaxed=1.3), "never begin"),
        (lambda: BuildUp(window="soon"), "no duration"),
        (lambda: events.find(market_of([1.0, 2.0], [np.nan, np.nan])[:1], "unwind"), "write events.Unwind"),
    ],
)
def test_what_is_refused(make: object, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        make()  # type: ignore[operator]


def test_a_market_without_open_interest_is_refused() -> None:
    market = market_of([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    frame = market.to_frame()[["open", "high", "low", "close"]]
    with pytest.raises(BadInput, match="open_interest"):
        events.find(Market.from_frames(frame))


def test_the_named_crashes() -> None:
    table = events.crashes()
    assert table.loc["2025-10-10", "destroyed"] == pytest.approx(0.433, abs=1e-3)  # published as -43 %
    assert table.loc["2024-08-05", "destroyed"] == pytest.approx(0.279, abs=1e-3)  # published as -27.9 %
    assert table.index.is_unique
    assert (table["start"] <= table["end"]).all()
    assert (table["sources"].str.len() > 0).all()


@pytest.mark.real_data
def test_the_crash_of_2025_10_10_is_in_the_catalogue(shared_dir: Path) -> None:
    """BTC's low on Binance was 101,516.5, and half of Hyperliquid's open interest in it went within three hours.

    The hour closed far above its low: a rule of closes alone does not see the largest crash there has been.
    """
    hourly = pd.read_parquet(shared_dir / "candles" / "binance_1h.parquet")
    bars = hourly[(hourly["symbol"] == "BTCUSDT") & hourly["ts"].between("2025-09-01", "2025-10-15")].set_index("ts")
    oi = pd.read_parquet(shared_dir / "open_interest" / "hyperliquid_1h.parquet")
    oi = oi[oi["symbol"] == "BTC"].set_index("ts")["oi_usd"].reindex(bars.index)
    held = oi / bars[["open", "high", "low", "close"]].mean(axis=1)
    points = pd.DataFrame({"ts": held.index + pd.Timedelta("59min"), "quantity": held.to_numpy()}).dropna()
    market = Market.from_frames(bars[["open", "high", "low", "close", "volume"]], open_interest=points)
    found = events.find(market)
    crash = found[found["confirmed"] == pd.Timestamp("2025-10-10 22:00")].iloc[0]
    assert crash["side"] == "long"
    assert crash["depth"] == pytest.approx(101_516.5 / 114_198.0 - 1.0, abs=1e-6)
    assert crash["destroyed"] == pytest.approx(0.495, abs=0.01)
    assert crash["destroyed"] == found["destroyed"].max()


def without_candle(market: Market, bar: int) -> Market:
    fields = {name: x.copy() for name, x in market._laid.fields.items()}
    for name in ("open", "high", "low", "close"):
        fields[name][bar] = np.nan
    return Market("sim", replace(market._laid, fields=fields))


def test_open_interest_that_goes_in_a_bar_without_a_candle_is_an_event_all_the_same() -> None:
    close, held = quiet(300)
    close[250:] *= 0.9
    held[250] *= 1.02
    held[251:] *= 0.8
    found = events.find(without_candle(market_of(close, held), 251), RULE)
    assert list(found["confirmed"]) == [at(252)]
    assert found["destroyed"].iloc[0] == pytest.approx(0.216, abs=1e-3)


def test_an_inverse_contract_is_so_many_dollars_whatever_its_price() -> None:
    """Told in dollars alone, a fall by half doubles nothing; where contracts are not told, dollars make them."""
    close = np.where(np.arange(60) < 30, 60_000.0, 30_000.0)
    known = START + np.arange(60, dtype=np.int64) * HOUR + HOUR - 1
    contracts = np.full(60, 1e5)
    contracts[20:40] = np.nan
    for told in ({"value": np.full(60, 1e7)}, {"value": np.full(60, 1e7), "quantity": contracts}):
        one = SymbolData(
            candles=Bars(HOUR, START + np.arange(60, dtype=np.int64) * HOUR, close, close, close, close),
            open_interest=Points(known, known, HOUR, told), instrument={"contract_size": 100.0},
        )  # fmt: skip
        market = Market.build("sim", {"BTC/USD:BTC": one}, HOUR, START, START + 60 * HOUR)
        np.testing.assert_allclose(Series(market, "BTC/USD:BTC").held, 1e5)


def test_a_fall_that_the_bar_has_half_forgotten_is_found() -> None:
    close, held = quiet(300)
    low = close.copy()
    low[250] *= 0.85
    held[250:] *= 0.7
    found = events.find(market_of(close, held, low=low), RULE)
    assert list(found["side"]) == ["long"]
    assert found["depth"].iloc[0] == pytest.approx(0.85 - 1.0, abs=0.01)
