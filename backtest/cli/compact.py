"""`unwind compact`: the store rewritten smaller."""

from __future__ import annotations

from backtest.cli.options import Db, Json, default_db, print_json
from backtest.cli.stored import size_text


def compact(*, db: Db = default_db(), as_json: Json = False) -> None:
    """Rewrite the store in order, without the room that replaced rows left behind.

    Worth it after many small imports: reads get faster. It needs room for a second copy beside the store while it runs,
    and nobody else may have the store open.
    """
    from data.store import Store

    Store(db, read_only=True)  # says so where there is none; opened for writing it would be made
    before, after = Store(db).compact()
    if as_json:
        print_json({"before": before, "after": after})
    else:
        print(f"{db}: {size_text(before)} before, {size_text(after)} after ({after / before - 1:+.0%})")
