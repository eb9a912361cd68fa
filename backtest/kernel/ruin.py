"""Liquidation: of one leg alone, or of a cross account with several legs.

1. The working orders go. 2. A reduction first, where the venue has one and the position allows it, again while the
balance is at or below maintenance. 3. Else all of it: what is left is the fund's or the trader's, what is missing is
paid by the fund.
"""

from __future__ import annotations

import numpy as np

from backtest.jit import jit
from backtest.kernel.cash import (
    FILL_CASH,
    INSURANCE_CASH,
    LIQUIDATION_FEE_CASH,
    isolated_margins,
    lots,
    new_row,
    no_cross_contract,
    pay,
    price_with_cost,
    profit_of,
    refuse,
    shrink,
    trade_over,
    write_fill,
)
from backtest.kernel.layout import (
    BACKSTOP,
    BAR_HOURS,
    CASH_BASIS,
    CLOSING_FEE,
    COLLATERAL,
    D_DUE,
    D_Q,
    D_TARGET,
    KEEP,
    KIND,
    LIQ_BAR,
    LIQUIDATION_FEE,
    LIQUIDATION_LOSS,
    LIQUIDATION_ROW,
    LIQUIDATIONS,
    LOGGED,
    LOST,
    LOT,
    MARGIN,
    MODE,
    QUEUE,
    QUEUED,
    REDUCED,
    REDUCTION,
    REDUCTION_ABOVE,
    REDUCTION_FRACTION,
    RESIDUAL,
    SLOT,
    SLOTS,
    START,
    T_COUNT,
    T_FIRST,
    VE,
    W_KIND,
    W_Q,
    W_TARGET,
    WALLET,
    Floats,
    Q,
)
from backtest.margin import (
    bankruptcy_size,
    kept_after_reduction,
    liquidation_size,
    maintenance,
    size_at,
    value_at,
)
from backtest.prepare import (
    INVERSE,
    ISOLATED,
    REDUCE_FRACTION,
    REDUCE_NONE,
    REDUCE_TIER,
    SPOT,
    TAKEOVER,
)
from backtest.records import Refusal, Why

LIQUIDATED_ORDER = int(Refusal.LIQUIDATED)
LIQUIDATION_FILL = int(Why.LIQUIDATION)
REDUCTION_FILL = int(Why.REDUCTION)


@jit
def maintenance_of(acc: Floats, leg: Floats, tie: Floats, k: int, mark: float) -> float:
    """Maintenance of a leg at a mark; spot has none."""
    q = leg[k, Q]
    if q == 0.0 or leg[k, KIND] == SPOT:
        return 0.0
    notional = abs(q) * size_at(mark, leg[k, KIND] == INVERSE)
    return maintenance(tie, int(leg[k, T_FIRST]), int(leg[k, T_COUNT]), acc[CLOSING_FEE], notional)


@jit
def unrealised(leg: Floats, k: int, mark: float) -> float:
    """Profit of a contract, value of spot."""
    q = leg[k, Q]
    if q == 0.0:
        return 0.0
    return q * (value_at(mark, leg[k, KIND] == INVERSE) - leg[k, CASH_BASIS])


@jit
def cross_balance(acc: Floats, leg: Floats, marks: int) -> float:
    total = acc[WALLET] - isolated_margins(acc, leg)
    for k in range(len(leg)):
        if leg[k, Q] != 0.0 and leg[k, MODE] != ISOLATED:
            part = acc[COLLATERAL] if leg[k, KIND] == SPOT else 1.0
            total += part * unrealised(leg, k, leg[k, marks])
    return total


@jit
def cross_maintenance(acc: Floats, leg: Floats, tie: Floats, marks: int) -> float:
    total = 0.0
    for k in range(len(leg)):
        if leg[k, Q] != 0.0 and leg[k, MODE] != ISOLATED:
            total += maintenance_of(acc, leg, tie, k, leg[k, marks])
    return total


@jit
def cross_breached(acc: Floats, leg: Floats, tie: Floats, marks: int) -> bool:
    if no_cross_contract(leg):
        return False
    return cross_balance(acc, leg, marks) <= cross_maintenance(acc, leg, tie, marks)


@jit
def lone_balance(acc: Floats, leg: Floats, k: int) -> float:
    """What stands behind a leg that is alone: its margin, or the cross wallet."""
    if leg[k, MODE] == ISOLATED:
        return leg[k, MARGIN]
    return acc[WALLET] - isolated_margins(acc, leg)


@jit
def lone_breached(acc: Floats, leg: Floats, tie: Floats, k: int, mark: float) -> bool:
    if leg[k, Q] == 0.0 or leg[k, KIND] == SPOT:
        return False
    balance = lone_balance(acc, leg, k) + unrealised(leg, k, mark)
    return balance <= maintenance_of(acc, leg, tie, k, mark)


@jit
def price_of(n: float, inverse: bool) -> float:
    """The price at which one unit is worth n."""
    if not inverse:
        return n
    return 1.0 / n if n > 0.0 else np.inf


@jit
def liquidation_mark(acc: Floats, leg: Floats, tie: Floats, k: int, mark: float) -> float:
    """The mark that liquidates a leg that is alone, looked for from `mark`; NaN if there is none."""
    q = leg[k, Q]
    if q == 0.0 or leg[k, KIND] == SPOT:
        return np.nan
    inverse = leg[k, KIND] == INVERSE
    n = liquidation_size(
        -q if inverse else q,
        abs(leg[k, VE]),
        lone_balance(acc, leg, k),
        tie,
        int(leg[k, T_FIRST]),
        int(leg[k, T_COUNT]),
        acc[CLOSING_FEE],
        size_at(mark, inverse),
    )
    return known_price(price_of(n, inverse), mark)


WORTHWHILE = 0.99  # a reduction that leaves more than this is none
EMPTY = 1e-9  # of the starting equity: nothing is left
SAME = 1e-12  # of a quantity without lots: the same


@jit
def still_to_do(leg: Floats, k: int, wanted: float) -> float:
    """From the position to what an order wants, in lots; never leaving less than a billionth of a lot."""
    q = leg[k, Q]
    if wanted == 0.0:
        return -q
    dq = lots(wanted - q, leg[k, LOT])
    if leg[k, LOT] <= 0.0 and abs(dq) <= SAME * abs(wanted):
        return 0.0
    return -q if abs(q + dq) <= 1e-9 * leg[k, LOT] else dq


@jit
def known_price(price: float, mark: float) -> float:
    """NaN for a level that no market will see."""
    return price if 1e-9 * mark < price < 1e9 * mark else np.nan


@jit
def cancel_orders(acc: Floats, leg: Floats, k: int, bar: int, why: int, log: Floats) -> None:
    if leg[k, W_KIND] != 0.0:
        refuse(acc, k, bar, why, leg[k, W_TARGET], still_to_do(leg, k, leg[k, W_Q]), log)
        leg[k, W_KIND] = 0.0
    slots = int(acc[SLOTS])
    for ahead in range(slots):
        d = (int(bar) + ahead) % slots
        if leg[k, QUEUE + d * SLOT + D_DUE] >= 0.0:
            refuse(
                acc,
                k,
                bar,
                why,
                leg[k, QUEUE + d * SLOT + D_TARGET],
                still_to_do(leg, k, leg[k, QUEUE + d * SLOT + D_Q]),
                log,
            )
            leg[k, QUEUE + d * SLOT + D_DUE] = -1.0
            acc[QUEUED] -= 1.0


@jit
def reduction_of(acc: Floats, leg: Floats, tie: Floats, k: int, bar: int, mark: float) -> float:
    """How much goes first; 0: no reduction, the position must go as a whole."""
    how = int(acc[REDUCTION])
    q = abs(leg[k, Q])
    if how == REDUCE_NONE:
        return 0.0
    n = size_at(mark, leg[k, KIND] == INVERSE)
    if how == REDUCE_FRACTION:
        if q * n <= acc[REDUCTION_ABOVE] or leg[k, REDUCED] == bar:
            return 0.0
        kept = q * (1.0 - acc[REDUCTION_FRACTION])
    else:
        down = 1 if how == REDUCE_TIER else 2
        kept = kept_after_reduction(tie, int(leg[k, T_FIRST]), int(leg[k, T_COUNT]), q, n, down, WORTHWHILE)
        if kept >= q:
            return 0.0
    kept = lots(min(kept, q), leg[k, LOT])
    return q - kept if kept > 0.0 else 0.0


@jit
def write_liquidation(
    acc: Floats,
    leg: Floats,
    k: int,
    bar: int,
    why: int,
    closed: float,
    mark: float,
    price: float,
    bankrupt: float,
    fee: float,
    insurance: float,
    loss: float,
    log: Floats,
) -> None:
    acc[LIQUIDATIONS] += 1.0
    acc[LIQUIDATION_LOSS] += loss
    leg[k, LIQ_BAR] = bar
    leg[k, LOST] = 1.0
    if acc[KEEP] != 0.0:
        row = new_row(acc, log, LIQUIDATION_ROW, bar, k)
        row[3], row[4], row[5], row[6] = why, closed, mark, price
        row[7], row[8], row[9], row[10] = bankrupt, fee, insurance, loss


@jit
def liquidate_leg(acc: Floats, leg: Floats, tie: Floats, k: int, bar: int, mark: float, log: Floats) -> None:
    """A leg that is alone, at a mark: an isolated one, or the only cross leg."""
    inverse = leg[k, KIND] == INVERSE
    isolated = leg[k, MODE] == ISOLATED
    for j in range(len(leg)):
        if j == k or (not isolated and leg[j, MODE] != ISOLATED):
            cancel_orders(acc, leg, j, bar, LIQUIDATED_ORDER, log)
    balance = lone_balance(acc, leg, k) + unrealised(leg, k, mark)
    backstopped = balance < acc[BACKSTOP] * maintenance_of(acc, leg, tie, k, mark)
    while True:
        q = leg[k, Q]
        behind = lone_balance(acc, leg, k)
        bankrupt = price_of(bankruptcy_size(-q if inverse else q, abs(leg[k, VE]), behind), inverse)
        bankrupt = known_price(bankrupt, mark)
        dq = reduction_of(acc, leg, tie, k, bar, mark)
        if dq <= 0.0:
            break
        closed = dq if q > 0.0 else -dq
        price = price_with_cost(acc, leg, k, -closed, mark)
        profit = profit_of(leg, k, closed, price)
        left = behind + profit + (q - closed) * (value_at(mark, inverse) - leg[k, VE])
        fee = min(acc[LIQUIDATION_FEE] * dq * size_at(price, inverse), max(0.0, left))
        if left - fee <= EMPTY * acc[START]:
            break
        pay(acc, leg, k, bar, FILL_CASH, profit, log)
        pay(acc, leg, k, bar, LIQUIDATION_FEE_CASH, -fee, log)
        leg[k, Q] = q - closed
        if isolated:
            leg[k, MARGIN] += profit - fee
        leg[k, REDUCED] = bar
        write_fill(acc, leg, k, bar, REDUCTION_FILL, -closed, price, mark, fee, profit, log)
        write_liquidation(
            acc,
            leg,
            k,
            bar,
            REDUCTION_FILL,
            closed,
            mark,
            price,
            bankrupt,
            fee,
            0.0,
            fee - profit,
            log,
        )
        if not lone_breached(acc, leg, tie, k, mark):
            return
    q = leg[k, Q]
    behind = lone_balance(acc, leg, k)
    price = price_with_cost(acc, leg, k, -q, mark)
    profit = profit_of(leg, k, q, price)
    left = behind + profit
    fee = min(acc[LIQUIDATION_FEE] * abs(q) * size_at(price, inverse), max(0.0, left))
    rest = left - fee
    insurance = 0.0
    if rest < 0.0 or acc[RESIDUAL] == TAKEOVER or backstopped:
        insurance = -rest
    pay(acc, leg, k, bar, FILL_CASH, profit, log)
    pay(acc, leg, k, bar, LIQUIDATION_FEE_CASH, -fee, log)
    pay(acc, leg, k, bar, INSURANCE_CASH, insurance, log)
    shrink(leg, k, -q)
    write_fill(acc, leg, k, bar, LIQUIDATION_FILL, -q, price, mark, fee, profit, log)
    loss = -(profit - fee + insurance)
    write_liquidation(acc, leg, k, bar, LIQUIDATION_FILL, q, mark, price, bankrupt, fee, insurance, loss, log)
    trade_over(acc, leg, k, bar, acc[BAR_HOURS])


@jit
def close_at_mark(
    acc: Floats, leg: Floats, k: int, bar: int, why: int, closed: float, mark: float, left: float, bankrupt: float,
    log: Floats,
) -> float:  # fmt: skip
    """One leg, or a part of it, of a cross account in liquidation. `left`: of the account after what is closed now.

    What is left after the fee.
    """
    inverse = leg[k, KIND] == INVERSE
    price = price_with_cost(acc, leg, k, -closed, mark)
    profit = profit_of(leg, k, closed, price)
    fee = min(acc[LIQUIDATION_FEE] * abs(closed) * size_at(price, inverse), max(0.0, left))
    pay(acc, leg, k, bar, FILL_CASH, profit, log)
    pay(acc, leg, k, bar, LIQUIDATION_FEE_CASH, -fee, log)
    leg[k, Q] = 0.0 if closed == leg[k, Q] else leg[k, Q] - closed
    write_fill(acc, leg, k, bar, why, -closed, price, mark, fee, profit, log)
    write_liquidation(acc, leg, k, bar, why, closed, mark, price, bankrupt, fee, 0.0, fee - profit, log)
    trade_over(acc, leg, k, bar, acc[BAR_HOURS])
    return left - fee


@jit
def cost_of_closing(acc: Floats, leg: Floats, k: int, closed: float, mark: float) -> float:
    """What spread and impact take from the account when this much is closed at a mark; not above zero."""
    price = price_with_cost(acc, leg, k, -closed, mark)
    return profit_of(leg, k, closed, price) - unrealised(leg, k, mark) * (closed / leg[k, Q])


@jit
def largest_maintenance(acc: Floats, leg: Floats, tie: Floats, marks: int) -> int:
    best, most = -1, -1.0
    for k in range(len(leg)):
        if leg[k, MODE] != ISOLATED and leg[k, KIND] != SPOT and leg[k, Q] != 0.0:
            m = maintenance_of(acc, leg, tie, k, leg[k, marks])
            if m > most:
                best, most = k, m
    return best


@jit
def only_cross_leg(acc: Floats, leg: Floats) -> int:
    """The cross leg that is open, where it is the only one; else -1: what happens is the account's."""
    found = -1
    for k in range(len(leg)):
        if leg[k, Q] == 0.0 or leg[k, MODE] == ISOLATED or (leg[k, KIND] == SPOT and acc[COLLATERAL] <= 0.0):
            continue
        if found >= 0 or leg[k, KIND] == SPOT:
            return -1
        found = k
    return found


@jit
def liquidate_account(acc: Floats, leg: Floats, tie: Floats, bar: int, marks: int, log: Floats) -> None:
    """A cross account with several legs, at the marks of a column; one leg that is left alone goes as such."""
    owner = only_cross_leg(acc, leg)
    if owner >= 0:
        liquidate_leg(acc, leg, tie, owner, bar, leg[owner, marks], log)
        return
    for k in range(len(leg)):
        if leg[k, MODE] != ISOLATED:
            cancel_orders(acc, leg, k, bar, LIQUIDATED_ORDER, log)
    left = cross_balance(acc, leg, marks)
    backstopped = left < acc[BACKSTOP] * cross_maintenance(acc, leg, tie, marks)
    while cross_breached(acc, leg, tie, marks):
        done = False
        if acc[REDUCTION] != REDUCE_NONE:
            k = largest_maintenance(acc, leg, tie, marks)
            q = leg[k, Q]
            dq = reduction_of(acc, leg, tie, k, bar, leg[k, marks])
            part = 0.0 < dq < abs(q)
            closed = (dq if q > 0.0 else -dq) if part else q
            after = left + cost_of_closing(acc, leg, k, closed, leg[k, marks])
            price = price_with_cost(acc, leg, k, -closed, leg[k, marks])
            fee = acc[LIQUIDATION_FEE] * abs(closed) * size_at(price, leg[k, KIND] == INVERSE)
            done = after - min(fee, max(0.0, after)) > EMPTY * acc[START]
            if done:
                why = REDUCTION_FILL if part else LIQUIDATION_FILL
                left = close_at_mark(acc, leg, k, bar, why, closed, leg[k, marks], after, np.nan, log)
                if part:
                    leg[k, REDUCED] = bar
        if not done:
            left = close_all(acc, leg, bar, marks, left, log)
    if no_cross_contract(leg):
        settle_rest(acc, leg, bar, backstopped, log)


@jit
def close_all(acc: Floats, leg: Floats, bar: int, marks: int, left: float, log: Floats) -> float:
    """Every cross contract at once. Fees are bounded by what is left after the profit of all of them."""
    for k in range(len(leg)):
        if leg[k, MODE] != ISOLATED and leg[k, KIND] != SPOT and leg[k, Q] != 0.0:
            left += cost_of_closing(acc, leg, k, leg[k, Q], leg[k, marks])
    for k in range(len(leg)):
        if leg[k, MODE] != ISOLATED and leg[k, KIND] != SPOT and leg[k, Q] != 0.0:
            bankrupt = np.nan
            left = close_at_mark(acc, leg, k, bar, LIQUIDATION_FILL, leg[k, Q], leg[k, marks], left, bankrupt, log)
    return left


@jit
def settle_rest(acc: Floats, leg: Floats, bar: int, backstopped: bool, log: Floats) -> None:
    """The cash that is left once no cross contract is: the fund's, the trader's, or missing."""
    rest = acc[WALLET] - isolated_margins(acc, leg)
    if rest < 0.0 or ((acc[RESIDUAL] == TAKEOVER or backstopped) and rest > 0.0):
        pay(acc, leg, -1, bar, INSURANCE_CASH, -rest, log)
        acc[LIQUIDATION_LOSS] += rest
        if acc[KEEP] != 0.0:
            at = int(acc[LOGGED]) - 1
            while log[at, 0] != LIQUIDATION_ROW:
                at -= 1
            log[at, 9] -= rest
            log[at, 10] += rest
