"""What the verbs that look at a store share: is there one, how large is it, and how to fill it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.store import Store

HOW_TO_FILL = "`unwind demo` makes one with a made-up market, `unwind import --help` says how to bring in yours."


def existing(db: Path) -> Store | None:
    """The store at a path, for reading; None where there is none yet."""
    from data.store import Store

    if not db.exists() or (db.is_file() and db.stat().st_size == 0):
        return None
    return Store(db, read_only=True)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size


def size_text(size: int) -> str:
    for unit, step in (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)):
        if size >= step:
            return f"{size / step:,.3g} {unit}"
    return f"{size} bytes"
