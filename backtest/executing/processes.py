"""`Processes`: a pool of processes of this machine that survives the death of any of them.

    with Processes(4) as pool:
        found = sweep(Fade, market, executor=pool, entry_z=[1.5, 2.0, 2.5])

Each process is a pool of one, so that a death hits one piece of work and names it. Processes are started afresh, not
forked, and do not run the caller's script again: one without `if __name__ == "__main__"` is fine.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from backtest.executing.sending import packed
from backtest.executing.surviving import Died, Surviving, Work
from backtest.given import is_whole
from backtest.terms import cores
from data.errors import BadInput

_STARTING = threading.Lock()


class Processes(Surviving):
    def __init__(self, workers: int | None = None, tries: int = 3) -> None:
        super().__init__(tries)
        if workers is not None and not (is_whole(workers) and workers >= 1):
            raise BadInput(f"workers={workers!r}: write how many processes, from 1 up")
        self.workers = workers or cores()
        self._pools: dict[str, ProcessPoolExecutor] = {}

    def _places(self) -> Mapping[str, int]:
        return {str(number): 1 for number in range(self.workers)}

    def _start(self, place: str, work: Work) -> Future[Any]:
        if place not in self._pools:
            self._pools[place] = _one()
        try:
            return self._pools[place].submit(_do, packed(work.call, work.given, work.named))
        except BrokenProcessPool as broken:  # it died while it had nothing to do
            self._lose(place)
            raise Died(place, str(broken), blameless=True) from None

    def _outcome(self, started: Future[Any], place: str) -> Any:
        try:
            return started.result()
        except BrokenProcessPool:
            self._lose(place)
            raise Died(place) from None

    def _lose(self, place: str) -> None:
        if (pool := self._pools.pop(place, None)) is not None:
            pool.shutdown(wait=False)

    def _end(self) -> None:
        for place in list(self._pools):
            self._pools.pop(place).shutdown(wait=True, cancel_futures=True)


def _one() -> ProcessPoolExecutor:
    """A pool of one process, which is started here and now."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    with _STARTING, _without_script(), _unheard():
        pool.submit(_nothing)
    return pool


def _begin() -> None:
    """Ctrl-C is for the driver: it says what is kept."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # it was begun with it blocked


def _nothing() -> None:
    return


def _do(work: bytes) -> Any:
    return pickle.loads(work)()


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """A process that is started meanwhile begins with Ctrl-C blocked: it comes to all of a terminal at once."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _without_script() -> Iterator[None]:
    """A process that is started meanwhile takes this one for a bare interpreter, and runs no script of its own."""
    main: Any = sys.modules["__main__"]
    kept = {name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)}
    main.__spec__ = None
    try:
        yield
    finally:
        del main.__spec__
        vars(main).update(kept)
