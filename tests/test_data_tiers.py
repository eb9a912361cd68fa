"""Maintenance tiers: every shape of file, dated histories, and brackets that do not fit together."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.cli import main
from data.clock import moment
from data.errors import BadInput, MissingColumn, NotFound, NotThisFormat
from data.ingest import Report, ingest
from data.sources.files import Declared, MappedFiles
from data.sources.tiers import Bracket, Tiers, check_brackets, date_of, perpetual, with_cum
from data.store import Store

# Binance's own FAQ: cum = floor * (mmr - mmr below) + cum below, 5,000,000 * (5 % - 2.5 %) + 16,300 = 141,300.
LINES = [
    (0.0, 50_000.0, 0.004, 125, 0.0),
    (50_000.0, 250_000.0, 0.005, 100, 50.0),
    (250_000.0, 1_000_000.0, 0.01, 50, 1_300.0),
    (1_000_000.0, 5_000_000.0, 0.025, 20, 16_300.0),
    (5_000_000.0, 20_000_000.0, 0.05, 10, 141_300.0),
]


def binance(symbol: str = "BTCUSDT", lines: list[Any] = LINES) -> dict[str, Any]:
    names = ("notionalFloor", "notionalCap", "maintMarginRatio", "initialLeverage", "cum")
    return {
        "symbol": symbol,
        "brackets": [{"bracket": n, **dict(zip(names, line, strict=True))} for n, line in enumerate(lines, 1)],
    }


def ccxt(symbol: str = "BTC/USDT:USDT", lines: list[Any] = LINES, cum: bool = True) -> dict[str, Any]:
    names = ("minNotional", "maxNotional", "maintenanceMarginRate", "maxLeverage")
    return {
        symbol: [
            {"tier": float(n), **dict(zip(names, line, strict=False)), "info": {"cum": str(line[4])} if cum else {}}
            for n, line in enumerate(lines, 1)
        ]
    }


def public_page() -> dict[str, Any]:
    names = ("bracketNotionalFloor", "bracketNotionalCap", "bracketMaintenanceMarginRate", "maxOpenPosLeverage")
    brackets = [
        {
            "bracketSeq": n,
            "minOpenPosLeverage": 1,
            **dict(zip(names, line, strict=False)),
            "cumFastMaintenanceAmount": line[4],
        }
        for n, line in enumerate(LINES, 1)
    ]
    return {"code": "000000", "data": {"brackets": [{"symbol": "BTCUSDT", "riskBrackets": brackets}]}}


def put(content: Any, path: Path) -> Path:
    text = json.dumps(content).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store" / "s.duckdb")


def take(store: Store, path: Path, **given: Any) -> Report:
    return ingest(Tiers(path, **{"venue": "binance", **given}), store)


# ---- shapes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [[binance()], binance(), ccxt(), ccxt(cum=False), public_page()],
    ids=["binance, all", "binance, one", "ccxt", "ccxt without cum", "public page"],
)
@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_every_shape_gives_the_same_brackets(store: Store, tmp_path: Path, content: Any, suffix: str) -> None:
    take(store, put(content, tmp_path / f"tiers_20241024T0407{suffix}"))
    stored = store.tiers("BTCUSDT", "2024-10-24T04:08")
    columns = ["floor", "cap", "mmr", "max_leverage", "cum"]
    assert stored[columns].to_numpy() == pytest.approx(pl.DataFrame(LINES, orient="row").to_numpy())
    assert stored["tier"].tolist() == [1, 2, 3, 4, 5]
    assert store.tiers("BTCUSDT", "2024-10-24T04:06").empty


def test_what_is_worked_out_is_said(tmp_path: Path, store: Store) -> None:
    source = Tiers(put(ccxt(cum=False), tmp_path / "2024-10-24.json"), "binance")
    ingest(source, store)
    assert source.remarks == ["2024-10-24.json: cum worked out for BTC/USDT:USDT"]


def test_rates_that_do_not_rise_are_accepted_and_said(tmp_path: Path, store: Store) -> None:
    flat = [(0.0, 100.0, 0.01, 10, 0.0), (100.0, 200.0, 0.01, 5, 0.0)]
    source = Tiers(put(binance(lines=flat), tmp_path / "2024-10-24.json"), "binance")
    ingest(source, store)
    assert source.remarks == ["2024-10-24.json: the maintenance rate does not rise from tier to tier for BTCUSDT"]


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("SOL/USDT", "SOL/USDT:USDT"),
        ("SOL/USDT:USDT", "SOL/USDT:USDT"),
        ("BTCUSDT_220325", "BTC/USDT:USDT-220325"),
        ("BTCUSD_PERP", "BTC/USD:BTC"),
        ("ETHBTC", "ETH/BTC:BTC"),
    ],
)
def test_names_are_contracts(name: str, full: str) -> None:
    assert perpetual(name, "binance") == full


# ---- dates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "when", "lag_s"),
    [
        ("binance_2024-10-24.json.gz", "2024-10-24", 86_400),
        ("tiers-20241024.json", "2024-10-24", 86_400),
        ("2024-10-24T04-07-00.json", "2024-10-24T04:07", 0),
        ("20241024_040709.json", "2024-10-24T04:07:09", 0),
    ],
)
def test_the_date_of_a_name(name: str, when: str, lag_s: int) -> None:
    assert date_of(Path(name)) == (moment(when), lag_s)


@pytest.mark.parametrize("name", ["tiers.json", "2024-13-45.json", "123456789012345.json"])
def test_a_name_without_a_date(name: str) -> None:
    with pytest.raises(BadInput, match="--valid-from"):
        date_of(Path(name))


def test_a_day_is_known_at_its_end(store: Store, tmp_path: Path) -> None:
    take(store, put(binance(), tmp_path / "tiers_2024-10-24.json"))
    assert store.tiers("BTCUSDT", "2024-10-24T23:59").empty
    assert len(store.tiers("BTCUSDT", "2024-10-25T00:01")) == 5


def test_a_given_date(store: Store, tmp_path: Path) -> None:
    take(store, put(binance(), tmp_path / "tiers.json"), valid_from=moment("2024-01-01"))
    assert len(store.tiers("BTCUSDT", "2024-01-02")) == 5


def test_a_history_gives_the_tiers_of_each_day(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    later = [(0.0, 150_000.0, 0.02, 12, 0.0), (150_000.0, 250_000.0, 0.025, 11, 750.0)]
    put([binance()], folder / "2022-09-27T00-00.json")
    put(ccxt(lines=later), folder / "2022-11-25T09-42.json.gz")
    (folder / "README.md").write_text("where from")
    report = take(store, folder)
    assert (report.files, report.ignored) == (2, ["README.md (not .json)"])
    assert store.tiers("BTCUSDT", "2022-10-01")["max_leverage"].tolist() == [125, 100, 50, 20, 10]
    assert store.tiers("BTCUSDT", "2022-12-01")["max_leverage"].tolist() == [12, 11]
    before = store.fingerprint()
    assert take(store, folder).skipped == 2
    assert store.fingerprint() == before


def test_a_corrected_snapshot_replaces_the_whole_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, db = tmp_path / "tiers_2024-10-24.json", tmp_path / "s.duckdb"
    corrected = [(0.0, 100_000.0, 0.01, 50, 0.0), (100_000.0, 900_000.0, 0.02, 25, 1_000.0)]
    for lines in (LINES[:3], corrected):
        put([binance(lines=lines), binance("ETHUSDT", LINES[:3])], path)
        assert main(["import", "tiers", str(path), "--venue", "binance", "--db", str(db)]) == 0
    capsys.readouterr()
    stored = Store(db).tiers("BTCUSDT", "2024-10-26")
    assert stored[["floor", "cap", "mmr", "max_leverage", "cum"]].to_numpy().tolist() == [list(b) for b in corrected]
    assert len(Store(db).tiers("ETHUSDT", "2024-10-26")) == 3


def test_a_folder_without_tiers(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("nothing")
    with pytest.raises(NotFound, match=r"no \.json or \.json\.gz file under"):
        Tiers(tmp_path, "binance")


def test_a_folder_is_dated_by_its_names(tmp_path: Path) -> None:
    put(binance(), tmp_path / "latest.json")
    with pytest.raises(BadInput, match=r"latest\.json: from when"):
        Tiers(tmp_path, "binance")
    with pytest.raises(BadInput, match="not by --valid-from"):
        Tiers(tmp_path, "binance", moment("2024-01-01"))


# ---- what is refused ---------------------------------------------------------------------------


def changed(row: int, column: int, value: Any) -> list[Any]:
    lines = [list(line) for line in LINES]
    lines[row][column] = value
    return lines


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (changed(0, 0, 10.0), r"tier 1 begins at 10, expected 0"),
        (changed(2, 0, 260_000.0), r"tier 3 begins at 260,000, expected 250,000"),
        (changed(2, 1, 900_000.0), r"tier 4 begins at 1,000,000, expected 900,000"),
        (changed(3, 4, 16_301.0), r"tier 4: cum is 16,301, expected 16,300"),
        (changed(0, 4, 5.0), r"tier 1: cum is 5, expected 0"),
        (changed(4, 1, 5_000_000.0), r"tier 5 ends at 5,000,000, not above"),
        (changed(1, 2, 0.5), r"tier 2: cum is 50, expected 24,800"),
        (changed(0, 2, 40.0), r"tier 1: maintenance rate 40 is no fraction"),
        (changed(2, 4, None), r"tier 3: cum is none"),
    ],
)
@pytest.mark.parametrize("way", ["json", "parquet"])
def test_brackets_that_do_not_fit(store: Store, tmp_path: Path, lines: list[Any], words: str, way: str) -> None:
    if way == "json":
        path = put([binance("ETHUSDT"), binance(lines=lines)], tmp_path / "bad_2024-10-24.json")
        source: Any = Tiers(path, "binance")
    else:
        path = tmp_path / "bad.parquet"
        table(lines).write_parquet(path)
        source = MappedFiles([path], Declared("tiers", {"ts": "day"}, "binance"))
        if lines[2][4] is None:
            words = r"row 3: cum is empty"
    with pytest.raises(BadInput, match=rf"(?s)bad.*{words}") as caught:
        ingest(source, store)
    assert way == "parquet" or "BTCUSDT" in str(caught.value)
    assert len(store.table("tiers")) == 0


def table(lines: list[Any]) -> pl.DataFrame:
    frame = pl.DataFrame(lines, schema=["floor", "cap", "mmr", "max_leverage", "cum"], orient="row")
    return frame.with_columns(
        tier=pl.int_range(1, len(lines) + 1), symbol=pl.lit("BTCUSDT"), day=pl.lit("2024-10-24").str.to_datetime()
    )


def test_a_mapped_table_is_stored_as_the_json_is(tmp_path: Path) -> None:
    a, b = Store(tmp_path / "a.duckdb"), Store(tmp_path / "b.duckdb")
    table(LINES).write_parquet(tmp_path / "t.parquet")
    ingest(MappedFiles([tmp_path / "t.parquet"], Declared("tiers", {"ts": "day"}, "binance")), a)
    ingest(Tiers(put(binance(), tmp_path / "t.json"), "binance", moment("2024-10-24")), b)
    assert a.fingerprint() == b.fingerprint()


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ([], NotThisFormat, "holds no tiers"),
        ({"BTC/USDT:USDT": []}, NotThisFormat, "holds no tiers"),
        ({"code": -2014, "msg": "API-key format invalid."}, NotThisFormat, "holds no tiers"),
        ({"BTC/USDT:USDT": [{"tier": 1, "minNotional": 0}]}, MissingColumn, "tier 1: no column maintenanceMarginRate"),
        ({"BTC/USDT:USDT": [{"minNotional": "x", "maintenanceMarginRate": 0.1}]}, BadInput, "floor is 'x'"),
        ([{**binance(), "notionalCoef": 1.5}], BadInput, "changed for one account"),
    ],
)
def test_a_file_without_tiers(store: Store, tmp_path: Path, content: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        take(store, put(content, tmp_path / "t_2024-10-24.json"))


@pytest.mark.parametrize("content", [b"PAR1", b'{"BTC', b"\x1f\x8b\x08truncated"])
def test_a_file_that_is_no_json(store: Store, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t_2024-10-24.json").write_bytes(content)
    with pytest.raises(NotThisFormat, match=r"t_2024-10-24\.json: cannot be read as JSON"):
        take(store, tmp_path / "t_2024-10-24.json")


def test_okx_counts_in_contracts(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="OKX counts its tiers in contracts"):
        Tiers(put(ccxt(), tmp_path / "okx_2024-10-24.json"), "okx")


def test_venue_and_file_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--venue"):
        Tiers(put(ccxt(), tmp_path / "t_2024-10-24.json"), "")
    with pytest.raises(NotFound, match="there is no file"):
        Tiers(tmp_path / "nowhere.json", "binance")


# ---- the rule itself ---------------------------------------------------------------------------

steps = st.lists(st.tuples(st.floats(1.0, 1e7), st.floats(1e-4, 0.05)), min_size=1, max_size=12)


def built(steps: list[tuple[float, float]]) -> list[Bracket]:
    floor, mmr, out = 0.0, 0.0, []
    for n, (width, more) in enumerate(steps, 1):
        mmr += more
        out.append(Bracket(n, floor, floor + width, mmr, None))
        floor += width
    return with_cum(out)


@given(steps)
def test_worked_out_tiers_pass_and_maintenance_has_no_jump(steps: list[tuple[float, float]]) -> None:
    brackets = built(steps)
    check_brackets("BTC", brackets, "made up")
    for below, b in pairwise(brackets):
        assert b.cum is not None
        assert below.cum is not None
        assert b.floor * b.mmr - b.cum == pytest.approx(b.floor * below.mmr - below.cum)


@given(steps, st.data())
def test_any_other_cum_is_refused(steps: list[tuple[float, float]], data: st.DataObject) -> None:
    brackets = built(steps)
    n = data.draw(st.integers(0, len(brackets) - 1))
    b = brackets[n]
    off = data.draw(st.sampled_from([-1.0, 1.0])) * max(1.0, b.floor * b.mmr) * 1e-5
    brackets[n] = Bracket(b.tier, b.floor, b.cap, b.mmr, (b.cum or 0.0) + off)
    with pytest.raises(BadInput, match=rf"tier {b.tier}: cum is"):
        check_brackets("BTC", brackets, "made up")
