"""Markets and series for tests of signals: everything a signal may need, with holes in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from data import clock
from data.align import Bars
from data.market import Flow, Market, Points, Settlements, SymbolData
from data.schema import Ratio

START = clock.moment("2024-01-01")
SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
GIVEN = ("market_cap", "reserve", "values", "venue_oi", "events")


def whole_market(
    n: int, seed: int = 0, symbols: int = 1, step: int = clock.HOUR, holes: float = 0.0, price: float = 1.0,
    size: float = 1.0,
) -> Market:  # fmt: skip
    """A made-up market that holds every field; `holes` is the part of each that is missing. Prices and sizes scale."""
    ts = START + np.arange(n, dtype=np.int64) * step
    data = {name: _symbol(np.random.default_rng([seed, j]), ts, step, holes, price, size) for j, name in
            enumerate(SYMBOLS[:symbols])}  # fmt: skip
    return Market.build("sim", data, step, START, START + n * step)


def _symbol(rng: np.random.Generator, ts: Any, step: int, holes: float, price: float, size: float) -> SymbolData:
    n = len(ts)

    def holed(x: Any) -> Any:
        return np.where(rng.random(n) < holes, np.nan, x)

    def bars(scale: float = 0.002) -> tuple[Any, ...]:
        close = price * path * np.exp(0.0005 * rng.standard_normal(n))
        opened = np.concatenate((close[:1], close[:-1])) * np.exp(0.0003 * rng.standard_normal(n))
        high = np.maximum(opened, close) * np.exp(scale * rng.exponential(size=n))
        low = np.minimum(opened, close) * np.exp(-scale * rng.exponential(size=n))
        return opened, high, low, close

    path = 100.0 * np.exp(np.cumsum(0.004 * rng.standard_normal(n)))
    open_interest = size * 5e4 * np.exp(np.cumsum(0.01 * rng.standard_normal(n)))
    volume = size * rng.gamma(2.0, 500.0, n)
    o, h, low, c = bars()
    gone = rng.random(n) < holes
    candles = Bars(
        step, ts[~gone], *(x[~gone] for x in (o, h, low, c)), volume=volume[~gone],
        quote_volume=(volume * 0.5 * (o + c))[~gone], taker_buy_volume=(volume * rng.beta(4, 4, n))[~gone],
    )  # fmt: skip
    premium = holed(4e-4 * rng.standard_normal(n))
    known = ts + step - 1
    liquidated = rng.random((2, n)) < 0.3
    amounts = rng.pareto(2.0, (2, n)) * 2e4 * liquidated * price * size
    every = slice(7, None, 8)
    stamps = ts[every] + step
    settled = Settlements(
        stamps - 1, stamps - 1, stamps - 1, 1e-4 + 2e-4 * rng.standard_normal(len(stamps)),
        np.full(len(stamps), 8.0 * step / clock.HOUR), np.full(len(stamps), np.nan),
    )  # fmt: skip

    def points(**values: Any) -> Points:
        return Points(known, known, 10 * step, {k: holed(v) for k, v in values.items()})

    return SymbolData(
        candles=candles,
        marks=(Bars(step, ts, *bars(0.001)),),
        index=(Bars(step, ts, *bars(0.001)),),
        premium=(Bars(step, ts, premium, premium, premium, premium),),
        funding=settled,
        open_interest=points(quantity=open_interest, value=open_interest * price * path),
        ratios={kind: points(ratio=np.exp(0.3 * rng.standard_normal(n))) for kind in Ratio},
        depth=points(bid_1pct=price * size * rng.gamma(3, 1e4, n), ask_1pct=price * size * rng.gamma(3, 1e4, n)),
        liquidations=Flow(known, known, amounts[0], amounts[1], spans=((START, START + n * step),)),
    )


def given_for(market: Market, seed: int = 0) -> dict[str, Any]:
    """What no market holds, by the names of the registry."""
    rng = np.random.default_rng([seed, 99])
    n = len(market)
    held = np.where(rng.random((n, 3)) < 0.05, np.nan, 1e6 * np.exp(0.1 * rng.standard_normal((n, 3))))
    return {
        "market_cap": 1e9 * np.exp(0.1 * rng.standard_normal(n)),
        "reserve": 1e5 * np.exp(0.1 * rng.standard_normal(n)),
        "values": 1e-4 * rng.standard_normal((n, 3)),
        "venue_oi": held,
        "events": rng.poisson(0.5, n).astype(float),
        "mu": 0.1,
        "branching": 0.4,
        "half_life": 5.0,
    }


def first_rows(given: dict[str, Any], t: int) -> dict[str, Any]:
    return {name: value[:t] if name in GIVEN else value for name, value in given.items()}
