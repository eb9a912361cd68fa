"""One fold of a walk-forward: all sets on the train window, a choice, and how it went on the test window."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest import metrics, space, splits
from backtest.batch import Batch
from backtest.plan import Plan, Window
from backtest.putting import put
from backtest.resuming import claim
from backtest.strategy import Strategy
from backtest.sweep import BETTER, Sweep, Walker, count_of_sets, swept
from data.errors import BadInput, NotThisFormat, did_you_mean

if TYPE_CHECKING:
    from backtest.decide import Binding
    from backtest.decide.source import Source
    from data.market import Market

Floats = npt.NDArray[np.float64]

METHODS = ("grid", "random", "sobol")


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


@dataclass(frozen=True)
class Spec:
    """All that a fold needs besides the market; the same on every machine."""

    base: Strategy
    axes: dict[str, Any]
    plan: Plan
    sampling: dict[str, Any]  # method, n, seed
    terms: dict[str, Any]  # venue, account, costs


class Common:
    """What folds share, made once: all sets, and the texts of `decide`."""

    def __init__(self, spec: Spec) -> None:
        how = spec.sampling
        if how["method"] not in METHODS:
            raise BadInput(f"method={how['method']!r}: {did_you_mean(str(how['method']), METHODS)}")
        if how["method"] == "grid":
            self.sets = space.grid_of(spec.base, spec.axes)
        else:
            many = count_of_sets(how["n"], how["method"])
            self.sets = space.sample_of(spec.base, spec.axes, many, how["method"], how["seed"])
        self.sources: dict[Binding, Source] = {}


def fit_fold(
    market: Market, spec: Spec, fold: splits.Fold, threads: int | None = None, common: Common | None = None
) -> FoldFit:
    common = common or Common(spec)
    train, test = Window(*fold.train_ranges[0]), Window(*fold.test_ranges[0])
    validate = Window(*fold.validate_ranges[0]) if len(fold.validate) else None
    found = _measured(market, train, spec, threads, common)
    if not found.complete:  # interrupted: part of a grid chooses nothing
        raise KeyboardInterrupt
    order = _order(found, spec.plan)
    if validate is not None and len(order):
        first = [found.strategies[row] for row in order[: spec.plan.keep]]
        values = _table(market, validate, first, spec, threads, common)[:, metrics.NAMES.index(spec.plan.objective)]
        order = order[: spec.plan.keep][metrics.ranking(values, better=BETTER[spec.plan.objective])]
    chosen = [found.strategies[row] for row in order[: spec.plan.ensemble]]
    after = _table(market, test, found.strategies, spec, threads, common)
    before = found.values
    best = int(order[0]) if len(order) else -1
    return FoldFit(
        number=fold.number,
        train=train,
        test=test,
        validate=validate,
        sets=len(found),
        allowed=int(_allowed(found, spec.plan).sum()),
        chosen=tuple(dict(one.parameters) for one in chosen),
        in_sample=_named(before[best]) if chosen else {},
        out_of_sample=_named(after[best]) if chosen else {},
        rank=_rank(after, best, spec.plan.objective) if chosen else math.nan,
        agreement=_agreement(before, after, spec.plan.objective),
    )


def _measured(market: Market, train: Window, spec: Spec, threads: int | None, common: Common) -> Sweep:
    """Every set is a trial, and noted."""
    batch = _batch(market, train, spec, common)
    terms = {**spec.terms, "detail": None, "history": batch.history}
    return swept(batch, spec.base, common.sets, tuple(spec.axes), terms, spec.plan.objective, threads)


def _batch(market: Market, span: Window, spec: Spec, common: Common) -> Batch:
    """Bars of a window, with those before it for features."""
    return Batch(span.of(market), history=market[: span.stop], sources=common.sources, **spec.terms)


def _table(
    market: Market, span: Window, sets: Sequence[Strategy], spec: Spec, threads: int | None, common: Common
) -> Floats:
    """Measures for judging alone: nobody chooses by them, so they are no trials."""
    walker = Walker(_batch(market, span, spec, common), threads, progress=False)
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


# ---- folds on disk ---------------------------------------------------------------------------------


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
