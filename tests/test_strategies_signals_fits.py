"""Signals with a fitted model: against the libraries' own answers, against truth, and without a look ahead."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import kstest

from data.errors import BadInput, UnwindError
from strategies.signals import SIGNALS, compute
from strategies.signals.flow import hawkes_intensity
from strategies.signals.garch import garch_fits, garch_volatility
from strategies.signals.hawkes import branching_by_size, fit_hawkes, likelihood, merged, residuals, simulate_hawkes
from strategies.signals.hazard import cascade_probability, event_probability, skill, will_happen
from strategies.signals.rolling import log_change

NAN = math.nan


# ---- GARCH ---------------------------------------------------------------------------------------


def garch_path(n: int, seed: int) -> np.ndarray:
    """Closes whose changes are GJR-GARCH(1,1), 1 % a bar."""
    return true_garch(n, seed)[0]


def true_garch(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Closes, and the deviation of each next change."""
    rng = np.random.default_rng(seed)
    omega, alpha, gamma, beta = 5e-6, 0.05, 0.08, 0.86
    variance, e, ahead = 1e-4, np.zeros(n), np.zeros(n)
    for t in range(1, n):
        e[t] = math.sqrt(variance) * rng.standard_normal()
        variance = omega + (alpha + gamma * (e[t] < 0.0)) * e[t] ** 2 + beta * variance
        ahead[t] = math.sqrt(variance)
    return 100.0 * np.exp(np.cumsum(e)), ahead


@pytest.mark.kernel
def test_garch_is_the_library_s_own_forecast() -> None:
    """With a fit's parameters fixed, arch's one-step forecasts of every later bar are ours."""
    from arch import arch_model

    close, window = garch_path(900, 1), 500
    fit = garch_fits(close, window, 1000)[0]
    assert (fit.bar, fit.converged) == (window, True)
    assert 0.7 < fit.persistence < 1.0
    changes = np.asarray(log_change(close, 1))[1:] * 100.0
    model = arch_model(changes, mean="Zero", vol="GARCH", p=1, o=1, q=1, dist="t", rescale=False)
    fixed = model.fix([fit.omega * 1e4, fit.alpha, fit.gamma, fit.beta, fit.nu])
    # it expects at t - 1 what we say there; both began with the same 75 changes
    np.testing.assert_allclose(
        garch_volatility(close, window, 1000)[window:-1], fixed.conditional_volatility[window:] / 100.0, rtol=1e-9
    )


def test_garch_sees_no_later_bar_and_fits_anew() -> None:
    close, truth = true_garch(700, 2)
    close[[150, 300, 301]] = NAN
    whole = garch_volatility(close, 200, 150)
    assert [f.bar for f in garch_fits(close, 200, 150)] == [200, 350, 500, 650]
    for t in (199, 201, 349, 351, 500, 699):
        np.testing.assert_array_equal(whole[:t], garch_volatility(close[:t], 200, 150))
    changes = np.asarray(log_change(close, 1))
    assert np.isnan(whole[:200]).all()
    np.testing.assert_array_equal(np.isfinite(whole[200:]), np.isfinite(changes[200:]))
    assert np.corrcoef(whole[500:], truth[500:])[0, 1] > 0.6


@pytest.mark.kernel
def test_garch_goes_on_over_bars_that_are_not_known() -> None:
    """A fit whose last bars are not known: the variance fades towards its mean by the formula's expectation."""
    close = garch_path(302, 3)
    close[[298, 299, 300]] = NAN
    fit = garch_fits(close, 300, 500)[0]
    clean = garch_fits(close[:298], 297, 500)[0]
    assert fit.bar == 300
    assert clean.bar == 297
    known = garch_path(302, 3)
    e = math.log(known[297] / known[296])
    variance = clean.omega + (clean.alpha + clean.gamma * (e < 0.0)) * e**2 + clean.beta * clean.deviation**2
    for _ in range(2):
        variance = clean.omega + clean.persistence * variance
    assert fit.deviation == pytest.approx(math.sqrt(variance), rel=0.02)  # the two fits differ a little


def test_garch_of_a_quiet_market_is_that_of_a_wild_one() -> None:
    """A pair of stable coins, 1 bp a bar and less: the same shape, scaled."""
    changes = np.asarray(log_change(garch_path(420, 5), 1))
    changes[0] = 0.0
    plain = garch_volatility(np.exp(np.cumsum(changes)), 300, 100)
    for scale in (1e-1, 1e-3, 1e-5):
        small = garch_volatility(np.exp(np.cumsum(scale * changes)), 300, 100)
        np.testing.assert_allclose(small / scale, plain, rtol=0.01)  # optimisers stop where they like


def test_garch_of_nothing_is_nothing_and_too_little_is_refused() -> None:
    assert np.isnan(garch_volatility(np.full(250, 7.0), 200, 20)).all()
    with pytest.raises(BadInput, match="a fit needs 100 bars"):
        garch_volatility(np.full(250, 7.0), 99, 20)
    with pytest.raises(BadInput, match="takes one series"):
        garch_fits(np.ones((300, 2)), 200, 20)


# ---- Hawkes --------------------------------------------------------------------------------------


def plain_likelihood(t: np.ndarray, end: float, mu: float, n: float, beta: float) -> float:
    rates = [mu + sum(n * beta * math.exp(-beta * (x - y)) for y in t[:i]) for i, x in enumerate(t)]
    return sum(map(math.log, rates)) - mu * end - n * sum(1.0 - math.exp(-beta * (end - x)) for x in t)


@pytest.mark.kernel
def test_likelihood_and_slopes_are_those_of_the_double_sum() -> None:
    t = simulate_hawkes(0.5, 0.5, 2.0, 60.0, 3)
    at = np.array([0.4, 0.6, 1.5])
    value, *slopes = likelihood(t, 60.0, *at)
    assert value == pytest.approx(plain_likelihood(t, 60.0, *at), rel=1e-12)
    for j, slope in enumerate(slopes):
        step = np.eye(3)[j] * 1e-6
        numeric = (plain_likelihood(t, 60.0, *(at + step)) - plain_likelihood(t, 60.0, *(at - step))) / 2e-6
        assert slope == pytest.approx(numeric, rel=1e-5)


@pytest.mark.kernel
def test_residuals_are_the_integral_of_the_intensity() -> None:
    t = simulate_hawkes(0.5, 0.5, 2.0, 30.0, 5)
    found = residuals(t, 0.4, 0.6, 1.5)
    for i in range(1, len(t)):
        grid = np.linspace(t[i - 1], t[i], 401)
        rates = [0.4 + sum(0.9 * math.exp(-1.5 * (x - y)) for y in t[:i]) for x in grid]
        assert found[i - 1] == pytest.approx(float(np.trapezoid(rates, grid)), rel=1e-4)


def test_a_fit_finds_the_truth_and_passes_its_residual_test() -> None:
    truth = (0.2, 0.6, 1.0)
    fits = [fit_hawkes(simulate_hawkes(*truth, 2000.0, seed), 2000.0) for seed in range(6)]
    for j, name in enumerate(("mu", "branching", "beta")):
        assert np.mean([getattr(f, name) for f in fits]) == pytest.approx(truth[j], rel=0.1), name
    assert sum(f.holds for f in fits) >= 5
    assert all(f.log_likelihood > f.poisson_log_likelihood + 20 for f in fits)
    assert fits[0].half_life == pytest.approx(math.log(2.0) / fits[0].beta)
    t = simulate_hawkes(*truth, 2000.0, 0)
    again = kstest(residuals(t, fits[0].mu, fits[0].branching, fits[0].beta), "expon")
    assert fits[0].residual_p == pytest.approx(again.pvalue)


def test_events_that_bring_no_others_have_a_branching_near_none() -> None:
    found = fit_hawkes(simulate_hawkes(1.0, 0.0, 1.0, 1000.0, 7), 1000.0)
    assert found.branching < 0.2
    assert found.log_likelihood - found.poisson_log_likelihood < 4


def test_a_wrong_model_fails_its_residual_test() -> None:
    """Positions closed in several prints a hundredth apart, with a memory of hours as well: no one exponential."""
    rng = np.random.default_rng(9)
    t = simulate_hawkes(0.1, 0.6, 0.2, 5000.0, 9)
    prints = np.sort(np.concatenate([t + 0.01 * k for k in range(4)] + [t[::3] + rng.exponential(0.5, len(t[::3]))]))
    split = fit_hawkes(prints, 5010.0)
    assert not split.holds
    assert split.residual_p < 1e-4
    as_one = fit_hawkes(prints, 5010.0, merge=0.05)
    assert as_one.events < 0.5 * split.events
    assert as_one.branching < split.branching


def test_branching_by_size_is_that_of_an_amplification() -> None:
    assert branching_by_size(1.443, 1.0) == pytest.approx(0.307, abs=5e-4)
    with pytest.raises(BadInput, match="at most what was destroyed"):
        branching_by_size(1.0, 2.0)


def test_what_a_hawkes_fit_refuses() -> None:
    with pytest.raises(BadInput, match="3 events are too few"):
        fit_hawkes([1.0, 2.0, 3.0])
    with pytest.raises(BadInput, match="an event lies outside"):
        fit_hawkes(np.arange(30.0), 20.0)
    with pytest.raises(BadInput, match="holds NaN"):
        fit_hawkes([NAN] * 30)
    with pytest.raises(BadInput, match="branching from 0 to below 1"):
        simulate_hawkes(1.0, 1.0, 1.0, 10.0, 0)
    np.testing.assert_array_equal(merged([3.0, 1.0, 1.0, 1.4], 0.5), [1.0, 3.0])


@pytest.mark.kernel
def test_the_intensity_over_bars_is_that_over_time() -> None:
    """Bars of a thousandth of the memory: the sum over bars is the sum over events."""
    t = simulate_hawkes(0.5, 0.5, 1.0, 100.0, 1)
    fit = fit_hawkes(t, 100.0)
    bar = 0.01
    events = np.bincount((t / bar).astype(int), minlength=10_000).astype(float)
    found = hawkes_intensity(events, **fit.per_bar(bar)) / bar
    for at in (40.0, 70.0, 99.0):
        exact = fit.mu + sum(fit.branching * fit.beta * math.exp(-fit.beta * (at - x)) for x in t[t < at])
        assert found[round(at / bar) - 1] == pytest.approx(exact, rel=0.02)


# ---- probability of an event ---------------------------------------------------------------------


def risky(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two features that persist; the first makes events in the next bar more probable."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, 2))
    for t in range(1, n):
        x[t] = 0.95 * x[t - 1] + rng.standard_normal(2)
    chance = 1.0 / (1.0 + np.exp(4.0 - 0.6 * x[:, 0]))
    happened = np.zeros(n)
    happened[1:] = rng.random(n - 1) < chance[:-1]
    return x, happened


def test_labels_look_ahead_and_say_so() -> None:
    np.testing.assert_array_equal(will_happen(np.array([0.0, 0, 1, 0, 0, NAN, 0]), 2), [1, 1, 0, NAN, NAN, NAN, NAN])
    np.testing.assert_array_equal(will_happen(np.array([0.0, NAN, 1.0]), 2), [1, NAN, NAN])


@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_coefficients_are_those_of_statsmodels_on_the_rows_known_then(link: str) -> None:
    import statsmodels.api as sm

    x, happened = risky(1500, 4)
    found = event_probability(x, happened, ahead=5, every=600, link=link, stride=2, prior=1e4)
    fit = found.fits[-1]
    assert [f.bar for f in found.fits] == [599, 1199]
    rows = np.arange(0, 1199 - 5 + 1, 2)
    label = np.array([happened[t + 1 : t + 6].any() for t in rows], dtype=float)
    z = np.clip((x[rows] - x[rows].mean(axis=0)) / x[rows].std(axis=0), -5, 5)
    kind = sm.families.links.Logit() if link == "logit" else sm.families.links.CLogLog()
    expected = sm.GLM(label, sm.add_constant(z), family=sm.families.Binomial(kind)).fit()
    np.testing.assert_allclose(fit.coefficients, expected.params, atol=5e-4)
    assert (fit.rows, fit.events) == (len(rows), int(label.sum()))
    z_now = np.clip((x[1300] - fit.mean) / fit.deviation, -5, 5)
    assert found.probability[1300] == pytest.approx(float(expected.predict([[1.0, *z_now]])[0]), rel=1e-3)
    if link == "logit":
        np.testing.assert_allclose(sm.Logit(label, sm.add_constant(z)).fit(disp=0).params, expected.params, rtol=1e-4)


def test_a_prior_draws_coefficients_to_nothing() -> None:
    """Against the log posterior, written out and climbed by another optimiser."""
    x, happened = risky(900, 8)
    fit = event_probability(x, happened, ahead=5, every=800, prior=0.3).fits[0]
    rows = np.arange(0, 799 - 5 + 1, 5)
    label = np.array([happened[t + 1 : t + 6].any() for t in rows], dtype=float)
    z = np.clip((x[rows] - fit.mean) / fit.deviation, -5, 5)

    def downhill(b: np.ndarray) -> float:
        score = b[0] + z @ b[1:]
        return float(np.logaddexp(0.0, score).sum() - (label * score).sum() + (b[1:] ** 2).sum() / (2 * 0.3**2))

    best = minimize(
        downhill, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10, "maxiter": 5000}
    )
    np.testing.assert_allclose(fit.coefficients, best.x, atol=1e-3)
    free = event_probability(x, happened, ahead=5, every=800, prior=100.0).fits[0]
    assert np.abs(fit.coefficients[1:]).sum() < 0.8 * np.abs(free.coefficients[1:]).sum()


def test_probabilities_know_nothing_of_later_bars() -> None:
    x, happened = risky(1500, 5)
    x[700:705], happened[900] = NAN, NAN
    whole = event_probability(x, happened, 5, 400).probability
    assert np.isnan(whole[:399]).all()
    assert np.isnan(whole[700:705]).all()
    assert np.isfinite(whole[1000:]).all()
    for t in (399, 400, 401, 799, 800, 801, 1200, 1499):
        np.testing.assert_allclose(whole[:t], event_probability(x[:t], happened[:t], 5, 400).probability, rtol=1e-12)


def test_skill_is_there_where_the_feature_is_and_not_where_it_is_not() -> None:
    x, happened = risky(6000, 6)
    good = skill(event_probability(x[:, 0], happened, 5, 1000).probability, happened, 5)
    blind = skill(event_probability(x[:, 1], happened, 5, 1000).probability, happened, 5)
    assert good.auc > 0.7
    assert good.brier_skill > 0.05
    assert abs(blind.auc - 0.5) < 0.08
    assert blind.brier_skill < 0.02
    by_hand = skill([0.1, 0.4, 0.4, 0.9, 0.5], [0, 0, 1, 1, 0], 1)
    # labels 0, 1, 1, 0 for the first four: of the four pairs one is right (0.4 over 0.1) twice, two are wrong
    assert (by_hand.rows, by_hand.base_rate, by_hand.auc) == (4, 0.5, 0.5)
    assert math.isnan(skill([0.5, 0.5], [0.0, 0.0], 1).auc)


def test_too_few_events_give_no_fit_and_perfect_separation_a_finite_one() -> None:
    rng = np.random.default_rng(1)
    x, rare = rng.standard_normal(500), np.zeros(500)
    rare[[100, 300]] = 1.0
    assert np.isnan(event_probability(x, rare, 1, 100).probability).all()
    told = np.roll(x > 0.5, 1).astype(float)
    fit = event_probability(x, told, 1, 250).fits[-1]
    assert 1.0 < fit.coefficients[1] < 10.0
    with pytest.raises(BadInput, match="link is logit or cloglog"):
        event_probability(x, rare, 1, 100, link="probit")
    with pytest.raises(BadInput, match="give \\(n, m\\) and \\(n,\\)"):
        event_probability(x[:10], rare, 1, 100)


def test_a_cascade_s_probability_is_made_of_its_features() -> None:
    rng = np.random.default_rng(3)
    n = 3000
    close = 100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(n) * np.where(rng.random(n) < 0.02, 6.0, 1.0)))
    oi = 1e4 * np.exp(np.cumsum(0.02 * rng.standard_normal(n)))
    options = {"window": 100, "horizon": 2, "ahead": 24, "every": 500, "sigmas": 3.0, "flush": 0.005}
    whole = cascade_probability(close, oi, **options)
    assert np.isfinite(whole[2000:]).all()
    assert 0.0 < np.nanmin(whole) <= np.nanmax(whole) < 1.0
    for t in (999, 1000, 2001):
        np.testing.assert_allclose(whole[:t], cascade_probability(close[:t], oi[:t], **options), rtol=1e-12)


# ---- without the libraries -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("library", "call"),
    [
        ("arch", lambda: garch_volatility(garch_path(150, 1), 120, 20)),
        ("scipy.optimize", lambda: fit_hawkes(np.arange(40.0))),
        ("scipy.stats", lambda: fit_hawkes(np.arange(40.0))),
        ("statsmodels.genmod.families", lambda: event_probability(*risky(800, 1), 5, 400)),
    ],
)
def test_a_missing_library_is_one_line(library: str, call: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UnwindError, match=r"is not installed: pip install \w+$") as said:
        call()  # type: ignore[operator]
    assert "\n" not in str(said.value)
    assert library.partition(".")[0] in str(said.value)


def test_the_package_loads_no_library_of_the_extra() -> None:
    import subprocess

    code = "import sys, strategies.signals.registry; print({'statsmodels', 'arch', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_fitted_signals_run_by_name() -> None:
    from signal_inputs import whole_market

    market = whole_market(800, 3)
    assert {name for name, s in SIGNALS.items() if s.fitted} == {"cascade_probability", "garch_volatility"}
    found = compute("garch_volatility", market, window="20d", every="10d")
    assert 0.05 < float(np.nanmedian(found)) < 2.0
    options = {"window": "5d", "horizon": "1h", "ahead": "6h", "every": "10d", "sigmas": 1.0, "flush": 0.001}
    chance = compute("cascade_probability", market, **options)
    assert np.isfinite(chance[500:]).all()
