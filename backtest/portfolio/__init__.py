"""`Result` as a `vectorbt.Portfolio`: records, statistics and pictures of runs with margin. Only importer of vectorbt.

    result.portfolio                                   # one run; several symbols are one group on one collateral
    portfolio_of([one, other], names=["1x", "3x"])     # many runs beside each other
    portfolio_of_sweep(found, 5)                       # the best sets of a sweep, run again in full

`rows` turns the rows of a run into records (plain numpy); `records` shows them; `perp` is the portfolio; `ratios`,
`stats` and `figures` are what it says and draws; `making` puts results together. All of it loads when it is asked for:
`import vectorbt` takes seconds.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from data.errors import NotFound

if TYPE_CHECKING:
    from backtest.portfolio.making import portfolio_of as portfolio_of
    from backtest.portfolio.making import portfolio_of_sweep as portfolio_of_sweep
    from backtest.portfolio.perp import PerpPortfolio as PerpPortfolio

__all__ = ["PerpPortfolio", "portfolio_of", "portfolio_of_sweep"]

_HOMES = {"PerpPortfolio": "perp", "portfolio_of": "making", "portfolio_of_sweep": "making"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("vectorbt") is None:
        raise NotFound("a portfolio needs vectorbt: pip install 'unwind[research]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what vectorbt imports
        home = import_module(f"{__name__}.{_HOMES[name]}")
    return getattr(home, name)
