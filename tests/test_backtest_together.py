"""Several strategies on one account: who holds what, who pays for what, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import doc_pages
import numpy as np
import pandas as pd
import pytest
import research_markets as rm
import strategy_markets

from backtest import HOLD, Account, Result, Strategy, measure, simulate
from backtest.together import together
from data.errors import BadInput
from data.market import Market

pytestmark = pytest.mark.kernel

Follow, TERMS = rm.Follow, rm.TERMS


class Against(Follow):
    """The opposite of Follow, bar by bar."""

    @staticmethod
    def decide(position: float, away: float, band: float, leverage: float) -> float:
        if away > band:
            return -leverage if position >= 0.0 else HOLD
        if away < -band:
            return leverage if position <= 0.0 else HOLD
        return HOLD


class Path(Strategy):
    """What a test writes down: a target a bar, HOLD where it says nothing."""

    which: int = 0

    def features(self, market: Market) -> dict[str, Any]:
        wanted = PATHS[self.which]
        column = np.full(len(market), HOLD)
        column[: len(wanted)] = [HOLD if x is None else x for x in wanted]
        return {"wanted": column}

    @staticmethod
    def decide(wanted: float) -> float:
        return wanted


PATHS: list[list[float | None]] = []


def walked(*paths: list[float | None], weights: Any = None, market: Market | None = None, **terms: Any) -> Any:
    PATHS[:] = paths
    named = {"abc"[i]: Path(which=i) for i in range(len(paths))}
    return simulate(market or rm.market(days=4), together(named, weights), **{**TERMS, **terms})


@pytest.mark.parametrize("jit", [True, False])
def test_one_alone_is_what_it_is_without(jit: bool) -> None:
    market = rm.market(days=120)
    alone = simulate(market, Follow(length=24), **TERMS)
    one = simulate(market, together({"a": Follow(length=24)}), jit=jit, **TERMS)
    assert len(alone.fills) > 20
    pd.testing.assert_frame_equal(one.fills, alone.fills, check_exact=True)
    pd.testing.assert_series_equal(one.equity, alone.equity, check_exact=True)
    table = one.attribution.table
    assert table.loc["a", "fees"] == pytest.approx(-alone.measures["fees"])
    assert table.loc["a", "funding"] == pytest.approx(alone.measures["funding"])
    assert table.loc["a", "profit"] == pytest.approx(alone.equity.iloc[-1] - alone.start_equity, abs=1e-9)


def test_opposites_cancel_and_trade_nothing() -> None:
    result = simulate(rm.market(), together({"a": Follow, "b": Against}), **TERMS)
    assert len(result.fills) == 0
    assert (result.equity == result.start_equity).all()
    table = result.attribution.table
    assert abs(table.loc["a", "profit"]) > 100.0
    assert table.loc["a", "profit"] == -table.loc["b", "profit"]
    assert table.loc["a", "funding"] == -table.loc["b", "funding"] != 0.0
    assert table.loc["a", "fees_saved"] == pytest.approx(0.0002 * table.loc["a", "netted"])
    assert (result.attribution.positions("a") == -result.attribution.positions("b")).all(axis=None)


def test_their_profits_are_those_of_each_alone_where_nothing_costs() -> None:
    """Without costs and with one decision, netting changes nothing for anyone."""
    from backtest import Costs
    from backtest.venue import Fees, Tier, Venue

    free = Venue("free", "linear", Fees(0.0, 0.0, 0.0), (Tier(0.0, 1e12, 0.01, 50.0),))
    terms: dict[str, Any] = {"venue": free, "costs": Costs.none()}
    a, b = [None, 1.0], [None, None, None, -0.4]
    both = walked(a, b, **terms)
    only_a = walked(a, **terms)
    assert both.attribution.table.loc["a", "profit"] == pytest.approx(only_a.equity.iloc[-1] - 10_000.0)
    opened = float(both.positions.iloc[5, 0])
    assert opened == pytest.approx(sum(both.attribution.positions(n).iloc[5, 0] for n in "ab"))


def test_hold_keeps_the_quantity_while_another_trades() -> None:
    result = walked([None, 1.0], [None, None, None, 0.5, None, 0.0])
    held = result.attribution.positions("a").iloc[:, 0]
    assert held.iloc[2] > 0.0
    assert (held.iloc[2:] == held.iloc[2]).all()
    assert result.attribution.positions("b").iloc[6:, 0].abs().max() == 0.0


def test_what_nets_inside_goes_at_the_open_and_costs_nothing() -> None:
    market = rm.market(days=4)
    result = walked([None, 1.0, None, 0.0], [None, None, None, 0.6], market=market)
    a, b = (result.attribution.positions(n).iloc[:, 0] for n in "ab")
    assert (a.iloc[4], b.iloc[3]) == (0.0, 0.0)
    fills = result.fills
    assert len(fills) == 2
    assert fills["quantity"].iloc[1] == pytest.approx(b.iloc[4] - a.iloc[3])  # only the difference was sold
    opened = np.asarray(market.open)[4]
    assert result.attribution.table.loc["b", "fees"] == 0.0
    assert result.attribution.table.loc["b", "traded"] == 0.0
    assert result.attribution.table.loc["b", "netted"] == pytest.approx(b.iloc[4] * opened)


def test_a_weight_scales_targets_and_what_is_seen() -> None:
    market = rm.market(days=60)
    half = simulate(market, together({"a": Follow(leverage=2.0)}, {"a": 0.5}), **TERMS)
    whole = simulate(market, together({"a": Follow(leverage=1.0)}), **TERMS)
    pd.testing.assert_series_equal(half.equity, whole.equity)


def test_stops_are_each_ones_own_and_looked_at_at_the_close() -> None:
    class Stopped(Path):
        stop_loss: float = 0.02

    market = rm.market(days=30)
    close = np.asarray(market.close)
    PATHS[:] = [[None, 1.0], [None, 0.5]]
    result = simulate(market, together({"a": Stopped(which=0), "b": Path(which=1)}), **TERMS)
    entry = float(result.fills["price"].iloc[0])
    hit = int(np.flatnonzero(close[2:] <= entry * 0.98)[0]) + 2
    held = result.attribution.positions("a").iloc[:, 0].to_numpy()
    assert held[hit] > 0.0
    assert (held[hit + 1 :] == 0.0).all()
    assert (result.attribution.positions("b").iloc[2:, 0] > 0.0).all()


def test_a_liquidation_takes_from_every_book_and_is_paid_by_the_side_that_was_closed() -> None:
    market = rm.market(days=200, seed=3)
    result = walked([None, 25.0], [None, -5.0], market=market)
    liquidations = result.liquidations
    assert len(liquidations) == 1
    bar = int(result.run.liquidations["bar"][0])
    for name in "ab":
        assert result.attribution.positions(name).iloc[bar, 0] == 0.0
        assert result.attribution.positions(name).iloc[bar - 1, 0] != 0.0
    table = result.attribution.table
    assert table.loc["b", "liquidation"] == 0.0
    assert table.loc["(account)", "liquidation"] == pytest.approx(table.loc["a", "liquidation"])
    assert table.loc["(account)", "profit"] == pytest.approx(result.equity.iloc[-1] - 10_000.0, abs=1e-9)


def test_a_refused_order_leaves_each_with_what_it_holds() -> None:
    result = walked([None, 1.0], [None, None, None, 60.0])  # more than the tier allows
    assert len(result.refused) == 1
    assert result.attribution.positions("b").abs().max(axis=None) == 0.0
    assert result.attribution.positions("a").iloc[5, 0] > 0.0


def test_the_smaller_side_gets_out_even_where_the_rest_is_refused() -> None:
    result = walked([None, 1.0, None, 0.0], [None, None, None, 60.0])
    assert len(result.refused) == 1
    assert result.attribution.positions("a").iloc[4, 0] == 0.0  # b took it over
    assert result.attribution.positions("b").iloc[4, 0] == pytest.approx(result.positions.iloc[3, 0])


def two_coins() -> Market:
    return rm.together({"AAA/USDT:USDT": rm.market(days=60), "BBB/USDT:USDT": rm.market(days=60, seed=8)})


class Wide(Strategy):
    """Long what is above its mean; its features are one a symbol."""

    length: int = 12

    @property
    def warmup(self) -> int:
        return self.length

    def features(self, market: Market) -> dict[str, Any]:
        frame = pd.DataFrame(np.asarray(market.close).reshape(len(market), -1))
        away = (frame / frame.rolling(self.length).mean() - 1.0).fillna(0.0).to_numpy()
        return {"away": away[:, 0] if len(market.symbols) == 1 else away}

    @staticmethod
    def decide(position: float, away: float) -> float:
        if away > 0.01:
            return 0.4 if position <= 0.0 else HOLD
        return 0.0 if position != 0.0 else HOLD


def test_a_strategy_on_some_of_the_symbols() -> None:
    market = two_coins()
    account = Account(mode="cross")
    both = together({"all": Wide, "one": Wide(length=30)}, symbols={"one": ["BBB/USDT:USDT"]})
    result = simulate(market, both, account=account, **TERMS)
    held = result.attribution.positions("one")
    assert (held["AAA/USDT:USDT"] == 0.0).all()
    assert (held["BBB/USDT:USDT"] != 0.0).any()
    assert (result.attribution.positions("all") != 0.0).any().all()
    total = result.equity.iloc[-1] - result.start_equity
    assert result.attribution.total == pytest.approx(total, abs=1e-9 * 10_000)


def test_nobody_trades_before_all_are_warm_unless_told_to() -> None:
    market = rm.market(days=60)
    both = together({"a": Follow(length=6), "b": Against(length=90)})
    late, early = simulate(market, both, **TERMS), simulate(market, both, warmup=0, **TERMS)
    assert int(late.run.fills["bar"][0]) > 90
    assert int(early.run.fills["bar"][0]) < 90
    slow = early.attribution.positions("b").iloc[:, 0].to_numpy()
    assert (slow[:91] == 0.0).all()
    assert (slow[91:] != 0.0).any()


def test_delay_and_participation() -> None:
    market = rm.market(days=60)
    both = together({"a": Follow(length=6), "b": Against(length=24, leverage=2.0)})
    for account in (Account(delay=2), Account(participation=1e-4)):
        result = simulate(market, both, account=account, **TERMS)
        found = result.attribution
        assert len(result.fills) > 10
        assert np.abs(found.books.sum(axis=0) - result.positions.to_numpy()).max() < 1e-9
        assert found.total == pytest.approx(result.equity.iloc[-1] - result.start_equity, abs=1e-7)


def test_it_is_a_strategy_like_any_other() -> None:
    both = together({"a": Follow, "b": Against(length=24)}, {"b": 0.5})
    assert both.parameters["b_length"] == 24
    assert both.parameters["b_weight"] == 0.5
    assert both.replace(a_length=6) == together({"a": Follow(length=6), "b": Against(length=24)}, {"b": 0.5})
    assert pickle.loads(pickle.dumps(together({"a": Follow}))).parameters == together({"a": Follow}).parameters
    market = rm.market(days=60)
    table = measure(market, [both.replace(a_length=n) for n in (6, 12)], **TERMS)
    alone = [simulate(market, both.replace(a_length=n), **TERMS).measures["total_return"] for n in (6, 12)]
    np.testing.assert_allclose(table["total_return"].to_numpy(), alone, rtol=1e-12)


def test_it_is_kept_with_the_result(tmp_path: Any) -> None:
    result = walked([None, 1.0], [None, -0.4])
    result.save(tmp_path / "kept")
    again = Result.load(tmp_path / "kept").attribution
    assert again is not None
    pd.testing.assert_frame_equal(again.table, result.attribution.table)
    pd.testing.assert_frame_equal(again.pnl, result.attribution.pnl)
    assert "a" in again._repr_html_()
    assert Result.load(simulate(rm.market(days=4), Follow, **TERMS).save(tmp_path / "one")).attribution is None


def test_it_is_one_trial(tmp_path: Any) -> None:
    from backtest.trials import register_of

    market = rm.market(days=60).registered(str(tmp_path))
    for weight in (1.0, 1.0, 0.5):
        simulate(market, together({"a": Follow, "b": Against(length=24)}, {"b": weight}), **TERMS)
    found = register_of(market).distinct()
    assert found.height == 2
    assert set(found["strategy"]) == {"FollowWithAgainst"}


class Resting(Follow):
    limit_offset: float = 0.002


class Late(Follow):
    delay: int = 1


class Wrong(Follow):
    @staticmethod
    def decide(position: float, away: float, band: float, leverage: float) -> float:
        return leverage / (away - away) * 0.0 if abs(away) > 0.02 else HOLD


@pytest.mark.parametrize(
    ("strategies", "more", "says"),
    [
        ({}, {}, "give strategies by name"),
        ({"a b": Follow}, {}, "cannot name a strategy"),
        ({"a": 3}, {}, "is no strategy"),
        ({"a": Follow}, {"weights": {"b": 1.0}}, "there is no strategy b"),
        ({"a": Follow}, {"weights": {"a": 0.0}}, "a number above 0"),
        ({"a": Resting}, {}, "a places limit orders"),
        ({"a": Late}, {}, "a has a delay of its own"),
        ({"a": Follow}, {"symbols": {"a": ["XYZ"]}}, "a trades XYZ, which the market does not hold"),
    ],
)
def test_what_cannot_be_is_refused(strategies: Any, more: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        simulate(rm.market(days=30), together(strategies, **more), **TERMS)


@pytest.mark.parametrize("jit", [True, False])
def test_a_bad_answer_is_told_with_whose_it_was(jit: bool) -> None:
    with pytest.raises(BadInput, match=r"second: Wrong\.decide at .* returned NaN"):
        simulate(rm.market(), together({"first": Follow, "second": Wrong}), jit=jit, **TERMS)


@pytest.mark.slow
def test_the_page_runs() -> None:
    names = doc_pages.run_python("together", {"market": strategy_markets.perps(2000)})
    table = names["result"].attribution.table
    assert list(table.index) == ["squeeze", "trend", "(account)"]
    assert names["wider"].parameters["trend_leverage"] == 3.0


def test_nothing_can_be_put_around_it() -> None:
    from backtest.stitched import stitched
    from backtest.walkforward import walk_forward
    from strategies.de_risk import de_risked

    both = together({"a": Follow, "b": Against})
    for put in (
        lambda: stitched([(0, 100, both)]),
        lambda: walk_forward(both, rm.market(), a_length=(6, 12)),
        lambda: de_risked(type(both)),
    ):
        with pytest.raises(BadInput, match="several strategies together, which cannot be"):
            put()
