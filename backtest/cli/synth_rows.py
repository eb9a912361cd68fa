"""A simulated history as rows of the store, for `unwind synth`.

How a part of a History becomes rows, `Recorder.rows`:

1. Prices are rounded to ticks, of mark and index to tenths of them. The premium index is sampled once a minute.
2. Volume is what the crowd and the engine traded, and a background of everybody else: drawn around what the coin
   trades a day, more when volatility is high and when the price moves, and bought or sold as the price goes.
3. What stands at the end of a step is known at the next one's beginning, and stamped so: snapshots, hourly balances of
   the fund, and settlements. Shares of accounts are counted four minutes before the stamp.
4. Every liquidation is one event, spread evenly over its minute in the order in which they came. Positions that the
   venue took over have their bankruptcy price. What deleveraging closed is summed up by minute and side.
5. The book within 1 % is what the machine displayed; within other distances it follows a power of them.
6. With a coin's last part comes the truth, when all of it is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.crowd import truth
from backtest.crowd.kernel import layout as at
from backtest.crowd.machine import History
from backtest.crowd.market import VENUE, Run
from backtest.crowd.parts import Kept
from data.clock import DAY, HOUR, MINUTE, MS, SECOND, US
from data.rows import Rows
from data.schema import Feed, Position, Price, PriceKind, Ratio
from data.sources.made_up_path import ticks

SNAPSHOT = 5  # steps
AN_HOUR = HOUR // MINUTE
EVERY_S = SNAPSHOT * MINUTE // SECOND

BACKGROUND_KEY = 9  # of the seed; the machine takes the lower ones
BACKGROUND = 0.8  # of the coin's usual volume; the crowd's own comes on top
USUAL_SIGMA, USUAL_RANGE = 1.2, 1.75  # means over what the world calls normal: news, and four ticks a step
SPREAD_OF_VOLUME = 0.4  # standard deviation of its log
LEAN = 0.6  # of the background's buyers after a usual move
MEAN_TRADE = 2_500.0  # quote currency
BANDS = np.array([-5.0, -2.0, -1.0, -0.2, 0.2, 1.0, 2.0, 5.0])
SHAPE = 0.7  # depth grows with this power of the distance

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Columns = dict[str, Any]


class Recorder:
    """Rows of one coin, part after part; what the next part needs of this one is carried along."""

    def __init__(self, run: Run, number: int) -> None:
        self.market, self.world, self.coin = run.market, run.world, run.world.coin
        self.number = number
        self.rng = np.random.default_rng([run.market.seed, number + 1, BACKGROUND_KEY])
        self.kept = Kept(run.market.days * DAY // MINUTE)
        self.hours: list[Floats] = []  # leverage of the crowd
        self.events = 0
        self.tail = run.lead.bars[-SNAPSHOT:]
        self.flow = self._flow(run.lead.bars)[-SNAPSHOT:]
        self.settled = _settlements(run.lead)
        self.settled_before = np.nan

    def rows(self, history: History, *, first: bool = False, last: bool = False) -> tuple[Rows, ...]:
        """Of the next part. `first` and `last`: of all that are to come."""
        self.kept.add(history)
        self.hours.append(history.bars[:, at.LEVER].reshape(-1, AN_HOUR)[:, -SNAPSHOT].copy())
        flow = self._flow(history.bars)
        seen = np.concatenate((self.tail, history.bars))  # from five minutes before
        flows = np.concatenate((self.flow, flow))
        steps = history.first + np.arange(len(history))
        often = steps[::SNAPSHOT]
        found = (
            *([self._table("instruments", self._instrument())] if first else []),
            *self._tiers(history),
            *self._candles(steps, history.bars, flow),
            self._table("funding", self._funding(history)),
            self._table("open_interest", self._open_interest(often, seen), interval_s=EVERY_S),
            self._table("liquidations", self._liquidations(history), feed=Feed.COMPLETE.value),
            self._table("adl", self._adl(history)),
            *(
                self._table("ratios", columns, kind=kind.value, interval_s=EVERY_S)
                for kind, columns in self._ratios(often, seen, flows).items()
            ),
            self._table("depth", self._depth(often, seen), interval_s=EVERY_S),
            Rows("insurance", _frame(self._fund(steps[::AN_HOUR], seen)), {"venue": VENUE, "fund": self._venue_symbol}),
            *(self._truth() if last else []),
        )
        self.tail, self.flow = seen[-SNAPSHOT:].copy(), flows[-SNAPSHOT:].copy()
        return found

    @property
    def _venue_symbol(self) -> str:
        return f"{self.coin.base}USDT"

    def _table(self, name: str, columns: Columns, **constants: Any) -> Rows:
        return Rows(name, _frame(columns), {"venue": VENUE, "symbol": self.coin.symbol, **constants})

    def _times(self, steps: npt.NDArray[Any]) -> Any:
        return _stamps(self.market.start + (steps - self.market.first_step).astype(np.int64) * MINUTE)

    # ---- candles ---------------------------------------------------------------------------------

    def _flow(self, bars: Floats) -> Floats:
        """Coins that takers bought and sold in each step."""
        c, sigma = self.coin, self.world.sigma
        noise = self.rng.standard_normal((len(bars), 2))
        open_, close = bars[:, at.T_OPEN], bars[:, at.T_CLOSE]
        ranges = (bars[:, at.T_HIGH] - bars[:, at.T_LOW]) / close
        busy = 0.5 * bars[:, at.SIGMA] / (USUAL_SIGMA * sigma) + 0.5 * ranges / (USUAL_RANGE * sigma)
        usual = BACKGROUND * c.volume * MINUTE / DAY / close
        drawn = usual * busy * np.exp(SPREAD_OF_VOLUME * noise[:, 0] - 0.5 * SPREAD_OF_VOLUME**2)
        move = (close / open_ - 1.0) / (USUAL_RANGE * sigma)
        bought = 1.0 / (1.0 + np.exp(-LEAN * np.clip(move, -3.0, 3.0) + 0.1 * noise[:, 1]))
        both = bars[:, [at.BOUGHT, at.SOLD]] + (drawn * np.stack((bought, 1.0 - bought))).T
        return ticks(both, c.lot)

    def _candles(self, steps: Ints, bars: Floats, flow: Floats) -> Iterator[Rows]:
        stamps, tick = self._times(steps), self.coin.tick
        trade = _bars(bars, at.T_OPEN, tick)
        prices = {
            Price.TRADE: trade | _volumes(trade, flow, self.coin.lot),
            Price.MARK: _bars(bars, at.M_OPEN, tick / 10),
            Price.INDEX: _bars(bars, at.I_OPEN, tick / 10),
            Price.PREMIUM: self._premium(bars),
        }
        for price, columns in prices.items():
            yield self._table("candles", {"ts": stamps, **columns}, price=price.value, interval_s=MINUTE // SECOND)

    def _premium(self, bars: Floats) -> Columns:
        close = np.round(bars[:, at.PREM], 8)
        open_ = np.concatenate(([round(float(self.tail[-1, at.PREM]), 8)], close[:-1]))
        return {"open": open_, "high": np.maximum(open_, close), "low": np.minimum(open_, close), "close": close}

    # ---- what is settled and what happens ----------------------------------------------------------

    def _funding(self, history: History) -> Columns:
        """Settlements before the end of the part; one at its end is the next part's."""
        every = np.concatenate((self.settled, _settlements(history)))
        now = every[:, 0] < history.first + len(history)
        self.settled, rows = every[~now], every[now]
        since = np.diff(rows[:, 0], prepend=self.settled_before) / AN_HOUR
        if len(rows):
            self.settled_before = rows[-1, 0]
        return {
            "ts": self._times(rows[:, 0]),
            "rate": np.round(rows[:, 1], 8),
            "interval_hours": np.where(np.isfinite(since), since, rows[:, 2]),
            "price": ticks(rows[:, 3], self.coin.tick / 10),
        }

    def _liquidations(self, history: History) -> Columns:
        e = history.events[history.events[:, at.E_KIND] == at.LIQUIDATION_EVENT]
        c, size = self.coin, np.abs(e[:, at.E_QUANTITY])
        price = np.maximum(ticks(e[:, at.E_PRICE], c.tick), c.tick)
        quantity = np.maximum(ticks(size, c.lot), c.lot)
        numbers = self.events + 1 + np.arange(len(e))
        self.events += len(e)
        taken = e[:, at.E_PRICE] == e[:, at.E_BANKRUPT]
        return {
            "ts": self._times(e[:, at.E_STEP]) + _within_the_minute(e[:, at.E_STEP]),
            "position": np.where(e[:, at.E_QUANTITY] > 0.0, Position.LONG.value, Position.SHORT.value),
            "price": price,
            "price_kind": np.where(taken, PriceKind.BANKRUPTCY.value, PriceKind.AVERAGE.value),
            "quantity": quantity,
            "notional": np.round(quantity * price, 2),
            "event_id": numbers.astype(str),
        }

    def _adl(self, history: History) -> Columns:
        """One row for each minute and side; `deficit` is what the winners lost against the mark."""
        e = history.events[history.events[:, at.E_KIND] == at.ADL_EVENT]
        side, coins = np.sign(e[:, at.E_QUANTITY]), np.abs(e[:, at.E_QUANTITY])
        key, group = np.unique(np.stack((e[:, at.E_STEP], side)), axis=1, return_inverse=True)
        group = group.reshape(-1)

        def total(values: Floats) -> Floats:
            return np.bincount(group, weights=values, minlength=key.shape[1]).astype(np.float64)

        quantity, paid = total(coins), total(coins * e[:, at.E_PRICE])
        lost = total(coins * np.maximum(side * (e[:, at.E_MARK] - e[:, at.E_PRICE]), 0.0))
        long = key[1] > 0.0
        return {
            "ts": self._times(key[0]),
            "event_id": np.char.add(key[0].astype(np.int64).astype(str), np.where(long, " long", " short")),
            "ended": self._times(key[0] + 1),
            "known_at": self._times(key[0] + 1),
            "position": np.where(long, Position.LONG.value, Position.SHORT.value),
            "price": ticks(paid / quantity, self.coin.tick),
            "quantity": np.maximum(ticks(quantity, self.coin.lot), self.coin.lot),
            "notional": np.round(paid, 2),
            "deficit": np.round(lost, 2),
        }

    # ---- snapshots: `seen` begins five steps before the first of `steps` ------------------------------

    def _open_interest(self, steps: Ints, seen: Floats) -> Columns:
        last = _last(steps, seen)
        quantity = ticks(last[:, at.OI], self.coin.lot)
        return {
            "ts": self._times(steps),
            "quantity": quantity,
            "value": np.round(quantity * last[:, at.M_CLOSE], 2),
        }

    def _ratios(self, steps: Ints, seen: Floats, flows: Floats) -> dict[Ratio, Columns]:
        stamps = self._times(steps)
        counted = seen[:-SNAPSHOT:SNAPSHOT]
        found = {}
        for kind, column in (
            (Ratio.ACCOUNTS, at.SHARE_LONG),
            (Ratio.TOP_ACCOUNTS, at.SHARE_TOP),
            (Ratio.TOP_POSITIONS, at.SHARE_TOP_SIZE),
        ):
            known = np.isfinite(counted[:, column])
            long = np.round(counted[known, column], 4)
            found[kind] = {"ts": stamps[known], **_sides(long, np.round(1.0 - long, 4))}
        five = flows[:-SNAPSHOT].reshape(-1, SNAPSHOT, 2).sum(axis=1)
        found[Ratio.TAKER_VOLUME] = {"ts": stamps, **_sides(*ticks(five, self.coin.lot).T)}
        return found

    def _depth(self, steps: Ints, seen: Floats) -> Columns:
        last = _last(steps, seen)
        within = np.where(BANDS < 0.0, last[:, [at.DEPTH_BID]], last[:, [at.DEPTH_ASK]]) * np.abs(BANDS) ** SHAPE
        near = last[:, [at.T_CLOSE]] * (1.0 + BANDS / 200.0)  # the middle of the band
        return {
            "ts": np.repeat(self._times(steps), len(BANDS)),
            "percent": np.tile(BANDS, len(steps)),
            "quantity": ticks(within / near, self.coin.lot).ravel(),
            "notional": np.round(within, 2).ravel(),
        }

    def _fund(self, steps: Ints, seen: Floats) -> Columns:
        return {"ts": self._times(steps), "balance": np.round(_last(steps, seen)[:, at.FUND_BALANCE], 2)}

    # ---- terms and truth ---------------------------------------------------------------------------

    def _instrument(self) -> Columns:
        first, c = _stamps(np.array([self.market.start])), self.coin
        return {
            "valid_from": first,
            "venue_symbol": [self._venue_symbol],
            "base": [c.base],
            "quote": ["USDT"],
            "settle": ["USDT"],
            "contract": ["linear"],
            "contract_size": [1.0],
            "tick_size": [c.tick],
            "lot_size": [c.lot],
            "min_notional": [5.0],
            "listed": first,
        }

    def _tiers(self, history: History) -> Iterator[Rows]:
        """The tables that come into force within the part."""
        begin, end = (self.market.when(history.first + n) for n in (0, len(history)))
        dated = [(self.market.start + day * DAY, table) for day, table in self.market.tiers(self.number)]
        rows = [(when, n, t) for when, table in dated if begin <= when < end for n, t in enumerate(table, start=1)]
        if not rows:
            return
        cap = np.array([t.cap for _, _, t in rows])
        columns = {
            "valid_from": _stamps(np.array([when for when, _, _ in rows])),
            "tier": [n for _, n, _ in rows],
            "floor": [t.floor for _, _, t in rows],
            "cap": np.where(np.isfinite(cap), cap, np.nan),
            "mmr": [t.mmr for _, _, t in rows],
            "max_leverage": [t.max_leverage for _, _, t in rows],
            "cum": [t.cum for _, _, t in rows],
        }
        yield self._table("tiers", columns)

    def _truth(self) -> Iterator[Rows]:
        history = self.kept.history()
        found = truth.cascades(history)
        yield self._table("truth", self._cascades(history.first, found), kind="cascade")
        yield self._table("truth", self._phases(history, found), kind="phase")
        hours = history.first + np.arange(0, len(history), AN_HOUR)
        for kind, value in (
            ("fragility", truth.fragility(history)[AN_HOUR - 1 :: AN_HOUR]),
            ("leverage", np.concatenate(self.hours)),
        ):
            columns = {"ts": self._times(hours), "until": self._times(hours + AN_HOUR), "value": value}
            yield self._table("truth", columns, kind=kind)

    def _cascades(self, first: int, found: truth.Cascades) -> Columns:
        """The cause and the side that was thrown out; size as a part of open interest.

        The key has no side: of two that begin in one minute the second is stamped a second later.
        """
        later = np.concatenate(([False], np.diff(found.start) == 0)) if len(found.start) else np.empty(0, bool)
        cause = np.where(found.news, "news", "endogenous")
        return {
            "ts": self._times(first + found.start) + np.where(later, SECOND // US, 0).astype("timedelta64[us]"),
            "until": self._times(first + found.end),
            "label": np.char.add(cause, np.where(found.side > 0, " long", " short")),
            "value": found.size,
        }

    def _phases(self, history: History, found: truth.Cascades) -> Columns:
        codes = truth.phases(history, found)
        begins = np.flatnonzero(np.diff(codes, prepend=-1))
        ends = np.append(begins[1:], len(codes))
        return {
            "ts": self._times(history.first + begins * AN_HOUR),
            "until": self._times(history.first + ends * AN_HOUR),
            "label": [truth.PHASES[code] for code in codes[begins]],
        }


# ---- small tools -------------------------------------------------------------------------------------


def _frame(columns: Mapping[str, Any]) -> Any:
    import polars as pl

    return pl.DataFrame(dict(columns))


def _stamps(ns: Ints) -> Any:
    return (ns // US).astype("datetime64[us]")


def _bars(bars: Floats, first: int, step: float) -> Columns:
    """Open, high, low and close lie side by side."""
    return {name: ticks(bars[:, first + i], step) for i, name in enumerate(("open", "high", "low", "close"))}


def _volumes(trade: Columns, flow: Floats, lot: float) -> Columns:
    """Sizes of a bar and their worth at the middle of its prices."""
    middle = (trade["open"] + trade["high"] + trade["low"] + trade["close"]) / 4.0
    volume, bought = ticks(flow[:, 0] + flow[:, 1], lot), flow[:, 0]
    return {
        "volume": volume,
        "quote_volume": volume * middle,
        "trades": np.maximum(1.0, volume * middle / MEAN_TRADE).astype(np.int64),
        "taker_buy_volume": bought,
        "taker_buy_quote_volume": bought * middle,
    }


def _settlements(history: History) -> Floats:
    """Step, rate, hours, price."""
    return np.stack((history.settled.astype(np.float64), history.rate, history.hours, history.price), axis=1)


def _last(steps: Ints, seen: Floats) -> Floats:
    """How each of the steps was entered: the row before it."""
    return np.asarray(seen[SNAPSHOT - 1 + steps - steps[0]])


def _within_the_minute(steps: Floats) -> Any:
    """Events of one minute at equal distances."""
    _, first, count = np.unique(steps, return_index=True, return_counts=True)
    place = np.arange(len(steps)) - np.repeat(first, count)
    ns = (2 * place + 1) * MINUTE // (2 * np.repeat(count, count))
    return (ns // MS * (MS // US)).astype("timedelta64[us]")


def _sides(long: Floats, short: Floats) -> Columns:
    ratio = np.divide(long, short, out=np.full(len(long), np.nan), where=short > 0.0)
    return {"ratio": np.round(ratio, 4), "long": long, "short": short}
