"""Delta-neutral carry: hold the coin, be short its perpetual, and be paid the funding.

market = hedged(store.market("BTC/USDT:USDT", "1h"))        # adds BTC/USDT, at the index, where no spot is stored
simulate(market, Carry(), account=account_for(market))
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from backtest.account import Account
from backtest.strategy import HOLD, Ranges, Strategy
from data import clock
from data.errors import BadInput
from strategies.building import Array, bars_of, by_symbol, latched, plus
from strategies.signals import compute
from strategies.signals.rolling import rolling_max

if TYPE_CHECKING:
    from data.market import Market

DAYS_A_YEAR = 365.0
GAP = "1d"  # of one leg, after which the other may be left alone


class Carry(Strategy):
    """Long the coin, short its perpetual, while the funding of the last days pays for it.

    Thesis: traders who want leverage pay for it, and mostly they are long. Who holds the coin and is short the
    perpetual has no opinion on the price and earns what they pay.

    What is known: it paid 6 to 15 % a year on BTC in most years to 2025, -3 % in 2022 and nothing in 2026; the
    Sharpe ratios of 6 and more that are published leave out the failure of the venue. The danger is the short leg: at
    10x the position would have been liquidated in more than half of all months. So both legs are `size` of the
    account, the rest is margin, and both are brought back when the price has moved them too far. They hold as many
    coins as each other, and are traded in bars that hold both; a gap that begins after the decision leaves the order of
    one leg waiting.

    Enters above `entry` a year, leaves below `exit`, both of the mean of the last `window`. A market needs both legs of
    a coin (BTC/USDT and BTC/USDT:USDT): `hedged` adds the first. Run it with `account_for(market)`.
    """

    window: str = "7d"
    entry: float = 0.10  # a year
    exit: float = 0.03
    patience: str = "30d"  # after which a carry that never came back above the entry is left
    size: float = 0.5  # of the account, each leg, over all coins
    band: float = 0.25  # part of the size by which a leg may be off before it is adjusted

    needs: ClassVar[tuple[str, ...]] = ("funding_8h",)
    ranges: ClassVar[Ranges] = {
        "window": ("3d", "7d", "14d"),
        "entry": (0.05, 0.1, 0.2),
        "exit": (0.0, 0.03, 0.05),
        "patience": ("14d", "30d", "60d"),
        "size": (0.3, 0.5, 0.7),
        "band": (0.1, 0.25, 0.5),
    }

    @property
    def warmup(self) -> str:
        return plus(self.window, self.patience, "8h")

    @property
    def max_exposure(self) -> float:
        return 2.0 * abs(self.size)

    def features(self, market: Market) -> dict[str, Any]:
        legs = legs_of(market)
        paid = by_symbol(market, compute("cumulative_funding", market, hours=self.window))
        a_year = paid * (DAYS_A_YEAR / (market.bars(self.window) * market.interval / 86_400e9))
        with np.errstate(invalid="ignore"):
            on = latched(a_year >= self.entry, a_year < self.exit, market.bars(self.patience))
        own = _own_price(market)
        leg, held, both, unit = (np.zeros(paid.shape) for _ in range(4))
        price = np.ones(paid.shape)
        for spot, perp in legs:
            pair = [spot, perp]
            leg[:, spot], leg[:, perp] = 1.0 / len(legs), -1.0 / len(legs)
            trading, there = market.ts < _last_trade(market, pair), np.isfinite(own[:, spot] + own[:, perp])
            held[:, pair] = (on[:, perp] & trading)[:, None]
            lately = rolling_max(np.where(there, 1.0, 0.0), bars_of(market, GAP)) > 0.0
            both[:, pair] = np.where(there, 1.0, np.where(lately & trading, 0.0, -1.0))[:, None]
            price[:, pair] = np.where(there[:, None], own[:, pair].mean(axis=1, keepdims=True), 1.0)
            unit[:, pair] = max(_lot(market, j) for j in pair)
        relative = np.where(both > 0.0, own / price, 1.0)
        return {"leg": leg, "held": held, "both": both, "relative": relative, "price": price, "unit": unit}

    @staticmethod
    def decide(
        position: float, equity: float, leg: float, held: float, both: float, relative: float, price: float,
        unit: float, size: float, band: float,
    ) -> float:  # fmt: skip
        wanted = leg * held * size
        if both == 0.0 or (both < 0.0 and wanted != 0.0):  # half a hedge is none: the other leg does not trade now
            return HOLD
        if wanted == 0.0 or not equity > 0.0:
            return 0.0 if position != 0.0 else HOLD
        if abs(position / relative - wanted) <= band * abs(wanted):
            return HOLD
        if unit > 0.0:  # as many coins in one leg as in the other
            coins = math.floor(abs(wanted) * equity / price / unit + 1e-6) * unit
            wanted = math.copysign(coins * price / equity, wanted)
        return wanted * relative if wanted != 0.0 or position != 0.0 else HOLD


def _own_price(market: Market) -> Array:
    """What each leg is valued at: its mark, or its close; NaN in a bar that is not there."""
    close, mark = by_symbol(market, market.close), by_symbol(market, market.mark_close)
    present = by_symbol(market, market.present).astype(bool)
    return np.where(present, np.where(np.isnan(mark), close, mark), np.nan)


def _last_trade(market: Market, pair: list[int]) -> float:
    """When the first of the legs stops trading for good."""
    found = [market.instrument(market.symbols[j]).get("delisted") for j in pair]
    return min((clock.moment(when) for when in found if when is not None and when == when), default=math.inf)


def _lot(market: Market, column: int) -> float:
    lot = market.instrument(market.symbols[column]).get("lot_size")
    return float(lot) if lot is not None and lot == lot else 0.0


def legs_of(market: Market) -> list[tuple[int, int]]:
    """Columns of the coin and of its perpetual, for each coin that has both."""
    place = {symbol: j for j, symbol in enumerate(market.symbols)}
    found = [(place[s], j) for symbol, j in place.items() if (s := _coin(symbol)) != symbol and s in place]
    if not found:
        perp = next((s for s in market.symbols if _coin(s) != s), None)
        if perp is None:
            coin = market.symbols[0].partition(":")[0]
            perp = f"{coin}:{coin.partition('/')[2] or 'USDT'}"
        raise BadInput(
            f"Carry needs a coin and its perpetual, such as {_coin(perp)} and {perp}: bring in candles of "
            "both, or take strategies.carry.hedged(market)"
        )
    return sorted(found, key=lambda pair: market.symbols[pair[1]])


def _coin(perpetual: str) -> str:
    """BTC/USDT of BTC/USDT:USDT; a dated future, which pays no funding, is left as it is."""
    coin, _, settle = perpetual.partition(":")
    return perpetual if not settle or "-" in settle else coin


def account_for(market: Market, equity: float = 10_000.0, leverage: float = 3.0) -> Account:
    """One collateral for both legs, which trade together or not at all."""
    pairs = tuple((market.symbols[spot], market.symbols[perp]) for spot, perp in legs_of(market))
    return Account(equity=equity, mode="cross", leverage=leverage, pairs=pairs)


def hedged(market: Market, price: str = "index") -> Market:
    """The market of perpetuals with a spot leg for each, whose candles are made of `price`.

    "index": the index at the close of each bar and of the one before; "mark": the mark's own bars; "trade": those of
    the perpetual itself, which leaves no basis at all. The leg has the perpetual's volume and depth, for its costs.
    """
    from data.market import Market as Made
    from strategies.parts import symbol_data, with_candles

    data = {}
    for symbol in market.symbols:
        base = _coin(symbol)
        if base == symbol:
            raise BadInput(f"{symbol} is no perpetual: hedged() adds the coin to markets of perpetuals")
        data[symbol] = symbol_data(market, symbol)
        data[base] = with_candles(market, symbol, price)
    return Made.build(market.venue, data, market.interval, market.start, market.end)
