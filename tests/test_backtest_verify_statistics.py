"""Worked cases of statistics: ours agree, an error of one percent is noticed, and what cannot be read says why."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from backtest import cli, verify, worked_statistics
from backtest.cli.worked_signals import KINDS as ELSEWHERE
from backtest.worked import Case
from backtest.worked_numbers import number
from data.errors import BadInput

pytestmark = pytest.mark.kernel

CASES = verify.load_statistics()
DOCS = (Path(__file__).resolve().parents[1] / "docs" / "statistics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("one", CASES, ids=lambda c: c.id)
def test_every_case_that_comes_along_agrees(one: Case) -> None:
    outcome = verify.check(one, ELSEWHERE)
    assert (outcome.status, outcome.reason) == ("pass", "")


def test_they_cover_every_kind_and_name_their_source() -> None:
    assert {c.kind for c in CASES} == {*worked_statistics.KINDS, *ELSEWHERE}
    assert set(worked_statistics.ELSEWHERE) == set(ELSEWHERE)
    assert {kind for _, kind in worked_statistics.WORDS} <= {*worked_statistics.KINDS, *ELSEWHERE}
    assert all(len(c.source) > 10 for c in CASES)
    assert len({c.id for c in CASES}) == len(CASES)


def test_another_answer_is_noticed() -> None:
    """Each case with its answer off by one percent, or one more."""
    for one in CASES:
        if one.kind == "markov_autoregression":
            continue  # takes seconds, and is compared as the others are
        spoilt = Case(**{**vars(one), "expected": {"answer": _off(one.expected["answer"], one.tolerance["abs"])}})
        wrong = verify.check(spoilt, ELSEWHERE)
        assert wrong.status == "fail", one.id


def _off(value: Any, tolerance: float) -> Any:
    if isinstance(value, str):
        return "broken"
    if isinstance(value, dict):
        return {name: _off(item, tolerance) for name, item in value.items()}
    if isinstance(value, list):
        return [_off(item, tolerance) for item in value]
    return value * 1.01 + 1.5 * tolerance + (0.01 if value == 0 else 0.0)


@pytest.mark.real_data
def test_the_shared_cases_agree(shared_dir: Path) -> None:
    path = shared_dir.parent / "oracles" / "statistics.json"
    if not path.is_file():
        pytest.skip("no shared file of worked cases")
    left = [(o.id, o.status, o.reason) for o in verify.run(verify.load(path), ELSEWHERE) if o.status != "pass"]
    assert left == []


# --- reading ---------------------------------------------------------------------------------------------------------


def told(**raw: Any) -> verify.Outcome:
    return verify.check(worked_statistics.as_case({"id": "made", "abs_tol": 1e-6, **raw}, 1, "here"), ELSEWHERE)


@pytest.mark.parametrize(
    ("name", "formula", "kind"),
    [
        ("DSR hurdle SR0", "", "expected_maximum"),
        ("DSR after 46 trials", "E[max]", "dsr"),
        ("Exact E[max] K=2", "", "exact_maximum"),
        ("2025 PSR(0)", "Phi(...)", "psr"),
        ("CPCV counts", "", "cpcv_counts"),
        ("CSCV split count", "", "cscv_halves"),
        ("something", "C(S,S/2) of CSCV", "cscv"),
        ("Hawkes compensator increments", "", "hawkes_compensator"),
        ("bad debt from a slice", "", "slice_bad_debt"),
        ("moon phase", "sin", "published"),
    ],
)
def test_a_case_is_known_by_its_words(name: str, formula: str, kind: str) -> None:
    assert worked_statistics.kind_of("published", name, formula) == kind


def test_the_same_account_in_other_letters() -> None:
    """Per period, by annual ratio, by mean and deviation, as sums: one number."""
    expected = 0.9003968344493903
    for inputs in (
        {"sr": "2.5/sqrt(250)", "K": 100, "var_trials": "0.5/250", "n": 1250, "skew": -3, "kurt": 10},
        {"est_sharpe": "2.5/250**0.5", "nb_trials": 100, "var_sharpe": 0.002, "T": 1250, "g3": -3, "g4": 10},
        {"mu": 2.5, "sigma": "sqrt(250)", "trials": 100, "variance": 0.002, "nobs": 1250, "skewness": -3, "kurt": 10},
    ):
        outcome = told(name="DSR", inputs=inputs, expected=expected)
        assert (outcome.status, outcome.reason) == ("pass", "")


def test_sums_are_read_and_nothing_else_is() -> None:
    assert number("p=2/19") == pytest.approx(2 / 19)
    assert number("-sqrt(4) + 3*2**2") == 10.0
    for text in ("__import__('os')", "x", "9**9**9", "", "1 if 2 else 3", "[1]"):
        with pytest.raises(Exception, match="which is no number"):
            number(text)


def test_what_cannot_be_judged_says_why() -> None:
    lacking = told(name="PSR", inputs={"sr": 0.1}, expected=0.5)
    assert (lacking.status, lacking.reason) == ("unsupported", "its inputs have no n")
    refused = told(name="DSR", inputs={"sr": 0.1, "n": 1, "K": 3, "var": 1.0}, expected=0.5)
    assert refused.status == "unsupported"
    unknown = told(name="moon", kind="published", inputs={"a": 1}, expected=0.5)
    assert unknown.reason.startswith("no kind 'published'; there is: ")
    for inputs in ({}, {"sr": "x"}, {"sr": [1], "n": None}, {"sr": True, "n": 5}, {"positions": "none"}, {"t": 3}):
        for one in CASES:
            if one.kind in ("markov_autoregression", "superior_order"):
                continue  # need no inputs, and take their time
            found = told(name="", kind=one.kind, inputs=inputs, expected=one.expected["answer"])
            assert found.status in ("unsupported", "fail", "pass"), one.kind


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"id": "a", "abs_tol": 1, "inputs": [], "expected": 1}, "a has no 'inputs'"),
        ({"id": "a", "abs_tol": 1, "inputs": {}}, "a expects nothing"),
        ({"id": "a", "abs_tol": -1, "inputs": {}, "expected": 1}, "abs_tol is -1"),
    ],
)
def test_a_broken_case_is_one_line(raw: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"cases": [raw]}))
    with pytest.raises(BadInput, match=said):
        verify.load(path)


def test_venues_and_statistics_may_share_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pnl = {"side": "long", "qty": 1, "entry_price": 100, "exit_price": 110}
    cases = [
        {"id": "v", "venue": "binance", "kind": "pnl", "inputs": pnl, "expected": {"net_pnl": 10}},
        {"id": "s", "name": "Expected max", "inputs": {"K": 100}, "expected": 2.5306028932016846, "abs_tol": 1e-9},
    ]
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"cases": cases}))
    assert cli.main(["verify", "--cases", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 worked cases: 2 agree."
    cases[1]["expected"] = 2.6
    path.write_text(json.dumps({"cases": cases}))
    assert cli.main(["verify", "--cases", str(path)]) == 1


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_python_of_the_docs_runs() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
    exec(compile(block, "docs/statistics.md", "exec"), {})


def test_the_case_of_the_docs_agrees(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```json\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
    path = tmp_path / "mine.json"
    path.write_text(block)
    assert [(o.status, o.kind) for o in verify.run(verify.load(path))] == [("pass", "dsr")]


def test_functions_that_the_docs_name_exist() -> None:
    from backtest import inference, splits

    table = DOCS[DOCS.index("## What there is") : DOCS.index("Choices that matter")]
    named = set(re.findall(r"`([a-z_]+)`", table)) - {"arch", "multipletests"}
    assert len(named) > 20
    assert named <= set(inference.__all__)
    assert set(re.findall(r"^\| `(\w+)\(", DOCS, re.MULTILINE)) <= set(dir(splits))
