"""Names of contracts: each venue's own form, and names of no known form, which stay as they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.symbols import contract_kind, parted, settle, unified

VENUES = ("", "binance", "bybit", "okx", "deribit", "bitmex", "hyperliquid", "dydx", "gate", "htx", "kraken", "kucoin")
VENUES += ("bitget", "coinbase", "mexc")


@pytest.mark.parametrize(
    ("venue", "name", "full", "kind"),
    [
        ("binance", "BTCUSDT", "BTC/USDT:USDT", "linear"),
        ("binance", "btcusdt", "BTC/USDT:USDT", "linear"),
        ("binance", "1000SHIBUSDC", "1000SHIB/USDC:USDC", "linear"),
        ("binance", "BTCFDUSD", "BTC/FDUSD:FDUSD", "linear"),
        ("binance", "ETHBTC", "ETH/BTC:BTC", "linear"),
        ("binance", "BTCUSD_PERP", "BTC/USD:BTC", "inverse"),
        ("binance", "BTCUSD_240628", "BTC/USD:BTC-240628", "inverse"),
        ("binance", "BTCUSDT_240628", "BTC/USDT:USDT-240628", "linear"),
        ("binance", "币安人生USDT", "币安人生/USDT:USDT", "linear"),
        ("bybit", "BTCPERP", "BTC/USDC:USDC", "linear"),
        ("bybit", "BTCUSD", "BTC/USD:BTC", "inverse"),
        ("okx", "BTC-USDT-SWAP", "BTC/USDT:USDT", "linear"),
        ("", "BTC-USDT-SWAP", "BTC/USDT:USDT", "linear"),
        ("okx", "BTC-USD-SWAP", "BTC/USD:BTC", "inverse"),
        ("okx", "BTC-USDT-240628", "BTC/USDT:USDT-240628", "linear"),
        ("okx", "BTC-USDT", "BTC/USDT", "spot"),
        ("deribit", "BTC-PERPETUAL", "BTC/USD:BTC", "inverse"),
        ("deribit", "SOL_USDC-PERPETUAL", "SOL/USDC:USDC", "linear"),
        ("bitmex", "XBTUSD", "BTC/USD:BTC", "inverse"),
        ("bitmex", "XBTUSDT", "BTC/USDT:USDT", "linear"),
        ("hyperliquid", "BTC", "BTC/USDC:USDC", "linear"),
        ("hyperliquid", "BTC-PERP", "BTC/USDC:USDC", "linear"),
        ("hyperliquid", "kPEPE", "kPEPE/USDC:USDC", "linear"),
        ("dydx", "BTC-USD", "BTC/USDC:USDC", "linear"),
        ("gate", "BTC_USDT", "BTC/USDT:USDT", "linear"),
        ("gate", "BTC_USD", "BTC/USD:BTC", "inverse"),
        ("gate", "BTC_USDT_20240628", "BTC/USDT:USDT-240628", "linear"),
        ("htx", "BTC-USDT", "BTC/USDT:USDT", "linear"),
        ("htx", "BTC-USD", "BTC/USD:BTC", "inverse"),
        ("htx", "BTC-USDT-240628", "BTC/USDT:USDT-240628", "linear"),
        ("kraken", "PF_XBTUSD", "BTC/USD:USD", "linear"),
        ("kraken", "pf_ethusd", "ETH/USD:USD", "linear"),
        ("kraken", "PI_XBTUSD", "BTC/USD:BTC", "inverse"),
        ("kraken", "FI_XBTUSD_240628", "BTC/USD:BTC-240628", "inverse"),
        ("kraken", "FF_XBTUSD_240628", "BTC/USD:USD-240628", "linear"),
        ("kucoin", "XBTUSDTM", "BTC/USDT:USDT", "linear"),
        ("kucoin", "ETHUSDCM", "ETH/USDC:USDC", "linear"),
        ("kucoin", "XBTUSDM", "BTC/USD:BTC", "inverse"),
        ("bitget", "BTCUSDT_UMCBL", "BTC/USDT:USDT", "linear"),
        ("bitget", "BTCUSD_DMCBL", "BTC/USD:BTC", "inverse"),
        ("bitget", "BTCPERP_CMCBL", "BTC/USDC:USDC", "linear"),
        ("bitget", "BTCUSDT_SPBL", "BTC/USDT", "spot"),
        ("bitget", "BTCUSDT", "BTC/USDT:USDT", "linear"),
    ],
)
def test_each_venue_has_its_own_names(venue: str, name: str, full: str, kind: str) -> None:
    assert unified(name, venue) == full
    assert contract_kind(full) == kind
    assert unified(full, venue) == full


@pytest.mark.parametrize(
    ("venue", "name"),
    [
        ("", "BTC"),
        ("", "USDT"),
        ("", "BTC-USDT"),
        ("", "BTC_USDT"),
        ("coinbase", "BTC-USD"),
        ("mexc", "-USDT"),
        ("binance", "_PERP"),
        ("binance", "BTC-_240628"),
        ("okx", "BTC-USD-240628-60000-C"),
        ("okx", "BTC-USD_UM-SWAP"),
        ("okx", "BTC-"),
        ("deribit", "BTC-28JUN24"),
        ("deribit", "-PERPETUAL"),
        ("deribit", "BTC-28JUN24-60000-C"),
        ("bybit", "BTC-28JUN24"),
        ("bybit", "PERP"),
        ("hyperliquid", "@107"),
        ("hyperliquid", "xyz:TSLA"),
        ("hyperliquid", "-PERP"),
        ("kraken", "PF_USD"),
        ("kucoin", "XBTMM24"),
        ("gate", "BTC_"),
        ("gate", "BTC_20240628"),
        ("htx", "BTC240628"),
        ("dydx", "BTC-EUR"),
        ("dydx", "btc"),
    ],
)
def test_a_name_of_no_known_form_stays_as_it_is(venue: str, name: str) -> None:
    assert unified(name, venue) == name


@given(st.text("ABkUSDTC1-_.:@", max_size=12), st.sampled_from(VENUES))
def test_no_name_is_cut_into_nonsense(name: str, venue: str) -> None:
    full = unified(name, venue)
    if full != name.strip():
        pair, _, _ = full.partition(":")
        base, quote = pair.split("/")
        assert base.isalnum()
        assert quote.isalnum()
        assert settle(full) is None or str(settle(full)).isalnum()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("BTCUSD_PERP", ("BTCUSD", "_PERP")),
        ("BTCUSDT_240628", ("BTCUSDT", "_240628")),
        ("btcusd_perp", ("btcusd", "_perp")),
        ("BTCUSDT", ("BTCUSDT", "")),
        ("PERP", ("PERP", "")),
    ],
)
def test_the_end_of_a_name_makes_it_a_contract(name: str, parts: tuple[str, str]) -> None:
    assert parted(name) == parts
