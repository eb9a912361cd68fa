"""Every notebook is executed from top to bottom in a fresh kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backtest.compiled import NOTICE

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda p: p.stem)
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
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    notebook = json.loads(made.read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert all(c["execution_count"] for c in cells)
    outputs = [o for c in cells for o in c["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error"]
    said = "".join("".join(o["text"]) for o in outputs if o.get("name") == "stderr")
    assert said.replace(f"{NOTICE}\n", "") == ""  # the first run of a version may say that it compiles
    figures = [o for o in outputs if "application/vnd.plotly.v1+json" in o.get("data", {})]
    assert len(figures) >= 2
    assert made.stat().st_size < 3_000_000
