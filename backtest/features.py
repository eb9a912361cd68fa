"""What a strategy says about each bar: its features, asked for, checked, and tested for looking ahead.

arrays, used = features_of(strategy, market.features_view())     # `used`: the parameters it read on the way
orders = reserved_of(strategy, arrays)                           # stops and limits: numbers, or arrays
lookahead(strategy, market)                                      # [] is what one wants to see
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backtest.given import stamps
from backtest.needs import check as check_needs
from backtest.strategy import BARS, RESERVED, STOPS, Strategy, tracked
from data.errors import BadInput

if TYPE_CHECKING:
    from data.market import Market

Floats = npt.NDArray[np.float64]


def features_of(strategy: Strategy, market: Market) -> tuple[dict[str, Floats], frozenset[str]]:
    """The features as float64 arrays, (n,) or (n, k), and the names of the parameters that they were made from.

    Strategies of one class that agree in those parameters have the same features on the same market.
    """
    check_needs(strategy, market)
    copy, reads = tracked(strategy)
    given = copy.features(market)
    owner = f"{type(strategy).__name__}.features"
    if not isinstance(given, Mapping):
        raise BadInput(f'{owner} returned {type(given).__name__}: return a dict, such as {{"z": z}}, or {{}} for none')
    return {_name(owner, name): _array(owner, name, value, market) for name, value in given.items()}, frozenset(reads)


def _name(owner: str, name: object) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise BadInput(f"{owner}: {name!r} cannot be the name of a feature: decide names it, so write it as a variable")
    return name


def _array(owner: str, name: str, value: Any, market: Market) -> Floats:
    n, k = len(market), len(market.symbols)
    try:
        found = np.asarray(value)
    except ValueError:  # rows of different lengths
        raise BadInput(f"{owner}: {name} is no array of numbers: a feature has a value for each bar") from None
    index = getattr(value, "index", None)
    if hasattr(index, "tz") and not _is_of(market, index):
        raise BadInput(f"{owner}: {name} has another index than the market's bars: reindex it to market.ts")
    if found.dtype.kind not in "fiub":
        found = _as_numbers(owner, name, found)
    if found.ndim == 0:
        raise BadInput(f"{owner}: {name} is one number ({found}): a feature has a value for each bar")
    if len(found) != n:
        raise BadInput(f"{owner}: {name} has {len(found):,} values, the market {n:,} bars")
    if found.ndim > 2 or (found.ndim == 2 and found.shape[1] != k):
        shapes = f"({n},)" if k == 1 else f"({n},) or ({n}, {k})"
        raise BadInput(f"{owner}: {name} is of shape {found.shape}: a feature is {shapes}")
    array = np.ascontiguousarray(found.reshape(n) if k == 1 else found, dtype=np.float64).view()
    array.setflags(write=False)  # of the view: the array may be the user's own
    return array


def _is_of(market: Market, index: Any) -> bool:
    """Whether times are those of the bars, in their order."""
    return len(index) != len(market) or bool(np.array_equal(stamps(index), market.ts))


def _as_numbers(owner: str, name: str, found: npt.NDArray[Any]) -> Floats:
    """Arrays of objects, such as a frame's column of numbers and None."""
    try:
        if found.dtype.kind == "O":
            return found.astype(np.float64)
    except (TypeError, ValueError):
        pass
    raise BadInput(f"{owner}: {name} holds {found.dtype}, not numbers")


# ---- stops, limits, delay ------------------------------------------------------------------------


def reserved_of(strategy: Strategy, features: Mapping[str, Floats]) -> dict[str, float | Floats]:
    """The reserved fields that a strategy has: a number, or an array of one value a bar (and symbol).

    Stops of 0, numbers and values alike, are NaN: none.
    """
    owner, found = type(strategy).__name__, dict[str, float | Floats]()
    for name in RESERVED:
        declared = name in strategy.declared()
        if declared and name in features:
            raise BadInput(f"{owner}: {name} is a parameter and a feature: keep one of them")
        if declared:
            found[name] = float(getattr(strategy, name))
        elif name in features:
            _check_reserved(f"{owner}.features: {name}", name, features[name])
            found[name] = features[name]
        if name in found and name in STOPS:
            found[name] = _none_at_zero(found[name])
    return found


def _none_at_zero(value: float | Floats) -> float | Floats:
    if isinstance(value, float):
        return value or np.nan
    return np.where(value == 0.0, np.nan, value)


def _check_reserved(owner: str, name: str, array: Floats) -> None:
    known = array[~np.isnan(array)]
    if name in BARS and not np.all((known >= 0) & (known == np.floor(known)) & np.isfinite(known)):
        raise BadInput(f"{owner} is a number of bars: whole, 0 or more, or NaN for none")
    if name in STOPS and np.any(known < 0):
        raise BadInput(f"{owner} is a fraction of the entry price: 0 or more, or NaN for none")


# ---- looking ahead -------------------------------------------------------------------------------


class Leak(NamedTuple):
    """A feature that would have been another one had the market ended earlier, and the first bar where."""

    feature: str
    bar: int


def lookahead(
    strategy: Strategy, market: Market, cuts: Iterable[int] | None = None, *, tolerance: float = 1e-9
) -> list[Leak]:
    """Features that change when the future is cut off: `features(market[:t])` is not `features(market)[:t]`.

    `cuts`: the bars t to cut at; none given: nine of them, spread so that they fall inside hours, days and weeks.
    `tolerance` is relative: sums over another length may round differently.
    """
    whole, _ = features_of(strategy, market.features_view())
    first: dict[str, int] = {}
    for cut in _cuts(len(market)) if cuts is None else sorted(set(cuts)):
        if not 0 < cut < len(market):
            raise BadInput(f"a cut at bar {cut} leaves nothing to compare: write 1 to {len(market) - 1}")
        part, _ = features_of(strategy, market[:cut].features_view())
        for name in whole.keys() | part.keys():
            bar = _first_difference(whole.get(name), part.get(name), cut, tolerance)
            if bar is not None:
                first[name] = min(bar, first.get(name, bar))
    return sorted(Leak(name, bar) for name, bar in first.items())


def _cuts(n: int) -> list[int]:
    """Bars that share no rhythm: fractions of the golden ratio, and all bars but the last."""
    golden = (5**0.5 - 1) / 2
    spread = {int(n * (0.2 + 0.8 * (j * golden % 1.0))) for j in range(1, 9)}
    return sorted(t for t in spread | {n - 1} if 0 < t < n)


def _first_difference(whole: Floats | None, part: Floats | None, cut: int, tolerance: float) -> int | None:
    if whole is None or part is None:  # a feature that is only there for some markets
        return 0
    a, b = whole[:cut], part
    with np.errstate(invalid="ignore", over="ignore"):
        scale = np.maximum(np.abs(a), np.abs(b))
        same = (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= tolerance * scale)
    rows = same.all(axis=1) if same.ndim == 2 else same
    return None if rows.all() else int(np.argmin(rows))
