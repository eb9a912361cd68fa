"""`unwind check`: look for faults before they look like profit."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backtest.cli.options import Db, Json, default_db, print_json, print_table
from backtest.cli.stored import HOW_TO_FILL, existing
from data import clock
from data.errors import NotFound

if TYPE_CHECKING:
    from data.quality import Finding


def data(
    *,
    venue: Annotated[str | None, Parameter(help="This venue alone.")] = None,
    symbol: Annotated[str | None, Parameter(help="This symbol alone, such as BTCUSDT.")] = None,
    table: Annotated[list[str] | None, Parameter(negative="", help="This table alone; may be repeated.")] = None,
    rules: Annotated[bool, Parameter(negative="", help="Say what is looked for, and look at nothing.")] = False,
    db: Db = default_db(),
    as_json: Json = False,
) -> int:
    """Look for faults in stored data: gaps, impossible bars, stale marks, missing settlements, broken tiers.

    An error makes a backtest wrong, a warning may. Exits with 1 if there are errors, with 2 if there is
    nothing to look at, else with 0.
    """
    from data import quality
    from data.status import status

    if rules:
        print_json(quality.rules()) if as_json else print_table(quality.rules())
        return 0
    store = existing(db)
    if store is None:
        raise NotFound(f"there is no store yet: {db}. {HOW_TO_FILL}")
    findings = quality.check(store, venue, symbol, table)
    if not findings and not status(store):
        raise NotFound(f"the store is empty: {db}. {HOW_TO_FILL}")
    if as_json:
        print_json(findings)
    else:
        _tell(findings)
    return 1 if any(f.level is quality.Level.ERROR for f in findings) else 0


def _tell(findings: list[Finding]) -> None:
    if findings:
        print_table(list(_lines(findings)))
    counts = Counter(f.level.value for f in findings)
    said = [f"{n} {word}{'' if n == 1 else 's'}" for word in ("error", "warning") if (n := counts[word])]
    said += [f"{n} to know" for n in [counts["info"]] if n]
    print(", ".join(said) if said else "No faults found.")


def _lines(findings: Iterable[Finding]) -> Iterable[dict[str, object]]:
    """Findings that differ only in their symbol share a line."""
    alike: dict[tuple[object, ...], list[Finding]] = {}
    for f in findings:
        alike.setdefault((f.level, f.check, f.table, f.venue, f.message), []).append(f)
    for group in alike.values():
        f = group[0]
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        first = _minute(min((g.first for g in group if g.first), default=None))
        last = _minute(max((g.last for g in group if g.last), default=None))
        where = " ".join(w for w in (f.table, f.venue, f.symbol) if w) + more
        yield {
            "level": f.level.value,
            "where": f"{where}\n{f.check}: {sum(g.count for g in group):,}\n{first or '?'} to {last or '?'}",
            "what, and what to do": f.message,
        }


def _minute(when: dt.datetime | None) -> str | None:
    return None if when is None else clock.iso(clock.floor(clock.moment(when), clock.MINUTE))
