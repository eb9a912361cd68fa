"""Columns of the arrays that the loops share. All are float64; flags and indices are whole numbers in them.

leg     one row a symbol: its position, its working order, its contract, its bar at hand, its orders not due yet
acc     the account: wallet, measures, the rules of venue, account and costs
tie     tiers; `tables` says from which bar on which rows hold for which symbol
evs     settlements and deleveraging, in order
log     rows written, of all kinds in order of time; no rows where nothing is kept
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Bars = tuple[Floats, ...]  # a column each: as leg's from BAR on, or fewer

# hot: what a quiet bar looks at, one cache line a bar and symbol
H_MARK_LOW, H_MARK_HIGH, H_LOW, H_HIGH, H_VALUE, H_CLOSE, H_PRESENT = range(7)
HOT = 8

(
    Q,
    VE,
    MARGIN,
    LEV,
    STOP,
    TAKE,
    TRAIL,
    ANCHOR,
    ENTRY_BAR,
    LIQ_BAR,
    W_KIND,  # working order: 0 none, 1 market, 2 limit
    W_Q,
    W_LIMIT,
    W_LAST,  # the last bar in which it may fill
    W_LEV,
    W_STOP,
    W_TAKE,
    W_TRAIL,
    W_TARGET,
    FILLED,  # in this bar, by orders
    NO_STOP,  # the bar in which stops do not act again
    REDUCED,  # the bar of the last reduction by fraction
    LIQ_LOW,  # quiet while mark low is above ...
    LIQ_HIGH,
    TRADE_LOW,  # ... and trade low
    TRADE_HIGH,
    T_FIRST,  # tier table
    T_COUNT,
    T_NEXT,
    TRADE_PROFIT,
    TARGET,  # decided at this bar
    BALANCE,  # margin or cross wallet
    RATE_NOW,  # of the tier it is in, with the closing fee
    CUM_NOW,
    N_LOW,  # bounds of that tier
    N_HIGH,
    LIQ_PRICE,
    O_DQ,  # order of this bar
    O_PRICE,
    O_REFERENCE,
    O_FEE,
    O_WHY,
    O_INCREASE,
    O_MARK,
    O_FACTOR,
    LOST,  # liquidated in this bar
    CASH_BASIS,  # equity of the leg is q v - q basis: the entry for contracts, 0 for spot
    IS_CROSS,
    ENTRY_PRICE,
    O_HELD,  # position when the walk of a bar began
    CROSS_PART,  # what its value counts in the cross balance: 1 a cross contract, the collateral weight of spot, else 0
    IS_CONTRACT,
    O_REFUSED,
    O_CAPPED,
    O_SIDE,
    O_SCALED,
    MARK_PLACE,  # marks of a place on the way to the extremes
    MARK_END,
) = range(58)

# of leg, too: the contract
CONTRACT = 58
KIND, MODE, LOT, TICK, MIN_NOTIONAL, LAST_BAR, PAIR = range(CONTRACT, CONTRACT + 7)

# of leg, too: the (finer) bar at hand
BAR = 65
(
    OPEN,
    HIGH,
    LOW,
    CLOSE,
    MARK_OPEN,
    MARK_HIGH,
    MARK_LOW,
    MARK_CLOSE,
    VOLUME,
    SPREAD,
    COST_A,
    COST_B,
    PRESENT,
) = range(BAR, BAR + 13)

# of leg, too, from QUEUE on: SLOT numbers for each order that is not due yet
QUEUE = 78
D_DUE, D_Q, D_LIMIT, D_TTL, D_LEV, D_STOP, D_TAKE, D_TRAIL, D_TARGET = range(9)
SLOT = 9

(
    WALLET,
    EQUITY,
    PEAK,
    FLOOR_EQUITY,  # a lower equity is a new maximum drawdown
    MAX_DRAWDOWN,
    PEAK_BAR,
    UNDER,
    MAX_DURATION,
    RUINED,
    RUINED_BAR,
    EVENT,
    TURNOVER,
    FEES,
    FUNDING,
    SLIPPAGE,
    LIQUIDATIONS,
    LIQUIDATION_LOSS,
    BAD_DEBT,
    REFUSED,
    SCALED,
    AMBIGUOUS,
    SKIPPED,
    TRADES,
    WINS,
    GROSS_PROFIT,
    GROSS_LOSS,
    HOLDING,
    MARGIN_DISTANCE,
    IN_MARKET,
    FILLS,
    DAYS,
    EXPOSURE_SUM,
    NEXT_DUE,
    NEXT_EXPIRY,
    BUSY,  # 1: the next bar is slow whatever it brings
    QUEUED,
    CODE,  # what ended the quiet bars
    BAD_BAR,
    BAD_SYMBOL,
    BAD_VALUE,
    OPEN_LEGS,
    CROSS_LEGS,
    CROSS_BALANCE,  # free of the marks: wallet - isolated margins
    RATIO,
    GROSS,
    DISTANCE,
    NET,
    JOINT_NOW,
    CROSS_RATIO,
    LOGGED,  # rows in the log
    KEEP,  # 1: rows are written
    ALL_CROSS,  # 1: no symbol is isolated
) = range(52)

# of acc, too: rules
RULES = 56
(
    MAKER,
    TAKER,
    LIQUIDATION_FEE,
    CLOSING_FEE,
    REDUCTION,
    REDUCTION_FRACTION,
    REDUCTION_ABOVE,
    RESIDUAL,
    BACKSTOP,
    START,
    LEVERAGE,
    SHORTFALL,
    PATH,
    COLLATERAL,
    CASH_RATE,
    PARTICIPATION,
    DELAY,
    WARMUP,
    DELTA,
    BAR_HOURS,
    SLOTS,  # orders that may wait, a symbol
) = range(RULES, RULES + 21)
ACC = 80

# codes
QUIET_END, QUIET_HIT, QUIET_ORDER, QUIET_ERROR = 0, 1, 2, 3

# res: reserved inputs of a strategy, one row each: constant, column of features (-1: the constant)
R_STOP, R_TAKE, R_TRAIL, R_LIMIT, R_TTL, R_DELAY = range(6)

# evs: settlements and deleveraging
E_BAR, E_INSIDE, E_SYMBOL, E_KIND, E_DETAIL, E_RATE, E_PRICE = range(7)

# log: kind of row, bar, symbol, then what the records of that kind hold
LEDGER_ROW, FILL_ROW, LIQUIDATION_ROW, FUNDING_ROW, REFUSED_ROW = range(5)
LOG = 12
