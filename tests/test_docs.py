"""What the README tells people to type is typed here, in its order, in one folder.

`unwind` lines and python blocks run for real; the archive's address is answered by a small archive on loopback; `make`
lines must be targets of the Makefile.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import archive_server
import pandas as pd
import pytest

from backtest.cli import GROUPS, VERBS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHIVE = "https://data.binance.vision"


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int


BLOCKS = [
    Block(m[1], m[2], README[: m.start()].count("\n") + 1)
    for m in re.finditer(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
]
COMMANDS = [
    words
    for block in BLOCKS
    if block.language == "sh"
    for line in block.text.splitlines()
    if (words := shlex.split(line, comments=True))
]


def test_every_block_is_of_a_kind_that_is_run() -> None:
    assert {b.language for b in BLOCKS} == {"sh", "python"}
    assert {c[0] for c in COMMANDS} == {"make", "unwind"}


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {c[1] for c in COMMANDS if c[0] == "make"} | set(re.findall(r"`make (\S+?)`", README))
    assert {"demo", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_two_commands_come_first() -> None:
    assert [c[:2] for c in COMMANDS[:2]] == [["make", "demo"], ["make", "test"]]


def test_verbs_that_are_named_exist() -> None:
    verbs = {name for name, *_ in VERBS} | set(GROUPS)
    assert set(re.findall(r"`unwind ([a-z]+)", README + (ROOT / "CHANGELOG.md").read_text())) <= verbs


def test_licences_are_named() -> None:
    assert "MIT" in README
    assert "Commons Clause" in README
    assert "MIT License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_changelog_has_this_version() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"', pyproject, re.MULTILINE)
    assert version is not None
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


A = archive_server


def _files(folder: Path) -> None:
    """The files that the README's commands name."""
    path = [100.0 + (i % 60) / 10 for i in range(1440)]
    A.put(folder, A.kline_path("ETHUSDT", "2024-03-01"), A.klines("2024-03-01", path))
    times = ["2024-03-01T00:00:00", "2024-03-01T08:00:00", "2024-03-01T16:00:00"]
    pd.DataFrame({"time": times, "funding_rate": [0.01, 0.012, -0.004]}).to_csv(folder / "rates.csv", index=False)
    trades = folder / "user_data/data/binance/futures"
    trades.mkdir(parents=True)
    date = pd.date_range("2024-03-01", periods=24, freq="1h", tz="UTC").as_unit("ms")
    candles = pd.DataFrame({"date": date, "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 10.0})
    candles.to_feather(trades / "SOL_USDT_USDT-1h-futures.feather")
    names = ("bracket", "initialLeverage", "notionalFloor", "notionalCap", "maintMarginRatio", "cum")
    lines = [(1, 125, 0, 50_000, 0.004, 0.0), (2, 100, 50_000, 250_000, 0.005, 50.0)]
    brackets = [dict(zip(names, line, strict=True)) for line in lines]
    history = folder / "tier-history"
    history.mkdir()
    for day in ("2024-01-15", "2024-03-01"):
        (history / f"binance_{day}.json").write_text(json.dumps([{"symbol": "BTCUSDT", "brackets": brackets}]))


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[str]:
    root = tmp_path / "served"
    for day in ("2024-03-01", "2024-03-02"):
        for kind in ("klines", "markPriceKlines"):
            A.put(root, A.kline_path("BTCUSDT", day, kind=kind), A.klines(day, [100.0] * 1440))
    with A.ArchiveServer(root) as server:
        yield server.url


@pytest.mark.slow
def test_everything_in_the_readme_runs(archive: str, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    _files(folder)
    environment = os.environ | {"UNWIND_DB": str(folder / "mine.duckdb"), "no_proxy": "*"}
    ran, python = 0, ""
    for block in BLOCKS:
        if block.language == "python":
            python += block.text  # later blocks go on from earlier ones
            continue
        for line in block.text.splitlines():
            words = shlex.split(line.replace(ARCHIVE, archive), comments=True)
            if words and words[0] == "unwind":
                _run(words[1:], folder, environment, f"README.md:{block.line}: {line}")
                ran += 1
    _run_python(python, folder, environment)
    assert ran >= 10
    assert (folder / "unwind-demo/crowd-fade.html").stat().st_size > 1_000_000
    assert (folder / "btc.html").stat().st_size > 1_000_000
    assert any((folder / "parquet").rglob("*.parquet"))


def _run(words: list[str], folder: Path, environment: dict[str, str], what: str) -> None:
    code = "import sys; from backtest.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-W", "error", "-c", code, *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{what}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    assert done.stdout.strip(), what


def _run_python(code: str, folder: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the README's python blocks:\n{done.stderr[-2000:]}"
