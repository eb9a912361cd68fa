"""Live feeds on ccxt.pro: one connection a venue, every message heard, every loss of it noticed.

ccxt's own classes keep the addresses, the handshake, the pings and the rate limits. The thin subclasses here change
what happens to a message once it is in, because as ccxt hands messages on, some are lost: between two awaits only the
last survives, of OKX's `details` only the first is read, and a message that is no JSON ends the reading for good.

1. `_Ears.client` puts our reader before ccxt's: each text is parsed once, events go straight to the listener, and all
   else (pongs, acknowledgements, errors) goes on to ccxt.
2. `hear` sends each venue's topics with ccxt's own `watch_multiple`. The future it returns never resolves with data, so
   it ends only when ccxt says that the connection or the subscription failed.
3. `Venue` knows the contracts that are recorded, and turns ccxt's errors into ours. Connecting and connecting again is
   in data.sources.stream_feed.

`gateway` sends everything through another host, by the venue's own host as the first part of the path: the tests'
server listens there. No key is ever given to ccxt, and nothing of the environment is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import time
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import ccxt
import ccxt.pro as pro

from data.errors import NotFound, SourceError, Unreachable, did_you_mean
from data.sources.stream_events import Contract
from data.sources.stream_facts import StreamFacts
from data.symbols import unified

Answer = TypeVar("Answer")
FAILURES = (ccxt.BaseError, OSError, asyncio.TimeoutError)


def error_text(problem: BaseException) -> str:
    """One line of what ccxt said, without addresses' queries."""
    words = " ".join(str(problem).split()) or type(problem).__name__
    return re.sub(r"\?\S+", "", words)[:200]


class StreamFeed(Protocol):
    """What hears for a venue's connection."""

    facts: StreamFacts
    venue: Venue
    unconfirmed: int

    def took(self, line: str, now: int, text: str, message: Any) -> bool:
        """Handle a message of a connection; False leaves it to ccxt."""

    def damaged(self, now: int, text: str, reason: str) -> None:
        """A message that cannot be read."""


# ---- ccxt's venues, with ears --------------------------------------------------------------------------------------


class _Ears:
    """Mixed in before a venue of ccxt.pro."""

    feed: StreamFeed
    id: str
    clients: Any

    def client(self, url: str) -> Any:
        known = url in (self.clients or {})
        client = super().client(url)  # type: ignore[misc]
        if not known:
            client.handle_text_or_binary_message = partial(self._text, client)
            client.keepAlive = int(min(client.keepAlive, self.feed.facts.ping_s * 1000))
        return client

    def _text(self, client: Any, data: str | bytes) -> None:
        now = time.time_ns()
        text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
        try:
            message = json.loads(text) if text[:1] in "{[" and text else text
            if not self.feed.took(client.url, now, text, message):
                self.handle_message(client, message)  # type: ignore[attr-defined]
        except FAILURES as problem:
            client.on_error(problem)
        except Exception as problem:  # noqa: BLE001 - whatever a venue sends, the reading goes on
            self.feed.damaged(now, text, f"{type(problem).__name__}: {error_text(problem)}")

    def lines(self) -> list[list[str]]:
        """What each connection subscribes to: liquidations, and a pulse."""
        told, wanted = self.feed.facts.liquidations, self.feed.venue.symbols
        if told is None:
            return []
        if told.whole_market and (wanted is None or told.whole_market == told.topic):
            chosen = [told.whole_market]
        else:
            chosen = [told.topic.format(id=self.spelled(i)) for i in self.feed.venue.contracts]
        return self.feed.facts.lines(chosen)

    def spelled(self, market_id: str) -> str:
        return market_id

    def requests(self) -> list[tuple[str, list[str], Any]]:
        """Address, topics and the message that subscribes to them, for each request."""
        raise NotImplementedError

    def acknowledged(self, message: Any) -> bool:
        """Whether this message confirms a request (or, on OKX, one topic of it)."""
        raise NotImplementedError

    def pulsed(self, message: Any) -> bool:
        """Whether this is a beat of the pulse, of no other use."""
        raise NotImplementedError

    def confirmations(self, requests: Sequence[Any]) -> int:
        """How many of them there will be."""
        return len(requests)

    def hear(self) -> list[Any]:
        """Subscribe. What it gives never ends but by failing, one for each request."""
        ends = []
        requests = self.requests()
        self.feed.unconfirmed = self.confirmations(requests)
        for number, (url, topics, message) in enumerate(requests):
            own = [f"unwind:{number}"]
            subscription = {"id": message.get("id") or message.get("req_id"), "topics": topics}
            ends.append(self.watch_multiple(url, own, message, own, subscription))  # type: ignore[attr-defined]
        return ends


def _chunks(topics: Sequence[str], size: int) -> list[list[str]]:
    return [list(topics[i : i + size]) for i in range(0, len(topics), size)]


class _Binance(_Ears):
    def spelled(self, market_id: str) -> str:
        return market_id.lower()

    def requests(self) -> list[tuple[str, list[str], Any]]:
        kind = self.feed.facts.market
        (topics,) = self.lines()
        category = self.get_future_ws_category("forceOrder")  # type: ignore[attr-defined]
        stream = self.stream(kind, "unwind", 1)  # type: ignore[attr-defined]
        url = f"{self.get_ws_url(kind, category)}/{stream}"  # type: ignore[attr-defined]
        out = []
        for some in _chunks(topics, self.feed.facts.topics_a_request):
            number = self.request_id(url)  # type: ignore[attr-defined]
            out.append((url, some, {"method": "SUBSCRIBE", "params": some, "id": number}))
        return out

    def acknowledged(self, message: Any) -> bool:
        return "id" in message and message.get("result", 0) is None

    def pulsed(self, message: Any) -> bool:
        return bool(message.get("e") == "markPriceUpdate")


class _Bybit(_Ears):
    def requests(self) -> list[tuple[str, list[str], Any]]:
        public = self.urls["api"]["ws"]["public"][self.feed.facts.market]  # type: ignore[attr-defined]
        url = self.implode_hostname(public)  # type: ignore[attr-defined]
        out = []
        for line, topics in enumerate(self.lines()):
            own = f"{url}#{line}" if line else url  # ccxt keeps one connection an address; a fragment is never sent
            for some in _chunks(topics, self.feed.facts.topics_a_request):
                number = str(self.request_id())  # type: ignore[attr-defined]
                out.append((own, some, {"op": "subscribe", "req_id": number, "args": some}))
        return out

    def acknowledged(self, message: Any) -> bool:
        return bool(message.get("op") == "subscribe" and message.get("success") is True)

    def pulsed(self, message: Any) -> bool:
        return str(message.get("topic", "")).startswith("tickers.")


class _Okx(_Ears):
    def requests(self) -> list[tuple[str, list[str], Any]]:
        url = self.get_url("liquidation-orders", "public")  # type: ignore[attr-defined]
        (some,) = self.lines()
        arguments = []
        for topic in some:
            channel, _, instrument = topic.partition(":")
            arguments.append({"channel": channel} | ({"instId": instrument} if instrument else {"instType": "SWAP"}))
        return [(url, some, {"op": "subscribe", "args": arguments})]

    def acknowledged(self, message: Any) -> bool:
        return bool(message.get("event") == "subscribe")

    def pulsed(self, message: Any) -> bool:
        return bool(message.get("arg", {}).get("channel") == "mark-price" and "data" in message)

    def confirmations(self, requests: Sequence[Any]) -> int:
        return sum(len(topics) for _, topics, _ in requests)


class _BinanceUsdm(_Binance, pro.binanceusdm):  # type: ignore[misc]
    pass


class _BinanceCoinm(_Binance, pro.binancecoinm):  # type: ignore[misc]
    pass


class _BybitVenue(_Bybit, pro.bybit):  # type: ignore[misc]
    pass


class _OkxVenue(_Okx, pro.okx):  # type: ignore[misc]
    pass


class _HyperliquidVenue(_Ears, pro.hyperliquid):  # type: ignore[misc]
    """Without a public stream of liquidations; its snapshots come by REST."""


_VENUES: Mapping[str, Any] = {
    "binanceusdm": _BinanceUsdm,
    "binancecoinm": _BinanceCoinm,
    "bybit": _BybitVenue,
    "okx": _OkxVenue,
    "hyperliquid": _HyperliquidVenue,
}
_MARKETS: Mapping[str, list[str]] = {  # ccxt's option of which markets to load: those that are recorded
    "binanceusdm": ["linear"],
    "binancecoinm": ["inverse"],
    "bybit": ["linear", "inverse"],
    "okx": ["swap"],
    "hyperliquid": ["swap"],
}


# ---- one venue -----------------------------------------------------------------------------------------------------


class Venue:
    """One venue of ccxt.pro and the contracts that are recorded of it."""

    def __init__(self, facts: StreamFacts, symbols: Sequence[str] = (), gateway: str = "") -> None:
        self.facts = facts
        self.asked = tuple(unified(s, facts.venue) for s in symbols)
        self.contracts: dict[str, Contract] = {}  # by the venue's own name
        exchange = _VENUES[facts.exchange]({"enableRateLimit": True, "newUpdates": True})
        exchange.options["fetchMarkets"] = {"types": _MARKETS[facts.exchange]}
        exchange.has["fetchCurrencies"] = False  # nothing of it is used, and some venues want a key for it
        self._listed: float | None = None  # monotonic time of the last look
        if gateway:
            redirect(exchange.urls, gateway)
        self.exchange: Any = exchange

    @property
    def symbols(self) -> tuple[str, ...] | None:
        """The contracts that were asked for; None is all of them."""
        return self.asked or None

    @property
    def listed_s(self) -> float:
        """How long ago the list of contracts was asked for."""
        return math.inf if self._listed is None else time.monotonic() - self._listed

    async def load(self, again: bool = False) -> None:
        """What contracts there are; raises SourceError when the venue does not answer as it should.

        A contract that was asked for must be there at first; one that is delisted later only leaves the list.
        """
        if again or self._listed is None:
            self._listed = time.monotonic()
        try:
            markets = await self.exchange.load_markets(again)
            found = {m["id"]: m for m in markets.values() if self._recorded(m)}
        except FAILURES as problem:
            raise as_ours(self.facts.name, problem) from None
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as problem:
            raise SourceError(f"{self.facts.name} lists its contracts in another form: {problem!r}") from None
        if not self.contracts:
            self._insist_on_asked([m["symbol"] for m in found.values()])
        chosen = {i: m for i, m in found.items() if not self.asked or m["symbol"] in self.asked}
        if not chosen:
            raise SourceError(f"{self.facts.name} lists none of the contracts that are recorded")
        self.contracts = {
            i: Contract(m["symbol"], float(m["contractSize"] or 1.0), bool(m["inverse"])) for i, m in chosen.items()
        }

    def _insist_on_asked(self, listed: Sequence[str]) -> None:
        unknown = set(self.asked) - set(listed)
        if unknown and listed:
            name = min(unknown)
            raise NotFound(f"{self.facts.name} has no {name}; {did_you_mean(name, listed)}")

    async def keep_listed(self, every_s: float) -> None:
        """The list of contracts, looked at again when it is older than this; a look that fails leaves it as it was."""
        if not self.contracts:
            await self.load()
        elif self.listed_s > every_s:
            with contextlib.suppress(SourceError):
                await self.load(again=True)

    def _recorded(self, market: Mapping[str, Any]) -> bool:
        if not market["contract"] or market["option"] or market["active"] is False:
            return False
        return (not self.facts.market or bool(market[self.facts.market])) and (
            not self.facts.settles or market["settle"] in self.facts.settles
        )

    async def asked_of(self, answer: Awaitable[Answer]) -> Answer:
        """What the venue answers, its errors as ours."""
        try:
            return await answer
        except FAILURES as problem:
            raise as_ours(self.facts.name, problem) from None

    async def drop(self) -> None:
        """End every connection for good, so that the next attempt begins with a new one."""
        clients = self.exchange.clients or {}
        for url, client in list(clients.items()):
            client.error = client.error or ccxt.NetworkError("dropped")
            clients.pop(url, None)
            with contextlib.suppress(*FAILURES):
                await client.close()

    async def close(self) -> None:
        with contextlib.suppress(*FAILURES):
            await self.exchange.close()


def redirect(urls: Any, gateway: str) -> None:
    """Every address below `urls`, to the gateway; the host that it named becomes the first part of the path."""
    host = gateway.split("://", 1)[-1].rstrip("/")
    for key, value in urls.items():
        if isinstance(value, str):
            urls[key] = re.sub(r"^(http|ws)s://([^/:]+)(:\d+)?", rf"\1://{host}/\2", value)
        elif isinstance(value, dict):
            redirect(value, gateway)


def as_ours(name: str, problem: BaseException) -> SourceError:
    """ccxt's and the network's errors as ours."""
    if isinstance(problem, ccxt.NetworkError | OSError | asyncio.TimeoutError):
        return Unreachable(f"{name} does not answer: {error_text(problem)}")
    return SourceError(f"{name} refuses: {error_text(problem)}")
