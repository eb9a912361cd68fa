"""Return ratios that are NaN where there is nothing to measure.

vectorbt calls a column that never traded infinitely good (mean over no spread), and it would win every ranking. Here a
ratio is NaN for a column without fills, for one whose returns have no spread, and wherever it comes out infinite.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import numpy.typing as npt
from vectorbt.returns.accessors import ReturnsAccessor, ReturnsDFAccessor, ReturnsSRAccessor

from backtest.metrics import NOTHING

RATIOS = (
    "calmar_ratio",
    "martin_ratio",
    "omega_ratio",
    "sharpe_ratio",
    "deflated_sharpe_ratio",
    "sortino_ratio",
    "information_ratio",
    "tail_ratio",
    "common_sense_ratio",
)


def _known(name: str) -> Callable[..., Any]:
    method = getattr(ReturnsAccessor, name)

    @wraps(method)
    def ratio(self: Any, *args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            found = method(self, *args, **kwargs)
        idle = self.idle
        if np.ndim(found) == 0:
            return np.nan if idle[0] or not np.isfinite(found) else found
        return found.mask(idle | ~np.isfinite(found.to_numpy()))

    return ratio


class _Ratios:
    """`idle`: which columns have nothing to measure."""

    sr_accessor_cls: Any = property(lambda self: RatiosOfOne)
    df_accessor_cls: Any = property(lambda self: RatiosOfMany)

    @property
    def idle(self) -> npt.NDArray[np.bool_]:
        return np.atleast_1d(self.config["idle"])  # type: ignore[attr-defined]

    def indexing_func(self, pd_indexing_func: Any, **kwargs: Any) -> Any:
        columns = self.wrapper.indexing_func_meta(pd_indexing_func, **kwargs)[-1]  # type: ignore[attr-defined]
        made = super().indexing_func(pd_indexing_func, **kwargs)  # type: ignore[misc]
        return made.replace(idle=self.idle[np.atleast_1d(columns)])


for _name in RATIOS:
    setattr(_Ratios, _name, _known(_name))


class RatiosOfOne(_Ratios, ReturnsSRAccessor):
    """Of one column."""


class RatiosOfMany(_Ratios, ReturnsDFAccessor):
    """Of several columns."""


def with_nothing_known(accessor: Any, fills: npt.NDArray[np.int64]) -> Any:
    """The same accessor, with ratios that know which columns had no fills or no spread."""
    returns = accessor.to_2d_array()
    with np.errstate(all="ignore"):
        spread = returns.std(axis=0, ddof=1) if len(returns) > 1 else np.zeros(returns.shape[1])
    kind = RatiosOfOne if accessor.obj.ndim == 1 else RatiosOfMany
    return accessor.replace(cls_=kind, idle=(fills == 0) | ~(spread > NOTHING))
