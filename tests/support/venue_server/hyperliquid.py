"""Hyperliquid on the wire: https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint

One address, POST /info, told apart by `type`. Windows include both ends; rows come oldest first. Only the latest 5,000
candles exist; settlements come 500 at a time.
"""

from __future__ import annotations

from typing import Any

from venue_server.truth import HOUR, INTERVALS, Contract, Truth, texts
from venue_server.wire import Params, Reply

MARGIN_TABLES: list[Any] = [
    [50, {"description": "", "marginTiers": [{"lowerBound": "0.0", "maxLeverage": 50}]}],
    [
        56,
        {
            "description": "tiered 40x",
            "marginTiers": [
                {"lowerBound": "0.0", "maxLeverage": 40},
                {"lowerBound": "150000000.0", "maxLeverage": 20},
            ],
        },
    ],
]


def answer(truth: Truth, path: str, params: Params, headers: Any) -> Reply | None:
    del headers
    if not path.startswith("/info"):
        return None
    kind = params.get("type")
    if kind == "meta":  # .../perpetuals#retrieve-perpetuals-metadata-universe-and-margin-tables
        return Reply({"universe": _universe(truth), "marginTables": MARGIN_TABLES})
    if kind == "metaAndAssetCtxs":
        return Reply(
            [{"universe": _universe(truth), "marginTables": MARGIN_TABLES}, [_context() for _ in truth.contracts]]
        )
    request = params.get("req", params)
    c = next((x for x in truth.contracts if x.base == request.get("coin")), None)
    if c is None:
        return Reply(None, status=500)
    if kind == "candleSnapshot":
        return _candles(truth, c, request)
    if kind == "fundingHistory":
        return _funding(truth, c, request)
    return Reply({"error": "Failed to deserialize the JSON body into the target type"}, status=422)


def _universe(truth: Truth) -> list[dict[str, Any]]:
    return [
        {
            "name": c.base,
            "szDecimals": 5,
            "maxLeverage": 40 if c.base == "BTC" else 50,
            "marginTableId": 56 if c.base == "BTC" else 50,
        }
        for c in truth.contracts
    ]


def _context() -> dict[str, Any]:
    """.../perpetuals#retrieve-perpetuals-asset-contexts"""
    return {
        "dayNtlVlm": "1169046.29406",
        "funding": "0.0000125",
        "impactPxs": ["14.3047", "14.3444"],
        "markPx": "14.3161",
        "midPx": "14.314",
        "openInterest": "688.11",
        "oraclePx": "14.32",
        "premium": "0.00031774",
        "prevDayPx": "15.322",
        "dayBaseVlm": "81654.1",
    }


def _candles(truth: Truth, c: Contract, request: Params) -> Reply:
    """#candle-snapshot: the most recent 5,000"""
    step = INTERVALS[request["interval"]]
    first = max(int(request["startTime"]), (truth.now // step - 5000) * step)
    stamps = truth.grid(c, "trade", step, first, int(request["endTime"]))
    b = truth.bars(c, "trade", step, stamps)
    columns = [texts(b[n], 1) for n in ("open", "high", "low", "close")]
    rows = [
        {
            "t": t,
            "T": t + step - 1,
            "s": c.base,
            "i": request["interval"],
            "o": o,
            "h": h,
            "l": low,
            "c": close,
            "v": v,
            "n": n,
        }
        for t, o, h, low, close, v, n in zip(
            stamps.tolist(), *columns, texts(b["volume"], 3), b["trades"].tolist(), strict=True
        )
    ]
    return Reply(rows, rows, "t", step)


def _funding(truth: Truth, c: Contract, request: Params) -> Reply:
    """.../perpetuals#retrieve-historical-funding-rates: each hour, 500 at a time"""
    stamps = truth.grid(c, "funding", HOUR, int(request["startTime"]) - 1000, int(request["endTime"]))
    exact = stamps + truth.late(c, stamps)
    stamps = stamps[(exact >= int(request["startTime"])) & (exact <= int(request["endTime"]))][:500]
    rows = [
        {"coin": c.base, "fundingRate": rate, "premium": "0.00031774", "time": t}
        for t, rate in zip(
            (stamps + truth.late(c, stamps)).tolist(), texts(truth.rates(c, stamps)["rate"], 8), strict=True
        )
    ]
    return Reply(rows, rows, "time")
