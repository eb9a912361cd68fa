"""Where sweeps and walk-forwards run: threads of this process, processes of this machine, or a Dask cluster.

    with executor_of("processes", 4) as pool:                    # or "threads", "dask", "tcp://10.0.0.5:8786"
        found = sweep(Fade, market, executor=pool, folder="runs/fade", entry_z=[1.5, 2.0, 2.5])
        forward = walk_forward(Fade, market, plan, executor=pool, folder="runs/forward", entry_z=[1.5, 2.0])

Any `concurrent.futures.Executor` will do. Those made here also survive: work of a process that dies is done again
elsewhere. Threads are the default and need none: the loops let other threads run.

1. The market is written as files once, and every worker maps them (`executing.lending`); a task carries their name, the
   strategy's class (`executing.sending`) and plain numbers.
2. A chunk is about a second of work, never below a tenth of one if there is that much, so that neither the driver nor
   the network is felt. A few chunks a worker are under way at a time: memory does not grow with the grid.
3. The driver alone writes: finished chunks and folds into a folder, trials into the register. So nothing is lost with a
   worker or a scheduler, and every trial is noted once.
4. Numbers are those of a run without an executor, bit for bit; a worker that runs other versions is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from backtest.executing import tasks
from backtest.executing.lending import Here, lend, shared_place
from backtest.executing.sending import Sets, sent
from backtest.strategy import Strategy
from backtest.terms import cores
from data.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from backtest.batch import Batch
    from backtest.folds import FoldFit, Spec
    from backtest.splits import Fold
    from data.market import Market

KINDS = ("threads", "processes", "dask")
SCHEMES = ("tcp://", "tls://", "ws://", "wss://", "ucx://")

AIM, LEAST = 1.0, 0.15  # seconds of work in a chunk
SET_SECONDS, BAR_SECONDS = 5e-5, 3e-9  # of a set, and of a bar of it, before anything was measured
AHEAD = 2  # chunks under way for each that is worked on


@contextlib.contextmanager
def executor_of(spec: str | None = None, workers: int | None = None) -> Iterator[Executor | None]:
    """From words: "threads" (or None) is no executor at all, "processes", "dask" (here), or a scheduler's address."""
    if not spec or spec == "threads":
        yield None
    elif spec == "processes":
        from backtest.executing.processes import Processes

        with Processes(workers) as pool:
            yield pool
    elif spec == "dask" or spec.startswith(SCHEMES):
        from backtest.executing.cluster import cluster

        with cluster(None if spec == "dask" else spec, workers=workers) as pool:
            yield pool
    else:
        raise BadInput(f"executor {spec!r}: {did_you_mean(spec, KINDS)}; or a scheduler, such as tcp://10.0.0.5:8786")


def width(executor: Executor) -> int:
    """How many pieces of work it takes at a time."""
    known = getattr(executor, "width", None) or getattr(executor, "_max_workers", None)
    return int(known or cores())


def reachable(executor: Executor, market: Market) -> tasks.Source:
    """The market as the workers of an executor find it."""
    if isinstance(executor, ThreadPoolExecutor):
        return Here(market)
    return lend(market, getattr(executor, "place", None) or shared_place())


# ---- sweeps ----------------------------------------------------------------------------------------


class Chunks:
    """Sets of one sweep, given to an executor in chunks; `run` yields them as they are done, in any order."""

    def __init__(self, executor: Executor, batch: Batch) -> None:
        self.executor, self.batch = executor, batch
        self.a_set = SET_SECONDS + BAR_SECONDS * len(batch.market) * len(batch.market.symbols)
        self._scene: tasks.Scene | None = None

    def scene(self) -> tasks.Scene:
        if self._scene is None:
            given = {name: getattr(self.batch, name) for name in ("market", "history", "detail")}
            found = {n: reachable(self.executor, m) if m is not None else None for n, m in given.items()}
            terms = {
                "venue": self.batch.terms.venue,
                "account": self.batch.terms.account,
                "costs": self.batch.terms.costs,
            }
            parts = [str(one.key if one is not None else "") for one in found.values()]
            key = hashlib.sha256(pickle.dumps((parts, terms), protocol=5)).hexdigest()
            market = found["market"]
            assert market is not None
            self._scene = tasks.Scene(market, found["history"], found["detail"], terms, key)
        return self._scene

    def run(self, lists: Iterator[list[Strategy]], total: int) -> Iterator[tuple[list[Strategy], tasks.Done]]:
        """`lists`: sets in their order; those of a list may share features."""
        waiting: dict[Future[tasks.Done], list[Strategy]] = {}
        room = max(1, width(self.executor))
        chunks = self._cut(lists, total, room)
        shipped: Any = None
        try:
            while True:
                while len(waiting) < AHEAD * room and (chunk := next(chunks, None)) is not None:
                    shipped = shipped or sent(type(chunk[0]))
                    task = tasks.Chunk(self.scene(), Sets.of(shipped, chunk))
                    waiting[self.executor.submit(tasks.walk, task)] = chunk
                if not waiting:
                    return
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    chunk, done = waiting.pop(future), future.result()
                    self.a_set = min(self.a_set, done.seconds / len(chunk)) if len(chunk) > 1 else self.a_set
                    yield chunk, done
                room = max(room, width(self.executor))
        finally:
            for future in waiting:
                future.cancel()

    def _cut(self, lists: Iterator[list[Strategy]], total: int, room: int) -> Iterator[list[Strategy]]:
        for sets in lists:
            low = 0
            while low < len(sets):
                share = -(-total // (4 * room))
                size = max(1, int(LEAST / self.a_set), min(int(AIM / self.a_set), share))
                yield sets[low : low + size]
                low += size


# ---- walk-forward ----------------------------------------------------------------------------------


def fold_tasks(executor: Executor, market: Market, spec: Spec, folds: Sequence[Fold]) -> list[Future[FoldFit]]:
    """A future a fold. Its trials are noted, here, before it is done."""
    if not folds:
        return []
    shipped, lent = sent(type(spec.base)), reachable(executor, market)
    found = []
    for fold in folds:
        task = tasks.FoldTask(
            lent, shipped, dict(spec.base.parameters), spec.axes, spec.plan, spec.sampling, spec.terms, fold,
            noting=bool(market.register),
        )  # fmt: skip
        found.append(_noted(executor.submit(tasks.fit, task), market, spec))
    return found


def _noted(raw: Future[tasks.Fitted], market: Market, spec: Spec) -> Future[FoldFit]:
    made: _Following = _Following(raw)

    def follow(done: Future[tasks.Fitted]) -> None:
        if done.cancelled():
            made.cancel_quietly()
            return
        if not made.set_running_or_notify_cancel():
            return
        try:
            fitted = done.result()
            note(market, spec.base, fitted.trials)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the fold
            made.set_exception(error)
        else:
            made.set_result(fitted.fit)

    raw.add_done_callback(follow)
    return made


class _Following(Future[Any]):
    """A future made of another: cancelled with it."""

    def __init__(self, raw: Future[Any]) -> None:
        super().__init__()
        self._raw = raw

    def cancel(self) -> bool:
        return self._raw.cancel()

    def cancel_quietly(self) -> None:
        super().cancel()
        self.set_running_or_notify_cancel()


def note(market: Market, base: Strategy, batches: Sequence[bytes]) -> None:
    """Trials of a worker, in the register of the driver's market."""
    if not market.register or not batches:
        return
    import io
    import time

    import polars as pl

    from backtest.trials import Register

    register = Register(market.register)
    for batch in batches:
        frame = pl.read_parquet(io.BytesIO(batch))
        register.add(frame.with_columns(at=pl.lit(time.time_ns(), dtype=pl.Int64)))
