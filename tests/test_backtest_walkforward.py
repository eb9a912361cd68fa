"""Walk-forward against a slow plain twin, on planted truth, resumed, and told what it may not choose."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import research_markets as rm

from backtest import Account, Strategy, simulate
from backtest import walkforward as module
from backtest.cli.config import require_names
from backtest.inference import psr
from backtest.trials import Register
from backtest.walkforward import Clause, Plan, WalkForward, walk_forward
from data import clock
from data.errors import BadInput, NotThisFormat
from data.market import Market

Follow, TERMS = rm.Follow, rm.TERMS
GRID: dict[str, Any] = {"length": [6, 12, 24], "band": [0.0, 0.02]}
PLAN = Plan(train="60d", test="30d")
SHIFT = 0.0


def shifted(values: Any) -> Any:
    return values + SHIFT


class Helped(Follow):
    def features(self, market: Market) -> dict[str, Any]:
        return {"away": shifted(super().features(market)["away"])}


@pytest.fixture(scope="module")
def found() -> WalkForward:
    return walk_forward(Follow, rm.market(), PLAN, GRID, progress=False, **TERMS)


@pytest.mark.kernel
def test_every_fold_chooses_what_a_plain_loop_chooses(found: WalkForward) -> None:
    market = rm.market()
    day = clock.DAY // market.interval
    assert [
        (f.train.first // day, f.train.stop // day, f.test.first // day, f.test.stop // day) for f in found.fits
    ] == [(30 * k, 30 * k + 60, 30 * k + 60, min(30 * k + 90, 200)) for k in range(5)]
    for fit in found.fits:
        train, test = (market[s.first : s.stop] for s in (fit.train, fit.test))
        sets = [Follow(length=length, band=band) for length in GRID["length"] for band in GRID["band"]]
        before, after = (
            [simulate(part, one, history=market[: span.stop], **TERMS).measures["sharpe"] for one in sets]
            for part, span in ((train, fit.train), (test, fit.test))
        )
        best = int(np.argmax(before))
        assert fit.chosen == (dict(sets[best].parameters),)
        assert fit.in_sample["sharpe"] == before[best]
        assert fit.out_of_sample["sharpe"] == after[best]
        assert fit.rank == sum(a > after[best] for a in after) / 5
        assert fit.agreement == pytest.approx(pd.Series(before).corr(pd.Series(after), method="spearman"))


@pytest.mark.kernel
def test_the_result_is_one_simulation_through_all_test_windows(found: WalkForward) -> None:
    market = rm.market()
    result = found.result
    assert len(result.equity) == found.span.stop - found.span.first == len(market) - 60 * 6
    assert result.start_equity == Account().equity
    assert found.measures["fees"] > 0.0
    # the same decisions, fold after fold, each beginning flat, pay at least as many entries
    alone = [f.out_of_sample["trades"] for f in found.fits]
    assert found.measures["trades"] <= sum(alone) + len(alone)
    rows = found.folds
    assert list(rows["difference"]) == pytest.approx(list(rows["sharpe_out"] - rows["sharpe_in"]))
    assert rows["test_from"][0] == pd.Timestamp("2024-03-01")
    assert rows["test_to"].iloc[-1] == rows["test_from"].iloc[0] + pd.Timedelta("140D")


def test_nothing_after_a_fold_changes_it(found: WalkForward) -> None:
    market = rm.market()
    shorter = walk_forward(Follow, market[: 150 * 6], PLAN, GRID, progress=False, **TERMS)
    assert [f.chosen for f in shorter.fits] == [f.chosen for f in found.fits[:3]]
    assert [f.in_sample for f in shorter.fits] == [f.in_sample for f in found.fits[:3]]
    n = len(shorter.equity)
    assert np.array_equal(shorter.equity.to_numpy(), found.equity.to_numpy()[:n])


class Switch(Strategy):
    """Long or short, as a parameter says."""

    side: float = 1.0
    size: float = 1.0

    @staticmethod
    def decide(position: float, side: float, size: float) -> float:
        return side * size


def trending(up_days: int, down_days: int) -> Market:
    n = up_days * 6 + down_days * 6
    r = np.where(np.arange(n) < up_days * 6, 0.004, -0.004) + 0.001 * np.sin(np.arange(n) * 1.7)
    close = 100.0 * np.exp(np.cumsum(r))
    opened = np.concatenate([[100.0], close[:-1]])
    frame = pd.DataFrame({
        "ts": pd.date_range("2024-01-01", periods=n, freq="4h", unit="ns"), "open": opened, "close": close,
        "high": np.maximum(opened, close), "low": np.minimum(opened, close), "volume": 1e6,
    })  # fmt: skip
    return Market.from_frames(frame, interval="4h")


def test_a_planted_edge_is_found_and_lost_when_the_world_turns() -> None:
    market = trending(80, 60)
    found = walk_forward(Switch, market, Plan(train="20d", test="20d"), side=[-1.0, 1.0], progress=False, **TERMS)
    assert [f.chosen[0]["side"] for f in found.fits] == [1.0, 1.0, 1.0, 1.0, -1.0, -1.0]
    assert [f.rank for f in found.fits] == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    assert list(np.sign(found.folds["sharpe_out"])) == [1, 1, 1, -1, 1, 1]
    assert found.drift.loc[0, ["usual", "values", "changes"]].tolist() == [1.0, 2, 1]
    # the long position of the first folds is carried over their seams: two turns, three trades at most
    assert found.measures["trades"] <= 3.0


def test_sets_that_break_a_requirement_are_never_chosen(found: WalkForward) -> None:
    strict = Plan(train="60d", test="30d", require=("trades >= 12", "max_drawdown <= 0.5"))
    other = walk_forward(Follow, rm.market(), strict, GRID, progress=False, **TERMS)
    for free, fit in zip(found.fits, other.fits, strict=True):
        assert fit.allowed <= free.allowed
        if fit.chosen:
            assert fit.in_sample["trades"] >= 12
            assert fit.in_sample["max_drawdown"] <= 0.5
    none = walk_forward(Follow, rm.market(), Plan(train="60d", test="30d", require=("trades > 1e9",)), GRID,
                        progress=False, **TERMS)  # fmt: skip
    assert all(f.chosen == () and math.isnan(f.rank) for f in none.fits)
    assert "5 flat" in repr(none)
    assert none.measures["total_return"] == 0.0
    assert none.summary()["folds.flat"] == 5


def test_a_validation_window_chooses_among_the_first_few() -> None:
    market = rm.market()
    plan = Plan(train="60d", validate="20d", test="30d", keep=3)
    found = walk_forward(Follow, market, plan, GRID, progress=False, **TERMS)
    for fit in found.fits:
        assert fit.validate is not None
        assert fit.train.stop == fit.validate.first
        assert fit.validate.stop == fit.test.first
        sets = [Follow(length=length, band=band) for length in GRID["length"] for band in GRID["band"]]

        def sharpes(span: Any, some: list[Any]) -> list[float]:
            part, seen = market[span.first : span.stop], market[: span.stop]
            return [simulate(part, one, history=seen, **TERMS).measures["sharpe"] for one in some]

        first = [sets[row] for row in np.argsort(-np.array(sharpes(fit.train, sets)), kind="stable")[:3]]
        assert fit.chosen[0] == dict(first[int(np.argmax(sharpes(fit.validate, first)))].parameters)


def test_a_purge_leaves_bars_out_before_the_test() -> None:
    found = walk_forward(Follow, rm.market(), Plan(train="60d", test="30d", purge="5d"), GRID, progress=False, **TERMS)
    assert all(f.test.first - f.train.stop == 30 for f in found.fits)


@pytest.mark.kernel
def test_an_ensemble_trades_as_accounts_of_equal_size(found: WalkForward) -> None:
    three = walk_forward(Follow, rm.market(), Plan(train="60d", test="30d", ensemble=3), GRID, progress=False, **TERMS)
    assert [r.start_equity for r in three.results] == pytest.approx([Account().equity / 3] * 3)
    assert [f.chosen[0] for f in three.fits] == [f.chosen[0] for f in found.fits]
    assert three.equity.to_numpy() == pytest.approx(sum(r.equity.to_numpy() for r in three.results))
    assert three.measures["total_return"] == pytest.approx(three.equity.iloc[-1] / Account().equity - 1.0)
    assert three.measures["fees"] == pytest.approx(sum(r.measures["fees"] for r in three.results))
    returns = pd.Series(three.daily_returns)
    assert three.measures["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(365.0))
    closed = [r.trades[r.trades["closed"].notna()] if "closed" in r.trades else r.trades for r in three.results]
    won = sum(float(r.measures["win_rate"] * r.measures["trades"]) for r in three.results)
    assert three.measures["win_rate"] == pytest.approx(won / sum(map(len, closed)))
    assert three.measures["ruined"] == 0.0
    assert three.measures["time_under_water"] == pytest.approx(
        float((three.equity < three.equity.cummax().clip(lower=Account().equity)).mean())
    )


@pytest.mark.parametrize("ensemble", [1, 2])
def test_what_may_be_required_is_in_the_summary(ensemble: int) -> None:
    plan = Plan(train="60d", test="30d", ensemble=ensemble)
    one = walk_forward(Follow, rm.market(), plan, GRID, progress=False, **TERMS)
    told = one.summary()
    assert set(require_names(plan)) <= set(told)
    assert ("oos.turnover" in require_names(plan)) == (ensemble == 1)
    assert told["oos.psr"] == psr(one.daily_returns)
    if ensemble == 1:
        assert told["oos.psr"] == one.verdict()["psr"].value


def test_a_day_out_of_sample_has_no_interval_and_no_mistake() -> None:
    short = walk_forward(Follow, rm.market(days=61), PLAN, GRID, progress=False, **TERMS)
    told = short.summary()
    assert math.isnan(told["oos.sharpe_low"])
    assert math.isnan(told["oos.psr"])
    assert told["folds"] == 1
    assert "sharpe interval" in short.verdict().unknown


# --- resuming ---------------------------------------------------------------------------------------------------------


def test_a_second_call_takes_finished_folds_from_the_folder(
    found: WalkForward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = module.fit_fold

    def dies(market: Any, spec: Any, fold: Any, *more: Any) -> Any:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(fold.number)
        return real(market, spec, fold, *more)

    monkeypatch.setattr(module, "fit_fold", dies)
    with pytest.raises(KeyboardInterrupt):
        walk_forward(Follow, rm.market(), PLAN, GRID, folder=tmp_path, progress=False, **TERMS)
    assert made == [0, 1]
    monkeypatch.setattr(module, "fit_fold", lambda *given: made.append(given[2].number) or real(*given))
    again = walk_forward(Follow, rm.market(), PLAN, GRID, folder=tmp_path, progress=False, **TERMS)
    assert made == [0, 1, 2, 3, 4]
    assert again.resumed == 2
    assert again.fits == found.fits
    assert again.equity.equals(found.equity)
    third = walk_forward(Follow, rm.market(), PLAN, GRID, folder=tmp_path, progress=False, **TERMS)
    assert made == [0, 1, 2, 3, 4]
    assert third.resumed == 5


@pytest.mark.parametrize("change", ["plan", "grid", "market", "terms", "strategy", "helper"])
def test_a_folder_of_another_walk_forward_is_refused(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {
        "strategy": Follow, "market": rm.market(days=100), "plan": PLAN, "grid": GRID, "terms": dict(TERMS)
    }  # fmt: skip

    def run() -> WalkForward:
        return walk_forward(
            given["strategy"], given["market"], given["plan"], given["grid"], folder=tmp_path, progress=False,
            **given["terms"],
        )  # fmt: skip

    if change == "helper":
        given["strategy"] = Helped
    run()
    monkeypatch.setattr(sys.modules[__name__], "SHIFT", 0.01)  # of what features call
    given |= {
        "helper": {},
        "plan": {"plan": Plan(train="61d", test="30d")},
        "grid": {"grid": {**GRID, "band": [0.01]}},
        "market": {"market": rm.market(days=100, seed=9)},
        "terms": {"terms": {**TERMS, "account": Account(equity=5.0)}},
        "strategy": {"strategy": Follow(leverage=2.0)},
    }[change]
    with pytest.raises(BadInput, match="holds another walk-forward"):
        run()


def test_a_damaged_fold_is_named(tmp_path: Path) -> None:
    market = rm.market(days=100)
    walk_forward(Follow, market, PLAN, GRID, folder=tmp_path, progress=False, **TERMS)
    (tmp_path / "fold-0000.json").write_text("{")
    with pytest.raises(NotThisFormat, match="fold-0000"):
        walk_forward(Follow, market, PLAN, GRID, folder=tmp_path, progress=False, **TERMS)


def test_its_sets_are_trials_once(tmp_path: Path) -> None:
    market = rm.market(days=120).registered(str(tmp_path / "x.trials"))
    found = walk_forward(Follow, market, PLAN, GRID, progress=False, **TERMS)
    _ = found.results
    assert Register(market.register).count(market).number == 6
    assert found.count().number == 6
    assert found.summary()["trials"] == 6
    assert "dsr" in {line["name"] for line in found.verdict().rows()}


def test_the_summary_is_plain(found: WalkForward) -> None:
    told = found.summary()
    assert json.loads(json.dumps(told, allow_nan=True)).keys() == told.keys()
    assert all(isinstance(value, int | float) for value in told.values())
    assert found.verdict()["sharpe interval"].value == told["oos.sharpe_low"]
    assert told["oos.sharpe_low"] < told["oos.sharpe"] < told["oos.sharpe_high"]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Plan(objective="sharp"), "did you mean sharpe"),
        (lambda: Plan(choose="plateaus"), "did you mean plateau"),
        (lambda: Plan(keep=0), "from 1 up"),
        (lambda: Plan(require=("trades => 3",)), "no requirement"),
        (lambda: Plan(require=("trade >= 3",)), "did you mean trades"),
        (lambda: Plan(require=("trades >= 3.1.2",)), "no number"),
        (lambda: Plan(train="60 dags"), "train: '60 dags' is no duration"),
        (lambda: Plan(test="0mo"), "test='0mo'"),
        (lambda: Plan(train=60), "length as a text"),  # type: ignore[arg-type]
        (lambda: Plan(purge="1mo"), "purge: '1mo'"),
        (lambda: Plan(require="trades >= 3"), "a list of requirements"),  # type: ignore[arg-type]
        (lambda: walk_forward(Follow, rm.market(), PLAN, GRID, method="soboll", n=4), "did you mean sobol"),  # type: ignore[arg-type]
        (lambda: Plan(train="300d").cut(rm.market()), "too few"),
        (lambda: walk_forward(Follow, rm.market(days=100), PLAN, {"lengths": [3]}), "did you mean length"),
    ],
)
def test_mistakes_are_said_in_one_line(make: Any, told: str) -> None:
    with pytest.raises(BadInput, match=told) as error:
        make()
    assert len(str(error.value).splitlines()) == 1


def test_a_clause_is_read_and_holds() -> None:
    clause = Clause.of("max_drawdown <= 0.25", ["max_drawdown"])
    assert list(clause.holds(np.array([0.2, 0.25, 0.3, np.nan]))) == [True, True, False, False]
    assert str(clause) == "max_drawdown <= 0.25"


def test_it_is_shown(found: WalkForward) -> None:
    page = found._repr_html_()
    assert "<b>Follow</b>, 5 folds" in page
    assert page.count("<tr") == 6
    assert "by luck it would be 50%" in page
    figure = found.plot()
    assert [trace.name for trace in figure.data] == ["equity", "in sample", "out of sample"]
    assert list(figure.data[1].y) == list(found.folds["sharpe_in"])
    assert len(figure.layout.shapes) == 5
