"""The quiet loop of a strategy: written, compiled, kept on disk, and found again by its text.

The file of a loop is named by a hash of everything that makes its machine code what it is: the text of `decide`, the
order of its arguments, the layout of the state, numba. So an edited `decide` is another file, and an old one comes back
at once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba

from backtest.jit import source_hash
from backtest.kernel import quiet
from backtest.kernel.quiet import INTEGERS, Order

_LOOPS: dict[str, Loop] = {}
_POINTERS = 7


@dataclass(frozen=True, eq=False)
class Loop:
    """A quiet loop: its machine code (0: none), and the same as plain Python."""

    address: int
    plain: Callable[..., int]
    kept: Any  # what owns the machine code


def compiles() -> bool:
    """Whether numba is at work (NUMBA_DISABLE_JIT)."""
    return not numba.config.DISABLE_JIT  # type: ignore[attr-defined]


def exposure_loop(*, several: bool, jit: bool = True) -> Loop:
    """The loop of those who bring their own numbers: the target is a feature, HOLD where it does not change."""
    text = "def decide(target):\n    return target\n"
    return loop_of((("feature", "target"),), text, several=several, trails=True, jit=jit)


def loop_of(
    order: Order,
    text: str,
    *,
    several: bool,
    trails: bool,
    jit: bool = True,
    decide: Callable[..., float] | None = None,
) -> Loop:
    """The loop around a `decide`: of this text, or this very function (then it is not kept on disk)."""
    body = quiet.text(order, several=several, trails=trails)
    key = hashlib.sha256(
        "\n".join([text, body, source_hash(), numba.__version__, platform.python_version(), str(jit)]).encode()
    ).hexdigest()[:24]
    if decide is None and key in _LOOPS:
        return _LOOPS[key]
    if not jit or not compiles():
        loop = Loop(0, _plain(text, body, decide), None)
    elif decide is None:
        loop = _from_file(key, text, body)
    else:
        loop = _in_memory(body, decide)
    if decide is None:
        _LOOPS[key] = loop
    return loop


def _plain(text: str, body: str, decide: Callable[..., float] | None) -> Callable[..., int]:
    space: dict[str, Any] = {"_njit": lambda *a, **k: lambda f: f, "decide": decide}
    exec(f"{text if decide is None else ''}\n{body}", space)
    plain: Callable[..., int] = space["quiet"]
    return plain


def signature() -> Any:
    number = numba.types.CPointer(numba.float64)  # type: ignore[no-untyped-call]
    return numba.int64(*([numba.int64] * INTEGERS), *([number] * _POINTERS))


def _in_memory(body: str, decide: Callable[..., float]) -> Loop:
    space: dict[str, Any] = {"decide": decide}
    exec(body, space)
    compiled = numba.cfunc(signature(), error_model="numpy")(space["quiet"])
    return Loop(int(compiled.address or 0), space["quiet"], compiled)


def _from_file(key: str, text: str, body: str) -> Loop:
    path = folder() / f"loop_{key}.py"
    whole = (
        "import numba\n"
        "from numba import njit as _njit\n"
        f"{text}\n"
        'decide = _njit(error_model="numpy")(decide)\n\n\n'
        f"{body}\n"
    )
    if not path.exists():
        _write(path, whole)
    spec = importlib.util.spec_from_file_location(f"unwind_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # what comes back from the cache names it
    spec.loader.exec_module(module)
    compiled = numba.cfunc(signature(), error_model="numpy", cache=True)(module.quiet)
    return Loop(int(compiled.address or 0), module.quiet, compiled)


def folder() -> Path:
    """Where loops are kept: UNWIND_CACHE, else the user's cache folder, else one of this process."""
    named = os.environ.get("UNWIND_CACHE")
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unwind"
    place = base / "loops"
    try:
        place.mkdir(parents=True, exist_ok=True)
        if os.access(place, os.W_OK):
            return place
    except OSError:
        pass
    return _own_folder()


_OWN: list[Path] = []


def _own_folder() -> Path:
    if not _OWN:
        _OWN.append(Path(tempfile.mkdtemp(prefix="unwind-loops-")))
    return _OWN[0]


def _write(path: Path, text: str) -> None:
    """Whole or not at all: another process may be doing the same."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)
