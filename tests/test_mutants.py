"""Deliberate mistakes in the engine are noticed, each of them; `docs/mutants.md` lists them."""

from __future__ import annotations

import importlib.util
import re
import signal
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _mutants() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "tests" / "mutants" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


M = _mutants()
IDS = [mutant.id for mutant in M.MUTANTS]
runs_them = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="a mutant that does not end is stopped by an alarm"),
]

SAME = M.Mutant("same", "edge", M.CASH, '"""Rounded toward zero."""', '"""Rounded."""', "nothing")


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Any]:
    """All mutants, and one that changes nothing, in one process."""
    return {verdict.mutant.id: verdict for verdict in M.verdicts([*M.MUTANTS, SAME])}


@pytest.mark.parametrize("name", IDS, ids=IDS)
class TestEach:
    pytestmark = runs_them

    def test_is_noticed(self, name: str, verdicts: dict[str, Any]) -> None:
        assert verdicts[name].caught, f"no comparison notices {name}: {verdicts[name].mutant.what}"


class TestTheDetector:
    pytestmark = runs_them

    def test_says_nothing_of_a_change_that_is_none(self, verdicts: dict[str, Any]) -> None:
        assert verdicts["same"].caught == ()

    def test_worked_cases_notice_margin_too(self, verdicts: dict[str, Any]) -> None:
        of_margin = [v for v in verdicts.values() if v.mutant.file == M.MARGIN]
        assert sum(v.caught[0].startswith("verify: ") for v in of_margin) >= 5


def test_there_are_enough_and_of_every_kind() -> None:
    kinds = Counter(mutant.kind for mutant in M.MUTANTS)
    assert len(set(IDS)) == len(IDS) >= 100
    assert min(kinds[kind] for kind in ("sign", "edge", "order", "tier", "cap", "fee", "stamp")) >= 4
    assert all(mutant.old != mutant.new for mutant in M.MUTANTS)


@pytest.mark.parametrize("times", [0, 2])
def test_a_text_that_is_not_there_is_an_error(times: int) -> None:
    with pytest.raises(M.Broken, match=rf"tier-below: its text is 1 times in backtest/margin\.py, not {times}"):
        next(M.verdicts([replace(next(m for m in M.MUTANTS if m.id == "tier-below"), times=times)]))


def test_the_page_lists_these() -> None:
    page = M.PAGE.read_text(encoding="utf-8")
    listed = re.findall(r"^\| ([a-z-]+) \|", page.partition(M.BEGIN)[2], re.MULTILINE)
    assert [name for name in listed if name != "id"] == IDS
    assert "NOTHING" not in page
    assert "python tests/mutants/mutants.py" in page
