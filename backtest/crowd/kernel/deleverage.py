"""Auto-deleveraging: who of the other side is closed when an account has nothing left, and by how much.

A bankrupt account holds a position of `need` coins that the book did not take. It is closed against positions of the
other side, the candidates, at a price of the venue's choice. Every coin costs a candidate `loss_per_unit`: by what
that price is worse for him than the mark.

    1. rank       `scores`: by what the venue ranks its candidates
    2. allocate   `allocate`: coins closed of each candidate, by a policy
    3. measure    `haircuts`, `largest_share`, `overshoot`, `unfilled`

Every policy but CAPPED closes min(need, all sizes), because what is not closed has no other side. So it has a second
stage: where everyone it would choose is closed in full, the rest is spread over the others in proportion to size.

    QUEUE             highest score first (what venues do)
    PRO_RATA          in proportion to profit: the one rule under which splitting an account changes nothing
    CAPPED            the same, but nobody's haircut is above `cap` times his own profit; stops there, so that part of
                      `need` may be left (`unfilled`)
    CAPPED_THEN_SIZE  the same, and the rest in proportion to the size that is left, profit or not. (Spread by profit,
                      it would be PRO_RATA again: caps that are one share of profit bind all at once.)
    MIN_MAX           the smallest possible largest haircut as a share of equity. As a share of profit it would be
                      PRO_RATA; equity is what the integer program of the paper's code divides by.

Ties go to the lower account number, which is the place in the arrays. What is not a finite number above zero (a loss,
a NaN) counts as no size, no profit, no equity; a score that is no number comes last. All sums hold but for rounding.

Pro-rata, caps and the overshoot: T. Chitra, Autodeleveraging: Impossibilities and Optimization (arXiv 2512.01112).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backtest import rules
from backtest.crowd.kernel.compile import jit

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BY_BINANCE, BY_LEVERAGED_PROFIT, BY_HYPERLIQUID, BY_TURN = 0, 1, 2, 3  # rankings
QUEUE, PRO_RATA, CAPPED, CAPPED_THEN_SIZE, MIN_MAX = 0, 1, 2, 3, 4  # policies

ROUNDING = 1e-12  # of a position: what is left of it below this share is nothing

binance_score = jit(rules.binance_adl_score)
hyperliquid_score = jit(rules.hyperliquid_adl_score)
leveraged_score = jit(rules.leveraged)


# --- rank -----------------------------------------------------------------------------------------------------------


@jit
def score_of(
    ranking: int, mark: float, side: int, size: float, entry: float, equity: float, maintenance: float
) -> float:
    """Of one linear position; `side` is the candidate's. Without size or equity it is last, on Binance like a loser.

    BY_LEVERAGED_PROFIT is BitMEX's, and stands for Bybit and OKX, which name the same two factors: profit over entry
    value, and mark value over what is left until bankruptcy, which here is the equity.
    """
    profit = side * size * (mark - entry)
    if ranking == BY_BINANCE:
        return binance_score(profit, equity - profit, maintenance)
    if not (size > 0.0 and equity > 0.0):
        return -np.inf
    if ranking == BY_HYPERLIQUID:
        return hyperliquid_score(mark, entry, size * mark, equity, side)
    return leveraged_score(profit / (size * entry), size * mark / equity)


@jit
def scores(
    ranking: int, mark: float, side: int, size: Floats, entry: Floats, equity: Floats, maintenance: Floats, start: int
) -> Floats:
    """Highest first. BY_TURN (dYdX) ranks nobody: it goes round the accounts from `start`, which the venue draws."""
    count = len(size)
    found = np.empty(count)
    for i in range(count):
        if ranking == BY_TURN:
            found[i] = -float((i - start) % count)
        else:
            found[i] = score_of(ranking, mark, side, size[i], entry[i], equity[i], maintenance[i])
    return found


# --- allocate -------------------------------------------------------------------------------------------------------


@jit
def allocate(
    policy: int,
    need: float,
    loss_per_unit: float,
    size: Floats,
    profit: Floats,
    equity: Floats,
    score: Floats,
    cap: float,
) -> Floats:
    """Coins closed of each candidate. Only QUEUE reads scores, only the capped ones `cap` (1: all of the profit)."""
    sizes = finite_above_zero(size)
    if not need > 0.0:
        return np.zeros(len(sizes))
    if policy == QUEUE:
        return in_turn(need, sizes, queue(score))
    weight = finite_above_zero(equity if policy == MIN_MAX else profit)
    limit = sizes
    if policy in (CAPPED, CAPPED_THEN_SIZE):
        limit = within_cap(sizes, weight, loss_per_unit, cap)
    taken = fill(need, weight, limit)
    left = need - capacity(weight, limit)
    if policy == CAPPED or not left > 0.0:
        return taken
    open_still = sizes - taken
    return taken + fill(left, open_still, open_still)


@jit
def finite_above_zero(values: Floats) -> Floats:
    """The values, and 0 for what is below zero or no finite number."""
    kept = np.zeros(len(values))
    for i in range(len(values)):
        if 0.0 < values[i] < np.inf:
            kept[i] = values[i]
    return kept


@jit
def queue(score: Floats) -> Integers:
    """Places, highest score first, equal ones by place."""
    key = np.empty(len(score))
    for i in range(len(score)):
        key[i] = np.inf if np.isnan(score[i]) else -score[i]
    return np.argsort(key, kind="mergesort")


@jit
def in_turn(need: float, size: Floats, order: Integers) -> Floats:
    """The first in full, then the next, until the need is met."""
    taken = np.zeros(len(size))
    left = need
    for i in order:
        if not left > 0.0:
            break
        taken[i] = min(left, size[i])
        left -= taken[i]
    return taken


@jit
def within_cap(size: Floats, profit: Floats, loss_per_unit: float, cap: float) -> Floats:
    """Most coins that may be closed of each before his haircut is above `cap` times his profit."""
    limit = size.copy()
    if not loss_per_unit > 0.0:
        return limit
    for i in range(len(size)):
        most = cap * profit[i] / loss_per_unit
        if not most >= size[i]:
            limit[i] = most if most > 0.0 else 0.0
    return limit


@jit
def capacity(weight: Floats, limit: Floats) -> float:
    """What `fill` can close at most: the limits of those that have a weight."""
    total = 0.0
    for i in range(len(limit)):
        if weight[i] > 0.0:
            total += limit[i]
    return total


@jit
def fill(need: float, weight: Floats, limit: Floats) -> Floats:
    """min(limit, level x weight), with the one level at which the sum is `need`; else all limits of who has a weight.

    Like water: it rises in all at once, in proportion to weight, and those that are full leave. Sorted by the level at
    which each is full, one pass finds it. With equity as weights the level is the largest share of it that anyone
    loses, and no other way of closing as much has a smaller one.
    """
    count = len(limit)
    full_at = np.full(count, np.inf)
    taken = np.zeros(count)
    for i in range(count):
        if weight[i] > 0.0:
            full_at[i] = limit[i] / weight[i]
            taken[i] = limit[i]
    if need >= capacity(weight, limit):
        return taken
    order = np.argsort(full_at, kind="mergesort")
    rising = np.zeros(count + 1)
    for k in range(count - 1, -1, -1):
        rising[k] = rising[k + 1] + weight[order[k]]
    settled = 0.0
    for k in range(count):
        if not rising[k] > 0.0:
            break
        level = (need - settled) / rising[k]
        if level * weight[order[k]] <= limit[order[k]]:
            for i in order[k:]:
                taken[i] = min(limit[i], level * weight[i])
            break
        settled += limit[order[k]]
    return taken


# --- measure --------------------------------------------------------------------------------------------------------


@jit
def loss_per_unit_at(price: float, mark: float, side: int) -> float:
    """What a coin costs the other side when a position of `side` is closed at a price other than the mark.

    At the bankruptcy price that is, over the whole position, just what the account is short of: then nothing is left
    to the insurance fund, and no more is taken from the winners than is needed.
    """
    return side * (price - mark)


@jit
def haircuts(loss_per_unit: float, taken: Floats) -> Floats:
    """What closing took from each candidate; 0 where the price was no worse than the mark."""
    return max(loss_per_unit, 0.0) * taken


@jit
def largest_share(loss_per_unit: float, taken: Floats, base: Floats) -> float:
    """Largest haircut over the candidate's own base (equity: what MIN_MAX makes small). inf where he has none."""
    largest = 0.0
    for i in range(len(taken)):
        haircut = loss_per_unit * taken[i]
        if haircut > 0.0:
            largest = max(largest, haircut / base[i] if base[i] > 0.0 else np.inf)
    return largest


@jit
def overshoot(imposed: float, needed: float) -> float:
    """H - B: haircuts imposed beyond the budget that was needed; below zero, what they were short of.

    Published totals add up the signed differences of all waves (2025-10-10: 60.1 - 15.1 = 45.0 million dollars).
    """
    return imposed - needed


@jit
def unfilled(need: float, taken: Floats) -> float:
    """What no candidate was closed for; 0 where that is rounding."""
    left = need
    for i in range(len(taken)):
        left -= taken[i]
    return left if left > ROUNDING * need else 0.0
