"""strategies.building, backtest.needs and backtest.settled: the small things that strategies stand on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategy_markets import perps, scene

from backtest.needs import TABLES, missing, table_of, tables
from backtest.settled import Unsettled, unsettled
from backtest.strategy import HOLD, Strategy, warmup_bars
from data import clock
from data.errors import BadInput
from data.market import FIELDS, Market
from strategies.building import bars_of, coins_open, last_true, latched, plus
from strategies.signals import inputs

# ---- lengths, latches, open interest ------------------------------------------------------------------


def test_lengths_are_rounded_up_to_bars() -> None:
    market = perps(50)
    assert [bars_of(market, length) for length in ("1m", "1h", "90m", "1d")] == [1, 1, 2, 24]
    assert plus("30d", "1d") == "31d"
    assert clock.duration(plus("7d", "8h")) == 176 * clock.HOUR


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40), st.integers(1, 10))
def test_a_latch_is_what_a_loop_says(flags: list[tuple[bool, bool]], bars: int) -> None:
    on, off = (np.array(side) for side in zip(*flags, strict=True))
    held, since, expected = False, 0, []
    for up, down in flags:
        since += 1
        if up and not down:
            held, since = True, 0
        if down:
            held = False
        expected.append(held and since < bars)
        held = expected[-1]
    np.testing.assert_array_equal(latched(on, off, bars), expected)
    np.testing.assert_array_equal(latched(on[:, None], off[:, None], bars)[:, 0], expected)


def test_the_last_true_row() -> None:
    assert last_true(np.array([False, True, False, False, True])).tolist() == [-1, 1, 1, 1, 4]


def test_open_interest_in_money_becomes_coins() -> None:
    market = scene(np.array([100.0, 50.0, 200.0]), np.array([7.0, 7.0, 7.0]))
    in_money = _with_value(market)
    np.testing.assert_allclose(coins_open(in_money), [7.0, 7.0, 7.0])


def _with_value(market: Market) -> Market:
    from data.market import Points
    from strategies.parts import symbol_data

    seen = market.ts + market.interval - 1
    points = Points(seen, seen, market.interval, {"value": market.open_interest * market.close})
    data = {market.symbols[0]: symbol_data(market, market.symbols[0], open_interest=points)}
    return Market.build("user", data, market.interval, market.start, market.end)


# ---- needs --------------------------------------------------------------------------------------------


class Wants(Strategy):
    needs = ("funding_8h", "open_interest", "bid_depth_1pct", "index")

    @staticmethod
    def decide() -> float:
        return HOLD


def test_what_is_missing_is_told_by_table() -> None:
    market = scene(np.full(20, 100.0), np.full(20, 5.0))
    assert missing(Wants, market) == {
        "funding_8h": "funding", "bid_depth_1pct": "depth", "index": "candles (price index)",
    }  # fmt: skip
    assert missing(Wants, _with_value(market)) == missing(Wants, market)
    assert tables(Wants) == ("candles", "funding", "open_interest", "depth", "candles (price index)")


def test_a_field_that_no_market_has_is_refused() -> None:
    class Wrong(Strategy):
        needs = ("open_intrest",)

    with pytest.raises(BadInput, match=r"Wrong.needs: a market has no open_intrest: did you mean open_interest"):
        missing(Wrong, scene(np.full(20, 100.0)))


def test_signals_and_strategies_name_the_same_tables() -> None:
    assert set(TABLES) <= set(FIELDS)
    for name in FIELDS:
        if not name.startswith("mark_"):  # no signal asks for marks
            assert table_of(name) == inputs.table_of(name)


# ---- ranges -------------------------------------------------------------------------------------------


def test_ranges_are_checked_where_they_are_written() -> None:
    class Base(Strategy):
        window: str = "3d"
        size: float = 1.0
        ranges = {"window": ("1d", "3d"), "size": [1, 2]}  # noqa: RUF012

    assert dict(Base.ranges) == {"window": ("1d", "3d"), "size": (1.0, 2.0)}

    class More(Base):
        side: int = 1
        ranges = {"side": (-1, 1), "size": (0.5,)}  # noqa: RUF012

    assert dict(More.ranges) == {"window": ("1d", "3d"), "size": (0.5,), "side": (-1, 1)}
    wrong: list[tuple[Any, str]] = [
        ({"windw": ("1d",)}, "has no parameter windw: did you mean window"),
        ({"window": ("often",)}, "is no duration"),
        ({"size": ()}, "write the values to try"),
        ({"size": 2.0}, "write the values to try"),
        ({"size": (float("nan"),)}, "write a number"),
        ((1, 2), "write a dict of values to try"),
    ]
    for ranges, message in wrong:
        with pytest.raises(BadInput, match=message):
            type(Base)("Bad", (Base,), {"ranges": ranges})


# ---- warm-up ------------------------------------------------------------------------------------------


class Mean(Strategy):
    """The mean of ten bars, with a warm-up of as many as one says."""

    after: int = 10
    ten: bool = True

    @property
    def warmup(self) -> int:
        return self.after

    def features(self, market: Market) -> dict[str, Any]:
        import pandas as pd

        close = pd.Series(market.close)
        return {"mean": (close.rolling(10) if self.ten else close.expanding()).mean(), "close": close}

    @staticmethod
    def decide(mean: float) -> float:
        return HOLD


def test_a_warm_up_that_is_long_enough_is_silent() -> None:
    assert unsettled(Mean(after=9), perps(200)) == []


def test_a_short_one_is_told_with_the_bar_and_the_size() -> None:
    market = perps(200)
    (found,) = unsettled(Mean(after=5), market, [50])
    assert found == Unsettled("mean", 50, 58, np.inf)  # the tenth bar is the first that has a mean
    (forever,) = unsettled(Mean(after=100, ten=False), market, [50])
    assert (forever.feature, forever.bar) == ("mean", 199)
    assert 0.0 < forever.difference < 1.0
    assert unsettled(Mean(after=100, ten=False), market, [50], tolerance=1.0) == []


def test_what_leaves_nothing_to_compare_is_refused() -> None:
    with pytest.raises(BadInput, match="30 bars are too few: the warm-up alone is 29"):
        unsettled(Mean(after=29), perps(30))
    with pytest.raises(BadInput, match="a start at bar 25 leaves nothing"):
        unsettled(Mean(after=10), perps(30), [25])


def test_the_longest_of_several_warm_ups_counts() -> None:
    class Both(Mean):
        warmup = ("2d", 30)

    assert warmup_bars(Both(), perps(10)) == 48
    assert warmup_bars(Both(), perps(10, step=4 * clock.HOUR)) == 30
