"""Many parameter sets of one strategy over one market: made ready once, walked in parts, measured on the way.

    batch = Batch(market, account=Account(leverage=3))
    walked = batch.walk([Fade(entry_z=z) for z in grid])
    walked.table                       # one row a set, columns as in metrics.NAMES

Nothing is kept of a set but what the loops add up: memory is that of the market, of the features of the sets in hand,
and of one part a thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest import metrics, trials
from backtest.account import Account
from backtest.compiled import announce
from backtest.costs import Costs
from backtest.job import Job, Made, explained, following, job_of
from backtest.kernel import layout as at
from backtest.kernel import run
from backtest.prepare import prepare
from backtest.strategy import Strategy
from backtest.terms import check_market, cores, instance, terms_of
from backtest.venue import Venue
from data import clock
from data.errors import BadInput

if TYPE_CHECKING:
    from backtest.decide import Binding
    from backtest.decide.source import Source
    from data.market import Market

Floats = npt.NDArray[np.float64]

HOUR = 3_600_000_000_000
FEATURE_BYTES = 256 << 20  # of features that a job may hold
MOST_AT_A_TIME = 128  # sets that a thread walks together: their states stay in its cache


@dataclass(frozen=True)
class Walked:
    """One row a set, in their order."""

    table: Floats  # columns as metrics.NAMES
    sketches: npt.NDArray[np.float16] | None  # of the daily returns, see backtest.trials; None: nobody asked
    source: str  # hash of what decides


class Batch:
    """A market made ready under its terms. Walk as many sets over it, as often, as you like."""

    def __init__(
        self,
        market: Market,
        *,
        venue: Venue | str | None = None,
        account: Account | None = None,
        costs: Costs | None = None,
        detail: Market | None = None,
        history: Market | None = None,
        sources: dict[Binding, Source] | None = None,
    ) -> None:
        check_market(market, "market")
        announce()
        self.market, self.history, self.detail = market, history, detail
        self.terms = terms_of(market, venue, account, costs)
        self.prepared, _ = prepare(market, self.terms.venue, self.terms.account, self.terms.costs, detail=detail)
        self.days = trials.days_of(market.ts)
        self.made: Made | None = None  # features that the next job need not ask for
        self.sources = {} if sources is None else sources  # texts of `decide` that were found
        self._stages: dict[tuple[int, tuple[int, int]], run.Stage] = {}

    def job(self, sets: Sequence[Strategy], most: int | None = None) -> Job:
        several = len(self.market.symbols) > 1
        made, self.made = self.made, None
        return job_of(
            self.market,
            sets,
            several=several,
            jit=True,
            history=self.history,
            made=made,
            sources=self.sources,
            most=most,
        )

    def jobs(self, sets: Sequence[Strategy]) -> Iterator[Job]:
        """All of them, in as many jobs as keep what is held of features within FEATURE_BYTES.

        Which parameters features are made from may depend on their values, so how many there are is known only when
        they are asked for.
        """
        left = list(sets)
        while left:
            job = self.job(left, FEATURE_BYTES)
            yield job
            left = left[len(job.strategies) :]

    def stage(self, delay: int, books: tuple[int, int] = (0, 0)) -> run.Stage:
        key = delay, books
        if key not in self._stages:
            self._stages[key] = run.stage(self.prepared, self.market.interval / HOUR, *key)
        return self._stages[key]

    def walk(
        self,
        sets: Sequence[Strategy],
        *,
        threads: int | None = None,
        at_a_time: int | None = None,
        sketched: bool = False,
    ) -> Walked:
        """All of them, on so many threads."""
        threads, source = threads or cores(), ""
        done: list[tuple[Floats, Any]] = []
        for job in self.jobs(sets):
            source = job.source
            parts = parts_of(len(job.strategies), threads, at_a_time)
            if threads == 1 or len(parts) == 1:
                done += [self.part(job, part, sketched) for part in parts]
            else:
                with ThreadPoolExecutor(threads) as pool:
                    done += [f.result() for f in self.submit(pool, job, parts, sketched)]
        return joined(done, source)

    def submit(
        self, pool: Executor, job: Job, parts: Sequence[slice], sketched: bool = False
    ) -> list[Future[tuple[Floats, Any]]]:
        self.stage(job.delay, job.books)  # once, and not by several threads
        return [pool.submit(self.part, job, part, sketched) for part in parts]

    def part(self, job: Job, part: slice, sketched: bool = False) -> tuple[Floats, Any]:
        """Measures, and sketches, of some of a job's sets."""
        stage, state = self._walked(job, part)
        table = measured(stage, state, self.market.interval, len(self.prepared.bars))
        made = trials.sketches(self.days, state.daily[:, : len(self.days)], self.prepared.equity) if sketched else None
        return table, made

    def follow(self, targets: Sequence[Floats], threads: int | None = None) -> Floats:
        """Measures of exposures, one row each, as `simulate(exposure=...)` has them; a few are held at a time."""
        if not len(targets):
            return np.empty((0, len(metrics.NAMES)))
        jobs = [following(self.market, one, jit=True, warmup=None) for one in targets]
        alone = [job.sets for job in jobs]
        together = replace(
            jobs[0],
            sets=run.Sets(
                features=np.concatenate([sets.features for sets in alone]),
                columns=np.arange(len(alone), dtype=np.float64)[:, None],
                parameters=np.zeros((len(alone), 0)),
                reserved=np.concatenate([sets.reserved for sets in alone]),
                warmup=np.concatenate([sets.warmup for sets in alone]),
            ),
        )
        self.stage(together.delay, together.books)
        parts = parts_of(len(alone), threads or cores())
        with ThreadPoolExecutor(threads or cores()) as pool:
            return np.concatenate([table for table, _ in pool.map(partial(self.part, together), parts)])

    def daily_returns(self, sets: Sequence[Strategy], threads: int | None = None) -> Floats:
        """(days, sets): what the measures were made from. For hundreds of sets, not for millions."""
        job = self.job(sets)
        self.stage(job.delay, job.books)

        def of(part: slice) -> Floats:
            _, state = self._walked(job, part)
            rows = [metrics.daily_returns(row[: len(self.days)], self.prepared.equity) for row in state.daily]
            return np.array(rows)

        with ThreadPoolExecutor(threads or cores()) as pool:
            return np.concatenate(list(pool.map(of, parts_of(len(sets), threads or cores())))).T

    def _walked(self, job: Job, part: slice) -> tuple[run.Stage, run.State]:
        stage, some = self.stage(job.delay, job.books), job.sets.part(part)
        state = run.begin(stage, some, keep=False)
        try:
            run.walk(stage, some, job.loop, state)
        except run.BadDecision as bad:
            raise explained(bad, self.market, job, part.start) from None
        return stage, state


def parts_of(count: int, threads: int, at_a_time: int | None = None) -> list[slice]:
    chunk = at_a_time or max(1, min(MOST_AT_A_TIME, -(-count // threads)))
    return [slice(low, min(low + chunk, count)) for low in range(0, count, chunk)]


def joined(done: Sequence[tuple[Floats, Any]], source: str) -> Walked:
    sketches = [made for _, made in done]
    together = None if any(made is None for made in sketches) else np.concatenate(sketches)
    return Walked(np.concatenate([table for table, _ in done]), together, source)


def checked_sets(strategies: Any) -> list[Strategy]:
    """Instances of one class, at least one."""
    if isinstance(strategies, Strategy | type):
        raise BadInput("measure takes a list of strategies: write [Fade(entry_z=2.0), Fade(entry_z=2.5)]")
    sets = [instance(s) for s in strategies]
    if not sets:
        raise BadInput("no parameter sets: give at least one strategy")
    if len({type(s) for s in sets}) > 1:
        names = sorted({type(s).__name__ for s in sets})
        raise BadInput(f"sets of several strategies ({', '.join(names)}): measure one at a time")
    return sets


# ---- measures of a walk that kept nothing ----------------------------------------------------------


def measured(stage: run.Stage, state: run.State, interval: int, n: int) -> Floats:
    """The measures of each set, in the order of metrics.NAMES, from what the loops added up."""
    from backtest import metrics

    acc, start = state.acc, float(stage.acc[at.START])
    days = acc[:, at.DAYS].astype(np.int64)
    by_day = metrics.rows_from_daily(state.daily, days, start, metrics.returns_a_year(interval))
    names = ("volatility", "sharpe", "sortino", "var_95", "es_95", "skew", "kurtosis")
    with np.errstate(divide="ignore", invalid="ignore"):
        found = dict(zip(names, by_day.T, strict=True)) | _measures(
            acc, _mean_equity(state.daily, days), start, interval, n
        )
    idle = acc[:, at.FILLS] == 0.0
    for name in metrics.OF_TRADING:
        found[name] = np.where(idle, np.nan, found[name])
    return np.stack([found[name] for name in metrics.NAMES], axis=1)


def _mean_equity(daily: Floats, days: npt.NDArray[np.int64]) -> Floats:
    """Over the days of each set, added up as the mean of one row is."""
    if (days == days[0]).all():
        return np.asarray(daily[:, : days[0]].mean(axis=1))
    return np.array([row[:count].mean() for row, count in zip(daily, days, strict=True)])


def _measures(acc: Floats, mean_equity: Floats, start: float, interval: int, n: int) -> dict[str, Floats]:
    """Those that are no matter of daily returns, an array each. Divisions by zero are replaced."""
    from backtest import metrics

    days, equity, loss = acc[:, at.DAYS], acc[:, at.EQUITY], acc[:, at.MAX_DRAWDOWN]
    total = equity / start - 1.0
    annual = np.array([metrics.annual_return(x, n * interval / clock.DAY) for x in total.tolist()])
    longest = acc[:, at.MAX_DURATION]
    longest = np.where(equity < acc[:, at.PEAK], np.maximum(longest, n - 1 - acc[:, at.PEAK_BAR]), longest)
    trades, gained, lost = acc[:, at.TRADES], acc[:, at.GROSS_PROFIT], acc[:, at.GROSS_LOSS]
    distance = acc[:, at.MARGIN_DISTANCE]
    without_loss = np.where(gained > 0.0, np.inf, np.nan)
    return {
        "total_return": total,
        "annual_return": annual,
        "calmar": np.where((loss > metrics.NOTHING) & (days > 1.0), annual / loss, np.nan),
        "max_drawdown": loss,
        "max_drawdown_days": longest * interval / clock.DAY,
        "time_under_water": acc[:, at.UNDER] / n,
        "time_in_market": acc[:, at.IN_MARKET] / n,
        "exposure": acc[:, at.EXPOSURE_SUM] / days,
        "turnover": np.where(mean_equity > 0.0, acc[:, at.TURNOVER] / mean_equity, np.nan),
        "trades": trades,
        "win_rate": np.where(trades > 0.0, acc[:, at.WINS] / trades, np.nan),
        "profit_factor": np.where(lost > 0.0, gained / lost, without_loss),
        "avg_holding_hours": np.where(trades > 0.0, acc[:, at.HOLDING] / trades, np.nan),
        "fees": acc[:, at.FEES],
        "funding": acc[:, at.FUNDING],
        "slippage": acc[:, at.SLIPPAGE],
        "liquidations": acc[:, at.LIQUIDATIONS],
        "liquidation_loss": acc[:, at.LIQUIDATION_LOSS],
        "bad_debt": acc[:, at.BAD_DEBT],
        "min_margin_distance": np.where(np.isfinite(distance), distance, np.nan),
        "ruined": acc[:, at.RUINED],
        "refused": acc[:, at.REFUSED],
        "scaled": acc[:, at.SCALED],
        "ambiguous": acc[:, at.AMBIGUOUS],
    }
