"""Measures of a run: arrays in, one number out. Each says when it is NaN.

Conventions, the same in the loops that keep no series:

1. Ratio and tail measures use UTC-day returns. The equity e_d of a day is that of its last bar (by the bar's open); a
   part of a day at the beginning or the end counts as a day. r_d = e_d / e_{d-1} - 1, where e_{-1} is the starting
   equity; 0 after a day that ended at or below zero. Warm-up counts: its days are flat.
2. A year has 365 days. Bars longer than a day give one return a bar, and `per_year` of them a year.
3. A spread below 1e-14 is what rounding makes of none. Ratios of it are NaN, and so are they of a run without
   fills: doing nothing is not infinitely good. With fewer than two days nothing is said about days.
4. Drawdown, its length and time under water are per bar; the starting equity, at the open of the first bar, is the
   first peak.
5. A trade is flat to flat, at the average price. A reversal ends one and begins the next; what is open at the end is
   marked, not closed, and no trade. Its profit is every ledger row of its symbol from the opening fill to the closing
   one: price, fees, funding, liquidation fee, insurance. Holding time runs from the bar of the first fill to that of
   the last.
6. Amounts are in settlement currency.

`measures(run, ...)` gives all of them in the order of `MEASURES`; `trades` lists the trades; `ranking` orders runs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from backtest.jit import jit_alone
from backtest.prepare import INVERSE
from backtest.records import Cash, Run
from data.clock import DAY, HOUR
from data.errors import BadInput, UnwindError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.void]

YEAR = 365.0  # days
TAIL = 20  # the worst one in 20: 5 %
NOTHING = 1e-14  # a spread that rounding alone makes
LARGEST = 709.0  # exp() of more is infinite


class Measure(NamedTuple):
    """One measure of a run: its name, its unit, which direction is better, and what it means."""

    name: str
    unit: str  # fraction, ratio, days, hours, count, money (settlement currency), flag (1: yes)
    better: int  # 1: more is better; -1: less is; 0: neither
    meaning: str


MEASURES = (
    Measure("total_return", "fraction", 1, "last equity / starting equity - 1"),
    Measure("annual_return", "fraction", 1, "total return, compounded to 365 days"),
    Measure("volatility", "fraction", -1, "standard deviation of daily returns, a year"),
    Measure("sharpe", "ratio", 1, "mean / standard deviation of daily returns, a year"),
    Measure("sortino", "ratio", 1, "mean / root mean square of negative daily returns, a year"),
    Measure("calmar", "ratio", 1, "annual return / maximum drawdown"),
    Measure("max_drawdown", "fraction", -1, "largest loss from a peak, by bar"),
    Measure("max_drawdown_days", "days", -1, "longest time from a peak until it was reached again, or to the end"),
    Measure("time_under_water", "fraction", -1, "part of bars that closed below the highest equity so far"),
    Measure("var_95", "fraction", -1, "loss of the 5 % quantile of daily returns"),
    Measure("es_95", "fraction", -1, "mean loss of the daily returns at or below that quantile"),
    Measure("skew", "ratio", 1, "skewness of daily returns"),
    Measure("kurtosis", "ratio", -1, "excess kurtosis of daily returns"),
    Measure("time_in_market", "fraction", 0, "part of bars that closed with a position"),
    Measure("exposure", "ratio", 0, "gross leverage at the end of the day, mean"),
    Measure("turnover", "ratio", 0, "notional of all fills / mean daily equity"),
    Measure("trades", "count", 0, "trades, flat to flat"),
    Measure("win_rate", "fraction", 1, "part of trades with a profit after all costs"),
    Measure("profit_factor", "ratio", 1, "profit of winning trades / loss of the others"),
    Measure("avg_holding_hours", "hours", 0, "mean time from the first fill of a trade to the last"),
    Measure("fees", "money", -1, "fees paid, those of liquidations included; negative: rebates"),
    Measure("funding", "money", 1, "funding received; negative: paid"),
    Measure("slippage", "money", -1, "what spread and impact cost, inside the fill prices"),
    Measure("liquidations", "count", -1, "liquidations, partial ones included"),
    Measure("liquidation_loss", "money", -1, "what liquidations took from the wallet"),
    Measure("bad_debt", "money", -1, "what the insurance fund paid for the account"),
    Measure("min_margin_distance", "fraction", 1, "the nearest that mark came to a liquidation"),
    Measure("ruined", "flag", -1, "equity was lost"),
    Measure("refused", "count", -1, "orders refused or given up"),
    Measure("scaled", "count", -1, "orders made smaller to fit the margin"),
    Measure("ambiguous", "count", -1, "bars that reached levels of both sides"),
)
NAMES = tuple(measure.name for measure in MEASURES)
FEES = (Cash.FEE, Cash.LIQUIDATION_FEE)
OF_TRADING = ("sharpe", "sortino", "calmar", "win_rate", "profit_factor")  # NaN where nothing was filled

TRADE = np.dtype(
    [
        ("symbol", "i4"),
        ("side", "i4"),  # 1: long, -1: short
        ("opened", "i8"),  # bar of the first fill
        ("closed", "i8"),  # bar of the last fill
        ("why", "i4"),  # Why of the last fill
        ("quantity", "f8"),  # the most that was held, unsigned
        ("entry_price", "f8"),  # mean of the increases (inverse: harmonic)
        ("exit_price", "f8"),  # mean of the reductions
        ("profit", "f8"),  # after everything below
        ("fees", "f8"),  # positive: paid
        ("funding", "f8"),  # positive: received
        ("insurance", "f8"),  # positive: paid by the fund
    ]
)


def measures(run: Run, ts: Ints, interval: int, kinds: Ints, start: float) -> dict[str, float]:
    """All measures of a run on bars of `interval` ns opening at `ts`, in the order of `MEASURES`."""
    equity = run.series["equity"]
    ends = day_ends(ts)
    daily = equity[ends]
    volatility_, sharpe_, sortino_, var, es, skew_, kurtosis_ = from_daily(daily, start, returns_a_year(interval))
    gained, loss = total_return(equity, start), max_drawdown(equity, start)
    annual = annual_return(gained, len(equity) * interval / DAY)
    closed = trades(run, kinds)
    profit = closed["profit"].astype(np.float64)
    found = {
        "total_return": gained,
        "annual_return": annual,
        "volatility": volatility_,
        "sharpe": sharpe_,
        "sortino": sortino_,
        "calmar": calmar(annual, loss, len(daily)),
        "max_drawdown": loss,
        "max_drawdown_days": longest_drawdown(equity, start) * interval / DAY,
        "time_under_water": time_under_water(equity, start),
        "var_95": var,
        "es_95": es,
        "skew": skew_,
        "kurtosis": kurtosis_,
        "time_in_market": time_in_market(run.leg_series["position"]),
        "exposure": total(run.series["gross"][ends]) / len(daily),
        "turnover": turnover(run.fills, kinds, daily),
        "trades": float(len(closed)),
        "win_rate": win_rate(profit),
        "profit_factor": profit_factor(profit),
        "avg_holding_hours": mean_holding(closed, interval / HOUR),
        "fees": 0.0 - cash(run.ledger, *FEES),
        "funding": cash(run.ledger, Cash.FUNDING),
        "slippage": total(run.fills["slippage"]),
        "liquidations": float(len(run.liquidations)),
        "liquidation_loss": total(run.liquidations["loss"]),
        "bad_debt": bad_debt(run.ledger),
        "min_margin_distance": lowest(run.margin_distance),
        "ruined": float(run.ruined_bar >= 0),
        "refused": float(len(run.refused)),
        "scaled": float(run.scaled),
        "ambiguous": float(run.ambiguous),
    }
    if len(run.fills) == 0:
        found.update(dict.fromkeys(OF_TRADING, math.nan))
    return {name: float(found[name]) for name in NAMES}


def ranking(values: npt.ArrayLike, ruined: npt.ArrayLike | None = None, *, better: int = 1) -> npt.NDArray[np.intp]:
    """Indexes of runs from the best to the worst by one measure: NaN after all numbers, ruined runs after those.

    better=-1: less is better. Equal values stay in their order.
    """
    if better not in (1, -1):
        raise BadInput(f"better={better!r}: write 1 where more is better, -1 where less is")
    value = np.asarray(values, dtype=np.float64)
    lost = np.zeros(len(value), dtype=bool) if ruined is None else np.asarray(ruined, dtype=np.float64) > 0.0
    unknown = np.isnan(value)
    return np.lexsort((np.where(unknown, 0.0, -better * value), unknown, lost))


# --- equity by day ---------------------------------------------------------------------------------------------------


def day_ends(ts: Ints) -> Flags:
    """Which bars are the last of their UTC day; the last bar of all is."""
    day = ts // DAY
    ends: Flags = np.append(day[1:] != day[:-1], True)
    return ends


def returns_a_year(interval: int) -> float:
    """365, or the number of bars in a year where a bar is longer than a day."""
    return YEAR * DAY / max(interval, DAY)


@jit_alone
def from_daily(
    daily_equity: Floats, start: float, per_year: float = 365.0
) -> tuple[float, float, float, float, float, float, float]:
    """(volatility, sharpe, sortino, var_95, es_95, skew, kurtosis). NaN: each by its own rule; all, below two days."""
    if len(daily_equity) < 2:
        return np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan
    r = daily_returns(daily_equity, start)
    quantile = tail_quantile(r)
    return (
        volatility(r, per_year),
        sharpe(r, per_year),
        sortino(r, per_year),
        -quantile,
        -mean_at_or_below(r, quantile),
        skew(r),
        kurtosis(r),
    )


@jit_alone
def rows_from_daily(daily_equity: Floats, days: Ints, start: float, per_year: float) -> Floats:
    """`from_daily` of many runs: a row each, of which so many days count."""
    out = np.empty((len(daily_equity), 7))
    for row in range(len(out)):
        found = from_daily(daily_equity[row, : days[row]], start, per_year)
        out[row, 0], out[row, 1], out[row, 2], out[row, 3] = found[0], found[1], found[2], found[3]
        out[row, 4], out[row, 5], out[row, 6] = found[4], found[5], found[6]
    return out


@jit_alone
def daily_returns(daily_equity: Floats, start: float) -> Floats:
    """r_d = e_d / e_{d-1} - 1 with the starting equity before the first day; 0 where there was nothing left."""
    r = np.empty(len(daily_equity))
    before = start
    for day in range(len(daily_equity)):
        r[day] = daily_equity[day] / before - 1.0 if before > 0.0 else 0.0
        before = daily_equity[day]
    return r


@jit_alone
def mean(r: Floats) -> float:
    """NaN: never; there is at least one."""
    total = 0.0
    for value in r:
        total += value
    return total / len(r)


@jit_alone
def moment(r: Floats, power: int) -> float:
    """Mean of (r - mean)^power."""
    middle = mean(r)
    total = 0.0
    for value in r:
        total += (value - middle) ** power
    return total / len(r)


@jit_alone
def spread(r: Floats) -> float:
    """Standard deviation, ddof 1. NaN: fewer than two."""
    n = len(r)
    return math.sqrt(moment(r, 2) * n / (n - 1)) if n > 1 else np.nan


@jit_alone
def volatility(r: Floats, per_year: float = 365.0) -> float:
    """NaN: fewer than two days."""
    return spread(r) * math.sqrt(per_year)


@jit_alone
def sharpe(r: Floats, per_year: float = 365.0) -> float:
    """NaN: no spread, or fewer than two days."""
    s = spread(r)
    return mean(r) / s * math.sqrt(per_year) if s > NOTHING else np.nan


@jit_alone
def sortino(r: Floats, per_year: float = 365.0) -> float:
    """NaN: no negative day, or fewer than two days."""
    total = 0.0
    for value in r:
        total += min(value, 0.0) ** 2
    down = math.sqrt(total / len(r))
    return mean(r) / down * math.sqrt(per_year) if down > NOTHING and len(r) > 1 else np.nan


@jit_alone
def tail_quantile(r: Floats) -> float:
    """The 5 % quantile, linear between the two nearest. NaN: never.

    The place (n - 1) / 20 is reckoned in whole numbers, so that rounding cannot move it past a return.
    """
    ordered = np.sort(r)
    low, rest = divmod(len(r) - 1, TAIL)
    level: float = ordered[low]
    if rest > 0:
        level += (ordered[low + 1] - level) * (rest / TAIL)
    return level


@jit_alone
def mean_at_or_below(r: Floats, level: float) -> float:
    """NaN: no return is that low."""
    total, count = 0.0, 0
    for value in r:
        if value <= level:
            total += value
            count += 1
    return total / count if count > 0 else np.nan


@jit_alone
def skew(r: Floats) -> float:
    """Population skewness. NaN: no spread."""
    second = moment(r, 2)
    width = math.sqrt(second)
    return moment(r, 3) / (second * width) if width > NOTHING else np.nan


@jit_alone
def kurtosis(r: Floats) -> float:
    """Population excess kurtosis. NaN: no spread."""
    second = moment(r, 2)
    return moment(r, 4) / (second * second) - 3.0 if math.sqrt(second) > NOTHING else np.nan


# --- equity by bar ---------------------------------------------------------------------------------------------------


def total_return(equity: Floats, start: float) -> float:
    """NaN: never."""
    return float(equity[-1]) / start - 1.0


def annual_return(total: float, days: float) -> float:
    """-1 where all is lost; infinite where the power is. NaN: never."""
    if total <= -1.0:
        return -1.0
    growth = math.log1p(total) * YEAR / days
    return math.expm1(growth) if growth < LARGEST else math.inf


def calmar(annual: float, loss: float, days: int) -> float:
    """NaN: no drawdown, or fewer than two days."""
    return annual / loss if loss > NOTHING and days > 1 else math.nan


def highest_so_far(equity: Floats, start: float) -> Floats:
    """The starting equity is the first peak."""
    return np.maximum.accumulate(np.maximum(equity, start))


def drawdown(equity: Floats, start: float) -> Floats:
    """Loss from the highest equity so far, as a positive fraction, a bar."""
    loss: Floats = 1.0 - equity / highest_so_far(equity, start)
    return loss


def max_drawdown(equity: Floats, start: float) -> float:
    """NaN: never."""
    return float(drawdown(equity, start).max())


def longest_drawdown(equity: Floats, start: float) -> float:
    """Bars from the close of a peak to the close that reached it again, or to the last. 0 where no bar lies below one.

    The starting equity stands at the open of the first bar, one bar before its close. NaN: never.
    """
    under = equity < highest_so_far(equity, start)
    place = np.arange(len(equity))
    last_peak = np.maximum.accumulate(np.where(under, -1, place))
    before = np.append(-1, last_peak[:-1])
    was_under = np.append(False, under[:-1])
    return float(np.max(np.where(under | was_under, place - before, 0)))


def time_under_water(equity: Floats, start: float) -> float:
    """NaN: never."""
    return float(np.mean(equity < highest_so_far(equity, start)))


def time_in_market(position: Floats) -> float:
    """Positions at the close, (bars, symbols); NaN counts as none. NaN: never."""
    held = (position != 0.0) & ~np.isnan(position)
    return float(np.mean(held.any(axis=1)))


def lowest(values: Floats) -> float:
    """The smallest number that is there. NaN: there is none."""
    there = values[~np.isnan(values)]
    return float(there.min()) if len(there) else math.nan


# --- cash ------------------------------------------------------------------------------------------------------------


def total(values: npt.ArrayLike) -> float:
    """One by one, in their order, as the loops add them up: so both have the same bits. 0 for none."""
    made = np.add.accumulate(np.asarray(values, dtype=np.float64))
    return float(made[-1]) if len(made) else 0.0


def notional(fills: Rows, kinds: Ints) -> Floats:
    """What each fill moved, in settlement currency: |quantity| at its price, over it for inverse contracts."""
    size, price = np.abs(fills["quantity"]), fills["price"]
    inverse = np.asarray(kinds)[fills["symbol"]] == INVERSE
    moved: Floats = np.where(inverse, size / price, size * price)
    return moved


def turnover(fills: Rows, kinds: Ints, daily_equity: Floats) -> float:
    """NaN: the mean of daily equity is not above zero."""
    middle = float(np.mean(daily_equity))
    return total(notional(fills, kinds)) / middle if middle > 0.0 else math.nan


def cash(ledger: Rows, *kinds: Cash) -> float:
    """Sum of the rows of these kinds; negative: paid. NaN: never."""
    chosen = np.isin(ledger["kind"], kinds)
    return total(ledger["amount"][chosen])


def bad_debt(ledger: Rows) -> float:
    """What the fund paid; what it kept is not set against it. NaN: never."""
    amounts = ledger["amount"][ledger["kind"] == Cash.INSURANCE]
    return total(amounts[amounts > 0.0])


# --- trades ----------------------------------------------------------------------------------------------------------


def win_rate(profit: Floats) -> float:
    """NaN: no trades."""
    return float(np.mean(profit > 0.0)) if len(profit) else math.nan


def profit_factor(profit: Floats) -> float:
    """Infinite without a loss. NaN: no trades, or neither profit nor loss."""
    gained, lost = total(profit[profit > 0.0]), -total(profit[profit < 0.0])
    if lost > 0.0:
        return gained / lost
    return math.inf if gained > 0.0 else math.nan


def mean_holding(closed: Rows, bar_hours: float) -> float:
    """Hours. NaN: no trades."""
    return total((closed["closed"] - closed["opened"]) * bar_hours) / len(closed) if len(closed) else math.nan


def trades(run: Run, kinds: Ints) -> Rows:
    """Rows of `TRADE`, in the order in which they closed.

    For each symbol: 1. fills are numbered by trade; 2. every fill has one ledger row of its fee, zero included, after
    that of its price, so that the rows can be counted off against the fills; 3. other rows (funding, insurance) belong
    to the trade of the fill before them; 4. rows are summed by trade.
    """
    found, last = [np.empty(0, TRADE)], [np.empty(0, np.intp)]
    for symbol, kind in enumerate(kinds):
        places = np.flatnonzero(run.fills["symbol"] == symbol)
        if len(places) == 0:
            continue
        fills = run.fills[places]
        ledger = run.ledger[run.ledger["symbol"] == symbol]
        found.append(_trades_of(fills, ledger, symbol, int(kind)))
        last.append(places[fills["position"] == 0.0])
    rows: Rows = np.concatenate(found)[np.argsort(np.concatenate(last))]
    return rows


def _trades_of(fills: Rows, ledger: Rows, symbol: int, kind: int) -> Rows:
    after = fills["position"]
    before = np.append(0.0, after[:-1])
    if np.any(before * after < 0.0):
        raise UnwindError(f"symbol {symbol}: a reversal is two fills, to zero and from there")
    opens, closes = before == 0.0, after == 0.0
    trade_of_fill = np.cumsum(opens) - 1
    more = np.abs(after) > np.abs(before)
    trade_of_row = _trade_of_row(ledger, fills, trade_of_fill)
    count = int(np.count_nonzero(closes))  # an open one at the end is none
    rows = np.zeros(count, TRADE)
    for field, values in {
        "symbol": symbol,
        "side": np.sign(after[opens])[:count],
        "opened": fills["bar"][opens][:count],
        "closed": fills["bar"][closes],
        "why": fills["why"][closes],
        "quantity": np.maximum.reduceat(np.abs(after), np.flatnonzero(opens))[:count],
        "entry_price": _mean_price(fills, more, trade_of_fill, kind)[:count],
        "exit_price": _mean_price(fills, ~more, trade_of_fill, kind)[:count],
        "profit": _sums(ledger["amount"], trade_of_row, count),
        "fees": 0.0 - _sums(ledger["amount"] * np.isin(ledger["kind"], FEES), trade_of_row, count),
        "funding": _sums(ledger["amount"] * (ledger["kind"] == Cash.FUNDING), trade_of_row, count),
        "insurance": _sums(ledger["amount"] * (ledger["kind"] == Cash.INSURANCE), trade_of_row, count),
    }.items():
        rows[field] = values
    return rows


def _sums(amounts: Floats, trade_of_row: Ints, count: int) -> Floats:
    """By trade, added in order."""
    total = np.bincount(trade_of_row, amounts, minlength=count)[:count]
    return np.asarray(total + 0.0, dtype=np.float64)  # no negative zero


def _mean_price(fills: Rows, chosen: Flags, trade_of_fill: Ints, kind: int) -> Floats:
    """By trade, weighted by quantity. NaN: nothing was chosen."""
    size = np.abs(fills["quantity"][chosen])
    value = 1.0 / fills["price"][chosen] if kind == INVERSE else fills["price"][chosen]
    count = int(trade_of_fill[-1]) + 1
    total = np.bincount(trade_of_fill[chosen], size * value, minlength=count)
    with np.errstate(invalid="ignore"):
        middle: Floats = total / np.bincount(trade_of_fill[chosen], size, minlength=count)
    return 1.0 / middle if kind == INVERSE else middle


def _trade_of_row(ledger: Rows, fills: Rows, trade_of_fill: Ints) -> Ints:
    """The trade that each ledger row of a symbol belongs to, by the order of the rows."""
    fee = np.isin(ledger["kind"], FEES)
    if np.count_nonzero(fee) != len(fills):
        raise UnwindError(f"the ledger has {np.count_nonzero(fee)} rows of fees for {len(fills)} fills: one each")
    done = np.cumsum(fee)
    fill = np.where(ledger["kind"] == Cash.FILL, done, done - 1)
    astray = np.flatnonzero((fill < 0) | (fill == len(fills)))
    if len(astray):
        row = ledger[astray[0]]
        raise UnwindError(f"bar {row['bar']}: a ledger row of symbol {row['symbol']} that belongs to no fill")
    trade: Ints = trade_of_fill[fill]
    return trade
