"""The reference engine on cases small enough to calculate by hand: the numbers in the tests are that calculation."""

from __future__ import annotations

import math
from typing import Any

import engine_markets as M
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest import prepare as p
from backtest.records import Cash, Refusal, Run, Why
from backtest.reference import run
from backtest.reference_breach import first_breach, first_joint_breach
from backtest.reference_parts import Leg, TierRow, Tiers, lots
from data.errors import BadInput

FLAT = [(0.0, 1e15, 0.005, 125.0, 0.0)]  # half a percent of everything
STEPS = [(0.0, 5_000.0, 0.01, 100.0, 0.0), (5_000.0, 1e15, 0.02, 50.0, 50.0)]
NAN = math.nan


def bars(*rows: Any, mark: Any = None, present: Any = None) -> Any:
    """A number is a bar that stands still; four are open, high, low, close."""
    return M.bars_of(ohlc(rows), None if mark is None else ohlc(mark), present)


def ohlc(rows: Any) -> list[tuple[float, ...]]:
    return [(float(row),) * 4 if isinstance(row, int | float) else row for row in rows]


def side_by_side(*markets: Any) -> Any:
    """Several symbols: bars of each."""
    trade = np.stack([np.array(ohlc(rows), dtype=float) for rows in markets], axis=1)
    return M.bars_of(trade)


def kinds_of(run_: Run) -> list[tuple[int, Cash, float]]:
    return [(int(row["bar"]), Cash(row["kind"]), pytest.approx(float(row["amount"]))) for row in run_.ledger]


def reasons(run_: Run) -> list[tuple[int, Refusal]]:
    return [(int(row["bar"]), Refusal(row["why"])) for row in run_.refused]


def fills(run_: Run) -> list[tuple[int, Why, float, float]]:
    return [
        (int(row["bar"]), Why(row["why"]), pytest.approx(float(row["quantity"])), pytest.approx(float(row["price"])))
        for row in run_.fills
    ]


def levels(run_: Run) -> list[float]:
    return list(run_.leg_series["liquidation_price"][:, 0])


# ---- where a position is liquidated ----------------------------------------------------------------


def test_a_short_without_leverage_has_a_liquidation_price() -> None:
    """Margin 1000 and 10 sold at 100: 2000 - 10 p = 10 p x 0.005, p = 200 / 1.005."""
    made = run(M.prepared(bars(100, 100, 100), tiers=FLAT), M.decisions([-1, None, None]))
    assert levels(made)[1] == pytest.approx(199.00497512437812)


def test_a_long_without_leverage_has_none() -> None:
    made = run(M.prepared(bars(100, 100, 100), tiers=FLAT), M.decisions([1, None, None]))
    assert math.isnan(levels(made)[1])


def test_an_inverse_short_without_leverage_has_none() -> None:
    """It owes what it holds: 1000 USD sold against 10 coins stay worth 1000 USD."""
    case = M.prepared(bars(100, (100, 1e6, 100, 1e6), 1e6), kind=p.INVERSE, tiers=FLAT, equity=10.0)
    made = run(case, M.decisions([-1, None, None]))
    assert np.isnan(levels(made)).all()
    assert made.series["equity"][-1] == pytest.approx(10 * 100 / 1e6)
    assert len(made.liquidations) == 0


@pytest.mark.parametrize(
    ("kind", "target", "level"),
    [
        (p.LINEAR, 10, 90 / 0.995),  # 100 p - 9000 = 100 p x 0.005
        (p.LINEAR, -10, 110 / 1.005),
        (p.INVERSE, 10, 1_005 / 11),  # per coin of margin: 1 + 10 - 1000 / p = 1000 / p x 0.005
        (p.INVERSE, -10, 995 / 9),
    ],
)
def test_ten_times_leverage(kind: int, target: float, level: float) -> None:
    made = run(M.prepared(bars(100, 100, 100), kind=kind, tiers=FLAT), M.decisions([target, None, None]))
    assert levels(made)[1] == pytest.approx(level)


def test_liquidated_inside_the_bar_at_the_level_and_not_at_the_low() -> None:
    """Maintenance is left at the level, 100 x 90.4523 x 0.005 = 45.2261, and the venue keeps it."""
    case = M.prepared(bars(100, (100, 100, 80, 99), 99), tiers=FLAT)
    made = run(case, M.decisions([10, None, None]))
    level = 90 / 0.995
    assert kinds_of(made) == [(1, Cash.FILL, 100 * (level - 100)), (1, Cash.INSURANCE, -0.5 * level)]
    row = made.liquidations[0]
    assert (row["trigger"], row["bankruptcy"], row["loss"]) == pytest.approx((level, 90.0, 1000.0))
    assert made.series["equity"].tolist() == pytest.approx([1000, 0, 0])
    assert made.ruined_bar == 1
    assert made.margin_distance[1] == 0.0


def test_the_mark_liquidates_and_the_trade_price_does_not() -> None:
    case = M.prepared(bars(100, (100, 100, 80, 99), 99, mark=[100, (100, 100, 91, 99), 99]), tiers=FLAT)
    assert len(run(case, M.decisions([10, None, None])).liquidations) == 0


def test_a_venue_that_sells_in_the_market_returns_what_is_left() -> None:
    case = M.prepared(bars(100, (100, 100, 80, 99), 99), tiers=FLAT, residual=p.MARKET, backstop=2 / 3)
    made = run(case, M.decisions([10, None, None]))
    assert made.series["wallet"][1] == pytest.approx(0.5 * 90 / 0.995)
    assert kinds_of(made) == [(1, Cash.FILL, 100 * (90 / 0.995 - 100))]


def test_below_the_backstop_it_takes_over() -> None:
    """At an open of 90.2: balance 20, maintenance 45.1, two thirds of it 30.07."""
    case = M.prepared(bars(100, 100, 90.2, 90.2), tiers=FLAT, residual=p.MARKET, backstop=2 / 3)
    made = run(case, M.decisions([10, None, None, None]))
    assert kinds_of(made) == [(2, Cash.FILL, -980.0), (2, Cash.INSURANCE, -20.0)]


def test_a_gap_through_bankruptcy_acts_at_the_open_and_the_fund_pays() -> None:
    """100 bought at 100 with a margin of 1000; the next bar opens at 80: 2000 are lost."""
    case = M.prepared(bars(100, 100, 80, 120), tiers=FLAT)
    made = run(case, M.decisions([10, None, None, None]))
    assert kinds_of(made) == [(2, Cash.FILL, -2000.0), (2, Cash.INSURANCE, 1000.0)]
    row = made.liquidations[0]
    assert (row["trigger"], row["price"], row["insurance"], row["loss"]) == pytest.approx((80, 80, 1000, 1000))
    assert made.series["equity"][-1] == pytest.approx(0.0, abs=1e-9)


def taking(case: Any, *half_spread: float) -> Any:
    """The same with a half spread in each bar."""
    column = np.array(half_spread)[:, None]
    return M.with_rules(case, taking=p.Taking(column, column * 0, column * 0, 0.5))


def test_the_fee_of_a_liquidation_is_at_most_what_is_left() -> None:
    """1.25 % of 9045 would be 113; 45.23 are left."""
    case = M.prepared(bars(100, (100, 100, 80, 99), 99), tiers=FLAT, liquidation_fee=0.0125)
    made = run(case, M.decisions([10, None, None]))
    assert made.liquidations["fee"][0] == pytest.approx(0.5 * 90 / 0.995)
    assert made.liquidations["insurance"][0] == pytest.approx(0.0, abs=1e-9)


def test_the_fund_pays_the_slippage_that_the_margin_cannot() -> None:
    """99.01 bought at 101 with a margin of 10.1 each. At 90.9 / 0.995 half a percent is left, and selling costs one."""
    case = taking(M.prepared(bars(100, (100, 100, 80, 99), 99), tiers=FLAT, liquidation_fee=0.0125), 0.0, 0.01, 0.01)
    made = run(case, M.decisions([10, None, None]))
    held, level = 1000 / 10.1, 90.9 / 0.995
    assert fills(made) == [(1, Why.MARKET, held, 101.0), (1, Why.LIQUIDATION, -held, 0.99 * level)]
    row = made.liquidations[0]
    assert (row["trigger"], row["insurance"]) == pytest.approx((level, held * level * 0.005))
    assert row["fee"] == 0.0
    assert made.series["wallet"][1] == pytest.approx(0.0, abs=1e-9)


def test_maintenance_in_pieces() -> None:
    """100 bought at 100, margin 1000: 100 p - 9000 = 100 p x 0.02 - 50 while worth more than 5000: p = 8950 / 98."""
    made = run(M.prepared(bars(100, 100, 100), tiers=STEPS), M.decisions([10, None, None]))
    assert levels(made)[1] == pytest.approx(8950 / 98)


def test_a_notional_on_the_boundary_is_in_the_lower_tier() -> None:
    tiers = Tiers([TierRow(*row) for row in STEPS], 0.0, whole=True)
    assert (tiers.maintenance(5_000.0), tiers.maintenance(5_001.0)) == pytest.approx((50.0, 100.02))
    assert tiers.max_leverage(5_000.0) == 100.0


def test_the_whole_rule_liquidates_a_short_where_it_enters_the_next_tier() -> None:
    """48 sold at 100 with a margin of 192: nothing is due before 5000 / 48 = 104.17, where 1 % becomes 30 %."""
    steps = [(0.0, 5_000.0, 0.001, 100.0, 0.0), (5_000.0, 1e15, 0.3, 50.0, 0.0)]
    case = M.prepared(bars(100, 100, 100), tiers=steps, whole_tiers=True, leverage=4.8)
    made = run(case, M.decisions([-4.8, None, None]))
    assert levels(made)[1] == pytest.approx(5000 / 48)


# ---- what moves the level ---------------------------------------------------------------------------


def test_funding_liquidates() -> None:
    """9.6 % of 10,000 is 960: of the margin of 1000, 40 are left, and 50 are due."""
    case = M.prepared(bars(100, 100, 100, 100), tiers=FLAT, events=[M.event(2, 0.096)])
    made = run(case, M.decisions([10, None, None, None]))
    assert kinds_of(made) == [(2, Cash.FUNDING, -960.0), (2, Cash.INSURANCE, -40.0)]
    assert fills(made)[-1] == (2, Why.LIQUIDATION, -100.0, 100.0)
    assert made.fundings[0]["at_open"] == 1
    assert made.liquidations[0]["loss"] == pytest.approx(40.0)


def test_funding_moves_the_level_and_comes_out_of_the_isolated_margin() -> None:
    """Margin 1000 - 100 = 900: 100 p - 9100 = 0.5 p."""
    case = M.prepared(bars(100, 100, 100, 100), tiers=FLAT, events=[M.event(2, 0.01)])
    made = run(case, M.decisions([10, None, None, None]))
    assert levels(made)[1:3] == pytest.approx([90 / 0.995, 91 / 0.995])


def test_a_settlement_is_paid_on_its_own_price() -> None:
    case = M.prepared(bars(100, 100, 100), events=[M.event(2, 0.01, price=110.0)])
    made = run(case, M.decisions([1, None, None]))
    assert kinds_of(made) == [(2, Cash.FUNDING, -11.0)]
    assert made.fundings[0]["known_price"] == 1


def test_a_settlement_of_an_inverse_contract_is_paid_in_coin() -> None:
    """1000 USD at 125 are 8 coins."""
    case = M.prepared(bars(100, 125, 125), kind=p.INVERSE, events=[M.event(2, 0.01)], equity=10.0)
    made = run(case, M.decisions([-1, None, None]))
    assert kinds_of(made) == [(2, Cash.FUNDING, 0.08)]


def test_a_tier_change_overnight_liquidates() -> None:
    """From bar 3 on 11 % are due, and 10 % are there: 1000 of 10,000."""
    tables = [(0, 0, FLAT), (0, 3, [(0.0, 1e15, 0.11, 5.0, 0.0)])]
    made = run(M.prepared(bars(100, 100, 100, 100, 100), tiers=tables), M.decisions([10] + [None] * 4))
    assert fills(made)[-1] == (3, Why.LIQUIDATION, -100.0, 100.0)
    assert made.liquidations[0]["insurance"] == pytest.approx(-1000.0)


def test_closed_at_the_stamp_of_a_settlement_pays_it_and_opened_there_does_not() -> None:
    events = [M.event(1, 0.01), M.event(2, 0.01)]
    made = run(M.prepared(bars(100, 100, 100, 100), events=events), M.decisions([1, 0, None, None]))
    assert [(row["bar"], why) for row, why in zip(made.fills, ["open", "close"], strict=True)] == [
        (1, "open"),
        (2, "close"),
    ]
    assert kinds_of(made) == [(2, Cash.FUNDING, -10.0)]


def test_a_settlement_inside_the_bar_is_paid_by_who_opened_at_its_open() -> None:
    events = [M.event(1, 0.01, inside=1), M.event(2, 0.01, inside=1)]
    made = run(M.prepared(bars(100, 100, 100, 100), events=events), M.decisions([1, 0, None, None]))
    assert kinds_of(made) == [(1, Cash.FUNDING, -10.0)]


# ---- partial liquidation -------------------------------------------------------------------------------


def test_down_one_tier() -> None:
    """Breached at 8950 / 98 = 91.3265, where 54.7486 are worth 5000: 45.2514 go, and 50 are due instead of 132.65."""
    case = M.prepared(bars(100, (100, 100, 91, 95), 95), tiers=STEPS, reduction=p.REDUCE_TIER)
    made = run(case, M.decisions([10, None, None]))
    level = 8950 / 98
    kept = 5000 / level
    assert fills(made)[1:] == [(1, Why.REDUCTION, -(100 - kept), level)]
    assert made.leg_series["position"][1, 0] == pytest.approx(kept)
    margin = 1000 + (100 - kept) * (level - 100)
    assert levels(made)[1] == pytest.approx((100 * kept - margin) / (0.99 * kept))
    assert made.ruined_bar == -1


def test_in_the_lowest_tier_all_goes() -> None:
    case = M.prepared(bars(100, (100, 100, 80, 95), 95), tiers=FLAT, reduction=p.REDUCE_TIER)
    assert [row[1] for row in fills(run(case, M.decisions([10, None, None])))] == [Why.MARKET, Why.LIQUIDATION]


def test_two_tiers_from_the_third_on() -> None:
    table = [(0.0, 2e3, 0.01, 99.0, 0.0), (2e3, 5e3, 0.02, 99.0, 20.0), (5e3, 1e15, 0.03, 99.0, 70.0)]
    case = M.prepared(bars(100, (100, 100, 92, 95), 95), tiers=table, reduction=p.REDUCE_TWO_TIERS)
    made = run(case, M.decisions([10, None, None]))
    level = (9000 - 70) / 97  # 100 p - 9000 = 3 p - 70
    assert made.leg_series["position"][1, 0] == pytest.approx(2000 / level)


def test_a_fraction_first_and_then_all_of_it() -> None:
    """Above 5000 a fifth goes first. At that place the rest is safe; at the next one the bar has had its reduction."""
    rules = {"reduction": p.REDUCE_FRACTION, "reduction_fraction": 0.2, "reduction_above": 5_000.0}
    case = M.prepared(bars(100, (100, 100, 80, 95), 95), tiers=FLAT, **rules)
    made = run(case, M.decisions([10, None, None]))
    first = 90 / 0.995
    second = (8000 - (1000 + 20 * (first - 100))) / 80 / 0.995
    assert fills(made)[1:] == [(1, Why.REDUCTION, -20.0, first), (1, Why.LIQUIDATION, -80.0, second)]


def test_kept_quantities_are_rounded_down_to_lots() -> None:
    case = M.prepared(bars(100, (100, 100, 91, 95), 95), tiers=STEPS, reduction=p.REDUCE_TIER, lot=10.0)
    assert run(case, M.decisions([10, None, None])).leg_series["position"][1, 0] == 50.0


# ---- orders -------------------------------------------------------------------------------------------------


def test_lots_are_rounded_toward_zero() -> None:
    assert (lots(0.29, 0.1), lots(-0.29, 0.1), lots(0.3, 0.1), lots(0.29, 0.0)) == pytest.approx((0.2, -0.2, 0.3, 0.29))


def test_fees_and_slippage_of_a_round_trip() -> None:
    """5 bought 1 % above 100 and sold 1 % below 110, with 0.1 % of each notional as fee."""
    case = taking(M.prepared(bars(100, 100, 110, 110), taker=0.001), 0.01, 0.01, 0.01, 0.01)
    made = run(case, M.decisions([0.5, 0, None, None]))
    assert fills(made) == [(1, Why.MARKET, 5.0, 101.0), (2, Why.MARKET, -5.0, 108.9)]
    assert kinds_of(made) == [(1, Cash.FEE, -0.505), (2, Cash.FILL, 39.5), (2, Cash.FEE, -0.5445)]
    assert made.fills["slippage"].tolist() == pytest.approx([5.0, 5.5])


def test_impact_grows_with_size() -> None:
    """a sqrt(10,000) = 0.01, b x 10,000 = 0.02: the larger."""
    one = np.ones((3, 1))
    case = M.prepared(bars(100, 100, 100), shortfall=p.REDUCE, leverage=10.0)
    case = M.with_rules(case, taking=p.Taking(one * 0.001, one * 1e-4, one * 2e-6, 0.5), equity=10_000.0)
    assert run(case, M.decisions([1, None, None])).fills["price"][0] == pytest.approx(102.1)


def test_increases_that_do_not_fit_together_are_scaled_by_one_factor() -> None:
    """0.8 and 0.6 of 1000 without leverage: 1400 asked for, 1000 there."""
    case = M.prepared(side_by_side([100] * 3, [50] * 3))
    made = run(case, M.decisions([(0.8, 0.6), (None, None), (None, None)]))
    assert made.fills["quantity"].tolist() == pytest.approx([8 / 1.4, 12 / 1.4])
    assert made.scaled == 2
    assert made.series["gross"][1] == pytest.approx(1.0)


def test_reductions_go_first() -> None:
    """The second symbol is sold before the first is bought with what that frees."""
    case = M.prepared(side_by_side([100] * 4, [50] * 4))
    made = run(case, M.decisions([(0, 1), (1, 0), (None, None), (None, None)]))
    assert [(row["symbol"], row["quantity"]) for row in made.fills[1:]] == [(1, -20.0), (0, 10.0)]


@pytest.mark.parametrize(
    ("rules", "target", "why"),
    [
        ({"min_notional": 600.0}, 0.5, Refusal.TOO_SMALL),
        ({"lot": 6.0}, 0.5, Refusal.TOO_SMALL),
        ({"tiers": FLAT, "leverage": 126.0}, 1, Refusal.LEVERAGE),
        ({"leverage": 2.0}, 3, Refusal.MARGIN),
        ({"kind": p.SPOT, "mode": p.CROSS}, -0.5, Refusal.SHORT_SPOT),
        ({"kind": p.SPOT, "mode": p.CROSS}, 1.5, Refusal.MARGIN),
        ({"tiers": [(0.0, 1e15, 0.1, 100.0, 0.0)]}, 10, Refusal.LIQUIDATION),
    ],
)
def test_refused(rules: Any, target: float, why: Refusal) -> None:
    made = run(M.prepared(bars(100, 100, 100), **rules), M.decisions([target, None, None]))
    assert reasons(made) == [(1, why)]
    assert len(made.fills) == 0


def test_an_order_that_only_adjusts_and_is_too_small_is_dropped_without_a_word() -> None:
    case = M.prepared(bars(100, 100, 100, 100), min_notional=200.0)
    made = run(case, M.decisions([0.5, 0.6, None, None]))
    assert len(made.fills) == 1
    assert len(made.refused) == 0


def test_the_reducing_part_of_a_reversal_is_refused_with_it() -> None:
    case = M.prepared(bars(100, 100, 100, 100), leverage=2.0)
    made = run(case, M.decisions([1, -3, None, None]))
    assert reasons(made) == [(2, Refusal.MARGIN)]
    assert made.leg_series["position"][-1, 0] == 10.0


def test_a_refused_leg_takes_the_other_leg_of_its_pair_along() -> None:
    market = side_by_side([100] * 3, [100] * 3)
    case = M.prepared(
        market, kind=[p.SPOT, p.LINEAR], mode=[p.CROSS, p.ISOLATED], pair=[1, 0], min_notional=[600.0, 0.0]
    )
    made = run(case, M.decisions([(0.5, -0.5), (None, None), (None, None)]))
    assert reasons(made) == [(1, Refusal.TOO_SMALL), (1, Refusal.PAIR)]
    assert len(made.fills) == 0


def test_spot_is_paid_in_full_and_counts_in_equity() -> None:
    case = M.prepared(bars(100, 100, 120), kind=p.SPOT, mode=p.CROSS)
    made = run(case, M.decisions([0.5, None, None]))
    assert kinds_of(made) == [(1, Cash.FILL, -500.0)]
    assert made.series["equity"].tolist() == pytest.approx([1000, 1000, 1100])


def test_participation_leaves_a_rest_that_works_on() -> None:
    case = M.prepared(bars(100, 100, 100, 100), participation=0.5, lot=1.0)
    case = M.with_rules(case, volume=np.array([[9.0], [9.0], [0.0], [99.0]]))
    made = run(case, M.decisions([1, None, None, None]))
    assert fills(made) == [(1, Why.MARKET, 4.0, 100.0), (3, Why.MARKET, 6.0, 100.0)]


def test_an_order_waits_for_a_bar_that_trades() -> None:
    case = M.prepared(bars(100, 100, 105, 105, present=[True, False, True, True]), leverage=2.0)
    assert fills(run(case, M.decisions([1, None, None, None]))) == [(2, Why.MARKET, 10.0, 105.0)]


def test_an_order_is_made_smaller_where_a_gap_made_it_too_dear() -> None:
    """10 at 105 need 1050."""
    made = run(M.prepared(bars(100, 105, 105)), M.decisions([1, None, None]))
    assert fills(made) == [(1, Why.MARKET, 1000 / 105, 105.0)]
    assert made.scaled == 1


def test_delay_and_replacement() -> None:
    """Decided at 0 and 1, due at 2 and 3: the second replaces what the first left."""
    made = run(M.prepared(bars(100, 100, 100, 100, 100), delay=1), M.decisions([1, 0.5, None, None, None]))
    assert fills(made) == [(2, Why.MARKET, 10.0, 100.0), (3, Why.MARKET, -5.0, 100.0)]


def test_nothing_is_decided_in_warm_up_nor_in_the_last_bar() -> None:
    made = run(M.prepared(bars(100, 100, 100, 100), warmup=2), M.decisions([1, 1, 0.5, 1]))
    assert fills(made) == [(3, Why.MARKET, 5.0, 100.0)]
    assert made.skipped == 2


def test_a_target_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadInput, match="bar 1, symbol 0"):
        run(M.prepared(bars(100, 100, 100)), M.decisions([None, NAN, None]))


# ---- limits, stops and their order -----------------------------------------------------------------------------


def test_a_limit_fills_only_where_the_price_trades_a_tick_through_it() -> None:
    """Bought at 99 with a tick of 0.5: 99 and 98.6 do not fill it, 98.5 does."""
    market = bars(100, (100, 100, 99, 100), (100, 100, 98.6, 100), (100, 100, 98.5, 100))
    case = M.prepared(market, tick=0.5, maker=0.001, taker=0.1)
    made = run(case, M.decisions([0.5, None, None, None], limit_offset=0.01))
    assert fills(made) == [(3, Why.LIMIT, 5.0, 99.0)]
    assert kinds_of(made) == [(3, Cash.FEE, -0.495)]


def test_limits_are_rounded_to_the_side_that_fills_later() -> None:
    market = bars(100, (100, 104, 96, 100), 100)
    for target, price in ((1, 98.0), (-1, 102.0)):
        made = run(M.prepared(market, tick=2.0, leverage=5.0), M.decisions([target, None, None], limit_offset=0.01))
        assert fills(made) == [(1, Why.LIMIT, target * 10.0, price)]


def test_a_limit_beyond_the_open_takes_there() -> None:
    made = run(M.prepared(bars(100, 95, 95), leverage=5.0), M.decisions([1, None, None], limit_offset=0.01))
    assert fills(made) == [(1, Why.MARKET, 10.0, 95.0)]


def test_a_limit_lives_its_bars() -> None:
    market = bars(100, 100, 100, (100, 100, 90, 100), 100)
    made = run(M.prepared(market), M.decisions([1, None, None, None, None], limit_offset=0.05, limit_ttl=2))
    assert reasons(made) == [(2, Refusal.EXPIRED)]
    made = run(M.prepared(market), M.decisions([1, None, None, None, None], limit_offset=0.05))
    assert fills(made) == [(3, Why.LIMIT, 10.0, 95.0)]


def test_stop_loss_and_take_profit_in_one_bar_the_adverse_one_first() -> None:
    market = bars(100, (100, 111, 94, 105), 105)
    made = run(M.prepared(market), M.decisions([1, None, None], stop_loss=0.05, take_profit=0.1))
    assert fills(made)[1:] == [(1, Why.STOP_LOSS, -10.0, 95.0)]
    assert made.ambiguous == 1


def test_a_stop_beyond_the_open_acts_at_the_open() -> None:
    made = run(M.prepared(bars(100, 100, 90, 90)), M.decisions([1, None, None, None], stop_loss=0.05))
    assert fills(made)[1:] == [(2, Why.STOP_LOSS, -10.0, 90.0)]


def test_a_stop_that_is_nearer_than_the_liquidation_saves_the_margin() -> None:
    market = bars(100, (100, 100, 80, 80), 80)
    made = run(M.prepared(market, tiers=FLAT), M.decisions([10, None, None], stop_loss=0.08))
    assert fills(made)[1:] == [(1, Why.STOP_LOSS, -100.0, 92.0)]
    made = run(M.prepared(market, tiers=FLAT), M.decisions([10, None, None], stop_loss=0.1))
    assert fills(made)[1:] == [(1, Why.LIQUIDATION, -100.0, 90 / 0.995)]


def test_distance_is_measured_from_the_open_of_each_series() -> None:
    """The mark opens 2 % above the trade: 92 is 8 % away, the liquidation at 90.45 from 102 is 11.3 % away."""
    market = bars(100, (100, 100, 80, 80), 80, mark=[100, (102, 102, 80, 80), 80])
    made = run(M.prepared(market, tiers=FLAT), M.decisions([10, None, None], stop_loss=0.09))
    assert fills(made)[1:] == [(1, Why.STOP_LOSS, -100.0, 91.0)]


def test_a_trailing_stop_ratchets_at_the_close() -> None:
    """Bought at 100; the close of 110 lifts the stop to 99, the high of 120 does not."""
    market = bars(100, (100, 120, 100, 110), (110, 110, 98, 100), 100)
    made = run(M.prepared(market), M.decisions([1, None, None, None], trailing_stop=0.1))
    assert fills(made)[1:] == [(2, Why.TRAILING_STOP, -10.0, 99.0)]


def test_a_stop_works_off_the_rest_in_later_bars_and_cancels_the_order() -> None:
    market = bars(100, 100, (100, 100, 90, 90), 88, 87)
    case = M.prepared(market, participation=1.0, lot=1.0)
    case = M.with_rules(case, volume=np.array([[99.0], [99.0], [4.0], [5.0], [99.0]]))
    made = run(case, M.decisions([1, None, None, None, None], stop_loss=0.05))
    assert fills(made)[1:] == [(2, Why.STOP_LOSS, -4.0, 95.0), (3, Why.MARKET, -5.0, 88.0), (4, Why.MARKET, -1.0, 87.0)]


def test_a_position_that_a_limit_opened_is_not_closed_at_its_profit_in_the_same_bar() -> None:
    market = bars(100, (100, 110, 94, 100), (100, 110, 99, 100), 100)
    case = M.prepared(market, leverage=5.0)
    made = run(case, M.decisions([1, None, None, None], limit_offset=0.05, take_profit=0.1))
    assert fills(made) == [(1, Why.LIMIT, 10.0, 95.0), (2, Why.TAKE_PROFIT, -10.0, 104.5)]


def test_a_position_that_a_limit_opened_can_be_stopped_in_the_same_bar() -> None:
    market = bars(100, (100, 110, 90, 100), 100)
    made = run(M.prepared(market, leverage=5.0), M.decisions([1, None, None], limit_offset=0.05, stop_loss=0.04))
    assert fills(made) == [(1, Why.LIMIT, 10.0, 95.0), (1, Why.STOP_LOSS, -10.0, 91.2)]


# ---- finer bars ------------------------------------------------------------------------------------------------


def with_detail(case: Any, *rows: Any, each: int) -> Any:
    first = np.arange(case.n + 1, dtype=np.int64) * each
    return M.with_rules(case, detail=bars(*rows), detail_first=first)


def test_finer_bars_tell_which_came_first() -> None:
    market = bars(100, (100, 111, 94, 105), 105)
    case = with_detail(M.prepared(market), 100, 100, (100, 111, 100, 108), (108, 108, 94, 105), 105, 105, each=2)
    made = run(case, M.decisions([1, None, None], stop_loss=0.05, take_profit=0.1))
    assert fills(made)[1:] == [(1, Why.TAKE_PROFIT, -10.0, 110.0)]
    assert made.ambiguous == 0


def test_a_settlement_inside_is_paid_on_the_mark_of_its_finer_bar() -> None:
    event = (1, 1, 0, p.FUNDING_EVENT, 3, 0.01, NAN)
    case = with_detail(
        M.prepared(bars(100, (100, 110, 100, 110), 110), events=[event]), 100, 100, 100, 110, 110, 110, each=2
    )
    assert kinds_of(run(case, M.decisions([1, None, None]))) == [(1, Cash.FUNDING, -11.0)]


# ---- several legs on one wallet -----------------------------------------------------------------------------------


def test_a_hedge_is_not_torn_apart_but_by_the_worst_path() -> None:
    """5 x long one and 5 x short another that moves along: 20 % down and up again cost nothing together."""
    move = [100, 100, (100, 120, 80, 100), 100]
    for path, liquidated in ((p.JOINT, False), (p.WORST, True), (p.CLOSE, False)):
        case = M.prepared(side_by_side(move, move), mode=p.CROSS, tiers=FLAT, path=path, leverage=10.0)
        made = run(case, M.decisions([(5, -5), *[(None, None)] * 3]))
        assert (len(made.liquidations) > 0) == liquidated, path


def test_where_two_longs_meet_their_maintenance() -> None:
    """Each 40 at 100 against 1000: at the place w both are at 100 - 20 w. 1000 - 1600 w = 0.005 x 80 x (100 - 20 w)."""
    move = [100, (100, 100, 80, 90), 90]
    case = M.prepared(side_by_side(move, move), mode=p.CROSS, tiers=FLAT, leverage=10.0)
    made = run(case, M.decisions([(4, 4), (None, None), (None, None)]))
    w = (1000 - 40) / (1600 - 8)
    assert made.liquidations["trigger"].tolist() == pytest.approx([100 - 20 * w] * 2)
    assert np.isnan(made.liquidations["bankruptcy"]).all()
    assert made.series["wallet"][1] == pytest.approx(0.0, abs=1e-9)


def test_cross_reductions_begin_with_the_largest_maintenance() -> None:
    move = [100, (100, 100, 80, 90), 90]
    case = M.prepared(side_by_side(move, move), mode=p.CROSS, tiers=STEPS, leverage=10.0, reduction=p.REDUCE_TIER)
    made = run(case, M.decisions([(2, 6), (None, None), (None, None)]))
    assert (made.liquidations["symbol"][0], made.liquidations["why"][0]) == (1, Why.REDUCTION)


def test_spot_is_collateral_only_by_its_weight() -> None:
    """500 in spot at 0.8: cash 500, 10 sold at 100, and 500 + 400 - (1000 - 1000) are 90 % of it."""
    market = side_by_side([100] * 3, [100] * 3)
    for weight, ratio in ((0.0, 5 / 500), (0.8, 5 / 900)):
        case = M.prepared(
            market, kind=[p.SPOT, p.LINEAR], mode=p.CROSS, tiers=[(1, 0, FLAT)], leverage=5.0, collateral_weight=weight
        )
        made = run(case, M.decisions([(0.5, -1), (None, None), (None, None)]))
        assert made.series["margin_ratio"][1] == pytest.approx(ratio)


# ---- the rest of the clock -------------------------------------------------------------------------------------------


def test_a_delisted_symbol_is_closed_at_its_last_mark() -> None:
    case = M.prepared(
        bars(100, 100, 110, 110, present=[True, True, True, False]), last_bar=2, taker=0.001, leverage=5.0
    )
    made = run(case, M.decisions([1, None, 1, 1]))
    assert fills(made)[1:] == [(2, Why.DELISTED, -10.0, 110.0)]
    assert made.fills["fee"][1] == pytest.approx(1.1)


def test_a_venue_deleverages_the_side_it_names() -> None:
    events = [M.event(2, part, inside=1, kind=p.ADL_EVENT, price=90.0) for part in (-0.5, 0.25)]
    made = run(M.prepared(bars(100, 100, 100), events=events), M.decisions([1, None, None]))
    assert fills(made)[1:] == [(2, Why.DELEVERAGED, -2.5, 90.0)]


def test_idle_cash_earns_at_the_end_of_a_day() -> None:
    case = M.with_rules(M.prepared(bars(100, 100, 100), cash_rate=0.365), day_end=np.array([False, True, False]))
    assert kinds_of(run(case, M.decisions([0.4, None, None]))) == [(1, Cash.INTEREST, 0.6)]  # 400 are margin


def test_bad_debt_of_an_isolated_leg_is_not_the_wallet_s() -> None:
    """Half the wallet is margin of a short that is closed at three times its price: 500 are lost, not 1000."""
    market = bars(100, 100, 300, 300)
    made = run(M.prepared(market, leverage=1.0), M.decisions([-0.5, 0, None, None]))
    assert made.series["wallet"][-1] == pytest.approx(500.0)
    assert made.liquidations["insurance"][0] == pytest.approx(500.0)


def test_what_a_decision_sees() -> None:
    seen: list[dict[str, float]] = []

    def decide(bar: int, symbol: int, state: dict[str, float]) -> float:
        seen.append(state)
        return 2.0 if bar == 0 else 1e300

    run(M.prepared(bars(100, 100, (100, 110, 100, 110), (110, 110, 10, 10), 10), tiers=FLAT), decide)
    assert [state["bars_held"] for state in seen[:3]] == [0, 1, 2]
    state = seen[2]
    assert (state["equity"], state["position"], state["unrealized"]) == pytest.approx((1200, 2200 / 1200, 200 / 1200))
    assert (state["entry_price"], state["drawdown"], state["margin_ratio"]) == pytest.approx((100, 0, 11 / 1200))
    assert state["bars_since_liquidation"] == 1e9
    assert len(seen) == 3  # ruined in bar 3


# ---- the searches against their definition -------------------------------------------------------------------------


numbers = st.integers(0, 2**32 - 1)


def a_leg(rng: np.random.Generator, mark: float) -> tuple[Leg, float, Tiers]:
    """A leg that is safe at `mark`, with its cash and its tiers."""
    kind = int(rng.integers(0, 2))
    leg = Leg(0, kind, True, 0.0, 0.0, 0.0, -1, -1)
    leg.quantity = float(rng.choice([-1, 1]) * 10.0 ** rng.uniform(-2, 3))
    leg.v_entry = leg.value(mark * float(rng.uniform(0.8, 1.25)))
    held = leg.notional(mark)
    caps = [*np.cumsum(rng.uniform(0.1, 1.0, 3)) * held, math.inf]
    rows, floor, before, cum = [], 0.0, 0.0, 0.0
    for cap, mmr in zip(caps, np.cumsum(rng.uniform(0.001, 0.1, 4)), strict=True):
        cum += floor * (float(mmr) - before)
        rows.append(TierRow(floor, float(cap), float(mmr), 100.0, cum))
        floor, before = float(cap), float(mmr)
    tiers = Tiers(rows, float(rng.choice([0.0, 0.001])), bool(rng.integers(0, 2)))
    least = tiers.maintenance(held) - leg.unrealised(mark)
    return leg, least + float(10.0 ** rng.uniform(-4, 0.5)) * held, tiers


@given(numbers)
def test_before_the_level_a_leg_is_safe_and_at_it_no_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mark = float(10.0 ** rng.uniform(-1, 4))
    leg, cash, tiers = a_leg(rng, mark)

    def surplus(price: float) -> float:
        return cash + leg.unrealised(price) - tiers.maintenance(leg.notional(price))

    level, side = first_breach(leg, cash, mark, tiers), -1 if leg.quantity > 0 else 1
    end = level if level is not None else mark * (1e-6 if side < 0 else 1e6)
    assert side * (end - mark) >= 0
    ways = mark * (end / mark) ** np.linspace(0.0, 1.0 - 1e-9, 200)
    assert min(map(surplus, ways.tolist())) > -1e-9 * leg.notional(mark)
    if level is not None:
        assert surplus(level * (1 + side * 1e-7)) <= 1e-9 * leg.notional(mark)


@given(numbers, st.integers(2, 4))
def test_before_the_joint_place_the_account_is_safe_and_at_it_no_more(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    marks = 10.0 ** rng.uniform(-1, 4, count)
    made = [a_leg(rng, float(mark)) for mark in marks]
    for j, (leg, _, _) in enumerate(made):
        leg.symbol = j
    cash = 0.3 * sum(cash for _, cash, _ in made)
    ways = [(float(mark), float(mark * rng.uniform(0.4, 1.8))) for mark in marks]
    legs = [(leg, tiers) for leg, _, tiers in made]
    scale = sum(leg.notional(ways[leg.symbol][0]) for leg, _ in legs)

    def surplus(w: float) -> float:
        at = [start + w * (end - start) for start, end in ways]
        return cash + sum(
            leg.unrealised(at[j]) - tiers.maintenance(leg.notional(at[j])) for j, (leg, tiers) in enumerate(legs)
        )

    place = first_joint_breach(legs, [], cash, 0.0, ways, 0.0)
    if place > 0.0:
        assert min(map(surplus, np.linspace(0, place, 200, endpoint=False).tolist())) > -1e-9 * scale
    if place < 1.0:
        assert surplus(min(1.0, place + 1e-7)) <= 1e-6 * scale  # a boundary is met a little late, see EDGE
