"""Intervals by the stationary block bootstrap: what the measures might have been, had the same days come otherwise.

1. A run is written as rows, one a UTC day (`daily_rows`): return, exposure, costs, trades that closed, and so on.
2. Blocks of days with random lengths are drawn, so that what lasts for days is kept together (Politis and Romano,
   1994; `arch.bootstrap.StationaryBootstrap`). Their mean length is the optimal one (Politis and White, 2004; Patton,
   Politis and White, 2009; `arch.bootstrap.optimal_block_length`), of returns or of their squares, whichever is longer.
3. Every measure is computed of every draw (`backtest.inference.rows`); the interval lies between the quantiles.

What is drawn stays the run's own days: an interval knows nothing of what has not happened yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest import metrics
from backtest.inference.given import Floats, Ints, inside, library, series, whole
from backtest.inference.rows import NAMES, DayRows, measured_rows, rows_of
from data.errors import BadInput

if TYPE_CHECKING:
    from backtest.result import Result

SHORTEST = 10  # periods of which a block length can be estimated
MOST_UNDEFINED = 0.05  # of draws without a number: beyond it there is no interval


@dataclass(frozen=True)
class BlockLengths:
    """Mean length of blocks that estimates best, for the stationary and for the circular bootstrap."""

    stationary: float
    circular: float


@dataclass(frozen=True)
class Interval:
    """A number and the range of `level` of its draws. NaN: more than 5 % of the draws have no number (`undefined`)."""

    name: str
    value: float
    low: float
    high: float
    level: float = 0.95
    draws: int = 0
    block: int = 1
    undefined: float = 0.0

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def block_lengths(values: npt.ArrayLike) -> BlockLengths:
    """Optimal block lengths of a series, in periods. 1: too short, or without a spread. NaN is refused."""
    found = series(values, "values")
    if len(found) < SHORTEST or metrics.spread(found) <= metrics.NOTHING * max(1.0, float(np.abs(found).max())):
        return BlockLengths(1.0, 1.0)
    lengths = library("arch.bootstrap").optimal_block_length(found).iloc[0]
    return BlockLengths(*(max(1.0, float(lengths[kind])) for kind in ("stationary", "circular")))


def mean_block(returns: npt.ArrayLike) -> int:
    """Periods: the longer optimum of the returns and of their squares, which carry the clusters of volatility."""
    r = series(returns)
    return round(max(block_lengths(r).stationary, block_lengths((r - r.mean()) ** 2).stationary)) if len(r) else 1


def draws_of(values: Any, draws: int, block: int, seed: int) -> Any:
    """A stationary bootstrap of the rows of `values`, with `draws` checked; the same seed, the same draws."""
    whole("draws", draws, 1)
    return library("arch.bootstrap").StationaryBootstrap(whole("block", block, 1), values, seed=_generator(seed))


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(whole("seed", seed, 0))


def bootstrap_interval(
    values: npt.ArrayLike,
    statistic: Callable[[Floats], float],
    *,
    level: float = 0.95,
    draws: int = 1000,
    block: int | None = None,
    seed: int = 0,
    name: str = "",
) -> Interval:
    """The percentile interval of any statistic of a series, or of the rows of a table. Default block: `mean_block`.

    Draws in which the statistic is NaN are left out, and counted. NaN values are refused.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim not in (1, 2) or len(found) < 2 or not np.isfinite(found).all():
        raise BadInput("values: give two rows or more of finite numbers")
    long = mean_block(found if found.ndim == 1 else found[:, 0]) if block is None else block
    drawn = draws_of(found, draws, long, seed).apply(statistic, draws)
    return _interval(name or getattr(statistic, "__name__", ""), float(statistic(found)), drawn[:, 0], level, long)


def _interval(name: str, value: float, drawn: Floats, level: float, block: int) -> Interval:
    inside("level", level, 0.0, 1.0)
    known = drawn[~np.isnan(drawn)]
    undefined = 1.0 - len(known) / len(drawn)
    low = high = math.nan
    if undefined <= MOST_UNDEFINED and len(known):
        ends = [0.5 - level / 2.0, 0.5 + level / 2.0]
        low, high = (float(v) for v in np.quantile(known, ends, method=_method(known)))
    return Interval(name, value, low, high, level, len(drawn), block, undefined)


def _method(known: Floats) -> Any:
    """Between infinite numbers there is no middle."""
    return "linear" if np.isfinite(known).all() else "inverted_cdf"


def interval_of_sharpe(
    returns: npt.ArrayLike, *, per_year: float = 365.0, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> Interval:
    """Interval of the annual Sharpe ratio of daily returns, by `bootstrap_interval`."""

    def sharpe(r: Floats) -> float:
        return float(metrics.sharpe(r, per_year))

    return bootstrap_interval(series(returns), sharpe, level=level, draws=draws, seed=seed, name="sharpe")


# --- a whole run -----------------------------------------------------------------------------------------------------


def daily_rows(result: Result) -> DayRows:
    """What happened on each UTC day of a run (bars longer than a day: of each bar)."""
    return rows_of(result.run, result.ts, result.interval, result.kinds, result.start_equity)


def intervals(
    given: Result | DayRows, *, level: float = 0.95, draws: int = 1000, block: int | None = None, seed: int = 0
) -> Mapping[str, Interval]:
    """Intervals of every measure of a run that is made of its days, by name; all of the same draws.

    Values are those of the run's days: drawdown, and what is made of it, is that of the days' ends, and so a little
    less than by bar. Not there: what is no sum or path of days (`ruined`, `scaled`, `ambiguous`, `bad_debt`). A run of
    one day has NaN intervals.
    """
    rows = given if isinstance(given, DayRows) else daily_rows(given)
    value = measured_rows(rows, rows.columns)
    inside("level", level, 0.0, 1.0)
    if len(rows.columns) < 2:
        return {name: Interval(name, value[i], math.nan, math.nan, level) for i, name in enumerate(NAMES)}
    long = mean_block(rows.returns) if block is None else block

    def measures(drawn: Floats) -> Floats:
        return measured_rows(rows, drawn)

    drawn = draws_of(rows.columns, draws, long, seed).apply(measures, draws)
    return {name: _interval(name, float(value[i]), drawn[:, i], level, long) for i, name in enumerate(NAMES)}


def places(n: int, length: int, draws: int, block: int, seed: int) -> Ints:
    """(draws, length) places in a series of n, in stationary blocks. arch draws n at once: short paths are cut from
    one draw, long ones are several draws one after another.
    """
    whole("length", length, 1)
    cut, rounds = max(1, n // length), -(-length // n)
    many = -(-draws // cut) * rounds
    every = np.stack([data[0] for data, _ in draws_of(np.arange(n), draws, block, seed).bootstrap(many)])
    if rounds > 1:
        out: Ints = every.reshape(draws, rounds * n)[:, :length]
        return out
    return np.ascontiguousarray(every[:, : cut * length].reshape(-1, length)[:draws], dtype=np.int64)
