"""Events of leverage in a market's history: found, studied, compared with the present.

    from strategies import events

    found = events.find(market, events.Unwind())               # a frame, one row an event
    events.study(market, found, placebo=events.SameMove(events.Unwind())).table
    events.precedents(market, "2025-10-10").outcome            # what followed the most similar days
    events.track_record(market)                                # and how often such analogues were right
    events.crashes()                                           # named crashes, with published figures and sources

    rules, finding      what counts as an event; the catalogue of a market
    cause               endogenous or news: a guess, and how often it is right
    placebo, studying   what else moved as far; average paths with their intervals
    regressions         errors clustered by day, local projections, Granger tests
    analogues           precedents and their track record
    named               crashes that have a name

Everything here looks back over a whole history, so an event may be described by what came after it. What a trader
could have known is in the column `confirmed`; docs/events.md says what was found with it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names, for type checkers and editors
    from strategies.events.analogues import Precedents as Precedents
    from strategies.events.analogues import State as State
    from strategies.events.analogues import TrackRecord as TrackRecord
    from strategies.events.analogues import precedents as precedents
    from strategies.events.analogues import track_record as track_record
    from strategies.events.cause import agreement as agreement
    from strategies.events.finding import find as find
    from strategies.events.named import crashes as crashes
    from strategies.events.placebo import SameHours as SameHours
    from strategies.events.placebo import SameMove as SameMove
    from strategies.events.regressions import clustered as clustered
    from strategies.events.regressions import granger as granger
    from strategies.events.regressions import local_projections as local_projections
    from strategies.events.rules import BuildUp as BuildUp
    from strategies.events.rules import Unwind as Unwind
    from strategies.events.studying import Around as Around
    from strategies.events.studying import Study as Study
    from strategies.events.studying import study as study

_HOME: dict[str, str] = {  # public name -> the module it lives in
    "Precedents": "analogues",
    "State": "analogues",
    "TrackRecord": "analogues",
    "precedents": "analogues",
    "track_record": "analogues",
    "agreement": "cause",
    "find": "finding",
    "crashes": "named",
    "SameHours": "placebo",
    "SameMove": "placebo",
    "clustered": "regressions",
    "granger": "regressions",
    "local_projections": "regressions",
    "BuildUp": "rules",
    "Unwind": "rules",
    "Around": "studying",
    "Study": "studying",
    "study": "studying",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
