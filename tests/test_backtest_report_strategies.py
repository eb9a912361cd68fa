"""The section of several strategies on one account: the numbers of the attribution, in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import research_markets as rm

from backtest import HOLD, Result, Strategy, simulate
from backtest.attribution import MEMO, PARTS, Attribution
from backtest.report.report import Report
from backtest.report.sections.strategies import MOST, section
from backtest.report.subject import Subject
from backtest.together import together
from data.market import Market

pytestmark = pytest.mark.kernel
NAME = "<script>alert(1)</script>"


class Held(Strategy):
    """Long from the first bar on, or short."""

    size: float = 0.5

    def features(self, market: Market) -> dict[str, Any]:
        return {"one": np.ones(len(market))}

    @staticmethod
    def decide(position: float, one: float, size: float) -> float:
        return size if position == 0.0 else HOLD


@pytest.fixture(scope="module")
def run() -> tuple[Market, Result]:
    market = rm.market(days=40)
    both = together({"up": Held(size=0.8), "down": Held(size=-0.5)})
    return market, simulate(market, both, **rm.TERMS)


def number(cell: str) -> float:
    return float(cell.replace("\u2212", "-").replace(",", "").rstrip("%"))


def test_a_row_each_and_their_sum_is_the_accounts_profit(run: tuple[Market, Result]) -> None:
    market, result = run
    found = section(Subject(result, market=market))
    assert found is not None
    chart, table = found.blocks
    rows = {row[0]: row for row in table.rows}
    assert list(rows) == ["up", "down", "all"]
    assert result.attribution is not None
    for name in ("up", "down"):
        assert number(rows[name][1]) == pytest.approx(result.attribution.table.loc[name, "profit"], abs=0.005)
        assert sum(map(number, rows[name][3:8])) == pytest.approx(number(rows[name][1]), abs=0.05)
        curve = result.attribution.pnl[name].to_numpy()
        fall = (np.maximum(np.maximum.accumulate(curve), 0.0) - curve).max()
        assert number(rows[name][8]) == pytest.approx(-fall, abs=0.005)
    assert number(rows["all"][1]) == pytest.approx(result.equity.iloc[-1] - result.start_equity, abs=0.005)
    assert [trace["name"] for trace in chart.data] == ["up", "down"]
    assert "met inside the account" in found.lead
    page = Report(result, market=market).page
    assert "strategies" in [one.anchor for one in page.sections]


def test_a_run_of_one_has_no_such_section() -> None:
    market = rm.market(days=10)
    result = simulate(market, Held(), **rm.TERMS)
    assert section(Subject(result, market=market)) is None


def test_more_than_an_eye_can_tell_apart_are_in_the_table_alone() -> None:
    market = rm.market(days=4)
    many = MOST + 2
    result = simulate(market, exposure=0.5, **rm.TERMS)
    curves = np.linspace(0.0, 1.0, len(market)) * np.arange(1, many + 1)[:, None]
    parts = np.zeros((many, len(PARTS)))
    parts[:, 0] = curves[:, -1]
    told = Attribution(
        names=(NAME, *(f"s{i}" for i in range(1, many))), symbols=result.symbols, ts=result.ts, parts=parts,
        memo=np.zeros((many, len(MEMO))), curves=curves, books=np.zeros((many, len(market), 1)), interest=2.5,
    )  # fmt: skip
    result = replace(result, attribution=told)
    found = section(Subject(result, market=market))
    assert found is not None
    chart, table = found.blocks
    assert len(chart.data) == len({(t["line"]["color"], t["line"]["dash"]) for t in chart.data}) == MOST
    assert "2 more are in the table" in chart.caption
    assert [row[0] for row in table.rows] == [NAME, *(f"s{i}" for i in range(1, many)), "interest", "all"]
    assert number(table.rows[-1][1]) == pytest.approx(parts.sum() + 2.5, abs=0.005)
    assert NAME not in Report(result, market=market).html()
