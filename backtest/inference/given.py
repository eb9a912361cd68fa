"""What all of inference takes: series and tables of returns, probabilities, and libraries that may be missing."""

from __future__ import annotations

import importlib
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import BadInput, UnwindError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
NORMAL = NormalDist()


def library(name: str) -> Any:
    """A module that is slow to load, when it is needed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise UnwindError(f"{package} is not installed: pip install {package}") from error


def series(values: npt.ArrayLike, name: str = "returns") -> Floats:
    """A one-dimensional array of finite numbers; anything missing is refused, not dropped."""
    found = _floats(values, name)
    if found.ndim != 1:
        raise BadInput(f"{name}: give one series, not an array of shape {found.shape}")
    return _finite(found, name)


def table(values: npt.ArrayLike, name: str = "returns") -> Floats:
    """(periods, trials) of finite numbers."""
    found = _floats(values, name)
    if found.ndim != 2 or 0 in found.shape:
        raise BadInput(f"{name}: give a table of periods by trials, not an array of shape {found.shape}")
    return _finite(found, name)


def _floats(values: npt.ArrayLike, name: str) -> Floats:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(f"{name}: give an array of numbers") from None


def _finite(found: Floats, name: str) -> Floats:
    bad = int(np.count_nonzero(~np.isfinite(found)))
    if bad:
        raise BadInput(f"{name}: {bad:,} of {found.size:,} values are NaN or infinite: leave those periods out")
    return found


def whole(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise BadInput(f"{name}={value!r}: write a whole number, {least:,} or more")
    return int(value)


def inside(name: str, value: object, low: float, high: float) -> float:
    """Strictly between."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating) or not low < value < high:
        raise BadInput(f"{name}={value!r}: write a number above {low:g} and below {high:g}")
    return float(value)
