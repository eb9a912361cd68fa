"""Building blocks of charts: traces and axes as plotly.js takes them, made without plotly's Python side.

Lines are thinned for the eye with `thin.keep`. Times are milliseconds. Colours are names of CSS variables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.report.thin import keep
from data import clock

Array = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Trace = dict[str, Any]

POINTS = 1200  # of one line, for the eye only


def thinned(at: Times, y: Array, name: str, color: str, **options: Any) -> Trace:
    """A line through as many points as the eye can tell apart."""
    rows = keep(y, most=POINTS)
    return line(ms(at[rows]), y[rows], name, color, **options)


def line(
    x: Sequence[Any], y: Array, name: str, color: str, *, axis: str = "y", fill: str = "", hover: str = "", **style: Any
) -> Trace:
    trace: Trace = {
        "type": "scatter",
        "mode": "lines",
        "x": list(x),
        "y": short(y),
        "name": name,
        "yaxis": axis,
        "line": {"color": color, "width": 1.8, **style},
        "connectgaps": False,
    }
    if fill:
        trace |= {"fill": "tozeroy", "fillcolor": fill}
    if hover:
        trace["hovertemplate"] = hover
    return trace


def bars(x: Sequence[Any], y: Array, name: str, color: str | Sequence[str], *, axis: str = "y", **more: Any) -> Trace:
    return {
        "type": "bar",
        "x": list(x),
        "y": short(y),
        "name": name,
        "yaxis": axis,
        "marker": {"color": list(color) if not isinstance(color, str) else color, "line": {"width": 0}},
        **more,
    }


def time_bars(at: Times, width: int, y: Array, name: str, color: str, axis: str) -> Trace:
    """Bars as wide as the time they stand for."""
    return bars(ms(at), y, name, color, axis=axis, width=int(width // clock.MS * 0.92))


def marks(at: Times, y: Array, size: Array, name: str, color: str, shape: str, axis: str = "y") -> Trace:
    """Symbols whose area follows `size`, which is what is said on pointing at them."""
    radius = 7.0 + 11.0 * np.sqrt(size / size.max()) if len(size) and size.max() > 0.0 else np.full(len(size), 8.0)
    return spots(ms(at), y, name, color, shape=shape, size=short(radius), text=[f"{s:,.0f}" for s in size], axis=axis)


def spots(
    x: Sequence[Any],
    y: Array,
    name: str,
    color: str,
    *,
    shape: str = "circle",
    size: Any = 7,
    text: Sequence[str] | None = None,
    axis: str = "y",
) -> Trace:
    trace: Trace = {
        "type": "scatter",
        "mode": "markers",
        "x": list(x),
        "y": short(y),
        "name": name,
        "yaxis": axis,
        "marker": {
            "color": color,
            "symbol": shape,
            "size": size,
            "opacity": 0.85,
            "line": {"color": "--card", "width": 1},
        },
        "cliponaxis": False,  # a mark on the edge is drawn whole
    }
    if text is not None:
        trace |= {"text": list(text), "hovertemplate": "%{text}"}
    return trace


def time_axis(ends: Sequence[int] = (), **more: Any) -> dict[str, Any]:
    """`ends`: first and last millisecond that are shown, so that charts of one page begin and end alike."""
    shown = {"range": list(ends)} if ends else {}
    return {"type": "date", "showgrid": False, "nticks": 8, **shown, **more}


def panel(low: float = 0.0, high: float = 1.0, **more: Any) -> dict[str, Any]:
    """A vertical axis over a part of the chart's height."""
    return {"domain": [low, high], "exponentformat": "B", "nticks": 6 if high - low > 0.5 else 4, **more}


def small(text: str) -> dict[str, Any]:
    """The name of an axis."""
    return {"text": text, "font": {"size": 11}}


def counts(found: npt.ArrayLike) -> dict[str, Any]:
    """An axis of whole numbers."""
    return panel(rangemode="tozero", **({"dtick": 1} if np.max(found, initial=0) <= 6 else {}))


def ms(ts: Times) -> list[int]:
    found: list[int] = (ts // clock.MS).tolist()
    return found


def short(values: npt.ArrayLike, digits: int = 6) -> list[float | None]:
    """Six digits are enough for the eye; what is missing becomes a gap."""
    form = f"%.{digits}g"
    return [
        float(form % v) if -math.inf < v < math.inf else None for v in np.asarray(values, dtype=np.float64).tolist()
    ]


def bucket_of(ts: Times, interval: int, most: int = 150) -> int:
    """A round length of time of which the span has `most` at most."""
    span = int(ts[-1] - ts[0]) + interval
    choices = [n * clock.MINUTE for n in (1, 5, 15, 30)] + [n * clock.HOUR for n in (1, 2, 4, 6, 12)]
    choices += [n * clock.DAY for n in (1, 2, 7, 14, 28, 91)]
    fitting = [c for c in choices if c % interval == 0 and span <= most * c]
    return fitting[0] if fitting else max(interval, span // most // interval * interval)


def per_bucket(ts: Times, bucket: int, values: Array) -> tuple[Times, Array]:
    """Opens of the buckets, and the sum in each."""
    place = (ts - ts[0]) // bucket
    total = np.asarray(np.bincount(place, weights=values), dtype=np.float64)
    return ts[0] + np.arange(len(total), dtype=np.int64) * bucket, total


def largest(values: Array, most: int) -> npt.NDArray[np.intp]:
    """The places of the largest values, in order of time; none below a fiftieth of the largest."""
    if not len(values) or not values.max() > 0.0:
        return np.zeros(0, dtype=np.intp)
    top = np.argsort(-values, kind="stable")[:most]
    return np.sort(top[values[top] >= values.max() / 50.0])
