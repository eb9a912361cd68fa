"""`unwind run`: a strategy over stored bars, once, with every row and series kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backtest.cli import talk
from backtest.cli.options import Db, Json, default_db, print_json, print_table
from backtest.cli.research import Asked, Rules

if TYPE_CHECKING:
    from backtest.result import Result
    from backtest.strategy import Strategy
    from data.market import Market

INTERVALS_OF = ("total_return", "annual_return", "volatility", "sharpe", "sortino", "calmar", "max_drawdown", "es_95",
                "win_rate", "profit_factor", "fees", "funding", "slippage")  # fmt: skip


def run(
    strategy: Annotated[
        str,
        Parameter(help="Its name (`unwind strategies` lists them), or file.py:Class. Several, with commas: together."),
    ],
    *,
    changes: Annotated[
        list[str] | None, Parameter(name="--set", negative="", help="A parameter: leverage=3. May be repeated.")
    ] = None,
    asked: Asked = Asked(),
    rules: Rules = Rules(),
    detail: Annotated[str, Parameter(show_default=False, help="Walk each bar on these finer ones, such as 1m.")] = "",
    intervals: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Ranges of measures by bootstrap; takes some seconds."),
    ] = False,
    out: Annotated[Path | None, Parameter(help="Folder of the result; without it, one beside the store.")] = None,
    report: Annotated[Path | None, Parameter(help="Also a page, such as run.html, that needs no network.")] = None,
    db: Db = default_db(),
    as_json: Json = False,
) -> None:
    """Run a strategy over stored bars, with every cost, and say how sure it is.

    Such as:

        unwind run FundingSqueeze --symbols BTC/USDT:USDT --set leverage=3
        unwind run ideas.py:Mine --symbols BTC/USDT:USDT,ETH/USDT:USDT \\
            --from 2024-01-01 --to 2024-06-01 --interval 15m --detail 1m
        unwind run FundingSqueeze,ManagedTrend --symbols BTC/USDT:USDT \\
            --set ManagedTrend.leverage=2 --set ManagedTrend.weight=0.5

    The result is a folder beside the store; the same run again is the same
    folder. Bars from before --from warm the features up, where there are any.
    Several strategies share one account and one netted position a symbol, and
    what each of them made is told apart.
    Each run with new parameters counts as a trial: see `unwind trials`.
    """
    from backtest.cli import pages, results, told
    from backtest.cli.research import finer, stand, terms_of
    from backtest.cli.settings import assigned, own_code, strategy_class, strategy_of
    from backtest.engine import simulate
    from backtest.trials import register_of

    cls = strategy_class(strategy)
    one = strategy_of(cls, assigned(changes, "--set", "leverage=3"))
    ground = stand(cls, [one], asked, db)
    market = ground.market
    inside = finer(asked, market, cls, detail, db) if detail else None
    for note in ground.notes:
        talk.note(note)
    under = terms_of(rules, market, cls)
    with own_code(cls):
        result = simulate(market, one, detail=inside, history=ground.history, **under)
    count = register_of(market).count(market)
    folder = results.keep(result, out or results.shelf(db) / f"{cls.__name__}-{result.fingerprint_id}")
    pages.note_command(folder, strategy, changes or (), asked, rules, detail, db)
    page = None
    if report is not None:
        with own_code(cls):
            made = pages.of_run(result, market, one, folder=folder, history=ground.history, detail=inside, **under)
        page = made.write(report)
    drawn = _intervals(result) if intervals else []
    if as_json:
        found = {"strategy": cls.__name__, **told.facts(result), "intervals": drawn or None, "notes": ground.notes}
        if result.attribution is not None:
            found["attribution"] = _attribution(result)
        print_json({**found, "trials": told.deflated(result, count), "folder": folder, "report": page})
        return
    _head(one, market, result)
    told.tell(result, count)
    if result.attribution is not None:
        print()
        print_table([{n: _figure(x) for n, x in row.items()} for row in _attribution(result)])
    if drawn:
        print()
        print_table(drawn)
    print()
    print(f"Saved  {folder}")
    if page is not None:
        print(f"Page   {page}")


def _head(one: Strategy, market: Market, result: Result) -> None:
    from backtest.cli import told

    print(f"{type(one).__name__} on {told.about(market)}")
    print(f"with {', '.join(f'{name}={value}' for name, value in one.parameters.items()) or 'no parameters'}")
    margin = result.account["leverage"]
    asks = "as large as the exposure asks" if margin is None else f"1/{margin:g} of the notional"
    print(f"rules of {result.venue}; {result.account['mode']} margin, {asks}; slippage: {result.costs['model']}")
    print()


def _attribution(result: Result) -> list[dict[str, Any]]:
    """What each of several strategies made, and their sum."""
    assert result.attribution is not None
    table = result.attribution.table
    return [{"strategy": str(name), **{str(n): float(x) for n, x in row.items()}} for name, row in table.iterrows()]


def _figure(value: Any) -> str:
    from backtest.result import money

    return money(value) if isinstance(value, float) else str(value)


def _intervals(result: Result) -> list[dict[str, Any]]:
    from backtest.inference import intervals

    found = intervals(result)
    return [
        {"measure": name, "value": found[name].value, "low": found[name].low, "high": found[name].high}
        for name in INTERVALS_OF
    ]
