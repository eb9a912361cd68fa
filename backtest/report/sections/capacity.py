"""How much money it could carry: its part of what was traded, and the same run with a larger account."""

from __future__ import annotations

from typing import Any

import numpy as np

from backtest.prepare import INVERSE
from backtest.report import words
from backtest.report.parts import Chart, Key, Section, Table, absent
from backtest.report.subject import Array, Subject
from backtest.report.traces import panel

ANCHOR, TITLE, SHORT = "capacity", "Capacity", "Capacity"
SHARES = (0.01, 0.05, 0.10)  # of a bar's volume
PART = 0.95  # of fills


def section(subject: Subject) -> Section:
    if not subject.traded:
        return absent(ANCHOR, TITLE, "Nothing was traded.", SHORT)
    blocks: list[Any] = []
    taken = participation(subject)
    known = taken[np.isfinite(taken)]
    if len(known):
        blocks.append(_shares(subject, known))
    sizes = subject.evidence.sizes if subject.evidence else ()
    if sizes:
        blocks = [_curve(subject), *blocks]
    if not blocks:
        return absent(
            ANCHOR, TITLE, "It needs the market's volume: result.report(path, market=market) shows it.", SHORT
        )
    return Section(ANCHOR, TITLE, lead=_sentence(subject, known), blocks=blocks, short=SHORT)


def participation(subject: Subject) -> Array:
    """Of each fill, its notional over the turnover of the bar that it happened in. NaN where the bar's is not known."""
    fills = subject.result.run.fills
    turnover = subject.by_symbol("quote_volume")
    if turnover is None:
        return np.full(len(fills), np.nan)
    inverse = np.asarray(subject.result.kinds)[fills["symbol"]] == INVERSE
    notional = np.abs(np.where(inverse, fills["quantity"], fills["quantity"] * fills["price"]))
    traded = turnover[fills["bar"].astype(np.int64), fills["symbol"]]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(traded > 0.0, notional / traded, np.nan))


def _sentence(subject: Subject, known: Array) -> str:
    if not len(known):
        return "The turnover of its bars is not known."
    high = float(np.quantile(known, PART))
    times = SHARES[1] / high if high > 0.0 else np.inf
    scale = f"{times:,.1f} times" if times >= 1 else f"{times:.2f} of"
    return (
        f"{PART:.0%} of fills took less than {high:.3%} of their bar's turnover. With {scale} this account they "
        "would stay "
        f"below {SHARES[1]:.0%}."
    )


def _curve(subject: Subject) -> Chart:
    assert subject.evidence is not None
    sizes = subject.evidence.sizes
    base = subject.result.measures
    x = [
        words.big(subject.start),
        *(words.big(subject.start * float(one.name.removeprefix("equity x"))) for one in sizes),
    ]
    y = [base["total_return"], *(one.total_return for one in sizes)]
    color = ["--accent", *("--up" if v > 0 else "--down" for v in y[1:])]
    trace = {
        "type": "bar",
        "x": x,
        "y": [float(f"{v:.6g}") for v in y],
        "marker": {"color": color, "line": {"width": 0}},
        "text": [words.percent(v, 1) for v in y],
        "textposition": "outside",
        "cliponaxis": False,
        "name": "",
        "hovertemplate": "%{x}: %{text}<extra></extra>",
    }
    return Chart(
        "capacity-size",
        "With a larger account",
        f"Total return by starting equity in {subject.money}, simulated again: larger orders move the price more, "
        "and larger "
        "positions fall into tiers with more margin.",
        (Key("as it was", "--accent", "bar"),),
        [trace],
        {
            "xaxis": {"type": "category", "showgrid": False},
            "yaxis": panel(tickformat=".0%", zeroline=True),
            "hovermode": "closest",
        },
    )


def _shares(subject: Subject, known: Array) -> Table:
    rows = []
    for share in SHARES:
        high = float(np.quantile(known, PART))
        money = subject.start * share / high if high > 0.0 else np.inf
        rows.append((f"below {share:.0%}", f"{(known <= share).mean():.1%}", words.big(money)))
    heads = ("Of a bar's turnover", "Fills of this run", f"Account for {PART:.0%} of fills, {subject.money}")
    middle = f"Median {float(np.median(known)):.4%}, largest {float(known.max()):.2%}."
    return Table("Part of what was traded", heads, rows, note=middle, half=True)
