"""API keys: from the environment or from a file that only its owner can read, and from nowhere else.

    BINANCE_API_KEY and BINANCE_API_SECRET in the environment, or the same two names in the file that UNWIND_KEYS names,
    as lines `BINANCE_API_KEY=...`. The file has to have mode 600.

Keys are read only for what needs one (maintenance brackets of Binance), never stored, and never shown: a `Keys` prints
as asterisks. A key that can read is enough; do not give one that can trade or withdraw.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data.errors import BadInput, NotFound


@dataclass(frozen=True, repr=False)
class Keys:
    key: str
    secret: str

    def __repr__(self) -> str:
        return "Keys(***)"


def keys_of(prefix: str, environment: Mapping[str, str] | None = None) -> Keys | None:
    """The key of a venue, if the user has set one."""
    env = os.environ if environment is None else environment
    names = (f"{prefix}_API_KEY", f"{prefix}_API_SECRET")
    found = {n: env[n].strip() for n in names if env.get(n, "").strip()}
    if not found and env.get("UNWIND_KEYS"):
        found = {n: v for n, v in _read(Path(env["UNWIND_KEYS"]).expanduser()).items() if n in names}
    if len(found) == 1:
        missing = next(n for n in names if n not in found)
        raise BadInput(f"{next(iter(found))} is set but {missing} is not; set both or none")
    if odd := [n for n, v in found.items() if not (v.isascii() and v.isprintable()) or " " in v]:
        raise BadInput(f"{odd[0]} is no key: it holds characters that no key has; copy it once more")
    return Keys(found[names[0]], found[names[1]]) if found else None


def _read(path: Path) -> dict[str, str]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        raise NotFound(f"UNWIND_KEYS names {path}, which is not there") from None
    if os.name == "posix" and mode & 0o077:
        raise BadInput(f"{path} can be read by others (mode {mode:o}): chmod 600 {path}")
    lines = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines() if "=" in line)
    return {name.strip(): value.strip().strip("\"'") for name, _, value in lines if not name.lstrip().startswith("#")}
