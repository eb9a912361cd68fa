"""Volatility to expect in the next bar, by a GARCH model that is fitted anew from time to time. For slow loops.

    sd(t + 1)^2 = omega + (alpha + gamma [e(t) < 0]) e(t)^2 + beta sd(t)^2          e: log changes of the close

gamma is what falls add to it (Glosten, Jagannathan and Runkle 1993). Steps:

1. After the close of bar `window`, and every `every` bars from then on, fit on the last `window` changes (`arch`, its
   maximum likelihood with Student's t; no mean: that of a bar is nothing), in standard deviations of that window, so
   that a quiet market is fitted as well as a wild one. Changes that are not known are left out.
2. From the fit's own last deviation on, run the formula over the bars as they come, until the next fit.

A fit takes some ten milliseconds for a thousand bars: use hours or days. `garch_fits` returns the fits themselves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backtest.jit import jit_alone
from data.errors import BadInput
from strategies.signals.edge import Array, Bars, columnwise, frozen, numbers, whole_bars
from strategies.signals.fits import not_installed, refits
from strategies.signals.rolling import log_change

FEWEST = 100  # known changes for a fit


class GarchFit(NamedTuple):
    """One fit, after the close of a bar. Deviations are of one bar, log."""

    bar: int
    omega: float
    alpha: float
    gamma: float
    beta: float
    nu: float  # degrees of freedom of Student's t
    deviation: float  # of that bar, as it was expected a bar before
    converged: bool

    @property
    def persistence(self) -> float:
        """Part of a shock to the variance that is left a bar later."""
        return self.alpha + 0.5 * self.gamma + self.beta


@jit_alone
def filtered(
    e: Array, first: int, stop: int, variance: float, omega: float, alpha: float, gamma: float, beta: float, out: Array
) -> float:
    """Writes the deviation expected for the next bar into [first, stop); `variance`: expected for bar `first`."""
    for t in range(first, stop):
        if np.isfinite(e[t]):
            square = e[t] * e[t]
            variance = omega + (alpha + (gamma if e[t] < 0.0 else 0.0)) * square + beta * variance
            out[t] = np.sqrt(variance)
        else:  # nothing is known of this bar: it was as expected
            variance = omega + (alpha + 0.5 * gamma + beta) * variance
    return variance


def garch_fits(close: Array, window: int, every: int) -> list[GarchFit]:
    """The fits behind `garch_volatility`, of one series."""
    series = numbers(close, "garch_fits: close")
    if series.ndim != 1:
        raise BadInput("garch_fits takes one series: call it for each symbol")
    e = np.asarray(log_change(series, 1))
    return [_fitted(e[bar - window + 1 : bar + 1], bar) for bar, _ in _schedule(len(e), window, every)]


@columnwise
def garch_volatility(close: Array, window: Bars, every: Bars) -> Array:
    """Deviation of the next bar's log change that a GJR-GARCH(1,1) expects; see the module.

    Unit: log, of one bar. Look-back: window + 1 to window + every, and the filter's memory since the last fit. NaN
    before the first fit, where the close is not known, and after a fit that failed until one succeeds. Source: Glosten,
    Jagannathan and Runkle (1993), as fitted by the library arch.
    """
    e = frozen(np.asarray(log_change(close, 1)))
    out = np.full(len(e), np.nan)
    for bar, stop in _schedule(len(e), window, every):
        fit = _fitted(e[bar - window + 1 : bar + 1], bar)
        if fit.converged:
            filtered(e, bar, stop, fit.deviation**2, fit.omega, fit.alpha, fit.gamma, fit.beta, out)
    return out


def _schedule(n: int, window: int, every: int) -> list[tuple[int, int]]:
    whole_bars(window, "garch: window"), whole_bars(every, "garch: every")
    if window < FEWEST:
        raise BadInput(f"garch: window={window}: a fit needs {FEWEST} bars, better a thousand")
    return list(refits(n, window, every))


def _fitted(e: Array, bar: int) -> GarchFit:
    try:
        from arch import arch_model
    except ImportError as error:
        raise not_installed("arch") from error
    known = e[np.isfinite(e)]
    failed = GarchFit(bar, *(np.nan,) * 6, False)
    if len(known) < FEWEST or not (unit := float(known.std())) > 0.0:
        return failed
    model = arch_model(known / unit, mean="Zero", vol="GARCH", p=1, o=1, q=1, dist="t", rescale=False)
    found = model.fit(disp="off", show_warning=False)
    omega, alpha, gamma, beta, nu = (float(x) for x in found.params)
    last = float(found.conditional_volatility[-1]) * unit
    if not np.isfinite([omega, alpha, gamma, beta, last]).all():
        return failed
    omega *= unit**2
    seen = int(np.flatnonzero(np.isfinite(e))[-1])  # bars after it are not known
    variance = filtered(frozen(e), seen, len(e) - 1, last**2, omega, alpha, gamma, beta, np.empty(len(e)))
    return GarchFit(bar, omega, alpha, gamma, beta, nu, float(np.sqrt(variance)), found.convergence_flag == 0)
