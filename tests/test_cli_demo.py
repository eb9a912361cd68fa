"""`unwind demo`: rows to page, and the same again."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backtest.cli import main
from backtest.cli.demo_strategy import EVERY_DAY, runs_of
from backtest.compiled import NOTICE
from data.quality import check
from data.store import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "--out", str(out)]) == 0
    return out


def test_it_leaves_a_store_and_a_page_and_keeps_out_of_git(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {"made-up.duckdb", "made-up.trials", "index.html", ".gitignore"}
    assert (folder / ".gitignore").read_text() == "*\n"
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "Made-up data: nothing here ever happened" in page
    assert len(page) < 3_000_000


def test_a_second_time_stores_nothing_and_gives_the_same_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, rows = (folder / "index.html").read_bytes(), Store(folder / "made-up.duckdb").fingerprint()
    assert main(["demo", "--out", str(folder), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["rows_stored"] == 0
    assert facts["made_up"] is True
    assert Path(facts["page"]).read_bytes() == page
    assert Store(facts["store"]).fingerprint() == rows


def test_long_and_short_mirror_each_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["demo", "--out", str(folder), "--json"])
    holds = json.loads(capsys.readouterr().out)["holds"]
    assert [(h["symbol"], h["position"]) for h in holds] == [
        (s, p) for s in ("ALFA/USDT:USDT", "BRAVO/USDT:USDT") for p in ("long", "short")
    ]
    for long, short in (holds[:2], holds[2:]):
        assert long["from_funding"] == -short["from_funding"] != 0.0
        assert long["from_price"] == -short["from_price"]
        parts = long["from_price"] + long["from_funding"] + long["from_fees"]
        assert long["return"] == pytest.approx(parts)
        assert long["settlements"] in (89, 134)
        assert long["warnings"] == []


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, list[tuple[str, Any]]]:
    """What the demo trades, once more, by symbol."""
    store = Store(folder / "made-up.duckdb", read_only=True)
    symbols = ("ALFA/USDT:USDT", "BRAVO/USDT:USDT")
    return {s: runs_of(store.market(s, "1m", venue="made-up")) for s in symbols}


def test_it_trades_each_symbol_through_the_engine(
    folder: Path, runs: dict[str, list[tuple[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["demo", "--out", str(folder), "--json"])
    facts = json.loads(capsys.readouterr().out)["runs"]
    expected = [(symbol, name, result) for symbol, both in runs.items() for name, result in both]
    assert [(f["symbol"], f["run"]) for f in facts] == [(symbol, name) for symbol, name, _ in expected]
    for fact, (_, name, result) in zip(facts, expected, strict=True):
        assert fact["return"] == pytest.approx(result.equity.iloc[-1] / 10_000 - 1.0)
        assert fact["trades"] == len(result.trades) > 0
        assert fact["funding"] == pytest.approx(result.fundings["amount"].sum()) != 0.0
        assert fact["fees"] > 0.0
        assert (fact["liquidations"] > 0) == (name == EVERY_DAY)
        assert not any("no profile" in warning for warning in fact["warnings"])


def test_the_page_shows_the_runs(folder: Path, runs: dict[str, list[tuple[str, Any]]]) -> None:
    text = html.unescape((folder / "index.html").read_text(encoding="utf-8"))
    charts = json.loads(re.findall(r'id="charts">(.*?)</script>', text, re.DOTALL)[0])
    assert [c["id"] for c in charts if c["id"].endswith("-runs")] == ["s0-runs", "s1-runs"]
    for both in runs.values():
        for name, result in both:
            assert f'<th class="n">{name}</th>' in text
            for warning in result.warnings:
                assert f"{name}: {warning}" in text
            for loss in result.liquidations["loss"]:
                assert f'<td class="n">{loss:,.2f}</td>' in text
            for assumption in result.assumptions:
                assert f"With margin: {assumption}" in text


def test_it_warns_before_the_engine_is_compiled_and_only_then(folder: Path, tmp_path: Path) -> None:
    """`folder` has compiled it. Another folder of compiled code is empty."""
    code = "from backtest.compiled import announce, is_compiled; announce(); announce(); print(is_compiled())"

    def say(**environment: str) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip(), done.stderr.strip()

    assert say(NUMBA_CACHE_DIR=str(tmp_path)) == ("False", NOTICE)
    assert say() == ("True", "")
    assert say(NUMBA_CACHE_DIR=str(tmp_path), NUMBA_DISABLE_JIT="1") == ("True", "")


def test_code_for_another_processor_is_not_code_for_this_one(folder: Path) -> None:
    code = "from backtest.compiled import is_compiled; print(is_compiled())"
    environment = os.environ | {"NUMBA_CPU_NAME": "generic"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_it_says_in_words_what_it_did(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["demo", "--out", str(folder)])
    said = capsys.readouterr().out
    assert "nothing in it ever happened" in said
    assert "cannot be liquidated" in said
    assert "With margin" in said
    assert EVERY_DAY in said
    assert str(folder / "index.html") in said


def test_nothing_is_wrong_with_the_data(folder: Path) -> None:
    store = Store(folder / "made-up.duckdb")
    assert [f for f in check(store) if f.level != "info"] == []
    market = store.market(["ALFA/USDT:USDT", "BRAVO/USDT:USDT"], "1m")
    assert market.warnings == []
    for row in market.coverage.fields:
        assert row.share > 0.999, row


def test_a_file_in_the_way_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert main(["demo", "--out", str(tmp_path / "taken")]) == 2
    assert "taken" in capsys.readouterr().err


def test_open_asks_the_browser_for_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("webbrowser.open", asked.append)
    main(["demo", "--out", str(folder), "--open"])
    assert asked == [(folder / "index.html").resolve().as_uri()]
