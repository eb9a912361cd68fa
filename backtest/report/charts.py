"""Charts as plain data: what plotly.js draws, built without plotly's Python side.

Each function takes arrays and returns a `Chart`. Colours are names of the page's CSS variables (`--long`), so
that one chart serves the light and the dark page; the page's script puts the colours in. Points are thinned
with `thin.keep`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.hold import Hold
from backtest.report.thin import keep
from data import clock

if TYPE_CHECKING:
    from backtest.result import Result

Array = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Trace = dict[str, Any]

MARKS = 40  # liquidation marks drawn on the price
RUN_COLORS = ("--up", "--third", "--accent", "--soft")


@dataclass(frozen=True)
class Key:
    """A line of the legend. `mark`: line, dot, bar, up, down."""

    name: str
    color: str
    mark: str = "line"


@dataclass(frozen=True)
class Chart:
    id: str
    title: str
    caption: str
    keys: tuple[Key, ...]
    data: list[Trace]
    layout: dict[str, Any]
    wide: bool = False


def equity(name: str, holds: Sequence[Hold], money: str) -> Chart:
    """Net and before funding, long and short."""
    data: list[Trace] = []
    keys: list[Key] = []
    for hold in holds:
        color = f"--{hold.name}"
        rows = np.union1d(keep(hold.equity), keep(hold.gross))
        x = _ms(_closes(hold.ts, hold.interval)[rows])
        data.append(_line(x, hold.gross[rows], f"{hold.name}, before funding", color, dash="dot", width=1.3))
        data.append(_line(x, hold.equity[rows], f"{hold.name}, net", color))
        keys += [Key(f"{hold.name}, net", color), Key(f"{hold.name}, before funding", color, "dot")]
    return Chart(
        f"{name}-equity",
        "What holding made",
        f"Equity in {money}. The gap between a line and its dotted twin is funding: what keeping the position cost or "
        "earned.",
        tuple(keys),
        data,
        {"xaxis": _time(), "yaxis": _money()},
        wide=True,
    )


def price(name: str, ts: Times, interval: int, close: Array) -> Chart:
    """The price alone: no liquidations are known."""
    rows = keep(close)
    return Chart(
        f"{name}-price",
        "Price",
        "The close of each bar. No liquidations are stored for this span.",
        (Key("price", "--ink"),),
        [_line(_ms(_closes(ts, interval)[rows]), close[rows], "price", "--ink", width=1.3)],
        {"xaxis": _time(), "yaxis": _money()},
        wide=True,
    )


def liquidations(bare: Chart, ts: Times, interval: int, close: Array, longs: Array, shorts: Array, feed: str) -> Chart:
    """The price with the largest liquidations on it, and all of them below."""
    bucket = _bucket(ts, interval)
    data = list(bare.data)
    for side, amounts, color, shape in (
        ("longs", np.nan_to_num(longs), "--short", "triangle-down"),
        ("shorts", np.nan_to_num(shorts), "--long", "triangle-up"),
    ):
        opens, total = _per(ts, bucket, amounts)
        most = _largest(total, MARKS // 2)
        if len(most):
            at = _heaviest(ts, bucket, amounts, most)
            data.append(_marks(ts[at] + interval, close[at], total[most], f"{side} liquidated", color, shape))
        drawn = -total if side == "longs" else total
        data.append(_bars(opens + bucket // 2, bucket, drawn, f"{side} liquidated", color, axis="y2"))
    return replace(
        bare,
        title="Price and liquidations",
        caption=f"The spells of {clock.label(bucket)} with the most liquidations are marked on the price, at their "
        "heaviest bar. Below it are all of them in quote currency, longs down and shorts up. The feed is "
        f"{feed or 'unknown'}.",
        keys=(*bare.keys, Key("longs liquidated", "--short", "down"), Key("shorts liquidated", "--long", "up")),
        data=data,
        layout={"xaxis": _time(anchor="y2"), "yaxis": _money([0.38, 1.0]), "yaxis2": _money([0.0, 0.3], zeroline=True)},
    )


def funding(name: str, long: Hold, money: str) -> Chart:
    """What the long paid (or was paid), summed, and day by day."""
    at, flows = long.funding_flows
    rows = keep(long.funding)
    x = _ms(_closes(long.ts, long.interval)[rows])
    day = at // clock.DAY * clock.DAY
    days = np.arange(long.ts[0] // clock.DAY, (long.ts[-1]) // clock.DAY + 1, dtype=np.int64) * clock.DAY
    daily = np.asarray(np.bincount((day - days[0]) // clock.DAY, flows, len(days)), dtype=np.float64)
    return Chart(
        f"{name}-funding",
        "Funding of the long",
        f"In {money}; below zero is paid to the shorts. Above: summed. Below: by UTC day. For a short the sign turns.",
        (Key("summed", "--third"), Key("a day", "--third", "bar")),
        [
            _line(x, long.funding[rows], "summed", "--third", shape="hv"),
            _bars(days + clock.DAY // 2, clock.DAY, daily, "day", "--third", axis="y2"),
        ],
        {
            "xaxis": _time(anchor="y2"),
            "yaxis": _money([0.42, 1.0], zeroline=True),
            "yaxis2": _money([0.0, 0.32], zeroline=True),
        },
    )


def leverage(name: str, ts: Times, interval: int, interest: Array, turnover: Array) -> Chart:
    """Open interest, and how many days of turnover it stands for."""
    x = _closes(ts, interval)
    times = turns(interval, interest, turnover)
    a, b = keep(interest), keep(times)
    return Chart(
        f"{name}-leverage",
        "Leverage in the market",
        "Above: open interest, in quote currency. Below: as a multiple of the last 24 hours' turnover: how many "
        "days of trading it would take to close everything.",
        (Key("open interest", "--up"), Key("multiple of a day's turnover", "--third")),
        [
            _line(_ms(x[a]), interest[a], "open interest", "--up"),
            _line(_ms(x[b]), times[b], "multiple", "--third", axis="y2", width=1.4),
        ],
        {
            "xaxis": _time(anchor="y2"),
            "yaxis": _money([0.46, 1.0]),
            "yaxis2": {"domain": [0.0, 0.36], "rangemode": "tozero", "nticks": 4, "ticksuffix": "x"},
        },
    )


def runs(name: str, runs: Sequence[tuple[str, Result]], money: str) -> Chart:
    """Equity of simulated runs with their liquidations, and how near to one they were."""
    data: list[Trace] = []
    keys: list[Key] = []
    for number, (label, result) in enumerate(runs):
        color = RUN_COLORS[number % len(RUN_COLORS)]
        equity, ratio = result.run.series["equity"], result.run.series["margin_ratio"]
        closes = _closes(result.ts, result.interval)
        rows, others = keep(equity), keep(ratio)
        data.append(_line(_ms(closes[rows]), equity[rows], label, color))
        data.append(_line(_ms(closes[others]), ratio[others], f"{label}, margin ratio", color, axis="y2", width=1.1))
        keys.append(Key(label, color))
    for _, result in runs:
        hits = result.run.liquidations
        if len(hits):
            most = np.sort(np.argsort(-hits["loss"], kind="stable")[:MARKS])
            at, loss = hits["bar"][most].astype(np.int64), np.maximum(hits["loss"][most], 1e-9)
            where = _closes(result.ts, result.interval)[at]
            data.append(
                _marks(where, result.run.series["equity"][at], loss, "liquidated, lost", "--down", "triangle-down")
            )
    if any(len(result.run.liquidations) for _, result in runs):
        keys.append(Key("liquidated", "--down", "down"))
    return Chart(
        f"{name}-runs",
        "What trading with margin made",
        f"Above: equity in {money}. Below: maintenance margin as a part of the margin that is left, at each close. "
        "At 1 a position is liquidated, which happens inside a bar: the triangles show where.",
        tuple(keys),
        data,
        {
            "xaxis": _time(anchor="y2"),
            "yaxis": _money([0.38, 1.0]),
            "yaxis2": {"domain": [0.0, 0.3], "rangemode": "tozero", "nticks": 4},
        },
        wide=True,
    )


def turns(interval: int, interest: Array, turnover: Array) -> Array:
    """Open interest over the turnover of the last 24 hours; NaN before there are 24, and where nothing traded."""
    bars = max(1, clock.DAY // interval)
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(turnover))])
    day = np.full(len(turnover), np.nan)
    day[bars - 1 :] = total[bars:] - total[:-bars]
    return np.asarray(interest / np.where(day > 0.0, day, np.nan))


# Traces and axes.


def _line(x: list[int], y: Array, name: str, color: str, *, axis: str = "y", **line: Any) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": _short(y),
        "name": name,
        "yaxis": axis,
        "line": {"color": color, "width": 1.9, **line},
        "connectgaps": False,
    }


def _bars(at: Times, width: int, y: Array, name: str, color: str, axis: str) -> Trace:
    return {
        "type": "bar",
        "x": _ms(at),
        "y": _short(y),
        "name": name,
        "yaxis": axis,
        "width": int(width // clock.MS * 0.92),
        "marker": {"color": color, "line": {"width": 0}},
    }


def _marks(at: Times, y: Array, size: Array, name: str, color: str, shape: str) -> Trace:
    radius = 7.0 + 13.0 * np.sqrt(size / size.max())
    return {
        "type": "scatter",
        "mode": "markers",
        "x": _ms(at),
        "y": _short(y),
        "name": name,
        "text": [f"{s:,.0f}" for s in size],
        "hovertemplate": "%{text}",
        "marker": {
            "color": color,
            "symbol": shape,
            "size": _short(radius),
            "opacity": 0.85,
            "line": {"color": "--card", "width": 1},
        },
    }


def _time(**more: Any) -> dict[str, Any]:
    return {"type": "date", "showgrid": False, "nticks": 8, **more}


def _money(domain: Sequence[float] = (0.0, 1.0), **more: Any) -> dict[str, Any]:
    return {"domain": list(domain), "exponentformat": "B", "nticks": 6 if domain[1] - domain[0] > 0.5 else 5, **more}


def _bucket(ts: Times, interval: int) -> int:
    """A round length of time of which the span has 150 at most."""
    span = int(ts[-1] - ts[0]) + interval
    choices = [n * clock.MINUTE for n in (1, 5, 15, 30)] + [n * clock.HOUR for n in (1, 2, 4, 6, 12)]
    choices += [n * clock.DAY for n in (1, 2, 7, 14, 28, 91)]
    fitting = [c for c in choices if c % interval == 0 and span <= 150 * c]
    return fitting[0] if fitting else max(interval, span // 150 // interval * interval)


def _per(ts: Times, bucket: int, values: Array) -> tuple[Times, Array]:
    """Opens of the buckets, and the sum in each."""
    place = (ts - ts[0]) // bucket
    total = np.asarray(np.bincount(place, weights=values), dtype=np.float64)
    return ts[0] + np.arange(len(total), dtype=np.int64) * bucket, total


def _heaviest(ts: Times, bucket: int, values: Array, buckets: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The bar with the largest value of each bucket."""
    edges = np.searchsorted(ts, ts[0] + np.stack([buckets, buckets + 1]).astype(np.int64) * bucket)
    return np.array([low + np.argmax(values[low:high]) for low, high in edges.T], dtype=np.intp)


def _largest(values: Array, most: int) -> npt.NDArray[np.intp]:
    """The places of the largest values, in order of time; none below a fiftieth of the largest."""
    if not len(values) or values.max() <= 0.0:
        return np.zeros(0, dtype=np.intp)
    top = np.argsort(-values, kind="stable")[:most]
    return np.sort(top[values[top] >= values.max() / 50.0])


def _closes(ts: Times, interval: int) -> Times:
    return ts + interval


def _ms(ts: Times) -> list[int]:
    """Milliseconds, which is what the page's date axes take."""
    return [int(t) for t in ts // clock.MS]


def _short(values: Array) -> list[float | None]:
    """Six digits are enough for the eye; what is missing becomes a gap."""
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values]
