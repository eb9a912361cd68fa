"""Values from outside a function: what they are now, and the line of text that makes them again."""

from __future__ import annotations

import contextlib
import hashlib
import math
import types
from typing import Any

import numpy as np

Names = frozenset[str]


def definition(value: object) -> str | None:
    """The statement that defines a value, with {} for its name; None if no text can."""
    if isinstance(value, types.ModuleType):
        return f"import {value.__name__} as {{}}" if is_library(value) else None
    home, own = getattr(value, "__module__", None), getattr(value, "__name__", "")
    if home in ("math", "numpy") and getattr({"math": math, "numpy": np}[home], own, None) is value:
        return f"from {home} import {own} as {{}}"
    literal = _literal(value)
    return None if literal is None else "{} = " + literal.replace("{", "{{").replace("}", "}}")


def _literal(value: object) -> str | None:
    if isinstance(value, np.number | np.bool_):
        value = value.item()
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, str):
        return repr(str(value))
    if isinstance(value, int):
        return repr(int(value))
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else f"float('{float(value)}')"
    if type(value) is tuple and value:
        parts = [_literal(part) for part in value]
        return None if None in parts else f"({', '.join(str(part) for part in parts)},)"
    return None


def is_library(value: object) -> bool:
    return isinstance(value, types.ModuleType) and (value is math or value.__name__.partition(".")[0] == "numpy")


def around(function: types.FunctionType) -> dict[str, Any]:
    """What the names that a function takes from outside mean now."""
    values = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not assigned yet
            values[name] = cell.cell_contents
    return values


def identity(value: object, known: frozenset[int] = frozenset()) -> str:
    """What a value from outside is, for as long as it lives; a function is also what it names."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    if not isinstance(value, types.FunctionType) or id(value) in known:
        return _literal(value) or str(id(value))
    values, inside = around(value), known | {id(value)}
    named = (f"{name}={identity(values[name], inside)}" for name in sorted(_names_of(value.__code__)) if name in values)
    return f"{id(value)}({', '.join(named)})"


def content(value: object, known: frozenset[int] = frozenset()) -> str:
    """What a value from outside is made of: the same in every process."""
    value = getattr(value, "py_func", value)  # of a compiled function
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    if not isinstance(value, types.FunctionType):
        kind = type(value)
        return _literal(value) or f"{kind.__module__}.{kind.__qualname__}"
    if id(value) in known:
        return value.__name__
    values, inside = around(value), known | {id(value)}
    named = [f"{name}={content(values[name], inside)}" for name in sorted(_names_of(value.__code__)) if name in values]
    return ";".join([_code(value.__code__), repr(value.__defaults__), *named])


def _code(code: types.CodeType) -> str:
    consts = [_code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()}{consts}{code.co_names}{code.co_varnames}"


def _names_of(code: types.CodeType) -> Names:
    inside = (_names_of(c) for c in code.co_consts if isinstance(c, types.CodeType))
    return frozenset((*code.co_names, *code.co_freevars)).union(*inside)
