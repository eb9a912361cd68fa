"""What holds now: the terms of contracts and their maintenance brackets. Venues tell neither for the past.

Both are stored from the moment they are seen, and only when they differ from what was seen last: a fetch each day
leaves a row for each change, so that a backtest looks up what held at its own time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from data import clock
from data.errors import BadInput
from data.fetching.asked import Market, delisted
from data.fetching.missing import SOURCE
from data.rows import Batch, Origin, Rows
from data.sources.ccxt_rest import VenueClient
from data.sources.manners import dig
from data.sources.tiers import Bracket, check_brackets, frame_of, with_cum
from data.sources.venue_facts import VenueFacts

if TYPE_CHECKING:
    import polars as pl

    from data.store import Store

_TERMS = (
    "venue_symbol",
    "base",
    "quote",
    "settle",
    "contract",
    "contract_size",
    "tick_size",
    "lot_size",
    "min_notional",
    "listed",
    "delisted",
)
_REALS = ("contract_size", "tick_size", "lot_size", "min_notional")
_BRACKET = ("tier", "floor", "cap", "mmr", "max_leverage", "cum")


def instruments(store: Store, facts: VenueFacts, markets: Mapping[str, Market], now: int) -> Batch | None:
    """Terms that differ from the stored ones; None when there are none."""
    import polars as pl

    stored = {r["symbol"]: r for r in _last(store, "instruments", facts, markets)}
    lines = []
    for symbol, market in markets.items():
        terms = _terms(facts, market)
        before = stored.get(symbol)
        if before is None or any(before[n] != terms[n] for n in _TERMS if terms[n] is not None):
            lines.append({"symbol": symbol, **terms})
    if not lines:
        return None
    when = clock.naive(now // clock.SECOND * clock.SECOND)
    schema: dict[str, Any] = {"symbol": pl.String} | {n: pl.Float64 if n in _REALS else pl.String for n in _TERMS}
    schema |= dict.fromkeys(("listed", "delisted"), pl.Datetime("us"))
    frame = pl.DataFrame(lines, schema=schema)
    frame = frame.with_columns(valid_from=pl.lit(when, pl.Datetime("us")))
    return _batch("instruments", frame, facts, "the list of contracts", now, [line["symbol"] for line in lines])


def _terms(facts: VenueFacts, market: Market) -> dict[str, Any]:
    inverse = bool(market["inverse"])
    size = facts.contract_size if inverse and facts.contract_size else market["contractSize"]
    step = market["precision"]["amount"]
    gone = delisted(market, facts)
    return {
        "venue_symbol": str(market["id"]) if facts.id_field == "id" else str(market[facts.id_field]),
        "base": market["base"],
        "quote": market["quote"],
        "settle": market["settle"],
        "contract": "inverse" if inverse else "linear",
        "contract_size": _real(size),
        "tick_size": None if facts.tick_drifts else _real(market["precision"]["price"]),
        "lot_size": None if step is None else _real(step) if inverse else _product(step, market["contractSize"]),
        "min_notional": _real(market["limits"]["cost"]["min"]),
        "listed": clock.naive(int(market["created"]) * clock.MS) if market.get("created") else None,
        "delisted": clock.naive(gone) if gone else None,
    }


def _real(value: Any) -> float | None:
    return None if value is None else float(value)


def _product(step: Any, size: Any) -> float:
    """Steps of contracts in base units, without the dust of binary fractions."""
    return float(f"{float(step) * float(size or 1.0):.12g}")


def tiers(store: Store, facts: VenueFacts, client: VenueClient, markets: Mapping[str, Market], now: int) -> list[Batch]:
    """Brackets that differ from the stored ones."""
    feed = facts.tiers
    if feed is None:
        return []
    if feed.needs_key and client.keys is None:
        raise BadInput(needs_key(facts))
    found: dict[str, Sequence[Bracket]] = {}
    if feed.for_all:
        any_market = next(iter(markets.values()))
        answer = client.ask(feed.method, client.params(feed.params, any_market, {}))
        told = feed.read(answer.payload, any_market)
        found = {s: told[name] for s, m in markets.items() if (name := str(m[facts.id_field])) in told}
    else:
        for symbol, market in markets.items():
            found[symbol] = _asked(facts, client, market)
    stored: dict[str, list[tuple[Any, ...]]] = {}
    for row in _last(store, "tiers", facts, markets):
        stored.setdefault(row["symbol"], []).append(tuple(row[n] for n in _BRACKET))
    changed = {s: b for s, b in found.items() if _rows(s, b) != sorted(stored.get(s, []))}
    if not changed:
        return []
    since = now // clock.SECOND * clock.SECOND
    frame = frame_of(changed, facts.stored_as, since, facts.name).drop("venue")
    return [_batch("tiers", frame, facts, feed.method, now, list(changed))]


def requests_for(facts: VenueFacts, market: Market) -> int:
    """How many requests the brackets of one contract take, where each is asked for alone."""
    feed = facts.tiers
    return 0 if feed is None else 1 + (feed.price is not None and not market["inverse"])


def needs_key(facts: VenueFacts) -> str:
    return (
        f"{facts.name} tells its maintenance brackets only to those with an API key: set {facts.keys}_API_KEY and "
        f"{facts.keys}_API_SECRET (one that may only read), or import a file with `unwind import tiers`"
    )


def _asked(facts: VenueFacts, client: VenueClient, market: Market) -> Sequence[Bracket]:
    feed = facts.tiers
    assert feed is not None
    full = dict(market)
    if feed.price is not None and not market["inverse"]:
        method, params, path = feed.price
        full["price"] = float(dig(client.ask(method, client.params(params, market, {})).payload, path, method))
    answer = client.ask(feed.method, client.params(feed.params, market, {}))
    return feed.read(answer.payload, full)[str(market[facts.id_field])]


def _rows(symbol: str, brackets: Sequence[Bracket]) -> list[tuple[Any, ...]]:
    ordered = with_cum(brackets)
    check_brackets(symbol, ordered, "the venue's answer")
    return sorted((b.tier, b.floor, b.cap, b.mmr, b.max_leverage, b.cum) for b in ordered)


def _last(store: Store, table: str, facts: VenueFacts, markets: Mapping[str, Market]) -> list[dict[str, Any]]:
    """What was seen last of each contract."""
    last = f"SELECT symbol, max((valid_from, known_at)) AS v FROM {table} WHERE venue = ? GROUP BY symbol"
    query = (
        f"SELECT t.* FROM {table} t JOIN ({last}) l ON t.symbol = l.symbol AND (t.valid_from, t.known_at) = l.v "
        "WHERE t.venue = ? AND list_contains(?, t.symbol)"
    )
    found: list[dict[str, Any]] = store.query(query, [facts.stored_as, facts.stored_as, list(markets)]).to_pylist()
    return found


def _batch(table: str, frame: pl.DataFrame, facts: VenueFacts, what: str, now: int, symbols: Sequence[str]) -> Batch:
    when = clock.iso(now // clock.SECOND * clock.SECOND)
    origin = Origin(
        SOURCE,
        f"{facts.name} {what} at {when}",
        rows=len(frame),
        symbols=tuple(symbols),
        tables=(table,),
        venue=facts.stored_as,
    )
    return Batch((Rows(table, frame, {"venue": facts.stored_as}),), (origin,))
