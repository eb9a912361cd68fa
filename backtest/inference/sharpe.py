"""How sure a Sharpe ratio is, from its length, skewness and kurtosis.

Every Sharpe ratio here is per period (a day's, if returns are daily), never annualised; kurtosis is raw, 3 for a normal
distribution. Two conventions are in use, and the same numbers give .913 by one and .987 by the other, so each function
takes its name:

    "2012"   Bailey and Lopez de Prado, The Sharpe Ratio Efficient Frontier (J. of Risk, 2012): the variance is taken
             at the ratio that was observed, divided by n - 1; returns do not depend on the past
    "2025"   Lopez de Prado, Lipton and Zoonekynd, How to Use the Sharpe Ratio (2025): the variance is taken at the
             ratio of the hypothesis that is tested, divided by n; returns may be autocorrelated, with r at lag 1

    V(S) = [a - b skew S + c (kurtosis - 1) / 4 S^2] / divisor
    a = 1 + 2 r / (1 - r),  b = 1 + r / (1 - r) + r^2 / (1 - r^2),  c = 1 + 2 r^2 / (1 - r^2);  all 1 in "2012"
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy.typing as npt

from backtest import metrics
from backtest.inference.given import NORMAL, inside, series
from data.errors import BadInput, did_you_mean

Convention = Literal["2012", "2025"]
CONVENTIONS = ("2012", "2025")


@dataclass(frozen=True)
class Moments:
    """What the formulas need of a series of returns.

    n          periods
    sharpe     mean / standard deviation (ddof 1), per period
    skew       population skewness
    kurtosis   population kurtosis, raw
    rho        autocorrelation at lag 1; used by "2025" alone
    """

    n: float
    sharpe: float
    skew: float = 0.0
    kurtosis: float = 3.0
    rho: float = 0.0

    def __post_init__(self) -> None:
        if not self.n >= 2:
            raise BadInput(f"n={self.n!r}: a Sharpe ratio needs two periods at least")
        if not self.rho != self.rho and not -1.0 < self.rho < 1.0:
            raise BadInput(f"rho={self.rho!r}: write an autocorrelation between -1 and 1")


Given: TypeAlias = "Moments | npt.ArrayLike"


def moments(returns: npt.ArrayLike) -> Moments:
    """Moments of returns. NaN ratios: no spread. Refused: fewer than two returns, or any that is NaN."""
    r = series(returns)
    if len(r) < 2:
        raise BadInput(f"{len(r)} returns are too few: a Sharpe ratio needs two at least")
    middle = r - r.mean()
    width = float(middle @ middle)
    flat = metrics.spread(r) <= metrics.NOTHING
    return Moments(
        n=len(r),
        sharpe=float(metrics.sharpe(r, 1.0)),
        skew=float(metrics.skew(r)),
        kurtosis=float(metrics.kurtosis(r)) + 3.0,
        rho=math.nan if flat else float(middle[1:] @ middle[:-1]) / width,
    )


def as_moments(given: Given) -> Moments:
    return given if isinstance(given, Moments) else moments(given)


def checked(convention: str) -> str:
    if convention not in CONVENTIONS:
        raise BadInput(f"convention={convention!r}: {did_you_mean(str(convention), CONVENTIONS)}")
    return convention


def sharpe_variance(given: Given, at: float | None = None, *, convention: Convention = "2012") -> float:
    """Variance of the estimated Sharpe ratio, taken at `at` (None: at the one that was observed).

    Formula: see the module. NaN: no spread, or moments that no distribution has (the variance would not be positive).
    """
    m = as_moments(given)
    s = m.sharpe if at is None else at
    a, b, c, divisor = 1.0, 1.0, 1.0, m.n - 1.0
    if checked(convention) == "2025":
        r = m.rho
        a = 1.0 + 2.0 * r / (1.0 - r)
        b = 1.0 + r / (1.0 - r) + r * r / (1.0 - r * r)
        c = 1.0 + 2.0 * r * r / (1.0 - r * r)
        divisor = m.n
    variance = (a - b * m.skew * s + c * (m.kurtosis - 1.0) / 4.0 * s * s) / divisor
    return variance if variance > 0.0 else math.nan


def psr(given: Given, benchmark: float = 0.0, *, convention: Convention = "2012", shrunk: float = 1.0) -> float:
    """Probabilistic Sharpe ratio: how probable it is that the true ratio lies above `benchmark` (per period).

    Phi((S - benchmark) / sqrt(V)), V at S ("2012") or at the benchmark ("2025"). `shrunk` multiplies V: the variance
    of the largest of K ratios over that of one, see `dsr`. NaN: no spread.
    """
    m = as_moments(given)
    variance = sharpe_variance(m, m.sharpe if convention == "2012" else benchmark, convention=convention) * shrunk
    if not variance > 0.0 or math.isnan(m.sharpe):
        return math.nan
    return NORMAL.cdf((m.sharpe - benchmark) / math.sqrt(variance))


def critical_sharpe(given: Given, benchmark: float = 0.0, alpha: float = 0.05, *, shrunk: float = 1.0) -> float:
    """The ratio that has to be exceeded to refuse "it is `benchmark`" at level alpha: the "2025" test.

    benchmark + z(1 - alpha) sqrt(V at the benchmark). The observed ratio does not matter. NaN: no spread.
    """
    variance = sharpe_variance(given, benchmark, convention="2025") * shrunk
    return benchmark + NORMAL.inv_cdf(1.0 - inside("alpha", alpha, 0.0, 1.0)) * _root(variance)


def power(
    given: Given, alternative: float, benchmark: float = 0.0, alpha: float = 0.05, *, shrunk: float = 1.0
) -> float:
    """How probable it is that a strategy whose true ratio is `alternative` passes that test ("2025").

    1 - Phi((critical - alternative) / sqrt(V at the alternative)). NaN: no spread.
    """
    m = as_moments(given)
    limit = critical_sharpe(m, benchmark, alpha, shrunk=shrunk)
    width = _root(sharpe_variance(m, alternative, convention="2025") * shrunk)
    return math.nan if math.isnan(limit + width) else 1.0 - NORMAL.cdf((limit - alternative) / width)


def min_track_record(
    given: Given, benchmark: float = 0.0, probability: float = 0.95, *, convention: Convention = "2012"
) -> float:
    """Minimum track record length: periods after which the PSR against `benchmark` would reach `probability`.

    "2012": 1 + (n - 1) V(S) (z / (S - benchmark))^2; "2025": n V(benchmark) (z / (S - benchmark))^2.
    Infinite: the ratio is not above the benchmark. NaN: no spread.
    """
    m = as_moments(given)
    z = NORMAL.inv_cdf(inside("probability", probability, 0.0, 1.0))
    if math.isnan(m.sharpe):
        return math.nan
    if m.sharpe <= benchmark:
        return math.inf
    if checked(convention) == "2012":
        unit, first = (m.n - 1.0) * sharpe_variance(m), 1.0
    else:
        unit, first = m.n * sharpe_variance(m, benchmark, convention="2025"), 0.0
    return first + unit * (z / (m.sharpe - benchmark)) ** 2


def _root(value: float) -> float:
    return math.sqrt(value) if value > 0.0 else math.nan
