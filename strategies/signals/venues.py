"""Several venues at once: arrays (n, v) with a column a venue, all on one grid of bars.

A market is of one venue; stack the arrays of several (`np.column_stack`). Open interest has to be in one unit: coins,
or the same money. Inverse contracts count in dollars, OKX in contracts of its own: convert first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backtest.jit import jit_alone
from data.errors import BadInput
from strategies.signals.edge import Array, frozen, numbers


@jit_alone
def totals(oi: Array) -> Array:
    """Open interest of all venues that have been seen so far; NaN where one of them is missing."""
    n, v = oi.shape
    seen, out = np.zeros(v, dtype=np.bool_), np.full(n, np.nan)
    for t in range(n):
        total, complete, any_known = 0.0, True, False
        for j in range(v):
            if np.isfinite(oi[t, j]):
                seen[j] = True
                any_known = True
                total += oi[t, j]
            elif seen[j]:
                complete = False
        if complete and any_known:
            out[t] = total
    return out


def venue_total(open_interest: Any) -> Array:
    """Open interest of all venues together.

    Unit: that of the input. A venue counts from its first known value on. NaN where one of those is not known: what
    is missing would look like a flush. No look-back but that. Source: definition.
    """
    return totals(_venues("venue_total: open_interest", open_interest))


def venue_mean(values: Any, open_interest: Any) -> Array:
    """Mean of a measure over venues, weighted by open interest: sum(w x) / sum(w).

    Unit: that of the values (rates: per 8 hours). No look-back. A venue counts where both of its numbers are known;
    NaN where no venue does. Source: how data vendors average funding.
    """
    return _weighed("venue_mean", values, open_interest)[0]


def venue_disagreement(values: Any, open_interest: Any) -> Array:
    """How far venues are apart: the standard deviation of a measure over venues, weighted by open interest.

    sqrt(sum(w (x - mean)^2) / sum(w)). Unit: that of the values. No look-back. NaN where less than two venues are
    known. Source: definition. A signal that only one venue shows is that venue's own trouble.
    """
    _, spread, count = _weighed("venue_disagreement", values, open_interest)
    return np.where(count >= 2, spread, np.nan)


def venue_share(values: Any, open_interest: Any) -> Array:
    """Part of the known open interest whose venues also gave the measure: how much a mean over venues stands for.

    Unit: part, 0 to 1. No look-back. NaN where no open interest is known. Source: definition.
    """
    x, w = _both("venue_share", values, open_interest)
    held = np.where(np.isfinite(w) & (w > 0.0), w, 0.0)
    with np.errstate(all="ignore"):
        return np.where(
            held.sum(axis=1) > 0.0, np.where(np.isfinite(x), held, 0.0).sum(axis=1) / held.sum(axis=1), np.nan
        )


def _weighed(owner: str, values: Any, open_interest: Any) -> tuple[Array, Array, Array]:
    """Mean, deviation and number of venues."""
    x, w = _both(owner, values, open_interest)
    good = np.isfinite(x) & np.isfinite(w) & (w > 0.0)
    w, x = np.where(good, w, 0.0), np.where(good, x, 0.0)
    with np.errstate(all="ignore"):
        total = w.sum(axis=1)
        mean = np.where(total > 0.0, (w * x).sum(axis=1) / total, np.nan)
        spread = np.sqrt((w * (x - mean[:, None]) ** 2).sum(axis=1) / total)
    return mean, spread, good.sum(axis=1)


def _both(owner: str, values: Any, open_interest: Any) -> tuple[Array, Array]:
    x, w = _venues(f"{owner}: values", values), _venues(f"{owner}: open_interest", open_interest)
    if x.shape != w.shape:
        raise BadInput(
            f"{owner}: values are of shape {x.shape}, open_interest of {w.shape}: give both a column a venue"
        )
    return x, w


def _venues(what: str, given: Any) -> Array:
    array = numbers(given, what)
    if array.ndim != 2:
        raise BadInput(f"{what} is of shape {array.shape}: give a column a venue, as np.column_stack makes them")
    made: Array = frozen(array)
    return made
