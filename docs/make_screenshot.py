"""The picture of a report in the README: `python docs/make_screenshot.py` makes it from `unwind demo`.

Needs Chromium and playwright (the `dev` extra). The demo's market is made up, and the page in the picture says so.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OUT = Path(__file__).parent / "figures" / "report.png"
PAGE = "crowd-fade.html"
WIDTH, HEIGHT = 1440, 1700
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out: Path = parser.parse_args().out
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        sys.exit("no Chromium: install it first, on Debian with apt install chromium")
    with tempfile.TemporaryDirectory() as folder:
        code = "import sys; from backtest.cli import main; sys.exit(main(sys.argv[1:]))"
        subprocess.run([sys.executable, "-c", code, "demo", "--out", folder], check=True, stdout=subprocess.DEVNULL)
        take(Path(folder) / PAGE, out, browser)
    print(f"{out}: {out.stat().st_size / 1000:,.0f} kB")
    return 0


def take(page: Path, out: Path, browser: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        context = started.new_context(viewport={"width": WIDTH, "height": HEIGHT}, offline=True)
        tab = context.new_page()
        tab.goto(page.resolve().as_uri())
        tab.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
        out.parent.mkdir(parents=True, exist_ok=True)
        tab.screenshot(path=out)
        started.close()


if __name__ == "__main__":
    sys.exit(main())
