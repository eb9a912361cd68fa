"""Small markets with events put into them by hand, for tests of catalogues, studies and detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from data import clock
from data.align import Bars
from data.market import Flow, Market, Points, SymbolData

START = clock.moment("2024-01-01")
SYMBOL = "BTC/USDT:USDT"


def market_of(
    close: Any, held: Any, step: int = clock.HOUR, *, low: Any = None, high: Any = None, liq_long: Any = None,
    liq_short: Any = None, symbol: str = SYMBOL,
) -> Market:  # fmt: skip
    """Bars that open at the close before; open interest in coins, known within its bar."""
    return Market.build("sim", {symbol: _symbol(close, held, step, low, high, liq_long, liq_short)}, step, START,
                        START + len(close) * step)  # fmt: skip


def both_of(first: Market, second: Market, names: Sequence[str]) -> Market:
    """Two markets of one symbol, as one of two symbols."""
    data = {}
    for name, one in zip(names, (first, second), strict=True):
        data[name] = _symbol(one.close, one.open_interest, one.interval, one.low, one.high, one.liq_long, one.liq_short)
    return Market.build("sim", data, first.interval, first.start, first.end)


def _symbol(close: Any, held: Any, step: int, low: Any, high: Any, liq_long: Any, liq_short: Any) -> SymbolData:
    close = np.asarray(close, dtype=float)
    ts = START + np.arange(len(close), dtype=np.int64) * step
    opened = np.concatenate((close[:1], close[:-1]))
    below, above = np.minimum(opened, close), np.maximum(opened, close)
    low = below if low is None else np.minimum(low, below)
    high = above if high is None else np.maximum(high, above)
    volume = np.full(len(close), 10.0)
    candles = Bars(step, ts, opened, high, low, close, volume=volume, quote_volume=volume * close)
    known = ts + step - 1
    held = np.asarray(held, dtype=float)
    forced = None
    if liq_long is not None or liq_short is not None:
        zeros = np.zeros(len(close))
        forced = Flow(
            known, known, *(zeros if x is None else np.asarray(x, dtype=float) for x in (liq_long, liq_short)),
            spans=((START, START + len(close) * step),),
        )  # fmt: skip
    points = Points(known, known, step, {"quantity": held, "value": held * close})
    return SymbolData(candles=candles, open_interest=points, liquidations=forced)


def quiet(n: int, seed: int = 0, sigma: float = 0.001) -> tuple[np.ndarray, np.ndarray]:
    """A price that hardly moves, and open interest that hardly changes."""
    rng = np.random.default_rng([seed, 5])
    return 100.0 * np.exp(np.cumsum(sigma * rng.standard_normal(n))), 1000.0 * np.exp(1e-4 * rng.standard_normal(n))


def planted(n: int, at: Sequence[tuple[int, float, float]], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """From bar `at` on the price is exp(move) times what it was, and open interest 1 - gone: (bar, move, gone)."""
    close, held = quiet(n, seed)
    for bar, move, gone in at:
        close[bar:] *= np.exp(move)
        held[bar:] *= 1.0 - gone
    return close, held
