"""Side-by-side measurements of the engine: `make bench-engine`.

Everything is measured in one run, each contender in turn, several rounds, medians and ratios. Nothing is asserted but that
the C loop gives the same numbers; the tables go to benchmarks/RESULTS.md with --write. Data, rule and parameter sets are in
engine_case.py.

1. sweep: 256 parameter sets on 500,000 one-minute bars, all mechanics and all measures, features included, against
   vectorbt doing `from_signals` on ready signals with fixed costs and five measures, with as many sets at a time as fit
   in 4 GB; memory in fresh processes.
2. loop: the loops alone, one thread, against engine_loop.c, which does the same by hand; its results are compared.
3. single: one full run of a year; a fresh process to its first result; an edited rule; imports.
4. scale: ten times the bars, ten times the sets, 50 symbols on one collateral.

vectorbt runs in an environment of its own if one can be made (`--peer PYTHON` names one), since its Rust engine is no
dependency of ours; else in this one.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import engine_case as case
import numpy as np
from engine_loop import Loop

from backtest.costs import Costs
from backtest.strategy import Strategy
from data.clock import HOUR
from data.market import Market

HERE = Path(__file__).resolve().parent
FOUR_GB = 4096  # MiB
COLUMNS = (80, 72, 64, 48, 32, 16)
SWEEP_BARS, SWEEP_SETS = 500_000, 256
MONTH = 30 * case.DAY_BARS
EXACT = 1e-9
COSTS = Costs.impact()

Table = list[tuple[str, str]]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_of(rounds: int, work: Callable[[], object]) -> float:
    """Warm: the first call is not counted."""
    work()
    return statistics.median(seconds(work) for _ in range(rounds))


def measure(market: Market, sets: Sequence[Strategy], threads: int = 2) -> Any:
    from backtest import engine

    return engine.measure(market, sets, venue=case.VENUE, account=case.ACCOUNT, costs=COSTS, threads=threads)


# ---- 1. sweep ------------------------------------------------------------------------------------


def bench_sweep(folder: Path, rounds: int, peer: str) -> Table:
    market, sets = case.market(SWEEP_BARS), case.parameter_sets(SWEEP_SETS)
    scale = 1e9 / (SWEEP_BARS * SWEEP_SETS)
    kept: list[Any] = []
    two = median_of(rounds, lambda: kept.append(measure(market, sets))) * scale
    one = median_of(1, lambda: measure(market, sets, threads=1)) * scale
    trades = np.sort(kept[-1]["trades"].to_numpy()) / (SWEEP_BARS / MONTH)
    lay_out_signals(folder, market, sets)
    engine, fits = largest_that_fits(folder, peer)
    full = vectorbt(folder, peer, engine, fits, rounds)
    few = min((vectorbt(folder, peer, e, n, rounds) for e in ("numba", "rust") for n in (1, 4)), key=lambda r: r["ns"])
    rows = [
        ("trades a month and set", f"{trades[0]:.0f} to {trades[-1]:.0f}, median {np.median(trades):.0f}"),
        (describe(full), f"{full['ns']:.0f} ns a bar and set"),
        (f"the same, where it is fastest: {describe(few)}", f"{few['ns']:.0f} ns"),
        ("ours, two threads, features included", f"{two:.2f} ns = {full['ns'] / two:.0f}x faster (bar 60x, aim 100x)"),
        ("ours, two threads, against its fastest", f"{few['ns'] / two:.0f}x faster"),
        ("ours, one thread", f"{one:.2f} ns = {full['ns'] / one:.0f}x faster"),
    ]
    return rows + memory(folder, market)


def lay_out_signals(folder: Path, market: Market, sets: Sequence[Any]) -> None:
    windows = sorted({s.window for s in sets})
    made = [case.Fade(window=window).features(market.features_view()) for window in windows]
    np.save(folder / "open.npy", market.open)
    np.save(folder / "close.npy", market.close)
    for name in ("z", "build"):
        np.save(folder / f"{name}.npy", np.stack([f[name] for f in made]))
    np.save(folder / "sets.npy", np.array([(windows.index(s.window), s.entry_z, s.exit_z) for s in sets]))


def vectorbt(folder: Path, peer: str, engine: str, columns: int, rounds: int) -> dict[str, Any]:
    """The median time of one call, in ns a bar and set; infinite where this engine is not there or memory ran out."""
    words = [peer, str(HERE / "vectorbt_side.py"), str(folder), engine, str(columns), str(rounds)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"ns": float("inf"), "engine": engine, "columns": columns, "peak_mib": float("inf")}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    ns = statistics.median(found["seconds"]) * 1e9 / (SWEEP_BARS * columns)
    return found | {"ns": ns, "engine": engine, "columns": columns}


def largest_that_fits(folder: Path, peer: str) -> tuple[str, int]:
    """The faster engine, and the most columns whose peak stays below 4 GB."""
    for columns in COLUMNS:
        tried = [vectorbt(folder, peer, engine, columns, 1) for engine in ("numba", "rust")]
        fitting = [run for run in tried if run["peak_mib"] <= FOUR_GB]
        if fitting:
            return min(fitting, key=lambda run: float(run["ns"]))["engine"], columns
    raise SystemExit(f"{peer}: vectorbt did not run")


def describe(run: dict[str, Any]) -> str:
    return f"vectorbt 1.2, {run['engine']}, {run['columns']} sets at a time, peak {run['peak_mib'] / 1024:.1f} GiB"


def peer_python(folder: Path, *needs: str) -> str:
    """An environment with what is needed: vectorbt and its Rust engine; this one if there is no network."""
    here = folder / "peer"
    python = here / "bin" / "python"
    steps = (
        [sys.executable, "-m", "venv", str(here)],
        [str(python), "-m", "pip", "install", "-q", *(needs or ("vectorbt[rust]==1.2.*",))],
    )
    done = all(subprocess.run(step, capture_output=True, check=False).returncode == 0 for step in steps)
    return str(python) if done else sys.executable


MEMORY = """
import pickle, sys
from pathlib import Path
import bench_engine as bench, engine_case as case, pandas
from backtest import engine

def kept(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

bench.measure(case.market(3_000), case.parameter_sets(8))     # compiled or read from the cache
Path("/proc/self/clear_refs").write_text("5")                # the peak starts anew from here
imports = kept("VmRSS")
market = pickle.loads(Path(sys.argv[1]).read_bytes())
held = kept("VmRSS")
bench.measure(market, case.parameter_sets(int(sys.argv[2])))
print(imports, held, kept("VmHWM"))
"""


def memory(folder: Path, market: Market) -> Table:
    kept = folder / "market.pickle"
    kept.write_bytes(pickle.dumps(market, protocol=5))
    peaks = {}
    for sets in (64, 256):
        imports, held, peak = map(float, fresh(MEMORY, str(kept), str(sets)).split())
        peaks[sets] = peak - imports
        market_mib = held - imports
    return [
        (
            "peak memory above the imports, 256 sets",
            f"{peaks[256]:.0f} MiB, the market's {market_mib:.0f} MiB included (bar 150)",
        ),
        ("the same, 64 sets", f"{peaks[64]:.0f} MiB"),
    ]


# ---- 2. loop -------------------------------------------------------------------------------------


class Walk:
    """The loops on prepared arrays: what `measure` does, without features and tables."""

    def __init__(self, market: Market, sets: Sequence[Strategy], mode: str = "isolated") -> None:
        from backtest import batch, job
        from backtest.kernel import run
        from backtest.prepare import prepare

        self.prepared = prepare(market, case.VENUE, replace(case.ACCOUNT, mode=mode), COSTS)[0]
        self.job = job.job_of(market, sets, several=len(market.symbols) > 1, jit=True)
        self.stage = run.stage(self.prepared, market.interval / HOUR, 0)
        self._run, self._finish, self._interval = run, batch.measured, market.interval

    def __call__(self) -> Any:
        state = self._run.begin(self.stage, self.job.sets, keep=False)
        self._run.walk(self.stage, self.job.sets, self.job.loop, state)
        return self._finish(self.stage, state, self._interval, self.prepared.n)


def bench_loop(folder: Path, rounds: int) -> Table:
    market, sets = case.market(SWEEP_BARS), case.parameter_sets(64)
    walk = Walk(market, sets)
    pointer, inline = (Loop(walk.prepared, folder, inline=inline) for inline in (False, True))
    made = {s.window: s.features(market.features_view()) for s in sets}
    given = sets, [made[s.window] for s in sets], [market.bars(s.window) for s in sets]
    works: dict[str, Callable[[], Any]] = {
        "ours": walk,
        "pointer": lambda: pointer.run(*given),
        "inline": lambda: inline.run(*given),
    }
    apart = max(differences(market, walk(), c.run(*given), c.daily) for c in (pointer, inline))
    ns = {name: taken * 1e9 / (SWEEP_BARS * len(sets)) for name, taken in in_turn(2 * rounds, works).items()}
    return [
        ("C, `decide` through a pointer", f"{ns['pointer']:.2f} ns a bar and set"),
        ("C, `decide` compiled into it", f"{ns['inline']:.2f} ns"),
        (
            "ours",
            f"{ns['ours']:.2f} ns = {ns['ours'] / ns['pointer']:.2f}x the first (bar 1.2x), {ns['ours'] / ns['inline']:.2f}x the second",
        ),
        (
            "largest relative difference of their results",
            f"{apart:.1g} (bar 1e-9), {len(SAME) + 7} measures of {len(sets)} sets",
        ),
    ]


SAME: dict[str, Callable[[Any, Market], float]] = {
    "total_return": lambda row, market: row.now / case.ACCOUNT.equity - 1.0,
    "max_drawdown": lambda row, market: row.drawdown,
    "max_drawdown_days": lambda row, market: row.longest_drawdown / case.DAY_BARS,
    "time_under_water": lambda row, market: 1.0 - row.at_peak / len(market),
    "time_in_market": lambda row, market: row.in_market / len(market),
    "exposure": lambda row, market: row.exposure / row.days,
    "trades": lambda row, market: row.trades,
    "win_rate": lambda row, market: row.wins / row.trades,
    "profit_factor": lambda row, market: row.gained / row.lost,
    "avg_holding_hours": lambda row, market: row.held / 60.0 / row.trades,
    "fees": lambda row, market: row.fees,
    "funding": lambda row, market: row.funding,
    "slippage": lambda row, market: row.slippage,
    "liquidations": lambda row, market: row.liquidations,
    "liquidation_loss": lambda row, market: row.liquidation_loss,
    "bad_debt": lambda row, market: row.bad_debt,
    "min_margin_distance": lambda row, market: row.distance,
    "refused": lambda row, market: row.refused,
    "scaled": lambda row, market: row.scaled,
}
"""What the C loop finds, as our measures. Those of daily returns are made of its equity by day."""


def differences(market: Market, ours: Any, rows: Sequence[Any], daily: Any) -> float:
    """The largest relative difference, after making sure that it is small."""
    from backtest.metrics import NAMES, from_daily

    worst = 0.0
    for number, row in enumerate(rows):
        found = {name: formula(row, market) for name, formula in SAME.items()}
        names = ("volatility", "sharpe", "sortino", "var_95", "es_95", "skew", "kurtosis")
        found |= dict(zip(names, from_daily(daily[number], case.ACCOUNT.equity), strict=True))
        for name, value in found.items():
            mine = ours[number, NAMES.index(name)]
            apart = abs(mine - value) / max(abs(value), 1.0)
            if not apart <= EXACT:
                raise SystemExit(f"set {number}: {name} is {mine!r}, and {value!r} in C")
            worst = max(worst, apart)
    return worst


# ---- 3. single -----------------------------------------------------------------------------------

IMPORTS = "import pandas, numba"
OURS = "from backtest import simulate"

FIRST = """
import pickle, sys
from pathlib import Path
import pandas, numba
import engine_case as case
from backtest import simulate
market = pickle.loads(Path(sys.argv[1]).read_bytes())
print(simulate(market, case.Fade(), venue=case.VENUE, account=case.ACCOUNT).measures["trades"])
"""

EDIT = """
import importlib, pickle, sys, time
from pathlib import Path
import engine_case as case
from backtest import simulate
market = pickle.loads(Path(sys.argv[1]).read_bytes())
folder = Path(sys.argv[2]); sys.path.insert(0, str(folder))
text = '''
from engine_case import Fade
from backtest.strategy import HOLD
class Edited(Fade):
    @staticmethod
    def decide(position, z, entry_z):
        return HOLD if abs(z) < entry_z + NUMBER else -1.0
'''
def run(number):
    name = f"edited_{number}"
    (folder / f"{name}.py").write_text(text.replace("NUMBER", repr(number / 1e9)))
    importlib.invalidate_caches()
    start = time.perf_counter()
    simulate(market, importlib.import_module(name).Edited(), venue=case.VENUE, account=case.ACCOUNT)
    return time.perf_counter() - start
base = time.time_ns() % 10**9
run(base)
print(sorted(run(base + j + 1) for j in range(5))[2])
"""


def bench_single(folder: Path, rounds: int) -> Table:
    from backtest.engine import simulate

    year = case.market(case.YEAR)
    full = median_of(rounds, lambda: simulate(year, case.Fade(), venue=case.VENUE, account=case.ACCOUNT))
    kept = folder / "month.pickle"
    kept.write_bytes(pickle.dumps(case.market(MONTH), protocol=5))
    fresh(FIRST, str(kept))
    times: dict[str, list[float]] = {code: [] for code in (IMPORTS, OURS, FIRST)}
    for _ in range(5):
        for code, taken in times.items():
            taken.append(seconds(lambda code=code: fresh(code, str(kept))))  # type: ignore[misc]
    base, imports, first = (statistics.median(t) for t in times.values())
    edited = float(fresh(EDIT, str(kept), str(folder)).split()[-1])
    return [
        (f"one full run of {case.YEAR:,} bars, warm", f"{full * 1e3:.0f} ms (bar 60)"),
        (f"fresh process, `{IMPORTS}`", f"{base:.2f} s"),
        (f"fresh process, `{OURS}`", f"{imports:.2f} s = {imports / base:.2f}x (bar 1.3x)"),
        ("fresh process to the first result, all cached", f"{first:.2f} s = {first - base:.2f} s more (bar 1.5)"),
        ("decide edited in a live process, to the result", f"{edited:.2f} s (bar 0.5)"),
    ]


def fresh(code: str, *words: str) -> str:
    """What a new interpreter prints that runs this."""
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "",
        },  # modules are compiled once, as for anyone
    )
    if done.returncode:
        raise SystemExit(f"a fresh process failed:\n{done.stderr}")
    return done.stdout


# ---- 4. scale ------------------------------------------------------------------------------------


def bench_scale(rounds: int) -> Table:
    rows: Table = []
    base = Walk(case.market(SWEEP_BARS // 10), case.parameter_sets(48))
    more_bars = Walk(case.market(SWEEP_BARS), case.parameter_sets(48))
    more_sets = Walk(case.market(SWEEP_BARS // 10), case.parameter_sets(480))
    times = in_turn(rounds, {"base": base, "bars": more_bars, "sets": more_sets})
    rows.append(
        ("ten times the bars (48 sets, 50,000 bars)", f"{times['bars'] / times['base']:.1f}x the time (bar 8x to 12x)")
    )
    rows.append(("ten times the sets", f"{times['sets'] / times['base']:.1f}x (bar 8x to 12x)"))
    return rows + collateral(rounds)


def collateral(rounds: int) -> Table:
    """50 symbols on one collateral against each of them by itself, the same rule: seldom trading, then ten times as often."""
    from backtest.metrics import NAMES

    rows: Table = []
    fifty = case.market(50_000, symbols=50)
    ones = [case.market(50_000, seed=7 + j) for j in range(50)]
    for seldom in (True, False):
        for count, bar in ((48, 1.5), (4, 2.2)):
            sets = portfolio(count, 2.0 / 50, seldom)
            alone = [Walk(one, sets) for one in ones]
            together = Walk(fifty, sets, mode="cross")
            times = in_turn(rounds, {"alone": lambda alone=alone: [w() for w in alone], "together": together})  # type: ignore[misc]
            scale = 1e9 / (50_000 * count * 50)
            trades = together()[:, NAMES.index("trades")].mean() * MONTH / 50_000
            ratio = f"{times['together'] / times['alone']:.2f}x them alone" + (f" (bar {bar}x)" if seldom else "")
            rows.append(
                (
                    f"50 symbols, one collateral, 50,000 bars, {count} sets at a time, {trades:,.0f} trades a month and set",
                    f"{times['together'] * scale:.2f} ns a bar, set and symbol = {ratio}",
                )
            )
    return rows


def portfolio(count: int, leverage: float, seldom: bool) -> list[Strategy]:
    sets = case.parameter_sets(count, leverage=leverage)
    return [s.replace(window="3d", entry_z=s.entry_z + 1.0) for s in sets] if seldom else sets


def in_turn(rounds: int, works: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Medians of warm calls, one of each in turn, so that a slow minute of the machine is everyone's.

    In seconds of this thread's own processor time: other processes that wait for the same core do not count.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            start = time.thread_time()
            work()
            if number:
                times[name].append(time.thread_time() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


# ---- tables --------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["sweep", "loop", "single", "scale"], help="one part")
    parser.add_argument("--peer", help="a Python with vectorbt 1.2; by default an environment is made")
    parser.add_argument("--write", action="store_true", help="keep the tables in benchmarks/RESULTS.md")
    args = parser.parse_args()
    parts: dict[str, tuple[str, Callable[[Path], Table]]] = {
        "sweep": (
            f"{SWEEP_SETS} parameter sets on {SWEEP_BARS:,} bars",
            lambda f: bench_sweep(f, args.rounds, args.peer or peer_python(f)),
        ),
        "loop": ("the loops alone, one thread, against C by hand", lambda f: bench_loop(f, args.rounds)),
        "single": ("one run", lambda f: bench_single(f, args.rounds)),
        "scale": ("scale", lambda _: bench_scale(args.rounds)),
    }
    folder = Path(tempfile.mkdtemp(prefix="unwind-bench-"))
    tables: list[tuple[str, Table]] = []
    try:
        for name, (title, part) in parts.items():
            if args.only in (None, name):
                tables.append((title, part(folder)))
                show(*tables[-1])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if args.write:
        keep(tables)


def show(title: str, rows: Table) -> None:
    print("\n".join(lines_of(title, rows)), flush=True)


def lines_of(title: str, rows: Table) -> list[str]:
    return [f"### {title}", "", "| what | measured |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows), ""]


def keep(tables: list[tuple[str, Table]], mark: str = "engine", title: str = "Engine (`make bench-engine`)") -> None:
    import numba

    path = HERE / "RESULTS.md"
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    text = path.read_text() if path.exists() else "# Measurements\n"
    if begin not in text:
        text += f"\n## {title}\n\n{begin}\n{end}\n"
    gcc = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True, check=False).stdout.strip()
    versions = f"Python {platform.python_version()}, numba {numba.__version__}, gcc {gcc}, {os.cpu_count()} cores, {processor()}"
    made = "\n".join(line for table in tables for line in lines_of(*table))
    head, rest = text.split(begin)
    path.write_text(f"{head}{begin}\n{versions}\n\n{made}{end}{rest.split(end)[1]}")


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
