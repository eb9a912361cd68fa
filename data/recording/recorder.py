"""The recorder itself: feeds and snapshots into the spool, the spool into the store, until it is told to stop.

1. Every message of a feed goes through `Ear.events`: what was seen already is dropped, the rest becomes one line of the
   spool, the message as it came beside its rows.
2. Every `flush_s` the spool is flushed, what was heard is noted, and until when is remembered.
3. Every `merge_s` the open segment is closed, and a thread merges what is closed into the store. A store that is in
   use makes it wait, nothing else.
4. A signal (`stop`) ends the feeds, flushes, merges once more and returns.

Memory is bounded: the spool's buffer by a megabyte, what was seen by a number of events, a merge by a segment's size.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import clock
from data.errors import BadInput, StoreLocked
from data.recording.ears import Ear, Poll
from data.recording.merger import Merged, merge
from data.recording.plan import WHAT, Plan
from data.recording.records import Row, gap_rows, rows_record
from data.recording.seen import Seen
from data.recording.snapshots import take
from data.recording.spool import Spool, spool_of
from data.recording.status import Status
from data.recording.watch import Gap, Watch
from data.scope import ANY

if TYPE_CHECKING:
    from data.sources.ccxt_stream import Venue


@dataclass
class Recorder:
    """One run. `said` gets a line of news now and then, `stop` ends it from any thread's signal handler."""

    plan: Plan
    said: Callable[[Status], None] = lambda status: None
    status: Status = field(default_factory=Status)
    seen: Seen = field(default_factory=Seen)

    def __post_init__(self) -> None:
        self.spool: Spool
        self.watches: list[Watch] = []
        self._ending = asyncio.Event()
        self._merging: asyncio.Future[Merged] | None = None

    def stop(self) -> None:
        self._ending.set()

    async def run(self) -> Status:
        """Record until stopped, or until the plan's time is over."""
        _insist_on_a_store(self.plan.store)
        self.spool = Spool(self.plan.spool, header=self.feeds)
        try:
            await self._record()
        finally:
            self._note()
            self.spool.close()
            if self.watches:
                self.spool.remember(self._heard())
        await self._merge()
        return self.status

    async def _record(self) -> None:
        Feed, Venue = _ccxt_side()
        known = self.spool.heard()
        venues = [Venue(f, self.plan.symbols, self.plan.gateway) for f in self.plan.facts]
        jobs: list[Coroutine[Any, Any, None]] = [self._every(self.plan.flush_s, self._flush)]
        jobs.append(self._every(self.plan.merge_s, self._rotate))
        jobs.append(self._every(self.plan.status_s, self._say))
        for venue in venues:
            if "liquidations" in self.plan.what and (told := venue.facts.liquidations) is not None:
                held = int(told.push_s * clock.SECOND)
                watch = self._watch(known, venue, "liquidations", held, 0)
                jobs.append(Feed(venue, Ear(self, venue, watch), self.plan.pace).run())
            for table in (WHAT[w] for w in self.plan.what if w != "liquidations"):
                tolerated = int(1.5 * self.plan.every_s * clock.SECOND)
                poll = Poll(self, venue, self._watch(known, venue, table, 0, tolerated))
                relist_s = self.plan.pace.relist_s
                jobs.append(take(venue, table, self.plan.every_s, poll.taken, poll.failed, relist_s))
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(j) for j in jobs]
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait([*tasks, ending], timeout=self.plan.for_s, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # raises what ended it
        finally:
            for task in (*tasks, ending):
                task.cancel()
            await asyncio.gather(*tasks, ending, return_exceptions=True)
            for venue in venues:
                await venue.close()

    def _watch(self, known: dict[str, int], venue: Venue, table: str, held: int, tolerated: int) -> Watch:
        facts = venue.facts
        watch = Watch(facts.name, facts.venue, table, held_back=held, tolerated=tolerated, asked=venue.asked)
        if watch.key in known:
            watch.recall(known[watch.key])
        self.watches.append(watch)
        return watch

    def feeds(self) -> dict[str, Any]:
        """What the feeds are, for the head of a segment."""
        return {"feeds": {w.key: w.plain for w in self.watches}}

    def gap(self, watch: Watch, gap: Gap | None, now: int, payload: str = "", symbols: tuple[str, ...] = ()) -> None:
        """A row for a gap, and the message that was the cause, if one was; of `symbols` where these alone lack it."""
        if gap is not None:
            self.status.gaps += 1
            rows: list[Row] = gap_rows(watch.table, symbols or self._whose(watch), gap.since, gap.until, gap.reason)
            raw = ("damaged", payload) if payload and self.plan.keep != "none" else None
            self.spool.append(rows_record(watch.venue, now // clock.US, "gaps", rows, raw))

    def _whose(self, watch: Watch) -> tuple[str, ...]:
        """Every symbol in a word, unless another feed of the venue may have heard some of them."""
        alone = sum((w.venue, w.table) == (watch.venue, watch.table) for w in self.watches) == 1
        return watch.asked or ((ANY,) if alone else watch.symbols)

    # ---- at an even pace -----------------------------------------------------------------------------------------

    async def _every(self, seconds: float, job: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(seconds)
            done = job()
            if asyncio.iscoroutine(done):
                await done

    def _note(self) -> None:
        """What was heard since the last time, into the spool."""
        heard = {w.key: h for w in self.watches if (h := w.heard()) is not None}
        if heard:
            self.spool.append({"heard": heard})

    def _heard(self) -> dict[str, int]:
        return self.spool.heard() | {w.key: w.until for w in self.watches if w.until is not None}

    def _flush(self) -> None:
        self._note()
        self.spool.flush()
        self.spool.remember(self._heard())
        self.status.flushed = time.time_ns()

    async def _rotate(self) -> None:
        self._flush()
        if self.spool.rotate() is not None:
            await self._merge()

    async def _merge(self) -> None:
        """One merge at a time: one that is under way when the recorder stops is waited for."""
        if self._merging is not None:
            await asyncio.wait([self._merging])
        self._merging = asyncio.ensure_future(asyncio.to_thread(merge, self.plan.spool, self.plan.store))
        self.status.merged(await asyncio.shield(self._merging))

    def _say(self) -> None:
        self.said(self.status)


def _insist_on_a_store(path: Path) -> None:
    """A place that cannot be written to is told at once, not when the first segment is merged."""
    from data.store import Store

    with contextlib.suppress(StoreLocked):  # it is there, and in use
        Store(path, wait_s=0.5)


def _ccxt_side() -> tuple[Any, Any]:
    try:
        from data.sources.ccxt_stream import Venue
        from data.sources.stream_feed import Feed
    except ImportError:
        raise BadInput("recording needs ccxt: pip install 'unwind[exchanges]'") from None
    return Feed, Venue


def record(plan: Plan, said: Callable[[Status], None] = lambda status: None, signals: Sequence[int] = ()) -> Status:
    """Record in this thread until a signal, or until the plan's time is over."""

    async def main() -> Status:
        recorder = Recorder(plan, said)
        loop = asyncio.get_running_loop()
        for number in signals:
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt there
                loop.add_signal_handler(number, recorder.stop)
        return await recorder.run()

    return asyncio.run(main())


def merge_now(store: Path, wait_s: float = 5.0) -> Merged:
    """Merge what a recorder left or has closed; takes over the open segment of one that died."""
    folder = spool_of(store)
    if folder.is_dir():
        with contextlib.suppress(StoreLocked):  # a recorder runs: its open segment is its own
            Spool(folder).close()
    return merge(folder, store, wait_s=wait_s)
