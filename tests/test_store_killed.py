"""Killed at any instant, the store opens, shows no part of a file, and the same ingest completes it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO

import pytest

from data.store import Store

SCRIPT = Path(__file__).parent / "support" / "killed_ingest.py"
INSTANTS = 50


@pytest.fixture(scope="module")
def ingests() -> ModuleType:
    spec = importlib.util.spec_from_file_location("killed_ingest", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def children() -> Iterator[tuple[IO[str], IO[str]]]:
    with subprocess.Popen([sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as p:
        assert p.stdin is not None
        assert p.stdout is not None
        yield p.stdin, p.stdout
        p.stdin.close()


def start(children: tuple[IO[str], IO[str]], path: Path) -> int:
    children[0].write(f"{path}\n")
    children[0].flush()
    return int(children[1].readline())


def files_in(store: Store) -> set[str]:
    return set(store.query("SELECT DISTINCT origin FROM ingests").column("origin").to_pylist())


@pytest.mark.kill
def test_killed_at_fifty_instants(children: tuple[IO[str], IO[str]], ingests: ModuleType, tmp_path: Path) -> None:
    spans = []
    for _ in range(3):  # the first is slow: nothing is in memory yet
        (tmp_path / "whole.duckdb").unlink(missing_ok=True)
        began = time.perf_counter()
        start(children, tmp_path / "whole.duckdb")
        assert children[1].readline() == "gone 0\n"
        spans.append(time.perf_counter() - began)
    whole = Store(tmp_path / "whole.duckdb").fingerprint()

    rng = random.Random(11)
    unfinished = 0
    for i in range(INSTANTS):
        path = tmp_path / f"{i}.duckdb"
        pid = start(children, path)
        time.sleep(rng.uniform(0.0, min(spans)))
        with contextlib.suppress(ProcessLookupError):  # it was quicker
            os.kill(pid, signal.SIGKILL)
        children[1].readline()

        store = Store(path)  # opens, whatever was going on
        there = files_in(store)
        unfinished += 0 < len(there) < ingests.FILES
        for table in ("candles", "open_interest"):
            rows = store.query(f"SELECT symbol, count(*) AS n FROM {table} GROUP BY symbol").to_pylist()
            files = Counter(f"S{int(name.split('-')[1]) % 4}/USDT:USDT" for name in there)
            assert {r["symbol"]: r["n"] for r in rows} == {s: n * ingests.ROWS for s, n in files.items()}

        ingests.run(str(path))
        assert store.fingerprint() == whole
        assert len(files_in(store)) == ingests.FILES
        path.unlink()
    assert unfinished >= 5, "the kills fell beside the ingest; nothing was tested"
