"""Spans of time that the store lacks: [start, stop) in nanoseconds.

* Bars and snapshots stand on a grid: what is stored is read as islands of neighbours, one query for a whole table.
* Settlements stand on no grid, and their rhythm changes without notice: from every eight hours to every four, or one.
  Two neighbours tell that nothing lies between them when they are as far apart as one of them is from its other
  neighbour (`told_by`). Beyond the last one, and on the edges of what is stored, only an answer tells: that time counts
  as known when the venue was asked for it some minutes after (`_asked_spans`).
* A venue that was asked and had nothing is remembered in `ingests`, as an origin with no rows that names the span.
  It is asked again only for the last day, which may still fill up, or with `again`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from data import clock
from data.fetching.asked import Series
from data.rows import recipe_of

if TYPE_CHECKING:
    from data.store import Store

Span = tuple[int, int]
SOURCE = "fetch"
VERSION = 1  # of what answers become; a change forgets what venues were said to lack
EDGE = 5 * clock.MINUTE  # settlements are stamped up to a minute off the hour
FILLING_UP = clock.DAY


def recipe(series: Series) -> str:
    """Names a feed in `ingests`."""
    return recipe_of(SOURCE, VERSION, series.facts.name, series.feed.key, series.interval_s)


def missing(store: Store, series: Sequence[Series], again: bool = False) -> dict[Series, list[Span]]:
    """What each series lacks."""
    known = {} if again else empty_spans(store, series)
    return lacking(series, stored_spans(store, series, again), known)


def lacking(
    series: Sequence[Series], stored: Mapping[Series, Sequence[Span]], empty: Mapping[Series, Sequence[Span]]
) -> dict[Series, list[Span]]:
    out = {}
    for s in series:
        there = [*stored.get(s, ()), *empty.get(s, ())]
        spans = without([(s.start, s.stop)], there)
        if spans := spans if s.feed.is_grid else [span for span in spans if _has_hour(span)]:
            out[s] = spans
    return out


def _has_hour(span: Span) -> bool:
    """Whether a settlement can lie in a span: they come on whole hours, give or take a minute."""
    return clock.ceil(span[0] - clock.MINUTE, clock.HOUR) < span[1]


def stored_spans(store: Store, series: Sequence[Series], again: bool = False) -> dict[Series, list[Span]]:
    """What is stored of each series, as spans; `again`: earlier answers are not believed, only what is stored."""
    groups: dict[tuple[Any, ...], list[Series]] = {}
    for s in series:
        groups.setdefault((s.facts.stored_as, s.feed.table, s.feed.is_grid or s.facts.name, s.interval), []).append(s)
    out: dict[Series, list[Span]] = {}
    for members in groups.values():
        if members[0].feed.is_grid:
            found = _stored_grid(store, members)
            out |= {s: found.get((s.symbol, s.price or s.feed.kind), []) for s in members}
        else:
            settled = _settled(store, members[0], again)
            out |= {s: settled.get(s.symbol, []) for s in members}
    return out


def _stored_grid(store: Store, members: Sequence[Series]) -> dict[tuple[str, str], list[Span]]:
    """What one table holds of contracts at one spacing, by contract and price, or kind of ratio.

    A series without holes is told by its number of rows; only the others are looked at row by row.
    """
    one = members[0]
    which = {"candles": "price", "ratios": "kind"}.get(one.feed.table, "''")
    us = one.interval // clock.US
    symbols = sorted({s.symbol for s in members})
    whiches = sorted({s.price or s.feed.kind for s in members})
    chosen = (
        f"FROM {one.feed.table} WHERE venue = ? AND interval_s = ? AND list_contains(?, symbol) "
        f"AND list_contains(?, {which})"
    )
    params = [one.facts.stored_as, one.interval_s, symbols, whiches]
    ends = "epoch_us(min(ts)) AS a, epoch_us(max(ts)) AS z"
    query = f"SELECT symbol, {which} AS which, {ends}, count(*) AS n {chosen} GROUP BY ALL"
    counted = store.query(query, params).to_pylist()
    versions = one.feed.table != "candles"  # a snapshot may be stored more than once, known at other times
    whole = [r for r in counted if not versions and r["n"] == (r["z"] - r["a"]) // us + 1]
    broken = [r for r in counted if r not in whole]
    if broken:
        islands = (
            f"SELECT symbol, which, {ends} FROM (SELECT symbol, which, ts, epoch_us(ts) - row_number() OVER "
            f"(PARTITION BY symbol, which ORDER BY ts) * {us} AS island FROM "
            f"(SELECT DISTINCT symbol, {which} AS which, ts {chosen})) GROUP BY symbol, which, island"
        )
        params[2:] = [sorted({r[n] for r in broken}) for n in ("symbol", "which")]
        there = {(r["symbol"], r["which"]) for r in broken}
        whole += [r for r in store.query(islands, params).to_pylist() if (r["symbol"], r["which"]) in there]
    out: dict[tuple[str, str], list[Span]] = {}
    for row in whole:
        out.setdefault((row["symbol"], row["which"]), []).append((row["a"] * clock.US, (row["z"] + us) * clock.US))
    return out


def _settled(store: Store, one: Series, again: bool) -> dict[str, list[Span]]:
    query = "SELECT symbol, list(epoch_us(ts) ORDER BY ts) AS t FROM funding WHERE venue = ? GROUP BY symbol"
    found = store.query(query, [one.facts.stored_as]).to_pydict()
    asked = {} if again else _asked_spans(store, one)
    out: dict[str, list[Span]] = {}
    for symbol, times in zip(found["symbol"], found["t"], strict=True):
        stamps = [t * clock.US for t in dict.fromkeys(times)]
        told = told_by(stamps, one.feed.hours, EDGE)
        usual = told_by(stamps, one.feed.hours)
        out[symbol] = merged([*told, *both(usual, asked.get(symbol, ()))])
    return out


def told_by(stamps: Sequence[int], hours: float, ends: int | None = None) -> list[Span]:
    """The time of which sorted settlements tell that there is no other.

    `hours` is the longest time between two of them that is taken for usual. `ends`: how far the outermost ones, and
    those beside a hole, speak for the time beyond; without it, as far as their own rhythm goes.
    """
    longest = int(hours * clock.HOUR)
    apart = [longest, *(b - a for a, b in pairwise(stamps)), longest]
    rhythm = [min(before, after, longest) for before, after in pairwise(apart)]
    out: list[Span] = []
    for i, t in enumerate(stamps):
        beyond = rhythm[i] - EDGE if ends is None else ends
        out.append((t - beyond, t + beyond))
        if i and t - stamps[i - 1] <= max(rhythm[i - 1], rhythm[i]) + EDGE:
            out.append((stamps[i - 1], t))
    return merged(out)


def _asked_spans(store: Store, one: Series) -> dict[str, list[Span]]:
    """Time that the venue was asked for and gave settlements of, by contract; the last minutes of it could not be told
    yet."""
    found = store.query(
        "SELECT symbols[1] AS symbol, epoch_us(covers_from) AS a, epoch_us(covers_to) AS z FROM ingests "
        "WHERE source = ? AND recipe = ? AND rows > 0 AND covers_to IS NOT NULL",
        [SOURCE, recipe(one)],
    ).to_pydict()
    out: dict[str, list[Span]] = {}
    for symbol, a, z in zip(found["symbol"], found["a"], found["z"], strict=True):
        out.setdefault(symbol, []).append((a * clock.US, z * clock.US - EDGE))
    return out


def empty_spans(store: Store, series: Sequence[Series]) -> dict[Series, list[Span]]:
    """Spans of which the venue said, when asked, that it has nothing."""
    found = store.query(
        "SELECT recipe, symbols[1] AS symbol, epoch_us(covers_from) AS a, epoch_us(covers_to) AS z FROM ingests "
        "WHERE source = ? AND rows = 0 AND covers_to IS NOT NULL",
        [SOURCE],
    ).to_pydict()
    by_key: dict[tuple[str, str], list[Span]] = {}
    columns = (found["recipe"], found["symbol"], found["a"], found["z"])
    for name, symbol, a, z in zip(*columns, strict=True):
        by_key.setdefault((name, symbol), []).append((a * clock.US, z * clock.US))
    return {s: spans for s in series if (spans := by_key.get((recipe(s), s.symbol)))}


# ---- spans ---------------------------------------------------------------------------------------


def merged(spans: Iterable[Span]) -> list[Span]:
    """Sorted, with what touches or overlaps made one."""
    out: list[Span] = []
    for a, z in sorted(spans):
        if out and a <= out[-1][1]:
            out[-1] = (out[-1][0], max(z, out[-1][1]))
        elif a < z:
            out.append((a, z))
    return out


def both(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """What lies in both."""
    whole = merged(spans)
    return without(whole, without(whole, others))


def without(spans: Iterable[Span], taken: Iterable[Span]) -> list[Span]:
    """What is left of the spans."""
    out: list[Span] = []
    holes = merged(taken)
    for start, stop in merged(spans):
        at = start
        for a, z in holes:
            if z <= at:
                continue
            if a >= stop:
                break
            if a > at:
                out.append((at, a))
            at = max(at, z)
        if at < stop:
            out.append((at, stop))
    return out
