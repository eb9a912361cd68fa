"""What may happen, with how much confidence, and what a venue can do about it: many futures of one state.

    odds = futures(Machine(World()), hours=24, runs=400)
    odds.table                          probabilities with confidence intervals
    odds.required_fund(0.01)            the fund that is too small in one of a hundred
    sensitivity(World(), -0.10)         the same shock under other leverage caps, policies, depths, breakers: a frame

Futures differ in all that comes from outside and in what the crowd decides; the same seed gives the same ones, on any
number of threads.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from backtest.crowd.formulas import FundSize, optimal_fund_of_sample
from backtest.crowd.kernel import layout as at
from backtest.crowd.kernel.layout import Floats
from backtest.crowd.machine import Machine
from backtest.crowd.shock import Shock
from backtest.crowd.stress import stress
from backtest.crowd.truth import cascades
from backtest.crowd.world import World
from backtest.given import is_number
from data.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

One = TypeVar("One")
Other = TypeVar("Other")

SIZES = (0.01, 0.025, 0.05, 0.10)  # of the open interest, liquidated in one cascade
CONFIDENCE = 0.95
DEEP = 100.0  # times the crowd's money
Z = 1.959963984540054


class Odds(NamedTuple):
    """A probability with its interval (Wilson)."""

    probability: float
    low: float
    high: float
    hits: int
    runs: int


def wilson(hits: int, runs: int) -> Odds:
    """Right for few hits, too: none in 400 still leaves about one in a hundred.

    >>> [round(x, 4) for x in wilson(0, 400)[:3]]
    [0.0, 0.0, 0.0095]
    """
    if runs < 1:
        raise BadInput("no runs, no probability: take runs=100 or more")
    share = hits / runs
    middle = (share + Z * Z / (2.0 * runs)) / (1.0 + Z * Z / runs)
    half = Z * math.sqrt(share * (1.0 - share) / runs + Z * Z / (4.0 * runs * runs)) / (1.0 + Z * Z / runs)
    return Odds(share, middle - half if hits else 0.0, middle + half if hits < runs else 1.0, hits, runs)


@dataclass(frozen=True)
class Futures:
    """One row a future."""

    hours: float
    largest: Floats  # cascade, part of the open interest
    fall: Floats  # deepest low, simple return
    fund: Floats  # lowest worth at the mark, with what the venue held
    shortfall: Floats  # what the venue's takings lost at worst: the fund that would have paid for it
    adl: Floats
    bad_debt: Floats
    fund_before: float

    def cascade(self, size: float) -> Odds:
        """Of at least `size` of the open interest within the time."""
        return wilson(int((self.largest >= size).sum()), len(self.largest))

    @property
    def exhausted(self) -> Odds:
        """The fund, with what the venue held, was worth nothing."""
        return wilson(int((self.fund <= 0.0).sum()), len(self.fund))

    @property
    def deleveraged(self) -> Odds:
        """Winners were closed."""
        return wilson(int((self.adl > 0.0).sum()), len(self.adl))

    def required_fund(self, risk: float = 0.01) -> FundSize:
        """The fund that is too small in a part `risk` of such times; the interval is by order statistics."""
        return optimal_fund_of_sample(self.shortfall, cost=risk, confidence=CONFIDENCE)

    @property
    def table(self) -> pd.DataFrame:
        import pandas as pd

        rows = [(f"cascade of {size:.1%} of open interest", *self.cascade(size)) for size in SIZES]
        rows += [("fund exhausted", *self.exhausted), ("winners closed", *self.deleveraged)]
        frame = pd.DataFrame(rows, columns=["event", "probability", "low", "high", "hits", "runs"])
        return frame.set_index("event")


def threads_of(threads: int | None) -> int:
    if threads is not None and threads < 1:
        raise BadInput(f"threads={threads!r}: write 1 or more")
    return threads or max(1, min(os.cpu_count() or 1, 16))


def on_threads(one: Callable[[One], Other], given: Iterable[One], threads: int | None) -> list[Other]:
    """In the order given, whatever the number of threads."""
    with ThreadPoolExecutor(threads_of(threads)) as pool:
        return list(pool.map(one, given))


def futures(
    state: Machine | World, hours: float = 24.0, runs: int = 400, *, seed: int = 7, threads: int | None = None
) -> Futures:
    """Many futures of a state, or of a world in which a crowd has gathered."""
    if not (is_number(hours) and hours > 0.0):
        raise BadInput(f"hours={hours!r}: write how far to look, such as 24")
    if not (isinstance(runs, int) and runs >= 1):
        raise BadInput(f"runs={runs!r}: write how many futures, such as 400")
    machine = state if isinstance(state, Machine) else Machine(state, seed=seed)
    count = round(hours * 60.0 / machine.world.step_minutes)

    def one(number: int) -> tuple[float, ...]:
        future = machine.copy(seed=[seed, 17, number])
        start, fund, debt = (float(future.state[k]) for k in (at.LAST, at.INSURANCE, at.BAD_DEBT))
        history = future.run(count=count)
        found = cascades(history)
        worst = min(float(history.column(at.FUND_LOW).min()), fund)
        adl, lost = float(history.column(at.ADL).sum()), float(future.state[at.BAD_DEBT]) - debt
        short = fund - worst if adl == 0.0 and lost == 0.0 else _with_deep_pockets(machine, [seed, 17, number], count)
        return (
            float(found.size.max()) if len(found.size) else 0.0,
            float(history.column(at.T_LOW).min() / start - 1.0),
            worst,
            short,
            adl,
            lost,
        )

    rows = np.array(on_threads(one, range(runs), threads))
    largest, fall, fund, short, adl, debt = rows.T
    return Futures(hours, largest, fall, fund, short, adl, debt, float(machine.state[at.INSURANCE]))


def _with_deep_pockets(machine: Machine, seed: Sequence[int], count: int) -> float:
    """What a fund that never ends would have lost at worst. Until the real one is empty, both futures are the same."""
    future = machine.copy(seed=seed)
    fund = future.state[at.INSURANCE] = DEEP * machine.world.coin.money
    history = future.run(count=count)
    return max(float(fund - history.column(at.FUND_LOW).min()), 0.0)


# --- sensitivity ----------------------------------------------------------------------------------------------------

OUTPUTS = (
    "move", "amplification", "longs liquidated", "shorts liquidated", "liquidated, part of open interest",
    "open interest lost", "R0", "fund after", "ADL", "ADL accounts", "ADL largest share", "bad debt",
    "recovery minutes",
)  # fmt: skip

Change = Callable[[World, Any], World]


def _policy(name: str) -> Change:
    return lambda world, value: replace(world, policy=replace(world.policy, **{name: value}))


def _venue(world: World, value: Any) -> World:
    from backtest.venue import venue

    return replace(world, venue=venue(value, "linear"), tier_changes=())


def _liquidation(world: World, value: Any) -> World:
    """none: the whole position at once; tier, two_tiers, fraction: a part of it first, in the market."""
    policy = replace(world.venue.liquidation, reduction=value)
    return replace(world, venue=replace(world.venue, liquidation=policy))


def _depth(world: World, value: Any) -> World:
    """Times the usual depth; the crowd stays as rich as it is."""
    return replace(world, coin=replace(world.coin, depth=world.coin.depth * value))


CHANGES: Mapping[str, tuple[Change, tuple[Any, ...], str]] = {
    "leverage cap": (_policy("leverage_cap"), (125.0, 50.0, 20.0, 10.0, 5.0), "the crowd has gathered under it"),
    "maintenance": (_policy("maintenance"), (0.5, 1.0, 2.0, 4.0), "times the venue's rates"),
    "liquidation": (_liquidation, ("none", "tier", "fraction"), "what goes first"),
    "venue": (_venue, ("sim", "binance", "bybit", "okx", "hyperliquid", "dydx"), "its own tiers and policy"),
    "adl": (_policy("adl"), ("queue", "pro_rata", "capped_then_size", "min_max"), "whom deleveraging hits"),
    "fund": (_policy("fund"), (0.0, 0.005, 0.01, 0.02), "at the start, of the crowd's money"),
    "depth": (_depth, (0.25, 0.5, 1.0, 2.0), "times the usual"),
    "haircut": (lambda world, value: world, (0.0, 0.02, 0.05, 0.10), "collateral that is gone when the shock comes"),
    "margin breaker": (_policy("breaker_margin"), (math.inf, 2.0, 1.5), "volatility over normal; margins rise by half"),
    "pause breaker": (_policy("breaker_pause"), (math.inf, 3.0, 2.0), "volatility over normal; nobody opens"),
}


def sensitivity(
    world: World | None = None,
    shock: Shock | float = -0.10,
    over: Mapping[str, Sequence[Any]] | Sequence[str] | None = None,
    *,
    seeds: Sequence[int] = (1, 2, 3),
    hours: float = 6.0,
    threads: int | None = None,
) -> pd.DataFrame:
    """The same shock under other rules: one row a value, medians over crowds that have gathered under that rule.

    `over`: names of `CHANGES`, or names with values. Other rules make another crowd: that is part of the answer.
    """
    import pandas as pd

    start, chosen = world or World(), _chosen(over)
    shock = shock if isinstance(shock, Shock) else Shock.instant(shock)
    jobs = [(name, value, seed) for name, values in chosen.items() for value in values for seed in seeds]

    def one(job: tuple[str, Any, int]) -> dict[str, float]:
        name, value, seed = job
        changed = CHANGES[name][0](start, value)
        part = float(value) if name == "haircut" else 0.0
        return stress(changed, shock, seed=seed, hours=hours, haircut=part, noise=seed).summary

    found = on_threads(one, jobs, threads)
    rows = []
    for name, values in chosen.items():
        for value in values:
            some = [s for s, job in zip(found, jobs, strict=True) if job[0] == name and job[1] is value]
            middle = {output: _median([s[output] for s in some]) for output in OUTPUTS}
            rows.append({"rule": name, "value": str(value) if isinstance(value, str) else f"{value:g}", **middle})
    return pd.DataFrame(rows).set_index(["rule", "value"])


def _median(values: list[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return float(np.median(known)) if known else math.nan


def _chosen(over: Mapping[str, Sequence[Any]] | Sequence[str] | None) -> dict[str, Sequence[Any]]:
    names = list(CHANGES) if over is None else list(over)
    for name in names:
        if name not in CHANGES:
            raise BadInput(f"no rule {name!r} to change: {did_you_mean(name, CHANGES)}")
    given = over if isinstance(over, Mapping) else {}
    return {name: tuple(given.get(name, CHANGES[name][1])) for name in names}
