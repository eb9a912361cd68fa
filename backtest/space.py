"""Which parameter sets are tried: grids, random and Sobol samples over a strategy's typed parameters.

    axes_of(Fade(), {"entry_z": [1.5, 2.0], "leverage": Span(1.0, 5.0)})
    grid_of(base, axes)   sample_of(base, axes, n, "sobol", seed)

An axis is a list of values, or a `Span` from low to high. What does not fit a parameter's type is refused where it is
written; a span of whole numbers is rounded, and sets that come out the same are tried once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.given import is_number, is_whole
from backtest.strategy import Strategy, Value
from data.errors import BadInput, did_you_mean

Where = Callable[[dict[str, Value]], bool]

MOST_SETS = 10_000_000


@dataclass(frozen=True)
class Span:
    """From low to high, both included; `log`: evenly in the logarithm. `steps`: of a grid."""

    low: float
    high: float
    log: bool = False
    steps: int = 0

    def __post_init__(self) -> None:
        if not (is_number(self.low) and is_number(self.high) and -math.inf < self.low < self.high < math.inf):
            raise BadInput(f"Span({self.low!r}, {self.high!r}): write two finite numbers, the lower one first")
        if not is_whole(self.steps) or self.steps < 0:
            raise BadInput(f"steps={self.steps!r}: write how many values a grid has of it, such as 5")
        if self.log and self.low <= 0.0:
            raise BadInput(f"Span({self.low!r}, {self.high!r}, log=True): a logarithm needs numbers above 0")

    def at(self, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Of numbers in [0, 1]."""
        if self.log:
            return np.asarray(np.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low))))
        return np.asarray(self.low + u * (self.high - self.low))


Axis = Sequence[Any] | Span


def axes_of(base: Strategy, given: Mapping[str, Any]) -> dict[str, Axis]:
    """Checked: names that exist, values of the right type. Nothing given: the ranges that the strategy declares."""
    declared = type(base).declared()
    given = given or dict(getattr(type(base), "ranges", {}) or {})
    if not given:
        raise BadInput(f"nothing to vary: name parameters of {type(base).__name__}, such as {_hint(base)}")
    axes: dict[str, Axis] = {}
    for name, values in given.items():
        if name not in declared:
            raise BadInput(f"{type(base).__name__} has no parameter {name}: {did_you_mean(name, declared)}")
        axes[name] = values if isinstance(values, Span) else _choices(base, name, values)
        if isinstance(values, Span) and declared[name].kind not in (int, float):
            raise BadInput(f"{name} is no number, so it has no span: give a list of values")
    return axes


def _hint(base: Strategy) -> str:
    names = [name for name, p in type(base).declared().items() if p.kind in (int, float)]
    return f"{names[0]}=[1, 2, 3]" if names else "name=[...]"


def _choices(base: Strategy, name: str, values: Any) -> list[Value]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise BadInput(f"{name}={values!r}: give a list of values, or Span(low, high)")
    parameter, owner = type(base).declared()[name], type(base).__name__
    found = [parameter.check(owner, v.item() if isinstance(v, np.generic) else v) for v in values]
    if not found:
        raise BadInput(f"{name}: the list of values is empty")
    return list(dict.fromkeys(found))


def grid_of(base: Strategy, axes: Mapping[str, Axis], where: Where | None = None) -> list[Strategy]:
    """All combinations, the last axis fastest."""
    lists = []
    for name, axis in axes.items():
        if isinstance(axis, Span):
            if axis.steps < 2:
                raise BadInput(f"{name}: a span in a grid needs steps, such as Span({axis.low}, {axis.high}, steps=5)")
            lists.append(list(dict.fromkeys(_typed(base, name, axis.at(np.linspace(0.0, 1.0, axis.steps))))))
        else:
            lists.append(list(axis))
    many = math.prod(len(values) for values in lists)
    if many > MOST_SETS:
        raise BadInput(f"{many:,} sets are more than {MOST_SETS:,}: take a sample, method='sobol', n=10_000")
    return _made(base, axes, itertools.product(*lists), where)


def sample_of(
    base: Strategy, axes: Mapping[str, Axis], n: int, method: str, seed: int, where: Where | None = None
) -> list[Strategy]:
    """`n` points of the unit cube, by random numbers or a scrambled Sobol sequence, laid on the axes."""
    if not is_whole(n) or n < 1:
        raise BadInput(f"n={n!r}: write how many sets to try, such as n=256")
    check_seed(seed)
    if method == "random":
        cube = np.random.default_rng(seed).random((n, len(axes)))
    else:
        from scipy.stats import qmc

        sobol = qmc.Sobol(len(axes), scramble=True, rng=np.random.default_rng(seed))
        cube = sobol.random_base2(max(0, math.ceil(math.log2(n))))[:n]
    columns = []
    for (name, axis), u in zip(axes.items(), cube.T, strict=True):
        if isinstance(axis, Span):
            columns.append(_typed(base, name, axis.at(u)))
        else:
            columns.append([axis[min(int(x * len(axis)), len(axis) - 1)] for x in u])
    return _made(base, axes, zip(*columns, strict=True), where)


def check_seed(seed: Any) -> None:
    """A seed is a whole number, 0 or more."""
    if not is_whole(seed) or seed < 0:
        raise BadInput(f"seed={seed!r}: write a whole number, 0 or more")


def _typed(base: Strategy, name: str, values: npt.NDArray[np.float64]) -> list[Value]:
    whole = type(base).declared()[name].kind is int
    return [round(v) if whole else float(v) for v in values]


def _made(
    base: Strategy, axes: Mapping[str, Axis], rows: Iterable[Sequence[Value]], where: Where | None
) -> list[Strategy]:
    names, found = list(axes), dict[Strategy, None]()
    for row in rows:
        one = base.replace(**dict(zip(names, row, strict=True)))
        if where is None or where(dict(one.parameters)):
            found[one] = None
    if not found:
        raise BadInput("no parameter set is left: `where` refuses all of them")
    return list(found)
