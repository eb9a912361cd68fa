"""What must hold for every account on every market, whatever the rules: of the compiled engine, and of the reference.

Cash is conserved and booked, long mirrors short, size scales, later data changes nothing before, symbols have no order,
funding knows no bar size, finer bars are never worse than the worst that the coarse one allows, leverage never moves a
liquidation away, an isolated leg loses its margin and no more, and a number that is none stays where it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import engine_markets as M
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from backtest import metrics, reference
from backtest import prepare as p
from backtest.account import Account
from backtest.batch import measured
from backtest.engine import run_prepared, simulate
from backtest.job import decided
from backtest.kernel import run
from backtest.kernel.loop import exposure_loop
from backtest.prepare import Bars, Decisions, Prepared
from backtest.records import LEG_SERIES, SERIES, Cash, Run
from backtest.strategy import HOLD
from backtest.venue import Fees, Tier, Venue
from data.clock import HOUR
from data.errors import BadInput, UnwindError

pytestmark = pytest.mark.kernel


Engine = Callable[[Prepared, Decisions], Run]
NAN, INF = float("nan"), float("inf")

VENUE = Venue("test", "linear", Fees(0.0002, 0.0005, 0.01), (Tier(0.0, 1e12, 0.01, 50.0),))

both = pytest.mark.parametrize("engine", [run_prepared, reference.run], ids=["compiled", "reference"])


def same_bits(a: Run, b: Run, bars: int | None = None) -> None:
    """Every row and series, of the first bars or of all."""
    for name in SERIES:
        np.testing.assert_array_equal(a.series[name][:bars], b.series[name][:bars], err_msg=name)
    for name in LEG_SERIES:
        np.testing.assert_array_equal(a.leg_series[name][:bars], b.leg_series[name][:bars], err_msg=name)
    np.testing.assert_array_equal(a.margin_distance[:bars], b.margin_distance[:bars])
    for name in M.TABLES:
        one, two = (until(getattr(run, name), bars) for run in (a, b))
        assert one.tobytes() == two.tobytes(), name


def until(table: Any, bars: int | None) -> Any:
    return table if bars is None else table[table["bar"] < bars]


# ---- books -----------------------------------------------------------------------------------------


@both
@M.some(60)
@given(M.recipes)
def test_the_wallet_is_the_ledger_summed_in_order_bit_for_bit(engine: Engine, recipe: Any) -> None:
    prepared, decisions = M.made(recipe)
    made = engine(prepared, decisions)
    assert M.wallet_of(made, prepared.equity) == made.ledger["wallet"].tolist()
    last = np.searchsorted(made.ledger["bar"], np.arange(prepared.n), side="right")
    wallet = np.concatenate([[prepared.equity], made.ledger["wallet"]])
    assert made.series["wallet"].tolist() == wallet[last].tolist()


@both
@M.some(60)
@given(M.recipes)
def test_equity_is_the_wallet_and_what_is_open(engine: Engine, recipe: Any) -> None:
    prepared, decisions = M.made(recipe)
    made = engine(prepared, decisions)
    q, entry, mark = made.leg_series["position"], made.leg_series["entry_price"], prepared.bars.mark_close
    kind = prepared.contracts.kind
    worth = np.where(
        kind == p.SPOT, q * mark, np.where(kind == p.INVERSE, q * (1 / entry - 1 / mark), q * (mark - entry))
    )
    worth = np.where(q == 0, 0.0, worth)
    gross = np.abs(np.where(kind == p.INVERSE, q / mark, q * mark)).max(initial=prepared.equity)
    expected = made.series["wallet"] + worth.sum(axis=1)
    np.testing.assert_allclose(made.series["equity"], expected, rtol=1e-9, atol=1e-9 * gross)


@both
@M.some(60)
@given(M.recipes)
def test_rows_agree_with_one_another(engine: Engine, recipe: Any) -> None:
    """Positions are fills added up; fees, settlements and liquidations are in the ledger with the same amounts."""
    prepared, decisions = M.made(recipe)
    made = engine(prepared, decisions)
    near = {"rel": 1e-9, "abs": 1e-9 * prepared.equity}
    for j in range(prepared.k):
        fills = made.fills[made.fills["symbol"] == j]
        largest = np.abs(fills["position"]).max(initial=0.0)
        np.testing.assert_allclose(np.cumsum(fills["quantity"]), fills["position"], rtol=0, atol=1e-9 * largest)
        last = np.searchsorted(fills["bar"], np.arange(prepared.n), side="right")
        held = np.concatenate([[0.0], fills["position"]])[last]
        np.testing.assert_array_equal(held, made.leg_series["position"][:, j])
    assert made.fills["fee"].sum() == pytest.approx(-M.paid(made, Cash.FEE, Cash.LIQUIDATION_FEE), **near)
    assert made.fundings["amount"].sum() == pytest.approx(M.paid(made, Cash.FUNDING), **near)
    assert made.liquidations["fee"].sum() == pytest.approx(-M.paid(made, Cash.LIQUIDATION_FEE), **near)
    contracts = prepared.contracts.kind[made.fills["symbol"]] != p.SPOT
    spot = (made.fills["quantity"] * made.fills["price"])[~contracts].sum()
    realised = made.fills["profit"][contracts].sum() - spot
    gross = np.abs(made.fills["quantity"] * made.fills["price"])[~contracts].sum()
    assert realised == pytest.approx(M.paid(made, Cash.FILL), rel=1e-9, abs=1e-9 * (prepared.equity + gross))


@both
@M.some(60)
@given(M.recipes)
def test_the_same_again_gives_the_same_bits(engine: Engine, recipe: Any) -> None:
    prepared, decisions = M.made(recipe)
    same_bits(engine(prepared, decisions), engine(prepared, decisions))


@M.some(150)
@given(M.recipes, st.sampled_from([1, 2, 5, 1000]))
def test_what_is_added_up_in_blocks_is_what_the_rows_say(recipe: Any, bars: int) -> None:
    """The loop that keeps no rows, cut into blocks of any length, against the measures of the rows."""
    prepared, decisions = M.made(recipe)
    interval = 6 * HOUR
    stage, sets = run.stage(prepared, interval / HOUR), decided(decisions, prepared.warmup)
    state = run.begin(stage, sets, keep=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "block_bars", lambda *_: bars)
        run.walk(stage, sets, exposure_loop(several=prepared.k > 1), state)
    got = measured(stage, state, interval, prepared.n)[0]
    ts = np.arange(prepared.n, dtype=np.int64) * interval
    kept = run_prepared(prepared, decisions)
    expected = metrics.measures(kept, ts, interval, prepared.contracts.kind, prepared.equity)
    money = np.array([measure.unit == "money" for measure in metrics.MEASURES])
    near = 1e-9 + 1e-9 * prepared.equity * money
    for name, one, two, slack in zip(metrics.NAMES, got, expected.values(), near, strict=True):
        assert one == pytest.approx(two, rel=1e-9, abs=slack, nan_ok=True), name


# ---- mirrors and scales -----------------------------------------------------------------------------


@both
@M.some(60)
@given(
    M.recipes_with(symbols=1, modes="cross", maintenance=False, costs=False, lots=False, delisted=True, funding=True),
    st.sampled_from(["linear", "inverse"]),
    st.integers(1, 4),
)
def test_long_and_short_of_one_path_come_to_nothing(engine: Engine, recipe: Any, kind: str, bar: int) -> None:
    """Without costs, what one side makes the other loses: prices, settlements, deleveraging apart."""
    quiet = replace(recipe, kinds=kind, deleveraging=False, stops=False, limits=False, participation=0.0)
    prepared, _ = M.made(replace(quiet, fees=False, small_orders=False, cash_rate=0.0, warmup=0, leverage=0.0))
    target = np.full((prepared.n, 1), HOLD)
    target[bar] = 0.01
    long, short = (
        engine(prepared, Decisions(target)),
        engine(prepared, Decisions(np.where(target == HOLD, HOLD, -target))),
    )
    assert len(long.liquidations) == len(short.liquidations) == 0
    total = long.series["equity"] + short.series["equity"] - 2 * prepared.equity
    np.testing.assert_allclose(total, 0.0, atol=1e-9 * prepared.equity)
    np.testing.assert_array_equal(long.fundings["amount"], -short.fundings["amount"])


@both
@M.some(60)
@given(
    M.recipes_with(lots=False, costs=False, small_orders=False, maintenance=False, participation=0.0),
    st.integers(-10, 10),
)
def test_an_account_of_another_size_does_the_same_on_its_scale(engine: Engine, recipe: Any, power: int) -> None:
    """By a power of two, so that not even rounding differs."""
    prepared, decisions = M.made(replace(recipe, reduction=0))
    scale = 2.0**power
    one = engine(prepared, decisions)
    other = engine(M.with_rules(prepared, equity=prepared.equity * scale), decisions)
    for name in ("equity", "wallet"):
        np.testing.assert_array_equal(one.series[name] * scale, other.series[name])
    for name in ("exposure", "gross", "margin_ratio"):
        np.testing.assert_array_equal(one.series[name], other.series[name])
    np.testing.assert_array_equal(one.leg_series["position"] * scale, other.leg_series["position"])
    np.testing.assert_array_equal(one.leg_series["liquidation_price"], other.leg_series["liquidation_price"])
    np.testing.assert_array_equal(one.fills["quantity"] * scale, other.fills["quantity"])


@both
@M.some(60)
@given(M.recipes_with(limits=False, pairs=False, fees=False), st.randoms(use_true_random=False))
def test_symbols_have_no_order(engine: Engine, recipe: Any, random: Any) -> None:
    """Legs that do not share cash in a bar: all isolated, or all cross. Insurance and fees come from shared cash."""
    modes = {"mixed": "isolated", "cross": "cross", "isolated": "isolated"}[recipe.modes]
    calm = replace(recipe, modes=modes, stops=recipe.stops and modes == "isolated", kinds="linear")
    calm = replace(calm, symbols=2 + recipe.seed % 3)
    prepared, decisions = M.made(calm)
    order = list(range(prepared.k))
    random.shuffle(order)
    one, other = engine(prepared, decisions), engine(*permuted(prepared, decisions, order))
    scale = 1e-9 * prepared.equity
    for name in ("equity", "wallet"):
        np.testing.assert_allclose(one.series[name], other.series[name], rtol=1e-9, atol=scale, err_msg=name)
    largest = np.abs(one.leg_series["position"]).max(axis=0, initial=0.0)
    a, b = one.leg_series["position"], np.empty_like(one.leg_series["position"])
    b[:, order] = other.leg_series["position"]
    assert (np.abs(a - b) <= 1e-9 * largest).all()


def permuted(prepared: Prepared, decisions: Decisions, order: list[int]) -> tuple[Prepared, Decisions]:
    """The same market with its symbols in another order."""
    place = np.argsort(order)

    def columns(thing: Any) -> Any:
        return replace(thing, **{f.name: moved(getattr(thing, f.name)) for f in fields(thing)})

    def moved(value: Any) -> Any:
        return value[..., order] if isinstance(value, np.ndarray) and value.shape[-1:] == (len(order),) else value

    def renumbered(table: Any, *keys: str) -> Any:
        table = table.copy()
        table["symbol"] = place[table["symbol"]]
        return table[np.lexsort([table[key] for key in reversed(keys)])]

    pair = prepared.contracts.pair[order]
    made = M.with_rules(
        prepared,
        bars=columns(prepared.bars),
        detail=None if prepared.detail is None else columns(prepared.detail),
        taking=columns(prepared.taking),
        volume=moved(prepared.volume),
        contracts=replace(columns(prepared.contracts), pair=np.where(pair < 0, -1, place[pair])),
        events=renumbered(prepared.events, "bar", "inside", "detail", "symbol"),
        tier_tables=renumbered(prepared.tier_tables, "symbol", "bar"),
    )
    return made, columns(decisions)


# ---- time -----------------------------------------------------------------------------------------------


@both
@M.some(60)
@given(M.recipes, M.recipes, st.integers(1, 59))
def test_later_data_changes_nothing_before(engine: Engine, recipe: Any, other: Any, bars: int) -> None:
    """Two markets that are one for some bars, and two accounts on them."""
    prepared, decisions = M.made(recipe)
    assume(bars < prepared.n)
    later, wishes = M.made(replace(recipe, seed=other.seed))
    joined = spliced(prepared, later, bars)
    targets = replace(
        decisions,
        **{
            f.name: np.concatenate([getattr(decisions, f.name)[:bars], getattr(wishes, f.name)[bars:]])
            for f in fields(decisions)
            if getattr(decisions, f.name) is not None and getattr(wishes, f.name) is not None
        },
    )
    same_bits(engine(prepared, decisions), engine(joined, targets), bars)


def spliced(early: Prepared, late: Prepared, bar: int) -> Prepared:
    """`early` until the bar, then prices, costs, volumes, settlements and delistings of `late`."""

    def joined(a: Any, b: Any, at: int) -> Any:
        return replace(
            a, **{f.name: np.concatenate([getattr(a, f.name)[:at], getattr(b, f.name)[at:]]) for f in arrays(a)}
        )

    events = [
        table[keep]
        for table, keep in ((early.events, early.events["bar"] < bar), (late.events, late.events["bar"] >= bar))
    ]
    tables = early.tier_tables[early.tier_tables["bar"] < bar]
    contracts = early.contracts
    gone = np.where(contracts.last_bar < bar, contracts.last_bar, -1)
    detail = early.detail
    return M.with_rules(
        early,
        bars=joined(early.bars, late.bars, bar),
        taking=joined(early.taking, late.taking, bar),
        volume=np.concatenate([early.volume[:bar], late.volume[bar:]]),
        events=np.concatenate(events),
        tier_tables=tables,
        contracts=replace(contracts, last_bar=gone),
        detail=None if detail is None else joined(detail, late.detail, int(early.detail_first[bar])),
    )


def arrays(thing: Any) -> list[Any]:
    return [f for f in fields(thing) if isinstance(getattr(thing, f.name), np.ndarray)]


@both
@M.some(60)
@given(
    M.recipes_with(
        symbols=1, modes="cross", maintenance=False, costs=False, fees=False, participation=0.0, detail=0, missing=False
    ),
    st.sampled_from(["linear", "inverse"]),
    st.integers(2, 5),
)
def test_total_funding_knows_no_bar_size(engine: Engine, recipe: Any, kind: str, steps: int) -> None:
    """Settlements carry their prices; the position is opened where both kinds of bars open."""
    calm = replace(
        recipe, kinds=kind, bars=steps * (recipe.bars // steps + 2), delay=0, warmup=0, leverage=0.0, lots=False
    )
    calm = replace(
        calm, deleveraging=False, small_orders=False, stops=False, limits=False, delisted=False, cash_rate=0.0
    )
    fine, _ = M.made(calm)
    rng = np.random.default_rng(recipe.seed)
    events = [
        M.event(
            bar,
            float(rng.normal() * 0.001),
            inside=inside,
            price=float(fine.bars.mark_open[bar, 0] * rng.uniform(0.9, 1.1)),
        )
        for bar in range(fine.n)
        for inside in (0, 1)
    ]
    fine = M.with_rules(fine, events=np.array(events, dtype=p.EVENT))
    coarse = merged(fine, steps)
    first = M.decisions([0.05 if bar == steps - 1 else None for bar in range(fine.n)])
    second = M.decisions([0.05 if bar == 0 else None for bar in range(coarse.n)])
    a, b = engine(fine, first), engine(coarse, second)
    assert len(a.fundings) == len(b.fundings) > 0
    np.testing.assert_allclose(a.fundings["amount"], b.fundings["amount"], rtol=1e-12)
    assert a.series["wallet"][-1] == pytest.approx(b.series["wallet"][-1], rel=1e-12)


def merged(fine: Prepared, steps: int) -> Prepared:
    """The same market on longer bars."""
    trade, mark = (
        np.stack([getattr(fine.bars, prefix + name) for name in M.PRICES], axis=2) for prefix in ("", "mark_")
    )
    events = fine.events.copy()
    events["inside"] = np.where((events["bar"] % steps == 0) & (events["inside"] == 0), 0, 1)
    events["bar"] //= steps
    bars = M.bars_of(M.merged(trade, steps), M.merged(mark, steps))
    n = len(bars)
    return M.with_rules(
        fine,
        bars=bars,
        events=events[np.lexsort([events["inside"], events["bar"]])],
        taking=replace(fine.taking, **{f.name: getattr(fine.taking, f.name)[:n] for f in arrays(fine.taking)}),
        volume=fine.volume[:n],
        day_end=fine.day_end[:n],
        detail_first=np.zeros(n + 1, dtype=np.int64),
    )


@both
@M.some(60)
@given(
    M.recipes_with(
        symbols=1,
        stops=True,
        gaps=False,
        missing=False,
        funding=False,
        deleveraging=False,
        detail=3,
        reduction=0,
        loose=False,
    )
)
def test_finer_bars_are_never_worse_than_the_coarse_worst(engine: Engine, recipe: Any) -> None:
    """A position that is opened once, on a path without gaps whose mark is the trade price."""
    prepared, decisions = M.made(replace(recipe, limits=False, delisted=False, participation=0.0, dated_tiers=False))
    target = decisions.target.copy()
    target[1:] = HOLD
    rng = np.random.default_rng(recipe.seed)
    near = recipe.violence * rng.uniform(0.05, 0.5, 2)
    stops = {name: np.full(target.shape, at) for name, at in zip(("stop_loss", "take_profit"), near, strict=True)}
    fine, coarse = (trade_is_mark(bars) for bars in (prepared.detail, prepared.bars))
    one = M.with_rules(prepared, bars=coarse, detail=fine, warmup=0, cash_rate=0.0)
    other = M.with_rules(one, detail=None, detail_first=np.zeros_like(one.detail_first))
    wishes = replace(decisions, target=target, **stops)
    finer, worst = engine(one, wishes), engine(other, wishes)
    assert finer.series["equity"][-1] >= worst.series["equity"][-1] - 1e-9 * prepared.equity


def trade_is_mark(bars: Bars) -> Bars:
    return replace(bars, **{f"mark_{name}": getattr(bars, name) for name in M.PRICES})


# ---- leverage --------------------------------------------------------------------------------------------------


@both
@M.some(60)
@given(
    M.recipes_with(
        symbols=1, modes="isolated", delay=0, participation=0.0, limits=False, funding=False, deleveraging=False
    ),
    st.floats(1.0, 60.0),
    st.floats(1.0, 60.0),
)
def test_more_leverage_never_moves_the_liquidation_away(engine: Engine, recipe: Any, a: float, b: float) -> None:
    prepared, _ = M.made(
        replace(recipe, warmup=0, missing=False, kinds="inverse" if recipe.kinds == "inverse" else "linear")
    )
    low, high = min(a, b), max(a, b)
    wish = M.decisions([-0.5 if recipe.seed % 2 else 0.5] + [None] * (prepared.n - 1))
    runs = [engine(M.with_rules(prepared, leverage=leverage), wish) for leverage in (low, high)]
    assume(all(len(run.fills) > 0 for run in runs))
    assert runs[0].fills["quantity"][0] == runs[1].fills["quantity"][0]
    held = [run.leg_series["position"][1, 0] == run.fills["quantity"][0] for run in runs]
    assume(held[0])
    if held[1]:
        mark = prepared.bars.mark_close[1, 0]
        far = [abs(run.leg_series["liquidation_price"][1, 0] - mark) for run in runs]
        assert not far[1] > far[0] * (1 + 1e-9)
        assert math.isnan(far[0]) or not math.isnan(far[1])


@both
@M.some(60)
@given(M.recipes_with(modes="isolated"))
@example(
    M.Recipe(seed=1, bars=46, symbols=3, leverage=25.0, delisted=True, funding=True, detail=3, equity=100.0)
)  # a part closed far from the mark: the wallet is below zero for a bar, the account is not
def test_an_isolated_leg_loses_its_margin_and_no_more(engine: Engine, recipe: Any) -> None:
    """From flat to flat: profit, settlements, liquidation fee and insurance against what was put in."""
    recipe = replace(
        recipe, kinds="inverse" if recipe.kinds == "inverse" else "linear", leverage=recipe.leverage or 7.0
    )
    prepared, decisions = M.made(recipe)
    made = engine(prepared, decisions)
    size = (lambda price: 1 / price) if recipe.kinds == "inverse" else (lambda price: price)
    kinds = (Cash.FILL, Cash.FUNDING, Cash.LIQUIDATION_FEE, Cash.INSURANCE)
    for j in range(prepared.k):
        ledger = made.ledger[(made.ledger["symbol"] == j) & np.isin(made.ledger["kind"], kinds)]
        fills = made.fills[made.fills["symbol"] == j]
        opened = np.abs(fills["position"]) > np.abs(fills["position"] - fills["quantity"]) * (1 + 1e-9)
        put_in = np.where(opened, np.abs(fills["quantity"]) * size(fills["price"]) / recipe.leverage, 0.0)
        flat = [-1, *np.flatnonzero(made.leg_series["position"][:, j] == 0.0), prepared.n]
        for since, end in pairwise(flat):
            lost = -ledger["amount"][(ledger["bar"] > since) & (ledger["bar"] <= end)].sum()
            margin = put_in[(fills["bar"] > since) & (fills["bar"] <= end)].sum()
            assert lost <= margin + 1e-9 * (margin + prepared.equity)
    # Each order may go a billionth beyond what is free, and a run has many. A part that is closed at a price far from
    # the mark may lose more than the wallet holds, as long as what the rest of the position has gained covers it.
    wallet = made.series["wallet"]
    gained = np.maximum(made.series["equity"] - wallet, 0.0)
    assert (wallet + gained >= -1e-7 * prepared.equity).all()


# ---- numbers that are none -----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_target_that_is_no_number_is_refused(engine: Engine, value: float) -> None:
    prepared = M.prepared(M.bars_of([(100.0,) * 4] * 4))
    with pytest.raises(BadInput, match="bar 2"):
        engine(prepared, M.decisions([1.0, None, value, None]))


@both
@M.some(60)
@given(M.recipes_with(stops=True, limits=True), st.integers(0, 2**32 - 1))
def test_stops_and_limits_that_are_no_number_are_none(engine: Engine, recipe: Any, seed: int) -> None:
    """NaN or infinite stops, offsets and lifetimes never reach the account."""
    prepared, decisions = M.made(recipe)
    rng = np.random.default_rng(seed)
    poisoned = {}
    for f in fields(decisions):
        values = getattr(decisions, f.name)
        if f.name != "target" and values is not None:
            poisoned[f.name] = np.where(
                rng.random(values.shape) < 0.4, rng.choice([NAN, INF, -INF], values.shape), values
            )
    finite(engine(prepared, replace(decisions, **poisoned)))


@both
@M.some(60)
@given(M.recipes_with(missing=True), st.integers(0, 2**32 - 1))
def test_trade_prices_of_missing_bars_are_not_looked_at(engine: Engine, recipe: Any, seed: int) -> None:
    prepared, decisions = M.made(replace(recipe, detail=0))
    rng = np.random.default_rng(seed)
    absurd = {
        name: np.where(prepared.bars.present, getattr(prepared.bars, name), rng.uniform(1e-3, 1e3)) for name in M.PRICES
    }
    poisoned = M.with_rules(prepared, bars=replace(prepared.bars, **absurd))
    same_bits(engine(prepared, decisions), engine(poisoned, decisions))


@both
@M.some(60)
@given(M.recipes)
def test_every_number_of_a_run_is_finite_or_says_that_there_is_none(engine: Engine, recipe: Any) -> None:
    finite(engine(*M.made(recipe)))


@M.some(120)
@given(
    M.recipes_with(kinds="linear", delisted=False, missing=False, detail=0, maintenance=True),
    st.sampled_from(M.COLUMNS),
    st.sampled_from([NAN, INF, -INF, 0.0, -1.0, 1e30, 1e-30]),
    st.floats(0.01, 1.0),
)
def test_absurd_numbers_are_refused_or_contained(recipe: Any, name: str, value: float, share: float) -> None:
    """Whatever stands in the bars, either there is no run, in words, or all that it says is finite."""
    columns = M.columns_of(recipe)
    rng = np.random.default_rng(recipe.seed)
    columns[name] = np.where(rng.random(columns[name].shape) < share, value, columns[name])
    exposure = rng.choice([-2.0, 0.0, 1.0], columns["close"].shape)
    with suppress(UnwindError):
        finite(simulate(M.market_of(columns), exposure=exposure, venue=VENUE, account=Account(leverage=5.0)).run)


def finite(made: Run) -> None:
    for name in ("equity", "wallet", "exposure", "gross"):
        assert np.isfinite(made.series[name]).all(), name
    assert np.isfinite(made.leg_series["position"]).all()
    held = made.leg_series["position"] != 0.0
    assert (np.isfinite(made.leg_series["entry_price"]) == held).all()
    assert (np.isfinite(made.leg_series["liquidation_price"]) <= held).all()
    for name in M.TABLES:
        table = getattr(made, name)
        for column in set(table.dtype.names) - {"bankruptcy"}:
            assert np.isfinite(table[column]).all(), (name, column)
