"""What goes into a signal and what comes out: plain arrays inside, whatever the caller has outside.

`columnwise` lets a function of arrays (n,) take lists, pandas and arrays (n, k) too, column by column. Parameters are
told apart by their annotations:

    Array       a series: one number a bar. NaN, inf and None are not known
    Bars        a whole number of bars, 1 or more

Rules that hold for every signal, and that are written nowhere else:

1. What cannot be computed is NaN: no input, too short a history, a division by nothing. No signal is ever infinite.
2. Nothing is carried forward. Where the input of a bar is not known, neither is the signal of that bar, unless its
   docstring says otherwise.
3. A window of w bars ends with the bar itself. It has to lie within the series, and a part of it (`known`, half unless
   said otherwise; all of it for sums) has to be known.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from backtest.given import is_whole
from data.errors import BadInput

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bars = int
F = TypeVar("F", bound=Callable[..., Any])


def columnwise(function: F) -> F:
    """The function for one series, and for the columns of many at once."""
    signature = inspect.signature(function)
    series = [name for name, p in signature.parameters.items() if str(p.annotation).startswith("Array")]
    lengths = [name for name, p in signature.parameters.items() if str(p.annotation) == "Bars"]
    owner = function.__name__

    @wraps(function)
    def of_columns(*args: Any, **options: Any) -> Array:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        given = bound.arguments
        for name in lengths:
            given[name] = whole_bars(given[name], f"{owner}: {name}")
        arrays = {name: numbers(given[name], f"{owner}: {name}") for name in series if given[name] is not None}
        shape = _common_shape(owner, arrays)
        with np.errstate(all="ignore"):
            if len(shape) == 1:
                return known(function(**given | arrays))
            columns = [function(**given | {n: _column(a, j) for n, a in arrays.items()}) for j in range(shape[1])]
        return known(np.stack(columns, axis=1)) if columns else np.empty(shape)

    return cast(F, of_columns)


def numbers(given: Any, what: str) -> Array:
    """A series, or columns of them, as float64 that nobody can write to: compiled code then has one form of it."""
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(f"{what} holds what is no number: give one number a bar, NaN where none is known") from None
    if array.ndim not in (1, 2):
        raise BadInput(f"{what} is of shape {array.shape}: give one number a bar, (n,), or a column a symbol, (n, k)")
    made: Array = frozen(array)
    return made


def frozen(array: npt.NDArray[Any]) -> Any:
    """A contiguous view that cannot be written to."""
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view


def known(array: Array) -> Array:
    """Not a number where it is not finite."""
    wrong = np.isinf(array)
    return np.where(wrong, np.nan, array) if wrong.any() else array


def whole_bars(given: Any, what: str) -> int:
    """A number of bars as it was given, or a refusal that says how to write one."""
    if not is_whole(given) or given < 1:
        raise BadInput(f"{what}={given!r}: write a whole number of bars, 1 or more; market.bars('30d') makes one")
    return int(given)


def _common_shape(owner: str, arrays: dict[str, Array]) -> tuple[int, ...]:
    shapes = {name: a.shape for name, a in arrays.items()}
    longest = max(shapes.values(), key=len)
    for name, shape in shapes.items():
        if shape[0] != longest[0] or (len(shape) == len(longest) and shape != longest):
            raise BadInput(f"{owner}: {name} is of shape {shape} and another series of {longest}: give equal lengths")
    return longest


def _column(array: Array, j: int) -> Array:
    return array if array.ndim == 1 else cast(Array, frozen(array[:, j]))
