"""A sweep and a walk-forward on a real scheduler and two real workers on loopback, while machines die and join."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask_machines
import numpy as np
import polars as pl
import pytest
import research_markets as rm
import work_that_dies as work

from backtest import executor as module
from backtest.executing.cluster import Cluster, Refused, cluster
from backtest.executor import executor_of
from backtest.sweep import Sweep, sweep
from backtest.trials import Register
from backtest.walkforward import Plan, walk_forward
from data.errors import Unreachable

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.kill]

GRID: dict[str, Any] = {"length": [6, 12, 24], "band": [x / 1000 for x in range(20)]}
FEW: dict[str, Any] = {"length": [6, 24], "band": [0.0, 0.02]}
SETS = 60


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dask_machines.Machines]:
    made = dask_machines.Machines(tmp_path_factory.mktemp("logs"))
    try:
        made.scheduler()
        made.worker("first")
        made.worker("second")
        yield made
    finally:
        made.end()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of one set, so that there is a middle to kill something in."""
    monkeypatch.setattr(module, "AIM", 0.0)
    monkeypatch.setattr(module, "LEAST", 0.0)


@pytest.fixture(scope="module")
def local() -> Sweep:
    return sweep(rm.Follow, rm.market(), GRID, **rm.TERMS)


def same(a: Sweep, b: Sweep) -> bool:
    return a.strategies == b.strategies and np.array_equal(a.values, b.values, equal_nan=True)


def once(folder: Path, files: int, then: Callable[[], object]) -> threading.Thread:
    """Does something when so many chunks are on disk."""

    def wait() -> None:
        give_up = time.monotonic() + 60.0
        while len(list(folder.glob("sets-*.parquet"))) < files and time.monotonic() < give_up:
            time.sleep(0.005)
        then()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def written(folder: Path) -> int:
    return sum(pl.read_parquet(path).height for path in folder.glob("sets-*.parquet"))


def until(pool: Cluster, holds: Callable[[], bool]) -> None:
    """Gives work that takes its time, until something holds."""
    give_up = time.monotonic() + 60.0
    while not holds():
        assert time.monotonic() < give_up, "waited for a minute"
        for future in [pool.submit(work.sleeps, 0.05) for _ in range(6)]:
            future.result(60)


@pytest.mark.usefixtures("small_chunks")
def test_a_worker_is_killed_in_the_middle_and_another_joins_late(
    machines: dask_machines.Machines, local: Sweep, tmp_path: Path
) -> None:
    market = rm.market().registered(str(tmp_path / "register"))
    with cluster(machines.address) as pool:
        until(pool, lambda: len(pool.done) == 2)
        there: list[int] = []
        killer = once(tmp_path / "run", 2, lambda: (machines.kill("first"), there.append(written(tmp_path / "run"))))
        found = sweep(rm.Follow, market, GRID, executor=pool, folder=tmp_path / "run", **rm.TERMS)
        killer.join(60)
        assert there[0] < SETS
        assert same(found, local)
        assert written(tmp_path / "run") == SETS
        assert Register(market.register).table().height == SETS
        machines.worker("third")
        until(pool, lambda: len(pool.done) == 3)  # it has had work of a pool that was there before it
        plan = Plan(train="80d", test="40d")
        forward = walk_forward(rm.Follow, rm.market(), plan, executor=pool, progress=False, **FEW, **rm.TERMS)
    assert forward.fits == walk_forward(rm.Follow, rm.market(), plan, progress=False, **FEW, **rm.TERMS).fits


def test_a_worker_with_other_versions_gets_no_work(
    machines: dask_machines.Machines, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with cluster(machines.address) as pool:
        machines.worker("stranger", first=dask_machines.another_version(tmp_path))
        until(pool, lambda: bool(pool.refused))
        (address, problem), *others = pool.refused.items()
        assert not others
        until(pool, lambda: sum(pool.done.values()) > 20)
        assert pool.done[address] == 0
    assert f"worker {address} is refused: numba 0.1, not" in capfd.readouterr().err
    assert "its source" in problem
    assert "unwind" not in problem
    machines.kill("stranger")


def test_only_strangers_is_an_error_that_names_them(tmp_path: Path) -> None:
    alone = dask_machines.Machines(tmp_path)
    try:
        alone.scheduler()
        nobody = r"no worker has been at .*: start one with `dask worker"
        with pytest.raises(Unreachable, match=nobody), cluster(alone.address, patience=0.5):
            pass
        (tmp_path / "other").mkdir()
        alone.worker("stranger", first=dask_machines.another_version(tmp_path / "other" / "unwind"))
        with pytest.raises(Refused, match="no worker runs what this process runs"), cluster(alone.address, patience=60):
            pass
    finally:
        alone.end()


@pytest.mark.usefixtures("small_chunks")
def test_the_scheduler_is_killed_and_the_same_call_goes_on(
    machines: dask_machines.Machines, local: Sweep, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    given: dict[str, Any] = {"folder": folder, **rm.TERMS}
    with cluster(machines.address, patience=2.0) as pool:
        until(pool, lambda: len(pool.done) == 2)
        killer = once(folder, 2, lambda: machines.kill("scheduler"))
        with pytest.raises(Unreachable, match=r"the scheduler at .* went away"):
            sweep(rm.Follow, rm.market(), GRID, executor=pool, **given)
        killer.join(60)
    before = written(folder)
    assert 0 < before < SETS
    machines.end()
    machines.scheduler()
    machines.worker("fourth")
    with executor_of(machines.address) as again:
        assert isinstance(again, Cluster)
        assert same(sweep(rm.Follow, rm.market(), GRID, executor=again, **given), local)
    assert written(folder) == SETS  # what was finished was not walked again


def test_nobody_at_an_address_is_said() -> None:
    address = f"tcp://127.0.0.1:{dask_machines.free_port()}"
    with pytest.raises(Unreachable, match="no scheduler answers at tcp"), cluster(address, patience=0.5):
        pass


def test_a_cluster_of_this_machine_in_one_word() -> None:
    with executor_of("dask", 1) as pool:
        assert pool is not None
        found = sweep(rm.Follow, rm.market(), FEW, executor=pool, **rm.TERMS)
    assert same(found, sweep(rm.Follow, rm.market(), FEW, **rm.TERMS))
