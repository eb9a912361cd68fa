"""`unwind demo`: rows to pages, and the same again."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import reported

from backtest.cli import main
from backtest.cli.demo import BOTH, SYMBOL
from backtest.cli.demo_strategy import IDEAS, PLAN, VENUE
from backtest.compiled import NOTICE
from backtest.walkforward import walk_forward
from data.quality import check
from data.store import Store

PAGES = ("crowd-fade.html", "breakout.html", BOTH)
MOST = 2_500_000  # bytes of a page


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder, and what was printed the first time."""
    out = tmp_path_factory.mktemp("demo") / "out"
    code = "import sys; from backtest.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "demo", "--out", str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    return out, done.stdout


@pytest.fixture(scope="module")
def folder(said: tuple[Path, str]) -> Path:
    return said[0]


@pytest.fixture(scope="module")
def again(folder: Path) -> tuple[dict[str, bytes], dict[str, Any], list[str]]:
    """The pages of the first time, the facts of a second, and what the browser was asked for."""
    pages, asked, told = {name: (folder / name).read_bytes() for name in PAGES}, list[str](), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(told):
        patch.setattr("webbrowser.open", asked.append)
        assert main(["demo", "--out", str(folder), "--json", "--open"]) == 0
    return pages, json.loads(told.getvalue()), asked


def test_it_leaves_a_store_and_pages_and_keeps_out_of_git(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {"made-up.duckdb", "made-up.trials", ".gitignore", *PAGES}
    assert (folder / ".gitignore").read_text() == "*\n"
    for name in PAGES:
        page = (folder / name).read_text(encoding="utf-8")
        assert "Made-up data: nothing here ever happened" in page
        assert len(page.encode()) < MOST


def test_it_says_in_words_what_it_did(said: tuple[Path, str]) -> None:
    folder, text = said
    assert "nothing in it ever happened" in text
    assert text.count("questions answered in its favour") == len(IDEAS)
    for name in (*IDEAS, *(str(folder / page) for page in PAGES)):
        assert name in text
    assert f"unwind run FundingSqueeze --db {folder / 'made-up.duckdb'} --symbols {SYMBOL}" in text


def test_a_second_time_stores_nothing_and_gives_the_same_pages(folder: Path, again: Any) -> None:
    pages, facts, _ = again
    assert facts["rows_stored"] == 0
    assert facts["made_up"] is True
    assert facts["page"] == str((folder / BOTH).resolve())
    for name in PAGES:
        assert (folder / name).read_bytes() == pages[name], name


def test_what_it_says_is_what_the_walk_forward_found(folder: Path, again: Any) -> None:
    store = Store(folder / "made-up.duckdb", read_only=True)
    market = store.market(SYMBOL, "15m", venue="made-up")
    assert again[1]["market"] == market.hash
    for fact, (name, (strategy, grid)) in zip(again[1]["runs"], IDEAS.items(), strict=True):
        found = walk_forward(strategy, market.registered(""), PLAN, dict(grid), venue=VENUE, progress=False)
        assert (fact["strategy"], fact["folds"], fact["sets"]) == (name, len(found.fits), found.fits[0].sets)
        for measure in ("total_return", "sharpe", "trades", "fees", "funding", "liquidations"):
            assert fact[measure] == pytest.approx(found.measures[measure]), measure
        assert fact["sharpe_low"] < fact["sharpe"] < fact["sharpe_high"]
        assert fact["trades"] > 0
        assert fact["warnings"] == list(found.result.warnings)


@pytest.mark.parametrize("name", PAGES[:2])
def test_the_pages_show_every_chart(folder: Path, name: str) -> None:
    drawn = reported.packed((folder / name).read_text(encoding="utf-8"))
    expected = {
        "equity-curve", "costs-waterfall", "funding-months", "margin-distance", "calendar-days", "forward-folds",
        "forward-drift", "forward-plateau", "leverage-timeline", "trade-rows", "stress-terms", "capacity-size",
    }  # fmt: skip
    assert expected <= set(drawn)
    assert drawn["leverage-timeline"]["layout"]["shapes"]  # phases of the leverage cycle


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


def test_nothing_is_wrong_with_the_data(folder: Path) -> None:
    store = Store(folder / "made-up.duckdb")
    assert [f for f in check(store) if f.level != "info"] == []
    market = store.market(["ALFA/USDT:USDT", "BRAVO/USDT:USDT"], "15m")
    assert market.warnings == []
    for row in market.coverage.fields:
        assert row.share > 0.999, row


def test_a_file_in_the_way_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert main(["demo", "--out", str(tmp_path / "taken")]) == 2
    assert "taken" in capsys.readouterr().err


def test_open_asks_the_browser_for_a_page(folder: Path, again: Any) -> None:
    assert again[2] == [(folder / PAGES[0]).resolve().as_uri()]


def test_a_place_that_is_no_folder_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / "file"
    there.write_text("mine")
    for out in (there, there / "inside"):
        assert main(["demo", "--out", str(out)]) == 2
        assert "name another with --out" in capsys.readouterr().err
    assert there.read_text() == "mine"
