"""data.align: each rule by a case reckoned by hand, then against a slow twin in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import align, clock
from data.align import Bars, Grid
from data.errors import BadInput

MIN = clock.MINUTE
GRID = Grid(0, MIN, 10)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def flat(interval: int, ts: np.ndarray, low: float = 1.0, high: float = 2.0) -> Bars:
    k = len(ts)
    return Bars(interval, ts, np.full(k, low), np.full(k, high), np.full(k, low), np.full(k, high))


# ---- slow twins --------------------------------------------------------------------------------


def slow_as_of(grid: Grid, known_at: list[int], ts: list[int]) -> list[int]:
    out = []
    for i in range(grid.n):
        close = grid.start + (i + 1) * grid.step
        seen = [(ts[j], known_at[j], j) for j in range(len(ts)) if known_at[j] < close]
        out.append(max(seen)[2] if seen else -1)
    return out


def slow_values(grid, known_at, ts, interval, values):
    kept = [j for j in range(len(ts)) if not math.isnan(values[j])]
    rows = slow_as_of(grid, [known_at[j] for j in kept], [ts[j] for j in kept])
    out, stale = [], []
    for i, at in enumerate(rows):
        if at < 0:
            out.append(math.nan)
            stale.append(False)
            continue
        j = kept[at]
        age = grid.start + (i + 1) * grid.step - ts[j]
        old = age > max(2 * interval[j], 2 * grid.step) + (known_at[j] - ts[j])
        out.append(math.nan if old else values[j])
        stale.append(old)
    return out, stale


def slow_sum(grid: Grid, known_at: list[int], values: list[float]) -> list[float]:
    out = []
    for i in range(grid.n):
        low, high = grid.start + i * grid.step, grid.start + (i + 1) * grid.step
        out.append(sum(v for k, v in zip(known_at, values, strict=True) if low <= k < high))
    return out


def slow_marks(grid, trade, marks):
    """Each bar by itself, by the words of `mark_bars`."""
    made, source = [], []
    for i in range(grid.n):
        at = grid.start + i * grid.step
        price, code = [float(p[i]) for p in trade], 0
        for bars in sorted(marks, key=lambda b: -b.interval):
            if bars.interval <= grid.step:
                continue
            for j, t in enumerate(bars.ts):
                if t <= at and at + grid.step <= t + bars.interval and bars.low[j] <= bars.high[j]:
                    price = [
                        p if math.isnan(p) else min(max(p, bars.low[j]), bars.high[j]) for p in (q[i] for q in trade)
                    ]
                    code = 0 if math.isnan(price[3]) else 1
        for bars in marks:
            if bars.interval == grid.step:
                for j, t in enumerate(bars.ts):
                    whole = [bars.open[j], bars.high[j], bars.low[j], bars.close[j]]
                    if t == at and not any(math.isnan(p) for p in whole):
                        price, code = whole, 2
        made.append(price)
        source.append(code)
    return made, source


times = st.integers(-300, 900).map(lambda s: s * clock.SECOND)
lags = st.sampled_from([0, 1, 59, 60, 61, 200, 900]).map(lambda s: s * clock.SECOND)
numbers = st.one_of(st.just(math.nan), st.integers(-50, 50).map(float))
grids = st.builds(
    lambda start, step, n: Grid(start * clock.SECOND, step * clock.SECOND, n),
    st.sampled_from([-120, 0, 60, 180]),
    st.sampled_from([30, 60, 180]),
    st.integers(1, 12),
)


# ---- as of -------------------------------------------------------------------------------------


def test_known_at_the_very_close_is_not_visible_and_a_nanosecond_before_is() -> None:
    at_close = align.as_of(GRID, ints(MIN), ints(0))
    assert at_close.tolist() == [-1] + [0] * 9
    just_before = align.as_of(GRID, ints(MIN - 1), ints(0))
    assert just_before.tolist() == [0] * 10


def test_rows_from_before_the_grid_are_seen_in_the_first_bar_and_later_ones_never() -> None:
    rows = align.as_of(GRID, ints(-500 * MIN, -MIN, 10 * MIN), ints(-500 * MIN, -MIN, 10 * MIN))
    assert rows.tolist() == [1] * 10


def test_a_late_row_about_an_earlier_time_does_not_override_and_a_revision_does() -> None:
    known, ts = ints(2 * MIN, 4 * MIN, 6 * MIN), ints(2 * MIN, MIN, 2 * MIN)
    assert align.as_of(GRID, known, ts).tolist() == [-1, -1, 0, 0, 0, 0, 2, 2, 2, 2]


def test_no_rows() -> None:
    none = ints()
    assert align.as_of(GRID, none, none).tolist() == [-1] * 10
    value, stale = align.as_of_values(GRID, none, none, none, np.zeros(0))
    assert np.isnan(value).all()
    assert stale is None


@given(grids, st.lists(st.tuples(times, lags), max_size=12))
def test_as_of_is_its_slow_twin(grid: Grid, rows: list[tuple[int, int]]) -> None:
    ts, known = [t for t, _ in rows], [t + lag for t, lag in rows]
    got = align.as_of(grid, ints(*known), ints(*ts)).tolist()
    assert got == slow_as_of(grid, known, ts)


@given(grids, st.lists(st.tuples(times, lags, st.sampled_from([0, 30, 60, 90, 300]), numbers), max_size=12))
def test_as_of_values_are_their_slow_twin(grid: Grid, rows: list[tuple[int, int, int, float]]) -> None:
    ts, known = [r[0] for r in rows], [r[0] + r[1] for r in rows]
    interval, values = [r[2] * clock.SECOND for r in rows], [r[3] for r in rows]
    got, stale = align.as_of_values(grid, ints(*known), ints(*ts), ints(*interval), np.array(values))
    want, want_stale = slow_values(grid, known, ts, interval, values)
    np.testing.assert_array_equal(got, want)
    assert (np.zeros(grid.n, bool) if stale is None else stale).tolist() == want_stale


def test_a_value_lasts_two_of_its_own_intervals_and_its_lag() -> None:
    value, stale = align.as_of_values(GRID, ints(30 * clock.SECOND), ints(0), 2 * MIN, np.array([7.0]))
    # at the close of bar 3 it is 4 min old, of bar 4 five: more than 2 x 2 min and the lag of 30 s
    assert value[:4].tolist() == [7.0] * 4
    assert np.isnan(value[4:]).all()
    assert stale is not None
    assert stale.tolist() == [False] * 4 + [True] * 6


def test_a_value_lasts_two_bars_however_fine_its_interval() -> None:
    value, _ = align.as_of_values(GRID, ints(0), ints(0), clock.SECOND, np.array([7.0]))
    assert value[:2].tolist() == [7.0, 7.0]
    assert np.isnan(value[2])


def test_a_row_without_a_value_says_nothing() -> None:
    value, _ = align.as_of_values(GRID, ints(0, 2 * MIN), ints(0, 2 * MIN), clock.HOUR, np.array([7.0, np.nan]))
    assert value.tolist() == [7.0] * 10


# ---- events and coverage -----------------------------------------------------------------------


def test_events_are_summed_where_they_became_known() -> None:
    known = ints(-1, 0, MIN - 1, MIN, 9 * MIN, 10 * MIN)
    got = align.bin_sum(GRID, known, np.array([100.0, 1.0, 2.0, 4.0, 8.0, 100.0]))
    assert got.tolist() == [3.0, 4.0, 0, 0, 0, 0, 0, 0, 0, 8.0]
    assert align.bin_sum(GRID, ints(), np.zeros(0)).tolist() == [0.0] * 10


@given(grids, st.lists(st.tuples(times, st.integers(0, 100)), max_size=30))
def test_bin_sum_is_its_slow_twin(grid: Grid, events: list[tuple[int, int]]) -> None:
    known, amount = [e[0] for e in events], [float(e[1]) for e in events]
    assert align.bin_sum(grid, ints(*known), np.array(amount)).tolist() == slow_sum(grid, known, amount)


def test_only_the_first_version_of_a_sum_counts_and_only_the_last_of_a_settlement() -> None:
    ts, known = ints(2, 1, 2, 1), ints(9, 5, 3, 7)
    assert align.first_versions(known, ts).tolist() == [1, 2]
    assert align.last_versions(known, ts).tolist() == [3, 0]


@pytest.mark.parametrize(
    ("spans", "gaps", "lag", "want"),
    [
        ([(0, 10 * MIN)], [], 0, range(10)),
        ([(1, 10 * MIN - 1)], [], 0, range(1, 9)),
        ([(0, 150_000_000_000), (150_000_000_000, 4 * MIN)], [], 0, range(4)),  # touching spans are one
        ([(0, 2 * MIN), (2 * MIN + 1, 4 * MIN)], [], 0, [0, 1, 3]),
        ([(0, 10 * MIN)], [(2 * MIN, 2 * MIN + 1)], 0, [0, 1, 3, 4, 5, 6, 7, 8, 9]),
        ([(0, 10 * MIN)], [(2 * MIN - 1, 4 * MIN)], 0, [0, 4, 5, 6, 7, 8, 9]),
        ([(0, 10 * MIN)], [(2 * MIN, 6 * MIN, 4 * MIN)], 0, [0, 1, 2, 3, 6, 7, 8, 9]),  # known when half over
        ([(0, 10 * MIN)], [(2 * MIN, 4 * MIN, 5 * MIN)], 0, range(10)),  # known when all over
        ([(0, 4 * MIN)], [], MIN, [1, 2, 3, 4]),
        ([(-5 * MIN, -MIN)], [], 0, []),
        ([], [], 0, []),
    ],
)
def test_coverage(spans, gaps, lag, want) -> None:
    assert np.flatnonzero(align.covered(GRID, spans, gaps, lag)).tolist() == list(want)


@given(
    grids,
    st.lists(st.tuples(times, times), max_size=4),
    st.lists(st.tuples(times, times).filter(lambda g: g[0] < g[1]), max_size=3),
)
def test_a_bar_is_covered_if_every_second_of_it_is(grid: Grid, spans, gaps) -> None:
    want = []
    for i in range(grid.n):
        low = grid.start + i * grid.step
        seconds = range(low, low + grid.step, clock.SECOND)
        want.append(all(any(a <= s < b for a, b in spans) and not any(a <= s < b for a, b in gaps) for s in seconds))
    assert align.covered(grid, spans, gaps).tolist() == want


# ---- bars on bars ------------------------------------------------------------------------------


def test_mark_prices_by_hand() -> None:
    grid = Grid(0, MIN, 4)
    trade = tuple(np.array(p, float) for p in ([10, 20, 30, 40], [15, 25, 35, 45], [5, 15, 25, 35], [12, 22, 32, 42]))
    coarse = Bars(
        2 * MIN, ints(0, 2 * MIN), *(np.array(p, float) for p in ([11, 31], [18, np.nan], [11, 30], [18, 31]))
    )
    exact = Bars(MIN, ints(3 * MIN), *(np.array([p]) for p in (41.0, 46.0, 34.0, 41.5)))
    (o, h, lo, c), source = align.mark_bars(grid, trade, [exact, coarse])
    assert source.tolist() == [1, 1, 0, 2]  # the second coarse bar has no range, so it clips nothing
    assert o.tolist() == [11, 18, 30, 41]
    assert h.tolist() == [15, 18, 35, 46]
    assert lo.tolist() == [11, 15, 25, 34]
    assert c.tolist() == [12, 18, 32, 41.5]


def test_the_finest_mark_bar_around_decides_and_a_missing_trade_stays_missing() -> None:
    grid = Grid(0, MIN, 4)
    price = np.array([10.0, 10.0, np.nan, 10.0])
    wide, narrow = flat(4 * MIN, ints(0), 4.0, 8.0), flat(2 * MIN, ints(0), 5.0, 6.0)
    (_, _, _, c), source = align.mark_bars(grid, (price,) * 4, [narrow, wide])
    np.testing.assert_array_equal(c, [6, 6, np.nan, 8])
    assert source.tolist() == [1, 1, 0, 1]


def test_finer_mark_bars_replace_only_as_whole_sets() -> None:
    grid = Grid(0, 2 * MIN, 3)
    fine = Bars(
        MIN,
        ints(0, 1, 2, 4) * MIN,
        *(np.array(p) for p in ([1.0, 2, 3, 4], [5.0, 6, 7, 8], [0.5, 1, 2, 3], [9.0, 8, 7, 6])),
    )
    (o, h, lo, c), source = align.mark_bars(grid, (np.full(3, 50.0),) * 4, [fine])
    assert source.tolist() == [2, 0, 0]
    assert [o[0], h[0], lo[0], c[0]] == [1.0, 6.0, 0.5, 8.0]
    assert c[1:].tolist() == [50.0, 50.0]


def test_a_coarse_mark_bar_that_began_before_the_grid_clips_too() -> None:
    grid = Grid(3 * MIN, MIN, 4)
    price = np.full(4, 10.0)
    (_, _, _, c), source = align.mark_bars(grid, (price,) * 4, [flat(5 * MIN, ints(0), 1.0, 2.0)])
    assert c.tolist() == [2, 2, 10, 10]
    assert source.tolist() == [1, 1, 0, 0]


mark_rows = st.lists(
    st.tuples(st.integers(-4, 14), numbers, numbers, numbers, numbers), max_size=8, unique_by=lambda r: r[0]
)


@given(
    st.integers(1, 10),
    st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=10, max_size=10),
    st.lists(st.tuples(st.sampled_from([1, 2, 3, 6]), mark_rows), max_size=3, unique_by=lambda m: m[0]),
)
def test_mark_bars_are_their_slow_twin(n: int, prices, marks) -> None:
    grid = Grid(0, MIN, n)
    trade = tuple(np.array([p[k] for p in prices[:n]]) for k in range(4))
    series = [
        Bars(m * MIN, ints(*(r[0] * m * MIN for r in rows)), *(np.array([r[k] for r in rows]) for k in range(1, 5)))
        for m, rows in marks
    ]
    made, source = align.mark_bars(grid, trade, series)
    want, want_source = slow_marks(grid, trade, series)
    np.testing.assert_array_equal(np.array(made).T, np.array(want).reshape(n, 4))
    assert source.tolist() == want_source


def test_a_mark_bar_off_its_grid_is_refused() -> None:
    with pytest.raises(BadInput, match="no multiple of 1m"):
        align.mark_bars(GRID, (np.ones(10),) * 4, [flat(MIN, ints(30 * clock.SECOND))])


def test_aggregate_adds_up_unsorted_bars_and_counts() -> None:
    bars = Bars(
        MIN,
        ints(61, 60, 64, 62) * MIN,
        *(np.array(p, float) for p in ([2, 1, 5, 3], [9, 8, 7, 6], [2, 1, 4, np.nan], [3, 2, 6, 4])),
        volume=np.array([1.0, 2, 4, 8]),
    )
    got, count = align.aggregate(bars, 2 * MIN)
    assert got.ts.tolist() == [60 * MIN, 64 * MIN]  # the bar without a low is passed over
    assert count.tolist() == [2, 1]
    assert [got.open[0], got.high[0], got.low[0], got.close[0]] == [1, 9, 1, 3]
    assert got.volume is not None
    assert got.volume.tolist() == [3.0, 4.0]
    with pytest.raises(BadInput, match="do not add up"):
        align.aggregate(bars, 90 * clock.SECOND)


def test_weeks_begin_on_monday() -> None:
    monday = clock.moment("2024-01-01")
    days = flat(clock.DAY, monday + np.arange(14) * clock.DAY)
    got, count = align.aggregate(days, clock.WEEK)
    assert got.ts.tolist() == [monday, monday + clock.WEEK]
    assert count.tolist() == [7, 7]


def test_ends_takes_the_close_of_bars_that_end_with_ours() -> None:
    bars = flat(20 * clock.SECOND, ints(0, 20, 40, 80, 100) * clock.SECOND)
    bars.close[:] = [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(align.ends(Grid(0, MIN, 3), bars), [3, 5, np.nan])


# ---- funding -----------------------------------------------------------------------------------

H = clock.HOUR


def test_stamps_within_a_minute_of_the_hour_are_snapped() -> None:
    ts = ints(8 * H + 5, 8 * H - 60 * clock.SECOND, 8 * H + 61 * clock.SECOND)
    assert align.snapped(ts).tolist() == [8 * H, 8 * H, 8 * H + 61 * clock.SECOND]


def test_intervals_from_spacing_take_a_gap_for_a_missing_settlement() -> None:
    hours = align.spacing_hours(ints(0, 8, 16, 32, 36, 40) * H)
    np.testing.assert_array_equal(hours, [np.nan, 8, 8, 8, 4, 4])


def test_missing_settlements_in_the_middle_at_the_head_and_at_the_tail() -> None:
    ts, hours = ints(16, 24, 48, 52) * H, np.array([8.0, 8, 8, 4])
    got = align.missing_settlements(ts, hours, 0, 61 * H)
    assert (got // H).tolist() == [0, 8, 32, 40, 56, 60]
    assert (align.missing_settlements(ts, hours, 30 * H, 56 * H) // H).tolist() == [32, 40]
    assert align.missing_settlements(ints(), np.zeros(0), 0, H).tolist() == []
    assert align.missing_settlements(ints(0, 8 * H), np.array([np.nan, np.nan]), 0, 99 * H).tolist() == []


def test_funding_per_8h_is_of_the_last_settlement_known_before_the_close_and_lasts_two_intervals() -> None:
    grid = Grid(0, H, 24)
    ts = ints(1, 5) * H
    rate, stale = align.funding_8h(grid, ts, ts, np.array([0.001, -0.002]), np.array([4.0, 8.0]))
    assert np.isnan(rate[0])  # known at the very close of bar 0
    np.testing.assert_allclose(rate[1:5], 0.002)
    np.testing.assert_allclose(rate[5:21], -0.002)
    assert np.isnan(rate[21:]).all()
    assert stale is not None
    assert np.flatnonzero(stale).tolist() == [21, 22, 23]


def test_a_grid_is_made_of_whole_bars() -> None:
    grid = align.grid_of(H, H // 2, 3 * H + 5)
    assert grid == Grid(H, H, 2)
    with pytest.raises(BadInput, match="no whole 1h bar"):
        align.grid_of(H, H // 2, H)
