"""A small market and a plain rule for the tests of sweeps, trials and walk-forward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from backtest import HOLD, Costs, Strategy
from backtest.venue import Fees, Tier, Venue
from data.align import Bars
from data.market import Market, SymbolData

VENUE = Venue("test", "linear", Fees(0.0005, 0.0002, 0.0), (Tier(0.0, 1e12, 0.01, 50.0),))
TERMS: dict[str, Any] = {"venue": VENUE, "costs": Costs.fixed(1.0)}
ASKED: list[int] = []  # lengths that features were asked for, in order


def market(days: int = 200, seed: int = 5, interval: str = "4h", start: str = "2024-01-01") -> Market:
    """A random walk with slow tides, so that some sets do better than others."""
    n = days * pd.Timedelta("1D") // pd.Timedelta(interval)
    rng = np.random.default_rng(seed)
    tide = 0.002 * np.sin(np.arange(n) / 40.0)
    close = 100.0 * np.exp(np.cumsum(0.012 * rng.standard_normal(n) + tide))
    opened = np.concatenate([close[:1], close[:-1]])
    frame = pd.DataFrame(
        {
            "ts": pd.date_range(start, periods=n, freq=interval, unit="ns"),
            "open": opened,
            "high": np.maximum(opened, close) * 1.001,
            "low": np.minimum(opened, close) * 0.999,
            "close": close,
            "volume": 1e6,
        }
    )
    rates = pd.DataFrame({"ts": frame["ts"][:: max(1, n // (days * 3))], "rate": 1e-4, "interval_hours": 8.0})
    return Market.from_frames(frame, funding=rates, interval=interval)


def together(markets: dict[str, Market]) -> Market:
    """One market of several, by symbol."""
    data = {}
    for symbol, one in markets.items():
        columns = {name: getattr(one, name) for name in ("open", "high", "low", "close", "volume")}
        data[symbol] = SymbolData(candles=Bars(one.interval, one.ts, **columns))
    first = next(iter(markets.values()))
    return Market.build("test", data, first.interval, first.start, first.end)


class Follow(Strategy):
    """Long above its mean, else short; flat in between."""

    length: int = 12
    band: float = 0.01
    leverage: float = 1.0

    @property
    def warmup(self) -> int:
        return self.length

    def features(self, market: Market) -> dict[str, Any]:
        ASKED.append(self.length)
        price = pd.Series(market.close)
        return {"away": (price / price.rolling(self.length).mean() - 1.0).fillna(0.0)}

    @staticmethod
    def decide(position: float, away: float, band: float, leverage: float) -> float:
        if away > band:
            return leverage if position <= 0.0 else HOLD
        if away < -band:
            return -leverage if position >= 0.0 else HOLD
        return HOLD
