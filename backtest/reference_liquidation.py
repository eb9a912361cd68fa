"""Liquidation in the reference engine: what a venue takes from an account that is breached, in which order.

`liquidate` is called with the marks at which it happens:

1. Orders are cancelled. Whether what is left will be seized is seen from the balance before anything.
2. The leg with the largest maintenance is reduced, where the venue reduces and the leg allows it. Otherwise it is
   closed; where the venue never reduces, all legs of the account at once.
3. When nothing is open any more, what is left is kept by the venue or returned, and what is missing is paid by the
   insurance fund.
4. Again from 2 while breached.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from backtest.prepare import REDUCE_FRACTION, REDUCE_NONE, REDUCE_TWO_TIERS, TAKEOVER
from backtest.records import Cash, Refusal, Why
from backtest.reference_account import Account
from backtest.reference_parts import TOLERANCE, Leg, lots

WORTHWHILE = 0.99  # a reduction that leaves more than this of the position goes a tier further


@dataclass
class Forced:
    """A fill of a liquidation, and what came after it."""

    leg: Leg
    quantity: float  # with the sign of the position
    bankruptcy: float
    price: float = 0.0
    profit: float = 0.0
    fee: float = 0.0
    insurance: float = 0.0


class Liquidation(Account):
    alone = True  # no other leg answered for this one when it was breached
    seized = False  # what is left goes to the venue

    def liquidate(self, account: int | None, marks: Sequence[float]) -> None:
        """An isolated leg, or (None) the cross account, at these marks: reductions first, then all of it."""
        self.was_liquidated = True
        self.cancel_liquidated(account)
        poor = self.balance(account, marks) < self.rules.backstop * self.maintenance(account, marks)
        self.seized = self.rules.residual == TAKEOVER or poor
        self.alone = account is not None or not self.is_shared()
        while True:
            self.force(self.next_step(account, marks), account, marks)
            if not self.is_breached(account, marks):
                return

    def next_step(self, account: int | None, marks: Sequence[float]) -> dict[int, float]:
        """Which legs are closed, down to which quantity."""
        every = dict.fromkeys((leg.symbol for leg in self.members(account)), 0.0)
        if self.rules.reduction == REDUCE_NONE:
            return every
        leg = max(self.members(account), key=lambda leg: self.maintenance_of(leg, marks))
        first = {leg.symbol: math.copysign(self.kept_by_reduction(leg, marks[leg.symbol]), leg.quantity)}
        return first if self.survives(first, account, marks) else every

    def survives(self, step: dict[int, float], account: int | None, marks: Sequence[float]) -> bool:
        """Whether the cost of this step leaves anything to those that are still open."""
        after = self.fork()
        after.force(step, account, marks)
        return after.balance(account, marks) > TOLERANCE * self.rules.equity

    def cancel_liquidated(self, account: int | None) -> None:
        for leg in self.legs:
            if leg.symbol == account or (account is None and not leg.isolated):
                self.cancel_orders(leg, Refusal.LIQUIDATED)

    def kept_by_reduction(self, leg: Leg, mark: float) -> float:
        """The quantity that the venue leaves at first; 0: all of it goes."""
        tiers, notional, kept = self.tiers[leg.symbol], leg.notional(mark), 0.0
        if self.rules.reduction == REDUCE_FRACTION:
            if notional > self.rules.reduction_above and not leg.reduced:
                kept = abs(leg.quantity) * (1.0 - self.rules.reduction_fraction)
        elif self.rules.reduction != REDUCE_NONE:
            lower = tiers.index(notional) - (2 if self.rules.reduction == REDUCE_TWO_TIERS else 1)
            while lower >= 0 and tiers.rows[lower].cap > WORTHWHILE * notional:
                lower -= 1
            kept = tiers.rows[lower].cap / leg.size(mark) if lower >= 0 else 0.0
        kept = lots(kept, leg.lot)
        return kept if kept < abs(leg.quantity) else 0.0

    def force(self, closing: dict[int, float], account: int | None, marks: Sequence[float]) -> None:
        """Closes legs down to what is kept of them. Fees are paid out of what all of it left."""
        legs = [(self.legs[symbol], kept) for symbol, kept in closing.items()]
        taken = [Forced(leg, leg.quantity - kept, self.bankruptcy_price(leg, account)) for leg, kept in legs]
        why = Why.REDUCTION if any(closing.values()) else Why.LIQUIDATION
        for fill in taken:
            self.forced_fill(fill, marks[fill.leg.symbol])
        left = self.balance(account, marks) + sum((fill.profit for fill in taken), 0.0)
        for fill in taken:
            wanted = self.rules.liquidation_fee * abs(fill.quantity) * fill.leg.size(fill.price)
            fill.fee = min(wanted, max(0.0, left))
            left -= fill.fee
            self.pay_from(account, Cash.FILL, fill.leg.symbol, fill.profit)
            self.pay_from(account, Cash.LIQUIDATION_FEE, fill.leg.symbol, -fill.fee)
        if not self.members(account):
            taken[-1].insurance = self.settle_rest(account, taken[-1].leg.symbol)
        for fill in taken:
            self.write_forced(fill, why, marks[fill.leg.symbol])

    def forced_fill(self, fill: Forced, mark: float) -> None:
        leg, margin = fill.leg, fill.leg.margin
        fill.price = self.taken_at(leg, -fill.quantity, mark)
        fill.profit = fill.quantity * (leg.value(fill.price) - leg.v_entry)
        leg.move(-fill.quantity)
        leg.margin = margin  # it answers for what is closed
        leg.last_liquidation, leg.reduced = self.bar, True

    def pay_from(self, account: int | None, kind: Cash, symbol: int, amount: float) -> None:
        if account is not None:
            self.legs[account].margin += amount
        self.pay(kind, symbol, amount)

    def settle_rest(self, account: int | None, symbol: int) -> float:
        """Nothing is open any more: the venue keeps what is left, or the insurance fund pays what is missing."""
        rest = self.cash_of(account)
        insurance = -rest if self.seized or rest < 0.0 else 0.0
        self.pay(Cash.INSURANCE, symbol if self.alone else -1, insurance)
        if account is not None:
            self.legs[account].margin = 0.0
        return insurance

    def bankruptcy_price(self, leg: Leg, account: int | None) -> float:
        if not self.alone:
            return math.nan
        return leg.price_of_value(leg.v_entry - self.cash_of(account) / leg.quantity)

    def write_forced(self, fill: Forced, why: Why, mark: float) -> None:
        leg = fill.leg
        self.book_fill(leg, why, -fill.quantity, fill.price, mark, fill.fee, fill.profit)
        loss = -(fill.profit - fill.fee + fill.insurance)
        amounts = (fill.quantity, mark, fill.price, fill.bankruptcy, fill.fee, fill.insurance, loss)
        self.rows.liquidations.append((self.bar, leg.symbol, why, *amounts))
