"""What hits the market from outside, minute by minute.

    Shock.instant(-0.10)                     10 % down at once
    Shock.ramp(-0.10, minutes=30)            the same in half an hour
    Shock.replay(market, "2025-10-10 20:00", "2025-10-10 23:00")     what an index (or, without one, a price) did then

Sizes are simple returns. A replayed price has its own cascades in it already: with the crowd's on top, it is worse than
it was; that is said in `name`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.crowd.kernel import steps
from backtest.crowd.kernel.layout import Floats
from backtest.given import is_number
from data import clock
from data.errors import BadInput

if TYPE_CHECKING:
    from data.market import Market

LEAD_MINUTES = 5  # quiet ones before it


@dataclass(frozen=True)
class Shock:
    """What the index does from outside, minute by minute, as log returns."""

    name: str
    returns: tuple[float, ...]  # log, a minute each

    def __post_init__(self) -> None:
        if not self.returns or not all(is_number(r) and math.isfinite(r) for r in self.returns):
            raise BadInput(f"shock {self.name!r}: it needs at least one minute, and returns that are finite numbers")

    @classmethod
    def instant(cls, size: float) -> Shock:
        r = _log(size)
        return cls(f"{size:+.1%} at once", (r,))

    @classmethod
    def ramp(cls, size: float, minutes: int) -> Shock:
        if not (isinstance(minutes, int) and minutes >= 1):
            raise BadInput(f"minutes={minutes!r}: write a whole number of minutes, such as 30")
        r = _log(size)
        return cls(f"{size:+.1%} in {minutes} minutes", (r / minutes,) * minutes)

    @classmethod
    def replay(cls, market: Market, start: Any, end: Any, symbol: str | None = None) -> Shock:
        """The index of a market in [start, end), in its own bars; coarser bars are spread over their minutes."""
        one = market.select([symbol]) if symbol else market
        if len(one.symbols) != 1:
            raise BadInput(f"a replay is of one symbol: write symbol=, one of {', '.join(one.symbols)}")
        minutes = one.interval // clock.MINUTE
        if minutes < 1:
            raise BadInput(f"bars of {one.interval_label} cannot be replayed by the minute")
        first, last = (int(np.searchsorted(one.ts, clock.moment(when))) for when in (start, end))
        index, what = np.asarray(one.index, dtype=np.float64), "index"
        if not np.isfinite(index[first:last]).any():
            index, what = np.asarray(one.close, dtype=np.float64), "price, with the feedback that was in it,"
        index = index[max(first - 1, 0) : last]  # from the close before it, where there is one
        known = np.isfinite(index)
        if known.sum() < 2:
            raise BadInput(f"nothing to replay: {one.symbols[0]} has {known.sum()} bars from {start} to {end}")
        bars = np.flatnonzero(known)
        levels = np.interp(np.arange(bars[0], bars[-1] + 1), bars, np.log(index[bars]))  # missing bars: a straight line
        r = np.repeat(np.diff(levels) / minutes, minutes)
        begins = clock.iso(int(one.ts[max(first - 1, 0) + bars[0]]) + one.interval)
        return cls(f"{what} of {one.symbols[0]} from {begins}", tuple(float(x) for x in r))

    @property
    def minutes(self) -> int:
        return len(self.returns)

    def path(self, minutes: int, sigma: float, rng: np.random.Generator | None, tides: tuple[float, float]) -> Floats:
        """What comes from outside in so many minutes. `sigma`: noise of a minute; without a generator there is none."""
        if minutes < self.minutes + LEAD_MINUTES:
            raise BadInput(f"{minutes} minutes are too few for {self.name}: take {self.minutes + LEAD_MINUTES} or more")
        out = np.zeros((minutes, 5))
        out[LEAD_MINUTES : LEAD_MINUTES + self.minutes, steps.RETURN] = self.returns
        if rng is not None:
            out[:, steps.RETURN] += sigma * rng.standard_normal(minutes)
            out[:, steps.VOLATILITY] = sigma
        out[:, steps.MOOD_TIDE], out[:, steps.SENTIMENT_TIDE] = tides
        return out


def _log(size: float) -> float:
    if not (is_number(size) and -1.0 < size < math.inf):
        raise BadInput(f"size={size!r}: write a return above -1, such as -0.1 for a fall of 10 %")
    return math.log1p(size)
