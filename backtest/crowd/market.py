"""The simulated market: coins that never existed, on the venue `sim`, and how their history is run in parts.

    market = Simulated(days=30, symbols=2, seed=7)
    run = market.run(0)                    # the first coin, up to the market's start
    for history in run.parts(days=10): ... # backtest.crowd.machine.History, one after the other

1. A coin is the usual coin of `World` times its size: depth, money and volume keep their proportions within a fifth, as
   they were set together. Beta, own volatility, price and steps are its own, and brackets are scaled with its depth.
2. All coins share the market's factor and tides, by one seed; each has its own besides. So they rise and fall together,
   and a coin is the same however many are asked for.
3. At 40 % of the days brackets are tightened, at 75 % eased again. The second coin settles funding every four hours
   from 30 % to 70 %, the fourth always does. Changes come at midnight, and not at all in a span too short for them.
4. The venue's calendar counts from a Friday midnight. So the clock starts at the last Friday, and days before the
   start are run and thrown away, like those in which the crowd gathers. The hour before the start is kept: it says
   what was known at the first minute.

Where a run is cut into parts makes no difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from backtest.crowd.kernel import layout as at
from backtest.crowd.machine import History, Machine
from backtest.crowd.world import Coin, World
from backtest.venue import Tier, brackets, venue
from data.clock import DAY, HOUR, MINUTE, iso, moment, naive
from data.errors import BadInput

VENUE = "sim"
START = moment("2023-01-06")
FEWEST_ACCOUNTS = 100
FIRST_START, LAST_START, MOST_DAYS = moment("2010-01-01"), moment("2050-01-01"), 10 * 365
WARM_DAYS = 10  # in which the crowd gathers
FRIDAY = 4
A_DAY = DAY // MINUTE  # steps
AN_HOUR = HOUR // MINUTE

TIGHTENED, EASED = 0.40, 0.75  # parts of the days
EVERY_EIGHT: tuple[tuple[float, float], ...] = ((0.0, 8.0),)  # from which part of the days, hours
TIGHT = brackets(
    (25e3, 0.005, 100), (125e3, 0.0065, 75), (500e3, 0.0125, 40), (2.5e6, 0.025, 20), (10e6, 0.06, 8), (30e6, 0.12, 4),
    (100e6, 0.3, 1.5), (math.inf, 0.5, 1),
)  # fmt: skip


@dataclass(frozen=True)
class Listing:
    """One coin, as multiples of the usual one."""

    base: str
    price: float
    tick: float
    lot: float
    size: float = 1.0  # of depth, money and volume
    money: float = 1.0  # more or less rich than its size
    volume: float = 1.0
    beta: float = 1.0
    volatility: float = 0.25  # its own, a year
    funding: tuple[tuple[float, float], ...] = EVERY_EIGHT

    @property
    def symbol(self) -> str:
        return f"{self.base}/USDT:USDT"


COINS = (
    Listing("AURUM", 40_000.0, 0.1, 0.001),
    Listing("BERYL", 2_300.0, 0.01, 0.001, 0.55, 0.96, 1.1, 1.05, 0.28, ((0.0, 8.0), (0.3, 4.0), (0.7, 8.0))),
    Listing("CUPRITE", 95.0, 0.001, 0.01, 0.25, 1.06, 1.15, 1.1, 0.30),
    Listing("DIORITE", 0.62, 0.00001, 1.0, 0.14, 0.94, 0.9, 1.1, 0.32, ((0.0, 4.0),)),
    Listing("EPIDOTE", 14.5, 0.0001, 0.1, 0.09, 1.04, 1.1, 1.15, 0.34),
    Listing("FELSITE", 0.081, 0.000001, 10.0, 0.06, 0.92, 0.85, 1.2, 0.36),
)


@dataclass(frozen=True)
class Simulated:
    """What is simulated: `symbols` coins for `days` from `start` (nanoseconds, a midnight) on."""

    days: int = 365
    symbols: int = 2
    seed: int = 7
    start: int = START
    accounts: int = 20_000

    def __post_init__(self) -> None:
        if not 1 <= self.symbols <= len(COINS):
            raise BadInput(f"symbols={self.symbols}: the simulated market has 1 to {len(COINS)} symbols")
        if not 1 <= self.days <= MOST_DAYS:
            raise BadInput(f"days={self.days}: simulate 1 day to {MOST_DAYS // 365} years")
        if self.seed < 0:
            raise BadInput(f"seed={self.seed}: write a whole number of at least 0")
        if self.accounts < FEWEST_ACCOUNTS:
            raise BadInput(f"accounts={self.accounts}: a crowd has at least {FEWEST_ACCOUNTS} accounts")
        if self.start % DAY or not FIRST_START <= self.start <= LAST_START:
            span = f"{iso(FIRST_START)[:10]} to {iso(LAST_START)[:10]}"
            raise BadInput(f"start={iso(self.start)}: write a day, such as 2023-01-06, from {span}")

    @property
    def end(self) -> int:
        return self.start + self.days * DAY

    @property
    def lead_days(self) -> int:
        """Days from the last Friday to the start."""
        return (naive(self.start).weekday() - FRIDAY) % 7

    @property
    def first_step(self) -> int:
        return self.lead_days * A_DAY

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.symbol for c in COINS[: self.symbols])

    def when(self, step: int) -> int:
        """Nanoseconds at which a step begins."""
        return self.start + (step - self.first_step) * MINUTE

    def tiers(self, number: int) -> tuple[tuple[int, tuple[Tier, ...]], ...]:
        """The dated tables of a coin: days after the start, and brackets."""
        size = COINS[number].size
        usual = scaled(venue(VENUE).tiers, size)
        later = ((self._day(TIGHTENED), scaled(TIGHT, size)), (self._day(EASED), usual))
        found = {0: usual} | {day: table for day, table in later if 0 < day < self.days}
        return tuple(found.items())

    def funding(self, number: int) -> tuple[tuple[int, float], ...]:
        """Days after the start, and the hours between settlements from then on."""
        dated = [(self._day(share), hours) for share, hours in COINS[number].funding]
        found = dict(dated[:1]) | {day: hours for day, hours in dated[1:] if 0 < day < self.days}
        return tuple(found.items())

    def _day(self, share: float) -> int:
        return round(share * self.days)

    def world(self, number: int) -> World:
        """Everything about one coin."""
        c, usual, tiers = COINS[number], World(), self.tiers(number)
        return replace(
            usual,
            coin=Coin(
                c.base,
                c.price,
                c.tick,
                c.lot,
                depth=usual.coin.depth * c.size,
                volume=usual.coin.volume * c.size * c.volume,
                money=usual.coin.money * c.size * c.money,
                beta=c.beta,
            ),
            own=replace(usual.own, volatility=c.volatility),
            crowd=replace(usual.crowd, accounts=self.accounts),
            venue=replace(venue(VENUE), tiers=tiers[0][1]),
            tier_changes=tuple((float(self.lead_days + day), table) for day, table in tiers[1:]),
            funding_hours=tuple((float(self.lead_days + day) if day else 0.0, h) for day, h in self.funding(number)),
        )

    def run(self, number: int) -> Run:
        return Run(self, number)


def scaled(table: tuple[Tier, ...], size: float) -> tuple[Tier, ...]:
    """Brackets of positions `size` times as large, at whole thousands."""
    caps = [max(1e3, round(t.cap * size, -3)) if math.isfinite(t.cap) else math.inf for t in table]
    return brackets(*((cap, t.mmr, t.max_leverage) for cap, t in zip(caps, table, strict=True)))


class Run:
    """One coin, run from before the market's start to its end."""

    def __init__(self, market: Simulated, number: int) -> None:
        self.market, self.world = market, market.world(number)
        self.machine = Machine(self.world, seed=[market.seed, number + 1], common=[market.seed, 0], warm_days=0)
        self.machine.state[at.STEP] = -WARM_DAYS * A_DAY
        self.machine.run(count=WARM_DAYS * A_DAY + market.first_step - AN_HOUR)
        self.lead = self.machine.run(count=AN_HOUR)  # the hour before the start

    def parts(self, days: int) -> Iterator[History]:
        """History from the start to the end, so many days at a time."""
        left = self.market.days
        while left:
            some = min(days, left)
            yield self.machine.run(count=some * A_DAY)
            left -= some
