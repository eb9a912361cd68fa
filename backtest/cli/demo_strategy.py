"""What `unwind demo` trades: an idea with a stop, and a habit without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.account import Account
from backtest.strategy import HOLD, Strategy
from data.clock import DAY

if TYPE_CHECKING:
    from backtest.result import Result
    from data.market import Market

EVERY_DAY = "Long 5x, every day anew"
VENUE = "binance"  # whose fees and liquidation hold; the made-up market has margin tiers of its own
THIN = Account(leverage=20)  # of five times equity: a quarter of it is margin, the rest cannot be lost at once


class FundingFade(Strategy):
    """Against a crowded side: short where funding is unusually high, long where it is unusually low."""

    window: str = "3d"
    entry_z: float = 2.0
    exit_z: float = 0.5
    leverage: float = 3.0
    stop_loss: float = 0.05

    @property
    def warmup(self) -> str:
        return self.window

    def features(self, market: Market) -> dict[str, Any]:
        import pandas as pd

        rate = pd.Series(market.funding_8h)
        past = rate.rolling(market.bars(self.window))
        return {"funding_z": (rate - past.mean()) / past.std()}

    @staticmethod
    def decide(position: float, funding_z: float, entry_z: float, exit_z: float, leverage: float) -> float:
        if position == 0.0:
            if funding_z > entry_z:
                return -leverage
            if funding_z < -entry_z:
                return leverage
        elif abs(funding_z) < exit_z:
            return 0.0
        return HOLD


def every_day_anew(market: Market, leverage: float = 5.0) -> npt.NDArray[np.float64]:
    """Flat for the first bar of each UTC day, long for the rest of it."""
    return np.where(market.ts % DAY == 0, 0.0, leverage)


def runs_of(market: Market) -> list[tuple[str, Result]]:
    """Both, on a market of one symbol, each from an account of its own."""
    from backtest.engine import simulate

    idea = FundingFade()
    name = f"Funding fade {idea.leverage:g}x, stop at {idea.stop_loss:.0%}"
    return [
        (name, simulate(market, idea, venue=VENUE)),
        (EVERY_DAY, simulate(market, exposure=every_day_anew(market), venue=VENUE, account=THIN)),
    ]
