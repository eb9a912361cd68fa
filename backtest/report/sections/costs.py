"""Where the money went: the price, and everything that trading, holding and being liquidated cost. And funding."""

from __future__ import annotations

import math

import numpy as np

from backtest.records import Cash
from backtest.report import words
from backtest.report.parts import Chart, Key, Section, Table, absent
from backtest.report.subject import COSTS, Subject
from backtest.report.traces import bars, panel, thinned, time_axis

ANCHOR, FUNDING = "costs", "funding"


def section(subject: Subject) -> Section:
    if not subject.traded:
        return absent(ANCHOR, "Where the money went", "Nothing was traded, so nothing was paid.", "Costs")
    parts = waterfall(subject)
    return Section(
        ANCHOR,
        "Where the money went",
        lead=_sentence(subject, parts),
        blocks=(_chart(subject, parts), _table(subject, parts), _over_time(subject)),
        short="Costs",
    )


def waterfall(subject: Subject) -> list[tuple[str, float]]:
    """Price, each cost, and what is left; the first and the costs add up to the last."""
    net = float(subject.equity[-1]) - subject.start
    costs = [(title, float(subject.costs[name][-1])) for name, title, _ in COSTS]
    price = net - sum(value for _, value in costs)
    kept = [(title, value) for title, value in costs if value or title in ("Slippage", "Fees", "Funding")]
    return [("Price", price), *kept, ("Net", net)]


def _sentence(subject: Subject, parts: list[tuple[str, float]]) -> str:
    price, net = parts[0][1], parts[-1][1]
    paid = -sum(value for _, value in parts[1:-1])
    said = (
        f"The price {'gave' if price >= 0 else 'took'} {subject.amount(abs(price))} {subject.money}, costs "
        f"{'took' if paid >= 0 else 'gave'} {subject.amount(abs(paid))}"
    )
    if price > 0.0:
        said += f": {paid / price:.0%} of it"
    return f"{said}. Left: {subject.amount(net, sign=True)}."


def _chart(subject: Subject, parts: list[tuple[str, float]]) -> Chart:
    names = [name for name, _ in parts]
    values = np.array([value for _, value in parts])
    color = ["--accent" if name in ("Price", "Net") else "--up" if v > 0 else "--down" for name, v in parts]
    base = np.concatenate([[0.0], np.cumsum(values[:-1])])
    base[-1] = 0.0
    text = [subject.amount(float(v), sign=True) for v in values]
    trace = bars(
        names,
        values,
        "",
        color,
        base=[float(b) for b in base],
        text=text,
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{x}: %{text}<extra></extra>",
    )
    return Chart(
        "costs-waterfall",
        "From price to net",
        f"In {subject.money}. Each bar begins where the one before it ended.",
        (Key("price and net", "--accent", "bar"), Key("took", "--down", "bar"), Key("gave", "--up", "bar")),
        [trace],
        {"xaxis": {"type": "category", "showgrid": False}, "yaxis": panel(zeroline=True), "hovermode": "closest"},
        said=_sentence(subject, parts),
    )


def _table(subject: Subject, parts: list[tuple[str, float]]) -> Table:
    price, traded = parts[0][1], _traded(subject)
    rows = [
        (
            name,
            subject.amount(value, sign=True),
            words.percent(value / subject.start),
            words.percent(value / abs(price), 0) if price and name != "Price" else words.NOTHING,
            words.minus(f"{1e4 * value / traded:+.2f} bp") if traded else words.NOTHING,
        )
        for name, value in parts
    ]
    return Table(
        "In numbers",
        ("", subject.money, "Of the start", "Of the price", "Of what was traded"),
        rows,
        half=True,
        tones=[words.tone(value) for _, value in parts],
        note=f"Traded in all: {words.big(traded)} {subject.money}." if traded else "",
    )


def _over_time(subject: Subject) -> Chart:
    data, keys = [], []
    colors = ("--short", "--accent", "--third", "--down", "--up", "--soft")
    for (name, title, _), color in zip(COSTS, colors, strict=True):
        if subject.costs[name][-1] or np.any(subject.costs[name]):
            data.append(thinned(subject.closes, subject.costs[name], title, color, shape="hv", width=1.6))
            keys.append(Key(title.lower(), color))
    return Chart(
        "costs-time",
        "As time went by",
        f"Summed up, in {subject.money}; below zero was paid.",
        tuple(keys),
        data,
        {"xaxis": time_axis(subject.ends), "yaxis": panel(zeroline=True)},
        wide=True,
    )


def _traded(subject: Subject) -> float:
    turnover = subject.result.measures["turnover"]
    return 0.0 if math.isnan(turnover) else turnover * float(np.mean(subject.equity[subject.day_places]))


def funding(subject: Subject) -> Section:
    rows = subject.result.run.fundings
    title = "Funding"
    if not len(rows):
        why = "No position was held into a settlement." if subject.traded else "Nothing was traded."
        return absent(FUNDING, title, why)
    long = rows["quantity"] > 0.0
    paid, got = float(rows["amount"][rows["amount"] < 0.0].sum()), float(rows["amount"][rows["amount"] > 0.0].sum())
    unknown = int((rows["known_price"] == 0).sum())
    net = paid + got
    gain = float(subject.equity[-1]) - subject.start
    part = f", {abs(net / gain):.0%} of the size of the net result" if gain else ""
    lead = (
        f"{words.times(len(rows), 'settlement')}: {subject.amount(-paid)} {subject.money} paid, {subject.amount(got)} "
        "received; "
        f"on balance {subject.amount(net, sign=True)}{part}."
    )
    if unknown:
        lead += f" {unknown:,} of them carry no price of their own and were paid on the mark."
    return Section(FUNDING, title, lead=lead, blocks=(_months(subject, long), _summed(subject)))


def _months(subject: Subject, long: np.ndarray) -> Chart:
    rows = subject.result.run.fundings
    at = subject.result.ts[rows["bar"].astype(np.int64)]
    days = subject.days_long()
    step, label = ("M", "month") if days > 62 else ("D", "day")
    when = at.astype("datetime64[ns]").astype(f"datetime64[{step}]")
    axis = np.arange(
        subject.result.ts[0].astype("datetime64[ns]").astype(f"datetime64[{step}]"),
        subject.result.ts[-1].astype("datetime64[ns]").astype(f"datetime64[{step}]") + 1,
    )
    place = np.searchsorted(axis, when)
    x = [str(one) for one in axis]
    data, keys = [], []
    for side, chosen, color in (("long", long, "--long"), ("short", ~long, "--short")):
        total = np.bincount(place[chosen], weights=rows["amount"][chosen], minlength=len(axis))
        data.append(bars(x, np.asarray(total, dtype=np.float64), f"{side} positions", color))
        keys.append(Key(f"{side} positions", color, "bar"))
    return Chart(
        "funding-months",
        f"By {label} and side",
        f"In {subject.money}; below zero is paid.",
        tuple(keys),
        data,
        {
            "xaxis": {"type": "category", "nticks": 8, "showgrid": False},
            "yaxis": panel(zeroline=True),
            "barmode": "relative",
        },
    )


def _summed(subject: Subject) -> Chart:
    held = subject.result.run.ledger
    rows = held[held["kind"] == Cash.FUNDING]
    long = subject.result.run.fundings["quantity"] > 0.0
    data, keys = [], []
    n = len(subject.equity)
    data.append(thinned(subject.closes, subject.costs["funding"], "all", "--third", shape="hv", width=2.0))
    keys.append(Key("all", "--third"))
    if len(rows) == len(long):
        for side, chosen, color in (("long", long, "--long"), ("short", ~long, "--short")):
            if not chosen.any():
                continue
            flow = np.bincount(rows["bar"][chosen].astype(np.int64), weights=rows["amount"][chosen], minlength=n)
            data.append(thinned(subject.closes, np.cumsum(flow), side, color, shape="hv", width=1.2, dash="dot"))
            keys.append(Key(side, color, "dot"))
    return Chart(
        "funding-summed",
        "Summed up",
        f"In {subject.money}.",
        tuple(keys),
        data,
        {"xaxis": time_axis(subject.ends), "yaxis": panel(zeroline=True)},
    )
