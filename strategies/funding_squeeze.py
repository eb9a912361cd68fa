"""Funding squeeze fade: against a side that pays too much to stay, once its leverage begins to unwind."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from backtest.strategy import HOLD, Ranges, Strategy
from strategies.building import bars_of, coins_open, each_bar, plus, share_of
from strategies.signals import compute
from strategies.signals.buildup import oi_build, oi_flush

if TYPE_CHECKING:
    from data.market import Market

INTEREST = 1e-4  # per 8 hours: what most venues charge longs when nobody is crowded


class FundingSqueeze(Strategy):
    """Fade a crowded side once its leverage starts to unwind.

    Thesis: a side that pays far more funding than usual, while open interest is above its own mean, is held by
    borrowed money that cannot wait. When open interest begins to fall, those positions are being closed, and closing
    them moves the price against them.

    What is known: funding alone predicts nothing that was found to last, in either direction. Hence the two other
    conditions, and an absolute size beside the z-score, since half of all settlements of a quiet market are the same
    rate to the last digit. Expect a small edge at best.

    Exits: funding is usual again, the time is up, or the stop. Risk: the squeeze goes on; a crowd can stay for weeks.
    """

    window: str = "30d"
    entry_z: float = 2.0
    exit_z: float = 0.5
    least_skew: float = 0.0002  # of the rate per 8 hours from the usual 0.01 %
    crowded: float = 1.1  # open interest over its mean
    started: float = 0.01  # part of the open interest of the last day that is gone
    hold: str = "3d"
    leverage: float = 1.0
    stop_loss: float = 0.05

    needs: ClassVar[tuple[str, ...]] = ("funding_8h", "open_interest")
    ranges: ClassVar[Ranges] = {
        "window": ("14d", "30d", "60d"),
        "entry_z": (1.5, 2.0, 2.5, 3.0),
        "exit_z": (0.0, 0.5, 1.0),
        "least_skew": (0.0, 0.0001, 0.0002, 0.0004),
        "crowded": (1.0, 1.1, 1.2),
        "started": (0.0, 0.01, 0.02),
        "hold": ("1d", "3d", "7d"),
        "leverage": (0.5, 1.0, 2.0),
        "stop_loss": (0.0, 0.03, 0.05, 0.08),
    }

    @property
    def warmup(self) -> str:
        return plus(self.window, "1d")

    @property
    def max_exposure(self) -> float:
        return abs(self.leverage)

    def features(self, market: Market) -> dict[str, Any]:
        held = coins_open(market)
        return {
            "funding_z": compute("funding_z", market, hours=self.window, floor=2e-5),
            "skew": np.asarray(market.funding_8h) - INTEREST,
            "build": oi_build(held, bars_of(market, self.window)),
            "gone": oi_flush(held, bars_of(market, "1d")),
            "share": share_of(market),
            "longest": each_bar(market, bars_of(market, self.hold)),
        }

    @staticmethod
    def decide(
        position: float, bars_held: float, funding_z: float, skew: float, build: float, gone: float, share: float,
        longest: float, entry_z: float, exit_z: float, least_skew: float, crowded: float, started: float,
        leverage: float,
    ) -> float:  # fmt: skip
        if position != 0.0:
            over = (position < 0.0 and funding_z < exit_z) or (position > 0.0 and funding_z > -exit_z)
            return 0.0 if over or bars_held >= longest else HOLD
        if math.isnan(funding_z) or not (build >= crowded and gone >= started):
            return HOLD
        if funding_z >= entry_z and skew >= least_skew:
            return -leverage * share
        if funding_z <= -entry_z and skew <= -least_skew:
            return leverage * share
        return HOLD
