"""Does the simulated market look like the real thing, is it a gift, how fast is it? On seeds that nothing was tuned on.

    python benchmarks/simulated_market.py [--seeds 20] [--first 2001] [--days 365] [--write]   some minutes

1. A year of minutes for each seed: the twelve facts of backtest.crowd.facts against their bands.
2. The same years: what plain rules would have earned, how well cascades announce themselves.
3. Speed: a year of 20,000 accounts; and cost by accounts and by steps.

`--write` puts the tables into docs/crowd.md and benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from backtest.crowd import facts, giveaway, truth
from backtest.crowd.machine import Machine
from backtest.crowd.world import Crowd, World

FIRST_SEED = 3001  # 1 to 8 were used for tuning, 1001 to 1020 and 2001 to 2020 looked at with earlier versions
ROOT = Path(__file__).resolve().parents[1]
BIG = 0.025  # cascades of at least this part of the open interest, the second row of AUCs


def one(job: tuple[int, int]) -> dict[str, Any]:
    seed, days = job
    machine = Machine(World(), seed=seed)
    history = machine.run(days=days)
    view = giveaway.view_of(history)
    return {
        "facts": facts.measure(truth.tape_of(history)),
        "sharpe": giveaway.sharpe_of_rules(view),
        "auc": {f.name: f.auc for f in giveaway.feature_aucs(view)},
        "auc, large": {f.name: f.auc for f in giveaway.feature_aucs(view, BIG)},
        "build-up": giveaway.build_up(view),
        "shocks": giveaway.after_shocks(view),
        "news": float(view.cascades.news.mean()),
        "cascades": len(view.cascades.start),
        "imbalance": machine.imbalance(),
    }


def facts_table(found: list[dict[str, Any]]) -> tuple[list[str], int]:
    verdicts = facts.judge([f["facts"] for f in found])
    lines = ["| | fact | measured | band | seeds inside | real |", "|---|---|---|---|---|---|"]
    for v in verdicts:
        for n, c in enumerate(v.checks):
            name = f"**{v.title}**: {c.band.name}" if n == 0 else c.band.name
            mark = ("hit" if v.hit else "**missed**") if n == 0 else ("" if c.holds else "outside")
            name = name.replace("|", "\\|")
            band = f"{c.band.low:g} to {c.band.high:g}"
            lines.append(f"| {mark} | {name} | {c.median:.3g} | {band} | {c.inside:.0%} | {c.band.real} |")
    return lines, sum(v.hit for v in verdicts)


def gift_table(found: list[dict[str, Any]]) -> list[str]:
    lines = ["| what | mean over seeds | standard error |", "|---|---|---|"]
    for name in found[0]["sharpe"]:
        values = np.array([f["sharpe"][name] for f in found])
        lines.append(
            f"| Sharpe ratio of {name}, net | {values.mean():+.2f} | {values.std() / len(values) ** 0.5:.2f} |"
        )
    for key, words in (("auc", "any cascade"), ("auc, large", f"one of {BIG:.1%} or more")):
        means = {n: float(np.nanmean([f[key].get(n, np.nan) for f in found])) for n in found[0][key]}
        best = sorted(means, key=lambda n: -abs(means[n] - 0.5))[:3]
        for name in best:
            values = np.array([f[key][name] for f in found])
            error = np.nanstd(values) / len(values) ** 0.5
            shown = name.replace("|", "\\|")
            lines.append(f"| AUC of {shown} for {words} within 24 h | {means[name]:.3f} | {error:.3f} |")
    sizes = {"build-up": "a cascade's size", "shocks": "what is liquidated after a 3-sigma hour, given the move,"}
    for key, words in sizes.items():
        for name in found[0][key]:
            values = np.array([f[key][name] for f in found])
            error = np.nanstd(values) / len(values) ** 0.5
            lines.append(f"| rank correlation of {words} with {name} | {np.nanmean(values):+.2f} | {error:.2f} |")
    news = np.array([f["news"] for f in found])
    lines.append(
        f"| part of the cascades that news set off | {news.mean():.3f} | {news.std() / len(news) ** 0.5:.3f} |"
    )
    return lines


def timed(accounts: int, days: int) -> float:
    machine = Machine(World(crowd=Crowd(accounts=accounts)), seed=7)
    start = time.perf_counter()
    machine.run(days=days)
    return time.perf_counter() - start


def speed_table() -> list[str]:
    lines = ["| accounts | days | seconds | seconds a year |", "|---|---|---|---|"]
    for accounts, days in ((2_000, 30), (20_000, 30), (20_000, 120), (200_000, 30)):
        seconds = sorted(timed(accounts, days) for _ in range(3))[1]
        lines.append(f"| {accounts:,} | {days} | {seconds:.2f} | {seconds * 365 / days:.1f} |")
    year = timed(20_000, 365)
    lines.append(f"| 20,000 | 365 | {year:.2f} | {year:.1f} |")
    return lines


def put(page: Path, name: str, lines: list[str]) -> None:
    """Between the page's own marks."""
    text = page.read_text(encoding="utf-8")
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, _, rest = text.partition(opening)
    _, _, tail = rest.partition(closing)
    page.write_text(head + opening + "\n" + "\n".join(lines) + "\n" + closing + tail, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=FIRST_SEED)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    speed = speed_table()
    print("\n".join(speed))
    jobs = [(given.first + k, given.days) for k in range(given.seeds)]
    start = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(one, jobs))
    print(f"{given.seeds} histories of {given.days} days in {time.perf_counter() - start:.0f} s")
    table, hits = facts_table(found)
    gifts = gift_table(found)
    print("\n".join(table), f"\n{hits} of {len(facts.FACTS)} hit\n", sep="\n")
    print("\n".join(gifts))
    cascades = [f["cascades"] for f in found]
    print(f"cascades a history: {np.median(cascades):g} ({min(cascades)} to {max(cascades)})")
    print(f"largest imbalance of money: {max(abs(f['imbalance']) for f in found):.1e}")
    if given.write:
        page = ROOT / "docs" / "crowd.md"
        said = f"{hits} of {len(facts.FACTS)} facts hit, seeds {given.first} to {given.first + given.seeds - 1}"
        put(page, "facts", [f"{said}, {given.days} days each; medians over seeds.", "", *table])
        put(page, "gift", gifts)
        put(ROOT / "benchmarks" / "RESULTS.md", "crowd", speed)


if __name__ == "__main__":
    main()
