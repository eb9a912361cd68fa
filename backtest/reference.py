"""The engine, slow and readable: every rule of docs/engine.md as a method that bears its name.

It is what the compiled engine is tested against, and what explains it. Read `step` first, the clock of one bar:

    0. begin              orders may use the bar's volume, a new tier table comes into force
    1. settle             settlements stamped exactly at the open
    2. check_margins      at the mark open
    3. fill_at_open       orders due: `refuse`, `reduce`, `fit`, `refuse_liquidatable`, `increase`
    4. settle, deleverage what happens inside the bar
    5. walk_alone, walk_together   stops, limits and liquidation on the way to the extremes
    6. close              delisting, the account at the closes, interest, series, ruin
    7. decide             targets become orders for a later bar

Marks and prices travel as lists with one value a symbol. Legs and orders are in `backtest.reference_parts`, and so are
the two searches for the place where maintenance is met. Where docs/engine.md leaves a choice, the choice is against the
trader.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.prepare import (
    ADL_EVENT,
    CLOSE,
    FUNDING_EVENT,
    JOINT,
    MARKET,
    REDUCE_FRACTION,
    REDUCE_NONE,
    REDUCE_TWO_TIERS,
    REJECT,
    TAKEOVER,
    Decisions,
    Prepared,
)
from backtest.records import LEG_SERIES, SERIES, Cash, Refusal, Run, Why
from backtest.reference_parts import (
    DOWN,
    DUST,
    UP,
    Candle,
    Counts,
    Leg,
    Order,
    Rows,
    Tiers,
    candles,
    first_breach,
    first_joint_breach,
    in_force,
    legs_of,
    lots,
    sign,
    tier_tables,
    written,
)
from backtest.strategy import HOLD
from data.errors import BadInput

Decide = Callable[[int, int, dict[str, float]], float]
"""The target exposure of a symbol (or HOLD), from the bar, the symbol and the state of the account."""

TOLERANCE = 1e-9
NEVER = 1e9  # bars since a liquidation that there was not


def run(prepared: Prepared, decisions: Decisions | Decide, fields: Decisions | None = None) -> Run:
    """Simulate. With a function that decides, `fields` may hold stops and limits a bar (its targets are not read)."""
    simulation = Simulation(prepared, decisions, fields)
    for bar in range(prepared.n):
        simulation.step(bar)
    return simulation.result()


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
    refused: bool = False
    scaled: bool = False

    @property
    def rank(self) -> Why:
        return Why.LIMIT if self.resting else Why.MARKET


@dataclass(frozen=True)
class Hit:
    """A level on one side of the open: how far from it, which goes first among equals, and where it acts."""

    distance: float
    rank: int
    why: Why
    price: float


class Simulation:
    """One account on one set of bars. `fork` is a copy on which a path can be tried."""

    def __init__(self, prepared: Prepared, decisions: Decisions | Decide, fields: Decisions | None) -> None:
        self.rules = prepared
        self.decisions = decisions
        self.fields = decisions if isinstance(decisions, Decisions) else fields
        self.bars = candles(prepared.bars)
        self.finer = candles(prepared.detail) if prepared.detail is not None else []
        self.taking = [getattr(prepared.taking, name).tolist() for name in ("half_spread", "a", "b")]
        self.events = events_by_bar(prepared)
        self.tables = tier_tables(prepared)
        self.legs = legs_of(prepared)
        self.wallet = float(prepared.equity)
        self.rows = Rows()
        self.counts = Counts(skipped=min(prepared.warmup, prepared.n))
        self.series: dict[str, list[float]] = {name: [] for name in SERIES}
        self.leg_series: dict[str, list[list[float]]] = {name: [] for name in LEG_SERIES}
        self.distances: list[float] = []
        self.peak = self.wallet
        self.ruined = False
        # this bar
        self.bar = -1
        self.now: list[Candle] = []  # the bar, or the finer bar that is walked
        self.tiers: list[Tiers] = []
        self.distance = math.inf
        self.is_ambiguous = False
        self.was_liquidated = False

    def fork(self) -> Simulation:
        twin = copy.copy(self)
        twin.legs = [leg.copy() for leg in self.legs]
        twin.rows = self.rows.copy()
        twin.counts = copy.copy(self.counts)
        return twin

    def become(self, twin: Simulation) -> None:
        self.__dict__.update(twin.__dict__)

    # ---- the clock -------------------------------------------------------------------------------

    def step(self, bar: int) -> None:
        self.begin(bar)
        at_open, inside = self.events[bar]
        for event in at_open:
            self.settle(event)
        self.check_margins()
        self.fill_at_open()
        for number, self.now in self.finer_bars():
            for event in inside.get(number, ()):
                if event["kind"] == FUNDING_EVENT:
                    self.settle(event)
                else:
                    self.deleverage(event)
            self.extremes()
        self.now = self.bars[bar]
        self.close()
        if not self.ruined:
            self.decide()

    def begin(self, bar: int) -> None:
        self.bar, self.now = bar, self.bars[bar]
        self.tiers = [in_force(tables, bar) for tables in self.tables]
        self.distance, self.is_ambiguous, self.was_liquidated = math.inf, False, False
        for leg in self.legs:
            leg.traded, leg.stopped, leg.reduced = 0.0, False, False

    def finer_bars(self) -> Iterable[tuple[int, list[Candle]]]:
        """The bars that are walked, and by which number events know them: finer ones, else the bar itself."""
        first, after = (int(x) for x in self.rules.detail_first[self.bar : self.bar + 2]) if self.finer else (0, 0)
        if first == after:
            yield -1, self.bars[self.bar]
            return
        for number in range(first, after):
            pairs = zip(self.finer[number], self.bars[self.bar], strict=True)
            yield number, [fine._replace(present=fine.present and coarse.present) for fine, coarse in pairs]

    # ---- the account ------------------------------------------------------------------------------

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
        return first_breach(leg, self.cash_of(self.account_of(leg)), mark, self.tiers[leg.symbol])

    # ---- prices -----------------------------------------------------------------------------------

    def cost_of_taking(self, leg: Leg, dq: float, reference: float) -> float:
        half_spread, a, b = (column[self.bar][leg.symbol] for column in self.taking)
        quote = abs(dq) * leg.size(reference) * (reference if leg.size(1.0) != leg.size(2.0) / 2.0 else 1.0)
        return min(0.99, half_spread + max(a * quote**self.rules.taking.delta, b * quote))

    def taken_at(self, leg: Leg, dq: float, reference: float) -> float:
        return reference * (1.0 + sign(dq) * self.cost_of_taking(leg, dq, reference))

    def book_fill(
        self, leg: Leg, why: Why, dq: float, price: float, reference: float, fee: float, profit: float
    ) -> None:
        slippage = abs(dq) * abs(leg.size(price) - leg.size(reference))
        row = (self.bar, leg.symbol, why, dq, price, reference, fee, profit, slippage, leg.quantity)
        self.rows.fills.append(row)

    # ---- settlements and deleveraging ---------------------------------------------------------------

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

    # ---- margin check -------------------------------------------------------------------------------

    def check_margins(self) -> None:
        """Each isolated leg, then the cross account, at the mark open."""
        marks = self.marks_at_open
        accounts: list[int | None] = [leg.symbol for leg in self.legs if leg.isolated]
        for account in [*accounts, None]:
            if self.is_breached(account, marks):
                self.liquidate(account, marks)

    # ---- orders at the open -------------------------------------------------------------------------

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

    def remaining(self, leg: Leg, order: Order) -> float:
        """What is still to be done."""
        if order.quantity == 0.0:
            return -leg.quantity
        return self.snapped(leg, lots(order.quantity - leg.quantity, leg.lot))

    def snapped(self, leg: Leg, dq: float) -> float:
        """Lots do not add up exactly: what would leave a speck closes the whole."""
        return -leg.quantity if abs(leg.quantity + dq) <= DUST * leg.lot else dq

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
        intents = self.refuse(intents)
        for intent in intents:
            if intent.reducing != 0.0:
                rate = self.rules.maker if intent.resting else self.rules.taker
                leg = self.legs[intent.symbol]
                leg.traded += abs(intent.reducing)
                self.reduce(leg, intent.reducing, intent.price, intent.reference, rate, intent.rank)
        increases = [intent for intent in intents if intent.increasing != 0.0]
        increases = self.fit(increases, marks)
        increases = self.refuse_liquidatable(increases, marks)
        for intent in increases:
            self.legs[intent.symbol].traded += abs(intent.increasing)
            self.increase(intent)
        for intent in intents:
            if intent.scaled or not intent.capped:
                self.legs[intent.symbol].working = None

    # refusals

    def refuse(self, intents: list[Intent]) -> list[Intent]:
        """Those that stand, with their price and what they reduce and increase."""
        dropped = []
        for intent in intents:
            self.price(intent)
            why = self.own_refusal(intent)
            if why is not None and why is Refusal.TOO_SMALL and self.only_adjusts(intent):
                self.legs[intent.symbol].working = None
                dropped.append(intent)
            elif why is not None:
                self.refuse_intent(intent, why)
        standing = [intent for intent in intents if intent not in dropped]
        return self.refuse_partners(standing, lambda other: True)

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
        self.refuse_order(self.legs[intent.symbol], intent.order, why, intent.dq)
        self.legs[intent.symbol].working = None

    def refuse_order(self, leg: Leg, order: Order, why: Refusal, dq: float) -> None:
        self.rows.refused.append((self.bar, leg.symbol, why, order.target, dq))

    def refuse_partners(self, intents: list[Intent], may_refuse: Callable[[Intent], bool]) -> list[Intent]:
        """A refused leg of a pair takes the order of the other leg with it."""
        by_symbol = {intent.symbol: intent for intent in intents}
        torn = [self.legs[i.symbol].pair for i in intents if i.refused and self.legs[i.symbol].pair >= 0]
        for symbol in sorted(torn):
            leg, intent = self.legs[symbol], by_symbol.get(symbol)
            if leg.working is None:
                continue
            if intent is None:
                self.refuse_order(leg, leg.working, Refusal.PAIR, self.remaining(leg, leg.working))
                leg.working = None
            elif may_refuse(intent) and not intent.refused:
                self.refuse_intent(intent, Refusal.PAIR)
        return [intent for intent in intents if not intent.refused]

    # reductions

    def reduce(self, leg: Leg, dq: float, price: float, reference: float, fee_rate: float, why: Why) -> None:
        """Closes a part or all: the profit to the wallet, a share of the isolated margin is free again.

        What the share cannot pay, the insurance fund pays; so it does for a cross wallet that is left with nothing open.
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

    # increases

    def fee_of(self, intent: Intent) -> float:
        rate = self.rules.maker if intent.resting else self.rules.taker
        return rate * abs(intent.increasing) * self.legs[intent.symbol].size(intent.price)

    def need_of(self, intent: Intent) -> float:
        leg = self.legs[intent.symbol]
        notional = abs(intent.increasing) * leg.size(intent.price)
        return notional / (1.0 if leg.is_spot else intent.order.leverage) + self.fee_of(intent)

    def fit(self, increases: list[Intent], marks: Sequence[float]) -> list[Intent]:
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
            intent.increasing = lots(intent.increasing * factor, leg.lot)
            if intent.increasing == 0.0:
                self.refuse_intent(intent, Refusal.MARGIN)
                continue
            size = intent.reducing + intent.increasing
            intent.price = intent.reference if intent.resting else self.taken_at(leg, size, intent.reference)
            intent.scaled = True
        standing = self.refuse_partners(increases, lambda other: True)
        self.counts.scaled += len(standing)
        return standing

    def refuse_liquidatable(self, increases: list[Intent], marks: Sequence[float]) -> list[Intent]:
        """An increase after which its account would be breached where it opens."""
        for intent in increases:
            if self.legs[intent.symbol].isolated and self.would_breach(intent.symbol, [intent], marks):
                self.refuse_intent(intent, Refusal.LIQUIDATION)
        standing = [intent for intent in increases if not intent.refused]
        cross = [i for i in standing if not self.legs[i.symbol].isolated and not self.legs[i.symbol].is_spot]
        if cross and self.would_breach(None, standing, marks):
            for intent in cross:
                self.refuse_intent(intent, Refusal.LIQUIDATION)
        return self.refuse_partners(increases, lambda other: True)

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
        self.book_fill(leg, intent.rank, dq, price, intent.reference, fee, 0.0)

    # ---- extremes -----------------------------------------------------------------------------------

    def extremes(self) -> None:
        """From the open to the extremes of the bar (or finer bar), and what is met on the way."""
        together = len(self.sharing()) >= 2
        for leg in self.legs:
            leg.armed = sign(leg.quantity)
            self.note_distance(leg, together)
        if not together:
            for leg in self.legs:
                self.note_ambiguous(leg, liquidates=True)
                self.walk_alone(leg, liquidates=True)
            return
        for leg in self.legs:
            self.note_ambiguous(leg, liquidates=leg.isolated)
        if self.rules.path == JOINT:
            self.walk_both_ways()
        elif self.rules.path == CLOSE:
            for leg in self.legs:
                self.walk_alone(leg, liquidates=leg.isolated)
        else:
            self.walk_worst()

    def sharing(self) -> list[Leg]:
        """Legs that answer for each other, or may come to by a resting limit."""
        cross = [leg for leg in self.legs if not leg.isolated]
        counted = [leg for leg in cross if not leg.is_spot or self.rules.collateral_weight > 0.0]
        return [leg for leg in counted if leg.is_open or self.rests(leg)]

    def rests(self, leg: Leg) -> bool:
        return leg.working is not None and leg.working.limit is not None and self.now[leg.symbol].present

    def note_distance(self, leg: Leg, together: bool) -> None:
        """How far the mark stays from the liquidation of a leg that has a level of its own."""
        if not leg.is_open or leg.is_spot or (together and not leg.isolated):
            return
        candle, side = self.now[leg.symbol], -sign(leg.quantity)
        level, nearest = self.liquidation_level(leg, candle.mark_open), candle.ends(side)[1]
        if level is not None:
            self.distance = min(self.distance, max(0.0, side * (level - nearest)) / nearest)

    def note_ambiguous(self, leg: Leg, liquidates: bool) -> None:
        if all(self.levels(leg, side, 0.0, liquidates) for side in (DOWN, UP)):
            self.is_ambiguous = True

    # one leg

    def first_side(self, leg: Leg) -> int:
        """The adverse side; of a flat leg the side of its limit."""
        if leg.is_open:
            return -sign(leg.quantity)
        return -sign(self.remaining(leg, leg.working)) or DOWN if leg.working is not None else DOWN

    def walk_alone(self, leg: Leg, liquidates: bool) -> None:
        side = self.first_side(leg)
        self.walk(leg, side, liquidates)
        self.walk(leg, -side, liquidates)

    def walk(self, leg: Leg, side: int, liquidates: bool) -> None:
        """The nearest level acts, levels are found again, and on from there."""
        place = 0.0
        while hits := self.levels(leg, side, place, liquidates):
            hit = min(hits, key=lambda hit: (hit.distance, hit.rank))
            place = hit.distance
            if hit.why == Why.LIQUIDATION:
                marks = self.marks_at_open
                marks[leg.symbol] = hit.price
                self.liquidate(self.account_of(leg), marks)
            elif hit.why == Why.LIMIT:
                self.fill_limit(leg, side, place)
            else:
                self.stop_out(leg, hit)

    def levels(self, leg: Leg, side: int, place: float, liquidates: bool) -> list[Hit]:
        """The levels on this side that the bar reaches, from the place where the walk is."""
        found = [self.liquidation_hit(leg, side, place)] if liquidates else []
        if self.now[leg.symbol].present:
            found += [
                self.stop_hit(leg, side, place),
                self.limit_hit(leg, side, place),
                self.target_hit(leg, side, place),
            ]
        return [hit for hit in found if hit is not None]

    def liquidation_hit(self, leg: Leg, side: int, place: float) -> Hit | None:
        if leg.is_spot or side != -sign(leg.quantity):
            return None
        candle = self.now[leg.symbol]
        here = candle.mark_at(side, place)
        level = self.liquidation_level(leg, here)
        if level is None or side * (candle.ends(side)[1] - level) < 0.0:
            return None
        distance = max(place, side * (level - candle.mark_open) / candle.mark_open)
        return Hit(distance, 0, Why.LIQUIDATION, level)

    def stop_hit(self, leg: Leg, side: int, place: float) -> Hit | None:
        """The nearer of stop-loss and trailing stop."""
        if leg.stopped or side != -sign(leg.quantity):
            return None
        stops = []
        if leg.stop_loss > 0.0:
            stops.append((leg.entry_price * (1.0 + side * leg.stop_loss), Why.STOP_LOSS))
        if leg.trailing_stop > 0.0:
            stops.append((leg.anchor * (1.0 + side * leg.trailing_stop), Why.TRAILING_STOP))
        if not stops:
            return None
        level, why = min(stops, key=lambda stop: side * stop[0])
        return self.trade_hit(leg, side, place, level, 1, why)

    def limit_hit(self, leg: Leg, side: int, place: float) -> Hit | None:
        """Met where the price trades one tick through it."""
        if not self.rests(leg):
            return None
        order = leg.working
        assert order is not None and order.limit is not None
        dq = self.within_volume(leg, self.remaining(leg, order))
        if dq == 0.0 or sign(dq) != -side:
            return None
        return self.trade_hit(leg, side, place, order.limit + side * leg.tick, 2, Why.LIMIT)

    def target_hit(self, leg: Leg, side: int, place: float) -> Hit | None:
        """Take-profit: only of a position that was there when the walk began."""
        if leg.stopped or leg.take_profit <= 0.0 or not leg.is_open or leg.armed != side:
            return None
        level = leg.entry_price * (1.0 + side * leg.take_profit)
        return self.trade_hit(leg, side, place, level, 3, Why.TAKE_PROFIT)

    def trade_hit(self, leg: Leg, side: int, place: float, level: float, rank: int, why: Why) -> Hit | None:
        candle = self.now[leg.symbol]
        if side * (candle.ends(side)[0] - level) < 0.0:
            return None
        distance = side * (level - candle.open) / candle.open
        if distance > place:
            return Hit(distance, rank, why, level)
        return Hit(place, rank, why, candle.trade_at(side, place))

    def stop_out(self, leg: Leg, hit: Hit) -> None:
        """Closes the leg; what the participation cap leaves is worked on from the next bar."""
        leg.working = None
        dq = self.within_volume(leg, -leg.quantity)
        if dq != 0.0:
            leg.traded += abs(dq)
            self.reduce(leg, dq, self.taken_at(leg, dq, hit.price), hit.price, self.rules.taker, hit.why)
        if leg.is_open:
            leg.stopped = True
            leg.working = Order(0.0, 0.0, leg.leverage, self.bar + 1)

    def fill_limit(self, leg: Leg, side: int, place: float) -> None:
        order = leg.working
        assert order is not None and order.limit is not None
        marks = self.marks_at_open
        marks[leg.symbol] = self.now[leg.symbol].mark_at(side, place)
        whole = self.remaining(leg, order)
        dq = self.within_volume(leg, whole)
        self.execute([Intent(leg.symbol, order, dq, dq != whole, order.limit, resting=True)], marks)

    # several legs that share a wallet

    def walk_both_ways(self) -> None:
        """All down then all up, and all up then all down: the path with the lower equity stands."""
        down_first, up_first = self.fork(), self.fork()
        for twin, order in ((down_first, (DOWN, UP)), (up_first, (UP, DOWN))):
            for half, side in enumerate(order):
                twin.walk_half([side] * len(self.legs), first=half == 0)
                twin.test_account([candle.ends(side)[1] for candle in self.now])
        closes = self.marks_at_close
        worse = up_first.equity(closes) < down_first.equity(closes) - TOLERANCE * self.rules.equity
        self.become(up_first if worse else down_first)

    def walk_worst(self) -> None:
        """Every leg on its own adverse side first."""
        sides = [self.first_side(leg) for leg in self.legs]
        self.walk_half(sides, first=True)
        ends = [
            candle.ends(UP if leg.quantity < 0.0 else DOWN)[1] for leg, candle in zip(self.legs, self.now, strict=True)
        ]
        self.test_account(ends)
        self.walk_half([-side for side in sides], first=False)

    def walk_half(self, sides: Sequence[int], first: bool) -> None:
        for leg, side in zip(self.legs, sides, strict=True):
            if not leg.isolated:
                self.walk(leg, side, liquidates=False)
            elif first:
                self.walk_alone(leg, liquidates=True)

    def test_account(self, ends: Sequence[float]) -> None:
        """Where the cross account is breached at the ends, it is liquidated at the first breach on the way there."""
        ways = list(zip(self.marks_at_open, ends, strict=True))
        place = 0.0
        while self.is_breached(None, ends):
            legs = [(leg, self.tiers[leg.symbol]) for leg in self.members(None)]
            cash, weight = self.cash_of(None), self.rules.collateral_weight
            place = first_joint_breach(legs, self.collateral(), cash, weight, ways, place)
            self.liquidate(None, [start + place * (end - start) for start, end in ways])

    # ---- liquidation --------------------------------------------------------------------------------

    def liquidate(self, account: int | None, marks: Sequence[float]) -> None:
        """An isolated leg, or (None) the cross account, at these marks: reductions first, then all of it."""
        self.was_liquidated = True
        self.cancel_liquidated(account)
        poor = self.balance(account, marks) < self.rules.backstop * self.maintenance(account, marks)
        seized = self.rules.residual == TAKEOVER or (self.rules.residual == MARKET and poor)
        while True:
            leg = max(self.members(account), key=lambda leg: self.maintenance_of(leg, marks))
            kept = self.kept_by_reduction(leg, marks[leg.symbol])
            if kept > 0.0:
                leg.reduced = True
                self.force([(leg, math.copysign(kept, leg.quantity))], Why.REDUCTION, account, marks, seized)
            if kept <= 0.0 or self.balance(account, marks) <= 0.0:
                whole = kept <= 0.0 and self.rules.reduction != REDUCE_NONE
                closing = [leg] if whole else self.members(account)
                self.force([(one, 0.0) for one in closing], Why.LIQUIDATION, account, marks, seized)
            if not self.is_breached(account, marks):
                return

    def cancel_liquidated(self, account: int | None) -> None:
        for leg in self.legs:
            if leg.symbol == account or (account is None and not leg.isolated):
                self.cancel_orders(leg, Refusal.LIQUIDATED)

    def cancel_orders(self, leg: Leg, why: Refusal) -> None:
        for order in [*([leg.working] if leg.working is not None else []), *leg.queued]:
            self.refuse_order(leg, order, why, self.remaining(leg, order))
        leg.working, leg.queued = None, []

    def kept_by_reduction(self, leg: Leg, mark: float) -> float:
        """The quantity that the venue leaves at first; 0: all of it goes."""
        tiers, notional, kept = self.tiers[leg.symbol], leg.notional(mark), 0.0
        if self.rules.reduction == REDUCE_FRACTION:
            if notional > self.rules.reduction_above and not leg.reduced:
                kept = abs(leg.quantity) * (1.0 - self.rules.reduction_fraction)
        elif self.rules.reduction != REDUCE_NONE:
            lower = tiers.index(notional) - (2 if self.rules.reduction == REDUCE_TWO_TIERS else 1)
            kept = tiers.rows[lower].cap / leg.size(mark) if lower >= 0 else 0.0
        kept = lots(kept, leg.lot)
        return kept if kept < abs(leg.quantity) else 0.0

    def force(
        self,
        closing: Sequence[tuple[Leg, float]],
        why: Why,
        account: int | None,
        marks: Sequence[float],
        seized: bool,
    ) -> None:
        """Closes legs down to what is kept of them: profits first, then fees, then what is left of the account."""
        taken = [self.forced_fill(leg, leg.quantity - kept, account, marks[leg.symbol]) for leg, kept in closing]
        for fill in taken:
            leg = fill.leg
            wanted = self.rules.liquidation_fee * abs(fill.quantity) * leg.size(fill.price)
            fill.fee = min(wanted, max(0.0, self.balance(account, marks)))
            self.pay_from(account, Cash.LIQUIDATION_FEE, leg.symbol, -fill.fee)
        if not self.members(account):
            taken[-1].insurance = self.settle_rest(account, taken[-1].leg.symbol, seized)
        for fill in taken:
            self.write_forced(fill, why, marks[fill.leg.symbol])

    def forced_fill(self, leg: Leg, quantity: float, account: int | None, mark: float) -> Forced:
        price = self.taken_at(leg, -quantity, mark)
        fill = Forced(leg, quantity, price, self.bankruptcy_price(leg, account))
        fill.profit = quantity * (leg.value(price) - leg.v_entry)
        margin = leg.margin
        leg.move(-quantity)
        leg.margin = margin  # it answers for what is closed
        leg.last_liquidation = self.bar
        self.pay_from(account, Cash.FILL, leg.symbol, fill.profit)
        return fill

    def pay_from(self, account: int | None, kind: Cash, symbol: int, amount: float) -> None:
        if account is not None:
            self.legs[account].margin += amount
        self.pay(kind, symbol, amount)

    def settle_rest(self, account: int | None, symbol: int, seized: bool) -> float:
        """Nothing is open any more: the venue keeps what is left, or the insurance fund pays what is missing."""
        rest = self.cash_of(account)
        insurance = -rest if seized or rest < 0.0 else 0.0
        self.pay(Cash.INSURANCE, symbol, insurance)
        if account is not None:
            self.legs[account].margin = 0.0
        return insurance

    def bankruptcy_price(self, leg: Leg, account: int | None) -> float:
        if account is None and len(self.members(None)) + len(self.collateral()) > 1:
            return math.nan
        return leg.price_of_value(leg.v_entry - self.cash_of(account) / leg.quantity)

    def write_forced(self, fill: Forced, why: Why, mark: float) -> None:
        leg = fill.leg
        self.book_fill(leg, why, -fill.quantity, fill.price, mark, fill.fee, fill.profit)
        loss = -(fill.profit - fill.fee + fill.insurance)
        amounts = (fill.quantity, mark, fill.price, fill.bankruptcy, fill.fee, fill.insurance, loss)
        self.rows.liquidations.append((self.bar, leg.symbol, why, *amounts))

    # ---- close --------------------------------------------------------------------------------------

    def close(self) -> None:
        marks = self.marks_at_close
        self.expire_limits()
        for leg in self.legs:
            if leg.last_bar == self.bar:
                self.delist(leg, marks[leg.symbol])
        several = len(self.members(None)) + len(self.collateral()) >= 2
        if several and self.is_breached(None, marks):
            self.liquidate(None, marks)
        self.move_anchors()
        if self.rules.day_end[self.bar]:
            self.pay(Cash.INTEREST, -1, self.free_cash * self.rules.cash_rate / 365.0)
        for leg in self.legs:
            leg.bars_held += leg.is_open
        self.counts.ambiguous += self.is_ambiguous
        self.record(marks)
        self.check_ruin(marks)

    def expire_limits(self) -> None:
        for leg in self.legs:
            order = leg.working
            if order is not None and order.last_bar is not None and order.last_bar <= self.bar:
                self.refuse_order(leg, order, Refusal.EXPIRED, self.remaining(leg, order))
                leg.working = None

    def delist(self, leg: Leg, mark: float) -> None:
        if leg.is_open:
            self.reduce(leg, -leg.quantity, mark, mark, self.rules.taker, Why.DELISTED)
        self.cancel_orders(leg, Refusal.DELISTED)

    def move_anchors(self) -> None:
        for leg, candle in zip(self.legs, self.now, strict=True):
            if leg.is_open and candle.present and sign(leg.quantity) * (candle.close - leg.anchor) > 0.0:
                leg.anchor = candle.close

    def record(self, marks: Sequence[float]) -> None:
        equity = self.equity(marks)
        held = [sign(leg.quantity) * leg.notional(marks[leg.symbol]) for leg in self.legs]
        values = {
            "equity": equity,
            "wallet": self.wallet,
            "margin_ratio": self.highest_margin_ratio(marks),
            "exposure": sum(held, 0.0) / equity if equity > 0.0 else 0.0,
            "gross": sum(map(abs, held), 0.0) / equity if equity > 0.0 else 0.0,
        }
        for name in SERIES:
            self.series[name].append(values[name])
        self.leg_series["position"].append([leg.quantity for leg in self.legs])
        self.leg_series["entry_price"].append([leg.entry_price if leg.is_open else math.nan for leg in self.legs])
        self.leg_series["liquidation_price"].append([self.level_at_close(leg, marks) for leg in self.legs])
        self.distances.append(self.distance_of_bar(marks))

    def margin_ratio(self, account: int | None, marks: Sequence[float]) -> float:
        if not self.members(account):
            return 0.0
        balance = self.balance(account, marks)
        return self.maintenance(account, marks) / balance if balance > 0.0 else math.inf

    def highest_margin_ratio(self, marks: Sequence[float]) -> float:
        accounts: list[int | None] = [leg.symbol for leg in self.legs if leg.isolated]
        return max(self.margin_ratio(account, marks) for account in [*accounts, None])

    def level_at_close(self, leg: Leg, marks: Sequence[float]) -> float:
        shared = not leg.isolated and len(self.members(None)) + len(self.collateral()) > 1
        if not leg.is_open or leg.is_spot or shared:
            return math.nan
        level = self.liquidation_level(leg, marks[leg.symbol])
        return math.nan if level is None else level

    def distance_of_bar(self, marks: Sequence[float]) -> float:
        if self.was_liquidated:
            return 0.0
        legs = self.members(None)
        if legs and len(legs) + len(self.collateral()) > 1:
            surplus = self.balance(None, marks) - self.maintenance(None, marks)
            self.distance = min(self.distance, surplus / sum(leg.notional(marks[leg.symbol]) for leg in legs))
        return self.distance if math.isfinite(self.distance) else math.nan

    def check_ruin(self, marks: Sequence[float]) -> None:
        equity = self.equity(marks)
        self.peak = max(self.peak, equity)
        if not self.ruined and equity <= TOLERANCE * self.rules.equity:
            self.ruined, self.counts.ruined_bar = True, self.bar
            for leg in self.legs:
                self.cancel_orders(leg, Refusal.RUINED)

    # ---- decision -----------------------------------------------------------------------------------

    def decide(self) -> None:
        if self.bar < self.rules.warmup or self.bar == self.rules.n - 1:
            return
        equity = self.equity(self.marks_at_close)
        for leg in self.legs:
            gone = 0 <= leg.last_bar <= self.bar
            if self.now[leg.symbol].present and not gone:
                target = self.target(leg, equity)
                if not math.isfinite(target):
                    raise BadInput(
                        f"bar {self.bar}, symbol {leg.symbol}: the target is {target}: write a number or HOLD"
                    )
                nothing = target == 0.0 and not leg.is_open and leg.working is None and not leg.queued
                if target != HOLD and not nothing:
                    leg.queued.append(self.order(leg, target, equity))

    def target(self, leg: Leg, equity: float) -> float:
        if isinstance(self.decisions, Decisions):
            return float(self.decisions.target[self.bar, leg.symbol])
        return float(self.decisions(self.bar, leg.symbol, self.state(leg, equity)))

    def order(self, leg: Leg, target: float, equity: float) -> Order:
        candle, due = self.now[leg.symbol], self.bar + 1 + self.rules.delay
        quantity = target * equity / leg.size(candle.mark_close)
        limit, lifetime = self.limit_price(leg, quantity - leg.quantity), self.field("limit_ttl", leg)
        expires = limit is not None and lifetime >= 1.0
        return Order(
            target,
            quantity,
            self.rules.leverage or max(1.0, abs(target)),
            due,
            limit,
            due + int(lifetime) - 1 if expires else None,
            *(max(0.0, self.field(name, leg)) for name in ("stop_loss", "take_profit", "trailing_stop")),
        )

    def limit_price(self, leg: Leg, dq: float) -> float | None:
        """Rounded to ticks so that it is no better for whoever takes the other side."""
        offset = self.field("limit_offset", leg, math.nan)
        if not offset >= 0.0:
            return None
        close = self.now[leg.symbol].close
        price = close * (1.0 + offset) if dq < 0.0 else close * (1.0 - offset)
        if leg.tick == 0.0:
            return price
        ticks = price / leg.tick
        return leg.tick * (math.ceil(ticks - 1e-9) if dq < 0.0 else math.floor(ticks + 1e-9))

    def field(self, name: str, leg: Leg, none: float = 0.0) -> float:
        column = getattr(self.fields, name) if self.fields is not None else None
        value = math.nan if column is None else float(column[self.bar, leg.symbol])
        return none if math.isnan(value) else value

    def state(self, leg: Leg, equity: float) -> dict[str, float]:
        """What a decision may look at."""
        marks = self.marks_at_close
        mark = marks[leg.symbol]
        since = NEVER if leg.last_liquidation is None else float(self.bar - leg.last_liquidation)
        return {
            "position": sign(leg.quantity) * leg.notional(mark) / equity,
            "entry_price": leg.entry_price if leg.is_open else 0.0,
            "bars_held": float(leg.bars_held),
            "unrealized": leg.unrealised(mark) / equity if leg.is_open else 0.0,
            "equity": equity,
            "drawdown": 1.0 - equity / self.peak,
            "margin_ratio": self.margin_ratio(self.account_of(leg), marks) if leg.is_open else 0.0,
            "bars_since_liquidation": since,
        }

    def result(self) -> Run:
        return written(self.rows, self.counts, self.series, self.leg_series, self.distances)


@dataclass
class Forced:
    """A fill of a liquidation, and what came after it."""

    leg: Leg
    quantity: float  # with the sign of the position
    price: float
    bankruptcy: float
    profit: float = 0.0
    fee: float = 0.0
    insurance: float = 0.0


def factor_to_fit(needs: float, limit: float) -> float:
    if needs <= 0.0 or needs <= limit * (1.0 + TOLERANCE):
        return 1.0
    return max(0.0, limit) / needs


def events_by_bar(prepared: Prepared) -> list[tuple[list[Any], dict[int, list[Any]]]]:
    """For each bar the settlements at its open, and those inside by the finer bar (-1: the bar itself) they lie in."""
    made: list[tuple[list[Any], dict[int, list[Any]]]] = [([], {}) for _ in range(prepared.n)]
    for event in np.asarray(prepared.events):
        bar = int(event["bar"])
        at_open, inside = made[bar]
        if event["inside"] == 0 and event["kind"] != ADL_EVENT:
            at_open.append(event)
        else:
            inside.setdefault(finer_bar_of(prepared, event), []).append(event)
    return made


def finer_bar_of(prepared: Prepared, event: Any) -> int:
    bar = int(event["bar"])
    if prepared.detail is None or prepared.detail_first[bar] == prepared.detail_first[bar + 1]:
        return -1
    return max(int(event["detail"]), int(prepared.detail_first[bar]))
