"""Bars of one parameter set; parameter sets of one block of bars.

A block is a few hundred or thousand bars whose hot rows lie side by side, so that they stay in cache while every set
walks over them; all else is read where it lies. `walk_blocks` alternates between the quiet loop of the strategy, called
by its address, and `slow_bar`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from backtest.jit import jit
from backtest.kernel.extremes import equity_at
from backtest.kernel.layout import (
    BAD_BAR,
    BAD_SYMBOL,
    BAD_VALUE,
    BUSY,
    CLOSE,
    CODE,
    D_DUE,
    DISTANCE,
    ENTRY_PRICE,
    EQUITY,
    FLOOR_EQUITY,
    GROSS,
    H_CLOSE,
    H_PRESENT,
    H_VALUE,
    HOT,
    IN_MARKET,
    KEEP,
    KIND,
    LIQ_BAR,
    LIQ_PRICE,
    LOGGED,
    MARGIN_DISTANCE,
    MARK_CLOSE,
    MARK_HIGH,
    MARK_LOW,
    NET,
    NEXT_DUE,
    NEXT_EXPIRY,
    NO_STOP,
    OPEN_LEGS,
    PEAK,
    PEAK_BAR,
    QUEUE,
    QUIET_END,
    QUIET_ERROR,
    QUIET_ORDER,
    RATIO,
    REDUCED,
    RUINED,
    RUINED_BAR,
    SLOT,
    SLOTS,
    START,
    T_NEXT,
    TARGET,
    UNDER,
    WALLET,
    Bars,
    Flags,
    Floats,
    Ints,
    Q,
)
from backtest.kernel.orders import FOREVER, HOLD, queue_order
from backtest.kernel.rows import bare, bare_row, flat, turned_row
from backtest.kernel.step import measure_marks, slow_bar
from backtest.prepare import INVERSE

ABSURD = 1e6
ROOM = 64  # rows that one bar of one symbol may write, at most
DONE, MORE_ROOM, BAD = 0, 1, 2


@intrinsic
def call_quiet(
    typingctx: Any, address: Any, r: Any, end: Any, base: Any, size: Any, symbols: Any, skip: Any,
    bars: Any, features: Any, columns: Any, parameters: Any, leg: Any, acc: Any, work: Any,
) -> Any:  # fmt: skip
    """Call a quiet loop by its address; arrays are given as addresses too."""
    signature = types.int64(*([types.int64] * 14))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = ir.IntType(64)
        number = ir.PointerType(ir.DoubleType())
        kind = ir.FunctionType(whole, [whole] * 6 + [number] * 7)
        function = builder.inttoptr(args[0], ir.PointerType(kind))
        given = list(args[1:7]) + [builder.inttoptr(a, number) for a in args[7:]]
        return builder.call(function, given)

    return signature, codegen


quietly: Any = call_quiet


@jit
def address(array: Floats) -> Any:
    return array.ctypes.data


@jit
def row_of(array: Floats, s: int) -> Any:
    """The address of one row."""
    return array.ctypes.data + s * array.strides[0]


@jit
def begin(acc: Floats, leg: Floats, tables: Floats) -> None:
    """The state before the first bar."""
    start = acc[START]
    acc[WALLET] = acc[EQUITY] = acc[PEAK] = acc[FLOOR_EQUITY] = start
    acc[PEAK_BAR] = -1.0
    acc[RUINED_BAR] = -1.0
    acc[MARGIN_DISTANCE] = np.inf
    acc[NEXT_DUE] = acc[NEXT_EXPIRY] = FOREVER
    for k in range(len(leg)):
        leg[k, LIQ_BAR] = leg[k, REDUCED] = leg[k, NO_STOP] = -1.0
        leg[k, TARGET] = HOLD
        for d in range(int(acc[SLOTS])):
            leg[k, QUEUE + d * SLOT + D_DUE] = -1.0
        at = 0
        while at < len(tables) and tables[at, 0] != k:
            at += 1
        leg[k, T_NEXT] = at


@jit
def gather(
    hot: Floats, base: int, count: int, mark_close: Floats, close: Floats, screen: Bars, present: Flags, leg: Floats
) -> None:  # fmt: skip
    """What quiet bars look at, side by side: column after column, since columns lie together."""
    symbols = len(leg)
    first, many = base * symbols, count * symbols
    mark_close, close, present = flat(mark_close), flat(close), flat(present)
    hot = bare(hot)
    for c in range(4):  # layout.H_MARK_LOW .. H_HIGH
        column = flat(screen[c])
        for j in range(many):
            hot[j * HOT + c] = column[first + j]
    for k in range(symbols):
        inverse = leg[k, KIND] == INVERSE
        for j in range(k, many, symbols):
            mark = mark_close[first + j]
            hot[j * HOT + H_VALUE] = -1.0 / mark if inverse else mark
            hot[j * HOT + H_CLOSE] = close[first + j]
            hot[j * HOT + H_PRESENT] = 1.0 if present[first + j] else 0.0


@jit
def take_orders(acc: Floats, leg: Floats, feat: Floats, res: Floats, s: int, cols: Bars, i: int) -> bool:
    """What the quiet loop decided at bar i. False: a target that is no number."""
    for k in range(len(leg)):
        target = leg[k, TARGET]
        leg[k, TARGET] = HOLD
        if target == HOLD:
            continue
        if not abs(target) <= ABSURD:
            acc[CODE] = QUIET_ERROR
            acc[BAD_BAR], acc[BAD_SYMBOL], acc[BAD_VALUE] = i, k, target
            return False
        leg[k, MARK_CLOSE], leg[k, CLOSE] = cols[7][i, k], cols[3][i, k]
        queue_order(acc, leg, feat, res, s, k, i, target)
    return True


@jit
def next_stop(acc: Floats, i: int, boundaries: Ints, at: int, stop: int) -> int:
    """The first bar after i that must be slow."""
    end = stop
    if at < len(boundaries) and boundaries[at] < end:
        end = boundaries[at]
    if acc[BUSY] != 0.0:
        end = min(end, i + 1)
    if acc[NEXT_DUE] < end:
        end = max(i + 1, int(acc[NEXT_DUE]))
    if acc[NEXT_EXPIRY] < end:
        end = max(i + 1, int(acc[NEXT_EXPIRY]))
    return end


@jit
def write_series(i: int, acc: Floats, leg: Floats, series: Floats, leg_series: Floats, distances: Floats) -> None:
    """The row of one bar, at its close."""
    series[0, i] = acc[EQUITY]
    series[1, i] = acc[WALLET]
    series[2, i] = acc[RATIO]
    series[3, i] = acc[NET]
    series[4, i] = acc[GROSS]
    distances[i] = acc[DISTANCE]
    for k in range(len(leg)):
        q = leg[k, Q]
        leg_series[0, i, k] = q
        leg_series[1, i, k] = leg[k, ENTRY_PRICE] if q != 0.0 else np.nan
        leg_series[2, i, k] = leg[k, LIQ_PRICE] if q != 0.0 else np.nan


@jit
def quiet_distances(acc: Floats, leg: Floats) -> None:
    """How near the marks of a quiet bar come to the levels of liquidation, which stand still."""
    for k in range(len(leg)):
        at, q = leg[k, LIQ_PRICE], leg[k, Q]
        if q > 0.0 and at == at:
            acc[DISTANCE] = min(acc[DISTANCE], max(0.0, (leg[k, MARK_LOW] - at) / leg[k, MARK_LOW]))
        elif q < 0.0 and at == at:
            acc[DISTANCE] = min(acc[DISTANCE], max(0.0, (at - leg[k, MARK_HIGH]) / leg[k, MARK_HIGH]))


@jit
def fill_quiet(
    first: int,
    stop: int,
    acc: Floats,
    leg: Floats,
    tie: Floats,
    mark_close: Floats,
    mark_low: Floats,
    mark_high: Floats,
    series: Floats,
    leg_series: Floats,
    distances: Floats,
) -> None:
    """The series of quiet bars [first, stop): positions stand still, marks move."""
    in_market, nearest, equity = acc[IN_MARKET], acc[MARGIN_DISTANCE], acc[EQUITY]
    acc[DISTANCE] = np.nan
    for i in range(first, stop):
        if acc[OPEN_LEGS] > 0.0:
            for k in range(len(leg)):
                leg[k, MARK_CLOSE], leg[k, MARK_LOW], leg[k, MARK_HIGH] = (
                    mark_close[i, k],
                    mark_low[i, k],
                    mark_high[i, k],
                )
            acc[EQUITY] = equity_at(acc, leg)
            acc[DISTANCE] = np.inf
            quiet_distances(acc, leg)
            measure_marks(acc, leg, tie, True)
        write_series(i, acc, leg, series, leg_series, distances)
    acc[IN_MARKET], acc[MARGIN_DISTANCE], acc[EQUITY] = in_market, nearest, equity


@jit
def pass_flat(acc: Floats, first: int, stop: int) -> None:
    """Bars [first, stop) in which nothing is open and nobody decides."""
    if stop <= first:
        return
    if acc[EQUITY] >= acc[PEAK]:
        acc[PEAK_BAR] = stop - 1.0
    else:
        acc[UNDER] += stop - first


@jit
def walk_blocks(
    quiet: int, step: int, base: int, stop: int, last: int, at: Ints, accs: Floats, legs: Floats, tie: Floats,
    tables: Floats, evs: Floats, cols: Bars, screen: Bars, present: Flags,
    fine: Bars, fine_present: Flags, fine_first: Ints, day_end: Flags, boundaries: Ints, features: Floats,
    hot: Floats, columns: Floats, parameters: Floats, res: Floats, warmup: Ints,
    daily: Floats,
    work: Floats, spare_acc: Floats, spare_leg: Floats, log: Floats, series: Floats, leg_series: Floats,
    distances: Floats,
) -> int:  # fmt: skip
    """Every set over blocks of `step` bars. What it returns is the status of the first set that stopped early.

    at[s]: the bar that comes next, the boundary that comes next, and whether that bar may be quiet. Every array is seen
    as `Rows` from here on. One function, since a call with so many arguments costs as much as a slow bar.
    """
    symbols, size = legs.shape[2], present.size
    keep = accs[0, KEEP] != 0.0
    tie, tables, evs, log = bare(tie), bare(tables), bare(evs), bare(log)
    feat, res, daily = bare(features), bare(res), bare(daily)
    spare_acc, spare_leg = bare(spare_acc), turned_row(spare_leg, 0)
    series, leg_series, distances = bare(series), bare(leg_series), bare(distances)
    there, day_end, boundaries, warmup, at = bare(present), bare(day_end), bare(boundaries), bare(warmup), bare(at)
    fine_there, fine_first = bare(fine_present), bare(fine_first)
    low_marks, high_marks = bare(screen[0]), bare(screen[1])
    finer = (
        bare(fine[0]), bare(fine[1]), bare(fine[2]), bare(fine[3]), bare(fine[4]), bare(fine[5]), bare(fine[6]),
        bare(fine[7]),
    )  # fmt: skip
    given = (
        bare(cols[0]), bare(cols[1]), bare(cols[2]), bare(cols[3]), bare(cols[4]), bare(cols[5]), bare(cols[6]),
        bare(cols[7]), bare(cols[8]), bare(cols[9]), bare(cols[10]), bare(cols[11]),
    )  # fmt: skip
    for low in range(base, stop, step):
        high = min(low + step, stop)
        gather(hot, low, high - low, cols[7], cols[3], screen, present, turned_row(legs, 0))
        for s in range(len(accs)):
            i, boundary = at[s, 0], at[s, 1]
            acc, leg = bare_row(accs, s), turned_row(legs, s)
            ended = at[s, 2] != 0 and i > warmup[s] and acc[RUINED] == 0.0
            end = next_stop(acc, i - 1, boundaries, boundary, high) if ended else i
            ended = end > i
            if ended:
                i = low + quietly(
                    quiet, i - low - 1, end - low, low, size, symbols, 1, address(hot), address(features),
                    row_of(columns, s), row_of(parameters, s), row_of(legs, s), row_of(accs, s), address(work),
                )  # fmt: skip
                if i == high and acc[CODE] == QUIET_END:
                    at[s, 0] = i
                    continue
            at[s, 2] = 0 if keep else 1
            while True:
                if ended and acc[CODE] == QUIET_ORDER and not take_orders(acc, leg, feat, res, s, given, i - 1):
                    return BAD
                if i >= high:
                    break
                if keep and acc[LOGGED] + ROOM * symbols > len(log):
                    at[s, 0], at[s, 1] = i, boundary
                    return MORE_ROOM
                slow_bar(
                    i, last, acc, leg, tie, tables, evs, given, there, finer, fine_there, fine_first, day_end, daily, s,
                    log, spare_acc, spare_leg,
                )  # fmt: skip
                if keep:
                    write_series(i, acc, leg, series, leg_series, distances)
                while boundary < len(boundaries) and boundaries[boundary] <= i:
                    boundary += 1
                if i == last:
                    i += 1
                    break
                end = next_stop(acc, i, boundaries, boundary, high)
                ended = False
                if i < warmup[s] or acc[RUINED] != 0.0:
                    end = next_undecided(acc, i, warmup[s], end)
                    pass_flat(acc, i + 1, end)
                elif symbols == 1 and not there[i, 0]:
                    end = i + 1
                else:
                    ended = True
                    end = low + quietly(
                        quiet, i - low, end - low, low, size, symbols, 0, address(hot), address(features),
                        row_of(columns, s), row_of(parameters, s), row_of(legs, s), row_of(accs, s), address(work),
                    )  # fmt: skip
                if keep:
                    fill_quiet(
                        i + 1, end, acc, leg, tie, given[7], low_marks, high_marks, series, leg_series, distances
                    )
                i = end
            at[s, 0], at[s, 1] = i, boundary
    return DONE


@jit
def next_undecided(acc: Floats, i: int, warmup: int, end: int) -> int:
    """Nobody decides in warm-up and after ruin: the next bar that something else makes slow."""
    if acc[OPEN_LEGS] > 0.0:
        return i + 1
    return warmup if i < warmup < end else end
