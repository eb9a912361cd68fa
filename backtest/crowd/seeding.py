"""The first accounts of a simulated venue: money, habits, and nothing open yet.

Lie in this order: the crowd (those who look often first), carry traders, funds, makers, arbitrage, the liquidation
engine, guests.
"""

from __future__ import annotations

import math

import numpy as np

from backtest.crowd.kernel import layout as at
from backtest.crowd.kernel.layout import Floats, Places
from backtest.crowd.world import World, counts

MAKERS_MONEY = 20.0  # times the crowd's: dealers are never short of money
TOP_SHARE = 0.2
INEQUALITY = 1.3  # standard deviation of log money


def seed_accounts(world: World, guests: int, rng: np.random.Generator) -> tuple[Floats, Places]:
    c, minutes = world.crowd, world.step_minutes
    retail, fast, carry = counts(c)
    maker = retail + carry + c.funds
    places = Places(maker, maker + 1, maker + 2, maker + 3)
    a = np.zeros((at.ROWS, maker + 3 + guests))
    a[[at.LIQ, at.STOP]] = np.nan
    a[at.UP] = np.inf
    a[at.REDUCED] = np.nan
    _retail(a, world, retail, fast, rng)
    money = world.coin.money
    some = slice(retail, retail + carry)
    a[at.KIND, some] = at.CARRY
    a[at.FREE, some] = money * c.carry_money * _shares(carry, rng)
    a[at.CHASE, some] = rng.uniform(0.4, 2.5, carry)
    a[at.LEVERAGE, some], a[at.USUAL_STAKE, some] = 2.0, 1.0
    some = slice(retail + carry, maker)
    a[at.KIND, some] = at.FUND
    a[at.FREE, some] = money * c.fund_money
    a[at.CHASE, some] = np.linspace(5.0, 50.0, c.funds)
    a[at.USUAL_STAKE, some] = 1.0
    a[at.CROSS, retail:] = 1.0
    for place, kind in ((maker, at.MAKER), (maker + 1, at.ARBITRAGE), (maker + 2, at.ENGINE)):
        a[at.KIND, place] = kind
        a[at.FREE, place] = 0.0 if kind == at.ENGINE else money * MAKERS_MONEY
    a[at.KIND, places.guests :] = at.GUEST
    a[at.SIZE] = a[at.FREE]
    a[at.STAKE] = a[at.USUAL_STAKE]
    a[at.PATIENCE] = np.maximum(a[at.PATIENCE] * 60.0 / minutes, 1.0)
    return a, places


def _shares(count: int, rng: np.random.Generator) -> Floats:
    raw = np.exp(INEQUALITY * rng.standard_normal(count))
    return np.asarray(raw / raw.sum()) if count else raw


def _retail(a: Floats, world: World, retail: int, fast: int, rng: np.random.Generator) -> None:
    c = world.crowd
    some = slice(0, retail)
    shares = np.exp(INEQUALITY * rng.standard_normal(retail))
    shares[:fast] *= 0.35  # those who look often have less
    a[at.KIND, some] = at.RETAIL
    a[at.FREE, some] = world.coin.money * (1.0 - c.carry_money) * shares / shares.sum()
    habit = np.concatenate((_draw(c.fast_leverage, fast, rng), _draw(c.leverage, retail - fast, rng)))
    a[at.LEVERAGE, some] = habit
    a[at.CROSS, some] = rng.random(retail) < c.cross_share
    # the more leverage, the less of their money they put behind one position
    a[at.USUAL_STAKE, some] = np.clip(rng.uniform(0.35, 1.0, retail) / np.maximum(1.0, habit / 8.0) ** 0.5, 0.05, 0.9)
    stops = rng.random(retail) < c.stop_share
    a[at.STOP_DISTANCE, some] = np.where(stops, rng.uniform(0.3, 0.9, retail) / habit, 0.0)
    a[at.CHASE, some] = 0.5 + rng.standard_normal(retail)
    patience = np.where(np.arange(retail) < fast, c.fast_patience_hours, c.slow_patience_hours)
    a[at.PATIENCE, some] = patience * np.exp(0.7 * rng.standard_normal(retail) - 0.245)
    if retail:
        limit = np.quantile(a[at.FREE, some], 1.0 - TOP_SHARE)
        a[at.TOP, some] = a[at.FREE, some] >= limit


def _draw(mixture: tuple[tuple[float, float], ...], count: int, rng: np.random.Generator) -> Floats:
    """Habits of leverage, spread around the round numbers a little."""
    levels, shares = np.array(mixture, dtype=np.float64).T
    drawn = rng.choice(levels, size=count, p=shares / math.fsum(shares))
    return np.asarray(np.maximum(1.0, drawn * np.exp(0.12 * rng.standard_normal(count))))
