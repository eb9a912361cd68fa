"""Side-by-side measurements of the data package: `make bench-data`.

Everything is measured in one run on made-up one-minute candles (20 symbols, 20 million rows by default), each contender in turn,
several rounds, medians and ratios. Nothing is asserted: the table goes to benchmarks/RESULTS.md with --write.

1. import: Parquet candles into a new store, against DuckDB's own INSERT ... SELECT ... ORDER BY of the same rows into the same table;
   then the same file again, the same rows re-encoded, and a file with one row changed, with the growth of the store file.
2. market: one symbol, one year, with funding, open interest and liquidations aligned, against DuckDB's Arrow export of the same
   candle rows plus as-of joins in polars, and against polars reading a Parquet file of that symbol alone; peak memory.
3. archive: 1,000 daily zip files, against DuckDB's CSV reader alone over the same files unzipped.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np

SYMBOLS = 20
YEAR = ("2022-06-01", "2023-06-01")
ONE = "S07/USDT:USDT"


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def mib(path: Path) -> float:
    return path.stat().st_size / 2**20


def make_candles(path: Path, rows: int, options: str = "COMPRESSION zstd", change: str = "") -> None:
    """Prices on a grid of 0.01 that move like a random walk; deterministic."""
    each = rows // SYMBOLS
    query = f"""
        WITH steps AS (
            SELECT s, i, round(((hash(s * 1000003 + i) % 2001)::DOUBLE - 1000) / 4000, 2) AS d,
                   round((hash(s * 7919 + i) % 100)::DOUBLE / 100, 2) AS w, round((hash(i * 31 + s) % 100000)::DOUBLE / 1000, 3) AS v
            FROM range({SYMBOLS}) a(s), range({each}) b(i)
        ), walk AS (
            SELECT *, round(1000 + 10 * s + sum(d) OVER (PARTITION BY s ORDER BY i), 2) AS c FROM steps
        )
        SELECT 'bench' AS venue, format('S{{:02d}}/USDT:USDT', s) AS symbol, TIMESTAMP '2022-01-01' + to_minutes(i) AS ts,
               round(c - d, 2) AS open, greatest(c, round(c - d, 2)) + w AS high, least(c, round(c - d, 2)) - w AS low, c AS close, v AS volume
        FROM walk ORDER BY s, i
    """
    con = duckdb.connect()
    con.execute(f"CREATE TABLE candles AS {query}")
    if change:
        con.execute(change)
    con.execute(f"COPY (SELECT * FROM candles ORDER BY symbol, ts) TO '{path}' (FORMAT parquet, {options})")


def store_import(db: Path, file: Path) -> float:
    from data.ingest import ingest
    from data.sources.files import Declared, MappedFiles
    from data.store import Store

    def work() -> None:
        declared = Declared("candles", venue="bench", interval_s=60, constants={"price": "trade"})
        ingest(MappedFiles([file], declared), Store(db))

    return seconds(work)


def plain_import(db: Path, file: Path) -> float:
    from data.schema import TABLES, ddl

    def work() -> None:
        con = duckdb.connect(str(db))
        con.execute(ddl(TABLES["candles"]))
        con.execute(
            "INSERT INTO candles BY NAME SELECT venue, symbol, 'trade' AS price, 60 AS interval_s, ts, open, high, "
            "low, close, volume "
            f"FROM '{file}' ORDER BY venue, symbol, price, interval_s, ts"
        )
        con.close()

    return seconds(work)


def bench_import(folder: Path, rows: int, rounds: int) -> list[tuple[str, str]]:
    first, again, changed = folder / "first.parquet", folder / "again.parquet", folder / "changed.parquet"
    make_candles(first, rows)
    make_candles(again, rows, "COMPRESSION snappy, ROW_GROUP_SIZE 50000")
    make_candles(
        changed,
        rows,
        change=f"UPDATE candles SET volume = volume + 1 WHERE symbol = '{ONE}' AND ts = TIMESTAMP '2022-07-01'",
    )
    times: dict[str, list[float]] = {k: [] for k in ("plain", "first", "same", "re-encoded", "one changed")}
    growth: dict[str, float] = {}
    for _ in range(rounds):
        plain_db, db = folder / "plain.duckdb", folder / "store.duckdb"
        for p in (plain_db, db):
            p.unlink(missing_ok=True)
        times["plain"].append(plain_import(plain_db, first))
        times["first"].append(store_import(db, first))
        size = mib(db)
        for what, file in (("same", first), ("re-encoded", again), ("one changed", changed)):
            times[what].append(store_import(db, file))
            growth[what] = mib(db) / size - 1
    mid = {k: statistics.median(v) for k, v in times.items()}
    out = [
        ("plain INSERT ... ORDER BY", f"{mid['plain']:.2f} s"),
        ("store, first import", f"{mid['first']:.2f} s = {mid['first'] / mid['plain']:.2f}x plain (bar 2.0x)"),
    ]
    for what in ("same", "re-encoded", "one changed"):
        out.append(  # noqa: PERF401
            (
                f"store, {what}",
                f"{mid[what]:.2f} s = {mid[what] / mid['first']:.2f}x first (bar 1.0x), file grew {growth[what]:.1%} "
                "(bar 5 %)",
            )
        )
    out.append(
        (
            "file",
            f"{mib(folder / 'store.duckdb'):.0f} MiB for {rows:,} rows; plain {mib(folder / 'plain.duckdb'):.0f} MiB",
        )
    )
    return out


def add_joined(db: Path) -> None:
    """Funding every 8 hours, open interest every 5 minutes and 100,000 liquidations for one symbol."""
    import polars as pl

    from data.rows import Batch, Rows
    from data.store import Store

    rng = np.random.default_rng(7)
    start, end = np.datetime64(YEAR[0], "us"), np.datetime64(YEAR[1], "us")
    eight = np.arange(start, end, np.timedelta64(8, "h"))
    five = np.arange(start, end, np.timedelta64(5, "m"))
    when = np.sort(start + rng.integers(0, (end - start).astype(int), 100_000).astype("timedelta64[us]"))
    common = {"venue": "bench", "symbol": ONE}
    funding = pl.DataFrame({"ts": eight, "rate": rng.normal(1e-4, 5e-5, len(eight)), "interval_hours": 8.0})
    interest = pl.DataFrame(
        {"ts": five, "quantity": rng.normal(1e5, 1e3, len(five)), "value": rng.normal(1e8, 1e6, len(five))}
    )
    events = pl.DataFrame(
        {
            "ts": when,
            "position": np.where(rng.random(len(when)) < 0.5, "long", "short"),
            "price": rng.normal(1000, 10, len(when)),
            "quantity": rng.exponential(1, len(when)),
            "notional": rng.exponential(1000, len(when)),
            "event_id": [str(i) for i in range(len(when))],
        }
    )
    from data.clock import moment
    from data.rows import Origin

    origin = Origin("bench", "events", covers=(moment(YEAR[0]), moment(YEAR[1])), tables=("liquidations",))
    Store(db).write(
        Batch(
            (
                Rows("funding", funding, common),
                Rows("open_interest", interest, {**common, "interval_s": 300}),
                Rows("liquidations", events, {**common, "price_kind": "average", "feed": "complete"}),
            ),
            (origin,),
        )
    )


CANDLES = (
    "SELECT ts, open, high, low, close, volume FROM candles WHERE venue = 'bench' AND symbol = ? AND price = 'trade' "
    "AND interval_s = 60 AND ts >= ? AND ts < ? ORDER BY ts"
)


def plain_market(db: Path) -> object:
    """What a careful user would write by hand: Arrow out of DuckDB, as-of joins in polars."""
    import polars as pl

    con = duckdb.connect(str(db), read_only=True)
    con.execute("SET TimeZone = 'UTC'")
    bars = pl.from_arrow(con.sql(CANDLES, params=[ONE, *YEAR]).to_arrow_table())
    span = [ONE, *YEAR]
    funding = pl.from_arrow(
        con.sql(
            "SELECT ts, rate FROM funding WHERE symbol = ? AND ts >= ? AND ts < ? ORDER BY ts", params=span
        ).to_arrow_table()
    )
    interest = pl.from_arrow(
        con.sql(
            "SELECT ts, quantity, value FROM open_interest WHERE symbol = ? AND ts >= ? AND ts < ? ORDER BY ts",
            params=span,
        ).to_arrow_table()
    )
    events = pl.from_arrow(
        con.sql(
            "SELECT time_bucket(INTERVAL 1 MINUTE, ts) AS ts, coalesce(sum(notional) FILTER (position = 'long'), 0) "
            "AS liq_long, "
            "coalesce(sum(notional) FILTER (position = 'short'), 0) AS liq_short FROM liquidations WHERE symbol = ? "
            "AND ts >= ? AND ts < ? "
            "GROUP BY 1 ORDER BY 1",
            params=span,
        ).to_arrow_table()
    )
    con.close()
    bars = bars.with_columns(close_ts=pl.col("ts") + pl.duration(minutes=1))
    for other in (funding, interest):
        bars = bars.join_asof(
            other.rename({"ts": "known"}), left_on="close_ts", right_on="known", allow_exact_matches=False
        )
    return bars.join(events, on="ts", how="left")


def our_market(db: Path) -> object:
    from data.store import Store

    return Store(db).market(ONE, "1m", *YEAR)


def peak_memory(db: Path) -> tuple[float, float]:
    """MiB of arrays returned, and the growth of the process's peak while they are made (a process of its own)."""
    code = """
import json, re, sys
from pathlib import Path
from data.store import Store

def memory(what):
    return int(re.search(what + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**10

s = Store(sys.argv[1])
s.market(sys.argv[2], "1m", sys.argv[3], "2022-06-03")
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
before = memory("VmRSS")
m = s.market(sys.argv[2], "1m", sys.argv[3], sys.argv[4])
after = memory("VmHWM")
arrays = {id(a): a.nbytes for n in (*m.held, "ts", "present", "mark_source") for a in [getattr(m, n)]}
print(json.dumps([sum(arrays.values()) / 2**20, after - before]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(db), ONE, *YEAR], check=True, capture_output=True, text=True)
    arrays, grown = json.loads(done.stdout)
    return float(arrays), float(grown)


def bench_market(folder: Path, rounds: int) -> list[tuple[str, str]]:
    import polars as pl

    db = folder / "store.duckdb"
    add_joined(db)
    alone = folder / "alone.parquet"
    con = duckdb.connect(str(db), read_only=True)
    con.execute(
        f"COPY (SELECT ts, open, high, low, close, volume FROM candles WHERE symbol = '{ONE}' ORDER BY ts) TO "
        f"'{alone}' (FORMAT parquet)"
    )
    con.close()
    lo, hi = (np.datetime64(y, "us").item() for y in YEAR)

    def parquet() -> object:
        return pl.scan_parquet(alone).filter((pl.col("ts") >= lo) & (pl.col("ts") < hi)).collect()

    contenders = {"plain": lambda: plain_market(db), "ours": lambda: our_market(db), "parquet": parquet}
    for work in contenders.values():
        work()
    times: dict[str, list[float]] = {k: [] for k in contenders}
    for _ in range(max(rounds, 9)):  # in turn, so that a slow moment hits all
        for k, work in contenders.items():
            times[k].append(seconds(work))
    mid = {k: statistics.median(v) * 1000 for k, v in times.items()}
    arrays, grown = peak_memory(db)
    return [
        ("DuckDB to Arrow + as-of joins in polars", f"{mid['plain']:.0f} ms"),
        ("Store.market", f"{mid['ours']:.0f} ms = {mid['ours'] / mid['plain']:.2f}x (bar 1.5x)"),
        (
            "polars, Parquet of that symbol alone, candles only",
            f"{mid['parquet']:.0f} ms; Store.market is {mid['ours'] / mid['parquet']:.1f}x",
        ),
        ("peak memory", f"{grown:.0f} MiB for {arrays:.0f} MiB of arrays = {grown / arrays:.2f}x (bar 3x)"),
    ]


HEADER = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"


def make_archive(folder: Path, days: int) -> tuple[Path, Path]:
    """Daily 1m kline zips with checksums in the venue's layout, and the same files unzipped."""
    tree = folder / "archive" / "data" / "futures" / "um" / "daily" / "klines" / "BTCUSDT" / "1m"
    plain = folder / "unzipped"
    for p in (tree, plain):
        p.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    first = np.datetime64("2021-01-01", "D")
    for d in range(days):
        day = str(first + d)
        t0 = int(np.datetime64(day, "ms").astype(int))
        close = np.round(30_000 + np.cumsum(rng.normal(0, 5, 1440)), 2)
        open_ = np.round(close + rng.normal(0, 2, 1440), 2)
        volume = np.round(rng.exponential(20, 1440), 3)
        text = io.StringIO()
        text.write(HEADER)
        for i in range(1440):
            t = t0 + i * 60_000
            o, c, v = open_[i], close[i], volume[i]
            hi, lo = max(o, c) + 3, min(o, c) - 3
            text.write(
                f"{t},{o:.2f},{hi:.2f},{lo:.2f},{c:.2f},{v:.3f},{t + 59_999},{v * c:.5f},{int(v * 9)},{v / 2:.3f},{v * c / 2:.5f},0\n"
            )
        name = f"BTCUSDT-1m-{day}"
        (plain / f"{name}.csv").write_text(text.getvalue())
        with zipfile.ZipFile(tree / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr(f"{name}.csv", text.getvalue())
        digest = hashlib.sha256((tree / f"{name}.zip").read_bytes()).hexdigest()
        (tree / f"{name}.zip.CHECKSUM").write_text(f"{digest}  {name}.zip\n")
    return folder / "archive", plain


def bench_archive(folder: Path, days: int, rounds: int) -> list[tuple[str, str]]:
    from data.ingest import ingest
    from data.sources.binance_archive import ArchiveTree
    from data.store import Store

    tree, plain = make_archive(folder, days)
    names = [
        "open_time",
        "open",
        "high",
        "low",
        "close",
        "volume",
        "close_time",
        "quote_volume",
        "count",
        "taker_buy_volume",
        "taker_buy_quote_volume",
        "ignore",
    ]
    kinds = dict.fromkeys(names, "DOUBLE") | dict.fromkeys(("open_time", "close_time", "count"), "BIGINT")
    columns = "{" + ", ".join(f"'{n}': '{k}'" for n, k in kinds.items()) + "}"

    def csv_alone() -> None:
        con = duckdb.connect()
        con.execute(f"CREATE TABLE t AS SELECT * FROM read_csv('{plain}/*.csv', header = true, columns = {columns})")
        con.close()

    def archive() -> None:
        db = folder / "archive.duckdb"
        db.unlink(missing_ok=True)
        ingest(ArchiveTree(tree), Store(db))

    times: dict[str, list[float]] = {"csv": [], "ours": []}
    for _ in range(rounds):
        times["csv"].append(seconds(csv_alone))
        times["ours"].append(seconds(archive))
    rows = days * 1440
    csv, ours = statistics.median(times["csv"]), statistics.median(times["ours"])
    return [
        ("DuckDB's CSV reader alone, unzipped", f"{rows / csv:,.0f} rows/s ({csv:.2f} s)"),
        (
            "archive import, zips, checked and stored",
            f"{rows / ours:,.0f} rows/s ({ours:.2f} s) = {csv / ours:.0%} (bar 30 %)",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--days", type=int, default=1000, help="zip files of the archive part")
    parser.add_argument("--only", choices=["import", "market", "archive"], help="one part (market needs import)")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/RESULTS.md")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="unwind-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[tuple[str, list[tuple[str, str]]]] = []
    try:
        if args.only in (None, "import", "market"):
            parts.append((f"import of {args.rows:,} candles", bench_import(folder, args.rows, args.rounds)))
        if args.only in (None, "market"):
            parts.append((f"one symbol, one year of 1m bars out of {args.rows:,}", bench_market(folder, args.rounds)))
        if args.only in (None, "archive"):
            parts.append((f"archive of {args.days:,} daily zips", bench_archive(folder, args.days, args.rounds)))
    finally:
        if args.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    report(parts, args.write)


def report(parts: list[tuple[str, list[tuple[str, str]]]], write: bool) -> None:
    lines = []
    for title, rows in parts:
        lines += [f"### {title}", "", "| what | measured |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows), ""]
    print("\n".join(lines))
    if write:
        path = Path(__file__).with_name("RESULTS.md")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        versions = f"Python {platform.python_version()}, DuckDB {duckdb.__version__}, {platform.system()}, peak of the run {peak:.1f} GiB"
        begin, end = "<!-- data -->", "<!-- /data -->"
        text = (
            path.read_text() if path.exists() else f"# Measurements\n\n## Data (`make bench-data`)\n\n{begin}\n{end}\n"
        )
        head, rest = text.split(begin)
        path.write_text(head + begin + f"\n{versions}\n\n" + "\n".join(lines) + end + rest.split(end)[1])


if __name__ == "__main__":
    main()
