"""A walk as its page takes it: the lines thinned for the eye, in binary, and the measures as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest import metrics
from backtest.report.thin import keep
from backtest.result import as_text

if TYPE_CHECKING:
    from backtest.explorer.live import Walk

Floats = npt.NDArray[np.float64]

POINTS = 1200  # of a line
MARKS = 300  # liquidations that are drawn: the largest
SHOWN = {
    "total_return": "return",
    "sharpe": "Sharpe",
    "max_drawdown": "drawdown",
    "liquidations": "liquidations",
    "trades": "trades",
    "fees": "fees",
    "funding": "funding",
    "min_margin_distance": "nearest to liquidation",
}
_MEASURES = {measure.name: measure for measure in metrics.MEASURES}


def drawn(walk: Walk) -> dict[str, Any]:
    series, forced = walk.run.series, walk.run.liquidations
    worst = np.sort(np.argsort(-forced["loss"], kind="stable")[:MARKS])
    bars = np.unique(forced["bar"][worst])
    return {
        "equity": line(series["equity"]),
        "margin": line(series["margin_ratio"]),
        "liquidations": points(bars, series["equity"][bars]),
        "measures": [[name, label, as_text(_MEASURES[name], walk.measures[name])] for name, label in SHOWN.items()],
    }


def line(values: Floats) -> dict[str, bytes]:
    rows = keep(values, most=POINTS)
    return points(rows, values[rows])


def points(bars: npt.NDArray[np.integer[Any]], values: Floats) -> dict[str, bytes]:
    """Little-endian, whatever the machine: bars as 32-bit integers, values as 32-bit floats."""
    return {"bars": bars.astype("<u4").tobytes(), "values": values.astype("<f4").tobytes()}
