"""What is varied, from texts: lists, ranges, and how many sets that makes.

    entry_z=1.5,2,2.5       these values
    length=5..20            from one to the other: in a grid, all whole numbers
    leverage=1..5:9         nine numbers from 1 to 5; :log spaces them by their logarithm; a sample needs no count

A grid that is very large is refused with its size, and with what makes it smaller.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backtest.cli.settings import typed
from data.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from backtest.space import Axis, Where
    from backtest.strategy import Parameter, Strategy

MOST = 20_000  # sets that are tried without being asked twice
COUNTED = 2_000_000  # up to so many a grid is counted one by one
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"^({_NUMBER})\.\.({_NUMBER})((?:[:\s]\s*(?:log|\d+))*)$")


def axes_from(base: Strategy, texts: Mapping[str, str], grid: bool) -> dict[str, Any]:
    """What `backtest.space` takes. `grid`: ranges need to be lists."""
    declared, owner = type(base).declared(), type(base).__name__
    found: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in declared:
            raise BadInput(f"{owner} has no parameter {name}: {did_you_mean(name, declared)}")
        found[name] = _axis(declared[name], text, grid)
    return found


def _axis(parameter: Parameter, text: str, grid: bool) -> Any:
    match = _RANGE.match(text)
    if match is None:
        return [typed(parameter, part.strip()) for part in text.split(",") if part.strip()]
    words = re.findall(r"log|\d+", match[3])
    steps = next((int(word) for word in words if word != "log"), 0)
    return span_of(parameter, float(match[1]), float(match[2]), "log" in words, steps, grid, f"--vary {parameter.name}")


def span_of(parameter: Parameter, low: float, high: float, log: bool, steps: int, grid: bool, where: str) -> Any:
    from backtest.space import Span

    if grid and steps == 0 and not log and low.is_integer() and high.is_integer() and low < high:
        return [float(value) if parameter.kind is float else value for value in range(int(low), int(high) + 1)]
    if grid and steps < 2:
        shown = f"{low:g}..{high:g}"
        raise BadInput(f"{where}: {shown} in a grid needs a number of steps: {shown}:5, or take a sample")
    return Span(low, high, log=log, steps=steps)


def declared_axes(base: Strategy, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a strategy declares as worth trying, of parameters that are not set."""
    ranges = {name: values for name, values in type(base).ranges.items() if name not in fixed}
    if not ranges:
        some = next((n for n, p in type(base).declared().items() if p.kind in (int, float)), "name")
        raise BadInput(f"{type(base).__name__} says nothing of values worth trying: write --vary {some}=1,2,3")
    return ranges


def check_size(base: Strategy, axes: Mapping[str, Axis], where: Where | None, most: int, how: str) -> None:
    """Refuse a grid of more than `most` sets, gently."""
    from backtest import space

    lengths = {name: axis.steps if isinstance(axis, space.Span) else len(axis) for name, axis in axes.items()}
    size = math.prod(lengths.values())
    if size <= most:
        return
    if where is not None and size <= COUNTED:
        size = len(space.grid_of(base, axes, where))
    if size > most:
        product = " x ".join(f"{name} {count}" for name, count in lengths.items())
        raise BadInput(f"{size:,} sets ({product}) are many at once.\n{how}")
