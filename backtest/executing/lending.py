"""A market as files that any process can map into its memory: written once by the driver, read by every worker.

    lent = lend(market, "/shared/folder")       # or "s3://bucket/prefix", with the fsspec package for it
    lent.open()                                 # in a worker: the same market, bit for bit

Each large array is one .npy file named by its content, so that nothing is written or sent twice, neither for the next
sweep nor for another market that shares it; what is left over is one small file. From a folder, arrays are mapped:
workers of one machine share its pages. From an object store they are copied once a machine, then mapped.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import io
import os
import pickle
import shutil
import socket
import tempfile
import threading
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data.errors import BadInput, NotFound, StoreNotWritable

if TYPE_CHECKING:
    from data.market import Market

LEAST = 1 << 12  # bytes of an array that has a file of its own
MOST_OPEN = 4  # markets that a worker keeps
SHARED = "UNWIND_SHARED"

_open: OrderedDict[str, Market] = OrderedDict()
_opening = threading.Lock()


@dataclass(frozen=True)
class Here:
    """A market in this very process: for threads, which see it anyway.

    Its key is good for one sweep: what `decide` names from around it may be something else in the next one.
    """

    market: Market
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def open(self) -> Market:
        return self.market


@dataclass(frozen=True)
class Lent:
    """Where a market's files lie, and which they are. Small: this is all that travels with a task."""

    key: str
    place: str

    def open(self) -> Market:
        with _opening:
            if self.key not in _open:
                _open[self.key] = _read(self)
                while len(_open) > MOST_OPEN:
                    _open.popitem(last=False)
            _open.move_to_end(self.key)
            return _open[self.key]


def shared_place() -> str:
    """Where markets are lent when nobody says: what UNWIND_SHARED names, else a folder that ends with this process."""
    return os.environ.get(SHARED, "") or _own_folder()


@functools.cache
def _own_folder() -> str:
    folder = tempfile.mkdtemp(prefix="unwind-lent-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# ---- the driver's side -----------------------------------------------------------------------------


def lend(market: Market, place: str | os.PathLike[str] | None = None) -> Lent:
    """Written where it is not there already. The register of trials stays behind: the driver notes them."""
    files = _files(os.fspath(place) if place is not None else shared_place())
    try:
        head = io.BytesIO()
        _Writer(head, files).dump(market.registered(""))
        key = hashlib.sha256(head.getvalue()).hexdigest()[:32]
        files.put(f"{key}.market", head.getvalue())
    except OSError as error:
        raise StoreNotWritable(f"{files.place} cannot be written ({error.strerror or error}): name another") from None
    return Lent(key, files.place)


class _Writer(pickle.Pickler):
    """Arrays go to files of their own."""

    def __init__(self, file: io.BytesIO, files: _Files) -> None:
        super().__init__(file, protocol=5)
        self.files, self.known = files, dict[int, str]()

    def persistent_id(self, thing: Any) -> str | None:
        if type(thing) is not np.ndarray or thing.nbytes < LEAST or thing.dtype.hasobject:
            return None
        if id(thing) not in self.known:
            self.known[id(thing)] = self._put(np.ascontiguousarray(thing))
        return self.known[id(thing)]

    def _put(self, array: npt.NDArray[Any]) -> str:
        name = hashlib.sha256(f"{array.dtype.descr}{array.shape}".encode())
        name.update(array.view(np.uint8).data if array.ndim else array.tobytes())
        file = f"{name.hexdigest()[:32]}.npy"
        if not self.files.has(file):
            made = io.BytesIO()
            np.save(made, array, allow_pickle=False)
            self.files.put(file, made.getbuffer())
        return file


# ---- the worker's side -----------------------------------------------------------------------------


def _read(lent: Lent) -> Market:
    files = _files(lent.place)
    try:
        head = files.local(f"{lent.key}.market").read_bytes()
    except FileNotFoundError:
        raise NotFound(
            f"a worker on {socket.gethostname()} cannot see {lent.place}: set {SHARED} to a folder, or an address in "
            "an object store, that the driver and every worker can read"
        ) from None
    market: Market = _Reader(io.BytesIO(head), files).load()
    return market


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, files: _Files) -> None:
        super().__init__(file)
        self.files, self.known = files, dict[str, npt.NDArray[Any]]()

    def persistent_load(self, name: str) -> npt.NDArray[Any]:
        if name not in self.known:
            self.known[name] = np.asarray(np.load(self.files.local(name), mmap_mode="r", allow_pickle=False))
        return self.known[name]


# ---- files -----------------------------------------------------------------------------------------


class _Files:
    """A folder. A file is there whole or not at all."""

    def __init__(self, place: str) -> None:
        self.place = str(Path(place).absolute())

    def has(self, name: str) -> bool:
        return (Path(self.place) / name).is_file()

    def put(self, name: str, content: bytes | memoryview) -> None:
        _put(Path(self.place) / name, content)

    def local(self, name: str) -> Path:
        return Path(self.place) / name


class _Remote(_Files):
    """An object store, read through a folder of this machine."""

    def __init__(self, place: str) -> None:
        try:
            import fsspec
        except ImportError:
            raise NotFound(f"{place} needs fsspec: pip install 'unwind[cluster]'") from None
        try:
            self.system, self.root = fsspec.core.url_to_fs(place)
        except (ImportError, ValueError) as error:
            raise BadInput(f"{place} cannot be opened: {error}") from None
        self.place = place
        user = os.getuid() if hasattr(os, "getuid") else 0
        name = hashlib.sha256(place.encode()).hexdigest()[:8]
        self.copies = Path(tempfile.gettempdir()) / f"unwind-copies-{user}" / name

    def has(self, name: str) -> bool:
        return bool(self.system.exists(f"{self.root}/{name}"))

    def put(self, name: str, content: bytes | memoryview) -> None:
        if not self.has(name):
            self.system.makedirs(self.root, exist_ok=True)
            self.system.pipe_file(f"{self.root}/{name}", bytes(content))

    def local(self, name: str) -> Path:
        copy = self.copies / name
        if not copy.is_file():
            _put(copy, self.system.cat_file(f"{self.root}/{name}"))
        return copy


def _files(place: str) -> _Files:
    return _Remote(place) if "://" in place else _Files(place)


def _put(path: Path, content: bytes | memoryview) -> None:
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
