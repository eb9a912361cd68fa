"""The simulated venue's liquidations in plain Python, read from the rules: one object an account, all of them looked
at in every wave, halving times and brackets taken from the `World` itself.

It knows nothing of what anybody decides and of what comes from outside but returns: a machine with `trades=0` on a path
without noise must do the same, step by step.

    plain = PlainCrowd(machine)
    plain.step(-0.02)

Where the words of the machine leave something open, the reading taken here is marked "Reading:".
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass, field

from backtest import rules
from backtest.crowd.kernel import layout as at
from backtest.crowd.machine import Machine
from backtest.venue import Tier

DEALERS = (at.MAKER, at.ARBITRAGE)
MOST_WAVES = 400
LARGEST_MOVE = 0.2
LARGEST_PREMIUM = 1.0
HIGHEST_RATE_OF_ALL = 0.9
EATEN_OF_A_FLOW = 0.25
WORST_SPREAD = 0.01
A_LITTLE_A_SETTLEMENT = 0.02


@dataclass
class Account:
    """Cost is coins times average entry, signed like coins."""

    number: int
    kind: int
    coins: float
    cost: float
    margin: float
    free: float
    stop_distance: float
    reduced: float  # the step in which a part of it went

    @property
    def entry(self) -> float:
        return self.cost / self.coins

    def profit(self, price: float) -> float:
        return self.coins * price - self.cost

    def balance(self, price: float) -> float:
        return self.margin + self.profit(price)

    def equity(self, price: float) -> float:
        return self.free + self.balance(price)

    def trade(self, coins: float, price: float) -> None:
        """The profit of what is closed goes to the margin; a reversal closes everything first."""
        if self.coins * coins >= 0.0:
            self.coins += coins
            self.cost += coins * price
            return
        if abs(coins) > abs(self.coins):
            rest = coins + self.coins
            self.trade(-self.coins, price)
            self.trade(rest, price)
            return
        part = -coins / self.coins
        self.margin += -coins * price - part * self.cost
        self.coins, self.cost = self.coins + coins, self.cost * (1.0 - part)
        if part > 1.0 - 1e-12:
            self.coins = self.cost = 0.0

    def stopped(self, price: float) -> bool:
        if self.stop_distance == 0.0 or self.coins == 0.0:
            return False
        if self.coins > 0.0:
            return price <= self.entry * (1.0 - self.stop_distance)
        return price >= self.entry * (1.0 + self.stop_distance)


@dataclass
class Totals:
    """Of one step."""

    longs: float = 0.0  # notional liquidated
    shorts: float = 0.0
    adl: float = 0.0
    stopped: float = 0.0
    waves: int = 0
    taken: list[int] = field(default_factory=list)  # accounts
    sent: list[int] = field(default_factory=list)
    deleveraged: list[tuple[int, float]] = field(default_factory=list)


class PlainCrowd:
    def __init__(self, machine: Machine) -> None:
        w, s, a = machine.world, machine.state, machine.accounts
        self.world, self.venue, self.book, self.policy = w, w.venue, w.book, w.policy
        self.accounts = [
            Account(i, int(a[at.KIND, i]), *(float(x) for x in (
                a[at.Q, i], a[at.Q, i] * a[at.ENTRY, i], a[at.MARGIN, i], a[at.FREE, i], a[at.STOP_DISTANCE, i],
                a[at.REDUCED, i],
            )))
            for i in range(a.shape[1])
        ]  # fmt: skip
        self.maker, self.arbitrage, self.engine = (self.accounts[k] for k in machine.places[:3])
        self.number = self.began = int(s[at.STEP])
        self.value, self.pushed, self.premium, self.slow_premium = (
            float(s[k]) for k in (at.FUNDAMENTAL, at.PRESSURE, at.PREMIUM, at.BASIS)
        )
        self.rate, self.thin, self.forced, self.eaten, self.variance = (
            float(s[k]) for k in (at.RATE, at.THIN, at.FORCED, at.EATEN, at.VARIANCE)
        )
        self.fund, self.fees, self.peak, self.bad_debt = (
            float(s[k]) for k in (at.INSURANCE, at.FEES, at.PEAK_FUND, at.BAD_DEBT)
        )
        self.last, self.mark = float(s[at.LAST]), float(s[at.MARK])
        turn = int(s[at.RECENT])
        self.lately = deque([*machine.recent[turn:].tolist(), *machine.recent[:turn].tolist()])
        self.hours = self.interval()
        self.samples = list(machine.samples)
        self.minutes_left = self.hours * 60.0 - self.number * w.step_minutes % (self.hours * 60.0)
        self.totals = Totals()
        self.rates_paid: list[float] = []

    # ---- brackets ----------------------------------------------------------------------------------

    def interval(self) -> float:
        day = self.number * self.world.step_minutes / 1440.0
        return [hours for since, hours in self.world.intervals if since <= max(day, 0.0)][-1]

    def brackets(self) -> tuple[Tier, ...]:
        """Of the hour in which the step lies. Reading: a settlement at its end belongs to it, too."""
        hour = int(self.began * self.world.step_minutes // 60.0)
        day = hour / 24.0
        found = self.venue.tiers_for(self.world.coin.base)
        for since, table in self.world.tier_changes:
            found = table if since <= day else found
        return found

    def bracket(self, notional: float) -> int:
        """A notional that is a cap, but for rounding, is in the lower one; beyond the last cap the last holds."""
        tiers = self.brackets()
        return next((k for k, t in enumerate(tiers) if notional <= t.cap * (1.0 + 1e-9)), len(tiers) - 1)

    def maintenance(self, notional: float) -> float:
        """Whole: one rate for all of it. Marginal: each part of it at the rate of its own bracket, like a tax."""
        tiers, last = self.brackets(), self.bracket(notional)
        rate = [min(t.mmr * self.policy.maintenance, HIGHEST_RATE_OF_ALL) for t in tiers]
        if self.venue.tier_rule == "whole":
            due = notional * rate[last]
        else:
            due = sum((t.cap - t.floor) * rate[k] for k, t in enumerate(tiers[:last]))
            due += (notional - tiers[last].floor) * rate[last]
        return due + notional * self.venue.closing_fee

    # ---- prices ------------------------------------------------------------------------------------

    def halved(self, minutes: float, half_life: float) -> float:
        return 0.5 ** (minutes / half_life)

    @property
    def index(self) -> float:
        return math.exp(self.value + self.pushed)

    def quote(self) -> None:
        """Trade price; and the mark: the middle of three prices, on OKX and Deribit index and basis, dYdX the index."""
        self.last = self.index * math.exp(self.premium)
        by_basis = self.index * math.exp(self.slow_premium)
        if self.venue.name == "dydx":
            self.mark = self.index
        elif self.venue.name in ("okx", "deribit"):
            self.mark = by_basis
        else:
            own_rate = self.rate * self.hours / 8.0
            by_funding = rules.price_from_funding(self.index, own_rate, self.minutes_left / 60.0, self.hours)
            self.mark = rules.median_price(by_funding, by_basis, self.last)

    def thinning(self) -> float:
        by_forced = self.book.thin_liquidations * self.forced / self.world.coin.depth
        return 1.0 + min(max(self.thin, by_forced), self.book.thin_most)

    def depth(self) -> float:
        """Displayed within 1 %, one side. Reading: never less than a tenth of itself uneaten, nor half its floor."""
        quiet = self.world.coin.depth
        half_away = self.book.inventory * quiet / self.world.coin.price  # coins
        uneaten = quiet / self.thinning() / (1.0 + (self.maker.coins / half_away) ** 2)
        return max(uneaten - self.eaten, 0.1 * uneaten, 0.5 * quiet / (1.0 + self.book.thin_most))

    def move_of(self, flow: float) -> float:
        """Log move: 1 % for a flow as large as what stands against it, buyers of value among them."""
        if flow == 0.0:
            return 0.0
        away = math.copysign(1.0, flow) * (self.pushed + self.premium)
        behind = self.world.coin.depth * (max(away, 0.0) / self.book.value_distance) ** 2
        return rules.clamp(0.01 * flow / (self.depth() + behind), -LARGEST_MOVE, LARGEST_MOVE)

    # ---- one step ----------------------------------------------------------------------------------

    def step(self, step_return: float) -> Totals:
        w, b = self.world, self.book
        self.totals = Totals()
        self.began = self.number
        opened = math.log(self.last)
        tick = w.step_minutes / w.ticks
        for _ in range(w.ticks):
            self.value += step_return / w.ticks
            self.slow_premium += (self.premium - self.slow_premium) * (1.0 - self.halved(tick, b.basis_minutes))
            # Reading: what was forced lately is forgotten four times as fast as a thin book recovers
            self.forced *= self.halved(tick, b.thin_minutes / 4.0)
            self.quote()
            now, before = math.log(self.last), self.lately.popleft()
            self.lately.append(now)
            five_minutes = math.sqrt(self.variance * len(self.lately) / w.ticks)
            surprise = (abs(now - before) / five_minutes / b.thin_sigmas) ** 2
            self.thin = min(max(self.thin * self.halved(tick, b.thin_minutes), surprise), b.thin_most)
            self.eaten *= self.halved(tick, b.refill_minutes)
            self.force()
        self.settle_down()
        keep = self.halved(w.step_minutes, 720.0)
        self.variance = keep * self.variance + (1.0 - keep) * (math.log(self.last) - opened) ** 2
        self.number += 1
        self.fund_and_funding()
        return self.totals

    def settle_down(self) -> None:
        """Makers hand on at the trade price; premium rests where the dealers' inventory holds it; pressure fades."""
        w, b = self.world, self.book
        handed = (1.0 - self.halved(w.step_minutes, b.hand_on_minutes)) * self.maker.coins
        self.maker.trade(-handed, self.last)
        self.arbitrage.trade(handed, self.last)
        dealers_short = -(self.maker.coins + self.arbitrage.coins) * w.coin.price
        rest = rules.clamp(b.premium_slope * dealers_short / (10.0 * w.coin.depth), -LARGEST_PREMIUM, LARGEST_PREMIUM)
        self.premium = rest + (self.premium - rest) * self.halved(w.step_minutes, 60.0 * b.premium_hours)
        self.pushed *= self.halved(w.step_minutes, 60.0 * b.pressure_hours)
        self.quote()

    # ---- waves -------------------------------------------------------------------------------------

    def force(self) -> None:
        can_sell = self.book.engine_rate * self.depth()  # in this tick
        for _ in range(MOST_WAVES):
            most = self.book.wave_cap * self.depth()
            taken, orders = self.triggered(most / self.last)
            newly = 0.0
            for one in taken:
                newly += self.take_over(one)
            settled = self.deleverage()
            for one, coins, _ in orders:  # an account that was just deleveraged has less to close
                if abs(coins) > abs(one.coins):
                    self.shorten(orders, one)
            own = min(abs(self.engine.coins), most / self.last, can_sell / self.last)
            own = -math.copysign(own, self.engine.coins) if own > 0.0 else 0.0
            can_sell -= abs(own) * self.last
            if not taken and not orders and abs(own) <= 1e-9 * self.open_interest():
                if settled:
                    continue
                break
            self.send(orders, own)
            self.totals.waves += 1
        self.fund += self.engine.margin
        self.engine.margin = 0.0
        if self.fund < 0.0 and self.engine.coins == 0.0:
            self.bad_debt -= self.fund
            self.fees += self.fund
            self.fund = 0.0
        self.peak = max(self.peak, self.fund)

    @staticmethod
    def shorten(orders: list[tuple[Account, float, str]], one: Account) -> None:
        orders[:] = [(o, -o.coins if o is one else c, why) for o, c, why in orders]

    def open_interest(self) -> float:
        return sum(one.coins for one in self.accounts if one.coins > 0.0)

    def triggered(self, most_coins: float) -> tuple[list[Account], list[tuple[Account, float, str]]]:
        """Who is taken over, and whose orders go to the book: by account number, until the wave is full.

        Reading: the order that fills the wave still goes; what the venue takes over does not count.
        """
        taken: list[Account] = []
        orders: list[tuple[Account, float, str]] = []
        sent = 0.0
        for one in self.accounts:
            if one.coins == 0.0 or one.kind in (*DEALERS, at.ENGINE):
                continue
            notional = abs(one.coins) * self.mark
            due, left = self.maintenance(notional), one.balance(self.mark)
            if left <= due:
                part = self.part_first(one)
                seized = left <= 0.0 or left < self.venue.liquidation.backstop * due
                if seized or (part == 0.0 and self.venue.liquidation.residual == "takeover"):
                    taken.append(one)
                    continue
                coins, why = -math.copysign(part or abs(one.coins), one.coins), "liquidation"
            elif one.stopped(self.last):
                coins, why = -one.coins, "stop"
            else:
                continue
            if sent > most_coins:
                continue
            sent += abs(coins)
            orders.append((one, coins, why))
        return taken, orders

    def part_first(self, one: Account) -> float:
        """Coins that go before the rest; 0: everything at once."""
        how = self.venue.liquidation
        held = abs(one.coins)
        if how.reduction == "none":
            return 0.0
        if how.reduction == "fraction":
            again = one.reduced == self.number
            return 0.0 if again or held * self.mark <= how.above else how.fraction * held
        now = self.bracket(held * self.mark)
        for lower in range(now - (1 if how.reduction == "tier" else 2), -1, -1):
            kept = self.brackets()[lower].cap / self.mark
            if kept <= 0.99 * held:
                return held - kept
        return 0.0

    def take_over(self, one: Account) -> float:
        """At the price at which nothing of the margin is left; the venue has the position then."""
        coins, bust = one.coins, one.entry - one.margin / one.coins
        self.count(coins, self.mark)
        one.trade(-coins, bust)
        self.engine.trade(coins, bust)
        one.margin = 0.0
        self.totals.taken.append(one.number)
        return abs(coins) * self.mark

    def count(self, coins: float, price: float) -> None:
        notional = abs(coins) * price
        self.forced += notional
        if coins > 0.0:
            self.totals.longs += notional
        else:
            self.totals.shorts += notional

    def send(self, orders: list[tuple[Account, float, str]], own: float) -> None:
        """One flow, one price for buyers and one for sellers: the middle of the move, and half the spread."""
        flow = (own + sum(coins for _, coins, _ in orders)) * self.last
        move = self.move_of(flow)
        half = min(self.book.half_spread * self.thinning(), WORST_SPREAD)
        middle = self.last * math.exp(0.5 * move)
        everybody = [(self.engine, own, "venue"), *orders]
        for one, coins, why in everybody:
            if coins == 0.0:
                continue
            price = middle * (1.0 + half) if coins > 0.0 else middle * (1.0 - half)
            notional = abs(coins) * price
            one.trade(coins, price)
            self.maker.trade(-coins, price)
            if why == "liquidation":
                self.count(-coins, price)
                fee = min(self.venue.fees.liquidation * notional, max(one.margin, 0.0))
                one.margin -= fee
                self.fund += fee
                one.reduced = self.number
                self.totals.sent.append(one.number)
            elif why == "stop":
                self.totals.stopped += notional
                fee = self.venue.fees.taker * notional
                from_free = min(fee, max(one.free, 0.0))
                one.free -= from_free
                one.margin -= fee - from_free
                self.fees += fee
            if why != "venue":
                self.let_go(one)
        to_index = self.book.to_index * move
        quiet_move = rules.clamp(0.01 * flow / self.world.coin.depth, -LARGEST_MOVE, LARGEST_MOVE)
        stays = self.book.permanent * quiet_move
        self.value += stays
        self.pushed += to_index - stays
        self.premium += move - to_index
        self.eaten += EATEN_OF_A_FLOW * abs(flow)
        self.quote()

    def let_go(self, one: Account) -> None:
        """Flat: the margin is free money, and the fund pays what is missing; dealers have money of their own."""
        if one.coins != 0.0:
            return
        if one.margin < 0.0 and one.kind not in DEALERS:
            self.fund += one.margin
            one.margin = 0.0
        one.free += one.margin
        one.margin = 0.0

    # ---- deleveraging ------------------------------------------------------------------------------

    def deleverage(self) -> bool:
        """Against the other side, where the fund with what the venue holds is worth nothing, or fell too far.

        True where nothing is left to close.
        """
        engine = self.engine
        worth = self.fund + engine.balance(self.mark)
        if engine.coins == 0.0 or not (worth <= 0.0 or worth < (1.0 - self.policy.adl_fall) * self.peak):
            return False
        loss = -engine.profit(self.mark)
        at_mark = self.venue.adl.price != "bankruptcy" and loss <= max(self.fund, 0.0)
        price = self.mark if at_mark else engine.entry
        side = -1 if engine.coins > 0.0 else 1  # of those who are closed
        others = [one for one in self.accounts if one.coins * side > 0.0]
        need = abs(engine.coins)
        for one, coins in zip(others, self.shares(need, price, side, others), strict=True):
            coins = min(coins, abs(engine.coins))
            if coins <= 0.0:
                continue
            one.trade(-side * coins, price)
            engine.trade(side * coins, price)
            self.let_go(one)
            self.totals.adl += coins * self.mark
            self.totals.deleveraged.append((one.number, side * coins))
        self.fund += engine.margin
        engine.margin = 0.0
        return engine.coins == 0.0

    def shares(self, need: float, price: float, side: int, others: list[Account]) -> list[float]:
        if self.policy.adl == "queue":
            ranked = [
                rules.Candidate(str(k), one.coins, self.score(k, one, side, len(others)))
                for k, one in enumerate(others)
            ]
            closed = rules.adl_queue(need, ranked)
            return [closed.get(str(k), 0.0) for k in range(len(others))]
        sizes = [abs(one.coins) for one in others]
        profits = [max(one.profit(self.mark), 0.0) for one in others]
        if self.policy.adl == "pro_rata":
            taken = _risen(need, profits, sizes)
        elif self.policy.adl == "min_max":
            taken = _risen(need, [max(one.equity(self.mark), 0.0) for one in others], sizes)
        else:
            loss = -side * (price - self.mark)
            most = [self.policy.adl_cap * p / loss if loss > 0.0 else math.inf for p in profits]
            taken = _risen(need, profits, [min(q, m) for q, m in zip(sizes, most, strict=True)])
        if self.policy.adl == "capped":
            return taken
        left = [q - t for q, t in zip(sizes, taken, strict=True)]
        return [t + more for t, more in zip(taken, _risen(need - sum(taken), left, left), strict=True)]

    def score(self, place: int, one: Account, side: int, count: int) -> float:
        size, profit, worth = abs(one.coins), one.profit(self.mark), one.equity(self.mark)
        if self.venue.name == "dydx":
            return -float((place - self.number) % count)
        if self.venue.name == "binance":
            return rules.binance_adl_score(profit, worth - profit, self.maintenance(size * self.mark))
        if worth <= 0.0:
            return -math.inf
        if self.venue.name == "hyperliquid":
            return rules.hyperliquid_adl_score(self.mark, one.entry, size * self.mark, worth, side)
        return rules.leveraged(profit / (size * one.entry), size * self.mark / worth)

    # ---- funding -----------------------------------------------------------------------------------

    def fund_and_funding(self) -> None:
        """The premium is sampled once a step; every hour a rate is expected, and paid when the interval is over."""
        w, half = self.world, self.book.half_spread
        bid, ask = self.last * (1.0 - half), self.last * (1.0 + half)
        self.samples.append(rules.premium_index(bid, ask, self.index))
        self.minutes_left -= w.step_minutes
        minute = self.number * w.step_minutes
        if minute % 60.0:
            return
        rate = self.funding_rate()
        self.rate = rate * 8.0 / self.hours
        if minute % 480.0 == 0.0:
            self.peak = self.fund
        if self.minutes_left > 1e-9:
            return
        price = self.mark if self.venue.funding.price == "mark" else self.index
        for one in self.accounts:
            one.margin -= rules.funding_paid(abs(one.coins) * price, rate, 1 if one.coins > 0.0 else -1)
        self.rates_paid.append(rate)
        self.samples = []
        self.hours = self.interval()
        self.minutes_left = self.hours * 60.0
        lacks = self.policy.fund * w.coin.money - self.fund
        filled = min(max(lacks, 0.0), A_LITTLE_A_SETTLEMENT * max(self.fees, 0.0))
        self.fund += filled
        self.fees -= filled

    def funding_rate(self) -> float:
        """Bitmex, Gate and the simulated venue as Binance; rates of eight hours are paid in parts."""
        name, hours = self.venue.name, self.hours
        cap = max(0.75 * self.brackets()[0].mmr * self.policy.maintenance, 0.003)
        rising = name not in ("okx", "hyperliquid", "dydx", "deribit") and hours > 1.0
        weights = [k + 1.0 if rising else 1.0 for k in range(len(self.samples))]
        mean = statistics.fmean(self.samples, weights)
        if name == "bybit":
            return rules.bybit_funding_rate(mean, interval_hours=hours, low=-cap, high=cap)
        if name == "okx":
            return rules.okx_funding_rate(mean, 0.0, -cap, cap) * hours / 8.0
        if name == "hyperliquid":
            return rules.hyperliquid_funding_rate_8h(mean) * hours / 8.0
        if name == "dydx":
            return rules.dydx_funding_rate(mean) * hours
        if name == "deribit":
            return rules.deribit_funding_rate_8h(mean) * hours / 8.0
        return rules.binance_funding_rate(mean, interval_hours=hours, low=-cap, high=cap)


def _risen(need: float, weights: list[float], limits: list[float]) -> list[float]:
    """min(limit, level x weight), the level by halving; all limits where even they are too little."""
    able = [limit if weight > 0.0 else 0.0 for weight, limit in zip(weights, limits, strict=True)]
    if need >= math.fsum(able):
        return able
    low, high = 0.0, 1.0
    pairs = list(zip(weights, able, strict=True))
    while math.fsum(min(limit, high * weight) for weight, limit in pairs) < need:
        high *= 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if math.fsum(min(limit, middle * weight) for weight, limit in pairs) < need:
            low = middle
        else:
            high = middle
    return [min(limit, high * weight) for weight, limit in pairs]
