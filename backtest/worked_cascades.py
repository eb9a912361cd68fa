"""Worked cases of liquidations, deleveraging and insurance funds, run through `backtest.crowd.formulas`.

Most are of one paper (T. Chitra, Autodeleveraging, 2025) with five positions, written as "A(1,2,+1)": size, collateral,
side. Its funding example has fixed funding rates: (longs / shorts - price / oracle), shorts pay where it is positive.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from backtest.crowd import formulas
from backtest.venue import Tier, maintenance_amounts
from backtest.worked import Leg, Table, Underdetermined, as_rows
from backtest.worked_numbers import Read, number

POSITION = re.compile(r"([A-Z])\(([^,()]+),([^,()]+),([+-]?1)\)")
ENTRY = re.compile(r"entry\s*=?\s*([\d.]+)")
EXAMPLE = "A(1,2,+1) B(1,2/3,+1) C(4,8/3,-1) D(1,2/19,+1) E(1,10/99,-1), entry 1"


class Book(NamedTuple):
    names: list[str]
    size: Any
    collateral: Any
    side: Any
    entry: float


def book_of(text: Any) -> Book:
    found = POSITION.findall(str(text).replace(" ", "")) if text is not None else []
    if not found:
        raise Underdetermined('its inputs have no positions such as "A(1,2,+1) B(1,2/3,-1), entry 1"')
    entry = ENTRY.search(str(text))
    rows = np.array([[number(size), number(collateral), float(side)] for _, size, collateral, side in found])
    return Book([name for name, *_ in found], rows[:, 0], rows[:, 1], rows[:, 2], float(entry[1]) if entry else 1.0)


def _bankruptcies(read: Read) -> Any:
    book = book_of(read.any("positions"))
    return _list(formulas.bankruptcy_price(book.side, book.size, book.entry, book.collateral))


def _liquidations(read: Read) -> Any:
    book = book_of(read.any("positions"))
    return _list(formulas.liquidation_price(book.side, book.size, book.entry, book.collateral, read.number("mu")))


def _linear_impact(read: Read) -> list[float]:
    slope = read.number("alpha", 1.0)
    rows = read.any("cases")
    if not isinstance(rows, list):
        raise Underdetermined("its inputs have no list called cases: side, price, quantity")
    sides = {"sell": 1, "buy": -1}  # a long is closed by selling
    taken = [(sides[str(side).lower()], number(p), number(q)) for side, p, q in rows]
    return [float(formulas.linear_impact_price(p, side, q, slope)) for side, p, q in taken]


def _fees(read: Read) -> list[float]:
    """Of every set of rates there is, in the order of the inputs: fixed, of the mark, of the execution."""
    rates = [v for v in read.raw.values() if isinstance(v, list) and len(v) == 3]
    if not rates:
        raise Underdetermined("its inputs have no rates: [fixed, of the mark, of the execution price]")
    p, dq, execution = read.number("p"), read.number("dq"), read.number("p_exec")
    return [float(formulas.liquidation_fees(dq, p, execution, b, c, a)) for a, b, c in rates]


def _slice(read: Read) -> float:
    """Of a position of the paper by its name, else of side, size, collateral and entry."""
    p = read.number("p")
    name = read.any("position")
    if isinstance(name, str):
        book = book_of(read.any("positions") or EXAMPLE)
        if name not in book.names:
            raise Underdetermined(f"there is no position {name}")
        at = book.names.index(name)
        side, size, collateral, entry = book.side[at], book.size[at], book.collateral[at], book.entry
    else:
        side, size, collateral, entry = (read.number(k) for k in ("side", "size", "collateral", "entry"))
    equity = formulas.equity_with_funding(side, size, entry, collateral, p)
    fee = read.number("phi", 0.0)
    execution = read.number("p_exec")
    return float(formulas.slice_to_restore(side, size, equity, p, execution, read.number("mu"), fee))


def _bad_debt(read: Read) -> list[float]:
    """Long: bankruptcy, execution, quantity; short: execution, bankruptcy, quantity, as the formulas are written."""
    found = []
    if isinstance(long := read.any("long"), list):
        bankrupt, execution, quantity = (number(v) for v in long)
        found.append(float(formulas.bad_debt(1, quantity, bankrupt, execution)))
    if isinstance(short := read.any("short"), list):
        execution, bankrupt, quantity = (number(v) for v in short)
        found.append(float(formulas.bad_debt(-1, quantity, bankrupt, execution)))
    if not found:
        raise Underdetermined("its inputs have neither a long nor a short of three numbers")
    return found


PATH = ([1.0, 1.4, 1.3], [1.0, 1.5, 1.25])  # prices and oracle prices of the paper


def _equities(read: Read, step: int) -> Any:
    book = book_of(read.any("positions"))
    p = read.numbers("p") if read.has("p") else np.array(PATH[0])
    oracle = read.numbers("oracle") if read.has("oracle") else np.array(PATH[1])
    if not len(p) == len(oracle) > step:
        raise Underdetermined(f"its path has no prices and oracle prices at step {step}")
    longs, shorts = float(book.size[book.side > 0].sum()), float(book.size[book.side < 0].sum())
    rates = [formulas.imbalance_funding_rate(longs, shorts, p[t], oracle[t], 1.0) for t in range(1, step + 1)]
    funding = formulas.funding_per_coin(np.array(rates), p[1 : step + 1])
    return formulas.equity_with_funding(book.side, book.size, book.entry, book.collateral, p[step], funding)


def _step(read: Read) -> int:
    """Of the path: 1 is the first step after the entry."""
    if read.has("step"):
        return read.whole("step")
    found = re.search(r"t\s*=\s*(\d+)", read.text)
    if found is None:
        raise Underdetermined("neither its inputs nor its name say which step: t=1, say")
    return int(found[1])


def _mass(read: Read) -> list[float]:
    book, step = book_of(read.any("positions")), _step(read)
    prices = read.numbers("p") if read.has("p") else np.array(PATH[0])
    won, lost = formulas.leverage_mass(float(prices[step]), book.size, _equities(read, step))
    return [won, lost, lost / won]


def _after_haircut(read: Read) -> Any:
    return _list(formulas.equity_after_haircut(*(read.numbers(name) for name in ("c", "pnl", "h"))))


def _fund(read: Read) -> float:
    made = re.fullmatch(r"exp\((?:mean\s*=\s*)?([\d.]+)\)", str(read.raw.get("dist", "")).lower().strip())
    if made is None:
        raise Underdetermined('its inputs have no distribution such as "Exp(mean=10)"')
    mean = float(made[1])

    def quantile(level: float) -> float:
        return -mean * math.log1p(-level)

    return float(formulas.optimal_fund(quantile, number(read.raw.get("r"), "r"), read.number("kappa", 1.0)))


def _tier_amounts(read: Read) -> list[float]:
    rows = read.any("tiers")
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) >= 2 for row in rows):
        raise Underdetermined("its inputs have no tiers of [floor, rate]")
    floors, rates = zip(*((number(row[0]), number(row[1])) for row in rows), strict=True)
    return [float(v) for v in maintenance_amounts(list(floors), list(rates))]


def _both_sides(read: Read) -> dict[str, float | None]:
    rate, cum = read.number("mmr"), read.number("cum", 0.0)
    wallet, quantity, entry = read.number("wb"), read.number("qty"), read.number("entry")
    table = Table(as_rows((Tier(0.0, math.inf, rate, 1.0, cum),), whole=False))
    return {
        name: table.liquidation_price(Leg(side, quantity, False), entry, wallet)
        for name, side in (("long", 1), ("short", -1))
    }


def _list(values: Any) -> list[float]:
    return [float(v) for v in np.atleast_1d(values)]


KINDS: dict[str, Callable[[Read], Any]] = {
    "paper_bankruptcy": _bankruptcies,
    "paper_liquidation": _liquidations,
    "linear_impact": _linear_impact,
    "liquidation_fees": _fees,
    "partial_slice": _slice,
    "slice_bad_debt": _bad_debt,
    "equity_after_funding": lambda read: _list(_equities(read, _step(read))),
    "leverage_mass": _mass,
    "equity_after_haircut": _after_haircut,
    "optimal_fund": _fund,
    "tier_amounts": _tier_amounts,
    "liquidation_both_sides": _both_sides,
}
