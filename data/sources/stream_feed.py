"""The feed of liquidations of one venue: connect, listen, notice every loss, connect again.

1. `Feed.run` connects, and waits until the connection fails; tells the listener; pauses (doubling, up to a minute); and
   connects again.
2. A connection counts as up once every request is acknowledged, and as dead when nothing has come for `silence_s`.
   A pulse on the same connection makes silence mean something.
3. What contracts there are is looked at again every hour. One that is met before makes the feed look at once, and its
   message is kept as damaged; where topics go by contract, a new list means a new connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from typing import Any, Protocol

from data.errors import SourceError, Unreachable
from data.sources.ccxt_stream import FAILURES, Venue, error_text
from data.sources.stream_events import Contract, Forced, read
from data.sources.stream_facts import Pace

_STEADY_S = 60.0  # a connection that lasted this long starts the pauses anew


class Listener(Protocol):
    """What a feed tells, in the event loop's thread. Times are nanoseconds by our clock."""

    def up(self, now: int) -> None:
        """The venue has acknowledged every topic."""

    def alive(self, now: int) -> None:
        """The stream spoke: an event, or a beat of its pulse."""

    def down(self, reason: str) -> None:
        """The connection is lost or could not be made."""

    def events(self, now: int, payload: str, events: Sequence[Forced]) -> None:
        """A message with liquidations, as it came and as it reads."""

    def damaged(self, now: int, payload: str, reason: str) -> None:
        """A message that cannot be read."""


class Feed:
    """Liquidations of one venue, until it is cancelled."""

    def __init__(self, venue: Venue, listener: Listener, pace: Pace | None = None) -> None:
        self.venue, self.facts = venue, venue.facts
        self.listener = listener
        self.pace = pace or Pace()
        self.connections = 0  # that came up
        self.unconfirmed = 0
        self._listed = time.monotonic()
        self._last = 0.0  # monotonic time of the last message
        self._stale = False  # an event named a contract that is not known yet
        venue.exchange.feed = self

    async def run(self) -> None:
        pause = self.pace.pause_s
        while True:
            began = time.monotonic()
            try:
                await self.venue.load(self._stale)
                self._stale = False
                await self._listen()
            except (*FAILURES, SourceError) as problem:
                self.listener.down(error_text(problem))
            if time.monotonic() - began > _STEADY_S:
                pause = self.pace.pause_s
            await self.venue.drop()
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(pause * 2, self.pace.longest_pause_s)

    async def _listen(self) -> None:
        """One connection, from the handshake to its end; always ends by raising."""
        exchange = self.venue.exchange
        self._last = began = time.monotonic()
        ends = [asyncio.ensure_future(e) for e in exchange.hear()]
        try:
            while True:
                done, _ = await asyncio.wait(ends, timeout=self.pace.silence_s / 4, return_when="FIRST_COMPLETED")
                for end in done:
                    end.result()
                self._insist(began)
                await self._relist()
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    def _insist(self, began: float) -> None:
        now = time.monotonic()
        if self.unconfirmed > 0 and now - began > self.pace.connect_s:
            raise Unreachable(f"{self.facts.name} does not confirm the subscription")
        if now - self._last > self.pace.silence_s:
            raise Unreachable(f"{self.facts.name} has been silent for {now - self._last:.0f} s")
        if self._stale and self.unconfirmed <= 0:
            raise SourceError(f"{self.facts.name} lists a new contract: connecting again")

    async def _relist(self) -> None:
        """Look now and then which contracts there are; a look that fails costs nothing."""
        if time.monotonic() - self._listed < self.pace.relist_s:
            return
        self._listed, before = time.monotonic(), set(self.venue.contracts)
        with contextlib.suppress(SourceError):
            await self.venue.load(again=True)
        by_contract = self.facts.liquidations is not None and not self.facts.liquidations.whole_market
        if by_contract and set(self.venue.contracts) != before:
            raise SourceError(f"{self.facts.name} lists other contracts: connecting again")

    def damaged(self, now: int, text: str, reason: str) -> None:
        self.listener.damaged(now, text, reason)

    def took(self, now: int, text: str, message: Any) -> bool:
        """Handle a message if it is an event or a pulse; False leaves it to ccxt."""
        if not isinstance(message, dict) or self.facts.liquidations is None:
            return False
        try:
            found = read(self.facts.name, message, self.facts.liquidations, self._contract)
        except ValueError as problem:
            self.listener.damaged(now, text, str(problem))
            return True
        if found is not None:
            self._beat(now)
            if found:
                self.listener.events(now, text, found)
            return True
        if self.venue.exchange.pulsed(message):
            self._beat(now)
            return True
        if self.venue.exchange.acknowledged(message):
            self._last = time.monotonic()
            self.unconfirmed -= 1
            if self.unconfirmed == 0:
                self.connections += 1
                self.listener.up(now)
        return False

    def _beat(self, now: int) -> None:
        """The stream speaks; an answered ping alone would not prove it."""
        self._last = time.monotonic()
        if self.unconfirmed <= 0:
            self.listener.alive(now)

    def _contract(self, market_id: str) -> Contract | None:
        found = self.venue.contracts.get(market_id)
        if found is None and self.venue.symbols is None and market_id not in self.venue.exchange.markets_by_id:
            self._stale = True
            raise ValueError(f"{market_id} is a contract that was not listed when the recorder looked")
        return found
