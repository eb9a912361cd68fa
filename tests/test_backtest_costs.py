"""backtest.costs and backtest.liquidity: what taking costs, from what was known before."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest import calibration as cal
from backtest import liquidity
from backtest.costs import WORST, Costs, Stress, cost_of_taking
from backtest.liquidity import Coefficients, Tape, coefficients
from data import clock
from data.errors import BadInput

pytestmark = pytest.mark.kernel

MIN, H, DAY = clock.MINUTE, clock.HOUR, clock.DAY


# ---- made-up tapes -----------------------------------------------------------------------------


def tape(close: np.ndarray, **series: np.ndarray | None) -> Tape:
    """(n, k) arrays; bars without a range and a quote volume of 1e6, unless something else is given."""
    close = np.atleast_2d(np.asarray(close, dtype=float).T).T
    n, k = close.shape
    nothing = np.zeros((0, k))

    def laid(name: str, default: np.ndarray = nothing) -> np.ndarray:
        values = series.get(name)
        return default if values is None else np.asarray(values, dtype=float).reshape(-1, k)

    present = np.asarray(series.get("present", ~np.isnan(close)), dtype=bool).reshape(n, k)
    usual = nothing if "volume" in series else np.full((n, k), 1e6)
    return Tape(
        laid("high", close),
        laid("low", close),
        close,
        present,
        laid("volume"),
        laid("quote_volume", usual),
        laid("bid_depth"),
        laid("ask_depth"),
        laid("liq_long"),
        laid("liq_short"),
        np.asarray(series.get("size", np.zeros(k)), dtype=float),
        np.asarray(series.get("tick", np.zeros(k)), dtype=float),
    )


def walk_of(seed: int, n: int, k: int = 1, sigma: float = 1e-3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 100.0 * np.exp(np.cumsum(rng.normal(0.0, sigma, (n, k)), axis=0))


def alternating(n: int, sigma: float, run: float = 0.0, at: int = -1) -> np.ndarray:
    """Every return is +sigma or -sigma in turn; the one into bar `at` is `run`."""
    returns = np.where(np.arange(n) % 2 == 0, sigma, -sigma)
    if at >= 0:
        returns[at] = run
    return 100.0 * np.exp(np.cumsum(returns))


def random_tape(seed: int, n: int, k: int) -> Tape:
    """Holes in everything, a late start, a crash, and a tick."""
    rng = np.random.default_rng(seed)
    close = walk_of(seed, n, k)
    close[rng.random((n, k)) < 0.1] = np.nan
    close[: n // 7, -1] = np.nan
    close[n // 2 :] *= 0.93

    def some(scale: float, missing: float) -> np.ndarray:
        values = rng.exponential(scale, (n, k))
        values[rng.random((n, k)) < missing] = np.nan
        return values

    return tape(
        close,
        high=close * (1.0 + rng.exponential(1e-3, (n, k))),
        low=close * (1.0 - rng.exponential(1e-3, (n, k)).clip(0.0, 0.5)),
        volume=some(1e4, 0.05),
        quote_volume=some(1e6, 0.3),
        bid_depth=some(1e6, 0.4),
        ask_depth=some(1e6, 0.4),
        liq_long=some(1e3, 0.2),
        liq_short=some(1e5, 0.9),
        size=np.where(np.arange(k) == 1, 10.0, 0.0),
        tick=np.where(np.arange(k) == 0, 0.5, 0.0),
    )


# ---- the slow twin -----------------------------------------------------------------------------


def plainly(costs: Costs, tape: Tape, interval: int, i: int, j: int) -> tuple[float, float, float]:
    """The coefficients of bar i, from the bars before it, with nothing carried along."""
    window = max(math.ceil(DAY / interval), 12)
    horizon = max(round(5 * MIN / interval), 1)
    history = max(math.ceil(H / interval), 3)
    per_day, law = DAY / interval, costs.model == "impact"
    seen = np.flatnonzero(tape.present[:i, j])
    blind = (max(costs.unknown_bps, costs.half_spread_bps) * 1e-4, 0.0, 0.0)
    if not len(seen):
        return blind
    first = seen[0]
    age = i - first
    prices = pd.Series(np.where(tape.present[first:i, j], tape.close[first:i, j], np.nan)).ffill().to_numpy()
    returns = np.diff(np.log(prices), prepend=np.log(prices[0]))
    traded = np.array([traded_at(tape, t, j) for t in range(first, i)])
    volume = traded[-window:].sum() / min(age, window) * per_day
    books = [book_at(tape, t, j) for t in range(first, i)]
    stress = costs.stress or Stress()
    excess = 0.0
    for end in range(1, age + 1) if costs.stress else ():  # at each close
        excess *= 0.5 ** (interval / (stress.half_life_minutes * MIN))
        before = returns[: end - horizon][-window:]
        if end - 1 - horizon >= history and (before**2).sum() > 0.0:
            usual = (before**2).sum() / min(end - 1 - horizon, window) * horizon
            move = math.log(prices[end - 1] / prices[end - 1 - horizon]) ** 2
            if tape.present[first + end - 1, j]:
                reach = math.log(tape.high[first + end - 1, j] / tape.low[first + end - 1, j])
                move = max(move, reach**2 / (4.0 * math.log(2.0)))
            excess = max(excess, move / usual / stress.sigmas**2)
        upto = traded[:end][-window:].sum() / min(end, window) * per_day
        usual_depth = normal(books[:end][-window:], costs.depth_share * upto if law else 0.0)
        gone = sum(forced_at(tape, t, j) for t in range(max(first, first + end - horizon), first + end))
        if usual_depth is not None and usual_depth > 0.0:
            excess = max(excess, stress.liquidations * gone / usual_depth)
        excess = min(excess, 1.0 / stress.depth_floor - 1.0)
    left = normal(books[-window:], costs.depth_share * volume if law else 0.0)
    if left is None or (law and (age < history or volume == 0.0)):
        return blind
    left /= 1.0 + excess
    if books[-1] is not None:
        left = min(left, books[-1])
    variance = (returns[-window:] ** 2).sum() / max(1, min(age - 1, window)) * per_day
    thin = min(1.0 + excess, 1.0 / stress.volume_floor)
    a = costs.y * math.sqrt(variance) / (volume / thin) ** costs.delta if law else 0.0
    spread = max(costs.half_spread_bps * 1e-4, 0.5 * tape.tick[j] / prices[-1])
    return min(WORST, spread * (1.0 + excess)), a, 0.005 / max(left, 1e-9)


def normal(books: list[float | None], instead: float) -> float | None:
    recorded = [b for b in books if b is not None]
    return float(np.mean(recorded)) if recorded else (instead or None)


def traded_at(tape: Tape, t: int, j: int) -> float:
    if not tape.present[t, j]:
        return 0.0
    given = tape.quote_volume[t, j] if len(tape.quote_volume) else math.nan
    units = np.nan_to_num(tape.volume[t, j]) if len(tape.volume) else 0.0
    if tape.size[j]:
        return float(units * tape.size[j])
    return float(units * tape.close[t, j] if math.isnan(given) else given)


def book_at(tape: Tape, t: int, j: int) -> float | None:
    sides = [side[t, j] for side in (tape.bid_depth, tape.ask_depth) if len(side) and not np.isnan(side[t, j])]
    return min(sides) if sides else None


def forced_at(tape: Tape, t: int, j: int) -> float:
    return float(sum(np.nan_to_num(side[t, j]) for side in (tape.liq_long, tape.liq_short) if len(side)))


# ---- one order ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("half", "a", "b", "delta", "notional", "expected"),
    [
        (0.0, 0.0, 0.0, 0.5, 1e6, 0.0),
        (2e-4, 0.0, 0.0, 0.5, 1e6, 2e-4),
        (2e-4, 1e-6, 0.0, 0.5, 1e6, 2e-4 + 1e-3),
        (2e-4, 1e-6, 5e-9, 0.5, 1e6, 2e-4 + 5e-3),  # the walk costs more
        (2e-4, 1e-6, 5e-9, 0.5, 1e4, 2e-4 + 1e-4),  # the law costs more
        (0.0, 1e-3, 0.0, 0.25, 1e4, 1e-2),
        (0.0, 1e-9, 0.0, 1.0, 1e4, 1e-5),
        (0.0, 0.0, 1.0, 0.5, 1e6, WORST),
        (0.5, 1e3, 5e6, 0.3, 1e12, WORST),
        (2e-4, 1e-6, 5e-9, 0.5, 0.0, 2e-4),
    ],
)
def test_the_cost_of_one_order(half, a, b, delta, notional, expected):
    assert cost_of_taking(half, a, b, delta, notional) == pytest.approx(expected, rel=1e-12)


@given(st.floats(0, 0.01), st.floats(0, 1e-3), st.floats(0, 1e-6), st.floats(0.05, 1.0), st.floats(0, 1e10))
def test_a_larger_order_never_pays_a_smaller_part(half, a, b, delta, notional):
    costs = [cost_of_taking(half, a, b, delta, notional * more) for more in (0.5, 1.0, 2.0)]
    assert costs == sorted(costs)
    assert costs[0] >= half
    assert costs[2] <= WORST


# ---- what may be asked for ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Costs.fixed(-1), "half_spread_bps=-1"),
        (lambda: Costs.fixed(math.nan), "half_spread_bps=nan"),
        (lambda: Costs.impact(delta=0.0), "delta=0.0"),
        (lambda: Costs.impact(delta=1.5), "delta=1.5"),
        (lambda: Costs.impact(y=-1.0), "y=-1.0"),
        (lambda: Costs.impact(y=math.inf), "y=inf"),
        (lambda: Costs.impact(depth_share=0.0), "depth_share=0.0"),
        (lambda: Costs.impact(unknown_bps=1e5), "unknown_bps=100000"),
        (lambda: Costs.fixed(2, taker=5), "0.0005 for 5 basis points"),
        (lambda: Costs.none(maker=math.nan), "maker=nan"),
        (lambda: Costs.impact(half_spread=2), "did you mean half_spread_bps?"),
        (lambda: Costs.impact(model="fixed"), "costs have no 'model'"),
        (lambda: Costs(model="impct"), "did you mean impact?"),
        (lambda: Stress(sigmas=0.0), "sigmas=0.0"),
        (lambda: Stress(half_life_minutes=0.0), "half_life_minutes=0.0"),
        (lambda: Stress(liquidations=-1.0), "liquidations=-1.0"),
        (lambda: Stress(depth_floor=0.0), "depth_floor=0.0"),
        (lambda: Stress(volume_floor=2.0), "volume_floor=2.0"),
    ],
)
def test_numbers_that_cannot_be_are_refused(make, words):
    with pytest.raises(BadInput) as problem:
        make()
    assert words in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_model_says_in_a_line_what_it_is():
    assert str(Costs.none()) == "none"
    assert str(Costs.fixed(2)) == "2 bp a side"
    assert "1 x sigma x (Q / V)^0.5" in str(Costs.impact())
    assert "0.50% of a day's volume" in str(Costs.impact())
    assert "sigma" not in str(Costs.depth())
    assert "never thinned" in str(Costs.impact(stress=None))


def test_the_default_is_the_calibrated_impact():
    assert Costs() == Costs.impact()
    assert (Costs().y, Costs().delta, Costs().depth_share) == (cal.Y.value, cal.DELTA.value, cal.DEPTH_SHARE.value)


def test_every_calibrated_number_is_documented_with_its_value():
    page = (Path(__file__).resolve().parents[1] / "docs" / "costs.md").read_text(encoding="utf-8")
    for name, number in cal.ALL.items():
        row = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert len(row) == 1, name
        assert f"| {number.value:g} {number.unit}".rstrip() + " |" in row[0]
        assert number.source


# ---- against the slow twin ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "n", "k"), [(H, 90, 3), (4 * H, 60, 2), (15 * MIN, 230, 1), (DAY, 40, 2), (7 * H, 40, 2)]
)
@pytest.mark.parametrize(
    "costs",
    [
        Costs.impact(),
        Costs.impact(delta=0.3, y=0.7, half_spread_bps=1.0),
        Costs.impact(stress=None),
        Costs.impact(stress=Stress(sigmas=3.0, depth_floor=0.2, volume_floor=0.5, half_life_minutes=200.0)),
        Costs.depth(),
    ],
    ids=str,
)
def test_coefficients_are_those_of_the_slow_twin(interval, n, k, costs):
    given_tape = random_tape(7, n, k)
    made = coefficients(costs, given_tape, interval)
    for i in range(n):
        for j in range(k):
            found = (made.half_spread[i, j], made.a[i, j], made.b[i, j])
            assert found == pytest.approx(plainly(costs, given_tape, interval, i, j), rel=1e-9), (i, j)


def test_a_move_of_five_minutes_is_five_one_minute_bars():
    given_tape = random_tape(11, 1500, 1)
    costs = Costs.impact(stress=Stress(sigmas=3.0))
    made = coefficients(costs, given_tape, MIN)
    for i in (0, 59, 60, 61, 66, 400, 749, 750, 751, 756, 770, 1439, 1440, 1446, 1499):
        found = (made.half_spread[i, 0], made.a[i, 0], made.b[i, 0])
        assert found == pytest.approx(plainly(costs, given_tape, MIN, i, 0), rel=1e-9), i


def test_nothing_is_left_of_what_has_left_the_window():
    """Sums that are carried along forget an outlier of 12 orders of magnitude, and silence is silence."""
    n, rng = 5000, np.random.default_rng(3)
    quote = rng.exponential(1.0, n)
    quote[100] = 1e12
    quote[4000:] = 0.0
    close = walk_of(5, n)
    close[50] *= 40.0
    given_tape = tape(close, quote_volume=quote)
    made = coefficients(Costs.impact(stress=None), given_tape, H)
    for i in (120, 130, 200, 3000, 4020):
        found = (made.half_spread[i, 0], made.a[i, 0], made.b[i, 0])
        expected = plainly(Costs.impact(stress=None), given_tape, H, i, 0)
        assert found == pytest.approx(expected, rel=1e-9 if i == 120 else 1e-3), i
    assert made.half_spread[4030, 0] == pytest.approx(25e-4)
    assert made.a[4030, 0] == made.b[4030, 0] == 0.0


# ---- causality ---------------------------------------------------------------------------------


def part(given_tape: Tape, stop: int) -> Tape:
    return Tape(*(a[:stop] if a.ndim == 2 and len(a) else a for a in given_tape))


def same(one: Coefficients, other: Coefficients, stop: int) -> None:
    for name in ("half_spread", "a", "b"):
        np.testing.assert_array_equal(getattr(one, name)[:stop], getattr(other, name)[:stop], err_msg=name)


@given(st.integers(0, 10_000), st.integers(1, 120), st.sampled_from([5 * MIN, H, DAY]), st.booleans())
def test_a_part_has_the_coefficients_of_the_whole(seed, stop, interval, depth_only):
    costs = Costs.depth() if depth_only else Costs.impact()
    whole = random_tape(seed, 120, 2)
    same(coefficients(costs, part(whole, stop), interval), coefficients(costs, whole, interval), stop)


@given(st.integers(0, 10_000), st.integers(0, 118))
def test_a_bar_does_not_see_itself(seed, bar):
    """Whatever happens in a bar, and after it, its own coefficients are what they were."""
    whole = random_tape(seed, 120, 2)
    other = Tape(*(a.copy() for a in whole))
    for series in other[4:10]:
        series[bar:] *= 1e3
    for prices in other[:3]:
        prices[bar:] *= 3.0
    other.high[bar:] *= 1.5
    other.present[bar:] = ~other.present[bar:] & ~np.isnan(other.close[bar:])
    same(coefficients(Costs.impact(), other, H), coefficients(Costs.impact(), whole, H), bar + 1)


@given(st.integers(0, 10_000))
def test_what_is_missing_never_becomes_a_cost_that_is_missing(seed):
    rng = np.random.default_rng(seed)
    whole = random_tape(seed, 60, 2)
    for series in whole[4:10]:
        series[rng.random(series.shape) < rng.random()] = np.nan
    made = coefficients(Costs.impact(), whole, H)
    for values in made:
        assert np.isfinite(values).all()
        assert (values >= 0.0).all()


def test_many_symbols_are_each_as_if_alone():
    whole = random_tape(2, 700, 3)
    made = coefficients(Costs.impact(), whole, 5 * MIN)
    for j in range(3):
        alone = Tape(*(a[:, j : j + 1].copy() if a.ndim == 2 else a[j : j + 1] for a in whole))
        one = coefficients(Costs.impact(), alone, 5 * MIN)
        for name in ("half_spread", "a", "b"):
            np.testing.assert_array_equal(getattr(made, name)[:, j], getattr(one, name)[:, 0])
        for name in ("unknown", "recorded", "stressed", "thickest"):
            assert getattr(made, name)[j] == getattr(one, name)[0]


# ---- by hand -----------------------------------------------------------------------------------


def test_the_square_root_law_of_a_quiet_day():
    """Returns of 0.5 % an hour are 2.45 % a day; a million an hour is 24 millions a day."""
    made = coefficients(Costs.impact(stress=None), tape(alternating(49, 0.005)), H)
    assert made.a[48, 0] == pytest.approx(0.005 * math.sqrt(24) / math.sqrt(24e6), rel=1e-9)
    assert made.b[48, 0] == pytest.approx(0.01 / (2 * 0.005 * 24e6), rel=1e-9)
    assert made.half_spread[48, 0] == pytest.approx(0.25e-4)


@given(st.floats(0.01, 100.0), st.floats(0.01, 100.0))
def test_coefficients_scale_with_price_and_volume(price, volume):
    close = walk_of(9, 80)
    costs = Costs.impact()
    one = coefficients(costs, tape(close), H)
    other = coefficients(costs, tape(close * price, quote_volume=np.full(80, 1e6 * volume)), H)
    np.testing.assert_allclose(other.half_spread, one.half_spread, rtol=1e-6)
    np.testing.assert_allclose(other.a * math.sqrt(volume), one.a, rtol=1e-6)
    np.testing.assert_allclose(other.b * volume, one.b, rtol=1e-6)


def test_the_first_bars_cost_what_is_said_and_are_counted():
    made = coefficients(Costs.impact(), tape(alternating(200, 0.001)), MIN)
    assert made.unknown[0] == 60
    assert (made.half_spread[:60, 0] == 25e-4).all()
    assert (made.a[:60] == 0.0).all()
    assert made.half_spread[60, 0] == pytest.approx(0.25e-4)
    # in part of a day, volume and variance are worth a day
    assert made.b[60, 0] == pytest.approx(0.005 / (0.005 * 1440e6))


def test_an_unknown_cost_is_never_below_the_spread_asked_for():
    made = coefficients(Costs.impact(half_spread_bps=40.0), tape(alternating(5, 0.001)), MIN)
    assert made.half_spread[0, 0] == pytest.approx(40e-4)


def test_half_a_tick_is_the_least():
    close = alternating(30, 0.001)
    made = coefficients(Costs.impact(stress=None), tape(close, tick=np.array([0.1])), H)
    assert made.half_spread[20, 0] == pytest.approx(0.05 / close[19])


def test_volume_in_contracts_counts_by_their_size():
    close = alternating(60, 0.001)
    contracts = tape(close, volume=np.full(60, 1e4), quote_volume=np.full(60, 3.0), size=np.array([100.0]))
    made = coefficients(Costs.impact(), contracts, H)
    dollars = coefficients(Costs.impact(), tape(close), H)
    np.testing.assert_array_equal(made.a, dollars.a)


def test_the_thinner_side_of_the_book_counts():
    close = alternating(30, 0.001)
    bid, ask = np.full(30, 3e6), np.full(30, 2e6)
    ask[20:] = np.nan
    made = coefficients(Costs.depth(stress=None), tape(close, bid_depth=bid, ask_depth=ask), H)
    assert made.unknown[0] == 1
    assert made.b[20, 0] == pytest.approx(0.005 / 2e6)
    assert made.b[21, 0] == pytest.approx(0.005 / (2e6 * 20 / 21 + 3e6 / 21))  # less than what is recorded now
    assert made.recorded[0] == 29


def test_an_empty_book_costs_nearly_everything_but_is_no_infinity():
    made = coefficients(Costs.depth(), tape(alternating(9, 0.001), bid_depth=np.zeros(9), ask_depth=np.zeros(9)), H)
    assert np.isfinite(made.b).all()
    assert cost_of_taking(made.half_spread[5, 0], made.a[5, 0], made.b[5, 0], 0.5, 10.0) == WORST


# ---- stress ------------------------------------------------------------------------------------


def left_after(z: float, stress: Stress | None = None, minutes_later: int = 0) -> float:
    """Part of a recorded depth that is left after a move of z standard deviations in 5 minutes; 5-minute bars."""
    n, at = 400, 330
    sigma = 1e-3
    close = alternating(n, sigma, run=-z * sigma, at=at)
    costs = Costs.depth(stress=stress or Stress())
    book = np.full(n, 1e6)
    made = coefficients(costs, tape(close, bid_depth=book, ask_depth=book), 5 * MIN)
    return float(0.005 / made.b[at + 1 + minutes_later // 5, 0] / 1e6)


@pytest.mark.parametrize(
    ("z", "median", "worst_tenth"), [(7, 1.4, 2.9), (10, 1.75, 5.2), (15, 2.4, 8.0), (27, 6.1, 34.3)]
)
def test_thinning_lies_between_the_median_and_the_worst_tenth_that_were_measured(z, median, worst_tenth):
    """Depth before / depth within 15 minutes, by size of the move: the table of the study of cascades."""
    assert median < 1.0 / left_after(z) < worst_tenth


def test_thinning_is_quadratic_in_the_move_and_has_a_floor():
    for z in (2.0, 6.0, 12.0):
        assert left_after(z) == pytest.approx(1.0 / (1.0 + (z / 8.0) ** 2), rel=1e-3)
    assert left_after(500.0) == pytest.approx(0.01)
    assert left_after(500.0, Stress(depth_floor=0.3)) == pytest.approx(0.3)
    assert left_after(6.0) == pytest.approx(0.63, abs=0.02)


def test_the_book_recovers_by_half_lives():
    excess = [1.0 / left_after(24.0, minutes_later=m) - 1.0 for m in (0, 20, 40)]
    assert excess[1] == pytest.approx(excess[0] / 2, rel=1e-6)
    assert excess[2] == pytest.approx(excess[0] / 4, rel=1e-6)


def test_stress_widens_the_spread_and_the_law_but_the_law_less():
    close = alternating(400, 1e-3, run=-0.5, at=330)
    calm, wild = (coefficients(c, tape(close), 5 * MIN) for c in (Costs.impact(stress=None), Costs.impact()))
    assert wild.half_spread[331, 0] / calm.half_spread[331, 0] == pytest.approx(100.0)
    assert wild.b[331, 0] / calm.b[331, 0] == pytest.approx(100.0)
    assert wild.a[331, 0] / calm.a[331, 0] == pytest.approx(math.sqrt(40.0))
    assert wild.stressed[0] > 0
    assert wild.thickest[0] == pytest.approx(100.0)
    assert calm.stressed[0] == 0


def test_a_bar_that_came_back_thins_the_book_by_its_range():
    """A bar of 1 hour that fell by 14 % and closed where it opened: the range of a move of 8.4 %."""
    n, at, sigma = 60, 40, 4e-3
    close = alternating(n, sigma)
    low, book = close.copy(), np.full(n, 1e6)
    low[at] = close[at] * math.exp(-0.14)
    shape = {"bid_depth": book, "ask_depth": book}
    calm = coefficients(Costs.depth(), tape(close, **shape), H)
    wild = coefficients(Costs.depth(), tape(close, low=low, **shape), H)
    z = 0.14 / math.sqrt(4 * math.log(2)) / sigma
    assert wild.b[at + 1, 0] == pytest.approx((1 + (z / 8) ** 2) * 0.005 / 1e6, rel=1e-6)
    np.testing.assert_array_equal(wild.b[: at + 1], calm.b[: at + 1])


def test_liquidations_thin_the_book():
    """Liquidations of 1.41 times the depth: thinning 3.4, as in the median liquidation event."""
    n, at = 60, 40
    book, long = np.full(n, 1e6), np.zeros(n)
    long[at] = 1.41e6
    close = alternating(n, 1e-3)
    shape = {"bid_depth": book, "ask_depth": book, "liq_long": long, "liq_short": np.full(n, np.nan)}
    made = coefficients(Costs.depth(), tape(close, **shape), H)
    assert made.b[at + 1, 0] == pytest.approx(3.4 * 0.005 / 1e6, rel=0.01)
    assert made.b[at + 2, 0] < 1.5 * 0.005 / 1e6


def test_a_book_that_has_shrunk_already_is_not_thinned_twice():
    n, at = 400, 330
    close = alternating(n, 1e-3, run=-8e-3, at=at)  # halves the depth
    book = np.full(n, 1e6)
    book[at] = 4e5
    made = coefficients(Costs.depth(), tape(close, bid_depth=book, ask_depth=book), 5 * MIN)
    assert made.b[at + 1, 0] == pytest.approx(0.005 / 4e5)
    book[at] = 8e5
    made = coefficients(Costs.depth(), tape(close, bid_depth=book, ask_depth=book), 5 * MIN)
    assert made.b[at + 1, 0] == pytest.approx(0.005 / 5e5, rel=0.01)


def test_prices_that_never_moved_say_nothing_of_stress():
    close = np.full(100, 100.0)
    close[60:] = 90.0
    made = coefficients(Costs.impact(), tape(close), H)
    assert made.stressed[0] == 0


# ---- what a cascade costs ----------------------------------------------------------------------


def cascade(day_volume: float, recorded: bool) -> tuple[Tape, int]:
    """A large altcoin as the study of cascades has them: 1.56 million within 1 %, a fall of 3 % in 15 minutes.

    3.5 % a day; the fall is fastest in its last 5 minutes, 1.2 %. Its bars are minutes.
    """
    n, at, sigma = 2000, 1700, 0.035 / math.sqrt(1440)
    returns = np.where(np.arange(n) % 2 == 0, sigma, -sigma)
    returns[at - 14 : at - 4] = -0.0018
    returns[at - 4 : at + 1] = -0.0024
    close = 100.0 * np.exp(np.cumsum(returns))
    book = np.full(n, 1.56e6)
    book[at - 5 : at + 30] = np.linspace(0.983e6, 1.5e6, 35)
    volume = np.full(n, day_volume / 1440)
    sides = {"bid_depth": book, "ask_depth": book} if recorded else {}
    return tape(close, quote_volume=volume, **sides), at + 1


def pays(costs: Costs, made: Coefficients, bar: int, notional: float) -> float:
    return 1e4 * cost_of_taking(made.half_spread[bar, 0], made.a[bar, 0], made.b[bar, 0], costs.delta, notional)


def round_trip(costs: Costs, notional: float, day_volume: float, recorded: bool) -> float:
    """Basis points of an order in the minute after the fall and of the one that closes it 20 minutes later."""
    given_tape, enter = cascade(day_volume, recorded)
    made = coefficients(costs, given_tape, MIN)
    return sum(pays(costs, made, bar, notional) for bar in (enter, enter + 20))


@pytest.mark.parametrize("notional", [100_000, 250_000, 500_000, 1_000_000])
def test_the_recorded_book_costs_in_a_cascade_what_was_measured(notional):
    """8.9 bp there and back for 100,000 USD, 44.4 for 500,000, 87 for a million: at most a fifth off."""
    measured = cal.ROUND_TRIPS[notional]
    assert 0.9 * measured < round_trip(Costs.depth(), notional, 600e6, True) < 1.2 * measured


@pytest.mark.parametrize(
    ("day_volume", "recorded", "notional", "most"),
    [
        (600e6, True, 100_000, 1.4),
        (600e6, True, 500_000, 1.1),
        (600e6, True, 1_000_000, 1.1),
        (312e6, False, 100_000, 2.0),  # 1.56 million are 0.5 % of this volume
        (312e6, False, 500_000, 1.1),
        (312e6, False, 1_000_000, 1.1),
    ],
)
def test_the_default_costs_in_a_cascade_what_was_measured(day_volume, recorded, notional, most):
    """Never less than nine tenths. More for 100,000 USD, where the square-root law is above the walk through a book
    that stands still, which is the least an order can cost."""
    measured = cal.ROUND_TRIPS[notional]
    found = round_trip(Costs.impact(), notional, day_volume, recorded)
    assert 0.9 * measured < found < most * measured


def test_a_cascade_costs_more_than_the_hour_before_it():
    given_tape, enter = cascade(600e6, False)
    made = coefficients(Costs.impact(), given_tape, MIN)
    for notional in (1e4, 1e5, 1e6):
        assert pays(Costs.impact(), made, enter, notional) > 1.2 * pays(Costs.impact(), made, enter - 60, notional)


# ---- odds and ends -----------------------------------------------------------------------------


def test_bars_of_any_length_have_a_window_a_move_and_a_history():
    rules = {interval: liquidity.rule_of(Costs.impact(), interval) for interval in (MIN, 5 * MIN, H, 8 * H, DAY)}
    assert [rules[i].window for i in rules] == [1440, 288, 24, 12, 12]
    assert [rules[i].horizon for i in rules] == [5, 1, 1, 1, 1]
    assert [rules[i].history for i in rules] == [60, 12, 3, 3, 3]


def test_the_models_are_values():
    costs = Costs.impact(y=1.2)
    assert replace(costs, y=1.0) == Costs.impact()
    assert hash(costs) != hash(Costs.impact())


@pytest.mark.real_data
def test_the_worst_day_is_the_dearest(shared_dir):
    """BTC on Binance in bars of 5 minutes: a million costs most on 2025-10-10, after 21:15."""
    rows = pd.read_parquet(shared_dir / "candles" / "binance_5m.parquet", filters=[("symbol", "==", "BTCUSDT")])
    rows = rows[(rows["ts"] >= "2025-09-01") & (rows["ts"] < "2025-11-01")].sort_values("ts")
    series = {name: rows[name].to_numpy() for name in ("high", "low", "volume")}
    given_tape = tape(rows["close"].to_numpy(), **series)
    made = coefficients(Costs.impact(), given_tape, 5 * MIN)
    law, walk = made.a[:, 0] * 1e3, made.b[:, 0] * 1e6
    cost = 2e4 * (made.half_spread[:, 0] + np.maximum(law, walk))
    worst = rows["ts"].to_numpy()[288:][np.argmax(cost[288:])]
    assert np.datetime64("2025-10-10T21:15") < worst < np.datetime64("2025-10-10T22:00")
    assert 2.0 < np.median(cost[288:]) < 6.0
    assert 20.0 < cost[288:].max() < 500.0
