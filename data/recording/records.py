"""What a spool's line says, and how a segment's lines become rows of the schema.

Three kinds of record:

* `{"venue", "at", "rows": {table: [row, ...]}, "raw": [stream, payload]}`: rows in the order of the schema's columns,
  without the venue, times in microseconds; `at` is the time of receipt, and `raw` the message as it came, if kept.
* `{"feeds": {name: [venue, table, symbols]}}`: what the feeds are, at the head of each segment and when it changes.
* `{"heard": {name: [from, to]}}`: a feed was heard all this time, gaps aside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from data import clock
from data.schema import TABLES, Kind
from data.sources.stream_events import Forced

if TYPE_CHECKING:
    import pyarrow as pa

Row = Sequence[Any]
_FORCED = ("symbol", "ts", "position", "price", "price_kind", "quantity", "notional", "feed", "event_id", "known_at")


def columns(table: str) -> tuple[str, ...]:
    """The columns of a spooled row."""
    return tuple(n for n in TABLES[table].names if n != "venue")


assert columns("liquidations") == _FORCED  # `forced_row` writes them in this order


def forced_row(event: Forced, feed: str, at_us: int) -> Row:
    """A liquidation is known when it was received; a venue's clock ahead of ours does not make it known before."""
    symbol, ts, position, price, kind, quantity, notional, event_id = event
    return symbol, ts, position, price, kind, quantity, notional, feed, event_id, max(ts, at_us)


def rows_record(venue: str, at_us: int, table: str, rows: Sequence[Row], raw: tuple[str, str] | None = None) -> Any:
    record: dict[str, Any] = {"venue": venue, "at": at_us, "rows": {table: rows}}
    if raw is not None:
        record["raw"] = raw
    return record


@dataclass(frozen=True)
class Heard:
    """A feed that was listened to; times are nanoseconds."""

    venue: str
    table: str
    symbols: tuple[str, ...]
    since: int
    until: int


@dataclass
class Contents:
    """A segment as columns: venues and rows of each table, and what was heard."""

    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)  # venue first
    heard: dict[str, Heard] = field(default_factory=dict)  # by the feed's name

    @property
    def tables(self) -> list[str]:
        return [t for t in TABLES if self.rows.get(t)]

    def arrow(self, table: str) -> pa.Table:
        import pyarrow as pa

        types = {
            Kind.TIME: pa.timestamp("us"),
            Kind.TEXT: pa.string(),
            Kind.REAL: pa.float64(),
            Kind.INT: pa.int64(),
        }
        names = ("venue", *columns(table))
        values = list(zip(*self.rows[table], strict=True))
        arrays = [pa.array(v, types[TABLES[table].column(n).kind]) for n, v in zip(names, values, strict=True)]
        return pa.table(arrays, names=list(names))


def contents(records: Iterable[Mapping[str, Any]]) -> Contents:
    out = Contents()
    feeds: dict[str, Any] = {}
    for record in records:
        feeds |= record.get("feeds", {})
        for name, (since, until) in record.get("heard", {}).items():
            if name in feeds:  # whose line may be damaged
                out.heard[name] = _heard(out.heard.get(name), feeds[name], since, until)
        for table, rows in record.get("rows", {}).items():
            out.rows.setdefault(table, []).extend((record["venue"], *row) for row in rows)
        if raw := record.get("raw"):
            stream, payload = raw
            out.rows.setdefault("raw", []).append((record["venue"], stream, record["at"], digest(payload), payload))
    return out


def _heard(before: Heard | None, feed: Sequence[Any], since: int, until: int) -> Heard:
    venue, table, symbols = feed
    if before is not None:
        since, until = min(since, before.since), max(until, before.until)
    return Heard(venue, table, tuple(symbols), since, until)


def digest(payload: str) -> str:
    """Tells two messages of one moment apart."""
    return hashlib.sha256(payload.encode()).hexdigest()[:16]


def gap_rows(table: str, symbols: tuple[str, ...], since: int, until: int, reason: str) -> list[Row]:
    """A gap counts from its start: who looks at a time within it must not take silence for calm."""
    since_us, until_us = since // clock.US, until // clock.US
    return [(symbol, table, since_us, until_us, reason, since_us) for symbol in symbols]


assert columns("gaps") == ("symbol", "feed_table", "ts", "until", "reason", "known_at")
assert columns("raw") == ("stream", "ts", "event_id", "payload")
