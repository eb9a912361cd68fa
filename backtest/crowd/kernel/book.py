"""The book and the prices: how deep it is, what a flow does to the price, who takes the other side.

1. Depth (quote currency within 1 %) is thinned as the engine's costs thin it: by moves of many standard deviations and
   by what was liquidated lately, the larger of the two; by the makers' inventory; and by what orders have just eaten,
   until it refills: nine tenths of what there is at most, and never below half of the thinnest book.
2. A flow F moves the price by F / depth x 1 %, and is filled at the middle of its own move. Arbitrage passes a part of
   the move on to the index; the rest is premium.
3. Buyers of value stand behind the displayed book: the further flow has pushed the price from the fundamental, the more
   they take. Without them a thin book would have no bottom.
4. The makers are the other side of every trade. They hand their inventory on to arbitrage.
"""

from __future__ import annotations

import numpy as np

from backtest.crowd.kernel.compile import jit
from backtest.crowd.kernel.layout import (
    ARBITRAGE,
    BASIS,
    BASIS_MARK,
    EATEN,
    ENTRY,
    FEES,
    FEES_PAID,
    FORCED,
    FREE,
    FUNDAMENTAL,
    INDEX_MARK,
    INSURANCE,
    KIND,
    LAST,
    LONG,
    MAKER,
    MARGIN,
    MARK,
    PREMIUM,
    PRESSURE,
    RATE,
    THIN,
    TO_FUNDING,
    Floats,
    Q,
    Rules,
)

LARGEST_MOVE = 0.2  # log, of one flow
LARGEST_PREMIUM = 1.0  # log, that inventory alone can hold
EATS = 0.25  # part of a flow that is missing in the book afterwards
THINNEST = 2.0  # the book never has less than its floor over this


@jit
def index_price(s: Floats) -> float:
    return float(np.exp(s[FUNDAMENTAL] + s[PRESSURE]))


@jit
def reprice(s: Floats, p: Rules) -> None:
    """Trade and mark price from index and premium."""
    index = index_price(s)
    s[LAST] = index * np.exp(s[PREMIUM])
    if p.mark_kind == INDEX_MARK:
        s[MARK] = index
        return
    by_basis = index * np.exp(s[BASIS])
    if p.mark_kind == BASIS_MARK:
        s[MARK] = by_basis
        return
    by_funding = index * (1.0 + s[RATE] * s[TO_FUNDING])
    low, high = min(by_basis, by_funding), max(by_basis, by_funding)
    s[MARK] = min(max(s[LAST], low), high)


@jit
def thinned(s: Floats, p: Rules) -> float:
    """1 + how much the book is thinned."""
    forced = p.thin_liquidations * s[FORCED] / p.depth
    return 1.0 + min(max(s[THIN], forced), p.thin_most)


@jit
def displayed_depth(a: Floats, s: Floats, p: Rules, maker: int) -> float:
    """What a snapshot of the book shows within 1 %, one side."""
    carried = a[Q, maker] / p.inventory
    quiet = p.depth / (thinned(s, p) * (1.0 + carried * carried))
    return max(quiet - s[EATEN], 0.1 * quiet, p.depth / (1.0 + p.thin_most) / THINNEST)


@jit
def depth_against(a: Floats, s: Floats, p: Rules, maker: int, flow: float) -> float:
    """What stands against a flow: the book, and behind it those who find the price too far off."""
    away = s[PRESSURE] + s[PREMIUM]
    pushed = away if flow > 0.0 else -away
    behind = 0.0
    if pushed > 0.0:
        behind = p.depth * (pushed / p.value_distance) ** 2
    return displayed_depth(a, s, p, maker) + behind


@jit
def move_of(a: Floats, s: Floats, p: Rules, maker: int, flow: float) -> float:
    """Log move of the price that a flow (quote currency, signed) makes."""
    if flow == 0.0:
        return 0.0
    move = 0.01 * flow / depth_against(a, s, p, maker, flow)
    return min(max(move, -LARGEST_MOVE), LARGEST_MOVE)


@jit
def fill_price(s: Floats, p: Rules, move: float, buys: bool) -> float:
    """The middle of the move, and half the spread, wider in a thin book."""
    half = min(p.half_spread * thinned(s, p), 0.01)
    middle = s[LAST] * np.exp(0.5 * move)
    return middle * (1.0 + half) if buys else middle * (1.0 - half)


@jit
def push(s: Floats, p: Rules, move: float, flow: float) -> None:
    """The price after a flow. What stays of it is in proportion to the flow, so that the way back undoes it."""
    index_part = p.to_index * move
    stays = p.permanent * min(max(0.01 * flow / p.depth, -LARGEST_MOVE), LARGEST_MOVE)
    s[PREMIUM] += move - index_part
    s[FUNDAMENTAL] += stays
    s[PRESSURE] += index_part - stays
    s[EATEN] += EATS * abs(flow)
    reprice(s, p)


@jit
def trade(a: Floats, i: int, dq: float, price: float) -> None:
    """One account's side of a trade. Money that a flat account has lies outside."""
    q = a[Q, i]
    after = q + dq
    if q * dq >= 0.0:
        a[ENTRY, i] = (q * a[ENTRY, i] + dq * price) / after if after != 0.0 else 0.0
    else:
        closed = -dq if abs(dq) <= abs(q) else q
        a[MARGIN, i] += closed * (price - a[ENTRY, i])
        if abs(after) <= 1e-12 * abs(q):
            after = 0.0
        if after == 0.0 or after * q < 0.0:
            a[ENTRY, i] = price if after != 0.0 else 0.0
    a[Q, i] = after


@jit
def exchange(a: Floats, s: Floats, i: int, j: int, dq: float, price: float) -> None:
    """Account i gets dq coins from account j."""
    before = max(a[Q, i], 0.0) + max(a[Q, j], 0.0)
    held_i = a[Q, i]
    trade(a, i, dq, price)
    trade(a, j, held_i - a[Q, i], price)
    s[LONG] += max(a[Q, i], 0.0) + max(a[Q, j], 0.0) - before


@jit
def pay_fee(a: Floats, s: Floats, i: int, fee: float) -> float:
    """From the free money first, then from the margin. What is paid."""
    from_free = min(fee, max(a[FREE, i], 0.0))
    a[FREE, i] -= from_free
    from_margin = fee - from_free
    a[MARGIN, i] -= from_margin
    s[FEES] += from_free + from_margin
    a[FEES_PAID, i] += fee
    return fee


@jit
def release(a: Floats, s: Floats, i: int) -> None:
    """A flat account's margin is free money again; what it lacks the fund pays. Dealers stand with all their money."""
    if a[Q, i] != 0.0:
        return
    if a[MARGIN, i] < 0.0 and a[KIND, i] != MAKER and a[KIND, i] != ARBITRAGE:
        s[INSURANCE] += a[MARGIN, i]
        a[MARGIN, i] = 0.0
    a[FREE, i] += a[MARGIN, i]
    a[MARGIN, i] = 0.0
