"""The register of trials: what is noted, what counts, and how many independent ones they are worth."""

from __future__ import annotations

import json
import math
import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import research_markets as rm

from backtest import trials
from backtest.engine import measure, simulate
from backtest.sweep import sweep
from backtest.trials import Register
from data.errors import BadInput, NotThisFormat
from data.market import Market

Follow, TERMS = rm.Follow, rm.TERMS
BANDS = [0.0, 0.01, 0.02, 0.04]


@pytest.fixture
def market(tmp_path: Path) -> Market:
    return rm.market().registered(str(tmp_path / "my.trials"))


def test_whatever_runs_a_set_notes_it_once(market: Market) -> None:
    simulate(market, Follow(band=0.01), **TERMS)
    simulate(market, Follow(band=0.01), **TERMS)
    measure(market, [Follow(band=b) for b in BANDS], **TERMS)
    sweep(Follow, market, band=BANDS, **TERMS)
    found = Register(market.register).distinct()
    assert found.height == 4
    assert sorted(json.loads(p)["band"] for p in found["params"]) == BANDS
    assert set(found["strategy"]) == {"Follow"}


@pytest.mark.kernel
def test_what_is_noted_is_what_the_run_says(market: Market) -> None:
    results = [simulate(market, Follow(band=b), **TERMS) for b in BANDS]
    single = Register(market.register).table()
    for result, row in zip(results, single.iter_rows(named=True), strict=True):
        daily = result.equity.groupby(pd.Index(result.ts // 86_400_000_000_000)).last()
        returns = daily.pct_change().fillna(daily.iloc[0] / result.start_equity - 1.0)
        assert row["days"] == len(daily) == 200
        assert row["sharpe"] == pytest.approx(returns.mean() / returns.std(ddof=1))
        assert row["kurtosis"] == pytest.approx(result.measures["kurtosis"] + 3.0)
        assert (row["first"], row["last"], row["market"]) == (market.start, market.end, market.hash)
    batch_of = market.registered(market.register + "2")
    measure(batch_of, [Follow(band=b) for b in BANDS], **TERMS)
    batch = Register(batch_of.register).table()
    assert batch.drop("at").equals(single.drop("at"))


def test_a_market_without_a_register_notes_nothing(tmp_path: Path) -> None:
    simulate(rm.market(), Follow(), **TERMS)
    with pytest.raises(BadInput, match="keeps no register"):
        trials.register_of(rm.market())


def test_parts_of_a_market_keep_its_register(market: Market) -> None:
    for part in (market[10:500], market.resample("8h"), market.features_view(), market.select(market.symbols)):
        assert part.register == market.register


def test_overlapping_trials_count_whatever_the_strategy(market: Market) -> None:
    early, late = market[:600], market[600:]
    simulate(early, Follow(band=0.01), **TERMS)
    simulate(early, exposure=1.0, **TERMS)
    simulate(late, Follow(band=0.02), **TERMS)
    register = Register(market.register)
    assert register.count(market).number == 3
    assert register.count(early).number == 2
    assert register.count(late).number == 1
    other = rm.market(start="2030-01-01").registered(market.register)
    assert register.count(other).number == 0


def test_the_same_set_on_two_parts_is_one_trial_with_the_longer_record(market: Market) -> None:
    simulate(market[:300], Follow(), **TERMS)
    simulate(market, Follow(), **TERMS)
    found = Register(market.register).distinct(market)
    assert found.height == 1
    assert found["days"][0] == 200


def test_an_edited_strategy_is_another_trial(market: Market) -> None:
    simulate(market, Follow(), **TERMS)

    class Edited(Follow):
        def features(self, market: Market) -> dict[str, object]:
            return {"away": -np.asarray(super().features(market)["away"])}

    Edited.__name__ = "Follow"
    simulate(market, Edited(), **TERMS)
    found = Register(market.register).distinct()
    assert found.height == 2
    assert set(found["strategy"]) == {"Follow"}


def test_it_can_be_started_afresh_and_says_so(market: Market) -> None:
    sweep(Follow, market, band=BANDS, **TERMS)
    register = Register(market.register)
    assert register.start_afresh() == 4
    assert register.count(market).number == 0
    simulate(market, Follow(band=0.03), **TERMS)
    count = register.count(market)
    assert (count.number, count.left_out) == (1, 4)
    assert "counted afresh since" in count.words()
    assert "4 earlier ones left out" in count.words()


def test_a_torn_line_and_a_file_half_written_are_left_out(market: Market) -> None:
    simulate(market, Follow(), **TERMS)
    folder = Path(market.register)
    with (folder / trials.RUNS).open("ab") as file:
        file.write(b'{"strategy":"Follow","sou')
    (folder / ".batch-1-abc").write_bytes(b"PAR1 half")
    assert Register(folder).distinct().height == 1
    simulate(market, Follow(band=0.02), **TERMS)
    assert Register(folder).distinct().height == 2  # the torn line took none with it
    with (folder / trials.RUNS).open("ab") as file:
        file.write(b'{"strategy":"Follow"}\n')
    assert Register(folder).distinct().height == 2


def test_a_batch_that_cannot_be_read_is_named(market: Market) -> None:
    sweep(Follow, market, band=BANDS, **TERMS)
    (path,) = Path(market.register).glob("batch-*.parquet")
    path.write_bytes(b"PAR1 not at all PAR1")
    with pytest.raises(NotThisFormat, match=f"{path.name} cannot be read: remove it"):
        Register(market.register).count(market)


def test_a_set_that_is_run_again_after_a_fresh_start_counts_though_its_earlier_run_was_longer(market: Market) -> None:
    sweep(Follow, market, band=BANDS, **TERMS)
    register = Register(market.register)
    register.start_afresh()
    simulate(market[: len(market) // 2], Follow(band=BANDS[0]), **TERMS)
    count = register.count(market)
    assert (count.number, count.left_out) == (1, len(BANDS) - 1)


def _append(folder: str, number: int) -> None:
    for k in range(200):
        Register(folder).append({"strategy": "x" * 300, "source": str(number), "params": str(k), "at": k, "sketch": ""})


def test_lines_of_several_processes_never_mix(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_append, args=(str(tmp_path), n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lines = (tmp_path / trials.RUNS).read_text().splitlines()
    assert len(lines) == 600
    assert {(json.loads(line)["source"], json.loads(line)["params"]) for line in lines} == {
        (str(n), str(k)) for n in range(3) for k in range(200)
    }


# --- how many they are worth ------------------------------------------------------------------------------------------


def sketched(returns: np.ndarray[tuple[int, int], np.dtype[np.float64]], first_day: int = 20_000) -> trials.Sketches:
    equity = np.cumprod(1.0 + returns, axis=1)
    return trials.sketches(np.arange(first_day, first_day + returns.shape[1]), equity, 1.0)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.7, 0.95])
def test_sketches_estimate_the_mean_correlation(rho: float) -> None:
    rng = np.random.default_rng(3)
    common, own = rng.standard_normal((1, 500)), rng.standard_normal((300, 500))
    returns = 0.01 * (math.sqrt(rho) * common + math.sqrt(1.0 - rho) * own)
    real = (np.corrcoef(returns).sum() - 300) / (300 * 299)
    assert trials.mean_correlation(sketched(returns)) == pytest.approx(real, abs=0.12)


def test_trials_of_the_same_returns_are_worth_one_and_of_other_days_their_number() -> None:
    rng = np.random.default_rng(4)
    returns = 0.01 * rng.standard_normal((1, 400))
    same = np.repeat(sketched(returns), 50, axis=0)
    assert trials.counted(np.full(50, 0.1), same).effective == pytest.approx(1.0, abs=1e-3)
    apart = np.concatenate([sketched(returns, first_day=20_000 + 400 * k) for k in range(50)])
    assert trials.counted(np.full(50, 0.1), apart).effective == pytest.approx(50.0, rel=0.1)


def test_the_date_and_not_the_place_decides_the_signs() -> None:
    days = np.arange(19_000, 19_400)
    assert np.array_equal(trials.signs(days)[100:200], trials.signs(days[100:200]))
    flips = trials.signs(np.arange(100_000))
    assert abs(flips.mean()) < 0.002
    assert np.abs(np.corrcoef(flips.T) - np.eye(trials.WIDTH)).max() < 0.02


def test_a_set_that_never_traded_is_a_trial_of_no_ratio() -> None:
    count = trials.counted(np.array([0.1, np.nan, -0.1]), np.zeros((3, trials.WIDTH), dtype=np.float16))
    assert count.number == 3
    assert count.variance == pytest.approx(0.01)
    assert trials.counted(np.array([]), np.zeros((0, trials.WIDTH), dtype=np.float16)).number == 0


def test_parameters_of_many_are_written_as_those_of_one() -> None:
    class Odd(rm.Follow):
        größe: float = 1.0
        name: str = 'a "quoted" ü'
        on: bool = True

    values = (0.0, -0.0, 1e-300, 0.1 + 0.2, math.inf, 1e22, 7.0)
    sets = [Odd(größe=x, band=-x if math.isfinite(x) else 0.0, length=n, on=n > 1) for n in (1, 2) for x in values]
    assert trials.params_of_all(sets) == [trials.params_of(one) for one in sets]
    assert json.loads(trials.params_of_all(sets)[0]) == sets[0].parameters
