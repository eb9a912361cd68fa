"""`Surviving`: an Executor over places of work that may die under it.

1. Work waits in one queue. A place gets the next piece when it has room, never before: so a place that joins late has
   its share, and one that dies takes little with it.
2. When a place dies, what it had is put back at the head of the queue.
3. What lost its place is tried again alone on another. When its places have died `tries` times it is given up, and
   named.
4. When no place is left and none comes back, everything fails with the reason.

To implement another kind of place, subclass it and write `_places`, `_start` and `_outcome`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

from data.errors import UnwindError

LOOK = 0.5  # seconds between two looks at the places, when nothing calls for one


class WorkerDied(UnwindError):
    """A piece of work whose process died each time that it was tried."""


class Died(Exception):
    """The place of a piece of work is gone. `blameless`: not for anything that the work did."""

    def __init__(self, place: str, reason: str = "", *, blameless: bool = False) -> None:
        super().__init__(reason)
        self.place, self.blameless = place, blameless


@dataclass
class Work:
    call: Callable[..., Any]
    given: tuple[Any, ...]
    named: Mapping[str, Any]
    future: Future[Any] = field(default_factory=Future)
    deaths: int = 0

    def __str__(self) -> str:
        """What a person would call it: the first argument often knows."""
        return str(self.given[0]) if self.given else getattr(self.call, "__name__", repr(self.call))


class Surviving(Executor, ABC):
    def __init__(self, tries: int = 3) -> None:
        self.tries = tries
        self._changed = threading.Condition()
        self._waiting: deque[Work] = deque()
        self._running: dict[Any, tuple[Work, str]] = {}
        self.done: Counter[str] = Counter()  # pieces that each place has finished
        self._seen: Mapping[str, int] = {}
        self._closed = self._stopped = False
        self._manager: threading.Thread | None = None

    # ---- the seam --------------------------------------------------------------------------------

    @abstractmethod
    def _places(self) -> Mapping[str, int]:
        """The places there are now, and how many pieces each takes at a time. An UnwindError: there will be none."""

    @abstractmethod
    def _start(self, place: str, work: Work) -> Any:
        """Something with `done()` and `add_done_callback()`; `Died` if the place is gone."""

    @abstractmethod
    def _outcome(self, started: Any, place: str) -> Any:
        """The result of what is done, or its error; `Died` if it died with its place."""

    def _lost(self, place: str) -> Died:
        """Why a place is not there any more."""
        return Died(place)

    def _give_up(self, started: Any) -> None:
        """Forget something that was started: nobody waits for it any more."""
        started.cancel()

    def _end(self) -> None:
        """Let the places go."""

    # ---- the Executor ----------------------------------------------------------------------------

    @property
    def width(self) -> int:
        """How many pieces it takes at once, as of the last look."""
        return sum(self._seen.values()) or sum(self._places().values())

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        work = Work(fn, args, kwargs)
        with self._changed:
            if self._closed:
                raise RuntimeError("this executor is shut down")
            if self._manager is None:
                self._manager = threading.Thread(target=self._manage, name="unwind-executor", daemon=True)
                self._manager.start()
            self._waiting.append(work)
            self._changed.notify_all()
        return work.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._changed:
            self._closed = True
            if cancel_futures:
                while self._waiting:
                    self._waiting.popleft().future.cancel()
            self._changed.notify_all()
        if wait and self._manager is not None:
            self._manager.join()
        if self._manager is None and not self._stopped:
            self._stopped = True
            self._end()

    # ---- the manager, in a thread of its own -----------------------------------------------------

    def _manage(self) -> None:
        try:
            while self._more():
                places = self._seen = self._places()
                for started in [s for s in self._running if s.done()]:
                    self._finish(started)
                for started in [s for s, (_, place) in self._running.items() if place not in places]:
                    work, place = self._running.pop(started)
                    self._give_up(started)
                    self._back(work, self._lost(place))
                self._fill(places)
        except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait for a result hear of it
            self._fail(error)
        finally:
            self._stopped = True
            self._end()

    def _more(self) -> bool:
        with self._changed:
            if not any(s.done() for s in self._running) and not (self._closed and not self._running):
                self._changed.wait(LOOK)
            return bool(self._waiting or self._running or not self._closed)

    def _fill(self, places: Mapping[str, int]) -> None:
        """One piece a place in turn, so that all begin before any has a second one waiting.

        What has lost a place before is alone on its next one: if that dies too, there is no doubt what killed it.
        """
        has = Counter(place for _, place in self._running.values())
        alone = {place for work, place in self._running.values() if work.deaths}
        for level in range(1, max(places.values(), default=0) + 1):
            for place, room in places.items():
                if has[place] >= min(level, room) or place in alone:
                    continue
                work = self._next(empty=has[place] == 0)
                if work is None:
                    continue
                has[place] += 1
                if work.deaths:
                    alone.add(place)
                self._begin(place, work)

    def _next(self, *, empty: bool) -> Work | None:
        with self._changed:
            while self._waiting and (empty or not self._waiting[0].deaths):
                work = self._waiting.popleft()
                if work.future.running() or work.future.set_running_or_notify_cancel():
                    return work
            return None

    def _begin(self, place: str, work: Work) -> None:
        try:
            started = self._start(place, work)
        except Died as died:
            self._back(work, died)
            return
        except Exception as error:  # noqa: BLE001 - such as arguments that cannot be sent
            work.future.set_exception(error)
            return
        self._running[started] = work, place
        started.add_done_callback(self._wake)

    def _wake(self, _: Any = None) -> None:
        with self._changed:
            self._changed.notify_all()

    def _finish(self, started: Any) -> None:
        work, place = self._running.pop(started)
        try:
            result = self._outcome(started, place)
        except Died as died:
            self._back(work, died)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
            work.future.set_exception(error)
        else:
            self.done[place] += 1
            work.future.set_result(result)

    def _back(self, work: Work, died: Died) -> None:
        if not died.blameless:
            work.deaths += 1
        if work.deaths >= self.tries:
            why = f" ({died})" if str(died) else ""
            work.future.set_exception(
                WorkerDied(
                    f"{work} killed its worker {work.deaths} times{why}: "
                    "too little memory, or compiled code that crashes; it is given up"
                )
            )
            return
        with self._changed:
            self._waiting.appendleft(work)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._closed = True
            left = [work for work, _ in self._running.values()] + list(self._waiting)
            for started in self._running:
                self._give_up(started)
            self._running.clear()
            self._waiting.clear()
        for work in left:
            if work.future.done():
                continue
            if not work.future.running():
                work.future.set_running_or_notify_cancel()
            if not work.future.cancelled():
                work.future.set_exception(error)
