"""Real history, replayed: one position through the crash of 2025-10-10, and a year of funding.

0.1 BTC long on Binance, isolated at 20x, from the open of 12:00 UTC at 121,493.2, on 5m bars with the mark by the hour.
Margin is a twentieth of the notional, 607.466 USDT; the fee comes from the free wallet. The bracket of 12,149 USDT asks
for 0.4 %, so the position is liquidated at a mark of (12,149.32 - margin) / (0.1 x 0.996) = 115,882.07, and after the
settlement of 16:00 took 0.12 USDT out of the margin, at 115,883.28. Trades went below that at 19:20, the mark did not;
at 20:50 both did.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from backtest.account import Account
from backtest.costs import Costs
from backtest.engine import simulate
from backtest.result import Result
from backtest.venue import venue
from data import align
from data.clock import HOUR, MINUTE, moment
from data.market import Market
from data.market_input import TIER, Settlements, SymbolData

pytestmark = pytest.mark.real_data

BTC = "BTC/USDT:USDT"
DAY = "2025-10-10"
ENTRY, QUANTITY, TAKER = 121_493.2, 0.1, 0.0005
SETTLED = 0.1 * 118_965.2 * 1.013e-05  # at 16:00, paid by the long
EQUITY = 5_000.0


def rows(folder: Path, name: str, symbol: str, start: str, end: str) -> pl.DataFrame:
    """Of one symbol, in [start, end); `ns` is `ts` as a number."""
    ns = pl.col("ts").cast(pl.Datetime("ns")).cast(pl.Int64)
    wanted = (pl.col("symbol") == symbol) & ns.is_between(moment(start), moment(end), closed="left")
    return pl.scan_parquet(folder / name).filter(wanted).sort("ts").with_columns(ns=ns).collect()


def bars(frame: pl.DataFrame, interval: int) -> align.Bars:
    prices = (frame[name].to_numpy() for name in ("open", "high", "low", "close"))
    return align.Bars(interval, frame["ns"].to_numpy(), *prices)


def settlements(frame: pl.DataFrame) -> Settlements:
    raw = frame["ns"].to_numpy()
    ts = align.snapped(raw)
    return Settlements(ts, raw, ts, frame["funding_rate"].to_numpy(), np.full(len(ts), 8.0), np.full(len(ts), np.nan))


def last_brackets(folder: Path) -> npt.NDArray[np.void]:
    """The table of 2024-05-30, the last one there is for this symbol."""
    frame = rows(folder, "leverage_tiers/binance_history.parquet", BTC, "2024-05-30", DAY)
    columns = ("min_notional", "max_notional", "maint_margin_rate", "max_leverage", "cum")
    table = np.zeros(len(frame), dtype=TIER)
    table["valid_from"] = table["known_at"] = frame["ns"].to_numpy()
    table["tier"] = frame["tier"].to_numpy()
    for field, column in zip(("floor", "cap", "mmr", "max_leverage", "cum"), columns, strict=True):
        table[field] = frame[column].to_numpy()
    return table


def market(folder: Path, candles: str, interval: int, start: str, end: str, *, mark: bool = True) -> Market:
    marks = rows(folder, "mark/binance_1h.parquet", "BTCUSDT", start, end)
    data = SymbolData(
        candles=bars(rows(folder, candles, "BTCUSDT", start, end), interval),
        marks=(bars(marks, HOUR),) if mark else (),
        funding=settlements(rows(folder, "funding/binance.parquet", "BTCUSDT", start, end)),
        tiers=last_brackets(folder),
        instrument={"lot_size": 0.001},
    )
    return Market.build("binance", {BTC: data}, interval, moment(start), moment(end))


def bar(market: Market, time: str) -> int:
    """The bar of that day that opens then."""
    return int((moment(f"{DAY} {time}") - market.start) // market.interval)


Replay = Callable[..., tuple[Market, Result]]


@pytest.fixture(scope="module")
def crash(shared_dir: Path) -> Replay:
    def replay(leverage: float, *, mark: bool = True) -> tuple[Market, Result]:
        start, end = f"{DAY} 11:00", f"{DAY} 22:00"
        made = market(shared_dir, "candles/binance_5m.parquet", 5 * MINUTE, start, end, mark=mark)
        decided = bar(made, "11:55")
        exposure = np.zeros(len(made))
        exposure[decided:] = 1.004 * QUANTITY * made.mark_close[decided] / EQUITY  # rounded down to 100 lots
        account = Account(equity=EQUITY, leverage=leverage)
        return made, simulate(
            made, exposure=exposure, venue=venue("binance"), account=account, costs=Costs.none(taker=TAKER)
        )

    return replay


def test_the_position_is_that_of_the_story(crash: Replay) -> None:
    made, result = crash(20.0)
    (first, *_) = result.run.fills
    entered = bar(made, "12:00")
    assert first["bar"] == entered
    assert first["price"] == ENTRY
    assert first["quantity"] == QUANTITY
    assert first["fee"] == pytest.approx(QUANTITY * ENTRY * TAKER, rel=1e-12)
    level = result.run.leg_series["liquidation_price"][:, 0]
    margin = QUANTITY * ENTRY / 20
    assert level[entered] == pytest.approx((QUANTITY * ENTRY - margin) / (QUANTITY * 0.996), rel=1e-9)
    settled = bar(made, "16:00")
    assert level[settled - 1] == level[entered]
    assert level[settled] == pytest.approx((QUANTITY * ENTRY - margin + SETTLED) / (QUANTITY * 0.996), rel=1e-9)
    assert round(level[settled], 1) == 115_883.3


def test_at_20x_it_survives_1920_and_is_liquidated_at_2050(crash: Replay) -> None:
    made, result = crash(20.0)
    narrow, last = bar(made, "19:20"), bar(made, "20:50")
    assert made.low[narrow] == 115_845.0
    assert made.mark_low[narrow] == 115_897.6
    assert result.run.leg_series["liquidation_price"][narrow, 0] == pytest.approx(115_883.278, abs=1e-3)
    assert (result.run.leg_series["position"][bar(made, "12:00") : last, 0] == QUANTITY).all()
    (liquidated,) = result.run.liquidations
    assert liquidated["bar"] == last
    assert liquidated["trigger"] == pytest.approx(115_883.278, abs=1e-3)
    assert (result.run.leg_series["position"][last:, 0] == 0.0).all()


def test_the_liquidation_costs_the_margin_and_nothing_else(crash: Replay) -> None:
    _, result = crash(20.0)
    notional = QUANTITY * ENTRY
    assert result.run.series["wallet"][-1] == pytest.approx(EQUITY - notional / 20 - notional * TAKER, rel=1e-12)


def test_with_trades_for_the_mark_it_dies_at_1920(crash: Replay) -> None:
    made, result = crash(20.0, mark=False)
    (liquidated,) = result.run.liquidations
    assert liquidated["bar"] == bar(made, "19:20")


@pytest.mark.parametrize("mark", [True, False])
def test_at_3x_it_survives_the_day(crash: Replay, mark: bool) -> None:
    made, result = crash(3.0, mark=mark)
    assert len(result.run.liquidations) == 0
    assert made.mark_low.min() < 103_000.0
    assert result.run.leg_series["position"][-1, 0] == QUANTITY


def test_a_year_of_funding_is_the_sum_of_its_settlements(shared_dir: Path) -> None:
    start, end = "2025-01-01", "2026-01-01"
    made = market(shared_dir, "candles/binance_1h.parquet", HOUR, start, end)
    result = simulate(
        made,
        exposure=np.full(len(made), -1.0),
        venue=venue("binance"),
        account=Account(equity=10_000.0, leverage=1.0),
        costs=Costs.none(),
    )
    held = result.run.leg_series["position"][1:, 0]
    assert (held == held[0]).all()
    assert held[0] == pytest.approx(-10_000.0 / 93_500.0, rel=0.02)

    rates = rows(shared_dir, "funding/binance.parquet", "BTCUSDT", start, end)
    marks = rows(shared_dir, "mark/binance_1h.parquet", "BTCUSDT", start, end).select("ts", "open")
    paid = rates.with_columns(pl.col("ts").dt.round("1h")).join(marks, on="ts").filter(pl.col("ns") > moment(start))
    assert len(paid) == 3 * 365 - 1
    expected = -held[0] * float((paid["open"] * paid["funding_rate"]).sum())
    assert expected > 300.0
    assert result.measures["funding"] == pytest.approx(expected, rel=1e-9)
