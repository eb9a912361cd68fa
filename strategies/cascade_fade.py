"""Open-interest flush reversal: buy right after a cascade of forced selling, in a size that the book can bear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from backtest.calibration import DEPTH_SHARE
from backtest.strategy import HOLD, Ranges, Strategy
from strategies.building import Array, bars_of, by_symbol, coins_open, each_bar, plus, share_of
from strategies.signals.flow import sigma_move
from strategies.signals.rolling import log_change, rolling_mean

if TYPE_CHECKING:
    from data.market import Market

PER_CENT = 0.01  # depth is what stands within 1 % of the price
WITHOUT_LIMIT = 1e15


class CascadeFade(Strategy):
    """Buy what forced sellers leave behind: a far and fast fall in which open interest was destroyed.

    Thesis: positions that are closed by force sell at any price, and not because they know something. The same fall
    with open interest kept is news, and does not come back.

    What is known: the best study found 42 bp in 15 minutes in its own sample, 15 bp after it (t = 2.4), gone within 30
    minutes, and eaten by costs at size: 9 bp there and back for 100,000 USD, 44 bp for 500,000. Waiting for the dust
    to settle loses it, so it enters at once. Shorting the same move upwards lost in every test: it is off by default.

    The order is cut to what the book bears: one that walks no deeper than `most_impact` on average, by recorded depth,
    or else by a share of the day's volume. Exits after `hold`. No stop: a third of the good trades are a percent under
    water first. Risk: the fall goes on, and worst trades of 40 % were seen; hence little leverage.
    """

    horizon: str = "15m"
    window: str = "1d"
    sigmas: float = 6.0
    least_move: float = 0.03
    flush: float = 0.03  # part of the open interest that is gone
    hold: str = "15m"
    most_impact: float = 0.001
    shorts: bool = False
    leverage: float = 1.0

    needs: ClassVar[tuple[str, ...]] = ("open_interest",)
    ranges: ClassVar[Ranges] = {
        "horizon": ("5m", "15m", "1h"),
        "window": ("12h", "1d", "3d"),
        "sigmas": (4.0, 6.0, 8.0, 10.0),
        "least_move": (0.01, 0.02, 0.03, 0.05),
        "flush": (0.01, 0.02, 0.03, 0.05),
        "hold": ("5m", "15m", "30m", "1h"),
        "most_impact": (0.0005, 0.001, 0.002),
        "shorts": (False, True),
        "leverage": (0.5, 1.0, 2.0),
    }

    @property
    def warmup(self) -> tuple[str, int]:
        return plus(self.window, "1d", self.horizon), 16

    @property
    def max_exposure(self) -> float:
        return abs(self.leverage)

    def features(self, market: Market) -> dict[str, Any]:
        horizon, window = bars_of(market, self.horizon), max(bars_of(market, self.window), 12)
        return {
            "sigma": sigma_move(market.close, horizon, window),
            "move": np.expm1(log_change(market.close, horizon)),
            "gone": -np.expm1(log_change(coins_open(market), horizon)),
            "bearable": bearable(market) * (2.0 * self.most_impact / PER_CENT),
            "share": share_of(market),
            "longest": each_bar(market, bars_of(market, self.hold)),
        }

    @staticmethod
    def decide(
        position: float, bars_held: float, equity: float, sigma: float, move: float, gone: float, bearable: float,
        share: float, longest: float, sigmas: float, least_move: float, flush: float, shorts: bool, leverage: float,
    ) -> float:  # fmt: skip
        if position != 0.0:
            return 0.0 if bars_held >= longest else HOLD
        if not (gone >= flush and abs(move) >= least_move and abs(sigma) >= sigmas):
            return HOLD
        size = min(leverage * share, bearable / equity) if equity > 0.0 else 0.0
        if not size > 0.0:
            return HOLD
        if move < 0.0:
            return size
        return -size if shorts else HOLD


def bearable(market: Market) -> Array:
    """Depth within 1 % on the thinner side, in money; a share of the last day's volume where none is recorded.

    Without either there is no limit.
    """
    found = np.full(by_symbol(market, market.close).shape, np.nan)
    if {"bid_depth_1pct", "ask_depth_1pct"} <= set(market.held):
        found = np.minimum(by_symbol(market, market.bid_depth_1pct), by_symbol(market, market.ask_depth_1pct))
    volume = _volume(market)
    if volume is not None:
        day = bars_of(market, "1d")
        usual = np.asarray(rolling_mean(volume, day)) * (day * DEPTH_SHARE.value)
        found = np.where(np.isnan(found), usual, found)
    found = np.where(np.isnan(found), WITHOUT_LIMIT if volume is None else 0.0, found)
    return found[:, 0] if market.close.ndim == 1 else found


def _volume(market: Market) -> Array | None:
    """In money, a column a symbol."""
    if "quote_volume" in market.held:
        return by_symbol(market, market.quote_volume)
    return by_symbol(market, market.volume) * by_symbol(market, market.close) if "volume" in market.held else None
