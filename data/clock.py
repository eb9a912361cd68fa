"""Times and durations. Time is UTC everywhere: int64 nanoseconds in arrays, naive UTC in the store.

`duration("5m")` gives nanoseconds; `moment("2024-01-31")` gives nanoseconds since 1970 in UTC, and so does
`moment("2024-01")`, of the month's first; `label` and `iso` go back. Bars are stamped at their open and lie on
multiples of their interval counted from 1970-01-01, weeks from Monday.
"""

from __future__ import annotations

import datetime as dt
import numbers
import re
from typing import Any

from data.errors import BadInput

US = 1_000
MS = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY

UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK}
_DURATION = re.compile(r"^\s*(\d+)\s*([smhdw])\s*$")
_PERIOD = re.compile(r"^\d{4}(-\d{2})?$")
_EPOCH_MONDAY = 4 * DAY  # 1970-01-05
_LEAST = 10**16  # April 1970 in nanoseconds; of our days, numbers of microseconds or coarser are all smaller


def duration(text: str | int) -> int:
    """Nanoseconds of "30s", "1m", "4h", "1d", "2w"; an int is taken as nanoseconds already."""
    if isinstance(text, int):
        return text
    match = _DURATION.match(text)
    if match is None or int(match[1]) == 0:
        raise BadInput(f"{text!r} is no duration: write a number and s, m, h, d or w, such as 1m, 4h or 30d")
    return int(match[1]) * UNITS[match[2]]


def label(ns: int) -> str:
    """The shortest text for a duration: 60 s is "1m"."""
    if ns > 0:
        for unit in ("d", "h", "m", "s"):
            if ns % UNITS[unit] == 0:
                return f"{ns // UNITS[unit]}{unit}"
    return f"{ns}ns"


def moment(when: Any) -> int:
    """Nanoseconds since 1970 of an ISO text, a datetime, a pandas or numpy timestamp, or an int of nanoseconds.

    A year or a month is its first moment. A time without a zone is UTC; one with a zone is converted. A number that
    would lie in early 1970 is of another unit, and refused.
    """
    if isinstance(when, numbers.Integral):
        return _nanoseconds(int(when))
    if isinstance(when, str):
        return moment(_read(when))
    if getattr(getattr(when, "dtype", None), "kind", "") == "M":  # numpy.datetime64
        return int(_there(when).astype("datetime64[ns]").astype("int64"))
    if isinstance(when, dt.datetime):
        aware = _there(when) if when.tzinfo else _there(when).replace(tzinfo=dt.UTC)
        delta: dt.timedelta = aware - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        micros = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
        return micros * US + int(getattr(when, "nanosecond", 0))
    if isinstance(when, dt.date):
        return (when - dt.date(1970, 1, 1)).days * DAY
    raise _no_time(when)


def _nanoseconds(number: int) -> int:
    if number < _LEAST:
        raise BadInput(f"{number} is taken as nanoseconds since 1970, which is hardly meant: write 2024-01-31")
    return number


def _read(text: str) -> dt.datetime:
    whole = text.strip()
    if _PERIOD.match(whole):
        whole += "-01-01" if len(whole) == 4 else "-01"
    try:
        return dt.datetime.fromisoformat(whole)
    except ValueError:
        raise _no_time(text) from None


def _there(when: Any) -> Any:
    if when != when:
        raise _no_time(when)
    return when


def _no_time(when: Any) -> BadInput:
    return BadInput(f"{when!r} is no time: write 2024-01-31 or 2024-01-31T08:00")


def naive(ns: int) -> dt.datetime:
    """Naive UTC datetime (microseconds), as the store takes it."""
    return dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=ns // US)  # noqa: DTZ001 - naive UTC is the store's form


def iso(ns: int) -> str:
    """2024-01-31 08:00 or, where it matters, with seconds and below."""
    when = naive(ns)
    if when.microsecond:
        return when.isoformat(sep=" ", timespec="milliseconds" if when.microsecond % 1000 == 0 else "microseconds")
    return when.isoformat(sep=" ", timespec="seconds" if when.second else "minutes")


def floor(ns: int, interval: int) -> int:
    """The open of the bar that contains a time."""
    origin = _EPOCH_MONDAY if interval % WEEK == 0 else 0
    return (ns - origin) // interval * interval + origin


def ceil(ns: int, interval: int) -> int:
    """The first bar open at or after a time."""
    return -floor(-ns, interval) if interval % WEEK else floor(ns + interval - 1, interval)
