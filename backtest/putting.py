"""Files that are there whole or not at all: written aside, then named."""

from __future__ import annotations

import os
from pathlib import Path

from data.errors import StoreNotWritable


def put(path: Path, content: bytes) -> Path:
    """A reader sees all of it or what was there before; two processes that write the same do not disturb each other."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        raise StoreNotWritable(f"{path}: cannot be written: {error.strerror or error}") from error
    return path
