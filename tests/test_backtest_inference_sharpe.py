"""Sharpe ratios in numbers: worked values by hand, closed forms, and what must hold of any moments.

Published numbers are in the worked cases (tests/test_backtest_verify_statistics.py).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backtest import inference as inf
from data.errors import BadInput


def number(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


MOMENTS = st.builds(
    inf.Moments, st.integers(10, 3000), number(-0.3, 0.3), number(-2.0, 2.0), number(5.5, 15.0), number(-0.5, 0.5)
)  # kurtosis >= 1 + skew^2, as any distribution has
CONVENTIONS = st.sampled_from(["2012", "2025"])
few = settings(max_examples=60)


def draw(seed: int, n: int = 300) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(4, n) * 0.01 + 0.0005


# --- moments ---------------------------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_moments_by_hand() -> None:
    m = inf.moments([1.0, -1.0, 3.0, -1.0, 3.0])  # mean 1, deviations 0 -2 2 -2 2, squares 16
    assert m.n == 5
    assert m.sharpe == pytest.approx(1.0 / 2.0)  # sqrt(16 / 4)
    assert m.skew == pytest.approx(0.0)
    assert m.kurtosis == pytest.approx((64.0 / 5.0) / (16.0 / 5.0) ** 2)
    assert m.rho == pytest.approx((0.0 - 4.0 - 4.0 - 4.0) / 16.0)


@pytest.mark.kernel
def test_moments_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    r = draw(1)
    m = inf.moments(r)
    assert m.skew == pytest.approx(stats.skew(r))
    assert m.kurtosis == pytest.approx(stats.kurtosis(r, fisher=False))


@few
@given(st.integers(0, 999), number(0.01, 100.0))
def test_moments_do_not_change_with_the_scale(seed: int, scale: float) -> None:
    r = draw(seed)
    assert inf.psr(r * scale, 0.01) == pytest.approx(inf.psr(r, 0.01), abs=1e-9)
    assert inf.min_track_record(r * scale) == pytest.approx(inf.min_track_record(r), rel=1e-6)


@few
@given(st.integers(0, 999))
def test_order_does_not_matter_but_to_autocorrelation(seed: int) -> None:
    r = draw(seed)
    mixed = np.random.default_rng(seed + 1).permutation(r)
    assert inf.psr(mixed) == pytest.approx(inf.psr(r), abs=1e-9)
    assert inf.moments(mixed).rho != inf.moments(r).rho


@pytest.mark.kernel
def test_no_spread_is_nan_and_missing_returns_are_refused() -> None:
    flat = [0.01] * 10
    assert math.isnan(inf.psr(flat))
    assert math.isnan(inf.psr(flat, convention="2025"))
    assert math.isnan(inf.dsr(flat, inf.Trials(5, 0.01)))
    assert math.isnan(inf.min_track_record(flat))
    assert math.isnan(inf.annual_sharpe(flat))
    with pytest.raises(BadInput, match="1 of 3 values are NaN"):
        inf.psr([0.1, math.nan, 0.2])
    with pytest.raises(BadInput, match="too few"):
        inf.moments([0.1])
    with pytest.raises(BadInput, match=r"convention='2013': did you mean"):
        inf.psr([0.1, 0.2], convention="2013")  # type: ignore[arg-type]


# --- PSR and what goes with it ---------------------------------------------------------------------------------------


@few
@given(MOMENTS, number(-0.2, 0.2), number(0.001, 0.2), CONVENTIONS)
def test_psr_falls_with_the_benchmark(m: inf.Moments, benchmark: float, more: float, convention: str) -> None:
    assume(
        convention == "2012"
    )  # the variance of 2025 is taken at the benchmark, and may grow faster than the distance
    assert inf.psr(m, benchmark + more, convention=convention) <= inf.psr(m, benchmark, convention=convention)


@few
@given(MOMENTS, CONVENTIONS, number(0.001, 0.1))
def test_psr_rises_with_the_ratio_when_returns_are_normal(m: inf.Moments, convention: str, more: float) -> None:
    plain = inf.Moments(m.n, m.sharpe)
    better = inf.Moments(m.n, m.sharpe + more)
    assert inf.psr(better, convention=convention) >= inf.psr(plain, convention=convention)


@few
@given(MOMENTS, number(-0.2, 0.2), CONVENTIONS, st.integers(2, 9))
def test_more_days_make_it_surer(m: inf.Moments, benchmark: float, convention: str, times: int) -> None:
    longer = inf.Moments(m.n * times, m.sharpe, m.skew, m.kurtosis, m.rho)
    here, there = (inf.psr(one, benchmark, convention=convention) for one in (m, longer))
    assert there >= here if m.sharpe >= benchmark else there <= here


@few
@given(MOMENTS, number(-0.2, 0.2), number(0.6, 0.99), CONVENTIONS)
def test_the_track_record_is_as_long_as_psr_needs(
    m: inf.Moments, benchmark: float, probability: float, convention: str
) -> None:
    assume(m.sharpe > benchmark + 0.01)
    needed = inf.min_track_record(m, benchmark, probability, convention=convention)
    assume(needed >= 2.0)
    there = inf.Moments(needed, m.sharpe, m.skew, m.kurtosis, m.rho)
    assert inf.psr(there, benchmark, convention=convention) == pytest.approx(probability, abs=1e-9)
    assert inf.min_track_record(m, m.sharpe + 0.01, convention=convention) == math.inf


@few
@given(MOMENTS, number(0.0, 0.1), number(0.01, 0.3))
def test_the_critical_ratio_is_where_psr_says_so(m: inf.Moments, benchmark: float, alpha: float) -> None:
    limit = inf.critical_sharpe(m, benchmark, alpha)
    there = inf.Moments(m.n, limit, m.skew, m.kurtosis, m.rho)
    assert inf.psr(there, benchmark, convention="2025") == pytest.approx(1.0 - alpha, abs=1e-9)
    assert inf.power(m, benchmark, benchmark, alpha) == pytest.approx(alpha, abs=1e-9)  # no skill passes that often


def test_the_variance_is_what_simulation_finds() -> None:
    """Independent t returns: the formula with their own skewness and kurtosis, against 4,000 drawn ratios."""
    rng = np.random.default_rng(4)
    r = 0.1 + rng.standard_t(8, (4000, 500)) / math.sqrt(8.0 / 6.0)
    found = (r.mean(axis=1) / r.std(axis=1, ddof=1)).var()
    m = inf.Moments(500, 0.1, 0.0, 4.5)
    assert found == pytest.approx(inf.sharpe_variance(m), rel=0.08)
    assert found == pytest.approx(inf.sharpe_variance(m, 0.1, convention="2025"), rel=0.08)


def test_autocorrelation_widens_the_ratio_as_2025_says() -> None:
    rng = np.random.default_rng(5)
    rho, n = 0.3, 600
    e = rng.standard_normal((3000, n + 50))
    x = np.empty_like(e)
    x[:, 0] = e[:, 0]
    for i in range(1, n + 50):
        x[:, i] = rho * x[:, i - 1] + math.sqrt(1 - rho * rho) * e[:, i]
    r = 0.1 + x[:, 50:]
    found = (r.mean(axis=1) / r.std(axis=1)).var()
    m = inf.Moments(n, 0.1, 0.0, 3.0, rho)
    assert found == pytest.approx(inf.sharpe_variance(m, convention="2025"), rel=0.08)
    assert found > 1.5 * inf.sharpe_variance(m)


# --- the best of many ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 10, 100, 5000])
def test_the_largest_of_many_is_what_drawing_finds(k: int) -> None:
    rng = np.random.default_rng(k)
    drawn = np.array([rng.standard_normal(k).max() for _ in range(4000)])
    mean, variance = inf.exact_maximum(k)
    assert drawn.mean() == pytest.approx(mean, abs=4 * math.sqrt(variance / 4000))
    assert drawn.var() == pytest.approx(variance, rel=0.15)


def test_the_approximation_is_close_and_never_below() -> None:
    for k in (5, 10, 100, 10_000):
        assert 0.0 <= inf.expected_maximum(k) / inf.exact_maximum(k)[0] - 1.0 < 0.03
    assert inf.expected_maximum(1) == 0.0
    assert inf.expected_maximum(1e12) < inf.expected_maximum(1e13) < 8.0
    assert inf.expected_maximum(50, 0.04) == pytest.approx(0.2 * inf.expected_maximum(50))


@few
@given(MOMENTS, number(1.0, 1e5), number(0.0, 0.05))
def test_trials_never_help(m: inf.Moments, trials: float, variance: float) -> None:
    found = inf.dsr(m, inf.Trials(trials, variance))
    assert found <= inf.psr(m) + 1e-12
    assert inf.dsr(m, inf.Trials(trials * 2, variance)) <= found + 1e-12
    assert inf.dsr(m, inf.Trials(1, variance)) == inf.psr(m)
    assert inf.dsr(m, inf.Trials(1, 0.0), convention="2025") == pytest.approx(inf.psr(m, convention="2025"), abs=1e-9)


def test_trials_are_read_from_ratios_and_from_returns() -> None:
    r = np.random.default_rng(2).standard_normal((500, 8)) * 0.01
    by_returns = inf.trials_of(r)
    by_ratios = inf.trials_of(r.mean(axis=0) / r.std(axis=0, ddof=1))
    assert by_returns.variance == pytest.approx(by_ratios.variance)
    assert (by_ratios.number, by_ratios.effective, by_ratios.counted) == (8, None, 8)
    assert 7.5 < by_returns.counted <= 8.0
    assert inf.trials_of([0.1, math.nan, 0.2]).number == 3
    assert inf.trials_of([0.1, math.nan, 0.2]).variance == pytest.approx(0.005)
    assert inf.trials_of([0.3]).variance == 0.0
    for wrong in ({"number": 0, "variance": 1.0}, {"number": 2, "variance": -1.0}):
        with pytest.raises(BadInput, match="write"):
            inf.Trials(**wrong)
    with pytest.raises(BadInput, match="effective"):
        inf.Trials(5, 0.1, 6.0)


@pytest.mark.parametrize("method", ["entropy", "correlation"])
def test_copies_are_one_trial_and_strangers_are_many(method: str) -> None:
    rng = np.random.default_rng(6)
    one = rng.standard_normal((4000, 1))
    assert inf.effective_number(np.tile(one, (1, 20)), method) == pytest.approx(1.0, abs=1e-6)  # type: ignore[arg-type]
    strangers = rng.standard_normal((4000, 20))
    assert inf.effective_number(strangers, method) == pytest.approx(20.0, abs=0.8)  # type: ignore[arg-type]
    mixed = math.sqrt(0.5) * one + math.sqrt(0.5) * strangers
    assert 5.0 < inf.effective_number(mixed, method) < 15.0  # type: ignore[arg-type]
    order = rng.permutation(20)
    assert inf.effective_number(mixed[:, order], method) == pytest.approx(  # type: ignore[arg-type]
        inf.effective_number(mixed, method)  # type: ignore[arg-type]
    )


def test_the_effective_number_of_two_published_tables() -> None:
    """zoonek/2025-sharpe-ratio, test_effective_rank: correlations .1 -> 2, (.1, .7, .8) -> 1.84; as exact samples."""
    c = np.array([[1.0, 0.1, 0.7], [0.1, 1.0, 0.8], [0.7, 0.8, 1.0]])
    for part, expected in ((c[:2, :2], 2.0), (c, 1.84)):
        values, vectors = np.linalg.eigh(part)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        base, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((50, len(part) + 1)))
        base -= base.mean(axis=0)
        base, _ = np.linalg.qr(base[:, : len(part)])
        assert inf.effective_number(base @ root.T) == pytest.approx(expected, abs=0.02)


def test_flat_trials_are_one_together() -> None:
    r = np.zeros((100, 4))
    assert inf.effective_number(r) == 1.0
    r[:, 0] = np.random.default_rng(0).standard_normal(100)
    assert inf.effective_number(r) == pytest.approx(2.0)


def test_lengths_of_backtests() -> None:
    assert inf.min_backtest_length(45, 2.0) == pytest.approx(inf.min_backtest_length(45) / 4.0)
    assert inf.min_backtest_length(1) == 0.0
    for k in (2, 45, 1000):
        assert inf.min_backtest_length(k) < inf.min_backtest_length_bound(k)
    with pytest.raises(BadInput, match="above 0"):
        inf.min_backtest_length(5, 0.0)


# --- many tests ------------------------------------------------------------------------------------------------------


@settings(max_examples=8)  # statsmodels collects garbage at every call
@given(st.lists(number(0.0, 1.0), min_size=1, max_size=12))
def test_adjusted_p_values_never_shrink_and_keep_their_order(p: list[float]) -> None:
    given_p = np.array(p)
    for method in ("bonferroni", "sidak", "holm", "holm-sidak", "fdr_bh", "fdr_by"):
        found = inf.adjusted_p_values(given_p, method)  # type: ignore[arg-type]
        assert np.all(found >= given_p - 1e-12)
        assert np.all(np.diff(found[np.argsort(given_p, kind="stable")]) >= -1e-12)


def test_haircuts_fall_with_trials_and_need_the_others_for_holm() -> None:
    cuts = [inf.haircut_sharpe(1.0, 240, k).haircut for k in (1, 10, 100, 10_000_000)]
    assert cuts == sorted(cuts)
    assert cuts[0] == pytest.approx(0.0, abs=1e-12)
    assert cuts[-1] == 1.0
    alone = inf.haircut_sharpe(1.0, 240)
    holm = inf.haircut_sharpe(1.0, 240, others=[0.5, 0.9], method="holm")
    assert holm.adjusted_p == pytest.approx(3 * alone.p)  # the smallest of three
    assert inf.haircut_sharpe(1.0, 240, 3, method="sidak").adjusted_p < 3 * alone.p
    assert math.isnan(inf.haircut_sharpe(-1.0, 240, 3).haircut)
    assert inf.haircut_sharpe(-1.0, 240, 3).haircut_sharpe == 0.0
    assert math.isnan(inf.haircut_sharpe(math.nan, 240, 3).p)
    with pytest.raises(BadInput, match="give others"):
        inf.haircut_sharpe(1.0, 240, 3, method="holm")
    with pytest.raises(BadInput, match="did you mean holm"):
        inf.adjusted_p_values([0.1], "hol")  # type: ignore[arg-type]


def test_false_discoveries() -> None:
    m = inf.Moments(100, 0.2)
    by_prior = [inf.observed_false_discovery(m, 0.2, prior) for prior in (0.01, 0.1, 0.5)]
    assert by_prior == sorted(by_prior, reverse=True)
    assert inf.positive_false_discovery(0.5, 0.05, 0.05) == pytest.approx(0.5)  # a test without power says nothing
    with pytest.raises(BadInput, match="prior"):
        inf.positive_false_discovery(0.0, 0.05, 0.5)


# --- a year ----------------------------------------------------------------------------------------------------------


@few
@given(number(-0.8, 0.8), st.integers(1, 400))
def test_two_ways_to_a_years_ratio_agree(rho: float, q: int) -> None:
    """Lo's sum over lags and the closed form of Harvey and Liu."""
    assert inf.lo_factor(rho, q) == pytest.approx(math.sqrt(q) * inf.autocorrelation_factor(rho, q), rel=1e-9)
    assert inf.lo_factor([rho**k for k in range(1, q)], q) == pytest.approx(inf.lo_factor(rho, q), rel=1e-9)


@pytest.mark.kernel
def test_a_years_ratio_of_autocorrelated_days() -> None:
    rng = np.random.default_rng(9)
    r = 0.02 + rng.standard_normal(5000)
    assert inf.annual_sharpe(r, lags=0) == pytest.approx(inf.moments(r).sharpe * math.sqrt(365))
    smooth = np.convolve(rng.standard_normal(5001), [0.5, 0.5], "valid") + 0.02
    assert inf.annual_sharpe(smooth) < 0.8 * inf.annual_sharpe(smooth, lags=0)
    assert math.isnan(inf.lo_factor([-0.9], 10))
