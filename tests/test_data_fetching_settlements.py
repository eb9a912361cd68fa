"""Settlements stand on no grid: none may be lost when their rhythm changes, between two fetches or inside one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from venue_server.case import CONTRACTS, NOW, client_of, fetch, same, table, truth_of, wish
from venue_server.server import Fault, VenueServer
from venue_server.truth import DAY, HOUR, MINUTE

from data import clock
from data.fetching.job import plan
from data.fetching.missing import EDGE, told_by, without
from data.rows import Batch, Rows
from data.sources.venue_facts import What
from data.store import Store

T0 = NOW // DAY * DAY - 10 * DAY


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "fetched.duckdb")


@pytest.fixture
def server() -> Iterator[VenueServer]:
    with VenueServer(truth_of("binance")) as running:
        yield running


# ---- what settlements tell of the time between them ------------------------------------------------

RHYTHMS = st.lists(st.tuples(st.sampled_from((1, 2, 4, 8)), st.integers(3, 6)), min_size=1, max_size=4)


@given(RHYTHMS)
def test_settlements_in_any_rhythm_leave_no_hole(rhythms: list[tuple[int, int]]) -> None:
    stamps = schedule(rhythms)
    told = told_by(stamps, 8.0, EDGE)
    assert without([(stamps[0], stamps[-1])], told) == []


@given(RHYTHMS, st.integers(1, 100))
def test_one_that_is_missing_between_two_of_its_rhythm_leaves_a_hole(rhythms: list[tuple[int, int]], nth: int) -> None:
    stamps = schedule(rhythms)
    inner = [
        i
        for i in range(2, len(stamps) - 2)
        if len({b - a for a, b in zip(stamps[i - 2 : i + 2], stamps[i - 1 : i + 3], strict=True)}) == 1
    ]
    if not inner:
        return
    gone = stamps.pop(inner[nth % len(inner)])
    holes = without([(stamps[0], stamps[-1])], told_by(stamps, 8.0, EDGE))
    assert len(holes) == 1
    assert holes[0][0] < gone < holes[0][1]


def schedule(rhythms: list[tuple[int, int]]) -> list[int]:
    at, out = T0 * clock.MS, []
    for hours, times in rhythms:
        for _ in range(times):
            out.append(at)
            at += hours * clock.HOUR
    return out


# ---- between fetches -------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [30, 7 * 60])
def test_a_rhythm_that_quickens_after_a_fetch_loses_nothing(minutes: int, server: VenueServer, store: Store) -> None:
    """Fetched when the last settlement told of eight hours; then they came every four."""
    server.truth.changes_at = T0 + DAY
    server.truth.now = T0 + DAY + minutes * MINUTE
    asked = wish("binance", [What.FUNDING], T0 - 5 * DAY)
    for _ in range(3):
        fetch(store, asked, client_of("binance", server.url))
        server.truth.now += 11 * HOUR
    server.truth.now = NOW
    fetch(store, asked, client_of("binance", server.url))
    same(store, server.truth, "binance", asked, What.FUNDING)


def test_the_time_after_the_last_settlement_is_asked_for_once_an_hour(server: VenueServer, store: Store) -> None:
    asked = wish("binance", [What.FUNDING], T0, symbols=1)
    client = client_of("binance", server.url)
    fetch(store, asked, client)
    assert plan(store, asked, [client]).pages == ()
    server.truth.now += 50 * MINUTE  # over the hour
    before = len(server.history())
    fetch(store, asked, client)
    assert len(server.history()) - before == 1


def test_parts_of_a_history_that_were_fetched_apart_are_joined_without_loss(server: VenueServer, store: Store) -> None:
    server.truth.changes_at = T0 + DAY
    client = client_of("binance", server.url)
    for since, until in ((T0, T0 + DAY + HOUR), (T0 + 3 * DAY, T0 + 4 * DAY)):
        fetch(store, wish("binance", [What.FUNDING], since, until, symbols=1), client)
    asked = wish("binance", [What.FUNDING], T0, symbols=1)
    fetch(store, asked, client)
    same(store, server.truth, "binance", asked, What.FUNDING)


def test_a_settlement_that_is_missing_in_the_middle_is_fetched(server: VenueServer, store: Store) -> None:
    asked = wish("binance", [What.FUNDING], T0, NOW // DAY * DAY, symbols=1)
    client = client_of("binance", server.url)
    fetch(store, asked, client)
    whole = table(store, "funding")
    other = Store(store.path.with_name("other.duckdb"))
    other.write(Batch((Rows("funding", whole.filter(pl.int_range(pl.len()) != 7)),), ()))
    job = plan(other, asked, [client])
    assert job.requests == 1
    fetch(other, asked, client)
    same(other, server.truth, "binance", asked, What.FUNDING)


# ---- inside one ------------------------------------------------------------------------------------


def test_one_held_back_where_the_rhythm_is_quicker_than_usual_is_asked_for_again(
    server: VenueServer, store: Store
) -> None:
    """Every eight hours for most of the answer, every four in the part that the fault hits."""
    server.truth.changes_at = NOW // DAY * DAY - 30 * DAY
    server.plan = [Fault("skip-late", "undingRate")]
    asked = wish("binance", [What.FUNDING], NOW // DAY * DAY - 300 * DAY, symbols=1)
    fetch(store, asked, client_of("binance", server.url))
    assert server.done["skip-late"] == 1
    same(store, server.truth, "binance", asked, What.FUNDING)


@pytest.mark.parametrize("venue", ["binance", "okx"])
def test_a_full_answer_tells_nothing_of_what_comes_beyond_it(venue: str, store: Store) -> None:
    """The answer ends with the last settlement of a slow rhythm, oldest first, or begins with the first of it."""
    page = {"binance": 1000, "okx": 100}[venue]
    slow = 8 * HOUR
    change = NOW // DAY * DAY - (20 if venue == "binance" else 10) * DAY
    with VenueServer(truth_of(venue, changes_at=change)) as server:
        since = change - (page - 1) * slow if venue == "binance" else change - 60 * slow
        asked = wish(venue, [What.FUNDING], since, symbols=1)
        fetch(store, asked, client_of(venue, server.url))
        same(store, server.truth, venue, asked, What.FUNDING)


def test_before_its_listing_a_contract_may_have_more_than_one_answer_holds(server: VenueServer, store: Store) -> None:
    """Venues name listing days that are later than the first rows; those rows are asked for until they are there."""
    c = CONTRACTS["binance"][0]
    server.truth.contracts = (replace(c, listed=T0 - 20 * DAY, told_listed=T0), *CONTRACTS["binance"][1:])
    server.plan = [Fault("fewer", "klines", times=2)]
    asked = wish("binance", [What.CANDLES], T0 - 25 * DAY, T0 - DAY, interval="1h", symbols=1)
    fetch(store, asked, client_of("binance", server.url), workers=1)
    same(store, server.truth, "binance", asked, What.CANDLES, "1h")
