"""From the open to the extremes in the reference engine: step 5 of a bar.

One leg is walked alone: the adverse side, then the other. On a side the nearest level acts, levels are found again, and
on from there. Legs that share a wallet are walked together, side by side, and their account is tested at the extremes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backtest.prepare import CLOSE, JOINT
from backtest.records import Why
from backtest.reference_breach import first_joint_breach
from backtest.reference_orders import Intent, Orders
from backtest.reference_parts import DOWN, TOLERANCE, UP, Leg, Order, sign


@dataclass(frozen=True)
class Hit:
    """A level on one side of the open: how far from it, which goes first among equals, and where it acts."""

    distance: float
    rank: int
    why: Why
    price: float


class Walk(Orders):
    def extremes(self) -> None:
        """From the open to the extremes of the bar (or finer bar), and what is met on the way."""
        together = len(self.sharing()) >= 2
        for leg in self.legs:
            leg.armed = sign(leg.quantity)
            self.note_distance(leg)
        for leg in self.legs:
            self.note_ambiguous(leg, liquidates=leg.isolated or not together)
        if not together:
            for leg in self.legs:
                self.walk_alone(leg, liquidates=True)
            return
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

    def note_distance(self, leg: Leg) -> None:
        """How far the mark stays from the liquidation of a leg that has a level of its own."""
        if not leg.is_open or leg.is_spot or (self.is_shared() and not leg.isolated):
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
        assert order is not None
        assert order.limit is not None
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
        assert order is not None
        assert order.limit is not None
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
