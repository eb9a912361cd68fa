"""`unwind sweep`: many parameter sets of a strategy over stored bars, and how lonely the best of them stands."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backtest.cli import talk
from backtest.cli.axes import MOST
from backtest.cli.options import Db, Json, default_db, print_json, print_table
from backtest.cli.research import Asked, Rules
from data.errors import BadInput, NotFound, StoreNotWritable

if TYPE_CHECKING:
    from backtest.strategy import Strategy
    from backtest.sweep import Sweep

SHOWN = ("sharpe", "total_return", "max_drawdown", "trades", "liquidations", "fees", "funding")
NEIGHBOURS = 3_000_000  # pairs of neighbours: of larger sweeps no plateau is worked out here


@Parameter(name="*", show_default=False)
@dataclass(frozen=True)
class Trying:
    """Which sets are tried."""

    vary: Annotated[
        list[str] | None,
        Parameter(negative="", help="entry_z=1.5,2,2.5 or leverage=1..5:9 (nine, :log by logarithm). May be repeated."),
    ] = None
    fixed: Annotated[
        list[str] | None, Parameter(name="--set", negative="", help="A parameter that stays: leverage=3.")
    ] = None
    where: Annotated[str, Parameter(help="Only sets for which this holds: 'fast < slow'.")] = ""
    method: Annotated[str, Parameter(help="grid, random, sobol or optuna.")] = "grid"
    count: Annotated[int | None, Parameter(help="How many sets, where it is no grid.")] = None
    seed: Annotated[int, Parameter(help="Of the sample.")] = 0
    most: Annotated[int, Parameter(help="A larger grid than this is not begun; without it 20,000.")] = MOST


@Parameter(name="*", show_default=False)
@dataclass(frozen=True)
class Working:
    """Who does the work."""

    threads: Annotated[int | None, Parameter(help="Without it, as many as there are cores.")] = None
    scheduler: Annotated[str, Parameter(help="threads, processes, dask, or an address such as tcp://host:8786.")] = ""
    workers: Annotated[int | None, Parameter(help="Processes of that scheduler.")] = None


def sweep(
    strategy: Annotated[str, Parameter(help="Its name (`unwind strategies` lists them), or file.py:Class.")],
    *,
    trying: Trying = Trying(),
    asked: Asked = Asked(),
    rules: Rules = Rules(),
    objective: Annotated[str, Parameter(help="The measure that sets are ranked by.")] = "sharpe",
    top: Annotated[int, Parameter(help="How many of the best to show.")] = 10,
    working: Working = Working(),
    folder: Annotated[
        Path | None, Parameter(help="Keep what is done here: the same command goes on from there.")
    ] = None,
    out: Annotated[Path | None, Parameter(help="Every set with every measure: sweep.parquet or sweep.csv.")] = None,
    db: Db = default_db(),
    as_json: Json = False,
) -> int:
    """Try many parameter sets of a strategy, with every cost, and rank them.

    Such as:

        unwind sweep FundingSqueeze --symbols BTC/USDT:USDT \\
            --vary entry_z=1.5,2,2.5 --vary leverage=1..5:9
        unwind sweep ManagedTrend --symbols BTC/USDT:USDT \\
            --where "fast < slow" --method sobol --count 1000

    Without --vary: the values that the strategy declares as worth trying.
    `plateau` is the median of a set's neighbours: a set that is good while
    its neighbours are not was lucky. Ctrl-C keeps what is done. Every set is
    a trial: see `unwind trials`.
    """
    found = _found(strategy, trying, asked, rules, objective, working, folder, db, top, out)
    if out is not None:
        _write(found, out)
    rows = _rows(found, objective, top)
    if as_json:
        print_json(_facts(found, trying, objective, rows, out))
    else:
        _tell(found, strategy, asked, rules, objective, rows, db, out)
    if not found.complete:
        print(f"unwind: interrupted after {len(found):,} of {found.planned:,} sets; they are kept", file=sys.stderr)
        return 130
    return 0


def _found(
    strategy: str, trying: Trying, asked: Asked, rules: Rules, objective: str, working: Working,
    folder: Path | None, db: Path, top: int, out: Path | None,
) -> Sweep:  # fmt: skip
    from backtest import space
    from backtest.cli import axes as ax
    from backtest.cli.condition import condition
    from backtest.cli.research import stand, terms_of
    from backtest.cli.settings import assigned, own_code, strategy_class, strategy_of
    from backtest.sweep import METHODS, check_measure
    from backtest.sweep import sweep as swept
    from data.errors import did_you_mean

    if trying.method not in METHODS:
        raise BadInput(f"--method {trying.method}: {did_you_mean(trying.method, METHODS)}")
    if trying.method != "grid" and trying.count is None:
        raise BadInput(f"--method {trying.method} needs --count, the number of sets to try")
    if trying.method == "grid" and trying.count is not None:
        raise BadInput("--count is of a sample: add --method sobol, or leave it out for the whole grid")
    if top < 1:
        raise BadInput(f"--top {top}: write how many to show, 1 or more")
    if out is not None and out.suffix not in (".parquet", ".csv"):
        raise BadInput(f"--out {out}: write a file that ends with .parquet or .csv")
    check_measure(objective)
    cls = strategy_class(strategy)
    fixed = assigned(trying.fixed, "--set", "leverage=3")
    base = strategy_of(cls, fixed)
    grid = trying.method == "grid"
    varied = ax.axes_from(base, assigned(trying.vary, "--vary", "entry_z=1.5,2,2.5"), grid)
    if twice := sorted(set(varied) & set(fixed)):
        raise BadInput(f"{twice[0]} is varied and set: leave one of them out")
    varied = space.axes_of(base, varied or ax.declared_axes(base, fixed))
    where = condition(trying.where, cls.declared()) if trying.where else None
    if grid:
        ax.check_size(base, varied, where, trying.most, _smaller(trying))
    ground = stand(cls, _extremes(base, varied, asked.interval), asked, db)
    for note in ground.notes:
        talk.note(note)
    options: dict[str, Any] = {"folder": folder} if folder is not None else {}
    under = terms_of(rules, ground.market, cls)
    with own_code(cls), executor_for(working) as executor:
        if executor is not None:
            options["executor"] = executor
        return swept(
            base, ground.market, varied, method=trying.method, n=trying.count, seed=trying.seed, where=where,  # type: ignore[arg-type]
            objective=objective, history=ground.history, threads=working.threads, progress=talk.progress(), **options,
            **under,
        )  # fmt: skip


def _smaller(trying: Trying) -> str:
    instead = (
        "Name fewer parameters or values" if trying.vary else "Name what to vary, such as --vary entry_z=1.5,2,2.5"
    )
    return f"{instead}, take a sample with --method sobol --count 1000, or allow it with a larger --most"


def _extremes(base: Strategy, axes: Mapping[str, Any], interval: str) -> list[Strategy]:
    """The set that looks back the furthest, as each parameter by itself says."""
    from backtest.cli.research import look_back
    from backtest.space import Span
    from data import clock

    bar = clock.duration(interval)
    longest = {}
    for name, axis in axes.items():
        values = [axis.low, axis.high] if isinstance(axis, Span) else axis
        values = [round(v) for v in values] if type(base).declared()[name].kind is int else values
        longest[name] = max(values, key=lambda value: look_back(base.replace(**{name: value}), bar))
    return [base.replace(**longest)]


def executor_for(working: Working) -> Any:
    """Threads need none; the others are loaded when they are asked for."""
    from contextlib import nullcontext

    if working.scheduler in ("", "threads"):
        return nullcontext()
    from backtest.executor import executor_of

    return executor_of(working.scheduler, working.workers)


# ---- what is shown -----------------------------------------------------------------------------------


def _rows(found: Sweep, objective: str, top: int) -> list[dict[str, Any]]:
    best = found.best(top)
    measures = dict.fromkeys([objective, *SHOWN])
    named = {m: f"{m}_measured" if m in found.names else m for m in measures}
    hills = _hills(found)
    rows = []
    for row in best.index:
        one = found.strategies[int(row)].parameters
        shown = {name: one[name] for name in found.names} | {m: float(best[col][row]) for m, col in named.items()}
        rows.append(shown | ({"plateau": float(hills["plateau"][row])} if hills is not None else {}))
    return rows


def _hills(found: Sweep) -> Any:
    """The plateau of each set; None where scipy is missing or neighbours are too many to work out in passing."""
    if len(found) * min(len(found), 3 ** len(found.names)) > NEIGHBOURS:
        return None
    try:
        return found.plateau()
    except NotFound:
        return None


def _luck(found: Sweep) -> tuple[float, Any]:
    """The best annual Sharpe ratio that as many trials without skill would show, and the count of trials."""
    import math

    from backtest.inference import expected_maximum
    from backtest.metrics import returns_a_year

    count = found.count()
    known = count.effective >= 1.0 and count.variance == count.variance
    a_year = math.sqrt(returns_a_year(found.market.interval))
    return expected_maximum(count.effective, count.variance) * a_year if known else math.nan, count


def _facts(
    found: Sweep, trying: Trying, objective: str, rows: list[dict[str, Any]], out: Path | None
) -> dict[str, Any]:
    luck, count = _luck(found)
    return {
        "strategy": type(found.base).__name__,
        "method": trying.method,
        "seed": trying.seed,
        "objective": objective,
        "varied": list(found.names),
        "sets": len(found),
        "planned": found.planned,
        "complete": found.complete,
        "market": found.market.hash,
        "best": rows,
        "trials": {"number": count.number, "effective": count.effective, "sharpe_by_luck": luck},
        "out": out,
    }


def _tell(
    found: Sweep, strategy: str, asked: Asked, rules: Rules, objective: str, rows: list[dict[str, Any]],
    db: Path, out: Path | None,
) -> None:  # fmt: skip
    from backtest.cli import told

    print(f"{type(found.base).__name__} on {told.about(found.market)}")
    kept = {name: value for name, value in found.base.parameters.items() if name not in found.names}
    print(f"{len(found):,} sets of {', '.join(found.names)}; {_said(kept) or 'nothing else'} stays")
    print_table(rows, title=f"The best by {objective}")
    luck, count = _luck(found)
    print(f"Trials: {count.words()}")
    if luck == luck:
        print(f"The best of as many without any skill would show a Sharpe ratio of about {luck:.2f}.")
    print(f"The first one in full:\n  {_command(found, strategy, asked, rules, db)}")
    if out is not None:
        print(f"Saved  {out}")


def _said(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _command(found: Sweep, strategy: str, asked: Asked, rules: Rules, db: Path) -> str:
    """What runs the best set, with all its terms."""
    words = ["unwind", "run", strategy, "--symbols", asked.symbols, "--interval", asked.interval]
    words += _options({"--from": asked.start, "--to": asked.end, "--venue": asked.venue, "--rules": rules.rules})
    words += _options({"--equity": rules.equity, "--mode": rules.mode, "--leverage": rules.leverage})
    words += _options({"--delay": rules.delay, "--slippage": rules.slippage})
    words += _options({"--maker-fee": rules.maker_fee, "--taker-fee": rules.taker_fee})
    words += [word for text in rules.account or () for word in ("--account", text)]
    words += [word for text in rules.costs or () for word in ("--costs", text)]
    best, usual = found.strategy().parameters, type(found.base)().parameters
    words += [word for name, v in best.items() if v != usual[name] for word in ("--set", f"{name}={v}")]
    return shlex.join([*words, *(() if db == default_db() else ("--db", str(db)))])


def _options(values: Mapping[str, Any]) -> list[str]:
    return [str(word) for name, value in values.items() if value not in (None, "") for word in (name, value)]


def _write(found: Sweep, path: Path) -> None:
    """Aside and then named."""
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            found.frame.to_csv(aside, index=False)
        else:
            found.to_parquet(aside)
        aside.replace(path)
    except OSError as error:
        raise StoreNotWritable(f"{path}: cannot be written: {error.strerror or error}") from None
