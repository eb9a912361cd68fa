"""Realised volatility from bars, by several estimators. All are of one bar; `annual` makes a year of them.

    close_to_close    needs closes only; noisy
    parkinson         from ranges; five times as efficient; blind to gaps, too small with drift in it or few trades
    garman_klass      ranges and closes; seven times as efficient; no drift, no gaps
    rogers_satchell   ranges and closes; right with any drift; no gaps
    yang_zhang        all of it, gaps between bars too; right with drift; the least variance

Efficiency is the papers' own, for a random walk watched all the time. Ranges of real bars are a little too small
(trades are few) or too large (the last tick bounces), so compare an estimator with its own past rather than with
another one.
"""

from __future__ import annotations

import math

import numpy as np

from data.errors import BadInput
from strategies.signals.edge import Array, Bars, columnwise
from strategies.signals.rolling import HALF, log_change, rolling_mean, window_moments

HOURS_A_YEAR = 365.0 * 24.0


def annual(sigma: Array, bar_hours: float) -> Array:
    """A deviation of one bar as that of a year of 365 days: sigma x sqrt(bars a year)."""
    if not bar_hours > 0.0:
        raise BadInput(f"annual: bar_hours={bar_hours!r}: write the length of a bar in hours, above 0")
    return np.asarray(sigma) * math.sqrt(HOURS_A_YEAR / bar_hours)


@columnwise
def close_to_close(close: Array, window: Bars) -> Array:
    """Deviation of log changes of closes: sqrt(sum((r - mean r)^2) / (count - 1)).

    Unit: log, of one bar. Look-back: window + 1. NaN where less than half of the window is known. Source: definition.
    """
    return np.sqrt(_sample_variance(np.asarray(log_change(close, 1)), window))


@columnwise
def parkinson(high: Array, low: Array, window: Bars) -> Array:
    """From ranges: sqrt(mean(log(H / L)^2) / (4 log 2)).

    Unit: log, of one bar. Look-back: window. NaN where less than half of the window is known. Source: Parkinson (1980).
    """
    return np.sqrt(np.asarray(rolling_mean(_log(high, low) ** 2, window)) / (4.0 * math.log(2.0)))


@columnwise
def garman_klass(open: Array, high: Array, low: Array, close: Array, window: Bars) -> Array:
    """From ranges and closes: sqrt(mean(log(H / L)^2 / 2 - (2 log 2 - 1) log(C / O)^2)).

    Unit: log, of one bar. Look-back: window. NaN where less than half of the window is known.
    Source: Garman and Klass (1980), the short form of their best estimator.
    """
    terms = 0.5 * _log(high, low) ** 2 - (2.0 * math.log(2.0) - 1.0) * _log(close, open) ** 2
    return np.sqrt(np.maximum(np.asarray(rolling_mean(terms, window)), 0.0))


@columnwise
def rogers_satchell(open: Array, high: Array, low: Array, close: Array, window: Bars) -> Array:
    """Right with drift: sqrt(mean(log(H / C) log(H / O) + log(L / C) log(L / O))).

    Unit: log, of one bar. Look-back: window. NaN where less than half of the window is known.
    Source: Rogers and Satchell (1991).
    """
    return np.sqrt(np.maximum(np.asarray(rolling_mean(_rogers_satchell(open, high, low, close), window)), 0.0))


@columnwise
def yang_zhang(open: Array, high: Array, low: Array, close: Array, window: Bars) -> Array:
    """With gaps between bars: sqrt(V(log(O / C before)) + k V(log(C / O)) + (1 - k) Rogers-Satchell).

    V is the sample variance, k = 0.34 / (1.34 + (window + 1) / (window - 1)). Unit: log, of one bar. Look-back:
    window + 1, at least 3. NaN where less than half of the window is known. Source: Yang and Zhang (2000).
    """
    if window < 2:
        raise BadInput("yang_zhang: window=1: write 2 bars or more")
    before = np.full(len(close), np.nan)
    before[1:] = close[:-1]
    k = 0.34 / (1.34 + (window + 1.0) / (window - 1.0))
    gaps = _sample_variance(_log(open, before), window)
    moves = _sample_variance(_log(close, open), window)
    ranges = np.asarray(rolling_mean(_rogers_satchell(open, high, low, close), window))
    return np.sqrt(np.maximum(gaps + k * moves + (1.0 - k) * ranges, 0.0))


@columnwise
def volatility_ratio(open: Array, high: Array, low: Array, close: Array, fast: Bars, slow: Bars) -> Array:
    """Volatility of the last bars over what is usual: Rogers-Satchell of `fast` / of `slow`.

    Unit: ratio, 1 is usual. Look-back: slow. NaN where either is not known, or nothing moved. Source: definition.
    """
    usual = np.asarray(rogers_satchell(open, high, low, close, slow))
    return np.where(usual > 0.0, np.asarray(rogers_satchell(open, high, low, close, fast)) / usual, np.nan)


def _log(a: Array, b: Array) -> Array:
    return np.log(np.where((a > 0.0) & (b > 0.0), a / b, np.nan))


def _rogers_satchell(open: Array, high: Array, low: Array, close: Array) -> Array:
    return _log(high, close) * _log(high, open) + _log(low, close) * _log(low, open)


def _sample_variance(x: Array, window: int) -> Array:
    count, _, square = window_moments(x, window, HALF)
    return np.where(count >= 2.0, square * count / np.maximum(count - 1.0, 1.0), np.nan)
