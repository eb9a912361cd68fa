"""How long do all signals take, on a year of minutes of one symbol? And the fitted ones?

    python benchmarks/signals.py [--days 365] [--write]      a minute or two
    python benchmarks/signals.py --worth                     instead: how well cascades are told a day ahead; minutes

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
from strategies.signals.hazard import skill

SEED = 3001
WORTH_SEEDS = range(4101, 4107)
BAR_SECONDS = 3.0
ROOT = Path(__file__).resolve().parents[1]


def seconds(work: Callable[[], Any], runs: int = 3) -> tuple[float, float]:
    """The quickest of some runs: on the clock, and of the processor (all is one thread)."""
    taken = []
    for _ in range(runs):
        clock, processor = time.perf_counter(), time.process_time()
        work()
        taken.append((time.perf_counter() - clock, time.process_time() - processor))
    return min(taken)


def fresh(market: Market) -> Market:
    """The same market with nothing kept from an earlier call."""
    return Market(market.venue, market._laid)


def families(market: Market, names: list[str]) -> dict[str, tuple[float, float]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(SIGNALS[name].family, []).append(name)
    return {family: seconds(lambda n=n: all_features(fresh(market), n)) for family, n in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/RESULTS.md")
    parser.add_argument("--worth", action="store_true", help="how well cascades are told, on simulated markets")
    args = parser.parse_args()
    if args.worth:
        print("\n".join(worth()))
        return
    world = World()
    market = market_of(Machine(world, seed=SEED).run(days=args.days), world)
    names = list(all_features(market))
    lines = [f"| {len(market):,} minutes | signals | seconds | of the processor |", "|---|---|---|---|"]
    clock, processor = seconds(lambda: all_features(fresh(market)))
    lines.append(f"| **all fast signals** | {len(names)} | **{clock:.2f}** (bar {BAR_SECONDS:g}) | {processor:.2f} |")
    for family, (clock, processor) in sorted(families(market, names).items(), key=lambda item: -item[1][1]):
        count = sum(SIGNALS[n].family == family for n in names)
        lines.append(f"| of these, `{family}` | {count} | {clock:.2f} | {processor:.2f} |")
    lines += fitted(market)
    print("\n".join(lines))
    if args.write:
        write(lines)


def fitted(market: Market) -> list[str]:
    """Signals with a model in them."""
    hours = market.resample("1h")
    times = np.flatnonzero(market.liq_long + market.liq_short > 0.0) / 60.0
    work: dict[str, Callable[[], Any]] = {
        "`cascade_probability`, minutes, a fit a month": lambda: compute("cascade_probability", market),
        "`garch_volatility`, hours, a fit a week": lambda: compute("garch_volatility", hours),
        f"Hawkes process, {len(times):,} minutes with liquidations": lambda: fit_hawkes(times, len(market) / 60.0),
    }
    taken = {name: seconds(one, 2) for name, one in work.items()}
    return [f"| fitted: {name} | 1 | {clock:.2f} | {processor:.2f} |" for name, (clock, processor) in taken.items()]


def worth(years: int = 2) -> list[str]:
    """Out of sample, on markets of a quarter of an hour; every measure on the bars that have a probability."""
    markets = [market_of(Machine(World(), seed=s).run(days=365 * years), World()).resample("15m") for s in WORTH_SEEDS]
    singles = ("oi_build", "unexpected_oi_z", "funding_z", "yang_zhang", "fragility_down")
    lines = ["| destroyed | base rate | AUC | Brier skill | " + " | ".join(f"AUC `{n}`" for n in singles) + " |"]
    lines.append("|---" * (4 + len(singles)) + "|")
    for flush in (0.02, 0.04):
        rule: dict[str, Any] = {"horizon": "1h", "sigmas": 3.0, "flush": flush}
        rows = []
        for market in markets:
            found, day = compute("cascade", market, **rule), market.bars("1d")
            happened = np.where(np.isnan(found), np.nan, found != 0.0)
            probability = compute("cascade_probability", market, **rule)
            whole = skill(probability, happened, day)
            alone = [
                skill(np.where(np.isfinite(probability), compute(name, market), np.nan), happened, day).auc
                for name in singles
            ]
            rows.append([whole.base_rate, whole.auc, whole.brier_skill, *alone])
        table = np.array(rows)
        error = table.std(axis=0, ddof=1) / len(table) ** 0.5
        cells = [f"{m:.3f} ({e:.3f})" for m, e in zip(table.mean(axis=0), error, strict=True)]
        lines.append(f"| {flush:.0%} | " + " | ".join(cells) + " |")
    return lines


def write(lines: list[str]) -> None:
    path = ROOT / "benchmarks" / "RESULTS.md"
    text, head, tail = path.read_text(encoding="utf-8"), "<!-- signals -->\n", "<!-- /signals -->"
    before, _, rest = text.partition(head)
    path.write_text(before + head + "\n".join(lines) + "\n" + tail + rest.partition(tail)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
