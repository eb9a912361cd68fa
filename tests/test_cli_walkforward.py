"""`unwind walkforward` as it is typed: one file, kept folds, requirements with an exit code."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import stored_markets as sm

from backtest import cli as command_line
from backtest import sweep as sweeping
from backtest.cli import config as files
from backtest.cli.settings import strategy_class
from backtest.result import Result
from backtest.walkforward import Plan, WalkForward, walk_forward
from data.errors import BadInput
from data.store import Store

SLOW = sm.IDEA.replace("import pandas as pd", "import os, time\nimport pandas as pd").replace(
    "price =", 'time.sleep(float(os.environ.get("SLOW", "0")))\n        price ='
)
TEXT = """
[data]
db = "some.duckdb"
symbols = ["ALFA/USDT:USDT"]
interval = "1h"

[strategy]
name = "ideas.py:Follow"
set.leverage = 2.0

[vary]
length = [6, 12, 24]
band = "0..0.02:3"

[plan]
train = "10d"
test = "5d"
require = ["trades >= 1"]

[account]
equity = 5000

[costs]
model = "fixed"
half_spread_bps = 3
"""
AXES: dict[str, Any] = {"length": [6, 12, 24], "band": [0.0, 0.01, 0.02]}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sm.stored(tmp_path_factory.mktemp("filled"))


@pytest.fixture
def here(filled: Path, tmp_path: Path) -> Path:
    """A folder with a store, an idea and the file."""
    shutil.copy(filled, tmp_path / "some.duckdb")
    (tmp_path / "ideas.py").write_text(SLOW)
    (tmp_path / "wf.toml").write_text(TEXT)
    return tmp_path


Cli = Any


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], here: Path) -> Cli:
    """Runs `unwind walkforward wf.toml`: exit code, what it printed, what it complained of."""

    def call(*words: object) -> tuple[int, str, str]:
        code = command_line.main(["walkforward", str(here / "wf.toml"), *(str(word) for word in words)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def by_hand(here: Path) -> WalkForward:
    from backtest import Account, Costs

    base = strategy_class(str(here / "ideas.py"))(leverage=2.0)
    market = Store(here / "some.duckdb", read_only=True).market(sm.SYMBOL, "1h").registered("")
    plan = Plan(train="10d", test="5d", require=("trades >= 1",))
    terms = {"account": Account(equity=5000.0), "costs": Costs.fixed(3.0)}
    return walk_forward(base, market, plan, AXES, progress=False, **terms)  # type: ignore[arg-type]


# ---- what it does -----------------------------------------------------------------------------------


def test_it_is_the_walk_forward_of_the_library(cli: Cli, here: Path) -> None:
    code, out, _ = cli("--json")
    found = json.loads(out)
    wanted = by_hand(here)
    assert code == 0
    assert [row["length"] for row in found["folds"]] == list(wanted.folds["length"])
    summary = wanted.summary() | {"trials": 9}
    assert math.isnan(summary.pop("oos.dsr"))  # here nobody counted trials, and the store did
    assert 0.0 < found["summary"]["oos.dsr"] < found["summary"]["oos.psr"]
    for name, value in summary.items():
        assert found["summary"][name] == (None if value != value else value), name
    kept = Result.load(Path(found["folder"]) / "result")
    assert [float(v) for v in kept.equity] == [float(v) for v in wanted.result.equity]
    assert Path(found["folder"]).parent == here / "some.results"
    assert json.loads((Path(found["folder"]) / "summary.json").read_text()) == found


def test_the_same_command_again_takes_the_folds_that_are_there(cli: Cli) -> None:
    first, again = (json.loads(cli("--json")[1]) for _ in range(2))
    assert first["summary"].pop("folds.resumed") == 0
    assert again["summary"].pop("folds.resumed") == len(first["folds"]) == 6
    assert first == again


def test_another_grid_is_another_folder(cli: Cli, here: Path) -> None:
    first = json.loads(cli("--json")[1])["folder"]
    (here / "wf.toml").write_text(TEXT.replace("[6, 12, 24]", "[6, 12]"))
    assert json.loads(cli("--json")[1])["folder"] != first
    code, _, err = cli("--out", first)
    assert code == 2
    assert "holds another walk-forward" in err


def test_requirements_decide_the_exit_code(cli: Cli, here: Path) -> None:
    sharpe = json.loads(cli("--json")[1])["summary"]["oos.sharpe_low"]
    code, out, err = cli("--require", "oos.sharpe_low > 99", "--require", "oos.ruined == 0")
    assert code == 3
    assert err == f"unwind: not met: oos.sharpe_low > 99: it is {sharpe:.6g}\n"
    assert "NOT met  oos.sharpe_low > 99" in out
    assert "met   oos.ruined == 0: 0" in out
    assert cli("--require", "oos.sharpe_low > -99", "--require", "oos.dsr >= 0")[0] == 0
    (here / "wf.toml").write_text(TEXT + '[accept]\nrequire = ["folds <= 2"]\n')
    code, out, _ = cli("--json")
    assert code == 3
    assert json.loads(out)["requirements"] == [{"require": "folds <= 2", "value": 6, "met": False}]
    assert json.loads(out)["met"] is False


def test_what_is_not_known_fulfils_nothing(cli: Cli, here: Path) -> None:
    (here / "wf.toml").write_text(TEXT.replace('["trades >= 1"]', '["trades >= 1000000"]'))
    for require in ("oos.sharpe > -1000", "oos.sharpe < 1000"):
        code, _, err = cli("--require", require)
        assert code == 3
        assert "it is not known" in err


def test_every_name_of_the_summary_can_be_required(cli: Cli) -> None:
    found = json.loads(cli("--json")[1])["summary"]
    assert set(found) == set(files.require_names(Plan()))


def test_a_person_is_told_all_of_it(cli: Cli, here: Path) -> None:
    code, out, err = cli("--report", here / "wf.html")
    assert (code, err) == (0, "")
    for text in ("6 folds of up to 9 sets", "sharpe before", "positions carried over", "drift", "9 trials", "psr:"):
        assert text in out
    assert "Follow, walked forward" in (here / "wf.html").read_text(encoding="utf-8")


def test_an_ensemble_and_a_validation_window(cli: Cli, here: Path) -> None:
    more = 'require = ["trades >= 1"]\nvalidate = "5d"\nensemble = 2\nchoose = "plateau"\npurge = "4h"'
    (here / "wf.toml").write_text(TEXT.replace('require = ["trades >= 1"]', more))
    code, out, _ = cli("--json")
    assert code == 0
    assert json.loads(out)["plan"]["ensemble"] == 2
    assert cli()[0] == 0


def test_samples_and_ranges_of_the_file(cli: Cli, here: Path) -> None:
    text = TEXT.replace("length = [6, 12, 24]", "length = {low = 4, high = 30}") + "[sampling]\nmethod = 'random'\n"
    (here / "wf.toml").write_text(text.replace("0..0.02:3", "0..0.02") + "count = 7\nseed = 3\n")
    first = json.loads(cli("--json", "--out", here / "a")[1])
    again = json.loads(cli("--json", "--out", here / "b")[1])
    assert first.pop("folder") != again.pop("folder")
    assert first == again
    (here / "wf.toml").write_text(text.replace("0..0.02:3", "0..0.02") + "count = 7\nseed = 4\n")
    assert json.loads(cli("--json")[1])["folds"] != first["folds"]


def test_without_vary_the_declared_ranges_and_dates_as_dates(cli: Cli, here: Path) -> None:
    vary = re.search(r"\[vary\].*?\n\n", TEXT, re.DOTALL)
    assert vary is not None
    text = TEXT.replace(vary[0], "").replace('interval = "1h"', 'interval = "1h"\nfrom = 2024-03-10\nto = 2024-04-05')
    (here / "wf.toml").write_text(text)
    found = json.loads(cli("--json")[1])
    assert found["folds"][0]["train_from"].startswith("2024-03-10")
    assert {"length", "band"} <= set(found["folds"][0])


# ---- mistakes ---------------------------------------------------------------------------------------

MISTAKES: list[tuple[str, str, str]] = [
    ("[plan]", "[plann]", "wf.toml:15: there is no table [plann]: did you mean plan?"),
    ('train = "10d"', 'trainn = "10d"', "wf.toml:16: [plan] has no key trainn: did you mean train?"),
    ('train = "10d"', "train = 10", "wf.toml:16: [plan] train = 10: write a text"),
    ('train = "10d"', 'train = "ten"', "'ten' is no duration"),
    ('test = "5d"', 'anchored = "yes"', "wf.toml:17: [plan] anchored = 'yes': write true or false"),
    ('test = "5d"', 'objective = "sharp"', "wf.toml: [plan] 'sharp' is no measure to go by: did you mean sharpe?"),
    ('test = "5d"', 'choose = "bst"', "wf.toml: [plan] choose='bst': did you mean best?"),
    ('["trades >= 1"]', '["trade >= 1"]', "wf.toml: [plan] requirement 'trade >= 1': no measure 'trade', did you mean"),
    ('["trades >= 1"]', "[1]", "wf.toml:18: [plan] require = [1]: write a list of texts"),
    ('name = "ideas.py:Follow"', 'nme = "x"', "wf.toml:8: [strategy] has no key nme: did you mean name?"),
    ('name = "ideas.py:Follow"', "", '[strategy] needs name = "FundingSqueeze"'),
    ('ideas.py:Follow"', 'idea.py:Follow"', "idea.py: did you mean ideas.py?"),
    ("set.leverage = 2.0", "set.levrage = 2.0", "has no parameter levrage: did you mean leverage?"),
    ("length = [6, 12, 24]", "lngth = [6, 12]", "wf.toml: [vary] Follow has no parameter lngth: did you mean length?"),
    ("length = [6, 12, 24]", "length = 6", "[vary] length=6: give a list of values"),
    ("length = [6, 12, 24]", "length = {low = 1, hgh = 2}", "[vary] length: a range has no hgh: did you mean high?"),
    ("length = [6, 12, 24]", "length = {low = 1}", "[vary] length: a range needs its ends"),
    ("length = [6, 12, 24]", "leverage = [1.0, 2.0]", "leverage is varied, and set in [strategy.set]"),
    ("length = [6, 12, 24]", 'length = "1..30000"', "90,000 sets (length 30000 x band 3) are many at once"),
    ("equity = 5000", "eqity = 5000", "wf.toml:21: [account] has no key eqity: did you mean equity?"),
    ("equity = 5000", "equity = true", "wf.toml:21: [account] equity = True: write a number"),
    ("equity = 5000", "equity = -1", "wf.toml: [account] equity=-1.0: write a number above 0"),
    ("half_spread_bps = 3", "half_spread_bps = -3", "wf.toml: [costs] half_spread_bps=-3.0: write basis points"),
    ('model = "fixed"', "tims = 2", "wf.toml:24: [costs] has no key tims: did you mean times?"),
    ('interval = "1h"', 'interval = "1h', "wf.toml: Illegal character"),
    ("[data]", "seed = 1\n[data]", "wf.toml:2: seed stands in no table: write it under [sampling]"),
    ('symbols = ["ALFA/USDT:USDT"]', "", '[data] needs symbols = ["BTC/USDT:USDT"]'),
    ('symbols = ["ALFA/USDT:USDT"]', 'symbols = "ALFFA/USDT:USDT"', "did you mean ALFA/USDT:USDT?"),
    ('db = "some.duckdb"', 'db = "none.duckdb"', "there is no store yet"),
    ("[costs]", "[sampling]\nmethod = 'grd'\n[costs]", "wf.toml:24: grd: did you mean grid?"),
    ("[costs]", "[accept]\nrequire = ['oos.sharp > 0']\n[costs]", "[accept] requirement 'oos.sharp > 0': no measure"),
]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('length = {low = 1, high = 5, steps = "a"}', "steps is a whole number"),
        ('length = {low = 1, high = 5, steps = 3, log = "no"}', "log is true or false"),
        ("length = {low = true, high = 5}", "needs its ends"),
        ('length = [3]\n[sampling]\nmethod = "sobol"', "sobol needs count"),
        ("length = [3]\n[sampling]\ncount = 5", "count is of a sample"),
        ("length = [3]\n[sampling]\ncount = 5\nseed = -1\nmethod = 'random'", "seed=-1"),
    ],
)
def test_ranges_and_samples_are_read_strictly(cli: Cli, here: Path, text: str, said: str) -> None:
    head = TEXT[: TEXT.index("[vary]")]
    (here / "wf.toml").write_text(f'{head}[vary]\n{text}\n[plan]\ntrain = "10d"\ntest = "5d"\n')
    code, out, err = cli()
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize(("old", "new", "said"), MISTAKES, ids=lambda value: str(value)[:30])
def test_a_mistake_is_said_with_its_place(cli: Cli, here: Path, old: str, new: str, said: str) -> None:
    assert old in TEXT
    (here / "wf.toml").write_text(TEXT.replace(old, new, 1))
    code, out, err = cli()
    assert (code, out) == (2, "")
    assert said in err
    assert not (here / "some.results").exists()


def test_a_requirement_with_a_typo_is_said_before_anything_runs(cli: Cli, here: Path) -> None:
    code, _, err = cli("--require", "oos.sharpe_lo > 0")
    assert code == 2
    assert "did you mean oos.sharpe_low?" in err
    assert not (here / "some.results").exists()


def test_no_file(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    assert command_line.main(["walkforward"]) == 2
    assert "unwind walkforward --example > mine.toml" in capsys.readouterr().err
    assert command_line.main(["walkforward", str(here / "wv.toml")]) == 2
    assert "wv.toml: did you mean wf.toml?" in capsys.readouterr().err


# ---- killed, interrupted, twice at once -------------------------------------------------------------


SWALLOWED = """
import ctypes, sys, time
from backtest import cli

def stopped():
    raise KeyboardInterrupt

def verb(*tokens, **more):
    if sys.argv[1] == "store":
        raise RuntimeError("Query interrupted")
    ctypes.CFUNCTYPE(None)(stopped)()  # dropped, as in a compiler that calls back
    time.sleep(20)

cli.build_app = lambda tokens: verb
sys.exit(cli.main([]))
"""


@pytest.mark.parametrize("where", ["store", "compiler"])
def test_an_interrupt_that_a_library_takes_for_itself_is_one(where: str) -> None:
    root = str(Path(__file__).parents[1])
    said = subprocess.run(
        [sys.executable, "-c", SWALLOWED, where], capture_output=True, text=True, cwd=root, check=False, timeout=60
    )
    assert (said.returncode, said.stderr) == (130, "unwind: interrupted\n")


def _folds(here: Path) -> list[Path]:
    return sorted(here.glob("some.results/*/fold-*.json"))


def _begun(here: Path, folds: int) -> subprocess.Popen[str]:
    """A walk-forward that has finished so many folds, and takes its time."""
    words = sm.command("walkforward", here / "wf.toml", "--json")
    slow = os.environ | {"SLOW": "0.3"}
    one = subprocess.Popen(words, env=slow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while len(_folds(here)) < folds and one.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    return one


@pytest.mark.kill
@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_to_the_same_bits(cli: Cli, here: Path) -> None:
    with _begun(here, 2) as one:
        os.kill(one.pid, signal.SIGKILL)
        one.communicate()
    done = len(_folds(here))
    assert 2 <= done < 6
    resumed = json.loads(cli("--json")[1])
    whole = json.loads(cli("--json", "--out", here / "fresh")[1])
    assert resumed["summary"].pop("folds.resumed") == done
    assert whole["summary"].pop("folds.resumed") == 0
    for found in (resumed, whole):
        folder = Path(found.pop("folder"))
        found["arrays"] = (folder / "result" / "run.npz").read_bytes()
    assert resumed == whole


@pytest.mark.slow
def test_ctrl_c_keeps_finished_folds_and_no_half_one(cli: Cli, here: Path) -> None:
    with _begun(here, 2) as one:
        os.kill(one.pid, signal.SIGINT)
        out, err = one.communicate()
    assert (one.returncode, out) == (130, "")
    assert err == "unwind: interrupted; finished folds are kept, the same command goes on\n"
    done = len(_folds(here))
    assert done < 6
    resumed = json.loads(cli("--json")[1])
    assert resumed["summary"]["folds.resumed"] == done
    assert resumed["folds"] == json.loads(cli("--json", "--out", here / "fresh")[1])["folds"]


def test_part_of_a_grid_chooses_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt inside of a fold, after some of its sets were measured."""
    base = strategy_class(str(here / "ideas.py"))()
    market = Store(here / "some.duckdb", read_only=True).market(sm.SYMBOL, "1h").registered("")
    monkeypatch.setattr(sweeping, "FEATURE_BYTES", 1)  # one length after the other
    asked: list[Any] = []
    features = type(base).features

    def interrupted(self: Any, market: Any) -> Any:
        asked.append(self.length)
        if asked[-2:] == [12, 24]:  # the first length is measured by then
            raise KeyboardInterrupt
        return features(self, market)

    monkeypatch.setattr(type(base), "features", interrupted)
    with pytest.raises(KeyboardInterrupt):
        walk_forward(base, market, Plan(train="10d", test="5d"), AXES, folder=here / "cut", progress=False)
    monkeypatch.setattr(type(base), "features", features)
    kept = [json.loads(path.read_text()) for path in sorted((here / "cut").glob("fold-*.json"))]
    assert all(fold["sets"] == 9 for fold in kept)
    assert len(kept) < 6


@pytest.mark.slow
def test_two_at_once_find_the_same(here: Path) -> None:
    words = sm.command("walkforward", here / "wf.toml", "--json")
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate() for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    found = [json.loads(out) for out, _ in said]
    for one in found:
        one["summary"].pop("folds.resumed")
        assert len(_folds(here)) == 6
    assert found[0] == found[1]


# ---- the example ------------------------------------------------------------------------------------


def test_the_example_names_every_key_and_its_default(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command_line.main(["walkforward", "--example"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "example.toml").write_text(text)
    assert files.read(tmp_path / "example.toml").plan.choose == "plateau"
    known = files.keys()
    for name in ("data", "sampling", "plan"):
        for key in known[name] or ():
            assert re.search(rf"^(# )?{key} = ", text, re.MULTILINE), f"{name}.{key}"
    for line in text.splitlines():  # every commented key is one that exists
        if match := re.match(r"# (\w+ = [^#]*)", line):
            (tmp_path / "one.toml").write_text(_with(text, line, match[1]))
            files.read(tmp_path / "one.toml")


def _with(text: str, line: str, key: str) -> str:
    """A count is one of a sample: it comes with its method."""
    return text.replace(line, key).replace(
        'method = "grid"', 'method = "sobol"' if "count" in key else 'method = "grid"'
    )


@pytest.mark.slow
def test_the_example_runs_on_a_simulated_market(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    db = tmp_path / "sim.duckdb"
    synth = ["synth", "--years", "0.27", "--symbols", "1", "--accounts", "300", "--db", str(db), "--json"]
    assert command_line.main(synth) == 0
    (tmp_path / "mine.toml").write_text(files.EXAMPLE.read_text(encoding="utf-8"))
    capsys.readouterr()
    assert command_line.main(["walkforward", str(tmp_path / "mine.toml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["folds"]) == 3
    assert found["summary"]["oos.trades"] > 0


def test_a_place_is_found_however_the_key_is_written(tmp_path: Path) -> None:
    for text, line in (
        ("[plan]\n'objektive' = 'x'", 2),
        ("plan.objektive = 'x'", 1),
        ("[data]\n\n[ plan ]\nobjektive = 'x'", 4),
        ("plan = {objektive = 'x'}", None),
    ):
        (tmp_path / "p.toml").write_text(text)
        place = f"p.toml:{line}:" if line else "p.toml:"
        with pytest.raises(BadInput, match=re.escape(f"{place} [plan] has no key objektive: did you mean objective?")):
            files.read(tmp_path / "p.toml")
