"""Binance's public archive: a file, a folder tree, or the same tree behind http.

* `ArchiveTree(path)`: one .zip or .csv, or any part of the tree. A `.CHECKSUM` beside a file is verified.
* `ArchiveUrl(base, selection)`: the files of a `Selection`. The `.CHECKSUM` is fetched first: what the store has
  already is not fetched again, and what arrives is compared with it. A file that does not match, or cannot be unpacked,
  is fetched once more and then refused as `Corrupt`. A file without checksum is refused too, unless `checksum=False`.
  A file that is not there (404) is noted as missing.

Rows and their meaning: `data.sources.archive_rows`. Names and folders: `data.sources.archive_layout`.

Daily files are preferable to monthly ones, of which some are incomplete; a tree that has both is read monthly first, so
that the daily file has the last word.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from data.errors import BadInput, Corrupt, SourceError, UnwindError
from data.rows import Batch, Origin, key_of, recipe_of
from data.sources import Item, Note, Piece, Why
from data.sources.archive_layout import ArchiveFile, NotImported, Selection, kind_name, market_name, parse
from data.sources.archive_rows import VERSION, rows_of
from data.sources.http_tree import HttpTree

SOURCE = "binance-archive"
_CHECKSUM = re.compile(r"^\s*([0-9a-fA-F]{64})(?:\s+\*?(\S.*?))?\s*$")
_DAY = re.compile(r"-\d{4}-\d{2}-\d{2}\.")
_MOST_BYTES = 4 << 30  # unpacked; a month of one-second bars is 300 MB


def read(file: ArchiveFile, content: bytes) -> Batch:
    """One file of the archive, as it is on disk or on the wire, as a batch."""
    rows, count = rows_of(file, _unpack(file, content) if file.suffix == "zip" else content)
    return Batch(rows, (replace(_origin(file, hashlib.sha256(content).hexdigest()), rows=count),))


def _origin(file: ArchiveFile, sha256: str) -> Origin:
    return Origin(
        source=SOURCE,
        name=file.path,
        sha256=sha256,
        recipe=recipe_of(SOURCE, VERSION, file.path),  # two days without events have the same bytes
        covers=file.covers,
        symbols=(file.unified,),
        tables=file.tables,
        venue="binance",
    )


def _unpack(file: ArchiveFile, content: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside = [m for m in archive.infolist() if m.filename.lower().endswith(".csv")]
            if len(inside) != 1:
                raise Corrupt(f"{file.path}: holds {len(inside)} csv files, not 1")
            if inside[0].file_size > _MOST_BYTES:
                raise Corrupt(f"{file.path}: would unpack to {inside[0].file_size >> 30} GB")
            return archive.read(inside[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as problem:
        raise Corrupt(f"{file.path}: damaged or cut short ({problem}); get the file again") from None


def checksum_of(text: bytes, file: ArchiveFile) -> str:
    """The sha256 in a `.CHECKSUM` file: `<sha256>  <name>`."""
    match = _CHECKSUM.match(text.decode("ascii", "replace"))
    if match is None or (match[2] and Path(match[2]).name != file.name):
        raise Corrupt(f"{file.path}.CHECKSUM: is no checksum of {file.name}")
    return match[1].lower()


def _verify(file: ArchiveFile, content: bytes, wanted: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if wanted and found != wanted:
        raise Corrupt(f"{file.path}: does not match its checksum ({found[:12]}, not {wanted[:12]}); get the file again")


# ---- files ---------------------------------------------------------------------------------------------------------


class ArchiveTree:
    """A file, or every file below a folder. `kind` and `market` are for files whose folders do not say them."""

    workers = 2

    def __init__(self, path: str | Path, *, kind: str | None = None, market: str | None = None) -> None:
        self._path, self._kind, self._market = Path(path), kind_name(kind or ""), market_name(market or "")
        self._found = self._look()

    @property
    def key(self) -> str:
        return key_of(self._path)

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Item]:
        return (self._item(path) for path in self._found)

    def _look(self) -> list[Path]:
        if self._path.is_file():
            parse(self._path.resolve(), self._kind, self._market)
            return [self._path]
        if not self._path.is_dir():
            raise BadInput(f"{self._path}: no such file or folder")
        files = [p for p in self._path.rglob("*") if p.suffix in (".zip", ".csv") and not p.name.startswith(".")]
        zips = {p for p in files if p.suffix == ".zip"}
        found = [p for p in files if p in zips or p.with_suffix(".zip") not in zips]
        if not found:
            raise BadInput(f"{self._path}: holds no .zip or .csv file of the archive")
        return sorted(found, key=lambda p: (_DAY.search(p.name) is not None, p.parts))

    def _item(self, path: Path) -> Item:
        name = path.relative_to(self._path).as_posix() if path != self._path else path.name
        try:
            file = parse(path.resolve(), self._kind, self._market)
        except NotImported as why:
            return Note(name, Why.IGNORED, str(why).removeprefix(f"{path.name}: "))
        except UnwindError as problem:
            return Piece(Origin(SOURCE, name), (), partial(_raise, problem))
        with path.open("rb") as f:
            sha256 = hashlib.file_digest(f, "sha256").hexdigest()
        return Piece(_origin(file, sha256), file.tables, partial(self._read, path, file))

    @staticmethod
    def _read(path: Path, file: ArchiveFile) -> Batch:
        content = path.read_bytes()
        beside = path.with_name(path.name + ".CHECKSUM")
        if beside.is_file():
            _verify(file, content, checksum_of(beside.read_bytes(), file))
        return read(file, content)


def _raise(problem: UnwindError) -> Batch:
    raise problem


# ---- http ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ArchiveUrl:
    """The selected files below an address, such as that of the venue's archive or of a mirror."""

    base: str
    selection: Selection
    checksum: bool = True
    workers: int = 8
    timeout_s: float = 30.0
    attempts: int = 5
    pause_s: float = 0.5

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise BadInput(f"--workers {self.workers}: at least 1 file is fetched at a time")
        self._tree()  # an address that is none is refused before anything is asked for

    def _tree(self) -> HttpTree:
        return HttpTree(self.base.rstrip("/").removesuffix("/data"), self.timeout_s, self.attempts, self.pause_s)

    @property
    def key(self) -> str:
        return key_of(self.base)

    def __len__(self) -> int:
        return len(self.selection)

    def __iter__(self) -> Iterator[Item]:
        """Items in the selection's order; their checksums are fetched in threads, some ahead."""
        tree = self._tree()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="checksums")
        waiting: deque[Future[Item]] = deque()
        try:
            for file in self.selection:
                waiting.append(pool.submit(self._item, tree, file))
                if len(waiting) > 4 * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _item(self, tree: HttpTree, file: ArchiveFile) -> Item:
        try:
            sha256 = self._sha256(tree, file)
        except SourceError as problem:
            return Piece(_origin(file, ""), file.tables, partial(_raise, problem))
        if sha256 is None:
            return Note(file.path, Why.MISSING)
        return Piece(_origin(file, sha256), file.tables, partial(self._read, tree, file, sha256))

    def _sha256(self, tree: HttpTree, file: ArchiveFile) -> str | None:
        """The checksum; empty where none is wanted; None where there is no such file."""
        if not self.checksum:
            return "" if tree.exists(file.path) else None
        text = tree.get(file.path + ".CHECKSUM")
        if text is not None:
            return checksum_of(text, file)
        if not tree.exists(file.path):
            return None
        raise Corrupt(f"{file.path}: has no .CHECKSUM beside it; to store it unverified pass --no-checksum")

    @staticmethod
    def _read(tree: HttpTree, file: ArchiveFile, sha256: str) -> Batch:
        try:
            return _fetch(tree, file, sha256)
        except Corrupt:
            return _fetch(tree, file, sha256)  # once more: it may have been damaged on the way


def _fetch(tree: HttpTree, file: ArchiveFile, sha256: str) -> Batch:
    content = tree.get(file.path)
    if content is None:
        raise SourceError(f"{file.path}: has a checksum but is not there")
    _verify(file, content, sha256)
    return read(file, content)
