"""Every notebook is executed from top to bottom in a fresh kernel; what their texts name is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backtest.cli import GROUPS, VERBS
from backtest.compiled import NOTICE

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
STEMS = [path.stem for path in NOTEBOOKS]
TELLING = {  # of each, words that only a run that found what it is about can have put out
    "01_quickstart": "MB, open it in a browser",
    "02_anatomy_of_a_leverage_cycle": "of the open interest liquidated",
    "03_your_own_strategy": "FlushFade: nothing that looks ahead\nPeeking:   [Leak(",
    "04_sweep_and_walk_forward": "81 trials on this market",
    "05_under_the_microscope": "published 18,778.73, liquidated at a mark of 18,778.73",
    "06_stress_test": "fund exhausted",
    "07_bring_real_data": "3 files stored before",
}


def test_the_seven_are_there() -> None:
    assert list(TELLING) == STEMS


@pytest.mark.parametrize("source", NOTEBOOKS, ids=STEMS)
def test_what_it_names_exists(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    assert set(re.findall(r"\((\w+)\.ipynb\)", text)) <= set(STEMS)
    for page in re.findall(r"`(docs/\w+\.md)`", text):
        assert (ROOT / page).is_file(), page
    verbs = {name for name, *_ in VERBS} | set(GROUPS)
    assert set(re.findall(r"(?:`|^# )unwind ([a-z]+)", text, re.MULTILINE)) <= verbs
    assert "FigureWidget" not in text  # stays empty in a saved page, and makes it five megabytes


@pytest.mark.slow
@pytest.mark.parametrize("source", NOTEBOOKS, ids=STEMS)
def test_it_runs(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("jupytext")
    pytest.importorskip("ipykernel")
    made = tmp_path / f"{source.stem}.ipynb"
    command = ["-m", "jupytext", "--quiet", "--to", "ipynb", "--execute", "--run-path", str(tmp_path)]
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, *command, "--output", str(made), str(source)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    notebook = json.loads(made.read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert all(c["execution_count"] for c in cells)
    outputs = [o for c in cells for o in c["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error"]
    said = "".join(_text(o) for o in outputs if o.get("name") == "stderr")
    assert said.replace(f"{NOTICE}\n", "") == ""  # the first run of a version may say that it compiles
    assert TELLING[source.stem] in "".join(map(_text, outputs))
    figures = [o["data"]["application/vnd.plotly.v1+json"] for o in outputs if _is_figure(o)]
    assert len(figures) >= 2
    for figure in figures:
        assert figure["layout"]["template"]["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)"  # for light and dark pages
    assert made.stat().st_size < 3_000_000


def _is_figure(output: dict[str, Any]) -> bool:
    return "application/vnd.plotly.v1+json" in output.get("data", {})


def _text(output: dict[str, Any]) -> str:
    return "".join(output.get("text", output.get("data", {}).get("text/plain", "")))
