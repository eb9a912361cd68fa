"""Many tests at once: adjusted p-values, haircuts, false discoveries. And a year's ratio of autocorrelated returns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from backtest import metrics
from backtest.inference.given import Floats, inside, library, series, whole
from backtest.inference.sharpe import Given, as_moments, psr
from data.errors import BadInput, did_you_mean

METHODS = ("bonferroni", "sidak", "holm", "holm-sidak", "fdr_bh", "fdr_by")
Method = Literal["bonferroni", "sidak", "holm", "holm-sidak", "fdr_bh", "fdr_by"]


def adjusted_p_values(p: npt.ArrayLike, method: Method = "holm") -> Floats:
    """p-values of many tests, each made larger for the others (`statsmodels.stats.multitest.multipletests`).

    "bonferroni", "sidak", "holm", "holm-sidak" bound the chance of one false discovery; "fdr_bh" (Benjamini and
    Hochberg) and "fdr_by" (Benjamini and Yekutieli, any dependence) the share of false ones. NaN is refused.
    """
    values = series(p, "p")
    if method not in METHODS:
        raise BadInput(f"method={method!r}: {did_you_mean(str(method), METHODS)}")
    if len(values) == 0 or np.any((values < 0.0) | (values > 1.0)):
        raise BadInput("p: give p-values, each from 0 to 1")
    with np.errstate(divide="ignore"):  # the logarithm of 1 - 1, in "sidak"
        found: Floats = library("statsmodels.stats.multitest").multipletests(values, method=method)[1]
    return found


@dataclass(frozen=True)
class Haircut:
    """A Sharpe ratio after other trials were counted; both ratios a year."""

    sharpe: float  # as it was found, autocorrelation taken out
    p: float
    adjusted_p: float
    haircut_sharpe: float

    @property
    def haircut(self) -> float:
        """The part of the ratio that is gone. NaN: the ratio is not above zero."""
        return 1.0 - self.haircut_sharpe / self.sharpe if self.sharpe > 0.0 else math.nan


def haircut_sharpe(
    sharpe: float,
    n: float,
    trials: int = 1,
    *,
    per_year: float = 12.0,
    rho: float = 0.0,
    others: npt.ArrayLike | None = None,
    method: Method = "bonferroni",
) -> Haircut:
    """The annual ratio that would have the p-value which is left after all trials (Harvey and Liu, Backtesting, 2015).

    1. The annual `sharpe` of `n` returns, `per_year` a year, is multiplied by `autocorrelation_factor(rho, per_year)`.
    2. t = sharpe / sqrt(per_year) sqrt(n); p = 2 (1 - T(t)) with n - 1 degrees of freedom.
    3. p is adjusted: "bonferroni" and "sidak" need only the number of `trials`. The others need the p-values of the
       `others`, one a trial beside this one; the paper draws them from a model, here they are those that were seen.
    4. The ratio whose own p is the adjusted one.

    The authors use months (per_year 12), also for daily data: n = days x 12 / 360. NaN: a ratio that is NaN.
    """
    if not n > 1:
        raise BadInput(f"n={n!r}: write two returns or more")
    if not per_year > 0.0:
        raise BadInput(f"per_year={per_year!r}: write how many returns a year has, such as 12")
    count = whole("trials", trials, 1)
    t_dist = library("scipy.stats").t
    annual = sharpe * autocorrelation_factor(rho, per_year)
    t = annual / math.sqrt(per_year) * math.sqrt(n)
    p = float(2.0 * t_dist.sf(t, n - 1)) if t > 0.0 else 1.0
    if math.isnan(annual):
        p = adjusted = math.nan
    elif others is not None:
        adjusted = float(adjusted_p_values(np.append(p, series(others, "others")), method)[0])
    elif method == "bonferroni":
        adjusted = min(count * p, 1.0)
    elif method == "sidak":
        adjusted = -math.expm1(count * math.log1p(-p)) if p < 1.0 else 1.0
    else:
        raise BadInput(f"method={method!r} needs the p-values of the other trials: give others=...")
    if math.isnan(adjusted):
        left = math.nan
    else:
        left = max(0.0, float(t_dist.isf(adjusted / 2.0, n - 1)) / math.sqrt(n) * math.sqrt(per_year))
    return Haircut(annual, p, adjusted, left)


# --- false discoveries -----------------------------------------------------------------------------------------------


def positive_false_discovery(prior: float, alpha: float, power: float) -> float:
    """How probable it is that a strategy which passed a test of level alpha has no skill, before its ratio is seen.

    1 / (1 + power x prior / (alpha (1 - prior))); `prior`: the share of strategies with skill, `power`: the chance that
    one of them passes. Lopez de Prado, Lipton and Zoonekynd (2025), pFDR. NaN: never.
    """
    inside("prior", prior, 0.0, 1.0)
    inside("alpha", alpha, 0.0, 1.0)
    if not 0.0 <= power <= 1.0:
        raise BadInput(f"power={power!r}: write a probability")
    return 1.0 / (1.0 + power * prior / (alpha * (1.0 - prior)))


def observed_false_discovery(
    given: Given, alternative: float, prior: float, benchmark: float = 0.0, *, shrunk: float = 1.0
) -> float:
    """How probable it is that a strategy with this ratio or a higher one has no skill.

    p0 (1 - prior) / (p0 (1 - prior) + p1 prior), p0 and p1 the chances of such a ratio where the true one is
    `benchmark` or `alternative`, by the "2025" convention. The same paper's oFDR. NaN: no spread.
    """
    inside("prior", prior, 0.0, 1.0)
    m = as_moments(given)
    none = (1.0 - psr(m, benchmark, convention="2025", shrunk=shrunk)) * (1.0 - prior)
    some = (1.0 - psr(m, alternative, convention="2025", shrunk=shrunk)) * prior
    return none / (none + some) if none + some > 0.0 else math.nan


# --- a year's ratio --------------------------------------------------------------------------------------------------


def lo_factor(rho: float | npt.ArrayLike, periods: int) -> float:
    """What turns a ratio of one period into that of `periods`: Lo (2002), The Statistics of Sharpe Ratios, equation 20.

    q / sqrt(q + 2 sum over k < q of (q - k) rho_k); sqrt(q) without autocorrelation. `rho`: that of lag 1 of an AR(1)
    process (rho_k = rho^k), or a list of rho_1, rho_2, ... (0 beyond its end). NaN: more autocorrelation than any
    series has.
    """
    q = whole("periods", periods, 1)
    k = np.arange(1.0, q)
    given = np.asarray(rho, dtype=np.float64)
    if given.ndim == 0:
        lags = np.asarray(inside("rho", float(given), -1.0, 1.0)) ** k
    else:
        lags = np.zeros(q - 1)
        lags[: min(len(given), q - 1)] = series(given, "rho")[: q - 1]
    under = q + 2.0 * float((q - k) @ lags)
    return q / math.sqrt(under) if under > 0.0 else math.nan


def lo_standard_error(sharpe: float, n: float) -> float:
    """sqrt((1 + S^2 / 2) / n): the standard error of a ratio of independent normal returns (Lo 2002). NaN: never."""
    if not n > 0:
        raise BadInput(f"n={n!r}: write how many returns there are")
    return math.sqrt((1.0 + 0.5 * sharpe * sharpe) / n)


def autocorrelation_factor(rho: float, periods: float) -> float:
    """What an annual ratio, sqrt(q) times that of a period, is multiplied by for an AR(1) process.

    [1 + 2 r / (1 - r) (1 - (1 - r^q) / (q (1 - r)))]^-1/2 (Harvey and Liu 2015): Lo's factor over sqrt(q). NaN: never.
    """
    r = inside("rho", rho, -1.0, 1.0)
    under = 1.0 + 2.0 * r / (1.0 - r) * (1.0 - (1.0 - r**periods) / (periods * (1.0 - r)))
    return 1.0 / math.sqrt(under)


def annual_sharpe(returns: npt.ArrayLike, periods: int = 365, lags: int | None = None) -> float:
    """The ratio of a year with the returns' own autocorrelations, by `lo_factor`.

    `lags`: how many of them count; None: 4 (n / 100)^(2/9), as Newey and West choose. NaN: no spread.
    """
    r = series(returns)
    ratio = float(metrics.sharpe(r, 1.0)) if len(r) > 1 else math.nan
    if math.isnan(ratio):
        return math.nan
    many = int(4.0 * (len(r) / 100.0) ** (2.0 / 9.0)) if lags is None else whole("lags", lags, 0)
    middle = r - r.mean()
    width = float(middle @ middle)
    rho = [float(middle[k:] @ middle[:-k]) / width for k in range(1, min(many, len(r) - 1) + 1)]
    return ratio * lo_factor(rho, periods)
