"""What one simulation writes down: the contract between the loops that write rows and the `Result` that shows them.

Every row begins with the bar it happened in and the symbol (index; -1: the account). Rows lie in the order in which
things happened. Amounts are in settlement currency, from the trader's side: negative is paid. After the FILL row of a
fill, if it has one, comes exactly one row of its fee (FEE or LIQUIDATION_FEE), zero included; a reversal is two fills.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Cash(IntEnum):
    """Why the wallet changed."""

    FILL = 0  # realised profit of a contract; the price paid or got for spot
    FEE = 1
    FUNDING = 2
    LIQUIDATION_FEE = 3
    INSURANCE = 4  # negative: what the fund kept; positive: what it paid (bad debt)
    INTEREST = 5


class Why(IntEnum):
    """Why something was filled."""

    MARKET = 0
    LIMIT = 1
    STOP_LOSS = 2
    TAKE_PROFIT = 3
    TRAILING_STOP = 4
    LIQUIDATION = 5
    REDUCTION = 6  # partial liquidation
    DELEVERAGED = 7
    DELISTED = 8


class Refusal(IntEnum):
    """Why an order was refused or given up."""

    SHORT_SPOT = 0
    TOO_SMALL = 1
    LEVERAGE = 2  # above the tier's
    MARGIN = 3
    LIQUIDATION = 4  # it would be liquidated where it opens
    PAIR = 5  # the other leg was refused
    EXPIRED = 6  # a limit order not filled in time
    LIQUIDATED = 7  # its symbol or account was liquidated
    DELISTED = 8
    RUINED = 9


LEDGER = np.dtype([("bar", "i8"), ("symbol", "i4"), ("kind", "i4"), ("amount", "f8"), ("wallet", "f8")])
FILL = np.dtype(
    [
        ("bar", "i8"),
        ("symbol", "i4"),
        ("why", "i4"),
        ("quantity", "f8"),  # signed
        ("price", "f8"),
        ("reference", "f8"),  # the price before the cost of taking
        ("fee", "f8"),  # what was charged, positive (a liquidation fee included)
        ("profit", "f8"),  # realised, before fees; 0 where nothing was closed
        ("slippage", "f8"),  # memo: what spread and impact cost, in settlement currency, positive
        ("position", "f8"),  # after it
    ]
)
LIQUIDATION = np.dtype(
    [
        ("bar", "i8"),
        ("symbol", "i4"),
        ("why", "i4"),  # Why.LIQUIDATION or Why.REDUCTION
        ("quantity", "f8"),  # signed, what was closed: the sign of the position
        ("trigger", "f8"),  # mark
        ("price", "f8"),  # execution
        ("bankruptcy", "f8"),  # price at which nothing would have been left; NaN where several cross legs share it
        ("fee", "f8"),  # positive
        ("insurance", "f8"),  # negative: contributed to the fund; positive: bad debt
        ("loss", "f8"),  # what the trader's wallet lost, positive
    ]
)
FUNDING = np.dtype(
    [
        ("bar", "i8"),
        ("symbol", "i4"),
        ("at_open", "i4"),
        ("rate", "f8"),
        ("price", "f8"),
        ("quantity", "f8"),
        ("amount", "f8"),
        ("known_price", "i4"),  # 1: the settlement carried its price
    ]
)
REFUSED = np.dtype([("bar", "i8"), ("symbol", "i4"), ("why", "i4"), ("target", "f8"), ("quantity", "f8")])

SERIES = ("equity", "wallet", "margin_ratio", "exposure", "gross")  # one a bar
# exposure: signed notional of contracts and spot / equity; gross: the same, absolute. margin_ratio: maintenance over
# balance, the highest of the isolated legs and the cross account; 0 when nothing is open.
LEG_SERIES = ("position", "entry_price", "liquidation_price")  # one a bar and symbol, at the close; NaN: there is none


@dataclass
class Run:
    """The rows and series of one simulation, as the kernel and the reference leave them."""

    series: dict[str, npt.NDArray[np.float64]]  # SERIES -> (n,)
    leg_series: dict[str, npt.NDArray[np.float64]]  # LEG_SERIES -> (n, k)
    ledger: npt.NDArray[np.void]
    fills: npt.NDArray[np.void]
    liquidations: npt.NDArray[np.void]
    fundings: npt.NDArray[np.void]
    refused: npt.NDArray[np.void]
    margin_distance: npt.NDArray[np.float64]  # (n,): how far, as a fraction, the nearest mark of the bar stayed from
    # liquidation (legs with a level of their own: |mark - level| / mark, 0 where liquidated; several cross legs:
    # (balance - maintenance) / notional at the closes); NaN where nothing was open
    scaled: int  # orders made smaller to fit the margin
    ambiguous: int  # bars in which levels of both sides were reached
    skipped: int  # bars in warm-up
    ruined_bar: int  # -1: not ruined
