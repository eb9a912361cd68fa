"""`unwind demo`: the whole way once, from rows to a page, on a market that is made up.

1. `data.sources.made_up` makes thirty days of two symbols; `ingest` stores them (a second time: finds them stored);
2. `Store.market` aligns them; `backtest.hold` buys and keeps, and sells short and keeps, each symbol;
3. `demo_strategy` trades each with margin, through the engine;
4. `backtest.report` writes one HTML page that needs no network.

The folder holds a `.gitignore` of its own, so that a checkout around it stays clean.
"""

from __future__ import annotations

import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backtest.cli.options import Json, print_json, print_table

if TYPE_CHECKING:
    from backtest.hold import Hold
    from backtest.result import Result
    from data.market import Market

Run = tuple[str, "Result"]
MEASURES = ("max_drawdown", "trades", "fees", "funding", "slippage", "liquidations", "liquidation_loss")


def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder for the store and the page.")] = Path("unwind-demo"),
    open_page: Annotated[bool, Parameter(name="--open", negative="", help="Open the page in a browser.")] = False,
    as_json: Json = False,
) -> None:
    """See it work: a made-up market through the store into a page. No network, no keys.

    Thirty days of two symbols that never existed, with funding, open interest,
    liquidations, tiers and depth; what buying or shorting each would have made;
    a strategy with a stop and a careless long, with margin, fees, funding and
    liquidation; one HTML page. Run it again: nothing is stored twice. The first
    run of a version compiles the engine, which takes about a minute.
    """
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    (out / ".gitignore").write_text("*\n", encoding="utf-8")
    db, page = out / "made-up.duckdb", out / "index.html"
    stored = _fill(db)
    market, holds = _hold(db)
    runs = _trade(market)

    from backtest.report.page import write_page

    write_page(page, market, holds, runs=runs, title="A made-up market, held and traded", made_up=True)
    facts = {
        "made_up": True,
        "store": str(db.resolve()),
        "page": str(page.resolve()),
        "rows_stored": stored,
        "market": market.hash,
        "holds": [_facts(h) for h in holds],
        "runs": [_run_facts(*run) for run in runs],
        "seconds": round(time.perf_counter() - started, 2),
    }
    if as_json:
        print_json(facts)
    else:
        _tell(market, holds, runs, stored, db, page)
    if open_page:
        webbrowser.open(page.resolve().as_uri())


def _fill(db: Path) -> int:
    """Store the made-up market; how many rows were new."""
    from data.ingest import ingest
    from data.sources.made_up import made_up
    from data.store import Store

    return ingest(made_up(), Store(db)).written.inserted


def _hold(db: Path) -> tuple[Market, list[Hold]]:
    from backtest.hold import hold
    from data.sources.made_up import VENUE
    from data.store import Store

    store = Store(db, read_only=True)
    symbols = sorted(store.instruments("2100-01-01", venue=VENUE)["symbol"])
    market = store.market(symbols, "1m", venue=VENUE)
    return market, [hold(market, symbol, side) for symbol in symbols for side in (1, -1)]


def _trade(market: Market) -> list[Run]:
    from backtest.cli.demo_strategy import runs_of
    from backtest.compiled import announce

    announce()
    return [run for symbol in market.symbols for run in runs_of(market.select([symbol]))]


def _run_facts(name: str, result: Result) -> dict[str, Any]:
    found = result.measures
    return {
        "symbol": result.symbols[0],
        "run": name,
        "return": found["total_return"],
        **{measure: found[measure] for measure in MEASURES},
        "warnings": list(result.warnings),
    }


def _facts(h: Hold) -> dict[str, Any]:
    return {
        "symbol": h.symbol,
        "position": h.name,
        "return": h.total_return,
        "from_price": h.price[-1] / h.capital,
        "from_funding": h.funding[-1] / h.capital,
        "from_fees": h.fees[-1] / h.capital,
        "max_drawdown": h.max_drawdown,
        "settlements": h.settled,
        "warnings": h.warnings(),
    }


def _tell(market: Market, holds: Sequence[Hold], runs: Sequence[Run], stored: int, db: Path, page: Path) -> None:
    print("A made-up market: nothing in it ever happened.")
    print(f"{f'{stored:,} rows stored' if stored else 'All rows were stored before'}; {market!r}")
    print()
    print_table(
        [
            {
                "symbol": h.symbol,
                "position": h.name,
                "return": f"{h.total_return:+.2%}",
                "price": f"{h.price[-1] / h.capital:+.2%}",
                "funding": f"{h.funding[-1] / h.capital:+.2%}",
                "fees": f"{h.fees[-1] / h.capital:+.2%}",
                "drawdown": f"{h.max_drawdown:.1%}",
            }
            for h in holds
        ]
    )
    print(holds[0].convention[0].upper() + holds[0].convention[1:] + ".")
    print()
    _tell_runs(runs)
    print()
    print(f"Page   {page}   (open it in a browser; it needs no network)")
    print(f"Store  {db}   (look inside: unwind status --db {db})")


def _tell_runs(runs: Sequence[Run]) -> None:
    first = runs[0][1]
    print(f"With margin, from {first.start_equity:,.0f} {first.currency} each:")
    print_table(
        [
            {
                "symbol": result.symbols[0],
                "run": name,
                "return": f"{m['total_return']:+.2%}",
                "trades": f"{m['trades']:,.0f}",
                "fees": f"{0.0 - m['fees']:,.0f}",
                "funding": f"{m['funding']:+,.0f}",
                "liquidations": f"{m['liquidations']:,.0f}",
                "they took": f"{0.0 - m['liquidation_loss']:,.0f}",
            }
            for name, result in runs
            for m in [result.measures]
        ]
    )
