"""What verbs share: options that are spelled the same everywhere, and the two ways to print.

    def status(*, db: Db = default_db(), as_json: Json = False) -> None: ...

Importing this module loads neither pandas nor duckdb.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.table import Table


def user_data_folder() -> Path:
    """Where this user's data of Unwind lies, by the custom of the operating system."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "unwind"


def default_db() -> Path:
    """`UNWIND_DB`, else `unwind.duckdb` in the user's data folder."""
    named = os.environ.get("UNWIND_DB")
    return Path(named).expanduser() if named else user_data_folder() / "unwind.duckdb"


Db = Annotated[Path, Parameter(name="--db", help="The store. UNWIND_DB names another default.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, for programs.")]


def print_json(value: object) -> None:
    """Print as JSON: dates as ISO 8601, numbers that are not finite as null."""
    print(json.dumps(as_plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def as_plain(value: Any) -> Any:
    """What JSON knows of it: dates as ISO 8601, numbers that are not finite as None."""
    if isinstance(value, enum.Enum):
        return as_plain(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(as_plain(key)): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "isoformat"):
        return None if value != value else value.isoformat()  # NaT differs from itself
    if hasattr(value, "dtype") and value.dtype.kind not in "mM":
        return as_plain(value.tolist())
    return str(value)


def as_table(rows: Sequence[Mapping[str, object]], *, title: str | None = None) -> Table:
    """One column for each key of the first row; numbers to the right, None and NaN as a dash."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", header_style="bold")
    columns = list(rows[0]) if rows else []
    for name in columns:
        numbers = all(isinstance(row.get(name), int | float | None) for row in rows)
        table.add_column(Text(name), justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in columns))
    return table


def print_table(rows: Sequence[Mapping[str, object]], *, title: str | None = None) -> None:
    """Print rows as a table: fitted to a terminal, never cut in a pipe."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() else 10_000
    Console(file=sys.stdout, width=wide).print(as_table(rows, title=title))


def _cell(value: object) -> str:
    if value is None or value != value:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return str(value)
