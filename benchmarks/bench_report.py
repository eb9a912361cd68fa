"""Size and speed of the report on a year of minutes: `make bench-report`.

1. a year of one-minute bars (525,600) with funding, open interest, liquidations and marks, and about 2,000 trades;
2. evidence is gathered beforehand and timed alone; then the page is built, median of several rounds, in pieces: what
   the sections reckon, what is packed, what jinja2 writes;
3. the page's bytes, packed parts apart; the most memory that building it takes, in a process of its own;
4. Chromium opens it from its file, headless: until all charts are drawn. Median of several.

The tables go to benchmarks/RESULTS.md with --write.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from backtest import Costs, Result, simulate
from backtest.report import render
from backtest.report.evidence import Evidence, gather
from backtest.report.report import Report
from backtest.report.sections import ORDER
from backtest.report.subject import Subject
from data import market_input
from data.align import Bars
from data.clock import DAY, HOUR, MINUTE
from data.market import Market, SymbolData

BARS, TRADES, ROUNDS = 525_600, 2_000, 7
START, NAME = 19_723 * DAY, "ALFA/USDT:USDT"
TERMS: dict[str, Any] = {"venue": "binance", "costs": Costs.fixed(2.0)}
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def market() -> Market:
    rng = np.random.default_rng(1)
    ts = START + np.arange(BARS, dtype=np.int64) * MINUTE
    close = 100.0 * np.exp(np.cumsum(0.0006 * rng.standard_normal(BARS)))
    open_ = np.concatenate([close[:1], close[:-1]])
    ohlc = (open_, np.maximum(open_, close) * 1.0003, np.minimum(open_, close) * 0.9997, close)
    traded = rng.lognormal(9.0, 0.5, BARS)
    at = np.arange(START, START + BARS * MINUTE, 8 * HOUR, dtype=np.int64)
    hits = np.where(rng.random(BARS) < 0.02, rng.lognormal(9.0, 1.0, BARS), 0.0)
    long, nothing = rng.random(BARS) < 0.5, np.full(len(at), np.nan)
    return Market.build(
        "made-up",
        {
            NAME: SymbolData(
                candles=Bars(MINUTE, ts, *ohlc, volume=traded, quote_volume=traded * close),
                marks=[Bars(MINUTE, ts, *ohlc)],
                funding=market_input.Settlements(
                    at, at, at, 2e-4 * rng.standard_normal(len(at)), np.full(len(at), 8.0), nothing
                ),
                open_interest=market_input.Points(
                    ts, ts, MINUTE, {"quantity": 1e6 + np.cumsum(traded - traded.mean()), "value": traded * close * 50}
                ),
                liquidations=market_input.Flow(
                    ts, ts, np.where(long, hits, 0.0), np.where(long, 0.0, hits), "complete", [(START, int(ts[-1]))]
                ),
            )
        },
        MINUTE,
        START,
        START + BARS * MINUTE,
    )


def exposure() -> Any:
    """In and out of positions of either side, about `TRADES` times."""
    rng = np.random.default_rng(2)
    steps = rng.choice([-1.0, 0.0, 1.0], 3 * TRADES)
    wanted = np.repeat(steps, -(-BARS // len(steps)))[:BARS]
    return np.where(np.arange(BARS) < BARS - 5, wanted, 0.0)


def median(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def fresh(m: Market, run: Result, known: Evidence) -> Report:
    """One that has reckoned nothing yet."""
    return Report(run, name="Bench", market=m, evidence=known)


def building(m: Market, run: Result, known: Evidence) -> tuple[list[tuple[str, str]], str]:
    html = fresh(m, run, known).html()
    page = fresh(m, run, known).page
    slow = sorted(((_of_section(m, run, known, i), make) for i, make in enumerate(ORDER)), key=lambda one: -one[0])[:4]
    named = ", ".join(f"{make.__module__.rsplit('.', 1)[1]} {1000 * took:.0f} ms" for took, make in slow)
    whole = median(lambda: fresh(m, run, known).html())
    rows = [
        ("built, evidence gathered before", f"**{whole:.2f} s** (asked: below 2)"),
        ("of which rendering (packing, jinja2)", f"{median(lambda: render.html(page)):.2f} s"),
        ("slowest sections, alone", named),
        ("the file", f"**{len(html.encode()) / 1e6:.2f} MB** (asked: below 2.5)"),
        ("of which plotly.js, packed", f"{len(render.plotly()) / 1e6:.2f} MB"),
    ]
    return rows, html


def _of_section(m: Market, run: Result, known: Evidence, number: int) -> float:
    start = time.perf_counter()
    ORDER[number](Subject(run, market=m, evidence=known))
    return time.perf_counter() - start


def memory(folder: Path) -> tuple[str, str]:
    """In a process of its own that has made the market and read the run and its evidence."""
    done = subprocess.run(
        [sys.executable, __file__, "--memory", str(folder)], capture_output=True, text=True, check=True
    )
    return "memory in use at the most while the page is built", f"{float(done.stdout):,.0f} MB"


def _measure_memory(folder: Path) -> None:
    m, run, known = market(), Result.load(folder), Evidence.load(folder)
    assert known is not None
    tracemalloc.start()
    fresh(m, run, known).html()
    print(tracemalloc.get_traced_memory()[1] / 2**20)


def opening(file: Path, rounds: int = 5) -> list[tuple[str, str]]:
    import shutil

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        return [("opened in Chromium", "there is none")]
    from playwright.sync_api import sync_playwright

    times, spent, charts = [], [], 0
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        for _ in range(rounds + 1):
            context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
            tab = context.new_page()
            session = context.new_cdp_session(tab)
            session.send("Performance.enable")
            start = time.perf_counter()
            tab.goto(file.as_uri())
            tab.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
            times.append(time.perf_counter() - start)
            charts = tab.locator(".plot").count()
            numbers = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
            spent.append(numbers["ProcessTime"])
            context.close()
        browser.close()
    said = f"**{statistics.median(times[1:]):.2f} s** (asked: below 3), {charts} charts"
    return [
        ("opened in headless Chromium until all is drawn", said),
        ("of which processor time of the page", f"{statistics.median(spent[1:]):.2f} s"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="put the tables into RESULTS.md")
    parser.add_argument("--memory", type=Path)
    asked = parser.parse_args()
    if asked.memory:
        _measure_memory(asked.memory)
        return
    m, mine = market(), exposure()
    run = simulate(m, exposure=mine, **TERMS)
    start = time.perf_counter()
    known = gather(run, m, exposure=mine, **TERMS)
    took = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run.save(folder / "run")
        known.save(folder / "run")
        rows, html = building(m, run, known)
        file = render.write(folder / "page.html", html)
        rows = [
            ("bars, trades, fills", f"{BARS:,}, {len(run.trades):,}, {len(run.fills):,}"),
            ("evidence, gathered once (10 runs, 1,000 redrawn histories, 200 random entries)", f"{took:.1f} s"),
            *rows,
            memory(folder / "run"),
            *opening(file),
            ("load of the machine at the end", f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"),
        ]
    for name, value in rows:
        print(f"{name:80}  {value}")
    if asked.write:
        from bench_engine import keep

        keep([("A year of minutes", rows)], "report", "The report (`make bench-report`)")


if __name__ == "__main__":
    main()
