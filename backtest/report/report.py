"""`Report`: a run, and what is known around it, as one page.

    result.report("run.html", market=market, strategy=strategy)        # the everyday call
    made = Report(result, market=market, evidence=gather(result, market, strategy))
    made.write("run.html"); made.html(); made.plot()
    forward.report("forward.html")                                     # of a walk-forward

Statistics are reckoned on every bar; only lines are thinned, for the eye. What is not given is not shown, and its
section says in one line what to give.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.report import render, words
from backtest.report.evidence import Evidence, gather, gather_forward
from backtest.report.parts import Page, Tile
from backtest.report.sections import sections_of
from backtest.report.sections.headline import said
from backtest.report.sections.verdicts import answers_of, sentence
from backtest.report.subject import Subject
from backtest.report.thin import keep
from data import clock

if TYPE_CHECKING:
    import pandas as pd

    from backtest.result import Result
    from backtest.strategy import Strategy
    from backtest.sweep import Sweep
    from backtest.walkforward import WalkForward
    from data.market import Market

NAMED = 4  # symbols in a title
FIGURES = {
    "total_return": "Return",
    "sharpe": "Sharpe ratio",
    "max_drawdown": "Drawdown",
    "trades": "Trades",
    "funding": "Funding",
    "liquidations": "Liquidations",
}


class Report:
    """`evidence`: of `gather`, which simulates again; without it the page says what was not asked."""

    def __init__(
        self,
        result: Result,
        *,
        name: str = "",
        market: Market | None = None,
        evidence: Evidence | None = None,
        forward: WalkForward | None = None,
        sweep: Sweep | None = None,
        events: pd.DataFrame | None = None,
        stress: pd.DataFrame | None = None,
        made_up: bool = False,
        notices: tuple[str, ...] = (),
    ) -> None:
        self.subject = Subject(
            result=result,
            name=name,
            market=market,
            evidence=evidence,
            forward=forward,
            sweep=sweep,
            events=events,
            stress=stress,
            made_up=made_up,
            notices=notices,
        )

    @classmethod
    def of(
        cls,
        result: Result,
        market: Market | None = None,
        strategy: Strategy | None = None,
        *,
        name: str = "",
        sweep: Sweep | None = None,
        events: pd.DataFrame | None = None,
        stress: pd.DataFrame | None = None,
        made_up: bool = False,
        draws: int = 200,
        seed: int = 0,
        **terms: Any,
    ) -> Report:
        """With all the evidence that what is given allows; `terms` as of `simulate`."""
        evidence = gather(result, market, strategy, sweep=sweep, draws=draws, seed=seed, **terms)
        named = name or (type(strategy).__name__ if strategy is not None else "")
        return cls(
            result,
            name=named,
            market=market,
            evidence=evidence,
            sweep=sweep,
            events=events,
            stress=stress,
            made_up=made_up,
        )

    @classmethod
    def of_walk_forward(
        cls,
        forward: WalkForward,
        *,
        name: str = "",
        sweep: Sweep | None = None,
        events: pd.DataFrame | None = None,
        stress: pd.DataFrame | None = None,
        made_up: bool = False,
        draws: int = 200,
        seed: int = 0,
    ) -> Report:
        """Of the stitched run; of an ensemble, of its first account."""
        return cls(
            forward.result,
            name=name or f"{type(forward.spec.base).__name__}, walked forward",
            market=forward.out_of_sample,
            evidence=gather_forward(forward, sweep=sweep, draws=draws, seed=seed),
            forward=forward,
            sweep=sweep,
            events=events,
            stress=stress,
            made_up=made_up,
        )

    @property
    def title(self) -> str:
        symbols = words.listed(list(self.subject.result.symbols), NAMED)
        return f"{self.subject.name} on {symbols}" if self.subject.name else symbols

    @property
    def verdict(self) -> str:
        """All questions in one sentence."""
        return sentence(answers_of(self.subject))

    @cached_property
    def page(self) -> Page:
        subject = self.subject
        return Page(
            title=self.title,
            lead=lead(subject),
            identity=identity(subject),
            sections=sections_of(subject),
            made_up=subject.made_up,
            figures=figures(subject),
            curve=curve(subject),
            notices=subject.notices,
        )

    def html(self) -> str:
        return render.html(self.page)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """One file; its folder is made."""
        return render.write(os.fspath(path), self.html())

    def plot(self) -> Any:
        """The run's own figure."""
        return self.subject.result.plot()

    def with_notices(self, *notices: str) -> Report:
        made = Report.__new__(Report)
        made.subject = replace(self.subject, notices=(*self.subject.notices, *notices))
        return made

    def __repr__(self) -> str:
        return f"Report({self.title}: {self.verdict})"

    def _repr_html_(self) -> str:
        marks = {"pass": "\u2713", "fail": "\u2717", "unknown": "?"}
        rows = "".join(
            f'<tr><td style="padding:1px 8px 1px 0">{marks[a.outcome]}</td><td style="text-align:left">'
            f'{escape(a.question)}</td><td style="text-align:left">{escape(a.answer)}</td></tr>'
            for a in answers_of(self.subject)
        )
        return (
            f'<div class="unwind-report"><p><b>{escape(self.title)}</b><br/>{escape(lead(self.subject))}</p>'
            f"<table><tbody>{rows}</tbody></table><small>{escape(self.verdict)} "
            "Write the page with report.write(path).</small></div>"
        )


def lead(subject: Subject) -> str:
    """What it made, in one sentence."""
    result, m = subject.result, subject.result.measures
    if not subject.traded:
        return f"Traded nothing in {subject.days_long():,.0f} days."
    did = "Made" if m["total_return"] >= 0.0 else "Lost"
    ended = " and was ruined" if result.ruined else ""
    hits = int(m["liquidations"])
    forced = f"; liquidated {words.often(hits)}" if hits else "; never liquidated"
    return (
        f"{did} {words.percent(abs(m['total_return']), sign=False)} in {subject.days_long():,.0f} days and "
        f"{words.times(int(m['trades']), 'trade')}{ended}, with a drawdown of {m['max_drawdown']:.1%}{forced}."
    )


def figures(subject: Subject) -> list[Tile]:
    m = subject.result.measures
    shown = ("total_return", "sharpe", "max_drawdown", "trades", "funding", "liquidations")
    ranges = subject.evidence.intervals if subject.evidence else {}
    tiles = []
    for name in shown:
        one = ranges.get(name) if name in ("total_return", "sharpe") else None
        known = one is not None and math.isfinite(one.low) and math.isfinite(one.high)
        note = f"{said(name, one.low)} to {said(name, one.high)}" if known and one is not None else ""
        tiles.append(Tile(FIGURES[name], said(name, m[name], words.cents(subject.start)), note))
    return tiles


def curve(subject: Subject) -> str:
    """Equity from the start to the end, as the points of a line: what the eye needs on the first screen."""
    values = np.concatenate([[subject.start], subject.equity])
    rows = keep(values, most=400)
    low, high = float(values.min()), float(values.max())
    reach = high - low if high > low else 1.0
    across, down = 100.0 * rows / (len(values) - 1), 97.0 - 94.0 * (values[rows] - low) / reach
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in zip(across, down, strict=True))


def identity(subject: Subject) -> list[tuple[str, str]]:
    result, market = subject.result, subject.market
    rows = [
        ("Rules of", result.venue),
        ("Symbols", words.listed(list(result.symbols), 6)),
        ("Span (UTC)", f"{clock.iso(int(result.ts[0]))} to {clock.iso(int(subject.closes[-1]))}"),
        ("Bars", f"{len(result.ts):,} of {clock.label(result.interval)}"),
        ("Start", f"{subject.amount(subject.start)} {subject.money}, {result.account.get('mode', '')} margin"),
    ]
    data = str(result.fingerprint.get("data", ""))
    if market is not None:
        gaps = max(market.coverage.of("close", s).missing for s in market.symbols)
        rows.append(("Data of", market.venue))
        rows.append(("Gaps", f"{gaps:,} bars without a price" if gaps else "none"))
        tiers = market.tiers
        if len(tiers):
            dates = sorted({clock.iso(int(t))[:10] for t in tiers["valid_from"] if t > 0})
            rows.append(
                (
                    "Margin tiers",
                    f"dated {dates[0]}" + (f" to {dates[-1]}" if len(dates) > 1 else "") if dates else "undated",
                )
            )
        else:
            rows.append(("Margin tiers", "the venue profile's"))
    if data:
        rows.append(("Hash of the data", data[:12]))
    rows.append(("Fingerprint", result.fingerprint_id))
    known = subject.evidence
    rows.append(("Seed", f"{known.seed}" if known else "none drawn"))
    if known is not None and known.trials is not None:
        rows.append(("Trials so far", trials_said(known.trials)))
    else:
        rows.append(("Trials so far", "not counted"))
    rows.append(("Engine", f"unwind {dict(result.fingerprint.get('versions') or {}).get('unwind', '')}".strip()))
    return rows


def trials_said(count: Any) -> str:
    said = f"{count.number:,}, worth {count.effective:,.1f} independent ones"
    if count.since is not None:
        said += f"; counted afresh since {clock.iso(count.since)[:10]}, {count.left_out:,} earlier ones left out"
    return said
