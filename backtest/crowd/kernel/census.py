"""The snapshot of all accounts: ratios, leverage, and how much is close to being liquidated.

Sums are kept by block of accounts and taken anew only where something has happened since. The mark may have moved
meanwhile: balances follow it in a straight line, and nearness is a power of level over mark, so that one factor a block
brings it up to date. (An account whose balance is below zero counts with that, until the venue takes it over.)
"""

from __future__ import annotations

import numpy as np

from backtest.crowd.kernel.compile import jit
from backtest.crowd.kernel.layout import (
    BLOCK,
    CARRY,
    ENTRY,
    FRAGILE_DOWN,
    FRAGILE_UP,
    KIND,
    LEVER,
    LIQ,
    LONG,
    MARGIN,
    MARK,
    RETAIL,
    RETAIL_LONG,
    SHARE_LONG,
    SHARE_TOP,
    SHARE_TOP_SIZE,
    STALE,
    TOP,
    Floats,
    Q,
    Rules,
)

# rows of `bounds` behind the levels: sums of a block
(
    ALL_LONG, HOLDERS, LONGS, TOP_HOLDERS, TOP_LONGS, TOP_SIZE, TOP_LONG_SIZE, LONG_SIZE, SIZE_HELD, NET, COLLATERAL,
    NEAR_DOWN, NEAR_UP, AT_MARK,
) = range(STALE + 1, STALE + 15)  # fmt: skip
BLOCK_ROWS = STALE + 15


@jit
def twentieth(x: float) -> float:
    """x to the power of 20."""
    fourth = x * x
    fourth *= fourth
    sixteenth = fourth * fourth
    sixteenth *= sixteenth
    return sixteenth * fourth


@jit
def weight_of(ratio: float) -> float:
    """How much a liquidation level counts in the measure of fragility: 1/e at a log distance of 5 %."""
    return twentieth(min(ratio, 1.0 / ratio))


@jit
def count_block(a: Floats, bounds: Floats, block: int, mark: float) -> None:
    sums = bounds[:, block]
    sums[STALE:] = 0.0
    sums[AT_MARK] = mark
    for i in range(block * BLOCK, min((block + 1) * BLOCK, a.shape[1])):
        q = a[Q, i]
        if q == 0.0:
            continue
        size, held_long = abs(q), max(q, 0.0)
        sums[ALL_LONG] += held_long
        kind = a[KIND, i]
        if kind != RETAIL and kind != CARRY:
            continue
        sums[HOLDERS] += 1.0
        sums[LONGS] += 1.0 if q > 0.0 else 0.0
        if a[TOP, i] == 1.0:
            sums[TOP_HOLDERS] += 1.0
            sums[TOP_LONGS] += 1.0 if q > 0.0 else 0.0
            sums[TOP_SIZE] += size
            sums[TOP_LONG_SIZE] += held_long
        if kind == RETAIL:
            sums[LONG_SIZE] += held_long
            sums[SIZE_HELD] += size
            sums[NET] += q
            sums[COLLATERAL] += a[MARGIN, i] - q * a[ENTRY, i]
        if a[LIQ, i] > 0.0:
            sums[NEAR_DOWN if q > 0.0 else NEAR_UP] += weight_of(a[LIQ, i] / mark) * size


@jit
def share(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else np.nan


@jit
def census(a: Floats, s: Floats, bounds: Floats, p: Rules, row: Floats) -> None:
    mark = s[MARK]
    total = np.zeros(BLOCK_ROWS)
    dealers = p.retail + p.carry + p.funds  # makers, arbitrage and engine trade without a word
    for block in range(bounds.shape[1]):
        if bounds[STALE, block] != 0.0 or block == dealers // BLOCK or block == (dealers + 2) // BLOCK:
            count_block(a, bounds, block, mark)
        moved = twentieth(bounds[AT_MARK, block] / mark)
        for k in range(ALL_LONG, NEAR_DOWN):
            total[k] += bounds[k, block]
        total[NEAR_DOWN] += bounds[NEAR_DOWN, block] * moved
        total[NEAR_UP] += bounds[NEAR_UP, block] / moved
    s[LONG] = total[ALL_LONG]
    row[SHARE_LONG] = share(total[LONGS], total[HOLDERS])
    row[SHARE_TOP] = share(total[TOP_LONGS], total[TOP_HOLDERS])
    row[SHARE_TOP_SIZE] = share(total[TOP_LONG_SIZE], total[TOP_SIZE])
    row[RETAIL_LONG] = total[LONG_SIZE]
    row[LEVER] = share(total[SIZE_HELD] * mark, total[COLLATERAL] + total[NET] * mark)
    row[FRAGILE_DOWN] = total[NEAR_DOWN] / max(s[LONG], 1e-9)
    row[FRAGILE_UP] = total[NEAR_UP] / max(s[LONG], 1e-9)
