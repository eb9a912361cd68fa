"""Is what is stored fit to trade on? `check(store)` says what is wrong, how badly, and what to do.

Error: a backtest on it is wrong. Warning: it may be, or lacks something. Info: good to know. Each check is a function
of data.checks whose docstring is its rule; `CHECKS` names them all.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from data import schema, sql
from data.checks import candles, feeds, funding, tiers
from data.checks.base import Find, Look
from data.scope import scope

if TYPE_CHECKING:
    from data.store import Store


class Level(StrEnum):
    """How bad a finding is: an error makes a backtest wrong, a warning may, info is good to know."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """`count` cases between `first` and `last` (UTC, naive). A symbol of * is several, or all of the venue."""

    level: Level
    check: str
    table: str
    venue: str
    symbol: str
    count: int
    first: dt.datetime | None
    last: dt.datetime | None
    message: str


@dataclass(frozen=True)
class Check:
    """One rule. It runs when one of its tables is asked about."""

    find: Find
    tables: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.find.__name__

    @property
    def level(self) -> Level:
        return Level(self._words[0].lower())

    @property
    def rule(self) -> str:
        return self._words[1]

    @property
    def _words(self) -> tuple[str, str]:
        level, _, rule = " ".join((self.find.__doc__ or "").split()).partition(": ")
        return level, rule


_RECORDED = tuple(n for n in schema.TABLES if n not in ("ingests", "trials"))

CHECKS: tuple[Check, ...] = (
    Check(feeds.duplicates, feeds.KEYED),
    Check(feeds.future, schema.MARKET_TABLES),
    Check(candles.impossible_bars, ("candles",)),
    Check(candles.bad_prices, ("candles",)),
    Check(candles.gaps, ("candles",)),
    Check(candles.outliers, ("candles",)),
    Check(candles.stale_mark, ("candles",)),
    Check(candles.mark_far, ("candles",)),
    Check(candles.quiet_volume, ("candles",)),
    Check(candles.after_delisting, ("candles", "instruments")),
    Check(funding.settlements_doubled, ("funding",)),
    Check(funding.settlements_missing, ("funding",)),
    Check(funding.funding_unit, ("funding",)),
    Check(funding.funding_interval, ("funding",)),
    Check(tiers.tiers_broken, ("tiers",)),
    Check(tiers.tiers_late, ("tiers",)),
    Check(tiers.tiers_old, ("tiers",)),
    Check(feeds.pauses, feeds.SNAPSHOTS),
    Check(feeds.zero_open_interest, ("open_interest",)),
    Check(feeds.sampled, ("liquidations", "liquidation_bars")),
    Check(feeds.uncovered, feeds.EVENTS),
    Check(feeds.feed_down, ("gaps",)),
    Check(feeds.changed, _RECORDED),
)


def check(
    store: Store,
    venue: str | None = None,
    symbol: str | None = None,
    tables: Sequence[str] | None = None,
    *,
    now: dt.datetime | None = None,
) -> list[Finding]:
    """What is wrong with the store, the worst first. `now` (UTC, naive) is when "the future" begins."""
    names = frozenset(schema.table(n).name for n in tables) if tables else frozenset(_RECORDED)
    when = now or dt.datetime.now(dt.UTC).replace(tzinfo=None)
    look = Look(store, scope(store, venue, symbol), when, names & _filled(store))
    found = [f for c in CHECKS if look.tables & set(c.tables) for f in _findings(c, look)]
    return sorted(found, key=lambda f: (list(Level).index(f.level), f.table, f.venue, f.symbol, f.check, f.message))


def _filled(store: Store) -> frozenset[str]:
    """The tables that hold anything: there is no need to look into the others."""
    parts = (f"SELECT {sql.text(n)} AS name WHERE EXISTS (SELECT 1 FROM {sql.name(n)})" for n in _RECORDED)
    return frozenset(store.query(" UNION ALL ".join(parts)).column("name").to_pylist())


def _findings(c: Check, look: Look) -> Iterator[Finding]:
    for f in c.find(look):
        yield Finding(c.level, c.name, f.table, f.venue, f.symbol, f.count, f.first, f.last, f.message)


def rules() -> list[dict[str, str]]:
    """Every check, for `unwind check data --rules`."""
    return [{"check": c.name, "level": c.level.value, "rule": c.rule} for c in CHECKS]


def markdown() -> str:
    """The checks as a table; docs/data.md holds it, and a test keeps the two the same."""
    lines = [f"| {r['check']} | {r['level']} | {r['rule']} |" for r in rules()]
    return "\n".join(["| check | level | finds |", "|---|---|---|", *lines, ""])
