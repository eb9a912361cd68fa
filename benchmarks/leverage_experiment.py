"""Fat tails from leverage: the experiment of Thurner, Farmer and Geanakoplos (2012), run again.

    .venv/bin/python benchmarks/leverage_experiment.py            the table, and both figures in docs/figures/
    .venv/bin/python benchmarks/leverage_experiment.py --write    and the table into docs/leverage_experiment.md

1. Every leverage limit with every seed: the same seeds, so the same noise, for each limit.
2. The first steps are dropped. Statistics of all returns, and of those that end below the value, where funds trade.
3. Medians over seeds, and the smallest and largest.
4. The steepest fall of one run, close up: price and leverage around it.

Figures are written by hand as SVG; the same numbers give the same bytes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backtest.crowd.funds import FundRun, FundSettings, ReturnStatistics, return_statistics, simulate_funds

Floats = npt.NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LIMITS = (0, 1, 2, 3, 4, 5, 7, 10, 15, 20)  # 0: no funds at all
SEEDS = tuple(range(1, 11))
STEPS, BURN_IN = 100_000, 5_000
WORST = 100  # falls of a run whose sellers are looked at
SHOWN = (0, 1, 3, 5, 10)  # limits of the distributions
CRASH_LIMIT, CRASH_SEED, BEFORE, AFTER = 10, 1, 60, 140
CRASH_FUNDS = (10.0, 30.0, 50.0)

INK, MUTED, RULE = "#1f2328", "#59636e", "#d8dee4"
BLUE, ORANGE, GREEN = "#0969da", "#bc4c00", "#1a7f37"
RAMP = ("#8c959f", "#54aeff", "#0969da", "#bf8700", "#cf222e")


@dataclass(frozen=True)
class Outcome:
    """One run: a limit and a seed."""

    every: ReturnStatistics
    under: ReturnStatistics
    sold: float  # part of the worst falls in which funds sold on balance
    ruined: float  # funds closed, per 10,000 steps
    scaled: Floats  # |r| below the value, over its standard deviation


def run_of(limit: int, seed: int, steps: int, burn_in: int) -> FundRun:
    settings = FundSettings(leverage_limit=float(limit)) if limit else FundSettings(aggressiveness=())
    return simulate_funds(settings, steps, seed).after(burn_in)


def outcome(run: FundRun) -> Outcome:
    returns, under = run.returns, run.underpriced
    chosen = returns[under]
    return Outcome(
        every=return_statistics(returns),
        under=return_statistics(returns, under),
        sold=sold_in_worst_falls(run),
        ruined=1e4 * float(run.ruined.sum()) / len(run.price),
        scaled=np.abs(chosen) / chosen.std(),
    )


def sold_in_worst_falls(run: FundRun) -> float:
    """Of the largest falls from one price below the value to another; a closed fund's shares are sold a step later."""
    returns = run.returns
    falls = np.nonzero(run.underpriced & (run.price[:-1] < run.settings.value))[0]
    worst = falls[np.argsort(returns[falls])[:WORST]]
    held = run.demand.sum(axis=1)
    return float(np.mean(held[worst + 1] < held[worst]))


# --- the table -------------------------------------------------------------------------------------------------------

COLUMNS = (
    ("kurtosis, all steps", lambda o: o.every.kurtosis, ".1f"),
    ("kurtosis", lambda o: o.under.kurtosis, ".1f"),
    ("tail index", lambda o: o.under.tail_index, ".1f"),
    ("clustering, 10 steps", lambda o: o.under.clustering_10, ".2f"),
    ("clustering, 100 steps", lambda o: o.under.clustering_100, ".2f"),
    ("funds closed per 10,000 steps", lambda o: o.ruined, ".0f"),
    ("worst falls in which funds sold", lambda o: o.sold, ".0%"),
)


def table(outcomes: dict[int, list[Outcome]]) -> list[str]:
    lines = ["| limit | " + " | ".join(title for title, *_ in COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for limit, ones in outcomes.items():
        cells = [spread_text([get(o) for o in ones], form) for _, get, form in COLUMNS]
        lines.append(f"| {limit or 'no funds'} | " + " | ".join(cells) + " |")
    return lines


def spread_text(values: list[float], form: str) -> str:
    middle, low, high = (format(one + 0.0, form).replace("-0.00", "0.00") for one in spread(values))
    return middle if low == high else f"{middle} ({low} to {high})"


def spread(values: Iterable[float]) -> tuple[float, float, float]:
    ones = np.array(list(values))
    return float(np.median(ones)), float(ones.min()), float(ones.max())


# --- drawing ---------------------------------------------------------------------------------------------------------


class Panel:
    """Axes in a rectangle of the drawing; nothing is clipped."""

    def __init__(
        self,
        box: tuple[float, float, float, float],
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        log_x: bool = False,
        log_y: bool = False,
    ) -> None:
        self.left, self.top, self.width, self.height = box
        self.x, self.y, self.log_x, self.log_y = x, y, log_x, log_y
        self.parts: list[str] = []

    def across(self, value: float) -> float:
        return self.left + self.width * part(value, self.x, self.log_x)

    def down(self, value: float) -> float:
        return self.top + self.height * (1.0 - part(value, self.y, self.log_y))

    def frame(
        self, title: str, xs: Sequence[tuple[float, str]], ys: Sequence[tuple[float, str]], below: str = ""
    ) -> None:
        bottom = self.top + self.height
        self.parts.append(text(self.left, self.top - 12, title, size=14, weight=600))
        for value, label in ys:
            at = self.down(value)
            self.parts.append(line([(self.left, at), (self.left + self.width, at)], RULE, 1))
            self.parts.append(text(self.left - 8, at + 4, label, anchor="end", fill=MUTED))
        for value, label in xs:
            self.parts.append(text(self.across(value), bottom + 18, label, anchor="middle", fill=MUTED))
        self.parts.append(line([(self.left, bottom), (self.left + self.width, bottom)], MUTED, 1))
        if below:
            self.parts.append(text(self.left + self.width / 2, bottom + 36, below, anchor="middle", fill=MUTED))

    def curve(self, points: Iterable[tuple[float, float]], colour: str, width: float = 2.0, dash: str = "") -> None:
        self.parts.append(line([(self.across(x), self.down(y)) for x, y in points], colour, width, dash))

    def whiskers(self, spreads: Sequence[tuple[float, float, float]], colour: str, shift: float) -> None:
        """Medians joined, with a bar from the smallest to the largest; x is the place in the list."""
        dots = [(self.across(i) + shift, self.down(middle)) for i, (middle, _, _) in enumerate(spreads)]
        self.parts.append(line(dots, colour, 1.5))
        for (x, y), (_, low, high) in zip(dots, spreads, strict=True):
            self.parts.append(line([(x, self.down(low)), (x, self.down(high))], colour, 1.5))
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>')

    def note(self, x: float, y: float, label: str, colour: str, anchor: str = "start") -> None:
        self.parts.append(text(x, y, label, anchor=anchor, fill=colour, weight=600))


def part(value: float, ends: tuple[float, float], log: bool) -> float:
    low, high = (math.log(e) for e in ends) if log else ends
    return ((math.log(value) if log else value) - low) / (high - low)


def text(
    x: float, y: float, label: str, *, anchor: str = "start", fill: str = INK, size: int = 12, weight: int = 400
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}" '
        f'font-weight="{weight}">{escape(label)}</text>'
    )


def line(points: Sequence[tuple[float, float]], colour: str, width: float, dash: str = "") -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="{width:g}" stroke-linejoin="round"{dashed}/>'


def drawing(width: int, height: int, title: str, caption: Sequence[str], panels: Sequence[Panel]) -> str:
    """On white, so that it reads on any page."""
    first = height - 16 * len(caption) - 2
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)}" font-family="system-ui, Helvetica, Arial, sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        text(24, 32, title, size=17, weight=600),
        *(one for panel in panels for one in panel.parts),
        *(text(24, first + 16 * i, words, fill=MUTED) for i, words in enumerate(caption)),
        "</svg>\n",
    ]
    return "\n".join(body)


# --- the two figures -------------------------------------------------------------------------------------------------


def tails_figure(outcomes: dict[int, list[Outcome]], seeds: Sequence[int], steps: int, burn_in: int) -> str:
    limits = list(outcomes)
    places = [(float(i), str(limit or "none")) for i, limit in enumerate(limits)]
    ends = (-0.4, len(limits) - 0.6)
    panels = [
        Panel((70, 80, 360, 200), ends, (2.5, 300.0), log_y=True),
        Panel((530, 80, 360, 200), ends, (0.0, 10.0)),
        Panel((70, 380, 360, 200), ends, (-0.05, 0.35)),
        Panel((530, 380, 360, 200), (0.5, 40.0), (1e-6, 1.0), log_x=True, log_y=True),
    ]
    fat, tail, cluster, spread_out = panels
    fat.frame("Kurtosis of returns (normal: 3)", places, [(v, f"{v:g}") for v in (3, 10, 30, 100)], "leverage limit")
    fat.whiskers([spread(o.every.kurtosis for o in ones) for ones in outcomes.values()], BLUE, -3)
    fat.whiskers([spread(o.under.kurtosis for o in ones) for ones in outcomes.values()], ORANGE, 3)
    fat.note(78, 95, "price below value", ORANGE)
    fat.note(78, 112, "all steps", BLUE)
    tail.frame(
        "Tail index, largest 1 % below value", places, [(v, f"{v:g}") for v in (0, 2, 4, 6, 8, 10)], "leverage limit"
    )
    tail.whiskers([spread(o.under.tail_index for o in ones) for ones in outcomes.values()], ORANGE, 0)
    tail.note(882, 98, "lower is fatter", MUTED, "end")
    cluster.frame(
        "Clustering: autocorrelation of |r|, below value",
        places,
        [(v, f"{v:g}") for v in (0, 0.1, 0.2, 0.3)],
        "leverage limit",
    )
    cluster.whiskers([spread(o.under.clustering_10 for o in ones) for ones in outcomes.values()], BLUE, -3)
    cluster.whiskers([spread(o.under.clustering_100 for o in ones) for ones in outcomes.values()], GREEN, 3)
    cluster.note(78, 398, "10 steps apart", BLUE)
    cluster.note(78, 416, "100 steps apart", GREEN)
    spread_out.frame(
        "How often |r| is larger, below value, all seeds",
        [(v, f"{v:g}") for v in (1, 2, 5, 10, 20)],
        [(10.0**-k, label) for k, label in ((0, "1"), (2, "1 %"), (4, "0.01 %"), (6, "10⁻⁶"))],
        "size in standard deviations",
    )
    for i, limit in enumerate(SHOWN):
        pooled = np.sort(np.concatenate([o.scaled for o in outcomes[limit]]))
        spread_out.curve(larger(pooled), RAMP[i])
        spread_out.note(884, 398 + 17 * i, f"limit {limit}" if limit else "no funds", RAMP[i], "end")
    caption = (
        f"Dots: medians of {len(seeds)} runs with seeds {seeds[0]} to {seeds[-1]}; bars: smallest and largest. "
        f"{steps:,} steps each, the first {burn_in:,} dropped.",
        "Model and numbers of Thurner, Farmer and Geanakoplos (2012): ten value funds, aggressiveness 5 to 50.",
    )
    return drawing(940, 690, "Returns grow fat tails as funds may borrow more", caption, panels)


def larger(ordered: Floats) -> list[tuple[float, float]]:
    """(size, part of returns that are larger), from half a standard deviation on, evenly spaced in the logarithm."""
    sizes = np.geomspace(0.5, min(40.0, ordered[-1]), 80, endpoint=False)
    beyond = len(ordered) - np.searchsorted(ordered, sizes, side="right")
    return [(float(x), max(k / len(ordered), 1e-6)) for x, k in zip(sizes, beyond, strict=True)]


def crash_figure(run: FundRun, burn_in: int) -> str:
    step = int(np.argmin(run.returns)) + 1
    first, last = step - BEFORE, step + AFTER
    times = range(max(first, 0), min(last, len(run.price)))
    ends = (float(-BEFORE), float(AFTER))
    marks = [(float(v), str(v)) for v in range(-BEFORE, AFTER + 1, 20)]
    price = Panel((70, 80, 780, 190), ends, (0.3, 1.1))
    price.frame("Price", marks, [(v, f"{v:g}") for v in (0.4, 0.6, 0.8, 1.0)])
    price.curve([(t - step, run.noise[t] / run.settings.supply) for t in times], MUTED, 1.2, "4 3")
    price.curve([(t - step, run.price[t]) for t in times], INK)
    price.note(842, 205, "with funds", INK, "end")
    price.note(842, 222, "noise traders alone (dashed)", MUTED, "end")
    leverage = Panel((70, 340, 780, 190), ends, (0.0, 11.0))
    leverage.frame(
        "Leverage of three funds", marks, [(float(v), str(v)) for v in (0, 2, 4, 6, 8, 10)], "steps from the crash"
    )
    leverage.curve([(ends[0], CRASH_LIMIT), (ends[1], CRASH_LIMIT)], MUTED, 1.2, "4 3")
    leverage.note(842, leverage.down(CRASH_LIMIT) - 6, "limit", MUTED, "end")
    for i, (beta, colour) in enumerate(zip(CRASH_FUNDS, (GREEN, BLUE, ORANGE), strict=True)):
        h = run.settings.aggressiveness.index(beta)
        for piece in trading(run.wealth[:, h], times):
            leverage.curve([(t - step, run.leverage[t, h]) for t in piece], colour)
        leverage.note(560, 388 + 17 * i, f"aggressiveness {beta:g}", colour)
    fall = run.price[step] / run.price[step - 1] - 1.0
    caption = (
        f"The steepest fall ({-fall:.0%}) of the run with limit {CRASH_LIMIT} and seed {run.seed}: step {step + burn_in:,}. "
        f"{int(run.ruined[step].sum())} of {len(run.settings.aggressiveness)} funds were closed in it;",
        "new ones begin 100 steps later. A line that stops is a fund that is closed.",
    )
    return drawing(880, 620, "A crash: funds sell into the fall, and most are closed", caption, [price, leverage])


def trading(wealth: Floats, times: Iterable[int]) -> list[list[int]]:
    """Runs of steps in which the fund has wealth."""
    pieces: list[list[int]] = [[]]
    for t in times:
        if wealth[t] > 0.0:
            pieces[-1].append(t)
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if len(piece) > 1]


def keep(lines: list[str]) -> None:
    page = DOCS / "leverage_experiment.md"
    begin, end = "<!-- table -->", "<!-- /table -->"
    head, rest = page.read_text(encoding="utf-8").split(begin)
    made = "\n".join(lines)
    page.write_text(f"{head}{begin}\n{made}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="seeds 1 to this number")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--burn-in", type=int, default=BURN_IN)
    parser.add_argument("--write", action="store_true", help="the table into docs/leverage_experiment.md")
    args = parser.parse_args()
    seeds = range(1, args.seeds + 1)
    outcomes = {limit: [outcome(run_of(limit, seed, args.steps, args.burn_in)) for seed in seeds] for limit in LIMITS}
    lines = table(outcomes)
    print("\n".join(lines))
    figures = DOCS / "figures"
    figures.mkdir(exist_ok=True)
    tails = tails_figure(outcomes, seeds, args.steps, args.burn_in)
    (figures / "leverage_fat_tails.svg").write_text(tails, encoding="utf-8")
    crash = crash_figure(run_of(CRASH_LIMIT, CRASH_SEED, args.steps, args.burn_in), args.burn_in)
    (figures / "leverage_crash.svg").write_text(crash, encoding="utf-8")
    if args.write:
        keep(lines)


if __name__ == "__main__":
    main()
