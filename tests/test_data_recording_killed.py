"""The recorder as a process: killed at any instant, told to stop, and read from while it writes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from venue_streams.live import assert_truth, fact, facts_of, some, stored
from venue_streams.server import Venues

from data.recording.recorder import merge_now
from data.recording.spool import spool_of
from data.store import Store

FORKED = Path(__file__).parent / "support" / "venue_streams" / "forked.py"
NAMES = ("binance", "bybit", "okx")


class Forks:
    """Commands run in forks of a process that has imported everything."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, **what: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@dataclass
class Command:
    """One running command."""

    forks: Forks
    out: Path
    pid: int = 0
    status: int | None = None

    def run(self, *words: str) -> Command:
        self.pid = self.forks.ask(run=list(words), out=str(self.out))["pid"]
        return self

    def record(self, **plan: Any) -> Command:
        self.pid = self.forks.ask(record=plan, out=str(self.out))["pid"]
        return self

    def wait(self) -> int:
        if self.status is None:
            self.status = self.forks.ask(wait=self.pid)["status"]
        return self.status

    def kill(self, number: int = signal.SIGKILL) -> int:
        if self.status is None:
            os.kill(self.pid, number)
        return self.wait()

    def stop(self, number: int = signal.SIGTERM) -> dict[str, Any]:
        """Told to stop, it does; its last word."""
        assert self.kill(number) == 0, self.errors
        last: dict[str, Any] = json.loads(self.out.read_text().splitlines()[-1])
        return last

    @property
    def errors(self) -> str:
        return self.out.with_name(self.out.name + ".err").read_text()


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    command = [sys.executable, "-W", "error", str(FORKED)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Forks(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def venues() -> Iterator[Venues]:
    with Venues() as v:
        yield v


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "k.duckdb"


@pytest.fixture
def recording(forks: Forks, store: Path, venues: Venues) -> Iterator[Callable[..., Command]]:
    """Starts recorders of the store; what still runs in the end is killed."""
    started: list[Command] = []

    def start(*names: str, merge_s: float = 0.3) -> Command:
        plan = {"store": str(store), "venues": names or NAMES, "gateway": venues.url}
        command = Command(forks, store.with_name(f"out-{len(started)}"))
        started.append(command.record(**plan, flush_s=0.2, merge_s=merge_s, status_s=0.5))
        return started[-1]

    yield start
    for command in started:
        command.kill()


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


Start = Callable[..., Command]


def test_told_to_stop_nothing_is_lost(forks: Forks, venues: Venues, tmp_path: Path) -> None:
    """The command, by either signal; what was received is hardly flushed by then."""
    words = ["record", "--venue", ",".join(NAMES), "--gateway", venues.url, "--flush-every", "1h", "--json"]
    stores = {number: tmp_path / f"{number}.duckdb" for number in (signal.SIGTERM, signal.SIGINT)}
    commands = {n: Command(forks, tmp_path / f"out-{n}").run(*words, "--db", str(db)) for n, db in stores.items()}
    try:
        venues.wait_for(lambda: sum(x.hears_liquidations for x in venues.lines) == 2 * len(NAMES))
        for name in NAMES:
            venues.push(some(name, 200))
        time.sleep(0.2)
        for number, command in commands.items():
            last = command.stop(number)
            assert last["events"] == 600
            assert last["segments_waiting"] == 0
            assert_truth(stores[number], venues)
    finally:
        for command in commands.values():
            command.kill()


@pytest.mark.kill
@pytest.mark.slow
def test_killed_while_it_records(recording: Start, venues: Venues, store: Path) -> None:
    """What was flushed is there; what was not lies in a gap, and so does the time until the next start."""
    rng = random.Random(5)
    kills = []
    for i in range(2):
        command = recording()
        venues.wait_for_listeners(*NAMES)
        stop_at, seed = time.monotonic() + rng.uniform(0.6, 1.2), 10_000 * i
        while time.monotonic() < stop_at:
            for name in NAMES:
                venues.push(some(name, 10, seed=seed))
            seed += 100
            time.sleep(0.05)
        kills.append(time.time_ns() // 1_000_000)
        command.kill()
        venues.wait_for(lambda: not venues.lines)
        venues.push(some("okx", 3, seed=seed + 50_000))
    command = recording()
    venues.wait_for_listeners(*NAMES)
    time.sleep(0.3)
    command.stop()
    assert_truth(store, venues, all_heard=False)
    there = set(facts_of(stored(store)))
    lost = [t for t in venues.sent if fact(t) not in there]
    assert all(any(0 <= killed - t.ts_ms < 3_000 for killed in kills) for t in lost)  # of the last interval alone
    assert len(there) > 0.4 * len(venues.sent)


@pytest.mark.kill
@pytest.mark.slow
def test_killed_while_it_merges(recording: Start, forks: Forks, venues: Venues, store: Path) -> None:
    """Killed at random instants of a merge, which a later merge completes: the store is as if nothing had happened."""
    command = recording("bybit", merge_s=3600.0)
    venues.wait_for_listeners("bybit")
    for i in range(20):
        venues.push(some("bybit", 250, seed=10_000 * i))
    until(lambda: sum(p.stat().st_size for p in spool_of(store).glob("*.open")) > 700_000)
    size = sum(p.stat().st_size for p in spool_of(store).glob("*.open"))
    time.sleep(0.5)
    assert sum(p.stat().st_size for p in spool_of(store).glob("*.open")) < size + 10_000  # all of it is flushed
    command.kill()
    rng = random.Random(9)
    for i in range(5):
        merging = Command(forks, store.with_name(f"merge-{i}")).run("record", "--merge", "--db", str(store))
        time.sleep(rng.uniform(0.0, 0.3))
        merging.kill()
    merge_now(store)
    assert len(stored(store)) == 5_000
    assert_truth(store, venues)
    assert merge_now(store).segments == 0


READER = """
import json, sys, time
from data.errors import NotFound
from data.store import Store
seen, until = [0], time.monotonic() + 60
while seen[-1] < int(sys.argv[2]) and time.monotonic() < until:
    try:
        found = Store(sys.argv[1], read_only=True).query("SELECT count(*) AS n FROM liquidations")
        seen.append(found.to_pylist()[0]["n"])
    except NotFound:  # not made yet
        pass
    time.sleep(0.03)
print(json.dumps(seen))
"""


@pytest.mark.slow
def test_read_while_it_is_written(recording: Start, venues: Venues, store: Path) -> None:
    """A reader in another process, all the time: it never fails and sees more and more; the recorder loses nothing."""
    command = recording()
    venues.wait_for_listeners(*NAMES)
    reader = [sys.executable, "-W", "error", "-c", READER, str(store), "1200"]
    with subprocess.Popen(reader, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reading:
        for half in range(2):
            for i in range(10):
                for name in NAMES:
                    venues.push(some(name, 20, seed=1_000 * (10 * half + i)))
                time.sleep(0.05)
            until(lambda half=half: store.exists() and len(stored(store)) >= 600 * (half + 1))
        out, err = reading.communicate(timeout=90)
    assert reading.returncode == 0, err
    command.stop()
    seen = json.loads(out)
    assert seen == sorted(seen)
    assert seen[-1] == 1_200
    assert any(0 < n < 1_200 for n in seen)  # it saw the recording grow
    assert_truth(store, venues)


def test_a_reader_that_stays_makes_the_spool_wait(recording: Start, venues: Venues, store: Path) -> None:
    Store(store)
    with Store(store, read_only=True)._reading():
        command = recording("okx")
        venues.wait_for_listeners("okx")
        venues.push(some("okx", 100))
        until(lambda: len(list(spool_of(store).glob("*.seg"))) >= 2)
    until(lambda: len(stored(store)) == 100)
    command.stop()
    assert_truth(store, venues)


def test_a_second_recorder_is_turned_away(recording: Start, forks: Forks, venues: Venues, store: Path) -> None:
    first = recording("okx")
    venues.wait_for_listeners("okx")
    second = Command(forks, store.with_name("second"))
    second.run("record", "--venue", "bybit", "--db", str(store), "--gateway", venues.url)
    assert second.wait() == 2
    assert "another `unwind record` writes" in second.errors
    first.stop()
