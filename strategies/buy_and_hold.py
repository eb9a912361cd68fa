"""Baseline: buy and hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from backtest.strategy import HOLD, Ranges, Strategy
from strategies.building import share_of

if TYPE_CHECKING:
    from data.market import Market


class BuyAndHold(Strategy):
    """Buy at the first bar, in equal parts, and hold.

    Thesis: none; it is what every long strategy is measured against. Funding is paid all the way. Bought once: after a
    liquidation or a ruin nothing is bought again.
    """

    leverage: float = 1.0

    ranges: ClassVar[Ranges] = {"leverage": (0.5, 1.0, 2.0, 3.0)}

    @property
    def max_exposure(self) -> float:
        return abs(self.leverage)

    def features(self, market: Market) -> dict[str, Any]:
        return {"share": share_of(market), "close": np.asarray(market.close)}

    @staticmethod
    def decide(
        position: float, bars_since_liquidation: float, share: float, close: float, leverage: float
    ) -> float:  # fmt: skip
        if position != 0.0 or bars_since_liquidation < 1e9 or math.isnan(close):
            return HOLD
        return leverage * share
