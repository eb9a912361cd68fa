"""`PerpPortfolio`: an account with margin as a `vectorbt.Portfolio`.

What is different from a spot account, and where:

1. `cash` is the wallet: realised profit, fees, funding, liquidation fees, insurance and interest, as in the ledger.
2. `asset_value` is what open positions add to the wallet: unrealised profit of contracts, market value of spot.
   So `value = cash + asset_value` is equity, and returns, drawdowns and everything made of them follow.
3. `gross_exposure` and `net_exposure` are notional over equity, not part of an account paid in full.
4. `trades` are positions, flat to flat, after funding and insurance; `trades_type` gives entries or exits instead.
5. Rows of the account as a whole (interest, what the fund took of several legs) count in its group, and in no symbol.
6. `get_returns_acc` and so every ratio is NaN where nothing was traded (see `ratios`).

A group is one account: `pf["BTC/USDT:USDT"]` is one leg of it, on its own from the account's starting equity.
Everything that was added travels in the config, so that indexing, replace, copy, save and load keep it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import vectorbt as vbt
from vectorbt.base.reshape_fns import to_1d_array, to_2d_array
from vectorbt.portfolio import dispatch
from vectorbt.portfolio.enums import TradesType
from vectorbt.utils.decorators import cached_method, cached_property

from backtest import metrics
from backtest.portfolio import figures, stats
from backtest.portfolio.columns import rows_of, side_of
from backtest.portfolio.ratios import with_nothing_known
from backtest.portfolio.records import Fills, Flows, Liquidations, PerpEntryTrades, PerpExitTrades, PerpPositions
from backtest.records import Cash
from data.errors import BadInput

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RECORDS = ("fills", "flows", "liquidations", "positions", "exits", "entries")
"""Rows by column: config `<name>_records`."""
SERIES = ("held", "paid_for")
"""Arrays of (bars, columns)."""
OF_ACCOUNTS = ("margin_ratio", "margin_distance")
"""Arrays of (bars, accounts); `accounts` says which account a column belongs to."""


class PerpPortfolio(vbt.Portfolio):
    """Made by `portfolio_of`, or by `Result.portfolio`."""

    def __init__(self, wrapper: Any, close: Any, order_records: Any, log_records: Any, init_cash: Any,
                 cash_sharing: bool, call_seq: Any = None, fillna_close: Any = None, trades_type: Any = None,
                 engine: Any = None, **parts: Any) -> None:  # fmt: skip
        missing = [name for name in PARTS if name not in parts]
        if missing:
            raise BadInput(
                "a portfolio with margin is made of results: portfolio_of([simulate(...)]). The simulators of vectorbt "
                "know neither margin nor funding"
            )
        vbt.Portfolio.__init__(
            self, wrapper, close, order_records, log_records, init_cash, cash_sharing, call_seq=call_seq,
            fillna_close=fillna_close, trades_type=TradesType.Positions if trades_type is None else trades_type,
            engine=engine,
        )  # fmt: skip
        self._parts = parts
        self.update_config(**parts)

    # ---- choosing columns ---------------------------------------------------------------------------

    def indexing_func(self, pd_indexing_func: Any, **kwargs: Any) -> Any:
        """Accounts by their names; where a key is none, legs by theirs."""
        wrapper = self.wrapper
        grouped = wrapper.grouper.is_grouped()
        single = wrapper.get_ndim() == 1 if not grouped else wrapper.grouped_ndim == 1
        try:
            if single:
                pd_indexing_func(pd.Series([0], index=wrapper.get_columns()))
                return self
            return self._chosen(*wrapper.indexing_func_meta(pd_indexing_func, column_only_select=True, **kwargs))
        except (KeyError, pd.errors.IndexingError):
            if not grouped:
                raise
        made = wrapper.indexing_func_meta(pd_indexing_func, column_only_select=True, group_by=False)
        return self._chosen(*made)

    def _chosen(self, wrapper: Any, _: Any, groups: Any, columns: Any) -> Any:
        cols = np.atleast_1d(columns)
        whole = wrapper.grouper.is_grouped()
        sharing = self.cash_sharing and whole
        cash = to_1d_array(self._init_cash)[np.atleast_1d(groups)] if sharing else self._cash_of_columns()[cols]
        if not whole:
            wrapper = wrapper.replace(allow_enable=True, allow_modify=True)
        parts = {
            f"{name}_records": rows_of(self._parts[f"{name}_records"], cols, self._parts["accounts"])
            for name in RECORDS
        }
        return self.replace(
            wrapper=wrapper,
            close=wrapper.wrap(to_2d_array(self.close)[:, cols], group_by=False),
            order_records=rows_of(self._order_records, cols),
            log_records=self._log_records[:0],
            init_cash=cash,
            cash_sharing=sharing,
            accounts=self._parts["accounts"][cols],
            **{name: self._parts[name][:, cols] for name in SERIES},
            **parts,
        )

    def _cash_of_columns(self) -> Floats:
        """A leg stands alone with the starting equity of its account."""
        cash: Floats = to_1d_array(self._init_cash)
        return cash[self.wrapper.grouper.get_groups()] if self.cash_sharing else cash

    # ---- rows ---------------------------------------------------------------------------------------

    @cached_property
    def flows(self) -> Flows:
        """The ledger: every movement of cash."""
        return Flows(self.wrapper, self._parts["flows_records"], engine=self.engine)

    @cached_property
    def fills(self) -> Fills:
        """Fills with their reason and slippage, in quantities and prices of the contract."""
        return Fills(self.wrapper, self._parts["fills_records"], engine=self.engine)

    @cached_property
    def liquidations(self) -> Liquidations:
        return Liquidations(self.wrapper, self._parts["liquidations_records"], engine=self.engine)

    @cached_method
    def get_positions(self, group_by: Any = None, **kwargs: Any) -> Any:
        return self._trades(PerpPositions, "positions", group_by, kwargs)

    @cached_method
    def get_exit_trades(self, group_by: Any = None, **kwargs: Any) -> Any:
        return self._trades(PerpExitTrades, "exits", group_by, kwargs)

    @cached_method
    def get_entry_trades(self, group_by: Any = None, **kwargs: Any) -> Any:
        return self._trades(PerpEntryTrades, "entries", group_by, kwargs)

    def _trades(self, kind: Any, name: str, group_by: Any, kwargs: dict[str, Any]) -> Any:
        given = {"close": self.close, "engine": self.engine, **kwargs}
        return kind(self.wrapper, self._parts[f"{name}_records"], **given).regroup(group_by)

    # ---- cash and value -----------------------------------------------------------------------------

    @cached_method
    def assets(self, direction: str = "both", wrap_kwargs: Any = None, engine: str | None = None) -> Any:
        """Quantities held at the close, as they were; inverse contracts in quote currency with the side flipped."""
        held = self._parts["held"]
        shown = {"both": held, "longonly": np.maximum(held, 0.0), "shortonly": np.maximum(-held, 0.0)}
        return self.wrapper.wrap(shown[side_of(direction)], group_by=False, **(wrap_kwargs or {}))

    @cached_method
    def cash_flow(
        self, group_by: Any = None, free: bool = False, wrap_kwargs: Any = None, engine: str | None = None
    ) -> Any:
        """What came to the wallet or left it in each bar."""
        if free:
            raise BadInput("free cash is a notion of spot accounts: look at cash(), gross_exposure() or margin_ratio()")
        rows, column, many = self._placed(self._parts["flows_records"], group_by)
        bars = len(self.wrapper.index)
        made = np.bincount(rows["idx"] * many + column, rows["amount"], minlength=bars * many).reshape(bars, many)
        return self.wrapper.wrap(made, group_by=group_by, **(wrap_kwargs or {}))

    @cached_method
    def asset_value(
        self, direction: str = "both", group_by: Any = None, wrap_kwargs: Any = None, engine: str | None = None
    ) -> Any:
        """What open positions add to the wallet, at mark; of one direction: of the legs held that way."""
        held = self._directed(direction)
        made = self._grouped(held * (to_2d_array(self.close) - self._parts["paid_for"]), group_by)
        return self.wrapper.wrap(made, group_by=group_by, **(wrap_kwargs or {}))

    @cached_method
    def total_profit(self, group_by: Any = None, wrap_kwargs: Any = None, engine: str | None = None) -> Any:
        value = to_2d_array(self.value(group_by=group_by))
        made = value[-1] - to_1d_array(self.get_init_cash(group_by=group_by))
        return self._reduced(made, group_by, "total_profit", wrap_kwargs)

    @cached_method
    def gross_exposure(
        self, direction: str = "both", group_by: Any = None, wrap_kwargs: Any = None, engine: str | None = None
    ) -> Any:
        """Notional / equity; 0 where there is no equity."""
        notional = self._grouped(np.abs(self._directed(direction)) * to_2d_array(self.close), group_by)
        value = to_2d_array(self.value(group_by=group_by))
        made = np.divide(notional, value, out=np.zeros_like(notional), where=value > 0.0)
        return self.wrapper.wrap(made, group_by=group_by, **(wrap_kwargs or {}))

    @cached_method
    def asset_returns(self, group_by: Any = None, wrap_kwargs: Any = None, engine: str | None = None) -> Any:
        """Returns on notional: what positions made, with funding and fees, over what they were worth."""
        orders, rows = self._order_records, self._parts["flows_records"]
        paid = orders["size"] * orders["price"] * np.where(orders["side"] == 0, -1.0, 1.0)
        other = rows[rows["kind"] != Cash.FILL]
        bars, many = len(self.wrapper.index), len(self.wrapper.columns)
        made = np.zeros((bars, many))
        np.add.at(made, (orders["idx"], orders["col"]), paid)
        np.add.at(made, (other["idx"], other["col"]), other["amount"] * (other["account"] == 0))
        worth = self._grouped(self._parts["held"] * to_2d_array(self.close), group_by)
        found = dispatch.asset_returns(self._grouped(made, group_by), worth, engine=engine or self.engine)
        return self.wrapper.wrap(found, group_by=group_by, **(wrap_kwargs or {}))

    @cached_method
    def get_returns_acc(self, group_by: Any = None, **kwargs: Any) -> Any:
        accessor = vbt.Portfolio.get_returns_acc.func(self, group_by=group_by, **kwargs)
        return with_nothing_known(accessor, self._count(self._order_records, group_by))

    # ---- what margin adds ---------------------------------------------------------------------------

    @cached_method
    def margin_ratio(self, group_by: Any = None) -> Any:
        """Maintenance / balance of the account at the close, the highest of all its legs; liquidated at 1."""
        return self.wrapper.wrap(self._of_accounts("margin_ratio", np.fmax, group_by), group_by=group_by)

    @cached_method
    def margin_distance(self, group_by: Any = None) -> Any:
        """How far mark stayed from a liquidation of the account in each bar, as a fraction; NaN with nothing open."""
        return self.wrapper.wrap(self._of_accounts("margin_distance", np.fmin, group_by), group_by=group_by)

    @cached_method
    def funding(self, group_by: Any = None) -> Any:
        """Funding received so far; negative: paid."""
        rows, column, many = self._placed(self._parts["flows_records"], group_by)
        bars = len(self.wrapper.index)
        amount = rows["amount"] * (rows["kind"] == Cash.FUNDING)
        made = np.bincount(rows["idx"] * many + column, amount, minlength=bars * many).reshape(bars, many)
        return self.wrapper.wrap(np.cumsum(made, axis=0), group_by=group_by)

    def total(self, *kinds: Cash, group_by: Any = None) -> Any:
        """Sum of the ledger rows of these kinds; negative: paid."""
        rows, column, many = self._placed(self._parts["flows_records"], group_by)
        made = np.bincount(column, rows["amount"] * np.isin(rows["kind"], kinds), minlength=many)
        return self._reduced(made, group_by, "_".join(kind.name.lower() for kind in kinds))

    def total_of(self, name: str, field: str, group_by: Any = None) -> Any:
        """Sum of a field of "fills" or "liquidations"."""
        rows, column, many = self._placed(self._parts[f"{name}_records"], group_by)
        return self._reduced(np.bincount(column, rows[field], minlength=many), group_by, f"{name}_{field}")

    def of_days(self, group_by: Any = None) -> pd.DataFrame:
        """Volatility, Sharpe, Sortino and Calmar of UTC-day returns, as `Result.metrics` has them: a row a column."""
        index, bar = self.wrapper.index, self.wrapper.freq.value
        ends = metrics.day_ends(index.to_numpy().astype("datetime64[ns]").astype(np.int64))
        value = to_2d_array(self.value(group_by=group_by))
        start, fills = to_1d_array(self.get_init_cash(group_by=group_by)), self._count(self._order_records, group_by)
        rows = [stats.of_days(value[:, j], float(start[j]), ends, bar, int(fills[j])) for j in range(value.shape[1])]
        names = self.wrapper.get_columns(group_by=group_by)
        return pd.DataFrame(rows, index=names, columns=list(stats.DAILY))

    # ---- said and drawn -----------------------------------------------------------------------------

    _metrics: ClassVar[Any] = stats.with_margin(vbt.Portfolio._metrics)
    _subplots: ClassVar[Any] = figures.with_margin(vbt.Portfolio._subplots)

    @property
    def plots_defaults(self) -> dict[str, Any]:
        """A leg: its orders and trades too. An account of several: what it is made of as a whole."""
        own = figures.OF_ACCOUNT if self.wrapper.grouper.is_grouped() else figures.OF_LEG
        return {**vbt.Portfolio.plots_defaults.__get__(self), "subplots": list(own)}

    def plots(self, *args: Any, **kwargs: Any) -> Any:
        """A figure of several subplots, thinned for the eye; `subplots="all"` for all that fit."""
        if kwargs.get("subplots") == "all" and self._is_grouped(kwargs.get("group_by")):
            kwargs["subplots"] = [name for name, one in self.subplots.items() if not one.get("check_is_not_grouped")]
        return figures.drawn(super().plots, *args, **kwargs)

    plot = plots

    def plot_funding(self, column: Any = None, group_by: Any = None, **kwargs: Any) -> Any:
        """Funding received so far."""
        return figures.line(self._one(self.funding(group_by=group_by), group_by, column), "Funding", "cyan", **kwargs)

    def plot_margin(self, column: Any = None, group_by: Any = None, **kwargs: Any) -> Any:
        """Margin ratio at each close; a position is liquidated at 1."""
        one = self._one(self.margin_ratio(group_by=group_by), group_by, column)
        return figures.line(one, "Margin ratio", "orange", **kwargs)

    def plot_margin_distance(self, column: Any = None, group_by: Any = None, **kwargs: Any) -> Any:
        """How far mark stayed from a liquidation."""
        one = self._one(self.margin_distance(group_by=group_by), group_by, column)
        return figures.line(one, "Distance to liquidation", "brown", **kwargs)

    def plot_liquidations(self, column: Any = None, group_by: Any = None, **kwargs: Any) -> Any:
        """Equity, with every liquidation on it: the larger, the more it lost."""
        chosen = self if column is None else self[column]
        one = self._one(self.value(group_by=group_by), group_by, column)
        rows, place, _ = chosen._placed(chosen._parts["liquidations_records"], group_by)
        return figures.liquidations(one, rows[place == 0], **kwargs)

    def _one(self, series: Any, group_by: Any, column: Any) -> Any:
        return self.select_one_from_obj(series, self.wrapper.regroup(group_by), column=column)

    # ---- helpers ------------------------------------------------------------------------------------

    def _is_grouped(self, group_by: Any) -> bool:
        return bool(self.wrapper.grouper.is_grouped(group_by=group_by))

    def _groups(self, group_by: Any) -> Ints:
        """The group of each column; the column itself without groups."""
        if self._is_grouped(group_by):
            return np.asarray(self.wrapper.grouper.get_groups(group_by=group_by), dtype=np.int64)
        return np.arange(len(self.wrapper.columns), dtype=np.int64)

    def _grouped(self, values: Floats, group_by: Any) -> Floats:
        """(bars, columns) summed to groups."""
        if not self._is_grouped(group_by):
            return values
        starts = np.flatnonzero(np.diff(self._groups(group_by), prepend=-1))
        return np.asarray(np.add.reduceat(values, starts, axis=1))

    def _placed(self, rows: Any, group_by: Any) -> tuple[Any, Ints, int]:
        """Rows that count, the column or group of each, and how many of these there are."""
        groups = self._groups(group_by)
        if not self._is_grouped(group_by) and "account" in rows.dtype.names:
            rows = rows[rows["account"] == 0]
        return rows, groups[rows["col"]], int(groups.max(initial=-1)) + 1

    def _count(self, rows: Any, group_by: Any) -> Ints:
        _, column, many = self._placed(rows, group_by)
        return np.bincount(column, minlength=many)

    def _of_accounts(self, name: str, extreme: Any, group_by: Any) -> Floats:
        groups = self._groups(group_by)
        by_column = self._parts[name][:, self._parts["accounts"]]
        if not self._is_grouped(group_by):
            return np.asarray(by_column)
        return np.asarray(extreme.reduceat(by_column, np.flatnonzero(np.diff(groups, prepend=-1)), axis=1))

    def _directed(self, direction: str) -> Floats:
        held = self._parts["held"]
        shown = {"both": held, "longonly": np.maximum(held, 0.0), "shortonly": np.minimum(held, 0.0)}
        return np.asarray(shown[side_of(direction)])

    def _reduced(self, values: Any, group_by: Any, name: str, wrap_kwargs: Any = None) -> Any:
        return self.wrapper.wrap_reduced(values, group_by=group_by, **{"name_or_index": name, **(wrap_kwargs or {})})


PARTS = ("accounts", *SERIES, *OF_ACCOUNTS, *(f"{name}_records" for name in RECORDS))
figures.draw_plainly(PerpPortfolio)
