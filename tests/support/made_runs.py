"""Runs written by hand: a bookkeeper that does what a trader tells it, one bar at a time, and keeps every row.

It knows no market rule: fills, settlements and liquidations happen at the prices it is given. What it adds up on the
way (profit of each trade, fees, funding) is a second way to the measures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.prepare import INVERSE, SPOT
from backtest.records import FILL, FUNDING, LEDGER, LIQUIDATION, REFUSED, Cash, Run, Why


@dataclass
class Leg:
    kind: int
    quantity: float = 0.0
    basis: float = 0.0  # average of v(price)
    opened: int = -1
    profit: float = 0.0  # of the trade at hand

    def value(self, price: float) -> float:
        return -1.0 / price if self.kind == INVERSE else price

    def notional(self, price: float) -> float:
        return abs(self.quantity) * (1.0 / price if self.kind == INVERSE else price)

    def worth(self, price: float) -> float:
        """What it adds to the wallet to make equity."""
        return self.quantity * (self.value(price) - (0.0 if self.kind == SPOT else self.basis))


@dataclass
class Trade:
    symbol: int
    opened: int
    closed: int
    profit: float


@dataclass
class Book:
    """`close` ends a bar; everything before it happens in that bar."""

    kinds: tuple[int, ...] = (0,)
    start: float = 1000.0
    bar: int = 0
    trades: list[Trade] = field(default_factory=list)
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    bars: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.legs = [Leg(kind) for kind in self.kinds]
        self.wallet = self.start
        self.rows = {name: [] for name in ("ledger", "fills", "liquidations", "fundings", "refused")}

    def pay(self, symbol: int, kind: Cash, amount: float) -> None:
        self.wallet += amount
        if symbol >= 0:
            self.legs[symbol].profit += amount
        self.rows["ledger"].append((self.bar, symbol, int(kind), amount, self.wallet))

    def fill(
        self,
        quantity: float,
        price: float,
        fee: float = 0.0,
        *,
        symbol: int = 0,
        why: Why = Why.MARKET,
        slippage: float = 0.0,
        insurance: float = 0.0,
    ) -> None:
        """At most to zero where it is against the position: a reversal is two of them."""
        leg = self.legs[symbol]
        before, v = leg.quantity, leg.value(price)
        closing = before * quantity < 0.0
        after = 0.0 if quantity == -before else before + quantity
        assert not closing or before * after >= 0.0, "a reversal is two fills"
        if before == 0.0:
            leg.opened, leg.profit, leg.basis = self.bar, 0.0, v
        elif not closing:
            leg.basis = (before * leg.basis + quantity * v) / after
        profit = -quantity * (v - leg.basis) if closing else 0.0
        if leg.kind == SPOT:
            self.pay(symbol, Cash.FILL, -quantity * price)
        elif closing:
            self.pay(symbol, Cash.FILL, profit)
        forced = why in (Why.LIQUIDATION, Why.REDUCTION)
        if insurance and not forced:
            self.pay(symbol, Cash.INSURANCE, insurance)
        self.pay(symbol, Cash.LIQUIDATION_FEE if forced else Cash.FEE, -fee)
        if insurance and forced:
            self.pay(symbol, Cash.INSURANCE, insurance)
        leg.quantity = after
        row = (self.bar, symbol, int(why), quantity, price, price, fee, profit, slippage, after)
        self.rows["fills"].append(row)
        if forced:
            loss = fee - profit - insurance
            self.rows["liquidations"].append(
                (self.bar, symbol, int(why), -quantity, price, price, np.nan, fee, insurance, loss)
            )
        if after == 0.0:
            self.trades.append(Trade(symbol, leg.opened, self.bar, leg.profit))

    def funding(self, rate: float, price: float, *, symbol: int = 0, at_open: bool = False) -> None:
        leg = self.legs[symbol]
        amount = -leg.quantity * (1.0 / price if leg.kind == INVERSE else price) * rate
        self.pay(symbol, Cash.FUNDING, amount)
        self.rows["fundings"].append((self.bar, symbol, at_open, rate, price, leg.quantity, amount, 1))

    def refuse(self, why: int, *, symbol: int = 0) -> None:
        self.rows["refused"].append((self.bar, symbol, why, 1.0, 1.0))

    def close(self, *marks: float, distance: float = np.nan) -> None:
        pairs = list(zip(self.legs, marks, strict=True))
        equity = self.wallet + sum(leg.worth(mark) for leg, mark in pairs)
        gross = sum(leg.notional(mark) for leg, mark in pairs)
        signed = sum(np.sign(leg.quantity) * leg.notional(mark) for leg, mark in pairs)
        self.bars.append(
            {
                "equity": equity,
                "wallet": self.wallet,
                "margin_ratio": 0.0 if gross == 0.0 else 0.1,
                "exposure": signed / equity if equity > 0.0 else 0.0,
                "gross": gross / equity if equity > 0.0 else 0.0,
                "position": [leg.quantity for leg in self.legs],
                "entry_price": [abs(leg.value(leg.basis)) if leg.quantity else np.nan for leg in self.legs],
                "liquidation_price": [0.5 * mark if leg.quantity else np.nan for leg, mark in pairs],
                "distance": distance,
                "marks": marks,
            }
        )
        self.bar += 1

    def column(self, name: str) -> npt.NDArray[np.float64]:
        return np.array([bar[name] for bar in self.bars], dtype=np.float64)

    def run(self, **counts: int) -> Run:
        dtypes = {
            "ledger": LEDGER,
            "fills": FILL,
            "liquidations": LIQUIDATION,
            "fundings": FUNDING,
            "refused": REFUSED,
        }
        return Run(
            series={name: self.column(name) for name in ("equity", "wallet", "margin_ratio", "exposure", "gross")},
            leg_series={name: self.column(name) for name in ("position", "entry_price", "liquidation_price")},
            margin_distance=self.column("distance"),
            **{name: np.array(self.rows[name], dtype=dtype) for name, dtype in dtypes.items()},
            **{"scaled": 0, "ambiguous": 0, "skipped": 0, "ruined_bar": -1, **counts},
        )


def flat(equity: npt.ArrayLike, symbols: int = 1) -> Run:
    """A run of which nothing is known but its equity."""
    book = Book(kinds=(0,) * symbols)
    for value in np.asarray(equity, dtype=np.float64):
        book.wallet = float(value)
        book.close(*(1.0,) * symbols)
    return book.run()


def random_book(seed: int, bars: int = 60, kinds: tuple[int, ...] = (0, 1, 2)) -> Book:
    """Any order of events that can happen: several trades a bar, reversals, fees of nothing, settlements everywhere."""
    rng = np.random.default_rng(seed)
    book = Book(kinds=kinds, start=1000.0)
    fee_rate = float(rng.choice([0.0, 0.001, -0.0002]))
    prices = np.full(len(kinds), 100.0)
    for _ in range(bars):
        for symbol, leg in enumerate(book.legs):
            if leg.kind != SPOT and leg.quantity and rng.random() < 0.3:
                book.funding(float(rng.choice([-0.01, 0.0, 0.01])), prices[symbol], symbol=symbol, at_open=True)
        prices = np.maximum(prices + rng.integers(-2, 3, len(kinds)), 10.0)
        for symbol in rng.permutation(len(kinds)):
            for _ in range(rng.integers(0, 4)):
                _something(book, rng, int(symbol), float(prices[symbol]), fee_rate)
        if rng.random() < 0.1:
            book.pay(-1, Cash.INTEREST, 0.01)
        book.close(*prices, distance=float(rng.choice([np.nan, 0.2, 0.05])))
    return book


def _something(book: Book, rng: np.random.Generator, symbol: int, price: float, fee_rate: float) -> None:
    leg = book.legs[symbol]

    def fill(quantity: float, why: Why = Why.MARKET, **more: float) -> None:
        size = abs(quantity) * (1.0 / price if leg.kind == INVERSE else price)
        book.fill(quantity, price, fee_rate * size, symbol=symbol, why=why, slippage=0.001 * size, **more)

    unit = float(rng.integers(1, 4)) * (50.0 if leg.kind == INVERSE else 1.0)
    q = leg.quantity
    if q == 0.0:
        fill(unit if leg.kind == SPOT or rng.random() < 0.5 else -unit)
        return
    match rng.integers(0, 6):
        case 0:
            fill(np.sign(q) * unit)
        case 1 if abs(q) > unit:
            fill(-np.sign(q) * unit)
        case 2 if leg.kind != SPOT:
            fill(-q)
            fill(-np.sign(q) * unit)
        case 3 if leg.kind != SPOT:
            fill(-q, Why.LIQUIDATION, insurance=float(rng.choice([-0.5, 0.5])))
        case 4 if leg.kind != SPOT:
            book.funding(0.01, price, symbol=symbol)
        case _:
            fill(-q)
