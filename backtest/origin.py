"""What a strategy is made of, as a hash: so that an edit makes a new trial, and a folder knows whose it is.

    source_of(Fade(), decides)       # `decides`: the hash of its `decide`, compiled with all that it calls

Besides `decide` that is `features` and `warmup`, as they are in memory, with all that they name: functions and classes
of yours and what those name in turn, numbers, texts, lists and arrays from around them, attributes of the class. What
an installed package or the engine defines counts by its name alone, and what these functions fill themselves (a cache,
a counter) does not count. Names that are only found while running, and files that are read, are not seen.
"""

from __future__ import annotations

import dataclasses
import dis
import functools
import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from backtest.executing.sending import is_installed
from backtest.strategy import Parameter, Strategy

ENGINE = ("backtest", "data", "strategies.signals")
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
FILLING = frozenset(
    ("add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "setdefault",
     "update")
)  # fmt: skip
CODE = (ModuleType, FunctionType, type)
WRAPPED = ("__func__", "fget", "py_func", "__wrapped__")
GLOBAL = frozenset(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"))


def source_of(strategy: Strategy, decides: str) -> str:
    """A hash of what the strategy is: what decides (compiled with all it calls) and how its features are made."""
    first = _Telling()
    _told(type(strategy), first)
    text = _told(type(strategy), _Telling(first.filled))
    return hashlib.sha256(f"{decides};{text}".encode()).hexdigest()[:32]


def _told(cls: type[Strategy], telling: _Telling) -> str:
    return ";".join(f"{part}={telling.of(getattr(cls, part, None), cls)}" for part in ("features", "warmup"))


class _Telling:
    """One walk through what names what; nothing is told twice."""

    def __init__(self, without: Mapping[int, Any] | None = None) -> None:
        self.filled = dict(without or {})  # by id: what these functions fill, and so is none of what they are
        self.known: dict[int, int] = {}  # by id, in the order they were met
        self.kept: list[Any] = []  # so that no id is used again meanwhile

    def of(self, value: Any, owner: type | None = None) -> str:
        """`owner`: the class whose attribute it is, for what it reads from self."""
        value = _bare(value)
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return repr(value)
        if isinstance(value, ModuleType):
            return value.__name__
        if isinstance(value, CodeType):
            return self._code(value)
        if id(value) in self.filled:
            return "filled"
        if id(value) in self.known:
            return f"the {self.known[id(value)]}th"
        self.known[id(value)] = len(self.known)
        self.kept.append(value)
        return self._whole(value, owner)

    def _whole(self, value: Any, owner: type | None) -> str:
        if isinstance(value, np.ndarray | np.generic):
            return _of_array(np.asarray(value), self)
        if isinstance(value, FunctionType):
            return _name(value) if _by_name(value) else self._function(value, owner)
        if isinstance(value, type):
            return _name(value) if _by_name(value) else f"{value.__qualname__}({self._class(value)})"
        if isinstance(value, Mapping):
            return f"{{{', '.join(f'{self.of(k)}: {self.of(v)}' for k, v in value.items())}}}"
        if isinstance(value, set | frozenset):
            return f"{{{', '.join(sorted(self.of(one) for one in value))}}}"
        if isinstance(value, list | tuple):
            return f"[{', '.join(self.of(one) for one in value)}]"
        if isinstance(value, functools.partial):
            return f"partial({self.of(value.func)}, {self.of(value.args)}, {self.of(value.keywords)})"
        if isinstance(value, Strategy):
            return f"{self.of(type(value))}({self.of(value.parameters)})"
        if isinstance(value, Parameter):
            return repr(value)
        if dataclasses.is_dataclass(value):
            parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return f"{self.of(type(value))}({self.of(parts)})"
        if hasattr(value, "to_numpy"):  # of pandas and polars: what is printed of it leaves much out
            return f"{_name(type(value))}({_of_array(np.asarray(value.to_numpy()), self)}, {value!r})"
        kind = type(value)
        held = self.of(vars(value)) if not _by_name(kind) and hasattr(value, "__dict__") else ""
        return f"{self.of(kind)}({ADDRESS.sub('', repr(value))}, {held})"

    def _function(self, function: FunctionType, owner: type | None) -> str:
        from backtest.decide.literals import around

        code = function.__code__
        named = [*self._named(code, around(function)), *self._attributes(code, owner)]
        return f"{self._code(code)}({self.of(function.__defaults__)}, {self.of(function.__kwdefaults__)}, {named})"

    def _named(self, code: CodeType, values: Mapping[str, Any]) -> Iterator[str]:
        """What names from outside mean now, and what is read from modules of yours."""
        names = sorted(_names_of(code))
        filled = {name for name in _filled_by(code) if not isinstance(values.get(name), CODE)}
        self.filled |= {id(values[name]): values[name] for name in names if name in filled and name in values}
        for name in names:
            if name not in values or name in filled:
                continue
            value = values[name]
            yield f"{name}={self.of(value)}"
            if isinstance(value, ModuleType) and not (_of_engine(value.__name__) or is_installed(value)):
                yield from (f"{name}.{one}={self.of(getattr(value, one))}" for one in names if hasattr(value, one))

    def _attributes(self, code: CodeType, owner: type | None) -> Iterator[str]:
        """What is read from self: the strategy's own attributes that are no parameters."""
        if owner is None:
            return
        for name in sorted(_names_of(code)):
            found = [vars(base)[name] for base in owner.__mro__ if name in vars(base)]
            for one in found if "super" in code.co_names else found[:1]:
                if not name.startswith("__") and not isinstance(one, Parameter):
                    yield f".{name}={self.of(one, owner)}"

    def _class(self, cls: type) -> str:
        """A class of yours by all that stands in it."""
        skipped = ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__signature__", "_written")
        own = {name: value for name, value in vars(cls).items() if name not in skipped}
        bases = [self.of(base) for base in cls.__bases__]
        return f"{bases}, {[f'{name}={self.of(value, cls)}' for name, value in sorted(own.items())]}"

    def _code(self, code: CodeType) -> str:
        """Bytecode without its docstring: neither comments nor layout are an edit, as with `decide`."""
        texts = code.co_consts[1:] if code.co_consts[:1] and isinstance(code.co_consts[0], str) else code.co_consts
        return f"{code.co_code.hex()}{[self.of(one) for one in texts]}{code.co_names}{code.co_varnames}"


def _bare(value: Any) -> Any:
    """The function inside of what wraps it."""
    while not isinstance(value, type | ModuleType):
        names = (
            "__func__",
            "fget",
            "py_func",
            "__wrapped__",
            *(["func"] * isinstance(value, functools.cached_property)),
        )
        inner = next((one for name in names if callable(one := getattr(value, name, None))), None)
        if inner is None:
            break
        value = inner
    return value


def _filled_by(code: CodeType) -> frozenset[str]:
    """Names from outside that code writes into, or anew: x[key] = 1, x.append(1), global x."""
    found, steps = set[str](), list(dis.get_instructions(code))
    for at, step in enumerate(steps):
        before = steps[at - 1] if at else None
        if step.opname in ("STORE_GLOBAL", "STORE_DEREF"):
            found.add(str(step.argval))
        elif step.opname in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            before = _container(steps, at)
        elif step.argval not in FILLING or step.opname not in ("LOAD_METHOD", "LOAD_ATTR"):
            continue
        if before is not None and before.opname in GLOBAL:
            found.add(str(before.argval))
    inside = (_filled_by(one) for one in code.co_consts if isinstance(one, CodeType))
    return frozenset(found).union(*inside)


def _container(steps: list[dis.Instruction], at: int) -> dis.Instruction | None:
    """What loads x in x[key] = value: it stands before all that makes the key."""
    missing = 1
    while missing > 0 and at > 0:
        at -= 1
        missing -= dis.stack_effect(steps[at].opcode, steps[at].arg, jump=False)
    return steps[at - 1] if at > 0 else None


def _by_name(thing: Any) -> bool:
    """Of an installed package or of the engine, and no function or class that was made inside of one."""
    home = getattr(thing, "__module__", None) or ""
    if "<locals>" in thing.__qualname__:
        return False
    return _of_engine(home) or (not home.startswith("strategies.") and is_installed(sys.modules.get(home)))


def _of_engine(module: str) -> bool:
    return any(f"{module}.".startswith(f"{one}.") for one in ENGINE)


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _of_array(values: np.ndarray[Any, Any], told: _Telling) -> str:
    inside = told.of(values.tolist()) if values.dtype.hasobject else hashlib.sha256(values.tobytes()).hexdigest()
    return f"{values.dtype.str}{values.shape}{inside}"


def _names_of(code: CodeType) -> frozenset[str]:
    inside = (_names_of(one) for one in code.co_consts if isinstance(one, CodeType))
    return frozenset((*code.co_names, *code.co_freevars)).union(*inside)
