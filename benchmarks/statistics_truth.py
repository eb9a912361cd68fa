"""How the estimates of `backtest.inference` behave on data whose truth is known: the tables of docs/statistics.md.

    python benchmarks/statistics_truth.py          # prints the tables; some eight minutes on one core
    python benchmarks/statistics_truth.py --quick  # a tenth of the seeds

PBO without and with an edge; coverage of bootstrap intervals of a Sharpe ratio; how often PSR, DSR, SPA and the reality
check find an edge where there is none, and where there is one.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from backtest import inference
from backtest.metrics import sharpe

Floats = npt.NDArray[np.float64]
DAY = 1.0 / math.sqrt(365.0)  # a Sharpe ratio of 1 a year, by day


def noise(rng: np.random.Generator, days: int, trials: int, common: float = 0.0) -> Floats:
    """Returns of trials without skill; `common` is the correlation of any two."""
    alone = rng.standard_normal((days, trials))
    return 0.01 * (math.sqrt(common) * rng.standard_normal((days, 1)) + math.sqrt(1.0 - common) * alone)


def planted(rng: np.random.Generator, days: int, trials: int, ratio: float, common: float = 0.0) -> Floats:
    """The same, and one of them, in the middle, has an annual ratio of `ratio`."""
    r = noise(rng, days, trials, common)
    r[:, trials // 2] += 0.01 * ratio * DAY
    return r


def of_pbo(seeds: int) -> None:
    print("| data | trials | days | PBO: mean | standard deviation over seeds | 5 % | 95 % |")
    print("|---|---|---|---|---|---|---|")
    cases: list[tuple[str, int, int, Callable[[np.random.Generator, int, int], Floats]]] = [
        ("noise", 50, 800, noise),
        ("noise", 50, 2000, noise),
        ("noise, correlation 0.5", 50, 800, lambda g, d, k: noise(g, d, k, 0.5)),
        ("one trial with a ratio of 2", 50, 800, lambda g, d, k: planted(g, d, k, 2.0)),
        ("one trial with a ratio of 4", 50, 800, lambda g, d, k: planted(g, d, k, 4.0)),
        ("one trial with a ratio of 4", 50, 2000, lambda g, d, k: planted(g, d, k, 4.0)),
    ]
    for name, trials, days, draw in cases:
        found = [inference.pbo(draw(np.random.default_rng(seed), days, trials), 12).pbo for seed in range(seeds)]
        low, high = np.quantile(found, [0.05, 0.95])
        print(f"| {name} | {trials} | {days} | {np.mean(found):.3f} | {np.std(found):.3f} | {low:.3f} | {high:.3f} |")


def process(rng: np.random.Generator, kind: str, n: int, ratio: float) -> Floats:
    """Daily returns with a true daily Sharpe ratio of `ratio`."""
    e = rng.standard_normal(n + 200)
    if kind.startswith("AR"):
        rho = 0.3
        x = np.empty(len(e))
        x[0] = e[0]
        for i in range(1, len(e)):
            x[i] = rho * x[i - 1] + math.sqrt(1.0 - rho * rho) * e[i]
        return ratio + x[200:]
    if kind.startswith("GARCH"):
        x, h = np.empty(len(e)), 1.0
        for i in range(len(e)):
            x[i] = math.sqrt(h) * e[i]
            h = 0.05 + 0.10 * x[i] ** 2 + 0.85 * h
        return ratio + x[200:]
    if kind.startswith("t"):
        return ratio + rng.standard_t(5, n) / math.sqrt(5.0 / 3.0)
    return ratio + e[200:]


def of_coverage(seeds: int) -> None:
    print("| process | days | true annual ratio | inside 95 % | interval above it | interval below it | mean block |")
    print("|---|---|---|---|---|---|---|")
    for kind in ("independent normal", "t with 5 degrees", "AR(1), 0.3", "GARCH(1,1)"):
        for days in (250, 1000):
            below = above = 0
            blocks = []
            for seed in range(seeds):
                r = process(np.random.default_rng(seed), kind, days, 1.0 * DAY)
                found = inference.interval_of_sharpe(r, draws=500, seed=seed)
                below += found.high < 1.0
                above += found.low > 1.0
                blocks.append(found.block)
            inside = 1.0 - (below + above) / seeds
            print(
                f"| {kind} | {days} | 1 | {inside:.1%} | {above / seeds:.1%} | {below / seeds:.1%} | {np.mean(blocks):.1f} |"
            )


def of_discoveries(seeds: int) -> None:
    print(
        "| data (50 trials, 1,000 days) | PSR of the best above 95 % | DSR 2012 | DSR 2025 | SPA p below 5 % | reality check |"
    )
    print("|---|---|---|---|---|---|")
    for name, ratio, common in (
        ("noise", 0.0, 0.0),
        ("noise, correlation 0.5", 0.0, 0.5),
        ("one trial with a ratio of 3", 3.0, 0.0),
        ("one trial with a ratio of 3, correlation 0.5", 3.0, 0.5),
    ):
        hits = np.zeros(5)
        for seed in range(seeds):
            r = planted(np.random.default_rng(seed), 1000, 50, ratio, common)
            ratios = np.array([sharpe(np.ascontiguousarray(column), 1.0) for column in r.T])
            best = inference.moments(r[:, int(np.argmax(ratios))])
            trials = inference.trials_of(r)
            tested = inference.superior(r, draws=300, seed=seed)
            hits += [
                inference.psr(best) > 0.95,
                inference.dsr(best, trials) > 0.95,
                inference.dsr(best, trials, convention="2025") > 0.95,
                tested.consistent < 0.05,
                tested.reality_check < 0.05,
            ]
        print(f"| {name} | " + " | ".join(f"{share:.0%}" for share in hits / seeds) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the seeds")
    least = 10 if parser.parse_args().quick else 1
    for table, seeds in ((of_pbo, 100), (of_coverage, 400), (of_discoveries, 200)):
        print(f"\n{seeds // least} seeds\n")
        table(seeds // least)


if __name__ == "__main__":
    main()
