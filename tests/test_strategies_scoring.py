"""Detectors held against truth: counted by hand, by luck, and on the simulated venue."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leverage_events import START
from scipy.stats import binom

from backtest.crowd import truth as crowd_truth
from backtest.crowd.as_market import START as CROWD_START
from backtest.crowd.as_market import market_of
from backtest.crowd.machine import History, Machine
from backtest.crowd.world import World
from data import clock
from data.errors import BadInput
from strategies.detectors import Asked, Tally, Truth, alarms, at_least, levels_of, plot, score, score_all

HOUR = clock.HOUR


def truth_of(*cascades: tuple[float, float, str]) -> Truth:
    """(start, end) in hours, and what it was."""
    stamps = [[pd.Timestamp(START) + pd.Timedelta(h, "h") for h in (c[0], c[1])] for c in cascades]
    return Truth.of_rows(pd.DataFrame({
        "kind": "cascade", "ts": [s[0] for s in stamps], "until": [s[1] for s in stamps],
        "label": [c[2] for c in cascades],
    }))  # fmt: skip


def ends(n: int) -> np.ndarray:
    return START + np.arange(1, n + 1, dtype=np.int64) * HOUR


def test_a_tally_by_hand() -> None:
    """100 hours. Above 1 in hours 10-13 and 60-90: alarms at closes 11, 61, 71, 81, 91, each of ten hours."""
    x = np.zeros(100)
    x[10:14] = x[60:91] = 1.0
    truth = truth_of((15.0, 15.5, "endogenous long"), (40.0, 41.0, "endogenous short"), (73.0, 74.0, "news long"),
                     (74.5, 75.0, "endogenous long"), (88.0, 89.0, "endogenous long"))  # fmt: skip
    made = score(x, ends(100), truth, (1.0,), Asked(horizon="10h", apart="4h"))[1.0]
    assert made.alarms == 5
    assert made.covered_days * 24 == pytest.approx(10 * 5 - 1)  # the last one is cut off by the end, at 100
    assert made.days * 24 == pytest.approx(99)
    assert (made.endogenous, made.caught) == (3, 2)  # 74.5 follows news and is no first one; nothing warned of 40
    assert (made.news, made.news_caught) == (1, 1)
    assert made.leads == pytest.approx((4.0, 7.0))
    assert (made.true_alarms, made.idle_alarms) == (2, 2)
    # A close within 10 hours before 15, 40 or 88, of the 100: those that end at 5..14, 30..39 and 78..87.
    assert made.chance_days / made.days == pytest.approx(0.30)
    row = made.row()
    assert row["recall"] == pytest.approx(2 / 3)
    assert row["covered"] == pytest.approx(49 / 99)
    assert row["precision"] == pytest.approx(0.4)
    assert row["false_a_month"] == pytest.approx(2 * 720 / 99)
    assert row["lead_h"] == pytest.approx(5.5)
    c = 49 / 99
    assert row["p"] == pytest.approx(3 * c**2 * (1 - c) + c**3)
    assert row["news_p"] == pytest.approx(c)


def test_a_cascade_at_the_very_close_of_the_alarm_was_not_foretold() -> None:
    x = np.zeros(50)
    x[9] = 1.0
    for start, caught in ((10.0, 0), (10.01, 1), (20.0, 1), (20.01, 0)):
        truth = truth_of((start, start + 1, "endogenous long"))
        assert score(x, ends(50), truth, (1.0,), Asked(horizon="10h"))[1.0].caught == caught


def test_an_alarm_before_any_cascade_at_all_is_not_false() -> None:
    """At 60 comes a second cascade, and at 80 one of shorts where only longs were asked for: both were warned of."""
    x = np.zeros(120)
    x[[54, 76, 100]] = 1.0
    truth = truth_of((50.0, 51.0, "endogenous long"), (60.0, 61.0, "news long"), (80.0, 81.0, "endogenous short"))
    for side in ("", "long"):
        made = score(x, ends(120), truth, (1.0,), Asked("10h", "12h", side))[1.0]
        assert (made.alarms, made.idle_alarms) == (3, 1)


def test_one_side_alone() -> None:
    x = np.ones(50)
    truth = truth_of((5.0, 6.0, "endogenous long"), (40.0, 41.0, "endogenous short"))
    made = {side: score(x, ends(50), truth, (1.0,), Asked("10h", "1h", side))[1.0].endogenous for side in ("", "long")}
    assert made == {"": 2, "long": 1}


def test_tallies_add_up() -> None:
    x = np.zeros(60)
    x[20:25] = 1.0
    first = score(x, ends(60), truth_of((22.0, 23.0, "endogenous long")), (1.0,), Asked("5h", "5h"))[1.0]
    second = score(x, ends(60), truth_of((50.0, 51.0, "news long")), (1.0,), Asked("5h", "5h"))[1.0]
    both = (first + second).row()
    assert (both["cascades"], both["caught"], both["news"], both["news_caught"], both["alarms"]) == (1, 1, 1, 0, 2)
    assert both["covered"] == pytest.approx(5 / 59)
    empty = Tally().row()
    assert math.isnan(empty["recall"])
    assert math.isnan(empty["news_p"])


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), cut=st.integers(2, 199), horizon=st.integers(1, 30))
def test_alarms_do_not_overlap_and_do_not_know_the_future(seed: int, cut: int, horizon: int) -> None:
    x = np.random.default_rng(seed).standard_normal(200)
    x[np.random.default_rng(seed + 1).random(200) < 0.1] = np.nan
    whole = alarms(x, ends(200), 1.0, horizon * HOUR)
    part = alarms(x[:cut], ends(200)[:cut], 1.0, horizon * HOUR)
    np.testing.assert_array_equal(part, whole[whole <= ends(200)[cut - 1]])
    assert (np.diff(whole) >= horizon * HOUR).all()
    assert len(alarms(x * 1e6, ends(200), 1e6, horizon * HOUR)) == len(whole)


def test_a_detector_that_knows_nothing_is_right_as_often_as_it_covers() -> None:
    rng = np.random.default_rng(0)
    total = Tally()
    for _ in range(30):
        starts = np.sort(rng.uniform(0, 2000, 40))
        truth = truth_of(*[(s, s + 0.1, rng.choice(["news long", "endogenous long"])) for s in starts])
        total += score(rng.standard_normal(2000), ends(2000), truth, (2.0,), Asked("12h", "1h"))[2.0]
    row = total.row()
    assert row["recall"] == pytest.approx(row["covered"], abs=0.04)
    assert row["news_recall"] == pytest.approx(row["covered"], abs=0.04)
    assert row["precision"] == pytest.approx(row["base_precision"], abs=0.03)


def test_the_binomial_tail() -> None:
    assert at_least(0, 5, 0.3) == pytest.approx(1.0)
    assert at_least(5, 5, 0.5) == pytest.approx(1 / 32)
    assert at_least(2, 3, 0.5) == pytest.approx(0.5)
    assert (at_least(0, 4, 0.0), at_least(1, 4, 0.0), at_least(4, 4, 1.0)) == (1.0, 0.0, 1.0)
    assert at_least(1_040, 2_000, 0.5) == pytest.approx(binom.sf(1_039, 2_000, 0.5), rel=1e-9)  # years of cascades
    assert math.isnan(at_least(0, 0, 0.5))


@pytest.fixture(scope="module")
def history() -> History:
    return Machine(World(), 3).run(days=50)


def test_registered_signals_on_the_simulated_venue(history: History) -> None:
    truth = Truth.of_history(history, CROWD_START)
    market = market_of(history, World()).resample("15m")
    assert len(truth.start) >= 3
    table = score_all(market, truth, ("oi_build", "volatility_ratio"))
    assert len(table) == 10
    for _, rows in table.groupby("detector"):
        assert rows["threshold"].is_monotonic_increasing
        assert rows["covered"].is_monotonic_decreasing
        assert (rows["caught"] <= rows["cascades"]).all()
    assert len(plot(table).data) == 3


def test_truth_of_a_history_is_that_of_its_rows(history: History) -> None:
    """As `unwind synth` writes it: the same cascades, in both ways."""
    found = crowd_truth.cascades(history)
    minute = CROWD_START + (history.first + np.stack((found.start, found.end))) * clock.MINUTE
    cause = np.where(found.news, "news", "endogenous")
    rows = pd.DataFrame({
        "kind": "cascade", "ts": minute[0].view("datetime64[ns]"), "until": minute[1].view("datetime64[ns]"),
        "label": np.char.add(cause, np.where(found.side > 0, " long", " short")),
    })  # fmt: skip
    one, other = Truth.of_rows(rows), Truth.of_history(history, CROWD_START)
    for name in ("start", "end", "news", "long"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_thresholds_are_shares_of_what_is_known() -> None:
    assert levels_of({"a": np.array([np.nan, 0.0, 1.0, 2.0, 3.0, 4.0])}, (0.5, 1.0)) == {"a": (2.0, 4.0)}


def test_what_is_refused() -> None:
    truth = truth_of((5.0, 6.0, "endogenous long"))
    with pytest.raises(BadInput, match="of one symbol"):
        score(np.zeros((5, 2)), ends(5), truth, (1.0,))
    with pytest.raises(BadInput, match="no number"):
        score(np.zeros(5), ends(5), truth, (math.nan,))
    with pytest.raises(BadInput, match="news long"):
        truth_of((5.0, 6.0, "calm"))
    with pytest.raises(BadInput, match="side='buy'"):
        Asked(side="buy")
