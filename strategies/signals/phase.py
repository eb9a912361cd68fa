"""The phase of the leverage cycle, from open interest alone: a machine of four states.

    unwind     open interest is at least `destroyed` below its highest of the last `flush` bars
    recovery   the `rest` bars after that
    build-up   open interest over its mean has reached `crowded`, and is not yet back below `relaxed`
    calm       otherwise

The numbers are those of `backtest.crowd.truth.PHASES`, so that what is seen can be held against what was.
"""

from __future__ import annotations

import numpy as np

from backtest.jit import jit_alone
from data.errors import BadInput
from strategies.signals.buildup import oi_build, oi_flush
from strategies.signals.edge import Array, Bars, columnwise, frozen

CALM, BUILD_UP, UNWIND, RECOVERY = range(4)


@jit_alone
def phases(build: Array, flush: Array, destroyed: float, rest: int, crowded: float, relaxed: float) -> Array:
    """Of each bar; NaN where the state cannot be told. Time goes on in bars that are not known."""
    out = np.full(len(build), np.nan)
    is_crowded, since = False, rest + 1  # bars since the last unwind
    for t in range(len(build)):
        since += 1
        if not (np.isfinite(build[t]) and np.isfinite(flush[t])):
            continue
        is_crowded = build[t] >= crowded or (is_crowded and build[t] >= relaxed)
        if flush[t] >= destroyed:
            since = 0
            out[t] = UNWIND
        elif since <= rest:
            out[t] = RECOVERY
        else:
            out[t] = BUILD_UP if is_crowded else CALM
    return out


@columnwise
def leverage_phase(
    open_interest: Array, window: Bars, flush: Bars, rest: Bars,
    destroyed: float = 0.08, crowded: float = 1.15, relaxed: float = 1.05,
) -> Array:  # fmt: skip
    """Phase of the leverage cycle: 0 calm, 1 build-up, 2 unwind, 3 recovery; see the module.

    Unit: code. Look-back: window (of the mean), and the state: a build-up is remembered until it is over. NaN where
    open interest is not known. Source: own; the levels of a build-up are those of `backtest.crowd.truth`.
    """
    if not (0.0 < destroyed < 1.0 and 0.0 < relaxed <= crowded):
        raise BadInput("leverage_phase: destroyed is a part between 0 and 1, and relaxed at most crowded")
    build = np.asarray(oi_build(open_interest, window))
    fallen = np.asarray(oi_flush(open_interest, flush))
    return phases(frozen(build), frozen(fallen), destroyed, rest, crowded, relaxed)
