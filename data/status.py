"""What is stored: one line for each series, from plain scans of its table.

Gaps are counted as data.quality counts them: missing bars of candles, pauses of snapshots, missing settlements of
funding. Bars are counted against their span, which takes no sorting: 20 million rows are a fraction of a second.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data import clock, sql
from data.checks import feeds, funding
from data.schema import TABLES, Table
from data.scope import ANY, Scope, scope

if TYPE_CHECKING:
    from data.store import Store

_PARTS = ("price", "kind", "interval_s", "fund", "stream", "feed_table")  # what tells series of one symbol apart
_SHOWN = tuple(n for n in TABLES if n not in ("ingests", "trials"))

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Series:
    """One stored series. Times are UTC, naive; `gaps` is None where nothing says how many rows there should be."""

    venue: str
    symbol: str
    table: str
    part: str
    first: dt.datetime
    last: dt.datetime
    rows: int
    gaps: int | None
    ingested: dt.datetime | None
    source: str | None


def status(store: Store, venue: str | None = None, symbol: str | None = None) -> list[Series]:
    """Every stored series, by venue, symbol and table; those of one venue or symbol if named."""
    asked = scope(store, venue, symbol)
    last = _LastIngests(store)
    found = [s for name in _SHOWN for s in _table(store, TABLES[name], asked, last)]
    order = {name: i for i, name in enumerate(_SHOWN)}
    return sorted(found, key=lambda s: (s.venue, s.symbol, order[s.table], s.part))


def _table(store: Store, t: Table, asked: Scope, ingests: _LastIngests) -> Iterator[Series]:
    symbols = ("symbol",) if "symbol" in t.names else ()
    parts = [p for p in _PARTS if p in t.key and t.name != "liquidations"]  # whose price is that of an event
    where = asked.where(symbol="symbol" if symbols else None, also=(ANY,) if t.name == "gaps" else ())
    end = "until" if t.name == "gaps" else t.time
    rows = store.query(
        f"SELECT {sql.names(['venue', *symbols, *parts])}, min({sql.name(t.time)}) AS first, "
        f"max({sql.name(end)}) AS last, count(*) AS rows FROM {sql.name(t.name)} WHERE {where} GROUP BY ALL"
    ).to_pylist()
    gaps = _gaps(store, t, where, parts, rows) if rows else None
    for row in rows:
        venue, symbol, part = _key(row, parts)
        lacking = gaps[_key(row, parts)] if gaps is not None else None
        at, source = ingests.of(t.name, venue, symbol)
        yield Series(venue, symbol, t.name, part, row["first"], row["last"], row["rows"], lacking, at, source)


def _key(row: Row, parts: Sequence[str]) -> tuple[str, str, str]:
    words = (clock.label(row[p] * clock.SECOND) if p == "interval_s" else str(row[p]) for p in parts)
    return row["venue"], row.get("symbol", ""), " ".join(words)


def _gaps(
    store: Store, t: Table, where: str, parts: Sequence[str], rows: Sequence[Row]
) -> Counter[tuple[str, str, str]] | None:
    """How much is missing from each series."""
    if t.name == "candles":
        return Counter({_key(row, parts): _missing_bars(row) for row in rows})
    if t.name == "funding":
        found = store.query(funding.missing(where)).to_pylist()
    elif t.name in feeds.SNAPSHOTS:
        found = store.query(feeds.pauses_of(t.name, where)).to_pylist()
    else:
        return None
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in found:
        counts[_key(row, parts)] += row["n"]
    return counts


def _missing_bars(row: Row) -> int:
    bars = round((row["last"] - row["first"]).total_seconds()) // row["interval_s"] + 1
    return max(0, int(bars) - int(row["rows"]))


class _LastIngests:
    """When each series was last written to, and by which source.

    An ingest without symbols speaks for all of its venue, one without a venue for what no other speaks for.
    """

    def __init__(self, store: Store) -> None:
        found = store.query(
            'SELECT table_name, venue, symbol, max("at") AS stored, max_by(source, "at") AS source FROM '
            f"(SELECT *, unnest(coalesce(symbols, ['{ANY}'])) AS symbol FROM ingests) GROUP BY ALL"
        ).to_pylist()
        self._found = {(r["table_name"], r["venue"], r["symbol"]): (r["stored"], r["source"]) for r in found}

    def of(self, table: str, venue: str, symbol: str) -> tuple[dt.datetime | None, str | None]:
        for whose in (venue, None):
            keys = [(table, whose, s) for s in (symbol, ANY)]
            if known := [self._found[k] for k in keys if k in self._found]:
                return max(known, key=lambda pair: pair[0])
        return None, None
