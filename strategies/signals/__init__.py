"""Signals of leverage: how it builds up, who is crowded, what is being forced, what would break.

    from strategies.signals import all_features, compute
    from strategies.signals.buildup import oi_build

    compute("funding_z", market, hours="14d")       # by name, from a market
    oi_build(open_interest, window)                 # from arrays, in bars

    edge, rolling       what goes in and comes out; trailing windows
    buildup             open interest against its own past, volume, market cap; quadrants
    unexpected, phase   what an autoregression did not foresee; the phase of the leverage cycle
    funding, skew       settlements; premium, basis, ratios, takers
    venues              several venues, weighted by open interest, and their disagreement
    flow                liquidations, cascades, Hawkes intensity, price against volume, stop runs
    fragility           the liquidation map: what is near, and whether the book could take it
    volatility          realised, by five estimators; `breakers`: thresholds with a memory
    hawkes, hazard, garch   with a fit: branching and its residual test, probability of a cascade, volatility ahead
    registry            every signal by name: `compute`, `all_features`

docs/signals.md lists them, with what is known of their worth. The rules for what is not known are in `edge`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names, for type checkers and editors
    from strategies.signals.registry import SIGNALS as SIGNALS
    from strategies.signals.registry import Signal as Signal
    from strategies.signals.registry import all_features as all_features
    from strategies.signals.registry import compute as compute
    from strategies.signals.registry import missing as missing
    from strategies.signals.registry import signal as signal
    from strategies.signals.rolling import zscore as zscore

_HOME: dict[str, str] = {  # public name -> the module it lives in
    "SIGNALS": "registry",
    "Signal": "registry",
    "all_features": "registry",
    "compute": "registry",
    "missing": "registry",
    "signal": "registry",
    "zscore": "rolling",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
