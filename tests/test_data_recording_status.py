"""The line of news: what it says of a venue whose stream or snapshots fail, and come back."""

from __future__ import annotations

from data.recording.status import Count, Status


def line(count: Count) -> str:
    """What the line says of one venue."""
    return str(Status({"bybit": count})).split("  ", 1)[1].split(" | ")[0]


def test_a_stream() -> None:
    count = Count(listens=True)
    assert line(count) == "bybit connecting"
    count.lost("refused")
    assert (line(count), count.losses) == ("bybit down (refused)", 0)
    count.up = True
    count.arrived(3, 1, 1_000_000, 1_400_000)
    assert line(count) == "bybit 3/min, lag 0.4 s"
    count.lost("cut")
    assert (line(count), count.losses, count.plain()["reason"]) == ("bybit down (cut)", 1, "cut")


def test_snapshots_that_fail_are_said_beside_a_stream_that_does_not() -> None:
    count = Count(listens=True, up=True, snapshots=7, failing={"open_interest": "503"})
    assert line(count) == "bybit 0/min, no open interest (503)"
    count.failing.clear()
    assert line(count) == "bybit 0/min"


def test_snapshots_alone() -> None:
    count = Count()
    assert (line(count), count.plain()["up"]) == ("bybit connecting", False)
    count.snapshots = 1
    assert (line(count), count.plain()["up"]) == ("bybit 1 snapshot", True)
    count.failing["marks"] = "timed out"
    assert (line(count), count.plain()["up"]) == ("bybit 1 snapshot, no marks (timed out)", False)


def test_the_store() -> None:
    status = Status({"bybit": Count()}, gaps=1, merged_rows=1_200, waiting=1, refused=["x"])
    tail = str(status).split(" | ")[1]
    assert tail == "1,200 rows in the store, 1 gap, 1 segment waiting for it, 1 segment refused"
