"""What each of several strategies on one account made: its books again, from the rows of the run, and their cash.

The rule, in order (`backtest.books` moves the books; docs/together.md has the same in words):

1. A book carries its own price P&L and funding: Q v(price), at the prices before costs.
2. What two books sell each other changes hands at the open, at no cost; the turnover is noted as `netted`.
3. An order's fill is shared by the quantity that each wanted of it, fee and slippage with it.
4. A forced close takes the same part of every book, at its price before costs. Fee, slippage and what the insurance
   fund took or paid are shared by those on the side that was closed.
5. Interest belongs to the account.

The sum of all is the account's profit, to the last digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from backtest import books
from backtest.attribution import MEMO, PARTS, Attribution
from backtest.books import FIELDS, HEAD, HELD, NET, WANT, WORKING
from backtest.jit import stamped
from backtest.prepare import FUNDING_EVENT, INVERSE, SPOT, Prepared
from backtest.records import Cash, Run, Why

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PRICE, FUNDING, FEES, SLIPPAGE, LIQUIDATION = range(5)
TRADED, NETTED, SAVED = range(3)
FORCED = (Why.LIQUIDATION, Why.REDUCTION, Why.DELEVERAGED, Why.DELISTED)
CANCELLING = (Why.LIQUIDATION, Why.REDUCTION, Why.DELISTED)
FUND, ORDER, FORCE, CANCEL = 0, 1, 2, 3  # kinds of things that happen

jit = stamped("attributing.py", "books.py", "jit.py", "kernel/layout.py")
_trade, _round_off, _shrink, _balance = (
    jit(books.trade),
    jit(books.round_off),
    jit(books.shrink),
    jit(books.balance),
)


def attribute(
    names: tuple[str, ...], symbols: tuple[str, ...], ts: Ints, prepared: Prepared, run: Run, wants: Floats
) -> Attribution:
    """`wants`: (strategies, bars, symbols), what each wanted after a bar's decision; NaN where nothing was decided."""
    count, n, k = wants.shape
    parts, memo = np.zeros((count, len(PARTS))), np.zeros((count, len(MEMO)))
    cash, held = np.zeros((count, n)), np.zeros((count, n, k))
    value = np.zeros((count, n))
    shares = np.zeros((len(run.fills), count))
    order_of_fill, is_liquidation_fee = _fees(run)
    for j in range(k):
        inverse = prepared.contracts.kind[j] == INVERSE
        own = np.flatnonzero(run.fills["symbol"] == j)
        what = _happened(prepared, run, j, own, order_of_fill, is_liquidation_fee)
        mine = np.zeros((count, n))
        shared = np.zeros((len(what), count))
        replay(
            np.ascontiguousarray(wants[:, :, j]),
            prepared.bars.present[:, j],
            _value(prepared.bars.open[:, j], inverse),
            _value(prepared.bars.mark_close[:, j], inverse),
            what, int(prepared.delay), float(prepared.contracts.lot[j]), int(run.ruined_bar),
            int(prepared.contracts.last_bar[j]), mine, cash, parts, memo, shared,
        )  # fmt: skip
        shares[own] = shared[np.isin(what[:, 1], (ORDER, FORCE, CANCEL))]
        held[:, :, j] = mine
        value += mine * _value(prepared.bars.mark_close[:, j], inverse)
    inverse_fills = prepared.contracts.kind[run.fills["symbol"]] == INVERSE
    size = np.abs(run.fills["quantity"] * np.where(inverse_fills, 1.0 / run.fills["price"], run.fills["price"]))
    _insure(run, shares, size, cash, parts)
    parts[:, PRICE] += value[:, -1]
    memo[:, SAVED] = memo[:, NETTED] * prepared.taker
    interest = float(run.ledger["amount"][run.ledger["kind"] == Cash.INTEREST].sum())
    curves = np.cumsum(cash, axis=1) + value
    return Attribution(names, symbols, ts, parts, memo, curves, held, interest)


def _value(price: Floats, inverse: bool) -> Floats:
    return np.ascontiguousarray(-1.0 / price if inverse else price)


def _fees(run: Run) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """For each fill, where its fee stands in the ledger, and whether it is one of a liquidation."""
    kinds = run.ledger["kind"]
    rows = np.flatnonzero((kinds == Cash.FEE) | (kinds == Cash.LIQUIDATION_FEE))
    return rows, kinds[rows] == Cash.LIQUIDATION_FEE


WHAT = (
    10  # bar, kind, place in the bar, then by kind: unit | quantity, before, after, value, reference, fee, is its own
)


def _happened(
    p: Prepared, run: Run, j: int, own: Ints, order: Ints, liquidation_fee: npt.NDArray[np.bool_]
) -> Floats:  # fmt: skip
    """All that happened to one symbol, in order: settlements, fills of orders, forced closes."""
    fills, inverse = run.fills[own], p.contracts.kind[j] == INVERSE
    rows = np.zeros((len(own), WHAT))
    rows[:, 0], rows[:, 2] = fills["bar"], 1.0 + order[own]
    rows[:, 1] = ORDER
    rows[np.isin(fills["why"], FORCED), 1] = FORCE
    rows[np.isin(fills["why"], CANCELLING), 1] = CANCEL
    rows[:, 3], rows[:, 5] = fills["quantity"], fills["position"]
    rows[:, 4] = np.concatenate([[0.0], fills["position"][:-1]]) if len(own) else 0.0
    rows[:, 6], rows[:, 7] = _value(fills["price"], inverse), _value(fills["reference"], inverse)
    rows[:, 8], rows[:, 9] = fills["fee"], liquidation_fee[own]
    if p.contracts.kind[j] == SPOT:
        return rows
    both = np.concatenate([_settled(p, run, j, inverse), rows])
    return np.ascontiguousarray(both[np.lexsort((both[:, 2], both[:, 0]))])


def _settled(p: Prepared, run: Run, j: int, inverse: bool) -> Floats:
    """Settlements: what one unit of quantity was paid. Where the account held nothing, books may owe each other."""
    events = p.events[(p.events["symbol"] == j) & (p.events["kind"] == FUNDING_EVENT)]
    paid = run.fundings[run.fundings["symbol"] == j]
    in_ledger = np.flatnonzero((run.ledger["kind"] == Cash.FUNDING) & (run.ledger["symbol"] == j))
    out = np.zeros((len(events), WHAT))
    row, line = 0, 0
    for e, event in enumerate(events):
        bar, inside = int(event["bar"]), int(event["inside"])
        has_row = row < len(paid) and paid["bar"][row] == bar and paid["at_open"][row] == 1 - inside
        if has_row and paid["rate"][row] == event["rate"]:
            unit = paid["amount"][row] / paid["quantity"][row]
            place = 1.0 + in_ledger[line] if inside and paid["amount"][row] != 0.0 else 0.0
            line += paid["amount"][row] != 0.0
            row += 1
        else:
            price = event["price"] if event["price"] == event["price"] else _mark_at(p, event, j)
            unit = -(1.0 / price if inverse else price) * event["rate"]
            place = np.inf if inside else 0.0
        out[e, :4] = bar, FUND, place, unit
    return out


def _mark_at(p: Prepared, event: Any, j: int) -> float:
    """The mark at the open of the bar, or of the finer bar, that a settlement lies in."""
    bar = int(event["bar"])
    if p.detail is None or not event["inside"] or p.detail_first[bar] == p.detail_first[bar + 1]:
        return float(p.bars.mark_open[bar, j])
    return float(p.detail.mark_open[max(int(event["detail"]), int(p.detail_first[bar])), j])


@jit
def replay(
    wants: Floats, present: Any, opened: Floats, marks: Floats, what: Floats, delay: int, lot: float, ruined: int,
    last_bar: int, held: Floats, cash: Floats, parts: Floats, memo: Floats, shares: Floats,
) -> None:  # fmt: skip
    """The books of one symbol, bar by bar, and the cash that each of them gives and takes."""
    count, n = wants.shape
    book = np.zeros(HEAD + FIELDS * count)
    before = np.zeros(count)
    taken, at = 0, 0  # decisions before it are done with; what happens next
    for i in range(n):
        while at < len(what) and what[at, 0] == i and what[at, 1] == FUND and what[at, 2] == 0.0:
            for s in range(count):
                amount = book[HEAD + s * FIELDS + HELD] * what[at, 3]
                cash[s, i] += amount
                parts[s, FUNDING] += amount
            at += 1
        newest = -1
        if present[i] and (ruined < 0 or i <= ruined):
            while taken < i - delay:
                if wants[0, taken] == wants[0, taken]:
                    newest = taken
                taken += 1
        if newest >= 0:
            for s in range(count):
                book[HEAD + s * FIELDS + WANT] = wants[s, newest]
                before[s] = book[HEAD + s * FIELDS + HELD]
            book[WORKING] = 1.0
            _trade(book, 0, 1, count, 0.0, opened[i], float(i))
            _pay(book, before, count, opened[i], i, cash, parts)
            for s in range(count):
                memo[s, NETTED] += abs(book[HEAD + s * FIELDS + HELD] - before[s]) * abs(opened[i])
            is_filled = at < len(what) and what[at, 0] == i and what[at, 1] == ORDER
            if not is_filled:
                _finish(book, before, count, lot, opened[i], i, cash, parts)
        while at < len(what) and what[at, 0] == i:
            kind = what[at, 1]
            if kind == FUND:
                for s in range(count):
                    amount = book[HEAD + s * FIELDS + HELD] * what[at, 3]
                    cash[s, i] += amount
                    parts[s, FUNDING] += amount
            else:
                _fill(book, before, count, what[at], i, cash, parts, memo, shares[at])
                more = at + 1 < len(what) and what[at + 1, 0] == i and what[at + 1, 1] == ORDER
                if kind == ORDER and not more:
                    _finish(book, before, count, lot, what[at, 7], i, cash, parts)
                if kind == CANCEL:
                    book[WORKING] = 0.0
                    taken = max(taken, i)
            at += 1
        if i == last_bar:
            for s in range(count):
                before[s] = book[HEAD + s * FIELDS + HELD]
            _shrink(book, 0, 1, count, 0.0)
            _pay(book, before, count, marks[i], i, cash, parts)
        for s in range(count):
            held[s, i] = book[HEAD + s * FIELDS + HELD]


@jit
def _pay(book: Floats, before: Floats, count: int, value: float, i: int, cash: Floats, parts: Floats) -> None:
    """The cash of books that changed at a value."""
    for s in range(count):
        amount = (before[s] - book[HEAD + s * FIELDS + HELD]) * value
        cash[s, i] += amount
        parts[s, PRICE] += amount


@jit
def _finish(
    book: Floats, before: Floats, count: int, lot: float, value: float, i: int, cash: Floats, parts: Floats
) -> None:  # fmt: skip
    """Rounding to lots, once an order is done."""
    if book[WORKING] == 0.0:
        return
    for s in range(count):
        before[s] = book[HEAD + s * FIELDS + HELD]
    if _round_off(book, 0, 1, count, book[NET], lot, value, float(i)):
        book[WORKING] = 0.0
    _pay(book, before, count, value, i, cash, parts)


@jit
def _fill(
    book: Floats, before: Floats, count: int, row: Floats, i: int, cash: Floats, parts: Floats, memo: Floats,
    share: Floats,
) -> None:  # fmt: skip
    """A fill of the venue, shared: books at the price before costs, and what it cost."""
    dq, was, now, value, reference, fee = row[3], row[4], row[5], row[6], row[7], row[8]
    total = 0.0
    for s in range(count):
        before[s] = book[HEAD + s * FIELDS + HELD]
    if row[1] == ORDER:
        _trade(book, 0, 1, count, dq, reference, float(i))
    else:
        _shrink(book, 0, 1, count, now / was if was != 0.0 else 0.0)
    _balance(book, 0, 1, count, now)
    for s in range(count):
        changed = book[HEAD + s * FIELDS + HELD] - before[s]
        share[s] = max(0.0, changed / dq)
        total += share[s]
    _pay(book, before, count, reference, i, cash, parts)
    for s in range(count):
        share[s] = share[s] / total if total > 0.0 else 1.0 / count
        slipped, charged = -share[s] * dq * (value - reference), -share[s] * fee
        parts[s, SLIPPAGE] += slipped
        parts[s, LIQUIDATION if row[9] != 0.0 else FEES] += charged
        cash[s, i] += slipped + charged
        memo[s, TRADED] += share[s] * abs(dq) * abs(value)


def _insure(run: Run, shares: Floats, size: Floats, cash: Floats, parts: Floats) -> None:
    """What the insurance fund took or paid: by the notional that each closed there in that bar, the forced first."""
    rows = run.ledger[run.ledger["kind"] == Cash.INSURANCE]
    fills = run.fills
    forced = np.isin(fills["why"], FORCED)
    for row in rows:
        there = fills["bar"] == row["bar"]
        if row["symbol"] >= 0:
            there &= fills["symbol"] == row["symbol"]
        there = there & forced if (there & forced).any() else there
        each = (shares[there] * size[there, None]).sum(axis=0)
        each = each / each.sum() if each.sum() > 0.0 else np.full(shares.shape[1], 1.0 / shares.shape[1])
        cash[:, int(row["bar"])] += each * row["amount"]
        parts[:, LIQUIDATION] += each * row["amount"]
