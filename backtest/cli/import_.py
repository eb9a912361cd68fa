"""`unwind import`: history that you have, into the store.

Four verbs, one for each kind of origin: `archive` (an exchange's public archive), `file` (your own CSV, Parquet or
Feather), `tiers` (maintenance margin tables) and `lake` (a folder that `unwind export` wrote). All print what was
read, what was new, changed or there already, and what the store now spans; exit code 2 says that something was refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from backtest.cli.options import Db, Json, default_db, print_json
from data.errors import BadInput, NotFound

if TYPE_CHECKING:
    from data.ingest import Report
    from data.rows import Written
    from data.sources.files import Declared
    from data.store import Store

_Pairs = Annotated[list[str], Parameter(negative="", allow_leading_hyphen=False)]


@Parameter(name="*", show_default=False)
@dataclass(frozen=True)
class ArchiveSelection:
    """What to fetch from an address; a file or folder is taken whole."""

    symbols: Annotated[str, Parameter(help="Of an address: symbols, such as BTCUSDT,ETHUSDT.")] = ""
    since: Annotated[
        str, Parameter(name=("--since", "--from"), help="Of an address: first day, such as 2024-01-01.")
    ] = ""
    until: Annotated[
        str | None,
        Parameter(name=("--until", "--to"), help="Of an address: first day not wanted; without it, today."),
    ] = None
    kind: Annotated[str, Parameter(help="klines, markPriceKlines, fundingRate, metrics, ...; several with commas.")] = (
        ""
    )
    market: Annotated[str, Parameter(help="um (USD-M), cm (COIN-M) or spot; of an address um.")] = ""
    interval: Annotated[str, Parameter(help="Of an address: interval of the klines.")] = "1m"
    period: Annotated[Literal["daily", "monthly"], Parameter(help="Of an address: which files of klines.")] = "daily"
    checksum: Annotated[bool, Parameter(help="Of an address: verify every file by its .CHECKSUM.")] = True
    workers: Annotated[int, Parameter(help="Of an address: files fetched at a time.")] = 8


def archive(
    path_or_url: str,
    *,
    select: ArchiveSelection = ArchiveSelection(),
    db: Db = default_db(),
    as_json: Json = False,
) -> int:
    """Import from Binance's public archive: a file, a folder or an address.

    Such as:

        unwind import archive data/futures/um/daily/klines/BTCUSDT
        unwind import archive https://data.binance.vision \\
            --symbols BTCUSDT --since 2024-01-01 --kind klines,metrics

    What is stored already is not read or fetched again, so the same
    command goes on where it stopped.
    """
    from data.sources.binance_archive import ArchiveTree, ArchiveUrl

    kinds = _words(select.kind)
    if not path_or_url.startswith(("http://", "https://")):
        if len(kinds) > 1:
            raise BadInput("--kind takes one kind for a file or folder; without it, folders tell")
        tree = ArchiveTree(path_or_url, kind=select.kind or None, market=select.market or None)
        return _run(tree, db, as_json)
    from data.sources.archive_layout import Selection

    if not select.symbols or not select.since:
        raise BadInput("an address needs --symbols and --since, such as --symbols BTCUSDT --since 2024-01-01")
    chosen = Selection(
        tuple(_words(select.symbols)),
        select.since,
        select.until,
        tuple(kinds) or ("klines",),
        select.market or "um",
        select.interval,
        select.period,
    )
    return _run(ArchiveUrl(path_or_url, chosen, select.checksum, select.workers), db, as_json)


@Parameter(name="*", show_default=False)
@dataclass(frozen=True)
class FileMapping:
    """How the columns of a file become the schema's."""

    table: Annotated[str, Parameter(help="Table to fill; `unwind schema` lists them.")] = ""
    preset: Annotated[str, Parameter(help="A common export: freqtrade, tardis, coinglass, binance-force-orders.")] = ""
    map: Annotated[_Pairs, Parameter(help="Schema's column = the file's: ts=time,rate=funding_rate.")] = field(
        default_factory=list
    )
    venue: Annotated[str, Parameter(help="Exchange: binance, bybit, okx, hyperliquid, ...")] = ""
    symbol: Annotated[str, Parameter(help="For a file of one symbol: BTCUSDT.")] = ""
    symbol_template: Annotated[str, Parameter(help="For names without quote currency: {}USDT.")] = "{}"
    interval: Annotated[str, Parameter(help="Spacing, such as 1h; without it, the commonest one.")] = ""
    unit: Annotated[str, Parameter(help="Of rates: percent, fraction or bps.")] = ""
    time_unit: Annotated[str, Parameter(help="Of numbers in time columns: s, ms, us or ns; auto tells by size.")] = (
        "auto"
    )
    position_map: Annotated[_Pairs, Parameter(help="The position that was liquidated: SELL=long,BUY=short.")] = field(
        default_factory=list
    )
    price: Annotated[str, Parameter(help="Of candles: trade, mark, index or premium.")] = ""
    kind: Annotated[str, Parameter(help="Of ratios: accounts, top_accounts, top_positions, taker_volume.")] = ""
    feed: Annotated[str, Parameter(help="Of liquidations: complete, sampled, aggregated, unknown.")] = ""
    price_kind: Annotated[str, Parameter(help="Of liquidations: average, bankruptcy, limit, unknown.")] = ""
    lag: Annotated[str, Parameter(help="How long after its own time a row is published, such as 60s.")] = ""

    def declared(self) -> Declared:
        from data import clock
        from data.sources.files import Declared

        said = {"price": self.price, "kind": self.kind, "feed": self.feed, "price_kind": self.price_kind}
        return Declared(
            self.table,
            _pairs("--map", self.map, "ts=time,rate=funding_rate"),
            self.venue,
            self.symbol,
            self.symbol_template,
            clock.duration(self.interval) // clock.SECOND if self.interval else None,
            self.unit,
            self.time_unit,
            _pairs("--position-map", self.position_map, "SELL=long,BUY=short"),
            {name: value for name, value in said.items() if value},
            clock.duration(self.lag) / clock.SECOND if self.lag else 0.0,
        )


def file(
    paths: list[Path],
    /,
    *,
    mapping: FileMapping = FileMapping(),
    db: Db = default_db(),
    as_json: Json = False,
) -> int:
    """Import CSV, Parquet or Feather files of your own, or folders of them.

    Such as:

        unwind import file rates.csv --table funding --venue binance \\
            --map ts=time,rate=funding_rate --unit percent
        unwind import file user_data/data/binance/futures --preset freqtrade

    Columns that are named as in the schema need no --map. The separator of
    a CSV (comma, semicolon, tab or |) is told by its first line. Nothing of
    a file with a bad row is stored.
    """
    from data.schema import MARKET_TABLES
    from data.sources.files import MappedFiles
    from data.sources.presets import PRESETS, PresetFiles

    declared = mapping.declared()
    if not mapping.preset:
        if not mapping.table:
            raise BadInput(f"pass --table ({', '.join(MARKET_TABLES)}) or --preset ({', '.join(PRESETS)})")
        return _run(MappedFiles(paths, declared), db, as_json)
    if mapping.table or mapping.map or mapping.position_map or mapping.unit:
        raise BadInput("a preset knows tables, columns and units; leave --table, --map, --position-map and --unit out")
    return _run(PresetFiles(paths, mapping.preset, declared), db, as_json)


def tiers(
    path: Path,
    /,
    *,
    venue: Annotated[str, Parameter(help="Exchange that the tiers are of.")] = "",
    valid_from: Annotated[str, Parameter(help="From when they hold; else the date in the file's name.")] = "",
    db: Db = default_db(),
    as_json: Json = False,
) -> int:
    """Import maintenance margin tiers, as Binance or ccxt write them.

    A file, or a folder of dated files, such as:

        unwind import tiers binance_2024-10-24.json.gz --venue binance
        unwind import tiers tier-history/ --venue binance

    Brackets with a gap, or whose cum does not continue from one to the
    next, are refused.
    """
    from data import clock
    from data.sources.files import venue_name
    from data.sources.tiers import Tiers

    since = clock.moment(valid_from) if valid_from else None
    return _run(Tiers(path, venue_name(venue), since), db, as_json)


def lake(folder: Path, /, *, db: Db = default_db(), as_json: Json = False) -> int:
    """Import a folder of partitioned Parquet files that `unwind export` wrote.

    Such as:

        unwind import lake exported/
    """
    from data.ingest import Report
    from data.store import Store

    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}")
    store = Store(db)
    written = store.import_lake(folder)
    _say(store, Report(written=written), (), as_json, f"{folder}: {written}")
    return 0


# ---- what all of them share ----------------------------------------------------------------------


def _words(text: str) -> list[str]:
    return [w.strip() for w in text.split(",") if w.strip()]


def _pairs(option: str, texts: Iterable[str], example: str) -> dict[str, str]:
    """`a=b,c=d`, once or several times."""
    out: dict[str, str] = {}
    for word in (w for text in texts for w in _words(text)):
        left, equals, right = (part.strip() for part in word.partition("="))
        if not (left and equals and right):
            raise BadInput(f"{option} {word!r}: write pairs such as {option} {example}")
        if out.get(left, right) != right:
            raise BadInput(f"{option}: {left} is given as {out[left]} and as {right}; keep one")
        out[left] = right
    return out


def _run(source: Any, db: Path, as_json: bool) -> int:
    """Store what the source has; good files go in, bad ones are listed."""
    from data.ingest import TqdmProgress, ingest
    from data.store import Store

    store = Store(db)
    bar = TqdmProgress.of(source) if sys.stderr.isatty() and not as_json else None
    with bar or nullcontext():
        report = ingest(source, store, progress=bar, on_bad="list")
    _say(store, report, getattr(source, "remarks", ()), as_json, str(report))
    return report.exit_code


def _say(store: Store, report: Report, remarks: Iterable[str], as_json: bool, text: str) -> None:
    spans = list(stored_spans(store, report.written))
    if as_json:
        print_json({**report.as_dict(), "remarks": list(remarks), "stored": spans})
        return
    print(text)
    for remark in remarks:
        print(f"note: {remark}")
    for s in spans:
        span = f"{s['first']:%Y-%m-%d %H:%M} to {s['last']:%Y-%m-%d %H:%M}"
        print(f"{s['table']} of {s['venue']} now: {s['rows']:,} rows, {span}")
    print(f"store: {store.path}")


def stored_spans(store: Store, written: Written) -> Iterable[dict[str, Any]]:
    """What the store now holds of the tables that were written."""
    from data.schema import table

    for name in written.per_table:
        t = table(name)
        first_last = f'min("{t.time}") AS "first", max("{t.time}") AS "last"'
        found = store.query(
            f'SELECT venue, count(*) AS "rows", {first_last} FROM "{name}" GROUP BY venue ORDER BY venue'
        )
        yield from ({"table": name, **line} for line in found.to_pylist())
