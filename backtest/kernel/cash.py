"""Everything that moves the wallet: one ledger row a movement, and what a fill does to a leg."""

from __future__ import annotations

import numpy as np

from backtest.costs import cost_of_taking
from backtest.jit import jit
from backtest.kernel.layout import (
    ALL_CROSS,
    BAD_DEBT,
    CASH_BASIS,
    COST_A,
    COST_B,
    DELTA,
    ENTRY_BAR,
    FEES,
    FILL_ROW,
    FILLS,
    FUNDING,
    GROSS_LOSS,
    GROSS_PROFIT,
    HOLDING,
    KEEP,
    KIND,
    LEDGER_ROW,
    LEV,
    LOGGED,
    MARGIN,
    MODE,
    REFUSED,
    REFUSED_ROW,
    SLIPPAGE,
    SPREAD,
    TRADE_PROFIT,
    TRADES,
    TURNOVER,
    VE,
    WALLET,
    WINS,
    Floats,
    Q,
)
from backtest.margin import size_at, value_at
from backtest.prepare import INVERSE, ISOLATED, SPOT
from backtest.records import Cash

FILL_CASH = int(Cash.FILL)
FEE_CASH = int(Cash.FEE)
FUNDING_CASH = int(Cash.FUNDING)
LIQUIDATION_FEE_CASH = int(Cash.LIQUIDATION_FEE)
INSURANCE_CASH = int(Cash.INSURANCE)
INTEREST_CASH = int(Cash.INTEREST)


@jit
def lots(x: float, lot: float) -> float:
    """Rounded toward zero."""
    if lot <= 0.0:
        return x
    whole = np.floor(abs(x) / lot + 1e-9) * lot
    return whole if x > 0.0 else -whole


@jit
def new_row(acc: Floats, log: Floats, kind: int, bar: int, k: int) -> Floats:
    """The next row of the log, with its kind, bar and symbol."""
    at = int(acc[LOGGED])
    acc[LOGGED] += 1.0
    log[at, 0], log[at, 1], log[at, 2] = kind, bar, k
    return log[at]


@jit
def pay(acc: Floats, leg: Floats, k: int, bar: int, kind: int, amount: float, log: Floats) -> None:
    """One movement of cash. The wallet is the sum of these, in this order. A fee has a row even where it is nothing."""
    if amount == 0.0 and kind not in (FEE_CASH, LIQUIDATION_FEE_CASH):
        return
    acc[WALLET] += amount
    if kind in (FEE_CASH, LIQUIDATION_FEE_CASH):
        acc[FEES] -= amount
    elif kind == FUNDING_CASH:
        acc[FUNDING] += amount
    elif kind == INSURANCE_CASH and amount > 0.0:
        acc[BAD_DEBT] += amount
    if k >= 0:
        leg[k, TRADE_PROFIT] += amount
    if acc[KEEP] != 0.0:
        row = new_row(acc, log, LEDGER_ROW, bar, k)
        row[3], row[4], row[5] = kind, amount, acc[WALLET]


@jit
def price_with_cost(acc: Floats, leg: Floats, k: int, dq: float, reference: float) -> float:
    """What an order that takes gets: a buyer pays more than the reference, a seller gets less."""
    quote = abs(dq) if leg[k, KIND] == INVERSE else abs(dq) * reference
    c = cost_of_taking(leg[k, SPREAD], leg[k, COST_A], leg[k, COST_B], acc[DELTA], quote)
    return reference * (1.0 + c) if dq > 0.0 else reference * (1.0 - c)


@jit
def isolated_margins(acc: Floats, leg: Floats) -> float:
    total = 0.0
    if acc[ALL_CROSS] != 0.0:
        return total
    for k in range(len(leg)):
        if leg[k, MODE] == ISOLATED:
            total += leg[k, MARGIN]
    return total


@jit
def write_fill(
    acc: Floats,
    leg: Floats,
    k: int,
    bar: int,
    why: int,
    dq: float,
    price: float,
    reference: float,
    fee: float,
    profit: float,
    log: Floats,
) -> None:
    inverse = leg[k, KIND] == INVERSE
    slippage = abs(dq) * abs(size_at(price, inverse) - size_at(reference, inverse))
    acc[SLIPPAGE] += slippage
    acc[TURNOVER] += abs(dq) * size_at(price, inverse)
    acc[FILLS] += 1.0
    if acc[KEEP] != 0.0:
        row = new_row(acc, log, FILL_ROW, bar, k)
        row[3], row[4], row[5], row[6] = why, dq, price, reference
        row[7], row[8], row[9], row[10] = fee, profit, slippage, leg[k, Q]


@jit
def refuse(acc: Floats, k: int, bar: int, why: int, target: float, quantity: float, log: Floats) -> None:
    acc[REFUSED] += 1.0
    if acc[KEEP] != 0.0:
        row = new_row(acc, log, REFUSED_ROW, bar, k)
        row[3], row[4], row[5] = why, target, quantity


@jit
def profit_of(leg: Floats, k: int, closed: float, price: float) -> float:
    """Cash from closing `closed` (signed like the position) at a price: for spot, what the sale brings."""
    return closed * (value_at(price, leg[k, KIND] == INVERSE) - leg[k, CASH_BASIS])


@jit
def gain_of(leg: Floats, k: int, closed: float, price: float) -> bool:
    """Realised profit of closing `closed`, spot or not."""
    return closed * (value_at(price, leg[k, KIND] == INVERSE) - leg[k, VE])


@jit
def shrink(leg: Floats, k: int, dq: float) -> float:
    """The position after `dq` against it; the isolated margin that this frees."""
    q = leg[k, Q]
    free = 0.0
    if leg[k, MODE] == ISOLATED:
        free = leg[k, MARGIN] if dq == -q else leg[k, MARGIN] * (abs(dq) / abs(q))
        leg[k, MARGIN] -= free
    leg[k, Q] = 0.0 if dq == -q else q + dq
    return free


@jit
def trade_over(acc: Floats, leg: Floats, k: int, bar: int, bar_hours: float) -> None:
    """Called after the last row of a trade: flat to flat."""
    if leg[k, Q] != 0.0:
        return
    profit = leg[k, TRADE_PROFIT]
    acc[TRADES] += 1.0
    acc[HOLDING] += (bar - leg[k, ENTRY_BAR]) * bar_hours
    if profit > 0.0:
        acc[WINS] += 1.0
        acc[GROSS_PROFIT] += profit
    else:
        acc[GROSS_LOSS] -= profit
    leg[k, TRADE_PROFIT] = 0.0
    leg[k, MARGIN] = 0.0


@jit
def no_cross_contract(leg: Floats) -> bool:
    for k in range(len(leg)):
        if leg[k, Q] != 0.0 and leg[k, MODE] != ISOLATED and leg[k, KIND] != SPOT:
            return False
    return True


@jit
def close_some(
    acc: Floats,
    leg: Floats,
    k: int,
    bar: int,
    why: int,
    dq: float,
    price: float,
    reference: float,
    fee_rate: float,
    bar_hours: float,
    log: Floats,
) -> None:
    """A voluntary reduction. What the isolated margin, or an empty cross wallet, cannot pay, the fund pays."""
    profit = profit_of(leg, k, -dq, price)
    gain = gain_of(leg, k, -dq, price)
    free = shrink(leg, k, dq)
    pay(acc, leg, k, bar, FILL_CASH, profit, log)
    if leg[k, MODE] == ISOLATED:
        if free + profit < 0.0:
            pay(acc, leg, k, bar, INSURANCE_CASH, -(free + profit), log)
    elif leg[k, KIND] != SPOT and no_cross_contract(leg):
        short = acc[WALLET] - isolated_margins(acc, leg)
        if short < 0.0:
            pay(acc, leg, k, bar, INSURANCE_CASH, -short, log)
    notional = abs(dq) * size_at(price, leg[k, KIND] == INVERSE)
    fee = min(fee_rate * notional, max(0.0, acc[WALLET] - isolated_margins(acc, leg)))
    pay(acc, leg, k, bar, FEE_CASH, -fee, log)
    write_fill(acc, leg, k, bar, why, dq, price, reference, fee, gain, log)
    trade_over(acc, leg, k, bar, bar_hours)


@jit
def open_more(
    acc: Floats,
    leg: Floats,
    k: int,
    bar: int,
    why: int,
    inc: float,
    leverage: float,
    price: float,
    reference: float,
    fee_rate: float,
    log: Floats,
) -> None:
    """An increase, or a position from flat. The caller has made sure that it fits."""
    inverse = leg[k, KIND] == INVERSE
    notional = abs(inc) * size_at(price, inverse)
    q = leg[k, Q]
    if q == 0.0:
        leg[k, ENTRY_BAR] = bar
        leg[k, TRADE_PROFIT] = 0.0
    if leg[k, KIND] == SPOT:
        pay(acc, leg, k, bar, FILL_CASH, -inc * price, log)
    fee = fee_rate * notional
    pay(acc, leg, k, bar, FEE_CASH, -fee, log)
    v = value_at(price, inverse)
    leg[k, VE] = v if q == 0.0 else (q * leg[k, VE] + inc * v) / (q + inc)
    leg[k, CASH_BASIS] = 0.0 if leg[k, KIND] == SPOT else leg[k, VE]
    leg[k, Q] = q + inc
    leg[k, LEV] = leverage
    if leg[k, MODE] == ISOLATED:
        leg[k, MARGIN] += notional / leverage
    write_fill(acc, leg, k, bar, why, inc, price, reference, fee, 0.0, log)
