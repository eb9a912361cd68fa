"""Stores for the tests of verbs that trade: made-up markets, and an idea in a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from data.ingest import ingest
from data.sources.made_up import made_up
from data.store import Store

SYMBOL, OTHER = "ALFA/USDT:USDT", "BRAVO/USDT:USDT"
FIRST, LAST = "2024-03-01 00:00", "2024-04-10 00:00"

IDEA = '''
from __future__ import annotations

import pandas as pd
from backtest.strategy import HOLD, Strategy


class Follow(Strategy):
    """Long above its mean, else short; flat in between."""

    length: int = 12
    window: str = "2d"
    band: float = 0.01
    leverage: float = 1.0
    only_long: bool = False

    ranges = {"length": (6, 12, 24), "band": (0.0, 0.01, 0.02)}

    @property
    def warmup(self):
        return self.window

    def features(self, market):
        price = pd.Series(market.close)
        return {"away": (price / price.rolling(self.length).mean() - 1.0).fillna(0.0)}

    @staticmethod
    def decide(position, away, band, leverage, only_long):
        if away > band:
            return leverage if position <= 0.0 else HOLD
        if away < -band:
            if only_long:
                return 0.0
            return -leverage if position >= 0.0 else HOLD
        return HOLD
'''


def stored(folder: Path, days: int = 40) -> Path:
    """Hourly bars of two coins that never existed, with every table."""
    db = folder / "some.duckdb"
    ingest(made_up(symbols=2, days=days, interval="1h"), Store(db))
    return db


def idea(folder: Path) -> Path:
    file = folder / "ideas.py"
    file.write_text(IDEA, encoding="utf-8")
    return file


def command(*words: object) -> list[str]:
    code = "import sys; from backtest.cli import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-W", "error", "-c", code, *(str(word) for word in words)]


def unwind(*words: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own, where a warning is an error."""
    return subprocess.run(command(*words), capture_output=True, text=True, check=False, env=dict(os.environ))
