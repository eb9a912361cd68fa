"""What is traded: linear, inverse or spot, isolated or cross, its steps, when it ends, and with which other leg.

By the terms of the contract where the market holds them, else by its name (BTC/USD:BTC is inverse, BTC/USDT spot), else
by the venue. One run settles in one currency.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.account import MODES, Account
from backtest.prepare import CROSS, INVERSE, SPOT, Contracts, Floats, Ints
from backtest.preparing.bars import frozen
from backtest.venue import Venue
from data import clock
from data.errors import BadInput, NotFound

if TYPE_CHECKING:
    from data.market import Market

KINDS = ("linear", "inverse", "spot")  # by the constants LINEAR, INVERSE, SPOT


def contracts_of(
    market: Market, account: Account, kind: Ints, size: Floats, last_bar: Ints, prices: Floats
) -> Contracts:
    """`prices` (k,) turn the smallest order of inverse contracts from quote currency into coin."""
    lot, least, inverse = terms(market, "lot_size"), terms(market, "min_notional"), kind == INVERSE
    return Contracts(
        kind=frozen(kind),
        mode=frozen(_modes(market, account, kind)),
        lot=frozen(np.where(inverse, lot * size, lot)),
        tick=frozen(terms(market, "tick_size")),
        min_notional=frozen(np.where(inverse, least / prices, least)),
        last_bar=frozen(last_bar),
        pair=frozen(_pairs(market, account)),
    )


def contract_sizes(market: Market, kind: Ints) -> tuple[Floats, list[str]]:
    """Quote currency in one inverse contract; 0 for all others, whose sizes are in base units."""
    size, inverse = terms(market, "contract_size"), kind == INVERSE
    unknown = inverse & (size == 0.0)
    notes = [
        f"{market.symbols[j]}: the size of a contract is not known: taken as 1 of its quote currency"
        for j in np.flatnonzero(unknown)
    ]
    return np.where(unknown, 1.0, np.where(inverse, size, 0.0)), notes


def kinds(market: Market, venue: Venue) -> Ints:
    found = []
    for symbol in market.symbols:
        word = market.instrument(symbol).get("contract") or _by_name(symbol) or venue.contract
        if word not in KINDS:
            raise BadInput(f"{symbol}: contract is {word!r}: it is linear, inverse or spot")
        if word not in ("spot", venue.contract):
            article = "an" if word == "inverse" else "a"
            raise BadInput(
                f"{symbol} is {article} {word} contract, and the profile {venue.name} is of {venue.contract} ones: "
                f"take venue({venue.name!r}, {word!r}), or name the symbol as it settles (BTC/USDT:USDT, BTC/USD:BTC)"
            )
        found.append(KINDS.index(word))
    return np.array(found, dtype=np.int64)


def _parts(symbol: str) -> tuple[str, str, str]:
    """Base, quote and settlement currency of a unified name: spot has no last, a name of another form none at all."""
    base, _, rest = symbol.partition("/")
    quote, _, settle = rest.partition(":")
    return (base, quote, settle.split("-")[0]) if rest else ("", "", "")


def _by_name(symbol: str) -> str | None:
    base, quote, settle = _parts(symbol)
    if not settle:
        return "spot" if quote else None
    return "inverse" if settle == base != quote else "linear"


def currency(market: Market) -> str:
    """What the run settles in; empty where no symbol tells."""
    named: dict[str, str] = {}
    for symbol in market.symbols:
        _, quote, settle = _parts(symbol)
        if told := str(market.instrument(symbol).get("settle") or settle or quote):
            named.setdefault(told, symbol)
    if len(named) > 1:
        (one, first), (other, second) = list(named.items())[:2]
        raise BadInput(
            f"{first} settles in {one} and {second} in {other}: one run has one settlement currency. "
            "Run them apart, or choose symbols that settle in the same"
        )
    return next(iter(named), "")


def terms(market: Market, name: str) -> Floats:
    """A number of each contract; 0 where it is not known."""
    values = [_number(market.instrument(symbol), symbol, name) for symbol in market.symbols]
    return np.array(values, dtype=np.float64)


def _number(of: Mapping[str, Any], symbol: str, name: str) -> float:
    value = of.get(name)
    if value is None or value != value:
        return 0.0
    if not 0.0 <= float(value) < np.inf:
        raise BadInput(f"{symbol}: {name} is {value}: it is a number above zero, or not known")
    return float(value)


def last_bars(market: Market) -> Ints:
    """The bar of the last trade of each symbol that is delisted within the market, else -1."""
    found = np.full(len(market.symbols), -1, dtype=np.int64)
    for j, symbol in enumerate(market.symbols):
        when = market.instrument(symbol).get("delisted")
        if when is None or when != when:
            continue
        at = clock.moment(when)
        if at <= market.start:
            raise BadInput(f"{symbol} was delisted at {clock.iso(at)}, before the first bar: leave it out")
        if at < market.end:
            found[j] = (at - 1 - market.start) // market.interval
    return found


def number_of(market: Market, symbol: str, where: str) -> int:
    """The index of a symbol, by its name here or the venue's."""
    if symbol in market.symbols:
        return market.symbols.index(symbol)
    try:
        return market.symbols.index(market.select([symbol]).symbols[0])
    except NotFound as problem:
        raise NotFound(f"{where}: {problem}") from None


def _modes(market: Market, account: Account, kind: Ints) -> Ints:
    """Contracts that a mapping does not name are isolated; spot is always cross."""
    named = account.mode if isinstance(account.mode, Mapping) else {}
    usual = account.mode if isinstance(account.mode, str) else "isolated"
    modes = np.full(len(market.symbols), MODES.index(usual), dtype=np.int64)
    for symbol, mode in named.items():
        modes[number_of(market, symbol, "mode")] = MODES.index(mode)
    return np.where(kind == SPOT, CROSS, modes)


def _pairs(market: Market, account: Account) -> Ints:
    other = np.full(len(market.symbols), -1, dtype=np.int64)
    for pair in account.pairs:
        if len(pair) != 2:
            raise BadInput(f"pairs: {pair!r} is no pair: name two symbols")
        one, two = (number_of(market, symbol, "pairs") for symbol in pair)
        for j in (one, two):
            if one == two or other[j] >= 0:
                raise BadInput(f"pairs: {market.symbols[j]} is paired twice: a symbol has one other leg")
        other[one], other[two] = two, one
    return other
