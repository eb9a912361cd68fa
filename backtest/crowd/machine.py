"""`Machine`: a simulated venue for one coin that can be run, stopped, copied and run on.

    machine = Machine(World(), seed=7)
    machine.run(days=30)                  # a history: arrays a step, liquidations, settlements
    later = machine.copy(seed=3)          # the same state, another future
    machine.step(orders=[0.5])            # one step, with orders of an account from outside

The clock is in `backtest.crowd.kernel.steps`. Here: what comes from outside (index, tides), funding as the venue
settles it, and the books that must balance: the money of all accounts, fund and fees is what came in, whatever happens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_type_hints

import numpy as np

from backtest import rules as venue_rules
from backtest.crowd.kernel import index as outside
from backtest.crowd.kernel import layout as at
from backtest.crowd.kernel import steps
from backtest.crowd.kernel.census import BLOCK_ROWS
from backtest.crowd.kernel.layout import Floats, Ints
from backtest.crowd.kernel.levels import set_all_levels
from backtest.crowd.kernel.liquidator import MOST_WAVES
from backtest.crowd.seeding import seed_accounts
from backtest.crowd.world import World, counts, kept, rules_of, tiers_of
from backtest.given import is_number, is_whole
from data.errors import BadInput

EVENT_ROOM = 12  # rows for events, in accounts; memory that no event has touched is not taken
RECENT_MINUTES = 5.0
Settlement = tuple[int, float, float, float]  # step, rate, hours, price
HOUR_MINUTES = 60.0
RATE_HOURS = 8.0  # that quoted rates are of, and after which the fund's peak is forgotten
PATH_COLUMNS = 5
FUND_TARGET = 1.0  # of what it was at the start: fees fill it up to this, a little a day
FUND_FILL = 0.02


@dataclass(frozen=True)
class History:
    """What a run recorded. `bars` has a row a step, columns in `backtest.crowd.kernel.layout`."""

    step_minutes: float
    first: int  # step number of the first row
    bars: Floats
    events: Floats
    settled: Ints  # step numbers
    rate: Floats
    hours: Floats
    price: Floats  # that settlements were paid on
    news: Floats  # log size of the news of each step

    def column(self, name: int) -> Floats:
        return self.bars[:, name]

    def __len__(self) -> int:
        return len(self.bars)


class Machine:
    """One coin on one venue. Same world, same seed: the same bits, on any number of threads."""

    def __init__(
        self, world: World | None = None, seed: int | Sequence[int] = 7, *, common: int | Sequence[int] | None = None,
        guests: Sequence[float] = (), warm_days: int = 10,
    ) -> None:  # fmt: skip
        """`common`: seed of the market's factor, shared by coins. `guests`: money of accounts from outside.

        `warm_days` pass before anything is recorded: a crowd needs time to gather.
        """
        self.world = world or World()
        _check_given(seed, common, guests, warm_days)
        if not self.world.venue.tiers_for(self.world.coin.base):
            raise BadInput(f"{self.world.venue.name} has no maintenance tiers for {self.world.coin.base}")
        self.rules = _typed(rules_of(self.world))
        self.tiers = tiers_of(self.world)
        key = list(seed) if isinstance(seed, Sequence) else [seed]
        shared = [*key, 0] if common is None else (list(common) if isinstance(common, Sequence) else [common])
        self._draw_from(shared, key)
        self.accounts, self.places = seed_accounts(self.world, len(guests), np.random.default_rng([*key, 2]))
        self.accounts[at.FREE, self.places.guests :] = guests
        self.accounts[at.SIZE, self.places.guests :] = guests
        self.accounts[at.CROSS, self.places.guests :] = 1.0
        self.state = self._first_state()
        self.factors = np.zeros((2, outside.FACTOR_SLOTS))
        self.tides = np.array([rng.standard_normal() for rng in self._waves])
        self.samples: list[float] = []
        self._table = 0  # of the dated ones
        self._make_room()
        self.tiers_changed()
        warm = round(warm_days * 1440.0 / self.world.step_minutes)
        self.state[at.STEP] = -float(warm)
        self._begin_interval()
        self.run(count=warm)

    def _draw_from(self, common: list[int], own: list[int]) -> None:
        """A stream for each thing that comes from outside; the crowd's luck is a function of this key and the step."""
        self._market, *waves = (np.random.default_rng([*common, 0, k]) for k in range(3))
        self._own, *own_waves = (np.random.default_rng([*own, 1, k]) for k in range(3))
        self._waves = (*waves, *own_waves)
        self._key = int(np.random.SeedSequence([*own, 3]).generate_state(1)[0])

    def _first_state(self) -> Floats:
        s = np.zeros(at.SLOTS)
        w = self.world
        level = math.log(w.coin.price)
        s[[at.FUNDAMENTAL, at.FAST_LEVEL, at.SLOW_LEVEL]] = level
        s[[at.MARK, at.LAST]] = w.coin.price
        s[at.VARIANCE] = w.sigma**2
        s[at.RATE], s[at.EXTRA_MARGIN] = venue_rules.INTEREST, 1.0
        s[at.INSURANCE] = w.policy.fund * w.coin.money
        s[at.PEAK_FUND] = s[at.INSURANCE]
        s[at.DEPOSITED] = self.accounts[[at.FREE, at.MARGIN]].sum() + s[at.INSURANCE]
        return s

    def _make_room(self) -> None:
        n = self.accounts.shape[1]
        ring = max(1, round(RECENT_MINUTES / self.world.step_minutes * self.world.ticks))
        self.bounds = np.zeros((BLOCK_ROWS, -(-n // at.BLOCK)))
        self.rounds = np.zeros(3)
        self.who = np.zeros((n + 16, 3))
        self.recent = np.full(ring, math.log(self.world.coin.price))
        self._make_event_room()

    def _make_event_room(self) -> None:
        rows = EVENT_ROOM * self.accounts.shape[1] + MOST_WAVES * self.world.ticks + 4_096
        self.events = np.zeros((rows, at.EVENT_COLUMNS))

    def tiers_changed(self) -> None:
        """All levels again, after tiers or rules were replaced."""
        set_all_levels(self.accounts, self.bounds, self.tiers, self.rules, self.state[at.MARK])

    # ---- running ---------------------------------------------------------------------------------

    def run(self, days: float | None = None, *, count: int | None = None, path: Floats | None = None) -> History:
        """So many days (or steps). `path` (n, 5) replaces what comes from outside: return, volatility, news, tides."""
        wanted = self._steps_wanted(days, count)
        path = path if path is None else _checked_path(path, wanted)
        first = int(self.state[at.STEP])
        bars, news = np.empty((wanted, at.COLUMNS)), np.empty(wanted)
        events: list[Floats] = []
        settled: list[Settlement] = []
        done = 0
        while done < wanted:
            some = min(wanted - done, self._due, self._hour - int(self.state[at.STEP]) % self._hour)
            self._look_up_tiers()
            given = self._outside(some) if path is None else path[done : done + some]
            news[done : done + some] = given[:, steps.NEWS]
            self._walk(given, np.empty(0), bars[done : done + some], events)
            done += some
            self._after(some, bars[done - some : done], settled)
        return self._history(first, bars, events, settled, news)

    def step(self, orders: Sequence[float] = (), path: Floats | None = None) -> History:
        """One step; `orders`: coins that each guest trades at its start. What its money cannot margin is refused."""
        wanted = self._checked_orders(orders)
        path = path if path is None else _checked_path(path, 1)
        self._look_up_tiers()
        given = self._outside(1) if path is None else path[:1]
        first = int(self.state[at.STEP])
        bars = np.empty((1, at.COLUMNS))
        events: list[Floats] = []
        settled: list[Settlement] = []
        self._walk(given, wanted, bars, events)
        self._after(1, bars, settled)
        return self._history(first, bars, events, settled, given[:, steps.NEWS].copy())

    def _steps_wanted(self, days: float | None, count: int | None) -> int:
        if (days is None) == (count is None):
            raise BadInput("write days= or count=, one of them")
        if count is not None:
            if not (is_whole(count) and count >= 0):
                raise BadInput(f"count={count!r}: write a whole number of steps, at least 0")
            return count
        if days is None or not (is_number(days) and 0.0 <= days < math.inf):
            raise BadInput(f"days={days!r}: write a number of at least 0")
        return round(days * 1440.0 / self.world.step_minutes)

    def _checked_orders(self, orders: Sequence[float]) -> Floats:
        wanted = _floats("orders", orders)
        guests = self.accounts.shape[1] - self.places.guests
        if wanted.ndim != 1 or len(wanted) > guests or not np.isfinite(wanted).all():
            raise BadInput(f"orders={orders!r}: write finite numbers of coins, one for each of the {guests} guests")
        return wanted

    def _history(
        self, first: int, bars: Floats, events: list[Floats], settled: list[Settlement], news: Floats
    ) -> History:
        rows = np.array(settled, dtype=np.float64).reshape(-1, 4)
        found = np.concatenate(events) if events else np.empty((0, at.EVENT_COLUMNS))
        stamps = rows[:, 0].astype(np.int64)
        return History(self.world.step_minutes, first, bars, found, stamps, rows[:, 1], rows[:, 2], rows[:, 3], news)

    def _look_up_tiers(self) -> None:
        """A new table of brackets holds from a full hour on, for positions that are open, too."""
        day = (self.state[at.STEP] // self._hour) / 24.0
        current = sum(day >= since for since, _ in self.world.tier_changes)
        if current != self._table:
            self._table = current
            self.tiers = tiers_of(self.world, day)
            self.tiers_changed()

    def _walk(self, given: Floats, orders: Floats, bars: Floats, events: list[Floats]) -> None:
        """Where a deleveraging closes a part of everybody, events may want more room than there is: then once more."""
        at_row, spreads = 0, self.world.policy.adl != "queue"
        while at_row < len(bars):
            before = [array.copy() for array in self._moved()] if spreads else []
            done = steps.run(
                self.accounts, self.state, self.bounds, self.tiers, self.rules, self.places, self.rounds,
                self.who, self.recent, given[at_row:], orders, self.world.step_minutes / (60.0 * RATE_HOURS),
                bars[at_row:], self.events, self._key,
            )  # fmt: skip
            filled = int(self.state[at.EVENTS])
            if filled > len(self.events) and not before:
                raise RuntimeError(
                    f"{filled} events in one step, and room for {len(self.events)}: this machine is lost; raise "
                    "EVENT_ROOM in backtest.crowd.machine"
                )
            if filled > len(self.events):
                for array, was in zip(self._moved(), before, strict=True):
                    array[...] = was
                self.events = np.zeros((2 * filled, at.EVENT_COLUMNS))
                continue
            orders = orders[:0]
            at_row += done
            if filled:
                events.append(self.events[:filled].copy())
                self.state[at.EVENTS] = 0.0

    def _moved(self) -> tuple[Floats, ...]:
        """All that a step changes."""
        return self.accounts, self.state, self.bounds, self.rounds, self.recent

    def _outside(self, count: int) -> Floats:
        """What comes from outside in the next steps: return, volatility, news, mood, sentiment."""
        w, minutes = self.world, self.world.step_minutes
        season = self._season(count)
        market, own = np.empty((count, 3)), np.empty((count, 3))
        outside.factor(self.factors[0], season, w.market.rules(minutes), self._market, market)
        outside.factor(self.factors[1], season, w.own.rules(minutes), self._own, own)
        out = np.empty((count, 5))
        beta = w.coin.beta
        out[:, 0] = beta * market[:, 0] + own[:, 0]
        out[:, 1] = np.hypot(beta * market[:, 1], own[:, 1])
        out[:, 2] = beta * market[:, 2] + own[:, 2]
        for k, hours in enumerate((w.crowd.mood_hours, w.crowd.sentiment_hours)):
            keep = kept(hours, minutes)
            waves = np.empty((2, count))
            for own_or_common, place in enumerate((k, 2 + k)):
                rng, wave = self._waves[place], waves[own_or_common]
                self.tides[place] = outside.tide(float(self.tides[place]), keep, rng, wave)
            out[:, 3 + k] = math.sqrt(0.7) * waves[0] + math.sqrt(0.3) * waves[1]
        return out

    def _season(self, count: int) -> Floats:
        """Log volatility by the hour of the day (UTC) and the day of the week; step 0 is a Friday midnight."""
        minutes = (self.state[at.STEP] + np.arange(count)) * self.world.step_minutes
        day = (minutes // 1440.0) % 7.0
        busy = 0.18 * np.sin(2.0 * np.pi * (minutes % 1440.0 / 1440.0 - 0.40))
        return np.asarray(busy - np.where((day == 1.0) | (day == 2.0), 0.25, 0.0) + 0.07)

    # ---- funding and the fund ---------------------------------------------------------------------

    def _interval_hours(self) -> float:
        day = self.state[at.STEP] * self.world.step_minutes / 1440.0
        return [hours for since, hours in self.world.intervals if day >= since or since == 0.0][-1]

    @property
    def _hour(self) -> int:
        """In steps."""
        return round(HOUR_MINUTES / self.world.step_minutes)

    def _begin_interval(self) -> None:
        """Up to the next settlement; they are so many hours apart, from midnight on. It ends as it has begun."""
        self._hours = self._interval_hours()
        length = round(self._hours * self._hour)
        self._due = length - int(self.state[at.STEP]) % length
        self.state[at.TO_FUNDING] = self._due / (RATE_HOURS * self._hour)

    def _after(self, count: int, bars: Floats, settled: list[Settlement]) -> None:
        """The premium sampled; every hour another rate is expected, and where it is due a settlement is paid."""
        s, hours = self.state, self._hours
        self.samples += bars[:, at.PREM].tolist()
        self._due -= count
        if int(s[at.STEP]) % self._hour:
            return
        rate = funding_rate(self.world.venue.name, self.samples, hours, float(self.tiers[0, 2]))
        s[at.RATE] = rate * RATE_HOURS / hours
        if int(s[at.STEP]) % round(RATE_HOURS * self._hour) == 0:
            s[at.PEAK_FUND] = s[at.INSURANCE]
        if self._due > 0:
            return
        price = s[at.MARK] if self.world.venue.funding.price == "mark" else bars[-1, at.I_CLOSE]
        steps.pay_funding(self.accounts, s, self.bounds, self.tiers, self.rules, rate, price)
        settled.append((int(s[at.STEP]), rate, hours, float(price)))
        self.samples = []
        self._begin_interval()
        self._fill_fund()

    def _fill_fund(self) -> None:
        """The venue puts part of its fees into a fund that is below what it began with."""
        s = self.state
        lacks = FUND_TARGET * self.world.policy.fund * self.world.coin.money - s[at.INSURANCE]
        part = min(max(lacks, 0.0), FUND_FILL * max(s[at.FEES], 0.0))
        s[at.INSURANCE] += part
        s[at.FEES] -= part

    # ---- looking at it ----------------------------------------------------------------------------

    def equities(self, price: float | None = None) -> Floats:
        a = self.accounts
        p = self.state[at.MARK] if price is None else price
        return np.asarray(a[at.FREE] + a[at.MARGIN] + a[at.Q] * (p - a[at.ENTRY]))

    def imbalance(self) -> float:
        """All money there is, less all that came in, over what there is: nothing but rounding."""
        s = self.state
        there = math.fsum(self.equities()) + s[at.INSURANCE] + s[at.FEES]
        return float((there - s[at.DEPOSITED]) / abs(s[at.DEPOSITED]))

    def open_interest(self) -> tuple[float, float]:
        """Coins held long, and short."""
        q = self.accounts[at.Q]
        return math.fsum(q[q > 0.0]), -math.fsum(q[q < 0.0])

    def copy(self, seed: int | Sequence[int] | None = None, world: World | None = None) -> Machine:
        """The same state; with a seed another future, with a world another policy (of the same accounts)."""
        import copy

        twin = copy.copy(self)
        for name in ("accounts", "state", "bounds", "rounds", "who", "recent", "factors", "tiers", "tides"):
            setattr(twin, name, getattr(self, name).copy())
        twin.samples = list(self.samples)
        for name in ("_market", "_own", "_waves"):
            setattr(twin, name, copy.deepcopy(getattr(self, name)))
        if seed is not None:
            _check_seed("seed", seed)
            key = list(seed) if isinstance(seed, Sequence) else [seed]
            twin._draw_from([*key, 0], key)
        if world is not None:
            _check_same_accounts(self.world, world)
            twin.world, twin.rules = world, _typed(rules_of(world))
            twin._table = -1  # whatever holds today
            twin._look_up_tiers()
        twin._make_event_room()
        return twin


def _typed(rules: at.Rules) -> at.Rules:
    """Whole numbers where whole numbers belong and floats elsewhere: another mixture would be compiled anew."""
    kinds = get_type_hints(at.Rules)
    return at.Rules._make(kinds[name](x) for name, x in rules._asdict().items())


def _check_given(
    seed: int | Sequence[int], common: int | Sequence[int] | None, guests: Sequence[float], warm_days: float
) -> None:
    _check_seed("seed", seed)
    if common is not None:
        _check_seed("common", common)
    if not all(is_number(money) and 0.0 <= money < math.inf for money in guests):
        raise BadInput(f"guests={guests!r}: write the money of each, numbers of at least 0")
    if not (is_number(warm_days) and 0.0 <= warm_days < math.inf):
        raise BadInput(f"warm_days={warm_days!r}: write a number of at least 0")


def _check_seed(name: str, seed: int | Sequence[int]) -> None:
    some = list(seed) if isinstance(seed, Sequence) else [seed]
    if not some or not all(is_whole(k) and k >= 0 for k in some):
        raise BadInput(f"{name}={seed!r}: write a whole number of at least 0, or several")


def _check_same_accounts(old: World, new: World) -> None:
    """Accounts, and the clock that rules and ring of prices are made for, stay those of the machine."""
    for name, before, after in (
        ("Crowd's accounts", (*counts(old.crowd), old.crowd.funds), (*counts(new.crowd), new.crowd.funds)),
        ("World.step_minutes", old.step_minutes, new.step_minutes),
        ("World.ticks", old.ticks, new.ticks),
    ):
        if before != after:
            raise BadInput(f"copy(world=): {name} cannot change, from {before} to {after}; make a new Machine")
    if not new.venue.tiers_for(new.coin.base):
        raise BadInput(f"{new.venue.name} has no maintenance tiers for {new.coin.base}")


def _floats(name: str, given: Sequence[float] | Floats) -> Floats:
    try:
        return np.ascontiguousarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(f"{name}={given!r}: write numbers") from None


def _checked_path(path: Floats, wanted: int) -> Floats:
    """What replaces the outside: return, volatility, news, mood and sentiment of each step."""
    found = _floats("path", path)
    if found.ndim != 2 or found.shape[1] != PATH_COLUMNS or len(found) < wanted:
        raise BadInput(f"path has the shape {found.shape}; {wanted} steps of {PATH_COLUMNS} columns are wanted")
    if not np.isfinite(found).all() or (found[:, steps.VOLATILITY] < 0.0).any():
        raise BadInput("path: write finite numbers, and volatilities (the second column) of at least 0")
    return found


FUNDING: dict[str, Callable[..., float]] = {
    "bybit": venue_rules.bybit_funding_rate,
    "okx": lambda premium, interval_hours, low, high: venue_rules.okx_funding_rate(premium, 0.0, low, high)
    * interval_hours / 8.0,
    "hyperliquid": lambda premium, interval_hours, low, high: venue_rules.hyperliquid_funding_rate_8h(premium)
    * interval_hours / 8.0,
    "dydx": lambda premium, interval_hours, low, high: venue_rules.dydx_funding_rate(premium) * interval_hours,
    "deribit": lambda premium, interval_hours, low, high: venue_rules.deribit_funding_rate_8h(premium)
    * interval_hours / 8.0,
}  # fmt: skip
EQUAL_WEIGHTS = ("okx", "hyperliquid", "dydx", "deribit")
HIGHEST_RATE = 0.02


def funding_rate(venue: str, samples: Sequence[float], hours: float, mmr: float) -> float:
    """The rate of one settlement by the venue's own formula, of the premium sampled since the one before."""
    cap = max(venue_rules.binance_funding_cap(mmr), 0.003)
    mean = venue_rules.average_premium(samples, rising_weights=venue not in EQUAL_WEIGHTS and hours > 1.0)
    rate = FUNDING.get(venue, venue_rules.binance_funding_rate)
    return rate(mean, interval_hours=hours, low=-cap, high=cap)
