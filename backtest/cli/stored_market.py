"""The market that a verb works on: of the store, by its options; or made up, where nothing was asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.cli.stored import HOW_TO_FILL, existing
from data.errors import NotFound

if TYPE_CHECKING:
    from data.market import Market

MADE_UP_DAYS = 90
MADE_UP_SYMBOLS = 6


def stored_market(symbols: str, venue: str, interval: str, start: str, end: str, db: Path) -> Market:
    """Symbols with commas; empty texts are not asked for."""
    store = existing(db)
    if store is None:
        raise NotFound(f"there is no store yet: {db}. {HOW_TO_FILL}")
    names = [s.strip() for s in symbols.split(",") if s.strip()]
    return store.market(
        names[0] if len(names) == 1 else names, interval, start or None, end or None, venue=venue or None
    )


def made_up_market() -> Market:
    """Hourly bars of six coins that never existed, ninety days, every table."""
    from data.ingest import ingest
    from data.sources.made_up import VENUE, made_up
    from data.store import Store

    with tempfile.TemporaryDirectory(prefix="unwind-") as folder:
        store = Store(Path(folder) / "made-up.duckdb")
        ingest(made_up(symbols=MADE_UP_SYMBOLS, days=MADE_UP_DAYS, interval="1h"), store)
        symbols = sorted(store.instruments("2100-01-01", venue=VENUE)["symbol"])
        return store.market(symbols, "1h", venue=VENUE)
