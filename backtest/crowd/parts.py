"""The truth of a history that is run in parts: the few columns that it needs, of the whole span.

    kept = Kept(steps)
    for history in run.parts(30): kept.add(history)
    truth.cascades(kept.history()); truth.phases(kept.history(), found)

A cascade that crosses the end of a part, and a median of 30 days before an hour, come out as they do of one long run.
A tenth of a whole History is kept.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from backtest.crowd.kernel import layout as at
from backtest.crowd.kernel.layout import Floats
from backtest.crowd.machine import History
from data.errors import BadInput

COLUMNS = (
    at.T_OPEN, at.T_HIGH, at.T_LOW, at.T_CLOSE, at.OI, at.LIQ_LONG, at.LIQ_SHORT, at.SHARE_LONG, at.FRAGILE_DOWN,
    at.FRAGILE_UP,
)  # fmt: skip


class Bars:
    """Stands in for the bars of a History where only some columns are looked at: `bars[rows, column]`."""

    def __init__(self, columns: dict[int, Floats]) -> None:
        self._columns = columns

    def __getitem__(self, key: tuple[slice | int, int]) -> Floats:
        rows, column = key
        return self._columns[column][rows]

    def __len__(self) -> int:
        return len(self._columns[at.T_CLOSE])


class Kept:
    """What `backtest.crowd.truth` looks at, of `steps` steps."""

    def __init__(self, steps: int) -> None:
        self._columns = {c: np.empty(steps) for c in COLUMNS}
        self._news = np.empty(steps)
        self._first = 0
        self._minutes = 1.0
        self._filled = 0

    def add(self, history: History) -> None:
        if self._filled == 0:
            self._first, self._minutes = history.first, history.step_minutes
        elif history.first != self._first + self._filled:
            raise BadInput(f"a part begins at step {history.first}, not at {self._first + self._filled}")
        rows = slice(self._filled, self._filled + len(history))
        for c, column in self._columns.items():
            column[rows] = history.bars[:, c]
        self._news[rows] = history.news
        self._filled = rows.stop

    def history(self) -> History:
        """All that was added, without events and settlements."""
        n = self._filled
        bars = Bars({c: column[:n] for c, column in self._columns.items()})
        none = np.empty(0)
        return History(
            self._minutes, self._first, cast(Floats, bars), np.empty((0, at.EVENT_COLUMNS)), none.astype(np.int64),
            none, none, none, self._news[:n],
        )  # fmt: skip
