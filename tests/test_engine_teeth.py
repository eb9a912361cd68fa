"""1 % in any function of the mechanics is seen: by the worked cases of venues, and by a small simulation.

The functions are looked for in the text of `backtest/margin.py`, so that a new one needs both at once.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
MARGIN = [
    node.name
    for node in ast.parse((ROOT / "backtest" / "margin.py").read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef)
]
OTHERS = [
    "cost_of_taking",
    "price_with_cost",
    "isolated_margins",
    "profit_of",
    "gain_of",
    "maintenance_of",
    "unrealised",
    "lone_balance",
    "liquidation_mark",
    "cross_balance",
]
"""Of costs, cash and liquidation: what they return has no worked case of its own."""


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    """What each function off by 1 % changes; "" is none of them."""
    done = subprocess.run(
        [sys.executable, "-P", str(ROOT / "tests" / "mutants" / "one_percent.py")],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_as_they_stand_nothing_is_seen(said: dict[str, Any]) -> None:
    assert said[""] == {"verify": [], "simulate": []}


def test_every_function_is_asked_for(said: dict[str, Any]) -> None:
    assert len(MARGIN) >= 6
    assert sorted(said) == sorted(["", *MARGIN, *OTHERS])


UNPUBLISHED = ["kept_after_reduction"]  # no venue gives an example of a reduction; a simulation sees it


@pytest.mark.parametrize("name", [name for name in MARGIN if name not in UNPUBLISHED])
def test_verify_sees_one_percent(name: str, said: dict[str, Any]) -> None:
    assert said[name]["verify"], f"no worked case needs margin.{name}"


@pytest.mark.parametrize("name", [*MARGIN, *OTHERS])
def test_a_simulation_sees_one_percent(name: str, said: dict[str, Any]) -> None:
    assert said[name]["simulate"], f"no simulation needs {name}"
