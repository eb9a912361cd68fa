"""Orders: from a decision to a queue, to a working order, to fills at the open.

`fill_batch` is step 3 of docs/engine.md for the orders that `O_DQ` of each leg names: refusals, reductions, one scale
for all increases, the liquidation test, fills. A resting limit that is met inside a bar is a batch of one.
"""

from __future__ import annotations

import numpy as np

from backtest.jit import jit
from backtest.kernel.cash import close_some, isolated_margins, lots, open_more, price_with_cost, refuse
from backtest.kernel.layout import (
    ANCHOR,
    BAR_HOURS,
    CLOSE,
    CLOSING_FEE,
    COLLATERAL,
    D_DUE,
    D_LEV,
    D_LIMIT,
    D_Q,
    D_STOP,
    D_TAKE,
    D_TARGET,
    D_TRAIL,
    D_TTL,
    DELAY,
    EQUITY,
    FILLED,
    KIND,
    LAST_BAR,
    LEV,
    LEVERAGE,
    LOT,
    MAKER,
    MARGIN,
    MARK_CLOSE,
    MARK_OPEN,
    MIN_NOTIONAL,
    MODE,
    NEXT_DUE,
    O_CAPPED,
    O_DQ,
    O_FEE,
    O_INCREASE,
    O_MARK,
    O_PRICE,
    O_REFERENCE,
    O_REFUSED,
    O_SCALED,
    O_WHY,
    OPEN,
    PAIR,
    PARTICIPATION,
    PRESENT,
    QUEUE,
    QUEUED,
    R_DELAY,
    R_LIMIT,
    R_STOP,
    R_TAKE,
    R_TRAIL,
    R_TTL,
    SCALED,
    SHORTFALL,
    SLOT,
    SLOTS,
    STOP,
    T_COUNT,
    T_FIRST,
    TAKE,
    TAKER,
    TICK,
    TRAIL,
    VOLUME,
    W_KIND,
    W_LAST,
    W_LEV,
    W_LIMIT,
    W_Q,
    W_STOP,
    W_TAKE,
    W_TARGET,
    W_TRAIL,
    WALLET,
    Floats,
    Q,
)
from backtest.kernel.ruin import cross_balance, cross_maintenance, maintenance_of, still_to_do, unrealised
from backtest.margin import MAX_LEVERAGE, maintenance, size_at, tier_of, value_at
from backtest.prepare import INVERSE, ISOLATED, REJECT, SPOT
from backtest.records import Refusal, Why

SHORT_SPOT = int(Refusal.SHORT_SPOT)
TOO_SMALL = int(Refusal.TOO_SMALL)
TOO_MUCH_LEVERAGE = int(Refusal.LEVERAGE)
NO_MARGIN = int(Refusal.MARGIN)
WOULD_LIQUIDATE = int(Refusal.LIQUIDATION)
PAIR_REFUSED = int(Refusal.PAIR)
MARKET_FILL = int(Why.MARKET)
LIMIT_FILL = int(Why.LIMIT)

NONE, WORKS, RESTS = 0.0, 1.0, 2.0
FINE, SILENT = -1, -2
HOLD = 1e300
FOREVER = 1e18
FITS = 1.0 + 1e-9
HARDLY = 1e-9  # of what was wanted: nothing


@jit
def tick_down(price: float, tick: float) -> float:
    return price if tick <= 0.0 else np.floor(price / tick + 1e-9) * tick


@jit
def tick_up(price: float, tick: float) -> float:
    return price if tick <= 0.0 else np.ceil(price / tick - 1e-9) * tick


@jit
def reserved(res: Floats, s: int, feat: Floats, r: int, k: int, i: int) -> float:
    """A reserved input (stop_loss, ...) at the bar of the decision; NaN: none."""
    column = int(res[s, r, 1])
    value = res[s, r, 0] if column < 0 else feat[column, i, k]
    return value if value < np.inf else np.nan


@jit
def waits(acc: Floats, leg: Floats, k: int) -> bool:
    """Whether an order of this symbol is not due yet."""
    if acc[QUEUED] == 0.0:
        return False
    for d in range(int(acc[SLOTS])):
        if leg[k, QUEUE + d * SLOT + D_DUE] >= 0.0:
            return True
    return False


@jit
def queue_order(acc: Floats, leg: Floats, feat: Floats, res: Floats, s: int, k: int, i: int, target: float) -> None:
    """The decision of bar i becomes an order due at bar i + 1 + delay."""
    q = leg[k, Q]
    if target == 0.0 and q == 0.0 and leg[k, W_KIND] == NONE and not waits(acc, leg, k):
        return
    if 0.0 <= leg[k, LAST_BAR] <= i:
        return
    inverse = leg[k, KIND] == INVERSE
    wanted = target * acc[EQUITY] / size_at(leg[k, MARK_CLOSE], inverse) if target != 0.0 else 0.0
    own = reserved(res, s, feat, R_DELAY, k, i)
    due = i + 1 + int(acc[DELAY]) + (int(own) if own > 0.0 else 0)
    d = due % int(acc[SLOTS])
    if leg[k, QUEUE + d * SLOT + D_DUE] < 0.0:
        acc[QUEUED] += 1.0
    limit = np.nan
    offset = reserved(res, s, feat, R_LIMIT, k, i)
    if offset >= 0.0:
        close = leg[k, CLOSE]
        if wanted >= q:
            limit = tick_down(close * (1.0 - offset), leg[k, TICK])
        else:
            limit = tick_up(close * (1.0 + offset), leg[k, TICK])
    leg[k, QUEUE + d * SLOT + D_DUE] = due
    leg[k, QUEUE + d * SLOT + D_Q] = wanted
    leg[k, QUEUE + d * SLOT + D_LIMIT] = limit
    leg[k, QUEUE + d * SLOT + D_TTL] = reserved(res, s, feat, R_TTL, k, i)
    leg[k, QUEUE + d * SLOT + D_LEV] = acc[LEVERAGE] if acc[LEVERAGE] > 0.0 else max(1.0, abs(target))
    leg[k, QUEUE + d * SLOT + D_STOP] = reserved(res, s, feat, R_STOP, k, i)
    leg[k, QUEUE + d * SLOT + D_TAKE] = reserved(res, s, feat, R_TAKE, k, i)
    leg[k, QUEUE + d * SLOT + D_TRAIL] = reserved(res, s, feat, R_TRAIL, k, i)
    leg[k, QUEUE + d * SLOT + D_TARGET] = target
    acc[NEXT_DUE] = min(acc[NEXT_DUE], due)


@jit
def take_due(acc: Floats, leg: Floats, i: int) -> None:
    """Orders due at this bar replace the working ones."""
    if acc[NEXT_DUE] > i:
        return
    nearest = FOREVER
    for k in range(len(leg)):
        for d in range(int(acc[SLOTS])):
            due = leg[k, QUEUE + d * SLOT + D_DUE]
            if due < 0.0:
                continue
            if due > i:
                nearest = min(nearest, due)
                continue
            leg[k, QUEUE + d * SLOT + D_DUE] = -1.0
            acc[QUEUED] -= 1.0
            limit = leg[k, QUEUE + d * SLOT + D_LIMIT]
            leg[k, W_KIND] = RESTS if limit == limit else WORKS
            leg[k, W_LIMIT] = limit
            ttl = leg[k, QUEUE + d * SLOT + D_TTL]
            leg[k, W_LAST] = due + ttl - 1.0 if ttl >= 1.0 else FOREVER
            leg[k, W_Q] = leg[k, QUEUE + d * SLOT + D_Q]
            leg[k, W_LEV] = leg[k, QUEUE + d * SLOT + D_LEV]
            leg[k, W_STOP] = leg[k, QUEUE + d * SLOT + D_STOP]
            leg[k, W_TAKE] = leg[k, QUEUE + d * SLOT + D_TAKE]
            leg[k, W_TRAIL] = leg[k, QUEUE + d * SLOT + D_TRAIL]
            leg[k, W_TARGET] = leg[k, QUEUE + d * SLOT + D_TARGET]
    acc[NEXT_DUE] = nearest


@jit
def to_do(leg: Floats, k: int) -> float:
    """What the working order still has to buy or sell."""
    return still_to_do(leg, k, leg[k, W_Q])


@jit
def capped(acc: Floats, leg: Floats, k: int, dq: float) -> float:
    """At most the part of this bar's volume that the account may take."""
    if acc[PARTICIPATION] <= 0.0:
        return dq
    whole = lots(acc[PARTICIPATION] * leg[k, VOLUME], leg[k, LOT])
    most = lots(max(0.0, whole - leg[k, FILLED]), leg[k, LOT])
    if most <= HARDLY * whole:
        return 0.0
    if abs(dq) <= most:
        return dq
    some = most if dq > 0.0 else -most
    return -leg[k, Q] if abs(leg[k, Q] + some) <= HARDLY * leg[k, LOT] else some


@jit
def refusal_of(acc: Floats, leg: Floats, tie: Floats, k: int, dq: float, price: float) -> int:
    """Why an order cannot be; FINE, or SILENT where it is dropped without a word."""
    q = leg[k, Q]
    after = q + dq
    if (dq < 0.0 < q and after >= 0.0) or (dq > 0.0 > q and after <= 0.0):
        return FINE
    if leg[k, KIND] == SPOT and after < -1e-12:
        return SHORT_SPOT
    n = size_at(price, leg[k, KIND] == INVERSE)
    if dq == 0.0 or abs(dq) * n < leg[k, MIN_NOTIONAL]:
        return SILENT if q * after > 0.0 else TOO_SMALL
    if leg[k, KIND] != SPOT and leg[k, T_COUNT] > 0.0:
        row = tier_of(tie, int(leg[k, T_FIRST]), int(leg[k, T_COUNT]), abs(after) * n)
        if leg[k, W_LEV] > tie[row, MAX_LEVERAGE]:
            return TOO_MUCH_LEVERAGE
    if acc[SHORTFALL] == REJECT:
        carried = 1.0 if leg[k, KIND] == SPOT else leg[k, W_LEV]
        if abs(leg[k, W_TARGET]) / carried > 1.0 + 1e-9:
            return NO_MARGIN
    return FINE


@jit
def drop(acc: Floats, leg: Floats, k: int, bar: int, why: int, quantity: float, log: Floats) -> None:
    if why >= 0:
        refuse(acc, k, bar, why, leg[k, W_TARGET], quantity, log)
    leg[k, W_KIND] = NONE
    leg[k, O_DQ] = 0.0


@jit
def open_orders(acc: Floats, leg: Floats, tie: Floats, bar: int, log: Floats) -> None:
    """Step 3: everything that is due or works, at the open."""
    some, none = False, False
    for k in range(len(leg)):
        leg[k, O_DQ] = 0.0
        leg[k, O_INCREASE] = 0.0
        leg[k, O_REFUSED] = 0.0
        leg[k, O_MARK] = leg[k, MARK_OPEN]
        if leg[k, W_KIND] == NONE or leg[k, PRESENT] == 0.0:
            continue
        whole = to_do(leg, k)
        if whole == 0.0:
            q = leg[k, Q]
            flat_and_wanted = q == 0.0 and leg[k, W_Q] != 0.0
            drop(acc, leg, k, bar, TOO_SMALL if flat_and_wanted else SILENT, 0.0, log)
            if flat_and_wanted:
                leg[k, O_REFUSED] = 1.0
                none = True
            continue
        dq = capped(acc, leg, k, whole)
        if dq == 0.0:
            continue
        price = price_with_cost(acc, leg, k, dq, leg[k, OPEN])
        if leg[k, W_KIND] == RESTS:
            limit = leg[k, W_LIMIT]
            if (dq > 0.0 and price > limit) or (dq < 0.0 and price < limit):
                continue
        leg[k, O_DQ] = dq
        leg[k, O_CAPPED] = 1.0 if dq != whole else 0.0
        leg[k, O_PRICE] = price
        leg[k, O_REFERENCE] = leg[k, OPEN]
        leg[k, O_FEE] = acc[TAKER]
        leg[k, O_WHY] = MARKET_FILL
        some = True
    if some:
        fill_batch(acc, leg, tie, bar, log)
    elif none:
        refuse_partners(acc, leg, bar, log)


@jit
def fill_limit(acc: Floats, leg: Floats, tie: Floats, k: int, bar: int, mark: float, log: Floats) -> None:
    """A resting limit that was traded through. False: it could not fill more in this bar."""
    for j in range(len(leg)):
        leg[j, O_DQ] = 0.0
        leg[j, O_INCREASE] = 0.0
        leg[j, O_REFUSED] = 0.0
        leg[j, O_MARK] = leg[j, MARK_OPEN]
    leg[k, O_MARK] = mark
    whole = to_do(leg, k)
    if whole == 0.0:
        q = leg[k, Q]
        drop(acc, leg, k, bar, TOO_SMALL if q == 0.0 and leg[k, W_Q] != 0.0 else SILENT, 0.0, log)
        return
    dq = capped(acc, leg, k, whole)
    if dq == 0.0:
        return
    leg[k, O_DQ] = dq
    leg[k, O_CAPPED] = 1.0 if dq != whole else 0.0
    leg[k, O_PRICE] = leg[k, W_LIMIT]
    leg[k, O_REFERENCE] = leg[k, W_LIMIT]
    leg[k, O_FEE] = acc[MAKER]
    leg[k, O_WHY] = LIMIT_FILL
    fill_batch(acc, leg, tie, bar, log)


@jit
def fill_batch(acc: Floats, leg: Floats, tie: Floats, bar: int, log: Floats) -> None:
    refuse_some(acc, leg, tie, bar, log)
    reduce_first(acc, leg, bar, log)
    if scale_increases(acc, leg, bar, log):
        refuse_doomed(acc, leg, tie, bar, log)
        fill_increases(acc, leg, bar, log)
    for k in range(len(leg)):
        if leg[k, O_DQ] != 0.0:
            leg[k, O_DQ] = 0.0
            if leg[k, O_CAPPED] == 0.0 or to_do(leg, k) == 0.0:
                leg[k, W_KIND] = NONE


@jit
def refuse_some(acc: Floats, leg: Floats, tie: Floats, bar: int, log: Floats) -> None:
    for k in range(len(leg)):
        dq = leg[k, O_DQ]
        leg[k, O_SCALED] = 0.0
        leg[k, O_INCREASE] = dq
        if dq == 0.0:
            continue
        why = refusal_of(acc, leg, tie, k, dq, leg[k, O_PRICE])
        if why != FINE:
            drop(acc, leg, k, bar, why, dq, log)
            if why >= 0:
                leg[k, O_REFUSED] = 1.0
    refuse_partners(acc, leg, bar, log)


@jit
def refuse_partners(acc: Floats, leg: Floats, bar: int, log: Floats) -> None:
    """The other leg of a pair whose first was refused; what it has reduced already stays."""
    for k in range(len(leg)):
        other = int(leg[k, PAIR])
        if other < 0 or leg[other, O_REFUSED] == 0.0 or (leg[k, W_KIND] == NONE and leg[k, O_DQ] == 0.0):
            continue
        dq = leg[k, O_DQ]
        if dq != 0.0 and leg[k, O_INCREASE] == 0.0:
            continue
        drop(acc, leg, k, bar, PAIR_REFUSED, leg[k, O_INCREASE] if dq != 0.0 else to_do(leg, k), log)
    for k in range(len(leg)):
        leg[k, O_REFUSED] = 0.0


@jit
def reduce_first(acc: Floats, leg: Floats, bar: int, log: Floats) -> None:
    for k in range(len(leg)):
        dq = leg[k, O_DQ]
        q = leg[k, Q]
        leg[k, O_INCREASE] = dq
        if dq == 0.0 or dq * q >= 0.0:
            continue
        part = dq if abs(dq) <= abs(q) else -q
        leg[k, O_INCREASE] = dq - part if part != dq else 0.0
        why = int(leg[k, O_WHY])
        close_some(
            acc, leg, k, bar, why, part, leg[k, O_PRICE], leg[k, O_REFERENCE], leg[k, O_FEE], acc[BAR_HOURS],
            log,
        )  # fmt: skip
        leg[k, FILLED] += abs(part)


@jit
def need_of(leg: Floats, k: int) -> float:
    """What an increase takes: margin, or the price of spot, and the fee."""
    notional = abs(leg[k, O_INCREASE]) * size_at(leg[k, O_PRICE], leg[k, KIND] == INVERSE)
    return notional * ((1.0 if leg[k, KIND] == SPOT else 1.0 / leg[k, W_LEV]) + leg[k, O_FEE])


@jit
def scale_increases(acc: Floats, leg: Floats, bar: int, log: Floats) -> bool:
    """One factor for all increases, so that they fit together. False: there is none."""
    need, need_cash = 0.0, 0.0
    for k in range(len(leg)):
        if leg[k, O_DQ] == 0.0 or leg[k, O_INCREASE] == 0.0:
            continue
        part = need_of(leg, k)
        need += part
        if leg[k, MODE] == ISOLATED or leg[k, KIND] == SPOT:
            need_cash += part
    if need == 0.0:
        return False
    margins = isolated_margins(acc, leg)
    available = cross_balance(acc, leg, O_MARK)
    for k in range(len(leg)):
        if leg[k, MODE] != ISOLATED and leg[k, KIND] != SPOT and leg[k, Q] != 0.0:
            available -= abs(leg[k, Q]) * size_at(leg[k, O_MARK], leg[k, KIND] == INVERSE) / leg[k, LEV]
    factor = 1.0
    if need > max(0.0, available) * FITS:
        factor = max(0.0, available / need)
    cash = acc[WALLET] - margins
    if need_cash > max(0.0, cash) * FITS:
        factor = min(factor, max(0.0, cash / need_cash))
    if factor < HARDLY:
        factor = 0.0
    if factor < 1.0:
        for k in range(len(leg)):
            if leg[k, O_DQ] != 0.0 and leg[k, O_INCREASE] != 0.0:
                scale_one(acc, leg, k, bar, factor, log)
        refuse_partners(acc, leg, bar, log)
    return True


@jit
def scale_one(acc: Floats, leg: Floats, k: int, bar: int, factor: float, log: Floats) -> None:
    before = leg[k, O_INCREASE]
    inc = lots(before * factor, leg[k, LOT])
    if inc == 0.0:
        leg[k, O_REFUSED] = 1.0
        drop(acc, leg, k, bar, NO_MARGIN, before, log)
        return
    leg[k, O_SCALED] = 1.0
    leg[k, O_INCREASE] = inc
    reduced = leg[k, O_DQ] - before
    leg[k, O_DQ] = reduced + inc
    leg[k, W_KIND] = NONE


@jit
def refuse_doomed(acc: Floats, leg: Floats, tie: Floats, bar: int, log: Floats) -> None:
    """Increases that would be liquidated where they open."""
    balance = cross_balance(acc, leg, O_MARK)
    needed = cross_maintenance(acc, leg, tie, O_MARK)
    some = False
    for k in range(len(leg)):
        if leg[k, O_DQ] == 0.0 or leg[k, O_INCREASE] == 0.0:
            continue
        inc, price, mark = leg[k, O_INCREASE], leg[k, O_PRICE], leg[k, O_MARK]
        inverse = leg[k, KIND] == INVERSE
        fee = leg[k, O_FEE] * abs(inc) * size_at(price, inverse)
        if leg[k, KIND] == SPOT:
            balance += -inc * price - fee + acc[COLLATERAL] * inc * mark
            continue
        gained = inc * (value_at(mark, inverse) - value_at(price, inverse))
        after = abs(leg[k, Q] + inc) * size_at(mark, inverse)
        must = maintenance(tie, int(leg[k, T_FIRST]), int(leg[k, T_COUNT]), acc[CLOSING_FEE], after)
        if leg[k, MODE] == ISOLATED:
            posted = abs(inc) * size_at(price, inverse) / leg[k, W_LEV]
            balance -= posted + fee
            if leg[k, MARGIN] + posted + unrealised(leg, k, mark) + gained <= must:
                doom(acc, leg, k, bar, log)
                balance += posted + fee
            continue
        some = True
        balance += gained - fee
        needed += must - maintenance_of(acc, leg, tie, k, mark)
    if some and balance <= needed:
        for k in range(len(leg)):
            contract = leg[k, MODE] != ISOLATED and leg[k, KIND] != SPOT
            if contract and leg[k, O_DQ] != 0.0 and leg[k, O_INCREASE] != 0.0:
                doom(acc, leg, k, bar, log)
    refuse_partners(acc, leg, bar, log)


@jit
def doom(acc: Floats, leg: Floats, k: int, bar: int, log: Floats) -> None:
    leg[k, O_REFUSED] = 1.0
    drop(acc, leg, k, bar, WOULD_LIQUIDATE, leg[k, O_INCREASE], log)


@jit
def fill_increases(acc: Floats, leg: Floats, bar: int, log: Floats) -> None:
    for k in range(len(leg)):
        inc = leg[k, O_INCREASE]
        if leg[k, O_DQ] == 0.0 or inc == 0.0:
            continue
        flat = leg[k, Q] == 0.0
        acc[SCALED] += leg[k, O_SCALED]
        open_more(
            acc, leg, k, bar, int(leg[k, O_WHY]), inc, leg[k, W_LEV], leg[k, O_PRICE], leg[k, O_REFERENCE],
            leg[k, O_FEE], log,
        )  # fmt: skip
        leg[k, FILLED] += abs(inc)
        leg[k, STOP], leg[k, TAKE], leg[k, TRAIL] = leg[k, W_STOP], leg[k, W_TAKE], leg[k, W_TRAIL]
        if flat:
            leg[k, ANCHOR] = leg[k, O_PRICE]
