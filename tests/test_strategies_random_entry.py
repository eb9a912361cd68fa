"""strategies.random_entry: draws that hang on nothing but time, and the trades of a run at other times."""

from __future__ import annotations

import numpy as np
import pytest
from strategy_markets import eager, perps

from backtest.costs import Costs
from backtest.engine import simulate
from backtest.features import features_of
from strategies.managed_trend import ManagedTrend
from strategies.random_entry import RandomEntry, rotated


def test_entries_are_as_many_as_asked_for_and_on_the_sides_asked_for() -> None:
    market = perps(6000)
    entry = features_of(RandomEntry(entries_a_day=2.0, longs=0.25), market.features_view())[0]["entry"]
    days = len(market) / 24
    assert np.count_nonzero(entry) == pytest.approx(2.0 * days, rel=0.15)
    assert np.mean(entry[entry != 0.0] > 0.0) == pytest.approx(0.25, abs=0.06)


def test_another_seed_or_symbol_is_another_draw() -> None:
    market = perps(3000, symbols=2)
    one, other = (features_of(RandomEntry(seed=s), market.features_view())[0]["entry"] for s in (1, 2))
    assert (one != other).any()
    assert (one[:, 0] != one[:, 1]).any()
    alone = features_of(RandomEntry(), market["ETH/USDT:USDT"].features_view())[0]["entry"]
    np.testing.assert_array_equal(one[:, 1], alone)


def test_rotation_keeps_sides_sizes_and_holding_times() -> None:
    market, warm = perps(2500, symbols=2), 672
    run = simulate(market, eager(ManagedTrend), venue="binance", costs=Costs.none())
    moved = rotated(run, market, 3, warm)
    assert (moved[:warm] == 0.0).all()
    held = run.run.leg_series["position"]
    for j in range(2):  # the same multiset of exposures, in the same circular order
        assert np.count_nonzero(moved[:, j]) == np.count_nonzero(held[warm:, j])
        shift = np.random.default_rng(3).integers(1, len(market) - warm)
        np.testing.assert_array_equal(np.sign(np.roll(moved[warm:, j], -shift)), np.sign(held[warm:, j]))
    other = simulate(market, exposure=moved, venue="binance", costs=Costs.none())
    held_again = np.count_nonzero(other.run.leg_series["position"])
    assert held_again == pytest.approx(np.count_nonzero(held), rel=0.02)
    assert (rotated(run, market, 4, warm) != moved).any()
