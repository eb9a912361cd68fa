"""Missing spans cut into pages, and one page asked for until it is whole or the venue has no more.

A page is a window of at most as many rows as one answer holds; near spans share one, so a window may hold a few rows
that are stored already. Every page names both ends of its window, so pages do not depend on each other and can be
asked for in any order, several at a time. Whatever end of a window a venue begins with, and however few rows it gives
at a time, the rest is simply what is still missing:

1. Ask for the window; then for the part from the first to the last moment that is still missing, or, where an answer
   was full, for the longest part; and so on.
2. When `CONFIRM` answers in a row lack a row, the venue has none: what is missing is noted as such. One answer is
   enough for the time before a contract was listed, and for the hours since the last settlement in which none need be.
   Settlements have no grid to miss on: there, what is missing is where two of them lie further apart than is usual.
3. A suspect answer (`rest_rows.Suspect`) is asked for again, and refused with the page when it stays so.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from data import clock
from data.errors import Corrupt
from data.fetching.asked import Series
from data.fetching.missing import EDGE, FILLING_UP, SOURCE, Span, merged, recipe, told_by, without
from data.rows import Batch, Origin, Rows
from data.sources import Piece
from data.sources.ccxt_rest import VenueClient
from data.sources.rest_rows import Suspect, Window, frame_of

if TYPE_CHECKING:
    import polars as pl


CONFIRM = 3  # answers in a row without a row, before it is believed that there is none


@dataclass(frozen=True)
class Page:
    """One window of one series; `spans` is what of it is missing."""

    series: Series
    spans: tuple[Span, ...]

    @property
    def start(self) -> int:
        return self.spans[0][0]

    @property
    def stop(self) -> int:
        return self.spans[-1][1]

    @property
    def rows(self) -> int:
        """How many rows are missing, as far as it can be told."""
        step = self.series.interval or int(self.series.feed.hours * clock.HOUR)
        return sum(max(1, (z - a) // step) for a, z in self.spans)


def cut(series: Series, spans: Sequence[Span]) -> list[Page]:
    """The missing spans as pages, oldest first."""
    feed = series.feed
    step = series.interval or int(feed.hours * clock.HOUR)
    length = feed.page * step
    if feed.span_s is not None:
        length = min(length, feed.span_s * clock.SECOND // step * step)
    pages: list[Page] = []
    held: list[Span] = []
    for a, z in merged(spans):
        while a < z:
            limit = (held[0][0] if held else a) + length
            if a >= limit:
                pages.append(Page(series, tuple(held)))
                held = []
                continue
            held.append((a, min(z, limit)))
            a = min(z, limit)
    return [*pages, Page(series, tuple(held))] if held else pages


class Counts(Protocol):
    """Told of every page that is there, from any thread."""

    def page(self, rows: int) -> None: ...


@dataclass
class Notes:
    """What is worth saying when all pages are there; filled from many threads."""

    pages: int = 0
    requests: int = 0
    cut_short: int = 0  # answers with fewer rows than the venue has
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, requests: int, cut_short: int) -> None:
        with self.lock:
            self.pages += 1
            self.requests += requests
            self.cut_short += cut_short


@dataclass
class Pages:
    """Pages as a source for `data.ingest`."""

    pages: Sequence[Page]
    clients: dict[str, VenueClient]
    now: dict[str, int]
    workers: int = 4
    counts: Counts | None = None
    notes: Notes = field(default_factory=Notes)
    key: str = SOURCE

    def __len__(self) -> int:
        return len(self.pages)

    def __iter__(self) -> Iterator[Piece]:
        for page in self.pages:
            yield Piece(_origin(page), (page.series.feed.table,), partial(self._read, page))

    def _read(self, page: Page) -> Batch:
        facts = page.series.facts
        reader = _Reader(page, self.clients[facts.name])
        batch = reader.batch(self.now[facts.name])
        self.notes.add(reader.requests, reader.cut_short)
        if self.counts is not None:
            self.counts.page(sum(len(r.data) for r in batch.rows))
        return batch


@dataclass
class _Reader:
    """One page on its way."""

    page: Page
    client: VenueClient
    frames: list[Any] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    requests: int = 0
    cut_short: int = 0
    full: bool = False  # the last answer held as many rows as were asked for

    def batch(self, now: int) -> Batch:
        import polars as pl

        empty = self._all()
        s = self.page.series
        frame = pl.concat(self.frames) if self.frames else None
        rows = (
            () if frame is None or not len(frame) else (Rows(s.feed.table, _table(s, frame), _constants(s), _lag(s)),)
        )
        sha256 = hashlib.sha256("".join(self.hashes).encode()).hexdigest() if len(self.hashes) > 1 else self.hashes[0]
        origin = _origin(self.page, sha256, len(frame) if rows and frame is not None else 0)
        if not rows:
            silent = replace(origin, rows=None, covers=None)  # of the last day: it may come yet
            return Batch(
                (Rows(s.feed.table, _nothing(s), _constants(s)),), tuple(self._absent(empty, now)) or (silent,)
            )
        return Batch(rows, (origin, *self._absent(empty, now)))

    def _all(self) -> list[Span]:
        """Ask until nothing is missing or nothing more comes; what the venue does not have."""
        left: list[Span] = list(self.page.spans)
        in_vain, held_back = 0, False
        while left and in_vain < (CONFIRM if self.frames or self._is_due() else 1):
            # beside a full answer lies what it had no room for; otherwise one request for all that is missing
            window = max(left, key=lambda span: span[1] - span[0]) if self.full else (left[0][0], left[-1][1])
            fresh = self._fresh(self._ask(window))
            if len(fresh):
                self.cut_short += held_back
                self.frames.append(fresh)
                in_vain = 0
            elif in_vain:
                time.sleep(self.client.manners.pause_s)
            in_vain += 1
            held_back = not self.full  # if more comes now, this answer could have held it
            left = without(left, self._covered(fresh))
        return left

    def _is_due(self) -> bool:
        """Whether a row need be in the page at all."""
        s, spans = self.page.series, self.page.spans
        if spans[-1][1] <= int(s.market.get("created") or 0) * clock.MS:
            return False
        since_last = spans[-1][1] == s.stop and spans[-1][1] - spans[0][0] < s.feed.hours * clock.HOUR - 2 * EDGE
        return s.feed.is_grid or not since_last

    def _fresh(self, frame: pl.DataFrame) -> pl.DataFrame:
        for known in self.frames:
            frame = frame.filter(~frame["ts"].is_in(known["ts"].implode()))
        return frame

    def _covered(self, frame: pl.DataFrame) -> list[Span]:
        interval = self.page.series.interval
        stamps = [t * clock.US for t in frame["ts"].to_list()]
        if interval and stamps and stamps[-1] - stamps[0] == (len(stamps) - 1) * interval:
            return [(stamps[0], stamps[-1] + interval)]
        if interval:
            return merged((t, t + interval) for t in stamps)
        known = sorted({t * clock.US for f in self.frames for t in f["ts"].to_list()})
        # what a full answer ends with says nothing of what comes after
        return told_by(known, self.page.series.feed.hours, EDGE if self.full else None)

    def _ask(self, span: Span) -> pl.DataFrame:
        """One window; a suspect answer is asked for again."""
        s, (start, stop) = self.page.series, span
        first, last = start // clock.MS, stop // clock.MS - 1
        bounds = {"start": first, "end": last, "before": first - 1, "after": last + 1}
        limit = min(s.feed.page, max(1, (stop - start) // s.interval)) if s.interval else s.feed.page
        values = {**bounds, "limit": limit, "interval": s.feed.interval_name(s.interval)}
        params = self.client.params(s.feed.params, s.market, values)
        manners = self.client.manners
        for attempt in range(1, manners.attempts + 1):
            answer = self.client.ask(s.feed.method, params, s.feed.pause_s, s.feed.queue)
            self.requests += 1
            try:
                frame = frame_of(s.feed, answer.payload, Window(start, stop, s.interval), s.inverse, s.size)
            except Suspect as problem:
                if attempt == manners.attempts:
                    raise Corrupt(
                        f"{problem}; {attempt} answers in a row are no good, nothing of them stored"
                    ) from None
                time.sleep(min(5.0, manners.pause_s * attempt))
            else:
                self.hashes.append(answer.sha256)
                self.full = len(frame) >= limit
                return frame
        raise AssertionError("attempts is at least 1")

    def _absent(self, empty: Sequence[Span], now: int) -> Iterator[Origin]:
        """What the venue does not have, to be remembered, the last day aside."""
        for a, z in empty:
            z = min(z, now - FILLING_UP)
            if a < z:
                yield _origin_of(self.page.series, (a, z), "", 0, "nothing there: ")


def _lag(s: Series) -> float:
    return s.feed.lag_s + s.interval_s if s.feed.lag_s else 0.0


def _constants(s: Series) -> dict[str, Any]:
    out: dict[str, Any] = {"venue": s.facts.stored_as}
    if s.interval:
        out["interval_s"] = s.interval_s
    if s.feed.table == "candles":
        out["price"] = s.price
    if s.feed.kind:
        out["kind"] = s.feed.kind
    if s.feed.hours_told:
        out["interval_hours"] = s.feed.hours
    return out


def _table(s: Series, frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    ts = pl.col("ts").cast(pl.Datetime("us"))
    return frame.sort("ts").with_columns(ts, symbol=pl.lit(s.symbol))


def _nothing(s: Series) -> pl.DataFrame:
    """A frame without rows, of a form that every table takes."""
    import polars as pl

    columns = {n: pl.Series(n, [], pl.Float64) for n in s.feed.columns}
    return pl.DataFrame(
        {"ts": pl.Series("ts", [], pl.Datetime("us")), **columns, "symbol": pl.Series([], dtype=pl.String)}
    )


def _origin(page: Page, sha256: str = "", rows: int | None = None) -> Origin:
    return _origin_of(page.series, (page.start, page.stop), sha256, rows)


def _origin_of(s: Series, span: Span, sha256: str, rows: int | None, prefix: str = "") -> Origin:
    return Origin(
        source=SOURCE,
        name=f"{prefix}{s.facts.name} {s.feed.method} {s.label} {clock.iso(span[0])} to {clock.iso(span[1])}",
        sha256=sha256,
        recipe=recipe(s),
        rows=rows,
        covers=span,
        symbols=(s.symbol,),
        tables=(s.feed.table,),
        venue=s.facts.stored_as,
    )
