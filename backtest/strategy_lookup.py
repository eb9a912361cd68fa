"""Strategies by name: `file.py:Class`, a class in a package of strategies, or an entry point of any installed package.

    load("my_ideas.py:Fade"), load("my_ideas.py")              # the class, or the only one there
    load("FundingSqueeze", package="strategies")               # a class of that package, or one that is registered

Another distribution registers a strategy in its pyproject.toml:

    [project.entry-points."unwind.strategies"]
    Fade = "my_package.ideas:Fade"
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
import traceback
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

from backtest.strategy import Strategy
from backtest.written import quoted
from data.errors import BadInput, NotFound, did_you_mean

GROUP = "unwind.strategies"

Found = dict[str, list[type[Strategy] | EntryPoint]]


def load(name: str, package: str | None = None) -> type[Strategy]:
    """The class that a name means. `package`: where strategies live that are known by their class's name alone."""
    path, is_file, cls = _split(name)
    if is_file:
        return _from_file(path, cls)
    broken: list[str] = []
    found = _known(package, broken)
    if not found.get(name):
        problem = f"there is no strategy {name or repr(name)}: {did_you_mean(name, found)}"
        failed = f"\nCould not be read: {'; '.join(broken)}" if broken else ""
        raise NotFound(f"{problem}{'' if problem.endswith('?') else '.'} One of a file is file.py:Class{failed}")
    return _only(name, found[name])


def available(package: str | None = None, broken: list[str] | None = None) -> list[str]:
    """The names that `load` knows without a file. `broken`: gets what could not be read."""
    return sorted(_known(package, [] if broken is None else broken))


def usable(package: str | None = None, broken: list[str] | None = None) -> list[tuple[str, type[Strategy]]]:
    """Every strategy that can be loaded, by name. `broken`: gets what cannot, so that one does not hide the others."""
    problems: list[str] = [] if broken is None else broken
    found: list[tuple[str, type[Strategy]]] = []
    for name, things in sorted(_known(package, problems).items()):
        try:
            found.append((name, _only(name, things)))
        except BadInput as error:
            problems.append(str(error))
    return found


def _split(name: str) -> tuple[Path, bool, str]:
    path, colon, cls = name.rpartition(":")
    if colon and path.endswith(".py"):
        return Path(path), True, cls
    return Path(name), name.endswith(".py"), ""


# ---- files ---------------------------------------------------------------------------------------


def _from_file(path: Path, name: str) -> type[Strategy]:
    if not path.is_file():
        there = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise NotFound(f"there is no file {path}{': ' + did_you_mean(path.name, there) if there else ''}")
    classes = _classes(_module(path))
    if not name and len(classes) == 1:
        return next(iter(classes.values()))
    if not name and classes:
        raise BadInput(f"{path} holds several strategies: write {path}:{next(iter(classes))}, or {', '.join(classes)}")
    if name not in classes:
        hint = did_you_mean(name, classes) if classes else "it holds no subclass of backtest.strategy.Strategy"
        raise NotFound(f"{path} has no strategy {name}".rstrip() + f": {hint}")
    return classes[name]


def _module(path: Path) -> ModuleType:
    """The file run as a module of its own name, each time anew; it may import what lies beside it."""
    whole = path.resolve()
    name = f"unwind_file_{whole.stem}_{hashlib.sha256(str(whole).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, whole)
    if spec is None or spec.loader is None:
        raise BadInput(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    before, folder = sys.modules.get(name), str(whole.parent)
    sys.modules[name] = module
    sys.path.insert(0, folder)
    try:
        exec(compile(whole.read_bytes(), str(whole), "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        sys.modules.pop(name) if before is None else sys.modules.__setitem__(name, before)
        raise _unreadable(error, str(whole)) from error
    finally:
        sys.path.remove(folder)
    return module


def _unreadable(error: Exception | SystemExit, file: str) -> BadInput:
    """What is wrong in the file, by the last of its own lines that was run."""
    if isinstance(error, BadInput):
        return error
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file and f.lineno]
    if isinstance(error, SyntaxError) and error.filename == file and error.lineno:
        return BadInput(f"{quoted(file, error.lineno)}\n{type(error).__name__}: {error.msg}")
    return BadInput(f"{quoted(file, lines[-1]) if lines else file}\n{type(error).__name__}: {error}")


def _classes(module: ModuleType) -> dict[str, type[Strategy]]:
    """The strategies that a module defines, not those it imports."""
    return {
        name: thing
        for name, thing in vars(module).items()
        if isinstance(thing, type) and issubclass(thing, Strategy) and thing.__module__ == module.__name__
        if not name.startswith("_")
    }


# ---- packages and entry points -------------------------------------------------------------------


def _known(package: str | None, broken: list[str]) -> Found:
    """What each name means; entry points are not loaded yet. `broken`: gets what could not be read."""
    found: Found = {}
    for cls in _of_package(package, broken) if package else ():
        found.setdefault(cls.__name__, []).append(cls)
    for entry in importlib.metadata.entry_points(group=GROUP):
        found.setdefault(entry.name, []).append(entry)
    return found


def _of_package(package: str, broken: list[str]) -> list[type[Strategy]]:
    found: list[type[Strategy]] = []
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if info.ispkg:
            continue
        try:
            module = importlib.import_module(f"{package}.{info.name}")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - one broken strategy does not hide the others
            broken.append(f"{package}.{info.name} ({type(error).__name__}: {error})")
            continue
        found += _classes(module).values()
    return found


def _only(name: str, things: list[type[Strategy] | EntryPoint]) -> type[Strategy]:
    classes = {_class(thing) for thing in things}
    if len(classes) > 1:
        homes = " and ".join(sorted(cls.__module__ for cls in classes))
        raise BadInput(f"{name} is the name of several strategies, in {homes}: rename one of them")
    return classes.pop()


def _class(thing: type[Strategy] | EntryPoint) -> type[Strategy]:
    # asked this way round: where the backport importlib_metadata is loaded, entry points are of a class of its own
    return thing if isinstance(thing, type) else _loaded(thing)


def _loaded(entry: EntryPoint) -> type[Strategy]:
    try:
        cls = entry.load()
    except (Exception, SystemExit) as error:
        why = f"{type(error).__name__}: {error}"
        raise BadInput(f"the strategy {entry.name} ({entry.value}) cannot be loaded: {why}") from error
    if not (isinstance(cls, type) and issubclass(cls, Strategy)):
        raise BadInput(f"the strategy {entry.name} ({entry.value}) is no subclass of backtest.strategy.Strategy")
    return cls
