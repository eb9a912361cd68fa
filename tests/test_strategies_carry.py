"""strategies.carry and strategies.parts: two legs that earn funding, whatever the price does; a market taken apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from strategy_markets import perps, scene

from backtest.account import Account
from backtest.costs import Costs
from backtest.engine import simulate
from backtest.features import features_of
from backtest.result import Result
from data.align import Bars
from data.errors import BadInput
from data.market import FIELDS, Market
from strategies.carry import Carry, account_for, hedged, legs_of
from strategies.parts import symbol_data

N = 60 * 24
PAYS = np.full(N // 8, 2e-4)  # 2 bp every eight hours: 21.9 % a year


def run(market: Market, strategy: Carry | None = None, account: Account | None = None) -> Result:
    return simulate(
        market, strategy or Carry(), venue="binance", account=account or account_for(market),
        costs=Costs.none(maker=0.0, taker=0.0),
    )  # fmt: skip


def test_it_earns_the_funding_and_nothing_else() -> None:
    close = 100.0 * np.exp(0.01 * np.random.default_rng(4).normal(size=N).cumsum())
    market = hedged(scene(close, None, PAYS), "trade")
    result = run(market)
    paid = result.run.fundings
    first = int(result.run.fills["bar"].min())
    assert first == 37 * 24 + 8 + 1  # a week of funding, thirty days of patience, a settlement
    assert (paid["amount"] > 0.0).all()
    earned = result.run.series["equity"][-1] - 10_000.0
    assert earned == pytest.approx(paid["amount"].sum(), rel=1e-6)
    legs = result.run.leg_series["position"][first + 1 :]
    spot, perp = legs_of(market)[0]
    np.testing.assert_allclose(legs[:, spot], -legs[:, perp], rtol=1e-9)
    days = (N - first) / 24
    assert earned / 10_000.0 == pytest.approx(0.5 * 2e-4 * 3 * days, rel=0.1)  # half the account, three times a day


def test_it_leaves_when_funding_no_longer_pays_and_comes_back_above_the_entry() -> None:
    rate = PAYS.copy()
    rate[130:150], rate[150:] = -1e-4, 4e-4
    market = hedged(scene(np.full(N, 100.0), None, rate), "trade")
    held = run(market).run.leg_series["position"][:, 0] != 0.0
    changes = np.flatnonzero(np.diff(held.astype(int)))
    assert len(changes) == 3  # in, out, in
    out, again = changes[1] // 24, changes[2] // 24
    assert 130 / 3 < out < 150 / 3 < again


def test_a_carry_between_the_levels_ends_with_patience() -> None:
    rate = PAYS.copy()
    rate[40:] = 5e-5  # 5.5 % a year: above the exit, below the entry
    market = hedged(scene(np.full(N, 100.0), None, rate), "trade")
    features, _ = features_of(Carry(patience="7d"), market.features_view())
    held = features["held"][:, 0]
    last_above = 24 * 20  # about: the mean of a week falls below 10 % in these days
    assert held[last_above - 100] == 1.0
    assert held[last_above + 24 * 10 :].max() == 0.0


def test_a_rise_shrinks_both_legs_before_the_short_one_is_liquidated() -> None:
    close = 100.0 * np.exp(np.maximum(np.arange(N) - 1000, 0) * 0.004)  # five times as high at the end
    market = hedged(scene(close, None, PAYS), "trade")
    result = run(market)
    assert len(result.run.liquidations) == 0
    assert len(result.run.fills) > 6  # adjusted on the way


def test_a_jump_liquidates_the_short_leg_and_the_coin_pays_for_it() -> None:
    market = hedged(scene(np.where(np.arange(N) < 1200, 100.0, 250.0), None, PAYS), "trade")
    result = run(market)
    assert len(result.run.liquidations) == 1
    held = result.run.leg_series["position"]
    np.testing.assert_allclose(held[-1, 0], -held[-1, 1], rtol=1e-9)  # and it stands again on both legs
    assert 5_000.0 < result.run.series["equity"][-1] < 15_000.0


def without_bars(market: Market, symbol: str, first: int, last: int, **facts: Any) -> Market:
    """The market with a hole in the candles of one leg."""
    data = {s: symbol_data(market, s) for s in market.symbols}
    bars = data[symbol].candles
    assert bars is not None
    keep = np.ones(len(bars.ts), dtype=bool)
    keep[first:last] = False
    prices = (getattr(bars, name)[keep] for name in ("open", "high", "low", "close"))
    instrument = {**market.instrument(symbol), **facts}
    data[symbol] = replace(data[symbol], candles=Bars(bars.interval, bars.ts[keep], *prices), instrument=instrument)
    return Market.build("user", data, market.interval, market.start, market.end)


def test_the_legs_hold_as_many_coins_whatever_the_basis_the_lots_and_the_band() -> None:
    """One leg alone over its band would be brought back alone, and half a hedge is a bet."""
    wide = perps(4000, 2)
    for lots in ((0.0, 0.0), (0.01, 0.07)):
        base = hedged(wide)
        data = {
            s: symbol_data(base, s, instrument={**base.instrument(s)} | ({"lot_size": lot} if lot else {}))
            for s, lot in zip(base.symbols, lots, strict=True)
        }
        market = Market.build("user", data, base.interval, base.start, base.end)
        assert np.nanmax(np.abs(market.close[:, 0] / market.close[:, 1] - 1.0)) > 0.001  # there is a basis
        result = run(market, Carry(entry=0.02, exit=-0.5, band=0.05))
        assert len(np.unique(result.run.fills["bar"])) > 10
        legs = result.run.leg_series["position"]
        np.testing.assert_allclose(legs[:, 0], -legs[:, 1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USDT:USDT"])
def test_no_leg_is_entered_while_the_other_does_not_trade(symbol: str) -> None:
    market = without_bars(hedged(scene(np.full(N, 100.0), None, PAYS), "trade"), symbol, 890, 905)
    legs = run(market).run.leg_series["position"]
    np.testing.assert_allclose(legs[:, 0], -legs[:, 1], rtol=1e-9)
    assert (legs[900] == 0.0).all()
    assert (legs[910] != 0.0).all()


def test_the_coin_is_sold_once_its_perpetual_is_delisted() -> None:
    market = hedged(scene(np.full(N, 100.0), None, PAYS), "trade")
    perp, when = "BTC/USDT:USDT", int(market.ts[1200])
    ended = without_bars(market, perp, 1200, N, delisted=when, delisted_known_at=int(market.ts[1100]))
    held = run(ended).run.leg_series["position"]
    assert (held[1190] != 0.0).all()
    assert (held[1203:] == 0.0).all()


def test_a_dated_future_is_no_leg() -> None:
    """It has the coin of the perpetual in its name, and pays no funding: as a leg it would be short by itself."""
    base = hedged(perps(300))
    data = {s: symbol_data(base, s) for s in base.symbols}
    dated = "BTC/USDT:USDT-250627"
    data[dated] = symbol_data(base, "BTC/USDT:USDT", funding=None)
    market = Market.build(base.venue, data, base.interval, base.start, base.end)
    assert [tuple(market.symbols[j] for j in pair) for pair in legs_of(market)] == [("BTC/USDT", "BTC/USDT:USDT")]
    with pytest.raises(BadInput, match=f"{dated} is no perpetual"):
        hedged(market.select([dated]))


def test_a_market_of_one_leg_is_refused_with_the_way_out() -> None:
    with pytest.raises(BadInput, match=r"such as BTC/USDT and BTC/USDT:USDT: bring in candles of both, or take"):
        run(scene(np.full(N, 100.0), None, PAYS), account=Account())
    with pytest.raises(BadInput, match=r"such as BTC/USDT and BTC/USDT:USDT: bring in candles of both"):
        account_for(hedged(perps(50)).select(["BTC/USDT"]))
    with pytest.raises(BadInput, match="the market holds no index"):
        hedged(scene(np.full(10, 100.0)))
    with pytest.raises(BadInput, match="is no perpetual"):
        hedged(hedged(scene(np.full(10, 100.0)), "trade"), "trade")


def test_the_spot_leg_is_made_of_what_is_asked_for() -> None:
    perp = perps(300)
    for price, close in (("index", perp.index), ("mark", perp.mark_close), ("trade", perp.close)):
        market = hedged(perp, price)
        assert market.symbols == ("BTC/USDT:USDT", "BTC/USDT")
        np.testing.assert_array_equal(market.close[:, 1], close)
        np.testing.assert_array_equal(market.quote_volume[:, 1], perp.quote_volume)
        assert market.instrument("BTC/USDT")["contract"] == "spot"
        assert np.isnan(market.funding_8h[:, 1]).all()


@pytest.mark.parametrize("holes", [0.0, 0.2])
def test_a_market_taken_apart_and_built_again_is_the_same(holes: float) -> None:
    market = perps(400, 3, 2, holes)
    again = Market.build(
        market.venue, {s: symbol_data(market, s) for s in market.symbols}, market.interval, market.start, market.end
    )
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(again, name), getattr(market, name), err_msg=name)
    assert again.held == market.held
    for one, other in ((again, market), (again.features_view(), market.features_view())):
        for name in other.settlements.dtype.names or ():
            np.testing.assert_array_equal(one.settlements[name], other.settlements[name], err_msg=name)
