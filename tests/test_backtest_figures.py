"""Our figures in a notebook: plain, light, without a background, in colours that are seen on white and on black."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import research_markets as rm

from backtest import simulate
from backtest.plan import Plan
from backtest.report import look
from backtest.sweep import sweep
from backtest.walkforward import walk_forward
from data import market_figure

GROUNDS = ("#ffffff", "#111111")  # of JupyterLab, light and dark


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    market, grid = rm.market(120), {"length": [6, 24], "band": [0.01, 0.03]}
    found = sweep(rm.Follow, market, grid, progress=False, **rm.TERMS)
    forward = walk_forward(rm.Follow, market, Plan(train="40d", test="20d"), grid, progress=False, **rm.TERMS)
    one = sweep(rm.Follow, market, length=[6, 24], progress=False, **rm.TERMS)
    result = simulate(market, rm.Follow(), **rm.TERMS)
    shown = {"market": market, "result": result, "sweep": found, "line": one, "walk-forward": forward}
    return {name: thing.plot() for name, thing in shown.items()}


def colors(thing: Any) -> Iterator[str]:
    """Of lines, bars and marks."""
    for trace in thing.data:
        for part in (trace.line if trace.type == "scatter" else None, getattr(trace, "marker", None)):
            if part is not None and isinstance(part.color, str):
                yield part.color


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""

    def light(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255.0 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_known_pairs() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def test_figures_are_plain_and_have_no_background(figures: dict[str, Any]) -> None:
    for name, figure in figures.items():
        assert type(figure).__name__ == "Figure", name
        laid = figure.layout
        inherited = laid.template.layout
        assert (laid.paper_bgcolor or inherited.paper_bgcolor) == look.CLEAR, name
        assert (laid.plot_bgcolor or inherited.plot_bgcolor) == look.CLEAR, name
        assert (laid.font.color or inherited.font.color) == look.INK, name
        assert len(figure.to_json()) < 400_000


def test_lines_and_letters_are_seen_on_both_grounds(figures: dict[str, Any]) -> None:
    used = {color for figure in figures.values() for color in colors(figure)} | {look.INK, market_figure.INK}
    assert len(used) >= 4
    for color in used | {market_figure.LONGS, market_figure.SHORTS}:
        for ground in GROUNDS:
            assert contrast(color, ground) >= 2.6, (color, ground)


def test_all_draw_with_the_same_ink() -> None:
    assert (market_figure.INK, market_figure.GRID, market_figure.CLEAR) == (look.INK, look.GRID, look.CLEAR)
    assert set(market_figure.LINES) <= set(look.SERIES)
