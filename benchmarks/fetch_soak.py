"""A month of one-minute candles of 200 contracts, fetched from a loopback server: how fast, and in how much memory.

    .venv/bin/python benchmarks/fetch_soak.py              # 200 contracts, 30 days: 8.64 million rows
    .venv/bin/python benchmarks/fetch_soak.py --symbols 20 --days 3

The server speaks Binance's wire format from a process of its own; ccxt talks to it by changed addresses, and nothing
waits for the venue's rate limit (`--rate` far above 1), so what is measured is the client and the store. At the end the
store is compared with the server's truth, column by column, contract by contract.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

NOW = 1_790_000_000_000


def contracts(count: int):
    from venue_server.truth import Contract

    return tuple(Contract(f"C{i:03d}") for i in range(count))


def serve(count: int) -> None:
    from venue_server.server import VenueServer
    from venue_server.truth import Truth

    with VenueServer(Truth(NOW, contracts(count))) as server:
        server.headers = _Nothing()
        server.log = _Nothing()
        print(server.url, flush=True)
        sys.stdin.read()


class _Nothing(list):
    """A log that keeps nothing."""

    def append(self, _: object) -> None:
        pass


def main() -> None:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--symbols", type=int, default=200)
    parse.add_argument("--days", type=int, default=30)
    parse.add_argument("--workers", type=int, default=4)
    parse.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parse.parse_args()
    if options.serve:
        serve(options.serve)
        return
    command = [sys.executable, __file__, "--serve", str(options.symbols)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            measure(server.stdout.readline().strip(), options)
        finally:
            server.communicate()


def measure(url: str, options: argparse.Namespace) -> None:
    from data import clock
    from data.fetching.asked import Wish
    from data.fetching.job import plan, run
    from data.sources.ccxt_rest import VenueClient
    from data.sources.manners import Manners
    from data.sources.venue_facts import What
    from data.sources.venue_table import facts
    from data.store import Store

    until = NOW // 86_400_000 * 86_400_000
    since = until - options.days * 86_400_000
    names = tuple(c.symbol for c in contracts(options.symbols))
    wish = Wish(names, (What.CANDLES,), since * clock.MS, until * clock.MS)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "soak.duckdb")
        client = VenueClient(facts("binance"), Manners(url=url, rate=1e6))
        base = peak()
        started = time.perf_counter()
        job = plan(store, wish, [client])
        planned = time.perf_counter() - started
        done = run(store, job, workers=options.workers)
        seconds = time.perf_counter() - started
        rows = done.report.written.inserted
        top = peak()
        size = store.path.stat().st_size / 2**20
        started = time.perf_counter()
        left = plan(store, wish, [client]).requests
        again = time.perf_counter() - started
        compare(store, names, since, until)
    print("| what | measured |\n|---|---|")
    print(f"| asked for | {options.symbols} contracts x {options.days} days of 1m: {job.requests:,} requests |")
    print(
        f"| stored | {rows:,} rows in {seconds:.1f} s, planning {planned:.1f} s of it = {rows / seconds:,.0f} rows/s |"
    )
    print(f"| peak memory | {top:,.0f} MiB, of which {base:,.0f} MiB before the first request |")
    print(f"| file | {size:,.0f} MiB |")
    print(f"| the same command again | {left} requests, planned in {again:.1f} s |")
    print("| the store against the truth | equal, every column of every row |")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare(store, names, since: int, until: int) -> None:
    import polars as pl
    from polars.testing import assert_frame_equal
    from venue_server import expected
    from venue_server.truth import Truth

    truth = Truth(NOW, contracts(len(names)))
    for c in truth.contracts:
        found = pl.DataFrame(pl.from_arrow(store.query("SELECT * FROM candles WHERE symbol = ?", [c.symbol])))
        right = expected.candles(truth, "binance", c, "trade", "1m", since, until)
        assert_frame_equal(found.sort("ts"), right.sort("ts"), check_exact=True)


if __name__ == "__main__":
    main()
