"""The explorer's page in a real browser, on a plain stand-in for the notebook between it and the real object."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import research_markets as rm

pytest.importorskip("anywidget")

from backtest import HOLD, Account, Strategy, simulate
from backtest.explorer.widget import HERE, Explorer
from backtest.result import as_text, metrics
from backtest.sweep import sweep
from data.market import Market

pytestmark = pytest.mark.browser

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
DARK = "--jp-ui-font-color1: rgba(255,255,255,.87); background: #111111"
LIGHT = "--jp-ui-font-color1: rgba(0,0,0,.87); background: #ffffff"

# What a notebook does between a page and its object: states are exchanged, bytes arrive as views.
NOTEBOOK = """
async ([source, style, first]) => {
  const url = URL.createObjectURL(new Blob([source], {type: "text/javascript"}));
  const page = (await import(url)).default;
  const read = text => JSON.parse(text, (_, v) => v && typeof v === "object" && "b64" in v
    ? new DataView(Uint8Array.from(atob(v.b64), c => c.charCodeAt(0)).buffer) : v);
  const state = read(first), heard = {};
  let changed = {};
  const tell = name => (heard[`change:${name}`] || []).forEach(f => f());
  const model = {
    get: name => state[name],
    set: (name, value) => { state[name] = changed[name] = value; tell(name); },
    on: (event, f) => (heard[event] ||= []).push(f),
    off: (event, f) => { heard[event] = (heard[event] || []).filter(g => g !== f); },
    save_changes: async () => {
      const told = changed; changed = {};
      window.receive(await window.kernel(JSON.stringify(told)));
      document.body.dataset.answered = Number(document.body.dataset.answered || 0) + 1;
    },
  };
  window.receive = text => {
    Object.assign(state, read(text));
    ["values", "shown"].forEach(tell);
  };
  const sheet = document.head.appendChild(document.createElement("style"));
  sheet.textContent = style;
  window.leave = page.render({model, el: document.body.appendChild(document.createElement("div"))});
  window.listeners = () => Object.values(heard).flat().length;
}
"""


class Named(Strategy):
    """A name that would be markup, and a value that does not work."""

    length: int = 4
    size: float = 1.0

    def features(self, market: Market) -> dict[str, Any]:
        if self.length == 5:
            raise RuntimeError("<img src=x onerror=document.title='owned'>")
        return {"up": np.arange(len(market)) % self.length}

    @staticmethod
    def decide(up: float, size: float) -> float:
        return size if up == 1.0 else HOLD


Named.__name__ = "<b>Named</b>"


def explorer(kind: type[Strategy] = rm.Follow, **grid: Any) -> Explorer:
    grid = grid or {"length": [6, 12, 24], "band": [0.01, 0.02, 0.05], "leverage": [1.0, 8.0]}
    terms = {**rm.TERMS, "account": Account(leverage=10)}
    return sweep(kind, rm.market(), grid, progress=False, **terms).explore()


def packed(thing: Any) -> Any:
    if isinstance(thing, bytes):
        return {"b64": base64.b64encode(thing).decode()}
    if isinstance(thing, dict):
        return {key: packed(value) for key, value in thing.items()}
    return [packed(value) for value in thing] if isinstance(thing, list | tuple) else thing


def state(of: Explorer) -> str:
    return json.dumps(packed({"about": of.about, "values": of.values, "shown": of.shown}))


class Open:
    """A page with an explorer on it."""

    def __init__(self, page: Any, real: Explorer, theme: str) -> None:
        self.page, self.real, self.problems, self.answered = page, real, [], 0
        page.on("console", lambda m: self.problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.problems.append(str(e)))
        page.on("request", lambda r: self.problems.append(r.url) if not r.url.startswith("blob:") else None)
        page.expose_function("kernel", self._kernel)
        light = str(theme == LIGHT).lower()
        page.set_content(f"<body data-jp-theme-light='{light}' style='margin:8px;{theme}'></body>")
        page.evaluate(NOTEBOOK, [_text("explorer.js"), _text("explorer.css"), state(real)])

    def _kernel(self, told: str) -> str:
        for name, value in json.loads(told).items():
            setattr(self.real, name, value)
        return state(self.real)

    def press(self, name: str, *keys: str) -> None:
        """Keys on the slider of a parameter; returns when each was answered."""
        self.page.get_by_label(name, exact=True).focus()
        for key in keys:
            self.page.keyboard.press(key)
            self.wait()

    def wait(self) -> None:
        self.answered += 1
        self.page.wait_for_selector(f"body[data-answered='{self.answered}']", state="attached")

    def path(self, kind: str = "line", chart: str = "equity") -> str:
        return str(self.page.locator(f"svg[aria-label='{chart}'] path.{kind}").get_attribute("d"))

    def tile(self, name: str) -> str:
        return str(self.page.locator(f"[data-measure={name}] b").inner_text())

    def said(self, name: str) -> str:
        """Where a slider says that it stands."""
        return str(self.page.get_by_label(name, exact=True).get_attribute("aria-valuetext"))


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def heights(path: str) -> np.ndarray:
    return np.array([float(y) for _, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)])


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


Opens = Callable[..., Open]


@pytest.fixture
def opened(browser: Any) -> Iterator[Opens]:
    contexts = []

    def go(real: Explorer | None = None, width: int = 1000, theme: str = LIGHT) -> Open:
        context = browser.new_context(viewport={"width": width, "height": 800}, offline=True)
        contexts.append(context)
        return Open(context.new_page(), real or explorer(), theme)

    yield go
    for context in contexts:
        context.close()


def agrees(seen: Open) -> None:
    """The line and the tiles, against a simulation of the set that the sliders name."""
    found = simulate(seen.real.sweep.market, seen.real.strategy, **seen.real.sweep.terms)
    for chart, series in (("equity", "equity"), ("margin ratio", "margin_ratio")):
        values = found.run.series[series]
        seen.page.get_by_label("log scale").uncheck()
        y = heights(seen.path("line", chart))
        assert len(y) == len(values)  # 1,200 bars: none is left out
        assert np.corrcoef(y, values)[0, 1] == pytest.approx(-1.0, abs=1e-4)
    for measure in metrics.MEASURES:
        if seen.page.locator(f"[data-measure={measure.name}]").count():
            assert seen.tile(measure.name) == as_text(measure, found.measures[measure.name])


def test_what_is_drawn_is_the_best_of_the_sweep(opened: Opens) -> None:
    seen = opened()
    agrees(seen)
    assert seen.path("best") == seen.path("line")
    best = seen.real.sweep.strategy()
    assert seen.said("length") == f"length {best.parameters['length']}"
    assert "Choosing here counts: 18 trials" in seen.page.locator("[role=status]").inner_text()
    assert seen.problems == []


def test_a_slider_that_a_key_moves_redraws_and_adds_no_trial(opened: Opens) -> None:
    real = explorer()
    real.set(length=24, band=0.02, leverage=1.0)
    seen = opened(real)
    seen.page.get_by_label("log scale").uncheck()
    line, best = seen.path(), seen.path("best")
    seen.press("leverage", "End")
    assert seen.said("leverage") == "leverage 8"
    assert seen.real.strategy.parameters["leverage"] == 8.0
    assert seen.path() != line
    seen.press("band", "Home", "End")
    assert seen.said("band") == "band 0.05"
    agrees(seen)
    assert len(heights(seen.path("best"))) == len(heights(best))
    forced = seen.page.locator("svg path.forced").get_attribute("d")
    assert forced.count("M") == 2 * int(seen.tile("liquidations")) > 0
    assert "18 trials" in seen.page.locator("[role=status]").inner_text()
    assert seen.problems == []


def test_between_the_tried_values_each_set_is_one_more_trial(opened: Opens) -> None:
    seen = opened()
    seen.page.get_by_label("between the tried values too").focus()
    seen.page.keyboard.press("Space")
    seen.press("length", "ArrowRight", "ArrowLeft")
    seen.press("band", "ArrowRight")
    length, band = seen.real.strategy.parameters["length"], seen.real.strategy.parameters["band"]
    assert length == seen.real.sweep.strategy().parameters["length"]
    assert band not in (0.01, 0.02, 0.05)
    assert seen.said("band") == f"band {band:.10g}"
    agrees(seen)
    words = seen.page.locator("[role=status]").inner_text()
    assert "20 trials" in words
    assert "2 of them came by moving the sliders" in words
    seen.page.get_by_role("button", name="best of 18 by sharpe").click()
    seen.wait()
    assert seen.real.strategy == seen.real.sweep.strategy()
    assert seen.path() == seen.path("best")
    assert seen.problems == []


def test_all_of_it_is_reached_by_the_tab_key(opened: Opens) -> None:
    page = opened().page
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.type"))
    assert reached == ["range", "range", "range", "checkbox", "checkbox", "button"]


def test_a_log_scale_and_back(opened: Opens) -> None:
    seen = opened()
    log = seen.page.get_by_label("log scale")
    log.uncheck()
    line, equity = seen.path(), np.asarray(seen.real.result.equity)
    log.check()
    assert np.corrcoef(heights(seen.path()), np.log(equity))[0, 1] == pytest.approx(-1.0, abs=1e-6)
    assert np.corrcoef(heights(line), np.log(equity))[0, 1] > -0.9999
    log.uncheck()
    assert seen.path() == line


def test_the_object_moves_the_sliders(opened: Opens) -> None:
    seen = opened()
    line = seen.path()
    seen.real.set(length=24, leverage=8.0, band=0.02)
    seen.page.evaluate("text => window.receive(text)", state(seen.real))
    assert seen.path() != line
    assert seen.said("length") == "length 24"
    assert seen.said("leverage") == "leverage 8"
    agrees(seen)


def test_what_goes_wrong_is_text_and_the_line_stays(opened: Opens) -> None:
    seen = opened(explorer(Named, length=[4, 6], size=[1.0, 2.0]))
    assert seen.page.locator(".head b").inner_text() == "<b>Named</b>"
    assert seen.page.locator("[role=alert]").is_hidden()
    seen.press("length", "Home")
    line = seen.path()
    seen.page.get_by_label("between the tried values too").check()
    seen.press("length", "ArrowRight")
    assert seen.page.locator("[role=alert]").inner_text().startswith("RuntimeError: <img src=x")
    assert seen.path() == line
    assert seen.page.title() == ""
    seen.press("length", "ArrowRight")
    assert seen.page.locator("[role=alert]").is_hidden()
    assert seen.path() != line
    assert seen.problems == []


def test_the_pointer_is_told_what_lies_under_it(opened: Opens) -> None:
    seen = opened()
    box = seen.page.locator("svg[aria-label=equity]").bounding_box()
    seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    told = seen.page.locator(".here").inner_text()
    stamp = re.match(r"2024-\d\d-\d\d \d\d:00\s+equity [\d.]+k?\s+margin ratio \d\.\d{3}", told)
    assert stamp, told
    seen.page.mouse.move(2, 2)
    assert seen.page.locator(".here").inner_text() == ""


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_letters_are_those_of_the_notebook_and_there_is_no_ground(opened: Opens, theme: str, tmp_path: Path) -> None:
    seen = opened(theme=theme)
    color = seen.page.evaluate("getComputedStyle(document.querySelector('.unwind-explorer svg text')).fill")
    assert color == ("rgba(0, 0, 0, 0.87)" if theme == LIGHT else "rgba(255, 255, 255, 0.87)")
    grounds = seen.page.evaluate(
        "[...document.querySelectorAll('.unwind-explorer, .unwind-explorer div, .unwind-explorer button')]"
        ".map(e => getComputedStyle(e).backgroundColor)"
    )
    assert set(grounds) == {"rgba(0, 0, 0, 0)"}
    scheme = seen.page.evaluate("getComputedStyle(document.querySelector('.unwind-explorer')).colorScheme")
    assert scheme == ("normal" if theme == LIGHT else "dark")


@pytest.mark.parametrize("width", [360, 700, 1600])
def test_nothing_runs_over_the_side_and_a_new_width_is_drawn(opened: Opens, width: int) -> None:
    seen = opened(width=width)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    seen.page.set_viewport_size({"width": 500, "height": 800})
    drawn = "svg[aria-label=equity][viewBox='0 0 480 250']"
    seen.page.wait_for_selector(drawn, timeout=5000)
    assert seen.problems == []


def test_a_view_that_is_closed_listens_no_more(opened: Opens) -> None:
    page = opened().page
    assert page.evaluate("window.listeners()") == 2
    page.evaluate("window.leave()")
    assert page.evaluate("window.listeners()") == 0
