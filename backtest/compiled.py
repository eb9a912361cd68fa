"""Whether the engine is compiled already. The first run of a version compiles it, which takes about a minute.

What is compiled is kept beside the package, or in NUMBA_CACHE_DIR, and comes back at once in every later process.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

NOTICE = "compiling the engine, once per version: about a minute"


def is_compiled() -> bool:
    """Whether a run starts at once: the loop around all others is in memory, or kept on disk for this processor."""
    from backtest.kernel import drive

    outermost: Any = drive.walk_blocks
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
        sys.stderr.write(f"{NOTICE}\n")
        sys.stderr.flush()
