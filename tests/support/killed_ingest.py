"""Runs ingests that are meant to be killed: for each store path on standard input, a child that ingests into it.

Imports are done once, here, so that the random instant of the kill falls into the ingest and not into Python's start.
Prints the child's pid, and "gone" with its exit status once it has ended.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from data.ingest import ingest
from data.rows import Batch, Origin, Rows
from data.store import Store

FILES, ROWS = 12, 1_500
MINUTE_US, START_US = 60_000_000, 1_706_572_800_000_000  # 2024-01-30


def source() -> Iterator[Batch]:
    """Files of one symbol each: bars and, from the same file, open interest."""
    for i in range(FILES):
        rng = np.random.default_rng(i)
        symbol = f"S{i % 4}/USDT:USDT"
        ts = pa.array(START_US + (i // 4 * ROWS + np.arange(ROWS)) * MINUTE_US, pa.timestamp("us"))
        close = 100 + np.cumsum(rng.normal(size=ROWS)) * 0.01
        names = pa.array([symbol] * ROWS)
        bars = pa.table({"symbol": names, "ts": ts, "open": close, "high": close + 1, "low": close - 1, "close": close})
        interest = pa.table({"symbol": names, "ts": ts, "quantity": rng.random(ROWS)})
        key = {"venue": "v"}
        yield Batch(
            (
                Rows("candles", bars, {**key, "price": "trade", "interval_s": 60}),
                Rows("open_interest", interest, {**key, "interval_s": 60}),
            ),
            (Origin("test", f"file-{i}", f"sha-{i}", "r", rows=2 * ROWS, venue="v", symbols=(symbol,)),),
        )


def run(path: str) -> None:
    ingest(source(), Store(path), transaction_rows=4 * ROWS)


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            run(line.strip())
            os._exit(0)
        print(pid, flush=True)  # noqa: T201
        print("gone", os.waitpid(pid, 0)[1], flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
