"""Where data comes from: one file for each place, and the seam that all of them share.

To implement a new source, write a class whose `__iter__` yields `Item`s; `data.ingest.ingest` stores them:

* `Batch`: rows that are read already, or a `Scan` that the store reads. One transaction holds the whole of it.
* `Piece`: one whole file that is known by name (and, where possible, by sha256) but not yet read. `read()` fetches and
  parses it, in a worker thread, and only when the store does not have it yet.
* `Note`: a file of which nothing comes: missing at the source, or not of a kind that is imported.

`read()` raises an `UnwindError` for a bad file; that file is then reported and nothing of it is stored. A source of
known length says so in `__len__`, for the progress bar, and may name in `workers` how many files to read at a time.
A source whose files may contradict each other has a `key` (`rows.key_of`), the same for each run of the same import:
the later file in its order then wins, however often it is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from data.rows import Batch, Origin


@dataclass(frozen=True)
class Piece:
    """One whole file, not yet read. An origin without sha256 is always read."""

    origin: Origin
    tables: tuple[str, ...]
    read: Callable[[], Batch]


class Why(StrEnum):
    """Why nothing comes of a file."""

    MISSING = "missing"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Note:
    """A file of which nothing comes, and why."""

    name: str
    why: Why
    reason: str = ""


Item = Batch | Piece | Note


class Source(Protocol):
    """Anything that yields items; see the module for what it may say of itself besides."""

    def __iter__(self) -> Iterator[Item]: ...
