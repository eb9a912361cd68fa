"""The sections of a report, one module each: `section(subject)` gives what is shown, or one line that says why not.

To add one: write a module with `section(subject: Subject) -> Section` and put it in `ORDER`.
"""

from __future__ import annotations

from collections.abc import Callable

from backtest.report.parts import Section
from backtest.report.sections import (
    calendar,
    capacity,
    costs,
    equity,
    events,
    forward,
    headline,
    leverage,
    margin,
    notes,
    rolling,
    stress,
    trades,
    verdicts,
)
from backtest.report.subject import Subject

ORDER: tuple[Callable[[Subject], Section], ...] = (
    verdicts.section,
    headline.section,
    equity.section,
    costs.section,
    costs.funding,
    margin.section,
    margin.exposure,
    calendar.section,
    forward.section,
    leverage.section,
    trades.section,
    events.section,
    stress.section,
    rolling.section,
    capacity.section,
    notes.section,
)


def sections_of(subject: Subject) -> list[Section]:
    return [make(subject) for make in ORDER]
