"""strategies.de_risk: any strategy with less exposure while the market is fragile, compiled like any other."""

from __future__ import annotations

import pickle
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategy_markets import scene

from backtest.costs import Costs
from backtest.engine import measure, simulate
from backtest.features import features_of
from backtest.result import Result
from backtest.strategy import HOLD, Strategy, warmup_bars
from backtest.strategy_lookup import load
from data.errors import BadInput
from data.market import Market
from strategies.buy_and_hold import BuyAndHold
from strategies.carry import Carry, account_for, hedged
from strategies.de_risk import DeRiskedTrend, de_risked
from strategies.funding_squeeze import FundingSqueeze
from strategies.managed_trend import ManagedTrend
from strategies.parts import symbol_data

N = 60 * 24
CALM, CROWD, OVER = 40 * 24, 1000, 1100
Held = de_risked(BuyAndHold)


class Swing(Strategy):
    """Long for ten bars, flat for ten; what it sees of its own position decides."""

    leverage: float = 1.0

    @property
    def max_exposure(self) -> float:
        return self.leverage

    def features(self, market: Market) -> dict[str, Any]:
        return {"up": (np.arange(len(market)) % 20 < 10).astype(float)}

    @staticmethod
    def decide(position: float, up: float, leverage: float) -> float:
        if up > 0.0:
            return leverage if position < 0.9 * leverage else HOLD
        return 0.0 if position > 0.0 else HOLD


def crowded() -> Market:
    """Open interest doubles in bar 1000 and is back in bar 1100."""
    held = np.full(N, 1000.0)
    held[CROWD:OVER] = 2000.0
    return scene(100.0 * np.exp(0.0001 * np.sin(np.arange(N))), held)


def run(strategy: Strategy, market: Market, **options: Any) -> Result:
    return simulate(market, strategy, **{"venue": "binance", "costs": Costs.none()} | options)


def test_what_is_held_is_cut_and_not_bought_again() -> None:
    result = run(Held(kept=0.5), crowded())
    gross = result.run.series["gross"]
    assert gross[CROWD] == pytest.approx(1.0, rel=0.01)
    np.testing.assert_allclose(gross[CROWD + 1 :], 0.5, rtol=0.01)
    assert len(result.run.fills) == 2


def test_new_targets_are_scaled_while_it_lasts_and_two_days_longer() -> None:
    result = run(de_risked(Swing)(kept=0.25), crowded())
    gross = result.run.series["gross"]
    assert gross[CALM:CROWD].max() == pytest.approx(1.0, rel=0.01)
    assert gross[CROWD + 1 : OVER + 47].max() == pytest.approx(0.25, rel=0.01)
    assert gross[OVER + 60 :].max() == pytest.approx(1.0, rel=0.01)


def test_what_it_wraps_sees_the_position_that_it_would_have() -> None:
    """Swing adds to a position below nine tenths: with the scaled one before it, it would trade in every bar."""
    plain, careful = run(Swing(), crowded(), warmup="32d"), run(de_risked(Swing)(), crowded())
    assert len(careful.run.fills) <= len(plain.run.fills) + 2


def test_nothing_is_kept_at_zero() -> None:
    gross = run(de_risked(Swing)(kept=0.0), crowded()).run.series["gross"]
    assert gross[CROWD + 1 : OVER + 47].max() == 0.0
    assert gross[OVER + 60 :].max() == pytest.approx(1.0, rel=0.01)


def test_a_calm_market_changes_nothing() -> None:
    market = scene(100.0 * np.exp(0.01 * np.random.default_rng(1).normal(size=N).cumsum()), np.full(N, 1000.0))
    warm = warmup_bars(DeRiskedTrend(), market)
    plain, careful = run(ManagedTrend(), market, warmup=warm), run(DeRiskedTrend(), market)
    np.testing.assert_array_equal(plain.run.series["equity"], careful.run.series["equity"])


def test_both_legs_of_a_hedge_are_cut_alike() -> None:
    held = np.full(N, 1000.0)
    held[1200:] = 2000.0
    market = hedged(scene(np.full(N, 100.0), held, np.full(N // 8, 3e-4)), "trade")
    result = run(de_risked(Carry)(), market, account=account_for(market))
    legs = result.run.leg_series["position"]
    np.testing.assert_allclose(legs[:, 0], -legs[:, 1], rtol=1e-9)
    assert abs(legs[-1, 0]) == pytest.approx(0.5 * abs(legs[1190, 0]), rel=0.02)


def test_a_bar_that_is_missing_when_the_crowd_comes_is_made_up_for() -> None:
    """What could not be cut because nothing traded is cut as soon as something does."""
    market = crowded()
    candles = {n: np.array(getattr(market, n)) for n in ("open", "high", "low", "close", "volume")}
    data, keep = symbol_data(market, market.symbols[0]), np.ones(N, dtype=bool)
    keep[CROWD - 1 : CROWD + 5] = False
    assert data.candles is not None
    bars = replace(
        data.candles, ts=market.ts[keep], **{n: a[keep] for n, a in candles.items()}, quote_volume=None,
        taker_buy_volume=None,
    )  # fmt: skip
    holed = Market.build(
        "user", {market.symbols[0]: replace(data, candles=bars)}, market.interval, market.start, market.end
    )
    gross = run(Held(kept=0.5), holed).run.series["gross"]
    assert gross[CROWD + 4] == pytest.approx(1.0, rel=0.01)
    assert gross[CROWD + 6] == pytest.approx(0.5, rel=0.01)


def test_it_is_a_strategy_like_any_other() -> None:
    cls = de_risked(FundingSqueeze)
    assert cls is de_risked(FundingSqueeze)
    assert cls.__name__ == "DeRiskedFundingSqueeze"
    assert list(cls.declared())[-4:] == ["crowd_window", "crowded_at", "calm_after", "kept"]
    assert set(cls.ranges) == set(cls.declared())
    assert cls.needs == ("funding_8h", "open_interest")
    assert cls(leverage=2.0).max_exposure == 2.0
    one = cls(entry_z=2.5, kept=0.25)
    assert pickle.loads(pickle.dumps(one)) == one
    assert load("DeRiskedTrend", "strategies") is DeRiskedTrend


def test_a_sweep_computes_the_guard_once_and_gives_what_single_runs_give() -> None:
    market, sets = crowded(), [de_risked(Swing)(kept=k) for k in (0.0, 0.5, 1.0)]
    table = measure(market, sets, venue="binance", costs=Costs.none())
    for one, value in zip(sets, table["total_return"], strict=True):
        assert run(one, market).measures["total_return"] == value


def test_a_strategy_of_a_file_can_be_wrapped(tmp_path: Path) -> None:
    text = """
    from backtest.strategy import Strategy

    LEAST = 0.5

    def size(x):
        return LEAST + x

    class Mine(Strategy):
        most: float = 0.5

        @staticmethod
        def decide(most):
            return size(most)
    """
    (tmp_path / "mine.py").write_text(textwrap.dedent(text))
    gross = run(de_risked(load(f"{tmp_path}/mine.py"))(), crowded()).run.series["gross"]
    assert gross[CROWD] == pytest.approx(1.0, rel=0.01)
    assert gross[CROWD + 2] == pytest.approx(0.5, rel=0.01)


def test_what_cannot_be_wrapped_is_said() -> None:
    with pytest.raises(BadInput, match="has the overlay already"):
        de_risked(Held)

    class Clash(Strategy):
        kept: float = 1.0

        @staticmethod
        def decide(kept: float) -> float:
            return kept

    with pytest.raises(BadInput, match="rename kept"):
        de_risked(Clash)


@pytest.mark.parametrize("kept", [-0.5, 2.0])
def test_an_overlay_that_adds_is_refused(kept: float) -> None:
    with pytest.raises(BadInput, match="the overlay only cuts: write a part of the exposure, from 0 to 1"):
        features_of(Held(kept=kept), crowded().features_view())


def test_the_guard_is_of_the_median_symbol() -> None:
    features, _ = features_of(Held(), crowded().features_view())
    assert set(np.unique(features["guard"])) == {0.5, 1.0}
    assert features["guard"][CROWD - 1] == 1.0
    assert features["guard"][CROWD] == 0.5
    assert features["guard_before"][CROWD] == 1.0
