"""One strategy whose parameters change with time: what a walk-forward trades, with positions carried over.

    one = stitched([(0, 500, Fade(entry_z=2.0)), (500, 900, Fade(entry_z=2.5)), (900, 1200, None)])

Its features are those of each fold's own parameters, in that fold's bars; parameters that `decide` names become
features too, so that the same compiled rule sees other numbers from the first bar of a fold on, whatever it holds.
In a fold without a strategy it goes flat and stays so.

Each fold's features are computed from bars up to that fold's end and no further, so that not even features that look
ahead could see beyond it.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.features import features_of, reserved_of
from backtest.strategy import RESERVED, STOPS, Strategy
from backtest.terms import check_alone
from backtest.written import function_of
from data.errors import BadInput

if TYPE_CHECKING:
    from data.market import Market

Floats = npt.NDArray[np.float64]
Piece = tuple[int, int, Strategy | None]  # bars [first, stop) of the market, and what trades in them

IDLE = "no_fold"
TEXT = """
def decide({arguments}):
    if {idle} > 0.0:
        return 0.0
    return of_the_fold({given})
"""


def stitched(pieces: Sequence[Piece]) -> Strategy:
    """Pieces in order of time, of one class, at least one with a strategy."""
    classes = {type(one) for _, _, one in pieces if one is not None}
    if len(classes) != 1:
        raise BadInput("nothing to stitch: no fold has a strategy" if not classes else "folds of several strategies")
    if any(a[1] > b[0] for a, b in pairwise(pieces)):
        raise BadInput("folds that overlap cannot be stitched: move on by the length of the test window")
    cls = classes.pop()
    check_alone(cls, "stitched")
    name = f"{cls.__name__}Forward"
    taken = set(inspect.signature(cls.decide).parameters)

    def features(self: Any, market: Market) -> dict[str, Any]:
        return _features(market, pieces, taken)

    body = {
        "__doc__": f"{cls.__name__} with the parameters of each fold.",
        "__module__": __name__,
        "features": features,
        "decide": staticmethod(_decide(cls, list(inspect.signature(cls.decide).parameters))),
    }
    make: Any = type(Strategy)
    made: Strategy = make(name, (Strategy,), body)()
    return made


def _decide(cls: type[Strategy], given: list[str]) -> Any:
    text = TEXT.format(arguments=", ".join([*given, IDLE]), given=", ".join(given), idle=IDLE).lstrip()
    return function_of(text, "decide", __name__, of_the_fold=cls.decide)


def _features(market: Market, pieces: Sequence[Piece], taken: set[str]) -> dict[str, Floats]:
    """All of them over the whole market; outside of the pieces 0, and idle."""
    several = len(market.symbols) > 1
    shape = (len(market), len(market.symbols)) if several else (len(market),)
    out: dict[str, Floats] = {}
    idle = np.ones(len(market))
    for first, stop, one in pieces:
        if one is None:
            continue
        seen = market[:stop].features_view()
        arrays, _ = features_of(one, seen)
        values: dict[str, Any] = {
            name: value for name, value in one.parameters.items() if name in taken and not isinstance(value, str)
        }
        values |= {name: array for name, array in arrays.items() if name in taken}
        values |= reserved_of(one, arrays)
        idle[first:stop] = 0.0
        for name, value in values.items():
            none = 0.0 if name in STOPS or name not in RESERVED else np.nan
            column = out.setdefault(name, np.full(shape, none))
            part = np.asarray(value, dtype=np.float64)
            part = part if part.ndim == 0 else part[first:stop]
            column[first:stop] = part[:, None] if part.ndim == 1 and several else part
    for name in (n for n in out if n in STOPS):
        out[name] = np.nan_to_num(out[name], nan=0.0)  # 0 is none, for the engine and for a `decide` that names it
    return out | {IDLE: idle}
