"""Skew: which side is crowded, by what it pays and by who holds it.

Signs are those of the longs: above 0 longs are crowded, pay, or buy.
"""

from __future__ import annotations

import numpy as np

from strategies.signals.edge import Array, Bars, columnwise
from strategies.signals.rolling import HALF, rolling_mean, rolling_sum, zscore


@columnwise
def basis(price: Array, index: Array) -> Array:
    """How far the perpetual stands above the index: price / index - 1.

    Unit: fraction. No look-back. NaN where either is not known. Source: definition.
    """
    return np.where(index > 0.0, price / index - 1.0, np.nan)


@columnwise
def basis_mean(price: Array, index: Array, window: Bars) -> Array:
    """Mean of `basis` over the last bars, which the last tick does not move.

    Unit: fraction. Look-back: window. NaN where less than half of the window is known. Source: definition.
    """
    return np.asarray(rolling_mean(basis(price, index), window))


@columnwise
def premium_mean(premium: Array, window: Bars) -> Array:
    """Mean of the venue's premium index over the last bars: what funding is made of.

    Unit: fraction. Look-back: window (usually 8 hours). NaN where less than half of the window is known.
    Source: funding rules of all large venues.
    """
    return np.asarray(rolling_mean(premium, window))


@columnwise
def premium_z(premium: Array, window: Bars, floor: float = 0.0) -> Array:
    """The premium index in standard deviations from its own trailing mean; `floor` as in `zscore`.

    Unit: standard deviations. Look-back: window. NaN where the premium is not known, or less than half of the window.
    Source: usual measure; it moves at once where funding waits for its settlement.
    """
    return np.asarray(zscore(premium, window, floor=floor))


@columnwise
def ratio_skew(ratio: Array) -> Array:
    """Log of a long/short ratio: log(longs / shorts), so that longs and shorts are treated alike.

    Unit: log, 0 is even. No look-back. NaN where the ratio is not known or not above 0. Source: definition. Caveat:
    every contract has a long and a short: a ratio of accounts counts heads.
    """
    return np.log(np.where(ratio > 0.0, ratio, np.nan))


@columnwise
def ratio_z(ratio: Array, window: Bars, floor: float = 0.0) -> Array:
    """`ratio_skew` in standard deviations from its own trailing mean: some ratios are never even.

    Unit: standard deviations. Look-back: window. NaN where the ratio is not known, or less than half of the window.
    Source: usual measure.
    """
    return np.asarray(zscore(ratio_skew(ratio), window, floor=floor))


@columnwise
def crowd_against_top(ratio_accounts: Array, ratio_top_positions: Array) -> Array:
    """How much longer all accounts are than the positions of the largest: the log of one ratio less that of the other.

    Unit: log. No look-back. NaN where either is not known. Source: own; large against small traders as in the reading
    of long/short ratios that venues publish.
    """
    return np.asarray(ratio_skew(ratio_accounts)) - np.asarray(ratio_skew(ratio_top_positions))


@columnwise
def taker_imbalance(taker_buy_volume: Array, volume: Array, window: Bars) -> Array:
    """Who takes: (bought - sold) / (bought + sold) by takers, over the last bars.

    Unit: part, -1 to 1. Look-back: window. Bars count where both are known. NaN where that is less than half of
    the window, or nothing traded.
    Source: order flow imbalance by the taker flag of candles.
    """
    pair = taker_buy_volume + volume  # a bar counts where both are known
    bought = np.asarray(rolling_sum(np.where(np.isnan(pair), np.nan, taker_buy_volume), window, HALF))
    traded = np.asarray(rolling_sum(np.where(np.isnan(pair), np.nan, volume), window, HALF))
    return np.where(traded > 0.0, np.clip(2.0 * bought / traded - 1.0, -1.0, 1.0), np.nan)


@columnwise
def taker_ratio_skew(taker_ratio: Array, window: Bars) -> Array:
    """Mean log of the venue's ratio of taker buys to sells over the last bars.

    Unit: log, 0 is even. Look-back: window. NaN where less than half of the window is known. Source: definition.
    """
    return np.asarray(rolling_mean(ratio_skew(taker_ratio), window))
