"""The venues that `unwind fetch` knows: one entry each, as `data.sources.venue_facts` describes it.

Limits drift. Each feed names the venue's page that says them; what no page says is taken against the hurry: the smaller
page, the shorter reach, the longer pause. How soon a snapshot is known is an assumption, as for the archives: one
interval, as its stamp may be the start of what it measures, and a minute for publishing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from data.errors import NotFound, did_you_mean
from data.sources import rest_brackets
from data.sources.venue_facts import Feed, TierFeed, VenueFacts, What

_PUBLISH_S = 60.0
_DAY_S = 86_400
_PRICES = {"open": "open", "high": "high", "low": "low", "close": "close"}
_ARCHIVE = "unwind import archive https://data.binance.vision --kind {} --symbols {{}} --since {{}}"


def _same(*names: str) -> Mapping[str, str]:
    return {n: n for n in names}


# ---- Binance -------------------------------------------------------------------------------------

_UM_DOC = "https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/"
_CM_DOC = "https://developers.binance.com/docs/derivatives/coin-margined-futures/market-data/rest-api/"
_BINANCE_BARS = _same("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "1w")
_BINANCE_PERIODS = _same("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
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
    columns=_PRICES | _TRADED,
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
    reach_s=30 * _DAY_S,
    lag_s=_PUBLISH_S,
    pause_s=0.3,  # 1,000 requests in 5 minutes
    elsewhere=_ARCHIVE.format("metrics"),
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
            columns=_PRICES,
        ),
        replace(
            _um_klines,
            what=What.INDEX,
            method="fapiPublicGetIndexPriceKlines",
            doc=_UM_DOC + "Index-Price-Kline-Candlestick-Data",
            params={"pair": "$info.pair", "interval": "$interval", **_WINDOW},
            columns=_PRICES,
        ),
        replace(
            _um_klines,
            what=What.PREMIUM,
            method="fapiPublicGetPremiumIndexKlines",
            doc=_UM_DOC + "Premium-Index-Kline-Data",
            columns=_PRICES,
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
    columns=_PRICES | _TRADED_COIN,
    span_s=200 * _DAY_S,
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
            columns=_PRICES,
        ),
        replace(
            _cm_klines,
            what=What.INDEX,
            method="dapiPublicGetIndexPriceKlines",
            doc=_CM_DOC + "Index-Price-Kline-Candlestick-Data",
            params={"pair": "$info.pair", "interval": "$interval", **_WINDOW},
            columns=_PRICES,
        ),
        replace(
            _cm_klines,
            what=What.PREMIUM,
            method="dapiPublicGetPremiumIndexKlines",
            doc=_CM_DOC + "Premium-Index-Kline-Data",
            columns=_PRICES,
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

# ---- Bybit ---------------------------------------------------------------------------------------

_BYBIT_DOC = "https://bybit-exchange.github.io/docs/v5/market/"
_BYBIT_WINDOW = {"category": "$contract", "symbol": "$id", "limit": "$limit"}
_bybit_klines = Feed(
    What.CANDLES,
    "publicGetV5MarketKline",
    _BYBIT_DOC + "kline",
    {**_BYBIT_WINDOW, "interval": "$interval", "start": "$start", "end": "$end"},
    page=1000,
    time="time",
    newest_first=True,
    columns=_PRICES | {"volume": "volume", "quote_volume": "turnover"},
    inverse={"quote_volume": "volume * size"},  # turnover is in coin
    rows=("result", "list"),
    fields=("time", "open", "high", "low", "close", "volume", "turnover"),
    intervals={
        "1m": "1",
        "3m": "3",
        "5m": "5",
        "15m": "15",
        "30m": "30",
        "1h": "60",
        "2h": "120",
        "4h": "240",
        "6h": "360",
        "12h": "720",
        "1d": "D",
        "1w": "W",
    },
)
_BYBIT_PERIODS = {"5m": "5min", "15m": "15min", "30m": "30min", "1h": "1h", "4h": "4h", "1d": "1d"}


def _bybit_price(what: What, method: str, page: str) -> Feed:
    return replace(
        _bybit_klines,
        what=what,
        method=method,
        doc=_BYBIT_DOC + page,
        columns=_PRICES,
        inverse={},
        fields=("time", "open", "high", "low", "close"),
    )


BYBIT = VenueFacts(
    "bybit",
    "bybit",
    "bybit",
    (
        _bybit_klines,
        _bybit_price(What.MARK, "publicGetV5MarketMarkPriceKline", "mark-kline"),
        _bybit_price(What.INDEX, "publicGetV5MarketIndexPriceKline", "index-kline"),
        _bybit_price(What.PREMIUM, "publicGetV5MarketPremiumIndexPriceKline", "premium-index-kline"),
        Feed(
            What.FUNDING,
            "publicGetV5MarketFundingHistory",
            _BYBIT_DOC + "history-fund-rate",
            {**_BYBIT_WINDOW, "startTime": "$start", "endTime": "$end"},
            page=200,
            time="fundingRateTimestamp",
            newest_first=True,
            columns={"rate": "fundingRate"},
            rows=("result", "list"),
        ),
        Feed(
            What.OPEN_INTEREST,
            "publicGetV5MarketOpenInterest",
            _BYBIT_DOC + "open-interest",
            {**_BYBIT_WINDOW, "intervalTime": "$interval", "startTime": "$start", "endTime": "$end"},
            page=200,
            time="timestamp",
            newest_first=True,
            # openInterest sums both sides; singleOpenInterest is there since June 2026
            columns={"quantity": "coalesce(singleOpenInterest, openInterest / 2)"},
            rows=("result", "list"),
            optional=("singleOpenInterest",),
            intervals=_BYBIT_PERIODS,
            lag_s=_PUBLISH_S,
        ),
        Feed(
            What.RATIOS,
            "publicGetV5MarketAccountRatio",
            _BYBIT_DOC + "long-short-ratio",
            {**_BYBIT_WINDOW, "period": "$interval", "startTime": "$start", "endTime": "$end"},
            page=500,
            time="timestamp",
            newest_first=True,
            columns={"ratio": "buyRatio / nullif(sellRatio, 0)", "long": "buyRatio", "short": "sellRatio"},
            rows=("result", "list"),
            kind="accounts",
            intervals=_BYBIT_PERIODS,
            since="2020-07-20",
            lag_s=_PUBLISH_S,
        ),
    ),
    contracts=("linear", "inverse"),
    options={"fetchMarkets": {"types": ["linear", "inverse"]}},
    time=("publicGetV5MarketTime", ("time",)),
    tiers=TierFeed(
        "publicGetV5MarketRiskLimit",
        _BYBIT_DOC + "risk-limit",
        {"category": "$contract", "symbol": "$id"},
        rest_brackets.bybit,
    ),
    bans={403: 600.0},  # "access too frequent": ten minutes
    delisting="deliveryTime",
    contract_size=1.0,  # a dollar; ccxt gives the smallest order
)

# ---- OKX -----------------------------------------------------------------------------------------

_OKX_DOC = "https://www.okx.com/docs-v5/en/"
_okx_candles = Feed(
    What.CANDLES,
    "publicGetMarketHistoryCandles",
    _OKX_DOC + "#order-book-trading-market-data-get-candlesticks-history",
    {"instId": "$id", "bar": "$interval", "before": "$before", "after": "$after", "limit": "$limit"},
    page=100,
    most=300,
    time="time",
    newest_first=True,
    columns=_PRICES | {"volume": "coins", "quote_volume": "quote"},
    inverse={"volume": "contracts", "quote_volume": "contracts * size"},
    rows=("data",),
    fields=("time", "open", "high", "low", "close", "contracts", "coins", "quote", "confirm"),
    intervals={
        "1m": "1m",
        "3m": "3m",
        "5m": "5m",
        "15m": "15m",
        "30m": "30m",
        "1h": "1H",
        "2h": "2H",
        "4h": "4H",
        "6h": "6Hutc",
        "12h": "12Hutc",
        "1d": "1Dutc",
        "1w": "1Wutc",
    },
    confirmed=("confirm", "1"),
)
_PRICE_FIELDS = ("time", "open", "high", "low", "close", "confirm")
_OKX_STATS = {"instId": "$id", "period": "$interval", "begin": "$before", "end": "$after", "limit": "$limit"}
_okx_oi = Feed(
    What.OPEN_INTEREST,
    "publicGetRubikStatContractsOpenInterestHistory",
    _OKX_DOC + "#trading-statistics-rest-api-get-contract-open-interest-history",
    _OKX_STATS,
    page=100,
    time="time",
    newest_first=True,
    columns={"quantity": "coins", "value": "usd"},
    inverse={"quantity": "contracts", "value": "contracts * size"},
    rows=("data",),
    fields=("time", "contracts", "coins", "usd"),
    intervals={"5m": "5m", "1h": "1H"},
    reach_rows=1440,
    lag_s=_PUBLISH_S,
    elsewhere="unwind record, which keeps what the venue forgets, or unwind import file",
)


def _okx_ratio(kind: str, method: str, page: str) -> Feed:
    return replace(
        _okx_oi,
        what=What.RATIOS,
        kind=kind,
        method=method,
        doc=_OKX_DOC + page,
        columns={"ratio": "ratio"},
        inverse={},
        fields=("time", "ratio"),
    )


OKX = VenueFacts(
    "okx",
    "okx",
    "okx",
    (
        _okx_candles,
        replace(
            _okx_candles,
            what=What.MARK,
            method="publicGetMarketHistoryMarkPriceCandles",
            doc=_OKX_DOC + "#public-data-rest-api-get-mark-price-candlesticks-history",
            most=100,
            columns=_PRICES,
            inverse={},
            fields=_PRICE_FIELDS,
        ),
        replace(
            _okx_candles,
            what=What.INDEX,
            method="publicGetMarketHistoryIndexCandles",
            doc=_OKX_DOC + "#public-data-rest-api-get-index-candlesticks-history",
            params={
                "instId": "$info.instFamily",
                "bar": "$interval",
                "before": "$before",
                "after": "$after",
                "limit": "$limit",
            },
            most=100,
            columns=_PRICES,
            inverse={},
            fields=_PRICE_FIELDS,
        ),
        Feed(
            What.FUNDING,
            "publicGetPublicFundingRateHistory",
            _OKX_DOC + "#public-data-rest-api-get-funding-rate-history",
            {"instId": "$id", "before": "$before", "after": "$after", "limit": "$limit"},
            page=100,
            most=400,
            time="fundingTime",
            newest_first=True,
            columns={"rate": "coalesce(realizedRate, fundingRate)"},
            rows=("data",),
            optional=("realizedRate",),
            reach_s=90 * _DAY_S,
            elsewhere="unwind import file, with the venue's historical downloads",
        ),
        _okx_oi,
        _okx_ratio(
            "accounts",
            "publicGetRubikStatContractsLongShortAccountRatioContract",
            "#trading-statistics-rest-api-get-contract-long-short-ratio",
        ),
        _okx_ratio(
            "top_accounts",
            "publicGetRubikStatContractsLongShortAccountRatioContractTopTrader",
            "#trading-statistics-rest-api-get-top-traders-contract-long-short-ratio",
        ),
        _okx_ratio(
            "top_positions",
            "publicGetRubikStatContractsLongShortPositionRatioContractTopTrader",
            "#trading-statistics-rest-api-get-top-traders-contract-long-short-ratio-by-position",
        ),
        replace(
            _okx_oi,
            what=What.RATIOS,
            kind="taker_volume",
            method="publicGetRubikStatTakerVolumeContract",
            doc=_OKX_DOC + "#trading-statistics-rest-api-get-contract-taker-volume",
            params=_OKX_STATS | {"unit": "0"},  # in coin
            columns={"ratio": "buys / nullif(sells, 0)", "long": "buys", "short": "sells"},
            inverse={},
            fields=("time", "sells", "buys"),
        ),
    ),
    contracts=("linear", "inverse"),
    options={"fetchMarkets": {"types": ["swap"]}},
    time=("publicGetPublicTime", ("data", 0, "ts")),
    tiers=TierFeed(
        "publicGetPublicPositionTiers",
        _OKX_DOC + "#public-data-rest-api-get-position-tiers",
        {"instType": "SWAP", "tdMode": "isolated", "instFamily": "$info.instFamily"},
        rest_brackets.okx,
        price=("publicGetPublicMarkPrice", {"instType": "SWAP", "instId": "$id"}, ("data", 0, "markPx")),
        remark="OKX counts its tiers in contracts: their notional is taken at the mark price of now",
    ),
    lacks={What.PREMIUM: "OKX gives no bars of the premium; it is mark over index"},
    delisting="expTime",
)

# ---- Hyperliquid ---------------------------------------------------------------------------------

_HL_DOC = "https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint"
_HL_ONLY_NOW = "Hyperliquid tells only the current one; unwind record keeps it from now on"

HYPERLIQUID = VenueFacts(
    "hyperliquid",
    "hyperliquid",
    "hyperliquid",
    (
        Feed(
            What.CANDLES,
            "publicPostInfo",
            _HL_DOC + "#candle-snapshot",
            {
                "type": "candleSnapshot",
                "req": {"coin": "$id", "interval": "$interval", "startTime": "$start", "endTime": "$end"},
            },
            page=5000,
            time="t",
            columns={"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "trades": "n"},
            intervals=_same("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "1w"),
            closes="T",
            reach_rows=5000,
            pause_s=5.5,  # a weight of 20, and 1 more for each 60 bars, of 1,200 a minute
            elsewhere="unwind import file",
        ),
        Feed(
            What.FUNDING,
            "publicPostInfo",
            _HL_DOC + "/perpetuals#retrieve-historical-funding-rates",
            {"type": "fundingHistory", "coin": "$id", "startTime": "$start", "endTime": "$end"},
            page=500,
            time="time",
            columns={"rate": "fundingRate"},
            hours=1.0,
            hours_told=True,
            since="2023-05-12",
            pause_s=2.5,  # a weight of 20, and 1 more for each 20 rows
        ),
    ),
    options={"fetchMarkets": {"types": ["swap"]}},
    id_field="baseName",
    tiers=TierFeed(
        "publicPostInfo",
        _HL_DOC + "/perpetuals#retrieve-perpetuals-metadata-universe-and-margin-tables",
        {"type": "meta"},
        rest_brackets.hyperliquid,
        for_all=True,
    ),
    lacks={
        What.MARK: "Hyperliquid gives no bars of the mark price; unwind record keeps it from now on",
        What.INDEX: "Hyperliquid gives no bars of the oracle price",
        What.PREMIUM: "Hyperliquid gives no bars of the premium",
        What.OPEN_INTEREST: f"no history of open interest: {_HL_ONLY_NOW}",
        What.RATIOS: "Hyperliquid publishes no long/short ratios",
    },
    tick_drifts=True,
)

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
