"""Whatever is learnt later, what a strategy sees of the bars before does not change.

Rows of every kind are drawn with random times of knowledge, revisions of the same time among them. A market of the
rows known before T (bars: by T) and a market of all rows must agree, in
`features_view()`, on every bar that closed by T.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data import clock
from data.align import Bars
from data.market import FIELDS, Flow, Market, Points, Settlements, SymbolData
from data.market_input import TIER
from data.schema import Ratio

S = clock.SECOND
STEP, BARS = 60 * S, 12
START = clock.moment("2024-01-01")
SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")

seconds = st.integers(-3, BARS).map(lambda minute: 60 * minute) | st.integers(-240, BARS * 60 + 60)
delays = st.sampled_from([0, 0, 1, 59, 60, 61, 120, 400])
facts = st.lists(st.tuples(seconds, delays, st.integers(1, 99)), max_size=16)


@st.composite
def series(draw: st.DrawFn, intervals: tuple[int, ...]) -> list[tuple[int, int, list[float]]]:
    """Bars: interval and open in seconds, and four prices with the highest and lowest in place."""
    rows = []
    for interval in draw(st.lists(st.sampled_from(intervals), min_size=1, max_size=2, unique=True)):
        places = range(-2, BARS * 60 // interval + 1)
        holes = draw(st.sets(st.sampled_from(places), max_size=len(places)))
        wild = np.random.default_rng(draw(st.integers(0, 99))).permutation(4 * len(places))
        for j, at in enumerate(places):
            if at not in holes:
                low, a, b, high = sorted(float(x) for x in wild[4 * j : 4 * j + 4])
                rows.append((interval, at * interval, [a, high, low, b]))
    return rows


kinds = st.fixed_dictionaries(
    {
        "candles": series((60,)) | series((20,)),
        "marks": series((20, 60, 120, 240)),
        "index": series((20, 60, 180)),
        "premium": series((30, 120)),
        "funding": facts,
        "open_interest": facts,
        "ratios": facts,
        "depth": facts,
        "liquidations": facts,
        "liquidation_bars": facts,
        "tiers": facts,
        "delisting": st.none() | st.tuples(st.integers(1, BARS * 60), st.integers(-60, BARS * 60)),
        "gaps": st.lists(st.tuples(seconds, st.integers(1, 200), st.integers(0, 300)), max_size=2),
    }
)


def at(column: list[int]) -> np.ndarray:
    return START + np.array(column, dtype=np.int64) * S


def bars_of(rows: list[tuple[int, int, list[float]]], until: float) -> tuple[Bars, ...]:
    made = []
    for interval in sorted({r[0] for r in rows}):
        known = [r for r in rows if r[0] == interval and r[1] + interval <= until]
        p = np.array([r[2] for r in known], dtype=float).reshape(-1, 4)
        volume = np.array([r[1] for r in known], dtype=float)
        made.append(Bars(interval * S, at([r[1] for r in known]), p[:, 0], p[:, 1], p[:, 2], p[:, 3], volume))
    return tuple(made)


def known_by(rows: list[tuple[int, int, int]], until: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kept = [r for r in rows if r[0] + r[1] < until]  # at T itself is too late: only a bar is known at its very end
    value = np.array([r[2] for r in kept], dtype=float)
    return at([r[0] for r in kept]), at([r[0] + r[1] for r in kept]), value


def symbol_data(rows: dict[str, Any], until: float) -> SymbolData:
    def points(kind: str, *names: str) -> Points:
        ts, known, value = known_by(rows[kind], until)
        holed = np.where(value % 5 == 0, np.nan, value)
        return Points(ts, known, 45 * S, dict(zip(names, (value, holed), strict=False)))

    def flow(kind: str, first: int, lag: int) -> Flow:
        ts, known, value = known_by(rows[kind], until)
        gaps = [
            (START + a * S, START + (a + length) * S, START + (a + late) * S)
            for a, length, late in rows["gaps"]
            if a + late < until
        ]
        spans = [(START + first * S, START + int(min(until, BARS * 60)) * S)]
        return Flow(ts, known + lag, value, value * 2, spans=spans, gaps=gaps, lag=lag)

    ts, known, value = known_by(rows["funding"], until)
    candles = bars_of(rows["candles"], until)
    return SymbolData(
        candles=candles[0] if candles else None,
        marks=bars_of(rows["marks"], until),
        index=bars_of(rows["index"], until),
        premium=bars_of(rows["premium"], until),
        funding=Settlements(ts, ts, known, value / 1e4, np.where(value % 2 == 0, 1.0, 0.01), value),
        open_interest=points("open_interest", "quantity", "value"),
        ratios={kind: points("ratios", "ratio") for kind in Ratio},
        depth=points("depth", "bid_1pct", "ask_1pct"),
        liquidations=flow("liquidations", 120, 0),
        liquidation_bars=flow("liquidation_bars", -60, 0),
        tiers=tier_rows(*known_by(rows["tiers"], until)),
        instrument=terms(rows["delisting"], until),
    )


def terms(delisting: tuple[int, int] | None, until: float) -> dict[str, Any]:
    """A contract's terms; its delisting (when, and when it was told) only if it was told by then."""
    if delisting is None or delisting[1] >= until:
        return {"tick_size": 0.1, "delisted": None, "delisted_known_at": None}
    gone, told = (clock.naive(START + second * S) for second in delisting)
    return {"tick_size": 0.1, "delisted": gone, "delisted_known_at": told}


def tier_rows(ts: np.ndarray, known: np.ndarray, value: np.ndarray) -> np.ndarray:
    rows = np.zeros(len(ts), TIER)
    rows["valid_from"], rows["known_at"], rows["floor"] = ts, known, value
    return rows


def market_of(rows: list[dict[str, Any]], until: float) -> Market:
    data = {symbol: symbol_data(r, until) for symbol, r in zip(SYMBOLS, rows, strict=False)}
    return Market.build("x", data, STEP, START, START + BARS * STEP)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(kinds, min_size=1, max_size=2), st.integers(0, BARS * 60))
def test_what_is_learnt_after_t_changes_nothing_that_was_seen_by_t(rows: list[dict[str, Any]], until: int) -> None:
    then, later = market_of(rows, until), market_of(rows, float("inf"))
    closed = until // 60
    a, b = then.features_view(), later.features_view()
    for name in (*FIELDS, "present", "partial", "mark_source"):
        np.testing.assert_array_equal(getattr(a, name)[:closed], getattr(b, name)[:closed], err_msg=name)
    assert seen(a, closed) == seen(b, closed)
    assert of_contracts(then, closed) == of_contracts(later, closed)
    for j, symbol in enumerate(then.symbols):
        for second in range(0, until, 30):
            when = START + second * S
            mine, full = then.tiers_at(when, symbol), later.tiers_at(when, symbol)
            assert mine.tolist() == full.tolist(), (j, second)


def of_contracts(market: Market, closed: int) -> list[Any]:
    """What the first bars tell of the contracts, as a slice, its features, and the features' slice."""
    if closed == 0:
        return []
    parts = (market[:closed], market[:closed].features_view(), market.features_view()[:closed])
    return [(part.instrument(s), part.tiers.tolist()) for part in parts for s in part.symbols]


def seen(market: Market, closed: int) -> list[Any]:
    return [str(row) for row in market.settlements if row["bar"] < closed]


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(kinds, min_size=1, max_size=2), st.integers(1, BARS), st.sampled_from([2, 3]))
def test_coarser_bars_see_no_more_than_the_finer_ones(rows: list[dict[str, Any]], bars: int, ratio: int) -> None:
    """Resampling what was known by the end of a whole bucket is the beginning of resampling everything."""
    buckets = bars // ratio
    then, later = market_of(rows, buckets * ratio * 60), market_of(rows, float("inf"))
    a, b = (m.resample(ratio * STEP).features_view() for m in (then, later))
    for name in (*FIELDS, "present", "partial", "mark_source"):
        np.testing.assert_array_equal(getattr(a, name)[:buckets], getattr(b, name)[:buckets], err_msg=name)
    assert seen(a, buckets) == seen(b, buckets)
    assert of_contracts(a, buckets) == of_contracts(b, buckets)


def test_the_engine_s_own_view_does_know_more() -> None:
    """The two exceptions are real: without `features_view` a clipped mark and a revised rate do look ahead."""
    o, h, lo, c = (np.full(BARS, p) for p in (50.0, 60.0, 40.0, 50.0))
    candles = Bars(STEP, START + np.arange(BARS) * STEP, o, h, lo, c)
    coarse = Bars(4 * STEP, candles.ts[:1], *(np.full(1, p) for p in (50.0, 51.0, 49.0, 50.0)))
    data = {SYMBOLS[0]: SymbolData(candles=candles, marks=(coarse,))}
    market = Market.build("x", data, STEP, START, START + BARS * STEP)
    assert market.mark_high[0] == 51.0
    assert market.features_view().mark_high[0] == 60.0
