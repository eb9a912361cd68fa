"""What an event is held against: bars that were like it but for the one thing that is asked about.

    SameMove(rule)      the price moved as far, the same way, and open interest stayed: what did its destruction do?
    SameHours(draws=5)  the same hour of other days: what does the time of day do?

One seam: `times(market, events, seed)` gives a frame of symbol, side, at (a bar's close) and match (the row of the
event that it stands for). Placebos never lie within an event of the catalogue, nor less than `apart` from one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from backtest.given import is_number, is_whole
from data import clock
from data.errors import BadInput
from data.market import Market
from strategies.events.finding import SIDES, clusters, destroyed, moves, scores
from strategies.events.rules import Unwind, bars_of
from strategies.events.series import Series, nanoseconds, series_of, stamps
from strategies.signals.edge import Ints

if TYPE_CHECKING:
    import pandas as pd

Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]


class Placebo(Protocol):
    """To make another one, give it this method; see the module for what it returns."""

    def times(self, market: Market, found: pd.DataFrame, seed: int) -> pd.DataFrame: ...


@dataclass(frozen=True)
class SameMove:
    """Moves that the rule would have taken, had open interest gone: less than `kept` of it did.

    Each event gets the one not taken yet whose move is nearest in standard deviations, the largest event first, if it
    is within `caliper` (a ratio) of it.
    """

    rule: Unwind
    kept: float = 0.01
    caliper: float = 1.5

    def __post_init__(self) -> None:
        if not (is_number(self.kept) and self.kept < self.rule.flush):
            raise BadInput(f"SameMove: kept={self.kept!r}: write a number below the rule's flush of {self.rule.flush}")
        if not (is_number(self.caliper) and self.caliper >= 1.0):
            raise BadInput(f"SameMove: caliper={self.caliper!r}: write a ratio of at least 1")

    def times(self, market: Market, found: pd.DataFrame, seed: int) -> pd.DataFrame:
        rows: list[tuple[str, str, int, int]] = []
        for one in series_of(market):
            for side, direction in SIDES:
                mine = np.flatnonzero((found["symbol"] == one.symbol) & (found["side"] == side))
                if len(mine):
                    rows += self._of_side(one, found, mine, side, direction)
        return _frame(rows)

    def _of_side(
        self, one: Series, found: pd.DataFrame, mine: Ints, side: str, direction: float
    ) -> list[tuple[str, str, int, int]]:
        score = scores(one, self.rule, direction)
        with np.errstate(invalid="ignore"):
            still = moves(one, self.rule, direction) & (destroyed(one, self.rule) < self.kept)
        still &= _away(one, found, bars_of(one.market, self.rule.apart))
        free = [first for first, _ in clusters(np.flatnonzero(still), bars_of(one.market, self.rule.apart))]
        sizes = score[_bars(one, found["confirmed"])[mine]]
        rows = []
        for k in np.argsort(-sizes, kind="stable"):
            if not free:
                break
            nearest = min(free, key=lambda bar: abs(float(score[bar]) - float(sizes[k])))
            ratio = float(score[nearest] / sizes[k])
            if 1.0 / self.caliper <= ratio <= self.caliper:
                free.remove(nearest)
                rows.append((one.symbol, side, int(one.ends[nearest]), int(mine[k])))
        return rows


@dataclass(frozen=True)
class SameHours:
    """For each event, `draws` other days at its time of day, of the same symbol; `apart` from every event."""

    draws: int = 5
    apart: str = "1d"

    def __post_init__(self) -> None:
        if not (is_whole(self.draws) and self.draws >= 1):
            raise BadInput(f"SameHours: draws={self.draws!r}: write a whole number of at least 1")

    def times(self, market: Market, found: pd.DataFrame, seed: int) -> pd.DataFrame:
        rng, rows = np.random.default_rng(seed), list[tuple[str, str, int, int]]()
        confirmed = nanoseconds(found["confirmed"])
        for one in series_of(market):
            calm = _away(one, found, bars_of(market, self.apart)) & np.isfinite(one["close"])
            for k in np.flatnonzero(found["symbol"] == one.symbol):
                at = int(confirmed[k])
                same = np.flatnonzero(calm & ((one.ends - at) % clock.DAY == 0))
                some = rng.choice(same, min(self.draws, len(same)), replace=False)
                rows += [(one.symbol, str(found["side"].iloc[k]), int(one.ends[b]), int(k)) for b in np.sort(some)]
        return _frame(rows)


def _frame(rows: list[tuple[str, str, int, int]]) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, Any] = {
        "symbol": [r[0] for r in rows],
        "side": [r[1] for r in rows],
        "at": stamps(np.array([r[2] for r in rows], dtype=np.int64)),
        "match": np.array([r[3] for r in rows], dtype=np.int64),
    }
    return pd.DataFrame(columns)


def _bars(one: Series, closes: Any) -> Ints:
    """The bars that close at these times."""
    return np.asarray((nanoseconds(closes) - one.market.start) // one.market.interval - 1)


def _away(one: Series, found: pd.DataFrame, apart: int) -> Flags:
    """Bars that are in no event of the symbol, nor so near to one."""
    free, mine = np.ones(len(one), dtype=bool), found[found["symbol"] == one.symbol]
    for first, last in zip(_bars(one, mine["start"]) + 1, _bars(one, mine["end"]), strict=True):
        free[max(first - apart, 0) : last + apart + 1] = False
    return free
