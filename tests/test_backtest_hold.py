"""Buying and keeping: against numbers worked by hand, then by properties."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.hold import Bars, Hold, Settlements, held, hold
from data import market_input
from data.align import Bars as Candles
from data.clock import HOUR, MINUTE
from data.errors import BadInput, NotFound
from data.market import Market, SymbolData

NAN = np.nan


def bars(open_: list[float], mark: list[float], mark_open: list[float] | None = None) -> Bars:
    opens = np.array(open_)
    return Bars(
        ts=np.arange(len(open_), dtype=np.int64) * HOUR,
        interval=HOUR,
        open=opens,
        mark_open=opens if mark_open is None else np.array(mark_open),
        mark_close=np.array(mark),
    )


def settlements(*rows: tuple[float, float, float]) -> Settlements:
    """(hour, rate, price)"""
    hours, rates, prices = zip(*rows, strict=True) if rows else ((), (), ())
    ts = (np.array(hours, dtype=np.float64) * HOUR).astype(np.int64)
    return Settlements(ts, np.array(rates, dtype=np.float64), np.array(prices, dtype=np.float64))


def keep(b: Bars, s: Settlements, side: int = 1, fee: float = 0.001) -> Hold:
    return held(b, s, symbol="X/USDT:USDT", side=side, capital=1000.0, fee=fee)


WORKED = bars([100.0, 110.0, 120.0, 90.0], [110.0, 120.0, 90.0, 95.0])


def test_worked_by_hand() -> None:
    # 10 pieces at 100 for a fee of 1. Settlements: at the entry (not paid), at 01:00 on its own price of 111 (longs
    # pay 10 x 111 x 0.01 = 11.10), at 02:30 without a price, on the mark at 02:00 (longs get 10 x 121 x 0.02 = 24.20).
    b = replace(WORKED, mark_open=np.array([100.0, 110.0, 121.0, 90.0]))
    s = settlements((0, 0.5, 100.0), (1, 0.01, 111.0), (2.5, -0.02, NAN), (4, 0.5, 95.0))
    long = keep(b, s)
    assert long.quantity == 10.0
    assert (long.entry_ts, long.entry_price) == (0, 100.0)
    np.testing.assert_allclose(long.price, [100.0, 200.0, -100.0, -50.0])
    np.testing.assert_allclose(long.funding, [0.0, -11.1, 13.1, 13.1])
    np.testing.assert_allclose(long.fees, -1.0)
    np.testing.assert_allclose(long.equity, [1099.0, 1187.9, 912.1, 962.1])
    np.testing.assert_allclose(long.gross, [1099.0, 1199.0, 899.0, 949.0])
    np.testing.assert_allclose(long.drawdown, [0, 0, 1 - 912.1 / 1187.9, 1 - 962.1 / 1187.9])
    assert (long.settled, long.estimated, long.missing_marks) == (2, 1, 0)
    ledger = [(str(r["kind"]), r["amount"], r["wallet"]) for r in long.ledger]
    assert [kind for kind, *_ in ledger] == ["deposit", "fee", "funding", "funding"]
    np.testing.assert_allclose([a for _, a, _ in ledger], [1000.0, -1.0, -11.1, 24.2])
    np.testing.assert_allclose([w for *_, w in ledger], [1000.0, 999.0, 987.9, 1012.1])
    assert any("1 of 2 settlements carry no price" in w for w in long.warnings())


def test_a_short_gains_what_a_long_loses_and_is_paid_what_a_long_pays() -> None:
    s = settlements((1, 0.01, 110.0), (3, -0.003, 90.0))
    long, short = keep(WORKED, s), keep(WORKED, s, side=-1)
    np.testing.assert_array_equal(long.funding, -short.funding)
    np.testing.assert_array_equal(long.price, -short.price)
    np.testing.assert_allclose(long.equity + short.equity, 2 * 1000.0 - 2 * 1.0)


def test_the_wallet_is_the_ledger_summed_in_order_bit_for_bit() -> None:
    s = settlements(*((h, 0.0137 * (-1) ** h, NAN) for h in range(4)))
    hold = keep(WORKED, s)
    wallet = 0.0
    for row in hold.ledger:
        wallet += row["amount"]
        assert row["wallet"] == wallet
    assert hold.equity[-1] == wallet + hold.price[-1]


def test_a_missing_mark_leaves_the_last_one_standing_and_is_counted() -> None:
    hold = keep(bars([100.0] * 4, [101.0, NAN, NAN, 104.0]), settlements(), fee=0.0)
    np.testing.assert_allclose(hold.equity, [1010.0, 1010.0, 1010.0, 1040.0])
    assert hold.missing_marks == 2
    assert any("2 bars without a mark" in w for w in hold.warnings())


def test_a_market_that_opens_late_is_entered_at_its_first_trade() -> None:
    b = bars([NAN, NAN, 50.0, 55.0], [NAN, NAN, 55.0, 60.0])
    hold = keep(b, settlements((1, 0.01, 50.0), (2, 0.01, 50.0), (3, 0.01, 55.0)))
    np.testing.assert_allclose(hold.equity, [1000.0, 1000.0, 1099.0, 1188.0])
    assert (hold.settled, hold.missing_marks) == (1, 0)


def test_a_settlement_in_a_bar_without_any_open_is_paid_on_the_mark_before_it() -> None:
    b = bars([100.0, NAN, 100.0], [101.0, NAN, 100.0])
    hold = keep(b, settlements((1.5, 0.01, NAN)))
    assert hold.funding[-1] == pytest.approx(-10.0 * 101.0 * 0.01)
    assert hold.estimated == 1


def test_a_short_is_ruined_when_its_price_doubles_and_stays_at_nothing() -> None:
    b = bars([100.0] * 5, [150.0, 199.0, 205.0, 100.0, 50.0])
    hold = keep(b, settlements((1, 0.001, 100.0), (4, 0.001, 100.0)), side=-1)
    assert hold.equity[1] > 0
    np.testing.assert_array_equal(hold.equity[2:], 0.0)
    assert hold.ruined_at == 2 * HOUR
    assert hold.total_return == -1.0
    assert hold.max_drawdown == 1.0
    assert hold.settled == 1
    assert hold.ledger["kind"][-1] == "price"
    assert hold.ledger["wallet"][-1] == 0.0
    np.testing.assert_allclose(hold.equity, 1000.0 + hold.price + hold.funding + hold.fees, atol=1e-9)
    assert any("ruined at 1970-01-01 02:00" in w for w in hold.warnings())


def test_a_market_that_never_traded_is_refused() -> None:
    with pytest.raises(BadInput, match="no bar of this market has an opening price"):
        keep(bars([NAN, NAN], [100.0, 101.0]), settlements())


paths = st.lists(st.floats(80.0, 125.0), min_size=8, max_size=40)
rates = st.lists(st.floats(-0.01, 0.01), min_size=1, max_size=12)


@given(paths, rates, st.booleans())
def test_equity_is_capital_and_its_three_parts(path: list[float], rate: list[float], short: bool) -> None:
    hold = keep(bars(path, path), _spread(rate, len(path)), side=-1 if short else 1)
    np.testing.assert_allclose(hold.equity, 1000.0 + hold.price + hold.funding + hold.fees)
    np.testing.assert_allclose(hold.gross, 1000.0 + hold.price + hold.fees)


@given(paths, rates)
def test_what_longs_pay_shorts_get(path: list[float], rate: list[float]) -> None:
    s = _spread(rate, len(path))
    assert (keep(bars(path, path), s).funding == -keep(bars(path, path), s, side=-1).funding).all()


@given(paths, rates, st.integers(1, 7))
def test_more_bars_never_change_what_came_before(path: list[float], rate: list[float], cut: int) -> None:
    s = _spread(rate, len(path))
    whole, part = keep(bars(path, path), s), keep(bars(path[:cut], path[:cut]), s)
    for name in ("equity", "price", "funding", "drawdown"):
        np.testing.assert_array_equal(getattr(whole, name)[:cut], getattr(part, name))


def _spread(rate: list[float], hours: int) -> Settlements:
    places = np.linspace(0, hours, len(rate), endpoint=False)
    return settlements(*((p, r, NAN) for p, r in zip(places, rate, strict=True)))


def test_importing_it_loads_neither_pandas_nor_polars() -> None:
    code = "import sys, backtest.hold; print(sorted({'pandas', 'polars', 'pyarrow', 'duckdb'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- on a Market -------------------------------------------------------------------------------


def rows(path: np.ndarray, rate: np.ndarray, price: float = NAN) -> SymbolData:
    """One-minute bars of a path of closes, marks a thousandth above, a settlement an hour."""
    ts = np.arange(len(path), dtype=np.int64) * MINUTE
    before = np.concatenate([path[:1], path[:-1]])
    ohlc = (before, np.maximum(before, path), np.minimum(before, path), path)
    at = np.arange(len(rate), dtype=np.int64) * HOUR
    return SymbolData(
        candles=Candles(MINUTE, ts, *ohlc),
        marks=[Candles(MINUTE, ts, *(p * 1.001 for p in ohlc))],
        funding=market_input.Settlements(at, at, at, rate, np.ones(len(rate)), np.full(len(rate), price)),
    )


def market(path: np.ndarray, rate: np.ndarray, name: str = "X/USDT:USDT", price: float = NAN) -> Market:
    return Market.build("made-up", {name: rows(path, rate, price)}, "1m", 0, len(path) * MINUTE)


walks = st.integers(0, 2**32 - 1)


def walk(seed: int, n: int = 720) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return 100.0 * np.exp(np.cumsum(0.001 * rng.standard_normal(n))), rng.normal(0.0, 0.001, n // 60)


@given(walks, st.sampled_from(["5m", "15m", "1h", "2h", "4h"]))
def test_total_funding_does_not_depend_on_the_length_of_the_bars(seed: int, interval: str) -> None:
    fine = market(*walk(seed), price=100.0)
    _alike(hold(fine), hold(fine.resample(interval)))


@given(walks, st.sampled_from(["5m", "15m", "1h"]))
def test_nor_where_settlements_have_no_price_but_fall_on_opens(seed: int, interval: str) -> None:
    fine = market(*walk(seed))
    _alike(hold(fine), hold(fine.resample(interval)))


def _alike(a: Hold, b: Hold) -> None:
    assert a.settled == b.settled == 11
    assert a.quantity == b.quantity
    assert b.funding[-1] == pytest.approx(a.funding[-1], rel=1e-12)
    assert b.equity[-1] == pytest.approx(a.equity[-1], rel=1e-12)


@given(walks)
def test_a_long_and_a_short_together_pay_only_fees(seed: int) -> None:
    m = market(*walk(seed))
    long, short = hold(m), hold(m, side=-1)
    np.testing.assert_allclose(long.equity + short.equity, 20_000.0 - 10.0)


@given(walks, st.integers(1, 700))
def test_a_shorter_market_has_the_same_beginning(seed: int, cut: int) -> None:
    m = market(*walk(seed))
    np.testing.assert_array_equal(hold(m).equity[:cut], hold(m[:cut]).equity)


def test_it_is_marked_at_the_mark_and_entered_at_the_trade() -> None:
    m = market(np.full(60, 100.0), np.zeros(1))
    assert hold(m).entry_price == 100.0
    assert hold(m, fee=0.0).equity[-1] == pytest.approx(10_010.0)


def test_a_symbol_out_of_several_is_the_same_as_alone() -> None:
    (path, rate), (other, other_rate) = walk(5), walk(6)
    data = {"X/USDT:USDT": rows(path, rate), "Y/USDT:USDT": rows(other, other_rate)}
    both = Market.build("made-up", data, "1m", 0, len(path) * MINUTE)
    np.testing.assert_array_equal(hold(both, "X/USDT:USDT").equity, hold(market(path, rate)).equity)
    np.testing.assert_array_equal(hold(both, "Y/USDT:USDT").equity, hold(market(other, other_rate)).equity)
    with pytest.raises(BadInput, match="say which symbol to hold: X/USDT:USDT, Y/USDT:USDT"):
        hold(both)
    with pytest.raises(NotFound, match="did you mean"):
        hold(both, "XX/USDT:USDT")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"side": 0}, "1 to buy, -1 to sell short"),
        ({"notional": 0.0}, "above zero"),
        ({"notional": NAN}, "above zero"),
        ({"fee": 5.0}, "a fraction of the notional"),
        ({"fee": -0.1}, "a fraction of the notional"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments: dict[str, float], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        hold(market(*walk(1)), **arguments)  # type: ignore[arg-type]


def test_an_inverse_contract_is_refused_in_words() -> None:
    with pytest.raises(BadInput, match="BTC/USD:BTC is an inverse contract"):
        hold(market(*walk(1), name="BTC/USD:BTC"))


def test_frames_hold_the_series_and_the_ledger() -> None:
    h = hold(market(*walk(2)))
    frame, ledger = h.to_frame(), h.ledger_frame()
    np.testing.assert_array_equal(frame["equity"].to_numpy(), h.equity)
    assert len(frame) == 720
    assert str(frame.index[0]) == "1970-01-01 00:00:00"
    assert ledger["wallet"].iloc[-1] == h.ledger["wallet"][-1]
    assert list(ledger["kind"][:3]) == ["deposit", "fee", "funding"]
    assert "cannot be liquidated" in repr(h)
