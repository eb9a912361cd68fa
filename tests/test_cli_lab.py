"""`unwind lab`: notebooks are made, the user's are kept, and what Lab reads as its settings."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backtest.cli import lab, lab_notebooks, main
from data.errors import NotFound, StoreNotWritable

pytest.importorskip("jupytext")

SCRIPT = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A title

# %%
1 + {}
"""


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only script that comes along."""
    script = tmp_path / "scripts" / "01_one.py"
    script.parent.mkdir()
    script.write_text(SCRIPT.format(1))
    monkeypatch.setattr(lab_notebooks, "scripts", lambda: [script])
    return script


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def sources(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in read(path)["cells"]]


def test_all_that_come_along_are_made_once(tmp_path: Path) -> None:
    made = lab_notebooks.make(tmp_path / "mine")
    assert made == [script.stem for script in lab_notebooks.scripts()]
    assert len(made) == 7
    assert f"{made[0]}.ipynb" == lab_notebooks.FIRST
    assert lab_notebooks.make(tmp_path / "mine") == []


def test_a_notebook_names_its_kernel_and_is_paired_with_nothing(one: Path, tmp_path: Path) -> None:
    lab_notebooks.make(tmp_path)
    notebook = read(tmp_path / "01_one.ipynb")
    assert notebook["nbformat"] == 4
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert "jupytext" not in notebook["metadata"]
    assert [cell["cell_type"] for cell in notebook["cells"]] == ["markdown", "code"]


def test_what_was_edited_is_kept(one: Path, tmp_path: Path) -> None:
    lab_notebooks.make(tmp_path)
    path = tmp_path / "01_one.ipynb"
    mine = read(path)
    mine["cells"][1]["source"] = ["my own idea"]
    path.write_text(json.dumps(mine))
    one.write_text(SCRIPT.format(2))
    assert lab_notebooks.make(tmp_path) == []
    assert sources(path) == ["# A title", "my own idea"]


def test_what_was_only_run_is_renewed_with_its_script(one: Path, tmp_path: Path) -> None:
    lab_notebooks.make(tmp_path)
    path = tmp_path / "01_one.ipynb"
    ran = read(path)
    ran["cells"][1] |= {"execution_count": 3, "outputs": [{"output_type": "stream", "name": "stdout", "text": "2"}]}
    path.write_text(json.dumps(ran))
    assert lab_notebooks.make(tmp_path) == []  # with its outputs, as long as there is nothing new
    assert read(path)["cells"][1]["execution_count"] == 3
    one.write_text(SCRIPT.format(2))
    assert lab_notebooks.make(tmp_path) == ["01_one"]
    assert sources(path)[1] == "1 + 2"


@pytest.mark.parametrize("text", ["no notebook", "{}", "[]", '{"metadata": {"unwind": "x"}, "cells": [1]}'])
def test_a_file_that_is_no_notebook_is_left_alone(one: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "01_one.ipynb").write_text(text)
    assert lab_notebooks.make(tmp_path) == []
    assert (tmp_path / "01_one.ipynb").read_text() == text


def test_what_was_deleted_comes_back(one: Path, tmp_path: Path) -> None:
    lab_notebooks.make(tmp_path)
    (tmp_path / "01_one.ipynb").unlink()
    assert lab_notebooks.make(tmp_path) == ["01_one"]


def test_a_place_that_cannot_be_written_is_said(one: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreNotWritable, match="cannot be written there"):
        lab_notebooks.make(tmp_path / "file" / "notebooks")


def test_scripts_of_an_installation_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a wheel leaves them: modules in one place, data files in another, both in the list of the distribution."""
    there = tmp_path / "share/unwind/notebooks"
    there.mkdir(parents=True)
    (there / "01_one.py").write_text("")
    monkeypatch.setattr(lab_notebooks, "__file__", str(tmp_path / "site-packages/backtest/cli/lab_notebooks.py"))
    files = [metadata.PackagePath(f"../../../share/unwind/notebooks/{name}.py") for name in ("01_one", "02_gone")]
    for file in files:
        file.dist = SimpleNamespace(locate_file=lambda path: there / path.name)
    monkeypatch.setattr(metadata, "files", lambda name: [metadata.PackagePath("backtest/cli/lab.py"), *files])
    assert lab_notebooks.scripts() == [there / "01_one.py"]
    monkeypatch.setattr(metadata, "files", lambda name: None)
    with pytest.raises(NotFound, match="name a folder to open"):
        lab_notebooks.scripts()


@pytest.mark.parametrize(
    ("theme", "expected"),
    [
        ("system", {"adaptive-theme": True}),
        ("dark", {"adaptive-theme": False, "theme": "JupyterLab Dark"}),
        ("light", {"adaptive-theme": False, "theme": "JupyterLab Light"}),
    ],
)
def test_settings(tmp_path: Path, theme: lab.Theme, expected: dict[str, object]) -> None:
    lab.write_settings(tmp_path, theme)
    settings = read(tmp_path / "labconfig" / "default_setting_overrides.json")
    assert settings["@jupyterlab/apputils-extension:themes"] == expected
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"


def test_without_jupyterlab_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: None if name == "jupyterlab" else object())
    assert main(["lab"]) != 0
    assert capsys.readouterr().err == "unwind: jupyterlab is not installed: pip install 'unwind[lab]'\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "no/such/folder"]) != 0
    assert "no folder no/such/folder" in capsys.readouterr().err
