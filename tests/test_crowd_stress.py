"""Stress tests: shocks, what they report, Monte Carlo, sensitivities, a strategy inside."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backtest import HOLD, Strategy
from backtest.crowd.as_market import START, market_of
from backtest.crowd.inside import inside
from backtest.crowd.kernel import layout as at
from backtest.crowd.machine import Machine
from backtest.crowd.montecarlo import CHANGES, futures, sensitivity, wilson
from backtest.crowd.shock import LEAD_MINUTES, Shock
from backtest.crowd.stress import max_r0, stress
from backtest.crowd.world import Coin, Crowd, Policy, World
from backtest.venue import venue
from data import clock
from data.errors import BadInput

SMALL = World(coin=Coin(depth=1.8e6, money=30e6, volume=2.4e8), crowd=Crowd(accounts=2_000))


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine(SMALL, seed=7)


# --- shocks ----------------------------------------------------------------------------------------------------------


def test_a_ramp_and_a_shock_at_once_end_in_the_same_place() -> None:
    at_once, ramp = Shock.instant(-0.1), Shock.ramp(-0.1, 30)
    assert math.exp(sum(at_once.returns)) == pytest.approx(0.9)
    assert math.exp(sum(ramp.returns)) == pytest.approx(0.9)
    assert (at_once.minutes, ramp.minutes) == (1, 30)


def test_a_shock_comes_after_a_quiet_lead_and_alone() -> None:
    path = Shock.instant(-0.1).path(20, 0.001, None, (0.5, -0.5))
    assert path[LEAD_MINUTES, 0] == pytest.approx(math.log(0.9))
    assert np.count_nonzero(path[:, 0]) == 1
    assert np.all(path[:, 1] == 0.0)
    assert np.all(path[:, 3:] == (0.5, -0.5))


def test_a_replay_is_what_the_index_did(machine: Machine) -> None:
    history = machine.copy().run(count=300)
    market = market_of(history, SMALL)
    first = clock.iso(START + (history.first + 60) * clock.MINUTE)
    last = clock.iso(START + (history.first + 180) * clock.MINUTE)
    shock = Shock.replay(market, first, last)
    index = np.log(history.column(at.I_CLOSE))
    assert shock.minutes == 120
    assert np.allclose(shock.returns, np.diff(index[59:180]), atol=1e-12)
    assert "index" in shock.name


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Shock.instant(-1.0),
        lambda: Shock.instant(math.nan),
        lambda: Shock.ramp(-0.1, 0),
        lambda: Shock("none", ()),
        lambda: stress(SMALL, -0.1, crowd="asleep"),
        lambda: stress(SMALL, -0.1, hours=0.0),
        lambda: stress(SMALL, -0.1, haircut=1.0),
        lambda: stress(SMALL, -0.1, depth=-1.0),
        lambda: stress(SMALL, -0.1, venue="binanse"),
        lambda: futures(SMALL, runs=0),
        lambda: sensitivity(SMALL, over=["leverage"]),
        lambda: Policy(adl="que"),
    ],
)
def test_mistakes_are_said_in_a_line_or_two(wrong) -> None:
    with pytest.raises(BadInput) as error:
        wrong()
    assert len(str(error.value).splitlines()) <= 2


# --- what a stress test says -----------------------------------------------------------------------------------------


def test_a_state_is_not_touched(machine: Machine) -> None:
    before = machine.accounts.copy(), machine.state.copy()
    stress(machine, -0.2)
    assert np.array_equal(before[0], machine.accounts, equal_nan=True)
    assert np.array_equal(before[1], machine.state)


def test_no_shock_does_next_to_nothing(machine: Machine) -> None:
    found = stress(machine, Shock("nothing", (0.0,)), crowd="still", hours=1.0)
    assert found.summary["longs liquidated"] == 0.0
    assert abs(found.summary["move at the end"]) < 0.005
    assert np.ptp(found.without_feedback) == 0.0


@pytest.mark.parametrize("size", [-0.15, 0.15])
def test_feedback_makes_it_worse_and_it_comes_back(machine: Machine, size: float) -> None:
    found = stress(machine, size)
    s = found.summary
    hurt, spared = ("longs", "shorts") if size < 0.0 else ("shorts", "longs")
    assert s["move without feedback"] == pytest.approx(size, abs=1e-9)
    assert s["amplification"] > 1.05
    assert s[f"{hurt} liquidated"] > 5.0 * s[f"{spared} liquidated"]
    assert s["depth left"] < 0.3
    assert 0.0 < s["open interest lost"] < 1.0
    assert s["move at the end"] == pytest.approx(size, abs=0.03)
    assert abs(found.after.imbalance()) < 1e-9


def test_a_larger_fall_throws_out_no_fewer_longs_of_a_crowd_that_is_still(machine: Machine) -> None:
    forced = [stress(machine, size, crowd="still").summary["longs liquidated"] for size in (-0.02, -0.05, -0.1, -0.2)]
    assert forced == sorted(forced)
    assert forced[-1] > 0.0


def test_a_deeper_book_is_pushed_less(machine: Machine) -> None:
    shallow, deep = (stress(machine, -0.1, depth=depth).summary["amplification"] for depth in (0.9e6, 7.2e6))
    assert deep < shallow


def test_the_numbers_are_those_of_the_history(machine: Machine) -> None:
    found = stress(machine, -0.15)
    bars = found.history.bars
    assert found.summary["longs liquidated"] == pytest.approx(bars[:, at.LIQ_LONG].sum())
    assert found.summary["waves"] == bars[:, at.N_WAVES].sum() == len(found.waves)
    assert found.summary["move"] == pytest.approx(bars[:, at.T_LOW].min() / machine.state[at.LAST] - 1.0)
    assert list(found.path["price"]) == list(bars[:, at.T_CLOSE])
    assert found.path.index[LEAD_MINUTES] == 0


def test_the_largest_ratio_on_the_way_not_the_first() -> None:
    waves = np.array([[10.0, 10.0, 0, 5], [2.0, 2.0, 1, 5], [9.0, 9.0, 2, 5], [3.0, 3.0, 0, 6], [99.0, 99.0, 1, 7]])
    assert max_r0(waves, book=100.0) == pytest.approx(99.0 / 3.0)
    assert max_r0(waves[:3], book=100.0) == pytest.approx(4.5)
    assert max_r0(waves[:3], book=500.0) == pytest.approx(0.2)  # what 2 triggered says nothing: below 1 % of the book
    assert max_r0(waves[:1], book=100.0) == 0.0
    assert math.isnan(max_r0(np.empty((0, 4)), book=100.0))


def test_where_nothing_moves_the_price_no_wave_triggers_another(machine: Machine) -> None:
    for name in ("sim", "hyperliquid"):  # taken over, and sold in the market, where orders wait for the book
        found = stress(machine, -0.15, crowd="still", depth=1e13, venue=name)
        assert found.summary["longs liquidated"] > 0.0
        assert not max_r0(found.waves, 1e6) > 0.0


def test_stops_trigger_others_too() -> None:
    capped = replace(SMALL, policy=Policy(leverage_cap=5.0))
    found = stress(Machine(capped, seed=7), -0.1, crowd="still")
    assert found.summary["stopped out"] > 0.0
    assert found.waves[:, 0].sum() > 0.0


def test_a_shock_that_comes_back_is_judged_by_the_way_down(machine: Machine) -> None:
    found = stress(machine, Shock("V", (-0.1, *([0.0] * 10), 0.12)))
    assert found.side == 1
    assert found.summary["move"] < -0.1
    assert found.summary["amplification"] > 1.0


def test_a_policy_brings_its_own_fund(machine: Machine) -> None:
    found = stress(machine, -0.1, policy=Policy(fund=0.05))
    assert found.summary["fund before"] == pytest.approx(0.05 * SMALL.coin.money)
    assert abs(found.after.imbalance()) < 1e-9


def test_a_deeper_book_leaves_the_premium_where_it_was(machine: Machine) -> None:
    quiet = Shock("nothing", (0.0,))
    ends = [
        stress(machine, quiet, crowd="still", hours=1.0, depth=d).summary["move at the end"] for d in (1.8e6, 4.5e5)
    ]
    assert ends[0] == pytest.approx(ends[1], abs=1e-3)


def test_what_comes_after_next_to_no_shock_is_not_its_doing(machine: Machine) -> None:
    assert math.isnan(stress(machine, -0.001).summary["amplification"])


@pytest.mark.parametrize(("name", "hours"), [("sim", 8.0), ("hyperliquid", 1.0), ("dydx", 1.0)])
def test_the_interval_of_funding_is_the_venues(name: str, hours: float) -> None:
    world = replace(SMALL, venue=venue(name))
    history = Machine(world, seed=7, warm_days=0).run(days=1)
    assert set(history.hours) == {hours}
    assert len(history.settled) == 24 / hours


def empty_fund(machine: Machine) -> Machine:
    poor = machine.copy()
    poor.state[at.DEPOSITED] -= poor.state[at.INSURANCE]
    poor.state[at.INSURANCE] = 0.0
    return poor


@pytest.mark.parametrize("adl", ["queue", "pro_rata", "capped_then_size", "min_max"])
def test_without_a_fund_winners_pay_just_what_is_needed(machine: Machine, adl) -> None:
    found = stress(empty_fund(machine), -0.25, policy=Policy(adl=adl, fund=0.0))
    s = found.summary
    assert s["ADL"] > 0.0
    assert s["ADL overshoot"] == pytest.approx(0.0, abs=1e-6 * s["ADL"])
    rows = found.history.events[found.history.events[:, at.E_KIND] == at.ADL_EVENT]
    assert np.all(rows[rows[:, at.E_STEP] == rows[0, at.E_STEP], at.E_QUANTITY] < 0.0)  # longs fell: shorts are closed
    hit = found.hit
    assert hit["notional"].sum() == pytest.approx(s["ADL"])
    assert abs(found.after.imbalance()) < 1e-9


def test_the_queue_takes_whom_it_ranks_first_and_pro_rata_takes_all(machine: Machine) -> None:
    queue, rata = (
        stress(empty_fund(machine), -0.25, policy=Policy(adl=adl, fund=0.0)).summary for adl in ("queue", "pro_rata")
    )
    assert queue["ADL accounts"] < rata["ADL accounts"]


def test_a_fund_that_is_large_enough_needs_no_adl(machine: Machine) -> None:
    rich = machine.copy()
    rich.state[at.INSURANCE] += 1e9
    rich.state[at.DEPOSITED] += 1e9
    assert stress(rich, -0.25).summary["ADL"] == 0.0


def test_a_haircut_is_money_gone_and_more_liquidations(machine: Machine) -> None:
    plain, cut = (stress(machine, -0.05, crowd="still", haircut=h) for h in (0.0, 0.3))
    assert cut.summary["longs liquidated"] > plain.summary["longs liquidated"]
    assert abs(cut.after.imbalance()) < 1e-9


@pytest.mark.parametrize("name", ["binance", "bybit", "okx", "hyperliquid", "dydx", "gate"])
def test_every_linear_venue_can_be_shocked(machine: Machine, name: str) -> None:
    found = stress(machine, -0.12, venue=name)
    assert found.venue == name
    assert found.summary["longs liquidated"] > 0.0
    assert abs(found.after.imbalance()) < 1e-9


# --- many futures ----------------------------------------------------------------------------------------------------


def test_wilsons_interval() -> None:
    # Brown, Cai and DasGupta 2001, Interval Estimation for a Binomial Proportion: 10 of 100 gives 0.0552 to 0.1744
    odds = wilson(10, 100)
    assert (odds.low, odds.high) == pytest.approx((0.0552, 0.1744), abs=5e-5)
    assert wilson(0, 10).low == 0.0
    assert wilson(10, 10).high == 1.0


def test_futures_are_the_same_on_one_thread_and_two(machine: Machine) -> None:
    one, two = (futures(machine, hours=3, runs=6, threads=n) for n in (1, 2))
    assert np.array_equal(one.fall, two.fall)
    assert np.array_equal(one.largest, two.largest)
    assert len(np.unique(one.fall)) == 6
    assert list(one.table["runs"]) == [6] * 6
    chances = one.table["probability"].to_numpy()[:4]
    assert np.all(np.diff(chances) <= 0.0)


def test_the_fund_that_would_have_paid_is_not_cut_off_where_the_real_one_ended(machine: Machine) -> None:
    poor = empty_fund(machine)
    poor.world = replace(poor.world, market=replace(poor.world.market, news=20_000.0, news_size=0.08))
    found = futures(poor, hours=6, runs=8)
    assert found.exhausted.hits > 0
    assert found.shortfall.max() > 0.0
    assert found.required_fund(0.5).fund >= 0.0


def test_sensitivity_has_a_row_a_value_and_leverage_caps_help() -> None:
    table = sensitivity(SMALL, -0.15, {"leverage cap": (100.0, 3.0)}, seeds=(1,), hours=2.0)
    assert list(table.index) == [("leverage cap", "100"), ("leverage cap", "3")]
    forced = table["liquidated, part of open interest"].to_numpy()
    assert forced[1] < forced[0]


@pytest.mark.parametrize("rule", list(CHANGES))
def test_every_rule_can_be_turned(rule: str) -> None:
    change, values, _ = CHANGES[rule]
    assert isinstance(change(SMALL, values[-1]), World)


# --- a strategy inside -----------------------------------------------------------------------------------------------


class Follow(Strategy):
    """Long after a rise, short after a fall."""

    bars_back: int = 6
    leverage: float = 1.0

    def features(self, market):
        close = np.asarray(market.close)
        moved = np.full(len(close), np.nan)
        moved[self.bars_back :] = close[self.bars_back :] / close[: -self.bars_back] - 1.0
        return {"moved": moved}

    @staticmethod
    def decide(position, moved, leverage):
        if moved > 0.004:
            return leverage
        if moved < -0.004:
            return -leverage
        return HOLD


def test_with_small_money_inside_and_the_recorded_path_agree() -> None:
    found = inside(Follow(), SMALL, days=4, warm_days=2, equity=2_000.0)
    returns = found.table.loc["return"]
    assert found.traded > 0.0
    assert returns["inside"] == pytest.approx(returns["on the recorded path"], abs=0.015)
    assert found.price[-1] == pytest.approx(found.recorded_price[-1], rel=0.01)
    assert len(found.price) == len(found.recorded_price) == 96
    fee = SMALL.venue.fees.taker
    assert found.fees == pytest.approx(fee * found.traded, rel=1e-4)
    costs = found.outside.measures
    assert found.fees == pytest.approx(costs["fees"], rel=0.02)
    assert found.funding == pytest.approx(costs["funding"], abs=0.2)  # the last of twelve is in one of them alone


def test_large_money_moves_the_market_it_trades_in() -> None:
    small, large = (inside(Follow(), SMALL, days=2, warm_days=2, equity=money) for money in (2_000.0, 4e6))
    assert np.array_equal(small.recorded_price, large.recorded_price)
    moved = [float(np.max(np.abs(np.log(x.price / x.recorded_price)))) for x in (small, large)]
    assert moved[1] > 5.0 * moved[0]


def test_a_stop_is_known_inside_and_others_are_refused() -> None:
    class Careful(Follow):
        take_profit: float = 0.1

    with pytest.raises(BadInput, match="take_profit is not known inside"):
        inside(Careful(), SMALL, days=1, warm_days=2)


def test_an_account_larger_than_the_market_is_refused() -> None:
    with pytest.raises(BadInput, match="more than half of the open interest"):
        inside(Follow(), SMALL, days=2, warm_days=2, equity=1e9)


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_examples_of_the_docs_run() -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "crowd.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/crowd.md", "exec"), names)
    assert len(blocks) >= 3
    assert "odds" in names
