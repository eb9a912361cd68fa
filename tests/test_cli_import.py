"""`unwind import`: what it prints, and bad input: one message, exit code 2, nothing partial stored."""

from __future__ import annotations

import datetime as dt
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backtest.cli import main
from data.sources.presets import PRESETS
from data.store import Store

START = dt.datetime(2024, 1, 1)  # noqa: DTZ001 - naive UTC is the store's form


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test works in its own folder, with its own store."""
    monkeypatch.chdir(tmp_path)


def bars(n: int = 48, **columns: Any) -> pl.DataFrame:
    price = pl.lit(100.0)
    frame = pl.DataFrame({"ts": [START + dt.timedelta(hours=i) for i in range(n)], "symbol": ["BTCUSDT"] * n})
    return frame.with_columns(open=price, high=price, low=price, close=price, volume=pl.lit(1.0)).with_columns(
        **columns
    )


def rates(rate: float = 0.01, n: int = 40) -> pl.DataFrame:
    ts = [START + dt.timedelta(hours=8 * i) for i in range(n)]
    return pl.DataFrame({"time": ts, "symbol": ["BTCUSDT"] * n, "funding_rate": [rate] * n})


def at_row(row: int, column: str, value: Any) -> pl.Expr:
    return pl.when(pl.int_range(pl.len()) == row - 1).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)


def unwind(line: str) -> int:
    words = shlex.split(line)
    return main(words if "--db" in words or "--help" in words else [*words, "--db", "s.duckdb"])


DAY = "--symbols BTCUSDT --since 2024-01-01 --until 2024-01-02"
BARS = "import file bars.parquet --table candles --price trade --venue binance"
RATES = "import file rates.csv --table funding --map time=time,rate=funding_rate --unit percent --venue binance"


# ---- what it prints ----------------------------------------------------------------------------


def test_a_summary_says_what_was_read_and_what_is_stored(capsys: pytest.CaptureFixture[str]) -> None:
    rates().write_csv("rates.csv")
    assert unwind(RATES) == 0
    out = capsys.readouterr().out
    assert "1 file: 40 rows read, 40 new" in out
    assert "funding of binance now: 40 rows, 2024-01-01 00:00 to 2024-01-14 00:00" in out
    assert Store("s.duckdb").table("funding")["rate"].tolist() == pytest.approx([0.0001] * 40)
    assert unwind(RATES) == 0
    assert "1 file stored before" in capsys.readouterr().out


def test_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    bars().write_parquet("bars.parquet")
    assert unwind(f"{BARS} --json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["files"], said["new"], said["per_table"]) == (1, 48, {"candles": 48})
    assert said["stored"] == [
        {
            "table": "candles",
            "venue": "binance",
            "rows": 48,
            "first": "2024-01-01T00:00:00",
            "last": "2024-01-02T23:00:00",
        }
    ]


def test_pairs_once_or_several_times() -> None:
    rates().write_csv("rates.csv")
    line = "import file rates.csv --table funding --map ts=time --map rate=funding_rate --unit bps --venue binance"
    assert unwind(line) == 0
    assert Store("s.duckdb").table("funding")["rate"].tolist() == pytest.approx([1e-6] * 40)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import file rates.csv", "pass --table"),
        ("import file rates.csv --table funding --map rate", "--map 'rate': write pairs"),
        ("import file rates.csv --table funding --map rate=a,rate=b", "rate is given as a and as b"),
        ("import file rates.csv --preset freqtrade --map rate=a", "leave --table, --map"),
        ("import file rates.csv --preset freqtrad", "did you mean freqtrade"),
        ("import file rates.csv --table funding --venue binance --lag soon", "'soon' is no duration"),
        ("import file nowhere.csv --table funding --venue binance", "there is no file nowhere.csv"),
        ("import tiers rates.csv", "--venue"),
        ("import tiers nowhere.json --venue binance", "there is no file nowhere.json"),
        ("import lake nowhere", "there is no folder nowhere"),
        ("import archive nowhere", "nowhere"),
        ("import archive http://127.0.0.1:1", "--symbols and --since"),
        ("import archive rates.csv --kind klines,metrics", "one kind"),
        ("import archive rates.csv --kind kline", "--kind 'kline': did you mean klines?"),
        ("import archive empty --market coin-m", "--market 'coin-m': did you mean cm?"),
        (f"import archive http://127.0.0.1:1 {DAY} --market usdm", "--market 'usdm': did you mean um?"),
        (f"import archive http://127.0.0.1:1 {DAY} --workers 0", "--workers 0: at least 1"),
        (f"import archive http://[bad {DAY}", "'http://[bad' is no address"),
        ("import file empty --table candles --venue binance", "no CSV, Parquet or Feather file under empty"),
        ("import file empty --preset freqtrade", "no CSV, Parquet or Feather file under empty"),
        ("import tiers empty --venue binance", "no .json or .json.gz file under empty"),
    ],
)
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], line: str, words: str) -> None:
    rates().write_csv("rates.csv")
    Path("empty").mkdir()
    assert unwind(line) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(("verb", "examples"), [("archive", 2), ("file", 2), ("tiers", 2), ("lake", 1)])
def test_the_examples_of_the_help_stand_apart_and_fit(
    capsys: pytest.CaptureFixture[str], verb: str, examples: int
) -> None:
    assert unwind(f"import {verb} --help") == 0
    lines = capsys.readouterr().out.splitlines()
    text = lines[: next(i for i, line in enumerate(lines) if line.startswith("╭"))]
    assert sum(line.startswith(f"    unwind import {verb} ") for line in text) == examples
    assert not any(line.startswith("unwind") for line in text)
    assert max(len(line) for line in text) < 80


def test_the_help_names_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert unwind("import file --help") == 0
    printed = "".join(capsys.readouterr().out.split())
    for name in PRESETS:
        assert name in printed


def test_good_files_go_in_and_bad_ones_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in").mkdir()
    bars().write_parquet("in/good.parquet")
    bars(symbol=pl.lit("ETHUSDT")).with_columns(at_row(5, "volume", -1.0)).write_parquet("in/bad.parquet")
    assert unwind("import file in --table candles --price trade --venue binance") == 2
    out = capsys.readouterr().out
    assert "1 file: 48 rows read, 48 new" in out
    assert "bad.parquet: row 5: volume is -1.0, below 0" in out
    assert set(Store("s.duckdb").table("candles")["symbol"]) == {"BTC/USDT:USDT"}


def test_tiers_and_lake(capsys: pytest.CaptureFixture[str]) -> None:
    bracket = {"bracket": 1, "notionalFloor": 0, "notionalCap": 5, "maintMarginRatio": 0.01, "cum": 0}
    Path("tiers_2024-01-01.json").write_text(json.dumps({"symbol": "BTCUSDT", "brackets": [bracket]}))
    assert unwind("import tiers tiers_2024-01-01.json --venue binance") == 0
    assert "tiers of binance now: 1 rows" in capsys.readouterr().out
    before = Store("s.duckdb")
    before.export("lake")
    assert unwind("import lake lake --db copy.duckdb") == 0
    assert Store("copy.duckdb").fingerprint() == before.fingerprint()


def test_an_archive_file(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("data/futures/um/daily/klines/BTCUSDT/1h")
    folder.mkdir(parents=True)
    opens = [1_704_067_200_000 + i * 3_600_000 for i in range(24)]
    lines = [f"{t},100,102,99,101,5,{t + 3_599_999},500,9,2,200,0" for t in opens]
    (folder / "BTCUSDT-1h-2024-01-01.csv").write_text("\n".join(lines) + "\n")
    assert unwind("import archive data") == 0
    assert "1 file: 24 rows read, 24 new" in capsys.readouterr().out


def test_a_file_of_the_archive_is_what_its_folders_say(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("data/spot/daily/klines/BTCUSDT/1h")
    folder.mkdir(parents=True)
    line = "1704067200000,100,102,99,101,5,1704070799999,500,9,2,200,0\n"
    (folder / "BTCUSDT-1h-2024-01-01.csv").write_text(line)
    assert unwind("import archive data --market um") == 2
    assert "its folders say spot, --market says um" in capsys.readouterr().err
    assert unwind("import archive data --market SPOT") == 0
    assert set(Store("s.duckdb").table("candles")["symbol"]) == {"BTC/USDT"}


# ---- bad input, through the real command -------------------------------------------------------


def put(name: str, frame: pl.DataFrame) -> None:
    if name.endswith("csv"):
        frame.write_csv(name)
    else:
        frame.write_parquet(name)


BAD = {
    "a wrong column": (
        "bars.parquet",
        bars().rename({"close": "last"}),
        BARS,
        ["bars.parquet", "no column close", "The file has: ts, symbol, open"],
    ),
    "a mapped column that is not there": (
        "rates.csv",
        rates(),
        RATES.replace("=funding_rate", "=fundingrate"),
        ["rates.csv", "no column fundingrate (did you mean funding_rate?)"],
    ),
    "percent as fraction": (
        "rates.csv",
        rates().with_columns(at_row(9, "funding_rate", 1.2)),
        RATES.replace(" --unit percent", ""),
        ["rates.csv, row 9", "funding_rate is 1.2", "--unit percent"],
    ),
    "percent as fraction, insisted": (
        "rates.csv",
        rates(0.0001).with_columns(at_row(9, "funding_rate", 1.2)),
        RATES.replace("percent", "fraction"),
        ["rates.csv, row 9", "rate is 1.2, above 0.2"],
    ),
    "a symbol that the file contradicts": (
        "bars.parquet",
        bars(symbol=pl.lit("ETHUSDT")),
        f"{BARS} --symbol BTCUSDT",
        ["bars.parquet", "column symbol says ETHUSDT", "--symbol says BTCUSDT", "leave --symbol out"],
    ),
    "dates as numbers": (
        "bars.parquet",
        bars().with_columns(pl.col("ts").dt.strftime("%Y%m%d").cast(pl.Int64)),
        BARS,
        ["bars.parquet, row 1", "ts 20240101 is a date"],
    ),
    "a few percent as fraction": (
        "rates.csv",
        rates(n=12),
        RATES.replace(" --unit percent", ""),
        ["rates.csv", "12 settlements are too few to tell", "--unit percent"],
    ),
    "minutes as hours": (
        "rates.csv",
        rates(0.0001).with_columns(interval_hours=pl.lit(480)),
        RATES,
        ["rates.csv, row 1", "interval_hours is 480"],
    ),
    "a timezone": (
        "bars.parquet",
        bars().with_columns(pl.col("ts").dt.replace_time_zone("America/New_York")),
        BARS,
        ["bars.parquet", "column ts is in America/New_York time", "convert it to UTC"],
    ),
    "a timezone in text": (
        "rates.csv",
        rates().with_columns(pl.col("time").dt.strftime("%Y-%m-%d %H:%M:%S+09:00")),
        RATES,
        ["rates.csv, row 1", "is not in UTC", "convert"],
    ),
    "a negative volume": (
        "bars.parquet",
        bars().with_columns(at_row(17, "volume", -3.0)),
        BARS,
        ["bars.parquet, row 17", "volume is -3.0, below 0"],
    ),
    "NaN in a key": (
        "bars.parquet",
        bars().with_columns(pl.col("ts").dt.epoch("ms").cast(pl.Float64)).with_columns(at_row(4, "ts", float("nan"))),
        BARS,
        ["bars.parquet, row 4", "ts is empty"],
    ),
    "nothing in a key": (
        "bars.parquet",
        bars().with_columns(at_row(4, "symbol", None)),
        BARS,
        ["bars.parquet, row 4", "symbol is empty"],
    ),
    "NaN in a price": (
        "bars.parquet",
        bars().with_columns(at_row(6, "close", float("nan"))),
        BARS,
        ["bars.parquet, row 6", "close is empty"],
    ),
    "a shorter interval": (
        "bars.parquet",
        bars(),
        f"{BARS} --interval 5m",
        ["bars.parquet", "rows come every 1h, not every 5m", "--interval 1h"],
    ),
    "a longer interval": (
        "bars.parquet",
        bars(),
        f"{BARS} --interval 4h",
        ["bars.parquet", "rows come every 1h, not every 4h", "--interval 1h"],
    ),
    "bars off their grid": (
        "bars.parquet",
        bars().with_columns(pl.col("ts") + dt.timedelta(minutes=7)),
        BARS,
        ["bars.parquet, row 1", "2024-01-01 00:07:00 is not the open of a 3600 s bar"],
    ),
    "a wrong unit of time": (
        "bars.parquet",
        bars().with_columns(pl.col("ts").dt.epoch("s")),
        f"{BARS} --time-unit ms --interval 1h",
        ["bars.parquet"],
    ),
    "one key, two values": (
        "bars.parquet",
        pl.concat([bars(), bars(1, close=pl.lit(99.5))]),
        BARS,
        ["bars.parquet, row 49", "same key as row 1"],
    ),
    "a file that is not what its name says": (
        "bars.parquet",
        None,
        BARS,
        ["bars.parquet", "is named .parquet but is no parquet file"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_nothing_is_stored(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, frame, line, words = BAD[case]
    bars(symbol=pl.lit("ETHUSDT")).write_parquet("before.parquet")
    assert unwind(BARS.replace("bars.parquet", "before.parquet")) == 0
    capsys.readouterr()
    before = Store("s.duckdb").fingerprint()
    if frame is None:
        Path(name).write_text("symbol,ts,close\nBTCUSDT,2024-01-01,1\n")
    else:
        put(name, frame)
    assert unwind(line) == 2
    out, err = capsys.readouterr()
    for word in words:
        assert word in err
    assert err.startswith("unwind: ")
    assert (out, err.count("\n")) == ("", 1)
    store = Store("s.duckdb")
    assert store.fingerprint() == before
    assert store.query("SELECT count(*) AS n FROM ingests").to_pylist() == [{"n": 1}]


# ---- places that cannot be written -------------------------------------------------------------

LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.argv = ["unwind", *sys.argv[2:]]
"""
RUN = "import sys; from backtest.cli import main; sys.exit(main(sys.argv[1:]))"


def run(code: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env={**os.environ, **env}, timeout=120
    )


def large(n: int = 300_000) -> None:
    """More than fits into the places of these tests, however well it packs."""
    ts = pl.datetime_range(START, START + dt.timedelta(minutes=n - 1), "1m", eager=True)
    noise = (pl.int_range(n, eager=True).hash(seed=7) / 2**64).cast(pl.Float64) + 1.0
    columns = {c: noise * (i + 1) for i, c in enumerate(("open", "high", "low", "close", "volume"))}
    pl.DataFrame({"ts": ts, **columns}).write_parquet("large.parquet")


LARGE = [
    "import",
    "file",
    "large.parquet",
    "--table",
    "candles",
    "--price",
    "trade",
    "--venue",
    "binance",
    "--symbol",
    "X",
]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True)
    except OSError:
        pytest.skip("no mount command here")
    if done.returncode:
        pytest.skip("may not mount a disk here (needs root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def test_a_full_disk(mount: Path) -> None:
    large()
    bars().write_parquet("bars.parquet")
    db = str(mount / "s.duckdb")
    assert run(RUN, *shlex.split(BARS), "--db", db).returncode == 0
    before = Store(db).fingerprint()
    _refused(run(RUN, *LARGE, "--db", db), "s.duckdb: the disk is full", "Free space")
    assert Store(db).fingerprint() == before


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes on Windows")
def test_a_file_that_may_not_grow() -> None:
    large()
    bars().write_parquet("bars.parquet")
    assert unwind(BARS) == 0
    before = Store("s.duckdb").fingerprint()
    _refused(run(LIMITED + RUN, "4000000", *LARGE, "--db", "s.duckdb"), "s.duckdb: the disk is full")
    assert Store("s.duckdb").fingerprint() == before


def test_a_disk_that_is_read_only(mount: Path) -> None:
    bars().write_parquet("bars.parquet")
    db = str(mount / "s.duckdb")
    assert run(RUN, *shlex.split(BARS), "--db", db).returncode == 0
    before = Store(db).fingerprint()
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    rates().write_csv("rates.csv")
    _refused(run(RUN, *shlex.split(RATES), "--db", db), "read-only file system", "--db or UNWIND_DB")
    _refused(run(RUN, *shlex.split(RATES), "--db", str(mount / "new.duckdb")), "is not writable")
    assert Store(db, read_only=True).fingerprint() == before
    assert [p.name for p in mount.iterdir()] == ["s.duckdb"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write into any folder")
def test_a_folder_that_is_read_only() -> None:
    rates().write_csv("rates.csv")
    folder = Path("locked")
    folder.mkdir()
    folder.chmod(0o555)
    try:
        _refused(
            run(RUN, *shlex.split(RATES), "--db", "locked/s.duckdb"), "locked is not writable", "--db or UNWIND_DB"
        )
        assert list(folder.iterdir()) == []
    finally:
        folder.chmod(0o755)


def test_files_of_one_folder_that_differ_do_not_take_turns(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("both")
    folder.mkdir()
    bars(volume=pl.lit(5.0)).write_csv(folder / "2024-01-old.csv")
    bars(volume=pl.lit(6.0)).write_csv(folder / "2024-02-fixed.csv")
    for times in range(3):
        assert unwind("import file both --table candles --price trade --venue binance") == 0
        assert set(Store("s.duckdb").table("candles")["volume"]) == {6.0}
        out = capsys.readouterr().out
        assert ("2 files stored before" in out) == (times > 0)
