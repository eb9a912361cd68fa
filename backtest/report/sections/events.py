"""What happened in the market's worst hours and days, and what the run made of them."""

from __future__ import annotations

import numpy as np

from backtest.report import words
from backtest.report.parts import Section, Table, absent
from backtest.report.subject import Array, Subject
from data import clock

ANCHOR, TITLE, SHORT = "events", "Crash windows and events", "Events"
WINDOW = clock.DAY
EACH = 5  # falls and rises
ROWS = 25


def section(subject: Subject) -> Section:
    if subject.market is None:
        return absent(ANCHOR, TITLE, "The market was not given: result.report(path, market=market) shows them.", SHORT)
    blocks = []
    windows = _windows(subject)
    if windows is not None:
        blocks.append(windows)
    if subject.events is not None and len(subject.events):
        found = _events(subject)
        if found is not None:
            blocks.append(found)
    if not blocks:
        return absent(ANCHOR, TITLE, "The span is shorter than two days.", SHORT)
    lead = "The largest moves of the price within a day, and what the account did from their beginning to their end."
    if subject.events is None:
        lead += " Build-ups and unwinds were not given: events=events.find(market)."
    return Section(ANCHOR, TITLE, lead=lead, blocks=blocks, short=SHORT)


def extremes(close: Array, bars: int, most: int, sign: int) -> list[tuple[int, int, float]]:
    """The largest falls (`sign` -1) or rises (1) over `bars`, apart from each other: first bar, last bar, log move."""
    if len(close) <= bars:
        return []
    with np.errstate(invalid="ignore", divide="ignore"):
        moved = sign * (np.log(close[bars:]) - np.log(close[:-bars]))
    moved = np.where(np.isfinite(moved), moved, -np.inf)
    out = []
    for _ in range(most):
        worst = int(np.argmax(moved))
        if not moved[worst] > 0.0:
            break
        out.append((worst, worst + bars, float(sign * moved[worst])))
        moved[max(0, worst - bars) : worst + bars + 1] = -np.inf
    return out


def _windows(subject: Subject) -> Table | None:
    closes = subject.by_symbol("close")
    assert closes is not None
    bars = max(1, WINDOW // subject.result.interval)
    close = closes[:, subject.busiest]
    found = [one for sign in (-1, 1) for one in extremes(close, bars, EACH, sign)]
    if not found:
        return None
    rows, tones = [], []
    for first, last, move in sorted(found, key=lambda one: one[2]):
        made = _made(subject, first, last)
        rows.append(
            (
                f"{subject.when(first, close=True)} to {subject.when(last, close=True)}",
                words.percent(float(np.expm1(move)), 1),
                words.percent(made, 2),
                words.multiple(_exposure(subject, first)),
                f"{_hits(subject, first, last):,}",
            )
        )
        tones.append(words.tone(made))
    symbol = subject.result.symbols[subject.busiest]
    heads = ("Window (UTC)", f"{symbol}", "Account", "Exposure at the start", "Liquidations")
    return Table("The largest falls and rises within 24 hours", heads, rows, tones=tones)


def _events(subject: Subject) -> Table | None:
    found = subject.events
    assert found is not None
    if not {"start", "end"} <= set(found.columns):
        return None
    ts, rows, tones = subject.closes, [], []
    first, last = int(subject.result.ts[0]), int(ts[-1])
    for row in found.to_dict("records"):
        start, end = int(row["start"].value), int(row["end"].value)
        if end < first or start > last:
            continue
        a = int(np.clip(np.searchsorted(ts, start, side="right") - 1, 0, len(ts) - 1))
        b = int(np.clip(np.searchsorted(ts, end), 0, len(ts) - 1))
        made = _made(subject, a, b)
        rows.append(
            (
                clock.iso(start),
                clock.iso(end),
                str(row.get("symbol", "")),
                str(row.get("kind", "")),
                str(row.get("side", "")),
                str(row.get("cause", "")),
                words.percent(made, 2),
                words.multiple(_exposure(subject, a)),
                f"{_hits(subject, a, b):,}",
            )
        )
        tones.append(words.tone(made))
    if not rows:
        return None
    if len(rows) > ROWS:
        order = np.sort(np.argsort([0.0 if not t else -1.0 for t in tones], kind="stable")[:ROWS])
        rows, tones = [rows[i] for i in order], [tones[i] for i in order]
    heads = ("From", "To", "Symbol", "Kind", "Side", "Cause", "Account", "Exposure at the start", "Liquidations")
    return Table(
        "Build-ups and unwinds",
        heads,
        rows,
        words=6,
        tones=tones,
        note="Found by looking back over all of the history.",
    )


def _made(subject: Subject, first: int, last: int) -> float:
    before = float(subject.equity[first])
    return float(subject.equity[last]) / before - 1.0 if before > 0.0 else 0.0


def _exposure(subject: Subject, bar: int) -> float:
    value = float(subject.result.run.series["exposure"][bar])
    return value if np.isfinite(value) else 0.0


def _hits(subject: Subject, first: int, last: int) -> int:
    bars = subject.result.run.liquidations["bar"]
    return int(((bars > first) & (bars <= last)).sum())
