"""Measures: worked by hand, then against scipy, pandas and vectorbt, then against a second way of adding up."""

from __future__ import annotations

import math
import warnings

import made_runs as R
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from backtest import metrics as m
from backtest.prepare import INVERSE, LINEAR, SPOT
from backtest.records import Cash, Refusal, Why
from data.clock import DAY, HOUR, MINUTE, WEEK
from data.errors import BadInput, UnwindError

Floats = npt.NDArray[np.float64]
NAN = math.nan
MONDAY = 19_723 * DAY  # 2024-01-01


def opens(n: int, interval: int = HOUR, first: int = MONDAY) -> npt.NDArray[np.int64]:
    return first + np.arange(n, dtype=np.int64) * interval


def of(run: object, *, interval: int = HOUR, first: int = MONDAY, kinds: tuple[int, ...] = (0,), start: float = 1000.0):
    ts = opens(len(run.series["equity"]), interval, first)  # type: ignore[attr-defined]
    return m.measures(run, ts, interval, np.array(kinds), start)  # type: ignore[arg-type]


def worked() -> tuple[object, dict[str, float]]:
    """Four bars of 12 hours: two days. Long 2 from 100, paid for with fees and funding, then short and liquidated."""
    book = R.Book(start=1000.0)
    book.fill(2.0, 100.0, 1.0, slippage=0.2)  # notional 200
    book.funding(0.01, 105.0)  # pays 2.10
    book.close(110.0, distance=0.4)  # 1000 - 3.10 + 20 = 1016.90
    book.funding(0.02, 110.0, at_open=True)  # pays 4.40: belongs to the trade that closes in this bar
    book.fill(-2.0, 120.0, 1.5)  # +40; notional 240; wallet 1031
    book.fill(-5.0, 120.0, 3.0, slippage=0.3)  # a reversal; notional 600; wallet 1028
    book.close(118.0, distance=0.1)  # 1028 + 10 = 1038
    book.fill(2.0, 130.0, 0.5, why=Why.REDUCTION)  # -20; notional 260; wallet 1007.50
    book.refuse(int(Refusal.LIQUIDATED))
    book.close(140.0, distance=0.0)  # 1007.50 - 60 = 947.50
    book.fill(3.0, 150.0, 0.0, why=Why.LIQUIDATION, insurance=7.0)  # -90 + 7; notional 450; wallet 924.50
    book.close(150.0)
    run = book.run(scaled=3, ambiguous=4)
    r = np.array([1038.0 / 1000.0 - 1.0, 924.5 / 1038.0 - 1.0])
    low = r.min() + 0.05 * (r.max() - r.min())
    total, loss = -0.0755, 1.0 - 924.5 / 1038.0
    annual = (1.0 + total) ** (365.0 / 2.0) - 1.0
    first = -1.0 - 2.1 - 4.4 + 40.0 - 1.5
    second = -3.0 - 20.0 - 0.5 - 90.0 + 7.0
    expected = {
        "total_return": total,
        "annual_return": annual,
        "volatility": (r[0] - r[1]) / math.sqrt(2.0) * math.sqrt(365.0),
        "sharpe": r.mean() / ((r[0] - r[1]) / math.sqrt(2.0)) * math.sqrt(365.0),
        "sortino": r.mean() / (-r[1] / math.sqrt(2.0)) * math.sqrt(365.0),
        "calmar": annual / loss,
        "max_drawdown": loss,
        "max_drawdown_days": 1.0,  # from the second close to the last
        "time_under_water": 0.5,
        "var_95": -low,
        "es_95": -r[1],
        "skew": 0.0,
        "kurtosis": -2.0,  # two points
        "time_in_market": 0.75,
        "exposure": (5.0 * 118.0 / 1038.0 + 0.0) / 2.0,
        "turnover": 1750.0 / ((1038.0 + 924.5) / 2.0),
        "trades": 2.0,
        "win_rate": 0.5,
        "profit_factor": first / -second,
        "avg_holding_hours": (12.0 + 24.0) / 2.0,
        "fees": 6.0,
        "funding": -6.5,
        "slippage": 0.5,
        "liquidations": 2.0,
        "liquidation_loss": 20.5 + 83.0,
        "bad_debt": 7.0,
        "min_margin_distance": 0.0,
        "ruined": 0.0,
        "refused": 1.0,
        "scaled": 3.0,
        "ambiguous": 4.0,
    }
    return run, expected


def test_worked_by_hand() -> None:
    run, expected = worked()
    found = of(run, interval=12 * HOUR)
    assert tuple(found) == m.NAMES == tuple(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name


def test_trades_worked_by_hand() -> None:
    run, _ = worked()
    rows = m.trades(run, np.array([LINEAR]))
    assert rows["side"].tolist() == [1, -1]
    assert rows["opened"].tolist() == [0, 1]
    assert rows["closed"].tolist() == [1, 3]
    assert rows["why"].tolist() == [Why.MARKET, Why.LIQUIDATION]
    np.testing.assert_allclose(rows["quantity"], [2.0, 5.0])
    np.testing.assert_allclose(rows["entry_price"], [100.0, 120.0])
    np.testing.assert_allclose(rows["exit_price"], [120.0, (2 * 130.0 + 3 * 150.0) / 5.0])
    np.testing.assert_allclose(rows["fees"], [2.5, 3.5])
    np.testing.assert_allclose(rows["funding"], [-6.5, 0.0])
    np.testing.assert_allclose(rows["insurance"], [0.0, 7.0])
    np.testing.assert_allclose(rows["profit"], [31.0, -106.5])


def test_units_and_meanings_are_there_for_every_measure() -> None:
    assert len(set(m.NAMES)) == len(m.NAMES) == 31
    for measure in m.MEASURES:
        assert measure.unit in {"fraction", "ratio", "days", "hours", "count", "money", "flag"}
        assert measure.better in {1, -1, 0}
        assert measure.meaning


# --- days ------------------------------------------------------------------------------------------------------------


def test_a_day_ends_at_its_last_bar_and_parts_of_days_count() -> None:
    ts = opens(5, 8 * HOUR, MONDAY + 16 * HOUR)  # 16:00 | 00:00 08:00 16:00 | 00:00
    assert m.day_ends(ts).tolist() == [True, False, False, True, True]
    assert m.day_ends(opens(1)).tolist() == [True]
    assert m.day_ends(opens(3, 7 * HOUR, MONDAY + 14 * HOUR)).tolist() == [False, True, True]  # 14:00 21:00 | 04:00


def test_days_before_1970_are_days_too() -> None:
    assert m.day_ends(opens(3, 12 * HOUR, -DAY)).tolist() == [False, True, True]


@pytest.mark.parametrize(("interval", "a_year"), [(MINUTE, 365.0), (DAY, 365.0), (WEEK, 365.0 / 7.0)])
def test_returns_a_year(interval: int, a_year: float) -> None:
    assert m.returns_a_year(interval) == pytest.approx(a_year, rel=1e-15)


def test_weekly_bars_have_the_volatility_of_weeks() -> None:
    equity = 1000.0 * np.cumprod(1.0 + np.random.default_rng(1).normal(0.0, 0.05, 200))
    found = of(R.flat(equity), interval=WEEK)
    weekly = pd.Series([1000.0, *equity]).pct_change().dropna()
    assert found["volatility"] == pytest.approx(weekly.std() * math.sqrt(365.0 / 7.0), rel=1e-12)


def test_the_length_of_bars_does_not_change_daily_measures() -> None:
    days = 1000.0 * np.cumprod(1.0 + np.random.default_rng(2).normal(0.0, 0.02, 40))
    daily = of(R.flat(days), interval=DAY)
    hourly = of(R.flat(np.repeat(days, 24)), interval=HOUR)
    for name in ("total_return", "annual_return", "volatility", "var_95", "es_95", "skew", "kurtosis", "max_drawdown"):
        assert hourly[name] == pytest.approx(daily[name], rel=1e-12), name


# --- against other implementations -----------------------------------------------------------------------------------

RETURNS = st.lists(st.floats(-0.5, 0.5).map(lambda x: round(x, 4)), min_size=2, max_size=80).map(np.array)


@pytest.mark.kernel
@given(RETURNS)
def test_daily_measures_against_pandas_and_scipy(r: Floats) -> None:
    start = 100.0
    daily = start * np.cumprod(1.0 + r)
    r = daily / np.append(start, daily[:-1]) - 1.0  # as they come back
    vol, sharpe, sortino, var, es, skew, kurt = m.from_daily(daily, start)
    series = pd.Series(r)
    assert vol == pytest.approx(series.std() * 365.0**0.5, rel=1e-9, abs=1e-14)
    quantile = np.quantile(r, 0.05)
    assert var == pytest.approx(-quantile, rel=1e-12, abs=1e-15)
    assert es == pytest.approx(-r[r <= -var].mean(), rel=1e-12, abs=1e-15)
    if series.std() < 1e-6:
        return
    assert sharpe == pytest.approx(series.mean() / series.std() * 365.0**0.5, rel=1e-9, abs=1e-12)
    assert skew == pytest.approx(stats.skew(r), rel=1e-6, abs=1e-9)
    assert kurt == pytest.approx(stats.kurtosis(r), rel=1e-6, abs=1e-9)
    down = np.sqrt(np.mean(np.minimum(r, 0.0) ** 2))
    if down > 1e-6:
        assert sortino == pytest.approx(r.mean() / down * 365.0**0.5, rel=1e-9, abs=1e-12)
    elif down == 0.0:
        assert math.isnan(sortino)


@pytest.mark.kernel
@pytest.mark.parametrize("n", [*range(2, 70), 101, 1001, 1002])
def test_the_tail_is_the_same_set_of_days_for_every_length(n: int) -> None:
    r = np.random.default_rng(n).permutation(np.arange(n) * 0.001 - 0.05)
    level = m.tail_quantile(r)
    assert level == pytest.approx(np.quantile(r, 0.05), abs=1e-15)
    worst = (n - 1) // 20 + 1  # all returns up to the place of the quantile
    assert m.mean_at_or_below(r, level) == pytest.approx(np.sort(r)[:worst].mean(), abs=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_against_vectorbt(seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        pytest.importorskip("vectorbt")
        rng = np.random.default_rng(seed)
        equity = 1000.0 * np.cumprod(1.0 + rng.standard_t(4, 500) * 0.02)
        found = of(R.flat(equity), interval=DAY)
        returns = pd.Series([1000.0, *equity], index=pd.date_range("2024-01-01", periods=501)).pct_change().dropna()
        theirs = returns.vbt.returns(freq="1D", year_freq="365D")
        vol, sharpe, sortino, *_ = m.from_daily(equity, 1000.0)
        pairs = {
            "total_return": (found["total_return"], theirs.total()),
            "annual_return": (found["annual_return"], theirs.annualized()),
            "volatility": (vol, theirs.annualized_volatility()),
            "sharpe": (sharpe, theirs.sharpe_ratio()),
            "sortino": (sortino, theirs.sortino_ratio()),
            "max_drawdown": (found["max_drawdown"], -theirs.max_drawdown()),
            "var_95": (found["var_95"], -theirs.value_at_risk(cutoff=0.05)),
        }
    for name, (ours, other) in pairs.items():
        assert ours == pytest.approx(other, rel=1e-9), name


@pytest.mark.kernel
@given(st.integers(0, 10_000), st.integers(2, 400))
def test_compiled_and_plain_agree(seed: int, n: int) -> None:
    daily = 1000.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0, 0.05, n)))
    compiled = m.from_daily(daily, 1000.0)
    plain = getattr(m.from_daily, "py_func", m.from_daily)(daily, 1000.0)
    np.testing.assert_allclose(compiled, plain, rtol=1e-12)


# --- drawdown --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equity", "longest", "under", "loss"),
    [
        ([110.0, 120.0, 130.0], 0, 0.0, 0.0),  # only up
        ([100.0, 100.0], 0, 0.0, 0.0),  # never above, never below
        ([90.0, 95.0, 100.0], 3, 2 / 3, 0.1),  # the starting equity is the first peak, at the open of the first bar
        ([110.0, 99.0, 110.0, 109.0], 2, 0.5, 0.1),  # reached again at the third close
        ([110.0, 110.0, 100.0, 105.0, 90.0], 3, 0.6, 20 / 110),  # from the last close of the peak; to the end
        ([50.0, 0.0, 0.0], 3, 1.0, 1.0),
    ],
)
def test_drawdown_worked(equity: list[float], longest: int, under: float, loss: float) -> None:
    values = np.array(equity)
    assert m.longest_drawdown(values, 100.0) == longest
    assert m.time_under_water(values, 100.0) == pytest.approx(under)
    assert m.max_drawdown(values, 100.0) == pytest.approx(loss)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40))
def test_drawdown_against_counting(steps: list[int]) -> None:
    path = [6.0, *map(float, steps)]  # the starting equity first
    longest, under, loss = 0, 0, 0.0
    for j in range(1, len(path)):
        peak = max(path[:j])
        last = max(i for i in range(j) if path[i] == peak)
        loss = max(loss, 1.0 - path[j] / max(path[: j + 1]))
        if path[j] < peak:
            under += 1
        if path[j] < peak or last < j - 1:  # below it, or back from below
            longest = max(longest, j - last)
    equity = np.array(path[1:])
    assert m.longest_drawdown(equity, 6.0) == longest
    assert m.time_under_water(equity, 6.0) == pytest.approx(under / len(equity))
    assert m.max_drawdown(equity, 6.0) == pytest.approx(loss)


# --- what is not a number --------------------------------------------------------------------------------------------


def test_doing_nothing_has_no_ratios() -> None:
    found = of(R.flat([1000.0] * 72))
    for name in (*m.OF_TRADING, "avg_holding_hours", "skew", "kurtosis", "min_margin_distance"):
        assert math.isnan(found[name]), name
    for name in ("total_return", "annual_return", "volatility", "max_drawdown", "turnover", "trades", "fees", "var_95"):
        assert found[name] == 0.0, name
        assert math.copysign(1.0, found["fees"]) == 1.0


def test_interest_alone_has_no_sharpe() -> None:
    found = of(R.flat(1000.0 + np.arange(480.0) // 24 * np.linspace(0.9, 1.1, 480)))
    assert found["total_return"] > 0.0
    assert found["volatility"] > 0.0
    for name in m.OF_TRADING:
        assert math.isnan(found[name]), name


def test_one_day_says_nothing_about_days() -> None:
    book = R.Book()
    book.fill(1.0, 100.0, 1.0)
    book.close(110.0)
    book.fill(-1.0, 90.0)
    book.close(90.0)
    found = of(book.run())
    for name in ("volatility", "sharpe", "sortino", "calmar", "var_95", "es_95", "skew", "kurtosis"):
        assert math.isnan(found[name]), name
    assert found["win_rate"] == 0.0
    assert found["total_return"] == pytest.approx(-0.011)


def test_one_return_has_no_spread() -> None:
    one = np.array([-0.1])
    assert all(math.isnan(f(one)) for f in (m.volatility, m.sharpe, m.sortino, m.skew, m.kurtosis))
    assert m.tail_quantile(one) == -0.1


def test_no_position_may_be_written_as_nan_or_zero() -> None:
    assert m.time_in_market(np.array([[NAN, 0.0], [NAN, 1.0], [NAN, NAN], [-1.0, NAN]])) == 0.5


def test_a_steady_rise_has_no_spread() -> None:
    daily = 1000.0 * 1.01 ** np.arange(1, 400)
    vol, sharpe, sortino, var, es, skew, kurt = m.from_daily(daily, 1000.0)
    assert vol < 1e-12
    assert all(math.isnan(x) for x in (sharpe, sortino, skew, kurt))
    assert var == pytest.approx(-0.01)
    assert es == pytest.approx(-0.01)


def test_ruin() -> None:
    found = of(R.flat([*[500.0] * 24, *[0.0] * 48]))
    assert found["total_return"] == found["annual_return"] == -1.0
    assert found["max_drawdown"] == 1.0
    vol, *_ = m.from_daily(np.array([500.0, 0.0, 0.0]), 1000.0)
    assert vol == pytest.approx(np.std([-0.5, -1.0, 0.0], ddof=1) * 365.0**0.5)
    assert m.from_daily(np.array([-5.0, 10.0]), 1000.0)[0] == pytest.approx(np.std([-1.005, 0.0], ddof=1) * 365.0**0.5)


def test_ruined_is_a_flag_and_turnover_of_nothing_is_nan() -> None:
    book = R.Book(start=10.0)
    book.fill(1.0, 100.0)
    book.fill(-1.0, 90.0, why=Why.LIQUIDATION)
    book.close(90.0)
    book.close(90.0)
    found = of(book.run(ruined_bar=0), start=10.0)
    assert found["ruined"] == 1.0
    assert math.isnan(found["turnover"])


def test_a_year_of_a_minute_is_infinite_not_an_error() -> None:
    assert m.annual_return(0.5, 1.0 / 1440.0) == math.inf
    assert m.annual_return(-0.5, 1.0 / 1440.0) == -1.0
    assert m.annual_return(0.21, 730.0) == pytest.approx(0.1, rel=1e-14)


def test_the_factor_without_losses_is_infinite_and_without_anything_unknown() -> None:
    assert m.profit_factor(np.array([1.0, 2.0])) == math.inf
    assert m.profit_factor(np.array([-1.0])) == 0.0
    assert math.isnan(m.profit_factor(np.array([0.0])))
    assert math.isnan(m.profit_factor(np.array([])))
    assert math.isnan(m.win_rate(np.array([])))
    assert m.win_rate(np.array([0.0, 1.0])) == 0.5


def test_rebates_are_negative_fees() -> None:
    book = R.Book()
    book.fill(1.0, 100.0, -0.02)
    book.close(100.0)
    assert of(book.run())["fees"] == -0.02


# --- trades ----------------------------------------------------------------------------------------------------------


def test_inverse_trades_have_harmonic_prices_and_notional_in_coin() -> None:
    book = R.Book(kinds=(INVERSE,), start=1.0)
    book.fill(100.0, 100.0)
    book.fill(100.0, 200.0)
    book.fill(-200.0, 150.0)
    book.close(150.0)
    run = book.run()
    (row,) = m.trades(run, np.array([INVERSE]))
    assert row["entry_price"] == pytest.approx(200.0 / (100.0 / 100.0 + 100.0 / 200.0))
    assert row["exit_price"] == pytest.approx(150.0)
    assert row["profit"] == pytest.approx(200.0 * (1.0 / row["entry_price"] - 1.0 / 150.0))
    np.testing.assert_allclose(m.notional(run.fills, np.array([INVERSE])), [1.0, 0.5, 200.0 / 150.0])


def test_spot_trades_are_what_the_sale_brings_less_what_was_paid() -> None:
    book = R.Book(kinds=(SPOT,))
    book.fill(2.0, 100.0, 0.5)
    book.fill(-1.0, 110.0, 0.5)
    book.close(110.0)
    book.fill(-1.0, 90.0, 0.5)
    book.close(90.0)
    (row,) = m.trades(book.run(), np.array([SPOT]))
    assert row["profit"] == pytest.approx(10.0 - 10.0 - 1.5)
    assert row["exit_price"] == pytest.approx(100.0)


def test_an_open_position_is_no_trade() -> None:
    book = R.Book()
    book.fill(1.0, 100.0)
    book.fill(-1.0, 110.0)
    book.fill(9.0, 110.0)
    book.close(120.0)
    (row,) = m.trades(book.run(), np.array([LINEAR]))
    assert (row["profit"], row["quantity"]) == (10.0, 1.0)  # nothing of the open one


def test_insurance_of_an_ordinary_close_belongs_to_its_trade() -> None:
    book = R.Book()
    book.fill(1.0, 100.0)
    book.close(100.0)
    book.fill(-1.0, 80.0, 0.1, insurance=5.0)
    book.fill(1.0, 80.0, 0.1)
    book.fill(-1.0, 81.0, 0.1)
    book.close(81.0)
    rows = m.trades(book.run(), np.array([LINEAR]))
    np.testing.assert_allclose(rows["profit"], [-15.1, 0.8])
    np.testing.assert_allclose(rows["insurance"], [5.0, 0.0])


@given(st.integers(0, 2**32 - 1), st.sampled_from([(0,), (0, 1, 2), (1, 1), (2, 0)]))
def test_trades_against_adding_up_on_the_way(seed: int, kinds: tuple[int, ...]) -> None:
    book = R.random_book(seed, kinds=kinds)
    run = book.run()
    rows = m.trades(run, np.array(kinds))
    assert rows["symbol"].tolist() == [trade.symbol for trade in book.trades]
    assert rows["opened"].tolist() == [trade.opened for trade in book.trades]
    assert rows["closed"].tolist() == [trade.closed for trade in book.trades]
    np.testing.assert_allclose(rows["profit"], [trade.profit for trade in book.trades], rtol=1e-9, atol=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_all_cash_is_in_a_trade_an_open_position_or_the_account(seed: int) -> None:
    book = R.random_book(seed)
    run = book.run()
    rows = m.trades(run, np.array(book.kinds))
    is_open = sum(leg.profit for leg in book.legs if leg.quantity)
    of_account = run.ledger["amount"][run.ledger["symbol"] < 0].sum()
    gained = run.series["wallet"][-1] - book.start
    assert rows["profit"].sum() + is_open + of_account == pytest.approx(gained, rel=1e-9, abs=1e-7)


@given(st.integers(0, 2**32 - 1), st.sampled_from([LINEAR, INVERSE, SPOT]))
def test_the_profit_of_a_trade_is_price_less_costs(seed: int, kind: int) -> None:
    """What went in, from the mean entry to the mean exit; counted fill by fill."""
    run = R.random_book(seed, kinds=(kind,)).run()
    bought: list[float] = []
    held = 0.0
    for fill in run.fills:
        if held == 0.0:
            bought.append(0.0)
        if abs(fill["position"]) > abs(held):
            bought[-1] += fill["quantity"]
        held = fill["position"]
    rows = m.trades(run, np.array([kind]))
    entry, exit_ = rows["entry_price"], rows["exit_price"]
    gained = 1.0 / entry - 1.0 / exit_ if kind == INVERSE else exit_ - entry
    paid = rows["fees"] - rows["funding"] - rows["insurance"]
    np.testing.assert_allclose(rows["profit"] + paid, bought[: len(rows)] * gained, rtol=1e-9, atol=1e-9)
    assert np.all(np.sign(bought[: len(rows)]) == rows["side"])


@given(st.integers(0, 2**32 - 1))
def test_measures_of_any_run_are_consistent(seed: int) -> None:
    book = R.random_book(seed, bars=100)
    run = book.run()
    found = of(run, kinds=book.kinds)
    assert found["trades"] == len(book.trades)
    assert found["fees"] == pytest.approx(run.fills["fee"].sum(), rel=1e-9, abs=1e-12)
    assert found["funding"] == pytest.approx(run.fundings["amount"].sum(), rel=1e-9, abs=1e-12)
    assert found["bad_debt"] == pytest.approx(np.maximum(run.liquidations["insurance"], 0.0).sum())
    assert 0.0 <= found["time_under_water"] <= 1.0
    assert 0.0 <= found["time_in_market"] <= 1.0
    if not math.isnan(found["es_95"]):
        assert found["es_95"] >= found["var_95"] - 1e-15
    profits = np.array([trade.profit for trade in book.trades])
    if len(profits):
        assert found["win_rate"] == np.mean(profits > 0.0)


@given(st.integers(0, 2**32 - 1), st.integers(-6, 6))
def test_money_scales_and_the_rest_does_not(seed: int, power: int) -> None:
    """All amounts times one factor, which rounds nothing: as from another currency."""
    factor = 2.0**power
    book = R.random_book(seed, kinds=(0, 0))
    run = book.run()
    before = of(run, kinds=book.kinds)
    for name in ("equity", "wallet"):
        run.series[name] = run.series[name] * factor
    for table, names in {
        "ledger": ("amount", "wallet"),
        "fills": ("quantity", "fee", "profit", "slippage", "position"),
        "liquidations": ("quantity", "fee", "insurance", "loss"),
    }.items():
        for name in names:
            getattr(run, table)[name] *= factor
    after = of(run, kinds=book.kinds, start=1000.0 * factor)
    for measure in m.MEASURES:
        by = factor if measure.unit == "money" else 1.0
        assert after[measure.name] == pytest.approx(before[measure.name] * by, rel=1e-12, abs=0.0, nan_ok=True)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: run.ledger[run.ledger["kind"] != Cash.FEE], "rows of fees"),
        (lambda run: run.ledger[np.r_[2, 0, 1, 3 : len(run.ledger)]], "belongs to no fill"),
        (lambda run: np.append(run.ledger, run.ledger[-2:-1]), "belongs to no fill"),
    ],
)
def test_a_ledger_that_does_not_fit_the_fills_is_refused(spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    book = R.Book()
    book.fill(1.0, 100.0, 1.0)
    book.close(100.0)
    book.funding(0.1, 100.0)
    book.funding(0.1, 100.0)
    book.fill(-1.0, 110.0, 1.0)
    book.close(110.0)
    run = book.run()
    run.ledger = spoil(run)
    with pytest.raises(UnwindError, match=words):
        m.trades(run, np.array([LINEAR]))


def test_a_reversal_in_one_fill_is_refused() -> None:
    book = R.Book()
    book.fill(1.0, 100.0)
    book.fill(-1.0, 100.0)
    book.fill(-1.0, 100.0)
    book.close(100.0)
    run = book.run()
    run.fills = run.fills[[0, 2]]
    with pytest.raises(UnwindError, match="two fills"):
        m.trades(run, np.array([LINEAR]))


# --- ranking ---------------------------------------------------------------------------------------------------------


def test_nan_comes_after_all_numbers_and_ruin_after_that() -> None:
    values = [1.0, NAN, 3.0, math.inf, -math.inf, 9.0, NAN, 3.0]
    ruined = [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0]
    assert m.ranking(values, ruined).tolist() == [3, 2, 7, 0, 4, 1, 5, 6]
    assert m.ranking(values, ruined, better=-1).tolist() == [4, 0, 2, 7, 3, 1, 5, 6]
    assert m.ranking([]).tolist() == []
    with pytest.raises(BadInput, match="better=0"):
        m.ranking([1.0], better=0)


@given(st.lists(st.tuples(st.floats(allow_nan=True), st.booleans()), max_size=30))
def test_ranking_is_a_permutation_in_order(runs: list[tuple[float, bool]]) -> None:
    found = m.ranking([v for v, _ in runs], [r for _, r in runs]).tolist()
    assert sorted(found) == list(range(len(runs)))
    keys = [(runs[i][1], math.isnan(runs[i][0]), 0.0 if math.isnan(runs[i][0]) else -runs[i][0]) for i in found]
    assert keys == sorted(keys)
