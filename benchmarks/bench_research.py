"""Side-by-side measurements of sweeps, walk-forward and executors: `make bench-research`.

Everything is measured in one run, each contender in turn, several rounds, medians and ratios. Nothing is asserted but that
the contenders find the same numbers; the tables go to benchmarks/RESULTS.md with --write. `--small` runs the same on a
fraction, to see that it runs.

1. overhead: `sweep` from the market to the table, against the loops alone on arrays that are ready.
2. forward: 12 folds x 1,000 sets on 3 years of 15-minute bars, against vectorbt doing the same loop at its fastest. Ours
   measures all there is to measure, and simulates the stitched run; vectorbt one ratio a set.
3. executors: one long sweep on two threads, two processes, two Dask workers; start-up not counted, nor the first chunks.
4. memory: peaks of fresh processes on a grid and on one eight times as large.
5. register: 100,000 sets with and without a register of trials.
6. cost: what 1e12 bars x sets take, from 1 and 3.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bench_engine as bench
import engine_case as case
import numpy as np

from backtest import trials
from backtest.batch import Batch, parts_of
from backtest.executor import executor_of
from backtest.kernel import run
from backtest.strategy import Strategy
from backtest.sweep import Sweep, sweep
from backtest.walkforward import Plan, walk_forward
from data.market import Market

HERE = Path(__file__).resolve().parent
THREADS = 2
TERMS: dict[str, Any] = {"venue": case.VENUE, "account": case.ACCOUNT, "costs": bench.COSTS}
PLAN = Plan(train="365d", test="60d", partial=False)
COLUMNS = (4, 16, 64, 250)
Table = list[tuple[str, str]]


class Size:
    """What is measured, whole or small."""

    def __init__(self, small: bool) -> None:
        self.small = small
        self.minutes, self.minute_sets = (50_000, 64) if small else (500_000, 1024)
        self.quarters = 3 * 365 * 96
        self.job_seconds = 6.0 if small else 75.0
        self.many = 10_000 if small else 100_000
        self.grid = grid(2, 5, 10) if small else grid(4, 25, 10)


def grid(windows: int, entries: int, exits: int, profits: int = 1) -> dict[str, list[Any]]:
    """Between the same ends as bench_engine's sets; windows for coarser bars."""
    return {
        "window": ["1d", "2d", "3d", "5d"][:windows],
        "entry_z": [1.5 + 2.0 * j / max(entries - 1, 1) for j in range(entries)],
        "exit_z": [0.0625 + 0.6875 * j / max(exits - 1, 1) for j in range(exits)],
        "take_profit": [0.04 + 0.0005 * j for j in range(profits)],
    }


def quarters(bars: int) -> Market:
    """Bars of 15 minutes."""
    return case.market(bars * 15).resample("15m")


def in_turn(rounds: int, works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median wall time of each, run one after the other in every round; a first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            taken = bench.seconds(work)
            if number:
                times[name].append(taken)
    return {name: statistics.median(taken) for name, taken in times.items()}


# ---- 1. overhead ---------------------------------------------------------------------------------


class Bare:
    """The loops on arrays that are ready, on so many threads."""

    def __init__(self, market: Market, sets: list[Strategy]) -> None:
        batch = Batch(market, **TERMS)
        self.job, self.parts = batch.job(sets), parts_of(len(sets), THREADS)
        self.stage = batch.stage(self.job.delay)

    def __call__(self) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            for done in [pool.submit(self.part, part) for part in self.parts]:
                done.result()

    def part(self, part: slice) -> None:
        some = self.job.sets.part(part)
        run.walk(self.stage, some, self.job.loop, run.begin(self.stage, some, keep=False))


def bench_overhead(size: Size, rounds: int) -> Table:
    rows = []
    minutes = case.market(size.minutes)
    shapes = [
        ("1m", minutes, {"window": ["4h", "8h", "1d", "3d"], **axes(size.minute_sets)}),
        ("15m", quarters(size.quarters // (10 if size.small else 1)), size.grid),
    ]
    for label, market, axes_ in shapes:
        found = sweep(case.Fade, market, axes_, threads=THREADS, progress=False, **TERMS)
        works: dict[str, Callable[[], object]] = {
            "bare": Bare(market, found.strategies),
            "sweep": lambda m=market, a=axes_: sweep(case.Fade, m, a, threads=THREADS, progress=False, **TERMS),  # type: ignore[misc]
        }
        taken = in_turn(rounds, works)
        work = len(market) * len(found)
        COST[label] = taken["sweep"] / work * THREADS
        rows.append(
            (
                f"{len(found):,} sets on {len(market):,} bars of {label}",
                f"the loops alone {taken['bare']:.2f} s = {taken['bare'] * 1e9 / work:.2f} ns a bar and set; sweep "
                f"{taken['sweep']:.2f} s = {100 * (taken['sweep'] / taken['bare'] - 1):+.1f} % (bar 10 %)",
            )
        )
    return rows


def axes(sets: int) -> dict[str, list[float]]:
    entries = max(1, sets // 32)
    return {
        "entry_z": [1.5 + 2.0 * j / entries for j in range(entries)],
        "exit_z": [0.0625, 0.25, 0.5, 0.75],
        "stop_loss": [0.02, 0.06],
    }


COST: dict[str, float] = {}  # seconds of one core a bar and set, by what was measured


# ---- 2. walk-forward -----------------------------------------------------------------------------


def bench_forward(size: Size, rounds: int, peer: str, folder: Path) -> Table:
    market = quarters(size.quarters)
    folds = PLAN.cut(market)

    def ours() -> Any:
        found = walk_forward(case.Fade, market, PLAN, size.grid, threads=THREADS, progress=False, **TERMS)
        return found, found.result

    ours()
    taken = statistics.median(bench.seconds(ours) for _ in range(max(1, rounds // 2)))
    found, _ = ours()
    bars = sum(fold.train_ranges[0][1] - fold.train_ranges[0][0] + len(fold.test) for fold in folds)
    sets = found.fits[0].sets
    rows = [
        ("folds, sets, bars", f"{len(folds)} x {sets:,}, {len(market):,}; {bars * sets:.2g} bars x sets walked"),
        ("ours, two threads, all measures and the stitched run", f"{taken:.2f} s (bar 20)"),
    ]
    lay_out(folder, market, folds, size)
    best = fastest(folder, peer)
    whole = vectorbt(folder, peer, best["engine"], best["columns"], len(folds))
    made, simulated = (sum(part) for part in zip(*whole["folds"], strict=True))
    simulated += whole["stitched"]
    said = f"vectorbt 1.2, {best['engine']}, {best['columns']} sets at a time, one ratio a set"
    return [
        *rows,
        (said, f"{made + simulated:.1f} s, of which {made:.1f} s make signals = {(made + simulated) / taken:.0f}x ours (bar 25x)"),
        ("the same without its signals", f"{simulated:.1f} s = {simulated / taken:.0f}x ours, whose features are counted"),
    ]  # fmt: skip


def lay_out(folder: Path, market: Market, folds: Any, size: Size) -> None:
    from backtest import space

    base = case.Fade()
    bench.lay_out_signals(folder, market, space.grid_of(base, space.axes_of(base, size.grid)))
    ends = [(*fold.train_ranges[0], *fold.test_ranges[0]) for fold in folds]
    np.save(folder / "folds.npy", np.array(ends, dtype=np.int64))


def fastest(folder: Path, peer: str) -> dict[str, Any]:
    """One fold with each engine and number of columns."""
    tried = [vectorbt(folder, peer, engine, n, 1) for engine in ("numba", "rust") for n in COLUMNS]
    return min((one for one in tried if one), key=lambda one: sum(one["folds"][0]))


def vectorbt(folder: Path, peer: str, engine: str, columns: int, folds: int) -> dict[str, Any]:
    """Empty where this engine is not there or memory ran out."""
    words = [peer, str(HERE / "vectorbt_forward.py"), str(folder), engine, str(columns), str(folds)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return {} if done.returncode else json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


# ---- 3. executors --------------------------------------------------------------------------------


def bench_executors(size: Size, rounds: int) -> Table:
    market = case.market(size.minutes)
    few = 64 if size.minutes < 500_000 else 2048  # of fewer a sweep's own time is a larger part
    one_sweep(market, few)
    sets = max(few, int(few * size.job_seconds / bench.seconds(lambda: one_sweep(market, few))))
    kept: dict[str, Sweep] = {}
    times: dict[str, list[float]] = {name: [] for name in ("threads", "processes", "dask")}
    with executor_of("processes", THREADS) as processes, executor_of("dask", THREADS) as dask:
        pools = {"threads": None, "processes": processes, "dask": dask}
        for pool in pools.values():
            one_sweep(market, max(64, sets // 4), pool)  # every worker started, compiled, the market open
        for _ in range(max(1, rounds // 2)):
            for name, pool in pools.items():
                start = time.perf_counter()
                kept[name] = one_sweep(market, sets, pool)
                times[name].append(time.perf_counter() - start)
    for name, found in kept.items():
        if not np.array_equal(found.values, kept["threads"].values, equal_nan=True):
            raise SystemExit(f"{name}: other numbers than threads")
    base = statistics.median(times["threads"])
    work = len(market) * len(kept["threads"])
    rows = [("the job", f"{len(kept['threads']):,} sets on {len(market):,} bars of 1m; the same bits from all three")]
    for name, taken in times.items():
        middle = statistics.median(taken)
        COST[name] = middle / work * THREADS
        bar = " (bar 0.85x)" if name == "dask" else ""
        rows.append((f"two {name}", f"{middle:.1f} s; {base / middle:.2f}x the throughput of threads{bar}"))
    return rows


def one_sweep(market: Market, sets: int, pool: Any = None) -> Sweep:
    axes_ = {"window": ["4h", "8h", "1d", "3d"], **axes(sets)}
    return sweep(case.Fade, market, axes_, threads=THREADS, executor=pool, progress=False, **TERMS)


# ---- 4. memory -----------------------------------------------------------------------------------

MEMORY = """
import sys
from pathlib import Path
import bench_research as bench
from backtest.sweep import sweep
from engine_case import Fade

def kept(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

market = bench.quarters(35_040)
sweep(Fade, market, bench.grid(1, 5, 5), progress=False, **bench.TERMS)
Path("/proc/self/clear_refs").write_text("5")                # the peak starts anew from here
before = kept("VmRSS")
found = sweep(Fade, market, bench.grid(4, 25, 10, int(sys.argv[1])), progress=False, threads=2, **bench.TERMS)
print(len(found), kept("VmHWM") - before, (found.values.nbytes + found.sketches.nbytes) / 2**20)
"""


def bench_memory(size: Size) -> Table:
    rows, found = [], []
    for profits in (1, 8):
        sets, peak, table = map(float, bench.fresh(MEMORY, str(profits)).split())
        found.append((sets, peak))
        rows.append(
            (f"{sets:,.0f} sets, 35,040 bars", f"{peak:.0f} MiB above what was there; the table itself {table:.1f} MiB")
        )
    growth = (found[1][1] - found[0][1]) * 2**20 / (found[1][0] - found[0][0])
    return [*rows, ("what grows", f"{growth / 1024:.2f} KiB a set: its parameters and its row")]


# ---- 5. register ---------------------------------------------------------------------------------


def bench_register(size: Size, rounds: int, folder: Path) -> Table:
    market = quarters(35_040)
    axes_ = grid(4, 25, 10, size.many // 1000)
    noted = market.registered(str(folder / "trials"))

    def go(which: Market) -> Callable[[], object]:
        return lambda: sweep(case.Fade, which, axes_, threads=THREADS, progress=False, **TERMS)

    taken = in_turn(max(1, rounds // 2), {"without": go(market), "with": go(noted)})
    counted = trials.Register(noted.register).distinct().height
    return [
        (
            f"{counted:,} sets on {len(market):,} bars of 15m",
            f"{taken['without']:.1f} s without, {taken['with']:.1f} s with a register = "
            f"{100 * (taken['with'] / taken['without'] - 1):+.1f} % (bar 5 %)",
        )
    ]


# ---- 6. cost -------------------------------------------------------------------------------------


def bench_cost() -> Table:
    """Of bars x sets x symbols; 1,000 symbols x 5 years of minutes x 10,000 sets are 2.63e13 of them."""
    rows = [
        (f"1e12 bars x sets, as measured on {name}", f"{each * 1e12 / 3600:.2f} core hours ({each * 1e9:.2f} ns each)")
        for name, each in COST.items()
    ]
    if "dask" in COST:
        hours = COST["dask"] * 1000 * 5 * 365.25 * 1440 * 10_000 / 3600
        rows.append(
            ("1,000 symbols x 5 years x 1m x 10,000 sets", f"{hours:,.0f} core hours; {hours / 64:.1f} h on 64 cores")
        )
    return rows


# ---- tables --------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    names = ("overhead", "forward", "executors", "memory", "register")
    parser.add_argument("--only", choices=names, nargs="+", help="these parts")
    parser.add_argument("--peer", help="a Python with vectorbt 1.2; by default an environment is made")
    parser.add_argument("--small", action="store_true", help="a fraction of it")
    parser.add_argument("--write", action="store_true", help="keep the tables in benchmarks/RESULTS.md")
    args = parser.parse_args()
    size, tables = Size(args.small), list[tuple[str, Table]]()
    with tempfile.TemporaryDirectory(prefix="unwind-bench-") as made:
        folder = Path(made)
        parts: dict[str, tuple[str, Callable[[], Table]]] = {
            "overhead": ("a sweep against the loops alone", lambda: bench_overhead(size, args.rounds)),
            "forward": (
                "walk-forward",
                lambda: bench_forward(size, args.rounds, args.peer or bench.peer_python(folder), folder),
            ),
            "executors": ("threads, processes, Dask", lambda: bench_executors(size, args.rounds)),
            "memory": ("memory and the size of the grid", lambda: bench_memory(size)),
            "register": ("the register of trials", lambda: bench_register(size, args.rounds, folder)),
        }
        for name, (title, part) in parts.items():
            if not args.only or name in args.only:
                tables.append((title, part()))
                bench.show(*tables[-1])
        if COST:
            tables.append(("cost", bench_cost()))
            bench.show(*tables[-1])
    if args.write:
        bench.keep(tables, "research", "Research (`make bench-research`)")


if __name__ == "__main__":
    sys.exit(main())
