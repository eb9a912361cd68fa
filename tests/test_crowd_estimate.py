"""A crowd estimated from a market: what it must agree with, that its books balance, that it runs and is shocked."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from backtest.calibration import DEPTH_SHARE
from backtest.crowd import ladder_errors as le
from backtest.crowd.estimate import LONG_SHARE, OPEN, estimated_machine
from backtest.crowd.kernel import layout as at
from backtest.crowd.ladder import LONG, SHORT, Levels, liquidation_map
from backtest.crowd.machine import Machine
from backtest.crowd.world import World
from backtest.venue import venue
from data.align import Bars
from data.errors import BadInput
from data.market import Market
from data.market_input import Points, SymbolData

HOUR = 3_600_000_000_000
START = int(np.datetime64("2025-01-01", "ns").astype(np.int64))
N = 24 * 40
ACCOUNTS = 4_000


def data(seed: int = 1, share: float | None = None, depth: float | None = None, n: int = N) -> SymbolData:
    """Hours of a made-up coin at about 60,000, with about 100,000 coins open."""
    rng = np.random.default_rng(seed)
    close = 60_000.0 * np.exp(np.cumsum(0.006 * rng.standard_normal(n)))
    opened = np.append(60_000.0, close[:-1])
    high, low = np.maximum(opened, close) * 1.003, np.minimum(opened, close) * 0.997
    ts = START + HOUR * np.arange(n, dtype=np.int64)
    known = ts + HOUR - 1
    held = 100_000.0 * np.exp(np.cumsum(0.004 * rng.standard_normal(n)))
    ratios = (
        {} if share is None else {"accounts": Points(ts, known, HOUR, {"ratio": np.full(n, share / (1.0 - share))})}
    )
    book = (
        None
        if depth is None
        else Points(ts, known, HOUR, {"bid_1pct": np.full(n, depth), "ask_1pct": np.full(n, depth)})
    )
    return SymbolData(
        candles=Bars(HOUR, ts, opened, high, low, close, volume=np.full(n, 5_000.0)),
        open_interest=Points(ts, known, HOUR, {"quantity": held}),
        ratios=ratios,
        depth=book,
    )


def market(name: str = "binance", n: int = N, **given: float | None) -> Market:
    return Market.build(name, {"BTC/USDT:USDT": data(n=n, **given)}, "1h", START, START + n * HOUR)  # type: ignore[arg-type]


@cache
def _made(share: float | None) -> tuple[Market, Machine]:
    source = market(share=share)
    return source, estimated_machine(source, accounts=ACCOUNTS)


def made(share: float | None = None) -> tuple[Market, Machine]:
    source, machine = _made(share)
    return source, machine.copy()


def test_it_agrees_with_the_market() -> None:
    source, machine = made()
    longs, shorts = machine.open_interest()
    assert longs == pytest.approx(source.open_interest[-1], rel=1e-9)
    assert shorts == pytest.approx(longs, rel=1e-12)
    assert machine.state[at.LONG] == pytest.approx(longs)
    assert machine.state[at.MARK] == machine.state[at.LAST] == pytest.approx(source.close[-1])
    assert (machine.world.coin.base, machine.world.venue.name) == ("BTC", "binance")
    a_year = math.sqrt(24 * 365) * np.std(np.diff(np.log(source.close[-720:])))
    assert math.hypot(machine.world.market.volatility, machine.world.own.volatility) == pytest.approx(a_year, rel=0.03)


def test_money_balances_and_nobody_is_liquidated_yet() -> None:
    _, machine = made()
    a, mark = machine.accounts, machine.state[at.MARK]
    assert abs(machine.imbalance()) < 1e-12
    held = a[at.Q] != 0.0
    assert (machine.equities()[held] > 0.0).all()
    assert a[[at.FREE, at.SIZE]].min() >= 0.0
    longs, shorts = a[at.Q] > 0.0, a[at.Q] < 0.0
    assert np.nanmax(a[at.LIQ, longs]) < mark < np.nanmin(a[at.LIQ, shorts])
    assert np.nanmax(a[at.STOP, longs]) < mark < np.nanmin(a[at.STOP, shorts])
    crowd = a[at.KIND] == at.RETAIL
    assert (crowd & held).sum() == round(OPEN * crowd.sum())
    assert np.isfinite(a[at.LIQ, crowd & held]).all()


def test_nobody_has_more_leverage_than_the_bracket_of_the_position_allows() -> None:
    _, machine = made()
    a, tiers = machine.accounts, machine.tiers
    held = (a[at.KIND] == at.RETAIL) & (a[at.Q] != 0.0)
    notional = np.abs(a[at.Q, held]) * a[at.ENTRY, held]
    most = tiers[np.searchsorted(tiers[:, 1], notional), 3]
    assert (notional / a[at.MARGIN, held] <= most * (1 + 1e-9)).all()
    assert (notional / a[at.MARGIN, held] > 0.9 * most).any()


def test_entries_are_prices_of_the_history_and_most_lie_lately() -> None:
    source, machine = made()
    a = machine.accounts
    entries = np.unique(a[at.ENTRY, (a[at.KIND] == at.RETAIL) & (a[at.Q] != 0.0)])
    assert np.isin(entries, source.close).all()
    assert len(entries) > 200
    week = np.isin(entries, source.close[-7 * 24 :])
    assert week.mean() > 0.25


def test_its_levels_are_those_of_the_map() -> None:
    """Of all accounts levered, several draws: more than one account is chance."""
    source = market(share=0.5)
    levels = Levels(levered=1.0)
    estimated = liquidation_map(source, levels=levels)
    draws = [le.true_map(estimated_machine(source, accounts=ACCOUNTS, levels=levels, seed=s)) for s in range(5)]
    for distance, tolerance in ((0.05, 0.35), (0.1, 0.25), (0.2, 0.2)):
        for side in (LONG, SHORT):
            drawn = np.mean([one.within(distance)[side] for one in draws])
            assert drawn == pytest.approx(estimated.within(distance)[side], rel=tolerance)
    assert np.mean([le.errors(estimated, one)[LONG].overlap for one in draws]) > 0.6


@pytest.mark.parametrize(("share", "lighter"), [(0.6, SHORT), (0.4, LONG)])
def test_dealers_hold_what_the_crowd_does_not(share: float, lighter: int) -> None:
    _, machine = made(share)
    a = machine.accounts
    sign = 1.0 if lighter == LONG else -1.0
    side = a[at.Q] * sign > 0.0
    of = {kind: np.abs(a[at.Q, side & (a[at.KIND] == kind)]).sum() for kind in (at.RETAIL, at.CARRY, at.ARBITRAGE)}
    all_ = machine.open_interest()[0]
    assert of[at.RETAIL] == pytest.approx(all_ * 0.4 / 0.6, rel=1e-9)
    assert of[at.CARRY] == pytest.approx(of[at.ARBITRAGE], rel=1e-6)
    other = (a[at.Q] * sign < 0.0) & (a[at.KIND] != at.RETAIL)
    assert np.abs(a[at.Q, other]).sum() <= 1e-6 * all_


def test_without_a_ratio_the_crowd_is_a_little_long() -> None:
    _, machine = made()
    a = machine.accounts
    shorts = -a[at.Q, (a[at.KIND] == at.RETAIL) & (a[at.Q] < 0.0)].sum()
    assert shorts / machine.open_interest()[0] == pytest.approx((1.0 - LONG_SHARE) / LONG_SHARE)


def test_depth_is_recorded_or_a_share_of_volume() -> None:
    source, machine = made()
    traded = 5_000.0 * 24 * source.close[-1]
    assert machine.world.coin.volume == pytest.approx(traded, rel=0.05)
    assert machine.world.coin.depth == pytest.approx(DEPTH_SHARE.value * machine.world.coin.volume)
    deep = estimated_machine(market(depth=7e7), accounts=ACCOUNTS)
    assert deep.world.coin.depth == pytest.approx(7e7)


def test_brackets_are_the_markets_own_or_the_venues() -> None:
    _, machine = made()
    assert machine.tiers[0, 2] == venue("binance").tiers_for("BTC")[0].mmr
    one = data()
    frame = pl.DataFrame({"ts": one.candles.ts, "open": one.candles.open, "high": one.candles.high,
                          "low": one.candles.low, "close": one.candles.close}) if one.candles else None  # fmt: skip
    held = pl.DataFrame({"ts": one.open_interest.ts, **one.open_interest.values}) if one.open_interest else None
    tiers = pl.DataFrame({"floor": [0.0, 1e6], "mmr": [0.02, 0.05]})
    stamped = [f.with_columns(pl.col("ts").cast(pl.Datetime("ns"))) for f in (frame, held) if f is not None]
    own = Market.from_frames(stamped[0], open_interest=stamped[1], tiers=tiers, venue="binance", symbol="BTC/USDT:USDT")
    assert estimated_machine(own, accounts=ACCOUNTS).tiers[:, 2].tolist() == [0.02, 0.05]


def test_a_shock_of_an_hour() -> None:
    _, machine = made()
    calm = np.zeros((60, 5))
    calm[:, 1] = 1e-3  # volatility, for the ticks between
    shock = calm.copy()
    shock[5, 0] = -0.06
    before = machine.state[at.MARK]
    quiet, hit = machine.copy(), machine.copy()
    a, b = quiet.run(count=60, path=calm), hit.run(count=60, path=shock)
    assert a.column(at.LIQ_LONG).sum() < 0.2 * b.column(at.LIQ_LONG).sum()
    met = le.true_map(machine).within(0.06)[LONG]
    assert b.column(at.LIQ_LONG).sum() > 0.3 * met
    assert b.column(at.M_LOW).min() < 0.945 * before
    assert abs(hit.imbalance()) < 1e-12
    longs, shorts = hit.open_interest()
    assert longs == pytest.approx(shorts, rel=1e-9)
    assert longs < machine.open_interest()[0]


def test_the_same_seed_is_the_same_crowd() -> None:
    source, first = made()
    again, other = (estimated_machine(source, accounts=ACCOUNTS, seed=seed) for seed in (7, 8))
    assert np.array_equal(first.accounts, again.accounts, equal_nan=True)
    assert not np.array_equal(first.accounts, other.accounts, equal_nan=True)


def test_nothing_after_the_moment_matters() -> None:
    whole, cut = market(), market()[: N - 100]
    when = np.datetime64(int(cut.end), "ns")
    a, b = (estimated_machine(m, at=when, accounts=ACCOUNTS) for m in (whole, cut))
    assert np.array_equal(a.accounts, b.accounts, equal_nan=True)
    assert a.world.coin == b.world.coin


def test_a_world_of_ones_own_keeps_its_venue_and_habits() -> None:
    own = World(venue=replace(venue("bybit"), name="mine"))
    machine = estimated_machine(market(), world=own, accounts=ACCOUNTS)
    assert machine.world.venue.name == "mine"
    assert machine.world.crowd == replace(own.crowd, accounts=ACCOUNTS)
    assert machine.world.coin.price == pytest.approx(market().close[-1])
    assert estimated_machine(market(name="user"), accounts=ACCOUNTS).world.venue.name == World().venue.name


def test_what_is_refused_says_why() -> None:
    one = data()
    bare = Market.build("binance", {"BTC/USDT:USDT": replace(one, open_interest=None)}, "1h", START, START + N * HOUR)
    for wrong, at_, symbol, told in (
        (bare, None, None, "BTC/USDT:USDT has no open interest"),
        (market(n=20), None, None, "a map needs 24"),
        (market(), "2025-01-01T10:00", None, "10 bars have open interest before 2025-01-01 10:00"),
        (market(), "2031-01-01", None, "is after the data"),
        (market(), None, "DOGE/USDT:USDT", "does not hold DOGE/USDT:USDT"),
        (Market.build("binance", {"BTC/USD:BTC": one}, "1h", START, START + N * HOUR), None, None, "inverse contract"),
    ):
        with pytest.raises(BadInput, match=told) as error:
            estimated_machine(wrong, symbol, at_, accounts=ACCOUNTS)
        assert len(str(error.value).splitlines()) <= 2


@pytest.mark.real_data
def test_the_crowd_of_a_real_crash(shared_dir: Path) -> None:
    """2026-02-05: 15 % down in 18 hours; open interest fell by 7 %, Binance, which shows a part, printed 440 M."""
    start = pl.datetime(2025, 12, 5, time_unit="us")
    candles = pl.read_parquet(shared_dir / "candles" / "binance_1h.parquet").filter(
        (pl.col("symbol") == "BTCUSDT") & (pl.col("ts") >= start)
    )
    panel = pl.read_parquet(shared_dir / "liquidations" / "coinglass_btc_panel_1h.parquet").filter(
        pl.col("ts") >= start
    )
    held = panel.select(
        ts=pl.col("ts").dt.truncate("1h").dt.offset_by("59m"), quantity=pl.col("oi_close") / pl.col("price_close")
    )
    source = Market.from_frames(
        candles.drop("symbol").sort("ts"),
        open_interest=held.sort("ts"),
        venue="binance",
        symbol="BTC/USDT:USDT",
        interval="1h",
    )
    machine = estimated_machine(source, at="2026-02-05T12:00")
    notional = machine.open_interest()[0] * machine.state[at.MARK]
    assert 5e9 < notional < 8e9
    path = np.zeros((240, 5))
    path[:, 1] = 1e-3
    path[:180, 0] = math.log(0.88) / 180
    history = machine.run(count=240, path=path)
    assert 1e8 < history.column(at.LIQ_LONG).sum() < 3e9
    assert 0.75 < history.column(at.OI)[-1] / history.column(at.OI)[0] < 0.99
    assert abs(machine.imbalance()) < 1e-12
