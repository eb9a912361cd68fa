"""Where results are kept: folders beside the store, so that other verbs find them again.

    shelf(db)                       # mine.duckdb -> mine.results/
    keep(result, folder)            # a result as a folder; two that are kept at once do not disturb each other

A run is called by its strategy and what went in, such as `Fade-1c9a6e0f2b77`: the same run again is the same folder.
"""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from backtest.putting import put
from data.errors import StoreNotWritable

if TYPE_CHECKING:
    from backtest.result import Result

IN_THE_WAY = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST)  # another process renames the same folder
ATTEMPTS = 20


def shelf(db: Path) -> Path:
    return db.with_name(f"{db.name.removesuffix('.duckdb')}.results")


def keep(result: Result, folder: Path) -> Path:
    for _ in range(ATTEMPTS - 1):
        try:
            return result.save(folder)
        except StoreNotWritable as error:
            if getattr(error.__cause__, "errno", None) not in IN_THE_WAY:
                raise
            time.sleep(0.05)
    return result.save(folder)


def write_json(path: Path, value: object) -> None:
    from backtest.cli.options import as_plain

    text = json.dumps(as_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    put(path, text.encode("utf-8"))
