"""A market as a picture: price, funding, open interest and liquidations, those that it holds, one below the other.

Of one symbol what it is; of several each as a line, prices from the same point. Lines are thinned for the eye: each
bucket of bars keeps its lowest and its highest point. The background is clear, and the ink reads on white and on black.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data import clock
from data.align import Floats

if TYPE_CHECKING:
    from data.market import Market

POINTS = 2400  # of a line
BUCKETS = 240  # of sums
SHOWN = 6  # symbols
HEIGHTS = {"price": 260, "funding": 110, "open interest": 130, "liquidations": 130}
INK, GRID, CLEAR = "#7d8590", "rgba(125,133,144,0.22)", "rgba(0,0,0,0)"
LINES = ("#3b82c4", "#e08214", "#1f9e89", "#8e6bbf", "#c9a227", "#d1495b")
LONGS, SHORTS = "#e08214", "#3b82c4"


def figure(market: Market) -> Any:
    """A plotly figure of up to SHOWN symbols."""
    from plotly.subplots import make_subplots

    shown = market.select(market.symbols[:SHOWN])
    panels = [name for name, fields in _PANELS.items() if set(fields) & set(shown.held)]
    heights = [HEIGHTS[name] for name in panels]
    made = make_subplots(
        rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.035,
        row_heights=[h / sum(heights) for h in heights],
    )  # fmt: skip
    for row, name in enumerate(panels, start=1):
        _DRAW[name](made, row, shown)
    return _dressed(made, market, 90 + sum(heights))


def thin(values: Floats, most: int = POINTS) -> NDArray[np.intp]:
    """Where a line's points are that the eye needs: the lowest and the highest of each of most / 2 buckets."""
    n = len(values)
    if n <= most:
        return np.arange(n)
    width = -(-n // (most // 2 - 1))
    low, high = np.full((2, -(-n // width) * width), np.nan)
    low[:n] = high[:n] = values
    low[np.isnan(low)], high[np.isnan(high)] = np.inf, -np.inf
    starts = np.arange(0, n, width)
    found = (starts + low.reshape(-1, width).argmin(axis=1), starts + high.reshape(-1, width).argmax(axis=1))
    return np.unique(np.concatenate([[0, n - 1], *found])).astype(np.intp)


def _price(made: Any, row: int, market: Market) -> None:
    several = len(market.symbols) > 1
    for j, name in enumerate(market.symbols):
        values = _column(market, "close", j)
        known = values[np.isfinite(values)]
        if several and len(known):
            values = values / known[0]
        _line(made, row, market, values, name, j)
    if several:
        made.update_yaxes(type="log", title_text="price, first = 1", row=row, col=1)
    else:
        made.update_yaxes(title_text="price", row=row, col=1)


def _funding(made: Any, row: int, market: Market) -> None:
    for j, name in enumerate(market.symbols):
        _line(made, row, market, _column(market, "funding_8h", j), name, j, shape="hv", hover="%{y:.4%}")
    made.update_yaxes(title_text="funding, 8 h", tickformat=".3~%", row=row, col=1)


def _open_interest(made: Any, row: int, market: Market) -> None:
    field = next(name for name in _PANELS["open interest"] if name in market.held)
    for j, name in enumerate(market.symbols):
        _line(made, row, market, _column(market, field, j), name, j, hover="%{y:.4s}")
    what = "open interest" + (", quote" if field == "open_interest_value" else "")
    made.update_yaxes(title_text=what, tickformat="~s", rangemode="tozero", row=row, col=1)


def _liquidations(made: Any, row: int, market: Market) -> None:
    """Sums of buckets, longs below zero: their liquidation sells."""
    import plotly.graph_objects as go

    width = max(1, -(-len(market) // BUCKETS))
    starts = np.arange(0, len(market), width)
    at = market.ts[starts] + np.minimum(width, len(market) - starts) * market.interval // 2
    for field, name, sign, color in (("liq_long", "longs", -1.0, LONGS), ("liq_short", "shorts", 1.0, SHORTS)):
        total = sum(np.nan_to_num(_column(market, field, j)) for j in range(len(market.symbols)))
        sums = sign * np.add.reduceat(np.asarray(total), starts)
        bars = go.Bar(
            x=at.astype("datetime64[ns]"), y=sums, name=f"{name} liquidated", marker={"color": color},
            showlegend=False,
            width=0.95 * width * market.interval / clock.MS, customdata=np.abs(sums), hovertemplate="%{customdata:.3s}",
        )  # fmt: skip
        made.add_trace(bars, row=row, col=1)
    made.update_yaxes(title_text="liquidated", tickformat="~s", row=row, col=1)
    feeds = sorted({s.liquidation_feed for s in market.coverage.symbols if s.liquidation_feed})
    said = "shorts above, longs below zero" + (f"; the feed is {' / '.join(feeds)}" if feeds else "")
    made.add_annotation(
        text=escape(said), xref="x domain", yref="y domain",
        x=0.0, y=1.0, xanchor="left", yanchor="bottom", showarrow=False, font={"size": 11},
        row=row, col=1,
    )  # fmt: skip


_PANELS: dict[str, Sequence[str]] = {
    "price": ("close",),
    "funding": ("funding_8h",),
    "open interest": ("open_interest_value", "open_interest"),
    "liquidations": ("liq_long", "liq_short"),
}
_DRAW = {"price": _price, "funding": _funding, "open interest": _open_interest, "liquidations": _liquidations}


def _column(market: Market, field: str, j: int) -> Floats:
    values: Floats = getattr(market, field)
    return values if values.ndim == 1 else values[:, j]


def _line(
    made: Any, row: int, market: Market, values: Floats, name: str, j: int, shape: str = "linear", hover: str = ""
) -> None:
    import plotly.graph_objects as go

    if not np.isfinite(values).any():
        return
    kept = thin(values)
    closes = (market.ts[kept] + market.interval).astype("datetime64[ns]")
    style = {"color": LINES[j % len(LINES)], "width": 1.5, "shape": shape}
    trace = go.Scatter(
        x=closes, y=values[kept], name=escape(name), mode="lines", line=style, legendgroup=name,
        showlegend=row == 1 and len(market.symbols) > 1, hovertemplate=hover or None,
    )  # fmt: skip
    made.add_trace(trace, row=row, col=1)


def _dressed(made: Any, market: Market, height: int) -> Any:
    names = ", ".join(market.symbols[:3])
    if len(market.symbols) > 3:
        names += f" and {len(market.symbols) - 3} more"
    left = f", {SHOWN} drawn" if len(market.symbols) > SHOWN else ""
    made.update_layout(
        template="none", paper_bgcolor=CLEAR, plot_bgcolor=CLEAR, font={"color": INK, "size": 12}, height=height,
        title={"text": escape(f"{names}, {market.venue}, {market.interval_label} bars{left}"), "x": 0, "xref": "paper"},
        margin={"l": 70, "r": 20, "t": 60, "b": 36}, legend={"orientation": "h", "y": 1.0, "yanchor": "bottom"},
        hovermode="x", barmode="relative", bargap=0,
        hoverlabel={"font": {"color": "#1b1f24"}, "bgcolor": "#f6f8fa"},
    )  # fmt: skip
    for axes in (made.update_xaxes, made.update_yaxes):
        axes(gridcolor=GRID, zerolinecolor=GRID, linecolor=GRID, automargin=True)
    made.update_yaxes(title_standoff=6, title_font_size=11)
    return made
