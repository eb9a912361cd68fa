"""A sweep by hand: the set under the sliders is what `simulate` gives, and each new one counts as a trial."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import doc_pages
import numpy as np
import pytest
import research_markets as rm
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("anywidget")

from backtest import HOLD, Account, Strategy, simulate, trials
from backtest.batch import Batch
from backtest.explorer.drawn import POINTS
from backtest.explorer.sliders import POSITIONS, sliders_of, step_of
from backtest.explorer.widget import Explorer
from backtest.metrics import NAMES
from backtest.report.thin import keep
from backtest.space import Span
from backtest.sweep import Sweep, sweep
from data.errors import BadInput
from data.market import Market

GRID: dict[str, Any] = {"length": [6, 12, 24], "band": [0.005, 0.02], "leverage": [1.0, 8.0]}
TERMS: dict[str, Any] = {**rm.TERMS, "account": Account(leverage=10)}


def swept(market: Market | None = None, **grid: Any) -> Sweep:
    return sweep(rm.Follow, market or rm.market(), grid or GRID, progress=False, **TERMS)


@pytest.fixture(scope="module")
def found() -> Sweep:
    return swept()


def as_the_page_says(explorer: Explorer, **values: Any) -> None:
    """Values that went through JSON, as a browser writes it: 1.0 becomes 1."""
    told = {**explorer.values, **values}
    whole = {k: int(v) if isinstance(v, float) and v == int(v) else v for k, v in told.items()}
    explorer.values = json.loads(json.dumps(whole))


def drawn(packed: dict[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    return np.frombuffer(packed["bars"], "<u4").astype(np.int64), np.frombuffer(packed["values"], "<f4")


def check(explorer: Explorer, strategy: Strategy) -> None:
    """All that is shown, against a simulation of its own."""
    result = simulate(explorer.sweep.market, strategy, **explorer.sweep.terms)
    assert explorer.strategy == strategy
    for name, value in result.measures.items():
        np.testing.assert_equal(explorer.measures[name], value, err_msg=name)
    for name, series in (("equity", "equity"), ("margin", "margin_ratio")):
        bars, values = drawn(explorer.shown[name])
        whole = result.run.series[series]
        assert np.array_equal(bars, keep(whole, POINTS))
        assert np.array_equal(values, whole[bars].astype("<f4"))
        assert values.max() == np.float32(whole.max())
    bars, values = drawn(explorer.shown["liquidations"])
    assert set(bars) == set(result.run.liquidations["bar"].tolist())
    assert np.array_equal(values, result.run.series["equity"][bars].astype("<f4"))
    texts = {name: text for name, _, text in explorer.shown["measures"]}
    assert texts["liquidations"] == f"{len(result.run.liquidations):,}"
    assert explorer.shown["problem"] == ""
    assert explorer.result.same_as(result)


def test_it_begins_at_the_best_and_shows_what_simulate_gives(found: Sweep) -> None:
    explorer = found.explore()
    check(explorer, found.strategy())
    assert explorer.values == {name: found.strategy().parameters[name] for name in found.names}
    best = drawn(explorer.about["best"]["equity"])
    assert np.array_equal(best[1], drawn(explorer.shown["equity"])[1])


@pytest.mark.kernel
@pytest.mark.parametrize(
    "values",
    [
        {"band": 0.02},
        {"length": 24, "leverage": 8.0},
        {"band": 0.0123},
        {"length": 17},
        {"leverage": 8.0, "length": 24, "band": 0.05},
        {"leverage": 9.9, "length": 24, "band": 0.05},
    ],
)
def test_wherever_the_sliders_stand_it_is_what_simulate_gives(found: Sweep, values: dict[str, Any]) -> None:
    explorer = found.explore()
    as_the_page_says(explorer, **values)
    check(explorer, found.strategy().replace(**values))


def test_one_of_these_sets_is_liquidated_and_one_is_ruined(found: Sweep) -> None:
    explorer = found.explore()
    explorer.set(leverage=8.0, length=24, band=0.05)
    assert len(drawn(explorer.shown["liquidations"])[0]) == 5
    explorer.set(leverage=9.9)
    assert explorer.measures["ruined"] == 1.0


@pytest.mark.kernel
def test_several_symbols(found: Sweep) -> None:
    two = rm.together({"A/USDT:USDT": rm.market(60), "B/USDT:USDT": rm.market(60, seed=9)})

    class Both(Strategy):
        every: int = 30
        size: float = 0.5

        def features(self, market: Market) -> dict[str, Any]:
            return {"long": (np.arange(len(market)) // self.every % 2).astype(float)}

        @staticmethod
        def decide(long: float, position: float, size: float) -> float:
            wanted = size if long > 0.0 else -size
            return wanted if (wanted > 0.0) != (position > 0.0) or position == 0.0 else HOLD

    explorer = sweep(Both, two, every=[20, 40], size=[0.5, 1.0], progress=False, **TERMS).explore()
    as_the_page_says(explorer, size=0.75, every=25)
    check(explorer, Both(every=25, size=0.75))


def test_bars_from_before_warm_features_up_here_too() -> None:
    whole = rm.market(100)
    found = sweep(rm.Follow, whole[300:], length=[24, 48], history=whole, progress=False, **TERMS)
    explorer = found.explore()
    explorer.set(length=100)
    check(explorer, rm.Follow(length=100))
    cold = simulate(whole[300:], rm.Follow(length=100), **TERMS)
    assert explorer.measures["total_return"] != cold.measures["total_return"]


# ---- trials ----------------------------------------------------------------------------------------


def same(one: trials.Count, other: trials.Count) -> None:
    assert (one.number, one.since, one.left_out) == (other.number, other.since, other.left_out)
    for name in ("effective", "mean_correlation", "variance", "best"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, err_msg=name)


def test_a_new_set_is_noted_once_and_those_of_the_sweep_are_not(tmp_path: Path) -> None:
    market = rm.market().registered(str(tmp_path / "trials"))
    found, register = swept(market), trials.Register(tmp_path / "trials")
    explorer = found.explore()
    assert register.table().height == len(found)
    same(explorer._tally.count, found.count())
    explorer.set(band=0.02)
    explorer.set(leverage=8.0)
    assert register.table().height == len(found)
    explorer.set(band=0.01)
    explorer.set(band=0.011)
    explorer.set(band=0.01)
    assert register.table().height == len(found) + 2
    same(explorer._tally.count, register.count(market))
    assert f"{len(found) + 2} trials" in explorer.shown["words"]
    assert "2 of them came by moving the sliders" in explorer.shown["words"]
    simulate(market, explorer.strategy, **TERMS)  # the same trial, whoever walks it
    assert register.count(market).number == len(found) + 2
    again = found.explore()
    again.set(band=0.011, leverage=8.0)
    assert register.table().height == len(found) + 3  # with the run above, and without this look


def test_without_a_register_they_are_counted_all_the_same(found: Sweep) -> None:
    explorer = found.explore()
    same(explorer._tally.count, found.count())
    looked = [{"band": 0.003, "length": 6}, {"band": 0.004, "length": 9}, {"band": 0.005, "length": 9}]
    for values in looked:
        explorer.set(**values)
    assert explorer._tally.added == 3
    sets = [*found.strategies, *(found.strategy().replace(**values) for values in looked)]
    walked = Batch(found.market, **found.terms).walk(sets, sketched=True)
    assert walked.sketches is not None
    expected = trials.counted(walked.table[:, NAMES.index("sharpe")] / np.sqrt(365.0), walked.sketches)
    same(explorer._tally.count, expected)


def test_a_count_that_was_started_afresh_stays_so(tmp_path: Path) -> None:
    market = rm.market().registered(str(tmp_path / "trials"))
    found, register = swept(market), trials.Register(tmp_path / "trials")
    register.start_afresh()
    explorer = found.explore()
    same(explorer._tally.count, register.count(market))
    explorer.set(band=0.01)
    same(explorer._tally.count, register.count(market))
    assert register.count(market).number == 1


# ---- what goes wrong -------------------------------------------------------------------------------


class Fragile(Strategy):
    length: int = 4
    size: float = 1.0

    def features(self, market: Market) -> dict[str, Any]:
        if self.length == 5:
            raise RuntimeError("five <b>never</b> works")
        return {"up": np.arange(len(market)) % self.length}

    @staticmethod
    def decide(up: float, size: float) -> float:
        return size / (size - 3.0) if up == 1.0 else HOLD


def test_what_the_users_code_raises_is_said_and_the_lines_stay() -> None:
    found = sweep(Fragile, rm.market(40), length=[4, 6], size=[1.0, 2.0], progress=False, **TERMS)
    explorer = found.explore()
    before = explorer.shown["equity"]
    explorer.values = {**explorer.values, "length": 5}
    assert explorer.shown["problem"] == "RuntimeError: five <b>never</b> works"
    assert explorer.shown["equity"] == before
    explorer.values = {**explorer.values, "length": 4, "size": 3.0}
    assert "decide" in explorer.shown["problem"]
    assert "\n\n" not in explorer.shown["problem"]
    explorer.values = {**explorer.values, "size": 2.0}
    check(explorer, Fragile(length=explorer.values["length"], size=2.0))


def test_what_does_not_fit_is_refused_where_it_is_written(found: Sweep) -> None:
    explorer = found.explore()
    with pytest.raises(BadInput, match=r"did not vary 'bend'.*band"):
        explorer.set(bend=1.0)
    with pytest.raises(BadInput, match="write a number"):
        explorer.set(band="wide")
    assert explorer.strategy == found.strategy()
    explorer.values = {**explorer.values, "band": "wide"}  # a page gone mad
    assert "write a number" in explorer.shown["problem"]


def test_without_anywidget_one_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['anywidget'] = None\n"
        "from data.errors import NotFound\n"
        "try:\n    import backtest.explorer.widget\n"
        "except NotFound as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout.strip() == "explore() needs anywidget: pip install 'unwind[lab]'"


def test_a_sweep_without_a_widget_loads_no_widget() -> None:
    code = "import sys, backtest.sweep; print('anywidget' in sys.modules, 'ipywidgets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == ["False"] * 2


def test_the_page_of_the_manual_runs() -> None:
    names = doc_pages.run_python("explorer")
    assert names["explorer"].strategy == names["Trend"](length=60, leverage=3.0)
    assert names["explorer"]._tally.added == 1


# ---- features and sliders --------------------------------------------------------------------------


def test_features_are_asked_for_when_their_parameters_move_and_only_then(found: Sweep) -> None:
    explorer = found.explore()
    explorer.set(length=24)
    rm.ASKED.clear()
    for band in (0.006, 0.007, 0.008):
        explorer.set(band=band)
    explorer.set(length=6)
    explorer.set(length=24)
    assert rm.ASKED == [6] or rm.ASKED == []  # 6 may have been the best, which was walked first
    explorer.set(length=25)
    assert rm.ASKED[-1] == 25


class OneArray(Strategy):
    """Fills the same array again for each set."""

    every: int = 3
    size: float = 1.0

    def features(self, market: Market) -> dict[str, Any]:
        array = _SAME.setdefault(len(market), np.zeros(len(market)))
        array[:] = np.arange(len(market)) // self.every % 2
        return {"long": array}

    @staticmethod
    def decide(long: float, size: float) -> float:
        return size if long > 0.0 else -size


_SAME: dict[int, np.ndarray] = {}


def test_an_array_that_is_filled_again_does_not_change_what_was_kept() -> None:
    explorer = sweep(OneArray, rm.market(60), every=[10, 30], size=[0.5, 1.0], progress=False, **TERMS).explore()
    for every in (10, 30, 10):
        explorer.set(every=every, size=0.7)
    check(explorer, OneArray(every=10, size=0.7))


class Kinds(Strategy):
    window: str = "3d"
    long: bool = True
    stop_loss: float = 0.1
    count: int = 3

    @staticmethod
    def decide(position: float) -> float:
        return 1.0 if position == 0.0 else HOLD


def test_where_sliders_may_go() -> None:
    found = sweep(
        Kinds, rm.market(20), window=["1w", "12h", "3d"], long=[True, False], stop_loss=[0.0, 0.1, 0.2], count=[2, 9],
        progress=False, **TERMS,
    )  # fmt: skip
    window, long, stop, count = sliders_of(found)
    assert window.choices == ("12h", "3d", "1w")
    assert long.low is window.low is None
    assert (stop.choices, stop.low, stop.high) == ((0.0, 0.1, 0.2), 0.1, 0.2)
    assert (count.choices, count.low, count.high, count.step, count.whole) == ((2, 9), 2.0, 9.0, 1.0, True)
    sample = sweep(rm.Follow, rm.market(20), method="sobol", n=64, band=Span(0.001, 0.05), progress=False, **TERMS)
    (band,) = sliders_of(sample)
    assert band.choices == ()
    assert band.low is not None
    assert 0.001 <= band.low < 0.01
    json.dumps([slider.plain for slider in (window, long, stop, count, band)])


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_steps_are_round_and_about_as_many_as_wanted(low: float, width: float) -> None:
    high = low + width
    if high <= low:
        return
    step = step_of(low, high)
    assert POSITIONS / 2.6 <= (high - low) / step <= POSITIONS * 1.01
    assert f"{step:.0e}"[0] in "125"
