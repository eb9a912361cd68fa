"""Endogenous or news: what set an unwind off, guessed from public data.

Whether a fall began within the market or outside it is not written in any feed. What prices show: news is a jump. It
comes in one or two bars, out of a market that was quiet, and before positions are forced; a cascade from within begins
as an ordinary move and feeds itself. So

    jump    the largest move of one bar against the thrown-out side, from an hour before the start to the worst bar
            and with it, in standard deviations of such bars over the day before
    cause   "news" where jump is at least `NEWS`, "endogenous" where it is less; "unknown" on bars longer than five
            minutes, where a jump and a fast fall look alike, and where too little is known

`agreement` holds the guess against the truth of a simulated market; docs/events.md has the numbers. On real markets
nobody can say how often it is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from data import clock
from strategies.events.series import Series, nanoseconds
from strategies.signals.rolling import log_change

if TYPE_CHECKING:
    import pandas as pd

NEWS = 8.0  # standard deviations
LONGEST = 5 * clock.MINUTE  # a bar that can show a jump
FEWEST = 100  # moves in the day before
GUESSES = ("endogenous", "news")


def cause_of(one: Series, start: int, peak: int, direction: float) -> tuple[float, str]:
    """The jump, and what it says."""
    step = one.market.interval
    if step > LONGEST:
        return float("nan"), "unknown"
    hour, day = clock.HOUR // step, clock.DAY // step
    first = max(start - hour, 0)
    moved = np.asarray(log_change(one["close"][max(first - day, 0) : peak + 1], 1))
    usual, lately = moved[: -(peak + 1 - first)], moved[-(peak + 1 - first) :]
    usual = usual[np.isfinite(usual)]
    if len(usual) < FEWEST or not usual.std() > 0.0 or not np.isfinite(lately).any():
        return float("nan"), "unknown"
    jump = float(np.nanmax(direction * lately) / usual.std())
    return jump, "news" if jump >= NEWS else "endogenous"


def agreement(found: pd.DataFrame, truth: pd.DataFrame, within: str = "1h") -> pd.DataFrame:
    """The guessed cause of unwinds against the true one: a table of counts, guesses in rows, causes in columns.

    `truth`: the rows of kind cascade of the table `truth` (ts, until, label such as "news long"), of the same symbol;
    an event is that of the cascade of its side it overlaps, or comes `within` of. Events that are none, and cascades
    that were not found, are counted as "none".
    """
    import pandas as pd

    near = clock.duration(within)
    starts, ends = nanoseconds(truth["ts"]), nanoseconds(truth["until"])
    causes, sides = (np.array([label.split()[k] for label in truth["label"]], dtype=object) for k in (0, 1))
    counts = pd.DataFrame(0, index=[*GUESSES, "unknown", "none"], columns=[*GUESSES, "none"])
    seen = np.zeros(len(truth), dtype=bool)
    events = zip(found["side"], nanoseconds(found["start"]), nanoseconds(found["end"]), found["cause"], strict=True)
    for side, start, end, guess in events:
        met = (sides == side) & (starts <= end + near) & (ends >= start - near)
        seen |= met
        cause = "none" if not met.any() else "news" if (causes[met] == "news").any() else "endogenous"
        counts.loc[guess, cause] += 1
    for cause in GUESSES:
        counts.loc["none", cause] = int(((causes == cause) & ~seen).sum())
    return counts
