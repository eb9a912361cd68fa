"""What the crowd decides: a few accounts look at the market in each step, in the order of a shuffled round.

1. Flat: with some appetite it opens a position. The side follows the trend (or goes against it), opinion, and what
   funding costs; size is a stake of its money times its leverage, which grows with the mood of the market.
2. In a position: it leaves when its patience is over, takes a profit, or cuts after a loss of part of its margin;
   carry traders leave when funding no longer pays. Losses shrink the next stake, and gains let it grow back.
3. Ruined accounts are replaced by new ones with new money; rich ones take money out.
4. Funds hold value against the fundamental, up to a leverage limit, and trade toward that in every step.

All orders of a step are one flow, filled like a wave.
"""

from __future__ import annotations

import numpy as np

from backtest.crowd.kernel.book import displayed_depth, exchange, fill_price, move_of, pay_fee, push, release
from backtest.crowd.kernel.chance import uniform
from backtest.crowd.kernel.compile import jit
from backtest.crowd.kernel.layout import (
    BOUGHT,
    CARRY,
    CHASE,
    CROSS,
    DEPOSITED,
    ENTRY,
    EXTRA_MARGIN,
    FAST_LEVEL,
    FAST_TREND,
    FREE,
    FUNDAMENTAL,
    KIND,
    LAST,
    LEVERAGE,
    MARGIN,
    MARK,
    MOOD,
    PATIENCE,
    PAUSE,
    PREMIUM,
    PRESSURE,
    RATE,
    SENTIMENT,
    SIZE,
    SLOW_LEVEL,
    SLOW_TREND,
    SOLD,
    STAKE,
    STEP,
    USUAL_STAKE,
    VARIANCE,
    Floats,
    Q,
    Rules,
)
from backtest.crowd.kernel.levels import equity, set_levels
from backtest.crowd.kernel.value_funds import value_demand
from backtest.margin import MAX_LEVERAGE, tier_of

OPENS, SIDE, LEAVES, FEARS, HALF, TAKES = range(6)  # what a random number is for
USUAL_RATE = 0.0001  # of eight hours: nobody minds it
STILL = 1e-6  # of the normal volatility: a market is never quieter than that


@jit
def chance_of_long(a: Floats, s: Floats, p: Rules, i: int) -> float:
    trend = s[FAST_TREND] if i < p.fast else s[SLOW_TREND]
    lean = p.long_bias + p.trend * a[CHASE, i] * trend + p.opinion * s[SENTIMENT]
    lean -= p.against_funding * (s[RATE] - USUAL_RATE) / USUAL_RATE
    return 1.0 / (1.0 + np.exp(-lean))


@jit
def allowed_leverage(wanted: float, money: float, tiers: Floats, s: Floats) -> float:
    """At most what the bracket of the position allows, less where the venue has raised its margins."""
    row = tier_of(tiers, 0, len(tiers), wanted * money)
    return max(1.0, min(wanted, tiers[row, MAX_LEVERAGE] / s[EXTRA_MARGIN]))


@jit
def open_order(a: Floats, s: Floats, tiers: Floats, p: Rules, i: int, most: float, key: int) -> float:
    """Coins that a flat account of the crowd wants; 0: none."""
    if s[PAUSE] > 0.0:
        return 0.0
    trend = s[FAST_TREND] if i < p.fast else s[SLOW_TREND]
    appetite = p.entry * np.exp(p.mood_entry * s[MOOD] + p.trend_entry * min(abs(trend), 3.0))
    step = int(s[STEP])
    if uniform(key, step, i, OPENS) > appetite:
        return 0.0
    side = 1.0 if uniform(key, step, i, SIDE) < chance_of_long(a, s, p, i) else -1.0
    stake = min(a[STAKE, i], 1.0) * a[FREE, i]
    wanted = max(1.0, a[LEVERAGE, i] * np.exp(p.mood_leverage * s[MOOD]))
    leverage = allowed_leverage(wanted, stake, tiers, s)
    notional = min(stake * leverage, most)
    if notional < 10.0:
        return 0.0
    a[MARGIN, i] = a[FREE, i] if a[CROSS, i] == 1.0 else notional / leverage
    a[FREE, i] -= a[MARGIN, i]
    return side * notional / s[LAST]


@jit
def close_order(a: Floats, s: Floats, p: Rules, i: int, waited: float, key: int) -> float:
    """Coins that an account in a position wants to trade."""
    q = a[Q, i]
    step = int(s[STEP])
    if uniform(key, step, i, LEAVES) < 1.0 - np.exp(-waited / a[PATIENCE, i]):
        return -q
    result = q * (s[LAST] - a[ENTRY, i]) / a[MARGIN, i] if a[MARGIN, i] > 0.0 else -1.0
    if result < -p.derisk and uniform(key, step, i, FEARS) < p.fear:
        return -q if uniform(key, step, i, HALF) < 0.5 else -0.5 * q
    if result > p.take_profit and uniform(key, step, i, TAKES) < 0.5 * p.fear:
        return -q
    return 0.0


@jit
def carry_order(a: Floats, s: Floats, p: Rules, i: int, most: float) -> float:
    """Short where funding pays more than the hurdle, long where shorts pay; the other leg is spot, outside."""
    renew(a, s, p, i)
    rate = s[RATE]
    hurdle = p.carry_hurdle * a[CHASE, i]
    q = a[Q, i]
    if q == 0.0:
        if abs(rate) < hurdle or s[PAUSE] > 0.0:
            return 0.0
        notional = min(a[STAKE, i] * a[FREE, i] * a[LEVERAGE, i], most)
        a[MARGIN, i] = a[FREE, i]
        a[FREE, i] = 0.0
        return (-1.0 if rate > 0.0 else 1.0) * notional / s[LAST]
    earns = rate if q < 0.0 else -rate
    return -q if earns < p.carry_exit * hurdle else 0.0


@jit
def fund_order(a: Floats, s: Floats, p: Rules, i: int, most: float) -> float:
    """To min(aggression x mispricing, limit) of its money, on either side, a tenth of it at least."""
    renew(a, s, p, i)
    money = equity(a, i, s[MARK])
    if money <= 0.0:
        return 0.0
    cheap = -(s[PRESSURE] + s[PREMIUM])
    side = 1.0 if cheap > 0.0 else -1.0
    held = side * value_demand(abs(cheap), p.fund_aggression * a[CHASE, i], p.fund_limit, money)
    wanted = held / s[LAST] - a[Q, i]
    if abs(wanted) * s[LAST] < 0.1 * money:
        return 0.0
    if a[Q, i] == 0.0:
        a[MARGIN, i], a[FREE, i] = a[FREE, i], 0.0
    return min(max(wanted, -most / s[LAST]), most / s[LAST])


@jit
def renew(a: Floats, s: Floats, p: Rules, i: int) -> None:
    """A ruined account is replaced by a new one; a rich one takes out what it has won."""
    if a[Q, i] != 0.0:
        return
    money = a[FREE, i]
    if money < p.ruin * a[SIZE, i] or money > 4.0 * a[SIZE, i]:
        s[DEPOSITED] += a[SIZE, i] - money
        a[FREE, i] = a[SIZE, i]
        a[STAKE, i] = a[USUAL_STAKE, i]


@jit
def order_of(a: Floats, s: Floats, tiers: Floats, p: Rules, i: int, waited: float, most: float, key: int) -> float:
    """Nobody by choice sends more at once than `most`, which the book can bear."""
    if a[KIND, i] == CARRY:
        return carry_order(a, s, p, i, most)
    if a[Q, i] == 0.0:
        renew(a, s, p, i)
        a[STAKE, i] += 0.1 * (a[USUAL_STAKE, i] - a[STAKE, i])
        return open_order(a, s, tiers, p, i, min(most, p.largest), key)
    dq = close_order(a, s, p, i, waited, key)
    return min(max(dq, -most / s[LAST]), most / s[LAST])


@jit
def looks(start: float, rate: float, size: int) -> tuple[int, int]:
    """The part of a round that falls into this step: from, to (may run past the end)."""
    first = int(np.floor(start))
    return first, int(np.floor(start + rate)) - first


@jit
def decide(
    a: Floats, s: Floats, bounds: Floats, tiers: Floats, p: Rules, maker: int, rounds: Floats, who: Floats, row: Floats,
    key: int,
) -> None:  # fmt: skip
    """All orders of one step. `rounds`: where each group's round stands."""
    found = 0
    flow = 0.0
    most = p.slice * displayed_depth(a, s, p, maker)
    groups = 3
    begins = (0, p.fast, p.retail)
    sizes = (p.fast, p.retail - p.fast, p.carry)
    rates = (p.fast_looks, p.slow_looks, p.carry_looks)
    for g in range(groups):
        size = sizes[g]
        if size == 0 or rates[g] == 0.0:
            continue
        first, count = looks(rounds[g], rates[g], size)
        rounds[g] += rates[g]
        waited = size / rates[g]
        for k in range(min(count, size)):
            i = begins[g] + (first + k) % size
            dq = order_of(a, s, tiers, p, i, waited, most, key)
            if dq != 0.0:
                who[found, 0], who[found, 1] = i, dq
                found += 1
        if rounds[g] >= size:
            rounds[g] -= size
    for i in range(p.retail + p.carry, p.retail + p.carry + p.funds):
        dq = fund_order(a, s, p, i, most)
        if dq != 0.0:
            who[found, 0], who[found, 1] = i, dq
            found += 1
    for k in range(found):
        flow += who[k, 1]
    if found > 0:
        fill(a, s, bounds, tiers, p, maker, who, found, flow, row)


@jit
def fill(
    a: Floats, s: Floats, bounds: Floats, tiers: Floats, p: Rules, maker: int, who: Floats, found: int, flow: float,
    row: Floats,
) -> None:  # fmt: skip
    """One flow through the book, for orders by choice."""
    move = move_of(a, s, p, maker, flow * s[LAST])
    to_buyers, to_sellers = fill_price(s, p, move, True), fill_price(s, p, move, False)
    for k in range(found):
        i, dq = int(who[k, 0]), who[k, 1]
        price = to_buyers if dq > 0.0 else to_sellers
        exchange(a, s, i, maker, dq, price)
        pay_fee(a, s, i, p.taker_fee * abs(dq) * price)
        release(a, s, i)
        set_levels(a, bounds, i, tiers, p, s[MARK])
        if dq > 0.0:
            row[BOUGHT] += dq
        else:
            row[SOLD] -= dq
    push(s, p, move, flow * s[LAST])


@jit
def feel(s: Floats, p: Rules, step_return: float, mood: float, sentiment: float) -> None:
    """What everybody sees of the market: trends, volatility; and the tides of mood and sentiment, from outside."""
    level = s[FUNDAMENTAL] + s[PRESSURE]
    sigma = np.sqrt(s[VARIANCE])
    s[VARIANCE] = p.variance_memory * s[VARIANCE] + (1.0 - p.variance_memory) * step_return * step_return
    s[VARIANCE] = max(s[VARIANCE], (STILL * p.sigma) ** 2)
    s[FAST_LEVEL] = p.fast_memory * s[FAST_LEVEL] + (1.0 - p.fast_memory) * level
    s[SLOW_LEVEL] = p.slow_memory * s[SLOW_LEVEL] + (1.0 - p.slow_memory) * level
    fast_scale = sigma * np.sqrt(0.5 / (1.0 - p.fast_memory))
    slow_scale = sigma * np.sqrt(0.5 / (1.0 - p.slow_memory))
    s[FAST_TREND] = (level - s[FAST_LEVEL]) / fast_scale
    s[SLOW_TREND] = (level - s[SLOW_LEVEL]) / slow_scale
    s[MOOD], s[SENTIMENT] = mood, sentiment
