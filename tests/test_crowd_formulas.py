"""Formulas of liquidations and cascades: worked numbers beside their source, and what must hold of any numbers.

PAPER: T. Chitra, Autodeleveraging: Impossibilities and Optimization (arXiv 2512.01112), its running example of five
positions and the appendix on liquidations, in the corrected text of pluriholonomic/autodeleveraging-analysis. It
prints four decimals.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.crowd import formulas as f
from backtest.venue import brackets
from data.errors import BadInput

pytestmark = pytest.mark.kernel  # prices are by compiled functions of backtest.margin

CLOSE = 1e-9
SIDE = np.array([1, 1, -1, 1, -1])
SIZE = np.array([1.0, 1.0, 4.0, 1.0, 1.0])
COLLATERAL = np.array([2.0, 2.0 / 3.0, 8.0 / 3.0, 2.0 / 19.0, 10.0 / 99.0])
ENTRY = 1.0
MARKS, ORACLES = np.array([1.4, 1.3]), np.array([1.5, 1.25])

some = settings(max_examples=40)
sides = st.sampled_from([1, -1])


def number(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


# ---- prices ---------------------------------------------------------------------------------------------------------


def test_bankruptcy_prices_of_the_paper() -> None:
    found = f.bankruptcy_price(SIDE, SIZE, ENTRY, COLLATERAL)
    assert found == pytest.approx([0.0, 0.3333, 1.6667, 0.8947, 1.1010], abs=5e-5)


def test_liquidation_prices_of_the_paper() -> None:
    found = f.liquidation_price(SIDE, SIZE, ENTRY, COLLATERAL, 0.10)
    assert found == pytest.approx([0.0, 0.3704, 1.5152, 0.9942, 1.0010], abs=1e-4)


@some
@given(sides, number(0.1, 100.0), number(0.5, 50.0), number(0.01, 100.0), number(0.0, 0.3))
def test_equity_at_both_prices(side: int, size: float, entry: float, collateral: float, rate: float) -> None:
    bankrupt = float(f.bankruptcy_price(side, size, entry, collateral))
    liquidated = float(f.liquidation_price(side, size, entry, collateral, rate))
    if bankrupt > 0.0:
        assert f.equity_with_funding(side, size, entry, collateral, bankrupt) == pytest.approx(0.0, abs=1e-7)
        assert side * (liquidated - bankrupt) >= -CLOSE * entry  # met first
    if liquidated > 0.0:
        kept = f.equity_with_funding(side, size, entry, collateral, liquidated)
        assert kept == pytest.approx(rate * size * liquidated, abs=1e-7)
    elif side > 0:
        assert collateral >= size * entry * (1.0 - CLOSE)


@pytest.mark.parametrize(
    ("side", "price", "quantity", "average"),
    [(1, 1.3, 0.5, 1.05), (1, 0.95, 0.2, 0.85), (-1, 1.6, 2.0, 2.6), (1, 0.98, 0.4, 0.78), (-1, 1.05, 0.4, 1.25)],
)
def test_execution_with_linear_impact_of_the_paper(side: int, price: float, quantity: float, average: float) -> None:
    assert f.linear_impact_price(price, side, quantity, slope=1.0) == pytest.approx(average, abs=1e-9)


@some
@given(sides, number(1.0, 1000.0), number(0.01, 10.0), number(0.001, 0.2), number(10.0, 1e6))
def test_averages_of_impact_are_those_of_the_path(
    side: int, price: float, quantity: float, volatility: float, volume: float
) -> None:
    """Of a hundred thousand small orders, each at the price where the one before left it."""
    done = (np.arange(100_000) + 0.5) / 100_000 * quantity
    line = np.mean(price - side * volatility * done)
    assert f.linear_impact_price(price, side, quantity, volatility) == pytest.approx(line, rel=1e-6, abs=1e-6)
    root = np.mean(price * (1.0 - side * f.square_root_impact(done, volatility, volume, 1.07)))
    assert f.square_root_impact_price(price, side, quantity, volatility, volume, 1.07) == pytest.approx(root, rel=1e-6)


def test_square_root_impact_of_a_round_case() -> None:
    """A hundredth of the day's volume at 5 % volatility moves the price by half a percent; four times it, by one."""
    assert f.square_root_impact(np.array([10.0, 40.0]), 0.05, 1000.0) == pytest.approx([0.005, 0.01])
    assert f.square_root_impact_price(100.0, 1, 10.0, 0.05, 1000.0) == pytest.approx(100.0 - 1.0 / 3.0)


# ---- liquidation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_mark", "of_execution", "fee"), [(0.004, 0.0, 0.0026), (0.002, 0.001, 0.00196)], ids=["40", "20 and 10"]
)
def test_fees_of_the_paper(of_mark: float, of_execution: float, fee: float) -> None:
    """Its rates are examples: Hyperliquid's documentation says that it takes no clearance fee."""
    assert f.liquidation_fees(0.5, 1.3, 1.32, of_mark, of_execution) == pytest.approx(fee, abs=1e-9)
    assert f.liquidation_fees(0.5, 1.3, 1.32, of_mark, of_execution, fixed=2.0) == pytest.approx(2.0 + fee, abs=1e-9)


def test_the_slice_of_the_paper_is_more_than_the_position() -> None:
    equity = 10.0 / 99.0 - 4.5
    slice_ = f.slice_to_restore(-1, 1.0, equity, mark=5.5, execution=5.55, rate=0.10, fee=0.003)
    assert slice_ == pytest.approx(10.24, abs=0.005)
    assert f.partial_liquidation(-1, 1.0, equity, mark=5.5, execution=5.55, rate=0.10, fee=0.003) == 1.0


@some
@given(sides, number(0.1, 100.0), number(-50.0, 400.0), number(1.0, 100.0), number(-0.05, 0.05), number(0.005, 0.2))
def test_a_slice_restores_maintenance(
    side: int, size: float, equity: float, mark: float, away: float, rate: float
) -> None:
    execution, fee = mark * (1.0 + away), 0.002
    wanted = float(f.slice_to_restore(side, size, equity, mark, execution, rate, fee))
    closed = float(f.partial_liquidation(side, size, equity, mark, execution, rate, fee))
    assert 0.0 <= closed == min(wanted, size)

    def room(quantity: float) -> float:
        left = equity + side * (execution - mark) * quantity - fee * mark * quantity
        return left - rate * mark * (size - quantity)

    if wanted == 0.0:
        assert room(0.0) >= -CLOSE
    elif math.isfinite(wanted):
        assert room(wanted) == pytest.approx(0.0, abs=1e-9 * (size + wanted) * mark)
    else:
        assert room(size) <= room(0.0) + CLOSE < CLOSE + 1e-12  # the more is closed, the worse


def test_slices_of_arrays() -> None:
    found = f.partial_liquidation(1, np.array([1.0, 1.0, 1.0]), np.array([9.0, 4.0, -1.0]), 100.0, 99.0, 0.05)
    assert found == pytest.approx([0.0, 1.0 / 4.0, 1.0])
    assert f.slice_to_restore(1, 1.0, 4.0, 100.0, 90.0, 0.05) == math.inf


@pytest.mark.parametrize(
    ("side", "quantity", "bankruptcy", "execution", "debt"),
    [(1, 0.4, 0.98 - 2.0 / 19.0, 0.78, 0.0379), (-1, 1.0, 1.05 + 10.0 / 99.0, 1.55, 0.399)],
    ids=["long", "short"],
)
def test_bad_debt_of_the_paper(side: int, quantity: float, bankruptcy: float, execution: float, debt: float) -> None:
    """Its bankruptcy prices are moved to the current mark with the collateral unchanged, and are given here."""
    assert f.bad_debt(side, quantity, bankruptcy, execution) == pytest.approx(debt, abs=5e-5)
    assert f.bad_debt(-side, quantity, bankruptcy, execution) == 0.0


def test_bad_debt_of_dydx() -> None:
    """dydxprotocol/v4-documentation, contract-loss-mechanism: 500 long from 1.0 on 100, closed at 0.77 (oracle 0.801).

    It prints maintenance at the entry price (15); at the oracle it is 12.015.
    """
    bankruptcy = f.bankruptcy_price(1, 500.0, 1.0, 100.0)
    assert f.bad_debt(1, 500.0, bankruptcy, 0.77) == pytest.approx(15.0, abs=0.01)
    assert f.equity_with_funding(1, 500.0, 1.0, 100.0, 0.801) == pytest.approx(0.5, abs=0.01)


def test_maintenance_amounts_of_marginal_tiers() -> None:
    """gptprojectmanager/liquidations, docs/mathematical_foundation.md: examples, not Binance's tiers."""
    rows = [(50e3, 0.005, 20.0), (250e3, 0.01, 10.0), (1e6, 0.025, 5.0), (10e6, 0.05, 4.0), (100e6, 0.1, 2.0)]
    assert [tier.cum for tier in brackets(*rows)] == pytest.approx([0.0, 250.0, 4000.0, 29000.0, 529000.0], abs=1e-6)


# ---- equity ---------------------------------------------------------------------------------------------------------


def equities(count: int) -> Any:
    """After one or two steps of the paper's path, with its funding rates."""
    rates = f.imbalance_funding_rate(3.0, 5.0, MARKS[:count], ORACLES[:count], strength=1.0)
    funding = f.funding_per_coin(rates, MARKS[:count])
    return f.equity_with_funding(SIDE, SIZE, ENTRY, COLLATERAL, MARKS[count - 1], funding)


def test_equity_after_funding_of_the_paper() -> None:
    rates = f.imbalance_funding_rate(3.0, 5.0, MARKS, ORACLES, strength=1.0)
    assert rates == pytest.approx([-0.3333, -0.44], abs=5e-5)
    assert equities(1) == pytest.approx([1.9333, 0.6000, 2.9334, 0.0386, 0.1677], abs=2e-4)
    assert equities(2) == pytest.approx([1.2613, -0.0720, 5.6214, -0.6334, 0.8397], abs=1e-4)


def test_leverage_masses_of_the_paper() -> None:
    """Printed from rounded equities; the step before, all five are winners, and one has hardly anything left."""
    winners, losers = f.leverage_mass(1.3, SIZE, equities(2))
    assert (winners, losers, losers / winners) == pytest.approx((3.504, 20.102, 5.7), abs=0.05)
    assert f.leverage_mass(1.4, SIZE, equities(1)) == (pytest.approx(49.59, abs=0.05), 0.0)
    assert f.leverage_mass(1.0, [2.0, -3.0], [0.0, -1.5]) == (0.0, 2.0)


def test_equity_after_deleveraging_of_the_paper() -> None:
    """Winners are worth 16 and losers owe 15: solvent, and yet not to be covered out of profits, which are 12.5."""
    collateral, profit = np.array([2.0, 1.0, 0.5, 0.0, 0.0]), np.array([8.0, 4.0, 0.5, -3.0, -12.0])
    after = f.equity_after_haircut(collateral, profit, np.array([0.5, 1.0, 0.0, 0.0, 0.0]))
    assert after == pytest.approx([6.0, 1.0, 1.0, -3.0, -12.0], abs=1e-12)
    equity = collateral + profit
    deficit = -equity[equity < 0.0].sum()
    assert equity[equity > 0.0].sum() == 16.0 > deficit == 15.0
    assert not f.profit_covers(deficit, profit)
    assert f.profit_covers(deficit, profit, severity=12.5 / 15.0)
    assert f.profit_covers(12.5, profit)


# ---- insurance ------------------------------------------------------------------------------------------------------


def test_optimal_fund_of_an_exponential_deficit() -> None:
    """PAPER, the fund is the quantile at 1 - r / kappa: of mean 10 and r / kappa = 0.05, 10 ln 20."""
    assert f.optimal_fund(lambda u: -10.0 * math.log1p(-u), cost=0.05, harm=1.0) == pytest.approx(
        29.957322735539908, abs=1e-12
    )
    assert f.optimal_fund(lambda u: -10.0 * math.log1p(-u), cost=0.2, harm=4.0) == pytest.approx(10.0 * math.log(20.0))


def test_a_fund_that_costs_more_than_it_saves_is_none() -> None:
    assert f.optimal_fund(lambda u: 7.0, cost=1.0) == 0.0
    assert f.optimal_fund(lambda u: 7.0, cost=3.0, harm=2.0) == 0.0
    assert f.optimal_fund(lambda u: -7.0, cost=0.5) == 0.0  # deficits that are gains
    assert f.optimal_fund_of_sample([5.0, 9.0], cost=1.0) == f.FundSize(0.0, 0.0, 0.0, 0.95)
    assert f.optimal_fund_of_sample([5.0, 9.0], cost=0.0).fund == 9.0


@some
@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(1, 39))
def test_the_fund_of_a_sample_is_the_cheapest_for_it(deficits: list[int], cost: int) -> None:
    sample = np.array(deficits, dtype=float)

    def costs(fund: float) -> float:
        return cost / 40.0 * fund + float(np.mean(np.maximum(0.0, sample - fund)))

    size = f.optimal_fund_of_sample(sample, cost / 40.0)
    assert costs(size.fund) <= min(costs(other) for other in np.arange(0.0, 41.0, 0.5)) + CLOSE
    assert size.low <= size.fund <= size.high


@pytest.mark.parametrize(("n", "level", "confidence"), [(5, 0.5, 0.9), (200, 0.95, 0.95), (30, 0.99, 0.95)])
def test_bounds_are_those_of_the_binomial(n: int, level: float, confidence: float) -> None:
    """Of deficits 1 to n: the innermost ones beyond which the quantile is with half of what confidence leaves over."""
    binom = pytest.importorskip("scipy.stats").binom(n, level)
    size = f.optimal_fund_of_sample(np.arange(1.0, n + 1.0), 1.0 - level, confidence=confidence)
    tail = (1.0 - confidence) / 2.0
    low = max((place for place in range(1, n + 1) if binom.cdf(place - 1) <= tail), default=0)
    high = min((place for place in range(1, n + 1) if binom.sf(place - 1) <= tail), default=math.inf)
    assert (size.low, size.high) == (low, high)
    assert binom.cdf(high - 1) - binom.cdf(low - 1) >= confidence
    assert size.fund == math.ceil(n * level - CLOSE)


def test_the_true_fund_lies_within_the_bounds_as_often_as_they_say() -> None:
    random = np.random.default_rng(7)
    true = -10.0 * math.log(0.05)
    sizes = [f.optimal_fund_of_sample(random.exponential(10.0, 400), 0.05, confidence=0.9) for _ in range(400)]
    assert np.mean([s.low <= true <= s.high for s in sizes]) == pytest.approx(0.92, abs=0.03)  # 0.9 or a little more
    assert np.mean([s.fund for s in sizes]) == pytest.approx(true, rel=0.03)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([], 0.1), "at least one"),
        (([1.0, math.nan], 0.1), "no NaN"),
        (([1.0], -0.1), "cost is -0.1"),
        (([1.0], 0.1, 0.0), "harm 0"),
        (([1.0], 0.1, 1.0, 1.0), "confidence is 1"),
    ],
)
def test_what_no_fund_can_be_made_of(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        f.optimal_fund_of_sample(*arguments)


# ---- cascades -------------------------------------------------------------------------------------------------------


def waves_of(first: float, *ratios: float) -> list[float]:
    return [first, *(first * float(r) for r in np.cumprod(ratios))]


def test_r0_along_the_path_of_a_real_ladder() -> None:
    """prachishah2003/DeFi-Liquidation-Cascade-Simulator, branching.py: a book of $1,229M, shocked by 26.1 %.

    The first wave would have said that it dies out.
    """
    ratios = (0.148, 1.448, 1.365, 0.808, 1.814, 1.509, 0.0)
    waves = waves_of(100.0, *ratios)
    assert f.path_r0(waves) == pytest.approx(ratios)
    assert f.max_path_r0(waves, 1229.0) == pytest.approx(1.814)


def test_r0_of_a_handful_of_accounts_says_nothing() -> None:
    """The same, shocked by 20 %: $1.2M, that is 0.1 % of the book, trigger $5.7M, and it ends there."""
    assert f.path_r0([1.2, 5.7])[0] == pytest.approx(4.623, abs=0.2)  # both volumes are rounded
    assert math.isnan(f.max_path_r0([1.2, 5.7], 1229.0))
    assert f.max_path_r0([1.2, 5.7], 1229.0, smallest_start=0.0005) == pytest.approx(4.75)
    assert f.max_path_r0([12.3, 5.0], 1229.0) == pytest.approx(5.0 / 12.3)  # just enough
    assert math.isnan(f.max_path_r0([12.2, 5.0], 1229.0))
    assert math.isnan(f.max_path_r0([], 1229.0))
    assert math.isnan(f.max_path_r0([0.0, 3.0], 1229.0))
    assert math.isnan(f.max_path_r0([math.nan, 3.0], 1229.0))
    assert f.max_path_r0([50.0], 1229.0) == 0.0


def test_amplification_and_branching() -> None:
    """Open interest destroyed over what the shock itself liquidated: 1.443, and with it a ratio of 0.307 (min66633)."""
    assert f.branching_of_amplification(1.443) == pytest.approx(0.307, abs=5e-4)
    assert f.amplification([10.0, 5.0, 1.0]) == 1.6
    assert math.isnan(f.amplification([]))
    assert math.isnan(f.amplification([0.0, 1.0]))


@some
@given(number(0.0, 0.95), number(0.01, 100.0))
def test_waves_of_one_ratio_amplify_by_the_geometric_sum(ratio: float, first: float) -> None:
    amplified = f.amplification(waves_of(first, *([ratio] * 1500)))
    assert f.branching_of_amplification(amplified) == pytest.approx(ratio, abs=1e-9)


@some
@given(number(0.01, 1e4), number(0.1, 1e4), number(-0.5, 3.0))
def test_the_book_up_to_the_distance_holds_the_volume(volume: float, depth: float, power: float) -> None:
    far = f.absorption_distance(volume, depth, power)
    assert depth * far ** (1.0 + power) / (1.0 + power) == pytest.approx(volume)


def test_distance_grows_with_volume_as_measured() -> None:
    """log X = a + g log V: g = 0.875 over 639 cascades (min66633), which is 1 / (1 + b)."""
    near, far = f.absorption_distance(np.array([1.0, 10.0]), 5.0, 1.0 / 0.875 - 1.0)
    assert math.log10(far / near) == pytest.approx(0.875)


def test_a_cascade_goes_from_level_to_level() -> None:
    """Depth 10 everywhere: 5 go to 0.5; what is at 0.4 brings 3, to 0.8; what is at 0.8 brings 1, to 0.9."""
    ladder = ([1.0, 0.4, 0.8], [50.0, 3.0, 1.0])
    assert f.cascade_floor(5.0, *ladder, depth=10.0, power=0.0) == pytest.approx(0.9)
    assert f.cascade_floor(3.0, *ladder, depth=10.0, power=0.0) == pytest.approx(0.3)
    assert f.cascade_floor(5.0, *ladder, depth=10.0, power=0.0, share=0.5) == pytest.approx(0.65)
    assert f.cascade_floor(6.0, *ladder, depth=10.0, power=0.0) == pytest.approx(6.0)
    assert f.cascade_floor(0.0, [0.0, 0.1], [2.0, 1.0], depth=10.0, power=0.0) == pytest.approx(0.3)


@some
@given(
    number(0.0, 20.0),
    st.lists(st.tuples(number(0.0, 5.0), number(0.0, 10.0)), max_size=12),
    number(0.5, 50.0),
    number(-0.4, 2.0),
    st.sampled_from([0.3, 1.0]),
)
def test_the_floor_is_the_first_place_where_the_book_has_taken_all(
    forced: float, ladder: list[tuple[float, float]], depth: float, power: float, share: float
) -> None:
    far, volume = np.array(ladder, dtype=float).reshape(-1, 2).T

    def to_sell(distance: float) -> float:
        return forced + share * float(volume[far <= distance].sum())

    def taken(distance: float) -> float:
        return depth * distance ** (1.0 + power) / (1.0 + power)

    floor = f.cascade_floor(forced, far, volume, depth, power, share)
    assert taken(floor) == pytest.approx(to_sell(floor), rel=1e-6, abs=1e-9)
    for before in np.linspace(0.0, floor * (1.0 - 1e-6), 50):
        assert taken(before) < to_sell(before) * (1.0 + 1e-9) + 1e-12
    assert floor >= f.absorption_distance(forced, depth, power) * (1.0 - CLOSE)
    assert f.cascade_floor(forced, [], [], depth, power) == pytest.approx(f.absorption_distance(forced, depth, power))
