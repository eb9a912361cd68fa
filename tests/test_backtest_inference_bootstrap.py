"""Draws: intervals, overfitting, superior ability, other paths; against closed forms, plain twins and known truth."""

from __future__ import annotations

import builtins
import math
import sys
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest import inference as inf
from backtest.inference.bootstrap import mean_block, places
from backtest.metrics import sharpe
from data.errors import BadInput, UnwindError

few = settings(max_examples=25)


def noise(seed: int, days: int = 400, trials: int = 10) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((days, trials)) * 0.01


def ar1(rng: np.random.Generator, n: int, rho: float) -> np.ndarray:
    e = rng.standard_normal(n + 100)
    for i in range(1, len(e)):
        e[i] += rho * e[i - 1]
    return e[100:] * math.sqrt(1.0 - rho * rho)


# --- intervals -------------------------------------------------------------------------------------------------------


def test_the_interval_of_a_mean_is_that_of_the_textbook() -> None:
    r = noise(1, 500, 1)[:, 0] + 0.001
    found = inf.bootstrap_interval(r, np.mean, draws=4000, block=1, name="mean")
    error = r.std(ddof=1) / math.sqrt(500)
    assert found.value == pytest.approx(r.mean())
    assert found.low == pytest.approx(r.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(r.mean() + 1.96 * error, abs=0.15 * error)
    assert (found.name, found.level, found.draws, found.block, found.undefined) == ("mean", 0.95, 4000, 1, 0.0)


def test_blocks_see_what_lasts() -> None:
    """The mean of an AR(1) process has sqrt((1 + rho) / (1 - rho)) times the error of independent days."""
    r = ar1(np.random.default_rng(3), 4000, 0.6)
    alone = inf.bootstrap_interval(r, np.mean, draws=800, block=1)
    blocks = inf.bootstrap_interval(r, np.mean, draws=800, block=60)
    ratio = (blocks.high - blocks.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(2.0, abs=0.3)
    assert 10 < mean_block(r) < 60


@pytest.mark.kernel
def test_the_same_seed_is_the_same_interval_and_a_level_is_nested() -> None:
    r = noise(2, 300, 1)[:, 0]
    one, same, other = (inf.interval_of_sharpe(r, draws=200, seed=s) for s in (1, 1, 2))
    assert one == same
    assert (one.low, one.high) != (other.low, other.high)
    narrow = inf.interval_of_sharpe(r, draws=200, seed=1, level=0.5)
    assert one.low < narrow.low < narrow.high < one.high
    scaled = inf.interval_of_sharpe(r * 7.0, draws=200, seed=1)
    assert (scaled.low, scaled.high) == pytest.approx((one.low, one.high))


@pytest.mark.kernel
def test_draws_without_a_number_are_counted() -> None:
    r = np.array([0.01] * 60 + [0.0, -0.02, 0.01, 0.01])  # some draws hold no other return
    found = inf.bootstrap_interval(r, lambda x: sharpe(x, 1.0), draws=400, block=30)
    assert found.undefined > 0.05
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_what_cannot_be_drawn_says_why() -> None:
    for call, said in (
        (lambda: inf.interval_of_sharpe([0.1, math.nan]), "1 of 2 values"),
        (lambda: inf.interval_of_sharpe([0.1, 0.2, 0.1], level=1.0), "level=1.0"),
        (lambda: inf.interval_of_sharpe([0.1, 0.2, 0.1], draws=0), "draws=0"),
        (lambda: inf.bootstrap_interval([0.1], np.mean), "two rows or more"),
        (lambda: inf.resampled_paths([]), "no returns"),
        (lambda: inf.ruin_by_leverage([0.1, -0.1], floor=1.0), "floor=1.0"),
        (lambda: inf.ruin_by_leverage([0.1, -0.1], [-1.0]), "leverage=-1.0"),
    ):
        with pytest.raises(BadInput, match=said):
            call()


def test_block_lengths_of_nothing_and_of_what_never_moves() -> None:
    assert inf.block_lengths([0.1] * 50) == inf.BlockLengths(1.0, 1.0)
    assert inf.block_lengths([0.1, 0.2]) == inf.BlockLengths(1.0, 1.0)
    assert mean_block([0.1] * 50) == 1


@few
@given(st.integers(2, 40), st.integers(1, 100), st.integers(1, 12), st.integers(0, 99))
def test_places_lie_in_the_series_and_mostly_follow_each_other(n: int, length: int, block: int, seed: int) -> None:
    at = places(n, length, 30, block, seed)
    assert at.shape == (30, length)
    assert at.min() >= 0
    assert at.max() < n
    if length > 1 and block >= 6 and n >= 20:
        assert np.mean((np.diff(at) % n) == 1) > 0.6


@pytest.mark.slow
@pytest.mark.parametrize(("rho", "least"), [(0.0, 0.90), (0.3, 0.88)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(rho: float, least: float) -> None:
    """95 % intervals of a ratio of 0.05 a day; docs/statistics.md has the whole table."""
    held = 0
    for seed in range(150):
        r = 0.05 + ar1(np.random.default_rng(seed), 600, rho)
        found = inf.interval_of_sharpe(r, per_year=1.0, draws=300, seed=seed)
        held += found.low <= 0.05 <= found.high
    assert least <= held / 150 <= 0.995


# --- overfitting -----------------------------------------------------------------------------------------------------


def plain_pbo(r: np.ndarray, blocks: int) -> list[float]:
    """Word by word: every half, every rank."""
    parts = np.array_split(r, blocks)
    logits = []
    for half in combinations(range(blocks), blocks // 2):
        a, b = (np.concatenate([parts[i] for i in range(blocks) if (i in half) == inside]) for inside in (True, False))
        seen, unseen = (x.mean(axis=0) / x.std(axis=0, ddof=1) for x in (a, b))
        own = unseen[int(np.argmax(seen))]
        rank = np.sum(unseen < own) + (np.sum(unseen == own) + 1) / 2
        w = rank / (r.shape[1] + 1)
        logits.append(math.log(w / (1 - w)))
    return logits


@few
@given(st.integers(0, 9999), st.integers(2, 7), st.sampled_from([2, 4, 6]))
def test_pbo_is_what_its_steps_say(seed: int, trials: int, blocks: int) -> None:
    r = noise(seed, blocks * 5, trials) + 1.0
    found = inf.pbo(r, blocks)
    expected = plain_pbo(r, blocks)
    assert found.logits == pytest.approx(expected)
    assert found.pbo == np.mean(np.array(expected) <= 0.0)
    by_call = inf.pbo(r, blocks, lambda x: x.mean(axis=0) / x.std(axis=0, ddof=1))
    assert by_call.logits == pytest.approx(expected)


@few
@given(st.integers(0, 9999), st.integers(2, 8))
def test_pbo_does_not_see_order_or_size_of_the_trials(seed: int, trials: int) -> None:
    r = noise(seed, 80, trials)
    order = np.random.default_rng(seed).permutation(trials)
    plain, mixed = inf.pbo(r, 8), inf.pbo(3.0 * r[:, order], 8)
    assert np.sort(mixed.logits) == pytest.approx(np.sort(plain.logits))
    assert mixed.pbo == plain.pbo


def test_pbo_is_near_one_half_on_noise_and_near_zero_on_an_edge() -> None:
    on_noise, on_edge = [], []
    for seed in range(20):
        r = noise(seed, 600, 30)
        on_noise.append(inf.pbo(r, 10).pbo)
        r[:, 7] += 0.004  # two fifths of a deviation a day
        found = inf.pbo(r, 10)
        on_edge.append(found.pbo)
        assert np.mean(found.chosen == 7) > 0.9
    assert 0.4 < np.mean(on_noise) < 0.6
    assert np.mean(on_edge) < 0.01


def test_copies_and_trials_that_never_trade() -> None:
    r = noise(1, 96, 1)
    copies = inf.pbo(np.tile(r, (1, 5)), 6)
    assert copies.logits == pytest.approx(np.zeros(20))  # each is the median of itself
    assert copies.pbo == 1.0
    idle = np.column_stack([np.zeros(96), r + 0.01, np.zeros(96)])
    assert set(inf.pbo(idle, 6).chosen.tolist()) == {1}
    assert inf.pbo(r[:95].repeat(2, axis=1), 6).cut_off == 5
    assert inf.pbo(np.zeros((60, 3)), 6).pbo == 1.0  # nobody traded: no choice is better than another


def test_a_trial_that_stood_still_in_the_other_half_is_the_worst_there() -> None:
    r = noise(3, 80, 4)
    r[:40, 0] = np.abs(r[:40, 0]) + 0.01  # by far the best at first, and nothing afterwards
    r[40:, 0] = 0.0
    found = inf.pbo(r, 2)
    assert found.chosen[0] == 0
    assert found.outside[0] == -np.inf
    assert found.logits[0] == pytest.approx(math.log(1 / 4))  # w = 1 / 5


def test_what_cannot_be_cut_says_why() -> None:
    for call, said in (
        (lambda: inf.pbo(noise(0), 5), "even number"),
        (lambda: inf.pbo(noise(0), 22), "705,432 halves"),
        (lambda: inf.pbo(noise(0, 400, 1)), "one trial"),
        (lambda: inf.pbo(noise(0, 10), 16), "10 periods in 16 blocks"),
        (lambda: inf.pbo(noise(0), 4, "median"), "metric='median'"),  # type: ignore[arg-type]
        (lambda: inf.pbo(noise(0), 4, lambda x: x.mean()), "one number a trial"),
        (lambda: inf.pbo([[1.0, math.nan]] * 40), "NaN"),
        (lambda: inf.pbo([1.0, 2.0]), "periods by trials"),
    ):
        with pytest.raises(BadInput, match=said):
            call()


# --- superior ability ------------------------------------------------------------------------------------------------


def test_the_best_of_noise_is_not_superior_and_an_edge_is() -> None:
    p = [inf.superior(noise(seed, 300, 15), draws=300).consistent for seed in range(12)]
    assert 0.2 < np.mean(p) < 0.8
    r = noise(0, 300, 15)
    r[:, 4] += 0.003
    found = inf.superior(r, draws=300)
    assert found.best == 4
    assert found.consistent < 0.01
    assert found.reality_check < 0.02


@few
@given(st.integers(0, 999))
def test_p_values_are_ordered_and_do_not_see_the_order_of_trials(seed: int) -> None:
    r = noise(seed, 120, 6)
    found = inf.superior(r, draws=100, block=3)
    assert found.lower <= found.consistent <= found.upper
    order = np.random.default_rng(seed).permutation(6)
    mixed = inf.superior(r[:, order], draws=100, block=3)
    assert (mixed.consistent, mixed.reality_check) == (found.consistent, found.reality_check)
    assert order[mixed.best] == found.best
    scaled = inf.superior(r * 100.0, draws=100, block=3)
    assert (scaled.consistent, scaled.reality_check) == (found.consistent, found.reality_check)


def test_noisy_trials_hide_an_edge_from_the_reality_check_and_not_from_spa() -> None:
    """What Hansen's test is for: in units of their own error, wild trials do not drown a quiet good one."""
    r = noise(3, 400, 20)
    r[:, 1:] *= 30.0
    r[:, 0] += 0.002
    found = inf.superior(r, draws=400)
    assert found.consistent < 0.02
    assert found.reality_check > 0.2


def test_a_benchmark_may_be_a_series() -> None:
    r = noise(5, 200, 4)
    market = r[:, 0]
    found = inf.superior(r, market, draws=100)
    assert found.left_out == 1
    assert math.isnan(inf.superior(np.tile(market[:, None], (1, 3)), market, draws=100).consistent)
    with pytest.raises(BadInput, match="benchmark has 5 returns"):
        inf.superior(r, market[:5])
    with pytest.raises(BadInput, match="too few"):
        inf.superior(r[:5])


# --- other paths -----------------------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_shuffled_trades_end_where_they_did_and_fall_otherwise() -> None:
    r = np.array([0.10, -0.05, 0.20, -0.10])
    found = inf.shuffled_trades(r, 300)
    assert found.final == pytest.approx(np.full(300, np.prod(1.0 + r)))
    assert found.drawdown.min() == pytest.approx(0.10)
    assert found.drawdown.max() == pytest.approx(1.0 - 0.95 * 0.90)
    assert inf.shuffled_trades([], 5).final.tolist() == [1.0] * 5


def test_resampled_trades_have_the_mean_of_independent_ones() -> None:
    r = noise(8, 50, 1)[:, 0] + 0.002
    found = inf.resampled_trades(r, 6000)
    expected = (1.0 + r.mean()) ** 50
    assert found.final.mean() == pytest.approx(expected, rel=0.01)
    assert inf.resampled_trades(r, 10, length=200).final.shape == (10,)
    assert inf.resampled_trades([-1.0, 0.5], 200, length=30).final.max() == 0.0  # what is lost stays lost
    quantiles = found.quantiles(0.1, 0.9)
    assert quantiles["final"][0] < expected < quantiles["final"][1]
    assert 0.0 <= found.loss <= 1.0


def test_ruin_of_a_random_walk_is_what_its_formula_says() -> None:
    """Brownian motion with drift m and deviation s a day: P(reaches -a within T), by reflection."""
    rng = np.random.default_rng(11)
    m, s, days = 0.0002, 0.03, 250
    logs = rng.standard_normal(60_000)
    logs = m + s * (logs - logs.mean()) / logs.std()
    found = inf.ruin_by_leverage(np.expm1(logs), [1.0], floor=0.6, length=days, draws=3000, block=1)[0]
    a = -math.log(0.6) + 0.5826 * s  # looked at once a day: Broadie, Glasserman and Kou's correction
    phi = lambda x: 0.5 * math.erfc(-x / math.sqrt(2.0))  # noqa: E731
    spread = s * math.sqrt(days)
    expected = phi((-a - m * days) / spread) + math.exp(-2.0 * m * a / s**2) * phi((-a + m * days) / spread)
    assert found.low - 0.01 <= expected <= found.high + 0.01
    assert found.low < found.probability < found.high


def test_more_leverage_is_never_safer_and_none_is_safe() -> None:
    r = noise(12, 500, 1)[:, 0] - 0.0005
    found = inf.ruin_by_leverage(r, [0.0, 1.0, 2.0, 5.0, 20.0], floor=0.5, length=200, draws=300)
    chances = [one.probability for one in found]
    assert chances[0] == 0.0
    assert chances == sorted(chances)
    assert chances[-1] > 0.9
    assert found[0].median_final == 1.0
    assert [one.leverage for one in found] == [0.0, 1.0, 2.0, 5.0, 20.0]


@pytest.mark.kernel
def test_what_happens_inside_a_day_counts() -> None:
    r, worst = np.full(50, 0.001), np.full(50, -0.2)
    assert inf.ruin_by_leverage(r, [3.0], length=20, draws=10)[0].probability == 0.0
    caught = inf.ruin_by_leverage(r, [3.0], length=20, draws=10, worst=worst)[0]
    assert caught.probability == 1.0
    assert caught.median_final <= 0.5


# --- libraries -------------------------------------------------------------------------------------------------------


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.split(".")[0] in ("arch", "statsmodels"):
            raise ImportError(name)
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    for name in [one for one in sys.modules if one.split(".")[0] in ("arch", "statsmodels")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnwindError, match=r"^arch is not installed: pip install arch$"):
        inf.block_lengths(np.arange(30.0))
    with pytest.raises(UnwindError, match=r"^statsmodels is not installed: pip install statsmodels$"):
        inf.adjusted_p_values([0.1])
    assert 0.0 < inf.psr(inf.Moments(100, 0.1)) < 1.0  # needs none
