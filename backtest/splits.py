"""Splits of bars into what is fitted on and what it is judged on. Indices only: they know nothing of models.

    rolling(n, train, test)          train windows of one length, moved on by the test window
    anchored(n, train, test)         train windows that all begin at the first bar and grow
    by_calendar(ts, "12mo", "1mo")   either of them, by months, quarters, years, weeks or days
    purged_kfold(n, 5)               every part is tested once, trained on what lies before and after
    combinatorial(n, 6, 2)           every choice of 2 parts of 6 is tested; the tests form several whole paths (CPCV)

1. `purge` bars are left out of training on every side that touches a test (or validation) window: give at least the
   label horizon, or the longest holding time. The label of bar i looks at bars up to i + purge, so the last `purge`
   bars before a test have seen it; and the last labels of a test reach `purge` bars into what follows.
2. `embargo` more bars are left out where training follows a test: give at least the longest look-back of a feature.
3. With `validate`, a window between training and test, purged on both its sides, is there to choose on.

A split that cannot be made (windows longer than the data, nothing left to train on) is a BadInput, never an empty one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.given import is_whole
from data import clock
from data.errors import BadInput

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Ranges = tuple[tuple[int, int], ...]

MOST_SPLITS = 100_000
UNITS = {"d": ("days", 1), "w": ("days", 7), "mo": ("months", 1), "q": ("months", 3), "y": ("months", 12)}
_PERIOD = re.compile(r"^\s*(\d+)\s*(d|w|mo|q|y)\s*$")


@dataclass(frozen=True, eq=False)
class Fold:
    """One split: places of bars, in order, read-only. `validate` is empty where none was asked for."""

    number: int
    train: Ints
    test: Ints
    validate: Ints

    @property
    def train_ranges(self) -> Ranges:
        """(first, beyond the last) of each run of bars without a hole."""
        return ranges(self.train)

    @property
    def test_ranges(self) -> Ranges:
        return ranges(self.test)

    @property
    def validate_ranges(self) -> Ranges:
        return ranges(self.validate)

    def __repr__(self) -> str:
        parts = {"train": self.train_ranges, "validate": self.validate_ranges, "test": self.test_ranges}
        said = [f"{name} " + " + ".join(f"[{a}, {b})" for a, b in found) for name, found in parts.items() if found]
        return f"Fold {self.number}: {', '.join(said)}"


def ranges(places: npt.ArrayLike) -> Ranges:
    """Sorted places as runs (first, beyond the last)."""
    found = np.asarray(places, dtype=np.int64)
    if len(found) == 0:
        return ()
    ends = np.flatnonzero(np.diff(found) != 1)
    first, last = np.append(0, ends + 1), np.append(ends, len(found) - 1)
    return tuple((int(found[a]), int(found[b]) + 1) for a, b in zip(first, last, strict=True))


# --- walking forward -------------------------------------------------------------------------------------------------


def rolling(
    n: int, train: int, test: int, *, validate: int = 0, step: int | None = None, purge: int = 0, partial: bool = False
) -> list[Fold]:
    """Windows of fixed lengths, in bars: train, purge, (validate, purge,) test; moved on by `step` (None: by `test`).

    The lengths do not count purged bars. `partial`: a last test window shorter than the others is kept.
    """
    return _walk(n, train, test, validate, step, purge, partial, anchored=False)


def anchored(
    n: int, train: int, test: int, *, validate: int = 0, step: int | None = None, purge: int = 0, partial: bool = False
) -> list[Fold]:
    """As `rolling`, but every train window begins at the first bar; `train` is the length of the first."""
    return _walk(n, train, test, validate, step, purge, partial, anchored=True)


def _walk(
    n: int, train: int, test: int, validate: int, step: int | None, purge: int, partial: bool, *, anchored: bool
) -> list[Fold]:
    step = test if step is None else step
    for name, value, least in (("n", n, 1), ("train", train, 1), ("test", test, 1), ("step", step, 1)):
        _whole(name, value, least)
    for name, value in (("validate", validate), ("purge", purge)):
        _whole(name, value, 0)
    gap = purge + validate + (purge if validate else 0)  # between training and test
    if train + gap + (1 if partial else test) > n:
        raise BadInput(f"{n:,} bars are too few for train {train:,}, {gap:,} between and test {test:,}: shorten them")
    folds: list[Fold] = []
    for start in range(train + gap, n if partial else n - test + 1, step):
        trained = start - gap
        first = 0 if anchored else trained - train
        chosen = (start - purge - validate, start - purge) if validate else (start, start)
        folds.append(_fold(len(folds), (first, trained), chosen, (start, min(start + test, n))))
    return folds


def by_calendar(
    ts: npt.ArrayLike,
    train: str,
    test: str,
    *,
    validate: str | None = None,
    step: str | None = None,
    anchored: bool = False,
    purge: int | str = 0,
    partial: bool = False,
) -> list[Fold]:
    """Windows by the calendar, in UTC: "10d", "2w", "3mo", "1q", "1y". `ts`: opens of the bars, ns since 1970.

    Test windows begin where a period of theirs does (months on the first, quarters in January, April, ...; weeks on
    Monday), as early as a whole train (and validate) window lies before. Purged bars are taken from the end of the
    training and validation windows. `purge`: bars, or a duration such as "3d". `anchored`: training begins at the
    first bar. `partial`: a test window that the data end inside is kept.
    """
    opens = _opens(ts)
    spans = {"train": period("train", train), "test": period("test", test)}
    before = [spans["train"]]
    if validate is not None:
        before.append(period("validate", validate))
    move = spans["test"] if step is None else period("step", step)
    cut = clock.duration(purge) if isinstance(purge, str) else purge
    if not isinstance(purge, str):
        _whole("purge", purge, 0)
    begin, interval = int(opens[0]), int(np.min(np.diff(opens))) if len(opens) > 1 else clock.DAY
    beyond = int(opens[-1]) + interval
    start = _first_boundary(begin, spans["test"], before)
    folds: list[Fold] = []
    while start < beyond:
        end = _shift(start, spans["test"], 1)
        if end > beyond and not partial:
            break
        edges = [start]
        for span in reversed(before):
            edges.append(_shift(edges[-1], span, -1))
        edges.reverse()  # train, (validate,) test
        places = np.searchsorted(opens, [*edges, end])
        _append_by_time(folds, opens, places, cut, in_time=isinstance(purge, str), anchored=anchored)
        start = _shift(start, move, 1)
    if not folds:
        raise BadInput(
            f"{clock.iso(begin)} to {clock.iso(beyond)} holds no train window of {train}"
            f"{f', validate of {validate}' if validate else ''} and test window of {test}: shorten them"
        )
    return folds


def _append_by_time(
    folds: list[Fold], opens: Ints, places: npt.NDArray[np.intp], cut: int, *, in_time: bool, anchored: bool
) -> None:
    """One fold of the places where its windows begin and the last ends; a test window without bars makes none."""
    first, test_first, test_end = int(places[0]), int(places[-2]), int(places[-1])
    if test_end == test_first:
        return

    def purged(low: int, high: int) -> tuple[int, int]:
        if not in_time:
            return low, max(low, high - cut)
        limit = int(np.searchsorted(opens, int(opens[high]) - cut))
        return low, max(low, min(high, limit))

    trained = purged(0 if anchored else first, int(places[1]))
    chosen = purged(int(places[1]), test_first) if len(places) == 4 else (test_first, test_first)
    if trained[0] == trained[1]:
        raise BadInput(f"a purge of {cut:,} leaves nothing of a train window: lengthen it, or purge less")
    if len(places) == 4 and chosen[0] == chosen[1]:
        raise BadInput(f"a purge of {cut:,} leaves nothing of a validation window: lengthen it, or purge less")
    folds.append(_fold(len(folds), trained, chosen, (test_first, test_end)))


# --- tests amid training ---------------------------------------------------------------------------------------------


def purged_kfold(n: int, folds: int = 5, *, purge: int = 0, embargo: int = 0) -> list[Fold]:
    """Every part is the test of one fold; training is all others, purged on both sides of it, embargoed after it.

    Parts are as equal as they can be, the first ones longer by one bar.
    """
    return list(_combined(n, folds, 1, purge, embargo).folds)


@dataclass(frozen=True, eq=False)
class Combinatorial:
    """The folds of every choice of test parts, and the whole paths that their tests make.

    `parts` are the (first, beyond the last) of each; `chosen` the parts that each fold tests; `paths[p, g]` the fold
    whose test of part g belongs to path p. C(N, k) folds, k / N C(N, k) paths.
    """

    n: int
    parts: Ranges
    folds: tuple[Fold, ...]
    chosen: tuple[tuple[int, ...], ...]
    paths: Ints

    def path(self, number: int) -> list[tuple[int, int, int]]:
        """(fold, first, beyond the last) of a path's pieces, in order of time."""
        return [(int(fold), *self.parts[part]) for part, fold in enumerate(self.paths[number])]

    def reconstruct(self, values: Sequence[npt.ArrayLike]) -> Floats:
        """Values by fold, one for each bar of its test (in order), as whole paths (paths, n)."""
        if len(values) != len(self.folds):
            raise BadInput(f"{len(values):,} series for {len(self.folds):,} folds: give one for each, in their order")
        by_fold = []
        for fold, given in zip(self.folds, values, strict=True):
            series = np.asarray(given, dtype=np.float64)
            if series.shape != fold.test.shape:
                raise BadInput(f"fold {fold.number} tests {len(fold.test):,} bars and got {series.shape} values")
            whole = np.full(self.n, np.nan)
            whole[fold.test] = series
            by_fold.append(whole)
        out = np.empty((len(self.paths), self.n))
        for number in range(len(self.paths)):
            for fold_number, first, beyond in self.path(number):
                out[number, first:beyond] = by_fold[fold_number][first:beyond]
        return out


def combinatorial(n: int, folds: int = 6, test_folds: int = 2, *, purge: int = 0, embargo: int = 0) -> Combinatorial:
    """Combinatorial purged cross-validation: `n` bars in `folds` parts, every choice of `test_folds` of them tested."""
    return _combined(n, folds, test_folds, purge, embargo)


def counts(folds: int, test_folds: int) -> tuple[int, int]:
    """How many splits and paths `combinatorial` makes: C(N, k) and k / N C(N, k)."""
    splits = math.comb(folds, test_folds)
    return splits, splits * test_folds // folds


def _combined(n: int, folds: int, test_folds: int, purge: int, embargo: int) -> Combinatorial:
    for name, value, least in (("n", n, 1), ("folds", folds, 2), ("test_folds", test_folds, 1)):
        _whole(name, value, least)
    for name, value in (("purge", purge), ("embargo", embargo)):
        _whole(name, value, 0)
    if test_folds >= folds:
        raise BadInput(f"test_folds={test_folds}: fewer than the {folds} folds, or nothing is left to train on")
    if folds > n:
        raise BadInput(f"{n:,} bars in {folds:,} folds: each needs one at least")
    splits, paths = counts(folds, test_folds)
    if splits > MOST_SPLITS:
        raise BadInput(f"{folds} folds with {test_folds} tested make {splits:,} splits: more than {MOST_SPLITS:,}")
    edges = np.concatenate(([0], np.cumsum([len(part) for part in np.array_split(np.arange(n), folds)])))
    parts = tuple((int(a), int(b)) for a, b in pairwise(edges))
    chosen = tuple(combinations(range(folds), test_folds))
    made = tuple(_amid(number, n, [parts[g] for g in some], purge, embargo) for number, some in enumerate(chosen))
    tested = [[number for number, some in enumerate(chosen) if part in some] for part in range(folds)]
    return Combinatorial(n, parts, made, chosen, _frozen(np.array(tested, dtype=np.int64).reshape(folds, paths).T))


def _amid(number: int, n: int, tests: Sequence[tuple[int, int]], purge: int, embargo: int) -> Fold:
    """A fold whose training lies around its tests."""
    trained, tested = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
    for first, beyond in tests:
        trained[max(first - purge, 0) : beyond + purge + embargo] = False
        tested[first:beyond] = True
    if not trained.any():
        raise BadInput(f"purge {purge:,} and embargo {embargo:,} leave nothing to train on: make fewer folds")
    empty = np.empty(0, dtype=np.int64)
    return Fold(number, _frozen(np.flatnonzero(trained)), _frozen(np.flatnonzero(tested)), _frozen(empty))


# --- parts -----------------------------------------------------------------------------------------------------------


def _fold(number: int, train: tuple[int, int], validate: tuple[int, int], test: tuple[int, int]) -> Fold:
    return Fold(number, *(_frozen(np.arange(*part, dtype=np.int64)) for part in (train, test, validate)))


def _frozen(values: npt.NDArray[Any]) -> Ints:
    out = np.ascontiguousarray(values, dtype=np.int64)
    out.flags.writeable = False
    return out


def _whole(name: str, value: object, least: int) -> None:
    if not is_whole(value) or not isinstance(value, int | np.integer) or value < least:
        raise BadInput(f"{name}={value!r}: write a whole number of bars or folds, {least} or more")


def _opens(ts: npt.ArrayLike) -> Ints:
    values = np.asarray(ts)
    if values.dtype.kind == "M":
        values = values.astype("datetime64[ns]").astype(np.int64)
    if values.ndim != 1 or len(values) == 0 or values.dtype.kind not in "iu":
        raise BadInput("ts: give the opens of the bars, as int64 nanoseconds since 1970 or datetime64")
    opens: Ints = values.astype(np.int64)
    if np.any(np.diff(opens) <= 0):
        raise BadInput("ts: the opens of the bars do not rise")
    return opens


def period(name: str, text: object) -> tuple[str, int]:
    """("months", 3) of "1q"; ("days", 14) of "2w"."""
    match = _PERIOD.match(text.lower()) if isinstance(text, str) else None
    if match is None or int(match[1]) == 0:
        raise BadInput(f'{name}={text!r}: write a number and d, w, mo, q or y, such as "3mo"')
    unit, many = UNITS[match[2]]
    return unit, many * int(match[1])


def _shift(ns: int, span: tuple[str, int], sign: int) -> int:
    """The same time of day that many days or months away; a day that a month lacks is its last."""
    unit, many = span
    if unit == "days":
        return ns + sign * many * clock.DAY
    day, rest = divmod(ns, clock.DAY)
    date = np.datetime64(day, "D")
    month = date.astype("datetime64[M]")
    there = month + sign * many
    length = ((there + 1).astype("datetime64[D]") - there.astype("datetime64[D]")).astype(int)
    into = min((date - month.astype("datetime64[D]")).astype(int), length - 1)
    return int((there.astype("datetime64[D]") + into).astype(np.int64)) * clock.DAY + rest


def _first_boundary(begin: int, test: tuple[str, int], before: Sequence[tuple[str, int]]) -> int:
    """The first start of a period of the test's kind before which all the windows fit."""
    unit, many = test
    if unit == "days":
        grid = 7 if many % 7 == 0 else 1
        offset = 4 if grid == 7 else 0  # 1970-01-05 was a Monday

        def boundary(number: int) -> int:
            return (number * grid + offset) * clock.DAY

        number = (begin // clock.DAY - offset) // grid
    else:
        grid = next(months for months in (12, 3, 1) if many % months == 0)

        def boundary(number: int) -> int:
            return int(np.datetime64(number * grid, "M").astype("datetime64[D]").astype(np.int64)) * clock.DAY

        number = int(np.datetime64(begin // clock.DAY, "D").astype("datetime64[M]").astype(np.int64)) // grid
    while True:
        start = boundary(number)
        edge = start
        for span in reversed(before):
            edge = _shift(edge, span, -1)
        if edge >= begin:
            return start
        number += 1
