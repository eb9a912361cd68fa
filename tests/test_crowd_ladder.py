"""The liquidation map: maps whose answer is known, a slow twin, causality, and the truth of simulated venues.

The twin keeps a list of vintages, each with its own levels, and asks of every one at every bar what has become of it.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest

from backtest.crowd import facts, ladder
from backtest.crowd import ladder_errors as le
from backtest.crowd.ladder import (
    HOUR_NS,
    LONG,
    SEEN,
    SHORT,
    TEXTBOOK,
    Levels,
    LiquidationMap,
    Mixture,
    Observed,
    liquidation_map,
    liquidation_maps,
    liquidation_path,
    observed_of,
)
from backtest.crowd.machine import Machine
from backtest.crowd.world import World
from backtest.margin import liquidation_size
from backtest.venue import brackets, venue
from data.errors import BadInput
from data.market import Market

TIERS = brackets((50_000.0, 0.004, 125.0), (1e9, 0.01, 50.0))
ALL = Levels(levered=1.0, tiers=TIERS, position=10_000.0)
FOREVER = 1e9
kernel = pytest.mark.kernel


def one(leverage: float, half_life: float = FOREVER) -> Mixture:
    return Mixture(((leverage, 1.0),), spread=0.0, half_life=half_life)


def bars(
    close: list[float], coins: list[float], low: list[float] | None = None, high: list[float] | None = None
) -> Observed:
    """Hours. What is open before the first change is next to nothing."""
    n = len(close)
    c = np.array(close, dtype=float)
    return Observed(
        1.0,
        np.arange(n, dtype=np.int64) * HOUR_NS,
        c if high is None else np.array(high, dtype=float),
        c if low is None else np.array(low, dtype=float),
        c,
        np.array(coins, dtype=float),
        np.full(n, np.nan),
    )


def one_increment(*after: tuple[float, float, float], price: float = 100.0, coins: float = 10.0) -> Observed:
    """30 quiet hours with nothing open, then so many coins; then hours of (low, high, close)."""
    rows = [(price, price, price)] * 31 + list(after)
    low, high, close = (list(column) for column in zip(*rows, strict=True))
    return bars(close, [0.0] * 30 + [coins] * (1 + len(after)), low, high)


def wandering(n: int = 300, seed: int = 1, gaps: bool = False) -> Observed:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(n)))
    low, high = close * np.exp(-0.01 * rng.random(n)), close * np.exp(0.01 * rng.random(n))
    coins = 1_000.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(n)))
    if gaps:
        coins[rng.random(n) < 0.2] = np.nan
        for column in (close, low, high):
            column[100:104] = np.nan
    share = np.clip(0.5 + 0.02 * np.cumsum(rng.standard_normal(n)), 0.3, 0.7)
    return Observed(1.0, np.arange(n, dtype=np.int64) * HOUR_NS, high, low, close, coins, share)


def exact(price: float, leverage: float, sign: float) -> float:
    """The level by the engine's own margin rules."""
    rows = np.array([(t.floor, t.cap, t.mmr, t.max_leverage, t.cum) for t in TIERS])
    q = ALL.position / price
    return liquidation_size(sign * q, price, ALL.position / leverage, rows, 0, len(rows), 0.0, price)


# --- known answers -----------------------------------------------------------------------------------


@kernel
@pytest.mark.parametrize("leverage", [2.0, 5.0, 10.0, 25.0, 100.0])
def test_one_increment_stands_at_the_level_that_the_margin_rules_say(leverage: float) -> None:
    made = liquidation_map(one_increment(), leverage=one(leverage), levels=ALL)
    for sign, notional in ((1.0, made.long_notional), (-1.0, made.short_notional)):
        place = int(np.argmax(notional))
        assert made.levels[place] == pytest.approx(exact(100.0, leverage, sign), rel=1.01 * ALL.step)
        assert notional[place] == pytest.approx(10.0 * made.levels[place], rel=1e-6)
        assert notional.sum() == pytest.approx(notional[place], rel=1e-6)  # and nothing elsewhere


@kernel
def test_a_larger_position_is_liquidated_sooner() -> None:
    small, large = (
        liquidation_map(one_increment(), leverage=one(20.0), levels=replace(ALL, position=p)) for p in (10_000, 500_000)
    )
    assert large.levels[np.argmax(large.long_notional)] > small.levels[np.argmax(small.long_notional)]


@kernel
def test_leverage_above_the_bracket_is_cut_to_it() -> None:
    allowed, asked = (liquidation_map(one_increment(), leverage=one(x), levels=ALL) for x in (125.0, 400.0))
    assert np.array_equal(allowed.long_notional, asked.long_notional)


@kernel
def test_textbook_tiers_are_four_levels_a_side() -> None:
    made = liquidation_map(one_increment(), leverage=replace(TEXTBOOK, half_life=FOREVER), levels=ALL)
    assert (made.long_notional > 1.0).sum() == (made.short_notional > 1.0).sum() == 4


@kernel
def test_what_the_low_reaches_is_gone_and_was_triggered() -> None:
    level = exact(100.0, 10.0, 1.0)
    near, at = level * (1.0 + 2 * ALL.step), level * (1.0 - ALL.step)
    kept = one_increment((near, 101.0, 100.0), (100.0, 100.0, 100.0))
    met = one_increment((at, 101.0, 100.0), (100.0, 100.0, 100.0))
    for seen, gone in ((kept, 0.0), (met, 1.0)):
        path = liquidation_path(seen, leverage=one(10.0), levels=ALL)
        assert path.long_triggered[31] == pytest.approx(gone * 10.0 * level, rel=ALL.step, abs=1e-6)
        assert path.long_triggered[32] == 0.0
        assert path.short_triggered[31] == 0.0
    # what was thrown out came back at the price of that hour, since open interest did not fall; it stands lower then
    lower = one_increment((at, 101.0, 95.0), (95.0, 95.0, 95.0))
    made = liquidation_map(lower, leverage=one(10.0), levels=ALL)
    assert made.levels[np.argmax(made.long_notional)] == pytest.approx(exact(95.0, 10.0, 1.0), rel=1.01 * ALL.step)
    assert made.levels[np.argmax(made.short_notional)] == pytest.approx(exact(100.0, 10.0, -1.0), rel=1.01 * ALL.step)


@kernel
def test_what_the_high_reaches_are_shorts() -> None:
    level = exact(100.0, 20.0, -1.0)
    path = liquidation_path(one_increment((99.0, level * 1.001, 100.0)), leverage=one(20.0), levels=ALL)
    assert path.short_triggered[31] == pytest.approx(10.0 * level, rel=ALL.step)
    assert path.long_triggered[31] == 0.0


@kernel
def test_half_is_closed_by_choice_in_a_half_life_and_opened_again_at_the_price_of_then() -> None:
    hours = 24
    seen = one_increment(*[(100.0, 102.0, 102.0)] * hours)
    made = liquidation_map(seen, leverage=one(5.0, half_life=hours), levels=ALL)
    old, new = (
        made.long_notional[np.abs(np.log(made.levels / exact(price, 5.0, 1.0))) < 1.1 * ALL.step].sum()
        for price in (100.0, 102.0)
    )
    assert old == pytest.approx(0.5 * 10.0 * exact(100.0, 5.0, 1.0), rel=2e-3)
    assert new == pytest.approx(0.5 * 10.0 * exact(102.0, 5.0, 1.0), rel=2e-3)


@kernel
def test_a_fall_of_open_interest_shrinks_everything_alike() -> None:
    before = one_increment((100.0, 100.0, 100.0), (100.0, 100.0, 100.0))
    held = before.open_interest.copy()
    held[-1] *= 0.4
    full, less = (
        liquidation_map(seen, leverage=SEEN, levels=ALL) for seen in (before, before._replace(open_interest=held))
    )
    assert less.long_notional == pytest.approx(0.4 * full.long_notional, rel=1e-9)
    assert less.short_notional == pytest.approx(0.4 * full.short_notional, rel=1e-9)


@kernel
def test_the_lighter_side_of_the_crowd_is_made_up_by_dealers() -> None:
    even = one_increment()
    long_ = even._replace(long_share=np.full(len(even.close), 0.6))
    a, b = (liquidation_map(seen, leverage=one(10.0), levels=ALL) for seen in (even, long_))
    assert b.long_notional == pytest.approx(a.long_notional)
    assert b.short_notional == pytest.approx(a.short_notional * 0.4 / 0.6)


@kernel
def test_leverage_that_is_closed_sooner_is_opened_more_often() -> None:
    """So that what is open keeps the shares of the mixture, if nothing is met."""
    mixture = Mixture(((3.0, 0.5), (6.0, 0.5)), spread=0.0, half_life=(10.0, 40.0))
    made = liquidation_map(one_increment(*[(100.0, 100.0, 100.0)] * 400), leverage=mixture, levels=ALL)
    sizes = [made.long_notional[np.abs(made.levels / exact(100.0, x, 1.0) - 1.0) < 0.001].sum() for x in (3.0, 6.0)]
    assert sizes[0] / exact(100.0, 3.0, 1.0) == pytest.approx(sizes[1] / exact(100.0, 6.0, 1.0), rel=0.01)


# --- the slow twin, and what always holds ------------------------------------------------------------


def twin(seen: Observed, mixture: Mixture, levels: Levels) -> tuple[np.ndarray, dict[int, float], dict[int, float]]:
    """Triggered notional [bar, side], and the coins at each level in the end, by vintage."""
    step, draws = levels.step, ladder.DRAWS
    z = [NormalDist().inv_cdf((k + 0.5) / draws) for k in range(draws)]
    rows = ladder.brackets_of(levels.tiers)
    cap = levels.tiers[0].max_leverage

    def away(leverage: float, sign: float) -> int | None:
        n, q = min(leverage, cap), levels.position
        at = liquidation_size(sign * q, 1.0, q / n, rows, 0, len(rows), levels.closing_fee, 1.0)
        bins = math.inf if at <= 0.0 else -sign * math.log(at) / step
        return max(1, round(bins)) if bins <= math.ceil(ladder.FURTHEST / step) else None

    places = [
        [[away(lev * math.exp(mixture.spread * x), sign) for x in z] for lev, _ in mixture.shares] for sign in (1, -1)
    ]
    triggered = np.full((len(seen.close), 2), np.nan)
    vintages: list[list[dict[str, object]]] = [[], []]
    begun, waited = False, 0
    stock = np.array([share for _, share in mixture.shares])
    fresh = stock * (1.0 - 0.5 ** (seen.hours / np.array(mixture.half_lives)))
    for t in range(len(seen.close)):
        waited += 1
        if not np.isfinite(seen.close[t]):
            continue
        for side in (LONG, SHORT):
            if begun:
                triggered[t, side] = 0.0
            for v in vintages[side]:
                for level in list(v["at"]):  # type: ignore[call-overload]
                    price = math.exp(level * step)
                    if (price >= seen.low[t] * (1 - 1e-9)) if side == LONG else (price <= seen.high[t] * (1 + 1e-9)):
                        coins = v["at"].pop(level)  # type: ignore[attr-defined]
                        v["coins"] -= coins  # type: ignore[operator]
                        triggered[t, side] += coins * price
            if not np.isfinite(seen.open_interest[t]):
                continue
            for v in vintages[side]:
                scale(v, 0.5 ** (seen.hours * waited / mixture.half_lives[v["class"]]))  # type: ignore[index]
            total = sum(v["coins"] for v in vintages[side])  # type: ignore[misc]
            held = max(seen.open_interest[t], 1e-12)
            if total > held:
                for v in vintages[side]:
                    scale(v, held / total)
            else:
                parts = (fresh if begun else stock) / (fresh if begun else stock).sum()
                entry = math.floor(math.log(seen.close[t]) / step + 0.5)
                for k, part in enumerate(parts):
                    at: dict[int, float] = {}
                    for bins in places[side][k]:
                        if bins is not None:
                            level = entry - bins if side == LONG else entry + bins
                            at[level] = at.get(level, 0.0) + (held - total) * part / draws
                    vintages[side].append({"class": k, "coins": (held - total) * part, "at": at})
        if np.isfinite(seen.open_interest[t]):
            begun, waited = True, 0
    out: list[dict[int, float]] = [{}, {}]
    for side in (LONG, SHORT):
        for v in vintages[side]:
            for level, coins in v["at"].items():  # type: ignore[attr-defined]
                out[side][level] = out[side].get(level, 0.0) + coins
    return triggered, out[0], out[1]


def scale(vintage: dict[str, object], part: float) -> None:
    vintage["coins"] *= part  # type: ignore[operator]
    vintage["at"] = {level: coins * part for level, coins in vintage["at"].items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("gaps", [False, True])
def test_the_stock_is_that_of_a_slow_twin(gaps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "DRAWS", 15)
    seen = wandering(160, gaps=gaps)._replace(long_share=np.full(160, np.nan))
    mixture = Mixture(((4.0, 0.5), (15.0, 0.3), (60.0, 0.2)), spread=0.3, half_life=(200.0, 40.0, 6.0))
    levels = replace(ALL, step=0.004)
    triggered, *sides = twin(seen, mixture, levels)
    path = liquidation_path(seen, leverage=mixture, levels=levels)
    ours = np.column_stack((path.long_triggered, path.short_triggered))
    assert np.isfinite(ours).sum() == np.isfinite(triggered).sum() > 250
    assert ours == pytest.approx(triggered, rel=1e-9, abs=1e-6, nan_ok=True)
    assert np.nansum(triggered) > 100.0
    made = liquidation_map(seen, leverage=mixture, levels=levels)
    first = round(math.log(made.levels[0]) / levels.step)
    for expected, notional in zip(sides, (made.long_notional, made.short_notional), strict=True):
        there = np.zeros(len(notional))
        for level, coins in expected.items():
            there[level - first] = coins * made.levels[level - first]
        assert notional == pytest.approx(there, rel=1e-9, abs=1e-6)


@kernel
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_side_ever_holds_more_than_open_interest_nor_anything_behind_the_price(seed: int) -> None:
    seen = wandering(120, seed)
    ends = [np.datetime64(int(end), "ns") for end in seen.ends[40::7]]
    for moment, made in zip(range(40, 120, 7), liquidation_maps(seen, ends, levels=ALL), strict=True):
        assert made.price == seen.close[moment]
        for notional in (made.long_notional, made.short_notional):
            assert notional.min() >= 0.0
            assert (notional / made.levels).sum() <= seen.open_interest[moment] * (1 + 1e-9)
        assert made.long_notional[made.levels >= made.price].sum() == 0.0
        assert made.short_notional[made.levels <= made.price].sum() == 0.0


@pytest.mark.parametrize("gaps", [False, True])
def test_a_map_knows_nothing_of_later_bars(gaps: bool) -> None:
    seen = wandering(200, 4, gaps)
    whole = liquidation_path(seen)
    for n in (60, 105, 150, 199):
        part = Observed(seen.hours, *(column[:n] for column in seen[1:7]))
        cut = liquidation_path(part)
        for name in ("long_near", "short_near", "long_triggered", "short_triggered", "seen"):
            assert getattr(cut, name) == pytest.approx(getattr(whole, name)[:n], rel=1e-9, abs=1e-6, nan_ok=True), name
        then = liquidation_map(seen, np.datetime64(int(seen.ends[n - 1]), "ns"))
        own = liquidation_map(part)
        assert (then.price, then.ts, then.seen) == pytest.approx((own.price, own.ts, own.seen))
        assert then.within(0.1) == pytest.approx(own.within(0.1))
        assert then.ladder().long_notional == pytest.approx(own.ladder().long_notional, abs=1e-6)


@kernel
def test_what_a_bar_meets_was_near_a_bar_ago() -> None:
    seen = wandering(200, 5)._replace(long_share=np.full(200, np.nan))
    path = liquidation_path(seen, distances=(0.05,))
    small = np.log(seen.close[:-1] / seen.low[1:]) < 0.045
    assert np.all(path.long_triggered[1:][small] <= path.long_near[:-1, 0][small] * (1 + 1e-9))
    assert path.long_triggered[1:].max() > 0.0


@kernel
def test_another_unit_of_the_coin_is_the_same_map() -> None:
    seen = wandering(150, 6)
    factor = math.exp(round(7.0 / 0.001) * 0.001)  # a whole number of levels
    high, low, close = (column * factor for column in seen[2:5])
    other = seen._replace(high=high, low=low, close=close, open_interest=seen.open_interest / factor)
    a, b = liquidation_path(seen), liquidation_path(other)
    assert a.long_near == pytest.approx(b.long_near, rel=1e-6)
    assert a.short_triggered == pytest.approx(b.short_triggered, rel=1e-6, abs=1e-6, nan_ok=True)


def test_the_part_that_the_history_has_seen_grows() -> None:
    path = liquidation_path(wandering(300))
    assert path.seen[0] == 0.0
    assert path.seen.max() <= 1.0
    assert path.seen[100] > 0.6
    assert path.seen[-1] > 0.95


# --- looking at a map --------------------------------------------------------------------------------


def simple() -> LiquidationMap:
    levels = 100.0 * np.exp(np.arange(-300, 301) * 0.001)
    longs, shorts = np.zeros(601), np.zeros(601)
    longs[300 - 20], longs[300 - 105], shorts[300 + 49] = 5.0, 7.0, 3.0
    return LiquidationMap(levels, longs, shorts, 100.0, 0)


def test_within_ladder_moved_and_frame() -> None:
    made = simple()
    assert made.within(0.05) == (5.0, 0.0)
    assert made.within(0.11) == (12.0, 3.0)
    steps = made.ladder(0.12, 0.01)
    assert (steps.long_notional[2], steps.long_notional[10], steps.short_notional[4]) == (5.0, 7.0, 3.0)
    assert steps.long_notional.sum() == 12.0
    assert steps.distance[:2] == pytest.approx([0.005, 0.015])
    assert made.moved(50.0).within(0.05) == (5.0, 0.0)
    frame = made.frame
    assert len(frame) == 3
    assert frame["distance"].iloc[0] == pytest.approx(math.expm1(-0.105))


def test_errors_of_a_map_with_itself_are_none() -> None:
    made = simple()
    longs, _ = le.errors(made, made, distance=0.15)
    assert longs.ratio[2:] == (1.0, 1.0) or longs.ratio[3] == 1.0
    assert longs[1:] == pytest.approx((1.0, 1.0, 0.0, 0.0))


def test_errors_known_by_hand() -> None:
    estimated, true = np.array([4.0, 0.0, 0.0, 4.0]), np.array([0.0, 1.0, 0.0, 1.0])
    assert le.overlap(estimated, true) == 0.5
    assert le.wasserstein(estimated, true, 0.01) == pytest.approx(0.005)  # half of it moved by one bin
    assert le.missed(estimated, true) == 0.5
    assert le.missed(np.array([4.0, 0.15, 0.0, 4.0]), true) == 0.5  # a tenth of the estimate's own mean
    assert math.isnan(le.rank(np.ones(4), true))
    assert math.isnan(le.overlap(np.zeros(4), true))


def test_maps_without_knowledge() -> None:
    flat = le.uniform_map(100.0, 10.0)
    lows, highs = flat.ladder(0.5, 0.1)[2:]
    assert lows == pytest.approx(lows[0] * np.exp(-0.1 * np.arange(len(lows))), rel=0.03)
    assert highs[0] == pytest.approx(10.0 * 100.0 * math.expm1(0.1) / math.log(2.0), rel=0.03)
    fresh = le.map_at_price(100.0, (10.0, 5.0), one(10.0), ALL)
    history = liquidation_map(one_increment(), leverage=one(10.0), levels=ALL)
    assert fresh.within(0.2) == pytest.approx((history.within(0.2)[0], history.within(0.2)[1] / 2), rel=ALL.step)


# --- against the truth of simulated venues -----------------------------------------------------------


@pytest.fixture(scope="module")
def venues() -> list[tuple[Machine, Observed]]:
    out = []
    for seed in (11, 12):
        machine = Machine(World(), seed=seed)
        out.append((machine, observed_of(machine.run(days=25))))
    return out


def test_a_simulated_map_beats_maps_that_know_nothing(venues: list[tuple[Machine, Observed]]) -> None:
    """The crowd's mixture is the benchmark's. Ten seeds gave 0.68 to 1.48 within 20 %, overlaps from 0.74."""
    crowd = Mixture(
        (
            (1.3, 0.09),
            (2, 0.15),
            (2.9, 0.18),
            (4, 0.1),
            (5.2, 0.15),
            (6.9, 0.08),
            (9.5, 0.13),
            (12.2, 0.06),
            (19, 0.04),
            (25, 0.02),
        ),
        spread=0.12,
        half_life=12.0,
    )
    levels = Levels(levered=1.0, tiers=venue("sim").tiers_for("BTC"), position=20_000.0)
    found: dict[str, list[le.MapErrors]] = {"map": [], "tiers": [], "uniform": []}
    for machine, seen in venues:
        truth, coins = le.true_map(machine), float(seen.open_interest[-1])
        found["map"] += le.errors(liquidation_map(seen, leverage=crowd, levels=levels), truth)
        found["tiers"] += le.errors(le.map_at_price(truth.price, (coins, coins), TEXTBOOK, levels), truth)
        found["uniform"] += le.errors(le.uniform_map(truth.price, coins), truth)
    typical = {name: np.mean([e.overlap for e in each]) for name, each in found.items()}
    moved = {name: np.mean([e.distance for e in each]) for name, each in found.items()}
    assert typical["map"] > 0.75
    assert typical["map"] > typical["uniform"] > typical["tiers"]
    assert moved["map"] < 0.6 * moved["uniform"] < 0.6 * moved["tiers"]
    for each in found["map"]:
        assert 0.6 < each.ratio[3] < 1.7  # within 20 %
        assert each.missed < 0.1
    assert min(e.ratio[1] for e in found["tiers"]) > 3.0  # five times too much within 5 %, and more


def test_the_true_map_is_that_of_the_accounts(venues: list[tuple[Machine, Observed]]) -> None:
    machine, seen = venues[0]
    truth = le.true_map(machine)
    a = machine.accounts
    level, q, mark = a[ladder.layout.LIQ], a[ladder.layout.Q], float(machine.state[ladder.layout.MARK])
    near = (q > 0.0) & (level > 0.9 * mark)
    assert truth.within(0.1)[LONG] == pytest.approx((q * level)[near].sum(), rel=0.02)
    assert seen.close[-1] == truth.price == mark
    assert seen.ends[-1] == truth.ts


# --- markets, and what is refused --------------------------------------------------------------------


def frames(n: int = 200) -> tuple[pl.DataFrame, pl.DataFrame]:
    seen = wandering(n)
    ts = pl.Series("ts", np.datetime64("2025-01-01", "ns") + seen.ts).cast(pl.Datetime("ns"))
    candles = pl.DataFrame({"ts": ts, "open": seen.close, "high": seen.high, "low": seen.low, "close": seen.close})
    held = pl.DataFrame({"ts": ts.dt.offset_by("59m"), "quantity": seen.open_interest})  # known within the bar
    return candles, held


def test_a_market_gives_the_map_of_its_arrays() -> None:
    candles, held = frames()
    market = Market.from_frames(candles, open_interest=held, venue="binance", symbol="BTC/USDT:USDT", interval="1h")
    made = liquidation_map(market, at="2025-01-05")
    plain = wandering(200)._replace(long_share=np.full(200, np.nan))
    start = np.datetime64("2025-01-01", "ns").astype(np.int64)
    same = liquidation_map(
        plain._replace(ts=plain.ts + start), at="2025-01-05", levels=Levels(tiers=venue("binance").tiers_for("BTC"))
    )
    assert made.price == pytest.approx(same.price)
    assert made.within(0.1) == pytest.approx(same.within(0.1), rel=1e-6)
    assert made.ts == np.datetime64("2025-01-05", "ns").astype(np.int64)


def test_brackets_hold_from_their_date_on() -> None:
    candles, held = frames()
    rows = {"valid_from": ["2025-01-04"], "floor": [0.0], "mmr": [0.05], "max_leverage": [10.0]}
    tiers = pl.DataFrame(rows).with_columns(pl.col("valid_from").str.to_datetime(time_unit="ns"))
    with_, without = (
        Market.from_frames(candles, open_interest=held, tiers=t, venue="binance", symbol="BTC/USDT:USDT", interval="1h")
        for t in (tiers, None)
    )
    for when, alike in (("2025-01-03T22:00", True), ("2025-01-08", False)):
        a, b = (liquidation_map(m, at=when).within(0.05) for m in (with_, without))
        assert (a == pytest.approx(b)) is alike


def test_what_is_refused_says_why() -> None:
    candles, held = frames()
    market = Market.from_frames(candles, venue="binance", symbol="BTC/USDT:USDT", interval="1h")
    with pytest.raises(BadInput, match="BTC/USDT:USDT has no open interest"):
        liquidation_map(market)
    short = Market.from_frames(
        candles[:20], open_interest=held[:20], venue="binance", symbol="BTC/USDT:USDT", interval="1h"
    )
    with pytest.raises(BadInput, match="bars with open interest: a map needs 24"):
        liquidation_map(short)
    inverse = Market.from_frames(candles, open_interest=held, symbol="BTC/USD:BTC", interval="1h")
    with pytest.raises(BadInput, match="inverse"):
        liquidation_map(inverse)
    seen = wandering(100)
    with pytest.raises(BadInput, match="3 bars have open interest before 1970-01-01 03"):
        liquidation_map(seen, at="1970-01-01T03:00")
    with pytest.raises(BadInput, match="distances"):
        liquidation_path(seen, distances=(5.0,))
    with pytest.raises(BadInput, match="long_share has 3 bars"):
        liquidation_map(seen._replace(long_share=np.zeros(3)))
    for wrong in ({"shares": ()}, {"shares": ((0.5, 1.0),)}, {"shares": ((5, 1.0),), "half_life": (1.0, 2.0)}):
        with pytest.raises(BadInput, match="Mixture"):
            Mixture(**wrong)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"Levels\.step"):
        Levels(step=0.0)
    with pytest.raises(BadInput, match=r"Levels\.levered"):
        Levels(levered=2.0)


def test_what_the_page_shows_runs() -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "liquidation_map.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    names: dict[str, object] = {"print": lambda *_: None}
    for block in blocks:
        exec(compile(block, "docs/liquidation_map.md", "exec"), names)
    made, path = names["estimated"], names["path"]
    assert isinstance(made, LiquidationMap)
    assert made.within(0.05)[0] > 0.0
    assert len(path.ts) == 240  # type: ignore[attr-defined]


# --- real prints -------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_levels_that_a_move_meets_explain_what_was_liquidated_beyond_the_move_itself(shared_dir: Path) -> None:
    """BTC on Binance by the hour: coefficients of the first half, judged on the second."""
    frame = pl.read_parquet(shared_dir / "liquidations" / "coinglass_btc_panel_1h.parquet").sort("ts")
    ts = frame["ts"].cast(pl.Datetime("ns")).dt.epoch("ns").to_numpy() // HOUR_NS
    grid = np.arange(ts[0], ts[-1] + 1)

    def laid(name: str) -> np.ndarray:
        out = np.full(len(grid), np.nan)
        out[ts - ts[0]] = frame[name].to_numpy()
        return out

    high, low, close, held = (laid(n) for n in ("price_high", "price_low", "price_close", "oi_close"))
    nobody = np.full(len(grid), np.nan)
    seen = Observed(1.0, grid * HOUR_NS, high, low, close, held / close, nobody)
    path = liquidation_path(seen)
    move = np.append(np.nan, np.maximum(np.log(close[:-1] / low[1:]), 0.0))
    f, target = np.log(move + 2e-4), np.log(laid("liquidation_long_usd") + 1e4)
    base = np.column_stack((np.ones(len(f)), f, f**2, f**3, np.log(np.append(np.nan, held[:-1]))))
    more = np.column_stack((base, np.log(path.long_triggered + 1e5)))
    good = np.isfinite(more).all(axis=1) & np.isfinite(target)
    n = np.arange(len(f))
    first, second = good & (n >= 480) & (n < len(f) // 2), good & (n >= len(f) // 2)
    r2 = []
    for columns in (base, more):
        weights = np.linalg.lstsq(columns[first], target[first], rcond=None)[0]
        left = ((target[second] - columns[second] @ weights) ** 2).sum()
        r2.append(1.0 - left / ((target[second] - target[second].mean()) ** 2).sum())
    assert r2[1] > r2[0] + 0.05
    forced = laid("liquidation_long_usd")[second]
    ranks = facts.ranks(path.long_triggered[second]), facts.ranks(forced)
    assert np.corrcoef(*ranks)[0, 1] > 0.6
    assert 0.1 < forced.sum() / path.long_triggered[second].sum() < 1.0  # of a feed that shows a third of what happens
