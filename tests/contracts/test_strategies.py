"""What every strategy keeps: no future, enough warm-up, the same again, any order of symbols, holes, its own limit.

Also for those that somebody adds: the list is what `strategy_lookup` finds in the package.
"""

from __future__ import annotations

import inspect
import math
import pickle
from functools import cache
from typing import Any

import numpy as np
import pytest
from strategy_markets import EAGER, account_of, eager, market_of

from backtest.account import Account
from backtest.costs import Costs
from backtest.decide import bind, compile_decide
from backtest.engine import measure, simulate
from backtest.features import features_of, lookahead, reserved_of
from backtest.needs import HELD_TOO, missing, tables
from backtest.result import Result
from backtest.settled import unsettled
from backtest.strategy import HOLD, STATE, Strategy, warmup_bars
from backtest.strategy_lookup import available, load
from data.errors import BadInput
from data.market import Market, SymbolData
from strategies.parts import symbol_data

ALL = tuple(sorted(available("strategies")))
every = pytest.mark.parametrize("name", ALL)
many = pytest.mark.parametrize("symbols", [1, 3])


def of(name: str) -> type[Strategy]:
    return load(name, package="strategies")


@cache
def made(name: str, symbols: int = 1, holes: float = 0.0, seed: int = 1) -> Market:
    return market_of(of(name), symbols=symbols, holes=holes, seed=seed)


def run(strategy: Strategy, market: Market, **options: Any) -> Result:
    options = {"venue": "binance", "account": account_of(type(strategy), market), "costs": Costs.impact()} | options
    return simulate(market, strategy, **options)


@cache
def ran(name: str, symbols: int = 3) -> Result:
    """One run that several tests look at."""
    return run(eager(of(name)), made(name, symbols))


def test_all_of_them_are_here() -> None:
    """The eight of the catalogue, and the two baselines."""
    assert set(EAGER) <= set(ALL)


# ---- what it says of itself --------------------------------------------------------------------------


@every
def test_its_docstring_is_a_thesis(name: str) -> None:
    cls = of(name)
    text = inspect.getdoc(cls) or ""
    first = text.partition("\n")[0]
    assert first.endswith(".")
    assert len(first) <= 120
    if "wrapped" not in vars(cls):
        assert "Thesis:" in text


@every
def test_every_parameter_has_a_range_that_holds_its_default(name: str) -> None:
    cls = of(name)
    assert set(cls.ranges) == set(cls.declared())
    for parameter, values in cls.ranges.items():
        assert cls.declared()[parameter].default in values or len(set(values)) > 1
        for value in values:
            assert cls(**{parameter: value}).parameters[parameter] == value


@every
def test_missing_data_is_said_in_a_line_with_the_table(name: str) -> None:
    cls, market = of(name), made(name)
    assert missing(cls, market) == {}
    for field in cls.needs:
        bare = without(market, field)
        assert set(missing(cls, bare)) >= {field}
        with pytest.raises(BadInput) as error:
            features_of(cls(), bare.features_view())
        message = str(error.value)
        assert "\n" not in message
        assert field in message
        assert tables(cls)[0] == "candles"
        assert all(table in message for table in missing(cls, bare).values())


def without(market: Market, field: str) -> Market:
    names = {"funding_8h": "funding", "open_interest": "open_interest", "index": "index"}
    nothing: dict[str, Any] = {names[f]: None for f in (field, HELD_TOO.get(field, field)) if f in names}
    assert nothing, f"this test does not know how to leave {field} out"
    data: dict[str, SymbolData] = {s: symbol_data(market, s, **nothing) for s in market.symbols}
    return Market.build(market.venue, data, market.interval, market.start, market.end)


# ---- what it sees -------------------------------------------------------------------------------------


@many
@every
def test_it_does_not_look_ahead(name: str, symbols: int) -> None:
    if symbols > 1:  # the same functions, column by column: fewer cuts
        assert lookahead(of(name)(), made(name, symbols, 0.2), [737, 1499, 1999]) == []
        return
    for holes in (0.0, 0.2):
        assert lookahead(of(name)(), made(name, symbols, holes)) == []


@many
@every
def test_its_warm_up_is_enough(name: str, symbols: int) -> None:
    assert unsettled(of(name)(), made(name, symbols), [1, 7, 200, 317] if symbols == 1 else [1, 317]) == []


@every
def test_more_history_changes_no_decision(name: str) -> None:
    """The same trades, whether the market begins 150 bars earlier or not."""
    market, strategy = made(name), eager(of(name))
    warm = warmup_bars(strategy, market)
    whole = run(strategy, market, warmup=150 + warm, costs=Costs.none())
    late = run(strategy, market[150:], costs=Costs.none())
    a, b = whole.run.fills, late.run.fills
    assert len(a) == len(b)
    np.testing.assert_array_equal(a["bar"] - 150, b["bar"])
    np.testing.assert_allclose(a["quantity"], b["quantity"], rtol=1e-6)


# ---- what it does -------------------------------------------------------------------------------------


@every
def test_it_trades_where_there_is_reason_to(name: str) -> None:
    assert len(ran(name).run.fills) > 0


@many
@every
def test_it_does_the_same_again(name: str, symbols: int) -> None:
    strategy, market = eager(of(name)), made(name, symbols)
    first, second = ran(name, symbols), run(pickle.loads(pickle.dumps(strategy)), market)
    assert first.same_as(second)
    row = measure(market, [strategy], venue="binance", account=account_of(of(name), market), costs=Costs.impact())
    assert row["total_return"].iloc[0] == first.measures["total_return"]


@every
def test_the_order_of_symbols_does_not_matter(name: str) -> None:
    strategy, market = eager(of(name)), made(name, 3)
    turned = market.select(list(reversed(market.symbols)))
    first, second = ran(name), run(strategy, turned)
    np.testing.assert_allclose(first.run.series["equity"], second.run.series["equity"], rtol=1e-9)
    held, other = (r.run.leg_series["position"] for r in (first, second))
    np.testing.assert_allclose(held, other[:, ::-1], rtol=1e-9, atol=1e-12)


@many
@every
def test_it_survives_holes(name: str, symbols: int) -> None:
    market = made(name, symbols, 0.3, seed=2)
    assert np.isfinite(run(eager(of(name)), market).run.series["equity"]).all()


@every
def test_it_survives_a_market_that_holds_nothing_for_weeks(name: str) -> None:
    """Bars without a candle, a rate or open interest, in the middle."""
    market = made(name)
    data = {s: cut_out(symbol_data(market, s), market.ts[1700], market.ts[1900]) for s in market.symbols}
    holed = Market.build(market.venue, data, market.interval, market.start, market.end)
    assert not holed.present[1750:1850].any()
    assert np.isfinite(run(eager(of(name)), holed).run.series["equity"]).all()


def cut_out(data: SymbolData, start: int, stop: int) -> SymbolData:
    from dataclasses import fields, replace

    def rows(part: Any) -> Any:
        keep = (part.ts < start) | (part.ts >= stop)
        arrays = {f.name: getattr(part, f.name) for f in fields(part)}
        kept = {k: v[keep] for k, v in arrays.items() if isinstance(v, np.ndarray) and len(v) == len(keep)}
        if "values" in arrays:
            kept["values"] = {k: v[keep] for k, v in part.values.items()}
        return replace(part, **kept)

    made: dict[str, Any] = {n: rows(p) for n in ("candles", "funding", "open_interest", "depth", "liquidations")
                            if (p := getattr(data, n)) is not None}  # fmt: skip
    return replace(data, **made, marks=tuple(rows(b) for b in data.marks), index=tuple(rows(b) for b in data.index))


@many
@every
def test_it_never_asks_for_more_than_it_says(name: str, symbols: int) -> None:
    """Targets of all symbols of a bar, from any state of the account; what only reduces a position is not counted."""
    cls = of(name)
    market, rng = market_of(cls, 1900, seed=3, symbols=symbols), np.random.default_rng(5)
    for strategy in (cls(), eager(cls)):
        limit = strategy.max_exposure
        assert math.isfinite(limit)
        features, _ = features_of(strategy, market.features_view())
        binding, k = bind(strategy, features), len(market.symbols)
        compiled = compile_decide(binding)
        first = warmup_bars(strategy, market)
        for bar in rng.integers(first, len(market), 80):
            state = random_state(rng, limit, k)
            asked = 0.0
            for j in range(k):
                given = [value_of(kind, n, features, strategy, state, int(bar), j) for kind, n in binding.order]
                target = float(binding.function(*binding.plain(given)))
                assert compiled(*given) == pytest.approx(target, rel=1e-12)
                held = state["position"][j]
                reduces = target * held >= 0.0 and abs(target) <= abs(held)
                asked += 0.0 if target == HOLD or reduces else abs(target)
            assert asked <= limit * (1 + 1e-9), (bar, asked)


def random_state(rng: np.random.Generator, limit: float, k: int) -> dict[str, Any]:
    flat = rng.random(k) < 0.5
    state: dict[str, Any] = {name: np.abs(rng.normal(size=k)) for name in STATE}
    state["position"] = np.where(flat, 0.0, rng.normal(size=k) * limit)
    state["bars_held"] = np.where(flat, 0.0, rng.integers(1, 500, k))
    state["equity"] = np.full(k, 10_000.0 * rng.random())
    state["drawdown"] = np.full(k, rng.random())
    state["bars_since_liquidation"] = np.where(rng.random(k) < 0.5, 1e9, rng.integers(0, 100, k))
    return state


def value_of(
    kind: str, name: str, features: dict[str, Any], strategy: Strategy, state: dict[str, Any], bar: int, j: int
) -> float:
    if kind == "feature":
        values = features[name][bar]
        return float(values if np.ndim(values) == 0 else values[j])
    return float(strategy.parameters[name]) if kind == "parameter" else float(state[name][j])  # type: ignore[arg-type]


@every
def test_its_stops_are_what_the_engine_understands(name: str) -> None:
    strategy = of(name)()
    features, _ = features_of(strategy, made(name).features_view())
    for value in reserved_of(strategy, features).values():
        assert np.all(np.isnan(value) | (np.asarray(value) >= 0.0))


def test_an_account_for_one_symbol_is_isolated() -> None:
    assert account_of(of("BuyAndHold"), made("BuyAndHold")) == Account()
