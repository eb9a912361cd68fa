"""The spool: append-only, checked line by line, readable after any crash."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest

from data import clock
from data.errors import StoreLocked, StoreNotWritable
from data.recording import spool as module
from data.recording.locks import FileLock
from data.recording.spool import Spool, closed_segments, line_of, read_segment, spool_of


def rec(i: int, size: int = 0) -> dict[str, Any]:
    return {"n": i, "text": "ünïcode \u2028 \\n" + "x" * size}


def everything(folder: Path) -> list[Any]:
    return [r for p in closed_segments(folder) for r in read_segment(p).records]


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    for i in range(100):
        spool.append(rec(i))
        if i % 17 == 0:
            spool.rotate()
    spool.close()
    assert everything(tmp_path / "s") == [rec(i) for i in range(100)]
    assert len(closed_segments(tmp_path / "s")) == 7


def test_nothing_is_closed_where_nothing_was_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    assert spool.rotate() is None
    spool.flush()
    spool.close()
    assert closed_segments(tmp_path / "s") == []


def test_flushed_is_on_disk_and_the_rest_is_not(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    spool.append(rec(1))
    spool.flush()
    spool.append(rec(2))
    (opened,) = (tmp_path / "s").glob("*.open")
    assert read_segment(opened).records == [rec(1)]
    spool.close()


def test_the_buffer_is_bounded(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    for i in range(64):
        spool.append(rec(i, 64 * 1024))
    assert spool._buffered < 1.2 * module._BUFFER_BYTES
    (opened,) = (tmp_path / "s").glob("*.open")
    assert opened.stat().st_size > 2_000_000
    spool.close()
    assert len(everything(tmp_path / "s")) == 64


def test_a_full_segment_is_closed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", segment_bytes=1000, header=lambda: {"head": True})
    for i in range(50):
        spool.append(rec(i, 200))
        spool.flush()
    spool.close()
    segments = closed_segments(tmp_path / "s")
    assert len(segments) > 8
    assert all(read_segment(p).records[0] == {"head": True} for p in segments)
    assert [r for r in everything(tmp_path / "s") if "n" in r] == [rec(i, 200) for i in range(50)]


def test_a_segment_is_of_one_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    midnight = clock.moment("2026-03-01")
    now = midnight - clock.SECOND
    monkeypatch.setattr(time, "time_ns", lambda: now)
    spool = Spool(tmp_path / "s")
    spool.append(rec(1))
    spool.flush()
    now = midnight + clock.SECOND
    spool.append(rec(2))
    spool.close()
    first, second = closed_segments(tmp_path / "s")
    assert (first.name[:10], second.name[:10]) == ("2026-02-28", "2026-03-01")
    assert everything(tmp_path / "s") == [rec(1), rec(2)]


def test_a_clock_set_back_keeps_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, now in enumerate((2_000 * clock.DAY, 1_999 * clock.DAY, 1_998 * clock.DAY)):
        monkeypatch.setattr(time, "time_ns", lambda now=now: now)
        spool = Spool(tmp_path / "s")
        spool.append(rec(i))
        spool.close()
    assert everything(tmp_path / "s") == [rec(0), rec(1), rec(2)]


def test_torn_anywhere_only_the_torn_line_is_lost(tmp_path: Path) -> None:
    whole = b"".join(line_of(rec(i)) for i in range(4))
    ends = [len(b"".join(line_of(rec(i)) for i in range(n))) for n in range(5)]
    path = tmp_path / "torn.seg"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        found = read_segment(path)
        kept = max(n for n in range(5) if ends[n] <= cut or (n and ends[n] - 1 == cut))  # a line's end may be missing
        assert found.records == [rec(i) for i in range(kept)]
        assert found.damaged == (0 if cut in (ends[kept], ends[kept] - 1) else 1)


def test_a_flipped_bit_costs_its_line(tmp_path: Path) -> None:
    whole = bytearray(b"".join(line_of(rec(i)) for i in range(3)))
    first, second = len(line_of(rec(0))), len(line_of(rec(0)) + line_of(rec(1)))
    path = tmp_path / "flipped.seg"
    for at in range(first, second - 1, 3):
        whole[at] ^= 4
        path.write_bytes(whole)
        found = read_segment(path)
        whole[at] ^= 4
        assert [r for r in found.records if r["n"] != 1] == [rec(0), rec(2)]
        assert rec(1) not in found.records
        assert found.damaged >= 1


def test_a_process_that_died_leaves_its_segment_to_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    spool = Spool(folder)
    spool.append(rec(1))
    spool.flush()
    assert spool._file is not None
    spool._file.close()
    spool._lock.release()  # as the system does for a process that is gone
    after = Spool(folder)
    assert everything(folder) == [rec(1)]
    after.append(rec(2))
    after.close()
    assert everything(folder) == [rec(1), rec(2)]


def _take(path: str) -> None:
    os._exit(0 if FileLock(Path(path)).take() else 3)


def test_one_process_records(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    with pytest.raises(StoreLocked, match="another `unwind record` writes"):
        Spool(tmp_path / "s")
    context = multiprocessing.get_context("spawn")
    for code in (3, 0):
        child = context.Process(target=_take, args=(str(tmp_path / "s" / "lock"),))
        child.start()
        child.join(30)
        assert child.exitcode == code
        spool._lock.release()


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "s")
    spool.append(rec(1))
    spool.flush()
    real = module._write_all

    def full(file: Any, data: bytes) -> None:
        real(file, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_write_all", full)
    spool.append(rec(2))
    with pytest.raises(StoreNotWritable, match="No space left on device; free space"):
        spool.flush()
    (opened,) = (tmp_path / "s").glob("*.open")
    assert opened.read_bytes() == line_of(rec(1))
    monkeypatch.setattr(module, "_write_all", real)
    spool.close()
    assert everything(tmp_path / "s") == [rec(1), rec(2)]


def test_a_disk_that_is_full_for_the_rest_is_told_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing, noting what was heard, and taking the lock: one line for the user, never a bare OSError."""
    spool = Spool(tmp_path / "s")
    spool.append(rec(1))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(os, "fsync", full)
        with pytest.raises(StoreNotWritable, match="No space left on device; free space"):
            spool.flush()
        with pytest.raises(StoreNotWritable, match="No space left on device; free space"):
            spool.remember({"okx/depth": 3})
    spool.close()
    assert everything(tmp_path / "s") == [rec(1)]
    (tmp_path / "t" / "lock").mkdir(parents=True)
    with pytest.raises(StoreNotWritable, match="Is a directory"):
        Spool(tmp_path / "t")


def test_half_a_character_costs_nobody_anything(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    spool.append({"text": "\ud83d"})
    spool.close()
    assert everything(tmp_path / "s") == [{"text": "?"}]


def test_what_was_heard_is_remembered_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    assert spool.heard() == {}
    spool.remember({"binance/liquidations": 17})
    spool.remember({"binance/liquidations": 18, "okx/depth": 3})
    assert spool.heard() == {"binance/liquidations": 18, "okx/depth": 3}
    (tmp_path / "s" / "heard.json").write_text('{"torn')
    assert spool.heard() == {}
    spool.close()


def test_the_spool_lies_beside_its_store() -> None:
    assert spool_of(Path("/d/unwind.duckdb")) == Path("/d/unwind.duckdb.spool")
