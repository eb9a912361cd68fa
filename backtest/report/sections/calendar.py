"""Returns by month and by year, and how the days were spread."""

from __future__ import annotations

import numpy as np

from backtest.report import words
from backtest.report.parts import Calendar, Cell, Chart, Key, Section, absent
from backtest.report.subject import Subject
from backtest.report.traces import bars, counts, panel, spots

ANCHOR = "calendar"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
BINS = 41


def section(subject: Subject) -> Section:
    title = "Months and days"
    if not subject.traded:
        return absent(ANCHOR, title, "Nothing was traded.", "Months")
    months = by_month(subject)
    best, worst = max(months, key=lambda row: row[1]), min(months, key=lambda row: row[1])
    up = sum(value > 0.0 for _, value in months)
    lead = (
        f"{up} of {words.times(len(months), 'month')} above zero; the best was {_month(best[0])} with "
        f"{words.percent(best[1], 1)}, the worst {_month(worst[0])} with {words.percent(worst[1], 1)}. UTC; parts "
        "of months "
        "at the ends count as months."
    )
    blocks: list[Calendar | Chart] = [_calendar(months)]
    if len(subject.daily) >= 5:
        blocks += [_days(subject), _weekdays(subject)]
    return Section(ANCHOR, title, lead=lead, blocks=blocks, short="Months")


def by_month(subject: Subject) -> list[tuple[int, float]]:
    """(months since 1970, return), from the equity at the last close of each month."""
    months = subject.result.ts.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    ends = np.flatnonzero(np.append(months[1:] != months[:-1], True))
    return _chained(subject, months[ends], ends)


def by_year(months: list[tuple[int, float]]) -> dict[int, float]:
    out: dict[int, float] = {}
    for month, value in months:
        year = 1970 + month // 12
        out[year] = (1.0 + out.get(year, 0.0)) * (1.0 + value) - 1.0
    return out


def _chained(subject: Subject, names: np.ndarray, ends: np.ndarray) -> list[tuple[int, float]]:
    before, out = subject.start, []
    for name, end in zip(names, ends, strict=True):
        last = float(subject.equity[end])
        out.append((int(name), last / before - 1.0 if before > 0.0 else 0.0))
        before = last
    return out


def _month(number: int) -> str:
    return f"{MONTHS[number % 12]} {1970 + number // 12}"


def _calendar(months: list[tuple[int, float]]) -> Calendar:
    known = dict(months)
    largest = max(abs(value) for value in known.values()) or 1.0
    years = by_year(months)
    rows = []
    for year, whole in years.items():
        numbers = [(year - 1970) * 12 + m for m in range(12)]
        cells = [_cell(known[n], largest) if n in known else Cell("") for n in numbers]
        rows.append((str(year), [*cells, _cell(whole, max(abs(v) for v in years.values()) or 1.0)]))
    return Calendar("Returns by month", (*MONTHS, "Year"), rows, "Net. The stronger the colour, the larger the return.")


def _cell(value: float, largest: float) -> Cell:
    strength = 0 if value == 0.0 else 1 + min(3, int(4.0 * abs(value) / largest - 1e-9))
    return Cell(words.percent(value, 1), words.tone(value), strength)


def _days(subject: Subject) -> Chart:
    r = subject.daily
    reach = float(np.quantile(np.abs(r), 0.995)) or float(np.abs(r).max()) or 0.01
    edges = np.linspace(-reach, reach, BINS + 1)
    count, _ = np.histogram(np.clip(r, -reach, reach), edges)
    middle = (edges[1:] + edges[:-1]) / 2.0
    half = (edges[1] - edges[0]) / 2.0
    color = ["--soft" if abs(x) < half else "--down" if x < 0 else "--up" for x in middle]  # around zero: neither
    deviation = float(r.std())
    normal = (
        len(r) * (edges[1] - edges[0]) * np.exp(-0.5 * ((middle - r.mean()) / deviation) ** 2)
        if deviation
        else middle * 0
    )
    data = [
        bars(
            [float(f"{x:.5g}") for x in middle],
            count,
            "days",
            color,
            hovertemplate="%{x:.2%}: %{y} days<extra></extra>",
        )
    ]
    if deviation:
        curve = normal / (deviation * np.sqrt(2.0 * np.pi))
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [float(f"{x:.5g}") for x in middle],
                "name": "normal",
                "y": [float(f"{y:.4g}") for y in curve],
                "line": {"color": "--soft", "width": 1.4, "dash": "dot"},
            }
        )
    m = subject.result.measures
    return Chart(
        "calendar-days",
        "How the days were spread",
        f"Returns of {words.times(len(r), 'day')}; the ends hold all beyond. One day in twenty lost "
        f"{m['var_95']:.1%} or more, "
        f"{m['es_95']:.1%} on average then.",
        (
            Key("gains", "--up", "bar"),
            Key("losses", "--down", "bar"),
            Key("around zero", "--soft", "bar"),
            Key("a normal distribution", "--soft", "dot"),
        ),
        data,
        {
            "xaxis": {"tickformat": ".1%", "showgrid": False, "nticks": 8},
            "yaxis": counts(count),
            "hovermode": "closest",
            "bargap": 0.04,
        },
    )


def _weekdays(subject: Subject) -> Chart:
    """Mean return by weekday, with two standard errors each way."""
    day = subject.result.ts[subject.day_places].astype("datetime64[ns]").astype("datetime64[D]").astype(np.int64)
    place = (day + 3) % 7  # 1970-01-01 was a Thursday
    names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    known = [w for w in range(7) if (place == w).sum() >= 2]
    mean = np.array([subject.daily[place == w].mean() for w in known])
    error = np.array([subject.daily[place == w].std(ddof=1) / np.sqrt((place == w).sum()) for w in known])
    trace = spots([names[w] for w in known], mean, "mean", "--accent", size=9)
    trace["error_y"] = {
        "type": "data",
        "array": [float(f"{2 * e:.4g}") for e in error],
        "color": "--soft",
        "thickness": 1.4,
    }
    return Chart(
        "calendar-weekdays",
        "By day of the week",
        "Mean daily return, with two standard errors each way. Seven means are seven chances to see something.",
        (Key("mean", "--accent", "spot"),),
        [trace],
        {
            "xaxis": {"type": "category", "showgrid": False},
            "yaxis": panel(tickformat=".2%", zeroline=True),
            "hovermode": "closest",
        },
    )
