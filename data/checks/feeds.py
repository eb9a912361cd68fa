"""Checks of feeds (open interest, ratios, depth, liquidations) and of what holds for every table."""

from __future__ import annotations

from collections.abc import Iterator

from data import clock, sql
from data.checks import candles
from data.checks.base import Fault, Look, counted, day, fault, long
from data.reading import known
from data.schema import MARKET_TABLES, TABLES, Table
from data.scope import ANY

SNAPSHOTS = ("open_interest", "ratios", "depth", "marks")
EVENTS = ("liquidations", "liquidation_bars", "adl")
KEYED = tuple(t.name for t in TABLES.values() if "venue" in t.key and t.name != "raw")
CLOCKS_DIFFER_S = 60  # a venue's clock may be ahead of ours by as much
SIMULATED = ("sim", "made-up")  # venues whose markets may lie in the future


def duplicates(look: Look) -> Iterator[Fault]:
    """Error: two rows have the same natural key."""
    for row in look.rows_of(KEYED, lambda name: _doubled(look, TABLES[name])):
        yield fault(
            row["table"],
            row,
            f"{counted(int(row['n']), 'row')} too many of the same {', '.join(TABLES[row['table']].key)}: "
            "something other than Unwind wrote to the file. `unwind export` it, and `unwind import lake` the folder "
            "into a new store",
        )


def _doubled(look: Look, t: Table) -> str:
    where, symbol = _where(look, t)
    source = f"SELECT * FROM {sql.name(t.name)} WHERE {where}"
    if t.name == "candles":  # blocks with more rows than bars
        source = f"""
            SELECT * FROM (SELECT *, {candles.BLOCK} AS block FROM candles WHERE {where}) SEMI JOIN (
                SELECT {candles.SERIES}, {candles.BLOCK} AS block FROM candles WHERE {where} GROUP BY ALL
                HAVING count(*) <> {candles.DISTINCT} {candles.FEW_BLOCKS}
            ) USING ({candles.SERIES}, block)
        """
    columns = sql.names(dict.fromkeys((*t.key, t.time)))
    return f"""
        SELECT venue, {symbol} AS symbol, sum(rows - 1) AS n, min({t.time}) AS first, max({t.time}) AS last FROM (
            SELECT {columns}, count(*) AS rows FROM ({source}) GROUP BY ALL HAVING rows > 1
        ) GROUP BY ALL
    """


def _where(look: Look, t: Table) -> tuple[str, str]:
    """The condition on a table, and the column of its symbols ('' where it has none)."""
    if "symbol" not in t.names:
        return look.scope.where(symbol=None), "''"
    return look.scope.where(also=(ANY,) if t.name == "gaps" else ()), "symbol"


def future(look: Look) -> Iterator[Fault]:
    """Error: a row was known only in the future, such as a bar that has not ended (simulated markets aside)."""
    for row in look.rows_of(MARKET_TABLES, lambda name: _ahead(look, TABLES[name])):
        what = "bars that have not ended" if row["table"] == "candles" else "rows that nobody can know yet"
        yield fault(
            row["table"],
            row,
            f"{row['n']:,} {what}, up to {day(row['last'])}: a wrong unit or time zone, or an import in the middle "
            "of a bar. Import that time again; the later import wins",
        )


def _ahead(look: Look, t: Table) -> str:
    limit = f"TIMESTAMP {sql.text(look.now.isoformat(sep=' '))} + INTERVAL {CLOCKS_DIFFER_S} SECOND"
    where, symbol = _where(look, t)
    return f"""
        SELECT venue, {symbol} AS symbol, count(*) AS n, min({t.time}) AS first, max({t.time}) AS last
        FROM {sql.name(t.name)} WHERE {where} AND venue NOT IN {SIMULATED} AND {known(t)} > {limit} GROUP BY ALL
    """


def pauses_of(name: str, where: str) -> str:
    """SQL of the pauses of a table of snapshots, by series: more than two intervals without one.

    Series that have just as many rows as their span has intervals are taken for whole.
    """
    series = f"venue, symbol, {'kind, ' if name == 'ratios' else ''}interval_s"
    whole = "count(*) = (epoch_us(max(ts)) - epoch_us(min(ts))) // (interval_s * 1000000) + 1"
    return f"""
        WITH suspect AS (
            SELECT {series} FROM {name} WHERE {where} AND interval_s > 0 GROUP BY {series} HAVING NOT ({whole})
        ), steps AS (
            SELECT *, lag(ts) OVER (PARTITION BY {series} ORDER BY ts) AS before
            FROM (SELECT DISTINCT {series}, ts FROM {name} SEMI JOIN suspect USING ({series}) WHERE {where})
        )
        SELECT {series}, count(*) AS n, min(before) AS first, max(ts) AS last,
            max(epoch_us(ts) - epoch_us(before)) / 1e6 AS longest, arg_max(before, ts - before) AS place
        FROM steps WHERE epoch_us(ts) - epoch_us(before) > interval_s * 2000000 GROUP BY ALL
    """


def pauses(look: Look) -> Iterator[Fault]:
    """Warning: snapshots of open interest, ratios, depth or marks pause for more than two intervals."""
    for row in look.rows_of(SNAPSHOTS, lambda name: pauses_of(name, look.where)):
        kind = f"{row['kind']} " if row.get("kind") else ""
        yield fault(
            row["table"],
            row,
            f"{kind}{clock.label(row['interval_s'] * clock.SECOND)} snapshots: {counted(row['n'], 'pause')}, the "
            f"longest {long(row['longest'])} from {day(row['place'])}; values are missing there and not carried on. "
            "Import that time again",
        )


def zero_open_interest(look: Look) -> Iterator[Fault]:
    """Warning: open interest is zero between snapshots that are not, or always."""
    query = f"""
        WITH seen AS (
            SELECT venue, symbol, ts, coalesce(quantity, 1) = 0 OR coalesce(value, 1) = 0 AS zero
            FROM open_interest WHERE {look.where}
        ), alive AS (
            SELECT venue, symbol, min(ts) FILTER (NOT zero) AS a, max(ts) FILTER (NOT zero) AS b FROM seen GROUP BY ALL
        )
        SELECT venue, symbol, count(*) AS n, min(ts) AS first, max(ts) AS last
        FROM seen JOIN alive USING (venue, symbol) WHERE zero AND (a IS NULL OR ts BETWEEN a AND b) GROUP BY ALL
    """
    for row in look.rows(query):
        yield fault(
            "open_interest",
            row,
            f"{counted(row['n'], 'snapshot')} of zero open interest: an outage of the source, and it looks like a "
            "total unwinding. Import that time again, or leave those rows out",
        )


def sampled(look: Look) -> Iterator[Fault]:
    """Info: a feed of liquidations shows a sample, or nobody said how much it shows: a lower bound, never a total."""
    for row in look.rows_of(("liquidations", "liquidation_bars"), lambda name: _partial(look, name)):
        what = "a sample of what happened" if row["feed"] == "sampled" else "of a feed that may be incomplete"
        yield fault(
            row["table"],
            row,
            f"{counted(row['n'], 'row')} of {counted(row['symbols'], 'symbol')}: {what}. Sums are a lower bound: "
            "compare them with each other, not with volume or open interest",
        )


def _partial(look: Look, name: str) -> str:
    return f"""
        SELECT venue, feed, CASE WHEN count(DISTINCT symbol) = 1 THEN any_value(symbol) END AS symbol,
            count(*) AS n, count(DISTINCT symbol) AS symbols, min(ts) AS first, max(ts) AS last
        FROM {name} WHERE {look.where} AND feed IN ('sampled', 'unknown') GROUP BY ALL
    """


def feed_down(look: Look) -> Iterator[Fault]:
    """Warning: the recorder noted times at which a feed was down."""
    query = f"""
        SELECT venue, symbol, feed_table, count(*) AS n, min(ts) AS first, max(until) AS last,
            CAST(sum(epoch_us(until) - epoch_us(ts)) AS DOUBLE) / 1e6 AS seconds
        FROM gaps WHERE {look.scope.where(also=(ANY,))} GROUP BY ALL
    """
    for row in look.rows(query):
        yield fault(
            "gaps",
            row,
            f"{row['feed_table']}: the feed was down {counted(row['n'], 'time')}, {long(row['seconds'])} in "
            "all; bars there count as missing, not as calm. Import the venue's archive of those days, if there is one",
        )


def uncovered(look: Look) -> Iterator[Fault]:
    """Warning: between the files of a feed of events lie times for which no file speaks."""
    names = ", ".join(sql.text(n) for n in EVENTS if n in look.tables)
    query = f"""
        WITH spans AS (
            SELECT table_name, coalesce(venue, '') AS venue, unnest(coalesce(symbols, ['{ANY}'])) AS symbol,
                covers_from, covers_to
            FROM ingests WHERE covers_from IS NOT NULL AND table_name IN ({names})
        ), feeds AS (
            SELECT DISTINCT table_name, venue, symbol FROM spans WHERE {look.scope.where(also=(ANY,))}
        ), laid AS (
            SELECT f.*, s.covers_from AS begin, max(s.covers_to) OVER (
                PARTITION BY f.table_name, f.venue, f.symbol ORDER BY s.covers_from, s.covers_to
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS until
            FROM feeds f JOIN spans s
                ON s.table_name = f.table_name AND s.venue = f.venue AND s.symbol IN (f.symbol, '{ANY}')
        )
        SELECT table_name, venue, symbol, count(*) AS n, min(until) AS first, max(begin) AS last,
            CAST(sum(epoch_us(begin) - epoch_us(until)) AS DOUBLE) / 1e6 AS seconds
        FROM laid WHERE begin > until GROUP BY ALL
    """
    for row in look.rows(query):
        yield fault(
            row["table_name"],
            row,
            f"{counted(row['n'], 'stretch', 'stretches')} that no file covers, {long(row['seconds'])} in all: "
            "silence there is not calm. Import the files of those days",
        )


def changed(look: Look) -> Iterator[Fault]:
    """Info: imports replaced stored rows by different ones."""
    asked = ", ".join(map(sql.text, look.tables)) or "''"
    symbols = ", ".join(map(sql.text, look.scope.symbols))
    about = f"(symbols IS NULL OR list_has_any(symbols, [{symbols}]))" if symbols else "TRUE"
    venue = f"venue = {sql.text(look.scope.venue)}" if look.scope.venue is not None else "TRUE"
    query = f"""
        WITH written AS (
            SELECT id, table_name, venue, max(changed) AS changed, max("at") AS stored, max_by(source, "at") AS source,
                CASE WHEN max(len(symbols)) = 1 AND count(DISTINCT symbols[1]) = 1 THEN any_value(symbols[1]) END
                    AS symbol
            FROM ingests WHERE changed > 0 AND table_name IN ({asked}) AND {about} AND {venue} GROUP BY ALL
        )
        SELECT table_name, venue, CAST(sum(changed) AS BIGINT) AS n, count(*) AS times, min(stored) AS first,
            max(stored) AS last, max_by(source, stored) AS source,
            CASE WHEN count(DISTINCT coalesce(symbol, '')) = 1 THEN any_value(symbol) END AS symbol
        FROM written GROUP BY ALL
    """
    for row in look.rows(query):
        yield fault(
            row["table_name"],
            row,
            f"{counted(row['n'], 'row')} replaced by different ones in {counted(row['times'], 'import')}, last from "
            f"{row['source']}: the later import wins. If two sources disagree, keep them in two stores",
        )
