"""Worked cases of venues: ours agree, a wrong formula is noticed, and what cannot be judged says why."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import random
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest import cli, margin, rules, verify, worked_margin, worked_rules
from backtest.profiles import PROFILES
from backtest.worked import Case, checked
from data.errors import BadInput

pytestmark = pytest.mark.kernel

CASES = verify.load()


def case(kind: str, inputs: dict[str, Any], expected: dict[str, Any], venue: str = "binance", **more: Any) -> Case:
    raw = {"id": "made", "venue": venue, "kind": kind, "inputs": inputs, "expected": expected, **more}
    return checked(raw, 1, "here")


def ours(kind: str, inputs: dict[str, Any], name: str, venue: str = "binance", contract: str = "linear") -> Any:
    """What we say, whatever is expected."""
    return verify.check(case(kind, inputs, {name: 0.0}, venue, contract=contract)).ours.get(name)


# --- the cases that come along -------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", CASES, ids=lambda c: c.id)
def test_every_case_that_comes_along_agrees(one: Case) -> None:
    outcome = verify.check(one)
    assert (outcome.status, outcome.reason) == ("pass", "")


def test_they_cover_every_venue_and_every_kind_and_name_their_source() -> None:
    assert len(CASES) >= 25
    assert {c.venue for c in CASES} == set(PROFILES) - {"sim"}  # the simulated venue publishes nothing
    assert {c.kind for c in CASES} == set(verify.KINDS) - {"account_risk"}
    assert all(len(c.source) > 15 for c in CASES)
    assert len({c.id for c in CASES}) == len(CASES)


@pytest.mark.real_data
def test_the_shared_cases_agree(shared_dir: Path) -> None:
    path = shared_dir.parent / "oracles" / "venues.json"
    if not path.is_file():
        pytest.skip("no shared file of worked cases")
    left = [(o.id, o.status, o.reason) for o in verify.run(verify.load(path)) if o.status != "pass"]
    assert left == []


# --- a wrong formula is noticed ------------------------------------------------------------------------------------


UNPUBLISHED = ("kept_after_reduction",)  # no venue gives an example of one; tests/mutants break it, and are noticed


def _functions(module: types.ModuleType) -> list[str]:
    def home(value: object) -> str:
        return str(getattr(getattr(value, "py_func", value), "__module__", ""))

    return [
        name
        for name, value in vars(module).items()
        if callable(value)
        and not isinstance(value, type)
        and home(value) == module.__name__
        and name not in UNPUBLISHED
    ]


def _off_by_a_hundredth(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(*args: Any, **options: Any) -> Any:
        return _wrong(function(*args, **options))

    return wrong


def _wrong(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return {"long": "short", "short": "long"}[value]
    if isinstance(value, dict):
        return {name: _wrong(item) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{f.name: _wrong(getattr(value, f.name)) for f in dataclasses.fields(value)})
    return value * 1.01 if value else value + 0.01


@pytest.mark.parametrize("name", _functions(margin))
def test_one_percent_in_a_function_of_the_loops_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(margin, name)
    wrong = _off_by_a_hundredth(right)
    if name == "tier_of":  # a row has no hundredth: the one below
        wrong = lambda tiers, first, count, n: max(first, right(tiers, first, count, n) - 1)  # noqa: E731
    monkeypatch.setattr(margin, name, wrong)
    failed = [o for o in verify.run(CASES) if o.status == "fail"]
    assert failed, f"nothing checks margin.{name}"
    assert all(o.reason for o in failed)


@pytest.mark.parametrize("name", _functions(rules))
def test_one_percent_in_a_rule_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, name, _off_by_a_hundredth(getattr(rules, name)))
    assert any(o.status == "fail" for o in verify.run(CASES)), f"nothing checks rules.{name}"


def test_the_margin_of_the_loops_is_what_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    called: set[str] = set()
    names = _functions(margin)
    for name in names:
        monkeypatch.setattr(margin, name, _noting(called, name, getattr(margin, name)))
    verify.run(CASES)
    assert called == set(names)


def _noting(called: set[str], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def noted(*args: Any) -> Any:
        called.add(name)
        return function(*args)

    return noted


# --- the same account, told in other words -------------------------------------------------------------------------

FAQ = {"mode": "cross", "side": "long", "wallet_balance": 1535443.01, "qty": 3683.979, "entry_price": 1456.84}
BTC = {"symbol": "BTC", "side": "long", "qty": 109.488, "entry_price": 32481.98, "mark_price": 31967.27}
ETH_RATE, BTC_RATE = {"mmr": 0.1, "maint_amount": 135365.0}, {"mmr": 0.025, "maint_amount": 16300.0}

SAME_PRICE = {
    "sums": {**FAQ, **ETH_RATE, "other_maintenance": 71200.81144, "other_unrealized": -56354.56848},
    "others": {**FAQ, **ETH_RATE, "others": [{**BTC, **BTC_RATE}]},
    "venue names": {
        "marginType": "cross", "positionSide": "LONG", "crossWalletBalance": 1535443.01,
        "qty": "3683.979", "entryPrice": "1456.84", "maintMarginRatio": "0.1", "cum": "135365.0",
        "others": [{**BTC, **BTC_RATE}],
    },
    "positions": {
        "mode": "cross", "wallet_balance": 1535443.01, "symbol": "ETH",
        "positions": [
            {**BTC, **BTC_RATE},
            {"symbol": "ETH", "signed_qty": 3683.979, "entry_price": 1456.84, **ETH_RATE},
        ],
    },
    "a table of one bracket": {**FAQ, "tiers": [{"floor": 0, "cap": 1e12, "mmr": 0.1, "cum": 135365.0}],
                               "others": [{**BTC, **BTC_RATE}]},
}  # fmt: skip


@pytest.mark.parametrize("words", SAME_PRICE)
def test_an_account_told_in_other_words_has_the_same_price(words: str) -> None:
    """Binance FAQ: 1,153.26."""
    with_first = copy.deepcopy(SAME_PRICE[words])
    if words == "a table of one bracket":  # a first bracket with an amount is no table of a venue, but says the same
        with_first["tiers"][0]["floor"] = 0
    assert ours("liq_price", with_first, "liq_price") == pytest.approx(1153.26, abs=0.01)


def test_isolated_positions_do_not_see_the_others() -> None:
    alone = {"mode": "isolated", "side": "long", "qty": 1.0, "entry_price": 100.0, "margin": 10.0, "mmr": 0.01}
    beside = {**alone, "other_maintenance": 5.0, "other_unrealized": -3.0}
    assert ours("liq_price", alone, "liq_price") == ours("liq_price", beside, "liq_price")


@pytest.mark.parametrize("venue", ["binance", "okx", "hyperliquid", "gate", "dydx", "generic"])
@pytest.mark.parametrize("contract", ["linear", "inverse"])
@pytest.mark.parametrize("side", ["long", "short", "BUY", "Sell"])
def test_margin_may_be_given_as_leverage(venue: str, contract: str, side: str) -> None:
    inputs = {"side": side, "qty": 50.0, "entry_price": 20.0, "mmr": 0.01, "taker_fee": 0.0005}
    value = 50.0 * 20.0 if contract == "linear" else 50.0 / 20.0
    by_leverage = ours("liq_price", {**inputs, "leverage": 10}, "liq_price", venue, contract)
    by_margin = ours("liq_price", {**inputs, "margin": value / 10}, "liq_price", venue, contract)
    assert by_leverage == pytest.approx(by_margin, rel=1e-12)
    is_long = side.lower() in ("long", "buy")
    assert (by_leverage < 20.0) == is_long


@pytest.mark.parametrize("contract", ["linear", "inverse"])
@pytest.mark.parametrize("side", [1, -1])
def test_added_margin_and_funding_move_the_price(contract: str, side: int) -> None:
    for venue in ("binance", "bybit"):
        inputs = {"side": side, "qty": 60_000, "entry_price": 50_000, "leverage": 10, "mmr": 0.005}
        unit = 1e3 if contract == "inverse" else 1e-6
        amount = 60_000 / 50_000 / 20 if contract == "inverse" else 60_000 * 50_000 / 20
        base = ours("liq_price", inputs, "liq_price", venue, contract)
        more = ours("liq_price", {**inputs, "added_margin": amount}, "liq_price", venue, contract)
        less = ours("liq_price", {**inputs, "funding_taken": amount}, "liq_price", venue, contract)
        assert side * (base - more) > unit / 1e6
        assert side * (less - base) > unit / 1e6


def test_the_whole_rate_ignores_amounts_and_takes_the_fee() -> None:
    inputs = {
        "side": "long",
        "entry_price": 10,
        "qty": 1,
        "leverage": 5,
        "mmr": 0.01,
        "maint_amount": 0.5,
        "taker_fee": 6e-4,
    }
    assert ours("liq_price", inputs, "liq_price", "okx") == pytest.approx(8 / (1 - 0.0106))
    assert ours("liq_price", inputs, "liq_price", "binance") == pytest.approx((8 - 0.5) / 0.99)


TABLES: dict[str, Any] = {
    "floor, cap, rate, amount": [[0, 50000, 0.004, 0], [50000, 250000, 0.005, 50]],
    "floor, cap, rate, leverage": [[0, 50000, 0.004, 125], [50000, 250000, 0.005, 100]],
    "floor, cap, rate": [[0, 50000, 0.004], [50000, 250000, 0.005]],
    "cap, rate": [[50000, 0.004], [250000, 0.005]],
    "cap, rate, amount": [[50000, 0.004, 0], [250000, 0.005, 50]],
    "floor, rate": [[0, 0.004], [50000, 0.005]],
    "floor, cap, rate, leverage, amount": [[0, 50000, 0.004, 125, 0], [50000, 250000, 0.005, 100, 50]],
    "names": [
        {"notionalFloor": 0, "notionalCap": 50000, "maintMarginRatio": 0.004, "cum": 0},
        {"notionalFloor": 50000, "notionalCap": 250000, "maintMarginRatio": 0.005, "cum": 50},
    ],
    "risk limits": [
        {"riskLimitValue": "50000", "maintenanceMargin": "0.004", "mmDeduction": ""},
        {"riskLimitValue": "250000", "maintenanceMargin": "0.005", "mmDeduction": "50"},
    ],
    "columns": {"columns": ["cap", "mmr"], "rows": [[50000, 0.004], [250000, 0.005]]},
}


@pytest.mark.parametrize("form", TABLES)
def test_tables_of_every_form_are_the_same_table(form: str) -> None:
    inputs = {"qty": 2.0, "mark_price": 60_000.0, "tiers": TABLES[form]}
    assert ours("maintenance_margin", inputs, "maintenance_margin") == pytest.approx(120_000 * 0.005 - 50)
    assert ours("maintenance_margin", {**inputs, "qty": 0.5}, "maintenance_margin") == pytest.approx(120.0)


def test_a_notional_may_be_stated() -> None:
    """Hyperliquid's table of BTC: 200M is 150M at 1.25 % and 50M at 2.5 %."""
    inputs = {"position_value": 200e6, "tiers": [[0, 40], [150e6, 20]]}
    assert ours("maintenance_margin", inputs, "maintenance_margin", "hyperliquid") == pytest.approx(3_125_000)
    assert ours("initial_margin", {"notional": 5_000.0, "leverage": 20}, "initial_margin") == pytest.approx(250.0)
    assert ours("maintenance_margin", {"value": 3_500, "mmr": 0.02}, "maintenance_margin", "bybit") == pytest.approx(
        70.0
    )


@pytest.mark.parametrize("side", ["long", "short"])
def test_hyperliquid_by_account_value_or_by_what_is_available(side: str) -> None:
    """Docs, liquidations: price - side x available / size / (1 - l side), in a cross account with other positions."""
    sign, rate, total = (1 if side == "long" else -1), 1 / 80, 700.0
    inputs = {"mode": "cross", "side": side, "size": 2.0, "mark_price": 10_000.0, "max_leverage": 40}
    account = {**inputs, "account_value": 3_000.0, "maintenance_margin_required": total}
    expected = 10_000.0 - sign * (3_000.0 - total) / 2.0 / (1.0 - rate * sign)
    assert ours("liq_price", account, "liq_price", "hyperliquid") == pytest.approx(expected)
    available = {**inputs, "margin_available": 2_300.0}
    assert ours("liq_price", available, "liq_price", "hyperliquid") == pytest.approx(expected)


def test_bybit_of_two_vintages() -> None:
    """Maintenance at entry until 2025, at the level itself since; position margins at entry, then at mark."""
    inputs = {"side": "long", "entry_price": 100.0, "mark_price": 90.0, "qty": 1, "leverage": 10, "mmr": 0.05}
    old, new = {**inputs, "as_of": "2024-06-01"}, {**inputs, "as_of": "2026-06-01"}
    assert ours("liq_price", old, "liq_price", "bybit") == pytest.approx(95.0)
    assert ours("liq_price", new, "liq_price", "bybit") == pytest.approx(90 / 0.95)
    assert ours("position_margin", old, "position_mm", "bybit") == pytest.approx(5.0)
    assert ours("position_margin", new, "position_mm", "bybit") == pytest.approx(4.5)
    assert ours("position_margin", {**new, "maintenance_value_at": "entry"}, "position_mm", "bybit") == 5.0
    assert ours("position_margin", {**inputs}, "position_im", "bybit") == pytest.approx(9.0)


def test_contracts_of_coin_margined_futures_have_a_size() -> None:
    inputs = {"side": "long", "contracts": 100, "entry_price": 50_000.0, "leverage": 10, "mmr": 0.01}
    btc = ours("bankruptcy_price", {**inputs, "mark_price": 1.0}, "initial_margin", "binance", "inverse")
    eth = ours("bankruptcy_price", {**inputs, "symbol": "ETHUSD_PERP"}, "initial_margin", "binance", "inverse")
    assert btc == pytest.approx(100 * 100 / 50_000 / 10)
    assert eth == pytest.approx(100 * 10 / 50_000 / 10)


def test_built_in_tables_serve_symbols_that_they_name() -> None:
    inputs = {"symbol": "BTC/USDT:USDT", "qty": 2.0, "mark_price": 50_000.0}
    assert ours("maintenance_margin", inputs, "maintenance_margin") == pytest.approx(450.0)
    lacking = verify.check(case("maintenance_margin", {**inputs, "symbol": "NEW/USDT:USDT"}, {"maintenance_margin": 1}))
    assert (lacking.status, lacking.reason) == ("unsupported", "its inputs name neither a maintenance rate nor tiers")


@pytest.mark.parametrize(
    ("changed", "contract", "said"),
    [
        ({"side": "up"}, "linear", "side is 'up', neither long nor short"),
        ({"qty": -1.0}, "linear", "its side is long and its size is -1"),
        ({"entry_price": 0.0}, "linear", "entry_price is 0, which is no price"),
        ({"leverage": -10.0}, "linear", "leverage is -10"),
        ({"mmr": -0.1}, "linear", "mmr is -0.1"),
        ({"margin": -5.0}, "linear", "margin is -5"),
        ({"mode": "portfolio"}, "linear", "mode is 'portfolio', neither isolated nor cross"),
        ({}, "quanto", "contract is 'quanto', neither linear nor inverse"),
        ({"mmr": None, "tiers": [[0, 10, 0.01], [50, 100, 0.02]]}, "linear", "bracket 2 of its table begins at 50"),
        ({"mmr": None, "tiers": [[0, 10, 0.02], [10, 100, 0.01]]}, "linear", "has a maintenance rate of 0.01"),
        ({"mmr": None, "tiers": [[0, 10, 0.01], [10, 5, 0.02]]}, "linear", "goes from 10 to 5"),
    ],
)
def test_nonsense_is_said_and_not_computed(changed: dict[str, Any], contract: str, said: str) -> None:
    inputs = {"side": "long", "qty": 1.0, "entry_price": 100.0, "margin": 10.0, "mmr": 0.01} | changed
    outcome = verify.check(case("liq_price", inputs, {"liq_price": 91.0}, contract=contract))
    assert outcome.status == "unsupported"
    assert said in outcome.reason


def test_a_tolerance_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.json"
    one = {"id": "loose", "kind": "pnl", "inputs": {}, "expected": {"pnl": 1.0}, "tolerance": {"abs": math.inf}}
    path.write_text(json.dumps({"cases": [one]}))
    with pytest.raises(BadInput, match="loose: the tolerance abs is inf"):
        verify.load(path)


@given(
    long=st.floats(0.1, 10.0),
    short=st.floats(0.1, 10.0),
    entries=st.tuples(st.floats(50.0, 200.0), st.floats(50.0, 200.0)),
    balance=st.floats(1.0, 2_000.0),
    inverse=st.booleans(),
)
def test_both_sides_in_hedge_mode_are_liquidated_where_their_margin_is_met(
    long: float, short: float, entries: tuple[float, float], balance: float, inverse: bool
) -> None:
    sizes = (long * 1e4, short * 1e4) if inverse else (long, short)
    legs = [rules.HedgeLeg(1, sizes[0], entries[0], 0.01), rules.HedgeLeg(-1, sizes[1], entries[1], 0.02, 0.1)]
    price = rules.hedge_liquidation_price(balance, legs, inverse)
    if price is None:
        return
    size = 1.0 / price if inverse else price
    profits = sum(
        leg.side * leg.quantity * ((1 / leg.entry - 1 / price) if inverse else price - leg.entry) for leg in legs
    )
    kept = sum(leg.quantity * size * leg.mmr - leg.maint_amount for leg in legs)
    scale = balance + sum(leg.quantity * size for leg in legs) + abs(profits)
    assert balance + profits - kept == pytest.approx(0.0, abs=1e-9 * scale)


def test_a_hedge_without_a_price_says_so() -> None:
    """Both sides of one size: no price loses."""
    leg = {"qty": 1, "entry_price": 100, "mmr": 0.0}
    inputs = {"mode": "cross", "wallet_balance": 50, "long": leg, "short": leg}
    outcome = verify.check(case("liq_price", inputs, {"liq_price": None}))
    assert (outcome.status, outcome.ours) == ("pass", {"liq_price": None})


def test_equality_liquidates_and_a_hair_more_does_not() -> None:
    inputs = {"mode": "isolated", "qty": 1, "entry_price": 60_000, "margin": 747.5, "mark_price": 59_500}
    tiers = TABLES["floor, cap, rate, amount"]
    assert ours("account_risk", {**inputs, "tiers": tiers}, "liquidated") is True
    assert ours("account_risk", {**inputs, "margin": 747.6, "tiers": tiers}, "liquidated") is False


@pytest.mark.parametrize(
    ("venue", "raw", "side"),
    [
        ("binance", "S=SELL", "long"), ("binance", "S=BUY", "short"), ("bybit", "S=Sell", "short"),
        ("bybit", {"S": "Buy"}, "long"), ("okx", "posSide=long, side=sell", "long"), ("bitmex", "side=Buy", "short"),
        ("okx", "posSide=short, side=buy", "short"), ("okx", "posSide=net, side=buy", "short"),
    ],
)  # fmt: skip
def test_which_position_a_message_is_about(venue: str, raw: Any, side: str) -> None:
    assert ours("liquidation_side", {"raw": raw}, "liquidated_position", venue) == side


# --- comparing -----------------------------------------------------------------------------------------------------

PNL = {"side": "long", "qty": 1, "entry_price": 100.0, "close_rate": 110.0}


@pytest.mark.parametrize(
    ("expected", "tolerance", "status"),
    [
        (10.0, {}, "pass"),
        (10.001, {}, "fail"),
        (10.001, {"abs": 0.0011}, "pass"),
        (10.001, {"abs": 0.0009}, "fail"),
        (10.1, {"rel": 0.01}, "pass"),
        (10.2, {"rel": 0.01}, "fail"),
        (10.2, {"rel": 0.01, "abs": 0.3}, "pass"),
        (10.2, {"net_pnl": {"abs": 0.3}, "abs": 1e-9}, "pass"),
        ("10", {"abs": 1}, "fail"),
        (None, {"abs": 1}, "fail"),
        (True, {"abs": 100}, "fail"),
        ([10.0], {"abs": 1}, "fail"),
        ({"a": 10.0}, {"abs": 1}, "fail"),
        (float("nan"), {"abs": 1}, "fail"),
    ],
)
def test_a_value_agrees_within_its_tolerance(expected: Any, tolerance: dict[str, Any], status: str) -> None:
    outcome = verify.check(case("pnl", PNL, {"net_pnl": expected}, tolerance=tolerance))
    assert outcome.status == status
    assert bool(outcome.reason) == (status == "fail")


def test_every_expected_value_is_compared() -> None:
    right = {"net_pnl": 10.0, "unrealised_usdt": 10.0, "unrealized": 10.0, "commission_btc": 0.0}
    assert verify.check(case("pnl", PNL, right)).status == "pass"
    outcome = verify.check(case("pnl", PNL, {**right, "fees": 0.5}))
    assert (outcome.status, outcome.error, outcome.reason) == ("fail", 0.5, "fees is 0, not 0.5")
    unknown = verify.check(case("pnl", PNL, {**right, "moon_phase": 1}))
    assert (unknown.status, unknown.reason) == ("unsupported", "no rule here gives moon_phase of these inputs")
    both = verify.check(case("pnl", PNL, {"fees": 0.5, "moon_phase": 1}))
    assert both.status == "fail"


def test_lists_and_queues_are_compared_item_by_item() -> None:
    rows = {"columns": ["cap", "mmr"], "rows": [[10, 0.1], [20, 0.2]]}
    assert verify.check(case("bracket_table", rows, {"cum": [0, 1]})).status == "pass"
    assert verify.check(case("bracket_table", rows, {"cum": [0, 1, 2]})).status == "fail"
    assert verify.check(case("bracket_table", rows, {"cum": [0, 2]})).error == 1.0
    queue = {"bankruptcy_price": 5, "liquidated_size": 3, "longs": [{"account": "a", "qty": 9, "score": 1}]}
    assert verify.check(case("adl", queue, {"closed": {"a": 3}})).status == "pass"
    assert verify.check(case("adl", queue, {"closed": {"a": 3, "b": 1}})).status == "fail"
    assert verify.check(case("adl", queue, {"closed": {"b": 3}})).status == "fail"


def test_what_cannot_be_judged_says_why() -> None:
    kind = verify.check(case("moon_phase", {"a": 1}, {"b": 2}))
    assert kind.status == "unsupported"
    assert kind.reason.startswith("no kind 'moon_phase'; there is: account_risk, adl")
    lacking = verify.check(case("pnl", {"side": "long", "qty": 1}, {"net_pnl": 1}))
    assert (lacking.status, lacking.reason) == ("unsupported", "its inputs have no number called entry_price")
    rule = verify.check(case("adl_trigger", {"balance": 1}, {"triggered": True}, "hyperliquid"))
    assert rule.reason == "no published rule says when hyperliquid begins to deleverage"


# --- files ---------------------------------------------------------------------------------------------------------

BROKEN = {
    "not JSON": ("{", "not JSON: .* in line 1"),
    "no cases": ("{}", "no cases; write"),
    "empty": ('{"cases": []}', "no cases; write"),
    "a number": ("5", "no cases; write"),
    "not an object": ('{"cases": [5]}', "case 1 is not an object"),
    "no kind": ('{"cases": [{"id": "a", "inputs": {}, "expected": {"b": 1}}]}', "a has no 'kind'"),
    "inputs of another form": ('{"cases": [{"kind": "pnl", "inputs": [], "expected": {"b": 1}}]}', "not an object"),
    "nothing expected": ('{"cases": [{"id": "a", "kind": "pnl", "inputs": {}, "expected": {}}]}', "a expects nothing"),
    "tolerance": (
        '{"cases": [{"id": "a", "kind": "pnl", "inputs": {}, "expected": {"b": 1}, "tolerance": 0.1}]}',
        'write the tolerance as {"abs": 0.01}',
    ),
    "not text": (b"\xff\xfe\x00", "not a text file in UTF-8"),
    "too deep": ("[" * 100_000, "nested too deep|not JSON"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_one_line(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, said = BROKEN[what]
    path = tmp_path / "cases.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput, match=said):
        verify.load(path)
    assert cli.main(["verify", "--cases", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"unwind: {path}: ")


JUNK: list[Any] = [
    None, True, "x", "", 0, -1, -0.0, 1e300, float("nan"), float("inf"), [], [1], [[1, 2]], [[]], [[0, "a"]], {},
    {"a": 1}, [None], [{"qty": "a"}], "2020-01-01", "short",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_spoilt_inputs_are_judged_not_raised(seed: int) -> None:
    """Every case with a few of its inputs dropped or replaced: pass, fail or unsupported, never an exception."""
    draw = random.Random(seed)
    for one in CASES:
        for spoilt in _spoilt(one, draw):
            outcome = verify.check(spoilt)
            assert outcome.status in ("pass", "fail", "unsupported")
            assert (outcome.status == "pass") == (outcome.reason == "")


def _spoilt(one: Case, draw: random.Random) -> Iterator[Case]:
    for _ in range(5):
        inputs = copy.deepcopy(dict(one.inputs))
        for _ in range(draw.randint(1, 3)):
            place = inputs
            name = draw.choice(list(place) or ["a"])
            nested = place.get(name)
            if isinstance(nested, list) and nested and isinstance(nested[0], dict) and draw.random() < 0.6:
                place = draw.choice([row for row in nested if isinstance(row, dict)])
                name = draw.choice(list(place) or ["a"])
            place.pop(name, None)
            if draw.random() < 0.6:
                place[name] = draw.choice(JUNK)
        venue = draw.choice([one.venue, one.venue, *PROFILES, "unheard"])
        kind = draw.choice([one.kind, one.kind, one.kind, *verify.KINDS])
        contract = draw.choice([one.contract, "linear", "inverse"])
        yield dataclasses.replace(one, inputs=inputs, venue=venue, kind=kind, contract=contract)


# --- as typed ------------------------------------------------------------------------------------------------------


def typed(capsys: pytest.CaptureFixture[str], *tokens: str) -> tuple[int, str, str]:
    code = cli.main(["verify", *tokens])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_the_verb_prints_a_table_by_venue_and_kind(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = typed(capsys)
    assert (code, err) == (0, "")
    many = len(CASES) + len(verify.load_statistics())
    assert out.splitlines()[-1] == f"{many} worked cases: {many} agree."
    rows = [line.split("│") for line in out.splitlines() if line.startswith("│")]
    assert len(rows) == many
    order = [(row[1].strip(), row[2].strip()) for row in rows]
    assert order == sorted(order)
    assert any("11383.99" in line.replace(",", "") for line in out.splitlines())


def test_a_case_that_does_not_agree_is_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = {"id": "good", "venue": "binance", "kind": "pnl", "inputs": PNL, "expected": {"net_pnl": 10}}
    strange = {**good, "id": "strange", "kind": "moon"}
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"cases": [good, strange]}))
    code, out, _ = typed(capsys, "--cases", str(path))
    assert code == 0
    assert out.splitlines()[-1] == "2 worked cases: 1 agree, 1 unsupported."
    path.write_text(json.dumps({"cases": [good, {**good, "id": "bad", "expected": {"net_pnl": 11}}, strange]}))
    code, out, _ = typed(capsys, "--cases", str(path))
    assert code == 1
    assert "net_pnl is 10, not 11" in out
    assert out.splitlines()[-1] == "3 worked cases: 1 agree, 1 DO NOT AGREE, 1 unsupported."


def test_json_has_a_row_for_each_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cases.json"
    rows = [
        {"id": "a", "venue": "binance", "kind": "pnl", "inputs": PNL, "expected": {"net_pnl": 11}},
        {"id": "b", "kind": "moon", "inputs": {}, "expected": {"x": 1}},
    ]
    path.write_text(json.dumps(rows))
    code, out, err = typed(capsys, "--cases", str(path), "--json")
    assert code == 1
    assert "DO NOT AGREE" in err
    first, second = json.loads(out)["cases"]
    assert first == {
        "id": "a", "venue": "binance", "kind": "pnl", "expected": {"net_pnl": 11}, "ours": {"net_pnl": 10.0},
        "error": 1.0, "status": "fail", "reason": "net_pnl is 10, not 11",
    }  # fmt: skip
    assert list(second) == list(first)
    assert (second["venue"], second["status"], second["error"], second["ours"]) == ("generic", "unsupported", None, {})


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = typed(capsys, "--cases", str(tmp_path / "none.json"))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


DOCS = (Path(__file__).resolve().parents[1] / "docs" / "venues.md").read_text(encoding="utf-8")


def test_the_python_of_the_docs_runs() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "docs/venues.md", "exec"), {})


def test_the_case_of_the_docs_agrees_and_all_kinds_are_listed(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```json\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
    path = tmp_path / "mine.json"
    path.write_text(block)
    assert [o.status for o in verify.run(verify.load(path))] == ["pass"]
    listed = DOCS[DOCS.index("Kinds: ") : DOCS.index("Inputs go by")]
    assert set(re.findall(r"`(\w+)`", listed)) == set(verify.KINDS)


def test_kinds_are_told_once() -> None:
    assert not set(worked_margin.KINDS) & set(worked_rules.KINDS)
