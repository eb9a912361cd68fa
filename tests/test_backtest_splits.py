"""Splits by tables: which dates are trained on, chosen on and tested, and that training never sees a test."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.splits import (
    Fold,
    anchored,
    by_calendar,
    combinatorial,
    counts,
    purged_kfold,
    ranges,
    rolling,
)
from data.clock import DAY, HOUR
from data.errors import BadInput


def days(first: str, last: str, hours: int = 24) -> np.ndarray:
    """Opens of bars from the first day to the end of the last."""
    begin, end = (np.datetime64(text, "h").astype(np.int64) for text in (first, last))
    return np.arange(begin, end + 24, hours) * HOUR


def dates(ts: np.ndarray, places: np.ndarray) -> tuple[str, ...]:
    """First and last day of places; nothing of none."""
    if not len(places):
        return ()
    return tuple(str(np.datetime64(int(ts[i]) // DAY, "D")) for i in places[[0, -1]])


def table(ts: np.ndarray, folds: list[Fold]) -> list[tuple[str, ...]]:
    return [(*dates(ts, f.train), *dates(ts, f.validate), *dates(ts, f.test)) for f in folds]


def shown(folds: list[Fold]) -> list[tuple[list[int], list[int]]]:
    return [(f.train.tolist(), f.test.tolist()) for f in folds]


# --- walking forward -------------------------------------------------------------------------------------------------

MARCH = days("2024-03-01", "2024-03-20")


def test_rolling_windows_by_dates() -> None:
    assert table(MARCH, rolling(20, 6, 3, validate=2, purge=1)) == [
        ("2024-03-01", "2024-03-06", "2024-03-08", "2024-03-09", "2024-03-11", "2024-03-13"),
        ("2024-03-04", "2024-03-09", "2024-03-11", "2024-03-12", "2024-03-14", "2024-03-16"),
        ("2024-03-07", "2024-03-12", "2024-03-14", "2024-03-15", "2024-03-17", "2024-03-19"),
    ]


def test_anchored_windows_grow_and_the_last_may_be_short() -> None:
    assert table(MARCH, anchored(20, 6, 5, purge=2, partial=True)) == [
        ("2024-03-01", "2024-03-06", "2024-03-09", "2024-03-13"),
        ("2024-03-01", "2024-03-11", "2024-03-14", "2024-03-18"),
        ("2024-03-01", "2024-03-16", "2024-03-19", "2024-03-20"),
    ]
    assert len(anchored(20, 6, 5, purge=2)) == 2


def test_a_step_of_its_own_leaves_gaps_or_overlaps() -> None:
    assert [f.test_ranges for f in rolling(20, 5, 4, step=6)] == [((5, 9),), ((11, 15),)]
    assert [f.test_ranges for f in rolling(12, 5, 4, step=1)] == [((5, 9),), ((6, 10),), ((7, 11),), ((8, 12),)]


@given(st.integers(10, 80), st.integers(1, 20), st.integers(1, 15), st.integers(0, 5), st.integers(0, 4), st.booleans())
def test_walking_forward_never_looks_ahead(
    n: int, train: int, test: int, validate: int, purge: int, grows: bool
) -> None:
    split = anchored if grows else rolling
    gap = purge + validate + (purge if validate else 0)
    if train + gap + test > n:
        with pytest.raises(BadInput, match="too few"):
            split(n, train, test, validate=validate, purge=purge)
        return
    folds = split(n, train, test, validate=validate, purge=purge)
    tested = np.concatenate([f.test for f in folds])
    assert np.array_equal(tested, np.arange(tested[0], tested[0] + len(tested)))  # stitched without a seam
    assert n - (tested[-1] + 1) < test
    for f in folds:
        assert len(f.train) == (f.train[-1] + 1 if grows else train)
        nearest = f.validate if validate else f.test
        assert nearest[0] - f.train[-1] == purge + 1  # the last label ends where the next window has not begun
        if validate:
            assert len(f.validate) == validate
            assert f.test[0] - f.validate[-1] == purge + 1


# --- by calendar -----------------------------------------------------------------------------------------------------


def test_quarters_after_six_months_with_a_month_to_choose_on() -> None:
    ts = days("2023-01-15", "2024-07-10")
    assert table(ts, by_calendar(ts, "6mo", "1q", validate="1mo", purge="3d")) == [
        ("2023-03-01", "2023-08-28", "2023-09-01", "2023-09-27", "2023-10-01", "2023-12-31"),
        ("2023-06-01", "2023-11-27", "2023-12-01", "2023-12-28", "2024-01-01", "2024-03-31"),
        ("2023-09-01", "2024-02-26", "2024-03-01", "2024-03-28", "2024-04-01", "2024-06-30"),
    ]


def test_months_of_unequal_lengths_and_a_leap_year() -> None:
    ts = days("2024-01-01", "2024-05-31", hours=8)
    assert table(ts, by_calendar(ts, "1mo", "1mo")) == [
        ("2024-01-01", "2024-01-31", "2024-02-01", "2024-02-29"),
        ("2024-02-01", "2024-02-29", "2024-03-01", "2024-03-31"),
        ("2024-03-01", "2024-03-31", "2024-04-01", "2024-04-30"),
        ("2024-04-01", "2024-04-30", "2024-05-01", "2024-05-31"),
    ]
    assert [len(f.test) for f in by_calendar(ts, "1mo", "1mo")] == [87, 93, 90, 93]


def test_weeks_begin_on_monday_and_years_in_january() -> None:
    ts = days("2023-01-15", "2024-03-09")
    found = table(ts, by_calendar(ts, "180d", "8w", anchored=True, partial=True))
    assert found[0] == ("2023-01-15", "2023-07-16", "2023-07-17", "2023-09-10")
    assert found[-1] == ("2023-01-15", "2024-02-25", "2024-02-26", "2024-03-09")
    assert np.datetime64("2023-07-17").astype(object).weekday() == 0
    ts = days("2020-06-01", "2024-12-31")
    assert table(ts, by_calendar(ts, "1y", "1y")) == [
        ("2021-01-01", "2021-12-31", "2022-01-01", "2022-12-31"),
        ("2022-01-01", "2022-12-31", "2023-01-01", "2023-12-31"),
        ("2023-01-01", "2023-12-31", "2024-01-01", "2024-12-31"),
    ]


def test_a_purge_in_bars_and_one_in_time_are_the_same_on_days() -> None:
    ts = days("2024-01-01", "2024-12-31")
    by_bars, by_time = (by_calendar(ts, "3mo", "1mo", purge=p) for p in (5, "5d"))
    assert table(ts, by_bars) == table(ts, by_time)
    assert table(ts, by_bars)[0] == ("2024-01-01", "2024-03-26", "2024-04-01", "2024-04-30")


def test_a_month_before_the_last_of_march_ends_in_february() -> None:
    ts = days("2023-12-01", "2024-04-30")
    found = by_calendar(ts, "1mo", "1d")
    by_test = {dates(ts, f.test)[0]: dates(ts, f.train) for f in found}
    assert by_test["2024-03-31"] == ("2024-02-29", "2024-03-30")
    assert by_test["2024-03-15"] == ("2024-02-15", "2024-03-14")


def test_times_may_be_datetime64() -> None:
    ts = days("2024-01-01", "2024-05-31")
    assert table(ts, by_calendar(ts.astype("datetime64[ns]"), "1mo", "1mo")) == table(ts, by_calendar(ts, "1mo", "1mo"))


# --- parts -----------------------------------------------------------------------------------------------------------

# What skfolio 1.12 prints for 12 rows in 3 parts, 2 of them tested (documentation of CombinatorialPurgedCV).
SKFOLIO = {
    (0, 0): [[8, 9, 10, 11], [4, 5, 6, 7], [0, 1, 2, 3]],
    (1, 0): [[9, 10, 11], [5, 6], [0, 1, 2]],
    (0, 1): [[9, 10, 11], [5, 6, 7], [0, 1, 2, 3]],
}


@pytest.mark.parametrize(("purge", "embargo"), SKFOLIO)
def test_combinatorial_as_published(purge: int, embargo: int) -> None:
    made = combinatorial(12, 3, 2, purge=purge, embargo=embargo)
    assert [f.train.tolist() for f in made.folds] == SKFOLIO[purge, embargo]
    assert made.chosen == ((0, 1), (0, 2), (1, 2))
    assert made.folds[1].test_ranges == ((0, 4), (8, 12))
    assert made.paths.T.tolist() == [[0, 1], [0, 2], [1, 2]]


def test_paths_of_five_parts_as_published() -> None:
    """Of skfolio's own test: rows are parts, columns paths, entries splits."""
    expected = [[0, 1, 2, 3], [0, 4, 5, 6], [1, 4, 7, 8], [2, 5, 7, 9], [3, 6, 8, 9]]
    assert combinatorial(10, 5, 2).paths.T.tolist() == expected


def test_counts_of_the_book() -> None:
    """Lopez de Prado, Advances in Financial Machine Learning, chapter 12."""
    assert counts(6, 2) == (15, 5)
    assert counts(10, 8) == (45, 36)
    made = combinatorial(60, 6, 2)
    assert (len(made.folds), len(made.paths)) == (15, 5)


def test_purged_kfold_by_hand() -> None:
    assert shown(purged_kfold(12, 3, purge=1, embargo=1)) == [
        ([6, 7, 8, 9, 10, 11], [0, 1, 2, 3]),
        ([0, 1, 2, 10, 11], [4, 5, 6, 7]),
        ([0, 1, 2, 3, 4, 5, 6], [8, 9, 10, 11]),
    ]
    assert [f.test_ranges for f in purged_kfold(11, 3)] == [((0, 4),), ((4, 8),), ((8, 11),)]


def plainly(tests: list[list[int]], n: int, purge: int, embargo: int) -> list[int]:
    """Bars whose label meets no label of a test, and that do not follow one too closely."""
    kept = []
    for i in range(n):
        meets = any(abs(i - j) <= purge for part in tests for j in part)
        follows = any(0 < i - part[-1] <= purge + embargo for part in tests)
        if not meets and not follows:
            kept.append(i)
    return kept


@given(st.integers(12, 60), st.integers(2, 6), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))
def test_training_never_touches_what_a_test_has_seen(n: int, folds: int, tested: int, purge: int, embargo: int) -> None:
    if tested >= folds:
        with pytest.raises(BadInput, match="fewer than"):
            combinatorial(n, folds, tested)
        return
    parts = [part.tolist() for part in np.array_split(np.arange(n), folds)]
    plain = [plainly([parts[g] for g in some], n, purge, embargo) for some in combinations(range(folds), tested)]
    if not all(plain):
        with pytest.raises(BadInput, match="leave nothing to train on"):
            combinatorial(n, folds, tested, purge=purge, embargo=embargo)
        return
    made = combinatorial(n, folds, tested, purge=purge, embargo=embargo)
    assert [f.train.tolist() for f in made.folds] == plain
    assert [f.number for f in made.folds] == list(range(math.comb(folds, tested)))
    times_tested = np.zeros(n, dtype=int)
    for f in made.folds:
        times_tested[f.test] += 1
    assert (times_tested == len(made.paths)).all()


def test_paths_are_made_of_tests_and_use_each_once() -> None:
    made = combinatorial(23, 5, 3)
    values = [f.number * 1000.0 + f.test for f in made.folds]
    paths = made.reconstruct(values)
    assert paths.shape == (6, 23)
    assert np.array_equal(paths % 1000, np.tile(np.arange(23.0), (6, 1)))  # every bar at its place
    used = {(int(fold), a) for p in range(6) for fold, a, _ in made.path(p)}
    assert len(used) == 6 * 5  # no test twice
    assert used == {(f, made.parts[g][0]) for f, some in enumerate(combinations(range(5), 3)) for g in some}


def test_reconstruct_refuses_what_does_not_fit() -> None:
    made = combinatorial(12, 3, 2)
    with pytest.raises(BadInput, match="2 series for 3 folds"):
        made.reconstruct([np.zeros(8), np.zeros(8)])
    with pytest.raises(BadInput, match="fold 1 tests 8 bars"):
        made.reconstruct([np.zeros(8), np.zeros(7), np.zeros(8)])


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: rolling(10, 8, 3), "10 bars are too few for train 8, 0 between and test 3"),
        (lambda: rolling(10, 0, 3), "train=0: write a whole number"),
        (lambda: rolling(10, 5, 3, purge=-1), "purge=-1"),
        (lambda: rolling(10, 5, True), "test=True"),
        (lambda: rolling(10, 5, 2, step=0), "step=0"),
        (lambda: combinatorial(100, 20, 10), "184,756 splits"),
        (lambda: purged_kfold(12, 3, purge=8), "leave nothing to train on"),
        (lambda: purged_kfold(2, 3), "2 bars in 3 folds"),
        (lambda: by_calendar(MARCH, "1 month", "1d"), "train='1 month'"),
        (lambda: by_calendar(MARCH, "1mo", "1mo"), "holds no train window of 1mo and test window of 1mo"),
        (lambda: by_calendar(MARCH, "5d", "5d", purge="9d"), "leaves nothing of a train window"),
        (lambda: by_calendar(MARCH[::-1], "5d", "5d"), "do not rise"),
        (lambda: by_calendar([1.5, 2.5], "5d", "5d"), "give the opens"),
        (lambda: by_calendar([], "5d", "5d"), "give the opens"),
    ],
)
def test_what_cannot_be_split_says_why(call: object, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        call()  # type: ignore[operator]


def test_a_fold_is_read_only_and_says_what_it_is() -> None:
    (fold,) = rolling(10, 5, 3, validate=2)
    assert repr(fold) == "Fold 0: train [0, 5), validate [5, 7), test [7, 10)"
    with pytest.raises(ValueError, match="read-only"):
        fold.train[0] = 3
    assert ranges([]) == ()
    assert ranges([3, 4, 7]) == ((3, 5), (7, 8))
