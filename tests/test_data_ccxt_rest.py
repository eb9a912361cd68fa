"""The REST client against a loopback server: patience, bans, errors in plain words, keys that are never shown."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from venue_server.binance import KEY
from venue_server.case import CONTRACTS, NOW, QUICK, client_of, fetch, same, truth_of, wish
from venue_server.server import Fault, VenueServer
from venue_server.truth import HOUR

from data.errors import BadInput, Banned, Corrupt, NotFound, SourceError, Unreachable
from data.fetching.asked import Wish
from data.fetching.job import plan
from data.sources.ccxt_rest import VenueClient
from data.sources.heard import Heard, retry_after
from data.sources.manners import Pace
from data.sources.venue_facts import What
from data.sources.venue_keys import Keys
from data.sources.venue_table import TABLE, facts
from data.store import Store

SECRET = "a-secret-nobody-may-see"


@pytest.fixture
def server() -> Iterator[VenueServer]:
    with VenueServer(truth_of("binance")) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "fetched.duckdb")


def candles(hours: float = 100, symbols: int = 1) -> Wish:
    return wish("binance", [What.CANDLES], int(NOW - hours * HOUR), symbols=symbols)


# ---- patience ------------------------------------------------------------------------------------


def test_retry_after_is_honoured_by_everybody(server: VenueServer, store: Store) -> None:
    client = client_of("binance", server.url)
    client.markets()
    server.plan = [Fault("429", "klines", wait=0.4)]
    before = time.monotonic()
    fetch(store, candles(), client)
    assert time.monotonic() - before >= 0.4
    assert server.done["429"] == 1
    same(store, server.truth, "binance", candles(), What.CANDLES)


def test_the_weight_that_ccxt_knows_paces_the_requests(server: VenueServer) -> None:
    """Binance counts 2 for 499 bars and ccxt gives a weight 50 ms; at a tenth of the limit that is a second."""
    client = client_of("binance", server.url, replace(QUICK, rate=1.0))
    client._ccxt.throttle(2)
    started = time.monotonic()
    client._ccxt.throttle(2)
    assert time.monotonic() - started >= 0.08


def test_the_limit_of_an_address_is_shared_by_all_interfaces_of_a_venue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics of USD-M and of COIN-M: 1,000 requests in five minutes, together."""
    both = (*CONTRACTS["binance"], *CONTRACTS["binance-coinm"])
    with VenueServer(replace(truth_of("binance"), contracts=both)) as server:
        pace, waits = Pace(), []
        wait = pace.wait
        monkeypatch.setattr(pace, "wait", lambda s, lane="": (waits.append((s, lane)), wait(s, lane)))
        for name in ("binance", "binance-coinm"):
            client = VenueClient(facts(name), replace(QUICK, url=server.url), None, pace)
            for feed in client.facts.of(What.RATIOS):
                market = next(iter(client.markets().values()))
                values = {"start": NOW - HOUR, "end": NOW, "limit": 5, "interval": "5m"}
                client.ask(feed.method, client.params(feed.params, market, values), feed.pause_s, feed.queue)
    shared = [s * QUICK.rate for s, lane in waits if lane == "futures/data"]
    assert shared == [pytest.approx(0.3)] * 8
    assert {lane for _, lane in waits} == {"futures/data", "binance", "binance-coinm"}


def test_a_wait_that_the_venue_asks_for_is_kept_however_it_is_written() -> None:
    date = "Mon, 21 Sep 2026 14:13:20 GMT"
    for text, seconds in (("7", 7.0), ("Mon, 21 Sep 2026 14:15:20 GMT", 120.0), ("soon", 0.0), ("", 0.0)):
        assert retry_after(Heard(429, {"Retry-After": text, "Date": date})) == seconds


def test_a_wait_of_more_than_a_minute_is_not_cut_short(server: VenueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of("binance", server.url)
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(client.pace, "hold", slept.append)
    server.plan = [Fault("429", "time", wait=100.0)]
    client.ask("fapiPublicGetTime", {})
    assert slept[:2] == [100.0, 100.0]
    server.plan = [Fault("429", "time", wait=3600.0)]
    with pytest.raises(Unreachable, match="binance asks to wait for 3,600 s"):
        client.ask("fapiPublicGetTime", {})


def test_a_slow_answer_is_asked_for_again(server: VenueServer, store: Store) -> None:
    server.plan = [Fault("slow", "klines", times=2, wait=0.8)]
    fetch(store, candles(), client_of("binance", server.url, replace(QUICK, timeout_s=0.3)))
    same(store, server.truth, "binance", candles(), What.CANDLES)


def test_trouble_that_does_not_end_stops_it_and_what_came_is_stored(server: VenueServer, store: Store) -> None:
    server.plan = [Fault("429", "klines", times=99, after=1, wait=0.01)]
    with pytest.raises(Unreachable, match=r"gives no .* after 4 tries: it asks to slow down.*goes on there"):
        fetch(store, candles(200), client_of("binance", server.url), workers=1)
    server.plan = []
    job = plan(store, candles(200), [client_of("binance", server.url)])
    assert 0 < sum(p.rows for p in job.pages) < 200 * 12
    fetch(store, candles(200), client_of("binance", server.url))
    same(store, server.truth, "binance", candles(200), What.CANDLES)


@pytest.mark.parametrize(("word", "requests"), [("429", 4), ("500", 4)])
def test_a_page_in_trouble_stops_all_only_where_the_next_would_fare_no_better(
    word: str, requests: int, server: VenueServer, store: Store
) -> None:
    """The venue's rate limit is everybody's; an error of its own may be that of one contract."""
    server.plan = [Fault(word, "ETHUSDT", times=99)]
    client = client_of("binance", server.url)
    if word == "429":
        with pytest.raises(Unreachable, match="it asks to slow down"):
            fetch(store, candles(20, symbols=2), client, workers=1)
    else:
        done = fetch(store, candles(20, symbols=2), client, workers=1)
        assert [p.reason for p in done.report.problems] == [
            "binance, fapiPublicGetKlines: the venue is in trouble (500), 4 times. Try later"
        ]
    assert server.done[word] == requests
    same(store, server.truth, "binance", candles(20, symbols=1), What.CANDLES)


def test_a_venue_in_trouble_for_every_contract_is_left_alone(server: VenueServer, store: Store) -> None:
    server.plan = [Fault("503", "klines", times=999)]
    with pytest.raises(Unreachable, match=r"the venue is in trouble \(503\)"):
        fetch(store, candles(500, symbols=2), client_of("binance", server.url), workers=1)
    assert server.done["503"] <= 5 * 4


def test_answers_that_stay_shifted_are_refused_and_nothing_of_them_is_stored(server: VenueServer, store: Store) -> None:
    server.plan = [Fault("shift", "klines", times=99)]
    with pytest.raises(Corrupt, match="its rows are shifted; 4 answers in a row are no good"):
        fetch(store, candles(20), client_of("binance", server.url))
    assert store.query("SELECT count(*) AS n FROM candles").to_pylist() == [{"n": 0}]


def test_one_page_that_is_refused_does_not_stop_the_others(server: VenueServer, store: Store) -> None:
    server.plan = [Fault("clash", "ETHUSDT", times=99)]
    done = fetch(store, candles(20, symbols=2), client_of("binance", server.url))
    assert done.report.exit_code == 2
    assert "differ" in done.report.problems[0].reason
    same(store, server.truth, "binance", candles(20, symbols=1), What.CANDLES)


# ---- bans ----------------------------------------------------------------------------------------


def test_a_ban_stops_everything_and_says_until_when(server: VenueServer, store: Store) -> None:
    client = client_of("binance", server.url)
    client.markets()
    server.plan = [Fault("418", "klines", times=99, after=1)]
    with pytest.raises(Unreachable, match=r"shut this address out until 2026-09-21 14:23:20 UTC \(418\)"):
        fetch(store, candles(2000), client, workers=1)
    assert server.done["418"] == 1  # not once more
    with pytest.raises(Banned):
        client.ask("fapiPublicGetTime", {})
    assert server.done["418"] == 1


def test_a_ban_of_bybit_is_ten_minutes() -> None:
    with VenueServer(truth_of("bybit")) as server:
        server.plan = [Fault("403", "kline")]
        client = client_of("bybit", server.url)
        with pytest.raises(Banned, match="shut this address out until 2026-09-21 14:23:20 UTC"):
            client.ask("publicGetV5MarketKline", {"category": "linear", "symbol": "BTCUSDT", "interval": "1"})


def test_a_place_that_bybit_does_not_serve_is_no_ban() -> None:
    """Its network answers 403 for both."""
    told = "<H1>403 ERROR</H1> The Amazon CloudFront distribution is configured to block access from your country."
    with VenueServer(truth_of("bybit")) as server:
        server.plan = [Fault("403", body=told)]
        with pytest.raises(SourceError, match=r"bybit does not serve this place \(403\)$") as caught:
            client_of("bybit", server.url).markets()
        assert not isinstance(caught.value, Banned)


# ---- refusals ------------------------------------------------------------------------------------


def test_no_network_is_one_line() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    with pytest.raises(Unreachable) as caught:
        client_of("binance", url).markets()
    text = str(caught.value)
    assert text == f"binance cannot be reached at {url[7:]}: nobody listens there. Check the network"


@pytest.mark.parametrize("v", TABLE, ids=lambda v: v.name)
def test_the_address_that_is_named_is_the_venues(v: object) -> None:
    client = VenueClient(v)  # type: ignore[arg-type]
    stem = client.facts.name.split("-")[0]
    assert stem in client._host()
    if client.facts.name.startswith("binance"):
        assert client._host().startswith(("fapi.", "dapi.")[client.facts.name == "binance-coinm"])


def test_a_place_that_is_not_served_is_not_asked_again(server: VenueServer) -> None:
    server.plan = [Fault("451", "klines", times=9)]
    with pytest.raises(SourceError, match="does not serve this place"):
        client_of("binance", server.url).ask("fapiPublicGetKlines", {"symbol": "BTCUSDT", "interval": "1m"})
    assert server.done["451"] == 1


@pytest.mark.parametrize(
    ("venue", "method", "body", "words"),
    [
        ("okx", "publicGetPublicTime", '{"code":"50013","data":[],"msg":"Systems are busy. Please try later"}', "busy"),
        ("bybit", "publicGetV5MarketTime", '{"retCode":10016,"retMsg":"Server error."}', "Server error"),
    ],
)
def test_a_venue_that_says_200_and_is_busy_is_told_in_its_own_words(
    venue: str, method: str, body: str, words: str
) -> None:
    with VenueServer(truth_of(venue)) as server:
        server.plan = [Fault("200", "time", times=2, body=body)]
        client = client_of(venue, server.url)
        client.ask(method, {})
        assert server.done["200"] == 2
        server.plan = [Fault("200", "time", times=99, body=body)]
        with pytest.raises(Corrupt, match=words):
            client.ask(method, {})


def test_a_refused_request_says_the_venues_own_words(server: VenueServer) -> None:
    with pytest.raises(NotFound, match=r"does not know the contract .*Invalid symbol"):
        client_of("binance", server.url).ask("fapiPublicGetKlines", {"symbol": "NOSUCH", "interval": "1m"})
    assert len(server.log) == 1


def test_markets_that_are_cut_short_are_asked_for_again(server: VenueServer) -> None:
    server.plan = [Fault("malformed", "exchangeInfo", times=2)]
    assert "BTC/USDT:USDT" in client_of("binance", server.url).markets()


def test_the_venues_clock_counts_not_ours(server: VenueServer) -> None:
    assert client_of("binance", server.url).now() == NOW * 1_000_000
    with VenueServer(truth_of("hyperliquid")) as other:  # which has no clock: the date of an answer
        assert abs(client_of("hyperliquid", other.url).now() // 1_000_000 - NOW) < 5_000


# ---- a server that goes away ---------------------------------------------------------------------


def test_a_server_that_restarts_midway_is_waited_for(store: Store) -> None:
    truth = truth_of("binance")
    with VenueServer(truth) as first:
        port = first.port
        client = client_of("binance", first.url, replace(QUICK, attempts=8, pause_s=0.05))
        job = plan(store, candles(300), [client])
        first.plan = [Fault("drop", "klines", times=99, after=2)]
        done: list[object] = []
        thread = threading.Thread(target=lambda: done.append(fetch(store, candles(300), client, workers=1)))
        thread.start()
        while not first.done["drop"]:
            time.sleep(0.01)
    time.sleep(0.2)
    with VenueServer(truth, port) as second:
        thread.join()
        assert done
        assert len(job.pages) > 5
        assert len(second.history()) > 0
        same(store, truth, "binance", candles(300), What.CANDLES)


# ---- keys ----------------------------------------------------------------------------------------


def test_brackets_need_a_key_and_that_is_said_before_anything_is_asked(server: VenueServer, store: Store) -> None:
    asked = wish("binance", [What.TIERS, What.CANDLES], NOW - HOUR)
    with pytest.raises(BadInput, match="set BINANCE_API_KEY and BINANCE_API_SECRET"):
        plan(store, asked, [client_of("binance", server.url)])
    assert server.history() == []


@pytest.mark.parametrize("word", ["", "418", "slow", "500", "malformed"])
def test_keys_are_in_no_message_no_log_and_not_in_the_store(
    word: str, server: VenueServer, store: Store, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    key = KEY if not word else "a-wrong-key"
    client = client_of("binance", server.url, replace(QUICK, timeout_s=0.3), Keys(key, SECRET))
    server.plan = [Fault(word, "leverageBracket", times=9, wait=0.6)] if word else []
    asked = wish("binance", [What.TIERS], NOW - HOUR)
    said = ""
    with caplog.at_level(logging.DEBUG):
        try:
            fetch(store, asked, client)
        except SourceError as error:
            said = f"{error} {error!r} {error.__cause__} {client.keys}"
    assert bool(said) == bool(word)
    out, err = capfd.readouterr()
    everything = said + caplog.text + out + err + str(store.query("SELECT * FROM ingests").to_pylist())
    assert any(h.get("X-MBX-APIKEY") == key for h in server.headers)
    for hidden in (key, SECRET):
        assert hidden not in everything
        assert hidden.encode() not in store.path.read_bytes()


def test_a_key_that_the_venue_refuses_is_not_repeated_in_the_message(server: VenueServer) -> None:
    client = client_of("binance", server.url, keys=Keys("a-wrong-key", SECRET))
    with pytest.raises(SourceError, match="refuses the API key") as caught:
        client.ask("fapiPrivateGetLeverageBracket", {})
    assert "a-wrong-key" not in str(caught.value)
    assert len(server.log) == 1


def test_no_key_goes_with_requests_that_need_none(server: VenueServer, store: Store) -> None:
    client = client_of("binance", server.url, keys=Keys(KEY, SECRET))
    fetch(store, candles(5), client)
    assert server.history()
    assert all(KEY not in str(h) for h in server.headers)
