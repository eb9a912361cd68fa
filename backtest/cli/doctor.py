"""`unwind doctor`: is everything there, and does it work on this machine?

Each check is a function that gives a `Finding`: what was looked at, what was found, whether that is good, and what to
do if it is not. Nothing is changed, and no network is asked.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from backtest.cli.options import Db, Json, default_db, print_json, print_table
from data.errors import UnwindError

GOOD, MIND, BAD = "ok", "mind", "bad"
OLDEST = (3, 11)
LITTLE_DISK, LITTLE_MEMORY = 2 << 30, 4 << 30
EXTRAS = {  # what it is for -> modules
    "research": ("vectorbt portfolios, sweeps by optuna", ("vectorbt", "optuna")),
    "exchanges": ("unwind fetch and record", ("ccxt",)),
    "lab": ("notebooks", ("jupyterlab", "jupytext", "anywidget")),
    "cluster": ("more than one machine", ("distributed",)),
}


@dataclass(frozen=True)
class Finding:
    what: str
    state: str
    found: str
    do: str = ""


def doctor(*, db: Db = default_db(), as_json: Json = False) -> int:
    """Check the installation: Python, packages, compiler, store, memory, disk.

    Nothing is changed and no network is asked. Exits with 1 if something
    would not work.
    """
    found = [finding for check in CHECKS for finding in check(db)]
    bad = [one for one in found if one.state == BAD]
    if as_json:
        print_json({"ok": not bad, "findings": [vars(one) for one in found]})
        return int(bool(bad))
    print_table([{"": one.state, "what": one.what, "found": one.found, "do": one.do} for one in found])
    if bad:
        print(f"{len(bad)} of {len(found)} would not work: see the last column.")
    else:
        print("All of it works.")
    return int(bool(bad))


def _python(_: Path) -> Iterator[Finding]:
    here = platform.python_version()
    fine = sys.version_info >= OLDEST
    yield Finding(
        "Python", GOOD if fine else BAD, f"{here}, {platform.machine()}", "" if fine else "install 3.11 or newer"
    )
    cores = os.cpu_count() or 1
    yield Finding("cores", GOOD if cores > 1 else MIND, f"{cores}", "" if cores > 1 else "sweeps run on one")


def _packages(_: Path) -> Iterator[Finding]:
    version = importlib.metadata.version("unwind")
    wrong: dict[str, str] = {}
    for line in importlib.metadata.requires("unwind") or ():
        text, _semicolon, marker = line.partition(";")
        said = "" if "extra" in marker else _lacking(text.strip())
        if said:
            wrong[text.strip()] = said
    do = f"pip install --upgrade {' '.join(repr(name) for name in wrong)}" if wrong else ""
    found = "; ".join(wrong.values()) or f"unwind {version} and what it needs"
    yield Finding("packages", BAD if wrong else GOOD, found, do)
    for extra, (purpose, modules) in EXTRAS.items():
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        yield Finding(
            f"extra [{extra}]", MIND if absent else GOOD,
            f"without {', '.join(absent)}: no {purpose}" if absent else ", ".join(modules),
            f"pip install 'unwind[{extra}]'" if absent else "",
        )  # fmt: skip


def _lacking(text: str) -> str:
    """Empty: the requirement is met."""
    from packaging.requirements import Requirement

    wanted = Requirement(text)
    try:
        there = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{wanted.name} is missing"
    fits = wanted.specifier.contains(there, prereleases=True)
    return "" if fits else f"{wanted.name} is {there}, not {wanted.specifier}"


def _compiler(_: Path) -> Iterator[Finding]:
    from backtest.compiled import crowd_is_compiled, is_compiled
    from backtest.kernel.loop import compiles, folder

    if not compiles():
        yield Finding("compiler", MIND, "off (NUMBA_DISABLE_JIT)", "unset it: runs are a thousand times slower")
        return
    for name, ready in (("engine", is_compiled()), ("simulated venue", crowd_is_compiled())):
        wait = "compiled and kept" if ready else "not compiled yet: the first run takes about a minute"
        yield Finding(name, GOOD if ready else MIND, wait)
    place = folder()
    kept = "unwind-loops-" not in place.name
    yield Finding("cache of strategies", GOOD if kept else MIND, str(place) if kept else "no folder can be written to",
                  "" if kept else "set UNWIND_CACHE to a folder that can be written to")  # fmt: skip


def _store(db: Path) -> Iterator[Finding]:
    from data.status import status
    from data.store import Store

    if not db.exists():
        writable = _writable(db.parent)
        do = "unwind import or unwind fetch makes it" if writable else f"{db.parent} cannot be written to"
        yield Finding("store", GOOD if writable else BAD, f"none yet at {db}", do)
        return
    try:
        rows = status(Store(db, read_only=True))
        yield Finding("store", GOOD, f"{db}, {db.stat().st_size / 1e6:,.0f} MB, {len(rows):,} series")
    except UnwindError as error:
        yield Finding("store", BAD, str(error), "see above")


def _writable(folder: Path) -> bool:
    """The nearest folder above that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder):
        return True
    return False


def _machine(db: Path) -> Iterator[Finding]:
    place = db.parent
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    yield Finding("disk", GOOD if free > LITTLE_DISK else MIND, f"{free / 1e9:,.1f} GB free at {place}",
                  "" if free > LITTLE_DISK else "a year of minutes of ten symbols takes about 100 MB")  # fmt: skip
    with contextlib.suppress(OSError, ValueError, AttributeError):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        yield Finding("memory", GOOD if memory > LITTLE_MEMORY else MIND, f"{memory / 1e9:,.1f} GB",
                      "" if memory > LITTLE_MEMORY else "long histories of many symbols may not fit")  # fmt: skip


def _works(_: Path) -> Iterator[Finding]:
    """Published margins, liquidation prices and funding, by the functions that a backtest uses."""
    from backtest import verify

    outcomes = [one for one in verify.run(verify.load()) if one.status != "unsupported"]
    wrong = [one for one in outcomes if one.status == "fail"]
    yield Finding(
        "published examples", BAD if wrong else GOOD,
        f"{len(outcomes) - len(wrong)} of {len(outcomes)} agree", "unwind verify shows which" if wrong else "",
    )  # fmt: skip


CHECKS: tuple[Callable[[Path], Iterator[Finding]], ...] = (_python, _packages, _compiler, _store, _machine, _works)
