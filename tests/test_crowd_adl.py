"""Deleveraging: what every policy must keep, what each promises, and published cases.

Each is compared with something that shares nothing with it: the queue with the plain one of `backtest.rules`, what
rises like water with a level found by bisection, min-max with a linear program.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backtest import rules
from backtest.crowd import formulas
from backtest.crowd.kernel import compile as compiling
from backtest.crowd.kernel import deleverage as adl

pytestmark = pytest.mark.kernel

CLOSE = 1e-9
POLICIES = {
    "queue": adl.QUEUE,
    "pro rata": adl.PRO_RATA,
    "capped": adl.CAPPED,
    "capped, then size": adl.CAPPED_THEN_SIZE,
    "min-max": adl.MIN_MAX,
}
few = settings(max_examples=20)  # of each policy
some = settings(max_examples=40)
every_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())


@dataclass(frozen=True)
class Side:
    """Candidates, and what is asked of them."""

    need: float
    loss: float
    cap: float
    size: np.ndarray
    profit: np.ndarray
    equity: np.ndarray
    score: np.ndarray

    def closed(self, policy: int, module: Any = adl) -> np.ndarray:
        return np.asarray(
            module.allocate(policy, self.need, self.loss, self.size, self.profit, self.equity, self.score, self.cap)
        )

    def of(self, places: np.ndarray) -> Side:
        return replace(self, **{name: getattr(self, name)[places] for name in ("size", "profit", "equity", "score")})

    @property
    def all(self) -> float:
        return float(self.size.sum())


def side(need: float, size: list[float], **given: Any) -> Side:
    """Everyone alike, but for what is given."""
    values = {name: np.array(given.get(name, [1.0] * len(size)), dtype=float) for name in ("profit", "equity", "score")}
    return Side(need, given.get("loss", 1.0), given.get("cap", 1.0), np.array(size, dtype=float), **values)


def steps(low: int, high: int) -> st.SearchStrategy[float]:
    """Eighths, so that ties and zeros are common."""
    return st.integers(low * 8, high * 8).map(lambda eighths: eighths / 8.0)


@st.composite
def sides(draw: st.DrawFn, profits: tuple[int, int] = (-9, 9), equities: tuple[int, int] = (-5, 20)) -> Side:
    n = draw(st.integers(1, 9))

    def column(low: int, high: int) -> np.ndarray:
        return np.array(draw(st.lists(steps(low, high), min_size=n, max_size=n)))

    size = column(0, 10)
    part = draw(st.sampled_from([0.0, 0.1, 0.37, 0.8, 1.0, 1.5]))
    return Side(
        part * float(size.sum()),
        draw(steps(0, 3)),
        draw(steps(0, 2)),
        size,
        column(*profits),
        column(*equities),
        column(-3, 3),
    )


def level_by_bisection(need: float, weight: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """min(limit, level x weight) that adds up to the need."""

    def at(level: float) -> np.ndarray:
        return np.minimum(limit, level * weight)

    low, high = 0.0, 1.0
    while at(high).sum() < need:
        high *= 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if at(middle).sum() < need else (low, middle)
    return at(high)


# ---- every policy ---------------------------------------------------------------------------------------------------


@every_policy
@few
@given(sides())
def test_what_is_closed_adds_up_and_nobody_is_closed_beyond_his_size(policy: int, one: Side) -> None:
    taken = one.closed(policy)
    assert np.all(taken >= 0.0)
    assert np.all(taken <= one.size * (1.0 + CLOSE))
    most = one.all
    if policy == adl.CAPPED:
        profit = np.maximum(one.profit, 0.0)
        limit = np.minimum(one.size, one.cap * profit / one.loss) if one.loss > 0.0 else one.size
        most = float(limit[profit > 0.0].sum())
    assert taken.sum() == pytest.approx(min(one.need, most), rel=CLOSE, abs=CLOSE)
    assert adl.unfilled(one.need, taken) == pytest.approx(max(0.0, one.need - most), rel=CLOSE, abs=CLOSE)


@every_policy
@few
@given(sides(), st.sampled_from([0.2, 0.9, 0.999]))
def test_who_is_asked_for_more_gives_no_less(policy: int, one: Side, part: float) -> None:
    fewer = replace(one, need=one.need * part).closed(policy)
    assert np.all(fewer <= one.closed(policy) + CLOSE)


@every_policy
@few
@given(sides(), st.randoms(use_true_random=False))
def test_the_order_of_accounts_breaks_ties_and_nothing_else(policy: int, one: Side, random: Any) -> None:
    one = replace(one, score=one.score + np.arange(len(one.score)) / 1024.0)  # no ties
    places = np.array(random.sample(range(len(one.size)), len(one.size)))
    assert one.of(places).closed(policy) == pytest.approx(one.closed(policy)[places], abs=CLOSE)


@every_policy
@few
@given(sides(), st.sampled_from([1e-6, 3.0, 1e9]))
def test_other_units_of_coins_and_money_change_nothing(policy: int, one: Side, times: float) -> None:
    coins = replace(one, need=one.need * times, size=one.size * times, loss=one.loss / times)
    assert coins.closed(policy) == pytest.approx(one.closed(policy) * times, rel=1e-7, abs=CLOSE * times)
    money = replace(one, profit=one.profit * times, equity=one.equity * times, loss=one.loss * times)
    assert money.closed(policy) == pytest.approx(one.closed(policy), rel=1e-7, abs=CLOSE)


@every_policy
def test_edges(policy: int) -> None:
    assert side(0.0, [1.0, 2.0]).closed(policy).tolist() == [0.0, 0.0]
    assert side(-1.0, [1.0, 2.0]).closed(policy).tolist() == [0.0, 0.0]
    assert side(1.0, []).closed(policy).tolist() == []
    assert side(0.75, [1.0]).closed(policy).tolist() == [0.75]
    assert side(5.0, [1.0]).closed(policy).tolist() == [1.0]
    nobody = side(1.0, [1.0, 3.0], profit=[-1.0, 0.0], equity=[0.0, -2.0], score=[1.0, 2.0]).closed(policy).tolist()
    assert nobody == {adl.QUEUE: [0.0, 1.0], adl.CAPPED: [0.0, 0.0]}.get(policy, [0.25, 0.75])


@every_policy
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["size", "profit", "equity", "score"])
def test_what_is_no_number_takes_no_part(policy: int, name: str, bad: float) -> None:
    values = {"profit": [2.0, 1.0, 4.0], "equity": [1.0, 5.0, 2.0], "score": [1.0, 2.0, 3.0], "size": [3.0, 1.0, 2.0]}
    values[name] = [bad, *values[name][1:]]
    one = side(4.0, values.pop("size"), **values)
    taken = one.closed(policy)
    assert np.all(np.isfinite(taken))
    if name != "size":
        assert np.all(taken <= one.size)
    assert taken.sum() == pytest.approx(3.0 if name == "size" else 4.0) or policy == adl.CAPPED


@every_policy
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_need_a_loss_or_a_cap_that_is_no_number_ends(policy: int, bad: float) -> None:
    one = side(2.0, [1.0, 2.0], profit=[1.0, 3.0])
    for broken in (replace(one, need=bad), replace(one, loss=bad), replace(one, cap=bad)):
        taken = broken.closed(policy)
        assert np.all((taken >= 0.0) & (taken <= broken.size))


# ---- what each promises ---------------------------------------------------------------------------------------------


@some
@given(sides())
def test_the_queue_is_the_plain_one(one: Side) -> None:
    candidates = [rules.Candidate(str(i), q, s) for i, (q, s) in enumerate(zip(one.size, one.score, strict=True)) if q]
    plain = rules.adl_queue(one.need, candidates)
    taken = {str(i): float(t) for i, t in enumerate(one.closed(adl.QUEUE)) if t}
    assert taken == pytest.approx(plain)


@some
@given(sides())
def test_nobody_is_closed_before_who_stands_ahead_of_him_is_closed_in_full(one: Side) -> None:
    taken = one.closed(adl.QUEUE)
    order = sorted(range(len(taken)), key=lambda i: (-one.score[i], i))
    for ahead, behind in itertools.pairwise(order):
        assert taken[behind] == 0.0 or taken[ahead] == one.size[ahead]


@some
@given(sides(profits=(0, 9)))
def test_pro_rata_is_in_proportion_to_profit_but_for_who_is_full(one: Side) -> None:
    able = one.profit > 0.0
    assume(one.need < one.size[able].sum())
    taken = one.closed(adl.PRO_RATA)
    assert taken == pytest.approx(level_by_bisection(one.need, one.profit, one.size), abs=1e-7)
    room = able & (taken < one.size)
    shares = taken[room] / one.profit[room]
    assert shares == pytest.approx(np.full(len(shares), shares.max(initial=0.0)), abs=CLOSE)
    assert not np.any(taken[~able])


@some
@given(sides(profits=(0, 9)), st.sampled_from([0.25, 0.5, 0.9]))
def test_splitting_an_account_changes_nothing_for_pro_rata(one: Side, part: float) -> None:
    def split(values: np.ndarray) -> np.ndarray:
        return np.concatenate(([values[0] * part, values[0] * (1.0 - part)], values[1:]))

    two = replace(one, size=split(one.size), profit=split(one.profit), equity=split(one.equity), score=split(one.score))
    whole, parts = one.closed(adl.PRO_RATA), two.closed(adl.PRO_RATA)
    assert parts[0] + parts[1] == pytest.approx(whole[0], abs=CLOSE)
    assert parts[2:] == pytest.approx(whole[1:], abs=CLOSE)


@some
@given(sides())
def test_capped_takes_no_more_of_anyones_profit_and_leaves_the_rest(one: Side) -> None:
    taken = one.closed(adl.CAPPED)
    most = one.cap * np.maximum(one.profit, 0.0)
    assert np.all(adl.haircuts(one.loss, taken) <= most * (1.0 + CLOSE))
    if adl.unfilled(one.need, taken) > 0.0:
        at_cap = one.loss * taken >= most * (1.0 - CLOSE)
        assert np.all(at_cap | (taken == one.size) | (one.profit <= 0.0))
    further = one.closed(adl.CAPPED_THEN_SIZE)
    assert np.all(further >= taken - CLOSE)
    if np.any(further > taken + CLOSE):
        left = one.size - taken
        part = min(1.0, (one.need - taken.sum()) / left.sum())
        assert further - taken == pytest.approx(part * left, abs=1e-7)


@some
@given(sides(profits=(0, 9)), st.sampled_from([1.0, 2.0]))
def test_a_cap_that_binds_nobody_is_pro_rata(one: Side, times: float) -> None:
    taken = one.closed(adl.PRO_RATA)
    shares = one.loss * taken[one.profit > 0.0] / one.profit[one.profit > 0.0]
    assume(not np.any(taken[one.profit <= 0.0]))
    capped = replace(one, cap=float(shares.max(initial=0.125)) * times * (1.0 + CLOSE))
    assert capped.closed(adl.CAPPED) == pytest.approx(taken, abs=1e-7)


@some
@given(sides())
def test_min_max_is_never_worse_than_another_by_its_own_measure(one: Side) -> None:
    smallest = adl.largest_share(one.loss, one.closed(adl.MIN_MAX), one.equity)
    for policy in (adl.QUEUE, adl.PRO_RATA, adl.CAPPED_THEN_SIZE):
        assert smallest <= adl.largest_share(one.loss, one.closed(policy), one.equity) * (1.0 + CLOSE)


@some
@given(sides(equities=(1, 20)))
def test_min_max_is_the_optimum_of_the_linear_program(one: Side) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    assume(0.0 < one.need <= one.all and one.loss > 0.0)
    n = len(one.size)
    answer = optimize.linprog(
        np.r_[np.zeros(n), 1.0],  # coins of each, and the largest share, which is to be small
        A_ub=np.c_[np.diag(np.full(n, one.loss)), -one.equity],
        b_ub=np.zeros(n),
        A_eq=np.r_[np.ones(n), 0.0][None, :],
        b_eq=[one.need],
        bounds=[*((0.0, q) for q in one.size), (0.0, None)],
    )
    assert answer.success
    taken = one.closed(adl.MIN_MAX)
    assert adl.largest_share(one.loss, taken, one.equity) == pytest.approx(answer.fun, rel=1e-6, abs=CLOSE)
    assert taken == pytest.approx(level_by_bisection(one.need, one.equity, one.size), abs=1e-7)


@every_policy
def test_at_the_bankruptcy_price_winners_give_what_the_loser_is_short_of_and_no_more(policy: int) -> None:
    one = side(4.0, [3.0, 2.0, 4.0], profit=[5.0, -1.0, 20.0], equity=[2.0, 9.0, 30.0], cap=2.0)
    entry, collateral, mark = 100.0, 12.0, 95.0  # a long of 4 coins, 8 short
    price = formulas.bankruptcy_price(1, one.need, entry, collateral)
    per_unit = adl.loss_per_unit_at(float(price), mark, 1)
    taken = replace(one, loss=per_unit).closed(policy)
    deficit = -(collateral + one.need * (mark - entry))
    assert adl.haircuts(per_unit, taken).sum() == pytest.approx(deficit)
    assert adl.overshoot(float(adl.haircuts(per_unit, taken).sum()), deficit) == pytest.approx(0.0, abs=CLOSE)
    assert adl.haircuts(adl.loss_per_unit_at(mark, mark, 1), taken).sum() == 0.0


def test_largest_share_of_who_has_nothing_is_infinite() -> None:
    taken, base = np.array([1.0, 0.0]), np.array([4.0, 0.0])
    assert adl.largest_share(2.0, taken, base) == 0.5
    assert adl.largest_share(2.0, taken[::-1].copy(), base) == math.inf
    assert adl.largest_share(-2.0, taken, base) == 0.0
    assert adl.haircuts(-2.0, taken).tolist() == [0.0, 0.0]  # a price better than the mark takes nothing


def test_rounding_is_not_left_over() -> None:
    assert adl.unfilled(1.0, np.full(10, 0.1)) == 0.0  # subtracted one by one they leave 1.4e-16
    assert adl.unfilled(1.0, np.array([1.25])) == 0.0
    assert adl.unfilled(1.0, np.array([0.25, 0.5])) == 0.25


# ---- rankings -------------------------------------------------------------------------------------------------------

MARK = 110.0
SIZE, ENTRY = np.array([2.0, 1.0, 5.0, 0.0, 1.0]), np.array([100.0, 120.0, 90.0, 100.0, 105.0])
EQUITY, KEPT = np.array([50.0, 30.0, 400.0, 10.0, -3.0]), np.array([2.0, 1.0, 6.0, 0.0, 1.0])


def ranked(ranking: int, held: int, start: int = 0) -> np.ndarray:
    return np.asarray(adl.scores(ranking, MARK, held, SIZE, ENTRY, EQUITY, KEPT, start))


@pytest.mark.parametrize("held", [1, -1])
def test_rankings_are_those_of_the_venue_rules(held: int) -> None:
    profit = held * SIZE * (MARK - ENTRY)
    binance = [rules.binance_adl_score(p, e - p, k) for p, e, k in zip(profit, EQUITY, KEPT, strict=True)]
    assert ranked(adl.BY_BINANCE, held) == pytest.approx(binance)
    for i in range(3):
        mark_value, entry_value = held * SIZE[i] * MARK, held * SIZE[i] * ENTRY[i]
        bitmex = rules.bitmex_adl_score(mark_value, entry_value, mark_value - EQUITY[i])
        assert ranked(adl.BY_LEVERAGED_PROFIT, held)[i] == pytest.approx(bitmex)
        hyperliquid = rules.hyperliquid_adl_score(MARK, ENTRY[i], SIZE[i] * MARK, EQUITY[i], held)
        assert ranked(adl.BY_HYPERLIQUID, held)[i] == pytest.approx(hyperliquid)
    for ranking in (adl.BY_LEVERAGED_PROFIT, adl.BY_HYPERLIQUID):  # without size, without equity
        assert ranked(ranking, held)[3:].tolist() == [-math.inf, -math.inf]


def test_a_venue_that_ranks_nobody_goes_round_the_accounts() -> None:
    assert adl.queue(ranked(adl.BY_TURN, 1, start=0)).tolist() == [0, 1, 2, 3, 4]
    assert adl.queue(ranked(adl.BY_TURN, 1, start=3)).tolist() == [3, 4, 0, 1, 2]
    assert adl.queue(ranked(adl.BY_TURN, 1, start=13)).tolist() == [3, 4, 0, 1, 2]


def test_equal_scores_go_by_account_number_and_no_number_is_last() -> None:
    assert adl.queue(np.array([1.0, math.nan, 2.0, 2.0, -math.inf, math.inf])).tolist() == [5, 2, 3, 0, 1, 4]


# ---- published ------------------------------------------------------------------------------------------------------


def test_the_queue_of_bitmex() -> None:
    """testnet.bitmex.com/app/autoDeleveragingExamples: a short of 20, closed at its bankruptcy price of 650."""
    longs = side(20.0, [10.0, 10.0, 20.0, 30.0, 20.0, 10.0], score=[3.0, 6.0, 1.0, 4.0, 5.0, 2.0])
    assert longs.closed(adl.QUEUE).tolist() == [0.0, 10.0, 0.0, 0.0, 10.0, 0.0]


def test_dydx_closes_at_the_bankruptcy_price() -> None:
    """dydxprotocol/v4-documentation, contract-loss-mechanism: short 500 from 1.0 on 100, oracle at 2.0."""
    assert formulas.equity_with_funding(-1, 500.0, 1.0, 100.0, 2.0) == pytest.approx(-400.0)
    price = formulas.bankruptcy_price(-1, 500.0, 1.0, 100.0)
    assert price == pytest.approx(1.2)
    assert -500.0 * (float(price) - 1.0) == pytest.approx(-100.0)  # of the account closed: its collateral
    per_unit = adl.loss_per_unit_at(float(price), 2.0, -1)
    longs = side(500.0, [300.0, 400.0])
    assert adl.haircuts(per_unit, longs.closed(adl.PRO_RATA)).sum() == pytest.approx(400.0)


def test_threshold_of_okx() -> None:
    """A third party's copy of OKX's article: the 8-hour average of 400,000 less 30 %."""
    assert rules.okx_adl_threshold(400_000.0) == pytest.approx(280_000.0, abs=1e-6)


WAVES = [  # budget needed, budget taken, dollars
    (2266239.82, 414233.97),
    (1383878.32, 171137.10),
    (1065843.45, 407593.47),
    (115496.58, 41011.41),
    (8055.87, 8995.09),
    (1576039.22, 11415047.96),
    (44867.64, 16097.97),
    (1622228.64, 1071568.12),
    (373726.47, 1202926.64),
    (5177.08, 7682.72),
    (5584123.65, 38449033.21),
    (1021113.06, 6612642.34),
    (9400.22, 243600.80),
    (1545.19, 18544.06),
    (671.65, 17880.94),
    (1262.75, 10339.52),
]


def test_overshoot_of_hyperliquid_on_2025_10_10() -> None:
    """pluriholonomic/autodeleveraging-analysis, out/: waves 5 s apart, and the headline 45,028,665.72.

    The headline adds up signed differences: in six of the waves less was taken than needed.
    """
    differences = [adl.overshoot(imposed, needed) for needed, imposed in WAVES]
    assert len(WAVES) == 16
    assert math.fsum(differences) == pytest.approx(45_028_665.72, abs=0.1)
    assert sum(d < 0.0 for d in differences) == 6
    assert math.fsum(max(0.0, d) for d in differences) == pytest.approx(49.405e6, rel=1e-3)


# ---- compiled and plain ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    """The module with nothing compiled in it, down to the functions that its functions call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "jit", lambda function: function)
        spec = importlib.util.spec_from_file_location("plain_deleverage", str(adl.__file__))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@every_policy
@few
@given(one=sides())
def test_compiled_and_plain_close_the_same_bits(plain: ModuleType, policy: int, one: Side) -> None:
    assert one.closed(policy).tobytes() == one.closed(policy, plain).tobytes()


@pytest.mark.parametrize("ranking", [adl.BY_BINANCE, adl.BY_LEVERAGED_PROFIT, adl.BY_HYPERLIQUID, adl.BY_TURN])
@pytest.mark.parametrize("held", [1, -1])
def test_compiled_and_plain_rank_alike(plain: ModuleType, ranking: int, held: int) -> None:
    by_plain = plain.scores(ranking, MARK, held, SIZE, ENTRY, EQUITY, KEPT, 2)
    np.testing.assert_allclose(ranked(ranking, held, 2), by_plain, rtol=1e-15)  # a power by -1 may round otherwise


TAKEN, BASE = np.array([1.0, 2.0, 0.5]), np.array([4.0, 1.0, 7.0])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("finite_above_zero", (np.array([1.0, -1.0, math.nan, math.inf, 0.0]),)),
        ("queue", (np.array([1.0, math.nan, 2.0, 2.0]),)),
        ("in_turn", (2.5, TAKEN, np.array([1, 0, 2]))),
        ("within_cap", (TAKEN, BASE, 3.0, 0.7)),
        ("capacity", (np.array([1.0, 0.0, 2.0]), TAKEN)),
        ("fill", (2.0, BASE, TAKEN)),
        ("score_of", (adl.BY_BINANCE, 110.0, 1, 2.0, 100.0, 50.0, 2.0)),
        ("binance_score", (3.0, 20.0, 1.0)),
        ("leveraged_score", (-0.1, 3.0)),
        ("hyperliquid_score", (110.0, 100.0, 220.0, 50.0, 1)),
        ("loss_per_unit_at", (90.0, 85.0, 1)),
        ("haircuts", (0.3, TAKEN)),
        ("largest_share", (0.3, TAKEN, BASE)),
        ("overshoot", (3.0, 2.0)),
        ("unfilled", (4.0, TAKEN)),
    ],
)
def test_compiled_and_plain_give_the_same_bits(plain: ModuleType, name: str, arguments: tuple[Any, ...]) -> None:
    compiled: Callable[..., Any] = getattr(adl, name)
    assert np.asarray(compiled(*arguments)).tobytes() == np.asarray(getattr(plain, name)(*arguments)).tobytes()
