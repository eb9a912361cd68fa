"""What a simulated venue is made of: its coin, index, crowd and book, and the venue's own policy. All of it data.

    World(coin=Coin("BTC", ...), crowd=Crowd(accounts=20_000), venue=venue("binance"))

Each part is a small frozen dataclass, checked when made; `dataclasses.replace` makes variants. `rules_of` puts all
numbers into the one tuple that the compiled loop reads. Lengths of time are hours; rates are a day unless said
otherwise; sizes of moves are fractions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np

from backtest import calibration as cal
from backtest.crowd.kernel import deleverage as adl
from backtest.crowd.kernel import layout as at
from backtest.crowd.kernel.index import FactorRules
from backtest.crowd.kernel.layout import Floats, Rules
from backtest.given import is_number, is_whole
from backtest.venue import Tier, Venue, check_tiers, venue
from data.errors import BadInput, did_you_mean

DAYS_A_YEAR = 365.0
INFINITE = ("leverage_cap", "breaker_margin", "breaker_pause")  # without that limit

AdlPolicy = Literal["queue", "pro_rata", "capped", "capped_then_size", "min_max"]
ADL_POLICIES: dict[str, int] = {
    "queue": adl.QUEUE,
    "pro_rata": adl.PRO_RATA,
    "capped": adl.CAPPED,
    "capped_then_size": adl.CAPPED_THEN_SIZE,
    "min_max": adl.MIN_MAX,
}
RANKINGS = {"binance": adl.BY_BINANCE, "hyperliquid": adl.BY_HYPERLIQUID, "dydx": adl.BY_TURN}
MARKS = {"okx": at.BASIS_MARK, "dydx": at.INDEX_MARK, "deribit": at.BASIS_MARK}
REDUCTIONS = {
    "none": at.REDUCE_NONE,
    "tier": at.REDUCE_TIER,
    "two_tiers": at.REDUCE_TWO_TIERS,
    "fraction": at.REDUCE_FRACTION,
}


def _above(name: str, value: float, low: float = 0.0, high: float = math.inf, *, closed: bool = False) -> None:
    inside = is_number(value) and value <= high and value == value and (value >= low if closed else value > low)
    if not inside:
        rest = f" and at most {high:g}" if high < math.inf else ""
        raise BadInput(f"{name}={value!r}: write a number {'of at least' if closed else 'above'} {low:g}{rest}")


def _finite(part: object, name: str, *, zero: tuple[str, ...] = (), signed: tuple[str, ...] = ()) -> None:
    """Every plain number of a part: above zero, or at least zero, or of any sign."""
    for one in fields(part):  # type: ignore[arg-type]
        value = getattr(part, one.name)
        if one.type != "float" or (one.name in INFINITE and value == math.inf):
            continue
        if not (is_number(value) and math.isfinite(value)):
            raise BadInput(f"{name}.{one.name}={value!r}: write a finite number")
        if one.name not in signed:
            _above(f"{name}.{one.name}", value, closed=one.name in zero)


@dataclass(frozen=True)
class Coin:
    """The contract: what it costs, how deep its book is, and how rich its crowd."""

    base: str = "BTC"
    price: float = 40_000.0
    tick: float = 0.1
    lot: float = 0.001
    depth: float = 21e6  # quote currency within 1 %, one side, in quiet times
    volume: float = 2.4e9  # quote currency a day
    money: float = 300e6  # of the whole crowd, in quote currency
    beta: float = 1.0  # to the market's factor

    def __post_init__(self) -> None:
        _finite(self, "Coin", zero=("beta",))

    @property
    def symbol(self) -> str:
        return f"{self.base}/USDT:USDT"


@dataclass(frozen=True)
class Factor:
    """One outside force on the index: the market's, or a coin's own."""

    volatility: float = 0.45  # a year
    slow: float = 0.25  # standard deviation of log volatility, slow part
    slow_hours: float = 240.0  # half-life
    fast: float = 0.35
    fast_hours: float = 4.0
    jumps: float = 4.0  # a day
    jump_size: float = 5.0  # in standard deviations of a step
    news: float = 30.0  # a year
    news_size: float = 0.035
    news_quick: float = 0.5  # part of it that is in the price within minutes
    news_minutes: float = 3.0  # half-life of the quick part
    news_slow_minutes: float = 30.0
    burst: float = 0.6  # added to log volatility
    burst_hours: float = 2.0
    drift: float = 0.0  # a year

    def __post_init__(self) -> None:
        _finite(
            self,
            "Factor",
            zero=("slow", "fast", "jumps", "jump_size", "news", "news_size", "news_quick", "burst"),
            signed=("drift",),
        )
        _above("Factor.news_quick", self.news_quick, 0.0, 1.0, closed=True)

    def rules(self, step_minutes: float) -> FactorRules:
        a_day = 1440.0 / step_minutes
        a_year = a_day * DAYS_A_YEAR
        slow, fast = kept(self.slow_hours, step_minutes), kept(self.fast_hours, step_minutes)
        return FactorRules(
            sigma=self.volatility / math.sqrt(a_year),
            slow_keep=slow,
            slow_shock=self.slow * math.sqrt(1.0 - slow * slow),
            fast_keep=fast,
            fast_shock=self.fast * math.sqrt(1.0 - fast * fast),
            burst_keep=kept(self.burst_hours, step_minutes),
            burst=self.burst,
            jump_chance=self.jumps / a_day,
            jump_size=self.jump_size,
            news_chance=self.news / a_year,
            news_size=self.news_size,
            news_quick=self.news_quick,
            news_keep=kept(self.news_minutes / 60.0, step_minutes),
            news_slow_keep=kept(self.news_slow_minutes / 60.0, step_minutes),
            drift=self.drift / a_year,
        )


def kept(half_life_hours: float, step_minutes: float) -> float:
    """The part kept a step."""
    return float(0.5 ** (step_minutes / 60.0 / half_life_hours))


@dataclass(frozen=True)
class Crowd:
    """Who trades with leverage, and how."""

    accounts: int = 20_000
    fast_share: float = 0.15  # of the accounts look often and take high leverage
    fast_look_hours: float = 1.0
    slow_look_hours: float = 10.0
    carry_share: float = 0.03  # of the accounts are carry traders, who have `carry_money` of the crowd's money
    carry_money: float = 0.20
    carry_hurdle: float = 0.0002  # funding of 8 hours from which the average one goes in
    carry_exit: float = 0.4
    funds: int = 10
    fund_money: float = 0.004  # of the crowd's money, each
    fund_aggression: float = 1.0  # times 5 to 50, leverage per unit of log mispricing
    fund_limit: float = 5.0  # leverage
    cross_share: float = 0.45
    stop_share: float = 0.33
    leverage: tuple[tuple[float, float], ...] = (
        (1.2, 0.15), (2, 0.25), (3, 0.25), (5, 0.20), (10, 0.12), (20, 0.03),
    )  # fmt: skip
    fast_leverage: tuple[tuple[float, float], ...] = (
        (5, 0.25), (10, 0.35), (20, 0.25), (25, 0.08), (50, 0.05), (100, 0.02),
    )  # fmt: skip
    entry: float = 0.30  # chance that a flat account that looks opens a position, in a neutral mood
    trend: float = 0.35
    opinion: float = 0.35
    against_funding: float = 0.10
    long_bias: float = 0.35
    mood_hours: float = 200.0
    sentiment_hours: float = 60.0
    mood_leverage: float = 0.20
    mood_entry: float = 0.45
    trend_entry: float = 0.2
    fast_trend_hours: float = 3.0
    slow_trend_hours: float = 72.0
    fast_patience_hours: float = 4.0
    slow_patience_hours: float = 60.0
    derisk: float = 0.45  # loss of margin from which fear sets in
    fear: float = 0.35
    take_profit: float = 0.8
    largest: float = 0.05  # position, as a part of quiet depth
    slice: float = 0.03  # order by choice, as a part of the depth displayed
    ruin: float = 0.15  # of the money it came with

    def __post_init__(self) -> None:
        if not (isinstance(self.accounts, int) and self.accounts >= 100):
            raise BadInput(f"Crowd.accounts={self.accounts!r}: write a whole number of at least 100")
        if not (is_whole(self.funds) and self.funds >= 0):
            raise BadInput(f"Crowd.funds={self.funds!r}: write a whole number of at least 0")
        may_be_zero = (
            "fast_share", "carry_share", "carry_money", "carry_hurdle", "carry_exit", "fund_money", "fund_aggression",
            "fund_limit", "cross_share", "stop_share", "entry", "mood_leverage", "mood_entry", "trend_entry", "derisk",
            "fear", "take_profit", "largest", "slice", "ruin",
        )  # fmt: skip
        _finite(self, "Crowd", zero=may_be_zero, signed=("trend", "opinion", "against_funding", "long_bias"))
        for name in ("fast_share", "carry_share", "cross_share", "stop_share", "carry_money"):
            _above(f"Crowd.{name}", getattr(self, name), 0.0, 1.0, closed=True)
        for name in ("leverage", "fast_leverage"):
            mixture = getattr(self, name)
            if not _is_mixture(mixture):
                raise BadInput(f"Crowd.{name}: pairs of leverage (at least 1) and share, such as ((5, 0.7), (20, 0.3))")


def _is_mixture(mixture: object) -> bool:
    rows = mixture if isinstance(mixture, tuple) else ()
    pairs = all(
        isinstance(row, tuple) and len(row) == 2 and all(is_number(x) and x < math.inf for x in row) for row in rows
    )
    return (
        bool(rows)
        and pairs
        and all(lev >= 1.0 and share >= 0.0 for lev, share in rows)
        and sum(s for _, s in rows) > 0.0
    )


@dataclass(frozen=True)
class Book:
    """Makers, arbitrage and what a flow does to prices."""

    half_spread: float = 0.00003
    to_index: float = 0.8
    permanent: float = 0.25  # part of what a flow would move a quiet book that stays
    pressure_hours: float = 0.4  # half-life
    premium_hours: float = 0.15
    premium_slope: float = 0.006  # premium at which dealers are short ten times the quiet depth
    basis_minutes: float = 3.0
    refill_minutes: float = 1.0
    thin_minutes: float = cal.STRESS_HALF_LIFE.value
    thin_sigmas: float = 11.5  # between the median (12.8) and the worst tenth (6) of calibration.STRESS_SIGMAS
    thin_liquidations: float = cal.STRESS_LIQUIDATIONS.value
    thin_most: float = 1.0 / cal.STRESS_DEPTH_FLOOR.value - 1.0
    value_distance: float = 0.06
    inventory: float = 12.0  # of quiet depth: the makers' inventory that takes half the book away
    hand_on_minutes: float = 10.0  # half-life of the makers' inventory
    wave_cap: float = 0.3
    engine_rate: float = 0.8

    def __post_init__(self) -> None:
        for name in ("to_index", "permanent"):
            _above(f"Book.{name}", getattr(self, name), 0.0, 1.0, closed=True)
        _finite(
            self,
            "Book",
            zero=("half_spread", "to_index", "permanent", "premium_slope", "thin_liquidations", "thin_most"),
        )


@dataclass(frozen=True)
class Policy:
    """What a venue can turn: how it deleverages, how it limits leverage, when it stops trading."""

    adl: AdlPolicy = "queue"
    adl_cap: float = 1.0  # "capped": haircut at most this part of the winner's profit, each time
    adl_fall: float = 1.0  # ADL begins when the fund has fallen by this part of its 8-hour peak; 1: when it is empty
    fund: float = 0.01  # insurance fund at the start, as a part of the crowd's money
    leverage_cap: float = math.inf
    maintenance: float = 1.0  # times the venue's rates; above 1 the highest leverage falls as much
    breaker_margin: float = math.inf  # volatility over normal from which initial margins rise ...
    breaker_factor: float = 1.5  # ... by this
    breaker_pause: float = math.inf  # volatility over normal from which no position is opened
    breaker_minutes: float = 15.0

    def __post_init__(self) -> None:
        if self.adl not in ADL_POLICIES:
            raise BadInput(f"Policy.adl={self.adl!r}: {did_you_mean(str(self.adl), ADL_POLICIES)}")
        _above("Policy.adl_fall", self.adl_fall, 0.0, 1.0)
        _above("Policy.fund", self.fund, 0.0, closed=True)
        _above("Policy.leverage_cap", self.leverage_cap, 1.0, closed=True)
        _finite(self, "Policy", zero=("fund",))


@dataclass(frozen=True)
class World:
    """All of it: one coin on one venue."""

    coin: Coin = field(default_factory=Coin)
    market: Factor = field(default_factory=Factor)
    own: Factor = field(default_factory=lambda: Factor(volatility=0.25, slow=0.3, fast=0.35, news=4.0, jumps=1.0))
    crowd: Crowd = field(default_factory=Crowd)
    book: Book = field(default_factory=Book)
    policy: Policy = field(default_factory=Policy)
    venue: Venue = field(default_factory=lambda: venue("sim"))
    tier_changes: tuple[tuple[float, tuple[Tier, ...]], ...] = ()  # (from day, the table from then on)
    funding_hours: tuple[tuple[float, float], ...] = ()  # (from day, hours between settlements); none: the venue's
    step_minutes: float = 1.0
    ticks: int = 4

    def __post_init__(self) -> None:
        if self.venue.contract != "linear":
            raise BadInput(f"the simulated venue trades linear contracts; {self.venue.name} is {self.venue.contract}")
        if not (is_number(self.step_minutes) and 0.0 < self.step_minutes <= 60.0 and 60.0 % self.step_minutes == 0.0):
            raise BadInput(f"step_minutes={self.step_minutes!r}: write minutes that divide an hour, such as 1 or 5")
        if not (is_whole(self.ticks) and self.ticks >= 1):
            raise BadInput(f"ticks={self.ticks!r}: write 1 or more")
        for name, dated in (("tier_changes", self.tier_changes), ("funding_hours", self.funding_hours)):
            days = [day for day, _ in dated]
            if not all(is_number(day) and 0.0 <= day < math.inf for day in days) or days != sorted(days):
                raise BadInput(f"{name}: write days in order, numbers of at least 0; these are {days}")
        if self.funding_hours and self.funding_hours[0][0] != 0.0:
            raise BadInput("funding_hours: the first is from day 0, such as ((0, 8), (30, 4))")
        for day, table in self.tier_changes:
            check_tiers(table, self.venue.tier_rule, f"tiers from day {day:g}", self.venue.closing_fee)
        for _, hours in self.funding_hours:
            if hours not in (1.0, 2.0, 4.0, 8.0):
                raise BadInput(f"funding_hours: {hours!r} hours between settlements; write 1, 2, 4 or 8")

    @property
    def intervals(self) -> tuple[tuple[float, float], ...]:
        """Hours between settlements, from day."""
        return self.funding_hours or ((0.0, self.venue.funding.interval_hours),)

    @property
    def sigma(self) -> float:
        """Normal standard deviation of a step."""
        a_year = 1440.0 / self.step_minutes * DAYS_A_YEAR
        return math.hypot(self.coin.beta * self.market.volatility, self.own.volatility) / math.sqrt(a_year)


def tiers_of(world: World, day: float = 0.0) -> Floats:
    """The brackets of a day as rows of backtest.margin, with the policy's own limits."""
    rows = world.venue.tiers_for(world.coin.base)
    for since, table in world.tier_changes:
        rows = table if day >= since else rows
    factor, cap = world.policy.maintenance, world.policy.leverage_cap
    made = [
        (
            t.floor,
            t.cap,
            min(t.mmr * factor, 0.9),
            max(1.0, min(t.max_leverage / max(1.0, factor), cap)),
            t.cum * factor,
        )
        for t in rows
    ]
    return np.array(made, dtype=np.float64).reshape(-1, 5)


def rules_of(world: World) -> Rules:
    """Every number for the compiled loop."""
    c, b, p, v, w = world.crowd, world.book, world.policy, world.venue, world
    minutes = w.step_minutes
    tick_minutes = minutes / w.ticks
    retail, fast, carry = counts(c)

    def per_step(half_life_minutes: float) -> float:
        return kept(half_life_minutes / 60.0, minutes)

    def per_tick(half_life_minutes: float) -> float:
        return kept(half_life_minutes / 60.0, tick_minutes)

    return Rules(
        ticks=w.ticks,
        taker_fee=v.fees.taker,
        closing_fee=v.closing_fee,
        liquidation_fee=v.fees.liquidation,
        reduction=REDUCTIONS[v.liquidation.reduction],
        reduction_fraction=v.liquidation.fraction,
        reduction_above=v.liquidation.above,
        takeover=int(v.liquidation.residual == "takeover"),
        backstop=v.liquidation.backstop,
        mark_kind=MARKS.get(v.name, at.MEDIAN_MARK),
        adl_policy=ADL_POLICIES[p.adl],
        adl_ranking=RANKINGS.get(v.name, adl.BY_LEVERAGED_PROFIT),
        adl_at_mark=int(v.adl.price != "bankruptcy"),
        adl_cap=p.adl_cap,
        adl_fall=p.adl_fall,
        depth=w.coin.depth,
        half_spread=b.half_spread,
        to_index=b.to_index,
        permanent=b.permanent,
        pressure_decay=kept(b.pressure_hours, minutes),
        premium_decay=kept(b.premium_hours, minutes),
        premium_slope=b.premium_slope / (10.0 * w.coin.depth / w.coin.price),
        basis_decay=per_tick(b.basis_minutes),
        thin_sigmas=b.thin_sigmas,
        thin_liquidations=b.thin_liquidations,
        thin_decay=per_tick(b.thin_minutes),
        thin_most=b.thin_most,
        refill=per_tick(b.refill_minutes),
        value_distance=b.value_distance,
        inventory=b.inventory * w.coin.depth / w.coin.price,
        hand_on=1.0 - per_step(b.hand_on_minutes),
        wave_cap=b.wave_cap,
        engine_rate=b.engine_rate,
        retail=retail,
        fast=fast,
        carry=carry,
        funds=c.funds,
        fast_looks=fast / (c.fast_look_hours * 60.0 / minutes),
        slow_looks=(retail - fast) / (c.slow_look_hours * 60.0 / minutes),
        carry_looks=carry / (c.slow_look_hours * 60.0 / minutes),
        entry=c.entry,
        trend=c.trend,
        opinion=c.opinion,
        against_funding=c.against_funding,
        long_bias=c.long_bias,
        mood_leverage=c.mood_leverage,
        mood_entry=c.mood_entry,
        trend_entry=c.trend_entry,
        fear=c.fear,
        derisk=c.derisk,
        take_profit=c.take_profit,
        largest=c.largest * w.coin.depth,
        slice=c.slice,
        fund_aggression=c.fund_aggression,
        fund_limit=c.fund_limit,
        carry_hurdle=c.carry_hurdle,
        carry_exit=c.carry_exit,
        ruin=c.ruin,
        fast_memory=kept(c.fast_trend_hours, minutes),
        slow_memory=kept(c.slow_trend_hours, minutes),
        variance_memory=kept(12.0, minutes),
        breaker_margin=p.breaker_margin,
        breaker_pause=p.breaker_pause,
        breaker_factor=p.breaker_factor,
        breaker_steps=p.breaker_minutes / minutes,
        sigma=w.sigma,
        snapshot=max(1, round(5.0 / minutes)),
        trades=1,
    )


def counts(c: Crowd) -> tuple[int, int, int]:
    """Accounts of the crowd, those of them that look often, carry traders."""
    carry = round(c.accounts * c.carry_share)
    retail = c.accounts - carry
    return retail, round(retail * c.fast_share), carry
