"""The same run in a slightly worse world, other orders of its days, and shocks of the venue."""

from __future__ import annotations

from typing import Any

import numpy as np

from backtest.report import words
from backtest.report.parts import Chart, Key, Section, Table, absent
from backtest.report.subject import Subject

ANCHOR, TITLE, SHORT = "stress", "Stress", "Stress"
NAMES = {
    "as it was": "As it was",
    "fees x2": "Fees twice as high",
    "slippage x2": "Slippage twice as large",
    "slippage x4": "Slippage four times as large",
    "one bar later": "Every order a bar later",
}

SHORT_NAMES = {"fees x2": "Fees \u00d72", "slippage x2": "Slippage \u00d72", "slippage x4": "Slippage \u00d74",
               "one bar later": "A bar later", "as it was": "As it was"}  # fmt: skip


def section(subject: Subject) -> Section:
    if not subject.traded:
        return absent(ANCHOR, TITLE, "Nothing was traded.", SHORT)
    known, blocks = subject.evidence, list[Any]()
    if known is not None and known.reruns:
        blocks += [_chart(subject), _table(subject)]
    if known is not None and known.ruin:
        blocks.append(_ruin(subject))
    if subject.stress is not None and len(subject.stress):
        blocks.append(_shocks(subject))
    if not blocks:
        return absent(
            ANCHOR, TITLE, "Not asked: it needs the strategy and its market (unwind run --report gives both).", SHORT
        )
    return Section(ANCHOR, TITLE, lead=_sentence(subject), blocks=blocks, short=SHORT)


def _sentence(subject: Subject) -> str:
    known = subject.evidence
    if known is None or not known.reruns:
        return ""
    base = known.reruns[0].total_return
    lost = [NAMES.get(one.name, one.name).lower() for one in known.reruns[1:] if one.total_return <= 0.0]
    if base <= 0.0:
        return "It loses as it is; worse terms are shown for completeness."
    if not lost:
        return "What is left stays above zero under each of these terms."
    return f"Nothing is left with {', '.join(lost)}."


def _chart(subject: Subject) -> Chart:
    assert subject.evidence is not None
    runs = subject.evidence.reruns
    values = [one.total_return for one in runs]
    color = ["--accent" if i == 0 else "--up" if v > 0 else "--down" for i, v in enumerate(values)]
    text = [words.percent(v, 1) for v in values]
    trace = {
        "type": "bar",
        "orientation": "h",
        "y": [SHORT_NAMES.get(one.name, one.name) for one in runs][::-1],
        "x": [float(f"{v:.6g}") for v in values][::-1],
        "marker": {"color": color[::-1], "line": {"width": 0}},
        "text": text[::-1],
        "textposition": "outside",
        "cliponaxis": False,
        "name": "",
        "hovertemplate": "%{y}: %{text}<extra></extra>",
    }
    low, high = min(0.0, *values), max(0.0, *values)
    room = (high - low or 0.01) * 0.24  # for the numbers beside the bars
    return Chart(
        "stress-terms",
        "Under worse terms",
        "Total return of the same strategy, simulated again.",
        (Key("as it was", "--accent", "bar"), Key("left above zero", "--up", "bar"), Key("a loss", "--down", "bar")),
        [trace],
        {
            "xaxis": {
                "tickformat": ".0%",
                "zeroline": True,
                "nticks": 6,
                "range": [low - (room if low < 0 else 0), high + room],
            },
            "yaxis": {"type": "category", "showgrid": False},
            "hovermode": "closest",
        },
        said=_sentence(subject),
    )


def _table(subject: Subject) -> Table:
    assert subject.evidence is not None
    rows, tones = [], []
    for one in subject.evidence.reruns:
        m = one.measures
        rows.append(
            (
                NAMES.get(one.name, one.name),
                words.percent(m["total_return"]),
                words.plain(m["sharpe"]),
                words.percent(m["max_drawdown"], 1, sign=False),
                f"{m['trades']:,.0f}",
                subject.amount(-(m["fees"] + m["slippage"]), sign=True),
                f"{m['liquidations']:,.0f}",
            )
        )
        tones.append(words.tone(m["total_return"]))
    heads = ("", "Return", "Sharpe", "Drawdown", "Trades", "Fees, slippage", "Liquidated")
    return Table("In numbers", heads, rows, tones=tones, half=True)


def _ruin(subject: Subject) -> Table:
    assert subject.evidence is not None
    rows = [
        (
            f"{one.leverage:g}x",
            words.percent(one.probability, 1, sign=False),
            f"{words.percent(one.low, 1, sign=False)} to {words.percent(one.high, 1, sign=False)}",
            words.percent(one.median_final - 1.0, 0),
            words.percent(one.median_drawdown, 0, sign=False),
        )
        for one in subject.evidence.ruin
    ]
    heads = (
        "Size of its positions",
        "Half of the account lost",
        "95% range of that",
        "Median after a year",
        "Median drawdown",
    )
    return Table(
        "Chance of losing half within a year",
        heads,
        rows,
        note="A year of days drawn from this run in blocks, its returns multiplied. Liquidations that "
        "the run did not have are not in it: simulate those.",
    )


def _shocks(subject: Subject) -> Table:
    frame = subject.stress
    assert frame is not None
    named = frame.reset_index() if frame.index.name else frame
    shown: list[list[Any]] = named.head(30).to_numpy(dtype=object).tolist()
    rows = [[_cell(value) for value in row] for row in shown]
    return Table("Shocks of the venue", [words.label(str(c)) for c in named.columns], rows)


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        number = float(value)
        return words.plain(number, 4) if abs(number) < 1000.0 else words.big(number)
    return str(value)
