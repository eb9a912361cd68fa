"""The content hash of a market: what it holds, however and wherever the arrays lie."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.market_build import Laid
from data.market_input import FIELDS

_ROWS = 1 << 16


def content_hash(venue: str, laid: Laid) -> str:
    """Every NaN is alike, and a field of nothing but NaN counts as one that is not there.

    `present` needs no place of its own: it is where there is a close.
    """
    digest = hashlib.sha256()
    head = [venue, laid.symbols, laid.grid, sorted(laid.instruments.items())]
    digest.update(json.dumps(head, default=str, sort_keys=True).encode())
    for name in FIELDS:
        if name in laid.fields and not np.isnan(laid.fields[name]).all():
            _add(digest, name, laid.fields[name])
    _add(digest, "mark_source", laid.mark_source)
    for name, rows in (("settlements", laid.settlements), ("tiers", laid.tiers)):
        for column in rows.dtype.names or ():
            _add(digest, f"{name}.{column}", rows[column])
    return digest.hexdigest()


def _add(digest: Any, name: str, array: NDArray[Any]) -> None:
    digest.update(f"{name}{array.shape}".encode())
    for low in range(0, len(array), _ROWS):
        block = array[low : low + _ROWS]
        if block.dtype.kind == "f" and (gone := np.isnan(block)).any():
            block = np.where(gone, np.nan, block)
        digest.update(np.ascontiguousarray(block, dtype=block.dtype.newbyteorder("<")).tobytes())
