"""Small pieces of SQL that the store's parts share, and the connection as they see it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Protocol

from data.schema import Table


class Connection(Protocol):
    """What the store's parts need of a DuckDB connection; only data.store makes one."""

    def execute(self, query: str, parameters: Any = None) -> Any: ...

    def register(self, view_name: str, python_object: Any) -> Any: ...

    def unregister(self, view_name: str) -> Any: ...

    def sql(self, query: str, *, params: Any = None) -> Any: ...


def one(con: Connection, query: str, parameters: Any = None) -> Any:
    """The first row or None. Fetches all: DuckDB refuses other work on a connection with a result half read."""
    found = con.execute(query, parameters).fetchall()
    return found[0] if found else None


def name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def names(identifiers: Iterable[str], prefix: str = "") -> str:
    return ", ".join(prefix + name(i) for i in identifiers)


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dt.datetime):
        return f"TIMESTAMP {text(value.isoformat(sep=' '))}"
    return text(str(value))


def same(columns: Iterable[str], left: str, right: str) -> str:
    """Equality of key columns, which are never NULL."""
    return " AND ".join(f"{left}.{name(c)} = {right}.{name(c)}" for c in columns)


def not_rising(columns: Iterable[str]) -> str:
    """True where a row's key does not come after the key of the row before it; needs `p_<column>` lags."""
    clause = "TRUE"  # equal in all columns: a double
    for c in reversed(list(columns)):
        clause = f"({name(c)} < {name('p_' + c)} OR ({name(c)} = {name('p_' + c)} AND {clause}))"
    return clause


def month_of(t: Table) -> str | None:
    """The month a row is partitioned by; None for tables whose time is no part of their key."""
    return f"date_trunc('month', {name(t.time)})" if t.time in t.key else None
