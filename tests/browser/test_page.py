"""The report in a real browser: from a file, without a network, under its own sealed policy.

One browser and one tab; the rich page is opened once and then resized, recoloured, sorted, filtered and printed.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reported
import research_markets as rm
import strategy_markets as sm

from backtest import Account, Costs, Result, simulate
from backtest.report.compare import compare
from backtest.report.evidence import gather, gather_forward
from backtest.report.report import Report
from backtest.sweep import sweep
from backtest.walkforward import Plan, walk_forward
from data.clock import DAY, HOUR
from data.market import Market
from strategies import events

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
EVIL = reported.EVIL
WIDTHS = (400, 800, 1600)
GRID: dict[str, Any] = {"length": [6, 12, 24], "band": [0.0, 0.01], "leverage": [1.0, 3.0]}


@dataclass
class Tab:
    """One tab, and what went on in it since it was last asked."""

    page: Any
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def open(self, file: Path, width: int = 1280) -> None:
        self.requests.clear()
        self.problems.clear()
        self.page.emulate_media(color_scheme="light", media="screen")
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)

    def look(self, code: str, *given: Any) -> Any:
        return self.page.evaluate(code, *given)

    def until(self, code: str) -> None:
        """Asked again and again from here: waiting inside the page would need eval, which its policy forbids."""
        end = time.monotonic() + 20.0
        while not self.look(code):
            assert time.monotonic() < end, code
            self.page.wait_for_timeout(50)

    def resize(self, width: int, scheme: str) -> None:
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_viewport_size({"width": width, "height": 900})
        fits = "Math.abs(p.querySelector('svg.main-svg').getBoundingClientRect().width - p.clientWidth) < 2"
        self.until(f"[...document.querySelectorAll('.plot')].every(p => {fits})")
        self.page.wait_for_timeout(400)


@pytest.fixture(scope="module")
def tab(chromium: str) -> Iterator[Tab]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        context = browser.new_context(offline=True)
        seen = Tab(context.new_page())
        seen.page.on("request", lambda r: seen.requests.append(r.url))
        seen.page.on("console", lambda m: seen.problems.append(m.text) if m.type in ("error", "warning") else None)
        seen.page.on("pageerror", lambda e: seen.problems.append(str(e)))
        yield seen
        browser.close()


# ---- a rich page ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rich() -> Result:
    m = reported.market((reported.ALFA, EVIL), bars=15_000, step=DAY // 144, holes=0.002)
    terms: dict[str, Any] = {"venue": "binance", "account": Account(mode="cross"), "costs": Costs.fixed(2.0)}
    return simulate(m, exposure=reported.targets(m, size=4.0), **terms)


@pytest.fixture(scope="module")
def file(rich: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols, one of them called after a script, and the strategy too; with all evidence, phases and gaps."""
    m = reported.market((reported.ALFA, EVIL), bars=15_000, step=DAY // 144, holes=0.002)
    found = gather(
        rich, m, exposure=reported.targets(m, size=4.0), draws=10, venue="binance", account=Account(mode="cross"),
        costs=Costs.fixed(2.0),
    )  # fmt: skip
    phases = events.find(m.select([m.symbols[0]]))
    made = Report(rich, name=EVIL, market=m, evidence=found, events=phases, made_up=True, notices=(EVIL,))
    return made.write(tmp_path_factory.mktemp("page") / "index.html")


@pytest.fixture
def seen(tab: Tab, file: Path) -> Tab:
    if tab.page.url != file.as_uri():
        tab.open(file)
    return tab


def test_it_opens_from_a_file_asks_for_nothing_and_complains_of_nothing(tab: Tab, file: Path) -> None:
    tab.open(file)
    assert tab.problems == []
    assert tab.requests == [file.as_uri()]
    drawn = int(tab.look("document.documentElement.dataset.drawn"))
    assert drawn == tab.page.locator(".plot").count()
    assert drawn >= 16


def test_a_name_that_is_a_script_is_only_text(seen: Tab) -> None:
    assert seen.page.title() == f"{EVIL} on {reported.ALFA}, {EVIL}"
    assert seen.page.locator("h1").inner_text() == seen.page.title()
    assert seen.page.locator("script").count() == 4  # what is packed, plotly packed, the page's own, plotly unpacked
    assert EVIL in seen.page.locator("#trade-rows tbody").inner_text()


def test_the_policy_forbids_requests_and_eval(seen: Tab) -> None:
    policy = seen.page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy.startswith("default-src 'none';")
    assert "eval" not in policy
    assert seen.look("fetch('data:text/plain,x').then(() => 'through', () => 'blocked')") == "blocked"
    for code in ("eval('1')", "new Function('return 1')()"):  # in a task of the page's own: a tool's may use eval
        tried = f"try {{ {code}; done('through') }} catch (e) {{ done(e.name) }}"
        assert seen.look(f"new Promise(done => setTimeout(() => {{ {tried} }}))") == "EvalError"
    picture = "new Promise(d => { const i = new Image(); i.onload = () => d('through'); i.onerror = () => d('blocked');"
    assert seen.look(picture + " i.src = 'http://127.0.0.1:9/x.png' })") == "blocked"
    seen.problems.clear()  # the browser said that it blocked them


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (800, "light"), (1600, "light")])
def test_every_chart_is_drawn_and_nothing_runs_over_the_side(seen: Tab, width: int, scheme: str) -> None:
    seen.resize(width, scheme)
    assert seen.look("document.documentElement.scrollWidth") <= width
    over = seen.look(
        "[...document.querySelectorAll('.tile, figure, .card, h1, h2, .identity, .answers li, .plot svg, .notice')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML.slice(0, 80))"
    )
    assert over == []
    for name, changed in _drawn(seen).items():
        assert changed > 40, f"{name}: {changed} pixels"
    assert seen.problems == []


def test_text_can_be_read_on_its_ground(seen: Tab) -> None:
    """The contrast that WCAG asks for: 4.5 to 1; of large and of bold numbers 3 to 1."""
    for scheme in ("light", "dark"):
        seen.page.emulate_media(color_scheme=scheme)
        low = seen.look(_CONTRAST)
        assert low == [], scheme
    seen.page.emulate_media(color_scheme="light")


def test_light_and_dark_differ_and_a_change_redraws(seen: Tab) -> None:
    seen.resize(1280, "light")
    look = (
        "[getComputedStyle(document.body).backgroundColor, document.querySelector('.plot path.js-line').style.stroke]"
    )
    light = seen.look(look)
    seen.page.emulate_media(color_scheme="dark")
    seen.until(f"document.querySelector('.plot path.js-line').style.stroke !== '{light[1]}'")
    assert seen.look(look)[0] != light[0]
    seen.page.emulate_media(color_scheme="light")
    seen.until(f"document.querySelector('.plot path.js-line').style.stroke === '{light[1]}'")


def test_the_log_switch_redraws(seen: Tab) -> None:
    seen.resize(1280, "light")
    button = seen.page.locator(".switch[data-chart=equity-curve]")
    line = "[...document.querySelectorAll('#equity-curve path.js-line')].at(-1).getAttribute('d')"
    before = seen.look(line)
    assert button.get_attribute("aria-pressed") == "false"
    button.focus()
    seen.page.keyboard.press("Enter")
    seen.until(f"{line} !== {json.dumps(before)}")
    assert button.get_attribute("aria-pressed") == "true"
    assert seen.look("document.getElementById('equity-curve')._fullLayout.yaxis.type") == "log"
    button.click()
    seen.until("document.getElementById('equity-curve')._fullLayout.yaxis.type === 'linear'")
    assert seen.look(line) == before


# ---- keyboard ------------------------------------------------------------------------------------------


def test_the_skip_link_is_first_and_tabs_go_down_the_page(seen: Tab) -> None:
    seen.resize(1280, "light")
    seen.look("(document.activeElement?.blur(), scrollTo(0, 0), history.replaceState(null, '', location.pathname))")
    seen.open(Path(seen.page.url.removeprefix("file://").split("#")[0]))
    seen.page.keyboard.press("Tab")
    assert seen.look("document.activeElement.className") == "skip"
    box = seen.page.locator(".skip").bounding_box()
    assert box is not None
    assert box["x"] >= 0  # it is seen when it has the focus
    seen.page.keyboard.press("Tab")
    assert seen.look("document.activeElement.closest('nav') !== null")
    seen.page.keyboard.press("Shift+Tab")
    seen.page.keyboard.press("Enter")
    visited = []
    for _ in range(12):
        seen.page.keyboard.press("Tab")
        visited.append(seen.look("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
        assert seen.look("document.activeElement.closest('main') !== null")
        assert seen.look("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert visited == sorted(set(visited))


def test_rows_are_sorted_by_keyboard(seen: Tab, rich: Result) -> None:
    net = rich.trades["profit"]
    seen.page.locator("#trade-rows th button", has_text="Net").focus()
    seen.page.keyboard.press("Enter")
    assert _column(seen, "Net")[:5] == [_money(v) for v in sorted(net, reverse=True)[:5]]
    assert seen.page.locator("#trade-rows th[aria-sort=descending]").inner_text().startswith("Net")
    seen.page.keyboard.press("Space")
    assert _column(seen, "Net")[:5] == [_money(v) for v in sorted(net)[:5]]
    assert seen.page.locator("#trade-rows th[aria-sort=ascending]").count() == 1
    seen.page.locator("#trade-rows th button", has_text="#").focus()
    seen.page.keyboard.press("Enter")
    assert _column(seen, "#")[0] == str(len(net))


def test_rows_are_filtered_by_keyboard(seen: Tab, rich: Result) -> None:
    trades, place = rich.trades, seen.page.locator("#trade-rows")
    status = place.locator(".count")
    assert status.inner_text() == _status(trades, trades)
    menu = place.get_by_label("Symbol", exact=True)
    menu.focus()
    seen.page.keyboard.type("ALFA")
    mine = trades[trades["symbol"] == reported.ALFA]
    seen.until(f"document.querySelector('#trade-rows .count').textContent === '{_status(mine, trades)}'")
    assert set(_column(seen, "Symbol")) == {reported.ALFA}
    place.get_by_label("Outcome").select_option("1")
    mine = mine[mine["profit"] > 0.0]
    assert status.inner_text() == _status(mine, trades)
    assert all(text.startswith("+") for text in _column(seen, "Net"))
    place.get_by_label("Find").focus()
    seen.page.keyboard.type("short 2024-01-0")
    day = mine["ts"].dt.strftime("%Y-%m-%d").str.startswith("2024-01-0") | mine["closed"].dt.strftime(
        "%Y-%m-%d"
    ).str.startswith("2024-01-0")
    mine = mine[(mine["side"] == "short") & day]
    assert len(mine) > 0
    assert status.inner_text() == _status(mine, trades)
    place.get_by_label("Find").fill("no such thing")
    assert status.inner_text().startswith("0 of ")
    place.get_by_label("Find").fill("")
    place.get_by_label("Outcome").select_option("")
    menu.select_option("")
    assert status.inner_text() == _status(trades, trades)


def test_pages_of_rows(seen: Tab, rich: Result) -> None:
    place, many = seen.page.locator("#trade-rows"), len(rich.trades)
    pages = -(-many // 25)
    assert pages > 2
    assert place.locator(".page").inner_text() == f"page 1 of {pages}"
    assert place.locator(".back").is_disabled()
    first = _column(seen, "#")
    place.locator(".next").click()
    assert place.locator(".page").inner_text() == f"page 2 of {pages}"
    assert not set(first) & set(_column(seen, "#"))
    place.locator(".back").click()
    assert _column(seen, "#") == first


# ---- paper ---------------------------------------------------------------------------------------------


def test_it_prints_its_charts_light_and_as_wide_as_the_sheet(seen: Tab) -> None:
    seen.resize(1600, "dark")
    seen.look(
        """addEventListener('beforeprint', () => { window.printed = {
            ground: getComputedStyle(document.body).backgroundColor,
            folded: document.querySelectorAll('details:not([open])').length,
            wrong: [...document.querySelectorAll('.plot')].filter(p => {
                const s = p.querySelector('svg.main-svg');
                const off = [s.getAttribute('width') - p.clientWidth, s.getAttribute('height') - p.clientHeight];
                return off.some(d => Math.abs(d) > 1) || p.clientWidth > 700; }).map(p => p.id),
            line: document.querySelector('.plot path.js-line').style.stroke } })"""
    )
    dark = seen.look("document.querySelector('.plot path.js-line').style.stroke")
    pdf = seen.page.pdf(format="A4", print_background=True)
    printed = seen.look("window.printed")
    assert printed["wrong"] == []
    assert (printed["ground"], printed["folded"]) == ("rgb(255, 255, 255)", 0)
    assert printed["line"] != dark
    assert pdf.startswith(b"%PDF")
    assert 8 <= pdf.count(b"/Type /Page\n") <= 30
    seen.until(f"document.querySelector('.plot path.js-line').style.stroke === '{dark}'")
    assert seen.look("document.documentElement.dataset.paper") is None
    assert seen.look("document.querySelectorAll('details[open]').length") == 0
    assert seen.problems == []


# ---- other pages ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages() -> dict[str, Callable[[], Any]]:
    def run(m: Market, exposure: Any, **more: Any) -> Result:
        return simulate(m, exposure=exposure, venue="binance", **{"costs": Costs.fixed(2.0), **more})

    def of(exposure: Any, *names: str, bars: int = 600, step: int = HOUR, shown: bool = True, **more: Any) -> Report:
        m = reported.market(names or (reported.ALFA,), bars=bars, step=step, holes=more.pop("holes", 0.0),
                            instrument=more.pop("instrument", None))  # fmt: skip
        mine = exposure(m) if callable(exposure) else exposure
        return Report(run(m, mine, **more), name="Case", market=m if shown else None)

    def once(m: Market) -> Any:
        mine = np.zeros(len(m))
        mine[10:20] = 1.0
        return mine

    def ruined() -> Report:
        m = sm.scene(np.repeat([100.0, 50.0], 300))
        return Report(run(m, 9.0, account=Account(leverage=10.0, mode="cross")), market=m)

    def forward() -> Report:
        m = rm.market(days=90)
        f = walk_forward(rm.Follow, m, Plan(train="30d", test="15d"), GRID, progress=False, **rm.TERMS)
        s = sweep(rm.Follow, m, GRID, progress=False, **rm.TERMS)
        return Report(
            f.result, name="Follow", market=f.out_of_sample, forward=f, sweep=s,
            evidence=gather_forward(f, sweep=s, draws=10),
        )  # fmt: skip

    def both() -> Any:
        m = reported.market(bars=600, step=HOUR)
        return compare({EVIL: run(m, reported.targets(m)), "b": run(m, reported.targets(m, seed=4))})

    many = [f"COIN{i}/USDT:USDT" for i in range(49)] + ["A-VERY-LONG-NAME-OF-A-COIN-THAT-NOBODY-KNOWS/USDT:USDT"]
    targets, coin = reported.targets, {"contract": "inverse"}
    return {
        "nothing traded": lambda: of(0.0),
        "one trade": lambda: of(once),
        "ruined": ruined,
        "inverse": lambda: of(targets, "BTC/USD:BTC", instrument=coin, account=Account(equity=1.0)),
        "spot": lambda: of(lambda m: targets(m, lowest=0.0), "ALFA/USDT"),
        "fifty symbols": lambda: of(targets, *many, bars=300, account=Account(mode="cross")),
        "three bars": lambda: of([1.0, 1.0, 0.0], bars=3),
        "no market": lambda: of(targets, shown=False),
        "daily bars": lambda: of(lambda m: targets(m, every=3), bars=400, step=DAY),
        "gaps": lambda: of(targets, holes=0.3),
        "walked forward": forward,
        "side by side": both,
    }


CASES = ("nothing traded", "one trade", "ruined", "inverse", "spot", "fifty symbols", "three bars", "no market",
         "daily bars", "gaps", "walked forward", "side by side")  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_poor_and_odd_runs_are_shown(tab: Tab, pages: Any, case: str, tmp_path: Path) -> None:
    made = pages[case]()
    file = made.write(tmp_path / "page.html")
    tab.open(file, width=400)
    assert tab.problems == []
    assert tab.requests == [file.as_uri()]
    assert tab.look("document.documentElement.scrollWidth") <= 400
    assert tab.page.locator(".plot.failed").count() == 0
    assert tab.look("[...document.querySelectorAll('.plot')].every(p => p.querySelector('svg.main-svg'))")
    text = tab.page.locator("main").inner_text()
    assert re.findall(r".*(?<!\w)(?:nan|inf|None|NaN|undefined)(?!\w).*", text) == []
    if case == "ruined":
        assert made.subject.result.ruined
        assert "No: nothing was left" in text
    if case == "nothing traded":
        assert tab.page.locator(".empty").count() > 8


# ---- looking -------------------------------------------------------------------------------------------

_CONTRAST = """() => {
    const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
    const even = (v) => v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
    const light = (c) => { const [r, g, b] = c.map(even);
        return .2126 * r + .7152 * g + .0722 * b };
    const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
        if (c.length === 3 || c[3] === 1) return c.slice(0, 3) } return [255, 255, 255] };
    const out = new Set();
    for (const e of document.querySelectorAll('main *, nav *')) {
        if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
        if (e.closest('svg, script, .sr, .plot, .calendar')) continue;
        if (e.disabled || !e.getClientRects().length) continue;
        const style = getComputedStyle(e), a = light(parse(style.color).slice(0, 3)), b = light(ground(e));
        const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        const large = parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 600;
        if (ratio < (large ? 3 : 4.5)) out.add(`${e.tagName}.${e.className} ${ratio.toFixed(2)}`);
    }
    return [...out];
}"""

_DIFFERENT = """async ([one, other, boxes]) => {
    const picture = async (b64) => createImageBitmap(new Blob([Uint8Array.from(atob(b64), c => c.charCodeAt(0))]));
    const [a, b] = [await picture(one), await picture(other)];
    const pixels = (image, [x, y, w, h]) => {
        const pen = new OffscreenCanvas(w, h).getContext("2d");
        pen.drawImage(image, x, y, w, h, 0, 0, w, h);
        return new Uint32Array(pen.getImageData(0, 0, w, h).data.buffer);
    };
    return Object.fromEntries(Object.entries(boxes).map(([name, box]) => {
        const p = pixels(a, box), q = pixels(b, box);
        return [name, p.reduce((n, v, i) => n + (v !== q[i]), 0)];
    }));
}"""


def _drawn(seen: Tab) -> dict[str, int]:
    """Of each chart, how many pixels change when what was drawn of its data is hidden."""
    whole = seen.page.screenshot(full_page=True)
    seen.page.add_style_tag(content=".plot .mlayer { display: none; }")
    hidden = seen.page.screenshot(full_page=True)
    seen.look("document.head.lastElementChild.remove()")
    boxes = seen.look(
        """Object.fromEntries([...document.querySelectorAll('.plot')].map(p => { const r = p.getBoundingClientRect();
            return [p.id, [r.left + scrollX, r.top + scrollY, r.width, r.height].map(Math.round)] }))"""
    )
    both = [base64.b64encode(png).decode() for png in (whole, hidden)]
    found: dict[str, int] = seen.look(_DIFFERENT, [*both, boxes])
    return found


def _column(seen: Tab, head: str) -> list[str]:
    heads = [text.rstrip("\u2191\u2193") for text in seen.page.locator("#trade-rows th").all_inner_texts()]
    found: list[str] = seen.look(
        f"[...document.querySelectorAll('#trade-rows tbody tr')].map(r => r.children[{heads.index(head)}].textContent)"
    )
    return found


def _money(value: float) -> str:
    return f"{value:+,.2f}".replace("-", "\u2212")


def _status(some: Any, every: Any) -> str:
    return f"{len(some):,} of {len(every):,}, {_money(some['profit'].sum())} in all"
