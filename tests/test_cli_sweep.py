"""`unwind sweep` as it is typed: sets, conditions, sizes, what is written, what an interrupt leaves."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import stored_markets as sm

from backtest import cli as command_line
from backtest.cli.axes import axes_from
from backtest.cli.condition import condition
from backtest.cli.settings import strategy_class
from backtest.space import Span
from backtest.strategy import Strategy
from backtest.sweep import sweep
from backtest.trials import Register
from data.errors import BadInput
from data.store import Store

Cli = Any


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sm.stored(tmp_path_factory.mktemp("filled"))


@pytest.fixture
def db(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled, tmp_path / "some.duckdb"))


@pytest.fixture
def idea(tmp_path: Path) -> str:
    return f"{sm.idea(tmp_path)}:Follow"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], db: Path) -> Cli:
    """Runs `unwind sweep` on the store: exit code, what it printed, what it complained of."""

    def call(*words: object) -> tuple[int, str, str]:
        tokens = ["sweep", *(str(word) for word in words), "--symbols", sm.SYMBOL, "--db", str(db)]
        code = command_line.main(tokens)
        out, err = capsys.readouterr()
        return code, out, err

    return call


# ---- what it does -----------------------------------------------------------------------------------


def test_it_is_the_sweep_of_the_library(cli: Cli, db: Path, tmp_path: Path, idea: str) -> None:
    out = tmp_path / "all.parquet"
    code, said, _ = cli(idea, "--vary", "length=6,12,24", "--vary", "band=0..0.02:3", "--out", out, "--json")
    assert code == 0
    market = Store(db, read_only=True).market(sm.SYMBOL, "1h").registered("")
    wanted = sweep(strategy_class(idea), market, length=[6, 12, 24], band=Span(0.0, 0.02, steps=3))
    pd.testing.assert_frame_equal(pd.read_parquet(out), wanted.frame, check_exact=True)
    found = json.loads(said)
    assert (found["sets"], found["planned"], found["complete"]) == (9, 9, True)
    best = wanted.best(1)
    assert found["best"][0]["sharpe"] == best["sharpe"].iloc[0]
    assert found["best"][0]["plateau"] == wanted.plateau().loc[best.index[0], "plateau"]
    assert found["trials"]["number"] == 9


def test_without_vary_the_declared_ranges_are_the_grid(cli: Cli, idea: str) -> None:
    whole = json.loads(cli(idea, "--json")[1])
    assert (whole["sets"], whole["varied"]) == (9, ["length", "band"])
    part = json.loads(cli(idea, "--set", "band=0.01", "--json")[1])
    assert (part["sets"], part["varied"]) == (3, ["length"])


def test_the_command_that_it_shows_runs_the_best_set(cli: Cli, idea: str, capsys: pytest.CaptureFixture[str]) -> None:
    rules = ["--from", "2024-03-10", "--slippage", "3", "--leverage", "4", "--account", "cash_rate=0.02"]
    found = json.loads(cli(idea, *rules, "--json")[1])
    line = cli(idea, *rules)[1].splitlines()
    words = shlex.split(line[line.index("The first one in full:") + 1])
    assert command_line.main([*words[1:], "--json"]) == 0
    ran = json.loads(capsys.readouterr().out)
    best = found["best"][0]
    assert {name: ran["parameters"][name] for name in found["varied"]} == {n: best[n] for n in found["varied"]}
    assert ran["measures"]["sharpe"] == best["sharpe"]
    assert ran["trials"]["trials"] == 9


def test_samples_need_a_count_and_give_the_same_sets_for_a_seed(cli: Cli, idea: str) -> None:
    for method in ("random", "sobol", "optuna"):
        words = [idea, "--vary", "band=0..0.03", "--vary", "length=4..40", "--method", method, "--json", "--count", 24]
        one, same, other = (json.loads(cli(*words, "--seed", seed)[1]) for seed in (1, 1, 2))
        assert one["best"] == same["best"] != other["best"]
        assert one["planned"] <= 24


def test_ranked_by_another_measure(cli: Cli, idea: str) -> None:
    found = json.loads(cli(idea, "--objective", "max_drawdown", "--top", 9, "--json")[1])
    losses = [row["max_drawdown"] for row in found["best"]]
    assert len(losses) == 9
    assert losses == sorted(losses)


def test_conditions_leave_sets_out(cli: Cli, idea: str) -> None:
    found = json.loads(cli(idea, "--where", "length <= 12 and band > 0", "--top", 9, "--json")[1])
    assert sorted((row["length"], row["band"]) for row in found["best"]) == [
        (6, 0.01), (6, 0.02), (12, 0.01), (12, 0.02)
    ]  # fmt: skip


def test_csv_too(cli: Cli, tmp_path: Path, idea: str) -> None:
    code, out, _ = cli(idea, "--out", tmp_path / "new" / "all.csv")
    assert code == 0
    assert f"Saved  {tmp_path / 'new' / 'all.csv'}" in out
    assert len(pd.read_csv(tmp_path / "new" / "all.csv")) == 9


def test_a_person_is_told_what_luck_would_show(cli: Cli, db: Path, idea: str) -> None:
    _, out, err = cli(idea)
    assert err == ""
    assert "9 sets of length, band; window=2d, leverage=1.0, only_long=False stays" in out
    assert "Trials: 9 trials on this market" in out
    assert "The best of as many without any skill would show a Sharpe ratio of about" in out
    assert Register(Store(db, read_only=True).register).distinct().height == 9


# ---- mistakes ---------------------------------------------------------------------------------------

MISTAKES: list[tuple[list[str], str]] = [
    (["--vary", "bnad=1,2"], "Follow has no parameter bnad: did you mean band?"),
    (["--vary", "band=a,b"], "Follow: band='a': write a number"),
    (["--vary", "band"], "--vary band: write a name and a value"),
    (["--vary", "band=0.1..0.2"], "--vary band: 0.1..0.2 in a grid needs a number of steps: 0.1..0.2:5"),
    (["--vary", "band=3..1:4"], "write two finite numbers, the lower one first"),
    (["--vary", "window=1d..3d"], "window='1d..3d' is no duration"),
    (["--vary", "band=1,2", "--set", "band=1"], "band is varied and set: leave one of them out"),
    (["--objective", "sharp"], "did you mean sharpe?"),
    (["--method", "sobl"], "--method sobl: did you mean sobol?"),
    (["--method", "sobol"], "--method sobol needs --count"),
    (["--count", "5"], "--count is of a sample"),
    (["--top", "0"], "--top 0: write how many to show"),
    (["--out", "all.xlsx"], "write a file that ends with .parquet or .csv"),
    (["--where", "lngth < 3"], "there is no parameter lngth: did you mean length?"),
    (["--where", "length <"], "write a condition on parameters, such as fast < slow"),
    (["--where", "length > 1000"], "no parameter set is left"),
    (["--vary", "length=1..30000", "--vary", "band=0.1,0.2"], "60,000 sets (length 30000 x band 2) are many at once"),
    (["--scheduler", "procesess"], "did you mean processes?"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_is_said_in_a_line(cli: Cli, db: Path, idea: str, words: list[str], said: str) -> None:
    code, out, err = cli(idea, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert not Register(Store(db, read_only=True).register).folder.exists()


def test_a_large_grid_says_what_makes_it_smaller(cli: Cli, idea: str) -> None:
    code, _, err = cli("FundingSqueeze")
    assert code == 2
    assert "46,656 sets (window 3 x entry_z 4" in err
    for option in ("--vary", "--method sobol --count", "--most"):
        assert option in err
    large = ["--vary", "length=2..200", "--vary", "band=0..0.02:200"]
    assert cli(idea, *large)[0] == 2
    assert cli(idea, *large, "--where", "length < 5", "--json")[0] == 0  # few are left of it


def test_a_strategy_that_declares_nothing_to_try(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "plain.py"
    file.write_text(sm.IDEA.replace('ranges = {"length": (6, 12, 24), "band": (0.0, 0.01, 0.02)}', ""))
    assert "Follow says nothing of values worth trying: write --vary length=1,2,3" in cli(file)[2]


# ---- an interrupt -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done(db: Path, tmp_path: Path) -> None:
    slow = sm.IDEA.replace("import pandas as pd", "import sys, time\nimport pandas as pd").replace(
        "price = pd.Series",
        "print('here', file=sys.stderr, flush=True)\n        time.sleep(0.5)\n        price = pd.Series",
    )
    (tmp_path / "slow.py").write_text(slow)
    words = sm.command("sweep", tmp_path / "slow.py", "--symbols", sm.SYMBOL, "--db", db, "--json", "--most", 10**6)
    words += ["--vary", "length=2..40", "--vary", "band=0..0.02:4096"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as one:
        assert one.stderr is not None
        for _ in range(5):
            assert one.stderr.readline() == "here\n"
        os.kill(one.pid, signal.SIGINT)
        out, err = one.communicate()
    assert one.returncode == 130, err
    found = json.loads(out)
    assert found["complete"] is False
    assert 4096 <= found["sets"] < found["planned"] == 39 * 4096
    assert f"interrupted after {found['sets']:,} of {found['planned']:,} sets; they are kept" in err
    assert Register(Store(db, read_only=True).register).distinct().height == found["sets"]


# ---- parts ------------------------------------------------------------------------------------------


class Two(Strategy):
    fast: str = "3d"
    slow: str = "14d"
    depth: int = 3
    size: float = 1.0
    flag: bool = False
    name: str = "index"

    @staticmethod
    def decide(size: float) -> float:
        return size


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("fast < slow", True),
        ("fast * 4 < slow", True),
        ("fast * 5 < slow", False),
        ("slow - fast >= '11d'", True),
        ("slow / fast > 4.6 and depth == 3", True),
        ("not flag", True),
        ("name in ('index', 'mark')", True),
        ("name == 'mark' or depth not in [1, 2]", True),
        ("1 < depth <= 3", True),
        ("-size < 0 < depth - size", True),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    assert condition(text, Two.declared())(Two().parameters) is holds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fast < 3", "a duration is compared with a number"),
        ("slow / fast < '3d'", "a duration is compared with a number"),
        ("depth.real > 1", "depth.real is not known here"),
        ("__import__('os')", "there is no parameter __import__"),
        ("size(1)", r"size\(1\) is not known here"),
        ("depth is 3", "is not known here"),
        ("name < depth", "not supported"),
        ("depth / (depth - 3) > 1", "division by zero"),
    ],
)
def test_conditions_that_mean_nothing(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        condition(text, Two.declared())


def test_texts_become_axes() -> None:
    texts = {"depth": "2..5", "size": "0.5..2:4:log", "fast": "1d,2d", "flag": "yes,no"}
    found = axes_from(Two(), texts, grid=True)
    assert found == {
        "depth": [2, 3, 4, 5],
        "size": Span(0.5, 2.0, log=True, steps=4),
        "fast": ["1d", "2d"],
        "flag": [True, False],
    }
    assert axes_from(Two(), {"size": "1..3"}, grid=True) == {"size": [1.0, 2.0, 3.0]}
    assert axes_from(Two(), {"depth": "2..5"}, grid=False) == {"depth": Span(2.0, 5.0)}


def test_a_folder_lets_the_same_command_go_on(cli: Cli, tmp_path: Path, idea: str) -> None:
    whole = json.loads(cli(idea, "--json")[1])
    first, again = (json.loads(cli(idea, "--folder", tmp_path / "kept", "--json")[1]) for _ in range(2))
    assert first["best"] == again["best"] == whole["best"]
    assert first["trials"]["number"] == again["trials"]["number"] == 9
    assert any((tmp_path / "kept").iterdir())


@pytest.mark.slow
def test_processes_find_the_same(cli: Cli, idea: str) -> None:
    here = json.loads(cli(idea, "--json")[1])
    there = json.loads(cli(idea, "--scheduler", "processes", "--workers", 2, "--json")[1])
    assert there["best"] == here["best"]
