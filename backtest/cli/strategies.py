"""`unwind strategies`: what there is to run, what each believes, and what it lives on."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backtest.cli.options import Db, Json, default_db, print_json, print_table

if TYPE_CHECKING:
    from backtest.strategy import Strategy

PACKAGE = "strategies"


def strategies(
    name: Annotated[str, Parameter(help="One of them: its name, or file.py:Class. Without it: all.")] = "",
    *,
    symbols: Annotated[str, Parameter(help="Say also what the store lacks for these, such as BTC/USDT:USDT.")] = "",
    venue: Annotated[str, Parameter(help="Of the symbols, where several venues have them.")] = "",
    interval: Annotated[str, Parameter(help="Bars of the symbols.")] = "1h",
    db: Db = default_db(),
    as_json: Json = False,
) -> None:
    """List strategies: thesis, parameters, and the tables they need.

    Such as:

        unwind strategies
        unwind strategies FundingSqueeze
        unwind strategies ideas.py:Mine --symbols BTC/USDT:USDT

    Those of the package, those that installed packages register (entry points
    in the group unwind.strategies), and yours: a file is named as
    ideas.py:Class. With --symbols each says which table it would miss.
    """
    from backtest.cli.stored_market import stored_market
    from backtest.strategy_lookup import load, usable

    broken: list[str] = []
    found = [(name, load(name, PACKAGE))] if name else usable(PACKAGE, broken)
    market = stored_market(symbols, venue, interval, "", "", db) if symbols else None
    facts = [_facts(label, cls, market) for label, cls in found]
    for problem in broken:
        print(f"could not be read: {problem}", file=sys.stderr)
    if as_json:
        print_json(facts[0] if name else facts)
    elif name:
        _tell(facts[0])
    else:
        print_table([_line(f) for f in facts])
        print("`unwind strategies NAME` tells all about one; `unwind new strategy NAME` writes one of your own.")


def _facts(label: str, cls: type[Strategy], market: Any) -> dict[str, Any]:
    from backtest.needs import missing, tables

    text = inspect.getdoc(cls) or "" if cls.__doc__ else ""
    thesis, _, rest = text.partition("\n")
    found = {
        "name": cls.__name__ if label.endswith(".py") else label.rpartition(":")[2],
        "thesis": thesis,
        "about": rest.strip(),
        "module": cls.__module__,
        "parameters": [
            {
                "name": p.name,
                "type": p.kind.__name__,
                "default": p.default,
                "range": list(cls.ranges.get(p.name, ())),
            }
            for p in cls.declared().values()
        ],
        "fields": list(cls.needs),
        "tables": list(tables(cls)),
    }
    return found if market is None else found | {"missing": sorted(set(missing(cls, market).values()))}


def _line(facts: dict[str, Any]) -> dict[str, object]:
    line: dict[str, object] = {
        "strategy": facts["name"],
        "thesis": facts["thesis"],
        "needs": ", ".join(facts["tables"]),
        "parameters": " ".join(f"{p['name']}={_value(p['default'])}" for p in facts["parameters"]),
    }
    return line | ({"to bring in": ", ".join(facts["missing"]) or "-"} if "missing" in facts else {})


def _tell(facts: dict[str, Any]) -> None:
    print(f"{facts['name']}: {facts['thesis']}")
    if facts["about"]:
        print(f"\n{facts['about']}")
    print()
    if facts["parameters"]:
        rows = [
            {
                "parameter": p["name"],
                "type": p["type"],
                "default": _value(p["default"]),
                "worth trying": ", ".join(_value(v) for v in p["range"]) or "-",
            }
            for p in facts["parameters"]
        ]
        print_table(rows)
    print(f"Needs: {', '.join(facts['tables'])}")
    if facts.get("missing"):
        print(f"Missing: {', '.join(facts['missing'])}: bring it in with `unwind fetch` or `unwind import`")


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
