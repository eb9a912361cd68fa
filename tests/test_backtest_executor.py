"""Sweeps and walk-forwards on processes: the same bits, whatever dies; markets that are files; folders that resume."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import research_markets as rm
import work_that_dies as work

from backtest import executor as module
from backtest.executing import lending, processes, sending, tasks, versions
from backtest.executing.processes import Processes
from backtest.executing.surviving import WorkerDied
from backtest.executor import executor_of
from backtest.metrics import NAMES
from backtest.strategy import Strategy
from backtest.strategy_lookup import load
from backtest.sweep import Sweep, sweep
from backtest.trials import Register
from backtest.walkforward import Plan, walk_forward
from data.errors import BadInput, NotFound, NotThisFormat
from data.market import Market

GRID: dict[str, Any] = {"length": [6, 12, 24], "band": [0.0, 0.01, 0.02, 0.04]}
PLAN = Plan(train="80d", test="40d")


@pytest.fixture(scope="module")
def market() -> Market:
    return rm.market()


@pytest.fixture(scope="module")
def local(market: Market) -> Sweep:
    return sweep(rm.Follow, market, GRID, **rm.TERMS)


@pytest.fixture(scope="module")
def pool() -> Iterator[Processes]:
    with Processes(2) as made:
        yield made


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AIM", 3 * 1e-4)
    monkeypatch.setattr(module, "LEAST", 3 * 1e-4)
    monkeypatch.setattr(module, "SET_SECONDS", 1e-4)


def same(a: Sweep, b: Sweep) -> bool:
    return a.strategies == b.strategies and np.array_equal(a.values, b.values, equal_nan=True)


# ---- a pool that survives --------------------------------------------------------------------------


def test_it_is_an_executor(pool: Processes) -> None:
    assert isinstance(pool, Executor)
    assert list(pool.map(work.double, range(20))) == [2 * x for x in range(20)]
    with pytest.raises(ValueError, match="no 3"):
        pool.submit(work.refuses, 3).result(60)


@pytest.mark.kill
def test_work_of_a_process_that_dies_is_done_again(pool: Processes, tmp_path: Path) -> None:
    found = [pool.submit(work.dies_once, x, str(tmp_path)) for x in range(3)]
    others = [pool.submit(work.double, x) for x in range(10)]
    assert [f.result(120) for f in found] == [0, 2, 4]
    assert [f.result(60) for f in others] == [2 * x for x in range(10)]


@pytest.mark.kill
def test_work_that_kills_its_process_each_time_is_named(pool: Processes) -> None:
    deadly = pool.submit(work.dies, "the chunk of Fade")
    others = [pool.submit(work.double, x) for x in range(10)]
    with pytest.raises(WorkerDied, match=r"the chunk of Fade killed its worker 3 times"):
        deadly.result(120)
    assert [f.result(60) for f in others] == [2 * x for x in range(10)]


@pytest.mark.kill
def test_a_process_that_is_killed_from_outside_costs_only_time(pool: Processes) -> None:
    slow = pool.submit(work.sleeps, 0.5)
    first = pool.submit(work.sleeps, 0.0).result(60)  # of the other process, or of this one
    os.kill(first, signal.SIGKILL)
    assert slow.result(60) > 0
    assert list(pool.map(work.double, range(4), timeout=60)) == [0, 2, 4, 6]


def _blocked() -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no masks of signals here")
def test_ctrl_c_comes_to_no_process_while_it_starts_and_is_unblocked_after(pool: Processes) -> None:
    with processes._unheard():
        asked = "import signal; print(int(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())))"
        said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "1"
    assert not _blocked()
    assert pool.submit(_blocked).result() is False


def test_what_waits_can_be_cancelled_and_a_closed_pool_takes_nothing() -> None:
    made = Processes(1)
    try:
        running = made.submit(work.sleeps, 0.2)
        waiting = [made.submit(work.double, x) for x in range(3)]
        assert waiting[2].cancel()
        assert waiting[0].result(60) == 0
        assert running.done()
    finally:
        made.shutdown(cancel_futures=True)
    with pytest.raises(RuntimeError, match="shut down"):
        made.submit(work.double, 1)
    with pytest.raises(BadInput, match="workers=0"):
        Processes(0)


# ---- markets as files ------------------------------------------------------------------------------


def test_a_market_is_written_once_and_mapped_by_workers(pool: Processes, market: Market, tmp_path: Path) -> None:
    lent = lending.lend(market.registered("somewhere"), tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert lending.lend(market, tmp_path) == lent
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    assert len(pickle.dumps(lent)) < 500
    found, base = pool.submit(work.where_arrays_lie, lent).result(60)
    assert found == market.hash
    assert "mmap" in base
    opened = lent.open()
    assert opened.register == ""
    assert opened.mark_close is opened.mark_close
    for name in market.held:
        assert np.array_equal(getattr(opened, name), getattr(market, name), equal_nan=True)
    assert opened.features_view().settlements.tobytes() == market.features_view().settlements.tobytes()
    assert opened[100:200] == market[100:200]


def test_markets_that_share_arrays_share_files(market: Market, tmp_path: Path) -> None:
    lending.lend(market, tmp_path)
    arrays = len(list(tmp_path.glob("*.npy")))
    other = Market("another", market._laid)
    assert lending.lend(other, tmp_path).open().venue == "another"
    assert len(list(tmp_path.glob("*.npy"))) == arrays
    assert len(list(tmp_path.glob("*.market"))) == 2


def test_an_object_store_is_read_through_a_folder(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "copies"))
    monkeypatch.setattr(lending, "_open", type(lending._open)())  # as in a worker that has none open
    lent = lending.lend(market, f"file://{tmp_path}/lake")
    assert lent.open() == market
    assert list((tmp_path / "copies").rglob("*.npy"))


def test_a_place_that_a_worker_cannot_see_is_named(market: Market, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"cannot see .*gone: set UNWIND_SHARED"):
        lending.Lent("0" * 32, str(tmp_path / "gone")).open()


# ---- strategies ------------------------------------------------------------------------------------

FILE = """
import pandas as pd
from backtest import HOLD, Strategy
from beside import gap

def far(x, band):
    return x > band

class Own(Strategy):
    length: int = 12
    band: float = 0.01
    def features(self, market):
        return {"away": gap(pd.Series(market.close), self.length)}
    @staticmethod
    def decide(position, away, band):
        if far(away, band):
            return 1.0 if position <= 0.0 else HOLD
        return -1.0 if far(-away, band) and position >= 0.0 else HOLD
"""
BESIDE = "def gap(price, length):\n    return (price / price.rolling(length).mean() - 1.0).fillna(0.0)\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Strategy]:
    """A class of a file, with a module beside it; both are gone once it is loaded."""
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "beside.py").write_text(BESIDE)
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    cls = load(f"{tmp_path}/mine.py:Own")
    assert cls._written is not None
    (tmp_path / "mine.py").write_text(FILE.replace("> band", "< band"))  # edited since: not what was loaded
    (tmp_path / "beside.py").unlink()
    return cls


def test_a_strategy_of_a_file_runs_as_it_was_loaded(pool: Processes, market: Market, own: type[Strategy]) -> None:
    a = sweep(own, market, GRID, **rm.TERMS)
    assert a.column("trades").sum() > 0
    assert same(sweep(own, market, GRID, executor=pool, **rm.TERMS), a)


SCRIPT = """
import sys
sys.path.insert(0, {support!r})
import numpy as np
import research_markets as rm
from backtest.executor import executor_of
from backtest.sweep import sweep

class Mine(rm.Follow):
    @staticmethod
    def decide(away, band):
        return 1.0 if away > band else 0.0

market = rm.market()
grid = {{"length": [6, 12], "band": [0.0, 0.01]}}
with executor_of("processes", 1) as pool:
    found = sweep(Mine, market, grid, executor=pool, **rm.TERMS)
local = sweep(Mine, market, grid, **rm.TERMS)
print("same" if np.array_equal(found.values, local.values, equal_nan=True) else "other")
"""


@pytest.mark.slow
def test_a_script_needs_no_guard_and_its_own_classes_are_sent(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(support=str(Path(rm.__file__).parent)))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=200)
    assert done.stdout.split() == ["same"], done.stderr


def test_classes_of_ours_go_by_name_and_others_with_their_texts() -> None:
    from backtest.stitched import stitched  # noqa: F401 - a module of ours

    assert sending.is_installed(sys.modules["backtest.stitched"])
    assert sending.is_installed(np)
    assert not sending.is_installed(rm)
    made = sending.sent(rm.Follow)
    assert made.by_value
    assert any(file == rm.__file__ for file, _ in made.texts)
    with pytest.raises(BadInput, match="cannot be sent to another process"):
        sending.sent(_holding_a_lock())


def _holding_a_lock() -> type[Strategy]:
    import threading

    lock = threading.Lock()

    class Locked(Strategy):
        def features(self, market: Market) -> dict[str, Any]:
            with lock:
                return {}

        @staticmethod
        def decide(position: float) -> float:
            return 0.0

    return Locked


# ---- versions --------------------------------------------------------------------------------------


def test_another_version_is_refused_by_name(pool: Processes) -> None:
    here = dict(versions.fingerprint())
    assert versions.differences(here, here) == ""
    with pytest.raises(BadInput, match=r"numba \S+, not 0\.1: install the same there"):
        pool.submit(work.versions_of_another, {**here, "numba": "0.1"}).result(60)


# ---- sweeps ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_chunks")
def test_a_sweep_on_processes_is_the_local_one_bit_for_bit(pool: Processes, market: Market, local: Sweep) -> None:
    found = sweep(rm.Follow, market, GRID, executor=pool, **rm.TERMS)
    assert same(found, local)
    assert np.array_equal(found.sketches, local.sketches)
    history = sweep(rm.Follow, market[600:], GRID, history=market, **rm.TERMS)
    assert same(sweep(rm.Follow, market[600:], GRID, history=market, executor=pool, **rm.TERMS), history)


@pytest.mark.usefixtures("small_chunks")
def test_any_executor_will_do(market: Market, local: Sweep) -> None:
    with ThreadPoolExecutor(2) as threads:
        assert same(sweep(rm.Follow, market, GRID, executor=threads, **rm.TERMS), local)
        asked = {"method": "optuna", "n": 12, "objective": "total_return", **GRID, **rm.TERMS}
        pytest.importorskip("optuna")
        assert same(sweep(rm.Follow, market, executor=threads, **asked), sweep(rm.Follow, market, **asked))


LIMIT = 0.0


class Above(rm.Follow):
    @staticmethod
    def decide(away: float, leverage: float) -> float:
        return leverage if away > LIMIT else 0.0


def test_what_stands_around_decide_may_change_between_two_sweeps(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    with ThreadPoolExecutor(2) as threads:
        for limit in (0.0, 0.03):
            monkeypatch.setattr(sys.modules[__name__], "LIMIT", limit)
            found.append(sweep(Above, market, length=[6, 12], **rm.TERMS))
            assert same(sweep(Above, market, length=[6, 12], executor=threads, **rm.TERMS), found[-1])
    assert not np.array_equal(found[0].values, found[1].values, equal_nan=True)


class FailsAfter(Executor):
    """Some chunks are walked, then the machine is gone."""

    _max_workers = 1

    def __init__(self, chunks: int, error: BaseException) -> None:
        self.left, self.error, self.walked = chunks, error, 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.left == 0:
            future.set_exception(self.error)
        else:
            self.left -= 1
            future.set_result(fn(*args, **kwargs))
            self.walked += len(args[0].sets.rows)
        return future


@pytest.mark.usefixtures("small_chunks")
def test_a_sweep_goes_on_from_what_its_folder_holds(market: Market, local: Sweep, tmp_path: Path) -> None:
    kept, register = market.registered(str(tmp_path / "register")), Register(tmp_path / "register")
    given: dict[str, Any] = {"folder": tmp_path / "run", **rm.TERMS}
    gone = FailsAfter(2, WorkerDied("gone"))
    with pytest.raises(WorkerDied):
        sweep(rm.Follow, kept, GRID, executor=gone, **given)
    assert 0 < gone.walked < 12
    assert register.distinct().height == gone.walked  # what is written was noted
    rest = FailsAfter(99, WorkerDied("never"))
    assert same(sweep(rm.Follow, kept, GRID, executor=rest, **given), local)
    assert rest.walked == 12 - gone.walked
    assert register.table().height == register.distinct().height == 12
    nothing = FailsAfter(0, WorkerDied("nothing to do"))
    assert same(sweep(rm.Follow, kept, GRID, executor=nothing, **given), local)
    finer = {**GRID, "length": [6, 9, 12, 24]}
    more = FailsAfter(99, WorkerDied("never"))
    assert same(sweep(rm.Follow, kept, finer, executor=more, **given), sweep(rm.Follow, market, finer, **rm.TERMS))
    assert more.walked == 4


@pytest.mark.usefixtures("small_chunks")
def test_an_interrupt_keeps_what_is_done_and_the_folder_resumes_here(
    market: Market, local: Sweep, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"folder": tmp_path, **rm.TERMS}
    stopped = sweep(rm.Follow, market, GRID, executor=FailsAfter(2, KeyboardInterrupt()), **given)
    assert 0 < len(stopped) < 12
    assert not stopped.complete
    rm.ASKED.clear()
    whole = sweep(rm.Follow, market, GRID, **given)  # by threads
    assert same(whole, local)
    assert rm.ASKED.count(6) <= 1  # the first length was finished; one look learns what it uses


def test_a_folder_of_something_else_is_refused(market: Market, tmp_path: Path) -> None:
    given: dict[str, Any] = {"folder": tmp_path, "length": [6], **rm.TERMS}
    sweep(rm.Follow, market, **given)
    with pytest.raises(BadInput, match="holds another sweep"):
        sweep(rm.Follow, market[:600], **given)
    torn = next(tmp_path.glob("sets-*.parquet"))
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.raises(NotThisFormat, match="remove it, and its sets are walked again"):
        sweep(rm.Follow, market, **given)
    torn.unlink()
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(NotThisFormat, match=r"sweep\.json cannot be read"):
        sweep(rm.Follow, market, **given)


def test_chunks_are_cut_by_time_and_share(market: Market) -> None:
    from backtest.batch import Batch

    chunks = module.Chunks(FailsAfter(0, OSError()), Batch(market, **rm.TERMS))
    chunks.a_set = 1e-3
    sets = [rm.Follow(band=x / 1e4) for x in range(2000)]
    sizes = [len(part) for part in chunks._cut(iter([sets]), len(sets), room=1)]
    assert sizes == [500] * 4  # a share of a fourth a worker
    assert [len(part) for part in chunks._cut(iter([sets]), len(sets), room=8)] == [150] * 13 + [50]  # but 0.15 s
    chunks.a_set = 1e-2
    assert [len(part) for part in chunks._cut(iter([sets]), len(sets), room=1)] == [100] * 20  # and a second at most


def test_a_task_is_small_and_names_itself(market: Market, tmp_path: Path) -> None:
    from backtest.batch import Batch

    chunks = module.Chunks(Processes(1), Batch(market, **rm.TERMS))
    sets: list[Strategy] = [rm.Follow(band=x / 1e4) for x in range(100)]
    task = tasks.Chunk(chunks.scene(), sending.Sets.of(sending.sent(rm.Follow), sets))
    assert len(pickle.dumps(task)) < 40_000 < market.close.nbytes * len(market.held)
    assert str(task) == "a chunk of 100 sets from Follow(length=12, band=0.0, leverage=1.0) on"
    assert task.sets.made()[7].parameters == sets[7].parameters


# ---- walk-forward ----------------------------------------------------------------------------------


def test_a_walk_forward_on_processes_is_the_local_one_and_its_trials_are_noted_here(
    pool: Processes, market: Market, tmp_path: Path
) -> None:
    here, there = (market.registered(str(tmp_path / name)) for name in ("here", "there"))
    given: dict[str, Any] = {"progress": False, **rm.TERMS, **GRID}
    a = walk_forward(rm.Follow, here, PLAN, **given)
    b = walk_forward(rm.Follow, there, PLAN, executor=pool, folder=tmp_path / "folds", **given)
    assert a.fits == b.fits
    assert np.array_equal(a.equity.to_numpy(), b.equity.to_numpy())
    mine, theirs = (Register(m.register).table().drop("at", "sketch") for m in (here, there))
    order = ["first", "params"]
    assert mine.sort(order).equals(theirs.sort(order), null_equal=True)
    assert len(mine) == 12 * len(a.fits)
    gone = FailsAfter(0, WorkerDied("gone"))
    resumed = walk_forward(rm.Follow, there, PLAN, executor=gone, folder=tmp_path / "folds", **given)
    assert resumed.resumed == len(a.fits)
    assert Register(there.register).table().height == len(mine)


def test_a_fold_that_cannot_be_fitted_says_why(pool: Processes, market: Market) -> None:
    class Broken(rm.Follow):
        @staticmethod
        def decide(away: float) -> float:
            return float("nan")

    with pytest.raises(BadInput, match="Broken"):
        walk_forward(Broken, market, PLAN, executor=pool, progress=False, length=[6], **rm.TERMS)


# ---- words -----------------------------------------------------------------------------------------


def test_words_for_executors() -> None:
    for word in (None, "threads"):
        with executor_of(word, 2) as pool:
            assert pool is None
    with executor_of("processes", 3) as pool:
        assert isinstance(pool, Processes)
        assert module.width(pool) == 3
    with pytest.raises(BadInput, match="did you mean processes"), executor_of("process"):
        pass


def test_measures_are_named_in_the_files_of_a_folder(market: Market, tmp_path: Path) -> None:
    import polars as pl

    sweep(rm.Follow, market, {"length": [6]}, folder=tmp_path, **rm.TERMS)
    frame = pl.read_parquet(next(tmp_path.glob("sets-*.parquet")))
    assert frame.columns == ["params", *NAMES, "sketch"]
