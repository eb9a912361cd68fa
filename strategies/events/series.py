"""One symbol of a market as events see it: prices, open interest in coins, what was liquidated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import BadInput
from data.market import Market
from strategies.signals.edge import Array, Ints, frozen
from strategies.signals.inputs import Inputs

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Series:
    """`market` has one symbol or more; this is the one called `symbol`."""

    market: Market
    symbol: str

    def __getitem__(self, name: str) -> Array:
        array = np.asarray(getattr(self.market, name), dtype=np.float64)
        made: Array = frozen(array if array.ndim == 1 else array[:, self.market.symbols.index(self.symbol)])
        return made

    @cached_property
    def held(self) -> Array:
        """Open interest in coins (contracts if inverse); where only its value is known, that over the close."""
        found = Inputs(self.market, self.market.symbols.index(self.symbol))["open_interest"]
        made: Array = frozen(np.where(found > 0.0, found, np.nan))
        return made

    @cached_property
    def ends(self) -> Ints:
        return np.asarray(self.market.ts + self.market.interval)

    def __len__(self) -> int:
        return len(self.market)


def series_of(market: Market) -> Iterator[Series]:
    for symbol in market.symbols:
        yield Series(market, symbol)


def need(market: Market, what: str, *fields: tuple[str, ...]) -> None:
    """Refuses a market that holds none of the fields of one of these groups."""
    for group in fields:
        if not set(group) & set(market.held):
            raise BadInput(f"{what} needs {' or '.join(group)}, which this market does not hold: fetch it first")


def stamps(ns: Any) -> pd.DatetimeIndex:
    """Nanoseconds as naive UTC times."""
    import pandas as pd

    return pd.DatetimeIndex(np.asarray(ns, dtype=np.int64).view("datetime64[ns]"))


def nanoseconds(times: Any) -> Ints:
    """Times of a frame, whatever their unit; none is NaT, the smallest number."""
    return np.asarray(times, dtype="datetime64[ns]").view(np.int64)
