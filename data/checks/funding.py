"""Checks of funding settlements against the interval that each states, or that is usual for its symbol."""

from __future__ import annotations

from collections.abc import Iterator

from data.checks.base import Fault, Look, counted, day, fault, long

PERCENT = 0.003  # a median |rate| above this is no fraction
FEW = 30  # fewer settlements, or in fewer days, may just be a squeeze
FEW_DAYS = 7


def steps(where: str) -> str:
    """SQL of the settlements, the latest version of each, with the hours since the one before and those expected."""
    return f"""
        SELECT venue, symbol, ts, rate, interval_hours, lag(ts) OVER w AS before,
            (epoch_us(ts) - epoch_us(lag(ts) OVER w)) / 3.6e9 AS hours,
            lag(interval_hours) OVER w AS interval_before,
            coalesce(interval_hours, mode(interval_hours) OVER (PARTITION BY venue, symbol)) AS expected
        FROM (
            SELECT venue, symbol, ts, arg_max(rate, known_at) AS rate,
                nullif(arg_max(interval_hours, known_at), 0) AS interval_hours
            FROM funding WHERE {where} GROUP BY ALL
        ) WINDOW w AS (PARTITION BY venue, symbol ORDER BY ts)
    """


def missing(where: str) -> str:
    """SQL of the settlements that are missing, by symbol. A market counts them by the same rule."""
    step = "to_microseconds(CAST(expected * 3.6e9 AS BIGINT))"
    return f"""
        SELECT venue, symbol, CAST(sum(round(hours / expected) - 1) AS BIGINT) AS n, count(*) AS places,
            min(before + {step}) AS first, max(ts - {step}) AS last,
            max(hours) AS longest, arg_max(before, hours) AS place
        FROM ({steps(where)}) WHERE round(hours / expected) > 1 GROUP BY ALL
    """


def settlements_missing(look: Look) -> Iterator[Fault]:
    """Warning: the time between two settlements is that of two intervals or more."""
    for row in look.rows(missing(look.where)):
        yield fault(
            "funding",
            row,
            f"{counted(row['n'], 'settlement is', 'settlements are')} missing, the longest silence "
            f"{long(row['longest'] * 3600)} from "
            f"{day(row['place'])}; import that time again: a backtest pays nothing there and reports the number",
        )


def settlements_doubled(look: Look) -> Iterator[Fault]:
    """Error: two settlements lie less than half an interval apart."""
    query = f"""
        SELECT venue, symbol, count(*) AS n, min(ts) AS first, max(ts) AS last, min(hours) AS nearest
        FROM ({steps(look.where)}) WHERE hours < expected / 2 GROUP BY ALL
    """
    for row in look.rows(query):
        yield fault(
            "funding",
            row,
            f"{counted(row['n'], 'settlement')} too soon after the one before, the nearest "
            f"{long(row['nearest'] * 3600)}: "
            "it would be paid twice. Two sources with different stamps: keep one, in a new store",
        )


def funding_unit(look: Look) -> Iterator[Fault]:
    """Error: the median size of the rates, over 30 settlements and a week or more, is above 0.003: percent?"""
    query = f"""
        SELECT venue, symbol, count(*) AS n, min(ts) AS first, max(ts) AS last, median(abs(rate)) AS usual
        FROM funding WHERE {look.where} GROUP BY ALL HAVING n >= {FEW} AND last >= first + INTERVAL {FEW_DAYS} DAY
            AND usual > {PERCENT}
    """
    for row in look.rows(query):
        yield fault(
            "funding",
            row,
            f"half of the rates are above {row['usual']:.3g} per interval: looks like percent, and the store holds "
            "fractions. Import it again with --unit percent; the later import wins",
        )


def funding_interval(look: Look) -> Iterator[Fault]:
    """Info: the funding interval changed."""
    query = f"""
        SELECT venue, symbol, count(*) AS n, min(ts) AS first, max(ts) AS last,
            max_by([interval_before, interval_hours], ts) AS newest
        FROM ({steps(look.where)}) WHERE interval_hours <> interval_before GROUP BY ALL
    """
    for row in look.rows(query):
        was, now = row["newest"]
        yield fault(
            "funding",
            row,
            f"the interval changed {counted(row['n'], 'time')}, last from {was:g} h to {now:g} h at "
            f"{day(row['last'])}; compare rates by funding_8h, which is per 8 hours",
        )
