"""Signals with loops of their own, against plain twins, and against truth where it is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from signal_inputs import whole_market

from backtest.crowd import truth
from data import clock
from data.errors import BadInput, NotFound
from data.market import Market, Settlements, SymbolData
from strategies.signals import SIGNALS, all_features, breakers, compute, flow, fragility, funding, missing, phase, skew
from strategies.signals import signal as named
from strategies.signals.inputs import series
from strategies.signals.rolling import log_change
from strategies.signals.unexpected import expected_oi

pytestmark = pytest.mark.kernel
NAN = math.nan
START, H = clock.moment("2024-01-01"), clock.HOUR


def walk(n: int, seed: int, holes: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    path = 1e5 * np.exp(np.cumsum(0.01 * rng.standard_normal(n)))
    return np.where(rng.random(n) < holes, NAN, path)


@pytest.mark.parametrize(("step", "lags", "holes"), [(1, 2, 0.0), (3, 1, 0.05), (4, 3, 0.02)])
def test_expected_open_interest_is_what_least_squares_forecasts(step: int, lags: int, holes: float) -> None:
    """Bar by bar: numpy's solver on the rows that had ended a step before."""
    window, oi = 40, walk(160, step, holes)
    y = log_change(oi, step)
    found = expected_oi(oi, window, step, lags)
    rows = np.array([[1.0, *(y[t - j * step] if t >= j * step else NAN for j in range(lags + 1))] for t in range(160)])
    first, seen = (lags + 2) * step + window - 1, 0
    assert np.isnan(found[:first]).all()
    for t in range(first, 160):
        past = rows[t - step - window + 1 : t - step + 1]
        past = past[np.isfinite(past).all(axis=1)]
        ahead = np.array([1.0, *(y[t - j * step] for j in range(1, lags + 1))])
        if len(past) < window / 2 or not np.isfinite(ahead).all():
            assert np.isnan(found[t])
            continue
        beta = np.linalg.lstsq(past[:, [0, *range(2, lags + 2)]], past[:, 1], rcond=None)[0]
        assert found[t] == pytest.approx(float(beta @ ahead), rel=1e-6, abs=1e-9)
        seen += 1
    assert seen > 30


def test_open_interest_that_never_moves_has_no_forecast() -> None:
    assert np.isnan(expected_oi(np.full(60, 5.0), 20, 1)).all()
    with pytest.raises(BadInput, match="lags=0: write a whole number from 1 to 8"):
        expected_oi(np.full(60, 5.0), 20, 1, 0)


def test_fading_sums_are_the_sums_they_say() -> None:
    rng = np.random.default_rng(1)
    x = rng.poisson(1.0, 90).astype(float)
    x[[30, 31, 60]] = NAN
    found, keep = flow.decayed(x, 0.8), 0.8
    for t in range(90):
        ages = np.arange(t, -1, -1)
        dark = 0.2 * float((keep**ages)[np.isnan(x[: t + 1])].sum()) + keep ** (t + 1)
        if np.isnan(x[t]) or dark > 0.1 + 1e-12:
            assert np.isnan(found[t])
        else:
            assert found[t] == pytest.approx(0.2 * float((keep**ages * np.nan_to_num(x[: t + 1])).sum()), abs=1e-12)
    assert np.isnan(found[30:32]).all()
    assert np.isnan(found[32])  # 0.36 of the memory is of the two holes, then ever less
    assert np.isfinite(found[40])
    with pytest.raises(BadInput, match="branching from 0 to below 1"):
        flow.hawkes_intensity(x, 0.1, 1.0, 5.0)


def test_a_share_counts_bars_where_both_of_its_parts_are_known() -> None:
    volume, nothing = [NAN, 20.0, 30.0], [0.0, 0.0, NAN]
    np.testing.assert_allclose(flow.forced_share([50.0, 2.0, 9.0], nothing, volume, 2), [NAN, 0.1, 0.1])
    np.testing.assert_allclose(flow.vwap_distance([11, 11, 11], [NAN, 20, 90], [5, 2, NAN], 2), [NAN, 0.1, 0.1])
    np.testing.assert_allclose(skew.taker_imbalance([9, 3, 4], [NAN, 4, NAN], 2), [NAN, 0.5, 0.5])


def test_phases_have_the_numbers_of_the_truth() -> None:
    codes = dict(zip(truth.PHASES, range(4), strict=True))
    mine = {"calm": phase.CALM, "build-up": phase.BUILD_UP, "unwind": phase.UNWIND, "recovery": phase.RECOVERY}
    assert mine == codes
    with pytest.raises(BadInput, match="relaxed at most crowded"):
        phase.leverage_phase([1.0], 1, 1, 1, crowded=1.0, relaxed=1.1)


def test_breakers_remember_and_multiply() -> None:
    np.testing.assert_array_equal(breakers.multiplier([0, 1, 2, NAN]), [1.0, 1.5, 2.0, NAN])
    edge = breakers.breaker_state([1.6, 1.4, 1.6, 1.4, 1.3, 1.3], 2)  # between release and level nothing happens
    np.testing.assert_array_equal(edge, [1, 1, 1, 1, 1, 0])
    with pytest.raises(BadInput, match="three numbers"):
        breakers.multiplier([0.0], (1.0, 2.0))
    with pytest.raises(BadInput, match="0 < soft <= hard"):
        breakers.breaker_state([1.0], 1, soft=3.0, hard=2.0)


# ---- settlements ---------------------------------------------------------------------------------


def settled_market(stamps: list[float], known: list[float], rates: list[float], bars: int = 100) -> Market:
    """Of hours, with settlements at hours, known at others."""
    start = clock.moment("2024-01-01")
    at, late = (start + (np.array(x) * clock.HOUR).astype(np.int64) for x in (stamps, known))
    rows = Settlements(at, at, late, np.array(rates), np.full(len(rates), 8.0), np.full(len(rates), NAN))
    return Market.build("x", {"A/USDT:USDT": SymbolData(funding=rows)}, clock.HOUR, start, start + bars * clock.HOUR)


def test_a_revision_and_a_late_one_change_no_history() -> None:
    market = settled_market([8, 8, 16, 24, 20, 32], [8, 9, 16, 24, 30, 32], [1e-4, 9e-4, 2e-4, 3e-4, 7e-4, 4e-4])
    settled = funding.settled_of(market)
    np.testing.assert_array_equal(settled.rate, [1e-4, 2e-4, 3e-4, 4e-4])
    np.testing.assert_array_equal(np.diff(settled.bar), [8, 8, 8])
    paid = compute("cumulative_funding", market, hours="16h")
    ends = np.arange(1, 101)
    assert np.isnan(paid[ends < 16]).all()
    assert paid[ends == 17] == pytest.approx(3e-4)
    assert paid[ends == 33] == pytest.approx(7e-4)
    assert np.isnan(paid[ends > 40]).all()  # less than nine tenths of 16 hours are covered


def test_a_market_without_settlements_has_none() -> None:
    empty = funding.Settled(*(np.zeros(0, np.int64),) * 2, *(np.zeros(0),) * 2)
    ends = np.arange(1, 5) * clock.HOUR
    assert np.isnan(funding.funding_z(empty, ends, 8.0)).all()
    assert np.isnan(funding.cumulative_funding(empty, ends, 8.0)).all()
    for function in (funding.funding_z, funding.cumulative_funding):
        with pytest.raises(BadInput, match="write hours above 0"):
            function(empty, ends, 0.0)


def test_a_floor_is_handed_on() -> None:
    market = whole_market(400, 2)
    plain, floored = compute("funding_z", market, hours="5d"), compute("funding_z", market, hours="5d", floor=0.01)
    assert np.nanmax(np.abs(plain)) > 1.0
    assert np.nanmax(np.abs(floored)) < 0.2


# ---- the liquidation map -------------------------------------------------------------------------


def test_a_fine_bar_has_the_map_of_the_last_coarse_one() -> None:
    from backtest.crowd.ladder import liquidation_path

    market = whole_market(15 * 120, 4, step=clock.MINUTE)
    near = fragility.ladder_of(market)
    path = liquidation_path(market.resample("15m"), distances=near.distances)
    np.testing.assert_array_equal(near.met_longs[1513], path.long_triggered[99])
    np.testing.assert_array_equal(near.met_shorts[1514], path.short_triggered[100])
    assert np.isnan(near.longs[: 96 * 15 - 1]).all()  # a day of open interest comes first
    for bar in (96 * 15 - 1, 1500, 1513, 1514, 1799):
        np.testing.assert_array_equal(near.longs[bar], path.long_near[(bar + 1) // 15 - 1])
        np.testing.assert_array_equal(near.shorts[bar], path.short_near[(bar + 1) // 15 - 1])


def test_what_has_no_map() -> None:
    assert np.isnan(fragility.ladder_of(whole_market(20, 4)).longs).all()
    assert np.isnan(fragility.ladder_of(whole_market(10, 4, step=clock.MINUTE)).longs).all()
    start = clock.moment("2024-01-01")
    inverse = Market.build("x", {"BTC/USD:BTC": SymbolData()}, clock.HOUR, start, start + 50 * clock.HOUR)
    assert np.isnan(fragility.ladder_of(inverse).longs).all()
    with pytest.raises(BadInput, match="a column for each of 4 distances"):
        fragility.ladder_pull(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(BadInput, match="distances above 0 that grow"):
        fragility.ladder_pull(np.zeros((3, 2)), np.zeros((3, 2)), (0.05, 0.01))


# ---- the registry --------------------------------------------------------------------------------


def test_every_signal_says_what_it_is() -> None:
    for name, s in SIGNALS.items():
        text = s.function.__doc__ or ""
        for word in ("Unit", "ook-back", "NaN", "Source"):
            assert word in text, (name, word)
        assert 20 < len(s.summary) <= 120, name
        assert set(s.given) <= set(s.inputs)


def test_all_features_are_those_whose_data_is_there() -> None:
    market = whole_market(200, 1)
    everything = all_features(market)
    assert set(everything) == {name for name, s in SIGNALS.items() if not s.fitted and not s.given}
    assert all(a.shape == (200,) for a in everything.values())
    bare = all_features(market_of_candles())
    assert {"parkinson", "stop_run", "sigma_move"} <= set(bare)
    assert not {"oi_build", "funding_z", "basis", "ladder_pull"} & set(bare)
    assert set(all_features(market, ["basis"])) == {"basis"}


def market_of_candles() -> Market:
    import pandas as pd

    ts = pd.date_range("2024-01-01", periods=40, freq="1h", unit="ns")
    close = 100.0 + np.arange(40.0)
    candles = {"ts": ts, "open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1.0}
    return Market.from_frames(pd.DataFrame(candles), interval="1h")


def test_what_is_missing_is_said_with_the_table_to_fetch() -> None:
    bare = market_of_candles()
    assert missing("absorption_down", bare) == ["depth", "open_interest"]
    assert missing("basis", bare) == ["candles (price index)"]
    assert missing("funding_z", bare) == ["funding"]
    assert missing("parkinson", bare) == []
    with pytest.raises(BadInput, match="cascade needs what this market does not hold: fetch open_interest"):
        compute("cascade", bare)
    with pytest.raises(BadInput, match="oi_to_market_cap needs market_cap, which no market holds"):
        compute("oi_to_market_cap", whole_market(30, 1))
    with pytest.raises(NotFound, match="there is no signal oi_bild: did you mean oi_build"):
        named("oi_bild")


def made_of(symbol: str, **fields: np.ndarray) -> Market:
    """A market of hours that holds these fields alone."""
    grid = Market.build(
        "x", {symbol: SymbolData(instrument={"contract_size": 100.0})}, clock.HOUR, START, START + 4 * H
    )
    return Market("x", replace(grid._laid, fields={name: np.asarray(x, dtype=float) for name, x in fields.items()}))


def test_coins_and_money_stand_in_for_each_other() -> None:
    price = np.array([100.0, 110.0, 120.0, NAN])
    coins, money = np.array([5.0, 6.0, 4.0, 5.0]), np.array([500.0, 660.0, 480.0, 600.0])
    linear = made_of("A/USDT:USDT", close=price, open_interest_value=money)
    assert missing("oi_build", linear) == []
    np.testing.assert_allclose(compute("oi_change", linear, step=1), [NAN, *np.log([6 / 5, 4 / 6]), NAN])
    volume = made_of("A/USDT:USDT", open_interest=coins, volume=coins, high=price + 2, low=price - 2, close=price)
    np.testing.assert_allclose(
        compute("oi_to_volume", volume, window=1, day=1), [1.0, 1.0, 1.0, NAN]
    )  # 5 coins open, 5 traded
    inverse = made_of("A/USD:A", close=price, open_interest_value=money)
    np.testing.assert_allclose(compute("oi_flush", inverse, window=2), [NAN, 0.0, 1 - 480 / 660, 0.0])
    np.testing.assert_allclose(series(linear, "open_interest"), [5, 6, 4, NAN])
    np.testing.assert_allclose(series(volume, "open_interest_value"), [500, 660, 480, NAN])
    np.testing.assert_allclose(series(inverse, "open_interest"), money / 100.0)
    assert missing("oi_build", made_of("A/USDT:USDT", open_interest_value=money)) == ["open_interest"]


def fields_from(market: Market, first: int, names: tuple[str, ...]) -> Market:
    """The market, had these fields been told from a bar on."""
    fields = dict(market._laid.fields)
    for name in names:
        fields[name] = np.where(np.arange(len(market)) < first, NAN, fields[name])
    return Market("x", replace(market._laid, fields=fields))


@pytest.mark.parametrize("names", [("open_interest",), ("ratio_accounts",), ("quote_volume",), ("funding_8h",)])
def test_a_feed_that_began_later_changes_nothing_before(names: tuple[str, ...]) -> None:
    market = fields_from(whole_market(300, 12), 200, names)
    whole, part = all_features(market), all_features(market[:190])
    assert set(part) == set(whole)
    for name, values in part.items():
        np.testing.assert_allclose(whole[name][:190], values, rtol=1e-9, err_msg=name)
    assert np.isfinite(whole["ladder_pull"][150])
    assert np.isfinite(whole["oi_flush"][150])


def test_a_symbol_told_in_money_stands_beside_one_told_in_coins() -> None:
    both = whole_market(200, 13, symbols=2)
    held = both.open_interest.copy()
    held[:, 1] = NAN
    market = Market("x", replace(both._laid, fields={**both._laid.fields, "open_interest": held}))
    found = compute("oi_change", market, step=3)[3:, 1]
    expected = np.log(both.open_interest_value[:, 1] / both.close[:, 1])
    np.testing.assert_allclose(found, expected[3:] - expected[:-3], rtol=1e-9)


def test_the_mean_price_paid_for_an_inverse_contract() -> None:
    """Volume counts contracts of 100 dollars: 10,000 dollars at 100 are 100 coins, 30,000 at 120 are 250."""
    price = np.array([100.0, 120.0])
    market = Market.build("x", {"A/USD:A": SymbolData(instrument={"contract_size": 100.0})}, H, START, START + 2 * H)
    fields = {"volume": np.array([100.0, 300.0]), "quote_volume": np.array([1e4, 3e4])}
    fields |= dict.fromkeys(("high", "low", "close"), price)
    made = Market("x", replace(market._laid, fields=fields))
    np.testing.assert_allclose(compute("vwap_distance", made, window=2), [NAN, 120.0 / (4e4 / 350.0) - 1.0])
    assert fragility.is_inverse("BTC/USD:BTC-240628")


def test_an_option_that_is_none_is_said() -> None:
    market = whole_market(60, 1, symbols=2)
    with pytest.raises(BadInput, match="oi_build has no option windw: did you mean window"):
        compute("oi_build", market, windw=3)
    with pytest.raises(BadInput, match="market_cap has 1 columns: give one, or one for each of 2 symbols"):
        compute("oi_to_market_cap", market, market_cap=np.ones((60, 1)))


def test_one_absurd_rate_is_forgotten_with_its_window() -> None:
    """Sums that are added and taken away again would keep what its digits had covered."""
    stamps = list(np.arange(8.0, 400.0, 8.0))
    market = settled_market(stamps, stamps, [1e13, *[1e-4] * 48], 400)
    paid = compute("cumulative_funding", market, hours="24h")
    np.testing.assert_allclose(paid[200:390], 3e-4, rtol=1e-12)


@pytest.mark.parametrize("bars", [8, 24])
def test_bars_as_long_as_settlements_are_apart_have_all_of_them(bars: int) -> None:
    at = START + 8 * H * np.arange(1, 60)
    rows = Settlements(at, at, at, np.full(59, 1e-4), np.full(59, 8.0), np.full(59, NAN))
    market = Market.build("x", {"A/USDT:USDT": SymbolData(funding=rows)}, bars * H, START, START + 480 * H)
    np.testing.assert_allclose(compute("cumulative_funding", market, hours="24h")[48 // bars : 470 // bars], 3e-4)


@pytest.mark.parametrize("step", [clock.MINUTE, 4 * clock.HOUR, clock.DAY, 7 * clock.DAY])
def test_usual_lengths_suit_bars_of_any_length(step: int) -> None:
    market = whole_market(120, 6, step=step)
    found = all_features(market)
    for name in ("sigma_move", "yang_zhang", "stop_run", "oi_change"):
        assert np.isfinite(found[name][-1]) == (step > clock.MINUTE or name == "oi_change"), name
    assert SIGNALS["yang_zhang"].history(market) == (1442 if step == clock.MINUTE else 22)


def test_lengths_are_durations_or_bars() -> None:
    market = whole_market(100, 1)
    np.testing.assert_array_equal(compute("oi_flush", market), compute("oi_flush", market, window=24))
    np.testing.assert_array_equal(compute("oi_flush", market, window="6h"), compute("oi_flush", market, window=6))
    with pytest.raises(BadInput, match="no whole number of 1h bars"):
        compute("oi_flush", market, window="30m")
    assert np.isfinite(compute("sigma_move", market)[-1])  # its 15 minutes are one bar here
    per_bar = compute("parkinson", market, window=5) / math.sqrt(365 * 24)
    np.testing.assert_allclose(per_bar, SIGNALS["parkinson"].function(market.high, market.low, 5), rtol=1e-12)
