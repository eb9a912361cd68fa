"""Binance USD-M and COIN-M on the wire. Fields as on the venue's pages, named beside each function.

https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api (UM) and
.../coin-margined-futures/market-data/rest-api (CM). Windows: startTime and endTime are both included; rows come oldest
first; when a window holds more than `limit`, the first ones come.
"""

from __future__ import annotations

from typing import Any

from venue_server.truth import DAY, INTERVALS, Contract, Truth, texts
from venue_server.wire import Params, Reply, number

PRICES = {
    "klines": "trade",
    "markPriceKlines": "mark",
    "indexPriceKlines": "index",
    "premiumIndexKlines": "premium",
}
KEY = "a-key-that-may-read"


def market_id(c: Contract) -> str:
    return f"{c.base}{c.quote}_PERP" if c.inverse else f"{c.base}{c.quote}"


def answer(truth: Truth, path: str, params: Params, headers: Any) -> Reply | None:
    """The reply to /fapi/v1/..., /dapi/v1/... or /futures/data/...; None for another venue's path."""
    parts = path.strip("/").split("/")
    if parts[:2] == ["futures", "data"]:
        return _statistics(truth, parts[2], params)
    if parts[0] not in ("fapi", "dapi"):
        return None
    inverse = parts[0] == "dapi"
    name = parts[2]
    if name == "time":  # .../Check-Server-Time
        return Reply({"serverTime": truth.now})
    if name == "exchangeInfo":
        return Reply(_exchange_info(truth, inverse))
    if name in PRICES:
        return _klines(truth, PRICES[name], params, inverse)
    if name == "fundingRate":
        return _funding(truth, params)
    if name == "leverageBracket":
        return _brackets(truth, inverse, headers)
    return error(404, -1, "no such page")


def error(status: int, code: int, message: str) -> Reply:
    """https://developers.binance.com/docs/derivatives/usds-margined-futures/error-code"""
    return Reply({"code": code, "msg": message}, status=status)


def _exchange_info(truth: Truth, inverse: bool) -> dict[str, Any]:
    """UM .../Exchange-Information, CM .../Exchange-Information"""
    return {
        "timezone": "UTC",
        "serverTime": truth.now,
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400}],
        "exchangeFilters": [],
        "symbols": [_symbol(c) for c in truth.contracts if c.inverse == inverse],
    }


def _symbol(c: Contract) -> dict[str, Any]:
    one = {
        "symbol": market_id(c),
        "pair": f"{c.base}{c.quote}",
        "contractType": "PERPETUAL",
        "deliveryDate": c.delisted or 4133404800000,
        "onboardDate": c.told_listed or c.listed,
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": c.base,
        "quoteAsset": c.quote,
        "marginAsset": c.settle,
        "pricePrecision": 2,
        "quantityPrecision": 0 if c.inverse else 3,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": ["PoW"],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": "556.80",
                "maxPrice": "4529764",
                "tickSize": "0.10",
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": "1" if c.inverse else "0.001",
                "maxQty": "1000",
                "stepSize": "1" if c.inverse else "0.001",
            },
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": "1" if c.inverse else "0.001",
                "maxQty": "120",
                "stepSize": "1" if c.inverse else "0.001",
            },
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500"},
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }
    if c.inverse:
        return one | {"contractStatus": "TRADING", "contractSize": int(c.size), "equalQtyPrecision": 4}
    one["filters"].append({"filterType": "MIN_NOTIONAL", "notional": "100"})
    return one | {"status": "TRADING"}


def _find(truth: Truth, name: str, inverse: bool) -> Contract | None:
    named = {n: c for c in truth.contracts if c.inverse == inverse for n in (market_id(c), f"{c.base}{c.quote}")}
    return named.get(name)


def _klines(truth: Truth, price: str, params: Params, inverse: bool) -> Reply:
    """.../Kline-Candlestick-Data, .../Mark-Price-Kline-..., .../Index-Price-Kline-..., .../Premium-Index-Kline-Data

    [open time, open, high, low, close, volume, close time, quote volume, trades, taker buy base, taker buy quote,
    ignore]; CM counts volume in contracts and gives coin in place of quote. Mark, index and premium carry zeros.
    """
    c = _find(truth, params.get("pair" if price == "index" else "symbol", ""), inverse)
    if c is None:
        return error(400, -1121, "Invalid symbol.")
    limit = number(params, "limit", 500)
    step = INTERVALS.get(params.get("interval", ""))
    if not 0 < limit <= 1500 or step is None:
        return error(400, -1130, "Data sent for parameter 'limit' is not valid.")
    first, last = number(params, "startTime", 0), number(params, "endTime", truth.now)
    if inverse and last - first > 200 * DAY:
        return error(400, -4085, "Invalid time interval, the maximum time interval is 200 days")
    stamps = truth.grid(c, price, step, max(first, 0), last)[:limit]
    b = truth.bars(c, price, step, stamps)
    places = 8 if price == "premium" else 1
    columns: list[Any] = [stamps.tolist()]
    columns += [texts(b[n], places) for n in ("open", "high", "low", "close")]
    if price == "trade":
        volume = [str(v) for v in b["volume"].tolist()] if inverse else texts(b["volume"], 3)
        taker = [str(v) for v in b["taker"].tolist()] if inverse else texts(b["taker"], 3)
        columns += [volume, (stamps + step - 1).tolist(), texts(b["quote"], 3), b["trades"].tolist()]
        columns += [taker, texts(b["taker_quote"], 3)]
    else:
        zeros = ["0"] * len(stamps)
        columns += [zeros, (stamps + step - 1).tolist(), zeros, [60] * len(stamps), zeros, zeros]
    rows = [[*row, "0"] for row in zip(*columns, strict=True)]
    return Reply(rows, rows, 0, step)


def _funding(truth: Truth, params: Params) -> Reply:
    """.../Get-Funding-Rate-History: limit at most 1000, oldest first; markPrice is empty in early history"""
    found = [_find(truth, params.get("symbol", ""), inverse) for inverse in (False, True)]
    c = next((x for x in found if x is not None and market_id(x) == params.get("symbol")), None)
    limit = number(params, "limit", 100)
    if c is None or not 0 < limit <= 1000:
        return error(400, -1121, "Invalid symbol.")
    first, last = number(params, "startTime", 0), number(params, "endTime", truth.now)
    stamps, _ = truth.settlements(c, first - 1000, last)
    exact = stamps + truth.late(c, stamps)
    stamps = stamps[(exact >= first) & (exact <= last)][:limit]
    r = truth.rates(c, stamps)
    rows: list[Any] = [
        {"symbol": market_id(c), "fundingTime": t, "fundingRate": rate, "markPrice": mark}
        for t, rate, mark in zip(
            (stamps + truth.late(c, stamps)).tolist(), texts(r["rate"], 8), texts(r["mark"], 1), strict=True
        )
    ]
    return Reply(rows, rows, "fundingTime")


def _statistics(truth: Truth, name: str, params: Params) -> Reply:
    """.../Open-Interest-Statistics, .../Long-Short-Ratio, .../Top-Long-Short-Account-Ratio,
    .../Top-Trader-Long-Short-Ratio, .../Taker-BuySell-Volume: the latest 30 days, limit at most 500."""
    inverse = "pair" in params
    c = _find(truth, params.get("pair" if inverse else "symbol", ""), inverse)
    limit, step = number(params, "limit", 30), INTERVALS.get(params.get("period", ""))
    if c is None or step is None or not 0 < limit <= 500:
        return error(400, -1121, "Invalid symbol.")
    first, last = number(params, "startTime", truth.now - 30 * DAY), number(params, "endTime", truth.now)
    if first < truth.now - 30 * DAY - 60_000:
        return error(400, -1130, "parameter 'startTime' is invalid.")
    stamps = truth.grid(c, name_of(name), step, first, last)[:limit]
    columns = _columns(truth, c, name, step, stamps)
    who = {"pair": f"{c.base}{c.quote}"} if inverse else {"symbol": market_id(c)}
    if inverse and name in ("openInterestHist", "takerBuySellVol"):
        who["contractType"] = "PERPETUAL"
    rows: list[Any] = [
        {**who, **dict(zip(columns, values, strict=True)), "timestamp": t}
        for t, *values in zip(stamps.tolist(), *columns.values(), strict=True)
    ]
    return Reply(rows, rows, "timestamp", step)


def name_of(endpoint: str) -> str:
    return {
        "openInterestHist": "open_interest",
        "globalLongShortAccountRatio": "accounts",
        "topLongShortAccountRatio": "top_accounts",
        "topLongShortPositionRatio": "top_positions",
    }.get(endpoint, "taker_volume")


def _columns(truth: Truth, c: Contract, name: str, step: int, stamps: Any) -> dict[str, list[str]]:
    def told(part: str, places: int = 3) -> list[str]:
        return texts(truth.snapshot(c, f"{name_of(name)} {part}", step, stamps), places)

    if name == "openInterestHist":
        return {"sumOpenInterest": told("quantity"), "sumOpenInterestValue": told("value")}
    if name == "takerlongshortRatio":
        return {"buySellRatio": told("ratio", 4), "buyVol": told("long"), "sellVol": told("short")}
    if name == "takerBuySellVol":
        return {
            "takerBuyVol": told("long"),
            "takerSellVol": told("short"),
            "takerBuyVolValue": told("value"),
            "takerSellVolValue": told("value"),
        }
    positions = name == "topLongShortPositionRatio" and c.inverse
    long, short = ("longPosition", "shortPosition") if positions else ("longAccount", "shortAccount")
    return {"longShortRatio": told("ratio", 4), long: told("long", 4), short: told("short", 4)}


def _brackets(truth: Truth, inverse: bool, headers: Any) -> Reply:
    """UM .../account/rest-api/Notional-and-Leverage-Brackets, CM .../Notional-Bracket-for-Symbol: signed"""
    if headers.get("X-MBX-APIKEY") != KEY:
        return error(401, -2015, f"Invalid API-key {headers.get('X-MBX-APIKEY')}, IP, or permissions for action.")
    floor, cap = ("qtyFloor", "qtyCap") if inverse else ("notionalFloor", "notionalCap")
    names = ("bracket", "initialLeverage", floor, cap, "maintMarginRatio", "cum")
    lines = [
        (1, 125, 0, 50_000, 0.004, 0.0),
        (2, 100, 50_000, 600_000, 0.005, 50.0),
        (3, 75, 600_000, 3_000_000, 0.0065, 950.0),
    ]
    brackets = [dict(zip(names, line, strict=True)) for line in lines]
    contracts = [c for c in truth.contracts if c.inverse == inverse]
    return Reply([{"symbol": market_id(c), "brackets": brackets} for c in contracts])
