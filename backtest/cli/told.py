"""A result in a few lines, and as plain facts: what it made, of what, how sure that is, and what to mind.

The range of the Sharpe ratio is by its standard error, from length, skewness, kurtosis and autocorrelation of the daily
returns (`backtest.inference.sharpe`, "2025"), which takes no time; `--intervals` draws every measure by bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from backtest.metrics import MEASURES
from data import clock

if TYPE_CHECKING:
    from backtest.result import Result
    from backtest.trials import Count
    from data.market import Market

LEVEL, Z = 0.95, 1.959963984540054
MOST_WARNINGS = 5
_MEASURE = {measure.name: measure for measure in MEASURES}


@dataclass(frozen=True)
class Range:
    """An annual Sharpe ratio and where its true value may lie. NaN: nothing can be said."""

    value: float
    low: float
    high: float
    level: float = LEVEL


@dataclass(frozen=True)
class Deflated:
    """`probability` that the ratio is above what the luck of all trials would show; `hurdle` is that ratio, a year."""

    trials: int
    effective: float
    hurdle: float
    probability: float
    words: str


def sharpe_range(result: Result) -> Range:
    from backtest.inference import daily_returns_of, moments, sharpe_variance
    from backtest.metrics import returns_a_year

    value, returns = result.measures["sharpe"], daily_returns_of(result)[0]
    if math.isnan(value) or len(returns) < 3:
        return Range(value, math.nan, math.nan)
    a_year = math.sqrt(returns_a_year(result.interval))
    off = Z * math.sqrt(sharpe_variance(moments(returns), convention="2025")) * a_year
    return Range(value, value - off, value + off)


def deflated(result: Result, count: Count) -> Deflated:
    """Against all trials that the register knows of the market."""
    from backtest.inference import Trials, daily_returns_of, dsr, expected_maximum, moments
    from backtest.metrics import returns_a_year

    returns = daily_returns_of(result)[0]
    variance = count.variance if count.variance == count.variance else 0.0
    if count.number < 1 or len(returns) < 2 or math.isnan(result.measures["sharpe"]):
        return Deflated(count.number, count.effective, math.nan, math.nan, count.words())
    trials = Trials(count.number, variance, min(max(count.effective, 1.0), count.number))
    hurdle = expected_maximum(trials.counted, variance) * math.sqrt(returns_a_year(result.interval))
    return Deflated(count.number, count.effective, hurdle, dsr(moments(returns), trials), count.words())


def money(result: Result) -> dict[str, float]:
    """What the gain is made of; the parts add up to it. Slippage is inside the price."""
    import numpy as np

    from backtest.records import Cash

    ledger, series = result.run.ledger, result.run.series
    by = {kind: float(ledger["amount"][ledger["kind"] == kind].sum()) for kind in Cash}
    last = float(series["equity"][-1])
    gain = last - result.start_equity
    rest = {
        "funding": by[Cash.FUNDING],
        "fees": by[Cash.FEE],
        "liquidation_fees": by[Cash.LIQUIDATION_FEE],
        "insurance": by[Cash.INSURANCE],
        "interest": by[Cash.INTEREST],
    }
    return {"gain": gain, "price": gain - float(np.sum(list(rest.values()))), **rest}


def facts(result: Result) -> dict[str, Any]:
    return {
        "symbols": list(result.symbols),
        "interval": clock.label(result.interval),
        "from": clock.iso(int(result.ts[0])),
        "to": clock.iso(int(result.ts[-1]) + result.interval),
        "venue": result.venue,
        "currency": result.currency,
        "parameters": dict(result.parameters),
        "account": dict(result.account),
        "costs": dict(result.costs),
        "equity": {"first": result.start_equity, "last": float(result.run.series["equity"][-1])},
        "measures": dict(result.measures),
        "sharpe_range": sharpe_range(result),
        "money": money(result),
        "warnings": list(result.warnings),
        "assumptions": list(result.assumptions),
        "fingerprint": result.fingerprint,
    }


# ---- in words ----------------------------------------------------------------------------------------


def text(name: str, values: Mapping[str, float]) -> str:
    from backtest.result import as_text

    return as_text(_MEASURE[name], values[name])


def tell(result: Result, count: Count | None) -> None:
    m = result.measures
    r, last = sharpe_range(result), float(result.run.series["equity"][-1])
    between = "" if math.isnan(r.low) else f", 95 % between {r.low:.2f} and {r.high:.2f}"
    said = partial(text, values=m)
    rows = [
        ("equity", f"{result.start_equity:,.2f} to {last:,.2f} {result.currency}: {m['total_return']:+.2%}, "
                   f"{m['annual_return']:+.2%} a year"),
        ("Sharpe ratio", f"{said('sharpe')}{between}"),
        ("drawdown", f"{said('max_drawdown')} at worst, {said('max_drawdown_days')} the longest"),
        ("trades", f"{said('trades')}, {said('win_rate')} with a profit, {said('avg_holding_hours')} on average, "
                   f"in the market {said('time_in_market')} of the time"),
        ("gain", _gain(result)),
        ("liquidations", _liquidations(result)),
    ]  # fmt: skip
    if count is not None:
        rows += _trials(deflated(result, count), count)
    print_rows(rows)
    tell_warnings(result.warnings)


def _gain(result: Result) -> str:
    parts = money(result)
    shown = [f"{name.replace('_', ' ')} {v:+,.2f}" for name, v in parts.items() if name != "gain" and v]
    shown = shown or ["nothing was traded"]
    return f"{parts['gain']:+,.2f} = {', '.join(shown)} (slippage in the price: {-result.measures['slippage']:+,.2f})"


def _liquidations(result: Result) -> str:
    m = result.measures
    nearest = "" if math.isnan(m["min_margin_distance"]) else f"; mark came within {text('min_margin_distance', m)}"
    if not m["liquidations"]:
        return f"none{nearest}"
    return f"{text('liquidations', m)}, they took {text('liquidation_loss', m)} {result.currency}"


def _trials(found: Deflated, count: Count) -> list[tuple[str, str]]:
    if count.number == 1 and count.since is None:
        return [("trials", "the first one on this market; all that follow will count")]
    rows = [("trials", found.words)]
    if not math.isnan(found.probability):
        luck = f"{found.hurdle:.2f}, which the luck of these trials would show"
        rows.append(("deflated", f"{found.probability:.0%} sure that the ratio beats {luck} (95 % convinces)"))
    return rows


def tell_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings[:MOST_WARNINGS]:
        print(f"warning: {warning}")
    if len(warnings) > MOST_WARNINGS:
        print(f"and {len(warnings) - MOST_WARNINGS} more warnings, in --json")


def print_rows(rows: Sequence[tuple[str, str]]) -> None:
    wide = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"  {name:<{wide}}  {value}")


def about(market: Market) -> str:
    days = len(market) * market.interval / clock.DAY
    return (
        f"{', '.join(market.symbols)} of {market.venue}, {market.interval_label} bars, {clock.iso(market.start)} to "
        f"{clock.iso(market.end)} ({days:,.0f} days)"
    )
