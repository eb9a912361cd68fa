"""`unwind report` and `unwind compare` as they are typed: pages of what was kept, and what has changed since."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import doc_pages
import pytest
import reported
import stored_markets as sm

from backtest import cli as command_line
from backtest.report.evidence import Evidence
from backtest.report.sections.verdicts import ENOUGH, QUESTIONS
from backtest.result import Result
from data.ingest import ingest
from data.sources.made_up import made_up
from data.store import Store

FAST = ("--draws", "10")
Told = tuple[int, str, str]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, an idea, and two runs of it: as.it.was and wider."""
    here = tmp_path_factory.mktemp("kept")
    db, idea = sm.stored(here, days=25), sm.idea(here)
    for name, band in (("narrow", 0.01), ("wide", 0.02)):
        words = (
            "run",
            f"{idea}:Follow",
            "--symbols",
            sm.SYMBOL,
            "--db",
            db,
            "--set",
            f"band={band}",
            "--out",
            here / name,
        )
        assert command_line.main([str(word) for word in words]) == 0
    return here


@pytest.fixture
def here(kept: Path, tmp_path: Path) -> Path:
    """Moved elsewhere, which the folders of results do not know: `command.json` names the store."""
    shutil.copytree(kept, tmp_path / "all")
    for name in ("narrow", "wide"):
        file = tmp_path / "all" / name / "command.json"
        file.write_text(file.read_text().replace(str(kept), str(tmp_path / "all")))
    return tmp_path / "all"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: object) -> Told:
        capsys.readouterr()
        code = command_line.main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return call


# ---- report --------------------------------------------------------------------------------------------


def test_a_page_of_a_kept_run(cli: Any, here: Path) -> None:
    code, out, _ = cli("report", here / "narrow", *FAST)
    assert code == 0
    page = here / "narrow" / "report.html"
    assert f"Page   {page}" in out
    assert out.startswith("Follow on ALFA/USDT:USDT\n")
    assert "questions answered in its favour" in out
    html = page.read_text(encoding="utf-8")
    assert "Made-up data" in html
    charts = reported.packed(html)
    assert {"equity-curve", "stress-terms", "leverage-timeline", "capacity-size", "trade-rows"} <= set(charts)
    assert "Not asked" not in html.split('id="numbers"')[0].split("Do the best sets stay good?")[0]


def test_as_json_it_says_the_same(cli: Any, here: Path) -> None:
    code, out, _ = cli("report", here / "narrow", "--out", here / "x" / "y.html", "--json", *FAST)
    facts = json.loads(out)
    assert code == 0
    assert facts["page"] == str((here / "x" / "y.html").resolve())
    assert facts["bytes"] == (here / "x" / "y.html").stat().st_size
    outcomes = [a["outcome"] for a in facts["answers"]]
    assert (
        f"{outcomes.count('pass')} of {outcomes.count('pass') + outcomes.count('fail')} questions" in facts["verdict"]
    )
    assert all(a["question"] and a["answer"] and a["test"] for a in facts["answers"])


def test_evidence_is_gathered_once_and_kept(cli: Any, here: Path) -> None:
    assert cli("report", here / "narrow", *FAST, "--seed", 5)[0] == 0
    first = (here / "narrow" / "evidence.json").read_text()
    page = (here / "narrow" / "report.html").read_bytes()
    found = Evidence.load(here / "narrow")
    assert found is not None
    assert (found.seed, found.of) == (5, Result.load(here / "narrow").fingerprint_id)
    assert cli("report", here / "narrow", "--draws", 20, "--seed", 6)[0] == 0
    assert (here / "narrow" / "evidence.json").read_text() == first
    assert (here / "narrow" / "report.html").read_bytes() == page
    assert cli("report", here / "narrow", "--draws", 20, "--seed", 6, "--fresh")[0] == 0
    again = Evidence.load(here / "narrow")
    assert again is not None
    assert again.seed == 6
    assert again.random is not None
    assert len(again.random.random) == 20


def test_quick_simulates_nothing(cli: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it was simulated")

    monkeypatch.setattr("backtest.engine.simulate", fail)
    monkeypatch.setattr("backtest.report.evidence.gather", fail)
    code, out, _ = cli("report", here / "narrow", "--quick", "--json")
    assert code == 0
    answers = {a["question"]: a for a in json.loads(out)["answers"]}
    assert answers["Is the data whole?"]["outcome"] == "pass"
    assert answers["Does no signal know the future?"]["outcome"] == "unknown"
    assert not (here / "narrow" / "evidence.json").exists()


def test_a_store_that_has_changed_is_not_passed_off_as_the_one_that_was_simulated(cli: Any, here: Path) -> None:
    """Not even with evidence from before, which was of the store as it was."""
    ingest(made_up(symbols=2, days=30, interval="1h"), Store(here / "some.duckdb"))
    code, out, _ = cli("report", here / "narrow", *FAST, "--json")
    assert code == 0
    html = (here / "narrow" / "report.html").read_text(encoding="utf-8")
    assert "some.duckdb has changed since this run: what needs the market is left out." in html
    assert "leverage-timeline" not in reported.packed(html)
    answers = {a["question"]: a["outcome"] for a in json.loads(out)["answers"]}
    assert answers["Is the data whole?"] == "unknown"
    assert answers["Does it survive twice the fees?"] == "unknown"
    assert answers["Did the account survive?"] == "pass"


def test_a_store_that_is_gone_is_said_to_be(cli: Any, here: Path) -> None:
    (here / "some.duckdb").unlink()
    code, out, _ = cli("report", here / "narrow")
    assert code == 0
    assert "note: What needs the market or the strategy is left out:" in out
    assert "some.duckdb" in out


def test_a_strategy_that_does_something_else_now_is_not_passed_off_as_the_one_that_ran(cli: Any, here: Path) -> None:
    (here / "ideas.py").write_text(sm.IDEA.replace("away > band", "away > 2.0 * band"))
    for _ in range(2):  # nothing of the other strategy is kept for the next time
        code, out, _ = cli("report", here / "narrow", *FAST, "--json")
        assert code == 0
        html = (here / "narrow" / "report.html").read_text(encoding="utf-8")
        assert "The strategy has changed since this run, and does something else now" in html
        answers = {a["question"]: a["outcome"] for a in json.loads(out)["answers"]}
        assert answers["Does it survive twice the fees?"] == "unknown"
        assert answers["Does no signal know the future?"] == "unknown"
        assert answers["Is the data whole?"] == "pass"
        assert not (here / "narrow" / "evidence.json").exists()


def test_a_strategy_whose_file_is_gone_is_said_to_be(cli: Any, here: Path) -> None:
    (here / "ideas.py").unlink()
    code, out, _ = cli("report", here / "narrow", "--quick")
    assert code == 0
    assert "ideas.py" in out


def test_a_result_kept_by_hand_has_a_page_too(cli: Any, here: Path) -> None:
    Result.load(here / "narrow").save(here / "Mine-0123456789ab")
    code, out, _ = cli("report", here / "Mine-0123456789ab")
    assert code == 0
    assert "note: Only the run itself was kept" in out
    assert "Mine on ALFA/USDT:USDT" in out


def test_evidence_of_another_run_is_not_taken(cli: Any, here: Path) -> None:
    assert cli("report", here / "wide", *FAST)[0] == 0
    shutil.copy(here / "wide" / "evidence.json", here / "narrow" / "evidence.json")
    code, out, _ = cli("report", here / "narrow", "--quick", "--json")
    assert code == 0
    answers = {a["question"]: a["outcome"] for a in json.loads(out)["answers"]}
    assert answers["Does it survive twice the fees?"] == "unknown"


def test_the_same_page_of_run_and_report(cli: Any, here: Path, tmp_path: Path) -> None:
    """`unwind run --report` and `unwind report` of what it kept."""
    words = ("run", f"{here / 'ideas.py'}:Follow", "--symbols", sm.SYMBOL, "--db", here / "some.duckdb")
    assert cli(*words, "--out", tmp_path / "r", "--report", tmp_path / "run.html")[0] == 0
    assert cli("report", tmp_path / "r", "--out", tmp_path / "again.html")[0] == 0
    assert (tmp_path / "run.html").read_bytes() == (tmp_path / "again.html").read_bytes()


@pytest.mark.parametrize("words", [("report", "nowhere"), ("report", "nowhere", "--json"), ("compare", "nowhere", "n")])
def test_a_folder_that_is_not_there(cli: Any, words: tuple[str, ...]) -> None:
    code, out, err = cli(*words)
    assert code == 2
    assert "no folder nowhere" in err
    assert out == "" or json.loads(out)["error"]


def test_a_file_instead_of_a_folder(cli: Any, here: Path) -> None:
    code, _, err = cli("report", here / "ideas.py")
    assert code == 2
    assert "is a file: name the folder of a result" in err
    code, _, err = cli("compare", here / "narrow", here / "ideas.py", "--out", here / "c.html")
    assert code == 2
    assert not (here / "c.html").exists()


def test_a_folder_without_a_result(cli: Any, here: Path) -> None:
    (here / "empty").mkdir()
    code, _, err = cli("report", here / "empty")
    assert code == 2
    assert str(here / "empty") in err


def test_broken_notes_are_named(cli: Any, here: Path) -> None:
    (here / "narrow" / "command.json").write_text("{")
    code, _, err = cli("report", here / "narrow")
    assert code == 2
    assert "command.json cannot be read" in err


def test_draws_are_above_zero(cli: Any, here: Path) -> None:
    code, _, err = cli("report", here / "narrow", "--draws", 0)
    assert code == 2
    assert "write 1 or more" in err


def test_a_page_that_cannot_be_written_is_named(cli: Any, here: Path) -> None:
    code, _, err = cli("report", here / "narrow", "--quick", "--out", here / "ideas.py" / "x.html")
    assert code == 2
    assert "ideas.py" in err


def test_open_asks_the_browser(cli: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("webbrowser.open", asked.append)
    assert cli("report", here / "narrow", "--quick", "--open")[0] == 0
    assert asked == [(here / "narrow" / "report.html").resolve().as_uri()]


def test_a_walk_forward_has_a_page(cli: Any, here: Path, tmp_path: Path) -> None:
    text = f"""
[data]
db = "{here / "some.duckdb"}"
symbols = ["{sm.SYMBOL}"]
interval = "1h"
[strategy]
name = "{here / "ideas.py"}:Follow"
[vary]
length = [6, 12]
[plan]
train = "8d"
test = "4d"
"""
    (tmp_path / "wf.toml").write_text(text)
    assert cli("walkforward", tmp_path / "wf.toml", "--out", tmp_path / "wf")[0] == 0
    code, out, _ = cli("report", tmp_path / "wf", *FAST)
    assert code == 0
    assert "Follow, walked forward on ALFA/USDT:USDT" in out
    charts = reported.packed((tmp_path / "wf" / "report.html").read_text(encoding="utf-8"))
    assert {"forward-folds", "forward-ranks", "forward-drift"} <= set(charts)
    code, out, _ = cli("compare", here / "narrow", tmp_path / "wf", "--out", tmp_path / "c.html")
    assert code == 0
    assert "The runs cover different spans." in out


# ---- docs/report.md ------------------------------------------------------------------------------------


def test_the_calls_of_its_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    doc_pages.run_python("report")
    assert {p.name for p in tmp_path.iterdir()} == {"swing.html", "both.html"}


def test_the_commands_of_its_page_run(cli: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    for block in doc_pages.blocks("report", "sh"):
        for line in block.text.splitlines():
            assert cli(*line.split()[1:])[0] == 0, line
    assert (here / "narrow.html").is_file()
    assert (here / "both.html").is_file()


def test_its_page_names_every_question_and_every_section(cli: Any) -> None:
    text = " ".join(doc_pages.text_of("report").split())
    for question, _, _ in QUESTIONS.values():
        if not question.startswith("Does it survive"):
            assert question in text, question
    assert f"{ENOUGH} |" in text


# ---- compare -------------------------------------------------------------------------------------------


def test_two_runs_side_by_side(cli: Any, here: Path) -> None:
    code, out, _ = cli("compare", here / "narrow", here / "wide", "--out", here / "both.html")
    assert code == 0
    assert "The highest Sharpe ratio is that of" in out
    assert "note:" not in out
    html = (here / "both.html").read_text(encoding="utf-8")
    assert {"compare-equity", "compare-alike"} == set(reported.packed(html))
    assert "95% of redrawn histories" not in html


def test_ranges_are_shown_of_those_that_have_evidence(cli: Any, here: Path) -> None:
    assert cli("report", here / "wide", *FAST)[0] == 0
    assert cli("compare", here / "narrow", here / "wide", "--out", here / "both.html")[0] == 0
    html = (here / "both.html").read_text(encoding="utf-8")
    assert html.count("95% of redrawn histories") >= 1


def test_comparing_as_json(cli: Any, here: Path) -> None:
    code, out, _ = cli("compare", here / "narrow", here / "wide", "--out", here / "both.html", "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["page"] == str((here / "both.html").resolve())
    for name in ("narrow", "wide"):
        expected = Result.load(here / name).measures
        for measure, value in facts["runs"][name].items():
            assert value == pytest.approx(expected[measure]) or (value is None and not math.isfinite(expected[measure]))


def test_one_folder_is_nothing_to_compare(cli: Any, here: Path) -> None:
    code, _, err = cli("compare", here / "narrow", "--out", here / "both.html")
    assert code == 2
    assert "two runs at least" in err
    assert not (here / "both.html").exists()


def test_two_folders_of_one_name_are_told_apart_or_refused(cli: Any, here: Path) -> None:
    (here / "other").mkdir()
    shutil.copytree(here / "wide", here / "other" / "narrow")
    code, _, err = cli("compare", here / "narrow", here / "other" / "narrow", "--out", here / "both.html")
    assert code == 2
    assert "a folder of that name is there already" in err
