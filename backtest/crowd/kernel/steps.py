"""The clock of the simulated venue: one call runs a number of steps.

A step, in this order:

1. Orders of guests, those from outside.
2. Ticks: the fundamental moves, prices follow, the book refills and thins; whoever is met is forced, in waves. Then the
   crowd's orders.
3. The makers hand inventory on; premium and pressure decay towards where they rest.
4. What everybody sees is brought up to date; breakers look at volatility.
5. The step is recorded; at times a snapshot of all accounts is taken.
"""

from __future__ import annotations

import numpy as np

from backtest.crowd.kernel.book import LARGEST_PREMIUM, displayed_depth, exchange, index_price, reprice
from backtest.crowd.kernel.census import census
from backtest.crowd.kernel.chance import TICK, normal
from backtest.crowd.kernel.compile import jit
from backtest.crowd.kernel.layout import (
    BASIS,
    CROSS,
    DEPTH_ASK,
    DEPTH_BID,
    EATEN,
    EVENTS,
    EXTRA_MARGIN,
    FORCED,
    FREE,
    FUND_BALANCE,
    FUND_LOW,
    FUNDAMENTAL,
    FUNDING_PAID,
    I_CLOSE,
    I_HIGH,
    I_LOW,
    I_OPEN,
    INSURANCE,
    LAST,
    LONG,
    M_CLOSE,
    M_HIGH,
    M_LOW,
    M_OPEN,
    MARGIN,
    MARK,
    OI,
    PAUSE,
    PREM,
    PREMIUM,
    PRESSURE,
    RECENT,
    SHARE_LONG,
    SIGMA,
    STEP,
    T_CLOSE,
    T_HIGH,
    T_LOW,
    T_OPEN,
    THIN,
    TO_FUNDING,
    VARIANCE,
    Floats,
    Places,
    Q,
    Rules,
)
from backtest.crowd.kernel.levels import equity, set_all_levels
from backtest.crowd.kernel.liquidator import force
from backtest.crowd.kernel.traders import decide, feel, fill
from backtest.margin import MAX_LEVERAGE, tier_of

RETURN, VOLATILITY, NEWS, MOOD_TIDE, SENTIMENT_TIDE = range(5)
ROOM_BEFORE = 4  # a step begins with at most one of so many parts of the events' room taken


@jit
def thin_out(s: Floats, p: Rules, recent: Floats) -> None:
    """A move of many standard deviations over the last minutes thins the book; then it comes back."""
    at = int(s[RECENT])
    now = np.log(s[LAST])
    span = len(recent) / p.ticks
    z = abs(now - recent[at]) / np.sqrt(s[VARIANCE] * span)
    recent[at] = now
    s[RECENT] = (at + 1) % len(recent)
    s[THIN] = min(max(s[THIN] * p.thin_decay, (z / p.thin_sigmas) ** 2), p.thin_most)
    s[EATEN] *= p.refill


@jit
def impact_premium(s: Floats, p: Rules) -> float:
    """The venue's premium index: how far bid or ask stand off the index."""
    index = index_price(s)
    bid, ask = s[LAST] * (1.0 - p.half_spread), s[LAST] * (1.0 + p.half_spread)
    return float((max(0.0, bid - index) - max(0.0, index - ask)) / index)


@jit
def widen(s: Floats, row: Floats) -> None:
    index = index_price(s)
    row[T_LOW], row[T_HIGH] = min(row[T_LOW], s[LAST]), max(row[T_HIGH], s[LAST])
    row[M_LOW], row[M_HIGH] = min(row[M_LOW], s[MARK]), max(row[M_HIGH], s[MARK])
    row[I_LOW], row[I_HIGH] = min(row[I_LOW], index), max(row[I_HIGH], index)


@jit
def settle_down(a: Floats, s: Floats, p: Rules, maker: int, arbitrage: int) -> None:
    """The makers hand on; premium goes to where the dealers' inventory holds it; pressure fades."""
    part = p.hand_on * a[Q, maker]
    if part != 0.0:
        exchange(a, s, arbitrage, maker, part, s[LAST])
    rest = -p.premium_slope * (a[Q, maker] + a[Q, arbitrage])
    rest = min(max(rest, -LARGEST_PREMIUM), LARGEST_PREMIUM)
    s[PREMIUM] = rest + (s[PREMIUM] - rest) * p.premium_decay
    s[PRESSURE] *= p.pressure_decay
    reprice(s, p)


@jit
def look_at_volatility(s: Floats, p: Rules) -> None:
    """Breakers: volatility over normal raises margins of new positions, then halts them."""
    ratio = np.sqrt(s[VARIANCE]) / p.sigma
    s[EXTRA_MARGIN] = p.breaker_factor if ratio > p.breaker_margin else 1.0
    s[PAUSE] = p.breaker_steps if ratio > p.breaker_pause else max(0.0, s[PAUSE] - 1.0)


@jit
def ticks(
    a: Floats, s: Floats, bounds: Floats, tiers: Floats, p: Rules, places: Places, who: Floats,
    recent: Floats, outside: Floats, events: Floats, row: Floats, key: int,
) -> None:  # fmt: skip
    """A bridge of small moves from the last close to where the step must end: its return in equal parts, and noise.

    What was forced lately is forgotten four times as fast as a thin book recovers.
    """
    maker, engine = places[0], places[2]
    noise = outside[VOLATILITY] / np.sqrt(p.ticks)
    drawn = 0.0
    for k in range(p.ticks):
        if k < p.ticks - 1:
            z = noise * normal(key, int(s[STEP]), TICK, k)
            drawn += z
            s[FUNDAMENTAL] += outside[RETURN] / p.ticks + z
        else:
            s[FUNDAMENTAL] += outside[RETURN] / p.ticks - drawn
        s[BASIS] += (s[PREMIUM] - s[BASIS]) * (1.0 - p.basis_decay)
        s[FORCED] *= p.thin_decay**4
        reprice(s, p)
        thin_out(s, p, recent)
        widen(s, row)
        force(a, s, bounds, tiers, p, maker, engine, who, events, row)
        widen(s, row)


@jit
def run(
    a: Floats, s: Floats, bounds: Floats, tiers: Floats, p: Rules, places: Places, rounds: Floats,
    who: Floats, recent: Floats, outside: Floats, orders: Floats, to_funding: float, bars: Floats, events: Floats,
    key: int,
) -> int:  # fmt: skip
    """Steps done: fewer than asked for where the events might not find room.

    `orders`: coins that each guest trades in the first of them. `to_funding`: the part of eight hours that a step is.
    """
    maker, arbitrage, _, guests = places
    room = len(events) // ROOM_BEFORE
    for t in range(len(bars)):
        if s[EVENTS] > room:
            return t
        row = bars[t]
        before = np.log(s[LAST])
        row[:] = 0.0
        row[FUND_LOW] = s[INSURANCE]
        index = index_price(s)
        row[T_OPEN], row[T_HIGH], row[T_LOW] = s[LAST], s[LAST], s[LAST]
        row[M_OPEN], row[M_HIGH], row[M_LOW] = s[MARK], s[MARK], s[MARK]
        row[I_OPEN], row[I_HIGH], row[I_LOW] = index, index, index
        if t == 0 and len(orders) > 0:
            guest_orders(a, s, bounds, tiers, p, maker, guests, orders, who, row)
        ticks(a, s, bounds, tiers, p, places, who, recent, outside[t], events, row, key)
        if p.trades == 1:
            decide(a, s, bounds, tiers, p, maker, rounds, who, row, key)
        settle_down(a, s, p, maker, arbitrage)
        widen(s, row)
        feel(s, p, np.log(s[LAST]) - before, outside[t, MOOD_TIDE], outside[t, SENTIMENT_TIDE])
        look_at_volatility(s, p)
        s[TO_FUNDING] = max(0.0, s[TO_FUNDING] - to_funding)
        record(a, s, p, maker, outside[t], row)
        if int(s[STEP]) % p.snapshot == 0:
            census(a, s, bounds, p, row)
        else:
            row[SHARE_LONG] = np.nan
        s[STEP] += 1.0
    return len(bars)


@jit
def permitted(a: Floats, s: Floats, tiers: Floats, i: int, dq: float) -> bool:
    """Whatever makes a position smaller; else what the account's money can margin, unless trading is halted."""
    q = a[Q, i]
    after = q + dq
    if q * after >= 0.0 and abs(after) <= abs(q):
        return True
    notional = abs(after) * s[LAST]
    leverage = tiers[tier_of(tiers, 0, len(tiers), notional), MAX_LEVERAGE] / s[EXTRA_MARGIN]
    return s[PAUSE] == 0.0 and notional <= leverage * equity(a, i, s[LAST])


@jit
def guest_orders(
    a: Floats, s: Floats, bounds: Floats, tiers: Floats, p: Rules, maker: int, first: int, orders: Floats, who: Floats,
    row: Floats,
) -> None:  # fmt: skip
    """Orders of accounts from outside, before anything else of the step happens."""
    found, flow = 0, 0.0
    for g in range(len(orders)):
        i = first + g
        if orders[g] == 0.0 or not permitted(a, s, tiers, i, orders[g]):
            continue
        if a[CROSS, i] == 1.0 and a[Q, i] == 0.0:
            a[MARGIN, i] += a[FREE, i]
            a[FREE, i] = 0.0
        who[found, 0], who[found, 1] = i, orders[g]
        flow += orders[g]
        found += 1
    if found > 0:
        fill(a, s, bounds, tiers, p, maker, who, found, flow, row)


@jit
def record(a: Floats, s: Floats, p: Rules, maker: int, outside: Floats, row: Floats) -> None:
    row[T_CLOSE], row[M_CLOSE], row[I_CLOSE] = s[LAST], s[MARK], index_price(s)
    row[PREM] = impact_premium(s, p)
    row[OI] = s[LONG]
    depth = displayed_depth(a, s, p, maker)
    lean = 0.3 * np.tanh(a[Q, maker] / p.inventory)
    row[DEPTH_BID], row[DEPTH_ASK] = depth * (1.0 - lean), depth * (1.0 + lean)
    row[FUND_BALANCE] = s[INSURANCE]
    row[SIGMA] = outside[VOLATILITY]


@jit
def pay_funding(a: Floats, s: Floats, bounds: Floats, tiers: Floats, p: Rules, rate: float, price: float) -> float:
    """A settlement: longs pay shorts where the rate is positive. What was paid."""
    paid = 0.0
    for i in range(a.shape[1]):
        q = a[Q, i]
        if q != 0.0:
            amount = q * price * rate
            a[MARGIN, i] -= amount
            a[FUNDING_PAID, i] += amount
            paid += max(amount, 0.0)
    set_all_levels(a, bounds, tiers, p, s[MARK])
    return paid
