"""From one answer of a venue to rows of the schema, and what makes an answer suspect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from venue_server.case import NOW
from venue_server.truth import DAY, MINUTE

from data import clock
from data.errors import Corrupt
from data.sources.rest_rows import Suspect, Window, frame_of
from data.sources.venue_facts import What
from data.sources.venue_table import BINANCE, BYBIT, OKX

KLINES = BINANCE.of(What.CANDLES)[0]
T0 = NOW // DAY * DAY - 10 * DAY


def kline(minute: int, close: str = "1.5") -> list[Any]:
    t = T0 + minute * MINUTE
    return [t, "1.0", "2.0", "0.5", close, "3.0", t + MINUTE - 1, "4.0", 5, "1.0", "2.0", "0"]


WINDOW = Window(T0 * clock.MS, (T0 + 10 * MINUTE) * clock.MS, clock.MINUTE)


def test_an_answer_becomes_rows_of_the_schema() -> None:
    frame = frame_of(KLINES, [kline(1), kline(0)], WINDOW, False, 1.0)
    assert frame.rows()[0] == (T0 * 1000, 1.0, 2.0, 0.5, 1.5, 3.0, 4.0, 5, 1.0, 2.0)
    assert frame.columns[:5] == ["ts", "open", "high", "low", "close"]
    assert len(frame_of(KLINES, [], WINDOW, False, 1.0)) == 0


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ([kline(0), kline(10)], "its rows are shifted"),
        ([kline(-1)], "its rows are shifted"),
        ([[kline(0)[0] + 1, *kline(0)[1:]]], "does not stand on 1m"),
        ([[*kline(0)[:6], kline(1)[6], *kline(0)[7:]]], "a bar does not end 1m after its open"),
        ([kline(0), kline(0, "1.6")], "two rows of .* differ"),
        ([kline(0)[:5]], "documented form"),
        ([[*kline(0)[:4], "", *kline(0)[5:]]], "close is empty"),
        ([[*kline(0)[:4], "n/a", *kline(0)[5:]]], "documented form"),
        ([[*kline(0)[:4], "NaN", *kline(0)[5:]]], "close is no number"),
        ([[*kline(0)[:4], "1e999", *kline(0)[5:]]], "close is no number"),
        ({"code": 0}, "documented form"),
        ([{"t": 1}], "documented form"),
        (["x"], "documented form"),
    ],
)
def test_an_answer_that_cannot_be_what_was_asked_for_is_suspect(payload: Any, complaint: str) -> None:
    with pytest.raises(Suspect, match=complaint):
        frame_of(KLINES, payload, WINDOW, False, 1.0)


def test_an_answer_without_its_rows_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="'list' is missing"):
        frame_of(BYBIT.of(What.CANDLES)[0], {"result": {}}, WINDOW, False, 1.0)


def test_an_unconfirmed_bar_is_left_out() -> None:
    feed = OKX.of(What.CANDLES)[0]
    rows = [[str(T0 + i * MINUTE), "1", "2", "0.5", "1.5", "30", "3", "4", flag] for i, flag in ((1, "0"), (0, "1"))]
    frame = frame_of(feed, {"data": rows}, WINDOW, False, 0.1)
    assert frame["ts"].to_list() == [T0 * 1000]


def test_open_interest_of_bybit_is_one_side() -> None:
    feed = BYBIT.of(What.OPEN_INTEREST)[0]
    rows = [
        {"openInterest": "63910691", "singleOpenInterest": "31955346", "timestamp": str(T0 + 5 * MINUTE)},
        {"openInterest": "100", "timestamp": str(T0)},
    ]
    window = replace(WINDOW, interval=5 * clock.MINUTE)
    frame = frame_of(feed, {"result": {"list": rows}}, window, False, 1.0)
    assert frame["quantity"].to_list() == [50.0, 31955346.0]
