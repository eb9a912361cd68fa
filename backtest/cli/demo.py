"""`unwind demo`: the whole way once, from rows to pages, on a market that is made up.

1. `data.sources.made_up` makes 120 days of two symbols; `ingest` stores them (a second time: finds them stored);
2. `Store.market` aligns them;
3. two strategies are walked forward: fitted on the past, traded on what follows, with margin, funding and every cost;
4. `backtest.report` writes a page of each, and one of both side by side.

The folder holds a `.gitignore` of its own, so that a checkout around it stays clean.
"""

from __future__ import annotations

import time
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backtest.cli.options import Json, print_json, print_table
from data.errors import BadInput

if TYPE_CHECKING:
    from backtest.report.report import Report
    from backtest.sweep import Sweep
    from backtest.walkforward import WalkForward
    from data.market import Market

SYMBOL, INTERVAL, DAYS = "ALFA/USDT:USDT", "15m", 120
MEASURES = ("total_return", "sharpe", "max_drawdown", "trades", "fees", "funding", "slippage", "liquidations")
BOTH = "compare.html"


def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder for the store and the pages.")] = Path("unwind-demo"),
    open_page: Annotated[bool, Parameter(name="--open", negative="", help="Open the page in a browser.")] = False,
    as_json: Json = False,
) -> None:
    """See it work: a made-up market through the store into a report. No network, no keys.

    Four months of two symbols that never existed, with funding, open interest,
    liquidations, tiers and depth; two strategies, each fitted on the past and
    traded on what followed, with margin, fees, funding, slippage and
    liquidation; a page of each that says how far to believe it. Run it again:
    nothing is stored twice. The first run of a version compiles the engine,
    which takes about a minute.
    """
    started = time.perf_counter()
    _make_folder(out)
    db = out / "made-up.duckdb"
    stored = _fill(db)
    market = _market(db)
    walked, swept = _walk(market), _sweep(market)
    reports = {name: _report(name, forward, swept[name]) for name, forward in walked.items()}
    pages = _write(reports, out)
    facts = {
        "made_up": True,
        "store": str(db.resolve()),
        "page": str(pages["both"].resolve()),
        "rows_stored": stored,
        "market": market.hash,
        "runs": [_facts(name, walked[name], reports[name], pages[name]) for name in walked],
        "seconds": round(time.perf_counter() - started, 2),
    }
    if as_json:
        print_json(facts)
    else:
        _tell(market, facts, pages, db)
    if open_page:
        webbrowser.open(next(iter(pages.values())).resolve().as_uri())


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{out} cannot be made a folder ({error.strerror}): name another with --out") from None


def _fill(db: Path) -> int:
    """Store the made-up market; how many rows were new."""
    from data.ingest import ingest
    from data.sources.made_up import made_up
    from data.store import Store

    return ingest(made_up(days=DAYS, interval="5m"), Store(db)).written.inserted


def _market(db: Path) -> Market:
    from data.sources.made_up import VENUE
    from data.store import Store

    return Store(db, read_only=True).market(SYMBOL, INTERVAL, venue=VENUE)


def _walk(market: Market) -> dict[str, WalkForward]:
    """Both before any page: each counts the other's trials too."""
    from backtest.cli.demo_strategy import IDEAS, PLAN, VENUE
    from backtest.compiled import announce
    from backtest.walkforward import walk_forward

    announce()
    return {
        name: walk_forward(strategy, market, PLAN, dict(grid), venue=VENUE, progress=False)
        for name, (strategy, grid) in IDEAS.items()
    }


def _sweep(market: Market) -> dict[str, Sweep]:
    """The same sets over the whole span, to see how lonely the good ones are; no trial that was not one before."""
    from backtest.cli.demo_strategy import IDEAS, VENUE
    from backtest.sweep import sweep

    return {
        name: sweep(strategy, market, dict(grid), venue=VENUE, progress=False)
        for name, (strategy, grid) in IDEAS.items()
    }


def _report(name: str, forward: WalkForward, swept: Sweep) -> Report:
    from backtest.cli.pages import events_of
    from backtest.report.report import Report

    events = events_of(forward.out_of_sample, forward.result)
    return Report.of_walk_forward(forward, name=f"{name}, walked forward", sweep=swept, events=events, made_up=True)


def _write(reports: Mapping[str, Report], out: Path) -> dict[str, Path]:
    from backtest.report.compare import compare

    pages = {name: made.write(out / f"{name.lower().replace(' ', '-')}.html") for name, made in reports.items()}
    evidence = {name: made.subject.evidence for name, made in reports.items() if made.subject.evidence is not None}
    runs = {name: made.subject.result for name, made in reports.items()}
    return pages | {"both": compare(runs, evidence=evidence, made_up=True).write(out / BOTH)}


def _facts(name: str, forward: WalkForward, made: Report, page: Path) -> dict[str, Any]:
    sure = forward.interval()
    return {
        "strategy": name,
        "symbol": SYMBOL,
        "folds": len(forward.fits),
        "sets": forward.fits[0].sets,
        **{measure: forward.measures[measure] for measure in MEASURES},
        "sharpe_low": sure.low,
        "sharpe_high": sure.high,
        "verdict": made.verdict,
        "page": str(page.resolve()),
        "warnings": list(forward.result.warnings),
    }


def _tell(market: Market, facts: Mapping[str, Any], pages: Mapping[str, Path], db: Path) -> None:
    print("A made-up market: nothing in it ever happened.")
    stored = facts["rows_stored"]
    print(f"{f'{stored:,} rows stored' if stored else 'All rows were stored before'}; {market!r}")
    print()
    print("Two strategies, fitted on 40 days, traded on the next 20, and on; every cost counted:")
    print_table(
        [
            {
                "strategy": run["strategy"],
                "sets tried": f"{run['sets']} x {run['folds']} folds",
                "return": f"{run['total_return']:+.1%}",
                "Sharpe, 95 % range": f"{run['sharpe']:.2f}, {run['sharpe_low']:.1f} to {run['sharpe_high']:.1f}",
                "drawdown": f"{run['max_drawdown']:.1%}",
                "trades": f"{run['trades']:,.0f}",
                "fees": f"{0.0 - run['fees']:,.0f}",
                "funding": f"{run['funding']:+,.0f}",
                "liquidations": f"{run['liquidations']:,.0f}",
            }
            for run in facts["runs"]
        ]
    )
    for run in facts["runs"]:
        print(f"{run['strategy']}: {run['verdict']}")
    print()
    for name, page in pages.items():
        print(
            f"Page   {page}"
            + ("   (open it in a browser; it needs no network)" if name != "both" else "   (side by side)")
        )
    print(f"Store  {db}   (look inside: unwind status --db {db})")
    print(f"Next   unwind run FundingSqueeze --db {db} --symbols {SYMBOL} --report run.html")
