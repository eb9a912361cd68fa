"""The pace at which a venue is asked: turns, lanes, and a wait that everybody keeps."""

from __future__ import annotations

import threading
import time

from data.sources.manners import Pace


def test_a_pace_holds_every_thread_back() -> None:
    pace, ends = Pace(), []
    started = time.monotonic()
    pace.hold(0.2)

    def one() -> None:
        pace.wait(0.05)
        ends.append(time.monotonic() - started)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(end >= 0.2 + 0.05 * i for i, end in enumerate(sorted(ends)))


def test_lanes_of_a_pace_do_not_wait_for_each_other() -> None:
    pace = Pace()
    pace.wait(0.2, "statistics")
    started = time.monotonic()
    pace.wait(0.2, "bars")
    between = time.monotonic()
    pace.wait(0.0, "bars")
    assert between - started < 0.2 <= time.monotonic() - started


def test_a_wait_that_is_asked_for_meanwhile_holds_those_in_the_queue_too() -> None:
    pace = Pace()
    pace.wait(0.1)
    started = time.monotonic()
    ended: list[float] = []

    def one() -> None:
        pace.wait(0.0)
        ended.append(time.monotonic() - started)

    thread = threading.Thread(target=one)
    thread.start()
    time.sleep(0.03)
    pace.hold(0.3)
    thread.join()
    assert ended[0] >= 0.3
