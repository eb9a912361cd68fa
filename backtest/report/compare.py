"""Several runs on one page: side by side in numbers, over each other in pictures, and how alike they were.

    compare({"fade": one, "trend": other}).write("both.html")

Runs over different spans are shown as they are, and that is said: only what overlaps can be compared.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backtest.metrics import MEASURES
from backtest.plain import digest
from backtest.report import render, words
from backtest.report.parts import Chart, Key, Page, Section, Switch, Table, Tile, Tiles, absent
from backtest.report.sections.calendar import by_month
from backtest.report.sections.costs import waterfall
from backtest.report.sections.headline import said
from backtest.report.subject import Array, Subject, Times
from backtest.report.traces import panel, thinned, time_axis
from data import clock
from data.errors import BadInput

if TYPE_CHECKING:
    from backtest.report.evidence import Evidence
    from backtest.result import Result

COLORS = ("--accent", "--short", "--up", "--third", "--down", "--soft", "--ink", "--zero")
DASHES = ("solid", "dash", "dot", "dashdot")
MOST = 24
SCALE = [[0.0, "--short"], [0.5, "--paper"], [1.0, "--accent"]]


@dataclass(frozen=True, eq=False)
class Comparing:
    """Runs by name, in the order in which they were given."""

    subjects: Mapping[str, Subject]

    @cached_property
    def page(self) -> Page:
        ones = list(self.subjects.values())
        return Page(
            title=" and ".join(self.subjects) if len(ones) < 4 else f"{len(ones)} runs side by side",
            lead=self.verdict,
            identity=[(name, _about(one)) for name, one in self.subjects.items()],
            sections=[
                _numbers(self.subjects),
                _curves(self.subjects),
                _money(self.subjects),
                _months(self.subjects),
                _alike(self.subjects),
            ],
            notices=_differences(self.subjects),
            made_up=any(one.made_up for one in ones),
        )

    @property
    def verdict(self) -> str:
        """Who came first, and how little that may mean."""
        ratios = {name: one.result.measures["sharpe"] for name, one in self.subjects.items()}
        known = {name: value for name, value in ratios.items() if np.isfinite(value)}
        if not known:
            return "None of them traded long enough for a Sharpe ratio."
        best = max(known, key=lambda name: known[name])
        rest = [value for name, value in known.items() if name != best]
        text = f"The highest Sharpe ratio is that of {best}: {words.plain(known[best])}"
        if rest:
            text += f", against {', '.join(words.plain(value) for value in sorted(rest, reverse=True)[:4])}"
        return f"{text}. The best of {len(self.subjects)} is high by having been chosen."

    def html(self) -> str:
        return render.html(self.page)

    def write(self, path: str | os.PathLike[str]) -> Path:
        return render.write(os.fspath(path), self.html())

    def __repr__(self) -> str:
        return f"Comparing({', '.join(self.subjects)})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><td style="text-align:left">{escape(name)}</td>'
            + "".join(f"<td>{escape(said(m, one.result.measures[m]))}</td>" for m in _SHORT)
            + "</tr>"
            for name, one in self.subjects.items()
        )
        heads = "".join(f"<th>{escape(words.heading(m))}</th>" for m in ("", *_SHORT))
        return f"<div><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"


_SHORT = ("total_return", "sharpe", "max_drawdown", "trades", "funding", "liquidations")


def compare(
    runs: Mapping[str, Result], *, evidence: Mapping[str, Evidence] | None = None, made_up: bool = False
) -> Comparing:
    """`evidence`: what was gathered of each, by the same names; without it there are no ranges."""
    if len(runs) < 2:
        raise BadInput("a comparison needs two runs at least: compare({'one': result, 'other': result})")
    if len(runs) > MOST:
        raise BadInput(f"{len(runs)} runs are more than {MOST}, which is what a page can show: leave some out")
    known = evidence or {}
    return Comparing(
        {
            str(name): Subject(result=one, name=str(name), evidence=known.get(name), made_up=made_up)
            for name, one in runs.items()
        }
    )


def _about(one: Subject) -> str:
    r = one.result
    return (
        f"{words.listed(list(r.symbols), 2)}, {clock.label(r.interval)}, {clock.iso(int(r.ts[0]))[:10]} to "
        f"{clock.iso(int(one.closes[-1]))[:10]}"
    )


def _differences(subjects: Mapping[str, Subject]) -> tuple[str, ...]:
    """What makes the runs hard to compare."""
    runs = [one.result for one in subjects.values()]
    out = []
    if len({(int(r.ts[0]), int(r.ts[-1]) + r.interval) for r in runs}) > 1:
        out.append("The runs cover different spans.")
    if len({r.fingerprint.get("data") for r in runs}) > 1:
        out.append("They were simulated on different data.")
    if len({r.currency for r in runs}) > 1:
        out.append("Their money differs: amounts cannot be added or compared.")
    differing = [what for what in ("account", "costs") if len({digest(getattr(r, what)) for r in runs}) > 1]
    out += [f"Their {what} settings differ." for what in differing]
    return tuple(out)


def _numbers(subjects: Mapping[str, Subject]) -> Section:
    tiles = [
        Tile(
            name,
            said("total_return", one.result.measures["total_return"]),
            f"Sharpe {words.plain(one.result.measures['sharpe'])}, drawdown {one.result.measures['max_drawdown']:.1%}",
            words.tone(one.result.measures["total_return"]),
        )
        for name, one in subjects.items()
    ]
    rows = []
    for measure in MEASURES:
        values = [one.result.measures[measure.name] for one in subjects.values()]
        cents = max(words.cents(one.start) for one in subjects.values())
        cells = [said(measure.name, value, cents) for value in values]
        finite = [v for v in values if np.isfinite(v)]
        if measure.better and len(set(finite)) > 1:
            best = max(finite) if measure.better > 0 else min(finite)
            cells = [f"\u25b8 {cell}" if value == best else cell for cell, value in zip(cells, values, strict=True)]
        rows.append((words.heading(measure.name), *cells))
    table = Table("All measures", ("", *subjects), rows, note="A triangle marks the best of each row.")
    ranges = _ranges(subjects)
    return Section("numbers", "Side by side", blocks=[Tiles(tiles), *ranges, table], short="Numbers")


def _ranges(subjects: Mapping[str, Subject]) -> list[Table]:
    named = ("total_return", "sharpe", "max_drawdown", "funding")
    known = {name: one.evidence.intervals for name, one in subjects.items() if one.evidence and one.evidence.intervals}
    rows = [(name, *(f"{said(m, one[m].low)} to {said(m, one[m].high)}" for m in named)) for name, one in known.items()]
    if not rows:
        return []
    note = "Where they overlap much, the order of the runs may be luck."
    return [Table("95% of redrawn histories", ("", *(words.heading(m) for m in named)), rows, note=note)]


def _style(number: int) -> tuple[str, str]:
    return COLORS[number % len(COLORS)], DASHES[number // len(COLORS) % len(DASHES)]


def _curves(subjects: Mapping[str, Subject]) -> Section:
    data, below, keys = [], [], []
    for number, (name, one) in enumerate(subjects.items()):
        color, dash = _style(number)
        data.append(thinned(one.closes, one.equity / one.start, name, color, dash=dash))
        below.append(thinned(one.closes, one.underwater, name, color, dash=dash, axis="y2", width=1.2))
        keys.append(Key(name, color, "line" if dash == "solid" else "dot"))
    positive = all(bool((one.equity > 0.0).all()) for one in subjects.values())
    switches = (Switch("log scale", {"yaxis.type": "log"}, {"yaxis.type": "linear"}),) if positive else ()
    chart = Chart(
        "compare-equity",
        "Equity over the start, and drawdown",
        "Net, at the closes; each begins at 1.",
        tuple(keys),
        [*data, *below],
        {"xaxis": time_axis(anchor="y2"), "yaxis": panel(0.4, 1.0), "yaxis2": panel(0.0, 0.32, tickformat=".0%")},
        wide=True,
        tall=True,
        switches=switches,
    )
    return Section("equity", "Equity", blocks=[chart])


def _money(subjects: Mapping[str, Subject]) -> Section:
    parts = {name: dict(waterfall(one)) for name, one in subjects.items() if one.traded}
    if not parts:
        return absent("costs", "Where the money went", "Nothing was traded.", "Costs")
    titles = list(dict.fromkeys(title for one in parts.values() for title in one))
    titles = [t for t in titles if t != "Net"] + ["Net"]
    rows = [
        (title, *(words.percent(one.get(title, 0.0) / subjects[name].start) for name, one in parts.items()))
        for title in titles
    ]
    table = Table("Of starting equity", ("", *parts), rows)
    return Section("costs", "Where the money went", blocks=[table], short="Costs")


def _months(subjects: Mapping[str, Subject]) -> Section:
    by = {name: dict(by_month(one)) for name, one in subjects.items()}
    months = sorted({month for one in by.values() for month in one})
    rows = [
        (_named(m), *(words.percent(one[m], 1) if m in one else words.NOTHING for one in by.values()))
        for m in months[-60:]
    ]
    more = f"The last 60 of {len(months)}." if len(months) > 60 else ""
    return Section("calendar", "Months", blocks=[Table("Returns by month", ("", *by), rows, note=more)])


def _named(month: int) -> str:
    return f"{1970 + month // 12}-{month % 12 + 1:02d}"


def _alike(subjects: Mapping[str, Subject]) -> Section:
    """Correlation of the daily returns, on the days that two have in common."""
    names = list(subjects)
    days = {name: dict(zip(_days(one.day_closes), one.daily, strict=True)) for name, one in subjects.items()}
    z: list[list[float | None]] = [[_correlation(days[a], days[b]) for b in names] for a in names]
    if all(value is None for row in z for value in row):
        return absent("alike", "How alike", "They share fewer than ten days on which both moved.")
    trace = {
        "type": "heatmap",
        "z": z,
        "x": names,
        "y": names,
        "zmin": -1.0,
        "zmax": 1.0,
        "colorscale": SCALE,
        "xgap": 2,
        "ygap": 2,
        "text": [[words.NOTHING if v is None else words.plain(v) for v in row] for row in z],
        "texttemplate": "%{text}",
        "hovertemplate": "%{x}, %{y}: %{z:.2f}<extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": {"color": "--soft"}},
    }
    chart = Chart(
        "compare-alike",
        "Correlation of daily returns",
        "Two runs that are alike are nearly one bet, and nearly one trial.",
        (),
        [trace],
        {
            "xaxis": {"type": "category", "showgrid": False},
            "yaxis": {"type": "category", "showgrid": False, "autorange": "reversed"},
            "hovermode": "closest",
        },
        wide=True,
    )
    return Section("alike", "How alike", blocks=[chart])


def _days(closes: Times) -> list[int]:
    return [int(d) for d in (closes - 1) // clock.DAY]


def _correlation(one: Mapping[int, float], other: Mapping[int, float]) -> float | None:
    shared = sorted(one.keys() & other.keys())
    if len(shared) < 10:
        return None
    a: Array = np.array([one[d] for d in shared])
    b: Array = np.array([other[d] for d in shared])
    if a.std() < 1e-14 or b.std() < 1e-14:
        return None
    return float(f"{np.corrcoef(a, b)[0, 1]:.4g}")
