"""vectorbt's side of bench_engine.py, in whatever environment it runs: it needs vectorbt and numpy alone.

    python vectorbt_side.py FOLDER ENGINE COLUMNS ROUNDS

FOLDER holds open.npy, close.npy, z.npy and build.npy (one row a window) and sets.npy (window, entry_z, exit_z). Signals
of the rule are made first and not counted. Then, with so many parameter sets at a time: from_signals at the next open
with fees and slippage, and total return, Sharpe, Sortino, Calmar and maximum drawdown of its returns. Prints JSON: the
seconds of every round, and the peak memory.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

warnings.simplefilter("ignore")  # this script's output is JSON, and what vectorbt deprecates is not its subject

import vectorbt as vbt  # noqa: E402

FEES, SLIPPAGE = 0.0005, 0.0002


def signals(folder: Path, sets: Any) -> dict[str, Any]:
    """Entries and exits, long and short, in the bar after the one that decides: columns are parameter sets."""
    z, build = np.load(folder / "z.npy"), np.load(folder / "build.npy")
    shape = (z.shape[1], len(sets))
    names = ("entries", "exits", "short_entries", "short_exits")
    out = {name: np.zeros(shape, dtype=bool) for name in names}
    with np.errstate(invalid="ignore"):
        for column, (window, entry_z, exit_z) in enumerate(sets):
            score, builds = z[int(window), :-1], build[int(window), :-1] > 1.0
            out["entries"][1:, column] = builds & (score < -entry_z)
            out["short_entries"][1:, column] = builds & (score > entry_z)
            out["exits"][1:, column] = out["short_exits"][1:, column] = np.abs(score) < exit_z
    return out


def once(price: Any, close: Any, made: dict[str, Any], engine: str) -> int:
    portfolio = vbt.Portfolio.from_signals(
        close, **made, price=price, fees=FEES, slippage=SLIPPAGE, freq="1min", engine=engine
    )
    returns = portfolio.returns().vbt.returns(freq="1min", engine=engine)
    returns.total(), returns.sharpe_ratio(), returns.sortino_ratio(), returns.calmar_ratio(), returns.max_drawdown()
    return int(portfolio.orders.count().sum())


def main() -> None:
    folder, engine, columns, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    prices, values = np.load(folder / "open.npy"), np.load(folder / "close.npy")
    index = pd.date_range("2023-01-01", periods=len(values), freq="1min")  # naive: with a zone it is far slower
    close = pd.Series(values, index=index)
    sets = np.load(folder / "sets.npy")
    chosen = sets[:: max(1, len(sets) // columns)][:columns]
    made = signals(folder, chosen)
    frames = {name: pd.DataFrame(a, index=index) for name, a in made.items()}
    once(pd.Series(prices, index=index), close, frames, engine)  # compiled, cached, warm
    seconds = []
    for _ in range(rounds):
        gc.collect()
        start = time.perf_counter()
        orders = once(pd.Series(prices, index=index), close, frames, engine)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "orders": orders, "sets": len(chosen)}))


if __name__ == "__main__":
    main()
