"""Simulation of perpetual futures: arrays in, results out.

    backtest.cli    the `unwind` command, one file a verb: the only place where store, engine and
                    strategy meet
    backtest.*      venues, margin, costs, the bar step, results and measures: they take arrays
                    (`data.market`, `data.schema`), open no database and call no exchange

Public names are loaded when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib

_HOME: dict[str, str] = {}  # public name -> the module it lives in

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
