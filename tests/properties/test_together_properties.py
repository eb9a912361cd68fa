"""Several strategies on one account: the engine's books and profits are those of a slow twin beside the reference
engine (`tests/support/plain_together.py`), and they add up to the account, whatever happens to it.

Drawn markets are violent: about four accounts in ten are liquidated. Deleveraging in a bar that is missing is left out
of the comparison (not of the sums): `decide`, which is not asked there, cannot tell it from the next bar's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import engine_markets as M
import numpy as np
import plain_together as T
import pytest
from hypothesis import given

from backtest.strategy import HOLD, Strategy
from backtest.together import Together, together

pytestmark = pytest.mark.kernel


class Wisher(Strategy):
    """A target out of everything that a strategy can see of its own book."""

    scale: float = 1.0

    @staticmethod
    def decide(
        position: float, entry_price: float, bars_held: float, unrealized: float, drawdown: float,
        bars_since_liquidation: float, wish: float, scale: float,
    ) -> float:  # fmt: skip
        if bars_held > 9.0:
            return 0.0
        if wish == 0.0 or bars_since_liquidation < 2.0:
            return HOLD
        seen = 0.1 * position + unrealized + drawdown
        if position != 0.0:
            seen += min(entry_price / 1e4, 3.0)
        return wish * scale * (1.0 + 0.2 * min(max(seen, -2.0), 2.0))


class Stopper(Strategy):
    stop_loss: float = 0.05
    take_profit: float = 0.06
    trailing_stop: float = 0.05

    @staticmethod
    def decide(position: float, wish: float) -> float:
        if position == 0.0 and wish != 0.0:
            return wish
        return HOLD


class Steady(Strategy):
    """Says what it wants in every bar."""

    @staticmethod
    def decide(wish: float) -> float:
        return wish


def four() -> Together:
    return together({"a": Wisher, "b": Stopper, "c": Steady, "d": Wisher(scale=-0.7)}, {"a": 0.5, "d": 0.8})


def wishes(recipe: Any, shape: tuple[int, int]) -> dict[str, Any]:
    rng = np.random.default_rng(recipe.seed + 7)
    most = min(recipe.leverage or 5.0, 10.0) * 0.6

    def wish(often: float) -> Any:
        return np.where(rng.random(shape) < often, rng.normal(size=shape) * most, 0.0)

    first = wish(0.3)
    opposed = np.where(rng.random(shape) < 0.5, first, wish(0.3))
    return {f"seen_{i}_wish": one for i, one in enumerate((first, wish(0.3), wish(0.1), opposed))}


def both(recipe: Any) -> tuple[T.Plain, Any, Any]:
    """The twin, the engine's run, and what it attributed."""
    prepared, _ = M.made(replace(recipe, stops=False, limits=False))
    whole = four()
    columns = T.columns_for(whole, prepared, wishes(recipe, prepared.bars.close.shape))
    plain = T.Plain(prepared, whole, columns)
    for bar in range(prepared.n):
        plain.step(bar)
    return plain, *T.compiled(prepared, whole, columns)


def agree(recipe: Any) -> None:
    plain, made, found = both(recipe)
    differences = M.differences(plain.result(), made, plain.rules)
    assert not differences, "reference, then compiled:\n" + "\n".join(differences)
    held = np.array(plain.held).transpose(2, 0, 1)
    largest = np.abs(held).max(axis=(0, 1))
    assert (np.abs(held - found.books) <= 1e-7 * largest + 1e-300).all()
    np.testing.assert_allclose(plain.profits(), found.parts.sum(axis=1), rtol=0, atol=1e-7 * scale_of(plain, found))


def scale_of(plain: T.Plain, found: Any) -> float:
    return max(plain.rules.equity, float(np.abs(found.memo[:, :2]).sum()), float(np.abs(found.parts).sum()))


def add_up(recipe: Any) -> None:
    plain, made, found = both(recipe)
    within = 1e-9 * scale_of(plain, found)
    assert abs(found.total - (made.series["equity"][-1] - plain.rules.equity)) <= within
    largest = np.abs(found.books).max(axis=(0, 1))
    assert (np.abs(found.books.sum(axis=0) - made.leg_series["position"]) <= 1e-9 * largest + 1e-300).all()
    if plain.rules.cash_rate == 0.0:
        assert np.abs(found.curves.sum(axis=0) - (made.series["equity"] - plain.rules.equity)).max() <= within
    for column, name in enumerate(("funding", "fees", "slippage")):
        paid = {
            "funding": made.ledger["amount"][made.ledger["kind"] == 2].sum(),
            "fees": made.ledger["amount"][made.ledger["kind"] == 1].sum(),
            "slippage": -made.fills["slippage"].sum(),
        }[name]
        assert abs(found.parts[:, 1 + column].sum() - paid) <= within, name
    insured = made.ledger["amount"][np.isin(made.ledger["kind"], (3, 4))].sum()
    assert abs(found.parts[:, 4].sum() - insured) <= within


def told_apart(recipe: Any) -> Any:
    return replace(recipe, deleveraging=recipe.deleveraging and not recipe.missing)


@M.some(15)
@given(M.recipes_with(symbols=1).map(told_apart))
def test_one_symbol_is_as_the_twin_has_it(recipe: Any) -> None:
    agree(recipe)


@M.some(30)
@given(M.recipes.map(told_apart))
def test_any_account_is_as_the_twin_has_it(recipe: Any) -> None:
    agree(recipe)


@M.some(15)
@given(M.recipes_with(kinds="inverse"))
def test_inverse_contracts_add_up(recipe: Any) -> None:
    add_up(recipe)


@M.some(25)
@given(M.recipes)
def test_what_they_made_adds_up_to_the_account(recipe: Any) -> None:
    add_up(recipe)
