"""A simulated history as a `Market`, without a store between.

market = market_of(history, World().coin)       # of minutes; market.resample("1h") and all the rest work
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.crowd.kernel import layout as at
from backtest.crowd.kernel.layout import Floats, Ints
from backtest.crowd.machine import History
from backtest.crowd.world import World, tiers_of
from data import clock
from data.align import Bars
from data.market_input import TIER, Flow, Points, Settlements, SymbolData
from data.schema import Feed, Ratio

if TYPE_CHECKING:
    from data.market import Market

START = clock.moment("2023-01-06")  # a Friday, as the simulated calendar begins with one
SNAPSHOT = 5 * clock.MINUTE


def market_of(history: History, world: World, start: int = START) -> Market:
    """One symbol; volume is what the crowd traded."""
    from data.market import Market

    step = round(history.step_minutes * clock.MINUTE)
    first = start + history.first * step
    ts = first + np.arange(len(history), dtype=np.int64) * step
    data = SymbolData(
        candles=_candles(history, ts, step),
        marks=(_bars(history, ts, step, (at.M_OPEN, at.M_HIGH, at.M_LOW, at.M_CLOSE)),),
        index=(_bars(history, ts, step, (at.I_OPEN, at.I_HIGH, at.I_LOW, at.I_CLOSE)),),
        premium=(_bars(history, ts, step, (at.PREM,) * 4),),
        funding=_funding(history, start, step),
        open_interest=_points(history, ts + step, ("quantity", "value"), _open_interest(history)),
        ratios=_ratios(history, ts + step),
        depth=_points(
            history, ts + step, ("bid_1pct", "ask_1pct"),
            (history.column(at.DEPTH_BID), history.column(at.DEPTH_ASK)),
        ),
        liquidations=Flow(
            ts, ts + step, history.column(at.LIQ_LONG), history.column(at.LIQ_SHORT), Feed.COMPLETE,
            ((int(first), int(first + len(ts) * step)),),
        ),
        tiers=_tiers(world, first),
        instrument={"contract": "linear", "tick_size": world.coin.tick, "lot_size": world.coin.lot},
    )  # fmt: skip
    return Market.build("sim", {world.coin.symbol: data}, step, int(first), int(first + len(ts) * step))


def _bars(history: History, ts: Ints, step: int, columns: tuple[int, int, int, int]) -> Bars:
    o, h, low, c = (np.ascontiguousarray(history.column(k)) for k in columns)
    return Bars(step, ts, o, h, low, c)


def _candles(history: History, ts: Ints, step: int) -> Bars:
    o, h, low, c = (np.ascontiguousarray(history.column(k)) for k in (at.T_OPEN, at.T_HIGH, at.T_LOW, at.T_CLOSE))
    bought, sold = history.column(at.BOUGHT), history.column(at.SOLD)
    volume = bought + sold
    return Bars(step, ts, o, h, low, c, volume=volume, quote_volume=volume * c, taker_buy_volume=bought.copy())


def _funding(history: History, start: int, step: int) -> Settlements:
    ts = start + history.settled * step
    return Settlements(ts, ts, ts, history.rate, history.hours, history.price)


def _open_interest(history: History) -> tuple[Floats, Floats]:
    held = history.column(at.OI)
    return held, held * history.column(at.T_CLOSE)


def _points(history: History, ts: Ints, names: tuple[str, ...], values: tuple[Floats, ...]) -> Points:
    some = slice(4, None, 5)
    return Points(
        ts[some], ts[some], SNAPSHOT, {n: np.ascontiguousarray(v[some]) for n, v in zip(names, values, strict=True)}
    )


def _ratios(history: History, ts: Ints) -> dict[str, Points]:
    known = np.isfinite(history.column(at.SHARE_LONG))
    found = {}
    for kind, column in (
        (Ratio.ACCOUNTS, at.SHARE_LONG), (Ratio.TOP_ACCOUNTS, at.SHARE_TOP), (Ratio.TOP_POSITIONS, at.SHARE_TOP_SIZE)
    ):  # fmt: skip
        share = np.clip(history.column(column)[known], 1e-6, 1.0 - 1e-6)
        found[kind.value] = Points(ts[known], ts[known], SNAPSHOT, {"ratio": share / (1.0 - share)})
    return found


def _tiers(world: World, first: int) -> Any:
    rows = tiers_of(world)
    table = np.zeros(len(rows), dtype=[(n, TIER[n]) for n in TIER.names or () if n != "symbol"])
    table["valid_from"] = table["known_at"] = first
    table["tier"] = np.arange(1, len(rows) + 1)
    for name, column in zip(("floor", "cap", "mmr", "max_leverage", "cum"), rows.T, strict=True):
        table[name] = column
    return table
