"""The feed of liquidations of one venue: connect, listen, notice every loss, connect again.

1. `Feed.run` connects, and waits until a connection fails; tells the listener; pauses (doubling, up to a minute); and
   connects again. A venue with more topics than one connection takes has several, which live and die together.
2. A connection counts as up once every request is acknowledged, and as dead when nothing has come for `silence_s`. A
   pulse on each connection makes silence mean something; what is heard of the feed is what its slowest line has said.
   A jump of the day's clock between two words means that this machine slept: that is a loss, too.
3. What contracts there are is looked at again every hour. A message that names one that is not known yet is kept, the
   list looked at at once, and the message read again. Where topics go by contract, a new list means a new connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from data import clock
from data.errors import NotFound, SourceError, Unreachable
from data.sources.ccxt_stream import FAILURES, Venue, error_text
from data.sources.stream_events import Contract, Forced, read
from data.sources.stream_facts import Pace

_STEADY_S = 60.0  # a connection that lasted this long starts the pauses anew
_LOOKS = 10  # first pauses between two looks for contracts that are not known, however many messages name one
_HELD = 1_000  # messages of contracts that are not known yet


class Listener(Protocol):
    """What a feed tells, in the event loop's thread. Times are nanoseconds by our clock."""

    def up(self, now: int) -> None:
        """The venue has acknowledged every topic."""

    def listed(self) -> None:
        """The list of contracts was looked at again."""

    def alive(self, now: int) -> None:
        """The stream spoke: an event, or a beat of its pulse."""

    def down(self, reason: str) -> None:
        """The connection is lost or could not be made."""

    def events(self, now: int, payload: str, events: Sequence[Forced]) -> None:
        """A message with liquidations, as it came and as it reads."""

    def damaged(self, now: int, payload: str, reason: str, contract: str = "") -> None:
        """A message that cannot be read; `contract` where only this one of the venue's names is concerned."""


class Feed:
    """Liquidations of one venue, until it is cancelled."""

    def __init__(self, venue: Venue, listener: Listener, pace: Pace | None = None) -> None:
        self.venue, self.facts = venue, venue.facts
        self.listener = listener
        self.pace = pace or Pace()
        self.connections = 0  # that came up
        self.unconfirmed = 0
        self._last = 0.0  # monotonic time of the latest message that proves anything
        self._beats: dict[str, tuple[float, int]] = {}  # by address: the same, and by the day's clock
        self._slept = ""
        self._unknown: set[str] = set()  # contracts of one message that no list named
        self._unlisted: set[str] = set()  # that even a new list does not name
        self._held: deque[tuple[int, str, Any]] = deque()  # messages to be read again after a look
        self._wake = asyncio.Event()
        venue.exchange.feed = self

    # ---- connecting --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        pause = self.pace.pause_s
        try:
            while True:
                began = time.monotonic()
                try:
                    await self.venue.load()
                    await self._listen()
                except NotFound:
                    raise
                except (*FAILURES, SourceError) as problem:
                    self.listener.down(error_text(problem))
                except Exception as problem:  # noqa: BLE001 - one venue's oddities must not end the others'
                    self.listener.down(f"{type(problem).__name__}: {error_text(problem)}")
                if time.monotonic() - began > _STEADY_S:
                    pause = self.pace.pause_s
                await self.venue.drop()
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))
                pause = min(pause * 2, self.pace.longest_pause_s)
        finally:
            self._give_up_held()

    async def _listen(self) -> None:
        """One connection, or a few, from the handshake to the first end; always ends by raising."""
        self._last = began = time.monotonic()
        self._beats.clear()
        self._slept = ""
        subscribed = set(self.venue.contracts)
        ends = [asyncio.ensure_future(e) for e in self.venue.exchange.hear()]
        try:
            while True:
                await self._until_something(ends)
                for end in ends:
                    if end.done():
                        end.result()
                self._insist(began)
                await self._look()
                if self._by_contract and set(self.venue.contracts) != subscribed:
                    raise SourceError(f"{self.facts.name} lists other contracts: connecting again")
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def _until_something(self, ends: Sequence[asyncio.Future[Any]]) -> None:
        """Until a connection ends, something is to be done, or it is time to look whether all are alive."""
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait([*ends, waking], timeout=self.pace.silence_s / 4, return_when="FIRST_COMPLETED")
        finally:
            waking.cancel()
            self._wake.clear()

    @property
    def _by_contract(self) -> bool:
        return self.facts.liquidations is not None and not self.facts.liquidations.whole_market

    def _insist(self, began: float) -> None:
        now = time.monotonic()
        if self._slept:
            raise Unreachable(self._slept)
        if self.unconfirmed > 0 and now - began > self.pace.connect_s:
            raise Unreachable(f"{self.facts.name} does not confirm the subscription")
        quiet = now - min([self._last, *(at for at, _ in self._beats.values())])
        if quiet > self.pace.silence_s:
            raise Unreachable(f"{self.facts.name} has been silent for {quiet:.0f} s")

    # ---- which contracts there are -----------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Look which contracts there are, now and then or when one is met; a look that fails costs nothing."""
        spacing = _LOOKS * self.pace.pause_s if self._held else self.pace.relist_s
        if self.venue.listed_s < spacing:
            return
        try:
            await self.venue.load(again=True)
        except SourceError:
            return
        self.listener.listed()
        held, self._held = self._held, deque()
        self._unlisted |= {n for _, _, m in held for n in self._named_by(m)}
        for now, text, message in held:
            self._read(now, text, message)

    def _named_by(self, message: Any) -> set[str]:
        """Contracts of a message that no list names."""
        assert self.facts.liquidations is not None
        self._unknown.clear()
        with contextlib.suppress(ValueError):
            read(self.facts.name, message, self.facts.liquidations, self._contract)
        return set(self._unknown)

    def _contract(self, market_id: str) -> Contract | None:
        found = self.venue.contracts.get(market_id)
        if found is None and self.venue.symbols is None and market_id not in self.venue.exchange.markets_by_id:
            self._unknown.add(market_id)
        return found

    def _give_up_held(self) -> None:
        while self._held:
            now, text, message = self._held.popleft()
            for name in self._named_by(message):
                self.listener.damaged(now, text, f"{name} was not listed when the recorder looked", name)

    # ---- hearing -----------------------------------------------------------------------------------------------------

    def damaged(self, now: int, text: str, reason: str) -> None:
        self.listener.damaged(now, text, reason)

    def took(self, line: str, now: int, text: str, message: Any) -> bool:
        """Handle a message of the connection `line` if it is an event or a pulse; False leaves it to ccxt."""
        if not isinstance(message, dict) or self.facts.liquidations is None:
            return False
        try:
            events = self._read(now, text, message)
        except ValueError as problem:
            self.listener.damaged(now, text, str(problem))
            return True
        if events or self.venue.exchange.pulsed(message):
            self._beat(line, now)
            return True
        if self.venue.exchange.acknowledged(message):
            self._last = time.monotonic()
            self._beats[line] = (self._last, now)
            self.unconfirmed -= 1
            if self.unconfirmed == 0:
                self.connections += 1
                self.listener.up(now)
        return False

    def _read(self, now: int, text: str, message: Any) -> bool:
        """Whether it is a message of liquidations; its events go to the listener."""
        assert self.facts.liquidations is not None
        self._unknown.clear()
        found = read(self.facts.name, message, self.facts.liquidations, self._contract)
        unknown = self._unknown - self._unlisted
        if found:
            self.listener.events(now, text, found)
        if unknown and len(self._held) < _HELD:
            self._held.append((now, text, message))
            self._wake.set()
        else:
            for name in sorted(self._unknown):
                self.listener.damaged(now, text, f"the venue lists no {name}", name)
        return found is not None

    def _beat(self, line: str, now: int) -> None:
        """A line speaks; an answered ping alone would not prove it. The feed is heard until its slowest line spoke."""
        self._last = time.monotonic()
        _, before = self._beats.get(line, (0.0, now))
        self._beats[line] = (self._last, now)
        if now - before > self.pace.asleep_s * clock.SECOND:
            self._slept = f"nothing came for {(now - before) / clock.SECOND:,.0f} s: was this machine asleep?"
            self._wake.set()
        if self.unconfirmed <= 0 and not self._slept:
            self.listener.alive(min(at for _, at in self._beats.values()))
