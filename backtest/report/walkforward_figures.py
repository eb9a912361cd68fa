"""Walk-forwards as pictures: equity through the test windows, the objective before and after, and a small page."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.report import look
from backtest.report.thin import keep

if TYPE_CHECKING:
    from backtest.walkforward import WalkForward

POINTS = 2000
FLAT = "rgba(125,133,144,0.18)"


def overview(forward: WalkForward) -> Any:
    """Equity with the seams of the folds (shaded: nothing was chosen); below, the objective in and out of sample."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    rows, name = forward.folds, forward.spec.plan.objective
    figure = make_subplots(rows=2, cols=1, row_heights=[0.62, 0.38], vertical_spacing=0.12)
    equity = forward.equity
    values = np.asarray(equity, dtype=np.float64)
    kept = keep(values, most=POINTS)
    line = go.Scatter(x=equity.index[kept], y=values[kept], mode="lines", name="equity", line={"color": look.BLUE})
    figure.add_trace(line, row=1, col=1)
    for fit, seam, end in zip(forward.fits, rows["test_from"], rows["test_to"], strict=True):
        figure.add_vline(x=seam, line_width=1, line_dash="dot", line_color=look.INK, opacity=0.5, row=1, col=1)
        if not fit.chosen:
            figure.add_vrect(x0=seam, x1=end, fillcolor=FLAT, line_width=0, row=1, col=1)
    places = rows["test_from"].dt.strftime("%Y-%m-%d")
    for column, label, color in ((f"{name}_in", "in sample", look.INK), (f"{name}_out", "out of sample", look.BLUE)):
        figure.add_trace(go.Bar(x=places, y=rows[column], name=label, marker={"color": color}), row=2, col=1)
    figure.update_yaxes(title_text="equity", row=1, col=1)
    figure.update_yaxes(title_text=html.escape(name), row=2, col=1)
    figure.update_xaxes(type="category", row=2, col=1)
    title = f"{type(forward.spec.base).__name__}, out of sample"
    figure.update_layout(
        template=look.template(), barmode="group", bargap=0.2, height=580, margin={"t": 84}, title=html.escape(title)
    )
    return figure


def page(forward: WalkForward) -> str:
    """What came of it, fold by fold."""
    rows, name, measures = forward.folds, forward.spec.plan.objective, forward.measures
    columns = ["test_from", "test_to", f"{name}_in", f"{name}_out", "rank", *forward.spec.axes]
    head = (
        f"<b>{html.escape(type(forward.spec.base).__name__)}</b>, {len(forward.fits)} folds. Out of sample: return "
        f"{measures['total_return']:+.1%}, sharpe {measures['sharpe']:.2f}, maximum drawdown "
        f"{measures['max_drawdown']:.1%}, {measures['trades']:.0f} trades, "
        f"{measures['liquidations']:.0f} liquidations. {html.escape(forward.count().words())}."
    )
    known = rows["rank"].dropna()
    ranked = ""
    if len(known):
        ranked = (
            f"<p>Of all sets on the test windows the chosen one came out at {known.mean():.0%} of the way from best to "
            "worst on average; by luck it would be 50%.</p>"
        )
    table = rows[columns].to_html(float_format=lambda x: f"{x:.3g}", border=0, index=False)
    return f"<div><p>{head}</p>{ranked}{table}</div>"
