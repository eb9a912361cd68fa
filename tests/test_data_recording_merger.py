"""Segments into the store: in short transactions, twice or in any order the same, nothing lost when it dies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data import clock
from data.errors import StoreNotWritable
from data.recording import merger
from data.recording.merger import merge
from data.recording.records import digest, forced_row, gap_rows, rows_record
from data.recording.spool import Spool, closed_segments
from data.sources.stream_events import Forced
from data.store import Store

START_US = clock.moment("2026-03-01T10:00") // clock.US


def event(i: int, symbol: str = "BTC/USDT:USDT") -> Forced:
    ts, price = START_US + i * 1000, 40_000.0 + i
    return Forced(symbol, ts, "long", price, "average", 0.5, price / 2, "0")


def heard(i: int, name: str = "binance/liquidations") -> dict[str, Any]:
    at = START_US * clock.US + i * clock.SECOND
    return {"heard": {name: [at, at + clock.SECOND]}}


FEEDS = {"feeds": {"binance/liquidations": ["binance", "liquidations", ["BTC/USDT:USDT", "ETH/USDT:USDT"]]}}


def spool(folder: Path, *segments: list[Any]) -> None:
    s = Spool(folder)
    for records in segments:
        for record in records:
            s.append(record)
        s.rotate()
    s.close()


def line(i: int, late_us: int = 5_000) -> Any:
    e = event(i)
    row = forced_row(e, "sampled", e.ts_us + late_us)
    return rows_record("binance", e.ts_us + late_us, "liquidations", [row], ("liquidations", f'{{"n":{i}}}'))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "x.duckdb.spool"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "x.duckdb"


def test_rows_messages_gaps_and_what_was_heard(folder: Path, store: Path) -> None:
    gap = gap_rows("liquidations", ("*",), START_US * clock.US, START_US * clock.US + clock.SECOND, "why")
    spool(folder, [FEEDS, line(1), line(2), rows_record("binance", START_US, "gaps", gap), heard(0), heard(1)])
    done = merge(folder, store)
    assert (done.segments, done.rows, done.waiting, done.busy, done.refused) == (1, 5, 0, "", [])
    s = Store(store, read_only=True)
    rows = s.table("liquidations").to_dict("records")
    assert [r["price"] for r in rows] == [40_001.0, 40_002.0]
    assert [(r["known_at"] - r["ts"]).total_seconds() for r in rows] == [0.005, 0.005]
    raw = s.query("SELECT * FROM raw ORDER BY ts").to_pylist()
    assert [(r["venue"], r["stream"], r["payload"]) for r in raw] == [
        ("binance", "liquidations", '{"n":1}'),
        ("binance", "liquidations", '{"n":2}'),
    ]
    assert raw[0]["event_id"] == digest('{"n":1}')
    (g,) = s.query("SELECT * FROM gaps").to_pylist()
    assert (g["symbol"], g["feed_table"], g["reason"]) == ("*", "liquidations", "why")
    assert (g["until"] - g["ts"]).total_seconds() == 1.0
    assert g["known_at"] == g["ts"]
    ingests = s.query("SELECT * FROM ingests ORDER BY table_name").to_pylist()
    assert [(i["table_name"], i["rows"], i["source"]) for i in ingests] == [
        ("gaps", 1, "record"),
        ("liquidations", 2, "record"),
        ("raw", 2, "record"),
    ]
    assert ingests[1]["symbols"] == ["BTC/USDT:USDT", "ETH/USDT:USDT"]
    assert (ingests[1]["covers_to"] - ingests[1]["covers_from"]).total_seconds() == 2.0
    assert list(folder.glob("*.seg")) == []


def test_a_calm_time_is_covered(folder: Path, store: Path) -> None:
    spool(folder, [FEEDS, heard(0)], [FEEDS, heard(1)])
    merge(folder, store)
    rows = Store(store).query("SELECT table_name, rows, covers_from, covers_to FROM ingests ORDER BY id").to_pylist()
    assert [(r["table_name"], r["rows"]) for r in rows] == [("liquidations", 0)] * 2
    assert rows[0]["covers_to"] == rows[1]["covers_from"]


def test_killed_between_commit_and_removal(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool(folder, [FEEDS, line(1), heard(0)], [FEEDS, line(2), heard(1)])
    with monkeypatch.context() as m:
        m.setattr(Path, "unlink", lambda self, missing_ok=False: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            merge(folder, store)
    assert len(closed_segments(folder)) == 2
    before = Store(store).query("SELECT * FROM ingests").num_rows
    done = merge(folder, store)
    assert (done.segments, done.rows) == (2, 2)
    assert Store(store).query("SELECT * FROM ingests").num_rows == 2 * before
    assert list(Store(store).table("liquidations")["price"]) == [40_001.0, 40_002.0]
    print_of = Store(store).fingerprint()
    merge(folder, store)
    assert Store(store).fingerprint() == print_of


def test_killed_inside_the_transaction(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data import provenance

    spool(folder, [FEEDS, line(1), line(2), heard(0)])
    Store(store)
    with monkeypatch.context() as m:
        m.setattr(provenance, "record", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            merge(folder, store)
    assert Store(store).table("liquidations").empty
    assert merge(folder, store).rows == 4


def test_the_first_that_was_known_is_kept(folder: Path, store: Path) -> None:
    """The same event through two segments, or twice within one, is one row."""
    spool(folder, [line(1, late_us=9_000), line(1, late_us=20_000)], [line(1, late_us=50_000), line(2)])
    assert merge(folder, store).rows == 2 + 4
    rows = Store(store).table("liquidations").to_dict("records")
    assert [(r["known_at"] - r["ts"]).total_seconds() for r in rows] == [0.009, 0.005]


def test_a_store_in_use_makes_it_wait(folder: Path, store: Path) -> None:
    spool(folder, [line(1)], [line(2)])
    s = Store(store)
    with s._reading():  # somebody reads, and stays
        done = merge(folder, store, wait_s=0.05)
        assert (done.segments, done.waiting) == (0, 2)
        assert "in use" in done.busy
        assert "2 wait" in str(done)
    assert merge(folder, store).segments == 2


def test_a_full_disk_makes_it_wait(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool(folder, [line(1)])

    def full(self: Store, batch: Any) -> None:
        raise StoreNotWritable("the disk is full")

    with monkeypatch.context() as m:
        m.setattr(Store, "write", full)
        assert merge(folder, store).busy == "the disk is full"
    assert merge(folder, store).segments == 1


def test_one_merger_at_a_time(folder: Path, store: Path) -> None:
    spool(folder, [line(1)])
    lock = merger.FileLock(folder / "merge.lock")
    assert lock.take()
    assert merge(folder, store).busy == "another process is merging"
    lock.release()
    assert merge(folder, store).segments == 1


def test_a_refused_segment_is_set_aside(folder: Path, store: Path) -> None:
    bad = event(3)._replace(position="sideways")
    record = rows_record("binance", START_US, "liquidations", [forced_row(bad, "sampled", bad.ts_us)])
    spool(folder, [record], [line(1)])
    done = merge(folder, store)
    assert done.segments == 1
    assert "position is sideways, not one of long, short" in done.refused[0]
    assert len(list(folder.glob("*.bad"))) == 1
    assert list(Store(store).table("liquidations")["price"]) == [40_001.0]
    assert merge(folder, store).refused == []


def test_torn_lines_are_counted(folder: Path, store: Path) -> None:
    spool(folder, [line(1), line(2)])
    (path,) = closed_segments(folder)
    path.write_bytes(path.read_bytes()[:-20])
    done = merge(folder, store)
    assert (done.damaged, done.rows) == (1, 2)
    assert "1 torn lines left out" in str(done)


def test_no_spool_is_nothing_to_do(tmp_path: Path) -> None:
    done = merge(tmp_path / "none.spool", tmp_path / "none.duckdb")
    assert (done.segments, done.waiting) == (0, 0)
    assert not (tmp_path / "none.duckdb").exists()
