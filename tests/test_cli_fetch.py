"""`unwind fetch`: what it prints, what it refuses, and that it says beforehand what a venue cannot serve."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from venue_server.binance import KEY
from venue_server.case import CONTRACTS, NOW, same, truth_of, wish
from venue_server.server import Fault, VenueServer
from venue_server.truth import DAY

from backtest.cli import main
from data.sources.venue_facts import What
from data.sources.venue_table import TABLE, markdown
from data.store import Store

SINCE = "2026-09-20"
T0 = NOW // DAY * DAY - DAY


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("BINANCE_API_KEY", "BINANCE_API_SECRET", "UNWIND_KEYS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[VenueServer]:
    both = (*CONTRACTS["binance"], *CONTRACTS["binance-coinm"])
    with VenueServer(replace(truth_of("binance"), contracts=both)) as running:
        yield running


def unwind(server: VenueServer | str, line: str) -> int:
    url = server if isinstance(server, str) else server.url
    rate = [] if "--rate" in line else ["--rate", "10000"]
    return main(["fetch", *shlex.split(line), "--url", url, *rate, "--db", "s.duckdb"])


ONE = f"--venue binance --symbols BTC/USDT:USDT --since {SINCE} --interval 5m"


def test_it_says_what_came_and_what_is_stored(server: VenueServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert unwind(server, f"{ONE} --what candles,mark,funding") == 0
    said = capsys.readouterr().out
    assert "3 pages: 921 rows read, 921 new" in said
    assert "candles of binance now: 916 rows, 2026-09-20 00:00 to 2026-09-21 14:05" in said
    assert "funding of binance now: 5 rows, 2026-09-20 00:00 to 2026-09-21 08:00" in said
    assert unwind(server, f"{ONE} --what candles,mark,funding") == 0
    assert capsys.readouterr().out.startswith("nothing is missing\n")
    asked = wish("binance", [What.CANDLES], T0, symbols=1)
    same(Store("s.duckdb"), server.truth, "binance", asked, What.CANDLES)


def test_one_venue_means_usd_m_and_coin_m(server: VenueServer, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"--venue binance --symbols BTCUSDT,BTCUSD_PERP --since {SINCE} --what candles --interval 1h --json"
    assert unwind(server, line) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["requests"] == 2
    assert [s["venue"] for s in told["stored"]] == ["binance"]
    stored = Store("s.duckdb").query("SELECT DISTINCT symbol FROM candles ORDER BY 1").to_pydict()["symbol"]
    assert stored == ["BTC/USD:BTC", "BTC/USDT:USDT"]
    assert {a.path.split("/")[1] for a in server.history()} == {"fapi", "dapi"}


def test_coin_m_is_not_asked_when_it_is_not_needed(server: VenueServer) -> None:
    assert unwind(server, f"{ONE} --what candles") == 0
    assert not any("dapi" in a.path for a in server.log)


def test_a_dry_run_says_what_would_be_asked_for(server: VenueServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert unwind(server, f"{ONE} --what candles,funding --dry-run --json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["requests"] == 2
    assert [(p["what"], p["rows"], p["requests"]) for p in told["plan"]] == [("candles", 458, 1), ("funding", 4, 1)]
    assert server.history() == []
    assert unwind(server, f"{ONE} --what candles --dry-run") == 0
    said = capsys.readouterr().out
    assert "1 request for about 458 rows; no history was asked for" in said
    assert "2026-09-20 00:00" in said
    before = len(server.history())
    assert unwind(server, f"{ONE} --what candles") == 0
    assert len(server.history()) - before == 1  # as the dry run said


def test_a_dry_run_counts_the_requests_for_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    line = f"--venue okx --symbols BTC-USDT-SWAP,BTC-USD-SWAP --since {SINCE} --what tiers,instruments"
    with VenueServer(truth_of("okx")) as server:
        assert unwind(server, f"{line} --dry-run --json") == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["requests"], told["plan"][0]["requests"]) == (3, 3)
        listed = len(server.log)
        assert unwind(server, line) == 0
        assert len(server.log) == 2 * listed + 3  # the same list and clock, and as many as the dry run said


def test_what_is_out_of_reach_is_said_before_anything_is_asked(
    server: VenueServer, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "--venue binance --symbols BTCUSDT --since 2026-07-01 --until 2026-08-01 --what open-interest"
    assert unwind(server, line) == 0
    said = capsys.readouterr().out
    assert "note: binance serves open-interest from 2026-08-22 14:23:20 on; for what is older: unwind import" in said
    assert server.history() == []


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--venue binanze --symbols BTCUSDT --since 2024-01-01", "did you mean binance?"),
        ("--venue binance --symbols BTCUSTD --since 2026-09-01", "binance does not trade BTCUSTD now"),
        ("--venue binance --symbols BTX/USDT:USDT --since 2026-09-01", "did you mean BTC/USDT:USDT?"),
        ("--venue binance --symbols BTCUSDT --since 2026-09-01 --what candels", "did you mean candles?"),
        ("--venue binance --symbols BTCUSDT --since 2026-09-01 --interval 7m", "binance has no candles of 7m"),
        ("--venue binance --symbols BTCUSDT --since soon", "'soon' is no time"),
        ("--venue binance --symbols BTCUSDT --since 2026-09-02 --until 2026-09-01", "does not come after --since"),
        ("--venue binance --symbols BTCUSDT --since 2026-12-01", "lies ahead of the venue's clock"),
        ("--venue binance --symbols BTCUSDT --since 2026-09-01 --workers 0", "--workers 0"),
        ("--venue binance --symbols BTCUSDT --since 2026-09-01 --rate 0", "--rate"),
        ("--venue binance --symbols BTCUSDT --since 2026-09-01 --what tiers", "set BINANCE_API_KEY"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_asked_for(
    line: str, complaint: str, server: VenueServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert unwind(server, line) == 2
    err = capsys.readouterr().err
    assert complaint in err
    assert err.count("\n") == 1
    assert server.history() == []


def test_without_network_it_says_so_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    assert unwind(url, ONE) == 2
    err = capsys.readouterr().err
    assert err == f"unwind: binance cannot be reached at {url[7:]}: nobody listens there. Check the network\n"


def test_an_address_that_is_none_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert unwind("my-proxy", ONE) == 2
    assert "--url 'my-proxy' is no address" in capsys.readouterr().err


def test_without_ccxt_it_says_what_to_install(
    server: VenueServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ccxt", None)
    monkeypatch.delitem(sys.modules, "data.sources.ccxt_rest", raising=False)
    monkeypatch.delitem(sys.modules, "data.fetching.job", raising=False)
    assert unwind(server, ONE) == 2
    assert "unwind[exchanges]" in capsys.readouterr().err


def test_a_ban_ends_it_with_one_line(server: VenueServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.plan = [Fault("418", "klines")]
    assert unwind(server, f"{ONE} --what candles") == 2
    err = capsys.readouterr().err
    assert "shut this address out until 2026-09-21 14:23:20 UTC" in err
    assert err.count("\n") == 1


def test_a_page_that_is_refused_gives_code_2_and_says_why(
    server: VenueServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.plan = [Fault("451", "ETHUSDT", times=99)]
    line = f"--venue binance --symbols BTCUSDT,ETHUSDT --since {SINCE} --what candles --interval 1h"
    assert unwind(server, line) == 2
    said = capsys.readouterr().out
    assert "1 page: " in said
    assert "does not serve this place (451)" in said


def test_keys_are_taken_from_the_environment_and_never_shown(
    server: VenueServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINANCE_API_KEY", KEY)
    monkeypatch.setenv("BINANCE_API_SECRET", "a-secret-nobody-may-see")
    monkeypatch.setenv("UNWIND_DEBUG", "1")
    assert unwind(server, f"{ONE} --what tiers,instruments") == 0
    monkeypatch.setenv("BINANCE_API_KEY", "a-wrong-key")
    assert unwind(server, f"{ONE} --what tiers --json") == 2
    captured = capsys.readouterr()
    for hidden in (KEY, "a-wrong-key", "a-secret-nobody-may-see"):
        assert hidden not in captured.out + captured.err
        assert hidden.encode() not in Path("s.duckdb").read_bytes()
    assert "refuses the API key" in captured.err


def test_a_key_is_not_sent_in_the_clear_to_another_address(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINANCE_API_KEY", KEY)
    monkeypatch.setenv("BINANCE_API_SECRET", "s")
    assert unwind("http://example.invalid", f"{ONE} --what tiers") == 2
    assert "--url http://example.invalid: a key is sent only over https" in capsys.readouterr().err


def test_the_bar_shows_requests_and_rows(server: VenueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []

    class Terminal:
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            shown.append(text)
            return len(text)

        def flush(self) -> None:
            pass

    monkeypatch.setattr(sys, "stderr", Terminal())
    assert unwind(server, f"{ONE} --what candles,mark") == 0
    text = "".join(shown)
    assert "2/2" in text
    assert "916 rows" in text
    assert "requests/s" in text or "s/ requests" in text


@pytest.mark.slow
def test_in_a_process_of_its_own_it_warns_of_nothing(server: VenueServer, tmp_path: Path) -> None:
    code = "import sys; from backtest.cli import main; sys.exit(main(sys.argv[1:]))"
    line = [*shlex.split(ONE), "--what", "candles", "--url", server.url, "--db", str(tmp_path / "own.duckdb")]
    command = [sys.executable, "-W", "error", "-c", code, "fetch", *line]
    done = subprocess.run(command, env=os.environ | {"no_proxy": "*"}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "458 new" in done.stdout


# ---- docs/fetching.md ----------------------------------------------------------------------------

PAGE = (Path(__file__).resolve().parents[1] / "docs/fetching.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]


def test_the_page_shows_what_the_table_of_venues_says() -> None:
    assert markdown() in PAGE, "put what data.sources.venue_table.markdown() gives into docs/fetching.md"
    for v in TABLE:
        assert v.name in PAGE


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[:70])
def test_every_command_of_the_page_runs(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert words[:2] == ["unwind", "fetch"]
    venue = words[words.index("--venue") + 1]
    with VenueServer(truth_of(venue)) as running:
        assert unwind(running, shlex.join(words[2:])) == 0
        assert "store: " in (out := capsys.readouterr().out) or "no history was asked for" in out


def test_every_option_is_on_the_page() -> None:
    help_text = " ".join(set(re.findall(r"--[a-z-]+", PAGE)))
    for option in (
        "--what",
        "--interval",
        "--dry-run",
        "--rate",
        "--workers",
        "--url",
        "--again",
        "--json",
        "--timeout",
    ):
        assert option in help_text
