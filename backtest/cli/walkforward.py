"""`unwind walkforward`: one file says all of it; folds are kept, and a requirement that is not met has an exit code."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backtest.cli import talk
from backtest.cli.options import Json, default_db, print_json, print_table
from backtest.cli.sweep import Working
from backtest.putting import put
from data.errors import BadInput

if TYPE_CHECKING:
    from backtest.cli.config import Config
    from backtest.strategy import Strategy
    from backtest.walkforward import Clause, WalkForward
    from data.market import Market

NOT_MET = 3  # the exit code


def walkforward(
    config: Annotated[Path | None, Parameter(help="A TOML file: --example prints one.")] = None,
    *,
    require: Annotated[
        list[str] | None,
        Parameter(negative="", help='What has to hold: "oos.sharpe_low > 0". May be repeated.'),
    ] = None,
    working: Working = Working(),
    out: Annotated[Path | None, Parameter(help="Folder of folds and result; without it, one beside the store.")] = None,
    report: Annotated[Path | None, Parameter(help="Also a page, such as wf.html, that needs no network.")] = None,
    example: Annotated[bool, Parameter(negative="", help="Print a file with every key explained.")] = False,
    db: Annotated[Path | None, Parameter(name="--db", help="The store, instead of the one in the file.")] = None,
    as_json: Json = False,
) -> int:
    """Fit on the past, trade what follows, move on; stitch it together and say what it is worth.

    Such as:

        unwind walkforward --example > mine.toml
        unwind walkforward mine.toml --require "oos.sharpe_low > 0"

    Finished folds are kept: the same command goes on where it was stopped,
    and does nothing twice. Exits with 3 if a requirement is not met. What it
    may be of: oos. and a measure, oos.sharpe_low, oos.sharpe_high, oos.psr,
    oos.dsr, folds.flat, folds.rank, folds.agreement, trials.
    """
    from backtest.cli import config as files

    if example:
        print(files.EXAMPLE.read_text(encoding="utf-8"), end="")
        return 0
    if config is None:
        raise BadInput("which file? `unwind walkforward --example > mine.toml` writes one to begin with")
    read = files.read(config)
    clauses = _clauses(read, require or ())
    place = db or read.db or default_db()
    try:
        found, folder = walked(read, working, out, place)
    except KeyboardInterrupt:
        print("unwind: interrupted; finished folds are kept, the same command goes on", file=sys.stderr)
        return 130
    return _said(found, read, clauses, folder, report, as_json)


def _clauses(read: Config, more: Sequence[str]) -> list[Clause]:
    from backtest.cli.config import require_names
    from backtest.walkforward import Clause

    names = require_names(read.plan)
    with read.said_of("accept"):
        written = [Clause.of(text, names) for text in read.require]
    return [*written, *(Clause.of(text, names) for text in more)]


def walked(read: Config, working: Working, out: Path | None, db: Path) -> tuple[WalkForward, Path]:
    from backtest.cli.config import varied_of
    from backtest.cli.research import stand, terms
    from backtest.cli.settings import own_code, strategy_class, strategy_of
    from backtest.cli.sweep import executor_for
    from backtest.walkforward import walk_forward

    cls = strategy_class(read.strategy)
    with read.said_of("strategy.set"):
        base = strategy_of(cls, read.fixed)
    axes = varied_of(read, base)
    ground = stand(cls, [], read.asked, db)
    for note in ground.notes:
        talk.note(note)
    with read.said_of("account"):
        terms(ground.market, cls, read.rules, read.account, {})
    with read.said_of("costs"):
        under = terms(ground.market, cls, read.rules, read.account, read.costs)
    with own_code(cls), executor_for(working) as executor:
        folder = out or _folder(read, ground.market, base, axes, under, db)
        found = walk_forward(
            base, ground.market, read.plan, axes, method=read.method, n=read.count, seed=read.seed, folder=folder,  # type: ignore[arg-type]
            executor=executor, threads=working.threads, progress=talk.progress(), **under,
        )  # fmt: skip
    return found, folder


def _folder(
    read: Config, market: Market, base: Strategy, axes: dict[str, Any], under: dict[str, Any], db: Path
) -> Path:
    """Called by what decides its folds: another grid is another folder, the same file goes on in its own."""
    from backtest.cli.results import shelf
    from backtest.folds import Spec
    from backtest.walkforward import identity

    sampling = {"method": read.method, "n": read.count, "seed": read.seed}
    spec = Spec(base, axes, read.plan, sampling, under)
    return shelf(db) / f"{read.path.stem}-{identity(market, spec)[:12]}"


# ---- what is said and written ------------------------------------------------------------------------


def _said(
    found: WalkForward, read: Config, clauses: Sequence[Clause], folder: Path, report: Path | None, as_json: bool
) -> int:
    from backtest.cli import pages, results

    facts = _facts(found, read)
    met = _met(facts["summary"], clauses)
    results.keep(found.result, folder / "result")
    put(folder / "config.toml", read.path.read_bytes())
    page = pages.of_forward(found, folder=folder).write(report) if report is not None else None
    facts |= {"requirements": met, "met": all(one["met"] for one in met), "folder": folder, "report": page}
    results.write_json(folder / "summary.json", facts)
    if as_json:
        print_json(facts)
    else:
        _tell(found, facts)
    for one in met:
        if not one["met"]:
            print(f"unwind: not met: {one['require']}: it is {_number(one['value'])}", file=sys.stderr)
    return 0 if facts["met"] else NOT_MET


def _facts(found: WalkForward, read: Config) -> dict[str, Any]:
    verdict, summary = found.verdict(), found.summary()
    return {
        "config": read.path,
        "strategy": type(found.spec.base).__name__,
        "market": found.market.hash,
        "plan": read.plan,
        "sampling": found.spec.sampling,
        "folds": found.folds.to_dict("records"),
        "drift": found.drift.to_dict("records"),
        "summary": summary,
        "verdict": verdict.rows(),
        "trials": found.count().words(),
    }


def _met(summary: dict[str, Any], clauses: Sequence[Clause]) -> list[dict[str, Any]]:
    """A number that is not known fulfils nothing."""
    rows = []
    for clause in clauses:
        value = summary.get(clause.name, math.nan)
        rows.append({"require": str(clause), "value": value, "met": bool(value == value and clause.holds(value))})
    return rows


def _number(value: float) -> str:
    return "not known" if value != value else f"{value:.6g}"


def _tell(found: WalkForward, facts: dict[str, Any]) -> None:
    from backtest.cli import told

    name, summary = found.spec.plan.objective, facts["summary"]
    print(f"{facts['strategy']} on {told.about(found.market)}")
    rows = [_fold_row(row, name, list(found.spec.axes)) for row in facts["folds"]]
    print_table(rows, title=f"{len(rows)} folds of up to {max(fit.sets for fit in found.fits):,} sets")
    print("rank: of all sets afterwards, 0 is the best and 1 the worst; agreement: of the orders before and after")
    if summary["folds.resumed"]:
        print(f"{summary['folds.resumed']} folds were there already")
    print(f"\nOut of sample, {told.about(found.out_of_sample).rpartition('bars, ')[2]}, positions carried over:")
    told.print_rows(_headline(found, summary))
    told.tell_warnings(found.result.warnings)
    print()
    for line in facts["verdict"]:
        if line["outcome"] != "unknown":
            print(f"  {line['outcome']}  {line['name']}: {line['value']:.4g}; {line['meaning']}")
    for one in facts["requirements"]:
        print(f"  {'met ' if one['met'] else 'NOT met'}  {one['require']}: {_number(one['value'])}")
    print(f"\nSaved  {facts['folder']}")
    if facts["report"] is not None:
        print(f"Page   {facts['report']}")


def _fold_row(row: dict[str, Any], objective: str, varied: list[str]) -> dict[str, Any]:
    return {
        "fold": row["fold"],
        "trades from": f"{row['test_from']:%Y-%m-%d}",
        "to": f"{row['test_to']:%Y-%m-%d}",
        **{name: row[name] for name in varied},
        f"{objective} before": round(row[f"{objective}_in"], 2),
        "after": round(row[f"{objective}_out"], 2),
        "rank": round(row["rank"], 2),
        "agreement": round(row["agreement"], 2),
    }


def _headline(found: WalkForward, summary: dict[str, Any]) -> list[tuple[str, str]]:
    from backtest.cli import told

    m, name = found.measures, found.spec.plan.objective
    low, high = summary["oos.sharpe_low"], summary["oos.sharpe_high"]
    between = "" if math.isnan(low) else f", 95 % between {low:.2f} and {high:.2f}"
    money = ", ".join(f"{what} {told.text(what, m)}" for what in ("fees", "funding", "slippage"))
    before, after = summary[f"folds.{name}_in"], summary[f"folds.{name}_out"]
    drift = found.drift.to_dict("records")
    rows = [
        ("return", f"{m['total_return']:+.2%}, {m['annual_return']:+.2%} a year"),
        ("Sharpe ratio", f"{told.text('sharpe', m)}{between}"),
        ("drawdown", told.text("max_drawdown", m)),
        ("trades", f"{told.text('trades', m)}; {money}; liquidations {told.text('liquidations', m)}"),
        (name, f"{_number(before)} before and {_number(after)} after, mean of the folds"),
        ("drift", ", ".join(f"{d['parameter']} mostly {d['usual']}, changed {d['changes']} times" for d in drift)),
        ("trials", found.count().words()),
    ]
    if flat := summary["folds.flat"]:
        rows.append(("flat", f"{flat} folds, where no set fulfilled what is required in training"))
    return rows
