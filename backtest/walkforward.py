"""Walk-forward: fit on the past, trade what follows, move on; all of it stitched into one simulation.

    plan = Plan(train="180d", test="30d", objective="sharpe", require=("liquidations == 0", "trades >= 10"))
    found = walk_forward(Fade, market, plan, entry_z=[1.5, 2.0, 2.5], window=["1d", "3d"])
    found.folds; found.result; found.verdict()

1. `backtest.splits` cuts the bars into folds: train, purge, (validate, purge,) test; tests follow each other.
2. In each fold all sets are measured on the train window. Features may look back to bars before it, and see none after.
3. Sets that break a requirement in sample are out. Of the others the best by the objective is taken; with
   `choose="plateau"` the one whose neighbourhood is best; with a validation window the best there of the first `keep`.
   When none is left the fold stays flat, and says so.
4. `backtest.stitched` makes one strategy of them, and one simulation runs through all test windows: positions are
   carried over the seams, every cost is paid, and nothing is averaged. With `ensemble=M` the first M of each fold trade
   as M accounts of equal size.
5. For judging only, all sets are measured on the test windows too: where did the chosen one come out, and how much does
   the order in sample say about the order afterwards? Differences and ranks; a ratio of two losses means nothing.

With a folder each finished fold is written down, and the same call again goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from backtest import metrics, space, splits, trials
from backtest.account import Account
from backtest.costs import Costs
from backtest.executing.versions import source_hash
from backtest.folds import Common, FoldFit, Kept, Spec, fit_fold
from backtest.job import job_of
from backtest.plan import Clause as Clause
from backtest.plan import Plan as Plan
from backtest.plan import Window as Window
from backtest.progress import bar
from backtest.stitched import stitched
from backtest.strategy import Strategy
from backtest.terms import check_alone, instance
from backtest.venue import Venue
from data import clock

if TYPE_CHECKING:
    import pandas as pd

    from backtest.inference.bootstrap import Interval
    from backtest.inference.deflated import Trials
    from backtest.inference.robust import Rerun
    from backtest.inference.summary import Verdict
    from backtest.result import Result
    from data.market import Market

Floats = npt.NDArray[np.float64]

FORMAT = 1
ADDED = (
    "trades", "fees", "funding", "slippage", "liquidations", "liquidation_loss", "bad_debt", "refused", "scaled",
    "ambiguous",
)  # fmt: skip
NOT_OF_SEVERAL = ("exposure", "profit_factor", "time_in_market", "turnover")


def walk_forward(
    strategy: Strategy | type[Strategy],
    market: Market,
    plan: Plan | None = None,
    grid: Mapping[str, Any] | None = None,
    *,
    method: Literal["grid", "random", "sobol"] = "grid",
    n: int | None = None,
    seed: int = 0,
    venue: Venue | str | None = None,
    account: Account | None = None,
    costs: Costs | None = None,
    folder: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    threads: int | None = None,
    progress: bool | None = None,
    **axes: Any,
) -> WalkForward:
    """All folds, and the simulation of what they chose.

    folder     finished folds are written there; the same call again takes them from there
    executor   folds are given to it, one task each; None: one after the other, on all threads
    """
    plan = plan or Plan()
    base = instance(strategy)
    check_alone(type(base), "walked forward")
    terms = {"venue": venue, "account": account, "costs": costs}
    sampling = {"method": method, "n": n, "seed": seed}
    spec = Spec(base, space.axes_of(base, {**(grid or {}), **axes}), plan, sampling, terms)
    folds = plan.cut(market)
    Common(spec)  # what is wrong with the sets is said before a folder is made
    kept = Kept(folder, identity(market, spec)) if folder is not None else None
    done = kept.read() if kept else {}
    fits = _fitted(market, spec, folds, done, kept, executor, threads, progress)
    return WalkForward(spec, market, fits, resumed=len(done))


def _fitted(
    market: Market,
    spec: Spec,
    folds: Sequence[splits.Fold],
    done: dict[int, FoldFit],
    kept: Kept | None,
    executor: Executor | None,
    threads: int | None,
    progress: bool | None,
) -> list[FoldFit]:
    fits = {fold.number: done[fold.number] for fold in folds if fold.number in done}
    left = [fold for fold in folds if fold.number not in fits]
    with bar(len(folds), "folds", progress, done=len(fits)) as shown:
        for fit in _made(market, spec, left, executor, threads):
            fits[fit.number] = fit
            if kept:
                kept.write(fit)
            shown.update(1)
    return [fits[fold.number] for fold in folds]


def _made(
    market: Market, spec: Spec, folds: Sequence[splits.Fold], executor: Executor | None, threads: int | None
) -> Iterator[FoldFit]:
    """Folds as they are done."""
    if executor is None:
        common = Common(spec)
        for fold in folds:
            yield fit_fold(market, spec, fold, threads, common)
        return
    from backtest.executor import fold_tasks

    tasks = fold_tasks(executor, market, spec, folds)
    try:
        for task in as_completed(tasks):
            yield task.result()
    finally:
        for task in tasks:
            task.cancel()


def identity(market: Market, spec: Spec) -> str:
    """A hash of all that decides what the folds find."""
    from backtest.result import digest, plain

    few = market[: min(len(market), 10_000)]
    decides = job_of(few, [spec.base], several=len(market.symbols) > 1, jit=True).source
    parts = {
        "format": FORMAT,
        "engine": source_hash(),
        "market": market.hash,
        "strategy": type(spec.base).__name__,
        "source": trials.source_of(spec.base, decides),
        "parameters": dict(spec.base.parameters),
        "axes": {name: repr(axis) for name, axis in spec.axes.items()},
        "plan": asdict(spec.plan),
        "sampling": spec.sampling,
        "terms": {name: digest(value) for name, value in spec.terms.items()},
    }
    return hashlib.sha256(json.dumps(plain(parts), sort_keys=True).encode()).hexdigest()


# ---- what it found ---------------------------------------------------------------------------------


@dataclass
class WalkForward:
    """`folds`: a row each. `result`: the simulation through all test windows (of an ensemble: its first account)."""

    spec: Spec = field(repr=False)
    market: Market = field(repr=False)
    fits: list[FoldFit] = field(repr=False)
    resumed: int = 0

    @property
    def span(self) -> Window:
        return Window(self.fits[0].test.first, self.fits[-1].test.stop)

    @property
    def out_of_sample(self) -> Market:
        return self.span.of(self.market)

    @property
    def history(self) -> Market:
        """The bars that features of the stitched run may look back to."""
        return self.market[: self.span.stop].registered("")  # no trial of its own: its sets are noted

    @property
    def account(self) -> Account:
        """Of one of the accounts: each has an equal part of the money."""
        whole = self.spec.terms["account"] or Account()
        return replace(whole, equity=whole.equity / self.spec.plan.ensemble)

    @property
    def strategy(self) -> Strategy | None:
        """What traded in the first account; None: no fold chose anything."""
        return self._stitched(0)

    @cached_property
    def results(self) -> tuple[Result, ...]:
        """One simulation an account."""
        from backtest.engine import simulate

        terms = {**self.spec.terms, "account": self.account}
        made = []
        for place in range(self.spec.plan.ensemble):
            market, strategy = self.out_of_sample.registered(""), self._stitched(place)
            if strategy is None:
                made.append(simulate(market, exposure=0.0, **terms))
            else:
                made.append(simulate(market, strategy, history=self.history, **terms))
        return tuple(made)

    def _stitched(self, place: int) -> Strategy | None:
        pieces = [(fit.test.first, fit.test.stop, self._strategy(fit, place)) for fit in self.fits]
        return None if all(strategy is None for _, _, strategy in pieces) else stitched(pieces)

    def _strategy(self, fit: FoldFit, place: int) -> Strategy | None:
        """Fewer sets than accounts: the last of them trades in the others too."""
        if not fit.chosen:
            return None
        return self.spec.base.replace(**fit.chosen[min(place, len(fit.chosen) - 1)])

    @property
    def result(self) -> Result:
        return self.results[0]

    @cached_property
    def equity(self) -> pd.Series[float]:
        """Of all accounts together, at the closes of the test windows."""
        total = self.results[0].equity.copy()
        for other in self.results[1:]:
            total += other.equity
        return total

    @cached_property
    def daily_returns(self) -> Floats:
        start = sum(result.start_equity for result in self.results)
        ends = metrics.day_ends(self.out_of_sample.ts)
        return metrics.daily_returns(np.asarray(self.equity, dtype=np.float64)[ends], start)

    @cached_property
    def measures(self) -> dict[str, float]:
        """Of the stitched simulation. Of an ensemble: what belongs to the whole, of the sum; counts and cash, added.

        Not there of an ensemble: `NOT_OF_SEVERAL`, which no sum or mean of its accounts says.
        """
        if len(self.results) == 1:
            return dict(self.results[0].measures)
        start = sum(result.start_equity for result in self.results)
        equity = np.asarray(self.equity, dtype=np.float64)
        daily = equity[metrics.day_ends(self.out_of_sample.ts)]
        interval = self.market.interval
        names = ("volatility", "sharpe", "sortino", "var_95", "es_95", "skew", "kurtosis")
        found = dict(zip(names, metrics.from_daily(daily, start, metrics.returns_a_year(interval)), strict=True))
        gained = metrics.total_return(equity, start)
        annual = metrics.annual_return(gained, len(equity) * interval / clock.DAY)
        loss = metrics.max_drawdown(equity, start)
        found |= {
            "total_return": gained,
            "annual_return": annual,
            "max_drawdown": loss,
            "calmar": metrics.calmar(annual, loss, len(daily)),
            "max_drawdown_days": metrics.longest_drawdown(equity, start) * interval / clock.DAY,
            "time_under_water": metrics.time_under_water(equity, start),
        }
        each = [result.measures for result in self.results]
        found |= {name: sum(one[name] for one in each) for name in ADDED}
        for name in ("win_rate", "avg_holding_hours"):  # of all trades
            parts = [one[name] * one["trades"] for one in each if one["trades"]]
            found[name] = sum(parts) / found["trades"] if parts else math.nan
        found["min_margin_distance"] = metrics.lowest(np.array([one["min_margin_distance"] for one in each]))
        found["ruined"] = max(one["ruined"] for one in each)  # any of them
        return found

    @cached_property
    def folds(self) -> pd.DataFrame:
        """A row a fold: windows, what was chosen, the objective before and after, their difference, ranks."""
        import pandas as pd

        return pd.DataFrame([self._row(fit) for fit in self.fits])

    def _row(self, fit: FoldFit) -> dict[str, Any]:
        import pandas as pd

        def at(bar: int) -> pd.Timestamp:
            return pd.Timestamp(int(self.market.start + bar * self.market.interval), unit="ns")

        name = self.spec.plan.objective
        before, after = fit.in_sample.get(name, math.nan), fit.out_of_sample.get(name, math.nan)
        first = fit.chosen[0] if fit.chosen else {}
        return {
            "fold": fit.number,
            "train_from": at(fit.train.first),
            "train_to": at(fit.train.stop),
            "test_from": at(fit.test.first),
            "test_to": at(fit.test.stop),
            "allowed": fit.allowed,
            f"{name}_in": before,
            f"{name}_out": after,
            "difference": after - before,
            "rank": fit.rank,
            "agreement": fit.agreement,
            **{parameter: first.get(parameter) for parameter in self.spec.axes},
        }

    @cached_property
    def drift(self) -> pd.DataFrame:
        """How often each parameter changed from fold to fold, and what it was in most of them."""
        import pandas as pd

        rows = []
        for name in self.spec.axes:
            values = [fit.chosen[0][name] for fit in self.fits if fit.chosen]
            changed = sum(a != b for a, b in pairwise(values))
            usual = max(dict.fromkeys(values), key=values.count) if values else None
            rows.append({"parameter": name, "usual": usual, "values": len(set(values)), "changes": changed})
        return pd.DataFrame(rows)

    def count(self) -> trials.Count:
        """The trials behind it: all that the register knows of this market, or the sets of its own grid."""
        if self.market.register:
            return trials.Register(self.market.register).count(self.market)
        number = max(fit.sets for fit in self.fits)
        return trials.Count(number, float(number), 0.0, math.nan, math.nan)

    def interval(self, level: float = 0.95, seed: int = 0) -> Interval:
        """Of the annual Sharpe ratio, by the stationary bootstrap of daily returns. NaN: fewer than two days."""
        from backtest.inference import Interval, interval_of_sharpe

        if len(self.daily_returns) < 2:
            return Interval("sharpe", math.nan, math.nan, math.nan, level)
        return interval_of_sharpe(self.daily_returns, level=level, seed=seed)

    def sensitivity(self) -> tuple[Rerun, ...]:
        """The stitched run again at higher costs and a bar later (of an ensemble: its first account)."""
        from backtest.inference import sensitivity

        market, terms = self.out_of_sample, {**self.spec.terms, "account": self.account}
        if self.strategy is None:
            return sensitivity(market, exposure=0.0, **terms)
        return sensitivity(market, self.strategy, history=self.history, **terms)

    def verdict(self, reruns: Sequence[Rerun] = ()) -> Verdict:
        """What was tested of the stitched run (of an ensemble: of its first account), and what came of it.

        `reruns`: of `sensitivity()`, which simulates five times.
        """
        from backtest.inference import verdict

        known = self._known_trials()
        interval = self.interval() if len(self.results) == 1 else None
        return verdict(self.result, trials=known, interval=interval, reruns=reruns)

    def _known_trials(self) -> Trials | None:
        from backtest.inference import Trials

        count = self.count()
        return Trials(count.number, count.variance, count.effective) if math.isfinite(count.variance) else None

    def summary(self) -> dict[str, Any]:
        """Plain numbers, for scripts: out of sample, in sample, requirements can be put on them."""
        from backtest.inference import dsr, moments, psr

        sure, known = self.interval(), self._known_trials()
        name = self.spec.plan.objective
        found: dict[str, Any] = {f"oos.{key}": value for key, value in self.measures.items()}
        found |= {"oos.sharpe_low": sure.low, "oos.sharpe_high": sure.high, "oos.psr": math.nan, "oos.dsr": math.nan}
        if len(self.daily_returns) >= 2:
            seen = moments(self.daily_returns)
            found |= {"oos.psr": psr(seen), "oos.dsr": math.nan if known is None else dsr(seen, known)}
        found |= {
            "folds": len(self.fits),
            "folds.flat": sum(not fit.chosen for fit in self.fits),
            "folds.resumed": self.resumed,
            f"folds.{name}_in": _mean([fit.in_sample.get(name, math.nan) for fit in self.fits]),
            f"folds.{name}_out": _mean([fit.out_of_sample.get(name, math.nan) for fit in self.fits]),
            "folds.rank": _mean([fit.rank for fit in self.fits]),
            "folds.agreement": _mean([fit.agreement for fit in self.fits]),
            "trials": self.count().number,
        }
        return found

    def report(self, path: str | os.PathLike[str], **more: Any) -> Path:
        """One HTML file of the stitched run and its folds; `more`: name, sweep, events, stress."""
        from backtest.report.report import Report

        return Report.of_walk_forward(self, **more).write(path)

    def plot(self) -> Any:
        """Equity through the test windows, and the objective of each fold before and after, as a plotly figure."""
        from backtest.report.walkforward_figures import overview

        return overview(self)

    def _repr_html_(self) -> str:
        from backtest.report.walkforward_figures import page

        return page(self)

    def __repr__(self) -> str:
        m = self.measures
        flat = sum(not fit.chosen for fit in self.fits)
        said = f", {flat} flat" if flat else ""
        return (
            f"WalkForward({type(self.spec.base).__name__}, {len(self.fits)} folds{said}; out of sample: "
            f"return {m['total_return']:+.1%}, sharpe {m['sharpe']:.2f}, max drawdown {m['max_drawdown']:.1%})"
        )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan
