"""Results as folders: `run.npz` and `meta.json`, written beside the target and renamed, so that there is a whole one.

save(result, folder)   a result that is there is replaced; anything else is left alone, and refused
load(Result, folder)   the same bits, or a word on what is wrong with the folder

Arrays are checked against a hash in `meta.json`, and that against its own.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest import attribution, records
from backtest.plain import digest, joined, plain
from backtest.records import Run
from data.errors import BadInput, NotFound, NotThisFormat, StoreNotWritable

if TYPE_CHECKING:
    from backtest.result import Result

Settings = dict[str, Any]

FORMAT = "unwind result"
VERSION = 1
META, ARRAYS = "meta.json", "run.npz"
BESIDE = ("command.json", "evidence.json", "report.html")  # said of a result, and gone with it
TABLES = {
    "ledger": records.LEDGER,
    "fills": records.FILL,
    "liquidations": records.LIQUIDATION,
    "fundings": records.FUNDING,
    "refused": records.REFUSED,
}
COUNTS = ("scaled", "ambiguous", "skipped", "ruined_bar")
TEXTS = ("symbols", "currency", "venue", "warnings", "assumptions")
SETTINGS = ("account", "costs", "parameters", "band", "fingerprint")


def save(result: Result, folder: str | os.PathLike[str]) -> Path:
    target = Path(folder).expanduser().resolve()
    try:
        _refuse_to_overwrite(target)
        _write(result, target)
    except OSError as error:
        raise StoreNotWritable(f"{target}: cannot write a result there: {error.strerror or error}") from error
    return target


def load(cls: type[Result], folder: str | os.PathLike[str]) -> Result:
    place = Path(folder).expanduser()
    meta = _read_meta(place)
    arrays = _read_arrays(place, meta)
    try:
        return _assembled(cls, meta, arrays)
    except (KeyError, TypeError, ValueError, BadInput) as error:
        raise _damaged(place, f"{type(error).__name__}: {error}") from error


def _refuse_to_overwrite(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise BadInput(f"{target} is a file: name a folder for the result")
    found = sorted(entry.name for entry in target.iterdir())
    others = [name for name in found if name not in (META, ARRAYS, *BESIDE)]
    if others:
        raise BadInput(f"{target} holds other files ({joined(others)}): name a new folder for the result")
    if found and not _is_result(target, patient=META in found):
        raise BadInput(f"{target} holds no result that could be replaced: name a new folder")


def _is_result(folder: Path, *, patient: bool) -> bool:
    """Another process may just be putting its own in the place."""
    for wait in (0.0, 0.01, 0.02, 0.04, 0.08) if patient else (0.0,):
        time.sleep(wait)
        if _format_of(folder) == FORMAT or not folder.exists():
            return True
    return False


def _format_of(folder: Path) -> object:
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return meta.get("format") if isinstance(meta, dict) else None


def _write(result: Result, target: Path) -> None:
    """Beside the target, then renamed. Killed halfway it leaves hidden folders, at worst the old result in one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(4)
    new, old = (target.with_name(f".{target.name}.{mark}.{what}") for what in ("new", "old"))
    new.mkdir()
    try:
        packed = _packed(_arrays_of(result))
        _put(new / ARRAYS, packed)
        _put(new / META, _meta_of(result, hashlib.sha256(packed).hexdigest()))
        if target.exists():
            target.rename(old)
        new.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _put(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _arrays_of(result: Result) -> dict[str, npt.NDArray[Any]]:
    run = result.run
    arrays = {
        "ts": result.ts,
        **{f"series.{name}": run.series[name] for name in records.SERIES},
        **{f"leg_series.{name}": run.leg_series[name] for name in records.LEG_SERIES},
        **{name: getattr(run, name) for name in TABLES},
        "margin_distance": run.margin_distance,
    }
    if result.attribution is not None:
        arrays |= attribution.arrays_of(result.attribution)
    return arrays if result.marks is None else {**arrays, "marks": result.marks}


def _packed(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """An .npz, lightly compressed, without the time of writing: the same arrays give the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bundle:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with bundle.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return packed.getvalue()


def _meta_of(result: Result, arrays: str) -> bytes:
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "interval": result.interval,
        "start_equity": result.start_equity,
        "kinds": plain(result.kinds),
        **{name: plain(getattr(result, name)) for name in (*TEXTS, *SETTINGS)},
        **{name: int(getattr(result.run, name)) for name in COUNTS},
        "arrays": arrays,
    }
    return json.dumps({**meta, "check": digest(meta)}, indent=1).encode()


def _read_meta(folder: Path) -> Settings:
    if not (folder / META).is_file():
        raise NotFound(f"{folder}: there is no result (no {META})")
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise _damaged(folder, f"{META} is no JSON") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise NotThisFormat(f"{folder / META} was not written by a result")
    version = meta.get("version")
    if isinstance(version, int) and version > VERSION:
        raise NotThisFormat(f"{folder}: saved in format {version}, newer than {VERSION}: update unwind to read it")
    check = meta.pop("check", None)
    if version != VERSION or check != digest(meta):
        raise _damaged(folder, f"{META} was changed")
    return meta


def _read_arrays(folder: Path, meta: Settings) -> dict[str, npt.NDArray[Any]]:
    try:
        packed = (folder / ARRAYS).read_bytes()
    except OSError as error:
        raise _damaged(folder, f"{ARRAYS} cannot be read: {error.strerror}") from None
    if hashlib.sha256(packed).hexdigest() != meta.get("arrays"):
        raise _damaged(folder, f"{ARRAYS} is not the file that was saved")
    with np.load(io.BytesIO(packed), allow_pickle=False) as bundle:
        return {name: bundle[name] for name in bundle.files}


def _assembled(cls: type[Result], meta: Settings, arrays: Mapping[str, npt.NDArray[Any]]) -> Result:
    for name, dtype in TABLES.items():
        if arrays[name].dtype != dtype:
            raise ValueError(f"{name} has other columns")
    rest: dict[str, Any] = {**{name: arrays[name] for name in TABLES}, **{name: int(meta[name]) for name in COUNTS}}
    run = Run(
        series={name: arrays[f"series.{name}"] for name in records.SERIES},
        leg_series={name: arrays[f"leg_series.{name}"] for name in records.LEG_SERIES},
        margin_distance=arrays["margin_distance"],
        **rest,
    )
    return cls(
        run=run,
        ts=arrays["ts"],
        marks=arrays.get("marks"),
        attribution=attribution.from_arrays(arrays, tuple(meta["symbols"]), arrays["ts"]),
        **{name: meta[name] for name in ("interval", "start_equity", "kinds", *TEXTS, *SETTINGS)},
    )


def _damaged(folder: Path, how: str) -> NotThisFormat:
    return NotThisFormat(f"{folder}: this result is damaged ({how}): make it again")
