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

The steps are in layers, each a class on top of the one before: `reference_account` (cash, balances, settlements),
`reference_liquidation`, `reference_orders` (step 3), `reference_walk` (step 5), and here the clock, close and decision.
Legs, orders and tiers are in `reference_parts`, the search for where maintenance is met in `reference_breach`. Where
docs/engine.md leaves a choice, it was made against the trader.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from backtest.prepare import ADL_EVENT, FUNDING_EVENT, Decisions, Prepared
from backtest.records import SERIES, Cash, Refusal, Run, Why
from backtest.reference_parts import TOLERANCE, Candle, Leg, Order, candles, sign, written
from backtest.reference_walk import Walk
from backtest.strategy import HOLD
from data.errors import BadInput

Decide = Callable[[int, int, dict[str, float]], float]
"""The target exposure of a symbol (or HOLD), from the bar, the symbol and the state of the account."""

NEVER = 1e9  # bars since a liquidation that there was not


def run(prepared: Prepared, decisions: Decisions | Decide, fields: Decisions | None = None) -> Run:
    """Simulate. With a function that decides, `fields` may hold stops and limits a bar (its targets are not read)."""
    simulation = Simulation(prepared, decisions, fields)
    for bar in range(prepared.n):
        simulation.step(bar)
    return simulation.result()


class Simulation(Walk):
    """The clock of a bar, and what happens at its close."""

    def __init__(self, prepared: Prepared, decisions: Decisions | Decide, fields: Decisions | None) -> None:
        super().__init__(prepared)
        self.decisions = decisions
        self.fields = decisions if isinstance(decisions, Decisions) else fields
        self.finer = candles(prepared.detail) if prepared.detail is not None else []
        self.events = events_by_bar(prepared)
        self.peak = self.wallet
        self.ruined = False

    # ---- the clock -------------------------------------------------------------------------------

    def step(self, bar: int) -> None:
        self.begin(bar)
        at_open, inside = self.events[bar]
        for event in at_open:
            self.settle(event)
        self.check_margins()
        self.fill_at_open()
        for number, candles_now in self.finer_bars():
            self.now = candles_now
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

    def check_margins(self) -> None:
        """Each isolated leg, then the cross account, at the mark open."""
        marks = self.marks_at_open
        accounts: list[int | None] = [leg.symbol for leg in self.legs if leg.isolated]
        for account in [*accounts, None]:
            if self.is_breached(account, marks):
                self.liquidate(account, marks)

    def finer_bars(self) -> Iterable[tuple[int, list[Candle]]]:
        """The bars that are walked, and by which number events know them: finer ones, else the bar itself."""
        first, after = (int(x) for x in self.rules.detail_first[self.bar : self.bar + 2]) if self.finer else (0, 0)
        if first == after:
            yield -1, self.bars[self.bar]
            return
        for number in range(first, after):
            pairs = zip(self.finer[number], self.bars[self.bar], strict=True)
            yield number, [fine._replace(present=fine.present and coarse.present) for fine, coarse in pairs]

    # ---- close --------------------------------------------------------------------------------------

    def close(self) -> None:
        marks = self.marks_at_close
        self.expire_limits()
        for leg in self.legs:
            if leg.last_bar == self.bar:
                self.delist(leg, marks[leg.symbol])
        if self.is_breached(None, marks):
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
        if not leg.is_open or leg.is_spot or (self.is_shared() and not leg.isolated):
            return math.nan
        level = self.liquidation_level(leg, marks[leg.symbol])
        return math.nan if level is None else level

    def distance_of_bar(self, marks: Sequence[float]) -> float:
        if self.was_liquidated:
            return 0.0
        legs = self.members(None)
        if legs and self.is_shared():
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
        return value if math.isfinite(value) else none

    def state(self, leg: Leg, equity: float) -> dict[str, float]:
        """What a decision may look at."""
        marks = self.marks_at_close
        mark = marks[leg.symbol]
        since = NEVER if leg.last_liquidation is None else float(self.bar - leg.last_liquidation)
        return {
            "position": sign(leg.quantity) * leg.notional(mark) / equity,
            "entry_price": leg.entry_price if leg.is_open else math.nan,
            "bars_held": float(leg.bars_held),
            "unrealized": leg.unrealised(mark) / equity if leg.is_open else 0.0,
            "equity": equity,
            "drawdown": 1.0 - equity / self.peak,
            "margin_ratio": self.margin_ratio(self.account_of(leg), marks) if leg.is_open else 0.0,
            "bars_since_liquidation": since,
        }

    def result(self) -> Run:
        return written(self.rows, self.counts, self.series, self.leg_series, self.distances)


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
