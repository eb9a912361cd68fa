"""Paths around events, placebos, regressions: worked examples, known answers, an independent twin of each formula."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from leverage_events import START, market_of, planted

from data import clock
from data.errors import BadInput, UnwindError
from data.market import Market
from strategies import events
from strategies.events.regressions import longest_known
from strategies.events.studying import Paths, draws_of, interval

HOUR = clock.HOUR
RULE = events.Unwind(horizon="1h", window="2d", sigmas=3.0, move=0.02, flush=0.05, apart="6h")
AROUND = events.Around(before="2h", after="3h", draws=500)


def bars_to_times(*bars: int) -> pd.DatetimeIndex:
    return pd.DatetimeIndex([pd.Timestamp(START + (b + 1) * HOUR) for b in bars])


def listed(bars: list[int], sides: list[str]) -> pd.DataFrame:
    """Events confirmed at the close of these bars."""
    when = bars_to_times(*bars)
    return pd.DataFrame({
        "symbol": "BTC/USDT:USDT", "side": sides, "start": when - pd.Timedelta("1h"), "confirmed": when, "peak": when,
        "end": when,
    })  # fmt: skip


# ---- paths -------------------------------------------------------------------------------------


def test_the_mean_path_by_hand() -> None:
    close = np.full(60, 100.0)
    close[20], close[21] = 90.0, 95.0  # a fall, and half of it back
    close[40], close[41] = 110.0, 121.0  # a rise that goes on
    market = market_of(close, np.full(60, 1000.0))
    made = events.study(market, listed([20, 40], ["long", "short"]), around=AROUND)
    table = made.table.set_index("hours")
    after_fall, after_rise = np.log(95 / 90), -np.log(121 / 110)  # turned: what goes on is below 0
    assert table.loc[1.0, "mean"] == pytest.approx((after_fall + after_rise) / 2)
    assert table.loc[-1.0, "mean"] == pytest.approx((np.log(100 / 90) - np.log(100 / 110)) / 2)
    assert table.loc[0.0, "mean"] == 0.0
    assert list(table["n"].unique()) == [2]
    assert list(table.index) == [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]


def test_open_interest_is_a_log_and_other_fields_are_levels() -> None:
    held = np.full(60, 1000.0)
    held[21:] = 900.0
    market = market_of(np.full(60, 100.0), held, liq_long=np.where(np.arange(60) == 21, 5e5, 0.0))
    found = listed([20], ["short"])
    path = events.study(market, found, "open_interest", around=AROUND).table.set_index("hours")["mean"]
    assert path[1.0] == pytest.approx(np.log(0.9))
    assert events.study(market, found, "liq_long", around=AROUND).table.set_index("hours")["mean"][1.0] == 5e5
    own = events.study(market, found, np.arange(60.0), around=AROUND).table.set_index("hours")["mean"]
    assert list(own) == [18.0, 19.0, 20.0, 21.0, 22.0, 23.0]


def test_a_path_that_leaves_the_market_is_not_known_there() -> None:
    market = market_of(np.linspace(100, 101, 30), np.full(30, 1.0))
    table = events.study(market, listed([28], ["long"]), around=AROUND).table
    assert list(table["n"]) == [1, 1, 1, 1, 0, 0]
    assert np.isnan(table["mean"].iloc[-1])


def test_days_are_drawn_and_not_events() -> None:
    """Ten events of one day and one of another: the mean of a draw of days is one of four, whatever ten there are."""
    paths = Paths(np.array([[1.0]] * 10 + [[0.0]]), np.array([0] * 10 + [1]))
    drawn = draws_of([paths], 4000, 0)[0][:, 0]
    values, counts = np.unique(drawn.round(9), return_counts=True)
    assert values == pytest.approx([0.0, 10 / 11, 1.0])  # twice the second day, each once, twice the first
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng, inside = np.random.default_rng(1), 0
    for trial in range(200):
        common = rng.standard_normal(40).repeat(5)  # five events a day that share its luck
        paths = Paths((common + 0.5 * rng.standard_normal(200))[:, None], np.arange(40).repeat(5))
        low, high = interval(draws_of([paths], 400, trial)[0], 0.9)
        inside += bool(low[0] <= 0.0 <= high[0])
    assert 0.82 <= inside / 200 <= 0.95


def test_a_reversal_that_needs_the_flush_is_told_from_its_placebo() -> None:
    """After every other fall open interest is gone, and only then the price comes back by 2 %."""
    at = np.arange(200, 3000, 100)
    close, held = planted(3100, [(int(b), -0.05, 0.10 if k % 2 else 0.0) for k, b in enumerate(at)])
    for b in at[1::2]:
        close[b + 2 :] *= np.exp(0.02)
        held[b + 20 :] /= 0.9
    market = market_of(close, held)
    found = events.find(market, RULE)
    assert list(found["confirmed"]) == list(bars_to_times(*at[1::2]))
    placebo = events.SameMove(RULE, kept=0.01, caliper=3.0)
    drawn = placebo.times(market, found, 0)
    assert set(drawn["at"]) <= set(bars_to_times(*at[::2]))
    assert drawn["match"].is_unique
    last = events.study(market, found, around=AROUND, placebo=placebo).table.iloc[-1]
    assert last["difference"] == pytest.approx(0.02, abs=0.002)
    assert last["difference_low"] > 0.015
    assert last["t"] > 5.0


def test_the_same_hours_are_the_same_hours_of_other_days() -> None:
    close, held = planted(24 * 60, [(500, -0.05, 0.1), (900, 0.05, 0.1)])
    market = market_of(close, held)
    found = events.find(market, RULE)
    assert len(found) == 2
    drawn = events.SameHours(draws=7, apart="1d").times(market, found, 3)
    assert len(drawn) == 14
    for row in drawn.itertuples():
        event = found["confirmed"].iloc[row.match]
        assert (row.at - event) % pd.Timedelta("1D") == pd.Timedelta(0)
        assert ((found["confirmed"] - row.at).abs() > pd.Timedelta("1D")).all()


def test_what_a_study_refuses() -> None:
    market = market_of(np.full(30, 100.0), np.full(30, 1.0))
    with pytest.raises(BadInput, match="no events"):
        events.study(market, events.find(market))
    with pytest.raises(BadInput, match="no 'wool'"):
        events.study(market, listed([10], ["long"]), "wool")
    with pytest.raises(BadInput, match="29 rows"):
        events.study(market, listed([10], ["long"]), np.zeros(29))
    with pytest.raises(BadInput, match="below the rule's flush"):
        events.SameMove(RULE, kept=0.05)
    with pytest.raises(BadInput, match="at='top'"):
        events.Around(at="top")


def test_events_of_another_market_are_refused() -> None:
    close, held = planted(600, [(300, -0.05, 0.1), (500, -0.05, 0.1)])
    market = market_of(close, held)
    found = events.find(market, RULE)
    for part, count in ((market[400:], 1), (market[:400], 1), (market[400:450], 2)):
        with pytest.raises(BadInput, match=f"{count} of 2 events are not in this market"):
            events.study(part, found, around=AROUND)
    with pytest.raises(BadInput, match="2 of 2 events are not in this market"):
        events.study(market, found.assign(symbol="ETH/USDT:USDT"), around=AROUND)


def test_a_study_can_be_drawn() -> None:
    market = market_of(np.linspace(100, 110, 200), np.full(200, 1.0))
    made = events.study(market, listed([50, 90], ["long", "long"]), around=AROUND, placebo=events.SameHours())
    assert len(made.plot().data) == 4


# ---- regressions -------------------------------------------------------------------------------


def test_clustered_errors_against_the_sandwich_written_out() -> None:
    rng = np.random.default_rng(0)
    days = np.arange(30).repeat(4)
    x = rng.standard_normal(120) + rng.standard_normal(30).repeat(4)
    y = 2.0 - 3.0 * x + rng.standard_normal(30).repeat(4) + rng.standard_normal(120)
    table = events.clustered(y, {"x": x}, days)
    design = np.column_stack((x, np.ones(120)))
    b = np.linalg.lstsq(design, y, rcond=None)[0]
    u, inverse, middle = y - design @ b, np.linalg.inv(design.T @ design), np.zeros((2, 2))
    for day in range(30):
        s = design[days == day].T @ u[days == day]
        middle += np.outer(s, s)
    errors = np.sqrt(np.diag(inverse @ middle @ inverse) * 30 / 29 * 119 / 118)
    assert table["b"].to_numpy() == pytest.approx(b)
    assert table["se"].to_numpy() == pytest.approx(errors)
    assert (table.attrs["n"], table.attrs["days"]) == (120, 30)
    assert table.loc["x", "low"] < -3.0 < table.loc["x", "high"]


def test_rows_with_anything_unknown_are_left_out() -> None:
    rng = np.random.default_rng(0)
    x, y, days = rng.standard_normal(50), rng.standard_normal(50), np.arange(50)
    holes = x.copy()
    holes[[3, 7]] = np.nan
    kept = np.isfinite(holes)
    with_holes, without = events.clustered(y, {"x": holes}, days), events.clustered(y[kept], {"x": x[kept]}, days[kept])
    pd.testing.assert_frame_equal(with_holes, without)
    with pytest.raises(BadInput, match="too few"):
        events.clustered(y, {"x": x}, np.zeros(50))


def test_local_projections_find_a_known_response() -> None:
    """y(t) = z(t) + 0.5 z(t-1) - 0.25 z(t-2) + noise: in all 1, 1.5, 1.25, and no more."""
    rng = np.random.default_rng(4)
    z = rng.standard_normal(4000)
    y = z + 0.2 * rng.standard_normal(4000)
    y[1:] += 0.5 * z[:-1]
    y[2:] -= 0.25 * z[:-2]
    total = events.local_projections(y, z, horizons=5, lags=2)
    assert total["response"].to_numpy() == pytest.approx([1.0, 1.5, 1.25, 1.25, 1.25, 1.25], abs=0.06)
    assert ((total["low"] <= [1.0, 1.5, 1.25, 1.25, 1.25, 1.25]) & (total["high"] >= 1.0)).all()
    each = events.local_projections(y, z, horizons=3, lags=2, cumulative=False)
    assert each["response"].to_numpy() == pytest.approx([1.0, 0.5, -0.25, 0.0], abs=0.05)


def test_a_gap_leaves_the_longest_stretch() -> None:
    assert longest_known([False, True, True, False, True]) == (1, 3)
    assert longest_known([False]) == (0, 0)
    rng = np.random.default_rng(4)
    z = rng.standard_normal(1000)
    z[100] = np.nan
    assert events.local_projections(rng.standard_normal(1000), z, horizons=3).attrs["n"] == 899


def test_granger_sees_who_leads() -> None:
    rng = np.random.default_rng(5)
    lead = rng.standard_normal(2000)
    follow = np.concatenate(([0.0], 0.3 * lead[:-1])) + rng.standard_normal(2000)
    assert events.granger(lead, follow, 3)["p"].max() < 1e-6
    assert events.granger(follow, lead, 3)["p"].min() > 0.01
    with pytest.raises(BadInput, match="fewer lags"):
        events.granger(lead[:50], follow[:50], 10)


# ---- precedents --------------------------------------------------------------------------------


def repeating(n_days: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Every 20 days open interest builds up by a third over a week, and then falls with the price."""
    rng = np.random.default_rng(seed)
    hours = np.arange(n_days * 24)
    phase = hours % (20 * 24)
    build = np.where((phase >= 240) & (phase < 408), (phase - 240) / 168 / 3, 0.0)
    move = np.where((phase >= 408) & (phase < 420), -0.01, 0.0) + np.where(phase < 120, 0.001, 0.0)
    close = 100.0 * np.exp(np.cumsum(move + 0.001 * rng.standard_normal(len(hours))))
    return close, 1000.0 * (1.0 + build) * np.exp(0.002 * rng.standard_normal(len(hours)))


STATE = events.State(every="8h", ahead="1d", apart="2d", count=8, least=100)


def test_precedents_are_the_same_point_of_the_cycle() -> None:
    market = market_of(*repeating(240, 0))
    when = START + (220 * 24 + 16 * 24 + 16) * HOUR  # the last hours of a build-up
    made = events.precedents(market, when, STATE)
    phase = (made.table["when"] - pd.Timestamp(START)) / pd.Timedelta("1D") % 20
    assert (phase.between(15, 18)).mean() >= 0.75
    assert made.outcome.loc[0.5, "return"] < -0.03
    assert made.outcome.loc[0.5, "return_all"] > -0.02
    assert made.left_out == ("funding",)
    assert (made.table["distance"].diff().dropna() >= 0.0).all()


def test_precedents_use_only_what_was_over_and_lie_apart() -> None:
    market = market_of(*repeating(200, 1))
    when = START + 150 * 24 * HOUR
    made = events.precedents(market, when, STATE)
    assert (made.table["when"] + pd.Timedelta("2D") <= pd.Timestamp(when)).all()
    ordered = made.table["when"].sort_values()
    assert (ordered.diff().dropna() >= pd.Timedelta("2D")).all()
    early = events.precedents(market[: 150 * 24], when, STATE)
    pd.testing.assert_frame_equal(early.table, made.table)
    pd.testing.assert_frame_equal(early.outcome, made.outcome)


def with_late_funding(market: Market, first: int) -> Market:
    """Rates that nobody told before a bar."""
    stamps = START + np.arange(first, len(market), 8, dtype=np.int64) * HOUR
    rows = np.zeros(len(stamps), market.settlements.dtype)
    rows["ts"] = rows["raw_ts"] = rows["known_at"] = stamps
    rows["bar"], rows["interval_hours"] = np.arange(first, len(market), 8), 8.0
    rows["rate"] = 1e-4 * np.random.default_rng(1).standard_normal(len(stamps))
    rate = np.full(len(market), np.nan)
    rate[first:] = np.repeat(rows["rate"], 8)[: len(market) - first]
    fields = {**market._laid.fields, "funding_8h": rate}
    return Market("sim", replace(market._laid, fields=fields, settlements=rows, versions=rows))


def test_a_feature_that_began_later_changes_nothing_said_before() -> None:
    plain = market_of(*repeating(240, 3))
    funded = with_late_funding(plain, 150 * 24)
    early, late = START + 140 * 24 * HOUR, START + 239 * 24 * HOUR
    for when in (early, START + 160 * 24 * HOUR):  # not there yet; there, but for too few rows of the past
        a, b = (events.precedents(m, when, STATE) for m in (plain, funded))
        pd.testing.assert_frame_equal(a.table, b.table)
        assert b.left_out == ("funding",)
    assert "funding" not in events.precedents(plain, late, STATE).table
    soon = events.State(every="8h", ahead="1d", apart="2d", count=8, least=100)
    assert events.precedents(funded, late, soon).left_out == ()
    forecasts, before = events.track_record(funded, STATE).forecasts, events.track_record(plain[: 150 * 24], STATE)
    pd.testing.assert_frame_equal(forecasts.iloc[: len(before.forecasts)], before.forecasts)
    assert len(before.forecasts) > 50


def test_the_track_record_knows_a_cycle_from_noise() -> None:
    real = events.track_record(market_of(*repeating(240, 2)), STATE).table
    rng = np.random.default_rng(9)
    noise = market_of(
        100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(240 * 24))),
        1000.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(240 * 24))),
    )
    luck = events.track_record(noise, STATE).table
    assert real.loc["return", "rank_correlation"] > 0.3
    assert real.loc["return", "error"] < real.loc["return", "error_plain"]
    assert abs(luck.loc["return", "rank_correlation"]) < 0.25
    assert luck.loc["return", "in_band"] == pytest.approx(0.7, abs=0.15)  # 8 analogues: a narrow band


def test_what_precedents_refuse() -> None:
    market = market_of(*repeating(60, 1))
    with pytest.raises(BadInput, match="are needed"):
        events.precedents(market, START + 40 * 24 * HOUR, STATE)
    with pytest.raises(BadInput, match="before the market"):
        events.precedents(market, "2020-01-01", STATE)
    with pytest.raises(BadInput, match="choose from"):
        events.State(features=("mood",))


@pytest.mark.parametrize("module", ["statsmodels.api", "statsmodels.tsa.api", "statsmodels.tsa.stattools"])
def test_a_missing_library_is_one_line(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 500))
    call = {
        "statsmodels.api": lambda: events.clustered(y, {"x": x}, np.arange(500)),
        "statsmodels.tsa.api": lambda: events.local_projections(y, x),
        "statsmodels.tsa.stattools": lambda: events.granger(x, y),
    }[module]
    with pytest.raises(UnwindError, match=r"^statsmodels is not installed: pip install statsmodels$"):
        call()
