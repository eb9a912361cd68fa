"""The compiled engine and the reference engine agree: the same rows in the same order, the same series.

Drawn markets are violent and accounts get into trouble: of 600 drawn ones, 43 % are liquidated, 18 % in part, 18 %
ruined, and 83 % have orders refused (`tests/support/engine_markets.py` draws them).
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backtest import prepare as p
from backtest import reference
from backtest.engine import run_prepared

pytestmark = pytest.mark.kernel


def _support() -> ModuleType:
    path = Path(__file__).parents[1] / "support" / "engine_markets.py"
    spec = importlib.util.spec_from_file_location("engine_markets", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


M = _support()


def recipes(**fixed: Any) -> st.SearchStrategy[Any]:
    return M.recipes.map(lambda recipe: replace(recipe, **fixed))


def agree(recipe: Any) -> None:
    prepared, decisions = M.made(recipe)
    compiled, plain = run_prepared(prepared, decisions), reference.run(prepared, decisions)
    found = M.differences(plain, compiled, prepared)
    assert not found, "reference, then compiled:\n" + "\n".join(found)


def some(examples: int) -> settings:
    return settings(max_examples=examples, suppress_health_check=list(HealthCheck))


@some(500)
@given(recipes(symbols=1, kinds="linear"))
def test_one_linear_contract(recipe: Any) -> None:
    agree(recipe)


@some(400)
@given(recipes(symbols=1, kinds="inverse"))
def test_one_inverse_contract(recipe: Any) -> None:
    agree(recipe)


@some(300)
@given(recipes(symbols=1, limits=True, stops=True, gaps=True))
def test_limits_and_stops(recipe: Any) -> None:
    agree(recipe)


@some(300)
@given(recipes(modes="isolated"))
def test_isolated_legs(recipe: Any) -> None:
    agree(recipe)


@some(400)
@given(recipes(modes="cross", path=p.JOINT))
def test_cross_legs(recipe: Any) -> None:
    agree(recipe)


@some(200)
@given(recipes(modes="cross", path=p.WORST))
def test_cross_legs_on_their_worst_path(recipe: Any) -> None:
    agree(recipe)


@some(200)
@given(recipes(modes="cross", path=p.CLOSE))
def test_cross_legs_tested_at_the_close(recipe: Any) -> None:
    agree(recipe)


@some(300)
@given(recipes(kinds="carry", pairs=True))
def test_spot_and_perpetual(recipe: Any) -> None:
    agree(recipe)


@some(300)
@given(recipes(detail=3))
def test_finer_bars(recipe: Any) -> None:
    agree(recipe)


@some(600)
@given(M.recipes)
def test_everything(recipe: Any) -> None:
    agree(recipe)
