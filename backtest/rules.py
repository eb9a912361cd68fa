"""Rules of real venues that the loops do not need: one small function each, plain Python, numbers in and numbers out.

    funding       rates, caps, payments, who pays a settlement
    mark price    from index, funding and basis
    margin        Bybit's position margins and liquidation prices, Deribit's growing rates, hedge mode, dYdX
    deleveraging  triggers, ranking, who is closed
    insurance     what the fund gets or pays
    sides         which position a venue's liquidation message is about

`side` is 1 for long and -1 for short; `size` is signed. What the loops do need is in `backtest.margin`. Sources are in
docs/venues.md; `unwind verify` checks these functions against published examples.
"""

from __future__ import annotations

import datetime as dt
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


def clamp(value: float, low: float, high: float) -> float:
    """The value, or the bound that it is beyond."""
    return min(max(value, low), high)


# --- funding --------------------------------------------------------------------------------------------------------

INTEREST = 0.0001  # of 8 hours: Binance, Bybit, Hyperliquid
DAMPER = 0.0005
BINANCE_SCALED_SINCE = dt.date(2025, 9, 18)  # from here on the rate of a shorter interval is its part of 8 hours


def premium_index(impact_bid: float | None, impact_ask: float | None, index: float) -> float:
    """How far the impact prices stand off the index; a side that is not given does not count."""
    above = max(0.0, impact_bid - index) if impact_bid is not None else 0.0
    below = max(0.0, index - impact_ask) if impact_ask is not None else 0.0
    return (above - below) / index


def average_premium(samples: Sequence[float], rising_weights: bool = True) -> float:
    """Binance and Bybit weigh the k-th sample k times; hourly contracts and others weigh all alike."""
    weights = range(1, len(samples) + 1) if rising_weights else [1] * len(samples)
    return sum(w * p for w, p in zip(weights, samples, strict=True)) / sum(weights)


def damped(premium: float, interest: float = INTEREST, damper: float = DAMPER) -> float:
    """The interest as long as the premium is within `damper` of it, else the premium brought nearer by `damper`."""
    return premium + clamp(interest - premium, -damper, damper)


def binance_funding_rate(
    premium: float,
    interest: float = INTEREST,
    damper: float = DAMPER,
    interval_hours: float = 8.0,
    low: float = -math.inf,
    high: float = math.inf,
    as_of: dt.date | None = None,
) -> float:
    """The rate of one settlement."""
    rate = damped(premium, interest, damper)
    if as_of is None or as_of >= BINANCE_SCALED_SINCE:
        rate /= 8.0 / interval_hours
    return clamp(rate, low, high)


def binance_funding_cap(mmr: float, multiple: float = 0.75) -> float:
    """Of contracts without a cap of their own: a multiple of the maintenance rate of the lowest bracket."""
    return multiple * mmr


def bybit_funding_rate(
    premium: float,
    interest: float | None = None,
    damper: float = DAMPER,
    interval_hours: float = 8.0,
    low: float = -math.inf,
    high: float = math.inf,
) -> float:
    """The interest, unless given, is the interval's part of 0.01 % in 8 hours."""
    own = INTEREST * interval_hours / 8.0 if interest is None else interest
    return clamp(damped(premium, own, damper), low, high)


def okx_funding_rate(premium: float, interest: float = 0.0, low: float = -math.inf, high: float = math.inf) -> float:
    """The average of premium less interest, without a damper (the formula of 2024)."""
    return clamp(premium - interest, low, high)


HYPERLIQUID_HOURLY_CAP = 0.04


def hyperliquid_funding_rate_8h(premium: float, interest: float = INTEREST, damper: float = DAMPER) -> float:
    """An eighth of it is paid every hour, at most 4 %."""
    return clamp(damped(premium, interest, damper), -8.0 * HYPERLIQUID_HOURLY_CAP, 8.0 * HYPERLIQUID_HOURLY_CAP)


def hip3_premium(impact_bid: float, impact_ask: float, oracle: float) -> float:
    """The premium of builder-deployed contracts on Hyperliquid: of the mid of the impact prices."""
    return 0.5 * (impact_bid + impact_ask) / oracle - 1.0


def dydx_funding_rate(premium: float, interest: float = 0.0) -> float:
    """Of one hour."""
    return premium / 8.0 + interest


def dydx_funding_cap_8h(imf: float, mmf: float) -> float:
    """The most of eight hours: six times what initial margin has above maintenance."""
    return 6.0 * (imf - mmf)


def deribit_funding_rate_8h(premium: float, damper: float = 0.00025, cap: float = math.inf) -> float:
    """Nothing inside the damper, the premium less the damper outside."""
    return clamp(max(damper, premium) + min(-damper, premium), -cap, cap)


def bitmex_interest(quote_per_day: float, base_per_day: float) -> float:
    """Of one of three intervals a day."""
    return (quote_per_day - base_per_day) / 3.0


def bitmex_funding_rate(
    premium: float, interest: float, initial: float | None = None, maintenance: float | None = None
) -> float:
    """At most three quarters of what initial margin has above maintenance."""
    rate = damped(premium, interest)
    if initial is None or maintenance is None:
        return rate
    cap = 0.75 * (initial - maintenance)
    return clamp(rate, -cap, cap)


def funding_paid(value: float, rate: float, side: int) -> float:
    """By the position: longs pay where the rate is positive."""
    return side * value * rate


def pays(opened: dt.datetime, closed: dt.datetime, settled: dt.datetime, grace_seconds: float = 0.0) -> bool:
    """Whether a position is charged: one closed at the very moment is, and one opened less than the grace after it."""
    late = (opened - settled).total_seconds()
    return settled <= closed and (late <= 0.0 or late < grace_seconds)


# --- mark price and impact notional ---------------------------------------------------------------------------------


def price_from_funding(index: float, rate: float, hours_to_funding: float, interval_hours: float = 8.0) -> float:
    """Price 1 of Binance and Bybit, the fair price of BitMEX: the index and what is left of the funding."""
    return index * (1.0 + rate * hours_to_funding / interval_hours)


def price_from_basis(index: float, average_basis: float) -> float:
    """Price 2 of Binance and Bybit, the mark of OKX."""
    return index + average_basis


def median_price(*prices: float) -> float:
    """The mark of Binance, Bybit and Hyperliquid: the middle of three."""
    return statistics.median(prices)


def bybit_blended_mark(price: float, index: float, gap: float, largest_gap: float) -> float:
    """The mark of selected contracts: more of the price the wider it stands off the index."""
    weight = clamp(gap / largest_gap, 0.3, 0.7)
    return price * weight + index * (1.0 - weight)


BINANCE_IMPACT_MARGIN = 200.0
DYDX_IMPACT_MARGIN = 500.0
HYPERLIQUID_IMPACT = {"BTC": 20_000.0, "ETH": 20_000.0}
HYPERLIQUID_IMPACT_OTHERS = 6_000.0


def impact_notional(margin: float, initial_rate: float) -> float:
    """What `margin` can trade at the highest leverage: 200 USDT on Binance, 500 USDC on dYdX."""
    return margin / initial_rate


# --- margin: Bybit --------------------------------------------------------------------------------------------------

# Snapshots of positions have entry values until 2025-04 and mark values from 2025-11-08; the day between is not known.
BYBIT_MARK_VALUES_SINCE = dt.date(2025, 11, 1)


def bybit_uses_mark(as_of: dt.date | None) -> bool:
    """Whether position value, and with it both margins, is at the mark rather than at the entry price."""
    return as_of is None or as_of >= BYBIT_MARK_VALUES_SINCE


def bust_price(entry: float, leverage: float, side: int, inverse: bool) -> float:
    """Where the initial margin of a position is gone."""
    if inverse:
        return entry * leverage / (leverage + side) if leverage + side > 0 else math.inf
    return entry * (1.0 - side / leverage)


@dataclass(frozen=True)
class PositionMargin:
    """Initial and maintenance margin of a position, and the fee to close that is inside both."""

    initial: float
    maintenance: float
    fee_to_close: float


def bybit_position_margin(
    quantity: float,
    entry: float,
    value: float,
    leverage: float,
    side: int,
    mmr: float,
    deduction: float = 0.0,
    taker_fee: float = 0.0,
    inverse: bool = False,
) -> PositionMargin:
    """Both margins hold the fee that closing at the bust price would cost. `value` is at entry or mark, by vintage."""
    bust = bust_price(entry, leverage, side, inverse)
    fee = taker_fee * (quantity / bust if inverse else quantity * bust)
    return PositionMargin(value / leverage + fee, value * mmr - deduction + fee, fee)


def bybit_liquidation_price_2024(
    quantity: float, entry: float, margin: float, maintenance: float, side: int, inverse: bool
) -> float:
    """Maintenance stays what it was at entry; fees are left out. `margin` holds what was added to it."""
    room = margin - maintenance
    if inverse:
        denominator = quantity / entry + side * room
        return quantity / denominator if denominator > 0.0 else math.inf
    return max(0.0, entry - side * room / quantity)


def bybit_added_margin(added: float, side: int, taker_fee: float, inverse: bool) -> float:
    """What added margin counts for since 2025: it must pay the fee of closing further away too."""
    going_down = side if not inverse else -side
    return added / (1.0 - going_down * taker_fee)


@dataclass(frozen=True)
class CrossLevels:
    """Where the whole balance is gone, and where a position on it is liquidated."""

    bankruptcy: float
    liquidation: float


def bybit_inverse_cross_2020(
    quantity: float, entry: float, balance: float, side: int, mmr: float, taker_fee: float, order_margin: float = 0.0
) -> CrossLevels:
    """Bankruptcy and liquidation price of an inverse position on the whole balance, before unified accounts."""
    free = balance - order_margin
    bankruptcy = (1.0 + side * taker_fee) * quantity / (quantity / entry + side * free)
    room = free - quantity / entry * mmr - quantity * taker_fee / bankruptcy
    return CrossLevels(bankruptcy, quantity / (quantity / entry + side * room))


# --- margin: others -------------------------------------------------------------------------------------------------


def deribit_margin(size: float, base: float, slope: float, price: float = 1.0) -> float:
    """Initial or maintenance margin: the rate grows with size in coins. In coin, or at a price in its money."""
    return abs(size) * (base + abs(size) * slope) * price


def hyperliquid_mmr(max_leverage: float) -> float:
    """Half the initial margin at the highest leverage."""
    return 1.0 / (2.0 * max_leverage)


@dataclass(frozen=True)
class HedgeLeg:
    """One side of a symbol in hedge mode. `quantity` is positive; of inverse contracts, in quote currency."""

    side: int
    quantity: float
    entry: float
    mmr: float
    maint_amount: float = 0.0


def hedge_liquidation_price(balance: float, legs: Sequence[HedgeLeg], inverse: bool = False) -> float | None:
    """Binance, cross: long and short of one symbol share one price. None where there is no such price.

    `balance` is the wallet with the unrealised profit and less the maintenance of all other symbols.
    """
    known = balance + sum(leg.maint_amount for leg in legs)
    rates = sum(leg.quantity * leg.mmr for leg in legs)
    net = sum(leg.side * leg.quantity for leg in legs)
    if inverse:
        size = known + sum(leg.side * leg.quantity / leg.entry for leg in legs)
        price = (rates + net) / size if size else math.nan
    else:
        slope = rates - net
        price = (known - sum(leg.side * leg.quantity * leg.entry for leg in legs)) / slope if slope else math.nan
    return price if price > 0.0 else None


@dataclass(frozen=True)
class DydxPosition:
    """One position of a dYdX subaccount, at the oracle price."""

    size: float
    oracle: float
    mmf: float

    @property
    def notional(self) -> float:
        return self.size * self.oracle

    @property
    def maintenance(self) -> float:
        return abs(self.notional) * self.mmf


@dataclass(frozen=True)
class DydxAccount:
    """A subaccount; positions[0] is the one in question."""

    quote_balance: float
    positions: tuple[DydxPosition, ...]

    @property
    def equity(self) -> float:
        return self.quote_balance + sum(p.notional for p in self.positions)

    @property
    def maintenance(self) -> float:
        return sum(p.maintenance for p in self.positions)

    def bankruptcy_quote(self, delta: float) -> float:
        """Quote that closing `delta` of the position must bring (positive) or may cost (negative)."""
        first = self.positions[0]
        freed = abs(first.maintenance - abs((first.size + delta) * first.oracle) * first.mmf)
        return -delta * first.oracle - self.equity * freed / self.maintenance

    def fillable_price(self, bankruptcy_adjustment: float = 1.0, spread_to_mmr: float = 1.5) -> float:
        """Limit price of the liquidation order: the deeper under maintenance, the further from the oracle."""
        first = self.positions[0]
        depth = clamp(bankruptcy_adjustment * (1.0 - self.equity / self.maintenance), 0.0, 1.0)
        return (first.notional - depth * spread_to_mmr * first.maintenance) / first.size


def dydx_imf(base: float, open_notional: float, lower_cap: float, upper_cap: float) -> float:
    """The initial margin fraction grows with open interest, up to 1."""
    grown = (open_notional - lower_cap) / (upper_cap - lower_cap) * (1.0 - base)
    return min(1.0, base + max(0.0, grown))


# --- deleveraging ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """Somebody in the deleveraging queue."""

    account: str
    quantity: float
    score: float


def adl_queue(quantity: float, candidates: Iterable[Candidate]) -> dict[str, float]:
    """Who is closed by how much: highest score first, until the liquidated quantity is met."""
    closed: dict[str, float] = {}
    left = abs(quantity)
    for one in sorted(candidates, key=lambda c: -c.score):
        taken = min(left, abs(one.quantity))
        if taken <= 0.0:
            break
        closed[one.account] = taken
        left -= taken
    return closed


def bitmex_adl_score(mark_value: float, entry_value: float, bankrupt_value: float) -> float:
    """Values are signed like profit: of a long inverse position they are negative."""
    profit = (mark_value - entry_value) / abs(entry_value)
    leverage = abs(mark_value) / (mark_value - bankrupt_value)
    return leveraged(profit, leverage)


def leveraged(profit: float, leverage: float) -> float:
    """BitMEX, OKX: leverage moves winners up and losers down the queue."""
    return profit * leverage if profit > 0.0 else profit / leverage


def binance_adl_score(unrealized: float, wallet: float, maintenance: float) -> float:
    """Profit over the wallet, times the margin ratio of the account."""
    profit = max(0.0, unrealized) / max(1.0, wallet)
    balance = wallet + unrealized
    return profit * (maintenance / balance if balance > 0.0 else 0.0)


def hyperliquid_adl_score(mark: float, entry: float, notional: float, account_value: float, side: int = 1) -> float:
    """The docs print the form of longs; that of shorts, the price ratio turned over, is our reading."""
    return (mark / entry) ** side * (notional / account_value)


def okx_adl_threshold(average_reserve: float) -> float:
    """Deleveraging begins where the fund falls below: its 8-hour average less 30 %, at least 50,000 USD."""
    return average_reserve - max(0.3 * average_reserve, 50_000.0)


def bybit_drawdown(profit: float, highest_profit: float, highest_balance: float) -> float:
    """Of a symbol in its insurance pool over 8 hours; negative."""
    return (profit - highest_profit) / highest_balance


def bybit_adl_triggered(balance: float, drawdown: float, threshold: float = 10_000.0, trigger: float = -0.3) -> bool:
    """The pool is empty, or it lost more than the trigger from its highest while above the threshold."""
    return balance <= 0.0 or (balance > threshold and drawdown < trigger)


def bybit_adl_stopped(balance: float, drawdown: float, stop: float = -0.25) -> bool:
    """The pool is positive again and its loss is less than the stop."""
    return balance > 0.0 and drawdown > stop


# --- insurance ------------------------------------------------------------------------------------------------------


def insurance_change(side: int, quantity: float, bankruptcy: float, fill: float, inverse: bool = False) -> float:
    """What the fund gets (positive) or pays (negative) when it closes a position it took over at bankruptcy."""
    if inverse:
        return side * quantity * (1.0 / bankruptcy - 1.0 / fill)
    return side * quantity * (fill - bankruptcy)


DYDX_PENALTY = 0.015


def dydx_insurance_change(
    deposit: float, size: float, entry: float, fill: float, penalty: float = DYDX_PENALTY
) -> float:
    """The penalty as far as collateral is left after the fill (positive), or what is missing (negative)."""
    left = deposit + size * (fill - entry)
    return min(left, penalty * abs(size) * fill)


# --- sides ----------------------------------------------------------------------------------------------------------

POSITION_SIDE_VENUES = ("bybit",)
"""Their liquidation messages name the side of the position; those of the others the side of the closing order."""


def liquidated_position(venue: str, fields: Mapping[str, str]) -> str:
    """ "long" or "short", of the fields of a liquidation message (`S`, `side`, `posSide`)."""
    given = {name.lower(): value.strip().lower() for name, value in fields.items()}
    if given.get("posside") in ("long", "short"):
        return given["posside"]
    raw = given.get("s") or given.get("side") or given.get("direction") or ""
    if raw in ("long", "short"):
        return raw
    buys = {"buy": True, "bid": True, "sell": False, "ask": False}[raw]
    is_long = buys if venue in POSITION_SIDE_VENUES else not buys
    return "long" if is_long else "short"
