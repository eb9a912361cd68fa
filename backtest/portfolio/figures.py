"""Pictures of a portfolio: thinned for the eye, plain figures, on any background.

vectorbt draws every bar: a year of minutes makes a page of 130 MB. Here each subplot keeps the bars that its lines need
to look the same (`backtest.report.thin`), and every statistic is still of all of them. Backgrounds are clear, text and
grid a grey that reads on white and on black.

A `FigureWidget` needs a live kernel and stays empty in a saved page, so plain figures are drawn. Put
`vectorbt.settings.plotting["use_widgets"] = True` after the first portfolio to have widgets again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import vectorbt as vbt

from backtest.report.look import CLEAR, GRID, INK
from backtest.report.thin import keep

vbt.settings.plotting["use_widgets"] = False

POINTS = 2400  # of a line
OF_LEG = ("orders", "trade_pnl", "cum_returns", "underwater", "gross_exposure", "funding", "margin", "liquidations")
OF_ACCOUNT = ("cum_returns", "underwater", "cash", "gross_exposure", "funding", "margin", "liquidations")


def _subplot(title: str, axis: str, name: str, tags: list[str]) -> dict[str, Any]:
    return {
        "title": title,
        "yaxis_kwargs": {"title": axis},
        "plot_func": f"plot_{name}",
        "pass_add_trace_kwargs": True,
        "tags": ["portfolio", *tags],
    }


ADDED = {
    "funding": _subplot("Funding", "Received so far", "funding", ["cash", "funding"]),
    "margin": _subplot("Margin Ratio", "Maintenance / balance", "margin", ["margin"]),
    "margin_distance": _subplot("Distance To Liquidation", "Fraction of mark", "margin_distance", ["margin"]),
    "liquidations": _subplot("Liquidations", "Value", "liquidations", ["margin", "liquidations"]),
}


def with_margin(own: Any) -> Any:
    """vectorbt's subplots and ours; its own are left as they are."""
    made = own.copy(copy_mode="deep")
    made.update(ADDED)
    return made


def line(series: Any, name: str, color: str, **kwargs: Any) -> Any:
    style = {"name": name, "line": {"color": vbt.settings.plotting["color_schema"][color]}}
    given = kwargs.pop("trace_kwargs", None) or {}
    return series.vbt.plot(trace_kwargs={**style, **given}, **kwargs)


def liquidations(value: Any, rows: Any, **kwargs: Any) -> Any:
    """`value` as a line, `rows` as crosses on it."""
    figure = line(value, "Value", "purple", **kwargs)
    if len(rows):
        lost = np.maximum(rows["loss"], 0.0)
        largest = lost.max()
        size = 8.0 + 10.0 * np.sqrt(lost / largest if largest > 0.0 else lost)
        figure.add_scatter(
            x=value.index[rows["idx"]],
            y=value.to_numpy()[rows["idx"]],
            mode="markers",
            name="Liquidation",
            marker={"symbol": "x-thin", "size": size, "line": {"width": 2, "color": "#dc3912"}},
            customdata=np.column_stack([rows["trigger"], rows["loss"]]),
            hovertemplate="%{x}<br>mark %{customdata[0]:.8g}<br>lost %{customdata[1]:,.2f}",
            **(kwargs.get("add_trace_kwargs") or {}),
        )
    return figure


# ---- for the eye -----------------------------------------------------------------------------------------------------


def drawn(draw: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What `draw` draws, made light and plain; left alone where it only adds to another figure."""
    figure = draw(*args, **kwargs)
    if figure is None or kwargs.get("fig") is not None:
        return figure
    thin(figure)
    return plain(figure, width=kwargs.get("width"))


def draw_plainly(kind: Any) -> None:
    """All `plot_...` methods of a class draw so."""
    for name in [name for name in dir(kind) if name.startswith("plot_")]:
        setattr(kind, name, plainly(getattr(kind, name)))


def plainly(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that draws, with the same arguments, made so."""

    @wraps(method)
    def plot(self: Any, *args: Any, **kwargs: Any) -> Any:
        return drawn(method, self, *args, **kwargs)

    return plot


def plain(figure: Any, width: int | None = None) -> Any:
    """No background of its own, as wide as the page unless told."""
    figure.update_layout(
        template="none",
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        font={"color": INK},
        width=width,
        autosize=width is None,
        hoverlabel={"font": {"color": "#1b1f24"}, "bgcolor": "#f6f8fa"},
    )
    for axes in (figure.update_xaxes, figure.update_yaxes):
        axes(gridcolor=GRID, zerolinecolor=GRID, linecolor=GRID, automargin=True)
    figure.update_yaxes(tickformat=",.2~%", selector=lambda axis: "%" in (axis.tickformat or ""))
    return figure


def thin(figure: Any, most: int = POINTS) -> None:
    """Traces of one subplot that share their bars keep the same ones, so that what is filled between them fits."""
    shared: dict[tuple[Any, ...], list[Any]] = {}
    for trace in figure.data:
        if trace.type == "scatter" and trace.x is not None and len(trace.x) > most:
            lines = "markers" not in (trace.mode or "lines")
            key = (trace.xaxis, trace.yaxis, len(trace.x)) if lines else (id(trace),)
            shared.setdefault(key, []).append(trace)
    for traces in shared.values():
        rows = [keep(np.asarray(trace.y, dtype=np.float64), most=most // len(traces)) for trace in traces]
        kept = np.unique(np.concatenate(rows))
        for trace in traces:
            trace.update(_at(trace, kept, len(trace.x)))


def _at(trace: Any, kept: Any, count: int) -> dict[str, Any]:
    """What a trace has by point, at these points."""
    found: dict[str, Any] = {}
    for name in ("x", "y", "customdata", "text", "hovertext"):
        values = trace[name]
        if values is not None and not isinstance(values, str) and len(values) == count:
            found[name] = np.asarray(values)[kept]
    marker = {name: trace.marker[name] for name in ("size", "color", "opacity") if trace.marker is not None}
    sized = {k: np.asarray(v)[kept] for k, v in marker.items() if isinstance(v, tuple | np.ndarray) and len(v) == count}
    return {**found, "marker": sized} if sized else found
