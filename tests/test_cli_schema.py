"""`unwind schema`, and the page of the docs that it keeps in step."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from backtest import cli
from backtest.cli import schema as verb
from data import schema
from data.errors import BadInput

PAGE = Path(__file__).resolve().parents[1] / "docs" / "data.md"


def run(capsys: pytest.CaptureFixture[str], *tokens: object) -> tuple[int, str, str]:
    code = cli.main(["schema", *(str(t) for t in tokens)])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_every_table_and_column_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys)
    assert code == 0
    for t in schema.TABLES.values():
        assert f"{t.name}: {t.meaning}" in out
        for c in t.columns:
            assert c.meaning in out


def test_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "funding")
    assert code == 0
    assert "fraction per interval" in out
    assert "candles:" not in out
    key = {row.split("│")[1].strip() for row in out.splitlines() if re.search(r"│ key +│", row)}
    assert key == set(schema.TABLES["funding"].key)


def test_a_mistyped_table_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "fundings")
    assert code == 2
    assert "did you mean funding?" in err


def test_json_is_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--json")
    assert json.loads(out) == schema.rows()
    _, out, _ = run(capsys, "tiers", "--json")
    assert [row["column"] for row in json.loads(out)] == list(schema.TABLES["tiers"].names)


def test_markdown_is_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--markdown")
    assert out.strip() == schema.markdown().strip()
    _, out, _ = run(capsys, "adl", "--markdown")
    assert out.startswith("### adl\n")
    assert out.count("### ") == 1


def test_the_page_is_in_step() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert verb.in_step(page) == page, "run: unwind schema --markdown --into docs/data.md"


def test_into_rewrites_the_generated_parts_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    stale = re.sub(r"(<!-- (\w+): generated -->).*?(<!-- \2: end -->)", r"\1\nold\n\3", page, flags=re.DOTALL)
    assert "old" in stale
    assert len(stale) < len(page)
    copy = tmp_path / "data.md"
    copy.write_text(stale, encoding="utf-8")
    code, out, _ = run(capsys, "--markdown", "--into", copy)
    assert (code, "rewritten" in out) == (0, True)
    assert copy.read_text(encoding="utf-8") == page
    _, out, _ = run(capsys, "--markdown", "--into", copy)
    assert "was in step" in out


def test_a_page_without_markers_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "other.md"
    page.write_text("# Mine\n")
    code, _, err = run(capsys, "--markdown", "--into", page)
    assert code == 2
    assert "generated -->" in err
    assert page.read_text() == "# Mine\n"
    with pytest.raises(BadInput, match="the page has no"):
        verb.in_step("<!-- tables: generated -->")


def test_into_is_for_the_whole_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "funding", "--markdown", "--into", tmp_path / "x.md")
    assert code == 2
    assert "docs/data.md" in err
