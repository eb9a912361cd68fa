"""What strategies share: lengths in bars, open interest in coins, a share of the account for each symbol, a latch.

bars_of(market, "4h")          # bars, rounded up, at least one: "15m" of hourly bars is one bar
coins_open(market)             # open interest in coins, whichever way the market holds it
share_of(market)               # 1 / number of symbols, a number a bar
latched(on, off, bars)         # on since `on` was last true, until `off` is, or for so many bars
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data import clock

if TYPE_CHECKING:
    from data.market import Market

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def bars_of(market: Market, length: str) -> int:
    """A duration in bars of this market: part of a bar is a bar."""
    return max(-(-clock.duration(length) // market.interval), 1)


def plus(*lengths: str) -> str:
    """The sum of durations, as one."""
    return clock.label(sum(clock.duration(length) for length in lengths))


def each_bar(market: Market, value: float) -> Array:
    """A number as a feature: the same in every bar."""
    return np.full(len(market), float(value))


def share_of(market: Market) -> Array:
    """What each symbol may have of the account: equal parts."""
    return each_bar(market, 1.0 / len(market.symbols))


def due(market: Market, every: str) -> Array:
    """1 in the bars that end a period, counted from 1970 in UTC ("1d": the last of each day), else 0."""
    length = clock.duration(every)
    ends = (market.ts + market.interval) // length != market.ts // length
    return np.asarray(ends, dtype=np.float64)


def by_symbol(market: Market, values: Any) -> Array:
    """(n, k), whatever the number of symbols."""
    array = np.asarray(values, dtype=np.float64)
    return array[:, None] if array.ndim == 1 else array


def coins_open(market: Market) -> Array:
    """Open interest in coins. Held in money alone, it is divided by the close of its bar.

    In money it moves with the price, and a fall of the price alone would look like positions closed.
    """
    if "open_interest" in market.held:
        return np.asarray(market.open_interest)
    with np.errstate(all="ignore"):
        return np.where(market.close > 0.0, market.open_interest_value / market.close, np.nan)


def last_true(flags: Flags) -> npt.NDArray[np.int64]:
    """The last row at or before each in which a flag was true, -1 before the first; column by column."""
    rows = np.arange(len(flags)).reshape((-1,) + (1,) * (flags.ndim - 1))
    return np.asarray(np.maximum.accumulate(np.where(flags, rows, -1), axis=0))


def latched(on: Flags, off: Flags, bars: int) -> Flags:
    """True from a bar where `on` is until one where `off` is, and at most `bars` bars after the last `on`.

    With an upper level for `on` and a lower one for `off` a signal that hovers does not flicker; the limit makes it
    forget, so that it does not depend on where the market began.
    """
    since = last_true(on)
    rows = np.arange(len(on)).reshape((-1,) + (1,) * (on.ndim - 1))
    return np.asarray((since >= 0) & (since > last_true(off)) & (rows - since < bars))
