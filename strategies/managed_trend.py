"""Leverage-managed trend: exposure from a floor under the account and a target for its volatility."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from backtest.strategy import HOLD, Ranges, Strategy
from strategies.building import bars_of, due, plus, share_of
from strategies.signals import compute
from strategies.signals.rolling import log_change

if TYPE_CHECKING:
    from data.market import Market


class ManagedTrend(Strategy):
    """Follow the trend with as much leverage as a floor under the account and a target of volatility allow.

    Thesis: leverage that is cut as losses come (time-invariant portfolio protection, TIPP) and as volatility rises
    stands where a fixed one is liquidated. exposure = the least of multiple x cushion, target / volatility, and
    `leverage`; cushion = 1 - floor / equity, the floor a part of the highest equity so far. The sign is that of the
    returns of two lengths, half each. Targets are set every `every`, counted from 1970 in UTC, so that the size of bars
    does not decide how often it trades; in between it only gets smaller, where the floor or the volatility asks for it.

    What is known: trends of one to four weeks were the most robust thing in crypto for years, and less so of late.
    Once the cushion is spent, exposure stays near zero: that is what a floor costs. A fall of 1 / multiple between
    two closes goes through it.

    Exits: the sign turns, or the cushion is gone. Risk: whipsaw in ranges; a gap through the floor.
    """

    fast: str = "7d"
    slow: str = "28d"
    target: float = 0.4  # volatility a year
    floor: float = 0.7  # of the highest equity
    multiple: float = 4.0
    every: str = "1d"
    band: float = 0.2  # part of the target by which a position may be off before it is adjusted
    leverage: float = 2.0

    ranges: ClassVar[Ranges] = {
        "fast": ("3d", "7d", "14d"),
        "slow": ("14d", "28d", "56d"),
        "target": (0.2, 0.4, 0.6),
        "floor": (0.5, 0.7, 0.8),
        "multiple": (2.0, 4.0, 6.0),
        "every": ("8h", "1d", "3d"),
        "band": (0.1, 0.2, 0.4),
        "leverage": (1.0, 2.0, 3.0),
    }

    @property
    def warmup(self) -> tuple[str, str, int]:
        return self.slow, plus(self.fast), 30

    @property
    def max_exposure(self) -> float:
        return abs(self.leverage)

    def features(self, market: Market) -> dict[str, Any]:
        fast, slow = (bars_of(market, length) for length in (self.fast, self.slow))
        window = max(bars_of(market, self.fast), 24)
        return {
            "trend": 0.5 * np.sign(log_change(market.close, fast)) + 0.5 * np.sign(log_change(market.close, slow)),
            "volatility": compute("rogers_satchell", market, window=window),
            "due": due(market, self.every),
            "share": share_of(market),
        }

    @staticmethod
    def decide(
        position: float, drawdown: float, trend: float, volatility: float, due: float, share: float, target: float,
        floor: float, multiple: float, band: float, leverage: float,
    ) -> float:  # fmt: skip
        if not (volatility > 0.0 and abs(trend) <= 1.0):
            return HOLD
        cushion = max(0.0, 1.0 - floor / max(1.0 - drawdown, 1e-9))
        most = min(multiple * cushion, target / volatility, leverage)
        if due == 0.0:
            return math.copysign(most * share, position) if abs(position) > (1.0 + band) * most * share else HOLD
        wanted = trend * most * share
        return HOLD if abs(position - wanted) <= band * most * share and position * wanted >= 0.0 else wanted
