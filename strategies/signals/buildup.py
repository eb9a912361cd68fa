"""Build-up: how much leverage there is, against its own past and against what could carry it.

Open interest is best given in coins (contracts if inverse): in money it moves with the price. What is known of these
measures: high open interest over its own mean says how much of it the next shock destroys, not which way the price
goes; docs/signals.md has the numbers.
"""

from __future__ import annotations

import numpy as np

from strategies.signals.edge import Array, Bars, columnwise
from strategies.signals.rolling import log_change, rolling_max, rolling_mean

LONG_BUILD_UP, SHORT_COVERING, SHORT_BUILD_UP, LONG_UNWINDING = 1.0, 2.0, -1.0, -2.0
NEITHER = 0.0


@columnwise
def oi_build(open_interest: Array, window: Bars) -> Array:
    """Open interest over its own trailing mean: OI / mean(OI, window).

    Unit: ratio, 1 is usual. Look-back: window (usually 30 days). NaN where OI is not known, or less than half of the
    window. Source: the leverage measure of github.com/Elenikal/crypto-perp-deleveraging, which uses 720 hours.
    """
    return open_interest / np.asarray(rolling_mean(open_interest, window))


@columnwise
def oi_change(open_interest: Array, step: Bars) -> Array:
    """Change of open interest over the last bars: log(OI / OI step bars ago).

    Unit: log, -0.05 is 4.9 % closed. Look-back: step. NaN where either end is not known. Source: definition.
    """
    return np.asarray(log_change(open_interest, step))


@columnwise
def oi_flush(open_interest: Array, window: Bars) -> Array:
    """How far open interest is below its highest of the last bars: 1 - OI / max(OI, window).

    Unit: part, 0 to 1. Look-back: window. NaN where OI is not known, or less than half of the window. Source: drawdown
    of open interest, the share destroyed that event tables quote.
    """
    return 1.0 - open_interest / np.asarray(rolling_max(open_interest, window))


@columnwise
def oi_to_volume(open_interest_value: Array, quote_volume: Array, window: Bars, day: Bars) -> Array:
    """Open interest in days of trading: OI / (mean(volume, window) x bars a day).

    Unit: days. Look-back: window. NaN where OI is not known, or less than half of the window's volume. Caveat: it
    follows volume far more than leverage (a correlation of -0.87 with volume was measured), so it is high in dull
    markets; never use it alone. `day`: bars in a day. Source: github.com/Elenikal/crypto-perp-deleveraging.
    """
    traded = np.asarray(rolling_mean(quote_volume, window)) * day
    return np.where(traded > 0.0, open_interest_value / traded, np.nan)


@columnwise
def oi_to_market_cap(open_interest_value: Array, market_cap: Array) -> Array:
    """Open interest over the value of all coins: OI / market cap, both in the quote currency.

    Unit: ratio. No look-back. NaN where either is not known. Caveat: the numerator is of one venue unless you add them
    up, and coins that never trade are in the denominator. Source: common measure of data vendors.
    """
    return np.where(market_cap > 0.0, open_interest_value / market_cap, np.nan)


@columnwise
def estimated_leverage(open_interest: Array, reserve: Array) -> Array:
    """Estimated leverage ratio: open interest / what the venue holds of the coin, both in coins or both in money.

    Unit: ratio. No look-back. NaN where either is not known. Caveat: margin in stablecoins is not in the reserve.
    Source: the estimated leverage ratio (ELR) as CryptoQuant defines it.
    """
    return np.where(reserve > 0.0, open_interest / reserve, np.nan)


@columnwise
def oi_price_quadrant(
    close: Array, open_interest: Array, step: Bars, least_move: float = 0.0, least_change: float = 0.0
) -> Array:
    """Who is coming or going, by the signs of log changes of price and open interest over the last bars.

    1 price up, OI up: longs build up.  2 price up, OI down: shorts cover.
    -1 price down, OI up: shorts build up.  -2 price down, OI down: longs unwind.
    0: either change is 0 or smaller than its least size. Unit: code. Look-back: step. NaN where either is not known.
    Caveat: over 5 minutes the two changes are hardly correlated, over an hour they are (0.66 to 0.76 measured), so
    take an hour or more. Source: the old futures-market reading of price and open interest.
    """
    move = np.asarray(log_change(close, step))
    change = np.asarray(log_change(open_interest, step))
    coming = np.where(move > 0.0, LONG_BUILD_UP, SHORT_BUILD_UP)
    going = np.where(move > 0.0, SHORT_COVERING, LONG_UNWINDING)
    code = np.where(change > 0.0, coming, going)
    small = (move == 0.0) | (change == 0.0) | (np.abs(move) < least_move) | (np.abs(change) < least_change)
    return np.where(np.isnan(move + change), np.nan, np.where(small, NEITHER, code))
