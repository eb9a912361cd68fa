"""The made-up market: seeded, self-consistent, and labelled as what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.clock import MINUTE, SECOND
from data.errors import BadInput
from data.ingest import ingest
from data.rows import Batch, Rows
from data.schema import table
from data.sources.made_up import VENUE, made_up
from data.sources.made_up_path import Unwind, unwinds
from data.store import Store


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    return list(made_up())


def rows_of(batch: Batch, name: str, **constants: Any) -> Rows:
    found = [r for r in batch.rows if r.table == name and all(r.constants.get(k) == v for k, v in constants.items())]
    assert len(found) == 1
    return found[0]


def frame(batch: Batch, name: str, **constants: Any) -> pl.DataFrame:
    data = rows_of(batch, name, **constants).data
    assert isinstance(data, pl.DataFrame)
    return data


def ns(column: pl.Series) -> np.ndarray[Any, np.dtype[np.int64]]:
    return column.to_numpy().astype("datetime64[ns]").astype("int64")


def during(ts: Any, u: Unwind) -> Any:
    return (ts >= u.at) & (ts < u.ends)


def test_same_arguments_give_the_same_numbers(batches: list[Batch]) -> None:
    for first, again in zip(batches, made_up(), strict=True):
        assert first.origins == again.origins
        for a, b in zip(first.rows, again.rows, strict=True):
            assert a.data.equals(b.data)


def test_another_seed_gives_another_market_and_another_origin(batches: list[Batch]) -> None:
    other = next(made_up(seed=8))
    close = frame(other, "candles", price="trade")["close"]
    assert not close.equals(frame(batches[0], "candles", price="trade")["close"])
    assert other.origins[0].sha256 != batches[0].origins[0].sha256


def test_a_symbol_does_not_depend_on_how_many_are_asked_for(batches: list[Batch]) -> None:
    alone = next(made_up(symbols=1))
    assert frame(alone, "candles", price="trade").equals(frame(batches[0], "candles", price="trade"))


def test_every_frame_has_columns_of_the_schema_and_unique_keys(batches: list[Batch]) -> None:
    for rows in batches[1].rows:
        wanted = table(rows.table)
        given = {*rows.data.columns, *rows.constants}
        assert given <= set(wanted.names)
        assert rows.constants["venue"] == VENUE
        own_key = [k for k in wanted.key if k in rows.data.columns]
        assert rows.data.select(own_key).is_unique().all(), rows.table
        assert not rows.data.select(own_key).null_count().sum_horizontal().sum()


@pytest.mark.parametrize("price", ["trade", "mark", "index", "premium"])
def test_bars_are_possible(batches: list[Batch], price: str) -> None:
    bars = frame(batches[0], "candles", price=price)
    assert bars.height == 30 * 1440
    assert (np.diff(ns(bars["ts"])) == MINUTE).all()
    top, bottom = bars.select(pl.max_horizontal("open", "close"), b=pl.min_horizontal("open", "close"))
    assert (bars["high"] >= top).all()
    assert (bars["low"] <= bottom).all()
    assert price == "premium" or (bars["low"] > 0).all()


def test_takers_buy_part_of_what_trades_and_volume_holds_the_liquidations(
    batches: list[Batch],
) -> None:
    for batch in batches:
        bars = frame(batch, "candles", price="trade")
        assert (bars["taker_buy_volume"] <= bars["volume"]).all()
        events = frame(batch, "liquidations")
        bar = (ns(events["ts"]) - ns(bars["ts"])[0]) // MINUTE
        forced = np.bincount(bar, weights=events["quantity"], minlength=bars.height)
        assert (forced <= bars["volume"].to_numpy() + 1e-6).all()
        price = events["price"].to_numpy()
        assert (price <= bars["high"].to_numpy()[bar]).all()
        assert (price >= bars["low"].to_numpy()[bar]).all()


def test_mark_stays_near_trade(batches: list[Batch]) -> None:
    trade = frame(batches[0], "candles", price="trade")["close"].to_numpy()
    mark = frame(batches[0], "candles", price="mark")["close"].to_numpy()
    assert np.abs(mark / trade - 1.0).max() < 0.005
    assert np.abs(mark / trade - 1.0).max() > 0.0


@pytest.mark.parametrize("which", [0, 1])
def test_funding_is_the_venues_formula_on_the_premium(batches: list[Batch], which: int) -> None:
    premium = frame(batches[which], "candles", price="premium")
    minute, value = ns(premium["ts"]), premium["close"].to_numpy()
    settled = frame(batches[which], "funding")
    for ts, rate, hours in list(zip(ns(settled["ts"]), settled["rate"], settled["interval_hours"], strict=True))[1:]:
        window = value[(minute < ts) & (minute >= ts - int(hours) * 60 * MINUTE)]
        mean = np.average(window, weights=np.arange(1, len(window) + 1))
        expected = (mean + np.clip(0.0001 - mean, -0.0005, 0.0005)) * hours / 8
        assert rate == pytest.approx(expected, abs=1.1e-8)


def test_the_second_symbol_goes_from_eight_hours_to_four(batches: list[Batch]) -> None:
    assert set(frame(batches[0], "funding")["interval_hours"]) == {8.0}
    settled = frame(batches[1], "funding")
    hours = settled["interval_hours"].to_numpy()
    assert set(hours) == {8.0, 4.0}
    assert (np.diff(hours) <= 0).all()
    assert (np.diff(ns(settled["ts"])) == hours[1:] * 3600 * SECOND).all()


@pytest.mark.parametrize("which", [0, 1])
def test_each_unwind_flushes_the_crowded_side(batches: list[Batch], which: int) -> None:
    interest, events = frame(batches[which], "open_interest"), frame(batches[which], "liquidations")
    mark = frame(batches[which], "candles", price="mark")
    story = unwinds(30)
    assert [u.side for u in story] == [1, -1]
    for u in story:
        at = np.searchsorted(ns(interest["ts"]), [u.begins, u.at, u.ends])
        before, top, after = interest["quantity"].to_numpy()[at]
        assert top > 1.3 * before
        assert after < 0.75 * top
        hit = events.filter(pl.Series(during(ns(events["ts"]), u)))
        side = "long" if u.side > 0 else "short"
        money = hit.group_by("position").agg(pl.col("notional").sum()).rows()
        by_side = dict(money)
        assert by_side[side] > 20 * by_side.get("long" if side == "short" else "short", 0.0)
        flushed = (top - after) * interest["value"].to_numpy()[at[2]] / after
        assert 0.2 < sum(by_side.values()) / flushed < 0.5
        first, last = np.searchsorted(ns(mark["ts"]), [u.at, u.ends])
        closes = mark["close"].to_numpy()
        assert u.side * (closes[last] / closes[first] - 1.0) < -0.08


def test_tiers_change_once_and_cum_continues(batches: list[Batch]) -> None:
    for batch in batches:
        brackets = frame(batch, "tiers")
        versions = brackets.partition_by("valid_from")
        assert len(versions) == 2
        for one in versions:
            floor, mmr, cum = (one[c].to_numpy() for c in ("floor", "mmr", "cum"))
            assert cum[1:] == pytest.approx(cum[:-1] + floor[1:] * np.diff(mmr))
            assert (one["cap"].to_numpy()[:-1] == floor[1:]).all()


def test_a_short_span_and_coarse_bars_work_too() -> None:
    batch = next(made_up(symbols=1, days=1, interval="1h"))
    assert frame(batch, "candles", price="trade").height == 24
    assert frame(batch, "truth").height == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"symbols": 0}, "1 to 6 symbols"),
        ({"symbols": 7}, "1 to 6 symbols"),
        ({"days": 0}, "at least one day"),
        ({"interval": "30s"}, "whole minutes"),
        ({"interval": "7m"}, "whole minutes"),
    ],
)
def test_arguments_that_make_no_market_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        list(made_up(**arguments))


def test_the_store_takes_it_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "made-up.duckdb")
    first = ingest(made_up(days=2), store)
    assert first.written.inserted == first.written.rows > 30_000
    before = store.fingerprint()
    again = ingest(made_up(days=2), store)
    assert (again.files, again.skipped) == (0, 2)
    written = [store.write(b) for b in made_up(days=2)]
    assert sum(w.inserted + w.changed for w in written) == 0
    assert store.fingerprint() == before
