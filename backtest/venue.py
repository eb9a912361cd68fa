"""Venue profiles: what a venue charges, how it margins, and what it does to those who cannot pay. Data, not code.

    venue("binance")                  the linear profile; venue("binance", "inverse") is COIN-M
    Venue(...)                        your own; `dataclasses.replace` makes variants. both are checked when made
    brackets((cap, mmr, lev), ...)    a table of tiers with its floors and maintenance amounts

The profiles themselves are in `backtest.profiles`; docs/venues.md says where each number comes from.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from data.errors import BadInput, did_you_mean, near

if TYPE_CHECKING:
    from backtest.profiles import BINANCE_COINM as BINANCE_COINM
    from backtest.profiles import BINANCE_SPOT as BINANCE_SPOT
    from backtest.profiles import BINANCE_USDM as BINANCE_USDM
    from backtest.profiles import BITMEX as BITMEX
    from backtest.profiles import BYBIT_INVERSE as BYBIT_INVERSE
    from backtest.profiles import BYBIT_LINEAR as BYBIT_LINEAR
    from backtest.profiles import DERIBIT as DERIBIT
    from backtest.profiles import DYDX as DYDX
    from backtest.profiles import GATE as GATE
    from backtest.profiles import HYPERLIQUID as HYPERLIQUID
    from backtest.profiles import OKX as OKX
    from backtest.profiles import OKX_INVERSE as OKX_INVERSE
    from backtest.profiles import OKX_SPOT as OKX_SPOT

Contract = Literal["linear", "inverse", "spot"]
TierRule = Literal["marginal", "whole"]
Reduction = Literal["none", "tier", "two_tiers", "fraction"]
Residual = Literal["takeover", "market"]
FundingPrice = Literal["mark", "index"]
AdlPrice = Literal["bankruptcy", "mark", "previous_mark"]

CONTRACTS = ("linear", "inverse", "spot")
TIER_RULES = ("marginal", "whole")
REDUCTIONS = ("none", "tier", "two_tiers", "fraction")
RESIDUALS = ("takeover", "market")
FUNDING_PRICES = ("mark", "index")
ADL_PRICES = ("bankruptcy", "mark", "previous_mark")

ROUNDING = 1e-4  # venues print maintenance amounts to a few digits: this part of the margin at the floor may be off
_BASE = re.compile(r"^(\w+?)(?:[-_/:.]|USDT|USDC|BUSD|USD|PERP|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Tier:
    """One maintenance bracket: notional in (floor, cap]; maintenance = notional x mmr - cum."""

    floor: float
    cap: float
    mmr: float
    max_leverage: float
    cum: float = 0.0


@dataclass(frozen=True)
class SymbolTiers:
    """The table of some symbols, by base currency ("BTC") or by full name ("BTC/USDT:USDT")."""

    symbols: tuple[str, ...]
    tiers: tuple[Tier, ...]


@dataclass(frozen=True)
class Fees:
    """Fractions of notional."""

    maker: float
    taker: float
    liquidation: float = 0.0  # of the notional liquidated, at most what margin is left

    def __post_init__(self) -> None:
        for name, low in (("maker", -0.01), ("taker", -0.01), ("liquidation", 0.0)):
            _within(f"Fees.{name}", getattr(self, name), low, 0.1)


@dataclass(frozen=True)
class Liquidation:
    """What happens when balance <= maintenance. See docs/engine.md."""

    reduction: Reduction = "none"  # what goes first
    fraction: float = 0.2  # reduction="fraction": the part that goes first ...
    above: float = 0.0  # ... where the notional is above this
    residual: Residual = "takeover"  # who keeps what is left of the margin
    backstop: float = 0.0  # "market": below this part of maintenance it is a takeover

    def __post_init__(self) -> None:
        _one_of("Liquidation.reduction", self.reduction, REDUCTIONS)
        _one_of("Liquidation.residual", self.residual, RESIDUALS)
        _within("Liquidation.fraction", self.fraction, 0.0, 1.0)
        _within("Liquidation.above", self.above, 0.0, math.inf)
        _within("Liquidation.backstop", self.backstop, 0.0, 1.0)
        if self.reduction == "fraction" and self.fraction == 0.0:
            raise BadInput("Liquidation.fraction=0: write the part of the position that goes first, such as 0.2")


@dataclass(frozen=True)
class Funding:
    """What a settlement is paid on, and how often there is one."""

    price: FundingPrice = "mark"  # what a settlement without its own price is paid on
    interval_hours: float = 8.0
    cap: float | None = None  # of the rate of one settlement, absolute; None: by contract

    def __post_init__(self) -> None:
        _one_of("Funding.price", self.price, FUNDING_PRICES)
        if not (math.isfinite(self.interval_hours) and self.interval_hours > 0.0):
            raise BadInput(
                f"Funding.interval_hours={self.interval_hours!r}: write hours between settlements, such as 8"
            )
        if self.cap is not None:
            _within("Funding.cap", self.cap, 0.0, 1.0)


@dataclass(frozen=True)
class Adl:
    """At which price deleveraging closes, and how a venue ranks whom it closes."""

    price: AdlPrice = "bankruptcy"
    ranking: str = "profit x margin ratio"

    def __post_init__(self) -> None:
        _one_of("Adl.price", self.price, ADL_PRICES)


@dataclass(frozen=True)
class Venue:
    """One venue and contract type. `dataclasses.replace` makes variants; `Venue(...)` your own."""

    name: str
    contract: Contract
    fees: Fees
    tiers: tuple[Tier, ...] = ()  # of every symbol that `tables` does not name
    tiers_as_of: str = ""  # date of the built-in tables
    tier_rule: TierRule = "marginal"
    closing_fee_in_maintenance: bool = False  # OKX: the taker fee is part of maintenance
    liquidation: Liquidation = field(default_factory=Liquidation)
    funding: Funding = field(default_factory=Funding)
    adl: Adl = field(default_factory=Adl)
    assumptions: tuple[str, ...] = ()  # what the venue does not publish and we took
    sources: tuple[str, ...] = ()
    tables: tuple[SymbolTiers, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise BadInput("Venue.name is empty: write a name such as 'binance'")
        _one_of("Venue.contract", self.contract, CONTRACTS)
        _one_of("Venue.tier_rule", self.tier_rule, TIER_RULES)
        if self.contract == "spot" and (self.tiers or self.tables):
            raise BadInput(f"{self.name}: spot has no maintenance tiers; leave tiers empty or write contract='linear'")
        closing = self.fees.taker if self.closing_fee_in_maintenance else 0.0
        check_tiers(self.tiers, self.tier_rule, f"{self.name}, tiers", closing)
        for table in self.tables:
            if not table.symbols or not table.tiers:
                raise BadInput(f"{self.name}: a table without {'tiers' if table.symbols else 'symbols'}")
            check_tiers(table.tiers, self.tier_rule, f"{self.name}, tiers of {table.symbols[0]}", closing)

    def tiers_for(self, symbol: str) -> tuple[Tier, ...]:
        """The table of a symbol: one that names it, else one that names its base currency, else `tiers`."""
        wanted = (symbol.upper(), base_of(symbol).upper())
        for name in wanted:
            for table in self.tables:
                if name in (s.upper() for s in table.symbols):
                    return table.tiers
        return self.tiers

    def knows(self, symbol: str) -> bool:
        """Whether `tiers_for` is the symbol's own table rather than the one for all others."""
        wanted = {symbol.upper(), base_of(symbol).upper()}
        return any(s.upper() in wanted for table in self.tables for s in table.symbols)

    @property
    def closing_fee(self) -> float:
        """The fee rate inside maintenance."""
        return self.fees.taker if self.closing_fee_in_maintenance else 0.0


def base_of(symbol: str) -> str:
    """BTC of BTC/USDT:USDT, BTCUSDT, BTC-USDT-SWAP, BTCUSD_PERP."""
    match = _BASE.match(symbol)
    return match[1] if match else symbol


def maintenance_amounts(floors: Iterable[float], rates: Iterable[float]) -> list[float]:
    """cum of every bracket, so that maintenance is continuous: cum_n = cum_(n-1) + floor_n (mmr_n - mmr_(n-1)).

    Of the decimal numbers as they are written, so that 0.0065 - 0.005 is 0.0015.
    """
    amounts: list[float] = []
    cum, before = Fraction(0), Fraction(0)
    for floor, rate in zip(floors, rates, strict=True):
        exact = Fraction(repr(float(rate)))
        if amounts:
            cum += Fraction(repr(float(floor))) * (exact - before)
        amounts.append(float(cum))
        before = exact
    return amounts


def brackets(*rows: tuple[float, float, float], rule: TierRule = "marginal") -> tuple[Tier, ...]:
    """Tiers of (cap, mmr, max_leverage), lowest first; floors and maintenance amounts follow."""
    floors = [0.0, *(float(cap) for cap, _, _ in rows[:-1])]
    cums = maintenance_amounts(floors, [mmr for _, mmr, _ in rows]) if rule == "marginal" else [0.0] * len(rows)
    return tuple(
        Tier(floor, float(cap), mmr, float(leverage), cum)
        for floor, (cap, mmr, leverage), cum in zip(floors, rows, cums, strict=True)
    )


def check_tiers(tiers: tuple[Tier, ...], rule: TierRule, where: str, closing_fee: float = 0.0) -> None:
    """Refuse a table with gaps, rates that fall, or maintenance amounts that do not follow from it."""
    if not tiers:
        return
    if tiers[0].floor != 0.0:
        raise BadInput(f"{where}: the first bracket begins at {tiers[0].floor:g}; it must begin at 0")
    for n, tier in enumerate(tiers, start=1):
        _check_tier(tier, f"{where}, bracket {n}", closing_fee)
    for n, (low, high) in enumerate(itertools.pairwise(tiers), start=2):
        _check_neighbours(low, high, f"{where}, bracket {n}")
    expected = [0.0] * len(tiers)
    if rule == "marginal":
        expected = maintenance_amounts([t.floor for t in tiers], [t.mmr for t in tiers])
    for n, (tier, cum) in enumerate(zip(tiers, expected, strict=True), start=1):
        if abs(tier.cum - cum) > ROUNDING * tier.floor * tier.mmr:
            why = "floor x (mmr - mmr before) + cum before" if rule == "marginal" else "a whole rate has none"
            raise BadInput(f"{where}, bracket {n}: cum is {tier.cum:g}, should be {cum:g} ({why})")


def _check_tier(tier: Tier, where: str, closing_fee: float) -> None:
    if not tier.cap > tier.floor:
        raise BadInput(f"{where}: cap {tier.cap:g} is not above floor {tier.floor:g}")
    if not 0.0 < tier.mmr < 1.0 - closing_fee:
        raise BadInput(f"{where}: mmr={tier.mmr!r}; write a fraction such as 0.004, below {1.0 - closing_fee:g}")
    if not (math.isfinite(tier.max_leverage) and tier.max_leverage > 0.0):
        raise BadInput(f"{where}: max_leverage={tier.max_leverage!r}; write a number above 0")
    if not math.isfinite(tier.cum):
        raise BadInput(f"{where}: cum={tier.cum!r}; write the maintenance amount, 0 in the first bracket")


def _check_neighbours(low: Tier, high: Tier, where: str) -> None:
    if high.floor != low.cap:
        kind = "a gap" if high.floor > low.cap else "an overlap"
        raise BadInput(f"{where}: {kind}, it begins at {high.floor:g} and the one before ends at {low.cap:g}")
    if high.mmr < low.mmr:
        raise BadInput(f"{where}: mmr {high.mmr:g} is below the {low.mmr:g} of the one before")
    if high.max_leverage > low.max_leverage:
        raise BadInput(f"{where}: max_leverage {high.max_leverage:g} is above the {low.max_leverage:g} before it")


def venue(name: str, contract: Contract | None = None) -> Venue:
    """A built-in profile by name, such as "binance" or "okx". Without a contract: linear, or the only one there is.

    >>> venue("binance").fees.taker
    0.0005
    >>> venue("binance", "inverse").name
    'binance'
    """
    from backtest.profiles import ALIASES, PROFILES

    if contract is not None:
        _one_of("contract", contract, CONTRACTS)
    key = re.sub(r"[\s_-]+", "", name.lower())
    if key in ALIASES:
        key, implied = ALIASES[key]
        if contract not in (None, implied):
            raise BadInput(f"venue {name!r} is {implied}, not {contract}; write venue({key!r}, {contract!r})")
        contract = implied
    if key not in PROFILES:
        every = {*PROFILES, *ALIASES}
        hint = did_you_mean(key, every if near(key, every) else PROFILES)
        raise BadInput(f"no venue {name!r}: {hint}; Venue(...) makes your own")
    return _of_contract(key, PROFILES[key], contract)


def _of_contract(name: str, by_contract: Mapping[str, Venue], contract: str | None) -> Venue:
    chosen = contract if contract is not None else next(c for c in CONTRACTS if c in by_contract)
    if chosen not in by_contract:
        raise BadInput(f"{name} has no {chosen} profile; there is: {', '.join(sorted(by_contract))}")
    return by_contract[chosen]


def __getattr__(name: str) -> Venue:
    """The profiles, as if they were here."""
    from backtest import profiles

    found = vars(profiles).get(name)
    if isinstance(found, Venue):
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BadInput(f"{name}={value!r}: {did_you_mean(str(value), choices)}")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not (isinstance(value, int | float) and low <= value <= high) or value != value:
        raise BadInput(f"{name}={value!r}: write a number from {low:g} to {high:g}")
