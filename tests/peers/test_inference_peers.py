"""The deflated Sharpe ratio and PBO of other libraries, on the same numbers.

vectorbt is installed and runs. ffn is not: its numbers were printed once by ffn 1.4.1 (`calc_deflated_sharpe_ratio`,
`calc_prob_backtest_overfitting`) on the tables below, which numpy draws again. Its skewness and kurtosis are those that
pandas corrects for bias; ours are the sample's, as in the paper, so they are handed over.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest import inference as inf

pytestmark = pytest.mark.filterwarnings("ignore")  # vectorbt 1.2 is imported with warnings of its own

FFN_DSR, FFN_HURDLE, FFN_PBO_EDGE, FFN_PBO_NOISE = 0.9770103547869259, 0.19053130724471717, 0.0, 0.4
FFN_MEAN_RANK_EDGE, FFN_MEAN_RANK_NOISE = 0.9090909090909088, 0.5259740259740259


def edge() -> np.ndarray:
    t = np.random.default_rng(7).standard_normal((400, 10)) * 0.01
    t[:, 4] += 0.0015
    return t


def ranks(found: inf.Overfitting) -> float:
    return float(np.mean(1.0 / (1.0 + np.exp(-found.logits))))


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-0.3, 0.3), st.floats(0.0001, 0.01), st.integers(2, 5000), st.integers(20, 3000), st.floats(-2.0, 2.0),
    st.floats(5.5, 20.0),
)  # fmt: skip
def test_dsr_is_that_of_vectorbt(
    sharpe: float, variance: float, trials: int, n: int, skew: float, kurtosis: float
) -> None:
    metrics = pytest.importorskip("vectorbt.returns.metrics")
    theirs = metrics.deflated_sharpe_ratio(
        est_sharpe=np.array([sharpe]), var_sharpe=variance, nb_trials=trials, backtest_horizon=n,
        skew=np.array([skew]), kurtosis=np.array([kurtosis]),
    )  # fmt: skip
    ours = inf.dsr(inf.Moments(n, sharpe, skew, kurtosis), inf.Trials(trials, variance))
    assert ours == pytest.approx(float(theirs[0]), abs=1e-9)


def test_dsr_is_that_of_ffn() -> None:
    t = edge()
    trials = inf.trials_of(t.mean(axis=0) / t.std(axis=0, ddof=1))
    assert inf.expected_maximum(trials.number, trials.variance) == pytest.approx(FFN_HURDLE, abs=1e-12)
    best = inf.moments(t[:, 4])
    series = pd.Series(t[:, 4])
    corrected = inf.Moments(best.n, best.sharpe, float(series.skew()), float(series.kurt()) + 3.0)
    assert inf.dsr(corrected, trials) == pytest.approx(FFN_DSR, abs=1e-12)
    assert inf.dsr(best, trials) == pytest.approx(FFN_DSR, abs=1e-3)  # what the correction for bias is worth here


def test_pbo_is_that_of_ffn() -> None:
    found = inf.pbo(edge(), 8)
    assert (found.pbo, ranks(found)) == (FFN_PBO_EDGE, pytest.approx(FFN_MEAN_RANK_EDGE))
    noise = inf.pbo(np.random.default_rng(8).standard_normal((400, 10)), 8)
    assert (noise.pbo, ranks(noise)) == (pytest.approx(FFN_PBO_NOISE), pytest.approx(FFN_MEAN_RANK_NOISE))
