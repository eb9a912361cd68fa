"""Who may have the store's file open within this process: many readers, or one writer.

Between processes DuckDB's own lock decides. Within one, opening a file for reading while it is open for writing is an
error there; threads wait here instead.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path


class Gate:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._writing = False

    @contextlib.contextmanager
    def reading(self, wait_s: float) -> Iterator[bool]:
        """Gives True once no thread writes, False when the wait was in vain."""
        with self._changed:
            if let := self._changed.wait_for(lambda: not self._writing, wait_s):
                self._readers += 1
        try:
            yield let
        finally:
            if let:
                with self._changed:
                    self._readers -= 1
                    self._changed.notify_all()

    @contextlib.contextmanager
    def writing(self, wait_s: float) -> Iterator[bool]:
        with self._changed:
            if let := self._changed.wait_for(lambda: not self._writing and self._readers == 0, wait_s):
                self._writing = True
        try:
            yield let
        finally:
            if let:
                with self._changed:
                    self._writing = False
                    self._changed.notify_all()


_gates: dict[Path, Gate] = {}
_making = threading.Lock()


def gate(path: Path) -> Gate:
    with _making:
        return _gates.setdefault(path.resolve(), Gate())
