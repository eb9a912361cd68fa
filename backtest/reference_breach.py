"""Where a position meets its maintenance, in the reference engine.

`first_breach` finds the mark at which one leg does, `first_joint_breach` the place on the way from the opens to the
extremes at which several legs that share a wallet do. Maintenance is made of pieces, one a tier: within a piece the
surplus of a single leg is a straight line in the size of the contract; where that of several legs ends is looked for in
small steps, and then by halving. Both searches go from where the position is, piece by piece.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise

from backtest.prepare import INVERSE
from backtest.reference_parts import EDGE, Leg, Tiers

NEAR_ZERO = 1e-9  # a level this close to zero, relative to the mark, is none
AFTER = 1e-13  # this far behind a boundary, the next tier holds


def first_breach(leg: Leg, cash: float, mark: float, tiers: Tiers) -> float | None:
    """The mark at which `cash` + unrealised profit meets maintenance, going the bad way from `mark`; None: nowhere.

    With the size n of the contract, profit is q (s n - v_entry), s = 1 for linear and -1 for inverse, and so in each
    tier the surplus over maintenance is a straight line in N = |q| n.
    """
    held = abs(leg.quantity)
    s = -1.0 if leg.kind == INVERSE else 1.0
    slope = math.copysign(s, s * leg.quantity)  # of profit, in N
    fixed = cash - leg.quantity * leg.v_entry
    here = held * leg.size(mark)
    start = tiers.index(here)

    def surplus(notional: float, tier: int) -> float:
        rate, deduction = tiers.line(tier)
        return fixed + slope * notional - (notional * rate - deduction)

    if surplus(here, start) <= 0.0:
        return mark
    pieces = _falling(tiers, start, here) if slope > 0.0 else _rising(tiers, start, here)
    for tier, near, far in pieces:
        if tier != start and surplus(near, tier) <= 0.0:  # maintenance jumps at the boundary
            return _level(leg, near / held, mark)
        rate, deduction = tiers.line(tier)
        if far == math.inf or surplus(far, tier) <= 0.0:
            if slope == rate:
                return None
            return _level(leg, (fixed + deduction) / (rate - slope) / held, mark)
    return None


def _falling(tiers: Tiers, start: int, here: float) -> Iterable[tuple[int, float, float]]:
    for tier in range(start, -1, -1):
        row = tiers.rows[tier]
        yield tier, min(here, row.cap) if tier < start else here, row.floor if tier else 0.0


def _rising(tiers: Tiers, start: int, here: float) -> Iterable[tuple[int, float, float]]:
    last = len(tiers.rows) - 1
    for tier in range(start, last + 1):
        row = tiers.rows[tier]
        near = here if tier == start else max(here, row.floor)
        yield tier, near, math.inf if tier == last else max(near, row.cap)


def _level(leg: Leg, size: float, mark: float) -> float | None:
    """The price of a size, where it is one that prices can reach."""
    ratio = size / leg.size(mark)
    if not NEAR_ZERO < ratio < 1.0 / NEAR_ZERO:
        return None
    return 1.0 / size if leg.kind == INVERSE else size


def first_joint_breach(
    legs: Sequence[tuple[Leg, Tiers]],
    spot: Sequence[Leg],
    cash: float,
    weight: float,
    ways: Sequence[tuple[float, float]],
    since: float,
) -> float:
    """The first place w in [since, 1] at which the legs' account is breached; 1 where none is found before.

    `ways`: for each symbol where its mark starts and ends; at w it is start + w (end - start).
    """

    def at(leg: Leg, w: float) -> float:
        start, end = ways[leg.symbol]
        return start + w * (end - start)

    def pieces(w: float) -> list[tuple[float, float]]:
        """The tiers that hold at a place, as lines."""
        return [tiers.line(tiers.index(leg.notional(at(leg, w)))) for leg, tiers in legs]

    def surplus(w: float, lines: Sequence[tuple[float, float]]) -> float:
        total = cash + weight * sum(leg.quantity * at(leg, w) for leg in spot)
        for (leg, _), (rate, deduction) in zip(legs, lines, strict=True):
            mark = at(leg, w)
            total += leg.unrealised(mark) - (leg.notional(mark) * rate - deduction)
        return total

    if surplus(since, pieces(since)) <= 0.0:
        return since
    edges = sorted({since, 1.0, *(w for leg, tiers in legs for w in _crossings(leg, tiers, ways[leg.symbol], since))})
    for near, far in pairwise(edges):
        found = _first_below(near, far, partial(surplus, lines=pieces(0.5 * (near + far))))
        if found is not None:
            return found
    return 1.0


def _crossings(leg: Leg, tiers: Tiers, way: tuple[float, float], since: float) -> Iterable[float]:
    """Where on its way a leg's notional meets a boundary of its tiers."""
    start, end = way
    for row in tiers.rows[:-1]:
        edge = row.cap * (1.0 + EDGE) / abs(leg.quantity)
        price = 1.0 / edge if leg.kind == INVERSE else edge
        if start != end and since < (w := (price - start) / (end - start)) < 1.0:
            yield w


def _first_below(near: float, far: float, surplus: Callable[[float], float], steps: int = 16) -> float | None:
    """The first place from near to far where the surplus is at or below 0: small steps, then halving."""
    if surplus(near) <= 0.0:
        return near + AFTER * (far - near)
    good = near
    for step in range(1, steps + 1):
        bad = far if step == steps else near + (far - near) * step / steps
        if surplus(bad) <= 0.0:
            while good < (middle := 0.5 * (good + bad)) < bad:
                good, bad = (good, middle) if surplus(middle) <= 0.0 else (middle, bad)
            return bad
        good = bad
    return None
