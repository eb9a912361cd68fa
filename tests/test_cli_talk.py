"""`unwind doctor`, `unwind completion`, and what --quiet and --verbose change of every verb."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from backtest.cli import doctor as module
from backtest.cli import main
from backtest.cli.talk import talk_of


def test_the_doctor_finds_this_installation_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--db", str(tmp_path / "none.duckdb"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is True
    found = {one["what"]: one for one in said["findings"]}
    assert found["store"]["found"].startswith("none yet")
    assert found["published examples"]["state"] == "ok"
    assert found["published examples"]["found"].split()[0] == found["published examples"]["found"].split()[2]
    assert not (tmp_path / "none.duckdb").exists()


def test_a_store_that_is_none_and_a_package_that_is_old_are_bad(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.duckdb"
    broken.write_text("no database")
    monkeypatch.setattr(module.importlib.metadata, "requires", lambda name: ["numpy>=999", "nothing-of-the-kind>=1"])
    assert main(["doctor", "--db", str(broken), "--json"]) == 1
    found = {one["what"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert found["store"]["state"] == "bad"
    assert "numpy is " in found["packages"]["found"]
    assert "nothing-of-the-kind is missing" in found["packages"]["found"]
    assert "'numpy>=999'" in found["packages"]["do"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_every_verb(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    from backtest.cli import VERBS

    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name, _, _ in VERBS)
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_quiet_and_verbose_are_taken_out_wherever_they_stand_but_after_two_dashes() -> None:
    assert talk_of(["-q", "status", "--json", "--verbose"])[0] == ["status", "--json"]
    assert talk_of(["run", "--", "-q"])[0] == ["run", "--", "-q"]


def test_verbose_says_what_it_took_and_where_a_mistake_was(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash", "-v"]) == 0
    assert "took " in capsys.readouterr().err
    assert main(["report", "/nowhere", "--verbose"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "unwind: no folder /nowhere" in said
    assert main(["report", "/nowhere"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_quiet_says_results_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from data.ingest import ingest
    from data.sources.made_up import made_up
    from data.store import Store

    db = tmp_path / "m.duckdb"
    ingest(made_up(symbols=1, days=3, interval="1h"), Store(db))
    words = ["run", "BuyAndHold", "--db", str(db), "--symbols", "ALFA/USDT:USDT", "--from", "2024-02-01"]
    assert main(words) == 0
    loud = capsys.readouterr()
    assert "note: " in loud.err
    assert main([*words, "--quiet"]) == 0
    quiet = capsys.readouterr()
    assert quiet.err == ""
    assert quiet.out == loud.out


@pytest.mark.parametrize(
    ("words", "helpful"),
    [
        (["demoo"], "unwind --help says"),
        (["check", "dat"], "unwind check --help says"),
        (["run", "--dbb", "x"], "unwind run --help says"),
        (["check", "data", "--tabel", "x"], "unwind check data --help says"),
    ],
)
def test_a_word_that_is_none_names_the_help_to_look_at(
    words: list[str], helpful: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert helpful in said.err
    assert "Did you mean" in said.err


def test_what_every_page_needs_comes_without_extras() -> None:
    """Ranges are bootstrapped, so `unwind demo` and `--report` do with a plain installation."""
    import tomllib

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {line.split(">")[0] for line in project["dependencies"]}
    assert {"arch", "scipy", "statsmodels", "plotly", "jinja2"} <= needed
    extras = {name for _, modules in module.EXTRAS.values() for name in modules}
    assert not extras & needed
