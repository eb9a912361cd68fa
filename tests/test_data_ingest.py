"""From a source into the store: skipping, packing, bad files, progress, and being killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import archive_server as A
import pyarrow as pa
import pytest

from data import clock
from data.clock import DAY, moment
from data.errors import BadInput, BadRow, Corrupt, NotFound, StoreLocked, Unreachable, UnwindError
from data.ingest import NoProgress, Report, TqdmProgress, ingest
from data.rows import Batch, Col, Const, Origin, Rows, Scan, Time, Written
from data.sources import Item, Note, Piece, Why
from data.sources.binance_archive import ArchiveTree
from data.store import Store

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "unwind.duckdb")


def batch(name: str, ratio: float = 1.0, rows: int = 3) -> Batch:
    """One file: `rows` snapshots of its own day."""
    import pyarrow as pa

    first = clock.moment("2024-01-01") // clock.US + int(name) * clock.DAY // clock.US
    frame = pa.table(
        {
            "ts": pa.array([first + i * 300_000_000 for i in range(rows)], pa.timestamp("us")),
            "ratio": [float(ratio)] * rows,
        }
    )
    constants = {"venue": "binance", "symbol": "BTC/USDT:USDT", "kind": "accounts", "interval_s": 300}
    return Batch((Rows("ratios", frame, constants),), (origin(name),))


def origin(name: str) -> Origin:
    return Origin("test", name, sha256=f"sha-{name}", recipe="r1", venue="binance")


class Counted:
    """A source of pieces that counts what was read, and fails where told."""

    def __init__(
        self, count: int, bad: dict[int, Exception] | None = None, ratios: dict[int, float] | None = None
    ) -> None:
        self.count, self.bad, self.ratios = count, bad or {}, ratios or {}
        self.read: list[int] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Item]:
        return (Piece(origin(str(i)), ("ratios",), lambda i=i: self._read(i)) for i in range(self.count))  # type: ignore[misc]

    def _read(self, i: int) -> Batch:
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        time.sleep(0.001)
        with self._lock:
            self._now -= 1
            self.read.append(i)
        if i in self.bad:
            raise self.bad[i]
        return batch(str(i), self.ratios.get(i, 1.0))


class Spy:
    """A real store, with the size of every transaction noted."""

    def __init__(self, store: Store, stop_after: int | None = None) -> None:
        self.store, self.stop_after = store, stop_after
        self.packs: list[list[str]] = []

    def write(self, batch: Any) -> Written:
        if self.stop_after is not None and len(self.packs) >= self.stop_after:
            raise KeyboardInterrupt
        written = self.store.write(batch)
        self.packs.append([b.origins[0].name for b in batch])
        return written

    def stored(self, origins: Iterable[Origin], tables: Iterable[str], run: str = "") -> set[tuple[str, str]]:
        return self.store.stored(origins, tables, run)


def days(store: Store) -> list[int]:
    found = store.query(
        "SELECT DISTINCT date_diff('day', DATE '2024-01-01', ts) AS d FROM ratios ORDER BY 1"
    ).to_pylist()
    return [r["d"] for r in found]


def test_whole_files_are_packed_in_the_source_s_order(store: Store) -> None:
    spy = Spy(store)
    report = ingest(Counted(7), spy, transaction_rows=8, workers=4)
    assert spy.packs == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert (report.files, report.written.rows, report.written.inserted, report.exit_code) == (7, 21, 21, 0)
    assert days(store) == list(range(7))


def test_what_is_stored_is_not_read_again(store: Store) -> None:
    ingest(Counted(3), store)
    more = Counted(5)
    report = ingest(more, store)
    assert sorted(more.read) == [3, 4]
    assert (report.files, report.skipped) == (2, 3)
    assert "3 files stored before" in str(report)


def test_only_as_many_workers_as_asked_read_at_once(store: Store) -> None:
    source = Counted(30)
    ingest(source, store, workers=3)
    assert 1 < source.most_at_once <= 3


def test_an_interrupted_run_is_completed_by_the_next(store: Store, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        ingest(Counted(9), Spy(store, stop_after=2), transaction_rows=6)
    assert days(store) == [0, 1, 2, 3]
    again = Counted(9)
    ingest(again, store, transaction_rows=6)
    assert sorted(again.read) == [4, 5, 6, 7, 8]
    other = Store(tmp_path / "other.duckdb")
    ingest(Counted(9), other)
    assert store.fingerprint() == other.fingerprint()


# ---- bad files -------------------------------------------------------------------------------------------------------


def test_stop_raises_at_the_first_bad_file_after_storing_what_came_before(store: Store) -> None:
    with pytest.raises(Corrupt, match="2: cut short"):
        ingest(Counted(5, {2: Corrupt("cut short")}), store)
    assert days(store) == [0, 1]


def test_list_stores_the_good_ones_and_names_the_bad_ones(store: Store) -> None:
    bad: dict[int, Exception] = {1: Corrupt("cut short"), 3: BadRow("3", 7, "open is empty")}
    report = ingest(Counted(5, bad), store, on_bad="list")
    assert [(p.name, p.reason) for p in report.problems] == [("1", "cut short"), ("3", "row 7: open is empty")]
    assert (days(store), report.files, report.exit_code) == ([0, 2, 4], 3, 2)
    assert "2 files refused, nothing of them stored:\n  1: cut short\n  3: row 7: open is empty" in str(report)


def test_a_file_that_the_store_refuses_does_not_take_its_pack_with_it(store: Store) -> None:
    report = ingest(Counted(9, ratios={4: -1.0, 7: float("inf")}), store, on_bad="list")
    assert [p.name for p in report.problems] == ["4", "7"]
    assert "ratio is -1" in report.problems[0].reason
    assert (days(store), report.files) == ([0, 1, 2, 3, 5, 6, 8], 7)


def test_a_file_that_the_store_refuses_is_named_when_it_stops(store: Store) -> None:
    with pytest.raises(BadRow, match=r"^4: .*ratio is -1"):
        ingest(Counted(9, ratios={4: -1.0}), store)
    assert days(store) == [0, 1, 2, 3]


def test_two_files_that_disagree_are_stored_one_after_the_other(store: Store) -> None:
    report = ingest([batch("0", 1.0), Batch(batch("0", 2.0).rows, (origin("1"),))], store)
    assert (report.files, report.written.changed) == (2, 3)
    assert store.query("SELECT DISTINCT ratio FROM ratios").to_pylist() == [{"ratio": 2.0}]


def test_a_single_bad_file_raises_either_way(store: Store) -> None:
    with pytest.raises(Corrupt, match="0: cut short"):
        ingest(Counted(1, {0: Corrupt("cut short")}), store, on_bad="list")


def test_an_unreachable_server_stops_and_what_came_before_is_stored(store: Store) -> None:
    with pytest.raises(Unreachable, match="nobody there; what came before is stored") as caught:
        ingest(Counted(6, {3: Unreachable("nobody there")}), store, on_bad="list", transaction_rows=3)
    assert isinstance(caught.value, UnwindError)
    assert days(store) == [0, 1, 2]


def test_a_store_that_is_locked_stops(store: Store) -> None:
    class Locked(Spy):
        def write(self, batch: Any) -> Written:
            raise StoreLocked("another process is writing")

    with pytest.raises(StoreLocked):
        ingest(Counted(3), Locked(store), on_bad="list")


def test_a_mistake_in_a_source_is_not_hidden(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        ingest(Counted(3, {1: ZeroDivisionError()}), store, on_bad="list")


def test_on_bad_is_checked(store: Store) -> None:
    with pytest.raises(BadInput, match="write stop or list"):
        ingest([], store, on_bad="skip")  # type: ignore[arg-type]


# ---- other items, progress, the report -------------------------------------------------------------------------------


def test_a_scan_is_a_transaction_of_its_own(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    path.write_text("when,r\n2024-06-01 00:00:00,1.5\n")
    columns = {"ts": Time("when"), "ratio": Col("r"), "venue": Const("binance"), "symbol": Const("BTC/USDT:USDT")}
    columns |= {"kind": Const("accounts"), "interval_s": Const(300)}
    scan = Batch((Rows("ratios", Scan(path, "csv", columns)),), (origin("big"),))
    spy = Spy(store)
    report = ingest([batch("0"), scan, batch("1")], spy)
    assert spy.packs == [["0"], ["big"], ["1"]]
    assert report.written.rows == 7
    assert ingest([batch("0"), scan, batch("1")], store).skipped == 3


def test_notes_are_counted_and_nothing_found_at_all_is_an_error(store: Store) -> None:
    missing, other = Note("2024-01-01.zip", Why.MISSING), Note("a.txt", Why.IGNORED, "fills no table")
    report = ingest([missing, other, batch("0")], store)
    assert (report.missing, report.ignored, report.exit_code) == (["2024-01-01.zip"], ["a.txt (fills no table)"], 0)
    assert "1 file not at the source:\n  2024-01-01.zip" in str(report)
    with pytest.raises(NotFound, match="none of the 1 file asked for is at the source"):
        ingest([missing], store)


def test_progress_is_told_of_every_file_and_row(store: Store) -> None:
    class Adds(NoProgress):
        files = rows = 0

        def advance(self, files: int, rows: int) -> None:
            self.files, self.rows = self.files + files, self.rows + rows

    ingest(Counted(2), store)
    told = Adds()
    source = Counted(6, {3: Corrupt("x")}, {5: -1.0})
    ingest(source, store, on_bad="list", progress=told)
    assert (told.files, told.rows) == (len(source), 6)


def test_the_bar_shows_files_and_rows(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    source = Counted(4)
    with TqdmProgress.of(source) as bar:
        ingest(source, store, progress=bar)
    drawn = capsys.readouterr().err
    assert "4/4" in drawn
    assert "12 rows" in drawn


def test_a_report_is_data_too() -> None:
    report = Report(files=1, written=Written(rows=3, inserted=2, unchanged=1, per_table={"ratios": 3}), seconds=0.12345)
    assert report.as_dict() == {
        "files": 1, "skipped": 0, "rows": 3, "new": 2, "changed": 0, "unchanged": 1, "doubled": 0,
        "per_table": {"ratios": 3},
        "problems": [], "missing": [], "ignored": [], "seconds": 0.123,
    }  # fmt: skip


def test_long_lists_are_cut_in_print_but_not_in_data() -> None:
    report = Report(missing=[f"{i}.zip" for i in range(25)])
    assert "and 15 more" in str(report)
    assert len(report.as_dict()["missing"]) == 25


def test_importing_loads_no_frame_library() -> None:
    heavy = ("pandas", "polars", "pyarrow", "duckdb", "tqdm")
    probe = f"import sys, data.ingest, data.sources.binance_archive; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- killed ----------------------------------------------------------------------------------------------------------

_IMPORT = """
import sys
from data.ingest import ingest
from data.sources.binance_archive import ArchiveTree
from data.store import Store

class Prints:
    def advance(self, files, rows):
        print(files, flush=True)

ingest(ArchiveTree(sys.argv[1]), Store(sys.argv[2]), transaction_rows=240, progress=Prints())
"""


@pytest.mark.kill
@pytest.mark.parametrize(("packs", "delay_s"), [(0, 0.2), (1, 0.0), (3, 0.01), (6, 0.02), (9, 0.03), (12, 0.005)])
def test_killed_at_any_instant_only_whole_files_are_seen_and_a_second_run_completes_them(
    tmp_path: Path, packs: int, delay_s: float
) -> None:
    tree = tmp_path / "tree"
    for i in range(40):
        day = f"2024-{1 + i // 20:02d}-{1 + i % 20:02d}"
        A.put(tree, A.kline_path("BTCUSDT", day), A.klines(day, range(100, 220)))
    whole = Store(tmp_path / "whole.duckdb")
    ingest(ArchiveTree(tree), whole)
    path = tmp_path / "killed.duckdb"
    command = [sys.executable, "-c", _IMPORT, str(tree), str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(packs):
            child.stdout.readline()
        time.sleep(delay_s)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    killed = Store(path)
    counts = killed.query("SELECT count(*) AS n FROM candles GROUP BY date_trunc('day', ts)").to_pylist()
    assert {c["n"] for c in counts} <= {120}
    assert 2 * packs <= len(counts) < 40
    report = ingest(ArchiveTree(tree), killed)
    assert (report.skipped, report.files) == (len(counts), 40 - len(counts))
    assert killed.fingerprint() == whole.fingerprint()


# ---- files that contradict each other ------------------------------------------------------------------------------


class Contradicting:
    """A monthly file and daily ones after it that know better, as an archive yields them."""

    key = "archive"

    def __init__(self, *names: str) -> None:
        self.names = names

    def __iter__(self) -> Iterator[Batch]:
        for name in self.names:
            days, value = ([1, 2, 3], 1.5) if name == "month" else ([int(name)], 1.7)
            ts = [datetime(2024, 1, d) for d in days]  # noqa: DTZ001
            frame = pa.table({"ts": pa.array(ts, pa.timestamp("us")), "ratio": [value] * len(ts)})
            rows = Rows("ratios", frame, {"venue": "v", "symbol": "X", "kind": "accounts", "interval_s": 86_400})
            covers = (moment(ts[0]), moment(ts[-1]) + DAY)
            yield Batch((rows,), (Origin("test", name, f"sha-{name}", "r", covers=covers, symbols=("X",)),))


def ratios(store: Store) -> list[float]:
    return store.table("ratios").sort_values("ts")["ratio"].tolist()


def test_the_later_file_wins_however_often_it_is_run(store: Store) -> None:
    source = Contradicting("month", "1", "2")
    for _ in range(3):
        ingest(source, store, transaction_rows=1)
        assert ratios(store) == [1.7, 1.7, 1.5]
    assert ingest(source, store).files == 0, "nothing is read again"


def test_files_that_contradict_each_other_in_one_transaction(store: Store) -> None:
    ingest(Contradicting("month", "1", "2"), store)
    assert ratios(store) == [1.7, 1.7, 1.5]


@pytest.mark.parametrize("first", [("month",), ("month", "1"), ("1",), ("2", "1"), ("1", "2")])
def test_a_run_in_pieces_ends_where_a_whole_one_does(store: Store, first: tuple[str, ...]) -> None:
    ingest(Contradicting(*first), store, transaction_rows=1)
    ingest(Contradicting("month", "1", "2"), store, transaction_rows=1)
    assert ratios(store) == [1.7, 1.7, 1.5]


def test_what_another_import_changed_is_read_again_and_what_follows_too(store: Store) -> None:
    ingest(Contradicting("month", "1", "2"), store, transaction_rows=1)
    other = Contradicting("3")
    other.key = "another"
    ingest(other, store)
    assert ratios(store) == [1.7, 1.7, 1.7]
    ingest(Contradicting("month", "1", "2"), store, transaction_rows=1)
    assert ratios(store) == [1.7, 1.7, 1.5], "a later ingest wins"


def test_a_change_elsewhere_makes_nothing_be_read_again(store: Store) -> None:
    ingest(Contradicting("1", "2"), store, transaction_rows=1)
    frame = pa.table({"ts": pa.array([datetime(2024, 1, 1)], pa.timestamp("us"))})  # noqa: DTZ001
    for value in (1.0, 2.0):
        rows = Rows(
            "ratios", frame, {"venue": "v", "symbol": "Y", "kind": "accounts", "interval_s": 60, "ratio": value}
        )
        store.write(Batch((rows,), (Origin("other", "y", symbols=("Y",)),)))
    assert ingest(Contradicting("1", "2"), store).skipped == 2
