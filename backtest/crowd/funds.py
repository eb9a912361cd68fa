"""Value funds that borrow: the model of Thurner, Farmer and Geanakoplos, and what its returns look like.

Stefan Thurner, J. Doyne Farmer, John Geanakoplos: "Leverage causes fat tails and clustered volatility", Quantitative
Finance 12 (2012) 695-707, arXiv:0908.1555. One asset of `supply` shares, worth `value`:

1. Noise traders spend xi(t): log xi(t) = rho log xi(t-1) + sigma chi(t) + (1 - rho) log(value x supply). Alone, they
   make a price whose log returns are normal.
2. A fund sees the mispricing m = value - price. It holds min(beta m, lambda_max) x wealth in cash terms, and nothing
   where m <= 0. Wealth is taken at the clearing price: a fund at its limit sells when the price falls.
3. The price is where noise traders and funds together hold all shares.
4. Investors look at an average of returns, perf' = (1 - a) perf + a r with r = D(t-1) (p(t) - p(t-1)) / W(t-1), and
   move b (perf - r_b) W into the fund, or out of it, at most everything.
5. At a tenth of its first wealth a fund is closed; after 100 steps a new one of the same kind begins.

Loans cost nothing. Where the source leaves something open, docs/leverage_experiment.md says what is done here.

    run = simulate_funds(FundSettings(leverage_limit=10.0), steps=50_000, seed=1).after(5_000)
    return_statistics(run.returns, run.underpriced).kurtosis
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.crowd.kernel.value_funds import Funds, Market, Record, walk
from backtest.given import is_number, is_whole
from data.errors import BadInput

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

TAIL = 0.01  # the part of returns that the tail index looks at
FEWEST = 10  # returns that are a tail


@dataclass(frozen=True)
class FundSettings:
    """The numbers of the model; all but the limit, which the experiment varies, are the published ones.

    leverage_limit   lambda_max: most that a fund holds, as a multiple of its wealth; 1: no borrowing
    aggressiveness   beta of each fund; () is a market of noise traders alone
    start_wealth     of every fund
    ruin             part of the start wealth at which a fund is closed
    time_out         steps until a new fund takes the place of a closed one
    memory           a: weight of the last return in the average that investors look at
    sensitivity      b: part of the wealth that investors move per unit of return above the benchmark
    benchmark        r_b: return a step that investors compare with
    value, supply    V and N: worth of a share, and number of shares
    persistence      rho of the noise traders' log spending, a step
    noise_sigma      its shock, a standard deviation a step
    """

    leverage_limit: float = 10.0
    aggressiveness: tuple[float, ...] = (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0)
    start_wealth: float = 2.0
    ruin: float = 0.1
    time_out: int = 100
    memory: float = 0.1
    sensitivity: float = 0.15
    benchmark: float = 0.005
    value: float = 1.0
    supply: float = 1000.0
    persistence: float = 0.99
    noise_sigma: float = 0.035

    def __post_init__(self) -> None:
        for name in ("leverage_limit", "start_wealth", "value", "supply"):
            _must(name, getattr(self, name), lambda x: x > 0.0, "a number above 0")
        for beta in self.aggressiveness:
            _must("aggressiveness", beta, lambda x: x > 0.0, "a tuple of numbers above 0, such as (5.0, 10.0)")
        _must("ruin", self.ruin, lambda x: 0.0 <= x < 1.0, "a part of the start wealth, from 0 and below 1")
        _must("memory", self.memory, lambda x: 0.0 < x <= 1.0, "a weight above 0, at most 1")
        _must("sensitivity", self.sensitivity, lambda x: x >= 0.0, "0 or more; 0: investors never move")
        _must("benchmark", self.benchmark, lambda x: abs(x) < 1.0, "a return a step, such as 0.005")
        _must("persistence", self.persistence, lambda x: 0.0 <= x < 1.0, "from 0 and below 1, such as 0.99")
        _must("noise_sigma", self.noise_sigma, lambda x: x >= 0.0, "a standard deviation, 0 or more")
        if not (is_whole(self.time_out) and self.time_out >= 1):
            raise BadInput(f"time_out={self.time_out!r}: write a number of steps, 1 or more")


@dataclass(frozen=True, eq=False)
class FundRun:
    """What happened, by step; wealth, demand, flow and ruined by step and fund. A fund that is out has zeros."""

    settings: FundSettings
    seed: int
    price: Floats
    noise: Floats  # cash that the noise traders spend
    wealth: Floats  # at the clearing price, before investors move money; below zero: the bank's loss
    demand: Floats  # shares held after clearing
    flow: Floats  # cash that investors put in after clearing
    ruined: Flags  # closed after this step's clearing

    @property
    def leverage(self) -> Floats:
        """Shares at the price, as a multiple of wealth; 0 without wealth."""
        held = self.demand * self.price[:, None]
        return np.divide(held, self.wealth, out=np.zeros_like(held), where=self.wealth > 0.0)

    @property
    def returns(self) -> Floats:
        """Log returns, one fewer than prices."""
        return np.diff(np.log(self.price))

    @property
    def underpriced(self) -> Flags:
        """Returns that end below the value, where funds trade."""
        return self.price[1:] < self.settings.value

    def after(self, burn_in: int) -> FundRun:
        """Without the first steps."""
        names = ("price", "noise", "wealth", "demand", "flow", "ruined")
        return replace(self, **{name: getattr(self, name)[burn_in:] for name in names})


@dataclass(frozen=True)
class ReturnStatistics:
    """How fat the tails of returns are, and how long large moves follow large ones."""

    kurtosis: float
    tail_index: float
    clustering_10: float
    clustering_100: float


def simulate_funds(settings: FundSettings, steps: int, seed: int) -> FundRun:
    """The same bits for the same seed: shocks are drawn first, `default_rng(seed).standard_normal(steps)`."""
    for name, number, least in (("steps", steps, 1), ("seed", seed, 0)):
        if not (is_whole(number) and number >= least):
            raise BadInput(f"{name}={number!r}: write a whole number, {least} or more")
    shocks = np.random.default_rng(seed).standard_normal(steps)
    count = len(settings.aggressiveness)
    by_fund = (steps, count)
    record = Record(
        price=np.zeros(steps),
        noise=np.zeros(steps),
        wealth=np.zeros(by_fund),
        demand=np.zeros(by_fund),
        flow=np.zeros(by_fund),
        ruined=np.zeros(by_fund, dtype=np.bool_),
    )
    walk(shocks, _market(settings), _funds(settings), record)
    return FundRun(settings=settings, seed=seed, **record._asdict())


def return_statistics(returns: Floats, where: Flags | None = None) -> ReturnStatistics:
    """Of all returns, or of those chosen; pairs of clustering are then of two chosen ones."""
    chosen = returns if where is None else returns[where]
    return ReturnStatistics(
        kurtosis=kurtosis(chosen),
        tail_index=tail_index(chosen),
        clustering_10=clustering(returns, 10, where),
        clustering_100=clustering(returns, 100, where),
    )


def kurtosis(returns: Floats) -> float:
    """Fourth moment over the squared second, 3 for a normal distribution. NaN: fewer than two, or no spread."""
    off = returns - returns.mean() if len(returns) > 1 else np.zeros(1)
    second = float(np.mean(off**2))
    return float(np.mean(off**4)) / second**2 if second > 0.0 else math.nan


def tail_index(returns: Floats, share: float = TAIL) -> float:
    """Hill's estimate of the exponent of P(|r| > x), from the largest `share` of |r|. Smaller is fatter.

    There is none for a normal distribution: the estimate is then about 9 at 1 %, and grows as the share shrinks.
    NaN: fewer than 10 returns in the tail, or a zero among them.
    """
    size = np.sort(np.abs(returns))[::-1]
    count = int(share * len(size))
    if count < FEWEST or size[count] <= 0.0:
        return math.nan
    return 1.0 / float(np.mean(np.log(size[:count] / size[count])))


def clustering(returns: Floats, lag: int, where: Flags | None = None) -> float:
    """Autocorrelation of |r| at a lag; with `where`, over pairs that are both chosen. NaN: no pair, or no spread."""
    chosen = np.ones(len(returns), dtype=np.bool_) if where is None else where
    pairs = chosen[lag:] & chosen[:-lag]
    if not pairs.any():
        return math.nan
    off = np.abs(returns)
    off = off - off[chosen].mean()
    spread = float(np.mean(off[chosen] ** 2))
    return float(np.mean((off[lag:] * off[:-lag])[pairs])) / spread if spread > 0.0 else math.nan


def _market(settings: FundSettings) -> Market:
    return Market(
        value=float(settings.value),
        supply=float(settings.supply),
        persistence=float(settings.persistence),
        noise_sigma=float(settings.noise_sigma),
        leverage_limit=float(settings.leverage_limit),
        start_wealth=float(settings.start_wealth),
        ruin_wealth=float(settings.ruin * settings.start_wealth),
        time_out=int(settings.time_out),
        memory=float(settings.memory),
        sensitivity=float(settings.sensitivity),
        benchmark=float(settings.benchmark),
    )


def _funds(settings: FundSettings) -> Funds:
    count = len(settings.aggressiveness)
    return Funds(
        aggressiveness=np.array(settings.aggressiveness, dtype=np.float64),
        shares=np.zeros(count),
        cash=np.full(count, float(settings.start_wealth)),
        base=np.full(count, float(settings.start_wealth)),
        performance=np.zeros(count),
        out=np.zeros(count, dtype=np.int64),
    )


def _must(name: str, value: object, holds: Callable[[Any], bool], hint: str) -> None:
    if not (is_number(value) and math.isfinite(value) and holds(value)):  # type: ignore[arg-type]
        raise BadInput(f"{name}={value!r}: write {hint}")
