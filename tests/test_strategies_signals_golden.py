"""A value worked by hand for every signal of the registry, the working beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from data import clock
from strategies.signals import SIGNALS, breakers, buildup, flow, fragility, funding, phase, skew, unexpected, venues
from strategies.signals import volatility as vol
from strategies.signals.funding import Settled

pytestmark = pytest.mark.kernel
NAN = math.nan
log, exp, sqrt = math.log, math.exp, math.sqrt

# Four bars of a price, easy to work with: ranges 10 %, then a gap up.
OPEN, HIGH = [100.0, 102.0, 99.0, 104.0], [105.0, 103.0, 106.0, 108.0]
LOW, CLOSE = [98.0, 97.0, 98.0, 101.0], [102.0, 99.0, 104.0, 101.0]

# Settlements each 8 hours of 1, 1, 4 bp, then one of an hour at 0.25 bp (2 bp per 8 hours); bars of an hour.
HOURS = np.array([8.0, 8.0, 8.0, 1.0])
SETTLED = Settled(
    np.array([0, 8, 16, 17]), np.array([1, 9, 17, 18]) * clock.HOUR, np.array([1e-4, 1e-4, 4e-4, 0.25e-4]), HOURS
)
ENDS = np.arange(1, 22, dtype=np.int64) * clock.HOUR


def decay(k: float, *events: float) -> float:
    return sum(k**age * x for age, x in enumerate(reversed(events)))


def weighed(x: list[float], w: list[float]) -> tuple[float, float]:
    mean = sum(a * b for a, b in zip(x, w, strict=True)) / sum(w)
    return mean, sqrt(sum(b * (a - mean) ** 2 for a, b in zip(x, w, strict=True)) / sum(w))


RS = [log(h / c) * log(h / o) + log(lo / c) * log(lo / o) for o, h, lo, c in zip(OPEN, HIGH, LOW, CLOSE, strict=True)]
GAPS = [log(102 / 102), log(99 / 99), log(104 / 104)]  # no gap between these bars: each opens at the close before
MOVES = [log(99 / 102), log(104 / 99), log(101 / 104)]  # close over open, of the last three
YZ_K = 0.34 / (1.34 + 4 / 2)

GOLDEN: dict[str, tuple[Callable[[], Any], list[float]]] = {
    # 120 / ((80 + 100 + 120) / 3)
    "oi_build": (lambda: buildup.oi_build([80, 100, 120], 3), [NAN, NAN, 1.2]),
    "oi_change": (lambda: buildup.oi_change([100, 50, 110], 2), [NAN, NAN, log(1.1)]),
    # highest of the last two: 100, 100, 90
    "oi_flush": (lambda: buildup.oi_flush([100, 90, 81], 2), [NAN, 0.1, 0.1]),
    # volume 50 a bar, 4 bars a day: 600 / 200 is three days
    "oi_to_volume": (lambda: buildup.oi_to_volume([600, 600], [40, 60], 2, 4), [NAN, 3.0]),
    "oi_to_market_cap": (lambda: buildup.oi_to_market_cap([20, 20], [1000, 0]), [0.02, NAN]),
    "estimated_leverage": (lambda: buildup.estimated_leverage([300, NAN], [1500, 1500]), [0.2, NAN]),
    # up and more, up and fewer, down and more, down and fewer, nothing
    "oi_price_quadrant": (
        lambda: buildup.oi_price_quadrant([1, 2, 3, 2, 1, 1], [5, 6, 5, 6, 5, 6], 1), [NAN, 1, 2, -1, -2, 0],
    ),
    # changes of log open interest that obey y = 0.01 + 0.5 y before, exactly: 8, 5, 3.5, 2.75, 2.375, ... %
    "expected_oi": (lambda: unexpected.expected_oi(AUTOREGRESSIVE, 3, 1, 1)[-1:], [0.01 + 0.5 * 0.02375]),
    # the last change is 5 % instead
    "unexpected_oi": (lambda: unexpected.unexpected_oi(AUTOREGRESSIVE, 3, 1, 1)[-1:], [0.05 - 0.021875]),
    # surprises of the last four bars are 0, 0, 0 and u (rounding aside); their deviation is u sqrt(3) / 4
    "unexpected_oi_z": (lambda: unexpected.unexpected_oi_z(LONGER, 4, 1, 1)[-1:], [4 / sqrt(3)]),
    # over the mean of two: 1.2, a build-up; 8.7 % down is an unwind; one bar of recovery; then calm
    "leverage_phase": (
        lambda: phase.leverage_phase([100, 150, 137, 139, 139], 2, 2, 1), [NAN, 1, 2, 3, 0],
    ),
    # at hour 17: 1, 1 and 4 bp, mean 2, deviation sqrt(2); at 18, weighed 8, 8, 8, 1, the mean is 2: so is the rate
    "funding_z": (
        lambda: funding.funding_z(SETTLED, ENDS, 24.0)[[0, 15, 16, 19, 20]],
        [NAN, NAN, 2.0 / sqrt(2.0), 0.0, NAN],
    ),
    # the last 8 hours, that of the very close not yet: one settlement, then the two of hours 17 and 18
    "cumulative_funding": (
        lambda: funding.cumulative_funding(SETTLED, ENDS, 8.0)[[0, 8, 16, 17, 18]], [NAN, 1e-4, 1e-4, 4e-4, 4.25e-4],
    ),
    # premium 3 bp: clamp(1 - 3) = -2, so the interest rate; 10 bp: clamp(-9) = -5, so 5 bp
    "expected_funding": (lambda: funding.expected_funding([3e-4, 3e-4, 17e-4], 2), [NAN, 1e-4, 5e-4]),
    "premium_mean": (lambda: skew.premium_mean([1e-4, NAN, 3e-4], 3), [NAN, NAN, 2e-4]),
    # 1, 2, 3: mean 2, deviation sqrt(2 / 3)
    "premium_z": (lambda: skew.premium_z([1e-4, 2e-4, 3e-4], 3), [NAN, NAN, sqrt(1.5)]),
    "basis": (lambda: skew.basis([101, 101], [100, NAN]), [0.01, NAN]),
    "basis_mean": (lambda: skew.basis_mean([101, 103], [100, 100], 2), [NAN, 0.02]),
    "ratio_skew": (lambda: skew.ratio_skew([2.0, 0.5, 0.0]), [log(2), -log(2), NAN]),
    # logs 0 and 1: mean 1/2, deviation 1/2
    "ratio_z": (lambda: skew.ratio_z([1.0, math.e], 2), [NAN, 1.0]),
    "top_ratio_skew": (lambda: skew.ratio_skew([1.0]), [0.0]),
    "crowd_against_top": (lambda: skew.crowd_against_top([3.0], [1.5]), [log(2)]),
    # bought 30 + 60 of 200: 2 x 0.45 - 1
    "taker_imbalance": (lambda: skew.taker_imbalance([30, 60], [100, 100], 2), [NAN, -0.1]),
    "taker_ratio_skew": (lambda: skew.taker_ratio_skew([2.0, 0.5], 2), [NAN, 0.0]),
    # the second venue counts from its first value on, and nothing counts while it is missing
    "venue_total": (lambda: venues.venue_total([[1, NAN], [1, 2], [1, NAN], [2, 2]]), [1, 3, NAN, 4]),
    "venue_mean": (lambda: venues.venue_mean([[1e-4, 5e-4]] * 2, [[3, 1], [NAN, 1]]), [2e-4, 5e-4]),
    # 3 x 1^2 + 1 x 3^2 = 12, over 4
    "venue_disagreement": (lambda: venues.venue_disagreement([[1, 5]] * 2, [[3, 1], [NAN, 1]]), [sqrt(3), NAN]),
    "venue_share": (lambda: venues.venue_share([[1, NAN], [1, 1]], [[3, 1], [3, 1]]), [0.75, 1.0]),
    # 10 + 5 + 5 of the 1000 open two bars ago
    "liquidation_intensity": (
        lambda: flow.liquidation_intensity([0, 10, 5], [0, 0, 5], [1000, 900, 800], 2), [NAN, NAN, 0.02],
    ),
    "liquidation_imbalance": (lambda: flow.liquidation_imbalance([0, 30, 0], [0, 10, 0], 2), [NAN, 0.5, 0.5]),
    "forced_share": (lambda: flow.forced_share([1, 2], [0, 1], [10, 30], 2), [NAN, 0.1]),
    # mean of the last one 6, of the last three 3
    "liquidation_surge": (lambda: flow.liquidation_surge([1, 2, 6], [0, 0, 0], 1, 3), [NAN, NAN, 2.0]),
    # single changes 1 % and -1 %: mean 0, deviation 1 %; then a move of 5 %
    "sigma_move": (lambda: flow.sigma_move([1, exp(0.01), 1, exp(0.05)], 1, 2), [NAN, NAN, NAN, 5.0]),
    # a fall of 5 deviations with a tenth of the open interest gone; with 1 % gone; and with the tenth a bar later
    "cascade": (
        lambda: [
            flow.cascade([1, exp(0.01), 1, exp(-0.05), exp(-0.05)], oi, 1, 2)[k]
            for k, oi in ((3, [9, 9, 10, 9, 9]), (3, [9, 9, 10, 9.9, 9]), (4, [9, 9, 10, 10, 9]), (4, [9, 9, 10, 9, 9]))
        ],
        [-0.1, 0.0, -0.1, 0.0],
    ),
    # sums of two: 3, 8, 6; the highest of two: 8, 8
    "exhaustion": (lambda: flow.exhaustion([1, 2, 6, 0], [0, 0, 0, 0], 2, 2), [NAN, 0.0, 0.0, 0.25]),
    # memory of four half-lives: 1/16 dark, below a tenth. 0.1 + 0.5 x 0.5 x (1 + 0.5 x 2 + 0.25 x 0 + 0.125 x 4)
    "hawkes_intensity": (
        lambda: flow.hawkes_intensity([4, 0, 2, 1], 0.1, 0.5, 1.0),
        [NAN, NAN, NAN, 0.1 + 0.25 * decay(0.5, 4, 0, 2, 1)],
    ),
    # the same memory, over the mean of the last two, 1.5
    "liquidation_excitation": (
        lambda: flow.liquidation_excitation([4, 0, 2, 0], [0, 0, 0, 1], 2, 1)[-1:],
        [0.5 * decay(0.5, 4, 0, 2, 1) / 1.5],
    ),
    # 100 paid for one coin and 330 for three: 107.5 a coin
    "vwap_distance": (lambda: flow.vwap_distance([100, 110.725], [100, 330], [1, 3], 2), [NAN, 0.03]),
    # a wick of 10 % below the low of 99 and back; one above the high of 120 that stays; then one that does not
    "stop_run": (
        lambda: flow.stop_run([101, 101, 120, 125, 126], [99, 90, 100, 100, 100], [100, 100, 119, 122, 124], 1),
        [NAN, 0.1, 0.0, 0.0, -(1 - 125 / 126)],
    ),
    "fragility_down": (lambda: fragility.fragility([5.0], [200.0]), [0.025]),
    "fragility_up": (lambda: fragility.fragility([1.0], [0.0]), [NAN]),
    "absorption_down": (lambda: fragility.absorption([300.0], [200.0]), [1.5]),
    "absorption_up": (lambda: fragility.absorption([0.0], [200.0]), [0.0]),
    "ladder_swept": (lambda: fragility.ladder_swept([30.0], [10.0], [1000.0]), [0.02]),
    # shells 0-2 % and 2-6 %, middles 1 % and 4 %: longs 4 and 2, shorts 1 and 8
    "ladder_pull": (
        lambda: fragility.ladder_pull([[4, 6]], [[1, 9]], (0.02, 0.06), 0.05),
        [(-3 * exp(-0.2) + 6 * exp(-0.8)) / (5 * exp(-0.2) + 10 * exp(-0.8))],
    ),
    # changes a and b: their mean square about the mean over 2 - 1 is (a - b)^2 / 2
    "close_to_close": (
        lambda: vol.close_to_close(CLOSE, 2)[-1:], [abs(log(104 / 99) - log(101 / 104)) / sqrt(2)],
    ),
    "parkinson": (
        lambda: vol.parkinson(HIGH, LOW, 2)[-1:],
        [sqrt((log(106 / 98) ** 2 + log(108 / 101) ** 2) / 2 / (4 * log(2)))],
    ),
    "garman_klass": (
        lambda: vol.garman_klass(OPEN, HIGH, LOW, CLOSE, 1)[-1:],
        [sqrt(0.5 * log(108 / 101) ** 2 - (2 * log(2) - 1) * log(101 / 104) ** 2)],
    ),
    # the last bar closes at its low: log(H / C) log(H / O)
    "rogers_satchell": (
        lambda: vol.rogers_satchell(OPEN, HIGH, LOW, CLOSE, 1)[-1:], [sqrt(log(108 / 101) * log(108 / 104))],
    ),
    "yang_zhang": (
        lambda: vol.yang_zhang(OPEN, HIGH, LOW, CLOSE, 3)[-1:],
        [sqrt(np.var(GAPS, ddof=1) + YZ_K * np.var(MOVES, ddof=1) + (1 - YZ_K) * np.mean(RS[1:]))],
    ),
    "volatility_ratio": (
        lambda: vol.volatility_ratio(OPEN, HIGH, LOW, CLOSE, 1, 4)[-1:], [sqrt(RS[3] / np.mean(RS))],
    ),
    # 1.5 is soft, 3 is hard; two bars below 0.9 x 2.5 make it soft, two more below 0.9 x 1.5 normal
    "volatility_breaker": (
        lambda: breakers.breaker_state([1, 1.5, 3, 2, NAN, 2, 1.4, 1, 1], 2), [0, 1, 2, 2, NAN, 1, 1, 1, 0],
    ),
}  # fmt: skip


def summed(changes: list[float]) -> np.ndarray:
    return 100.0 * np.exp(np.concatenate(([0.0], np.cumsum(changes))))


AUTOREGRESSIVE = summed([0.08, 0.05, 0.035, 0.0275, 0.02375, 0.05])
LONGER = summed([0.08, 0.05, 0.035, 0.0275, 0.02375, 0.021875, 0.0209375, 0.02046875, 0.020234375, 0.05])


@pytest.mark.parametrize("name", GOLDEN)
def test_a_signal_is_what_its_formula_says(name: str) -> None:
    compute, expected = GOLDEN[name]
    np.testing.assert_allclose(compute(), expected, rtol=1e-6 if "oi_z" in name else 1e-9, atol=1e-15)


def test_every_signal_has_a_golden_value() -> None:
    assert set(GOLDEN) == {name for name, s in SIGNALS.items() if not s.fitted}


def test_a_change_of_the_interval_is_no_change_of_funding() -> None:
    """A rate of 1 bp per 8 hours, settled by the hour, is as usual as it was; and weights are hours."""
    mean, spread = weighed([1e-4, 1e-4, 4e-4, 2e-4], [8, 8, 8, 1])
    found = funding.funding_z(SETTLED, ENDS, 25.0)
    assert found[17] == pytest.approx((2e-4 - mean) / spread)
    assert found[18] == found[17]  # two intervals of the last one have not passed
    assert np.isnan(found[20])
    hourly = np.arange(1, 60)
    same = Settled(hourly - 1, hourly * clock.HOUR, np.where(hourly <= 40, 2e-4 / 8, 1e-4 / 8), np.ones(59))
    eights = Settled(
        hourly[7::8] - 1, hourly[7::8] * clock.HOUR, np.where(hourly[7::8] <= 40, 2e-4, 1e-4), 8 * np.ones(7)
    )
    ends = hourly * clock.HOUR
    a, b = (funding.funding_z(s, ends, 48.0)[55] for s in (same, eights))
    assert a == pytest.approx(b, rel=1e-9) == pytest.approx(-sqrt(2), rel=1e-9)
