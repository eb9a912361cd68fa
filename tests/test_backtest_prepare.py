"""backtest.prepare: from a market, a venue, an account and costs to the arrays of one simulation."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.account import Account
from backtest.costs import Costs
from backtest.prepare import (
    ADL_EVENT,
    CONVENTIONS,
    CROSS,
    FUNDING_EVENT,
    INVERSE,
    ISOLATED,
    LINEAR,
    REDUCE,
    REDUCE_FRACTION,
    SPOT,
    WORST,
    Prepared,
    prepare,
)
from backtest.prepare import MARKET as MARKET_RESIDUAL
from backtest.venue import Fees, Funding, Liquidation, SymbolTiers, Tier, Venue
from data import clock
from data.align import Bars
from data.errors import BadInput, NotFound, UnwindError
from data.market import Flow, Market, Points, Settlements, SymbolData
from data.market_input import TIER

pytestmark = pytest.mark.kernel

MIN, H, DAY = clock.MINUTE, clock.HOUR, clock.DAY
T0 = clock.moment("2024-01-01")
BTC, ETH, SPOT_BTC, COIN = "BTC/USDT:USDT", "ETH/USDT:USDT", "BTC/USDT", "BTC/USD:BTC"
NAN, INF = float("nan"), float("inf")

LINEAR_VENUE = Venue(
    "test-linear",
    "linear",
    Fees(0.0002, 0.0005, 0.0125),
    tiers=(Tier(0.0, 50_000.0, 0.004, 125.0), Tier(50_000.0, INF, 0.005, 100.0, 50.0)),
    tiers_as_of="2025-08-01",
)
INVERSE_VENUE = replace(LINEAR_VENUE, name="test-inverse", contract="inverse")
PRICES = ("open", "high", "low", "close")
MARKS = ("mark_open", "mark_high", "mark_low", "mark_close")


# ---- made-up markets ---------------------------------------------------------------------------


def bars(prices: list[float], interval: int = H, start: int = T0, rows: list[int] | None = None, **own: Any) -> Bars:
    """Bars that close at these prices and open at the one before, of volume 10; `rows` of them, or all."""
    c = np.array(prices, dtype=float)
    o = np.concatenate([c[:1], c[:-1]])
    columns = {"open": o, "high": np.maximum(o, c) * 1.01, "low": np.minimum(o, c) * 0.99, "close": c}
    columns["volume"] = np.full(len(c), 10.0)
    columns |= {name: np.array(values, dtype=float) for name, values in own.items()}
    at = np.arange(len(c)) if rows is None else np.array(rows)
    return Bars(interval, start + at * interval, **{name: a[at] for name, a in columns.items()})


def funding(hours: list[float], rate: Any = 0.0001, price: Any = NAN, off: int = 0) -> Settlements:
    ts = T0 + (np.array(hours) * H).astype(np.int64) + off
    k = len(ts)
    full = [np.broadcast_to(np.asarray(a, dtype=float), k).copy() for a in (rate, 8.0, price)]
    return Settlements(ts, ts, ts, *full)


def tiers(*tables: tuple[int, int, list[tuple[float, float, float]]]) -> np.ndarray:
    """(valid_from, known_at, [(floor, mmr, cum)]) of each table."""
    found = []
    for valid, known, brackets in tables:
        rows = np.zeros(len(brackets), TIER)
        rows["valid_from"], rows["known_at"], rows["max_leverage"] = valid, known, 50.0
        for name, values in zip(("floor", "mmr", "cum"), zip(*brackets, strict=True), strict=True):
            rows[name] = values
        rows["cap"] = [*rows["floor"][1:], NAN]
        found.append(rows)
    return np.concatenate(found)


def market(n: int = 24, interval: int = H, start: int = T0, **symbols: SymbolData) -> Market:
    """By default one symbol with one bar an hour and a settlement every eight."""
    data = {NAMES.get(name, name): one for name, one in symbols.items()} or {BTC: whole(n)}
    return Market.build("binance", data, interval, start, start + n * interval)


NAMES = {"btc": BTC, "eth": ETH, "spot": SPOT_BTC, "coin": COIN}


def whole(n: int = 24, interval: int = H, **more: Any) -> SymbolData:
    kinds = {"candles": bars([100.0 + i for i in range(n)], interval), "funding": funding([0, 8, 16])} | more
    return SymbolData(**kinds)


def ready(made: Market, **more: Any) -> Prepared:
    return noted(made, **more)[0]


def noted(made: Market, **more: Any) -> tuple[Prepared, list[str]]:
    arguments = {"venue": LINEAR_VENUE, "account": Account(), "costs": Costs.none()} | more
    return prepare(made, arguments.pop("venue"), arguments.pop("account"), arguments.pop("costs"), **arguments)


def warnings(made: Market, **more: Any) -> list[str]:
    return [note for note in noted(made, **more)[1] if note.split(":")[0] not in CONVENTIONS]


def says(notes: list[str], words: str) -> bool:
    return any(words in note for note in notes)


# ---- bars --------------------------------------------------------------------------------------


def test_a_market_without_holes_is_not_copied():
    made = market()
    prepared = ready(made)
    for name in (*PRICES, *MARKS, "present"):
        values = getattr(prepared.bars, name)
        assert values.shape == (24, 1)
        assert np.shares_memory(values, getattr(made, name)), name
    assert np.shares_memory(prepared.volume, made.volume)
    assert (prepared.n, prepared.k) == (24, 1)


def test_arrays_are_contiguous_and_read_only_whatever_they_are_made_of():
    holes = whole(candles=bars([100.0] * 24, rows=[0, 1, 2, 5, 20]))
    for made in (market(), market(btc=holes), market(btc=holes, eth=whole()), market()[3:20]):
        prepared = ready(made, costs=Costs.impact(), venue=LINEAR_VENUE)
        groups = [prepared, prepared.bars, prepared.taking, prepared.contracts]
        arrays = [getattr(g, f.name) for g in groups for f in fields(g)]
        arrays = [a for a in arrays if isinstance(a, np.ndarray)]
        assert len(arrays) > 20
        for array in arrays:
            assert array.flags.c_contiguous
            assert not array.flags.writeable


def test_a_missing_bar_stands_at_the_last_mark_and_one_before_the_first_at_the_first():
    prices = [100.0, 101.0, 102.0, 103.0, 104.0, 105.0]
    prepared = ready(market(6, btc=SymbolData(candles=bars(prices, rows=[2, 4]))))
    assert prepared.bars.present[:, 0].tolist() == [False, False, True, False, True, False]
    for name in (*PRICES, *MARKS):
        values = getattr(prepared.bars, name)[:, 0]
        assert values[[0, 1]].tolist() == [101.0, 101.0]  # the open of the first bar
        assert values[3] == 102.0
        assert values[5] == 104.0
    assert prepared.bars.close[[2, 4], 0].tolist() == [102.0, 104.0]
    assert prepared.bars.high[4, 0] == pytest.approx(104.0 * 1.01)


def test_a_mark_goes_on_where_nothing_trades():
    marks = bars([50.0, 60.0, 70.0, 80.0])
    made = market(4, btc=SymbolData(candles=bars([100.0] * 4, rows=[0, 3]), marks=(marks,)))
    prepared = ready(made)
    assert prepared.bars.mark_close[:, 0].tolist() == [50.0, 60.0, 70.0, 80.0]
    assert prepared.bars.close[:, 0].tolist() == [100.0, 50.0, 60.0, 100.0]
    assert prepared.bars.present[:, 0].tolist() == [True, False, False, True]


def test_where_the_mark_is_missing_the_trade_price_stands_in():
    made = market(4, btc=SymbolData(candles=bars([100.0, 101.0, 102.0, 103.0]), marks=(bars([50.0] * 4, rows=[1]),)))
    prepared, notes = noted(made)
    assert prepared.bars.mark_close[:, 0].tolist() == [100.0, 50.0, 102.0, 103.0]
    assert "marks: BTC/USDT:USDT: 1 bars of mark prices, 0 of trades inside coarser mark bars, 3 of trades" in notes


def test_bars_that_do_not_contain_themselves_are_widened_and_counted():
    narrow = bars([100.0, 110.0, 120.0], high=[101.0, 105.0, 121.0], low=[99.0, 104.0, 99.0])
    mark = bars([100.0, 100.0, 100.0], low=[99.0, 99.0, 100.5])
    prepared, notes = noted(market(3, btc=SymbolData(candles=narrow, marks=(mark,))))
    assert prepared.bars.high[:, 0].tolist() == [101.0, 110.0, 121.0]
    assert prepared.bars.low[:, 0].tolist() == [99.0, 100.0, 99.0]
    assert prepared.bars.mark_low[:, 0].tolist() == [99.0, 99.0, 100.0]
    assert says(notes, f"{BTC}: 1 bars did not contain their own open and close; they were widened")
    assert says(notes, f"{BTC}: 1 mark bars did not contain")


@pytest.mark.parametrize("value", [NAN, INF, -INF, 0.0, -1.0])
@pytest.mark.parametrize("field", PRICES)
@pytest.mark.parametrize("marks", [False, True])
def test_impossible_prices_are_refused_by_name_and_time(field, value, marks):
    if np.isnan(value) and (marks or field == "close"):
        return  # no close: the bar is missing; no mark: the trade price stands in
    columns = {name: np.full(6, 100.0) for name in PRICES}
    columns[field][4] = value
    wrong = bars([100.0] * 6, **columns)
    candles = bars([100.0] * 6) if marks else wrong
    one = SymbolData(candles=candles, marks=(wrong,) if marks else ())
    with pytest.raises(BadInput) as problem:
        ready(market(6, eth=whole(6, candles=bars([100.0] * 6)), btc=one))
    words = str(problem.value)
    assert words.startswith(f"{BTC}: {'mark_' if marks else ''}{field} is {value:g} at 2024-01-01 04:00")
    assert len(words) < 200


def test_the_longest_gap_and_an_open_end_are_told():
    made = market(btc=whole(candles=bars([100.0] * 24, rows=[0, 1, 4, 5, 11, 12])))
    notes = warnings(made)
    assert says(notes, "18 of 24 bars are missing")
    assert says(notes, f"{BTC}: the longest gap is 5h from 2024-01-01 06:00")
    assert says(notes, f"{BTC}: no bars from 2024-01-01 13:00 on, and no delisting is known")


def test_a_symbol_without_any_bar_is_refused():
    with pytest.raises(BadInput, match="ETH/USDT:USDT has no bar in this market"):
        ready(market(btc=whole(), eth=SymbolData(funding=funding([8]))))
    with pytest.raises(BadInput, match="no candles"):
        ready(market(btc=SymbolData(funding=funding([8]))))


@given(st.integers(0, 10_000), st.integers(2, 30))
def test_bars_are_finite_contain_themselves_and_know_nothing_of_later_ones(seed, stop):
    made = holed(seed)
    if not made.present[:stop].any(axis=0).all():
        return
    prepared = ready(made)
    for series in (
        (prepared.bars.open, prepared.bars.high, prepared.bars.low, prepared.bars.close),
        marks_of(prepared),
    ):
        for values in series:
            assert np.isfinite(values).all()
            assert (values > 0.0).all()
        o, h, lo, c = series
        assert (h >= np.maximum(o, c)).all()
        assert (lo <= np.minimum(o, c)).all()
    part = ready(made[:stop])
    for name in (*PRICES, *MARKS, "present"):
        np.testing.assert_array_equal(getattr(part.bars, name), getattr(prepared.bars, name)[:stop], err_msg=name)


def marks_of(prepared: Prepared) -> tuple[np.ndarray, ...]:
    return tuple(getattr(prepared.bars, name) for name in MARKS)


def holed(seed: int) -> Market:
    """Two symbols of 30 bars with holes in trades and marks, volume, depth and liquidations."""
    rng = np.random.default_rng(seed)

    def one(j: int) -> SymbolData:
        close = (100.0 * np.exp(np.cumsum(rng.normal(0, 0.02, 30)))).tolist()
        kept = sorted(rng.choice(30, size=int(rng.integers(5, 31)), replace=False).tolist())
        marked = sorted(rng.choice(30, size=int(rng.integers(1, 31)), replace=False).tolist())
        ts = T0 + np.arange(0, 30 * H, H // 2)
        depth = Points(ts, ts, H // 2, {"bid_1pct": rng.random(60) * 1e5, "ask_1pct": rng.random(60) * 1e5})
        events = np.sort(T0 + rng.integers(0, 30 * H, 20))
        flow = Flow(events, events, rng.random(20) * 1e5, rng.random(20), "complete", [(T0, T0 + 30 * H)])
        volume = np.where(rng.random(30) < 0.2, NAN, rng.random(30) * 1e4)
        return SymbolData(
            candles=bars(close, rows=kept, volume=volume),
            marks=(bars((np.array(close) * (1 + rng.normal(0, 0.01, 30))).tolist(), rows=marked),) if j else (),
            funding=funding([0, 8, 16, 24]),
            depth=depth,
            liquidations=flow,
        )

    return market(30, btc=one(0), eth=one(1))


# ---- events ------------------------------------------------------------------------------------


def test_settlements_are_events_at_the_open_or_inside_their_bar():
    one = whole(funding=funding([0, 8, 16.5], rate=[0.0001, -0.0002, 0.0003], price=[NAN, 105.0, NAN]))
    prepared, notes = noted(market(btc=one))
    events = prepared.events
    assert events["bar"].tolist() == [0, 8, 16]
    assert events["inside"].tolist() == [0, 0, 1]
    assert events["rate"].tolist() == [0.0001, -0.0002, 0.0003]
    assert set(events["kind"]) == {FUNDING_EVENT}
    assert set(events["detail"]) == {-1}
    np.testing.assert_array_equal(events["price"], [NAN, 105.0, NAN])
    assert says(notes, "funding: 3 settlements, paid on mark; 2 carry no price of their own")


def test_a_venue_that_pays_on_the_index_takes_the_close_before():
    index = bars([200.0 + i for i in range(24)], rows=list(range(3, 24)))
    made = market(btc=whole(funding=funding([0, 2, 8, 16.5]), index=(index,)))
    prepared, notes = noted(made, venue=replace(LINEAR_VENUE, funding=Funding("index")))
    np.testing.assert_array_equal(prepared.events["price"], [NAN, NAN, 207.0, 215.0])
    assert says(notes, "funding: 4 settlements, paid on index")
    assert says(notes, "2 settlements have neither a price nor an index before them")
    without = noted(market(), venue=replace(LINEAR_VENUE, funding=Funding("index")))
    assert np.isnan(without[0].events["price"]).all()
    assert says(without[1], "3 settlements have neither")


def test_deleveraging_lies_among_settlements_in_order_of_time():
    adl = [
        (T0 + 8 * H + 5 * MIN, ETH, "short", 0.25, 90.0),
        ("2024-01-01T08:00", "BTCUSDT", "long", 1.0),
        (pd.Timestamp("2024-01-01 08:05"), BTC, "long", 0.5, None),
        (T0 - H, BTC, "long", 0.5, None),
        (T0 + 24 * H, BTC, "long", 0.5, None),
    ]
    made = market(btc=whole(funding=funding([8, 8.2])), eth=whole(funding=funding([8])))
    prepared, notes = noted(made, adl=adl)
    found = [
        (int(e["bar"]), int(e["inside"]), int(e["symbol"]), int(e["kind"]), float(e["rate"])) for e in prepared.events
    ]
    assert found == [
        (8, 0, 0, FUNDING_EVENT, 0.0001),
        (8, 0, 1, FUNDING_EVENT, 0.0001),
        (8, 1, 0, ADL_EVENT, 1.0),
        (8, 1, 0, ADL_EVENT, 0.5),
        (8, 1, 1, ADL_EVENT, -0.25),
        (8, 1, 0, FUNDING_EVENT, 0.0001),
    ]
    np.testing.assert_array_equal(prepared.events["price"][2:5], [NAN, NAN, 90.0])
    assert says(notes, "2 of 5 deleveraging events lie outside the market")


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ((T0, BTC, "Long", 0.5, None), "adl[0]: side is 'Long'"),
        ((T0, BTC, "long", 0.0, None), "fraction is 0.0"),
        ((T0, BTC, "long", NAN, None), "fraction is nan"),
        ((T0, BTC, "long", 0.5, -3.0), "price is -3.0"),
        ((T0, "BTX/USDT:USDT", "long", 0.5, None), "did you mean BTC/USDT:USDT?"),
        ((T0, BTC), "adl[0]: write (time"),
        ((12, BTC, "long", 0.5, None), "12 is taken as nanoseconds"),
    ],
)
def test_deleveraging_that_cannot_be_is_refused(event, words):
    with pytest.raises(UnwindError) as problem:
        ready(market(), adl=[event])
    assert words in str(problem.value)


def test_a_rate_that_is_no_number_is_refused_and_none_at_all_is_told():
    with pytest.raises(BadInput, match="funding rate at 2024-01-01 08:00 is nan"):
        ready(market(btc=whole(funding=funding([0, 8], rate=[0.1, NAN]))))
    assert says(warnings(market(btc=whole(funding=None))), f"{BTC}: no funding settlements")
    assert not says(warnings(market()), "no funding settlements")
    dated = {"BTC/USDT:USDT-240628": whole(funding=None)}
    assert not says(warnings(Market.build("binance", dated, H, T0, T0 + 24 * H)), "no funding settlements")


# ---- tiers -------------------------------------------------------------------------------------


def tables(prepared: Prepared) -> list[tuple[int, int, list[float]]]:
    """(symbol, bar, rates) of each table."""
    return [
        (int(t["symbol"]), int(t["bar"]), prepared.tier_rows["mmr"][t["first"] : t["first"] + t["count"]].tolist())
        for t in prepared.tier_tables
    ]


def test_dated_brackets_hold_from_the_first_bar_that_opens_after_they_were_known():
    dated = tiers(
        (T0 - DAY, T0 - DAY, [(0.0, 0.01, 0.0)]),
        (T0 + 3 * H, T0 + 3 * H, [(0.0, 0.02, 0.0), (1000.0, 0.03, 10.0)]),
        (T0 + 5 * H, T0 + 6 * H + 1, [(0.0, 0.04, 0.0)]),
        (T0 + 4 * H, T0 + 9 * H, [(0.0, 0.99, 0.0)]),  # an older table that became known later: never in force
        (T0 + 20 * H, T0 + 30 * H, [(0.0, 0.98, 0.0)]),  # known after the last bar
    )
    prepared, notes = noted(market(btc=whole(tiers=dated)))
    assert tables(prepared) == [(0, 0, [0.01]), (0, 3, [0.02, 0.03]), (0, 7, [0.04])]
    assert prepared.tier_rows["cap"][:3].tolist() == [INF, 1000.0, INF]
    assert prepared.tier_rows["cum"][2] == 10.0
    assert says(notes, f"maintenance: {BTC}: brackets of 2023-12-31, 2024-01-01")
    for bar, rate in ((0, 0.01), (3, 0.02), (6, 0.02), (7, 0.04), (23, 0.04)):
        in_force = market(btc=whole(tiers=dated)).tiers_at(T0 + bar * H)["mmr"]
        assert in_force[0] == rate, bar


def test_before_the_first_brackets_those_are_used_and_it_is_told():
    dated = tiers((T0 + 3 * H + 1, T0, [(0.0, 0.01, 0.0)]), (T0 + 9 * H, T0, [(0.0, 0.02, 0.0)]))
    prepared, notes = noted(market(btc=whole(tiers=dated)))
    assert tables(prepared) == [(0, 0, [0.01]), (0, 9, [0.02])]
    assert says(notes, f"{BTC}: no brackets are known before 2024-01-01 03:00")
    late = tiers((T0 + 99 * DAY, T0 + 99 * DAY, [(0.0, 0.05, 0.0)]))
    assert tables(ready(market(btc=whole(tiers=late)))) == [(0, 0, [0.05])]


def test_built_in_brackets_are_told_with_their_date_and_none_as_well():
    prepared, notes = noted(market(btc=whole(), eth=whole(tiers=tiers((T0, T0, [(0.0, 0.07, 0.0)])))))
    assert tables(prepared) == [(0, 0, [0.004, 0.005]), (1, 0, [0.07])]
    assert prepared.tier_rows["max_leverage"].tolist() == [125.0, 100.0, 50.0]
    words = "those for symbols without their own in the profile test-linear are used throughout, as of 2025-08-01"
    assert says(notes, f"{BTC}: the market holds no brackets: {words}")
    own = replace(LINEAR_VENUE, tables=(SymbolTiers(("BTC",), (Tier(0.0, INF, 0.01, 9.0),)),))
    prepared, notes = noted(market(), venue=own)
    assert tables(prepared) == [(0, 0, [0.01])]
    assert says(notes, f"{BTC}: the market holds no brackets: its own in the profile test-linear")
    bare, notes = noted(market(), venue=replace(LINEAR_VENUE, tiers=()))
    assert tables(bare) == [(0, 0, [])]
    assert says(notes, f"{BTC}: no maintenance brackets are known")


def test_whole_brackets_have_no_amount_to_subtract():
    dated = tiers((T0, T0, [(0.0, 0.01, 0.0), (1000.0, 0.02, 10.0)]))
    prepared = ready(market(btc=whole(tiers=dated)), venue=replace(LINEAR_VENUE, tier_rule="whole", tiers=()))
    assert prepared.whole_tiers
    assert (prepared.tier_rows["cum"] == 0.0).all()


def test_a_leverage_that_is_not_known_is_no_limit():
    dated = tiers((T0, T0, [(0.0, 0.01, 0.0)]))
    dated["max_leverage"] = NAN
    assert ready(market(btc=whole(tiers=dated))).tier_rows["max_leverage"].tolist() == [INF]


@pytest.mark.parametrize(
    ("field", "values", "words"),
    [
        ("floor", [10.0, 1000.0], "bracket 1 goes from 10 to 1000: it begins at 0"),
        ("floor", [0.0, 2000.0], "bracket 2 goes from 2000 to inf: it begins at 1000"),
        ("cap", [1000.0, 1000.0], "bracket 2 goes from 1000 to 1000"),
        ("mmr", [0.01, 1.0], "bracket 2 has a maintenance rate of 1"),
        ("mmr", [NAN, 0.01], "bracket 1 has a maintenance rate of nan"),
    ],
)
def test_brackets_that_do_not_fit_together_are_refused(field, values, words):
    dated = tiers((T0, T0, [(0.0, 0.01, 0.0), (1000.0, 0.02, 10.0)]))
    dated["cap"] = [1000.0, INF]
    dated[field] = values
    with pytest.raises(BadInput, match=words):
        ready(market(btc=whole(tiers=dated)))


# ---- contracts ---------------------------------------------------------------------------------


def test_what_is_traded_is_told_by_terms_by_name_or_by_the_venue():
    made = market(btc=whole(), spot=whole(funding=None))
    assert ready(made).contracts.kind.tolist() == [LINEAR, SPOT]
    coin = market(coin=whole(instrument={"contract_size": 100.0}))
    assert ready(coin, venue=INVERSE_VENUE).contracts.kind.tolist() == [INVERSE]
    plain = Market.build("user", {"XYZ": whole()}, H, T0, T0 + 24 * H)
    assert ready(plain, venue=INVERSE_VENUE).contracts.kind.tolist() == [INVERSE]
    termed = Market.build("user", {"XYZ": whole(instrument={"contract": "spot"})}, H, T0, T0 + 24 * H)
    assert ready(termed).contracts.kind.tolist() == [SPOT]


def test_a_profile_of_other_contracts_is_refused():
    with pytest.raises(BadInput, match="BTC/USD:BTC is an inverse contract, and the profile test-linear is of linear"):
        ready(market(coin=whole()))
    with pytest.raises(BadInput, match="contract is 'quanto'"):
        ready(market(btc=whole(instrument={"contract": "quanto"})))


def test_one_run_settles_in_one_currency():
    usdc = Market.build("binance", {BTC: whole(), "ETH/USDC:USDC": whole()}, H, T0, T0 + 24 * H)
    with pytest.raises(BadInput, match="BTC/USDT:USDT settles in USDT and ETH/USDC:USDC in USDC"):
        ready(usdc)
    with pytest.raises(BadInput, match="settles in USDT and BTC/USD:BTC in BTC"):
        ready(market(btc=whole(), coin=whole()))
    termed = {BTC: whole(), "XYZ": whole(instrument={"settle": "USDC"})}
    with pytest.raises(BadInput, match="XYZ in USDC"):
        ready(Market.build("binance", termed, H, T0, T0 + 24 * H))


def test_steps_and_the_smallest_order_are_in_units_of_quantity_and_settlement():
    terms = {"tick_size": 0.1, "lot_size": 0.001, "min_notional": 5.0, "contract_size": 1.0}
    linear = ready(market(btc=whole(instrument=terms), eth=whole(instrument={"tick_size": NAN, "lot_size": None})))
    assert linear.contracts.tick.tolist() == [0.1, 0.0]
    assert linear.contracts.lot.tolist() == [0.001, 0.0]
    assert linear.contracts.min_notional.tolist() == [5.0, 0.0]
    terms = {"tick_size": 0.1, "lot_size": 1.0, "min_notional": 50.0, "contract_size": 100.0}
    inverse = ready(market(coin=whole(instrument=terms)), venue=INVERSE_VENUE)
    assert inverse.contracts.lot.tolist() == [100.0]
    assert inverse.contracts.min_notional.tolist() == [0.5]  # 50 USD at 100 USD a coin
    assert (inverse.volume == 1000.0).all()  # 10 contracts of 100 USD
    assert (linear.volume == 10.0).all()


def test_an_inverse_contract_of_unknown_size_is_told():
    prepared, notes = noted(market(coin=whole(instrument={"lot_size": 1.0})), venue=INVERSE_VENUE)
    assert prepared.contracts.lot.tolist() == [1.0]
    assert (prepared.volume == 10.0).all()
    assert says(notes, f"{COIN}: the size of a contract is not known: taken as 1")


@pytest.mark.parametrize("value", [-1.0, INF])
def test_steps_that_cannot_be_are_refused(value):
    with pytest.raises(BadInput, match="tick_size is"):
        ready(market(btc=whole(instrument={"tick_size": value})))


def test_each_symbol_has_its_mode_and_spot_is_cross():
    made = market(btc=whole(), eth=whole(), spot=whole(funding=None))
    assert ready(made).contracts.mode.tolist() == [ISOLATED, ISOLATED, CROSS]
    assert ready(made, account=Account(mode="cross")).contracts.mode.tolist() == [CROSS, CROSS, CROSS]
    mixed = Account(mode={"ETHUSDT": "cross", BTC: "isolated"})
    assert ready(made, account=mixed).contracts.mode.tolist() == [ISOLATED, CROSS, CROSS]
    with pytest.raises(NotFound, match=r"mode: .*did you mean ETH/USDT:USDT\?"):
        ready(made, account=Account(mode={"ETX/USDT:USDT": "cross"}))


def test_pairs_are_mutual_and_each_leg_has_one():
    made = market(btc=whole(), eth=whole(), spot=whole(funding=None))
    assert ready(made).contracts.pair.tolist() == [-1, -1, -1]
    assert ready(made, account=Account(pairs=((SPOT_BTC, BTC),))).contracts.pair.tolist() == [2, -1, 0]
    for pairs, words in (
        (((BTC, ETH), (SPOT_BTC, BTC)), "BTC/USDT:USDT is paired twice"),
        (((BTC, BTC),), "BTC/USDT:USDT is paired twice"),
        (((BTC, "DOT/USDT:USDT"),), "pairs: the market does not hold"),
    ):
        with pytest.raises(UnwindError, match=words):
            ready(made, account=Account(pairs=pairs))


@pytest.mark.parametrize(
    ("hours", "last"), [(24.0, -1), (30.0, -1), (23.5, 23), (23.0, 22), (5.0, 4), (5.01, 5), (0.5, 0)]
)
def test_the_last_bar_of_a_delisted_symbol_holds_its_last_trade(hours, last):
    when = T0 + round(hours * H)
    made = market(btc=whole(instrument={"delisted": clock.naive(when)}))
    prepared, notes = noted(made)
    assert prepared.contracts.last_bar.tolist() == [last]
    present = prepared.bars.present[:, 0]
    assert present.sum() == (24 if last < 0 else last + 1)
    if last >= 0:
        assert (prepared.bars.close[last + 1 :, 0] == prepared.bars.mark_close[last:-1, 0]).all()
    assert not says(notes, "no delisting is known")


def test_a_symbol_that_was_delisted_before_is_refused():
    with pytest.raises(BadInput, match="was delisted at 2023-12-31 00:00, before the first bar"):
        ready(market(btc=whole(instrument={"delisted": clock.naive(T0 - DAY)})))


# ---- finer bars --------------------------------------------------------------------------------


def fine_market(
    n: int = 24 * 12, start: int = T0, rows: list[int] | None = None, name: str = BTC, end: int = 0
) -> Market:
    coarse = [100.0 + i for i in range(24)]
    close = np.repeat(coarse, 12)[: n or None].tolist()
    data = {name: SymbolData(candles=bars(close, 5 * MIN, start, rows))}
    return Market.build("binance", data, 5 * MIN, start, end or start + n * 5 * MIN)


def test_finer_bars_are_all_bars_of_the_market_in_order():
    prepared = ready(market(btc=whole(funding=funding([0, 8, 16.5]))), detail=fine_market())
    assert prepared.detail is not None
    assert prepared.detail.close.shape == (288, 1)
    assert prepared.detail_first.tolist() == [12 * i for i in range(25)]
    assert prepared.events["detail"].tolist() == [0, 96, 198]
    assert ready(market()).detail is None
    assert len(ready(market()).detail_first) == 0


def test_more_finer_bars_than_needed_are_cut_and_holes_are_filled():
    longer = fine_market(rows=[i for i in range(288) if not 36 <= i < 48 and i != 30])
    prepared, notes = noted(market()[2:20], detail=longer)
    assert prepared.detail is not None
    assert len(prepared.detail) == 18 * 12
    assert prepared.detail.present[:, 0].sum() == 18 * 12 - 13
    assert prepared.detail.close[12:24, 0].tolist() == [102.0] * 12
    assert says(notes, f"detail: {BTC}: 1 bars have no finer bars")
    assert says(notes, f"detail: {BTC}: the longest gap is 1h from 2024-01-01 03:00")


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        (lambda: market(), "detail has 1h bars, which do not divide the market's 1h bars"),
        (
            lambda: market(
                3,
                7 * MIN,
                clock.ceil(T0, 7 * MIN),
                btc=whole(3, candles=bars([1.0] * 3, 7 * MIN, clock.ceil(T0, 7 * MIN))),
            ),
            "detail has 7m bars",
        ),
        (lambda: fine_market(287), "detail must cover all of it"),
        (lambda: fine_market(start=T0 + H), "detail must cover all of it"),
        (lambda: fine_market(name=ETH), "does not hold BTC/USDT:USDT"),
    ],
)
def test_finer_bars_that_do_not_fit_are_refused(detail, words):
    with pytest.raises(UnwindError, match=words):
        ready(market(), detail=detail())


def test_finer_bars_of_another_market_are_told():
    other = Market.build("binance", {BTC: SymbolData(candles=bars([50.0] * 288, 5 * MIN))}, 5 * MIN, T0, T0 + 24 * H)
    assert says(warnings(market(), detail=other), f"detail: {BTC}: 24 closes differ from the bars' own")
    assert not says(warnings(market(), detail=fine_market()), "closes differ")


# ---- days, warm-up, rules ----------------------------------------------------------------------


@pytest.mark.parametrize("interval", [MIN, H, 7 * H, 8 * H, DAY, 7 * DAY])
@pytest.mark.parametrize("skip", [0, 1, 5])
def test_the_last_bar_of_a_day_is_the_last_that_opens_in_it(interval, skip):
    n = max(3 * DAY // interval, 8)
    start = clock.ceil(T0, interval)
    one = SymbolData(candles=bars([100.0] * n, interval, start))
    made = Market.build("binance", {BTC: one}, interval, start, start + n * interval)[skip:]
    days = [int(t) // DAY for t in [*made.ts, made.end]]
    assert ready(made).day_end.tolist() == [a != b for a, b in pairwise(days)]


def test_warm_up_is_bars_or_a_duration():
    assert ready(market(), warmup=3).warmup == 3
    assert ready(market(), warmup="5h").warmup == 5
    for warmup, words in (
        (-1, "warmup=-1"),
        (True, "warmup=True"),
        (24, "nothing is left to trade"),
        ("90m", "1h bars"),
    ):
        with pytest.raises(BadInput, match=words):
            ready(market(), warmup=warmup)


def test_rules_are_those_of_the_venue_the_account_and_the_costs():
    venue = replace(
        LINEAR_VENUE,
        closing_fee_in_maintenance=True,
        liquidation=Liquidation("fraction", 0.2, 100_000.0, "market", 2 / 3),
        assumptions=("the moon is cheese",),
    )
    account = Account(5_000.0, leverage=3.0, shortfall="reduce", path="worst", collateral_weight=0.9, delay=2)
    account = replace(account, cash_rate=0.04, participation=0.1)
    prepared, notes = noted(market(), venue=venue, account=account, costs=Costs.fixed(2, taker=0.0007))
    assert (prepared.maker, prepared.taker, prepared.closing_fee) == (0.0002, 0.0007, 0.0007)
    assert prepared.liquidation_fee == 0.0125
    assert (prepared.reduction, prepared.reduction_fraction, prepared.reduction_above) == (
        REDUCE_FRACTION,
        0.2,
        100_000.0,
    )
    assert (prepared.residual, prepared.backstop) == (MARKET_RESIDUAL, 2 / 3)
    assert (prepared.equity, prepared.leverage, prepared.delay) == (5_000.0, 3.0, 2)
    assert (prepared.shortfall, prepared.path) == (REDUCE, WORST)
    assert (prepared.collateral_weight, prepared.cash_rate, prepared.participation) == (0.9, 0.04, 0.1)
    assert not prepared.whole_tiers
    assert "assumption: the moon is cheese" in notes
    assert "fees: maker 0.0200%, taker 0.0700%" in notes
    assert "slippage: 2 bp a side" in notes
    plain = ready(market())
    assert (plain.leverage, plain.participation, plain.closing_fee) == (0.0, 0.0, 0.0)


def test_every_convention_is_told_once_and_first():
    notes = noted(market(btc=whole(tiers=tiers((T0, T0, [(0.0, 0.01, 0.0)])))), costs=Costs.impact())[1]
    heads = [note.split(":")[0] for note in notes]
    known = [head in CONVENTIONS for head in heads]
    assert known == sorted(known, reverse=True)
    assert {"marks", "maintenance", "funding", "liquidation", "fees", "slippage"} <= set(heads)
    assert says(notes, "liquidation: test-linear: on the mark, at balance <= maintenance; all at once")
    assert says(notes, "marks stood in by trades in 24 of 24 bars")  # what the market itself has to say


# ---- costs and volume --------------------------------------------------------------------------


def test_no_cost_and_a_fixed_one():
    none, fixed = ready(market()).taking, ready(market(), costs=Costs.fixed(3)).taking
    assert not none.half_spread.any()
    assert not none.a.any()
    assert not none.b.any()
    assert set(fixed.half_spread[:, 0]) == {3 * 1e-4}
    assert not fixed.a.any()
    assert none.half_spread.shape == fixed.half_spread.shape == (24, 1)


def test_impact_counts_what_it_did_not_know():
    prepared, notes = noted(market(), costs=Costs.impact(delta=0.4))
    assert prepared.taking.delta == 0.4
    assert (prepared.taking.half_spread[:3] == 25e-4).all()
    assert (prepared.taking.a[3:] > 0.0).all()
    assert says(notes, f"{BTC}: what taking costs is not known in 3 of 24 bars: 25 bp there")
    assert says(notes, f"slippage: {BTC}: depth recorded in 0% of bars")


def test_impact_of_inverse_contracts_is_in_quote_currency():
    coin = market(coin=whole(instrument={"contract_size": 100.0}))
    linear = market(btc=whole(candles=bars([100.0 + i for i in range(24)], quote_volume=[1000.0] * 24)))
    one, other = ready(coin, venue=INVERSE_VENUE, costs=Costs.impact()), ready(linear, costs=Costs.impact())
    np.testing.assert_array_equal(one.taking.a, other.taking.a)
    np.testing.assert_array_equal(one.taking.b, other.taking.b)


def test_recorded_depth_and_ticks_reach_the_model():
    ts = T0 + np.arange(24) * H
    book = Points(ts, ts, H, {"bid_1pct": np.full(24, 3e6), "ask_1pct": np.full(24, 2e6)})
    prepared = ready(market(btc=whole(depth=book, instrument={"tick_size": 1.0})), costs=Costs.impact(stress=None))
    np.testing.assert_allclose(prepared.taking.b[4:], 0.005 / 2e6)
    assert prepared.taking.half_spread[5, 0] == pytest.approx(0.5 / 104.0)


def test_models_say_what_they_need():
    silent = Market.build("user", {BTC: SymbolData(candles=replace(bars([100.0] * 9), volume=None))}, H, T0, T0 + 9 * H)
    with pytest.raises(BadInput, match=r"Costs.impact needs volume.*Costs.fixed"):
        ready(silent, costs=Costs.impact())
    with pytest.raises(BadInput, match=r"Costs.depth needs recorded depth.*Costs.impact"):
        ready(market(), costs=Costs.depth())
    with pytest.raises(BadInput, match="participation needs volume"):
        ready(silent, account=Account(participation=0.1))
    assert (ready(silent).volume == 0.0).all()


@pytest.mark.parametrize("value", [-1.0, INF])
def test_volume_that_cannot_be_is_refused(value):
    wrong = market(btc=whole(candles=bars([100.0] * 24, volume=[10.0] * 5 + [value] + [10.0] * 18)))
    for costs in (Costs.none(), Costs.impact()):
        with pytest.raises(BadInput, match=f"volume is {value:g} at 2024-01-01 05:00"):
            ready(wrong, costs=costs)


def test_volume_that_is_not_known_is_none():
    made = market(btc=whole(candles=bars([100.0] * 24, volume=[NAN] + [10.0] * 23)))
    assert ready(made).volume[:2, 0].tolist() == [0.0, 10.0]


@given(st.integers(0, 10_000), st.integers(2, 30))
def test_the_cost_of_taking_in_a_part_is_that_of_the_whole(seed, stop):
    made = holed(seed)
    if not made.present[:stop].any(axis=0).all():
        return
    whole_, part = (ready(m, costs=Costs.impact()).taking for m in (made, made[:stop]))
    for name in ("half_spread", "a", "b"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole_, name)[:stop], err_msg=name)
        assert np.isfinite(getattr(whole_, name)).all()


# ---- real history ------------------------------------------------------------------------------


@pytest.mark.real_data
def test_a_month_of_real_bars_with_marks_and_funding(shared_dir):
    span = ("2025-10-01", "2025-11-01")
    frames = {}
    for kind, name in (("candles", "candles/binance_1h"), ("mark", "mark/binance_1h"), ("funding", "funding/binance")):
        rows = pd.read_parquet(shared_dir / f"{name}.parquet")
        rows = rows[rows["symbol"].isin(["BTCUSDT", "SOLUSDT"])].rename(columns={"funding_rate": "rate"})
        when = pd.to_datetime(rows["ts"], utc=True)
        frames[kind] = rows[(when >= span[0]) & (when < span[1])]
    made = Market.from_frames(venue="binance", **frames)
    prepared, notes = noted(made, costs=Costs.impact())
    assert prepared.bars.present.all()
    assert (prepared.bars.mark_low <= prepared.bars.mark_close).all()
    assert len(prepared.events) == 2 * 93
    dear = made.ts[np.argmax(prepared.taking.a[24:, 1]) + 24]
    assert clock.iso(int(dear)).startswith("2025-10-10 22:00")
    assert not says(notes, "missing")
