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
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from backtest.batch import Batch
from backtest.costs import Costs
from backtest.given import is_whole
from backtest.job import job_of
from backtest.resuming import claim, put
from backtest.stitched import stitched
from backtest.strategy import Strategy
from backtest.sweep import BETTER, Sweep, check_measure, sweep
from backtest.terms import instance
from backtest.venue import Venue
from data import clock
from data.errors import BadInput, NotThisFormat, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from backtest.inference.bootstrap import Interval
    from backtest.inference.summary import Verdict
    from backtest.result import Result
    from data.market import Market

Floats = npt.NDArray[np.float64]

FORMAT = 1
_CLAUSE = re.compile(r"^\s*([a-z_0-9.]+)\s*(==|!=|>=|<=|>|<)\s*([-+0-9.eE]+|inf|-inf)\s*$")
_HOLDS: dict[str, Callable[[Any, float], Any]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}


# ---- what is asked for -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Clause:
    """A measure compared with a number: "trades >= 10". A measure that is NaN fulfils nothing."""

    name: str
    sign: str
    number: float

    @classmethod
    def of(cls, text: str, names: Sequence[str]) -> Clause:
        match = _CLAUSE.match(text) if isinstance(text, str) else None
        if match is None:
            raise BadInput(f"{text!r} is no requirement: write a measure, a sign and a number, such as trades >= 10")
        name, sign, number = match.groups()
        if name not in names:
            raise BadInput(f"requirement {text!r}: no measure {name!r}, {did_you_mean(name, names)}")
        try:
            return cls(name, sign, float(number))
        except ValueError:
            raise BadInput(f"requirement {text!r}: {number!r} is no number") from None

    def holds(self, values: Any) -> Any:
        return _HOLDS[self.sign](values, self.number)

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.number:g}"


@dataclass(frozen=True)
class Plan:
    """How to walk. Lengths are durations ("180d"), or, all of them, periods of the calendar ("6mo", "1q", "1y").

    test       how long a fit is used before the next: the schedule of refits
    validate   a window between train and test on which one of the first `keep` sets is chosen
    purge      left out before every window that follows a fit: at least the longest holding time; "": nothing
    """

    train: str = "180d"
    test: str = "30d"
    validate: str | None = None
    anchored: bool = False
    purge: str = ""
    objective: str = "sharpe"
    require: tuple[str, ...] = ()
    choose: Literal["best", "plateau"] = "best"
    keep: int = 10
    ensemble: int = 1
    partial: bool = True  # a last, shorter test window is traded too

    def __post_init__(self) -> None:
        check_measure(self.objective)
        if self.choose not in ("best", "plateau"):
            raise BadInput(f"choose={self.choose!r}: {did_you_mean(str(self.choose), ('best', 'plateau'))}")
        for name in ("keep", "ensemble"):
            if not (is_whole(getattr(self, name)) and getattr(self, name) >= 1):
                raise BadInput(f"{name}={getattr(self, name)!r}: write a whole number from 1 up")
        object.__setattr__(self, "require", tuple(self.require))
        _ = self.clauses

    @property
    def clauses(self) -> tuple[Clause, ...]:
        return tuple(Clause.of(text, metrics.NAMES) for text in self.require)

    def cut(self, market: Market) -> list[splits.Fold]:
        """The folds of a market."""
        if any(re.search(r"(mo|q|y)\s*$", text) for text in (self.train, self.test, self.validate or "")):
            return splits.by_calendar(
                market.ts, self.train, self.test, validate=self.validate, anchored=self.anchored, purge=self.purge or 0,
                partial=self.partial,
            )  # fmt: skip
        make = splits.anchored if self.anchored else splits.rolling
        bars = {name: -(-clock.duration(getattr(self, name)) // market.interval) for name in ("train", "test")}
        more = -(-clock.duration(self.validate) // market.interval) if self.validate else 0
        purge = -(-clock.duration(self.purge) // market.interval) if self.purge else 0
        return make(len(market), **bars, validate=more, purge=purge, partial=self.partial)


@dataclass(frozen=True)
class Window:
    """[first, stop) of a market's bars."""

    first: int
    stop: int

    def of(self, market: Market) -> Market:
        return market[self.first : self.stop]


@dataclass(frozen=True)
class FoldFit:
    """What a fold chose, and how it went. `chosen`: parameters, best first; none if nothing met the requirements."""

    number: int
    train: Window
    test: Window
    validate: Window | None
    sets: int
    allowed: int  # sets that fulfilled the requirements in sample
    chosen: tuple[dict[str, Any], ...]
    in_sample: dict[str, float]  # measures of the first chosen one on the train window
    out_of_sample: dict[str, float]  # of the same, alone, on the test window
    rank: float  # of it among all sets on the test window: 0 best, 1 worst; NaN: nothing chosen
    agreement: float  # rank correlation of all sets in and out of sample; NaN: nothing to rank


# ---- one fold --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spec:
    """All that a fold needs besides the market; the same on every machine."""

    base: Strategy
    axes: dict[str, Any]
    plan: Plan
    sampling: dict[str, Any]  # method, n, seed
    terms: dict[str, Any]  # venue, account, costs


def fit_fold(market: Market, spec: Spec, fold: splits.Fold, threads: int | None = None) -> FoldFit:
    train, test = Window(*fold.train_ranges[0]), Window(*fold.test_ranges[0])
    validate = Window(*fold.validate_ranges[0]) if len(fold.validate) else None
    swept = _measured(market, train, spec, threads)
    if not swept.complete:  # interrupted: part of a grid chooses nothing
        raise KeyboardInterrupt
    order = _order(swept, spec.plan)
    if validate is not None and len(order):
        first = [swept.strategies[row] for row in order[: spec.plan.keep]]
        values = _table(market, validate, first, spec, threads)[:, metrics.NAMES.index(spec.plan.objective)]
        order = order[: spec.plan.keep][metrics.ranking(values, better=BETTER[spec.plan.objective])]
    chosen = [swept.strategies[row] for row in order[: spec.plan.ensemble]]
    after = _table(market, test, swept.strategies, spec, threads)
    before = swept.values
    best = int(order[0]) if len(order) else -1
    return FoldFit(
        number=fold.number,
        train=train,
        test=test,
        validate=validate,
        sets=len(swept),
        allowed=int(_allowed(swept, spec.plan).sum()),
        chosen=tuple(dict(one.parameters) for one in chosen),
        in_sample=_named(before[best]) if chosen else {},
        out_of_sample=_named(after[best]) if chosen else {},
        rank=_rank(after, best, spec.plan.objective) if chosen else math.nan,
        agreement=_agreement(before, after, spec.plan.objective),
    )


def _measured(market: Market, train: Window, spec: Spec, threads: int | None) -> Sweep:
    return sweep(
        spec.base, train.of(market), spec.axes, history=market[: train.stop], threads=threads, progress=False,
        objective=spec.plan.objective, **spec.sampling, **spec.terms,
    )  # fmt: skip


def _table(market: Market, span: Window, sets: Sequence[Strategy], spec: Spec, threads: int | None) -> Floats:
    from backtest.sweep import Walker

    walker = Walker(Batch(span.of(market), history=market[: span.stop], **spec.terms), threads, progress=False)
    walker.walk(sets)
    if walker.interrupted:
        raise KeyboardInterrupt
    place = {one: row for row, one in enumerate(walker.sets)}
    return np.concatenate(walker.tables)[[place[one] for one in sets]]


def _allowed(swept: Sweep, plan: Plan) -> npt.NDArray[np.bool_]:
    keep = np.isfinite(swept.column(plan.objective))
    for clause in plan.clauses:
        keep &= clause.holds(swept.column(clause.name))
    return keep


def _order(swept: Sweep, plan: Plan) -> npt.NDArray[np.intp]:
    """Rows that fulfil the requirements, best first."""
    order = swept.ranking() if plan.choose == "best" else swept.plateau().index.to_numpy(dtype=np.intp)
    return np.asarray(order[_allowed(swept, plan)[order]], dtype=np.intp)


def _named(row: Floats) -> dict[str, float]:
    return {name: float(value) for name, value in zip(metrics.NAMES, row, strict=True)}


def _rank(table: Floats, row: int, objective: str) -> float:
    values = table[:, metrics.NAMES.index(objective)] * BETTER[objective]
    if not math.isfinite(values[row]) or len(values) < 2:
        return math.nan
    others = np.delete(np.where(np.isfinite(values), values, -np.inf), row)
    return float(np.mean(np.where(others > values[row], 1.0, np.where(others == values[row], 0.5, 0.0))))


def _agreement(before: Floats, after: Floats, objective: str) -> float:
    """Spearman's, of the sets that have the measure in both."""
    import pandas as pd

    column = metrics.NAMES.index(objective)
    a, b = pd.Series(before[:, column]), pd.Series(after[:, column])
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3 or a[both].nunique() < 2 or b[both].nunique() < 2:
        return math.nan
    return float(a[both].rank().corr(b[both].rank()))


# ---- all of them -----------------------------------------------------------------------------------


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
    terms = {"venue": venue, "account": account, "costs": costs}
    sampling = {"method": method, "n": n, "seed": seed}
    spec = Spec(base, space.axes_of(base, {**(grid or {}), **axes}), plan, sampling, terms)
    folds = plan.cut(market)
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
    from tqdm.auto import tqdm

    fits = {fold.number: done[fold.number] for fold in folds if fold.number in done}
    left = [fold for fold in folds if fold.number not in fits]
    bar = tqdm(total=len(folds), initial=len(fits), unit=" folds", disable=True if progress is False else None)
    with bar:
        for fit in _made(market, spec, left, executor, threads):
            fits[fit.number] = fit
            if kept:
                kept.write(fit)
            bar.update(1)
    return [fits[fold.number] for fold in folds]


def _made(
    market: Market, spec: Spec, folds: Sequence[splits.Fold], executor: Executor | None, threads: int | None
) -> Iterator[FoldFit]:
    """Folds as they are done."""
    if executor is None:
        for fold in folds:
            yield fit_fold(market, spec, fold, threads)
        return
    from backtest.executor import fold_tasks

    tasks = fold_tasks(executor, market, spec, folds)
    try:
        for task in as_completed(tasks):
            yield task.result()
    finally:
        for task in tasks:
            task.cancel()


# ---- folds on disk ---------------------------------------------------------------------------------


def identity(market: Market, spec: Spec) -> str:
    """A hash of all that decides what the folds find."""
    from backtest.result import digest, plain

    few = market[: min(len(market), 10_000)]
    decides = job_of(few, [spec.base], several=len(market.symbols) > 1, jit=True).source
    parts = {
        "format": FORMAT,
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


class Kept:
    """Folds in a folder, one file each, written aside and then named."""

    def __init__(self, folder: str | os.PathLike[str], identity: str) -> None:
        self.folder = Path(folder)
        claim(self.folder / "walkforward.json", identity, "walk-forward (other data, strategy, plan or grid)")

    def read(self) -> dict[int, FoldFit]:
        fits = {}
        for path in sorted(self.folder.glob("fold-*.json")):
            try:
                fit = _fold_of(json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, KeyError, TypeError):
                raise NotThisFormat(f"{path} cannot be read: remove it, and its fold is made again") from None
            fits[fit.number] = fit
        return fits

    def write(self, fit: FoldFit) -> None:
        put(self.folder / f"fold-{fit.number:04d}.json", json.dumps(asdict(fit)).encode())


def _fold_of(found: Mapping[str, Any]) -> FoldFit:
    spans = {name: Window(**found[name]) if found[name] else None for name in ("train", "test", "validate")}
    return FoldFit(**{**found, **spans, "chosen": tuple(found["chosen"])})


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

    @cached_property
    def results(self) -> tuple[Result, ...]:
        """One simulation an account, each with an equal part of the money."""
        from backtest.engine import simulate

        accounts = self.spec.plan.ensemble
        whole = self.spec.terms["account"] or Account()
        one = replace(whole, equity=whole.equity / accounts)
        made = []
        for place in range(accounts):
            pieces = [(fit.test.first, fit.test.stop, self._strategy(fit, place)) for fit in self.fits]
            terms = {**self.spec.terms, "account": one}
            history = self.market[: self.span.stop].registered("")  # no trial of its own: its sets are noted
            market = self.out_of_sample.registered("")
            if all(strategy is None for _, _, strategy in pieces):
                made.append(simulate(market, exposure=0.0, **terms))
            else:
                made.append(simulate(market, stitched(pieces), history=history, **terms))
        return tuple(made)

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
        """Of the stitched simulation. Of an ensemble: what belongs to the whole, of the sum; counts and cash, added."""
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
        }
        for name in (
            "trades",
            "fees",
            "funding",
            "slippage",
            "liquidations",
            "liquidation_loss",
            "bad_debt",
            "refused",
        ):
            found[name] = sum(result.measures[name] for result in self.results)
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
        """Of the annual Sharpe ratio, by the stationary bootstrap of daily returns."""
        from backtest.inference import interval_of_sharpe

        return interval_of_sharpe(self.daily_returns, level=level, seed=seed)

    def verdict(self) -> Verdict:
        """What was tested of the stitched run (of an ensemble: of its first account), and what came of it."""
        from backtest.inference import Trials, verdict

        count = self.count()
        known = Trials(count.number, count.variance, count.effective) if math.isfinite(count.variance) else None
        return verdict(self.result, trials=known, interval=self.interval() if len(self.results) == 1 else None)

    def summary(self) -> dict[str, Any]:
        """Plain numbers, for scripts: out of sample, in sample, requirements can be put on them."""
        sure = self.interval()
        name = self.spec.plan.objective
        found: dict[str, Any] = {f"oos.{key}": value for key, value in self.measures.items()}
        found |= {"oos.sharpe_low": sure.low, "oos.sharpe_high": sure.high}
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
