"""The account that trades: what it starts with, how it is margined, what it does when an order does not fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from backtest.given import is_number, is_whole
from data.errors import BadInput, did_you_mean

Mode = Literal["isolated", "cross"]
Shortfall = Literal["reject", "reduce"]
Path = Literal["joint", "worst", "close"]

MODES = ("isolated", "cross")
SHORTFALLS = ("reject", "reduce")
PATHS = ("joint", "worst", "close")
LONGEST_DELAY = 10_000  # bars: each may hold an order that waits


@dataclass(frozen=True)
class Account:
    """Equity is in the settlement currency of the run (coin for inverse contracts).

    leverage        margin of a new position = notional / leverage; None: max(1, |target|)
    mode            of every symbol, or one for each: {"BTC/USDT:USDT": "cross", ...}
    shortfall       an order that asks for more than the account can carry at that leverage: "reject" or "reduce"
    path            how several cross legs move inside a bar; see docs/engine.md
    pairs           legs that trade together or not at all: (("BTC/USDT", "BTC/USDT:USDT"), ...)
    collateral_weight   part of spot value that counts as margin
    cash_rate       what idle cash earns a year
    participation   the most of a bar's volume that a symbol's orders may fill; None: no cap
    delay           bars between a decision and its order, beyond the next open
    """

    equity: float = 10_000.0
    mode: Mode | Mapping[str, Mode] = "isolated"
    leverage: float | None = None
    shortfall: Shortfall = "reject"
    path: Path = "joint"
    pairs: tuple[tuple[str, str], ...] = field(default=())
    collateral_weight: float = 0.0
    cash_rate: float = 0.0
    participation: float | None = None
    delay: int = 0

    def __post_init__(self) -> None:
        _above("equity", self.equity, 0.0)
        if self.leverage is not None:
            _above("leverage", self.leverage, 0.0)
        modes = self.mode.values() if isinstance(self.mode, Mapping) else (self.mode,)
        for mode in modes:
            _one_of("mode", mode, MODES)
        _one_of("shortfall", self.shortfall, SHORTFALLS)
        _one_of("path", self.path, PATHS)
        if not is_number(self.collateral_weight) or not 0.0 <= self.collateral_weight <= 1.0:
            raise BadInput(f"collateral_weight={self.collateral_weight!r}: write a fraction from 0 to 1")
        if not is_number(self.cash_rate) or not -1.0 < self.cash_rate < 10.0:
            raise BadInput(f"cash_rate={self.cash_rate!r}: write what idle cash earns a year, such as 0.04")
        share = self.participation
        if share is not None and (not is_number(share) or not 0.0 < share <= 1.0):
            raise BadInput(f"participation={self.participation!r}: write a fraction of volume above 0, at most 1")
        if not is_whole(self.delay) or not 0 <= self.delay <= LONGEST_DELAY:
            raise BadInput(f"delay={self.delay!r}: write a whole number of bars, from 0 to {LONGEST_DELAY:,}")
        if not isinstance(self.pairs, list | tuple) or not all(_is_pair(pair) for pair in self.pairs):
            raise BadInput(f'pairs={self.pairs!r}: write a tuple of pairs, such as (("BTC/USDT", "BTC/USDT:USDT"),)')


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(name, str) for name in pair)


def _above(name: str, value: float, low: float) -> None:
    if not is_number(value) or not (math.isfinite(value) and value > low):
        raise BadInput(f"{name}={value!r}: write a number above {low:g}")


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BadInput(f"{name}={value!r}: {did_you_mean(str(value), choices)}")
