"""A Hawkes process fitted to the times of events: how many would come anyway, and how many each one brings.

    lambda(t) = mu + sum over earlier events of  n beta exp(-beta (t - t_i))

    fit = fit_hawkes(times, end=...)                   # times in hours, say: mu per hour, beta per hour
    fit.branching, fit.residual_p                      # never quote the one without the other
    hawkes_intensity(events, **fit.per_bar(1 / 60))    # its intensity over bars of a minute

1. Events closer than `merge` are one: a large position is closed in many prints, and those are no contagion.
2. The likelihood and its slopes take one pass over the events (Ozaki 1979); the fit starts from several memories.
3. Residual test: if the model holds, the integral of lambda between events is exponential with mean 1 (time rescaling).
   A small `residual_p` says that it does not. The parameters were fitted on the same events, so it is rather too large.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from backtest.jit import jit_alone
from data.errors import BadInput
from strategies.signals.edge import Array, frozen, numbers
from strategies.signals.fits import not_installed

FEWEST = 20  # events
MEMORIES = (0.03, 0.3, 3.0, 30.0)  # starting points: 1 / beta, in mean distances between events
LOWEST, HIGHEST = 1e-6, 1.0 - 1e-6  # of branching


class HawkesFit(NamedTuple):
    """`mu` and `beta` are per unit of time of the events."""

    mu: float
    branching: float
    beta: float
    log_likelihood: float
    poisson_log_likelihood: float  # of events that bring no others
    events: int
    residual_distance: float  # Kolmogorov-Smirnov
    residual_p: float

    @property
    def holds(self) -> bool:
        """Whether the residual test leaves it standing at 5 %."""
        return self.residual_p >= 0.05

    @property
    def half_life(self) -> float:
        """Time after which half of what an event brings has come."""
        return math.log(2.0) / self.beta

    def per_bar(self, bar: float) -> dict[str, float]:
        """The parameters of `flow.hawkes_intensity` for bars of this length."""
        return {"mu": self.mu * bar, "branching": self.branching, "half_life": self.half_life / bar}


@jit_alone
def likelihood(t: Array, end: float, mu: float, n: float, beta: float) -> tuple[float, float, float, float]:
    """Log likelihood of events in [0, end], and its slopes in mu, n and beta."""
    value, by_mu, by_n, by_beta = -mu * end, -end, 0.0, 0.0
    a, slope = 0.0, 0.0  # sum of exp(-beta age) over earlier events, and its slope in beta
    for i in range(len(t)):
        if i > 0:
            gap = t[i] - t[i - 1]
            keep = np.exp(-beta * gap)
            slope = keep * (slope - gap * (1.0 + a))
            a = keep * (1.0 + a)
        rate = mu + n * beta * a
        value += np.log(rate)
        by_mu += 1.0 / rate
        by_n += beta * a / rate
        by_beta += n * (a + beta * slope) / rate
        left = end - t[i]
        gone = np.exp(-beta * left)
        value -= n * (1.0 - gone)
        by_n -= 1.0 - gone
        by_beta -= n * left * gone
    return value, by_mu, by_n, by_beta


@jit_alone
def residuals(t: Array, mu: float, n: float, beta: float) -> Array:
    """The integral of lambda from each event to the next."""
    out = np.zeros(max(len(t) - 1, 0))
    a = 0.0
    for i in range(1, len(t)):
        gap = t[i] - t[i - 1]
        fading = 1.0 - np.exp(-beta * gap)
        out[i - 1] = mu * gap + n * (1.0 + a) * fading
        a = (1.0 + a) * (1.0 - fading)
    return out


def fit_hawkes(times: npt.ArrayLike, end: float | None = None, start: float = 0.0, merge: float = 0.0) -> HawkesFit:
    """The most likely parameters for events in [start, end] (none: up to the last event)."""
    t = merged(times, merge) - start
    span = (float(t[-1]) if len(t) else 0.0) if end is None else end - start
    if len(t) < FEWEST:
        raise BadInput(f"fit_hawkes: {len(t)} events are too few, {FEWEST} are the least, hundreds are better")
    if t[0] < 0.0 or t[-1] > span:
        raise BadInput("fit_hawkes: an event lies outside [start, end]: give the times within it")
    t = frozen(t)
    best = _most_likely(t, span)
    try:
        from scipy.stats import kstest
    except ImportError as error:
        raise not_installed("scipy") from error
    test = kstest(residuals(t, *best[1:]), "expon")
    rate = len(t) / span
    plain = len(t) * (math.log(rate) - 1.0)
    return HawkesFit(*best[1:], best[0], plain, len(t), float(test.statistic), float(test.pvalue))


def merged(times: npt.ArrayLike, gap: float) -> Array:
    """Sorted times, without those that follow another by less than `gap`, nor any second one of the same moment."""
    t = np.sort(numbers(times, "fit_hawkes: times"))
    if not np.isfinite(t).all():
        raise BadInput("fit_hawkes: times holds NaN or inf: leave those events out")
    return t[np.concatenate(([True], (np.diff(t) > 0.0) & (np.diff(t) >= gap)))] if len(t) else t


def _most_likely(t: Array, span: float) -> tuple[float, float, float, float]:
    """Log likelihood, mu, n, beta."""
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise not_installed("scipy") from error
    mean = span / len(t)

    def downhill(x: Array) -> tuple[float, Array]:
        mu, n, beta = math.exp(x[0]), 1.0 / (1.0 + math.exp(-x[1])), math.exp(x[2])
        value, by_mu, by_n, by_beta = likelihood(t, span, mu, n, beta)
        return -value, -np.array([by_mu * mu, by_n * n * (1.0 - n), by_beta * beta])

    edge = math.log(HIGHEST / LOWEST)
    bounds = [
        (math.log(1e-6 / mean), math.log(10.0 / mean)),
        (-edge, edge),
        (math.log(1e-5 / mean), math.log(1e5 / mean)),
    ]
    found = []
    for memory in MEMORIES:
        begin = np.array([math.log(0.5 / mean), 0.0, math.log(1.0 / (memory * mean))])
        done = minimize(downhill, begin, jac=True, method="L-BFGS-B", bounds=bounds)
        found.append((-float(done.fun), *done.x))
    value, log_mu, odds, log_beta = max(found)
    return value, math.exp(log_mu), 1.0 / (1.0 + math.exp(-odds)), math.exp(log_beta)


def branching_by_size(destroyed: float, first: float) -> float:
    """Branching by amounts and not by times: 1 - first / destroyed, by what came first and all that was destroyed.

    A cascade that destroys 1.44 times what started it has 0.31. One position closed in many prints does not inflate it,
    as it does a fit to the times of prints: give both.
    """
    if not 0.0 < first <= destroyed:
        raise BadInput("branching_by_size: first is above 0 and at most what was destroyed in all")
    return 1.0 - first / destroyed


def simulate_hawkes(mu: float, branching: float, beta: float, end: float, seed: int) -> Array:
    """Times of a Hawkes process in [0, end): those that come anyway, then the children of each, and theirs."""
    if not (mu > 0.0 and 0.0 <= branching < 1.0 and beta > 0.0 and end > 0.0):
        raise BadInput("simulate_hawkes: mu, beta and end above 0, branching from 0 to below 1")
    rng = np.random.default_rng(seed)
    parents = rng.uniform(0.0, end, rng.poisson(mu * end))
    every = [parents]
    while len(parents):
        born = np.repeat(parents, rng.poisson(branching, len(parents)))
        parents = born + rng.exponential(1.0 / beta, len(born))
        parents = parents[parents < end]
        every.append(parents)
    return np.sort(np.concatenate(every))
