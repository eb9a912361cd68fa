"""Soak of `unwind record`: 2,000 liquidations a second for a minute from three venues on loopback, nothing lost.

The venues run in this process, on the wire format that the tests use; the recorder is a process of its own, started
by its command line. Said are the worst lag (receipt less the venue's stamp), the time until an event is on disk, memory
and processor time of the recorder, and whether the store holds exactly what was sent.

    python benchmarks/record_soak.py [--rate 2000] [--seconds 60] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from venue_streams.live import fact, facts_of, gaps  # noqa: E402
from venue_streams.server import Venues  # noqa: E402
from venue_streams.wire import COINS, Truth  # noqa: E402

from data.recording.spool import spool_of  # noqa: E402
from data.store import Store  # noqa: E402

SHARES = {"binance": 0.5, "bybit": 0.3, "okx": 0.2}  # of the events; Binance sends one a message
TICK_S = 0.02
CODE = "import sys; from backtest.cli import main; sys.exit(main(sys.argv[1:]))"
BEGIN, END = "<!-- record-soak: begin -->", "<!-- record-soak: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--write", action="store_true", help="keep the numbers in benchmarks/RESULTS.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder) / "soak.duckdb", asked.rate, asked.seconds)
    text = report(found)
    print(text)
    if asked.write:
        write(text)


def soak(store: Path, rate: int, seconds: float) -> dict[str, Any]:
    with Venues() as venues:
        words = ["record", "--venue", ",".join(SHARES), "--gateway", venues.url, "--db", str(store), "--json"]
        command = [sys.executable, "-c", CODE, *words, "--status-every", "1s", "--merge-every", "10s"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            said: list[dict[str, Any]] = []
            listening = threading.Thread(target=lambda: said.extend(json.loads(x) for x in process.stdout or ()))
            listening.start()
            venues.wait_for_listeners(*SHARES)
            time.sleep(1.0)
            watched = psutil.Process(process.pid)
            before = watched.cpu_times()
            meter = Meter(watched, spool_of(store))
            send(venues, rate, seconds)
            meter.stop()
            after = watched.cpu_times()
            sent_at = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(120)
            listening.join()
    stored = facts_of(Store(store, read_only=True).table("liquidations"))
    truth = [fact(t) for t in venues.sent]
    assert process.returncode == 0
    return {
        "sent": len(truth),
        "stored": len(stored),
        "same": sorted(stored) == sorted(truth),
        "gaps": len(gaps(store)),
        "rate": len(truth) / seconds,
        "seconds": seconds,
        "worst_lag_s": max(v["worst_lag_s"] for v in said[-1]["venues"].values()),
        "to_disk_s": meter.longest_unwritten,
        "rss_mb": meter.rss / 1e6,
        "rss_after_10_s_mb": meter.early / 1e6,
        "rss_by_minute_mb": [n / 1e6 for n in meter.by_minute],
        "cpu": ((after.user - before.user) + (after.system - before.system)) / seconds,
        "stop_s": time.monotonic() - sent_at,
        "store_mb": store.stat().st_size / 1e6,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def send(venues: Venues, rate: int, seconds: float) -> None:
    """So many events a second, in ticks; no two alike, stamped when they are sent."""
    began, elapsed = time.monotonic(), 0.0
    sent = dict.fromkeys(SHARES, 0)
    while elapsed < seconds:
        elapsed = time.monotonic() - began
        due = min(elapsed + TICK_S, seconds) * rate
        now = time.time_ns() // 1_000_000
        for venue, share in SHARES.items():
            numbers = range(sent[venue], round(due * share))
            sent[venue] = numbers.stop
            if numbers:
                venues.push([one(venue, n, now) for n in numbers])
        time.sleep(max(0.0, began + elapsed + TICK_S - time.monotonic()))


def one(venue: str, n: int, now_ms: int) -> Truth:
    side = ("long", "short")[n // 3 % 2]
    return Truth(venue, COINS[n % len(COINS)], now_ms, side, 30_000 + n / 4, (n % 90 + 10) / 100)


class Meter:
    """Memory of the recorder, and how long its spool goes without growing."""

    def __init__(self, process: psutil.Process, spool: Path) -> None:
        self.process, self.spool = process, spool
        self.rss = self.early = 0
        self.by_minute: list[int] = []  # the most of each minute
        self.longest_unwritten = 0.0
        self._running = True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        began = changed = time.monotonic()
        size: dict[str, int] = {}
        while self._running:
            now = time.monotonic()
            rss = self.process.memory_info().rss
            self.rss = max(self.rss, rss)
            if now - began < 10:
                self.early = self.rss
            minute = int((now - began) // 60)
            self.by_minute += [0] * (minute + 1 - len(self.by_minute))
            self.by_minute[minute] = max(self.by_minute[minute], rss)
            seen = {p.name: p.stat().st_size for p in self.spool.glob("*.open")}
            if seen != size:
                if size:
                    self.longest_unwritten = max(self.longest_unwritten, now - changed)
                size, changed = seen, now
            time.sleep(0.05)

    def stop(self) -> None:
        self._running = False
        self._thread.join()


def report(found: dict[str, Any]) -> str:
    whole = "exactly what was sent" if found["same"] else "NOT what was sent"
    return "\n".join(
        [
            f"{found['sent']:,} liquidations in {found['seconds']:g} s ({found['rate']:,.0f} a second) from three venues "
            f"on loopback; the store holds {found['stored']:,}, {whole}, and {found['gaps']} gaps.",
            "",
            "| measure | seen |",
            "|---|---|",
            f"| worst lag, receipt less the venue's stamp | {found['worst_lag_s']:.2f} s |",
            f"| longest time between two writes to the spool | {found['to_disk_s']:.2f} s |",
            f"| memory of the recorder, at most | {found['rss_mb']:,.0f} MB |",
            f"| memory within the first 10 s, at most | {found['rss_after_10_s_mb']:,.0f} MB |",
            f"| memory, at most, minute by minute | {', '.join(f'{n:,.0f}' for n in found['rss_by_minute_mb'])} MB |",
            f"| processor time of the recorder, merges included | {found['cpu']:.2f} cores |",
            f"| from SIGTERM to a whole store | {found['stop_s']:.1f} s |",
            f"| size of the store, messages as they came included | {found['store_mb']:,.0f} MB |",
            f"| cores, and load of the machine at the end | {found['cores']}, {found['load']:.1f} |",
        ]
    )


def write(text: str) -> None:
    path = ROOT / "benchmarks" / "RESULTS.md"
    page = path.read_text(encoding="utf-8")
    start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    path.write_text(f"{page[:start]}\n\n{text}\n\n{page[end:]}", encoding="utf-8")


if __name__ == "__main__":
    main()
