"""`unwind demo`: rows to page, and the same again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.cli import main
from data.quality import check
from data.store import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "--out", str(out)]) == 0
    return out


def test_it_leaves_a_store_and_a_page_and_keeps_out_of_git(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {"made-up.duckdb", "index.html", ".gitignore"}
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


def test_it_says_in_words_what_it_did(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["demo", "--out", str(folder)])
    said = capsys.readouterr().out
    assert "nothing in it ever happened" in said
    assert "cannot be liquidated" in said
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
