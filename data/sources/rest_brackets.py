"""Maintenance brackets out of the venues' answers: one function for each venue, used by the table of venues.

Each takes the answer and the contract it was asked for (ccxt's market, with `price` where the table asks for one) and
gives brackets by the venue's own names of contracts. That they fit together is checked where they are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data.errors import BadInput
from data.sources.tiers import Bracket

Found = Mapping[str, Sequence[Bracket]]


def binance(answer: Any, market: Mapping[str, Any]) -> Found:
    """[{symbol, brackets: [{bracket, initialLeverage, notionalFloor, notionalCap, maintMarginRatio, cum}]}]; COIN-M
    names the bounds qtyFloor and qtyCap and counts them in coin."""
    del market
    if changed := [one["symbol"] for one in answer if float(one.get("notionalCoef", 1)) != 1]:
        raise BadInput(
            f"the brackets of {changed[0]} were changed for your account (notionalCoef): they are not the venue's; "
            "ask with a key of another account, or import a file with `unwind import tiers`"
        )
    return {str(one["symbol"]): [_binance(b) for b in one["brackets"]] for one in answer}


def _binance(b: Mapping[str, Any]) -> Bracket:
    coin = "qtyFloor" in b
    floor, cap = (b["qtyFloor"], b["qtyCap"]) if coin else (b["notionalFloor"], b["notionalCap"])
    leverage = float(b["initialLeverage"])
    return Bracket(int(b["bracket"]), float(floor), float(cap), float(b["maintMarginRatio"]), float(b["cum"]), leverage)


def bybit(answer: Any, market: Mapping[str, Any]) -> Found:
    """Risk limits: each line ends where riskLimitValue says; what is deducted is empty for the lowest."""
    lines = sorted(answer["result"]["list"], key=lambda line: float(line["riskLimitValue"]))
    out, floor = [], 0.0
    for number, line in enumerate(lines, 1):
        cap, cum = float(line["riskLimitValue"]), float(line.get("mmDeduction") or 0.0)
        out.append(Bracket(number, floor, cap, float(line["maintenanceMargin"]), cum, float(line["maxLeverage"])))
        floor = cap
    return {str(market["id"]): out}


def okx(answer: Any, market: Mapping[str, Any]) -> Found:
    """Bounds are contracts: money is contracts x size x price, and contracts x size where a contract is in dollars.

    OKX applies a tier's rate to the whole position, so there is nothing to deduct; `cum` is worked out to continue.
    """
    lines = sorted(answer["data"], key=lambda line: float(line["maxSz"]))
    each = float(market["contractSize"]) * (1.0 if market["inverse"] else float(market["price"]))
    out, floor = [], 0.0
    for number, line in enumerate(lines, 1):
        cap = float(line["maxSz"]) * each
        out.append(Bracket(number, floor, cap, float(line["mmr"]), None, float(line["maxLever"])))
        floor = cap
    return {str(market["id"]): out}


def hyperliquid(answer: Any, market: Mapping[str, Any]) -> Found:
    """Margin tables: leverage by notional from a bound on; maintenance is half of the initial margin at it."""
    del market
    tables = {number: table["marginTiers"] for number, table in answer.get("marginTables", [])}
    out = {}
    for coin in answer["universe"]:
        single = [{"lowerBound": "0.0", "maxLeverage": coin["maxLeverage"]}]
        tiers = tables.get(coin.get("marginTableId"), single)
        bounds = [float(t["lowerBound"]) for t in tiers]
        caps: list[float | None] = [*bounds[1:], None]
        out[str(coin["name"])] = [
            Bracket(n, floor, cap, 0.5 / float(t["maxLeverage"]), None, float(t["maxLeverage"]))
            for n, (t, floor, cap) in enumerate(zip(tiers, bounds, caps, strict=True), 1)
        ]
    return out
