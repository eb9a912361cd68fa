"""A recorder in a thread, and what must hold in the end whatever was done to it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd
from venue_streams.server import Venues
from venue_streams.wire import Truth

from data.recording.plan import Plan
from data.recording.recorder import Recorder
from data.recording.status import Status
from data.sources.stream_facts import STREAMS, Pace
from data.store import Store

LIQUIDATING = ("binance", "bybit", "okx")
QUICK = Pace(silence_s=0.8, pause_s=0.05, longest_pause_s=0.2, connect_s=1.5)


def quick_plan(store: Path, venues: Venues, names: Sequence[str] = LIQUIDATING, **other: Any) -> Plan:
    plan = Plan(store, tuple(names), flush_s=0.1, merge_s=0.3, status_s=0.2, gateway=venues.url, pace=QUICK)
    return replace(plan, **other)


class Live:
    """`with Live(plan) as live: ...`; at the end the recorder is told to stop, and what it raised is raised."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.recorder = Recorder(plan, said=lambda status: self.said.append(str(status)))
        self.said: list[str] = []
        self.ended: Status | None = None
        self._error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self.ended = self._loop.run_until_complete(self.recorder.run())
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            self._error = error
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        if self._error is not None and error is None:
            raise self._error

    def stop(self) -> None:
        """Tell it to stop, and wait until it has."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self.recorder.stop)
        self._thread.join(60)
        assert not self.running

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def status(self) -> Status:
        return self.recorder.status

    def wait(self, events: int, timeout_s: float = 60.0) -> None:
        """Until so many events have come."""
        deadline = time.monotonic() + timeout_s
        while self.status.events < events:
            assert time.monotonic() < deadline, f"{self.status.events} of {events} events came: {self.said[-1:]}"
            time.sleep(0.01)

    def wait_up(self, *names: str, losses: int = 0, timeout_s: float = 60.0) -> None:
        """Until these feeds are confirmed, each after so many losses of a connection."""
        deadline = time.monotonic() + timeout_s
        while not all(self.status.of(n).up and self.status.of(n).losses >= losses for n in names):
            assert time.monotonic() < deadline, f"not up in time: {self.said[-1:]}"
            time.sleep(0.01)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def some(venue: str, n: int, *, seed: int = 0, coins: Sequence[str] = ("BTC", "ETH")) -> list[Truth]:
    """Liquidations of this moment, no two alike."""
    first = now_ms()
    return [
        Truth(
            venue,
            coins[i % len(coins)],
            first + i // 10,
            ("long", "short")[(i // 2) % 2],
            40_000.0 + seed + i / 4,
            round(0.01 + (i % 50) / 100, 2),
        )
        for i in range(n)
    ]


def stored(store: Path) -> pd.DataFrame:
    return Store(store, read_only=True).table("liquidations")


def fact(t: Truth) -> tuple[Any, ...]:
    """What the store must say of a liquidation: venue, symbol, ms, position, price, size."""
    return STREAMS[t.venue].venue, t.symbol, t.ts_ms, t.position, t.price, round(t.size, 9)


def facts_of(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    ms = frame["ts"].astype("datetime64[ms]").astype("int64")
    columns = (frame["venue"], frame["symbol"], ms, frame["position"], frame["price"], frame["quantity"].round(9))
    return list(zip(*columns, strict=True))


def assert_truth(store: Path, venues: Venues, *, all_heard: bool = True) -> None:
    """Everything sent is stored once, or lies in a stored gap; nothing else is stored."""
    found = facts_of(stored(store))
    assert len(found) == len(set(found))
    truth = {fact(t) for t in venues.sent}
    assert set(found) <= truth | {fact(t) for t in venues.unheard}
    there, noted = set(found), gaps(store)
    missing = [t for t in venues.sent if fact(t) not in there]
    if all_heard:
        assert not missing
    for t in [*missing, *venues.unheard]:
        assert _lies_in(noted, t), f"{t} is neither stored nor in a gap"


def gaps(store: Path) -> list[dict[str, Any]]:
    query = "SELECT * REPLACE (epoch_ms(ts) AS ts, epoch_ms(until) AS until) FROM gaps ORDER BY ALL"
    return Store(store, read_only=True).query(query).to_pylist()


def in_a_gap(store: Path, t: Truth) -> bool:
    return _lies_in(gaps(store), t)


def _lies_in(noted: Sequence[dict[str, Any]], t: Truth) -> bool:
    return any(
        g["venue"] == STREAMS[t.venue].venue
        and g["symbol"] in ("*", t.symbol)
        and g["feed_table"] == "liquidations"
        and g["ts"] <= t.ts_ms <= g["until"]
        for g in noted
    )
