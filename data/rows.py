"""What a source hands to the store: rows of one table, and where they came from.

A source yields `Batch`es. One batch is one or many *whole* files or pages, for one or several tables, and is stored
in one transaction: all of it or nothing. Rows come as a frame that already has the schema's columns (pandas, polars,
Arrow), or as a `Scan` of a file with a declared mapping, which the store compiles and reads without a row loop.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data.errors import NotThisFormat


@dataclass(frozen=True)
class Col:
    """A column of the file, scaled, or translated value by value."""

    name: str
    scale: float = 1.0
    values: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Time:
    """A time column. Numbers need a unit; "auto" tells it by size. A zone in the file is refused unless it is UTC."""

    name: str
    unit: str = "auto"


@dataclass(frozen=True)
class Symbol:
    """A column of the venue's own names, put through `template` ("{}USDT") and made unified by the venue's rules."""

    name: str
    template: str = "{}"
    venue: str = ""  # empty: the venue that the rows are stored under


@dataclass(frozen=True)
class Const:
    """The same value in every row."""

    value: str | float | int | None


Expr = Col | Time | Symbol | Const


@dataclass(frozen=True)
class Scan:
    """A file and how its columns become the schema's."""

    path: Path
    format: str  # parquet, csv, feather
    columns: Mapping[str, Expr]


@dataclass(frozen=True)
class Rows:
    """Rows of one table. `lag_s`: how long after its own time the source publishes a row."""

    table: str
    data: Any
    constants: Mapping[str, Any] = field(default_factory=dict)
    lag_s: float = 0.0


@dataclass(frozen=True)
class Origin:
    """One whole file, page or request. `covers` are nanoseconds of the time it speaks for, [from, to)."""

    source: str
    name: str
    sha256: str = ""
    recipe: str = ""
    rows: int | None = None
    covers: tuple[int, int] | None = None
    symbols: tuple[str, ...] | None = None  # None: all symbols of the feed
    tables: tuple[str, ...] = ()  # tables that it fills; empty: all of its batch
    venue: str = ""
    run: str = ""  # names the import that it is part of


@dataclass(frozen=True)
class Batch:
    """Rows of one or many tables, stored in one transaction, and the files or requests they came from."""

    rows: tuple[Rows, ...]
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class Written:
    """What a write did. `doubled` rows stood more than once in the input, alike, and were stored once."""

    rows: int = 0
    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    doubled: int = 0
    skipped: int = 0  # origins that were stored before
    per_table: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Written) -> Written:
        tables = dict(self.per_table)
        for name, n in other.per_table.items():
            tables[name] = tables.get(name, 0) + n
        return Written(
            self.rows + other.rows,
            self.inserted + other.inserted,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.doubled + other.doubled,
            self.skipped + other.skipped,
            tables,
        )

    def __str__(self) -> str:
        parts = [f"{self.rows:,} rows read", f"{self.inserted:,} new"]
        parts += [f"{n:,} {what}" for n, what in ((self.changed, "changed"), (self.unchanged, "already there")) if n]
        parts += [f"{self.doubled:,} doubled"] if self.doubled else []
        parts += [f"{self.skipped:,} files stored before"] if self.skipped else []
        return ", ".join(parts)


def sha256_of(path: Path) -> str:
    """Of the bytes of a file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def recipe_of(*parts: Any) -> str:
    """A short hash of how a source reads: mapping and importer version. A changed recipe reads the file again."""

    def plain(x: Any) -> Any:
        return asdict(x) if hasattr(x, "__dataclass_fields__") else str(x)

    return hashlib.sha256(json.dumps(parts, default=plain, sort_keys=True).encode()).hexdigest()[:16]


def key_of(*places: Any) -> str:
    """Names the import of files from these places: what an import itself changed, it need not read again."""
    return recipe_of("import", *(str(p.resolve()) if isinstance(p, Path) else p for p in places))


_MAGIC = {"parquet": (b"PAR1",), "feather": (b"ARROW1", b"FEA1")}


def format_of(path: Path) -> str:
    """parquet, feather or csv, by name; checked against the first bytes."""
    name = path.name.lower().removesuffix(".gz")
    suffix = name.rsplit(".", 1)[-1]
    known = {
        "parquet": "parquet",
        "pq": "parquet",
        "feather": "feather",
        "arrow": "feather",
        "csv": "csv",
        "txt": "csv",
    }
    if suffix not in known:
        raise NotThisFormat(f"{path.name}: not a .csv, .csv.gz, .parquet or .feather file")
    kind = known[suffix]
    with path.open("rb") as f:
        head = f.read(8)
    if kind in _MAGIC and not head.startswith(_MAGIC[kind]):
        raise NotThisFormat(f"{path.name}: is named .{suffix} but is no {kind} file (it begins with {head[:6]!r})")
    gz = path.name.lower().endswith(".gz")
    if kind == "csv" and (
        (b"\0" in head and not gz) or head.startswith((b"PAR1", b"ARROW1")) or gz != (head[:2] == b"\x1f\x8b")
    ):
        raise NotThisFormat(f"{path.name}: is named as text but holds something else (it begins with {head[:6]!r})")
    return kind
