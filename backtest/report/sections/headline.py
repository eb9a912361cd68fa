"""The numbers that are asked for first, each with the range that redrawn histories give it."""

from __future__ import annotations

import math

from backtest.metrics import MEASURES
from backtest.report import words
from backtest.report.parts import Section, Table, Tile, Tiles
from backtest.report.subject import Subject

TILES = ("total_return", "annual_return", "sharpe", "max_drawdown", "win_rate", "profit_factor", "trades", "funding")
NAMES = {
    "total_return": "Return, net",
    "annual_return": "Return a year",
    "sharpe": "Sharpe ratio",
    "max_drawdown": "Deepest drawdown",
    "win_rate": "Trades with a profit",
    "profit_factor": "Profit factor",
    "trades": "Trades",
    "funding": "Funding",
}
COSTS = ("fees", "slippage", "liquidation_loss")  # shown as what they took
SIGNED = ("total_return", "annual_return", "sharpe", "funding")
_MEASURE = {m.name: m for m in MEASURES}


def section(subject: Subject) -> Section:
    ranges = subject.evidence.intervals if subject.evidence else {}
    draws = next((one.draws for one in ranges.values() if one.draws), 0)
    lead = (
        f"Ranges hold 95% of {draws:,} histories redrawn from the run's own days in blocks (stationary bootstrap). "
        "They "
        "tell of luck within this history, not of other markets."
        if draws
        else "Ranges by bootstrap were not reckoned."
    )
    return Section(
        "numbers",
        "The numbers",
        lead=lead,
        blocks=(Tiles([_tile(name, subject) for name in TILES]), _table(subject)),
        short="Numbers",
    )


def said(name: str, value: float, cents: int = 2) -> str:
    """A measure in its unit."""
    unit = _MEASURE[name].unit
    if math.isnan(value):
        return words.NOTHING
    if unit == "fraction":
        return words.percent(value, sign=name in SIGNED)
    if unit == "money":
        return words.amount(0.0 - value if name in COSTS else value, cents, sign=True)
    if unit == "count":
        return f"{value:,.0f}"
    if unit == "flag":
        return "yes" if value else "no"
    if unit == "hours":
        return f"{words.plain(value, 1)} h"
    if unit == "days":
        return f"{words.plain(value, 1)} d"
    return words.plain(value)


def _tile(name: str, subject: Subject) -> Tile:
    value, cents = subject.result.measures[name], words.cents(subject.start)
    found = subject.evidence.intervals.get(name) if subject.evidence else None
    known = found is not None and not math.isnan(found.low) and name != "trades"
    return Tile(
        NAMES[name] + (f", {subject.money}" if name == "funding" else ""),
        said(name, value, cents),
        _note(name, subject),
        words.tone(value) if name in SIGNED and not math.isnan(value) else "",
        low=said(name, found.low, cents) if known and found else "",
        high=said(name, found.high, cents) if known and found else "",
    )


def _note(name: str, subject: Subject) -> str:
    m = subject.result.measures
    if name == "total_return":
        last = float(subject.equity[-1])
        return f"{subject.amount(subject.start)} to {subject.amount(last)} {subject.money}"
    if name == "annual_return":
        short = subject.days_long() < 365.0
        return f"compounded from {subject.days_long():,.0f} days" + (": less than a year" if short else "")
    if name == "max_drawdown":
        return f"{said('time_under_water', m['time_under_water'])} of the time under water"
    if name == "trades":
        return f"held {said('avg_holding_hours', m['avg_holding_hours'])} on average"
    if name == "sharpe":
        return "of daily returns, 365 days a year"
    return ""


def _table(subject: Subject) -> Table:
    m, ranges = subject.result.measures, subject.evidence.intervals if subject.evidence else {}
    rows, cents = [], words.cents(subject.start)
    for measure in MEASURES:
        one = ranges.get(measure.name)
        known = one is not None and not math.isnan(one.low)
        low, high = (
            (said(measure.name, one.low, cents), said(measure.name, one.high, cents)) if known and one else ("", "")
        )
        between = f"{low} to {high}" if low else words.NOTHING
        rows.append((words.heading(measure.name), measure.meaning, said(measure.name, m[measure.name], cents), between))
    return Table(
        f"All {len(rows)} measures",
        ("Measure", "Meaning", "Value", "95% of redrawn histories"),
        rows,
        words=2,
        wraps=True,
        folded=True,
        note="Costs are negative. Every measure is reckoned on every bar; ranges on days.",
    )
