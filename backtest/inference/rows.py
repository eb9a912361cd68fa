"""A run as rows, one a UTC day, and its measures from such rows, in whatever order they come.

The measures agree with `backtest.metrics` where they are made of days; those of a path by bar (drawdown, its length,
time under water, calmar) are of the days' ends here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backtest import metrics
from backtest.inference.given import Floats, Ints
from backtest.records import Cash, Run
from data.clock import DAY, HOUR

COLUMNS = (
    "ret", "bars", "held", "gross", "equity", "moved", "fees", "funding", "slippage", "trades", "wins", "gained",
    "lost", "holding", "liquidations", "liquidation_loss", "refused", "nearest",
)  # fmt: skip
NAMES = (
    "total_return", "annual_return", "volatility", "sharpe", "sortino", "calmar", "max_drawdown", "max_drawdown_days",
    "time_under_water", "var_95", "es_95", "skew", "kurtosis", "time_in_market", "exposure", "turnover", "trades",
    "win_rate", "profit_factor", "avg_holding_hours", "fees", "funding", "slippage", "liquidations",
    "liquidation_loss", "min_margin_distance", "refused",
)  # fmt: skip
AT = {name: place for place, name in enumerate(COLUMNS)}


@dataclass(frozen=True, eq=False)
class DayRows:
    """`columns` (days, COLUMNS), and what turns them into measures."""

    columns: Floats
    start: float
    interval: int  # ns, of the bars
    filled: bool

    @property
    def returns(self) -> Floats:
        return self.columns[:, AT["ret"]]

    @property
    def per_year(self) -> float:
        return metrics.returns_a_year(self.interval)


def rows_of(run: Run, ts: Ints, interval: int, kinds: Ints, start: float) -> DayRows:
    ends = metrics.day_ends(ts)
    day: Ints = np.cumsum(ends, dtype=np.int64) - ends  # of each bar
    days = int(day[-1]) + 1
    equity = run.series["equity"]
    closed = metrics.trades(run, kinds)
    profit = closed["profit"].astype(np.float64)
    sums = {
        "bars": np.bincount(day, minlength=days),
        "held": np.bincount(day, _held(run.leg_series["position"]), days),
        "moved": _summed(day[run.fills["bar"]], metrics.notional(run.fills, kinds), days),
        "slippage": _summed(day[run.fills["bar"]], run.fills["slippage"], days),
        "liquidations": np.bincount(day[run.liquidations["bar"]], minlength=days),
        "liquidation_loss": _summed(day[run.liquidations["bar"]], run.liquidations["loss"], days),
        "refused": np.bincount(day[run.refused["bar"]], minlength=days),
        "trades": np.bincount(day[closed["closed"]], minlength=days),
        "wins": _summed(day[closed["closed"]], profit > 0.0, days),
        "gained": _summed(day[closed["closed"]], np.maximum(profit, 0.0), days),
        "lost": _summed(day[closed["closed"]], np.maximum(-profit, 0.0), days),
        "holding": _summed(day[closed["closed"]], closed["closed"] - closed["opened"], days),
        "fees": 0.0 - _cash(run, day, days, *metrics.FEES),
        "funding": _cash(run, day, days, Cash.FUNDING),
        "ret": metrics.daily_returns(np.ascontiguousarray(equity[ends]), start),
        "gross": run.series["gross"][ends],
        "equity": equity[ends],
        "nearest": np.fmin.reduceat(run.margin_distance, np.append(0, np.flatnonzero(ends)[:-1] + 1)),
    }
    columns = np.column_stack([np.asarray(sums[name], dtype=np.float64) for name in COLUMNS])
    return DayRows(columns, float(start), int(interval), len(run.fills) > 0)


def _summed(day: Ints, values: npt.ArrayLike, days: int) -> Floats:
    return np.asarray(np.bincount(day, np.asarray(values, dtype=np.float64), days), dtype=np.float64)


def _cash(run: Run, day: Ints, days: int, *kinds: Cash) -> Floats:
    rows = run.ledger[np.isin(run.ledger["kind"], kinds)]
    return _summed(day[rows["bar"]], rows["amount"], days)


def measured_rows(about: DayRows, rows: Floats) -> Floats:
    """Measures of rows, in the order of `NAMES`. NaN: as each of `backtest.metrics` says."""
    r = np.ascontiguousarray(rows[:, AT["ret"]])
    equity = np.asarray(about.start * np.cumprod(1.0 + r), dtype=np.float64)
    total, loss = float(equity[-1]) / about.start - 1.0, metrics.max_drawdown(equity, about.start)
    one_day = max(about.interval, DAY) / DAY
    annual = metrics.annual_return(total, float(rows[:, AT["bars"]].sum()) * about.interval / DAY)
    by_day = metrics.from_daily(equity, about.start, about.per_year)
    totals = rows.sum(axis=0)
    trades, gained, lost = totals[AT["trades"]], totals[AT["gained"]], totals[AT["lost"]]
    middle = float(rows[:, AT["equity"]].mean())
    found = dict(
        zip(("volatility", "sharpe", "sortino", "var_95", "es_95", "skew", "kurtosis"), by_day, strict=True)
    ) | {
        "total_return": total,
        "annual_return": annual,
        "calmar": metrics.calmar(annual, loss, len(r)),
        "max_drawdown": loss,
        "max_drawdown_days": metrics.longest_drawdown(equity, about.start) * one_day,
        "time_under_water": metrics.time_under_water(equity, about.start),
        "time_in_market": totals[AT["held"]] / totals[AT["bars"]],
        "exposure": totals[AT["gross"]] / len(r),
        "turnover": totals[AT["moved"]] / middle if middle > 0.0 else math.nan,
        "win_rate": totals[AT["wins"]] / trades if trades else math.nan,
        "profit_factor": _factor(gained, lost),
        "avg_holding_hours": totals[AT["holding"]] / trades * about.interval / HOUR if trades else math.nan,
        "min_margin_distance": metrics.lowest(rows[:, AT["nearest"]]),
    }
    for name in ("trades", "fees", "funding", "slippage", "liquidations", "liquidation_loss", "refused"):
        found[name] = totals[AT[name]]
    if not about.filled:
        found.update(dict.fromkeys(metrics.OF_TRADING, math.nan))
    return np.array([found[name] for name in NAMES])


def _factor(gained: float, lost: float) -> float:
    if lost > 0.0:
        return gained / lost
    return math.inf if gained > 0.0 else math.nan


def _held(position: Floats) -> Floats:
    """1 where a bar closed with a position."""
    return np.asarray(((position != 0.0) & ~np.isnan(position)).any(axis=1), dtype=np.float64)
