"""OKX v5 on the wire: https://www.okx.com/docs-v5/en/ (the section beside each function).

`before` and `begin` ask for what is newer, `after` and `end` for what is older; both bounds are left out. Rows come
newest first; when a window holds more than `limit`, the newest come.
"""

from __future__ import annotations

from typing import Any

from venue_server.truth import DAY, INTERVALS, Contract, Truth, texts
from venue_server.wire import Params, Reply, number

PRICES = {
    "market/history-candles": ("trade", 300),
    "market/history-mark-price-candles": ("mark", 100),
    "market/history-index-candles": ("index", 100),
}
BARS = {"1m": "1m", "5m": "5m", "15m": "15m", "1H": "1h", "4H": "4h", "1Dutc": "1d"}
RATIOS = {
    "rubik/stat/contracts/long-short-account-ratio-contract": "accounts",
    "rubik/stat/contracts/long-short-account-ratio-contract-top-trader": "top_accounts",
    "rubik/stat/contracts/long-short-position-ratio-contract-top-trader": "top_positions",
    "rubik/stat/taker-volume-contract": "taker_volume",
}
TIERS = [("0", "1000", "0.004", "100"), ("1001", "5000", "0.01", "50"), ("5001", "20000", "0.015", "33.33")]
MARK = "25000.5"


def market_id(c: Contract) -> str:
    return f"{c.base}-{c.quote}-SWAP"


def answer(truth: Truth, path: str, params: Params, headers: Any) -> Reply | None:
    del headers
    if not path.startswith("/api/v5/"):
        return None
    name = path.removeprefix("/api/v5/")
    if name == "public/time":  # #public-data-rest-api-get-system-time
        return Reply(_ok([{"ts": str(truth.now)}]))
    if name == "public/instruments":
        return Reply(_ok([_instrument(c) for c in truth.contracts] if params.get("instType") == "SWAP" else []))
    who = params.get("instId") or params.get("instFamily") or ""
    c = next((x for x in truth.contracts if who in (market_id(x), f"{x.base}-{x.quote}")), None)
    if c is None:
        return Reply({"code": "51001", "data": [], "msg": "Instrument ID doesn't exist"})
    if name in PRICES:
        return _candles(truth, c, *PRICES[name], params)
    if name == "public/funding-rate-history":
        return _funding(truth, c, params)
    if name == "rubik/stat/contracts/open-interest-history":
        return _open_interest(truth, c, params)
    if name in RATIOS:
        return _ratio(truth, c, RATIOS[name], params)
    if name == "public/mark-price":  # #public-data-rest-api-get-mark-price
        return Reply(_ok([{"instId": market_id(c), "instType": "SWAP", "markPx": MARK, "ts": str(truth.now)}]))
    if name == "public/position-tiers":
        return Reply(_ok(_tiers(c)))
    return Reply({"code": "50000", "data": [], "msg": "no such page"})


def _ok(data: list[Any]) -> dict[str, Any]:
    return {"code": "0", "data": data, "msg": ""}


def _bad(message: str) -> Reply:
    return Reply({"code": "51000", "data": [], "msg": message})


def _instrument(c: Contract) -> dict[str, Any]:
    """#public-data-rest-api-get-instruments: sizes are in contracts of ctVal"""
    return {
        "alias": "",
        "baseCcy": "",
        "category": "1",
        "ctMult": "1",
        "ctType": "inverse" if c.inverse else "linear",
        "ctVal": c.size,
        "ctValCcy": "USD" if c.inverse else c.base,
        "expTime": str(c.delisted) if c.delisted else "",
        "instFamily": f"{c.base}-{c.quote}",
        "instId": market_id(c),
        "instType": "SWAP",
        "lever": "100",
        "listTime": str(c.listed),
        "lotSz": "0.1",
        "maxLmtSz": "100000000",
        "maxMktSz": "12000",
        "minSz": "0.1",
        "optType": "",
        "quoteCcy": "",
        "settleCcy": c.settle,
        "state": "live",
        "stk": "",
        "tickSz": "0.1",
        "uly": f"{c.base}-{c.quote}",
    }


def _bounds(params: Params, newer: str, older: str, now: int) -> tuple[int, int]:
    return number(params, newer, -1) + 1, number(params, older, now + 1) - 1


def _candles(truth: Truth, c: Contract, price: str, most: int, params: Params) -> Reply:
    """#order-book-trading-market-data-get-candlesticks-history, #public-data-rest-api-get-...-candlesticks-history

    [ts, open, high, low, close, contracts, coins, quote, confirm]; of mark and index the prices and confirm
    """
    step, limit = INTERVALS.get(BARS.get(params.get("bar", "1m"), "")), number(params, "limit", 100)
    if step is None or not 0 < limit <= most:
        return _bad("Parameter bar or limit error")
    stamps = truth.grid(c, price, step, *_bounds(params, "before", "after", truth.now))[-limit:][::-1]
    b = truth.bars(c, price, step, stamps)
    columns = [[str(t) for t in stamps.tolist()], *(texts(b[n], 1) for n in ("open", "high", "low", "close"))]
    if price == "trade":
        contracts, coins, quote = b["volume"], b["taker"], b["quote"]
        columns += [texts(contracts, 1), texts(coins, 3), texts(quote, 3)]
    columns.append(["1" if t + step <= truth.now else "0" for t in stamps.tolist()])
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Reply(_ok(rows), rows, 0, step)


def _funding(truth: Truth, c: Contract, params: Params) -> Reply:
    """#public-data-rest-api-get-funding-rate-history: three months, at most 400"""
    limit = number(params, "limit", 400)
    if not 0 < limit <= 400:
        return _bad("Parameter limit error")
    first, last = _bounds(params, "before", "after", truth.now)
    stamps, _ = truth.settlements(c, max(first, truth.now - 92 * DAY), last)
    stamps = stamps[-limit:][::-1]
    rates = texts(truth.rates(c, stamps)["rate"], 8)
    rows = [
        {
            "formulaType": "withRate",
            "fundingRate": "0.0000100000000000",
            "fundingTime": str(t),
            "instId": market_id(c),
            "instType": "SWAP",
            "method": "current_period",
            "realizedRate": rate,
        }
        for t, rate in zip(stamps.tolist(), rates, strict=True)
    ]
    return Reply(_ok(rows), rows, "fundingTime")


def _window(truth: Truth, c: Contract, feed: str, params: Params) -> tuple[Any, int] | None:
    """#trading-statistics: 5m, 1H and 1D; the latest 1,440 entries; at most 100"""
    step, limit = INTERVALS.get(BARS.get(params.get("period", "5m"), "")), number(params, "limit", 100)
    if step is None or not 0 < limit <= 100:
        return None
    first, last = _bounds(params, "begin", "end", truth.now)
    return truth.grid(c, feed, step, max(first, truth.now - 1441 * step), last)[-limit:][::-1], step


def _open_interest(truth: Truth, c: Contract, params: Params) -> Reply:
    """#trading-statistics-rest-api-get-contract-open-interest-history: [ts, contracts, coins, USD]"""
    if (found := _window(truth, c, "open_interest", params)) is None:
        return _bad("Parameter period or limit error")
    stamps, step = found
    told = [truth.snapshot(c, f"open_interest {n}", step, stamps) for n in ("contracts", "quantity", "value")]
    columns = [[str(t) for t in stamps.tolist()], texts(told[0], 1), texts(told[1], 3), texts(told[2], 3)]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Reply(_ok(rows), rows, 0, step)


def _ratio(truth: Truth, c: Contract, kind: str, params: Params) -> Reply:
    """#trading-statistics-rest-api-get-contract-long-short-ratio: [ts, ratio]; ...-get-contract-taker-volume:
    [ts, sells, buys], in coin where unit is 0"""
    if (found := _window(truth, c, kind, params)) is None:
        return _bad("Parameter period or limit error")
    stamps, step = found
    names = ("short", "long") if kind == "taker_volume" else ("ratio",)
    columns = [[str(t) for t in stamps.tolist()]]
    columns += [texts(truth.snapshot(c, f"{kind} {n}", step, stamps), 4 if n == "ratio" else 3) for n in names]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Reply(_ok(rows), rows, 0, step)


def _tiers(c: Contract) -> list[dict[str, str]]:
    """#public-data-rest-api-get-position-tiers: sizes in contracts"""
    return [
        {
            "baseMaxLoan": "",
            "imr": "0.01",
            "instFamily": f"{c.base}-{c.quote}",
            "instId": market_id(c),
            "maxLever": leverage,
            "maxSz": most,
            "minSz": least,
            "mmr": mmr,
            "optMgnFactor": "0",
            "quoteMaxLoan": "",
            "tier": str(number),
            "uly": f"{c.base}-{c.quote}",
        }
        for number, (least, most, mmr, leverage) in enumerate(TIERS, 1)
    ]
