"""The store: one DuckDB file (or a folder of Parquet) that history goes into and comes out of.

The only module that imports duckdb. What lives here: opening, locking, versions, and the doors to the rest:

* `write` (data.writing): one transaction, idempotent, later ingest wins;
* `market` (data.loading): aligned arrays as of a time; `table`, `tiers`, `instruments`, `query` for frames;
* `export`, `import_lake` (data.lake): Hive-partitioned Parquet, which `Store(folder)` also reads; `compact`.

DuckDB lets one process write and shuts everybody else out meanwhile; an open reader keeps writers out. So no
connection outlives a call: a notebook holds none between cells, and a call that finds the file taken waits `wait_s`
seconds before it says who holds it.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from data import clock, lake, loading, migrations, provenance, reading, sql, writing
from data.errors import (
    BadInput,
    NotFound,
    StoreError,
    StoreLocked,
    StoreNotWritable,
    StoreVersion,
    did_you_mean,
)
from data.gate import gate
from data.schema import TABLES, table
from data.symbols import unified

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from data.market import Market
    from data.rows import Batch, Origin, Written

_BUSY = (
    "Could not set lock",
    "Conflicting lock",
    "different configuration",
    "Unique file handle",
    "being used by another process",
)
_REFUSED = ("Permission denied", "Read-only file system", "No space left", "File too large", "Cannot open file")
_FULL = ("No space left", "File too large", "out of disk space", "could not write", "Could not write")


class Store:
    """History of perpetual futures. A path that does not exist is created; a folder is a Parquet lake, read-only."""

    def __init__(self, path: str | Path, *, read_only: bool = False, wait_s: float = 5.0) -> None:
        self.path = Path(path).expanduser()
        self.wait_s = wait_s
        self.is_lake = self.path.is_dir()
        self.read_only = read_only or self.is_lake
        if self.is_lake:
            lake.check(self.path)
        elif self.path.exists() and self.path.stat().st_size > 0:
            self._check_magic()
            self._check_version()
        elif self.read_only:
            raise NotFound(f"there is no store at {self.path}; `unwind import` or `unwind demo` makes one")
        else:
            self._create()

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}{', lake' if self.is_lake else ''})"

    # ---- connections -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if self.is_lake:
            con = duckdb.connect()
            _configure(con)
            with _closing(con), self._mapped():
                lake.open_views(con, self.path)
                yield con
            return
        with gate(self.path).reading(self.wait_s) as free:
            self._insist(free)
            with self._mapped(), _closing(self._connect(read_only=True)) as con:
                yield con

    @contextlib.contextmanager
    def _writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if self.read_only:
            what = "a Parquet lake" if self.is_lake else "opened read-only"
            raise StoreNotWritable(f"{self.path} is {what}; write to a store file instead, such as Store('my.duckdb')")
        with gate(self.path).writing(self.wait_s) as free:
            self._insist(free)
            with self._mapped(), _closing(self._connect(read_only=False)) as con:
                yield con

    def _insist(self, free: bool) -> None:
        if not free:
            raise StoreLocked(f"{self.path} is in use by another thread of this process; waited {self.wait_s:g} s")

    def _connect(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + self.wait_s
        pause = 0.01
        while True:
            try:
                con = duckdb.connect(str(self.path), read_only=read_only)
                _configure(con)
                return con
            except duckdb.Error as problem:
                if not any(word in str(problem) for word in _BUSY):
                    raise self._error(problem) from None
                if time.monotonic() > deadline:
                    raise StoreLocked(self._busy(str(problem))) from None
            time.sleep(pause)
            pause = min(pause * 1.5, 0.25)

    def _busy(self, problem: str) -> str:
        holder = re.search(r"held in (.+?) \(PID (\d+)\)", problem)
        who = f"by process {holder[2]} ({Path(holder[1]).name})" if holder else "by another process or connection"
        return (
            f"{self.path} is in use {who}; waited {self.wait_s:g} s. "
            "Wait for it to finish, or stop it: one process can write at a time, and only while nobody reads"
        )

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        """DuckDB's errors as ours."""
        try:
            yield
        except duckdb.Error as problem:
            raise self._error(problem) from problem

    def _error(self, problem: duckdb.Error) -> Exception:
        words = str(problem).strip().splitlines()[0]
        if any(w in str(problem) for w in _FULL):
            return StoreNotWritable(
                f"{self.path}: the disk is full; nothing of this write was kept. Free space and run it again"
            )
        if any(w in words for w in _REFUSED):
            return StoreNotWritable(
                f"{self.path} cannot be written: {_reason(words)}. Choose another place with --db or UNWIND_DB"
            )
        if "not a valid DuckDB database" in words or "magic bytes" in words:
            return StoreVersion(f"{self.path} is no DuckDB file; name another with --db or UNWIND_DB")
        if "newer version" in words or "storage version" in words:
            return StoreVersion(f"{self.path} was written by a newer DuckDB: {words}")
        if isinstance(problem, duckdb.CatalogException | duckdb.BinderException | duckdb.ParserException):
            return BadInput(words)
        return StoreError(f"{self.path}: {words}")

    # ---- birth and versions ----------------------------------------------------------------------------------------

    def _create(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise StoreNotWritable(f"{self.path.parent} cannot be made: {problem.strerror}") from None
        if not os.access(self.path.parent, os.W_OK):
            raise StoreNotWritable(
                f"{self.path.parent} is not writable; choose another place for the store with --db or UNWIND_DB"
            )
        with self._writing() as con:
            migrations.create(con)

    def _check_magic(self) -> None:
        with self.path.open("rb") as f:
            if f.read(12)[8:] != b"DUCK":
                raise StoreVersion(f"{self.path} is no DuckDB file; name another with --db or UNWIND_DB")

    def _check_version(self) -> None:
        with self._reading() as con:
            found = migrations.version(con, str(self.path))
        if found is None and not self.read_only:  # killed while it was being made
            self._create()
            return
        if found == migrations.CURRENT or found is None:
            return
        if found > migrations.CURRENT:
            raise StoreVersion(
                f"{self.path} was written by a newer Unwind (schema {found}); update with pip install -U unwind"
            )
        if self.read_only:
            raise StoreVersion(
                f"{self.path} has the older schema {found}; open it once for writing to bring it up to date"
            )
        with self._writing() as con:
            migrations.migrate(con, found)

    # ---- writing ---------------------------------------------------------------------------------------------------

    def write(self, batch: Batch | Sequence[Batch]) -> Written:
        """Store whole files or pages in one transaction: all of it or, on any error, nothing."""
        from data.version import VERSION

        batches = [batch] if not isinstance(batch, Sequence) else list(batch)
        with self._writing() as con:
            return writing.write(con, batches, VERSION)

    def stored(self, origins: Iterable[Origin], tables: Iterable[str], run: str = "") -> set[tuple[str, str]]:
        """The (sha256, recipe) of origins that need not be read again by the import `run`."""
        with self._reading() as con:
            return provenance.stored(con, origins, tables, run)

    def import_lake(self, folder: str | Path) -> Written:
        """Take in an exported folder, one partition a transaction."""
        return lake.import_into(self, Path(folder))

    def compact(self) -> tuple[int, int]:
        """Rewrite the file in order; bytes before and after. Needs room for a second copy beside the first."""
        before = self.path.stat().st_size
        fresh = self.path.with_name(self.path.name + ".compacting")
        for left in (fresh, fresh.with_name(fresh.name + ".wal")):  # of a compaction that was killed
            left.unlink(missing_ok=True)
        with self._writing() as con:
            con.execute(f"ATTACH {sql.text(str(fresh))} AS fresh")
            for statement in migrations.statements("fresh."):
                con.execute(statement)
            for t in TABLES.values():
                con.execute(
                    f"INSERT INTO fresh.{sql.name(t.name)} SELECT * FROM {sql.name(t.name)} ORDER BY {sql.names(t.key)}"
                )
            con.execute("CHECKPOINT fresh")
            con.execute("DETACH fresh")
            con.execute("CHECKPOINT")
            # Still holding the lock on the old file: nobody can have written in between.
            fresh.replace(self.path)
        return before, self.path.stat().st_size

    # ---- reading ---------------------------------------------------------------------------------------------------

    def query(self, query: str, params: Sequence[Any] = ()) -> pa.Table:
        """Any SELECT over the tables, as an Arrow table."""
        with self._reading() as con:
            found = con.sql(query, params=list(params))
            if found is None:
                raise BadInput("a query is a SELECT; rows are changed by Store.write alone")
            return found.to_arrow_table()

    def table(
        self,
        name: str,
        *,
        venue: str | None = None,
        symbol: str | None = None,
        start: Any = None,
        end: Any = None,
        as_of: Any = None,
    ) -> pd.DataFrame:
        """Rows of one table as a frame; `as_of` keeps what was known strictly before that time."""
        t = table(name)
        if symbol is not None and "symbol" in t.names:
            venue, symbol = self.resolve(symbol, venue, name)
        where, params = reading.filters(t, venue, symbol, start, end, as_of)
        return self._frame(f"SELECT * FROM {sql.name(t.name)} WHERE {where} ORDER BY {sql.names(t.key)}", params)

    def _frame(self, query: str, params: Sequence[Any]) -> pd.DataFrame:
        frame: pd.DataFrame = self.query(query, params).to_pandas()
        return frame

    def resolve(self, symbol: str, venue: str | None = None, name: str = "candles") -> tuple[str, str]:
        """The stored venue and unified symbol behind what the user typed, such as BTCUSDT."""
        pairs = self.query(f"SELECT DISTINCT venue, symbol FROM {sql.name(name)}").to_pylist()
        return reading.resolve([(p["venue"], p["symbol"]) for p in pairs], symbol, venue, name)

    def tiers(self, symbol: str, at: Any, venue: str | None = None) -> pd.DataFrame:
        """The maintenance brackets that were known and in force at a time; empty before the first."""
        venue, symbol = self.resolve(symbol, venue, "tiers")
        return self._frame(reading.TIERS_AT, [venue, symbol, *[clock.naive(clock.moment(at))] * 2])

    def instruments(self, at: Any, venue: str | None = None) -> pd.DataFrame:
        """Contracts as known at a time: one row each, delisted ones included with their date."""
        if venue is not None:
            self._known_venue(venue, "instruments")
        when = clock.naive(clock.moment(at))
        return self._frame(reading.INSTRUMENTS_AT, [venue, venue, when, when])

    def _known_venue(self, venue: str, name: str) -> None:
        venues = self.query(f"SELECT DISTINCT venue FROM {sql.name(name)}").column("venue").to_pylist()
        if venue not in venues:
            raise NotFound(f"{name}: nothing from venue {venue!r}; {did_you_mean(venue, venues)}")

    def market(
        self,
        symbols: str | Sequence[str],
        interval: str,
        start: Any = None,
        end: Any = None,
        *,
        venue: str | None = None,
        as_of: Any = None,
    ) -> Market:
        """Aligned arrays of one bar grid. `as_of` leaves out everything known at that time or later.

        Trials on it are noted in the folder `register`, beside the store.
        """
        with self._reading() as con:
            found = loading.market(con, symbols, interval, start, end, venue, as_of)
        return found.registered(str(self.register))

    @property
    def register(self) -> Path:
        """The folder of trials on this store's markets, see backtest.trials."""
        return self.path.with_name(f"{self.path.name.removesuffix('.duckdb')}.trials")

    def fingerprint(self) -> dict[str, str]:
        """A hash of each table's rows, whatever their order; `ingests` is no fact of the market and left out."""
        with self._reading() as con:
            out = {}
            for t in TABLES.values():
                if t.name != "ingests":
                    fields = sql.names(t.names)
                    row = sql.one(con, f"SELECT count(*), CAST(sum(hash({fields})) AS VARCHAR) FROM {sql.name(t.name)}")
                    out[t.name] = f"{row[0]}:{row[1] or 0}" if row else "0:0"
            return out

    def export(
        self,
        folder: str | Path,
        *,
        venue: str | None = None,
        symbol: str | None = None,
        tables: Sequence[str] | None = None,
        start: Any = None,
        end: Any = None,
    ) -> dict[str, int]:
        """Write Hive-partitioned Parquet (venue / table / symbol / month); rows by table. `Store(folder)` reads it."""
        with self._reading() as con:
            symbol = None if symbol is None else unified(symbol, venue or "")
            first, stop = (None if t is None else clock.moment(t) for t in (start, end))
            return lake.export(con, Path(folder), lake.Selection(venue, symbol, first, stop), tables)


@contextlib.contextmanager
def _closing(con: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    try:
        yield con
    finally:
        con.close()


def _configure(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET autoinstall_known_extensions = false")
    con.execute("SET enable_progress_bar = false")


def _reason(words: str) -> str:
    return words.rsplit(": ", 1)[-1].strip().strip('"').lower() or "refused"
