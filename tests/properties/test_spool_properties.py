"""Spool, merger and store against a model that is a set: crashes at any byte, any order of merges, repeated events."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from data import clock
from data.recording.merger import merge
from data.recording.records import forced_row, rows_record
from data.recording.spool import OPEN, Spool, closed_segments
from data.sources.stream_events import Forced
from data.store import Store

START_US = clock.moment("2026-03-01T10:00") // clock.US
SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")


def forced(n: int) -> Forced:
    return Forced(
        SYMBOLS[n % 2], START_US + n * 1000, ("long", "short")[n // 2 % 2], 100.0 + n, "average", 1.0, 100.0, "0"
    )


def record(numbers: list[int], at: int) -> Any:
    at_us = START_US + at * 1_000_000
    rows = [forced_row(forced(n), "complete", at_us) for n in numbers]
    return rows_record("bybit", at_us, "liquidations", rows, ("liquidations", f"{numbers} {at}"))


class Recording(RuleBasedStateMachine):
    """The model: events that must be in the store in the end, and those that may be (their line may be torn)."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.store = self.folder / "m.duckdb"
        self.spool: Spool | None = Spool(self.folder / "spool", segment_bytes=600)
        self.now = 0
        self.certain: set[int] = set()  # flushed
        self.pending: set[int] = set()  # appended since
        self.offered: set[int] = set()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            if self.spool is not None:
                self.spool.close()
            merge(self.folder / "spool", self.store)
            self.agree()
            shutil.rmtree(self.folder)

    def agree(self) -> None:
        """All that was flushed is stored, once, and nothing that never was."""
        rows = Store(self.store).table("liquidations") if self.store.exists() else None
        found = [] if rows is None else [round(p - 100) for p in rows["price"]]
        assert len(found) == len(set(found))
        assert self.certain | (self.pending if self.spool is not None else set()) <= set(found)
        assert set(found) <= self.offered
        if rows is not None and len(rows):
            expected = {forced(n)[:7] for n in found}
            ts = rows["ts"].astype("datetime64[us]").astype("int64")
            columns = ("position", "price", "price_kind", "quantity", "notional")
            assert set(zip(rows["symbol"], ts, *(rows[c] for c in columns), strict=True)) == expected

    @precondition(lambda self: self.spool is not None)
    @rule(numbers=st.lists(st.integers(0, 40), min_size=1, max_size=4, unique=True))
    def hear(self, numbers: list[int]) -> None:
        assert self.spool is not None
        self.now += 1
        self.spool.append(record(numbers, self.now))
        self.pending |= set(numbers)
        self.offered |= set(numbers)

    @precondition(lambda self: self.spool is not None)
    @rule()
    def flush(self) -> None:
        assert self.spool is not None
        self.spool.flush(sync=False)
        self.certain |= self.pending
        self.pending = set()

    @precondition(lambda self: self.spool is not None)
    @rule()
    def rotate(self) -> None:
        self.flush()
        assert self.spool is not None
        self.spool.rotate()

    @precondition(lambda self: self.spool is not None)
    @rule(share=st.floats(0, 1))
    def die(self, share: float) -> None:
        """Killed while it writes what it has not flushed: any part of that, torn at any byte, is on the disk."""
        spool = self.spool
        assert spool is not None
        torn = b"".join(spool._buffer)
        opened = next(iter((self.folder / "spool").glob(f"*{OPEN}")), None)
        if opened is not None:
            with opened.open("ab") as f:
                f.write(torn[: int(share * len(torn))])
        if spool._file is not None:
            spool._file.close()
        spool._lock.release()
        self.pending = set()
        self.spool = None

    @precondition(lambda self: self.spool is None)
    @rule()
    def come_back(self) -> None:
        self.spool = Spool(self.folder / "spool", segment_bytes=600)

    @rule()
    def merge_all(self) -> None:
        merge(self.folder / "spool", self.store)

    @rule(data=st.data())
    def merge_one_and_die(self, data: st.DataObject) -> None:
        """Any one segment alone, out of order, killed before it could be removed: it is still there."""
        segments = closed_segments(self.folder / "spool")
        if not segments:
            return
        path = data.draw(st.sampled_from(segments))
        aside = self.folder / "aside"
        aside.mkdir()
        shutil.copy(path, aside / path.name)
        merge(aside, self.store)
        shutil.rmtree(aside)

    @invariant()
    def nothing_unheard_of(self) -> None:
        if hasattr(self, "store") and self.store.exists():
            prices = Store(self.store).query("SELECT price FROM liquidations").column("price").to_pylist()
            assert {round(p - 100) for p in prices} <= self.offered


TestRecording = Recording.TestCase
TestRecording.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
