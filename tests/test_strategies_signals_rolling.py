"""Trailing windows against plain twins, over many bars, and against pandas."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from data.errors import BadInput
from strategies.signals import rolling
from strategies.signals.edge import columnwise
from strategies.signals.rolling import (
    lagged,
    log_change,
    moments,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_std,
    rolling_sum,
    zscore,
)

pytestmark = pytest.mark.kernel
NAN = math.nan


def plain(x: np.ndarray, window: int, known: float, of: object) -> np.ndarray:
    """Window by window, with exact sums."""
    out = np.full(len(x), NAN)
    for i in range(window - 1, len(x)):
        part = [float(v) for v in x[i - window + 1 : i + 1] if math.isfinite(v)]
        if len(part) >= max(1, math.ceil(window * known)):
            out[i] = of(part)  # type: ignore[operator]
    return out


def mean_of(part: list[float]) -> float:
    return math.fsum(part) / len(part)


def std_of(part: list[float]) -> float:
    mean = mean_of(part)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in part) / len(part))


TWINS = {
    rolling_sum: (1.0, math.fsum), rolling_mean: (0.5, mean_of), rolling_std: (0.5, std_of), rolling_max: (0.5, max),
    rolling_min: (0.5, min),
}  # fmt: skip


@pytest.mark.parametrize("function", TWINS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("window", [1, 2, 7, 30, 90])
def test_a_window_is_what_its_plain_twin_says(function: object, window: int) -> None:
    rng = np.random.default_rng(window)
    x = 100.0 + rng.standard_normal(80)
    x[rng.random(80) < 0.2] = NAN
    x[40], x[41] = math.inf, -math.inf
    known, twin = TWINS[function]  # type: ignore[index]
    for part in (known, 0.3):
        found = function(x, window, known=part)  # type: ignore[operator]
        np.testing.assert_allclose(found, plain(x, window, part, twin), rtol=1e-12)


def test_pandas_says_the_same() -> None:
    x = np.random.default_rng(3).standard_normal(300)
    x[::11] = NAN
    past = pd.Series(x).rolling(24, min_periods=12)
    late = slice(23, None)
    np.testing.assert_allclose(rolling_mean(x, 24)[late], past.mean()[late], rtol=1e-12)
    np.testing.assert_allclose(rolling_std(x, 24)[late], past.std(ddof=0)[late], rtol=1e-12)
    z = (pd.Series(x) - past.mean()) / past.std(ddof=0)
    np.testing.assert_allclose(zscore(x, 24)[late], z[late], rtol=1e-11)


def test_no_digit_is_lost_in_a_million_bars() -> None:
    """A price of 100,000 that moves by a tenth, after one absurd print: running sums would keep its error for good."""
    if not hasattr(moments, "py_func"):
        pytest.skip("a million bars are for compiled code")
    rng = np.random.default_rng(5)
    x = 1e5 + 0.1 * rng.standard_normal(1_000_000)
    x[10] = 1e14
    window = 1440
    mean, std, total = rolling_mean(x, window), rolling_std(x, window), rolling_sum(x, window)
    for i in (1449, 1450, 5_000, 500_000, 999_999):
        part = [float(v) for v in x[i - window + 1 : i + 1]]
        assert mean[i] == pytest.approx(mean_of(part), rel=1e-14)
        assert std[i] == pytest.approx(std_of(part), rel=1e-9)
        assert total[i] == pytest.approx(math.fsum(part), rel=1e-13)


def test_weights_and_windows_of_any_length() -> None:
    """Windows that grow and shrink, as those of settlements do."""
    rng = np.random.default_rng(8)
    x, w = rng.standard_normal(120), rng.choice([0.0, 1.0, 4.0, 8.0], 120)
    first = np.minimum(np.maximum.accumulate(np.arange(120) - rng.integers(0, 25, 120)).clip(0), np.arange(120))
    weight, mean, squares = moments(x, w, first.astype(np.int64))
    for i, f in enumerate(first):
        ww, xx = w[f : i + 1], x[f : i + 1]
        assert weight[i] == pytest.approx(ww.sum())
        if ww.sum() > 0.0:
            m = np.average(xx, weights=ww)
            assert mean[i] == pytest.approx(m, abs=1e-12)
            assert squares[i] == pytest.approx(float((ww * (xx - m) ** 2).sum()), abs=1e-12)


def test_a_window_longer_than_the_series_is_never_full() -> None:
    for function in TWINS:
        assert np.isnan(function([1.0, 2.0], 3)).all()
        assert len(function([], 3)) == 0


def test_a_score_of_what_never_moves_is_none_and_a_floor_tames_what_hardly_does() -> None:
    assert np.isnan(zscore(np.full(20, 0.0001), 5)).all()
    quiet = np.full(20, 0.0001)
    quiet[-1] = 0.00010001
    assert zscore(quiet, 10)[-1] == pytest.approx(3.0)
    assert zscore(quiet, 10, floor=1e-5)[-1] == pytest.approx(9e-4)


def test_changes_and_lags() -> None:
    np.testing.assert_array_equal(lagged([1.0, 2.0, 3.0], 2), [NAN, NAN, 1.0])
    np.testing.assert_array_equal(lagged([1.0], 5), [NAN])
    np.testing.assert_allclose(log_change([1.0, 0.0, math.e, 1.0], 1), [NAN, NAN, NAN, -1.0])


def test_pandas_lists_and_columns_are_welcome() -> None:
    x = np.arange(12.0).reshape(6, 2) ** 2
    both = rolling_mean(x, 3)
    for j in range(2):
        np.testing.assert_array_equal(both[:, j], rolling_mean(list(x[:, j]), 3))
    np.testing.assert_array_equal(rolling_mean(pd.DataFrame(x), 3), both)
    np.testing.assert_array_equal(rolling_mean(pd.Series([1.0, None, 3.0]), 2, known=0.5), [NAN, 1.0, 3.0])
    frozen = x[:, 0].copy()
    frozen.setflags(write=False)
    rolling_mean(frozen, 2)
    np.testing.assert_array_equal(frozen, x[:, 0])


@pytest.mark.parametrize(
    ("given", "window", "said"),
    [
        (["a", "b"], 2, "rolling_mean: x holds what is no number"),
        (np.zeros((2, 2, 2)), 2, r"rolling_mean: x is of shape \(2, 2, 2\)"),
        ([1.0, 2.0], 0, "rolling_mean: window=0: write a whole number of bars"),
        ([1.0, 2.0], 2.0, "rolling_mean: window=2.0: write a whole number of bars"),
        ([1.0, 2.0], True, "rolling_mean: window=True"),
    ],
)
def test_what_is_refused(given: object, window: object, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        rolling_mean(given, window)  # type: ignore[arg-type]


def test_series_of_different_lengths_are_refused() -> None:
    @columnwise
    def gap(a: Array, b: Array) -> Array:  # type: ignore[name-defined]  # noqa: F821 - a name is all that is read
        return a - b

    with pytest.raises(BadInput, match=r"gap: b is of shape \(2,\) and another series of \(3,\): give equal lengths"):
        gap([1.0, 2.0, 3.0], [1.0, 2.0])
    np.testing.assert_array_equal(gap([[1.0, 2.0]], [1.0]), [[0.0, 1.0]])
    assert rolling.HALF == 0.5
