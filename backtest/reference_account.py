"""The account of the reference engine: cash, balances, what settlements pay, and what a reduction frees.

`Account` holds everything that changes; `fork` is a copy on which a path can be tried, `become` takes it over.
An *account* in the arguments is what answers for a breach: the symbol of an isolated leg, or None for all cross legs.
Marks travel as lists with one value a symbol.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Self

from backtest.prepare import Prepared
from backtest.records import LEG_SERIES, SERIES, Cash, Refusal, Why
from backtest.reference_breach import first_breach
from backtest.reference_parts import (
    DUST,
    ROUNDING,
    Candle,
    Counts,
    Leg,
    Order,
    Rows,
    Tiers,
    candles,
    in_force,
    legs_of,
    lots,
    sign,
    tier_tables,
)


class Account:
    """One account on one set of bars."""

    def __init__(self, prepared: Prepared) -> None:
        self.rules = prepared
        self.bars = candles(prepared.bars)
        self.taking = [getattr(prepared.taking, name).tolist() for name in ("half_spread", "a", "b")]
        self.tables = tier_tables(prepared)
        self.legs = legs_of(prepared)
        self.wallet = float(prepared.equity)
        self.rows = Rows()
        self.counts = Counts(skipped=min(prepared.warmup, prepared.n))
        self.series: dict[str, list[float]] = {name: [] for name in SERIES}
        self.leg_series: dict[str, list[list[float]]] = {name: [] for name in LEG_SERIES}
        self.distances: list[float] = []
        # this bar
        self.bar = -1
        self.now: list[Candle] = []  # the bar, or the finer bar that is walked
        self.tiers: list[Tiers] = []
        self.distance = math.inf
        self.is_ambiguous = False
        self.was_liquidated = False

    def begin(self, bar: int) -> None:
        """A new tier table may come into force, and the bar's volume is there to be used."""
        self.bar, self.now = bar, self.bars[bar]
        self.tiers = [in_force(tables, bar) for tables in self.tables]
        self.distance = math.inf
        self.is_ambiguous = self.was_liquidated = False
        for leg in self.legs:
            leg.traded, leg.stopped, leg.reduced = 0.0, False, False

    def fork(self) -> Self:
        twin = copy.copy(self)
        twin.legs = [leg.copy() for leg in self.legs]
        twin.rows = self.rows.copy()
        twin.counts = copy.copy(self.counts)
        return twin

    def become(self, twin: Self) -> None:
        self.__dict__.update(twin.__dict__)

    # ---- cash and balances --------------------------------------------------------------------------

    def pay(self, kind: Cash, symbol: int, amount: float) -> None:
        if amount != 0.0:
            self.wallet += amount
            self.rows.ledger.append((self.bar, symbol, kind, amount, self.wallet))

    @property
    def marks_at_open(self) -> list[float]:
        return [candle.mark_open for candle in self.now]

    @property
    def marks_at_close(self) -> list[float]:
        return [candle.mark_close for candle in self.now]

    @property
    def isolated_margins(self) -> float:
        return sum((leg.margin for leg in self.legs), 0.0)

    @property
    def free_cash(self) -> float:
        return max(0.0, self.wallet - self.isolated_margins)

    def equity(self, marks: Sequence[float]) -> float:
        return self.wallet + sum((leg.worth(marks[leg.symbol]) for leg in self.legs if leg.is_open), 0.0)

    def members(self, account: int | None) -> list[Leg]:
        """The open contracts that answer for each other: one isolated leg, or (None) all cross legs."""
        if account is not None:
            return [self.legs[account]] if self.legs[account].is_open else []
        return [leg for leg in self.legs if leg.is_open and not leg.isolated and not leg.is_spot]

    def collateral(self) -> list[Leg]:
        return [leg for leg in self.legs if leg.is_open and leg.is_spot and self.rules.collateral_weight > 0.0]

    def is_shared(self) -> bool:
        """Several cross legs answer for each other."""
        return len(self.members(None)) + len(self.collateral()) > 1

    def account_of(self, leg: Leg) -> int | None:
        return leg.symbol if leg.isolated else None

    def cash_of(self, account: int | None) -> float:
        return self.wallet - self.isolated_margins if account is None else self.legs[account].margin

    def balance(self, account: int | None, marks: Sequence[float]) -> float:
        profit = sum((leg.unrealised(marks[leg.symbol]) for leg in self.members(account)), 0.0)
        total = self.cash_of(account) + profit
        if account is None:
            value = sum((leg.worth(marks[leg.symbol]) for leg in self.collateral()), 0.0)
            total += self.rules.collateral_weight * value
        return total

    def maintenance_of(self, leg: Leg, marks: Sequence[float]) -> float:
        return self.tiers[leg.symbol].maintenance(leg.notional(marks[leg.symbol]))

    def maintenance(self, account: int | None, marks: Sequence[float]) -> float:
        return sum((self.maintenance_of(leg, marks) for leg in self.members(account)), 0.0)

    def is_breached(self, account: int | None, marks: Sequence[float]) -> bool:
        return bool(self.members(account)) and self.balance(account, marks) <= self.maintenance(account, marks)

    def liquidation_level(self, leg: Leg, mark: float) -> float | None:
        """The mark at which this leg alone is liquidated, going the bad way from `mark`."""
        cash = self.cash_of(leg.symbol if leg.isolated else None)
        return first_breach(leg, cash, mark, self.tiers[leg.symbol])

    # ---- fills ---------------------------------------------------------------------------------------

    def cost_of_taking(self, leg: Leg, dq: float, reference: float) -> float:
        half_spread, a, b = (column[self.bar][leg.symbol] for column in self.taking)
        quote = leg.quote_notional(dq, reference)
        return float(min(0.99, half_spread + max(a * quote**self.rules.taking.delta, b * quote)))

    def taken_at(self, leg: Leg, dq: float, reference: float) -> float:
        return reference * (1.0 + sign(dq) * self.cost_of_taking(leg, dq, reference))

    def book_fill(
        self, leg: Leg, why: Why, dq: float, price: float, reference: float, fee: float, profit: float
    ) -> None:
        slippage = abs(dq) * abs(leg.size(price) - leg.size(reference))
        row = (self.bar, leg.symbol, why, dq, price, reference, fee, profit, slippage, leg.quantity)
        self.rows.fills.append(row)

    def reduce(self, leg: Leg, dq: float, price: float, reference: float, fee_rate: float, why: Why) -> None:
        """Closes a part or all: the profit to the wallet, a share of the isolated margin is free again.

        What the share cannot pay, the insurance fund pays; so it does for a cross wallet left with nothing open.
        """
        closed = abs(dq / leg.quantity)
        share = leg.margin * closed
        profit = -dq * (leg.value(price) - leg.v_entry)
        size = leg.size(price)
        self.pay(Cash.FILL, leg.symbol, -dq * price if leg.is_spot else profit)
        leg.margin -= share
        leg.move(dq)
        if leg.isolated:
            self.pay(Cash.INSURANCE, leg.symbol, max(0.0, -(share + profit)))
        elif not leg.is_spot and not self.members(None):
            self.pay(Cash.INSURANCE, leg.symbol, max(0.0, -self.cash_of(None)))
        fee = min(fee_rate * abs(dq) * size, self.free_cash)
        self.pay(Cash.FEE, leg.symbol, -fee)
        self.book_fill(leg, why, dq, price, reference, fee, profit)

    # ---- settlements and deleveraging ------------------------------------------------------------------

    def settle(self, event: Any) -> None:
        """A settlement is paid by the position held: out of the isolated margin, or the wallet of a cross leg."""
        leg = self.legs[int(event["symbol"])]
        if not leg.is_open or leg.is_spot:
            return
        own, rate = float(event["price"]), float(event["rate"])
        price = own if math.isfinite(own) else self.now[leg.symbol].mark_open
        amount = -leg.quantity * leg.size(price) * rate
        if leg.isolated:
            leg.margin += amount
        self.pay(Cash.FUNDING, leg.symbol, amount)
        known, at_open = int(math.isfinite(own)), int(event["inside"] == 0)
        self.rows.fundings.append((self.bar, leg.symbol, at_open, rate, price, leg.quantity, amount, known))

    def deleverage(self, event: Any) -> None:
        """A venue closed a part of the position, at its price and without a fee."""
        leg = self.legs[int(event["symbol"])]
        part, own = float(event["rate"]), float(event["price"])
        if leg.is_spot or sign(part) * sign(leg.quantity) <= 0:
            return
        dq = -leg.quantity if abs(part) >= 1.0 else -lots(abs(part) * leg.quantity, leg.lot)
        price = own if math.isfinite(own) else self.now[leg.symbol].mark_open
        if dq != 0.0:
            self.reduce(leg, dq, price, price, 0.0, Why.DELEVERAGED)

    # ---- orders --------------------------------------------------------------------------------------

    def remaining(self, leg: Leg, order: Order) -> float:
        """What is still to be done."""
        if order.quantity == 0.0:
            return -leg.quantity
        dq = order.quantity - leg.quantity
        return self.snapped(leg, lots(dq, leg.lot)) if abs(dq) > ROUNDING * abs(order.quantity) else 0.0

    def snapped(self, leg: Leg, dq: float) -> float:
        """Lots do not add up exactly: what would leave a speck closes the whole."""
        return -leg.quantity if abs(leg.quantity + dq) <= DUST * leg.lot else dq

    def refuse_order(self, leg: Leg, order: Order, why: Refusal, dq: float) -> None:
        self.rows.refused.append((self.bar, leg.symbol, why, order.target, dq))

    def cancel_orders(self, leg: Leg, why: Refusal) -> None:
        for order in [*([leg.working] if leg.working is not None else []), *leg.queued]:
            self.refuse_order(leg, order, why, self.remaining(leg, order))
        leg.working, leg.queued = None, []
