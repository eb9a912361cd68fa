"""A market as a picture: what it holds is drawn, thinned without losing a spike, on any background."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import market_figure
from data.market import Market
from data.market_figure import thin

NASTY = "<img src=x>/USDT:USDT"


def frames(n: int = 4000, seed: int = 3) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    ts = pd.date_range("2024-01-01", periods=n, freq="5min", unit="ns")
    close = 100.0 * np.exp(np.cumsum(0.002 * rng.standard_normal(n)))
    hit = np.flatnonzero(rng.random(n) < 0.05)
    return {
        "candles": pd.DataFrame(
            {"ts": ts, "open": close, "high": close * 1.001, "low": close * 0.999, "close": close, "volume": 1.0}
        ),
        "funding": pd.DataFrame({"ts": ts[::96], "rate": 1e-4, "interval_hours": 8.0}),
        "open_interest": pd.DataFrame({"ts": ts, "quantity": 50.0, "value": 50.0 * close}),
        "liquidations": pd.DataFrame(
            {
                "ts": ts[hit],
                "position": np.where(rng.random(len(hit)) < 0.5, "long", "short"),
                "notional": rng.lognormal(9.0, 1.0, len(hit)),
            }
        ),
    }


def market(**given: Any) -> Market:
    parts = {**frames(), **given}
    return Market.from_frames(parts.pop("candles"), interval="5m", **parts)


def traces(figure: Any, axis: str) -> list[Any]:
    return [trace for trace in figure.data if trace.yaxis == axis]


def test_all_that_a_market_holds_is_drawn_and_nothing_else() -> None:
    figure = market().plot()
    assert type(figure).__name__ == "Figure"
    assert len({trace.yaxis for trace in figure.data}) == 4
    bare = market(funding=None, open_interest=None, liquidations=None).plot()
    assert len(bare.data) == 1


def test_the_line_is_the_close_and_keeps_its_extremes() -> None:
    one = market()
    line = traces(one.plot(), "y")[0]
    assert len(line.y) <= market_figure.POINTS < len(one)
    assert max(line.y) == one.close.max()
    assert min(line.y) == one.close.min()
    closes = pd.Series(one.close, index=pd.to_datetime(one.ts + one.interval))
    assert np.array_equal(closes.loc[pd.to_datetime(line.x)], line.y)


def test_what_was_liquidated_adds_up_and_its_feed_is_named() -> None:
    one = market()
    figure = one.plot()
    below, above = [trace for trace in figure.data if trace.type == "bar"]
    assert -np.sum(below.y) == pytest.approx(np.nansum(one.liq_long))
    assert np.sum(above.y) == pytest.approx(np.nansum(one.liq_short))
    assert max(below.y) <= 0.0 <= min(above.y)
    assert "unknown completeness: may be a lower bound" in figure.layout.annotations[0].text


def test_several_symbols_begin_at_one_and_the_first_few_are_drawn() -> None:
    candles = frames()["candles"]
    names = [NASTY, *(f"C{i}/USDT:USDT" for i in range(7))]
    many = Market.from_frames(dict.fromkeys(names, candles), interval="5m")
    figure = many.plot()
    lines = traces(figure, "y")
    assert len(lines) == market_figure.SHOWN
    assert {float(line.y[0]) for line in lines} == {1.0}
    assert "6 drawn" in figure.layout.title.text
    assert "<img" not in figure.layout.title.text + lines[0].name


def test_backgrounds_are_clear() -> None:
    layout = market().plot().layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert not layout.template.layout.paper_bgcolor


@given(st.lists(st.floats(-1e9, 1e9) | st.just(float("nan")), min_size=1, max_size=400), st.integers(10, 60))
def test_thinning_keeps_the_ends_and_the_extremes(values: list[float], most: int) -> None:
    array = np.array(values)
    kept = thin(array, most)
    assert len(kept) <= max(most, 2)
    assert (np.diff(kept) > 0).all()
    assert {kept[0], kept[-1]} == {0, len(array) - 1}
    if np.isfinite(array).any():
        assert np.nanmax(array[kept]) == np.nanmax(array)
        assert np.nanmin(array[kept]) == np.nanmin(array)


def test_plotly_is_asked_for_when_something_is_drawn() -> None:
    code = "import sys, data.market, data.market_figure; print('plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
