"""What a worker must share with the driver: the same versions and the same source give the same bits.

fingerprint()                     # of this process
differences(mine, theirs)         # "numba 0.67.0, not 0.68.1"; "" where they agree
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path

PACKAGES = ("numpy", "numba", "pandas")
OURS = ("backtest", "data", "strategies")
APART = {"backtest": ("cli", "crowd", "report"), "data": ("fetching", "recording", "sources")}  # no task runs these

Fingerprint = Mapping[str, str]


@functools.cache
def fingerprint() -> Fingerprint:
    found = {"python": platform.python_version()}
    found |= {name: importlib.metadata.version(name) for name in PACKAGES}
    found["unwind"] = importlib.metadata.version("unwind")
    found["its source"] = source_hash()
    return found


@functools.cache
def source_hash() -> str:
    """Of every file of ours that a number may hang on."""
    top = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for package in OURS:
        for path in sorted((top / package).rglob("*.py")):
            place = path.relative_to(top)
            if place.parts[1] not in APART.get(package, ()):
                digest.update(str(place.as_posix()).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def differences(here: Fingerprint, there: Fingerprint) -> str:
    """What `there` has otherwise, in words."""
    return ", ".join(
        f"{name} {there.get(name, 'missing')}, not {version}"
        for name, version in here.items()
        if there.get(name) != version
    )
