"""docs/signals.md: a row for every signal, with what the registry says of it; its python runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from strategies.signals import SIGNALS, Signal

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "signals.md").read_text(encoding="utf-8")
ROWS = {
    cells[0].strip("`"): cells
    for line in PAGE.splitlines()
    if line.startswith("| `") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 6
}
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_signal_has_a_row_and_no_other() -> None:
    assert list(ROWS) == list(dict.fromkeys(ROWS))
    assert set(ROWS) == set(SIGNALS)


@pytest.mark.parametrize("signal", SIGNALS.values(), ids=lambda s: s.name)
def test_a_row_says_what_the_registry_says(signal: Signal) -> None:
    _, formula, unit, look_back, needs, worth = ROWS[signal.name]
    assert unit == signal.unit
    assert look_back == (", ".join(f"{name} {length}" for name, length in signal.spans.items()) or "none")
    assert needs == ", ".join([f"`{f}`" for f in signal.needs] + [f"*{name}*" for name in signal.given])
    assert len(formula) > 3
    assert len(worth) > 3


def test_sources_that_are_cited_are_listed() -> None:
    table, _, listed = PAGE.partition("## Sources")
    cited = {int(n) for group in re.findall(r"\[(\d+(?:, \d+)*)\]", table) for n in group.split(", ")}
    numbers = [int(n) for n in re.findall(r"^(\d+)\. ", listed, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert cited == set(numbers)


@pytest.mark.skipif(bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="a market is simulated")
def test_the_python_of_the_page_runs(tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text("\n".join(BLOCKS))
    command = [sys.executable, "-W", "error", "page.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == re.findall(r"^# prints: (.*)$", "\n".join(BLOCKS), re.MULTILINE)
