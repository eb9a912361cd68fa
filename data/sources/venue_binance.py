"""Binance on the wire of its two interfaces: USD-M, and COIN-M, which counts in contracts and is margined in coin.

Both are stored as `binance`, as the archive is; a symbol says which one it belongs to. Snapshots are the same rows as
the archive's metrics, known as late.
"""

from __future__ import annotations

from dataclasses import replace

from data.sources import rest_brackets
from data.sources.venue_facts import DAY_S, PRICES, PUBLISH_S, Feed, TierFeed, VenueFacts, What, same

ARCHIVE = "unwind import archive https://data.binance.vision --kind {} --symbols {{}} --since {{}}"
_UM_DOC = "https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/"
_CM_DOC = "https://developers.binance.com/docs/derivatives/coin-margined-futures/market-data/rest-api/"
_BINANCE_BARS = same("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "1w")
_BINANCE_PERIODS = same("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
_WINDOW = {"startTime": "$start", "endTime": "$end", "limit": "$limit"}
_KLINE = (
    "time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "until",
    "quote",
    "trades",
    "taker",
    "taker_quote",
)
_TRADED = {
    "volume": "volume",
    "quote_volume": "quote",
    "trades": "trades",
    "taker_buy_volume": "taker",
    "taker_buy_quote_volume": "taker_quote",
}
_TRADED_COIN = {  # volumes count contracts, and money is contracts times size
    "volume": "volume",
    "quote_volume": "volume * size",
    "trades": "trades",
    "taker_buy_volume": "taker",
    "taker_buy_quote_volume": "taker * size",
}

# 499 rows weigh 2, 1500 weigh 10: smaller pages bring more rows within the same limit.
_um_klines = Feed(
    What.CANDLES,
    "fapiPublicGetKlines",
    _UM_DOC + "Kline-Candlestick-Data",
    {"symbol": "$id", "interval": "$interval", **_WINDOW},
    page=499,
    most=1500,
    time="time",
    columns=PRICES | _TRADED,
    fields=_KLINE,
    intervals=_BINANCE_BARS,
    closes="until",
)
_um_oi = Feed(
    What.OPEN_INTEREST,
    "fapiDataGetOpenInterestHist",
    _UM_DOC + "Open-Interest-Statistics",
    {"symbol": "$id", "period": "$interval", **_WINDOW},
    page=500,
    time="timestamp",
    columns={"quantity": "sumOpenInterest", "value": "sumOpenInterestValue"},
    intervals=_BINANCE_PERIODS,
    reach_s=30 * DAY_S,
    lag_s=PUBLISH_S,
    pause_s=0.3,  # 1,000 requests in 5 minutes from one address
    queue="futures/data",
    elsewhere=ARCHIVE.format("metrics"),
)
_um_funding = Feed(
    What.FUNDING,
    "fapiPublicGetFundingRate",
    _UM_DOC + "Get-Funding-Rate-History",
    {"symbol": "$id", **_WINDOW},
    page=1000,
    time="fundingTime",
    columns={"rate": "fundingRate", "price": "markPrice"},
    optional=("markPrice",),
    pause_s=0.6,  # 500 requests in 5 minutes
)


def _um_ratio(kind: str, method: str, page: str) -> Feed:
    shares = {"ratio": "longShortRatio", "long": "longAccount", "short": "shortAccount"}
    taker = {"ratio": "buySellRatio", "long": "buyVol", "short": "sellVol"}
    columns = taker if kind == "taker_volume" else shares
    return replace(_um_oi, what=What.RATIOS, method=method, doc=_UM_DOC + page, kind=kind, columns=columns)


BINANCE = VenueFacts(
    "binance",
    "binance",
    "binanceusdm",
    (
        _um_klines,
        replace(
            _um_klines,
            what=What.MARK,
            method="fapiPublicGetMarkPriceKlines",
            doc=_UM_DOC + "Mark-Price-Kline-Candlestick-Data",
            columns=PRICES,
        ),
        replace(
            _um_klines,
            what=What.INDEX,
            method="fapiPublicGetIndexPriceKlines",
            doc=_UM_DOC + "Index-Price-Kline-Candlestick-Data",
            params={"pair": "$info.pair", "interval": "$interval", **_WINDOW},
            columns=PRICES,
        ),
        replace(
            _um_klines,
            what=What.PREMIUM,
            method="fapiPublicGetPremiumIndexKlines",
            doc=_UM_DOC + "Premium-Index-Kline-Data",
            columns=PRICES,
        ),
        _um_funding,
        _um_oi,
        _um_ratio("accounts", "fapiDataGetGlobalLongShortAccountRatio", "Long-Short-Ratio"),
        _um_ratio("top_accounts", "fapiDataGetTopLongShortAccountRatio", "Top-Long-Short-Account-Ratio"),
        _um_ratio("top_positions", "fapiDataGetTopLongShortPositionRatio", "Top-Trader-Long-Short-Ratio"),
        _um_ratio("taker_volume", "fapiDataGetTakerlongshortRatio", "Taker-BuySell-Volume"),
    ),
    time=("fapiPublicGetTime", ("serverTime",)),
    tiers=TierFeed(
        "fapiPrivateGetLeverageBracket",
        "https://developers.binance.com/docs/derivatives/usds-margined-futures/account/rest-api/"
        "Notional-and-Leverage-Brackets",
        {},
        rest_brackets.binance,
        for_all=True,
        needs_key=True,
    ),
    bans={418: 120.0},
    delisting="deliveryDate",
    keys="BINANCE",
)

_PAIR = {"pair": "$info.pair", "contractType": "$info.contractType"}
_cm_klines = replace(
    _um_klines,
    method="dapiPublicGetKlines",
    doc=_CM_DOC + "Kline-Candlestick-Data",
    columns=PRICES | _TRADED_COIN,
    span_s=200 * DAY_S,
)
_cm_oi = replace(
    _um_oi,
    method="dapiDataGetOpenInterestHist",
    doc=_CM_DOC + "Open-Interest-Statistics",
    params={**_PAIR, "period": "$interval", **_WINDOW},
    columns={"quantity": "sumOpenInterest", "value": "sumOpenInterest * size"},
)
_cm_ratio = replace(_cm_oi, what=What.RATIOS, params={"pair": "$info.pair", "period": "$interval", **_WINDOW})
_SHARES = {"ratio": "longShortRatio", "long": "longAccount", "short": "shortAccount"}

BINANCE_COINM = VenueFacts(
    "binance-coinm",
    "binance",
    "binancecoinm",
    (
        _cm_klines,
        replace(
            _cm_klines,
            what=What.MARK,
            method="dapiPublicGetMarkPriceKlines",
            doc=_CM_DOC + "Mark-Price-Kline-Candlestick-Data",
            columns=PRICES,
        ),
        replace(
            _cm_klines,
            what=What.INDEX,
            method="dapiPublicGetIndexPriceKlines",
            doc=_CM_DOC + "Index-Price-Kline-Candlestick-Data",
            params={"pair": "$info.pair", "interval": "$interval", **_WINDOW},
            columns=PRICES,
        ),
        replace(
            _cm_klines,
            what=What.PREMIUM,
            method="dapiPublicGetPremiumIndexKlines",
            doc=_CM_DOC + "Premium-Index-Kline-Data",
            columns=PRICES,
        ),
        replace(
            _um_funding,
            method="dapiPublicGetFundingRate",
            doc=_CM_DOC + "Get-Funding-Rate-History-of-Perpetual-Futures",
        ),
        _cm_oi,
        replace(
            _cm_ratio,
            kind="accounts",
            method="dapiDataGetGlobalLongShortAccountRatio",
            doc=_CM_DOC + "Long-Short-Ratio",
            columns=_SHARES,
        ),
        replace(
            _cm_ratio,
            kind="top_accounts",
            method="dapiDataGetTopLongShortAccountRatio",
            doc=_CM_DOC + "Top-Long-Short-Account-Ratio",
            columns=_SHARES,
        ),
        replace(
            _cm_ratio,
            kind="top_positions",
            method="dapiDataGetTopLongShortPositionRatio",
            doc=_CM_DOC + "Top-Trader-Long-Short-Ratio",
            columns={"ratio": "longShortRatio", "long": "longPosition", "short": "shortPosition"},
        ),
        replace(
            _cm_oi,
            what=What.RATIOS,
            kind="taker_volume",
            method="dapiDataGetTakerBuySellVol",
            doc=_CM_DOC + "Taker-Buy-Sell-Volume",
            columns={"ratio": "takerBuyVol / nullif(takerSellVol, 0)", "long": "takerBuyVol", "short": "takerSellVol"},
        ),
    ),
    contracts=("inverse",),
    time=("dapiPublicGetTime", ("serverTime",)),
    tiers=TierFeed(
        "dapiPrivateV2GetLeverageBracket",
        "https://developers.binance.com/docs/derivatives/coin-margined-futures/account/rest-api/"
        "Notional-Bracket-for-Symbol",
        {},
        rest_brackets.binance,
        for_all=True,
        needs_key=True,
    ),
    bans={418: 120.0},
    delisting="deliveryDate",
    keys="BINANCE",
)
