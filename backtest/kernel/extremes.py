"""Inside a bar: stops, limits and liquidation, one side of the open at a time.

`play` is one way through the bar; where several cross legs are open, `extremes` plays two and keeps the worse. A side
is -1 (down) or 1 (up).
"""

from __future__ import annotations

import numpy as np

from backtest.jit import inlined, jit
from backtest.kernel.cash import close_some, price_with_cost
from backtest.kernel.layout import (
    ANCHOR,
    BAR_HOURS,
    COLLATERAL,
    DISTANCE,
    FILLED,
    HIGH,
    KEEP,
    KIND,
    LOW,
    MARK_CLOSE,
    MARK_END,
    MARK_HIGH,
    MARK_LOW,
    MARK_OPEN,
    MARK_PLACE,
    MODE,
    NO_STOP,
    O_HELD,
    O_SIDE,
    OPEN,
    PATH,
    PRESENT,
    START,
    STOP,
    TAKE,
    TAKER,
    TICK,
    TRAIL,
    VE,
    W_KIND,
    W_LAST,
    W_LIMIT,
    W_Q,
    W_TARGET,
    WALLET,
    Floats,
    Q,
)
from backtest.kernel.orders import FOREVER, NONE, RESTS, WORKS, capped, fill_limit, to_do
from backtest.kernel.ruin import (
    cross_balance,
    cross_breached,
    liquidate_account,
    liquidate_leg,
    liquidation_mark,
    lone_breached,
    maintenance_of,
    unrealised,
)
from backtest.prepare import CLOSE as CLOSES_ONLY
from backtest.prepare import INVERSE, ISOLATED, SPOT
from backtest.prepare import WORST as ALL_WORST
from backtest.records import Why

STOP_FILL = int(Why.STOP_LOSS)
TAKE_FILL = int(Why.TAKE_PROFIT)
TRAIL_FILL = int(Why.TRAILING_STOP)

NOTHING, LIQUIDATE, STOPPED, LIMITED, TAKEN = 0, 1, 2, 3, 4
MOST_LEVELS = 200
ALONE, DOWN_FIRST, UP_FIRST, WORST_OF_EACH, NO_TEST = 0, 1, 2, 3, 4
TIE = 1e-9  # of the starting equity: closer ends of two paths are one


@jit
def entry_price(leg: Floats, k: int) -> bool:
    return -1.0 / leg[k, VE] if leg[k, KIND] == INVERSE else leg[k, VE]


@jit
def stop_level(leg: Floats, k: int) -> tuple[float, bool]:
    """The nearer of stop-loss and trailing stop, and whether it is the trailing one; NaN: none."""
    sign = 1.0 if leg[k, Q] > 0.0 else -1.0
    level, trails = np.nan, False
    if leg[k, STOP] > 0.0:
        level = entry_price(leg, k) * (1.0 - sign * leg[k, STOP])
    if leg[k, TRAIL] > 0.0:
        other = leg[k, ANCHOR] * (1.0 - sign * leg[k, TRAIL])
        if not (sign * (level - other) >= 0.0):
            level, trails = other, True
    return level, trails


@jit
def take_level(leg: Floats, k: int) -> float:
    if not leg[k, TAKE] > 0.0:
        return np.nan
    sign = 1.0 if leg[k, Q] > 0.0 else -1.0
    return entry_price(leg, k) * (1.0 + sign * leg[k, TAKE])


@jit
def limit_side(leg: Floats, k: int) -> float:
    """The side of the open on which the resting limit lies; 0: there is none."""
    if leg[k, W_KIND] != RESTS:
        return 0.0
    return -1.0 if leg[k, W_Q] - leg[k, Q] > 0.0 else 1.0


@jit
def through(leg: Floats, k: int, side: float) -> float:
    """The price that must be traded for a limit to be filled."""
    return leg[k, W_LIMIT] + side * leg[k, TICK]


@jit
def reach(leg: Floats, k: int, side: float) -> tuple[float, bool]:
    """How far, from its own open, trade and mark go on a side."""
    if side < 0.0:
        trade = (leg[k, OPEN] - leg[k, LOW]) / leg[k, OPEN]
        mark = (leg[k, MARK_OPEN] - leg[k, MARK_LOW]) / leg[k, MARK_OPEN]
    else:
        trade = (leg[k, HIGH] - leg[k, OPEN]) / leg[k, OPEN]
        mark = (leg[k, MARK_HIGH] - leg[k, MARK_OPEN]) / leg[k, MARK_OPEN]
    return trade, mark


@jit
def next_level(
    acc: Floats,
    leg: Floats,
    tie: Floats,
    k: int,
    bar: int,
    side: float,
    place: float,
    held: float,
    lone: bool,
    limit_too: bool,
) -> tuple[int, float, float]:
    """The nearest level that the bar reaches on a side, from a place on: what, how far, the level itself."""
    q = leg[k, Q]
    trade, mark = reach(leg, k, side)
    what, nearest, level = NOTHING, np.inf, np.nan
    trades = leg[k, PRESENT] != 0.0
    if q * side < 0.0:
        if lone and leg[k, KIND] != SPOT:
            at = liquidation_mark(acc, leg, tie, k, mark_at(leg, k, side, place))
            d = max(place, side * (at - leg[k, MARK_OPEN]) / leg[k, MARK_OPEN])
            if at != at and lone_breached(acc, leg, tie, k, mark_at(leg, k, side, place)):
                d = place  # nothing is left at any price
            elif at != at:
                d = np.inf
            if d <= mark:
                what, nearest, level = LIQUIDATE, d, at
        if trades and leg[k, NO_STOP] != bar:
            at = stop_level(leg, k)[0]
            d = max(place, side * (at - leg[k, OPEN]) / leg[k, OPEN])
            if at == at and d <= trade and d < nearest:
                what, nearest, level = STOPPED, d, at
    if limit_too and trades and limit_side(leg, k) == side and capped(acc, leg, k, to_do(leg, k)) != 0.0:
        d = max(place, side * (through(leg, k, side) - leg[k, OPEN]) / leg[k, OPEN])
        if d <= trade and d < nearest:
            what, nearest, level = LIMITED, d, leg[k, W_LIMIT]
    if trades and q * side > 0.0 and q * held > 0.0 and leg[k, NO_STOP] != bar:
        at = take_level(leg, k)
        d = max(place, side * (at - leg[k, OPEN]) / leg[k, OPEN])
        if at == at and d <= trade and d < nearest:
            what, nearest, level = TAKEN, d, at
    return what, nearest, level


@jit
def at_place(level: float, opened: float, side: float, d: float) -> float:
    """The level itself where it lies at `d`; the price at `d` where the level lies before it."""
    return level if side * (level - opened) / opened >= d else opened * (1.0 + side * d)


@jit
def mark_at(leg: Floats, k: int, side: float, place: float) -> float:
    """The mark at a place; it never was beyond its extreme."""
    mark = leg[k, MARK_OPEN] * (1.0 + side * place)
    return max(mark, leg[k, MARK_LOW]) if side < 0.0 else min(mark, leg[k, MARK_HIGH])


@jit
def stop_out(acc: Floats, leg: Floats, k: int, bar: int, why: int, reference: float, log: Floats) -> None:
    """A stop or take-profit: closes the leg; what participation leaves works on as a market order."""
    q = leg[k, Q]
    leg[k, W_KIND] = NONE
    dq = capped(acc, leg, k, -q)
    if dq != 0.0:
        price = price_with_cost(acc, leg, k, dq, reference)
        close_some(acc, leg, k, bar, why, dq, price, reference, acc[TAKER], acc[BAR_HOURS], log)
        leg[k, FILLED] += abs(dq)
    if leg[k, Q] != 0.0:
        leg[k, NO_STOP] = bar
        leg[k, W_KIND] = WORKS
        leg[k, W_Q] = 0.0
        leg[k, W_TARGET] = 0.0
        leg[k, W_LIMIT] = np.nan
        leg[k, W_LAST] = FOREVER


@jit
def walk(
    acc: Floats, leg: Floats, tie: Floats, k: int, bar: int, side: float, held: float, lone: bool, log: Floats
) -> None:
    """One side of the open, level after level."""
    if nothing_to_meet(leg, k):
        return
    place = 0.0
    limit_too = True
    for _ in range(MOST_LEVELS):
        what, d, level = next_level(acc, leg, tie, k, bar, side, place, held, lone, limit_too)
        if what == NOTHING:
            return
        place = d
        if what == LIQUIDATE:
            mark = at_place(level, leg[k, MARK_OPEN], side, d)
            liquidate_leg(acc, leg, tie, k, bar, mark, log)
        elif what == LIMITED:
            before = leg[k, FILLED]
            mark = mark_at(leg, k, side, d)
            fill_limit(acc, leg, tie, k, bar, mark, log)
            limit_too = leg[k, FILLED] != before
        else:
            why = TAKE_FILL
            if what == STOPPED:
                why = TRAIL_FILL if stop_level(leg, k)[1] else STOP_FILL
            reference = at_place(level, leg[k, OPEN], side, d)
            stop_out(acc, leg, k, bar, why, reference, log)


@jit
def nothing_to_meet(leg: Floats, k: int) -> bool:
    """Flat and without a resting limit: no level is the leg's."""
    return leg[k, Q] == 0.0 and leg[k, W_KIND] != RESTS


@jit
def both_sides(acc: Floats, leg: Floats, tie: Floats, k: int, bar: int, lone: bool) -> bool:
    if nothing_to_meet(leg, k):
        return False
    held = leg[k, Q]
    down = next_level(acc, leg, tie, k, bar, -1.0, 0.0, held, lone, True)[0]
    up = next_level(acc, leg, tie, k, bar, 1.0, 0.0, held, lone, True)[0]
    return down != NOTHING and up != NOTHING


@jit
def is_joint(acc: Floats, leg: Floats, resting: bool) -> bool:
    """Two or more cross legs that are open, or (`resting`) may become so by a limit."""
    count = 0
    for k in range(len(leg)):
        if leg[k, Q] == 0.0 and not (resting and leg[k, W_KIND] == RESTS and leg[k, PRESENT] != 0.0):
            continue
        if leg[k, MODE] != ISOLATED and not (leg[k, KIND] == SPOT and acc[COLLATERAL] <= 0.0):
            count += 1
    return count >= 2


@inlined
def extremes(
    acc: Floats, leg: Floats, tie: Floats, bar: int, log: Floats, spare_acc: Floats, spare_leg: Floats
) -> float:
    """Step 5 for all legs, on the (finer) bar at hand. True: levels of both sides of a leg were reached."""
    joint = is_joint(acc, leg, True)
    if not within_reach(acc, leg, tie, joint):
        return False
    ambiguous = False
    for k in range(len(leg)):
        if both_sides(acc, leg, tie, k, bar, not joint or leg[k, MODE] == ISOLATED):
            ambiguous = True
    plan = ALONE
    if joint and acc[PATH] == ALL_WORST:
        plan = WORST_OF_EACH
    elif joint and acc[PATH] == CLOSES_ONLY:
        plan = NO_TEST
    elif joint:
        restore(spare_acc, spare_leg, acc, leg)
        acc[KEEP] = 0.0
        down_first = play(acc, leg, tie, bar, DOWN_FIRST, log)
        restore(acc, leg, spare_acc, spare_leg)
        acc[KEEP] = 0.0
        up_first = play(acc, leg, tie, bar, UP_FIRST, log)
        restore(acc, leg, spare_acc, spare_leg)
        plan = UP_FIRST if up_first < down_first - TIE * acc[START] else DOWN_FIRST
    play(acc, leg, tie, bar, plan, log)
    return ambiguous


@jit
def restore(acc: Floats, leg: Floats, spare_acc: Floats, spare_leg: Floats) -> None:
    for c in range(len(acc)):
        acc[c] = spare_acc[c]
    for c in range(leg.shape[1]):
        for k in range(len(leg)):
            leg[k, c] = spare_leg[k, c]


@jit
def within_reach(acc: Floats, leg: Floats, tie: Floats, joint: bool) -> bool:
    """Whether anything can happen inside this bar; and how near its marks come to the levels of liquidation."""
    some = False
    several = is_joint(acc, leg, False)
    for k in range(len(leg)):
        q = leg[k, Q]
        if q != 0.0:
            if not several or leg[k, MODE] == ISOLATED:
                at = liquidation_mark(acc, leg, tie, k, leg[k, MARK_OPEN])
                if at == at:
                    extreme = leg[k, MARK_LOW] if q > 0.0 else leg[k, MARK_HIGH]
                    gap = (extreme - at) / extreme if q > 0.0 else (at - extreme) / extreme
                    acc[DISTANCE] = min(acc[DISTANCE], max(0.0, gap))
                    some = some or gap <= 0.0
                else:
                    some = some or lone_breached(acc, leg, tie, k, leg[k, MARK_OPEN])
            down, up = stop_level(leg, k)[0], take_level(leg, k)
            if q < 0.0:
                down, up = up, down
            some = some or leg[k, LOW] <= down or leg[k, HIGH] >= up
        if leg[k, W_KIND] == RESTS:
            limit = leg[k, W_LIMIT]
            some = some or (leg[k, LOW] <= limit if limit_side(leg, k) < 0.0 else leg[k, HIGH] >= limit)
    if joint and not some and acc[PATH] != CLOSES_ONLY:
        marks_at(leg, 0.0, 1.0, MARK_END)
        some = cross_balance(acc, leg, MARK_END) <= largest_maintenance_of_all(acc, leg, tie)
    return some


@jit
def largest_maintenance_of_all(acc: Floats, leg: Floats, tie: Floats) -> float:
    """Of all cross legs, each where its notional is largest in this bar: more than on any path."""
    total = 0.0
    for k in range(len(leg)):
        if leg[k, Q] != 0.0 and leg[k, MODE] != ISOLATED:
            largest = leg[k, MARK_LOW] if leg[k, KIND] == INVERSE else leg[k, MARK_HIGH]
            total += maintenance_of(acc, leg, tie, k, largest)
    return total


@jit
def play(acc: Floats, leg: Floats, tie: Floats, bar: int, plan: int, log: Floats) -> float:
    """One way through the bar; the equity at the mark closes.

    Legs that are alone, and isolated ones, walk both sides in their turn, the adverse one first. The others walk one
    side, then the account is tested where the marks are then, then the other side.
    """
    common = plan in (DOWN_FIRST, UP_FIRST)
    side = -1.0 if plan == DOWN_FIRST else 1.0
    for k in range(len(leg)):
        leg[k, O_HELD] = leg[k, Q]
        by_itself = not common or leg[k, MODE] == ISOLATED
        leg[k, O_SIDE] = adverse_side(leg, k) if by_itself else side
    for half in range(2):
        for k in range(len(leg)):
            alone = plan == ALONE or leg[k, MODE] == ISOLATED
            whole = alone or plan == NO_TEST
            first = leg[k, O_SIDE]
            if first == 0.0 or (whole and half == 1):
                continue
            for turn in range(2):
                if whole or turn == half:
                    now = first if turn == 0 else -first
                    walk(acc, leg, tie, k, bar, now, leg[k, O_HELD], alone, log)
        if common:
            account_test(acc, leg, tie, bar, side if half == 0 else -side, log)
        elif plan == WORST_OF_EACH and half == 0:
            account_test(acc, leg, tie, bar, 0.0, log)
    return equity_at(acc, leg)


@jit
def adverse_side(leg: Floats, k: int) -> float:
    """The side that hurts; flat: the side of the resting limit, 0 without one."""
    q = leg[k, Q]
    if q == 0.0:
        return limit_side(leg, k)
    return -1.0 if q > 0.0 else 1.0


@jit
def equity_at(acc: Floats, leg: Floats) -> float:
    """At the mark closes."""
    total = acc[WALLET]
    for k in range(len(leg)):
        if leg[k, Q] != 0.0:
            total += unrealised(leg, k, leg[k, MARK_CLOSE])
    return total


@jit
def marks_at(leg: Floats, side: float, w: float, column: int) -> None:
    """Every mark a part `w` of its way to an extreme; side 0: to the leg's own adverse one."""
    for k in range(len(leg)):
        if leg[k, Q] == 0.0:
            continue
        down = side < 0.0 or (side == 0.0 and leg[k, Q] > 0.0)
        extreme = leg[k, MARK_LOW] if down else leg[k, MARK_HIGH]
        leg[k, column] = leg[k, MARK_OPEN] + w * (extreme - leg[k, MARK_OPEN]) if w < 1.0 else extreme


@jit
def account_test(acc: Floats, leg: Floats, tie: Floats, bar: int, side: float, log: Floats) -> None:
    """A cross account that is breached at the extremes is liquidated at the first place on the way there, and again."""
    marks_at(leg, side, 1.0, MARK_END)
    start = 0.0
    for _ in range(MOST_LEVELS):
        if not cross_breached(acc, leg, tie, MARK_END):
            return
        start = first_breach(acc, leg, tie, side, start)
        liquidate_account(acc, leg, tie, bar, MARK_PLACE, log)


@jit
def first_breach(acc: Floats, leg: Floats, tie: Floats, side: float, start: float) -> float:
    """The first place, from `start` on, where the account is breached; its marks are left in MARK_PLACE."""
    marks_at(leg, side, start, MARK_PLACE)
    if cross_breached(acc, leg, tie, MARK_PLACE):
        return start
    safe, breached = start, 1.0
    while True:
        middle = 0.5 * (safe + breached)
        if middle <= safe or middle >= breached:
            break
        marks_at(leg, side, middle, MARK_PLACE)
        if cross_breached(acc, leg, tie, MARK_PLACE):
            breached = middle
        else:
            safe = middle
    marks_at(leg, side, breached, MARK_PLACE)
    return breached
