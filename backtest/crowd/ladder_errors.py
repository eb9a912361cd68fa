"""How far a liquidation map is from what was true, and maps that know nothing, to compare it with.

    truth = true_map(machine)                              # of the accounts of a simulated venue
    longs, shorts = errors(estimated, truth)
    uniform_map(...), map_at_price(...)                    # what any map has to beat; a placebo is another's .moved()

Each measure takes the notional of one side by bins of log price, nearest first. NaN where there is nothing to compare.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backtest.crowd import facts
from backtest.crowd.kernel import layout
from backtest.crowd.kernel.layout import Floats
from backtest.crowd.ladder import LONG, PLAIN_TIERS, SHORT, Levels, LiquidationMap, Mixture, shape_of

if TYPE_CHECKING:
    from backtest.crowd.machine import Machine

NEAR = (0.02, 0.05, 0.10, 0.20)
EMPTY = 0.1  # of the mean of the map's bins: less is called empty
WIDEST = math.log(2.0)  # of the uniform map: half the price to twice the price
NANOSECONDS = 60e9  # of a minute


class MapErrors(NamedTuple):
    """Of one side."""

    ratio: tuple[float, ...]  # estimated over true notional within each of NEAR
    overlap: float
    rank: float
    distance: float
    missed: float


def errors(
    estimated: LiquidationMap, truth: LiquidationMap, distance: float = NEAR[-1], width: float = 0.005
) -> tuple[MapErrors, MapErrors]:
    """Longs, shorts. Shapes are compared within a distance of the true price, in bins of a width."""
    ours = replace(estimated, price=truth.price)
    binned = zip(ours.ladder(distance, width)[2:], truth.ladder(distance, width)[2:], strict=True)
    totals = [(ours.within(d), truth.within(d)) for d in NEAR]
    found = [
        MapErrors(
            tuple(_over(a[side], b[side]) for a, b in totals),
            overlap(one, other),
            rank(one, other),
            wasserstein(one, other, width),
            missed(one, other),
        )
        for side, (one, other) in enumerate(binned)
    ]
    return found[LONG], found[SHORT]


def _over(a: float, b: float) -> float:
    return a / b if b > 0.0 else math.nan


def _shares(notional: Floats) -> Floats:
    total = notional.sum()
    return np.asarray(notional / total if total > 0.0 else np.full(len(notional), np.nan))


def overlap(estimated: Floats, true: Floats) -> float:
    """Sum of the smaller share, bin by bin: 1 is the same shape, 0 nothing in common."""
    return float(np.minimum(_shares(estimated), _shares(true)).sum())


def rank(estimated: Floats, true: Floats) -> float:
    """Rank correlation over bins; NaN where all are alike."""
    if np.ptp(estimated) == 0.0 or np.ptp(true) == 0.0:
        return math.nan
    return float(np.corrcoef(facts.ranks(estimated), facts.ranks(true))[0, 1])


def wasserstein(estimated: Floats, true: Floats, width: float) -> float:
    """How far, in log price, the average unit of the one shape is moved to make the other."""
    return float(np.abs(np.cumsum(_shares(estimated) - _shares(true))).sum() * width)


def missed(estimated: Floats, true: Floats) -> float:
    """Part of the true notional in bins where the estimate has less than EMPTY of its mean."""
    return _over(float(true[estimated < EMPTY * estimated.mean()].sum()), float(true.sum()))


# ---- the truth, and maps without knowledge ----------------------------------------------------------


def true_map(machine: Machine, levels: Levels | None = None) -> LiquidationMap:
    """Every account's own level."""
    step = (levels or Levels()).step
    a, price = machine.accounts, float(machine.state[layout.MARK])
    there = (a[layout.Q] != 0.0) & (a[layout.LIQ] > 0.0)
    q, at = a[layout.Q, there], a[layout.LIQ, there]
    place = np.rint(np.log(at) / step).astype(np.int64)
    first = int(place.min()) if len(place) else round(math.log(price) / step)
    count = int(place.max()) - first + 1 if len(place) else 1
    longs, shorts = (
        np.bincount(place[q * sign > 0.0] - first, (np.abs(q) * at)[q * sign > 0.0], count).astype(np.float64)
        for sign in (1.0, -1.0)
    )
    now = int(machine.state[layout.STEP] * machine.world.step_minutes * NANOSECONDS)
    return LiquidationMap(np.exp((first + np.arange(count)) * step), longs, shorts, price, now)


def uniform_map(price: float, coins: float, levels: Levels | None = None) -> LiquidationMap:
    """Open interest spread evenly from half the price to twice the price."""
    step = (levels or Levels()).step
    count = math.floor(WIDEST / step)
    places = np.arange(-count, count + 1)
    at = price * np.exp(places * step)
    each = coins / count * at
    return LiquidationMap(at, np.where(places < 0, each, 0.0), np.where(places > 0, each, 0.0), price, 0)


def map_at_price(
    price: float, coins: tuple[float, float], leverage: Mixture, levels: Levels | None = None
) -> LiquidationMap:
    """As if all positions (coins of longs, of shorts) had just been opened: a mixture without a history."""
    given = levels or Levels()
    shape = shape_of(leverage, given, given.tiers or PLAIN_TIERS)
    share = np.array([part for _, part in leverage.shares])
    longs, shorts = np.tensordot(shape, share / share.sum(), axes=(1, 0))
    away = shape.shape[-1] - 1
    at = price * np.exp(np.arange(-away, away + 1) * given.step)
    below, above = np.zeros(len(at)), np.zeros(len(at))
    below[: away + 1] = longs[::-1] * coins[LONG]
    above[away:] = shorts * coins[SHORT]
    return LiquidationMap(at, below * at * given.levered, above * at * given.levered, price, 0)
