"""`unwind export`: stored data as a folder of Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backtest.cli.options import Db, Json, default_db, print_json, print_table
from backtest.cli.stored import size_of, size_text


def export(
    folder: Path,
    *,
    venue: Annotated[str | None, Parameter(help="This venue alone.")] = None,
    symbol: Annotated[str | None, Parameter(help="This symbol alone, such as BTCUSDT.")] = None,
    table: Annotated[list[str] | None, Parameter(negative="", help="This table alone; may be repeated.")] = None,
    start: Annotated[
        str | None, Parameter(name=("--from", "--start"), help="From this time on, such as 2024-01-01.")
    ] = None,
    end: Annotated[str | None, Parameter(name=("--to", "--end"), help="Before this time.")] = None,
    db: Db = default_db(),
    as_json: Json = False,
) -> None:
    """Write stored data to a folder of Parquet files, by venue, table, symbol and month.

    Any Parquet reader takes them. `--db FOLDER` reads the folder in place of a store, `unwind import lake FOLDER`
    brings it into one. A later export into the same folder replaces the months that it writes.
    """
    from data.schema import TABLES
    from data.scope import scope
    from data.store import Store

    store = Store(db, read_only=True)
    symbols = scope(store, venue, symbol).symbols or (None,)
    counts: dict[str, int] = {}
    for one in symbols:
        for name, n in store.export(folder, venue=venue, symbol=one, tables=table, start=start, end=end).items():
            apart = "symbol" in TABLES[name].names
            counts[name] = counts.get(name, 0) + n if apart else n
    if as_json:
        print_json(counts)
    elif not counts:
        print("Nothing stored lies in that range; `unwind status` shows what there is.")
    else:
        print_table([{"table": name, "rows": n} for name, n in counts.items()])
        print(f"{folder}, {size_text(size_of(folder))}")
