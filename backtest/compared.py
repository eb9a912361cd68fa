"""Where two results part: the earliest bar, and what differs in it, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest import records
from backtest.kept import COUNTS, TABLES
from backtest.plain import digest, plain
from data import clock

if TYPE_CHECKING:
    from backtest.result import Result

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Comparison:
    """True where two results are the same; else what differs first, in words."""

    difference: str = ""

    def __bool__(self) -> bool:
        return not self.difference


def differences(one: Result, other: Result, within: float) -> Iterator[str]:
    """In words, the first one first."""
    for name in ("symbols", "kinds", "interval", "currency"):
        a, b = getattr(one, name), getattr(other, name)
        if not np.array_equal(a, b):
            yield f"{name}: {plain(a)}, other {plain(b)}"
            return
    if not np.array_equal(one.ts, other.ts):
        yield f"bars: {len(one.ts)} over {one.span}, other {len(other.ts)} over {other.span}"
        return
    if one.start_equity != other.start_equity:
        yield f"starting equity: {one.start_equity!r}, other {other.start_equity!r}"
    found = [*_in_rows(one, other, within), *_in_series(one, other, within)]
    if found:
        bar, words = min(found, key=lambda pair: pair[0])
        yield f"bar {bar} ({clock.iso(int(one.ts[bar]))}): {words}"
    for name in COUNTS:
        if getattr(one.run, name) != getattr(other.run, name):
            yield f"{name}: {getattr(one.run, name)}, other {getattr(other.run, name)}"
    for name in ("venue", "account", "costs", "parameters", "assumptions", "warnings", "band"):
        if digest(getattr(one, name)) != digest(getattr(other, name)):
            yield f"{name}: {plain(getattr(one, name))}, other {plain(getattr(other, name))}"
    if one.marks is None or other.marks is None:
        if one.marks is not other.marks:
            yield "marks: only one of the two keeps mark closes"
    elif _apart(one.marks, other.marks, within).any():
        yield "marks: the mark closes differ"


def _in_rows(one: Result, other: Result, within: float) -> Iterator[tuple[int, str]]:
    """The first difference of each table: (bar, words)."""
    for table in TABLES:
        a, b = getattr(one.run, table), getattr(other.run, table)
        shared = min(len(a), len(b))
        apart = {name: _apart(a[name][:shared], b[name][:shared], within) for name in a.dtype.names}
        rows = np.flatnonzero(np.any(list(apart.values()), axis=0))
        if len(rows):
            row = rows[0]
            name = next(name for name, where in apart.items() if where[row])
            words = f"{table}, row {row}: {name} {a[name][row]!s}, other {b[name][row]!s}"
            yield int(min(a["bar"][row], b["bar"][row])), words
        elif len(a) != len(b):
            longer = a if len(a) > len(b) else b
            yield int(longer["bar"][shared]), f"{table}: {len(a)} rows, other {len(b)}"


def _in_series(one: Result, other: Result, within: float) -> Iterator[tuple[int, str]]:
    """The first difference of each series: (bar, words)."""
    pairs = {
        **{name: (one.run.series[name], other.run.series[name]) for name in records.SERIES},
        **{name: (one.run.leg_series[name], other.run.leg_series[name]) for name in records.LEG_SERIES},
        "margin_distance": (one.run.margin_distance, other.run.margin_distance),
    }
    for name, (a, b) in pairs.items():
        apart = np.argwhere(_apart(a, b, within))
        if len(apart):
            place = tuple(apart[0])
            of = f" of {one.symbols[place[1]]}" if len(place) > 1 else ""
            yield int(place[0]), f"{name}{of} {a[place]!s}, other {b[place]!s}"


def _apart(a: npt.NDArray[Any], b: npt.NDArray[Any], within: float) -> Flags:
    different: Flags = a != b
    if a.dtype.kind == "f":
        different &= ~np.isclose(a, b, rtol=within, atol=within, equal_nan=True)
    return different
