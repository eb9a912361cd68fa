"""Until when a feed was heard, and the gaps between.

A feed is heard from the moment its venue confirms the subscription, and on with every sign of life. The next
confirmation after a loss closes a gap: from the last sign of life, less the time for which the venue may have held
an event back, to the confirmation. The spool remembers the last sign of life, so a recorder that was off leaves a gap
too.
"""

from __future__ import annotations

from dataclasses import dataclass

OFF = "the recorder was not running"


@dataclass(frozen=True)
class Gap:
    since: int
    until: int
    reason: str


class Watch:
    """One feed: a venue's stream, or one kind of snapshot of it. Times are nanoseconds."""

    def __init__(
        self,
        name: str,
        venue: str,
        table: str,
        *,
        held_back: int = 0,
        tolerated: int = 0,
        asked: tuple[str, ...] = (),
    ) -> None:
        self.name, self.venue, self.table = name, venue, table
        self.held_back = held_back  # what the venue may have kept for so long
        self.tolerated = tolerated  # so long a silence is no gap
        self.asked = asked  # symbols; empty: all that there are
        self.symbols: tuple[str, ...] = asked  # that it is heard of
        self.up = False
        self.until: int | None = None
        self.gaps = 0
        self.reason = ""
        self._reported: int | None = None

    @property
    def key(self) -> str:
        return f"{self.name}/{self.table}"

    def recall(self, until: int | None) -> None:
        """What an earlier run of the recorder last heard."""
        self.until = self._reported = until
        self.reason = OFF

    def confirmed(self, now: int) -> Gap | None:
        """The feed speaks from now on; the gap that this ends."""
        gap = None
        if self.until is None:
            self._reported = now
        elif not self.up:
            gap = self._gap(now, self.reason)
        self.up, self.reason = True, ""
        self.until = max(now, self.until or now)
        return gap

    def alive(self, now: int) -> None:
        if self.up and self.until is not None:
            self.until = max(now, self.until)

    def lost(self, reason: str) -> None:
        if self.up or not self.reason:
            self.reason = reason
        self.up = False

    def missed(self, now: int, reason: str) -> Gap | None:
        """Something that came could not be read: a gap that ends at once."""
        return None if self.until is None else self._gap(now, reason)

    def _gap(self, now: int, reason: str) -> Gap | None:
        assert self.until is not None
        since = min(self.until, now) - self.held_back
        if now - since <= self.tolerated:
            return None
        self.gaps += 1
        return Gap(since, now, reason)

    @property
    def plain(self) -> list[object]:
        """What the feed is, for the spool."""
        return [self.venue, self.table, self.symbols]

    def heard(self) -> tuple[int, int] | None:
        """From and until when it was heard since the last report, gaps included (they are rows of their own)."""
        since, until = self._reported, self.until
        if since is None or until is None or until <= since:
            return None
        self._reported = until
        return since, until
