"""What holds for every signal of the registry: no future, no dependence on where a series began, none on units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from signal_inputs import first_rows, given_for, whole_market

from data import clock
from data.market import Market
from strategies.signals import SIGNALS, Signal, compute
from strategies.signals.inputs import LADDER
from strategies.signals.registry import WINDOW

FAST = [name for name, s in SIGNALS.items() if not s.fitted]
OF_ARRAYS = [
    name for name in FAST if not {"settled", "venue_oi", "events", "near_long"} & set(SIGNALS[name].inputs)
]  # one number a bar goes in, columnwise
many = settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def of(name: str, market: Market, given: dict[str, Any], spans: dict[str, Any]) -> np.ndarray:
    wanted = SIGNALS[name]
    return compute(name, market, **{k: given[k] for k in wanted.given}, **{k: spans[k] for k in wanted.spans})


@st.composite
def lengths(draw: st.DrawFn) -> dict[str, Any]:
    """Short ones, so that a short market fills them."""
    names = {name for s in SIGNALS.values() for name in s.spans}
    made: dict[str, Any] = {name: draw(st.integers(2, 15), label=name) for name in sorted(names)}
    made["hours"] = draw(st.sampled_from([8.0, 24.0, 40.0]))
    return made


def same(a: np.ndarray, b: np.ndarray, what: str, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True, err_msg=what)


@many
@given(st.integers(0, 10**6), st.integers(1, 2), st.sampled_from([0.0, 0.1, 0.5]), lengths(), st.integers(1, 119))
def test_no_signal_knows_what_comes_after_its_bar(
    seed: int, symbols: int, holes: float, spans: dict[str, Any], t: int
) -> None:
    market = whole_market(120, seed, symbols, holes=holes)
    given = given_for(market, seed)
    for name in FAST:
        whole, part = of(name, market, given, spans), of(name, market[:t], first_rows(given, t), spans)
        assert whole.dtype == np.float64
        assert len(whole) == 120
        assert not np.isinf(whole).any()
        same(whole[:t], part, name)


numbers = st.floats(-1e6, 1e6) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1.0, 1e300, 1e-300])


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_nor_does_its_function_whatever_the_numbers(data: st.DataObject) -> None:
    """The same of the functions themselves: NaN, inf, zeros, negative prices, any order of high and low."""
    n = data.draw(st.integers(1, 30))
    t = data.draw(st.integers(1, n))
    spans = {name: value for name, value in data.draw(lengths()).items() if name != "hours"}
    pool = data.draw(arrays(np.float64, (5, n), elements=numbers))
    for name in OF_ARRAYS:
        wanted = SIGNALS[name]
        series = [pool[j % 5] for j in range(len(wanted.inputs))]
        chosen = {k: spans[k] for k in wanted.spans}
        whole = wanted.function(*series, **chosen)
        assert len(whole) == n
        assert not np.isinf(whole).any()
        np.testing.assert_array_equal(whole[:t], wanted.function(*(x[:t] for x in series), **chosen), err_msg=name)


@many
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.1]), lengths(), st.integers(1, 60))
def test_a_window_forgets(seed: int, holes: float, spans: dict[str, Any], k: int) -> None:
    """After its look-back a signal is the same wherever the series began: more history changes nothing."""
    market = whole_market(240, seed, holes=holes)
    given = given_for(market, seed)
    late = {name: value[k:] if isinstance(value, np.ndarray) else value for name, value in given.items()}
    for name in FAST:
        wanted = SIGNALS[name]
        if wanted.memory != WINDOW:
            continue
        first = Signal(
            name, wanted.function, (), {p: f"{spans[p]:g}h" for p in wanted.spans}, reach=wanted.reach
        ).history(market)
        assert first < 180, name
        a, b = of(name, market, given, spans)[k:], of(name, market[k:], late, spans)
        same(a[first:], b[first:], name, 1e-9)


@many
@given(st.integers(0, 10**6), lengths(), st.sampled_from([-7, 10]), st.sampled_from([-6, 9]))
def test_units_do_not_matter(seed: int, spans: dict[str, Any], price: int, size: int) -> None:
    """Prices in cents, sizes in lots: what a market gives is the same. (Powers of 2: no digit is rounded.)"""
    plain = whole_market(120, seed)
    scaled = whole_market(120, seed, price=2.0**price, size=2.0**size)
    for name in FAST:
        if not SIGNALS[name].given and not set(LADDER) & set(SIGNALS[name].inputs):
            spread = 1e-9 if SIGNALS[name].family == "unexpected" else 1e-11
            same(of(name, plain, {}, spans), of(name, scaled, {}, spans), name, spread)


def test_the_map_s_signals_are_the_same_in_other_units() -> None:
    """By whole steps of the map's grid of prices."""
    plain, scaled = whole_market(400, 5), whole_market(400, 5, price=float(np.exp(0.001 * 700)), size=8.0)
    for name in ("fragility_down", "fragility_up", "absorption_down", "absorption_up", "ladder_swept", "ladder_pull"):
        a, b = compute(name, plain), compute(name, scaled)
        assert np.isfinite(a).mean() > 0.5
        same(a, b, name, 1e-6)


@pytest.mark.parametrize("name", FAST)
def test_two_symbols_are_two_markets(name: str) -> None:
    market = whole_market(200, 3, symbols=2, holes=0.05)
    given = given_for(market)
    spans = {span: 40.0 if span == "hours" else 5 for span in SIGNALS[name].spans}
    if all(x in SIGNALS[name].given for x in SIGNALS[name].inputs):
        return
    both = of(name, market, given, spans)
    assert both.shape == (200, 2)
    for j, symbol in enumerate(market.symbols):
        same(both[:, j], of(name, market[symbol], given, spans), name)


def test_the_future_of_a_minute_market_is_not_in_its_map() -> None:
    """The map is made in quarters of an hour and shown on minutes: cut inside a quarter."""
    market = whole_market(15 * 140, 11, step=clock.MINUTE)
    whole = compute("ladder_pull", market)
    assert np.isfinite(whole[-1])
    for t in (1500, 1507, 1514, 1515, 1516, 2099):
        same(whole[:t], compute("ladder_pull", market[:t]), str(t), 1e-9)
