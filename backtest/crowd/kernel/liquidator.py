"""The liquidation engine: who is forced, by the venue's policy, in waves until nothing more is triggered.

One wave:

1. Accounts whose balance is no more than maintenance at the mark, or whose stop is met at the trade price, are
   collected in the order of their numbers. Orders for the book until they are `wave_cap` of its depth: the one that
   reaches it still goes, the others wait for the next wave.
2. A reduction first, where the venue has one: a part goes to the book as a market order. Else the whole position: to
   the book, and the account keeps what is left (market), or to the venue, which takes it over at its bankruptcy price
   with the margin that is left (takeover; anywhere a balance below the backstop or below zero). The book is not needed
   for that.
3. Where the fund with what the venue holds is worth nothing at the mark, or has fallen too far from its peak, all that
   the venue holds is closed against winners: ADL.
4. The venue sells what it still holds: at most `wave_cap` of the depth in a wave, and `engine_rate` of it in a tick.
   What it makes or loses is the insurance fund's.
5. All orders of a wave are one flow: filled at one price for buyers and one for sellers, and the price moves.
"""

from __future__ import annotations

import numpy as np

from backtest.crowd.kernel.book import (
    displayed_depth,
    exchange,
    fill_price,
    move_of,
    pay_fee,
    push,
    release,
)
from backtest.crowd.kernel.compile import jit
from backtest.crowd.kernel.deleverage import allocate, loss_per_unit_at, scores
from backtest.crowd.kernel.layout import (
    ADL,
    ADL_EVENT,
    BAD_DEBT,
    BLOCK,
    BOUGHT,
    DOWN,
    E_ACCOUNT,
    E_BANKRUPT,
    E_EQUITY,
    E_EXTRA,
    E_KIND,
    E_MARK,
    E_PRICE,
    E_QUANTITY,
    E_STEP,
    ENTRY,
    EVENTS,
    FEES,
    FEES_PAID,
    FORCED,
    FUND_LOW,
    INSURANCE,
    LAST,
    LAST_WAVE,
    LIQ_LONG,
    LIQ_SHORT,
    LIQUIDATION_EVENT,
    LONG,
    MARGIN,
    MARK,
    MET,
    N_WAVES,
    PEAK_FUND,
    REDUCE_FRACTION,
    REDUCE_NONE,
    REDUCE_TIER,
    REDUCED,
    SOLD,
    STAKE,
    STEP,
    STOP,
    STOPPED,
    T_HIGH,
    T_LOW,
    TICK_NUMBER,
    UP,
    WAVE_EVENT,
    Floats,
    Q,
    Rules,
)
from backtest.crowd.kernel.levels import balance, breached, draw_in, equity, set_levels
from backtest.margin import kept_after_reduction, maintenance

MOST_WAVES = 400  # of one tick; what is left is met in the next
WORTHWHILE = 0.99
NOTHING = 1e-9  # part of the open interest that is not worth an order
TAKEN, SENT, STOPPED_OUT = 1.0, 2.0, 3.0


@jit
def note(
    s: Floats, events: Floats, kind: int, i: int, quantity: float, price: float, extra: float, bust: float
) -> None:
    at = int(s[EVENTS])
    if at < len(events):
        row = events[at]
        row[E_STEP], row[E_KIND], row[E_ACCOUNT], row[E_QUANTITY] = s[STEP], kind, i, quantity
        row[E_PRICE], row[E_MARK], row[E_BANKRUPT], row[E_EXTRA] = price, s[MARK], bust, extra
        row[E_EQUITY] = 0.0
    s[EVENTS] += 1.0


@jit
def part_first(a: Floats, s: Floats, i: int, tiers: Floats, p: Rules) -> float:
    """Coins that go before the rest, unsigned; 0: the whole position goes."""
    q, mark = abs(a[Q, i]), s[MARK]
    if p.reduction == REDUCE_NONE:
        return 0.0
    if p.reduction == REDUCE_FRACTION:
        if q * mark <= p.reduction_above or a[REDUCED, i] == s[STEP]:
            return 0.0
        return q * p.reduction_fraction
    down = 1 if p.reduction == REDUCE_TIER else 2
    return q - kept_after_reduction(tiers, 0, len(tiers), q, mark, down, WORTHWHILE)


@jit
def collect(
    a: Floats, s: Floats, bounds: Floats, tiers: Floats, p: Rules, who: Floats, budget: float
) -> tuple[int, float]:
    """Rows of `who`: account, coins to trade (signed), how. At most so many coins for the book in one wave."""
    found, flow = 0, 0.0
    low, high = min(s[LAST], s[MARK]), max(s[LAST], s[MARK])
    for block in range(bounds.shape[1]):
        if bounds[0, block] < low and bounds[1, block] > high:
            continue
        for i in range(block * BLOCK, min((block + 1) * BLOCK, a.shape[1])):
            if (a[DOWN, i] < low and a[UP, i] > high) or a[Q, i] == 0.0:
                continue
            q = a[Q, i]
            if breached(a, i, tiers, p, s[MARK]):
                left = balance(a, i, s[MARK])
                part = part_first(a, s, i, tiers, p)
                below = left < p.backstop * maintenance(tiers, 0, len(tiers), p.closing_fee, abs(q) * s[MARK])
                if left <= 0.0 or below or (p.takeover == 1 and part == 0.0):
                    how, dq = TAKEN, -q
                else:
                    how = SENT
                    dq = -q if part == 0.0 else (-part if q > 0.0 else part)
            elif (q > 0.0 and s[LAST] <= a[STOP, i]) or (q < 0.0 and s[LAST] >= a[STOP, i]):
                how, dq = STOPPED_OUT, -q
            else:
                continue
            if a[MET, i] != s[TICK_NUMBER]:
                a[MET, i] = s[TICK_NUMBER]
                s[LAST_WAVE] += abs(q) * s[LAST]
            if how != TAKEN:
                if flow > budget:
                    continue
                flow += abs(dq)
            who[found, 0], who[found, 1], who[found, 2] = i, dq, how
            found += 1
        draw_in(a, bounds, block)
    return found, flow


@jit
def take_over(
    a: Floats, s: Floats, bounds: Floats, tiers: Floats, p: Rules,
    i: int, engine: int, events: Floats, row: Floats,
) -> None:  # fmt: skip
    """The venue gets the position at its bankruptcy price: nothing of the margin is left, and nothing is owed."""
    q = a[Q, i]
    bust = a[ENTRY, i] - a[MARGIN, i] / q
    count_liquidation(s, row, q, s[MARK])
    exchange(a, s, i, engine, -q, bust)
    s[INSURANCE] += a[MARGIN, i]  # nothing but rounding
    a[MARGIN, i] = 0.0
    release(a, s, i)
    a[STAKE, i] *= 0.5
    set_levels(a, bounds, i, tiers, p, s[MARK])
    note(s, events, LIQUIDATION_EVENT, i, q, bust, s[LAST], bust)


@jit
def count_liquidation(s: Floats, row: Floats, q: float, price: float) -> None:
    notional = abs(q) * price
    row[LIQ_LONG if q > 0.0 else LIQ_SHORT] += notional
    s[FORCED] += notional


@jit
def deleverage(
    a: Floats, s: Floats, bounds: Floats, tiers: Floats, p: Rules,
    engine: int, events: Floats, row: Floats,
) -> None:  # fmt: skip
    """Close what the venue holds against winners of the other side, at the price that the fund can pay."""
    q = a[Q, engine]
    mark, entry = s[MARK], a[ENTRY, engine]
    loss = q * (entry - mark)
    price = mark if p.adl_at_mark == 1 and loss <= max(s[INSURANCE], 0.0) else entry
    count = 0
    for i in range(a.shape[1]):
        if a[Q, i] * q < 0.0:
            count += 1
    if count == 0:
        return
    index, size, entries = np.empty(count, np.int64), np.empty(count), np.empty(count)
    profit, worth, keep = np.empty(count), np.empty(count), np.empty(count)
    count = 0
    for i in range(a.shape[1]):
        if a[Q, i] * q < 0.0:
            index[count], size[count], entries[count] = i, abs(a[Q, i]), a[ENTRY, i]
            profit[count] = a[Q, i] * (mark - a[ENTRY, i])
            worth[count] = equity(a, i, mark)
            keep[count] = maintenance(tiers, 0, len(tiers), p.closing_fee, size[count] * mark)
            count += 1
    side = 1 if q < 0.0 else -1
    rank = scores(p.adl_ranking, mark, side, size, entries, worth, keep, int(s[STEP]) % count)
    loss_each = loss_per_unit_at(price, mark, -side)
    taken = allocate(p.adl_policy, abs(q), loss_each, size, profit, worth, rank, p.adl_cap)
    for k in range(count):
        coins = min(taken[k], abs(a[Q, engine]))
        if coins <= 0.0:
            continue
        i = index[k]
        dq = side * -coins
        leverage = size[k] * mark / worth[k] if worth[k] > 0.0 else np.inf
        exchange(a, s, i, engine, dq, price)
        release(a, s, i)
        set_levels(a, bounds, i, tiers, p, mark)
        row[ADL] += coins * mark
        at_row = int(s[EVENTS])
        note(s, events, ADL_EVENT, i, -dq, price, leverage, profit[k] / max(worth[k], 1.0))
        if at_row < len(events):
            events[at_row, E_EQUITY] = worth[k]
    settle_engine(a, s, engine)


@jit
def trim(a: Floats, who: Floats, found: int) -> None:
    """Orders of accounts that were deleveraged in this very wave: never more than what is left of the position."""
    for k in range(found):
        q = a[Q, int(who[k, 0])]
        if who[k, 2] != TAKEN and abs(who[k, 1]) > abs(q):
            who[k, 1] = -q


@jit
def settle_engine(a: Floats, s: Floats, engine: int) -> None:
    """What the venue made or lost is the fund's."""
    s[INSURANCE] += a[MARGIN, engine]
    a[MARGIN, engine] = 0.0


@jit
def fund_worth(a: Floats, s: Floats, engine: int) -> float:
    return s[INSURANCE] + a[MARGIN, engine] + a[Q, engine] * (s[MARK] - a[ENTRY, engine])


@jit
def must_deleverage(a: Floats, s: Floats, p: Rules, engine: int) -> bool:
    if a[Q, engine] == 0.0:
        return False
    worth = fund_worth(a, s, engine)
    return worth <= 0.0 or worth < (1.0 - p.adl_fall) * s[PEAK_FUND]


@jit
def force(
    a: Floats, s: Floats, bounds: Floats, tiers: Floats, p: Rules, maker: int, engine: int, who: Floats,
    events: Floats, row: Floats,
) -> None:  # fmt: skip
    """All waves of one tick."""
    s[TICK_NUMBER] += 1.0
    to_sell = p.engine_rate * displayed_depth(a, s, p, maker)
    for wave in range(MOST_WAVES):
        budget = p.wave_cap * displayed_depth(a, s, p, maker) / s[LAST]
        s[LAST_WAVE] = 0.0
        found, _ = collect(a, s, bounds, tiers, p, who, budget)
        for k in range(found):
            if who[k, 2] == TAKEN:
                take_over(a, s, bounds, tiers, p, int(who[k, 0]), engine, events, row)
        met = False
        row[FUND_LOW] = min(row[FUND_LOW], fund_worth(a, s, engine))
        if must_deleverage(a, s, p, engine):
            deleverage(a, s, bounds, tiers, p, engine, events, row)
            trim(a, who, found)
            met = a[Q, engine] == 0.0
        engine_dq = 0.0
        if a[Q, engine] != 0.0 and to_sell > 0.0:
            coins = min(abs(a[Q, engine]), min(budget, to_sell / s[LAST]))
            engine_dq = -coins if a[Q, engine] > 0.0 else coins
            to_sell -= coins * s[LAST]
        if found == 0 and abs(engine_dq) <= NOTHING * s[LONG]:
            if met:  # what winners lost may leave one of them in breach
                continue
            break
        sent = send(a, s, bounds, tiers, p, maker, engine, who, found, engine_dq, events, row)
        row[N_WAVES] += 1.0
        note(s, events, WAVE_EVENT, wave, s[LAST_WAVE], s[LAST], sent, 0.0)
    row[FUND_LOW] = min(row[FUND_LOW], fund_worth(a, s, engine))
    settle_engine(a, s, engine)
    if s[INSURANCE] < 0.0 and a[Q, engine] == 0.0:  # the venue pays from its own fees
        s[BAD_DEBT] -= s[INSURANCE]
        s[FEES] += s[INSURANCE]
        s[INSURANCE] = 0.0
    s[PEAK_FUND] = max(s[PEAK_FUND], s[INSURANCE])


@jit
def send(
    a: Floats, s: Floats, bounds: Floats, tiers: Floats, p: Rules, maker: int, engine: int, who: Floats, found: int,
    engine_dq: float, events: Floats, row: Floats,
) -> float:  # fmt: skip
    """The orders of one wave through the book; their notional, both sides."""
    flow = engine_dq
    bought, sold = max(engine_dq, 0.0), max(-engine_dq, 0.0)
    for k in range(found):
        if who[k, 2] != TAKEN:
            flow += who[k, 1]
            bought += max(who[k, 1], 0.0)
            sold += max(-who[k, 1], 0.0)
    move = move_of(a, s, p, maker, flow * s[LAST])
    to_buyers, to_sellers = fill_price(s, p, move, True), fill_price(s, p, move, False)
    row[BOUGHT] += bought
    row[SOLD] += sold
    if engine_dq != 0.0:
        exchange(a, s, engine, maker, engine_dq, to_buyers if engine_dq > 0.0 else to_sellers)
    for k in range(found):
        if who[k, 2] == TAKEN or who[k, 1] == 0.0:
            continue
        i, dq, how = int(who[k, 0]), who[k, 1], who[k, 2]
        q = a[Q, i]
        price = to_buyers if dq > 0.0 else to_sellers
        bust = a[ENTRY, i] - a[MARGIN, i] / q
        exchange(a, s, i, maker, dq, price)
        notional = abs(dq) * price
        if how == SENT:
            count_liquidation(s, row, -dq, price)
            note(s, events, LIQUIDATION_EVENT, i, -dq, price, price, bust)
            fee = min(p.liquidation_fee * notional, max(a[MARGIN, i], 0.0))
            a[MARGIN, i] -= fee
            a[FEES_PAID, i] += fee
            s[INSURANCE] += fee
            a[REDUCED, i] = s[STEP]
            a[STAKE, i] *= 0.5
        else:
            row[STOPPED] += notional
            pay_fee(a, s, i, p.taker_fee * notional)
            a[STAKE, i] *= 0.9
        release(a, s, i)
        set_levels(a, bounds, i, tiers, p, s[MARK])
    push(s, p, move, flow * s[LAST])
    row[T_LOW] = min(row[T_LOW], s[LAST])
    row[T_HIGH] = max(row[T_HIGH], s[LAST])
    return float((bought + sold) * s[LAST])
