"""What a check is given and what it gives back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data import clock
from data.scope import ANY, Scope

if TYPE_CHECKING:
    from data.store import Store

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Fault:
    """What a check found: `count` cases between `first` and `last`, and what to do about them."""

    table: str
    venue: str
    symbol: str
    count: int
    first: dt.datetime | None
    last: dt.datetime | None
    message: str


@dataclass(frozen=True)
class Look:
    """A store, the part of it that is asked about, and the present."""

    store: Store
    scope: Scope
    now: dt.datetime
    tables: frozenset[str]

    def rows(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.store.query(query).to_pylist()
        return found

    def rows_of(self, names: Sequence[str], query: Callable[[str], str]) -> list[dict[str, Any]]:
        """The same question to each of these tables that is asked about, in one query; rows carry their `table`."""
        asked = [n for n in names if n in self.tables]
        parts = (f"SELECT '{n}' AS \"table\", * FROM ({query(n)})" for n in asked)
        return self.rows(" UNION ALL BY NAME ".join(parts)) if asked else []

    @property
    def where(self) -> str:
        return self.scope.where()


Find = Callable[[Look], Iterator[Fault]]


def fault(table: str, row: Row, message: str) -> Fault:
    """A fault from a row with venue, symbol, n, first and last."""
    return Fault(table, row["venue"] or ANY, row["symbol"] or ANY, int(row["n"]), row["first"], row["last"], message)


def bars(row: Row) -> str:
    """Which bars of a symbol: "trade 1m"."""
    return f"{row['price']} {clock.label(row['interval_s'] * clock.SECOND)}"


def day(when: dt.datetime) -> str:
    """A time as it is printed in a finding."""
    return clock.iso(clock.moment(when))


def long(seconds: float) -> str:
    """A length of time in the largest unit that fits: 1.5 h."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:,.3g} {unit}"
    return f"{seconds:,.3g} s"


def counted(n: int, one: str, many: str = "") -> str:
    """A number with its word, in the singular or the plural."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
