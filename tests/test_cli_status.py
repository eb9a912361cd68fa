"""`unwind status`, `check data`, `export` and `compact`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from backtest import cli
from backtest.cli import stored
from data.rows import Batch, Origin, Rows
from data.status import Series, status
from data.store import Store

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
DAY = pd.Timestamp("2024-01-01")


def candles(n: int, freq: str = "1min") -> pd.DataFrame:
    times = pd.date_range(DAY, periods=n, freq=freq)
    return pd.DataFrame({"ts": times, "open": 100.0, "high": 100.2, "low": 99.9, "close": 100.1, "volume": 3.0})


def put(store: Store, table: str, frame: pd.DataFrame, source: str = "test", **constants: object) -> None:
    symbol = str(constants.setdefault("symbol", BTC))
    constants.setdefault("venue", "binance")
    origin = Origin(source, f"{table}.csv", venue=str(constants["venue"]), symbols=(symbol,))
    store.write(Batch((Rows(table, frame, constants),), (origin,)))


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Bars with 5 missing, funding with 2 missing, open interest with a pause, liquidations; another symbol's bars."""
    store = Store(tmp_path / "s.duckdb")
    put(store, "candles", candles(100).drop(index=range(40, 45)), "archive", price="trade", interval_s=60)
    put(store, "candles", candles(10, "1h"), price="mark", interval_s=3600)
    settled = pd.DataFrame({"ts": pd.date_range(DAY, periods=21, freq="8h"), "rate": 0.0001}).drop(index=[5, 9])
    put(store, "funding", settled)
    seen = pd.DataFrame({"ts": pd.date_range(DAY, periods=50, freq="5min"), "value": 1e6}).drop(index=[20, 21, 22])
    put(store, "open_interest", seen, interval_s=300)
    events = pd.DataFrame({"ts": [DAY], "position": "long", "price": 99.0, "quantity": 1.0, "event_id": "1"})
    put(store, "liquidations", events, price_kind="average", feed="complete")
    put(store, "candles", candles(30), price="trade", interval_s=60, symbol=ETH, venue="bybit")
    return store.path


def run(capsys: pytest.CaptureFixture[str], *tokens: object) -> tuple[int, str, str]:
    code = cli.main([str(t) for t in tokens])
    out = capsys.readouterr()
    return code, out.out, out.err


# ---- status --------------------------------------------------------------------------------------------------------


def test_status_counts_rows_gaps_and_names_the_source(db: Path) -> None:
    found = status(Store(db))
    assert [(s.venue, s.symbol, s.table, s.part, s.rows, s.gaps, s.source) for s in found] == [
        ("binance", BTC, "candles", "mark 1h", 10, 0, "test"),
        ("binance", BTC, "candles", "trade 1m", 95, 5, "test"),
        ("binance", BTC, "funding", "", 19, 2, "test"),
        ("binance", BTC, "open_interest", "5m", 47, 1, "test"),
        ("binance", BTC, "liquidations", "", 1, None, "test"),
        ("bybit", ETH, "candles", "trade 1m", 30, 0, "test"),
    ]
    trade = found[1]
    assert (trade.first, trade.last) == (DAY, DAY + pd.Timedelta(minutes=99))
    assert all(s.ingested is not None for s in found)


def test_status_takes_the_last_ingest_that_speaks_for_a_series(db: Path) -> None:
    store = Store(db)

    def source(s: Series) -> str | None:
        return next(x.source for x in status(store) if (x.symbol, x.table) == (s.symbol, s.table))

    btc, eth = status(store)[0], status(store)[-1]
    store.write(Batch((Rows("candles", candles(1), _trade(BTC)),), (Origin("whole-venue", "x", venue="binance"),)))
    assert (source(btc), source(eth)) == ("whole-venue", "test")
    rest = {k: v for k, v in _trade(BTC).items() if k != "venue"}
    store.write(Batch((Rows("candles", candles(1).assign(venue="binance"), rest),), (Origin("no-venue", "y"),)))
    assert (source(btc), source(eth)) == ("whole-venue", "test")


def _trade(symbol: str) -> dict[str, object]:
    return {"venue": "binance", "symbol": symbol, "price": "trade", "interval_s": 60}


def test_status_of_one_symbol_by_the_venues_name(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "status", "--db", db, "--symbol", "ETHUSDT", "--json")
    (one,) = json.loads(out)
    assert code == 0
    assert (one["symbol"], one["rows"], one["first"]) == (ETH, 30, "2024-01-01T00:00:00")


def test_status_prints_a_table(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "status", "--db", db)
    assert code == 0
    line = next(x for x in out.splitlines() if "trade 1m" in x and BTC in x)
    assert [c.strip() for c in line.split("│")][1:9] == [
        "binance", BTC, "candles", "trade 1m", "2024-01-01 00:00", "2024-01-01 01:39", "95", "5",
    ]  # fmt: skip
    assert str(db) in out


@pytest.mark.parametrize(("tokens", "says"), [(["--symbol", "XRPUSDT"], "XRPUSDT"), (["--venue", "okx"], "okx")])
def test_status_of_what_is_not_stored(
    db: Path, capsys: pytest.CaptureFixture[str], tokens: list[str], says: str
) -> None:
    code, _, err = run(capsys, "status", "--db", db, *tokens)
    assert code == 2
    assert says in err
    assert "there is" in err or "did you mean" in err


@pytest.mark.parametrize("made", [False, True], ids=["missing", "empty"])
@pytest.mark.parametrize("verb", [["status"], ["status", "--symbol", "BTCUSDT"]])
def test_without_data_it_says_how_to_fill_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], made: bool, verb: list[str]
) -> None:
    path = tmp_path / "new.duckdb"
    if made:
        Store(path)
    code, out, _ = run(capsys, *verb, "--db", path)
    assert code == 0
    assert "unwind demo" in out
    assert "unwind import" in out
    assert path.exists() == made
    code, out, err = run(capsys, *verb, "--db", path, "--json")
    assert (code, json.loads(out)) == (0, [])
    assert "unwind demo" in err


# ---- check data ----------------------------------------------------------------------------------------------------


def test_warnings_end_with_0(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", "data", "--db", db)
    assert code == 0
    assert "5 bars are missing" in out
    assert "2 settlements are missing" in out
    assert out.splitlines()[-1] == "3 warnings"


def test_errors_end_with_1(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(Store(db), "candles", candles(3).assign(high=50.0), price="trade", interval_s=60, symbol=ETH, venue="bybit")
    code, out, _ = run(capsys, "check", "data", "--db", db)
    assert code == 1
    assert out.splitlines()[-1].startswith("1 error, 3 warnings")
    code, out, _ = run(capsys, "check", "data", "--db", db, "--symbol", "BTCUSDT")
    assert code == 0


def test_findings_as_json(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", "data", "--db", db, "--table", "candles", "--json")
    (gap,) = json.loads(out)
    assert code == 0
    assert gap.pop("message").startswith("trade 1m: 5 bars are missing in a row from 2024-01-01 00:40")
    assert gap == {
        "level": "warning",
        "check": "gaps",
        "table": "candles",
        "venue": "binance",
        "symbol": BTC,
        "count": 5,
        "first": "2024-01-01T00:40:00",
        "last": "2024-01-01T00:44:00",
    }


def test_sound_data_have_no_faults(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "check", "data", "--db", db, "--venue", "bybit") == (0, "No faults found.\n", "")


def test_findings_alike_share_a_line(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gappy = candles(100).drop(index=range(40, 45))
    for symbol in ("A/USDT:USDT", "B/USDT:USDT"):
        put(Store(db), "candles", gappy, price="trade", interval_s=60, symbol=symbol)
    _, out, _ = run(capsys, "check", "data", "--db", db, "--table", "candles")
    assert out.count("5 bars are missing") == 1
    assert "A/USDT:USDT and 2 more" in out
    assert "gaps: 15" in out


def test_check_without_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was looked at: a script with a wrong path must not read that as sound."""
    code, out, err = run(capsys, "check", "data", "--db", tmp_path / "none.duckdb")
    assert (code, out) == (2, "")
    assert "there is no store yet" in err
    assert "unwind demo" in err
    Store(tmp_path / "empty.duckdb")
    code, out, err = run(capsys, "check", "data", "--db", tmp_path / "empty.duckdb", "--json")
    assert (code, out) == (2, "")
    assert "the store is empty" in err


def test_a_table_that_is_none_ends_with_2(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "check", "data", "--db", db, "--table", "candle")
    assert code == 2
    assert "did you mean candles?" in err


def test_rules_need_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", "data", "--rules", "--db", tmp_path / "none.duckdb", "--json")
    assert code == 0
    assert {"check": "gaps", "level": "warning"}.items() <= next(
        r for r in json.loads(out) if r["check"] == "gaps"
    ).items()
    code, out, _ = run(capsys, "check", "data", "--rules")
    assert "stale_mark" in out


# ---- export and compact --------------------------------------------------------------------------------------------


def test_export_and_look_at_the_lake(db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = tmp_path / "lake"
    code, out, _ = run(capsys, "export", lake, "--db", db, "--symbol", "BTCUSDT", "--table", "candles", "--json")
    assert (code, json.loads(out)) == (0, {"candles": 105})
    code, out, _ = run(capsys, "status", "--db", lake, "--json")
    assert [(s["symbol"], s["part"], s["rows"]) for s in json.loads(out)] == [
        (BTC, "mark 1h", 10),
        (BTC, "trade 1m", 95),
    ]


def test_export_of_a_span(db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--db", db, "--venue", "bybit", "--start", "2024-01-01T00:10", "--end", "2024-01-01T00:20"]
    code, out, _ = run(capsys, "export", tmp_path / "lake", *options, "--table", "candles")
    assert code == 0
    assert "10" in next(line for line in out.splitlines() if "candles" in line)
    code, out, _ = run(capsys, "export", tmp_path / "later", "--db", db, "--start", "2030-01-01", "--table", "candles")
    assert (code, "Nothing stored" in out) == (0, True)


@pytest.mark.parametrize("verb", [["export", "lake"], ["compact"]])
def test_without_a_store_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *verb, "--db", "none.duckdb")
    assert code == 2
    assert "there is no store" in err
    assert list(tmp_path.iterdir()) == []


def test_export_of_an_unknown_symbol_writes_nothing(
    db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "export", tmp_path / "lake", "--db", db, "--symbol", "BTCUSDC")
    assert code == 2
    assert "BTCUSDC" in err
    assert not (tmp_path / "lake").exists()


def test_compact_keeps_the_rows_and_says_the_sizes(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Store(db).fingerprint()
    code, out, _ = run(capsys, "compact", "--db", db)
    assert code == 0
    assert " before, " in out
    assert Store(db).fingerprint() == before
    code, out, _ = run(capsys, "compact", "--db", db, "--json")
    sizes = json.loads(out)
    assert sizes["after"] == db.stat().st_size


def test_a_lake_cannot_be_compacted(db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "export", tmp_path / "lake", "--db", db)
    code, _, err = run(capsys, "compact", "--db", tmp_path / "lake")
    assert code == 2
    assert "lake" in err


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (642_000_000, "642 MB"), (2_340_000_000, "2.34 GB")],
)
def test_sizes_in_words(size: int, text: str) -> None:
    assert stored.size_text(size) == text
