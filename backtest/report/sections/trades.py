"""Every trade, to be sorted and filtered; how far each went against and for the trader; why it ended."""

from __future__ import annotations

from typing import Any

import numpy as np

from backtest.report import words
from backtest.report.parts import Chart, Explorer, Key, Section, Table, absent
from backtest.report.subject import Array, Subject
from backtest.report.traces import counts, ms, panel, short, spots, thinned, time_axis
from data import clock

ANCHOR, TITLE, SHORT = "trades", "Trades", "Trades"
MOST = 2000  # rows of the explorer
DOTS = 400  # an element of the page each
EXACT = 10  # digits of prices and money
COLUMNS = (
    ("#", "count"), ("Opened", "time"), ("Closed", "time"), ("Symbol", "word"), ("Side", "word"), ("Entry", "price"),
    ("Exit", "price"), ("Hours", "number"), ("Price", "money"), ("Fees", "money"), ("Funding", "money"),
    ("Net", "money"), ("Against", "percent"), ("For", "percent"), ("Ended by", "word"),
)  # fmt: skip


def section(subject: Subject) -> Section:
    trades = subject.trades
    if not len(trades):
        open_ = "A position was opened and never closed." if subject.traded else "Nothing was traded."
        return absent(ANCHOR, TITLE, open_, SHORT)
    against, for_ = excursions(subject)
    blocks: list[Chart | Table | Explorer] = [_spread(subject)]
    if np.isfinite(against).any():
        blocks.append(_excursion_chart(subject, against, for_))
    blocks += [_one_by_one(subject), _reasons(subject), _explorer(subject, against, for_)]
    return Section(ANCHOR, TITLE, lead=_sentence(subject), blocks=blocks, short=SHORT)


def _sentence(subject: Subject) -> str:
    net = subject.net
    won = net > 0.0
    total, best = float(net.sum()), np.sort(net)[::-1]
    top = float(best[: max(1, len(best) // 20)].sum())
    said = f"{words.times(len(net), 'trade')}, {won.mean():.0%} with a profit after all costs"
    if won.any() and (~won).any():
        said += f": {subject.amount(float(net[won].mean()), sign=True)} {subject.money} on average, against "
        said += f"{subject.amount(float(net[~won].mean()), sign=True)} for the others"
    if total > 0.0 and len(net) >= 20:
        said += (
            f". The best twentieth of them made {top / total:.0%} of the whole"
            if top < total
            else ". Without the best twentieth of them nothing would be left"
        )
    return said + "."


def excursions(subject: Subject) -> tuple[Array, Array]:
    """How far the price went against and for each position from its entry, from its first bar to its last, as a part.

    Of whole bars: what came before the entry or after the exit within them counts too. NaN without a market.
    """
    trades = subject.trades
    worst, best = np.full(len(trades), np.nan), np.full(len(trades), np.nan)
    highs, lows = subject.by_symbol("high"), subject.by_symbol("low")
    if highs is None or lows is None:
        return worst, best
    for place in range(len(subject.result.symbols)):
        mine = np.flatnonzero(trades["symbol"] == place)
        if not len(mine):
            continue
        opened, closed = (trades[name][mine].astype(np.int64) for name in ("opened", "closed"))
        high = _within(np.where(np.isfinite(highs[:, place]), highs[:, place], -np.inf), opened, closed, np.maximum)
        low = _within(np.where(np.isfinite(lows[:, place]), lows[:, place], np.inf), opened, closed, np.minimum)
        entry, side = trades["entry_price"][mine], np.sign(trades["side"][mine])
        with np.errstate(divide="ignore", invalid="ignore"):
            up, down = high / entry - 1.0, low / entry - 1.0
        known = np.isfinite(up) & np.isfinite(down)
        worst[mine] = np.where(known, np.minimum(np.where(side > 0, down, -up), 0.0), np.nan)
        best[mine] = np.where(known, np.maximum(np.where(side > 0, up, -down), 0.0), np.nan)
    return worst, best


def _within(values: Array, first: np.ndarray, last: np.ndarray, extreme: np.ufunc) -> Array:
    """The extreme of values[first : last + 1] for each pair. Trades of a symbol share a bar at most."""
    ends = np.append(values, values[-1])
    pairs = np.column_stack([first, last + 1]).ravel()
    return np.asarray(extreme.reduceat(ends, pairs)[::2], dtype=np.float64)


def _spread(subject: Subject) -> Chart:
    net = subject.net
    reach = float(np.quantile(np.abs(net), 0.99)) or float(np.abs(net).max()) or 1.0
    edges = np.linspace(-reach, reach, 41)  # zero is an edge: no bar holds both
    count, _ = np.histogram(np.clip(net, -reach, reach), edges)
    middle = (edges[1:] + edges[:-1]) / 2.0
    return Chart(
        "trades-spread",
        "What trades made",
        f"In {subject.money}, after all costs; the ends hold all beyond.",
        (Key("profit", "--up", "bar"), Key("loss", "--down", "bar")),
        [
            {
                "type": "bar",
                "x": short(middle),
                "y": [int(c) for c in count],
                "name": "trades",
                "marker": {"color": ["--down" if x < 0 else "--up" for x in middle], "line": {"width": 0}},
                "hovertemplate": "%{x:,.4g}: %{y} trades<extra></extra>",
            }
        ],
        {
            "xaxis": {"showgrid": False, "nticks": 8, "exponentformat": "B"},
            "yaxis": counts(count),
            "hovermode": "closest",
            "bargap": 0.04,
        },
    )


def _one_by_one(subject: Subject) -> Chart:
    """When each was closed, what it made, and their sum."""
    at = subject.closes[subject.trades["closed"].astype(np.int64)]
    order = np.argsort(at, kind="stable")
    net, total = subject.net[order], np.cumsum(subject.net[order])
    size = 5.0 + 9.0 * np.sqrt(np.abs(net) / max(float(np.abs(net).max()), 1e-12))
    data, left_out = [], 0
    for name, won, color, shape in (("profit", True, "--up", "circle"), ("loss", False, "--down", "x")):
        mine = np.flatnonzero((net > 0.0) == won)
        if len(mine) > DOTS:
            left_out += len(mine) - DOTS
            mine = mine[np.sort(np.argsort(-np.abs(net[mine]), kind="stable")[:DOTS])]
        if len(mine):
            text = [f"trade {order[i] + 1}: {subject.amount(float(net[i]), sign=True)}" for i in mine]
            data.append(
                spots(ms(at[order][mine]), net[mine], name, color, shape=shape, size=short(size[mine]), text=text)
            )
    data.append(thinned(at[order], total, "sum", "--accent", axis="y2", shape="hv", width=1.6))
    caption = f"Above: what each trade made, in {subject.money}, at its close. Below: the sum of all."
    if left_out:
        caption += f" The {left_out:,} that made or lost least are not drawn above."
    return Chart(
        "trades-time",
        "One by one",
        caption,
        (Key("profit", "--up", "spot"), Key("loss", "--down", "cross"), Key("sum", "--accent")),
        data,
        {
            "xaxis": time_axis(subject.ends, anchor="y2"),
            "yaxis": panel(0.4, 1.0, zeroline=True),
            "yaxis2": panel(0.0, 0.32, zeroline=True),
            "hovermode": "closest",
        },
        wide=True,
    )


def _excursion_chart(subject: Subject, against: Array, for_: Array) -> Chart:
    net = subject.net
    known = np.flatnonzero(np.isfinite(against) & np.isfinite(for_))
    if len(known) > DOTS:
        known = known[np.linspace(0, len(known) - 1, DOTS).astype(int)]
    data, keys = [], []
    for name, chosen, color, shape in (
        ("profit", known[net[known] > 0.0], "--up", "circle"),
        ("loss", known[net[known] <= 0.0], "--down", "x"),
    ):
        if not len(chosen):
            continue
        text = [f"trade {i + 1}: {subject.amount(float(net[i]), sign=True)}" for i in chosen]
        data.append(spots(short(-against[chosen]), for_[chosen], name, color, shape=shape, size=6, text=text))
        keys.append(Key(name, color, "spot" if shape == "circle" else "cross"))
    return Chart(
        "trades-excursions",
        "Against and for",
        "How far the price went against the entry (across) and for it (up) while a position was open. Losses that "
        "were far "
        "ahead first ask for another exit; profits that were far behind ask how near the liquidation was.",
        tuple(keys),
        data,
        {
            "xaxis": {
                "tickformat": ".1%",
                "rangemode": "tozero",
                "title": {"text": "against", "font": {"size": 11}},
                "nticks": 7,
            },
            "yaxis": panel(tickformat=".1%", rangemode="tozero", title={"text": "for", "font": {"size": 11}}),
            "hovermode": "closest",
        },
    )


def _reasons(subject: Subject) -> Table:
    """By side and by what ended them."""
    sides = np.where(subject.trades["side"] > 0, "long", "short")
    reasons, net = np.array(subject.reasons), subject.net
    hours = (subject.trades["closed"] - subject.trades["opened"]) * (subject.result.interval / clock.HOUR)
    rows, tones = [], []
    groups = [("all", np.ones(len(net), dtype=bool))]
    groups += [(side, sides == side) for side in ("long", "short") if (sides == side).any()]
    groups += [(f"ended by {reason}", reasons == reason) for reason in dict.fromkeys(reasons.tolist())]
    for name, mine in groups:
        total = float(net[mine].sum())
        rows.append(
            (
                name,
                f"{int(mine.sum()):,}",
                f"{(net[mine] > 0).mean():.0%}",
                subject.amount(total, sign=True),
                subject.amount(float(net[mine].mean()), sign=True),
                subject.amount(float(net[mine].min()), sign=True),
                subject.amount(float(net[mine].max()), sign=True),
                words.plain(float(hours[mine].mean()), 1),
                subject.amount(float(subject.trades["funding"][mine].sum()), sign=True),
                subject.amount(-float(subject.trades["fees"][mine].sum()), sign=True),
            )
        )
        tones.append(words.tone(total))
    heads = (
        "",
        "Trades",
        "With a profit",
        f"Net, {subject.money}",
        "Mean",
        "Worst",
        "Best",
        "Hours",
        "Funding",
        "Fees",
    )
    return Table("By side and by what ended them", heads, rows, tones=tones)


def _explorer(subject: Subject, against: Array, for_: Array) -> Explorer:
    trades, net = subject.trades, subject.net
    chosen = np.arange(len(trades))
    note = "Sort by any column; filter by words. Price is what its move alone made; net is after all costs."
    if len(trades) > MOST:
        chosen = np.sort(np.argsort(-np.abs(net), kind="stable")[:MOST])
        note += (
            f" The {MOST:,} trades that moved the account most, of {len(trades):,}; numbers elsewhere are of all "
            f"of them."
        )
    if np.isfinite(against).any():
        note += " Against and for: the farthest the price went from the entry, of whole bars."
    t = trades[chosen]
    start = subject.result.ts
    names = np.array(subject.result.symbols)
    columns: list[list[Any]] = [
        [int(i) + 1 for i in chosen],
        ms(start[t["opened"].astype(np.int64)]),
        ms(start[t["closed"].astype(np.int64)]),
        [str(s) for s in names[t["symbol"]]],
        ["long" if s > 0 else "short" for s in t["side"]],
        short(t["entry_price"], EXACT),
        short(t["exit_price"], EXACT),
        short((t["closed"] - t["opened"]) * (subject.result.interval / clock.HOUR)),
        short(subject.moved[chosen], EXACT),
        short(0.0 - t["fees"], EXACT),
        short(t["funding"], EXACT),
        short(net[chosen], EXACT),
        short(against[chosen]),
        short(for_[chosen]),
        [subject.reasons[i] for i in chosen],
    ]
    shown = [
        (head, kind, column)
        for (head, kind), column in zip(COLUMNS, columns, strict=True)
        if head != "Symbol" or len(names) > 1
    ]
    heads = [head for head, _, _ in shown]
    return Explorer(
        "trade-rows",
        "Every trade",
        note,
        heads,
        [kind for _, kind, _ in shown],
        [column for _, _, column in shown],
        filters=[heads.index(name) for name in ("Symbol", "Side", "Ended by") if name in heads],
        outcome=heads.index("Net"),
        cents=words.cents(subject.start),
    )
