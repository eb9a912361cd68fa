"""docs/api/: what the code says, page by page; and nothing public without a docstring."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def made() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_api"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_what_the_code_says(made: ModuleType) -> None:
    assert [path.name for path in made.stale()] == [], "run: .venv/bin/python docs/make_api.py"


def test_a_stale_page_is_seen_and_mended(
    made: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(made, "ROOT", tmp_path)
    monkeypatch.setattr(made, "FOLDER", tmp_path / "api")
    monkeypatch.setattr(made, "PAGES", made.PAGES[:0])
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "gone.md").write_text("a page of no area")
    assert made.main(["--check"]) == 1
    assert made.main([]) == 0
    assert made.main(["--check"]) == 0
    assert sorted(path.name for path in (tmp_path / "api").iterdir()) == ["README.md"]
    assert "stale: api/gone.md" in capsys.readouterr().out


def test_everything_public_has_a_docstring(made: ModuleType) -> None:
    assert made.undocumented() == []


def test_signatures_are_those_of_the_running_code(made: ModuleType) -> None:
    """What is read from the text is what Python itself says of the function."""
    seen = 0
    for entry in ("backtest.engine:simulate measure", "backtest.rules", "data.symbols", "data.clock"):
        module = importlib.import_module(entry.partition(":")[0])
        for node, _ in made.shown(entry):
            if inspect.isclass(getattr(module, node.name)):
                continue
            expected = [
                f"{'*' * (2 if p.kind is p.VAR_KEYWORD else p.kind is p.VAR_POSITIONAL)}{name}"
                for name, p in inspect.signature(getattr(module, node.name)).parameters.items()
            ]
            text = made.signature(node)
            inside = text.partition("(")[2]
            found = [re.split(r"[:=]", one)[0] for one in made._parameters(node.args) if one not in ("*", "/")]
            assert found == expected, text
            assert all(name in inside for name in expected)
            seen += 1
    assert seen > 50


def test_what_the_packages_offer_is_on_a_page(made: ModuleType) -> None:
    """Every name that `from backtest import ...` and its sisters give is somewhere in the reference."""
    shown = {node.name for page in made.PAGES for entry in page.modules for node, _ in made.shown(entry)}
    constants = {"HOLD", "SIGNALS"}
    for package in ("backtest", "data", "backtest.inference", "strategies.signals"):
        missing = set(importlib.import_module(package).__all__) - shown - constants
        assert not missing, package


def test_links_inside_a_page_lead_somewhere(made: ModuleType) -> None:
    for path, text in made.wanted().items():
        heads = {re.sub(r"[^\w -]", "", line.lstrip("# ")).lower() for line in text.splitlines() if line[:1] == "#"}
        for link in re.findall(r"\]\(#([^)]+)\)", text):
            assert link in heads, (path.name, link)
