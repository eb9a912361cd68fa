"""vectorbt's side of bench_research.py: the same walk-forward, in whatever environment it runs (vectorbt and numpy).

    python vectorbt_forward.py FOLDER ENGINE COLUMNS FOLDS

FOLDER holds what bench_engine.lay_out_signals wrote, and folds.npy (train first and stop, test first and stop). In each
fold: all sets on the train window, so many at a time, their Sharpe ratios and nothing else; the best is chosen; all sets
on the test window for their ranks; at the end the chosen ones' signals through all test windows, as one portfolio.
Prints JSON: the seconds that went into making signals, and those of simulations and ratios, for each fold. The first
fold is run twice, once to compile.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

warnings.simplefilter("ignore")  # this script's output is JSON, and what vectorbt deprecates is not its subject

import vectorbt as vbt  # noqa: E402

FEES, SLIPPAGE, MINUTES = 0.0005, 0.0002, 15


class Side:
    def __init__(self, folder: Path, engine: str, columns: int) -> None:
        self.price, self.close = np.load(folder / "open.npy"), np.load(folder / "close.npy")
        self.z, self.build = np.load(folder / "z.npy"), np.load(folder / "build.npy") > 1.0
        self.sets = np.load(folder / "sets.npy")
        self.index = pd.date_range("2023-01-01", periods=len(self.close), freq=f"{MINUTES}min")  # naive: far faster
        self.engine, self.columns = engine, columns
        self.signals = self.simulated = 0.0

    def made(self, first: int, stop: int, sets: Any) -> dict[str, Any]:
        """Entries and exits, in the bar after the one that decides: columns are parameter sets."""
        begun = time.perf_counter()
        window, rows = sets[:, 0].astype(int), slice(max(first - 1, 0), stop - 1)
        score, builds = self.z[window, rows].T, self.build[window, rows].T
        names = ("entries", "exits", "short_entries", "short_exits")
        out = {name: np.zeros((stop - first, len(sets)), dtype=bool) for name in names}
        into = slice(stop - first - len(score), None)
        with np.errstate(invalid="ignore"):
            out["entries"][into] = builds & (score < -sets[:, 1])
            out["short_entries"][into] = builds & (score > sets[:, 1])
            out["exits"][into] = np.abs(score) < sets[:, 2]
        out["short_exits"] = out["exits"]
        self.signals += time.perf_counter() - begun
        return out

    def sharpe(self, first: int, stop: int, sets: Any) -> Any:
        found = []
        for low in range(0, len(sets), self.columns):
            some = sets[low : low + self.columns]
            found.append(self.ratios(first, stop, self.made(first, stop, some)))
        return np.concatenate(found)

    def ratios(self, first: int, stop: int, made: dict[str, Any]) -> Any:
        begun = time.perf_counter()
        index = self.index[first:stop]
        frames = {name: pd.DataFrame(a, index=index) for name, a in made.items()}
        close, price = pd.Series(self.close[first:stop], index=index), pd.Series(self.price[first:stop], index=index)
        portfolio = vbt.Portfolio.from_signals(
            close, **frames, price=price, fees=FEES, slippage=SLIPPAGE, freq=f"{MINUTES}min", engine=self.engine
        )
        returns = portfolio.returns().vbt.returns(freq=f"{MINUTES}min", engine=self.engine)
        ratio = np.atleast_1d(np.asarray(returns.sharpe_ratio()))
        self.simulated += time.perf_counter() - begun
        return ratio

    def fold(self, train: Any, test: Any) -> int:
        before = self.sharpe(*train, self.sets)
        best = int(np.nanargmax(np.where(np.isfinite(before), before, np.nan)))
        after = self.sharpe(*test, self.sets)
        _ = pd.Series(before).rank().corr(pd.Series(after).rank()), float(np.mean(after > after[best]))
        return best


def main() -> None:
    folder, engine, columns, many = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    side = Side(folder, engine, columns)
    folds = np.load(folder / "folds.npy")[:many]
    side.fold(folds[0, :2], folds[0, 2:])  # compiled, cached, warm
    rows, parts = [], []
    for train_first, train_stop, test_first, test_stop in folds:
        side.signals = side.simulated = 0.0
        best = side.fold((train_first, train_stop), (test_first, test_stop))
        parts.append(side.made(test_first, test_stop, side.sets[best : best + 1]))
        rows.append((side.signals, side.simulated))
    side.signals = side.simulated = 0.0
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    side.ratios(int(folds[0, 2]), int(folds[-1, 3]), whole)
    print(json.dumps({"folds": rows, "stitched": side.simulated, "engine": engine, "columns": columns}))


if __name__ == "__main__":
    main()
