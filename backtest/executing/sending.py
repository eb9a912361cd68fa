"""A strategy's class on its way to another process.

1. A class of an installed package, ours included, travels by its name: the worker has the same version, or is refused.
2. Any other (a notebook's, a script's, one of a file beside you) travels as it is in memory, with the functions and
   the modules of yours that it uses. What runs there is what you loaded here, whatever was edited since.
3. With it go the texts of the files it comes from, so that `decide` compiles from its source there as it does here,
   and errors quote your line.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import linecache
import pickle
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from backtest.strategy import Strategy, Value
from data.errors import BadInput, NotFound

OURS = ("backtest", "data", "strategies")

_classes: dict[str, type[Strategy]] = {}  # by key, each made once a process


@dataclass(frozen=True)
class Sent:
    """A class as bytes, and the texts that it was made of."""

    name: str
    content: bytes
    texts: tuple[tuple[str, str], ...] = ()
    by_value: bool = False

    @functools.cached_property
    def key(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def received(self) -> type[Strategy]:
        """The class, once a process."""
        if self.key not in _classes:
            _classes[self.key] = _made(self)
        return _classes[self.key]


@dataclass(frozen=True)
class Sets:
    """Parameter sets of one class, as rows of plain values."""

    sent: Sent
    names: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]

    @classmethod
    def of(cls, sent: Sent, sets: Sequence[Strategy]) -> Sets:
        names = tuple(type(sets[0]).declared())
        return cls(sent, names, tuple(tuple(one.parameters.values()) for one in sets))

    def made(self) -> list[Strategy]:
        cls = self.sent.received()
        return [cls(**dict(zip(self.names, row, strict=True))) for row in self.rows]


# ---- sending ---------------------------------------------------------------------------------------


def packed(call: Callable[..., Any], given: tuple[Any, ...], named: Mapping[str, Any]) -> bytes:
    """A call as bytes: `pickle.loads(...)()` makes it. A function of yours travels as it is in memory."""
    whole = functools.partial(call, *given, **named)
    if is_installed(sys.modules.get(getattr(call, "__module__", None) or "")):
        return pickle.dumps(whole, protocol=5)
    cloudpickle = _cloudpickle(getattr(call, "__name__", repr(call)))
    with _by_value(cloudpickle):
        return bytes(cloudpickle.dumps(whole, protocol=5))


def sent(cls: type[Strategy]) -> Sent:
    modules = [sys.modules.get(base.__module__) for base in cls.__mro__]
    if all(is_installed(module) for module in modules) and "<locals>" not in cls.__qualname__:
        return Sent(cls.__name__, pickle.dumps(cls, protocol=5))
    cloudpickle = _cloudpickle(cls.__name__)
    with _by_value(cloudpickle):
        try:
            content = cloudpickle.dumps(cls, protocol=5)
        except Exception as error:  # noqa: BLE001 - whatever its parts raise when they are pickled
            raise BadInput(
                f"{cls.__name__} cannot be sent to another process ({error}): keep what its module holds open, such as "
                "files and connections, out of the functions it uses"
            ) from None
    made = Sent(cls.__name__, content, tuple(sorted(_texts(cls).items())), by_value=True)
    _classes[made.key] = cls  # for threads of this process; made again, it would take the place of what is here
    return made


def _cloudpickle(name: str) -> Any:
    try:
        import cloudpickle
    except ImportError:
        raise NotFound(
            f"{name} is of no installed package: sending it takes cloudpickle, pip install 'unwind[cluster]'"
        ) from None
    return cloudpickle


@contextlib.contextmanager
def _by_value(cloudpickle: Any) -> Iterator[None]:
    """Meanwhile the modules that are the user's own count as part of what uses them."""
    known = cloudpickle.list_registry_pickle_by_value()
    own = [
        module
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType) and module.__name__ == name != "__main__"  # that one always does
        if name not in known and not is_installed(module)
    ]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def is_installed(module: ModuleType | None) -> bool:
    """Whether a worker has it by its name: built in, of the standard library, of an installed package, or ours."""
    if module is None or module.__name__ in ("__main__", "__mp_main__"):
        return False
    file = getattr(module, "__file__", None)
    if file is None:
        spec = getattr(module, "__spec__", None)
        return spec is not None and spec.origin in ("built-in", "frozen")
    if module.__name__.partition(".")[0] in OURS:
        return Path(file).is_relative_to(Path(__file__).parents[2])
    return any(Path(file).is_relative_to(root) for root in _roots())


@functools.cache
def _roots() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple({Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def _texts(cls: type[Strategy]) -> Mapping[str, str]:
    """Of the files, or cells, that the user's own modules and the functions of the class come from."""
    files = {
        code.co_filename
        for base in cls.__mro__
        if not is_installed(sys.modules.get(base.__module__)) or "<locals>" in base.__qualname__
        for thing in vars(base).values()
        if (code := getattr(getattr(thing, "__func__", getattr(thing, "fget", thing)), "__code__", None)) is not None
    }
    files |= {
        value.__code__.co_filename
        for base in cls.__mro__
        for thing in vars(base).values()
        for value in getattr(getattr(thing, "__func__", thing), "__globals__", {}).values()
        if hasattr(value, "__code__") and not is_installed(sys.modules.get(getattr(value, "__module__", None) or ""))
    }
    return {file: text for file in files if (text := "".join(linecache.getlines(file)))}


# ---- receiving -------------------------------------------------------------------------------------


def _made(one: Sent) -> type[Strategy]:
    for file, text in one.texts:
        linecache.checkcache(file)
        if "".join(linecache.getlines(file)) != text:  # another machine, another version of the file, or a cell
            linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    try:
        made: type[Strategy] = pickle.loads(one.content)
    except ImportError as error:
        raise BadInput(f"{one.name} needs what this worker has not: {error}; install it there") from None
    return made
