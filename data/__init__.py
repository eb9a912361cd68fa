"""History of perpetual futures: the contract (schema), the store, sources and importers, the market, its quality.

`Store` is a DuckDB file; `Store.market(...)` gives a `Market`, aligned read-only arrays. Names load when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data.market import Market
    from data.store import Store

_LAZY = {"Store": "data.store", "Market": "data.market"}

__all__ = ["Market", "Store"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'data' has no attribute {name!r}")
