"""The recorder against venues on loopback that speak the real wire format, and fail in every way that venues do.

After each, the store holds exactly what was sent, or a gap that says what may be missing.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from venue_streams import wire
from venue_streams.live import (
    LIQUIDATING,
    Live,
    assert_truth,
    gaps,
    in_a_gap,
    now_ms,
    quick_plan,
    some,
    stored,
)
from venue_streams.server import Venues
from venue_streams.wire import Truth, okx

from data.errors import NotFound
from data.recording.seen import Seen
from data.sources.stream_facts import STREAMS
from data.store import Store

ALL = (*LIQUIDATING, "binance-coinm")


@pytest.fixture
def venues() -> Iterator[Venues]:
    with Venues() as v:
        yield v


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "live.duckdb"


# ---- what is stored --------------------------------------------------------------------------------------------------


def test_every_column_of_every_venue(venues: Venues, store: Path) -> None:
    at = now_ms()
    before_us = time.time_ns() // 1000
    with Live(quick_plan(store, venues, ALL)) as live:
        live.wait_up(*ALL)
        for name in ALL:
            venues.push([Truth(name, "BTC", at, "long", 40_000.5, 3.0), Truth(name, "ETH", at, "short", 2_500.25, 7.0)])
        live.wait(8)
    rows = stored(store).sort_values(["venue", "symbol"]).to_dict("records")
    assert len(rows) == 8
    for row in rows:
        name = "binance-coinm" if row["symbol"].endswith(("BTC", "ETH")) else row["venue"]
        told = STREAMS[name].liquidations
        btc = row["symbol"].startswith("BTC")
        assert told is not None
        assert row["position"] == ("long" if btc else "short")
        assert row["price"] == (40_000.5 if btc else 2_500.25)
        assert row["price_kind"] == told.price_kind.value
        assert row["feed"] == told.feed.value
        assert row["quantity"] == pytest.approx(3.0 if btc else 7.0)
        size = {"binance-coinm": 100.0 if btc else 10.0}.get(name, row["price"])
        assert row["notional"] == pytest.approx(row["quantity"] * size)
        assert row["event_id"] == "0"
        assert row["ts"].value // 1_000_000 == at
        known_us = row["known_at"].value // 1000
        assert max(before_us, at * 1000) <= known_us <= time.time_ns() // 1000
    assert {r["symbol"] for r in rows} == {"BTC/USDT:USDT", "ETH/USDT:USDT", "BTC/USD:BTC", "ETH/USD:ETH"}


def test_messages_are_kept_as_they_came(venues: Venues, store: Path) -> None:
    events = some("okx", 5, coins=("BTC",))
    with Live(quick_plan(store, venues, ("okx",))) as live:
        live.wait_up("okx")
        venues.push(events)
        live.wait(5)
    kept = Store(store).query("SELECT venue, stream, ts, payload FROM raw").to_pylist()
    assert [(r["venue"], r["stream"]) for r in kept] == [("okx", "liquidations")]
    assert json.loads(kept[0]["payload"]) == okx(events)[0]
    assert set(stored(store)["known_at"]) == {kept[0]["ts"]}  # a row leads to its message


def test_nothing_is_kept_if_so_wished(venues: Venues, store: Path) -> None:
    with Live(quick_plan(store, venues, ("bybit",), keep="none")) as live:
        live.wait_up("bybit")
        venues.push(some("bybit", 3))
        live.wait(3)
    assert Store(store).query("SELECT * FROM raw").num_rows == 0
    assert_truth(store, venues)


def test_named_symbols_alone(venues: Venues, store: Path) -> None:
    names = ("binance", "bybit", "okx")
    with Live(quick_plan(store, venues, names, symbols=("BTCUSDT",))) as live:
        live.wait_up(*names)
        for name in names:
            venues.push(some(name, 10))
        live.wait(15)
    assert set(stored(store)["symbol"]) == {"BTC/USDT:USDT"}
    subscribed = dict(venues.subscriptions)
    assert subscribed["binance"][:-1] == ["btcusdt@forceOrder"]
    assert subscribed["bybit"][:-1] == ["allLiquidation.BTCUSDT"]
    covered = Store(store).query("SELECT DISTINCT symbols FROM ingests WHERE covers_to IS NOT NULL").to_pylist()
    assert covered == [{"symbols": ["BTC/USDT:USDT"]}]


def test_an_unknown_symbol_is_named(venues: Venues, store: Path) -> None:
    with (
        pytest.raises(NotFound, match="bybit has no BTX/USDT:USDT; did you mean BTC/USDT:USDT"),
        Live(quick_plan(store, venues, ("bybit",), symbols=("BTXUSDT",))) as live,
    ):
        venues.wait_for(lambda: not live.running)


def test_silence_is_told_from_absence(venues: Venues, store: Path) -> None:
    """What the recorder covers stands in `ingests`, without holes while it runs."""
    began = time.time_ns()
    with Live(quick_plan(store, venues, ("binance",), merge_s=0.1)) as live:
        live.wait_up("binance")
        venues.push(some("binance", 4))
        live.wait(4)
        time.sleep(0.6)
    spans = (
        Store(store)
        .query(
            "SELECT epoch_ns(covers_from) AS a, epoch_ns(covers_to) AS b FROM ingests "
            "WHERE table_name = 'liquidations' ORDER BY covers_from"
        )
        .to_pylist()
    )
    assert len(spans) >= 2
    assert began < spans[0]["a"]
    assert spans[-1]["b"] - spans[0]["a"] > 0.5e9
    assert all(later["a"] == earlier["b"] for earlier, later in itertools.pairwise(spans))


# ---- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("politely", [False, True])
def test_a_lost_connection(venues: Venues, store: Path, politely: bool) -> None:
    with Live(quick_plan(store, venues, LIQUIDATING)) as live:
        live.wait_up(*LIQUIDATING)
        for i, name in enumerate(LIQUIDATING):
            venues.push(some(name, 10))
            live.wait(20 * i + 10)
            venues.drop(name, politely)
            venues.push(some(name, 5, seed=100))  # nobody hears these
            live.wait_up(name, losses=1)
            venues.push(some(name, 10, seed=200))
            live.wait(20 * i + 20)
    assert len(venues.unheard) == 15
    assert_truth(store, venues)
    assert [live.status.of(name).losses for name in LIQUIDATING] == [1, 1, 1]
    assert live.status.gaps == 3


def test_lost_in_the_middle_of_a_burst(venues: Venues, store: Path) -> None:
    with Live(quick_plan(store, venues, ("bybit",))) as live:
        for i in range(4):
            live.wait_up("bybit", losses=i)
            venues.push(some("bybit", 50, seed=1000 * i))
            venues.drop("bybit")
        live.wait_up("bybit", losses=4)
    assert_truth(store, venues, all_heard=False)
    assert live.status.gaps == 4


def test_a_peer_that_stalls(venues: Venues, store: Path) -> None:
    """The line is open, but nothing comes, not even an answer to a ping."""
    with Live(quick_plan(store, venues, LIQUIDATING)) as live:
        live.wait_up(*LIQUIDATING)
        for name in LIQUIDATING:
            venues.push(some(name, 5))
        live.wait(15)
        venues.mute = True
        stalled = {name: some(name, 1)[0] for name in LIQUIDATING}
        venues.wait_for(lambda: not any(live.status.of(n).up for n in LIQUIDATING))
        venues.mute = False
        live.wait_up(*LIQUIDATING)
        for name in LIQUIDATING:
            venues.push(some(name, 5, seed=50))
        live.wait(30)
    assert_truth(store, venues)
    assert all(in_a_gap(store, t) for t in stalled.values())


def test_a_stream_that_stops_while_pings_are_answered(venues: Venues, store: Path) -> None:
    with Live(quick_plan(store, venues, ("okx",))) as live:
        live.wait_up("okx")
        venues.deaf_pulse = True
        venues.wait_for(lambda: not live.status.of("okx").up)
        assert "silent" in live.status.of("okx").reason
        venues.deaf_pulse = False
        live.wait_up("okx", losses=1)
    assert "silent" in gaps(store)[0]["reason"]


TORN = ['{"e":"forceOrder","o":{"s":"BTC', "[1, 2", '{"topic":"allLiquidation.BTCUSDT","data":[{"s":']
HOLLOW = {
    "binance": '{"e":"forceOrder","o":{"s":"BTCUSDT","S":"SELL"}}',
    "bybit": '{"topic":"allLiquidation.BTCUSDT","data":[{"s":"BTCUSDT"}]}',
    "okx": '{"arg":{"channel":"liquidation-orders"},"data":[{"instId":"BTC-USDT-SWAP"}]}',
}


def test_messages_that_cannot_be_read(venues: Venues, store: Path) -> None:
    bad = {name: [*TORN, HOLLOW[name]] for name in LIQUIDATING}
    with Live(quick_plan(store, venues, LIQUIDATING)) as live:
        live.wait_up(*LIQUIDATING)
        for name in LIQUIDATING:
            for i, text in enumerate(bad[name]):
                venues.push(some(name, 3, seed=10 * i))
                venues.say(name, text)
            venues.say(name, "{}")  # strange, and nothing is lost by it
            venues.push(some(name, 3, seed=100))
        live.wait(3 * 15)
    assert_truth(store, venues)
    for name in LIQUIDATING:
        assert venues.connections[name] == 1  # the reading went on
        assert live.status.of(name).damaged == 4
    assert all("could not be read" in g["reason"] for g in gaps(store))
    kept = Store(store).query("SELECT venue, payload FROM raw WHERE stream = 'damaged'").to_pylist()
    assert {(r["venue"], r["payload"]) for r in kept} == {(name, text) for name in bad for text in bad[name]}


def test_half_a_message_is_a_gap(venues: Venues, store: Path) -> None:
    with Live(quick_plan(store, venues, ("binance",))) as live:
        live.wait_up("binance")
        lost = some("binance", 1)[0]
        venues.say("binance", '{"e":"forceOrder","o":{"s":"BTC')
        venues.wait_for(lambda: live.status.of("binance").damaged == 1)
    assert in_a_gap(store, lost)


def test_repeated_and_reordered(venues: Venues, store: Path) -> None:
    with Live(quick_plan(store, venues, LIQUIDATING)) as live:
        live.wait_up(*LIQUIDATING)
        for name in LIQUIDATING:
            events = some(name, 40)
            venues.push(events, times=3, shape=lambda messages: messages[::-1])
            venues.push(events[:7])
        live.wait(120)
        venues.wait_for(lambda: all(live.status.of(n).repeated == 2 * 40 + 7 for n in LIQUIDATING))
    venues.sent = list(dict.fromkeys(venues.sent))
    assert_truth(store, venues)


def test_repeated_after_all_is_forgotten(venues: Venues, store: Path) -> None:
    """What memory has let go of is known from the store."""
    events = some("bybit", 60)
    plan = quick_plan(store, venues, ("bybit",))
    live = Live(plan)
    live.recorder.seen = Seen(most=10)
    with live:
        live.wait_up("bybit")
        for _ in range(3):
            venues.push(events)
            merged = live.status.merged_rows
            venues.wait_for(lambda merged=merged: live.status.merged_rows > merged or merged > 0)
        live.wait(180)
    venues.sent = list(dict.fromkeys(venues.sent))
    assert_truth(store, venues)


def test_twins_in_one_message_are_two(venues: Venues, store: Path) -> None:
    twin = Truth("bybit", "BTC", now_ms(), "long", 40_000.0, 0.1)
    with Live(quick_plan(store, venues, ("bybit",))) as live:
        live.wait_up("bybit")
        venues.push([twin, twin], times=2)
        live.wait(2)
        venues.wait_for(lambda: live.status.of("bybit").repeated == 2)
    assert list(stored(store)["event_id"]) == ["0", "1"]


def test_all_details_of_okx_in_net_mode(venues: Venues, store: Path) -> None:
    events = some("okx", 25)
    with Live(quick_plan(store, venues, ("okx",))) as live:
        live.wait_up("okx")
        venues.sent += events
        venues.say("okx", json.dumps(okx(events, net_mode=True)[0]))
        live.wait(25)
    assert_truth(store, venues)


def test_a_refused_subscription(venues: Venues, store: Path) -> None:
    venues.refuse_subscriptions = dict.fromkeys(LIQUIDATING, 2)
    with Live(quick_plan(store, venues, LIQUIDATING)) as live:
        live.wait_up(*LIQUIDATING)
        for name in LIQUIDATING:
            venues.push(some(name, 5))
        live.wait(15)
    assert dict(venues.connections) == dict.fromkeys(LIQUIDATING, 3)
    assert_truth(store, venues)


def test_a_venue_that_is_not_there_at_first(venues: Venues, store: Path) -> None:
    venues.refuse_requests, venues.refuse_handshakes = 6, 3
    with Live(quick_plan(store, venues, LIQUIDATING)) as live:
        live.wait_up(*LIQUIDATING, timeout_s=60)
        for name in LIQUIDATING:
            venues.push(some(name, 5))
        live.wait(15)
    assert_truth(store, venues)
    assert live.status.gaps == 0  # before the first confirmation nothing was promised


def test_a_restart_of_the_venue(store: Path) -> None:
    with Venues() as first, Live(quick_plan(store, first, LIQUIDATING)) as live:
        live.wait_up(*LIQUIDATING)
        for name in LIQUIDATING:
            first.push(some(name, 10))
        live.wait(30)
        first.close()
        gone = [some(name, 1)[0] for name in LIQUIDATING]
        time.sleep(0.3)
        with Venues(first.port) as second:
            live.wait_up(*LIQUIDATING, losses=1)
            for name in LIQUIDATING:
                second.push(some(name, 10, seed=500))
            live.wait(60)
            live.stop()
            second.sent += first.sent
            second.unheard += gone
            assert_truth(store, second)


def test_a_restart_of_the_recorder_is_a_gap(venues: Venues, store: Path) -> None:
    for i in range(3):
        with Live(quick_plan(store, venues, ("binance",))) as live:
            live.wait_up("binance")
            venues.push(some("binance", 5, seed=100 * i))
            live.wait(5)
        venues.wait_for(lambda: not venues.lines)
        venues.push(some("binance", 2, seed=100 * i + 50))
    with Live(quick_plan(store, venues, ("binance",))) as live:
        live.wait_up("binance")
    assert len(venues.unheard) == 6
    assert_truth(store, venues)
    assert {g["reason"] for g in gaps(store)} == {"the recorder was not running"}


# ---- which contracts there are ---------------------------------------------------------------------------------------

LISTED = ("BTC", "ETH", "NEW")


def test_a_contract_listed_meanwhile(venues: Venues, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first event makes the recorder look, and is stored; nothing is lost by it, and it is covered from then on."""
    with Live(quick_plan(store, venues, ("binance", "okx"))) as live:
        live.wait_up("binance", "okx")
        monkeypatch.setattr(wire, "COINS", LISTED)
        monkeypatch.setitem(wire.OKX_SIZE, "NEW", 10.0)
        for name in ("binance", "okx"):
            venues.push(some(name, 4, coins=("BTC", "NEW")))
        live.wait(8)
        time.sleep(0.3)  # what is covered is noted
    assert_truth(store, venues)
    assert (dict(venues.connections), gaps(store)) == ({"binance": 1, "okx": 1}, [])
    last = Store(store).query("SELECT symbols FROM ingests WHERE table_name = 'liquidations' ORDER BY id DESC LIMIT 1")
    assert "NEW/USDT:USDT" in last.to_pylist()[0]["symbols"]


def test_a_contract_that_no_list_names(venues: Venues, store: Path) -> None:
    """It costs nobody else anything: not a connection, not a gap."""
    nobody = ("NOPE", "NADA")
    with Live(quick_plan(store, venues, ("binance",))) as live:
        live.wait_up("binance")
        for i in range(3):
            for n, coin in enumerate(nobody):
                venues.push(some("binance", 1, seed=i, coins=(coin,)))
                venues.push(some("binance", 5, seed=100 * i + 10 * n))
                venues.wait_for(lambda n=2 * i + n + 1: live.status.of("binance").damaged == n)
        live.wait(30)
    asked = venues.requests["fapi.binance.com/fapi/v1/exchangeInfo"]
    venues.sent = [t for t in venues.sent if t.coin not in nobody]
    assert_truth(store, venues)
    assert (venues.connections["binance"], asked) == (1, 3)  # one more look each, not one an event
    assert {(g["symbol"], g["symbol"] in g["reason"]) for g in gaps(store)} == {(f"{c}USDT", True) for c in nobody}
    kept = Store(store).query("SELECT payload FROM raw WHERE stream = 'damaged'").to_pylist()
    assert len(kept) == 6


def test_a_contract_that_needs_a_topic_of_its_own(venues: Venues, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = quick_plan(store, venues, ("bybit",))
    with Live(replace(plan, pace=replace(plan.pace, relist_s=0.3))) as live:
        live.wait_up("bybit")
        monkeypatch.setattr(wire, "COINS", LISTED)
        live.wait_up("bybit", losses=1)
        venues.push(some("bybit", 3, coins=("NEW",)))
        live.wait(3)
        venues.refuse_requests = 3  # a look that fails
        venues.wait_for(lambda: venues.refuse_requests == 0)
        assert live.status.of("bybit").up
    assert_truth(store, venues)
    assert "lists other contracts" in gaps(store)[0]["reason"]


def test_a_contract_that_was_asked_for_is_delisted(
    venues: Venues, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("binance", "bybit")
    plan = quick_plan(store, venues, names, symbols=("BTCUSDT", "ETHUSDT"))
    with Live(replace(plan, pace=replace(plan.pace, relist_s=0.3))) as live:
        live.wait_up(*names)
        monkeypatch.setattr(wire, "COINS", ("BTC",))
        live.wait_up("bybit", losses=1)
        for name in names:
            venues.push(some(name, 3, coins=("BTC",)))
        live.wait(6)
    assert_truth(store, venues)


def test_topics_that_do_not_fit_one_connection(venues: Venues, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go over several; one of them that falls silent takes all with it, and what it may have missed is a gap."""
    facts = STREAMS["bybit"]
    assert facts.liquidations is not None
    small = replace(facts.liquidations, characters_a_line=45)
    monkeypatch.setitem(STREAMS, "bybit", replace(facts, liquidations=small))
    with Live(quick_plan(store, venues, ("bybit",))) as live:
        live.wait_up("bybit")
        assert [topics for _, topics in sorted(venues.subscriptions)] == [
            [f"allLiquidation.{coin}USDT", "tickers.BTCUSDT"] for coin in ("BTC", "ETH")
        ]
        venues.push(some("bybit", 20))
        live.wait(20)
        venues.lines[0].deaf = True
        stalled = some("bybit", 1)[0]
        live.wait_up("bybit", losses=1)
        venues.push(some("bybit", 20, seed=500))
        live.wait(40)
    assert venues.connections["bybit"] == 4
    assert_truth(store, venues)
    assert in_a_gap(store, stalled)


# ---- one venue and the others ----------------------------------------------------------------------------------------


def test_a_gap_is_of_the_feed_that_was_down(venues: Venues, store: Path) -> None:
    """Two feeds of one venue: the coin-margined one is lost, and the other's symbols lack nothing."""
    names = ("binance", "binance-coinm")
    with Live(quick_plan(store, venues, names)) as live:
        live.wait_up(*names)
        venues.drop("binance-coinm")
        live.wait_up("binance-coinm", losses=1)
    assert {g["symbol"] for g in gaps(store)} == {"BTC/USD:BTC", "ETH/USD:ETH"}


def test_a_venue_whose_answers_are_strange(venues: Venues, store: Path) -> None:
    venues.strange = {"fapi.binance.com"}
    with Live(quick_plan(store, venues, ("binance", "okx"), what=("liquidations", "mark"), every_s=0.3)) as live:
        live.wait_up("okx")
        venues.push(some("okx", 5))
        live.wait(5)
        venues.wait_for(lambda: live.status.of("binance").failures > 0 and live.status.of("binance").reason != "")
        venues.strange = set()
        live.wait_up("binance")
    assert_truth(store, venues)


# ---- clocks ----------------------------------------------------------------------------------------------------------


def test_this_machine_slept(venues: Venues, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is still there when it wakes, and speaks: what came meanwhile is lost all the same."""
    real, hours = time.time_ns, 8 * 3_600_000_000_000
    plan = quick_plan(store, venues, ("okx",))
    with Live(replace(plan, pace=replace(plan.pace, asleep_s=600.0))) as live:
        live.wait_up("okx")
        asleep = replace(some("okx", 1)[0], ts_ms=now_ms() + 4 * 3_600_000)
        monkeypatch.setattr(time, "time_ns", lambda: real() + hours)
        live.wait_up("okx", losses=1)
    assert in_a_gap(store, asleep)
    assert "asleep" in gaps(store)[0]["reason"]
    assert gaps(store)[0]["until"] - gaps(store)[0]["ts"] > 8 * 3_600_000


def test_a_venue_whose_clock_is_ahead(venues: Venues, store: Path) -> None:
    """A row still leads to its message."""
    events = [replace(t, ts_ms=t.ts_ms + 2_000 + 7 * i) for i, t in enumerate(some("okx", 6))]
    with Live(quick_plan(store, venues, ("okx",))) as live:
        live.wait_up("okx")
        venues.push(events)
        live.wait(6)
    query = "SELECT count(*) AS n FROM liquidations l JOIN raw r ON r.venue = l.venue AND r.ts = l.known_at"
    assert Store(store).query(query).to_pylist() == [{"n": 6}]
    frame = stored(store)
    assert (frame["known_at"] >= frame["ts"]).all()
    assert_truth(store, venues)


def test_no_key_of_the_environment_gets_anywhere(
    venues: Venues, store: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "do-not-tell-8f3a"
    for name in ("BINANCE_API_KEY", "BINANCE_SECRET", "BYBIT_API_KEY", "OKX_PASSWORD", "BINANCEUSDM_APIKEY"):
        monkeypatch.setenv(name, secret)
    what = ("liquidations", "mark", "open-interest", "depth")
    with Live(quick_plan(store, venues, LIQUIDATING, what=what, keep="all", every_s=0.5)) as live:
        live.wait_up(*LIQUIDATING)
        venues.push(some("okx", 5))
        live.wait(5)
        venues.drop()
        live.wait_up(*LIQUIDATING, losses=1)
        venues.wait_for(lambda: all(live.status.of(n).snapshots >= 3 for n in LIQUIDATING))
    files = [p for p in store.parent.rglob("*") if p.is_file()]
    assert store in files
    assert all(secret.encode() not in p.read_bytes() for p in files)
    assert secret not in "".join([*live.said, str(live.status.plain()), *capfd.readouterr()])
    assert not any(secret in str(h) or "signature" in str(h).lower() or "api" in h for h in venues.headers)
