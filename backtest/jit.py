"""`jit`: compiled, cached on disk, and never stale.

Numba stamps a cached function with the time of its own file alone, so a change in a function that it calls would go
unseen. Here the stamp is a hash of every file whose functions the loops call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])

SOURCES = ("jit.py", "margin.py", "costs.py", "metrics.py", "kernel/*.py")
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def jit(function: F) -> F:
    """Compiled without the GIL and without fastmath; the same bits on every thread."""
    compiled = numba.njit(**OPTIONS)(function)
    if not numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        _keep(compiled)
    return cast(F, compiled)


def inlined(function: F) -> F:
    """Compiled as a part of the one function that calls it: each level of calls would be optimised once more."""
    return cast(F, numba.njit(inline="always", **OPTIONS)(function))


@cache
def source_hash() -> str:
    """Of all files with compiled functions."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(here.glob(pattern)):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _keep(compiled: Any) -> None:
    from numba.core.caching import FunctionCache, IndexDataCacheFile

    class Stamped(FunctionCache):
        def __init__(self, py_func: Callable[..., Any]) -> None:
            super().__init__(py_func)  # type: ignore[no-untyped-call]
            self._cache_file = IndexDataCacheFile(  # type: ignore[no-untyped-call]
                cache_path=self._cache_path, filename_base=self._impl.filename_base, source_stamp=source_hash()
            )

    try:
        compiled._cache = Stamped(compiled.py_func)
    except RuntimeError:  # no folder to write to: compiled in every process
        return
