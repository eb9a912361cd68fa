"""Numba's version of `decide`, and what numba says when there is none, in words about the user's own line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from backtest.decide.binding import Binding
from backtest.decide.names import INNER
from backtest.decide.source import Source, compilable
from backtest.decide.words import FINE, type_name, words
from backtest.strategy import RAISED
from backtest.written import quoted
from data.errors import BadInput

Compiled = Callable[..., float]

_NUMBERS = (numba.types.Float, numba.types.Integer, numba.types.Boolean)

_COMPILED: dict[str, Compiled] = {}  # by key of the source


def compile_decide(binding: Binding, source: Source | None = None) -> Compiled:
    """`decide` for float64 arguments in the order of the binding; it returns a float64, RAISED and MISSING among them.

    `source`: what `compilable` gave for this binding, if it was asked already. The same source is compiled once.
    """
    source = compilable(binding) if source is None else source
    if source.key not in _COMPILED:
        _COMPILED[source.key] = _compiled(binding, source)
    return _COMPILED[source.key]


def _compiled(binding: Binding, source: Source) -> Compiled:
    function, wanted = source.function(), tuple(_given_as(kind, name) for kind, name in binding.order)
    try:
        compiled: Any = numba.njit(error_model="numpy")(function)
        if compiled is function:  # NUMBA_DISABLE_JIT=1
            return _caught(function)
        if INNER in source.namespace:
            _check_number(binding, _returned(source.namespace[INNER], wanted), may_be_none=True)
        returned = _returned(compiled, wanted)
        _check_number(binding, returned)
        if returned != numba.float64:
            compiled = numba.njit(numba.float64(*wanted), error_model="numpy")(function)
    except BadInput:
        raise
    except Exception as error:  # noqa: BLE001 - numba fails with errors of many kinds, its own and others
        raise _refusal(binding, source, error) from None
    return compiled  # type: ignore[no-any-return]


def _given_as(kind: str, name: str) -> Any:
    if kind == "inside" and name in ("symbol", "symbols", "whole", "place"):
        return numba.int64
    if kind == "inside" and name in ("leg", "acc", "features", "columns", "parameters"):
        return numba.types.CPointer(numba.float64)  # type: ignore[no-untyped-call]
    return numba.float64


def _returned(compiled: Any, wanted: tuple[Any, ...]) -> Any:
    compiled.compile(wanted)
    return compiled.overloads[wanted].signature.return_type


def _check_number(binding: Binding, returned: Any, *, may_be_none: bool = False) -> None:
    if may_be_none and isinstance(returned, numba.types.Optional):
        returned = returned.type
    if not isinstance(returned, _NUMBERS):
        problem = f"returns {type_name(str(returned))}: every path must return a number or HOLD"
        raise BadInput(f"{quoted(*_definition(binding), binding.written)}\n{binding.owner}.decide {problem}")


def _caught(function: Compiled) -> Compiled:
    """Without numba: a plain function that answers as a compiled one does."""

    def decide(*arguments: float) -> float:
        try:
            return float(function(*arguments))
        except Exception:  # noqa: BLE001 - whatever it is, `explain` finds it again
            return RAISED

    return decide


# ---- what went wrong -----------------------------------------------------------------------------


def _refusal(binding: Binding, source: Source, error: Exception) -> BadInput:
    text = str(error)
    files = source.files
    place = _place(text, error, files) or _definition(binding)
    problem = f"cannot be compiled: {words(text, source.spelled)}"
    for kind, where in re.findall(
        r"Return of: .*?, type '(.+?)', location:(.+?)(?=Return of|During|$)", text, re.DOTALL
    ):
        if (what := type_name(kind)) not in FINE:
            problem = f"returns {what}: every path must return a number or HOLD"
            place = _place(where, error, files) or place
    return BadInput(f"{quoted(*place, binding.written)}\n{binding.owner}.decide {problem}")


def _definition(binding: Binding) -> tuple[str, int]:
    code = binding.function.__code__
    below_decorators = min((n for _, _, n in code.co_lines() if n and n > code.co_firstlineno), default=0)
    return code.co_filename, below_decorators or code.co_firstlineno


def _place(text: str, error: Exception, files: frozenset[str]) -> tuple[str, int] | None:
    """The innermost line of the user's that an error of numba names."""
    named = re.findall(r'File "(.+?)", line (\d+)|(?:at|from|defined at) (\S.*?) \((\d+)\)', text)
    found = [(a or c, int(b or d)) for a, b, c, d in named]
    location: Any = getattr(error, "loc", None)
    if location is not None and location.line:
        found.append((str(location.filename), int(location.line)))
    own = ((file, line) for name, line in found for file in files if _is_same_file(name, file))
    return next(own, None)


def _is_same_file(a: str, b: str) -> bool:
    """Numba may name a file by its path from the current folder."""
    return a == b or Path(a).absolute().resolve() == Path(b).absolute().resolve()
