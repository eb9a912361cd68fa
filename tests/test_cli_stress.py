"""`unwind stress`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest import cli

SMALL = ("--accounts", "400", "--hours", "1")


def run(capsys: pytest.CaptureFixture[str], *tokens: object) -> tuple[int, str, str]:
    code = cli.main(["stress", *(str(t) for t in tokens)])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_it_says_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--shock", "-20", *SMALL)
    assert code == 0
    assert out.startswith("-20.0% at once on sim:")
    for word in ("amplification", "longs liquidated", "fund after", "ADL overshoot", "recovery minutes"):
        assert word in out


def test_json_holds_the_numbers_and_they_are_those_of_the_call(capsys: pytest.CaptureFixture[str]) -> None:
    from backtest.crowd.machine import Machine
    from backtest.crowd.stress import stress
    from backtest.crowd.world import Crowd, Policy, World
    from backtest.venue import venue

    code, out, _ = run(capsys, "--shock", "-20", "--venue", "okx", "--futures", "3", *SMALL, "--json")
    said = json.loads(out)
    world = World(crowd=Crowd(accounts=400), policy=Policy(fund=0.01), venue=venue("okx"))
    found = stress(Machine(world, seed=7), -0.2, hours=1.0)
    assert code == 0
    assert said["venue"] == "okx"
    assert said["summary"]["longs liquidated"] == pytest.approx(found.summary["longs liquidated"])
    assert said["futures"]["fund exhausted"]["runs"] == 3


def test_the_page_needs_no_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "made" / "stress.html"
    code, out, _ = run(capsys, "--shock", "-15", "--minutes", "10", "--futures", "3", *SMALL, "--html", page)
    text = page.read_text(encoding="utf-8")
    assert code == 0
    assert str(page) in out
    assert "-15.0% in 10 minutes" in text
    assert '<script src="http' not in text


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (("--adl", "que"), "did you mean"),
        (("--venue", "okey"), "okx"),
        (("--shock", "-100"), "above -1"),
        (("--minutes", "0"), "whole number of minutes"),
        (("--haircut", "120"), "haircut"),
        (("--replay", "2025-10-10..2025-10-11"), "--symbol"),
        (("--symbol", "BTCUSDT"), "there is no store"),
        (("--accounts", "3"), "at least 100"),
        (("--hours", "0"), "hours=0"),
    ],
)
def test_mistakes_are_one_or_two_lines(
    tokens: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = list(tokens)
    if "--accounts" not in given:
        given += ["--accounts", "400"]
    code, out, err = run(capsys, *given, "--db", tmp_path / "none.duckdb")
    complaint = [line for line in err.splitlines() if "gathers" not in line and "compiling" not in line]
    assert code == 2
    assert out == ""
    assert said in " ".join(complaint)
    assert len(complaint) <= 2
