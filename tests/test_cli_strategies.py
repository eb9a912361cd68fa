"""`unwind strategies`, `unwind new strategy`, `unwind check lookahead` and `check warmup`, as they are typed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from backtest import cli
from backtest.cli import stored_market
from backtest.cli.new import _class_name
from backtest.strategy_lookup import available
from data.errors import BadInput
from data.ingest import ingest
from data.sources.made_up import made_up
from data.store import Store

PEEK = '''
"""One strategy that sees tomorrow, and one that never forgets."""

import numpy as np
import pandas as pd
from backtest.strategy import HOLD, Strategy


class Peek(Strategy):
    """Buy before it rises."""

    def features(self, market):
        return {"tomorrow": pd.DataFrame(market.close).pct_change().shift(-1)}

    @staticmethod
    def decide(tomorrow):
        return 1.0 if tomorrow > 0.0 else 0.0


class Remember(Strategy):
    """Buy below the mean of all time."""

    warmup = "10d"

    def features(self, market):
        return {"mean": pd.DataFrame(market.close).expanding().mean()}

    @staticmethod
    def decide(mean):
        return 1.0 if mean > 0.0 else HOLD
'''


@pytest.fixture
def ideas(tmp_path: Path) -> Path:
    file = tmp_path / "ideas.py"
    file.write_text(PEEK)
    return file


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name twenty days of two made-up coins."""
    db = tmp_path_factory.mktemp("made-up") / "some.duckdb"
    ingest(made_up(symbols=2, days=20, interval="1h"), Store(db))
    return ["--symbols", "ALFA/USDT:USDT,BRAVO/USDT:USDT", "--db", str(db)]


# ---- strategies ---------------------------------------------------------------------------------------


def test_all_are_listed_with_thesis_parameters_and_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["strategies", "--json"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert set(listed) == set(available("strategies"))
    squeeze = listed["FundingSqueeze"]
    assert squeeze["thesis"].startswith("Fade a crowded side")
    assert squeeze["tables"] == ["candles", "funding", "open_interest"]
    entry = next(p for p in squeeze["parameters"] if p["name"] == "entry_z")
    assert entry == {"name": "entry_z", "type": "float", "default": 2.0, "range": [1.5, 2.0, 2.5, 3.0]}


def test_a_person_reads_a_table_and_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["strategies"]) == 0
    assert "funding, open_interest" in capsys.readouterr().out
    assert cli.main(["strategies", "CascadeFade"]) == 0
    page = capsys.readouterr().out
    assert "What is known:" in page
    assert "worth trying" in page
    assert page.rstrip().endswith("Needs: candles, open_interest")


def test_what_a_store_lacks_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    hours = pd.date_range("2024-03-01", periods=48, freq="1h")
    pd.DataFrame({"ts": hours, "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 3.0}).to_csv(
        tmp_path / "bars.csv", index=False
    )
    db = str(tmp_path / "some.duckdb")
    file = ["import", "file", str(tmp_path / "bars.csv"), "--table", "candles", "--venue", "binance"]
    assert cli.main([*file, "--symbol", "BTC/USDT:USDT", "--price", "trade", "--db", db]) == 0
    capsys.readouterr()
    asked = ["--symbols", "BTC/USDT:USDT", "--db", db]
    assert cli.main(["strategies", "FundingSqueeze", *asked]) == 0
    assert "Missing: funding, open_interest: bring it in with `unwind fetch`" in capsys.readouterr().out
    assert cli.main(["strategies", "BuyAndHold", *asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == []
    assert cli.main(["check", "lookahead", "FundingSqueeze", *asked]) == 2
    said = capsys.readouterr().err
    assert said == (
        "unwind: FundingSqueeze needs funding_8h, open_interest, which this market does not hold: bring in funding, "
        "open_interest with `unwind fetch` or `unwind import`\n"
    )


def test_a_market_that_is_too_short_is_said(capsys: pytest.CaptureFixture[str], stored: list[str]) -> None:
    assert cli.main(["check", "warmup", "LadderFade", *stored]) == 2
    assert "480 bars are too few: the warm-up alone is 1,632 of them" in capsys.readouterr().err


def test_a_wrong_name_has_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["strategies", "FundingSqeeze"]) == 2
    assert "did you mean FundingSqueeze?" in capsys.readouterr().err


def test_no_store_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["check", "warmup", "BuyAndHold", "--symbols", "X/Y:Y", "--db", str(tmp_path / "no.duckdb")]) == 2
    assert "there is no store yet" in capsys.readouterr().err


# ---- from elsewhere -----------------------------------------------------------------------------------


def test_a_file_outside_is_a_strategy_like_any_other(capsys: pytest.CaptureFixture[str], ideas: Path) -> None:
    assert cli.main(["strategies", f"{ideas}:Peek", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["thesis"], found["tables"]) == ("Peek", "Buy before it rises.", ["candles"])


def test_an_installed_package_is_found_and_a_broken_one_hides_nobody(tmp_path: Path) -> None:
    """A real distribution, put where Python looks for them: one strategy, and three ways to break one."""
    site = tmp_path / "site"
    (site / "their_ideas").mkdir(parents=True)
    (site / "their_ideas" / "__init__.py").write_text("")
    (site / "their_ideas" / "fades.py").write_text(PEEK.replace("class Peek", "class TheirFade"))
    (site / "their_ideas" / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    info = site / "their_ideas-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-ideas\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[unwind.strategies]\nTheirFade = their_ideas.fades:TheirFade\nGone = their_ideas.gone:Gone\n"
        "Leaves = their_ideas.leaves:Leaves\nCarry = their_ideas.fades:TheirFade\n"
    )
    done = unwind(["strategies", "--json"], PYTHONPATH=f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert done.returncode == 0, done.stderr
    listed = {one["name"]: one for one in json.loads(done.stdout)}
    assert listed["TheirFade"]["module"] == "their_ideas.fades"
    assert set(listed) == {*available("strategies"), "TheirFade"} - {"Carry"}
    said = done.stderr.splitlines()
    assert len(said) == 3
    assert "Carry is the name of several strategies, in strategies.carry and their_ideas.fades: rename one" in said[0]
    assert said[1].endswith("cannot be loaded: ModuleNotFoundError: No module named 'their_ideas.gone'")
    assert said[2].endswith("cannot be loaded: SystemExit: 3")


def test_a_file_that_leaves_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "leaves.py"
    file.write_text("import sys\n\nsys.exit(3)\n")
    assert cli.main(["strategies", str(file)]) == 2
    assert capsys.readouterr().err == "unwind: leaves.py:3: `sys.exit(3)`\nSystemExit: 3\n"


def unwind(tokens: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from backtest.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *tokens],
        capture_output=True, text=True, env={**os.environ, **env}, check=False,
    )  # fmt: skip


# ---- checks -------------------------------------------------------------------------------------------


def test_looking_ahead_is_found(capsys: pytest.CaptureFixture[str], ideas: Path, stored: list[str]) -> None:
    named = f"{ideas}:Peek,{ideas}:Remember,BuyAndHold,Carry"
    assert cli.main(["check", "lookahead", named, *stored, "--json"]) == 1
    out, err = capsys.readouterr()
    assert [(row["strategy"], row["feature"]) for row in json.loads(out)] == [("Peek", "tomorrow")]
    assert "4 checked on Market(made-up, ALFA/USDT:USDT" in err
    assert err.rstrip().endswith(": 1 looks ahead")


def test_a_short_warm_up_is_found(capsys: pytest.CaptureFixture[str], ideas: Path, stored: list[str]) -> None:
    assert cli.main(["check", "warmup", f"{ideas}:Remember", *stored]) == 1
    out = capsys.readouterr().out
    assert "mean" in out
    assert "longer warm-up" in out
    assert out.rstrip().endswith(": 1 depends on where the market began")


def test_all_there_are_are_checked_and_those_that_cannot_be_are_named(
    capsys: pytest.CaptureFixture[str], stored: list[str]
) -> None:
    """One that needs five coins stops none of the others; asked for by name, it is an error."""
    assert cli.main(["check", "lookahead", *stored, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert "not checked: CrowdingPortfolio: CrowdingPortfolio ranks 5 coins or more" in err
    assert f"{len(available('strategies')) - 1} checked on Market(made-up, ALFA" in err
    assert cli.main(["check", "lookahead", "CrowdingPortfolio", *stored]) == 2


def test_the_made_up_market_suits_those_that_are_hard_to_please(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both legs, six coins to rank, every table; all the others have contracts of their own."""
    monkeypatch.setattr(stored_market, "MADE_UP_DAYS", 45)  # half of what a person gets, in half of the time
    assert cli.main(["check", "warmup", "Carry,CrowdingPortfolio,FundingSqueeze,DeRiskedTrend"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("4 checked on ")
    assert ": none depend" in out


# ---- a new one ----------------------------------------------------------------------------------------


MISTAKES = {  # test of the template -> what is right in it, and wrong
    "it_does_not_look_ahead": ('"funding_z": z,', '"funding_z": z.shift(-1),'),
    "its_warm_up_is_enough": ("        return self.window\n", '        return "1h"\n'),
    "what_it_decides": ("return -leverage * share", "return leverage * share"),
}


def test_the_template_works_and_its_tests_pass_and_find_faults(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As it is written all of its tests pass; with one of three mistakes, the test of that mistake fails."""
    folder = tmp_path / "my ideas"
    assert cli.main(["new", "strategy", "wick-fade2", "--folder", str(folder)]) == 0
    said = capsys.readouterr().out
    file = folder / "wick_fade2.py"
    assert f"unwind strategies '{file}:WickFade2'" in said
    assert f"python -m pytest '{folder / 'test_wick_fade2.py'}'" in said
    good = file.read_text()
    assert "NewStrategy" not in good + (folder / "test_wick_fade2.py").read_text()
    asked, faults = [str(folder / "test_wick_fade2.py")], set()
    for number, (test, (right, wrong)) in enumerate(MISTAKES.items()):
        assert cli.main(["new", "strategy", f"Careless{number}", "--folder", str(folder)]) == 0
        careless = folder / f"careless{number}.py"
        assert right in careless.read_text()
        careless.write_text(careless.read_text().replace(right, wrong))
        asked += [f"{folder / f'test_careless{number}.py'}::test_{name}" for name in MISTAKES]
        faults.add((f"test_careless{number}.py", f"test_{test}"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", *asked],
        capture_output=True, text=True, cwd=tmp_path, check=False,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout[-3000:]
    found = {
        kind: [(file, test) for file, test in re.findall(rf"^{kind} .*?(test_\w+\.py)::(test_\w+)", done.stdout, re.M)]
        for kind in ("PASSED", "FAILED", "ERROR")
    }
    assert set(found["FAILED"]) == faults
    assert found["ERROR"] == []
    assert [file for file, _ in found["PASSED"]].count("test_wick_fade2.py") == 9
    capsys.readouterr()
    assert cli.main(["strategies", f"{file}:WickFade2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tables"] == ["candles", "funding"]


def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "test_fade.py").write_text("mine")
    assert cli.main(["new", "strategy", "Fade", "--folder", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["test_fade.py"]


@pytest.mark.parametrize(
    ("given", "made"), [("WickFade", "WickFade"), ("wick fade", "WickFade"), ("oi_flush-2", "OiFlush2")]
)
def test_names_are_made_of_words(given: str, made: str) -> None:
    assert _class_name(given) == made


@pytest.mark.parametrize("name", ["", "2fast", "a/b", "Strategy", "Größe"])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="name of a class"):
        _class_name(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Class", "class.py is no name for a module"),
        ("for", "for.py is no name for a module"),
        ("TestFade", "test_fade.py is no name for a module"),
        ("Json", "json.py would hide the module json"),
        ("numpy", "numpy.py would hide the module numpy"),
        ("data", "data.py would hide the module data"),
        ("HOLD", "HOLD is a name that the file itself uses"),
        ("Market", "Market is a name that the file itself uses"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_name_that_python_would_take_for_another_is_refused(
    name: str, why: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Each of these would write a strategy whose own tests cannot be run."""
    assert cli.main(["new", "strategy", name, "--folder", str(tmp_path)]) == 2
    assert why in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
