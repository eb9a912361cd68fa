"""The explorer in a real JupyterLab: its keys are its own there, a move reaches the kernel and comes back drawn."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("jupyterlab")
pytest.importorskip("anywidget")

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SUPPORT = Path(__file__).resolve().parents[1] / "support"
CELL = f"""
import sys
sys.path.insert(0, {str(SUPPORT)!r})
import research_markets as rm
from backtest import Account
from backtest.sweep import sweep
terms = dict(rm.TERMS, account=Account(leverage=10), progress=False)
explorer = sweep(rm.Follow, rm.market(60), length=[6, 12, 24], leverage=[1.0, 2.0, 4.0], **terms).explore()
explorer.set(length=12, leverage=1.0)
explorer
"""
TOKEN = "a-token-of-the-test"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on loopback with one notebook, its settings and files in a folder of its own."""
    folder = tmp_path_factory.mktemp("lab")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.strip())])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "one.ipynb")
    config = folder / "config"
    (config / "labconfig").mkdir(parents=True)
    news = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(news))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = {"CONFIG_DIR": config, "DATA_DIR": folder / "data", "RUNTIME_DIR": folder / "runtime"}
    env = {**os.environ, **{f"JUPYTER_{name}": str(path) for name, path in names.items()}}
    env |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "user"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "spaces")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={folder}"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", f"--IdentityProvider.token={TOKEN}"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            _wait(f"http://127.0.0.1:{port}/api?token={TOKEN}", server, folder / "log")
            yield f"http://127.0.0.1:{port}/lab/tree/one.ipynb?token={TOKEN}&reset"
        finally:
            server.terminate()
            server.wait(30)


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        try:
            urllib.request.urlopen(address).close()
        except urllib.error.URLError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.25)
        else:
            return
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def page(lab: str, chromium: str) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1200, "height": 1000})
        tab.elsewhere = []
        tab.on("request", lambda r: None if _is_ours(r.url) else tab.elsewhere.append(r.url))
        tab.goto(lab)
        tab.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
        tab.get_by_text("| Idle").wait_for(timeout=90_000)
        tab.get_by_role("menuitem", name="Run", exact=True).click()
        tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        tab.wait_for_selector(".unwind-explorer path.line", state="attached", timeout=60_000)
        yield tab
        browser.close()


def _is_ours(address: str) -> bool:
    return re.match(r"(http|ws)://127\.0\.0\.1[:/]|(blob|data):", address) is not None


def moved(page: Any, name: str, key: str, text: str) -> str:
    """The line after a key on a slider, when the kernel has answered."""
    slider = page.get_by_label(name, exact=True)
    slider.focus()
    page.keyboard.press(key)
    page.wait_for_selector(f".unwind-explorer:not(.stale) input[aria-valuetext='{name} {text}']", timeout=30_000)
    return str(page.locator(".unwind-explorer path.line").first.get_attribute("d"))


def test_keys_move_the_sliders_and_the_kernel_answers(page: Any) -> None:
    first = str(page.locator(".unwind-explorer path.line").first.get_attribute("d"))
    drawn = [
        moved(page, "leverage", "ArrowRight", "2"),
        moved(page, "leverage", "ArrowRight", "4"),
        moved(page, "length", "ArrowLeft", "6"),
    ]
    assert len({first, *drawn}) == 4
    moved(page, "length", "ArrowRight", "12")
    assert moved(page, "leverage", "Home", "1") == first
    assert "9 trials" in page.locator(".unwind-explorer [role=status]").inner_text()
    assert page.locator(".jp-Notebook .jp-Cell").count() == 1  # no key of a slider was a command to the notebook


def test_measures_stand_beside_each_other_in_the_styles_of_lab(page: Any) -> None:
    boxes = [tile.bounding_box() for tile in page.locator("[data-measure]").all()]
    assert len(boxes) == 8
    apart = [b["x"] >= a["x"] + a["width"] or b["y"] > a["y"] for a, b in itertools.pairwise(boxes)]
    assert all(apart)
    for tile in page.locator("[data-measure]").all():
        label, value = tile.locator("span").bounding_box(), tile.locator("b").bounding_box()
        assert value["y"] >= label["y"] + label["height"] - 1.0


def test_nothing_was_asked_of_a_network(page: Any) -> None:
    assert page.elsewhere == []
