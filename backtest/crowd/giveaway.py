"""Is the simulated market a gift? What plain rules would have earned, and how well cascades announce themselves.

    sharpe_of_rules(view)   buy and hold, momentum, funding fade: net, of daily returns, a year
    feature_aucs(view)      how well each feature tells whether a cascade comes within a day, best first
    build_up(view)          rank correlation of a cascade's size with the build-up before it
    after_shocks(view)      the same of what is liquidated after a large move, given the move

All work on hours, and decide with what was known at the hour's end. A year or more; less says nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from backtest.crowd.facts import ranks
from backtest.crowd.kernel import layout as at
from backtest.crowd.kernel.layout import Floats, Ints
from backtest.crowd.machine import History
from backtest.crowd.truth import Cascades, cascades, fragility, moving_sum

HOURS_A_DAY, DAYS_A_YEAR = 24, 365
COST = 0.00055  # taker fee and half a spread, of what is traded
MONTH = 30 * HOURS_A_DAY
MOMENTUM_DAYS = (1, 3, 7, 14)
FADE_FROM = 1.0  # standard deviations of funding over its last month
SHOCK = 3.0  # an hour's move, in standard deviations of the week before
SHOCK_HOURS = 6  # what is liquidated in so many hours is the answer to it


@dataclass(frozen=True)
class View:
    """Hours of a history: what everybody could see at their end."""

    close: Floats
    funding: Floats  # paid by a long of 1 in the hour, a fraction
    rate_8h: Floats  # last settled
    open_interest: Floats
    depth: Floats
    premium: Floats
    long_share: Floats
    liquidated: Floats  # over open interest, in the hour
    bought: Floats  # part of the taker flow
    near: Floats  # truth: leverage near the market
    starts: Floats  # size of cascades that start in the hour, over open interest
    cascades: Cascades
    begun: Ints  # hour of each


def view_of(history: History) -> View:
    hour = round(60.0 / history.step_minutes)
    hours = len(history) // hour
    bars = history.bars[: hours * hour]

    def last(values: Floats) -> Floats:
        return values.reshape(hours, hour)[:, -1]

    def total(values: Floats) -> Floats:
        return np.asarray(values.reshape(hours, hour).sum(axis=1))

    close = last(bars[:, at.T_CLOSE])
    paid, rate = np.zeros(hours), np.full(hours, np.nan)
    for step, one, length in zip(history.settled - history.first, history.rate, history.hours, strict=True):
        at_hour = (int(step) - 1) // hour
        if at_hour < hours:
            paid[at_hour] += one
            rate[at_hour] = one * 8.0 / length
    share = bars[:, at.SHARE_LONG].reshape(hours, hour)
    forced = total((bars[:, at.LIQ_LONG] + bars[:, at.LIQ_SHORT]) / (bars[:, at.OI] * bars[:, at.T_CLOSE]))
    bought, sold = total(bars[:, at.BOUGHT]), total(bars[:, at.SOLD])
    found = cascades(history)
    starts = np.zeros(hours)
    for start, size in zip(found.start, found.size, strict=True):
        if start // hour < hours:
            starts[start // hour] += size
    return View(
        close, paid, _carried(rate), last(bars[:, at.OI]), last(bars[:, at.DEPTH_BID] + bars[:, at.DEPTH_ASK]),
        last(bars[:, at.PREM]), np.nanmean(share, axis=1), forced, bought / np.maximum(bought + sold, 1e-9),
        last(fragility(history)[: hours * hour]), starts, found, found.start // hour,
    )  # fmt: skip


def _carried(values: Floats) -> Floats:
    """The last one known; 0 before the first."""
    place = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values)), -1))
    return np.asarray(np.where(place >= 0, values[place], 0.0))


# --- rules ----------------------------------------------------------------------------------------------------------


def sharpe(exposure: Floats, view: View) -> float:
    """Net, a year, of daily returns. `exposure` of an hour is held through the next one. NaN: it never moved."""
    held = np.concatenate(([0.0], exposure[:-1]))
    moves = np.concatenate(([0.0], np.diff(view.close) / view.close[:-1]))
    traded = np.abs(np.diff(exposure, prepend=0.0))
    earned = held * (moves - view.funding) - COST * np.concatenate(([0.0], traded[:-1]))
    days = len(earned) // HOURS_A_DAY
    daily = earned[: days * HOURS_A_DAY].reshape(days, HOURS_A_DAY).sum(axis=1)
    spread = float(daily.std())
    return float(daily.mean()) / spread * math.sqrt(DAYS_A_YEAR) if spread > 0.0 else math.nan


def sharpe_of_rules(view: View) -> dict[str, float]:
    n = len(view.close)
    found = {"buy and hold": sharpe(np.ones(n), view)}
    for days in MOMENTUM_DAYS:
        found[f"momentum {days}d"] = sharpe(momentum(view, days), view)
    found["funding fade"] = sharpe(fade(view), view)
    return found


def momentum(view: View, days: int) -> Floats:
    """Once a day: long after a rise over so many days, short after a fall."""
    n, back = len(view.close), days * HOURS_A_DAY
    out = np.zeros(n)
    for i in range(back, n, HOURS_A_DAY):
        out[i : i + HOURS_A_DAY] = math.copysign(1.0, view.close[i] / view.close[i - back] - 1.0)
    return out


def fade(view: View) -> Floats:
    """Against the side that pays unusually much; flat when it no longer does."""
    z = standardised(view.rate_8h, MONTH)
    out, held = np.zeros(len(z)), 0.0
    for i, score in enumerate(z):
        if abs(score) > FADE_FROM:
            held = -math.copysign(1.0, score)
        elif score * held >= 0.0:
            held = 0.0
        out[i] = held
    return out


def standardised(x: Floats, n: int) -> Floats:
    """By mean and deviation of the last n; 0 until there are n, or where nothing moves."""
    count = np.minimum(np.arange(len(x)) + 1, n)
    mean = moving_sum(x, n) / count
    spread = np.sqrt(np.maximum(moving_sum(x * x, n) / count - mean * mean, 0.0))
    known = (count == n) & (spread > 1e-12)
    return np.asarray(np.where(known, (x - mean) / np.where(known, spread, 1.0), 0.0))


# --- do cascades announce themselves? -----------------------------------------------------------------------------


class Feature(NamedTuple):
    name: str
    auc: float  # 0.5: it says nothing; below: the other way round


def features(view: View) -> dict[str, Floats]:
    """What traders look at, each hour."""
    r = np.concatenate(([0.0], np.diff(np.log(view.close))))
    found = {
        "funding": view.rate_8h,
        "|funding|": np.abs(view.rate_8h),
        "funding z": standardised(view.rate_8h, MONTH),
        "premium": view.premium,
        "long share": view.long_share,
        "taker flow 24h": moving_sum(view.bought - 0.5, HOURS_A_DAY),
        "liquidated 24h": moving_sum(view.liquidated, HOURS_A_DAY),
        "depth": over_usual(view.depth),
        "open interest / 30d": over_usual(view.open_interest),
    }
    for days in (1, 3, 7):
        back = days * HOURS_A_DAY
        found[f"volatility {days}d"] = np.sqrt(moving_sum(r * r, back))
        found[f"return {days}d"] = moving_sum(r, back)
        found[f"|return| {days}d"] = np.abs(moving_sum(r, back))
        grown = np.diff(np.log(view.open_interest), prepend=np.log(view.open_interest[0]))
        found[f"open interest growth {days}d"] = moving_sum(grown, back)
    return found


def over_usual(x: Floats) -> Floats:
    count = np.minimum(np.arange(len(x)) + 1, MONTH)
    return np.asarray(x / (moving_sum(x, MONTH) / count))


def auc(score: Floats, event: Floats) -> float:
    """Chance that an hour before an event has the higher score than one that is not. NaN: one kind is missing."""
    yes = event > 0.0
    ones, zeros = int(yes.sum()), int((~yes).sum())
    if ones == 0 or zeros == 0:
        return math.nan
    return float((ranks(score)[yes].sum() - ones * (ones - 1) / 2.0) / (ones * zeros))


def feature_aucs(view: View, least: float = 0.0) -> list[Feature]:
    """Best first, whichever way round. Hours of the first month are left out, and those in which one has begun."""
    big = np.where(view.starts >= least, view.starts, 0.0)
    ahead = np.concatenate((moving_sum(big[::-1], HOURS_A_DAY)[::-1][1:], [0.0]))
    use = np.arange(len(big)) >= MONTH
    use &= big == 0.0
    use[-HOURS_A_DAY:] = False
    found = [Feature(name, auc(x[use], ahead[use])) for name, x in features(view).items()]
    return sorted(found, key=lambda one: -abs(one.auc - 0.5) if one.auc == one.auc else 0.0)


def build_up(view: View) -> dict[str, float]:
    """Rank correlation of a cascade's size, over the open interest it met, with what stood there in the hour before.

    Over open interest, since a size in money has open interest in it, and so would correlate with it by itself.
    """
    hour = view.begun
    use = (hour > MONTH) & (hour < len(view.close))
    before = hour[use] - 1
    size = view.cascades.size[use]
    usual = over_usual(view.open_interest)
    return {
        "open interest / 30d": _correlation(usual[before], size),
        "leverage near the market": _correlation(view.near[before], size),
    }


def shocks(view: View) -> Ints:
    """Hours that moved by `SHOCK` deviations of the week before, a day apart at least, after the first month."""
    r = np.diff(np.log(view.close), prepend=np.log(view.close[0]))
    usual = np.sqrt(moving_sum(r * r, 7 * HOURS_A_DAY) / (7 * HOURS_A_DAY))
    large = np.zeros(len(r), dtype=bool)
    large[1:] = np.abs(r[1:]) > SHOCK * np.maximum(usual[:-1], 1e-12)
    found: list[int] = []
    for hour in np.flatnonzero(large):
        if MONTH < hour < len(r) - SHOCK_HOURS and (not found or hour - found[-1] >= HOURS_A_DAY):
            found.append(int(hour))
    return np.array(found, dtype=np.int64)


def after_shocks(view: View) -> dict[str, float]:
    """Partial rank correlation of the part of open interest that is liquidated with what stood there, given the move.

    All shocks count, whether or not a cascade came of them: among cascades alone the small ones of crowded times,
    which would have been nothing in calm ones, hide that crowded times make them larger.
    """
    hours = shocks(view)
    size = np.array([view.liquidated[hour : hour + SHOCK_HOURS].sum() for hour in hours])
    move = np.abs(np.log(view.close[hours] / view.close[hours - 1]))
    usual = over_usual(view.open_interest)
    return {
        "open interest / 30d": _correlation(usual[hours - 1], size, move),
        "leverage near the market": _correlation(view.near[hours - 1], size, move),
    }


def _correlation(x: Floats, y: Floats, given: Floats | None = None) -> float:
    """Spearman's, of few: NaN below ten. `given`: what both owe to it is taken out of their ranks."""
    if len(x) < 10:
        return math.nan
    a, b = ranks(x), ranks(y)
    if given is not None:
        c = ranks(given)
        a, b = (one - np.polyval(np.polyfit(c, one, 1), c) for one in (a, b))
    return float(np.corrcoef(a, b)[0, 1])
