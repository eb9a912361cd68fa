"""What each of several strategies on one account made. A run of one strategy has no such section."""

from __future__ import annotations

import numpy as np

from backtest.attribution import MEMO, PARTS, Attribution
from backtest.report import words
from backtest.report.parts import Chart, Key, Section, Table
from backtest.report.subject import Array, Subject
from backtest.report.traces import panel, thinned, time_axis

ANCHOR, TITLE, SHORT = "strategies", "What each strategy made", "Strategies"
COLORS = ("--accent", "--short", "--third", "--up", "--down", "--soft")
DASHES = ("solid", "dash", "dot")  # where there are more strategies than colours
MOST = len(COLORS) * len(DASHES)  # lines that an eye can tell apart


def section(subject: Subject) -> Section | None:
    """None: one strategy had the account for itself."""
    found = subject.result.attribution
    if found is None:
        return None
    return Section(ANCHOR, TITLE, lead=_sentence(subject, found), short=SHORT,
                   blocks=(_curves(subject, found), _table(subject, found)))  # fmt: skip


def _sentence(subject: Subject, found: Attribution) -> str:
    made = found.parts.sum(axis=1)
    best, worst = int(np.argmax(made)), int(np.argmin(made))
    traded, netted, saved = (float(found.memo[:, MEMO.index(name)].sum()) for name in MEMO)
    said = (
        f"{words.times(len(found.names), 'strategy', 'strategies')} on one account: "
        f"{found.names[best]} made {subject.amount(float(made[best]), sign=True)} {subject.money}"
    )
    if best != worst:
        said += f", {found.names[worst]} {subject.amount(float(made[worst]), sign=True)}"
    said += f"; together {subject.amount(found.total, sign=True)}."
    if netted > 0.0:
        part = netted / (traded + netted)
        said += f" {part:.0%} of what they wanted met inside the account, which saved {subject.amount(saved)} of fees."
    return said


def _curves(subject: Subject, found: Attribution) -> Chart:
    order = np.argsort(-np.abs(found.parts.sum(axis=1)), kind="stable")[:MOST]
    data, keys = [], []
    for place, row in enumerate(sorted(int(one) for one in order)):
        color, dash = COLORS[place % len(COLORS)], DASHES[place // len(COLORS)]
        data.append(thinned(subject.closes, found.curves[row], found.names[row], color, width=1.6, dash=dash))
        keys.append(Key(found.names[row], color, "line" if dash == "solid" else "dot"))
    left = len(found.names) - len(order)
    rest = f" The {MOST} that moved the account most; {left} more are in the table." if left else ""
    return Chart(
        "strategies-made",
        "As time went by",
        f"Profit of each by the close of each bar, after its costs, in {subject.money}.{rest}",
        tuple(keys),
        data,
        {"xaxis": time_axis(subject.ends), "yaxis": panel(zeroline=True)},
        wide=True,
        said=_sentence(subject, found),
    )


def _table(subject: Subject, found: Attribution) -> Table:
    rows, tones = [], []
    for name, parts, memo, curve in zip(found.names, found.parts, found.memo, found.curves, strict=True):
        rows.append(_row(subject, name, parts, float(parts.sum()), memo, _fall(curve)))
        tones.append(words.tone(float(parts.sum())))
    if found.interest:
        rows.append(_row(subject, "interest", np.zeros(len(PARTS)), found.interest, np.zeros(len(MEMO)), 0.0))
        tones.append(words.tone(found.interest))
    whole = found.curves.sum(axis=0)
    rows.append(_row(subject, "all", found.parts.sum(axis=0), found.total, found.memo.sum(axis=0), _fall(whole)))
    tones.append(words.tone(found.total))
    heads = ("", "Profit", "Of the start", *(part.capitalize() for part in PARTS), "Deepest fall", "Traded", "Netted")
    return Table(
        "In numbers",
        heads,
        rows,
        tones=tones,
        note=f"In {subject.money}. The parts add up to the profit, and the profits to that of the account. "
        "Netted: what met the opposite order of another strategy and never went to the venue.",
    )


def _row(subject: Subject, name: str, parts: Array, profit: float, memo: Array, fall: float) -> tuple[str, ...]:
    return (
        name,
        subject.amount(profit, sign=True),
        words.percent(profit / subject.start),
        *(subject.amount(float(x), sign=True) for x in parts),
        subject.amount(-fall, sign=True),
        words.big(float(memo[MEMO.index("traded")])),
        words.big(float(memo[MEMO.index("netted")])),
    )


def _fall(curve: Array) -> float:
    """From the highest that it had made to the lowest after it."""
    return float(np.max(np.maximum.accumulate(np.maximum(curve, 0.0)) - curve, initial=0.0))
