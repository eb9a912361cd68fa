"""A strategy whose parameters change with time, against plain runs and one stitched by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import research_markets as rm

from backtest import HOLD, Strategy, simulate
from backtest.stitched import stitched
from data.errors import BadInput
from data.market import Market

pytestmark = pytest.mark.kernel

Follow, TERMS = rm.Follow, rm.TERMS


class Stops(Follow):
    """With fields that the engine reads itself, as parameters that `decide` names or does not."""

    stop_loss: float = 0.05
    limit_offset: float = 0.002
    delay: int = 1


def test_one_set_in_every_fold_is_that_set() -> None:
    market = rm.market()
    for one in (Follow(length=12), Stops(length=6), Stops(stop_loss=0.0)):
        pieces = [(300, 500, one), (500, 900, one), (900, len(market), one)]
        forward = simulate(market[300:], stitched(pieces), history=market, **TERMS)
        alone = simulate(market[300:], one, history=market, **TERMS)
        assert len(alone.fills) > 10
        pd.testing.assert_series_equal(forward.equity, alone.equity, check_exact=True)
        pd.testing.assert_frame_equal(forward.fills, alone.fills, check_exact=True)


class ByHand(Strategy):
    """The same folds, written down bar by bar."""

    @staticmethod
    def decide(position: float, away: float, band: float, leverage: float, idle: float) -> float:
        if idle > 0.0:
            return 0.0
        if away > band:
            return leverage if position <= 0.0 else HOLD
        if away < -band:
            return -leverage if position >= 0.0 else HOLD
        return HOLD

    def features(self, market: Market) -> dict[str, Any]:
        n = len(market)
        out = {name: np.zeros(n) for name in ("away", "band", "leverage", "idle")}
        out["idle"][:] = 1.0
        price = pd.Series(market.close)
        for first, stop, one in PIECES:
            if one is not None:
                away = (price / price.rolling(one.length).mean() - 1.0).fillna(0.0)
                out["away"][first:stop] = away[first:stop]
                out["band"][first:stop], out["leverage"][first:stop] = one.band, one.leverage
                out["idle"][first:stop] = 0.0
        return out


PIECES: list[tuple[int, int, Any]] = [
    (200, 420, Follow(length=6, band=0.0)),
    (420, 600, Follow(length=24, band=0.03, leverage=2.0)),
    (600, 800, None),
    (800, 1100, Follow(length=12, band=0.02, leverage=0.5)),
]


@pytest.mark.parametrize("jit", [True, False])
def test_positions_are_carried_over_seams_and_flat_where_nothing_was_chosen(jit: bool) -> None:
    market = rm.market()[:1100]
    part = market[200:]
    forward = simulate(part, stitched(PIECES), history=market, jit=jit, **TERMS)
    by_hand = simulate(part, ByHand(), history=market, jit=jit, **TERMS)
    pd.testing.assert_series_equal(forward.equity, by_hand.equity, check_exact=True)
    pd.testing.assert_frame_equal(forward.fills, by_hand.fills, check_exact=True)
    held = forward.positions.iloc[:, 0].to_numpy()
    assert held[219] == held[220] != 0.0  # the first bar of the second fold still holds what the first one held
    assert len(np.unique(held[220:400])) > 1
    assert np.all(held[402:599] == 0.0)
    assert held[650:].any()


def test_no_fold_sees_beyond_its_end() -> None:
    class Peeks(Follow):
        def features(self, market: Market) -> dict[str, Any]:
            return {"away": np.full(len(market), float(len(market)))}  # knows how long the market is

    market = rm.market()
    one = stitched([(100, 200, Peeks()), (200, 300, Peeks())])
    away = np.asarray(one.features(market[:300])["away"])
    assert set(away[100:200]) == {200.0}
    assert set(away[200:300]) == {300.0}


def test_what_cannot_be_stitched_is_refused() -> None:
    with pytest.raises(BadInput, match="overlap"):
        stitched([(0, 100, Follow()), (50, 150, Follow())])
    with pytest.raises(BadInput, match="no fold has a strategy"):
        stitched([(0, 100, None)])
    with pytest.raises(BadInput, match="several strategies"):
        stitched([(0, 100, Follow()), (100, 150, Stops())])


def test_several_symbols() -> None:
    one, two = rm.market(seed=1), rm.market(seed=2)
    both = rm.together({"AAA/USDT:USDT": one, "BBB/USDT:USDT": two})

    class Ranked(Follow):
        def features(self, market: Market) -> dict[str, Any]:
            price = pd.DataFrame(market.close)
            away = price / price.rolling(self.length).mean() - 1.0
            return {"away": away.sub(away.mean(axis=1), axis=0).fillna(0.0).to_numpy()}

    a, b = Ranked(length=6, leverage=0.5), Ranked(length=24, band=0.0, leverage=0.3)
    forward = simulate(both[300:], stitched([(300, 1200, a)]), history=both, **TERMS)
    alone = simulate(both[300:], a, history=both, **TERMS)
    pd.testing.assert_frame_equal(forward.positions, alone.positions, check_exact=True)
    turned = simulate(both[300:], stitched([(300, 700, a), (700, 1200, b)]), history=both, **TERMS)
    pd.testing.assert_frame_equal(turned.positions[:400], alone.positions[:400], check_exact=True)
    assert not turned.positions[400:].equals(alone.positions[400:])
