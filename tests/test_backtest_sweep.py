"""Sweeps: the same numbers as one run at a time, features made once, neighbourhoods, interrupts, search."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import research_markets as rm

from backtest import sweep as module
from backtest.engine import simulate
from backtest.metrics import NAMES
from backtest.space import Span
from backtest.sweep import Sweep, sweep
from data.errors import BadInput, NotFound, StoreNotWritable

Follow, TERMS = rm.Follow, rm.TERMS
GRID: dict[str, Any] = {"length": [6, 12, 24], "band": [0.0, 0.01, 0.02, 0.04]}


@pytest.fixture(scope="module")
def found() -> Sweep:
    return sweep(Follow, rm.market(), GRID, **TERMS)


@pytest.mark.kernel
def test_every_row_is_the_run_of_its_set_bit_for_bit(found: Sweep) -> None:
    assert len(found) == 12
    assert found.complete
    for row in range(len(found)):
        result = found.rerun(row)
        assert [result.measures[name] for name in NAMES] == pytest.approx(list(found.values[row]), abs=0.0, nan_ok=True)
        assert dict(found.strategy(row).parameters) | {"leverage": 1.0} == result.parameters
        assert {name: found.frame[name][row] for name in found.names} == {
            name: result.parameters[name] for name in found.names
        }


def test_the_grid_is_every_combination_with_the_last_axis_fastest(found: Sweep) -> None:
    assert [tuple(row) for row in found.frame[["length", "band"]].itertuples(index=False)] == [
        (length, band) for length in GRID["length"] for band in GRID["band"]
    ]


def test_features_are_made_once_for_each_length(monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled = {"band": GRID["band"], "length": GRID["length"]}
    monkeypatch.setattr(module, "MOST_IN_A_CHUNK", 5)  # several chunks
    whole = sweep(Follow, rm.market(), GRID, **TERMS)
    rm.ASKED.clear()
    monkeypatch.setattr(module, "FEATURE_BYTES", 1)  # one set of features at a time
    other = sweep(Follow, rm.market(), shuffled, **TERMS)
    assert sorted(rm.ASKED) == [6, 12, 24]
    columns = ["length", "band", *NAMES]
    a, b = (f.frame[columns].sort_values(["length", "band"], ignore_index=True) for f in (whole, other))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


class Fickle(Follow):  # type: ignore[misc, valid-type]
    """Which parameters its features are made from depends on their values: the first set says too little."""

    def features(self, market: Any) -> dict[str, Any]:
        made = dict(super().features(market))
        if self.length > 6:
            scale = 1.0 + self.band
            made = {name: values * scale for name, values in made.items()}
        return made


def test_no_job_holds_more_features_than_it_may_whatever_they_are_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    from backtest import batch

    whole = sweep(Fickle, rm.market(), GRID, **TERMS)
    one_group = whole.market.close.nbytes * len(Fickle().features(whole.market))
    monkeypatch.setattr(batch, "FEATURE_BYTES", 2 * one_group)
    held: list[int] = []
    real = batch.job_of

    def watched(*given: Any, **more: Any) -> Any:
        job = real(*given, **more)
        held.append(job.sets.features.nbytes)
        return job

    monkeypatch.setattr(batch, "job_of", watched)
    parts = sweep(Fickle, rm.market(), GRID, **TERMS)
    assert np.array_equal(parts.values, whole.values, equal_nan=True)
    assert len(held) > 3
    assert max(held) <= 2 * one_group
    assert np.array_equal(batch.Batch(rm.market(), **TERMS).walk(whole.strategies).table, whole.values, equal_nan=True)


def test_threads_change_nothing() -> None:
    one, two = (sweep(Follow, rm.market(), GRID, threads=threads, **TERMS) for threads in (1, 3))
    assert np.array_equal(one.values, two.values, equal_nan=True)


def test_best_is_by_the_measure_asked_for_in_its_own_direction(found: Sweep) -> None:
    assert found.best(1)["sharpe"].iloc[0] == np.nanmax(found["sharpe"])
    assert found.best(1, by="max_drawdown")["max_drawdown"].iloc[0] == np.nanmin(found["max_drawdown"])
    assert len(found.best(5)) == 5
    with pytest.raises(BadInput, match="did you mean sharpe"):
        found.best(1, by="sharp")
    with pytest.raises(BadInput, match="no measure to go by"):
        found.best(1, by="trades")


def planted(values: np.ndarray[Any, Any], names: tuple[str, ...] = ("length", "band")) -> Sweep:
    """A sweep whose Sharpe ratios are these, by length and band."""
    lengths, bands = range(2, 2 + values.shape[0]), [0.01 * k for k in range(values.shape[1])]
    made = sweep(Follow, rm.market(days=20), {"length": lengths, "band": bands}, **TERMS)
    made.values[:, NAMES.index("sharpe")] = values.ravel()
    made._frame = None
    return made


def test_a_broad_hill_stands_above_a_lonely_peak() -> None:
    values = np.zeros((5, 5))
    values[0, 4] = 9.0  # alone
    values[2:5, 0:3] = 2.0
    values[3, 1] = 3.0
    found = planted(values)
    assert found.best(1)[["length", "band"]].iloc[0].tolist() == [2, 0.04]
    hill = found.plateau()
    assert hill[["length", "band"]].iloc[0].tolist() == [5, 0.01]
    assert hill["plateau"].iloc[0] == 2.0
    assert hill["neighbours"].iloc[0] == 8
    peak = hill[(hill["length"] == 2) & (hill["band"] == 0.04)].iloc[0]
    assert (peak["plateau"], peak["worst"], peak["neighbours"]) == (0.0, 0.0, 3)


def test_sets_without_the_measure_count_as_the_worst() -> None:
    values = np.full((3, 3), 1.0)
    values[0, 0], values[1, 1] = math.nan, -1.0
    middle = planted(values).plateau().loc[0]
    assert middle["worst"] == -1.0
    assert middle["plateau"] == 0.0  # nan as -1, -1, 1, 1


def test_a_heat_map_has_the_median_of_what_else_was_varied() -> None:
    found = sweep(Follow, rm.market(), {**GRID, "leverage": [1.0, 2.0, 3.0]}, **TERMS)
    table = found.pivot("length", "band")
    rows = found.frame.query("length == 12 and band == 0.01")
    assert table.loc[0.01, 12] == rows["sharpe"].median()
    figure = found.heatmap("length", "band", "max_drawdown", "max")
    assert figure.data[0].z[1][1] == rows["max_drawdown"].max()
    assert list(figure.data[0].x) == ["6", "12", "24"]
    with pytest.raises(NotFound, match="did you mean length"):
        found.pivot("lengths", "band")


@pytest.mark.parametrize("method", ["random", "sobol", "optuna"])
def test_samples_lie_in_their_spans_and_hang_on_the_seed_alone(method: Any) -> None:
    axes: dict[str, Any] = {"length": Span(4, 40), "band": Span(0.001, 0.05, log=True), "leverage": [1.0, 2.0]}
    one, same, other = (sweep(Follow, rm.market(), axes, method=method, n=40, seed=seed, **TERMS) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one.frame, same.frame, check_exact=True)
    assert not one.frame.equals(other.frame)
    assert one["length"].between(4, 40).all()
    assert one["band"].between(0.001, 0.05).all()
    assert set(one["leverage"]) == {1.0, 2.0}
    assert one.plateau()["neighbours"].max() == 6


def test_sobol_fills_the_cube_evenly_and_search_comes_nearer_than_chance() -> None:
    axes: dict[str, Any] = {"band": Span(0.0, 0.08), "length": Span(4, 60)}
    even = sweep(Follow, rm.market(), axes, method="sobol", n=64, **TERMS)
    assert np.bincount((even["band"] / 0.02).astype(int), minlength=4).tolist() == [16, 16, 16, 16]
    searched = sweep(Follow, rm.market(), axes, method="optuna", n=96, **TERMS)
    assert np.nanmedian(searched["sharpe"][48:]) > np.nanmedian(even["sharpe"])


def test_where_refuses_sets_before_they_are_tried() -> None:
    found = sweep(Follow, rm.market(), GRID, where=lambda p: p["length"] * p["band"] < 0.2, **TERMS)
    assert (found["length"] * found["band"] < 0.2).all()
    assert 0 < len(found) < 12
    with pytest.raises(BadInput, match="refuses all"):
        sweep(Follow, rm.market(), GRID, where=lambda p: False, **TERMS)


def test_an_interrupt_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_IN_A_CHUNK", 4)
    real, calls = module.Batch.job, []

    def job(self: Any, sets: Any, most: Any = None) -> Any:
        calls.append(len(sets))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, sets, most)

    monkeypatch.setattr(module.Batch, "job", job)
    found = sweep(Follow, rm.market(), GRID, **TERMS)
    assert not found.complete
    assert len(found) in (4, 8)
    assert "interrupted" in repr(found)
    whole = [simulate(rm.market(), one, **TERMS).measures["sharpe"] for one in found.strategies]
    assert list(found["sharpe"]) == pytest.approx(whole, abs=0.0, nan_ok=True)


def test_an_interrupted_search_is_not_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    real, calls = module.Walker.walk, []

    def walk(self: Any, sets: Any) -> int:
        calls.append(len(sets))
        if len(calls) == 2:
            raise KeyboardInterrupt  # between two walks
        return real(self, sets)

    monkeypatch.setattr(module.Walker, "walk", walk)
    found = sweep(Follow, rm.market(days=40), method="optuna", n=70, band=Span(0.0, 0.1), **TERMS)
    assert (len(found), found.planned, found.complete) == (32, 70, False)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"lengths": [1]}, "did you mean length"),
        ({"length": [1.5]}, "a whole number"),
        ({"length": 3}, "give a list"),
        ({"length": []}, "empty"),
        ({"band": Span(0.0, 1.0)}, "needs steps"),
        ({}, "nothing to vary"),
    ],
)
def test_mistakes_are_said_in_one_line(given: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told) as error:
        sweep(Follow, rm.market(days=20), given, **TERMS)
    assert len(str(error.value).splitlines()) == 1


def test_other_mistakes() -> None:
    market = rm.market(days=20)
    with pytest.raises(BadInput, match="did you mean sobol"):
        sweep(Follow, market, GRID, method="sobel", **TERMS)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="needs n="):
        sweep(Follow, market, GRID, method="random", **TERMS)
    with pytest.raises(BadInput, match="lower one first"):
        Span(2.0, 1.0)
    with pytest.raises(BadInput, match="above 0"):
        Span(0.0, 1.0, log=True)
    with pytest.raises(BadInput, match="steps=-2"):
        Span(1.0, 2.0, steps=-2)
    for asked, told in (
        ({"n": True}, "n=True"),
        ({"n": 4, "seed": -1}, "seed=-1"),
        ({"n": 4, "threads": 0}, "threads"),
    ):
        with pytest.raises(BadInput, match=told):
            sweep(Follow, market, method="random", band=Span(0.0, 1.0), **asked, **TERMS)
    found = sweep(Follow, market, {"band": [0.01, 0.02], "length": [6, 12]}, **TERMS)
    with pytest.raises(BadInput, match="name two"):
        found.pivot("band", "band")
    with pytest.raises(BadInput, match="how many"):
        found.best(-1)
    with pytest.raises(BadInput, match="reach=-1"):
        found.plateau(reach=-1)
    with pytest.raises(StoreNotWritable, match="cannot be written"):
        found.to_parquet("/no/such/folder/sweep.parquet")
    with pytest.raises(NotFound, match="no row 99"):
        sweep(Follow, market, {"band": [0.01]}, **TERMS).rerun(99)


def test_it_is_written_and_shown(found: Sweep, tmp_path: Path) -> None:
    path = found.to_parquet(tmp_path / "sweep.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(path), found.frame)
    page = found._repr_html_()
    assert "12 sets" in page
    assert "12 trials on this market" in page
    assert found.plot().data[0].type == "heatmap"
    one = sweep(Follow, rm.market(), {"band": GRID["band"]}, **TERMS)
    assert [trace.mode for trace in one.plot().data] == ["markers", "lines"]


@pytest.mark.kernel
def test_features_look_back_to_bars_before_the_market() -> None:
    whole = rm.market()
    part = whole[300:]
    with_, without = (sweep(Follow, part, GRID, history=history, **TERMS) for history in (whole, None))
    assert not np.array_equal(with_["sharpe"], without["sharpe"], equal_nan=True)
    result = with_.rerun(11)
    alone = simulate(part, with_.strategy(11), history=whole, **TERMS)
    assert result.same_as(alone)
    assert int(result.fingerprint["warmup"]) == 0
    with pytest.raises(BadInput, match="no market that ends with this one"):
        sweep(Follow, part, GRID, history=whole[:500], **TERMS)


@pytest.mark.kernel
def test_daily_returns_are_those_of_the_runs_and_inference_takes_them(found: Sweep) -> None:
    daily = found.daily_returns([7, 2])
    assert daily.shape == (200, 2)
    for column, row in enumerate((7, 2)):
        result = found.rerun(row)
        closes = result.equity.groupby(pd.Index(result.ts // 86_400_000_000_000)).last().to_numpy()
        expected = closes / np.concatenate([[result.start_equity], closes[:-1]]) - 1.0
        assert daily[:, column] == pytest.approx(expected, abs=1e-14)
    told = found.overfitting(blocks=8)
    assert 0.0 <= told.pbo <= 1.0
    assert told.pbo == module.Sweep.overfitting(found, 8, range(12)).pbo
    assert 0.0 <= found.superior(draws=200).consistent <= 1.0
