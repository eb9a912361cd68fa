"""How long a move of the explorer takes: `python benchmarks/explorer.py`.

A year of 5-minute bars, made up; a sweep of 60 sets. A move is what the kernel does for it: the set is walked with
every row and series, measured, counted and noted, its lines are thinned and packed as they go over the wire. The
browser's part is not in it. Three kinds of moves, with and without a register of trials, warm; 20 of each.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from ipywidgets.widgets.widget import _remove_buffers

from backtest import HOLD, Account, Strategy
from backtest.explorer.widget import Explorer
from backtest.sweep import sweep
from data.market import Market

BARS, MOVES = 105_120, 20


class Follow(Strategy):
    """Long above its mean, else short."""

    length: int = 48
    band: float = 0.01
    leverage: float = 1.0

    def features(self, market: Market) -> dict[str, Any]:
        price = pd.Series(market.close)
        return {"away": (price / price.rolling(self.length).mean() - 1.0).fillna(0.0)}

    @staticmethod
    def decide(position: float, away: float, band: float, leverage: float) -> float:
        if away > band:
            return leverage if position <= 0.0 else HOLD
        return -leverage if away < -band and position >= 0.0 else HOLD


def market() -> Market:
    rng = np.random.default_rng(5)
    close = 100.0 * np.exp(np.cumsum(0.0015 * rng.standard_normal(BARS) + 4e-5 * np.sin(np.arange(BARS) / 900.0)))
    opened = np.concatenate([close[:1], close[:-1]])
    frame = pd.DataFrame(
        {
            "ts": pd.date_range("2024-01-01", periods=BARS, freq="5min"),
            "open": opened,
            "high": np.maximum(opened, close) * 1.0008,
            "low": np.minimum(opened, close) * 0.9992,
            "close": close,
            "volume": rng.lognormal(3.0, 1.0, BARS),
        }
    )
    rates = pd.DataFrame({"ts": frame["ts"][::96], "rate": 1e-4, "interval_hours": 8.0})
    return Market.from_frames(frame, funding=rates, interval="5m")


def sent(explorer: Explorer) -> int:
    """Bytes of what a move sends, packed as the widget's own protocol packs it."""
    state, _, buffers = _remove_buffers(explorer.get_state(["shown"]))
    return len(json.dumps(state)) + sum(len(part) for part in buffers)


def measured(explorer: Explorer, moves: Sequence[dict[str, Any]]) -> str:
    took, size = [], 0
    for number, move in enumerate(moves):
        began = time.perf_counter()
        explorer.set(**move)
        size = sent(explorer)
        if number:
            took.append(1000.0 * (time.perf_counter() - began))
    return f"median {statistics.median(took):5.1f} ms, longest {max(took):5.1f} ms, {size / 1000:.1f} kB sent"


def main() -> None:
    made, many = market(), range(MOVES + 1)
    moves = {
        "the same features": [{"leverage": 1.0 + 0.1 * i, "band": 0.005 + 0.0011 * i} for i in many],
        "features made anew": [{"length": 50 + 13 * i, "leverage": 2.0 + 0.1 * i} for i in many],
        "sets of the sweep": [{"length": 48 if i % 2 else 288, "leverage": (1.0, 3.0, 6.0)[i % 3]} for i in many],
    }
    grid = {"length": [48, 96, 192, 288, 576], "band": [0.005, 0.01, 0.02, 0.03], "leverage": [1.0, 3.0, 6.0]}
    with tempfile.TemporaryDirectory() as folder:
        for register in ("", folder):
            found = sweep(
                Follow, made.registered(register), grid, account=Account(leverage=10), venue="binance", progress=False
            )
            began = time.perf_counter()
            explorer = found.explore()
            opened = 1000.0 * (time.perf_counter() - began)
            print(f"{BARS:,} bars, {'noted in a register' if register else 'no register'}: opened in {opened:.0f} ms")
            for name, given in moves.items():
                print(f"  {name:20} {measured(explorer, given)}")


if __name__ == "__main__":
    main()
