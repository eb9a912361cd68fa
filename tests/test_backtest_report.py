"""The page as text: what is said, what is left out, and what thinning keeps. How it looks is tests/browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from backtest import Account, Costs, Result, simulate
from backtest.hold import hold
from backtest.report import page as pages
from backtest.report.charts import turns
from backtest.report.page import page, write_page
from backtest.report.thin import keep
from data.align import Bars
from data.clock import DAY, HOUR
from data.errors import BadInput
from data.market import Market, SymbolData


def market(close: np.ndarray, name: str = "X/USDT:USDT") -> Market:
    ts = np.arange(len(close), dtype=np.int64) * HOUR
    return Market.build(
        "made-up", {name: SymbolData(candles=Bars(HOUR, ts, close, close, close, close))}, "1h", 0, ts[-1] + HOUR
    )


def charts_of(html: str) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    drawn: list[dict[str, Any]] = json.loads(found[1])
    return drawn


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
    np.testing.assert_array_equal(pages._highest_of_last(array, n), expected)


def test_turns_of_the_market_need_a_whole_day() -> None:
    found = turns(6 * HOUR, np.full(6, 300.0), np.array([10.0, 20.0, 30.0, 40.0, 50.0, np.nan]))
    np.testing.assert_allclose(found, [np.nan, np.nan, np.nan, 3.0, 300 / 140, 2.5])
    assert DAY // (6 * HOUR) == 4


def test_what_there_is_no_data_for_is_not_drawn() -> None:
    m = market(np.linspace(100.0, 110.0, 48))
    html = page(m, [hold(m)])
    assert [c["id"] for c in charts_of(html)] == ["s0-equity", "s0-price"]
    assert "No liquidations are stored for this span." in html
    assert "Made-up data" not in html
    assert "Buying and keeping it made 9.95%" in html
    assert "marks stood in by trades in 48 of 48 bars" in html
    assert re.search(r'<td>open interest</td><td class="n">0</td><td class="n">48</td>.*? 0.00%', html)


def test_a_page_of_shorts_alone_says_so() -> None:
    m = market(np.linspace(100.0, 210.0, 48))
    html = page(m, [hold(m, side=-1)])
    assert "Selling it short and holding on lost everything" in html
    assert "Buying and keeping it" not in html


def test_numbers_are_reckoned_on_all_bars_though_few_are_drawn() -> None:
    rng = np.random.default_rng(3)
    m = market(100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(20_000))))
    h = hold(m)
    html = page(m, [h])
    drawn = charts_of(html)[0]["data"][1]["y"]
    assert len(drawn) < 3_500
    assert f"deepest drawdown {h.max_drawdown:.1%}" in html


def test_names_cannot_end_the_script_or_the_page() -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    m = market(np.linspace(100.0, 110.0, 48), name=evil)
    html = page(m, [hold(m)], title=f"A {evil} B")
    assert evil not in html
    assert html.count("</script>") == 3
    assert "\\u003c" not in json.dumps(charts_of(html))


def test_nothing_in_the_page_points_elsewhere() -> None:
    m = market(np.linspace(100.0, 110.0, 48))
    html = page(m, [hold(m)])
    own = re.sub(r'<script type="text/plain" id="plotly-gz">.*?</script>', "", html, flags=re.DOTALL)
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", own)
    assert "http" not in own.replace("http-equiv", "")


def test_holds_are_needed(tmp_path: Path) -> None:
    m = market(np.linspace(100.0, 110.0, 48))
    with pytest.raises(BadInput, match="at least one hold"):
        page(m, [])
    assert write_page(tmp_path / "new" / "x.html", m, [hold(m)]).is_file()


def run_of(m: Market, leverage: float = 20.0) -> Result:
    return simulate(m, exposure=leverage, venue="binance", costs=Costs.none(), account=Account(leverage=leverage))


def falling(name: str = "BTC/USDT:USDT") -> Market:
    return market(np.linspace(100.0, 60.0, 48), name=name)


def test_a_run_is_shown_beside_the_holds_of_its_symbol() -> None:
    m = falling()
    result = run_of(m)
    assert result.measures["liquidations"] == 1.0
    html = page(m, [hold(m)], runs=[("Long <20x>", result)])
    chart = charts_of(html)[-1]
    assert chart["id"] == "s0-runs"
    equity, ratio, marks = chart["data"]
    np.testing.assert_allclose(equity["y"], result.run.series["equity"], rtol=1e-5)
    np.testing.assert_allclose(ratio["y"], result.run.series["margin_ratio"], rtol=1e-5)
    bar = int(result.run.liquidations["bar"][0])
    assert marks["x"] == [equity["x"][bar]]
    assert "Long &lt;20x&gt; lost 100.00%" in html or "Long &lt;20x&gt; lost 99." in html
    assert "and was liquidated once." in html
    assert "<20x>" not in html
    for text in (*result.warnings, *result.assumptions):
        assert str(escape(text)) in html


def test_a_page_without_runs_says_nothing_of_margin() -> None:
    m = falling()
    assert "With margin" not in page(m, [hold(m)])


def test_a_run_of_a_symbol_that_is_not_held_is_refused() -> None:
    m, other = falling(), falling("ETH/USDT:USDT")
    with pytest.raises(BadInput, match=r"the run 'mine' is of ETH/USDT:USDT"):
        page(m, [hold(m)], runs=[("mine", run_of(other))])
