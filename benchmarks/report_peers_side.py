"""The peers' side of report_peers.py, in an environment of their own: `python report_peers_side.py WHICH FOLDER`.

FOLDER holds equity.csv (close times, equity), price.csv (open, high, low, close, volume) and exposure.csv (what the run
held, as a multiple of equity, at each close). Writes FOLDER/WHICH.html and prints JSON with the seconds it took.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")  # the output is JSON, and what the peers deprecate is not its subject

import pandas as pd  # noqa: E402


def frame(folder: Path, name: str) -> Any:
    return pd.read_csv(folder / f"{name}.csv", index_col=0, parse_dates=True)


def quantstats(folder: Path) -> float:
    import matplotlib as mpl

    mpl.use("Agg")
    import quantstats as qs

    equity = frame(folder, "equity")["equity"]
    daily = equity.resample("1D").last().pct_change().dropna()
    began = time.perf_counter()
    qs.reports.html(daily, output=str(folder / "quantstats.html"), title="Breakout", periods_per_year=365)
    return time.perf_counter() - began


def backtesting(folder: Path) -> float:
    import os

    os.environ["BOKEH_RESOURCES"] = "inline"
    from backtesting import Backtest, Strategy

    price = frame(folder, "price")
    price.columns = [c.capitalize() for c in price.columns]
    held = frame(folder, "exposure")["exposure"]
    price["Target"] = held.reindex(price.index).fillna(0.0)

    class Follow(Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self.target = self.I(lambda: self.data.Target, name="exposure")

        def next(self) -> None:
            now, before = self.target[-1], self.target[-2] if len(self.data) > 1 else 0.0
            if (now > 0) != (before > 0) or (now < 0) != (before < 0):
                self.position.close()
                if now:
                    (self.buy if now > 0 else self.sell)(size=0.99)

    test = Backtest(price, Follow, cash=1_000_000, commission=0.0005, margin=0.25, finalize_trades=True)
    test.run()
    began = time.perf_counter()
    test.plot(filename=str(folder / "backtesting.html"), open_browser=False)
    return time.perf_counter() - began


def main() -> None:
    which, folder = sys.argv[1], Path(sys.argv[2])
    taken = {"quantstats": quantstats, "backtesting": backtesting}[which](folder)
    print(json.dumps({"seconds": taken}))


if __name__ == "__main__":
    main()
