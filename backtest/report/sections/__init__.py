"""The sections of a report, one module each: `section(subject)` gives what is shown, or one line that says why not.
None: the question does not arise, and the page has no such section.

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
    strategies,
    stress,
    trades,
    verdicts,
)
from backtest.report.subject import Subject

ORDER: tuple[Callable[[Subject], Section | None], ...] = (
    verdicts.section,
    headline.section,
    equity.section,
    costs.section,
    costs.funding,
    strategies.section,
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
    return [made for make in ORDER if (made := make(subject)) is not None]
