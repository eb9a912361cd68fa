"""What really happened at a made-up venue: any bar, settlement or snapshot of any contract, worked out from its number.

Every number is a whole number of small steps, so that its text and its float are exactly each other's. Nothing is
kept: the same question has the same answer in every process. A `hole` is a time of which the venue has nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
INTERVALS = {"1m": MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "1h": HOUR, "4h": 4 * HOUR, "1d": DAY}


@dataclass(frozen=True)
class Contract:
    base: str
    quote: str = "USDT"
    settle: str = "USDT"
    size: str = "1"  # base units, or dollars where it is inverse
    listed: int = 1_577_836_800_000  # 2020
    delisted: int = 0
    told_listed: int = 0  # the listing day that the venue names, where it is not the true one

    @property
    def symbol(self) -> str:
        return f"{self.base}/{self.quote}:{self.settle}"

    @property
    def inverse(self) -> bool:
        return self.settle == self.base


@dataclass
class Truth:
    """The history of one venue until `now` (milliseconds)."""

    now: int
    contracts: tuple[Contract, ...]
    funding_hours: int = 8
    changes_at: int = 0  # from here on settlements come twice as often
    jitter: bool = False  # settlements are stamped some milliseconds late
    holes: Mapping[tuple[str, str], tuple[tuple[int, int], ...]] = field(default_factory=dict)

    def contract(self, symbol: str) -> Contract:
        return next(c for c in self.contracts if c.symbol == symbol)

    # ---- times -----------------------------------------------------------------------------------

    def grid(self, c: Contract, feed: str, step: int, first: int, last: int) -> Any:
        """Stamps from `first` to `last`, both included, at which there is something: up to now, the open bar too."""
        start = -(-max(first, c.listed) // step)
        stop = min(last, self.now, c.delisted - 1 if c.delisted else last) // step
        stamps = np.arange(start, stop + 1, dtype=np.int64) * step
        for a, z in self.holes.get((c.symbol, feed), ()):
            stamps = stamps[(stamps < a) | (stamps >= z)]
        return stamps

    def settlements(self, c: Contract, first: int, last: int) -> tuple[Any, Any]:
        """Hours of settlement, and hours since the one before, of those up to now."""
        step = self.funding_hours * HOUR
        change = self.changes_at or (1 << 50)
        slow = self.grid(c, "funding", step, first, min(last, change))
        fast = self.grid(c, "funding", step // 2, max(first, change + 1), last)
        hours = [np.full(len(slow), self.funding_hours), np.full(len(fast), self.funding_hours // 2)]
        return np.concatenate([slow, fast]), np.concatenate(hours).astype(float)

    def late(self, c: Contract, stamps: Any) -> Any:
        """Milliseconds after the hour that a settlement is stamped."""
        return _noise(c, "late", 0, stamps) % 15 if self.jitter else np.zeros_like(stamps)

    # ---- numbers: whole steps --------------------------------------------------------------------

    def bars(self, c: Contract, price: str, step: int, stamps: Any) -> dict[str, Any]:
        """Prices in tenths (premium: in 1e-8), volumes in thousandths."""

        def at(shift: int) -> Any:
            return 250_000 + _noise(c, price, step, stamps + shift * step) % 20_000

        opened, closed = at(0), at(1)
        up, down = (_noise(c, price + name, step, stamps) % 300 for name in ("up", "down"))
        low, high = np.minimum(opened, closed) - down, np.maximum(opened, closed) + up
        if price == "premium":
            opened, closed, low, high = (x - 260_000 for x in (opened, closed, low, high))
        volume, quote = (_noise(c, name, step, stamps) % 5_000_000 for name in ("volume", "quote"))
        return {
            "open": opened,
            "high": high,
            "low": low,
            "close": closed,
            "volume": volume,
            "quote": quote,
            "trades": _noise(c, "trades", step, stamps) % 900,
            "taker": volume // 3,
            "taker_quote": quote // 4,
        }

    def rates(self, c: Contract, stamps: Any) -> dict[str, Any]:
        """Rates in 1e-8, mark prices in tenths."""
        rate = _noise(c, "rate", 0, stamps) % 200_000 - 80_000
        return {"rate": rate, "mark": 250_000 + _noise(c, "paid", 0, stamps) % 20_000}

    def snapshot(self, c: Contract, name: str, step: int, stamps: Any) -> Any:
        """A number of thousandths, above zero."""
        return 1 + _noise(c, name, step, stamps) % 90_000_000


def _noise(c: Contract, name: str, step: int, stamps: Any) -> Any:
    """Whole numbers without pattern, from the contract, the name and the time (splitmix64)."""
    seed = zlib.crc32(f"{c.symbol} {name} {step}".encode()) * 0xD1B54A32D192ED03 % (1 << 64)
    x = np.asarray(stamps).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(2)).astype(np.int64)


def texts(steps: Any, places: int) -> list[str]:
    """Whole steps as decimal text: 2501 with 1 place is 250.1."""
    unit = 10**places
    return [f"{'-' if s < 0 else ''}{abs(s) // unit}.{abs(s) % unit:0{places}d}" for s in np.asarray(steps).tolist()]
