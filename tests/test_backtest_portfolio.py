"""`result.portfolio`: a vectorbt portfolio with the numbers of the result, whatever happened in the run.

Two ways to the same numbers: what the result says, and a plain vectorbt portfolio of the same orders to which the
settlements, insurance and interest are added by hand.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import engine_markets as em
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import example, given

from backtest import Account, Costs, Strategy, simulate
from backtest.engine import run_prepared
from backtest.prepare import INVERSE
from backtest.records import Cash
from backtest.result import Result
from backtest.sweep import sweep
from backtest.venue import Fees, Tier, Venue
from data import clock
from data.errors import BadInput, NotFound
from data.market import Market

pytestmark = [
    pytest.mark.slow,  # the import alone takes seconds
    # vectorbt 1.2 uses what pandas 4 will change: isinstance(..., DateOffset), rename(inplace=...)
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
    # what it imports, if it is there, has warnings of its own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

START = clock.moment("2024-01-01")
NAMES = ("A/USDT:USDT", "B/USDT:USDT", "C/USDT:USDT", "D/USDT:USDT")
VENUE = Venue("plain", "linear", Fees(0.0005, 0.0002, 0.01), (Tier(0.0, 1e12, 0.01, 50.0),))
TERMS: dict[str, Any] = {"venue": VENUE, "costs": Costs.none()}
RATIOS = ("Sharpe Ratio", "Sortino Ratio", "Omega Ratio", "Calmar Ratio", "Sharpe Ratio (UTC days)")
TROUBLE = em.Recipe(
    seed=18, symbols=3, bars=60, modes="mixed", leverage=10.0, violence=0.03, fees=True, funding=True, costs=True,
    cash_rate=0.05, reduction=1, lots=True, patience=0.5,
)  # fmt: skip


def result_of(recipe: em.Recipe) -> Result:
    prepared, decisions = em.made(recipe)
    return Result(
        run=run_prepared(prepared, decisions),
        ts=START + np.arange(prepared.n, dtype=np.int64) * clock.HOUR,
        interval=clock.HOUR,
        symbols=NAMES[: prepared.k],
        kinds=prepared.contracts.kind,
        currency="USDT",
        start_equity=prepared.equity,
        venue="drawn",
        marks=prepared.bars.mark_close,
    )


def market(symbols: int = 1, hours: int = 120, seed: int = 5) -> Market:
    recipe = em.Recipe(seed=seed, symbols=symbols, bars=hours, violence=0.01, modes="cross")
    columns = em.columns_of(recipe)
    columns["rate"] = np.full_like(columns["rate"], 0.0003)
    return em.market_of(columns)


class Hold(Strategy):
    """In, out half of the time, on both sides."""

    size: float = 2.0
    every: int = 12

    def features(self, market: Market) -> dict[str, Any]:
        turn = np.arange(len(market)) // self.every
        return {"side": np.where(turn % 3 == 0, 0.0, np.where(turn % 2 == 0, 1.0, -1.0))}

    @staticmethod
    def decide(side: float, size: float) -> float:
        return side * size


class Never(Strategy):
    """Does nothing."""

    @staticmethod
    def decide(position: float) -> float:
        return 0.0


@pytest.fixture(scope="module")
def trouble() -> Result:
    return result_of(TROUBLE)


def array(values: Any) -> Any:
    return np.asarray(values, dtype=np.float64)


def near(one: Any, other: Any, scale: float = 1.0, within: float = 1e-9) -> None:
    np.testing.assert_allclose(array(one), array(other), rtol=within, atol=within * scale)


# ---- the same numbers as the result ----------------------------------------------------------------------------------


@em.some(50)
@given(em.recipes)
@example(TROUBLE)
def test_numbers_are_those_of_the_result(recipe: em.Recipe) -> None:
    r = result_of(recipe)
    pf, scale, m = r.portfolio, r.start_equity, r.measures
    near(pf.value(), r.equity, scale)
    near(pf.cash(), r.wallet, scale)
    near(pf.final_value(), r.equity.iloc[-1], scale)
    near(pf.total_return(), m["total_return"])
    near(pf.total_profit(), r.equity.iloc[-1] - scale, scale)
    near(pf.margin_ratio(), r.margin_ratio)
    near(pf.margin_distance(), r.margin_distance)
    alive = array(r.equity) > 1e-3 * scale  # below, a billionth of the start is no billionth of what is left
    near(array(pf.gross_exposure())[alive], array(r.gross)[alive])
    if not (r.kinds == INVERSE).any():
        near(array(pf.net_exposure())[alive], array(r.exposure)[alive])
    elif (r.kinds == INVERSE).all():  # the quote currency, with the side flipped
        near(array(pf.net_exposure())[alive], -array(r.exposure)[alive])
    near(np.sum(pf.orders.fees.sum()), m["fees"], scale)
    near(pf.total(Cash.FUNDING), m["funding"], scale)
    near(pf.total_of("fills", "slippage"), m["slippage"], scale)
    near(pf.total_of("liquidations", "loss"), m["liquidation_loss"], scale)
    assert int(np.sum(pf.liquidations.count())) == m["liquidations"]
    near(pf.stats(metrics="max_dd") / 100.0, m["max_drawdown"])
    if alive.all():
        daily = pf.of_days().iloc[0]
        near(daily[["sharpe", "sortino"]], [m["sharpe"], m["sortino"]], within=1e-8)
        near(daily["volatility"], m["volatility"])
    for name in ("sharpe_ratio", "sortino_ratio", "omega_ratio", "calmar_ratio"):
        assert not np.isinf(getattr(pf, name)()), name


@em.some(50)
@given(em.recipes)
@example(TROUBLE)
def test_trades_are_those_of_the_result(recipe: em.Recipe) -> None:
    r = result_of(recipe)
    pf, scale, m = r.portfolio, r.start_equity, r.measures
    closed = pf.trades.closed.values
    for column, symbol in enumerate(r.symbols):
        ours, theirs = r.trades[r.trades["symbol"] == symbol], closed[closed["col"] == column]
        assert len(ours) == len(theirs)
        near(theirs["pnl"], ours["profit"], scale)
        near(theirs["funding"], ours["funding"], scale)
        near(theirs["insurance"], ours["insurance"], scale)
        near(theirs["entry_fees"] + theirs["exit_fees"], ours["fees"], scale)
        price = ours["exit_price"] if r.kinds[column] != INVERSE else 1.0 / ours["exit_price"]
        near(theirs["exit_price"], price)
    near(pf.trades.closed.win_rate(), m["win_rate"])
    of_symbols = pf.flows.values["account"] == 0
    everything = float(pf.flows.values["amount"][~of_symbols].sum())
    if len(r.symbols) == 1:
        everything = float(pf.total(Cash.INTEREST))
    for trades in (pf.positions, pf.exit_trades, pf.entry_trades):
        whole = float(trades.values["pnl"].sum()) + everything
        near(whole, r.equity.iloc[-1] - scale, scale)
        of_position = np.bincount(*[trades.values[name] + 1000 * trades.values["col"] for name in ["parent_id"]])
        assert len(np.flatnonzero(of_position)) == len(pf.positions.values)


@em.some(30)
@given(em.recipes)
@example(TROUBLE)
def test_a_spot_account_of_the_same_orders_with_what_was_settled_has_the_same_value(recipe: em.Recipe) -> None:
    import vectorbt as vbt

    r = result_of(recipe)
    pf = r.portfolio
    wrapper = pf.wrapper.replace(group_by=None, ndim=2, allow_enable=True, allow_modify=True)
    plain = vbt.Portfolio(
        wrapper, array(pf.close).reshape(len(r.ts), -1), pf.order_records, pf.log_records,
        np.zeros(len(r.symbols)), False,
    )  # fmt: skip
    ledger = r.run.ledger
    other = np.isin(ledger["kind"], [Cash.FUNDING, Cash.INSURANCE, Cash.INTEREST])
    settled = np.cumsum(np.bincount(ledger["bar"][other], ledger["amount"][other], minlength=len(r.ts)))
    near(array(plain.value()).sum(axis=1) + settled + r.start_equity, r.equity, r.start_equity)
    notional = array(np.abs(plain.assets()) * array(pf.close).reshape(len(r.ts), -1)).sum(axis=1)
    near(notional, array(r.gross) * array(r.equity) * (array(r.equity) > 0.0) + notional * (array(r.equity) <= 0.0),
         r.start_equity, within=1e-8)  # fmt: skip


@em.some(25)
@given(em.recipes_with(symbols=3))
@example(TROUBLE)
def test_legs_and_rows_of_the_account_make_the_account(recipe: em.Recipe) -> None:
    r = result_of(recipe)
    pf, scale = r.portfolio, r.start_equity
    legs = sum(array(pf[name].value()) - scale for name in r.symbols)
    rows = r.run.ledger[r.run.ledger["symbol"] < 0]
    shared = np.cumsum(np.bincount(rows["bar"], rows["amount"], minlength=len(r.ts)))
    near(legs + shared + scale, r.equity, scale)
    near(pf.value(group_by=False).iloc[:, 1], pf[r.symbols[1]].value(), scale)
    near(pf[r.symbols[2]].trades.pnl.sum(), pf.trades.values["pnl"][pf.trades.values["col"] == 2].sum(), scale)


def test_the_runs_above_hold_what_they_are_for(trouble: Result) -> None:
    assert set(trouble.liquidations["why"]) == {"liquidation", "reduction"}
    assert set(trouble.ledger["kind"]) == {kind.name.lower() for kind in Cash}
    assert "account" in set(trouble.ledger["symbol"])
    said = trouble.portfolio.stats()
    for name, measure in {
        "Funding Received": "funding",
        "Liquidation Loss": "liquidation_loss",
        "Total Fees Paid": "fees",
    }.items():
        near(said[name], trouble.measures[measure], trouble.start_equity)
    for name, measure in {"Win Rate [%]": "win_rate", "Min Distance To Liquidation [%]": "min_margin_distance"}.items():
        near(said[name] / 100.0, trouble.measures[measure])
    near(said["Sharpe Ratio (UTC days)"], trouble.measures["sharpe"])
    assert said["Total Closed Trades"] == trouble.measures["trades"]
    assert said["Liquidations"] == trouble.measures["liquidations"]


def test_market_runs_and_kept_ones(tmp_path: Path) -> None:
    r = simulate(market(2), Hold(size=1.0), account=Account(equity=1000.0, mode="cross"), **TERMS)
    near(r.portfolio.value(), r.equity, 1000.0)
    kept = Result.load(r.save(tmp_path / "kept"))
    assert kept.portfolio == r.portfolio
    with pytest.raises(BadInput, match="without mark closes"):
        _ = replace(r, marks=None).portfolio


# ---- no trade, ruin, holes -------------------------------------------------------------------------------------------


def test_nothing_done_is_not_infinitely_good() -> None:
    pf = simulate(market(), Never, **TERMS).portfolio
    said = pf.stats()
    for name in (*RATIOS, "Win Rate [%]"):
        assert np.isnan(said[name]), name
    assert said["Max Drawdown [%]"] == 0.0
    assert said["Total Trades"] == 0
    assert np.isnan(pf.sharpe_ratio())
    assert pf.returns_stats(metrics="sharpe_ratio").isna().all()
    assert len(pf.plot(subplots="all").data) > 0


def test_nor_with_interest() -> None:
    pf = simulate(market(), Never, account=Account(cash_rate=0.1), **TERMS).portfolio
    assert pf.total(Cash.INTEREST) > 0.0
    assert pf.total_return() > 0.0
    assert np.isnan(pf.sharpe_ratio())
    assert np.isnan(pf.of_days()["sharpe"].iloc[0])


def test_one_idle_run_among_others_is_nan_and_alone() -> None:
    from backtest.portfolio import portfolio_of

    m = market()
    pf = portfolio_of([simulate(m, Hold(), **TERMS), simulate(m, Never, **TERMS)], names=["on", "off"])
    ratios = pf.sharpe_ratio()
    assert np.isfinite(ratios["on"])
    assert np.isnan(ratios["off"])
    assert np.isnan(pf.stats(column="off")["Sharpe Ratio"])
    assert pf.stats(column="on")["Sharpe Ratio"] == pytest.approx(ratios["on"])
    table = pf.stats(["sharpe_ratio", "funding"], agg_func=None)
    assert list(table.index) == ["on", "off"]


def ruined() -> Result:
    for seed in range(200):
        r = result_of(em.Recipe(seed=seed, leverage=100.0, modes="cross", violence=0.12, fees=True, patience=0.2))
        if r.ruined and len(r.trades):
            return r
    raise AssertionError("no run is ruined")


def test_ruin_is_a_loss_of_everything() -> None:
    r = ruined()
    pf = r.portfolio
    assert pf.total_return() == pytest.approx(-1.0, abs=1e-9)
    assert pf.stats()["Max Drawdown [%]"] == pytest.approx(100.0, abs=1e-6)
    returns = array(pf.returns())
    assert np.isfinite(returns).all()
    assert returns.min() >= -1.0 - 1e-9
    assert len(pf.plot(subplots="all").data) > 0


def test_bars_that_are_missing_leave_the_length_of_a_bar_known() -> None:
    r = result_of(em.Recipe(seed=1, bars=40))
    ts = r.ts.copy()
    ts[20:] += 7 * clock.HOUR
    pf = replace(r, ts=ts).portfolio
    assert pf.wrapper.freq == pd.Timedelta("1h")
    assert pf.wrapper.index.tz is None
    assert np.isfinite(pf.sharpe_ratio())


# ---- choosing, grouping, keeping -------------------------------------------------------------------------------------


def test_legs_and_accounts_by_name(trouble: Result) -> None:
    pf = trouble.portfolio
    one = pf[NAMES[1]]
    assert one.wrapper.ndim == 1
    assert set(one.trades.records_readable["Column"]) == {NAMES[1]}
    assert pf["account"] is pf
    assert one[NAMES[1]] is one
    assert list(pf[[NAMES[0], NAMES[2]]].wrapper.columns) == [NAMES[0], NAMES[2]]
    near(pf[[NAMES[2], NAMES[0]]].cash()[NAMES[2]], pf[NAMES[2]].cash())
    near(one.margin_ratio(), trouble.margin_ratio)
    for wrong in (pf, one):
        with pytest.raises(KeyError):
            _ = wrong["nothing of that name"]


@pytest.fixture(scope="module")
def several() -> Any:
    from backtest.portfolio import portfolio_of

    runs = [result_of(replace(TROUBLE, leverage=leverage)) for leverage in (1.0, 10.0)]
    return runs, portfolio_of(runs, names=["calm", "bold"])


def test_runs_of_several_symbols_are_accounts_beside_each_other(several: Any) -> None:
    runs, pf = several
    assert list(pf.value().columns) == ["calm", "bold"]
    for name, run in zip(("calm", "bold"), runs, strict=True):
        near(pf[name].value(), run.equity, run.start_equity)
        near(pf.value()[name], run.equity, run.start_equity)
        near(pf.margin_ratio()[name], run.margin_ratio)
        near(pf.stats(column=name)["Funding Received"], run.measures["funding"], run.start_equity)
        near(pf[(name, NAMES[0])].value(), run.portfolio[NAMES[0]].value(), run.start_equity)
    near(pf.iloc[1].value(), runs[1].equity, runs[1].start_equity)
    assert len(pf.orders.count()) == 2
    near(pf.total_return(), [run.measures["total_return"] for run in runs])


def test_runs_of_one_symbol_can_be_grouped() -> None:
    from backtest.portfolio import portfolio_of

    m = market()
    runs = [simulate(m, Hold(size=size), **TERMS) for size in (0.5, 1.0, 2.0)]
    pf = portfolio_of(runs, names=["a", "b", "c"])
    both = pf.regroup(pd.Index(["x", "x", "y"]))
    near(both.value()["x"], runs[0].equity + runs[1].equity, 1e4)
    near(both.total(Cash.FUNDING)["x"], runs[0].measures["funding"] + runs[1].measures["funding"], 1e4)
    near(both.margin_ratio()["x"], np.maximum(runs[0].margin_ratio, runs[1].margin_ratio))
    near(both["y"].value(), runs[2].equity, 1e4)
    near(pf.value(group_by=True), sum(run.equity for run in runs), 3e4)
    assert list(portfolio_of(runs).wrapper.columns) == [0, 1, 2]


@pytest.mark.parametrize("which", ["one", "account", "several"])
def test_copies_and_files_keep_everything(which: str, trouble: Result, several: Any, tmp_path: Path) -> None:
    pf = {"one": result_of(replace(TROUBLE, symbols=1)).portfolio, "account": trouble.portfolio, "several": several[1]}[
        which
    ]
    path = tmp_path / "kept"
    pf.save(str(path))
    for other in (pf.copy(), type(pf).load(str(path)), type(pf).loads(pf.dumps()), pf.replace(fillna_close=True)):
        near(other.value(), pf.value())
        near(other.total(Cash.FUNDING), pf.total(Cash.FUNDING))
        near(other.margin_ratio(), pf.margin_ratio())
        pd.testing.assert_frame_equal(other.trades.records, pf.trades.records)
    assert pf.copy() == pf
    slower = pf.replace(wrapper=pf.wrapper.replace(freq="2h"))
    near(slower.value(), pf.value())


def test_every_table_reads(trouble: Result) -> None:
    pf = trouble.portfolio
    for rows in (
        pf.flows,
        pf.fills,
        pf.liquidations,
        pf.orders,
        pf.trades,
        pf.exit_trades,
        pf.entry_trades,
        pf.drawdowns,
    ):
        assert len(rows.records_readable) == len(rows.values) > 0
    assert set(pf.flows.records_readable["Kind"]) == set(trouble.ledger["kind"])
    assert set(pf.liquidations.records_readable["Why"]) <= {"liquidation", "reduction"}
    assert len(pf.trades.stats()) > 0
    assert pf.trades.winning.count() + pf.trades.losing.count() <= pf.trades.count()


def test_returns_on_notional_include_funding() -> None:
    up = em.prepared(em.bars_of([[100.0] * 4, [100.0] * 4, [100.0] * 4, [100, 110, 100, 110]]),
                     events=[em.event(2, 0.01)])  # fmt: skip
    run = run_prepared(up, em.decisions([2.0, None, None, None]))
    r = Result(run=run, ts=START + np.arange(4) * clock.HOUR, interval=clock.HOUR, symbols=("A",), kinds=np.array([0]),
               currency="USDT", start_equity=1000.0, venue="v", marks=up.bars.mark_close)  # fmt: skip
    near(r.portfolio.asset_returns(), [0.0, 0.0, -0.01, 0.1])
    near(r.portfolio.returns(), [0.0, 0.0, -0.02, 200.0 / 980.0])


# ---- sweeps ----------------------------------------------------------------------------------------------------------


def test_the_best_sets_of_a_sweep() -> None:
    from backtest.portfolio import portfolio_of_sweep

    found = sweep(Hold, market(), size=[0.5, 1.0, 3.0], every=[6, 12], **TERMS)
    pf = found.portfolio(3)
    best = found.ranking()[:3]
    assert pf.wrapper.columns.names == ["size", "every"]
    near(pf.total_return(), found.column("total_return")[best])
    near(pf.of_days()["sharpe"], found.column("sharpe")[best])
    one = sweep(Hold, market(), size=[0.5, 1.0], **TERMS)
    assert list(portfolio_of_sweep(one, [1]).wrapper.columns) == [1.0]
    with pytest.raises(BadInput, match="which sets"):
        one.portfolio([])


# ---- pictures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def figures(trouble: Result) -> list[Any]:
    pf = trouble.portfolio
    leg = pf[NAMES[0]]
    return [
        pf.plot(), leg.plot(), leg.plots(subplots="all"), leg.plot_value(), leg.plot_funding(), leg.plot_margin(),
        leg.plot_margin_distance(), pf.plot_liquidations(), leg.trades.plot(), leg.trades.plot_pnl(), leg.orders.plot(),
        leg.drawdowns.plot(),
    ]  # fmt: skip


def test_figures_are_plain(figures: list[Any], trouble: Result) -> None:
    for figure in figures:
        assert isinstance(figure, go.Figure)
        assert not isinstance(figure, go.FigureWidget)
    for figure in figures[:10]:
        assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
        assert figure.layout.width is None
    for figure, many in ((figures[0], 7), (figures[1], 8)):  # each in its own place
        assert len({trace.yaxis for trace in figure.data}) == many
    pnl = [trace for trace in figures[1].data if (trace.name or "").startswith("Closed")]
    assert {trace.yaxis for trace in pnl} == {"y2"}
    titles = {note.text for note in figures[0].layout.annotations}
    assert {"Funding", "Margin Ratio", "Liquidations"} <= titles
    crosses = [trace for trace in figures[7].data if trace.mode == "markers"]
    assert len(crosses[0].x) == trouble.measures["liquidations"]


def test_lines_are_thinned_for_the_eye_and_keep_their_extremes() -> None:
    from backtest.portfolio.figures import POINTS

    m = market(hours=20_000)
    r = simulate(m, Hold(), **TERMS)
    figure = r.portfolio.plot_value()
    line = next(trace for trace in figure.data if trace.name == "Value")
    assert len(line.x) <= POINTS
    assert min(line.y) == pytest.approx(r.equity.min())
    assert max(line.y) == pytest.approx(r.equity.max())
    whole = r.portfolio.plot(subplots=["value", "underwater", "orders", "trade_pnl", "margin"])
    assert all(len(trace.x) <= 2 * POINTS for trace in whole.data if trace.x is not None)
    assert len(r.portfolio.value()) == 20_000


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_what_cannot_be_one_portfolio() -> None:
    from backtest.portfolio import PerpPortfolio, portfolio_of

    one, other = result_of(em.Recipe(bars=30)), result_of(em.Recipe(bars=31))
    for given_, names, said in (
        ([], None, "at least one"),
        ([one, other], None, "other bars"),
        ([one, "x"], None, "str"),
        ([one, one], ["a"], "1 names for 2"),
        ([one, one], ["a", "a"], "given twice"),
    ):
        with pytest.raises(BadInput, match=said):
            portfolio_of(given_, names=names)
    pf = one.portfolio
    with pytest.raises(BadInput, match="made of results"):
        PerpPortfolio(pf.wrapper, pf.close, pf.order_records, pf.log_records, np.array([1.0]), False)
    with pytest.raises(BadInput, match="free cash"):
        one.portfolio.cash(free=True)
    with pytest.raises(BadInput, match="direction"):
        one.portfolio.assets(direction="up")


def test_without_vectorbt_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import backtest.portfolio as package

    r = result_of(em.Recipe(bars=10))
    monkeypatch.setattr(package, "find_spec", lambda name: None)
    for name in ("PerpPortfolio", "portfolio_of"):
        monkeypatch.delitem(package.__dict__, name, raising=False)
    with pytest.raises(NotFound, match=r"pip install 'unwind\[research\]'") as raised:
        _ = r.portfolio
    assert "\n" not in str(raised.value)


def test_vectorbt_is_imported_on_demand_only() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import sys, backtest.portfolio, backtest.result; print('vectorbt' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == "False"


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "vectorbt.md").read_text(encoding="utf-8")
    symbol = "BTC/USDT:USDT"
    m = market(2, hours=24 * 40)
    names: dict[str, Any] = {"market": m, "found": sweep(Hold, m, size=[0.5, 1.0, 2.0, 3.0, 4.0], **TERMS)}
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block.replace(symbol, m.symbols[0]), "docs/vectorbt.md", "exec"), names)
    assert (tmp_path / "run.pkl").exists()
    for method in re.findall(r"^\| `(\w+)(?:\(\))?`", page, re.MULTILINE):
        assert hasattr(names["pf"], method), method
