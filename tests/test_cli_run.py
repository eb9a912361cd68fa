"""`unwind run` as it is typed: what it says, what it keeps, what it refuses."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import stored_markets as sm

from backtest import Account, Costs, simulate
from backtest import cli as command_line
from backtest.cli import results, settings, told
from backtest.cli.settings import strategy_class
from backtest.result import Result
from backtest.trials import Register
from data.errors import BadInput, StoreNotWritable
from data.ingest import ingest
from data.sources.made_up import made_up
from data.store import Store


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sm.stored(tmp_path_factory.mktemp("filled"))


@pytest.fixture
def db(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled, tmp_path / "some.duckdb"))


@pytest.fixture
def idea(tmp_path: Path) -> str:
    return f"{sm.idea(tmp_path)}:Follow"


Cli = Any


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], db: Path) -> Cli:
    """Runs `unwind run` on the store: exit code, what it printed, what it complained of."""

    def call(*words: object, symbols: str = sm.SYMBOL) -> tuple[int, str, str]:
        tokens = ["run", *(str(word) for word in words), "--symbols", symbols, "--db", str(db)]
        code = command_line.main([token for token in tokens if token])
        out, err = capsys.readouterr()
        return code, out, err

    return call


# ---- what it does -----------------------------------------------------------------------------------


def test_the_result_is_that_of_the_library_and_is_kept_beside_the_store(cli: Cli, db: Path, idea: str) -> None:
    code, out, _ = cli(idea, "--set", "length=24", "--set", "only_long=yes", "--leverage", 5, "--slippage", 2)
    assert code == 0
    one = strategy_class(idea)(length=24, only_long=True)
    market = Store(db, read_only=True).market(sm.SYMBOL, "1h")
    wanted = simulate(market.registered(""), one, account=Account(leverage=5.0), costs=Costs.fixed(2.0))
    (folder,) = (db.parent / "some.results").iterdir()
    assert Result.load(folder).same_as(wanted)
    assert str(folder) in out
    assert f"{wanted.measures['total_return']:+.2%}" in out


def test_json_says_the_same_for_programs(cli: Cli, db: Path, idea: str) -> None:
    code, out, _ = cli(idea, "--json")
    found = json.loads(out)
    kept = Result.load(found["folder"])
    assert code == 0
    assert found["strategy"] == "Follow"
    assert found["measures"] == {k: None if math.isnan(v) else v for k, v in kept.measures.items()}
    parts = [value for name, value in found["money"].items() if name != "gain"]
    assert sum(parts) == pytest.approx(found["money"]["gain"], abs=1e-9)
    assert found["money"]["gain"] == pytest.approx(found["equity"]["last"] - found["equity"]["first"])
    assert found["sharpe_range"]["low"] < found["measures"]["sharpe"] < found["sharpe_range"]["high"]
    assert (found["from"], found["to"]) == (sm.FIRST, sm.LAST)


def test_the_range_of_the_sharpe_ratio_agrees_with_the_bootstrap(cli: Cli, idea: str) -> None:
    """Days are few and hardly depend on each other here, so two ways to the same range end within a quarter of it."""
    found = json.loads(cli(idea, "--intervals", "--json")[1])
    drawn = next(row for row in found["intervals"] if row["measure"] == "sharpe")
    wide = found["sharpe_range"]["high"] - found["sharpe_range"]["low"]
    assert drawn["value"] == pytest.approx(found["measures"]["sharpe"])
    for end in ("low", "high"):
        assert drawn[end] == pytest.approx(found["sharpe_range"][end], abs=0.25 * wide)


def test_the_same_run_again_is_the_same_folder_and_no_new_trial(cli: Cli, db: Path, idea: str) -> None:
    first, again, other = (json.loads(cli(idea, "--json", *more)[1]) for more in ((), (), ("--set", "band=0.02")))
    assert first["folder"] == again["folder"] != other["folder"]
    assert [found["trials"]["trials"] for found in (first, again, other)] == [1, 1, 2]
    assert Register(Store(db, read_only=True).register).distinct().height == 2


def test_bars_from_before_warm_features_up(cli: Cli, db: Path, idea: str) -> None:
    """From the first bar on: what a run over all bars decides there does not hang on where it began."""
    found = json.loads(cli(idea, "--from", "2024-03-15", "--to", "2024-03-20", "--json")[1])
    kept = Result.load(found["folder"])
    assert (found["from"], found["to"]) == ("2024-03-15 00:00", "2024-03-20 00:00")
    assert kept.fingerprint["warmup"] == 0
    cold = json.loads(cli(idea, "--to", "2024-03-05", "--json")[1])
    assert Result.load(cold["folder"]).fingerprint["warmup"] == 48


def test_a_span_beyond_what_is_stored_is_cut_and_said(cli: Cli, idea: str) -> None:
    code, out, err = cli(idea, "--from", "2024-01-01", "--to", "2024-05-01", "--json")
    assert code == 0
    assert (json.loads(out)["from"], json.loads(out)["to"]) == (sm.FIRST, sm.LAST)
    assert "note: stored from 2024-03-01 00:00 on, which is later than --from 2024-01-01" in err
    assert "note: stored up to 2024-04-10 00:00, which is earlier than --to 2024-05-01" in err


def test_account_costs_and_rules_reach_the_engine(cli: Cli, idea: str) -> None:
    rules = ["--equity", 500, "--mode", "cross", "--delay", 1, "--account", "cash_rate=0.04", "--rules", "bybit"]
    costs = ["--slippage", "impact", "--maker-fee", 0.0001, "--taker-fee", 0.0007, "--costs", "times=2"]
    found = json.loads(cli(idea, *rules, *costs, "--json")[1])
    account = {"equity": 500.0, "mode": "cross", "delay": 1, "cash_rate": 0.04}
    assert {name: found["account"][name] for name in account} == account
    assert {name: found["costs"][name] for name in ("model", "maker", "taker", "times")} == {
        "model": "impact",
        "maker": 0.0001,
        "taker": 0.0007,
        "times": 2,
    }
    assert found["venue"].startswith("bybit")


def test_a_carry_gets_its_spot_leg_and_still_counts_as_a_trial(cli: Cli, db: Path) -> None:
    code, out, err = cli("Carry", "--json")
    assert code == 0
    assert "note: no spot is stored: ALFA/USDT stands in, at the index price of its perpetual" in err
    assert sorted(json.loads(out)["symbols"]) == ["ALFA/USDT", sm.SYMBOL]
    assert json.loads(out)["account"]["mode"] == "cross"
    assert Register(Store(db, read_only=True).register).distinct().height == 1


def test_finer_bars_are_walked_inside_the_bars(cli: Cli, db: Path, idea: str) -> None:
    coarse = json.loads(cli(idea, "--interval", "4h", "--json")[1])
    fine = json.loads(cli(idea, "--interval", "4h", "--detail", "1h", "--json")[1])
    assert fine["fingerprint"]["detail"]
    assert fine["folder"] != coarse["folder"]


def test_a_page_is_written(cli: Cli, tmp_path: Path, idea: str) -> None:
    page = tmp_path / "pages" / "run.html"
    code, out, _ = cli(idea, "--report", page)
    assert code == 0
    assert f"Page   {page}" in out
    assert "Follow" in page.read_text(encoding="utf-8")


def test_a_folder_of_ones_own(cli: Cli, tmp_path: Path, idea: str) -> None:
    assert cli(idea, "--out", tmp_path / "mine")[0] == 0
    assert len(Result.load(tmp_path / "mine").ts) == 960


def test_many_trials_deflate(cli: Cli, idea: str) -> None:
    out = ""
    for length in range(4, 10):
        out = cli(idea, "--set", f"length={length}")[1]
    assert "6 trials on this market" in out
    assert "which the luck of these trials would show" in out


# ---- mistakes ---------------------------------------------------------------------------------------

MISTAKES: list[tuple[list[str], str]] = [
    (["--set", "bnad=3"], "Follow has no parameter bnad: did you mean band?"),
    (["--set", "length=x"], "Follow: length='x': write a whole number"),
    (["--set", "length=1.5"], "Follow: length=1.5: write a whole number"),
    (["--set", "only_long=maybe"], "only_long='maybe': write True or False"),
    (["--set", "window=soon"], "window='soon' is no duration: write 4h, 3d or 2w"),
    (["--set", "length"], "--set length: write a name and a value, such as --set leverage=3"),
    (["--set", "length=3", "--set", "length=4"], "--set length is there twice: 3 and 4"),
    (["--from", "2020-01-01", "--to", "2020-02-01"], "there is 2024-03-01 00:00 to 2024-04-10 00:00"),
    (["--from", "2030-01-01"], "no bars of ALFA/USDT:USDT are stored from 2030-01-01 to the end"),
    (["--from", "2024-03-05", "--to", "2024-03-02"], "--from 2024-03-05 does not come before --to 2024-03-02"),
    (["--from", "yesterday"], "'yesterday' is no time"),
    (["--interval", "7m"], "no candles that make 7m bars are stored"),
    (["--venue", "binance"], "nothing from venue 'binance'; there is: made-up"),
    (["--slippage", "5x"], "--slippage 5x: write impact, depth, none, or basis points a side such as 5"),
    (["--mode", "crss"], "mode='crss': did you mean cross?"),
    (["--account", "cashrate=1"], "an account has no cashrate: did you mean cash_rate?"),
    (["--costs", "tims=2"], "costs has no tims: did you mean times?"),
    (["--costs", "model=impct"], "costs: model='impct': did you mean impact?"),
    (["--costs", "stress=much"], "stress='much': write false for a book that never thins"),
    (["--rules", "binanc"], "no venue 'binanc': did you mean binance?"),
    (["--detail", "2h"], "--detail 2h: write bars shorter than those of 1h"),
    (["--out", "/proc/none"], "cannot write a result there"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_is_said_in_a_line(cli: Cli, idea: str, words: list[str], said: str) -> None:
    code, out, err = cli(idea, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_strategy_that_does_not_exist(cli: Cli) -> None:
    code, _, err = cli("FundingSqeeze")
    assert code == 2
    assert "did you mean FundingSqueeze?" in err


@pytest.mark.parametrize("verb", ["run", "sweep", "walkforward"])
def test_what_fails_in_ones_own_lines_is_said_with_the_line(
    verb: str, db: Path, idea: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The idea is of one symbol, and is given two."""
    words = [verb, idea, "--symbols", f"{sm.SYMBOL},{sm.OTHER}", "--db", str(db)]
    if verb == "walkforward":
        (tmp_path / "wf.toml").write_text(f"""
            [data]
            symbols = ["{sm.SYMBOL}", "{sm.OTHER}"]
            [strategy]
            name = "ideas.py"
            [plan]
            train = "10d"
            test = "5d"
        """)
        words = [verb, str(tmp_path / "wf.toml"), "--db", str(db)]
    assert command_line.main(words) == 2
    err = capsys.readouterr().err
    assert "ideas.py:" in err
    assert "price = pd.Series(market.close)" in err
    assert "ValueError: Data must be 1-dimensional" in err
    assert "Traceback" not in err


def test_symbols_that_do_not_exist_or_are_not_named(cli: Cli, idea: str) -> None:
    assert "did you mean ALFA/USDT:USDT?" in cli(idea, symbols="ALFFA/USDT:USDT")[2]
    assert "stored: ALFA/USDT:USDT, BRAVO/USDT:USDT" in cli(idea, symbols=",")[2]


def test_no_store_and_an_empty_one(capsys: pytest.CaptureFixture[str], tmp_path: Path, idea: str) -> None:
    for words in (["--symbols", "X"], []):
        assert command_line.main(["run", idea, *words, "--db", str(tmp_path / "none.duckdb")]) == 2
        assert "there is no store yet" in capsys.readouterr().err
    ingest(made_up(symbols=1, days=1, interval="1h"), Store(tmp_path / "empty.duckdb"))
    (tmp_path / "empty.duckdb").unlink()
    Store(tmp_path / "empty.duckdb")
    assert command_line.main(["run", idea, "--db", str(tmp_path / "empty.duckdb")]) == 2
    assert "unwind demo" in capsys.readouterr().err


def test_what_a_strategy_lacks_comes_with_the_command_that_brings_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hours = pd.date_range("2024-03-01", periods=48, freq="1h")
    bars = pd.DataFrame({"ts": hours, "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 3.0})
    bars.to_csv(tmp_path / "bars.csv", index=False)
    db, symbol = str(tmp_path / "own.duckdb"), ["BTC/USDT:USDT", "--db", str(tmp_path / "own.duckdb")]
    for venue in ("binance", "nowhere"):
        file = ["import", "file", str(tmp_path / "bars.csv"), "--table", "candles", "--venue", venue]
        assert command_line.main([*file, "--price", "trade", "--symbol", *symbol]) == 0
    capsys.readouterr()
    assert command_line.main(["run", "FundingSqueeze", "--venue", "binance", "--symbols", *symbol]) == 2
    said = capsys.readouterr().err
    assert "FundingSqueeze needs funding_8h, open_interest, which the store lacks for BTC/USDT:USDT" in said
    line = said.strip().rpartition(": ")[2]
    assert line == (
        "unwind fetch --venue binance --symbols BTC/USDT:USDT --since 2024-03-01 --until 2024-03-03 "
        "--what funding,open-interest --interval 1h"
    )
    assert command_line.main(["run", "FundingSqueeze", "--venue", "nowhere", "--symbols", *symbol]) == 2
    assert "`unwind import --help` says how" in capsys.readouterr().err
    assert command_line.main(["run", "BuyAndHold", "--symbols", "BTC/USDT:USDT", "--db", db]) == 2
    assert "say which venue" in capsys.readouterr().err


# ---- in processes of its own ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_pipe_gets_plain_text_and_two_at_once_do_not_disturb_each_other(db: Path, idea: str) -> None:
    words = sm.command("run", idea, "--symbols", sm.SYMBOL, "--db", db)
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate() for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    for out, err in said:
        assert err == ""
        assert "\x1b" not in out
        assert "Saved" in out
    (folder,) = (db.parent / "some.results").iterdir()
    assert Result.load(folder).symbols == (sm.SYMBOL,)


def test_ctrl_c_ends_it_in_a_line(db: Path, tmp_path: Path) -> None:
    slow = sm.IDEA.replace("import pandas as pd", "import time\nimport pandas as pd").replace(
        "price = pd.Series", "print('here', flush=True)\n        time.sleep(60)\n        price = pd.Series"
    )
    (tmp_path / "slow.py").write_text(slow)
    words = sm.command("run", tmp_path / "slow.py", "--symbols", sm.SYMBOL, "--db", db)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "here\n"
        os.kill(one.pid, signal.SIGINT)
        _, err = one.communicate()
    assert (one.returncode, err) == (130, "unwind: interrupted\n")
    assert not (db.parent / "some.results").exists()


# ---- parts ------------------------------------------------------------------------------------------


def test_results_kept_at_once_leave_one_whole_folder(cli: Cli, tmp_path: Path, idea: str) -> None:
    kept = Result.load(json.loads(cli(idea, "--json")[1])["folder"])
    failed: list[BaseException] = []

    def many() -> None:
        try:
            for _ in range(5):
                results.keep(kept, tmp_path / "shared")
        except BaseException as error:  # noqa: BLE001 - to be seen by the test
            failed.append(error)

    threads = [threading.Thread(target=many) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert Result.load(tmp_path / "shared").same_as(kept)


def test_a_text_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreNotWritable, match="cannot be written"):
        results.write_json(tmp_path / "file" / "under.json", {})


def test_an_account_of_a_file_may_have_pairs_and_modes() -> None:
    found = settings.account_of({"pairs": [["A/B", "A/B:B"]], "mode": {"A/B:B": "cross"}, "leverage": "none"})
    assert (found.pairs, found.mode, found.leverage) == ((("A/B", "A/B:B"),), {"A/B:B": "cross"}, None)
    assert isinstance(settings.account_of({"leverage": 5}).leverage, float)
    with pytest.raises(BadInput, match="did you mean equity"):
        settings.account_of({"eqity": 1})


def test_a_run_without_trades_has_no_range(cli: Cli, idea: str) -> None:
    code, out, _ = cli(idea, "--set", "band=9")
    assert code == 0
    assert "Sharpe ratio  n/a\n" in out
    assert "nothing was traded" in out
    kept = Result.load(out.rpartition("Saved  ")[2].strip())
    assert math.isnan(told.sharpe_range(kept).low)
