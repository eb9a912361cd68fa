"""One parameter set after the other, each walked in full on a market that is made ready once.

The rows, series and measures are those of `simulate`, bit for bit. What a move costs is the walk alone: features are
kept for as long as the parameters that they are made from stay among the last few.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from backtest import metrics, trials
from backtest.batch import Batch, measured
from backtest.features import features_of
from backtest.job import Made, explained
from backtest.kernel import run
from backtest.records import Run
from backtest.strategy import Strategy, Value

if TYPE_CHECKING:
    from backtest.sweep import Sweep

KEPT_BYTES = 256 << 20  # of features


@dataclass(frozen=True)
class Walk:
    """One set, walked."""

    strategy: Strategy
    run: Run
    measures: Mapping[str, float]
    sketch: npt.NDArray[np.float16]  # of its daily returns, see backtest.trials
    source: str  # hash of what decides


class Live:
    """A sweep's market under its terms, ready for any set of its strategy."""

    def __init__(self, sweep: Sweep) -> None:
        self.batch = Batch(sweep.market, **sweep.terms)
        self._kept: OrderedDict[tuple[tuple[str, Value], ...], Made] = OrderedDict()

    def walk(self, one: Strategy) -> Walk:
        batch = self.batch
        batch.made = self._features(one)
        job = batch.job([one])
        stage = batch.stage(job.delay)
        state = run.begin(stage, job.sets, keep=True)
        try:
            kept = run.walk(stage, job.sets, job.loop, state)
        except run.BadDecision as bad:
            raise explained(bad, batch.market, job, 0) from None
        row = measured(stage, state, batch.market.interval, len(batch.prepared.bars))[0]
        sketch = trials.sketches(batch.days, state.daily[:, : len(batch.days)], batch.prepared.equity)[0]
        measures = dict(zip(metrics.NAMES, row.tolist(), strict=True))
        return Walk(one, run.as_run(state, kept), measures, sketch, job.source)

    def _features(self, one: Strategy) -> Made:
        """Those of a kept set that agrees in what they are made from, else asked for. They are copies: a strategy may
        fill the same array again."""
        given = one.parameters
        for key, made in self._kept.items():
            if all(given[name] == value for name, value in key):
                self._kept.move_to_end(key)
                return made
        batch = self.batch
        seen = batch.market if batch.history is None else batch.history
        arrays, used = features_of(one, seen.features_view())
        made = one, {name: values.copy() for name, values in arrays.items()}, used
        self._kept[tuple((name, given[name]) for name in sorted(used))] = made
        while len(self._kept) > 1 and sum(_bytes(kept) for kept in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return made


def _bytes(made: Made) -> int:
    return sum(values.nbytes for values in made[1].values())
