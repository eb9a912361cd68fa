"""The compiled engine and the reference engine agree: the same rows in the same order, the same series.

Drawn markets are violent and accounts get into trouble: of 600 drawn ones, 43 % are liquidated, 18 % in part, 18 %
ruined, and 83 % have orders refused (`tests/support/engine_markets.py` draws them).
"""

from __future__ import annotations

from typing import Any

import engine_markets as M
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest import prepare as p
from backtest import reference
from backtest.account import Account
from backtest.costs import Costs
from backtest.engine import run_prepared, simulate
from backtest.strategy import HOLD, Strategy
from backtest.venue import Fees, Tier, Venue
from data.market import Market

pytestmark = pytest.mark.kernel


def agree(recipe: Any) -> None:
    prepared, decisions = M.made(recipe)
    compiled, plain = run_prepared(prepared, decisions), reference.run(prepared, decisions)
    found = M.differences(plain, compiled, prepared)
    assert not found, "reference, then compiled:\n" + "\n".join(found)


@M.some(500)
@given(M.recipes_with(symbols=1, kinds="linear"))
def test_one_linear_contract(recipe: Any) -> None:
    agree(recipe)


@M.some(400)
@given(M.recipes_with(symbols=1, kinds="inverse"))
def test_one_inverse_contract(recipe: Any) -> None:
    agree(recipe)


@M.some(300)
@given(M.recipes_with(symbols=1, limits=True, stops=True, gaps=True))
def test_limits_and_stops(recipe: Any) -> None:
    agree(recipe)


@M.some(300)
@given(M.recipes_with(modes="isolated"))
def test_isolated_legs(recipe: Any) -> None:
    agree(recipe)


@M.some(400)
@given(M.recipes_with(modes="cross", path=p.JOINT))
def test_cross_legs(recipe: Any) -> None:
    agree(recipe)


@M.some(200)
@given(M.recipes_with(modes="cross", path=p.WORST))
def test_cross_legs_on_their_worst_path(recipe: Any) -> None:
    agree(recipe)


@M.some(200)
@given(M.recipes_with(modes="cross", path=p.CLOSE))
def test_cross_legs_tested_at_the_close(recipe: Any) -> None:
    agree(recipe)


@M.some(300)
@given(M.recipes_with(kinds="carry", pairs=True))
def test_spot_and_perpetual(recipe: Any) -> None:
    agree(recipe)


@M.some(300)
@given(M.recipes_with(detail=3))
def test_finer_bars(recipe: Any) -> None:
    agree(recipe)


@M.some(600)
@given(M.recipes)
def test_everything(recipe: Any) -> None:
    agree(recipe)


@M.some(25)
@given(M.recipes_with(bars=1_500, violence=0.004, patience=0.99, detail=0))
def test_long_quiet_markets(recipe: Any) -> None:
    """Bars in which nothing happens are walked by another loop, in blocks."""
    agree(recipe)


# ---- what a strategy sees ------------------------------------------------------------------------------


class Probe(Strategy):
    """A target out of everything that `decide` can see: where one number differs, the account does."""

    seed: int = 0

    def features(self, market: Market) -> dict[str, Any]:
        rng = np.random.default_rng(self.seed)
        n, k = len(market), len(market.symbols)
        acts = rng.random((n, k)) < 0.3
        return {
            "wish": np.where(acts, rng.normal(size=(n, k)) * 2.0, 0.0),
            "stop_loss": rng.uniform(0.02, 0.3, (n, k)),
            "trailing_stop": np.where(rng.random((n, k)) < 0.5, 0.1, 0.0),
        }

    @staticmethod
    def decide(
        position: float,
        entry_price: float,
        bars_held: float,
        unrealized: float,
        equity: float,
        drawdown: float,
        margin_ratio: float,
        bars_since_liquidation: float,
        wish: float,
    ) -> float:
        if bars_held > 12.0 or (0.0 < bars_since_liquidation < 3.0):
            return 0.0
        if wish == 0.0:
            return HOLD
        seen = 0.1 * position + 2.0 * unrealized + equity / 1e6 + drawdown + 0.5 * margin_ratio
        if position != 0.0:
            seen += entry_price / 1e4
        return wish * (1.0 + 0.2 * seen + 0.01 * bars_held)


TIERS = (Tier(0.0, 1e4, 0.01, 50.0), Tier(1e4, 1e12, 0.02, 25.0, 100.0))
VENUE = Venue("test", "linear", Fees(0.0002, 0.0005, 0.01), TIERS)


@M.some(60)
@given(M.recipes_with(kinds="linear", delisted=False, missing=False, detail=0), st.sampled_from(["isolated", "cross"]))
def test_a_strategy_sees_the_same_account(recipe: Any, mode: Any) -> None:
    market, probe, costs = M.market_of(M.columns_of(recipe)), Probe(seed=recipe.seed), Costs.fixed(5)
    account = Account(equity=recipe.equity, mode=mode, shortfall="reduce", leverage=recipe.leverage or None)
    made = simulate(market, probe, venue=VENUE, account=account, costs=costs)
    prepared, _ = p.prepare(market, VENUE, account, costs)
    given_ = probe.features(market)

    def decide(bar: int, symbol: int, state: dict[str, float]) -> float:
        return Probe.decide(**state, wish=float(given_["wish"][bar, symbol]))

    stops = p.Decisions(given_["wish"], stop_loss=given_["stop_loss"], trailing_stop=given_["trailing_stop"])
    found = M.differences(reference.run(prepared, decide, stops), made.run, prepared)
    assert not found, "reference, then compiled:\n" + "\n".join(found)
