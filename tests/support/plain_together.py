"""Several strategies on one account, slow and plain: the reference engine with a ledger of books beside it.

`Plain` keeps the books from the rows that the reference engine writes, one after the other, and works out each one's
profit as what it held times how far the price moved. The engine keeps them inside of a compiled `decide`, from what it
sees at the close; `backtest.attributing` has the cash of every change instead. `compiled` runs that on the same arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backtest.attributing import attribute
from backtest.attribution import Attribution
from backtest.decide import bind, compilable
from backtest.job import nothing_reserved
from backtest.kernel import loop, run
from backtest.prepare import FUNDING_EVENT, Prepared
from backtest.records import Cash, Run, Why
from backtest.reference import Simulation
from backtest.reference_parts import Leg
from backtest.strategy import HOLD
from backtest.together import Together

FORCED = (Why.LIQUIDATION, Why.REDUCTION, Why.DELEVERAGED, Why.DELISTED)


@dataclass
class Book:
    """What one strategy holds of one symbol."""

    held: float = 0.0
    value: float = math.nan  # of the entry
    since: int = -1
    best: float = math.nan
    profit: float = 0.0

    def become(self, after: float, value: float, price: float, bar: int) -> None:
        if self.held == 0.0 or self.held * after < 0.0:
            self.value, self.since, self.best = value, bar, price
        elif abs(after) > abs(self.held):
            self.value = (self.held * self.value + (after - self.held) * value) / after
        self.held = after


@dataclass
class Shelf:
    """All books of one symbol, what they want, and what they will want when it is due."""

    books: list[Book]
    wants: list[float] | None = None
    waiting: list[tuple[int, list[float]]] = field(default_factory=list)
    last: float = math.nan  # the value at which profits were last reckoned

    def reckon(self, value: float) -> None:
        for book in self.books:
            if book.held != 0.0:
                book.profit += book.held * (value - self.last)
        self.last = value

    def needs(self) -> list[float]:
        assert self.wants is not None
        both = zip(self.wants, self.books, strict=True)
        return [want - book.held if abs(want - book.held) > 1e-12 * abs(book.held) else 0.0 for want, book in both]


class Plain(Simulation):
    def __init__(self, prepared: Prepared, whole: Together, columns: Mapping[str, Any]) -> None:
        super().__init__(prepared, lambda *_: HOLD, None)
        self.whole, self.columns = whole, columns
        self.parts, self.own = whole.parts, whole.strategies
        self.shelves = [Shelf([Book() for _ in self.parts]) for _ in self.legs]
        self.held: list[list[list[float]]] = []
        self.seen = 0
        self.settled: list[tuple[int, int, bool, float]] = []
        self.done: list[tuple[int, int, float, bool, list[float]]] = []  # fills: bar, symbol, size, forced, shares

    # ---- what happened in a bar

    def settle(self, event: Any) -> None:
        if event["kind"] == FUNDING_EVENT and not self.legs[event["symbol"]].is_spot:
            leg, own = self.legs[event["symbol"]], float(event["price"])
            price = own if math.isfinite(own) else self.now[leg.symbol].mark_open
            inside = bool(event["inside"])
            self.settled.append((len(self.rows.fills), leg.symbol, inside, -leg.size(price) * float(event["rate"])))
        super().settle(event)

    def check_ruin(self, marks: Sequence[float]) -> None:
        for leg in self.legs:
            self.keep(leg, marks[leg.symbol])
        self.seen, self.settled = len(self.rows.fills), []
        self.held.append([[book.held for book in shelf.books] for shelf in self.shelves])
        super().check_ruin(marks)

    def keep(self, leg: Leg, mark: float) -> None:
        shelf, candle = self.shelves[leg.symbol], self.bars[self.bar][leg.symbol]
        mine = [s for s in self.settled if s[1] == leg.symbol]
        for _, _, inside, unit in mine:
            if not inside:
                self.fund(shelf, unit)
        due = [wants for when, wants in shelf.waiting if when <= self.bar]
        fills = [(n, f) for n, f in enumerate(self.rows.fills) if n >= self.seen and f[1] == leg.symbol]
        orders = [f for _, f in fills if f[2] not in FORCED]
        if due and candle.present and not self.ruined:
            shelf.wants = due[-1]
            shelf.waiting = [(when, wants) for when, wants in shelf.waiting if when > self.bar]
            shelf.reckon(leg.value(candle.open))
            self.meet(shelf, leg, candle.open)
            if not orders:
                self.round_off(shelf, leg, self.net_before(leg, fills), candle.open)
        inside_units = [(place, unit) for place, _, inside, unit in mine if inside]
        for number, fill in fills:
            while inside_units and inside_units[0][0] <= number and fill[2] in FORCED:
                self.fund(shelf, inside_units.pop(0)[1])
            self.share_fill(shelf, leg, fill)
            if fill[2] not in FORCED and fill is orders[-1]:
                self.round_off(shelf, leg, fill[9], fill[4])
        for _, unit in inside_units:
            self.fund(shelf, unit)
        if any(fill[2] in (Why.LIQUIDATION, Why.REDUCTION) for _, fill in fills):
            shelf.waiting, shelf.wants = [], None
        if leg.working is None:
            shelf.wants = None
        shelf.reckon(leg.value(mark))
        if leg.last_bar == self.bar:
            for book in shelf.books:
                book.held = 0.0
        for book in shelf.books:
            better = candle.close > book.best if book.held > 0.0 else candle.close < book.best
            if candle.present and book.held != 0.0 and better:
                book.best = candle.close

    def fund(self, shelf: Shelf, unit: float) -> None:
        for book in shelf.books:
            book.profit += book.held * unit

    def net_before(self, leg: Leg, fills: Sequence[Any]) -> float:
        return fills[0][1][9] - fills[0][1][3] if fills else leg.quantity

    def meet(self, shelf: Shelf, leg: Leg, price: float) -> None:
        needs = shelf.needs()
        buy, sell = sum(x for x in needs if x > 0.0), -sum(x for x in needs if x < 0.0)
        if min(buy, sell) > 0.0:
            self.give(shelf, leg, needs, min(buy, sell) / buy, min(buy, sell) / sell, price)

    def give(self, shelf: Shelf, leg: Leg, needs: Sequence[float], up: float, down: float, price: float) -> None:
        assert shelf.wants is not None
        for book, need, want in zip(shelf.books, needs, shelf.wants, strict=True):
            part = up if need > 0.0 else down
            if need != 0.0 and part != 0.0:
                after = want if part > 1.0 - 1e-12 else book.held + need * part
                after = after if abs(after) > 1e-12 * abs(book.held) else 0.0
                book.become(after, leg.value(price), price, self.bar)

    def share_fill(self, shelf: Shelf, leg: Leg, fill: Any) -> None:
        _, _, why, dq, price, reference, fee, _, _, after = fill
        shelf.reckon(leg.value(reference))
        before = [book.held for book in shelf.books]
        if why in FORCED:
            for book in shelf.books:
                book.held = book.held * (after / (after - dq)) if after != 0.0 else 0.0
            side = [max(0.0, held * math.copysign(1.0, -dq)) for held in before]
        else:
            needs = shelf.needs()
            wanted = sum(need for need in needs if need * dq > 0.0)
            up, down = (dq / wanted, 0.0) if dq > 0.0 else (0.0, dq / wanted)
            for book, need, want in zip(shelf.books, needs, shelf.wants or (), strict=True):
                part = up if need > 0.0 else down
                if need != 0.0 and part != 0.0:
                    book_after = want if part > 1.0 - 1e-12 else book.held + need * part
                    book_after = book_after if abs(book_after) > 1e-12 * abs(book.held) else 0.0
                    book.become(book_after, leg.value(price), price, self.bar)  # what it sees is what was paid
            side = [abs(book.held - was) for book, was in zip(shelf.books, before, strict=True)]
        shares = [x / sum(side) for x in side]
        self.even_out(shelf, after)
        for book, share in zip(shelf.books, shares, strict=True):
            book.profit -= share * (dq * (leg.value(price) - leg.value(reference)) + fee)
        self.done.append((self.bar, leg.symbol, abs(dq) * leg.size(price), why in FORCED, shares))

    def round_off(self, shelf: Shelf, leg: Leg, net: float, price: float) -> None:
        wants = shelf.wants
        assert wants is not None
        rest = abs(sum(wants) - net)
        if rest < leg.lot * 0.999999 or rest <= 1e-9 * (sum(map(abs, wants)) + abs(net)):
            for book, want in zip(shelf.books, wants, strict=True):
                if book.held == 0.0 and want != 0.0:
                    book.value, book.since, book.best = leg.value(price), self.bar, price
                book.held = want
            largest = max(range(len(wants)), key=lambda i: abs(wants[i]))
            shelf.books[largest].held = net - sum(want for i, want in enumerate(wants) if i != largest)
            shelf.wants = None

    def even_out(self, shelf: Shelf, net: float) -> None:
        largest = max(shelf.books, key=lambda book: abs(book.held))
        if largest.held != 0.0:
            left = net - sum(book.held for book in shelf.books if book is not largest)
            largest.held = left if abs(left) > 1e-12 * abs(largest.held) else 0.0

    # ---- what they decide

    def target(self, leg: Leg, equity: float) -> float:
        shelf, mark = self.shelves[leg.symbol], self.marks_at_close[leg.symbol]
        state, size = self.state(leg, equity), leg.size(mark)
        exposures, wants, some = [], [], False
        for i, (part, one) in enumerate(zip(self.parts, self.own, strict=True)):
            book, weight = shelf.books[i], self.whole.weights[i]
            standing = shelf.waiting[-1][1] if shelf.waiting else shelf.wants
            last = standing[i] if standing is not None else book.held
            entry = math.nan if book.held == 0.0 else leg.price_of_value(book.value)
            mine = state | {
                "position": book.held * size / equity / weight,
                "entry_price": entry,
                "bars_held": self.bar - book.since + 1.0 if book.held else 0.0,
                "unrealized": book.held * (leg.value(mark) - book.value) / equity / weight if book.held else 0.0,
            }
            given = {}
            for name in part.takes:
                column = self.columns.get(part.called(i, name))
                given[name] = mine[name] if name in mine else one.parameters.get(name)
                if column is not None:
                    given[name] = float(column[self.bar, leg.symbol])
            stopped = self.is_stopped(one, book, entry, self.bars[self.bar][leg.symbol].close)
            answer = 0.0 if stopped else type(one).decide(**given)
            if answer == HOLD or (answer == 0.0 and last == 0.0):
                exposures.append(last * size / equity)
                wants.append(last)
            else:
                some = True
                exposures.append(answer * weight)
                wants.append(answer * weight * equity / size)
        if not some:
            return HOLD
        shelf.waiting.append((self.bar + 1 + self.rules.delay, wants))
        total = sum(exposures)
        return 0.0 if abs(total) <= 1e-12 * sum(map(abs, exposures)) else total

    def is_stopped(self, one: Any, book: Book, entry: float, close: float) -> bool:
        if book.held == 0.0:
            return False
        moved = (close / entry - 1.0) * math.copysign(1.0, book.held)
        from_best = (close / book.best - 1.0) * math.copysign(1.0, book.held)
        stop, take, trail = (one.parameters.get(n, 0.0) for n in ("stop_loss", "take_profit", "trailing_stop"))
        return bool((stop and moved <= -stop) or (take and moved >= take) or (trail and from_best <= -trail))

    # ---- in the end

    def profits(self) -> Any:
        """Of each strategy; what the insurance fund took or paid goes with what was closed in that bar."""
        found = np.array([sum(shelf.books[i].profit for shelf in self.shelves) for i in range(len(self.parts))])
        for bar, symbol, kind, amount, _ in self.rows.ledger:
            if kind == Cash.INSURANCE:
                there = [d for d in self.done if d[0] == bar and symbol in (-1, d[1])]
                there = [d for d in there if d[3]] or there
                shares = sum(d[2] * np.array(d[4]) for d in there)
                found += amount * shares / shares.sum()
        return found


def columns_for(whole: Together, prepared: Prepared, features: Mapping[str, Any]) -> dict[str, Any]:
    """What the features of the whole would be: those of its parts by their names, and its own."""
    shape = prepared.bars.close.shape
    out = {"opened": prepared.bars.open, **features}
    for i in range(len(whole.parts)):
        out |= {f"ready_{i}": np.ones(shape), f"want_{i}": np.full(shape, np.nan)}
    return out


def compiled(prepared: Prepared, whole: Together, columns: Mapping[str, Any]) -> tuple[Run, Attribution]:
    """The engine's loops on arrays that are ready."""
    binding = bind(whole, list(columns))
    source = compilable(binding)
    several = prepared.k > 1
    if loop.compiles():
        quiet = loop.loop_of(binding.order, source.text, several=several, trails=False)
    else:
        quiet = loop.loop_of(binding.order, "", several=several, trails=False, jit=False, decide=source.function())
    names = binding.features
    sets = run.Sets(
        features=np.ascontiguousarray(np.stack([np.asarray(columns[name], dtype=float) for name in names])),
        columns=np.arange(len(names), dtype=float)[None, :],
        parameters=np.array([[float(whole.parameters[name]) for name in binding.parameters]]),
        reserved=nothing_reserved(1),
        warmup=np.array([prepared.warmup]),
    )
    stage = run.stage(prepared, 0.0, 0, whole._books)
    state = run.begin(stage, sets, keep=True)
    made = run.as_run(state, run.walk(stage, sets, quiet, state))
    places = [names.index(f"want_{i}") for i in range(len(whole.parts))]
    symbols = tuple(f"S{j}" for j in range(prepared.k))
    parts = tuple(part.name for part in whole.parts)
    return made, attribute(parts, symbols, np.arange(prepared.n), prepared, made, sets.features[places])
