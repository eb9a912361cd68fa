"""Results side by side as one portfolio.

1. One run of one symbol is one column, named after the symbol. Many such runs are one column each, named after the run.
2. Several symbols of a run share one collateral: they are a group with shared cash, named after the run. Columns then
   have two levels, run and symbol; for a single run they are its symbols, and the group is "account".
3. All runs must have the same bars. Bars that are missing in the market are simply not there in any of them; the length
   of a bar is handed over, since vectorbt cannot guess it from an index with holes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from vectorbt.base.array_wrapper import ArrayWrapper
from vectorbt.portfolio.enums import log_dt, order_dt

from backtest.portfolio import rows
from backtest.portfolio.perp import RECORDS, PerpPortfolio
from backtest.result import Result
from data.errors import BadInput

if TYPE_CHECKING:
    from backtest.sweep import Sweep

Names = Sequence[Any] | pd.Index

ACCOUNT = "account"
TABLES = ("orders", *RECORDS)
EMPTY = {
    "orders": order_dt,
    "fills": rows.FILL,
    "flows": rows.FLOW,
    "liquidations": rows.LIQUIDATION,
    "positions": rows.TRADE,
    "exits": rows.TRADE,
    "entries": rows.TRADE,
}


def portfolio_of(results: Result | Iterable[Result], names: Names | None = None) -> PerpPortfolio:
    """One portfolio of one result or of many. `names`: of the runs, an index of several levels if you like."""
    runs = [results] if isinstance(results, Result) else list(results)
    _check(runs)
    labels = _labels(names, len(runs))
    grouped = any(len(run.symbols) > 1 for run in runs)
    gathered = _Gathered()
    for number, run in enumerate(runs):
        gathered.add(run, number)
    wrapper = ArrayWrapper(
        index=pd.DatetimeIndex(runs[0].ts.astype("datetime64[ns]"), name="ts"),
        columns=_columns(runs, labels, grouped, named=names is not None),
        ndim=1 if len(runs) == 1 and not grouped else 2,
        freq=pd.Timedelta(runs[0].interval, unit="ns"),
        group_by=_groups(runs, labels, named=names is not None) if grouped else None,
    )
    close = np.column_stack(gathered.close)
    tables: dict[str, Any] = {f"{name}_records": gathered.table(name) for name in RECORDS}
    return PerpPortfolio(
        wrapper,
        wrapper.wrap(close, group_by=False),
        gathered.table("orders"),
        np.empty(0, log_dt),
        np.array([run.start_equity for run in runs]),
        grouped,
        accounts=np.array(gathered.accounts, dtype=np.int64),
        held=np.column_stack(gathered.held),
        paid_for=np.column_stack(gathered.paid_for),
        margin_ratio=np.column_stack([run.run.series["margin_ratio"] for run in runs]),
        margin_distance=np.column_stack([run.run.margin_distance for run in runs]),
        **tables,
    )


def portfolio_of_sweep(found: Sweep, which: int | Iterable[int] = 5, by: str | None = None) -> PerpPortfolio:
    """The best sets of a sweep, or those of the given rows, run again in full: a column a set, named by parameters."""
    chosen = found.ranking(by)[:which].tolist() if isinstance(which, int | np.integer) else list(which)
    if not chosen:
        raise BadInput("which sets? Give their number, best first, or the rows of the table")
    values = [tuple(found.strategy(row).parameters[name] for name in found.names) for row in chosen]
    if len(found.names) == 1:
        names: pd.Index = pd.Index([value[0] for value in values], name=found.names[0])
    else:
        names = pd.MultiIndex.from_tuples(values, names=list(found.names))
    return portfolio_of([found.rerun(row) for row in chosen], names)


# ---- gathering -------------------------------------------------------------------------------------------------------


@dataclass
class _Gathered:
    """Columns and rows of all runs, one symbol after the other."""

    close: list[npt.NDArray[np.float64]] = field(default_factory=list)
    held: list[npt.NDArray[np.float64]] = field(default_factory=list)
    paid_for: list[npt.NDArray[np.float64]] = field(default_factory=list)
    accounts: list[int] = field(default_factory=list)
    tables: dict[str, list[npt.NDArray[np.void]]] = field(default_factory=lambda: {name: [] for name in TABLES})

    def add(self, run: Result, number: int) -> None:
        assert run.marks is not None
        prices, held, paid_for = rows.prices(run, run.marks), rows.holdings(run), rows.paid_for(run)
        for j in range(len(run.symbols)):
            made = rows.records(run, j, float(prices[-1, j]))
            column = len(self.accounts)
            self.close.append(prices[:, j])
            self.held.append(held[:, j])
            self.paid_for.append(paid_for[:, j])
            self.accounts.append(number)
            for name in TABLES:
                found = getattr(made, name)
                if name == "flows" and j == 0:
                    found = np.concatenate([found, rows.account_flows(run, len(run.symbols))])
                    found = found[np.argsort(found["idx"], kind="stable")]
                self.tables[name].append(_in_column(found, column))

    def table(self, name: str) -> npt.NDArray[np.void]:
        made = np.concatenate([np.empty(0, EMPTY[name]), *self.tables[name]])
        return made.astype(EMPTY[name])


def _in_column(found: npt.NDArray[np.void], column: int) -> npt.NDArray[np.void]:
    found["col"] = column
    found["id"] = np.arange(len(found))
    return found


# ---- names -----------------------------------------------------------------------------------------------------------


def _check(runs: list[Result]) -> None:
    if not runs:
        raise BadInput("a portfolio needs at least one result")
    for number, run in enumerate(runs):
        if not isinstance(run, Result):
            raise BadInput(f"result {number} is {type(run).__name__}: give what simulate() returns")
        if run.marks is None:
            raise BadInput("this result was kept without mark closes: simulate it again to make a portfolio of it")
        if run.interval != runs[0].interval or not np.array_equal(run.ts, runs[0].ts):
            raise BadInput(
                f"results 0 and {number} have other bars ({runs[0].span} and {run.span}): simulate them on the "
                "same market, or make a portfolio of each"
            )


def _labels(names: Names | None, count: int) -> pd.Index:
    if names is None:
        return pd.RangeIndex(count, name="run")
    labels = names if isinstance(names, pd.Index) else pd.Index(list(names), name="run")
    if len(labels) != count:
        raise BadInput(f"{len(labels)} names for {count} results: give one each")
    if not labels.is_unique:
        raise BadInput(f"the name {labels[labels.duplicated()][0]!r} is given twice: names tell runs apart")
    return labels


def _columns(runs: list[Result], labels: pd.Index, grouped: bool, named: bool) -> pd.Index:
    symbols = [symbol for run in runs for symbol in run.symbols]
    if len(runs) == 1 and not named:
        return pd.Index(symbols, name="symbol")
    if not grouped:
        return labels
    levels = _repeated(runs, labels).to_frame(index=False)
    levels.columns = [name if name is not None else f"level_{n}" for n, name in enumerate(labels.names)]
    levels["symbol"] = symbols
    return pd.MultiIndex.from_frame(levels)


def _groups(runs: list[Result], labels: pd.Index, named: bool) -> Any:
    if len(runs) == 1 and not named:
        return pd.Index([ACCOUNT] * len(runs[0].symbols), name="account")
    return _repeated(runs, labels)


def _repeated(runs: list[Result], labels: pd.Index) -> pd.Index:
    return labels.repeat([len(run.symbols) for run in runs])
