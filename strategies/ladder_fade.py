"""Stop-run fade on the liquidation map: back from a wick through levels where much was to be liquidated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from backtest.strategy import HOLD, Ranges, Strategy
from data import clock
from strategies.building import Array, bars_of, each_bar, plus, share_of
from strategies.signals import compute
from strategies.signals.rolling import lagged, rolling_mean

if TYPE_CHECKING:
    from data.market import Market

FORGOTTEN = "60d"  # after so long the liquidation map no longer knows where it began: 20 half-lives of a position

SHORTEST = 2 * clock.DAY  # of a market that has a map


class LadderFade(Strategy):
    """Fade a wick through an extreme beyond which more than usual was to be liquidated.

    Thesis: stops and liquidations gather beyond the extremes of the last day. A bar that goes through and closes back
    inside has met them, and those who pushed it there have nothing left to push with.

    What is known: little. Maps are estimates: of realised levels most were empty on the best public map, and textbook
    levels are within 10 % for one position in five. So the map is only held against its own mean. Its other reading,
    a magnet that draws the price to where more lies, is no condition here: at a new low more lies below nearly always.

    Exits: `hold` is over, the stop, or the target. Risk: the wick was the beginning.
    """

    window: str = "1d"
    least_run: float = 0.003  # how far the wick went beyond, as a part of the price
    fuel_window: str = "7d"
    least_fuel: float = 1.0  # what was to be liquidated within 2 % on that side, over its own mean
    hold: str = "8h"
    leverage: float = 1.0
    stop_loss: float = 0.02
    take_profit: float = 0.03

    needs: ClassVar[tuple[str, ...]] = ("open_interest",)
    ranges: ClassVar[Ranges] = {
        "window": ("12h", "1d", "3d"),
        "least_run": (0.001, 0.003, 0.006),
        "fuel_window": ("3d", "7d", "14d"),
        "least_fuel": (0.0, 0.5, 1.0, 1.5),
        "hold": ("2h", "8h", "1d"),
        "leverage": (0.5, 1.0, 2.0),
        "stop_loss": (0.01, 0.02, 0.04),
        "take_profit": (0.0, 0.03, 0.06),
    }

    @property
    def warmup(self) -> tuple[str, int]:
        return plus(self.window, self.fuel_window, FORGOTTEN), 4

    @property
    def max_exposure(self) -> float:
        return abs(self.leverage)

    def features(self, market: Market) -> dict[str, Any]:
        return {
            "run": compute("stop_run", market, window=bars_of(market, self.window)),
            "fuel_below": self._fuel(market, "fragility_down"),
            "fuel_above": self._fuel(market, "fragility_up"),
            "share": share_of(market),
            "longest": each_bar(market, bars_of(market, self.hold)),
        }

    def _fuel(self, market: Market, side: str) -> Array:
        """What lay near before this bar, over its own mean."""
        if market.end - market.start < SHORTEST:
            return np.full(market.close.shape, np.nan)
        near = compute(side, market)
        mean = np.asarray(rolling_mean(near, bars_of(market, self.fuel_window)))
        with np.errstate(all="ignore"):
            return np.asarray(lagged(np.where(mean > 0.0, near / mean, np.nan), 1))

    @staticmethod
    def decide(
        position: float, bars_held: float, run: float, fuel_below: float, fuel_above: float, share: float,
        longest: float, least_run: float, least_fuel: float, leverage: float,
    ) -> float:  # fmt: skip
        if position != 0.0:
            return 0.0 if bars_held >= longest else HOLD
        if run >= least_run and fuel_below >= least_fuel:
            return leverage * share
        if run <= -least_run and fuel_above >= least_fuel:
            return -leverage * share
        return HOLD
