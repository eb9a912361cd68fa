"""What users give: whether it is a number, and the times of an index."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt


def is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def stamps(index: Any) -> npt.NDArray[np.int64]:
    """A pandas index of times as nanoseconds; times without a zone are UTC."""
    naive = index.tz_convert("UTC").tz_localize(None) if index.tz is not None else index
    found: npt.NDArray[np.int64] = naive.as_unit("ns").asi8
    return found
