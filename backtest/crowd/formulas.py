"""Formulas of liquidation, deleveraging and cascades: small and plain, numbers or arrays of numbers in and out.

    prices       bankruptcy, liquidation, execution with impact
    liquidation  fees, the slice that restores maintenance, bad debt
    equity       with funding, leverage masses, after deleveraging
    insurance    the fund whose cost and benefit balance, of a distribution or of a sample
    cascades     branching along the path, amplification, where a book absorbs forced selling

`side` is 1 for a long position and -1 for a short one; `size` is in coins and above zero; contracts are linear.
NaN in, NaN out, unless a function says something else. Unless another source is named, formulas and worked numbers are
those of T. Chitra, Autodeleveraging: Impossibilities and Optimization (arXiv 2512.01112).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backtest import margin
from data.errors import BadInput

Floats = NDArray[np.float64]
Numbers = float | Floats


# --- prices ---------------------------------------------------------------------------------------------------------


def bankruptcy_price(side: Numbers, size: Numbers, entry: Numbers, collateral: Numbers) -> Numbers:
    """max(0, entry - collateral / (side size)): where nothing is left. By `backtest.margin`."""
    return _each(margin.bankruptcy_size, np.multiply(side, size), entry, collateral)


def liquidation_price(side: Numbers, size: Numbers, entry: Numbers, collateral: Numbers, rate: float) -> Numbers:
    """Where equity is down to `rate` times notional. By `backtest.margin`, with one tier.

    Long max(0, (entry - collateral / size) / (1 - rate)), short (entry + collateral / size) / (1 + rate).
    """
    tier = np.array([[0.0, math.inf, rate, math.inf, 0.0]])

    def one(s: float, start: float, balance: float) -> float:
        return margin.liquidation_size(s, start, balance, tier, 0, 1, 0.0, start)

    return _each(one, np.multiply(side, size), entry, collateral)


def _each(function: Callable[..., float], *arguments: ArrayLike) -> Numbers:
    """A function of numbers, over arrays that go together."""
    spread = np.broadcast_arrays(*(np.asarray(a, dtype=float) for a in arguments))
    found = np.array([function(*row) for row in zip(*(a.ravel().tolist() for a in spread), strict=True)], dtype=float)
    return found.reshape(spread[0].shape) if spread[0].ndim else float(found[0])


def linear_impact_price(price: Numbers, side: Numbers, quantity: Numbers, slope: float) -> Numbers:
    """price - side slope quantity / 2: the average of closing a position where every coin moves the price by `slope`.

    A line does not know that prices end at zero: keep slope x quantity below the price.
    """
    return price - np.multiply(side, quantity) * (slope / 2.0)


def square_root_impact(quantity: Numbers, volatility: Numbers, volume: Numbers, strength: float = 1.0) -> Numbers:
    """strength volatility sqrt(quantity / volume): how far an order has moved the price when it is done, as a share.

    Volatility and volume are of one day. Strengths found: 0.5 to 1 (literature), 1.07 (takers on Binance perpetuals).
    """
    return np.multiply(strength, volatility) * np.sqrt(np.divide(quantity, volume))


def square_root_impact_price(
    price: Numbers, side: Numbers, quantity: Numbers, volatility: Numbers, volume: Numbers, strength: float = 1.0
) -> Numbers:
    """The average of closing a position on the way there: two thirds of the whole move, as the root's mean is."""
    moved = square_root_impact(quantity, volatility, volume, strength)
    return price * (1.0 - np.multiply(side, moved) * (2.0 / 3.0))


# --- liquidation ----------------------------------------------------------------------------------------------------


def liquidation_fees(
    quantity: Numbers, mark: Numbers, execution: Numbers, of_mark: float, of_execution: float = 0.0, fixed: float = 0.0
) -> Numbers:
    """fixed + of_mark mark quantity + of_execution execution quantity. Rates: 0.004 is 40 bps."""
    return fixed + np.multiply(of_mark * quantity, mark) + np.multiply(of_execution * quantity, execution)


def slice_to_restore(
    side: Numbers, size: Numbers, equity: Numbers, mark: Numbers, execution: Numbers, rate: float, fee: float = 0.0
) -> Numbers:
    """Coins to close until equity is `rate` times notional again; may be more than there are.

    (rate mark size - equity) / (side (execution - mark) - fee mark + rate mark). 0 where equity is enough; inf where
    every coin closed costs more than it frees.
    """
    short_of = rate * np.multiply(mark, size) - equity
    freed = np.multiply(side, np.subtract(execution, mark)) + (rate - fee) * np.asarray(mark)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(short_of <= 0.0, 0.0, np.where(freed <= 0.0, np.inf, short_of / freed))
    return _plain(found)


def partial_liquidation(
    side: Numbers, size: Numbers, equity: Numbers, mark: Numbers, execution: Numbers, rate: float, fee: float = 0.0
) -> Numbers:
    """`slice_to_restore`, at most the whole position."""
    return _plain(np.minimum(size, slice_to_restore(side, size, equity, mark, execution, rate, fee)))


def bad_debt(side: Numbers, quantity: Numbers, bankruptcy: Numbers, execution: Numbers) -> Numbers:
    """max(0, side (bankruptcy - execution)) quantity: what closing worse than at bankruptcy leaves to others.

    The bankruptcy price is that of entry and collateral. (The paper's example moves it along with the mark without
    taking the loss from the collateral.)
    """
    return _plain(np.maximum(0.0, np.multiply(side, np.subtract(bankruptcy, execution))) * quantity)


def _plain(found: ArrayLike) -> Numbers:
    """A float where there is one number."""
    values = np.asarray(found, dtype=float)
    return values if values.ndim else float(values)


# --- equity ---------------------------------------------------------------------------------------------------------


def imbalance_funding_rate(longs: float, shorts: float, price: Numbers, oracle: Numbers, strength: float) -> Numbers:
    """strength (longs / shorts - price / oracle), of the paper's worked path. Shorts pay longs where it is positive:
    the other way round than on venues.
    """
    return strength * (longs / shorts - np.divide(price, oracle))


def funding_per_coin(rates: ArrayLike, prices: ArrayLike) -> float:
    """sum of rate x price: what one coin long has received, with rates that shorts pay (see above)."""
    return float(np.dot(np.asarray(rates, dtype=float), np.asarray(prices, dtype=float)))


def equity_with_funding(
    side: Numbers, size: Numbers, entry: Numbers, collateral: Numbers, price: Numbers, funding: Numbers = 0.0
) -> Numbers:
    """collateral + side size (price - entry + funding), with what a coin long has received as funding."""
    return collateral + np.multiply(side, size) * (np.subtract(price, entry) + funding)


def leverage_mass(price: float, size: ArrayLike, equity: ArrayLike) -> tuple[float, float]:
    """sum of notional / |equity|, over winners (equity above zero) and over losers (below).

    Positions whose equity is exactly zero are neither, as in the paper.
    """
    q, e = np.abs(np.asarray(size, dtype=float)), np.asarray(equity, dtype=float)
    won, lost = e > 0.0, e < 0.0
    return float(np.sum(price * q[won] / e[won])), float(np.sum(price * q[lost] / -e[lost]))


def equity_after_haircut(collateral: Numbers, profit: Numbers, haircut: Numbers) -> Numbers:
    """collateral + profit - haircut max(profit, 0): deleveraging takes a share of profit, never of collateral."""
    return collateral + profit - haircut * np.maximum(profit, 0.0)


def profit_covers(deficit: float, profit: ArrayLike, severity: float = 1.0) -> bool:
    """severity x deficit <= sum of profits above zero. Stricter than winners being worth more than losers owe."""
    return severity * deficit <= float(np.sum(np.maximum(np.asarray(profit, dtype=float), 0.0)))


# --- insurance ------------------------------------------------------------------------------------------------------


def optimal_fund(quantile: Callable[[float], float], cost: float, harm: float = 1.0) -> float:
    """The fund F that makes cost F + harm E[max(0, D - F)] least: the quantile of deficits D at 1 - cost / harm.

    `quantile` is the inverse of the distribution function. `cost`: of holding one dollar for the period of the
    deficit. `harm`: of one dollar that nobody covers. 0 where holding costs more than it saves.
    """
    level = _level(cost, harm)
    return max(0.0, float(quantile(level))) if level > 0.0 else 0.0


@dataclass(frozen=True)
class FundSize:
    """With the bounds between which the true optimum lies with at least this confidence; inf: the sample is too short
    to say how large the fund may have to be.
    """

    fund: float
    low: float
    high: float
    confidence: float


def optimal_fund_of_sample(deficits: ArrayLike, cost: float, harm: float = 1.0, confidence: float = 0.95) -> FundSize:
    """The fund that is best on the sample itself, which is one of its values.

    The bounds are values of the sample too: how many of n independent deficits lie below a quantile is binomial,
    whatever their distribution. Deficits that come in clusters are fewer than they look.
    """
    ordered = np.sort(np.asarray(deficits, dtype=float).ravel())
    if not ordered.size or not np.all(np.isfinite(ordered)):
        raise BadInput("deficits: give at least one, and no NaN or inf; a period without a deficit counts as 0")
    if not 0.0 < confidence < 1.0:
        raise BadInput(f"confidence is {confidence:g}; it must be above 0 and below 1")
    level = _level(cost, harm)
    if level <= 0.0:
        return FundSize(0.0, 0.0, 0.0, confidence)
    n = ordered.size
    at = max(1, math.ceil(n * level - 1e-9))
    below = np.cumsum(_binomial(n, level))
    low = int(np.searchsorted(below, (1.0 - confidence) / 2.0, side="right"))
    high = int(np.searchsorted(below, (1.0 + confidence) / 2.0, side="left")) + 1
    return FundSize(
        max(0.0, float(ordered[at - 1])),
        max(0.0, float(ordered[low - 1])) if low > 0 else 0.0,
        max(0.0, float(ordered[high - 1])) if high <= n else math.inf,
        confidence,
    )


def _level(cost: float, harm: float) -> float:
    if not (cost >= 0.0 and harm > 0.0):
        raise BadInput(f"cost is {cost:g} and harm {harm:g}; cost must not be below 0, and harm must be above 0")
    return 1.0 - cost / harm


def _binomial(n: int, p: float) -> Floats:
    """Probabilities of 0 to n."""
    k = np.arange(n + 1)
    if p >= 1.0:
        return np.where(k == n, 1.0, 0.0)
    factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    ways = factorials[n] - factorials - factorials[::-1]
    return np.asarray(np.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p)))


# --- cascades -------------------------------------------------------------------------------------------------------

SMALLEST_START = 0.01  # of the book: a first wave below it says nothing about what follows


def path_r0(waves: Sequence[float] | Floats) -> Floats:
    """Volume that a wave newly triggered over the volume whose selling triggered it, wave by wave.

    `waves` are the volumes of the generations of one cascade, the first the one that the shock itself triggered.
    Generations, not derivatives: positions lie at discrete prices, and between them a small probe triggers nothing.
    """
    volumes = np.asarray(waves, dtype=float)
    sold = volumes[:-1] > 0.0
    return np.asarray(volumes[1:][sold] / volumes[:-1][sold])


def max_path_r0(waves: Sequence[float] | Floats, book: float, smallest_start: float = SMALLEST_START) -> float:
    """The largest ratio on the way: above 1, some wave was larger than the one before.

    The first ratio alone misses cascades that reach a denser part of the ladder later (0.148 and then 1.8, for one).
    NaN where the first wave is below `smallest_start` of the book (of all that can be liquidated): a handful of
    accounts that trigger a handful more say nothing. 0 where the first wave triggers nothing.
    Both lessons are of prachishah2003/DeFi-Liquidation-Cascade-Simulator.
    """
    if not len(waves) or not waves[0] > 0.0 or not waves[0] >= smallest_start * book:
        return math.nan
    return float(np.max(path_r0(waves), initial=0.0))


def amplification(waves: Sequence[float] | Floats) -> float:
    """All that was sold, over what the shock itself triggered. NaN where it triggered nothing."""
    return float(np.sum(waves) / waves[0]) if len(waves) and waves[0] > 0.0 else math.nan


def branching_of_amplification(amplified: Numbers) -> Numbers:
    """1 - 1 / A: the one ratio of every wave to the next, of a cascade that ended and grew the first wave A-fold."""
    return 1.0 - np.divide(1.0, amplified)


def absorption_distance(volume: Numbers, depth: float, power: float) -> Numbers:
    """((1 + power) volume / depth)^(1 / (1 + power)): how far selling a volume goes into a book.

    The book holds depth v^power per unit of distance at distance v; power 0 is the same depth everywhere. Distance
    grows with volume to the power 1 / (1 + power), measured as 0.875 in cascades and 0.861 on books.
    """
    return np.power((1.0 + power) / depth * np.asarray(volume, dtype=float), 1.0 / (1.0 + power))


def cascade_floor(
    forced: float, distance: ArrayLike, volume: ArrayLike, depth: float, power: float, share: float = 1.0
) -> float:
    """The least distance at which the book has taken what was forced and what was triggered on the way there.

    The ladder is `volume` that is liquidated where the price has gone `distance`, in any order; `share` of it is sold
    into the book. A level is triggered when it is reached.

        1. how far what is to be sold goes into the book (`absorption_distance`)
        2. what the ladder holds up to there is to be sold too
        3. again, until a step reaches no new level

    Going up from what is forced, it stops at the first floor, and as every step takes in a level it does stop.
    """
    far = np.asarray(distance, dtype=float).ravel()
    order = np.argsort(far, kind="stable")
    levels = far[order]
    triggered = np.concatenate(([0.0], np.cumsum(np.asarray(volume, dtype=float).ravel()[order])))
    reached = 0
    while True:
        floor = float(absorption_distance(forced + share * triggered[reached], depth, power))
        further = int(np.searchsorted(levels, floor, side="right"))
        if further <= reached:
            return floor
        reached = further
