"""Stop-run fade with a magnet: back from a wick through a crowded level, towards where more would be liquidated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from backtest.strategy import HOLD, Ranges, Strategy
from data import clock
from strategies.building import bars_of, each_bar, plus, share_of
from strategies.signals import compute

if TYPE_CHECKING:
    from data.market import Market

FORGOTTEN = "60d"  # after so long the liquidation map no longer knows where it began: 20 half-lives of a position


class LadderFade(Strategy):
    """Fade a wick through a crowded level, in the direction in which more would be liquidated.

    Thesis: stops and liquidations gather beyond the extremes of the last day. A bar that goes through and closes back
    inside has met them, and those who pushed it there have nothing left to push with. Where the map of liquidations
    holds more on the other side, the price has somewhere to go.

    What is known: little. Maps are estimates: of realised levels most were empty on the best public map, and textbook
    levels are within 10 % for one position in five. The sign of the pull is all that is used of it here.

    Exits: `hold` is over, the stop, or the target. Risk: the wick was the beginning.
    """

    window: str = "1d"
    least_run: float = 0.003  # how far the wick went beyond, as a part of the price
    least_pull: float = 0.1  # from -1, all of it below the price, to 1, all of it above
    hold: str = "8h"
    leverage: float = 1.0
    stop_loss: float = 0.02
    take_profit: float = 0.03

    needs: ClassVar[tuple[str, ...]] = ("open_interest",)
    ranges: ClassVar[Ranges] = {
        "window": ("12h", "1d", "3d"),
        "least_run": (0.001, 0.003, 0.006),
        "least_pull": (-1.0, 0.0, 0.1, 0.2),
        "hold": ("2h", "8h", "1d"),
        "leverage": (0.5, 1.0, 2.0),
        "stop_loss": (0.01, 0.02, 0.04),
        "take_profit": (0.0, 0.03, 0.06),
    }

    @property
    def warmup(self) -> tuple[str, int]:
        return plus(self.window, FORGOTTEN), 4

    @property
    def max_exposure(self) -> float:
        return self.leverage

    def features(self, market: Market) -> dict[str, Any]:
        return {
            "run": compute("stop_run", market, window=bars_of(market, self.window)),
            "pull": pull_of(market),
            "share": share_of(market),
            "longest": each_bar(market, bars_of(market, self.hold)),
        }

    @staticmethod
    def decide(
        position: float, bars_held: float, run: float, pull: float, share: float, longest: float, least_run: float,
        least_pull: float, leverage: float,
    ) -> float:  # fmt: skip
        if position != 0.0:
            return 0.0 if bars_held >= longest else HOLD
        if run >= least_run and pull >= least_pull:
            return leverage * share
        if run <= -least_run and pull <= -least_pull:
            return -leverage * share
        return HOLD


def pull_of(market: Market) -> Any:
    """On which side more would be liquidated; not known for a market that is too short for a map."""
    if market.end - market.start < 2 * clock.DAY:
        return np.full(market.close.shape, np.nan)
    return compute("ladder_pull", market)
