"""The command line as a user meets it: help, mistakes, interruption, and the shared options."""

from __future__ import annotations

import datetime as dt
import enum
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from backtest import cli
from backtest.cli import lab, options
from data.errors import UnwindError


class Stubborn(UnwindError):
    exit_code = 7


@pytest.fixture
def verb(monkeypatch):
    """Make `unwind probe` call a function of the test."""

    def register(function):
        module = types.ModuleType("probe_verb")
        module.probe = function
        monkeypatch.setitem(sys.modules, "probe_verb", module)
        monkeypatch.setattr(cli, "VERBS", (*cli.VERBS, ("probe", "probe_verb:probe", "A probe.")))

    return register


def unwind(*tokens: str, **env: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from backtest.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *tokens],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
    )


def test_help_lists_every_verb_and_imports_none():
    code = (
        "import sys; from backtest.cli import main; main(['--help']);"
        "print(*[m for m in sys.modules if m.startswith('backtest.cli.')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name, _, summary in cli.VERBS:
        assert name in done.stdout
        assert summary in done.stdout
    assert done.stderr.split() == ["backtest.cli.talk"]  # no verb, and nothing that verbs share


def test_no_arguments_print_the_help(capsys):
    assert cli.main([]) == 0
    assert "Usage: unwind" in capsys.readouterr().out


def test_help_of_a_verb_is_its_docstring(capsys):
    assert cli.main(["lab", "--help"]) == 0
    assert "The address with its token" in capsys.readouterr().out


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == "unwind 0.1.0\n"


@pytest.mark.parametrize(
    ("tokens", "suggestion"),
    [(["statsu"], "status"), (["import", "tierz"], "tiers"), (["lab", "--prot", "1"], "--port")],
)
def test_a_mistyped_word_exits_2_with_a_suggestion(tokens, suggestion):
    done = unwind(*tokens)
    assert done.returncode == 2
    assert "Did you mean" in done.stderr
    assert suggestion in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("target", [*cli.VERBS, *(verb for _, verbs in cli.GROUPS.values() for verb in verbs)])
def test_every_registered_verb_is_there_and_documented(target):
    module, _, function = target[1].partition(":")
    assert getattr(__import__(module, fromlist=[function]), function).__doc__


def test_an_error_of_ours_is_one_line_and_its_exit_code(verb, capsys):
    def probe() -> None:
        raise Stubborn("no such venue: bitmax (did you mean bitmex?) [not markup]")

    verb(probe)
    assert cli.main(["probe"]) == 7
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        "unwind: no such venue: bitmax (did you mean bitmex?) [not markup]\n",
    )


def test_a_real_mistake_from_outside():
    done = unwind("lab", "no-such-folder", UNWIND_DEBUG="0")
    assert done.returncode == 2
    assert done.stderr.startswith("unwind: no folder no-such-folder")
    assert done.stderr.count("\n") == 1


def test_debug_shows_the_traceback():
    done = unwind("lab", "no-such-folder", UNWIND_DEBUG="1")
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("unwind: no folder no-such-folder")


def test_a_file_that_cannot_be_opened_is_named(verb, capsys, tmp_path):
    verb(lambda: (tmp_path / "absent.csv").read_text())
    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err == f"unwind: {tmp_path / 'absent.csv'}: No such file or directory\n"


def test_a_fault_of_ours_is_not_hidden(verb):
    def probe() -> None:
        raise ZeroDivisionError

    verb(probe)
    with pytest.raises(ZeroDivisionError):
        cli.main(["probe"])


def test_interrupted(verb, capsys):
    def probe() -> None:
        raise KeyboardInterrupt

    verb(probe)
    assert cli.main(["probe"]) == 130
    assert capsys.readouterr().err == "unwind: interrupted\n"


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_a_verb_returns_its_exit_code(verb, returned, code):
    verb(lambda: returned)
    assert cli.main(["probe"]) == code


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_a_reader_that_leaves_is_no_error(option):
    code = f"import sys; from backtest.cli import main; sys.exit(main([{option!r}]))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_default_store(monkeypatch, tmp_path):
    monkeypatch.setenv("UNWIND_DB", str(tmp_path / "mine.duckdb"))
    assert options.default_db() == tmp_path / "mine.duckdb"
    monkeypatch.setenv("UNWIND_DB", "")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert options.default_db() == tmp_path / "unwind" / "unwind.duckdb"
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert options.user_data_folder() == tmp_path / "Library" / "Application Support" / "unwind"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    assert options.user_data_folder() == tmp_path / "Local" / "unwind"


def test_db_option(verb, tmp_path):
    seen = []

    def probe(*, db: options.Db = options.default_db(), as_json: options.Json = False) -> None:  # noqa: B008
        seen.append((db, as_json))

    verb(probe)
    assert cli.main(["probe", "--db", str(tmp_path / "a.duckdb"), "--json"]) == 0
    assert seen == [(tmp_path / "a.duckdb", True)]


class Side(enum.Enum):
    LONG = "long"


def test_json_is_strict(capsys):
    options.print_json(
        {
            "at": dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
            "nan": float("nan"),
            "numpy": np.float64("inf"),
            "count": np.int64(3),
            "array": np.array([1.0, np.nan]),
            "moment": np.datetime64("2024-01-02T03:04:05", "ns"),
            "side": Side.LONG,
            "path": Path("a") / "b",
            "rows": ({"x": True}, None),
        }
    )
    assert json.loads(capsys.readouterr().out) == {
        "at": "2024-01-02T00:00:00+00:00",
        "nan": None,
        "numpy": None,
        "count": 3,
        "array": [1.0, None],
        "moment": "2024-01-02T03:04:05.000000000",
        "side": "long",
        "path": str(Path("a") / "b"),
        "rows": [{"x": True}, None],
    }


def test_table_in_a_pipe_is_never_cut(capsys):
    rows = [
        {"symbol": "BTC/USDT:USDT", "rows": 1234567, "note": "word " * 60 + "end"},
        {"symbol": "[red]ETH", "rows": None, "note": float("nan")},
    ]
    options.print_table(rows)
    printed = capsys.readouterr().out
    assert "1,234,567" in printed
    assert "word end" in printed
    assert "[red]ETH" in printed
    assert len(printed.splitlines()) == 6


def test_empty_table(capsys):
    options.print_table([])
    assert capsys.readouterr().out.strip() == ""


def test_lab_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["lab"]) == 2
    assert "pip install 'unwind[lab]'" in capsys.readouterr().err


def test_lab_settings_are_where_jupyter_looks(tmp_path, monkeypatch):
    lab.write_settings(tmp_path)
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path))
    manager = pytest.importorskip("jupyterlab_server.config").ConfigManager
    read = manager(config_dir_name="labconfig").get("default_setting_overrides")
    assert read == {**lab.SETTINGS, "@jupyterlab/apputils-extension:themes": {"adaptive-theme": True}}
