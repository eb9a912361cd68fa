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

FILES, ROWS, OVERLAP = 12, 1_500, 100
MINUTE_US, START_US = 60_000_000, 1_706_572_800_000_000  # 2024-01-30


class Files:
    """Files of one symbol each: bars and, from the same file, open interest.

    Each begins with the last bars of the file before it, which it knows better: the order decides.
    """

    key = "made-up files"

    def __iter__(self) -> Iterator[Batch]:
        for i in range(FILES):
            rng = np.random.default_rng(i)
            symbol, part = f"S{i % 4}/USDT:USDT", i // 4
            numbers = np.arange(part * ROWS - (OVERLAP if part else 0), (part + 1) * ROWS)
            ts = pa.array(START_US + numbers * MINUTE_US, pa.timestamp("us"))
            close = 100 + np.cumsum(rng.normal(size=len(ts))) * 0.01
            names = pa.array([symbol] * len(ts))
            bars = {"symbol": names, "ts": ts, "open": close, "high": close + 1, "low": close - 1, "close": close}
            interest = {"symbol": names, "ts": ts, "quantity": rng.random(len(ts))}
            key = {"venue": "v", "interval_s": 60}
            yield Batch(
                (
                    Rows("candles", pa.table(bars), {**key, "price": "trade"}),
                    Rows("open_interest", pa.table(interest), key),
                ),
                (Origin("test", f"file-{i}", f"sha-{i}", "r", venue="v", symbols=(symbol,)),),
            )


def run(path: str) -> None:
    ingest(Files(), Store(path), transaction_rows=4 * ROWS)


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
