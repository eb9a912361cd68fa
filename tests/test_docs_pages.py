"""docs/*.md: every block of code is run by a test or says why not, links lead somewhere, the command line is all there.

Python blocks of the pages here share one process; `# prints:` lines are what they print. Pages with tests of their own
are named in `ELSEWHERE`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import archive_server
import doc_pages
import leverage_events
import numpy as np
import pytest
import signal_inputs
import stored_markets

from backtest.cli import GROUPS, VERBS, build_app, main, talk
from backtest.margin import liquidation_size
from backtest.venue import brackets
from backtest.worked import as_rows
from data import clock
from data.store import Store

ROOT = doc_pages.ROOT
ARCHIVE = "https://data.binance.vision"
ELSEWHERE = {  # page -> what runs its blocks: the test's file, and the languages that it runs
    "crowd": "test_crowd_stress.py: python",
    "fetching": "test_cli_fetch.py: sh",
    "leverage_experiment": "test_crowd_funds.py: python",
    "liquidation_map": "test_crowd_ladder.py: python",
    "recording": "test_cli_record.py: sh sql",
    "report": "test_cli_report.py: sh python",
    "research": "test_docs_research.py: sh python",
    "scale_out": "test_scale_out_page.py: python",
    "signals": "test_strategies_signals_page.py: python",
    "statistics": "test_backtest_verify_statistics.py: python json",
    "strategies": "test_backtest_strategy.py: python",
    "strategy_guide": "test_strategies_guide.py: python",
    "vectorbt": "test_backtest_portfolio.py: python",
    "venues": "test_backtest_verify.py: python json",
    "architecture": "test_docs_pages.py: python",
    "extending": "test_docs_pages.py: sh python",
    "mechanics": "test_docs_pages.py: python",
    "cli": "test_docs_pages.py: sh",
    "data": "test_docs_pages.py: sql sh",
    "events": "test_docs_pages.py: python",
    "explorer": "test_backtest_explorer.py: python",
    "together": "test_backtest_together.py: python",
}


# ---- all pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", doc_pages.pages())
def test_every_block_is_run_or_says_why_not(page: str) -> None:
    test, _, languages = ELSEWHERE.get(page, "").partition(": ")
    for block in doc_pages.blocks(page):
        if block.language != "text" and not block.exempt:
            how = f"{block.where}: run it in a test, or write <!-- not run: why --> above it"
            assert block.language in languages.split(), how
    if test:
        text = next((ROOT / "tests").rglob(test)).read_text(encoding="utf-8")
        assert re.search(rf"\b{page}\.md|docs\W+{page}|\"{page}\"", text), f"{test} does not name {page}.md"


@pytest.mark.parametrize("page", ["../README", *doc_pages.pages()])
def test_links_lead_somewhere(page: str) -> None:
    here = (doc_pages.DOCS / f"{page}.md").resolve()
    for link in doc_pages.links(here.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (here.parent / name).resolve() if name else here
        assert target.exists(), f"{page}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in doc_pages.anchors(target.read_text(encoding="utf-8")), f"{page}: {link}"


def test_every_page_is_on_the_map() -> None:
    linked = set(doc_pages.links(doc_pages.text_of("README")))
    assert {f"{page}.md" for page in doc_pages.pages() if page != "README"} <= linked
    assert "api/README.md" in linked


def test_the_reader_is_told_nothing_of_this_machine() -> None:
    for page in doc_pages.pages():
        assert "/work/" not in doc_pages.text_of(page), page


# ---- python --------------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_the_numbers_of_mechanics_are_those_of_the_functions() -> None:
    doc_pages.run_python("mechanics")


@pytest.mark.kernel
def test_the_distances_of_concepts_are_those_of_the_margin_functions() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in doc_pages.text_of("concepts").splitlines()]
    settings = next(row[1:] for row in rows if row[:1] == ["setting"])
    tiers = as_rows(brackets((1e9, 0.005, 200)), False)
    for name, side in (("long", 1.0), ("short", -1.0)):
        shown = next(row[1:] for row in rows if row[:1] == [name])
        for setting, distance in zip(settings, shown, strict=True):
            posted = 100.0 / float(setting.removesuffix("x"))
            level = liquidation_size(side, 100.0, posted, tiers, 0, 1, 0.0, 100.0)
            assert f"{abs(level - 100.0):.1f} %" == distance, (name, setting)


@pytest.mark.kernel
def test_the_comparisons_of_architecture_say_what_the_page_says() -> None:
    doc_pages.run_python("architecture")


@pytest.mark.kernel
def test_the_calls_of_events_run_on_a_market_with_unwinds(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("statsmodels")
    monkeypatch.setattr(leverage_events, "START", clock.moment("2025-05-01"))
    shocks = [(700 + i * 100, (-1) ** i * 0.05, 0.1 if i % 3 else 0.0) for i in range(30)]  # some flush nothing
    market = leverage_events.market_of(*leverage_events.planted(24 * 180, shocks))
    names = doc_pages.run_python("events", {"market": market})
    assert len(names["found"]) > 10


def its_store(monkeypatch: pytest.MonkeyPatch, db: Path) -> None:
    """A verb looks for its store when it is loaded, and a test before may have loaded it: each is loaded anew."""
    monkeypatch.setenv("UNWIND_DB", str(db))
    verbs = [*VERBS, *(verb for _, group in GROUPS.values() for verb in group)]
    for module in {target.partition(":")[0] for _, target, _ in verbs}:
        monkeypatch.delitem(sys.modules, module, raising=False)


def test_the_query_and_the_lake_of_the_data_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    db = stored_markets.stored(tmp_path, days=3)
    its_store(monkeypatch, db)
    (query,) = doc_pages.blocks("data", "sql")
    assert Store(db).query(query.text).to_pylist()[0]["inserted"] > 0
    (lake,) = doc_pages.blocks("data", "sh")
    for line in lake.text.splitlines():
        words = shlex.split(line.replace("--venue binance ", ""))  # the market here is of no real venue
        assert main(words[1:]) == 0, (line, capsys.readouterr().err)
    assert "ALFA/USDT:USDT" in capsys.readouterr().out


# ---- extending -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the python of docs/extending.md makes, run in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("extending"))
        return doc_pages.run_python("extending")


@pytest.mark.kernel
def test_the_venue_of_the_page_keeps_the_contract(extended: dict[str, Any]) -> None:
    spec = importlib.util.spec_from_file_location("contract", ROOT / "tests" / "contracts" / "test_venues.py")
    assert spec is not None
    assert spec.loader is not None
    contract = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(contract)
    mine = extended["mine"]
    contract.test_it_is_frozen_and_can_be_sent_and_kept(mine)
    contract.test_what_is_not_known_is_said_and_what_is_has_a_source(mine)
    contract.test_its_tiers_have_a_date_and_every_symbol_has_some(mine)
    contract.test_symbols_without_a_table_are_an_assumption(mine)
    contract.test_no_symbol_is_in_two_tables(mine)
    for tiers in (mine.tiers, mine.tables[0].tiers):
        contract.test_a_position_at_the_highest_leverage_is_not_liquidated_where_it_opens(mine, "", tiers)
        contract.test_its_liquidation_comes_after_the_entry_and_before_bankruptcy(mine, "", tiers)
        contract.test_maintenance_never_falls_with_size(mine, "", tiers)


@pytest.mark.kernel
def test_the_signal_of_the_page_knows_no_future(extended: dict[str, Any]) -> None:
    market, entry = signal_inputs.whole_market(300, holes=0.1), extended["entry"]
    whole = entry.function(market.open_interest, market.volume, 24)
    assert np.isfinite(whole).any()
    for t in (1, 24, 25, 150, 299):
        part = entry.function(market.open_interest[:t], market.volume[:t], 24)
        np.testing.assert_array_equal(whole[:t], part)


@pytest.mark.kernel
def test_the_section_of_the_page_is_shown_in_a_report(
    extended: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from backtest.report import sections
    from backtest.report.report import Report

    monkeypatch.setattr(sections, "ORDER", (*sections.ORDER, extended["section"]))
    html = Report(extended["result"]).html()
    assert "How often each side was taken." in html
    assert 'id="sides"' in html


def test_the_strategy_of_the_page_is_written_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checks on a small store: without one they make a market of six coins."""
    monkeypatch.chdir(tmp_path)
    its_store(monkeypatch, stored_markets.stored(tmp_path, days=20))
    (block,) = doc_pages.blocks("extending", "sh")
    for line in block.text.splitlines():
        words = shlex.split(line)[1:] + ["--symbols", stored_markets.SYMBOL] * (" check " in line)
        assert main(words) == 0, (line, capsys.readouterr().err)


PLACE = re.compile(r"\b((?:tests|backtest|data|strategies|docs|benchmarks|notebooks)/[\w/.]*\w)")
MODULE = re.compile(r"\b((?:backtest|data|strategies)(?:\.\w+)+)")


@pytest.mark.parametrize("page", ["architecture", "cli", "concepts", "development", "extending", "mechanics"])
def test_places_and_modules_that_pages_name_exist(page: str) -> None:
    text = re.sub(r"```.*?```", "", doc_pages.text_of(page), flags=re.DOTALL)
    code = [span for span in re.findall(r"`([^`]+)`", text) if "<" not in span]
    for name in {place for span in code for place in PLACE.findall(span)}:
        assert (ROOT / name).exists(), name
    for name in {module for span in code for module in MODULE.findall(span) if not span.startswith("unwind")}:
        assert resolved(name), name


def resolved(name: str) -> bool:
    """A module, or a name that stands in the file of one."""
    words = name.split(".")
    for count in range(len(words), 0, -1):
        path = ROOT.joinpath(*words[:count])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            return all(re.search(rf"\b{word}\b", text) for word in words[count:])
    return False


# ---- the command line ----------------------------------------------------------------------------------

CLI = doc_pages.text_of("cli")
ROWS = {
    match[1]: match[2] for match in re.finditer(r"^\| `unwind ([a-z ]+)` \| (.*) \|$", CLI, re.MULTILINE)
}  # verb -> the rest of its row

EVERYWHERE = (*talk.QUIET, *talk.VERBOSE)


def verbs() -> list[str]:
    return [name for name, *_ in VERBS] + [
        f"{group} {name}" for group, (_, inside) in GROUPS.items() for name, *_ in inside
    ]


@cache
def options_of(verb: str) -> frozenset[str]:
    app = build_app(verb.split())
    for word in verb.split():
        app = app[word]
    found = app.assemble_argument_collection()
    return frozenset(name for argument in found for name in argument.names if name.startswith("--"))


def test_every_verb_has_a_row_and_no_other() -> None:
    assert sorted(ROWS) == sorted(verbs()), "docs/cli.md: a row `| `unwind VERB` | ... |` for each verb"


@pytest.mark.parametrize("verb", ROWS)
def test_options_of_a_row_are_those_of_the_verb(verb: str) -> None:
    assert set(re.findall(r"`(--[a-z-]+)", ROWS[verb])) <= options_of(verb)


def test_every_option_of_the_page_is_one() -> None:
    known = frozenset().union(*(options_of(verb) for verb in verbs()))
    assert set(re.findall(r"`(?:[a-z ]+ )?(--[a-z-]+)", CLI)) <= known | {"--help", *EVERYWHERE}


def test_options_that_mean_the_same_are_shared() -> None:
    """Each of them is an option of two verbs at least, and `--db` and `--json` of nearly all."""
    table = CLI.partition("## Options that mean")[2].partition("##")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    for name in set(re.findall(r"`(--[a-z-]+)", "\n".join(rows))) - set(EVERYWHERE):
        assert sum(name in options_of(verb) for verb in verbs()) >= 2, name
    assert sorted(v for v in verbs() if "--json" not in options_of(v)) == ["completion", "lab"]


def test_variables_are_all_there() -> None:
    found: set[str] = set()
    for package in ("backtest", "data", "strategies"):
        for path in (ROOT / package).rglob("*.py"):
            found |= set(re.findall(r"\bUNWIND_[A-Z]+\b", path.read_text(encoding="utf-8")))
    assert set(re.findall(r"\bUNWIND_[A-Z]+\b", CLI)) == found


def test_exit_codes_are_those_that_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    its_store(monkeypatch, tmp_path / "none.duckdb")
    wrong = {"id": "x", "venue": "bybit", "contract": "linear", "kind": "bankruptcy_price", "source": "mine",
             "inputs": {"side": "long", "entry_price": 10000, "leverage": 50},
             "expected": {"bankruptcy_price": 9700}}  # fmt: skip
    Path("wrong.json").write_text(json.dumps({"cases": [wrong]}))
    assert main(["schema", "--json"]) == 0
    assert main(["verify", "--cases", "wrong.json"]) == 1
    assert main(["run", "Nobody"]) == 2
    assert main(["fetsh"]) == 2
    assert "fetch" in capsys.readouterr().err
    documented = [int(code) for code in re.findall(r"^\| (\d+) \|", CLI, re.MULTILINE)]
    from backtest.cli import walkforward

    assert documented == [0, 1, 2, walkforward.NOT_MET, 130]


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[str]:
    root, path = tmp_path / "served", [100.0 + i % 7 for i in range(1440)]
    for day in ("2024-03-01", "2024-03-02"):
        archive_server.put(root, archive_server.kline_path("BTCUSDT", day), archive_server.klines(day, path))
    with archive_server.ArchiveServer(root) as server:
        yield server.url


def test_the_script_of_the_command_line_page_runs(
    archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    its_store(monkeypatch, tmp_path / "mine.duckdb")
    monkeypatch.setitem(os.environ, "no_proxy", "*")
    (block,) = doc_pages.blocks("cli", "sh")
    for line in block.text.splitlines():
        words = shlex.split(line.replace(ARCHIVE, archive))
        assert main(words[1:]) == 0, (line, capsys.readouterr().err)
    out = capsys.readouterr().out
    assert '"measures"' in out
