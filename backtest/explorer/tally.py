"""What is looked at counts: each set that was never walked before is one more trial.

A new set is noted in the market's register, as any other run is. The count is added up as it grows, so that a move
costs nothing that grows with the number of trials.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from backtest import metrics, trials
from backtest.inference.deflated import expected_maximum
from backtest.strategy import Strategy

if TYPE_CHECKING:
    from backtest.explorer.live import Walk
    from backtest.sweep import Sweep


class Tally:
    """The trials that count on a sweep's market, and those that are added by looking."""

    def __init__(self, sweep: Sweep) -> None:
        self.market = sweep.market
        self.known: set[Strategy] = set(sweep.strategies)
        self.added = 0
        self.noted: set[str] = set()  # parameters of this strategy that the register has from elsewhere
        self.a_year = metrics.returns_a_year(self.market.interval)
        self._source, self._kind = "", type(sweep.base).__name__
        self._number = self._moved = 0
        self._total = np.zeros(trials.WIDTH)
        self._sum = self._squares = 0.0
        self._best, self._since, self._left = -math.inf, None, 0  # type: float, int | None, int
        self._begin(sweep)

    def _begin(self, sweep: Sweep) -> None:
        if not self.market.register:
            daily = sweep.column("sharpe") / math.sqrt(self.a_year)
            self._reckon(daily.tolist(), sweep.sketches)
            return
        found, self._since, self._left = trials.Register(self.market.register).counting(self.market)
        self._reckon(found["sharpe"].to_list(), trials.sketches_of(found))
        self._rows = found.filter(found["strategy"] == self._kind).select("source", "params")

    def _reckon(self, sharpes: Iterable[float | None], sketches: trials.Sketches) -> None:
        """As `trials.counted` does it, in sums."""
        for sharpe in sharpes:
            value = sharpe if sharpe is not None and math.isfinite(sharpe) else 0.0
            self._number += 1
            self._sum += value
            self._squares += value * value
            self._best = max(self._best, value)
        rows = np.asarray(sketches, dtype=np.float64)
        size = np.sqrt((rows * rows).sum(axis=1))
        moved = size > 0.0
        self._moved += int(np.count_nonzero(moved))
        self._total += (rows[moved] / size[moved, None]).sum(axis=0)

    def look(self, walk: Walk) -> bool:
        """Whether this was a trial of its own, which is then noted."""
        if walk.strategy in self.known:
            return False
        self.known.add(walk.strategy)
        if self.market.register:
            if not self._source:
                self._source = trials.source_of(walk.strategy, walk.source)
                self.noted = set(self._rows.filter(self._rows["source"] == self._source)["params"].to_list())
            if trials.params_of(walk.strategy) in self.noted:
                return False
            trials.note_set(self.market, walk.strategy, self._source, walk.measures, walk.sketch)
        self.added += 1
        self._reckon([walk.measures["sharpe"] / math.sqrt(self.a_year)], walk.sketch[None, :])
        return True

    @property
    def count(self) -> trials.Count:
        n, m = self._number, self._moved
        r = 0.0
        if m > 1:
            r = min(max((float(self._total @ self._total) - m) / (m * (m - 1.0)), 0.0), 1.0)
        variance = math.nan
        if n > 1:
            variance = max(0.0, (self._squares - self._sum * self._sum / n) / (n - 1.0))
        best = self._best if n else math.nan
        return trials.Count(n, n * (1.0 - r) + r if n else 0.0, r, variance, best, self._since, self._left)

    @property
    def luck(self) -> float:
        """The annual Sharpe ratio that the best of as many trials without skill is expected to show."""
        count = self.count
        if not math.isfinite(count.variance) or count.effective < 1.0:
            return 0.0
        return expected_maximum(count.effective, count.variance) * math.sqrt(self.a_year)

    def words(self) -> str:
        """What whoever chooses here should know."""
        here = f" {self.added:,} of them came by moving the sliders." if self.added else ""
        return (
            f"Choosing here counts: {self.count.words()}.{here} The best of as many without any skill would show a "
            f"Sharpe ratio of about {self.luck:.2f}."
        )
