"""`unwind record` as it is typed, and docs/recording.md as it is read."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from venue_streams.live import Live, quick_plan, some
from venue_streams.server import Venues

from backtest.cli import main
from data.recording.recorder import merge_now
from data.recording.spool import Spool, spool_of
from data.sources.stream_facts import STREAMS
from data.store import Store

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "recording.md").read_text(encoding="utf-8")


@pytest.fixture
def venues() -> Iterator[Venues]:
    with Venues() as v:
        yield v


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "c.duckdb"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("", "say what to record: --venue"),
        ("--venue bybt", "no venue 'bybt' to record from; did you mean bybit?"),
        ("--venue bybit --what liquidation", "--what 'liquidation' is nothing to record; did you mean liquidations?"),
        ("--venue hyperliquid", "Hyperliquid has no public stream of liquidations"),
        ("--venue bybit --for soon", "'soon' is no duration"),
        ("--venue bybit --every 0s", "'0s' is no duration"),
    ],
)
def test_mistakes_are_told_in_a_line(words: str, complaint: str, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["record", "--db", str(db), *shlex.split(words)]) == 2
    out, err = capsys.readouterr()
    assert complaint in err
    assert err.count("\n") == 1
    assert out == ""
    assert not db.exists()


@pytest.mark.slow
def test_a_while_with_every_kind(venues: Venues, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = (
        f"record --db {db} --gateway {venues.url} --venue bybit,hyperliquid --what liquidations,mark,open-interest"
    )
    words = [*command.split(), "--for", "3s", "--every", "1s", "--status-every", "1s", "--merge-every", "1s", "--json"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "note: bybit: every liquidation, pushed twice a second" in err
    assert "note: hyperliquid: Hyperliquid has no public stream" in err
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) >= 2
    last = lines[-1]
    assert last["venues"]["bybit"]["snapshots"] >= 1
    assert (last["segments_waiting"], last["refused"], last["gaps"]) == (0, [], 0)
    assert set(Store(db).table("marks")["symbol"]) >= {"BTC/USDT:USDT"}
    assert main(["check", "data", "--db", str(db)]) == 0
    assert main(["status", "--db", str(db)]) == 0
    assert "marks" in capsys.readouterr().out


def test_a_line_of_news_for_people(venues: Venues, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"record --db {db} --gateway {venues.url} --venue okx --for 1s --status-every 1s"
    assert main(words.split()) == 0
    out = capsys.readouterr().out
    assert "recording into" in out
    assert "note: okx: at most one push per contract and second" in out
    assert re.search(r"^\d\d:\d\d:\d\d  okx 0/min \| 0 rows in the store$", out, re.MULTILINE)


def test_merge_takes_what_was_left(venues: Venues, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = Spool(spool_of(db))
    left.append({"venue": "okx", "at": 1_780_000_000_000_000, "rows": {}, "raw": ["damaged", "x"]})
    left.flush()
    assert left._file is not None
    left._file.close()
    left._lock.release()  # it died
    assert main(["record", "--merge", "--db", str(db)]) == 0
    assert capsys.readouterr().out == "1 segment merged, 1 new rows\n"
    assert Store(db).query("SELECT payload FROM raw").to_pylist() == [{"payload": "x"}]
    assert main(["record", "--merge", "--db", str(db), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["segments"] == 0


def test_merge_leaves_a_running_recorder_its_segment(db: Path) -> None:
    running = Spool(spool_of(db))
    running.append({"venue": "okx", "at": 1_780_000_000_000_000, "rows": {}, "raw": ["damaged", "x"]})
    running.flush()
    assert merge_now(db).segments == 0
    running.close()
    assert merge_now(db).segments == 1


def test_help_answers_at_once_and_loads_no_ccxt() -> None:
    code = "import sys; from backtest.cli import main; main(['record', '--help']); assert 'ccxt' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--merge-every" in done.stdout


# ---- the page --------------------------------------------------------------------------------------------------------


def test_every_option_and_venue_is_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    main(["record", "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) <= options
    for name, facts in STREAMS.items():
        assert f"`{name}`" in PAGE
        if facts.liquidations is not None:
            row = next(line for line in PAGE.splitlines() if line.startswith("|") and f"`{name}`" in line)
            assert facts.liquidations.feed.value in row


def test_the_commands_of_the_page_run(venues: Venues, db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert [c[:2] for c in commands] == [["unwind", "record"]] * 2
    first, second = commands
    assert main([*first[1:], "--db", str(db), "--gateway", venues.url, "--for", "2s", "--every", "1s"]) == 0
    assert main([*second[1:], "--db", str(db)]) == 0
    assert Store(db).table("open_interest").shape[0] > 0


def test_the_query_of_the_page_finds_each_message(venues: Venues, db: Path) -> None:
    query = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
    with Live(quick_plan(db, venues, ("binance", "bybit"))) as live:
        live.wait_up("binance", "bybit")
        for name in ("binance", "bybit"):
            venues.push(some(name, 5))
        live.wait(10)
    rows = Store(db).query(query).to_pylist()
    assert len(rows) == 10
    assert all(str(pd.Timestamp(r["ts"]).value // 1_000_000) in r["payload"] for r in rows)


def test_without_ccxt_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ccxt", None)
    assert main(["record", "--venue", "binance", "--db", str(tmp_path / "mine.duckdb")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "unwind: recording needs ccxt: pip install 'unwind[exchanges]'\n"
    assert not list(tmp_path.iterdir())
