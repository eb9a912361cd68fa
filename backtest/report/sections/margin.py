"""How near to liquidation it was, and how large its positions were."""

from __future__ import annotations

from typing import Any

import numpy as np

from backtest.report import words
from backtest.report.parts import Chart, Key, Section, Table, absent
from backtest.report.subject import Subject
from backtest.report.traces import marks, panel, small, spots, thinned, time_axis

ANCHOR, EXPOSURE = "margin", "exposure"
ROWS = 30


def section(subject: Subject) -> Section:
    title = "Margin and liquidation"
    if not subject.traded:
        return absent(ANCHOR, title, "Nothing was traded.", "Margin")
    distance = np.asarray(subject.result.run.margin_distance, dtype=np.float64)
    ratio = np.asarray(subject.result.run.series["margin_ratio"], dtype=np.float64)
    if not (np.isfinite(distance).any() or (ratio > 0.0).any()):
        return absent(ANCHOR, title, "No position needed margin: nothing could be liquidated.", "Margin")
    blocks: list[Chart | Table] = [_chart(subject, ratio, distance)]
    if len(subject.result.run.liquidations):
        blocks.append(_table(subject))
    return Section(ANCHOR, title, lead=_sentence(subject, distance), blocks=blocks, short="Margin")


def _sentence(subject: Subject, distance: np.ndarray) -> str:
    m = subject.result.measures
    hits = int(m["liquidations"])
    if hits:
        return (
            f"Liquidated {words.often(hits)}, which took {subject.amount(m['liquidation_loss'])} {subject.money} from "
            "the "
            f"wallet. The insurance fund paid {subject.amount(m['bad_debt'])} of what was owed beyond it."
        )
    if not np.isfinite(distance).any():
        return "Never liquidated."
    at = int(np.nanargmin(distance))
    return (
        f"Never liquidated. At the nearest, in the bar of {subject.when(at)}, the mark was {distance[at]:.1%} "
        f"away from it."
    )


def _chart(subject: Subject, ratio: np.ndarray, distance: np.ndarray) -> Chart:
    near = thinned(subject.closes, distance, "distance to liquidation", "--accent", width=1.4)
    data = [
        near,
        _alone(near),
        thinned(subject.closes, ratio, "margin used", "--third", axis="y2", width=1.4),
    ]
    keys = [Key("distance to liquidation", "--accent"), Key("maintenance margin / margin left", "--third")]
    hits = subject.result.run.liquidations
    if len(hits):
        bars = hits["bar"].astype(np.int64)
        size = np.maximum(hits["loss"], 1e-9)
        data.append(
            marks(subject.closes[bars], np.zeros(len(bars)), size, "liquidated, lost", "--down", "triangle-down")
        )
        keys.append(Key("liquidated", "--down", "down"))
    return Chart(
        "margin-distance",
        "Distance to liquidation",
        "Above: how far the mark that came nearest in each bar stayed from a liquidation, as a part of the price. "
        "Below: "
        "maintenance margin over the margin that is left, at the closes; at 1 the position is taken.",
        tuple(keys),
        data,
        {
            "xaxis": time_axis(subject.ends, anchor="y2"),
            "yaxis": panel(0.42, 1.0, tickformat=".0%", rangemode="tozero", title=small("distance")),
            "yaxis2": panel(0.0, 0.32, rangemode="tozero", title=small("margin used")),
        },
        wide=True,
        tall=True,
        said=_sentence(subject, distance),
    )


def _alone(line: dict[str, Any]) -> dict[str, Any]:
    """Points without a neighbour, which a line does not show: positions of a single bar."""
    x, y = line["x"], [None, *line["y"], None]
    chosen = [i for i in range(len(x)) if y[i + 1] is not None and y[i] is None and y[i + 2] is None]
    values = np.array([y[i + 1] for i in chosen], dtype=np.float64)
    return spots([x[i] for i in chosen], values, line["name"], line["line"]["color"], size=4)


def _table(subject: Subject) -> Table:
    hits = subject.result.run.liquidations
    most = np.sort(np.argsort(-hits["loss"], kind="stable")[:ROWS])
    rows = [
        (
            subject.when(int(hit["bar"])),
            subject.result.symbols[hit["symbol"]] if hit["symbol"] >= 0 else "account",
            "long" if hit["quantity"] > 0 else "short",
            words.price(float(hit["trigger"])),
            words.price(float(hit["price"])),
            words.price(float(hit["bankruptcy"])),
            subject.amount(-float(hit["fee"])),
            subject.amount(-float(hit["loss"])),
        )
        for hit in hits[most]
    ]
    more = f"The {ROWS} that cost most, of {len(hits):,}." if len(hits) > ROWS else ""
    heads = ("Bar", "Symbol", "Side", "Mark", "Closed at", "Bankruptcy price", "Fee", "Lost")
    return Table("Liquidations", heads, rows, words=3, note=more)


def exposure(subject: Subject) -> Section:
    title = "Leverage and exposure"
    if not subject.traded:
        return absent(EXPOSURE, title, "Nothing was traded.", "Exposure")
    m = subject.result.measures
    net, gross = (np.asarray(subject.result.run.series[name], dtype=np.float64) for name in ("exposure", "gross"))
    lead = (
        f"In the market {m['time_in_market']:.0%} of the time, with {words.plain(m['exposure'])} times equity at "
        "the end of "
        f"the day on average and {words.plain(float(np.nanmax(gross)))} at most; equity was turned over "
        f"{words.plain(m['turnover'], 1)} times."
    )
    caption = "Notional over equity, at the closes: above zero is long, below zero short."
    data = [thinned(subject.closes, net, "net", "--accent", shape="hv", width=1.2, fill="--fill-long")]
    keys = [Key("net", "--accent")]
    if not np.allclose(np.abs(net), gross, rtol=1e-6, atol=1e-9, equal_nan=True):
        data.append(thinned(subject.closes, gross, "gross", "--third", shape="hv", width=1.1, dash="dot"))
        keys.append(Key("gross", "--third", "dot"))
        caption += " Net is long less short, gross both together."
    chart = Chart(
        "exposure-leverage",
        "Exposure",
        caption,
        tuple(keys),
        data,
        {"xaxis": time_axis(subject.ends), "yaxis": panel(zeroline=True, ticksuffix="x")},
        wide=True,
        said=lead,
    )
    return Section(EXPOSURE, title, lead=lead, blocks=(chart,), short="Exposure")
