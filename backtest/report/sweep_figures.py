"""Sweeps as pictures: a heat map, a line, and a small page for notebooks."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from backtest.sweep import Sweep

SHOWN = 8  # rows of the page's table


def heatmap(table: pd.DataFrame, value: str, agg: object) -> Any:
    """Blue is worse and red better, with the middle at 0 where values lie on both sides of it."""
    import plotly.graph_objects as go

    from backtest.report import look

    z = table.to_numpy(dtype=np.float64)
    finite = z[np.isfinite(z)]
    around = {"zmid": 0.0} if len(finite) and finite.min() < 0.0 < finite.max() else {}
    figure = go.Figure(
        go.Heatmap(
            z=z, x=[str(x) for x in table.columns], y=[str(y) for y in table.index], colorscale="RdYlBu_r", **around,
            colorbar={"title": {"text": value}}, texttemplate="%{z:.2f}" if z.size <= 150 else None,
            hovertemplate="%{x}, %{y}: %{z:.3g}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title_text=html.escape(str(table.columns.name)), type="category")
    figure.update_yaxes(title_text=html.escape(str(table.index.name)), type="category")
    figure.update_layout(
        title=html.escape(f"{value}, {agg} of what else was varied"), height=480, template=look.template()
    )
    return figure


def overview(sweep: Sweep) -> Any:
    """Of the first two parameters a heat map; of a single one every set as a point, and the median as a line."""
    import plotly.graph_objects as go

    from backtest.report import look

    if len(sweep.names) > 1:
        return sweep.heatmap(sweep.names[0], sweep.names[1])
    name, value = sweep.names[0], sweep.objective
    rows = sweep.frame
    middle = rows.groupby(name, sort=False)[value].median()
    figure = go.Figure(go.Scatter(x=rows[name], y=rows[value], mode="markers", name="sets", marker={"color": look.INK}))
    figure.add_trace(go.Scatter(x=middle.index, y=middle, mode="lines", name="median", line={"color": look.BLUE}))
    figure.update_xaxes(title_text=html.escape(name))
    figure.update_yaxes(title_text=value)
    figure.update_layout(height=420, template=look.template())
    return figure


def page(sweep: Sweep) -> str:
    """The best few, and how much the best owes to having been chosen."""
    columns = [
        *sweep.names,
        *dict.fromkeys((sweep.objective, "total_return", "max_drawdown", "trades", "liquidations")),
    ]
    best = sweep.best(SHOWN)[columns]
    count = sweep.count()
    left = "" if sweep.complete else f" Interrupted: {len(sweep):,} of {sweep.planned:,} sets were walked."
    values = sweep.column(sweep.objective)
    finite = values[np.isfinite(values)]
    spread = f" Median of all sets {np.median(finite):.2f}." if len(finite) else ""
    return (
        f"<div><p><b>{html.escape(type(sweep.base).__name__)}</b>, {len(sweep):,} sets by "
        f"{html.escape(sweep.objective)}.{html.escape(left + spread)} {html.escape(count.words())}.</p>"
        f"{best.to_html(float_format=lambda x: f'{x:.3g}', border=0)}</div>"
    )
