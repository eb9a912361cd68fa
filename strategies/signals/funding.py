"""Funding: what one side pays the other, over settlements and not over bars.

A venue may settle every 8 hours, every 4 or every hour, and may change that any day. So rates are made comparable (per
8 hours) and each settlement weighs as many hours as it covers. Windows are hours of settlements.

    settled = settled_of(market)                                # of one symbol, as it was known at the time
    funding_z(settled, ends_of(market), hours=720.0)            # one value a bar

A settlement speaks for the bars after it until two of its intervals have passed; later bars are NaN, since one that
should have come did not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data import clock
from data.errors import BadInput
from strategies.signals.edge import Array, Bars, Ints, columnwise, frozen, known
from strategies.signals.rolling import HALF, moments, rolling_mean, sums

if TYPE_CHECKING:
    from data.market import Market

OVERDUE = 2.0  # intervals, after which a settlement says nothing any more
NEARLY_ALL = 0.9  # of the hours of a sum have to be covered


class Settled(NamedTuple):
    """Settlements of one symbol in the order of their times, none known before the one above it."""

    bar: Ints  # in which it became known
    ts: Ints  # nanoseconds
    rate: Array  # fraction per interval; above 0 longs pay
    hours: Array  # of its interval

    @property
    def rate_8h(self) -> Array:
        return np.where(self.hours > 0.0, self.rate * 8.0 / self.hours, np.nan)


def settled_of(market: Market, symbol: int = 0) -> Settled:
    """Of one symbol by its number, each as it was first known.

    Left out: later versions of the same settlement, and one that became known only after the next one had been.
    """
    rows = market.features_view().settlements
    rows = rows[(rows["symbol"] == symbol) & np.isfinite(rows["rate"])]
    rows = rows[np.lexsort((rows["ts"], rows["bar"]))]
    newest = np.maximum.accumulate(rows["ts"]) if len(rows) else rows["ts"]
    fresh = np.ones(len(rows), dtype=bool)
    fresh[1:] = rows["ts"][1:] > newest[:-1]
    rows = rows[fresh]
    return Settled(rows["bar"].copy(), rows["ts"].copy(), rows["rate"].copy(), rows["interval_hours"].copy())


def ends_of(market: Market) -> Ints:
    """Closes of the bars, nanoseconds."""
    return np.asarray(market.ts + market.interval)


def funding_z(settled: Settled, ends: Ints, hours: float, floor: float = 0.0) -> Array:
    """How unusual the last settled rate is: (f - mean) / max(sd, floor) of the rates of the last hours.

    f is the rate per 8 hours, one of those rates itself. Mean and deviation (of the population) weigh each settlement
    by its hours, so that a change of the interval is no change of the signal. `floor`: the least deviation, per 8
    hours; about half of all prints of a quiet market are the same rate to the last digit, and scores of what is left
    are noise. Unit: standard deviations. Look-back: hours (usually 720). NaN until the settlements reach back that
    far, where less than half of the hours is covered, where nothing ever moved, and when a settlement is overdue.
    Source: usual measure. Worth by itself: none was found, see docs/signals.md.
    """
    _check_hours("funding_z", hours)
    rate = settled.rate_8h
    weight = np.where(np.isfinite(rate), settled.hours, 0.0)
    first = np.searchsorted(settled.ts, settled.ts - round(hours * clock.HOUR), side="right").astype(np.int64)
    covered, mean, squares = moments(frozen(rate), frozen(weight), frozen(np.minimum(first, np.arange(len(rate)))))
    with np.errstate(all="ignore"):
        spread = np.maximum(np.sqrt(squares / covered), floor)
        score = np.where(spread > 0.0, (rate - mean) / spread, np.nan)
    good = _reaches_back(settled, hours) & (covered >= HALF * hours)
    return _as_of(settled, np.where(good, score, np.nan), ends)


def cumulative_funding(settled: Settled, ends: Ints, hours: float) -> Array:
    """What a long has paid in the last hours: the sum of the rates settled in [end - hours, end).

    A settlement at the very close is not known yet; so bars of a day have three of 8 hours each, and not two. Unit:
    fraction of the notional; below 0 shorts have paid. Look-back: hours. NaN until the settlements reach back that far,
    and where they cover less than nine tenths of the hours. Source: definition.
    """
    _check_hours("cumulative_funding", hours)
    here = np.arange(len(ends))
    last = np.minimum(np.searchsorted(settled.bar, here, side="right"), np.searchsorted(settled.ts, ends))
    first = np.minimum(np.searchsorted(settled.ts, ends - round(hours * clock.HOUR)), last)
    paid, covered = (_between(x, first, last) for x in (settled.rate, settled.hours))
    good = covered >= NEARLY_ALL * hours
    if len(settled.ts):
        good &= ends - settled.ts[0] + _length(settled) >= round(hours * clock.HOUR)
    return np.where(good, paid, np.nan)


@columnwise
def expected_funding(premium: Array, window: Bars, interest: float = 0.0001, clamp: float = 0.0005) -> Array:
    """The rate that the premium of the last bars would settle: F = P + clamp(i - P), P the mean premium.

    `interest` i and `clamp` are per 8 hours: 0.01 % and 0.05 %, as on Binance and most others, so that F is i wherever
    P is near it. Unit: fraction per 8 hours. Look-back: window (usually 8 hours). NaN where less than half of the
    window is known. Source: the venues' own formula, without their weights by minutes and caps.
    """
    mean = np.asarray(rolling_mean(premium, window))
    return mean + np.clip(interest - mean, -clamp, clamp)


def _check_hours(owner: str, hours: float) -> None:
    if not hours > 0.0:
        raise BadInput(f"{owner}: hours={hours!r}: write hours above 0, such as 720.0 for 30 days")


def _between(x: Array, first: Ints, last: Ints) -> Array:
    """Sum of x[first:last] of each bar, both never going back. A bar is put behind its last settlement as a 0."""
    here = last + np.arange(len(last))
    row, begin = np.zeros(len(x) + len(last)), np.zeros(len(x) + len(last), dtype=np.int64)
    settlement = np.ones(len(row), dtype=bool)
    settlement[here] = False
    place = np.append(np.flatnonzero(settlement), len(row))  # of each settlement in the row
    row[settlement] = x
    begin[here] = np.where(first < last, place[first], here)
    return np.asarray(sums(frozen(row), frozen(np.maximum.accumulate(begin)))[1][here])


def _length(settled: Settled) -> int:
    """Nanoseconds that the first settlement speaks for."""
    hours = settled.hours[0]
    return round(float(hours) * clock.HOUR) if np.isfinite(hours) else 0


def _reaches_back(settled: Settled, hours: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    if not len(settled.ts):
        return np.zeros(0, dtype=bool)
    return np.asarray(settled.ts - settled.ts[0] + _length(settled) >= round(hours * clock.HOUR))


def _as_of(settled: Settled, values: Array, ends: Ints) -> Array:
    """The value of the last settlement known at each close, while it is not overdue."""
    last = np.searchsorted(settled.bar, np.arange(len(ends)), side="right") - 1
    if not len(settled.ts):
        return np.full(len(ends), np.nan)
    age = (ends - settled.ts[last]) / clock.HOUR
    with np.errstate(invalid="ignore"):
        speaks = (last >= 0) & (age <= OVERDUE * settled.hours[last])
    return known(np.where(speaks, values[last], np.nan))
