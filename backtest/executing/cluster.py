"""Workers of a Dask cluster as places of work.

    with cluster("tcp://10.0.0.5:8786") as pool: ...     # a scheduler that runs, with whatever workers it has
    with cluster(workers=4) as pool: ...                 # a scheduler and workers on this machine

1. A worker gets nothing before it has said which versions it runs. One that differs is refused, with what differs; it
   is left alone, others may use it.
2. Pieces go to a worker by its address, a thread's worth and one more, so that it never waits for the driver.
3. When a worker dies its pieces go to others; one that joins late has its share from then on.
4. When the scheduler goes away, the driver tries to find it again for a while. Then everything fails with a message;
   what was finished is with the driver, and in its folder if it has one.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from backtest.executing import versions
from backtest.executing.sending import packed
from backtest.executing.surviving import Died, Surviving, Work
from backtest.given import is_whole
from backtest.terms import cores
from data.errors import BadInput, NotFound, Unreachable, UnwindError

PATIENCE = 30.0  # seconds for a scheduler, or a first worker, to come
ASK = "__import__('backtest.executing.versions', fromlist=['versions']).fingerprint()"
DO = "__import__('pickle').loads(work)()"  # the scheduler looks at tasks too, and need not have unwind
FETCH = 5.0  # seconds for a result to come, before a look at whether its worker is alive


class Refused(BadInput):
    """No worker runs what the driver runs."""


class Cluster(Surviving):
    """The workers of a client's scheduler, as long as they agree with this process."""

    def __init__(self, client: Any, tries: int = 3, patience: float = PATIENCE) -> None:
        super().__init__(tries)
        self.client, self.patience = client, patience
        self.approved: set[str] = set()
        self.refused: dict[str, str] = {}
        self._away = False  # the scheduler was, since the last piece was started
        self._empty_since: float | None = None

    # ---- places ----------------------------------------------------------------------------------

    def _places(self) -> Mapping[str, int]:
        threads = self._threads()
        if new := [a for a in threads if a not in self.approved and a not in self.refused]:
            self._ask(new)
        found = {address: count + 1 for address, count in threads.items() if address in self.approved}
        if found or self.client.status != "running":
            self._empty_since = None
            return found
        since = self._empty_since = self._empty_since or time.monotonic()
        if time.monotonic() - since > self.patience:
            raise self._nobody()
        return {}

    def _threads(self) -> Mapping[str, int]:
        """Of each worker that the scheduler knows now; none while it is away."""
        if self.client.status == "running":
            with contextlib.suppress(OSError):
                workers = self.client.scheduler_info(n_workers=-1)["workers"]
                return {a: w["nthreads"] for a, w in workers.items() if w.get("status", "running") == "running"}
        self._away = True
        if self.client.status in ("closing", "closed"):
            raise Unreachable(
                f"the scheduler at {self._address} went away and did not come back in {self.patience:.0f} s: start it "
                "again, and run the same once more; with a folder it goes on from what is finished"
            )
        return {}

    @property
    def _address(self) -> str:
        scheduler = self.client.scheduler
        return str(scheduler.address) if scheduler is not None else "?"

    def _ask(self, addresses: list[str]) -> None:
        here = versions.fingerprint()
        try:
            answers = self.client.run(eval, ASK, workers=addresses, on_error="return")
        except OSError:  # the scheduler went away meanwhile: they are asked again
            return
        for address, answer in answers.items():
            if isinstance(answer, OSError):  # it went away meanwhile
                continue
            if isinstance(answer, Exception):
                problem = f"it cannot import unwind ({answer})"
            else:
                problem = versions.differences(here, answer)
            if problem:
                self.refused[address] = problem
                sys.stderr.write(f"worker {address} is refused: {problem}\n")
            else:
                self.approved.add(address)

    def _nobody(self) -> UnwindError:
        if self.refused:
            said = "; ".join(f"{address}: {problem}" for address, problem in self.refused.items())
            return Refused(f"no worker runs what this process runs ({said}): install the same there")
        return Unreachable(
            f"no worker has been at {self._address} for {self.patience:.0f} s: start one with "
            f"`dask worker {self._address}`"
        )

    def ready(self) -> None:
        """Wait for a first worker that is approved."""
        while not self._places():
            if self.refused:
                raise self._nobody()
            time.sleep(0.1)

    # ---- work ------------------------------------------------------------------------------------

    def _start(self, place: str, work: Work) -> Any:
        self._away = False
        given = {"work": packed(work.call, work.given, work.named)}
        return self.client.submit(eval, DO, given, workers=[place], allow_other_workers=False, pure=False)

    def _outcome(self, started: Any, place: str) -> Any:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        while True:
            try:
                return started.result(timeout=FETCH)
            except KilledWorker:
                raise Died(place) from None
            except FutureCancelledError:  # nobody here cancels what is done: the scheduler is gone, and what it knew
                raise Died(place, "the scheduler went away", blameless=True) from None
            except TimeoutError:  # its worker died with the result, or is slow to send it
                if started.status == "error":
                    raise  # it is the work's own
                if place not in self._places():
                    raise self._lost(place) from None
            except OSError as error:
                if started.status == "error":
                    raise
                raise Died(place, str(error), blameless=True) from None  # the way to the result was cut

    def _lost(self, place: str) -> Died:
        return Died(place, blameless=self._away)

    def _give_up(self, started: Any) -> None:
        with contextlib.suppress(Exception):  # a client without a scheduler cannot, and need not
            started.cancel()


# ---- with ... as -----------------------------------------------------------------------------------


@contextlib.contextmanager
def cluster(address: str | None = None, *, workers: int | None = None, patience: float = PATIENCE) -> Iterator[Cluster]:
    """`address`: of a scheduler that runs; None: one is started here, with so many workers of one thread each."""
    try:
        import distributed
    except ImportError:
        raise NotFound("a cluster needs dask: pip install 'unwind[cluster]'") from None
    if workers is not None and not (is_whole(workers) and workers >= 1):
        raise BadInput(f"workers={workers!r}: write how many processes, from 1 up")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        where = address or stack.enter_context(_local(workers or cores()))
        make: Any = distributed.Client
        try:
            client = make(where, timeout=patience, set_as_default=False)
        except (OSError, ValueError) as error:
            raise Unreachable(
                f"no scheduler answers at {where} ({error or type(error).__name__}): "
                "start one with `dask scheduler --port 8786`"
            ) from None
        stack.callback(client.close, timeout=FETCH)
        pool = Cluster(client, patience=patience)
        pool.ready()
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What dask logs of a scheduler that is gone is said in the error."""
    loggers = [logging.getLogger(name) for name in ("distributed.client", "distributed.core", "distributed.comm")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _local(workers: int) -> Iterator[str]:
    """A scheduler in a thread of this process, and workers as processes that never see the caller's script."""
    import distributed

    make: Any = distributed.LocalCluster
    options = {"processes": False, "dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
    with make(n_workers=0, host="127.0.0.1", protocol="tcp", **options) as scheduler:
        words = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler.scheduler_address]
        words += ["--nworkers", str(workers), "--nthreads", "1", "--no-dashboard", "--memory-limit", "0"]
        path = os.pathsep.join([p for p in sys.path if p])
        with subprocess.Popen(
            [*words, "--death-timeout", "60"],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the driver
        ) as process:
            atexit.register(process.terminate)
            try:
                yield scheduler.scheduler_address
            finally:
                process.terminate()
                atexit.unregister(process.terminate)
