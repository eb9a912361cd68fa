"""Value funds on margin and the price that clears their market (Thurner, Farmer and Geanakoplos 2012), compiled.

One step:

1. Funds whose time out is over come back with their first wealth and no position.
2. The noise traders spend xi, whose logarithm is an AR(1) around that of value x supply.
3. The price clears: xi + the funds' demand in cash = supply x price. A fund's wealth in that demand is taken at the
   very price, so a fund at its limit sells when the price falls. Excess demand is therefore not monotone, and there can
   be several clearing prices: the first one on the way from the last price is taken, up if there was excess demand at
   the last price, down if there was not.
4. Funds at or below the ruin wealth leave; their shares are for sale in the next step. Investors of all others put
   money in or take it out, by the fund's average return against the benchmark.

Excess demand in cash is a parabola in the price between kinks, so no iteration is needed: `clearing_price` walks from
kink to kink and solves the first parabola that crosses zero.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from backtest.crowd.kernel.compile import jit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Market(NamedTuple):
    """The numbers of the model, as `backtest.crowd.funds.FundSettings` explains them."""

    value: float
    supply: float
    persistence: float
    noise_sigma: float
    leverage_limit: float
    start_wealth: float
    ruin_wealth: float
    time_out: int
    memory: float
    sensitivity: float
    benchmark: float


class Funds(NamedTuple):
    """One row a fund, changed in place. A fund that is out has no shares and no cash."""

    aggressiveness: Floats
    shares: Floats
    cash: Floats
    base: Floats  # wealth at the last clearing, which the next return is of
    performance: Floats
    out: Ints  # steps until it comes back; 0: it trades


class Record(NamedTuple):
    """What a run writes: by step, and by step and fund."""

    price: Floats
    noise: Floats
    wealth: Floats
    demand: Floats
    flow: Floats
    ruined: Flags


@jit
def value_demand(mispricing: float, aggressiveness: float, leverage_limit: float, wealth: float) -> float:
    """Notional that a value fund wants: min(aggressiveness x mispricing, limit) x wealth, long only. NaN: none.

    The mispricing is value less price where the value is 1; elsewhere give it as a fraction of the value.
    """
    if not (mispricing > 0.0 and wealth > 0.0):
        return 0.0
    return min(aggressiveness * mispricing, leverage_limit) * wealth


@jit
def excess(price: float, noise: float, market: Market, funds: Funds) -> float:
    """Demand less supply at this price, in cash."""
    total = noise - market.supply * price
    for h in range(len(funds.shares)):
        wealth = funds.shares[h] * price + funds.cash[h]
        total += value_demand(market.value - price, funds.aggressiveness[h], market.leverage_limit, wealth)
    return total


@jit
def crossed(gap: float, up: bool) -> bool:
    """Whether this excess demand is at or beyond zero for a walk that began with demand above (up) or below it."""
    return gap <= 0.0 if up else gap >= 0.0


@jit
def next_kink(price: float, end: float, market: Market, funds: Funds) -> float:
    """The nearest price between `price` and `end` at which some fund's demand changes its form; `end` if none."""
    nearest = end
    for h in range(len(funds.shares)):
        full = market.value - market.leverage_limit / funds.aggressiveness[h]
        broke = -funds.cash[h] / funds.shares[h] if funds.shares[h] > 0.0 else market.value
        for kink in (market.value, full, broke):
            if (price < kink < nearest) or (nearest < kink < price):
                nearest = kink
    return nearest


@jit
def parabola(middle: float, noise: float, market: Market, funds: Funds) -> tuple[float, float, float]:
    """(a, b, c) of excess = a p^2 + b p + c on the piece that holds `middle`."""
    a, b, c = 0.0, -market.supply, noise
    gap = market.value - middle
    for h in range(len(funds.shares)):
        shares, cash, beta = funds.shares[h], funds.cash[h], funds.aggressiveness[h]
        if gap <= 0.0 or shares * middle + cash <= 0.0:
            continue
        if beta * gap >= market.leverage_limit:
            b += market.leverage_limit * shares
            c += market.leverage_limit * cash
        else:
            a -= beta * shares
            b += beta * (market.value * shares - cash)
            c += beta * market.value * cash
    return a, b, c


@jit
def root_between(a: float, b: float, c: float, low: float, high: float) -> float:
    """The root of a p^2 + b p + c in [low, high], of which there is one; rounding cannot carry it outside."""
    q = -0.5 * (b + math.copysign(math.sqrt(max(b * b - 4.0 * a * c, 0.0)), b))
    first = q / a if a != 0.0 else np.inf
    second = c / q if q != 0.0 else 0.0
    first_off = max(low - first, first - high, 0.0)
    second_off = max(low - second, second - high, 0.0)
    return min(max(first if first_off < second_off else second, low), high)


@jit
def clearing_price(last: float, noise: float, market: Market, funds: Funds) -> float:
    """The first price on the way from `last` at which the market clears."""
    start = excess(last, noise, market, funds)
    if start == 0.0:
        return last
    up = start > 0.0
    end = 2.0 * max(last, market.value, noise / market.supply) if up else 0.0  # excess has the other sign there
    price = last
    while price != end:
        edge = next_kink(price, end, market, funds)
        a, b, c = parabola(0.5 * (price + edge), noise, market, funds)
        turn = -0.5 * b / a if a != 0.0 else price
        inside = min(price, edge) < turn < max(price, edge)
        if inside and crossed(excess(turn, noise, market, funds), up):
            return root_between(a, b, c, min(price, turn), max(price, turn))
        if crossed(excess(edge, noise, market, funds), up):
            return root_between(a, b, c, min(price, edge), max(price, edge))
        price = edge
    return price


@jit
def come_back(market: Market, funds: Funds) -> None:
    for h in range(len(funds.shares)):
        if funds.out[h] > 0:
            funds.out[h] -= 1
            if funds.out[h] == 0:
                funds.cash[h] = market.start_wealth
                funds.base[h] = market.start_wealth
                funds.performance[h] = 0.0


@jit
def trade(h: int, price: float, last: float, market: Market, funds: Funds) -> float:
    """The fund holds what it wants at this price; its wealth there, before investors move money."""
    wealth: float = funds.shares[h] * price + funds.cash[h]
    profit = funds.shares[h] * (price - last) / funds.base[h]
    funds.performance[h] += market.memory * (profit - funds.performance[h])
    spent = value_demand(market.value - price, funds.aggressiveness[h], market.leverage_limit, wealth)
    funds.shares[h] = spent / price
    funds.cash[h] = wealth - spent
    funds.base[h] = wealth
    return wealth


@jit
def leave(h: int, market: Market, funds: Funds) -> None:
    funds.shares[h] = 0.0
    funds.cash[h] = 0.0
    funds.out[h] = market.time_out


@jit
def invest(h: int, wealth: float, market: Market, funds: Funds) -> float:
    """Money that investors put in (taken out: below zero), at most all of the wealth out."""
    rate = market.sensitivity * (funds.performance[h] - market.benchmark)
    money: float = max(rate, -1.0) * wealth
    funds.cash[h] += money
    return money


@jit
def walk(shocks: Floats, market: Market, funds: Funds, record: Record) -> None:
    """All steps, one for each standard normal shock."""
    centre = math.log(market.value * market.supply)
    pull = (1.0 - market.persistence) * centre
    log_noise = centre
    price = market.value
    for t in range(len(shocks)):
        come_back(market, funds)
        log_noise = market.persistence * log_noise + market.noise_sigma * shocks[t] + pull
        noise = math.exp(log_noise)
        last, price = price, clearing_price(price, noise, market, funds)
        record.price[t] = price
        record.noise[t] = noise
        for h in range(len(funds.shares)):
            if funds.out[h] > 0:
                continue
            wealth = trade(h, price, last, market, funds)
            record.wealth[t, h] = wealth
            record.demand[t, h] = funds.shares[h]
            if wealth <= market.ruin_wealth:
                record.ruined[t, h] = True
                leave(h, market, funds)
            else:
                record.flow[t, h] = invest(h, wealth, market, funds)
