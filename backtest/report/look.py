"""How figures look: one plotly template with a clear background, and ink that reads on white and on black.

    from backtest.report import look

    look.use()      # from here on it is plotly's default: for every figure that names no template of its own

Series colours keep their order and are told apart by readers who see no red or no green.
"""

from __future__ import annotations

from functools import cache
from typing import Any

NAME = "unwind"

INK, GRID, CLEAR = "#7d8590", "rgba(125,133,144,0.22)", "rgba(0,0,0,0)"
BLUE, ORANGE, GREEN, RED, PURPLE, GOLD = "#3b82c4", "#e08214", "#1f9e89", "#d1495b", "#8e6bbf", "#c9a227"
SERIES = (BLUE, ORANGE, GREEN, RED, PURPLE, GOLD, INK)
FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"


def use() -> None:
    """Make it plotly's default template."""
    import plotly.io as pio

    pio.templates[NAME] = template()
    pio.templates.default = NAME


@cache
def template() -> Any:
    import plotly.graph_objects as go

    axis = {
        "gridcolor": GRID,
        "linecolor": GRID,
        "zerolinecolor": "rgba(125,133,144,0.5)",
        "zerolinewidth": 1,
        "automargin": True,
        "title": {"standoff": 8},
    }
    layout = go.Layout(
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        colorway=SERIES,
        font={"family": FONT, "size": 12, "color": INK},
        title={"x": 0.0, "xref": "paper", "y": 0.98, "yref": "container", "yanchor": "top", "font": {"size": 15}},
        margin={"l": 60, "r": 20, "t": 64, "b": 40},  # a title and a line of the legend below it
        legend={"orientation": "h", "x": 0.0, "y": 1.02, "yanchor": "bottom", "bgcolor": CLEAR},
        xaxis=axis,
        yaxis=axis,
        hovermode="x",
        bargap=0.05,
        colorscale={"diverging": [[0.0, ORANGE], [0.5, "rgba(125,133,144,0.12)"], [1.0, BLUE]]},
    )
    return go.layout.Template(layout=layout)
