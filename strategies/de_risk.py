"""De-risk overlay: any strategy, with less exposure while the market is fragile.

    Careful = de_risked(FundingSqueeze)          # a strategy like any other: its parameters, and those of the overlay
    simulate(market, Careful(entry_z=2.5, kept=0.25))

What it does to the strategy that it wraps:

1. Its targets are scaled by `kept` while the market is fragile.
2. What it holds when that begins is cut to `kept` of it, whatever it says.
3. While it lasts, the strategy sees the position that it would have without the overlay, so its own rules go on.
   With `kept` at 0 there is none to see: it sees that it is flat.
4. When the market is calm again the overlay adds nothing: the strategy sees what is left, and its next target is a
   full one.

Fragile: open interest over its own mean reached `crowded` (the median over the symbols that have any), now or within
the last `calm_after`. One number for the account, so that the legs of a hedge are cut alike.

`decide` of the result is written here, as text that calls the wrapped one, and compiled like any other.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from backtest.strategy import HOLD, Ranges, Strategy
from backtest.terms import check_alone
from backtest.written import function_of
from data.errors import BadInput
from strategies.building import Array, bars_of, by_symbol, coins_open, plus
from strategies.managed_trend import ManagedTrend
from strategies.signals.buildup import oi_build
from strategies.signals.rolling import rolling_max

if TYPE_CHECKING:
    from data.market import Market

OWN = ("crowd_window", "crowded_at", "calm_after", "kept")


class _Guarded(Strategy):
    """What the overlay adds to the strategy that it wraps: parameters, and two features."""

    crowd_window: str = "30d"
    crowded_at: float = 1.2  # open interest over its mean
    calm_after: str = "2d"
    kept: float = 0.5  # of the exposure, while fragile

    needs: ClassVar[tuple[str, ...]] = ("open_interest",)
    ranges: ClassVar[Ranges] = {
        "crowd_window": ("14d", "30d"),
        "crowded_at": (1.1, 1.2, 1.3),
        "calm_after": ("12h", "1d", "2d", "4d"),
        "kept": (0.0, 0.25, 0.5),
    }

    @property
    def warmup(self) -> tuple[int | str, ...]:
        inner = super().warmup
        return (*(inner if isinstance(inner, tuple) else (inner,)), plus(self.crowd_window, self.calm_after))

    def features(self, market: Market) -> dict[str, Any]:
        if not 0.0 <= self.kept <= 1.0:
            raise BadInput(f"kept={self.kept:g}: the overlay only cuts: write a part of the exposure, from 0 to 1")
        guard = self._guard(market)
        return {**super().features(market), "guard": guard, "guard_before": _at_last_decision(market, guard)}

    def _guard(self, market: Market) -> Array:
        """Part of the exposure that is allowed: 1, or `kept`."""
        build = by_symbol(market, oi_build(coins_open(market), bars_of(market, self.crowd_window)))
        known = np.isfinite(build).any(axis=1)
        middle = np.full(len(build), np.nan)
        middle[known] = np.nanmedian(build[known], axis=1)
        fragile = np.where(np.isnan(middle), 0.0, middle >= self.crowded_at)
        return np.where(rolling_max(fragile, bars_of(market, self.calm_after)) > 0.0, self.kept, 1.0)


def _at_last_decision(market: Market, guard: Array) -> Array:
    """The guard of the bar in which each symbol was last decided on: the one before, unless that is missing."""
    present = by_symbol(market, market.present).astype(bool)
    rows = np.arange(len(guard))[:, None]
    last = np.maximum.accumulate(np.where(present, rows, -1), axis=0)
    before = np.concatenate((np.full((1, last.shape[1]), -1), last[:-1]))
    found = np.where(before >= 0, guard[before], 1.0)
    return found[:, 0] if market.close.ndim == 1 else found


TEXT = """
def decide({arguments}):
    own_position = position / guard_before if guard_before > 0.0 else position
    own_target = wrapped_decide({given})
    if own_target == HOLD:
        return position * (guard / guard_before) if guard < guard_before else HOLD
    return own_target * guard
"""
NAMES = frozenset({"own_position", "own_target", "guard", "guard_before", "wrapped_decide"})


def de_risked(wrapped: type[Strategy], name: str = "") -> type[Strategy]:
    """The strategy with the overlay around it; the same class gives the same class."""
    return _made(wrapped, name or f"DeRisked{wrapped.__name__}")


@cache
def _made(wrapped: type[Strategy], name: str) -> type[Strategy]:
    check_alone(wrapped, "guarded")
    if issubclass(wrapped, _Guarded):
        raise BadInput(f"{wrapped.__name__} has the overlay already")
    if taken := [one for one in OWN if one in wrapped.declared()]:
        raise BadInput(f"{wrapped.__name__} has parameters that the overlay has too: rename {', '.join(taken)}")
    doc = f"{wrapped.__name__}, with less exposure while the market is fragile.\n\n{inspect.cleandoc(__doc__ or '')}"
    body = {
        "__doc__": doc,
        "__module__": __name__,
        "wrapped": wrapped,
        "needs": tuple(dict.fromkeys([*wrapped.needs, *_Guarded.needs])),
        "decide": staticmethod(_decide(wrapped)),
        "__reduce__": _reduced,
    }
    make: Any = type(Strategy)
    made: type[Strategy] = make(name, (_Guarded, wrapped), body)
    return made


def _decide(wrapped: type[Strategy]) -> Any:
    inner = list(inspect.signature(wrapped.decide).parameters)
    if clash := NAMES & set(inner):
        raise BadInput(f"{wrapped.__name__}.decide takes {', '.join(sorted(clash))}: the overlay needs the name")
    arguments = list(dict.fromkeys([*inner, "position", "guard", "guard_before"]))
    given = ", ".join("own_position" if a == "position" else a for a in inner)
    text = TEXT.format(arguments=", ".join(arguments), given=given).lstrip()
    return function_of(text, "decide", __name__, wrapped_decide=wrapped.decide, HOLD=HOLD)


def _reduced(strategy: Any) -> tuple[Any, ...]:
    """For other processes: the class is made there again."""
    return _remade, (type(strategy).wrapped, type(strategy).__name__, dict(strategy.parameters))


def _remade(wrapped: type[Strategy], name: str, parameters: dict[str, Any]) -> Strategy:
    return de_risked(wrapped, name)(**parameters)


DeRiskedTrend = de_risked(ManagedTrend, "DeRiskedTrend")
