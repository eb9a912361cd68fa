"""How the recorder is doing: counts of each venue, lag, gaps, what waits in the spool; as a line, or for programs."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from data import clock
from data.recording.merger import Merged

_MINUTE = 60.0


@dataclass
class Count:
    """One venue's events."""

    events: int = 0
    repeated: int = 0
    damaged: int = 0
    losses: int = 0
    snapshots: int = 0
    failures: int = 0
    listens: bool = False  # to a stream; else there are snapshots alone
    up: bool = False
    reason: str = ""  # why the stream is down
    failing: dict[str, str] = field(default_factory=dict)  # snapshots that failed the last time, and why
    lag_s: float | None = None  # of the latest message: our clock at receipt less the venue's stamp
    worst_lag_s: float = 0.0
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def arrived(self, new: int, repeated: int, ts_us: int, at_us: int) -> None:
        self.events += new
        self.repeated += repeated
        self.lag_s = (at_us - ts_us) / 1e6
        self.worst_lag_s = max(self.worst_lag_s, self.lag_s)
        now = time.monotonic()
        if self._recent and now - self._recent[-1][0] < 1.0:
            self._recent[-1] = (self._recent[-1][0], self._recent[-1][1] + new)
        else:
            self._recent.append((now, new))
            while now - self._recent[0][0] > _MINUTE:
                self._recent.popleft()

    def lost(self, reason: str) -> None:
        self.losses += self.up
        self.up, self.reason = False, reason

    def a_minute(self) -> int:
        since = time.monotonic() - _MINUTE
        return sum(n for at, n in self._recent if at >= since)

    def plain(self) -> dict[str, Any]:
        return {
            "up": self.up if self.listens else self.snapshots > 0 and not self.failing,
            "events": self.events,
            "events_a_minute": self.a_minute(),
            "repeated": self.repeated,
            "damaged": self.damaged,
            "losses": self.losses,
            "snapshots": self.snapshots,
            "failures": self.failures,
            "failing": self.failing,
            "lag_s": self.lag_s,
            "worst_lag_s": self.worst_lag_s,
            "reason": self.reason if not self.up else "",
        }


@dataclass
class Status:
    venues: dict[str, Count] = field(default_factory=dict)
    gaps: int = 0
    flushed: int = 0
    merged_rows: int = 0
    damaged_lines: int = 0
    refused: list[str] = field(default_factory=list)
    waiting: int = 0
    busy: str = ""

    def of(self, name: str) -> Count:
        return self.venues.setdefault(name, Count())

    @property
    def events(self) -> int:
        return sum(c.events for c in self.venues.values())

    def merged(self, done: Merged) -> None:
        self.merged_rows += done.rows
        self.damaged_lines += done.damaged
        self.refused += done.refused
        self.waiting, self.busy = done.waiting, done.busy

    def plain(self) -> dict[str, Any]:
        """For programs: one object, plain values."""
        return {
            "at": clock.iso(time.time_ns()),
            "events": self.events,
            "gaps": self.gaps,
            "rows_merged": self.merged_rows,
            "segments_waiting": self.waiting,
            "store_busy": self.busy,
            "damaged_lines": self.damaged_lines,
            "refused": self.refused,
            "venues": {name: count.plain() for name, count in self.venues.items()},
        }

    def __str__(self) -> str:
        parts = [f"{name} {_venue(count)}" for name, count in self.venues.items()]
        tail = f"{self.merged_rows:,} rows in the store"
        tail += f", {counted(self.gaps, 'gap')}" if self.gaps else ""
        tail += f", {counted(self.waiting, 'segment')} waiting for it" if self.waiting else ""
        tail += f", {counted(len(self.refused), 'segment')} refused" if self.refused else ""
        return f"{clock.iso(time.time_ns())[11:19]}  {' | '.join([*parts, tail])}"


def _venue(count: Count) -> str:
    failing = "".join(f", no {table.replace('_', ' ')} ({why})" for table, why in count.failing.items())
    return _stream(count) + failing


def _stream(count: Count) -> str:
    if not count.listens and (count.snapshots or count.failing):
        return counted(count.snapshots, "snapshot")
    if not count.up:
        return f"down ({count.reason})" if count.reason else "connecting"
    lag = "" if count.lag_s is None else f", lag {count.lag_s:.1f} s"
    return f"{count.a_minute():,}/min{lag}"


def counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
