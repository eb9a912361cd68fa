"""Until when a feed was heard, the gaps between, and events by their keys."""

from __future__ import annotations

from data.recording.seen import Seen
from data.recording.watch import OFF, Gap, Watch


def watch(held_back: int = 10, tolerated: int = 0) -> Watch:
    return Watch("bybit", "bybit", "liquidations", held_back=held_back, tolerated=tolerated)


def test_the_first_confirmation_ends_no_gap() -> None:
    w = watch()
    assert w.confirmed(1_000) is None
    w.alive(1_500)
    assert w.heard() == (1_000, 1_500)
    assert w.heard() is None  # nothing since
    w.alive(1_700)
    assert w.heard() == (1_500, 1_700)


def test_a_gap_begins_before_the_last_sign_of_life() -> None:
    w = watch()
    w.confirmed(1_000)
    w.alive(2_000)
    w.lost("cut")
    w.alive(2_500)  # of a connection that is gone: proves nothing
    w.lost("refused")
    assert w.confirmed(3_000) == Gap(1_990, 3_000, "cut")
    assert w.heard() == (1_000, 3_000)
    assert w.gaps == 1


def test_what_was_heard_before_a_restart() -> None:
    w = watch()
    w.recall(5_000)
    w.lost("cannot connect")
    assert w.confirmed(9_000) == Gap(4_990, 9_000, OFF)
    assert w.heard() == (5_000, 9_000)


def test_a_clock_set_back_makes_no_backward_gap() -> None:
    w = watch()
    w.confirmed(5_000)
    w.lost("cut")
    assert w.confirmed(4_000) == Gap(3_990, 4_000, "cut")
    assert w.until == 5_000


def test_a_short_silence_is_tolerated_where_it_is_usual() -> None:
    w = watch(held_back=0, tolerated=100)
    w.confirmed(1_000)
    w.lost("503")
    assert w.confirmed(1_100) is None
    w.lost("503")
    assert w.confirmed(1_201) == Gap(1_100, 1_201, "503")


def test_what_could_not_be_read_is_a_gap_that_ends_at_once() -> None:
    w = watch()
    assert w.missed(500, "torn") is None  # nothing was promised yet
    w.confirmed(1_000)
    assert w.missed(1_200, "torn") == Gap(990, 1_200, "torn")
    assert w.up


def test_seen_remembers_the_last_ones() -> None:
    seen = Seen(most=3)
    assert [seen.new(k) for k in (1, 2, 3, 1)] == [True, True, True, False]
    assert seen.new(4)  # 1 is forgotten
    assert [seen.new(2), seen.new(1)] == [False, True]
    assert len(seen) == 3
