"""What is left of a run when the world is a little worse, and what luck alone would have made in the same market.

    sensitivity     the same run again at twice the fees, at twice and four times the slippage, and one bar later
    random_entry    the same positions, held as long and sized alike, entered at random times

Both simulate in full, by the same engine as the run itself. What they run is chosen by nobody, so it is noted in no
register of trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest import metrics
from backtest.costs import Costs
from backtest.inference.given import Floats, whole
from backtest.prepare import INVERSE
from data.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from backtest.account import Account
    from backtest.result import Result
    from backtest.strategy import Strategy
    from backtest.venue import Venue
    from data.market import Market

HIGHEST_FEE = 0.0999
HELD = 128 << 20  # bytes of targets of random entries at a time


@dataclass(frozen=True, eq=False)
class Rerun:
    """A run under other terms: what was changed, and `backtest.metrics.MEASURES` of it by name."""

    name: str
    measures: Mapping[str, float] = field(repr=False)

    @property
    def sharpe(self) -> float:
        return self.measures["sharpe"]

    @property
    def total_return(self) -> float:
        return self.measures["total_return"]

    def __repr__(self) -> str:
        return f"Rerun({self.name}: return {self.total_return:+.2%}, Sharpe {self.sharpe:.2f})"


def sensitivity(
    market: Market,
    strategy: Strategy | type[Strategy] | None = None,
    *,
    exposure: Any = None,
    venue: Venue | str | None = None,
    account: Account | None = None,
    costs: Costs | None = None,
    **more: Any,
) -> tuple[Rerun, ...]:
    """As it was, fees x2, slippage x2, slippage x4, one bar later; arguments as of `backtest.simulate`.

    Fees: those of orders, maker and taker; a rebate is taken away, not doubled. Slippage: half spread and impact, of
    recorded depth too (`Costs.times`); with `Costs.none()` there is none to multiply. One bar later: every order is
    due a bar after it was.
    """
    from backtest.engine import simulate
    from backtest.terms import terms_of

    terms = terms_of(market, venue, account, costs)
    paid = terms.costs
    dearer = replace(
        paid,
        maker=_doubled(terms.venue.fees.maker if paid.maker is None else paid.maker),
        taker=_doubled(terms.venue.fees.taker if paid.taker is None else paid.taker),
    )
    later = replace(terms.account, delay=terms.account.delay + 1)
    worlds: list[tuple[str, dict[str, Any]]] = [
        ("as it was", {}),
        ("fees x2", {"costs": dearer}),
        ("slippage x2", {"costs": replace(paid, times=2.0 * paid.times)}),
        ("slippage x4", {"costs": replace(paid, times=4.0 * paid.times)}),
        ("one bar later", {"account": later}),
    ]
    found = []
    market = market.registered("")
    for name, changed in worlds:
        settings: dict[str, Any] = {"venue": terms.venue, "account": terms.account, "costs": paid, **more, **changed}
        found.append(Rerun(name, simulate(market, strategy, exposure=exposure, progress=False, **settings).measures))
    return tuple(found)


def _doubled(fee: float) -> float:
    return min(2.0 * fee, HIGHEST_FEE) if fee > 0.0 else 0.0


# --- random entries --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RandomEntry:
    """The run's measure beside those of random entries.

    value       of the same targets, simulated as the random ones are
    random      one a draw
    p           (1 + draws at least as good) / (1 + draws): the chance of doing as well by luck
    """

    measure: str
    value: float
    random: Floats
    p: float
    spells: int

    @property
    def median(self) -> float:
        """NaN: no draw has a number."""
        known = self.random[~np.isnan(self.random)]
        return float(np.median(known)) if len(known) else math.nan


def targets_of(result: Result, market: Market) -> Floats:
    """A run's positions as targets (bars, symbols): of each position, from entry to exit, its exposure at the entry.

    A target decided at the close of bar i - 1 gives a position at the close of bar i, so targets lie one bar before
    the positions. What a strategy added or took off on the way is left out.
    """
    position = np.nan_to_num(result.run.leg_series["position"])
    if list(result.symbols) != list(market.symbols) or len(position) != len(market):
        raise BadInput("the result is of another market: give the one that it was simulated on")
    close = np.asarray(market.mark_close, dtype=np.float64).reshape(position.shape)
    price = np.where(result.kinds == INVERSE, 1.0 / close, close)
    equity = result.run.series["equity"][:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        held = np.where(equity > 0.0, position * price / equity, 0.0)
    out = np.zeros_like(position)
    for symbol in range(position.shape[1]):
        for first, beyond in spells_of(position[:, symbol]):
            size = held[first, symbol]
            out[max(first - 1, 0) : max(beyond - 1, 0), symbol] = size if np.isfinite(size) else 0.0
    return out


def spells_of(values: Floats) -> list[tuple[int, int]]:
    """(first, beyond the last) of each run of one sign that is not zero: a reversal ends one and begins the next."""
    sign = np.sign(values)
    edges = np.flatnonzero(np.diff(sign)) + 1
    firsts, beyond = np.append(0, edges), np.append(edges, len(values))
    return [(int(a), int(b)) for a, b in zip(firsts, beyond, strict=True) if b > a and sign[a] != 0.0]


def random_targets(targets: npt.ArrayLike, seed: int) -> Floats:
    """The same spells in a random order at random places: each as long and as large as it was, none overlapping.

    Symbols are moved independently. As many flat bars lie before, between and after them as before, shared out by
    chance, each way of sharing as probable as any other.
    """
    given = np.asarray(targets, dtype=np.float64)
    wide = given[:, None] if given.ndim == 1 else given
    rng = np.random.default_rng(whole("seed", seed, 0))
    out = np.zeros_like(wide)
    for symbol in range(wide.shape[1]):
        column = wide[:, symbol]
        spells = spells_of(column)
        flat = len(column) - sum(b - a for a, b in spells)
        cuts = np.sort(rng.choice(flat + len(spells), len(spells), replace=False)) - np.arange(len(spells))
        at, used = 0, 0
        for number, gap in zip(rng.permutation(len(spells)), cuts, strict=True):
            first, beyond = spells[number]
            at += int(gap) - used
            used = int(gap)
            out[at : at + beyond - first, symbol] = column[first:beyond]
            at += beyond - first
    return out[:, 0] if given.ndim == 1 else out


def random_entry(
    market: Market,
    targets: npt.ArrayLike,
    *,
    draws: int = 200,
    seed: int = 0,
    measure: str = "sharpe",
    **settings: Any,
) -> RandomEntry:
    """How a run compares with the same holding times at random moments of the same market.

    `targets`: exposure a bar (and symbol), of your own or of a result (`targets_of`); `settings` as of
    `backtest.simulate`: venue, account, costs. A random run whose measure is NaN counts as no better; NaN p: the run's
    own measure is NaN, or it never traded.
    """
    from backtest.batch import Batch

    better = {m.name: m.better for m in metrics.MEASURES}
    if measure not in better:
        raise BadInput(f"measure={measure!r}: {did_you_mean(measure, metrics.NAMES)}")
    if better[measure] == 0:
        raise BadInput(f"measure={measure!r}: more of it is neither better nor worse; choose another, such as sharpe")
    given = np.asarray(targets, dtype=np.float64)
    wide = given[:, None] if given.ndim == 1 else given
    if wide.ndim != 2 or wide.shape != (len(market), len(market.symbols)) or not np.isfinite(wide).all():
        raise BadInput(
            f"targets: give a finite number for each of {len(market):,} bars and {len(market.symbols)} symbols"
        )
    spells = sum(len(spells_of(column)) for column in wide.T)
    whole("draws", draws, 1)
    batch = Batch(market, **settings)
    column = metrics.NAMES.index(measure)
    value = float(batch.follow([wide])[0, column])
    seeds = np.random.SeedSequence(whole("seed", seed, 0)).generate_state(draws) if spells else ()
    at_once = max(1, HELD // wide.nbytes)
    found = [
        batch.follow([random_targets(wide, int(one)) for one in seeds[first : first + at_once]])[:, column]
        for first in range(0, len(seeds), at_once)
    ]
    random = np.concatenate(found) if spells else np.full(draws, math.nan)
    sign = better[measure]
    as_good = np.count_nonzero(sign * random >= sign * value)
    p = math.nan if math.isnan(value) or not spells else (1.0 + float(as_good)) / (1.0 + draws)
    return RandomEntry(measure, value, random, p, spells)
