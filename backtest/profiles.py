"""The built-in venue profiles: fees, tiers with their dates, what happens in a liquidation. Data, not code.

Every number has a source in the profile or in docs/venues.md; what a venue does not publish is an assumption in words,
chosen against the trader. Tiers drift: where the market at hand carries dated tiers, those are used, not these.
"""

from __future__ import annotations

import math

from backtest.venue import Adl, Contract, Fees, Funding, Liquidation, SymbolTiers, Tier, Venue, brackets

# The brackets of a small coin: at every size the maintenance is at least that of nine in ten of the 318 USDT contracts
# of Binance on 2024-10-24 (freqtrade binance_leverage_tiers.json), and the leverage no higher.
SMALL_COIN_ROWS = (
    (25_000, 0.03, 10), (100_000, 0.05, 10), (250_000, 0.1, 5), (1_000_000, 0.25, 2), (math.inf, 0.5, 1),
)  # fmt: skip
SMALL_COIN = brackets(*SMALL_COIN_ROWS)
SMALL_COIN_WHOLE = brackets(*SMALL_COIN_ROWS, rule="whole")
SMALL_COIN_SAID = (
    "symbols without a table of their own get the brackets of a small coin: stricter than nine in ten contracts of "
    "Binance in 2024; import the venue's tiers to replace them"
)
WHOLE_POSITION_SAID = "a liquidation closes the whole position at once where the venue may do it in steps"

# --- Binance --------------------------------------------------------------------------------------------------------

BINANCE_BTC = brackets(
    (50e3, 0.004, 125), (600e3, 0.005, 100), (3e6, 0.0065, 75), (12e6, 0.01, 50), (70e6, 0.02, 25), (100e6, 0.025, 20),
    (230e6, 0.05, 10), (480e6, 0.1, 5), (600e6, 0.125, 4), (800e6, 0.15, 3), (1.2e9, 0.25, 2), (1.8e9, 0.5, 1),
)  # fmt: skip
BINANCE_ETH = brackets(
    (50e3, 0.004, 125), (600e3, 0.005, 100), (3e6, 0.0065, 75), (12e6, 0.01, 50), (50e6, 0.02, 25), (65e6, 0.025, 20),
    (150e6, 0.05, 10), (320e6, 0.1, 5), (400e6, 0.125, 4), (530e6, 0.15, 3), (800e6, 0.25, 2), (1.2e9, 0.5, 1),
)  # fmt: skip
BINANCE_SOL = brackets(
    (20e3, 0.005, 100), (100e3, 0.0065, 75), (800e3, 0.01, 50), (4e6, 0.02, 25), (8e6, 0.025, 20), (40e6, 0.05, 10),
    (80e6, 0.1, 5), (100e6, 0.125, 4), (200e6, 0.25, 2), (400e6, 0.5, 1),
)  # fmt: skip
BINANCE_XRP = brackets(
    (10e3, 0.005, 75), (20e3, 0.0065, 50), (160e3, 0.01, 40), (800e3, 0.02, 25), (1.6e6, 0.025, 20), (8e6, 0.05, 10),
    (16e6, 0.1, 5), (20e6, 0.125, 4), (40e6, 0.25, 2), (80e6, 0.5, 1),
)  # fmt: skip
BINANCE_DOGE = brackets(
    (10e3, 0.005, 75), (50e3, 0.007, 50), (750e3, 0.01, 40), (800e3, 0.02, 25), (1.6e6, 0.025, 20), (8e6, 0.05, 10),
    (16e6, 0.1, 5), (20e6, 0.125, 4), (40e6, 0.25, 2), (80e6, 0.5, 1),
)  # fmt: skip
BINANCE_BNB = brackets(
    (10e3, 0.005, 75), (50e3, 0.006, 50), (200e3, 0.01, 40), (1.5e6, 0.02, 25), (3e6, 0.025, 20), (15e6, 0.05, 10),
    (30e6, 0.1, 5), (37.5e6, 0.125, 4), (75e6, 0.25, 2), (150e6, 0.5, 1),
)  # fmt: skip

BINANCE_LIQUIDATION = (
    "smart liquidation: how much its one order takes is not published, so the insurance fund takes over the whole "
    "position and keeps what is left; Liquidation(reduction='tier') is the milder reading"
)
BINANCE_USDM = Venue(
    "binance",
    "linear",
    Fees(maker=0.0002, taker=0.0005, liquidation=0.0125),
    tiers=SMALL_COIN,
    tiers_as_of="2024-10-24",
    tables=(
        SymbolTiers(("BTC",), BINANCE_BTC),
        SymbolTiers(("ETH",), BINANCE_ETH),
        SymbolTiers(("SOL",), BINANCE_SOL),
        SymbolTiers(("XRP",), BINANCE_XRP),
        SymbolTiers(("DOGE",), BINANCE_DOGE),
        SymbolTiers(("BNB",), BINANCE_BNB),
    ),
    adl=Adl(ranking="profit over wallet x margin ratio, not below 0"),
    assumptions=(
        BINANCE_LIQUIDATION,
        SMALL_COIN_SAID,
        "the tables are those of the USDT contracts, used for USDC contracts of the same coin too",
        "the liquidation fee of BTCUSDT (1.25 %) is taken for every symbol",
        "fees of VIP 0, without the BNB discount",
    ),
    sources=(
        "Binance FAQ b3c689c1f50a44cabb3a84e663b81d93 (liquidation price, maintenance amount)",
        "freqtrade binance_leverage_tiers.json of 2024-10-24 (brackets)",
        "Binance exchangeInfo, 2025 (liquidationFee)",
        "Binance FAQ 360033525031 (funding), 360033525471 (ADL)",
    ),
)
BINANCE_COINM = Venue(
    "binance",
    "inverse",
    Fees(maker=0.0001, taker=0.0005, liquidation=0.0125),
    tiers=brackets((math.inf, 0.05, 10)),
    tiers_as_of="2021-03",
    tables=(
        SymbolTiers(
            ("BTC",),
            brackets(
                (5, 0.004, 125), (10, 0.005, 100), (20, 0.01, 50), (50, 0.025, 20), (100, 0.05, 10), (200, 0.1, 5),
                (300, 0.125, 4), (math.inf, 0.5, 1),
            ),
        ),
    ),
    adl=Adl(ranking="profit over wallet x margin ratio, not below 0"),
    assumptions=(
        BINANCE_LIQUIDATION,
        "brackets of BTC as of 2021; those above 300 BTC were not found: 50 % and 1x there",
        "coins other than BTC: one bracket of 5 % and 10x, for no full table was found",
        "the liquidation fee of BTCUSDT (1.25 %) is taken for every symbol",
    ),
    sources=(
        "Binance FAQ ceccfcfb4e3a45e3b48b0b1bb1a8ae46 (liquidation price, 12.5 % at 300 BTC)",
        "dev.binance.vision/t/6292 (a liquidation price that fixes the maintenance amount at 11.605 BTC)",
    ),
)  # fmt: skip
BINANCE_SPOT = Venue(
    "binance",
    "spot",
    Fees(maker=0.001, taker=0.001),
    assumptions=("regular fees, without the BNB discount",),
    sources=("fee block of ccxt 4.5",),
)

# --- Bybit ----------------------------------------------------------------------------------------------------------

BYBIT_BTC = brackets(
    (100e3, 0.004, 125), (1e6, 0.005, 100), (2e6, 0.0067, 75), (3e6, 0.01, 50), (4e6, 0.0125, 40), (5e6, 0.0152, 33),
    (7e6, 0.02, 25), (9e6, 0.025, 20), (11e6, 0.0263, 19), (13e6, 0.0278, 18), (15e6, 0.0294, 17), (17e6, 0.0313, 16),
    (19e6, 0.0333, 15), (21e6, 0.0357, 14), (23e6, 0.0385, 13), (25e6, 0.0417, 12), (27e6, 0.0455, 11),
    (29e6, 0.05, 10), (31e6, 0.0556, 9), (33e6, 0.0625, 8), (35e6, 0.0714, 7), (40e6, 0.0833, 6), (45e6, 0.0909, 5.5),
    (50e6, 0.1, 5), (55e6, 0.1111, 4.5), (60e6, 0.125, 4), (65e6, 0.1429, 3.5), (70e6, 0.1667, 3), (80e6, 0.2, 2.5),
    (100e6, 0.25, 2),
)  # fmt: skip
BYBIT_POLICY = Liquidation("tier", residual="takeover")
BYBIT_ADL = Adl(ranking="profit x effective leverage")
BYBIT_ASSUMED = (
    "the fee to close is in neither the margin nor the maintenance of a position: it is in both on the venue and "
    "cancels, so the liquidation price is the venue's",
    "maintenance is on the mark for all dates, as on the venue since 2025; before, it was on the entry price",
    "the formula of the ADL ranking is not published: that of BitMEX",
)
BYBIT_LINEAR = Venue(
    "bybit",
    "linear",
    Fees(maker=0.0002, taker=0.00055, liquidation=0.00055),
    tiers=SMALL_COIN,
    tiers_as_of="2025-12-29",
    tables=(SymbolTiers(("BTC",), BYBIT_BTC),),
    liquidation=BYBIT_POLICY,
    adl=BYBIT_ADL,
    assumptions=(
        *BYBIT_ASSUMED,
        SMALL_COIN_SAID,
        "the brackets of BTCPERP (USDC) are used for BTCUSDT, whose own are larger",
    ),
    sources=(
        "Bybit help, Liquidation Price Calculation under Isolated Mode (UTA), 2026-05",
        "leverage_tiers_USDT.json of 2025-12-29 at erikubingf-del/tradingtest (BTCPERP, 30 brackets)",
        "Bybit help 900000167723 (liquidation process), 900000031623 (ADL)",
    ),
)
BYBIT_INVERSE = Venue(
    "bybit",
    "inverse",
    Fees(maker=0.0002, taker=0.00055, liquidation=0.00055),
    tiers=brackets((math.inf, 0.05, 10)),
    tiers_as_of="2024",
    tables=(SymbolTiers(("BTC",), brackets((150, 0.005, 100), (300, 0.01, 50), (math.inf, 0.05, 10))),),
    liquidation=BYBIT_POLICY,
    adl=BYBIT_ADL,
    assumptions=(
        *BYBIT_ASSUMED,
        "brackets of BTCUSD above 300 BTC were not found: 5 % and 10x there",
        "coins other than BTC: one bracket of 5 % and 10x, for no full table was found",
    ),
    sources=(
        "Bybit help, Maintenance Margin (Inverse Contract): 0.5 % up to 150 BTC, 1 % up to 300 BTC",
        "Bybit help, Liquidation Price Calculation under Isolated Mode (UTA), 2026-05",
    ),
)
BYBIT_SPOT = Venue(
    "bybit", "spot", Fees(maker=0.001, taker=0.001), assumptions=("regular fees, not read from the venue",)
)

# --- OKX ------------------------------------------------------------------------------------------------------------

OKX_CONTRACT_BTC = 0.01
OKX_PRICE = 20_000.0
OKX_LAST_TIER = 99


def okx_tier(k: int) -> tuple[float, float, float]:
    """Size in contracts of 0.01 BTC, maintenance and initial rate of tier k of BTC-USDT-SWAP, 2025-12-29."""
    if k == 1:
        return 1_000.0, 0.004, 0.01
    return 20_000.0 * (k - 2), round(0.005 * k - 0.0075, 6), round(0.005 * k + 0.005, 6)


def okx_btc_tiers(price: float = OKX_PRICE) -> tuple[Tier, ...]:
    """Tiers of BTC-USDT-SWAP. OKX counts contracts, so their money is right at one price only."""
    unit = OKX_CONTRACT_BTC * price
    rows = [
        (size * unit, mmr, round(1 / imr, 2)) for size, mmr, imr in map(okx_tier, (1, *range(9, OKX_LAST_TIER + 1)))
    ]
    return brackets(*rows, rule="whole")


OKX_POLICY = Liquidation("two_tiers", residual="takeover")
OKX_ADL = Adl("mark", "profit over margin x effective leverage")
OKX_ASSUMED = (
    "tiers 2 to 8 of BTC (1,000 to 120,000 contracts) were not read: they have the rate of tier 9",
    "a liquidation reduces by two tiers of this table, in which tiers 2 to 9 are one",
    "deleveraging is at the mark; at the bankruptcy price when the fund is nearly gone, which is left out",
)
OKX = Venue(
    "okx",
    "linear",
    Fees(maker=0.0002, taker=0.0005, liquidation=0.0005),
    tiers=SMALL_COIN_WHOLE,
    tiers_as_of="2025-12-29",
    tier_rule="whole",
    closing_fee_in_maintenance=True,
    tables=(SymbolTiers(("BTC",), okx_btc_tiers()),),
    liquidation=OKX_POLICY,
    adl=OKX_ADL,
    assumptions=(
        *OKX_ASSUMED,
        f"tiers count contracts; their notional is taken at {OKX_PRICE:,.0f} USDT a BTC: above that price tiers bind "
        "sooner than on the venue, below it later (okx_btc_tiers(price) makes others)",
        SMALL_COIN_SAID,
    ),
    sources=(
        "OKX position tiers of 2025-12-29 (leverage_tiers_USDT.json at erikubingf-del/tradingtest)",
        "open-lib.com/11556.html, a copy of OKX help (maintenance margin ratio, partial liquidation)",
        "OKX help iv-introduction-to-auto-deleveraging-adl; okx-to-optimize-funding-rate-calculation",
    ),
)
OKX_INVERSE = Venue(
    "okx",
    "inverse",
    Fees(maker=0.0002, taker=0.0005, liquidation=0.0005),
    tiers=brackets((math.inf, 0.05, 10), rule="whole"),
    tiers_as_of="2025-12-29",
    tier_rule="whole",
    closing_fee_in_maintenance=True,
    tables=(SymbolTiers(("BTC",), okx_btc_tiers(1.0)),),
    liquidation=OKX_POLICY,
    adl=OKX_ADL,
    assumptions=(
        *OKX_ASSUMED,
        "tiers of BTC-USD-SWAP were not read: those of BTC-USDT-SWAP, in BTC",
        "coins other than BTC: one tier of 5 % and 10x",
    ),
    sources=OKX.sources,
)
OKX_SPOT = Venue("okx", "spot", Fees(maker=0.001, taker=0.0015), sources=("fee block of ccxt 4.5",))

# --- Hyperliquid ----------------------------------------------------------------------------------------------------


def by_leverage(*rows: tuple[float, float]) -> tuple[Tier, ...]:
    """Tiers of (cap, max_leverage): maintenance is half the initial margin at the highest leverage."""
    return brackets(*((cap, 1.0 / (2.0 * leverage), leverage) for cap, leverage in rows))


HYPERLIQUID = Venue(
    "hyperliquid",
    "linear",
    Fees(maker=0.00015, taker=0.00045, liquidation=0.00045),
    tiers=by_leverage((math.inf, 3)),
    tiers_as_of="2026-08-22",
    tables=(
        SymbolTiers(("BTC",), by_leverage((150e6, 40), (math.inf, 20))),
        SymbolTiers(("ETH",), by_leverage((100e6, 25), (math.inf, 15))),
        SymbolTiers(("SOL",), by_leverage((70e6, 20), (math.inf, 10))),
        SymbolTiers(("XRP",), by_leverage((40e6, 20), (math.inf, 10))),
        SymbolTiers(
            (
                "AAVE", "ADA", "APT", "AVAX", "BCH", "CRV", "DOGE", "ENA", "FARTCOIN", "HYPE", "kBONK", "kPEPE", "LINK",
                "LTC", "NEAR", "PUMP", "SUI", "TRUMP", "UNI", "WLD", "ZEC",
            ),
            by_leverage((20e6, 10), (math.inf, 5)),
        ),
        SymbolTiers(
            ("ARB", "BNB", "DOT", "JUP", "kSHIB", "MKR", "ONDO", "PAXG", "TON", "TRX", "XPL"),
            by_leverage((3e6, 10), (math.inf, 5)),
        ),
    ),
    liquidation=Liquidation("fraction", fraction=0.2, above=100_000.0, residual="market", backstop=2.0 / 3.0),
    funding=Funding("index", interval_hours=1.0, cap=0.04),
    adl=Adl("previous_mark", "(mark / entry) x (notional / account value)"),
    assumptions=(
        "other coins get 3x, the lowest highest leverage that the venue has",
        "a forced order pays the taker fee; there is no other liquidation fee",
        "after a first order for 20 % the venue waits 30 s and then sends the rest: within one bar, at once",
        "ranking of shorts for deleveraging: the price ratio turned over (the venue prints one form only)",
    ),
    sources=("Hyperliquid docs of 2026-08-22: margin-tiers, liquidations, auto-deleveraging, funding, fees",),
)  # fmt: skip

# --- others, as far as their margin rules go ------------------------------------------------------------------------

GATE = Venue(
    "gate",
    "linear",
    Fees(maker=0.0, taker=0.00075, liquidation=0.00075),
    tiers=SMALL_COIN_WHOLE,
    tiers_as_of="2024-10-24",
    tier_rule="whole",
    closing_fee_in_maintenance=True,
    assumptions=(
        "no tiers of this venue are built in: every symbol gets the brackets of a small coin, their rate for the whole",
        WHOLE_POSITION_SAID,
    ),
    sources=("gate.io help 22160, 27724 (liquidation price with taker fee); fee block of ccxt 4.5",),
)
DYDX = Venue(
    "dydx",
    "linear",
    Fees(maker=0.0001, taker=0.0005, liquidation=0.015),
    tiers=brackets((math.inf, 0.1, 5)),
    tiers_as_of="2025",
    tables=(SymbolTiers(("BTC", "ETH"), brackets((math.inf, 0.03, 20))),),
    liquidation=Liquidation("none", residual="market"),
    funding=Funding("index", interval_hours=1.0),
    adl=Adl("bankruptcy", "pseudo-random"),
    assumptions=(
        "BTC and ETH at 5 % and 3 % as in the docs (the genesis code has 2 % and 1.2 %), all others as long-tail: 20 % "
        "and 10 %",
        "the initial margin does not grow with open interest",
        "the highest penalty, 1.5 %, is always taken",
        WHOLE_POSITION_SAID,
    ),
    sources=("dydxprotocol/v4-documentation: margin, liquidations, funding, contract loss mechanism",),
)


def deribit_tiers(base: float, slope: float, caps: tuple[float, ...]) -> tuple[Tier, ...]:
    """Deribit's rates grow with every coin; here in steps, each with the rates of its upper end."""
    rows = [(cap, base + slope * cap, 1.0 / (2.0 * base + slope * cap)) for cap in caps]
    return brackets(*rows, rule="whole")


DERIBIT = Venue(
    "deribit",
    "inverse",
    Fees(maker=0.00015, taker=0.0005, liquidation=0.01),
    tiers=deribit_tiers(0.02, 0.0001, (100, 250, 500, 1_000, 2_500, 5_000)),
    tiers_as_of="2025",
    tier_rule="whole",
    tables=(SymbolTiers(("BTC",), deribit_tiers(0.01, 0.00005, (10, 25, 50, 100, 250, 500, 1_000, 2_000))),),
    liquidation=Liquidation("none", residual="market"),
    funding=Funding("mark", interval_hours=8.0),
    assumptions=(
        "margin rates grow in steps, not with every coin: those of the upper end of the step",
        "coins other than BTC: twice the rates of BTC",
        "funding is paid in settlements, not every millisecond",
        "fees: the higher of those before and since 2026",
        WHOLE_POSITION_SAID,
    ),
    sources=("Deribit support 25944738177565 (margin), 31424939178397 (funding)",),
)
BITMEX = Venue(
    "bitmex",
    "inverse",
    Fees(maker=0.0002, taker=0.00075, liquidation=0.00075),
    tiers=brackets((200, 0.005, 100), (math.inf, 0.05, 10), rule="whole"),
    tiers_as_of="2020",
    tier_rule="whole",
    closing_fee_in_maintenance=True,
    liquidation=Liquidation("tier", residual="takeover"),
    adl=Adl(ranking="profit x effective leverage"),
    assumptions=(
        "maintenance of XBTUSD for every symbol: 0.5 % and the taker fee; above 200 XBT the risk limits were not read: "
        "5 % and 10x",
        "fees of 2020 and the maker rebate turned into a fee",
    ),
    sources=("bitmex.com/app/liquidation, autoDeleveraging, perpetualContractsGuide",),
)

# --- the simulated venue -------------------------------------------------------------------------------------------

SIM = Venue(
    "sim",
    "linear",
    Fees(maker=0.0002, taker=0.0005, liquidation=0.005),
    tiers_as_of="2024-01-01",
    tiers=brackets(
        (50e3, 0.004, 125), (250e3, 0.005, 100), (1e6, 0.01, 50), (5e6, 0.02, 25), (20e6, 0.05, 10), (60e6, 0.1, 5),
        (200e6, 0.25, 2), (math.inf, 0.5, 1),
    ),
    adl=Adl(ranking="profit x effective leverage"),
    assumptions=("no real venue: one table for all coins, and the rules that most venues share",),
    sources=("made for the simulated market; docs/crowd.md says how it works",),
)  # fmt: skip

ALL = (
    SIM, BINANCE_USDM, BINANCE_COINM, BINANCE_SPOT, BYBIT_LINEAR, BYBIT_INVERSE, BYBIT_SPOT, OKX, OKX_INVERSE, OKX_SPOT,
    HYPERLIQUID, GATE, DYDX, DERIBIT, BITMEX,
)  # fmt: skip

PROFILES: dict[str, dict[str, Venue]] = {}
for _profile in ALL:
    PROFILES.setdefault(_profile.name, {})[_profile.contract] = _profile

ALIASES: dict[str, tuple[str, Contract]] = {  # the name without spaces, dashes and underscores: name and contract
    "binanceusdm": ("binance", "linear"),
    "binancecoinm": ("binance", "inverse"),
    "binancespot": ("binance", "spot"),
    "bybitlinear": ("bybit", "linear"),
    "bybitinverse": ("bybit", "inverse"),
    "bybitspot": ("bybit", "spot"),
    "okxlinear": ("okx", "linear"),
    "okxinverse": ("okx", "inverse"),
    "okxspot": ("okx", "spot"),
}
