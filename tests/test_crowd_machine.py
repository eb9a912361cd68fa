"""The simulated venue as an account keeper: what it forces and whom, what it owes and pays, and that it is always the
same. The plain twin of `tests/support/plain_crowd.py` looks at every account in every wave.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from crowd_worlds import VENUES, linear, noise, quick_world, shocks
from plain_crowd import PlainCrowd, Totals

from backtest import rules
from backtest.crowd.kernel import book, census, liquidator, steps
from backtest.crowd.kernel import layout as at
from backtest.crowd.machine import History, Machine
from backtest.crowd.world import Book, Coin, Crowd, Policy, World, tiers_of
from backtest.venue import brackets, venue
from data.errors import BadInput

CLOSE = 1e-9
DEALERS = (at.MAKER, at.ARBITRAGE)


def gathered(world: World | None = None, seed: int = 1, count: int = 120, **settings: Any) -> Machine:
    """A machine in whose quick crowd positions are open."""
    machine = Machine(world or quick_world(), seed=seed, warm_days=0, **settings)
    machine.run(count=count, path=noise(count, seed))
    return machine


def frozen(machine: Machine) -> Machine:
    """Nobody decides anything any more."""
    machine.rules = machine.rules._replace(trades=0)
    return machine


def at_rest(machine: Machine) -> Machine:
    """Frozen, and the price stays where forced flow has left it."""
    frozen(machine)
    machine.rules = machine.rules._replace(pressure_decay=1.0, premium_decay=1.0, hand_on=0.0)
    return machine


def same_bits(one: Machine, other: Machine) -> bool:
    names = ("accounts", "state", "bounds", "rounds", "recent", "factors", "tides")
    arrays = all(np.array_equal(getattr(one, n), getattr(other, n), equal_nan=True) for n in names)
    return arrays and one.samples == other.samples


def events_of(history: History, kind: int) -> np.ndarray:
    return history.events[history.events[:, at.E_KIND] == kind]


def one_return(size: float) -> np.ndarray:
    return np.array([[size, 0.0, 0.0, 0.0, 0.0]])


# --- the twin --------------------------------------------------------------------------------------------------------


def differences(machine: Machine, plain: PlainCrowd, row: np.ndarray, found: Totals) -> list[str]:
    a, s, money = machine.accounts, machine.state, machine.world.coin.money
    crowd = a[at.KIND] != at.ENGINE
    pairs = {
        "coins": (a[at.Q], [one.coins for one in plain.accounts], max(float(s[at.LONG]), 1.0)),
        "cost": (a[at.Q] * a[at.ENTRY], [one.cost for one in plain.accounts], money),
        "margin and free money": (
            (a[at.MARGIN] + a[at.FREE])[crowd],
            [one.margin + one.free for one in plain.accounts if one is not plain.engine],
            money,
        ),
        "free money": (
            a[at.FREE][: plain.maker.number],
            [one.free for one in plain.accounts[: plain.maker.number]],
            money,
        ),
        "fund, fees, bad debt": (
            [s[at.INSURANCE] + a[at.MARGIN, machine.places.engine], s[at.FEES], s[at.BAD_DEBT]],
            [plain.fund + plain.engine.margin, plain.fees, plain.bad_debt],
            money,
        ),
        "prices": ([s[at.LAST], s[at.MARK], row[at.I_CLOSE]], [plain.last, plain.mark, plain.index], plain.last),
        "rate": (s[at.RATE], plain.rate, 1e-4),
        "thinning": ([s[at.THIN], s[at.EATEN] / money], [plain.thin, plain.eaten / money], 1.0),
        "forced": (
            row[[at.LIQ_LONG, at.LIQ_SHORT, at.STOPPED, at.ADL]],
            [found.longs, found.shorts, found.stopped, found.adl],
            money,
        ),
        "waves": (row[at.N_WAVES], found.waves, 1.0),
    }  # fmt: skip
    off = {name: float(np.max(np.abs(np.subtract(x, y)) / scale)) for name, (x, y, scale) in pairs.items()}
    return [f"{name} by {size:.3g}" for name, size in off.items() if not size <= CLOSE]


def against_the_twin(world: World, seed: int, count: int, largest: float = 0.2) -> tuple[int, int]:
    """Accounts liquidated and deleveraged, after every step has been compared."""
    machine = frozen(gathered(world, seed))
    plain = PlainCrowd(machine)
    path = shocks(count, seed, largest=largest)
    liquidated = deleveraged = 0
    for k in range(count):
        history = machine.step(path=path[k : k + 1])
        found = plain.step(float(path[k, 0]))
        off = differences(machine, plain, history.bars[0], found)
        assert not off, f"step {k}: {', '.join(off)}"
        assert np.allclose(history.rate, plain.rates_paid, rtol=0.0, atol=1e-12)
        plain.rates_paid.clear()
        liquidated += len(found.taken) + len(found.sent)
        deleveraged += len(found.deleveraged)
    return liquidated, deleveraged


@pytest.mark.parametrize("name", VENUES)
def test_the_plain_twin_agrees(name: str) -> None:
    """Deep pockets, then empty ones in a thin book: there the winners pay."""
    hours = ((0.0, venue(name).funding.interval_hours),)
    rich = replace(quick_world(linear(name)), funding_hours=hours)
    poor = quick_world(linear(name), Policy(fund=0.0), depth=3e5, ticks=2)
    liquidated, _ = against_the_twin(rich, 11, 75, largest=0.4)
    assert liquidated > 0
    some, deleveraged = against_the_twin(replace(poor, funding_hours=((0.0, 1.0),)), 12, 45, largest=0.4)
    assert some > 0
    assert deleveraged > 0 or name in ("dydx", "deribit", "hyperliquid")  # orders to the book: nothing is taken over


@pytest.mark.parametrize("adl", ["pro_rata", "capped", "capped_then_size", "min_max"])
@pytest.mark.parametrize("name", ["okx", "sim"])
def test_the_plain_twin_agrees_on_who_pays(name: str, adl: Any) -> None:
    policy = Policy(adl=adl, adl_cap=0.3, adl_fall=0.5, fund=2e-4)
    _, deleveraged = against_the_twin(quick_world(linear(name), policy, depth=6e5, ticks=2, accounts=100), 5, 30)
    assert deleveraged > 0


def test_the_plain_twin_agrees_on_steps_of_five_minutes_and_new_tables() -> None:
    strict = brackets((5e4, 0.02, 20), (math.inf, 0.3, 2))
    world = replace(quick_world(linear("bybit")), tier_changes=((0.5, strict),), step_minutes=5.0, ticks=6)
    liquidated, _ = against_the_twin(world, 3, 40)
    assert liquidated > 20


# --- what may be forced ----------------------------------------------------------------------------------------------


def in_breach(machine: Machine) -> np.ndarray:
    a, mark = machine.accounts, float(machine.state[at.MARK])
    plain = PlainCrowd(machine)
    due = np.array([plain.maintenance(abs(q) * mark) for q in a[at.Q]])
    balance = a[at.MARGIN] + a[at.Q] * (mark - a[at.ENTRY])
    mine = np.isin(a[at.KIND], (*DEALERS, at.ENGINE), invert=True)
    return np.flatnonzero(mine & (a[at.Q] != 0.0) & (balance <= due * (1.0 - CLOSE)))


@pytest.mark.parametrize("name", VENUES)
def test_nobody_in_breach_is_left_alone(name: str) -> None:
    machine = at_rest(gathered(quick_world(linear(name), depth=2e6), seed=4))
    forced = 0
    for size in (0.03, -0.02, -0.05, 0.09, -0.2, 0.3, -0.01):
        history = machine.step(path=one_return(size))
        forced += len(events_of(history, at.LIQUIDATION_EVENT))
        assert len(in_breach(machine)) == 0, (name, size)
    assert forced > 0


def test_a_long_that_outgrows_its_bracket_is_in_breach_on_the_way_up() -> None:
    """Where one rate holds for the whole position: 2 % of 99,000 is there, 5 % of 101,000 is not."""
    whole = brackets((1e5, 0.01, 50), (math.inf, 0.05, 10), rule="whole")
    okx = replace(venue("okx"), tables=(), tiers=whole)
    machine = at_rest(Machine(quick_world(okx), seed=1, guests=[2_500.0], warm_days=0))
    assert machine.step([99_000.0 / 40_000.0], path=one_return(0.0)).bars[0, at.LIQ_LONG] == 0.0
    history = machine.step(path=one_return(0.02))
    assert list(events_of(history, at.LIQUIDATION_EVENT)[:, at.E_ACCOUNT]) == [machine.places.guests]


def test_what_the_wave_limit_leaves_the_next_step_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    world = quick_world(linear("dydx"), depth=2e6, book=Book(wave_cap=1e-7))
    machine = at_rest(gathered(world, seed=2))
    history = machine.step(path=one_return(-0.3))
    assert history.bars[0, at.N_WAVES] >= liquidator.MOST_WAVES or len(in_breach(machine)) == 0
    while len(in_breach(machine)):
        assert machine.step(path=one_return(0.0)).bars[0, at.N_WAVES] > 0.0


def test_orders_of_an_account_that_is_deleveraged_meanwhile_shrink() -> None:
    """The mark (dYdX: the index) falls below a long that an empty fund cannot carry, while the trade price stays above
    the stop of the only short. Deleveraged and stopped out in one wave, the short must not end up long."""
    world = quick_world(linear("dydx"), Policy(fund=0.0), ticks=1)
    machine = at_rest(Machine(world, seed=1, guests=[1_000.0, 1e5], warm_days=0))
    long, short = machine.places.guests, machine.places.guests + 1
    machine.accounts[at.STOP_DISTANCE, short] = 0.001
    machine.step([0.4, -0.4], path=one_return(0.0))
    machine.state[at.PREMIUM] = 0.1
    history = machine.step(path=one_return(-0.09))
    assert list(events_of(history, at.LIQUIDATION_EVENT)[:, at.E_ACCOUNT]) == [long]
    assert list(events_of(history, at.ADL_EVENT)[:, at.E_ACCOUNT]) == [short]
    assert list(machine.accounts[at.Q, long:]) == [0.0, 0.0]
    assert history.bars[0, at.BOUGHT] == history.bars[0, at.SOLD] == 0.0


def test_deleveraged_dealers_keep_their_losses() -> None:
    """What they have lost so far lies in the margin, against free money without end: none of the fund's business."""
    machine = gathered()
    a, s, maker = machine.accounts, machine.state, machine.places.maker
    a[at.Q, maker], a[at.MARGIN, maker], fund = 0.0, -5_000.0, float(s[at.INSURANCE])
    before = float(a[at.FREE, maker])
    book.release(a, s, maker)
    assert s[at.INSURANCE] == fund
    assert a[at.FREE, maker] == before - 5_000.0
    assert a[at.MARGIN, maker] == 0.0


# --- deleveraging ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("name", ["binance", "okx", "hyperliquid", "dydx", "sim"])
@pytest.mark.parametrize("adl", ["queue", "pro_rata", "capped", "capped_then_size", "min_max"])
def test_deleveraging_closes_the_other_side_by_what_the_venue_gives_up(name: str, adl: Any, side: int) -> None:
    machine = frozen(gathered(quick_world(linear(name), Policy(adl=adl, adl_cap=0.1, fund=0.0)), seed=2))
    a, s, engine = machine.accounts, machine.state, machine.places.engine
    book.exchange(a, s, machine.places.maker, engine, a[at.Q, engine], float(s[at.MARK]))
    held = 0.2 * machine.open_interest()[0]
    bust, s[at.INSURANCE] = float(s[at.MARK]) * (1.0 + 0.02 * side), 0.0  # a loss of 2 %, and nothing to pay it
    book.exchange(a, s, engine, machine.places.maker, side * held, bust)
    before, row = a.copy(), np.zeros(at.COLUMNS)
    liquidator.deleverage(a, s, machine.bounds, machine.tiers, machine.rules, engine, machine.events, row)
    given_up = abs(before[at.Q, engine]) - abs(a[at.Q, engine])
    events = machine.events[: int(s[at.EVENTS])]
    machine.state[at.EVENTS] = 0.0
    who = events[:, at.E_ACCOUNT].astype(int)
    closed = before[at.Q, who] - a[at.Q, who]
    assert given_up == pytest.approx(held) if adl != "capped" else 0.0 < given_up <= held
    assert np.all(before[at.Q, who] * side < 0.0)
    assert np.allclose(events[:, at.E_QUANTITY], closed, rtol=CLOSE)
    assert np.all(np.abs(closed) <= np.abs(before[at.Q, who]) * (1.0 + CLOSE))
    assert math.fsum(np.abs(closed)) == pytest.approx(given_up)
    assert np.allclose(events[:, at.E_PRICE], bust)
    assert row[at.ADL] == pytest.approx(given_up * s[at.MARK])
    untouched = np.setdiff1d(np.arange(a.shape[1]), [*who, engine])
    assert np.array_equal(before[: at.LIQ, untouched], a[: at.LIQ, untouched])


def test_nobody_is_deleveraged_while_the_fund_can_pay() -> None:
    rich, poor = (quick_world(policy=Policy(fund=part), depth=1e6) for part in (1.0, 0.0))
    falls = {}
    for name, world in (("rich", rich), ("poor", poor)):
        machine = frozen(gathered(world, seed=7))
        history = machine.run(count=30, path=np.repeat(one_return(-0.02), 30, axis=0))
        falls[name] = history.column(at.ADL).sum()
        assert history.column(at.LIQ_LONG).sum() > 0.0
    assert falls["rich"] == 0.0 < falls["poor"]


def test_the_fall_of_the_fund_from_its_peak_is_enough_where_the_policy_says_so() -> None:
    found = {}
    for fall in (1.0, 0.05):
        world = quick_world(policy=Policy(fund=0.01, adl_fall=fall), depth=1e6)
        machine = frozen(gathered(world, seed=7))
        history = machine.run(count=30, path=np.repeat(one_return(-0.02), 30, axis=0))
        found[fall] = history.column(at.ADL).sum()
        assert machine.state[at.INSURANCE] > 0.0
    assert found[1.0] == 0.0 < found[0.05]


# --- funding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VENUES)
@pytest.mark.parametrize("hours", [1.0, 2.0, 8.0])
def test_a_settlement_is_the_venues_formula_of_the_premium_recorded(name: str, hours: float) -> None:
    world = replace(quick_world(linear(name)), funding_hours=((0.0, hours),), step_minutes=2.0)
    machine = gathered(world, count=30)
    history = machine.run(count=int(hours * 60.0) - 30)
    premium = [*machine.copy().samples, 0.0] and history.column(at.PREM)  # what is recorded from here on
    rest = machine.run(count=int(hours * 60.0))
    step = int(hours * 30.0)
    joined = np.concatenate((premium, rest.column(at.PREM)))
    first = history.first
    for settled, rate, length, price in zip(rest.settled, rest.rate, rest.hours, rest.price, strict=True):
        assert settled % step == 0
        assert length == hours
        if settled - step < first:
            continue
        sample = joined[settled - step - first : settled - first]
        rising = name not in ("okx", "hyperliquid", "dydx", "deribit") and hours > 1.0
        mean = rules.average_premium(sample.tolist(), rising_weights=rising)
        cap = max(rules.binance_funding_cap(tiers_of(world)[0, 2]), 0.003)
        wanted = {
            "bybit": rules.bybit_funding_rate(mean, interval_hours=hours, low=-cap, high=cap),
            "okx": rules.okx_funding_rate(mean, low=-cap, high=cap) * hours / 8.0,
            "hyperliquid": rules.hyperliquid_funding_rate_8h(mean) * hours / 8.0,
            "dydx": rules.dydx_funding_rate(mean) * hours,
            "deribit": rules.deribit_funding_rate_8h(mean) * hours / 8.0,
        }.get(name, rules.binance_funding_rate(mean, interval_hours=hours, low=-cap, high=cap))
        assert rate == pytest.approx(wanted, rel=1e-12, abs=1e-15)
        bar = rest.bars[settled - rest.first - 1]
        assert price == pytest.approx(bar[at.I_CLOSE if world.venue.funding.price == "index" else at.M_CLOSE])


def test_a_settlement_moves_money_from_one_side_to_the_other_and_no_more() -> None:
    machine = frozen(gathered(quick_world(depth=1e9)))
    machine.run(count=479 - int(machine.state[at.STEP]), path=np.zeros((479, 5)))
    before = machine.copy()
    history = machine.step(path=one_return(0.0))
    assert len(history.settled) == 1
    q = before.accounts[at.Q]
    paid = (before.accounts[at.FREE] + before.accounts[at.MARGIN]) - (
        machine.accounts[at.FREE] + machine.accounts[at.MARGIN]
    )
    mine = np.isin(machine.accounts[at.KIND], DEALERS, invert=True)  # dealers hand inventory on to each other
    assert np.allclose(paid[mine], q[mine] * history.price[0] * history.rate[0], rtol=1e-9, atol=1e-6)
    assert abs(math.fsum(paid)) < 1e-6
    again = machine.step(path=one_return(0.0))
    assert len(again.settled) == 0


def test_an_interval_ends_as_it_has_begun_and_the_next_is_counted_from_midnight() -> None:
    world = replace(quick_world(), funding_hours=((0.0, 8.0), (0.5, 1.0), (1.125, 4.0)), step_minutes=5.0)
    history = Machine(world, seed=1, warm_days=0).run(days=2)
    assert list(history.settled // 12) == [8, 16, *range(17, 28), *range(28, 49, 4)]
    assert list(history.hours) == [8.0, 8.0, *([1.0] * 11), *([4.0] * 6)]


def test_a_settlement_at_the_very_change_is_of_the_interval_that_is_over() -> None:
    world = replace(quick_world(), funding_hours=((0.0, 8.0), (1.0, 1.0)), step_minutes=5.0)
    history = Machine(world, seed=1, warm_days=0).run(days=1.125)
    assert list(zip(history.settled // 12, history.hours, strict=True)) == [
        (8, 8.0), (16, 8.0), (24, 8.0), (25, 1.0), (26, 1.0), (27, 1.0),
    ]  # fmt: skip


@pytest.mark.parametrize("hours", [1.0, 8.0])
def test_the_mark_is_the_middle_of_three_prices(hours: float) -> None:
    world = replace(quick_world(), funding_hours=((0.0, hours),))
    machine = gathered(world)
    plain_hours = hours
    for _ in range(30):
        machine.step()
        s = machine.state
        index = math.exp(s[at.FUNDAMENTAL] + s[at.PRESSURE])
        minute = int(s[at.STEP])
        if minute % 60 == 0:
            continue  # a new rate has just come
        left = plain_hours - (minute - 1) % (plain_hours * 60.0) / 60.0  # of the price, when it was made
        by_funding = rules.price_from_funding(index, s[at.RATE] * plain_hours / 8.0, left, plain_hours)
        by_basis = index * math.exp(s[at.BASIS])
        assert s[at.MARK] == pytest.approx(rules.median_price(by_funding, by_basis, float(s[at.LAST])), rel=1e-12)


@pytest.mark.parametrize("name", ["okx", "deribit", "dydx"])
def test_marks_that_do_not_ask_for_the_trade_price(name: str) -> None:
    machine = gathered(quick_world(linear(name)))
    s = machine.state
    index = math.exp(s[at.FUNDAMENTAL] + s[at.PRESSURE])
    assert s[at.MARK] == pytest.approx(index * (1.0 if name == "dydx" else math.exp(s[at.BASIS])), rel=1e-12)
    assert s[at.LAST] == pytest.approx(index * math.exp(s[at.PREMIUM]), rel=1e-12)


# --- always the same -------------------------------------------------------------------------------------------------


def test_the_same_seed_is_the_same_bits() -> None:
    one, other = (Machine(quick_world(), seed=[3, 1], warm_days=1) for _ in range(2))
    assert np.array_equal(one.run(days=1).bars, other.run(days=1).bars, equal_nan=True)
    assert same_bits(one, other)
    assert not same_bits(one, Machine(quick_world(), seed=[3, 2], warm_days=2))


def test_two_at_a_time_are_as_one_after_the_other() -> None:
    def run(seed: int) -> Machine:
        machine = Machine(quick_world(), seed=seed, warm_days=0)
        machine.run(days=1)
        return machine

    alone = [run(seed) for seed in range(4)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(run, range(4)))
    assert all(itertools.starmap(same_bits, zip(alone, together, strict=True)))


@pytest.mark.parametrize("step_minutes", [1.0, 5.0])
def test_a_run_in_pieces_is_the_same_run(step_minutes: float) -> None:
    strict = brackets((1e5, 0.02, 20), (math.inf, 0.2, 3))
    changes = {"funding_hours": ((0.0, 2.0), (0.3, 1.0)), "tier_changes": ((0.401, strict),)}
    world = quick_world(step_minutes=step_minutes, **changes)
    whole = Machine(world, seed=5, warm_days=0)
    pieces, single = whole.copy(), whole.copy()
    history = whole.run(count=700)
    parts = [pieces.run(count=k) for k in (1, 59, 0, 77, 300, 263)]
    steps_taken = [single.step() for _ in range(700)]
    assert same_bits(whole, pieces)
    assert same_bits(whole, single)
    for found in (parts, steps_taken):
        for name in ("bars", "events", "settled", "rate", "hours", "price", "news"):
            joined = np.concatenate([getattr(h, name) for h in found])
            assert np.array_equal(joined, getattr(history, name), equal_nan=True), name


def test_a_path_given_whole_or_row_by_row() -> None:
    machine = gathered()
    other = machine.copy()
    path = shocks(90, 1)
    whole = machine.run(count=90, path=path)
    rows = [other.step(path=path[k : k + 1]) for k in range(90)]
    assert np.array_equal(whole.bars, np.concatenate([h.bars for h in rows]), equal_nan=True)
    assert same_bits(machine, other)


def test_a_copy_has_the_same_future_and_with_a_seed_another() -> None:
    machine = gathered(count=95)
    same, other, other_again = machine.copy(), machine.copy(seed=5), machine.copy(seed=5)
    before = same.accounts.copy()
    history = machine.run(count=100)
    assert np.array_equal(same.accounts, before, equal_nan=True)
    assert np.array_equal(history.bars, same.run(count=100).bars, equal_nan=True)
    elsewhere = other.run(count=100)
    assert not np.array_equal(history.bars, elsewhere.bars, equal_nan=True)
    assert np.array_equal(elsewhere.bars, other_again.run(count=100).bars, equal_nan=True)


def test_a_copy_under_another_policy_keeps_accounts_and_todays_brackets() -> None:
    strict = brackets((1e5, 0.02, 20), (math.inf, 0.2, 3))
    world = replace(quick_world(), tier_changes=((0.05, strict),))
    machine = gathered(world, count=125)
    assert len(machine.tiers) == 2
    found = machine.copy(world=replace(world, policy=Policy(adl="pro_rata", maintenance=1.5)))
    assert np.array_equal(found.tiers[:, 2], machine.tiers[:, 2] * 1.5)
    assert np.array_equal(found.accounts[: at.LIQ], machine.accounts[: at.LIQ], equal_nan=True)
    assert found.rules.adl_policy != machine.rules.adl_policy


# --- events, and where they lie --------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [1_200, 8])
def test_events_are_all_there_however_little_room_they_have(room: int) -> None:
    """Everybody is deleveraged a little, many times a step: room is made, and the step done once more."""
    world = quick_world(policy=Policy(adl="pro_rata", fund=0.0), depth=4e5)
    machine = frozen(gathered(world, seed=3))
    tight = machine.copy()
    tight.events = np.zeros((room, at.EVENT_COLUMNS))
    path = shocks(60, 3)
    whole, found = machine.run(count=60, path=path), tight.run(count=60, path=path)
    assert len(whole.events) > 1_200 // steps.ROOM_BEFORE
    assert np.array_equal(whole.events, found.events)
    assert np.array_equal(whole.bars, found.bars, equal_nan=True)
    assert same_bits(machine, tight)


def test_more_events_than_room_is_no_silence() -> None:
    machine = frozen(gathered(quick_world(policy=Policy(fund=0.0), depth=4e5), seed=3))
    machine.events = np.zeros((8, at.EVENT_COLUMNS))
    with pytest.raises(RuntimeError, match="events in one step"):
        machine.run(count=60, path=shocks(60, 3))


# --- nothing comes of nothing, and more of more ----------------------------------------------------------------------


def test_without_shock_and_trading_nothing_happens() -> None:
    machine = frozen(Machine(quick_world(), seed=1, guests=[5e3], warm_days=0))
    before = machine.accounts.copy()
    history = machine.run(count=600, path=np.zeros((600, 5)))
    assert np.array_equal(machine.accounts, before, equal_nan=True)
    assert np.all(history.bars[:, : at.M_CLOSE + 1] == pytest.approx(40_000.0, rel=1e-12))
    assert len(history.events) == 0
    assert np.all(history.bars[:, [at.OI, at.BOUGHT, at.SOLD, at.LIQ_LONG, at.LIQ_SHORT, at.ADL, at.N_WAVES]] == 0.0)


def test_a_market_that_stands_still_for_years_can_still_be_shocked() -> None:
    """Volatility falls by half every twelve hours: it must not become a zero to divide by."""
    machine = frozen(Machine(quick_world(crowd=Crowd(accounts=100, funds=0), ticks=1, step_minutes=60.0), warm_days=0))
    machine.run(days=600, path=np.zeros((14_400, 5)))
    history = machine.run(count=5, path=shocks(5, 1))
    assert np.isfinite(machine.state).all()
    assert np.isfinite(history.bars[:, : at.SHARE_LONG]).all()


@pytest.mark.parametrize("name", ["sim", "bybit", "hyperliquid"])
def test_a_deeper_fall_throws_out_no_fewer_longs(name: str) -> None:
    machine = frozen(gathered(quick_world(linear(name), depth=2e7), seed=6))
    thrown_out = []
    for size in (-0.01, -0.02, -0.04, -0.08, -0.16, -0.32):
        history = machine.copy().run(count=10, path=np.vstack((one_return(size), np.zeros((9, 5)))))
        liquidated = events_of(history, at.LIQUIDATION_EVENT)
        thrown_out.append(liquidated[liquidated[:, at.E_QUANTITY] > 0.0, at.E_QUANTITY].sum())
    assert thrown_out == sorted(thrown_out)
    assert thrown_out[0] < thrown_out[-1]


def test_a_deeper_book_overshoots_less() -> None:
    machine = frozen(gathered(quick_world(depth=3e6), seed=6))
    lows = []
    for depth in (1e6, 3e6, 1e7, 1e8, 1e10):
        deeper = frozen(machine.copy(world=quick_world(depth=depth)))
        history = deeper.run(count=10, path=np.vstack((one_return(-0.05), np.zeros((9, 5)))))
        lows.append(history.column(at.T_LOW).min())
    assert lows == sorted(lows)
    assert lows[-1] == pytest.approx(machine.state[at.LAST] * math.exp(-0.05), rel=0.01)
    assert lows[0] < 0.97 * lows[-1]


def test_a_fall_and_a_rise_are_alike_to_longs_and_shorts() -> None:
    """Two guests with opposite positions and the same money go at about the same move."""
    gone = {}
    for side in (1, -1):
        machine = at_rest(Machine(quick_world(depth=1e9), seed=1, guests=[1_000.0], warm_days=0))
        machine.step([side * 0.5], path=one_return(0.0))
        for k in range(1, 200):
            if len(events_of(machine.step(path=one_return(-side * 0.001)), at.LIQUIDATION_EVENT)):
                gone[side] = k
                break
    assert abs(gone[1] - gone[-1]) <= 3


# --- the snapshot ----------------------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_the_snapshot_counts_what_there_is() -> None:
    machine = gathered(quick_world(accounts=100), count=40)
    row = np.zeros(at.COLUMNS)
    machine.state[at.MARK] *= 1.01  # what is kept by block was counted at another mark
    census.census(machine.accounts, machine.state, machine.bounds, machine.rules, row)
    a, mark = machine.accounts, float(machine.state[at.MARK])
    held = a[:, np.isin(a[at.KIND], (at.RETAIL, at.CARRY)) & (a[at.Q] != 0.0)]
    long, top, retail = held[at.Q] > 0.0, held[at.TOP] == 1.0, held[at.KIND] == at.RETAIL
    size = np.abs(held[at.Q])
    assert row[at.SHARE_LONG] == pytest.approx(long.mean())
    assert row[at.SHARE_TOP] == pytest.approx(long[top].mean())
    assert row[at.SHARE_TOP_SIZE] == pytest.approx(size[top & long].sum() / size[top].sum())
    assert row[at.RETAIL_LONG] == pytest.approx(size[retail & long].sum())
    balance = held[at.MARGIN] + held[at.Q] * (mark - held[at.ENTRY])
    assert row[at.LEVER] == pytest.approx(size[retail].sum() * mark / balance[retail].sum())
    total = machine.open_interest()[0]
    level = np.where(held[at.LIQ] > 0.0, held[at.LIQ], np.nan)
    near = size * np.where(long, level / mark, mark / level) ** 20
    assert row[at.FRAGILE_DOWN] == pytest.approx(np.nansum(near[long]) / total)
    assert row[at.FRAGILE_UP] == pytest.approx(np.nansum(near[~long]) / total)
    assert machine.state[at.LONG] == pytest.approx(total)


# --- guests ----------------------------------------------------------------------------------------------------------


@pytest.mark.kernel
def test_an_order_that_money_cannot_margin_is_refused() -> None:
    machine = frozen(Machine(quick_world(accounts=100), seed=1, guests=[1_000.0, 0.0], warm_days=0))
    guest = machine.places.guests

    def holds(*orders: float) -> float:
        machine.step(orders, path=one_return(0.0))
        return float(machine.accounts[at.Q, guest])

    assert holds(4.0, 1.0) == 0.0  # 160,000 with 1,000; the simulated venue gives 125 at most, and 100 at that size
    assert machine.accounts[at.Q, guest + 1] == 0.0
    assert holds(1.0) == 1.0
    assert holds(5.0) == 1.0
    assert holds(-0.5) == 0.5
    assert holds(-5.0) == 0.5
    assert holds(-1.0) == -0.5
    machine.state[at.PAUSE] = 3.0  # trading of new positions is halted
    assert holds(-0.1) == -0.5
    assert holds(0.5) == 0.0
    assert machine.accounts[at.MARGIN, guest] == 0.0
    assert abs(machine.imbalance()) < 1e-15


@pytest.mark.kernel
@pytest.mark.parametrize("shares", [(0.0, 0.1, 2), (1.0, 0.2, 0), (0.5, 0.0, 1), (0.3, 1.0, 1)])
def test_any_mixture_of_a_crowd_runs(shares: tuple[float, float, int]) -> None:
    fast, carry, funds = shares
    crowd = Crowd(accounts=100, fast_share=fast, carry_share=carry, funds=funds, slow_look_hours=0.5, entry=1.0)
    world = quick_world(crowd=crowd, ticks=1)
    machine = Machine(world, seed=1, warm_days=0)
    history = machine.run(count=24, path=noise(24, 1))
    assert np.isfinite(history.bars[:, : at.SHARE_LONG]).all()
    assert abs(machine.imbalance()) < 1e-12


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one() -> Machine:
    return Machine(quick_world(), seed=1, guests=[1e4], warm_days=0)


nothing = np.zeros((1, 5))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda m: m.run(), "days= or count="),
        (lambda m: m.run(days=1, count=1), "days= or count="),
        (lambda m: m.run(days=-1), "days=-1"),
        (lambda m: m.run(days=math.nan), "days=nan"),
        (lambda m: m.run(days="a"), "days='a'"),
        (lambda m: m.run(count=-1), "count=-1"),
        (lambda m: m.run(count=1.5), "count=1.5"),
        (lambda m: m.run(count=True), "count=True"),
        (lambda m: m.run(count=2, path=nothing), "2 steps of 5 columns"),
        (lambda m: m.run(count=1, path=np.zeros((1, 4))), "5 columns"),
        (lambda m: m.run(count=1, path=np.zeros(5)), "5 columns"),
        (lambda m: m.run(count=1, path=np.full((1, 5), np.nan)), "finite"),
        (lambda m: m.run(count=1, path=np.array([[0.0, -1.0, 0.0, 0.0, 0.0]])), "volatilities"),
        (lambda m: m.run(count=1, path="x"), "path='x'"),
        (lambda m: m.step(path=np.zeros((0, 5))), "1 steps"),
        (lambda m: m.step([1.0, 1.0]), "1 guests"),
        (lambda m: m.step([[1.0]]), "1 guests"),
        (lambda m: m.step([math.nan]), "finite"),
        (lambda m: m.step(["a"]), "orders=['a']"),
        (lambda m: m.copy(seed=-1), "seed=-1"),
        (lambda m: m.copy(world=quick_world(accounts=151)), "Crowd's accounts"),
        (lambda m: m.copy(world=quick_world(ticks=4)), "World.ticks"),
        (lambda m: m.copy(world=replace(quick_world(), step_minutes=5.0)), "World.step_minutes"),
        (lambda _: Machine(quick_world(), seed="abc", warm_days=0), "seed='abc'"),
        (lambda _: Machine(quick_world(), seed=-1, warm_days=0), "seed=-1"),
        (lambda _: Machine(quick_world(), seed=[], warm_days=0), "seed=[]"),
        (lambda _: Machine(quick_world(), common=0.5, warm_days=0), "common=0.5"),
        (lambda _: Machine(quick_world(), guests=[-1.0], warm_days=0), "guests=[-1.0]"),
        (lambda _: Machine(quick_world(), guests=[math.inf], warm_days=0), "guests=[inf]"),
        (lambda _: Machine(quick_world(), warm_days=-1), "warm_days=-1"),
        (lambda _: Machine(quick_world(replace(venue("sim"), tiers=())), warm_days=0), "no maintenance tiers"),
    ],
)
def test_a_mistake_is_one_line(one: Machine, wrong: Callable[[Machine], Any], says: str) -> None:
    state = one.state.copy()
    with pytest.raises(BadInput) as error:
        wrong(one)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert np.array_equal(state, one.state)


def test_what_is_no_mistake(one: Machine) -> None:
    assert len(one.copy().run(count=0)) == 0
    assert len(one.copy().run(days=0)) == 0
    assert len(one.copy().run(count=np.int64(2), path=[[0, 0, 0, 0, 0], (0.0,) * 5])) == 2
    assert len(one.copy().run(count=1, path=np.zeros((5, 3), order="F").T)) == 1
    assert one.copy().step(()).first == one.state[at.STEP]
    whole_numbers = Crowd(accounts=100, entry=1, fund_limit=5)
    mixed = Machine(World(crowd=whole_numbers, policy=Policy(adl_cap=1), coin=Coin(depth=18)), warm_days=0).rules
    assert [type(x) for x in mixed] == [type(x) for x in one.rules]  # else it would be compiled once more
