"""The prices at which an account is forced: its liquidation and its stop, and how they are found fast.

Accounts lie in blocks; a block keeps the highest level below and the lowest level above the market. A block bound may
be too wide after a level has moved away: a scan that finds nothing draws it in again.
"""

from __future__ import annotations

import numpy as np

from backtest.crowd.kernel.compile import jit
from backtest.crowd.kernel.layout import (
    ARBITRAGE,
    BLOCK,
    DOWN,
    ENGINE,
    ENTRY,
    FREE,
    KIND,
    LIQ,
    MAKER,
    MARGIN,
    STALE,
    STOP,
    STOP_DISTANCE,
    UP,
    Floats,
    Q,
    Rules,
)
from backtest.margin import CAP, CAP_REACHED, CUM, liquidation_size, maintenance, tier_of


@jit
def equity(a: Floats, i: int, price: float) -> float:
    return a[FREE, i] + a[MARGIN, i] + a[Q, i] * (price - a[ENTRY, i])


@jit
def balance(a: Floats, i: int, price: float) -> float:
    """What stands behind the position at a price."""
    return a[MARGIN, i] + a[Q, i] * (price - a[ENTRY, i])


@jit
def breached(a: Floats, i: int, tiers: Floats, p: Rules, mark: float) -> bool:
    q = a[Q, i]
    return q != 0.0 and balance(a, i, mark) <= maintenance(tiers, 0, len(tiers), p.closing_fee, abs(q) * mark)


@jit
def outgrown(a: Floats, i: int, tiers: Floats, p: Rules, mark: float) -> float:
    """The mark at which a long that gains value is in breach, for a dearer bracket holds for all of it; inf: none.

    Only where the rate of the whole position jumps at a boundary (OKX): such a table has no maintenance amounts.
    """
    last = len(tiers) - 1
    if last < 1 or tiers[last, CUM] != 0.0:
        return np.inf
    q = a[Q, i]
    for row in range(tier_of(tiers, 0, last + 1, q * mark), last):
        above = tiers[row, CAP] * (1.0 + 2.0 * (CAP_REACHED - 1.0)) / q
        if breached(a, i, tiers, p, above):
            return above
    return np.inf


@jit
def set_levels(a: Floats, bounds: Floats, i: int, tiers: Floats, p: Rules, mark: float) -> None:
    """After anything has happened to the position or its margin."""
    q = a[Q, i]
    kind = a[KIND, i]
    a[LIQ, i], a[STOP, i], a[DOWN, i], a[UP, i] = np.nan, np.nan, 0.0, np.inf
    block = i // BLOCK
    bounds[STALE, block] = 1.0
    if q == 0.0 or kind in (MAKER, ARBITRAGE, ENGINE):
        return
    liq = liquidation_size(q, a[ENTRY, i], a[MARGIN, i], tiers, 0, len(tiers), p.closing_fee, mark)
    a[LIQ, i] = liq
    distance = a[STOP_DISTANCE, i]
    if q > 0.0:
        down = liq
        if distance > 0.0:
            a[STOP, i] = a[ENTRY, i] * (1.0 - distance)
            down = max(down, a[STOP, i])
        a[DOWN, i] = down
        bounds[0, block] = max(bounds[0, block], down)
        a[UP, i] = outgrown(a, i, tiers, p, mark)
        bounds[1, block] = min(bounds[1, block], a[UP, i])
    else:
        up = liq
        if distance > 0.0:
            a[STOP, i] = a[ENTRY, i] * (1.0 + distance)
            up = min(up, a[STOP, i])
        a[UP, i] = up
        bounds[1, block] = min(bounds[1, block], up)


@jit
def draw_in(a: Floats, bounds: Floats, block: int) -> None:
    """The bounds of one block, exact."""
    first, last = block * BLOCK, min((block + 1) * BLOCK, a.shape[1])
    low, high = 0.0, np.inf
    for i in range(first, last):
        low = max(low, a[DOWN, i])
        high = min(high, a[UP, i])
    bounds[0, block], bounds[1, block] = low, high


@jit
def set_all_levels(a: Floats, bounds: Floats, tiers: Floats, p: Rules, mark: float) -> None:
    for i in range(a.shape[1]):
        set_levels(a, bounds, i, tiers, p, mark)
    for block in range(bounds.shape[1]):
        draw_in(a, bounds, block)
