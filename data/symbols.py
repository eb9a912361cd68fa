"""One name for one contract on every venue.

The store keys on the unified form, which says what settles the contract: `BTC/USDT:USDT` is linear and margined
in USDT, `BTC/USD:BTC` is inverse and margined in coin, `BTC/USDT` is spot, `BTC/USDT:USDT-240628` expires. Venues write
the same things as BTCUSDT, BTCUSD_PERP, BTC-USDT-SWAP, BTCPERP, XBTUSD or BTC; `unified` translates, and leaves a name
it does not know as it is (an index over all venues is just BTC).
"""

from __future__ import annotations

import re

# Longest first: FDUSD and BUSD end in USD.
_QUOTES = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD1", "USD", "BTC", "ETH", "BNB", "EUR")
_UNIFIED = re.compile(r"^[^/\s]+/[^/:\s]+(:[^\s]+)?$")
_DELIVERY = re.compile(r"^(?P<pair>.+?)[_-](?P<date>\d{6})$")


def is_unified(symbol: str) -> bool:
    return bool(_UNIFIED.match(symbol))


def settle(symbol: str) -> str | None:
    """The currency a unified symbol is margined in; None for spot and for names that are not unified."""
    return symbol.split(":", 1)[1].split("-", 1)[0] if ":" in symbol else None


def contract_kind(symbol: str) -> str | None:
    """linear, inverse or spot, as far as the name tells."""
    if not is_unified(symbol):
        return None
    coin = settle(symbol)
    base, quote = symbol.split(":", 1)[0].split("/")
    if coin is None:
        return "spot"
    return "inverse" if coin == base and quote != base else "linear"


def unified(name: str, venue: str = "") -> str:
    """The unified form of a venue's own name for a perpetual, a dated future or (with a slash) a spot pair."""
    name = name.strip()
    if is_unified(name):
        return name
    plain = name.upper() if name.isascii() else name
    if venue == "hyperliquid":
        return _hyperliquid(name)
    if venue == "okx" or plain.endswith("-SWAP"):
        return _okx(plain) or name
    if venue == "deribit":
        return _deribit(plain) or name
    if venue == "bybit":
        return _bybit(plain) or name
    if venue == "bitmex":
        return _bitmex(plain) or name
    return _binance(plain) or name


def _split(pair: str) -> tuple[str, str] | None:
    for quote in _QUOTES:
        if pair.endswith(quote) and len(pair) > len(quote):
            return pair[: -len(quote)], quote
    return None


def _binance(name: str) -> str | None:
    """BTCUSDT, ETHBTC (linear); BTCUSD_PERP, BTCUSD_240628 (inverse); BTCUSDT_240628 (dated linear)."""
    pair, date = name, ""
    if name.endswith("_PERP"):
        pair = name[: -len("_PERP")]
    elif match := _DELIVERY.match(name):
        pair, date = match["pair"], "-" + match["date"]
    parts = _split(pair)
    if parts is None:
        return None
    base, quote = parts
    margin = base if quote == "USD" else quote
    return f"{base}/{quote}:{margin}{date}"


def _bybit(name: str) -> str | None:
    """BTCUSDT (linear), BTCPERP (linear in USDC), BTCUSD (inverse)."""
    if name.endswith("PERP") and len(name) > len("PERP"):
        base = name[: -len("PERP")]
        return f"{base}/USDC:USDC"
    return _binance(name)


def _okx(name: str) -> str | None:
    """BTC-USDT-SWAP, BTC-USD-SWAP (inverse), BTC-USDT-240628, BTC-USDT (spot)."""
    parts = name.split("-")
    if len(parts) < 2:
        return _binance(name)
    base, quote = parts[0], parts[1]
    if len(parts) == 2:
        return f"{base}/{quote}"
    margin = base if quote == "USD" else quote
    return f"{base}/{quote}:{margin}" + ("" if parts[2] == "SWAP" else f"-{parts[2]}")


def _deribit(name: str) -> str | None:
    """BTC-PERPETUAL (inverse), SOL_USDC-PERPETUAL (linear)."""
    if not name.endswith("-PERPETUAL"):
        return None
    base, _, quote = name[: -len("-PERPETUAL")].partition("_")
    return f"{base}/{quote}:{quote}" if quote else f"{base}/USD:{base}"


def _bitmex(name: str) -> str | None:
    """XBTUSD (inverse), XBTUSDT (linear); XBT is BTC elsewhere."""
    plain = name.removeprefix(".")
    return _binance("BTC" + plain[3:] if plain.startswith("XBT") else plain)


def _hyperliquid(name: str) -> str:
    """A bare coin, margined in USDC; kPEPE keeps its lower-case thousand."""
    return f"{name}/USDC:USDC"
