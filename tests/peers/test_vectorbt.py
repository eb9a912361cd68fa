"""With every mechanic of perpetuals off, the engine and vectorbt 1.2 are the same account.

Orders are decided at a close and filled at the next open in both, with a fee and a slippage or without. vectorbt sizes
the orders of `from_orders` itself, from its own value at the previous close; those of `from_signals` are given as
amounts, and it is shown afterwards that they are the target times vectorbt's value. Its cash takes in what a short sale
brings and has no margin, so cash is compared for spot, and value, positions, fees and profits for contracts.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from example_counts import many
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backtest.account import Account
from backtest.costs import Costs
from backtest.engine import simulate
from backtest.result import Result
from backtest.strategy import HOLD, Strategy
from backtest.venue import Fees, Liquidation, Venue
from data.market import Market

pytestmark = [
    pytest.mark.slow,
    # vectorbt 1.2 uses what pandas 4 will change: isinstance(..., DateOffset), rename(inplace=...)
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
    # what it imports, if it is there, has warnings of its own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

Floats = npt.NDArray[np.float64]

CASH = 10_000.0
BARS = 400
EXACT = {"rtol": 1e-9, "atol": 1e-9}
NO_TIERS = Venue(name="plain", contract="linear", fees=Fees(0.0, 0.0), liquidation=Liquidation())
EXAMPLES = settings(max_examples=many(40), suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def vbt() -> ModuleType:
    import vectorbt

    assert vectorbt.__version__.startswith("1.2")
    return vectorbt


def hourly(seed: int, calm: float = 0.004, symbol: str = "BTC/USDT:USDT") -> Market:
    """A random walk. There are no marks, so the mark is the trade price; no funding and no tiers."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(calm * rng.standard_normal(BARS)))
    opens = np.concatenate([[100.0], close[:-1]]) * (1.0 + 0.1 * calm * rng.standard_normal(BARS))
    reach = np.abs(calm * rng.standard_normal((2, BARS)))
    high, low = np.maximum(opens, close) * (1.0 + reach[0]), np.minimum(opens, close) * (1.0 - reach[1])
    index = pd.date_range("2024-01-01", periods=BARS, freq="1h")
    frame = pd.DataFrame({"open": opens, "high": high, "low": low, "close": close, "volume": 1.0}, index=index)
    return Market.from_frames(frame, symbol=symbol)


def ours(market: Market, targets: Floats, fee: float, slippage: float, *, spot: bool = False, **account: Any) -> Result:
    """Every number of `targets` is an order, HOLD is none."""
    return simulate(
        market,
        Given.of(targets),
        venue=replace(NO_TIERS, contract="spot") if spot else NO_TIERS,
        account=Account(equity=CASH, **account),
        costs=Costs.fixed(slippage * 1e4, maker=fee, taker=fee),
    )


class Given(Strategy):
    """Targets made elsewhere; with stops, entries only."""

    number: int = 0
    entries_only: bool = False
    stop_loss: float = 0.0
    take_profit: float = 0.0

    def features(self, market: Market) -> dict[str, Floats]:
        return {"target": _TARGETS[self.number]}

    @staticmethod
    def decide(position: float, target: float, entries_only: float) -> float:
        if entries_only != 0.0 and position != 0.0:
            return HOLD
        return target

    @classmethod
    def of(cls, targets: Floats, **parameters: Any) -> Given:
        _TARGETS.append(targets)
        return cls(number=len(_TARGETS) - 1, **parameters)


_TARGETS: list[Floats] = []


def frame(values: Floats) -> pd.Series[float]:
    return pd.Series(values, index=pd.date_range("2024-01-01", periods=BARS, freq="1h"))


def next_bar(values: Floats, first: float) -> Floats:
    return np.concatenate([[first], values[:-1]])


def by_bar(result: Result, field: str) -> Floats:
    fills = result.run.fills
    return np.bincount(fills["bar"], fills[field], minlength=BARS)


def assert_same_account(result: Result, portfolio: Any, *, spot: bool = False) -> None:
    orders = portfolio.orders.values
    size = np.where(orders["side"] == 0, orders["size"], -orders["size"])
    np.testing.assert_allclose(by_bar(result, "quantity"), np.bincount(orders["idx"], size, minlength=BARS), **EXACT)
    np.testing.assert_allclose(
        by_bar(result, "fee"), np.bincount(orders["idx"], orders["fees"], minlength=BARS), **EXACT
    )
    fills = result.run.fills
    price = dict(zip(orders["idx"], orders["price"], strict=True))
    np.testing.assert_allclose(fills["price"], [price[bar] for bar in fills["bar"]], **EXACT)
    np.testing.assert_allclose(result.run.leg_series["position"][:, 0], portfolio.assets().to_numpy(), **EXACT)
    np.testing.assert_allclose(result.run.series["equity"], portfolio.value().to_numpy(), **EXACT)
    if spot:
        np.testing.assert_allclose(result.run.series["wallet"], portfolio.cash().to_numpy(), **EXACT)
    positions = portfolio.positions.values
    closed = positions[positions["status"] == 1]
    trades = result.trades
    np.testing.assert_allclose(trades["profit"], closed["pnl"], **EXACT)
    np.testing.assert_allclose(trades["fees"], closed["entry_fees"] + closed["exit_fees"], **EXACT)
    np.testing.assert_allclose(trades["entry_price"], closed["entry_price"], **EXACT)
    np.testing.assert_allclose(trades["exit_price"], closed["exit_price"], **EXACT)
    assert (trades["side"] == np.where(closed["direction"] == 0, "long", "short")).all()
    hours = (trades["closed"] - trades["ts"]).dt.total_seconds() / 3600
    assert (hours == closed["exit_idx"] - closed["entry_idx"]).all()
    for ours_, theirs in (("total_return", portfolio.total_return()), ("max_drawdown", -portfolio.max_drawdown())):
        assert result.measures[ours_] == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def random_targets(seed: int, often: float, low: float, high: float) -> Floats:
    """HOLD in most bars; else flat, or anything from low to high: opened, added to, reduced, reversed."""
    rng = np.random.default_rng(seed)
    kind = rng.random(BARS)
    targets = np.where(kind < 0.25, 0.0, rng.uniform(low, high, BARS))
    return np.where(rng.random(BARS) < often, targets, HOLD)


costs = st.sampled_from([(0.0, 0.0), (0.0005, 0.0), (0.001, 0.0007)])


@EXAMPLES
@given(
    seed=st.integers(0, 2**32 - 1),
    often=st.sampled_from([0.02, 0.2, 1.0]),
    cost=costs,
    mode=st.sampled_from(["isolated", "cross"]),
)
def test_targets_long_and_short(vbt: ModuleType, seed: int, often: float, cost: tuple[float, float], mode: str) -> None:
    market, targets, (fee, slippage) = hourly(seed), random_targets(seed, often, -0.8, 0.8), cost
    result = ours(market, targets, fee, slippage, mode=mode, leverage=2.0)
    assert_same_account(result, of_targets(vbt, market, targets, fee, slippage))
    assert result.measures["refused"] == result.measures["scaled"] == 0.0


@EXAMPLES
@given(seed=st.integers(0, 2**32 - 1), often=st.sampled_from([0.02, 0.2, 1.0]), cost=costs)
def test_spot_has_the_same_cash(vbt: ModuleType, seed: int, often: float, cost: tuple[float, float]) -> None:
    market, targets, (fee, slippage) = hourly(seed, symbol="BTC/USDT"), random_targets(seed, often, 0.0, 0.9), cost
    result = ours(market, targets, fee, slippage, spot=True)
    assert_same_account(result, of_targets(vbt, market, targets, fee, slippage), spot=True)


def of_targets(vbt: ModuleType, market: Market, targets: Floats, fee: float, slippage: float) -> Any:
    return vbt.Portfolio.from_orders(
        frame(market.close),
        size=frame(next_bar(np.where(targets == HOLD, np.nan, targets), np.nan)),
        size_type="targetpercent",
        price=frame(market.open),
        val_price=frame(next_bar(market.close, market.open[0])),  # our orders are sized at the close that decides
        fees=fee,
        slippage=slippage,
        init_cash=CASH,
        freq="1h",
    )


@EXAMPLES
@given(seed=st.integers(0, 2**32 - 1), cost=costs)
def test_signals_in_and_out(vbt: ModuleType, seed: int, cost: tuple[float, float]) -> None:
    market, (fee, slippage) = hourly(seed), cost
    kind = np.random.default_rng(seed).choice(4, BARS, p=[0.8, 0.08, 0.08, 0.04])
    targets = np.choose(kind, [np.full(BARS, HOLD), np.full(BARS, 0.5), np.full(BARS, -0.5), np.zeros(BARS)])
    position, orders = 0.0, np.full(BARS, HOLD)  # only what changes the side of the position
    for i, target in enumerate(targets):
        if target != HOLD and np.sign(target) != np.sign(position):
            position = orders[i] = target
    result = ours(market, orders, fee, slippage, leverage=2.0)
    after = np.abs(result.run.leg_series["position"][:, 0])
    fired = {name: frame(next_bar(orders == t, 0.0) != 0.0) for name, t in (("entries", 0.5), ("short_entries", -0.5))}
    flat = frame(next_bar(orders == 0.0, 0.0) != 0.0)
    portfolio = vbt.Portfolio.from_signals(
        frame(market.close), **fired, exits=flat, short_exits=flat, size=frame(np.where(after > 0.0, after, np.nan)),
        price=frame(market.open), upon_opposite_entry="reverse", fees=fee, slippage=slippage, init_cash=CASH, freq="1h",
    )  # fmt: skip
    assert_same_account(result, portfolio)
    entered = np.flatnonzero(np.isin(next_bar(orders, HOLD), (0.5, -0.5)))
    value = portfolio.value().to_numpy()
    np.testing.assert_allclose(after[entered], 0.5 * value[entered - 1] / market.close[entered - 1], **EXACT)


@EXAMPLES
@given(
    seed=st.integers(0, 2**32 - 1), cost=costs, stop=st.sampled_from([0.02, 0.03]), take=st.sampled_from([0.02, 0.05])
)
def test_stops(vbt: ModuleType, seed: int, cost: tuple[float, float], stop: float, take: float) -> None:
    """Bars are narrower than a stop, so that none is met in the bar of its entry, where vectorbt does not look."""
    market, (fee, slippage) = hourly(seed, calm=0.002), cost
    rng = np.random.default_rng(seed)
    targets = np.where(rng.random(BARS) < 0.3, rng.choice([-0.5, 0.5], BARS), HOLD)
    strategy = Given.of(targets, entries_only=True, stop_loss=stop, take_profit=take)
    result = simulate(
        market, strategy, venue=NO_TIERS, account=Account(equity=CASH, leverage=2.0),
        costs=Costs.fixed(slippage * 1e4, maker=fee, taker=fee),
    )  # fmt: skip
    opened = result.run.fills[result.run.fills["profit"] == 0.0]
    size = np.full(BARS, np.nan)
    size[opened["bar"]] = np.abs(opened["quantity"])
    portfolio = vbt.Portfolio.from_signals(
        frame(market.close), entries=frame(next_bar(targets == 0.5, 0.0) != 0.0),
        short_entries=frame(next_bar(targets == -0.5, 0.0) != 0.0), size=frame(size), price=frame(market.open),
        open=frame(market.open), high=frame(market.high), low=frame(market.low), sl_stop=stop, tp_stop=take,
        stop_entry_price="fillprice", stop_exit_price="stopmarket", upon_stop_exit="close",
        upon_opposite_entry="ignore", fees=fee, slippage=slippage, init_cash=CASH, freq="1h",
    )  # fmt: skip
    assert_same_account(result, portfolio)
