"""Baseline: random entry, and the trades of another strategy at random times."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from backtest.strategy import HOLD, Ranges, Strategy
from data import clock
from strategies.building import Array, bars_of, each_bar, share_of

if TYPE_CHECKING:
    from backtest.result import Result
    from data.market import Market


class RandomEntry(Strategy):
    """Enter at random times, at random sides, and leave after a fixed time.

    Thesis: none. It has the costs, the funding and the holding times of a strategy, and no idea; what an idea is worth
    is what it makes beyond this. Draws hang on the seed, the symbol and the time of the bar alone, so that neither
    more history nor more symbols change them. `rotated` gives the trades of another run at other times.
    """

    entries_a_day: float = 0.5
    hold: str = "1d"
    longs: float = 0.5  # part of the entries
    seed: int = 1
    leverage: float = 1.0

    ranges: ClassVar[Ranges] = {
        "entries_a_day": (0.1, 0.5, 2.0),
        "hold": ("1h", "8h", "1d", "3d"),
        "longs": (0.0, 0.5, 1.0),
        "seed": (1, 2, 3, 4, 5),
        "leverage": (0.5, 1.0, 2.0),
    }

    @property
    def max_exposure(self) -> float:
        return abs(self.leverage)

    def features(self, market: Market) -> dict[str, Any]:
        chance = self.entries_a_day * market.interval / clock.DAY
        draws = [_uniform(market.ts, f"{self.seed} {symbol}") for symbol in market.symbols]
        entries = [np.where(d < chance, np.where(d < chance * self.longs, 1.0, -1.0), 0.0) for d in draws]
        return {
            "entry": np.stack(entries, axis=1) if len(entries) > 1 else entries[0],
            "share": share_of(market),
            "longest": each_bar(market, bars_of(market, self.hold)),
        }

    @staticmethod
    def decide(
        position: float, bars_held: float, entry: float, share: float, longest: float, leverage: float
    ) -> float:  # fmt: skip
        if position != 0.0:
            return 0.0 if bars_held >= longest else HOLD
        return entry * leverage * share if entry != 0.0 else HOLD


def _uniform(ts: npt.NDArray[np.int64], salt: str) -> Array:
    """A number from 0 to 1 for each time: splitmix64 of the time and a salt."""
    start = int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], "little")
    with np.errstate(over="ignore"):
        x = ts.astype(np.uint64) + np.uint64(start)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) / 2.0**53


def rotated(result: Result, market: Market, seed: int, warmup: int = 0) -> Array:
    """The exposures of a run at other times: all of them moved by one random number of bars, the end to the beginning.

    Give it to `simulate(market, exposure=...)`: a run with the same sides, sizes and holding times, the same legs
    together, and no reason to be in the market when it is. Nothing is put into the warm-up. A position counts with
    the exposure that it had when it was last traded.
    """
    held = result.run.leg_series["position"]
    close = np.asarray(market.close).reshape(held.shape)
    with np.errstate(all="ignore"):
        exposure = np.nan_to_num(held * close / result.run.series["equity"][:, None], posinf=0.0, neginf=0.0)
    traded = np.diff(held, axis=0, prepend=0.0) != 0.0
    last = np.maximum.accumulate(np.where(traded, np.arange(len(held))[:, None], 0), axis=0)
    kept = np.take_along_axis(exposure, last, axis=0)
    places = max(len(held) - warmup, 1)
    kept[warmup:] = np.roll(kept[warmup:], int(np.random.default_rng(seed).integers(1, max(places, 2))), axis=0)
    kept[:warmup] = 0.0
    return kept[:, 0] if kept.shape[1] == 1 else kept
