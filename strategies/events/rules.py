"""What counts as an event. Lengths are durations, parts are fractions, moves are logs.

    Unwind()                                # open interest thrown out by a move
    Unwind(horizon="15m", flush=0.02)       # quicker and smaller ones
    BuildUp(crowded=1.2)                    # open interest well above its own past

Sizes are absolute besides relative: a number of standard deviations alone picks noise in a dull market.
"""

from __future__ import annotations

from dataclasses import dataclass

from backtest.given import is_number
from data import clock
from data.errors import BadInput
from data.market import Market


@dataclass(frozen=True)
class Unwind:
    """Within `horizon` the price moved at least `sigmas` (and `move`) while at least `flush` of open interest went.

    The move is from the close before to the furthest price, low or high, and not to the last close.

    Longs were thrown out where the price fell, shorts where it rose. Bars of one side that fulfil this less than
    `apart` from each other are one event. `window`: what a usual move is measured on. `recovery`: how long to wait for
    the price, and open interest, to come back.
    """

    horizon: str = "1h"
    window: str = "7d"
    sigmas: float = 3.0
    move: float = 0.005
    flush: float = 0.03
    apart: str = "12h"
    recovery: str = "30d"

    def __post_init__(self) -> None:
        _check_parts(self, sigmas=(0.0, 100.0), move=(0.0, 2.0), flush=(0.0, 1.0))
        _check_lengths(self, "horizon", "window", "apart", "recovery")
        if clock.duration(self.apart) < clock.duration(self.horizon):
            raise BadInput(f"Unwind: apart={self.apart} is shorter than horizon={self.horizon}: one fall would be two")


@dataclass(frozen=True)
class BuildUp:
    """Open interest over its mean of `window` reached `crowded`, and was not back below `relaxed`, for `least`.

    It ended in an unwind if at least `flush` of open interest went within a day, up to the close at which it was below
    `relaxed`; else it faded.
    """

    window: str = "30d"
    crowded: float = 1.15
    relaxed: float = 1.05
    least: str = "6h"
    flush: float = 0.08

    def __post_init__(self) -> None:
        _check_parts(self, crowded=(1.0, 100.0), relaxed=(0.0, 100.0), flush=(0.0, 1.0))
        _check_lengths(self, "window", "least")
        if self.relaxed > self.crowded:
            raise BadInput(f"BuildUp: relaxed={self.relaxed} is above crowded={self.crowded}: it would never begin")


def bars_of(market: Market, length: str) -> int:
    """A duration in bars, rounded up, at least one."""
    return max(-(-clock.duration(length) // market.interval), 1)


def _check_parts(rule: object, **limits: tuple[float, float]) -> None:
    for name, (low, high) in limits.items():
        value = getattr(rule, name)
        if not (is_number(value) and low <= value <= high):
            raise BadInput(f"{type(rule).__name__}: {name}={value!r}: write a number from {low:g} to {high:g}")


def _check_lengths(rule: object, *names: str) -> None:
    for name in names:
        clock.duration(getattr(rule, name))
