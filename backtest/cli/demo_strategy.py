"""What `unwind demo` trades: against a crowd that pays dearly to stay, and with a trend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.strategy import HOLD, Strategy
from backtest.walkforward import Plan

if TYPE_CHECKING:
    from data.market import Market

VENUE = "binance"  # whose fees and liquidation hold; the made-up market has margin tiers of its own
PLAN = Plan(train="40d", test="20d", purge="1d", require=("liquidations == 0", "trades >= 5"))


class CrowdFade(Strategy):
    """Against a crowded side: short where the perpetual is unusually dear against its index, long where it is cheap."""

    window: str = "3d"
    entry_z: float = 2.0
    exit_z: float = 0.5
    leverage: float = 2.0
    stop_loss: float = 0.05

    @property
    def warmup(self) -> str:
        return self.window

    def features(self, market: Market) -> dict[str, Any]:
        import pandas as pd

        premium = pd.Series(market.premium)
        past = premium.rolling(market.bars(self.window))
        return {"premium_z": (premium - past.mean()) / past.std()}

    @staticmethod
    def decide(position: float, premium_z: float, entry_z: float, exit_z: float, leverage: float) -> float:
        if position == 0.0:
            if premium_z > entry_z:
                return -leverage
            if premium_z < -entry_z:
                return leverage
        elif abs(premium_z) < exit_z:
            return 0.0
        return HOLD


class Breakout(Strategy):
    """With the trend: long above the highest close of some days, short below the lowest; a trailing stop."""

    window: str = "2d"
    leverage: float = 2.0
    trailing_stop: float = 0.04

    @property
    def warmup(self) -> str:
        return self.window

    def features(self, market: Market) -> dict[str, Any]:
        import pandas as pd

        close = pd.Series(market.close)
        past = close.shift(1).rolling(market.bars(self.window))
        return {"above": np.sign(close - past.max()), "below": np.sign(past.min() - close)}

    @staticmethod
    def decide(position: float, above: float, below: float, leverage: float) -> float:
        if above > 0.0 and position <= 0.0:
            return leverage
        if below > 0.0 and position >= 0.0:
            return -leverage
        return HOLD


IDEAS: Mapping[str, tuple[type[Strategy], Mapping[str, list[Any]]]] = {
    "Crowd fade": (
        CrowdFade,
        {"window": ["2d", "4d", "8d"], "entry_z": [2.0, 2.5, 3.0], "exit_z": [0.0, 0.5], "leverage": [1.0, 2.0, 4.0]},
    ),
    "Breakout": (
        Breakout,
        {"window": ["1d", "2d", "4d"], "leverage": [1.0, 2.0, 4.0], "trailing_stop": [0.02, 0.04, 0.08]},
    ),
}
