"""Versions of the store's schema, and the way from one to the next.

`meta` keeps the version in the file. A change of a table means: raise `SCHEMA_VERSION` in data.schema, and add an
entry to `STEPS` whose statements bring a file of the version before up to date. All steps run in
one transaction. The tables as each version made them are kept in tests/golden: a change without a step is caught.
"""

from __future__ import annotations

from collections.abc import Mapping

from data import schema, sql
from data.errors import StoreVersion
from data.sql import Connection

CURRENT = schema.SCHEMA_VERSION

# version reached -> statements that lead there from the one before
STEPS: Mapping[int, tuple[str, ...]] = {
    2: (
        'CREATE TABLE "marks" ("venue" VARCHAR NOT NULL, "symbol" VARCHAR NOT NULL, "ts" TIMESTAMP NOT NULL, '
        '"mark" DOUBLE, "index" DOUBLE, "funding_rate" DOUBLE, "funding_at" TIMESTAMP, "interval_s" BIGINT, '
        '"known_at" TIMESTAMP NOT NULL)',
    ),
}


def statements(prefix: str = "") -> list[str]:
    """What makes an empty store."""
    made = [schema.ddl(t).replace("CREATE TABLE ", f"CREATE TABLE {prefix}", 1) for t in schema.TABLES.values()]
    meta = [
        f"CREATE TABLE {prefix}meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL)",
        f"INSERT INTO {prefix}meta VALUES ('schema_version', '{CURRENT}'), ('made_by', 'unwind')",
    ]
    return made + meta


def create(con: Connection) -> None:
    con.execute("BEGIN TRANSACTION")
    for statement in statements():
        con.execute(statement)
    con.execute("COMMIT")


def version(con: Connection, path: str) -> int | None:
    """The schema version of a file; None when nothing has been made in it yet."""
    tables = {r[0] for r in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if not tables:
        return None
    if "meta" not in tables:
        raise StoreVersion(f"{path} is a DuckDB file but no Unwind store; name another with --db or UNWIND_DB")
    row = sql.one(con, "SELECT value FROM meta WHERE name = 'schema_version'")
    if row is None or not str(row[0]).isdigit():
        raise StoreVersion(f"{path}: its schema version cannot be read; restore it from an export")
    return int(row[0])


def migrate(
    con: Connection, found: int, steps: Mapping[int, tuple[str, ...]] | None = None, to: int | None = None
) -> None:
    """Bring a file from version `found` to the current one, all or nothing."""
    steps, to = STEPS if steps is None else steps, CURRENT if to is None else to
    con.execute("BEGIN TRANSACTION")
    try:
        for number in range(found + 1, to + 1):
            if number not in steps:
                raise StoreVersion(
                    f"no way from schema {number - 1} to {number}; export with the version that wrote it"
                )
            for statement in steps[number]:
                con.execute(statement)
        con.execute(f"UPDATE meta SET value = {sql.text(str(to))} WHERE name = 'schema_version'")
        con.execute("COMMIT")
    except BaseException:
        con.execute("ROLLBACK")
        raise
