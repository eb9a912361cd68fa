"""What the truth says happened, against histories written by hand and a slower reading of its words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.crowd import truth
from backtest.crowd.kernel import layout as at
from backtest.crowd.machine import History, Machine
from backtest.crowd.truth import BUILD_UP, CALM, RECOVERY, UNWIND
from backtest.crowd.world import Crowd, World

OPEN_INTEREST, PRICE = 1_000.0, 100.0


def written(
    longs: dict[int, float], *, steps: int = 1_440, shorts: dict[int, float] | None = None, minutes: float = 1.0,
    news: dict[int, float] | None = None, near: np.ndarray | None = None,
) -> History:  # fmt: skip
    """Steps by number: part of the open interest that was liquidated, log size of news. `near`: one value an hour."""
    bars, told = np.zeros((steps, at.COLUMNS)), np.zeros(steps)
    bars[:, [at.T_OPEN, at.T_HIGH, at.T_LOW, at.T_CLOSE]] = PRICE
    bars[:, at.OI] = OPEN_INTEREST
    for column, parts in ((at.LIQ_LONG, longs), (at.LIQ_SHORT, shorts or {})):
        for k, part in parts.items():
            bars[k, column] = part * OPEN_INTEREST * PRICE
    for k, size in (news or {}).items():
        told[k] = size
    hourly = np.ones(steps) if near is None else near
    bars[:, at.FRAGILE_DOWN] = np.repeat(hourly, round(60 / minutes))[:steps]
    bars[np.arange(steps) % 5 != 0, at.SHARE_LONG] = np.nan
    bars[np.arange(steps) % 5 != 0, at.FRAGILE_DOWN] = 0.0
    none = np.empty(0)
    return History(minutes, 0, bars, np.empty((0, at.EVENT_COLUMNS)), none.astype(np.int64), none, none, none, told)


def spans(history: History) -> list[tuple[int, int, int]]:
    found = truth.cascades(history)
    return list(zip(found.start.tolist(), found.end.tolist(), found.side.tolist(), strict=True))


# --- cascades --------------------------------------------------------------------------------------------------------


def test_one_minute_is_one_cascade() -> None:
    found = truth.cascades(written({600: 0.05}))
    assert spans(written({600: 0.05})) == [(596, 601, 1)]
    assert found.size == pytest.approx([0.05])
    assert found.worst == [600]


def test_begin_end_and_size() -> None:
    longs = {600: 0.003, 601: 0.002, 610: 0.02, 625: 0.001, 700: 0.0005}
    found = truth.cascades(written(longs))
    assert spans(written(longs)) == [(597, 611, 1)]  # from then on less than 0.24 % in half an hour
    assert found.size == pytest.approx([0.025])
    assert found.worst == [610]


@pytest.mark.parametrize(
    ("longs", "count"),
    [
        ({600: 0.0099}, 0),  # too small in all
        ({600: 0.0101}, 1),
        (dict.fromkeys(range(600, 700), 0.0007), 0),  # never 0.4 % in five minutes
        (dict.fromkeys(range(600, 700), 0.0009), 1),
        ({600: 0.02, 620: 0.02}, 1),  # no half hour of quiet between them
        ({600: 0.02, 640: 0.02}, 2),
        ({600: 0.02, 605: 0.001, 640: 0.02}, 2),
        ({0: 0.02}, 1),
        ({1_439: 0.02}, 1),
    ],
)  # fmt: skip
def test_what_counts(longs: dict[int, float], count: int) -> None:
    assert len(spans(written(longs))) == count


def test_sides_are_apart_and_in_order_of_time() -> None:
    both = written({700: 0.02}, shorts={600: 0.03, 702: 0.02})
    assert [side for _, _, side in spans(both)] == [-1, 1, -1]
    assert truth.cascades(both).size == pytest.approx([0.03, 0.02, 0.02])


def test_the_fall_is_to_the_extreme() -> None:
    history = written({600: 0.02}, shorts={900: 0.02})
    history.bars[599, at.T_LOW], history.bars[899, at.T_HIGH] = 90.0, 120.0
    history.bars[700, at.T_LOW] = 10.0
    assert truth.cascades(history).fall == pytest.approx([np.log(0.9), np.log(1.2)])


@pytest.mark.parametrize(
    ("told", "is_news"),
    [
        ({598: -0.006}, True),
        ({598: -0.0059}, False),
        ({598: 0.05}, False),  # good news throws out no longs
        ({570: -0.01}, True),
        ({569: -0.01}, False),  # more than half an hour before the worst minute
        ({600: -0.01}, True),
        ({601: -0.01}, False),
        ({}, False),
    ],
)
def test_news_is_what_came_in_the_half_hour_before(told: dict[int, float], is_news: bool) -> None:
    assert truth.cascades(written({600: 0.02}, news=told)).news.tolist() == [is_news]
    mirrored = {k: -x for k, x in told.items()}
    assert truth.cascades(written({}, shorts={600: 0.02}, news=mirrored)).news.tolist() == [is_news]


def test_steps_of_five_minutes_mean_the_same_minutes() -> None:
    fine, coarse = written({600: 0.02, 617: 0.01, 900: 0.03}), written({120: 0.02, 123: 0.01, 180: 0.03}, minutes=5.0)
    assert [(a // 5, b) for a, b, _ in spans(coarse)] == [(24, 124), (36, 181)]
    assert len(spans(fine)) == len(spans(coarse))
    assert truth.cascades(fine).size == pytest.approx(truth.cascades(coarse).size)


bursts = st.dictionaries(st.integers(0, 399), st.sampled_from([0.0004, 0.002, 0.005, 0.012, 0.06]), max_size=12)


@settings(max_examples=150)
@given(bursts, bursts)
def test_cascades_are_apart_and_nothing_large_is_missed(longs: dict[int, float], shorts: dict[int, float]) -> None:
    history = written(longs, shorts=shorts, steps=400)
    found = truth.cascades(history)
    assert np.all(np.diff(found.start) >= 0)
    for side, parts in ((1, longs), (-1, shorts)):
        forced = np.array([parts.get(k, 0.0) for k in range(400)])
        inside, before = np.zeros(400, dtype=bool), 0
        for start, end, of, size in zip(found.start, found.end, found.side, found.size, strict=True):
            if of != side:
                continue
            assert before <= start < end <= 400
            assert not inside[start:end].any()
            inside[start:end] = True
            before = end
            assert size == pytest.approx(forced[start:end].sum())
            assert size >= truth.LEAST
            fives = [forced[max(k - 4, 0) : k + 1].sum() for k in range(start, end)]
            assert max(fives) >= truth.BEGINS - 1e-12
            assert end + 30 > 400 or forced[end : end + 30].sum() < 6.0 * truth.BEGINS * truth.ENDS + 1e-12
        for k in np.flatnonzero(forced >= truth.LEAST):
            assert inside[k], "what is large enough by itself is in a cascade"


def test_moving_sums() -> None:
    x = np.array([1.0, 2.0, 4.0, 8.0])
    assert truth.moving_sum(x, 2).tolist() == [1.0, 3.0, 6.0, 12.0]
    assert truth.moving_sum(x, 9).tolist() == [1.0, 3.0, 7.0, 15.0]
    assert len(truth.moving_sum(x[:0], 3)) == 0


# --- phases ----------------------------------------------------------------------------------------------------------


def phases_of(history: History) -> list[int]:
    return truth.phases(history, truth.cascades(history)).tolist()


def test_phases_of_a_cascade() -> None:
    codes = phases_of(written({600: 0.02, 650: 0.02}, steps=4_320))  # 09:56 to 10:51
    assert codes[:9] == [CALM] * 9
    assert codes[9:12] == [UNWIND] * 3  # and the hour after it
    assert codes[12:36] == [RECOVERY] * 24
    assert codes[36:] == [CALM] * 36


def test_a_second_cascade_in_the_recovery() -> None:
    codes = phases_of(written({600: 0.02}, shorts={900: 0.02}, steps=4_320))
    assert [k for k, code in enumerate(codes) if code == UNWIND] == [9, 10, 11, 14, 15, 16]
    assert codes[16:42] == [UNWIND, *[RECOVERY] * 24, CALM]


def test_a_build_up_lasts_until_leverage_is_back() -> None:
    near = np.ones(72)
    near[40:50] = [1.1, 1.2, 1.1, 1.1, 1.06, 1.04, 1.1, 1.14, 1.16, 1.0]
    codes = phases_of(written({}, steps=4_320, near=near))
    assert [k for k, code in enumerate(codes) if code == BUILD_UP] == [41, 42, 43, 44, 48]


def test_fragility_is_the_last_one_known() -> None:
    near = truth.fragility(written({}, steps=180, near=np.array([1.0, 3.0, 2.0])))
    assert near.tolist() == [1.0] * 60 + [3.0] * 60 + [2.0] * 60


@pytest.mark.parametrize("steps", [0, 30, 60, 90])
def test_a_history_of_any_length(steps: int) -> None:
    history = written({k: 0.02 for k in (5, 40) if k < steps}, steps=steps)
    assert len(phases_of(history)) == steps // 60


# --- of a machine ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def history() -> History:
    crowd = Crowd(accounts=400, fast_look_hours=0.2, slow_look_hours=1.0, entry=1.0)
    return Machine(World(crowd=crowd), seed=3, warm_days=1).run(days=20)


def test_the_tape_is_the_history(history: History) -> None:
    tape = truth.tape_of(history)
    assert tape.step_s == 60.0
    assert np.array_equal(tape.close, history.column(at.T_CLOSE))
    assert np.array_equal(tape.open_interest, history.column(at.OI))
    assert np.array_equal(tape.settled, np.arange(480, 20 * 1440 + 1, 480))
    assert np.array_equal(tape.hours, np.full(60, 8.0))
    assert len(tape.rate) == 60
    found = truth.cascades(history)
    assert np.array_equal(tape.cascades.start, found.start)
    assert np.array_equal(tape.cascades.side, found.side)


def test_what_is_liquidated_at_once_is_in_the_truth(history: History) -> None:
    found = truth.cascades(history)
    for side, column in ((1, at.LIQ_LONG), (-1, at.LIQ_SHORT)):
        forced = history.column(column) / (history.column(at.OI) * history.column(at.T_CLOSE))
        inside = np.zeros(len(forced), dtype=bool)
        for start, end in zip(found.start[found.side == side], found.end[found.side == side], strict=True):
            inside[start:end] = True
        assert inside[forced >= truth.LEAST].all()
    codes = truth.phases(history, found)
    assert len(codes) == 480
    assert all(codes[start // 60] == UNWIND for start in found.start)


def test_a_market_that_begins_empty_has_its_truth() -> None:
    history = written({600: 0.02})
    history.bars[:3, at.OI] = 0.0
    assert spans(history) == [(596, 601, 1)]
