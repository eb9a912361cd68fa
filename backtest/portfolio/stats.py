"""What `stats()` of a portfolio with margin says on top of vectorbt's own.

vectorbt measures Sharpe, Sortino, Calmar and Omega on the returns of bars. `Result` does so on UTC-day returns, and
that is what the measures "(UTC days)" are; both are given, each under its own name. Maximum drawdown is by bar in both,
and 0 rather than NaN where equity never fell.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest import metrics
from backtest.records import Cash
from data.clock import DAY

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

DAILY = ("volatility", "sharpe", "sortino", "calmar")


def of_days(value: Floats, start: float, ends: Flags, interval: int, fills: int) -> tuple[float, float, float, float]:
    """The measures of `DAILY`. NaN: as in `backtest.metrics`; ratios, where nothing was filled."""
    daily = value[ends]
    volatility, sharpe, sortino, *_ = metrics.from_daily(daily, start, metrics.returns_a_year(interval))
    if fills == 0:
        return volatility, math.nan, math.nan, math.nan
    annual = metrics.annual_return(metrics.total_return(value, start), len(value) * interval / DAY)
    return volatility, sharpe, sortino, metrics.calmar(annual, metrics.max_drawdown(value, start), len(daily))


def _percent(self: Any, out: Any, settings: Any) -> Any:
    return out * 100


def _daily(name: str) -> Any:
    def found(self: Any, group_by: Any) -> Any:
        values = self.of_days(group_by)[name].to_numpy()
        return self.wrapper.wrap_reduced(values, group_by=group_by, name_or_index=name)

    return found


def _max_drawdown(self: Any, group_by: Any) -> Any:
    value, start = self.value(group_by=group_by), self.get_init_cash(group_by=group_by)
    columns = np.reshape(np.asarray(value), (len(value), -1)).T
    found = [metrics.max_drawdown(column, first) for column, first in zip(columns, np.atleast_1d(start), strict=True)]
    return self.wrapper.wrap_reduced(np.array(found), group_by=group_by, name_or_index="max_drawdown")


def _extreme(series: str, how: str) -> Any:
    def found(self: Any, group_by: Any) -> Any:
        values = getattr(self, series)(group_by=group_by)
        return getattr(values, how)()

    return found


def _cash(*kinds: Cash) -> Any:
    return lambda self, group_by: self.total(*kinds, group_by=group_by)


def _fees(self: Any, group_by: Any) -> Any:
    return 0.0 - self.total(Cash.LIQUIDATION_FEE, group_by=group_by)


def _sum(name: str, field: str) -> Any:
    return lambda self, group_by: self.total_of(name, field, group_by=group_by)


def _metric(title: str, calc: Any, tags: list[str], percent: bool = False) -> dict[str, Any]:
    made = {"title": title, "calc_func": calc, "tags": ["portfolio", *tags]}
    return {**made, "post_calc_func": _percent} if percent else made


ADDED = {
    "volatility_days": _metric("Volatility (UTC days) [%]", _daily("volatility"), ["returns", "days"], percent=True),
    "sharpe_days": _metric("Sharpe Ratio (UTC days)", _daily("sharpe"), ["returns", "days"]),
    "sortino_days": _metric("Sortino Ratio (UTC days)", _daily("sortino"), ["returns", "days"]),
    "calmar_days": _metric("Calmar Ratio (UTC days)", _daily("calmar"), ["returns", "days"]),
    "funding": _metric("Funding Received", _cash(Cash.FUNDING), ["cash", "funding"]),
    "interest": _metric("Interest Received", _cash(Cash.INTEREST), ["cash"]),
    "insurance": _metric("Insurance Fund Paid", _cash(Cash.INSURANCE), ["cash", "margin"]),
    "slippage": _metric("Slippage Paid", _sum("fills", "slippage"), ["orders"]),
    "liquidations": _metric("Liquidations", "liquidations.count", ["margin", "liquidations"]),
    "liquidation_fees": _metric("Liquidation Fees Paid", _fees, ["margin", "liquidations"]),
    "liquidation_loss": _metric("Liquidation Loss", _sum("liquidations", "loss"), ["margin", "liquidations"]),
    "max_margin_ratio": _metric("Max Margin Ratio [%]", _extreme("margin_ratio", "max"), ["margin"], percent=True),
    "min_margin_distance": _metric(
        "Min Distance To Liquidation [%]", _extreme("margin_distance", "min"), ["margin"], percent=True
    ),
}


def with_margin(own: Any) -> Any:
    """vectorbt's measures and ours; its own are left as they are."""
    made = own.copy(copy_mode="deep")
    made["max_dd"] = {**made["max_dd"], "calc_func": _max_drawdown, "post_calc_func": _percent}
    made.update(ADDED)
    return made
