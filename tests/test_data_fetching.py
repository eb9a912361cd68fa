"""What is missing, how it is cut into requests, and that a fetch which is killed goes on where it stopped."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from venue_server.case import CONTRACTS, NOW, client_of, fetch, same, table, truth_of, wish
from venue_server.server import Fault, VenueServer
from venue_server.truth import DAY, HOUR, MINUTE, Contract

from data import clock
from data.errors import BadInput, NotFound
from data.fetching.asked import Series, Wish, exact, find, interval_of, things_of
from data.fetching.job import plan
from data.fetching.missing import Span, lacking, merged, without
from data.fetching.pages import cut
from data.rows import Batch, Rows
from data.sources.venue_facts import What
from data.sources.venue_table import BINANCE, BINANCE_COINM, BYBIT, HYPERLIQUID, OKX
from data.store import Store

SCRIPT = Path(__file__).parent / "support" / "killed_fetch.py"
KLINES = BINANCE.of(What.CANDLES)[0]
T0 = NOW // DAY * DAY - 10 * DAY


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "fetched.duckdb")


@pytest.fixture
def server() -> Iterator[VenueServer]:
    with VenueServer(truth_of("binance")) as running:
        yield running


# ---- spans, against sets of numbers --------------------------------------------------------------

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda p: (p[0], p[0] + p[1])), max_size=8)


def points(spans: Sequence[Span]) -> set[int]:
    return {i for a, z in spans for i in range(a, z)}


@given(SPANS, SPANS)
def test_without_leaves_what_is_in_one_and_not_in_the_other(spans: list[Span], taken: list[Span]) -> None:
    left = without(spans, taken)
    assert points(left) == points(spans) - points(taken)
    assert left == merged(left)


@given(SPANS)
def test_merged_spans_are_apart_and_hold_the_same(spans: list[Span]) -> None:
    out = merged(spans)
    assert points(out) == points(spans)
    assert all(a[1] < b[0] for a, b in pairwise(out))
    assert all(a < z for a, z in out)


def series(start: int = T0, stop: int = T0 + DAY, step: int = MINUTE, facts: Any = BINANCE, **feed: Any) -> Series:
    market = {"id": "BTCUSDT", "symbol": "BTC/USDT:USDT", "inverse": False, "contractSize": 1.0, "info": {}}
    klines = replace(facts.of(What.CANDLES)[0], **feed)
    return Series(facts, klines, "BTC/USDT:USDT", market, step * clock.MS, start * clock.MS, stop * clock.MS)


@given(SPANS, st.integers(1, 15))
def test_pages_hold_every_missing_row_once_and_no_more_than_an_answer_does(spans: list[Span], page: int) -> None:
    step = clock.MINUTE
    s = series(page=page)
    pages = cut(s, [(a * step, z * step) for a, z in spans])
    assert points([(a // step, z // step) for p in pages for a, z in p.spans]) == points(spans)
    assert sum(p.rows for p in pages) == len(points(spans))
    assert all((p.stop - p.start) // step <= page for p in pages)
    assert all(a.stop <= b.start for a, b in pairwise(pages))


def test_near_holes_share_a_request() -> None:
    step = clock.MINUTE
    pages = cut(series(), [(0, 3 * step), (100 * step, 101 * step), (900 * step, 901 * step)])
    assert [(p.start // step, p.stop // step, p.rows) for p in pages] == [(0, 101, 4), (900, 901, 1)]


def test_a_window_is_never_longer_than_the_venue_allows() -> None:
    s = replace(series(step=DAY), facts=BINANCE_COINM, feed=BINANCE_COINM.of(What.CANDLES)[0])
    pages = cut(s, [(0, 450 * clock.DAY)])
    assert [(p.stop - p.start) // clock.DAY for p in pages] == [200, 200, 50]


def test_what_is_stored_or_known_to_be_absent_is_not_asked_for() -> None:
    s = series()
    minute = clock.MINUTE
    found = lacking([s], {s: [(s.start, s.start + 60 * minute)]}, {s: [(s.stop - 10 * minute, s.stop)]})
    assert found == {s: [(s.start + 60 * minute, s.stop - 10 * minute)]}
    assert lacking([s], {s: [(0, s.stop)]}, {}) == {}


# ---- what is asked for ---------------------------------------------------------------------------


def markets(venue: str) -> dict[str, Any]:
    return {
        c.symbol: {
            "id": c.base + c.quote,
            "inverse": c.inverse,
            "contractSize": float(c.size),
            "created": c.listed,
            "info": {"deliveryDate": c.delisted or 4133404800000},
        }
        for c in CONTRACTS[venue]
    }


def ready(venue: Any, asked: Wish) -> Any:
    found = find(asked.symbols, [(venue, markets(venue.name))])
    return exact(asked, found, {venue.name: NOW * clock.MS})


def test_names_are_taken_as_people_write_them() -> None:
    parts = [(BINANCE, markets("binance")), (BINANCE_COINM, markets("binance-coinm"))]
    found = find(("BTCUSDT", "ETH/USDT:USDT", "BTCUSD_PERP"), parts)
    assert {s: f.name for s, (f, _) in found.items()} == {
        "BTC/USDT:USDT": "binance",
        "ETH/USDT:USDT": "binance",
        "BTC/USD:BTC": "binance-coinm",
    }


def test_things_are_named_as_people_write_them() -> None:
    assert things_of("candles, open_interest,candles") == (What.CANDLES, What.OPEN_INTEREST)
    with pytest.raises(BadInput, match="--what fundng: did you mean funding"):
        things_of("fundng")
    with pytest.raises(BadInput, match="what"):
        things_of(" , ")


def test_a_period_beyond_reach_is_said_with_the_place_that_has_it() -> None:
    asked = wish("binance", [What.OPEN_INTEREST, What.CANDLES], NOW - 60 * DAY)
    made = ready(BINANCE, asked)
    assert made.notes == (
        "binance serves open-interest from 2026-08-22 14:23:20 on; for what is older: unwind import archive "
        "https://data.binance.vision --kind metrics --symbols BTC/USDT:USDT,ETH/USDT:USDT --since 2026-07-23",
    )
    oi = next(s for s in made.series if s.feed.what is What.OPEN_INTEREST)
    assert oi.start == clock.ceil((NOW - 30 * DAY + 10 * MINUTE) * clock.MS, 5 * clock.MINUTE)
    bars = next(s for s in made.series if s.feed.what is What.CANDLES)
    assert bars.start == clock.ceil(asked.since, 5 * clock.MINUTE)


def test_okx_says_that_its_settlements_go_back_three_months() -> None:
    made = ready(OKX, wish("okx", [What.FUNDING], NOW - 200 * DAY))
    assert "okx serves funding from 2026-06-23" in made.notes[0]
    assert "unwind import file" in made.notes[0]


def test_what_a_venue_has_of_some_contracts_only_is_said_and_not_asked_for() -> None:
    made = ready(BYBIT, wish("bybit", [What.PREMIUM], NOW - DAY))
    assert made.notes == ("bybit has premium of linear contracts only, not of BTC/USD:BTC",)
    assert [s.symbol for s in made.series] == ["BTC/USDT:USDT"]


def test_the_interface_that_was_named_is_the_one_that_lacks_a_contract() -> None:
    with pytest.raises(NotFound, match="binance-coinm does not trade BTCUSDT now"):
        find(("BTCUSDT",), [(BINANCE_COINM, markets("binance-coinm"))])


def test_a_contract_is_not_asked_for_long_before_it_was_listed_or_after_it_is_gone() -> None:
    c = Contract("BTC", listed=NOW - 50 * DAY, delisted=NOW - 20 * DAY)
    market = {
        "id": "X",
        "inverse": False,
        "contractSize": 1.0,
        "created": c.listed,
        "info": {"deliveryDate": c.delisted},
    }
    asked = Wish((c.symbol,), (What.CANDLES,), (NOW - 900 * DAY) * clock.MS)
    made = exact(asked, {c.symbol: (BINANCE, market)}, {"binance": NOW * clock.MS}).series[0]
    assert made.start >= (NOW - 81 * DAY) * clock.MS
    assert made.stop <= (NOW - 20 * DAY) * clock.MS


def test_snapshots_come_at_the_widest_spacing_that_is_no_wider_than_the_bars() -> None:
    feed = BINANCE.of(What.OPEN_INTEREST)[0]
    spacings = [clock.label(interval_of(feed, clock.duration(i), "binance")) for i in ("1m", "5m", "1h", "3m", "8h")]
    assert spacings == ["5m", "5m", "1h", "5m", "6h"]
    with pytest.raises(BadInput, match="binance has no candles of 7m; there is 1m, 3m"):
        interval_of(KLINES, clock.duration("7m"), "binance")


def test_wrong_times_are_said() -> None:
    with pytest.raises(BadInput, match="does not come after"):
        Wish(("BTC/USDT:USDT",), (What.CANDLES,), 2 * clock.DAY, clock.DAY)
    with pytest.raises(BadInput, match="--symbols"):
        Wish((), (What.CANDLES,), 0)


# ---- fetching ------------------------------------------------------------------------------------


def test_what_another_source_brought_is_not_asked_for_again(server: VenueServer, store: Store) -> None:
    """Bars of an archive and bars of the interface are the same rows; so are snapshots and settlements."""
    asked = wish("binance", [What.CANDLES, What.FUNDING, What.OPEN_INTEREST], T0, T0 + DAY, symbols=1)
    fetch(store, asked, client_of("binance", server.url))
    other = Store(store.path.with_name("other.duckdb"))
    for name in ("candles", "funding", "open_interest"):
        other.write(Batch((Rows(name, table(store, name)),), ()))
    (page,) = plan(other, asked, [client_of("binance", server.url)]).pages
    assert page.series.feed.what is What.FUNDING  # only the venue knows whether more came after the last one
    assert page.start > (T0 + 16 * HOUR) * clock.MS


def test_a_contract_without_any_history_is_asked_once_and_then_left_alone(server: VenueServer, store: Store) -> None:
    c = CONTRACTS["binance"][0]
    server.truth.contracts = (replace(c, listed=NOW - 3 * DAY), *CONTRACTS["binance"][1:])
    asked = wish("binance", [What.CANDLES], NOW - 30 * DAY, symbols=1)
    client = client_of("binance", server.url)
    fetch(store, asked, client)
    same(store, server.truth, "binance", asked, What.CANDLES)
    early = [a for a in server.history() if int(a.params["endTime"]) < NOW - 4 * DAY]
    assert len(early) == len({a.params["startTime"] for a in early})  # nothing to confirm before the listing
    assert len(table(store, "gaps")) == 0
    assert plan(store, asked, [client]).pages == ()


def test_days_that_the_venue_should_have_and_does_not_give_are_said(server: VenueServer, store: Store) -> None:
    c = CONTRACTS["binance"][0]
    server.truth.holes = {(c.symbol, "trade"): ((0, T0 + 4 * DAY),)}
    asked = wish("binance", [What.CANDLES], T0, interval="1h", symbols=1)
    done = fetch(store, asked, client_of("binance", server.url))
    day = f"{clock.iso(T0 * clock.MS)} to {clock.iso((T0 + 4 * DAY) * clock.MS)}"
    assert done.remarks == [f"binance gave no candles 1h of BTC/USDT:USDT from {day}"]
    assert len(table(store, "gaps")) == 0


def test_an_empty_last_day_may_still_fill_up(server: VenueServer, store: Store) -> None:
    c = CONTRACTS["binance"][0]
    server.truth.holes = {(c.symbol, "trade"): ((NOW - 5 * HOUR, NOW + DAY),)}
    asked = wish("binance", [What.CANDLES], NOW - 2 * DAY, symbols=1)
    client = client_of("binance", server.url)
    fetch(store, asked, client)
    server.truth.holes = {}
    fetch(store, asked, client)
    same(store, server.truth, "binance", asked, What.CANDLES)


def test_answers_that_hold_back_are_told_of(server: VenueServer, store: Store) -> None:
    server.plan = [Fault("fewer", "klines", times=3)]
    asked = wish("binance", [What.CANDLES], T0, symbols=1)
    done = fetch(store, asked, client_of("binance", server.url), workers=1)
    same(store, server.truth, "binance", asked, What.CANDLES)
    assert any("held back rows" in r for r in done.remarks)


def test_a_full_answer_holds_nothing_back(server: VenueServer, store: Store) -> None:
    """Settlements may come more often than a page reckons with: the next answer goes on, and nothing is odd."""
    server.truth.funding_hours = 2
    asked = wish("binance", [What.FUNDING], NOW - 300 * DAY, symbols=1)
    done = fetch(store, asked, client_of("binance", server.url))
    assert same(store, server.truth, "binance", asked, What.FUNDING) > 3000
    assert done.remarks == []


def test_hyperliquid_gives_what_it_still_has(store: Store) -> None:
    with VenueServer(truth_of("hyperliquid")) as server:
        asked = wish("hyperliquid", [What.CANDLES], NOW - 30 * DAY, interval="1m", symbols=1)
        job = plan(store, asked, [client_of("hyperliquid", server.url)])
        assert job.requests == 1
        assert "hyperliquid serves candles from 2026-09-18" in job.notes[0]
        fetch(store, asked, client_of("hyperliquid", server.url))
        assert len(table(store, "candles")) == 4999
        assert HYPERLIQUID.feeds[0].reach_rows == 5000


# ---- kill -9 -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("killed_fetch", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.kill
@pytest.mark.slow
def test_killed_halfway_the_same_command_goes_on(server: VenueServer, store: Store, script: ModuleType) -> None:
    rng = random.Random(5)
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent)}
    part = 0
    for _ in range(2):
        asked = len(server.history())
        command = [sys.executable, str(SCRIPT), str(store.path), server.url]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
            enough = asked + rng.randint(20, 30)
            server.plan = [Fault("slow", times=10_000, wait=0.01)]
            while process.poll() is None and len(server.history()) < enough:
                time.sleep(0.002)
            process.kill()
        for name in ("candles", "funding"):  # opens, and holds nothing but truth
            rows = table(store, name)
            part += len(rows) > 0
    server.plan = []
    assert part >= 1, "the kills came before anything was stored"
    before = len(plan(store, script.ASKED, [client_of("binance", server.url)]).pages)
    assert before > 0, "the kills came too late"
    script.main(str(store.path), server.url)
    for what in (What.CANDLES, What.MARK, What.FUNDING):
        same(store, server.truth, "binance", script.ASKED, what)
