"""`unwind trials` as it is typed: what was tried, what overlaps, counting afresh."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import stored_markets as sm

from backtest import cli as command_line
from backtest import simulate
from backtest.cli.settings import strategy_class
from backtest.trials import Register
from data.store import Store

Cli = Any


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sm.stored(tmp_path_factory.mktemp("filled"))


@pytest.fixture
def db(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled, tmp_path / "some.duckdb"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], db: Path) -> Cli:
    """Runs any verb on the store: exit code, what it printed, what it complained of."""

    def call(*words: object) -> tuple[int, str, str]:
        code = command_line.main([*(str(word) for word in words), "--db", str(db)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def tried(cli: Cli, db: Path, tmp_path: Path) -> None:
    """Nine sets of one strategy on one symbol, one of another on both, one of a notebook early on the other."""
    idea = f"{sm.idea(tmp_path)}:Follow"
    assert cli("sweep", idea, "--symbols", sm.SYMBOL)[0] == 0
    assert cli("run", "BuyAndHold", "--symbols", f"{sm.SYMBOL},{sm.OTHER}", "--from", "2024-03-20")[0] == 0
    market = Store(db, read_only=True).market(sm.OTHER, "1h", "2024-03-01", "2024-03-15")
    simulate(market, strategy_class(idea)(length=30))


@pytest.mark.usefixtures("tried")
def test_by_strategy_and_by_market(cli: Cli, db: Path) -> None:
    found = json.loads(cli("trials", "--json")[1])
    assert (found["trials"], found["left_out"], found["afresh"]) == (11, 0, None)
    follow, hold = found["strategies"]
    assert (follow["strategy"], follow["trials"], follow["versions"]) == ("Follow", 10, 1)
    assert (hold["strategy"], hold["trials"]) == ("BuyAndHold", 1)
    assert (follow["from"], follow["to"]) == (sm.FIRST, sm.LAST)
    assert hold["from"] == "2024-03-20 00:00"
    assert 1.0 < follow["worth"] < 10.0
    on = {row["symbols"]: row["overlapping"] for row in found["markets"]}
    # ALFA: nine sets and the pair. BRAVO early: it alone, the pair began later. The pair: itself and the nine.
    assert on == {sm.SYMBOL: 10, sm.OTHER: 1, f"{sm.SYMBOL}, {sm.OTHER}": 10}
    market = Store(db, read_only=True).market(sm.SYMBOL, "1h")
    assert on[sm.SYMBOL] == Register(market.register).count(market).number
    best = Register(market.register).distinct()
    a_year = 365.0**0.5
    assert follow["best_sharpe"] == pytest.approx(
        best.filter(best["strategy"] == "Follow")["sharpe"].fill_nan(0.0).max() * a_year
    )


@pytest.mark.usefixtures("tried")
def test_those_that_overlap_a_market(cli: Cli) -> None:
    def number(*words: str) -> int:
        return int(json.loads(cli("trials", *words, "--json")[1])["trials"])

    assert number("--symbols", sm.SYMBOL) == 10
    assert number("--symbols", sm.OTHER) == 2
    assert number("--symbols", sm.OTHER, "--to", "2024-03-10") == 1
    assert number("--symbols", sm.OTHER, "--from", "2024-03-25", "--venue", "made-up") == 1
    assert number("--symbols", f"{sm.SYMBOL},{sm.OTHER}") == 11
    assert number("--symbols", sm.SYMBOL, "--from", "2025-01-01") == 0


@pytest.mark.usefixtures("tried")
def test_a_person_reads_tables(cli: Cli, db: Path) -> None:
    code, out, _ = cli("trials")
    assert code == 0
    assert "Follow" in out
    assert "Trials that overlap" in out
    assert "11 trials, worth" in out
    assert str(db.parent / "some.trials") in out


@pytest.mark.usefixtures("tried")
def test_counting_afresh_says_so_from_then_on(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("trials", "--start-afresh")
    assert code == 0
    assert "11 trials stay noted, and no longer count" in out
    assert "has not forgotten" in err
    assert "No trial is noted" in cli("trials")[1]
    run = ["run", f"{tmp_path / 'ideas.py'}:Follow", "--symbols", sm.SYMBOL, "--set"]
    assert "counted afresh since" in cli(*run, "length=77")[1]
    assert "counted afresh since" in cli(*run, "length=78")[1]
    found = json.loads(cli("trials", "--json")[1])
    assert (found["trials"], found["left_out"]) == (2, 11)
    assert "11 earlier trials are left out" in cli("trials")[1]
    again = json.loads(cli("trials", "--start-afresh", "--json")[1])
    assert again["left_out"] == 13


def test_nothing_yet_and_mistakes(cli: Cli, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli("trials")[:2] == (
        0,
        "No trial is noted: `unwind run`, `unwind sweep`, `unwind walkforward` and notebooks note theirs.\n",
    )
    assert json.loads(cli("trials", "--json")[1])["trials"] == 0
    assert "no trial is on ALFA/USDT:USDT: there is none yet" in cli("trials", "--symbols", sm.SYMBOL)[2]
    assert command_line.main(["trials", "--db", str(tmp_path / "none.duckdb")]) == 2
    assert "there is no store yet" in capsys.readouterr().err


@pytest.mark.usefixtures("tried")
def test_a_wrong_name_has_a_suggestion(cli: Cli) -> None:
    assert "did you mean ALFA/USDT:USDT?" in cli("trials", "--symbols", "ALFFA/USDT:USDT")[2]
    assert "did you mean made-up?" in cli("trials", "--symbols", sm.SYMBOL, "--venue", "madeup")[2]
    assert "name them with --symbols" in cli("trials", "--from", "2024-01-01")[2]
    assert "leave --symbols and the like out" in cli("trials", "--start-afresh", "--symbols", sm.SYMBOL)[2]
