"""`estimated_machine`: a crowd that would look, from outside, like the one that a market had at a moment.

    machine = estimated_machine(store.market("BTC/USDT:USDT", "1h", "2025-08-01", "2025-10-10"))
    machine.run(days=1)

1. Both sides hold the open interest of the market. Of each, the crowd's part is as in `backtest.crowd.ladder`; dealers
   hold the difference: arbitrage what goes with the market's premium (half, if that is not known), carry traders the
   rest.
2. A position of the crowd was opened in a bar drawn by what was opened then and has survived, at that bar's close, with
   a leverage drawn from the mixture. It is drawn again where the mark has since met its liquidation. Only
   `Levels.levered` of them have the mixture's leverage; the others hardly any.
3. Each is given to an account whose habits come nearest; the other accounts are flat. Sizes are as unequal as those
   of any simulated crowd.
4. Price, depth of the book, volatility, trends, funding rate and maintenance are the market's own.

Nobody knows the real accounts: this is one draw from what the map allows, and the map is wrong in ways that
docs/liquidation_map.md measures.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from backtest import calibration as cal
from backtest.crowd import ladder
from backtest.crowd.kernel import layout as at_
from backtest.crowd.kernel.layout import Floats, Ints
from backtest.crowd.ladder import LONG, SEEN, SHORT, Levels, Mixture, Observed
from backtest.crowd.machine import Machine
from backtest.crowd.seeding import INEQUALITY, TOP_SHARE
from backtest.crowd.world import DAYS_A_YEAR, World, counts, kept
from backtest.margin import MAX_LEVERAGE, liquidation_size, tier_of
from backtest.venue import SymbolTiers, Tier, Venue, base_of, venue
from data.errors import BadInput, NotFound

if TYPE_CHECKING:
    from data.market import Market

OPEN = 0.6  # of the crowd's accounts have a position, as in a simulated crowd that nobody has touched
MONEY = 1.5  # times the open interest: what the crowd has
UNLEVERED = (1.0, 1.5)  # leverage of those who are hardly levered
DEALERS = 1.5  # leverage of carry traders, whose other leg is elsewhere
DEALERS_AWAY = 0.3  # log: entries of dealers no further from the price
DEPTH = 0.1  # of the open interest, where neither depth nor volume is known: as in the default world
LONG_SHARE = 0.55  # of the crowd's accounts, where nothing says it: the crowd is long more often than not
MONTH_DAYS = 30.0
TRIES = 60
MET = 1e-6  # a level that is no further than this from where the mark has been was met


def estimated_machine(
    market: Market,
    symbol: str | None = None,
    at: Any = None,
    *,
    world: World | None = None,
    accounts: int | None = None,
    seed: int = 7,
    leverage: Mixture = SEEN,
    levels: Levels | None = None,
) -> Machine:
    """The crowd after the last bar that had ended `at` a time; None: the last bar there is.

    `world`: what the data do not say (habits, policy, how prices react), and the venue; without one, the default world
    on the market's own venue. `accounts`: instead of the world's number.
    """
    try:
        seen = ladder.observed(market, symbol)
    except NotFound as error:
        raise BadInput(str(error)) from None
    row = ladder.row_at(seen, at)
    given = levels or Levels()
    moment = _moment(market.features_view(), symbol, seen, row)
    machine = Machine(_world(moment, world, accounts, given), seed, warm_days=0)
    rng = np.random.default_rng([seed, 2])
    drawn = _Vintages(seen, row, leverage, given)
    part = ladder.crowd_parts(seen, LONG_SHARE)[row]
    crowd = moment.coins * part
    _lay_crowd(machine, drawn, crowd, rng)
    _lay_dealers(machine, drawn, float(crowd[LONG] - crowd[SHORT]), moment, rng)
    _set_state(machine, seen, row, moment)
    machine.tiers_changed()
    return machine


# ---- what the market was like -----------------------------------------------------------------------


class _Moment(NamedTuple):
    symbol: str
    venue: str
    price: float
    coins: float
    depth: float  # quote currency within 1 %, one side
    volume: float  # quote currency a day
    volatility: float  # a year
    premium: float  # NaN: not known
    rate: float  # funding of 8 hours
    tick: float
    lot: float
    tiers: tuple[Tier, ...]  # the market's own; none: the venue's
    funding_hours: float


def _moment(view: Market, symbol: str | None, seen: Observed, row: int) -> _Moment:
    one = view if symbol is None else view.select([symbol])
    day, month = max(1, round(24.0 / seen.hours)), max(2, round(MONTH_DAYS * 24.0 / seen.hours))
    price, coins = float(seen.close[row]), _last(seen.open_interest[: row + 1])

    def recent(name: str, bars: int) -> Floats:
        values = np.asarray(getattr(one, name)).reshape(-1)[max(0, row + 1 - bars) : row + 1]
        return np.asarray(values[np.isfinite(values)])

    traded = recent("quote_volume", day)
    if not len(traded):
        traded = recent("volume", day) * price
    volume = float(traded.mean() * 24.0 / seen.hours) if len(traded) else 0.0
    sides = np.concatenate((recent("bid_depth_1pct", day), recent("ask_depth_1pct", day)))
    depth = float(sides.mean()) if len(sides) else volume * cal.DEPTH_SHARE.value
    returns = np.diff(np.log(seen.close[max(0, row + 1 - month) : row + 1]))
    returns = returns[np.isfinite(returns)]
    a_year = 24.0 * DAYS_A_YEAR / seen.hours
    known = one.settlements[one.settlements["bar"] <= row]
    contract = one.instrument()
    return _Moment(
        one.symbols[0],
        one.venue,
        price,
        coins,
        depth if depth > 0.0 else coins * price * DEPTH,
        volume if volume > 0.0 else coins * price,
        float(np.sqrt((returns**2).mean() * a_year)) if len(returns) else 0.0,
        _last(recent("premium", day), math.nan),
        _last(recent("funding_8h", day)),
        float(contract.get("tick_size") or price * 1e-5),
        float(contract.get("lot_size") or 1e-3),
        ladder.tiers_at(one, int(seen.ends[row])),
        float(known["interval_hours"][-1]) if len(known) else 0.0,
    )


def _last(values: Floats, otherwise: float = 0.0) -> float:
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else otherwise


def _world(moment: _Moment, given: World | None, accounts: int | None, levels: Levels) -> World:
    world = given or World()
    coin = replace(
        world.coin,
        base=base_of(moment.symbol),
        price=moment.price,
        tick=moment.tick,
        lot=moment.lot,
        depth=moment.depth,
        volume=moment.volume,
        money=MONEY * moment.coins * moment.price,
    )
    crowd = world.crowd if accounts is None else replace(world.crowd, accounts=accounts)
    outside = math.hypot(world.coin.beta * world.market.volatility, world.own.volatility)
    louder = moment.volatility / outside if moment.volatility > 0.0 else 1.0
    hours = moment.funding_hours
    # a book that is small for its open interest bears dealers' inventories that are large for the book
    slope = world.book.premium_slope * min(moment.depth / (DEPTH * moment.coins * moment.price), 1.0)
    return replace(
        world,
        coin=coin,
        book=replace(world.book, premium_slope=slope),
        crowd=crowd,
        market=replace(world.market, volatility=world.market.volatility * louder),
        own=replace(world.own, volatility=world.own.volatility * louder),
        venue=_venue(world.venue if given else _known_venue(moment.venue, world.venue), moment, levels),
        funding_hours=((0.0, hours),) if hours in (1.0, 2.0, 4.0, 8.0) else world.funding_hours,
    )


def _known_venue(name: str, other: Venue) -> Venue:
    try:
        found = venue(name)
    except BadInput:  # a market of the user's own frames
        return other
    return found if found.contract == "linear" else other


def _venue(one: Venue, moment: _Moment, levels: Levels) -> Venue:
    tiers = levels.tiers or moment.tiers
    if not tiers:
        return one
    return replace(one, tables=(SymbolTiers((base_of(moment.symbol),), tiers), *one.tables))


# ---- positions --------------------------------------------------------------------------------------


class _Vintages:
    """What is open, by the bar in which it was opened and by leverage."""

    def __init__(self, seen: Observed, row: int, leverage: Mixture, levels: Levels) -> None:
        grid = ladder.grid_of(seen, leverage, levels)
        done = ladder.carried(seen, grid, (), np.array([row], dtype=np.int64))
        opened = done.opened[: row + 1]
        mixture = np.tile(grid.opened, (row + 1, 1))
        mixture[int(np.argmax(opened[:, LONG] > 0.0))] = grid.share
        survived = np.exp(done.kept[row] - done.kept[: row + 1])
        weight = opened[:, :, None] * mixture[:, None, :] * survived
        self.classes = len(grid.share)
        self.cumulative = [np.cumsum(weight[:, side].ravel()) for side in (LONG, SHORT)]
        self.close = seen.close[: row + 1]
        self.price = float(seen.close[row])
        self.usual = np.array([lev for lev, _ in leverage.shares])
        self.spread, self.levered = leverage.spread, levels.levered
        since = np.append(seen.low[1 : row + 1], self.price), np.append(seen.high[1 : row + 1], self.price)
        self.lowest = np.minimum.accumulate(np.nan_to_num(since[0], nan=np.inf)[::-1])[::-1]
        self.highest = np.maximum.accumulate(np.nan_to_num(since[1], nan=0.0)[::-1])[::-1]

    def entries(self, side: int, count: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Bars and leverage classes of some positions."""
        sums = self.cumulative[side]
        drawn = np.searchsorted(sums, rng.random(count) * sums[-1], side="right")
        bar, kind = np.divmod(np.minimum(drawn, len(sums) - 1), self.classes)
        return bar, kind

    def positions(
        self, side: int, coins: Floats, tiers: Floats, fee: float, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Entries and leverage of positions of these sizes, none of them met since it was opened."""
        sign = 1.0 if side == LONG else -1.0
        entry, leverage = np.full(len(coins), self.price), np.full(len(coins), UNLEVERED[0])
        levered = rng.random(len(coins)) < self.levered
        open_ = np.arange(len(coins))
        for _ in range(TRIES):
            bar, kind = self.entries(side, len(open_), rng)
            drawn = self.usual[kind] * np.exp(self.spread * rng.standard_normal(len(open_)))
            drawn = np.where(levered[open_], np.maximum(drawn, 1.0), rng.uniform(*UNLEVERED, len(open_)))
            entry[open_], leverage[open_] = self.close[bar], drawn
            again = []
            for place, i in enumerate(open_):
                notional = coins[i] * entry[i]
                leverage[i] = min(leverage[i], tiers[tier_of(tiers, 0, len(tiers), notional), MAX_LEVERAGE])
                level = liquidation_size(
                    sign * coins[i], entry[i], notional / leverage[i], tiers, 0, len(tiers), fee, self.price
                )
                extreme = self.lowest[bar[place]] if side == LONG else self.highest[bar[place]]
                if level > 0.0 and sign * (extreme - level) <= MET * self.price:
                    again.append(i)
            open_ = np.array(again, dtype=np.int64)
            if not len(open_):
                return entry, leverage
        entry[open_], leverage[open_] = self.price, UNLEVERED[0]  # nothing that is drawn has survived
        return entry, leverage


def _lay_crowd(machine: Machine, drawn: _Vintages, crowd: Floats, rng: np.random.Generator) -> None:
    a, (retail, _, _) = machine.accounts, counts(machine.world.crowd)
    some = np.sort(rng.choice(retail, size=max(2, round(OPEN * retail)), replace=False))
    some = some[np.argsort(a[at_.LEVERAGE, some], kind="stable")]
    longs = np.zeros(len(some), dtype=bool)
    share = crowd[LONG] / crowd.sum() if crowd.sum() > 0.0 else 0.5
    longs[rng.permutation(len(some))[: min(max(1, round(share * len(some))), len(some) - 1)]] = True
    size = np.exp(INEQUALITY * rng.standard_normal(len(some)))
    entry, leverage = np.empty(len(some)), np.empty(len(some))
    for side, mine in ((LONG, longs), (SHORT, ~longs)):
        size[mine] *= crowd[side] / size[mine].sum()
        entry[mine], leverage[mine] = drawn.positions(side, size[mine], machine.tiers, machine.rules.closing_fee, rng)
    order = np.argsort(leverage, kind="stable")  # those with the habit get the leverage
    size, entry, leverage, longs = size[order], entry[order], leverage[order], longs[order]
    q = np.where(longs, size, -size)
    _give(machine, some, q, entry, leverage)


def _give(machine: Machine, some: Ints, q: Floats, entry: Floats, leverage: Floats) -> None:
    """Positions to accounts; money and habits so that each could have opened its own."""
    a = machine.accounts
    margin = np.abs(q) * entry / leverage
    stake, tight = a[at_.USUAL_STAKE, some], a[at_.STOP_DISTANCE, some] * a[at_.LEVERAGE, some]
    cross = a[at_.CROSS, some] == 1.0
    a[at_.Q, some], a[at_.ENTRY, some], a[at_.MARGIN, some] = q, entry, margin
    a[at_.FREE, some] = np.where(cross, 0.0, margin * (1.0 / stake - 1.0))
    a[at_.SIZE, some] = a[at_.FREE, some] + margin
    a[at_.LEVERAGE, some] = np.maximum(1.0, np.where(cross, leverage / stake, leverage))
    price = machine.state[at_.MARK]
    distance = tight / leverage
    passed = np.where(q > 0.0, price <= entry * (1.0 - distance), price >= entry * (1.0 + distance))
    a[at_.STOP_DISTANCE, some] = np.where(passed, 0.0, distance)


def _lay_dealers(
    machine: Machine, drawn: _Vintages, difference: float, moment: _Moment, rng: np.random.Generator
) -> None:
    """The side that the crowd lacks."""
    a, places, (retail, _, carry) = machine.accounts, machine.places, counts(machine.world.crowd)
    q = -difference
    by_arbitrage = 0.5 * q if math.isnan(moment.premium) else -moment.premium / machine.rules.premium_slope
    by_arbitrage = math.copysign(min(abs(by_arbitrage), abs(q)), q) if by_arbitrage * q > 0.0 else 0.0
    if carry and q != by_arbitrage:
        some = np.arange(retail, retail + carry)
        held = (q - by_arbitrage) * a[at_.FREE, some] / a[at_.FREE, some].sum()
        bar, _ = drawn.entries(LONG if q > 0.0 else SHORT, carry, rng)
        away = np.clip(np.log(drawn.close[bar] / drawn.price), -DEALERS_AWAY, DEALERS_AWAY)
        entry = drawn.price * np.exp(away)
        equity = np.abs(held) * drawn.price / DEALERS
        a[at_.Q, some], a[at_.ENTRY, some], a[at_.FREE, some] = held, entry, 0.0
        a[at_.MARGIN, some] = equity - held * (drawn.price - entry)
        a[at_.SIZE, some], a[at_.LEVERAGE, some] = equity, DEALERS
        pays = max(moment.rate if q < 0.0 else -moment.rate, 0.0)
        stays = pays / (machine.world.crowd.carry_exit * machine.world.crowd.carry_hurdle)
        a[at_.CHASE, some] = np.minimum(a[at_.CHASE, some], max(stays, 1e-3))
    rest = -math.fsum(a[at_.Q])  # with what rounding left
    a[at_.Q, places.arbitrage] = rest
    a[at_.ENTRY, places.arbitrage] = drawn.price if rest != 0.0 else 0.0


def _set_state(machine: Machine, seen: Observed, row: int, moment: _Moment) -> None:
    """Prices, trends and books as they were."""
    a, s, w = machine.accounts, machine.state, machine.world
    limit = np.quantile(a[at_.SIZE, : counts(w.crowd)[0]], 1.0 - TOP_SHARE)
    a[at_.TOP, : counts(w.crowd)[0]] = a[at_.SIZE, : counts(w.crowd)[0]] >= limit
    premium = -machine.rules.premium_slope * a[at_.Q, machine.places.arbitrage]
    s[at_.FUNDAMENTAL], s[at_.PREMIUM], s[at_.BASIS] = math.log(moment.price) - premium, premium, premium
    if moment.rate != 0.0:
        s[at_.RATE] = moment.rate
    logs = np.log(seen.close[: row + 1])
    logs = logs[np.isfinite(logs)] - premium
    for slot, hours in ((at_.FAST_LEVEL, w.crowd.fast_trend_hours), (at_.SLOW_LEVEL, w.crowd.slow_trend_hours)):
        weight = kept(hours, seen.hours * 60.0) ** np.arange(len(logs))[::-1]
        s[slot] = float((logs * weight).sum() / weight.sum())
    day = np.diff(logs[-1 - max(3, round(24.0 / seen.hours)) :])
    if len(day) and (day != 0.0).any():
        s[at_.VARIANCE] = float((day**2).mean() / (seen.hours * 60.0 / w.step_minutes))
    q = a[at_.Q]
    s[at_.LONG] = math.fsum(q[q > 0.0])
    s[at_.DEPOSITED] = math.fsum(machine.equities()) + s[at_.INSURANCE] + s[at_.FEES]
