"""The simulated market's coins, calendar and parts. Crowds are small and spans short: kernels are tested elsewhere."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from backtest.crowd import truth
from backtest.crowd.kernel import layout as at
from backtest.crowd.machine import History, Machine
from backtest.crowd.market import COINS, MOST_DAYS, WARM_DAYS, Simulated
from backtest.crowd.parts import COLUMNS, Kept
from backtest.crowd.world import Coin, World
from data.clock import DAY, MINUTE, moment, naive
from data.errors import BadInput

SMALL = Simulated(days=6, symbols=2, accounts=3_000)
A_DAY = 1440


@pytest.fixture(scope="module")
def whole() -> History:
    return next(SMALL.run(1).parts(6))


def same(a: History, b: History) -> bool:
    """Bit for bit."""
    return all(
        np.array_equal(getattr(a, f.name), getattr(b, f.name), equal_nan=True) for f in dataclasses.fields(History)
    )


def joined(parts: list[History]) -> History:
    first = parts[0]
    arrays = {
        f.name: np.concatenate([getattr(p, f.name) for p in parts])
        for f in dataclasses.fields(History)
        if isinstance(getattr(first, f.name), np.ndarray)
    }
    return dataclasses.replace(first, **arrays)


# ---- coins -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(COINS)))
def test_a_coin_is_the_usual_one_in_another_size(number: int) -> None:
    """Depth, money and volume were set together, so they change together."""
    coin, usual = SMALL.world(number).coin, Coin()
    for name in ("money", "volume"):
        share = getattr(coin, name) / coin.depth
        assert share == pytest.approx(getattr(usual, name) / usual.depth, rel=0.2)
    assert coin.symbol == COINS[number].symbol == Simulated(symbols=6).names[number]


@pytest.mark.parametrize("number", range(len(COINS)))
def test_all_else_of_a_world_is_as_it_was_set(number: int) -> None:
    world, usual = SMALL.world(number), World()
    for name in ("market", "book", "policy", "step_minutes", "ticks"):
        assert getattr(world, name) == getattr(usual, name)
    assert world.crowd == dataclasses.replace(usual.crowd, accounts=3_000)
    assert world.own == dataclasses.replace(usual.own, volatility=COINS[number].volatility)
    assert world.venue.name == "sim"


def test_coins_differ() -> None:
    for name in ("base", "price", "size", "volatility"):
        assert len({getattr(c, name) for c in COINS}) == len(COINS), name


def test_a_coin_does_not_depend_on_how_many_are_asked_for(whole: History) -> None:
    assert same(next(dataclasses.replace(SMALL, symbols=6).run(1).parts(6)), whole)


def test_another_seed_is_another_history_and_the_same_one_the_same(whole: History) -> None:
    assert same(next(SMALL.run(1).parts(6)), whole)
    assert not same(next(dataclasses.replace(SMALL, seed=8).run(1).parts(6)), whole)


def test_coins_rise_and_fall_together(whole: History) -> None:
    first = next(SMALL.run(0).parts(6))
    moves = [np.diff(np.log(h.bars[::60, at.T_CLOSE])) for h in (first, whole)]
    assert np.corrcoef(moves)[0, 1] > 0.4


# ---- dates -----------------------------------------------------------------------------------------


def test_brackets_are_tightened_and_eased_again() -> None:
    market = Simulated(days=100)
    usual, tight, again = (table for _, table in market.tiers(0))
    assert [day for day, _ in market.tiers(0)] == [0, 40, 75]
    assert usual == again
    assert usual == World().venue.tiers
    for before, after in zip(usual[:-1], tight[:-1], strict=True):
        assert after.cap < before.cap
        assert after.mmr > before.mmr
        assert after.max_leverage < before.max_leverage
    small = market.tiers(5)[0][1]
    assert [t.mmr for t in small] == [t.mmr for t in usual]
    assert small[0].cap < usual[0].cap / 10


def test_funding_goes_from_eight_hours_to_four_and_back() -> None:
    market = Simulated(days=100, symbols=4)
    assert market.funding(0) == ((0, 8.0),)
    assert market.funding(1) == ((0, 8.0), (30, 4.0), (70, 8.0))
    assert market.funding(3) == ((0, 4.0),)


@pytest.mark.parametrize("days", range(1, 12))
def test_in_a_short_span_every_date_lies_within_it(days: int) -> None:
    market = Simulated(days=days, symbols=6)
    for number in range(6):
        for dated in (market.tiers(number), market.funding(number)):
            when = [day for day, _ in dated]
            assert when[0] == 0
            assert all(0 < day < days for day in when[1:])
            assert when == sorted(set(when))
        market.world(number)


def test_dates_of_a_world_count_from_its_first_step() -> None:
    market = Simulated(days=100, start=moment("2023-01-10"))  # four days after the Friday
    world = market.world(1)
    assert [since for since, _ in world.tier_changes] == [44.0, 79.0]
    assert world.funding_hours == ((0.0, 8.0), (34.0, 4.0), (74.0, 8.0))


@pytest.mark.parametrize("day", range(6, 13))
def test_the_calendar_is_true_whatever_the_first_day(day: int) -> None:
    """Step 0 of the machine's seasons is a Friday midnight."""
    market = dataclasses.replace(SMALL, start=moment(f"2023-01-{day:02}"))
    assert market.when(market.first_step) == market.start
    friday = naive(market.when(0))
    assert friday.strftime("%A %H:%M") == "Friday 00:00"
    assert 0 <= market.start - market.when(0) < 7 * DAY
    assert market.end - market.start == 6 * DAY


def test_a_start_in_the_week_is_the_same_market_from_there_on() -> None:
    later = dataclasses.replace(SMALL, days=2, start=SMALL.start + 2 * DAY, symbols=1)
    run = later.run(0)
    assert run.lead.first == 2 * A_DAY - 60
    history = next(run.parts(2))
    assert history.first == later.first_step == 2 * A_DAY
    from_friday = Machine(later.world(0), [7, 1], common=[7, 0]).run(days=4)
    assert np.array_equal(history.bars, from_friday.bars[2 * A_DAY :], equal_nan=True)


# ---- parts -----------------------------------------------------------------------------------------


def test_a_run_is_what_the_machine_gives(whole: History) -> None:
    assert same(Machine(SMALL.world(1), [7, 2], common=[7, 0]).run(days=6), whole)


@pytest.mark.parametrize("days", [1, 2, 4])
def test_where_it_is_cut_makes_no_difference(whole: History, days: int) -> None:
    assert same(joined(list(SMALL.run(1).parts(days))), whole)


def test_the_lead_ends_where_the_history_begins(whole: History) -> None:
    lead = SMALL.run(1).lead
    assert lead.first + len(lead) == whole.first == 0
    assert lead.bars[-1, at.T_CLOSE] == whole.bars[0, at.T_OPEN]
    assert lead.settled.tolist() == [0]  # midnight is a settlement
    assert WARM_DAYS * A_DAY > len(lead) == 60


@pytest.mark.parametrize("days", [1, 2, 6])
def test_the_truth_of_parts_is_that_of_the_whole(whole: History, days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in (("BEGINS", 0.0004), ("LEAST", 0.001), ("CROWDED", 1.02)):  # so that there is much to see
        monkeypatch.setattr(truth, name, small)
    kept = Kept(6 * A_DAY)
    for part in SMALL.run(1).parts(days):
        kept.add(part)
    history = kept.history()
    assert len(history) == len(whole) == 6 * A_DAY
    expected, found = truth.cascades(whole), truth.cascades(history)
    assert len(found.start) > 3
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert np.array_equal(truth.fragility(history), truth.fragility(whole))
    phases = truth.phases(history, found)
    assert np.array_equal(phases, truth.phases(whole, expected))
    assert len(set(phases)) >= 3


def test_kept_is_a_small_part_and_refuses_a_hole(whole: History) -> None:
    assert len(COLUMNS) < at.COLUMNS / 2
    first, second, third = itertools.islice(SMALL.run(1).parts(1), 3)
    kept = Kept(6 * A_DAY)
    kept.add(first)
    with pytest.raises(BadInput, match=f"begins at step {2 * A_DAY}, not at {A_DAY}"):
        kept.add(third)
    kept.add(second)
    assert len(kept.history()) == 2 * A_DAY


# ---- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"symbols": 0}, "1 to 6 symbols"),
        ({"symbols": 7}, "1 to 6 symbols"),
        ({"days": 0}, "1 day to 10 years"),
        ({"days": MOST_DAYS + 1}, "1 day to 10 years"),
        ({"seed": -1}, "at least 0"),
        ({"accounts": 99}, "at least 100"),
        ({"start": moment("2023-01-06") + MINUTE}, "write a day"),
        ({"start": moment("2009-01-06")}, "from 2010-01-01"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, int], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Simulated(**arguments)
