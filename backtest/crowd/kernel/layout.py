"""Where everything lies: rows of the account table, slots of the venue's state, columns of what is recorded.

`a[ROW, account]`: one row a quantity, so that a scan of a level reads memory in order. Money is quote currency, sizes
are coins of a linear contract. The equity of an account is FREE + MARGIN + Q x (price - ENTRY).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

(
    Q,  # coins held, signed
    ENTRY,  # average entry price
    MARGIN,  # what stands behind the position: the posted margin, or the whole wallet of a cross account
    FREE,  # money outside the position
    LIQ,  # mark that liquidates it; NaN: none
    STOP,  # trade price of its stop loss; NaN: none
    DOWN,  # the highest price at which something happens going down; 0: nothing
    UP,  # the lowest price at which something happens going up; inf: nothing
    LEVERAGE,  # habit
    STAKE,  # part of its money put behind a position
    USUAL_STAKE,
    CHASE,  # how much it follows the trend; below 0: trades against it
    STOP_DISTANCE,  # of its stop loss, a fraction of the entry price; 0: none
    PATIENCE,  # mean steps that a position is held
    SIZE,  # money that it came with
    CROSS,  # 1: cross margin
    KIND,
    TOP,  # 1: one of the larger accounts
    REDUCED,  # step of its last partial liquidation
    MET,  # tick in which it was last forced
    FEES_PAID,
    FUNDING_PAID,
) = range(22)
ROWS = 22

RETAIL, CARRY, FUND, MAKER, ARBITRAGE, ENGINE, GUEST = range(7)

(
    STEP,
    FUNDAMENTAL,  # log of the index without what flow does to it
    PRESSURE,  # log distance that flow has pushed the index; it decays
    PREMIUM,  # log distance of the perpetual from the index
    BASIS,  # its slow average, for the mark
    MARK,
    LAST,  # trade price
    RATE,  # funding rate expected at the next settlement, of eight hours
    TO_FUNDING,  # until the next settlement, in parts of eight hours
    THIN,  # the book is thinned by 1 + this
    FORCED,  # notional forced lately, decaying over minutes
    EATEN,  # part of the book that recent orders took and that is not refilled
    VARIANCE,  # of a step's return, trailing
    FAST_TREND,
    SLOW_TREND,
    MOOD,  # appetite for leverage
    SENTIMENT,  # for the long side
    INSURANCE,
    FEES,
    DEPOSITED,  # money that came in from outside, less what went out
    LONG,  # open interest, coins, summed up trade by trade
    EVENTS,  # rows written
    PEAK_FUND,  # highest insurance fund of these eight hours
    BAD_DEBT,  # losses that neither margin nor fund could pay
    PAUSE,  # steps for which trading of new positions is halted
    EXTRA_MARGIN,  # initial margins are multiplied by this
    LAST_WAVE,  # notional newly triggered in the wave: of accounts that were not met before in this tick
    TICK_NUMBER,
    FAST_LEVEL,  # averages of the log index behind the trends
    SLOW_LEVEL,
    RECENT,  # where the ring of recent prices stands
) = range(31)
SLOTS = 31

# what is recorded of a step
(
    T_OPEN, T_HIGH, T_LOW, T_CLOSE, M_OPEN, M_HIGH, M_LOW, M_CLOSE, I_OPEN, I_HIGH, I_LOW, I_CLOSE,
    PREM, OI, DEPTH_BID, DEPTH_ASK, BOUGHT, SOLD, LIQ_LONG, LIQ_SHORT, ADL, FUND_BALANCE, STOPPED, N_WAVES,
    SHARE_LONG, SHARE_TOP, SHARE_TOP_SIZE, RETAIL_LONG, LEVER, FRAGILE_DOWN, FRAGILE_UP, SIGMA,
    FUND_LOW,
) = range(33)  # fmt: skip
COLUMNS = 33

# rows of events
E_STEP, E_KIND, E_ACCOUNT, E_QUANTITY, E_PRICE, E_MARK, E_BANKRUPT, E_EXTRA, E_EQUITY = range(9)
EVENT_COLUMNS = 9
LIQUIDATION_EVENT, ADL_EVENT, WAVE_EVENT = range(3)  # of a wave: newly triggered, its number, flow sent

BLOCK = 256  # accounts that share one highest and one lowest level, and sums of the snapshot
STALE = 2  # row of the blocks' table, behind those two: not 0 where the sums behind it are to be taken anew

MEDIAN_MARK, BASIS_MARK, INDEX_MARK = range(3)
REDUCE_NONE, REDUCE_TIER, REDUCE_TWO_TIERS, REDUCE_FRACTION = range(4)


class Places(NamedTuple):
    """Columns of the accounts that are not the crowd's."""

    maker: int
    arbitrage: int
    engine: int
    guests: int  # the first of them


class Rules(NamedTuple):
    """Every number that the loop needs and that does not change. `backtest.crowd.world` has the units and reasons."""

    # the clock
    ticks: int  # price moves of a step
    # the venue
    taker_fee: float
    closing_fee: float
    liquidation_fee: float
    reduction: int
    reduction_fraction: float
    reduction_above: float
    takeover: int
    backstop: float
    mark_kind: int
    adl_policy: int
    adl_ranking: int
    adl_at_mark: int
    adl_cap: float
    adl_fall: float  # the fund's fall from its peak that starts it; 1: when it is empty
    # the book
    depth: float  # quote currency within 1 %, one side, in quiet times
    half_spread: float
    to_index: float  # part of a move that arbitrage passes on to the index
    permanent: float  # part of what a flow would move a quiet book that stays
    pressure_decay: float  # a step
    premium_decay: float
    premium_slope: float  # premium for each coin that dealers are short
    basis_decay: float  # a tick
    thin_sigmas: float
    thin_liquidations: float
    thin_decay: float  # a tick
    thin_most: float
    refill: float  # a tick
    value_distance: float  # log distance from the fundamental at which buyers of value match the book
    inventory: float  # coins of the makers at which half the book is gone
    hand_on: float  # part of the makers' inventory that arbitrage takes a step
    wave_cap: float  # of depth, in one wave
    engine_rate: float  # of depth, that the liquidation engine sells in a tick
    # the crowd
    retail: int
    fast: int  # the first of them look often
    carry: int
    funds: int
    fast_looks: float  # accounts that look at the market in a step
    slow_looks: float
    carry_looks: float
    entry: float
    trend: float
    opinion: float
    against_funding: float
    long_bias: float
    mood_leverage: float
    mood_entry: float
    trend_entry: float
    fear: float
    derisk: float
    take_profit: float
    largest: float  # position, quote currency
    slice: float  # order, as a part of the depth displayed
    fund_aggression: float
    fund_limit: float
    carry_hurdle: float
    carry_exit: float
    ruin: float
    fast_memory: float  # decay a step of the averages behind the trends
    slow_memory: float
    variance_memory: float
    # breakers
    breaker_margin: float  # volatility over normal at which initial margins rise
    breaker_pause: float
    breaker_factor: float
    breaker_steps: float
    sigma: float  # normal standard deviation of a step
    snapshot: int  # steps between snapshots of ratios
    trades: int  # 0: the crowd only gets closed, it decides nothing
