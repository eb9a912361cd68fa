"""Hyperliquid: one address for everything, the last 5,000 candles, settlements each hour."""

from __future__ import annotations

from data.sources import rest_brackets
from data.sources.venue_facts import Feed, TierFeed, VenueFacts, What, same

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
            intervals=same("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "1w"),
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
