"""One name for one contract on every venue.

The store keys on the unified form, which says what settles the contract: `BTC/USDT:USDT` is linear and margined
in USDT, `BTC/USD:BTC` is inverse and margined in coin, `BTC/USDT` is spot, `BTC/USDT:USDT-240628` expires. Venues write
the same things as BTCUSDT, BTCUSD_PERP, BTC-USDT-SWAP, BTCPERP, PF_XBTUSD or BTC; `unified` translates, by the venue's
own rules where it has some (`_VENUES`), and leaves a name of a form it does not know exactly as it is (an index over
all venues is just BTC). The base of a translated name is letters and digits only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

# Longest first: FDUSD and BUSD end in USD.
_QUOTES = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD1", "USD", "BTC", "ETH", "BNB", "EUR")
_UNIFIED = re.compile(r"^[^/\s]+/[^/:\s]+(:[^\s]+)?$")
_DELIVERY = re.compile(r"^(?P<pair>.+?)[_-](?P<date>\d{6})$")
_KRAKEN = re.compile(r"^(?P<kind>PF|PI|FF|FI)_(?P<base>[^\W_]+?)USD(_(?P<date>\d{6}))?$")
_PAIR = re.compile(r"^(?P<base>[^\W_]+)[_-](?P<quote>[^\W_]+)([_-](20)?(?P<date>\d{6}))?$")


def is_unified(symbol: str) -> bool:
    """Whether a name has the form BTC/USDT:USDT or BTC/USDT."""
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
        return _hyperliquid(name) or name
    rule = _okx if plain.endswith("-SWAP") else _VENUES.get(venue, _joined)
    return rule(plain) or name


def parted(name: str) -> tuple[str, str]:
    """The pair and the end that makes it a contract: BTCUSD and _PERP, BTCUSDT and _240628."""
    if name.upper().endswith("_PERP"):
        return name[: -len("_PERP")], name[-len("_PERP") :]
    match = _DELIVERY.match(name)
    return (match["pair"], name[len(match["pair"]) :]) if match else (name, "")


def _contract(base: str, quote: str, margin: str = "", date: str | None = "") -> str | None:
    """The unified name; without `margin` a dollar that is no token makes the contract inverse."""
    if not (base.isalnum() and quote.isalnum()):
        return None
    margin = margin or (base if quote == "USD" else quote)
    return f"{base}/{quote}:{margin}" + (f"-{date}" if date else "")


def _split(pair: str) -> tuple[str, str] | None:
    for quote in _QUOTES:
        base = pair[: -len(quote)]
        if pair.endswith(quote) and base.isalnum():
            return base, quote
    return None


def _joined(name: str) -> str | None:
    """Most venues, Binance first: BTCUSDT, ETHBTC (linear); BTCUSD_PERP (inverse); BTCUSDT_240628 (dated)."""
    pair, end = parted(name)
    parts = _split(pair)
    return _contract(parts[0], parts[1], date=end[1:] if end != "_PERP" else "") if parts else None


def _bybit(name: str) -> str | None:
    """BTCUSDT (linear), BTCPERP (linear in USDC), BTCUSD (inverse)."""
    if name.endswith("PERP") and name[: -len("PERP")].isalnum():
        return _contract(name[: -len("PERP")], "USDC")
    return _joined(name)


def _bitget(name: str) -> str | None:
    """BTCUSDT_UMCBL, BTCUSD_DMCBL (inverse), BTCPERP_CMCBL (USDC), BTCUSDT_SPBL (spot); bare names since 2024."""
    if name.endswith("_SPBL"):
        parts = _split(name.removesuffix("_SPBL"))
        return "/".join(parts) if parts else None
    for product in ("_UMCBL", "_DMCBL", "_CMCBL"):
        name = name.removesuffix(product)
    return _bybit(name)


def _okx(name: str) -> str | None:
    """BTC-USDT-SWAP, BTC-USD-SWAP (inverse), BTC-USDT-240628, BTC-USDT (spot here, and nowhere else)."""
    parts = name.split("-")
    if len(parts) == 1:
        return _joined(name)
    if not all(p.isalnum() for p in parts):
        return None
    if len(parts) == 2:
        return "/".join(parts)
    if len(parts) == 3 and parts[2] == "SWAP":
        return _contract(parts[0], parts[1])
    dated = len(parts) == 3 and parts[2].isdigit() and len(parts[2]) == 6
    return _contract(parts[0], parts[1], date=parts[2]) if dated else None


def _pair(name: str) -> str | None:
    """Gate's BTC_USDT, HTX's BTC-USDT: linear; BTC_USD, BTC-USD: inverse; a date may follow."""
    match = _PAIR.match(name)
    if match is None or match["quote"] not in _QUOTES:
        return _joined(name)
    return _contract(match["base"], match["quote"], date=match["date"])


def _dydx(name: str) -> str | None:
    """BTC-USD: every market of dYdX v4 is margined and settles in USDC; unified names quote it so too."""
    match = _PAIR.match(name)
    if match is None or match["quote"] != "USD" or match["date"]:
        return None
    return _contract(match["base"], "USDC")


def _deribit(name: str) -> str | None:
    """BTC-PERPETUAL (inverse), SOL_USDC-PERPETUAL (linear)."""
    if not name.endswith("-PERPETUAL"):
        return None
    base, _, quote = name[: -len("-PERPETUAL")].partition("_")
    return _contract(base, quote or "USD")


def _bitmex(name: str) -> str | None:
    """XBTUSD (inverse), XBTUSDT (linear); XBT is BTC elsewhere."""
    return _joined(_bitcoin(name.removeprefix(".")))


def _kraken(name: str) -> str | None:
    """PF_XBTUSD, FF_XBTUSD_240628 (linear; several collaterals, reckoned in USD), PI_ and FI_ (inverse)."""
    match = _KRAKEN.match(name)
    if match is None:
        return _joined(_bitcoin(name))
    linear = match["kind"] in ("PF", "FF")
    return _contract(_bitcoin(match["base"]), "USD", "USD" if linear else "", match["date"])


def _kucoin(name: str) -> str | None:
    """XBTUSDTM (linear), XBTUSDCM (linear in USDC), XBTUSDM (inverse)."""
    if not name.endswith("M"):
        return _joined(name)
    return _joined(_bitcoin(name.removesuffix("M"))) or _joined(name)


def _bitcoin(name: str) -> str:
    return "BTC" + name[3:] if name.startswith("XBT") else name


def _hyperliquid(name: str) -> str | None:
    """A bare coin or BTC-PERP, margined in USDC; kPEPE keeps its lower-case thousand."""
    coin = name[: -len("-PERP")] if name.upper().endswith("-PERP") else name
    return _contract(coin, "USDC")


_VENUES: Mapping[str, Callable[[str], str | None]] = {
    "bitget": _bitget,
    "bitmex": _bitmex,
    "bybit": _bybit,
    "deribit": _deribit,
    "dydx": _dydx,
    "gate": _pair,
    "htx": _pair,
    "kraken": _kraken,
    "kucoin": _kucoin,
    "okx": _okx,
}
