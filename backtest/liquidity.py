"""How liquid a market was at each bar: the coefficients of what taking costs, from what was known before it.

In bar i nothing is used but bars before it. In one pass:

1. Write the coefficients of bar i: half_spread, a = Y sigma / V^delta, b = 1 % / (2 D).
2. Take in bar i: its return, volume, depth and liquidations enter the trailing sums, those of a day ago leave.
3. Stress: the book is thinned by 1 + x. A move of z standard deviations over the last minutes (those of the day before
   the move) makes x at least (z / 8)^2, and so does a bar whose range is what such a move has; liquidations of m times
   the normal depth make it at least 1.7 m; x halves every 20 minutes and has a limit. Of a recorded depth and of
   normal depth thinned, the smaller holds: a book that has shrunk already is not thinned twice.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from backtest import calibration as cal
from backtest.costs import BP, WORST, Costs, Stress
from backtest.jit import jit_alone
from data import clock

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

BAND = 0.01  # depth is what stands within 1 %
RANGE = 4.0 * math.log(2.0)  # of a random walk: mean square of its range / mean square of its move (Parkinson 1980)
NO_DEPTH = 1e-9  # an empty book, in quote currency: taking costs the worst


class Tape(NamedTuple):
    """What the models look at, (n, k) each; what the market does not hold has no rows."""

    high: Floats
    low: Floats
    close: Floats
    present: Flags
    volume: Floats
    quote_volume: Floats
    bid_depth: Floats
    ask_depth: Floats
    liq_long: Floats
    liq_short: Floats
    size: Floats  # (k,): quote currency in one unit of volume (inverse contracts); 0: volume is in base units
    tick: Floats  # (k,), 0: not known


class Coefficients(NamedTuple):
    """The cost of taking in each bar, (n, k); and what a report says of it, (k,), of bars that are not missing."""

    half_spread: Floats
    a: Floats
    b: Floats
    unknown: Floats  # bars in which nothing was known
    recorded: Floats  # bars with a recorded depth
    stressed: Floats  # bars in which less than half of the book was left
    thickest: Floats  # the largest 1 + x


class Rule(NamedTuple):
    """The numbers of a model for bars of one length."""

    window: int  # bars of the trailing day
    horizon: int  # bars of a move in stress
    history: int  # the fewest bars that are a history
    per_day: float  # bars a day
    half_spread: float
    unknown: float  # half spread where nothing is known
    law: bool  # the square-root law counts
    y: float
    delta: float
    depth_share: float  # 0: recorded depth only
    stress: bool
    sigmas: float
    liquidations: float
    decay: float  # of thinning, a bar
    most: float  # thinning of depth at worst
    most_volume: float


class Sum(NamedTuple):
    """A trailing sum of numbers that are not negative, and how many of them are not zero."""

    total: float
    terms: float


class Known(NamedTuple):
    """What is known of one symbol at a close."""

    age: float  # bars since the first
    close: float  # the last
    price: float  # its log
    variance: Sum  # squared returns of the trailing day
    before: Sum  # the same of the day before the last move
    volume: Sum  # quote currency traded in the trailing day
    forced: Sum  # liquidated during the last move
    depths: Sum  # recorded in the trailing day
    depth: float  # recorded now; below 0: none
    excess: float  # x of the thinning 1 + x


NOT_RECORDED = -1.0
SQUARES, VOLUMES, FORCED, DEPTHS, PRICES = range(5)  # rings of what leaves a trailing sum later
BLOCK = 256  # bars walked for one symbol before the next: their rows stay in the processor's cache


def coefficients(costs: Costs, tape: Tape, interval: int) -> Coefficients:
    """The cost of taking in every bar of `interval` nanoseconds, known before it."""
    n, k = tape.close.shape
    made = Coefficients(np.empty((n, k)), np.empty((n, k)), np.empty((n, k)), *np.zeros((4, k)))
    walk(tape, rule_of(costs, interval), made)
    if costs.times != 1.0:
        for part in (made.half_spread, made.a, made.b):
            part *= costs.times
        np.minimum(made.half_spread, WORST, out=made.half_spread)
    return made


def rule_of(costs: Costs, interval: int) -> Rule:
    impact, stress = costs.model == "impact", costs.stress or Stress()
    return Rule(
        window=int(max(math.ceil(cal.WINDOW_HOURS.value * clock.HOUR / interval), cal.WINDOW_BARS.value)),
        horizon=max(round(cal.STRESS_MINUTES.value * clock.MINUTE / interval), 1),
        history=int(max(math.ceil(cal.HISTORY_HOURS.value * clock.HOUR / interval), cal.HISTORY_BARS.value)),
        per_day=clock.DAY / interval,
        half_spread=costs.half_spread_bps * BP,
        unknown=max(costs.unknown_bps, costs.half_spread_bps) * BP,
        law=impact,
        y=float(costs.y),
        delta=float(costs.delta),
        depth_share=float(costs.depth_share) if impact else 0.0,
        stress=costs.stress is not None,
        sigmas=float(stress.sigmas),
        liquidations=float(stress.liquidations),
        decay=0.5 ** (interval / (stress.half_life_minutes * clock.MINUTE)),
        most=1.0 / stress.depth_floor,
        most_volume=1.0 / stress.volume_floor,
    )


@jit_alone
def walk(tape: Tape, rule: Rule, made: Coefficients) -> None:
    """Coefficients of every bar and symbol; see the module."""
    n, k = tape.close.shape
    rings = np.zeros((k, 5, rule.window + rule.horizon + 1))
    rings[:, DEPTHS] = NOT_RECORDED
    none = Sum(0.0, 0.0)
    known = [Known(0.0, math.nan, 0.0, none, none, none, none, none, NOT_RECORDED, 0.0) for _ in range(k)]
    for first in range(0, n, BLOCK):
        for j in range(k):
            known[j] = stretch(tape, j, first, min(first + BLOCK, n), rule, rings[j], known[j], made)


@jit_alone
def stretch(
    tape: Tape, j: int, first: int, stop: int, rule: Rule, rings: Floats, known: Known, made: Coefficients
) -> Known:
    """Bars [first, stop) of one symbol: their coefficients, and what is known after them."""
    length, size, tick = rings.shape[1], tape.size[j], tape.tick[j]
    at, old, late = first % length, (first - rule.window) % length, (first - rule.horizon) % length
    for i in range(first, stop):
        here = tape.present[i, j]
        thickness = 1.0 + known.excess
        depth = depth_left(known, rule, thickness)
        blind = depth < 0.0 or (rule.law and (known.age < rule.history or known.volume.total == 0.0))
        made.half_spread[i, j] = rule.unknown if blind else half_spread(known, rule, tick, thickness)
        made.a[i, j] = square_root_law(known, rule, thickness) if rule.law and not blind else 0.0
        made.b[i, j] = 0.0 if blind else 0.5 * BAND / max(depth, NO_DEPTH)
        if here:
            made.unknown[j] += blind
            made.recorded[j] += known.depth >= 0.0
            made.stressed[j] += thickness > 2.0
            made.thickest[j] = max(made.thickest[j], thickness)
        if here or known.age > 0.0:
            close, price, traded, liquidated, depth = known.close, known.price, 0.0, 0.0, NOT_RECORDED
            if here:
                close = tape.close[i, j]
                price = math.log(close)
                given = tape.quote_volume[i, j] if len(tape.quote_volume) > 0 else math.nan
                units = tape.volume[i, j] if len(tape.volume) > 0 else 0.0
                traded = quote_traded(given, units, size, close)
            if len(tape.liq_long) > 0:
                liquidated = positive(tape.liq_long[i, j]) + positive(tape.liq_short[i, j])
            if len(tape.bid_depth) > 0:
                depth = thinner(tape.bid_depth[i, j], tape.ask_depth[i, j])
            square = (price - known.price) ** 2 if known.age > 0.0 else 0.0
            oldest = after(at, length)
            move = (price - rings[PRICES, late]) ** 2
            if here and rule.stress:
                reach = tape.high[i, j] / tape.low[i, j]
                if (reach - 1.0) ** 2 > move * RANGE:  # log(reach) is less than that: most bars need none
                    move = max(move, math.log(reach) ** 2 / RANGE)
            known = Known(
                known.age + 1.0,
                close,
                price,
                slid(known.variance, square, rings[SQUARES, old]),
                slid(known.before, rings[SQUARES, late], rings[SQUARES, oldest]),
                slid(known.volume, traded, rings[VOLUMES, old]),
                slid(known.forced, liquidated, rings[FORCED, late]),
                replaced(known.depths, depth, rings[DEPTHS, old]),
                depth,
                known.excess,
            )
            if rule.stress:
                known = thinned(known, rule, move)
            rings[SQUARES, at], rings[VOLUMES, at], rings[FORCED, at] = square, traded, liquidated
            rings[DEPTHS, at], rings[PRICES, at] = depth, price
        at, old, late = after(at, length), after(old, length), after(late, length)
    return known


@jit_alone
def half_spread(known: Known, rule: Rule, tick: float, thickness: float) -> float:
    """At least half a tick; wider where the book is thinner."""
    return min(WORST, max(rule.half_spread, 0.5 * tick / known.close if tick > 0.0 else 0.0) * thickness)


@jit_alone
def square_root_law(known: Known, rule: Rule, thickness: float) -> float:
    """a = Y sigma / V^delta, both of a day."""
    variance = known.variance.total / max(1.0, min(known.age - 1.0, rule.window)) * rule.per_day
    volume = day_of(known.volume, known, rule) / min(thickness, rule.most_volume)
    if rule.delta == 0.5:
        return rule.y * math.sqrt(variance / volume)
    return float(rule.y * math.sqrt(variance) / volume**rule.delta)


@jit_alone
def day_of(volume: Sum, known: Known, rule: Rule) -> float:
    """A whole day's worth of what is there so far."""
    return volume.total / min(known.age, rule.window) * rule.per_day


@jit_alone
def normal_depth(known: Known, rule: Rule) -> float:
    """Mean of what was recorded in the trailing day, else a share of the volume; below 0: not known."""
    if known.depths.terms > 0.0:
        return known.depths.total / known.depths.terms
    if rule.depth_share > 0.0 and known.volume.total > 0.0:
        return rule.depth_share * day_of(known.volume, known, rule)
    return NOT_RECORDED


@jit_alone
def depth_left(known: Known, rule: Rule, thickness: float) -> float:
    """Normal depth, thinned, or what is recorded now if that is less; below 0: not known."""
    left = normal_depth(known, rule) / thickness
    return min(left, known.depth) if known.depth >= 0.0 else left


@jit_alone
def thinned(known: Known, rule: Rule, move: float) -> Known:
    """The book thins at once and recovers by half-lives. `move`: the last one, squared."""
    excess = known.excess * rule.decay
    returns = known.age - 1.0 - rule.horizon  # that there were before the move
    if returns >= rule.history and known.before.total > 0.0:
        usual = known.before.total / min(returns, rule.window) * rule.horizon
        excess = max(excess, move / (usual * rule.sigmas * rule.sigmas))
    depth = normal_depth(known, rule)
    if known.forced.total > 0.0 and depth > 0.0:
        excess = max(excess, rule.liquidations * known.forced.total / depth)
    return Known(
        known.age,
        known.close,
        known.price,
        known.variance,
        known.before,
        known.volume,
        known.forced,
        known.depths,
        known.depth,
        min(excess, rule.most - 1.0),
    )


@jit_alone
def slid(sum_: Sum, comes: float, goes: float) -> Sum:
    """Exactly 0 when none of its terms is left."""
    terms = sum_.terms + (1.0 if comes > 0.0 else 0.0) - (1.0 if goes > 0.0 else 0.0)
    return Sum(max(0.0, sum_.total + comes - goes) if terms > 0.0 else 0.0, terms)


@jit_alone
def replaced(sum_: Sum, comes: float, goes: float) -> Sum:
    """The same for depth, of which 0 is a term and a number below is none."""
    terms = sum_.terms + (1.0 if comes >= 0.0 else 0.0) - (1.0 if goes >= 0.0 else 0.0)
    return Sum(max(0.0, sum_.total + max(comes, 0.0) - max(goes, 0.0)) if terms > 0.0 else 0.0, terms)


@jit_alone
def quote_traded(given: float, units: float, size: float, close: float) -> float:
    """As the market says, else volume times price; contracts times their size if inverse; 0 where nobody says."""
    if size > 0.0:
        return positive(units) * size
    return given if given >= 0.0 else positive(units) * close


@jit_alone
def thinner(bid: float, ask: float) -> float:
    """The smaller side of the book; one side where the other is not recorded."""
    if bid >= 0.0 and ask >= 0.0:
        return min(bid, ask)
    return max(positive(bid), positive(ask)) if bid >= 0.0 or ask >= 0.0 else NOT_RECORDED


@jit_alone
def positive(value: float) -> float:
    """0 for NaN."""
    return value if value > 0.0 else 0.0


@jit_alone
def after(place: int, length: int) -> int:
    """The next place in a ring."""
    return place + 1 if place + 1 < length else 0
