"""Expected and unexpected open interest: what an autoregression of its changes foresaw, and what it did not.

y(t) is the log change of open interest over the last `step` bars. The forecast of y(t) is made at t - step:

1. Fit y = a + b1 y(one step before) + ... by least squares over the rows that had ended by t - step, the last `window`
   of them. A window's sums of products are joined from two parts as in `rolling`: nothing is ever subtracted.
2. Put in the changes known at t - step. That is the expected change; what came less that is the unexpected one.

Steps overlap: there is a forecast for each bar, not only for every step-th.
"""

from __future__ import annotations

import numpy as np

from backtest.jit import jit_alone
from data.errors import BadInput
from strategies.signals.edge import Array, Bars, columnwise, frozen
from strategies.signals.rolling import HALF, log_change, rolling_std

MOST_LAGS = 8
ALIKE = 1e-10  # a lag is the others' equal when so little of its squares is its own


@jit_alone
def solved(products: Array, count: int) -> Array:
    """Coefficients of the last column on the first ones, by their sums of products; NaN where these say nothing."""
    a = products.copy()
    size = count - 1
    for j in range(size):
        if not a[j, j] > ALIKE * products[j, j]:
            return np.full(size, np.nan)
        for i in range(j + 1, size):
            part = a[i, j] / a[j, j]
            for k in range(j, count):
                a[i, k] -= part * a[j, k]
    b = np.zeros(size)
    for j in range(size - 1, -1, -1):
        rest = a[j, size]
        for k in range(j + 1, size):
            rest -= a[j, k] * b[k]
        b[j] = rest / a[j, j]
    return b


@jit_alone
def row_of(y: Array, t: int, step: int, row: Array) -> bool:
    """1, the changes of steps before, the change itself; whether all are known."""
    lags = len(row) - 2
    if t - lags * step < 0:
        return False
    row[0] = 1.0
    for j in range(lags + 1):
        row[lags + 1 if j == 0 else j] = y[t - j * step]
    return bool(np.isfinite(row).all())


@jit_alone
def forecasts(y: Array, step: int, lags: int, window: int, least: int) -> Array:
    """The change expected for each bar, a step before; NaN where too few rows are known."""
    n, k = len(y), lags + 2
    out = np.full(n, np.nan)
    row, ahead = np.zeros(k), np.zeros(k)
    older, newer = np.zeros((window + 1, k, k)), np.zeros((k, k))  # [0, 0] counts rows
    first = (lags + 1) * step  # of a row whose changes all lie within the series
    for t in range(n - step):
        place = t % window
        if place == 0:  # the newer part is full: sums from each of its rows to its end
            newer[:] = 0.0
            for j in range(window - 1 if t > 0 else -1, -1, -1):
                if row_of(y, t - window + j, step, row):
                    for a in range(k):
                        for b in range(k):
                            newer[a, b] += row[a] * row[b]
                older[j] = newer
            newer[:] = 0.0
        if row_of(y, t, step, row):
            for a in range(k):
                for b in range(k):
                    newer[a, b] += row[a] * row[b]
        if t < first + window - 1:
            continue
        both = newer + older[place + 1]
        if both[0, 0] >= least:
            row_of(y, t + step, step, ahead)
            beta = solved(both, k)
            expected = 0.0
            for j in range(k - 1):
                expected += beta[j] * ahead[j]
            out[t + step] = expected
    return out


@columnwise
def expected_oi(open_interest: Array, window: Bars, step: Bars, lags: int = 2) -> Array:
    """The change of log open interest over the last `step` bars that was foreseen when they began.

    Forecast of an autoregression of `lags` steps, fitted on the `window` bars before; see the module. Unit: log change.
    Look-back: window + (lags + 2) x step. NaN where the changes before are not known, or less than half of the window.
    Source: Bessembinder and Seguin (1993) split open interest so; Zhang, Ma and Liao (SSRN 3729476) find that the
    unexpected part leads jumps of bitcoin and not the other way round.
    """
    if not 1 <= lags <= MOST_LAGS:
        raise BadInput(f"lags={lags!r}: write a whole number from 1 to {MOST_LAGS}")
    least = max(lags + 2, int(np.ceil(HALF * window)))
    y = np.asarray(log_change(open_interest, step))
    if window > len(y):
        return np.full(len(y), np.nan)
    return forecasts(frozen(y), step, lags, window, least)


@columnwise
def unexpected_oi(open_interest: Array, window: Bars, step: Bars, lags: int = 2) -> Array:
    """The part of the change of log open interest over the last `step` bars that nobody could foresee.

    log(OI / OI step bars ago) less `expected_oi`. Unit: log change. Look-back: window + (lags + 2) x step. NaN and
    Source: as there.
    """
    foreseen = np.asarray(expected_oi(open_interest, window, step, lags))
    return np.asarray(log_change(open_interest, step)) - foreseen


@columnwise
def unexpected_oi_z(open_interest: Array, window: Bars, step: Bars, lags: int = 2) -> Array:
    """`unexpected_oi` in standard deviations of itself over the last `window` bars, about 0.

    Unit: standard deviations. Look-back: 2 x window + (lags + 2) x step. NaN and Source: as there.
    """
    surprise = np.asarray(unexpected_oi(open_interest, window, step, lags))
    spread = np.asarray(rolling_std(surprise, window))
    return np.where(spread > 0.0, surprise / spread, np.nan)
