"""What bench_engine.py measures with: made-up markets, a rule and its parameter sets, the account and the venue.

1. `walk`: a seeded random walk of one-minute bars whose volatility clusters, with a crash a month.
2. `market`: those bars with a mark that is the trade price and a little noise, 8h funding, open interest every five
   minutes, and maintenance tiers that change twice.
3. `Fade`: sells what stands far above its mean while open interest builds, and buys what stands far below.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.account import Account
from backtest.strategy import HOLD, Strategy
from backtest.venue import Fees, Liquidation, Venue
from data.align import Bars
from data.clock import HOUR, MINUTE, moment
from data.market import Market
from data.market_input import TIER, Points, Settlements, SymbolData

Floats = npt.NDArray[np.float64]

START = moment("2023-01-01")
YEAR = 525_600
TICK, LOT = 0.1, 0.001
DAY_BARS = 1440

VENUE = Venue(
    name="bench",
    contract="linear",
    fees=Fees(maker=0.0002, taker=0.0005, liquidation=0.0125),
    liquidation=Liquidation(reduction="none", residual="takeover"),
)
ACCOUNT = Account(equity=100_000.0, leverage=20.0)

FLOORS = (0.0, 50e3, 600e3, 3e6, 12e6, 70e6)
RATES = (0.004, 0.005, 0.0065, 0.01, 0.02, 0.05)
LEVERAGES = (125.0, 100.0, 75.0, 50.0, 25.0, 10.0)
TIGHTER = (1.0, 1.25, 0.9)  # the three tables, as multiples of RATES


class Fade(Strategy):
    """Fade the price where it is far from its mean and open interest has been building."""

    window: str = "8h"
    entry_z: float = 2.0
    exit_z: float = 0.5
    leverage: float = 2.0
    stop_loss: float = 0.02
    take_profit: float = 0.04

    @property
    def warmup(self) -> str:
        return self.window

    def features(self, market: Market) -> Mapping[str, Any]:
        bars = market.bars(self.window)
        held = market.open_interest
        return {"z": zscore(market.close, bars), "build": held / mean(held, bars)}

    @staticmethod
    def decide(position: float, z: float, build: float, entry_z: float, exit_z: float, leverage: float) -> float:
        if position == 0.0:
            if build > 1.0:
                if z > entry_z:
                    return -leverage
                if z < -entry_z:
                    return leverage
        elif abs(z) < exit_z:
            return 0.0
        return HOLD


def parameter_sets(count: int = 256, leverage: float = 2.0) -> list[Strategy]:
    """4 windows x 8 entries x 4 exits x 2 stops, shuffled so that a few are as mixed as all; beyond 256: other profits."""
    windows = ("4h", "8h", "1d", "3d")
    entries, exits, stops = (1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5), (0.0625, 0.25, 0.5, 0.75), (0.02, 0.06)
    grid = list(product(windows, entries, exits, stops))
    sets: list[Strategy] = []
    for j in range(count):
        window, entry_z, exit_z, stop = grid[97 * j % len(grid)]
        profit = 0.04 + 0.0005 * (j // len(grid))
        made = Fade(
            window=window, entry_z=entry_z, exit_z=exit_z, stop_loss=stop, take_profit=profit, leverage=leverage
        )
        sets.append(made)
    return sets


def mean(x: Floats, bars: int) -> Floats:
    """Of the last so many bars, NaN before."""
    sums = np.cumsum(x, axis=0)
    out = np.full(x.shape, np.nan)
    out[bars - 1 :] = sums[bars - 1 :]
    out[bars:] -= sums[:-bars]
    return out / bars


def zscore(x: Floats, bars: int) -> Floats:
    away = x - x[0]
    middle = mean(away, bars)
    spread = mean(away * away, bars) - middle * middle
    return (away - middle) / np.sqrt(np.maximum(spread, 1e-12))


# ---- made-up markets -----------------------------------------------------------------------------


def walk(bars: int, seed: int) -> dict[str, Floats]:
    """open, high, low, close, volume and the minute's own volatility."""
    rng = np.random.default_rng(seed)
    sigma = 5e-4 * np.exp(0.5 * _clustered(rng.standard_normal(bars), 720))
    move = np.zeros(bars)
    for at in range(DAY_BARS * 10, bars, DAY_BARS * 30):
        crash = slice(at + int(rng.integers(0, DAY_BARS * 15)), None)
        fall, length = rng.uniform(0.05, 0.15), int(rng.integers(20, 120))
        move[crash][:length] -= fall / length
        sigma[crash][: 4 * length] *= 3.0
    log = np.cumsum(sigma * rng.standard_normal(bars) + move)
    log += 0.005 * _clustered(rng.standard_normal(bars), 120)  # what reverts, so that the rule lives
    close = _ticks(30_000.0 * np.exp(log - np.linspace(0.0, log[-1], bars)))  # ends where it began
    opens = np.concatenate([close[:1], close[:-1]])
    reach = 0.7 * sigma * np.abs(rng.standard_normal((2, bars)))
    high = _ticks(np.maximum(opens, close) * (1.0 + reach[0]))
    low = _ticks(np.minimum(opens, close) * (1.0 - reach[1]))
    volume = 40.0 * (sigma / 6e-4) * rng.lognormal(0.0, 0.5, bars)
    return {"open": opens, "high": high, "low": low, "close": close, "volume": volume, "sigma": sigma}


def market(bars: int, symbols: int = 1, seed: int = 7) -> Market:
    names = [f"B{j:02d}/USDT:USDT" for j in range(symbols)]
    data = {name: _symbol(bars, seed + j) for j, name in enumerate(names)}
    return Market.build("bench", data, "1m", START, START + bars * MINUTE)


def _symbol(bars: int, seed: int) -> SymbolData:
    rng = np.random.default_rng(seed + 1_000_000)
    made = walk(bars, seed)
    ts = START + np.arange(bars, dtype=np.int64) * MINUTE
    candles = Bars(MINUTE, ts, *(made[n] for n in ("open", "high", "low", "close", "volume")))
    return SymbolData(
        candles=candles,
        marks=(_marks(made, ts, rng),),
        funding=_funding(made, ts, rng),
        open_interest=_open_interest(made, ts, rng),
        tiers=_tiers(bars),
        instrument={"tick_size": TICK, "lot_size": LOT},
    )


def _marks(made: dict[str, Floats], ts: npt.NDArray[np.int64], rng: np.random.Generator) -> Bars:
    close = made["close"] * (1.0 + 1e-4 * _clustered(rng.standard_normal(len(ts)), 30))
    opens = np.concatenate([made["open"][:1], close[:-1]])
    tame = 1e-4 * rng.random((2, len(ts)))  # a mark is an average: it does not reach as far as trades
    high = np.maximum.reduce([opens, close, made["high"] * (1.0 - tame[0])])
    low = np.minimum.reduce([opens, close, made["low"] * (1.0 + tame[1])])
    return Bars(MINUTE, ts, opens, high, low, close)


def _funding(made: dict[str, Floats], ts: npt.NDArray[np.int64], rng: np.random.Generator) -> Settlements:
    at = np.flatnonzero(ts % (8 * HOUR) == 0)
    trend = np.log(made["close"][at] / made["close"][np.maximum(at - DAY_BARS, 0)])
    rate = np.clip(1e-4 + 2e-3 * trend + 5e-5 * rng.standard_normal(len(at)), -0.0075, 0.0075)
    when, none = ts[at], np.full(len(at), np.nan)
    return Settlements(when, when, when, rate, np.full(len(at), 8.0), none)


def _open_interest(made: dict[str, Floats], ts: npt.NDArray[np.int64], rng: np.random.Generator) -> Points:
    at = np.arange(0, len(ts), 5)
    slow = 0.15 * _clustered(rng.standard_normal(len(at)), 600) - 20.0 * (made["sigma"][at] - 6e-4)
    quantity = 80_000.0 * np.exp(slow)
    return Points(ts[at], ts[at], 5 * MINUTE, {"quantity": quantity, "value": quantity * made["close"][at]})


def _tiers(bars: int) -> npt.NDArray[Any]:
    """Three dated tables of six brackets; cum as the brackets make it."""
    rows = []
    for table, factor in enumerate(TIGHTER):
        rates = np.array(RATES) * factor
        cum = np.concatenate([[0.0], np.cumsum(np.array(FLOORS[1:]) * np.diff(rates))])
        when = START + table * bars // len(TIGHTER) * MINUTE
        for t, floor in enumerate(FLOORS):
            cap = FLOORS[t + 1] if t + 1 < len(FLOORS) else np.inf
            rows.append((0, when, t + 1, floor, cap, rates[t], LEVERAGES[t], cum[t], when))
    return np.array(rows, dtype=TIER)


def _clustered(noise: Floats, length: float) -> Floats:
    """First-order autoregression with a memory of so many steps and a spread of about one."""
    from scipy.signal import lfilter

    keep = np.exp(-1.0 / length)
    out: Floats = lfilter([np.sqrt(1.0 - keep * keep)], [1.0, -keep], noise)
    return out


def _ticks(price: Floats) -> Floats:
    return np.round(price / TICK) * TICK
