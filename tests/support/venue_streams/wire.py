"""What venues say, in their own words: messages and answers as their documentation shows them, made from a plain truth.

Fields, their names and their types follow these pages; the numbers are ours:

* Binance USD-M, streams: developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
  (All-Market-Liquidation-Order-Streams, Liquidation-Order-Streams, Mark-Price-Stream, and for SUBSCRIBE and its answer
  Live-Subscribing-Unsubscribing-to-streams); COIN-M: .../coin-margined-futures/websocket-market-streams
* Binance USD-M, REST: .../usds-margined-futures/market-data/rest-api (Exchange-Information, Mark-Price, Open-Interest,
  Order-Book)
* Bybit v5: bybit-exchange.github.io/docs/v5/websocket/public/all-liquidation, .../websocket/public/ticker,
  .../ws/connect (subscribe, ping); REST .../market/instrument, .../market/tickers, .../market/orderbook
* OKX v5: www.okx.com/docs-v5/en, sections liquidation-orders channel, mark-price channel, websocket overview
  (subscribe, "ping" and "pong" as bare texts); REST get-instruments, get-mark-price, get-funding-rate,
  get-index-tickers, get-open-interest, get-order-book
* Hyperliquid: hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint (meta, metaAndAssetCtxs, l2Book)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

COINS = ("BTC", "ETH")
OKX_SIZE = {"BTC": 0.01, "ETH": 0.1}  # ctVal: coins of one contract
COINM_SIZE = {"BTC": 100, "ETH": 10}  # USD of one contract
SETTLE = {"hyperliquid": "USDC"}


@dataclass(frozen=True)
class Truth:
    """A position that was liquidated: what the store must hold, whatever the wire says. `size` is in base units."""

    venue: str
    coin: str
    ts_ms: int
    position: str
    price: float
    size: float

    @property
    def symbol(self) -> str:
        if self.venue == "binance-coinm":
            return f"{self.coin}/USD:{self.coin}"
        settle = SETTLE.get(self.venue, "USDT")
        return f"{self.coin}/{settle}:{settle}"


@dataclass
class Snapshot:
    """One contract at one moment. `oi` is one side, in base units; the book is (price, base size) from the top."""

    ts_ms: int = 1_700_000_000_000
    mark: float = 40_000.0
    index: float = 39_990.0
    rate: float = 0.0001
    next_ms: int = 1_700_006_400_000
    oi: float = 1_234.5
    bids: list[tuple[float, float]] = field(default_factory=list)
    asks: list[tuple[float, float]] = field(default_factory=list)


def text(x: float) -> str:
    """A number as venues write it: decimal, without an exponent."""
    return f"{x:.10f}".rstrip("0").rstrip(".") or "0"


# ---- liquidations ----------------------------------------------------------------------------------------------------


def binance(events: list[Truth]) -> list[dict[str, Any]]:
    """One message an order. `l`, the last fill, is only a part of `z`, all that was filled."""
    return [
        {
            "e": "forceOrder",
            "E": t.ts_ms + 4,
            "o": {
                "s": f"{t.coin}USDT",
                "S": "SELL" if t.position == "long" else "BUY",
                "o": "LIMIT",
                "f": "IOC",
                "q": text(t.size),
                "p": text(t.price * (0.995 if t.position == "long" else 1.005)),
                "ap": text(t.price),
                "X": "FILLED",
                "l": text(t.size / 4),
                "z": text(t.size),
                "T": t.ts_ms,
            },
        }
        for t in events
    ]


def binance_coinm(events: list[Truth]) -> list[dict[str, Any]]:
    """As USD-M, with the pair; sizes are contracts."""
    out = binance(events)
    for message, t in zip(out, events, strict=True):
        contracts = text(t.size)
        message["o"] |= {"s": f"{t.coin}USD_PERP", "ps": f"{t.coin}USD", "q": contracts, "l": contracts, "z": contracts}
    return out


def bybit(events: list[Truth]) -> list[dict[str, Any]]:
    """One message a symbol, with an array. `S` is the position's own side, `p` the bankruptcy price."""
    out = []
    for coin in dict.fromkeys(t.coin for t in events):
        mine = [t for t in events if t.coin == coin]
        data = [
            {
                "T": t.ts_ms,
                "s": f"{coin}USDT",
                "S": "Buy" if t.position == "long" else "Sell",
                "v": text(t.size),
                "p": text(t.price),
            }
            for t in mine
        ]
        topic = f"allLiquidation.{coin}USDT"
        out.append({"topic": topic, "type": "snapshot", "ts": mine[-1].ts_ms + 275, "data": data})
    return out


def okx(events: list[Truth], net_mode: bool = False) -> list[dict[str, Any]]:
    """One message, one entry an instrument, each with its `details`; sizes are contracts."""
    data = []
    for coin in dict.fromkeys(t.coin for t in events):
        details = [
            {
                "bkLoss": "0",
                "bkPx": text(t.price),
                "ccy": "",
                "posSide": "net" if net_mode else t.position,
                "side": "sell" if t.position == "long" else "buy",
                "sz": text(t.size / OKX_SIZE[coin]),
                "ts": str(t.ts_ms),
            }
            for t in events
            if t.coin == coin
        ]
        names = {"instFamily": f"{coin}-USDT", "instId": f"{coin}-USDT-SWAP", "instType": "SWAP", "uly": f"{coin}-USDT"}
        data.append({"details": details, **names})
    return [{"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": data}]


LIQUIDATIONS = {"binance": binance, "binance-coinm": binance_coinm, "bybit": bybit, "okx": okx}


# ---- a beat of the pulse -------------------------------------------------------------------------------------------


def pulse(venue: str, ts_ms: int) -> dict[str, Any]:
    if venue == "binance":
        return {
            "e": "markPriceUpdate",
            "E": ts_ms,
            "s": "BTCUSDT",
            "p": "40000.00000000",
            "i": "39990.00000000",
            "P": "40010.00000000",
            "r": "0.00010000",
            "T": ts_ms + 3_600_000,
        }
    if venue == "binance-coinm":
        return {"e": "markPriceUpdate", "E": ts_ms, "s": "BTCUSD_PERP", "p": "40000.0", "r": "0.0001", "T": ts_ms}
    if venue == "bybit":
        data = {"symbol": "BTCUSDT", "markPrice": "40000.00", "indexPrice": "39990.00"}
        return {"topic": "tickers.BTCUSDT", "type": "delta", "data": data, "cs": 24987956059, "ts": ts_ms}
    data = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "markPx": "40000", "ts": str(ts_ms)}
    return {"arg": {"channel": "mark-price", "instId": "BTC-USDT-SWAP"}, "data": [data]}


# ---- REST: which contracts there are ---------------------------------------------------------------------------------


def binance_info() -> dict[str, Any]:
    return {"timezone": "UTC", "serverTime": 1_700_000_000_000, "symbols": [_binance_contract(c) for c in COINS]}


def _binance_contract(coin: str) -> dict[str, Any]:
    return {
        "symbol": f"{coin}USDT",
        "pair": f"{coin}USDT",
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": coin,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": 2,
        "quantityPrecision": 3,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": ["PoW"],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "4529764", "tickSize": "0.10"},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "120", "stepSize": "0.001"},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }


STRANGE = {"symbols": [{"symbol": "A", "baseAsset": "B", "quoteAsset": "C", "contractType": "PERPETUAL"}]}  # no margin


def binance_coinm_info() -> dict[str, Any]:
    symbols = []
    for coin in COINS:
        names = {"symbol": f"{coin}USD_PERP", "pair": f"{coin}USD", "quoteAsset": "USD", "marginAsset": coin}
        symbols.append(
            _binance_contract(coin) | names | {"contractStatus": "TRADING", "contractSize": COINM_SIZE[coin]}
        )
        del symbols[-1]["status"]
    return {"timezone": "UTC", "serverTime": 1_700_000_000_000, "symbols": symbols}


def bybit_info(category: str) -> dict[str, Any]:
    listed = [
        {
            "symbol": f"{coin}USDT",
            "contractType": "LinearPerpetual",
            "status": "Trading",
            "baseCoin": coin,
            "quoteCoin": "USDT",
            "launchTime": "1585526400000",
            "deliveryTime": "0",
            "deliveryFeeRate": "",
            "priceScale": "2",
            "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
            "priceFilter": {"minPrice": "0.10", "maxPrice": "1999999.80", "tickSize": "0.10"},
            "lotSizeFilter": {
                "maxOrderQty": "1190.000",
                "minOrderQty": "0.001",
                "qtyStep": "0.001",
                "postOnlyMaxOrderQty": "1190.000",
                "maxMktOrderQty": "500.000",
                "minNotionalValue": "5",
            },
            "unifiedMarginTrade": True,
            "fundingInterval": 480,
            "settleCoin": "USDT",
            "copyTrading": "both",
            "upperFundingRate": "0.00375",
            "lowerFundingRate": "-0.00375",
        }
        for coin in COINS
    ]
    listed = listed if category == "linear" else []
    return _bybit_answer({"category": category, "list": listed, "nextPageCursor": ""})


def _bybit_answer(result: Any) -> dict[str, Any]:
    return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": 1_700_000_000_123}


def okx_info() -> dict[str, Any]:
    listed = [
        {
            "alias": "",
            "baseCcy": "",
            "category": "1",
            "ctMult": "1",
            "ctType": "linear",
            "ctVal": text(OKX_SIZE[coin]),
            "ctValCcy": coin,
            "expTime": "",
            "instFamily": f"{coin}-USDT",
            "instId": f"{coin}-USDT-SWAP",
            "instType": "SWAP",
            "lever": "100",
            "listTime": "1606468572000",
            "lotSz": "0.01",
            "maxLmtSz": "100000000",
            "minSz": "0.01",
            "optType": "",
            "quoteCcy": "",
            "settleCcy": "USDT",
            "state": "live",
            "stk": "",
            "tickSz": "0.1",
            "uly": f"{coin}-USDT",
        }
        for coin in COINS
    ]
    return {"code": "0", "msg": "", "data": listed}


def hyperliquid_meta() -> dict[str, Any]:
    universe = [{"name": c, "szDecimals": 5, "maxLeverage": 40, "marginTableId": 56} for c in COINS]
    return {"universe": universe, "marginTables": [], "collateralToken": 0}
