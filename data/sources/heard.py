"""What came back from a venue besides its rows: status, headers, and its words when something is wrong.

Words are made ours, in one line: without addresses, queries and keys.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from data import clock
from data.errors import Banned
from data.sources.venue_facts import VenueFacts
from data.sources.venue_keys import Keys

_BAN_END = re.compile(r"banned until (\d{13})")


@dataclass
class Heard:
    """What the last answer's envelope said, of one thread."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""


def ban(facts: VenueFacts, heard: Heard, told: str) -> Banned:
    if match := _BAN_END.search(told):
        until = int(match[1]) * clock.MS
    else:
        until = int((_now(heard) + (retry_after(heard) or facts.bans[heard.status])) * clock.SECOND)
    when = clock.iso(until // clock.SECOND * clock.SECOND)
    return Banned(
        f"{facts.name} has shut this address out until {when} UTC ({heard.status}); nothing more is asked. "
        "Run the same command after that, with a lower --rate"
    )


def _now(heard: Heard) -> float:
    """The venue's clock, as far as its answer tells."""
    with suppress(ValueError, TypeError, KeyError):
        return parsedate_to_datetime(heard.headers["Date"]).timestamp()
    return time.time()


def retry_after(heard: Heard) -> float:
    """Seconds that the venue asks to wait: a number, or a date, which is of its own clock."""
    wait = str(heard.headers.get("Retry-After", "")).strip()
    if wait.replace(".", "", 1).isdigit():
        return float(wait)
    with suppress(ValueError, TypeError, KeyError):
        return max(0.0, (parsedate_to_datetime(wait) - parsedate_to_datetime(heard.headers["Date"])).total_seconds())
    return 0.0


def told(error: BaseException, keys: Keys | None) -> str:
    """The venue's own words, without address, query and keys."""
    text = str(error)
    if match := re.search(r'"(?:msg|retMsg)"\s*:\s*"([^"]+)"', text):
        text = match[1] if not (end := _BAN_END.search(text)) else end[0]
    text = re.sub(r"https?://\S+", "", text)
    for hidden in (keys.key, keys.secret) if keys else ():
        text = text.replace(hidden, "***")
    return " ".join(text.split())[:200] or type(error).__name__


def plain(error: BaseException) -> str:
    """Why nobody answered, in a few words."""
    deep: BaseException | None = error
    words = ""
    while deep is not None:
        words += f" {deep}"
        deep = deep.__cause__ or deep.__context__
    for sign, meaning in (
        ("Name or service not known", "its name is not known here"),
        ("name resolution", "its name is not known here"),
        ("nodename nor servname", "its name is not known here"),
        ("Connection refused", "nobody listens there"),
        ("Network is unreachable", "there is no network"),
        ("ProxyError", "the proxy does not let it through"),
        ("SSL", "no safe connection"),
    ):
        if sign in words:
            return meaning
    return "the connection broke"
