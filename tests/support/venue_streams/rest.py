"""The REST answers of the loopback venues (the pages that they follow are named in `wire`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from venue_streams import wire
from venue_streams.wire import COINS, OKX_SIZE, Snapshot, text

VENUES = ("binance", "bybit", "okx", "hyperliquid")
Snapshots = Mapping[tuple[str, str], Snapshot]


def answer(host: str, path: str, asked: Mapping[str, Any], snapshots: Snapshots) -> Any:
    """What a venue answers; None when it has no such address."""
    if host == "dapi.binance.com":
        return wire.binance_coinm_info() if path.endswith("exchangeInfo") else None
    reader = {"fapi.binance.com": _binance, "api.bybit.com": _bybit, "api.hyperliquid.xyz": _hyperliquid}.get(host)
    if reader is None and host.endswith("okx.com"):
        reader = _okx
    return None if reader is None else reader(path, asked, snapshots)


def _binance(path: str, asked: Mapping[str, Any], snapshots: Snapshots) -> Any:
    if path.endswith("exchangeInfo"):
        return wire.binance_info()
    if path.endswith("premiumIndex"):
        return [
            {
                "symbol": f"{c}USDT",
                "markPrice": text(s.mark),
                "indexPrice": text(s.index),
                "estimatedSettlePrice": text(s.index + 1),
                "lastFundingRate": text(s.rate),
                "interestRate": "0.00010000",
                "nextFundingTime": s.next_ms,
                "time": s.ts_ms,
            }
            for c in COINS
            if (s := snapshots["binance", c])
        ]
    s = snapshots["binance", str(asked.get("symbol", "")).removesuffix("USDT") or "BTC"]
    if path.endswith("openInterest"):
        return {"openInterest": text(s.oi), "symbol": asked["symbol"], "time": s.ts_ms}
    if path.endswith("depth"):
        limit = int(asked["limit"])
        bids, asks = ([[text(p), text(q)] for p, q in side[:limit]] for side in (s.bids, s.asks))
        return {"lastUpdateId": 1027024, "E": s.ts_ms, "T": s.ts_ms - 8, "bids": bids, "asks": asks}
    return None


def _bybit(path: str, asked: Mapping[str, Any], snapshots: Snapshots) -> Any:
    if path.endswith("instruments-info"):
        return wire.bybit_info(str(asked["category"]))
    if path.endswith("tickers"):
        listed = [
            {
                "symbol": f"{c}USDT",
                "lastPrice": text(s.mark + 2),
                "indexPrice": text(s.index),
                "markPrice": text(s.mark),
                "openInterest": text(2 * s.oi),  # both sides
                "openInterestValue": text(2 * s.oi * s.mark),
                "singleOpenInterest": text(s.oi),
                "turnover24h": "1",
                "volume24h": "1",
                "fundingRate": text(s.rate),
                "nextFundingTime": str(s.next_ms),
                "fundingIntervalHour": "8",
                "fundingCap": "0.005",
            }
            for c in COINS
            if (s := snapshots["bybit", c])
        ]
        ts = snapshots["bybit", "BTC"].ts_ms
        return {**wire._bybit_answer({"category": "linear", "list": listed}), "time": ts}
    if path.endswith("orderbook"):
        s = snapshots["bybit", str(asked["symbol"]).removesuffix("USDT")]
        limit = int(asked["limit"])
        bids, asks = ([[text(p), text(q)] for p, q in side[:limit]] for side in (s.bids, s.asks))
        result = {"s": asked["symbol"], "a": asks, "b": bids, "ts": s.ts_ms, "u": 18521288, "seq": 7961638724}
        return wire._bybit_answer(result)
    return None


def _okx(path: str, asked: Mapping[str, Any], snapshots: Snapshots) -> Any:
    page = path.rsplit("/", 1)[-1]
    if page == "instruments":
        return wire.okx_info()
    if page == "books":
        s = snapshots["okx", str(asked["instId"]).split("-")[0]]
        size = OKX_SIZE[str(asked["instId"]).split("-")[0]]
        limit = int(asked["sz"])
        bids, asks = ([[text(p), text(q / size), "0", "2"] for p, q in side[:limit]] for side in (s.bids, s.asks))
        return {"code": "0", "msg": "", "data": [{"asks": asks, "bids": bids, "ts": str(s.ts_ms)}]}
    rows = []
    for c in COINS:
        s = snapshots["okx", c]
        name = {"instId": f"{c}-USDT-SWAP", "instType": "SWAP", "ts": str(s.ts_ms)}
        if page == "mark-price":
            rows.append({**name, "markPx": text(s.mark)})
        elif page == "index-tickers":
            rows.append({"instId": f"{c}-USDT", "idxPx": text(s.index), "ts": str(s.ts_ms)})
        elif page == "open-interest":
            usd, contracts = text(s.oi * s.mark), text(s.oi / OKX_SIZE[c])
            rows.append({**name, "oi": contracts, "oiCcy": text(s.oi), "oiUsd": usd})
        elif page == "funding-rate":
            rows.append(
                {**name, "fundingRate": text(s.rate), "fundingTime": str(s.next_ms), "method": "current_period"}
            )
    return {"code": "0", "msg": "", "data": rows} if rows else None


def _hyperliquid(path: str, asked: Mapping[str, Any], snapshots: Snapshots) -> Any:
    kind = asked.get("type")
    if kind == "meta":
        return wire.hyperliquid_meta()
    if kind == "metaAndAssetCtxs":
        states = [
            {
                "dayNtlVlm": "1169046.29406",
                "funding": text(s.rate / 8),  # an hour's
                "impactPxs": [text(s.mark - 1), text(s.mark + 1)],
                "markPx": text(s.mark),
                "midPx": text(s.mark),
                "openInterest": text(s.oi),
                "oraclePx": text(s.index),
                "premium": "0.00031774",
                "prevDayPx": "15.322",
            }
            for c in COINS
            if (s := snapshots["hyperliquid", c])
        ]
        return [wire.hyperliquid_meta(), states]
    if kind == "l2Book":
        s = snapshots["hyperliquid", str(asked["coin"])]
        levels = [[{"px": text(p), "sz": text(q), "n": 1} for p, q in side[:20]] for side in (s.bids, s.asks)]
        return {"coin": asked["coin"], "time": s.ts_ms, "levels": levels}
    return None
