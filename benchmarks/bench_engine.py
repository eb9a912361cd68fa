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
from pathlib import Path
from typing import Any

import engine_case as case
import numpy as np
from engine_loop import Loop

from backtest.costs import Costs
from backtest.strategy import Strategy
from data.market import Market

HERE = Path(__file__).resolve().parent
FOUR_GB = 4096  # MiB
COLUMNS = (80, 72, 64, 48, 32, 16)
SWEEP_BARS, SWEEP_SETS = 500_000, 256
MONTH = 30 * case.DAY_BARS
EXACT = 1e-9

Table = list[tuple[str, str]]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_of(rounds: int, work: Callable[[], object]) -> float:
    """Warm: the first call is not counted."""
    work()
    return statistics.median(seconds(work) for _ in range(rounds))


def measure(market: Market, sets: Sequence[Strategy], threads: int = 2, mode: str = "isolated") -> Any:
    from dataclasses import replace

    from backtest import engine

    account = replace(case.ACCOUNT, mode=mode)
    return engine.measure(market, sets, venue=case.VENUE, account=account, costs=Costs.impact(), threads=threads)


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


def peer_python(folder: Path) -> str:
    """An environment with vectorbt and its Rust engine; this one if there is no network."""
    here = folder / "peer"
    python = here / "bin" / "python"
    steps = ([sys.executable, "-m", "venv", str(here)], [str(python), "-m", "pip", "install", "-q", "vectorbt[rust]==1.2.*"])
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
        ("peak memory above the imports, 256 sets", f"{peaks[256]:.0f} MiB, the market's {market_mib:.0f} MiB included (bar 150)"),
        ("the same, 64 sets", f"{peaks[64]:.0f} MiB"),
    ]


# ---- 2. loop -------------------------------------------------------------------------------------


def bench_loop(folder: Path, rounds: int) -> Table:
    raise NotImplementedError


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
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path}
    )
    if done.returncode:
        raise SystemExit(f"a fresh process failed:\n{done.stderr}")
    return done.stdout


# ---- 4. scale ------------------------------------------------------------------------------------


def bench_scale(rounds: int) -> Table:
    raise NotImplementedError


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


def keep(tables: list[tuple[str, Table]]) -> None:
    import numba

    path = HERE / "RESULTS.md"
    begin, end = "<!-- engine -->", "<!-- /engine -->"
    text = path.read_text() if path.exists() else "# Measurements\n"
    if begin not in text:
        text += f"\n## Engine (`make bench-engine`)\n\n{begin}\n{end}\n"
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
