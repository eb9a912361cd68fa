"""The average path around events, against a placebo, with intervals that respect days.

    made = study(market, found, "close", around=Around(before="6h", after="1d"), placebo=SameMove(rule))
    made.table           # a row a bar from the event: mean, interval, placebo, difference, t
    made.plot()

1. Each event is one path of `value` from `before` to `after` bars around its base bar, the one that closed at the
   column `around.at`: `confirmed`, the first close at which it could be known, unless told otherwise. `peak` and `end`
   are known only later: a path from there is no trade.
2. Prices, open interest: log over the base bar, prices times -1 where shorts were thrown out. So below 0 goes on, and
   above 0 is a reversal, for both sides. Premium and funding: the level less that of the base bar, turned likewise. All
   else is the level itself.
3. Days are drawn again with all of their events (bootstrap of days): events of one day, of many symbols, are one
   market. The interval is of the quantiles of the means drawn.
4. `t` is of the difference, by least squares with errors clustered by day.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.given import is_number, is_whole
from backtest.report import look
from data import clock
from data.errors import BadInput
from data.market import FIELDS, Market
from strategies.events.placebo import Placebo
from strategies.events.regressions import clustered
from strategies.events.rules import bars_of
from strategies.events.series import Series, nanoseconds, series_of
from strategies.signals.edge import Array, Ints, numbers

if TYPE_CHECKING:
    import pandas as pd

PRICES = ("open", "high", "low", "close", "mark_open", "mark_high", "mark_low", "mark_close", "index")
AMOUNTS = ("open_interest", "open_interest_value")  # log over the base bar, whichever side
LEVELS = ("premium", "funding_8h")
AT = ("start", "confirmed", "peak", "end")


@dataclass(frozen=True)
class Around:
    """Which stretch is looked at, and how sure to be."""

    before: str = "6h"
    after: str = "1d"
    at: str = "confirmed"
    level: float = 0.9
    draws: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        clock.duration(self.before), clock.duration(self.after)
        if self.at not in AT:
            raise BadInput(f"Around: at={self.at!r}: write {', '.join(AT)}")
        if not (is_number(self.level) and 0.0 < self.level < 1.0):
            raise BadInput(f"Around: level={self.level!r}: write a number between 0 and 1")
        if not (is_whole(self.draws) and self.draws >= 100):
            raise BadInput(f"Around: draws={self.draws!r}: write a whole number of at least 100")


@dataclass(frozen=True)
class Paths:
    """One row an event, one column a bar from it; the day that each belongs to."""

    values: Array
    days: Ints


@dataclass(frozen=True)
class Study:
    """`table` has the means; `events` and `placebo` the paths behind them."""

    value: str
    table: pd.DataFrame
    events: Paths
    placebo: Paths | None

    def plot(self) -> Any:
        """The mean path with its interval, and the placebo's, as a plotly figure."""
        import plotly.graph_objects as go

        figure = go.Figure()
        for name, colour in (("mean", "31,119,180"), ("placebo", "150,150,150")):
            if name not in self.table:
                continue
            low, high = ("low", "high") if name == "mean" else ("placebo_low", "placebo_high")
            x = self.table["hours"].to_numpy()
            band = np.concatenate([self.table[high], self.table[low][::-1]])
            figure.add_scatter(
                x=np.concatenate([x, x[::-1]]), y=band, fill="toself", fillcolor=f"rgba({colour},0.2)",
                line={"width": 0}, showlegend=False, hoverinfo="skip",
            )  # fmt: skip
            label = "events" if name == "mean" else "placebo"
            figure.add_scatter(x=x, y=self.table[name], name=label, line={"color": f"rgb({colour})"})
        figure.update_layout(xaxis_title="hours from the event", yaxis_title=self.value, template=look.template())
        return figure


def study(
    market: Market, found: pd.DataFrame, value: str | Any = "close", *, around: Around | None = None,
    placebo: Placebo | None = None,
) -> Study:  # fmt: skip
    """Average path of a field of the market, or of your own array (n,) or (n, k), around the events found.

    The table: hours, n, days, mean, low, high and, with a placebo, placebo_n, placebo, placebo_low, placebo_high,
    difference, difference_low, difference_high, t. A bar with nothing known is NaN, and `n` says how many are known.
    """
    around = around or Around()
    if not len(found):
        raise BadInput("study: no events were found; loosen the rule, or take a longer market")
    name = value if isinstance(value, str) else "value"
    if isinstance(value, str) and value not in FIELDS:
        raise BadInput(f"study: a market has no {value!r}: name one of its fields, or give an array")
    events = _paths(market, value, found["symbol"], found["side"], found[around.at], around)
    twins = None
    if placebo is not None:
        drawn = placebo.times(market, found, around.seed)
        twins = _paths(market, value, drawn["symbol"], drawn["side"], drawn["at"], around)
    return Study(name, _table(market, events, twins, around), events, twins)


# ---- paths -------------------------------------------------------------------------------------


def _paths(market: Market, value: Any, symbols: Any, sides: Any, closes: Any, around: Around) -> Paths:
    before, after = bars_of(market, around.before), bars_of(market, around.after)
    ends = nanoseconds(closes)
    base = (ends - market.start) // market.interval - 1
    of = {one.symbol: j for j, one in enumerate(series_of(market))}
    outside = int(((base < 0) | (base >= len(market)) | ~np.isin(list(symbols), list(of))).sum())
    if outside:
        raise BadInput(
            f"study: {outside} of {len(base)} events are not in this market: find them in it, or leave them out"
        )
    columns = [_column(one, value, j) for j, one in enumerate(series_of(market))]
    rows = np.full((len(base), before + after + 1), np.nan)
    for k, (symbol, side, bar) in enumerate(zip(symbols, sides, base, strict=True)):
        rows[k] = _path(columns[of[symbol]], int(bar), before, after, value, -1.0 if side == "short" else 1.0)
    return Paths(rows, np.asarray((ends - 1) // clock.DAY))


def _column(one: Series, value: Any, number: int) -> Array:
    if isinstance(value, str):
        return one.held if value == "open_interest" else one[value]
    array = numbers(value, "study: value")
    if len(array) != len(one):
        raise BadInput(f"study: the array has {len(array):,} rows and the market {len(one):,} bars: give one a bar")
    return array if array.ndim == 1 else np.asarray(array[:, number])


def _path(x: Array, bar: int, before: int, after: int, value: Any, turn: float) -> Array:
    out = np.full(before + after + 1, np.nan)
    first, stop = max(bar - before, 0), min(bar + after + 1, len(x))
    out[first - bar + before : stop - bar + before] = x[first:stop]
    if not isinstance(value, str) or value not in (*PRICES, *AMOUNTS, *LEVELS):
        return out
    with np.errstate(all="ignore"):
        if value in LEVELS:
            return np.asarray(turn * (out - x[bar]))
        return np.asarray((turn if value in PRICES else 1.0) * np.log(out / x[bar]))


# ---- the table ---------------------------------------------------------------------------------


def _table(market: Market, events: Paths, twins: Paths | None, around: Around) -> pd.DataFrame:
    import pandas as pd

    before, after = bars_of(market, around.before), bars_of(market, around.after)
    known = np.isfinite(events.values)
    days = [len(np.unique(events.days[k])) for k in known.T]
    made: dict[str, Any] = {
        "hours": np.arange(-before, after + 1) * (market.interval / clock.HOUR),
        "n": known.sum(axis=0),
        "days": days,
        "mean": mean_of(events.values),
    }
    drawn = draws_of([events] if twins is None else [events, twins], around.draws, around.seed)
    made["low"], made["high"] = interval(drawn[0], around.level)
    if twins is not None:
        made["placebo_n"] = np.isfinite(twins.values).sum(axis=0)
        made["placebo"] = mean_of(twins.values)
        made["placebo_low"], made["placebo_high"] = interval(drawn[1], around.level)
        made["difference"] = made["mean"] - made["placebo"]
        made["difference_low"], made["difference_high"] = interval(drawn[0] - drawn[1], around.level)
        made["t"] = _t_values(events, twins)
    return pd.DataFrame(made)


def mean_of(values: Array) -> Array:
    """Of what is known; NaN where nothing is."""
    count = np.isfinite(values).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.nansum(values, axis=0) / np.where(count > 0, count, np.nan))


def draws_of(groups: list[Paths], draws: int, seed: int) -> list[Array]:
    """Means of each group when days are drawn again, the same days for all groups: (draws, columns)."""
    days = np.unique(np.concatenate([g.days for g in groups]))
    weights = np.random.default_rng(seed).multinomial(len(days), np.full(len(days), 1.0 / len(days)), size=draws)
    made = []
    for group in groups:
        place = np.searchsorted(days, group.days)
        total, count = (np.zeros((len(days), group.values.shape[1])) for _ in range(2))
        np.add.at(total, place, np.nan_to_num(group.values))
        np.add.at(count, place, np.isfinite(group.values))
        sums, counts = weights @ total, weights @ count
        made.append(np.asarray(sums / np.where(counts > 0.0, counts, np.nan)))
    return made


def interval(drawn: Array, level: float) -> tuple[Array, Array]:
    tail = 0.5 * (1.0 - level)
    out = np.full((2, drawn.shape[1]), np.nan)
    for j in range(drawn.shape[1]):
        some = drawn[np.isfinite(drawn[:, j]), j]
        if len(some) > 1:
            out[:, j] = np.quantile(some, (tail, 1.0 - tail))
    return out[0], out[1]


def _t_values(events: Paths, twins: Paths) -> Array:
    days, group = np.concatenate([events.days, twins.days]), np.repeat([1.0, 0.0], [len(events.days), len(twins.days)])
    values = np.concatenate([events.values, twins.values])
    out = np.full(values.shape[1], np.nan)
    for j, y in enumerate(values.T):
        known = np.isfinite(y)
        both = len(np.unique(group[known])) == 2 and len(np.unique(days[known])) > 2
        if both and y[known].std() > 0.0:
            out[j] = float(clustered(y[known], {"event": group[known]}, days[known])["t"]["event"])
    return out
