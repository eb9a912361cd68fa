"""Snapshots by REST of four venues in their own wire format: every column, bands of depth, and failures as gaps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from venue_streams import wire
from venue_streams.live import Live, gaps, quick_plan
from venue_streams.server import Venues

from data.recording.snapshots import _can_be, _until_next
from data.sources.stream_events import Contract
from data.sources.stream_snapshots import _us, bands, number
from data.store import Store

NAMES = ("binance", "bybit", "okx", "hyperliquid")


@pytest.fixture(scope="module")
def venues() -> Iterator[Venues]:
    with Venues() as v:
        yield v


@pytest.fixture(scope="module")
def recorded(venues: Venues, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds of every kind of snapshot, of a state that the tests know."""
    store = tmp_path_factory.mktemp("snapshots") / "s.duckdb"
    ts = time.time_ns() // 1_000_000 - 400
    for i, ((_, coin), s) in enumerate(venues.snapshots.items()):
        top = 40_000.0 if coin == "BTC" else 2_500.0
        s.ts_ms, s.mark, s.index, s.rate = ts + i, top + i, top - i, 0.0001 * (i + 1)
        s.next_ms, s.oi = ts + 3_600_000 + i, 1_000.5 + i
        s.bids = [(top - top * 0.0002 * n, float(n)) for n in range(1, 400)]
        s.asks = [(top + top * 0.0002 * n, 2.0 * n) for n in range(1, 400)]
    what = ("mark", "open-interest", "depth")
    with Live(quick_plan(store, venues, NAMES, what=what, every_s=1.0, keep="all")) as live:
        venues.wait_for(lambda: all(live.status.of(n).snapshots >= 6 for n in NAMES))
    return store


def rows(store: Path, table: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The first row of each contract."""
    out: dict[tuple[str, str], dict[str, Any]] = {}
    for r in Store(store, read_only=True).query(f"SELECT * FROM {table} ORDER BY known_at").to_pylist():
        out.setdefault((r["venue"], r["symbol"].split("/")[0]), r)
    return out


def ms(when: Any) -> int:
    import pandas as pd

    return int(pd.Timestamp(when).value // 1_000_000)


def test_marks_and_the_forecast_of_funding(recorded: Path, venues: Venues) -> None:
    found = rows(recorded, "marks")
    assert found.keys() == venues.snapshots.keys()
    for (venue, coin), s in venues.snapshots.items():
        r = found[venue, coin]
        assert (r["mark"], r["index"]) == (pytest.approx(s.mark), pytest.approx(s.index))
        assert r["interval_s"] == 1
        assert r["symbol"] == (f"{coin}/USDC:USDC" if venue == "hyperliquid" else f"{coin}/USDT:USDT")
        assert r["ts"] <= r["known_at"]
        if venue == "hyperliquid":  # hourly, and without a stamp of its own
            assert r["funding_rate"] == pytest.approx(s.rate / 8)
            assert ms(r["funding_at"]) == ms(r["ts"]) // 3_600_000 * 3_600_000 + 3_600_000
            assert abs(ms(r["known_at"]) - ms(r["ts"])) < 20_000
        else:
            stamp = venues.snapshots[venue, "BTC"] if venue == "bybit" else s  # one stamp for the whole answer
            assert r["funding_rate"] == pytest.approx(s.rate)
            assert ms(r["funding_at"]) == s.next_ms
            assert ms(r["ts"]) == stamp.ts_ms


def test_open_interest_is_one_side_in_base_units(recorded: Path, venues: Venues) -> None:
    found = rows(recorded, "open_interest")
    assert found.keys() == venues.snapshots.keys()
    for (venue, coin), s in venues.snapshots.items():
        r = found[venue, coin]
        assert r["quantity"] == pytest.approx(s.oi)
        assert r["interval_s"] == 1
        assert (r["value"] is None) == (venue == "binance")
        assert r["value"] is None or r["value"] == pytest.approx(s.oi * s.mark)


def test_depth_in_bands_of_base_units(recorded: Path, venues: Venues) -> None:
    store = Store(recorded, read_only=True)
    for (venue, coin), s in venues.snapshots.items():
        query = "SELECT * FROM depth WHERE venue = ? AND symbol LIKE ? ORDER BY known_at, percent"
        found = store.query(query, [venue, f"{coin}/%"]).to_pylist()
        first = [r for r in found if r["known_at"] == found[0]["known_at"]]
        reach = 20 if venue == "hyperliquid" else 399  # levels that the venue gives
        bands_seen = (0.1, 0.2) if venue == "hyperliquid" else (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
        if venue != "hyperliquid":  # fewer levels came than were asked for: the whole book
            assert len(s.bids) < 400
        assert [r["percent"] for r in first] == sorted([*(-b for b in bands_seen), *bands_seen])
        for r in first:
            side = (s.bids if r["percent"] < 0 else s.asks)[:reach]
            mid = (s.bids[0][0] + s.asks[0][0]) / 2
            inside = [(p, q) for p, q in side if abs(p - mid) <= mid * abs(r["percent"]) / 100 + 1e-9]
            assert r["quantity"] == pytest.approx(sum(q for _, q in inside))
            assert r["notional"] == pytest.approx(sum(p * q for p, q in inside))


def test_answers_are_kept_if_so_wished(recorded: Path) -> None:
    query = "SELECT venue, stream, count(*) AS n FROM raw GROUP BY ALL"
    kept = {(r["venue"], r["stream"]) for r in Store(recorded, read_only=True).query(query).to_pylist()}
    assert kept == {(venue, stream) for venue in NAMES for stream in ("marks", "open_interest")}


def test_a_venue_that_fails_leaves_a_gap(tmp_path: Path) -> None:
    with Venues() as venues:
        plan = quick_plan(tmp_path / "f.duckdb", venues, ("bybit",), what=("open-interest",), every_s=0.3)
        with Live(plan) as live:
            count = live.status.of("bybit")
            venues.wait_for(lambda: count.snapshots >= 2)
            venues.refuse_requests = 2
            venues.wait_for(lambda: count.failures >= 2)
            since = count.snapshots
            venues.wait_for(lambda: count.snapshots >= since + 2)
    (gap,) = gaps(tmp_path / "f.duckdb")
    assert (gap["venue"], gap["feed_table"]) == ("bybit", "open_interest")
    assert "503" in gap["reason"]
    assert gap["until"] - gap["ts"] > 600


def test_a_contract_that_the_venue_refuses_alone(tmp_path: Path) -> None:
    """One that was delisted a moment ago costs the others nothing; if all are refused, that is a failure."""
    with Venues() as venues:
        plan = quick_plan(tmp_path / "r.duckdb", venues, ("binance",), what=("open-interest",), every_s=0.3)
        venues.refused_contracts = {"ETHUSDT"}
        with Live(plan) as live:
            count = live.status.of("binance")
            venues.wait_for(lambda: count.snapshots >= 2)
            assert count.failures == 0
            venues.refused_contracts = {"ETHUSDT", "BTCUSDT"}
            venues.wait_for(lambda: count.failures >= 1)
            assert "Invalid symbol" in count.failing["open_interest"]
            assert "no open interest (binance refuses" in str(live.status)
            venues.refused_contracts = set()
            since = count.snapshots
            venues.wait_for(lambda: count.snapshots > since)
            assert str(live.status).split("  ")[1].startswith(f"binance {count.snapshots} snapshots | ")
    symbols = Store(plan.store, read_only=True).query("SELECT DISTINCT symbol FROM open_interest ORDER BY 1")
    assert [r["symbol"] for r in symbols.to_pylist()] == ["BTC/USDT:USDT", "ETH/USDT:USDT"]


def test_a_contract_listed_meanwhile_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Venues() as venues:
        plan = quick_plan(tmp_path / "n.duckdb", venues, ("binance",), what=("open-interest",), every_s=0.3)
        with Live(replace(plan, pace=replace(plan.pace, relist_s=0.2))) as live:
            count = live.status.of("binance")
            venues.wait_for(lambda: count.snapshots >= 1)
            venues.snapshots["binance", "NEW"] = wire.Snapshot()
            monkeypatch.setattr(wire, "COINS", ("BTC", "ETH", "NEW"))
            asked = venues.requests["fapi.binance.com/fapi/v1/openInterest"]
            venues.wait_for(lambda: venues.requests["fapi.binance.com/fapi/v1/openInterest"] > asked + 6)
            monkeypatch.undo()
    found = Store(plan.store, read_only=True).query("SELECT symbol FROM open_interest WHERE symbol LIKE 'NEW/%'")
    assert found.num_rows >= 1


# ---- bands by hand ---------------------------------------------------------------------------------------------------

LINEAR, INVERSE = Contract("A", 0.1, False), Contract("B", 100.0, True)
BIDS = [(99.9, 10.0), (99.0, 20.0), (98.5, 30.0)]
ASKS = [(100.1, 1.0), (101.0, 2.0), (101.5, 3.0)]


def test_a_band_that_the_levels_do_not_reach_is_not_there() -> None:
    cut = {b.percent: b for b in bands(LINEAR, 0, BIDS, ASKS, 3)}
    assert sorted(cut) == [-1.0, -0.5, -0.2, -0.1, 0.1, 0.2, 0.5, 1.0]
    assert (cut[-1.0].quantity, cut[-1.0].notional) == pytest.approx((3.0, 99.9 + 198.0))
    assert (cut[1.0].quantity, cut[1.0].notional) == pytest.approx((0.3, 10.01 + 20.2))
    whole = {b.percent: b for b in bands(LINEAR, 0, BIDS, ASKS, 4)}  # fewer than asked for: there is no more
    assert sorted(whole) == [-5.0, -2.0, -1.0, -0.5, -0.2, -0.1, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
    assert whole[-5.0].quantity == pytest.approx(6.0)


def test_inverse_bands_are_contracts_and_dollars() -> None:
    found = {b.percent: b for b in bands(INVERSE, 0, BIDS, ASKS, 4)}
    assert (found[5.0].quantity, found[5.0].notional) == (6.0, 600.0)


def test_an_empty_side_has_no_mid() -> None:
    assert bands(LINEAR, 0, [], ASKS, 3) == []


def test_a_row_that_cannot_be_is_left_out() -> None:
    """Not even a number beyond all bounds may end the recorder."""
    nan = bands(LINEAR, 0, [(99.9, math.nan), *BIDS[1:]], ASKS, 4)
    assert not all(_can_be(b) for b in nan)
    assert all(_can_be(b) for b in bands(LINEAR, 0, BIDS, ASKS, 4))


def test_a_stamp_of_another_unit_is_no_stamp() -> None:
    now_us = 1_780_000_000_000_000
    assert _us("1780000000123", now_us) == 1_780_000_000_123_000
    assert [_us(x, now_us) for x in (1_780_000_000, 1_780_000_000_123_000, None, "", "0")] == [now_us] * 5


def test_what_is_no_number_is_nothing() -> None:
    assert [number(x) for x in ("1.5", "", None, "nan", "inf", [])] == [1.5, None, None, None, None, None]


def test_the_pace_is_even() -> None:
    assert _until_next(1_000.0, 60.0) == 20.0
    assert _until_next(1_020.0, 60.0) == 60.0
