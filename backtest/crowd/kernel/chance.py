"""Random numbers that depend on where they are used, not on what was drawn before: (key, step, account, number).

So one account more, or one order more, leaves all others' luck as it was, and a run in pieces is the same run. A chain
of 32-bit mixing steps like the finaliser of MurmurHash3, with multipliers below 2^31 so that nothing overflows.
"""

from __future__ import annotations

import math

from backtest.crowd.kernel.compile import jit

WORD = 0xFFFFFFFF
SCATTER, FIRST, SECOND = 0x2545F491, 0x5BD1E995, 0x27D4EB2D
TICK = 0x7FFF0000  # in place of an account: the market's own noise


@jit
def mixed(h: int) -> int:
    h ^= h >> 16
    h = (h * FIRST) & WORD
    h ^= h >> 13
    h = (h * SECOND) & WORD
    return h ^ (h >> 16)


@jit
def joined(h: int, word: int) -> int:
    """One more word into the chain."""
    return mixed(h ^ (((word & 0x7FFFFFFF) * SCATTER + 1) & WORD))


@jit
def uniform(key: int, step: int, account: int, number: int) -> float:
    """In (0, 1)."""
    h = joined(joined(joined(mixed(key), step), account), number)
    low = mixed(h ^ FIRST)
    return (h + (low + 0.5) / 4294967296.0) / 4294967296.0


@jit
def normal(key: int, step: int, account: int, number: int) -> float:
    """Box and Muller."""
    radius = math.sqrt(-2.0 * math.log(uniform(key, step, account, 2 * number)))
    return radius * math.cos(2.0 * math.pi * uniform(key, step, account, 2 * number + 1))
