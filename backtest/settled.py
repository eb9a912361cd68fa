"""Whether a declared warm-up is enough: with more history before it, what a strategy says must stay the same.

    unsettled(strategy, market)             # [] is what one wants to see

1. The market is begun anew at several bars, so that the strategy knows less of the past.
2. From the end of the warm-up on, its features have to be those of the whole market.
3. What still differs is reported: the feature, the last bar of it where it did, and by how much.

Where all features agree, so do all decisions: `decide` sees nothing else but the account.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from backtest.features import features_of
from backtest.strategy import Strategy, warmup_bars
from data.errors import BadInput

if TYPE_CHECKING:
    from data.market import Market

Floats = npt.NDArray[np.float64]
TOLERANCE = 1e-6


class Unsettled(NamedTuple):
    """A feature that still depends on where the market began, after the warm-up."""

    feature: str
    start: int  # the bar at which the market was begun anew
    bar: int  # the last bar, of the whole market, where it was another
    difference: float  # the largest, as a part of the feature's usual size; inf: known in one of them only


def unsettled(
    strategy: Strategy, market: Market, starts: Iterable[int] | None = None, *, tolerance: float = TOLERANCE
) -> list[Unsettled]:
    """Features that more history would change, the worst of each. `starts`: bars to begin at; none given: four.

    `tolerance` is a part of the feature's usual size (the mean of its absolute values): sums over another length may
    round differently, and a memory that fades is never quite empty.
    """
    n, warm = len(market), warmup_bars(strategy, market)
    if warm + 2 > n:
        raise BadInput(f"{n:,} bars are too few: the warm-up alone is {warm:,} of them; take a longer span")
    whole, _ = features_of(strategy, market.features_view())
    worst: dict[str, Unsettled] = {}
    for start in _starts(n, warm) if starts is None else sorted(set(starts)):
        if not 0 < start < n - warm:
            raise BadInput(f"a start at bar {start} leaves nothing to compare: write 1 to {n - warm - 1}")
        part, _ = features_of(strategy, market[start:].features_view())
        for name in whole.keys() | part.keys():
            found = _compared(name, start, warm, whole.get(name), part.get(name), tolerance)
            if found is not None and found.difference > worst.get(name, _NOTHING).difference:
                worst[name] = found
    return [worst[name] for name in sorted(worst)]


_NOTHING = Unsettled("", 0, 0, 0.0)


def _starts(n: int, warm: int) -> list[int]:
    """Bars that share no rhythm: 1, and fractions of the golden ratio of what is left after a warm-up."""
    golden = (5**0.5 - 1) / 2
    return sorted({1} | {max(1, int((n - warm - 1) * (j * golden % 1.0))) for j in range(1, 4)})


def _compared(
    name: str, start: int, warm: int, whole: Floats | None, part: Floats | None, tolerance: float
) -> Unsettled | None:
    if whole is None or part is None:  # a feature that is only there for some markets
        return Unsettled(name, start, start + warm, np.inf)
    a, b = whole[start + warm :], part[warm:]
    finite = np.abs(a[np.isfinite(a)])
    size = float(finite.mean()) if len(finite) else 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.abs(a - b) / (size if size > 0.0 else 1.0)
    apart = np.where(np.isnan(a) != np.isnan(b), np.inf, np.where((a == b) | np.isnan(apart), 0.0, apart))
    bars = apart.max(axis=1) if apart.ndim == 2 else apart
    wrong = np.flatnonzero(bars > tolerance)
    if not len(wrong):
        return None
    return Unsettled(name, start, start + warm + int(wrong[-1]), float(bars.max()))
