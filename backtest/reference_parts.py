"""What the reference engine is made of: legs, orders, tiers, prices of a bar, rows, and the two searches for a breach.

`first_breach` finds the mark at which one leg meets its maintenance, `first_joint_breach` the place on the way from the
opens to the extremes at which several legs that share a wallet do. Maintenance is made of pieces, one a tier: within a
piece the answer of a single leg is a straight line in the size of the contract, and the one of several legs is looked
for in small steps and then halved. Both searches go from where the position is, piece by piece.

Words (quantity, size at a price, value price, balance) are those of docs/engine.md.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from backtest.prepare import INVERSE, ISOLATED, SPOT, Bars, Prepared
from backtest.records import FILL, FUNDING, LEDGER, LIQUIDATION, REFUSED, Cash, Refusal, Run

TOLERANCE = 1e-9  # what counts as equal where two amounts of the account are compared
EDGE = 1e-9  # a notional this much (relative) above a boundary is still in the lower tier
NEAR_ZERO = 1e-9  # a level this close to zero, relative to the mark, is none
DUST = 1e-9  # of a lot
ROUNDING = 1e-12  # of the quantity wanted: the same target again is no order

DOWN, UP = -1, 1


def sign(x: float) -> int:
    return 1 if x > 0.0 else -1 if x < 0.0 else 0


def lots(x: float, lot: float) -> float:
    """Toward zero, in whole lots."""
    return math.copysign(math.floor(abs(x) / lot + 1e-9) * lot, x) if lot else x


# ---- prices of a bar -----------------------------------------------------------------------------


class Candle(NamedTuple):
    """One symbol, one bar."""

    open: float
    high: float
    low: float
    close: float
    mark_open: float
    mark_high: float
    mark_low: float
    mark_close: float
    present: bool

    def ends(self, side: int) -> tuple[float, float]:
        """How far trade and mark went on one side of the open."""
        return (self.low, self.mark_low) if side == DOWN else (self.high, self.mark_high)

    def trade_at(self, side: int, distance: float) -> float:
        return _at(self.open, self.ends(side)[0], side, distance)

    def mark_at(self, side: int, distance: float) -> float:
        return _at(self.mark_open, self.ends(side)[1], side, distance)


def _at(start: float, end: float, side: int, distance: float) -> float:
    price = start * (1.0 + side * distance)
    return max(price, end) if side == DOWN else min(price, end)


def candles(bars: Bars) -> list[list[Candle]]:
    """bars[i][symbol]"""
    names = [f for f in Candle._fields if f != "present"]
    columns = [getattr(bars, name).tolist() for name in names] + [bars.present.tolist()]
    return [[Candle(*values) for values in zip(*rows, strict=True)] for rows in zip(*columns, strict=True)]


# ---- tiers ---------------------------------------------------------------------------------------


class TierRow(NamedTuple):
    floor: float
    cap: float
    mmr: float
    max_leverage: float
    cum: float


class Tiers:
    """One table in force. `closing_fee` is part of maintenance; the whole rule has no `cum`."""

    def __init__(self, rows: Sequence[TierRow], closing_fee: float, whole: bool) -> None:
        self.rows = list(rows) or [TierRow(0.0, math.inf, 0.0, math.inf, 0.0)]
        self.closing_fee, self.whole = closing_fee, whole

    def index(self, notional: float) -> int:
        """A boundary belongs to the lower tier."""
        inside = (t for t, row in enumerate(self.rows) if notional <= row.cap * (1.0 + EDGE))
        return next(inside, len(self.rows) - 1)

    def line(self, tier: int) -> tuple[float, float]:
        """Maintenance in this tier = rate x notional - deduction."""
        row = self.rows[tier]
        return row.mmr + self.closing_fee, 0.0 if self.whole else row.cum

    def maintenance(self, notional: float) -> float:
        rate, deduction = self.line(self.index(notional))
        return notional * rate - deduction

    def max_leverage(self, notional: float) -> float:
        return self.rows[self.index(notional)].max_leverage


def tier_tables(prepared: Prepared) -> list[list[tuple[int, Tiers]]]:
    """For each symbol its tables, each with the bar from which it holds."""
    tables: list[list[tuple[int, Tiers]]] = [[] for _ in range(prepared.k)]
    rows = [TierRow(*map(float, row.tolist())) for row in prepared.tier_rows]
    for table in prepared.tier_tables:
        first, count = int(table["first"]), int(table["count"])
        made = Tiers(rows[first : first + count], prepared.closing_fee, prepared.whole_tiers)
        tables[int(table["symbol"])].append((int(table["bar"]), made))
    nothing = Tiers([], prepared.closing_fee, prepared.whole_tiers)
    return [[(-1, nothing), *one] for one in tables]


def in_force(tables: list[tuple[int, Tiers]], bar: int) -> Tiers:
    return tables[bisect_right(tables, bar, key=lambda table: table[0]) - 1][1]


# ---- orders and legs -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    target: float
    quantity: float  # what the position should be
    leverage: float
    due: int
    limit: float | None = None
    last_bar: int | None = None  # of a limit order that expires
    stop_loss: float = 0.0  # fractions, 0: none
    take_profit: float = 0.0
    trailing_stop: float = 0.0


@dataclass
class Leg:
    """One symbol: its contract, its position, its orders."""

    symbol: int
    kind: int
    isolated: bool
    lot: float
    tick: float
    min_notional: float
    last_bar: int
    pair: int
    # the position
    quantity: float = 0.0
    v_entry: float = 0.0
    margin: float = 0.0  # isolated
    leverage: float = 1.0
    stop_loss: float = 0.0
    take_profit: float = 0.0
    trailing_stop: float = 0.0
    anchor: float = 0.0
    bars_held: int = 0
    last_liquidation: int | None = None
    # the orders
    working: Order | None = None
    queued: list[Order] = field(default_factory=list)
    # this bar
    traded: float = 0.0  # of the participation cap
    stopped: bool = False  # stops do not act again
    reduced: bool = False  # by a liquidation
    armed: int = 0  # the side of a position that was open when the walk began and did not change since

    def copy(self) -> Leg:
        return replace(self, queued=list(self.queued))

    @property
    def is_spot(self) -> bool:
        return self.kind == SPOT

    @property
    def is_open(self) -> bool:
        return self.quantity != 0.0

    def size(self, price: float) -> float:
        """Notional of one unit of quantity."""
        return 1.0 / price if self.kind == INVERSE else price

    def value(self, price: float) -> float:
        """What profit is the difference of."""
        return -1.0 / price if self.kind == INVERSE else price

    def quote_notional(self, dq: float, price: float) -> float:
        return abs(dq) if self.kind == INVERSE else abs(dq) * price

    def notional(self, price: float) -> float:
        return abs(self.quantity) * self.size(price)

    def unrealised(self, price: float) -> float:
        return self.quantity * (self.value(price) - self.v_entry)

    def worth(self, price: float) -> float:
        """What the position adds to equity beyond the wallet."""
        return self.quantity * price if self.is_spot else self.unrealised(price)

    @property
    def entry_price(self) -> float:
        return -1.0 / self.v_entry if self.kind == INVERSE else self.v_entry

    def price_of_value(self, v: float) -> float:
        """The price with this value price; NaN where there is none above 0."""
        price = v if self.kind != INVERSE else (-1.0 / v if v < 0.0 else math.nan)
        return price if price > 0.0 else math.nan

    def move(self, dq: float) -> None:
        """The quantity changes by dq."""
        if not self.is_open:
            self.bars_held = 0
        self.quantity += dq
        if sign(self.quantity) != self.armed:
            self.armed = 0
        if not self.is_open:
            self.v_entry = self.margin = 0.0
            self.bars_held = 0

    def add(self, dq: float, price: float, order: Order) -> None:
        """An increase: the average entry, the margin and what the order says of leverage and stops."""
        if not self.is_open:
            self.anchor = price
        value = self.quantity * self.v_entry + dq * self.value(price)
        self.v_entry = value / (self.quantity + dq)
        self.move(dq)
        self.leverage = order.leverage
        if self.isolated:
            self.margin += abs(dq) * self.size(price) / order.leverage
        self.stop_loss, self.take_profit = order.stop_loss, order.take_profit
        self.trailing_stop = order.trailing_stop


def legs_of(prepared: Prepared) -> list[Leg]:
    c = prepared.contracts
    columns = (c.kind, c.mode, c.lot, c.tick, c.min_notional, c.last_bar, c.pair)
    return [
        Leg(j, kind, mode == ISOLATED and kind != SPOT, lot, tick, least, last, pair)
        for j, (kind, mode, lot, tick, least, last, pair) in enumerate(zip(*(x.tolist() for x in columns), strict=True))
    ]


# ---- what is written down ------------------------------------------------------------------------


@dataclass
class Rows:
    """Rows as tuples, in the order of `backtest.records`."""

    ledger: list[tuple[int, int, Cash, float, float]] = field(default_factory=list)
    fills: list[tuple[float, ...]] = field(default_factory=list)
    liquidations: list[tuple[float, ...]] = field(default_factory=list)
    fundings: list[tuple[float, ...]] = field(default_factory=list)
    refused: list[tuple[int, int, Refusal, float, float]] = field(default_factory=list)

    def copy(self) -> Rows:
        return Rows(*(list(getattr(self, name)) for name in ROW_TYPES))


ROW_TYPES = {"ledger": LEDGER, "fills": FILL, "liquidations": LIQUIDATION, "fundings": FUNDING, "refused": REFUSED}


@dataclass
class Counts:
    scaled: int = 0
    ambiguous: int = 0
    skipped: int = 0
    ruined_bar: int = -1


def written(
    rows: Rows,
    counts: Counts,
    series: dict[str, list[float]],
    leg_series: dict[str, list[list[float]]],
    margin_distance: list[float],
) -> Run:
    tables = {name: np.array(getattr(rows, name), dtype=dtype) for name, dtype in ROW_TYPES.items()}
    return Run(
        series={name: np.array(values, dtype=np.float64) for name, values in series.items()},
        leg_series={name: np.array(values, dtype=np.float64) for name, values in leg_series.items()},
        margin_distance=np.array(margin_distance, dtype=np.float64),
        scaled=counts.scaled,
        ambiguous=counts.ambiguous,
        skipped=counts.skipped,
        ruined_bar=counts.ruined_bar,
        **tables,
    )
