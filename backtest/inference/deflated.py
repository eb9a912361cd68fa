"""The best of many trials: what luck alone would have found, and what is left of a Sharpe ratio after it.

1. `trials_of` (Sharpe ratios, or the trials' returns) gives their number, the variance of their ratios, and how many
   of them are different: a thousand neighbours in a grid are not a thousand trials.
2. `expected_maximum` is the best ratio that as many trials without any skill would show.
3. `dsr` is the PSR against it.

Ratios are per period, as in `backtest.inference.sharpe`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from backtest import metrics
from backtest.inference.given import NORMAL, Floats, series, table
from backtest.inference.sharpe import Convention, Given, as_moments, checked, psr
from data.errors import BadInput

EULER = 0.5772156649015329
STEP, REACH = 0.005, 14.0  # of the integral over the largest of normal variables


@dataclass(frozen=True)
class Trials:
    """number: trials made. variance: of their Sharpe ratios, per period. effective: how many are different."""

    number: float
    variance: float
    effective: float | None = None

    def __post_init__(self) -> None:
        if not self.number >= 1:
            raise BadInput(f"number={self.number!r}: the trial itself counts, write 1 or more")
        if not self.variance >= 0.0:
            raise BadInput(f"variance={self.variance!r}: write the variance of the trials' Sharpe ratios, 0 or more")
        if self.effective is not None and not 1.0 <= self.effective <= self.number:
            raise BadInput(f"effective={self.effective!r}: from 1 to the number of trials, {self.number:g}")

    @property
    def counted(self) -> float:
        """The number that deflates: the effective one where it is known."""
        return self.number if self.effective is None else self.effective


def trials_of(values: npt.ArrayLike) -> Trials:
    """Of one Sharpe ratio a trial (per period), or of returns (periods, trials), which also give the effective number.

    Variance with ddof 1; 0 for one trial. Trials without a spread, or whose ratio is NaN, count, and are left out of
    the variance: they were looked at.
    """
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput("trials: give an array of numbers") from None
    if found.ndim == 2:
        r = table(found)
        sharpes = np.array([metrics.sharpe(np.ascontiguousarray(column), 1.0) for column in r.T])
        return Trials(r.shape[1], _variance(sharpes), effective_number(r))
    if found.ndim != 1 or len(found) == 0:
        raise BadInput("trials: give one Sharpe ratio a trial, or a table of returns, periods by trials")
    return Trials(len(found), _variance(found))


def _variance(sharpes: Floats) -> float:
    known = sharpes[np.isfinite(sharpes)]
    return float(np.var(known, ddof=1)) if len(known) > 1 else 0.0


def expected_maximum(trials: float, variance: float = 1.0) -> float:
    """E[largest of K] of normal variables with mean 0: the approximation that the DSR was published with.

    sqrt(variance) [(1 - g) z(1 - 1 / K) + g z(1 - 1 / (K e))], g = 0.5772 (Bailey and Lopez de Prado, 2014). About 2 %
    too high at K = 10, see `exact_maximum`. 0 for one trial. NaN: never.
    """
    if not trials >= 1.0:
        raise BadInput(f"trials={trials!r}: write 1 or more")
    if not variance >= 0.0:
        raise BadInput(f"variance={variance!r}: write 0 or more")
    if trials == 1.0:
        return 0.0
    first, second = _upper(1.0 / trials), _upper(1.0 / (trials * math.e))
    return max(0.0, math.sqrt(variance) * ((1.0 - EULER) * first + EULER * second))


def _upper(tail: float) -> float:
    """z(1 - tail); 1 - tail would lose the digits of a small one, and the quantile of the other tail does not."""
    return -NORMAL.inv_cdf(tail)


@lru_cache(maxsize=256)
def exact_maximum(trials: float) -> tuple[float, float]:
    """Mean and variance of the largest of K independent standard normal variables, by integration. K need not be whole.

    Density K phi(x) Phi(x)^(K - 1). NaN: never.
    """
    if not trials >= 1.0:
        raise BadInput(f"trials={trials!r}: write 1 or more")
    x = np.arange(-REACH, REACH + STEP, STEP)
    tail = np.array([0.5 * math.erfc(v / math.sqrt(2.0)) for v in x])
    with np.errstate(divide="ignore"):
        log_density = -0.5 * x * x - 0.5 * math.log(2.0 * math.pi) + math.log(trials)
        log_below = np.where(x < 0.0, np.log(1.0 - np.minimum(tail, 1.0 - 1e-300)), np.log1p(-np.minimum(tail, 0.5)))
        log_below = np.where(x < -5.0, np.log(tail[::-1]), log_below)  # Phi(x) is the tail beyond -x
    density = np.exp(log_density + (trials - 1.0) * log_below) * STEP
    mean = float(density @ x)
    return mean, float(density @ (x - mean) ** 2)


def effective_number(returns: npt.ArrayLike, method: Literal["entropy", "correlation"] = "entropy") -> float:
    """How many different trials there are among correlated ones, from their returns (periods, trials).

    "entropy": exp of the entropy of the eigenvalues of the correlation matrix, as shares (Roy and Vetterli, 2007);
    "correlation": 1 + (1 - mean correlation) (K - 1), as Bailey and Lopez de Prado (2014) interpolate.
    K for independent trials (seen long enough), 1 for copies of one. Trials without a spread are one together.
    """
    r = table(returns)
    middle = r - r.mean(axis=0)
    width = np.sqrt((middle**2).sum(axis=0))
    moving = width > metrics.NOTHING * math.sqrt(len(r))
    still = 0 if moving.all() else 1
    count = int(np.count_nonzero(moving))
    if count == 0:
        return 1.0
    unit = middle[:, moving] / width[moving]
    if method == "correlation":
        total = float((unit.sum(axis=1) ** 2).sum())  # all correlations, without the matrix
        mean = (total - count) / (count * (count - 1)) if count > 1 else 1.0
        found = 1.0 + (1.0 - min(max(mean, 0.0), 1.0)) * (count - 1)
    elif method == "entropy":
        shares = np.linalg.svd(unit, compute_uv=False) ** 2 / count
        shares = shares[shares > 0.0]
        found = math.exp(-float(shares @ np.log(shares)))
    else:
        raise BadInput(f'method={method!r}: write "entropy" or "correlation"')
    return min(max(found, 1.0) + still, float(r.shape[1]))


def dsr(
    given: Given, trials: Trials | npt.ArrayLike, *, convention: Convention = "2012", benchmark: float = 0.0
) -> float:
    """Deflated Sharpe ratio: how probable it is that the true ratio is above what the trials' luck would show.

    PSR against benchmark + expected_maximum(K, variance of the trials' ratios), with the effective K where it is known.
    "2012": Bailey and Lopez de Prado, The Deflated Sharpe Ratio (2014), on the PSR of 2012. "2025": the variance of the
    PSR is also that of the largest of K ratios, which is smaller than that of one. With one trial it is the PSR.
    `trials`: a `Trials`, or what `trials_of` takes. NaN: no spread.
    """
    m = as_moments(given)
    found = trials if isinstance(trials, Trials) else trials_of(trials)
    count = found.counted
    hurdle = benchmark + expected_maximum(count, found.variance)
    shrunk = exact_maximum(count)[1] if checked(convention) == "2025" else 1.0
    return psr(m, hurdle, convention=convention, shrunk=shrunk)


def min_backtest_length(trials: float, target: float = 1.0) -> float:
    """MinBTL: years of data without which K trials without skill are expected to show an annual ratio of `target`.

    (expected_maximum(K) / target)^2 (Bailey, Borwein, Lopez de Prado and Zhu, Pseudo-Mathematics, 2014): 45 trials
    need 5 years for a ratio of 1. NaN: never.
    """
    if not target > 0.0:
        raise BadInput(f"target={target!r}: write an annual Sharpe ratio above 0")
    return (expected_maximum(trials) / target) ** 2


def min_backtest_length_bound(trials: float, target: float = 1.0) -> float:
    """The simple upper bound of the same paper: 2 ln(K) / target^2. NaN: never."""
    if not (trials >= 1.0 and target > 0.0):
        raise BadInput(f"trials={trials!r}, target={target!r}: write 1 trial or more, and a ratio above 0")
    return 2.0 * math.log(trials) / target**2


def sharpes_of(returns: npt.ArrayLike) -> Floats:
    """One Sharpe ratio a column, per period. NaN: no spread."""
    return np.array([metrics.sharpe(np.ascontiguousarray(series(column)), 1.0) for column in table(returns).T])
