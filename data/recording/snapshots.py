"""Snapshots at an even pace: on whole multiples of their spacing, each into the spool, failures noted as gaps."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from data import clock
from data.errors import NotFound, SourceError
from data.recording.records import Row, columns
from data.sources.stream_snapshots import Band, Interest, Mark, snapshot

if TYPE_CHECKING:
    from data.sources.ccxt_stream import Venue

LONGEST_PAUSE_S = 900.0  # after failures in a row


def _mark(m: Mark, interval_s: int, at_us: int) -> Row:
    return m.symbol, m.ts_us, m.mark, m.index_price, m.funding_rate, m.funding_at_us, interval_s, max(m.ts_us, at_us)


def _interest(i: Interest, interval_s: int, at_us: int) -> Row:
    return i.symbol, interval_s, i.ts_us, i.quantity, i.value, max(i.ts_us, at_us)


def _band(b: Band, interval_s: int, at_us: int) -> Row:
    return b.symbol, b.ts_us, b.percent, b.quantity, b.notional, interval_s, max(b.ts_us, at_us)


_ROWS: Mapping[str, Callable[[Any, int, int], Row]] = {"marks": _mark, "open_interest": _interest, "depth": _band}
assert columns("marks") == ("symbol", "ts", "mark", "index", "funding_rate", "funding_at", "interval_s", "known_at")
assert columns("open_interest") == ("symbol", "interval_s", "ts", "quantity", "value", "known_at")
assert columns("depth") == ("symbol", "ts", "percent", "quantity", "notional", "interval_s", "known_at")

Taken = Callable[[int, list[Row], str], None]  # time of receipt, rows, what the venue said
Failed = Callable[[str], None]


async def take(
    venue: Venue, table: str, every_s: float, taken: Taken, failed: Failed, relist_s: float = 3600.0
) -> None:
    """Snapshots of one table of one venue, until cancelled."""
    failures = 0
    while True:
        pause = min(every_s * 2**failures, max(LONGEST_PAUSE_S, every_s)) if failures else every_s
        await asyncio.sleep(_until_next(time.time(), pause))
        try:
            await venue.keep_listed(relist_s)
            rows, said = await snapshot(venue, table, time.time_ns() // clock.US)
        except NotFound:
            raise
        except Exception as problem:  # noqa: BLE001 - one venue's oddities must not end the others'
            failures = min(failures + 1, 10)
            failed(str(problem) if isinstance(problem, SourceError) else repr(problem))
            continue
        failures = 0
        now = time.time_ns()
        make, interval_s = _ROWS[table], max(1, round(every_s))
        text = "" if said is None else json.dumps(said, separators=(",", ":"))
        taken(now, [make(r, interval_s, now // clock.US) for r in rows if _can_be(r)], text)


def _can_be(row: Any) -> bool:
    return all(math.isfinite(x) for x in row if isinstance(x, float))


def _until_next(now: float, every_s: float) -> float:
    """Seconds until the next whole multiple."""
    return every_s - now % every_s
