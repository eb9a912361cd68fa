"""Detectors of cascades held against the truth of a simulated market.

    truth = Truth.of_rows(store_rows)                       # kind cascade of the table `truth`
    made = score(signal, ends, truth, thresholds=(1.1, 1.2, 1.3))
    score_all(market, truth, names=("oi_build", "fragility_down"))      # by name, thresholds from the data
    plot(table)

1. An alarm is raised at the first close at which the signal is at its threshold or above, and lasts `horizon`. If the
   signal is still there by then, that is the next alarm. So alarms never overlap. A falling detector: score -signal.
2. The question is asked of first cascades: those that begin `apart` after the end of the one before. What follows
   within is foretold by anybody. All causes count for "before"; causes are then judged each for itself.
3. `recall`: part of the endogenous cascades that began within an alarm. `covered`: part of all time within alarms,
   which is what recall would be by luck. `precision`: part of alarms in which a first endogenous cascade began;
   `base_precision`: the same of alarms at random times. `lead_h`: hours from the alarm to the cascade, the median.
4. `news_recall`: part of news cascades that began within an alarm. Nothing within the market says that news is coming,
   so it should be `covered`; much more means that the detector sees crowds that news hits, or the test is broken.
5. `p` and `news_p`: how likely so many hits are by luck (binomial, each cascade with chance `covered`).
6. `false_a_month`: alarms in which no cascade began at all (of any cause or side, first or not), a month of 30 days.

Signals are only read at closes and alarms begin at them, so a cut history changes no alarm before the cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.given import is_number
from backtest.report import look
from data import clock
from data.errors import BadInput
from data.market import Market
from strategies.events.series import nanoseconds
from strategies.signals.edge import Array, Ints, numbers
from strategies.signals.funding import ends_of
from strategies.signals.registry import all_features, missing, signal

if TYPE_CHECKING:
    import pandas as pd

NAN = float("nan")
MONTH = 30 * clock.DAY
SHARES = (0.5, 0.8, 0.9, 0.95, 0.98)  # of closes that are below a threshold, where thresholds come from the data
DETECTORS = (
    "oi_build", "unexpected_oi_z", "funding_z", "cumulative_funding", "premium_z", "ratio_z", "fragility_down",
    "fragility_up", "absorption_down", "absorption_up", "volatility_ratio", "liquidation_excitation",
)  # fmt: skip
Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Truth:
    """Cascades as they were, in the order of their starts (nanoseconds)."""

    start: Ints
    end: Ints
    news: Flags
    long: Flags  # who was thrown out

    @classmethod
    def of_rows(cls, rows: Any) -> Truth:
        """From rows of the table `truth`: ts, until, label ("news long"), and kind if there are others."""
        if "kind" in rows:
            rows = rows[rows["kind"] == "cascade"]
        rows = rows.sort_values("ts")
        labels = [str(label).split() for label in rows["label"]]
        if any(len(words) != 2 or words[0] not in ("news", "endogenous") for words in labels):
            raise BadInput("truth: a label is like 'news long' or 'endogenous short': give rows of kind cascade")
        news = np.array([words[0] == "news" for words in labels], dtype=bool)
        long = np.array([words[1] == "long" for words in labels], dtype=bool)
        return cls(nanoseconds(rows["ts"]), nanoseconds(rows["until"]), news, long)

    @classmethod
    def of_history(cls, history: Any, start: int) -> Truth:
        """Of a run of the simulated venue (`backtest.crowd.machine.History`) whose step 0 is at `start`."""
        from backtest.crowd import truth

        found = truth.cascades(history)
        step, first = (
            round(history.step_minutes * clock.MINUTE),
            start + history.first * round(history.step_minutes * clock.MINUTE),
        )
        return cls(first + found.start * step, first + found.end * step, found.news, found.side > 0)

    def first_ones(self, apart: int) -> Truth:
        """Those that begin at least `apart` after the end of every one before."""
        over = np.maximum.accumulate(self.end) if len(self.end) else self.end
        kept = np.ones(len(self.start), dtype=bool)
        kept[1:] = self.start[1:] - over[:-1] >= apart
        return self.only(kept)

    def only(self, kept: Flags) -> Truth:
        return Truth(self.start[kept], self.end[kept], self.news[kept], self.long[kept])


@dataclass(frozen=True)
class Asked:
    """How long an alarm lasts, how far apart first cascades are, and of which side ("long", "short", "" for both)."""

    horizon: str = "1d"
    apart: str = "1d"
    side: str = ""

    def __post_init__(self) -> None:
        clock.duration(self.horizon), clock.duration(self.apart)
        if self.side not in ("", "long", "short"):
            raise BadInput(f"Asked: side={self.side!r}: write 'long', 'short' or ''")


@dataclass(frozen=True)
class Tally:
    """Counts of one detector at one threshold; those of several markets may be added."""

    days: float = 0.0
    covered_days: float = 0.0
    alarms: int = 0
    true_alarms: int = 0  # with an endogenous cascade
    idle_alarms: int = 0  # with no cascade at all
    chance_days: float = 0.0  # of closes from which an alarm would have been true
    endogenous: int = 0
    caught: int = 0
    news: int = 0
    news_caught: int = 0
    leads: tuple[float, ...] = ()  # hours, of those caught

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def row(self) -> dict[str, float]:
        """The marks, see the module."""
        covered = _share(self.covered_days, self.days)
        return {
            "alarms": self.alarms,
            "covered": covered,
            "cascades": self.endogenous,
            "caught": self.caught,
            "recall": _share(self.caught, self.endogenous),
            "lift": _share(_share(self.caught, self.endogenous), covered),
            "p": at_least(self.caught, self.endogenous, covered),
            "precision": _share(self.true_alarms, self.alarms),
            "base_precision": _share(self.chance_days, self.days),
            "false_a_month": _share(self.idle_alarms * MONTH, self.days * clock.DAY),
            "lead_h": float(np.median(self.leads)) if self.leads else NAN,
            "news": self.news,
            "news_caught": self.news_caught,
            "news_recall": _share(self.news_caught, self.news),
            "news_p": at_least(self.news_caught, self.news, covered),
        }


def score(
    values: Any, ends: Any, truth: Truth, thresholds: Sequence[float], asked: Asked | None = None
) -> dict[float, Tally]:
    """A tally for each threshold. `values`: the signal at each close; `ends`: the closes, nanoseconds, in order."""
    x, closes = numbers(values, "score: values"), np.asarray(ends, dtype=np.int64)
    if x.ndim != 1 or len(x) != len(closes) or len(x) < 2:
        raise BadInput(f"score: values are {x.shape}, ends {closes.shape}: give one number a close, of one symbol")
    asked = asked or Asked()
    wanted = truth.first_ones(clock.duration(asked.apart))
    if asked.side:
        wanted = wanted.only(wanted.long == (asked.side == "long"))
    horizon = clock.duration(asked.horizon)
    return {level: _tally(x, closes, wanted, truth.start, _level(level), horizon) for level in thresholds}


def alarms(values: Array, ends: Ints, threshold: float, horizon: int) -> Ints:
    """Closes at which an alarm is raised: at the threshold or above, and none within the `horizon` before."""
    up = ends[np.asarray(values >= threshold)]
    raised, free = [], np.iinfo(np.int64).min
    for at in up:
        if at >= free:
            raised.append(at)
            free = at + horizon
    return np.array(raised, dtype=np.int64)


def score_all(
    market: Market, truth: Truth, names: Iterable[str] = DETECTORS, asked: Asked | None = None,
    thresholds: Mapping[str, Sequence[float]] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Registered signals as detectors, of one symbol: a row a signal and threshold, the marks of the module.

    `thresholds` by name; else the quantiles `SHARES` of the market's own values, which were not known at the time:
    take them from another market, with `levels_of`, where it matters.
    """
    import pandas as pd

    if len(market.symbols) > 1:
        raise BadInput(f"score_all is of one symbol: write market[{market.symbols[0]!r}]")
    there = [name for name in names if not missing(signal(name).name, market)]
    features = all_features(market, there)
    levels = thresholds or levels_of(features)
    rows = []
    for name, values in features.items():
        for level, tally in score(values, ends_of(market), truth, levels[name], asked).items():
            rows.append({"detector": name, "threshold": level, **tally.row()})
    return pd.DataFrame(rows)


def levels_of(features: Mapping[str, Array], shares: Sequence[float] = SHARES) -> dict[str, tuple[float, ...]]:
    """Thresholds that such shares of the closes are below."""
    found = {}
    for name, values in features.items():
        known = values[np.isfinite(values)]
        found[name] = tuple(float(q) for q in np.quantile(known, shares)) if len(known) else ()
    return found


def plot(table: pd.DataFrame) -> Any:
    """Recall over the part of time within alarms, as a plotly figure; by luck it lies on the diagonal."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": "#999", "dash": "dot"}, name="by luck")
    for name, rows in table.groupby("detector", sort=False):
        ordered = rows.sort_values("covered")
        figure.add_scatter(
            x=ordered["covered"], y=ordered["recall"], mode="lines+markers", name=str(name),
            customdata=ordered[["threshold", "precision", "lead_h", "false_a_month"]],
            hovertemplate="threshold %{customdata[0]:.3g}<br>recall %{y:.0%}<br>precision %{customdata[1]:.0%}"
            "<br>lead %{customdata[2]:.1f} h<br>false a month %{customdata[3]:.1f}",
        )  # fmt: skip
    figure.update_layout(
        xaxis_title="part of time within alarms", yaxis_title="endogenous cascades within alarms",
        xaxis_range=[0, 1], yaxis_range=[0, 1], template=look.template(),
    )  # fmt: skip
    return figure


# ---- counting ----------------------------------------------------------------------------------


def _tally(x: Array, ends: Ints, truth: Truth, every: Ints, threshold: float, horizon: int) -> Tally:
    """`truth`: the cascades asked about. `every`: starts of all there were, without one of which an alarm is false."""
    known = np.isfinite(x)
    if not known.any():
        return Tally()
    first, last = int(ends[known][0]), int(ends[-1])
    seen = truth.only((truth.start > first) & (truth.start <= last))
    raised = alarms(x, ends, threshold, horizon)
    own = np.searchsorted(raised, seen.start, side="left") - 1  # the alarm before each cascade
    since = seen.start - raised[np.maximum(own, 0)] if len(raised) else np.zeros(len(seen.start), dtype=np.int64)
    inside = (own >= 0) & (since <= horizon) if len(raised) else np.zeros(len(seen.start), dtype=bool)
    hit = np.unique(own[inside & ~seen.news])
    within = np.minimum(raised + horizon, last) - raised
    true_from = _any_within(seen.start[~seen.news], ends[known], horizon)
    days = (last - first) / clock.DAY
    return Tally(
        days=days,
        covered_days=float(within.sum()) / clock.DAY,
        alarms=len(raised),
        true_alarms=len(hit),
        idle_alarms=int((~_any_within(every, raised, horizon)).sum()),
        chance_days=days * float(true_from.mean()),
        endogenous=int((~seen.news).sum()),
        caught=int((inside & ~seen.news).sum()),
        news=int(seen.news.sum()),
        news_caught=int((inside & seen.news).sum()),
        leads=tuple(float(ns) / clock.HOUR for ns in since[inside & ~seen.news]),
    )


def _any_within(starts: Ints, closes: Ints, horizon: int) -> Flags:
    """Whether a cascade begins within (close, close + horizon]."""
    later = np.searchsorted(starts, closes, side="right")
    until = np.searchsorted(starts, closes + horizon, side="right")
    return np.asarray(until > later)


def at_least(hits: int, tries: int, chance: float) -> float:
    """Probability of so many hits or more; NaN where there was no try."""
    if tries == 0 or not 0.0 <= chance <= 1.0:
        return NAN
    if chance in (0.0, 1.0):
        return float(hits <= tries * chance)
    yes, no, whole = math.log(chance), math.log1p(-chance), math.lgamma(tries + 1)
    terms = (
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(tries - k + 1) + k * yes + (tries - k) * no)
        for k in range(hits, tries + 1)
    )
    return min(math.fsum(terms), 1.0)


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else NAN


def _level(level: Any) -> float:
    if not is_number(level) or math.isnan(level):
        raise BadInput(f"score: threshold {level!r} is no number")
    return float(level)
