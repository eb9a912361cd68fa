"""What the user asks for, made exact before anything is fetched.

1. Symbols become contracts of one of the venue's interfaces; one that is not there is an error with the nearest names.
2. The things asked for become feeds, each with the interval that the venue has: snapshots of open interest and ratios
   come at the widest spacing that is no wider than the bars, or at the narrowest there is.
3. Times become whole intervals, none later than the last one that is over, none earlier than the venue reaches back to
   or the contract can have. What is cut off by the venue's reach is said, with the place that older history comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data import clock
from data.errors import BadInput, NotFound, did_you_mean
from data.sources.venue_facts import NOW_ONLY, PRICE_OF, SNAPSHOTS, Feed, VenueFacts, What
from data.symbols import unified

Market = Mapping[str, Any]
SETTLED_S = 10  # a bar that ended less than this ago may still change
STILL_THERE = 10 * clock.MINUTE  # what the venue is about to forget may be gone when its turn comes
BEFORE_LISTING = 30 * clock.DAY  # venues name listing days that are later than their first bars


@dataclass(frozen=True)
class Wish:
    """What to fetch of one venue; times in nanoseconds, [since, until)."""

    symbols: tuple[str, ...]
    things: tuple[What, ...]
    since: int
    until: int | None = None
    interval: int = clock.MINUTE

    def __post_init__(self) -> None:
        if not self.symbols:
            raise BadInput("which symbols? Pass --symbols, such as --symbols BTC/USDT:USDT,ETH/USDT:USDT")
        if self.until is not None and self.until <= self.since:
            raise BadInput(f"--until {clock.iso(self.until)} does not come after --since {clock.iso(self.since)}")


@dataclass(frozen=True, eq=False)
class Series:
    """One feed of one contract, and the time to have it for."""

    facts: VenueFacts
    feed: Feed
    symbol: str
    market: Market
    interval: int  # ns; of settlements 0
    start: int
    stop: int

    @property
    def inverse(self) -> bool:
        return bool(self.market["inverse"])

    @property
    def size(self) -> float:
        return self.facts.contract_size or float(self.market["contractSize"] or 1.0)

    @property
    def interval_s(self) -> int:
        return self.interval // clock.SECOND

    @property
    def price(self) -> str:
        return PRICE_OF.get(self.feed.what, "")

    @property
    def label(self) -> str:
        spacing = f" {clock.label(self.interval)}" if self.interval else ""
        return f"{self.feed.key}{spacing} of {self.symbol}"


@dataclass(frozen=True)
class Exact:
    """A wish made exact: the series, and what the venue cannot give of it."""

    series: tuple[Series, ...]
    notes: tuple[str, ...]


def things_of(text: str) -> tuple[What, ...]:
    """`candles,mark` as what can be asked for."""
    words = [w.strip().lower().replace("_", "-") for w in text.split(",") if w.strip()]
    if not words:
        raise BadInput(f"what? Pass --what, of {', '.join(What)}")
    for word in words:
        if word not in list(What):
            raise BadInput(f"--what {word}: {did_you_mean(word, list(What))}")
    return tuple(What(w) for w in dict.fromkeys(words))


def find(
    symbols: Sequence[str], parts: Sequence[tuple[VenueFacts, Mapping[str, Market]]]
) -> dict[str, tuple[VenueFacts, Market]]:
    """The contract and the interface behind each name that the user typed."""
    venue = parts[0][0].stored_as
    by_name: dict[str, tuple[VenueFacts, Market]] = {}
    for facts, markets in parts:
        for symbol, market in markets.items():
            by_name[symbol] = (facts, market)
    by_id = {str(m[key]): s for s, (_, m) in by_name.items() for key in ("symbol", "id") if key in m}
    found = {}
    for name in symbols:
        symbol = name if name in by_name else by_id.get(name, unified(name, venue))
        if symbol not in by_name:
            hint, asked = did_you_mean(symbol, by_name), parts[0][0].name
            raise NotFound(f"{asked} does not trade {name} now: {hint} (what is delisted is in the archives only)")
        found[symbol] = by_name[symbol]
    return found


def feeds_of(facts: VenueFacts, things: Sequence[What]) -> tuple[list[Feed], list[str]]:
    """The feeds for what is asked, and what the venue does not have."""
    feeds: list[Feed] = []
    notes: list[str] = []
    for what in things:
        if what in NOW_ONLY:
            continue
        if not (of := facts.of(what)):
            notes.append(f"{facts.name} has no {what}: {facts.lacks.get(what, 'it does not serve it')}")
        feeds += of
    return feeds, notes


def interval_of(feed: Feed, wanted: int, venue: str) -> int:
    """The spacing at which a feed is fetched, in nanoseconds; 0 for settlements."""
    if not feed.is_grid:
        return 0
    there = sorted(clock.duration(name) for name in feed.intervals)
    if feed.what in SNAPSHOTS:
        return max([i for i in there if i <= wanted], default=there[0])
    if wanted not in there:
        names = ", ".join(clock.label(i) for i in there)
        raise BadInput(f"{venue} has no {feed.what} of {clock.label(wanted)}; there is {names}")
    return wanted


def exact(wish: Wish, found: Mapping[str, tuple[VenueFacts, Market]], now: Mapping[str, int]) -> Exact:
    """Series with their times; `now` is each interface's clock."""
    series: list[Series] = []
    notes: dict[str, None] = {}
    for facts in dict.fromkeys(f for f, _ in found.values()):
        feeds, lacking = feeds_of(facts, wish.things)
        notes.update(dict.fromkeys(lacking))
        symbols = {s: m for s, (f, m) in found.items() if f is facts}
        for feed in feeds:
            interval = interval_of(feed, wish.interval, facts.name)
            notes.update(dict.fromkeys(_of_no_contract(facts, feed, symbols)))
            reach = _reach(feed, interval, now[facts.name])
            if reach is not None and wish.since < reach:
                notes[_too_old(facts, feed, reach, wish, list(symbols))] = None
            for symbol, market in symbols.items():
                if _kind(market) not in feed.contracts:
                    continue
                start, stop = _times(wish, feed, interval, reach, market, facts, now[facts.name])
                if start < stop:
                    series.append(Series(facts, feed, symbol, market, interval, start, stop))
    return Exact(tuple(series), tuple(notes))


def _kind(market: Market) -> str:
    return "inverse" if market["inverse"] else "linear"


def _of_no_contract(facts: VenueFacts, feed: Feed, symbols: Mapping[str, Market]) -> list[str]:
    names = [s for s, m in symbols.items() if _kind(m) not in feed.contracts]
    kinds = " or ".join(feed.contracts)
    return [f"{facts.name} has {feed.what} of {kinds} contracts only, not of {', '.join(names)}"] if names else []


def _reach(feed: Feed, interval: int, now: int) -> int | None:
    """The earliest time that the venue serves."""
    limits = [clock.moment(feed.since)] if feed.since else []
    if feed.reach_s is not None:
        limits.append(now - feed.reach_s * clock.SECOND + STILL_THERE)
    if feed.reach_rows is not None:
        limits.append(now - feed.reach_rows * interval)
    return max(limits) if limits else None


def _times(
    wish: Wish, feed: Feed, interval: int, reach: int | None, market: Market, facts: VenueFacts, now: int
) -> tuple[int, int]:
    over = clock.floor(now, clock.SECOND) - SETTLED_S * clock.SECOND
    start, stop = max(wish.since, reach or 0), min(wish.until or over, over)
    if market.get("created"):
        start = max(start, int(market["created"]) * clock.MS - BEFORE_LISTING)
    if gone := delisted(market, facts):
        stop = min(stop, gone)
    if not interval:
        return start, stop
    return clock.ceil(start, interval), clock.floor(stop, interval)


def delisted(market: Market, facts: VenueFacts) -> int | None:
    """When a contract stops trading, where the venue says so; perpetuals carry zero or the year 2100."""
    raw = str(market["info"].get(facts.delisting) or "")
    when = int(raw) * clock.MS if raw.isdigit() else 0
    return when if 0 < when < clock.moment("2090-01-01") else None


def _too_old(facts: VenueFacts, feed: Feed, reach: int, wish: Wish, symbols: Sequence[str]) -> str:
    names = ",".join(symbols[:3]) + ("..." if len(symbols) > 3 else "")
    when = f"{clock.naive(wish.since):%Y-%m-%d}"
    place = feed.elsewhere.format(names, when) if feed.elsewhere else ""
    from_where = f"; for what is older: {place}" if place else ""
    return f"{facts.name} serves {feed.what} from {clock.iso(reach // clock.SECOND * clock.SECOND)} on{from_where}"
