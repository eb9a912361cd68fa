"""What holds in any simulated venue: the books balance, events tell everything, nobody is forced without reason.

A world is drawn: venue, policy, depth from nothing to plenty, leverage, clock, guests and what they order. A crowd
gathers, then shocks come. The books are added up here once more, at other prices than the machine does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from crowd_worlds import VENUES, linear, noise, quick_world, shocks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_crowd import PlainCrowd

from backtest.crowd.kernel import layout as at
from backtest.crowd.machine import History, Machine
from backtest.crowd.world import ADL_POLICIES, Crowd, Policy, World

CLOSE = 1e-9
GATHERING = 90
STEPS = 30
drawn = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
one_leverage = st.tuples(st.sampled_from([50.0, 20.0, 125.0, 5.0, 1.5]), st.floats(0.1, 1.0))
leverages = st.lists(one_leverage, min_size=1, max_size=3)


@dataclass(frozen=True)
class Drawn:
    venue: str
    policy: Policy
    crowd: Crowd
    depth: float
    ticks: int
    minutes: float
    hours: float  # between settlements
    guests: tuple[float, ...]
    seed: int
    largest: float  # shock

    @property
    def world(self) -> World:
        return quick_world(
            linear(self.venue), self.policy, depth=self.depth, ticks=self.ticks, crowd=self.crowd,
            step_minutes=self.minutes, funding_hours=((0.0, self.hours),),
        )  # fmt: skip

    @cached_property
    def leverage(self) -> np.ndarray:
        """That each guest wants to hold, a row a step; NaN: as it is."""
        rng, levels = np.random.default_rng(self.seed), [np.nan, 0.0, 5.0, -5.0, 60.0, -60.0]
        return rng.choice(levels, (STEPS, len(self.guests)), p=[0.6, 0.1, 0.1, 0.1, 0.05, 0.05])

    def gathered(self) -> Machine:
        machine = Machine(self.world, seed=self.seed, guests=self.guests, warm_days=0)
        machine.run(count=GATHERING, path=noise(GATHERING, self.seed))
        return machine

    @property
    def path(self) -> np.ndarray:
        return shocks(STEPS, self.seed, each=6, largest=self.largest)

    def step(self, machine: Machine, k: int) -> History:
        guests = slice(machine.places.guests, None)
        held, price = machine.accounts[at.Q, guests], float(machine.state[at.LAST])
        wanted = self.leverage[k] * np.maximum(machine.equities()[guests], 0.0) / price
        orders = np.where(np.isnan(wanted), 0.0, wanted - held)
        return machine.step(orders, path=self.path[k : k + 1])


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    return Policy(
        adl=draw(st.sampled_from(sorted(ADL_POLICIES))),
        adl_cap=draw(st.sampled_from([0.1, 1.0])),
        adl_fall=draw(st.sampled_from([0.01, 0.3, 1.0])),
        fund=draw(st.sampled_from([0.0, 1e-6, 1e-3, 0.05])),
        leverage_cap=draw(st.sampled_from([math.inf, math.inf, 3.0])),
        breaker_margin=draw(st.sampled_from([1.5, math.inf])),
        breaker_pause=draw(st.sampled_from([math.inf, math.inf, 3.0])),
    )


@st.composite
def venues(draw: st.DrawFn, stops: bool = True) -> Drawn:
    crowd = Crowd(
        accounts=draw(st.integers(100, 400)),
        fast_share=draw(st.sampled_from([0.0, 0.2, 1.0])),
        carry_share=draw(st.sampled_from([0.0, 0.03, 0.3])),
        funds=draw(st.integers(0, 4)),
        cross_share=draw(st.sampled_from([0.0, 0.5, 1.0])),
        stop_share=draw(st.sampled_from([0.0, 0.3, 1.0])) if stops else 0.0,
        leverage=tuple(draw(leverages)),
        fast_leverage=tuple(draw(leverages)),
        fast_look_hours=0.1,
        slow_look_hours=0.4,
        entry=1.0,
        largest=draw(st.sampled_from([1.0, 0.05])),
        slice=draw(st.sampled_from([1.0, 0.03])),
    )
    return Drawn(
        venue=draw(st.sampled_from(VENUES)),
        policy=draw(policies()),
        crowd=crowd,
        depth=10.0 ** draw(st.floats(5.0, 8.5)),
        ticks=draw(st.integers(1, 6)),
        minutes=draw(st.sampled_from([1.0, 2.0, 3.0, 5.0])),
        hours=draw(st.sampled_from([1.0, 8.0])),
        guests=tuple(draw(st.lists(st.sampled_from([10.0, 1e4, 1e6]), max_size=3))),
        seed=draw(st.integers(0, 2**20)),
        largest=draw(st.sampled_from([0.1, 0.5])),
    )


def books_balance(machine: Machine, history: History, traded: float) -> None:
    a, s = machine.accounts, machine.state
    assert np.isfinite(s).all()
    assert abs(machine.imbalance()) <= CLOSE
    for price in (0.0, 2.0 * s[at.MARK]):  # where every coin has its other side, the price does not matter
        money = math.fsum([*a[at.FREE], *a[at.MARGIN], *(a[at.Q] * (price - a[at.ENTRY])), s[at.INSURANCE], s[at.FEES]])
        assert abs(money - s[at.DEPOSITED]) <= CLOSE * s[at.DEPOSITED]
    long, short = machine.open_interest()
    assert abs(long - short) <= CLOSE * traded
    assert abs(s[at.LONG] - long) <= CLOSE * traded
    dealers = np.isin(a[at.KIND], (at.MAKER, at.ARBITRAGE, at.ENGINE))
    assert a[at.FREE, ~dealers].min() >= 0.0
    assert not a[at.MARGIN, ~dealers & (a[at.Q] == 0.0)].any()
    bars = history.bars
    assert np.isfinite(bars[:, : at.SHARE_LONG]).all()
    for first in (at.T_OPEN, at.M_OPEN, at.I_OPEN):
        opened, high, low, close = bars[:, first : first + 4].T
        assert np.all((low > 0.0) & (low <= opened) & (low <= close) & (high >= opened) & (high >= close))
    assert np.all(bars[:, [at.DEPTH_BID, at.DEPTH_ASK]] > 0.0)


@drawn
@given(venues())
def test_the_books_balance_after_every_step(case: Drawn) -> None:
    machine = case.gathered()
    traded = 1.0 + machine.open_interest()[0]
    for k in range(STEPS):
        history = case.step(machine, k)
        traded = max(traded, machine.open_interest()[0])
        books_balance(machine, history, traded)


@dataclass
class Replayed:
    """One account, from its state before a step and from events alone."""

    coins: float
    entry: float
    margin: float
    free: float

    def close(self, coins: float, price: float) -> None:
        """`coins` as they were held, signed."""
        assert coins * self.coins > 0.0
        assert abs(coins) <= abs(self.coins) * (1.0 + CLOSE)
        self.margin += coins * (price - self.entry)
        self.coins -= coins


class Replay:
    """Every account from its state before a step and from the events of that step alone."""

    def __init__(self, machine: Machine) -> None:
        self.venue, self.plain = machine.world.venue, PlainCrowd(machine)  # which knows brackets
        a, engine = machine.accounts.copy(), machine.places.engine
        self.who = [Replayed(*a[[at.Q, at.ENTRY, at.MARGIN, at.FREE], i]) for i in range(a.shape[1])]
        self.busts = [a[at.ENTRY, engine]] if a[at.Q, engine] else []  # prices of what the venue holds

    def follow(self, event: np.ndarray) -> None:
        kind, coins = int(event[at.E_KIND]), event[at.E_QUANTITY]
        if kind == at.WAVE_EVENT:
            return
        one = self.who[int(event[at.E_ACCOUNT])]
        if kind == at.ADL_EVENT:
            self.deleverage(one, coins, event[at.E_PRICE], event[at.E_MARK])
        else:
            self.liquidate(one, coins, event)
        if abs(one.coins) <= CLOSE * abs(coins):
            one.free += max(one.margin, 0.0)
            one.coins = one.margin = 0.0

    def deleverage(self, one: Replayed, coins: float, price: float, mark: float) -> None:
        assert self.busts, "the venue holds nothing that could be closed against anybody"
        average = min(self.busts) * (1.0 - CLOSE) <= price <= max(self.busts) * (1.0 + CLOSE)
        assert average or (price == mark and self.venue.adl.price != "bankruptcy")
        one.close(coins, price)

    def liquidate(self, one: Replayed, coins: float, event: np.ndarray) -> None:
        price, mark, bust = event[[at.E_PRICE, at.E_MARK, at.E_BANKRUPT]]
        balance = one.margin + one.coins * (mark - one.entry)
        assert balance <= self.plain.maintenance(abs(one.coins) * mark) * (1.0 + CLOSE)
        assert bust == pytest.approx(one.entry - one.margin / one.coins, rel=1e-7)
        one.close(coins, price)
        if price == bust:  # taken over
            assert abs(one.coins) <= CLOSE * abs(coins)
            one.margin = 0.0
            self.busts.append(price)
        else:
            one.margin -= min(self.venue.fees.liquidation * abs(coins) * price, max(one.margin, 0.0))


@drawn
@given(venues(stops=False))
def test_events_tell_everything_and_nobody_is_forced_without_reason(case: Drawn) -> None:
    """Nobody decides and nobody has a stop: positions, margins and free money after a step follow from its events."""
    machine = case.gathered()
    machine.rules = machine.rules._replace(trades=0)
    a, s, money = machine.accounts, machine.state, machine.world.coin.money
    isolated = (a[at.CROSS] == 0.0) & (a[at.KIND] == at.RETAIL)
    crowd = slice(0, machine.places.maker)
    for k in range(STEPS):
        replay, free = Replay(machine), a[at.FREE].copy()
        debt, fees = s[at.BAD_DEBT], s[at.FEES]
        history = machine.step(path=case.path[k : k + 1])
        if len(history.settled):
            continue
        for event in history.events:
            replay.follow(event)
        who = replay.who[crowd]
        assert np.allclose(a[at.Q, crowd], [one.coins for one in who], rtol=CLOSE, atol=CLOSE * (1.0 + s[at.LONG]))
        assert np.allclose(a[at.MARGIN, crowd], [one.margin for one in who], rtol=CLOSE, atol=CLOSE * money)
        assert np.allclose(a[at.FREE, crowd], [one.free for one in who], rtol=CLOSE, atol=CLOSE * money)
        assert np.all(a[at.FREE, isolated] >= free[isolated])  # at most the margin is lost
        assert s[at.FEES] - fees == pytest.approx(debt - s[at.BAD_DEBT], rel=1e-6, abs=1e-12 * money)


@drawn
@given(venues())
def test_nobody_in_breach_is_left_alone(case: Drawn) -> None:
    """Where the price stays as forced flow has left it, the end of a step finds nobody in breach."""
    machine = case.gathered()
    machine.rules = machine.rules._replace(trades=0, pressure_decay=1.0, premium_decay=1.0, hand_on=0.0)
    plain = PlainCrowd(machine)
    mine = np.isin(machine.accounts[at.KIND], (at.MAKER, at.ARBITRAGE, at.ENGINE), invert=True)
    for k in range(12):
        history = machine.step(path=case.path[k : k + 1])
        if len(history.settled):
            continue
        a, mark = machine.accounts, float(machine.state[at.MARK])
        open_still = np.flatnonzero(mine & (a[at.Q] != 0.0))
        balance = a[at.MARGIN, open_still] + a[at.Q, open_still] * (mark - a[at.ENTRY, open_still])
        due = np.array([plain.maintenance(abs(q) * mark) for q in a[at.Q, open_still]])
        left_alone = open_still[balance <= due * (1.0 - CLOSE)]
        assert len(left_alone) == 0 or history.bars[0, at.N_WAVES] >= 400.0


@drawn
@given(venues(), st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_pieces_copies_and_twins_are_the_same_run(case: Drawn, pieces: list[int]) -> None:
    whole, again = case.gathered(), case.gathered()
    in_pieces = whole.copy()
    count = sum(pieces)
    history = whole.run(count=count)
    parts = [in_pieces.run(count=k) for k in pieces]
    assert np.array_equal(history.bars, again.run(count=count).bars, equal_nan=True)
    assert np.array_equal(history.bars, np.concatenate([h.bars for h in parts]), equal_nan=True)
    for name in ("accounts", "state", "bounds"):
        for other in (in_pieces, again):
            assert np.array_equal(getattr(whole, name), getattr(other, name), equal_nan=True)


@pytest.mark.kernel
@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(VENUES), st.integers(0, 1_000), st.sampled_from(sorted(ADL_POLICIES)))
def test_a_small_one_keeps_its_books(name: str, seed: int, adl: Any) -> None:
    crowd = Crowd(accounts=100, fast_look_hours=0.1, slow_look_hours=0.4, entry=1.0, leverage=((50.0, 1.0),))
    case = Drawn(name, Policy(adl=adl, fund=1e-6), crowd, 1e6, 1, 5.0, 1.0, (1e4,), seed, 0.2)
    machine = case.gathered()
    traded = 1.0 + machine.open_interest()[0]
    for k in range(9):
        books_balance(machine, case.step(machine, k), traded)
