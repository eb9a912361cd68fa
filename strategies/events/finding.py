"""The catalogue of a market: every build-up or unwind that a rule finds.

An unwind, side by side (`long`: a fall threw longs out; `short`: a rise threw shorts out):

1. Hot bars are those at whose close the rule is fulfilled. Hot bars of one side less than `apart` from each other are
   one event; so events of one side never overlap.
2. `start`: the bar with the most open interest within `horizon` before the first hot bar, after the event before.
   `confirmed`: close of the first hot bar, when a trader could have known. `end`: close of the last hot bar.
3. `peak`: close of the worst bar: most liquidated of that side, or where that is not known the largest fall of open
   interest.
4. `depth`: the furthest price over the close of `start`, less 1. `destroyed`: the part of open interest that went.
5. `recovery_h`: hours from the furthest price until a close is half of the way back; `refill_h`: from the end until
   open interest is what it was. NaN: not within the rule's `recovery`, or the data end before.

A build-up: `start` is the first crowded bar, `confirmed` the close at which it had lasted `least`, `peak` the close
with the most open interest, `end` when it is over. `depth` is the price from start to peak, `destroyed` what went
between peak and end, `build` the most there was. `side` is who pays funding.

`start` and `confirmed`, and an unwind's `build`, depend on the past alone: a longer history changes none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from data import clock
from data.errors import BadInput
from data.market import Market
from strategies.events.cause import cause_of
from strategies.events.rules import BuildUp, Unwind, bars_of
from strategies.events.series import Series, need, series_of, stamps
from strategies.signals.buildup import oi_build, oi_flush
from strategies.signals.edge import Array, Ints
from strategies.signals.rolling import lagged, log_change, rolling_max, rolling_min, rolling_std

if TYPE_CHECKING:
    import pandas as pd

TIMES = ("start", "confirmed", "peak", "end")
NUMBERS = ("depth", "destroyed", "liquidated_long", "liquidated_short", "recovery_h", "refill_h", "build", "jump")
WORDS = ("symbol", "kind", "side", "cause", "ended")
COLUMNS = ("symbol", "kind", "side", *TIMES, *NUMBERS, "cause", "ended")
USUAL_FUNDING = 1e-4  # per 8 hours: what longs pay where nobody is in a hurry
SIDES = (("long", -1.0), ("short", 1.0))  # who is thrown out, and by a move in which direction
Row = dict[str, Any]


def find(market: Market, rule: Unwind | BuildUp | None = None) -> pd.DataFrame:
    """Every event that the rule finds, in the order of their starts; the columns are `COLUMNS`, see the module.

    Liquidations are in quote currency, and a lower bound where the feed is sampled. `build` is open interest over its
    mean of 30 days at the start of an unwind. `cause` is a guess from prices alone, see `strategies.events.cause`.
    """
    import pandas as pd

    rule = rule or Unwind()
    if not isinstance(rule, Unwind | BuildUp):
        raise BadInput(f"find(rule={rule!r}): write events.Unwind(...) or events.BuildUp(...)")
    need(market, "events.find", ("close",), ("open_interest", "open_interest_value"))
    rows: list[Row] = []
    for one in series_of(market):
        rows += _unwinds(one, rule) if isinstance(rule, Unwind) else _build_ups(one, rule)
    rows.sort(key=lambda row: (row["start"], row["symbol"], row["side"]))
    made: dict[str, Any] = {name: [row[name] for row in rows] for name in COLUMNS}
    for name in TIMES:
        made[name] = stamps(np.array(made[name], dtype=np.int64))
    for name in WORDS:
        made[name] = pd.array(made[name], dtype="str")
    for name in NUMBERS:
        made[name] = np.array(made[name], dtype=np.float64)
    return pd.DataFrame(made)


# ---- unwinds -----------------------------------------------------------------------------------


def hot_bars(one: Series, rule: Unwind, direction: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Where, at the close, the price had moved far enough in a direction and enough open interest was gone."""
    moved, gone = moves(one, rule, direction), destroyed(one, rule)
    with np.errstate(invalid="ignore"):
        return np.asarray(moved & (gone >= rule.flush))


def moves(one: Series, rule: Unwind, direction: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Where the price had moved far enough in a direction, whatever open interest did."""
    move = excursion(one, rule, direction)
    with np.errstate(invalid="ignore"):
        return np.asarray((scores(one, rule, direction) >= rule.sigmas) & (move >= rule.move) & (move > 0.0))


def excursion(one: Series, rule: Unwind, direction: float) -> Array:
    """Log move from the close before the horizon to the furthest price within it, above 0 in that direction.

    Not to the close: on bars of an hour the greatest crashes are over, and half forgotten, before the bar is.
    """
    bars = bars_of(one.market, rule.horizon)
    furthest = rolling_min(one["low"], bars) if direction < 0.0 else rolling_max(one["high"], bars)
    with np.errstate(all="ignore"):
        return np.asarray(direction * np.log(np.asarray(furthest) / np.asarray(lagged(one["close"], bars))))


def scores(one: Series, rule: Unwind, direction: float) -> Array:
    """The excursion in standard deviations of moves as long, of the window before the horizon."""
    bars = bars_of(one.market, rule.horizon)
    usual = rolling_std(log_change(one["close"], 1), max(bars_of(one.market, rule.window), 2))
    spread = np.asarray(lagged(usual, bars)) * np.sqrt(bars)
    return excursion(one, rule, direction) / np.where(spread > 0.0, spread, np.nan)


def destroyed(one: Series, rule: Unwind) -> Array:
    """The part of open interest that went within the horizon, at each close."""
    return -np.expm1(np.asarray(log_change(one.held, bars_of(one.market, rule.horizon))))


def clusters(hot: Ints, apart: int) -> Iterator[tuple[int, int]]:
    """First and last of hot bars less than `apart` from each other."""
    if not len(hot):
        return
    cuts = np.flatnonzero(np.diff(hot) >= apart)
    for first, last in zip(np.append(0, cuts + 1), np.append(cuts, len(hot) - 1), strict=True):
        yield int(hot[first]), int(hot[last])


def _unwinds(one: Series, rule: Unwind) -> list[Row]:
    build = _build(one)
    rows: list[Row] = []
    for side, direction in SIDES:
        before = -1  # last bar of the event before
        hot = np.flatnonzero(hot_bars(one, rule, direction))
        for first, last in clusters(hot, bars_of(one.market, rule.apart)):
            start = _start(one.held, first, max(first - bars_of(one.market, rule.horizon), before + 1))
            rows.append(_unwind(one, rule, side, direction, (start, first, last)) | {"build": build[start]})
            before = last
    return rows


def _start(held: Array, first: int, earliest: int) -> int:
    """The last bar with the most open interest before the first hot one."""
    if earliest >= first:
        return first
    some = held[earliest:first]
    return earliest + int(len(some) - 1 - np.nanargmax(some[::-1])) if np.isfinite(some).any() else first - 1


def _unwind(one: Series, rule: Unwind, side: str, direction: float, bars: tuple[int, int, int]) -> Row:
    start, first, last = bars
    held, close, reached = one.held, one["close"], one["low" if direction < 0.0 else "high"]
    later = last > start and np.isfinite(reached[start + 1 : last + 1]).any()  # else open interest fell in a bar's gap
    inside = slice(start + 1 if later else start, last + 1)
    furthest = reached[inside] * -direction
    extreme = inside.start + int(np.nanargmin(furthest))
    price = abs(float(furthest[extreme - inside.start]))
    liquidated = {name: _total(one[f"liq_{name}"][inside]) for name in ("long", "short")}
    half = float(np.sqrt(price * close[start]))
    ends, limit = one.ends, bars_of(one.market, rule.recovery)
    peak = _peak(one, side, inside)
    jump, cause = cause_of(one, start, peak, direction)
    return {
        "symbol": one.symbol,
        "kind": "unwind",
        "side": side,
        "start": int(one.market.ts[start]),
        "confirmed": int(ends[first]),
        "peak": int(ends[peak]),
        "end": int(ends[last]),
        "depth": price / float(close[start]) - 1.0,
        "destroyed": 1.0 - float(np.nanmin(held[start : last + 1])) / float(held[start]),
        "liquidated_long": liquidated["long"],
        "liquidated_short": liquidated["short"],
        "recovery_h": _hours_until(one, extreme, direction * close <= direction * half, limit),
        "refill_h": _hours_until(one, last, held >= held[start], limit),
        "jump": jump,
        "cause": cause,
        "ended": "",
    }


def _peak(one: Series, side: str, inside: slice) -> int:
    forced = one[f"liq_{side}"][inside]
    if np.nansum(forced) > 0.0:
        return int(inside.start + np.nanargmax(forced))
    change = np.asarray(log_change(one.held, 1))[inside]
    return int(inside.start + np.nanargmin(change)) if np.isfinite(change).any() else int(inside.stop - 1)


def _total(amounts: Array) -> float:
    known = np.isfinite(amounts)
    return float(amounts[known].sum()) if known.any() else float("nan")


def _hours_until(one: Series, since: int, back: Any, limit: int) -> float:
    """Hours from the close of a bar to that of the first later one where it is so, within the limit."""
    later = np.flatnonzero(back[since + 1 : since + 1 + limit])
    return float((later[0] + 1) * one.market.interval / clock.HOUR) if len(later) else float("nan")


def _build(one: Series) -> Array:
    return np.asarray(oi_build(one.held, bars_of(one.market, "30d")))


# ---- build-ups ---------------------------------------------------------------------------------


def _build_ups(one: Series, rule: BuildUp) -> list[Row]:
    build = np.asarray(oi_build(one.held, bars_of(one.market, rule.window)))
    least = bars_of(one.market, rule.least)
    lasted = ((first, stop) for first, stop in _crowded(build, rule) if stop - first >= least)
    return [_build_up(one, rule, build, (first, first + least - 1, stop)) for first, stop in lasted]


def _crowded(build: Array, rule: BuildUp) -> Iterator[tuple[int, int]]:
    """[first, stop) of each crowded time; bars that are not known neither begin nor end one."""
    first = -1
    for bar in np.flatnonzero(np.isfinite(build)):
        if first < 0 and build[bar] >= rule.crowded:
            first = int(bar)
        elif first >= 0 and build[bar] < rule.relaxed:
            yield first, int(bar)
            first = -1
    if first >= 0:
        yield first, len(build)


def _build_up(one: Series, rule: BuildUp, build: Array, bars: tuple[int, int, int]) -> Row:
    first, sure, stop = bars
    held, close, last = one.held, one["close"], min(stop, len(one) - 1)
    peak = first + int(np.nanargmax(held[first : last + 1]))
    inside, later = slice(first, last + 1), held[peak : last + 1]
    gone = np.asarray(oi_flush(held, bars_of(one.market, "1d")))[inside]
    flushed = bool(np.nanmax(np.append(gone, 0.0)) >= rule.flush)
    return {
        "symbol": one.symbol,
        "kind": "build-up",
        "side": _payer(one["funding_8h"][inside]),
        "start": int(one.market.ts[first]),
        "confirmed": int(one.ends[sure]),
        "peak": int(one.ends[peak]),
        "end": int(one.ends[last]),
        "depth": float(close[peak] / close[first]) - 1.0,
        "destroyed": 1.0 - float(np.nanmin(later)) / float(held[peak]),
        "liquidated_long": _total(one["liq_long"][inside]),
        "liquidated_short": _total(one["liq_short"][inside]),
        "recovery_h": float("nan"),
        "refill_h": float("nan"),
        "build": float(np.nanmax(build[inside])),
        "jump": float("nan"),
        "cause": "",
        "ended": "unwind" if flushed else "faded" if stop < len(one) else "open",
    }


def _payer(funding: Array) -> str:
    """Longs pay more than usual, shorts pay, or neither."""
    known = funding[np.isfinite(funding)]
    if not len(known):
        return "unknown"
    mean = float(known.mean())
    return "long" if mean > USUAL_FUNDING else "short" if mean < 0.0 else "balanced"
