"""The page in a real browser: from a file, without a network, under its own sealed policy."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest import Account, Costs, simulate
from backtest.hold import hold
from backtest.report.page import page, write_page
from data import market_input
from data.align import Bars
from data.clock import DAY, HOUR, MINUTE
from data.market import Market, SymbolData

pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EVIL = "<script>document.title='owned'</script>/USDT:USDT"
SPAN = 12 * DAY


def symbol(seed: int) -> SymbolData:
    """Bars of ten minutes with everything that the page draws."""
    rng = np.random.default_rng(seed)
    ts = np.arange(0, SPAN, 10 * MINUTE, dtype=np.int64)
    close = 100.0 * np.exp(np.cumsum(0.004 * rng.standard_normal(len(ts))))
    open_ = np.concatenate([close[:1], close[:-1]])
    ohlc = (open_, np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999, close)
    traded = rng.lognormal(0.0, 0.5, len(ts))
    at = np.arange(0, SPAN, 8 * HOUR, dtype=np.int64)
    rate = 0.0002 * rng.standard_normal(len(at))
    hits = np.where(rng.random(len(ts)) < 0.05, rng.lognormal(9.0, 1.0, len(ts)), 0.0)
    long = rng.random(len(ts)) < 0.5
    return SymbolData(
        candles=Bars(10 * MINUTE, ts, *ohlc, volume=traded, quote_volume=traded * close),
        marks=[Bars(10 * MINUTE, ts, *ohlc)],
        funding=market_input.Settlements(at, at, at, rate, np.full(len(at), 8.0), np.full(len(at), np.nan)),
        open_interest=market_input.Points(ts, ts, 10 * MINUTE, {"quantity": traded * 50, "value": traded * 5000}),
        liquidations=market_input.Flow(
            ts, ts, np.where(long, hits, 0.0), np.where(long, 0.0, hits), "sampled", [(0, SPAN)]
        ),
    )


@pytest.fixture(scope="module")
def market() -> Market:
    return Market.build("made-up", {"ALFA/USDT:USDT": symbol(1), EVIL: symbol(2)}, "10m", 0, SPAN)


@pytest.fixture(scope="module")
def file(market: Market, tmp_path_factory: pytest.TempPathFactory) -> Path:
    holds = [hold(market, s, side) for s in market.symbols for side in (1, -1)]
    return write_page(tmp_path_factory.mktemp("page") / "index.html", market, holds, made_up=True)


@dataclass
class Seen:
    """A page that was opened, and what it did meanwhile."""

    page: Any
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


Opens = Callable[..., Seen]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def opened(browser: Any, file: Path) -> Iterator[Opens]:
    contexts = []

    def go(width: int = 1280, scheme: str = "light") -> Seen:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        contexts.append(context)
        seen = Seen(context.new_page())
        seen.page.on("request", lambda r: seen.requests.append(r.url))
        seen.page.on("console", lambda m: seen.problems.append(m.text) if m.type in ("error", "warning") else None)
        seen.page.on("pageerror", lambda e: seen.problems.append(str(e)))
        seen.page.goto(file.as_uri())
        seen.page.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
        return seen

    yield go
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def seen(opened: Opens) -> Seen:
    return opened()


def test_it_opens_from_a_file_asks_for_nothing_and_complains_of_nothing(seen: Seen, file: Path) -> None:
    assert seen.problems == []
    assert seen.requests == [file.as_uri()]


def test_the_policy_forbids_requests_and_eval(opened: Opens) -> None:
    tab = opened(600).page
    blocked = "fetch('data:text/plain,x').then(() => 'let through', () => 'blocked')"
    assert tab.evaluate(blocked) == "blocked"
    policy = tab.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy.startswith("default-src 'none';")
    assert "eval" not in policy


def test_every_chart_is_drawn(seen: Seen) -> None:
    charts = seen.page.locator(".plot")
    assert charts.count() == 8
    for i in range(charts.count()):
        chart = charts.nth(i)
        box = chart.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 200
        lines = chart.locator("svg.main-svg path.js-line")
        assert lines.count() >= 1
        assert all(len(lines.nth(k).get_attribute("d")) > 100 for k in range(lines.count()))
        assert _colors(seen.page, chart.screenshot()) > 20
    assert seen.page.locator(".plot .bars path").count() > 20
    assert seen.page.locator(".plot .points path").count() >= 4


def test_light_and_dark_differ_and_a_change_redraws(opened: Opens) -> None:
    seen = opened(scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    line = "document.querySelector('.plot path.js-line').style.stroke"
    dark = seen.page.evaluate(ground), seen.page.evaluate(line)
    seen.page.emulate_media(color_scheme="light")
    seen.page.wait_for_timeout(1500)  # waiting for a function would need eval, which the policy forbids
    assert seen.page.evaluate(ground) != dark[0]
    assert seen.page.evaluate(line) != dark[1]
    assert seen.problems == []


@pytest.mark.parametrize("width", [400, 800, 1600])
def test_nothing_runs_over_the_side(opened: Opens, width: int) -> None:
    seen = opened(width)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    wide = seen.page.evaluate(
        "[...document.querySelectorAll('.tile, figure, .card, h1, h2, .identity')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).length"
    )
    assert wide == 0


def test_a_symbol_that_is_a_script_is_only_text(seen: Seen) -> None:
    assert seen.page.title() == "Buying and keeping"
    assert seen.page.locator("h2").nth(1).inner_text() == EVIL
    assert seen.page.locator("script").count() == 4  # charts, plotly, the drawing, and plotly unpacked


def test_what_is_on_the_page(seen: Seen, market: Market) -> None:
    text = seen.page.locator("body").inner_text()
    assert "Made-up data: nothing here ever happened" in text
    assert market.hash[:12] in text
    assert "cannot be liquidated" in text
    assert "lower bound" in text  # the feed is sampled
    assert "carry no price" in text


def test_the_same_data_gives_the_same_bytes(market: Market, file: Path) -> None:
    holds = [hold(market, s, side) for s in market.symbols for side in (1, -1)]
    assert page(market, holds, made_up=True) == file.read_text(encoding="utf-8")


def test_runs_with_margin_are_drawn_and_stay_inside(browser: Any, market: Market, tmp_path: Path) -> None:
    one = market.select([EVIL])
    careless = simulate(one, exposure=2.0, venue="binance", costs=Costs.none(), account=Account(leverage=10))
    assert len(careless.liquidations)
    name = "<img src=x onerror=document.title='owned'>"
    made = write_page(tmp_path / "runs.html", one, [hold(one)], runs=[(name, careless)])
    context = browser.new_context(viewport={"width": 400, "height": 900}, offline=True)
    tab = context.new_page()
    problems: list[str] = []
    tab.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
    tab.goto(made.as_uri())
    tab.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
    chart = tab.locator("#s0-runs")
    assert chart.locator("svg.main-svg path.js-line").count() == 2
    assert chart.locator(".points path").count() == len(careless.liquidations)
    assert _colors(tab, chart.screenshot()) > 20
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    assert tab.title() == "Buying and keeping"
    assert name in tab.locator("table.rows").nth(1).inner_text()
    assert problems == []
    context.close()


def _colors(tab: Any, png: bytes) -> int:
    """How many colours a picture has: one that shows nothing has one."""
    return int(
        tab.evaluate(
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
