"""`jit`: compiled, cached on disk, and never stale.

Numba stamps a cached function with the time of its own file alone, so a change in a function that it calls would go
unseen. Here the stamp is a hash of every file whose functions and constants the loops use: `jit` for the engine's, and
`stamped(...)` makes the same for another group of files. `jit_alone` is for functions that call none of another file:
numba's own stamp is enough, and their changes make nobody else stale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])

SOURCES = ("jit.py", "margin.py", "costs.py", "calibration.py", "prepare.py", "records.py", "kernel/*.py")
MADE_NOT_CALLED = ("quiet.py", "loop.py", "run.py")  # of kernel/: plain Python around the loops
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def jit(function: F) -> F:
    """Compiled without the GIL and without fastmath; the same bits on every thread."""
    return _stamped(function, SOURCES)


def stamped(*sources: str) -> Callable[[F], F]:
    """A `jit` for functions that are stale when one of these files of the package has changed."""

    def compile_and_keep(function: F) -> F:
        return _stamped(function, sources)

    return compile_and_keep


def _stamped(function: F, sources: tuple[str, ...]) -> F:
    compiled = numba.njit(**OPTIONS)(function)
    if not numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        _keep(compiled, sources)
    return cast(F, compiled)


def jit_alone(function: F) -> F:
    """For functions that call none of another file."""
    try:
        return cast(F, numba.njit(cache=True, **OPTIONS)(function))
    except RuntimeError:  # no folder to write to: compiled in every process
        return cast(F, numba.njit(**OPTIONS)(function))


def inlined(function: F) -> F:
    """Compiled as a part of the one function that calls it: each level of calls would be optimised once more."""
    return cast(F, numba.njit(inline="always", **OPTIONS)(function))


@cache
def source_hash(sources: tuple[str, ...] = SOURCES) -> str:
    """Of all files whose functions and constants are in the loops."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for pattern in sources:
        for path in sorted(here.glob(pattern)):
            if path.name in MADE_NOT_CALLED:
                continue
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _keep(compiled: Any, sources: tuple[str, ...]) -> None:
    from numba.core.caching import FunctionCache, IndexDataCacheFile

    class Stamped(FunctionCache):
        def __init__(self, py_func: Callable[..., Any]) -> None:
            super().__init__(py_func)  # type: ignore[no-untyped-call]
            self._cache_file = IndexDataCacheFile(  # type: ignore[no-untyped-call]
                cache_path=self._cache_path, filename_base=self._impl.filename_base, source_stamp=source_hash(sources)
            )

    try:
        compiled._cache = Stamped(compiled.py_func)
    except RuntimeError:  # no folder to write to: compiled in every process
        return
