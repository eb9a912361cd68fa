"""Our report beside quantstats', backtesting.py's and vectorbt's, of one run: pictures, sizes, times.

    python benchmarks/report_peers.py --out /tmp/peers           # --peer: a Python with quantstats and backtesting

The run is the demo's breakout, walked forward. vectorbt draws the portfolio that Unwind makes of it; quantstats gets its
daily returns; backtesting.py, which cannot take a run from elsewhere, trades the same direction at the same bars by its
own rules. Each page is opened in a headless Chromium without a network, and photographed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import bench_engine as bench
import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
NEEDS = ("quantstats==0.0.86", "backtesting==0.6.6", "ipython")
WIDTH, HEIGHT = 1280, 1600


def the_run(folder: Path) -> Any:
    """The demo's second idea, with all that its report needs; and what the peers are given of it."""
    from backtest.cli.demo import _fill, _market, _report, _sweep, _walk

    db = folder / "made-up.duckdb"
    _fill(db)
    market = _market(db)
    forward = _walk(market)["Breakout"]
    made = _report("Breakout", forward, _sweep(market)["Breakout"])
    result, out = forward.result, forward.out_of_sample
    closes = (result.ts + result.interval).astype("datetime64[ns]")
    result.equity.rename("equity").to_csv(folder / "equity.csv")
    pd.DataFrame({"exposure": result.run.series["exposure"]}, index=closes).to_csv(folder / "exposure.csv")
    price = {name: getattr(out, name) for name in ("open", "high", "low", "close", "volume")}
    pd.DataFrame(price, index=closes).to_csv(folder / "price.csv")
    return made


def ours(made: Any, folder: Path) -> float:
    began = time.perf_counter()
    made.write(folder / "unwind.html")
    return time.perf_counter() - began


def vectorbts(made: Any, folder: Path) -> float:
    portfolio = made.subject.result.portfolio
    began = time.perf_counter()
    portfolio.plot().write_html(folder / "vectorbt.html", include_plotlyjs=True)
    return time.perf_counter() - began


def theirs(which: str, peer: str, folder: Path) -> float:
    words = [peer, str(HERE / "report_peers_side.py"), which, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-800:], file=sys.stderr)
        return float("nan")
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def photographed(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    import shutil

    from playwright.sync_api import sync_playwright

    path = next(p for name in ("chromium", "google-chrome") if (p := shutil.which(name)))
    seen: dict[str, dict[str, Any]] = {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for name in names:
            context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, offline=True)
            tab = context.new_page()
            asked: list[str] = []
            tab.on(
                "request",
                lambda r, asked=asked: (
                    asked.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None
                ),
            )
            began = time.perf_counter()
            tab.goto((folder / f"{name}.html").as_uri())
            if name == "unwind":
                tab.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
            shown = time.perf_counter() - began
            tab.wait_for_timeout(2500)
            tab.screenshot(path=folder / f"{name}.png")
            seen[name] = {
                "requests": len(asked),
                "shown": shown,
                "height": tab.evaluate("document.documentElement.scrollHeight"),
            }
            context.close()
        browser.close()
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for pages and pictures")
    parser.add_argument("--peer", help="a Python with quantstats and backtesting; by default an environment is made")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    made = the_run(args.out)
    peer = args.peer or bench.peer_python(args.out, *NEEDS)
    ours(made, args.out)  # plotly.js packed once, as in any later page of a process
    taken = {"unwind": ours(made, args.out), "vectorbt": vectorbts(made, args.out)}
    taken |= {which: theirs(which, peer, args.out) for which in ("quantstats", "backtesting")}
    seen = photographed(args.out, [name for name, seconds in taken.items() if np.isfinite(seconds)])
    rows = [
        (
            name,
            f"{taken[name]:.2f} s, {(args.out / f'{name}.html').stat().st_size / 1e6:.2f} MB, "
            f"{found['requests']} requests, {found['height']:,} px tall",
        )
        for name, found in seen.items()
    ]
    together(args.out, list(seen))
    bench.show("one run, four pages", rows)


def together(folder: Path, names: list[str]) -> None:
    """The first screens in one picture."""
    from PIL import Image

    small, gap = (640, 800), 8
    whole = Image.new("RGB", (2 * small[0] + 3 * gap, 2 * small[1] + 3 * gap), "#8a8f98")
    for number, name in enumerate(names):
        with Image.open(folder / f"{name}.png") as picture:
            at = (gap + number % 2 * (small[0] + gap), gap + number // 2 * (small[1] + gap))
            whole.paste(picture.convert("RGB").resize(small), at)
    whole.quantize(128).save(folder / "report_peers.png", optimize=True)


if __name__ == "__main__":
    main()
