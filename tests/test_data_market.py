"""data.market: what a market holds, its parts, its hash, and markets from the user's own frames."""

from __future__ import annotations

import datetime as dt
import pickle
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import polars as pl
import pytest

from data import clock
from data.align import Bars, Grid
from data.errors import BadInput, BadRow, MissingColumn, NotFound
from data.market import FIELDS, Flow, GridBars, Market, Points, Settlements, SymbolData
from data.market_input import SETTLEMENT, TIER

MIN, H, DAY = clock.MINUTE, clock.HOUR, clock.DAY
T0 = clock.moment("2024-01-01")
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"


def random_bars(seed: int, n: int, interval: int = MIN, start: int = T0) -> Bars:
    rng = np.random.default_rng(seed)
    close = 100 + np.cumsum(rng.normal(0, 0.5, n))
    open_ = np.concatenate([[100.0], close[:-1]])
    spread = rng.random((2, n))
    high, low = np.maximum(open_, close) + spread[0], np.minimum(open_, close) - spread[1]
    ts = start + np.arange(n) * interval
    return Bars(interval, ts, open_, high, low, close, rng.random(n), rng.random(n) * 100, rng.random(n))


def settlements(*hours: float, rate: float = 0.0001, interval: float = 8.0, lag: int = 0) -> Settlements:
    ts = T0 + (np.array(hours) * H).astype(np.int64)
    k = len(ts)
    return Settlements(ts, ts + 7, ts + lag, np.full(k, rate), np.full(k, interval), np.full(k, np.nan))


def tier_rows(valid_from: int, floors: list[float]) -> np.ndarray:
    rows = np.zeros(len(floors), TIER)
    rows["valid_from"] = rows["known_at"] = valid_from
    rows["floor"], rows["cap"] = floors, [*floors[1:], np.nan]
    rows["tier"], rows["mmr"] = np.arange(1, len(floors) + 1), 0.004
    return rows


def full(seed: int, n: int = 1440) -> SymbolData:
    bars = random_bars(seed, n)
    ts = T0 + np.arange(0, n * MIN, 5 * MIN)
    rng = np.random.default_rng(seed + 100)
    events = np.sort(T0 + rng.integers(0, n * MIN, 200))
    points = Points(ts, ts, 5 * MIN, {"quantity": rng.random(len(ts)), "value": rng.random(len(ts))})
    return SymbolData(
        candles=bars,
        marks=(random_bars(seed, n // 60, H),),
        index=(bars,),
        funding=settlements(0, 8, 16),
        open_interest=points,
        ratios={"accounts": Points(ts, ts, 5 * MIN, {"ratio": rng.random(len(ts))})},
        liquidations=Flow(events, events, rng.random(200), rng.random(200), "complete", [(T0, T0 + n * MIN)]),
        tiers=tier_rows(T0, [0.0, 50_000.0]),
        instrument={"tick_size": 0.1},
    )


def one(n: int = 1440) -> Market:
    return Market.build("binance", {BTC: full(1, n)}, "1m", T0, T0 + n * MIN)


def two(n: int = 1440) -> Market:
    return Market.build("binance", {BTC: full(1, n), ETH: full(2, n)}, "1m", T0, T0 + n * MIN)


def small(n: int, **kinds) -> Market:
    return Market.build("binance", {BTC: SymbolData(candles=random_bars(3, n), **kinds)}, MIN, T0, T0 + n * MIN)


# ---- arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("market", "shape"), [(one(), (1440,)), (two(), (1440, 2))])
def test_every_array_is_contiguous_float64_of_one_shape_and_refuses_writing(market: Market, shape) -> None:
    for name in FIELDS:
        array = getattr(market, name)
        assert (array.shape, array.dtype, array.flags.c_contiguous) == (shape, np.float64, True), name
    rest = (market.ts, market.present, market.mark_source, market.settlements, market.tiers)
    for array in (*(getattr(market, name) for name in FIELDS), *rest):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]
    with pytest.raises(AttributeError, match="cannot be changed"):
        market.close = market.open
    assert market.ts.tolist()[:2] == [T0, T0 + MIN]
    assert len(market) == 1440


def test_candles_lie_where_they_belong_whatever_their_order_and_holes_are_nan() -> None:
    bars = random_bars(1, 100)
    rows = np.random.default_rng(5).permutation(np.setdiff1d(np.arange(100), [7, 8, 50]))
    regular = Market.build("x", {BTC: SymbolData(candles=bars)}, MIN, T0, T0 + 100 * MIN)
    holey = Market.build("x", {BTC: SymbolData(candles=bars.take(rows))}, MIN, T0, T0 + 100 * MIN)
    assert np.flatnonzero(~holey.present).tolist() == [7, 8, 50]
    for name in ("open", "close", "volume", "taker_buy_volume"):
        values = getattr(regular, name).copy()
        np.testing.assert_array_equal(values, getattr(bars, name))
        values[[7, 8, 50]] = np.nan
        np.testing.assert_array_equal(getattr(holey, name), values)
    assert any("3 of 100 bars are missing" in w for w in holey.warnings)


def test_candles_outside_the_range_are_left_out_and_doubled_ones_refused() -> None:
    bars = random_bars(1, 100)
    market = Market.build("x", {BTC: SymbolData(candles=bars)}, MIN, T0 + 10 * MIN, T0 + 120 * MIN)
    np.testing.assert_array_equal(market.close[:90], bars.close[10:])
    assert np.isnan(market.close[90:]).all()
    for part in (slice(2, 9), [20, 5, 20]):
        twice = bars.take(np.concatenate([np.arange(10), np.arange(100)[part]]))
        with pytest.raises(BadInput, match="two bars open at"):
            Market.build("x", {BTC: SymbolData(candles=twice)}, MIN, T0, T0 + 100 * MIN)
    off = replace(bars, ts=bars.ts + clock.SECOND)
    with pytest.raises(BadInput, match="no multiple of 1m"):
        Market.build("x", {BTC: SymbolData(candles=off)}, MIN, T0, T0 + 100 * MIN)


def test_a_symbol_asked_for_twice_is_refused() -> None:
    with pytest.raises(BadInput, match=f"{ETH} is asked for twice"):
        GridBars(Grid(T0, MIN, 3), [ETH, BTC, ETH])


def test_candles_may_come_in_chunks_of_microseconds() -> None:
    bars, grid = random_bars(1, 100), Grid(T0, MIN, 100)
    builder = GridBars(grid, [BTC, ETH])
    for rows in (np.arange(-5, 40), np.arange(70, 39, -1), np.arange(71, 130)):
        inside = rows[(rows >= 0) & (rows < 100)]
        columns = {name: getattr(bars, name)[inside] for name in ("open", "high", "low", "close", "volume")}
        builder.add(ETH, bars.ts[inside] // 1000, columns, unit=1000)
    with pytest.raises(BadInput, match="two bars open"):
        builder.add(ETH, bars.ts[40:42] // 1000, {"close": bars.close[40:42]}, unit=1000)
    market = Market.build("x", {BTC: SymbolData(), ETH: SymbolData()}, MIN, T0, grid.end, candles=builder)
    np.testing.assert_array_equal(market[ETH].close, bars.close)
    np.testing.assert_array_equal(market[ETH].volume, bars.volume)
    assert not market[BTC].present.any()
    assert market.close is builder.arrays["close"]  # no copy
    with pytest.raises(BadInput, match="another grid"):
        Market.build("x", {BTC: SymbolData()}, MIN, T0, grid.end, candles=builder)


def test_a_candle_without_a_close_is_not_there() -> None:
    bars = random_bars(1, 3)
    bars.close[1] = np.nan
    assert Market.build("x", {BTC: SymbolData(candles=bars)}, MIN, T0, T0 + 3 * MIN).present.tolist() == [
        True,
        False,
        True,
    ]


def test_finer_candles_add_up_and_coarser_ones_are_refused() -> None:
    bars = random_bars(1, 60)
    market = Market.build("x", {BTC: SymbolData(candles=bars)}, "5m", T0, T0 + H)
    np.testing.assert_array_equal(market.high, bars.high.reshape(12, 5).max(axis=1))
    np.testing.assert_array_equal(market.close, bars.close[4::5])
    with pytest.raises(BadInput, match="1m candles cannot make 30s bars"):
        Market.build("x", {BTC: SymbolData(candles=bars)}, "30s", T0, T0 + H)


def test_absent_fields_are_nan_and_unknown_names_get_a_hint() -> None:
    market = small(10)
    assert np.isnan(market.open_interest).all()
    assert market.coverage.of("open_interest").missing == 10
    with pytest.raises(AttributeError, match="did you mean funding_8h"):
        _ = market.funding_8
    assert not hasattr(market, "_anything")


def test_number_of_bars_in_a_duration() -> None:
    market = small(10)
    assert market.bars("3d") == 4320
    assert market.bars(MIN) == 1
    for bad in ("30s", "90s"):
        with pytest.raises(BadInput, match="no whole number of 1m bars"):
            market.bars(bad)


# ---- fields ------------------------------------------------------------------------------------


def test_the_mark_is_the_trade_price_where_there_is_no_mark_and_shares_its_memory() -> None:
    market = small(10)
    assert np.shares_memory(market.mark_close, market.close)
    assert market.mark_source.tolist() == [0] * 10
    assert "marks stood in by trades in 10 of 10 bars" in market.warnings


def test_features_view_replaces_clipped_marks_and_hides_that_they_were() -> None:
    bars = random_bars(3, 4)
    coarse = Bars(2 * MIN, bars.ts[:1], *(np.full(1, p) for p in (99.9, 100.0, 99.8, 99.9)))
    exact = Bars(MIN, bars.ts[3:], *(np.full(1, p) for p in (50.0, 51.0, 49.0, 50.5)))
    market = small(4, marks=(coarse, exact))
    assert market.mark_source.tolist() == [1, 1, 0, 2]
    assert market.mark_high[:2].max() <= 100.0
    seen = market.features_view()
    assert seen.mark_source.tolist() == [0, 0, 0, 2]
    np.testing.assert_array_equal(seen.mark_high, [*bars.high[:3], 51.0])
    np.testing.assert_array_equal(seen.close, market.close)
    assert np.shares_memory(seen.close, market.close)
    assert any("inside coarser mark bars in 2 of 4" in w for w in market.warnings)


def test_index_is_exact_from_bars_that_end_with_ours_and_else_the_last_complete_coarser_one() -> None:
    fine, coarse = random_bars(7, 4), random_bars(8, 3, 2 * MIN, T0 - 2 * MIN)
    market = small(6, index=(fine, coarse))
    np.testing.assert_array_equal(market.index[:4], fine.close)
    # the coarse bar of minutes 2 and 3 ends at the close of bar 3: known to bar 4 and 5
    np.testing.assert_array_equal(market.index[4:], [coarse.close[2]] * 2)
    only = small(6, index=(coarse,))
    np.testing.assert_array_equal(only.index, np.repeat(coarse.close, 2))


def test_liquidations_are_events_where_those_cover_else_source_bars_else_nan() -> None:
    at = T0 + np.array([30, 90, 200, 400]) * clock.SECOND
    events = Flow(at, at, np.array([1.0, 2, 0, 9]), np.array([0.0, 0, 4, 9]), "sampled", [(T0, T0 + 4 * MIN)])
    opens = T0 + np.arange(8) * MIN
    bars = Flow(opens, opens + MIN, np.full(8, 100.0), np.full(8, 50.0), "aggregated", [(T0, T0 + 5 * MIN)], lag=MIN)
    market = small(8, liquidations=events, liquidation_bars=bars)
    # bar 4 and 5 come from the source bars of one minute before
    np.testing.assert_array_equal(market.liq_long, [1, 2, 0, 0, 100, 100, np.nan, np.nan])
    np.testing.assert_array_equal(market.liq_short, [0, 0, 0, 4, 50, 50, np.nan, np.nan])
    assert "lower bound" in market.coverage.symbols[0].liquidation_feed
    assert any(w.startswith("liquidation feed is sampled: a lower bound") for w in market.warnings)
    assert any("3 liquidation rows lie outside" in w for w in market.warnings)
    assert not any("lie outside" in w for w in market[2:5].warnings)
    for part in (market[6:], market[2:].resample("2m")[2:], market[3:][3:].features_view()):
        assert "3 liquidation rows lie outside what their feed covers and are left out" in part.warnings
    both = Market.build("x", {ETH: SymbolData(), BTC: SymbolData(liquidations=events)}, MIN, T0, T0 + 8 * MIN)
    assert any("1 liquidation rows lie outside" in w for w in both[5:][BTC].warnings)


def test_a_revised_source_bar_is_not_counted_twice() -> None:
    opens = T0 + np.array([0, 0]) * MIN
    bars = Flow(opens, opens + np.array([3, 1]) * MIN, np.array([7.0, 5.0]), np.zeros(2), spans=[(T0, T0 + 9 * MIN)])
    assert small(5, liquidation_bars=bars).liq_long.tolist() == [0, 5, 0, 0, 0]


def test_a_range_without_a_candle_is_told_first() -> None:
    text = "no candle of {} lies between 2024-01-02 00:00 and 2024-01-02 02:00"
    data = {ETH: SymbolData(candles=random_bars(1, 120, MIN, T0 + DAY + H)), BTC: full(1)}
    market = Market.build("x", data, MIN, T0 + DAY, T0 + DAY + 2 * H)
    assert market.warnings[0] == text.format(BTC)
    assert f"{ETH}: 60 of 120 bars are missing: nothing trades in them" in market.warnings
    assert not any(w.startswith(f"{BTC}: ") and "nothing trades" in w for w in market.warnings)
    assert market[BTC].warnings[0] == text.format(BTC)


def test_stale_values_are_nan_counted_and_told() -> None:
    ts = T0 + np.array([0, 1, 9]) * MIN
    points = Points(ts, ts, MIN, {"quantity": np.array([1.0, 2.0, 3.0])})
    market = small(12, open_interest=points)
    np.testing.assert_array_equal(market.open_interest, [1, 2, 2, *[np.nan] * 6, 3, 3, np.nan])
    row = market.coverage.of("open_interest", BTC)
    assert (row.present, row.missing, row.stale, row.share) == (5, 7, 7, 5 / 12)
    assert market[:6].coverage.of("open_interest").stale == 3
    assert any("open_interest is missing in 7 of 12 bars because" in w for w in market.warnings)


def test_settlements_lie_in_the_bar_that_contains_them_and_missing_ones_are_counted() -> None:
    market = Market.build(
        "x", {BTC: SymbolData(candles=random_bars(1, 48, H), funding=settlements(-8, 0, 8, 32))}, H, T0, T0 + 2 * DAY
    )
    assert market.settlements["bar"].tolist() == [0, 8, 32]
    assert (market.settlements["raw_ts"] - market.settlements["ts"]).tolist() == [7, 7, 7]
    row = market.coverage.symbols[0]
    assert (row.settlements_found, row.settlements_expected) == (3, 6)  # 16, 24 and 40 are missing
    assert "3 of 6 settlements are missing, the first at 2024-01-01 16:00" in market.warnings
    part = market[10:40]
    assert part.settlements["bar"].tolist() == [22]
    assert part.coverage.symbols[0].settlements_expected == 3
    assert np.isnan(market[BTC].funding_8h).sum() == 8  # 24..31: stale; the rate from before the range is seen in bar 0


def test_a_market_pays_the_last_version_of_a_settlement_and_shows_features_each_when_known() -> None:
    ts = T0 + np.array([2, 2]) * H
    versions = Settlements(ts, ts, ts + np.array([0, 3]) * H, np.array([0.1, 0.2]), np.full(2, 8.0), np.full(2, np.nan))
    market = Market.build("x", {BTC: SymbolData(candles=random_bars(1, 8, H), funding=versions)}, H, T0, T0 + 8 * H)
    assert [(s["bar"], s["rate"]) for s in market.settlements] == [(2, 0.2)]
    assert [(s["bar"], s["rate"]) for s in market.features_view().settlements] == [(2, 0.1), (5, 0.2)]
    np.testing.assert_array_equal(market.funding_8h, [np.nan, np.nan, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2])
    early = market[:4].features_view()
    assert early.settlements["rate"].tolist() == [0.1]


def test_tiers_and_instruments_are_those_in_force() -> None:
    late = tier_rows(T0 + H, [0.0, 10.0, 20.0])
    hidden = tier_rows(T0 + H, [0.0])
    hidden["known_at"] += 5 * H
    tiers = np.concatenate([tier_rows(T0, [0.0, 5.0]), late, hidden])
    market = small(10, tiers=tiers, instrument={"tick_size": 0.5})
    assert len(market.tiers_at(T0 - 1)) == 0
    assert market.tiers_at("2024-01-01").tolist()[1][3:5] == (5.0, np.inf)
    assert market.tiers_at(T0 + H - 1)["floor"].tolist() == [0.0, 5.0]
    assert market.tiers_at(T0 + H, "BTCUSDT")["floor"].tolist() == [0.0, 10.0, 20.0]
    assert market.tiers_at(T0 + 6 * H)["floor"].tolist() == [0.0]
    assert market.instrument(BTC)["tick_size"] == 0.5
    assert small(3).instrument() == {}
    with pytest.raises(BadInput, match="say which symbol"):
        two(10).tiers_at(T0)


# ---- parts -------------------------------------------------------------------------------------


def test_slices_are_views_with_settlements_rebased() -> None:
    market = two()
    part = market[600:1000]
    for name in ("close", "mark_close", "liq_long", "funding_8h"):
        assert np.shares_memory(getattr(part, name), getattr(market, name))
        np.testing.assert_array_equal(getattr(part, name), getattr(market, name)[600:1000])
    assert (part.start, len(part)) == (T0 + 600 * MIN, 400)
    assert part.settlements["bar"].tolist() == [360, 360]
    assert part.settlements["ts"].tolist() == [T0 + 16 * H] * 2
    assert market.settlements["bar"].tolist() == [0, 0, 480, 480, 960, 960]
    assert len(market[-10:]) == 10
    for nothing in (slice(5, 5), slice(9, 3), slice(None, 0), slice(5000, None)):
        with pytest.raises(NotFound, match="the market has 1,440 bars"):
            market[nothing]


def test_slices_by_time_are_half_open_and_hold_whole_bars_only() -> None:
    days = Market.build("x", {BTC: SymbolData(candles=random_bars(1, 100, DAY))}, DAY, T0, T0 + 100 * DAY)
    assert len(days["2024-01":"2024-03"]) == 60
    assert len(days["2024-02-01":]) == 69
    assert days[: pd.Timestamp("2024-01-03")].to_frame().index[-1] == pd.Timestamp("2024-01-02")
    assert len(days.between("2024-01-01T12:00", "2024-01-04T12:00")) == 2
    assert len(days["2023":"2024-01-05"]) == 4
    with pytest.raises(NotFound, match="the market goes from 2024-01-01"):
        days["2025":]
    with pytest.raises(BadInput, match="nanoseconds"):
        days.between(1_706_745_600)
    with pytest.raises(BadInput, match="resample"):
        days[::2]
    with pytest.raises(BadInput, match="no part of a market"):
        days[5]


def test_a_part_does_not_know_of_a_delisting_that_was_told_after_its_end() -> None:
    at = [dt.datetime(2024, 1, 1, 0, m) for m in range(60)]  # noqa: DTZ001 - naive UTC, as the store gives it
    told = {"tick_size": 0.1, "known_at": at[0], "listed": at[0], "delisted": at[30], "delisted_known_at": at[5]}
    market = small(40, instrument=told)
    assert market.instrument() == market.features_view().instrument() == told
    for part in (market[:5], market[2:5], market["2024-01-01":"2024-01-01T00:05"], market.resample("5m")[:1]):
        assert part.instrument() == {**told, "delisted": None, "delisted_known_at": None}
        assert part.features_view().instrument()["listed"] == at[0]
    assert market[:6].instrument()["delisted"] == at[30]
    assert market[:5] == market[:20][:5]
    whole = small(5, instrument=told)
    assert whole.instrument()["delisted"] == at[30], "the engine's own"
    assert whole.features_view().instrument()["delisted"] is None
    assert small(34, instrument=told).resample("30m").instrument()["delisted"] == at[30]
    assert small(12, instrument={**told, "delisted_known_at": at[10]}).resample("10m").instrument()["delisted"] is None


@pytest.mark.parametrize(
    ("terms", "blank"),
    [
        ({"known_at": "2024-01-01T00:05", "delisted": "2024-01-01T00:02"}, ["delisted"]),
        ({"known_at": "2024-01-01T00:04", "delisted": "2024-01-01T00:30"}, []),
        ({"valid_from": "2024-02", "listed": "2024-02", "renamed_to": ETH}, ["listed", "renamed_to"]),
        ({"known_at": pd.NaT, "valid_from": "2023", "delisted": "2024-01-01T00:30"}, []),
        ({"listed": "2023", "delisted": "2024-01-01T00:30"}, ["delisted"]),
        ({"delisted": None, "listed": None}, []),
    ],
)
def test_what_was_told_of_a_contract_is_dated_as_well_as_can_be(terms: dict, blank: list[str]) -> None:
    seen = small(5, instrument=terms).features_view().instrument()
    assert [name for name in terms if seen[name] is None and terms[name] is not None] == blank


def test_a_part_holds_no_brackets_that_came_after_its_end() -> None:
    late = tier_rows(T0 + 5 * MIN, [0.0])
    market = small(10, tiers=np.concatenate([tier_rows(T0, [0.0, 5.0]), late]))
    assert len(market.tiers) == len(market.features_view().tiers) == len(market[:6].tiers) == 3
    assert len(market[:5].tiers) == len(market[:5].features_view().tiers) == 2
    assert market.resample("5m")[:1].tiers_at(T0 + H)["floor"].tolist() == [0.0, 5.0]


def test_one_symbol_of_many_is_the_market_built_alone() -> None:
    market, alone = two(), one()
    assert market[BTC] == alone
    assert market["BTCUSDT"].hash == alone.hash
    assert market[[ETH, BTC]].symbols == (ETH, BTC)
    assert market[[ETH, BTC]][BTC] == alone
    np.testing.assert_array_equal(market[[ETH, BTC]].close, market.close[:, ::-1])
    assert market[ETH].settlements["symbol"].tolist() == [0, 0, 0]
    assert market[ETH].close.flags.c_contiguous
    assert alone[BTC] is alone
    with pytest.raises(NotFound, match="did you mean BTC/USDT:USDT"):
        market["BTC/USDT:USD"]
    with pytest.raises(BadInput, match="each symbol once"):
        market[[BTC, BTC]]


# ---- resampling --------------------------------------------------------------------------------


def test_resampling_agrees_with_pandas() -> None:
    rows = np.setdiff1d(np.arange(1440), [*range(120, 180), 200, 201, 299, 300])
    data = full(1)
    assert data.candles is not None
    data = replace(data, candles=data.candles.take(rows))
    market = Market.build("x", {BTC: data}, MIN, T0 + 7 * MIN, T0 + 1435 * MIN)
    hours = market.resample("1h")
    assert (hours.start, len(hours)) == (T0 + H, 22)  # the first and the last hour are not whole
    frame = market.to_frame()[T0_stamp("01:00") : T0_stamp("22:59")]
    grouped = frame.resample("1h")
    first, last, sums = grouped.first(), grouped.last(), grouped.sum(min_count=1)
    for prefix in ("", "mark_"):
        np.testing.assert_array_equal(getattr(hours, f"{prefix}open"), first[f"{prefix}open"])
        np.testing.assert_array_equal(getattr(hours, f"{prefix}high"), grouped[f"{prefix}high"].max())
        np.testing.assert_array_equal(getattr(hours, f"{prefix}low"), grouped[f"{prefix}low"].min())
        np.testing.assert_array_equal(getattr(hours, f"{prefix}close"), last[f"{prefix}close"])
    for name in ("volume", "quote_volume", "taker_buy_volume", "liq_long", "liq_short"):
        np.testing.assert_allclose(getattr(hours, name), sums[name], rtol=1e-12)
    for name in ("index", "funding_8h", "open_interest", "ratio_accounts"):
        np.testing.assert_array_equal(getattr(hours, name), frame[name].to_numpy()[59::60])
    np.testing.assert_array_equal(hours.present, grouped["present"].any())
    assert not hours.present[1]
    assert np.isnan(hours.volume[1])
    assert hours.settlements["bar"].tolist() == [7, 15]


def T0_stamp(clock_time: str) -> pd.Timestamp:
    return pd.Timestamp(f"2024-01-01 {clock_time}")


def short_hours() -> SymbolData:
    """Listed at 00:30, three minutes missing after 02:00, all of 03, ended at 05:59."""
    return SymbolData(
        candles=random_bars(1, 359).take(np.setdiff1d(np.arange(30, 359), [121, 122, 140, *range(180, 240)]))
    )


def test_resampled_bars_that_lack_some_of_theirs_are_told() -> None:
    market = Market.build("x", {BTC: short_hours()}, MIN, T0, T0 + 6 * H)
    assert not market.partial.any()
    hours = market.resample("1h")
    assert hours.present.tolist() == [True, True, True, False, True, True]
    assert hours.partial.tolist() == [True, False, True, False, False, True]
    assert hours.coverage.symbols[0].bars_partial == 3
    text = "3 of 6 bars are made of fewer bars than they should be"
    assert text in hours.warnings
    assert text.replace("3 of 6", "1 of 2") in hours[1:3].warnings
    assert hours[1:2].warnings == ["marks stood in by trades in 1 of 1 bars"]
    np.testing.assert_array_equal(market.resample("10m").resample("1h").partial, hours.partial)
    np.testing.assert_array_equal(hours.features_view().partial, hours.partial)
    assert hours.resample("3h").partial.tolist() == [True, True]
    with pytest.raises(ValueError, match="read-only"):
        hours.partial[0] = False


def test_so_are_those_of_a_market_built_from_finer_candles_and_of_one_symbol_among_many() -> None:
    data = {ETH: SymbolData(candles=random_bars(2, 360)), BTC: short_hours()}
    fine, built = (Market.build("x", data, step, T0, T0 + 6 * H) for step in (MIN, H))
    for hours in (fine.resample("1h"), built):
        assert hours.partial.sum(axis=0).tolist() == [0, 3]
        assert hours[BTC].partial.tolist() == [True, False, True, False, False, True]
        assert not hours[ETH].partial.any()
        assert [w for w in hours.warnings if "fewer" in w] == [
            f"{BTC}: 3 of 6 bars are made of fewer bars than they should be"
        ]
    np.testing.assert_array_equal(built.close, fine.resample("1h").close)
    later = Market.build("x", {BTC: short_hours()}, H, T0 + H, T0 + 3 * H)
    assert later.partial.tolist() == [False, True]


def test_resampled_many_symbols_are_each_resampled() -> None:
    market = two()
    assert market.resample("15m")[ETH] == market[ETH].resample("15m")


def test_resampled_settlements_lie_in_their_bucket() -> None:
    candles = random_bars(1, 30, H)
    data = SymbolData(candles=candles, funding=settlements(2, 7, 11, 27, 29, interval=1.0))
    market = Market.build("x", {BTC: data}, H, T0 + 3 * H, T0 + 30 * H).resample("4h")
    assert (market.start, len(market)) == (T0 + 4 * H, 6)
    assert [(s["ts"] - T0) // H for s in market.settlements] == [7, 11, 27]
    assert market.settlements["bar"].tolist() == [0, 1, 5]


def test_resampling_to_the_same_interval_is_the_same_and_to_a_finer_one_refused() -> None:
    market = one()
    assert market.resample("1m") == market
    for bad in ("30s", "90s"):
        with pytest.raises(BadInput, match="do not add up"):
            market.resample(bad)
    with pytest.raises(BadInput, match="no whole 2d bar"):
        market.resample("2d")


def test_a_bucket_with_an_uncovered_bar_has_no_liquidation_sum() -> None:
    flow = Flow(np.array([T0]), np.array([T0]), np.ones(1), np.ones(1), spans=[(T0, T0 + 9 * MIN)])
    assert np.isnan(small(10, liquidations=flow).resample("5m").liq_long).tolist() == [False, True]


def test_a_resampled_mark_is_only_as_good_as_its_weakest_bar() -> None:
    bars = random_bars(3, 6)
    coarse = Bars(2 * MIN, bars.ts[2:3], *(np.full(1, p) for p in (99.9, 100.0, 99.8, 99.9)))
    exact = bars.take(np.array([0, 1, 3]))
    exact = replace(exact, high=exact.high + 50)
    pairs = small(6, marks=(coarse, exact)).resample("2m")
    assert pairs.mark_source.tolist() == [2, 1, 0]
    seen = pairs.features_view()
    assert seen.mark_high[0] == exact.high[:2].max()
    assert seen.mark_high[1] == bars.high[2:4].max()


# ---- hash, equality, copies --------------------------------------------------------------------


def test_the_hash_is_of_the_content_only() -> None:
    market = one()
    assert market.hash == one().hash
    assert two()[BTC].hash == market.hash
    assert pickle.loads(pickle.dumps(market)).hash == market.hash
    assert market[100:200] == market[50:250][50:150]
    assert hash(market) == hash(one())
    assert market != two()


def test_a_pickled_market_refuses_writing_too() -> None:
    again = pickle.loads(pickle.dumps(two()))
    with pytest.raises(ValueError, match="read-only"):
        again.close[0, 0] = 1.0


def flipped(array: np.ndarray, row: int) -> np.ndarray:
    changed = array.copy()
    changed.view(np.uint64)[row] ^= np.uint64(1)
    return changed


@pytest.mark.parametrize("name", ["open", "volume", "taker_buy_volume"])
def test_one_changed_bit_is_another_hash(name: str) -> None:
    data = full(1)
    assert data.candles is not None
    candles = replace(data.candles, **{name: flipped(getattr(data.candles, name), 1439)})
    other = Market.build("binance", {BTC: replace(data, candles=candles)}, "1m", T0, T0 + DAY)
    assert other.hash != one().hash
    assert other[:1439][200:1400] == one()[200:1400] or name == "open"


def test_every_part_of_the_content_counts_and_nothing_else() -> None:
    data, whole = full(1), one()
    assert data.open_interest is not None
    assert data.funding is not None
    ratio = data.ratios["accounts"]
    others = {
        "rate": replace(data, funding=replace(data.funding, rate=data.funding.rate * 2)),
        "price": replace(data, funding=replace(data.funding, price=np.ones(3))),
        "tiers": replace(data, tiers=tier_rows(T0, [0.0, 60_000.0])),
        "instrument": replace(data, instrument={"tick_size": 0.2}),
        "mark": replace(data, marks=()),
        "ratio": replace(data, ratios={"top_accounts": ratio}),
    }
    hashes = {k: Market.build("binance", {BTC: d}, "1m", T0, T0 + DAY).hash for k, d in others.items()}
    assert len({*hashes.values(), whole.hash}) == len(hashes) + 1
    assert Market.build("okx", {BTC: data}, "1m", T0, T0 + DAY).hash != whole.hash
    assert Market.build("binance", {ETH: data}, "1m", T0, T0 + DAY).hash != whole.hash
    empty = Points(ratio.ts, ratio.known_at, 5 * MIN, {"bid_1pct": np.full(len(ratio.ts), np.nan)})
    assert Market.build("binance", {BTC: replace(data, depth=empty)}, "1m", T0, T0 + DAY).hash == whole.hash
    assert data.candles is not None
    minus = replace(data.candles, volume=np.where(np.arange(1440) == 3, -np.nan, data.candles.volume))
    plus = replace(data.candles, volume=np.where(np.arange(1440) == 3, np.nan, data.candles.volume))
    a, b = (Market.build("b", {BTC: replace(data, candles=c)}, "1m", T0, T0 + DAY) for c in (minus, plus))
    assert np.signbit(a.volume[3]) != np.signbit(b.volume[3])
    assert a == b


def test_the_hash_is_the_same_in_another_process() -> None:
    code = (
        "from data.market import Market; import pandas as pd;"
        "ts = pd.date_range('2024', periods=9, freq='h');"
        "f = pd.DataFrame({'ts': ts, **dict.fromkeys(['open','high','low','close'], 1.5)});"
        "print(Market.from_frames(f).hash)"
    )
    hashes = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    frame = pd.DataFrame(
        {"ts": pd.date_range("2024", periods=9, freq="h"), **dict.fromkeys(["open", "high", "low", "close"], 1.5)}
    )
    assert hashes == {Market.from_frames(frame).hash + "\n"}


# ---- shown -------------------------------------------------------------------------------------


def test_a_frame_of_one_symbol_and_of_many() -> None:
    frame = one().to_frame()
    assert isinstance(frame.index, pd.DatetimeIndex)
    assert (frame.index.dtype, frame.index.tz, frame.index[0]) == ("datetime64[ns]", None, T0_stamp("00:00"))
    np.testing.assert_array_equal(frame["close"], one().close)
    assert "premium" not in frame
    many = two().to_frame()
    np.testing.assert_array_equal(many["close"][ETH], two()[ETH].close)
    assert many.columns.names == ["field", "symbol"]


def test_shown_in_a_line() -> None:
    assert repr(one()) == "Market(binance, BTC/USDT:USDT, 1m, 2024-01-01 00:00 to 2024-01-02 00:00, 1,440 bars)"


class Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.styles: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.open.append(tag)
        self.styles += [value for name, value in attrs if name == "style"]

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def test_the_page_is_escaped_whole_and_takes_the_colours_around_it() -> None:
    data = full(1)
    market = Market.build("<b>&venue", {"<script>alert(1)</script>": data, ETH: full(2)}, "1m", T0, T0 + DAY)
    html = market._repr_html_()
    assert "<script" not in html
    assert "&lt;b&gt;&amp;venue" in html
    page = Balance()
    page.feed(html)
    assert page.open == []
    colours = {
        part.strip() for style in page.styles for part in style.split(";") if "color" in part or "background" in part
    }
    assert all(
        part.split(":")[1] in ("inherit", "transparent", "currentColor") or "currentColor" in part for part in colours
    )
    assert market.hash[:12] in html
    assert "settlements: 6 of 6 expected" in html


def test_coverage_as_a_frame() -> None:
    frame = two().coverage.to_frame().set_index(["field", "symbol"])
    assert frame.loc[("close", BTC), "share"] == 1.0
    assert frame.loc[("premium", ETH), "missing"] == 1440
    with pytest.raises(NotFound, match="did you mean close"):
        two().coverage.of("clse")


def test_importing_the_market_loads_numpy_at_most() -> None:
    code = "import sys, data.market; print([m for m in ('pandas','polars','pyarrow','duckdb') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# ---- the user's own frames ---------------------------------------------------------------------


def candle_frame(n: int = 6, freq: str = "h", start: str = "2024-01-01") -> pd.DataFrame:
    bars = random_bars(4, n)
    times = pd.date_range(start, periods=n, freq=freq)
    return pd.DataFrame({"ts": times, "open": bars.open, "high": bars.high, "low": bars.low, "close": bars.close})


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_frames_of_any_unit_order_and_library_are_the_same_market(unit: str) -> None:
    frame = candle_frame()
    want = Market.from_frames(frame)
    assert want.ts.tolist() == [T0 + i * H for i in range(6)]
    timed = frame.assign(ts=frame["ts"].astype(f"datetime64[{unit}]"))
    utc = timed.assign(ts=timed["ts"].dt.tz_localize("UTC"))
    shapes = {
        "shuffled": timed.sample(frac=1, random_state=1),
        "index": timed.set_index("ts"),
        "utc": utc,
        "utc index": utc.set_index("ts"),
        "named time": timed.rename(columns={"ts": "timestamp"}),
        "polars": pl.from_pandas(timed),
        "polars utc": pl.from_pandas(utc),
        "dict": {"PERPUSDT": timed},
        "column": timed.assign(symbol="PERPUSDT"),
    }
    for shape, given in shapes.items():
        assert Market.from_frames(given) == want, shape


def test_frames_of_many_symbols() -> None:
    a, b = candle_frame(6).assign(symbol="BTCUSDT"), candle_frame(4, start="2024-01-01T02:00").assign(symbol="ETHUSDT")
    long = pd.concat([a, b]).sample(frac=1, random_state=2)
    oi = pd.DataFrame({"ts": a["ts"], "quantity": np.arange(6.0), "symbol": "BTCUSDT"})
    market = Market.from_frames(long, open_interest=oi, venue="binance")
    assert market.symbols == tuple(
        dict.fromkeys(f"{s[:3]}/USDT:USDT" for s in long.sort_values("ts", kind="stable")["symbol"])
    )
    assert market == Market.from_frames(
        {s: {BTC: a, ETH: b}[s] for s in market.symbols}, open_interest={BTC: oi}, venue="binance"
    )
    assert market[ETH].present.tolist() == [False, False, True, True, True, True]
    np.testing.assert_array_equal(market[BTC].open_interest, np.arange(6.0))
    with pytest.raises(BadInput, match="mark: say of which symbol"):
        Market.from_frames(long, mark=candle_frame())


def test_every_kind_of_frame() -> None:
    candles = candle_frame(24)
    ts = candles["ts"]
    market = Market.from_frames(
        candles.assign(volume=1.0),
        mark=candles.assign(high=candles["high"] + 5),
        index=pl.DataFrame({"time": ts, "close": np.arange(24.0)}),
        premium=pd.DataFrame({"ts": ts, "close": np.arange(24.0) / 100}),
        funding=pd.DataFrame({"ts": ts[::8] + pd.Timedelta("3ms"), "fundingRate": [0.001, 0.002, 0.003]}),
        open_interest=pd.DataFrame(
            {"ts": ts, "known_at": ts + pd.Timedelta("90min"), "sum_open_interest": np.arange(24.0)}
        ),
        ratios=pd.DataFrame({"ts": ts, "accounts": 2.0, "taker_ratio": np.arange(24.0)}),
        liquidations=pd.DataFrame(
            {
                "ts": ts[[3, 3, 5]] + pd.Timedelta("59min"),
                "side": ["LONG", "short", "long"],
                "price": [10.0, 10, 10],
                "quantity": [1.0, 2, 3],
                "feed": "sampled",
            }
        ),
        tiers=pd.DataFrame({"floor": [100.0, 0.0, 1000.0], "mmr": [0.01, 0.004, 0.025]}),
    )
    assert market.mark_source.tolist() == [2] * 24
    np.testing.assert_array_equal(market.index, np.arange(24.0))
    assert market.premium[3] == 0.03
    assert market.settlements["rate"].tolist() == [0.001, 0.002, 0.003]
    assert (market.settlements["raw_ts"] - market.settlements["ts"]).tolist() == [3_000_000] * 3
    np.testing.assert_array_equal(market.funding_8h[[0, 8, 15, 16]], [np.nan, 0.002, 0.002, 0.003])
    np.testing.assert_array_equal(market.open_interest, [np.nan, *np.arange(23.0)])
    assert market.taker_ratio[7] == 7.0
    np.testing.assert_array_equal(market.liq_long[2:7], [np.nan, 10, 0, 30, np.nan])
    np.testing.assert_array_equal(market.liq_short[2:7], [np.nan, 20, 0, 0, np.nan])
    assert any("lower bound" in w for w in market.warnings)
    tiers = market.tiers_at(market.start)
    assert tiers["floor"].tolist() == [0, 100, 1000]
    assert tiers["cap"].tolist() == [100, 1000, np.inf]
    np.testing.assert_allclose(tiers["cum"], [0, 0.6, 15.6])
    assert tiers["tier"].tolist() == [1, 2, 3]


def test_tiers_of_two_dates_continue_each_for_itself() -> None:
    rows = pd.DataFrame(
        {
            "valid_from": pd.to_datetime(["2024-01-02", "2024-01-01", "2024-01-02", "2024-01-01"]),
            "floor": [0.0, 0.0, 10.0, 20.0],
            "mmr": [0.1, 0.2, 0.3, 0.4],
        }
    )
    market = Market.from_frames(candle_frame(30), tiers=rows)
    first, second = market.tiers_at("2024-01-01"), market.tiers_at("2024-01-02")
    assert (first["cap"].tolist(), second["cap"].tolist()) == ([20, np.inf], [10, np.inf])
    np.testing.assert_allclose(np.concatenate([first["cum"], second["cum"]]), [0, 4, 0, 2])


def test_a_mark_frame_may_be_coarser_and_clips() -> None:
    mark = candle_frame(3, "8h").assign(open=100.0, high=100.1, low=99.9, close=100.0)
    market = Market.from_frames(candle_frame(24), mark=mark)
    assert market.mark_source.tolist() == [1] * 24
    assert market.mark_high.max() == 100.1


BAD = {
    "no such column": (lambda f: {"candles": f.drop(columns="high")}, MissingColumn, "no column high"),
    "close to a name": (
        lambda f: {"candles": f.rename(columns={"close": "Close"})},
        MissingColumn,
        "did you mean Close",
    ),
    "no time": (lambda f: {"candles": f.drop(columns="ts")}, MissingColumn, "no column ts"),
    "another zone": (
        lambda f: {"candles": f.assign(ts=f["ts"].dt.tz_localize("Asia/Tokyo"))},
        BadInput,
        r"in Asia/Tokyo.*dt.tz_convert\('UTC'\)",
    ),
    "another zone in polars": (
        lambda f: {"candles": pl.from_pandas(f.assign(ts=f["ts"].dt.tz_localize("Asia/Tokyo")))},
        BadInput,
        "convert_time_zone",
    ),
    "numbers for times": (lambda f: {"candles": f.assign(ts=range(6))}, BadInput, "unit='ms'"),
    "text for times": (lambda f: {"candles": f.assign(ts="2024-01-01")}, BadInput, "make it a datetime"),
    "a missing time": (
        lambda f: {"candles": f.assign(ts=f["ts"].where(f.index != 4))},
        BadRow,
        "row 4: the time is missing",
    ),
    "doubled": (lambda f: {"candles": pd.concat([f, f.iloc[[2]]])}, BadRow, "row 6: a second bar at 2024-01-01 02:00"),
    "wrong interval": (lambda f: {"candles": f, "interval": "5m"}, BadInput, "the bars are 1h apart, not 5m"),
    "uneven": (
        lambda f: {"candles": f.assign(ts=f["ts"] + pd.to_timedelta([0, 0, 0, 0, 7, 0], unit="min"))},
        BadRow,
        "row 4: a 1h bar opens at 2024-01-01 04:07",
    ),
    "stamped off": (lambda f: {"candles": f.assign(ts=f["ts"] + pd.Timedelta("1s"))}, BadRow, "row 0: .*stamp bars at"),
    "one row": (lambda f: {"candles": f.iloc[:1]}, BadInput, "give interval='1h'"),
    "text for prices": (lambda f: {"candles": f.assign(open="x")}, BadInput, "column open holds something"),
    "infinite": (
        lambda f: {"candles": f.assign(high=f["high"].where(f.index != 3, np.inf))},
        BadRow,
        "row 3: high is inf",
    ),
    "upside down": (
        lambda f: {"candles": f.assign(low=f["low"].where(f.index != 3, 999.0))},
        BadRow,
        "row 3: open, high",
    ),
    "no frame": (lambda f: {"candles": [1, 2]}, BadInput, "a list is no pandas or polars frame"),
    "percent": (
        lambda f: {"candles": f, "funding": pd.DataFrame({"ts": f["ts"], "rate": [0.1, 1.2, 0, 0, 0, 0]})},
        BadRow,
        "row 1: .*divide by 100",
    ),
    "odd spacing": (
        lambda f: {"candles": f, "funding": pd.DataFrame({"ts": f["ts"].iloc[::5], "rate": 0.01})},
        BadInput,
        "add a column interval_hours",
    ),
    "doubled settlement": (
        lambda f: {"candles": f, "funding": pd.DataFrame({"ts": f["ts"].iloc[[1, 1]], "rate": 0.01})},
        BadRow,
        "row 1: a second settlement",
    ),
    "a side": (
        lambda f: {"candles": f, "liquidations": pd.DataFrame({"ts": f["ts"], "side": "sell", "notional": 1.0})},
        BadRow,
        "row 0: position 'sell': say which position",
    ),
    "no size": (
        lambda f: {"candles": f, "liquidations": pd.DataFrame({"ts": f["ts"], "side": "long", "price": 1.0})},
        MissingColumn,
        "notional",
    ),
    "no ratio": (
        lambda f: {"candles": f, "ratios": pd.DataFrame({"ts": f["ts"], "x": 1.0})},
        MissingColumn,
        "accounts",
    ),
    "a feed": (
        lambda f: {
            "candles": f,
            "liquidations": pd.DataFrame({"ts": f["ts"], "side": "long", "notional": 1.0, "feed": "all"}),
        },
        BadInput,
        "feed 'all' is none of",
    ),
}


def changed(**columns):
    """Candles with a wrong value in row 3."""
    return lambda f: {
        "candles": f.assign(volume=1.0).assign(
            **{c: lambda d, c=c, v=v: d[c].where(d.index != 3, v) for c, v in columns.items()}
        )
    }


def beside(kind: str, **columns):
    """Right candles and a frame of another kind with their times, row by row."""
    return lambda f: {"candles": f, kind: pd.DataFrame({"ts": f["ts"], **columns})}


def brackets(**columns):
    return lambda f: {"candles": f, "tiers": pd.DataFrame({"floor": [0.0, 100.0], "mmr": [0.01, 0.02], **columns})}


NAN, HOURS = float("nan"), pd.date_range("2024", periods=6, freq="h")
BAD |= {
    "of another contract": (
        lambda f: {"candles": f, "funding": pd.DataFrame({"ts": f["ts"], "rate": 0.1, "symbol": "BTCUSDT"})},
        BadInput,
        f"funding: is of {BTC}, of which there are no candles: did you mean PERP/USDT:USDT.*symbol='{BTC}'",
    ),
    "of spot": (
        lambda f: {"candles": {BTC: f}, "open_interest": {"BTC/USDT": f.assign(value=1.0)}},
        BadInput,
        "open_interest: is of BTC/USDT, of which .*did you mean BTC/USDT:USDT",
    ),
    "one contract, two keys": (
        lambda f: {"candles": {"BTCUSDT": f.iloc[:3], BTC: f.iloc[3:]}},
        BadInput,
        f"candles: BTCUSDT and {BTC} are one contract",
    ),
    "one contract, two names in a column": (
        lambda f: {"candles": {BTC: f}, "mark": f.assign(symbol=["BTCUSDT", BTC] * 3)},
        BadInput,
        f"mark: BTCUSDT and {BTC} are one contract",
    ),
    "a frame of others under a key": (
        lambda f: {"candles": {BTC: f.assign(symbol=["BTCUSDT"] * 4 + ["ETHUSDT"] * 2)}},
        BadInput,
        f"candles of {BTC}: its column symbol holds ETHUSDT",
    ),
    "no symbol": (
        lambda f: {"candles": f.assign(symbol=["BTCUSDT"] * 4 + [None, "BTCUSDT"])},
        BadRow,
        "row 4: the symbol is missing",
    ),
    "a negative price": (changed(low=-1.0), BadRow, "row 3: low is negative: -1"),
    "a negative volume": (changed(volume=-2.0), BadRow, "row 3: volume is negative: -2"),
    "a negative index": (beside("index", close=[1, 1, -3.0, 1, 1, 1]), BadRow, "index, row 2: close is negative"),
    "a negative size": (beside("open_interest", value=[1, -1.0, 1, 1, 1, 1]), BadRow, "row 1: value is negative"),
    "a rate without a value": (beside("funding", rate=[0, NAN, 0, 0, 0, 0]), BadRow, "row 1: the funding rate is miss"),
    "a liquidation without a size": (
        beside("liquidations", side="long", notional=[1, 1, NAN, NAN, 1, 1], price=[NAN] * 3 + [5.0] * 3, quantity=1.0),
        BadRow,
        "row 2: the size is missing",
    ),
    "brackets with a gap": (brackets(cap=[50.0, 1e9]), BadInput, "tiers: the brackets, tier 2 begins at 100, exp"),
    "brackets with a wrong cum": (brackets(cum=[0.0, 77.0]), BadInput, "tier 2: cum is 77, expected 1 "),
    "brackets in percent": (brackets(mmr=[1.0, 2.0]), BadInput, "tier 2: maintenance rate 2 is no fraction"),
    "brackets of a later day": (
        brackets(valid_from=pd.to_datetime(["2024-01-01", "2024-02-01"])),
        BadInput,
        "the brackets from 2024-02-01 00:00, tier 1 begins at 100",
    ),
    "known too early": (
        beside("open_interest", value=1.0, known_at=HOURS - pd.to_timedelta([0, 0, 0, 0, 1, 0], "ns")),
        BadRow,
        "row 4: known_at is 2024-01-01 03:59:59.* before what it tells of at 2024-01-01 04:00",
    ),
    "a settlement known too early": (
        beside("funding", rate=0.1, interval_hours=1, known_at=HOURS - pd.Timedelta("1min")),
        BadRow,
        "row 0: known_at",
    ),
    "a liquidation known too early": (
        beside("liquidations", side="long", notional=1.0, known_at=HOURS - pd.Timedelta("1s")),
        BadRow,
        "row 0: known_at",
    ),
    "a bar known before its end": (
        beside("index", close=1.0, known_at=HOURS + pd.Timedelta("59min")),
        BadRow,
        "index, row 0: known_at is 2024-01-01 00:59, before what it tells of at 2024-01-01 01:00",
    ),
    "doubled columns": (
        lambda f: {"candles": pd.concat([f, f[["close"]]], axis=1)},
        BadInput,
        "candles: two columns are called close",
    ),
    "columns that are there": (beside("funding", foo=1.0, bar=2.0), MissingColumn, "no column rate.*: ts, foo, bar$"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_frame_is_said(case: str) -> None:
    make, error, words = BAD[case]
    given = make(candle_frame())
    with pytest.raises(error, match=words):
        Market.from_frames(given.pop("candles"), **given)


def test_a_frame_of_more_contracts_than_the_candles_leaves_a_warning() -> None:
    funding = pd.DataFrame({"ts": HOURS, "rate": 0.1, "interval_hours": 1.0})
    market = Market.from_frames({BTC: candle_frame()}, funding={"ETHUSDT": funding, "BTCUSDT": funding})
    assert len(market.settlements) == 6
    text = f"funding of {ETH} is left out: there are no candles of that name"
    assert text in market.warnings
    assert text in market[:3].warnings
    few = Market.from_frames({BTC: candle_frame(), ETH: candle_frame()}, funding={BTC: funding})
    assert not any("left out" in w for w in few.warnings)


def test_a_premium_and_a_rate_may_be_negative() -> None:
    minus = pd.DataFrame({"ts": HOURS, "close": -0.1, "rate": -0.1, "interval_hours": 1.0})
    market = Market.from_frames(candle_frame(), premium=minus, funding=minus)
    assert (market.premium[5], market.settlements["rate"][5]) == (-0.1, -0.1)


def test_the_size_of_a_liquidation_is_worked_out_where_it_is_missing() -> None:
    rows = pd.DataFrame({"ts": HOURS[:2], "side": "long", "notional": [7.0, NAN], "price": [NAN, 2.0], "quantity": 5.0})
    assert Market.from_frames(candle_frame(), liquidations=rows).liq_long[:2].tolist() == [7.0, 10.0]


def test_brackets_go_back_in_as_they_came_out() -> None:
    rows = pd.DataFrame({"floor": [0.0, 100.0], "mmr": [0.01, 0.02]})
    market = Market.from_frames(candle_frame(), tiers=rows)
    columns = ["tier", "floor", "cap", "mmr", "max_leverage", "cum"]
    assert Market.from_frames(candle_frame(), tiers=pd.DataFrame(market.tiers)[columns]) == market


def test_bars_said_to_be_known_late_leave_a_warning() -> None:
    late = candle_frame().assign(known_at=HOURS + pd.to_timedelta([60, 60, 60, 61, 60, 62], "min"))
    market = Market.from_frames(late)
    assert "candles: known_at of 2 bars is after their end; they are taken as known at it" in market.warnings


def test_a_settlement_s_known_at_is_measured_by_its_hour_or_its_stamp() -> None:
    rows = pd.DataFrame({"ts": HOURS + pd.Timedelta("3ms"), "known_at": HOURS, "rate": 0.1, "interval_hours": 1.0})
    assert len(Market.from_frames(candle_frame(), funding=rows).settlements) == 6


def test_a_lazy_frame_is_collected() -> None:
    frame = candle_frame()
    lazy = pl.from_pandas(frame).lazy()
    assert Market.from_frames(lazy, mark={"PERPUSDT": lazy}) == Market.from_frames(frame, mark=frame)


def test_frames_of_long_ago_and_a_range_in_months() -> None:
    assert Market.from_frames(candle_frame(start="1970-01-01")).start == 0
    assert len(Market.from_frames(candle_frame(800), start="2024-02")) == 800 - 31 * 24


def test_an_interval_can_be_given_for_one_row() -> None:
    assert len(Market.from_frames(candle_frame(1), interval="1h")) == 1


def test_structured_arrays_have_the_documented_columns() -> None:
    market = one()
    assert market.settlements.dtype == SETTLEMENT
    assert {"ts", "raw_ts", "bar", "symbol", "rate", "interval_hours", "price"} <= set(SETTLEMENT.names or ())
    assert {"symbol", "valid_from", "tier", "floor", "cap", "mmr", "max_leverage", "cum"} <= set(TIER.names or ())
