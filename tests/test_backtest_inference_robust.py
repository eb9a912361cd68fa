"""What a run leaves under worse terms, beside random entries, and in a verdict."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest import Account, Costs, inference, simulate
from backtest import inference as inf
from backtest.batch import Batch
from backtest.inference.robust import random_targets, spells_of
from backtest.inference.rows import NAMES
from backtest.metrics import NAMES as METRICS
from backtest.metrics import sharpe
from backtest.venue import Fees, Tier, Venue
from data import clock
from data.align import Bars
from data.errors import BadInput
from data.market import Market, SymbolData

pytestmark = pytest.mark.kernel

T0, H = clock.moment("2024-01-01"), clock.HOUR
VENUE = Venue("test", "linear", Fees(0.0002, 0.0005, 0.0), (Tier(0.0, 1e12, 0.01, 50.0),))
TERMS: dict[str, Any] = {"venue": VENUE, "costs": Costs.fixed(3.0)}


def market_of(returns: np.ndarray) -> Market:
    c = 100.0 * np.exp(np.cumsum(returns))
    o = np.concatenate(([100.0], c[:-1]))
    n = len(c)
    bars = Bars(H, T0 + np.arange(n) * H, open=o, high=np.maximum(o, c), low=np.minimum(o, c), close=c,
                volume=np.full(n, 1e6))  # fmt: skip
    return Market.build("test", {"BTC/USDT:USDT": SymbolData(candles=bars)}, "1h", T0, T0 + n * H)


def held_with_gaps(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.repeat(rng.choice([-1.0, 0.0, 1.0], n // 12 + 1), 12)[:n]


NOISE = market_of(np.random.default_rng(1).standard_normal(24 * 40) * 0.004)
OWN = held_with_gaps(24 * 40)


@pytest.fixture(scope="module")
def run() -> Any:
    return simulate(NOISE, exposure=OWN, **TERMS)


# --- under worse terms -----------------------------------------------------------------------------------------------


def test_every_rerun_is_the_run_under_those_terms(run: Any) -> None:
    reruns = {one.name: one for one in inf.sensitivity(NOISE, exposure=OWN, **TERMS)}
    assert list(reruns) == ["as it was", "fees x2", "slippage x2", "slippage x4", "one bar later"]
    assert reruns["as it was"].measures == run.measures
    base = reruns["as it was"].measures
    assert reruns["fees x2"].measures["fees"] == pytest.approx(2 * base["fees"], rel=0.02)
    assert reruns["slippage x2"].measures["slippage"] == pytest.approx(2 * base["slippage"], rel=0.02)
    assert reruns["slippage x4"].measures["slippage"] == pytest.approx(4 * base["slippage"], rel=0.05)
    later = simulate(NOISE, exposure=np.concatenate(([0.0], OWN[:-1])), **TERMS)
    assert reruns["one bar later"].measures["trades"] == later.measures["trades"]
    assert reruns["one bar later"].sharpe == pytest.approx(later.measures["sharpe"], rel=0.05)


def test_impact_is_multiplied_whatever_it_comes_from(run: Any) -> None:
    terms = {"venue": VENUE, "costs": Costs.impact()}
    base, *_, four, _ = inf.sensitivity(NOISE, exposure=OWN, **terms)
    assert four.name == "slippage x4"
    assert four.measures["slippage"] == pytest.approx(4 * base.measures["slippage"], rel=0.05)
    assert "all times 4" in str(Costs.impact(times=4.0))
    with pytest.raises(BadInput, match="times"):
        Costs.impact(times=-1.0)


def test_a_rebate_is_taken_away_and_not_doubled() -> None:
    terms = {"venue": VENUE, "costs": replace(Costs.none(), taker=-0.0001)}
    base, dearer, *_ = inf.sensitivity(NOISE, exposure=OWN, **terms)
    assert base.measures["fees"] < 0.0
    assert dearer.measures["fees"] == 0.0


# --- random entries --------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 0.5]), min_size=1, max_size=60), st.integers(0, 999))
def test_random_targets_hold_as_long_and_as_much(values: list[float], seed: int) -> None:
    own = np.array(values)
    found = random_targets(own, seed)
    assert np.sort(found) == pytest.approx(np.sort(own))  # the same bars flat and held
    own_lengths = sorted((b - a, own[a]) for a, b in spells_of(own))
    assert sum(length for length, _ in own_lengths) == np.count_nonzero(own)
    pieces = sorted(tuple(own[a:b]) for a, b in spells_of(own))
    joined = "".join(map(str, found.tolist()))
    assert all("".join(map(str, piece)) in joined for piece in pieces)


def test_every_place_is_as_probable_as_any_other() -> None:
    own = np.array([1.0, 0.0, 0.0, 0.0])
    first = np.array([int(np.argmax(random_targets(own, seed))) for seed in range(2000)])
    assert np.bincount(first, minlength=4) / 2000 == pytest.approx(np.full(4, 0.25), abs=0.04)


@pytest.mark.parametrize("delay", [0, 2])
def test_exposures_that_are_followed_together_are_those_that_are_simulated(delay: int) -> None:
    rng = np.random.default_rng(3)
    market = market_of(0.002 * rng.standard_normal(3000))
    targets = [np.repeat(rng.choice([-2.0, 0.0, 1.0, 3.0], 100), 30)[:, None] for _ in range(5)]
    terms = {"venue": "binance", "account": Account(delay=delay, leverage=20), "costs": Costs.fixed(2.0)}
    table = Batch(market, **terms).follow(targets, threads=2)
    for row, one in zip(table, targets, strict=True):
        alone = simulate(market, exposure=one[:, 0], progress=False, **terms).measures
        assert np.array_equal(row, [alone[name] for name in METRICS], equal_nan=True)
    assert len(np.unique(table[:, METRICS.index("total_return")])) == len(targets)


def test_timing_that_knows_beats_random_entries_and_chance_does_not(run: Any) -> None:
    returns = np.random.default_rng(2).standard_normal(24 * 40) * 0.004
    foreseen = np.roll(np.repeat(np.sign(returns.reshape(-1, 12).sum(axis=1)), 12), -1)
    foreseen[::24] = 0.0
    knows = inf.random_entry(market_of(returns), foreseen, draws=19, **TERMS)
    assert knows.p == pytest.approx(1 / 20)
    assert knows.value > knows.random.max()
    luck = inf.random_entry(NOISE, OWN, draws=19, **TERMS)
    assert 0.05 < luck.p <= 1.0
    assert luck.value == run.measures["sharpe"]
    again = inf.random_entry(NOISE, OWN, draws=19, **TERMS)
    assert np.array_equal(again.random, luck.random)
    less = inf.random_entry(NOISE, OWN, draws=9, measure="max_drawdown", **TERMS)
    assert less.p == (1 + np.count_nonzero(less.random <= less.value)) / 10  # less of it is better


def test_targets_of_a_run_are_those_it_was_given(run: Any) -> None:
    found = inf.targets_of(run, NOISE)[:, 0]
    assert np.array_equal(np.sign(found[:-1]), np.sign(OWN[:-1]))
    assert np.abs(found[:-1]) == pytest.approx(np.abs(OWN[:-1]), abs=0.05)
    with pytest.raises(BadInput, match="another market"):
        inf.targets_of(run, market_of(np.zeros(50)))


def test_what_cannot_be_compared_says_why() -> None:
    for call, said in (
        (lambda: inf.random_entry(NOISE, OWN[:-1], **TERMS), "targets: give a finite number"),
        (lambda: inf.random_entry(NOISE, OWN, measure="sharp", **TERMS), "did you mean sharpe"),
        (lambda: inf.random_entry(NOISE, OWN, measure="turnover", **TERMS), "neither better nor worse"),
    ):
        with pytest.raises(BadInput, match=said):
            call()
    assert math.isnan(inf.random_entry(NOISE, 0.0 * OWN, draws=3, **TERMS).p)


def test_nothing_of_it_is_a_trial(tmp_path: Any) -> None:
    noted = NOISE.registered(str(tmp_path))
    inf.sensitivity(noted, exposure=OWN, **TERMS)
    inf.random_entry(noted, OWN, draws=2, **TERMS)
    assert list(tmp_path.iterdir()) == []


# --- intervals of a run ----------------------------------------------------------------------------------------------


def test_values_of_intervals_are_the_measures_of_the_run(run: Any) -> None:
    found = inf.intervals(run, draws=60)
    assert tuple(found) == NAMES
    by_path = {"max_drawdown", "max_drawdown_days", "time_under_water", "calmar"}
    for name, one in found.items():
        if name not in by_path:
            assert one.value == pytest.approx(run.measures[name], rel=1e-9, abs=1e-12, nan_ok=True), name
        if not math.isnan(one.low):
            assert one.low <= one.high
    assert found["max_drawdown"].value <= run.measures["max_drawdown"] + 1e-12
    assert found["sharpe"].low < run.measures["sharpe"] < found["sharpe"].high
    assert found["fees"].low < run.measures["fees"] < found["fees"].high


def test_all_intervals_are_of_the_same_draws(run: Any) -> None:
    rows = inf.daily_rows(run)
    one = inf.intervals(rows, draws=50, block=3)
    assert inf.intervals(rows, draws=50, block=3) == one
    alone = inf.bootstrap_interval(rows.returns, lambda x: float(sharpe(x, 365.0)), draws=50, block=3)
    assert (alone.low, alone.high) == pytest.approx((one["sharpe"].low, one["sharpe"].high))


def test_a_run_that_did_nothing_has_no_ratio() -> None:
    idle = simulate(NOISE, exposure=0.0, **TERMS)
    found = inf.intervals(idle, draws=20)
    assert math.isnan(found["sharpe"].value)
    assert math.isnan(found["sharpe"].low)
    assert found["total_return"] == inf.Interval("total_return", 0.0, 0.0, 0.0, 0.95, 20, 1, 0.0)
    told = inf.verdict(idle)
    assert told["psr"].outcome == "unknown"


def test_trades_and_days_of_a_run(run: Any) -> None:
    r, worst = inf.daily_returns_of(run)
    assert np.prod(1.0 + r) - 1.0 == pytest.approx(run.measures["total_return"])
    assert np.all(worst <= r + 1e-12)
    trades = inf.trade_returns(run)
    assert len(trades) == run.measures["trades"]
    assert np.mean(trades > 0.0) == run.measures["win_rate"]


# --- the verdict -----------------------------------------------------------------------------------------------------


def test_a_verdict_passes_fails_and_says_what_it_does_not_know(run: Any) -> None:
    bare = inf.verdict(run)
    assert bare["ruin"].outcome == "pass"
    assert {"dsr", "backtest length", "pbo", "spa", "random entry", "fees x2"} <= set(bare.unknown)
    table = np.random.default_rng(3).standard_normal((300, 8)) * 0.01
    full = inf.verdict(
        run,
        inf.trials_of(table),
        interval=inf.intervals(run, draws=50)["sharpe"],
        overfitting=inf.pbo(table, 6),
        superior=inf.superior(table, draws=50),
        reruns=inf.sensitivity(NOISE, exposure=OWN, **TERMS),
        random=inf.random_entry(NOISE, OWN, draws=9, **TERMS),
    )
    assert full.unknown == ()
    assert {"psr", "dsr", "spa", "random entry"} <= set(full.failed)  # it is noise, and costs
    assert len(full.rows()) == len(full.lines) == len(full.passed) + len(full.failed)
    assert full["dsr"].value <= full["psr"].value
    assert str(full).splitlines()[0].startswith("+ ruin: 0 (<= 0); the account was not lost")
    lenient = inf.verdict(run, bars={"probability": 0.001})
    assert lenient["psr"].outcome == ("pass" if lenient["psr"].value >= 0.001 else "fail")


def test_a_good_run_passes() -> None:
    rng = np.random.default_rng(4)
    good = market_of(rng.standard_normal(24 * 200) * 0.002 + 0.0004)
    run = simulate(good, exposure=1.0, **TERMS, account=Account(leverage=2))
    told = inf.verdict(run, inf.Trials(20, 0.001))
    assert {"ruin", "psr", "track record", "dsr", "backtest length"} <= set(told.passed)
    assert told.convention == "2012"
    assert inf.verdict(run, convention="2025")["psr"].outcome == "pass"


def test_every_public_name_is_there() -> None:
    for name in inference.__all__:
        assert getattr(inference, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'sharp'"):
        inference.sharp  # noqa: B018
