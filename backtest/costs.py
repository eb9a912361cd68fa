"""What taking costs beyond fees: half the spread, and impact.

    Costs.none()          orders fill at the reference price
    Costs.fixed(5)        5 basis points a side, whatever the size
    Costs.impact()        half spread + max(Y sigma (Q / V)^delta, Q / (2 D) x 1 %): the default
    Costs.depth()         half spread + Q / (2 D) x 1 %, with recorded depth only

sigma and V are the volatility and the quote volume of the trailing day, D is what stands within 1 % of the price, on
the thinner side: as recorded, else a share of V. Under stress D and V are thinned and the spread widens.

`backtest.liquidity` works the coefficients out bar by bar, from what was known before. Every number is in
`backtest.calibration`, with its source; `docs/costs.md` explains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from backtest import calibration as cal
from backtest.given import is_number
from backtest.jit import jit
from data.errors import BadInput, did_you_mean

Model = Literal["none", "fixed", "impact", "depth"]
MODELS = ("none", "fixed", "impact", "depth")

BP = 1e-4
WORST = 0.99  # no sale brings less than 1 % of the price


@jit
def cost_of_taking(half_spread: float, a: float, b: float, delta: float, notional: float) -> float:
    """Fraction of the price that an order of `notional` (quote currency) pays to take: at most 0.99."""
    impact = b * notional
    if a > 0.0:
        impact = max(impact, a * (math.sqrt(notional) if delta == 0.5 else notional**delta))
    return min(WORST, half_spread + impact)


@dataclass(frozen=True)
class Stress:
    """How the book thins when the price runs and positions are liquidated.

    sigmas              a move of so many standard deviations halves the depth
    liquidations        how much a liquidated notional as large as the depth thins it
    half_life_minutes   after which half of the thinning is gone
    depth_floor         the least part of normal depth that is left
    volume_floor        the same for the volume of the square-root law
    """

    sigmas: float = cal.STRESS_SIGMAS.value
    liquidations: float = cal.STRESS_LIQUIDATIONS.value
    half_life_minutes: float = cal.STRESS_HALF_LIFE.value
    depth_floor: float = cal.STRESS_DEPTH_FLOOR.value
    volume_floor: float = cal.STRESS_VOLUME_FLOOR.value

    def __post_init__(self) -> None:
        _within("sigmas", self.sigmas, 0.0, math.inf, "a number of standard deviations above 0, such as 8")
        _within("liquidations", self.liquidations, -0.0, math.inf, "a number, 0 or more", closed=True)
        _within("half_life_minutes", self.half_life_minutes, 0.0, math.inf, "minutes above 0, such as 20")
        for name in ("depth_floor", "volume_floor"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise BadInput(f"{name}={getattr(self, name)!r}: write a fraction above 0, at most 1")


@dataclass(frozen=True)
class Costs:
    """Which model, and its numbers. `Costs.impact()` and its sisters are the ways to make one.

    half_spread_bps   of every model but "none"; at least half a tick in "impact" and "depth", where the tick is known
    y, delta          of the square-root law
    depth_share       depth within 1 % as a part of a day's volume, where none is recorded
    stress            None: the book never thins
    unknown_bps       half spread where nothing is known yet, as in the first bars
    times             spread and impact are multiplied by it: 2 asks what is left at twice the slippage
    maker, taker      fees as fractions of notional instead of the venue's; a negative one is a rebate
    """

    model: Model = "impact"
    half_spread_bps: float = cal.HALF_SPREAD.value
    y: float = cal.Y.value
    delta: float = cal.DELTA.value
    depth_share: float = cal.DEPTH_SHARE.value
    stress: Stress | None = field(default_factory=Stress)
    unknown_bps: float = cal.UNKNOWN.value
    times: float = 1.0
    maker: float | None = None
    taker: float | None = None

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise BadInput(f"model={self.model!r}: {did_you_mean(str(self.model), MODELS)}")
        for name in ("half_spread_bps", "unknown_bps"):
            _within(name, getattr(self, name), 0.0, 9_900.0, "basis points from 0 to 9,900, such as 2", closed=True)
        _within("y", self.y, 0.0, math.inf, "the factor of the square-root law, 0 or more", closed=True)
        _within("delta", self.delta, 0.0, 1.0, "an exponent above 0, at most 1, such as 0.5")
        _within("depth_share", self.depth_share, 0.0, math.inf, "a part of a day's volume above 0, such as 0.005")
        _within("times", self.times, 0.0, 1_000.0, "a factor from 0 to 1,000, such as 2", closed=True)
        for name in ("maker", "taker"):
            fee = getattr(self, name)
            if fee is not None and not (is_number(fee) and -0.1 < fee < 0.1):
                raise BadInput(f"{name}={fee!r}: write a fraction of notional, such as 0.0005 for 5 basis points")

    @classmethod
    def none(cls, *, maker: float | None = None, taker: float | None = None) -> Costs:
        """No spread and no impact. Fees are the venue's, or those given."""
        return cls("none", half_spread_bps=0.0, stress=None, maker=maker, taker=taker)

    @classmethod
    def fixed(cls, bps: float, *, maker: float | None = None, taker: float | None = None) -> Costs:
        """`bps` basis points a side, whatever the size."""
        return cls("fixed", half_spread_bps=bps, stress=None, maker=maker, taker=taker)

    @classmethod
    def impact(cls, **numbers: Any) -> Costs:
        """The square-root law or the walk through the book, whichever costs more. Numbers are the fields' names."""
        return cls("impact", **_known(numbers))

    @classmethod
    def depth(cls, **numbers: Any) -> Costs:
        """The walk through the recorded book alone."""
        return cls("depth", **_known(numbers))

    def __str__(self) -> str:
        """One line for reports."""
        if self.model == "none":
            return "none"
        more = f", all times {self.times:g}" * (self.times != 1.0)
        if self.model == "fixed":
            return f"{self.half_spread_bps:g} bp a side{more}"
        walk = "the walk through the depth within 1 %"
        law = f"max({self.y:g} x sigma x (Q / V)^{self.delta:g}, {walk})" if self.model == "impact" else walk
        share = f"; depth where none is recorded: {self.depth_share:.2%} of a day's volume" * (self.model == "impact")
        thin = (
            "never thinned" if self.stress is None else f"thinned in stress to {self.stress.depth_floor:.0%} at worst"
        )
        return f"{self.half_spread_bps:g} bp + {law}{share}; {thin}{more}"


def _known(numbers: dict[str, Any]) -> dict[str, Any]:
    names = [one.name for one in fields(Costs) if one.name != "model"]
    for name in numbers:
        if name not in names:
            raise BadInput(f"costs have no {name!r}: {did_you_mean(name, names)}")
    return numbers


def _within(name: str, value: float, low: float, high: float, hint: str, closed: bool = False) -> None:
    """Above `low` (closed: or equal to it), at most `high`, and finite."""
    if not (is_number(value) and math.isfinite(value) and (value >= low if closed else value > low) and value <= high):
        raise BadInput(f"{name}={value!r}: write {hint}")
