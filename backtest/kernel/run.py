"""From prepared arrays to the loops and back: allocate, walk block by block, cut the rows."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.kernel import drive
from backtest.kernel import layout as at
from backtest.kernel.loop import Loop
from backtest.kernel.quiet import WORK
from backtest.kernel.rows import PLAIN
from backtest.prepare import INVERSE, ISOLATED, Prepared
from backtest.records import FILL, FUNDING, LEDGER, LEG_SERIES, LIQUIDATION, REFUSED, SERIES, Run

Floats = npt.NDArray[np.float64]
KINDS = (LEDGER, FILL, LIQUIDATION, FUNDING, REFUSED)
BLOCK_BYTES = 24 << 10  # of hot rows: with the features a block stays in the first-level cache for all sets
KEPT_BYTES = 256 << 10  # for one set, which begins each block with a slow bar
SPAN = 1 << 15  # bars between two looks at the clock
FIRST_ROWS = 4096


@dataclass(frozen=True)
class Sets:
    """Parameter sets that share features and a loop. One row a set."""

    features: Floats  # (columns, n, k)
    columns: Floats  # (sets, feature arguments of decide)
    parameters: Floats  # (sets, number arguments of decide)
    reserved: Floats  # (sets, 6, 2): constant, column or -1; rows as layout.R_*
    warmup: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.columns)

    def part(self, which: slice) -> Sets:
        return replace(
            self,
            columns=self.columns[which],
            parameters=self.parameters[which],
            reserved=self.reserved[which],
            warmup=self.warmup[which],
        )


@dataclass
class State:
    acc: Floats
    leg: Floats
    daily: Floats
    at: npt.NDArray[np.int64]


@dataclass
class Stage:
    """The arrays of a run that do not change, laid out for the loops."""

    n: int
    k: int
    leg: Floats  # (columns, k): the contracts
    acc: Floats  # the rules
    tie: Floats
    tables: Floats
    evs: Floats
    cols: tuple[Floats, ...]
    screen: tuple[Floats, ...]
    present: npt.NDArray[np.bool_]
    fine: tuple[Floats, ...]
    fine_present: npt.NDArray[np.bool_]
    fine_first: npt.NDArray[np.int64]
    day_end: npt.NDArray[np.bool_]
    boundaries: npt.NDArray[np.int64]
    days: int


class BadDecision(Exception):
    """`decide` gave no target: which set, bar, symbol and value."""

    def __init__(
        self, number: int, bar: int, symbol: int, value: float, state: dict[str, float], books: Floats
    ) -> None:
        super().__init__(f"set {number}, bar {bar}, symbol {symbol}: {value}")
        self.number, self.bar, self.symbol, self.value, self.state = number, bar, symbol, value, state
        self.books = books  # numbers that the strategy keeps of the symbol


def stage(p: Prepared, bar_hours: float = 0.0, own_delay: int = 0, books: tuple[int, int] = (0, 0)) -> Stage:
    """`own_delay`: the most that an order may wait beyond the account's delay. `books`: how many numbers a strategy
    keeps of a symbol: always, and for each order that may wait."""
    b = p.bars
    prices = (b.open, b.high, b.low, b.close, b.mark_open, b.mark_high, b.mark_low, b.mark_close)
    cols = tuple(_plain(x) for x in (*prices, p.volume, p.taking.half_spread, p.taking.a, p.taking.b))
    fine, fine_present = _fine(p)
    t = p.tier_tables
    slots = p.delay + own_delay + 1
    return Stage(
        n=p.n,
        k=p.k,
        leg=_contracts(p, slots, books[0] + slots * books[1]),
        acc=_rules(p, bar_hours, slots),
        tie=_columns(p.tier_rows, *(p.tier_rows.dtype.names or ())),
        tables=_columns(t, "symbol", "bar", "first", "count"),
        evs=_columns(p.events, *(p.events.dtype.names or ())),
        cols=cols,
        screen=_screen(p, cols, fine),
        present=_frozen(b.present),
        fine=fine,
        fine_present=fine_present,
        fine_first=_frozen(np.asarray(p.detail_first if p.detail is not None else [], dtype=np.int64)),
        day_end=_frozen(p.day_end),
        boundaries=_boundaries(p),
        days=int(np.count_nonzero(p.day_end)) + 1,
    )


def _contracts(p: Prepared, slots: int, books: int) -> Floats:
    c = p.contracts
    leg = np.zeros((at.QUEUE + at.SLOT * slots + books, p.k))
    for column, values in (
        (at.KIND, c.kind),
        (at.MODE, c.mode),
        (at.LOT, c.lot),
        (at.TICK, c.tick),
        (at.MIN_NOTIONAL, c.min_notional),
        (at.LAST_BAR, c.last_bar),
        (at.PAIR, c.pair),
    ):
        leg[column] = values
    return leg


def _rules(p: Prepared, bar_hours: float, slots: int) -> Floats:
    acc = np.zeros(at.ACC)
    acc[[at.MAKER, at.TAKER, at.LIQUIDATION_FEE, at.CLOSING_FEE]] = p.maker, p.taker, p.liquidation_fee, p.closing_fee
    acc[[at.REDUCTION, at.REDUCTION_FRACTION]] = p.reduction, p.reduction_fraction
    acc[[at.REDUCTION_ABOVE, at.RESIDUAL, at.BACKSTOP]] = p.reduction_above, p.residual, p.backstop
    acc[[at.START, at.LEVERAGE, at.SHORTFALL, at.PATH]] = p.equity, p.leverage, p.shortfall, p.path
    acc[[at.COLLATERAL, at.CASH_RATE, at.PARTICIPATION]] = p.collateral_weight, p.cash_rate, p.participation
    acc[[at.DELAY, at.SLOTS, at.DELTA, at.BAR_HOURS]] = p.delay, slots, p.taking.delta, bar_hours
    acc[at.ALL_CROSS] = float((p.contracts.mode != ISOLATED).all())
    return acc


def _columns(records: npt.NDArray[np.void], *names: str) -> Floats:
    out = np.zeros((len(records), len(names)))
    for column, name in enumerate(names):
        out[:, column] = records[name]
    return out


def _plain(array: npt.NDArray[Any]) -> Floats:
    """Contiguous and read-only, whoever made it: the loops are compiled for that alone."""
    return _frozen(np.ascontiguousarray(array, dtype=np.float64))


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def _fine(p: Prepared) -> tuple[tuple[Floats, ...], npt.NDArray[np.bool_]]:
    d = p.detail
    if d is None:
        return tuple(_plain(np.zeros((0, p.k))) for _ in range(8)), _frozen(np.zeros((0, p.k), dtype=np.bool_))
    prices = (d.open, d.high, d.low, d.close, d.mark_open, d.mark_high, d.mark_low, d.mark_close)
    return tuple(_plain(x) for x in prices), _frozen(d.present)


def _screen(p: Prepared, cols: tuple[Floats, ...], fine: tuple[Floats, ...]) -> tuple[Floats, ...]:
    """Mark low and high, trade low and high of each bar; of its finer bars where it has some, as they are what acts."""
    own = (cols[6], cols[5], cols[2], cols[1])
    if p.detail is None:
        return own
    first = np.asarray(p.detail_first)
    some = first[1:] > first[:-1]
    out = []
    for coarse, column, reduce in zip(own, (6, 5, 2, 1), (np.minimum, np.maximum) * 2, strict=True):
        wide = coarse.copy()
        wide[some] = reduce.reduceat(fine[column], first[:-1][some], axis=0)
        out.append(_frozen(wide))
    return tuple(out)


def _boundaries(p: Prepared) -> npt.NDArray[np.int64]:
    """Bars that are slow for every set: something happens in them that is no decision and no level."""
    marked = np.array(p.day_end, dtype=bool)
    marked[p.events["bar"]] = True
    marked[p.tier_tables["bar"][p.tier_tables["bar"] < p.n]] = True
    marked[p.contracts.last_bar[p.contracts.last_bar >= 0]] = True
    present = p.bars.present
    if p.k == 1:
        marked |= ~present[:, 0]
    else:
        marked[1:] |= (present[1:] != present[:-1]).any(axis=1)
    marked[-1] = True
    return np.flatnonzero(marked).astype(np.int64)


def begin(s: Stage, sets: Sets, *, keep: bool) -> State:
    many = len(sets)
    state = State(
        acc=np.tile(s.acc, (many, 1)),
        leg=np.tile(s.leg, (many, 1, 1)),
        daily=np.zeros((many, s.days)),
        at=np.zeros((many, 3), dtype=np.int64),
    )
    state.acc[:, at.KEEP] = keep
    state.acc[:, at.SKIPPED] = np.minimum(sets.warmup, s.n)
    for j in range(many):
        drive.begin(state.acc[j], state.leg[j].T, s.tables)
    return state


def block_bars(s: Stage, keep: bool) -> int:
    most = KEPT_BYTES if keep else BLOCK_BYTES
    return max(16 if s.k == 1 else 64, min(s.n, most // (8 * s.k * at.HOT)))


@dataclass
class Kept:
    """What one set leaves behind: the log and the series."""

    log: Floats
    series: Floats
    legs: Floats
    distances: Floats


def walk(
    s: Stage,
    sets: Sets,
    loop: Loop,
    state: State,
    *,
    progress: Callable[[int], None] | None = None,
) -> Kept:
    """All bars of some sets. Where the state says so, the rows and series of one set are kept."""
    keep = bool(state.acc[0, at.KEEP])
    step = block_bars(s, keep)
    many = s.n if keep else 0
    log = np.empty((FIRST_ROWS + drive.ROOM * s.k if keep else 0, at.LOG))
    kept = Kept(log, np.empty((len(SERIES), many)), np.empty((len(LEG_SERIES), many, s.k)), np.empty(many))
    hot = np.empty(step * s.k * at.HOT)
    work, spare_acc, spare_leg = np.empty((WORK + 1) * s.k), np.empty_like(s.acc), np.empty((1, *s.leg.shape))
    call = drive.walk_blocks if loop.address else plain_walk()
    quiet: Any = loop.address or loop.plain
    base = 0
    while base < s.n:
        stop = min(base + SPAN // step * step + step, s.n)
        status = call(
            quiet, step, base, stop, s.n - 1, state.at, state.acc, state.leg, s.tie, s.tables, s.evs,
            s.cols, s.screen, s.present, s.fine, s.fine_present, s.fine_first, s.day_end, s.boundaries, sets.features,
            hot, sets.columns, sets.parameters, sets.reserved, sets.warmup,
            state.daily, work, spare_acc, spare_leg, kept.log, kept.series, kept.legs, kept.distances,
        )  # fmt: skip
        if status == drive.MORE_ROOM:
            kept.log = np.concatenate([kept.log, np.empty_like(kept.log)])
            base = int(state.at[0, 0]) // step * step
            continue
        if status == drive.BAD:
            raise _bad(state, s)
        base = stop
        if progress is not None:
            progress(stop)
    return kept


def _bad(state: State, s: Stage) -> BadDecision:
    """The states that a decision saw, once more."""
    number = int(np.flatnonzero(state.acc[:, at.CODE] == at.QUIET_ERROR)[0])
    acc = state.acc[number]
    bar, symbol = int(acc[at.BAD_BAR]), int(acc[at.BAD_SYMBOL])
    leg = state.leg[number, :, symbol]
    mark = s.cols[7][bar, symbol]
    q, equity = float(leg[at.Q]), float(acc[at.EQUITY])
    inverse = leg[at.KIND] == INVERSE
    size, value = (1.0 / mark, -1.0 / mark) if inverse else (mark, mark)
    gain = q * (value - leg[at.CASH_BASIS])
    behind = leg[at.BALANCE] + gain
    needed = max(0.0, abs(q) * size * leg[at.RATE_NOW] - leg[at.CUM_NOW])
    alone = needed / behind if behind > 0.0 else np.inf
    crossed = leg[at.IS_CROSS] != 0.0 and s.k > 1
    seen = {
        "position": q * size / equity if equity else 0.0,
        "entry_price": leg[at.ENTRY_PRICE] if q else np.nan,
        "bars_held": bar - leg[at.ENTRY_BAR] + 1.0 if q else 0.0,
        "unrealized": q * (value - leg[at.VE]) / equity if q and equity else 0.0,
        "equity": equity,
        "drawdown": 1.0 - equity / acc[at.PEAK],
        "margin_ratio": (acc[at.CROSS_RATIO] if crossed else alone) if q else 0.0,
        "bars_since_liquidation": bar - leg[at.LIQ_BAR] if leg[at.LIQ_BAR] >= 0.0 else 1e9,
    }
    state_seen = {name: float(x) for name, x in seen.items()}
    books = leg[at.QUEUE + at.SLOT * int(acc[at.SLOTS]) :].copy()
    return BadDecision(number, bar, symbol, float(acc[at.BAD_VALUE]), state_seen, books)


def cut(log: Floats) -> list[npt.NDArray[np.void]]:
    """The log becomes records, one array a kind."""
    out = []
    for kind, dtype in enumerate(KINDS):
        rows = log[log[:, 0] == kind]
        record = np.empty(len(rows), dtype=dtype)
        for column, name in enumerate(dtype.names or ()):
            record[name] = rows[:, column + 1]
        out.append(record)
    return out


def as_run(state: State, kept: Kept) -> Run:
    acc = state.acc[0]
    ledger, fills, liquidations, fundings, refused = cut(kept.log[: int(acc[at.LOGGED])])
    return Run(
        series={name: kept.series[j] for j, name in enumerate(SERIES)},
        leg_series={name: kept.legs[j] for j, name in enumerate(LEG_SERIES)},
        ledger=ledger,
        fills=fills,
        liquidations=liquidations,
        fundings=fundings,
        refused=refused,
        margin_distance=kept.distances,
        scaled=int(acc[at.SCALED]),
        ambiguous=int(acc[at.AMBIGUOUS]),
        skipped=int(acc[at.SKIPPED]),
        ruined_bar=int(acc[at.RUINED_BAR]),
    )


# ---- the same in plain Python ---------------------------------------------------------------------


def plain_walk() -> Callable[..., int]:
    """`walk_blocks` whose quiet loop is a Python function; the slow bars are what they are."""

    def own(function: Any, **others: Any) -> Any:
        plain = getattr(function, "py_func", function)
        return types.FunctionType(plain.__code__, {**plain.__globals__, **others}, plain.__name__)

    def call(quiet: Callable[..., int], *given: Any) -> int:
        flat = [np.asarray(a).reshape(-1) for a in given[6:]]
        return int(quiet(*given[:6], *flat))

    def row(array: Any, s: int) -> Any:
        return array[s]

    def same(array: Any) -> Any:
        return array

    whole: Callable[..., int] = own(drive.walk_blocks, quietly=call, address=same, row_of=row, **PLAIN)
    return whole
