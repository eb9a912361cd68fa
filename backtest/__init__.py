"""Simulation of perpetual futures: arrays in, results out.

    from backtest import Account, simulate

    result = simulate(market, exposure=1.5, account=Account(leverage=3))

    backtest.engine     simulate one run, measure many
    backtest.strategy   how an idea is written down
    backtest.cli        the `unwind` command, one file a verb: the only place where store, engine and strategy meet
    backtest.*          venues, margin, costs, the bar step, results and measures: they take arrays

Public names are loaded when they are first used, so that importing this package costs nothing. `backtest.venue` is the
module, whether or not anything has loaded it: its function `venue` is not a name of this package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names, for type checkers and editors
    from backtest.account import Account as Account
    from backtest.costs import Costs as Costs
    from backtest.engine import measure as measure
    from backtest.engine import simulate as simulate
    from backtest.result import Result as Result
    from backtest.strategy import HOLD as HOLD
    from backtest.strategy import Strategy as Strategy
    from backtest.venue import Venue as Venue

_HOME: dict[str, str] = {  # public name -> the module it lives in
    "HOLD": "backtest.strategy",
    "Account": "backtest.account",
    "Costs": "backtest.costs",
    "Result": "backtest.result",
    "Strategy": "backtest.strategy",
    "Venue": "backtest.venue",
    "measure": "backtest.engine",
    "simulate": "backtest.engine",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
