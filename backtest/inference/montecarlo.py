"""Other orders of the same trades, other paths of the same days, and how likely ruin is at each leverage.

    shuffled_trades     the same trades in another order: the same end, other drawdowns
    resampled_trades    as many trades, drawn with replacement
    resampled_paths     days in stationary blocks, for as long as wanted
    ruin_by_leverage    such paths at several leverages: how many fall to the floor

A trade's return is its profit over the equity before it. Ruin holds: a path that has fallen to the floor stays there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from backtest import metrics
from backtest.inference.bootstrap import mean_block, places
from backtest.inference.given import NORMAL, Floats, inside, series, whole
from data.errors import BadInput

if TYPE_CHECKING:
    from backtest.result import Result

BELIEVED = 0.95  # of the interval of a probability


@dataclass(frozen=True, eq=False)
class Draws:
    """One number a path. `final`: last over first equity; `drawdown`: the largest loss from a peak, as a fraction."""

    final: Floats
    drawdown: Floats
    block: int = 1

    def quantiles(self, *at: float) -> dict[str, Floats]:
        """Of the final multiples and of the drawdowns."""
        wanted = at or (0.05, 0.25, 0.5, 0.75, 0.95)
        return {"final": np.quantile(self.final, wanted), "drawdown": np.quantile(self.drawdown, wanted)}

    @property
    def loss(self) -> float:
        """Share of paths that end below where they began."""
        return float(np.mean(self.final < 1.0))


@dataclass(frozen=True)
class Ruin:
    """Share of paths that fell to the floor, between the bounds of its own Monte Carlo error (Wilson, 95 %)."""

    leverage: float
    probability: float
    low: float
    high: float
    median_final: float  # of all paths, last over first equity
    median_drawdown: float


def daily_returns_of(result: Result) -> tuple[Floats, Floats]:
    """A run's returns by UTC day, and each day's lowest point: the lowest close of its bars, over the day before."""
    equity, ends = result.run.series["equity"], metrics.day_ends(result.ts)
    daily = np.ascontiguousarray(equity[ends])
    lowest = np.minimum.reduceat(equity, np.append(0, np.flatnonzero(ends)[:-1] + 1))
    before = np.append(result.start_equity, daily[:-1])
    worst = np.where(before > 0.0, lowest / np.where(before > 0.0, before, 1.0) - 1.0, 0.0)
    return metrics.daily_returns(daily, result.start_equity), worst


def trade_returns(result: Result) -> Floats:
    """Profit of each closed trade over the equity at the close of the bar before it opened, in order of their close."""
    rows = metrics.trades(result.run, result.kinds)
    equity = np.append(result.start_equity, result.run.series["equity"])
    before = equity[rows["opened"]]
    if np.any(before <= 0.0):
        raise BadInput("a trade was opened with no equity left: its return is not defined")
    found: Floats = rows["profit"] / before
    return found


def shuffled_trades(returns: npt.ArrayLike, draws: int = 1000, seed: int = 0) -> Draws:
    """The same trades in random orders. NaN: never; no trades end where they began."""
    r, rng = _trades(returns), np.random.default_rng(whole("seed", seed, 0))
    return _paths(rng.permuted(np.tile(r, (whole("draws", draws, 1), 1)), axis=1), 1)


def resampled_trades(returns: npt.ArrayLike, draws: int = 1000, seed: int = 0, *, length: int | None = None) -> Draws:
    """`length` trades (None: as many as there are) drawn with replacement: trades do not depend on each other."""
    r, rng = _trades(returns), np.random.default_rng(whole("seed", seed, 0))
    many = len(r) if length is None else whole("length", length, 1)
    shape = (whole("draws", draws, 1), many)
    return _paths(r[rng.integers(0, len(r), shape)] if len(r) else np.empty((shape[0], 0)), 1)


def _trades(returns: npt.ArrayLike) -> Floats:
    return series(returns, "returns of trades")


def resampled_paths(
    returns: npt.ArrayLike, draws: int = 1000, seed: int = 0, *, length: int | None = None, block: int | None = None
) -> Draws:
    """Paths of `length` periods (None: as long as the returns), in blocks of optimal mean length.

    Refused: NaN returns, or none.
    """
    r = series(returns)
    if len(r) == 0:
        raise BadInput("no returns to draw from")
    long = mean_block(r) if block is None else block
    many = len(r) if length is None else whole("length", length, 1)
    return _paths(r[places(len(r), many, draws, long, seed)], long)


def _paths(r: Floats, block: int) -> Draws:
    """A path that has lost everything stays at zero."""
    growth = np.cumprod(np.maximum(1.0 + r, 0.0), axis=1)
    whole_path = np.concatenate([np.ones((len(r), 1)), growth], axis=1)
    peak = np.maximum.accumulate(whole_path, axis=1)
    return Draws(whole_path[:, -1], (1.0 - whole_path / peak).max(axis=1), block)


def ruin_by_leverage(
    returns: npt.ArrayLike,
    leverages: Iterable[float] = (1.0, 2.0, 3.0, 5.0, 10.0),
    *,
    floor: float = 0.5,
    length: int = 365,
    worst: npt.ArrayLike | None = None,
    draws: int = 1000,
    block: int | None = None,
    seed: int = 0,
) -> tuple[Ruin, ...]:
    """How many paths of `length` periods fall to `floor` times the first equity, at multiples of the run's leverage.

    A day's return is multiplied, by what the leverage is multiplied with: costs and funding grow with it, and it is
    set again every day. `worst`, the lowest point of each day (`daily_returns_of`), catches what recovers by its end.
    Liquidations that the run did not have are not in it: simulate those. All leverages see the same paths, so more
    is never safer in it by chance alone. Refused: NaN returns, none, or a floor outside 0 to 1.
    """
    r = series(returns)
    low = np.minimum(r, series(r if worst is None else worst, "worst")) if worst is None or len(r) else r
    if len(r) == 0:
        raise BadInput("no returns to draw from")
    inside("floor", floor, 0.0, 1.0)
    long = mean_block(r) if block is None else block
    at = places(len(r), whole("length", length, 1), draws, long, seed)
    found = []
    for leverage in leverages:
        if not (math.isfinite(leverage) and leverage >= 0.0):
            raise BadInput(f"leverage={leverage!r}: write a number, 0 or more")
        growth = np.cumprod(np.maximum(1.0 + leverage * r, 0.0)[at], axis=1)
        before = np.concatenate([np.ones((len(at), 1)), growth[:, :-1]], axis=1)
        fallen = np.minimum(before * np.maximum(1.0 + leverage * low, 0.0)[at], growth) <= floor
        ruined = fallen.any(axis=1)
        first = np.argmax(fallen, axis=1)
        stays = ruined[:, None] & (np.arange(at.shape[1]) >= first[:, None])
        growth[stays] = np.broadcast_to(np.minimum(growth[np.arange(len(at)), first], floor)[:, None], at.shape)[stays]
        path = np.concatenate([np.ones((len(at), 1)), growth], axis=1)
        loss = (1.0 - path / np.maximum.accumulate(path, axis=1)).max(axis=1)
        share = float(ruined.mean())
        found.append(
            Ruin(float(leverage), share, *_wilson(share, draws), float(np.median(path[:, -1])), float(np.median(loss)))
        )
    return tuple(found)


def _wilson(share: float, n: int) -> tuple[float, float]:
    z = NORMAL.inv_cdf(0.5 + BELIEVED / 2.0)
    middle, width = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    under = 1.0 + z * z / n
    return max(0.0, (middle - width) / under), min(1.0, (middle + width) / under)
