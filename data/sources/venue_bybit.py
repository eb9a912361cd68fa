"""Bybit, contracts in USDT, in USDC and inverse ones: one interface, told apart by `category`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from data.sources import rest_brackets
from data.sources.venue_facts import PRICES, PUBLISH_S, Feed, TierFeed, VenueFacts, What

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
    columns=PRICES | {"volume": "volume", "quote_volume": "turnover"},
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


def _bybit_price(what: What, method: str, page: str, **more: Any) -> Feed:
    return replace(
        _bybit_klines,
        **more,
        what=what,
        method=method,
        doc=_BYBIT_DOC + page,
        columns=PRICES,
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
        _bybit_price(
            What.PREMIUM, "publicGetV5MarketPremiumIndexPriceKline", "premium-index-kline", contracts=("linear",)
        ),
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
            # openInterest sums both sides, in all of the history; answers carry singleOpenInterest since June 2026
            columns={"quantity": "coalesce(singleOpenInterest, openInterest / 2)"},
            rows=("result", "list"),
            optional=("singleOpenInterest",),
            intervals=_BYBIT_PERIODS,
            lag_s=PUBLISH_S,
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
            lag_s=PUBLISH_S,
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
    busy=r'"retCode":\s*(10000|10016|10019)\b',  # time-out of the server, its error, its restart
    delisting="deliveryTime",
    contract_size=1.0,  # a dollar; ccxt gives the smallest order
)
