"""Every event once: what has come already, within a bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

REMEMBERED = 200_000  # events; about 25 MB


class Seen:
    """The last events by their keys' hashes. What is older is told from the store when segments are merged."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._order: deque[int] = deque()
        self._hashes: set[int] = set()

    def __len__(self) -> int:
        return len(self._order)

    def new(self, key: Hashable) -> bool:
        """True the first time."""
        h = hash(key)
        if h in self._hashes:
            return False
        self._hashes.add(h)
        self._order.append(h)
        if len(self._order) > self._most:
            self._hashes.discard(self._order.popleft())
        return True
