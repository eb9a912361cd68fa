"""The report as numbers and as text, against independent sources. How it looks is tests/browser/test_page.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import made_runs
import numpy as np
import pandas as pd
import pytest
import reported
import strategy_markets as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape

from backtest import Account, Costs, Result, simulate
from backtest.hold import hold
from backtest.report import words
from backtest.report.compare import compare
from backtest.report.report import Report
from backtest.report.sections import ORDER
from backtest.report.sections.calendar import by_month, by_year
from backtest.report.sections.capacity import participation
from backtest.report.sections.costs import waterfall
from backtest.report.sections.equity import drawdowns
from backtest.report.sections.events import extremes
from backtest.report.sections.leverage import highest_of_last
from backtest.report.sections.rolling import rolling
from backtest.report.sections.trades import excursions
from backtest.report.sections.verdicts import answers_of
from backtest.report.subject import Subject
from backtest.report.thin import keep
from data.align import Bars
from data.clock import DAY, HOUR, MINUTE
from data.errors import BadInput
from data.market import Market, SymbolData

SYMBOLS = ("BTC/USDT:USDT", "BTC/USD:BTC", "ETH/USDT")
TINY = 1e-9


def result_of(book: Any, **more: Any) -> Result:
    n = len(book.bars)
    given = {
        "run": book.run(),
        "ts": reported.START + np.arange(n, dtype=np.int64) * HOUR,
        "interval": HOUR,
        "symbols": SYMBOLS[: len(book.kinds)],
        "kinds": book.kinds,
        "currency": "USDT",
        "start_equity": book.start,
        "venue": "binance",
    }
    return Result(**{**given, **more})


def run_of(m: Market, exposure: Any = None, **more: Any) -> Result:
    chosen = reported.targets(m) if exposure is None else exposure
    return simulate(m, exposure=chosen, venue="binance", **{"costs": Costs.fixed(2.0), **more})


@pytest.fixture(scope="module")
def market() -> Market:
    return reported.market()


@pytest.fixture(scope="module")
def result(market: Market) -> Result:
    return run_of(market)


@pytest.fixture(scope="module")
def subject(market: Market, result: Result) -> Subject:
    return Subject(result, market=market)


@pytest.fixture(scope="module")
def html(market: Market, result: Result) -> str:
    return Report(result, name="Coin", market=market).html()


# ---- for the eye ---------------------------------------------------------------------------------------

values = st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=400)


@given(values, st.integers(8, 60))
def test_thinning_keeps_both_ends_and_both_extremes(series: list[float], most: int) -> None:
    array = np.array(series)
    rows = keep(array, most)
    assert len(rows) <= max(most, 1)
    assert (np.diff(rows) > 0).all()
    assert (rows[0], rows[-1]) == (0, len(array) - 1)
    known = array[~np.isnan(array)]
    if len(known):
        kept = array[rows]
        assert np.nanmax(kept) == known.max()
        assert np.nanmin(kept) == known.min()
        assert np.isnan(kept).any() == np.isnan(array).any()


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=80), st.integers(1, 30))
def test_the_highest_of_the_last_bars(series: list[float], n: int) -> None:
    array = np.array(series)
    expected = [array[max(0, i - n + 1) : i + 1].max() for i in range(len(array))]
    np.testing.assert_array_equal(highest_of_last(array, n), expected)


def test_numbers_are_reckoned_on_all_bars_though_few_are_drawn() -> None:
    m = reported.market(bars=20_000, step=MINUTE)
    r = run_of(m)
    page = Report(r, market=m).html()
    drawn = reported.packed(page)["equity-curve"]
    net = reported.trace(drawn, "net")["y"]
    assert len(net) <= 1200
    assert min(net) == pytest.approx(r.equity.min(), rel=1e-5)
    assert max(net) == pytest.approx(r.equity.max(), rel=1e-5)
    assert f"Deepest {r.measures['max_drawdown']:.1%}" in page


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0.00%"),
        (-0.00001, "0.00%"),
        (0.1234, "+12.34%"),
        (-0.5, "\u221250.00%"),
        (float("nan"), "\u2013"),
        (250.0, "more than 9,999%"),
    ],
)
def test_percentages_as_words(value: float, said: str) -> None:
    assert words.percent(value) == said


def test_amounts_as_words() -> None:
    assert words.amount(-0.001, sign=True) == "0.00"
    assert words.amount(1234.5) == "1,234.50"
    assert words.amount(-1_234_567.0) == "\u22121.23M"
    assert words.amount(0.00123, words.cents(0.5), sign=True) == "+0.001230"
    assert words.multiple(-0.001) == "0.00x"
    assert words.multiple(-2.5) == "\u22122.50x"
    assert words.share(99_999.0, 100_000.0) == "99.99%"


# ---- money ---------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.sampled_from([(0,), (1,), (0, 0), (0, 1, 2)]))
@settings(max_examples=60)
def test_the_waterfall_adds_up(seed: int, kinds: tuple[int, ...]) -> None:
    book = made_runs.random_book(seed, kinds=kinds)
    s = Subject(result_of(book))
    if not s.traded:
        return
    parts = waterfall(s)
    assert sum(v for _, v in parts[:-1]) == pytest.approx(parts[-1][1], abs=1e-7)
    ledger = pd.DataFrame(book.run().ledger)
    by_kind = ledger.groupby("kind")["amount"].sum()
    open_ = book.bars[-1]["equity"] - book.wallet
    slipped = sum(row[8] for row in book.rows["fills"])
    named = dict(parts)
    assert named["Net"] == pytest.approx(book.bars[-1]["equity"] - book.start, abs=1e-9)
    assert named["Price"] == pytest.approx(by_kind.get(0, 0.0) + open_ + slipped, abs=1e-7)
    assert named["Slippage"] == pytest.approx(-slipped)
    assert named["Fees"] == pytest.approx(by_kind.get(1, 0.0), abs=1e-9)
    assert named["Funding"] == pytest.approx(by_kind.get(2, 0.0), abs=1e-9)


@given(st.integers(0, 10_000), st.sampled_from([(0,), (1,), (0, 1, 2)]))
@settings(max_examples=60)
def test_the_net_of_a_trade_is_what_its_book_made(seed: int, kinds: tuple[int, ...]) -> None:
    """Everything once: the fees and the funding of a trade are in its profit already."""
    book = made_runs.random_book(seed, kinds=kinds)
    s = Subject(result_of(book))
    np.testing.assert_allclose(s.net, [one.profit for one in book.trades], atol=1e-7)
    t = s.trades
    np.testing.assert_allclose(s.moved - t["fees"] + t["funding"] + t["insurance"], s.net, atol=1e-7)
    if len(s.net):
        assert (s.net > 0.0).mean() == s.result.measures["win_rate"]


def test_gross_equity_is_that_of_a_run_without_costs() -> None:
    """Lots so coarse that costs do not change what is bought: then the costless run is another engine's answer."""
    m = reported.market(instrument={"lot_size": 10.0, "contract": "linear"})
    exposure = reported.targets(m, size=0.15)
    paid = run_of(m, exposure, costs=Costs.fixed(5.0))
    free_rates = SymbolData(**{**_data(m), "funding": None, "instrument": {"lot_size": 10.0, "contract": "linear"}})
    without = Market.build("made-up", {reported.ALFA: free_rates}, m.interval, m.start, m.end)
    free = simulate(without, exposure=exposure, venue="binance", costs=Costs.none(maker=0.0, taker=0.0))
    assert len(paid.fills) == len(free.fills) > 20
    assert free.measures["fees"] == free.measures["slippage"] == free.measures["funding"] == 0.0
    assert paid.measures["funding"] != 0.0
    np.testing.assert_array_equal(paid.run.fills["quantity"], free.run.fills["quantity"])
    np.testing.assert_allclose(Subject(paid, market=m).gross, free.equity, rtol=0, atol=1e-7)


def _data(m: Market) -> dict[str, Any]:
    columns = {name: np.asarray(getattr(m, name)) for name in ("open", "high", "low", "close", "volume")}
    marks = {name: np.asarray(getattr(m, f"mark_{name}")) for name in ("open", "high", "low", "close")}
    return {"candles": Bars(m.interval, m.ts, **columns), "marks": [Bars(m.interval, m.ts, **marks)]}


def test_funding_by_side_is_what_the_settlements_say(subject: Subject, html: str) -> None:
    drawn = reported.packed(html)["funding-months"]
    rows = subject.result.fundings
    assert len(rows) > 10
    for side in ("long", "short"):
        mine = rows[(rows["quantity"] > 0.0) == (side == "long")]
        expected = mine.groupby(mine["ts"].dt.strftime("%Y-%m-%d"))["amount"].sum()
        shown = reported.trace(drawn, f"{side} positions")
        found = pd.Series(shown["y"], index=shown["x"])
        np.testing.assert_allclose(found.reindex(expected.index), expected, rtol=1e-5)
        assert found.drop(expected.index).abs().sum() == 0.0
    total = sum(sum(one["y"]) for one in drawn["data"])
    assert total == pytest.approx(subject.result.measures["funding"], rel=1e-4)


def test_the_benchmark_is_buying_and_keeping(subject: Subject, market: Market) -> None:
    assert subject.benchmark is not None
    name, curve = subject.benchmark
    assert name == "buy and hold"
    np.testing.assert_allclose(curve, hold(market, notional=subject.start).equity, rtol=1e-12)


def test_the_benchmark_of_several_symbols_holds_equal_parts() -> None:
    m = reported.market(("A/USDT:USDT", "B/USDT:USDT", "C/USDT:USDT"), bars=300)
    s = Subject(run_of(m, account=Account(mode="cross")), market=m)
    assert s.benchmark is not None
    parts = [hold(m, one, notional=s.start / 3).equity for one in m.symbols]
    np.testing.assert_allclose(s.benchmark[1], np.sum(parts, axis=0), rtol=1e-12)


def test_participation_is_a_part_of_the_bars_turnover(subject: Subject, market: Market) -> None:
    fills = subject.result.fills
    turnover = pd.Series(market.quote_volume, index=pd.to_datetime(market.ts))
    expected = fills["quantity"].abs() * fills["price"] / turnover.reindex(fills["ts"]).to_numpy()
    np.testing.assert_allclose(participation(subject), expected, rtol=1e-12)
    assert np.isnan(participation(Subject(subject.result))).all()


# ---- time ----------------------------------------------------------------------------------------------


def walk(days: int, step: int, seed: int = 2) -> Subject:
    rng = np.random.default_rng(seed)
    n = days * DAY // step
    equity = 1000.0 * np.exp(np.cumsum(0.01 * np.sqrt(step / DAY) * rng.standard_normal(n)))
    book = made_runs.flat(equity)
    ts = reported.START + 17 * DAY + np.arange(n, dtype=np.int64) * step
    return Subject(
        Result(
            run=book, ts=ts, interval=step, symbols=("A",), kinds=np.array([0]), currency="USDT",
            start_equity=1000.0, venue="binance",
        )
    )  # fmt: skip


@pytest.mark.parametrize("step", [HOUR, 4 * HOUR, DAY])
def test_months_and_years_are_those_of_pandas(step: int) -> None:
    s = walk(500, step)
    series = pd.Series(s.equity, index=pd.to_datetime(s.result.ts))
    for rule, found in (("ME", dict(by_month(s))), ("YE", by_year(by_month(s)))):
        last = series.resample(rule).last()
        expected = last / last.shift(fill_value=1000.0) - 1.0
        np.testing.assert_allclose(list(found.values()), expected, rtol=1e-12)
    names = [f"{1970 + m // 12}-{m % 12 + 1:02d}" for m, _ in by_month(s)]
    assert names == [str(p) for p in series.index.to_period("M").unique()]


@pytest.mark.parametrize("window", [30, 90])
def test_rolling_measures_are_those_of_pandas(window: int) -> None:
    s = walk(300, 4 * HOUR)
    daily = pd.Series(s.equity, index=pd.to_datetime(s.result.ts)).resample("D").last().pct_change()
    daily.iloc[0] = s.equity[5] / 1000.0 - 1.0
    np.testing.assert_allclose(s.daily, daily, rtol=1e-9)
    mean, deviation = daily.rolling(window).mean(), daily.rolling(window).std()
    ratio, volatility = rolling(s.daily, window)
    np.testing.assert_allclose(ratio, mean / deviation * np.sqrt(365.0), rtol=1e-7)
    np.testing.assert_allclose(volatility, deviation * np.sqrt(365.0), rtol=1e-7)


def test_rolling_measures_of_days_on_which_nothing_moved_are_not_known() -> None:
    ratio, volatility = rolling(np.zeros(40), 30)
    assert np.isnan(ratio).all()
    assert (volatility[29:] == 0.0).all()


def test_the_largest_moves_lie_apart() -> None:
    rng = np.random.default_rng(4)
    close = 100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(400)))
    close[50:60] = np.nan
    for sign in (-1, 1):
        found = extremes(close, 24, 5, sign)
        moves = np.array([np.log(close[i + 24] / close[i]) for i in range(len(close) - 24)])
        assert found[0][2] == pytest.approx(sign * np.nanmax(sign * moves))
        starts = np.sort([first for first, _, _ in found])
        assert (np.diff(starts) > 24).all()
        for first, last, move in found:
            assert (last - first, move) == (24, pytest.approx(np.log(close[last] / close[first])))
    assert extremes(close[:24], 24, 5, 1) == []


@given(st.lists(st.integers(1, 8), min_size=1, max_size=40), st.integers(1, 8))
def test_drawdowns_are_those_of_a_plain_loop(series: list[int], start: int) -> None:
    expected: list[tuple[int, int, int | None]] = []
    peak, at, low = float(start), -1, None
    for bar, value in enumerate(series):
        if value >= peak:
            if low is not None:
                expected.append((at, low, bar))
            peak, at, low = float(value), bar, None
        elif low is None or value < series[low]:
            low = bar
    if low is not None:
        expected.append((at, low, None))
    assert drawdowns(np.array(series, dtype=float), float(start)) == expected


# ---- trades --------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=50)
def test_excursions_are_those_of_a_plain_loop(seed: int, holes: bool) -> None:
    book = made_runs.random_book(seed, kinds=(0, 0))
    result = result_of(book, symbols=("A/USDT:USDT", "B/USDT:USDT"))
    rng = np.random.default_rng(seed)
    n, data, wide = len(book.bars), {}, {}
    for j, name in enumerate(result.symbols):
        close = book.column("marks")[:, j]
        high, low = close + rng.integers(0, 4, n), close - rng.integers(0, 4, n)
        here = rng.random(n) > 0.2 if holes else np.ones(n, dtype=bool)
        here[0] = True
        data[name] = SymbolData(candles=Bars(HOUR, result.ts[here], *(v[here] for v in (close, high, low, close))))
        wide[j] = (np.where(here, high, np.nan), np.where(here, low, np.nan))
    market = Market.build("x", data, HOUR, int(result.ts[0]), int(result.ts[-1]) + HOUR)
    against, for_ = excursions(Subject(result, market=market))
    for row, trade in enumerate(result.trades.itertuples()):
        high, low = wide[list(result.symbols).index(trade.symbol)]
        a, b = (int(np.searchsorted(result.ts, pd.Timestamp(t).value)) for t in (trade.ts, trade.closed))
        inside = [v for v in (*high[a : b + 1], *low[a : b + 1]) if not np.isnan(v)]
        if not inside:
            assert np.isnan(against[row])
            continue
        sign = 1.0 if trade.side == "long" else -1.0
        moves = [sign * (v / trade.entry_price - 1.0) for v in inside]
        assert against[row] == pytest.approx(min(0.0, *moves), abs=1e-12)
        assert for_[row] == pytest.approx(max(0.0, *moves), abs=1e-12)


def test_the_explorer_shows_the_trades_of_the_result(result: Result, html: str) -> None:
    rows = reported.packed(html)["trade-rows"]
    shown = dict(zip(rows["heads"], rows["columns"], strict=True))
    trades = result.trades
    assert "Symbol" not in shown  # of one symbol alone
    assert shown["Side"] == trades["side"].tolist()
    assert shown["Ended by"] == [why.replace("_", " ") for why in trades["why"]]
    for head, column in (("Opened", "ts"), ("Closed", "closed")):
        assert shown[head] == [pd.Timestamp(t).value // 1_000_000 for t in trades[column]]
    same = {"Entry": "entry_price", "Exit": "exit_price", "Hours": "hours", "Funding": "funding", "Net": "profit"}
    for head, column in same.items():
        np.testing.assert_allclose(shown[head], trades[column], rtol=1e-5, atol=TINY)
    np.testing.assert_allclose(shown["Fees"], -trades["fees"], atol=TINY)
    price = trades["profit"] + trades["fees"] - trades["funding"] - trades["insurance"]
    np.testing.assert_allclose(shown["Price"], price, atol=1e-7)
    assert sum(shown["Net"]) == pytest.approx(result.measures["total_return"] * result.start_equity, abs=1e-4)
    assert (rows["heads"][rows["outcome"]], rows["cents"]) == ("Net", 2)


def test_of_very_many_trades_those_that_moved_the_account_most_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backtest.report.sections.trades.MOST", 10)
    m = reported.market()
    r = run_of(m)
    rows = reported.packed(Report(r, market=m).html())["trade-rows"]
    net = np.sort(np.abs(r.trades["profit"]))[-10:]
    shown = rows["columns"][rows["heads"].index("Net")]
    np.testing.assert_allclose(np.sort(np.abs(shown)), net, rtol=1e-9)


# ---- several side by side ------------------------------------------------------------------------------


def test_correlation_of_days_is_that_of_pandas() -> None:
    a, b = walk(60, HOUR, seed=1), walk(60, HOUR, seed=2)
    page = compare({"one": a.result, "other": b.result})
    drawn = reported.packed(page.html())["compare-alike"]["data"][0]["z"]
    frame = pd.DataFrame({"a": a.daily, "b": b.daily})
    np.testing.assert_allclose(drawn, frame.corr(), rtol=1e-3)


def test_comparing_says_what_makes_it_hard(result: Result) -> None:
    other = run_of(reported.market(bars=1000), account=Account(equity=500.0))
    page = compare({"one": result, "<b>other</b>": other})
    assert "The runs cover different spans." in page.page.notices
    assert "They were simulated on different data." in page.page.notices
    assert "Their account settings differ." in page.page.notices
    text = page.html()
    assert "<b>other</b>" not in text
    assert "&lt;b&gt;other&lt;/b&gt;" in text
    assert compare({"one": result, "again": result}).page.notices == ()


def test_a_comparison_needs_two(result: Result) -> None:
    with pytest.raises(BadInput, match="two runs at least"):
        compare({"one": result})
    with pytest.raises(BadInput, match="25 runs are more than 24"):
        compare({str(i): result for i in range(25)})


# ---- the page ------------------------------------------------------------------------------------------


def test_every_section_is_there_or_says_why_not(market: Market, result: Result) -> None:
    full, bare = Report(result, market=market).page, Report(result).page
    for page in (full, bare):
        assert len(page.sections) == len({s.anchor for s in page.sections}) == len(ORDER) - 1
        assert "strategies" not in {s.anchor for s in page.sections}  # the run is of one
        for section in page.sections:
            assert bool(section.blocks) != bool(section.empty), section.anchor
            assert "\n" not in section.empty
    assert {s.anchor for s in full.sections if s.blocks} > {s.anchor for s in bare.sections if s.blocks}


def test_what_nobody_asked_is_no_pass(result: Result, market: Market) -> None:
    for one in (Report(result), Report(simulate(market, exposure=0.0, venue="binance"), market=market)):
        answers = {a.question: a.outcome for a in answers_of(one.subject)}
        assert answers["Does no signal know the future?"] == "unknown"
        assert "which is no pass" in one.verdict
    bare = {a.question: a.outcome for a in answers_of(Report(result).subject)}
    assert bare["Is the data whole?"] == "unknown"
    idle = {a.question: a for a in answers_of(one.subject)}
    assert idle["Did the account survive?"].outcome == "unknown"
    assert idle["Was nothing liquidated?"].outcome == "unknown"


def test_an_account_that_lost_nearly_all_did_not_survive() -> None:
    """It ended with a thousandth of a dollar, which the engine does not call ruin."""
    m = sm.scene(np.linspace(100.0, 50.0, 600))
    r = run_of(m, np.tile([20.0, 20.0, 0.0], 200), account=Account(leverage=20.0, mode="cross"))
    assert not r.ruined
    assert r.equity.iloc[-1] < 0.01
    answer = answers_of(Report(r, market=m).subject)[0]
    assert (answer.outcome, answer.answer[:38]) == ("fail", "It was not ruined, but 99.99% of its h")


def test_gaps_in_the_data_are_a_failed_question() -> None:
    m = reported.market(holes=0.1)
    answers = {a.question: a for a in answers_of(Report(run_of(m), market=m).subject)}
    assert answers["Is the data whole?"].outcome == "fail"
    share = np.isfinite(m.close).mean()
    assert words.share(share, 1.0) in answers["Is the data whole?"].answer


def test_names_cannot_end_the_script_or_the_page(market: Market) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    m = reported.market((evil,), bars=300)
    page = Report(run_of(m), name=evil, market=m, notices=(evil,)).html()
    assert evil not in page
    assert str(escape(evil)) in page
    assert page.count("</script>") == 3
    assert evil in reported.packed(page)["leverage-timeline"]["layout"].get("title", evil)


def test_nothing_in_the_page_points_elsewhere(html: str) -> None:
    own = re.sub(r'<script type="text/plain" id="(packed|plotly-gz)">.*?</script>', "", html, flags=re.DOTALL)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", own)
    assert "http" not in own.replace("http-equiv", "")


def test_the_same_run_gives_the_same_bytes(market: Market, result: Result, html: str) -> None:
    assert Report(result, name="Coin", market=market).html() == html


def test_warnings_and_assumptions_are_on_the_page(result: Result, html: str) -> None:
    for text in (*result.warnings, *result.assumptions):
        said = text.removeprefix("assumption: ")
        assert str(escape(said[1:])) in html


def test_the_market_must_be_the_one_that_was_simulated(result: Result) -> None:
    with pytest.raises(BadInput, match="give the one that was simulated"):
        Report(result, market=reported.market(bars=100))


def test_it_is_written_into_a_new_folder(tmp_path: Path, result: Result, market: Market) -> None:
    path = Report(result, market=market).write(tmp_path / "new" / "x.html")
    assert path.is_file()
    assert [p.name for p in path.parent.iterdir()] == ["x.html"]


def test_colours_are_names_of_the_pages_own(html: str) -> None:
    """A colour that the style does not know would be drawn black."""
    known = set(re.findall(r"(--[a-z-]+):", html))
    used = set(re.findall(r'"(--[a-z-]+)"', str(reported.packed(html)).replace("'", '"')))
    assert used <= known
    assert len(used) > 8
    assert set(re.findall(r"var\((--[a-z-]+)\)", html)) <= known


def test_in_a_notebook_it_is_a_small_table(market: Market, result: Result) -> None:
    one = Report(result, name="<b>x</b>", market=market)
    small = one._repr_html_()
    assert "&lt;b&gt;x&lt;/b&gt;" in small
    assert "<b>x</b>" not in small
    assert len(small) < 20_000
    assert one.verdict in repr(one)


def test_a_run_in_coin_keeps_its_digits() -> None:
    """Profits of thousandths of a coin are not shown as 0.00; coin is not compared with a curve in dollars."""
    name = "BTC/USD:BTC"
    m = reported.market((name,), instrument={"contract": "inverse"})
    r = simulate(m, exposure=reported.targets(m), venue="binance", account=Account(equity=0.5), costs=Costs.fixed(2.0))
    s = Subject(r, market=m)
    assert s.benchmark is None
    page = Report(r, market=m).html()
    assert words.amount(r.equity.iloc[-1], 6) in page
    assert reported.packed(page)["trade-rows"]["cents"] == 6
