"""`unwind run A,B`: several strategies on one account, told apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import stored_markets as sm

from backtest import cli as command_line
from backtest.result import Result
from backtest.trials import Register

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sm.stored(tmp_path_factory.mktemp("filled"))


@pytest.fixture
def db(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled, tmp_path / "some.duckdb"))


@pytest.fixture
def two(tmp_path: Path) -> str:
    idea = f"{sm.idea(tmp_path)}:Follow"
    return f"fast={idea},slow={idea}"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], db: Path) -> Any:
    def call(*words: str) -> tuple[int, str, str]:
        code = command_line.main(["run", *words, "--symbols", sm.SYMBOL, "--db", str(db)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_two_on_one_account(cli: Any, db: Path, two: str) -> None:
    changes = ("--set", "slow.length=48", "--set", "slow.weight=0.5")
    code, out, _ = cli(two, *changes, "--json")
    assert code == 0
    found = json.loads(out)
    kept = Result.load(found["folder"])
    assert (kept.parameters["slow_length"], kept.parameters["slow_weight"]) == (48, 0.5)
    rows = {row["strategy"]: row for row in found["attribution"]}
    assert set(rows) >= {"fast", "slow", "(account)"}
    made = float(kept.equity.iloc[-1] - kept.start_equity)
    assert rows["(account)"]["profit"] == pytest.approx(made, abs=1e-6)
    code, out, _ = cli(two, *changes)
    assert code == 0
    assert "netted" in out
    assert "(account)" in out
    assert Register(db.with_suffix(".trials")).distinct().height == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--set", "length=24"), "length of which strategy? Write fast.length"),
        (("--set", "fats.length=24"), "there is no strategy fats in this run: did you mean fast?"),
        (("--set", "fast.lengthy=24"), "did you mean fast_length?"),
    ],
)
def test_a_parameter_is_named_with_its_strategy(cli: Any, two: str, words: tuple[str, ...], says: str) -> None:
    code, _, err = cli(two, *words)
    assert code != 0
    assert says in err


def test_names_are_told_apart_and_a_carry_is_refused(cli: Any, two: str) -> None:
    idea = two.partition(",")[0].partition("=")[2]
    code, _, err = cli(f"{idea},{idea}")
    assert (code != 0, "two strategies are called Follow" in err) == (True, True)
    code, _, err = cli(f"{idea},Carry")
    assert (code != 0, "together(..., symbols=...)" in err) == (True, True)
