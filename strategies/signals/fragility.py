"""Fragility: how much would be liquidated near the price, and whether the book could take it.

What would be liquidated where is estimated by `backtest.crowd.ladder` from open interest, prices and ratios; nobody
sees it. `ladder_of` carries that map through a market's bars and says at each close how much lies within some
distances, by bars of a quarter of an hour: a fine bar has the map of the last coarse one that had ended.
docs/liquidation_map.md says how good such maps are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data import clock
from data.errors import BadInput
from strategies.signals.edge import Array, columnwise, known, numbers

if TYPE_CHECKING:
    from data.market import Market

DISTANCES = (0.01, 0.02, 0.05, 0.10)
LADDER_BAR = 15 * clock.MINUTE
SCALE = 0.03  # distance at which a level counts for 1 / e


class Near(NamedTuple):
    """Notional that would be liquidated within distances[j] of the price, (n, j): longs below it, shorts above it.

    `met_longs`, `met_shorts`: what stood on the map where the last coarse bar's range went, (n,).
    """

    distances: tuple[float, ...]
    longs: Array
    shorts: Array
    met_longs: Array
    met_shorts: Array


def ladder_of(market: Market, symbol: str | None = None, distances: tuple[float, ...] = DISTANCES) -> Near:
    """The map of one symbol at each close. NaN before there is a day of hourly open interest, or 24 longer bars.

    An inverse contract has none: all NaN.
    """
    from backtest.crowd import ladder

    one = market if symbol is None and len(market.symbols) == 1 else market.select([symbol or market.symbols[0]])
    nothing = np.full((len(one), len(distances)), np.nan)
    none = Near(distances, nothing, nothing, nothing[:, 0], nothing[:, 0])
    coarse = _coarse(one)
    if coarse is None or is_inverse(one.symbols[0]):
        return none
    view = coarse.features_view()
    seen = np.isfinite(view.close) & (np.isfinite(view.open_interest) | np.isfinite(view.open_interest_value))
    count = np.cumsum(seen)
    if not len(count) or count[-1] < ladder.FEWEST_BARS:
        return none
    path = ladder.liquidation_path(coarse, distances=distances)
    ends, enough = coarse.ts + coarse.interval, max(ladder.FEWEST_BARS, round(clock.DAY / coarse.interval))
    last = np.searchsorted(ends, one.ts + one.interval, side="right") - 1
    there = (last >= 0) & (count[last] >= enough)
    longs, shorts = (np.where(there[:, None], near[last], np.nan) for near in (path.long_near, path.short_near))
    met = (np.where(there, amount[last], np.nan) for amount in (path.long_triggered, path.short_triggered))
    return Near(distances, longs, shorts, *met)


def is_inverse(symbol: str) -> bool:
    """Whether a contract is margined in its own base currency, by its unified name."""
    return symbol.partition("/")[0] == symbol.partition(":")[2].partition("-")[0]


def _coarse(market: Market) -> Market | None:
    """The market in bars of about a quarter of an hour; None: it is shorter than one."""
    if market.interval >= LADDER_BAR:
        return market
    interval = -(-LADDER_BAR // market.interval) * market.interval
    first = -(-market.start // interval) * interval
    return market.resample(interval) if first + interval <= market.end else None


@columnwise
def fragility(near: Array, open_interest_value: Array) -> Array:
    """Part of the open interest that a small move would liquidate: notional within a distance / OI.

    Unit: fraction. No look-back but the map's. NaN where either is not known. Source: the liquidation map of
    `backtest.crowd.ladder`; registered for 2 % down (longs) and 2 % up (shorts).
    """
    return np.where(open_interest_value > 0.0, near / open_interest_value, np.nan)


@columnwise
def absorption(near: Array, depth: Array) -> Array:
    """What would be liquidated within a distance over what the book shows there: above 1 the book cannot take it.

    Unit: ratio. No look-back but the map's. NaN where either is not known, or the book is empty. Source: forced
    notional against depth, V / D of the cascade studies; registered for 1 %, where markets hold depth. Caveat: depth
    is at its usual until a cascade starts and is gone a minute later, so it warns of nothing by itself.
    """
    return np.where(depth > 0.0, near / depth, np.nan)


@columnwise
def ladder_swept(met_long: Array, met_short: Array, open_interest_value: Array) -> Array:
    """What the last quarter of an hour should have liquidated, net: (longs met - shorts met) / OI.

    Longs and shorts that stood on the map where that bar's range went. Above 0: it ran through levels of longs. With
    `stop_run` of the same sign it came back. Unit: fraction. No look-back but the map's. NaN where either is not known.
    Source: the liquidation map of `backtest.crowd.ladder`. It is an estimate: `liquidation_intensity` is what was told.
    """
    return np.where(open_interest_value > 0.0, (met_long - met_short) / open_interest_value, np.nan)


def ladder_pull(
    near_long: Array, near_short: Array, distances: tuple[float, ...] = DISTANCES, scale: float = SCALE
) -> Array:
    """On which side more would be liquidated, near levels counting more: (S - L) / (S + L).

    S (shorts above) and L (longs below) are sums over the shells between distances of their notional x exp(-middle /
    scale). Arrays are (n, one a distance), sums within it, as `ladder_of` gives them. Unit: part, 1: all of it above
    the price. No look-back but the map's. NaN where either is, or nothing is near. Source: own; the weighting of the
    "magnet" reading of liquidation maps.
    """
    if not scale > 0.0 or list(distances) != sorted(set(distances)) or not distances[0] > 0.0:
        raise BadInput("ladder_pull: scale above 0, and distances above 0 that grow, such as (0.01, 0.02, 0.05)")
    longs, shorts = numbers(near_long, "ladder_pull: near_long"), numbers(near_short, "ladder_pull: near_short")
    if longs.shape != shorts.shape or longs.shape[1:] != (len(distances),):
        raise BadInput(f"ladder_pull: near_long and near_short need a column for each of {len(distances)} distances")
    edges = np.concatenate(([0.0], distances))
    weight = np.exp(-0.5 * (edges[1:] + edges[:-1]) / scale)
    below, above = (np.diff(near, axis=1, prepend=0.0) @ weight for near in (longs, shorts))
    with np.errstate(all="ignore"):
        return known(np.where(above + below > 0.0, (above - below) / (above + below), np.nan))
