"""What holds for every venue that can be fetched from.

A venue is one entry in `data.sources.venue_table`, its wire format in `tests/support/venue_server/`, its contracts in
`venue_server/case.py` and what it publishes in `venue_server/expected.py`. Then all of this must hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import ccxt
import pytest
from venue_server.binance import KEY
from venue_server.case import CONTRACTS, NOW, QUICK, client_of, fetch, same, table, truth_of, wish
from venue_server.server import Fault, VenueServer
from venue_server.truth import DAY, HOUR

from data import clock
from data.errors import NotFound
from data.fetching.asked import Wish
from data.fetching.job import plan
from data.schema import TABLES
from data.sources.venue_facts import NOW_ONLY, SNAPSHOTS, Feed, VenueFacts, What
from data.sources.venue_keys import Keys
from data.sources.venue_table import TABLE, facts
from data.store import Store
from data.symbols import unified

EACH = pytest.mark.parametrize("v", TABLE, ids=lambda v: v.name)
FEEDS = [pytest.param(v, f, id=f"{v.name} {f.key}") for v in TABLE for f in v.feeds]
SINCE = NOW // DAY * DAY - 2 * DAY


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "fetched.duckdb")


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[VenueServer]:
    venue: VenueFacts = request.node.callspec.params["v"]
    with VenueServer(truth_of(venue.name)) as running:
        yield running


# ---- the entry itself ----------------------------------------------------------------------------


@EACH
def test_it_is_a_class_of_ccxt_with_every_endpoint_it_names(v: VenueFacts) -> None:
    exchange = getattr(ccxt, v.ccxt)()
    methods = {f.method for f in v.feeds} | ({v.time[0]} if v.time else set())
    if v.tiers:
        methods |= {v.tiers.method} | ({v.tiers.price[0]} if v.tiers.price else set())
    assert [m for m in methods if not callable(getattr(exchange, m, None))] == []


@EACH
def test_everything_is_served_or_said_to_be_lacking(v: VenueFacts) -> None:
    assert set(v.serves) | set(v.lacks) == set(What)
    assert not set(v.serves) & set(v.lacks)
    assert len({f.key for f in v.feeds}) == len(v.feeds)


@pytest.mark.parametrize(("v", "feed"), FEEDS)
def test_a_feed_names_its_page_its_columns_and_its_limits(v: VenueFacts, feed: Feed) -> None:
    del v
    assert feed.doc.startswith("https://")
    assert 0 < feed.page <= (feed.most or feed.page)
    t = TABLES[feed.table]
    assert set(feed.columns) <= set(t.names)
    assert {c.name for c in t.columns if c.required and c.name not in t.key} <= {*feed.columns, "known_at"}
    assert set(feed.inverse) <= set(feed.columns)
    if feed.is_grid:
        assert all(feed.interval_name(clock.duration(ours)) == name for ours, name in feed.intervals.items())
        assert "1h" in feed.intervals
    if feed.reach_s or feed.reach_rows:
        assert feed.elsewhere.startswith("unwind ")
    if feed.what in SNAPSHOTS:
        assert feed.lag_s > 0


# ---- the store holds what the venue holds --------------------------------------------------------


@EACH
def test_the_store_holds_what_the_truth_holds(v: VenueFacts, server: VenueServer, store: Store) -> None:
    history = [what for what in v.serves if what not in NOW_ONLY]
    asked = wish(v.name, history, SINCE)
    client = client_of(v.name, server.url)
    done = fetch(store, asked, client)
    assert done.report.exit_code == 0
    for what in history:
        assert same(store, server.truth, v.name, asked, what) > 8, what
    before = len(server.history())
    again = fetch(store, asked, client)  # nothing is missing, so nothing is asked for
    assert again.report.written.rows == 0
    assert len(server.history()) == before


@EACH
def test_terms_and_brackets_are_stored_when_they_change(v: VenueFacts, server: VenueServer, store: Store) -> None:
    asked = wish(v.name, [What.TIERS, What.INSTRUMENTS], SINCE)
    keys = Keys(KEY, "its-secret") if v.keys else None
    fetch(store, asked, client_of(v.name, server.url, keys=keys))
    for what in (What.TIERS, What.INSTRUMENTS):
        assert same(store, server.truth, v.name, asked, what) >= 2
    server.truth.now += HOUR
    assert fetch(store, asked, client_of(v.name, server.url, keys=keys)).report.written.rows == 0


@EACH
def test_the_open_bar_is_never_stored(v: VenueFacts, server: VenueServer, store: Store) -> None:
    asked = wish(v.name, [What.CANDLES], NOW - HOUR, interval="1m", symbols=1)
    for _ in range(3):
        fetch(store, asked, client_of(v.name, server.url))
        same(store, server.truth, v.name, asked, What.CANDLES, "1m")
        server.truth.now += 50_000  # into the next bar, but not beyond it by ten seconds


@EACH
def test_holes_in_the_middle_are_filled_and_only_they_are_asked_for(
    v: VenueFacts, server: VenueServer, store: Store
) -> None:
    start = NOW // HOUR * HOUR - 30 * HOUR
    client = client_of(v.name, server.url)
    for first, last in ((0, 5), (20, 25)):
        fetch(store, wish(v.name, [What.CANDLES], start + first * HOUR, start + last * HOUR, symbols=1), client)
    server.log.clear()
    asked = wish(v.name, [What.CANDLES], start, start + 25 * HOUR, symbols=1)
    job = plan(store, asked, [client])
    assert job.pages[0].start == (start + 5 * HOUR) * clock.MS
    assert job.pages[-1].stop == (start + 20 * HOUR) * clock.MS
    assert sum(p.rows for p in job.pages) == 15 * 12
    fetch(store, asked, client)
    assert len(server.history()) == job.requests
    same(store, server.truth, v.name, asked, What.CANDLES)


@EACH
def test_settlements_change_their_rhythm_and_are_stamped_late(v: VenueFacts, server: VenueServer, store: Store) -> None:
    days = 60
    server.truth.changes_at = NOW // DAY * DAY - 20 * DAY
    server.truth.jitter = True
    asked = wish(v.name, [What.FUNDING], NOW // DAY * DAY - days * DAY)
    fetch(store, asked, client_of(v.name, server.url))
    assert same(store, server.truth, v.name, asked, What.FUNDING) > days * 3


@EACH
def test_what_the_venue_lacks_is_noted_and_not_asked_for_again(
    v: VenueFacts, server: VenueServer, store: Store
) -> None:
    c = CONTRACTS[v.name][0]
    start = NOW // HOUR * HOUR - 60 * HOUR
    hole = (start + 10 * HOUR, start + 12 * HOUR)
    server.truth.holes = {(c.symbol, "trade"): (hole,)}
    asked = wish(v.name, [What.CANDLES], start, symbols=1)
    done = fetch(store, asked, client_of(v.name, server.url))
    same(store, server.truth, v.name, asked, What.CANDLES)
    assert any("lacks 24 rows" in r for r in done.remarks)
    gaps = table(store, "gaps")
    assert [(r["ts"].timestamp(), r["until"].timestamp()) for r in gaps.iter_rows(named=True)] == [
        (hole[0] / 1000, hole[1] / 1000)
    ]
    before = len(server.history())
    assert fetch(store, asked, client_of(v.name, server.url)).remarks == []
    assert len(server.history()) == before
    server.truth.holes = {}  # the venue has found its rows again
    fetch(store, asked, client_of(v.name, server.url), again=True)
    same(store, server.truth, v.name, asked, What.CANDLES)


@EACH
def test_a_contract_has_one_name_everywhere(v: VenueFacts, server: VenueServer) -> None:
    client = client_of(v.name, server.url)
    for symbol, market in client.markets().items():
        assert unified(str(market[v.id_field]), v.stored_as) == symbol == market["symbol"]


def test_a_name_that_ccxt_spells_its_own_way_is_stored_as_everybody_does(store: Store) -> None:
    odd = replace(CONTRACTS["hyperliquid"][0], base="kPEPE")
    with VenueServer(truth_of("hyperliquid", contracts=(odd,))) as server:
        for name in ("kPEPE/USDC:USDC", "kPEPE", "KPEPE/USDC:USDC"):
            asked = Wish((name,), (What.CANDLES,), (NOW - HOUR) * clock.MS)
            fetch(store, asked, client_of("hyperliquid", server.url))
        assert set(table(store, "candles")["symbol"]) == {"kPEPE/USDC:USDC"}


@EACH
def test_an_unknown_contract_says_what_was_meant(v: VenueFacts, server: VenueServer, store: Store) -> None:
    c = CONTRACTS[v.name][0]
    wrong = c.symbol.replace(c.base, c.base + "X", 1).replace(f":{c.base}", f":{c.base}X")
    with pytest.raises(NotFound, match=rf"did you mean {c.base}/"):
        plan(store, Wish((wrong,), (What.CANDLES,), SINCE * clock.MS), [client_of(v.name, server.url)])


@EACH
def test_an_answer_is_traced_to_its_request(v: VenueFacts, server: VenueServer, store: Store) -> None:
    asked = wish(v.name, [What.CANDLES], NOW - 2 * HOUR, symbols=1)
    fetch(store, asked, client_of(v.name, server.url))
    lines = store.query("SELECT * FROM ingests ORDER BY id").to_pylist()
    assert len(lines) == 1
    line = lines[0]
    assert (line["source"], line["venue"], line["table_name"]) == ("fetch", v.stored_as, "candles")
    assert line["symbols"] == [asked.symbols[0]]
    assert len(line["sha256"]) == 64
    assert line["rows"] == len(table(store, "candles"))
    assert v.feeds[0].method in line["origin"]


# ---- trouble -------------------------------------------------------------------------------------

# those that make it ask again come first: of some venues all of it is two answers
REFUSED = ("429", "500", "503", "drop", "malformed", "shift", "clash")
TROUBLE = (*REFUSED, "empty", "fewer", "skip", "double", "shuffle")


@EACH
def test_trouble_on_the_way_leaves_no_trace(v: VenueFacts, server: VenueServer, store: Store) -> None:
    """One trouble after the other, in as many requests."""
    path = {"bybit": "kline", "okx": "candles", "hyperliquid": "candleSnapshot"}.get(v.name, "klines")
    server.plan = [Fault(word, path) for word in TROUBLE]
    asked = wish(v.name, [What.CANDLES], NOW - 3 * DAY)
    patient = replace(QUICK, attempts=len(TROUBLE))
    done = fetch(store, asked, client_of(v.name, server.url, patient))
    assert server.done == dict.fromkeys(TROUBLE, 1)
    assert done.report.exit_code == 0
    same(store, server.truth, v.name, asked, What.CANDLES)
    assert len(table(store, "gaps")) == 0


@EACH
def test_settlements_that_are_held_back_are_asked_for_again(v: VenueFacts, server: VenueServer, store: Store) -> None:
    asked = wish(v.name, [What.FUNDING], NOW - 20 * DAY)
    path = {"hyperliquid": "fundingHistory"}.get(v.name, "unding")
    server.plan = [Fault("skip", path), Fault("fewer", path, after=1)]
    fetch(store, asked, client_of(v.name, server.url), workers=1)
    assert server.done == {"skip": 1, "fewer": 1}
    same(store, server.truth, v.name, asked, What.FUNDING)


def test_every_venue_has_a_case() -> None:
    assert set(CONTRACTS) == {v.name for v in TABLE}
    with pytest.raises(NotFound, match="did you mean binance"):
        facts("binanze")
