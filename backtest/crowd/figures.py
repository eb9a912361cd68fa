"""Plotly figures of stress tests: what happened, what depends on what, what may happen.

Loaded when one is drawn. Money is in millions of quote currency.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.crowd.kernel import layout as at
from backtest.report import look

if TYPE_CHECKING:
    import pandas as pd

    from backtest.crowd.montecarlo import Futures
    from backtest.crowd.stress import Stressed

FALL, RISE, PLAIN, OTHER, SOFT = look.RED, look.GREEN, look.BLUE, look.GOLD, look.INK
MILLION = 1e6
SHOWN = ("move", "liquidated, part of open interest", "fund after", "ADL")


def _layout(figure: Any, title: str, height: int) -> Any:
    figure.update_layout(
        template=look.template(),
        title={"text": title, "x": 0.01, "font": {"size": 16}},
        height=height,
        margin={"l": 70, "r": 30, "t": 80, "b": 90},
        legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0.0, "x": 0.0},
        bargap=0.05,
    )
    return figure


def stressed(found: Stressed) -> Any:
    """Minutes since the shock across; price, what was forced, depth and open interest, the fund."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    path = found.path
    x = path.index.to_numpy()
    names = ("price", "forced a minute, millions", "depth and open interest, part of what it was", "fund, millions")
    figure = make_subplots(
        rows=4, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.38, 0.24, 0.19, 0.19],
        subplot_titles=names,
    )  # fmt: skip

    def line(row: int, y: Any, name: str, color: str, dash: str = "solid") -> None:
        style = {"color": color, "width": 1.6, "dash": dash}
        figure.add_trace(go.Scatter(x=x, y=np.asarray(y), name=name, mode="lines", line=style), row=row, col=1)

    def bar(y: Any, name: str, color: str) -> None:
        figure.add_trace(go.Bar(x=x, y=np.asarray(y) / MILLION, name=name, marker={"color": color}), row=2, col=1)

    line(1, path["without_feedback"], "without feedback", SOFT, "dash")
    line(1, path["low"] if found.side > 0 else path["high"], "with feedback, worst of the minute", FALL)
    line(1, path["price"], "with feedback, close", PLAIN)
    bar(path["longs_liquidated"], "longs liquidated", FALL)
    bar(path["shorts_liquidated"], "shorts liquidated", RISE)
    bar(path["stopped"], "stopped out", SOFT)
    bar(path["adl"], "ADL", look.PURPLE)
    depth = 0.5 * (path["bid_depth"] + path["ask_depth"]) / found.before.rules.depth
    line(3, depth, "depth", PLAIN)
    line(3, path["open_interest"] / found.before.state[at.LONG], "open interest", OTHER)
    line(4, path["fund"] / MILLION, "insurance fund", PLAIN)
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title_text="minutes since the shock", row=4, col=1)
    figure.update_annotations(font={"size": 12}, xanchor="left", x=0.0)
    return _layout(figure, f"{found.shock.name}, {found.venue}", 860)


def futures(found: Futures) -> Any:
    """Chance of a cascade of at least each size, with its interval; and what the fund would have lost."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    sizes = np.concatenate(([0.005], np.linspace(0.01, max(0.05, float(found.largest.max()) * 1.1), 40)))
    odds = [found.cascade(float(size)) for size in sizes]
    figure = make_subplots(rows=1, cols=2, subplot_titles=("chance of a cascade of at least", "loss of the fund"))
    x = 100.0 * sizes
    band = {"x": [*x, *x[::-1]], "y": [*(o.low for o in odds), *(o.high for o in odds[::-1])]}
    shade = {"fill": "toself", "fillcolor": "rgba(59,130,196,0.2)", "line": {"width": 0}, "name": "95 % interval"}
    figure.add_trace(go.Scatter(**band, **shade, hoverinfo="skip"), row=1, col=1)
    middle = [o.probability for o in odds]
    figure.add_trace(go.Scatter(x=x, y=middle, name="probability", line={"color": PLAIN}), row=1, col=1)
    lost = np.sort(found.shortfall)[::-1] / MILLION
    rank = (np.arange(len(lost)) + 1) / len(lost)
    figure.add_trace(go.Scatter(x=lost, y=rank, name="futures that lose more", line={"color": FALL}), row=1, col=2)
    figure.update_xaxes(title_text="% of open interest", row=1, col=1)
    figure.update_xaxes(title_text="millions", row=1, col=2)
    figure.update_yaxes(rangemode="tozero", tickformat=".0%")
    return _layout(figure, f"{len(found.largest):,} futures of {found.hours:g} hours", 420)


def sensitivity(frame: pd.DataFrame, outputs: Sequence[str] = SHOWN) -> Any:
    """One column of panels an output, one row of bars a rule and value."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    named = [name if name not in ("fund after", "ADL") else f"{name}, millions" for name in outputs]
    titles = [name.replace(", ", ",<br>") for name in named]
    figure = make_subplots(rows=1, cols=len(outputs), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.03)
    labels = [f"{rule}: {value}" for rule, value in frame.index][::-1]
    for column, name in enumerate(outputs, start=1):
        values = frame[name].to_numpy()[::-1]
        scale = MILLION if name in ("fund after", "ADL") else 1.0
        color = FALL if name == "move" else PLAIN
        figure.add_trace(
            go.Bar(x=values / scale, y=labels, orientation="h", marker={"color": color}, showlegend=False),
            row=1, col=column,
        )  # fmt: skip
        if scale == 1.0:
            figure.update_xaxes(tickformat=".0%", row=1, col=column)
    _layout(figure, "the same shock under other rules (medians)", 140 + 22 * len(labels))
    figure.update_layout(margin={"l": 190})
    return figure
