"""Is the best of many trials better than a benchmark, given that it was chosen? White's reality check and Hansen's SPA.

Both come from `arch.bootstrap.SPA`, which takes losses: returns go in with their sign turned.

* White (2000), A Reality Check for Data Snooping: the largest mean difference, every trial taken to be as good as the
  benchmark. arch calls its p-value "upper"; bad trials make it larger.
* Hansen (2005), A Test for Superior Predictive Ability: differences in units of their own standard error, and trials
  that are clearly worse are left where they are. "consistent" is the p-value to read; "lower" <= "consistent" <=
  "upper". The standard errors are bootstrapped here and divided out before: arch 8.0 uses its own only to say which
  trials are clearly worse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backtest.inference.bootstrap import draws_of, mean_block
from backtest.inference.given import Floats, library, series, table, whole
from backtest.metrics import NOTHING
from data.errors import BadInput


@dataclass(frozen=True)
class Superior:
    """p-values of "no trial is better than the benchmark". `best`: the column whose statistic is the largest."""

    consistent: float
    lower: float
    upper: float
    reality_check: float
    best: int
    block: int
    draws: int
    left_out: int  # trials that never differ from the benchmark


def superior(
    returns: npt.ArrayLike,
    benchmark: npt.ArrayLike | float = 0.0,
    *,
    draws: int = 1000,
    block: int | None = None,
    seed: int = 0,
) -> Superior:
    """SPA and reality check of a table of returns (periods, trials) against a benchmark's returns, or a constant.

    `block`: mean length of the blocks; None: the optimal one of the trial with the best mean. The p-values do not
    depend on the order of the trials. NaN: no trial ever differs from the benchmark. Refused: NaN returns.
    """
    r = table(returns)
    against = np.asarray(benchmark, dtype=np.float64)
    if against.ndim == 1:
        against = series(against, "benchmark")[:, None]
        if len(against) != len(r):
            raise BadInput(f"benchmark has {len(against):,} returns, the trials {len(r):,}: align them first")
    elif against.ndim != 0 or not np.isfinite(against):
        raise BadInput("benchmark: give a number, or one series of returns")
    if len(r) < 10:
        raise BadInput(f"{len(r)} periods are too few for a bootstrap: 10 at least")
    ahead: Floats = r - against
    moving = np.ptp(ahead, axis=0) > NOTHING
    if not moving.any():
        return Superior(math.nan, math.nan, math.nan, math.nan, -1, 1, whole("draws", draws, 1), r.shape[1])
    some = ahead[:, moving]
    long = mean_block(some[:, int(np.argmax(some.mean(axis=0)))]) if block is None else block
    error = np.sqrt(draws_of(some, draws, long, seed).var(_means, reps=draws))
    plain, scaled = (_p_values(part, long, draws, seed) for part in (some, some / error))
    return Superior(
        consistent=scaled["consistent"],
        lower=scaled["lower"],
        upper=scaled["upper"],
        reality_check=plain["upper"],
        best=int(np.flatnonzero(moving)[np.argmax(some.mean(axis=0) / error)]),
        block=int(long),
        draws=draws,
        left_out=int(np.count_nonzero(~moving)),
    )


def _means(values: Floats) -> Floats:
    found: Floats = values.mean(axis=0)
    return found


def _p_values(ahead: Floats, block: int, draws: int, seed: int) -> dict[str, float]:
    test = library("arch.bootstrap").SPA(
        np.zeros(len(ahead)), -ahead, block_size=block, reps=draws, seed=np.random.default_rng(seed)
    )
    test.compute()
    return {str(name): float(p) for name, p in test.pvalues.items()}
