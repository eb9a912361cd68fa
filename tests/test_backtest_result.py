"""`Result`: frames say what the run says, folders give the same bits back, text is escaped."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import made_runs as R
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest import kept, metrics, result
from backtest.prepare import INVERSE, LINEAR, SPOT
from backtest.records import Refusal, Why
from backtest.report import result_figures
from backtest.result import Result
from backtest.venue import Fees, Venue
from data.clock import DAY, HOUR
from data.errors import BadInput, NotFound, NotThisFormat, StoreNotWritable

MONDAY = 19_723 * DAY  # 2024-01-01
SYMBOLS = ("BTC/USDT:USDT", "BTC/USD:BTC", "ETH/USDT")


def result_of(book: Any, **more: Any) -> Result:
    n = len(book.bars)
    symbols = SYMBOLS[: len(book.kinds)]
    counts = {name: more.pop(name) for name in ("ruined_bar", "scaled") if name in more}
    given = {
        "run": book.run(**counts),
        "ts": MONDAY + np.arange(n, dtype=np.int64) * HOUR,
        "interval": HOUR,
        "symbols": symbols,
        "kinds": book.kinds,
        "currency": "USDT",
        "start_equity": book.start,
        "venue": "binance",
    }
    return Result(**{**given, **more})


def rich(seed: int = 7, bars: int = 60) -> Result:
    """A result in which everything is there."""
    book = R.random_book(seed, bars=bars)
    book.refuse(int(Refusal.TOO_SMALL), symbol=1)
    book.refuse(int(Refusal.RUINED), symbol=-1)
    book.rows["refused"] = [(3, *row[1:]) for row in book.rows["refused"]]
    return result_of(
        book,
        account={"equity": 1000.0, "mode": "isolated", "leverage": None},
        costs={"half_spread": 0.00005, "tail": math.inf},
        parameters={"window": "3d", "entry_z": 2.0},
        warnings=["12 bars without a mark"],
        assumptions=["Binance does not publish its smart step"],
        fingerprint={"data": "abc", "versions": {"unwind": "0.1"}},
        band={"worst": -0.1, "close": 0.2},
        marks=book.column("marks"),
    )


def small() -> Result:
    book = R.Book()
    book.fill(2.0, 100.0, 1.0)
    book.close(110.0, distance=0.4)
    book.funding(0.01, 110.0, at_open=True)
    book.fill(-2.0, 120.0, 1.5, why=Why.STOP_LOSS)
    book.close(118.0)
    book.fill(-5.0, 120.0, 3.0)
    book.close(118.0, distance=0.1)
    book.fill(5.0, 150.0, 0.0, why=Why.LIQUIDATION, insurance=7.0)
    book.refuse(int(Refusal.SHORT_SPOT))
    book.close(150.0)
    return result_of(book)


# --- frames ----------------------------------------------------------------------------------------------------------


def test_series_have_naive_utc_opens() -> None:
    r = small()
    index = pd.date_range("2024-01-01", periods=4, freq="h", name="ts", unit="ns")
    for series in (r.equity, r.wallet, r.margin_ratio, r.exposure, r.gross, r.drawdown, r.margin_distance):
        pd.testing.assert_index_equal(series.index, index, check_freq=False)
    assert r.equity.index.dtype == "datetime64[ns]"
    assert r.equity.index.tz is None
    assert r.equity.tolist() == [1019.0, 1035.3, 1042.3, 892.3 - 3.0]
    assert r.wallet.tolist() == [999.0, 1035.3, 1032.3, 889.3]
    assert r.exposure.iloc[2] == -5.0 * 118.0 / 1042.3
    assert r.drawdown.iloc[3] == pytest.approx(1.0 - 889.3 / 1042.3)
    assert r.positions["BTC/USDT:USDT"].tolist() == [2.0, 0.0, -5.0, 0.0]
    np.testing.assert_array_equal(r.entry_prices["BTC/USDT:USDT"], [100.0, np.nan, 120.0, np.nan])
    np.testing.assert_array_equal(r.liquidation_prices["BTC/USDT:USDT"], [55.0, np.nan, 59.0, np.nan])


def test_rows_have_times_names_and_words() -> None:
    r = small()
    assert r.fills["ts"].dtype == "datetime64[ns]"
    assert r.fills["ts"].dt.hour.tolist() == [0, 1, 2, 3]
    assert set(r.fills["symbol"]) == {"BTC/USDT:USDT"}
    assert r.fills["why"].tolist() == ["market", "stop_loss", "market", "liquidation"]
    assert r.fills["profit"].tolist() == [0.0, 40.0, 0.0, -150.0]
    (lost,) = r.liquidations.to_dict("records")
    assert (lost["side"], lost["why"], lost["quantity"], lost["loss"]) == ("short", "liquidation", -5.0, 143.0)
    (paid,) = r.fundings.to_dict("records")
    assert (paid["at_open"], paid["known_price"], paid["amount"]) == (True, True, -2.2)
    assert r.refused["why"].tolist() == ["short_spot"]
    assert r.ledger["kind"].tolist() == [
        *("fee", "funding", "fill", "fee"),
        *("fee", "fill", "liquidation_fee", "insurance"),
    ]
    assert r.ledger["wallet"].iloc[-1] == r.wallet.iloc[-1]


def test_trades_are_flat_to_flat() -> None:
    r = small()
    assert r.trades["side"].tolist() == ["long", "short"]
    assert r.trades["ts"].dt.hour.tolist() == [0, 2]
    assert r.trades["closed"].dt.hour.tolist() == [1, 3]
    assert r.trades["why"].tolist() == ["stop_loss", "liquidation"]
    assert r.trades["hours"].tolist() == [1.0, 1.0]
    np.testing.assert_allclose(r.trades["profit"], [40.0 - 2.5 - 2.2, -3.0 - 143.0])
    assert len(r.trades) == r.metrics["trades"]


def test_rows_of_the_account_say_so() -> None:
    assert "account" in set(rich().refused["symbol"])
    assert set(rich().refused["why"]) == {"too_small", "ruined"}


def test_frames_of_nothing_have_their_columns() -> None:
    book = R.Book()
    book.close(100.0)
    r = result_of(book)
    for name in ("fills", "liquidations", "fundings", "refused", "ledger", "trades"):
        frame = getattr(r, name)
        assert len(frame) == 0
        assert frame.columns.tolist() == getattr(small(), name).columns.tolist()
        assert frame["ts"].dtype == "datetime64[ns]"


def test_metrics_are_those_of_the_run_in_order() -> None:
    r = rich()
    expected = metrics.measures(r.run, r.ts, r.interval, r.kinds, r.start_equity)
    assert tuple(r.metrics.index) == metrics.NAMES
    np.testing.assert_array_equal(r.metrics.to_numpy(), list(expected.values()))
    assert r.metrics.dtype == np.float64
    assert r.summary().index.tolist() == list(metrics.NAMES)
    assert r.summary().loc["total_return", "value"] == f"{expected['total_return']:.2%}"


def test_equity_of_coin_in_usd() -> None:
    book = R.Book(kinds=(LINEAR, INVERSE), start=1.0)
    book.close(10.0, 40_000.0)
    book.close(10.0, 50_000.0)
    r = result_of(book, currency="BTC", marks=book.column("marks"))
    assert r.equity_usd.tolist() == [40_000.0, 50_000.0]
    with pytest.raises(BadInput, match="coin only"):
        _ = replace(r, marks=None).equity_usd
    assert small().equity_usd.tolist() == small().equity.tolist()


# --- frozen ----------------------------------------------------------------------------------------------------------


def test_a_result_does_not_change() -> None:
    r = rich()
    with pytest.raises(FrozenInstanceError):
        r.venue = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        r.run.series["equity"][0] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        r.run.fills["price"][0] = 0.0
    before = r.equity.iloc[0]
    equity = r.equity
    equity.iloc[0] = -1.0  # a frame is the reader's own
    assert r.equity.iloc[0] == before
    shown = r.metrics
    shown["sharpe"] = 99.0
    assert r.metrics["sharpe"] != 99.0


def test_the_arrays_of_the_caller_stay_writable() -> None:
    book = R.random_book(1)
    run = book.run()
    Result(
        run=run,
        ts=MONDAY + np.arange(60) * HOUR,
        interval=HOUR,
        symbols=SYMBOLS,
        kinds=book.kinds,
        currency="USDT",
        start_equity=1000.0,
        venue="x",
    )
    run.series["equity"][0] = 5.0
    assert run.series["equity"][0] == 5.0


def test_settings_are_plain() -> None:
    venue = Venue("okx", "linear", Fees(0.0002, 0.0005))
    r = replace(
        small(),
        account={"equity": np.float64(5.0), "pairs": (("a", "b"),), "where": Path("x")},
        parameters={"n": np.int64(3), "array": np.array([1.0, 2.0]), "flag": np.True_, "why": Why.STOP_LOSS, 7: None},
        costs=venue,
    )
    assert r.account == {"equity": 5.0, "pairs": [["a", "b"]], "where": "x"}
    assert r.parameters == {"n": 3, "array": [1.0, 2.0], "flag": True, "why": "stop_loss", "7": None}
    assert r.costs["fees"] == {"maker": 0.0002, "taker": 0.0005, "liquidation": 0.0}
    assert type(r.parameters["n"]) is int


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"symbols": ["a", "b"]}, "kinds has shape"),
        ({"ts": np.arange(3)}, "has shape"),
        ({"ts": np.array([], dtype=np.int64)}, "at least one bar"),
        ({"marks": np.zeros((4, 2))}, r"marks has shape \(4, 2\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        replace(small(), **change)


def test_a_result_travels_between_processes() -> None:
    r = rich()
    assert r.metrics["trades"] > 0  # measures are kept
    back = pickle.loads(pickle.dumps(r))
    assert r.same_as(back)


# --- the same --------------------------------------------------------------------------------------------------------


def test_the_same_is_the_same() -> None:
    assert rich().same_as(rich())
    assert rich().same_as(rich()).difference == ""


def spoiled(seed: int, spoil: Callable[[Any], None]) -> Result:
    r = rich(seed)
    run = replace(
        r.run,
        series={k: v.copy() for k, v in r.run.series.items()},
        leg_series={k: v.copy() for k, v in r.run.leg_series.items()},
        fills=r.run.fills.copy(),
        ledger=r.run.ledger.copy(),
    )
    spoil(run)
    return replace(r, run=run)


def test_the_first_difference_is_the_earliest_bar() -> None:
    def spoil(run: Any) -> None:
        run.series["equity"][40] += 1.0
        run.series["wallet"][30] += 1.0
        run.leg_series["position"][20, 1] += 1.0

    assert re.match(
        r"bar 20 \(2024-01-01 20:00\): position of BTC/USD:BTC \S+, other \S+$",
        rich().same_as(spoiled(7, spoil)).difference,
    )


def test_rows_come_before_series_of_the_same_bar() -> None:
    r = rich()
    bar = int(r.run.fills["bar"][5])

    def spoil(run: Any) -> None:
        run.fills["price"][5] += 0.5
        run.series["equity"][bar] += 1.0

    found = r.same_as(spoiled(7, spoil))
    assert not found
    price = r.run.fills["price"][5]
    assert found.difference.endswith(f"fills, row 5: price {price}, other {price + 0.5}")
    assert found.difference.startswith(f"bar {bar} ")


def test_rows_that_are_missing() -> None:
    def spoil(run: Any) -> None:
        run.fills = run.fills[:-3]

    n = len(rich().run.fills)
    assert f"fills: {n} rows, other {n - 3}" in rich().same_as(spoiled(7, spoil)).difference


def test_numbers_within_a_tolerance() -> None:
    def spoil(run: Any) -> None:
        run.series["equity"] *= 1.0 + 1e-11

    other = spoiled(7, spoil)
    assert not rich().same_as(other)
    assert rich().same_as(other, within=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"venue": "okx"}, "venue: binance, other okx"),
        ({"parameters": {"window": "4d"}}, "parameters: "),
        ({"symbols": ("a", "b", "c")}, "symbols: "),
        ({"start_equity": 5.0}, "starting equity: 1000.0, other 5.0"),
        ({"ts": np.arange(60) * HOUR + MONDAY + HOUR}, "bars: 60 over 2024-01-01"),
        ({"marks": None}, "marks: only one"),
        ({"marks": np.ones((60, 3))}, "marks: the mark closes differ"),
    ],
)
def test_differences_of_settings(change: dict[str, Any], words: str) -> None:
    assert rich().same_as(replace(rich(), **change)).difference.startswith(words)


def test_other_counts_are_a_difference() -> None:
    r = rich()
    assert r.same_as(replace(r, run=replace(r.run, ambiguous=9))).difference == "ambiguous: 0, other 9"


# --- saved -----------------------------------------------------------------------------------------------------------


def bits(r: Result) -> dict[str, bytes]:
    run = r.run
    tables = ("ledger", "fills", "liquidations", "fundings", "refused")
    return {
        **{k: v.tobytes() for k, v in run.series.items()},
        **{k: v.tobytes() for k, v in run.leg_series.items()},
        **{k: getattr(run, k).tobytes() for k in tables},
        "distance": run.margin_distance.tobytes(),
        "ts": r.ts.tobytes(),
        "kinds": r.kinds.tobytes(),
        "marks": b"" if r.marks is None else r.marks.tobytes(),
    }


@pytest.mark.parametrize("make", [rich, small])
def test_saved_and_loaded_bit_for_bit(make: Callable[[], Result], tmp_path: Path) -> None:
    r = make()
    folder = r.save(tmp_path / "deep" / "kept")
    back = Result.load(folder)
    assert bits(back) == bits(r)
    assert r.same_as(back)
    for name in ("interval", "symbols", "currency", "start_equity", "venue", "account", "costs", "parameters"):
        assert getattr(back, name) == getattr(r, name)
    for name in ("warnings", "fingerprint", "band", "assumptions", "fingerprint_id"):
        assert getattr(back, name) == getattr(r, name)
    assert back.measures.keys() == r.measures.keys()
    np.testing.assert_array_equal(list(back.measures.values()), list(r.measures.values()))
    assert sorted(path.name for path in folder.iterdir()) == ["meta.json", "run.npz"]
    assert [path.name for path in folder.parent.iterdir()] == ["kept"]


@given(st.integers(0, 2**32 - 1), st.floats(), st.integers(-(2**62), 2**62))
def test_odd_numbers_come_back(seed: int, odd: float, count: int) -> None:
    import tempfile

    book = R.random_book(seed, bars=5, kinds=(LINEAR, SPOT))
    run = book.run(scaled=count)
    payload = np.array([0x7FF8000000000123], dtype=np.uint64).view(np.float64)[0]
    run.series["margin_ratio"][:3] = [odd, -0.0, payload]
    n = len(book.bars)
    r = Result(
        run=run,
        ts=MONDAY + np.arange(n) * HOUR,
        interval=HOUR,
        symbols=("a", "b"),
        kinds=book.kinds,
        currency="ü",
        start_equity=1000.0,
        venue='"\n</script>',
        parameters={"odd": odd, "count": count, "ключ": "\ud800"},
    )
    with tempfile.TemporaryDirectory() as folder:
        back = Result.load(r.save(Path(folder) / "kept"))
    assert bits(back) == bits(r)
    assert repr(back.parameters) == repr(r.parameters)
    assert back.run.scaled == count


def test_the_same_result_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rich().save(tmp_path / name)
    for file in ("meta.json", "run.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_result_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    small().save(folder)
    rich().save(folder)
    assert rich().same_as(Result.load(folder))
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"other files \(notes.txt\)"):
        small().save(folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert rich().same_as(Result.load(folder))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("name", ["meta.json", "run.npz"])
def test_files_of_others_with_our_names_are_left_alone(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / name).write_text('{"format": "something else"}')
    with pytest.raises(BadInput, match="no result that could be replaced"):
        small().save(folder)
    assert (folder / name).read_text() == '{"format": "something else"}'


def test_an_empty_folder_is_taken_and_a_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert small().same_as(Result.load(small().save(tmp_path / "empty")))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInput, match="is a file"):
        small().save(tmp_path / "file")
    with pytest.raises(StoreNotWritable, match="cannot write"):
        small().save(tmp_path / "file" / "inside")


def test_a_link_is_followed(tmp_path: Path) -> None:
    small().save(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    rich().save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert rich().same_as(Result.load(tmp_path / "real"))


def test_a_save_that_fails_leaves_the_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small().save(tmp_path / "kept")
    for broken in ("fsync", "rename"):
        real = getattr(os, broken)
        calls = []

        def fails(*args: Any, real: Any = real, calls: list[int] = calls) -> Any:
            calls.append(1)
            if len(calls) == 2:
                raise OSError(28, "No space left on device")
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(os, broken, fails)
            with pytest.raises(StoreNotWritable, match="No space left"):
                rich().save(folder)
        assert len(calls) >= 2
        assert small().same_as(Result.load(folder))
        assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_two_writers_leave_one_whole_result(tmp_path: Path) -> None:
    made = [rich(seed) for seed in (1, 2)]
    folder = tmp_path / "kept"
    failed: list[BaseException] = []

    def write(r: Result) -> None:
        try:
            for _ in range(10):
                r.save(folder)
        except (BadInput, StoreNotWritable) as error:  # one came between the other's two steps
            failed.append(error)

    threads = [threading.Thread(target=write, args=(r,)) for r in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    back = Result.load(folder)
    assert any(back.same_as(r) for r in made)


def _meta(folder: Path, **change: Any) -> None:
    path = folder / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _other_columns(folder: Path) -> None:
    """As if another program had packed it, its sums right."""
    r = small()
    arrays = {**kept._arrays_of(r), "fills": np.zeros(2)}
    packed = kept._packed(arrays)
    (folder / "run.npz").write_bytes(packed)
    meta = json.loads((folder / "meta.json").read_text())
    del meta["check"]
    meta["arrays"] = hashlib.sha256(packed).hexdigest()
    (folder / "meta.json").write_text(json.dumps({**meta, "check": result.digest(meta)}))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: _flip(f / "run.npz"), "damaged .run.npz is not the file"),
        (lambda f: (f / "run.npz").unlink(), "damaged .run.npz cannot be read"),
        (lambda f: (f / "run.npz").write_bytes(b""), "damaged"),
        (lambda f: _meta(f, venue="okx"), "damaged .meta.json was changed"),
        (lambda f: _meta(f, check="0"), "damaged .meta.json was changed"),
        (lambda f: _meta(f, version="x"), "damaged"),
        (lambda f: (f / "meta.json").write_text("{"), "damaged .meta.json is no JSON"),
        (lambda f: (f / "meta.json").write_bytes(b"\xff\xfe"), "damaged"),
        (lambda f: (f / "meta.json").write_text("[]"), "not written by a result"),
        (lambda f: _meta(f, format="x"), "not written by a result"),
        (lambda f: _meta(f, version=2), "format 2, newer than 1: update unwind"),
        (_other_columns, "fills has other columns"),
    ],
)
def test_damage_is_told_in_one_line(spoil: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    folder = small().save(tmp_path / "kept")
    spoil(folder)
    with pytest.raises(NotThisFormat, match=words) as error:
        Result.load(folder)
    assert "\n" not in str(error.value)


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    for folder in (tmp_path / "nothing", tmp_path):
        with pytest.raises(NotFound, match="no result"):
            Result.load(folder)


def test_arrays_can_be_read_without_us(tmp_path: Path) -> None:
    folder = rich().save(tmp_path / "kept")
    with np.load(folder / "run.npz") as bundle:
        np.testing.assert_array_equal(bundle["series.equity"], rich().run.series["equity"])
    with zipfile.ZipFile(folder / "run.npz") as bundle:
        assert bundle.testzip() is None


# --- fingerprint -----------------------------------------------------------------------------------------------------


def test_a_digest_is_of_values_and_not_of_their_order() -> None:
    assert result.digest({"a": 1, "b": 2}) == result.digest({"b": 2, "a": 1})
    assert result.digest({"a": 1}) != result.digest({"a": 1.0})
    assert set(result.versions()) == {"unwind", "numpy", "numba"}


# --- shown -----------------------------------------------------------------------------------------------------------


def test_repr_is_a_few_lines() -> None:
    lines = repr(rich()).splitlines()
    assert lines[0].startswith("Result(BTC/USDT:USDT, BTC/USD:BTC, ETH/USDT, binance, 1h bars, 2024-01-01 00:00 to")
    assert lines[0].endswith("to 2024-01-03 12:00)")
    assert len(lines) == 4
    assert lines[3] == "  warning: 12 bars without a mark"
    many = repr(replace(rich(), warnings=[f"w{i}" for i in range(9)])).splitlines()
    assert many[-1] == "  and 6 more warnings"
    assert "ruined at 2024-01-01 02:00" in repr(replace(rich(), run=replace(rich().run, ruined_bar=2)))


NASTY = '<script>alert("1")</script>&'


def test_html_is_well_formed_and_escaped() -> None:
    r = replace(rich(), symbols=[NASTY] * 3, venue=NASTY, currency=NASTY, warnings=[NASTY], band={NASTY: NASTY})
    page = r._repr_html_()
    assert "<script" not in page
    root = ET.fromstring(page.replace("&middot;", "·"))
    text = "".join(root.itertext())
    assert text.count(NASTY) == 8  # symbols, venue, currency, warning, band
    assert f"{r.metrics['total_return']:,.2%}" in text
    assert r.fingerprint_id in text
    (line,) = root.iter("polyline")
    points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert len(points) == 61  # the start, and every bar
    assert all(0.0 <= x <= 560.0 and 4.0 <= y <= 86.0 for x, y in points)
    highest = int(np.argmax([r.start_equity, *r.equity]))
    assert points[highest][1] == 4.0


@pytest.mark.parametrize("equity", [[1000.0], [1000.0] * 3, [0.0, 0.0]])
def test_html_of_little(equity: list[float]) -> None:
    book = R.Book()
    for value in equity:
        book.wallet = value
        book.close(1.0)
    page = result_of(book, ruined_bar=0)._repr_html_()
    assert "nan," not in page
    assert "ruined at 2024-01-01 00:00" in page


def test_html_of_many_bars_is_small() -> None:
    book = R.flat(1000.0 + np.cumsum(np.random.default_rng(3).normal(0.0, 1.0, 50_000)))
    r = replace(small(), run=book, ts=MONDAY + np.arange(50_000) * HOUR)
    assert len(r._repr_html_()) < 20_000


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("total_return", 0.1234, "12.34%"),
        ("sharpe", math.nan, "n/a"),
        ("profit_factor", math.inf, "infinite"),
        ("trades", 1234.0, "1,234"),
        ("fees", 0.000123456, "0.0001235"),
        ("fees", -1234.5, "-1,234.50"),
        ("fees", 0.0, "0.00"),
        ("avg_holding_hours", 36.04, "36.0 hours"),
        ("ruined", 1.0, "yes"),
        ("ruined", 0.0, "no"),
        ("sharpe", 1.234, "1.23"),
    ],
)
def test_measures_as_text(name: str, value: float, text: str) -> None:
    measure = metrics.MEASURES[metrics.NAMES.index(name)]
    assert result.as_text(measure, value) == text


def test_plot_keeps_the_extremes() -> None:
    n = 30_000
    equity = np.full(n, 1000.0)
    equity[12_345], equity[23_456] = 400.0, 2500.0
    run = R.flat(equity)
    run.liquidations = np.zeros(2, dtype=small().run.liquidations.dtype)
    run.liquidations["bar"] = [12_345, 12_345]
    r = replace(small(), run=run, ts=MONDAY + np.arange(n) * HOUR)
    figure = r.plot()
    traces = {trace.name: trace for trace in figure.data}
    assert set(traces) == {"equity", "drawdown", "exposure", "liquidation"}
    assert len(traces["equity"].y) <= result_figures.POINTS
    assert (min(traces["equity"].y), max(traces["equity"].y)) == (400.0, 2500.0)
    assert min(traces["drawdown"].y) == pytest.approx(-0.6)
    assert list(traces["liquidation"].y) == [400.0]
    assert pd.Timestamp(traces["liquidation"].x[0]) == pd.Timestamp(MONDAY + 12_346 * HOUR)  # the close
    assert figure.to_html(include_plotlyjs=False)


def test_plot_without_liquidations_and_with_a_bad_name() -> None:
    figure = replace(rich(), symbols=[NASTY] * 3).plot()
    assert "<script>" not in figure.layout.title.text
    assert [trace.name for trace in rich().plot().data][:3] == ["equity", "drawdown", "exposure"]


def test_importing_it_loads_no_pandas_and_no_plotly() -> None:
    code = "import sys, backtest.result; print(sorted({'pandas', 'plotly', 'duckdb'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
