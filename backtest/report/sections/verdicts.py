"""Is it to be believed? One question a row, the answer in words, and the test behind it.

A question that nobody could ask is "not asked": never a pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from backtest.report import words
from backtest.report.parts import Answer, Answers, Section
from backtest.report.subject import Subject

if TYPE_CHECKING:
    from backtest.inference.summary import Line

FULL = 0.995  # of bars, below which data coverage is no pass
LOST = 0.9  # of the highest equity: nobody goes on after that
ENOUGH = 30  # trades, below which averages of them say little
ANCHOR, TITLE = "verdicts", "Can it be believed?"

Said = Callable[["Line", Subject], str]


def section(subject: Subject) -> Section:
    answers = answers_of(subject)
    return Section(ANCHOR, TITLE, lead=sentence(answers), blocks=(Answers(answers),), short="Verdicts")


def answers_of(subject: Subject) -> list[Answer]:
    known = subject.evidence.verdict if subject.evidence is not None else None
    found = [_of_line(line, subject) for line in known.lines[1:]] if known is not None else _not_asked()
    return [
        _ruin_first(subject),
        _enough(subject),
        *found,
        _lookahead(subject),
        _liquidations(subject),
        _coverage(subject),
    ]


def _not_asked() -> list[Answer]:
    """Without evidence the questions stand there all the same."""
    return [
        Answer("unknown", question, "Not asked: nothing was gathered of this run.", test)
        for question, _, test in QUESTIONS.values()
    ]


def sentence(answers: list[Answer]) -> str:
    """All of them in one."""
    count = {name: sum(a.outcome == name for a in answers) for name in ("pass", "fail", "unknown")}
    against = [a.question for a in answers if a.outcome == "fail"]
    asked = count["pass"] + count["fail"]
    said = f"{count['pass']} of {words.times(asked, 'question')} answered in its favour"
    if against:
        said += f", {count['fail']} against it"
    if count["unknown"]:
        said += f"; {count['unknown']} could not be asked, which is no pass"
    return said + "."


def _ruin_first(subject: Subject) -> Answer:
    result = subject.result
    if not subject.traded:
        return Answer("unknown", "Did the account survive?", "Nothing was traded.", "simulation")
    if result.ruined:
        at = subject.when(result.run.ruined_bar)
        return Answer("fail", "Did the account survive?", f"No: nothing was left at {at}.", "simulation")
    worst = float(result.measures["max_drawdown"])
    if worst >= LOST:
        said = f"It was not ruined, but {words.share(worst, 1.0)} of its highest equity was lost on the way."
        return Answer("fail", "Did the account survive?", said, f"simulation; losing {LOST:.0%} is no survival")
    return Answer("pass", "Did the account survive?", "Yes, to the last bar.", "simulation")


def _enough(subject: Subject) -> Answer:
    question, test, many = "Are there enough trades to judge?", f"at least {ENOUGH}, a convention", len(subject.trades)
    if not subject.traded:
        return Answer("unknown", question, "Nothing was traded.", test)
    said = f"{words.times(many, 'trade')}, flat to flat."
    if many < ENOUGH:
        return Answer("fail", question, f"{said} What follows rests on few of them.", test)
    return Answer("pass", question, said, test)


def _of_line(line: Line, subject: Subject) -> Answer:
    question, say, test = QUESTIONS.get(line.name, (line.meaning, _number, line.name))
    if line.outcome == "unknown":
        return Answer("unknown", question, WHY_NOT.get(line.name, "Not asked."), test)
    return Answer(line.outcome, question, say(line, subject), test)


def _number(line: Line, _: Subject) -> str:
    return f"{words.plain(line.value, 3)} (asked: {line.rule} {words.plain(line.bar, 3)})."


def _psr(line: Line, _: Subject) -> str:
    sure = _sure(line.value)
    return (
        f"{sure} sure that the Sharpe ratio is above zero, from days, skewness and fat tails; {line.bar:.0%} convinces."
    )


def _track(line: Line, _: Subject) -> str:
    if math.isinf(line.bar):
        return f"{line.value:,.0f} days; with a ratio that is not above zero no number would do."
    return f"{line.value:,.0f} days, and {line.bar:,.0f} are needed to be sure of a ratio above zero."


def _interval(line: Line, subject: Subject) -> str:
    known = subject.evidence.intervals.get("sharpe") if subject.evidence else None
    high = f" to {words.plain(known.high)}" if known else ""
    return f"95% of redrawn histories have a Sharpe ratio of {words.plain(line.value)}{high}."


def _dsr(line: Line, subject: Subject) -> str:
    count = subject.evidence.trials if subject.evidence else None
    of = f" of {count.number:,} trials" if count else ""
    return f"{_sure(line.value)} sure that it beats what the luck{of} would show; {line.bar:.0%} convinces."


def _length(line: Line, _: Subject) -> str:
    if math.isinf(line.bar):
        return f"{line.value:,.1f} years; luck alone would show as much in any."
    return f"{line.value:,.1f} years; by luck alone so many trials show such a ratio in up to {line.bar:,.1f} years."


def _pbo(line: Line, _: Subject) -> str:
    return (
        f"The best of one half of the days was below the middle of the other in {line.value:.0%} of splits; at most "
        f"{line.bar:.0%} convinces."
    )


def _spa(line: Line, _: Subject) -> str:
    return f"If no set had an edge, a best one like this would come up with a chance of {_convinces(line)}."


def _random(line: Line, _: Subject) -> str:
    return f"As many positions, held as long, entered at random moments do as well with a chance of {_convinces(line)}."


def _convinces(line: Line) -> str:
    return f"{_chance(line.value)}; at most {line.bar:.0%} convinces"


def _left(line: Line, _: Subject) -> str:
    return f"{words.percent(line.value)} is left."


def _sure(p: float) -> str:
    return "More than 99.9%" if p > 0.999 else "Less than 0.1%" if p < 0.001 else f"{p:.1%}"


def _chance(p: float) -> str:
    return "less than 0.1%" if p < 0.001 else f"{p:.1%}"


def _lookahead(subject: Subject) -> Answer:
    question, test = "Does no signal know the future?", "features of a history that is cut off"
    leaks = subject.evidence.leaks if subject.evidence else None
    if leaks is None:
        return Answer("unknown", question, "Not asked: unwind check lookahead does.", test)
    if leaks:
        named = words.listed([name for name, _ in leaks])
        return Answer(
            "fail", question, f"{named} changed when later bars were taken away: the result means nothing.", test
        )
    return Answer("pass", question, "No feature changed when later bars were taken away.", test)


def _liquidations(subject: Subject) -> Answer:
    question, test = "Was nothing liquidated?", "simulation"
    if not subject.traded:
        return Answer("unknown", question, "Nothing was traded.", test)
    m = subject.result.measures
    hits = int(m["liquidations"])
    if not hits:
        near = m["min_margin_distance"]
        said = "" if math.isnan(near) else f"; at the nearest the mark was {near:.1%} away"
        return Answer("pass", question, f"Nothing was{said}.", test)
    lost = f"{subject.amount(m['liquidation_loss'])} {subject.money}"
    return Answer("fail", question, f"Liquidated {words.often(hits)}, which took {lost}.", test)


def _coverage(subject: Subject) -> Answer:
    question, test = "Is the data whole?", "bars and settlements, found and expected"
    if subject.market is None:
        return Answer("unknown", question, "The market was not given.", test)
    cover = subject.market.coverage
    bars = min(cover.of("close", symbol).share for symbol in subject.market.symbols)
    found = sum(s.settlements_found for s in cover.symbols)
    expected = sum(s.settlements_expected for s in cover.symbols)
    funding = found / expected if expected else 1.0
    settled = f"{words.share(found, expected)} of funding settlements" if expected else "no funding to be expected"
    said = f"{words.share(bars, 1.0)} of bars, {settled}."
    return Answer("pass" if min(bars, funding) >= FULL else "fail", question, said, test)


QUESTIONS: dict[str, tuple[str, Said, str]] = {
    "psr": ("Is it more than luck of few days?", _psr, "probabilistic Sharpe ratio, Bailey and López de Prado 2012"),
    "track record": (
        "Is the record long enough?",
        _track,
        "minimum track record length, Bailey and López de Prado 2012",
    ),
    "sharpe interval": ("Does its range stay above zero?", _interval, "stationary bootstrap, Politis and Romano 1994"),
    "dsr": (
        "Does it beat the luck of all that was tried?",
        _dsr,
        "deflated Sharpe ratio, Bailey and López de Prado 2014",
    ),
    "backtest length": (
        "Is the history long enough for so many trials?",
        _length,
        "minimum backtest length, Bailey, Borwein, López de Prado and Zhu 2014",
    ),
    "pbo": (
        "Do the best sets stay good?",
        _pbo,
        "probability of backtest overfitting, Bailey, Borwein, López de Prado and Zhu 2017",
    ),
    "spa": ("Does the grid have an edge at all?", _spa, "superior predictive ability, Hansen 2005"),
    "random entry": ("Does the timing matter?", _random, "random entries with the same holding times"),
    "fees x2": ("Does it survive twice the fees?", _left, "simulated again"),
    "slippage x2": ("Does it survive twice the slippage?", _left, "simulated again"),
    "slippage x4": ("Does it survive four times the slippage?", _left, "simulated again"),
    "one bar later": ("Does it survive a delay of one bar?", _left, "simulated again"),
}
_AGAIN = "Not asked: it needs the strategy and its market."
WHY_NOT = {
    "psr": "Too few days, or nothing was traded.",
    "track record": "Too few days, or nothing was traded.",
    "sharpe interval": "Too few days, or nothing was traded.",
    "dsr": "No register of trials for this market, or nothing was traded.",
    "backtest length": "No register of trials for this market, or nothing was traded.",
    "pbo": "Not asked: it needs the sweep that the parameters were found in.",
    "spa": "Not asked: it needs the sweep that the parameters were found in.",
    "random entry": "Not asked: it needs the market, and trades.",
    "fees x2": _AGAIN,
    "slippage x2": _AGAIN,
    "slippage x4": _AGAIN,
    "one bar later": _AGAIN,
}
