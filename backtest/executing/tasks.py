"""What a worker does: a chunk of a sweep's sets, or a fold of a walk-forward.

Each task first makes sure that this process runs what the driver runs. It opens the market from its files, or has it
open from the task before; what was made ready of it is kept too, so that a chunk costs little more than its walking.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.executing import versions
from backtest.executing.lending import Here, Lent
from backtest.executing.sending import Sent, Sets
from data.errors import BadInput

if TYPE_CHECKING:
    from backtest.batch import Batch
    from backtest.folds import FoldFit
    from backtest.plan import Plan
    from backtest.splits import Fold
    from backtest.strategy import Value

Floats = npt.NDArray[np.float64]
Source = Lent | Here

MOST_READY = 2  # batches that a worker keeps

_ready: OrderedDict[str, Batch] = OrderedDict()
_readying = threading.Lock()


def check_versions(wanted: versions.Fingerprint) -> None:
    problem = versions.differences(wanted, versions.fingerprint())
    if problem:
        raise BadInput(f"this worker runs something else than the driver: {problem}: install the same there")


# ---- a chunk ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """What all chunks of a sweep share."""

    market: Source
    history: Source | None
    detail: Source | None
    terms: dict[str, Any]  # venue, account, costs
    key: str
    versions: versions.Fingerprint = field(default_factory=versions.fingerprint)

    def batch(self) -> Batch:
        from backtest.batch import Batch

        with _readying:
            if self.key not in _ready:
                history = self.history.open() if self.history is not None else None
                detail = self.detail.open() if self.detail is not None else None
                _ready[self.key] = Batch(self.market.open(), history=history, detail=detail, **self.terms)
                while len(_ready) > MOST_READY:
                    _ready.popitem(last=False)
            _ready.move_to_end(self.key)
            return _ready[self.key]


@dataclass(frozen=True)
class Chunk:
    scene: Scene
    sets: Sets

    def __str__(self) -> str:
        first = ", ".join(f"{n}={v!r}" for n, v in zip(self.sets.names, self.sets.rows[0], strict=True))
        return f"a chunk of {len(self.sets.rows):,} sets from {self.sets.sent.name}({first}) on"


@dataclass(frozen=True)
class Done:
    """A row a set, in the order of the chunk."""

    table: Floats
    sketches: npt.NDArray[np.float16]
    source: str
    seconds: float  # that walking took


def walk(chunk: Chunk) -> Done:
    check_versions(chunk.scene.versions)
    batch, sets = chunk.scene.batch(), chunk.sets.made()
    start = time.perf_counter()
    walked = batch.walk(sets, threads=1, sketched=True)
    assert walked.sketches is not None
    return Done(walked.table, walked.sketches, walked.source, time.perf_counter() - start)


# ---- a fold ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FoldTask:
    market: Source
    sent: Sent
    parameters: dict[str, Value]
    axes: dict[str, Any]
    plan: Plan
    sampling: dict[str, Any]
    terms: dict[str, Any]
    fold: Fold
    noting: bool
    versions: versions.Fingerprint = field(default_factory=versions.fingerprint)

    def __str__(self) -> str:
        return f"fold {self.fold.number} of {self.sent.name}"


@dataclass(frozen=True)
class Fitted:
    fit: FoldFit
    trials: tuple[bytes, ...]  # batches of trials as files of a register, for the driver to note


def fit(task: FoldTask) -> Fitted:
    from backtest.folds import Spec, fit_fold

    check_versions(task.versions)
    base = task.sent.received()(**task.parameters)
    spec = Spec(base, task.axes, task.plan, task.sampling, task.terms)
    with tempfile.TemporaryDirectory(prefix="unwind-trials-") as folder:
        market = task.market.open().registered(folder if task.noting else "")
        found = fit_fold(market, spec, task.fold, 1)
        noted = tuple(path.read_bytes() for path in sorted(Path(folder).glob("batch-*.parquet")))
    return Fitted(found, noted)
