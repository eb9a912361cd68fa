"""From a source into the store: skip what is there, pack whole files into transactions, say what happened.

1. Files whose sha256 and recipe are stored already are skipped before they are fetched or parsed.
2. The others are read in worker threads, a few ahead of the writer, and taken in the source's order.
3. Whole files are packed until `transaction_rows` rows or `TRANSACTION_S` seconds have gathered; a pack is one
   transaction, written by a thread of its own while the next files are read.
4. A pack that the store refuses is halved until the bad file stands alone: the good ones are stored, and nothing of the
   bad one.

5. Where files contradict each other, the later one in the source's order wins, however often and in however many
   pieces the import is run: what another import changed is read again, and so is every file after a change.

Killed at any instant, only the packs in hand are lost; the same command again skips what is stored and goes on.

What a bad file does is the caller's choice. `on_bad="stop"` raises at the first one, after storing what came before.
`on_bad="list"` is for a folder or an address with thousands of files: the good ones go in, the bad ones are listed in
the report with the reason, and `Report.exit_code` is 2. A source that holds a single file, and that is bad, raises
either way. An unreachable server always stops, as every file after it would fail too; what had arrived is stored.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal, Protocol

from data.errors import BadInput, NotFound, SourceError, Unreachable, UnwindError
from data.rows import Batch, Origin, Rows, Scan, Written
from data.sources import Item, Note, Piece, Why

TRANSACTION_ROWS = 500_000
TRANSACTION_S = 30.0  # a slow server: store at least this often
_LOOK_UP = 512  # files whose presence in the store is asked for at once
_SHOWN = 10


class Progress(Protocol):
    """Something that is told how far an ingest is; implement `advance` to draw it your way."""

    def advance(self, files: int, rows: int) -> None:
        """So many more files are done, with so many rows read."""


class NoProgress:
    """Shows nothing."""

    def advance(self, files: int, rows: int) -> None:
        pass


class TqdmProgress:
    """A bar in the terminal or in Lab: `with TqdmProgress.of(source) as bar: ingest(source, store, progress=bar)`."""

    def __init__(self, total: int | None = None) -> None:
        from tqdm.auto import tqdm

        self._rows = 0
        self._bar: Any = tqdm(total=total, unit=" files", dynamic_ncols=True)

    @classmethod
    def of(cls, source: object) -> TqdmProgress:
        return cls(len(source) if hasattr(source, "__len__") else None)

    def advance(self, files: int, rows: int) -> None:
        self._rows += rows
        self._bar.set_postfix_str(f"{self._rows:,} rows", refresh=False)
        self._bar.update(files)

    def __enter__(self) -> TqdmProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


class Writes(Protocol):
    """What an ingest needs of a store."""

    def write(self, batch: Batch | Sequence[Batch]) -> Written: ...

    def stored(self, origins: Iterable[Origin], tables: Iterable[str], run: str = "") -> set[tuple[str, str]]: ...


@dataclass(frozen=True)
class Problem:
    """A file of which nothing was stored, and why."""

    name: str
    error: UnwindError

    @property
    def reason(self) -> str:
        text = str(self.error)
        return text.removeprefix(f"{self.name}: ").removeprefix(f"{self.name}, ")


@dataclass
class Report:
    """What an ingest did. `files` were read and stored now, `skipped` were stored before."""

    files: int = 0
    skipped: int = 0
    written: Written = field(default_factory=Written)
    problems: list[Problem] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        return 2 if self.problems else 0

    def as_dict(self) -> dict[str, Any]:
        w = self.written
        return {
            "files": self.files,
            "skipped": self.skipped,
            "rows": w.rows,
            "new": w.inserted,
            "changed": w.changed,
            "unchanged": w.unchanged,
            "doubled": w.doubled,
            "per_table": dict(w.per_table),
            "problems": [{"name": p.name, "reason": p.reason} for p in self.problems],
            "missing": list(self.missing),
            "ignored": list(self.ignored),
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        lines = [f"{_files(self.files)}: {self.written} ({self.seconds:.1f} s)"]
        lines += [f"{_files(self.skipped)} stored before"] if self.skipped else []
        lines += _listed(f"{_files(len(self.missing))} not at the source", self.missing)
        lines += _listed(f"{_files(len(self.ignored))} not of a kind that is imported", self.ignored)
        bad = [f"{p.name}: {p.reason}" for p in self.problems]
        return "\n".join(lines + _listed(f"{_files(len(bad))} refused, nothing of them stored", bad))


def _files(n: int) -> str:
    return f"{n:,} file{'' if n == 1 else 's'}"


def _listed(title: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = [f"  and {len(names) - _SHOWN:,} more"] if len(names) > _SHOWN else []
    return [f"{title}:", *(f"  {n}" for n in names[:_SHOWN]), *more]


def ingest(
    source: Iterable[Item],
    store: Writes,
    *,
    progress: Progress | None = None,
    transaction_rows: int = TRANSACTION_ROWS,
    on_bad: Literal["stop", "list"] = "stop",
    workers: int | None = None,
) -> Report:
    """Store everything that the source yields and the store does not have yet."""
    if on_bad not in ("stop", "list"):
        raise BadInput(f"on_bad is {on_bad!r}: write stop or list")
    started = time.perf_counter()
    run = _Run(store, progress or NoProgress(), transaction_rows, on_bad, getattr(source, "key", ""))
    count = workers or getattr(source, "workers", None) or 2
    with closing(_read(_wanted(source, run), count)) as arrivals:
        run.take_all(arrivals)
    if overtaken := run.overtaken():
        again = (i for i in source if not isinstance(i, Note) and _name_of(i) in overtaken)
        with closing(_read(again, count)) as arrivals:
            run.take_all(arrivals)
    run.report.seconds = time.perf_counter() - started
    return run.verdict()


@dataclass(frozen=True)
class _Arrival:
    """One file as it comes: its rows, or why there are none."""

    name: str
    batch: Batch | None = None
    error: UnwindError | None = None


@dataclass
class _Run:
    """One ingest: the pack in hand and the report."""

    store: Writes
    progress: Progress
    transaction_rows: int
    on_bad: str
    key: str = ""
    order: dict[str, int] = field(default_factory=dict)  # files as the source yields them
    skipped: dict[str, tuple[Origin, ...]] = field(default_factory=dict)
    changing: list[Origin] = field(default_factory=list)  # files whose transaction changed stored rows
    report: Report = field(default_factory=Report)
    pack: list[Batch] = field(default_factory=list)
    packed_rows: int = 0
    packed_since: float = 0.0
    writer: ThreadPoolExecutor | None = None
    writing: Future[None] | None = None

    def take_all(self, arrivals: Iterable[_Arrival]) -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="ingest-write") as self.writer:
            self._take(arrivals)

    def _take(self, arrivals: Iterable[_Arrival]) -> None:
        try:
            for arrival in arrivals:
                if arrival.batch is not None:
                    self.add(arrival.batch)
                elif arrival.error is not None:
                    self.refuse(arrival.name, arrival.error)
        except UnwindError as error:
            if isinstance(error, SourceError | BadInput):
                self.flush()
                self.settle()
            if isinstance(error, Unreachable) and self.report.files:
                raise Unreachable(f"{error}; what came before is stored, the same command goes on there") from error
            raise
        self.flush()
        self.settle()

    def add(self, batch: Batch) -> None:
        rows = [_count(r) for r in batch.rows]
        if any(n is None for n in rows):  # a file that the store itself reads: a transaction of its own
            self.flush()
            self.pack = [batch]
            self.flush()
            self.settle()
            return
        if not self.pack:
            self.packed_since = time.monotonic()
        self.pack.append(batch)
        self.packed_rows += sum(n for n in rows if n is not None)
        late = time.monotonic() - self.packed_since > TRANSACTION_S
        if self.packed_rows >= self.transaction_rows or late:
            self.flush()

    def flush(self) -> None:
        """Hand the pack to the writer's thread, which has one at a time; meanwhile the next files are read."""
        pack, self.pack, self.packed_rows = self.pack, [], 0
        if pack:
            self.settle()
            assert self.writer is not None
            self.writing = self.writer.submit(self.write, pack)

    def settle(self) -> None:
        """Wait until the pack in the writer's hands is stored, or raise what the store said."""
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()

    def write(self, pack: list[Batch]) -> None:
        try:
            written = self.store.write(_marked(pack, self.key))
        except BadInput as error:
            if len(pack) == 1:
                self.refuse(_name(pack[0]), error)
                return
            half = len(pack) // 2
            self.write(pack[:half])
            self.write(pack[half:])
            return
        if written.changed:
            self.changing += [replace(o, tables=o.tables or _tables(b)) for b in pack for o in b.origins]
        files = sum(max(1, len(b.origins)) for b in pack)
        self.report.files += files
        self.report.written += written
        self.progress.advance(files, written.rows)

    def refuse(self, name: str, error: UnwindError) -> None:
        if name not in str(error):
            error.args = (f"{name}: {error}",)
        if self.on_bad == "stop" or isinstance(error, Unreachable):
            raise error
        self.report.problems.append(Problem(name, error))
        self.progress.advance(1, 0)

    def skip(self, item: Batch | Piece) -> None:
        origins = tuple(replace(o, tables=o.tables or _filled(item)) for o in _origins(item))
        self.skipped[_name_of(item)] = origins
        self.report.skipped += len(origins)
        self.progress.advance(len(origins), 0)

    def overtaken(self) -> set[str]:
        """Files that were skipped although one before them in the source's order has now changed what they tell of."""
        late = {
            name
            for name, origins in self.skipped.items()
            for changed in self.changing
            if self.order.get(changed.name, 0) < self.order[name] and any(_meet(changed, o) for o in origins)
        }
        self.report.skipped -= sum(len(self.skipped[name]) for name in late)
        return late

    def note(self, note: Note) -> None:
        text = f"{note.name} ({note.reason})" if note.reason else note.name
        (self.report.missing if note.why is Why.MISSING else self.report.ignored).append(text)
        self.progress.advance(1, 0)

    def verdict(self) -> Report:
        r = self.report
        if not r.files and not r.skipped:
            if len(r.problems) == 1 and not r.missing:
                raise r.problems[0].error
            if r.missing and not r.problems:
                raise NotFound(
                    f"none of the {_files(len(r.missing))} asked for is at the source, the first is {r.missing[0]}: "
                    "check symbols, kinds, interval and dates"
                )
        return r


def _count(rows: Rows) -> int | None:
    """Rows of a frame; None for what only the store can count."""
    return None if isinstance(rows.data, Scan) or not hasattr(rows.data, "__len__") else len(rows.data)


def _name(batch: Batch) -> str:
    return batch.origins[0].name if batch.origins else "the input"


def _name_of(item: Batch | Piece) -> str:
    return item.origin.name if isinstance(item, Piece) else _name(item)


def _meet(a: Origin, b: Origin) -> bool:
    """Whether two files may tell of the same rows."""
    if not set(a.tables) & set(b.tables) or (a.venue and b.venue and a.venue != b.venue):
        return False
    if a.symbols is not None and b.symbols is not None and not set(a.symbols) & set(b.symbols):
        return False
    return a.covers is None or b.covers is None or (a.covers[0] < b.covers[1] and b.covers[0] < a.covers[1])


def _marked(pack: Sequence[Batch], key: str) -> list[Batch]:
    """The batches with the import that brings them written on their origins."""
    return [replace(b, origins=tuple(replace(o, run=key) for o in b.origins)) for b in pack]


def _tables(batch: Batch) -> tuple[str, ...]:
    return tuple(dict.fromkeys(r.table for r in batch.rows))


# ---- what to read, and reading it ----------------------------------------------------------------------------------


def _wanted(source: Iterable[Item], run: _Run) -> Iterator[Batch | Piece]:
    """Items that the store does not have; the others are counted."""
    items = iter(source)
    while group := list(islice(items, _LOOK_UP)):
        run.settle()  # a store that is being written cannot be asked
        stored = _stored(run.store, group, run.key)
        for item in group:
            if isinstance(item, Note):
                run.note(item)
                continue
            run.order.setdefault(_name_of(item), len(run.order))
            if _is_stored(item, stored):
                run.skip(item)
            else:
                yield item


def _origins(item: Batch | Piece) -> tuple[Origin, ...]:
    return (item.origin,) if isinstance(item, Piece) else item.origins


def _filled(item: Batch | Piece) -> tuple[str, ...]:
    return item.tables if isinstance(item, Piece) else _tables(item)


def _stored(store: Writes, items: Iterable[Item], run: str) -> dict[tuple[str, ...], set[tuple[str, str]]]:
    by_tables: dict[tuple[str, ...], list[Origin]] = {}
    for item in items:
        if not isinstance(item, Note):
            by_tables.setdefault(_filled(item), []).extend(o for o in _origins(item) if o.sha256)
    return {tables: store.stored(origins, tables, run) for tables, origins in by_tables.items() if origins}


def _is_stored(item: Batch | Piece, stored: dict[tuple[str, ...], set[tuple[str, str]]]) -> bool:
    origins, there = _origins(item), stored.get(_filled(item), set())
    return bool(origins) and all((o.sha256, o.recipe) in there for o in origins)


def _read(items: Iterator[Batch | Piece], workers: int) -> Generator[_Arrival, None, None]:
    """Read pieces in threads, at most two for each worker ahead of the writer, and hand them on in order."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ingest")
    waiting: deque[Future[_Arrival] | _Arrival] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(_arrive, item) if isinstance(item, Piece) else _Arrival(_name(item), item))
            if len(waiting) > 2 * workers:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _result(one: Future[_Arrival] | _Arrival) -> _Arrival:
    return one.result() if isinstance(one, Future) else one


def _arrive(piece: Piece) -> _Arrival:
    try:
        return _Arrival(piece.origin.name, piece.read())
    except UnwindError as error:
        return _Arrival(piece.origin.name, error=error)
