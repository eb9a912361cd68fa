"""Each strategy in a scene made for it: when it has to enter, on which side, when to leave, and when not to move.

Decided at the close of a bar means filled at the open of the next, so an event in bar i is a fill in bar i + 1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from strategy_markets import entries, exits, scene

from backtest.account import Account
from backtest.costs import Costs
from backtest.engine import simulate
from backtest.features import features_of
from backtest.result import Result
from backtest.strategy import HOLD, Strategy
from data import clock
from data.errors import BadInput
from data.market import Market
from strategies.buy_and_hold import BuyAndHold
from strategies.cascade_fade import CascadeFade
from strategies.crowding_portfolio import CrowdingPortfolio
from strategies.funding_squeeze import FundingSqueeze
from strategies.ladder_fade import LadderFade
from strategies.managed_trend import ManagedTrend
from strategies.parts import symbol_data
from strategies.unwind_momentum import UnwindMomentum

WEEKS = 40 * 24  # bars


def run(market: Market, strategy: Strategy, **options: Any) -> Result:
    return simulate(market, strategy, **{"venue": "binance", "costs": Costs.none()} | options)


def steady(n: int = WEEKS, seed: int = 1, size: float = 0.0005) -> np.ndarray:
    """A price that goes nowhere."""
    return 100.0 * np.exp(size * np.sin(np.arange(n)) + size * np.random.default_rng(seed).normal(size=n))


# ---- funding squeeze ----------------------------------------------------------------------------------


def crowded_longs(sign: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Open interest two fifths up, funding at 10 bp since bar 800, and in bar 820 a tenth of the open interest goes."""
    held = np.full(WEEKS, 1000.0)
    held[700:820], held[820:] = 1400.0, 1260.0
    rate = np.random.default_rng(2).normal(1e-4, 2e-5, WEEKS // 8)
    rate[99:104] = 1e-4 + sign * 9e-4
    return steady(), held, rate


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_squeeze_is_faded_when_open_interest_starts_to_fall(sign: float) -> None:
    result = run(scene(*crowded_longs(sign)), FundingSqueeze())
    assert entries(result)[0] == (821, -sign)
    assert exits(result)[0] == pytest.approx(841, abs=8)  # the next usual rate is settled at bar 840


def test_nothing_is_faded_while_the_crowd_stays_or_where_there_is_none() -> None:
    close, held, rate = crowded_longs()
    stays = np.where(np.arange(WEEKS) >= 700, 1400.0, 1000.0)
    assert entries(run(scene(close, stays, rate), FundingSqueeze())) == []
    assert entries(run(scene(close, np.full(WEEKS, 1000.0), rate), FundingSqueeze())) == []
    usual = np.random.default_rng(2).normal(1e-4, 2e-5, WEEKS // 8)
    assert entries(run(scene(close, held, usual), FundingSqueeze())) == []


def test_a_z_score_of_next_to_nothing_is_no_skew() -> None:
    """Rates that are the same to the last digit but for one: 1.2 bp is many deviations away, and nothing at all."""
    close, held, rate = crowded_longs()
    rate[:] = 1e-4
    rate[99:104] = 1.8e-4
    assert entries(run(scene(close, held, rate), FundingSqueeze())) == []


# ---- cascade fade -------------------------------------------------------------------------------------

MINUTES = 5 * clock.MINUTE
DAYS = 4 * 288


def fall(part: float = 0.05, destroyed: float = 0.06, sign: float = -1.0) -> tuple[np.ndarray, np.ndarray]:
    """In bars 1000 to 1002 the price goes `part`, and open interest by `destroyed`."""
    close, held = steady(DAYS, size=0.0008), np.full(DAYS, 1e6)
    for k in range(3):
        close[1000 + k :] *= 1.0 + sign * part / 3.0
        held[1000 + k :] *= 1.0 - destroyed / 3.0
    return close, held


def test_a_cascade_is_bought_at_once_and_sold_a_quarter_of_an_hour_later() -> None:
    result = run(scene(*fall(), step=MINUTES), CascadeFade())
    assert entries(result) == [(1002, 1.0)]  # 3 % down and 3 % of the open interest gone are reached in bar 1001
    assert exits(result) == [1005]


def test_the_same_fall_with_open_interest_kept_is_news() -> None:
    close, _ = fall()
    assert entries(run(scene(close, np.full(DAYS, 1e6), step=MINUTES), CascadeFade())) == []


def test_a_squeeze_upwards_is_shorted_only_on_demand() -> None:
    market = scene(*fall(sign=1.0), step=MINUTES)
    assert entries(run(market, CascadeFade())) == []
    assert entries(run(market, CascadeFade(shorts=True))) == [(1002, -1.0)]


def test_the_order_is_as_large_as_the_book_bears() -> None:
    """Without recorded depth: half a per cent of the day's volume, of which a tenth of a per cent may be walked."""
    market = scene(*fall(), step=MINUTES, volume=100.0)  # 288 bars x 100 coins x 100: 2.88 million a day
    features, _ = features_of(CascadeFade(), market.features_view())
    bears = features["bearable"][1001]
    assert bears == pytest.approx(0.2 * 0.005 * 2.88e6, rel=0.02)
    large = run(market, CascadeFade(), account=Account(equity=1e6))
    fill = large.run.fills[0]
    assert fill["quantity"] * fill["price"] == pytest.approx(bears, rel=0.05)
    small = run(market, CascadeFade(), account=Account(equity=1000.0))
    assert small.run.fills[0]["quantity"] * small.run.fills[0]["price"] == pytest.approx(1000.0, rel=0.05)


# ---- unwind momentum ----------------------------------------------------------------------------------


def breakdown(paid: float = 2e-4, leaves: float = 0.05) -> Market:
    """Open interest a quarter up since bar 800, out of the range in bar 900, and open interest falls with it."""
    close, held = steady(), np.full(WEEKS, 1000.0)
    held[800:900], held[900:] = 1250.0, 1250.0 * (1.0 - leaves)
    close[900:] *= 0.97
    return scene(close, held, np.full(WEEKS // 8, paid))


def test_a_breakdown_of_crowded_longs_is_joined() -> None:
    result = run(breakdown(), UnwindMomentum())
    assert entries(result) == [(901, -1.0)]
    assert exits(result) == [949]  # two days


@pytest.mark.parametrize("market", [breakdown(paid=-2e-4), breakdown(leaves=0.0)], ids=["shorts pay", "all stay"])
def test_a_breakdown_that_hurts_nobody_who_pays_or_moves_nobody_is_not(market: Market) -> None:
    assert entries(run(market, UnwindMomentum())) == []


def test_the_trailing_stop_ends_it() -> None:
    market = breakdown()
    close = np.array(market.close)
    close[910:] *= 1.06
    again = scene(close, market.open_interest, np.full(WEEKS // 8, 2e-4))
    assert exits(run(again, UnwindMomentum())) == [910]


# ---- ladder fade --------------------------------------------------------------------------------------


def test_a_wick_is_faded_where_there_was_something_to_run_for() -> None:
    usual = {"bars_held": 0.0, "share": 1.0, "longest": 8.0, "least_run": 0.003, "least_fuel": 1.0, "leverage": 1.0}
    nothing = {"fuel_below": 0.0, "fuel_above": 0.0}
    decide = LadderFade.decide
    assert decide(position=0.0, run=0.01, **usual, **nothing | {"fuel_below": 1.5}) == 1.0
    assert decide(position=0.0, run=0.01, **usual, **nothing | {"fuel_above": 1.5}) == HOLD
    assert decide(position=0.0, run=-0.01, **usual, **nothing | {"fuel_above": 1.5}) == -1.0
    assert decide(position=0.0, run=0.001, **usual, **nothing | {"fuel_below": 1.5}) == HOLD
    assert decide(position=0.0, run=0.01, **usual, **nothing | {"fuel_below": float("nan")}) == HOLD
    assert decide(position=1.0, run=0.0, **usual | {"bars_held": 8.0}, **nothing) == 0.0


def test_a_stop_run_is_found_in_a_market() -> None:
    n = 80 * 24
    market = scene(steady(n), 1000.0 + np.arange(n) * 0.5)
    bars = {name: np.array(getattr(market, name)) for name in ("open", "high", "low", "close", "volume")}
    bars["low"][1700] *= 0.98
    data = symbol_data(market, market.symbols[0])
    assert data.candles is not None
    made = replace(data, candles=replace(data.candles, low=bars["low"]))
    holed = Market.build("user", {market.symbols[0]: made}, market.interval, market.start, market.end)
    features, _ = features_of(LadderFade(), holed.features_view())
    assert features["run"][1700] == pytest.approx(0.98**-1 - 1.0, abs=0.002)
    assert features["fuel_below"][1700] > 0.0
    assert entries(run(holed, LadderFade(least_fuel=0.0))) == [(1701, 1.0)]


# ---- managed trend ------------------------------------------------------------------------------------


def test_exposure_is_the_least_of_cushion_volatility_and_limit() -> None:
    fixed = {"share": 1.0, "target": 0.4, "floor": 0.7, "multiple": 4.0, "band": 0.2, "leverage": 2.0}
    usual, between = fixed | {"due": 1.0}, fixed | {"due": 0.0}
    decide = ManagedTrend.decide
    assert decide(position=0.0, drawdown=0.0, trend=1.0, volatility=0.2, **usual) == pytest.approx(1.2)  # cushion 0.3
    assert decide(position=0.0, drawdown=0.0, trend=-1.0, volatility=0.8, **usual) == pytest.approx(-0.5)
    assert decide(position=0.0, drawdown=0.1, trend=1.0, volatility=0.2, **usual) == pytest.approx(4 * (1 - 7 / 9))
    assert decide(position=0.5, drawdown=0.3, trend=1.0, volatility=0.2, **usual) == 0.0  # at the floor
    assert decide(position=0.45, drawdown=0.0, trend=1.0, volatility=0.8, **usual) == HOLD  # within the band
    assert decide(position=0.0, drawdown=0.0, trend=1.0, volatility=float("nan"), **usual) == HOLD
    assert decide(position=0.0, drawdown=0.0, trend=1.0, volatility=0.2, **between) == HOLD
    assert decide(position=-0.5, drawdown=0.0, trend=1.0, volatility=0.8, **between) == HOLD  # turned when due
    assert decide(position=-0.9, drawdown=0.0, trend=-1.0, volatility=0.8, **between) == pytest.approx(-0.5)
    assert decide(position=0.5, drawdown=0.3, trend=1.0, volatility=0.2, **between) == 0.0


def test_a_trend_is_followed_and_a_turn_turned() -> None:
    up = 100.0 * np.exp(np.arange(WEEKS) * 0.001)
    down = up[-1] * np.exp(-np.arange(WEEKS) * 0.001)
    noise = steady(2 * WEEKS, size=0.003) / 100.0
    result = run(scene(np.concatenate((up, down)) * noise), ManagedTrend())
    exposure = result.run.series["exposure"]
    assert (exposure[700:WEEKS] > 0.3).all()
    assert (exposure[WEEKS + 700 :] < -0.1).all()


def test_the_floor_holds_in_a_long_decline() -> None:
    """A whipsaw that costs every trend follower: the equity stays above the floor, but for a gap between two closes."""
    rng = np.random.default_rng(3)
    close = 100.0 * np.exp(np.cumsum(0.01 * rng.normal(size=6000)))
    equity = run(scene(close), ManagedTrend(target=5.0, leverage=10.0, multiple=6.0, floor=0.8)).run.series["equity"]
    fixed = run(scene(close), BuyAndHold(leverage=3.0)).run.series["equity"]
    assert equity.min() / np.maximum.accumulate(equity).max() > 0.0
    assert (equity / np.maximum.accumulate(equity)).min() > 0.76
    assert (fixed / np.maximum.accumulate(fixed)).min() < 0.5


# ---- baselines and the cross-section ------------------------------------------------------------------


def test_what_is_bought_is_held_and_a_liquidation_is_the_end() -> None:
    close = np.concatenate((np.full(50, 100.0), np.full(50, 60.0), np.full(50, 200.0)))
    held = run(scene(close), BuyAndHold())
    assert entries(held) == [(1, 1.0)]
    assert exits(held) == []
    assert held.run.series["equity"][-1] == pytest.approx(20_000.0, rel=0.002)
    gone = run(scene(close), BuyAndHold(leverage=5.0))
    assert len(gone.run.liquidations) == 1
    assert entries(gone) == [(1, 1.0)]


def coins(rates: dict[str, float], n: int = 40 * 24) -> Market:
    """Coins that differ in their funding, and all stand still."""
    made = {
        symbol: symbol_data(scene(np.full(n, 100.0), None, np.full(n // 8, rate), symbol=symbol), symbol)
        for symbol, rate in ((f"{name}/USDT:USDT", rate) for name, rate in rates.items())
    }
    start = scene(np.full(n, 100.0)).start
    return Market.build("user", made, clock.HOUR, start, start + n * clock.HOUR)


def test_the_most_crowded_are_short_and_the_least_are_long() -> None:
    market = coins({"A": 1e-4, "B": 5e-4, "C": 2e-4, "D": -3e-4, "E": 3e-4})
    result = run(market, CrowdingPortfolio(), account=Account(mode="cross", leverage=3.0))
    held = result.run.leg_series["position"][-1]
    assert np.sign(held).tolist() == [0.0, -1.0, 0.0, 1.0, 0.0]
    assert result.run.series["gross"][-1] == pytest.approx(1.0, rel=0.02)
    assert (result.run.fundings["amount"] > 0.0).all()  # paid on both sides


def test_coins_without_funding_are_left_out_and_too_few_are_none() -> None:
    rates = {"A": 1e-4, "B": 5e-4, "C": 2e-4, "D": -3e-4, "E": float("nan")}
    market = coins({k: v for k, v in rates.items() if v == v} | {"E": 3e-4})
    data = {s: symbol_data(market, s, **({"funding": None} if s.startswith("E/") else {})) for s in market.symbols}
    bare = Market.build("user", data, market.interval, market.start, market.end)
    assert entries(run(bare, CrowdingPortfolio(), account=Account(mode="cross"))) == []
    assert len(entries(run(bare, CrowdingPortfolio(fewest=4), account=Account(mode="cross")))) == 2


def test_one_coin_is_no_cross_section() -> None:
    with pytest.raises(BadInput, match="ranks 5 coins or more against each other, and this market has 1"):
        run(scene(np.full(900, 100.0), None, np.full(100, 1e-4)), CrowdingPortfolio())
