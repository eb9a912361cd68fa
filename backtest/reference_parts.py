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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from backtest.prepare import INVERSE, ISOLATED, SPOT, Bars, Prepared
from backtest.records import FILL, FUNDING, LEDGER, LIQUIDATION, REFUSED, Cash, Refusal, Run

EDGE = 1e-9  # a notional this much (relative) above a boundary is still in the lower tier
NEAR_ZERO = 1e-9  # a level this close to zero, relative to the mark, is none
DUST = 1e-9  # of a lot

DOWN, UP = -1, 1


def sign(x: float) -> int:
    return (x > 0) - (x < 0)


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


# ---- where maintenance is met --------------------------------------------------------------------


def first_breach(leg: Leg, cash: float, mark: float, tiers: Tiers) -> float | None:
    """The mark at which `cash` + unrealised profit meets maintenance, going the bad way from `mark`; None: nowhere.

    With the size n of the contract, profit is q (s n - v_entry), s = 1 for linear and -1 for inverse, and so in each
    tier the surplus over maintenance is a straight line in N = |q| n.
    """
    held = abs(leg.quantity)
    s = -1.0 if leg.kind == INVERSE else 1.0
    slope = math.copysign(s, s * leg.quantity)  # of profit, in N
    fixed = cash - leg.quantity * leg.v_entry
    here = held * leg.size(mark)
    start = tiers.index(here)

    def surplus(notional: float, tier: int) -> float:
        rate, deduction = tiers.line(tier)
        return fixed + slope * notional - (notional * rate - deduction)

    if surplus(here, start) <= 0.0:
        return mark
    pieces = _falling(tiers, start, here) if slope > 0.0 else _rising(tiers, start, here)
    for tier, near, far in pieces:
        if near != here and surplus(near, tier) <= 0.0:  # maintenance jumps at the boundary
            return _level(leg, near / held, mark)
        rate, deduction = tiers.line(tier)
        if far == math.inf or surplus(far, tier) <= 0.0:
            if slope == rate:
                return None
            return _level(leg, (fixed + deduction) / (rate - slope) / held, mark)
    return None


def _falling(tiers: Tiers, start: int, here: float) -> Iterable[tuple[int, float, float]]:
    for tier in range(start, -1, -1):
        row = tiers.rows[tier]
        yield tier, min(here, row.cap) if tier < start else here, row.floor if tier else 0.0


def _rising(tiers: Tiers, start: int, here: float) -> Iterable[tuple[int, float, float]]:
    last = len(tiers.rows) - 1
    for tier in range(start, last + 1):
        row = tiers.rows[tier]
        near = here if tier == start else max(here, row.floor)
        yield tier, near, math.inf if tier == last else max(near, row.cap)


def _level(leg: Leg, size: float, mark: float) -> float | None:
    """The price of a size, where it is one that prices can reach."""
    ratio = size / leg.size(mark)
    if not NEAR_ZERO < ratio < 1.0 / NEAR_ZERO:
        return None
    return 1.0 / size if leg.kind == INVERSE else size


def first_joint_breach(
    legs: Sequence[tuple[Leg, Tiers]],
    spot: Sequence[Leg],
    cash: float,
    weight: float,
    ways: Sequence[tuple[float, float]],
    since: float,
) -> float:
    """The first place w in [since, 1] at which the legs' account is breached; 1 where none is found before.

    `ways`: for each symbol where its mark starts and ends; at w it is start + w (end - start).
    """

    def at(leg: Leg, w: float) -> float:
        start, end = ways[leg.symbol]
        return start + w * (end - start)

    def surplus(w: float, pieces: Sequence[tuple[float, float]]) -> float:
        total = cash + weight * sum(leg.quantity * at(leg, w) for leg in spot)
        for (leg, _), (rate, deduction) in zip(legs, pieces, strict=True):
            mark = at(leg, w)
            total += leg.unrealised(mark) - (leg.notional(mark) * rate - deduction)
        return total

    edges = sorted({since, 1.0, *(w for leg, tiers in legs for w in _crossings(leg, tiers, ways[leg.symbol], since))})
    for near, far in zip(edges, edges[1:], strict=False):
        middle = 0.5 * (near + far)
        pieces = [tiers.line(tiers.index(leg.notional(at(leg, middle)))) for leg, tiers in legs]
        found = _first_below(near, far, lambda w, pieces=pieces: surplus(w, pieces))  # type: ignore[misc]
        if found is not None:
            return found
    return 1.0


def _crossings(leg: Leg, tiers: Tiers, way: tuple[float, float], since: float) -> Iterable[float]:
    """Where on its way a leg's notional meets a boundary of its tiers."""
    start, end = way
    for row in tiers.rows[:-1]:
        edge = row.cap / abs(leg.quantity)
        price = 1.0 / edge if leg.kind == INVERSE else edge
        if start != end and since < (w := (price - start) / (end - start)) < 1.0:
            yield w


def _first_below(near: float, far: float, surplus: Callable[[float], float], steps: int = 16) -> float | None:
    """The first place from near to far where the surplus is at or below 0: small steps, then halving."""
    if surplus(near) <= 0.0:
        return near
    good = near
    for step in range(1, steps + 1):
        bad = far if step == steps else near + (far - near) * step / steps
        if surplus(bad) <= 0.0:
            while good < (middle := 0.5 * (good + bad)) < bad:
                good, bad = (good, middle) if surplus(middle) <= 0.0 else (middle, bad)
            return bad
        good = bad
    return None


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
