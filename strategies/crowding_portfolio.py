"""Cross-sectional carry: be paid by the most crowded coins, and hold those nobody wants, on one collateral."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from backtest.strategy import HOLD, Ranges, Strategy
from data.errors import BadInput
from strategies.building import Array, by_symbol, due, plus
from strategies.signals import compute

if TYPE_CHECKING:
    from data.market import Market

DIGITS = 9  # coins that paid the same rates tie, and go by name, however the sums were rounded


class CrowdingPortfolio(Strategy):
    """Short the coins whose longs pay most, long those whose longs pay least, in equal parts.

    Thesis: funding says who is crowded. Long and short together hold little of the market's own moves, receive
    funding on both sides, and lose when the crowd goes on winning.

    What is known: a published cross-section of coins had 43 % a year at a Sharpe ratio of 0.74; after costs, and in
    years of little funding, much less. Small coins move together when it matters, so that one collateral for many
    shorts is a risk by itself.

    Every `every`, counted from 1970 in UTC, coins are ranked by what a long has paid in the last `window`; `part` of
    them at each end is held. Coins whose funding is not known are left out, and nothing is held where fewer than
    `fewest` are known. Run it with Account(mode="cross").
    """

    window: str = "7d"
    every: str = "7d"
    part: float = 0.2  # of the coins, at each end
    fewest: int = 5
    gross: float = 1.0  # long and short together

    needs: ClassVar[tuple[str, ...]] = ("funding_8h",)
    ranges: ClassVar[Ranges] = {
        "window": ("3d", "7d", "14d"),
        "every": ("1d", "3d", "7d"),
        "part": (0.1, 0.2, 0.3),
        "fewest": (4, 5, 10),
        "gross": (0.5, 1.0, 2.0),
    }

    @property
    def warmup(self) -> str:
        return plus(self.window, self.every, "8h")

    @property
    def max_exposure(self) -> float:
        return abs(self.gross)

    def features(self, market: Market) -> dict[str, Any]:
        if len(market.symbols) < max(self.fewest, 2):
            raise BadInput(
                f"CrowdingPortfolio ranks {self.fewest} coins or more against each other, and this market has "
                f"{len(market.symbols)}: ask the store for more symbols at once"
            )
        paid = np.round(by_symbol(market, compute("cumulative_funding", market, hours=self.window)), DIGITS)
        is_due = due(market, self.every) > 0.0
        known = np.isfinite(paid) & by_symbol(market, market.present).astype(bool)
        weight = np.zeros(paid.shape)
        for bar in np.flatnonzero(is_due):
            weight[bar] = self._weights(paid[bar], known[bar], market.symbols)
        last = np.maximum.accumulate(np.where(is_due, np.arange(len(market)), -1))
        return {"weight": np.where((last >= 0)[:, None], weight[last], 0.0), "due": is_due.astype(np.float64)}

    def _weights(self, paid: Array, known: Any, symbols: tuple[str, ...]) -> Array:
        """Of one bar; ties by name, so that the order of symbols does not matter."""
        weights = np.zeros(len(paid))
        there = sorted(np.flatnonzero(known), key=lambda j: (paid[j], symbols[j]))
        if len(there) < max(self.fewest, 2):
            return weights
        count = max(1, min(int(self.part * len(there)), len(there) // 2))
        weights[there[:count]] = 0.5 * self.gross / count
        weights[there[-count:]] = -0.5 * self.gross / count
        return weights

    @staticmethod
    def decide(position: float, weight: float, due: float) -> float:
        if due > 0.0 or (weight == 0.0 and position != 0.0):
            return weight
        return HOLD
