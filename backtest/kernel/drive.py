"""Bars of one parameter set; parameter sets of one block of bars.

A block is a few hundred or thousand bars whose hot rows and features lie side by side, so that they stay in cache while
every set walks over them. `walk_set` alternates between the quiet loop of the strategy, called by its address, and
`slow_bar`.
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
    H_HIGH,
    H_LOW,
    H_MARK,
    H_MARK_HIGH,
    H_MARK_LOW,
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
    Flags,
    Floats,
    Ints,
    Q,
)
from backtest.kernel.orders import FOREVER, HOLD, queue_order
from backtest.kernel.step import measure_marks, slow_bar
from backtest.prepare import INVERSE

ABSURD = 1e6
ROOM = 64  # rows that one bar of one symbol may write, at most
DONE, MORE_ROOM, BAD = 0, 1, 2


@intrinsic
def call_quiet(
    typingctx: Any, address: Any, r: Any, end: Any, base: Any, width: Any, symbols: Any, inverse: Any, stride: Any,
    bars: Any, features: Any, columns: Any, parameters: Any, leg: Any, acc: Any, work: Any,
) -> Any:  # fmt: skip
    """Call a quiet loop by its address; arrays are given as addresses too."""
    signature = types.int64(*([types.int64] * 15))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = ir.IntType(64)
        number = ir.PointerType(ir.DoubleType())
        kind = ir.FunctionType(whole, [whole] * 7 + [number] * 7)
        function = builder.inttoptr(args[0], ir.PointerType(kind))
        given = list(args[1:8]) + [builder.inttoptr(a, number) for a in args[8:]]
        return builder.call(function, given)

    return signature, codegen


quietly: Any = call_quiet


@jit
def address(array: Floats) -> Any:
    return array.ctypes.data


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
    hot: Floats,
    rows: Floats,
    base: int,
    count: int,
    cols: tuple[Floats, ...],
    screen: tuple[Floats, ...],
    present: Flags,
    leg: Floats,
    features: Floats,
) -> None:
    """Hot rows and features of one block of bars, side by side."""
    symbols = cols[0].shape[1]
    width = len(features)
    for r in range(count):
        i = base + r
        for k in range(symbols):
            b = (r * symbols + k) * HOT
            hot[b + H_MARK_LOW] = screen[0][i, k]
            hot[b + H_MARK_HIGH] = screen[1][i, k]
            hot[b + H_LOW] = screen[2][i, k]
            hot[b + H_HIGH] = screen[3][i, k]
            mark = cols[7][i, k]
            hot[b + H_VALUE] = -1.0 / mark if leg[k, KIND] == INVERSE else mark
            hot[b + H_MARK] = mark
            hot[b + H_CLOSE] = cols[3][i, k]
            hot[b + H_PRESENT] = 1.0 if present[i, k] else 0.0
            f = (r * symbols + k) * width
            for c in range(width):
                rows[f + c] = features[c, i, k]


@jit
def take_orders(acc: Floats, leg: Floats, feat: Floats, res: Floats, cols: tuple[Floats, ...], i: int) -> bool:
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
        queue_order(acc, leg, feat, res, k, i, target)
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
    """`extremes.note_distances`, where the levels stand."""
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
    cols: tuple[Floats, ...],
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
                leg[k, MARK_CLOSE], leg[k, MARK_LOW], leg[k, MARK_HIGH] = cols[7][i, k], cols[6][i, k], cols[5][i, k]
            acc[EQUITY] = equity_at(acc, leg)
            acc[DISTANCE] = np.inf
            quiet_distances(acc, leg)
            measure_marks(acc, leg, tie)
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
def walk_set(
    quiet: int,
    base: int,
    stop: int,
    last: int,
    at: Ints,
    acc: Floats,
    leg: Floats,
    tie: Floats,
    tables: Floats,
    evs: Floats,
    cols: tuple[Floats, ...],
    present: Flags,
    fine: tuple[Floats, ...],
    fine_present: Flags,
    fine_first: Ints,
    day_end: Flags,
    boundaries: Ints,
    features: Floats,
    hot: Floats,
    hot_rows: Floats,
    columns: Floats,
    parameters: Floats,
    res: Floats,
    warmup: int,
    daily: Floats,
    work: Floats,
    spare_acc: Floats,
    spare_leg: Floats,
    log: Floats,
    series: Floats,
    leg_series: Floats,
    distances: Floats,
) -> int:
    """One set, from the bar at[0] (whose mechanics are not done) to the end of the block."""
    i, boundary = at[0], at[1]
    symbols, width = len(leg), len(features)
    inverse = 1 if leg[0, KIND] == INVERSE else 0
    keep = acc[KEEP] != 0.0
    status = DONE
    while i < stop:
        if keep and acc[LOGGED] + ROOM * symbols > len(log):
            status = MORE_ROOM
            break
        slow_bar(
            i, last, acc, leg, tie, tables, evs, cols, present, fine, fine_present, fine_first, day_end, daily, log,
            spare_acc, spare_leg,
        )  # fmt: skip
        if keep:
            write_series(i, acc, leg, series, leg_series, distances)
        while boundary < len(boundaries) and boundaries[boundary] <= i:
            boundary += 1
        if i == last:
            i += 1
            break
        end = next_stop(acc, i, boundaries, boundary, stop)
        if i < warmup or acc[RUINED] != 0.0:
            end = next_undecided(acc, i, warmup, end)
            pass_flat(acc, i + 1, end)
        elif symbols == 1 and not present[i, 0]:
            end = i + 1
        else:
            acc[CODE] = QUIET_END
            end = base + quietly(
                quiet, i - base, end - base, base, width, symbols, inverse, leg.shape[1], address(hot),
                address(hot_rows), address(columns), address(parameters), address(leg), address(acc), address(work),
            )  # fmt: skip
        if keep:
            fill_quiet(i + 1, end, acc, leg, tie, cols, series, leg_series, distances)
        decided = acc[CODE] == QUIET_ORDER
        acc[CODE] = QUIET_END
        i = end
        if decided and not take_orders(acc, leg, features, res, cols, i - 1):
            status = BAD
            break
    at[0], at[1] = i, boundary
    return status


@jit
def next_undecided(acc: Floats, i: int, warmup: int, end: int) -> int:
    """Nobody decides in warm-up and after ruin: the next bar that something else makes slow."""
    if acc[OPEN_LEGS] > 0.0:
        return i + 1
    return warmup if i < warmup < end else end


@jit
def walk_block(
    quiet: int,
    base: int,
    stop: int,
    last: int,
    at: Ints,
    acc: Floats,
    leg: Floats,
    tie: Floats,
    tables: Floats,
    evs: Floats,
    cols: tuple[Floats, ...],
    screen: tuple[Floats, ...],
    present: Flags,
    fine: tuple[Floats, ...],
    fine_present: Flags,
    fine_first: Ints,
    day_end: Flags,
    boundaries: Ints,
    features: Floats,
    hot: Floats,
    hot_rows: Floats,
    columns: Floats,
    parameters: Floats,
    res: Floats,
    warmup: Ints,
    daily: Floats,
    work: Floats,
    spare_acc: Floats,
    spare_leg: Floats,
    log: Floats,
    series: Floats,
    leg_series: Floats,
    distances: Floats,
) -> int:
    """Every set over one block of bars. What it returns is the status of the first set that stopped early."""
    gather(hot, hot_rows, base, stop - base, cols, screen, present, leg[0], features)
    for s in range(len(acc)):
        status = walk_set(
            quiet, base, stop, last, at[s], acc[s], leg[s], tie, tables, evs, cols, present, fine, fine_present,
            fine_first, day_end, boundaries, features, hot, hot_rows, columns[s], parameters[s], res[s], warmup[s],
            daily[s], work, spare_acc, spare_leg, log, series, leg_series, distances,
        )  # fmt: skip
        if status != DONE:
            return status
    return DONE
