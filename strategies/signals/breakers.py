"""Circuit breakers: thresholds with a memory, so that a market on the edge does not switch at every bar.

    normal -> soft -> hard      at once, when the stress reaches the level
    hard -> soft -> normal      one step at a time, when the stress has stayed below `release` times the level for
                                `hold` bars in a row

Stress is any measure that grows with it: a ratio of volatilities, a fall from the high, liquidations over the usual.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backtest.jit import jit_alone
from data.errors import BadInput
from strategies.signals.edge import Array, Bars, columnwise, frozen
from strategies.signals.volatility import volatility_ratio

NORMAL, SOFT, HARD = range(3)


@jit_alone
def states(stress: Array, soft: float, hard: float, release: float, hold: int) -> Array:
    """Of each bar. A bar that is not known changes nothing, is NaN, and breaks no row of quiet ones."""
    out = np.full(len(stress), np.nan)
    state, quiet = NORMAL, 0
    for t in range(len(stress)):
        x = stress[t]
        if not np.isfinite(x):
            continue
        reached = HARD if x >= hard else (SOFT if x >= soft else NORMAL)
        if reached > state:
            state, quiet = reached, 0
        elif state > NORMAL:
            level = hard if state == HARD else soft
            quiet = quiet + 1 if x < release * level else 0
            if quiet >= hold:
                state, quiet = state - 1, 0
        out[t] = state
    return out


@columnwise
def breaker_state(stress: Array, hold: Bars, soft: float = 1.5, hard: float = 2.5, release: float = 0.9) -> Array:
    """State of a circuit breaker on any measure of stress: 0 normal, 1 soft, 2 hard; see the module.

    Unit: code. Look-back: the state, which remembers; it begins as normal. NaN where the stress is not known. Source:
    the breakers of github.com/pedroargento/dex-sim, with a release level and a hold of our own.
    """
    if not (0.0 < soft <= hard and 0.0 < release <= 1.0):
        raise BadInput("breaker_state: write 0 < soft <= hard, and release above 0 and at most 1")
    return states(frozen(stress), soft, hard, release, hold)


@columnwise
def volatility_breaker(
    open: Array, high: Array, low: Array, close: Array, fast: Bars, slow: Bars, hold: Bars,
    soft: float = 1.5, hard: float = 2.5, release: float = 0.9,
) -> Array:  # fmt: skip
    """`breaker_state` of `volatility_ratio`: 0 normal, 1 soft, 2 hard.

    Unit: code. Look-back: slow, and the state. NaN where the ratio is not known. Source: as for both.
    """
    ratio = volatility_ratio(open, high, low, close, fast, slow)
    return np.asarray(breaker_state(ratio, hold, soft, hard, release))


def multiplier(state: Array, by_state: Sequence[float] = (1.0, 1.5, 2.0)) -> Array:
    """What a state does to a margin requirement (or, below 1, to an exposure): a number for normal, soft and hard.

    NaN where the state is. Source: the multipliers of the simulator named above.
    """
    if len(by_state) != 3:
        raise BadInput(f"multiplier: by_state={by_state!r}: write three numbers, for normal, soft and hard")
    given = np.asarray(state, dtype=np.float64)
    told = np.isfinite(given)
    table = np.asarray(by_state, dtype=np.float64)
    return np.where(told, table[np.where(told, given, 0.0).astype(np.int64)], np.nan)
