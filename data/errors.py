"""Every error that Unwind raises for a reason a user can act on.

    UnwindError                     exit 2; the message says what happened and what to do
    ├── BadInput                    a file, frame or value that is not what it should be
    │   ├── MissingColumn           the column that is missing, and what the input has
    │   ├── BadRow                  the first offending row, by file and number
    │   └── NotThisFormat           a file that is not what its name says
    ├── NotFound                    a venue, symbol, interval or table that is not stored
    ├── StoreError
    │   ├── StoreLocked             another process is writing
    │   ├── StoreNotWritable        read-only folder, full disk
    │   └── StoreVersion            written by a newer version, or not a store
    └── SourceError                 a source that did not deliver
        ├── Unreachable             no network, refused, timed out
        │   └── Banned              the venue has shut this address out for a while
        └── Corrupt                 checksum mismatch, truncated archive

The command line prints the message and exits with `exit_code`; it never shows a traceback for these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UnwindError(Exception):
    """What a user can mend: the message says what happened and what to do next."""

    exit_code = 2


class BadInput(UnwindError):
    """The input is not what it should be; nothing of it was stored."""


class MissingColumn(BadInput):
    """A column that is needed is not there; the message names the nearest that is."""

    def __init__(self, where: str, missing: Iterable[str], found: Iterable[str]) -> None:
        wanted, has = list(missing), list(found)
        hints = [f"{name} (did you mean {close[0]}?)" for name in wanted if (close := near(name, has))]
        lacking = ", ".join(hints if len(hints) == len(wanted) else wanted)
        super().__init__(f"{where}: no column {lacking}. The file has: {', '.join(has)}")
        self.missing, self.found = wanted, has


class BadRow(BadInput):
    """The first row that is wrong, by file and number."""

    def __init__(self, where: str, row: int | None, problem: str) -> None:
        place = f"{where}, row {row}" if row is not None else where
        super().__init__(f"{place}: {problem}")
        self.row = row


class NotThisFormat(BadInput):
    """The file's content does not match its name."""


class NotFound(UnwindError):
    """What was asked for is not stored."""


class StoreError(UnwindError):
    """The store cannot do this now."""


class StoreLocked(StoreError):
    """Another process is writing to the store."""


class StoreNotWritable(StoreError):
    """The place where the store lies refuses writing."""


class StoreVersion(StoreError):
    """The file is not a store that this version can read."""


class SourceError(UnwindError):
    """A source did not deliver."""


class Unreachable(SourceError):
    """The source did not answer."""


class Banned(Unreachable):
    """The venue has shut this address out for a while; asking on would make it longer."""


class Corrupt(SourceError):
    """What the source delivered is damaged."""


def near(word: str, choices: Iterable[str], most: int = 1) -> list[str]:
    """The choices that look most like `word`, letter case aside."""
    by_lower = {c.lower(): c for c in choices}
    return [by_lower[m] for m in difflib.get_close_matches(word.lower(), list(by_lower), n=most, cutoff=0.6)]


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A short tail for an error message: the nearest choice, or what there is."""
    options = sorted(choices)
    if close := near(word, options):
        return f"did you mean {close[0]}?"
    if not options:
        return "there is none yet"
    shown = ", ".join(options[:12])
    return f"there is: {shown}" + (f" and {len(options) - 12} more" if len(options) > 12 else "")
