"""Venue profiles: what is refused, how one is found, and their numbers beside the sources of them."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest import profiles
from backtest.venue import (
    Adl,
    Fees,
    Funding,
    Liquidation,
    SymbolTiers,
    Tier,
    Venue,
    base_of,
    brackets,
    maintenance_amounts,
    venue,
)
from data.errors import BadInput

FEES = Fees(0.0002, 0.0005)


def made(*tiers: Tier, **options: Any) -> Venue:
    return Venue("mine", "linear", FEES, tiers=tiers, **options)


# --- what is refused -----------------------------------------------------------------------------------------------

REFUSED = {
    "no name": (lambda: Venue("", "linear", FEES), "name is empty"),
    "contract": (lambda: Venue("x", "linea", FEES), "did you mean linear"),  # type: ignore[arg-type]
    "tier rule": (lambda: made(tier_rule="marginl"), "did you mean marginal"),
    "gap": (lambda: made(Tier(0, 10, 0.1, 5), Tier(20, 30, 0.2, 2, 2.0)), "bracket 2: a gap, it begins at 20"),
    "overlap": (lambda: made(Tier(0, 10, 0.1, 5), Tier(5, 30, 0.2, 2, 0.5)), "bracket 2: an overlap"),
    "late start": (lambda: made(Tier(1, 10, 0.1, 5)), "must begin at 0"),
    "empty bracket": (lambda: made(Tier(0, 0, 0.1, 5)), "cap 0 is not above floor 0"),
    "cum": (lambda: made(Tier(0, 10, 0.1, 5), Tier(10, 30, 0.2, 2, 2.0)), "bracket 2: cum is 2, should be 1"),
    "first cum": (lambda: made(Tier(0, 10, 0.1, 5, 0.5)), "bracket 1: cum is 0.5, should be 0"),
    "cum of a whole rate": (
        lambda: made(Tier(0, 10, 0.1, 5), Tier(10, 30, 0.2, 2, 1.0), tier_rule="whole"),
        "should be 0 \\(a whole rate has none\\)",
    ),
    "falling rate": (lambda: made(Tier(0, 10, 0.2, 5), Tier(10, 30, 0.1, 2, -1.0)), "mmr 0.1 is below the 0.2"),
    "rising leverage": (lambda: made(Tier(0, 10, 0.1, 5), Tier(10, 30, 0.2, 8, 1.0)), "max_leverage 8 is above the 5"),
    "rate in percent": (lambda: made(Tier(0, 10, 1.5, 5)), "write a fraction such as 0.004"),
    "rate of nothing": (lambda: made(Tier(0, 10, 0.0, 5)), "write a fraction such as 0.004"),
    "rate that is no number": (lambda: made(Tier(0, 10, math.nan, 5)), "mmr=nan"),
    "rate with the fee": (
        lambda: Venue("x", "linear", Fees(0.0, 0.1), (Tier(0, 10, 0.95, 1),), closing_fee_in_maintenance=True),
        "below 0.9",
    ),
    "leverage": (lambda: made(Tier(0, 10, 0.1, 0)), "max_leverage=0"),
    "spot with tiers": (lambda: Venue("x", "spot", FEES, (Tier(0, 10, 0.1, 5),)), "spot has no maintenance tiers"),
    "table of a symbol": (
        lambda: made(tables=(SymbolTiers(("BTC",), (Tier(5, 10, 0.1, 5),)),)),
        "tiers of BTC: the first bracket begins at 5",
    ),
    "table of no symbol": (lambda: made(tables=(SymbolTiers((), (Tier(0, 10, 0.1, 5),)),)), "without symbols"),
    "table without tiers": (lambda: made(tables=(SymbolTiers(("BTC",), ()),)), "without tiers"),
    "fee in percent": (lambda: Fees(0.02, 5.0), "Fees.taker=5.0: write a number from -0.01 to 0.1"),
    "fee that is no number": (lambda: Fees(math.nan, 0.0), "Fees.maker=nan"),
    "reduction": (lambda: Liquidation("tires"), "did you mean tier"),  # type: ignore[arg-type]
    "residual": (lambda: Liquidation(residual="keep"), "there is: market, takeover"),  # type: ignore[arg-type]
    "fraction": (lambda: Liquidation("fraction", fraction=20), "fraction=20: write a number from 0 to 1"),
    "fraction of nothing": (lambda: Liquidation("fraction", fraction=0.0), "the part of the position that goes first"),
    "backstop": (lambda: Liquidation(backstop=1.5), "backstop=1.5"),
    "threshold": (lambda: Liquidation(above=-1.0), "above=-1"),
    "funding price": (lambda: Funding("oracle"), "Funding.price='oracle'"),  # type: ignore[arg-type]
    "interval": (lambda: Funding(interval_hours=0), "hours between settlements"),
    "cap": (lambda: Funding(cap=2.0), "Funding.cap=2.0"),
    "adl price": (lambda: Adl("marks"), "did you mean mark"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused_with_what_to_write(what: str) -> None:
    make, said = REFUSED[what]
    with pytest.raises(BadInput, match=said) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_amounts_printed_to_a_few_digits_are_accepted() -> None:
    """Venues round them; the table must still be continuous to a ten-thousandth."""
    exact = brackets((100.0, 0.1, 5), (900.0, 0.15, 4))
    assert exact[1].cum == pytest.approx(5.0)
    rounded = dataclasses.replace(exact[1], cum=5.001)
    assert made(exact[0], rounded).tiers[1].cum == 5.001
    with pytest.raises(BadInput, match="should be 5"):
        made(exact[0], dataclasses.replace(exact[1], cum=5.01))


def test_a_variant_is_checked_too() -> None:
    with pytest.raises(BadInput, match="did you mean linear"):
        dataclasses.replace(profiles.BINANCE_USDM, contract="linea")
    milder = dataclasses.replace(profiles.BINANCE_USDM, liquidation=Liquidation("tier"))
    assert milder.liquidation.reduction == "tier"
    assert profiles.BINANCE_USDM.liquidation.reduction == "none"


@given(caps=st.lists(st.integers(1, 10**9), min_size=1, max_size=12, unique=True), data=st.data())
def test_brackets_are_always_a_table_that_is_accepted(caps: list[int], data: st.DataObject) -> None:
    rates = sorted(data.draw(st.floats(1e-4, 0.9)) for _ in caps)
    rows = [(float(cap), rate, 1.0) for cap, rate in zip(sorted(caps), rates, strict=True)]
    for rule in ("marginal", "whole"):
        assert len(made(*brackets(*rows, rule=rule), tier_rule=rule).tiers) == len(caps)


# --- how one is found ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "contract", "found"),
    [
        ("binance", None, profiles.BINANCE_USDM),
        ("Binance", "inverse", profiles.BINANCE_COINM),
        ("binance", "spot", profiles.BINANCE_SPOT),
        ("binance-coinm", None, profiles.BINANCE_COINM),
        ("binance_usdm", "linear", profiles.BINANCE_USDM),
        ("bybit", "inverse", profiles.BYBIT_INVERSE),
        ("okx", None, profiles.OKX),
        ("deribit", None, profiles.DERIBIT),
    ],
)
def test_a_profile_is_found_by_name_and_contract(asked: str, contract: Any, found: Venue) -> None:
    assert venue(asked, contract) is found


@pytest.mark.parametrize(
    ("asked", "contract", "said"),
    [
        ("binanec", None, "did you mean binance"),
        ("binance_coin", None, "did you mean binancecoinm"),
        ("kraken", None, "there is: binance, bitmex"),
        ("dydx", "spot", "dydx has no spot profile; there is: linear"),
        ("binance_coinm", "linear", "is inverse, not linear"),
        ("binance", "perp", "there is: inverse, linear, spot"),
    ],
)
def test_one_that_is_not_there_is_told_what_is(asked: str, contract: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        venue(asked, contract)


def test_profiles_are_reached_through_the_module_of_venues() -> None:
    from backtest import venue as module

    assert module.BINANCE_USDM is profiles.BINANCE_USDM
    with pytest.raises(AttributeError, match="BINANCE_USM"):
        _ = module.BINANCE_USM  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("symbol", "base"),
    [
        ("BTC/USDT:USDT", "BTC"), ("BTC/USD:BTC", "BTC"), ("BTCUSDT", "BTC"), ("BTCUSD_PERP", "BTC"),
        ("btcusdc", "btc"), ("BTC-USDT-SWAP", "BTC"), ("BTCPERP", "BTC"), ("BTC", "BTC"), ("", ""),
        ("1000PEPEUSDT", "1000PEPE"), ("USDCUSDT", "USDC"), ("kPEPE", "kPEPE"),
    ],
)  # fmt: skip
def test_base_of_the_ways_to_write_a_symbol(symbol: str, base: str) -> None:
    assert base_of(symbol) == base


def test_a_symbol_gets_its_own_table_or_that_of_all_others() -> None:
    binance, liquid = profiles.BINANCE_USDM, profiles.HYPERLIQUID
    assert binance.tiers_for("BTC/USDT:USDT") == profiles.BINANCE_BTC
    assert binance.tiers_for("ETHUSDT") == profiles.BINANCE_ETH
    assert binance.tiers_for("NEW/USDT:USDT") == binance.tiers == profiles.SMALL_COIN
    assert binance.knows("BTCUSDT")
    assert not binance.knows("NEWUSDT")
    assert liquid.tiers_for("KPEPE/USDC:USDC")[0].max_leverage == 10
    assert liquid.tiers_for("NEW")[0].max_leverage == 3


def test_the_full_name_goes_before_the_base() -> None:
    own, common = brackets((10.0, 0.2, 4)), brackets((10.0, 0.1, 5))
    mine = made(tables=(SymbolTiers(("BTC",), common), SymbolTiers(("BTC/USDC:USDC",), own)))
    assert mine.tiers_for("BTC/USDC:USDC") == own
    assert mine.tiers_for("BTC/USDT:USDT") == common
    assert mine.tiers_for("ETH/USDT:USDT") == ()


# --- numbers beside their sources ----------------------------------------------------------------------------------


def test_maintenance_amounts_of_binance() -> None:
    """As the API printed them on 2024-10-24 (freqtrade binance_leverage_tiers.json)."""
    assert [t.cum for t in profiles.BINANCE_BTC] == [
        0, 50, 950, 11_450, 131_450, 481_450, 2_981_450, 14_481_450, 26_481_450, 41_481_450, 121_481_450, 421_481_450,
    ]  # fmt: skip
    assert [t.cum for t in profiles.BINANCE_SOL] == [
        0, 30, 380, 8_380, 28_380, 228_380, 2_228_380, 4_228_380, 16_728_380, 66_728_380,
    ]  # fmt: skip


def test_maintenance_amounts_of_the_usdm_faq() -> None:
    """Binance FAQ b3c689c1f50a44cabb3a84e663b81d93: 1,300 in the third bracket, 141,300 in the fifth."""
    cums = maintenance_amounts([0, 50e3, 250e3, 1e6, 5e6], [0.004, 0.005, 0.01, 0.025, 0.05])
    assert cums == [0, 50, 1_300, 16_300, 141_300]


def test_the_amount_that_fixes_the_coin_margined_brackets() -> None:
    """dev.binance.vision/t/6292: 33,599.40 needs 11.605 BTC at 12.5 %."""
    row = profiles.BINANCE_COINM.tiers_for("BTCUSD_PERP")[6]
    assert (row.floor, row.mmr, row.cum) == (200, 0.125, 11.605)


def test_deductions_of_bybit() -> None:
    """mmDeduction of BTCPERP on 2025-12-29 (leverage_tiers_USDT.json at erikubingf-del/tradingtest), last five."""
    assert [t.cum for t in profiles.BYBIT_BTC[-5:]] == [3_711_200, 4_785_200, 6_332_200, 8_663_200, 12_663_200]


def test_tiers_of_okx_follow_their_rule() -> None:
    """Read on 2025-12-29: tier 9 140,000 contracts 3.75 % / 5 % / 20x, tier 99 1,940,000 48.75 % / 50 % / 2x."""
    assert profiles.okx_tier(9) == (140_000, 0.0375, 0.05)
    assert profiles.okx_tier(99) == (1_940_000, 0.4875, 0.5)
    first, unread, tenth, *_, last = profiles.okx_btc_tiers(50_000.0)
    assert (first.cap, first.mmr, first.max_leverage) == (500_000, 0.004, 100)
    assert (unread.cap, unread.mmr, unread.max_leverage) == (70_000_000, 0.0375, 20)
    assert (tenth.cap, tenth.mmr) == (80_000_000, 0.0425)
    assert (last.cap, last.mmr, last.max_leverage) == (970_000_000, 0.4875, 2)


def test_tiers_of_okx_in_coin_are_the_contracts() -> None:
    assert profiles.OKX_INVERSE.tiers_for("BTC-USD-SWAP")[0].cap == 10.0


def test_rates_of_hyperliquid_are_half_the_initial_margin() -> None:
    """Docs of 2026-08-22, margin tiers: 1.25 % at 40x; the deduction of BTC above 150M is 1.875M."""
    low, high = profiles.HYPERLIQUID.tiers_for("BTC")
    assert (low.mmr, low.cum, high.mmr, high.cum) == (0.0125, 0, 0.025, 1_875_000)
    assert profiles.HYPERLIQUID.tiers[0].mmr == pytest.approx(0.167, abs=5e-4)


def test_rates_of_deribit_are_those_of_the_upper_end() -> None:
    """Support 25944738177565: BTC 1 % + 0.005 % a coin, initial 2 % + 0.005 %: at 250, 2.25 % and 3.25 %."""
    row = next(t for t in profiles.DERIBIT.tiers_for("BTC") if t.cap == 250)
    assert (row.mmr, row.max_leverage) == (pytest.approx(0.0225), pytest.approx(1 / 0.0325))


# --- against the tables of the day ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def binance_2024(shared_dir: Path) -> dict[str, list[tuple[float, float, float, float]]]:
    path = shared_dir / "leverage_tiers" / "binance_2024-10-24.json.gz"
    if not path.is_file():
        pytest.skip("the leverage tiers of 2024-10-24 are not among the market files")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        raw = json.load(file)
    return {
        symbol: [
            (r["maxNotional"], r["maintenanceMarginRate"], r["maxLeverage"], float(r["info"]["cum"])) for r in rows
        ]
        for symbol, rows in raw.items()
        if symbol.endswith("/USDT:USDT")
    }


@pytest.mark.real_data
@pytest.mark.parametrize("coin", ["BTC", "ETH", "SOL", "XRP", "DOGE", "BNB"])
def test_built_in_brackets_are_those_of_the_file(
    coin: str, binance_2024: dict[str, list[tuple[float, float, float, float]]]
) -> None:
    own = profiles.BINANCE_USDM.tiers_for(f"{coin}/USDT:USDT")
    assert [(t.cap, t.mmr, t.max_leverage, t.cum) for t in own] == binance_2024[f"{coin}/USDT:USDT"]


def at(rows: list[tuple[float, float, float, float]], notional: float) -> tuple[float, float]:
    _, mmr, leverage, cum = next((row for row in rows if notional <= row[0]), rows[-1])
    return notional * mmr - cum, leverage


@pytest.mark.real_data
@pytest.mark.parametrize("notional", [10.0 ** (3 + step / 8) for step in range(33)])
def test_other_symbols_are_margined_no_milder_than_nine_in_ten(
    notional: float, binance_2024: dict[str, list[tuple[float, float, float, float]]]
) -> None:
    kept, leverage = at([(t.cap, t.mmr, t.max_leverage, t.cum) for t in profiles.SMALL_COIN], notional)
    contracts = [at(rows, notional) for rows in binance_2024.values()]
    assert len(contracts) == 318
    assert sum(kept >= theirs for theirs, _ in contracts) >= 0.9 * len(contracts)
    assert sum(leverage <= theirs for _, theirs in contracts) >= 0.9 * len(contracts)


@pytest.mark.real_data
def test_every_dated_table_of_the_archive_is_accepted(shared_dir: Path) -> None:
    """The check refuses no table that a venue really had."""
    path = shared_dir / "leverage_tiers" / "binance_history.parquet"
    if not path.is_file():
        pytest.skip("the history of leverage tiers is not among the market files")
    import pandas as pd

    frame = pd.read_parquet(path)
    columns = ["min_notional", "max_notional", "maint_margin_rate", "max_leverage", "cum"]
    checked = 0
    for _, rows in frame.groupby(["symbol", "ts"], sort=False):
        tiers = tuple(Tier(*map(float, row)) for row in rows.sort_values("tier")[columns].to_numpy())
        assert all(low.cap == high.floor for low, high in pairwise(tiers))
        made(*tiers)
        checked += 1
    assert checked > 1_000
