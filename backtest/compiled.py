"""Whether the engine is compiled already. The first run of a version compiles it, which takes about a minute.

What is compiled is kept beside the package, or in NUMBA_CACHE_DIR, and comes back at once in every later process.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

NOTICE = "compiling the engine, once per version: about a minute"
CROWD_NOTICE = "compiling the simulated venue, once per version: about half a minute"


def is_compiled() -> bool:
    """Whether a run starts at once: the loop around all others is in memory, or kept on disk for this processor."""
    from backtest.kernel import drive

    return _is_there(drive.walk_blocks)


def crowd_is_compiled() -> bool:
    """The same of the simulated venue."""
    from backtest.crowd.kernel import steps

    return _is_there(steps.run)


def _is_there(outermost: Any) -> bool:
    if not hasattr(outermost, "overloads"):  # NUMBA_DISABLE_JIT=1: there is nothing to compile
        return True
    return bool(outermost.overloads) or _kept(outermost._cache)


def _kept(found: Any) -> bool:
    """An entry of the index that is fresh, made for this processor, and whose file is there."""
    from numba.core.registry import cpu_target

    file = getattr(found, "_cache_file", None)
    if file is None:  # no folder could be written to
        return False
    here = cpu_target.target_context.codegen().magic_tuple()
    try:
        index = file._load_index()
    except Exception:  # noqa: BLE001 - an index that cannot be read is none; numba writes it again
        return False
    return any(here in key and Path(file._data_path(name)).is_file() for key, name in index.items())


@cache
def announce() -> None:
    """Once a process: one line on stderr where a wait is ahead."""
    if not is_compiled():
        _warn(NOTICE)


@cache
def announce_crowd() -> None:
    """The same of the simulated venue."""
    if not crowd_is_compiled():
        _warn(CROWD_NOTICE)


def _warn(notice: str) -> None:
    if os.environ.get("UNWIND_QUIET", "0") not in ("", "0"):
        return
    sys.stderr.write(f"{notice}\n")
    sys.stderr.flush()
