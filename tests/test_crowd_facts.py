"""The twelve facts: measures against known answers, the bands, the verdict, and real markets inside their own bands."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from backtest.crowd import facts
from backtest.crowd.facts import BANDS, FACTS, Band, Cascades, Floats, Tape, judge, measure
from data.errors import BadInput

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "real_facts.py"
DAY = 1_440  # steps of a minute
nan = math.nan


def random(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- returns ---------------------------------------------------------------------------------------------------------


def test_returns_do_not_overlap_and_count_from_the_beginning() -> None:
    close = np.exp(np.array([9.0, 0.0, 9.0, 1.0, 9.0, 3.0, 9.0]))
    assert facts.changes(close, 2) == pytest.approx([1.0, 2.0])


def test_a_missing_close_takes_both_its_returns() -> None:
    close = np.array([1.0, 2.0, nan, 4.0, 0.0, 1.0])
    assert np.isfinite(facts.changes(close, 1)).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(("step_s", "seconds", "steps"), [(60, 300, 5), (300, 60, 0), (420, 3600, 0), (3600, 3600, 1)])
def test_a_horizon_is_a_whole_number_of_steps_or_none(step_s: int, seconds: int, steps: int) -> None:
    assert Tape(step_s, np.ones(3)).steps(seconds) == steps
    assert len(facts.changes(np.ones(100), steps)) == (100 // steps - 1 if steps else 0)


def test_sums_and_means_of_what_is_known() -> None:
    x = np.array([1.0, nan, 3.0, nan, nan, 5.0, 6.0])
    np.testing.assert_array_equal(facts.sums(x, 3), [4.0, 5.0])
    np.testing.assert_array_equal(facts.means(x, 3), [2.0, 5.0])
    np.testing.assert_array_equal(facts.sums(np.full(2, nan), 2), [nan])


# --- tails, kurtosis -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [2.0, 3.0, 4.5])
def test_the_tail_of_a_power_law_is_its_power(index: float) -> None:
    size = (1.0 - (np.arange(100_000) + 0.5) / 100_000) ** (-1.0 / index)
    assert facts.tail_index(size * random().choice([-1.0, 1.0], len(size))) == pytest.approx(index, rel=0.01)


@pytest.mark.parametrize("freedom", [2.5, 3.0, 4.0])
def test_the_tail_of_students_t_is_its_degrees_of_freedom(freedom: float) -> None:
    r = random().standard_t(freedom, 2_000_000)
    assert facts.tail_index(r, part=0.0005) == pytest.approx(freedom, rel=0.1)
    assert facts.tail_index(r) == pytest.approx(freedom, rel=0.2)  # further in, it is not yet that of the tail


def test_a_normal_has_no_fat_tail_and_a_kurtosis_of_three() -> None:
    r = random().standard_normal(400_000)
    assert facts.tail_index(r) > 5.0
    assert facts.kurtosis(r) == pytest.approx(3.0, abs=0.05)


def test_kurtosis_of_two_points_is_one() -> None:
    assert facts.kurtosis(np.tile([-1.0, 1.0], 50) + 5.0) == pytest.approx(1.0)


def test_kurtosis_of_sums_falls_with_the_horizon() -> None:
    r = random().standard_t(5.0, 400_000) * 1e-4
    found = measure(Tape(60, np.exp(np.cumsum(r))))
    assert found["kurtosis 1m"] > found["kurtosis 5m"] > found["kurtosis 1h"] > 2.5
    assert found["kurtosis 5m / 1h"] == found["kurtosis 5m"] / found["kurtosis 1h"]


# --- memory ----------------------------------------------------------------------------------------------------------


def autoregression(phi: float, noise: Floats) -> Floats:
    x = np.zeros(len(noise))
    for t in range(1, len(noise)):
        x[t] = phi * x[t - 1] + noise[t]
    return x


def test_autocorrelation_of_an_autoregression() -> None:
    x = autoregression(0.6, random().standard_normal(100_000)) + 3.0
    for lag in (1, 2, 5):
        assert facts.autocorrelation(x, lag) == pytest.approx(0.6**lag, abs=0.02)


def test_autocorrelation_by_the_pairs_that_are_known() -> None:
    x = autoregression(0.6, random().standard_normal(100_000))
    x[random().random(len(x)) < 0.3] = nan
    assert facts.autocorrelation(x, 1) == pytest.approx(0.6, abs=0.02)


def test_volatility_that_clusters_is_seen_in_the_size_of_returns_only() -> None:
    log_volatility = 0.4 * autoregression(0.98, random(1).standard_normal(50_000))
    r = np.exp(log_volatility / 2.0) * random(2).standard_normal(50_000)
    assert abs(facts.autocorrelation(r, 1)) < 0.05
    near, far = facts.autocorrelation(np.abs(r), 1), facts.autocorrelation(np.abs(r), 24)
    assert near > far > 0.05


def test_equal_values_share_their_rank() -> None:
    assert facts.ranks(np.array([30.0, 10.0, 20.0, 20.0])).tolist() == [3.0, 0.0, 1.5, 1.5]


def test_rank_correlation_sees_order_only() -> None:
    x = random().standard_normal(1_000)
    assert facts.rank_correlation(x, np.exp(3.0 * x)) == pytest.approx(1.0)
    assert facts.rank_correlation(x, -(x**3)) == pytest.approx(-1.0)
    assert abs(facts.rank_correlation(x, random(8).standard_normal(1_000))) < 0.1
    y = x.copy()
    y[::3] = nan
    assert facts.rank_correlation(x, y) == pytest.approx(1.0)


def test_open_interest_that_rests_in_coins_follows_the_price_in_value() -> None:
    hours = 1_000
    close = np.exp(np.cumsum(random(3).standard_normal(hours)) * 0.01)
    coins = np.exp(np.cumsum(random(4).standard_normal(hours)) * 0.005)
    found = measure(Tape(3_600, close, open_interest=coins))
    assert abs(found["coins and return"]) < 0.1
    assert found["value and return"] == pytest.approx(0.88, abs=0.04)  # 1 / sqrt(1 + 0.5**2), by ranks


# --- funding ---------------------------------------------------------------------------------------------------------


def test_the_floor_is_that_of_the_interval() -> None:
    hours = np.repeat([8.0, 4.0, 1.0], 20)
    rate = np.repeat([1e-4, 5e-5, 1.25e-5], 20)
    assert facts.share_at_floor(rate, hours) == 1.0
    rate[::2] += 3e-8
    assert facts.share_at_floor(rate, hours) == 0.5
    assert facts.share_at_floor(np.full(40, 1e-4), np.full(40, 4.0)) == 0.0


def test_rates_are_compared_as_those_of_eight_hours() -> None:
    rate_8h = facts.eight_hours(np.array([1e-4, 1e-4, 1e-4, 1e-4]), np.array([8.0, 4.0, 1.0, nan]))
    np.testing.assert_allclose(rate_8h, [1e-4, 2e-4, 8e-4, nan])


def test_spread_of_funding_in_basis_points() -> None:
    rate_8h = np.linspace(-10e-4, 10e-4, 201)
    assert facts.range_bps(rate_8h) == pytest.approx(18.0)
    assert facts.deviation_bps(rate_8h) == pytest.approx(20.0 / math.sqrt(12.0), rel=0.01)
    assert facts.deviation_bps(np.append(rate_8h, nan)) == facts.deviation_bps(rate_8h)


# --- liquidations ----------------------------------------------------------------------------------------------------


def test_liquidated_over_the_open_interest_of_its_day() -> None:
    amount = np.repeat([1.0, 2.0, 0.0, nan, 100.0], [24, 24, 24, 24, 23])  # the last day is none
    value = np.repeat([1_000.0, 4_000.0, 1_000.0, 1_000.0, 1_000.0], [24, 24, 24, 24, 23])
    assert facts.liquidated_pct(amount, value, 24) == pytest.approx(100.0 * (0.024 + 0.012 + 0.0) / 3.0)


def test_share_of_longs_in_the_worst_hours() -> None:
    r = np.zeros(1_000)
    r[[10, 20, 30]] = [-3.0, -2.0, -1.0]
    longs, shorts = np.ones(1_000), np.ones(1_000)
    longs[[10, 20, 30]] = [8.0, 1.0, nan]  # the third is unknown, so the next one counts: any of the others
    assert facts.share_of_longs(r, longs, shorts, 0.003, 500) == pytest.approx((8.0 + 1.0 + 1.0) / 13.0)
    assert math.isnan(facts.share_of_longs(r, longs, shorts, 0.003, 1_000))
    assert math.isnan(facts.share_of_longs(r, longs * 0.0, shorts * 0.0, 0.003, 500))


# --- cascades, on a tape made by hand --------------------------------------------------------------------------------


def cascades(*rows: tuple[int, int, int, bool]) -> Cascades:
    start, end, side, news = (np.array(column) for column in zip(*rows, strict=True))
    return Cascades(start, end, side, news.astype(bool))


def made_by_hand() -> Tape:
    """Four days of minutes. From within: -2 % and 50 bps back in ten minutes; news: -2 % for good; thrice each."""
    length = 4 * DAY
    log_close, coins, depth = np.zeros(length), np.full(length, 1_000.0), np.full(length, 1e6)
    longs, shorts, rows = np.zeros(length), np.zeros(length), []
    for place, news in zip(range(2_000, 5_000, 500), (False, True) * 3, strict=True):
        log_close[place + 5 :] -= 0.02
        back = 0.0 if news else 0.005
        log_close[place + 6 :] += back * np.minimum(np.arange(length - place - 6) + 1.0, 10.0) / 10.0
        coins[place : place + 10] *= 0.9
        depth[place + 5] = 1e6 / (4.0 if news else 2.0)
        longs[place + 5], longs[place + 4], shorts[place + 5] = 2e6, 1e6, 5e6
        rows.append((place, place + 10, 1, news))
    return Tape(60, np.exp(log_close), coins, depth, longs, shorts, cascades=cascades(*rows))


def test_what_cascades_took_from_open_interest_and_depth() -> None:
    found = measure(made_by_hand())
    assert found["open interest lost, worst"] == pytest.approx(0.1)
    assert found["open interest lost, median"] == pytest.approx(0.1)
    assert found["depth lost, worst"] == pytest.approx(4.0)
    assert found["depth lost, median"] == pytest.approx(2.0)  # of the first three: a tape of days has no more


def test_reversal_after_forced_flow_and_none_after_news() -> None:
    found = measure(made_by_hand())
    assert found["reversal 5m, forced"] == pytest.approx(25.0)
    assert found["reversal 15m, forced"] == found["reversal 30m, forced"] == pytest.approx(50.0)
    assert found["reversal 5m, news"] == found["reversal 15m, news"] == pytest.approx(0.0, abs=1e-9)
    assert found["reversal 15m, forced - news"] == pytest.approx(50.0)


def test_a_squeeze_mirrors_a_fall() -> None:
    tape = made_by_hand()
    one = tape.cascades
    mirror = replace(
        tape,
        close=1.0 / tape.close,
        liq_long=tape.liq_short,
        liq_short=tape.liq_long,
        cascades=one._replace(side=-one.side),
    )
    there, here = measure(mirror), measure(tape)
    for name in (one.name for fact in FACTS if fact.number in (9, 10, 12) for one in fact.numbers(tape)):
        assert there[name] == pytest.approx(here[name], abs=1e-9), name


def test_neither_the_currency_nor_the_size_of_a_coin_matters() -> None:
    tape = made_by_hand()
    dear = replace(
        tape,
        close=tape.close * 350.0,
        open_interest=tape.open_interest * 0.02,
        **{name: getattr(tape, name) * 7.0 for name in ("depth", "liq_long", "liq_short")},
    )
    np.testing.assert_allclose(list(measure(dear).values()), list(measure(tape).values()), rtol=1e-6, atol=1e-9)


def test_open_interest_is_taken_from_an_hour_before_to_an_hour_after() -> None:
    coins = np.full(400, 100.0)
    coins[139], coins[140], coins[269], coins[270] = 500.0, 200.0, 50.0, 1.0  # from 140, of 200..209 and an hour
    assert facts.lost_open_interest(coins, 200, 210, 60) == pytest.approx(0.75)
    assert math.isnan(facts.lost_open_interest(coins, 0, 10, 60))
    assert math.isnan(facts.lost_open_interest(coins, 200, 210, 0))


def test_depth_is_that_of_the_day_before() -> None:
    depth = np.full(4_000, 100.0)
    depth[:500], depth[2_005], depth[2_010] = 1.0, 20.0, 1.0
    assert facts.lost_depth(depth, 2_000, 2_010, DAY) == pytest.approx(5.0)
    assert math.isnan(facts.lost_depth(depth, 59, 70, DAY))  # less than an hour is known
    depth[2_005] = 0.0
    assert facts.lost_depth(depth, 2_000, 2_010, DAY) == math.inf


def test_the_largest_cascades_are_taken_as_often_as_real_ones_were() -> None:
    length = 90 * DAY
    places = np.arange(1_000, 101_000, 1_000)
    longs = np.zeros(length)
    longs[places] = np.arange(100.0) + 1.0
    side, news = np.ones(100, np.int64), np.zeros(100, np.bool_)
    tape = Tape(60, np.ones(length), liq_long=longs, cascades=Cascades(places, places + 5, side, news))
    assert facts.largest(tape, ~news) == [99, 98, 97, 96, 95, 94]  # 24 a year
    assert facts.largest(replace(tape, liq_long=facts.nothing()), ~news) == list(range(100))
    first = Cascades(places[:7], places[:7] + 5, side[:7], news[:7])
    short = Tape(60, np.ones(5 * DAY), liq_long=longs[: 5 * DAY], cascades=first)
    assert facts.largest(short, ~news[:7]) == [6, 5, 4]


def test_a_cascade_without_forced_flow_has_no_peak() -> None:
    tape = replace(made_by_hand(), liq_long=facts.nothing())
    assert math.isnan(measure(tape)["reversal 5m, forced"])
    assert measure(tape)["open interest lost, worst"] == pytest.approx(0.1)


def test_a_reversal_that_the_tape_does_not_reach_is_left_out() -> None:
    close = np.exp(np.linspace(0.0, 0.01, 11))
    assert facts.reversal_bps(close, 0, 1, 10) == pytest.approx(100.0)
    assert facts.reversal_bps(close, 0, -1, 10) == pytest.approx(-100.0)
    assert math.isnan(facts.reversal_bps(close, 1, 1, 10))
    assert math.isnan(facts.reversal_bps(np.full(11, nan), 0, 1, 10))


def test_two_cascades_have_a_worst_and_no_median() -> None:
    assert facts.worst(np.array([1.0, nan, 3.0])) == 3.0
    assert math.isnan(facts.middle(np.array([1.0, nan, 3.0])))
    assert facts.middle(np.array([1.0, 2.0, 30.0])) == 2.0


# --- what cannot be told ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tape",
    [
        Tape(60, facts.nothing()),
        Tape(60, np.full(3 * DAY, nan)),
        Tape(60, np.ones(50)),
        Tape(60, np.ones(100 * DAY)),
        Tape(7 * 60, random().lognormal(size=1_000)),
        replace(made_by_hand(), cascades=facts.no_cascades(), close=np.ones(4 * DAY), open_interest=facts.nothing()),
    ],
    ids=["empty", "unknown", "short", "still", "odd step", "nothing happened"],
)
def test_too_little_is_nan_and_never_a_warning(tape: Tape) -> None:
    assert {name for name, value in measure(tape).items() if not math.isnan(value)} == set()


@pytest.mark.parametrize("name", ["open_interest", "depth", "liq_long", "liq_short"])
def test_gaps_do_not_silence_a_measure(name: str) -> None:
    tape = made_by_hand()
    holes = getattr(tape, name).copy()
    holes[3::97] = nan
    found, whole = measure(replace(tape, **{name: holes})), measure(tape)
    assert {key for key, value in found.items() if math.isnan(value)} == {k for k, v in whole.items() if math.isnan(v)}


def test_series_of_another_length_are_refused() -> None:
    with pytest.raises(BadInput, match="depth has 3 steps, close has 2"):
        Tape(60, np.ones(2), depth=np.ones(3))


# --- bands and verdict -----------------------------------------------------------------------------------------------


def test_every_fact_has_bands_of_numbers_that_are_measured() -> None:
    of_fact = {fact.number: {one.name for one in fact.numbers(made_by_hand())} for fact in FACTS}
    assert [fact.number for fact in FACTS] == list(range(1, 13))
    assert {band.fact for band in BANDS} == set(of_fact)
    for band in BANDS:
        assert band.name in of_fact[band.fact]
    assert len({band.name for band in BANDS}) == len(BANDS)


@pytest.mark.parametrize("band", BANDS, ids=lambda band: band.name)
def test_every_band_is_a_band_and_says_where_it_is_from(band: Band) -> None:
    assert band.low < band.high
    assert band.real
    assert band.source


def test_an_empty_band_is_refused() -> None:
    with pytest.raises(BadInput, match="is empty"):
        Band(1, "x", 2.0, 2.0, "", "", "")


def middles() -> dict[str, float]:
    return {band.name: (band.low + band.high) / 2.0 for band in BANDS}


def test_a_fact_is_hit_when_all_its_bands_are() -> None:
    assert all(verdict.hit for verdict in judge([middles()]))
    missed = [verdict.fact for verdict in judge([{**middles(), "kurtosis 1h": 3.0}])]
    assert missed == list(range(1, 13))
    assert [verdict.fact for verdict in judge([{**middles(), "kurtosis 1h": 3.0}]) if not verdict.hit] == [2]


def test_the_median_of_the_tapes_that_can_tell_decides() -> None:
    tapes = [{**middles(), "tail index 1h": value} for value in (3.0, 3.0, 99.0, nan, nan, nan)]
    (check,) = (check for check in judge(tapes)[0].checks if check.band.name == "tail index 1h")
    assert (check.median, check.tapes, check.holds) == (3.0, 3, True)
    assert check.inside == pytest.approx(2.0 / 3.0)


def test_what_no_tape_can_tell_is_not_hit() -> None:
    for verdict in judge([]):
        assert not verdict.hit
        assert all(check.tapes == 0 and math.isnan(check.median) for check in verdict.checks)


def test_a_market_without_memory_or_tails_is_told_apart() -> None:
    r = random().standard_normal(90 * DAY) * 1e-4
    verdicts = {verdict.fact: verdict.hit for verdict in judge([measure(Tape(60, np.exp(np.cumsum(r))))])}
    assert (verdicts[1], verdicts[2], verdicts[3], verdicts[4]) == (False, False, False, True)


# --- real markets ----------------------------------------------------------------------------------------------------

TOLD = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11}  # no file has depth, or liquidations by the minute


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_facts", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.real_data
@pytest.mark.parametrize("symbols", [("BTC",), ("BTC", "ETH", "SOL")], ids=["bitcoin", "majors"])
def test_real_markets_hit_what_their_files_can_tell(
    shared_dir: Path, script: ModuleType, symbols: tuple[str, ...]
) -> None:
    verdicts = judge(script.measured_pieces(script.sources(shared_dir), symbols))
    checks = [check for verdict in verdicts for check in verdict.checks if check.tapes]
    assert {check.band.fact for check in checks} == TOLD
    assert [check for check in checks if not check.holds] == []
    assert min(check.inside for check in checks) >= 0.7
