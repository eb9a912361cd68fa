"""How long do all signals take, on a year of minutes of one symbol? And the fitted ones?

    python benchmarks/signals.py [--days 365] [--write]      a minute or two

The market is a simulated one, which holds all that signals need but taker ratios. Times are warm: everything was compiled and
run once before. The bar: all fast signals in less than three seconds on two cores.

`--write` puts the table into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from backtest.crowd.as_market import market_of
from backtest.crowd.machine import Machine
from backtest.crowd.world import World
from data.market import Market
from strategies.signals import SIGNALS, all_features, compute
from strategies.signals.hawkes import fit_hawkes

SEED = 3001
BAR_SECONDS = 3.0
ROOT = Path(__file__).resolve().parents[1]


def seconds(work: Callable[[], Any], runs: int = 3) -> float:
    """The median of some runs."""
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def fresh(market: Market) -> Market:
    """The same market with nothing kept from an earlier call."""
    return Market(market.venue, market._laid)


def families(market: Market, names: list[str]) -> dict[str, float]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(SIGNALS[name].family, []).append(name)
    return {family: seconds(lambda n=n: all_features(fresh(market), n)) for family, n in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/RESULTS.md")
    args = parser.parse_args()
    world = World()
    market = market_of(Machine(world, seed=SEED).run(days=args.days), world)
    names = list(all_features(market))
    lines = [f"| {len(market):,} minutes | signals | seconds |", "|---|---|---|"]
    everything = seconds(lambda: all_features(fresh(market)))
    lines.append(f"| **all fast signals** | {len(names)} | **{everything:.2f}** (bar {BAR_SECONDS:g}) |")
    for family, taken in sorted(families(market, names).items(), key=lambda item: -item[1]):
        count = sum(SIGNALS[n].family == family for n in names)
        lines.append(f"| of these, `{family}` | {count} | {taken:.2f} |")
    lines += fitted(market)
    print("\n".join(lines))
    if args.write:
        write(lines)


def fitted(market: Market) -> list[str]:
    """Signals with a model in them, once each."""
    hours = market.resample("1h")
    began = time.perf_counter()
    compute("cascade_probability", market)
    lines = [f"| fitted: `cascade_probability`, minutes, a fit a month | 1 | {time.perf_counter() - began:.2f} |"]
    began = time.perf_counter()
    compute("garch_volatility", hours)
    lines.append(f"| fitted: `garch_volatility`, hours, a fit a week | 1 | {time.perf_counter() - began:.2f} |")
    times = np.flatnonzero(market.liq_long + market.liq_short > 0.0) / 60.0
    began = time.perf_counter()
    fit = fit_hawkes(times, len(market) / 60.0)
    lines.append(
        f"| fitted: Hawkes process, {fit.events:,} minutes with liquidations | 1 | {time.perf_counter() - began:.2f} |"
    )
    return lines


def write(lines: list[str]) -> None:
    path = ROOT / "benchmarks" / "RESULTS.md"
    text, head, tail = path.read_text(encoding="utf-8"), "<!-- signals -->\n", "<!-- /signals -->"
    before, _, rest = text.partition(head)
    path.write_text(before + head + "\n".join(lines) + "\n" + tail + rest.partition(tail)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
