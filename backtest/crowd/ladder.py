"""The liquidation map: how much would be liquidated at which price, estimated from what everybody can see.

    estimated = liquidation_map(market)                       # at the last bar; at="2025-10-10T20:00" for another
    estimated.within(0.05)                                    # quote currency of longs, of shorts, within 5 %
    path = liquidation_path(market, distances=(0.02, 0.05))   # the same as arrays a bar, for features

A map is a stock of positions by the price that liquidates them, carried from bar to bar. Each bar, each side:

1. What its low reached (longs; its high: shorts) is gone. That amount is `path.triggered`: it was on the map a bar ago.
2. Of the rest a part is closed by choice: half of it in a half-life.
3. Open interest says what there must be. Where the stock is larger, all of it shrinks alike; where it is smaller, the
   difference was opened in this bar, at its close, and is spread over the levels at which the mixture of leverage,
   with the venue's maintenance, puts it.

    L(p, t) = sum over past bars of  opened(tau) x f(p / price(tau)) x survived(tau, t)

Both sides hold all of the open interest. Where the crowd is known to be mostly on one side, dealers stand on the other,
and dealers are not liquidated: with a share s > 1/2 of longs, all longs and (1 - s) / s of the shorts are the crowd's.

Nothing of a bar is used before its close. `backtest.crowd.ladder_errors` compares maps with what was true;
docs/liquidation_map.md says how good they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from backtest.crowd.kernel import layout
from backtest.crowd.kernel.layout import Floats, Ints
from backtest.jit import jit_alone
from backtest.margin import MAX_LEVERAGE, liquidation_size, tier_of
from backtest.venue import Tier, venue
from data import clock
from data.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

    from backtest.crowd.machine import History
    from data.market import Market

LONG, SHORT = 0, 1
HOUR_NS = 3_600_000_000_000
FEWEST_BARS = 24  # with open interest, before a map
NEVER = -(2**63)
MARKS, TRADES = ("mark_high", "mark_low", "mark_close"), ("high", "low", "close")
HELD, RATIOS = ("open_interest", "open_interest_value"), ("ratio_accounts", "ratio_top_positions")
MOST_CROWDED = 0.9  # share of one side
FURTHEST = 3.0  # log distance of a level from its entry: a fall to a twentieth
DRAWS = 401  # points that stand for the spread of one leverage
SMALLEST = 1e-150  # of what is left of all that was ever there; then the stock is written anew
LEAST = 1e-12  # coins
PRECISE = 1e-9  # of a level: a price that is a level but for rounding has reached it
PLAIN_TIERS = (Tier(0.0, math.inf, 0.005, 125.0, 0.0),)


@dataclass(frozen=True)
class Mixture:
    """What leverage positions have: (leverage, part of what is open), each spread a little around its number.

    Leverage is notional over all the money that stands behind a position. `half_life`: hours until half of what was
    opened is closed by choice; one number, or one for each leverage.
    """

    shares: tuple[tuple[float, float], ...]
    spread: float = 0.4  # standard deviation of the logarithm
    half_life: float | tuple[float, ...] = 72.0

    def __post_init__(self) -> None:
        if not self.shares or any(lev < 1.0 or share <= 0.0 for lev, share in self.shares):
            raise BadInput("Mixture.shares: pairs of leverage (at least 1) and share, such as ((5, 0.7), (20, 0.3))")
        if not 0.0 <= self.spread <= 1.0:
            raise BadInput(f"Mixture.spread={self.spread!r}: write a number from 0 to 1")
        if len(self.half_lives) != len(self.shares) or not all(hours > 0.0 for hours in self.half_lives):
            raise BadInput(f"Mixture.half_life={self.half_life!r}: write hours above 0, one number or one a leverage")

    @property
    def half_lives(self) -> tuple[float, ...]:
        given = self.half_life
        return given if isinstance(given, tuple) else (given,) * len(self.shares)


SEEN = Mixture(((2.2, 0.23), (4, 0.15), (5.5, 0.11), (7.5, 0.04), (11, 0.15), (15, 0.07), (25, 0.15), (60, 0.10)))
"""Distances from entry to liquidation of 135,668 isolated positions (65.8 billion USD) on Hyperliquid in four days of
2026, turned into leverage (github.com/min66633/liquidation-cascade-research, DESIGN_LOCK.md 5.2; half of the notional
lay within 15.7 %). Spread and half-life: docs/liquidation_map.md says what they were chosen on."""
TEXTBOOK = Mixture(((10, 0.25), (25, 0.25), (50, 0.25), (100, 0.25)), spread=0.0)
"""What published maps draw, all tiers alike."""


@dataclass(frozen=True)
class Levels:
    """How a leverage becomes a level, and how finely levels are kept."""

    step: float = 0.001  # log distance between levels
    tiers: tuple[Tier, ...] = ()  # maintenance; none: the market's own of each time, else its venue's, else 0.5 %
    position: float = 50_000.0  # notional that looks up its bracket
    closing_fee: float = 0.0  # inside maintenance, where the venue has that
    levered: float = 0.28  # part of the open interest that the mixture holds for; the rest is hardly levered

    def __post_init__(self) -> None:
        if not 1e-5 <= self.step <= 0.1:
            raise BadInput(f"Levels.step={self.step!r}: write a log distance from 0.00001 to 0.1, such as 0.001")
        if not 0.0 < self.levered <= 1.0:
            raise BadInput(f"Levels.levered={self.levered!r}: write a part, above 0 and at most 1")
        if not (self.position > 0.0 and 0.0 <= self.closing_fee < 0.1):
            raise BadInput("Levels: position is a notional above 0, closing_fee a fraction such as 0.0005")


# ---- what can be seen -------------------------------------------------------------------------------

Tables = tuple[tuple[int, tuple[Tier, ...]], ...]  # (from, brackets in force from then on)


class Observed(NamedTuple):
    """What everybody can see, one element a bar of equal length, known at its close."""

    hours: float  # of a bar
    ts: Ints  # opens, nanoseconds
    high: Floats  # of the mark where there is one: it is the mark that liquidates
    low: Floats
    close: Floats
    open_interest: Floats  # coins; NaN: not known
    long_share: Floats  # of the crowd's accounts, 0 to 1; NaN: not known
    tables: Tables = ()

    @property
    def ends(self) -> Ints:
        return np.asarray(self.ts + round(self.hours * HOUR_NS))


def observed(source: Market | Observed, symbol: str | None = None) -> Observed:
    """Of one symbol of a market, without what was known later than its bar."""
    if isinstance(source, Observed):
        return _checked(source, "Observed")
    view = source.features_view()
    if symbol is None and len(view.symbols) > 1:
        raise BadInput(f"the market holds {len(view.symbols)} symbols: say which, as in symbol={view.symbols[0]!r}")
    one = view if symbol is None else view.select([symbol])
    name = one.symbols[0]
    if name.partition("/")[0] == name.partition(":")[2]:
        raise BadInput(f"{name} is an inverse contract: the map is made for linear ones")
    fields = {f: np.asarray(getattr(one, f)).reshape(-1) for f in (*MARKS, *TRADES, *HELD, *RATIOS)}
    marked = np.isfinite(fields["mark_close"])
    high, low, close = (np.where(marked, fields[m], fields[t]) for m, t in zip(MARKS, TRADES, strict=True))
    coins, value = (fields[f] for f in HELD)
    accounts, positions = (fields[f] for f in RATIOS)
    # bar by bar, so that a feed that began later changes nothing before; accounts speak from their first ratio on
    coins = np.where(np.isfinite(coins), coins, value / close)
    ratio = np.where(np.logical_or.accumulate(np.isfinite(accounts)), accounts, positions)
    share = ratio / (1.0 + ratio)
    return _checked(Observed(one.interval / HOUR_NS, one.ts, high, low, close, coins, share, _tables(one)), name)


def observed_of(history: History, minutes: int = 60) -> Observed:
    """What a trader would have seen of a simulated market, in bars of so many minutes."""
    step = max(1, round(minutes / history.step_minutes))
    n = len(history) // step
    bars = history.bars[: n * step].reshape(n, step, -1)
    share = bars[:, :, layout.SHARE_LONG]
    last = step - 1 - np.argmax(np.isfinite(share[:, ::-1]), axis=1)
    starts = history.first + step * np.arange(n, dtype=np.int64)
    seen = Observed(
        step * history.step_minutes / 60.0,
        starts * round(history.step_minutes * 60e9),
        bars[:, :, layout.M_HIGH].max(axis=1),
        bars[:, :, layout.M_LOW].min(axis=1),
        bars[:, -1, layout.M_CLOSE].copy(),
        bars[:, -1, layout.OI].copy(),
        share[np.arange(n), last],
    )
    return _checked(seen, "the history")


def _checked(seen: Observed, name: str) -> Observed:
    """Refuses what no map can be made of."""
    n = len(seen.close)
    for column in ("ts", "high", "low", "open_interest", "long_share"):
        if len(getattr(seen, column)) != n:
            raise BadInput(f"Observed.{column} has {len(getattr(seen, column))} bars and close has {n}")
    known = int((np.isfinite(seen.open_interest) & np.isfinite(seen.close)).sum())
    if known == 0:
        raise BadInput(f"{name} has no open interest: ingest it, or take a market that holds it")
    if known < FEWEST_BARS:
        raise BadInput(f"{name} has {known} bars with open interest: a map needs {FEWEST_BARS}, better several weeks")
    if np.nanmin(seen.open_interest) < 0.0 or not np.nanmin(seen.low) > 0.0:
        raise BadInput(f"{name} has a price or an open interest below 0")
    return seen


def _tables(market: Market) -> Tables:
    """The market's brackets, each from when it was both valid and published; before the first, its venue's own."""
    rows = market.tiers
    stamps = np.unique(np.maximum(np.maximum(rows["valid_from"], rows["known_at"]), market.start))
    dated = ((int(stamp), tiers_at(market, int(stamp))) for stamp in stamps)
    return ((NEVER, _venue_tiers(market.venue, market.symbols[0])), *dated)


def tiers_at(market: Market, ts: int) -> tuple[Tier, ...]:
    """The market's own brackets in force; none where it has none."""
    return tuple(
        Tier(
            float(row["floor"]),
            float(row["cap"]),
            float(row["mmr"]),
            float(row["max_leverage"] if row["max_leverage"] > 0.0 else 0.5 / row["mmr"]),
            float(row["cum"]),
        )
        for row in market.tiers_at(ts)
    )


def _venue_tiers(name: str, symbol: str) -> tuple[Tier, ...]:
    try:
        return venue(name).tiers_for(symbol) or PLAIN_TIERS
    except BadInput:  # a market of the user's own frames
        return PLAIN_TIERS


# ---- maps -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LiquidationMap:
    """Notional (quote currency) that is liquidated at each level, longs below the price and shorts above it."""

    levels: Floats  # prices, equally far apart in logarithm
    long_notional: Floats
    short_notional: Floats
    price: float
    ts: int  # the time at which all of it was known, nanoseconds
    seen: float = 1.0  # part of it that was opened within the history; the rest stands where the history began

    def within(self, distance: float) -> tuple[float, float]:
        """Notional of longs and of shorts that a move of this size (0.05: 5 %) would meet."""
        below = self.levels >= self.price * (1.0 - distance) * (1.0 - PRECISE)
        above = self.levels <= self.price * (1.0 + distance) * (1.0 + PRECISE)
        return float(self.long_notional[below].sum()), float(self.short_notional[above].sum())

    def ladder(self, distance: float = 0.2, width: float = 0.005) -> Ladder:
        """In bins of log price on both sides of the price, nearest first."""
        count = max(1, round(math.log1p(distance) / width))
        away = np.log(self.levels / self.price) / width
        longs, shorts = _binned(-away, self.long_notional, count), _binned(away, self.short_notional, count)
        return Ladder(self.price, width, longs, shorts)

    def moved(self, price: float) -> LiquidationMap:
        """The same shape around another price."""
        return replace(self, levels=self.levels * (price / self.price), price=price)

    @property
    def frame(self) -> pd.DataFrame:
        """The levels that hold something."""
        import pandas as pd

        held = (self.long_notional > 0.0) | (self.short_notional > 0.0)
        columns = {
            "distance": self.levels / self.price - 1.0,
            "long_notional": self.long_notional,
            "short_notional": self.short_notional,
        }
        return pd.DataFrame(columns, index=pd.Index(self.levels, name="price")).loc[held]


class Ladder(NamedTuple):
    """Element k: levels from k to k + 1 widths of log price away."""

    price: float
    width: float
    long_notional: Floats
    short_notional: Floats

    @property
    def distance(self) -> Floats:
        """Of the middles of the bins, log."""
        return np.asarray((np.arange(len(self.long_notional)) + 0.5) * self.width)


def _binned(away: Floats, notional: Floats, count: int) -> Floats:
    inside = (away >= 0.0) & (away < count)
    return np.bincount(away[inside].astype(np.int64), notional[inside], count).astype(np.float64)


class LiquidationPath(NamedTuple):
    """Rows are bars; NaN where a bar is missing. Column j of `..._near`: within distances[j] of the bar's close."""

    ts: Ints
    price: Floats
    distances: tuple[float, ...]
    long_near: Floats
    short_near: Floats
    long_triggered: Floats  # notional on the map a bar ago that the bar's low met
    short_triggered: Floats
    seen: Floats  # part of what is on the map that was opened within the history


def liquidation_map(
    source: Market | Observed,
    at: Any = None,
    *,
    symbol: str | None = None,
    leverage: Mixture = SEEN,
    levels: Levels | None = None,
) -> LiquidationMap:
    """After the last bar that had ended `at` a time; None: the last bar there is."""
    return liquidation_maps(source, [at], symbol=symbol, leverage=leverage, levels=levels)[0]


def liquidation_maps(
    source: Market | Observed,
    at: Sequence[Any],
    *,
    symbol: str | None = None,
    leverage: Mixture = SEEN,
    levels: Levels | None = None,
) -> list[LiquidationMap]:
    """`liquidation_map` of several times in one pass."""
    seen, given = observed(source, symbol), levels or Levels()
    wanted = [row_at(seen, moment) for moment in at]
    rows = np.unique(np.array(wanted, dtype=np.int64))
    grid = grid_of(seen, leverage, given)
    done = carried(seen, grid, (), rows)
    part = crowd_parts(seen) * given.levered
    made = {}
    for k, row in enumerate(rows):
        longs, shorts = done.maps[k] * grid.prices * part[row][:, None]
        made[int(row)] = LiquidationMap(
            grid.prices, longs, shorts, float(seen.close[row]), int(seen.ends[row]), float(done.seen[row])
        )
    return [made[row] for row in wanted]


def liquidation_path(
    source: Market | Observed,
    *,
    symbol: str | None = None,
    distances: Sequence[float] = (0.01, 0.02, 0.05, 0.10),
    leverage: Mixture = SEEN,
    levels: Levels | None = None,
) -> LiquidationPath:
    """What is near at every bar, and what every bar met. Linear in bars, whatever the history."""
    if any(not 0.0 < d < 1.0 for d in distances):
        raise BadInput(f"distances={tuple(distances)!r}: write fractions between 0 and 1, such as (0.02, 0.05)")
    seen, given = observed(source, symbol), levels or Levels()
    done = carried(seen, grid_of(seen, leverage, given), distances, np.empty(0, np.int64))
    part = crowd_parts(seen) * given.levered
    before = np.vstack((part[:1], part[:-1]))  # what was met stood on the map of the bar before
    near = done.near * part[:, :, None]
    met = done.met * before
    return LiquidationPath(
        seen.ts, seen.close, tuple(distances), near[:, LONG], near[:, SHORT], met[:, LONG], met[:, SHORT], done.seen
    )


def row_at(seen: Observed, at: Any) -> int:
    """The last bar that had ended, and that has a price."""
    count = len(seen.ts) if at is None else int(np.searchsorted(seen.ends, clock.moment(at), side="right"))
    if at is not None and clock.moment(at) - int(seen.ends[-1]) >= seen.hours * HOUR_NS:
        raise BadInput(f"at={at!r} is after the data, which end at {clock.iso(int(seen.ends[-1]))}: leave at= out")
    priced = np.isfinite(seen.close[:count])
    known = int((priced & np.isfinite(seen.open_interest[:count])).sum())
    if known < FEWEST_BARS:
        when = "in all" if at is None else f"before {clock.iso(clock.moment(at))}"
        raise BadInput(f"{known} bars have open interest {when}: a map needs {FEWEST_BARS}, better several weeks")
    return int(np.flatnonzero(priced)[-1])


def crowd_parts(seen: Observed, otherwise: float = 0.5) -> Floats:
    """Of each bar, the parts of longs and of shorts that are the crowd's, by the long share last known."""
    known = np.isfinite(seen.long_share)
    place = np.maximum.accumulate(np.where(known, np.arange(len(known)), -1))
    share = np.where(place >= 0, seen.long_share[place], otherwise)
    share = np.clip(share, 1.0 - MOST_CROWDED, MOST_CROWDED)
    return np.column_stack((np.minimum(share / (1.0 - share), 1.0), np.minimum((1.0 - share) / share, 1.0)))


# ---- the stock --------------------------------------------------------------------------------------


class Grid(NamedTuple):
    """Levels, and where each leverage lies on them. Level b has the price exp((first + b) x step)."""

    step: float
    first: int
    prices: Floats
    shape: Floats  # [table, side, leverage, levels away from the entry]: part of it
    bounds: Ints  # [table, side, leverage]: first and end of what is not 0 in it
    table: Ints  # of each bar
    share: Floats  # of each leverage, of what is open
    opened: Floats  # of each leverage, of what is opened
    keep: Floats  # of each leverage, part not closed by choice in a bar


class Carried(NamedTuple):
    """What comes out of a history."""

    maps: Floats  # [row asked for, side, level], coins
    near: Floats  # [bar, side, distance], notional
    met: Floats  # [bar, side], notional
    seen: Floats  # [bar]
    opened: Floats  # [bar, side], coins
    kept: Floats  # [bar, side, leverage]: log of the part left of what was there at the start, unless it was met


def grid_of(seen: Observed, leverage: Mixture, levels: Levels) -> Grid:
    tables = ((NEVER, levels.tiers or PLAIN_TIERS),) if levels.tiers or not seen.tables else seen.tables
    starts = np.array([start for start, _ in tables], dtype=np.int64)
    table = np.searchsorted(starts, seen.ends, side="right") - 1
    shapes = [shape_of(leverage, levels, tiers) for _, tiers in tables]
    away = max(shape.shape[-1] for shape in shapes)
    shape = np.stack([np.pad(one, ((0, 0), (0, 0), (0, away - one.shape[-1]))) for one in shapes])
    there = shape > 0.0
    bounds = np.stack((there.argmax(axis=-1), away - there[..., ::-1].argmax(axis=-1)), axis=-1)
    low, high = math.log(np.nanmin(seen.low)) / levels.step, math.log(np.nanmax(seen.high)) / levels.step
    first = math.floor(low) - away - 1
    prices = np.exp((first + np.arange(math.ceil(high) + away + 2 - first)) * levels.step)
    share = np.array([part for _, part in leverage.shares]) / math.fsum(part for _, part in leverage.shares)
    keep = 0.5 ** (seen.hours / np.array(leverage.half_lives))
    opened = share * (1.0 - keep)  # what is closed sooner must be opened more often to be open as much
    return Grid(levels.step, first, prices, shape, bounds.astype(np.int64), table, share, opened / opened.sum(), keep)


def shape_of(leverage: Mixture, levels: Levels, tiers: Sequence[Tier]) -> Floats:
    """[side, leverage, levels away from the entry]: the part of each leverage that is liquidated there.

    What lies further than FURTHEST, or is never liquidated, is missing from the sum.
    """
    rows = brackets_of(tiers)
    most = rows[tier_of(rows, 0, len(rows), levels.position), MAX_LEVERAGE]
    furthest = math.ceil(FURTHEST / levels.step)
    drawn = [NormalDist().inv_cdf((k + 0.5) / DRAWS) for k in range(DRAWS)] if leverage.spread > 0.0 else [0.0]
    out = np.zeros((2, len(leverage.shares), furthest + 1))
    for k, (usual, _) in enumerate(leverage.shares):
        for side, sign in ((LONG, 1.0), (SHORT, -1.0)):
            for z in drawn:
                lever = min(usual * math.exp(leverage.spread * z), most)
                away = _away(lever, sign, levels, rows) / levels.step
                if away <= furthest:
                    out[side, k, max(1, round(away))] += 1.0 / len(drawn)
    used = np.flatnonzero(out.any(axis=(0, 1)))
    return out[:, :, : int(used[-1]) + 1 if len(used) else 2]


def brackets_of(tiers: Sequence[Tier]) -> Floats:
    """Rows of `backtest.margin`."""
    return np.array([(t.floor, t.cap, t.mmr, t.max_leverage, t.cum) for t in tiers], dtype=np.float64)


def _away(leverage: float, sign: float, levels: Levels, tiers: Floats) -> float:
    """Log distance from the entry to the liquidation of a position bought at a price of 1."""
    q = levels.position
    at = liquidation_size(sign * q, 1.0, q / leverage, tiers, 0, len(tiers), levels.closing_fee, 1.0)
    return -sign * math.log(at) if at > 0.0 else math.inf


def carried(seen: Observed, grid: Grid, distances: Sequence[float], rows: Ints) -> Carried:
    """The stock from the first bar to the last row asked for (none: to the last bar)."""
    n, classes = len(seen.close), len(grid.share)
    near = np.array([(math.log1p(-d), math.log1p(d)) for d in distances]).reshape(-1, 2) / grid.step
    out = Carried(
        np.zeros((len(rows), 2, len(grid.prices))),
        np.full((n, 2, len(near)), np.nan),
        np.full((n, 2), np.nan),
        np.zeros(n),
        np.zeros((n, 2)),
        np.zeros((n, 2, classes)),
    )
    low, high, close = (np.log(column) / grid.step - grid.first for column in (seen.low, seen.high, seen.close))
    stock = Stock(
        np.zeros((2, classes, len(grid.prices))), np.ones((2, classes)), np.zeros((2, classes)), np.zeros((2, classes))
    )
    stop = int(rows[-1]) + 1 if len(rows) else n
    carry(low, high, close, seen.open_interest, grid, near, rows, stop, stock, out)
    return out


class Stock(NamedTuple):
    """By side and leverage. What is open at a level is `levels` x `left`: closing by choice touches one number."""

    levels: Floats  # [side, leverage, level]
    left: Floats
    coins: Floats  # at all levels, and beyond them
    old: Floats  # coins of those that were there when the history began


@jit_alone
def between(side: int, market: float, reached: float, slack: float, count: int) -> tuple[int, int]:
    """Levels [first, end) from the market to a price that it reached or would reach."""
    if side == LONG:
        return max(int(np.ceil(reached - slack)), 0), min(int(np.floor(market)) + 1, count)
    return max(int(np.ceil(market)), 0), min(int(np.floor(reached + slack)) + 1, count)


@jit_alone
def worth(stock: Stock, side: int, first: int, end: int, prices: Floats) -> float:
    total = 0.0
    for k in range(stock.left.shape[1]):
        part = 0.0
        for b in range(first, end):
            part += stock.levels[side, k, b] * prices[b]
        total += part * stock.left[side, k]
    return total


@jit_alone
def take(stock: Stock, side: int, first: int, end: int) -> None:
    """These levels were met: nothing is left at them."""
    for k in range(stock.left.shape[1]):
        gone = 0.0
        for b in range(first, end):
            gone += stock.levels[side, k, b] * stock.left[side, k]
            stock.levels[side, k, b] = 0.0
        if gone > 0.0:
            part = max(0.0, 1.0 - gone / stock.coins[side, k])
            stock.coins[side, k] *= part
            stock.old[side, k] *= part


@jit_alone
def close_some(stock: Stock, side: int, k: int, part: float) -> None:
    """Of one leverage, this part stays."""
    stock.left[side, k] *= part
    stock.coins[side, k] *= part
    stock.old[side, k] *= part
    if stock.left[side, k] < SMALLEST:
        stock.levels[side, k] *= stock.left[side, k]
        stock.left[side, k] = 1.0


@jit_alone
def open_some(stock: Stock, side: int, k: int, coins: float, entry: int, shape: Floats, first: int, end: int) -> None:
    stock.coins[side, k] += coins
    away = -1 if side == LONG else 1
    for j in range(first, end):
        stock.levels[side, k, entry + away * j] += coins * shape[j] / stock.left[side, k]


@jit_alone
def adjust(
    stock: Stock, side: int, t: int, held: float, waited: int, entry: int, fresh: bool, grid: Grid, out: Carried
) -> None:
    """Closing by choice, then as many coins as open interest says."""
    total, classes = 0.0, len(grid.keep)
    for k in range(classes):
        kept = grid.keep[k] ** waited
        close_some(stock, side, k, kept)
        out.kept[t, side, k] += np.log(kept)
        total += stock.coins[side, k]
    table = grid.table[t]
    out.opened[t, side] = max(held - total, 0.0)
    for k in range(classes):
        if total > held:
            close_some(stock, side, k, held / total)
            out.kept[t, side, k] += np.log(held / total)
        elif total < held:
            coins = (held - total) * (grid.share[k] if fresh else grid.opened[k])
            first, end = grid.bounds[table, side, k]
            open_some(stock, side, k, coins, entry, grid.shape[table, side, k], first, end)
            stock.old[side, k] += coins if fresh else 0.0


@jit_alone
def carry(
    low: Floats, high: Floats, close: Floats, held: Floats, grid: Grid, near: Floats, rows: Ints, stop: int,
    stock: Stock, out: Carried,
) -> None:  # fmt: skip
    """From bar to bar. Prices are places on the grid: level b stands at b. No open interest at all is LEAST."""
    slack, count = PRECISE / grid.step, len(grid.prices)
    begun, waited, asked, last = False, 0, 0, 0.0
    for t in range(stop):
        waited += 1
        if t > 0:
            out.kept[t] = out.kept[t - 1]
        if np.isfinite(close[t]) and np.isfinite(low[t]) and np.isfinite(high[t]):
            for side in range(2 if begun else 0):
                first, end = between(side, last, low[t] if side == LONG else high[t], slack, count)
                out.met[t, side] = worth(stock, side, first, end, grid.prices)
                take(stock, side, first, end)
            last = close[t]
            if np.isfinite(held[t]):
                for side in range(2):
                    entry = int(np.floor(last + 0.5))
                    adjust(stock, side, t, max(held[t], LEAST), waited, entry, not begun, grid, out)
                begun, waited = True, 0
            for side in range(2 if begun else 0):
                for d in range(len(near)):
                    first, end = between(side, last, last + near[d, side], slack, count)
                    out.near[t, side, d] = worth(stock, side, first, end, grid.prices)
        if begun:
            out.seen[t] = 1.0 - stock.old.sum() / stock.coins.sum()
        if asked < len(rows) and rows[asked] == t:
            for side in range(2):
                for k in range(len(grid.keep)):
                    out.maps[asked, side] += stock.levels[side, k] * stock.left[side, k]
            asked += 1
