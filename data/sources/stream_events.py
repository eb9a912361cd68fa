"""The venues' messages of liquidations as our events: pure functions from a parsed message to `Forced` rows.

Each reader keeps every event of a message, whatever number of them it holds, and translates three things:

1. who was liquidated: the position, by the venue's own meaning of `side` (data.sources.stream_facts);
2. how much: base units, or contracts where the contract is inverse, and the notional in quote currency;
3. at what price, and what kind of price that is.

Two events of one message that are alike in all of this are two events, and numbered; the same event in a second message
is the same event. A message that is no liquidation gives None, one that lacks a field raises `ValueError`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from data.schema import PriceKind
from data.sources.stream_facts import LONG, SHORT, LiquidationFacts

US_IN_MS = 1_000
_EARLIEST_MS, _LATEST_MS = 1_230_940_800_000, 2_524_608_000_000  # 2009 to 2050: beyond is another unit


@dataclass(frozen=True)
class Contract:
    """What is needed of a contract to read its sizes."""

    symbol: str
    size: float  # base units of one contract; quote currency if inverse
    inverse: bool


class Forced(NamedTuple):
    """One liquidation. `ts_us` is the venue's time of it."""

    symbol: str
    ts_us: int
    position: str
    price: float
    price_kind: str
    quantity: float
    notional: float
    event_id: str

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells one event from another."""
        return self.symbol, self.ts_us, self.position, self.price, self.quantity, self.event_id


Contracts = Callable[[str], Contract | None]
Message = Mapping[str, Any]


def read(name: str, message: Message, facts: LiquidationFacts, contracts: Contracts) -> list[Forced] | None:
    """The events of one message of a venue; None when it is of another kind."""
    try:
        found = _READERS[name](message, facts, contracts)
    except (KeyError, TypeError, AttributeError, ArithmeticError) as problem:
        raise ValueError(f"a {name} message of liquidations lacks {problem}") from None
    return None if found is None else _numbered(found)


def _numbered(events: Iterable[Forced]) -> list[Forced]:
    seen: Counter[tuple[Any, ...]] = Counter()
    out = []
    for event in events:
        out.append(event._replace(event_id=str(seen[event.key])))
        seen[event.key] += 1
    return out


def is_time(ms: float) -> bool:
    """Whether this can be a moment in milliseconds."""
    return _EARLIEST_MS <= ms < _LATEST_MS


def _forced(contract: Contract, ts_ms: int, position: str, price: float, price_kind: str, contracts: float) -> Forced:
    if not (math.isfinite(price) and price >= 0.0 and math.isfinite(contracts) and contracts >= 0.0):
        raise ValueError(f"price {price} and size {contracts} of {contract.symbol} cannot be")
    if not is_time(ts_ms):
        raise ValueError(f"{ts_ms} is no time in milliseconds")
    if contract.inverse:
        quantity, notional = contracts, contracts * contract.size
    else:
        quantity = contracts * contract.size
        notional = price * quantity
    if not math.isfinite(notional):
        raise ValueError(f"price {price} and size {contracts} of {contract.symbol} cannot be")
    return Forced(contract.symbol, ts_ms * US_IN_MS, position, price, price_kind, quantity, notional, "")


def _binance(message: Message, facts: LiquidationFacts, contracts: Contracts) -> list[Forced] | None:
    """{"e": "forceOrder", "E": ms, "o": {s, S, o, f, q, p, ap, X, l, z, T}}: one order, average price and filled size.

    `l` is the last fill alone; `z` is what was filled of the order so far.
    """
    if message.get("e") != "forceOrder":
        return None
    order = message["o"]
    contract = contracts(order["s"])
    filled, average = float(order["z"]), float(order["ap"])
    if contract is None or filled == 0.0:  # of a symbol that is not recorded; or nothing was liquidated yet
        return []
    if not math.isfinite(average):
        raise ValueError(f"average price {average}")
    kind = facts.price_kind if average > 0.0 else PriceKind.LIMIT
    price = average if average > 0.0 else float(order["p"])
    return [_forced(contract, int(order["T"]), facts.position_of[order["S"]], price, kind.value, filled)]


def _bybit(message: Message, facts: LiquidationFacts, contracts: Contracts) -> list[Forced] | None:
    """{"topic": "allLiquidation.X", "ts": ms, "data": [{T, s, S, v, p}, ...]}: several positions, bankruptcy price."""
    if not str(message.get("topic", "")).startswith("allLiquidation."):
        return None
    out = []
    for entry in message["data"]:
        if (contract := contracts(entry["s"])) is not None:
            position = facts.position_of[entry["S"]]
            price, size = float(entry["p"]), float(entry["v"])
            out.append(_forced(contract, int(entry["T"]), position, price, facts.price_kind.value, size))
    return out


def _okx(message: Message, facts: LiquidationFacts, contracts: Contracts) -> list[Forced] | None:
    """{"arg": {"channel"}, "data": [{"instId", "details": [{side, posSide, bkPx, sz, ts}, ...]}]}: sizes in contracts.

    `posSide` names the position; in net mode it does not, and the side of the closing order tells.
    """
    if message.get("arg", {}).get("channel") != "liquidation-orders" or "data" not in message:
        return None
    out = []
    for entry in message["data"]:
        contract = contracts(entry["instId"])
        if contract is None:
            continue
        for d in entry["details"]:
            told = str(d.get("posSide", ""))
            position = told if told in (LONG, SHORT) else facts.position_of[d["side"]]
            price, size = float(d["bkPx"]), float(d["sz"])
            out.append(_forced(contract, int(d["ts"]), position, price, facts.price_kind.value, size))
    return out


_READERS: Mapping[str, Callable[[Message, LiquidationFacts, Contracts], list[Forced] | None]] = {
    "binance": _binance,
    "binance-coinm": _binance,
    "bybit": _bybit,
    "bybit-inverse": _bybit,
    "okx": _okx,
}
