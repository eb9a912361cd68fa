"""Flow: what is being forced, how fast, and whether it is over.

Feeds of liquidations are often throttled: a sampled feed shows a third of what happened, and less in a burst. Shares of
open interest and of volume are then lower bounds; imbalances and comparisons with the feed's own past suffer less.
"""

from __future__ import annotations

import numpy as np

from backtest.jit import jit_alone
from data.errors import BadInput
from strategies.signals.edge import Array, Bars, columnwise, frozen
from strategies.signals.rolling import (
    HALF,
    lagged,
    log_change,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_std,
    rolling_sum,
)

FORGOTTEN = 0.1  # of a memory may be of bars that are not known


@columnwise
def liquidation_intensity(liq_long: Array, liq_short: Array, open_interest_value: Array, window: Bars) -> Array:
    """Part of the open interest liquidated in the last bars: sum(long + short) / OI before them.

    Unit: fraction of the notional open `window` bars ago. Look-back: window. NaN where a bar of the window or the open
    interest before it is not known. Source: forced liquidations over open interest, as Cheng and others (arXiv
    2102.04591) measure them: 3.5 % of longs and 1.9 % of shorts a day on BitMEX.
    """
    before = np.asarray(lagged(open_interest_value, window))
    return np.where(before > 0.0, np.asarray(rolling_sum(liq_long + liq_short, window)) / before, np.nan)


@columnwise
def liquidation_imbalance(liq_long: Array, liq_short: Array, window: Bars) -> Array:
    """Which side is thrown out: (long - short) / (long + short), over the last bars.

    Unit: part, 1 is longs only, -1 shorts only, 0 both alike or nobody. Look-back: window. NaN where less than
    half of the window is known. Source: definition.
    """
    longs, shorts = _where_both(liq_long, liq_short, window)
    total = longs + shorts
    return np.where(total > 0.0, (longs - shorts) / total, np.where(np.isnan(total), np.nan, 0.0))


@columnwise
def forced_share(liq_long: Array, liq_short: Array, quote_volume: Array, window: Bars) -> Array:
    """Part of what was traded that was forced: sum(long + short) / sum(volume), over the last bars.

    Unit: fraction. Look-back: window. Bars count where both are known. NaN where that is less than half of
    the window, or nothing traded. Source: definition.
    """
    forced, traded = _where_both(liq_long + liq_short, quote_volume, window)
    return np.where(traded > 0.0, forced / traded, np.nan)


@columnwise
def liquidation_surge(liq_long: Array, liq_short: Array, fast: Bars, slow: Bars) -> Array:
    """Liquidations of the last bars over what is usual: mean(fast) / mean(slow).

    Unit: ratio, 1 is usual. Look-back: slow. NaN where less than half of either window is known, and where there was
    nothing. Both means are of one feed, so its undercount cancels as far as it is steady. Source: own.
    """
    both = liq_long + liq_short
    usual = np.asarray(rolling_mean(both, slow))
    return np.where(usual > 0.0, np.asarray(rolling_mean(both, fast)) / usual, np.nan)


@columnwise
def sigma_move(close: Array, horizon: Bars, window: Bars) -> Array:
    """The move of the last bars in standard deviations of such moves: r / (sd x sqrt(horizon)).

    r is the log change over `horizon` bars, sd the deviation of log changes of single bars over the `window` bars
    before them: the move is not in its own yardstick. Unit: standard deviations. Look-back: horizon + window + 1. NaN
    where an end is not known, or less than half of the window. Source: the k-sigma moves of the cascade study in
    docs/signals.md.
    """
    spread = np.asarray(lagged(rolling_std(log_change(close, 1), window), horizon))
    usual = spread * np.sqrt(horizon)
    return np.where(usual > 0.0, np.asarray(log_change(close, horizon)) / usual, np.nan)


@columnwise
def cascade(
    close: Array, open_interest: Array, horizon: Bars, window: Bars,
    sigmas: float = 4.0, flush: float = 0.02, late: Bars = 1,
) -> Array:  # fmt: skip
    """A cascade, if there is one: the part of open interest destroyed while the price moved far, signed by the move.

    Where open interest fell by at least `flush` over `horizon` bars, and |sigma_move| >= sigmas over as many that ended
    now or up to `late` bars ago (open interest is known later than the price): sign(move) x (1 - OI / OI before); else
    0. Below 0 longs were thrown out. Unit: part of the open interest. Look-back: horizon + window + late + 1. NaN where
    open interest or all of those moves are not known. Source: the detector of
    github.com/min66633/liquidation-cascade-research; the same move without the flush is its placebo. The least flush is
    absolute: a z-score alone picks noise.
    """
    moves = np.asarray(sigma_move(close, horizon, window))
    up, down = (np.asarray(f(moves, late + 1, known=0.0)) for f in (rolling_max, rolling_min))
    move = np.where(-down > up, down, up)
    gone = -np.expm1(np.asarray(log_change(open_interest, horizon)))
    found = (np.abs(move) >= sigmas) & (gone >= flush)
    return np.where(np.isnan(move + gone), np.nan, np.where(found, np.sign(move) * gone, 0.0))


@columnwise
def exhaustion(liq_long: Array, liq_short: Array, fast: Bars, slow: Bars) -> Array:
    """How far a burst of liquidations has died down: 1 - sum(fast) / highest sum(fast) of the last slow bars.

    Unit: part, 0 at the worst, 1 when nothing is forced any more. Look-back: fast + slow. NaN where a bar of `fast` or
    half of `slow` is not known, or nothing was liquidated. Source: own. Caveat: waiting for it has cost more than it
    brought in the study cited in docs/signals.md.
    """
    now = np.asarray(rolling_sum(liq_long + liq_short, fast))
    worst = np.asarray(rolling_max(now, slow))
    return np.where(worst > 0.0, 1.0 - now / worst, np.nan)


@columnwise
def vwap_distance(close: Array, quote_volume: Array, volume: Array, window: Bars) -> Array:
    """How far the price is from the mean price paid in the last bars: close / (sum(quote volume) / sum(volume)) - 1.

    `volume` in coins: of an inverse contract give quote volume over the price, as the registry does. Unit: fraction.
    Look-back: window. Bars count where both are known. NaN where that is less than half of the window, or nothing
    traded. Source: definition of the volume-weighted average price.
    """
    money, coins = _where_both(quote_volume, volume, window)
    return np.where((coins > 0.0) & (money > 0.0), close * coins / money - 1.0, np.nan)


@columnwise
def stop_run(
    high: Array, low: Array, close: Array, window: Bars,
    support: Array | None = None, resistance: Array | None = None,
) -> Array:  # fmt: skip
    """A wick through a crowded level and back: by how much a bar went beyond it before it closed inside.

    Low below support and close above it: support / low - 1, above 0. High above resistance and close below it: -(1 -
    resistance / high), below 0. Both: their sum; neither: 0. Levels: lowest low and highest high of the `window` bars
    before this one, where stops gather, or your own, such as the nearest crowded level of a liquidation map. A level
    has to be known before its bar. Unit: fraction of the price. Look-back: window + 1. NaN where the bar or a level
    is not known. Source: own.
    """
    below = np.asarray(lagged(rolling_min(low, window), 1)) if support is None else support
    above = np.asarray(lagged(rolling_max(high, window), 1)) if resistance is None else resistance
    down = np.where((low < below) & (close > below), below / low - 1.0, 0.0)
    up = np.where((high > above) & (close < above), 1.0 - above / high, 0.0)
    return np.where(np.isnan(high + low + close + below + above), np.nan, down - up)


@jit_alone
def decayed(x: Array, keep: float) -> Array:
    """(1 - keep) x the sum of x, each worth `keep` of itself a bar later. NaN while too much of it is not known."""
    out = np.full(len(x), np.nan)
    total, dark = 0.0, 1.0  # dark: the part of the memory that is of bars not known
    for t in range(len(x)):
        missing = not np.isfinite(x[t])
        total = keep * total + (0.0 if missing else (1.0 - keep) * x[t])
        dark = keep * dark + (1.0 - keep if missing else 0.0)
        if not missing and dark <= FORGOTTEN:
            out[t] = total
    return out


@columnwise
def hawkes_intensity(events: Array, mu: float, branching: float, half_life: float) -> Array:
    """Events to expect in the next bar, when each makes more: lambda = mu + n (1 - k) sum of k^(t - s) x events(s).

    k = 0.5^(1 / half_life) is what a bar keeps, n = `branching` how many further events one makes in all: `mu`,
    `events` a bar, `half_life` in bars. Fit them with `strategies.signals.hawkes`, and look at its residual test.
    Linear in the length. Unit: events a bar. Look-back: fading, a tenth is left after 3.3 half-lives; NaN before, in
    bars that are not known, and while more than a tenth of the memory is of such bars. Source: Hawkes (1971), Ozaki
    (1979) for the recursion, here over bars.
    """
    if not (mu >= 0.0 and 0.0 <= branching < 1.0 and half_life > 0.0):
        raise BadInput("hawkes_intensity: mu from 0, branching from 0 to below 1, half_life above 0")
    return mu + branching * decayed(frozen(events), 0.5 ** (1.0 / half_life))


@columnwise
def liquidation_excitation(liq_long: Array, liq_short: Array, window: Bars, half_life: Bars) -> Array:
    """Fading sum of liquidations over what is usual: the moving part of a Hawkes intensity, without a fit.

    (1 - k) sum of k^(t - s) x (long + short) / mean(window), k = 0.5^(1 / half_life). Unit: ratio, 1 is usual.
    Look-back: window, and the memory of `hawkes_intensity`. NaN as there, and where nothing was ever liquidated.
    Source: as there; the amount stands for the number of events, since one position is split into many prints.
    """
    both = liq_long + liq_short
    usual = np.asarray(rolling_mean(both, window))
    return np.where(usual > 0.0, decayed(frozen(both), 0.5 ** (1.0 / half_life)) / usual, np.nan)


def _where_both(a: Array, b: Array, window: int) -> tuple[Array, Array]:
    """Sums of two series over the bars in which both are known."""
    dark = np.isnan(a + b)
    first, second = (np.asarray(rolling_sum(np.where(dark, np.nan, x), window, HALF)) for x in (a, b))
    return first, second
