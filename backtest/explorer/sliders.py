"""Where each parameter of a sweep may be moved to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from backtest.strategy import STOPS, Value

if TYPE_CHECKING:
    from backtest.sweep import Sweep

MOST_STEPS = 40  # tried values beyond which a slider has no notches
POSITIONS = 100  # of a slider between the tried values, about


@dataclass(frozen=True)
class Slider:
    """`choices`: the tried values in order; none: too many. `low`, `high`, `step`: between them, for numbers."""

    name: str
    choices: tuple[Value, ...]
    low: float | None = None
    high: float | None = None
    step: float | None = None
    whole: bool = False

    @property
    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "choices": list(self.choices)}


def sliders_of(sweep: Sweep) -> list[Slider]:
    """One for each parameter that was varied, in their order."""
    return [_slider(sweep, name) for name in sweep.names]


def _slider(sweep: Sweep, name: str) -> Slider:
    from backtest.sweep import in_order

    tried = in_order({one.parameters[name] for one in sweep.strategies})
    kind = type(sweep.base).declared()[name].kind
    if kind not in (int, float) or len(tried) < 2:
        return Slider(name, tuple(tried))
    low, high = float(tried[0]), float(tried[-1])
    if name in STOPS and low == 0.0:  # none at all is no small stop
        low = float(tried[1])
    choices = tuple(tried) if len(tried) <= MOST_STEPS else ()
    if low == high:
        return Slider(name, choices)
    return Slider(name, choices, low, high, 1.0 if kind is int else step_of(low, high), kind is int)


def step_of(low: float, high: float) -> float:
    """A power of ten, or twice or five times one, of which the span has about POSITIONS."""
    rough = (high - low) / POSITIONS
    ten = 10.0 ** math.floor(math.log10(rough))
    return float(f"{next(m for m in (1.0, 2.0, 5.0, 10.0) if m * ten >= rough * 0.999) * ten:.12g}")
