"""Checks of candles, quick on tens of millions of rows.

Sorting all bars to compare each with its neighbour is what takes long. So a check first sums up blocks of 60 bars in
one unsorted scan, which tells the blocks where a fault is possible, and looks at the bars of those alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from data.checks.base import Fault, Look, bars, counted, day, fault
from data.scope import ANY

SPIKE = 0.10  # a move smaller than this is never an outlier
SPIKE_TIMES = 20  # nor one smaller than this many times the median absolute return
CROWD = 5  # spikes of as many symbols in one bar are told as one
STALE_BARS = 10  # a mark may stand still for as long
STALE_MOVE = 0.005  # and longer while trades move no more than this
MARK_FAR = 0.05
QUIET_BARS = 30
QUIET_MOVE = 0.001

SERIES = "venue, symbol, price, interval_s"
_ORIGIN = "(CASE WHEN interval_s % 604800 = 0 THEN 345600000000 ELSE 0 END)"  # weeks begin on Monday
SLOT = f"(epoch_us(ts) - {_ORIGIN}) // (interval_s * 1000000)"  # number of a bar within its series
BLOCK = f"(epoch_us(ts) - {_ORIGIN}) // (interval_s * 60000000)"
_TIME = f"make_timestamp(CAST({{}} AS BIGINT) * interval_s * 1000000 + {_ORIGIN})"
# Tells the planner that these are few, so that it does not build its hash table of all bars instead, which takes long.
FEW_BLOCKS = "LIMIT 4000000"
# Bars of a block, doubled ones once.
DISTINCT = f"bit_count(bit_or(CAST(1 AS UBIGINT) << CAST({SLOT} % 60 AS UBIGINT)))"


def gaps(look: Look) -> Iterator[Fault]:
    """Warning: bars are missing between the first and the last of a series."""
    query = f"""
        WITH blocks AS (
            SELECT {SERIES}, {BLOCK} AS block, {DISTINCT} AS n, min({SLOT}) AS low, max({SLOT}) AS high
            FROM candles WHERE {look.where} GROUP BY ALL
        ), torn AS (
            SELECT {SERIES}, block FROM blocks WHERE high - low + 1 > n {FEW_BLOCKS}
        ), within AS (
            SELECT {SERIES}, {BLOCK} AS block, {SLOT} AS slot FROM candles WHERE {look.where}
        ), steps AS (
            SELECT {SERIES}, lag(high) OVER (PARTITION BY {SERIES} ORDER BY block) AS a, low AS b FROM blocks
            UNION ALL
            SELECT {SERIES}, lag(slot) OVER (PARTITION BY {SERIES}, block ORDER BY slot), slot
            FROM within SEMI JOIN torn USING ({SERIES}, block)
        )
        SELECT {SERIES}, sum(b - a - 1) AS n, count(*) AS places, max(b - a - 1) AS longest,
            {_TIME.format("min(a) + 1")} AS first, {_TIME.format("max(b) - 1")} AS last,
            {_TIME.format("arg_max(a, b - a) + 1")} AS place
        FROM steps WHERE b - a > 1 GROUP BY {SERIES}
    """
    for row in look.rows(query):
        several = f"in {row['places']:,} places, the longest {int(row['longest']):,} bars"
        where = several if row["places"] > 1 else "in a row"
        yield fault(
            "candles",
            row,
            f"{bars(row)}: {counted(int(row['n']), 'bar is', 'bars are')} missing {where} from {day(row['place'])}; "
            "import that time again. What the venue itself lacks stays out, and does not trade",
        )


def impossible_bars(look: Look) -> Iterator[Fault]:
    """Error: a bar's high lies below its open, close or low, or its low above its open or close."""
    broken = "(high < greatest(open, close, low) OR low > least(open, close))"
    for row in look.rows(_plain(look, broken)):
        yield fault(
            "candles",
            row,
            f"{bars(row)}: {counted(row['n'], 'bar')} with a high or low on the wrong side; columns may be swapped "
            "in the mapping. Import it again from a sound source: stops and liquidations act on these prices",
        )


def bad_prices(look: Look) -> Iterator[Fault]:
    """Error: a trade, mark or index price is zero or negative (a premium may be)."""
    for row in look.rows(_plain(look, "price <> 'premium' AND least(open, high, low, close) <= 0")):
        yield fault(
            "candles",
            row,
            f"{bars(row)}: {counted(row['n'], 'bar')} with a price of zero or below; import that time again, or leave "
            "those bars out: a missing bar does not trade, a zero liquidates",
        )


def _plain(look: Look, broken: str) -> str:
    return f"""
        SELECT {SERIES}, count(*) AS n, min(ts) AS first, max(ts) AS last
        FROM candles WHERE {look.where} AND {broken} GROUP BY ALL
    """


def outliers(look: Look) -> Iterator[Fault]:
    """Warning: a price leaves and comes back, by a wick or a single close, further than 10 % and than 20 times the
    median absolute return of the series' bars; unless another price of the symbol (trade, mark, index) spans half as
    much in the same bar."""
    for row in look.rows(_spikes(look)):
        many = row["symbols"] > 1
        what = counted(row["n"], "spike") + (f" of {row['symbols']:,} symbols in the same bars" if many else "")
        source = "the whole market moved, or the source is at fault" if many else "a bad print or a cascade"
        yield fault(
            "candles",
            row,
            f"{bars(row)}: {what} that came straight back, the largest {row['move']:.0%} at "
            f"{day(row['place'])}; {source}: "
            "compare with the mark, or with another venue",
        )


def _spikes(look: Look) -> str:
    """Spikes by series; those of many symbols in one bar as the symbol *."""
    return f"""
        WITH priced AS NOT MATERIALIZED (
            SELECT {SERIES}, ts, {BLOCK} AS block, open, high, low, close
            FROM candles WHERE {look.where} AND price <> 'premium' AND low > 0 AND open > 0 AND close > 0
        ), wide AS (
            SELECT {SERIES}, block FROM priced GROUP BY ALL
            HAVING greatest(max(high), max(close), max(open)) > (1 + {SPIKE}) * least(min(low), min(close), min(open))
            {FEW_BLOCKS}
        ), near AS (
            SELECT DISTINCT {SERIES}, unnest([block - 1, block, block + 1]) AS block FROM wide
        ), around AS (
            SELECT {SERIES}, ts, close,
                greatest(high / greatest(open, close) - 1, 1 - low / least(open, close)) AS wick,
                lag(close) OVER w AS before, lead(close) OVER w AS after
            FROM priced SEMI JOIN near USING ({SERIES}, block)
            WINDOW w AS (PARTITION BY {SERIES} ORDER BY ts)
        ), moved AS (
            SELECT {SERIES}, ts, greatest(wick, CASE
                WHEN abs(after - before) < 0.5 * abs(close - before) THEN abs(close / before - 1) ELSE 0 END) AS move
            FROM around
        ), spikes AS MATERIALIZED (
            SELECT * FROM moved WHERE move > {SPIKE} {FEW_BLOCKS}
        ), usual AS (
            SELECT {SERIES}, median(abs(close / open - 1)) AS usual
            FROM priced SEMI JOIN spikes USING ({SERIES}) GROUP BY ALL
        ), confirmed AS (
            SELECT s.venue, s.symbol, s.price, s.interval_s, s.ts FROM spikes s JOIN priced o
            ON o.venue = s.venue AND o.symbol = s.symbol AND o.interval_s = s.interval_s AND o.ts = s.ts
            WHERE o.price <> s.price AND o.high > (1 + s.move / 2) * o.low
        ), odd AS (
            SELECT {SERIES}, ts, move, count(*) OVER (PARTITION BY venue, price, interval_s, ts) >= {CROWD} AS crowded
            FROM spikes JOIN usual USING ({SERIES}) ANTI JOIN confirmed USING ({SERIES}, ts)
            WHERE move > {SPIKE_TIMES} * usual
        )
        SELECT venue, CASE WHEN crowded THEN '{ANY}' ELSE symbol END AS symbol, price, interval_s, count(*) AS n,
            count(DISTINCT odd.symbol) AS symbols, min(ts) AS first, max(ts) AS last, max(move) AS move,
            arg_max(ts, move) AS place
        FROM odd GROUP BY ALL
    """


def stale_mark(look: Look) -> Iterator[Fault]:
    """Warning: the mark stands still for more than 10 bars while trades move by more than 0.5 %."""
    query = f"""
        WITH flat AS (
            SELECT venue, symbol, interval_s, ts, {SLOT} - row_number() OVER (
                PARTITION BY venue, symbol, interval_s, close ORDER BY ts) AS run, close
            FROM candles WHERE {look.where} AND price = 'mark' AND high = low
        ), stuck AS (
            SELECT *, count(*) OVER (PARTITION BY venue, symbol, interval_s, close, run) AS bars FROM flat
            QUALIFY bars > {STALE_BARS}
        ), runs AS (
            SELECT venue, symbol, interval_s, s.close, run, count(*) AS bars, min(ts) AS first, max(ts) AS last
            FROM stuck s JOIN candles c USING (venue, symbol, interval_s, ts) WHERE c.price = 'trade'
            GROUP BY ALL HAVING max(c.high) > (1 + {STALE_MOVE}) * min(c.low)
        )
        SELECT venue, symbol, 'mark' AS price, interval_s, sum(bars) AS n, min(first) AS first, max(last) AS last,
            max(bars) AS longest, arg_max(first, bars) AS place
        FROM runs GROUP BY ALL
    """
    for row in look.rows(query):
        yield fault(
            "candles",
            row,
            f"{bars(row)}: the mark stands still while trades move, the longest for {row['longest']:,} bars from "
            f"{day(row['place'])}; import it again, or remove it: then trade prices stand in for it",
        )


def mark_far(look: Look) -> Iterator[Fault]:
    """Warning: a mark close lies more than 5 % from the trade close of the same bar."""
    query = f"""
        WITH paired AS NOT MATERIALIZED (
            SELECT venue, symbol, interval_s, price, ts, {BLOCK} AS block, close
            FROM candles WHERE {look.where} AND price IN ('trade', 'mark') AND close > 0
        ), apart AS (
            SELECT venue, symbol, interval_s, block FROM paired GROUP BY ALL
            HAVING max(close) FILTER (price = 'mark') > (1 + {MARK_FAR}) * min(close) FILTER (price = 'trade')
                OR min(close) FILTER (price = 'mark') < (1 - {MARK_FAR}) * max(close) FILTER (price = 'trade')
            {FEW_BLOCKS}
        ), bars AS MATERIALIZED (
            SELECT * FROM paired SEMI JOIN apart USING (venue, symbol, interval_s, block)
        ), away AS (
            SELECT venue, symbol, interval_s, m.ts, m.close / t.close - 1 AS off
            FROM bars m JOIN bars t USING (venue, symbol, interval_s, ts) WHERE m.price = 'mark' AND t.price = 'trade'
        )
        SELECT venue, symbol, 'mark' AS price, interval_s, count(*) AS n, min(ts) AS first, max(ts) AS last,
            arg_max(off, abs(off)) AS off, arg_max(ts, abs(off)) AS place
        FROM away WHERE abs(off) > {MARK_FAR} GROUP BY ALL
    """
    for row in look.rows(query):
        yield fault(
            "candles",
            row,
            f"{bars(row)}: {counted(row['n'], 'bar')} more than 5 % from the trades, the furthest {row['off']:+.1%} at "
            f"{day(row['place'])}; true in a cascade. Where it is constant, mark and trades are not of one contract",
        )


def quiet_volume(look: Look) -> Iterator[Fault]:
    """Warning: the volume of 30 bars or more in a row is zero while their prices move by more than 0.1 %."""
    query = f"""
        WITH quiet AS (
            SELECT {SERIES}, ts, high, low, {SLOT} - row_number() OVER (PARTITION BY {SERIES} ORDER BY ts) AS run
            FROM candles WHERE {look.where} AND price = 'trade' AND volume = 0
        ), runs AS (
            SELECT {SERIES}, run, count(*) AS bars, min(ts) AS first, max(ts) AS last FROM quiet GROUP BY ALL
            HAVING bars >= {QUIET_BARS} AND max(high) > (1 + {QUIET_MOVE}) * min(low)
        )
        SELECT {SERIES}, sum(bars) AS n, min(first) AS first, max(last) AS last, max(bars) AS longest,
            arg_max(first, bars) AS place
        FROM runs GROUP BY ALL
    """
    for row in look.rows(query):
        yield fault(
            "candles",
            row,
            f"{bars(row)}: prices move without volume, the longest for {row['longest']:,} bars from "
            f"{day(row['place'])}; these may be no trades but quotes. Slippage that looks at volume is wrong there",
        )


def after_delisting(look: Look) -> Iterator[Fault]:
    """Warning: trade or mark bars open at or after the time at which the instrument was delisted."""
    query = f"""
        WITH ended AS (
            SELECT venue, symbol, arg_max(delisted, (valid_from, known_at)) AS delisted,
                arg_max(delisted IS NULL, (valid_from, known_at)) AS lives
            FROM instruments WHERE {look.where} GROUP BY ALL
        )
        SELECT venue, symbol, count(*) AS n, min(ts) AS first, max(ts) AS last, any_value(delisted) AS delisted
        FROM candles JOIN ended USING (venue, symbol)
        WHERE NOT lives AND price IN ('trade', 'mark') AND ts >= delisted GROUP BY ALL
    """
    for row in look.rows(query):
        yield fault(
            "candles",
            row,
            f"{counted(row['n'], 'bar')} of trades or mark after the delisting of {day(row['delisted'])}; the date is "
            "wrong, or another contract took the name: end the backtest before it",
        )
