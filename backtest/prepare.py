"""Everything a simulation needs, as plain arrays: what the kernel and the reference both take.

`prepare()` makes it of a market, a venue, an account and costs: missing bars stand at their last mark, tiers and
settlements are laid on bars, the coefficients of impact are those known before each bar. How is in
`backtest.preparing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from backtest.account import Account
    from backtest.costs import Costs
    from backtest.venue import Venue
    from data.market import Market

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

LINEAR, INVERSE, SPOT = 0, 1, 2
ISOLATED, CROSS = 0, 1
REDUCE_NONE, REDUCE_TIER, REDUCE_TWO_TIERS, REDUCE_FRACTION = 0, 1, 2, 3
TAKEOVER, MARKET = 0, 1
REJECT, REDUCE = 0, 1
JOINT, WORST, CLOSE = 0, 1, 2
FUNDING_EVENT, ADL_EVENT = 0, 1

EVENT = np.dtype(
    [
        ("bar", "i8"),
        ("inside", "i4"),  # 0: stamped exactly at the bar's open; 1: inside the bar
        ("symbol", "i4"),
        ("kind", "i4"),  # FUNDING_EVENT, ADL_EVENT
        ("detail", "i8"),  # the finer bar (from the start of all of them) it lies in; -1 without finer bars
        ("rate", "f8"),  # funding: the rate as settled; ADL: signed fraction closed, the sign is the side it closes
        ("price", "f8"),  # NaN: the mark open
    ]
)
"""Sorted by bar, inside, time, symbol."""

TIER_ROW = np.dtype([("floor", "f8"), ("cap", "f8"), ("mmr", "f8"), ("max_leverage", "f8"), ("cum", "f8")])
TIER_TABLE = np.dtype([("symbol", "i4"), ("bar", "i8"), ("first", "i8"), ("count", "i8")])
"""A table of one symbol: from `bar` on, the rows [first, first + count) hold. Sorted by symbol and bar; the first of
each symbol has bar 0."""


@dataclass(frozen=True)
class Contracts:
    """One value for each of k symbols."""

    kind: Ints  # LINEAR, INVERSE, SPOT
    mode: Ints  # ISOLATED, CROSS (spot: CROSS)
    lot: Floats  # 0: any quantity
    tick: Floats  # 0: any price
    min_notional: Floats  # in settlement currency; 0: none
    last_bar: Ints  # of a symbol that is delisted within the market; -1: none
    pair: Ints  # index of the other leg; -1: none


@dataclass(frozen=True)
class Bars:
    """(n, k) arrays. Finite everywhere: a missing bar stands at the last mark, one before the first at the first."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    mark_open: Floats
    mark_high: Floats
    mark_low: Floats
    mark_close: Floats
    present: Flags  # False: nothing trades

    def __len__(self) -> int:
        return len(self.close)


@dataclass(frozen=True)
class Taking:
    """Cost of taking in bar i, known before it: half_spread + max(a Q^delta, b Q), Q in quote currency. (n, k)."""

    half_spread: Floats
    a: Floats
    b: Floats
    delta: float


@dataclass(frozen=True)
class Prepared:
    bars: Bars
    taking: Taking
    volume: Floats  # (n, k), in the unit of quantity; only used with participation
    contracts: Contracts
    events: npt.NDArray[np.void]  # EVENT
    tier_rows: npt.NDArray[np.void]  # TIER_ROW
    tier_tables: npt.NDArray[np.void]  # TIER_TABLE
    day_end: Flags  # (n,): the last bar of a UTC day
    detail: Bars | None  # finer bars of all bars, in order; present is False for a missing one
    detail_first: Ints  # (n + 1,): bar i is the finer bars [first[i], first[i + 1]); empty without
    # rules of the venue and of the account
    maker: float
    taker: float
    liquidation_fee: float
    closing_fee: float  # inside maintenance
    whole_tiers: bool
    reduction: int
    reduction_fraction: float
    reduction_above: float
    residual: int
    backstop: float
    equity: float
    leverage: float  # 0: max(1, |target|)
    shortfall: int
    path: int
    collateral_weight: float
    cash_rate: float
    participation: float  # 0: no cap
    delay: int
    warmup: int  # bars

    @property
    def n(self) -> int:
        return len(self.bars)

    @property
    def k(self) -> int:
        return len(self.contracts.kind)


@dataclass(frozen=True)
class Decisions:
    """A stream of decisions that does not look at the state: (n, k) each. The other way is a compiled `decide`.

    target: exposure, or HOLD. The others are read at the bar of the decision; NaN: none.
    """

    target: Floats
    stop_loss: Floats | None = None
    take_profit: Floats | None = None
    trailing_stop: Floats | None = None
    limit_offset: Floats | None = None
    limit_ttl: Floats | None = None


CONVENTIONS = ("marks", "maintenance", "funding", "liquidation", "fees", "slippage", "assumption")
"""What a note begins with, and a colon, where it says how things were reckoned. All other notes are warnings."""


def prepare(
    market: Market,
    venue: Venue,
    account: Account,
    costs: Costs,
    *,
    detail: Market | None = None,
    adl: Sequence[Sequence[Any]] | None = None,
    warmup: int | str = 0,
) -> tuple[Prepared, list[str]]:
    """The arrays of one simulation, and notes for its reader: first the conventions, then the warnings.

    detail   finer bars of the same symbols, to walk inside the bars; they cover all of them
    adl      recorded deleveraging: (time, symbol, "long" or "short", fraction closed, price or None)
    warmup   bars, or a duration, in which nothing is decided

    Terms, dated brackets and delistings are the market's where it holds them. All arrays are read-only; those of a
    market without holes are its own, not copies.
    """
    from backtest.preparing import assemble

    return assemble(market, venue, account, costs, detail, adl, warmup)
