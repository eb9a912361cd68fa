"""`unwind synth`: years of a simulated market into the store, as venue `sim`.

1. Coins and their worlds are in `backtest.crowd.market`, the machine in `backtest.crowd`, the rows in `synth_rows`,
   the parts in `synth_source`.
2. Each coin comes in parts of thirty days, and each part is stored whole or not at all. What is stored is not written
   again; a second identical call simulates nothing.
3. A store holds one simulated history: two would mix into one that never was. Another is refused.
4. The summary is read from the store, whoever wrote it.
"""

from __future__ import annotations

import math
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backtest.cli.options import Db, Json, default_db, print_json, print_table
from data.errors import BadInput, StoreNotWritable

if TYPE_CHECKING:
    from backtest.crowd.market import Simulated
    from data.ingest import Report
    from data.store import Store

DAYS_A_YEAR = 365


def synth(
    *,
    years: Annotated[float, Parameter(help="Length, in years of 365 days: 3, or 0.1.")] = 1.0,
    symbols: Annotated[int, Parameter(help="How many coins, 1 to 6.")] = 2,
    seed: Annotated[int, Parameter(help="Another seed is another history.")] = 7,
    start: Annotated[str, Parameter(help="First day.")] = "2023-01-06",
    accounts: Annotated[int, Parameter(help="Accounts of the crowd that trades each coin.")] = 20_000,
    db: Db = default_db(),
    as_json: Json = False,
) -> None:
    """Simulate years of a market and store them as venue sim.

    Such as:

        unwind synth --years 3 --symbols 4 --seed 7 --db sim.duckdb

    A crowd of leveraged accounts trades coins that never existed, through
    a book, a liquidation engine, an insurance fund and deleveraging. Every
    table is filled: bars, funding, open interest, liquidations, ratios,
    depth, dated tiers, and the truth of what really happened.

    Nothing in it ever happened. The same arguments give the same numbers,
    so a command that was stopped goes on when it is typed again: what is
    stored is not written twice, but a coin is run again from its first day.
    """
    from backtest.cli.synth_source import Synthetic
    from backtest.compiled import announce_crowd
    from data.ingest import TqdmProgress, ingest
    from data.store import Store

    began = time.perf_counter()
    market = _market(years, symbols, seed, start, accounts)
    store = Store(db)
    _refuse_another(store, market)
    source = Synthetic(market)
    announce_crowd()
    bar = TqdmProgress.of(source) if sys.stderr.isatty() and not as_json else None
    with bar or nullcontext():
        report = ingest(source, store, progress=bar)
    _say(store, market, report, time.perf_counter() - began, as_json)


def _market(years: float, symbols: int, seed: int, start: str, accounts: int) -> Simulated:
    from backtest.crowd.market import MOST_DAYS, Simulated
    from data.clock import moment

    days = round(years * DAYS_A_YEAR) if math.isfinite(years) else 0
    if not 1 <= days <= MOST_DAYS:
        raise BadInput(f"years={years:g}: write a number from a day (0.003) to {MOST_DAYS // DAYS_A_YEAR}, such as 0.5")
    return Simulated(days=days, symbols=symbols, seed=seed, start=moment(start), accounts=accounts)


def _refuse_another(store: Store, market: Simulated) -> None:
    """A history of other arguments, of another version, or one that is called `sim` and is not ours."""
    from backtest.cli.synth_source import arguments, parts_of, recipe
    from backtest.crowd.market import COINS, VENUE

    if store.read_only:
        raise StoreNotWritable(f"{store.path} is an exported folder and cannot be written; name a file with --db")
    every = {p.name: recipe(market, number) for number in range(len(COINS)) for p in parts_of(market, number)}
    query = f"SELECT DISTINCT source, origin, recipe FROM ingests WHERE venue = '{VENUE}' ORDER BY origin"
    for row in store.query(query).to_pylist():
        elsewhere = "Name another store with --db, such as --db sim-2.duckdb"
        if row["source"] != VENUE:
            raise BadInput(
                f"{store.path} holds rows of venue {VENUE} from {row['source']}: {row['origin']}. {elsewhere}"
            )
        if row["origin"] not in every:
            other = row["origin"].partition(", of ")[2]
            asked = arguments(market)
            raise BadInput(f"{store.path} holds another simulated history ({other}), not {asked}. {elsewhere}")
        if row["recipe"] != every[row["origin"]]:
            raise BadInput(f"{store.path} holds this history as another version of Unwind simulated it. {elsewhere}")


def _say(store: Store, market: Simulated, report: Report, seconds: float, as_json: bool) -> None:
    from backtest.cli.synth_source import arguments

    coins = [_summary(store, symbol) for symbol in market.names]
    span = _span(store)
    if as_json:
        facts = {"arguments": arguments(market), "store": str(store.path.resolve()), **report.as_dict()}
        print_json({**facts, "symbols": coins, "stored": span, "seconds": round(seconds, 2)})
        return
    print(f"A simulated market ({arguments(market)}): nothing in it ever happened.")
    stored = f"{report.written.inserted:,} rows stored" if report.files else "All of it was stored before"
    print(f"{stored}, in {seconds:.1f} s")
    print()
    print_table(
        [
            {
                "symbol": c["symbol"],
                "price": f"{c['price_change']:+.1%}",
                "volatility": f"{c['volatility']:.0%}",
                "cascades": c["cascades"],
                "from within": c["endogenous"],
                "by news": c["news"],
                "liquidated": f"{c['liquidated'] / 1e6:,.1f}m",
                "events": c["liquidations"],
                "deleveraged": f"{c['deleveraged'] / 1e6:,.1f}m",
            }
            for c in coins
        ]
    )
    print("Volatility is of hourly returns, for a year; liquidated and deleveraged are USDT.")
    print()
    print(f"Venue sim now has {span['symbols']} symbols, {span['first']:%Y-%m-%d} to {span['last']:%Y-%m-%d %H:%M}")
    print(f"Store  {store.path}   (look inside: unwind status --db {store.path})")


def _summary(store: Store, symbol: str) -> dict[str, Any]:
    """What became of one coin, as it is stored."""
    found: dict[str, Any] = store.query(_SUMMARY, [symbol]).to_pylist()[0]
    return {"symbol": symbol, **found}


_SUMMARY = """
    WITH mine AS (SELECT CAST(? AS VARCHAR) AS symbol), bars AS (
        SELECT ts, open, close FROM candles SEMI JOIN mine USING (symbol)
        WHERE venue = 'sim' AND price = 'trade' AND interval_s = 60
    ), hours AS (
        SELECT date_trunc('hour', ts) AS hour, arg_max(close, ts) AS close FROM bars GROUP BY ALL
    ), moves AS (
        SELECT ln(close / lag(close) OVER (ORDER BY hour)) AS move FROM hours
    ), cascades AS (
        SELECT label FROM truth SEMI JOIN mine USING (symbol) WHERE venue = 'sim' AND kind = 'cascade'
    ), forced AS (
        SELECT notional FROM liquidations SEMI JOIN mine USING (symbol) WHERE venue = 'sim'
    ), closed AS (
        SELECT notional FROM adl SEMI JOIN mine USING (symbol) WHERE venue = 'sim'
    )
    SELECT
        (SELECT arg_max(close, ts) / arg_min(open, ts) - 1 FROM bars) AS price_change,
        (SELECT stddev_samp(move) * sqrt(24 * 365) FROM moves) AS volatility,
        (SELECT count(*) FROM cascades) AS cascades,
        (SELECT count(*) FROM cascades WHERE label LIKE 'endogenous%') AS endogenous,
        (SELECT count(*) FROM cascades WHERE label LIKE 'news%') AS news,
        (SELECT count(*) FROM forced) AS liquidations,
        (SELECT coalesce(sum(notional), 0) FROM forced) AS liquidated,
        (SELECT coalesce(sum(notional), 0) FROM closed) AS deleveraged
"""


def _span(store: Store) -> dict[str, Any]:
    found: dict[str, Any] = store.query(
        "SELECT count(DISTINCT symbol) AS symbols, min(ts) AS first, max(ts) AS last, count(*) AS bars "
        "FROM candles WHERE venue = 'sim' AND price = 'trade'"
    ).to_pylist()[0]
    return found
