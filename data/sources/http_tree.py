"""A tree of files behind http: get a file, or learn that it is not there.

Every request is tried again, with pauses that double, when the server is busy (408, 429, 5xx), slow, or drops the
connection; a `Retry-After` is honoured. This is the one place where the errors of urllib and sockets become ours:

* 404 is an answer, `None`; any other refusal is a `SourceError`, of that file alone;
* no route, no such host, nobody listening: `Unreachable`, and so are many refusals in a row.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field

from data.errors import BadInput, SourceError, Unreachable

_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_LONGEST_PAUSE_S = 60.0
_ENOUGH = 10  # files refused in a row: the server, not the file, is the trouble
_AGENT = {"User-Agent": "unwind"}


class _Retry(Exception):
    def __init__(self, reason: str, pause_s: float = 0.0, silent: bool = False) -> None:
        super().__init__(reason)
        self.pause_s, self.silent = pause_s, silent


@dataclass
class HttpTree:
    """Files below `base`. Safe to use from many threads."""

    base: str
    timeout_s: float = 30.0
    attempts: int = 5
    pause_s: float = 0.5
    _answered: bool = field(default=False, init=False)
    _refused: int = field(default=0, init=False)
    _gone: str = field(default="", init=False)

    def __post_init__(self) -> None:
        try:
            address = urllib.parse.urlsplit(self.base)
            known = address.scheme in ("http", "https") and bool(address.hostname)
            _ = address.port
        except ValueError:
            known = False
        if not known:
            raise BadInput(f"{self.base!r} is no address: write http://host/folder or https://host/folder")
        self.base = self.base.rstrip("/")
        self.host = address.netloc.rsplit("@", 1)[-1]

    def get(self, path: str) -> bytes | None:
        """The bytes of a file; None where there is none."""
        return self._ask("GET", path)

    def exists(self, path: str) -> bool:
        return self._ask("HEAD", path) is not None

    def _ask(self, method: str, path: str) -> bytes | None:
        request = urllib.request.Request(f"{self.base}/{urllib.parse.quote(path)}", method=method, headers=_AGENT)
        for attempt in range(1, self.attempts + 1):
            if self._gone:  # another thread has found out
                raise Unreachable(self._gone)
            try:
                content = self._once(request)
            except _Retry as trouble:
                hopeless = trouble.silent and not self._answered and attempt >= 2
                if attempt == self.attempts or hopeless:
                    raise self._give_up(path, trouble, attempt) from None
                time.sleep(min(_LONGEST_PAUSE_S, max(trouble.pause_s, self.pause_s * 2 ** (attempt - 1))))
            else:
                self._answered, self._refused = True, 0
                return content
        raise AssertionError("attempts is at least 1")

    def _once(self, request: urllib.request.Request) -> bytes | None:
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                self._refusal(request, error)
                return None
        except TimeoutError:
            raise _Retry(f"no answer in {self.timeout_s:g} s", silent=not self._answered) from None
        except urllib.error.URLError as error:
            raise _Retry(_told(error.reason), silent=True) from None
        except (http.client.HTTPException, OSError) as error:
            raise _Retry(f"the connection was dropped ({type(error).__name__})") from None

    def _refusal(self, request: urllib.request.Request, error: urllib.error.HTTPError) -> None:
        self._answered = True
        if error.code == 404:
            return
        told = f"{error.code} {error.reason}"
        if error.code in _AGAIN:
            wait = error.headers.get("Retry-After", "") if error.headers else ""
            raise _Retry(told, float(wait) if wait.isdigit() else 0.0)
        raise SourceError(f"{request.full_url}: the server refuses it ({told})")

    def _give_up(self, path: str, trouble: _Retry, attempts: int) -> SourceError:
        self._refused += 1
        if trouble.silent:
            self._gone = f"{self.host} cannot be reached: {trouble}. Check the network and the address"
        elif self._refused >= _ENOUGH:
            self._gone = f"{self.host} delivers nothing: {trouble}, {self._refused} files in a row. Try later"
        if self._gone:
            return Unreachable(self._gone)
        return SourceError(f"{path}: not delivered after {attempts} attempts: {trouble}")


def _told(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
