"""docs/research.md: its commands are typed in order, its python runs, its tables name every key there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from backtest import cli
from backtest.cli import config
from backtest.walkforward import Plan

PAGE = (Path(__file__).resolve().parents[1] / "docs/research.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SMALLER = {"--years": "0.27", "--symbols": "1"}  # of the simulated market: days enough for three folds


def commands() -> list[list[str]]:
    return [shlex.split(line) for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]


@pytest.mark.slow
def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for words in commands():
        assert words[0] == "unwind"
        if words[1] == "synth":
            words += ["--accounts", "300"]
            words = [SMALLER.get(before, word) for before, word in zip(["", *words], words, strict=False)]
        assert cli.main(words[1:]) == 0, (words, capsys.readouterr().err)
        out = capsys.readouterr().out
        assert out.strip()
        if words[1:] == ["walkforward", "--example"]:
            Path("mine.toml").write_text(out)
    assert Path("sweep.parquet").stat().st_size > 0
    assert Path("wf.html").stat().st_size > 1_000_000
    names: dict[str, Any] = {}
    for kind, text in BLOCKS:
        if kind == "python":
            exec(compile(text, "docs/research.md", "exec"), names)
    assert len(names["forward"].folds) == 3
    assert "trials on this market" in capsys.readouterr().out


def test_every_key_of_the_file_is_explained() -> None:
    known = config.keys()
    for table, kinds in known.items():
        assert f"`[{table}]`" in PAGE, table
        for key in kinds or () if table not in ("account", "costs") else ():
            assert re.search(rf"^\|[^|]*\|[^|]*`{key}`", PAGE, re.MULTILINE), f"{table}.{key}"


def test_defaults_of_the_plan_are_those_of_the_library() -> None:
    plan = Plan()
    for key in ("train", "test", "keep", "objective", "choose", "ensemble"):
        row = re.search(rf"^\|[^|]*\| `{key}` \|(.*)\|$", PAGE, re.MULTILINE)
        assert row is not None, key
        assert re.search(rf"\(`?{getattr(plan, key)}`?\)", row[1].strip()), row[1]
        example = re.search(rf"^(?:# )?{key} = .*", config.EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
        assert example is not None, key
        if key != "keep":
            assert f"({getattr(plan, key)})" in example[0], example[0]


def test_exit_codes_are_those_of_the_command() -> None:
    from backtest.cli.walkforward import NOT_MET

    assert f"| {NOT_MET} | done, and a requirement is not met" in PAGE
    assert f"{NOT_MET} a\nrequirement is not met" in (cli.__doc__ or "")
