"""What a feed or a snapshot tells, into the spool: every event once, gaps beside it, counts for the status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from data import clock
from data.recording.records import Row, forced_row, rows_record
from data.recording.watch import Watch
from data.sources.stream_events import Forced

if TYPE_CHECKING:
    from data.recording.recorder import Recorder
    from data.sources.ccxt_stream import Venue


class Ear:
    """What one venue's feed of liquidations tells, into the spool."""

    def __init__(self, recorder: Recorder, venue: Venue, watch: Watch) -> None:
        self.recorder, self.venue, self.facts, self.watch = recorder, venue, venue.facts, watch
        self.count = recorder.status.of(venue.facts.name)
        self.count.listens = True

    def up(self, now: int) -> None:
        self.count.up = True
        self.listed()
        self.recorder.gap(self.watch, self.watch.confirmed(now), now)

    def listed(self) -> None:
        symbols = tuple(sorted(c.symbol for c in self.venue.contracts.values()))
        if symbols != self.watch.symbols:
            self.watch.symbols = symbols
            self.recorder.spool.append(self.recorder.feeds())

    def alive(self, now: int) -> None:
        self.watch.alive(now)

    def down(self, reason: str) -> None:
        self.count.lost(reason)
        self.watch.lost(reason)

    def events(self, now: int, payload: str, events: Sequence[Forced]) -> None:
        newest = max(e.ts_us for e in events)
        at_us = max(now // clock.US, newest)  # the venue's clock may be ahead of ours; rows and message share one time
        told = self.facts.liquidations
        assert told is not None
        new = [e for e in events if self.recorder.seen.new((self.facts.venue, e.key))]
        self.count.arrived(len(new), len(events) - len(new), newest, now // clock.US)
        if new:
            rows = [forced_row(e, told.feed.value, at_us) for e in new]
            raw = ("liquidations", payload) if self.recorder.plan.keep != "none" else None
            self.recorder.spool.append(rows_record(self.facts.venue, at_us, "liquidations", rows, raw))

    def damaged(self, now: int, payload: str, reason: str, contract: str = "") -> None:
        self.count.damaged += 1
        gap = self.watch.missed(now, f"a message could not be read: {reason}")
        self.recorder.gap(self.watch, gap, now, payload, (contract,) if contract else ())


class Poll:
    """What one kind of snapshot of one venue tells, into the spool."""

    def __init__(self, recorder: Recorder, venue: Venue, watch: Watch) -> None:
        self.recorder, self.venue, self.watch = recorder, venue, watch
        self.count = recorder.status.of(venue.facts.name)

    def taken(self, now: int, rows: list[Row], said: str) -> None:
        self.count.snapshots += 1
        self.count.failing.pop(self.watch.table, None)
        symbols = tuple(sorted({row[0] for row in rows}))
        gap = self.watch.confirmed(now)
        if symbols != self.watch.symbols:
            self.watch.symbols = symbols
            self.recorder.spool.append(self.recorder.feeds())
        self.recorder.gap(self.watch, gap, now)
        raw = (self.watch.table, said) if said and self.recorder.plan.keep == "all" else None
        record = rows_record(self.watch.venue, now // clock.US, self.watch.table, rows, raw)
        self.recorder.spool.append(record)

    def failed(self, reason: str) -> None:
        self.count.failures += 1
        self.count.failing[self.watch.table] = reason
        self.watch.lost(reason)
