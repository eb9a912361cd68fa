"""Precedents: the most similar past states of leverage, what followed, and how often such analogues were right.

    made = precedents(market, "2025-10-10")
    made.table              # the days most like it, nearest first, and what came after each
    made.outcome            # quantiles of what followed them, beside those of all days before
    track_record(market)    # the same question asked all along the way, and marked

1. A state is a handful of signals, one row every `every`: leverage, its change, funding, the move and the volatility.
   Those that fewer than `least` rows of the past know, or the row itself does not, are left out, and named.
2. Each is put in standard deviations of the past: of rows before the one asked about. Distance is the root of the mean
   square of the differences, each cut at `CUT`.
3. Candidates are rows whose outcome (`ahead`) was over by then. The nearest are taken one after the other, `apart` from
   each other and from the row asked about: neighbours in time are one precedent.
4. Outcomes: log return, deepest fall and highest rise within `ahead`, and the least open interest, all over the close.

Track record: at every row with enough past, the precedents' median is the forecast. Direction: was its sign right?
Size: the rank correlation of forecast and outcome. Band: how often the middle 80 % held the outcome. All three are
told beside what the plain past (all rows before) would have said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.given import is_number, is_whole
from data import clock
from data.errors import BadInput
from data.market import Market
from strategies.events.rules import bars_of
from strategies.events.series import Series, need, stamps
from strategies.signals import buildup, registry, volatility
from strategies.signals.edge import Array, Ints
from strategies.signals.rolling import log_change

if TYPE_CHECKING:
    import pandas as pd

FEATURES = ("build", "oi_change", "funding", "move", "volatility")
OUTCOMES = ("return", "fall", "rise", "oi")
CUT = 4.0  # standard deviations
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
BAND = (0.1, 0.9)


@dataclass(frozen=True)
class State:
    """How states are described and compared."""

    every: str = "4h"
    ahead: str = "1d"
    apart: str = "3d"
    count: int = 20
    least: int = 200  # rows of past, before anything is said
    features: tuple[str, ...] = FEATURES

    def __post_init__(self) -> None:
        for name in ("every", "ahead", "apart"):
            clock.duration(getattr(self, name))
        if unknown := [f for f in self.features if f not in FEATURES] or not self.features:
            raise BadInput(f"State: features={self.features!r} ({unknown}): choose from {', '.join(FEATURES)}")
        for name in ("count", "least"):
            if not (is_whole(getattr(self, name)) and getattr(self, name) >= 2):
                raise BadInput(f"State: {name}={getattr(self, name)!r}: write a whole number of at least 2")


@dataclass(frozen=True)
class Precedents:
    """`table`: the analogues. `outcome`: quantiles of what followed, of them and of all rows. `left_out`: features."""

    when: str
    table: pd.DataFrame
    outcome: pd.DataFrame
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class TrackRecord:
    """`table`: one row an outcome. `forecasts`: each forecast beside what came."""

    table: pd.DataFrame
    forecasts: pd.DataFrame
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Rows:
    bars: Ints
    closes: Ints
    states: Array
    outcomes: Array
    ahead: int  # rows until an outcome is over
    apart: int
    names: tuple[str, ...]


def precedents(market: Market, when: Any = None, state: State | None = None) -> Precedents:
    """The past states most like that of the last row closed by `when` (the last one of the market if not given)."""
    import pandas as pd

    state = state or State()
    rows = _rows(market, state)
    at = market.end if when is None else clock.moment(when)
    asked = int(np.searchsorted(rows.closes, at, side="right")) - 1
    if asked < 0 or not np.isfinite(rows.states[asked]).any():
        lacking = "it lies before the market" if asked < 0 else "too little is known there"
        raise BadInput(f"precedents: nothing can be said of {clock.iso(at)}: {lacking}; choose a later time")
    past, used = _past(rows, asked, state.least)
    if len(past) < state.least:
        raise BadInput(f"precedents: {len(past)} rows before {clock.iso(at)}, {state.least} are needed: choose later")
    chosen, far = _nearest(rows, asked, past, used, state.count)
    table = pd.DataFrame({"when": stamps(rows.closes[chosen]), "distance": far})
    for j in used:
        table[rows.names[j]] = rows.states[chosen, j]
    for j, name in enumerate(OUTCOMES):
        table[f"then_{name}"] = rows.outcomes[chosen, j]
    outcome = pd.DataFrame(index=pd.Index(QUANTILES, name="quantile"))
    for j, name in enumerate(OUTCOMES):
        outcome[name] = _quantiles(rows.outcomes[chosen, j])
        outcome[f"{name}_all"] = _quantiles(rows.outcomes[past, j])
    left_out = tuple(name for j, name in enumerate(rows.names) if j not in used)
    return Precedents(clock.iso(int(rows.closes[asked])), table, outcome, left_out)


def track_record(market: Market, state: State | None = None) -> TrackRecord:
    """How good precedents were, out of sample, at each row of the market. See the module for the columns."""
    import pandas as pd

    state = state or State()
    rows = _rows(market, state)
    made: list[Array] = []
    asked: list[int] = []
    ever = set[int]()
    for row in range(len(rows.bars)):
        if not np.isfinite(rows.outcomes[row]).all():
            continue
        past, used = _past(rows, row, state.least)
        if len(past) >= state.least:
            ever.update(used)
            chosen, _ = _nearest(rows, row, past, used, state.count)
            made.append(np.concatenate((_forecast(rows.outcomes[chosen]), _forecast(rows.outcomes[past]))))
            asked.append(row)
    if not asked:
        raise BadInput(f"track_record: no row has {state.least} rows of past: give a longer market, or State(least=)")
    table, came = np.array(made), rows.outcomes[asked]
    names = [
        f"{name}_{what}"
        for what in ("forecast", "low", "high", "plain", "plain_low", "plain_high")
        for name in OUTCOMES
    ]
    forecasts = pd.DataFrame(table, columns=names, index=stamps(rows.closes[asked]))
    for j, name in enumerate(OUTCOMES):
        forecasts[name] = came[:, j]
    marks = [_marked(forecasts, name, rows.ahead) for name in OUTCOMES]
    left_out = tuple(name for j, name in enumerate(rows.names) if j not in ever)
    return TrackRecord(pd.DataFrame(marks, index=pd.Index(OUTCOMES, name="outcome")), forecasts, left_out)


# ---- states ------------------------------------------------------------------------------------


def _rows(market: Market, state: State) -> _Rows:
    need(market, "precedents", ("close",), ("open_interest", "open_interest_value"))
    if len(market.symbols) > 1:
        raise BadInput(f"precedents are of one symbol: write market[{market.symbols[0]!r}]")
    one = Series(market, market.symbols[0])
    every = bars_of(market, state.every)
    bars = np.arange(every - 1, len(one), every)
    columns = {name: x[bars] for name, x in _features(one).items() if name in state.features}
    if not any(np.isfinite(x).any() for x in columns.values()):
        raise BadInput("precedents: none of the features is known: the market is too short, or lacks open interest")
    ahead = -(-clock.duration(state.ahead) // (every * market.interval))
    apart = -(-clock.duration(state.apart) // (every * market.interval))
    states, outcomes = np.column_stack(list(columns.values())), _outcomes(one, bars, bars_of(market, state.ahead))
    return _Rows(bars, one.ends[bars], states, outcomes, ahead, max(apart, 1), tuple(columns))


def _features(one: Series) -> dict[str, Array]:
    market = one.market
    month, week, day = (bars_of(market, length) for length in ("30d", "7d", "1d"))
    fast, slow = (np.asarray(volatility.close_to_close(one["close"], w)) for w in (max(day, 2), max(month, 3)))
    with np.errstate(all="ignore"):
        ratio = np.log(np.where((fast > 0.0) & (slow > 0.0), fast / slow, np.nan))
    funding = np.full(len(one), np.nan)
    if not registry.missing("cumulative_funding", market):
        funding = np.asarray(registry.compute("cumulative_funding", market, hours="7d"))
    return {
        "build": np.asarray(buildup.oi_build(one.held, month)),
        "oi_change": np.asarray(log_change(one.held, week)),
        "funding": funding,
        "move": np.asarray(log_change(one["close"], week)),
        "volatility": ratio,
    }


def _outcomes(one: Series, bars: Ints, ahead: int) -> Array:
    """Of these bars, over the bars after each; NaN where they are not all there. This looks ahead: it is no feature."""
    out = np.full((len(bars), len(OUTCOMES)), np.nan)
    if ahead >= len(one):
        return out
    close, there = one["close"], bars + ahead < len(one)
    some = bars[there]

    def best(x: Array, pick: Any) -> Array:
        windows = np.lib.stride_tricks.sliding_window_view(x[1:], ahead)
        return np.array([pick(windows[bar]) for bar in some])

    with np.errstate(all="ignore"):
        out[there, 0] = np.log(close[some + ahead] / close[some])
        out[there, 1] = np.log(best(one["low"], np.min) / close[some])
        out[there, 2] = np.log(best(one["high"], np.max) / close[some])
        least = best(np.where(np.isnan(one.held), np.inf, one.held), np.min)
        out[there, 3] = np.log(np.where(np.isfinite(least), least, np.nan) / one.held[some])
    return out


def _past(rows: _Rows, asked: int, least: int) -> tuple[Ints, Ints]:
    """Rows whose outcome was over, and which are far enough away, when `asked` closed; and the features to go by."""
    last = asked - max(rows.ahead, rows.apart)
    some = np.arange(max(last + 1, 0))
    some = some[np.isfinite(rows.outcomes[some]).all(axis=1)]
    known = np.isfinite(rows.states[some])
    used = np.flatnonzero(np.isfinite(rows.states[asked]) & (known.sum(axis=0) >= least))
    return some[known[:, used].all(axis=1) & (len(used) > 0)], used


def _nearest(rows: _Rows, asked: int, past: Ints, used: Ints, count: int) -> tuple[Ints, Array]:
    before = rows.states[past][:, used]
    spread = before.std(axis=0)
    gap = np.abs(before - rows.states[asked, used]) / np.where(spread > 0.0, spread, np.inf)
    far = np.sqrt((np.minimum(gap, CUT) ** 2).mean(axis=1))
    chosen: list[int] = []
    for k in np.argsort(far, kind="stable"):
        if all(abs(int(past[k]) - int(past[c])) >= rows.apart for c in chosen):
            chosen.append(int(k))
            if len(chosen) == count:
                break
    return past[chosen], far[chosen]


# ---- marks -------------------------------------------------------------------------------------


def _quantiles(x: Array) -> Array:
    return np.asarray(np.quantile(x, QUANTILES))


def _forecast(outcomes: Array) -> Array:
    """Medians of all outcomes, then the low and the high ends of their bands."""
    return np.asarray(np.quantile(outcomes, (0.5, *BAND), axis=0)).ravel()


def _marked(forecasts: pd.DataFrame, name: str, ahead: int) -> dict[str, float]:
    """`rows` overlap, so `independent` says how many stretches of `ahead` there are; the error of `right` is theirs."""
    came, said, plain = (forecasts[c].to_numpy() for c in (name, f"{name}_forecast", f"{name}_plain"))
    low, high, plain_low, plain_high = (
        forecasts[f"{name}_{c}"].to_numpy() for c in ("low", "high", "plain_low", "plain_high")
    )
    independent = max(len(came) // max(ahead, 1), 1)
    signed = name == "return"
    right = float((np.sign(said) == np.sign(came)).mean()) if signed else float("nan")
    return {
        "rows": float(len(came)),
        "independent": float(independent),
        "right": right,
        "right_error": float(np.sqrt(right * (1.0 - right) / independent)) if is_number(right) else float("nan"),
        "right_plain": float((np.sign(plain) == np.sign(came)).mean()) if signed else float("nan"),
        "rank_correlation": _rank_correlation(said, came),
        "rank_correlation_plain": _rank_correlation(plain, came),
        "in_band": float(((came >= low) & (came <= high)).mean()),
        "in_band_plain": float(((came >= plain_low) & (came <= plain_high)).mean()),
        "error": float(np.abs(said - came).mean()),
        "error_plain": float(np.abs(plain - came).mean()),
    }


def _rank_correlation(a: Array, b: Array) -> float:
    ranks = [np.argsort(np.argsort(x, kind="stable"), kind="stable").astype(np.float64) for x in (a, b)]
    if len(a) < 3 or a.std() == 0.0 or b.std() == 0.0:
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
