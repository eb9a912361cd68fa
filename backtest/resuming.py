"""What a sweep or a walk-forward has finished, in a folder: the same call goes on from there.

    kept = KeptSets(folder, batch, base)
    kept.known(sets)                       # rows of those that are there
    kept.write(sets, table, sketches)      # a chunk, one Parquet file: parameters and measures, for any reader

A folder belongs to one strategy, market and set of terms, and to one version of the engine. Which sets were asked for
does not matter: a finer grid on the same folder walks what is new. A file is there whole or not at all, and one that
cannot be read is named.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest import metrics, trials
from backtest.executing.versions import source_hash
from backtest.job import job_of
from backtest.putting import put
from backtest.strategy import Strategy
from data.errors import BadInput, NotThisFormat

if TYPE_CHECKING:
    from backtest.batch import Batch

Floats = npt.NDArray[np.float64]

FORMAT = 1
HEAD = "sweep.json"


def identity(batch: Batch, base: Strategy) -> str:
    """A hash of all that decides the measures of a set, the set itself aside."""
    from backtest.result import digest

    few = batch.market[: min(len(batch.market), 10_000)]
    decides = job_of(few, [base], several=len(few.symbols) > 1, jit=True).source
    parts = {
        "format": FORMAT,
        "engine": source_hash(),
        "strategy": type(base).__name__,
        "source": trials.source_of(base, decides),
        "terms": [digest(getattr(batch.terms, name)) for name in ("venue", "account", "costs")],
        "markets": [one.hash if one is not None else "" for one in (batch.market, batch.history, batch.detail)],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def claim(head: Path, identity: str, what: str) -> None:
    """Make a folder that of this one run, or see that it is: `head` is the file that says whose it is."""
    head.parent.mkdir(parents=True, exist_ok=True)
    if not head.is_file():
        put(head, json.dumps({"identity": identity, "format": FORMAT}).encode())
        return
    try:
        found = json.loads(head.read_text(encoding="utf-8"))["identity"]
    except (ValueError, KeyError, TypeError):
        raise NotThisFormat(f"{head} cannot be read: remove the folder, or name another") from None
    if found != identity:
        raise BadInput(f"{head.parent} holds another {what}: name another folder, or remove it")


class KeptSets:
    """Finished sets in a folder, some in each file."""

    def __init__(self, folder: str | os.PathLike[str], batch: Batch, base: Strategy) -> None:
        self.folder = Path(folder)
        made = identity(batch, base)
        claim(self.folder / HEAD, made, "sweep (other data, strategy, terms or version of the engine)")
        self._rows: dict[str, tuple[Floats, Any]] | None = None

    def known(self, sets: Sequence[Strategy]) -> list[tuple[Strategy, Floats, Any]]:
        """Those that are finished, with their measures and their sketch."""
        if self._rows is None:
            self._rows = self._read()
        if not self._rows or not sets:
            return []
        found = zip(sets, map(self._rows.get, trials.params_of_all(sets)), strict=True)
        return [(one, *row) for one, row in found if row is not None]

    def write(self, sets: Sequence[Strategy], table: Floats, sketches: trials.Sketches) -> None:
        import io

        import polars as pl

        size, packed = trials.WIDTH * 2, sketches.tobytes()
        frame = pl.DataFrame(
            {
                "params": trials.params_of_all(sets),
                **{name: table[:, column] for column, name in enumerate(metrics.NAMES)},
                "sketch": [packed[row * size : (row + 1) * size] for row in range(len(sets))],
            }
        )
        made = io.BytesIO()
        frame.write_parquet(made, compression="zstd")
        put(self.folder / f"sets-{uuid.uuid4().hex[:12]}.parquet", made.getvalue())

    def _read(self) -> dict[str, tuple[Floats, Any]]:
        import polars as pl

        rows: dict[str, tuple[Floats, Any]] = {}
        for path in sorted(self.folder.glob("sets-*.parquet")):
            try:
                frame = pl.read_parquet(path)
                table = frame.select(metrics.NAMES).to_numpy()
                sketches = np.frombuffer(b"".join(frame["sketch"]), np.float16).reshape(len(frame), trials.WIDTH)
            except (pl.exceptions.PolarsError, ValueError):
                raise NotThisFormat(f"{path} cannot be read: remove it, and its sets are walked again") from None
            for row, params in enumerate(frame["params"]):
                rows[params] = table[row], sketches[row]
        return rows
