"""Rows of a run as records of a portfolio: plain numpy, so that nothing here needs vectorbt.

vectorbt knows one kind of asset, bought and sold for cash. A position of ours is shown as the holding with the same
profit: linear contracts and spot as they are; an inverse contract as its quote currency, priced `1/P` in coin, with
the side flipped (long q dollars of BTC/USD is short q dollars at 1/P bitcoin each).

Fills become trades in `trades`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backtest.portfolio.trades import TRADE as TRADE
from backtest.portfolio.trades import Leg, Walk, entries, exits, positions
from backtest.prepare import INVERSE, SPOT
from backtest.result import Result

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.void]

BUY, SELL = 0, 1  # numbers of vectorbt


def _dtype(*fields: tuple[str, type]) -> np.dtype[np.void]:
    return np.dtype([("id", np.int64), ("col", np.int64), *fields], align=True)


FLOW = _dtype(("idx", np.int64), ("kind", np.int64), ("amount", np.float64), ("account", np.int64))
"""A row of the ledger. account: 1 where it is no symbol's but the whole account's; its column is then the first."""

FILL = _dtype(
    ("idx", np.int64),
    ("why", np.int64),
    ("quantity", np.float64),
    ("price", np.float64),
    ("fee", np.float64),
    ("profit", np.float64),
    ("slippage", np.float64),
    ("position", np.float64),
)
LIQUIDATION = _dtype(
    ("idx", np.int64),
    ("why", np.int64),
    ("quantity", np.float64),
    ("trigger", np.float64),
    ("price", np.float64),
    ("bankruptcy", np.float64),
    ("fee", np.float64),
    ("insurance", np.float64),
    ("loss", np.float64),
)
ORDER = _dtype(("idx", np.int64), ("size", np.float64), ("price", np.float64), ("fees", np.float64), ("side", np.int64))


@dataclass(frozen=True)
class Made:
    """Records of a leg without their id and column."""

    fills: Rows
    flows: Rows
    orders: Rows
    liquidations: Rows
    positions: Rows
    exits: Rows
    entries: Rows


# ---- series ----------------------------------------------------------------------------------------------------------


def prices(result: Result, marks: Floats) -> Floats:
    """Mark closes as prices of vectorbt, (bars, symbols)."""
    inverse = result.kinds == INVERSE
    made: Floats = np.where(inverse, 1.0 / marks, marks)
    return made


def holdings(result: Result) -> Floats:
    """Positions at the close as holdings of vectorbt."""
    held = np.nan_to_num(result.run.leg_series["position"])
    made: Floats = np.where(result.kinds == INVERSE, -held, held) + 0.0
    return made


def paid_for(result: Result) -> Floats:
    """What a unit of each holding is set against: the average entry of a contract; 0 for spot, paid for in cash."""
    entry = result.run.leg_series["entry_price"]
    entry = np.where(np.isnan(entry) | (entry == 0.0), np.nan, entry)
    basis = np.where(result.kinds == INVERSE, 1.0 / entry, entry)
    made: Floats = np.where(np.isnan(basis) | (result.kinds == SPOT), 0.0, basis)
    return made


# ---- records ---------------------------------------------------------------------------------------------------------


def records(result: Result, symbol: int, close: float) -> Made:
    """All records of one symbol; `close` is its last price, as vectorbt sees it."""
    run = result.run
    leg = Leg(
        fills=run.fills[run.fills["symbol"] == symbol],
        ledger=run.ledger[run.ledger["symbol"] == symbol],
        kind=int(result.kinds[symbol]),
        close=close,
        last=len(result.ts) - 1,
    )
    walk = Walk(leg)
    return Made(
        fills=_copied(leg.fills, FILL),
        flows=_flows(leg.ledger),
        orders=_orders(leg),
        liquidations=_copied(run.liquidations[run.liquidations["symbol"] == symbol], LIQUIDATION),
        positions=positions(walk),
        exits=exits(walk),
        entries=entries(walk),
    )


def account_flows(result: Result, symbols: int) -> Rows:
    """Ledger rows of the account as a whole. With one symbol they are that symbol's."""
    made = _flows(result.run.ledger[result.run.ledger["symbol"] < 0])
    made["account"] = int(symbols > 1)
    return made


def _copied(rows: Rows, dtype: np.dtype[np.void]) -> Rows:
    made = np.zeros(len(rows), dtype)
    made["idx"] = rows["bar"]
    for name in list(dtype.names or ())[3:]:
        made[name] = rows[name]
    return made


def _flows(ledger: Rows) -> Rows:
    made = np.zeros(len(ledger), FLOW)
    made["idx"], made["kind"], made["amount"] = ledger["bar"], ledger["kind"], ledger["amount"]
    return made


def _orders(leg: Leg) -> Rows:
    made = np.zeros(len(leg.fills), ORDER)
    signed = leg.amount(leg.fills["quantity"])
    made["idx"], made["size"], made["fees"] = leg.fills["bar"], np.abs(signed), leg.fills["fee"]
    made["price"] = leg.price(leg.fills["price"])
    made["side"] = np.where(signed > 0.0, BUY, SELL)
    return made
