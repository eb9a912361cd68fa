"""docs/scale_out.md: its Python runs, on a small market and a small lake, and its sums are right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from strategy_markets import perps

from backtest.cli import main
from backtest.trials import Register
from data.store import Store
from strategies.funding_squeeze import FundingSqueeze

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "scale_out.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_chunks_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"market": perps(1500), "Fade": FundingSqueeze}
    exec(BLOCKS[0], names)
    assert len(names["found"]) == 6
    assert list((tmp_path / "runs" / "fade").glob("sets-*.parquet"))


@pytest.mark.slow
def test_the_symbols_of_the_page_are_read_from_a_lake_by_the_workers(tmp_path: Path) -> None:
    db = tmp_path / "sim.duckdb"
    words = ["synth", "--years", "0.11", "--symbols", "2", "--accounts", "1000", "--db", str(db)]
    assert main(words) == 0
    store = Store(db)
    store.export(tmp_path / "lake")
    symbols = sorted(set(store.table("candles")["symbol"]))
    script = tmp_path / "symbols.py"
    script.write_text(f"SYMBOLS = {symbols!r}\n{BLOCKS[1]}")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert [line.split()[0] for line in done.stdout.splitlines()] == symbols, done.stderr
    tables = [pl.read_parquet(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    assert [len(table) for table in tables] == [6, 6]
    register = Register(tmp_path / "out" / "trials")
    assert register.table().height == 12
    assert register.distinct().height == 6  # the same sets, on two coins


def test_the_sums_of_the_page() -> None:
    bars = 5 * 365.25 * 1440
    work = 1000 * bars * 10_000
    assert f"{bars / 1e6:.2f} million a symbol" in PAGE
    assert "2.63e13" in PAGE
    assert round(work / 1e13, 2) == 2.63
    assert (
        f"2.63e13 x 3.3 / 3.6e12 = {work * 3.3 / 3.6e12:.0f}; on 64 cores {work * 3.3 / 3.6e12 / 64 * 60:.0f} minutes"
        in PAGE
    )
    assert f"14 fields x 8 bytes x 2.63 million = {14 * 8 * 2.63:.0f} MB" in PAGE
    assert f"{10_000 * bars * 3.3e-9:.0f} s of walking" in PAGE
