"""Closed segments into the store, in short transactions, while others read.

1. Segments are taken oldest first, one a transaction, so the store is taken for a moment only. Is it in use, or full,
   the merger lets it be and comes again; the spool keeps everything meanwhile.
2. A segment whose checksum stands in `ingests` has been merged: it is only removed. That is what a kill between the
   commit and the removal leaves behind.
3. Of an event that the store has already, or that stands twice, the first that was known is kept: the natural key
   without `known_at` decides.
4. A segment that the store refuses is set aside as `.bad`, and said; those after it go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import sql
from data.errors import BadInput, StoreError
from data.recording.locks import FileLock
from data.recording.records import Contents, contents
from data.recording.spool import closed_segments, read_segment
from data.rows import Batch, Origin, Rows, Written, recipe_of, sha256_of
from data.schema import TABLES

if TYPE_CHECKING:
    import polars as pl

    from data.store import Store

SOURCE = "record"
RECIPE = recipe_of(SOURCE, 1)


@dataclass
class Merged:
    """What one round did."""

    segments: int = 0
    rows: int = 0  # new to the store
    damaged: int = 0  # lines that failed their checksum
    refused: list[str] = field(default_factory=list)
    waiting: int = 0  # closed segments still there
    busy: str = ""  # why it stopped, if the store was in use

    def plain(self) -> dict[str, object]:
        return asdict(self)

    def __str__(self) -> str:
        said = f"{self.segments:,} segment{'' if self.segments == 1 else 's'} merged, {self.rows:,} new rows"
        said += f", {self.damaged:,} torn lines left out" if self.damaged else ""
        said += f", {len(self.refused)} segments refused: {self.refused[0]}" if self.refused else ""
        return said + (f"; {self.waiting:,} wait: {self.busy}" if self.busy else "")


def merge(folder: Path, store_path: Path, *, wait_s: float = 2.0) -> Merged:
    """Bring every closed segment into the store; what cannot be now, waits."""
    done = Merged()
    if not folder.is_dir():
        return done
    lock = FileLock(folder / "merge.lock")
    if not lock.take():
        done.busy = "another process is merging"
    else:
        try:
            _merge_all(folder, store_path, wait_s, done)
        finally:
            lock.release()
    done.waiting = len(closed_segments(folder))
    return done


def _merge_all(folder: Path, store_path: Path, wait_s: float, done: Merged) -> None:
    from data.store import Store

    segments = closed_segments(folder)
    if not segments:
        return
    try:
        store = Store(store_path, wait_s=wait_s)
        for path in segments:
            _merge_one(store, path, done)
    except StoreError as busy:  # in use, or its disk is full: the spool keeps everything
        done.busy = str(busy)


def _merge_one(store: Store, path: Path, done: Merged) -> None:
    segment = read_segment(path)
    found = contents(segment.records)
    sha = sha256_of(path)
    try:
        done.rows += _write(store, found, path.stem, sha).inserted
    except BadInput as problem:
        done.refused.append(f"{path.name}: {problem}")
        path.replace(path.with_suffix(".bad"))
        return
    done.damaged += segment.damaged
    done.segments += 1
    path.unlink()


def _write(store: Store, found: Contents, name: str, sha: str) -> Written:
    origins = _origins(found, name, sha)
    tables = sorted({t for o in origins for t in o.tables})
    if not origins or store.stored([Origin(SOURCE, name, sha, RECIPE)], tables):
        return Written()
    rows = tuple(Rows(t, _fresh(store, found, t)) for t in found.tables)
    return store.write(Batch(rows, tuple(origins)))


def _origins(found: Contents, name: str, sha: str) -> list[Origin]:
    """One for each feed that the segment heard, and one for each venue and table of other rows."""
    out = []
    for feed, h in found.heard.items():
        rows = _count(found, h.venue, h.table, set(h.symbols))
        origin = Origin(SOURCE, f"{name} {feed}", sha, RECIPE, rows, (h.since, h.until), h.symbols)
        out.append(replace(origin, tables=(h.table,), venue=h.venue))
    told_of = {(h.venue, h.table) for h in found.heard.values()}
    others = {(row[0], t): None for t in found.tables for row in found.rows[t]}
    for venue, table in others:
        if (venue, table) not in told_of:
            origin = Origin(SOURCE, f"{name} {venue}", sha, RECIPE, _count(found, venue, table))
            out.append(replace(origin, tables=(table,), venue=venue))
    return out


def _count(found: Contents, venue: str, table: str, symbols: set[str] | None = None) -> int:
    return sum(
        row[0] == venue and (symbols is None or row[1] in symbols)  # the symbol comes right after the venue
        for row in found.rows.get(table, ())
    )


def _fresh(store: Store, found: Contents, table: str) -> Any:
    """Rows of a table that the store does not have yet, whenever they were known."""
    import polars as pl

    key = [c for c in TABLES[table].key if c != "known_at"]
    incoming = pl.DataFrame(pl.from_arrow(found.arrow(table)))
    once = incoming.unique(subset=key, keep="first", maintain_order=True)
    if not TABLES[table].has_known_at:
        return once.to_arrow()
    return once.join(_stored(store, table, key, once), on=key, how="anti", nulls_equal=True).to_arrow()


def _stored(store: Store, table: str, key: Sequence[str], once: pl.DataFrame) -> pl.DataFrame:
    """Natural keys of the stored rows of the same time."""
    import polars as pl

    first, last = once["ts"].min(), once["ts"].max()
    query = f"SELECT {sql.names(key)} FROM {sql.name(table)} WHERE ts BETWEEN ? AND ?"
    there = pl.DataFrame(pl.from_arrow(store.query(query, [first, last])))
    return there.cast(once.select(key).schema)
