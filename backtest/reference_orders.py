"""Orders in the reference engine: step 3 of a bar, and what a limit order goes through when it is met.

`execute` takes what the orders of one moment want to do:

1. `refuse`: spot that would be short, too small, above the tier's leverage, more than the account; and the other leg of
   a pair.
2. `reduce`: reductions, and the reducing part of reversals.
3. `fit`: increases that do not fit the margin together are scaled by one factor.
4. `refuse_liquidatable`: those after which the account would be breached where they open.
5. `increase`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backtest.prepare import REJECT
from backtest.records import Cash, Refusal, Why
from backtest.reference_liquidation import Liquidation
from backtest.reference_parts import DUST, TOLERANCE, Leg, Order, lots, sign


@dataclass
class Intent:
    """What an order wants to do in this bar."""

    symbol: int
    order: Order
    dq: float
    capped: bool  # by participation: the rest is worked on
    reference: float
    resting: bool  # a limit order that rested: its price is the reference, and it pays as maker
    price: float = 0.0
    reducing: float = 0.0  # part of dq
    increasing: float = 0.0
    has_reduced: bool = False
    refused: bool = False
    scaled: bool = False

    @property
    def why(self) -> Why:
        return Why.LIMIT if self.resting else Why.MARKET


class Orders(Liquidation):
    def fill_at_open(self) -> None:
        for leg in self.legs:
            self.bring_due_order(leg)
        intents = []
        for leg in self.legs:
            if leg.working is not None and self.now[leg.symbol].present:
                intent = self.intent_at_open(leg)
                if intent is not None:
                    intents.append(intent)
        self.execute(intents, self.marks_at_open)

    def bring_due_order(self, leg: Leg) -> None:
        """An order that is due replaces the one that works."""
        for order in leg.queued:
            if order.due == self.bar:
                leg.working = order
        leg.queued = [order for order in leg.queued if order.due > self.bar]

    def within_volume(self, leg: Leg, dq: float) -> float:
        """As much of dq as the participation cap leaves room for."""
        if self.rules.participation <= 0.0:
            return dq
        cap = lots(self.rules.participation * float(self.rules.volume[self.bar, leg.symbol]), leg.lot)
        room = lots(max(0.0, cap - leg.traded), leg.lot)
        if room <= DUST * cap:
            return 0.0
        return dq if abs(dq) <= room else self.snapped(leg, math.copysign(room, dq))

    def intent_at_open(self, leg: Leg) -> Intent | None:
        """What the working order does at the open; None: nothing, it waits, rests or is done."""
        order, price = leg.working, self.now[leg.symbol].open
        assert order is not None
        whole = self.remaining(leg, order)
        if whole == 0.0 and (leg.is_open or order.quantity == 0.0):
            leg.working = None
            return None
        dq = self.within_volume(leg, whole)
        intent = Intent(leg.symbol, order, dq, dq != whole, price, resting=False)
        if whole != 0.0 and (dq == 0.0 or not self.takes_at_open(leg, order, dq)):
            return None
        return intent

    def takes_at_open(self, leg: Leg, order: Order, dq: float) -> bool:
        """A market order does; a limit order where the open and the cost of taking are no worse than its limit."""
        if order.limit is None:
            return True
        price = self.taken_at(leg, dq, self.now[leg.symbol].open)
        return price <= order.limit if dq > 0.0 else price >= order.limit

    def execute(self, intents: list[Intent], marks: Sequence[float]) -> None:
        """Refusals, reductions, increases: those of one bar, or a limit order that is met."""
        acting = {intent.symbol for intent in intents}
        intents = self.refuse(intents)
        for intent in intents:
            if intent.reducing != 0.0:
                rate = self.rules.maker if intent.resting else self.rules.taker
                leg = self.legs[intent.symbol]
                leg.traded += abs(intent.reducing)
                self.reduce(leg, intent.reducing, intent.price, intent.reference, rate, intent.why)
            intent.has_reduced = True
        increases = [intent for intent in intents if intent.increasing != 0.0]
        increases = self.fit(increases, marks, acting)
        increases = self.refuse_liquidatable(increases, marks, acting)
        for intent in increases:
            self.legs[intent.symbol].traded += abs(intent.increasing)
            self.increase(intent)
            self.counts.scaled += intent.scaled
        for intent in intents:
            if intent.scaled or not intent.capped:
                self.legs[intent.symbol].working = None

    # refusals

    def refuse(self, intents: list[Intent]) -> list[Intent]:
        """Those that stand, with their price and what they reduce and increase."""
        kept = []
        for intent in sorted(intents, key=lambda intent: intent.dq != 0.0):
            self.price(intent)
            why = self.own_refusal(intent)
            if why == Refusal.TOO_SMALL and self.only_adjusts(intent):  # without a word
                self.legs[intent.symbol].working = None
                continue
            kept.append(intent)
            if why is not None:
                self.refuse_intent(intent, why)
        return sorted(self.refuse_partners(kept, set()), key=lambda intent: intent.symbol)

    def price(self, intent: Intent) -> None:
        leg, dq = self.legs[intent.symbol], intent.dq
        intent.price = intent.reference if intent.resting else self.taken_at(leg, dq, intent.reference)
        if sign(dq) * sign(leg.quantity) < 0:
            intent.reducing = dq if abs(dq) <= abs(leg.quantity) else -leg.quantity
        intent.increasing = dq - intent.reducing

    def own_refusal(self, intent: Intent) -> Refusal | None:
        leg, order, dq = self.legs[intent.symbol], intent.order, intent.dq
        if dq == 0.0:
            return Refusal.TOO_SMALL  # flat, and less than a lot is wanted
        if intent.increasing == 0.0:
            return None
        after, size = abs(leg.quantity + dq), leg.size(intent.price)
        if leg.is_spot and leg.quantity + dq < 0.0:
            return Refusal.SHORT_SPOT
        if abs(dq) * size < leg.min_notional:
            return Refusal.TOO_SMALL
        if not leg.is_spot and order.leverage > self.tiers[leg.symbol].max_leverage(after * size):
            return Refusal.LEVERAGE
        asked = order.target if leg.is_spot else abs(order.target) / order.leverage
        if self.rules.shortfall == REJECT and asked > 1.0 + TOLERANCE:
            return Refusal.MARGIN
        return None

    def only_adjusts(self, intent: Intent) -> bool:
        return sign(intent.dq) * sign(self.legs[intent.symbol].quantity) > 0

    def refuse_intent(self, intent: Intent, why: Refusal) -> None:
        intent.refused = True
        left = intent.increasing if intent.has_reduced else intent.dq
        self.refuse_order(self.legs[intent.symbol], intent.order, why, left)
        self.legs[intent.symbol].working = None

    def refuse_partners(self, intents: list[Intent], acting: set[int]) -> list[Intent]:
        """A refused leg of a pair takes the order of the other leg with it, unless that has acted already."""
        by_symbol = {intent.symbol: intent for intent in intents}
        torn = [self.legs[intent.symbol].pair for intent in intents if intent.refused]
        for leg in [self.legs[symbol] for symbol in sorted(torn) if symbol >= 0]:
            intent = by_symbol.get(leg.symbol)
            if intent is not None and not intent.refused:
                self.refuse_intent(intent, Refusal.PAIR)
            elif leg.working is not None and leg.symbol not in acting:
                self.refuse_order(leg, leg.working, Refusal.PAIR, self.remaining(leg, leg.working))
                leg.working = None
        return [intent for intent in intents if not intent.refused]

    # increases

    def fee_of(self, intent: Intent) -> float:
        rate = self.rules.maker if intent.resting else self.rules.taker
        return rate * abs(intent.increasing) * self.legs[intent.symbol].size(intent.price)

    def need_of(self, intent: Intent) -> float:
        leg = self.legs[intent.symbol]
        notional = abs(intent.increasing) * leg.size(intent.price)
        return notional / (1.0 if leg.is_spot else intent.order.leverage) + self.fee_of(intent)

    def fit(self, increases: list[Intent], marks: Sequence[float], acting: set[int]) -> list[Intent]:
        """Increases that do not fit together are scaled by one factor."""
        carried = [leg.notional(marks[leg.symbol]) / leg.leverage for leg in self.members(None)]
        free = self.balance(None, marks) - sum(carried, 0.0)
        paid_up = [i for i in increases if self.legs[i.symbol].isolated or self.legs[i.symbol].is_spot]
        factor = min(
            factor_to_fit(sum(map(self.need_of, increases), 0.0), free),
            factor_to_fit(sum(map(self.need_of, paid_up), 0.0), self.cash_of(None)),
        )
        if factor == 1.0:
            return increases
        for intent in increases:
            leg = self.legs[intent.symbol]
            scaled = lots(intent.increasing * factor, leg.lot)
            if scaled == 0.0:
                self.refuse_intent(intent, Refusal.MARGIN)
                continue
            intent.increasing = scaled
            intent.scaled = True
        return self.refuse_partners(increases, acting)

    def refuse_liquidatable(self, increases: list[Intent], marks: Sequence[float], acting: set[int]) -> list[Intent]:
        """An increase after which its account would be breached where it opens."""
        for intent in increases:
            if self.legs[intent.symbol].isolated and self.would_breach(intent.symbol, [intent], marks):
                self.refuse_intent(intent, Refusal.LIQUIDATION)
        standing = [intent for intent in increases if not intent.refused]
        cross = [i for i in standing if not self.legs[i.symbol].isolated and not self.legs[i.symbol].is_spot]
        if cross and self.would_breach(None, standing, marks):
            for intent in cross:
                self.refuse_intent(intent, Refusal.LIQUIDATION)
        return self.refuse_partners(increases, acting)

    def would_breach(self, account: int | None, increases: Iterable[Intent], marks: Sequence[float]) -> bool:
        after = self.fork()
        for intent in increases:
            after.increase(intent)
        return after.is_breached(account, marks)

    def increase(self, intent: Intent) -> None:
        leg, dq, price = self.legs[intent.symbol], intent.increasing, intent.price
        fee = self.fee_of(intent)
        leg.add(dq, price, intent.order)
        if leg.is_spot:
            self.pay(Cash.FILL, leg.symbol, -dq * price)
        self.pay(Cash.FEE, leg.symbol, -fee)
        self.book_fill(leg, intent.why, dq, price, intent.reference, fee, 0.0)


def factor_to_fit(needs: float, limit: float) -> float:
    if needs <= 0.0 or needs <= limit * (1.0 + TOLERANCE):
        return 1.0
    return limit / needs if limit > TOLERANCE * needs else 0.0
