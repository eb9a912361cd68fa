"""The venues that `unwind fetch` knows: one entry each, as `data.sources.venue_facts` describes it.

Limits drift. Each feed names the venue's page that says them; what no page says is taken against the hurry: the smaller
page, the shorter reach, the longer pause. How soon a snapshot is known is an assumption, as for the archives: one
interval, as its stamp may be the start of what it measures, and a minute for publishing.
"""

from __future__ import annotations

from data import clock
from data.errors import NotFound, did_you_mean
from data.sources.venue_binance import BINANCE, BINANCE_COINM
from data.sources.venue_bybit import BYBIT
from data.sources.venue_facts import Feed, VenueFacts, What
from data.sources.venue_hyperliquid import HYPERLIQUID
from data.sources.venue_okx import OKX

TABLE: tuple[VenueFacts, ...] = (BINANCE, BINANCE_COINM, BYBIT, OKX, HYPERLIQUID)


def facts(name: str) -> VenueFacts:
    for v in TABLE:
        if v.name == name.strip().lower():
            return v
    raise NotFound(f"venue {name!r} cannot be fetched from: {did_you_mean(name, [v.name for v in TABLE])}")


def parts(name: str) -> tuple[VenueFacts, ...]:
    """The interfaces behind a venue's name: `binance` means USD-M and COIN-M, whichever a symbol belongs to."""
    known = facts(name)
    return (known, *(v for v in TABLE if v.stored_as == known.name and v is not known))


# ---- as a page -----------------------------------------------------------------------------------


def markdown() -> str:
    """What each venue serves and how far back; docs/fetching.md holds it, and a test keeps the two the same."""
    lines = ["| what | " + " | ".join(v.name for v in TABLE) + " |", "|---" * (len(TABLE) + 1) + "|"]
    lines += [f"| {what} | " + " | ".join(_served(v, what) for v in TABLE) + " |" for what in What]
    return "\n".join(lines) + "\n"


def _served(v: VenueFacts, what: What) -> str:
    if what is What.INSTRUMENTS:
        return "now"
    if what is What.TIERS:
        return "-" if v.tiers is None else "now, with a key" if v.tiers.needs_key else "now"
    feeds = v.of(what)
    if not feeds:
        return "-"
    kinds = f"{len(feeds)} kinds, " if len(feeds) > 1 else ""
    only = [] if set(v.contracts) <= set(feeds[0].contracts) else [f"{' and '.join(feeds[0].contracts)} only"]
    return ", ".join([f"{kinds}{_reach(feeds[0])}", f"{feeds[0].page:,} a request", *only])


def _reach(feed: Feed) -> str:
    if feed.reach_s is not None:
        return f"last {feed.reach_s * clock.SECOND // clock.DAY} days"
    if feed.reach_rows is not None:
        return f"last {feed.reach_rows:,} rows"
    return f"since {feed.since}" if feed.since else "since listing"
