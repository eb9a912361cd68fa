"""Twelve facts of real perpetual markets: how each is measured, and the band in which a simulated market must lie.

1. A `Tape` is one symbol on a grid of time. `measure` turns it into numbers by name, one or more for each fact.
2. A `Band` says between which values a number must lie, what was measured on real data and where. The bands were set
   from real data alone; `benchmarks/real_facts.py` measures it again.
3. `judge` takes the numbers of many tapes (seeds, symbols). A band holds if the median over the tapes lies in it; a
   fact is hit if all its bands hold.

Conventions, unless a measure says otherwise:

* What is not known is NaN, or an empty array. Measures leave it out, by pairs where there are two series. The number is
  NaN where too little is left to tell; `judge` leaves such tapes out, and a band that no tape can tell does not hold.
* Returns are differences of log closes, at the horizon's marks only (they do not overlap). Marks count from the
  beginning of the tape: a tape that begins at midnight has hours and days of the clock. A horizon that is no multiple
  of the step cannot be told.
* Kurtosis is that of a normal distribution at 3, not at 0.
* Of the cascades, the largest by forced flow are taken, `CASCADES_A_YEAR` for the length of the tape and at least
  `FEWEST`; real events were picked just as rarely, and a list of every ripple would have other medians. Where no
  forced flow is known, all of them are.
* The bands were drawn from tapes of 90 days and hold for two months to a year: autocorrelations of short tapes are too
  low, the kurtosis and the worst cascade of long ones higher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data.errors import BadInput

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

MINUTE, HOUR, DAY, YEAR = 60, 3_600, 86_400, 365 * 86_400  # seconds
HOURS_OF_RATE = 8.0  # rates of funding are compared as those of eight hours
FLOOR = 1e-4  # the interest of eight hours: where the clamp leaves the rate while the premium is small
RATE_DIGIT = 1e-8  # rates are published in this step
TAIL = 0.02  # the part of returns that is the tail
FEWEST_IN_TAIL, FEWEST_RETURNS, FEWEST_PAIRS, FEWEST_RATES, FEWEST_HOURS = 20, 60, 250, 30, 500
WORST_HOURS, WORST_DAYS = 0.01, 0.05  # the part that are "the largest falls"
CASCADES_A_YEAR = 24
FEWEST = 3  # cascades, or days, below which a median says nothing
SMALLEST = 1e-14  # a spread that rounding alone makes


class Cascades(NamedTuple):
    """Columns of equal length, one row a cascade."""

    start: Ints  # first step
    end: Ints  # step after the last
    side: Ints  # 1: longs were thrown out, -1: shorts
    news: Flags  # set off by a news shock, not from within


def no_cascades() -> Cascades:
    none = np.empty(0, np.int64)
    return Cascades(none, none, none, np.empty(0, np.bool_))


def nothing() -> Floats:
    return np.empty(0, np.float64)


@dataclass(frozen=True)
class Tape:
    """One symbol on a grid of `step_s` seconds. Series have the length of `close`, or none where they are not known."""

    step_s: int
    close: Floats
    open_interest: Floats = field(default_factory=nothing)  # coins, at the end of the step
    depth: Floats = field(default_factory=nothing)  # quote currency within 1 %, mean of both sides, at its end
    liq_long: Floats = field(default_factory=nothing)  # notional of longs liquidated in the step
    liq_short: Floats = field(default_factory=nothing)
    settled: Ints = field(default_factory=lambda: np.empty(0, np.int64))  # step of each settlement of funding
    rate: Floats = field(default_factory=nothing)  # as settled, a fraction
    hours: Floats = field(default_factory=nothing)  # its interval
    cascades: Cascades = field(default_factory=no_cascades)

    def __post_init__(self) -> None:
        for name in ("open_interest", "depth", "liq_long", "liq_short"):
            length = len(getattr(self, name))
            if length == 0:
                object.__setattr__(self, name, np.full(len(self.close), np.nan))
            elif length != len(self.close):
                raise BadInput(f"{name} has {length} steps, close has {len(self.close)}")

    def steps(self, seconds: int) -> int:
        """0: not a whole number of them."""
        return seconds // self.step_s if seconds % self.step_s == 0 else 0

    @property
    def value(self) -> Floats:
        """Open interest in quote currency."""
        return self.open_interest * self.close


class Measured(NamedTuple):
    name: str
    value: float  # NaN: the tape cannot tell


# --- measures: arrays in, one number out -----------------------------------------------------------------------------


def known(x: Floats) -> Floats:
    there: Floats = x[np.isfinite(x)]
    return there


def pairs(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    there = np.isfinite(x) & np.isfinite(y)
    return x[there], y[there]


def at_marks(x: Floats, every: int) -> Floats:
    """The last value of each group of `every` steps; empty if `every` is 0."""
    return x[every - 1 :: every] if every > 0 else x[:0]


def sums(x: Floats, every: int) -> Floats:
    """By whole groups of `every` steps. NaN: nothing in the group is known."""
    if every == 0:
        return x[:0]
    groups = x[: len(x) // every * every].reshape(-1, every)
    total = np.where(np.isfinite(groups), groups, 0.0).sum(axis=1)
    return np.where(np.isfinite(groups).any(axis=1), total, np.nan)


def means(x: Floats, every: int) -> Floats:
    """By whole groups of `every` steps, of what is known in them. NaN: nothing is."""
    return sums(x, every) / np.maximum(sums(np.isfinite(x).astype(np.float64), every), 1.0)


def changes(x: Floats, every: int) -> Floats:
    """Differences of logs between marks. NaN: either end is not known, or not above zero."""
    marks = at_marks(x, every)
    return np.diff(np.log(np.where(marks > 0.0, marks, np.nan)))


def tail_index(r: Floats, part: float = TAIL) -> float:
    """Hill's estimate from the largest `part` of |r|, both tails together. NaN: fewer than 20 of them."""
    size = np.sort(np.abs(known(r)))
    count = int(len(size) * part)
    if count < FEWEST_IN_TAIL or size[-count - 1] <= 0.0:
        return math.nan
    excess = float(np.mean(np.log(size[-count:] / size[-count - 1])))
    return 1.0 / excess if excess > SMALLEST else math.nan


def kurtosis(r: Floats) -> float:
    """Fourth moment over the square of the second, about the mean. NaN: fewer than 60 returns, or no spread."""
    apart = known(r)
    if len(apart) < FEWEST_RETURNS:
        return math.nan
    apart = apart - apart.mean()
    second = float(np.mean(apart**2))
    return float(np.mean(apart**4)) / second**2 if math.sqrt(second) > SMALLEST else math.nan


def autocorrelation(x: Floats, lag: int) -> float:
    """Over the variance of all that is known. NaN: fewer than 250 pairs, or no spread."""
    if not 0 < lag < len(x):
        return math.nan
    apart = x - known(x).mean() if len(known(x)) else x
    early, late = pairs(apart[:-lag], apart[lag:])
    if len(early) < FEWEST_PAIRS:
        return math.nan
    variance = float(np.mean(known(apart) ** 2))
    return float(np.mean(early * late)) / variance if math.sqrt(variance) > SMALLEST else math.nan


def ranks(x: Floats) -> Floats:
    """From 0; equal values share the mean of theirs."""
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    shared = np.cumsum(count) - (count + 1) / 2.0
    return np.asarray(shared[place], dtype=np.float64)


def rank_correlation(x: Floats, y: Floats) -> float:
    """Spearman's: one crash does not decide it. NaN: fewer than 250 pairs, or one of them never changes."""
    a, b = pairs(x, y)
    if len(a) < FEWEST_PAIRS or np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        return math.nan
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def eight_hours(rate: Floats, hours: Floats) -> Floats:
    """Rates of funding as those of eight hours. NaN: the interval is not known."""
    return rate * HOURS_OF_RATE / np.where(hours > 0.0, hours, np.nan)


def share_at_floor(rate: Floats, hours: Floats) -> float:
    """Part of the settlements at exactly the interest of their interval, to the digit published. NaN: fewer than 30."""
    off = known(np.abs(rate - FLOOR * hours / HOURS_OF_RATE))
    return float(np.mean(off <= RATE_DIGIT)) if len(off) >= FEWEST_RATES else math.nan


def deviation_bps(rate_8h: Floats) -> float:
    """NaN: fewer than 30."""
    there = known(rate_8h)
    return float(np.std(there)) * 1e4 if len(there) >= FEWEST_RATES else math.nan


def range_bps(rate_8h: Floats) -> float:
    """From the 5 % quantile to the 95 % one. NaN: fewer than 30."""
    there = known(rate_8h)
    low, high = np.quantile(there, [0.05, 0.95]) if len(there) >= FEWEST_RATES else (math.nan, math.nan)
    return float(high - low) * 1e4


def liquidated_pct(liquidated: Floats, value: Floats, day: int) -> float:
    """What was liquidated in a day over the day's mean open interest, in %, mean over whole days.

    Both are in quote currency. Days without either are left out. NaN: fewer than three are left.
    """
    amount, held = sums(liquidated, day), means(value, day)
    part = known(amount / np.where(held > 0.0, held, np.nan))
    return float(part.mean()) * 100.0 if len(part) >= FEWEST else math.nan


def share_of_longs(r: Floats, longs: Floats, shorts: Floats, part: float, fewest: int) -> float:
    """Longs in all that was liquidated in the `part` of the bars with the lowest returns, at least three of them.

    NaN: fewer than `fewest` bars of which all three are known, or nothing was liquidated.
    """
    there = np.isfinite(r) & np.isfinite(longs) & np.isfinite(shorts)
    if np.count_nonzero(there) < fewest:
        return math.nan
    worst = np.argsort(r[there], kind="stable")[: max(int(np.count_nonzero(there) * part), FEWEST)]
    long, short = float(longs[there][worst].sum()), float(shorts[there][worst].sum())
    return long / (long + short) if long + short > 0.0 else math.nan


def lost_open_interest(open_interest: Floats, start: int, end: int, hour: int) -> float:
    """1 - lowest, until an hour after the end / highest, in the hour before the start. Negative: it grew.

    NaN: nothing is known of one of them.
    """
    before, after = known(open_interest[max(start - hour, 0) : start]), known(open_interest[start : end + hour])
    if len(before) == 0 or len(after) == 0 or before.max() <= 0.0:
        return math.nan
    return 1.0 - float(after.min() / before.max())


def lost_depth(depth: Floats, start: int, end: int, day: int) -> float:
    """How many times thinner: median of the day before / lowest of the cascade. Infinite: an empty book.

    NaN: less than an hour of that day is known, or nothing of the cascade.
    """
    before, during = known(depth[max(start - day, 0) : start]), known(depth[start:end])
    if len(before) < max(day // 24, 1) or len(during) == 0:
        return math.nan
    lowest = float(during.min())
    return float(np.median(before)) / lowest if lowest > 0.0 else math.inf


def reversal_bps(close: Floats, peak: int, side: int, later: int) -> float:
    """Return from the close of step `peak` to that of `later` steps on, against the cascade. NaN: one is not known."""
    if later == 0 or peak < 0 or peak + later >= len(close):
        return math.nan
    at, then = float(close[peak]), float(close[peak + later])
    return side * math.log(then / at) * 1e4 if at > 0.0 and then > 0.0 else math.nan


def worst(values: Floats) -> float:
    """The largest. NaN: there is none."""
    there = values[~np.isnan(values)]
    return float(there.max()) if len(there) else math.nan


def middle(values: Floats) -> float:
    """The median: a mean over a few cascades is that of the largest alone. NaN: fewer than three."""
    there = values[~np.isnan(values)]
    return float(np.median(there)) if len(there) >= FEWEST else math.nan


# --- cascades --------------------------------------------------------------------------------------------------------


def forced_flow(tape: Tape, row: int) -> Floats:
    """By step of the cascade: what was liquidated of the side that was thrown out; 0 where that is not known."""
    one = tape.cascades
    flow = tape.liq_long if one.side[row] > 0 else tape.liq_short
    return np.nan_to_num(flow[one.start[row] : one.end[row]])


def largest(tape: Tape, chosen: Flags) -> list[int]:
    """Rows of the cascades with the most forced flow, among the chosen; all, where none is known."""
    rows = [int(row) for row in np.flatnonzero(chosen)]
    flow = {row: float(forced_flow(tape, row).sum()) for row in rows}
    if not any(flow.values()):
        return rows
    allowed = max(round(CASCADES_A_YEAR * len(tape.close) * tape.step_s / YEAR), FEWEST)
    return sorted(rows, key=lambda row: -flow[row])[:allowed]


def peak_step(tape: Tape, row: int) -> int:
    """The step with the most forced flow; -1: there is none."""
    flow = forced_flow(tape, row)
    return int(tape.cascades.start[row]) + int(np.argmax(flow)) if flow.any() else -1


def over_cascades(tape: Tape, number: Callable[[int, int], float]) -> Floats:
    """One number, of (start, end), for each of the largest cascades."""
    one = tape.cascades
    rows = largest(tape, np.ones(len(one.start), np.bool_))
    return np.array([number(int(one.start[row]), int(one.end[row])) for row in rows], dtype=np.float64)


def reversals(tape: Tape, news: bool, minutes: int) -> Floats:
    one, later = tape.cascades, tape.steps(minutes * MINUTE)
    rows = largest(tape, one.news == news)
    found = [reversal_bps(tape.close, peak_step(tape, row), int(one.side[row]), later) for row in rows]
    return np.array(found, dtype=np.float64)


# --- the facts: one tape in, numbers by name out ---------------------------------------------------------------------

HORIZONS = {"1m": MINUTE, "5m": 5 * MINUTE, "1h": HOUR, "1d": DAY}


def returns(tape: Tape, horizon: str) -> Floats:
    return changes(tape.close, tape.steps(HORIZONS[horizon]))


def tails(tape: Tape) -> Iterator[Measured]:
    for horizon in ("5m", "1h"):
        yield Measured(f"tail index {horizon}", tail_index(returns(tape, horizon)))


def peaks(tape: Tape) -> Iterator[Measured]:
    found = {horizon: kurtosis(returns(tape, horizon)) for horizon in HORIZONS}
    for horizon, value in found.items():
        yield Measured(f"kurtosis {horizon}", value)
    yield Measured("kurtosis 5m / 1h", found["5m"] / found["1h"])
    yield Measured("kurtosis 1h / 1d", found["1h"] / found["1d"])


def memory(tape: Tape) -> Iterator[Measured]:
    size = np.abs(returns(tape, "1h"))
    for lag in (1, 24, 168):
        yield Measured(f"autocorrelation |r| {lag}h", autocorrelation(size, lag))


def no_memory(tape: Tape) -> Iterator[Measured]:
    for horizon in ("1m", "5m", "1h"):
        yield Measured(f"autocorrelation r {horizon}", autocorrelation(returns(tape, horizon), 1))


def following(tape: Tape) -> Iterator[Measured]:
    r, hour = returns(tape, "1h"), tape.steps(HOUR)
    yield Measured("coins and return", rank_correlation(changes(tape.open_interest, hour), r))
    yield Measured("value and return", rank_correlation(changes(tape.value, hour), r))


def floor(tape: Tape) -> Iterator[Measured]:
    yield Measured("share at the floor", share_at_floor(tape.rate, tape.hours))


def spread(tape: Tape) -> Iterator[Measured]:
    rate_8h = eight_hours(tape.rate, tape.hours)
    yield Measured("funding deviation", deviation_bps(rate_8h))
    yield Measured("funding range", range_bps(rate_8h))


def liquidated(tape: Tape) -> Iterator[Measured]:
    day = tape.steps(DAY)
    yield Measured("longs liquidated a day", liquidated_pct(tape.liq_long, tape.value, day))
    yield Measured("shorts liquidated a day", liquidated_pct(tape.liq_short, tape.value, day))


def deleveraging(tape: Tape) -> Iterator[Measured]:
    hour = tape.steps(HOUR)
    lost = over_cascades(tape, lambda start, end: lost_open_interest(tape.open_interest, start, end, hour))
    yield Measured("open interest lost, worst", worst(lost))
    yield Measured("open interest lost, median", middle(lost))


def thinning(tape: Tape) -> Iterator[Measured]:
    day = tape.steps(DAY)
    lost = over_cascades(tape, lambda start, end: lost_depth(tape.depth, start, end, day))
    yield Measured("depth lost, worst", worst(lost))
    yield Measured("depth lost, median", middle(lost))


def dominance(tape: Tape) -> Iterator[Measured]:
    for horizon, part, fewest in (("1h", WORST_HOURS, FEWEST_HOURS), ("1d", WORST_DAYS, FEWEST_RETURNS)):
        every = tape.steps(HORIZONS[horizon])
        longs, shorts = sums(tape.liq_long, every)[1:], sums(tape.liq_short, every)[1:]
        share = share_of_longs(returns(tape, horizon), longs, shorts, part, fewest)
        yield Measured(f"longs in the worst {horizon}", share)


def rebound(tape: Tape) -> Iterator[Measured]:
    forced = {minutes: middle(reversals(tape, False, minutes)) for minutes in (5, 15, 30)}
    news = {minutes: middle(reversals(tape, True, minutes)) for minutes in (5, 15, 30)}
    for minutes in (5, 15, 30):
        yield Measured(f"reversal {minutes}m, forced", forced[minutes])
        yield Measured(f"reversal {minutes}m, news", news[minutes])
    yield Measured("reversal 15m, forced - news", forced[15] - news[15])


class Fact(NamedTuple):
    number: int
    title: str
    numbers: Callable[[Tape], Iterator[Measured]]


FACTS = (
    Fact(1, "fat tails", tails),
    Fact(2, "kurtosis that falls with the horizon", peaks),
    Fact(3, "long memory of volatility", memory),
    Fact(4, "no memory of returns", no_memory),
    Fact(5, "open interest in coins hardly follows the price", following),
    Fact(6, "funding rests at the interest floor", floor),
    Fact(7, "spread of the funding rate", spread),
    Fact(8, "what is liquidated in a day", liquidated),
    Fact(9, "open interest lost in cascades", deleveraging),
    Fact(10, "depth lost in cascades", thinning),
    Fact(11, "falls liquidate longs", dominance),
    Fact(12, "forced flow reverses within minutes, news does not", rebound),
)


def measure(tape: Tape) -> dict[str, float]:
    """All numbers of a tape by name, those without a band included."""
    return {one.name: one.value for fact in FACTS for one in fact.numbers(tape)}


# --- bands -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Band:
    fact: int
    name: str  # of a number of `measure`
    low: float
    high: float
    unit: str
    real: str  # what was measured
    source: str  # where, and why the band is as wide as it is

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise BadInput(f"{self.name}: a band from {self.low} to {self.high} is empty")

    def holds(self, value: float) -> bool:
        """NaN: no."""
        return self.low <= value <= self.high


# Quantiles (5, 50 and 95 %) over tapes of 90 days, by benchmarks/real_facts.py: majors are BTC, ETH, SOL, mid-caps 15
# others, closes and settlements of Binance's perpetuals. "Whole" is BTC's without cutting.
FIVE_MINUTES = "BTC 2024-10..2026-02, SOL 2025-01..2026-02, BTC and ETH 2025-05..06"
HOURLY = "BTC 2019-09..2026-02, ETH and SOL from 2022-06, 15 mid-caps"
MINUTES = "BTC and ETH 2025-05..06; 50 quiet days and two symbols, hence wider than they are"
HYPERLIQUID = "Hyperliquid BTC ETH SOL 2025-03..2026-03, over mean prices of the hour; Binance BTC 2025-12..2026-06"
FUNDING = "Binance 8 h, 2019-09..2026-05, and Hyperliquid 1 h, 2023-05..2025-08"
PANEL = "Coinglass by the hour, BTC 2025-12..2026-06, Binance, which publishes at most one liquidation a second"
FALLS = "the 24 deepest hours a year on Hyperliquid, BTC ETH SOL 2025-03..2026-03, and on Binance, BTC 2025-12..2026-06"
DEPTH = "min66633/liquidation-cascade-research, 21 Binance symbols, 2023-01..2026-07, of the side that was hit"
BOTH_SIDES = (
    "the mean of both sides, taken here, is 1.5 times thinner where one is 3.4 and the other stays: the low end"
)
REVERSAL = "min66633/liquidation-cascade-research, 21 Binance symbols, 2020-09..2026-08, 8 sigma in 5 minutes, no costs"
HINDSIGHT = "the minute of most flow is known afterwards only, which adds to both kinds, hence the high end"
PLACEBO = "falls of the same size that kept their open interest stand for news"

BANDS = (
    Band(1, "tail index 5m", 2.5, 4.0, "index", "2.9, 3.3, 3.8; whole 3.1", FIVE_MINUTES),
    Band(1, "tail index 1h", 2.2, 4.5, "index", "2.4, 3.1, 4.3; mid-caps 2.3, 3.2, 4.4; whole 2.9", HOURLY),
    Band(2, "kurtosis 1m", 8.0, 200.0, "normal: 3", "BTC 11, ETH 61", MINUTES),
    Band(2, "kurtosis 5m", 8.0, 120.0, "normal: 3", "12, 22, 800 (2025-10-10); whole 91", FIVE_MINUTES),
    Band(2, "kurtosis 1h", 6.5, 60.0, "normal: 3", "7.6, 14, 48; mid-caps 6.6, 13, 76; whole 59.6", HOURLY),
    Band(2, "kurtosis 1d", 2.8, 12.0, "normal: 3", "3.0, 4.6, 8.9; mid-caps 3.0, 4.9, 12; whole 9.4", HOURLY),
    Band(2, "kurtosis 5m / 1h", 1.05, 40.0, "ratio", "1.1, 2.0, 100 (2025-10-10); whole 7.1", FIVE_MINUTES),
    Band(2, "kurtosis 1h / 1d", 1.3, 10.0, "ratio", "1.7, 2.7, 6.0; mid-caps 1.4, 3.0, 9.6; whole 6.4", HOURLY),
    Band(
        3, "autocorrelation |r| 1h", 0.11, 0.36, "", "0.14, 0.22, 0.33; mid-caps 0.12, 0.23, 0.34; whole 0.29", HOURLY
    ),
    Band(
        3, "autocorrelation |r| 24h", 0.035, 0.20, "", "0.05, 0.10, 0.16; mid-caps 0.04, 0.10, 0.19; whole 0.16", HOURLY
    ),
    Band(
        3,
        "autocorrelation |r| 168h",
        0.005,
        0.17,
        "",
        "0.02, 0.08, 0.17; mid-caps 0.00, 0.06, 0.13; whole 0.13",
        HOURLY,
    ),
    Band(4, "autocorrelation r 1m", -0.08, 0.04, "", "BTC -0.01, ETH -0.03", MINUTES),
    Band(4, "autocorrelation r 5m", -0.08, 0.03, "", "-0.08, -0.01, -0.01; whole -0.01", FIVE_MINUTES),
    Band(4, "autocorrelation r 1h", -0.08, 0.06, "", "-0.07, -0.01, 0.05; mid-caps the same; whole -0.02", HOURLY),
    Band(
        5,
        "coins and return",
        -0.05,
        0.35,
        "rank correlation",
        "0.03, 0.12, 0.18; DOGE 0.21; Binance BTC 0.08; 4 h of 534 symbols, one month: -0.13, 0.12, 0.41",
        HYPERLIQUID,
    ),
    Band(
        5,
        "value and return",
        0.28,
        0.85,
        "rank correlation",
        "0.31, 0.45, 0.64; DOGE 0.64; Binance BTC 0.69; 4 h of 534 symbols, one month: 0.59, 0.77, 0.94",
        HYPERLIQUID,
    ),
    Band(
        6,
        "share at the floor",
        0.10,
        0.70,
        "part of settlements",
        "0.07, 0.34, 0.65; BTC by year 0.67 (2019) to 0.17 (2025), 0.01 in 2026; Hyperliquid by year 0.22..0.63",
        f"{FUNDING}; the share fell with the level of funding, the last year is left out",
    ),
    Band(7, "funding deviation", 0.38, 5.0, "bps of 8 h", "0.4, 0.8, 3.9; Hyperliquid by year 1.3..6.3", FUNDING),
    Band(7, "funding range", 1.0, 14.0, "bps of 8 h", "1.1, 2.4, 11; Hyperliquid by year 3.8..18", FUNDING),
    Band(
        8,
        "longs liquidated a day",
        0.25,
        3.6,
        "% of open interest",
        "0.48 as filed, by month 0.30..0.93, perhaps 2.7 times as much; BitMEX 3.51",
        f"{PANEL}; Cheng et al. 2021 (BitMEX 2018-20, leverage of 60) for the high end",
    ),
    Band(
        8,
        "shorts liquidated a day",
        0.15,
        2.0,
        "% of open interest",
        "0.35 as filed, by month 0.21..0.53, perhaps 2.7 times as much; BitMEX 1.89",
        f"{PANEL}; Cheng et al. 2021 (BitMEX 2018-20, leverage of 60) for the high end",
    ),
    Band(
        9,
        "open interest lost, worst",
        0.05,
        0.70,
        "part of it",
        "0.05, 0.08, 0.54; 2025-10-10: 0.46..0.66; other events by venue or market 0.15..0.57",
        FALLS,
    ),
    Band(
        9,
        "open interest lost, median",
        0.01,
        0.15,
        "part of it",
        "0.006, 0.02, 0.075; the mildest of the named crashes, 2024-08-05, lost 0.15",
        FALLS,
    ),
    Band(
        10,
        "depth lost, worst",
        3.0,
        600.0,
        "times thinner",
        "nine in ten below 17; 2025-10-10: BTC 109, ETH 195, SOL 523",
        f"{DEPTH}; {BOTH_SIDES}",
    ),
    Band(
        10,
        "depth lost, median",
        1.6,
        8.0,
        "times thinner",
        "3.4; beyond 20 sigma 6.1, from 8 to 12 sigma 1.8",
        f"{DEPTH}; {BOTH_SIDES}",
    ),
    Band(
        11,
        "longs in the worst 1h",
        0.80,
        0.995,
        "part of liquidations",
        "0.96 in the worst hundredth of hours; 2025-10-10, 40 minutes: 0.84",
        f"{PANEL}; Amberdata",
    ),
    Band(
        11,
        "longs in the worst 1d",
        0.72,
        0.98,
        "part of liquidations",
        "0.88 in the worst twentieth of days, the ten worst 0.81..0.96; 2024-08-05: 0.85..0.87",
        f"{PANEL}; Coinglass",
    ),
    Band(12, "reversal 5m, forced", 10.0, 150.0, "bps", "mean 51 (t=3.0), median 44", f"{REVERSAL}; {HINDSIGHT}"),
    Band(
        12, "reversal 15m, forced", 10.0, 150.0, "bps", "mean 57; five majors 52, median 32", f"{REVERSAL}; {HINDSIGHT}"
    ),
    Band(12, "reversal 5m, news", -45.0, 25.0, "bps", "mean -17", f"{REVERSAL}; {PLACEBO}"),
    Band(
        12, "reversal 15m, news", -45.0, 25.0, "bps", "mean -10; five majors -14, median 10", f"{REVERSAL}; {PLACEBO}"
    ),
    Band(12, "reversal 15m, forced - news", 10.0, 150.0, "bps", "67 (t=2.1); five majors 66, medians 22", REVERSAL),
)


# --- the verdict -----------------------------------------------------------------------------------------------------


class Check(NamedTuple):
    band: Band
    median: float  # over the tapes that can tell; NaN: none can
    inside: float  # part of those tapes in the band
    tapes: int  # that can tell
    holds: bool


class Verdict(NamedTuple):
    fact: int
    title: str
    hit: bool  # all bands hold
    checks: tuple[Check, ...]


def check(band: Band, measured: Sequence[Mapping[str, float]]) -> Check:
    values = np.array([tape.get(band.name, math.nan) for tape in measured], dtype=np.float64)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return Check(band, math.nan, math.nan, 0, False)
    median, inside = float(np.median(values)), float(np.mean([band.holds(value) for value in values]))
    return Check(band, median, inside, len(values), band.holds(median))


def judge(measured: Sequence[Mapping[str, float]]) -> list[Verdict]:
    """One verdict a fact, in order, from what `measure` gave for each tape."""
    found = []
    for fact in FACTS:
        checks = tuple(check(band, measured) for band in BANDS if band.fact == fact.number)
        found.append(Verdict(fact.number, fact.title, all(one.holds for one in checks), checks))
    return found
