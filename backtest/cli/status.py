"""`unwind status`: what the store holds."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backtest.cli.options import Db, Json, default_db, print_json, print_table
from backtest.cli.stored import HOW_TO_FILL, existing, size_of, size_text
from data import clock

if TYPE_CHECKING:
    from data.status import Series


def status(
    *,
    venue: Annotated[str | None, Parameter(help="This venue alone.")] = None,
    symbol: Annotated[str | None, Parameter(help="This symbol alone, such as BTCUSDT.")] = None,
    db: Db = default_db(),
    as_json: Json = False,
) -> None:
    """What the store holds: each series with its span (UTC), rows, gaps, and where it came from.

    Gaps are missing bars of candles, pauses of snapshots, missing settlements of funding; a dash where nothing says how
    many rows there should be. `unwind check data` says where they are.
    """
    from data.status import status as stored_series

    store = existing(db)
    series = stored_series(store, venue, symbol) if store is not None else []
    if as_json:
        print_json(series)
    elif series:
        print(f"{db}, {size_text(size_of(db))}")
        print_table([_line(s) for s in series])
    if not series:
        print(_nothing(db, store is not None), file=sys.stderr if as_json else sys.stdout)


def _nothing(db: Path, empty: bool) -> str:
    return f"{'The store is empty' if empty else 'There is no store yet'}: {db}\n{HOW_TO_FILL}"


def _line(s: Series) -> dict[str, object]:
    return {
        "venue": s.venue,
        "symbol": s.symbol or None,
        "table": s.table,
        "of": s.part or None,
        "first": _minute(s.first),
        "last": _minute(s.last),
        "rows": s.rows,
        "gaps": s.gaps,
        "ingested": _minute(s.ingested),
        "source": s.source,
    }


def _minute(when: dt.datetime | None) -> str | None:
    return None if when is None else clock.iso(clock.floor(clock.moment(when), clock.MINUTE))
