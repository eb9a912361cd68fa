"""`unwind lab` in a real browser: it opens the quickstart without a question, runs it, and its charts are drawn."""

from __future__ import annotations

import base64
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\S+\?token=\w+")
COMMAND = "import sys; from backtest.cli import main; sys.exit(main(sys.argv[1:]))"
RUN_FOR = 200  # seconds: compiled code may have to be made first
CHARTS = ".js-plotly-plot"


@dataclass(frozen=True)
class Lab:
    address: str
    folder: Path


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def address_of(process: subprocess.Popen[str]) -> str:
    """What it prints, once the server is up."""
    assert process.stderr is not None
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in process.stderr or ()], daemon=True).start()
    said, until = "", time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        try:
            said += lines.get(timeout=1.0)
        except queue.Empty:
            continue
        if found := ADDRESS.search(said):
            return found[0]
    pytest.fail(f"no address:\n{said[-3000:]}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    for name in ("jupyterlab", "jupytext", "ipykernel"):
        pytest.importorskip(name)
    home = tmp_path_factory.mktemp("home")
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTERLAB_SETTINGS_DIR")
    own = {name: str(home / name.lower()) for name in (*names, "JUPYTERLAB_WORKSPACES_DIR")}
    options = ["lab", "--no-browser", "--allow-root", "--port", str(free_port())]
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *options],
        cwd=home, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield Lab(address_of(process), home / "unwind-notebooks")
        finally:
            process.send_signal(signal.SIGTERM)  # the server stops its kernels, too
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@dataclass
class Seen:
    page: Any
    requests: list[str]


@pytest.fixture(scope="module")
def seen(lab: Lab, chromium: str) -> Iterator[Seen]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1000}, color_scheme="dark")
        requests: list[str] = []
        page.on("request", lambda r: requests.append(r.url))
        page.goto(lab.address)
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        page.wait_for_selector("text=Python 3 (ipykernel)", timeout=60_000)
        yield Seen(page, requests)
        browser.close()


def test_the_notebooks_are_there_and_the_first_is_open(lab: Lab, seen: Seen) -> None:
    assert len(list(lab.folder.glob("*.ipynb"))) == 7
    assert seen.page.locator(".jp-Notebook h1").first.inner_text().startswith("1 · Quickstart")


def test_nothing_is_asked_and_nothing_pops_up(seen: Seen) -> None:
    seen.page.wait_for_timeout(2_000)  # news would be asked about by now
    assert seen.page.locator(".jp-Dialog").count() == 0
    assert seen.page.locator(".Toastify__toast").count() == 0


def test_it_follows_the_system_into_the_dark(seen: Seen) -> None:
    assert seen.page.locator("body").get_attribute("data-jp-theme-light") == "false"


def test_nobody_comes_in_without_the_token(lab: Lab) -> None:
    root = lab.address.split("/lab")[0]
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{root}/api/contents")
    assert refused.value.code == 403
    refused.value.close()


def test_it_runs_and_its_charts_are_drawn(seen: Seen) -> None:
    page = seen.page
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    _wait_until_all_ran(page)
    assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
    stderr = page.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
    assert all("compil" in text for text in stderr.all_text_contents())  # a first run may say that it compiles
    charts = page.locator(CHARTS)
    assert charts.count() >= 3
    for i in range(charts.count()):
        chart = charts.nth(i)
        chart.scroll_into_view_if_needed()
        chart.locator(".scatterlayer path.js-line").first.wait_for(state="attached", timeout=30_000)
        lines = chart.locator(".scatterlayer path.js-line")
        assert all(len(lines.nth(k).get_attribute("d")) > 100 for k in range(lines.count()))
        assert _colors(page, chart.screenshot()) > 20
    assert [url for url in seen.requests if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []


def _wait_until_all_ran(page: Any) -> None:
    """Each code cell has its number, and none has a star."""
    until = time.monotonic() + RUN_FOR
    while time.monotonic() < until:
        prompts = page.locator(".jp-CodeCell .jp-InputPrompt").all_text_contents()
        if prompts and all(re.fullmatch(r"\[\d+\]:", text.strip()) for text in prompts):
            return
        page.wait_for_timeout(500)
    pytest.fail(f"not all cells ran: {prompts}")


def _colors(page: Any, png: bytes) -> int:
    """How many colours a picture has: one that shows nothing has few."""
    return int(
        page.evaluate(
            """async (b64) => {
                const bytes = Uint8Array.from(atob(b64), c => c.charCodeAt(0));
                const bitmap = await createImageBitmap(new Blob([bytes], {type: "image/png"}));
                const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
                const pen = canvas.getContext("2d");
                pen.drawImage(bitmap, 0, 0);
                const data = new Uint32Array(pen.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer);
                return new Set(data).size;
            }""",
            base64.b64encode(png).decode(),
        )
    )
