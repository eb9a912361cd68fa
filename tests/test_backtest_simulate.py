"""`simulate` and `measure` from outside: what they refuse and in which words, what they warn of, what they agree in."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from backtest import HOLD, Account, Costs, Strategy, simulate
from backtest.engine import measure
from backtest.venue import Fees, Tier, Venue
from data import clock
from data.align import Bars
from data.errors import BadInput, UnwindError
from data.market import Market, SymbolData

pytestmark = pytest.mark.kernel

T0, H = clock.moment("2024-01-01"), clock.HOUR
PERP, OTHER, SPOT = "BTC/USDT:USDT", "ETH/USDT:USDT", "BTC/USDT"
VENUE = Venue("test", "linear", Fees(0.0, 0.0, 0.0), (Tier(0.0, 1e12, 0.01, 50.0),))
EASY: dict[str, Any] = {"venue": VENUE, "costs": Costs.none()}


def bars(prices: list[float], **own: list[float]) -> Bars:
    """Bars that open at the close before and reach no further than open and close."""
    c = np.array(prices, dtype=float)
    o = np.concatenate([c[:1], c[:-1]])
    columns = {"open": o, "high": np.maximum(o, c), "low": np.minimum(o, c), "close": c, "volume": np.full(len(c), 1e6)}
    columns |= {name: np.array(values, dtype=float) for name, values in own.items()}
    return Bars(H, T0 + np.arange(len(c)) * H, **columns)


def rows_of(whole: Bars, rows: list[int]) -> Bars:
    columns = (getattr(whole, name)[rows] for name in ("open", "high", "low", "close", "volume"))
    return Bars(whole.interval, whole.ts[rows], *columns)


def market(**symbols: list[float]) -> Market:
    names = {"perp": PERP, "other": OTHER, "spot": SPOT}
    data = {names[name]: SymbolData(candles=bars(prices)) for name, prices in symbols.items()}
    n = len(next(iter(symbols.values())))
    return Market.build("test", data, "1h", T0, T0 + n * H)


def steps(n: int, seed: int = 3) -> list[float]:
    rng = np.random.default_rng(seed)
    return list(100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(n))))


class Turn(Strategy):
    """Long above its mean, else short."""

    length: int = 12
    size: float = 1.0
    trailing_stop: float = 0.02

    def features(self, market: Market) -> dict[str, Any]:
        return {"above": market.close - pd.Series(market.close).rolling(self.length, min_periods=1).mean().to_numpy()}

    @staticmethod
    def decide(position: float, above: float, size: float) -> float:
        if position == 0.0:
            return size if above > 0.0 else -size
        if position * above < 0.0:
            return 0.0
        return HOLD


# ---- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exposure", "words"),
    [
        (np.ones(9), "exposure has 9 values, the market 10 bars"),
        (np.ones((10, 3)), "exposure is (10, 3), and the market has 10 bars of 1 symbols"),
        ([1.0] * 4 + [float("nan")] + [1.0] * 5, "is NaN: write 0 to be flat"),
        ([1.0] * 4 + [float("inf")] + [1.0] * 5, "exposure of BTC/USDT:USDT at 2024-01-01 04:00"),
        (["long"] * 10, "no array of numbers"),
        (pd.Series(1.0, index=pd.date_range("2024-01-01", periods=10, freq="2h")), "is stamped 2024-01-01 02:00"),
        (
            pd.Series(1.0, index=pd.date_range("2024-01-01", periods=20, freq="30min")),
            "reindex it to the market's bars",
        ),
        (pd.Series(1.0, index=list("abcdefghij")), "the index of exposure is no time"),
        (pd.DataFrame({"BTC/USDT:USDC": [1.0] * 10}), "did you mean BTC/USDT:USDT"),
    ],
)
def test_exposure_that_does_not_fit_is_refused_in_words(exposure: Any, words: str) -> None:
    with pytest.raises(BadInput, match=re.escape(words)) as refused:
        simulate(market(perp=steps(10)), exposure=exposure, **EASY)
    assert len(str(refused.value)) < 250


def test_exposure_of_several_symbols_goes_by_its_columns() -> None:
    both = market(perp=steps(10), other=steps(10, seed=4))
    frame = pd.DataFrame({OTHER: [0.5] * 10, PERP: [0.0] * 10})
    result = simulate(both, exposure=frame, **EASY)
    assert result.positions[PERP].abs().max() == 0.0
    assert result.positions[OTHER].iloc[-1] > 0.0
    with pytest.raises(BadInput, match=f"no column for {PERP}"):
        simulate(both, exposure=frame[[OTHER]], **EASY)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "give a strategy or exposure"),
        ({"exposure": 1.0, "strategy": Turn}, "give a strategy or exposure"),
        ({"exposure": 1.0, "venue": "binanse"}, "binance"),
        ({"exposure": 1.0, "venue": 3}, "write a name"),
        ({"exposure": 1.0, "costs": 0.001}, "Costs.impact()"),
        ({"exposure": 1.0, "account": 10_000}, "Account(equity=10_000"),
        ({"exposure": 1.0, "warmup": -1}, "0 or more"),
        ({"strategy": "turn"}, "is no strategy"),
    ],
)
def test_terms_that_are_none_are_refused_in_words(more: dict[str, Any], words: str) -> None:
    with pytest.raises(UnwindError, match=re.escape(words)):
        simulate(market(perp=steps(10)), **more)


def test_a_frame_is_no_market() -> None:
    frame: Any = pd.DataFrame({"close": [1.0, 2.0]})
    with pytest.raises(BadInput, match=r"a DataFrame, no Market: build one with"):
        simulate(frame, exposure=1.0)


@pytest.mark.parametrize("field", ["open", "close"])
def test_an_open_far_outside_of_its_bar_is_no_price(field: str) -> None:
    prices = [100.0] * 6
    odd = bars(prices, **{field: [100.0] * 5 + [1e30]}, high=[101.0] * 6, low=[99.0] * 6)
    made = Market.build("test", {PERP: SymbolData(candles=odd)}, "1h", T0, T0 + 6 * H)
    with pytest.raises(BadInput, match=rf"{field} is 1e\+30 at 2024-01-01 05:00: .* no price of a bar from 99 to 101"):
        simulate(made, exposure=1.0, **EASY)


# ---- what it warns of ------------------------------------------------------------------------------


def test_cash_that_is_lent_against_spot_is_said() -> None:
    """Bought and sold short: when the price doubles, a part of the short is closed at a loss above the wallet."""
    both = market(perp=[100.0, 100.0, 100.0, 150.0, 250.0, 250.0], spot=[100.0, 100.0, 100.0, 150.0, 250.0, 250.0])
    exposure = pd.DataFrame({PERP: [-0.8, -0.8, -0.8, -0.4, -0.4, -0.4], SPOT: [0.8] * 6})
    account = Account(equity=1000.0, leverage=10.0, mode="cross", collateral_weight=0.95)
    result = simulate(both, exposure=exposure, account=account, **EASY)
    below = int((result.wallet < 0.0).sum())
    assert below > 0
    assert any(f"the wallet was below zero at {below} closes" in w and "no interest" in w for w in result.warnings)


def test_ruin_is_said_with_its_time() -> None:
    result = simulate(
        market(perp=[100.0, 100.0, 100.0, 80.0, 60.0, 60.0]),
        exposure=5.0,
        account=Account(leverage=5.0),
        **EASY,
    )
    assert result.metrics["ruined"] == 1.0
    assert any(w.startswith("ruined at 2024-01-01 03:00") for w in result.warnings)


# ---- one engine ------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_many_sets_at_once_are_each_set_alone(threads: int) -> None:
    made = market(perp=steps(900))
    sets = [Turn(length=n, size=s, trailing_stop=t) for n in (5, 20) for s in (0.5, 2.0) for t in (0.01, 0.03)]
    table = measure(made, sets, account=Account(leverage=3.0), threads=threads, at_a_time=3, **EASY)
    for one, (_, row) in zip(sets, table.iterrows(), strict=True):
        alone = simulate(made, one, account=Account(leverage=3.0), **EASY).metrics
        assert alone["trades"] > 20
        pd.testing.assert_series_equal(row, alone[row.index], rtol=1e-9, atol=1e-9, check_names=False)


def test_progress_goes_to_a_callable_of_the_caller_s() -> None:
    seen: list[int] = []
    simulate(market(perp=steps(300)), Turn(), progress=seen.append, **EASY)
    assert seen == sorted(seen)
    assert seen[-1] == 300


# ---- targets, features, decisions --------------------------------------------------------------------


def test_a_target_of_a_missing_bar_is_decided_at_the_next_one() -> None:
    """Flat from bar 11 on, which is missing: sold after bar 12."""
    holey = rows_of(bars(steps(48)), [i for i in range(48) if i != 11])
    made = Market.build("test", {PERP: SymbolData(candles=holey)}, "1h", T0, T0 + 48 * H)
    result = simulate(made, exposure=np.where(np.arange(48) < 11, 2.0, 0.0), **EASY)
    assert result.positions[PERP].iloc[12] > 0.0
    assert (result.positions[PERP].iloc[13:] == 0.0).all()


def test_a_constant_target_trades_after_the_warm_up_and_from_the_listing() -> None:
    late = simulate(market(perp=steps(20)), exposure=1.0, warmup=10, **EASY)
    assert late.run.fills["bar"].tolist() == [11]
    listed = rows_of(bars(steps(20, seed=4)), list(range(5, 20)))
    data = {PERP: SymbolData(candles=bars(steps(20))), OTHER: SymbolData(candles=listed)}
    both = simulate(Market.build("test", data, "1h", T0, T0 + 20 * H), exposure=0.5, **EASY)
    assert both.run.fills[["bar", "symbol"]].tolist() == [(1, 0), (6, 1)]


def test_a_warm_up_that_leaves_nothing_is_refused() -> None:
    for given in ({"exposure": 1.0}, {"strategy": Turn}):
        with pytest.raises(BadInput, match="warm-up of 20 bars leaves none of 20"):
            simulate(market(perp=steps(20)), warmup=20, **given, **EASY)


BUFFER = np.zeros(400)


class Reuses(Strategy):
    """Fills one array again and again."""

    speed: float = 3.0

    def features(self, market: Market) -> dict[str, Any]:
        BUFFER[:] = np.sin(np.arange(len(market)) / self.speed)
        return {"wave": BUFFER}

    @staticmethod
    def decide(wave: float) -> float:
        return wave


def test_sets_whose_features_share_an_array_are_apart() -> None:
    made, sets = market(perp=steps(400)), [Reuses(speed=3.0), Reuses(speed=20.0)]
    alone = [simulate(made, one, **EASY).metrics["total_return"] for one in sets]
    assert measure(made, sets, **EASY)["total_return"].tolist() == pytest.approx(alone, rel=1e-12)
    assert alone[0] != pytest.approx(alone[1], rel=0.1)


def test_a_feature_on_other_times_is_refused() -> None:
    class Backwards(Turn):
        def features(self, market: Market) -> dict[str, Any]:
            times = pd.DatetimeIndex(market.ts.astype("datetime64[ns]"))
            return {"above": pd.Series(market.close, index=times).iloc[::-1]}

    with pytest.raises(BadInput, match="above has another index than the market's bars"):
        simulate(market(perp=steps(30)), Backwards, **EASY)


def test_plain_decide_divides_by_zero_as_the_compiled_one_does() -> None:
    class Divides(Turn):
        @staticmethod
        def decide(position: float, above: float, size: float) -> float:
            return size if 1.0 / position > 1.0 else HOLD

    made = market(perp=steps(60))
    runs = [simulate(made, Divides(trailing_stop=0.9), jit=jit, **EASY).run.fills for jit in (True, False)]
    assert len(runs[0]) == 1
    assert runs[0].tobytes() == runs[1].tobytes()


def test_distance_to_liquidation_is_that_of_the_finer_bars() -> None:
    """Coarse marks never fall below 99, the finer ones do: every bar alike, whether something happens in it or not."""
    n, m, quarter = 6, 24, H // 4
    coarse = bars([100.0] * n, high=[101.0] * n, low=[99.0] * n)
    lows = np.where(np.arange(m) % 4 == 2, 92.0, 99.5)
    flat = np.full(m, 100.0)
    fine = Bars(quarter, T0 + np.arange(m) * quarter, flat, flat + 0.5, lows, flat, flat)
    end = T0 + n * H
    made = Market.build("test", {PERP: SymbolData(candles=coarse)}, "1h", T0, end)
    finer = Market.build("test", {PERP: SymbolData(candles=fine)}, "15m", T0, end)
    result = simulate(made, exposure=5.0, detail=finer, account=Account(leverage=10.0), **EASY)
    distance = result.margin_distance.to_numpy()
    level = result.run.leg_series["liquidation_price"][1, 0]
    assert np.isnan(distance[0])
    np.testing.assert_allclose(distance[1:], (92.0 - level) / 92.0, rtol=1e-12)


# ---- what a fingerprint knows --------------------------------------------------------------------------


def test_a_fingerprint_changes_with_features_and_with_what_decide_uses() -> None:
    made = market(perp=steps(60))
    ids = []
    for level in (1.0, 2.0):
        table = np.array([level, 0.0])

        class Wave(Turn):
            def features(self, market: Market, level: float = level) -> dict[str, Any]:
                return {"above": np.sin(np.arange(len(market)) * level)}

        def levelled(position: float, above: float, size: float) -> float:
            return table[0] * size  # noqa: B023 - the array of this round is meant

        Reads = type("Reads", (Turn,), {"decide": staticmethod(levelled)})
        space: dict[str, Any] = {"Turn": Turn}
        exec(f"class Typed(Turn):\n    @staticmethod\n    def decide(position):\n        return {level}\n", space)
        for one in (Wave, Reads, space["Typed"]):
            first, again = (simulate(made, one, **EASY).fingerprint_id for _ in range(2))
            assert first == again
            ids.append(first)
    assert len(set(ids)) == 6


PERPS = {"perp": steps(60)}
CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a price": {"market": {"perp": [*steps(59), 100.0]}},
    "length": {"market": {"perp": steps(61)}},
    "a symbol's name": {"market": {"other": steps(60)}},
    "venue": {"venue": replace(VENUE, fees=Fees(0.0, 0.0001, 0.0))},
    "account": {"account": Account(delay=1)},
    "costs": {"costs": Costs.none(taker=0.0001)},
    "parameters": {"strategy": Turn(size=1.5)},
    "warm-up": {"warmup": 3},
    "exposure": {"strategy": None, "exposure": 1.0},
    "other exposure": {"strategy": None, "exposure": 1.5},
    "deleveraging": {"adl": [("2024-01-01 05:00", PERP, "long", 0.5, None)]},
}


def test_every_input_has_its_own_fingerprint() -> None:
    ids = {}
    for name, change in CHANGES.items():
        given = {"strategy": Turn(), **EASY, **change}
        made = market(**given.pop("market", PERPS))
        ids[name] = simulate(made, given.pop("strategy"), **given).fingerprint_id
    assert len(set(ids.values())) == len(CHANGES), ids
    assert all(re.fullmatch("[0-9a-f]{12}", one) for one in ids.values())
