"""What is refused on the way in, by the contract of data.schema and a few rules of the tables' own.

1. Column by column: required values, limits, choices, finite numbers, times that can be.
2. Bars open on multiples of their interval, and some of them lie next to each other.
3. Nothing is known before it happened.
4. Maintenance brackets follow on one another: no gap, and `cum[n] = cum[n-1] + floor[n] * (mmr[n] - mmr[n-1])`.

The first offending row is named, by file and number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from data import clock, sql
from data.errors import BadInput, BadRow
from data.scanning import Incoming
from data.schema import Column, Kind
from data.sql import Connection

_OLDEST = "TIMESTAMP '2009-01-03'"  # the first bitcoin block; older stamps are a wrong unit
_YEARS_AHEAD = 50  # a simulated market may lie in the future; further is a wrong unit
_SPACING_FROM = 8  # bars before their spacing says anything
_WEEK_S = clock.WEEK // clock.SECOND
_MONDAY_S = 4 * 86_400
_CUM_SLACK = 0.01  # quote currency: venues print cum in cents


def rules(inc: Incoming) -> list[tuple[str, str]]:
    """What makes a row unacceptable, and how to say so; `{}` is the row's value."""
    t, out = inc.table, []
    for c in t.columns:
        if c.required or c.name in inc.given:
            out += _column_rules(c, c.name in inc.given)
    if t.known_from == "ts":
        fact = "ts" + (f" + to_microseconds({t.known_adds} * 1000000)" if t.known_adds else "")
        complaint = "known_at {known_at} lies before what it tells of (ts {ts}"
        complaint += ", known at the bar's end)" if t.known_adds else ")"
        out.append((f"known_at < {fact}", complaint))
    if t.name == "candles":
        origin = f"CASE WHEN interval_s % {_WEEK_S} = 0 THEN {_MONDAY_S * 1_000_000} ELSE 0 END"
        out.append(
            (
                f"(epoch_us(ts) - {origin}) % (interval_s * 1000000) <> 0",
                "ts {ts} is not the open of a {interval_s} s bar",
            )
        )
    return out


def _column_rules(c: Column, given: bool) -> list[tuple[str, str]]:
    n, rules = sql.name(c.name), []
    if c.required:
        rules.append((f"{n} IS NULL", f"{c.name} is empty"))
    if not given:
        return rules
    if c.kind is Kind.REAL:
        rules.append((f"isinf({n})", f"{c.name} is infinite"))
    if c.low is not None:
        rules.append((f"{n} < {c.low!r}", f"{c.name} is {{{c.name}}}, below {c.low:g}{_hint(c)}"))
    if c.high is not None:
        rules.append((f"{n} > {c.high!r}", f"{c.name} is {{{c.name}}}, above {c.high:g}{_hint(c)}"))
    if c.choices:
        rules.append(
            (
                f"{n} NOT IN ({', '.join(map(sql.text, c.choices))})",
                f"{c.name} is {{{c.name}}}, not one of {', '.join(c.choices)}",
            )
        )
    if c.kind is Kind.TIME:
        newest = f"now()::TIMESTAMP + INTERVAL {_YEARS_AHEAD} YEAR"
        complaint = f"{c.name} is {{{c.name}}}: is the unit of time wrong?"
        rules.append((f"{n} < {_OLDEST} OR {n} > {newest}", complaint))
    return rules


def _hint(c: Column) -> str:
    return "; rates are fractions: is it in percent?" if c.name == "rate" else ""


def explain(con: Connection, inc: Incoming) -> None:
    """Raise for the first row that breaks a rule."""
    all_rules = rules(inc)
    broken = " OR ".join(f"({test})" for test, _ in all_rules)
    fields = sql.names(inc.table.names)
    flags = ", ".join(f"coalesce({test}, FALSE)" for test, _ in all_rules)
    row = sql.one(con, f"SELECT _row, {flags}, {fields} FROM {inc.view} WHERE {broken} ORDER BY _row LIMIT 1")
    complaint = next(say for (_, say), flag in zip(all_rules, row[1 : 1 + len(all_rules)], strict=True) if flag)
    values = dict(zip(inc.table.names, row[1 + len(all_rules) :], strict=True))
    raise BadRow(inc.where, row[0], complaint.format(**values))


def check_spacing(con: Connection, inc: Incoming, spans: Iterable[tuple[tuple[Any, ...], int, Any, Any]]) -> None:
    """Refuse bars of which no two lie as near to each other as the interval says. `spans`: keys, count, first, last."""
    for keys, n, first, last in spans:
        interval_s = keys[-1]
        slots = (last - first).total_seconds() / interval_s + 1
        if n < _SPACING_FROM or n / slots >= 0.75:
            continue
        series = " AND ".join(f"{sql.name(c)} = {sql.literal(v)}" for c, v in zip(inc.table.series, keys, strict=True))
        least, usual = sql.one(
            con,
            "SELECT min(d), mode(d) FROM (SELECT (epoch_us(ts) - epoch_us(lag(ts) OVER (ORDER BY ts))) // 1000000 AS d "
            f"FROM (SELECT DISTINCT ts FROM {inc.view} WHERE {series}))",
        )
        if least and least != interval_s:
            told, real = clock.label(interval_s * clock.SECOND), clock.label(int(usual) * clock.SECOND)
            raise BadInput(f"{inc.where}: {keys[1]} is said to have {told} bars, but they come every {real}")


def check_brackets(con: Connection, inc: Incoming) -> None:
    """Refuse a table of maintenance brackets that does not hold together."""
    window = "OVER (PARTITION BY venue, symbol, valid_from, known_at ORDER BY floor)"
    due = "before.cum + floor * (mmr - before.mmr)"
    row = sql.one(
        con,
        f"SELECT _row, symbol, tier, floor, cum, before, CASE WHEN before IS NULL THEN 0 ELSE {due} END AS due FROM ("
        f"SELECT *, lag(struct_pack(cum, mmr, cap)) {window} AS before FROM (SELECT DISTINCT ON "
        f"({sql.names(inc.table.key)}) * FROM {inc.view})) WHERE (before IS NULL AND (floor <> 0 OR cum <> 0)) "
        f"OR (before IS NOT NULL AND (abs(cum - ({due})) > greatest({_CUM_SLACK}, 1e-6 * floor * mmr) "
        "OR abs(before.cap - floor) > 1e-9 * floor)) ORDER BY _row LIMIT 1",
    )
    if row is None:
        return
    number, symbol, tier, floor, cum, before, due_cum = row
    if before is None:
        raise BadRow(
            inc.where, number, f"{symbol}: the lowest bracket has floor {floor:g} and cum {cum:g}, not 0 and 0"
        )
    cap = before["cap"]
    if cap is not None and abs(cap - floor) > 1e-9 * floor:
        raise BadRow(
            inc.where, number, f"{symbol}, tier {tier}: begins at {floor:g}, but the one below ends at {cap:g}"
        )
    raise BadRow(
        inc.where, number, f"{symbol}, tier {tier}: cum is {cum:g}, but follows as {due_cum:g} from the one below"
    )
