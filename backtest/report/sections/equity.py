"""Equity: net, before costs, and what buying and keeping would have made; and how far it was under water."""

from __future__ import annotations

import numpy as np

from backtest.report import words
from backtest.report.parts import Chart, Key, Section, Switch, Table
from backtest.report.subject import Array, Subject
from backtest.report.traces import marks, panel, thinned, time_axis
from data import clock

MARKS = 40
WORST = 5  # drawdowns in the table
ANCHOR = "equity"


def section(subject: Subject) -> Section:
    return Section(
        ANCHOR,
        "Equity",
        lead=_sentence(subject),
        blocks=(_curve(subject), _underwater(subject), *_worst(subject)),
    )


def _sentence(subject: Subject) -> str:
    last, gross = float(subject.equity[-1]), float(subject.gross[-1])
    said = (
        f"{subject.amount(subject.start)} {subject.money} became {subject.amount(last)}; without any cost the same "
        "positions "
        f"would have made {subject.amount(gross)}."
    )
    if subject.benchmark is not None:
        name, curve = subject.benchmark
        said += f" {name.capitalize()}, unlevered, made {subject.amount(float(curve[-1]))}."
    return said


def _curve(subject: Subject) -> Chart:
    at = subject.closes
    data = [thinned(at, subject.gross, "before costs", "--third", dash="dot", width=1.4)]
    keys = [Key("net", "--accent"), Key("before costs", "--third", "dot")]
    if subject.benchmark is not None:
        name, curve = subject.benchmark
        data.append(thinned(at, np.asarray(curve), name, "--soft", width=1.3))
        keys.append(Key(name, "--soft"))
    data.append(thinned(at, subject.equity, "net", "--accent", width=2.2))
    hits = subject.result.run.liquidations
    if len(hits):
        most = np.sort(np.argsort(-hits["loss"], kind="stable")[:MARKS])
        bars = hits["bar"][most].astype(np.int64)
        size = np.maximum(hits["loss"][most], 1e-9)
        data.append(marks(at[bars], subject.equity[bars], size, "liquidated, lost", "--down", "triangle-down"))
        keys.append(Key("liquidated", "--down", "down"))
    positive = bool((subject.equity > 0.0).all() and (subject.gross > 0.0).all())
    switches = (Switch("log scale", {"yaxis.type": "log"}, {"yaxis.type": "linear"}),) if positive else ()
    caption = (
        f"In {subject.money}, at the closes. The gap to the dotted line is what trading, holding and liquidation cost."
    )
    if len(hits) > MARKS:
        caption += f" The {MARKS} liquidations that cost most of {len(hits):,} are marked."
    if not positive:
        caption += " No log scale: a line is not above zero everywhere."
    return Chart(
        "equity-curve",
        "What it made",
        caption,
        tuple(keys),
        data,
        {"xaxis": time_axis(subject.ends), "yaxis": panel()},
        wide=True,
        tall=True,
        switches=switches,
        said=_sentence(subject),
    )


def _underwater(subject: Subject) -> Chart:
    m = subject.result.measures
    said = f"Deepest {m['max_drawdown']:.1%}; the longest lasted {words.plain(m['max_drawdown_days'], 1)} days."
    return Chart(
        "equity-underwater",
        "Under water",
        f"Loss from the highest equity so far, net. {said}",
        (Key("drawdown", "--down"),),
        [thinned(subject.closes, subject.underwater, "drawdown", "--down", fill="--fill-down", width=1.2)],
        {"xaxis": time_axis(subject.ends), "yaxis": panel(tickformat=".0%", rangemode="tozero")},
        wide=True,
        said=said,
    )


def drawdowns(equity: Array, start: float) -> list[tuple[int, int, int | None]]:
    """Of each: the bar of its peak (-1: the start), of its lowest point, and where the peak was reached again."""
    whole = np.concatenate([[start], equity])
    below = whole < np.maximum.accumulate(whole)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], below, [False]]).astype(np.int8)))
    out: list[tuple[int, int, int | None]] = []
    for first, beyond in zip(edges[::2], edges[1::2], strict=True):
        lowest = int(first + np.argmin(whole[first:beyond]))
        out.append((int(first) - 2, lowest - 1, int(beyond) - 1 if beyond < len(whole) else None))
    return out


def _worst(subject: Subject) -> list[Table]:
    found = drawdowns(subject.equity, subject.start)
    if not found:
        return []
    depth = subject.underwater
    deepest = sorted(found, key=lambda one: depth[one[1]])[:WORST]
    rows = []
    for peak, lowest, back in deepest:
        began = subject.when(peak, close=True) if peak >= 0 else subject.when(0)
        until = back if back is not None else len(depth) - 1
        days = (until - peak) * subject.result.interval / clock.DAY
        ended = subject.when(back, close=True) if back is not None else "not yet"
        lost = words.percent(float(depth[lowest]), 1)
        rows.append((began, subject.when(lowest, close=True), ended, lost, words.plain(days, 1)))
    heads = ("Peak", "Lowest", "Reached again", "Loss", "Days")
    return [Table("The deepest drawdowns", heads, rows, words=3)]
