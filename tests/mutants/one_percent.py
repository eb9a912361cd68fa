"""Each function of the mechanics off by 1 %: what `unwind verify` and one simulation each say then.

    python one_percent.py      JSON: name -> {"verify": cases that fail, "simulate": what changed}

Its own process, without compilation: a function is replaced in every module that has imported it, which compiled loops
would not see.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from backtest import costs, margin, verify
from backtest.account import Account
from backtest.costs import Costs
from backtest.engine import simulate
from backtest.kernel import cash, ruin
from backtest.records import Run
from backtest.venue import Fees, Liquidation, Venue, brackets
from data.market import Market

BARS = 12
PATH = np.array([100, 100, 104, 108, 103, 97, 92, 90, 90, 90, 90, 90], dtype=float)
TIERS = (
    (5_000.0, 0.01, 50.0),
    (9_000.0, 0.02, 25.0),
    (90_000.0, 0.03, 20.0),
)  # cap, rate, leverage: of linear contracts
CASH_FUNCTIONS = ("price_with_cost", "isolated_margins", "profit_of", "gain_of")
RUIN_FUNCTIONS = ("maintenance_of", "unrealised", "lone_balance", "liquidation_mark", "cross_balance")


def functions() -> dict[str, Callable[..., Any]]:
    """Every function of `backtest.margin`, and those of costs, cash and liquidation whose amounts go further."""
    own = {
        name: value
        for name, value in vars(margin).items()
        if callable(value) and not isinstance(value, type) and value.__module__ == margin.__name__
    }
    own["cost_of_taking"] = costs.cost_of_taking
    own |= {name: getattr(cash, name) for name in CASH_FUNCTIONS}
    return own | {name: getattr(ruin, name) for name in RUIN_FUNCTIONS}


@contextmanager
def replaced(right: Callable[..., Any], wrong: Callable[..., Any]) -> Iterator[None]:
    """In every module of ours that has it."""
    places = [
        (module, name)
        for key, module in list(sys.modules.items())
        if key.startswith("backtest")
        for name, value in list(vars(module).items())
        if value is right
    ]
    try:
        for module, name in places:
            setattr(module, name, wrong)
        yield
    finally:
        for module, name in places:
            setattr(module, name, right)


def off(name: str, right: Callable[..., Any]) -> Callable[..., Any]:
    if name == "tier_of":  # a row has no hundredth: the one below
        return lambda tiers, first, count, notional: max(first, right(tiers, first, count, notional) - 1)
    return lambda *given: 1.01 * right(*given)


def market(contract: str) -> Market:
    index = pd.date_range("2024-01-01", periods=BARS, freq="1h")
    opens = np.append(PATH[0], PATH[:-1])
    columns = {"open": opens, "high": np.maximum(opens, PATH), "low": np.minimum(opens, PATH), "close": PATH}
    symbol = "BTC/USD:BTC" if contract == "inverse" else "BTC/USDT:USDT"
    return Market.from_frames(pd.DataFrame(columns | {"volume": 1.0}, index=index), symbol=symbol)


def simulated(contract: Any, mode: Any) -> Run:
    """Long, more, less; in the third tier, with a falling price, liquidated."""
    unit = 1.0 if contract == "linear" else 0.01  # of the equity, and of all that is measured in it
    own = Venue(
        name="own",
        contract=contract,
        fees=Fees(0.0002, 0.0005, 0.004),
        tiers=brackets(*((cap * unit, mmr, most) for cap, mmr, most in TIERS)),
        liquidation=Liquidation(reduction="tier", residual="market", backstop=0.2),
    )
    run: Run = simulate(
        market(contract),
        exposure=np.array([0, 8, 8, 11, 9, 9, 9, 9, 9, 9, 9, 9], dtype=float),
        venue=own,
        account=Account(equity=1000.0 * unit, leverage=14.0, mode=mode, shortfall="reduce"),
        costs=Costs.fixed(5.0),
        jit=False,
    ).run
    return run


RUNS = [(contract, mode) for contract in ("linear", "inverse") for mode in ("isolated", "cross")]


def numbers(run: Run) -> dict[str, Any]:
    tables = {name: getattr(run, name) for name in ("fills", "ledger", "liquidations")}
    found = {f"{name}.{column}": t[column] for name, t in tables.items() for column in t.dtype.names or ()}
    return found | run.series | run.leg_series


def changed(right: list[dict[str, Any]]) -> list[str]:
    """Of each run, the first column that is not what it was."""
    seen = []
    for (contract, mode), before in zip(RUNS, right, strict=True):
        after = numbers(simulated(contract, mode))
        for name, old in before.items():
            new = after[name]
            if old.shape != new.shape or not np.allclose(old, new, rtol=1e-7, atol=0.0, equal_nan=True):
                seen.append(f"{contract}, {mode}: {name}")
                break
    return seen


def main() -> None:
    np.seterr(all="ignore")
    right = [numbers(simulated(*how)) for how in RUNS]
    cases = verify.load()
    said: dict[str, Any] = {
        "": {"verify": [o.id for o in verify.run(cases) if o.status != "pass"], "simulate": changed(right)}
    }
    for name, function in functions().items():
        with replaced(function, off(name, function)):
            failed = [o.id for o in verify.run(cases) if o.status == "fail"]
            said[name] = {"verify": failed, "simulate": changed(right)}
    print(json.dumps(said))  # noqa: T201


if __name__ == "__main__":
    main()
