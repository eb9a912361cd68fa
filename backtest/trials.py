"""The register of trials: every distinct parameter set that was simulated on a market leaves its Sharpe ratio.

A market that came from a store knows the register beside it (`market.register`, a folder). `simulate`, `measure` and
`sweep` note there what they ran, in a notebook as in a script; nothing is noted of other markets. The folder is
append-only and belongs to no database, so that an open reader never blocks research and research never blocks a writer:

    runs.jsonl        one line a simulation
    batch-*.parquet   one file a batch of parameter sets
    afresh.jsonl      when the count was started afresh; what came before stays, and is no longer counted

A trial is a strategy's name, the hash of its source and its parameters. The same on another part of the market, or with
other fees, is the same trial. Trials count for a market when they share a symbol of its venue and at least a day of its
time, whatever the strategy and whatever was edited since.

Each also leaves a sketch of its daily returns: their sums under 64 patterns of signs that hang on the date alone. The
cosine of two sketches estimates the correlation of two trials over the days they share, without keeping the returns; so
the register can say how many independent trials the many are worth: N (1 - r) + r, with r the mean correlation.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.origin import source_of as source_of
from data import clock
from data.errors import BadInput, NotThisFormat, StoreNotWritable

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from backtest.batch import Batch, Walked
    from backtest.result import Result
    from backtest.strategy import Strategy
    from data.market import Market

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Sketches = npt.NDArray[np.float16]

WIDTH = 64  # signs a day
RUNS, AFRESH = "runs.jsonl", "afresh.jsonl"
COLUMNS = ("strategy", "source", "params", "at", "venue", "symbols", "market", "interval", "first", "last",
           "days", "sharpe", "skew", "kurtosis", "sketch")  # fmt: skip


# ---- sketches --------------------------------------------------------------------------------------


def days_of(ts: Ints) -> Ints:
    """Day numbers since 1970 of a market's daily returns."""
    return np.unique(np.asarray(ts, dtype=np.int64) // clock.DAY)


def signs(days: Ints) -> npt.NDArray[np.float64]:
    """WIDTH signs of each day, the same in every process: a hash of the day's number (splitmix64), bit by bit."""
    with np.errstate(over="ignore"):
        x = days.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    bits = (x[:, None] >> np.arange(WIDTH, dtype=np.uint64)) & np.uint64(1)
    return np.asarray(bits.astype(np.float64) * 2.0 - 1.0)


def sketches(days: Ints, daily_equity: Floats, start: float) -> Sketches:
    """One row a set, from rows of equity at the ends of the days. A set that never moved has zeros."""
    from backtest.sketching import products

    n = min(daily_equity.shape[1], len(days))
    equity = np.concatenate((np.full((len(daily_equity), 1), start), daily_equity[:, :n]), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        returns = np.nan_to_num(equity[:, 1:] / equity[:, :-1] - 1.0, nan=0.0, posinf=0.0, neginf=0.0)
    returns -= returns.mean(axis=1, keepdims=True)
    size = np.sqrt((returns * returns).sum(axis=1, keepdims=True))
    unit = np.divide(returns, size, out=np.zeros_like(returns), where=size > 1e-14)
    return np.asarray(products(unit, signs(days[:n])).astype(np.float16))


def mean_correlation(found: Sketches) -> float:
    """Of all pairs, between 0 and 1; 0 for fewer than two that moved."""
    rows = found.astype(np.float64)
    size = np.sqrt((rows * rows).sum(axis=1))
    rows = rows[size > 0.0] / size[size > 0.0, None]
    n = len(rows)
    if n < 2:
        return 0.0
    total = rows.sum(axis=0)
    return float(min(max((total @ total - n) / (n * (n - 1.0)), 0.0), 1.0))


# ---- what a count says -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Count:
    """The trials that overlap a market."""

    number: int
    effective: float  # of as many independent ones
    mean_correlation: float
    variance: float  # of their daily Sharpe ratios; NaN below two
    best: float  # daily Sharpe ratio
    since: int | None = None  # when the count was started afresh, ns
    left_out: int = 0  # trials from before that

    def words(self) -> str:
        afresh = ""
        if self.since is not None:
            afresh = f"; counted afresh since {clock.iso(self.since)}, {self.left_out:,} earlier ones left out"
        return f"{self.number:,} trials on this market, worth {self.effective:,.1f} independent ones{afresh}"


# ---- the folder ------------------------------------------------------------------------------------


class Register:
    """The folder of one store's trials. It is made when the first trial is noted."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def append(self, row: Mapping[str, Any]) -> None:
        """One simulation."""
        self._line(RUNS, row)

    def _made(self) -> None:
        """A trial that could not be noted would not count, so nothing is run where that is so."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror or str(error)
            raise StoreNotWritable(
                f"{self.folder}: trials cannot be noted there ({why}): copy the store to where you can write"
            ) from error

    def _line(self, name: str, row: Mapping[str, Any]) -> None:
        self._made()
        text = json.dumps(row, separators=(",", ":"), allow_nan=True) + "\n"
        handle = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            torn = b""  # a line that a crash has cut must not take this one with it
            if os.fstat(handle).st_size > 0:
                os.lseek(handle, -1, os.SEEK_END)
                torn = b"\n" if os.read(handle, 1) != b"\n" else b""
            os.write(handle, torn + text.encode())  # one call: lines of several processes never mix
        finally:
            os.close(handle)

    def add(self, frame: pl.DataFrame) -> None:
        """A batch of sets: written aside, then named, so that a reader sees all of it or nothing."""
        self._made()
        name = f"batch-{time.time_ns()}-{uuid.uuid4().hex[:8]}"
        aside = self.folder / f".{name}"
        frame.write_parquet(aside, compression="zstd")
        aside.rename(self.folder / f"{name}.parquet")

    def start_afresh(self) -> int:
        """From now on only new trials count; how many there were."""
        number = self.distinct().height
        self._line(AFRESH, {"at": time.time_ns(), "trials": number})
        return number

    @property
    def afresh(self) -> int | None:
        """When the count was last started afresh, ns."""
        rows = list(_lines(self.folder / AFRESH))
        return int(rows[-1]["at"]) if rows else None

    def table(self) -> pl.DataFrame:
        """All that was noted, oldest first."""
        import polars as pl

        frames = [_batch_of(path) for path in sorted(self.folder.glob("batch-*.parquet"))]
        single = [row for line in _lines(self.folder / RUNS) if (row := _row_of(line)) is not None]
        if single:
            frames.append(pl.DataFrame(single, schema=_schema(), orient="row"))
        if not frames:
            return pl.DataFrame(schema=_schema())
        return pl.concat(frames).sort("at")

    def distinct(self, market: Market | None = None) -> pl.DataFrame:
        """Each trial once: where it was run several times, over the most days. `market`: those that overlap it."""
        return _once(self._overlapping(market))

    def _overlapping(self, market: Market | None) -> pl.DataFrame:
        import polars as pl

        found = self.table()
        if market is not None:
            shared = pl.col("symbols").list.set_intersection(list(market.symbols)).list.len() > 0
            common = pl.min_horizontal("last", pl.lit(market.end)) - pl.max_horizontal("first", pl.lit(market.start))
            found = found.filter((pl.col("venue") == market.venue) & shared & (common >= clock.DAY))
        return found

    def counting(self, market: Market | None = None) -> tuple[pl.DataFrame, int | None, int]:
        """The trials that count, since when, and how many from before that do not."""
        import polars as pl

        found, since = self._overlapping(market), self.afresh
        if since is None:
            return _once(found), None, 0
        counts = _once(found.filter(pl.col("at") >= since))  # also those that were run before, and again since
        return counts, since, _once(found).height - counts.height

    def count(self, market: Market | None = None) -> Count:
        found, since, left = self.counting(market)
        return count_of(found, since=since, left_out=left)


def count_of(found: pl.DataFrame, since: int | None = None, left_out: int = 0) -> Count:
    """Of rows of the register, each a trial of its own."""
    return counted(found["sharpe"].to_numpy(), sketches_of(found), since=since, left_out=left_out)


def counted(sharpes: Floats, found: Sketches, since: int | None = None, left_out: int = 0) -> Count:
    """`sharpes`: daily; sets that never traded have NaN and are trials all the same, of a ratio of 0."""
    known = np.where(np.isfinite(sharpes), sharpes, 0.0)
    number, r = len(known), mean_correlation(found)
    variance = float(known.var(ddof=1)) if number > 1 else math.nan
    best = float(known.max()) if number else math.nan
    return Count(number, number * (1.0 - r) + r if number else 0.0, r, variance, best, since, left_out)


def _schema() -> dict[str, Any]:
    import polars as pl

    kinds = (pl.String, pl.String, pl.String, pl.Int64, pl.String, pl.List(pl.String), pl.String, pl.Int64, pl.Int64,
             pl.Int64, pl.Int64, pl.Float64, pl.Float64, pl.Float64, pl.Binary)  # fmt: skip
    return dict(zip(COLUMNS, kinds, strict=True))


def _once(found: pl.DataFrame) -> pl.DataFrame:
    key = ["strategy", "source", "params"]
    return found.sort("days", "at", descending=[True, False]).unique(key, keep="first", maintain_order=True)


def _batch_of(path: Path) -> pl.DataFrame:
    import polars as pl

    try:
        return pl.read_parquet(path).select(pl.col(name).cast(kind) for name, kind in _schema().items())
    except (pl.exceptions.PolarsError, OSError, ValueError):
        raise NotThisFormat(f"{path} cannot be read: remove it, and its trials no longer count") from None


def _row_of(line: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """None: no trial."""
    try:
        return tuple(base64.b64decode(line[name]) if name == "sketch" else line[name] for name in COLUMNS)
    except (KeyError, TypeError, ValueError):
        return None


def sketches_of(found: pl.DataFrame) -> Sketches:
    """Of rows of the register."""
    rows = [np.frombuffer(one, dtype=np.float16) for one in found["sketch"].to_list()]
    return np.array(rows, dtype=np.float16).reshape(len(rows), WIDTH)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines; one that a crash has torn is left out."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict) and line.endswith(b"\n"):
                    yield row


# ---- noting ----------------------------------------------------------------------------------------


def register_of(market: Market) -> Register:
    """The register of a market that came from a store."""
    if not market.register:
        raise BadInput("this market keeps no register of trials: one from a store does, see Store.market")
    return Register(market.register)


def params_of(strategy: Strategy) -> str:
    """Parameters as JSON with sorted keys, as the register keeps them."""
    return json.dumps(strategy.parameters, sort_keys=True, separators=(",", ":"))


def params_of_all(sets: Sequence[Strategy]) -> list[str]:
    """`params_of` each set of one class, with what they share written once."""
    declared = type(sets[0]).declared()
    made = [(name, _JSON[declared[name].kind]) for name in sorted(declared)]
    form = "{" + ",".join(f"{json.dumps(name)}:%s" for name, _ in made) + "}"  # an identifier has no % in it
    rows = (one.parameters for one in sets)
    return [form % tuple([text(row[name]) for name, text in made]) for row in rows]


def _json_of_float(value: float) -> str:
    return repr(value) if value - value == 0.0 else json.dumps(value)


_JSON: Mapping[type, Callable[[Any], str]] = {
    float: _json_of_float,
    int: repr,
    bool: json.dumps,
    str: json.encoder.encode_basestring_ascii,
}


def note(batch: Batch, sets: Sequence[Strategy], walked: Walked) -> None:
    """A batch of sets, in the register of its market, if it has one."""
    import polars as pl

    if not batch.market.register or walked.sketches is None:
        return
    from backtest.metrics import NAMES, returns_a_year

    a_day = math.sqrt(returns_a_year(batch.market.interval))
    n, column = len(sets), {name: walked.table[:, NAMES.index(name)] for name in ("sharpe", "skew", "kurtosis")}
    fixed = {
        "strategy": type(sets[0]).__name__,
        "source": source_of(sets[0], walked.source),
        "at": time.time_ns(),
        **_where(batch.market),
        "days": len(batch.days),
    }
    packed = walked.sketches.tobytes()
    size = WIDTH * 2
    values: dict[str, Any] = {
        "params": params_of_all(sets),
        "sharpe": column["sharpe"] / a_day,
        "skew": column["skew"],
        "kurtosis": column["kurtosis"] + 3.0,
        "sketch": [packed[i * size : (i + 1) * size] for i in range(n)],
    }
    frame = pl.DataFrame(values).with_columns(
        *(pl.lit(value, dtype=_schema()[name]).alias(name) for name, value in fixed.items())
    )
    Register(batch.market.register).add(frame.select(pl.col(name).cast(kind) for name, kind in _schema().items()))


def note_run(market: Market, result: Result, strategy: Strategy | None, decides: str) -> None:
    """One simulation, in the register of its market, if it has one."""
    if not market.register:
        return
    from backtest import metrics

    daily = np.asarray(result.equity, dtype=np.float64)[metrics.day_ends(market.ts)]
    sketch = sketches(days_of(market.ts), daily[None, :], result.start_equity)[0]
    if strategy is not None:
        note_set(market, strategy, source_of(strategy, decides), result.measures, sketch)
        return
    targets = json.dumps({"targets": str(result.fingerprint.get("exposure", ""))[:16]})
    _note_one(market, ("exposure", "", targets), result.measures, sketch)


def note_set(market: Market, strategy: Strategy, source: str, measures: Mapping[str, float], sketch: Sketches) -> None:
    """One set that was walked, in the register of its market, if it has one. `source`: see `source_of`."""
    if market.register:
        _note_one(market, (type(strategy).__name__, source, params_of(strategy)), measures, sketch)


def _note_one(market: Market, who: tuple[str, str, str], measures: Mapping[str, float], sketch: Sketches) -> None:
    from backtest.metrics import returns_a_year

    strategy, source, params = who
    Register(market.register).append(
        {
            "strategy": strategy,
            "source": source,
            "params": params,
            "at": time.time_ns(),
            **_where(market),
            "days": len(days_of(market.ts)),
            "sharpe": measures["sharpe"] / math.sqrt(returns_a_year(market.interval)),
            "skew": measures["skew"],
            "kurtosis": measures["kurtosis"] + 3.0,
            "sketch": base64.b64encode(sketch.tobytes()).decode(),
        }
    )


def _where(market: Market) -> dict[str, Any]:
    return {
        "venue": market.venue,
        "symbols": list(market.symbols),
        "market": market.hash,
        "interval": market.interval,
        "first": market.start,
        "last": market.end,
    }


def shown(found: pl.DataFrame) -> pd.DataFrame:
    """Trials as a table for people: annual Sharpe ratio, times as text."""
    import pandas as pd

    rows = found.drop("sketch").to_pandas()
    for name in ("at", "first", "last"):
        rows[name] = pd.to_datetime(rows[name], unit="ns")
    rows["sharpe"] = rows["sharpe"] * math.sqrt(365.0)
    return rows
