"""Checks of maintenance tiers: whole in themselves, and dated to fit the bars."""

from __future__ import annotations

from collections.abc import Iterator

from data.checks.base import Fault, Look, counted, day, fault

OFF = 1e-6  # how far `cum` may be off, as a part of floor * mmr
OLD_DAYS = 365

_BARS = "SELECT venue, symbol, min(ts) AS first, max(ts) AS last FROM candles WHERE {} AND price = 'trade' GROUP BY ALL"


def tiers_broken(look: Look) -> Iterator[Fault]:
    """Error: a table of brackets does not begin at 0, has a hole between brackets, or its cum does not continue as
    cum below + floor * (mmr - mmr below)."""
    query = f"""
        WITH brackets AS (
            SELECT venue, symbol, valid_from, known_at, tier, floor, cum,
                coalesce(lag(cap) OVER w, CASE WHEN lag(mmr) OVER w IS NULL THEN 0 END) AS begins,
                coalesce(lag(cum) OVER w, 0) + floor * (mmr - coalesce(lag(mmr) OVER w, 0)) AS wanted, mmr
            FROM tiers WHERE {look.where}
            WINDOW w AS (PARTITION BY venue, symbol, valid_from, known_at ORDER BY floor)
        ), broken AS (
            SELECT *, floor IS DISTINCT FROM begins AS torn FROM brackets
            WHERE torn OR NOT abs(cum - wanted) <= {OFF} * greatest(1, floor * mmr)
        )
        SELECT venue, symbol, count(DISTINCT (valid_from, known_at)) AS n, min(valid_from) AS first,
            max(valid_from) AS last,
            arg_min([floor, coalesce(begins, 'nan'), cum, wanted], (valid_from, floor)) AS example,
            arg_min(torn, (valid_from, floor)) AS torn, arg_min(tier, (valid_from, floor)) AS tier
        FROM broken GROUP BY ALL
    """
    for row in look.rows(query):
        floor, begins, cum, wanted = row["example"]
        torn = f"begins at {floor:,.10g}, not at {begins:,.10g}"
        what = torn if row["torn"] else f"has cum {cum:,.10g}, not {wanted:,.10g}"
        yield fault(
            "tiers",
            row,
            f"{counted(row['n'], 'table')} with brackets that do not fit; that of {day(row['first'])}: tier "
            f"{row['tier']} {what}. Liquidation prices are wrong under it: import the venue's own table again",
        )


def tiers_late(look: Look) -> Iterator[Fault]:
    """Warning: the first table of brackets is newer than the first bar of the symbol."""
    query = f"""
        WITH bars AS ({_BARS.format(look.where)}), dated AS (
            SELECT venue, symbol, min(greatest(valid_from, known_at)) AS begin
            FROM tiers WHERE {look.where} GROUP BY ALL
        ), late AS (
            SELECT *, least(begin, last) AS until FROM bars JOIN dated USING (venue, symbol) WHERE begin > first
        )
        SELECT venue, symbol, 1 AS n, first, until AS last, begin FROM late
    """
    for row in look.rows(query):
        yield fault(
            "tiers",
            row,
            f"tiers begin on {day(row['begin'])}; bars before them, from {day(row['first'])}, have none. Import older "
            "tables, or start the backtest later",
        )


def tiers_old(look: Look) -> Iterator[Fault]:
    """Info: the newest table of brackets is more than a year older than the last bar of the symbol."""
    query = f"""
        WITH bars AS ({_BARS.format(look.where)}), dated AS (
            SELECT venue, symbol, max(valid_from) AS newest FROM tiers WHERE {look.where} GROUP BY ALL
        )
        SELECT venue, symbol, 1 AS n, newest AS first, last FROM bars JOIN dated USING (venue, symbol)
        WHERE last > newest + INTERVAL {OLD_DAYS} DAY
    """
    for row in look.rows(query):
        yield fault(
            "tiers",
            row,
            f"the newest tiers are of {day(row['first'])}, the last bar of {day(row['last'])}; venues change them "
            "several times a year: import newer ones",
        )
