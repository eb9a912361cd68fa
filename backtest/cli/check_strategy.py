"""`unwind check lookahead` and `unwind check warmup`: what a strategy must not know, and how much it has to."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backtest.cli.options import Db, Json, default_db, print_json, print_table
from data import clock
from data.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backtest.strategy import Strategy
    from data.market import Market

Named = Annotated[str, Parameter(help="Strategies with commas: names, or file.py:Class. Without it: all there are.")]
Symbols = Annotated[str, Parameter(help="On these symbols of the store, with commas. Without it: a made-up market.")]
Of = Annotated[str, Parameter(name="--venue", help="Of the symbols, where several venues have them.")]
Bars = Annotated[str, Parameter(name="--interval", help="Bars of the symbols.")]
From = Annotated[str, Parameter(name="--from", help="First moment, such as 2024-01-01.")]
To = Annotated[str, Parameter(name="--to", help="First moment not wanted.")]


def lookahead(
    name: Named = "",
    *,
    symbols: Symbols = "",
    venue: Of = "",
    interval: Bars = "1h",
    start: From = "",
    end: To = "",
    db: Db = default_db(),
    as_json: Json = False,
) -> int:
    """Cut the future off and see whether features change: what changes has seen it.

    Such as:

        unwind check lookahead
        unwind check lookahead ideas.py:Mine --symbols BTC/USDT:USDT --interval 5m

    Every feature of a bar has to be the same whether the market ends there or
    goes on. Exits with 1 if one is not. Without symbols of the store, it is
    tried on a made-up market of six coins.
    """
    from backtest.features import lookahead as leaks

    def problems(strategy: Strategy, market: Market) -> list[tuple[str, int, str]]:
        found = leaks(strategy, market)
        return [(leak.feature, leak.bar, "is another once later bars are there: it looks ahead") for leak in found]

    return _checked(name, (symbols, venue, interval, start, end, db), problems, ("look", "ahead"), as_json)


def warmup(
    name: Named = "",
    *,
    symbols: Symbols = "",
    venue: Of = "",
    interval: Bars = "1h",
    start: From = "",
    end: To = "",
    tolerance: Annotated[float, Parameter(help="What may differ, as a part of a feature's usual size.")] = 1e-6,
    db: Db = default_db(),
    as_json: Json = False,
) -> int:
    """Put more history before the market and see whether features change after the warm-up.

    Such as:

        unwind check warmup
        unwind check warmup ideas.py:Mine --symbols BTC/USDT:USDT --interval 5m

    A feature that is still another needs a longer warm-up than its strategy
    declares. Exits with 1 if one is. Without symbols of the store, it is tried
    on a made-up market of six coins.
    """
    from backtest.settled import unsettled

    def problems(strategy: Strategy, market: Market) -> list[tuple[str, int, str]]:
        return [
            (found.feature, found.bar, f"is another with more history ({_part(found.difference)}): longer warm-up")
            for found in unsettled(strategy, market, tolerance=tolerance)
        ]

    return _checked(
        name, (symbols, venue, interval, start, end, db), problems, ("depend", "on where the market began"), as_json
    )


def _part(difference: float) -> str:
    return f"off by {difference:.2g} of its size" if math.isfinite(difference) else "known in one of them only"


def _checked(
    name: str,
    asked: tuple[str, str, str, str, str, Path],
    problems: Callable[[Strategy, Market], list[tuple[str, int, str]]],
    what: tuple[str, str],
    as_json: bool,
) -> int:
    from backtest.cli.stored_market import made_up_market, stored_market
    from backtest.cli.strategies import PACKAGE
    from backtest.strategy_lookup import load, usable

    broken: list[str] = []
    names = [part.strip() for part in name.split(",") if part.strip()]
    classes = [load(label, PACKAGE) for label in names] or [cls for _, cls in usable(PACKAGE, broken)]
    market = stored_market(*asked) if asked[0] else made_up_market()
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    for cls in classes:
        try:
            fit = _fitting(cls, market)
            found = problems(cls(), fit)
        except BadInput as error:
            if names:
                raise
            left_out.append(
                f"{cls.__name__}: {error}"
            )  # nobody asked for this one: the others are checked all the same
            continue
        rows += [
            {"strategy": cls.__name__, "feature": feature, "bar": clock.iso(int(fit.ts[bar])), "problem": problem}
            for feature, bar, problem in found
        ]
    for problem in left_out:
        print(f"not checked: {problem}", file=sys.stderr)
    for problem in broken:
        print(f"could not be read: {problem}", file=sys.stderr)
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows)
    count = len({row["strategy"] for row in rows})
    verb, rest = what
    text = f"{len(classes) - len(left_out)} checked on {market!r}: {count or 'none'} {verb}{'s' * (count < 2)} {rest}"
    print(text, file=sys.stderr if as_json else sys.stdout)
    return 1 if rows else 0


def _fitting(cls: type[Strategy], market: Market) -> Market:
    """The market, with a spot leg for each perpetual where a carry finds none."""
    from strategies.carry import Carry, hedged

    if not issubclass(cls, Carry) or any(":" not in symbol for symbol in market.symbols):
        return market
    return hedged(market, "index" if "index" in market.held else "trade")
