"""One slow bar, in the order of docs/engine.md: everything that is not `decide`."""

from __future__ import annotations

import numpy as np

from backtest.jit import inlined, jit
from backtest.kernel.cash import (
    FUNDING_CASH,
    INTEREST_CASH,
    close_some,
    isolated_margins,
    lots,
    new_row,
    pay,
    refuse,
)
from backtest.kernel.extremes import entry_price, equity_at, extremes, is_joint, stop_level, take_level
from backtest.kernel.layout import (
    AMBIGUOUS,
    ANCHOR,
    BALANCE,
    BAR,
    BAR_HOURS,
    BUSY,
    CASH_RATE,
    CLOSE,
    CLOSING_FEE,
    COLLATERAL,
    COST_A,
    COST_B,
    CROSS_BALANCE,
    CROSS_LEGS,
    CROSS_PART,
    CROSS_RATIO,
    CUM_NOW,
    DAYS,
    DISTANCE,
    E_BAR,
    E_DETAIL,
    E_INSIDE,
    E_KIND,
    E_PRICE,
    E_RATE,
    E_SYMBOL,
    ENTRY_PRICE,
    EQUITY,
    EVENT,
    EXPOSURE_SUM,
    FILLED,
    FLOOR_EQUITY,
    FUNDING_ROW,
    GROSS,
    HIGH,
    IN_MARKET,
    IS_CONTRACT,
    IS_CROSS,
    JOINT_NOW,
    KEEP,
    KIND,
    LAST_BAR,
    LIQ_HIGH,
    LIQ_LOW,
    LIQ_PRICE,
    LOST,
    LOT,
    LOW,
    MARGIN,
    MARGIN_DISTANCE,
    MARK_CLOSE,
    MARK_HIGH,
    MARK_LOW,
    MARK_OPEN,
    MAX_DRAWDOWN,
    MAX_DURATION,
    MODE,
    N_HIGH,
    N_LOW,
    NET,
    NEXT_EXPIRY,
    OPEN,
    OPEN_LEGS,
    PEAK,
    PEAK_BAR,
    PRESENT,
    QUEUED,
    RATE_NOW,
    RATIO,
    RUINED,
    RUINED_BAR,
    SPREAD,
    START,
    T_COUNT,
    T_FIRST,
    T_NEXT,
    TAKER,
    TRADE_HIGH,
    TRADE_LOW,
    UNDER,
    VOLUME,
    W_KIND,
    W_LAST,
    W_LIMIT,
    W_Q,
    W_TARGET,
    WALLET,
    Bars,
    Flags,
    Floats,
    Ints,
    Q,
)
from backtest.kernel.orders import FOREVER, NONE, RESTS, open_orders, take_due
from backtest.kernel.ruin import (
    cancel_orders,
    cross_balance,
    cross_breached,
    cross_maintenance,
    liquidate_account,
    liquidate_leg,
    liquidation_mark,
    lone_balance,
    lone_breached,
    maintenance_of,
    only_cross_leg,
    still_to_do,
    unrealised,
)
from backtest.margin import CAP, CUM, FLOOR, MMR, size_at, tier_of
from backtest.prepare import FUNDING_EVENT, INVERSE, ISOLATED, SPOT
from backtest.records import Refusal, Why

EXPIRED = int(Refusal.EXPIRED)
DELISTED_ORDER = int(Refusal.DELISTED)
RUINED_ORDER = int(Refusal.RUINED)
DELISTED_FILL = int(Why.DELISTED)
DELEVERAGED_FILL = int(Why.DELEVERAGED)
DUST = 1e-9
NO_EVENT = -1


@jit
def load(leg: Floats, cols: Bars, there: Flags, i: int) -> None:
    """A bar of every symbol."""
    for k in range(len(leg)):  # spelled out: a tuple is quick to look into only at a constant
        leg[k, OPEN], leg[k, HIGH] = cols[0][i, k], cols[1][i, k]
        leg[k, LOW], leg[k, CLOSE] = cols[2][i, k], cols[3][i, k]
        leg[k, MARK_OPEN], leg[k, MARK_HIGH] = cols[4][i, k], cols[5][i, k]
        leg[k, MARK_LOW], leg[k, MARK_CLOSE] = cols[6][i, k], cols[7][i, k]
        leg[k, VOLUME], leg[k, SPREAD] = cols[8][i, k], cols[9][i, k]
        leg[k, COST_A], leg[k, COST_B] = cols[10][i, k], cols[11][i, k]
        leg[k, PRESENT] = 1.0 if there[i, k] else 0.0


@jit
def load_fine(leg: Floats, fine: Bars, present: Flags, at: int) -> None:
    """A finer bar: its prices; volume and costs stay those of the bar that it is a part of."""
    for k in range(len(leg)):
        for c in range(8):
            leg[k, BAR + c] = fine[c][at, k]
        leg[k, PRESENT] = leg[k, PRESENT] if present[at, k] else 0.0


@jit
def use_tables(leg: Floats, tables: Floats, i: int) -> None:
    """The tier tables in force from bar i on."""
    for k in range(len(leg)):
        at = int(leg[k, T_NEXT])
        while at < len(tables) and tables[at, 0] == k and tables[at, 1] <= i:
            leg[k, T_FIRST], leg[k, T_COUNT] = tables[at, 2], tables[at, 3]
            at += 1
        leg[k, T_NEXT] = at


@jit
def settle(acc: Floats, leg: Floats, k: int, bar: int, inside: float, rate: float, price: float, log: Floats) -> None:
    """One funding settlement, paid by the position that is held now."""
    q = leg[k, Q]
    if q == 0.0 or leg[k, KIND] == SPOT:
        return
    known = price == price
    on = price if known else leg[k, MARK_OPEN]
    amount = -q * size_at(on, leg[k, KIND] == INVERSE) * rate
    pay(acc, leg, k, bar, FUNDING_CASH, amount, log)
    if leg[k, MODE] == ISOLATED:
        leg[k, MARGIN] += amount
    if acc[KEEP] != 0.0:
        row = new_row(acc, log, FUNDING_ROW, bar, k)
        row[3], row[4], row[5] = 0.0 if inside else 1.0, rate, on
        row[6], row[7], row[8] = q, amount, 1.0 if known else 0.0


@jit
def deleverage(acc: Floats, leg: Floats, k: int, bar: int, fraction: float, price: float, log: Floats) -> None:
    """Auto-deleveraging: a part of a winning position is closed at the venue's price, without a fee."""
    q = leg[k, Q]
    if q * fraction <= 0.0 or leg[k, KIND] == SPOT:
        return
    part = q if abs(fraction) >= 1.0 else lots(q * abs(fraction), leg[k, LOT])
    if part == 0.0:
        return
    on = price if price == price else leg[k, MARK_OPEN]
    close_some(acc, leg, k, bar, DELEVERAGED_FILL, -part, on, on, 0.0, acc[BAR_HOURS], log)


@jit
def act(acc: Floats, leg: Floats, evs: Floats, bar: int, inside: float, fine: int, log: Floats) -> None:
    """The next events of this place in time."""
    e = int(acc[EVENT])
    while e < len(evs) and evs[e, E_BAR] == bar and evs[e, E_INSIDE] == inside:
        if inside == 1.0 and fine >= 0 and evs[e, E_DETAIL] > fine:
            break
        k = int(evs[e, E_SYMBOL])
        if evs[e, E_KIND] == FUNDING_EVENT:
            settle(acc, leg, k, bar, inside == 1.0, evs[e, E_RATE], evs[e, E_PRICE], log)
        else:
            deleverage(acc, leg, k, bar, evs[e, E_RATE], evs[e, E_PRICE], log)
        e += 1
    acc[EVENT] = e


@inlined
def open_test(acc: Floats, leg: Floats, tie: Floats, bar: int, log: Floats) -> None:
    """Step 2: margin at the mark opens. A gap is liquidated there."""
    for k in range(len(leg)):
        if leg[k, MODE] == ISOLATED and lone_breached(acc, leg, tie, k, leg[k, MARK_OPEN]):
            liquidate_leg(acc, leg, tie, k, bar, leg[k, MARK_OPEN], log)
    account_at(acc, leg, tie, bar, MARK_OPEN, log)


@jit
def account_at(acc: Floats, leg: Floats, tie: Floats, bar: int, marks: int, log: Floats) -> None:
    """The cross account at one joint state of the marks: those of a column."""
    if not cross_breached(acc, leg, tie, marks):
        return
    only = only_cross_leg(acc, leg)
    if only >= 0:
        liquidate_leg(acc, leg, tie, only, bar, leg[only, marks], log)
    else:
        liquidate_account(acc, leg, tie, bar, marks, log)


@jit
def nothing_open(acc: Floats, leg: Floats) -> bool:
    if acc[QUEUED] > 0.0:
        return False
    for k in range(len(leg)):
        if leg[k, Q] != 0.0 or leg[k, W_KIND] != NONE:
            return False
    return True


@inlined
def slow_bar(
    i: int,
    last: int,
    acc: Floats,
    leg: Floats,
    tie: Floats,
    tables: Floats,
    evs: Floats,
    cols: Bars,
    there: Flags,
    fine: Bars,
    fine_present: Flags,
    fine_first: Ints,
    day_end: Flags,
    daily: Floats,
    s: int,
    log: Floats,
    spare_acc: Floats,
    spare_leg: Floats,
) -> None:
    """Everything that happens in bar i up to its close."""
    use_tables(leg, tables, i)
    acc[DISTANCE] = np.inf
    if nothing_open(acc, leg):
        e = int(acc[EVENT])
        while e < len(evs) and evs[e, E_BAR] <= i:
            e += 1
        acc[EVENT] = e
    else:
        load(leg, cols, there, i)
        for k in range(len(leg)):
            leg[k, FILLED] = 0.0
        move(
            i, acc, leg, tie, evs, cols, there, fine, fine_present, fine_first, log,
            spare_acc, spare_leg,
        )  # fmt: skip
    finish(i, last, acc, leg, tie, day_end[i], daily, s, log)


@inlined
def move(
    i: int,
    acc: Floats,
    leg: Floats,
    tie: Floats,
    evs: Floats,
    cols: Bars,
    there: Flags,
    fine: Bars,
    fine_present: Flags,
    fine_first: Ints,
    log: Floats,
    spare_acc: Floats,
    spare_leg: Floats,
) -> None:
    """Steps 1 to 5, and what the close itself brings."""
    act(acc, leg, evs, i, 0.0, -1, log)
    open_test(acc, leg, tie, i, log)
    take_due(acc, leg, i)
    open_orders(acc, leg, tie, i, log)
    if len(fine_present) == 0 or fine_first[i] == fine_first[i + 1]:
        act(acc, leg, evs, i, 1.0, -1, log)
        if extremes(acc, leg, tie, i, log, spare_acc, spare_leg):
            acc[AMBIGUOUS] += 1.0
    else:
        ambiguous = False
        for f in range(fine_first[i], fine_first[i + 1]):
            for k in range(len(leg)):
                leg[k, PRESENT] = 1.0 if there[i, k] else 0.0
            load_fine(leg, fine, fine_present, f)
            act(acc, leg, evs, i, 1.0, f, log)
            if extremes(acc, leg, tie, i, log, spare_acc, spare_leg):
                ambiguous = True
        if ambiguous:
            acc[AMBIGUOUS] += 1.0
        load(leg, cols, there, i)
        act(acc, leg, evs, i, 1.0, -1, log)
    at_close(i, acc, leg, tie, log)


@inlined
def at_close(i: int, acc: Floats, leg: Floats, tie: Floats, log: Floats) -> None:
    for k in range(len(leg)):
        if leg[k, W_KIND] == RESTS and leg[k, W_LAST] <= i:
            refuse(acc, k, i, EXPIRED, leg[k, W_TARGET], still_to_do(leg, k, leg[k, W_Q]), log)
            leg[k, W_KIND] = NONE
    for k in range(len(leg)):
        if leg[k, LAST_BAR] == i:
            if leg[k, Q] != 0.0:
                close_some(
                    acc, leg, k, i, DELISTED_FILL, -leg[k, Q], leg[k, MARK_CLOSE], leg[k, MARK_CLOSE], acc[TAKER],
                    acc[BAR_HOURS], log,
                )  # fmt: skip
            cancel_orders(acc, leg, k, i, DELISTED_ORDER, log)
    account_at(acc, leg, tie, i, MARK_CLOSE, log)
    for k in range(len(leg)):
        if leg[k, PRESENT] == 0.0:
            continue
        if leg[k, Q] > 0.0:
            leg[k, ANCHOR] = max(leg[k, ANCHOR], leg[k, CLOSE])
        elif leg[k, Q] < 0.0:
            leg[k, ANCHOR] = min(leg[k, ANCHOR], leg[k, CLOSE])


@jit
def finish(
    i: int, last: int, acc: Floats, leg: Floats, tie: Floats, day_over: bool, daily: Floats, s: int, log: Floats
) -> None:
    """Step 6: interest, equity, measures, ruin; and what the quiet bars after this one look at."""
    if day_over and acc[CASH_RATE] != 0.0:
        idle = max(0.0, acc[WALLET] - isolated_margins(acc, leg))
        pay(acc, leg, -1, i, INTEREST_CASH, idle * acc[CASH_RATE] / 365.0, log)
    equity = equity_at(acc, leg)
    acc[EQUITY] = equity
    measure_equity(acc, equity, i)
    arm(acc, leg, tie)
    if acc[RUINED] == 0.0 and equity <= DUST * acc[START]:
        acc[RUINED] = 1.0
        acc[RUINED_BAR] = i
        for k in range(len(leg)):
            cancel_orders(acc, leg, k, i, RUINED_ORDER, log)
    measure_marks(acc, leg, tie, day_over or i == last or acc[KEEP] != 0.0)
    if day_over or i == last:
        day = int(acc[DAYS])
        daily[s, day] = equity
        acc[DAYS] = day + 1.0
        acc[EXPOSURE_SUM] += acc[GROSS]
    for k in range(len(leg)):
        leg[k, LOST] = 0.0


@jit
def measure_equity(acc: Floats, equity: float, i: int) -> None:
    """Drawdown on bars: a peak lasts from its close to the close that reaches it again."""
    peak = acc[PEAK]
    if equity >= peak:
        if i - acc[PEAK_BAR] > 1.0:
            acc[MAX_DURATION] = max(acc[MAX_DURATION], i - acc[PEAK_BAR])
        acc[PEAK] = equity
        acc[PEAK_BAR] = i
        acc[FLOOR_EQUITY] = equity * (1.0 - acc[MAX_DRAWDOWN])
        return
    acc[UNDER] += 1.0
    if equity < acc[FLOOR_EQUITY]:
        acc[MAX_DRAWDOWN] = 1.0 - equity / peak
        acc[FLOOR_EQUITY] = equity


@jit
def arm(acc: Floats, leg: Floats, tie: Floats) -> None:
    """What ends the quiet: levels of each leg; and what quiet bars reckon with."""
    acc[BUSY] = 0.0
    acc[NEXT_EXPIRY] = FOREVER
    acc[OPEN_LEGS] = 0.0
    acc[CROSS_LEGS] = 0.0
    margins = isolated_margins(acc, leg)
    acc[CROSS_BALANCE] = acc[WALLET] - margins
    joint = is_joint(acc, leg, False)
    acc[JOINT_NOW] = 1.0 if joint else 0.0
    for k in range(len(leg)):
        if leg[k, Q] == 0.0 and leg[k, W_KIND] == NONE:
            continue
        leg[k, LIQ_LOW], leg[k, LIQ_HIGH] = -np.inf, np.inf
        leg[k, TRADE_LOW], leg[k, TRADE_HIGH] = -np.inf, np.inf
        leg[k, LIQ_PRICE] = np.nan
        leg[k, BALANCE] = lone_balance(acc, leg, k)
        cross = leg[k, MODE] != ISOLATED
        leg[k, IS_CROSS] = 1.0 if cross else 0.0
        leg[k, IS_CONTRACT] = 0.0 if leg[k, KIND] == SPOT else 1.0
        leg[k, CROSS_PART] = (acc[COLLATERAL] if leg[k, KIND] == SPOT else 1.0) if cross else 0.0
        leg[k, RATE_NOW], leg[k, CUM_NOW] = 0.0, 0.0
        leg[k, N_LOW], leg[k, N_HIGH] = -1.0, np.inf
        if leg[k, W_KIND] == RESTS:
            limit = leg[k, W_LIMIT]
            if leg[k, W_Q] - leg[k, Q] > 0.0:
                leg[k, TRADE_LOW] = limit
            else:
                leg[k, TRADE_HIGH] = limit
            acc[NEXT_EXPIRY] = min(acc[NEXT_EXPIRY], leg[k, W_LAST])
        elif leg[k, W_KIND] != NONE:
            acc[BUSY] = 1.0
        if leg[k, Q] != 0.0:
            acc[OPEN_LEGS] += 1.0
            arm_leg(acc, leg, tie, k, joint)


@jit
def arm_leg(acc: Floats, leg: Floats, tie: Floats, k: int, joint: bool) -> None:
    q = leg[k, Q]
    mark = leg[k, MARK_CLOSE]
    if leg[k, KIND] != SPOT:
        if leg[k, MODE] != ISOLATED:
            acc[CROSS_LEGS] += 1.0
        if leg[k, MODE] == ISOLATED or not joint:
            at = liquidation_mark(acc, leg, tie, k, mark)
            leg[k, LIQ_PRICE] = at
            if q > 0.0 and at == at:
                leg[k, LIQ_LOW] = at
            elif at == at:
                leg[k, LIQ_HIGH] = at
        tier_now(acc, leg, tie, k, mark)
    stop = stop_level(leg, k)[0]
    take = take_level(leg, k)
    leg[k, ENTRY_PRICE] = entry_price(leg, k)
    down, up = (stop, take) if q > 0.0 else (take, stop)
    if down == down:
        leg[k, TRADE_LOW] = max(leg[k, TRADE_LOW], down)
    if up == up:
        leg[k, TRADE_HIGH] = min(leg[k, TRADE_HIGH], up)


@jit
def tier_now(acc: Floats, leg: Floats, tie: Floats, k: int, mark: float) -> None:
    """Rate and bounds of the tier that the leg is in."""
    leg[k, RATE_NOW], leg[k, CUM_NOW] = acc[CLOSING_FEE], 0.0
    leg[k, N_LOW], leg[k, N_HIGH] = -1.0, np.inf
    count = int(leg[k, T_COUNT])
    if count == 0:
        return
    first = int(leg[k, T_FIRST])
    row = tier_of(tie, first, count, abs(leg[k, Q]) * size_at(mark, leg[k, KIND] == INVERSE))
    leg[k, RATE_NOW], leg[k, CUM_NOW] = tie[row, MMR] + acc[CLOSING_FEE], tie[row, CUM]
    leg[k, N_LOW] = tie[row, FLOOR] if row > first else -1.0
    leg[k, N_HIGH] = tie[row, CAP] if row < first + count - 1 else np.inf


@jit
def measure_marks(acc: Floats, leg: Floats, tie: Floats, all_of_it: bool) -> None:
    """Margin ratio, exposure and distance to liquidation at this close; the first two where they are wanted."""
    ratio, distance, gross, net = 0.0, acc[DISTANCE], 0.0, 0.0
    equity = acc[EQUITY]
    held = False
    acc[CROSS_RATIO] = 0.0
    for k in range(len(leg)):
        if leg[k, LOST] != 0.0:
            distance = 0.0
        q = leg[k, Q]
        if q == 0.0:
            continue
        held = True
        mark = leg[k, MARK_CLOSE]
        notional = q * size_at(mark, leg[k, KIND] == INVERSE)
        gross += abs(notional)
        net += notional
        if all_of_it and leg[k, MODE] == ISOLATED:
            balance = leg[k, MARGIN] + unrealised(leg, k, mark)
            ratio = max(ratio, ratio_of(maintenance_of(acc, leg, tie, k, mark), balance))
    if acc[CROSS_LEGS] > 0.0:
        balance = cross_balance(acc, leg, MARK_CLOSE)
        needed = cross_maintenance(acc, leg, tie, MARK_CLOSE)
        acc[CROSS_RATIO] = ratio_of(needed, balance)
        ratio = max(ratio, acc[CROSS_RATIO])
        if acc[JOINT_NOW] != 0.0:
            notional = 0.0
            for k in range(len(leg)):
                if leg[k, MODE] != ISOLATED and leg[k, KIND] != SPOT and leg[k, Q] != 0.0:
                    notional += abs(leg[k, Q]) * size_at(leg[k, MARK_CLOSE], leg[k, KIND] == INVERSE)
            distance = min(distance, max(0.0, (balance - needed) / notional))
    acc[RATIO] = ratio
    acc[GROSS] = gross / equity if equity > 0.0 else 0.0
    acc[NET] = net / equity if equity > 0.0 else 0.0
    acc[DISTANCE] = distance if distance < np.inf else np.nan
    acc[MARGIN_DISTANCE] = min(acc[MARGIN_DISTANCE], distance)
    if held:
        acc[IN_MARKET] += 1.0


@jit
def ratio_of(needed: float, balance: float) -> float:
    if balance > 0.0:
        return needed / balance
    return np.inf if needed > 0.0 else 0.0
