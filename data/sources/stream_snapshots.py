"""Snapshots by REST: marks with the forecast of funding, open interest, and depth in bands around the mid.

One function a venue and kind, over ccxt's own methods for the venue's endpoints, so that addresses, rate limits and
errors stay ccxt's. Each gives rows of the schema without venue, spacing and time of receipt, which the caller adds.

* Marks and open interest come for all contracts in one or two requests, but for Binance's open interest (one each).
* Open interest is one side: Bybit's `openInterest` sums both, so its single side, or half of the sum, is taken.
* A band of depth is stored only where the levels that came reach beyond it: what is not seen is not zero.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from data import clock
from data.errors import SourceError, Unreachable
from data.sources.stream_events import Contract, is_time

if TYPE_CHECKING:
    from data.sources.ccxt_stream import Venue

BANDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # percent from the mid, each side
MAJORS = ("BTC", "ETH")  # whose depth is recorded when no symbols are named
_AT_ONCE = 8  # requests on their way, of those that are one a contract
_RATE_LIMIT = 0.2  # what the schema takes for a rate; beyond is no rate
_US_IN_MS = 1_000
_ON_THE_EDGE = 1e-9  # a level at the very distance counts, however the arithmetic rounds


class Mark(NamedTuple):
    symbol: str
    ts_us: int
    mark: float | None
    index_price: float | None
    funding_rate: float | None
    funding_at_us: int | None


class Interest(NamedTuple):
    symbol: str
    ts_us: int
    quantity: float
    value: float | None


class Band(NamedTuple):
    symbol: str
    ts_us: int
    percent: float
    quantity: float
    notional: float


Answer = tuple[list[Any], Any]  # rows, and what the venue said


def number(x: Any) -> float | None:
    """A number that can be stored, or nothing."""
    try:
        value = float(x)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _positive(x: Any) -> float | None:
    value = number(x)
    return value if value is not None and value >= 0.0 else None


def _rate(x: Any) -> float | None:
    value = number(x)
    return value if value is not None and abs(value) <= _RATE_LIMIT else None


def _us(ms: Any, otherwise_us: int) -> int:
    """Microseconds of a stamp in milliseconds; of now where the venue gives none."""
    value = number(ms)
    return int(value) * _US_IN_MS if value is not None and is_time(value) else otherwise_us


def _us_or_none(ms: Any) -> int | None:
    return _us(ms, 0) or None


# ---- Binance ---------------------------------------------------------------------------------------------------------


async def _binance_marks(venue: Venue, now_us: int) -> Answer:
    x = venue.exchange
    said = await (x.dapiPublicGetPremiumIndex() if venue.facts.market == "inverse" else x.fapiPublicGetPremiumIndex())
    rows = [
        Mark(
            contract.symbol,
            _us(e.get("time"), now_us),
            _positive(e.get("markPrice")),
            _positive(e.get("indexPrice")),
            _rate(e.get("lastFundingRate")),
            _us_or_none(e.get("nextFundingTime")),
        )
        for e, contract in _ours(venue, said, "symbol")
    ]
    return rows, said


async def _binance_interest(venue: Venue, now_us: int) -> Answer:
    x = venue.exchange
    ask = x.dapiPublicGetOpenInterest if venue.facts.market == "inverse" else x.fapiPublicGetOpenInterest
    found = await _each(venue, venue.contracts, lambda market_id: ask({"symbol": market_id}))
    said = list(found.values())
    rows = []
    for e, contract in _ours(venue, said, "symbol"):
        if (contracts := _positive(e.get("openInterest"))) is not None:
            rows.append(_interest(contract, _us(e.get("time"), now_us), contracts))
    return rows, said


def _interest(contract: Contract, ts_us: int, contracts: float, value: float | None = None) -> Interest:
    if contract.inverse:
        return Interest(contract.symbol, ts_us, contracts, contracts * contract.size)
    return Interest(contract.symbol, ts_us, contracts * contract.size, value)


# ---- Bybit -----------------------------------------------------------------------------------------------------------


async def _bybit_tickers(venue: Venue) -> Any:
    return await venue.exchange.publicGetV5MarketTickers({"category": venue.facts.market})


async def _bybit_marks(venue: Venue, now_us: int) -> Answer:
    said = await _bybit_tickers(venue)
    ts = _us(said.get("time"), now_us)
    rows = [
        Mark(
            contract.symbol,
            ts,
            _positive(e.get("markPrice")),
            _positive(e.get("indexPrice")),
            _rate(e.get("fundingRate")),
            _us_or_none(e.get("nextFundingTime")),
        )
        for e, contract in _ours(venue, said["result"]["list"], "symbol")
    ]
    return rows, said


async def _bybit_interest(venue: Venue, now_us: int) -> Answer:
    said = await _bybit_tickers(venue)
    ts = _us(said.get("time"), now_us)
    rows = []
    for e, contract in _ours(venue, said["result"]["list"], "symbol"):
        single, both = _positive(e.get("singleOpenInterest")), _positive(e.get("openInterest"))
        value = _positive(e.get("openInterestValue"))
        quantity = single if single is not None else both / 2 if both is not None else None
        if quantity is not None:
            rows.append(_interest(contract, ts, quantity, None if value is None else value / 2))
    return rows, said


# ---- OKX -------------------------------------------------------------------------------------------------------------


async def _okx_marks(venue: Venue, now_us: int) -> Answer:
    x = venue.exchange
    marks = await x.publicGetPublicMarkPrice({"instType": "SWAP"})
    rates = await x.publicGetPublicFundingRate({"instId": "ANY"})
    quotes = sorted({name.split("-")[1] for name in venue.contracts if name.count("-") >= 2})
    indices = [await x.publicGetMarketIndexTickers({"quoteCcy": q}) for q in quotes]
    funding = {e["instId"]: e for e in rates["data"]}
    index = {e["instId"]: e.get("idxPx") for answer in indices for e in answer["data"]}
    rows = []
    for e, contract in _ours(venue, marks["data"], "instId"):
        rate = funding.get(e["instId"], {})
        rows.append(
            Mark(
                contract.symbol,
                _us(e.get("ts"), now_us),
                _positive(e.get("markPx")),
                _positive(index.get(e["instId"].removesuffix("-SWAP"))),
                _rate(rate.get("fundingRate")),
                _us_or_none(rate.get("fundingTime")),
            )
        )
    return rows, {"mark": marks, "funding": rates, "index": indices}


async def _okx_interest(venue: Venue, now_us: int) -> Answer:
    said = await venue.exchange.publicGetPublicOpenInterest({"instType": "SWAP"})
    rows = []
    for e, contract in _ours(venue, said["data"], "instId"):
        if (contracts := _positive(e.get("oi"))) is not None:
            rows.append(_interest(contract, _us(e.get("ts"), now_us), contracts, _positive(e.get("oiUsd"))))
    return rows, said


# ---- Hyperliquid -----------------------------------------------------------------------------------------------------


async def _hyperliquid_contexts(venue: Venue) -> tuple[list[tuple[Any, Contract]], Any]:
    """Each contract's state. The answer has no stamp, and names its contracts by their place in `universe`."""
    said = await venue.exchange.publicPostInfo({"type": "metaAndAssetCtxs"})
    by_name = {contract.symbol.split("/")[0]: contract for contract in venue.contracts.values()}
    names = [_unified_base(venue, e["name"]) for e in said[0]["universe"]]
    pairs = zip(names, said[1], strict=True)
    return [(state, by_name[name]) for name, state in pairs if name in by_name], said


def _unified_base(venue: Venue, coin: str) -> str:
    return str(venue.exchange.safe_currency_code(coin))


async def _hyperliquid_marks(venue: Venue, now_us: int) -> Answer:
    states, said = await _hyperliquid_contexts(venue)
    hour_us = clock.HOUR // clock.US
    coming = now_us // hour_us * hour_us + hour_us
    rows = [
        Mark(
            contract.symbol,
            now_us,
            _positive(e.get("markPx")),
            _positive(e.get("oraclePx")),
            _rate(e.get("funding")),
            coming,
        )
        for e, contract in states
    ]
    return rows, said


async def _hyperliquid_interest(venue: Venue, now_us: int) -> Answer:
    states, said = await _hyperliquid_contexts(venue)
    rows = []
    for e, contract in states:
        quantity, mark = _positive(e.get("openInterest")), _positive(e.get("markPx"))
        if quantity is not None:
            rows.append(_interest(contract, now_us, quantity, None if mark is None else quantity * mark))
    return rows, said


# ---- depth, the same for all -----------------------------------------------------------------------------------------


async def _depth(venue: Venue, now_us: int) -> Answer:
    chosen = depth_contracts(venue)
    limit = venue.facts.depth_limit
    books = await _each(venue, chosen, lambda symbol: venue.exchange.fetch_order_book(symbol, limit))
    contracts = {c.symbol: c for c in venue.contracts.values()}
    rows: list[Band] = []
    for symbol, book in books.items():
        rows += bands(contracts[symbol], _us(book.get("timestamp"), now_us), book["bids"], book["asks"], limit)
    return rows, None


def depth_contracts(venue: Venue) -> list[str]:
    """The symbols whose books are looked at: those asked for, or the majors'."""
    symbols = sorted(c.symbol for c in venue.contracts.values())
    return symbols if venue.asked else [s for s in symbols if s.split("/")[0] in MAJORS and "-" not in s]


def bands(
    contract: Contract, ts_us: int, bids: Sequence[Sequence[float]], asks: Sequence[Sequence[float]], limit: int
) -> list[Band]:
    """Size and notional within each distance of the mid, on both sides, as far as the levels reach."""
    if not bids or not asks:
        return []
    mid = (bids[0][0] + asks[0][0]) / 2
    return [
        Band(contract.symbol, ts_us, sign * percent, *_within(contract, mid, sign * percent, side))
        for sign, side in ((-1, bids), (1, asks))
        for percent in BANDS
        if len(side) < limit or abs(side[-1][0] - mid) > mid * (percent / 100 + _ON_THE_EDGE)
    ]


def _within(contract: Contract, mid: float, percent: float, side: Sequence[Sequence[float]]) -> tuple[float, float]:
    reach = mid * (abs(percent) / 100 + _ON_THE_EDGE)
    inside = [(level[0], level[1]) for level in side if abs(level[0] - mid) <= reach]
    if contract.inverse:
        contracts = sum(q for _, q in inside)
        return contracts, contracts * contract.size
    return sum(q for _, q in inside) * contract.size, sum(p * q for p, q in inside) * contract.size


# ---- what they share -------------------------------------------------------------------------------------------------


def _ours(venue: Venue, said: Iterable[Mapping[str, Any]], name: str) -> list[tuple[Mapping[str, Any], Contract]]:
    """What was said of contracts that are recorded."""
    return [(e, c) for e in said if (c := venue.contracts.get(str(e.get(name)))) is not None]


async def _each(venue: Venue, names: Iterable[str], ask: Callable[[str], Awaitable[Any]]) -> dict[str, Any]:
    """One request a name, a few at once; their answers in order.

    A contract that the venue refuses alone, such as one delisted a moment ago, is left out; no answer at all, or a
    refusal of every one, is a failure.
    """
    gate = asyncio.Semaphore(_AT_ONCE)
    refusals: list[SourceError] = []

    async def one(name: str) -> Any:
        async with gate:
            try:
                return await venue.asked_of(ask(name))
            except Unreachable:
                raise
            except SourceError as problem:
                refusals.append(problem)
                return None

    asking = {name: asyncio.ensure_future(one(name)) for name in names}
    try:
        await asyncio.gather(*asking.values())
    finally:
        for task in asking.values():
            task.cancel()
    found = {name: said for name, task in asking.items() if (said := task.result()) is not None}
    if refusals and not found:
        raise refusals[0]
    return found


_Reader = Callable[["Venue", int], Awaitable[Answer]]
_READERS: Mapping[tuple[str, str], _Reader] = {
    ("binance", "marks"): _binance_marks,
    ("binance", "open_interest"): _binance_interest,
    ("bybit", "marks"): _bybit_marks,
    ("bybit", "open_interest"): _bybit_interest,
    ("okx", "marks"): _okx_marks,
    ("okx", "open_interest"): _okx_interest,
    ("hyperliquid", "marks"): _hyperliquid_marks,
    ("hyperliquid", "open_interest"): _hyperliquid_interest,
}


async def snapshot(venue: Venue, table: str, now_us: int) -> Answer:
    """Rows of one table as they stand now; raises SourceError when the venue does not answer as it should."""
    reader = _depth if table == "depth" else _READERS[venue.facts.venue, table]
    try:
        return await venue.asked_of(reader(venue, now_us))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as problem:
        raise SourceError(f"{venue.facts.name} answers in another form than it should: {problem!r}") from None
