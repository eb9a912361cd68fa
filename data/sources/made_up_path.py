"""The story that the made-up market tells, on a grid of ten seconds: crowds, unwinds and the prices they make.

Steps 1 and 2 of `data.sources.made_up`, and the small tools that both modules use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.clock import DAY, HOUR, MINUTE, SECOND, moment

START = moment("2024-03-01")

Array = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]

STEP = 10 * SECOND
PER_MINUTE = MINUTE // STEP


@dataclass(frozen=True)
class Coin:
    """What one made-up contract is like. `open_interest` is in quote, `volume` in quote a day."""

    base: str
    price: float
    tick: float
    lot: float
    open_interest: float
    volume: float
    beta: float
    volatility: float  # a year

    @property
    def symbol(self) -> str:
        return f"{self.base}/USDT:USDT"


COINS = (
    Coin("ALFA", 42_000.0, 0.1, 0.001, 1.8e9, 9.0e9, 1.0, 0.45),
    Coin("BRAVO", 2_300.0, 0.01, 0.01, 7.0e8, 4.0e9, 1.2, 0.60),
    Coin("CHARLIE", 95.0, 0.001, 0.1, 2.2e8, 1.1e9, 1.4, 0.85),
    Coin("DELTA", 0.62, 0.00001, 1.0, 9.0e7, 4.5e8, 1.3, 0.90),
    Coin("ECHO", 14.5, 0.0001, 0.1, 6.0e7, 3.0e8, 1.5, 1.00),
    Coin("FOXTROT", 0.081, 0.000001, 10.0, 4.0e7, 2.0e8, 1.6, 1.10),
)


@dataclass(frozen=True)
class Unwind:
    """A crowd of one side that builds up from `begins` and is thrown out from `at` to `ends`."""

    side: int  # +1: longs are crowded and get liquidated
    begins: int
    at: int
    ends: int
    recovered: int


@dataclass(frozen=True)
class Span:
    start: int
    days: int
    bar: int
    unwinds: tuple[Unwind, ...]

    @property
    def end(self) -> int:
        return self.start + self.days * DAY

    @property
    def steps(self) -> Times:
        return np.arange(self.start, self.end, STEP, dtype=np.int64)


@dataclass(frozen=True)
class Path:
    """One symbol on the grid of ten seconds."""

    crowd: Array  # -1 shorts .. +1 longs
    pulse: Array  # 0 calm .. 1 the middle of an unwind
    index: Array
    premium: Array
    trade: Array
    mark: Array


def unwinds(days: int) -> tuple[Unwind, ...]:
    """Two unwinds in a month: longs at 45 % of the span, shorts at 80 %; one, of longs, in less than ten days."""
    build = min(6 * DAY, days * DAY // 4)
    places = ((1, 0.45), (-1, 0.80)) if days >= 10 else ((1, 0.6),)
    found = []
    for side, share in places:
        at = START + int(days * share * DAY) // HOUR * HOUR + 37 * MINUTE
        found.append(Unwind(side, at - build, at, at + HOUR, at + HOUR + min(DAY, build)))
    return tuple(found)


def crowding(span: Span) -> tuple[Array, Array]:
    """How one-sided the market is, and the pulse in which that ends."""
    t = span.steps
    crowd, pulse = np.zeros(len(t)), np.zeros(len(t))
    for u in span.unwinds:
        build = np.clip((t - u.begins) / (u.at - u.begins), 0.0, 1.0) ** 1.5
        out = np.clip((t - u.at) / (u.ends - u.at), 0.0, 1.0)
        crowd += u.side * build * (1.0 - smooth(out))
        pulse += np.where((t >= u.at) & (t < u.ends), np.sin(np.pi * out) ** 2, 0.0)
    return crowd, pulse


def prices(coin: Coin, span: Span, common: Array, rng: np.random.Generator) -> Path:
    t = span.steps
    crowd, pulse = crowding(span)
    sigma = coin.volatility / np.sqrt(365 * DAY / STEP)
    hour = (t % DAY) / HOUR
    daily = 1.0 + 0.35 * np.sin((hour - 8.0) / 24.0 * 2.0 * np.pi)
    slow = np.exp(0.35 * remember(rng.standard_normal(len(t) // 360 + 1), 24))
    loud = daily * np.repeat(slow, 360)[: len(t)] * (1.0 + 4.0 * pulse)
    own = shocks(rng, len(t))
    free = forget(sigma * loud * (0.75 * coin.beta * common + 0.66 * own), 8 * DAY // STEP)
    story = sum((np.cumsum(moves_of(u, t, coin.beta, rng)) for u in span.unwinds), np.zeros(len(t)))
    index = coin.price * np.exp(free + story)
    noise = 0.00012 * remember(rng.standard_normal(len(t)), 90) + 0.00004 * rng.standard_normal(len(t))
    against = np.zeros(len(t))
    for u in span.unwinds:
        against += np.where((t >= u.at) & (t < u.ends), -u.side, 0)
    premium = 0.00004 + 0.0011 * crowd + 0.0075 * pulse * against + noise * (1.0 + 3.0 * pulse)
    smooth = mean_of_last(premium, 3 * PER_MINUTE)
    return Path(
        crowd=crowd,
        pulse=pulse,
        index=ticks(index, coin.tick / 10),
        premium=premium,
        trade=ticks(index * (1.0 + premium), coin.tick),
        mark=ticks(index * (1.0 + smooth), coin.tick / 10),
    )


def moves_of(u: Unwind, t: Times, beta: float, rng: np.random.Generator) -> Array:
    """Log moves of one unwind: the crowd's drift, the forced move in uneven steps, the part taken back."""
    build, forced, back = (t >= u.begins) & (t < u.at), (t >= u.at) & (t < u.ends), (t >= u.ends) & (t < u.recovered)
    x = (t[forced] - u.at) / (u.ends - u.at)
    uneven = np.sin(np.pi * x) ** 2 * rng.gamma(0.15, size=len(x))
    moves = np.zeros(len(t))
    moves[build] = u.side * 0.09 / max(1, build.sum())
    moves[forced] = -u.side * 0.13 * beta * uneven / uneven.sum()
    fade = np.exp(-4.0 * (t[back] - u.ends) / (u.recovered - u.ends))
    moves[back] = u.side * 0.05 * beta * fade / max(1e-12, fade.sum())
    return moves


# Small tools.


def shocks(rng: np.random.Generator, n: int) -> Array:
    """Fat-tailed shocks of variance one."""
    return np.asarray(rng.standard_t(5, n) / np.sqrt(5.0 / 3.0))


def forget(shocks: Array, memory: int) -> Array:
    """The sum of shocks, each forgotten exponentially: no price wanders off for good."""
    weights = np.exp(-np.arange(min(len(shocks), 6 * memory)) / memory)
    size = 1 << int(len(shocks) + len(weights)).bit_length()
    both = np.fft.rfft(shocks, size) * np.fft.rfft(weights, size)
    return np.asarray(np.fft.irfft(both, size)[: len(shocks)])


def remember(shocks: Array, memory: int) -> Array:
    """The same of shocks of variance one, with variance about one."""
    return forget(shocks, memory) * float(np.sqrt(1.0 - np.exp(-2.0 / memory)))


def mean_of_last(values: Array, n: int) -> Array:
    """Mean of the last `n` values, of fewer at the start."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    begin = np.maximum(0, end - n)
    return np.asarray((total[end] - total[begin]) / (end - begin))


def smooth(x: Array) -> Array:
    return np.asarray(x * x * (3.0 - 2.0 * x))


def ticks(values: Array, step: float) -> Array:
    """Rounded to steps, and to the decimals that the step has."""
    decimals = max(0, int(np.ceil(-np.log10(step))))
    return np.asarray(np.round(np.round(values / step) * step, decimals))
