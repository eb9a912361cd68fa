"""Fewer points for the eye only: every statistic is reckoned on all of them.

The span is cut into buckets of equal length and each keeps its lowest and highest point, in their order, so
that no spike is lost.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def keep(values: npt.NDArray[np.float64], most: int = 1600) -> npt.NDArray[np.intp]:
    """Indexes of at most `most` points that draw the same line; missing points are kept as one gap a bucket."""
    n = len(values)
    if n <= most:
        return np.arange(n)
    buckets = (most - 2) // 3
    edges = np.linspace(0, n, buckets + 1).astype(np.intp)
    starts, width = edges[:-1], int(np.diff(edges).max())
    grid = starts[:, None] + np.arange(width)
    inside = grid < edges[1:, None]
    seen = np.where(inside, values[np.minimum(grid, n - 1)], np.nan)
    missing = np.isnan(seen)
    low = starts + np.argmin(np.where(missing, np.inf, seen), axis=1)
    high = starts + np.argmax(np.where(missing, -np.inf, seen), axis=1)
    gap = starts + np.argmax(missing & inside, axis=1)
    has_gap = (missing & inside).any(axis=1)
    chosen = np.concatenate([[0, n - 1], low, high, gap[has_gap]])
    return np.unique(chosen).astype(np.intp)
