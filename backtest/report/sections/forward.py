"""Fitted on the past, traded on what followed: folds before and after, drift of parameters, the grid around them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest import metrics
from backtest.report import words
from backtest.report.parts import Chart, Key, Section, Table, absent
from backtest.report.sections.headline import said
from backtest.report.subject import Subject
from backtest.report.traces import bars, line, panel, short, spots

if TYPE_CHECKING:
    from backtest.sweep import Sweep
    from backtest.walkforward import WalkForward

ANCHOR, TITLE, SHORT = "forward", "In sample and out of sample", "Walk-forward"
DRIFTS = 6  # parameters drawn
FINE = 400  # cells of a heat map that get a number each, at most
SCALE = [[0.0, "--short"], [0.5, "--paper"], [1.0, "--accent"]]  # low, middle, high, as in the calendar


def section(subject: Subject) -> Section:
    forward, sweep = subject.forward, subject.sweep
    blocks: list[Any] = []
    if forward is not None:
        blocks += [_before_after(forward), _ranks(forward), *_drift(forward), _folds(forward)]
    if sweep is not None and len(sweep) > 1:
        blocks += _plateau(sweep)
    if not blocks:
        why = "Run once, with given parameters: unwind walkforward fits them on the past and trades what follows."
        return absent(ANCHOR, TITLE, why, SHORT)
    return Section(ANCHOR, TITLE, lead=_sentence(forward) if forward else "", blocks=blocks, short=SHORT)


def _sentence(forward: WalkForward) -> str:
    rows, name = forward.folds, forward.spec.plan.objective
    before, after = rows[f"{name}_in"], rows[f"{name}_out"]
    both = before.notna() & after.notna()
    kept = int((after[both] > 0).sum())
    said = (
        f"{words.times(len(rows), 'fold')}. The {words.label(name)} of the chosen set was "
        f"{words.plain(float(before.mean()))} "
        f"before and {words.plain(float(after.mean()))} after, on average; above zero afterwards in {kept} of "
        f"{int(both.sum())}."
    )
    rank = rows["rank"].dropna()
    if len(rank):
        said += (
            f" On the test windows it came out {rank.mean():.0%} of the way down from the best of all sets; luck alone "
            "gives 50%."
        )
    flat = sum(not fit.chosen for fit in forward.fits)
    if flat:
        said += f" {words.times(flat, 'fold')} stayed flat: no set met the requirements."
    if forward.spec.plan.ensemble > 1:
        said += f" {forward.spec.plan.ensemble} accounts traded; this report shows the first."
    return said


def _places(forward: WalkForward) -> list[str]:
    return [str(at)[:10] for at in forward.folds["test_from"]]


def _before_after(forward: WalkForward) -> Chart:
    rows, name = forward.folds, forward.spec.plan.objective
    x = _places(forward)
    return Chart(
        "forward-folds",
        f"{words.heading(name)}, fold by fold",
        "Of the set that was chosen: on the window it was fitted on, and on the window that followed. Differences "
        "and ranks "
        "count; a ratio of two losses means nothing.",
        (Key("in sample", "--soft", "bar"), Key("out of sample", "--accent", "bar")),
        [
            bars(x, np.asarray(rows[f"{name}_in"], dtype=float), "in sample", "--soft"),
            bars(x, np.asarray(rows[f"{name}_out"], dtype=float), "out of sample", "--accent"),
        ],
        {
            "xaxis": {"type": "category", "showgrid": False, "nticks": 8},
            "yaxis": panel(zeroline=True),
            "barmode": "group",
            "bargap": 0.25,
        },
    )


def _ranks(forward: WalkForward) -> Chart:
    rows = forward.folds
    x = _places(forward)
    return Chart(
        "forward-ranks",
        "Where the chosen set came out",
        "Among all sets on the test window: 0 is the best, 1 the worst. The bar is how far the order of all sets "
        "before "
        "agrees with their order after (rank correlation).",
        (Key("rank", "--accent", "spot"), Key("agreement of the order", "--third", "bar")),
        [
            bars(x, np.asarray(rows["agreement"], dtype=float), "agreement", "--third", opacity=0.45),
            spots(x, np.asarray(rows["rank"], dtype=float), "rank", "--accent", size=9),
            line(x, np.full(len(x), 0.5), "luck", "--soft", dash="dot", width=1.0),
        ],
        {
            "xaxis": {"type": "category", "showgrid": False, "nticks": 8},
            "yaxis": panel(zeroline=True, range=[-1.05, 1.05]),
        },
    )


def _drift(forward: WalkForward) -> list[Chart]:
    """What was chosen, fold by fold: one panel a parameter, values in the order of the grid."""
    names = [name for name in forward.spec.axes if _varies(forward.spec.axes[name])][:DRIFTS]
    if not names:
        return []
    x, data = _places(forward), []
    layout: dict[str, Any] = {
        "xaxis": {
            "type": "category",
            "showgrid": False,
            "nticks": 8,
            "anchor": f"y{len(names)}" if len(names) > 1 else "y",
        }
    }
    gap = 0.06
    height = (1.0 - gap * (len(names) - 1)) / len(names)
    for number, name in enumerate(names):
        axis = "y" if number == 0 else f"y{number + 1}"
        values = [fit.chosen[0][name] if fit.chosen else None for fit in forward.fits]
        known = sorted({v for v in values if v is not None}, key=lambda v: (isinstance(v, str), v))
        place = {value: row for row, value in enumerate(known)}
        y = np.array([math.nan if v is None else place[v] for v in values])
        trace = line(x, y, name, "--accent", axis=axis, shape="hv", width=2.0)
        trace["mode"] = "lines+markers"
        data.append(trace)
        top = 1.0 - number * (height + gap)
        layout["yaxis" if number == 0 else f"yaxis{number + 1}"] = {
            "domain": [max(0.0, top - height), top],
            "tickvals": list(range(len(known))),
            "ticktext": [_value(v) for v in known],
            "title": {"text": words.label(name), "font": {"size": 11}},
            "range": [-0.5, max(len(known) - 0.5, 0.5)],
        }
    changed = ", ".join(f"{words.label(row['parameter'])} {int(row['changes'])}" for _, row in forward.drift.iterrows())
    return [
        Chart(
            "forward-drift",
            "Drift of the parameters",
            f"What each fold chose. Changes from one fold to the next, of {len(forward.fits) - 1}: {changed}. A "
            "parameter that "
            "jumps about was fitted to noise.",
            (),
            data,
            layout,
            wide=True,
            tall=len(names) > 2,
        )
    ]


def _varies(axis: Any) -> bool:
    return not isinstance(axis, list | tuple) or len(axis) > 1


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _folds(forward: WalkForward) -> Table:
    rows, name = forward.folds, forward.spec.plan.objective
    axes = list(forward.spec.axes)
    out = []
    for fit, row in zip(forward.fits, rows.to_dict("records"), strict=True):
        chosen = [_value(row[a]) if fit.chosen else words.NOTHING for a in axes]
        out.append(
            (
                f"{str(row['train_from'])[:10]} to {str(row['train_to'])[:10]}",
                f"{str(row['test_from'])[:10]} to {str(row['test_to'])[:10]}",
                f"{fit.allowed:,} of {fit.sets:,}",
                words.plain(row[f"{name}_in"]),
                words.plain(row[f"{name}_out"]),
                words.plain(row["difference"]),
                words.percent(row["rank"], 0, sign=False),
                *chosen,
            )
        )
    heads = ("Fitted on", "Traded on", "Sets allowed", f"{words.heading(name)} before", "After", "Difference", "Rank")
    return Table("Folds", (*heads, *(words.heading(a) for a in axes)), out, words=2)


# ---- the grid --------------------------------------------------------------------------------------


def _plateau(sweep: Sweep) -> list[Any]:
    best = sweep.best(8)
    value = sweep.objective
    columns = list(dict.fromkeys([*sweep.names, value, "total_return", "max_drawdown", "trades", "liquidations"]))
    table = Table(
        f"Best sets by {words.label(value)}, of {len(sweep):,}",
        [words.heading(c) for c in columns],
        [[_cell(c, row[c]) for c in columns] for row in best[columns].to_dict("records")],
        words=0,
        note="The best of many is high by having been chosen. What its neighbours made says more than it does.",
    )
    if len(sweep.names) < 2:
        return [table]
    x, y = _widest(sweep)
    cells = sweep.pivot(x, y, value)
    z = cells.to_numpy(dtype=np.float64)
    finite = z[np.isfinite(z)]
    around = {"zmid": 0.0} if len(finite) and finite.min() < 0.0 < finite.max() else {}
    trace = {
        "type": "heatmap",
        "z": [short(row) for row in z],
        "x": [_value(v) for v in cells.columns],
        "y": [_value(v) for v in cells.index],
        "colorscale": SCALE,
        "xgap": 1,
        "ygap": 1,
        **around,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": {"color": "--soft"}},
        "hovertemplate": f"{words.label(x)} %{{x}}, {words.label(y)} %{{y}}: %{{z:.3g}}<extra></extra>",
    }
    if z.size <= FINE:
        trace |= {"text": [[words.plain(v) for v in row] for row in z], "texttemplate": "%{text}"}
    chart = Chart(
        "forward-plateau",
        "The neighbourhood",
        f"{words.heading(value)}, the median over all other parameters. A good place is wide; a lonely peak is luck.",
        (),
        [trace],
        {
            "xaxis": {"type": "category", "title": {"text": words.label(x)}, "showgrid": False},
            "yaxis": {"type": "category", "title": {"text": words.label(y)}, "showgrid": False},
            "hovermode": "closest",
        },
        wide=True,
    )
    return [chart, table]


def _widest(sweep: Sweep) -> tuple[str, str]:
    """The two parameters with most values."""
    rows = sweep.frame
    order = sorted(sweep.names, key=lambda name: -rows[name].nunique())
    return order[0], order[1]


def _cell(name: str, value: Any) -> str:
    return said(name, float(value)) if name in metrics.NAMES else _value(value)
