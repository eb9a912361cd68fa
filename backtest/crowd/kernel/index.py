"""What moves the index from outside: volatility with two memories, jumps, news, the hours of the day.

One factor (the market's, or one coin's own). Each step:

1. Log volatility is the sum of a slow and a fast average of shocks, a burst left by news, and the season.
2. The return of a step is normal at that volatility, plus, at times, a jump of a few standard deviations.
3. News comes at random: a part of it is in the price within minutes, the rest sinks in slowly; it leaves a burst of
   volatility.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backtest.crowd.kernel.compile import jit
from backtest.crowd.kernel.layout import Floats

SLOW, FAST, BURST, NEWS_LEFT, NEWS_SLOW = range(5)
FACTOR_SLOTS = 5


class FactorRules(NamedTuple):
    """One factor; decays are parts kept a step."""

    sigma: float  # of a step, on average
    slow_keep: float
    slow_shock: float
    fast_keep: float
    fast_shock: float
    burst_keep: float
    burst: float
    jump_chance: float
    jump_size: float  # in standard deviations of its step
    news_chance: float
    news_size: float  # mean log size
    news_quick: float  # part of it that is quick
    news_keep: float  # of the quick part, what is left after a step
    news_slow_keep: float
    drift: float


@jit
def factor(state: Floats, season: Floats, rules: FactorRules, rng: np.random.Generator, out: Floats) -> None:
    """Fill `out` (n, 3): return, volatility and news of each step. `season`: log volatility added."""
    for i in range(len(out)):
        state[SLOW] = state[SLOW] * rules.slow_keep + rules.slow_shock * rng.standard_normal()
        state[FAST] = state[FAST] * rules.fast_keep + rules.fast_shock * rng.standard_normal()
        state[BURST] *= rules.burst_keep
        level = state[SLOW] + state[FAST] + state[BURST] + season[i]
        spread = 0.5 * (
            rules.slow_shock**2 / (1.0 - rules.slow_keep**2) + rules.fast_shock**2 / (1.0 - rules.fast_keep**2)
        )
        sigma = rules.sigma * np.exp(min(level - spread, 3.0))
        move = rules.drift + sigma * rng.standard_normal()
        if rng.random() < rules.jump_chance:
            move += sigma * rules.jump_size * rng.standard_normal()
        news = 0.0
        if rng.random() < rules.news_chance:
            news = rules.news_size * (0.4 + rng.standard_exponential() * 0.6)
            if rng.random() < 0.5:
                news = -news
            state[NEWS_LEFT] += rules.news_quick * news
            state[NEWS_SLOW] += (1.0 - rules.news_quick) * news
            state[BURST] = min(state[BURST] + rules.burst, 2.0)
        part = state[NEWS_LEFT] * (1.0 - rules.news_keep) + state[NEWS_SLOW] * (1.0 - rules.news_slow_keep)
        state[NEWS_LEFT] *= rules.news_keep
        state[NEWS_SLOW] *= rules.news_slow_keep
        out[i, 0], out[i, 1], out[i, 2] = move + part, sigma, news


@jit
def tide(value: float, keep: float, rng: np.random.Generator, out: Floats) -> float:
    """A slow wave of mean 0 and variance 1, one value a step; the last one."""
    shock = np.sqrt(1.0 - keep * keep)
    for i in range(len(out)):
        value = keep * value + shock * rng.standard_normal()
        out[i] = value
    return value
