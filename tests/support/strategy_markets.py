"""Markets on which strategies have something to do: hourly bars of made-up perpetuals with every field, and holes."""

from __future__ import annotations

from typing import Any

import numpy as np
from signal_inputs import START, _symbol

from backtest.account import Account
from backtest.strategy import Strategy
from data import clock
from data.market import Market
from strategies.carry import Carry, account_for, hedged

COINS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "ADA")
MANY = {"CrowdingPortfolio": 6}  # symbols without which there is nothing to rank
EAGER: dict[str, dict[str, Any]] = {  # parameters that make each strategy trade where nothing happens
    "FundingSqueeze": {"entry_z": 1.5, "started": 0.0, "crowded": 0.9, "least_skew": 0.0},
    "CascadeFade": {"horizon": "2h", "sigmas": 1.5, "least_move": 0.003, "flush": 0.005, "shorts": True},
    "UnwindMomentum": {"crowded": 1.0, "leaving": 0.005},
    "LadderFade": {"least_run": 0.0005, "least_fuel": 0.5},
    "ManagedTrend": {},
    "Carry": {"entry": 0.08},
    "CrowdingPortfolio": {"every": "2d"},
    "BuyAndHold": {},
    "RandomEntry": {},
    "DeRiskedTrend": {"crowded_at": 1.02},
}


def perps(n: int, seed: int = 1, symbols: int = 1, holes: float = 0.0, step: int = clock.HOUR) -> Market:
    """Every field, of coins whose leverage wanders."""
    ts = START + np.arange(n, dtype=np.int64) * step
    data = {
        f"{coin}/USDT:USDT": _symbol(np.random.default_rng([seed, j]), ts, step, holes, 1.0, 1.0)
        for j, coin in enumerate(COINS[:symbols])
    }
    return Market.build("sim", data, step, START, START + n * step)


def market_of(cls: type[Strategy], n: int = 2000, seed: int = 1, symbols: int = 1, holes: float = 0.0) -> Market:
    """One that suits the strategy: with spot legs for a carry, with enough coins for a ranking."""
    market = perps(n, seed, max(symbols, MANY.get(cls.__name__, 1)), holes)
    return hedged(market) if issubclass(cls, Carry) else market


def account_of(cls: type[Strategy], market: Market) -> Account:
    return (
        account_for(market)
        if issubclass(cls, Carry)
        else Account(mode="cross" if len(market.symbols) > 1 else "isolated")
    )


def eager(cls: type[Strategy]) -> Strategy:
    return cls(**EAGER.get(cls.__name__, {}))


def scene(
    close: Any, open_interest: Any = None, rate: Any = None, step: int = clock.HOUR, wicks: float = 0.001,
    symbol: str = "BTC/USDT:USDT", volume: float = 1e6,
) -> Market:  # fmt: skip
    """One perpetual by its closes, open interest a bar, and rates of settlements every eight hours."""
    close = np.asarray(close, dtype=np.float64)
    ts = START + np.arange(len(close), dtype=np.int64) * step
    opened = np.concatenate((close[:1], close[:-1]))
    high, low = np.maximum(opened, close) * (1.0 + wicks), np.minimum(opened, close) * (1.0 - wicks)
    frames: dict[str, Any] = {"candles": _frame(ts, open=opened, high=high, low=low, close=close, volume=volume)}
    if open_interest is not None:
        known = ts + step - 1
        frames["open_interest"] = _frame(known, quantity=np.asarray(open_interest, dtype=np.float64))
    if rate is not None:
        rate = np.asarray(rate, dtype=np.float64)
        stamps = START + np.arange(1, len(rate) + 1, dtype=np.int64) * 8 * clock.HOUR
        frames["funding"] = _frame(stamps, rate=rate, interval_hours=8.0)
    return Market.from_frames(interval=clock.label(step), symbol=symbol, **frames)


def _frame(ts: Any, **columns: Any) -> Any:
    import pandas as pd

    return pd.DataFrame({"ts": ts.view("datetime64[ns]"), **columns})


def entries(result: Any) -> list[tuple[int, float]]:
    """Bars and signs of the fills that opened a position from flat."""
    fills = result.run.fills
    flat = np.isclose(fills["position"], fills["quantity"])
    return [(int(f["bar"]), float(np.sign(f["quantity"]))) for f in fills[flat]]


def exits(result: Any) -> list[int]:
    """Bars of the fills that closed one."""
    return [int(f["bar"]) for f in result.run.fills if f["position"] == 0.0]
