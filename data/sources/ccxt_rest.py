"""The one REST client: ccxt's classes ask, we keep the pace, and their errors become ours here.

A `VenueClient` speaks to one entry of `data.sources.venue_table`. It may be used from many threads; each has a ccxt
object of its own, and all share one `Pace`.

1. A request waits its turn: ccxt knows its weight, the pace how much of the venue's limit is used.
2. ccxt signs, sends and decodes. What it raises becomes one of ours in `errors_of`, the most specific first:
   a ban is `Banned`, with its end; a key, a symbol or a request that the venue refuses is an error of that request;
   429, 5xx, a time-out, a broken connection or an answer that is no JSON are worth another try (`_Again`).
3. Another try comes after a pause that doubles, or as long as `Retry-After` says; meanwhile nobody asks. A venue that
   asks to wait for longer than `_PATIENCE_S` ends it.
4. A venue that never answered is `Unreachable` after two tries: there is no network.

Keys are sent by ccxt and appear nowhere else: not in messages, which are our own words and scrubbed of them, and not in
ccxt's log, which would print headers and is switched off.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import ccxt
import requests

from data import clock
from data.errors import Banned, Corrupt, NotFound, SourceError, Unreachable
from data.sources.heard import Heard, ban, plain, retry_after, told
from data.sources.manners import Manners, Pace, dig, is_loopback, lane_of, moved
from data.sources.venue_facts import VenueFacts
from data.sources.venue_keys import Keys
from data.symbols import is_unified, unified

_LONGEST_PAUSE_S = 60.0  # of our own choice
_PATIENCE_S = 600.0
_ENOUGH = 5  # requests given up in a row: the venue, not the request, is the trouble
_PLACEHOLDER = re.compile(r"^\$([a-z]+)(?:\.(\w+))?$")
_PLACE = {451: "does not serve this place", 403: "forbids what was asked"}
_ABROAD = re.compile(r"from your country|restricted (location|country|region)", re.IGNORECASE)
_Result = TypeVar("_Result")
Market = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    payload: Any
    sha256: str  # of the bytes as they came


class _Again(Exception):
    """Worth another try. `pause_s`: as long as the venue asked to wait; `silent`: nobody answered; `stop`: when it
    stays so, the next request will fare no better."""

    def __init__(self, reason: str, pause_s: float = 0.0, silent: bool = False, stop: bool = False) -> None:
        super().__init__(reason)
        self.pause_s, self.silent, self.stop = pause_s, silent, stop or silent


class VenueClient:
    """One venue's REST interface."""

    def __init__(
        self,
        facts: VenueFacts,
        manners: Manners | None = None,
        keys: Keys | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.facts, self.manners, self.keys = facts, manners or Manners(), keys
        self.pace = pace or Pace()
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._markets: dict[str, Market] = {}
        self._answered = False
        self._refused = 0  # requests given up in a row
        self._gone: Unreachable | None = None
        self._clock_ahead = 0.0  # seconds, of the venue's clock to ours

    # ---- asking ----------------------------------------------------------------------------------

    def ask(self, method: str, params: Mapping[str, Any], pause_s: float = 0.0, queue: str = "") -> Answer:
        """One request, tried again as often as is worth it; `pause_s` to the next one in the same queue."""

        def once() -> Answer:
            if pause_s:
                self.pace.wait(pause_s / self.manners.rate, queue or lane_of(method))
            payload = getattr(self._ccxt, method)(dict(params))
            if not isinstance(payload, dict | list):
                raise _Again("the answer is no JSON")
            return Answer(payload, self._heard.sha256)

        return self._patiently(method, once)

    def markets(self) -> dict[str, Market]:
        """Contracts by unified name: the perpetuals that this interface trades."""
        if not self._markets:
            loaded = self._patiently("the list of contracts", lambda: self._ccxt.load_markets(True))
            swaps = [m for m in loaded.values() if m.get("swap") and not m.get("option")]
            kinds = self.facts.contracts
            ours = [m for m in swaps if ("inverse" if m["inverse"] else "linear") in kinds]
            self._markets = {self._name(m): m for m in ours}
        return self._markets

    def _name(self, market: Market) -> str:
        """The name under which every importer stores a contract, which is not always ccxt's: kPEPE, not KPEPE."""
        name = unified(str(market[self.facts.id_field]), self.facts.stored_as)
        return name if is_unified(name) else str(market["symbol"])

    def now(self) -> int:
        """The venue's clock, nanoseconds: its own endpoint, or the date of its last answer."""
        if self.facts.time is not None:
            method, path = self.facts.time
            return int(dig(self.ask(method, {}).payload, path, method)) * clock.MS
        if not self._markets:
            self.markets()
        return int((time.time() + self._clock_ahead) * clock.SECOND)

    def params(self, template: Mapping[str, Any], market: Market, values: Mapping[str, Any]) -> dict[str, Any]:
        """A request's parameters with the placeholders filled in."""
        return {name: self._filled(value, market, values) for name, value in template.items()}

    def _filled(self, value: Any, market: Market, values: Mapping[str, Any]) -> Any:
        if isinstance(value, Mapping):
            return self.params(value, market, values)
        match = _PLACEHOLDER.match(value) if isinstance(value, str) else None
        if match is None:
            return value
        if match[1] == "info":
            return market["info"][match[2]]
        if match[1] == "id":
            return market[self.facts.id_field]
        if match[1] == "contract":
            return "inverse" if market["inverse"] else "linear"
        return values[match[1]]

    # ---- patience --------------------------------------------------------------------------------

    def _patiently(self, what: str, once: Callable[[], _Result]) -> _Result:
        for attempt in range(1, self.manners.attempts + 1):
            if self._gone is not None:  # another thread has found out
                raise self._gone
            try:
                with errors_of(self.facts, what, self._heard, self.keys):
                    result = once()
            except _Again as trouble:
                hopeless = trouble.silent and not self._answered and attempt >= 2
                if attempt == self.manners.attempts or hopeless:
                    raise self._give_up(what, trouble, attempt) from None
                if trouble.pause_s > _PATIENCE_S:
                    self._gone = Unreachable(f"{self.facts.name} asks to wait for {trouble.pause_s:,.0f} s: {trouble}")
                    raise self._gone from None
                pause = max(trouble.pause_s, min(_LONGEST_PAUSE_S, self.manners.pause_s * 2 ** (attempt - 1)))
                if trouble.pause_s:
                    self.pace.hold(pause)
                time.sleep(pause)
            except Banned as ban:
                self._gone = ban
                raise
            else:
                self._answered, self._refused = True, 0
                return result
        raise AssertionError("attempts is at least 1")

    def _give_up(self, what: str, trouble: _Again, attempts: int) -> SourceError:
        if trouble.silent and not self._answered:
            self._gone = Unreachable(
                f"{self.facts.name} cannot be reached at {self._host()}: {trouble}. Check the network"
            )
            return self._gone
        self._refused += 1
        if trouble.stop or self._refused >= _ENOUGH:
            self._gone = Unreachable(f"{self.facts.name} gives no {what} after {attempts} tries: {trouble}")
            return self._gone
        return Corrupt(f"{self.facts.name}, {what}: {trouble}, {attempts} times. Try later")

    def _host(self) -> str:
        if self.manners.url:
            return urlsplit(self.manners.url).netloc
        urls = self._ccxt.urls["api"]
        return urlsplit(
            str(urls.get(lane_of(self.facts.feeds[0].method)) or next(iter(urls.values()))).format(
                hostname=self._ccxt.hostname
            )
        ).netloc

    # ---- ccxt ------------------------------------------------------------------------------------

    @property
    def _heard(self) -> Heard:
        if not hasattr(self._mine, "heard"):
            self._mine.heard = Heard()
        heard: Heard = self._mine.heard
        return heard

    @property
    def _ccxt(self) -> Any:
        if not hasattr(self._mine, "exchange"):
            self._mine.exchange = self._make()
        return self._mine.exchange

    def _make(self) -> Any:
        manners = self.manners
        config: dict[str, Any] = {
            "timeout": int(manners.timeout_s * 1000),
            "enableRateLimit": True,
            "requests_trust_env": not is_loopback(manners.url),
            "options": {"warnOnFetchOpenOrdersWithoutSymbol": False, **self.facts.options},
        }
        if self.keys is not None:
            config |= {"apiKey": self.keys.key, "secret": self.keys.secret}
        exchange = getattr(ccxt, self.facts.ccxt)(config)
        exchange.logger = _SILENT
        exchange.has["fetchCurrencies"] = False  # contracts are all we want; coins would be asked for with the key
        exchange.session.hooks["response"].append(self._hear)
        exchange.throttle = self._throttle(exchange)
        exchange.parse_json = self._parse(exchange.parse_json)
        if manners.url:
            exchange.urls = {**exchange.urls, "api": moved(exchange.urls["api"], manners.url.rstrip("/"))}
        return exchange

    def _throttle(self, exchange: Any) -> Callable[..., None]:
        def throttle(cost: float | None = None) -> None:
            seconds = exchange.rateLimit / 1000 * (1.0 if cost is None else cost)
            self.pace.wait(seconds / self.manners.rate, self.facts.name)

        return throttle

    def _parse(self, parse: Callable[[str], Any]) -> Callable[[str], Any]:
        """ccxt takes an answer that is no JSON for an empty one; here it is trouble, error pages aside."""

        def strictly(text: str) -> Any:
            found = parse(text)
            if found is None and self._heard.status == 200:
                raise ccxt.BadResponse("the answer is no JSON")
            return found

        return strictly

    def _hear(self, response: requests.Response, *_: Any, **__: Any) -> None:
        heard = self._heard
        heard.status, heard.headers = response.status_code, response.headers
        heard.sha256 = hashlib.sha256(response.content).hexdigest()
        if date := response.headers.get("Date"):
            with suppress(ValueError, TypeError):
                self._clock_ahead = parsedate_to_datetime(date).timestamp() - time.time()


_SILENT = logging.Logger("unwind.ccxt", logging.CRITICAL + 1)


@contextmanager
def errors_of(facts: VenueFacts, what: str, heard: Heard, keys: Keys | None = None) -> Iterator[None]:
    """ccxt's errors, and those of requests below it, as ours: the most specific wins."""
    heard.status, heard.headers, heard.sha256 = 0, {}, ""
    name = facts.name
    try:
        yield
    except (ccxt.BaseError, requests.RequestException, OSError) as error:
        words = told(error, keys)
        if heard.status in _PLACE and _ABROAD.search(str(error)):
            raise SourceError(f"{name} {_PLACE[451]} ({heard.status})") from None
        if heard.status in facts.bans:
            raise ban(facts, heard, words) from None
        if heard.status in _PLACE:
            raise SourceError(f"{name} {_PLACE[heard.status]} ({heard.status}): {words}") from None
        if heard.status >= 500:
            raise _Again(f"the venue is in trouble ({heard.status})", retry_after(heard)) from None
        if heard.status == 429 or isinstance(error, ccxt.RateLimitExceeded | ccxt.DDoSProtection):
            raise _Again("it asks to slow down", retry_after(heard), stop=True) from None
        if isinstance(error, ccxt.RequestTimeout | requests.Timeout | TimeoutError):
            raise _Again("no answer in time", silent=True) from None
        if heard.sha256 and heard.status < 400 and isinstance(error, ccxt.NetworkError):
            raise _Again(words) from None  # the venue's own words, such as that it is busy
        if heard.status < 400 and isinstance(error, ccxt.NetworkError | requests.RequestException | OSError):
            raise _Again(plain(error), silent=True) from None
        if isinstance(error, ccxt.AuthenticationError):
            raise SourceError(f"{name} refuses the API key for {what}: {words}") from None
        if isinstance(error, ccxt.BadSymbol):
            raise NotFound(f"{name} does not know the contract of this request for {what}: {words}") from None
        passing = bool(facts.busy and re.search(facts.busy, str(error)))
        if passing or isinstance(error, ccxt.OnMaintenance | ccxt.NullResponse | ccxt.BadResponse):
            raise _Again(words) from None
        raise SourceError(f"{name} refuses {what}: {words}") from None
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        if heard.status == 0:
            raise
        # ccxt reads its own answers, such as the list of contracts: one that is cut short trips it
        raise _Again(f"the answer has not the documented form ({type(error).__name__})") from None
