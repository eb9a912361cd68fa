"""Fills of one symbol as trades: positions flat to flat, and each exit and each entry alone.

Costs of a position that belong to no single fill (funding, insurance, and the fees of its entries) are shared as its
average price is: each fill that closes a part takes that part of what has gathered so far. So the trades of a position
add up to it, and a closed position has the profit that `Result.trades` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.metrics import FEES
from backtest.prepare import INVERSE
from backtest.records import Cash

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.void]

LONG, SHORT = 0, 1  # numbers of vectorbt
OPEN, CLOSED = 0, 1

TRADE = np.dtype(
    [
        ("id", np.int64),
        ("col", np.int64),
        ("size", np.float64),
        ("entry_idx", np.int64),
        ("entry_price", np.float64),
        ("entry_fees", np.float64),
        ("exit_idx", np.int64),
        ("exit_price", np.float64),
        ("exit_fees", np.float64),
        ("pnl", np.float64),
        ("return", np.float64),
        ("direction", np.int64),
        ("status", np.int64),
        ("parent_id", np.int64),
        ("funding", np.float64),
        ("insurance", np.float64),
        ("why", np.int64),
    ],
    align=True,
)
"""The last three are ours: shares of settlements and of what the fund paid or kept, and why the last fill happened (for
what is still open: the latest one)."""


@dataclass(frozen=True)
class Leg:
    """One symbol of one run, as vectorbt sees it."""

    fills: Rows
    ledger: Rows
    kind: int
    close: float  # of the last bar, as a price of vectorbt
    last: int  # the last bar

    @property
    def flipped(self) -> bool:
        return self.kind == INVERSE

    def price(self, price: Floats) -> Floats:
        return 1.0 / price if self.flipped else price

    def amount(self, quantity: Floats) -> Floats:
        return -quantity if self.flipped else quantity


class Walk:
    """The fills of a leg in their order, and what each that closes something takes with it.

    Arrays by fill: `basis` the average entry price before a closing fill, `entry_fees`, `funding`, `insurance` its
    shares, `fraction` the part of the position that it closed. `rest` is what is left with an open position.
    """

    def __init__(self, leg: Leg) -> None:
        self.leg = leg
        self.after = leg.amount(leg.fills["position"]) + 0.0
        self.before = np.append(0.0, self.after)[:-1]
        self.price = leg.price(leg.fills["price"])
        self.size = np.abs(leg.fills["quantity"])
        self.fee = leg.fills["fee"]
        self.more: Flags = np.abs(self.after) > np.abs(self.before)
        self.opens: Flags = self.before == 0.0
        self.position: Ints = np.cumsum(self.opens) - 1  # number of the position that a fill belongs to
        count = len(self.after)
        self.basis, self.entry_fees = np.zeros(count), np.zeros(count)
        self.funding, self.insurance = np.zeros(count), np.zeros(count)
        self.rest = np.zeros(4)  # basis, entry fees, funding, insurance
        self._walk(*(self._between(kind) for kind in (Cash.FUNDING, Cash.INSURANCE)))

    @property
    def is_open(self) -> bool:
        return len(self.after) > 0 and bool(self.after[-1] != 0.0)

    @property
    def first(self) -> Ints:
        """The opening fill of each position."""
        return np.flatnonzero(self.opens).astype(np.int64)

    @property
    def side(self) -> Floats:
        """1 long, -1 short, a position."""
        return np.sign(self.after[self.opens])

    def _between(self, kind: Cash) -> Floats:
        """Amounts of a kind before the fee of each fill, and after that of the last."""
        ledger = self.leg.ledger
        done = np.cumsum(np.isin(ledger["kind"], FEES))
        amounts = np.where(ledger["kind"] == kind, ledger["amount"], 0.0)
        return np.bincount(done, amounts, minlength=len(self.after) + 1).astype(np.float64)

    def _walk(self, funding: Floats, insurance: Floats) -> None:
        basis = fees = paid = fund = 0.0
        for i in range(len(self.after)):
            if self.opens[i]:
                self._take_late(i, funding[i], insurance[i])
                basis = fees = paid = fund = 0.0
            else:
                paid += funding[i]
                fund += insurance[i]
            held, now = abs(self.before[i]), abs(self.after[i])
            if self.more[i]:
                basis = (held * basis + self.size[i] * self.price[i]) / now
                fees += self.fee[i]
                continue
            part = 1.0 if now == 0.0 else 1.0 - now / held
            self.basis[i] = basis
            self.entry_fees[i], self.funding[i], self.insurance[i] = part * fees, part * paid, part * fund
            fees, paid, fund = (left - part * left for left in (fees, paid, fund))
        if self.is_open:
            self.rest[:] = basis, fees, paid + funding[-1], fund + insurance[-1]
        else:
            self._take_late(len(self.after), funding[-1], insurance[-1])

    def _take_late(self, fill: int, funding: float, insurance: float) -> None:
        """What was settled after a position was closed, as what the fund kept of a liquidation, is its last fill's."""
        if fill > 0:
            self.funding[fill - 1] += funding
            self.insurance[fill - 1] += insurance

    def summed(self, values: Floats, chosen: Flags | None = None) -> Floats:
        """By position."""
        chosen = np.ones(len(self.after), dtype=bool) if chosen is None else chosen
        count = len(self.first)
        return np.bincount(self.position[chosen], values[chosen], minlength=count).astype(np.float64)


def exits(walk: Walk) -> Rows:
    """A row for each fill that closed something, and one for what is still open at the end."""
    chosen = np.flatnonzero(~walk.more)
    made = np.zeros(len(chosen) + int(walk.is_open), TRADE)
    closed = made[: len(chosen)]
    closed["size"], closed["exit_price"] = walk.size[chosen], walk.price[chosen]
    closed["exit_idx"], closed["exit_fees"] = walk.leg.fills["bar"][chosen], walk.fee[chosen]
    closed["entry_price"], closed["entry_fees"] = walk.basis[chosen], walk.entry_fees[chosen]
    closed["funding"], closed["insurance"] = walk.funding[chosen], walk.insurance[chosen]
    closed["parent_id"], closed["status"] = walk.position[chosen], CLOSED
    closed["why"] = walk.leg.fills["why"][chosen]
    if walk.is_open:
        _still_open(made[-1:], walk)
    made["entry_idx"] = walk.leg.fills["bar"][walk.first][made["parent_id"]]
    return _valued(made, walk)


def _still_open(row: Rows, walk: Walk) -> None:
    row["size"], row["parent_id"], row["status"] = np.abs(walk.after[-1]), walk.position[-1], OPEN
    row["exit_price"], row["exit_idx"] = walk.leg.close, walk.leg.last
    row["entry_price"], row["entry_fees"], row["funding"], row["insurance"] = walk.rest
    row["why"] = walk.leg.fills["why"][-1]


def positions(walk: Walk) -> Rows:
    """Flat to flat, and what is open at the end at the last mark."""
    parts = exits(walk)
    made = np.zeros(len(walk.first), TRADE)
    for name in ("exit_fees", "funding", "insurance", "pnl"):
        made[name] = np.bincount(parts["parent_id"], parts[name], minlength=len(made))
    made["size"], made["entry_fees"] = walk.summed(walk.size, walk.more), walk.summed(walk.fee, walk.more)
    made["entry_price"] = _mean(walk.summed(walk.size * walk.price, walk.more), made["size"])
    made["exit_price"] = _mean(
        np.bincount(parts["parent_id"], parts["size"] * parts["exit_price"], minlength=len(made)), made["size"]
    )
    made["entry_idx"] = walk.leg.fills["bar"][walk.first]
    last = np.append(walk.first[1:], len(walk.after))[: len(made)] - 1
    made["exit_idx"], made["why"] = walk.leg.fills["bar"][last], walk.leg.fills["why"][last]
    made["parent_id"], made["status"] = np.arange(len(made)), CLOSED
    made["direction"] = np.where(walk.side > 0.0, LONG, SHORT)
    if walk.is_open:
        made["status"][-1], made["exit_idx"][-1] = OPEN, walk.leg.last
    made["return"] = _mean(made["pnl"], made["size"] * made["entry_price"])
    return made


def entries(walk: Walk) -> Rows:
    """A row for each fill that opened something, against the mean exit of its position."""
    whole = positions(walk)
    chosen = np.flatnonzero(walk.more)
    made = np.zeros(len(chosen), TRADE)
    of = walk.position[chosen]
    share = walk.size[chosen] / whole["size"][of]
    made["size"], made["entry_price"], made["entry_fees"] = walk.size[chosen], walk.price[chosen], walk.fee[chosen]
    made["entry_idx"], made["parent_id"] = walk.leg.fills["bar"][chosen], of
    for name in ("exit_idx", "exit_price", "status", "why"):
        made[name] = whole[name][of]
    for name in ("exit_fees", "funding", "insurance"):
        made[name] = share * whole[name][of]
    return _valued(made, walk)


def _valued(made: Rows, walk: Walk) -> Rows:
    side = walk.side[made["parent_id"]]
    gained = side * made["size"] * (made["exit_price"] - made["entry_price"])
    made["pnl"] = gained - made["entry_fees"] - made["exit_fees"] + made["funding"] + made["insurance"]
    made["return"] = _mean(made["pnl"], made["size"] * made["entry_price"])
    made["direction"] = np.where(side > 0.0, LONG, SHORT)
    return made


def _mean(total: npt.NDArray[Any], size: npt.NDArray[Any]) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        made: Floats = np.where(size > 0.0, total / size, np.nan)
    return made
