"""One venue, ready to be fetched from: its truth, the command, and the comparison of the store with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal
from venue_server import expected
from venue_server.truth import HOUR, Contract, Truth

from data import clock
from data.fetching.asked import Wish
from data.fetching.job import Done, plan, run
from data.schema import TABLES
from data.sources.ccxt_rest import VenueClient
from data.sources.manners import Manners
from data.sources.venue_facts import PRICE_OF, What
from data.sources.venue_keys import Keys
from data.sources.venue_table import facts
from data.store import Store

NOW = 1_790_000_000_000  # 2026-09-21 14:13:20
USDT = (Contract("BTC"), Contract("ETH"))
CONTRACTS: dict[str, tuple[Contract, ...]] = {
    "binance": USDT,
    "binance-coinm": (Contract("BTC", "USD", "BTC", "100"), Contract("ETH", "USD", "ETH", "10")),
    "bybit": (Contract("BTC"), Contract("BTC", "USD", "BTC")),
    "okx": (Contract("BTC", size="0.01"), Contract("BTC", "USD", "BTC", "100")),
    "hyperliquid": (
        Contract("BTC", "USDC", "USDC"),
        Contract("ETH", "USDC", "USDC"),
    ),
}
QUICK = Manners(rate=10_000.0, timeout_s=2.0, attempts=4, pause_s=0.01)


def truth_of(venue: str, **changes: Any) -> Truth:
    return replace(Truth(NOW, CONTRACTS[venue]), **changes)


def client_of(venue: str, url: str, manners: Manners = QUICK, keys: Keys | None = None) -> VenueClient:
    return VenueClient(facts(venue), replace(manners, url=url), keys)


def wish(
    venue: str, things: Sequence[What], since: int, until: int | None = None, interval: str = "5m", symbols: int = 2
) -> Wish:
    names = tuple(c.symbol for c in CONTRACTS[venue])[:symbols]
    stop = None if until is None else until * clock.MS
    return Wish(names, tuple(things), since * clock.MS, stop, clock.duration(interval))


def fetch(store: Store | Path, asked: Wish, client: VenueClient, **options: Any) -> Done:
    store = store if isinstance(store, Store) else Store(store)
    return run(store, plan(store, asked, [client], options.pop("again", False)), **options)


def table(store: Store, name: str, where: str = "TRUE") -> pl.DataFrame:
    found = pl.DataFrame(pl.from_arrow(store.query(f"SELECT * FROM {name} WHERE {where}")))
    return found.sort(TABLES[name].key)


def wanted(truth: Truth, venue: str, asked: Wish, what: What, interval: str) -> pl.DataFrame:
    """All rows of one thing that was asked for."""
    since = asked.since // clock.MS
    until = (asked.until or truth.now * clock.MS) // clock.MS
    chosen = tuple(c for c in truth.contracts if c.symbol in asked.symbols)
    if what is What.INSTRUMENTS:
        return expected.instruments(truth, venue, chosen)
    parts: list[pl.DataFrame] = []
    for c in chosen:
        if (venue, what, c.inverse) == ("bybit", What.PREMIUM, True):
            continue  # its page: USDT and USDC perpetual
        if what in PRICE_OF:
            parts.append(expected.candles(truth, venue, c, PRICE_OF[what], interval, since, until))
        elif what is What.FUNDING:
            parts.append(expected.funding(truth, venue, c, since, until))
        elif what is What.OPEN_INTEREST:
            parts.append(expected.open_interest(truth, venue, c, interval, since, until))
        elif what is What.RATIOS:
            kinds = expected.ratio_kinds(venue)
            parts += [expected.ratios(truth, venue, c, kind, interval, since, until) for kind in kinds]
        elif what is What.TIERS:
            parts.append(expected.tiers(truth, venue, c))
    out = pl.concat(parts)
    return out.sort(TABLES[_table(what)].key)


def _table(what: What) -> str:
    return {
        What.FUNDING: "funding",
        What.OPEN_INTEREST: "open_interest",
        What.RATIOS: "ratios",
        What.TIERS: "tiers",
        What.INSTRUMENTS: "instruments",
    }.get(what, "candles")


def same(store: Store, truth: Truth, venue: str, asked: Wish, what: What, interval: str = "5m") -> int:
    """Fail unless the store holds of this just what the truth holds; how many rows that is."""
    where = f"price = '{PRICE_OF[what]}'" if what in PRICE_OF else "TRUE"
    found = table(store, _table(what), where)
    right = wanted(truth, venue, asked, what, interval)
    assert_frame_equal(found, right, check_exact=True)
    return len(right)


def hours_before_now(hours: float) -> int:
    return int(NOW - hours * HOUR)
