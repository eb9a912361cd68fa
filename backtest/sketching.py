"""The product behind a sketch of returns, row by row: the same bits whichever rows lie together, on one thread.

A BLAS would do it too, but with threads of its own beside those of a sweep, and with sums that hang on the shape.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from backtest.jit import jit_alone

Floats = npt.NDArray[np.float64]


@jit_alone
def products(rows: Floats, columns: Floats) -> Floats:
    """rows (m, d) times columns (d, w)."""
    out = np.zeros((rows.shape[0], columns.shape[1]))
    for row in range(rows.shape[0]):
        for day in range(rows.shape[1]):
            value = rows[row, day]
            for column in range(columns.shape[1]):
                out[row, column] += value * columns[day, column]
    return out
