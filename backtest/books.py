"""What each of several strategies holds of one netted position: books that always add up to what the account holds.

A book is a signed quantity of one symbol, with an entry of its own. Wants are quantities, too: what each strategy would
hold if all went through. The steps from one close to the next, for one symbol:

1. `trade(..., filled=0)`   wants that are due meet at the open: buyers and sellers among the books trade with each
                            other first. The smaller side gets all of it, the larger side in proportion to its needs.
2. `trade(..., filled=dq)`  what the venue filled of the rest is shared in proportion to the needs that are left.
3. `round_off`              where no more than the rounding to lots is left, everyone has what it wanted, and the
                            largest book carries the rest.
4. `shrink`                 a liquidation, a deleveraging or a delisting takes the same part of every book.
5. `balance`                the last digit: the largest book is what the others leave of the position.

`bring_up` does them all inside of `decide`, on numbers that the loop keeps for it (`at` and `step` say where);
`backtest.attributing` does the same with `trade`, `round_off`, `shrink` and `balance` on arrays, from the rows of the
run. The functions call nothing but builtins, so that their text can be put into a compiled `decide`.

    LAST, NET, WORKING, ASKED      of the symbol: bar after the last decision, sum of the books, whether wants stand,
                                   which strategy was asked last
    HELD, BASIS, SINCE, BEST, WANT of each strategy: its book, entry value, entry bar, best close since, want
    behind them                    wants of orders not due yet: when they are due, and a want for each strategy
"""

from __future__ import annotations

from typing import Any

from backtest.kernel.layout import ENTRY_BAR, FILLED, LIQ_BAR, LOT, O_PRICE, QUEUE, SLOT, SLOTS, W_KIND, Q

LAST, NET, WORKING, ASKED = 0, 1, 2, 3
HEAD = 4
HELD, BASIS, SINCE, BEST, WANT = 0, 1, 2, 3, 4
FIELDS = 5


def numbers(count: int) -> tuple[int, int]:
    """How many numbers a symbol the books of so many strategies take: always, and for each order that may wait."""
    return HEAD + FIELDS * count, 1 + count


def first_number(acc: Any, symbol: int, step: int) -> int:
    """Where the books of a symbol begin: behind the orders that wait."""
    return (QUEUE + SLOT * int(acc[SLOTS])) * step + symbol


def trade(book: Any, at: int, step: int, count: int, filled: float, value: float, bar: float) -> None:
    """Books move towards their wants at a value price: by what they have for each other (filled 0), else by what the
    venue filled."""
    up, down = 0.0, 0.0
    for i in range(count):
        place = at + (HEAD + i * FIELDS) * step
        held, want = book[place + HELD * step], book[place + WANT * step]
        if abs(want - held) <= 1e-12 * abs(held):  # the last digits are no need
            continue
        if want > held:
            up += want - held
        else:
            down += held - want
    both = min(up, down)
    up_part, down_part = 0.0, 0.0
    if filled == 0.0 and both > 0.0:
        up_part, down_part = both / up, both / down
    elif filled > 0.0 and up > 0.0:
        up_part = filled / up
    elif filled < 0.0 and down > 0.0:
        down_part = -filled / down
    for i in range(count):
        place = at + (HEAD + i * FIELDS) * step
        held, want = book[place + HELD * step], book[place + WANT * step]
        part = up_part if want > held else down_part
        if abs(want - held) <= 1e-12 * abs(held) or part == 0.0:
            continue
        after = want if part > 0.999999999999 else held + (want - held) * part
        if abs(after) <= 1e-12 * abs(held):
            after = 0.0
        if held == 0.0 or held * after < 0.0:
            book[place + BASIS * step] = value
            book[place + SINCE * step] = bar
            book[place + BEST * step] = abs(value) if value > 0.0 else -1.0 / value
        elif abs(after) > abs(held):
            book[place + BASIS * step] = (held * book[place + BASIS * step] + (after - held) * value) / after
        book[place + HELD * step] = after


def round_off(
    book: Any, at: int, step: int, count: int, net: float, lot: float, value: float, bar: float
) -> bool:  # fmt: skip
    """Everyone has what it wanted, where the position is as near to that as lots allow."""
    wanted, scale = 0.0, abs(net)
    largest, most = 0, -1.0
    for i in range(count):
        want = book[at + (HEAD + i * FIELDS + WANT) * step]
        wanted += want
        scale += abs(want)
        if abs(want) > most:
            largest, most = i, abs(want)
    rest = abs(wanted - net)
    if rest >= lot * 0.999999 and rest > 1e-9 * scale:
        return False
    others = 0.0
    for i in range(count):
        place = at + (HEAD + i * FIELDS) * step
        want = book[place + WANT * step]
        if book[place + HELD * step] == 0.0 and want != 0.0:
            book[place + BASIS * step] = value
            book[place + SINCE * step] = bar
            book[place + BEST * step] = abs(value) if value > 0.0 else -1.0 / value
        book[place + HELD * step] = want
        if i != largest:
            others += want
    book[at + (HEAD + largest * FIELDS + HELD) * step] = net - others
    return True


def shrink(book: Any, at: int, step: int, count: int, kept: float) -> None:
    """Every book to the same part of itself."""
    for i in range(count):
        place = at + (HEAD + i * FIELDS + HELD) * step
        book[place] = book[place] * kept if kept != 0.0 else 0.0


def balance(book: Any, at: int, step: int, count: int, net: float) -> None:
    """The largest book is what the others leave of the position; flat ones stay flat."""
    largest, most, total = 0, 0.0, 0.0
    for i in range(count):
        held = book[at + (HEAD + i * FIELDS + HELD) * step]
        total += held
        if abs(held) > most:
            largest, most = i, abs(held)
    if most > 0.0 and total != net:
        place = at + (HEAD + largest * FIELDS + HELD) * step
        left = net - (total - book[place])
        book[place] = left if abs(left) > 1e-12 * most else 0.0
    book[at + NET * step] = net


def bring_up(
    leg: Any, acc: Any, at: int, symbol: int, step: int, count: int, bar: float, opened: float, mark: float,
    close: float,
) -> None:  # fmt: skip
    """The books up to this close, from what the loop knows of the bar: the five steps of the module's docstring."""
    last = leg[at + LAST * step] - 1.0
    liquidated = leg[LIQ_BAR * step + symbol] > last
    ring, width, slots = HEAD + count * FIELDS, 1 + count, int(acc[SLOTS])
    newest, found = 0.0, 0
    for d in range(slots):
        due = leg[at + (ring + d * width) * step]
        if liquidated and leg[LIQ_BAR * step + symbol] < bar:  # in a bar without decisions: nothing is due any more
            leg[at + (ring + d * width) * step] = 0.0
            leg[at + WORKING * step] = 0.0
        elif 0.0 < due <= bar:
            leg[at + (ring + d * width) * step] = 0.0
            if due > newest:
                newest, found = due, d
    inverse, lot = mark < 0.0, leg[LOT * step + symbol]
    net, now = leg[at + NET * step], leg[Q * step + symbol]
    if newest > 0.0:
        for i in range(count):
            leg[at + (HEAD + i * FIELDS + WANT) * step] = leg[at + (ring + found * width + 1 + i) * step]
        leg[at + WORKING * step] = 1.0
    if 0.0 <= last < bar - 1.0 and leg[LIQ_BAR * step + symbol] < bar and net != 0.0:
        wanted = 0.0  # in bars without decisions something may have been forced, before this bar's orders
        for i in range(count):
            wanted += leg[at + (HEAD + i * FIELDS + WANT) * step]
        filled = leg[FILLED * step + symbol] if leg[at + WORKING * step] != 0.0 else 0.0
        left = now - filled if wanted > now - filled and (now - filled) * net >= 0.0 else now + filled
        if abs(abs(now - net) - filled) > 1e-9 * (abs(net) + filled):
            shrink(leg, at, step, count, left / net)
            balance(leg, at, step, count, left)
            net = left
    if newest > 0.0:
        trade(leg, at, step, count, 0.0, -1.0 / opened if inverse else opened, bar)
    if leg[at + WORKING * step] != 0.0:
        wanted = 0.0
        for i in range(count):
            wanted += leg[at + (HEAD + i * FIELDS + WANT) * step]
        price = opened
        entered = leg[ENTRY_BAR * step + symbol] == bar  # and may be out again
        if now != net or entered or (liquidated and leg[LIQ_BAR * step + symbol] == bar):
            filled = leg[FILLED * step + symbol]
            filled = filled if wanted > net else -filled
            price = leg[O_PRICE * step + symbol] if filled != 0.0 else opened
            if filled != 0.0:
                trade(leg, at, step, count, filled, -1.0 / price if inverse else price, bar)
            net += filled
        if round_off(leg, at, step, count, net, lot, -1.0 / price if inverse else price, bar):
            leg[at + WORKING * step] = 0.0
    gross = 0.0
    for i in range(count):
        gross += abs(leg[at + (HEAD + i * FIELDS + HELD) * step])
    if net != 0.0 and abs(now - net) > 1e-9 * gross:  # more than the last digits: it was forced
        shrink(leg, at, step, count, now / net)
    balance(leg, at, step, count, now)
    if liquidated:
        for d in range(slots):
            leg[at + (ring + d * width) * step] = 0.0
    if liquidated or leg[W_KIND * step + symbol] == 0.0:
        leg[at + WORKING * step] = 0.0
    leg[at + LAST * step] = bar + 1.0
    for i in range(count):
        place = at + (HEAD + i * FIELDS) * step
        held, best = leg[place + HELD * step], leg[place + BEST * step]
        if (held > 0.0 and close > best) or (held < 0.0 and close < best):
            leg[place + BEST * step] = close


def latest_want(leg: Any, acc: Any, at: int, step: int, count: int, i: int) -> float:
    """What a strategy wanted last, where that is still to come; else what it holds."""
    ring, width = HEAD + count * FIELDS, 1 + count
    newest = 0.0
    place = at + (HEAD + i * FIELDS) * step
    want = leg[place + HELD * step] if leg[at + WORKING * step] == 0.0 else leg[place + WANT * step]
    for d in range(int(acc[SLOTS])):
        due = leg[at + (ring + d * width) * step]
        if due > newest:
            newest = due
            want = leg[at + (ring + d * width + 1 + i) * step]
    return float(want)


def slot_for(leg: Any, acc: Any, at: int, step: int, count: int, bar: float) -> int:
    """Where the wants of this bar's decision go, until they are due."""
    slots = int(acc[SLOTS])
    due = bar + slots
    place = at + (HEAD + count * FIELDS + int(due) % slots * (1 + count)) * step
    leg[place] = due
    return int(place)


def stopped(
    held: float, entry: float, best: float, close: float, stop_loss: float, take_profit: float, trailing_stop: float
) -> bool:  # fmt: skip
    """Whether a strategy's own stops ask for its exit at this close. Stops of 0 or NaN are none."""
    if held == 0.0:
        return False
    side = 1.0 if held > 0.0 else -1.0
    moved = side * (close / entry - 1.0)
    if stop_loss > 0.0 and moved <= -stop_loss:
        return True
    if take_profit > 0.0 and moved >= take_profit:
        return True
    return trailing_stop > 0.0 and side * (close / best - 1.0) <= -trailing_stop
