"""PBO: how often the best trial of one half of the data is a below-average one of the other half.

Combinatorially symmetric cross-validation (Bailey, Borwein, Lopez de Prado and Zhu, 2017, The Probability of Backtest
Overfitting):

1. Returns (periods, trials) are cut in S blocks of equal length, in order of time; what is left over is cut off at the
   beginning.
2. Every choice of S / 2 blocks is one half in which the best trial is found; the others are the half it is judged on.
   C(16, 8) = 12,870 halves.
3. w = rank / (N + 1) of that trial in the other half, from 1 (worst) to N, means where it is equal to others.
4. logit = ln(w / (1 - w)); PBO is the share of halves with a logit of 0 or less: the median counts as overfit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from backtest.inference.given import Floats, Ints, table, whole
from backtest.metrics import NOTHING
from data.errors import BadInput

Metric = Literal["sharpe", "mean"] | Callable[[Floats], npt.ArrayLike]
SAME = 1e-12  # relative: what rounding alone makes of equal trials
AT_A_TIME = 4_000_000  # numbers of one table of halves by trials


@dataclass(frozen=True, eq=False)
class Overfitting:
    """pbo: share of halves whose best trial was at or below the median of the other half.

    logits          one a half, in the order of itertools.combinations
    inside, outside the measure of the chosen trial in the half it was chosen on and in the other
    chosen          which trial it was
    loss            share of halves in which the chosen trial lost in the other half
    slope           of outside on inside, by least squares: below 0, better inside is worse outside
    """

    pbo: float
    logits: Floats
    inside: Floats
    outside: Floats
    chosen: Ints
    loss: float
    slope: float
    blocks: int
    trials: int
    cut_off: int  # periods left out at the beginning


def pbo(returns: npt.ArrayLike, blocks: int = 16, metric: Metric = "sharpe") -> Overfitting:
    """Probability of backtest overfitting of the trials in a table of returns (periods, trials).

    `metric`: "sharpe", "mean", or a function of a table (periods, trials) that gives one number a trial, more is
    better. A trial without one (NaN) is the worst. Of equal ones the first is chosen. Refused: NaN returns, one trial.
    """
    r = table(returns)
    s = whole("blocks", blocks, 2)
    if s % 2:
        raise BadInput(f"blocks={s}: write an even number, half of them is tested")
    if s > 20:
        raise BadInput(f"blocks={s} make {halves(s):,} halves: write 20 or fewer")
    if r.shape[1] < 2:
        raise BadInput("one trial cannot be overfit by choice: give two columns or more")
    length = len(r) // s
    if length < 1 or (metric == "sharpe" and length * s < 4):
        raise BadInput(f"{len(r):,} periods in {s} blocks: there must be more of them, or fewer blocks")
    cut = len(r) - length * s
    parts = r[cut:].reshape(s, length, r.shape[1])
    choices = np.array(list(combinations(range(s), s // 2)))
    logits, inside, outside = np.empty(len(choices)), np.empty(len(choices)), np.empty(len(choices))
    chosen = np.empty(len(choices), dtype=np.int64)
    measure = _by_sums(parts, metric) if isinstance(metric, str) else _by_call(parts, metric)
    step = max(1, AT_A_TIME // r.shape[1])
    for low in range(0, len(choices), step):
        here = slice(low, min(low + step, len(choices)))
        member = np.zeros((len(choices[here]), s), dtype=bool)
        np.put_along_axis(member, choices[here], True, axis=1)
        seen, unseen = _ranked(measure(member)), _ranked(measure(~member))
        best = np.argmax(seen, axis=1)
        rows = np.arange(len(best))
        own = unseen[rows, best]
        with np.errstate(invalid="ignore"):  # one without the measure is equal to its like alone
            near = np.abs(unseen - own[:, None]) <= SAME * np.abs(np.where(np.isfinite(own), own, 0.0))[:, None]
        near |= unseen == own[:, None]
        lower = (unseen < own[:, None]) & ~near
        w = (lower.sum(axis=1) + (near.sum(axis=1) + 1.0) / 2.0) / (r.shape[1] + 1.0)
        logits[here] = np.log(w / (1.0 - w))
        chosen[here], inside[here], outside[here] = best, seen[rows, best], own
    return Overfitting(
        pbo=float(np.mean(logits <= SAME)),
        logits=logits,
        inside=inside,
        outside=outside,
        chosen=chosen,
        loss=float(np.mean(outside < 0.0)),
        slope=_slope(inside, outside),
        blocks=s,
        trials=r.shape[1],
        cut_off=cut,
    )


def halves(blocks: int) -> int:
    """In how many ways half of the blocks can be chosen: C(S, S / 2)."""
    return math.comb(whole("blocks", blocks, 2), blocks // 2)


def _ranked(values: Floats) -> Floats:
    return np.where(np.isnan(values), -np.inf, values)


def _by_sums(parts: Floats, metric: str) -> Callable[[npt.NDArray[np.bool_]], Floats]:
    """Sums of blocks are added for each half: no half is walked through again."""
    length = parts.shape[1]
    sums = parts.sum(axis=1)
    if metric == "mean":

        def mean(member: npt.NDArray[np.bool_]) -> Floats:
            found: Floats = member.astype(np.float64) @ sums / (member.sum(axis=1)[:, None] * length)
            return found

        return mean
    if metric != "sharpe":
        raise BadInput(f'metric={metric!r}: write "sharpe", "mean", or give a function of a table')
    centre = parts.mean(axis=(0, 1))  # squares of what is far from zero would lose the spread
    moved = parts - centre
    firsts, squares = moved.sum(axis=1), (moved**2).sum(axis=1)

    def sharpe(member: npt.NDArray[np.bool_]) -> Floats:
        held = member.astype(np.float64)
        n = member.sum(axis=1)[:, None] * length
        first = held @ firsts / n
        spread = np.sqrt(np.maximum(held @ squares / n - first**2, 0.0) * n / (n - 1.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(spread > NOTHING, (first + centre) / spread, np.nan)

    return sharpe


def _by_call(parts: Floats, metric: Callable[[Floats], npt.ArrayLike]) -> Callable[[npt.NDArray[np.bool_]], Floats]:
    def each(member: npt.NDArray[np.bool_]) -> Floats:
        out = np.empty((len(member), parts.shape[2]))
        for row, some in enumerate(member):
            found = np.asarray(metric(parts[some].reshape(-1, parts.shape[2])), dtype=np.float64)
            if found.shape != (parts.shape[2],):
                raise BadInput(f"metric gave an array of shape {found.shape}: it must give one number a trial")
            out[row] = found
        return out

    return each


def _slope(x: Floats, y: Floats) -> float:
    """NaN: the chosen trial did equally well in every half."""
    fit = np.isfinite(x) & np.isfinite(y)
    if np.count_nonzero(fit) < 2:
        return math.nan
    x, y = x[fit] - x[fit].mean(), y[fit] - y[fit].mean()
    width = float(x @ x)
    return float(x @ y) / width if width > NOTHING**2 else math.nan
