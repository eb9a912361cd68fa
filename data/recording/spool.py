"""The spool: what was heard, on disk within seconds, in append-only files that any crash leaves readable.

1. A segment is a text file of lines `crc32 json`, one record each. It is named by the time of its opening, which never
   goes back, so the order of names is the order of events.
2. The open segment ends in `.open` and is only ever appended to. Closed, it is renamed to `.seg`; that is when the
   merger may have it. A segment never spans two days (UTC).
3. `flush` writes and syncs. A process that is killed loses what it had not flushed; of a line that was torn by the
   crash, the checksum fails and the line is left out.
4. One process records into a spool: it holds a lock on `lock`. A segment left `.open` by a process that died is taken
   over by the next one, which closes it as it is.
5. `heard.json` holds until when each feed was heard, so that the next start knows the gap. It is replaced whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from data import clock
from data.errors import StoreLocked, StoreNotWritable
from data.recording.locks import FileLock

OPEN, CLOSED = ".open", ".seg"
SEGMENT_BYTES = 8 * 1024 * 1024  # what one merge takes into memory stays within a few times this
_BUFFER_BYTES = 1024 * 1024  # handed to the system at the latest then, flush or no flush

Record = Mapping[str, Any]


def spool_of(store: Path) -> Path:
    """Where the recorder of a store spools: a folder beside it."""
    return store.with_name(store.name + ".spool")


def line_of(record: Record) -> bytes:
    body = json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(errors="replace")
    return b"%08x %s\n" % (zlib.crc32(body), body)


@dataclass
class Segment:
    """What one segment holds. `damaged` lines failed their checksum and are left out."""

    path: Path
    records: list[Any] = field(default_factory=list)
    damaged: int = 0


def read_segment(path: Path) -> Segment:
    """Every whole record of a segment, torn or not."""
    out = Segment(path)
    for record in _records(path.read_bytes()):
        if record is None:
            out.damaged += 1
        else:
            out.records.append(record)
    return out


def _records(data: bytes) -> Iterator[Any]:
    """Records in order; None for a line that is not what was written."""
    for line in data.split(b"\n"):
        if not line:
            continue
        body = line[9:]
        try:
            whole = line[8:9] == b" " and int(line[:8], 16) == zlib.crc32(body)
            yield json.loads(body) if whole else None
        except ValueError:
            yield None


class Spool:
    """The folder of segments, for the one process that records into it."""

    def __init__(
        self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, header: Callable[[], Record | None] = lambda: None
    ) -> None:
        self.folder = folder
        self.header = header  # the first record of every segment
        self.segment_bytes = segment_bytes
        self.written = 0  # bytes since it was opened
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise StoreNotWritable(f"{folder} cannot be made: {problem.strerror}") from None
        self._lock = FileLock(folder / "lock")
        with self._told():
            taken = self._lock.take()
        if not taken:
            raise StoreLocked(f"another `unwind record` writes to {folder}; stop it first, or record into another --db")
        with self._told():
            for left in folder.glob(f"*{OPEN}"):
                _close(left)
        self._file: IO[bytes] | None = None
        self._path: Path | None = None
        self._size = 0
        self._day = 0
        self._buffer: list[bytes] = []
        self._buffered = 0

    # ---- writing -------------------------------------------------------------------------------------------------

    def append(self, record: Record) -> None:
        line = line_of(record)
        self._buffer.append(line)
        self._buffered += len(line)
        if self._buffered >= _BUFFER_BYTES:
            self._write()

    def flush(self, *, sync: bool = True) -> None:
        """All that was appended is in the file; with `sync` on the disk."""
        self._write()
        if self._file is not None and sync:
            with self._told():
                os.fsync(self._file.fileno())

    def rotate(self) -> Path | None:
        """Close the open segment, if it holds anything; the merger may then have it."""
        self.flush()
        if self._file is None or self._path is None:
            return None
        self._file.close()
        closed = _close(self._path)
        self._file, self._path, self._size = None, None, 0
        return closed

    def close(self) -> None:
        self.rotate()
        self._lock.release()

    def _write(self) -> None:
        if not self._buffer:
            return
        lines, self._buffer, self._buffered = b"".join(self._buffer), [], 0
        try:
            self._room()
            assert self._file is not None
            _write_all(self._file, lines)
        except OSError as problem:
            self._buffer, self._buffered = [lines], len(lines)
            self._undo()
            raise self._not_writable(problem) from None
        self._size += len(lines)
        self.written += len(lines)

    def _not_writable(self, problem: OSError) -> StoreNotWritable:
        return StoreNotWritable(
            f"{self.folder} cannot be written: {problem.strerror}; free space, and start `unwind record` again"
        )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What the system refuses, as ours."""
        try:
            yield
        except OSError as problem:
            raise self._not_writable(problem) from None

    def _undo(self) -> None:
        """No part of what could not be written whole."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
                self._file.seek(self._size)

    def _room(self) -> None:
        """An open segment of today that is not full."""
        today = time.time_ns() // clock.DAY
        if self._file is not None and (today != self._day or self._size >= self.segment_bytes):
            self._file.close()
            assert self._path is not None
            _close(self._path)
            self._file = None
        if self._file is None:
            self._path = self.folder / f"{self._next_name()}{OPEN}"
            self._file = self._path.open("xb", buffering=0)
            self._size, self._day = 0, today
            first = self.header()
            if first is not None:
                line = line_of(first)
                _write_all(self._file, line)
                self._size = len(line)

    def _next_name(self) -> str:
        """By the clock, yet after every name that is there: a clock set back must not change the order."""
        names = [p.stem for p in self.folder.iterdir() if p.suffix in (OPEN, CLOSED)]
        last = max((_number(n) for n in names), default=0)
        number = max(time.time_ns(), last + 1)
        return f"{clock.iso(clock.floor(number, clock.DAY))[:10]}-{number:020d}"

    # ---- what is left ------------------------------------------------------------------------------------------------

    def heard(self) -> dict[str, int]:
        """Until when each feed was heard when this spool was last written to; nanoseconds."""
        try:
            found = json.loads((self.folder / "heard.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(k): int(v) for k, v in found.items()}

    def remember(self, heard: Mapping[str, int]) -> None:
        fresh = self.folder / "heard.json.new"
        with self._told():
            with fresh.open("w", encoding="utf-8") as f:
                json.dump(dict(heard), f)
                f.flush()
                os.fsync(f.fileno())
            fresh.replace(self.folder / "heard.json")


def _write_all(file: IO[bytes], data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def closed_segments(folder: Path) -> list[Path]:
    """Segments that may be merged, oldest first."""
    return sorted((p for p in folder.glob(f"*{CLOSED}")), key=lambda p: _number(p.stem))


def _close(path: Path) -> Path:
    closed = path.with_suffix(CLOSED)
    path.replace(closed)
    if os.name == "posix":  # the new name, too, is on the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return closed


def _number(stem: str) -> int:
    tail = stem.rsplit("-", 1)[-1]
    return int(tail) if tail.isdigit() else 0
