"""The folder of real market files, imported by the documented commands: rows, spans, known lows, dated tiers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from data.store import Store

pytestmark = pytest.mark.real_data

SCRIPT = Path(__file__).parent / "real_data" / "import_all.py"
BTC = "BTC/USDT:USDT"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("import_all", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def store(shared_dir: Path, script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Store:
    db = tmp_path_factory.mktemp("real") / "real.duckdb"
    script.import_all(shared_dir, db)
    return Store(db)


def one(store: Store, query: str, *params: object) -> tuple[Any, ...]:
    (row,) = store.query(query, params).to_pylist()
    return tuple(row.values())


def test_every_file_of_the_folder_has_a_command(shared_dir: Path, script: ModuleType) -> None:
    files = {str(p) for p in shared_dir.rglob("*") if p.is_file() and p.suffix != ".md"}
    named = {word for words in script.commands(shared_dir) for word in words if word.startswith(str(shared_dir))}
    assert named == files


# table, condition, rows, first, last
STORED = [
    (
        "candles",
        "interval_s = 3600 AND price = 'trade' AND venue = 'binance'",
        520_198,
        "2019-09-08 17:00",
        "2026-02-19 16:00",
    ),
    ("candles", "interval_s = 300", 265_654, "2024-10-01 00:00", "2026-02-19 16:50"),
    ("candles", "interval_s = 60", 146_277, "2025-05-04 15:33", "2025-06-24 10:31"),
    ("candles", "interval_s = 14400", 554_659, "2023-01-01 00:00", "2026-03-16 00:00"),
    ("candles", "interval_s = 3600 AND price = 'mark'", 105_553, "2024-12-31 00:00", "2026-02-19 19:00"),
    ("candles", "interval_s = 28800 AND price = 'mark'", 54_123, "2019-12-23 08:00", "2025-12-06 00:00"),
    ("candles", "venue = 'coinglass'", 4_312, "2025-12-04 06:00", "2026-06-02 05:00"),
    ("funding", "venue = 'binance'", 197_660, "2019-09-10 08:00", "2026-05-27 16:00"),
    ("funding", "venue = 'hyperliquid'", 225_738, "2023-05-12 00:00", "2025-08-11 15:00"),
    ("open_interest", "venue = 'hyperliquid'", 34_872, "2025-03-08 08:00", "2026-03-07 07:00"),
    ("open_interest", "venue = 'binance'", 90_215, "2026-02-20 04:00", "2026-03-20 04:00"),
    ("open_interest", "interval_s = 86400", 2_184, "2020-08-01 00:00", "2026-07-24 00:00"),
    ("open_interest", "venue = 'coinglass' AND interval_s = 3600", 4_312, "2025-12-04 07:00", "2026-06-02 06:00"),
    ("liquidation_bars", "feed = 'aggregated'", 4_312, "2025-12-04 06:00", "2026-06-02 05:00"),
    ("liquidations", "feed = 'sampled'", 3_834, "2024-08-17 11:58", "2025-06-23 21:57"),
    ("ratios", "kind = 'top_accounts' AND ratio IS NOT NULL", 5_588, "2026-04-28 21:15", "2026-05-27 23:30"),
    ("ratios", "kind = 'top_positions' AND ratio IS NOT NULL", 5_588, "2026-04-28 21:15", "2026-05-27 23:30"),
    ("ratios", "kind = 'accounts' AND ratio IS NOT NULL", 5_588, "2026-04-28 21:15", "2026-05-27 23:30"),
    ("ratios", "kind = 'taker_volume' AND ratio IS NOT NULL", 5_578, "2026-04-28 21:00", "2026-05-27 23:15"),
    ("tiers", "known_at = valid_from", 10_549, "2022-02-13 05:02", "2024-10-24 04:07"),
    ("tiers", "known_at > valid_from", 2_805, "2024-10-24 00:00", "2024-10-24 00:00"),
    ("adl", "venue = 'hyperliquid'", 1_125, "2025-10-10 21:16", "2025-10-10 21:26"),
]


@pytest.mark.parametrize(("table", "condition", "rows", "first", "last"), STORED)
def test_rows_and_spans(store: Store, table: str, condition: str, rows: int, first: str, last: str) -> None:
    time = "valid_from" if table == "tiers" else "ts"
    query = f"SELECT count(*) AS n, min({time}) AS a, max({time}) AS b FROM {table} WHERE {condition}"
    n, begins, ends = one(store, query)
    assert (n, f"{begins:%Y-%m-%d %H:%M}", f"{ends:%Y-%m-%d %H:%M}") == (rows, first, last)


def test_no_row_of_the_files_is_lost(store: Store, shared_dir: Path) -> None:
    for table, folders in {"candles": ("candles", "mark"), "funding": ("funding",), "adl": ("adl",)}.items():
        files = [p for folder in folders for p in (shared_dir / folder).glob("*.parquet")]
        rows = sum(pq.read_metadata(p).num_rows for p in files)
        assert one(store, f"SELECT count(*) AS n FROM {table} WHERE venue <> 'coinglass'") == (rows,)


def test_twenty_five_symbols_by_the_hour(store: Store) -> None:
    hourly = "interval_s = 3600 AND price = 'trade' AND venue = 'binance'"
    assert one(store, f"SELECT count(DISTINCT symbol) AS n FROM candles WHERE {hourly}") == (25,)


@pytest.mark.parametrize(
    ("day", "low"),
    [
        ("2020-03-13", 3_621.81),
        ("2021-05-19", 28_688.0),
        ("2022-11-09", 15_462.6),
        ("2024-08-05", 48_888.0),
        ("2025-10-10", 101_516.5),
    ],
)
def test_crash_lows_of_bitcoin(store: Store, day: str, low: float) -> None:
    query = (
        "SELECT min(low) AS low FROM candles WHERE symbol = ? AND venue = 'binance' AND price = 'trade' "
        "AND interval_s = 3600 AND strftime(ts, '%Y-%m-%d') = ?"
    )
    assert one(store, query, BTC, day) == (low,)


def test_the_crash_of_2026_02_05_is_in_the_panel(store: Store) -> None:
    query = "SELECT ts, long_notional > 5 * short_notional AS longs FROM liquidation_bars"
    ts, longs = one(store, f"{query} ORDER BY long_notional DESC LIMIT 1")
    assert f"{ts:%Y-%m-%d}" == "2026-02-05"
    assert longs


def test_tiers_are_those_of_their_day(store: Store) -> None:
    before, after = store.tiers("SOLUSDT", "2022-09-27T12:00"), store.tiers("SOLUSDT", "2022-11-25T12:00")
    assert (before["max_leverage"].iloc[0], before["mmr"].iloc[0]) == (50.0, 0.01)
    assert (after["max_leverage"].iloc[0], after["mmr"].iloc[0]) == (12.0, 0.02)
    ftt = [store.tiers("FTTUSDT", f"{day}T12:00")["max_leverage"].iloc[0] for day in ("2022-09-27", "2022-11-25")]
    assert ftt == [25.0, 8.0]


def test_versions_of_the_tiers(store: Store) -> None:
    query = "SELECT count(DISTINCT valid_from) AS n, count(DISTINCT symbol) AS s FROM tiers WHERE known_at = valid_from"
    assert one(store, query)[0] == 52
    last = "SELECT count(DISTINCT symbol) AS s, count(*) AS n FROM tiers WHERE known_at > valid_from"
    assert one(store, last) == (349, 2_805)


def test_forced_sales_closed_longs_and_add_up(store: Store) -> None:
    query = "SELECT position, count(*) AS n FROM liquidations GROUP BY position ORDER BY position"
    assert [tuple(r.values()) for r in store.query(query).to_pylist()] == [("long", 1_925), ("short", 1_909)]
    query = "SELECT price_kind, count(*) AS n FROM liquidations GROUP BY price_kind ORDER BY price_kind"
    assert [tuple(r.values()) for r in store.query(query).to_pylist()] == [("average", 2_678), ("limit", 1_156)]
    assert one(store, "SELECT max(abs(notional / (price * quantity) - 1)) < 1e-12 AS adds_up FROM liquidations") == (
        True,
    )
    assert one(store, "SELECT count(*) AS n FROM liquidations WHERE symbol NOT LIKE '%:%'") == (0,)


def test_funding_is_in_fractions_with_its_interval(store: Store) -> None:
    query = "SELECT median(abs(rate)) AS r, max(abs(rate)) AS m FROM funding WHERE venue = 'binance'"
    usual, largest = one(store, query)
    assert 1e-5 < usual < 2e-4
    assert largest == 0.025
    intervals = "SELECT DISTINCT interval_hours AS h FROM funding WHERE venue = 'binance' AND symbol = ? ORDER BY h"
    assert store.query(intervals, [BTC]).column("h").to_pylist() == [8.0]


def test_what_is_summed_over_an_hour_is_known_after_it(store: Store) -> None:
    for table, venue in (("open_interest", "hyperliquid"), ("liquidation_bars", "coinglass")):
        query = f"SELECT DISTINCT epoch(known_at - ts) AS s FROM {table} WHERE venue = '{venue}'"
        assert one(store, query) == (3_600.0,)


def test_again_changes_nothing(store: Store, script: ModuleType, shared_dir: Path) -> None:
    before = store.fingerprint()
    script.import_all(shared_dir, store.path)
    assert store.fingerprint() == before
    assert one(store, "SELECT sum(changed) AS n FROM ingests") == (0,)
