"""Maintenance margin tiers: one table of brackets for each contract, dated from when it holds.

    Tiers(Path("binance_2024-10-24.json.gz"), venue="binance")
    Tiers(Path("history/"), venue="binance")            # dated files, each a table of its day

Read are Binance's `leverageBracket` answer (one symbol or all), the brackets of its public pages, and
leverage tiers as ccxt gives and stores them, as .json or .json.gz. The date is in the file's name, or
given. Every snapshot is stored whole: what was seen on a day holds from then on until the next one. A
name with a date and no time was written at some time of that day, so it is known at the day's end.

Brackets that do not fit together are refused, with symbol and tier: the first begins at 0, each
begins where the one below ends, and `cum[n] = cum[n-1] + floor[n] * (mmr[n] - mmr[n-1])`. Where a
file has no `cum` it is worked out by that rule.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import clock
from data.errors import BadInput, MissingColumn, NotFound, NotThisFormat
from data.rows import Batch, Origin, Rows, key_of, recipe_of, sha256_of
from data.sources import Item, Note, Piece, Why
from data.symbols import contract_kind, unified

if TYPE_CHECKING:
    import polars as pl

SOURCE = "tiers"
VERSION = 1  # goes up when the same file gives other rows
RELATIVE = 1e-6  # how far `cum` may be off, as a part of floor * mmr

_KEYS: Mapping[str, tuple[str, ...]] = {  # what each file calls it
    "tier": ("bracket", "bracketSeq", "tier"),
    "floor": ("notionalFloor", "bracketNotionalFloor", "minNotional"),
    "cap": ("notionalCap", "bracketNotionalCap", "maxNotional"),
    "mmr": ("maintMarginRatio", "bracketMaintenanceMarginRate", "maintenanceMarginRate"),
    "max_leverage": ("initialLeverage", "maxOpenPosLeverage", "maxLeverage"),
    "cum": ("cum", "cumFastMaintenanceAmount"),
}
_OPEN = ("cap", "max_leverage", "cum")  # may be absent
_LISTS = ("brackets", "riskBrackets")
_DATED = re.compile(r"(?<!\d)(\d{4})[-_]?(\d{2})[-_]?(\d{2})(?:[T_ -]?(\d{2})[-:_]?(\d{2})(?:[-:_]?(\d{2}))?)?(?!\d)")
_IN_CONTRACTS = {"okx": "OKX counts its tiers in contracts, which is no money"}


@dataclass(frozen=True)
class Bracket:
    """One line of a maintenance table; `cap` None is without bound, `cum` None is not said."""

    tier: int
    floor: float
    cap: float | None
    mmr: float
    cum: float | None
    max_leverage: float | None = None


@dataclass
class Tiers:
    """A file, or a folder of dated files, as a source for `data.ingest`."""

    path: Path
    venue: str
    valid_from: int | None = None  # ns since 1970; else the date in the file's name
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.path.exists():
            raise NotFound(f"there is no file {self.path}")
        if reason := _IN_CONTRACTS.get(self.venue):
            raise BadInput(
                f"{reason}: multiply by contract size and price first, and import the outcome with "
                "`unwind import file --table tiers`"
            )
        if not self.venue:
            raise BadInput("tiers of which venue? Pass --venue, such as --venue binance")
        self.items = list(self._items())

    def _items(self) -> Iterator[Path | Note]:
        if self.path.is_file():
            yield self.path
            return
        if self.valid_from is not None:
            raise BadInput(f"{self.path}: the files of a folder are dated by their names, not by --valid-from")
        files = [p for p in self.path.rglob("*") if p.is_file() and not p.name.startswith(".")]
        plain = [p for p in files if p.name.lower().endswith((".json", ".json.gz"))]
        if not plain:
            raise NotFound(f"no .json or .json.gz file under {self.path}")
        yield from sorted(plain, key=lambda p: (date_of(p)[0], p.name))
        yield from (Note(p.name, Why.IGNORED, "not .json") for p in sorted(set(files) - set(plain)))

    @property
    def key(self) -> str:
        return key_of(self.path)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        for item in self.items:
            yield item if isinstance(item, Note) else self._piece(item)

    def _piece(self, path: Path) -> Piece:
        since, lag_s = date_of(path) if self.valid_from is None else (self.valid_from, 0.0)
        origin = Origin(
            SOURCE,
            path.name,
            sha256_of(path),
            recipe_of(VERSION, self.venue, since),
            tables=("tiers",),
            venue=self.venue,
        )

        def read() -> Batch:
            tables = read_json(path)
            self.remarks += remarks_on(tables, path.name)
            frame = frame_of(tables, self.venue, since, path.name)
            return Batch((Rows("tiers", frame, lag_s=lag_s),), (origin,))

        return Piece(origin, ("tiers",), read)


def date_of(path: Path) -> tuple[int, float]:
    """From when a snapshot holds, by its file's name, and how many seconds later it is known at the latest.

    tiers_2024-10-24.json, 20241024T040700.json
    """
    if match := _DATED.search(path.name):
        parts = [int(p) for p in match.groups(default="0")]
        try:
            since = clock.moment(dt.datetime(*parts, tzinfo=dt.UTC))  # type: ignore[misc, arg-type]
            return since, 86_400.0 if match[4] is None else 0.0
        except ValueError:
            pass
    raise BadInput(
        f"{path.name}: from when do these tiers hold? Put the date into the file's name, such as "
        "tiers_2024-10-24.json, or pass --valid-from 2024-10-24"
    )


def read_json(path: Path) -> dict[str, list[Bracket]]:
    """The brackets by symbol, as the file names them."""
    try:
        data = path.read_bytes()
        text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        return dict(_tables(json.loads(text), path.name))
    except (ValueError, EOFError, OSError) as problem:
        raise NotThisFormat(f"{path.name}: cannot be read as JSON: {problem}") from None


def _tables(data: Any, where: str) -> Iterator[tuple[str, list[Bracket]]]:
    """(symbol, brackets) from any of the shapes, and an error that says which there are."""
    if isinstance(data, Mapping) and isinstance(data.get("data"), Mapping):
        data = data["data"]
    if isinstance(data, Mapping) and isinstance(data.get("brackets"), list) and "symbol" not in data:
        data = data["brackets"]
    if isinstance(data, Mapping) and "symbol" in data:
        data = [data]
    found = list(data.items()) if isinstance(data, Mapping) else list(_listed(data))
    if not found or not all(isinstance(lines, list) and lines for _, lines in found):
        raise NotThisFormat(
            f"{where}: holds no tiers; expected is Binance's leverageBracket answer, "
            '[{"symbol": ..., "brackets": [...]}], or ccxt\'s, {"BTC/USDT:USDT": [...]}'
        )
    for symbol, lines in found:
        yield str(symbol), [_bracket(line, n, f"{where}, {symbol}") for n, line in enumerate(lines, 1)]


def _listed(data: Any) -> Iterator[tuple[str, Any]]:
    for one in data if isinstance(data, list) else []:
        if isinstance(one, Mapping):
            if float(one.get("notionalCoef", 1)) != 1:
                raise BadInput(
                    f"{one.get('symbol')}: these brackets were changed for one account "
                    f"(notionalCoef {one['notionalCoef']}); they are not the venue's"
                )
            key = next((k for k in _LISTS if k in one), "")
            yield str(one.get("symbol")), one.get(key)


def _bracket(line: Any, number: int, where: str) -> Bracket:
    flat = {**line.get("info", {}), **line} if isinstance(line, Mapping) else {}
    values: dict[str, float | None] = {}
    for name, keys in _KEYS.items():
        raw = next((flat[k] for k in keys if flat.get(k) is not None), None)
        if raw is None and name not in (*_OPEN, "tier"):
            raise MissingColumn(f"{where}, tier {number}", [keys[-1]], list(flat))
        try:
            values[name] = None if raw is None else float(raw)
        except (TypeError, ValueError):
            raise BadInput(f"{where}, tier {number}: {name} is {raw!r}, which is no number") from None
    floor, mmr = values["floor"] or 0.0, values["mmr"] or 0.0  # never None: refused above
    tier = number if values["tier"] is None else int(values["tier"])
    return Bracket(tier, floor, values["cap"], mmr, values["cum"], values["max_leverage"])


# ---- do they fit together? ---------------------------------------------------------------------


def check_brackets(symbol: str, brackets: Sequence[Bracket], where: str) -> None:
    """Refuse a table with a hole, or whose `cum` does not continue from bracket to bracket."""
    below: Bracket | None = None
    for b in brackets:
        place = f"{where}: {symbol}, tier {b.tier}"
        begins = 0.0 if below is None else below.cap
        if b.floor != begins:
            raise BadInput(f"{place} begins at {b.floor:,.10g}, expected {_money(begins)}: a gap or an overlap")
        if b.cap is not None and b.cap <= b.floor:
            raise BadInput(f"{place} ends at {b.cap:,.10g}, not above its floor {b.floor:,.10g}")
        if not 0 <= b.mmr <= 1:
            raise BadInput(f"{place}: maintenance rate {b.mmr:g} is no fraction; is it in percent?")
        wanted = expected_cum(b, below)
        if b.cum is None or not abs(b.cum - wanted) <= RELATIVE * max(1.0, b.floor * b.mmr):
            raise BadInput(
                f"{place}: cum is {_money(b.cum)}, expected {wanted:,.10g} = cum below + floor * (mmr - mmr below)"
            )
        below = b


def expected_cum(b: Bracket, below: Bracket | None) -> float:
    if below is None:
        return 0.0
    return (below.cum or 0.0) + b.floor * (b.mmr - below.mmr)


def _money(value: float | None) -> str:
    return "none" if value is None else f"{value:,.10g}"


def with_cum(brackets: Sequence[Bracket]) -> list[Bracket]:
    """The brackets in order; `cum` worked out if the file says none."""
    ordered = sorted(brackets, key=lambda b: b.floor)
    if any(b.cum is not None for b in ordered):
        return ordered
    out: list[Bracket] = []
    for b in ordered:
        cum = expected_cum(b, out[-1] if out else None)
        out.append(Bracket(b.tier, b.floor, b.cap, b.mmr, cum, b.max_leverage))
    return out


def remarks_on(tables: Mapping[str, Sequence[Bracket]], where: str) -> list[str]:
    """What is accepted and still worth saying."""
    out = []
    if bare := [s for s, lines in tables.items() if all(b.cum is None for b in lines)]:
        out.append(f"{where}: cum worked out for {_some(bare)}")
    falling = [s for s, lines in tables.items() if _falls([b.mmr for b in with_cum(lines)])]
    if falling:
        out.append(f"{where}: the maintenance rate does not rise from tier to tier for {_some(falling)}")
    return out


def _falls(rates: Sequence[float]) -> bool:
    return any(b <= a for a, b in pairwise(rates))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def perpetual(name: str, venue: str) -> str:
    """The unified contract; older ccxt files write BTC/USDT for BTC/USDT:USDT, and spot has no tiers."""
    full = unified(name, venue)
    return f"{full}:{full.split('/')[1]}" if contract_kind(full) == "spot" else full


# ---- rows --------------------------------------------------------------------------------------


def frame_of(tables: Mapping[str, Sequence[Bracket]], venue: str, since: int, where: str) -> pl.DataFrame:
    """The rows of one snapshot, checked."""
    import polars as pl

    lines: list[tuple[Any, ...]] = []
    for name, brackets in tables.items():
        ordered = with_cum(brackets)
        check_brackets(name, ordered, where)
        symbol = perpetual(name, venue)
        lines += [(symbol, b.tier, b.floor, b.cap, b.mmr, b.max_leverage, b.cum) for b in ordered]
    schema = {"symbol": pl.String, "tier": pl.Int64} | dict.fromkeys(
        ("floor", "cap", "mmr", "max_leverage", "cum"), pl.Float64
    )
    frame = pl.DataFrame(lines, schema=schema, orient="row")
    valid_from = pl.lit(clock.naive(since), pl.Datetime("us"))
    return frame.with_columns(venue=pl.lit(venue), valid_from=valid_from)


def checked(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """A mapped table of tiers with its contracts named and every snapshot checked."""
    import polars as pl

    names = [s for s in frame["symbol"].unique().to_list() if s is not None]
    full = [perpetual(s, "") for s in names]
    frame = frame.with_columns(
        symbol=pl.col("symbol").replace_strict(names, full, default=None, return_dtype=pl.String)
    )
    empty = frame.select("symbol", "valid_from", "floor", "mmr", "cum", "tier").null_count()
    if any(empty.row(0)):
        return frame  # the store names the row
    groups = frame.sort("floor").group_by("symbol", "valid_from", maintain_order=True)
    for (symbol, since), group in groups:
        rows = group.select("tier", "floor", "cap" if "cap" in group.columns else pl.lit(None), "mmr", "cum")
        check_brackets(f"{symbol} from {since}", [Bracket(*row) for row in rows.iter_rows()], where)
    return frame
