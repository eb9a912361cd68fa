"""Bybit v5 on the wire: https://bybit-exchange.github.io/docs/v5/market/ (the page's name beside each function).

Windows include both ends; rows come newest first; when a window holds more than `limit`, the newest come. Errors are a
retCode in an answer of status 200.
"""

from __future__ import annotations

from typing import Any

from venue_server.truth import INTERVALS, Contract, Truth, texts
from venue_server.wire import Params, Reply, number

PRICES = {
    "kline": "trade",
    "mark-price-kline": "mark",
    "index-price-kline": "index",
    "premium-index-price-kline": "premium",
}
BARS = {"1": "1m", "5": "5m", "15": "15m", "60": "1h", "240": "4h", "D": "1d"}
PERIODS = {"5min": "5m", "15min": "15m", "1h": "1h", "4h": "4h", "1d": "1d"}
HALVED_SINCE = 1_780_272_000_000  # June 2026: answers carry singleOpenInterest from here on


def market_id(c: Contract) -> str:
    return f"{c.base}{c.quote}"


def answer(truth: Truth, path: str, params: Params, headers: Any) -> Reply | None:
    del headers
    if not path.startswith("/v5/market/"):
        return None
    name = path.removeprefix("/v5/market/")
    if name == "time":  # time
        return Reply(_ok({"timeSecond": str(truth.now // 1000), "timeNano": f"{truth.now}000000"}, truth))
    if name == "instruments-info":
        return Reply(_ok(_instruments(truth, params), truth))
    c = next((x for x in truth.contracts if market_id(x) == params.get("symbol")), None)
    if c is None or params.get("category") != ("inverse" if c.inverse else "linear"):
        return _bad("Symbol Invalid")
    if name == "premium-index-price-kline" and c.inverse:  # premium-index-kline: "USDT and USDC perpetual"
        return _bad("Category is invalid")
    if name in PRICES:
        return _klines(truth, c, PRICES[name], params)
    if name == "funding/history":
        return _funding(truth, c, params)
    if name == "open-interest":
        return _open_interest(truth, c, params)
    if name == "account-ratio":
        return _ratio(truth, c, params)
    if name == "risk-limit":
        return _risk_limit(truth, c)
    return _bad("no such page")


def _ok(result: Any, truth: Truth) -> dict[str, Any]:
    return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": truth.now}


def _bad(message: str) -> Reply:
    return Reply({"retCode": 10001, "retMsg": message, "result": {}, "retExtInfo": {}, "time": 0})


def _listed(truth: Truth, c: Contract, rows: list[Any], time: Any, step: int) -> Reply:
    result = {"symbol": market_id(c), "category": "inverse" if c.inverse else "linear", "list": rows}
    return Reply(_ok(result | {"nextPageCursor": ""}, truth), rows, time, step)


def _instruments(truth: Truth, params: Params) -> dict[str, Any]:
    """instrument: deliveryTime is zero for a perpetual that goes on"""
    category = params.get("category", "linear")
    chosen = [c for c in truth.contracts if c.inverse == (category == "inverse")]
    if params.get("status") == "PreLaunch":
        chosen = []
    rows = [
        {
            "symbol": market_id(c),
            "contractType": "InversePerpetual" if c.inverse else "LinearPerpetual",
            "status": "Trading",
            "baseCoin": c.base,
            "quoteCoin": c.quote,
            "launchTime": str(c.listed),
            "deliveryTime": str(c.delisted),
            "deliveryFeeRate": "",
            "priceScale": "2",
            "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
            "priceFilter": {"minPrice": "0.10", "maxPrice": "1999999.80", "tickSize": "0.10"},
            "lotSizeFilter": {
                "maxOrderQty": "1190.000",
                "minOrderQty": "1" if c.inverse else "0.001",
                "qtyStep": "1" if c.inverse else "0.001",
                "postOnlyMaxOrderQty": "1190.000",
                "maxMktOrderQty": "500.000",
                "minNotionalValue": "5",
            },
            "unifiedMarginTrade": True,
            "fundingInterval": 480,
            "settleCoin": c.settle,
            "copyTrading": "both",
            "upperFundingRate": "0.00375",
            "lowerFundingRate": "-0.00375",
        }
        for c in chosen
    ]
    return {"category": category, "list": rows, "nextPageCursor": ""}


def _klines(truth: Truth, c: Contract, price: str, params: Params) -> Reply:
    """kline, mark-kline, index-kline, premium-index-kline

    [start, open, high, low, close, volume, turnover]; the last two only of trades. Volume is base coin, or dollars of
    an inverse contract; turnover is quote, or base coin of an inverse contract.
    """
    step, limit = INTERVALS.get(BARS.get(params.get("interval", ""), "")), number(params, "limit", 200)
    if step is None or not 0 < limit <= 1000:
        return _bad("params error: interval or limit")
    first, last = number(params, "start", 0), number(params, "end", truth.now)
    stamps = truth.grid(c, price, step, first, last)[-limit:][::-1]
    b = truth.bars(c, price, step, stamps)
    places = 8 if price == "premium" else 1
    columns = [[str(t) for t in stamps.tolist()]]
    columns += [texts(b[n], places) for n in ("open", "high", "low", "close")]
    if price == "trade":
        columns += [
            [str(v) for v in b["volume"].tolist()] if c.inverse else texts(b["volume"], 3),
            texts(b["quote"], 3),
        ]
    return _listed(truth, c, [list(row) for row in zip(*columns, strict=True)], 0, step)


def _funding(truth: Truth, c: Contract, params: Params) -> Reply:
    """history-fund-rate: startTime alone is an error; at most 200"""
    limit = number(params, "limit", 200)
    if ("startTime" in params and "endTime" not in params) or not 0 < limit <= 200:
        return _bad("params error: endTime is required with startTime")
    stamps, _ = truth.settlements(c, number(params, "startTime", 0), number(params, "endTime", truth.now))
    stamps = stamps[-limit:][::-1]
    rates = texts(truth.rates(c, stamps)["rate"], 8)
    rows = [
        {"symbol": market_id(c), "fundingRate": rate, "fundingRateTimestamp": str(t)}
        for t, rate in zip(stamps.tolist(), rates, strict=True)
    ]
    return _listed(truth, c, rows, "fundingRateTimestamp", 0)


def _window(truth: Truth, c: Contract, feed: str, params: Params, period: str, most: int) -> tuple[Any, int] | None:
    step, limit = INTERVALS.get(PERIODS.get(params.get(period, ""), "")), number(params, "limit", 50)
    if step is None or not 0 < limit <= most:
        return None
    first, last = number(params, "startTime", 0), number(params, "endTime", truth.now)
    return truth.grid(c, feed, step, first, last)[-limit:][::-1], step


def _open_interest(truth: Truth, c: Contract, params: Params) -> Reply:
    """open-interest: openInterest sums both sides, singleOpenInterest is one"""
    if (found := _window(truth, c, "open_interest", params, "intervalTime", 200)) is None:
        return _bad("params error: intervalTime or limit")
    stamps, step = found
    single = truth.snapshot(c, "open_interest quantity", step, stamps)
    rows = []
    for t, both, one in zip(stamps.tolist(), texts(2 * single, 3), texts(single, 3), strict=True):
        row = {"openInterest": both, "timestamp": str(t)}
        rows.append(row | {"singleOpenInterest": one} if t >= HALVED_SINCE else row)
    return _listed(truth, c, rows, "timestamp", step)


def _ratio(truth: Truth, c: Contract, params: Params) -> Reply:
    """long-short-ratio: at most 500"""
    if (found := _window(truth, c, "accounts", params, "period", 500)) is None:
        return _bad("params error: period or limit")
    stamps, step = found
    long = truth.snapshot(c, "accounts long", step, stamps) % 9_000 + 500
    rows = [
        {"symbol": market_id(c), "buyRatio": buy, "sellRatio": sell, "timestamp": str(t)}
        for t, buy, sell in zip(stamps.tolist(), texts(long, 4), texts(10_000 - long, 4), strict=True)
    ]
    return _listed(truth, c, rows, "timestamp", step)


def _risk_limit(truth: Truth, c: Contract) -> Reply:
    """risk-limit: mmDeduction is empty for the lowest tier"""
    lines = [
        ("300000", "0.0033", "150.00", ""),
        ("2000000", "0.005", "100.00", "510"),
        ("2600000", "0.0056", "90.00", "1710"),
    ]
    rows = [
        {
            "id": number,
            "symbol": market_id(c),
            "riskLimitValue": cap,
            "maintenanceMargin": mmr,
            "initialMargin": "0.01",
            "isLowestRisk": int(number == 1),
            "maxLeverage": leverage,
            "mmDeduction": deduction,
        }
        for number, (cap, mmr, leverage, deduction) in enumerate(lines, 1)
    ]
    return _listed(truth, c, rows, "id", 0)
