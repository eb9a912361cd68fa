"""Rows of chosen columns, and directions by the names that vectorbt takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import BadInput

Ints = npt.NDArray[np.int64]

DIRECTIONS = ("longonly", "shortonly", "both")


def rows_of(rows: npt.NDArray[np.void], columns: Ints, accounts: Ints | None = None) -> npt.NDArray[np.void]:
    """Rows of some columns, numbered anew. What is an account's stays where all of its legs do."""
    if accounts is not None and "account" in (rows.dtype.names or ()):
        lost = [a for a in set(accounts.tolist()) if not np.isin(np.flatnonzero(accounts == a), columns).all()]
        rows = rows[(rows["account"] == 0) | ~np.isin(accounts[rows["col"]], lost)]
    found = [rows[:0]]
    for place, column in enumerate(columns):
        part = rows[rows["col"] == column].copy()
        part["col"] = place
        found.append(part)
    return np.concatenate(found)


def side_of(direction: Any) -> str:
    """In any case, with or without an underscore, or by number."""
    found = (
        DIRECTIONS[direction] if isinstance(direction, int | np.integer) else str(direction).lower().replace("_", "")
    )
    if found not in DIRECTIONS:
        raise BadInput(f"direction={direction!r}: write 'both', 'longonly' or 'shortonly'")
    return found
