"""Maintenance, liquidation and bankruptcy: the formulas that the loops call and that `unwind verify` checks.

Linear and inverse contracts share every formula. Let `n` be the size of one unit of quantity at a price: n = p for a
linear contract, n = 1/p for an inverse one. Then

    notional     N = |q| n
    profit       s (n - n_entry)          s = q (linear), -q (inverse): a long inverse position is short of n
    maintenance  MM(N) = N (mmr + fee) - cum      of the tier that holds N; a boundary belongs to the lower tier
    liquidation  balance + s (n - n_entry) <= MM(|s| n)

so a liquidation is met going down in n where s > 0, and going up where s < 0. All are scalars; tiers are rows of a
float array (floor, cap, mmr, max_leverage, cum) of which one table is `first`, `count`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtest.jit import jit

Floats = NDArray[np.float64]

FLOOR, CAP, MMR, MAX_LEVERAGE, CUM = 0, 1, 2, 3, 4
CAP_REACHED = 1.0 + 1e-9


@jit
def size_at(price: float, inverse: bool) -> float:
    """n(p): what one unit of quantity is worth in settlement currency."""
    return 1.0 / price if inverse else price


@jit
def value_at(price: float, inverse: bool) -> float:
    """v(p): profit is q (v(p) - v(entry)) for linear and inverse contracts alike."""
    return -1.0 / price if inverse else price


@jit
def tier_of(tiers: Floats, first: int, count: int, notional: float) -> int:
    """Row of the tier that holds a notional; beyond the last cap, the last. A cap but for rounding is that cap."""
    row = first
    last = first + count - 1
    while row < last and notional > tiers[row, CAP] * CAP_REACHED:
        row += 1
    return row


@jit
def maintenance(tiers: Floats, first: int, count: int, fee: float, notional: float) -> float:
    """Margin that a position of this notional must keep. No tiers: the closing fee alone."""
    if count == 0:
        return notional * fee
    row = tier_of(tiers, first, count, notional)
    return max(0.0, notional * (tiers[row, MMR] + fee) - tiers[row, CUM])


@jit
def liquidation_size(
    s: float, n_entry: float, balance: float, tiers: Floats, first: int, count: int, fee: float, n_from: float
) -> float:
    """The first n, going from `n_from` against the position, at which balance + profit <= maintenance.

    0 where a position that loses downwards is never liquidated. Where the rate of the whole position jumps at a
    boundary (OKX), that boundary may be the answer.
    """
    q = abs(s)
    if count == 0:
        if s > 0.0:
            return max(0.0, (q * n_entry - balance) / (q * (1.0 - fee)))
        return max(0.0, (q * n_entry + balance) / (q * (1.0 + fee)))
    row = tier_of(tiers, first, count, q * n_from)
    if s > 0.0:
        near = np.inf
        while True:
            n = (q * n_entry - balance - tiers[row, CUM]) / (q * (1.0 - tiers[row, MMR] - fee))
            if n > near:
                return near
            if row == first or n * q > tiers[row, FLOOR]:
                return max(n, 0.0)
            near = tiers[row, FLOOR] / q
            row -= 1
    last = first + count - 1
    near = 0.0
    while True:
        n = (q * n_entry + balance + tiers[row, CUM]) / (q * (1.0 + tiers[row, MMR] + fee))
        if n < near:
            return near
        if row == last or n * q <= tiers[row, CAP]:
            return max(n, 0.0)
        near = tiers[row, CAP] / q
        row += 1


@jit
def bankruptcy_size(s: float, n_entry: float, balance: float) -> float:
    """The n at which balance + profit = 0; 0 where that cannot be."""
    return max(0.0, n_entry - balance / s)


@jit
def kept_after_reduction(
    tiers: Floats, first: int, count: int, q: float, n: float, down: int, worthwhile: float
) -> float:
    """The size at the cap of the bracket `down` below that of a position of size q; q where there is none so low.

    A reduction that leaves more than `worthwhile` of the position is none: then the bracket below that one.
    """
    if count == 0:
        return q
    row = tier_of(tiers, first, count, q * n)
    if row - first < down:
        return q
    row -= down
    while row > first and tiers[row, CAP] / n > worthwhile * q:
        row -= 1
    kept = tiers[row, CAP] / n
    return kept if kept <= worthwhile * q else q
