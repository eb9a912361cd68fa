"""One table of what was asked of a run, the number, and whether it passes: to be printed in words by a report.

    found = verdict(result, trials=trials_of(sharpes), overfitting=pbo(table))
    found.rows()                  # plain dicts
    found.failed, found.unknown   # names

A question that could not be asked, because nobody gave the trials or the days are too few, is "unknown", and that is
no pass. The bars are `BARS`: conventions, to be argued with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from backtest.inference.deflated import Trials, dsr, expected_maximum, min_backtest_length
from backtest.inference.montecarlo import daily_returns_of
from backtest.inference.sharpe import Convention, Moments, checked, min_track_record, moments, psr
from backtest.metrics import returns_a_year

if TYPE_CHECKING:
    from backtest.inference.bootstrap import Interval
    from backtest.inference.comparison import Superior
    from backtest.inference.overfitting import Overfitting
    from backtest.inference.robust import RandomEntry, Rerun
    from backtest.result import Result

Outcome = Literal["pass", "fail", "unknown"]
BARS: Mapping[str, float] = MappingProxyType(
    {"probability": 0.95, "p": 0.05, "pbo": 0.2, "ratio": 0.0}
)  # PSR and DSR at least; p-values at most; PBO at most; what a return or a lower end must be above


@dataclass(frozen=True)
class Line:
    """`value` compared with `bar` by `rule` (one of ">=", ">", "<=", "<"); `meaning` is the question in words."""

    name: str
    value: float
    rule: str
    bar: float
    outcome: Outcome
    meaning: str


@dataclass(frozen=True)
class Verdict:
    """The answers of all tests in one table; `verdict[name]` is a line."""

    convention: str
    days: int
    lines: tuple[Line, ...]

    def rows(self) -> list[dict[str, Any]]:
        return [asdict(line) for line in self.lines]

    def __getitem__(self, name: str) -> Line:
        return next(line for line in self.lines if line.name == name)

    def _of(self, outcome: Outcome) -> tuple[str, ...]:
        return tuple(line.name for line in self.lines if line.outcome == outcome)

    @property
    def passed(self) -> tuple[str, ...]:
        return self._of("pass")

    @property
    def failed(self) -> tuple[str, ...]:
        return self._of("fail")

    @property
    def unknown(self) -> tuple[str, ...]:
        return self._of("unknown")

    def __str__(self) -> str:
        marks = {"pass": "+", "fail": "-", "unknown": "?"}
        return "\n".join(
            f"{marks[line.outcome]} {line.name}: {line.value:.4g} ({line.rule} {line.bar:.4g}); {line.meaning}"
            for line in self.lines
        )


def verdict(
    result: Result,
    trials: Trials | None = None,
    *,
    interval: Interval | None = None,
    overfitting: Overfitting | None = None,
    superior: Superior | None = None,
    reruns: Sequence[Rerun] = (),
    random: RandomEntry | None = None,
    convention: Convention = "2012",
    bars: Mapping[str, float] = BARS,
) -> Verdict:
    """The questions a run has to answer, in order; all but the first three need what is given.

    `interval`: of its Sharpe ratio (`interval_of_sharpe`, `intervals(result)["sharpe"]`). `trials`: all that were made
    on the market, per period of the returns, which are daily. `reruns`: of `sensitivity`; `random`: of `random_entry`.
    """
    checked(convention)
    limits = {**BARS, **bars}
    returns, _ = daily_returns_of(result)
    m = moments(returns) if len(returns) >= 2 else Moments(2, math.nan)
    if len(result.run.fills) == 0:
        m = Moments(m.n, math.nan)
    surely = limits["probability"]
    lines = [
        _line("ruin", result.measures["ruined"], "<=", 0.0, "the account was not lost"),
        _line("psr", psr(m, convention=convention), ">=", surely, "a Sharpe ratio above zero is no luck of few days"),
        _line(
            "track record", m.n, ">=", min_track_record(m, 0.0, surely, convention=convention),
            "days there are against days it takes to say so",
        ),
        _line(
            "sharpe interval", math.nan if interval is None else interval.low, ">", limits["ratio"],
            "the lower end of the bootstrap interval of the annual ratio",
        ),
    ]  # fmt: skip
    lines += _of_trials(result, m, trials, convention, surely)
    unknown = math.nan
    lines += [
        _line("pbo", unknown if overfitting is None else overfitting.pbo, "<=", limits["pbo"],
              "how often the best of one half is below average in the other"),
        _line("spa", unknown if superior is None else superior.consistent, "<=", limits["p"],
              "p-value that no trial beats the benchmark"),
        _line("random entry", unknown if random is None else random.p, "<=", limits["p"],
              "chance of doing as well with the same holding times at random moments"),
    ]  # fmt: skip
    worse = {one.name: one.total_return for one in reruns if one.name != "as it was"}
    for name in worse or ("fees x2", "slippage x2", "slippage x4", "one bar later"):
        lines.append(_line(name, worse.get(name, unknown), ">", limits["ratio"], "total return that is left"))
    return Verdict(convention, int(m.n), tuple(lines))


def _of_trials(result: Result, m: Moments, trials: Trials | None, convention: Convention, surely: float) -> list[Line]:
    deflated = math.nan if trials is None else dsr(m, trials, convention=convention)
    lines = [_line("dsr", deflated, ">=", surely, "the same against the best that as many trials find by luck")]
    if trials is None or math.isnan(m.sharpe):
        needed, years = math.nan, math.nan
    else:
        per_year = returns_a_year(result.interval)
        annual = m.sharpe * math.sqrt(per_year)
        needed = min_backtest_length(trials.counted, annual) if annual > 0.0 else math.inf
        needed = 0.0 if expected_maximum(trials.counted) == 0.0 else needed
        years = m.n / per_year
    meaning = "years there are against years in which as many skilless trials would show this ratio"
    return [*lines, _line("backtest length", years, ">=", needed, meaning)]


def _line(name: str, value: float, rule: str, bar: float, meaning: str) -> Line:
    outcome: Outcome = "unknown"
    if not (math.isnan(value) or math.isnan(bar)):
        holds = {">=": value >= bar, ">": value > bar, "<=": value <= bar, "<": value < bar}[rule]
        outcome = "pass" if holds else "fail"
    return Line(name, float(value), rule, float(bar), outcome, meaning)
