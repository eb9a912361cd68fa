"""OKX, swaps: sizes come in contracts, and bounds of time are left out of what is asked for."""

from __future__ import annotations

from dataclasses import replace

from data.sources import rest_brackets
from data.sources.venue_facts import DAY_S, PRICES, PUBLISH_S, Feed, TierFeed, VenueFacts, What

_OKX_DOC = "https://www.okx.com/docs-v5/en/"
_okx_candles = Feed(
    What.CANDLES,
    "publicGetMarketHistoryCandles",
    _OKX_DOC + "#order-book-trading-market-data-get-candlesticks-history",
    {"instId": "$id", "bar": "$interval", "before": "$before", "after": "$after", "limit": "$limit"},
    page=300,
    time="time",
    newest_first=True,
    columns=PRICES | {"volume": "coins", "quote_volume": "quote"},
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
    lag_s=PUBLISH_S,
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
            page=100,
            columns=PRICES,
            inverse={},
            fields=_PRICE_FIELDS,
        ),
        replace(
            _okx_candles,
            what=What.INDEX,
            method="publicGetMarketHistoryIndexCandles",
            doc=_OKX_DOC + "#public-data-rest-api-get-index-candlesticks-history",
            params={
                "instId": "$info.uly",  # the index: BTC-USD, where the family may be BTC-USD_UM
                "bar": "$interval",
                "before": "$before",
                "after": "$after",
                "limit": "$limit",
            },
            page=100,
            columns=PRICES,
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
            reach_s=90 * DAY_S,
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
