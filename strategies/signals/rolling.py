"""Trailing windows: sums, means, deviations, extremes. Linear in the length, whatever the window, and safe over years.

The sum of a window is never what was added less what has left: such a sum drifts, and one large number spoils it for
good. A window is split in two instead (a queue made of two stacks):

1. The newer part is summed up as it comes.
2. Of the older part, the sums from each of its bars to its end are kept.
3. The window's sum is one of each. When the older part has been used up, the newer one is summed backwards and becomes
   the older one.

Each bar is added twice and nothing is subtracted. Means and squares about the mean are kept as such and joined (Chan,
Golub and LeVeque 1983), so that prices of 100,000 with moves of 0.1 lose no digits.

All of it goes by `first`: the first element of the window of each element, which never goes back.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from backtest.jit import jit_alone
from strategies.signals.edge import Array, Bars, Ints, columnwise, frozen

HALF = 0.5  # the part of a window that has to be known, unless a signal says otherwise


@jit_alone
def joined(wa: float, ma: float, qa: float, wb: float, mb: float, qb: float) -> tuple[float, float, float]:
    """Weight, mean and squares about the mean of two parts together."""
    if wb == 0.0:
        return wa, ma, qa
    if wa == 0.0:
        return wb, mb, qb
    w = wa + wb
    away = mb - ma
    return w, ma + away * (wb / w), qa + qb + away * away * (wa * wb / w)


@jit_alone
def moments(x: Array, weight: Array, first: Ints) -> tuple[Array, Array, Array]:
    """Weight, mean, and weighted squares about the mean of each window. What is not finite has no weight."""
    n = len(x)
    out_w, out_m, out_q = np.zeros(n), np.zeros(n), np.zeros(n)
    old_w, old_m, old_q = np.zeros(n), np.zeros(n), np.zeros(n)  # from each element to the end of the older part
    w, m, q = 0.0, 0.0, 0.0  # of the newer part
    end = 0  # of the older part
    for i in range(n):
        if first[i] >= end:
            w, m, q = 0.0, 0.0, 0.0
            for j in range(i, first[i] - 1, -1):
                if np.isfinite(x[j]) and weight[j] > 0.0:
                    w, m, q = joined(w, m, q, weight[j], x[j], 0.0)
                old_w[j], old_m[j], old_q[j] = w, m, q
            w, m, q = 0.0, 0.0, 0.0
            end = i + 1
        elif np.isfinite(x[i]) and weight[i] > 0.0:
            w, m, q = joined(w, m, q, weight[i], x[i], 0.0)
        j = first[i]
        if j < end:
            out_w[i], out_m[i], out_q[i] = joined(old_w[j], old_m[j], old_q[j], w, m, q)
        else:
            out_w[i], out_m[i], out_q[i] = w, m, q
    return out_w, out_m, out_q


@jit_alone
def sums(x: Array, first: Ints) -> tuple[Array, Array]:
    """How many of each window are known, and their sum."""
    n = len(x)
    out_count, out_sum, old_count, old_sum = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    count, total, end = 0.0, 0.0, 0
    for i in range(n):
        if first[i] >= end:
            count, total = 0.0, 0.0
            for j in range(i, first[i] - 1, -1):
                if np.isfinite(x[j]):
                    count += 1.0
                    total += x[j]
                old_count[j], old_sum[j] = count, total
            count, total = 0.0, 0.0
            end = i + 1
        elif np.isfinite(x[i]):
            count += 1.0
            total += x[i]
        out_count[i], out_sum[i] = old_count[first[i]] + count, old_sum[first[i]] + total
    return out_count, out_sum


@jit_alone
def highest(x: Array, first: Ints) -> tuple[Array, Array]:
    """How many of each window are known, and the highest of them; -inf where none is."""
    n = len(x)
    out_count, out_top, old_count, old_top = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    count, top, end = 0.0, -np.inf, 0
    for i in range(n):
        if first[i] >= end:
            count, top = 0.0, -np.inf
            for j in range(i, first[i] - 1, -1):
                if np.isfinite(x[j]):
                    count += 1.0
                    top = max(top, x[j])
                old_count[j], old_top[j] = count, top
            count, top = 0.0, -np.inf
            end = i + 1
        elif np.isfinite(x[i]):
            count += 1.0
            top = max(top, x[i])
        out_count[i] = old_count[first[i]] + count
        out_top[i] = max(old_top[first[i]], top)
    return out_count, out_top


def last_bars(n: int, window: int) -> Ints:
    """The first bar of the window of each bar."""
    return np.maximum(np.arange(n, dtype=np.int64) - (window - 1), 0)


def enough(count: Array, window: int, known: float) -> npt.NDArray[np.bool_]:
    """Windows that lie within the series and of which enough is known."""
    full = np.arange(len(count)) >= window - 1
    return full & (count >= max(1, math.ceil(window * known)))


def window_moments(x: Array, window: int, known: float) -> tuple[Array, Array, Array]:
    """Count, mean and mean square about it of the last bars; NaN where too little is known."""
    n = len(x)
    if window > n:
        return np.zeros(n), np.full(n, np.nan), np.full(n, np.nan)
    x = frozen(x)
    count, mean, squares = moments(x, frozen(np.ones(n)), frozen(last_bars(n, window)))
    good = enough(count, window, known)
    return count, np.where(good, mean, np.nan), np.where(good, squares / np.maximum(count, 1.0), np.nan)


@columnwise
def rolling_sum(x: Array, window: Bars, known: float = 1.0) -> Array:
    """Sum of the last `window` bars, in the unit of x. Unless told otherwise every bar of it has to be known."""
    if window > len(x):
        return np.full(len(x), np.nan)
    count, total = sums(frozen(x), frozen(last_bars(len(x), window)))
    return np.where(enough(count, window, known), total, np.nan)


@columnwise
def rolling_mean(x: Array, window: Bars, known: float = HALF) -> Array:
    """Mean of what is known of the last `window` bars, in the unit of x."""
    return window_moments(x, window, known)[1]


@columnwise
def rolling_std(x: Array, window: Bars, known: float = HALF) -> Array:
    """Standard deviation (of the population) of what is known of the last `window` bars, in the unit of x."""
    return np.sqrt(window_moments(x, window, known)[2])


@columnwise
def rolling_max(x: Array, window: Bars, known: float = HALF) -> Array:
    """Highest of what is known of the last `window` bars, in the unit of x."""
    if window > len(x):
        return np.full(len(x), np.nan)
    count, top = highest(frozen(x), frozen(last_bars(len(x), window)))
    return np.where(enough(count, window, known), top, np.nan)


@columnwise
def rolling_min(x: Array, window: Bars, known: float = HALF) -> Array:
    """Lowest of what is known of the last `window` bars, in the unit of x."""
    return -np.asarray(rolling_max(-x, window, known))


@columnwise
def zscore(x: Array, window: Bars, known: float = HALF, floor: float = 0.0) -> Array:
    """How many standard deviations x is above the mean of its own last `window` bars, the bar itself among them.

    (x - mean) / max(sd, floor), sd of the population. `floor`, in the unit of x: a series that hardly ever moves makes
    large scores of nothing, so ask for a least deviation. NaN where x is, and where nothing moved at all.
    """
    _, mean, square = window_moments(x, window, known)
    spread = np.maximum(np.sqrt(square), floor)
    return np.where(spread > 0.0, (x - mean) / spread, np.nan)


@columnwise
def lagged(x: Array, bars: Bars) -> Array:
    """x so many bars ago; NaN before there were so many."""
    out = np.full(len(x), np.nan)
    out[bars:] = x[: max(len(x) - bars, 0)]
    return out


@columnwise
def log_change(x: Array, bars: Bars) -> Array:
    """log(x / x so many bars ago). NaN where either is not known, or not above 0."""
    before = np.asarray(lagged(x, bars))
    return np.log(np.where((x > 0.0) & (before > 0.0), x / before, np.nan))
