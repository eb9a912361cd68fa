"""Margin functions of the loops, against a recomputation that shares nothing with them.

A position is sound where balance + profit is above maintenance. Between two bracket edges that difference is a
straight line, so a liquidation size is right if the difference is above zero at both sides of every edge on the way,
and zero (or jumping below it) where the answer is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backtest import margin
from backtest.venue import Tier, brackets
from backtest.worked import as_rows

pytestmark = pytest.mark.kernel

TINY = 1e-9


def plain_maintenance(tiers: tuple[Tier, ...], fee: float, notional: float, beyond: bool = False) -> float:
    """Margin to keep; `beyond`: a hair above this notional, so that an edge belongs to the upper bracket."""
    if not tiers:
        return notional * fee
    for tier in tiers:
        if notional < tier.cap or (notional == tier.cap and not beyond):
            return max(0.0, notional * (tier.mmr + fee) - tier.cum)
    return max(0.0, notional * (tiers[-1].mmr + fee) - tiers[-1].cum)


@dataclass(frozen=True)
class Position:
    s: float
    n_entry: float
    balance: float
    tiers: tuple[Tier, ...]
    fee: float

    def room(self, n: float, beyond: bool = False) -> float:
        """Balance and profit, less maintenance."""
        kept = plain_maintenance(self.tiers, self.fee, abs(self.s) * n, beyond)
        return self.balance + self.s * (n - self.n_entry) - kept

    def edges_between(self, low: float, high: float) -> list[float]:
        edges = [t.cap / abs(self.s) for t in self.tiers if math.isfinite(t.cap)]
        return [e for e in edges if low < e < high]

    @property
    def scale(self) -> float:
        return abs(self.s) * self.n_entry + abs(self.balance)

    def level(self, n_from: float) -> float:
        rows = as_rows(self.tiers, whole=False) if self.tiers else np.zeros((1, 5))
        return float(
            margin.liquidation_size(self.s, self.n_entry, self.balance, rows, 0, len(self.tiers), self.fee, n_from)
        )


@st.composite
def tables(draw: st.DrawFn, rule: str) -> tuple[Tier, ...]:
    count = draw(st.integers(1, 6))
    caps = sorted({draw(st.integers(1, 400)) * 1_000.0 for _ in range(count)})
    rates = sorted(draw(st.floats(0.001, 0.6)) for _ in caps)
    ends = [*caps[:-1], math.inf] if draw(st.booleans()) else caps
    return brackets(*((cap, rate, 1.0) for cap, rate in zip(ends, rates, strict=True)), rule=rule)  # type: ignore[arg-type]


@st.composite
def positions(draw: st.DrawFn, rule: str) -> Position:
    inverse = draw(st.booleans())
    price = draw(st.floats(0.01, 100_000.0))
    n_entry = 1.0 / price if inverse else price
    notional = draw(st.floats(10.0, 900_000.0))
    s = draw(st.sampled_from((1.0, -1.0))) * notional / n_entry
    balance = notional * draw(st.floats(0.0, 1.5))
    return Position(s, n_entry, balance, draw(tables(rule)), draw(st.sampled_from((0.0, 0.0005, 0.00075))))


def first_level_holds(p: Position, n_from: float) -> None:
    level = p.level(n_from)
    slack = TINY * p.scale
    if p.room(n_from) <= 0.0:  # breached where it stands: the answer is there or behind
        assert level >= n_from * (1.0 - TINY) if p.s > 0.0 else level <= n_from * (1.0 + TINY)
        return
    low, high = (level, n_from) if p.s > 0.0 else (n_from, level)
    assert level <= n_from if p.s > 0.0 else level >= n_from
    for edge in p.edges_between(low * (1.0 + TINY), high * (1.0 - TINY)):
        assert p.room(edge) > -slack
        assert p.room(edge, beyond=True) > -slack
    if level == 0.0:
        assert p.s > 0.0
        assert p.room(0.0) > -slack
        return
    sides = sorted((p.room(level), p.room(level, beyond=True)))
    at_edge = any(math.isclose(level, t.cap / abs(p.s), rel_tol=TINY) for t in p.tiers)
    if at_edge:  # a jump: sound on one side, breached on the other
        nudged = [p.room(level * (1.0 - TINY)), p.room(level * (1.0 + TINY))]
        assert min(*sides, *nudged) <= slack
        assert max(*sides, *nudged) >= -slack
    else:
        assert abs(sides[0]) <= slack


@pytest.mark.parametrize("rule", ["marginal", "whole"])
@given(data=st.data())
def test_the_level_is_the_first_where_balance_is_maintenance(rule: str, data: st.DataObject) -> None:
    p = data.draw(positions(rule))
    first_level_holds(p, p.n_entry)


@pytest.mark.parametrize("rule", ["marginal", "whole"])
@given(data=st.data(), moved=st.floats(0.2, 5.0))
def test_the_level_found_from_elsewhere_is_the_first_from_there(rule: str, data: st.DataObject, moved: float) -> None:
    p = data.draw(positions(rule))
    first_level_holds(p, p.n_entry * moved)


@given(data=st.data())
def test_marginal_levels_do_not_depend_on_where_the_search_begins(data: st.DataObject) -> None:
    """Maintenance without jumps has one level, found from any sound place."""
    p = data.draw(positions("marginal"))
    assume(p.room(p.n_entry) > 0.0)
    level = p.level(p.n_entry)
    for part in (0.25, 0.5, 0.75):
        between = p.n_entry + part * (level - p.n_entry)
        assert p.level(between) == pytest.approx(level, rel=1e-9, abs=1e-12)


@given(data=st.data())
def test_more_margin_is_never_liquidated_sooner(data: st.DataObject) -> None:
    p = data.draw(positions("whole"))
    more = Position(p.s, p.n_entry, p.balance * 1.1 + 1.0, p.tiers, p.fee)
    assume(p.room(p.n_entry) > 0.0)
    if p.s > 0.0:
        assert more.level(p.n_entry) <= p.level(p.n_entry) * (1.0 + TINY)
    else:
        assert more.level(p.n_entry) >= p.level(p.n_entry) * (1.0 - TINY)


@given(data=st.data())
def test_linear_and_inverse_are_one_rule_in_sizes(data: st.DataObject) -> None:
    """A long inverse position is a short one in 1/price."""
    p = data.draw(positions("marginal"))
    price = 1.0 / p.n_entry
    assert margin.size_at(price, True) == pytest.approx(p.n_entry, rel=1e-15)
    assert margin.value_at(price, True) == -margin.size_at(price, True)
    assert margin.value_at(price, False) == margin.size_at(price, False) == price


@pytest.mark.parametrize("rule", ["marginal", "whole"])
@given(data=st.data(), notional=st.floats(0.0, 1e6))
def test_maintenance_and_tier_are_those_of_a_plain_search(rule: str, data: st.DataObject, notional: float) -> None:
    tiers = data.draw(tables(rule))
    rows = as_rows(tiers, whole=False)
    for size in (notional, *(t.cap for t in tiers if math.isfinite(t.cap))):
        row = margin.tier_of(rows, 0, len(rows), size)
        assert row == next((i for i, t in enumerate(tiers) if size <= t.cap), len(tiers) - 1)
        assert margin.maintenance(rows, 0, len(rows), 0.0005, size) == pytest.approx(
            plain_maintenance(tiers, 0.0005, size), rel=1e-12, abs=1e-9
        )


@given(data=st.data(), notional=st.floats(1.0, 1e6))
def test_marginal_maintenance_is_the_sum_over_slices(data: st.DataObject, notional: float) -> None:
    """Each slice at its own rate: what the maintenance amounts stand for."""
    tiers = data.draw(tables("marginal"))
    rows = as_rows(tiers, whole=False)
    last = len(tiers) - 1
    slices = (
        (notional if i == last else min(notional, t.cap)) - t.floor for i, t in enumerate(tiers) if notional > t.floor
    )
    plain = sum(size * t.mmr for size, t in zip(slices, tiers, strict=False))
    assert margin.maintenance(rows, 0, len(rows), 0.0, notional) == pytest.approx(plain, rel=1e-9, abs=1e-6)


@given(data=st.data())
def test_at_the_bankruptcy_size_nothing_is_left(data: st.DataObject) -> None:
    p = data.draw(positions("marginal"))
    n = margin.bankruptcy_size(p.s, p.n_entry, p.balance)
    left = p.balance + p.s * (n - p.n_entry)
    if n == 0.0:
        assert left >= -TINY * p.scale
    else:
        assert abs(left) <= TINY * p.scale


@given(data=st.data())
def test_liquidation_comes_before_bankruptcy(data: st.DataObject) -> None:
    p = data.draw(positions("whole"))
    level, bust = p.level(p.n_entry), margin.bankruptcy_size(p.s, p.n_entry, p.balance)
    assert level >= bust * (1.0 - TINY) if p.s > 0.0 else level <= bust * (1.0 + TINY)


@given(data=st.data())
def test_a_table_among_others_gives_the_same(data: st.DataObject) -> None:
    """Tables of several symbols lie in one array."""
    p = data.draw(positions("marginal"))
    own = as_rows(p.tiers, whole=False)
    other = as_rows(brackets((10.0, 0.9, 1.0), (20.0, 0.95, 1.0)), whole=False)
    packed = np.vstack((other, own, other))
    common = (p.s, p.n_entry, p.balance)
    alone = margin.liquidation_size(*common, own, 0, len(own), p.fee, p.n_entry)
    assert margin.liquidation_size(*common, packed, len(other), len(own), p.fee, p.n_entry) == alone
    size = abs(p.s) * p.n_entry
    assert margin.tier_of(packed, 2, len(own), size) == margin.tier_of(own, 0, len(own), size) + 2


@pytest.mark.parametrize("s", [2.0, -2.0])
def test_without_tiers_the_closing_fee_alone_is_kept(s: float) -> None:
    p = Position(s, 100.0, 40.0, (), 0.01)
    level = p.level(100.0)
    assert level == pytest.approx((200.0 - math.copysign(40.0, s)) / (2.0 * (1.0 - math.copysign(0.01, s))))
    assert p.room(level) == pytest.approx(0.0, abs=1e-9)


def test_a_long_that_is_paid_in_full_is_never_liquidated() -> None:
    assert Position(1.0, 100.0, 100.0, brackets((math.inf, 0.01, 100.0)), 0.0).level(100.0) == 0.0
    assert margin.bankruptcy_size(1.0, 100.0, 150.0) == 0.0


def test_a_jump_of_the_whole_rate_is_met_at_the_edge() -> None:
    """Short 10 at 90: 900 at 1 %. Above 1,000 the whole position is at 30 %, which 150 of margin does not carry."""
    p = Position(-10.0, 90.0, 300.0, brackets((1_000.0, 0.01, 50.0), (math.inf, 0.3, 2.0), rule="whole"), 0.0)
    assert p.level(90.0) == 100.0
    assert p.room(100.0) > 0.0 > p.room(100.0, beyond=True)


def test_the_jump_down_of_a_falling_long_is_no_liquidation() -> None:
    """Long 10 at 110: above 1,000 the whole rate is 5 %, below it 1 %."""
    p = Position(10.0, 110.0, 200.0, brackets((1_000.0, 0.01, 50.0), (math.inf, 0.05, 10.0), rule="whole"), 0.0)
    level = p.level(110.0)
    assert level == pytest.approx(900.0 / 9.9)
    assert level * 10.0 < 1_000.0


def test_a_boundary_belongs_to_the_lower_bracket_and_so_does_one_missed_by_rounding() -> None:
    """0.1 x 3 x 100 is 30.000000000000004: the position that was cut down to a cap must not be above it."""
    rows = as_rows(brackets((10.0, 0.1, 1.0), (30.0, 0.2, 1.0), (40.0, 0.3, 1.0)), False)
    assert [margin.tier_of(rows, 0, 3, n) for n in (10.0, 0.1 * 3 * 100.0, 30.0001, 40.0, 50.0)] == [0, 1, 2, 2, 2]


GOLDEN = [
    # side, quantity, entry, balance, mmr, cum, fee, inverse, price, where it is published
    (-1, 0.005, 9451.53, 10.72 - 1.3 + 0.47, 0.004, 0.0, 0.0, False, 11383.99, "Binance FAQ b3c689c1, BTC short"),
    (1, 1.0, 199.53, 10.72 - 0.19 - 0.06, 0.0065, 0.0, 0.0, False, 190.2969, "Binance FAQ b3c689c1, ETH long"),
    (1, 3683.979, 1456.84, 1535443.01, 0.1, 135365.0, 0.0, False, 1114.78, "freqtrade test_binance.py, isolated"),
    (1, 1e7, 45_000.0, 101.0, 0.125, 11.605, 0.0, True, 33_599.40, "dev.binance.vision/t/6292"),
    (1, 1.0, 40_000.0, 800.0 + 3_000 / (1 - 0.00055), 0.005, 0.0, 0.0, False, 36_380.25, "Bybit help, UTA 2026"),
    (-3, 1.0, 3_000.0, 1_000.0, 0.05, 0.0, 0.0, False, 3174.60, "dYdX docs, liquidations, isolated short"),
    (1, 0.0335, 2_986.3, 4.967826 + 0.0134, 0.01, 0.0, 0.0, False, 2866.2694, "Hyperliquid docs, clearinghouseState"),
    (1, 1.0, 10.0, 10 / 3, 0.01, 0.0, 0.0006, False, 6.738090425, "freqtrade test_get_liquidation_price, okx"),
]


@pytest.mark.parametrize("case", GOLDEN, ids=[row[-1] for row in GOLDEN])
def test_published_prices(case: tuple[Any, ...]) -> None:
    side, quantity, entry, balance, mmr, cum, fee, inverse, price, _ = case
    s = (-side if inverse else side) * quantity
    rows = np.array([[0.0, math.inf, mmr, 1.0, cum]])
    n_entry = margin.size_at(entry, inverse)
    n = margin.liquidation_size(s, n_entry, balance, rows, 0, 1, fee, n_entry)
    found = 1.0 / n if inverse else n
    assert found == pytest.approx(price, abs=max(0.006, price * 1e-9) if price < 33_000 else 0.05)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (margin.size_at, (41.5, True)),
        (margin.value_at, (41.5, True)),
        (margin.tier_of, (as_rows(brackets((10.0, 0.1, 1.0), (20.0, 0.2, 1.0)), False), 0, 2, 15.0)),
        (margin.maintenance, (as_rows(brackets((10.0, 0.1, 1.0), (20.0, 0.2, 1.0)), False), 0, 2, 0.01, 15.0)),
        (
            margin.liquidation_size,
            (-3.0, 5.0, 4.0, as_rows(brackets((10.0, 0.1, 1.0), (20.0, 0.2, 1.0)), False), 0, 2, 0.01, 5.0),
        ),
        (margin.bankruptcy_size, (-3.0, 5.0, 4.0)),
    ],
)
def test_compiled_and_plain_give_the_same_bits(function: Callable[..., float], arguments: tuple[Any, ...]) -> None:
    plain = getattr(function, "py_func", function)
    assert float(function(*arguments)) == float(plain(*arguments))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_ends(bad: float) -> None:
    """The search over brackets stops whatever it is given."""
    rows = as_rows(brackets((10.0, 0.1, 1.0), (20.0, 0.2, 1.0), (30.0, 0.3, 1.0)), False)
    for s in (1.0, -1.0):
        margin.liquidation_size(s, 5.0, bad, rows, 0, 3, 0.0, 5.0)
        margin.liquidation_size(s, 5.0, 1.0, rows, 0, 3, 0.0, bad)
        margin.liquidation_size(s, bad, 1.0, rows, 0, 3, 0.0, 5.0)
    assert margin.tier_of(rows, 0, 3, math.inf) == 2
    assert margin.tier_of(rows, 0, 3, math.nan) == 0
