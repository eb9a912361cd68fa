"""Regimes: a published fit, states put into a series, and nothing from the future."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from leverage_events import market_of

from data import clock
from data.errors import BadInput, UnwindError
from strategies import regimes as module
from strategies.regimes import Switch, fit_whole, regimes, switching


def two_states(n: int, seed: int = 0, length: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Quiet and wild stretches by turns, and which is which."""
    rng = np.random.default_rng(seed)
    state = (np.arange(n) // length) % 2
    return np.where(state == 1, 3.0, 0.5) * rng.standard_normal(n), state


def test_hamiltons_business_cycle() -> None:
    """Hamilton (1989), growth of real GNP 1951q1 to 1984q4, an AR(4): the estimates of EViews for the same sample.

    Data and numbers: statsmodels' own tests of MarkovAutoregression, which cite EViews' switching regression.
    """
    growth = np.loadtxt(Path(__file__).parent / "golden" / "hamilton_gnp.csv")
    made = fit_whole(growth, order=4, switching_variance=False)
    found = dict(zip(made.model.param_names, made.params, strict=True))
    assert made.llf == pytest.approx(-181.26339, abs=1e-4)
    expected = {
        "p[0->0]": 0.754673, "p[1->0]": 0.095915, "const[0]": -0.358811, "const[1]": 1.163516, "sigma2": 0.591368,
        "ar.L1": 0.013486, "ar.L2": -0.057521, "ar.L3": -0.246983, "ar.L4": -0.212923,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=5e-4)


def test_states_put_in_are_told_apart_as_they_happen() -> None:
    y, state = two_states(900)
    made = switching(y, window=400, every=100)
    known = np.isfinite(made.probability).all(axis=1)
    assert not known[:400].any()
    assert known[400:].all()
    assert made.probability[400:].sum(axis=1) == pytest.approx(1.0)
    assert (made.state[400:] == state[400:]).mean() > 0.9
    assert [fit.bar for fit in made.fits] == [400, 500, 600, 700, 800]
    for fit in made.fits:
        assert fit.deviation[0] < fit.deviation[1]
        assert (fit.stay > 0.9).all()


def test_the_future_changes_nothing() -> None:
    """To the digits that an optimiser gives: it stops a little elsewhere when its arrays lie elsewhere in memory."""
    y, _ = two_states(700, 1)
    x = np.random.default_rng(2).standard_normal((700, 2))
    whole = switching(y, x, window=400, every=100, starts=0).probability
    for cut in (401, 455, 633):
        part = switching(y[:cut], x[:cut], window=400, every=100, starts=0).probability
        np.testing.assert_allclose(part, whole[:cut], atol=2e-3)
    later = switching(np.append(y[:633], 50.0 * y[633:]), x, window=400, every=100, starts=0).probability
    np.testing.assert_allclose(later[:633], whole[:633], atol=2e-3)


def test_the_filter_itself_knows_no_later_bar() -> None:
    y, _ = two_states(500, 1)
    none = np.empty((500, 0))
    fit = module._fitted(y[:400], none[:400], 2, 0)
    assert fit is not None
    whole = fit.filtered(y, none)
    for cut in (10, 401, 499):
        np.testing.assert_allclose(fit.filtered(y[:cut], none[:cut]), whole[:cut], atol=1e-12)


def test_a_regression_of_its_own_in_each_state() -> None:
    """The return follows the other series in one state only, with one noise: the slope alone tells the states."""
    rng = np.random.default_rng(3)
    state = (np.arange(1000) // 100) % 2
    x = rng.standard_normal(1000)
    y = np.where(state == 1, 2.0 * x, 0.0) + np.where(state == 1, 0.4, 0.3) * rng.standard_normal(1000)
    made = switching(y, x, window=600, every=200)
    assert (made.state[600:] == state[600:]).mean() > 0.9


def test_units_change_nothing() -> None:
    y, _ = two_states(600, 4)
    usual, small = (switching(y * scale, window=400, every=100).probability for scale in (1.0, 1e-5))
    np.testing.assert_allclose(usual, small, atol=2e-3)


def test_bars_that_are_not_known_are_not_known_in_the_result() -> None:
    y, state = two_states(700, 5)
    holes = y.copy()
    holes[[100, 450, 451]] = np.nan
    made = switching(holes, window=400, every=100)
    assert np.isnan(made.probability[[450, 451]]).all()
    assert np.isfinite(made.probability[452:]).all()
    assert made.fits[0].rows == 399
    assert (made.state[452:] == state[452:]).mean() > 0.85


def test_a_series_that_never_moves_has_no_regimes() -> None:
    made = switching(np.ones(200), window=100, every=50)
    assert np.isnan(made.probability).all()
    assert made.fits == []


def test_the_same_series_has_the_same_regimes_each_time() -> None:
    """Of noise with fat tails and three states: the starting points decide which of many fits is found."""
    y = np.random.default_rng(3).standard_t(3, 110)
    first, *again = (switching(y, window=100, every=40, states=3, starts=2) for _ in range(4))
    for other in again:
        np.testing.assert_allclose(first.probability, other.probability, atol=0.01)
    assert [f.bar for f in first.fits] == [100]


def test_the_global_random_numbers_are_left_alone() -> None:
    y, _ = two_states(500, 6)
    np.random.seed(11)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    switching(y, window=400, every=100, starts=3)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_a_column_that_began_later_changes_nothing_said_before() -> None:
    y, _ = two_states(700, 4)
    x = np.random.default_rng(5).standard_normal((700, 2))
    x[:500, 1] = np.nan
    whole = switching(y, x, window=200, every=100, starts=0)
    np.testing.assert_allclose(
        whole.probability[:500], switching(y[:500], x[:500, :1], window=200, every=100, starts=0).probability, atol=2e-3
    )
    assert np.isfinite(whole.probability[200:]).all()
    assert [fit.used for fit in whole.fits] == [(0,), (0,), (0,), (0,), (0, 1)]


def test_a_market_that_stands_still_at_times_has_a_state_for_it() -> None:
    y, state = two_states(600, 6)
    y[state == 0] = 0.0
    made = switching(y, window=300, every=100, starts=0)
    assert np.isfinite(made.probability[300:]).all()
    assert (made.state[300:] == state[300:]).mean() > 0.9
    assert all(fit.deviation[0] > 0.0 for fit in made.fits)


def test_of_a_market_with_open_interest_and_without_funding() -> None:
    y, state = two_states(500, 7)
    close = 100.0 * np.exp(np.cumsum(0.01 * y))
    held = 1000.0 * np.exp(np.cumsum(0.01 * np.random.default_rng(8).standard_normal(500)))
    made = regimes(market_of(close, held, clock.DAY), Switch(window="300d", every="100d", starts=2))
    assert (made.state[301:] == state[301:]).mean() > 0.85


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="2, 3 or 4"):
        Switch(states=1)
    with pytest.raises(BadInput, match="a fit needs"):
        switching(np.zeros(100), window=10)
    with pytest.raises(BadInput, match="as many"):
        switching(np.zeros(100), np.zeros(99), window=60)

    def missing() -> None:
        raise module.not_installed("statsmodels")

    monkeypatch.setattr(module, "_models", missing)
    with pytest.raises(UnwindError, match=r"pip install statsmodels"):
        switching(two_states(200)[0], window=100)
