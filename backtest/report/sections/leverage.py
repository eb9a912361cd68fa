"""The market around the run: price with the trades on it, open interest, funding, liquidations, phases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backtest.report import words
from backtest.report.parts import Chart, Key, Section, absent
from backtest.report.subject import Array, Subject
from backtest.report.traces import bucket_of, ms, panel, per_bucket, short, spots, thinned, time_axis
from data import clock

ANCHOR, TITLE, SHORT = "leverage", "Leverage in the market", "Market"
MARKS = 250  # fills drawn of each kind
PHASES = 60
COLORS = {"build-up": "--fill-build", "unwind": "--fill-down"}
WIDTH = 1.3

Made = tuple[list[dict[str, Any]], dict[str, Any], list[Key]]  # traces, more of their axis, their keys
Panel = tuple[str, list[dict[str, Any]], dict[str, Any]]


def section(subject: Subject) -> Section:
    if subject.market is None:
        return absent(ANCHOR, TITLE, "The market was not given: result.report(path, market=market) shows it.", SHORT)
    place = subject.busiest
    blocks = [_timeline(subject, place)]
    return Section(ANCHOR, TITLE, lead=_sentence(subject, place), blocks=blocks, short=SHORT)


def _of(subject: Subject, field: str, place: int) -> Array:
    values = subject.by_symbol(field)
    assert values is not None
    return values[:, place]


def _sentence(subject: Subject, place: int) -> str:
    close, oi = _of(subject, "close", place), _of(subject, "open_interest_value", place)
    name = subject.result.symbols[place]
    more = "" if len(subject.result.symbols) == 1 else f" (of {len(subject.result.symbols)}, the one traded most)"
    known = close[np.isfinite(close)]
    said = f"{name}{more}"
    if len(known):
        said += f" went from {words.price(float(known[0]))} to {words.price(float(known[-1]))}"
    if np.isfinite(oi).any():
        fall, at = _largest_fall(subject, place)
        said += f"; open interest fell by up to {fall:.0%} within a day ({subject.when(at, close=True)})"
    longs, shorts = (_of(subject, f, place) for f in ("liq_long", "liq_short"))
    if np.isfinite(longs).any():
        said += (
            f"; in the whole market {words.big(float(np.nansum(longs)))} of longs and "
            f"{words.big(float(np.nansum(shorts)))} of shorts were liquidated"
        )
    return said + "."


def _largest_fall(subject: Subject, place: int) -> tuple[float, int]:
    """Of open interest from its high of the 24 hours before, in contracts where they are known."""
    size = _of(subject, "open_interest", place)
    size = size if np.isfinite(size).any() else _of(subject, "open_interest_value", place)
    known = np.where(np.isfinite(size), size, -np.inf)
    peak = highest_of_last(known, max(1, clock.DAY // subject.result.interval))
    with np.errstate(invalid="ignore", divide="ignore"):
        fall = np.where(np.isfinite(size) & (peak > 0.0), 1.0 - size / peak, 0.0)
    worst = int(np.argmax(fall))
    return float(fall[worst]), worst


def highest_of_last(values: Array, n: int) -> Array:
    """The highest of each value and the n - 1 before it, in blocks of n: running from the left and from the right."""
    blocks = np.full((-(-len(values) // n), n), -np.inf)
    blocks.ravel()[: len(values)] = values
    left = np.maximum.accumulate(blocks, axis=1).ravel()[: len(values)]
    right = np.maximum.accumulate(blocks[:, ::-1], axis=1)[:, ::-1].ravel()[: len(values)]
    reach = np.concatenate([np.full(min(n - 1, len(values)), -np.inf), right[: max(0, len(values) - n + 1)]])
    return np.asarray(np.maximum(left, reach))


def _timeline(subject: Subject, place: int) -> Chart:
    close = _of(subject, "close", place)
    fills, drawn = _fills(subject, place)
    held, shown = _held(subject, place)
    fills, drawn = [*held, *fills], [*shown, *drawn]
    panels: list[Panel] = [("price", [thinned(subject.closes, close, "price", "--ink", width=WIDTH), *fills], {})]
    keys, missing = [Key("price", "--ink"), *drawn], []
    for title, make in PANELS.items():
        made = make(subject, place)
        if made is None:
            missing += [title.split(",")[0]] if title != "position" else []
            continue
        traces, layout, some = made
        panels.append((title, traces, layout))
        keys += some
    data, layout = _stacked(panels, subject.ends)
    layout["shapes"], phases = _phases(subject, place)
    return Chart(
        "leverage-timeline",
        subject.result.symbols[place],
        _caption(subject, place, missing, bool(phases)),
        (*keys, *phases),
        data,
        layout,
        wide=True,
        tall=True,
        said=_sentence(subject, place),
    )


def _caption(subject: Subject, place: int, missing: list[str], phases: bool) -> str:
    said = "Triangles are fills: up bought, down sold; lines join the entry of a trade with its exit."
    if missing:
        said += f" Not stored for this span: {', '.join(missing)}."
    cover = subject.market.coverage.symbols if subject.market is not None else ()
    feed = next((s.liquidation_feed for s in cover if s.symbol == subject.result.symbols[place]), "")
    if feed and "liquidated" not in missing:
        said += f" The feed of liquidations is {feed}."
    if phases:
        said += " Shaded: build-ups and unwinds as they were found, looking back over the whole history."
    elif subject.events is None:
        said += " No phases: give events=events.find(market)."
    return said


def _stacked(
    panels: list[Panel],
    ends: list[int],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One above the other with one time axis; the first is the tallest."""
    weights = [2.4, *([1.0] * (len(panels) - 1))]
    gap = 0.035
    unit = (1.0 - gap * (len(panels) - 1)) / sum(weights)
    top, data = 1.0, []
    layout: dict[str, Any] = {"xaxis": time_axis(ends, anchor="y" if len(panels) == 1 else f"y{len(panels)}")}
    for number, ((title, traces, more), weight) in enumerate(zip(panels, weights, strict=True)):
        axis = "y" if number == 0 else f"y{number + 1}"
        data += [{**trace, "yaxis": axis} for trace in traces]
        low = max(0.0, top - unit * weight)
        layout["yaxis" if number == 0 else f"yaxis{number + 1}"] = panel(
            low, top, title={"text": title, "font": {"size": 11}}, **more
        )
        top = low - gap
    return data, layout


def _interest(subject: Subject, place: int) -> Made | None:
    values = _of(subject, "open_interest_value", place)
    if not np.isfinite(values).any():
        return None
    return [thinned(subject.closes, values, "open interest", "--up", width=WIDTH)], {}, [Key("open interest", "--up")]


def _funding(subject: Subject, place: int) -> Made | None:
    values = _of(subject, "funding_8h", place)
    if not np.isfinite(values).any():
        return None
    trace = thinned(subject.closes, values, "funding", "--third", shape="hv", width=WIDTH)
    return [trace], {"tickformat": ".3%", "zeroline": True}, [Key("funding rate", "--third")]


def _liquidated(subject: Subject, place: int) -> Made | None:
    longs, shorts = (np.nan_to_num(_of(subject, f, place)) for f in ("liq_long", "liq_short"))
    if not np.isfinite(_of(subject, "liq_long", place)).any():
        return None
    bucket = bucket_of(subject.result.ts, subject.result.interval)
    traces = []
    for name, values, color in (("longs liquidated", -longs, "--short"), ("shorts liquidated", shorts, "--long")):
        opens, total = per_bucket(subject.result.ts, bucket, values)
        traces.append(
            {
                "type": "bar",
                "x": ms(opens + bucket // 2),
                "y": short(total),
                "name": name,
                "width": int(bucket // clock.MS * 0.92),
                "marker": {"color": color, "line": {"width": 0}},
            }
        )
    return (
        traces,
        {"zeroline": True},
        [Key("longs liquidated", "--short", "bar"), Key("shorts liquidated", "--long", "bar")],
    )


def _position(subject: Subject, place: int) -> Made | None:
    held = np.nan_to_num(subject.result.run.leg_series["position"][:, place])
    if not held.any():
        return None
    trace = thinned(subject.closes, held, "position", "--accent", shape="hv", width=1.1, fill="--fill-long")
    return [trace], {"zeroline": True}, [Key("position", "--accent")]


def _fills(subject: Subject, place: int) -> tuple[list[dict[str, Any]], list[Key]]:
    rows = subject.result.run.fills
    rows = rows[rows["symbol"] == place]
    traces, keys = [], []
    for name, chosen, color, shape in (
        ("bought", rows[rows["quantity"] > 0.0], "--long", "triangle-up"),
        ("sold", rows[rows["quantity"] < 0.0], "--short", "triangle-down"),
    ):
        if len(chosen) > MARKS:
            chosen = chosen[np.sort(np.argsort(-np.abs(chosen["quantity"]), kind="stable")[:MARKS])]
        if not len(chosen):
            continue
        at = subject.result.ts[chosen["bar"].astype(np.int64)]
        text = [f"{name} {abs(q):,.6g} at {p:,.8g}" for q, p in zip(chosen["quantity"], chosen["price"], strict=True)]
        traces.append(spots(ms(at), chosen["price"], name, color, shape=shape, size=7, text=text))
        keys.append(Key(name, color, "up" if shape.endswith("up") else "down"))
    return traces, keys


def _held(subject: Subject, place: int) -> tuple[list[dict[str, Any]], list[Key]]:
    """Each trade as a line from its entry to its exit: those that won, and those that lost."""
    mine = np.flatnonzero(subject.trades["symbol"] == place)
    if len(mine) > MARKS:
        mine = mine[np.sort(np.argsort(-np.abs(subject.net[mine]), kind="stable")[:MARKS])]
    traces, keys = [], []
    for name, chosen, color in (
        ("trade that won", mine[subject.net[mine] > 0.0], "--up"),
        ("trade that lost", mine[subject.net[mine] <= 0.0], "--down"),
    ):
        if not len(chosen):
            continue
        rows = subject.trades[chosen]
        x: list[int | None] = []
        y: list[float | None] = []
        for row in rows:
            ends = ms(subject.result.ts[[int(row["opened"]), int(row["closed"])]])
            x += [*ends, None]
            y += [*short([row["entry_price"], row["exit_price"]]), None]
        line = {"color": color, "width": 2.4}
        traces.append(
            {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": line, "hoverinfo": "skip"}
        )
        keys.append(Key(name, color))
    return traces, keys


def _phases(subject: Subject, place: int) -> tuple[list[dict[str, Any]], list[Key]]:
    """Spans of build-up and unwind, as given."""
    found = subject.events
    if found is None or not len(found) or not {"start", "end"} <= set(found.columns):
        return [], []
    if "symbol" in found.columns:
        found = found[found["symbol"] == subject.result.symbols[place]]
    first, last = int(subject.result.ts[0]), int(subject.closes[-1])
    shapes, seen = [], dict[str, str]()
    for row in found.head(PHASES).to_dict("records"):
        start, end = (int(row[name].value) for name in ("start", "end"))
        if end < first or start > last:
            continue
        kind = str(row.get("kind", "unwind"))
        color = COLORS.get(kind, "--fill-down")
        seen[kind] = color
        a, b = max(start, first) // clock.MS, min(max(end, start + subject.result.interval), last) // clock.MS
        shapes.append(
            {
                "type": "rect",
                "xref": "x",
                "yref": "paper",
                "x0": a,
                "x1": b,
                "y0": 0,
                "y1": 1,
                "fillcolor": color,
                "line": {"width": 0},
                "layer": "below",
            }
        )
    return shapes, [Key(kind, color, "bar") for kind, color in seen.items()]


PANELS: dict[str, Callable[[Subject, int], Made | None]] = {
    "open interest": _interest,
    "funding, per 8 h": _funding,
    "liquidated": _liquidated,
    "position": _position,
}
