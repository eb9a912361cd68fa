"""A result as a notebook shows it: a small page, and a figure."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest import metrics
from backtest.plain import joined
from backtest.result import money, said
from data import clock

if TYPE_CHECKING:
    from backtest.result import Result

Floats = npt.NDArray[np.float64]

POINTS = 4000  # of a line in a plot
SHOWN = (
    "total_return",
    "annual_return",
    "sharpe",
    "sortino",
    "max_drawdown",
    "max_drawdown_days",
    "time_in_market",
    "exposure",
    "trades",
    "win_rate",
    "profit_factor",
    "fees",
    "funding",
    "slippage",
    "liquidations",
    "liquidation_loss",
    "min_margin_distance",
    "refused",
)
"""Measures of the small table in a notebook."""


def page(result: Result) -> str:
    """A small table for a notebook; every text is escaped."""
    cell = '<td style="text-align:left;padding:1px 1.2em 1px 0">{}</td><td style="text-align:right">{}</td>'
    rows = [
        f"<tr>{cell.format(html.escape(name.replace('_', ' ')), html.escape(said(name, result.measures)))}</tr>"
        for name in SHOWN
    ]
    half = (len(rows) + 1) // 2
    tables = "".join(
        f'<table style="margin:0 2em 0 0"><tbody>{"".join(part)}</tbody></table>' for part in (rows[:half], rows[half:])
    )
    notes = list(result.warnings)
    if result.ruined:
        notes.insert(0, f"ruined at {clock.iso(int(result.ts[result.run.ruined_bar]))}")
    if result.band:
        notes.append("other readings of the same bars: " + ", ".join(f"{k} {v}" for k, v in result.band.items()))
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    about = (joined(result.symbols), result.venue, result.span, f"{clock.label(result.interval)} bars")
    head = " &middot; ".join(html.escape(part) for part in about)
    last = result.run.series["equity"][-1]
    ends = f"{money(result.start_equity)} to {money(last)} {result.currency}"
    return (
        f'<div class="unwind-result"><p><b>{head}</b><br/>{html.escape(ends)}</p>{_sparkline(result)}'
        f'<div style="display:flex;flex-wrap:wrap">{tables}</div>'
        + (f"<ul>{listed}</ul>" if listed else "")
        + f"<small>fingerprint {result.fingerprint_id}</small></div>"
    )


def _sparkline(result: Result, width: int = 560, height: int = 90) -> str:
    """Equity as a line, the starting equity dashed."""
    from backtest.report.thin import keep

    values = np.append(result.start_equity, result.run.series["equity"])
    rows = keep(values, most=width)
    low, high = float(values.min()), float(values.max())
    reach = high - low if high > low else 1.0

    def down(value: npt.ArrayLike) -> Floats:
        place: Floats = 4.0 + (height - 8.0) * (1.0 - (np.asarray(value, dtype=np.float64) - low) / reach)
        return place

    across = rows * (width / max(len(values) - 1, 1))
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down(values[rows]), strict=True))
    start = f"{float(down(result.start_equity)):.1f}"
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="equity">'
        f'<line x1="0" x2="{width}" y1="{start}" y2="{start}" stroke="currentColor" stroke-opacity="0.4" '
        'stroke-dasharray="3 3"/>'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.3"/></svg>'
    )


def figure(result: Result) -> Any:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    from backtest.report import look
    from backtest.report.thin import keep

    closes = (result.ts + result.interval).astype("datetime64[ns]")
    figure = make_subplots(rows=3, shared_xaxes=True, row_heights=[0.6, 0.2, 0.2], vertical_spacing=0.03)

    def line(row: int, values: Floats, name: str, **style: Any) -> None:
        kept = keep(values, most=POINTS)
        figure.add_trace(go.Scatter(x=closes[kept], y=values[kept], name=name, mode="lines", **style), row=row, col=1)

    equity = result.run.series["equity"]
    line(1, equity, "equity", line={"color": look.BLUE, "width": 1.6})
    under = -metrics.drawdown(equity, result.start_equity)
    line(2, under, "drawdown", fill="tozeroy", line={"color": look.RED, "width": 1.0})
    line(3, result.run.series["exposure"], "exposure", line={"color": look.GREEN, "width": 1.0, "shape": "hv"})
    bars = np.unique(result.run.liquidations["bar"])
    if len(bars):
        bars = bars[keep(equity[bars], most=POINTS)]
        marker = {"symbol": "x", "size": 9, "color": look.ORANGE}
        figure.add_trace(
            go.Scatter(x=closes[bars], y=equity[bars], name="liquidation", mode="markers", marker=marker), row=1, col=1
        )
    figure.add_hline(y=result.start_equity, line_dash="dot", line_color=look.INK, opacity=0.6, row=1, col=1)
    figure.update_yaxes(title_text=result.currency, row=1, col=1)
    figure.update_yaxes(title_text="drawdown", tickformat=".0%", row=2, col=1)
    figure.update_yaxes(title_text="exposure", row=3, col=1)
    title = f"{joined(result.symbols)}, {result.venue}, {clock.label(result.interval)} bars"
    figure.update_layout(template=look.template(), title=html.escape(title), height=580, margin={"t": 84})
    return figure
