"""The venues' messages, as their documentation prints them, and what they say."""

from __future__ import annotations

from typing import Any

import pytest

from data.sources.stream_events import Contract, Forced, read
from data.sources.stream_facts import STREAMS

CONTRACTS = {
    "BTCUSDT": Contract("BTC/USDT:USDT", 1.0, False),
    "BTCUSD_200925": Contract("BTC/USD:BTC-200925", 100.0, True),
    "ROSEUSDT": Contract("ROSE/USDT:USDT", 1.0, False),
    "BTCUSD": Contract("BTC/USD:BTC", 1.0, True),
    "IOST-USDT-SWAP": Contract("IOST/USDT:USDT", 1000.0, False),
    "BTC-USD-SWAP": Contract("BTC/USD:BTC", 100.0, True),
}


def said(name: str, message: dict[str, Any]) -> list[Forced] | None:
    facts = STREAMS[name].liquidations
    assert facts is not None
    return read(name, message, facts, CONTRACTS.get)


# developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/Liquidation-Order-Streams
BINANCE: dict[str, Any] = {
    "e": "forceOrder",
    "E": 1568014460893,
    "o": {
        "s": "BTCUSDT",
        "S": "SELL",
        "o": "LIMIT",
        "f": "IOC",
        "q": "0.014",
        "p": "9910",
        "ap": "9910",
        "X": "FILLED",
        "l": "0.014",
        "z": "0.014",
        "T": 1568014460893,
    },
}
# .../coin-margined-futures/websocket-market-streams/Liquidation-Order-Streams
COINM: dict[str, Any] = {
    "e": "forceOrder",
    "E": 1591154240950,
    "o": {
        "s": "BTCUSD_200925",
        "ps": "BTCUSD",
        "S": "SELL",
        "o": "LIMIT",
        "f": "IOC",
        "q": "1",
        "p": "9425.5",
        "ap": "9496.5",
        "X": "FILLED",
        "l": "1",
        "z": "1",
        "T": 1591154240949,
    },
}
# bybit-exchange.github.io/docs/v5/websocket/public/all-liquidation
BYBIT: dict[str, Any] = {
    "topic": "allLiquidation.ROSEUSDT",
    "type": "snapshot",
    "ts": 1739502303204,
    "data": [{"T": 1739502302929, "s": "ROSEUSDT", "S": "Sell", "v": "20000", "p": "0.04499"}],
}
# www.okx.com/docs-v5/en/#public-data-websocket-liquidation-orders-channel
OKX: dict[str, Any] = {
    "arg": {"channel": "liquidation-orders", "instType": "SWAP"},
    "data": [
        {
            "details": [
                {
                    "bkLoss": "0",
                    "bkPx": "0.007831",
                    "ccy": "",
                    "posSide": "short",
                    "side": "buy",
                    "sz": "13",
                    "ts": "1692266434010",
                }
            ],
            "instFamily": "IOST-USDT",
            "instId": "IOST-USDT-SWAP",
            "instType": "SWAP",
            "uly": "IOST-USDT",
        }
    ],
}


@pytest.mark.parametrize(
    ("name", "message", "expected"),
    [
        (
            "binance",
            BINANCE,
            ("BTC/USDT:USDT", 1568014460893000, "long", 9910.0, "average", 0.014, 138.74, "0"),
        ),
        (
            "binance-coinm",
            COINM,
            ("BTC/USD:BTC-200925", 1591154240949000, "long", 9496.5, "average", 1.0, 100.0, "0"),
        ),
        ("bybit", BYBIT, ("ROSE/USDT:USDT", 1739502302929000, "short", 0.04499, "bankruptcy", 20000.0, 899.8, "0")),
        ("okx", OKX, ("IOST/USDT:USDT", 1692266434010000, "short", 0.007831, "bankruptcy", 13000.0, 101.803, "0")),
    ],
)
def test_documented_messages(name: str, message: dict[str, Any], expected: tuple[Any, ...]) -> None:
    (event,) = said(name, message) or []
    assert event[:5] == expected[:5]
    assert (event.quantity, event.notional) == pytest.approx(expected[5:7])
    assert event.event_id == "0"


def test_an_order_filled_in_parts() -> None:
    """`l` is its last fill, `z` what was filled in all, `q` what was wanted; without a fill there is no event."""
    part = {**BINANCE, "o": {**BINANCE["o"], "q": "10", "l": "1", "z": "4", "X": "PARTIALLY_FILLED"}}
    (event,) = said("binance", part) or []
    assert event.quantity == 4.0
    assert said("binance", {**BINANCE, "o": {**BINANCE["o"], "l": "0", "z": "0", "ap": "0", "X": "NEW"}}) == []
    (unpriced,) = said("binance", {**BINANCE, "o": {**BINANCE["o"], "ap": "0"}}) or []
    assert (unpriced.price, unpriced.price_kind) == (9910.0, "limit")


def test_the_sides_of_three_venues() -> None:
    """One word, three meanings: the closing order's side (Binance, OKX), the position's own (Bybit)."""
    for side, position in (("SELL", "long"), ("BUY", "short")):
        (event,) = said("binance", {**BINANCE, "o": {**BINANCE["o"], "S": side}}) or []
        assert event.position == position
    for side, position in (("Buy", "long"), ("Sell", "short")):
        (event,) = said("bybit", {**BYBIT, "data": [{**BYBIT["data"][0], "S": side}]}) or []
        assert event.position == position
    entry = OKX["data"][0]
    for side, told, position in (
        ("sell", "long", "long"),
        ("buy", "short", "short"),
        ("sell", "net", "long"),
        ("buy", "net", "short"),
        ("buy", "", "short"),
    ):
        details = [{**entry["details"][0], "side": side, "posSide": told}]
        (event,) = said("okx", {**OKX, "data": [{**entry, "details": details}]}) or []
        assert event.position == position


def test_every_detail_of_every_instrument() -> None:
    entry, d = OKX["data"][0], OKX["data"][0]["details"][0]
    inverse = {**entry, "instId": "BTC-USD-SWAP", "details": [{**d, "bkPx": "30000", "sz": str(n)} for n in (1, 2)]}
    events = said("okx", {**OKX, "data": [{**entry, "details": [d, {**d, "sz": "14"}, d]}, inverse]}) or []
    assert [(e.symbol, e.quantity, e.event_id) for e in events] == [
        ("IOST/USDT:USDT", 13000.0, "0"),
        ("IOST/USDT:USDT", 14000.0, "0"),
        ("IOST/USDT:USDT", 13000.0, "1"),
        ("BTC/USD:BTC", 1.0, "0"),
        ("BTC/USD:BTC", 2.0, "0"),
    ]
    assert [e.notional for e in events[3:]] == [100.0, 200.0]


def test_bybit_inverse_sizes_are_dollars() -> None:
    data = [{**BYBIT["data"][0], "s": "BTCUSD", "v": "5000", "p": "40000"}]
    (event,) = said("bybit-inverse", {**BYBIT, "data": data}) or []
    assert (event.quantity, event.notional) == (5000.0, 5000.0)


def test_a_symbol_that_is_not_recorded_is_left_out() -> None:
    assert said("bybit", {**BYBIT, "data": [{**BYBIT["data"][0], "s": "XUSDT"}]}) == []
    assert said("binance", {**BINANCE, "o": {**BINANCE["o"], "s": "XUSDT"}}) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("binance", {"result": None, "id": 1}),
        ("binance", {"e": "markPriceUpdate", "s": "BTCUSDT", "p": "1"}),
        ("bybit", {"op": "pong", "args": ["1"]}),
        ("bybit", {"topic": "tickers.BTCUSDT", "data": {}}),
        ("okx", {"event": "subscribe", "arg": {"channel": "liquidation-orders"}}),
        ("okx", {"arg": {"channel": "mark-price"}, "data": []}),
    ],
)
def test_other_messages_are_none(name: str, message: dict[str, Any]) -> None:
    assert said(name, message) is None


def without(message: dict[str, Any], field: str) -> dict[str, Any]:
    return {k: v for k, v in message.items() if k != field}


def broken() -> list[Any]:
    order, entry, detail = BINANCE["o"], BYBIT["data"][0], OKX["data"][0]["details"][0]
    out: list[Any] = [("binance", {**BINANCE, "o": without(order, f)}) for f in ("s", "S", "p", "ap", "z", "T")[:2]]
    out += [("binance", {**BINANCE, "o": {**order, **new}}) for new in ({"S": "HOLD"}, {"z": "x"}, {"ap": "nan"})]
    out += [("binance", {**BINANCE, "o": {**order, "T": 1568014460}}), ("binance", {**BINANCE, "o": None})]
    out += [("bybit", {**BYBIT, "data": [without(entry, f)]}) for f in ("T", "s", "S", "v", "p")]
    out += [("bybit", {**BYBIT, "data": [{**entry, "v": "-1"}]}), ("bybit", {**BYBIT, "data": None})]
    for new in ({"bkPx": ""}, {"sz": "inf"}, {"side": "?", "posSide": ""}, {"ts": None}):
        out.append(("okx", {**OKX, "data": [{**OKX["data"][0], "details": [{**detail, **new}]}]}))
    return out


@pytest.mark.parametrize(("name", "message"), broken())
def test_a_message_that_says_nothing_is_refused(name: str, message: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        said(name, message)


@pytest.mark.parametrize(
    "change", [{"T": 1_780_000_000_000_000}, {"T": 4_000_000_000_000}, {"ap": "1e200", "z": "1e200"}]
)
def test_what_the_store_would_refuse_is_not_read(change: dict[str, Any]) -> None:
    """One row that the store refuses would take the whole segment, with all other venues' events, with it."""
    with pytest.raises(ValueError, match=r"is no time in milliseconds|cannot be"):
        said("binance", {**BINANCE, "o": BINANCE["o"] | change})
