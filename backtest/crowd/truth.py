"""What really happened in a simulated market: cascades with their cause, phases, fragility.

A cascade begins when what was liquidated of one side in five minutes reaches a part of the open interest, and ends when
for half an hour less than a tenth of that was. Those that destroyed enough are kept. It is `news` when a
news shock of at least `NEWS_SIZE` against that side came within the half hour before its worst minute, else endogenous.

Phases of an hour: `unwind` in a cascade and for the hour after it; `recovery` for a day after that; `build-up` when
leverage near the market has risen well above its usual level and is not back; else `calm`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backtest.crowd import facts
from backtest.crowd.kernel import layout as at
from backtest.crowd.kernel.layout import Floats, Ints
from backtest.crowd.machine import History

Flags = NDArray[np.bool_]

BEGINS = 0.004  # of the open interest, in five minutes
ENDS = 0.1  # of that
PAUSE_MINUTES = 30.0
LEAST = 0.01  # of the open interest, in all
NEWS_SIZE = 0.006  # log
NEWS_MINUTES = 30.0
LITTLE = 1e-9  # open interest that is none
CALM, BUILD_UP, UNWIND, RECOVERY = range(4)
PHASES = ("calm", "build-up", "unwind", "recovery")
CROWDED, NO_LONGER = 1.15, 1.05  # leverage near the market over its usual level: a build-up begins, and is over


class Cascades(NamedTuple):
    """One element a cascade; steps are [start, end)."""

    start: Ints
    end: Ints
    side: Ints  # 1: longs were thrown out
    news: Flags
    size: Floats  # forced notional over open interest
    fall: Floats  # log move of the trade price from the start to its extreme
    worst: Ints  # the step with the most forced notional


def moving_sum(x: Floats, n: int) -> Floats:
    """Of the last n values, fewer at the start."""
    total = np.concatenate(([0.0], np.cumsum(x)))
    first = np.maximum(np.arange(len(x)) + 1 - n, 0)
    return np.asarray(total[1:] - total[first])


def cascades(history: History) -> Cascades:
    minutes, bars = history.step_minutes, history.bars
    close = bars[:, at.T_CLOSE]
    found = []
    for side, column in ((1, at.LIQ_LONG), (-1, at.LIQ_SHORT)):
        forced = bars[:, column] / np.maximum(bars[:, at.OI] * close, LITTLE)
        found += _of_side(history, side, forced, max(1, round(5.0 / minutes)), max(1, round(PAUSE_MINUTES / minutes)))
    found.sort()
    table = np.array(found, dtype=np.float64).reshape(-1, 7)
    return Cascades(
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        table[:, 2].astype(np.int64),
        table[:, 3] == 1.0,
        table[:, 4],
        table[:, 5],
        table[:, 6].astype(np.int64),
    )


def _of_side(history: History, side: int, forced: Floats, five: int, pause: int) -> list[tuple[float, ...]]:
    recent, long_recent = moving_sum(forced, five), moving_sum(forced, pause)
    begins = np.flatnonzero(recent >= BEGINS)
    if not len(begins):
        return []
    quiet = np.flatnonzero(long_recent < BEGINS * ENDS * pause / five)
    out, after = [], -1
    for begin in begins:
        if begin < after:
            continue
        start = max(int(begin) - five + 1, 0)
        later = quiet[np.searchsorted(quiet, begin + 1) :]
        end = int(later[0]) - pause + 1 if len(later) else len(forced)
        end = max(end, int(begin) + 1)
        after = end + five  # by then the window holds nothing of this one
        size = float(forced[start:end].sum())
        if size >= LEAST:
            out.append(_described(history, side, forced, start, end, size))
    return out


def _described(history: History, side: int, forced: Floats, start: int, end: int, size: float) -> tuple[float, ...]:
    bars = history.bars
    extreme = bars[start:end, at.T_LOW].min() if side > 0 else bars[start:end, at.T_HIGH].max()
    worst = start + int(np.argmax(forced[start:end]))
    before = max(0, worst - round(NEWS_MINUTES / history.step_minutes))
    shock = -side * history.news[before : worst + 1]
    news = bool(len(shock)) and float(shock.max()) >= NEWS_SIZE
    return start, end, side, float(news), size, float(np.log(extreme / bars[start, at.T_OPEN])), worst


def fragility(history: History) -> Floats:
    """Open interest that would be liquidated by a fall or by a rise, weighted by nearness; the larger, last known."""
    near = np.maximum(history.bars[:, at.FRAGILE_DOWN], history.bars[:, at.FRAGILE_UP])
    known = np.isfinite(history.bars[:, at.SHARE_LONG])
    place = np.maximum.accumulate(np.where(known, np.arange(len(near)), 0))
    return np.asarray(near[place])


def phases(history: History, found: Cascades) -> Ints:
    """One code an hour."""
    hour = round(60.0 / history.step_minutes)
    hours = len(history) // hour
    near = fragility(history)[: hours * hour].reshape(hours, hour)[:, -1]
    usual = np.array([np.median(near[max(0, i - 30 * 24) : i + 1]) for i in range(hours)])
    code, crowded = np.empty(hours, dtype=np.int64), False
    for i in range(hours):
        crowded = near[i] > (NO_LONGER if crowded else CROWDED) * usual[i]
        code[i] = BUILD_UP if crowded else CALM
    for start, end in zip(found.start, found.end, strict=True):
        first, last = start // hour, (end - 1) // hour + 1
        recovering = slice(last + 1, min(last + 25, hours))
        code[recovering] = np.where(code[recovering] == UNWIND, UNWIND, RECOVERY)
        code[first : min(last + 1, hours)] = UNWIND
    return np.asarray(code, dtype=np.int64)


def tape_of(history: History) -> facts.Tape:
    """What the twelve facts look at."""
    bars, found = history.bars, cascades(history)
    return facts.Tape(
        step_s=round(history.step_minutes * 60.0),
        close=bars[:, at.T_CLOSE],
        open_interest=bars[:, at.OI],
        depth=0.5 * (bars[:, at.DEPTH_BID] + bars[:, at.DEPTH_ASK]),
        liq_long=bars[:, at.LIQ_LONG],
        liq_short=bars[:, at.LIQ_SHORT],
        settled=history.settled - history.first,
        rate=np.round(history.rate, 8),
        hours=history.hours,
        cascades=facts.Cascades(found.start, found.end, found.side, found.news),
    )
