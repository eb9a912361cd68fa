"""Unwind momentum: join the deleveraging when a crowded market breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from backtest.strategy import HOLD, Ranges, Strategy
from strategies.building import bars_of, coins_open, each_bar, plus, share_of
from strategies.signals import compute
from strategies.signals.buildup import oi_build, oi_change
from strategies.signals.rolling import lagged, rolling_max, rolling_min

if TYPE_CHECKING:
    from data.market import Market


class UnwindMomentum(Strategy):
    """Join the deleveraging when a crowded market breaks out of its range against the crowd.

    Thesis: much open interest is fuel. When the price leaves the range of the last days on the side that hurts those
    who pay funding, and open interest falls, positions are being closed because they have to be; each closing moves
    the price to the next.

    What is known: open interest over its own 30-day mean says how much of it the next shock destroys (t = -5.2 in five
    markets); that it makes the fall deeper is fragile (t = -2.8 in all, -1.9 and -1.0 in halves). Breakouts often
    fail.

    Exits: a trailing stop, or the time is up. Risk: late entry, after which the price comes back at once.
    """

    window: str = "30d"
    lookback: str = "1d"  # range that has to break
    crowded: float = 1.15  # open interest over its mean, at some time of the last day
    leaving: float = 0.02  # fall of open interest within four hours
    hold: str = "2d"
    leverage: float = 1.0
    trailing_stop: float = 0.04

    needs: ClassVar[tuple[str, ...]] = ("funding_8h", "open_interest")
    ranges: ClassVar[Ranges] = {
        "window": ("14d", "30d"),
        "lookback": ("12h", "1d", "3d"),
        "crowded": (1.05, 1.1, 1.15, 1.2, 1.3),
        "leaving": (0.01, 0.02, 0.04),
        "hold": ("12h", "1d", "2d", "4d"),
        "leverage": (0.5, 1.0, 2.0),
        "trailing_stop": (0.02, 0.04, 0.06),
    }

    @property
    def warmup(self) -> tuple[str, int]:
        return plus(self.window, self.lookback, "1d"), 4

    @property
    def max_exposure(self) -> float:
        return abs(self.leverage)

    def features(self, market: Market) -> dict[str, Any]:
        held, lookback = coins_open(market), bars_of(market, self.lookback)
        build = oi_build(held, bars_of(market, self.window))
        lowest, highest = rolling_min(market.low, lookback), rolling_max(market.high, lookback)
        broken = np.where(market.close < lagged(lowest, 1), -1.0, np.where(market.close > lagged(highest, 1), 1.0, 0.0))
        return {
            "crowd": rolling_max(build, bars_of(market, "1d")),
            "broken": broken,
            "change": oi_change(held, bars_of(market, "4h")),
            "paid": compute("cumulative_funding", market, hours="3d"),  # above 0: longs are the crowd
            "share": share_of(market),
            "longest": each_bar(market, bars_of(market, self.hold)),
        }

    @staticmethod
    def decide(
        position: float, bars_held: float, crowd: float, broken: float, change: float, paid: float, share: float,
        longest: float, crowded: float, leaving: float, leverage: float,
    ) -> float:  # fmt: skip
        if position != 0.0:
            return 0.0 if bars_held >= longest else HOLD
        if crowd >= crowded and change <= -leaving and broken * paid < 0.0:
            return broken * leverage * share
        return HOLD
