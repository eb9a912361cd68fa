"""How much is said: `--quiet` and `--verbose`, with every verb.

Quiet: results and errors alone, no notes, notices or progress (`UNWIND_QUIET=1` does the same). Verbose: at the end,
what it took; of a mistake also the traceback (as `UNWIND_DEBUG=1`). Results go to stdout, all else to stderr.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator

QUIET, VERBOSE = ("-q", "--quiet"), ("-v", "--verbose")


def is_quiet() -> bool:
    return os.environ.get("UNWIND_QUIET", "0") not in ("", "0")


def note(text: str) -> None:
    if not is_quiet():
        print(f"note: {text}", file=sys.stderr)


def progress() -> bool | None:
    """What verbs hand to what shows progress: never, or where somebody looks."""
    return False if is_quiet() else None


def talk_of(tokens: list[str]) -> tuple[list[str], contextlib.AbstractContextManager[None]]:
    """The words without these options, and what holds while the verb runs."""
    end = tokens.index("--") if "--" in tokens else len(tokens)
    before, after = tokens[:end], tokens[end:]
    quiet, verbose = (any(word in words for word in before) for words in (QUIET, VERBOSE))
    left = [word for word in before if word not in (*QUIET, *VERBOSE)]
    return left + after, _talking(quiet, verbose)


@contextlib.contextmanager
def _talking(quiet: bool, verbose: bool) -> Iterator[None]:
    names = {"UNWIND_QUIET": quiet, "TQDM_DISABLE": quiet, "UNWIND_DEBUG": verbose}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: "1" for name, wanted in names.items() if wanted})
    began = time.perf_counter()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if verbose:
            print(_took(time.perf_counter() - began), file=sys.stderr)


def _took(seconds: float) -> str:
    with contextlib.suppress(ImportError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)
        return f"took {seconds:.2f} s and {most:,.0f} MB at most"
    return f"took {seconds:.2f} s"
