"""`sweep()`: many parameter sets of a strategy over a market, measured in the loops, as a table to look at.

    found = sweep(Fade, market, entry_z=[1.5, 2.0, 2.5], window=["1d", "3d"])
    found = sweep(Fade, market, method="sobol", n=1024, entry_z=Span(1.0, 4.0), leverage=Span(1.0, 5.0, log=True))
    found.best(5); found.plateau(); found.heatmap("entry_z", "window"); found.rerun(0)

1. Sets are laid in the order of the parameters that their features are made from, so that features are computed once
   and those of a few sets are held at a time.
2. They are walked in chunks, on all threads, while the features of the next chunk are made.
3. What is done is kept: an interrupt ends the sweep early, and the table says so. With a folder each finished chunk is
   written down, and the same call again goes on from there.
4. Every set is a trial, and is noted in the market's register if it has one.
5. With an executor the chunks are walked by processes, or by the workers of a cluster: see `backtest.executor`.

`method="optuna"` asks in batches for sets that look promising from what is known, and is as reproducible as its seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from backtest import metrics, space, trials
from backtest.account import Account
from backtest.batch import FEATURE_BYTES, Batch, Walked, parts_of
from backtest.costs import Costs
from backtest.features import features_of
from backtest.given import is_whole
from backtest.progress import bar
from backtest.resuming import KeptSets
from backtest.space import Span as Span
from backtest.strategy import Strategy, Value
from backtest.terms import cores, instance
from backtest.venue import Venue
from data.errors import BadInput, NotFound, StoreNotWritable, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from backtest.explorer.widget import Explorer
    from backtest.inference import Overfitting, Superior
    from backtest.portfolio import PerpPortfolio
    from backtest.result import Result
    from data.market import Market

Floats = npt.NDArray[np.float64]
Method = Literal["grid", "random", "sobol", "optuna"]

METHODS = ("grid", "random", "sobol", "optuna")
MOST_IN_A_CHUNK = 4096  # sets
MOST_ELSEWHERE = 1 << 16  # sets that an executor's chunks are cut from
ENOUGH = 32  # sets a thread that share features: more of them together are hardly faster
ASKED_AT_ONCE = 32  # sets that optuna proposes before it hears of any
SILENT = 2e8  # bars x symbols x sets below which no progress is shown
BETTER = {measure.name: measure.better for measure in metrics.MEASURES}


def sweep(
    strategy: Strategy | type[Strategy],
    market: Market,
    grid: Mapping[str, Any] | None = None,
    *,
    method: Method = "grid",
    n: int | None = None,
    seed: int = 0,
    where: space.Where | None = None,
    objective: str = "sharpe",
    venue: Venue | str | None = None,
    account: Account | None = None,
    costs: Costs | None = None,
    detail: Market | None = None,
    history: Market | None = None,
    threads: int | None = None,
    executor: Executor | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    **axes: Any,
) -> Sweep:
    """Measures of many parameter sets.

    grid, **axes   parameter -> list of values, or Span(low, high); none: the ranges that the strategy declares
    method         "grid": all combinations; "random", "sobol": n sets; "optuna": n sets, each from what is known
    where          a function of a set's parameters that says whether it is tried at all
    objective      the measure that optuna works for, and `best` and `plateau` go by
    executor       chunks of sets are given to it; None: threads of this process
    folder         finished chunks are written there; the same call again takes them from there
    """
    if method not in METHODS:
        raise BadInput(f"method={method!r}: {did_you_mean(method, METHODS)}")
    check_measure(objective)
    base = instance(strategy)
    given = space.axes_of(base, {**(grid or {}), **axes})
    batch = Batch(market, venue=venue, account=account, costs=costs, detail=detail, history=history)
    terms = {"venue": venue, "account": account, "costs": costs, "detail": detail, "history": history}
    kept = KeptSets(folder, batch, base) if folder is not None else None
    walker = Walker(batch, threads, progress, executor, kept)
    if method == "optuna":
        sets = _searched(walker, base, given, count_of_sets(n, method), seed, where, objective)
    else:
        if method == "grid":
            sets = space.grid_of(base, given, where)
        else:
            sets = space.sample_of(base, given, count_of_sets(n, method), method, seed, where)
        walker.begin(len(sets))
        walker.walk(sets)
    walker.end()
    found = walker.found(base, sets, tuple(given), terms, objective)
    if method == "optuna" and walker.interrupted and n is not None:
        found.planned = max(n, len(found) + 1)  # what it would have asked for is not known
    return found


def swept(
    batch: Batch,
    base: Strategy,
    sets: list[Strategy],
    names: tuple[str, ...],
    terms: dict[str, Any],
    objective: str,
    threads: int | None,
) -> Sweep:
    """`sweep` of sets that are there already, on a batch that is ready, without a bar."""
    walker = Walker(batch, threads, progress=False)
    walker.begin(len(sets))
    walker.walk(sets)
    walker.end()
    return walker.found(base, sets, names, terms, objective)


def count_of_sets(n: int | None, method: str) -> int:
    if n is None:
        raise BadInput(f"method={method!r} needs n=, the number of sets to try")
    return n


def check_measure(name: str) -> None:
    if BETTER.get(name, 0) == 0:
        ranked = [m for m, better in BETTER.items() if better]
        raise BadInput(f"{name!r} is no measure to go by: {did_you_mean(name, ranked)}")


# ---- walking ---------------------------------------------------------------------------------------


class Walker:
    """Walks sets chunk by chunk, keeps what is done, notes the trials."""

    def __init__(
        self,
        batch: Batch,
        threads: int | None = None,
        progress: bool | None = None,
        executor: Executor | None = None,
        kept: KeptSets | None = None,
    ) -> None:
        if threads is not None and not (is_whole(threads) and threads >= 1):
            raise BadInput(f"threads={threads!r}: write how many, from 1 up")
        self.batch, self.threads, self.wanted = batch, threads or cores(), progress
        self.executor, self.kept = executor, kept
        self.sets: list[Strategy] = []
        self.tables: list[Floats] = []
        self.sketches: list[trials.Sketches] = []
        self.source = ""
        self.interrupted = False
        self._bar: Any = None
        self._chunks: Any = None

    def begin(self, total: int) -> None:
        many = total * len(self.batch.market) * len(self.batch.market.symbols)
        if self.wanted is False or (self.wanted is None and many < SILENT):
            return
        self._bar = bar(total, "sets", self.wanted)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
        if self.tables and self.kept is None:  # else they were noted chunk by chunk
            walked = Walked(np.concatenate(self.tables), np.concatenate(self.sketches), self.source)
            trials.note(self.batch, self.sets, walked)

    def walk(self, sets: Sequence[Strategy]) -> int:
        """How many were done; fewer than all after an interrupt."""
        before = len(self.sets)
        try:
            left = self._restored(sets)
            if left and self.executor is not None:
                self._walk_elsewhere(left, self.executor)
            elif left:
                self._walk_here(left)
        except KeyboardInterrupt:
            self.interrupted = True
        return len(self.sets) - before

    def _restored(self, sets: Sequence[Strategy]) -> Sequence[Strategy]:
        """What is not in the folder yet."""
        known = self.kept.known(sets) if self.kept is not None else []
        if not known:
            return sets
        self._add(
            [one for one, _, _ in known], np.array([row for _, row, _ in known]), np.array([s for *_, s in known])
        )
        there = {one for one, _, _ in known}
        return [one for one in sets if one not in there]

    def _walk_here(self, sets: Sequence[Strategy]) -> None:
        pool = ThreadPoolExecutor(self.threads)
        waiting: tuple[list[Strategy], list[Future[tuple[Floats, Any]]]] | None = None
        try:
            for chunk in chunks_of(self.batch, sets, enough=ENOUGH * self.threads):
                for job in self.batch.jobs(chunk):  # while the one before is being walked
                    self.source, some = job.source, list(job.strategies)
                    futures = self.batch.submit(pool, job, parts_of(len(some), self.threads), sketched=True)
                    if waiting is not None:
                        self._take(*waiting)
                    waiting = some, futures
            if waiting is not None:
                self._take(*waiting)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _walk_elsewhere(self, sets: Sequence[Strategy], executor: Executor) -> None:
        from backtest.executor import Chunks

        self._chunks = self._chunks or Chunks(executor, self.batch)
        for chunk, done in self._chunks.run(chunks_of(self.batch, sets, MOST_ELSEWHERE), len(sets)):
            self.source = done.source
            self._add(chunk, done.table, done.sketches)
            self._keep(chunk, done.table, done.sketches)

    def _take(self, chunk: list[Strategy], futures: list[Future[tuple[Floats, Any]]]) -> None:
        first, begun = len(self.tables), len(self.sets)
        try:
            for future in futures:
                table, made = future.result()
                low = len(self.sets) - begun
                self._add(chunk[low : low + len(table)], table, made)
        finally:
            if self.kept is not None and len(self.tables) > first:
                walked = np.concatenate(self.tables[first:]), np.concatenate(self.sketches[first:])
                self._keep(self.sets[begun:], *walked)

    def _add(self, sets: list[Strategy], table: Floats, sketches: trials.Sketches) -> None:
        self.tables.append(table)
        self.sketches.append(sketches)
        self.sets += sets
        if self._bar is not None:
            self._bar.update(len(sets))

    def _keep(self, sets: list[Strategy], table: Floats, sketches: trials.Sketches) -> None:
        """Noted first: a trial that is noted twice counts once, one that is not noted would never count."""
        if self.kept is not None:
            trials.note(self.batch, sets, Walked(table, sketches, self.source))
            self.kept.write(sets, table, sketches)

    def found(
        self, base: Strategy, sets: Sequence[Strategy], names: tuple[str, ...], terms: dict[str, Any], objective: str
    ) -> Sweep:
        """In the order of `sets`; those that were not reached are left out."""
        place = {one: row for row, one in enumerate(self.sets)}
        order = [place[one] for one in sets if one in place]
        if not order:
            raise KeyboardInterrupt
        return Sweep(
            base=base,
            market=self.batch.market,
            strategies=[self.sets[row] for row in order],
            names=names,
            values=np.concatenate(self.tables)[order],
            sketches=np.concatenate(self.sketches)[order],
            terms=terms,
            objective=objective,
            planned=len(sets),
        )


def chunks_of(
    batch: Batch, sets: Sequence[Strategy], most_sets: int | None = None, enough: int | None = None
) -> Iterator[list[Strategy]]:
    """Sets that share features lie together; a chunk has at most FEATURE_BYTES of them.

    `enough`: sets after which a chunk ends with its features, so that walking begins before others are made.
    """
    most_sets = most_sets or MOST_IN_A_CHUNK
    seen = batch.market if batch.history is None else batch.history
    made, used = features_of(sets[0], seen.features_view())
    batch.made = sets[0], made, used
    names = sorted(used)
    wide = len(batch.market) * len(batch.market.symbols) * 8
    most = max(1, int(FEATURE_BYTES // max(1, wide * len(made))))
    groups: dict[tuple[Value, ...], list[Strategy]] = {}
    for one in sets:
        given = one.parameters
        groups.setdefault(tuple([given[name] for name in names]), []).append(one)
    chunk: list[Strategy] = []
    held = 0
    for group in groups.values():
        held += 1
        for low in range(0, len(group), most_sets):
            chunk += group[low : low + most_sets]
            if held >= most or len(chunk) >= most_sets:
                yield chunk
                chunk, held = [], 0
        if enough is not None and len(chunk) >= enough:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _searched(
    walker: Walker,
    base: Strategy,
    axes: Mapping[str, space.Axis],
    n: int,
    seed: int,
    where: space.Where | None,
    objective: str,
) -> list[Strategy]:
    """Sets that optuna asked for, in the order in which it did."""
    try:
        import optuna
    except ImportError:
        raise NotFound("method='optuna' needs optuna: pip install 'unwind[research]'") from None
    space.check_seed(seed)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    column, sign = metrics.NAMES.index(objective), float(BETTER[objective])
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    kinds = type(base).declared()
    order: dict[Strategy, float] = {}
    if not is_whole(n) or n < 1:
        raise BadInput(f"n={n!r}: write how many sets to try, such as n=256")
    walker.begin(n)
    asked = 0
    try:
        while asked < n and not walker.interrupted:
            batch = [study.ask() for _ in range(min(ASKED_AT_ONCE, n - asked))]
            asked += len(batch)
            sets = [base.replace(**{k: _suggested(t, k, a, kinds[k].kind) for k, a in axes.items()}) for t in batch]
            allowed = [
                one for one in dict.fromkeys(sets) if one not in order and (where is None or where(one.parameters))
            ]
            if allowed:
                done = walker.walk(allowed)
                rows = np.concatenate(walker.tables)[len(order) : len(order) + done]
                found = dict(zip(walker.sets[len(order) :], sign * rows[:, column], strict=True))
                order.update((one, found[one]) for one in allowed if one in found)  # not as they happened to be done
            for trial, one in zip(batch, sets, strict=True):
                value = order.get(one, np.nan)
                if np.isfinite(value):
                    study.tell(trial, float(value))
                else:
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    except KeyboardInterrupt:  # between two walks
        walker.interrupted = True
    if not order and not walker.interrupted:
        raise BadInput("no parameter set was tried: `where` refuses all that were proposed")
    return list(order)


def _suggested(trial: Any, name: str, axis: space.Axis, kind: type) -> Value:
    if not isinstance(axis, Span):
        return axis[trial.suggest_int(name, 0, len(axis) - 1)]  # type: ignore[no-any-return]
    if kind is int:
        return int(trial.suggest_int(name, round(axis.low), round(axis.high), log=axis.log))
    return float(trial.suggest_float(name, axis.low, axis.high, log=axis.log))


# ---- what it found ---------------------------------------------------------------------------------


@dataclass
class Sweep:
    """One row a parameter set: what was varied, then every measure. `sweep["sharpe"]`, `len(sweep)`, `sweep.frame`."""

    base: Strategy
    market: Market
    strategies: list[Strategy]
    names: tuple[str, ...]  # of the parameters that were varied
    values: Floats  # (sets, measures)
    sketches: trials.Sketches
    terms: dict[str, Any] = field(repr=False)
    objective: str = "sharpe"
    planned: int = 0
    _frame: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def frame(self) -> pd.DataFrame:
        import pandas as pd

        if self._frame is None:
            rows = {name: [one.parameters[name] for one in self.strategies] for name in self.names}
            measured = pd.DataFrame(self.values, columns=list(metrics.NAMES))
            clash = [name for name in rows if name in metrics.NAMES]
            measured = measured.rename(columns={name: f"{name}_measured" for name in clash})
            self._frame = pd.concat([pd.DataFrame(rows), measured], axis=1)
        return self._frame

    @property
    def complete(self) -> bool:
        return len(self) == self.planned

    def __len__(self) -> int:
        return len(self.strategies)

    def __getitem__(self, key: Any) -> Any:
        return self.frame[key]

    def column(self, name: str) -> Floats:
        """A measure, a number a set."""
        if name not in metrics.NAMES:
            raise NotFound(f"no measure {name!r}: {did_you_mean(name, metrics.NAMES)}")
        return self.values[:, metrics.NAMES.index(name)]

    def ranking(self, by: str | None = None) -> npt.NDArray[np.intp]:
        """Rows, best first; ruined sets last, and before them those without the measure."""
        by = by or self.objective
        check_measure(by)
        return metrics.ranking(self.column(by), self.column("ruined"), better=BETTER[by])

    def best(self, count: int = 1, by: str | None = None) -> pd.DataFrame:
        if not is_whole(count) or count < 0:
            raise BadInput(f"best({count!r}): write how many")
        return self.frame.iloc[self.ranking(by)[:count]]

    def strategy(self, row: int | None = None) -> Strategy:
        """The parameter set of a row; None: of the best one."""
        return self.strategies[int(self.ranking()[0]) if row is None else self._row(row)]

    def rerun(self, row: int | None = None, **changes: Any) -> Result:
        """The same set in full, with every row and series; its measures are those of the table, bit for bit."""
        from backtest.engine import simulate

        return simulate(self.market, self.strategy(row), **{**self.terms, **changes})

    def explore(self) -> Explorer:
        """A widget for a notebook: sliders on the parameters, and the set that they stand on walked as they move.

        Sets that the sweep has not walked are new trials, and are noted as such. See docs/explorer.md.
        """
        from backtest.explorer.widget import Explorer

        return Explorer(self)

    def portfolio(self, which: int | Iterable[int] = 5, by: str | None = None) -> PerpPortfolio:
        """The best sets, or those of the given rows, in full beside each other as a `vectorbt.Portfolio`."""
        from backtest.portfolio import portfolio_of_sweep

        return portfolio_of_sweep(self, which, by)

    def _row(self, row: int) -> int:
        if not isinstance(row, int | np.integer) or not 0 <= row < len(self):
            raise NotFound(f"no row {row!r}: the sweep has {len(self):,}, from 0")
        return int(row)

    def count(self) -> trials.Count:
        """The trials that count for what it found: its own, and all others that the market's register knows."""
        if self.market.register:
            return trials.Register(self.market.register).count(self.market)
        a_day = np.sqrt(metrics.returns_a_year(self.market.interval))
        return trials.counted(self.column("sharpe") / a_day, self.sketches)

    # ---- robustness ------------------------------------------------------------------------------

    def daily_returns(self, rows: Sequence[int] | None = None) -> Floats:
        """(days, sets) of some rows, or of all: what inference asks for. They are walked again."""
        batch = Batch(self.market, **self.terms)
        sets = [self.strategies[self._row(row)] for row in (range(len(self)) if rows is None else rows)]
        parts = list(chunks_of(batch, sets))
        found = dict(zip([one for part in parts for one in part], _columns(batch, parts), strict=True))
        return np.array([found[one] for one in sets]).T

    def overfitting(self, blocks: int = 16, rows: Sequence[int] | None = None) -> Overfitting:
        """How often the best of one half of the days is below the median in the other: backtest.inference.pbo."""
        from backtest.inference import pbo

        return pbo(self.daily_returns(rows), blocks=blocks)

    def superior(self, benchmark: float | Floats = 0.0, rows: Sequence[int] | None = None, **settings: Any) -> Superior:
        """Is the best of them better than a benchmark, given that it was chosen? backtest.inference.superior."""
        from backtest.inference import superior

        return superior(self.daily_returns(rows), benchmark, **settings)

    def steps(self) -> Floats:
        """Where each set lies: a column a parameter, the number of its value among those tried, in order."""
        columns = []
        for name in self.names:
            values = [one.parameters[name] for one in self.strategies]
            known = in_order(set(values))
            place = {value: float(number) for number, value in enumerate(known)}
            columns.append([place[value] for value in values])
        return np.array(columns, dtype=np.float64).T.reshape(len(self), len(self.names))

    def plateau(self, by: str | None = None, reach: int = 1) -> pd.DataFrame:
        """How good a set's neighbourhood is: all sets within `reach` steps in every parameter, itself included.

        Columns: the parameters, the measure, `plateau` (median of the neighbourhood), `worst` in it, and how many
        `neighbours` there are. Sorted by `plateau`, then `worst`: a lonely peak falls behind a broad hill. Sets without
        the measure count as the worst of all. In a sample, where hardly two sets share a value, the nearest ones are
        taken: twice as many as there are parameters, after each axis is scaled to the spread of its ranks.
        """
        by = by or self.objective
        check_measure(by)
        if not is_whole(reach) or reach < 0:
            raise BadInput(f"reach={reach!r}: write how many steps away a neighbour may be, such as 1")
        values, sign = self.column(by), float(BETTER[by])
        finite = sign * np.where(np.isfinite(values), values, np.nan)
        floor = float(np.nanmin(finite)) if np.isfinite(finite).any() else np.nan
        filled = np.where(np.isfinite(finite), finite, floor)
        near = self._neighbours(reach)
        middle = np.array([np.median(filled[rows]) for rows in near])
        worst = np.array([filled[rows].min() for rows in near])
        out = self.frame[list(self.names)].copy()
        out[by] = values
        out["plateau"], out["worst"] = sign * middle, sign * worst
        out["neighbours"] = [len(rows) - 1 for rows in near]
        worse_first = np.lexsort(tuple(np.nan_to_num(x, nan=-np.inf) for x in (filled, worst, middle)))
        return out.iloc[worse_first[::-1]]

    def _neighbours(self, reach: int) -> list[npt.NDArray[np.intp]]:
        try:
            from scipy.spatial import cKDTree
        except ImportError:
            raise NotFound("neighbourhoods need scipy: pip install scipy") from None
        where = self.steps()
        many = int(np.prod([len(set(column)) for column in where.T]))
        if many <= 2 * len(self):  # a grid, or most of one
            found = cKDTree(where).query_ball_point(where, reach + 0.5, p=np.inf)
            return [np.array(sorted(rows), dtype=np.intp) for rows in found]
        scaled = where / np.maximum(where.max(axis=0), 1.0)
        count = min(len(self), 1 + 2 * max(1, len(self.names)))
        nearest = cKDTree(scaled).query(scaled, k=count)[1].reshape(len(self), count)
        return [np.asarray(rows, dtype=np.intp) for rows in nearest]

    # ---- pictures and files ----------------------------------------------------------------------

    def pivot(self, x: str, y: str, value: str | None = None, agg: Any = "median") -> pd.DataFrame:
        """A measure by two parameters; `agg` of what else was varied."""
        value = value or self.objective
        for name in (x, y):
            if name not in self.names:
                raise NotFound(f"{name!r} was not varied: {did_you_mean(name, self.names)}")
        if x == y:
            raise BadInput(f"{x!r} by itself is no table: name two parameters")
        self.column(value)
        found = self.frame.pivot_table(index=y, columns=x, values=value, aggfunc=agg, dropna=False)
        return found.loc[in_order(set(found.index)), in_order(set(found.columns))]

    def heatmap(self, x: str, y: str, value: str | None = None, agg: Any = "median") -> Any:
        """`pivot` as a plotly figure."""
        from backtest.report.sweep_figures import heatmap

        return heatmap(self.pivot(x, y, value, agg), value or self.objective, agg)

    def plot(self) -> Any:
        """The objective: a heat map of two parameters, or a line of one."""
        from backtest.report.sweep_figures import overview

        return overview(self)

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """The table as a file."""
        try:
            self.frame.to_parquet(Path(path), index=False)
        except OSError as error:
            raise StoreNotWritable(f"{path}: cannot be written: {error.strerror or error}") from None
        return Path(path)

    def __repr__(self) -> str:
        left = "" if self.complete else f" of {self.planned:,}, interrupted"
        best = self.column(self.objective)[self.ranking()[0]]
        return (
            f"Sweep({type(self.base).__name__}, {len(self):,} sets{left} of {', '.join(self.names)}; "
            f"best {self.objective} {best:.3g})"
        )

    def _repr_html_(self) -> str:
        from backtest.report.sweep_figures import page

        return page(self)


def _columns(batch: Batch, parts: Sequence[list[Strategy]]) -> Iterator[Floats]:
    for part in parts:
        yield from batch.daily_returns(part).T


def in_order(values: set[Any]) -> list[Any]:
    """Numbers by size, durations by length, other texts by name."""
    from data import clock

    def key(value: Any) -> tuple[int, Any]:
        if not isinstance(value, str):
            return 0, value
        try:
            return 1, clock.duration(value)
        except BadInput:
            return 2, value

    return sorted(values, key=key)
