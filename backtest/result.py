"""What one simulation leaves: series, rows, measures, and the fingerprint of what it was made from.

* Series and frames are pandas, by the open of the bar (naive UTC); what they say holds at its close. Arrays stay in
  `result.run` (`backtest.records`), read-only.
* `save(folder)` writes `run.npz` and `meta.json` into a folder beside the target and renames it, so that there is a
  whole result or none; `Result.load(folder)` gives the same bits back. A result is replaced; anything else is not.
* `same_as(other)` tells the first difference of two runs: the earliest bar where they part.
* `fingerprint` is what went in: hashes of data, strategy and features, venue, account, costs, parameters, versions.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import math
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum, IntEnum
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest import metrics, records
from backtest.metrics import MEASURES, Measure
from backtest.prepare import INVERSE
from backtest.records import Cash, Refusal, Run, Why
from data import clock
from data.errors import BadInput, NotFound, NotThisFormat, StoreNotWritable

if TYPE_CHECKING:
    import pandas as pd

    from backtest.portfolio import PerpPortfolio

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.void]
Settings = dict[str, Any]

FORMAT = "unwind result"
VERSION = 1
META, ARRAYS = "meta.json", "run.npz"
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

POINTS = 4000  # of a line in a plot
SHOWN = (
    "total_return",
    "annual_return",
    "sharpe",
    "sortino",
    "max_drawdown",
    "max_drawdown_days",
    "time_in_market",
    "exposure",
    "trades",
    "win_rate",
    "profit_factor",
    "fees",
    "funding",
    "slippage",
    "liquidations",
    "liquidation_loss",
    "min_margin_distance",
    "refused",
)
"""Measures of the small table in a notebook."""


@dataclass(frozen=True)
class Comparison:
    """True where two results are the same; else what differs first, in words."""

    difference: str = ""

    def __bool__(self) -> bool:
        return not self.difference


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Result:
    """One simulation. Amounts are in `currency`, the settlement currency; fractions are fractions, not percent."""

    run: Run
    ts: Ints  # opens of the bars, ns since 1970 UTC
    interval: int  # ns
    symbols: tuple[str, ...]
    kinds: Ints  # prepare.LINEAR, INVERSE, SPOT, one a symbol
    currency: str
    start_equity: float
    venue: str
    account: Settings = field(default_factory=dict)
    costs: Settings = field(default_factory=dict)
    parameters: Settings = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    fingerprint: Settings = field(default_factory=dict)
    band: Settings | None = None  # what other readings of the same bars would have given
    assumptions: tuple[str, ...] = ()
    marks: Floats | None = None  # mark closes (bars, symbols), for `equity_usd` and `portfolio`

    def __post_init__(self) -> None:
        settle = object.__setattr__
        settle(self, "run", _locked_run(self.run))
        settle(self, "ts", _locked(np.asarray(self.ts, dtype=np.int64)))
        settle(self, "kinds", _locked(np.asarray(self.kinds, dtype=np.int64)))
        settle(self, "interval", int(self.interval))
        settle(self, "start_equity", float(self.start_equity))
        if self.marks is not None:
            settle(self, "marks", _locked(np.asarray(self.marks, dtype=np.float64)))
        for name in ("symbols", "warnings", "assumptions"):
            settle(self, name, tuple(str(text) for text in getattr(self, name)))
        for name in SETTINGS:
            settle(self, name, plain(getattr(self, name)))
        _check(self)

    # --- series, by the open of the bar; values at its close

    @property
    def equity(self) -> pd.Series[float]:
        """Wallet and unrealised profit, at mark."""
        return self._series("equity")

    @property
    def equity_usd(self) -> pd.Series[float]:
        """Equity in the quote currency: that of a run in coin at the mark close, else as it is."""
        coin = np.flatnonzero(self.kinds == INVERSE)
        if len(coin) == 0:
            return self.equity
        if self.marks is None:
            raise BadInput("this result was kept without mark closes: its equity is known in coin only")
        return self.equity * self.marks[:, coin[0]]

    @property
    def wallet(self) -> pd.Series[float]:
        """The sum of the ledger and the starting equity."""
        return self._series("wallet")

    @property
    def margin_ratio(self) -> pd.Series[float]:
        """Maintenance / balance, the highest of all legs; liquidated at 1; 0 with nothing open."""
        return self._series("margin_ratio")

    @property
    def exposure(self) -> pd.Series[float]:
        """Signed notional / equity."""
        return self._series("exposure")

    @property
    def gross(self) -> pd.Series[float]:
        """Notional of all positions, each taken as positive, / equity."""
        return self._series("gross")

    @property
    def drawdown(self) -> pd.Series[float]:
        """Loss from the highest equity so far, as a positive fraction."""
        return self._by_bar(metrics.drawdown(self.run.series["equity"], self.start_equity), "drawdown")

    @property
    def margin_distance(self) -> pd.Series[float]:
        """How far mark stayed from a liquidation in each bar, as a fraction; NaN with nothing open."""
        return self._by_bar(self.run.margin_distance, "margin_distance")

    @property
    def positions(self) -> pd.DataFrame:
        """Signed quantities by symbol."""
        return self._legs("position")

    @property
    def entry_prices(self) -> pd.DataFrame:
        """Average entry prices by symbol; NaN: flat."""
        return self._legs("entry_price")

    @property
    def liquidation_prices(self) -> pd.DataFrame:
        """Marks at which each leg would be liquidated; NaN: none."""
        return self._legs("liquidation_price")

    # --- rows, in the order in which things happened

    @property
    def fills(self) -> pd.DataFrame:
        return self._table("fills", why=_words(Why))

    @property
    def liquidations(self) -> pd.DataFrame:
        frame = self._table("liquidations", why=_words(Why))
        frame.insert(2, "side", _sides(self.run.liquidations["quantity"]))
        return frame

    @property
    def fundings(self) -> pd.DataFrame:
        return self._table("fundings", at_open=_YES_NO, known_price=_YES_NO)

    @property
    def refused(self) -> pd.DataFrame:
        return self._table("refused", why=_words(Refusal))

    @property
    def ledger(self) -> pd.DataFrame:
        """Every movement of cash; `wallet` is their sum so far."""
        return self._table("ledger", kind=_words(Cash))

    @property
    def trades(self) -> pd.DataFrame:
        """Flat to flat: `ts` is the bar of the first fill, `closed` that of the last. An open position is none."""
        import pandas as pd

        rows = metrics.trades(self.run, self.kinds)
        columns = {
            "ts": self._opens(rows["opened"]),
            "closed": self._opens(rows["closed"]),
            "symbol": self._names(rows["symbol"]),
            "side": _sides(rows["side"]),
            **{name: rows[name] for name in ("quantity", "entry_price", "exit_price", "profit")},
            **{name: rows[name] for name in ("fees", "funding", "insurance")},
            "why": _words(Why)[rows["why"]],
            "hours": (rows["closed"] - rows["opened"]) * (self.interval / clock.HOUR),
        }
        return pd.DataFrame(columns)

    # --- measures

    @cached_property
    def measures(self) -> Mapping[str, float]:
        """`backtest.metrics.MEASURES` by name."""
        return metrics.measures(self.run, self.ts, self.interval, self.kinds, self.start_equity)

    @property
    def metrics(self) -> pd.Series[float]:
        import pandas as pd

        return pd.Series(dict(self.measures), dtype="float64", name="metrics")

    @property
    def ruined(self) -> bool:
        return self.run.ruined_bar >= 0

    def summary(self) -> pd.DataFrame:
        """All measures as text, with what each means."""
        import pandas as pd

        shown = [(as_text(m, self.measures[m.name]), m.meaning) for m in MEASURES]
        return pd.DataFrame(shown, columns=["value", "meaning"], index=pd.Index(metrics.NAMES, name="measure"))

    @property
    def fingerprint_id(self) -> str:
        """Twelve characters that change with any input."""
        return digest(self.fingerprint)[:12]

    def same_as(self, other: Result, *, within: float = 0.0) -> Comparison:
        """Whether the same happened under the same settings; numbers may differ by `within`, relative and absolute.

        Fingerprints are not compared: another version may do the same.
        """
        return Comparison(next(_differences(self, other, within), ""))

    # --- kept

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a folder that `Result.load` reads. A result that is there is replaced; nothing else is."""
        target = Path(folder).expanduser().resolve()
        try:
            _refuse_to_overwrite(target)
            _write(self, target)
        except OSError as error:
            raise StoreNotWritable(f"{target}: cannot write a result there: {error.strerror or error}") from error
        return target

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Result:
        """The same bits that were saved."""
        place = Path(folder).expanduser()
        meta = _read_meta(place)
        arrays = _read_arrays(place, meta)
        try:
            return _assembled(cls, meta, arrays)
        except (KeyError, TypeError, ValueError, BadInput) as error:
            raise _damaged(place, f"{type(error).__name__}: {error}") from error

    # --- shown

    def __repr__(self) -> str:
        m, equity = self.measures, self.run.series["equity"]
        lines = [
            f"Result({_joined(self.symbols)}, {self.venue}, {clock.label(self.interval)} bars, {self._span()})",
            f"  equity {money(self.start_equity)} -> {money(equity[-1])} {self.currency} "
            f"({m['total_return']:+.2%}), maximum drawdown {m['max_drawdown']:.2%}, Sharpe {_said('sharpe', m)}",
            f"  {_said('trades', m)} trades, {_said('liquidations', m)} liquidations, fees {_said('fees', m)}, "
            f"funding {_said('funding', m)}, {_said('refused', m)} orders refused",
        ]
        if self.ruined:
            lines.append(f"  ruined at {clock.iso(int(self.ts[self.run.ruined_bar]))}")
        lines += [f"  warning: {text}" for text in self.warnings[:3]]
        if len(self.warnings) > 3:
            lines.append(f"  and {len(self.warnings) - 3} more warnings")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return _page(self)

    def plot(self) -> Any:
        """A plotly figure: equity with its liquidations, drawdown, exposure."""
        return _figure(self)

    @cached_property
    def portfolio(self) -> PerpPortfolio:
        """The run as a `vectorbt.Portfolio`, funding and liquidations included; see `backtest.portfolio`."""
        from backtest.portfolio import portfolio_of

        return portfolio_of(self)

    # --- helpers

    def _span(self) -> str:
        return f"{clock.iso(int(self.ts[0]))} to {clock.iso(int(self.ts[-1]) + self.interval)}"

    def _by_bar(self, values: Floats, name: str) -> pd.Series[float]:
        import pandas as pd

        return pd.Series(values, index=self._index(), name=name, copy=True)

    def _series(self, name: str) -> pd.Series[float]:
        return self._by_bar(self.run.series[name], name)

    def _legs(self, name: str) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(self.run.leg_series[name], index=self._index(), columns=list(self.symbols), copy=True)

    def _table(self, name: str, **words: npt.NDArray[Any]) -> pd.DataFrame:
        import pandas as pd

        rows = getattr(self.run, name)
        columns: dict[str, Any] = {"ts": self._opens(rows["bar"]), "symbol": self._names(rows["symbol"])}
        for column in rows.dtype.names[2:]:
            columns[column] = words[column][rows[column]] if column in words else rows[column]
        return pd.DataFrame(columns)

    def _index(self) -> pd.DatetimeIndex:
        import pandas as pd

        return pd.DatetimeIndex(self.ts.astype("datetime64[ns]"), name="ts")

    def _opens(self, bars: Ints) -> npt.NDArray[np.datetime64]:
        return self.ts[bars].astype("datetime64[ns]")

    def _names(self, symbols: Ints) -> npt.NDArray[Any]:
        return np.array([*self.symbols, "account"], dtype=object)[symbols]  # -1: the account


_YES_NO = np.array([False, True])


def _words(kinds: type[IntEnum]) -> npt.NDArray[Any]:
    """Names by number, as in `stop_loss`."""
    return np.array([kind.name.lower() for kind in kinds], dtype=object)


def _sides(signed: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.where(signed > 0, "long", "short").astype(object)


# --- made ------------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """The same in what JSON knows; anything else as its text."""
    if isinstance(value, Enum):
        return value.name.lower()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [plain(entry) for entry in value]
    return str(value)


def digest(value: Any) -> str:
    """SHA-256 of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


@cache
def versions() -> Mapping[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("unwind", "numpy", "numba")}


def _locked(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


def _locked_run(run: Run) -> Run:
    tables: dict[str, Any] = {name: _locked(getattr(run, name)) for name in TABLES}
    return replace(
        run,
        series={name: _locked(run.series[name]) for name in records.SERIES},
        leg_series={name: _locked(run.leg_series[name]) for name in records.LEG_SERIES},
        margin_distance=_locked(run.margin_distance),
        **tables,
    )


def _check(result: Result) -> None:
    n, k = len(result.ts), len(result.symbols)
    if n == 0:
        raise BadInput("a result needs at least one bar")
    for name, array, shape in (
        ("kinds", result.kinds, (k,)),
        ("marks", result.marks, (n, k)),
        ("margin_distance", result.run.margin_distance, (n,)),
        *((name, array, (n,)) for name, array in result.run.series.items()),
        *((name, array, (n, k)) for name, array in result.run.leg_series.items()),
    ):
        if array is not None and array.shape != shape:
            raise BadInput(f"{name} has shape {array.shape}: {n} bars and {k} symbols make {shape}")


# --- compared --------------------------------------------------------------------------------------------------------


def _differences(one: Result, other: Result, within: float) -> Iterator[str]:
    """In words, the first one first."""
    for name in ("symbols", "kinds", "interval", "currency"):
        a, b = getattr(one, name), getattr(other, name)
        if not np.array_equal(a, b):
            yield f"{name}: {plain(a)}, other {plain(b)}"
            return
    if not np.array_equal(one.ts, other.ts):
        yield f"bars: {len(one.ts)} over {one._span()}, other {len(other.ts)} over {other._span()}"
        return
    if one.start_equity != other.start_equity:
        yield f"starting equity: {one.start_equity!r}, other {other.start_equity!r}"
    found = [*_in_rows(one, other, within), *_in_series(one, other, within)]
    if found:
        bar, words = min(found, key=lambda pair: pair[0])
        yield f"bar {bar} ({clock.iso(int(one.ts[bar]))}): {words}"
    for name in COUNTS:
        if getattr(one.run, name) != getattr(other.run, name):
            yield f"{name}: {getattr(one.run, name)}, other {getattr(other.run, name)}"
    for name in ("venue", "account", "costs", "parameters", "assumptions", "warnings", "band"):
        if digest(getattr(one, name)) != digest(getattr(other, name)):
            yield f"{name}: {plain(getattr(one, name))}, other {plain(getattr(other, name))}"
    if one.marks is None or other.marks is None:
        if one.marks is not other.marks:
            yield "marks: only one of the two keeps mark closes"
    elif _apart(one.marks, other.marks, within).any():
        yield "marks: the mark closes differ"


def _in_rows(one: Result, other: Result, within: float) -> Iterator[tuple[int, str]]:
    """The first difference of each table: (bar, words)."""
    for table in TABLES:
        a, b = getattr(one.run, table), getattr(other.run, table)
        shared = min(len(a), len(b))
        apart = {name: _apart(a[name][:shared], b[name][:shared], within) for name in a.dtype.names}
        rows = np.flatnonzero(np.any(list(apart.values()), axis=0))
        if len(rows):
            row = rows[0]
            name = next(name for name, where in apart.items() if where[row])
            words = f"{table}, row {row}: {name} {a[name][row]!s}, other {b[name][row]!s}"
            yield int(min(a["bar"][row], b["bar"][row])), words
        elif len(a) != len(b):
            longer = a if len(a) > len(b) else b
            yield int(longer["bar"][shared]), f"{table}: {len(a)} rows, other {len(b)}"


def _in_series(one: Result, other: Result, within: float) -> Iterator[tuple[int, str]]:
    """The first difference of each series: (bar, words)."""
    pairs = {
        **{name: (one.run.series[name], other.run.series[name]) for name in records.SERIES},
        **{name: (one.run.leg_series[name], other.run.leg_series[name]) for name in records.LEG_SERIES},
        "margin_distance": (one.run.margin_distance, other.run.margin_distance),
    }
    for name, (a, b) in pairs.items():
        apart = np.argwhere(_apart(a, b, within))
        if len(apart):
            place = tuple(apart[0])
            of = f" of {one.symbols[place[1]]}" if len(place) > 1 else ""
            yield int(place[0]), f"{name}{of} {a[place]!s}, other {b[place]!s}"


def _apart(a: npt.NDArray[Any], b: npt.NDArray[Any], within: float) -> Flags:
    different: Flags = a != b
    if a.dtype.kind == "f":
        different &= ~np.isclose(a, b, rtol=within, atol=within, equal_nan=True)
    return different


# --- kept ------------------------------------------------------------------------------------------------------------


def _refuse_to_overwrite(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise BadInput(f"{target} is a file: name a folder for the result")
    found = sorted(entry.name for entry in target.iterdir())
    others = [name for name in found if name not in (META, ARRAYS)]
    if others:
        raise BadInput(f"{target} holds other files ({_joined(others)}): name a new folder for the result")
    if found and _format_of(target) != FORMAT:
        raise BadInput(f"{target} holds no result that could be replaced: name a new folder")


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
        **{name: meta[name] for name in ("interval", "start_equity", "kinds", *TEXTS, *SETTINGS)},
    )


def _damaged(folder: Path, how: str) -> NotThisFormat:
    return NotThisFormat(f"{folder}: this result is damaged ({how}): make it again")


# --- shown -----------------------------------------------------------------------------------------------------------


def as_text(measure: Measure, value: float) -> str:
    """One measure as text."""
    if math.isnan(value):
        return "n/a"
    if measure.unit == "flag":
        return "yes" if value else "no"
    if math.isinf(value):
        return "infinite" if value > 0.0 else "-infinite"
    if measure.unit in ("days", "hours"):
        return f"{value:,.1f} {measure.unit}"
    forms = {"fraction": "{:,.2%}", "count": "{:,.0f}", "ratio": "{:,.2f}"}
    return forms[measure.unit].format(value) if measure.unit in forms else money(value)


def money(value: float) -> str:
    """Two places, or four digits of what is smaller than one (coin)."""
    return f"{value:,.2f}" if value == 0.0 or abs(value) >= 1.0 else f"{value:.4g}"


def _said(name: str, values: Mapping[str, float]) -> str:
    return as_text(_BY_NAME[name], values[name])


_BY_NAME = {measure.name: measure for measure in MEASURES}


def _joined(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _page(result: Result) -> str:
    """A small table for a notebook; every text is escaped."""
    cell = '<td style="text-align:left;padding:1px 1.2em 1px 0">{}</td><td style="text-align:right">{}</td>'
    rows = [
        f"<tr>{cell.format(html.escape(name.replace('_', ' ')), html.escape(_said(name, result.measures)))}</tr>"
        for name in SHOWN
    ]
    half = (len(rows) + 1) // 2
    tables = "".join(
        f'<table style="margin:0 2em 0 0"><tbody>{"".join(part)}</tbody></table>' for part in (rows[:half], rows[half:])
    )
    notes = list(result.warnings)
    if result.ruined:
        notes.insert(0, f"ruined at {clock.iso(int(result.ts[result.run.ruined_bar]))}")
    if result.band:
        notes.append("other readings of the same bars: " + ", ".join(f"{k} {v}" for k, v in result.band.items()))
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    about = (_joined(result.symbols), result.venue, result._span(), f"{clock.label(result.interval)} bars")
    head = " &middot; ".join(html.escape(part) for part in about)
    last = result.run.series["equity"][-1]
    ends = f"{money(result.start_equity)} to {money(last)} {result.currency}"
    return (
        f'<div class="unwind-result"><p><b>{head}</b><br/>{html.escape(ends)}</p>{_sparkline(result)}'
        f'<div style="display:flex;flex-wrap:wrap">{tables}</div>'
        + (f"<ul>{listed}</ul>" if listed else "")
        + f"<small>fingerprint {result.fingerprint_id}</small></div>"
    )


def _sparkline(result: Result, width: int = 560, height: int = 90) -> str:
    """Equity as a line, the starting equity dashed."""
    from backtest.report.thin import keep

    values = np.append(result.start_equity, result.run.series["equity"])
    rows = keep(values, most=width)
    low, high = float(values.min()), float(values.max())
    reach = high - low if high > low else 1.0

    def down(value: npt.ArrayLike) -> Floats:
        place: Floats = 4.0 + (height - 8.0) * (1.0 - (np.asarray(value, dtype=np.float64) - low) / reach)
        return place

    across = rows * (width / max(len(values) - 1, 1))
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down(values[rows]), strict=True))
    start = f"{float(down(result.start_equity)):.1f}"
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="equity">'
        f'<line x1="0" x2="{width}" y1="{start}" y2="{start}" stroke="currentColor" stroke-opacity="0.4" '
        'stroke-dasharray="3 3"/>'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.3"/></svg>'
    )


def _figure(result: Result) -> Any:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    from backtest.report.thin import keep

    closes = (result.ts + result.interval).astype("datetime64[ns]")
    figure = make_subplots(rows=3, shared_xaxes=True, row_heights=[0.6, 0.2, 0.2], vertical_spacing=0.03)

    def line(row: int, values: Floats, name: str, **style: Any) -> None:
        kept = keep(values, most=POINTS)
        figure.add_trace(go.Scatter(x=closes[kept], y=values[kept], name=name, mode="lines", **style), row=row, col=1)

    equity = result.run.series["equity"]
    line(1, equity, "equity")
    line(2, -metrics.drawdown(equity, result.start_equity), "drawdown", fill="tozeroy")
    line(3, result.run.series["exposure"], "exposure", line={"shape": "hv"})
    bars = np.unique(result.run.liquidations["bar"])
    if len(bars):
        bars = bars[keep(equity[bars], most=POINTS)]
        marker = {"symbol": "x", "size": 9, "color": "#c0392b"}
        figure.add_trace(
            go.Scatter(x=closes[bars], y=equity[bars], name="liquidation", mode="markers", marker=marker), row=1, col=1
        )
    figure.add_hline(y=result.start_equity, line_dash="dot", opacity=0.5, row=1, col=1)
    figure.update_yaxes(title_text=result.currency, row=1, col=1)
    figure.update_yaxes(title_text="drawdown", tickformat=".0%", row=2, col=1)
    figure.update_yaxes(title_text="exposure", row=3, col=1)
    title = f"{_joined(result.symbols)}, {result.venue}, {clock.label(result.interval)} bars"
    figure.update_layout(title=html.escape(title), hovermode="x unified", height=620, legend={"orientation": "h"})
    return figure
