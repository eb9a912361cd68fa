"""What asking a venue takes besides ccxt: manners, one pace for all threads, addresses, a way into an answer."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from data.errors import Corrupt


@dataclass(frozen=True)
class Manners:
    """How patiently and how fast a venue is asked. `rate` times the limit that ccxt knows; `url` instead of its own."""

    url: str = ""
    rate: float = 1.0
    timeout_s: float = 20.0
    attempts: int = 6
    pause_s: float = 0.5


class Pace:
    """When the next request may go: one for all threads, and for all interfaces of a venue, which know the address that
    asks. Each lane is a limit of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: dict[str, float] = {}
        self._held = 0.0

    def wait(self, seconds: float, lane: str = "") -> None:
        """Wait for this request's turn, and take up `seconds` of the lane."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free.get(lane, 0.0), self._held)
            self._free[lane] = start + seconds
        while start > (now := time.monotonic()):
            time.sleep(start - now)
            start = max(start, self._held)  # the venue may have asked to wait in the meantime

    def hold(self, seconds: float) -> None:
        """Nobody asks for so long."""
        with self._lock:
            self._held = max(self._held, time.monotonic() + seconds)


def dig(payload: Any, path: Sequence[str | int], where: str) -> Any:
    """What lies at a path in an answer."""
    for step in path:
        try:
            payload = payload[step]
        except (KeyError, IndexError, TypeError):
            raise Corrupt(f"{where}: the answer has not the documented form, {step!r} is missing") from None
    return payload


def lane_of(method: str) -> str:
    """The part of a venue's interface that an endpoint belongs to: fapiData of fapiDataGetOpenInterestHist."""
    return re.split("Get|Post", method)[0]


def moved(urls: Any, base: str) -> Any:
    """ccxt's addresses with another host: the paths stay."""
    if isinstance(urls, Mapping):
        return {name: moved(url, base) for name, url in urls.items()}
    return base + urlsplit(str(urls).replace("{hostname}", "host")).path


def is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
