"""Measures of a window of days that moves along: was it the same strategy all the time?"""

from __future__ import annotations

import numpy as np

from backtest.metrics import YEAR
from backtest.report import words
from backtest.report.parts import Chart, Key, Section, absent
from backtest.report.subject import Array, Subject
from backtest.report.traces import panel, small, thinned, time_axis
from data import clock

ANCHOR, TITLE = "rolling", "Rolling measures"
WINDOWS = (180, 90, 30)


def section(subject: Subject) -> Section:
    if not subject.traded:
        return absent(ANCHOR, TITLE, "Nothing was traded.", "Rolling")
    if subject.result.interval > clock.DAY:
        return absent(ANCHOR, TITLE, "Bars longer than a day have no daily returns.", "Rolling")
    days = len(subject.daily)
    window = next((w for w in WINDOWS if days >= 3 * w), None)
    if window is None:
        return absent(
            ANCHOR, TITLE, f"{words.times(days, 'day')}: a window of 30 needs three times as many.", "Rolling"
        )
    sharpe, volatility = rolling(subject.daily, window)
    negative = float(np.mean(sharpe[np.isfinite(sharpe)] < 0.0)) if np.isfinite(sharpe).any() else 0.0
    at = subject.day_closes
    chart = Chart(
        "rolling-sharpe",
        f"Over {window} days",
        "Above: Sharpe ratio. Below: volatility a year. Windows overlap, so neighbours say the same thing.",
        (Key("Sharpe ratio", "--accent"), Key("volatility", "--third")),
        [
            thinned(at, sharpe, "Sharpe ratio", "--accent"),
            thinned(at, volatility, "volatility", "--third", axis="y2", width=1.4),
        ],
        {
            "xaxis": time_axis(subject.ends, anchor="y2"),
            "yaxis": panel(0.42, 1.0, zeroline=True, title=small("Sharpe ratio")),
            "yaxis2": panel(0.0, 0.32, tickformat=".0%", rangemode="tozero", title=small("volatility")),
        },
        wide=True,
    )
    lead = f"Of all windows of {window} days, {negative:.0%} had a Sharpe ratio below zero."
    return Section(ANCHOR, TITLE, lead=lead, blocks=(chart,), short="Rolling")


def rolling(daily: Array, window: int) -> tuple[Array, Array]:
    """Sharpe ratio and volatility a year of the last `window` days; NaN before that, or where none moved."""
    views = np.lib.stride_tricks.sliding_window_view(daily, window)
    mean, deviation = views.mean(axis=1), views.std(axis=1, ddof=1)
    blank = np.full(window - 1, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(deviation > 1e-14, mean / deviation * np.sqrt(YEAR), np.nan)
    return np.concatenate([blank, ratio]), np.concatenate([blank, deviation * np.sqrt(YEAR)])
