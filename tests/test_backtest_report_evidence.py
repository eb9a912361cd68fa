"""What is gathered before a page is made: against the functions that it calls, and kept and read again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reported
import research_markets as rm

from backtest import Account, Costs, simulate
from backtest.inference import intervals, random_entry, sensitivity, targets_of, verdict
from backtest.report.evidence import KEPT, LEVERAGES, SIZES, Evidence, gather
from backtest.result import Result
from backtest.trials import Count
from data.errors import NotThisFormat
from data.market import Market

TERMS: dict[str, Any] = {**rm.TERMS, "account": Account(equity=5000.0)}
DRAWS = 20


@pytest.fixture(scope="module")
def market() -> Market:
    return rm.market(days=60)


@pytest.fixture(scope="module")
def result(market: Market) -> Result:
    return simulate(market, rm.Follow(), **TERMS)


@pytest.fixture(scope="module")
def found(market: Market, result: Result) -> Evidence:
    return gather(result, market, rm.Follow(), draws=DRAWS, seed=7, **TERMS)


def test_intervals_are_those_of_the_bootstrap(found: Evidence, result: Result) -> None:
    assert dict(found.intervals) == pytest.approx(intervals(result, seed=7), nan_ok=True)
    assert found.seed == 7
    assert found.of == result.fingerprint_id


def test_reruns_are_those_of_sensitivity(found: Evidence, market: Market, result: Result) -> None:
    expected = sensitivity(market, rm.Follow(), **TERMS)
    assert [one.name for one in found.reruns] == [one.name for one in expected]
    for one, other in zip(found.reruns, expected, strict=True):
        assert dict(one.measures) == pytest.approx(dict(other.measures), nan_ok=True)
    first = found.reruns[0].measures
    assert {name: first[name] for name in KEPT} == {name: result.measures[name] for name in KEPT}


def test_sizes_are_runs_of_larger_accounts(found: Evidence, market: Market) -> None:
    assert [one.name for one in found.sizes] == [f"equity x{size:g}" for size in SIZES]
    for one, size in zip(found.sizes, SIZES, strict=True):
        larger = simulate(market, rm.Follow(), **{**TERMS, "account": replace(TERMS["account"], equity=5000.0 * size)})
        assert one.measures["total_return"] == larger.measures["total_return"]


def test_random_entries_are_those_of_the_function(found: Evidence, market: Market, result: Result) -> None:
    expected = random_entry(market, targets_of(result, market), draws=DRAWS, seed=7, **TERMS)
    assert found.random is not None
    assert found.random.p == expected.p
    np.testing.assert_array_equal(found.random.random, expected.random)


def test_the_verdict_is_that_of_the_function(found: Evidence, result: Result) -> None:
    expected = verdict(result, interval=found.intervals["sharpe"], reruns=found.reruns, random=found.random)
    assert found.verdict is not None
    for line, other in zip(found.verdict.rows(), expected.rows(), strict=True):
        assert line == pytest.approx(other, nan_ok=True)


def test_nothing_leaks_and_that_was_looked_at(found: Evidence) -> None:
    assert found.leaks == ()
    assert [one.leverage for one in found.ruin] == list(LEVERAGES)


def test_without_a_market_only_the_days_speak(result: Result) -> None:
    bare = gather(result)
    assert (bare.reruns, bare.sizes, bare.random, bare.leaks, bare.trials) == ((), (), None, None, None)
    assert bare.intervals
    assert bare.verdict is not None
    assert {"pbo", "spa", "dsr", "random entry", "one bar later"} <= set(bare.verdict.unknown)


def test_a_run_that_traded_nothing_is_asked_little(market: Market) -> None:
    idle = simulate(market, exposure=0.0, **TERMS)
    found = gather(idle, market, exposure=0.0, draws=DRAWS, **TERMS)
    assert (found.random, found.ruin) == (None, ())
    assert len(found.reruns) == 5
    assert found.verdict is not None
    assert "psr" in found.verdict.unknown


def test_exposures_of_ones_own_are_run_again_too() -> None:
    one = reported.market(bars=1000)
    mine = reported.targets(one)
    result = simulate(one, exposure=mine, venue="binance", costs=Costs.fixed(2.0))
    found = gather(result, one, exposure=mine, venue="binance", costs=Costs.fixed(2.0), draws=DRAWS)
    assert found.reruns[0].measures["total_return"] == result.measures["total_return"]
    assert found.reruns[1].measures["total_return"] < result.measures["total_return"]
    assert found.leaks is None


# ---- kept and read again -------------------------------------------------------------------------------


def test_what_is_kept_is_read_again(found: Evidence, tmp_path: Path) -> None:
    count = Count(12, 7.5, 0.3, math.nan, 0.1, since=5, left_out=3)
    full = replace(found, trials=count, leaks=(("z", 17),))
    full.save(tmp_path)
    again = Evidence.load(tmp_path)
    assert again is not None
    assert json.dumps(again.as_plain(), sort_keys=True) == json.dumps(full.as_plain(), sort_keys=True)
    assert again.trials is not None
    assert math.isnan(again.trials.variance)
    assert replace(again.trials, variance=0.0) == replace(count, variance=0.0)
    assert again.leaks == (("z", 17),)
    assert again.verdict is not None
    for line, other in zip(again.verdict.rows(), (found.verdict or again.verdict).rows(), strict=True):
        assert line == pytest.approx(other, nan_ok=True)
    assert any(math.isnan(line.value) for line in again.verdict.lines)
    assert [p.name for p in tmp_path.iterdir()] == ["evidence.json"]


def test_infinite_numbers_survive(found: Evidence, tmp_path: Path) -> None:
    first = replace(found.reruns[0], measures={**dict(found.reruns[0].measures), "sharpe": math.inf})
    replace(found, reruns=(first,)).save(tmp_path)
    again = Evidence.load(tmp_path)
    assert again is not None
    assert again.reruns[0].measures["sharpe"] == math.inf


def test_nothing_kept_is_nothing_found(tmp_path: Path) -> None:
    assert Evidence.load(tmp_path) is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 99}', '{"format": 1, "verdict": null}'])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "evidence.json").write_text(text)
    with pytest.raises(NotThisFormat, match="remove it, and it is made again"):
        Evidence.load(tmp_path)
