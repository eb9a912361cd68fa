"""What signals ask of a market: its fields, and a few things made from them once and shared.

    open ... depth       the fields of `data.market`, as strategies may see them
    settled, ends        settlements of the symbol, closes of the bars (`strategies.signals.funding`)
    near_long ...        the liquidation map at each close (`strategies.signals.fragility`)
    traded_coins         volume; of an inverse contract, whose volume counts contracts, quote volume over the price

Where open interest is known in coins only, or in money only, the other is made with the close; where quote volume is
not known, it is made with the mean of high, low and close. That is done bar by bar: what a symbol's feed began to tell
later is no reason to forget what was known before. `fields_of` and `table_of` say what each input needs of a market,
and where that comes from.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from data.market import FIELDS
from strategies.signals.edge import Array, Ints, frozen
from strategies.signals.fragility import DISTANCES, Near, is_inverse, ladder_of
from strategies.signals.funding import Settled, ends_of, settled_of

if TYPE_CHECKING:
    from data.market import Market

NEAR = ("near_long", "near_short", *(f"near_{side}_{d:.0%}" for side in ("long", "short") for d in DISTANCES))
LADDER = (*NEAR, "met_long", "met_short")
PRICES = ("high", "low", "close")

STAND_INS = {  # field -> what it can be made of where it is not known
    "open_interest": ("open_interest_value", "close"),
    "open_interest_value": ("open_interest", "close"),
    "quote_volume": ("volume", *PRICES),
}

TABLES = {  # field -> the table that it is made of, as `unwind fetch` and `unwind import` call it
    **dict.fromkeys(("funding_8h", "settled"), "funding"),
    **dict.fromkeys(("open_interest", "open_interest_value"), "open_interest"),
    **dict.fromkeys(("liq_long", "liq_short"), "liquidations"),
    **dict.fromkeys(("ratio_accounts", "ratio_top_accounts", "ratio_top_positions", "taker_ratio"), "ratios"),
    **dict.fromkeys(("bid_depth_1pct", "ask_depth_1pct"), "depth"),
}


def fields_of(name: str) -> tuple[str, ...]:
    """The fields that an input is made of. The map wants prices and open interest in coins or in money."""
    if name in LADDER:
        return (*PRICES, "open_interest")
    return {"settled": ("funding_8h",), "ends": (), "traded_coins": ("volume",)}.get(name, (name,))


def table_of(field: str) -> str:
    """Where a field comes from, in words for a message."""
    if field in ("index", "premium"):
        return f"candles (price {field})"
    return TABLES.get(field, "candles")


def series(market: Market, name: str) -> Array:
    """One input of every symbol, (n,) or (n, k), with what stands in for it: open interest in coins, say."""
    view = market.features_view()
    columns = [Inputs(view, j)[name] for j in range(len(view.symbols))]
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)


class Inputs:
    """The inputs of one symbol of a market."""

    def __init__(self, view: Market, symbol: int) -> None:
        """`view`: what `features_view` returns."""
        self.market, self.symbol = view, symbol

    def __getitem__(self, name: str) -> Any:
        if name in STAND_INS:
            return self._filled(name)
        if name == "traded_coins":
            return self._traded_coins()
        if name in FIELDS:
            return self._field(name)
        if name in LADDER:
            return self._near(name)
        return self.settled if name == "settled" else self.ends

    @cached_property
    def settled(self) -> Settled:
        return settled_of(self.market, self.symbol)

    @cached_property
    def ends(self) -> Ints:
        return ends_of(self.market)

    @cached_property
    def ladder(self) -> Near:
        return ladder_of(self.market, self.market.symbols[self.symbol])

    def _field(self, name: str) -> Array:
        array = np.asarray(getattr(self.market, name))
        made: Array = array if array.ndim == 1 else frozen(array[:, self.symbol])
        return made

    def _filled(self, name: str) -> Array:
        """The field, and in bars without it what stands in."""
        array = self._field(name)
        dark = np.isnan(array)
        if not (dark.any() and set(STAND_INS[name]) <= set(self.market.held)):
            return array
        made: Array = frozen(np.where(dark, self._stand_in(name), array))
        return made

    def _traded_coins(self) -> Array:
        if not is_inverse(self.market.symbols[self.symbol]):
            return self._field("volume")
        with np.errstate(all="ignore"):
            coins: Array = self["quote_volume"] / self._typical()
            return coins

    def _typical(self) -> Array:
        total: Array = sum((self._field(price) for price in PRICES[1:]), self._field(PRICES[0]))
        return total / len(PRICES)

    def _stand_in(self, name: str) -> Array:
        """In coins or in money. An inverse contract is so many dollars whatever its price."""
        symbol = self.market.symbols[self.symbol]
        source = self._field(STAND_INS[name][0])
        with np.errstate(all="ignore"):
            if is_inverse(symbol):
                size = float(self.market.instrument(symbol).get("contract_size") or np.nan)
                return source / size if name == "open_interest" else source * size
            if name == "quote_volume":
                return source * self._typical()
            close = self._field("close")
            return source / close if name == "open_interest" else source * close

    def _near(self, name: str) -> Array:
        if name.startswith("met"):
            return self.ladder.met_longs if name == "met_long" else self.ladder.met_shorts
        _, side, *distance = name.split("_")
        both = self.ladder.longs if side == "long" else self.ladder.shorts
        return both[:, [f"{d:.0%}" for d in DISTANCES].index(distance[0])] if distance else both
