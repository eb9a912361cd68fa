"""What a worked case of a venue says, read as numbers: sides, sizes, balances, tiers.

Venues and libraries print the same thing under many names (`mmr`, `maintenanceMarginRate`, `mmf`); `Inputs` finds it by
any of them, letter case and underscores aside. What cannot be read is `Underdetermined`, with what is lacking.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest import margin, rules
from backtest.venue import Contract, Tier, Venue, base_of, maintenance_amounts, venue
from data.errors import BadInput, UnwindError

Floats = npt.NDArray[np.float64]

ENTRY = ("entry_price", "entry", "avg_entry_price", "average_entry_price", "avg_price", "open_price", "open_rate")
MARK = ("mark_price", "mark", "mark_adverse", "oracle_price", "oracle", "price", "index_price", "index")
PRICES = frozenset((*ENTRY, *MARK)) - {"price", "index"}  # what must be above zero
MARK_OR_EXIT = (*MARK, "close_rate", "exit_price", "close_price")
QUANTITY = (
    "qty",
    "quantity",
    "signed_qty",
    "size",
    "signed_size",
    "position_size",
    "szi",
    "qty_usd",
    "contracts",
    "amount",
)
CONTRACT_SIZE = ("contract_size", "contract_value", "ct_val", "face_value", "multiplier", "contract_multiplier")
MARGIN = ("margin", "isolated_margin", "isolated_wallet", "position_margin", "collateral", "deposit")
WALLET = ("wallet_balance", "cross_wallet_balance", "account_balance", "balance", "wb")
EQUITY = ("equity", "account_value", "total_equity", "account_equity")
ADDED = ("added_margin", "extra_margin", "extra_margin_added")
FUNDING_TAKEN = ("funding_taken_from_position_margin", "funding_taken", "funding_deducted")
MMR = (
    "mmr", "mmf", "maintenance_margin_rate", "maint_margin_ratio", "maintenance_margin_ratio", "margin_maint",
    "mm_rate", "mm_ratio", "maintenance_rate",
)  # fmt: skip
CUM = ("maint_amount", "cum", "mm_deduction", "deduction", "maintenance_amount", "maintenance_deduction")
MAX_LEVERAGE = ("max_leverage", "maximum_leverage", "initial_leverage")
TAKER = ("taker_fee", "taker", "taker_fee_rate", "fee_rate", "closing_fee")
LEVERAGE = ("leverage", "lev")
TIERS = ("tiers", "brackets", "risk_limits", "leverage_tiers", "tier_table", "margin_tiers")
NOTIONAL = ("notional", "position_value", "notional_value", "value")
TOTAL_MAINTENANCE = ("maintenance_margin_required", "total_maintenance", "total_mmr", "total_maintenance_margin")
OTHERS = ("others", "other_positions")
OTHER_MAINTENANCE = ("other_maintenance", "other_mmr", "other_maintenance_margin", "tmm", "tmm1", "tmm_other", "mmr_o")
OTHER_UNREALIZED = ("other_unrealized", "other_upnl", "other_unrealised", "upnl", "upnl1", "upnl_other")
SYMBOL = ("symbol", "market", "pair")


class Underdetermined(Exception):
    """A case that does not say enough, or asks for what no rule here gives."""


def normal(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "").replace("-", "")


@dataclass(frozen=True)
class Case:
    id: str
    venue: str
    contract: str
    kind: str
    inputs: Mapping[str, Any]
    expected: Mapping[str, Any]
    tolerance: Mapping[str, Any]
    source: str = ""

    @property
    def inverse(self) -> bool:
        return self.contract in COIN

    @property
    def read(self) -> Inputs:
        return Inputs(self.inputs)

    @property
    def profile(self) -> Venue | None:
        """The built-in profile, of this contract type where there is one."""
        contract: Contract = "inverse" if self.inverse else "linear"
        try:
            return venue(self.venue, contract)
        except UnwindError:
            pass
        try:
            return venue(self.venue)
        except UnwindError:
            return None


class Inputs:
    def __init__(self, values: Mapping[str, Any]) -> None:
        self.raw = values
        self._by_name = {normal(str(name)): value for name, value in values.items() if value is not None}

    def any(self, *names: str) -> Any:
        """The value under the first of these names that is there; None: none is."""
        for name in names:
            if (value := self._by_name.get(normal(name))) is not None:
                return value
        return None

    def has(self, *names: str) -> bool:
        return self.any(*names) is not None

    def maybe(self, *names: str) -> float | None:
        value = self.any(*names)
        if value is None or isinstance(value, bool | list | dict):
            return None
        try:
            return float(value)
        except (TypeError, ValueError):
            return None

    def number(self, *names: str) -> float:
        value = self.maybe(*names)
        if value is None:
            raise Underdetermined(f"its inputs have no number called {names[0]}")
        if not value > 0.0 and (wrong := PRICES.intersection(names)):
            named = next((name for name in names if name in wrong and self.has(name)), names[0])
            raise Underdetermined(f"{named} is {value:g}, which is no price")
        return value

    def text(self, *names: str) -> str:
        value = self.any(*names)
        return value.strip().lower() if isinstance(value, str) else ""

    def rows(self, *names: str) -> list[Any]:
        value = self.any(*names)
        return list(value) if isinstance(value, list | tuple) else []

    def numbers(self, *names: str) -> list[float]:
        try:
            return [float(item) for item in self.rows(*names)]
        except (TypeError, ValueError):
            return []

    def date(self, *names: str) -> dt.date | None:
        text = self.text(*names)
        try:
            return dt.date.fromisoformat(text[:10]) if text else None
        except ValueError:
            return dt.date(int(text[:4]), 7, 1) if text[:4].isdigit() else None

    def moment(self, *names: str) -> dt.datetime:
        value = self.any(*names)
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000.0 if abs(value) > 1e11 else float(value)
            return dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
        if not isinstance(value, str):
            raise Underdetermined(f"its inputs have no time called {names[0]}")
        return moment(value)

    def side(self) -> int:
        """1 long, -1 short: by name, else by the sign of the size."""
        value = self.any("side", "direction", "position_side")
        short = self.any("is_short")
        signed = self.maybe("signed_qty", "signed_size", "size", "szi", "qty", "quantity", "contracts", "qty_usd")
        negative = signed is not None and signed < 0.0
        sign = 0
        if isinstance(value, str):
            sign = SIDES.get(value.strip().lower(), 0)
            if not sign:
                raise Underdetermined(f"side is {value!r}, neither long nor short")
        elif isinstance(value, int | float) and value != 0:
            sign = 1 if value > 0 else -1
        elif short is not None:
            sign = -1 if short else 1
        if sign > 0 and negative:
            raise Underdetermined(f"its side is long and its size is {signed:g}")
        return sign or (-1 if negative else 1)


LINEAR = ("linear", "usdt", "usdc", "usdm", "usd-m", "um")
COIN = ("inverse", "coin", "coin-m", "coinm", "cm")
MODE = ("mode", "margin_mode", "margin_type")


def sensible(case: Case) -> None:
    """Refuses what no position has, before anything is made of it."""
    read = case.read
    if case.contract not in (*LINEAR, *COIN):
        raise Underdetermined(f"contract is {case.contract!r}, neither linear nor inverse")
    mode = read.text(*MODE)
    if mode and not any(word in mode for word in ("cross", "iso")):
        raise Underdetermined(f"mode is {mode!r}, neither isolated nor cross")
    for names, low, high in ((LEVERAGE, 1e-9, math.inf), (MMR, 0.0, 1.0), (MARGIN, 0.0, math.inf)):
        for name in names:
            value = read.maybe(name)
            if value is not None and not low <= value <= high:
                raise Underdetermined(f"{name} is {value:g}")


SIDES = {"long": 1, "buy": 1, "l": 1, "1": 1, "short": -1, "sell": -1, "s": -1, "-1": -1}


def moment(text: str) -> dt.datetime:
    """A time as written in ISO 8601; one without a zone is UTC."""
    try:
        parsed = dt.datetime.fromisoformat(text.strip().replace(" UTC", "Z"))
    except ValueError:
        raise Underdetermined(f"{text!r} is not a time") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)


# --- positions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leg:
    """A position. `quantity` is positive: base units, of inverse contracts quote currency."""

    side: int
    quantity: float
    inverse: bool

    @property
    def signed(self) -> float:
        return self.side * self.quantity

    @property
    def s(self) -> float:
        """The signed size that `backtest.margin` takes: a long inverse position is short of 1/price."""
        return -self.signed if self.inverse else self.signed

    def notional(self, price: float) -> float:
        """In settlement currency."""
        return self.quantity * margin.size_at(price, self.inverse)

    def profit(self, entry: float, price: float) -> float:
        return self.signed * (margin.value_at(price, self.inverse) - margin.value_at(entry, self.inverse))


def leg_of(case: Case, read: Inputs, any_size: bool = False) -> Leg:
    """`any_size`: what is asked is a price, which at a given leverage is the same for every size."""
    if any_size and not read.has(*QUANTITY) and read.has(*LEVERAGE) and not read.has(*MARGIN, *WALLET, *ADDED):
        return Leg(read.side(), 1.0, case.inverse)
    quantity = abs(read.number(*QUANTITY))
    return Leg(read.side(), quantity * _contract_size(case, read), case.inverse)


def notional_of(case: Case, read: Inputs, *prices: str) -> float:
    """Of size and price (by the first of these names), else as the case states it."""
    stated = read.maybe(*NOTIONAL)
    if stated is not None and not (read.has(*QUANTITY) and read.has(*prices)):
        return abs(stated)
    return leg_of(case, read).notional(read.number(*prices))


def _contract_size(case: Case, read: Inputs) -> float:
    """Of a quantity counted in contracts; that of COIN-M is 100 USD for BTC and 10 USD for all others."""
    named = read.maybe(*CONTRACT_SIZE)
    if read.has("qty_usd"):
        return 1.0
    if named is not None:
        return named
    counted = read.has("contracts") and not read.has(*(n for n in QUANTITY if n != "contracts"))
    if counted and case.inverse and case.venue == "binance":
        return 100.0 if base_of(read.text(*SYMBOL) or "btc").upper() == "BTC" else 10.0
    return 1.0


def price_of(n: float, inverse: bool) -> float | None:
    """The price at a size of one unit; None where a position is never liquidated."""
    if not n > 0.0 or not math.isfinite(n):
        return None
    return margin.size_at(n, True) if inverse else n


# --- tiers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """Rows as the loops take them, and the closing fee inside maintenance."""

    rows: Floats
    fee: float = 0.0

    def maintenance(self, notional: float) -> float:
        return float(margin.maintenance(self.rows, 0, len(self.rows), self.fee, notional))

    def tier(self, notional: float) -> int:
        return int(margin.tier_of(self.rows, 0, len(self.rows), notional))

    def liquidation_price(self, leg: Leg, anchor: float, balance: float, start: float | None = None) -> float | None:
        """`balance` is what there is at the price `anchor`; the search for the tier begins at `start`."""
        n_anchor = margin.size_at(anchor, leg.inverse)
        n_start = margin.size_at(anchor if start is None else start, leg.inverse)
        found = margin.liquidation_size(leg.s, n_anchor, balance, self.rows, 0, len(self.rows), self.fee, n_start)
        return price_of(float(found), leg.inverse)

    def without_fee(self) -> Table:
        return replace(self, fee=0.0)


def bankruptcy_price(leg: Leg, anchor: float, balance: float) -> float | None:
    """Where nothing of the balance is left."""
    return price_of(float(margin.bankruptcy_size(leg.s, margin.size_at(anchor, leg.inverse), balance)), leg.inverse)


def table_of(case: Case, read: Inputs, shared: Inputs | None = None) -> Table:
    """Tiers if the inputs have a table, else the one rate they name, else what the venue derives or has built in."""
    whole = is_whole(case, read)
    fee = closing_fee(case, read)
    for one in (read, shared) if shared is not None else (read,):
        if given := one.any(*TIERS):
            return Table(as_rows(tiers_of(case, given), whole), fee)
        if (rate := one.maybe(*MMR)) is not None:
            return Table(as_rows((Tier(0.0, math.inf, rate, 1.0, one.maybe(*CUM) or 0.0),), whole), fee)
        if case.venue == "hyperliquid" and (leverage := one.maybe(*MAX_LEVERAGE)):
            rate = rules.hyperliquid_mmr(leverage)
            return Table(as_rows((Tier(0.0, math.inf, rate, leverage, one.maybe(*CUM) or 0.0),), whole), fee)
    return Table(as_rows(_built_in(case, read), whole), fee)


def _built_in(case: Case, read: Inputs) -> tuple[Tier, ...]:
    symbol = read.text(*SYMBOL)
    if case.profile is None or not symbol or not case.profile.knows(symbol):
        raise Underdetermined("its inputs name neither a maintenance rate nor tiers")
    return case.profile.tiers_for(symbol)


def is_whole(case: Case, read: Inputs) -> bool:
    """Whether the rate of a tier is that of the whole position, so that maintenance amounts do not count."""
    if said := read.text("tier_rule"):
        return said == "whole"
    return case.profile is not None and case.profile.tier_rule == "whole"


def closing_fee(case: Case, read: Inputs) -> float:
    """Inside maintenance, where the venue has it and the case names it."""
    if case.profile is None or not case.profile.closing_fee_in_maintenance:
        return 0.0
    return read.maybe(*TAKER) or 0.0


def as_rows(tiers: Sequence[Tier], whole: bool) -> Floats:
    cums = [0.0 if whole else t.cum for t in tiers]
    rows = [(t.floor, t.cap, t.mmr, t.max_leverage, cum) for t, cum in zip(tiers, cums, strict=True)]
    return np.array(rows, dtype=np.float64)


def tiers_of(case: Case, given: Any) -> tuple[Tier, ...]:
    """A table in any of the forms that venues print: rows with or without names, by floor or by cap."""
    columns, rows = _columns_and_rows(case, given)
    values = [dict(zip(columns, row, strict=False)) for row in rows]
    if not values:
        raise Underdetermined("its table of tiers is empty")
    floors, caps = _edges(values)
    leverages = [_of(v, MAX_LEVERAGE) for v in values]
    rates = [_of(v, (*MMR, "maintenance_margin")) for v in values]  # what Bybit calls its rate
    if case.venue == "hyperliquid":
        rates = [
            rules.hyperliquid_mmr(lev) if r is None and lev else r for r, lev in zip(rates, leverages, strict=True)
        ]
    known = [r for r in rates if r is not None]
    if len(known) < len(rates):
        raise Underdetermined("its table of tiers has no maintenance rates")
    _check_table(floors, caps, known)
    printed = [_of(v, CUM) for v in values]
    cums = [p if p is not None else c for p, c in zip(printed, maintenance_amounts(floors, known), strict=True)]
    return tuple(
        Tier(floor, cap, rate, lev or 1.0, cum)
        for floor, cap, rate, lev, cum in zip(floors, caps, known, leverages, cums, strict=True)
    )


def _columns_and_rows(case: Case, given: Any) -> tuple[tuple[str, ...], list[Sequence[Any]]]:
    if isinstance(given, Mapping):
        read = Inputs(given)
        rows = read.rows("rows", *TIERS)
        if columns := read.rows("columns"):
            return tuple(map(str, columns)), rows
        given = rows
    rows = list(given)
    if rows and isinstance(rows[0], Mapping):
        names = tuple(dict.fromkeys(str(name) for row in rows for name in row))
        return names, [[row.get(name) for name in names] for row in rows]
    if not rows or not all(isinstance(row, list | tuple) and row for row in rows):
        raise Underdetermined("its table of tiers is not a list of rows")
    return _guess_columns([[float(cell) for cell in row] for row in rows]), rows


def _guess_columns(rows: list[list[float]]) -> tuple[str, ...]:
    """Names of columns without names: leverages are above 1, rates below, the first floor is 0."""
    width = len(rows[0])
    edge = "floor" if rows[0][0] == 0.0 else "cap"
    if width == 2:
        return (edge, "max_leverage" if rows[0][1] > 1.0 else "mmr")
    if width == 3:
        return ("floor", "cap", _rate_or_leverage(rows[0][2])) if rows[0][1] > 1.0 else (edge, "mmr", "cum")
    if width == 4:
        last = "cum" if rows[0][3] == 0.0 else "max_leverage"
        return ("floor", "cap", "mmr", last)
    return ("floor", "cap", "mmr", "max_leverage", "cum")


def _rate_or_leverage(value: float) -> str:
    return "max_leverage" if value >= 1.0 else "mmr"


APART = 1e-3  # of a floor: venues print 50,000 and 50,001
FLOOR = ("floor", "min_notional", "notional_floor", "lower", "min", "from", "lower_bound")
CAP = ("cap", "max_notional", "notional_cap", "upper", "max", "to", "risk_limit", "risk_limit_value", "limit")


def _check_table(floors: Sequence[float], caps: Sequence[float], rates: Sequence[float]) -> None:
    """Brackets that follow each other, with rates that are rates."""
    for n, (floor, cap, rate) in enumerate(zip(floors, caps, rates, strict=True), start=1):
        if not 0.0 <= floor < cap:
            raise Underdetermined(f"bracket {n} of its table goes from {floor:g} to {cap:g}")
        if n > 1 and abs(floor - caps[n - 2]) > APART * floor:
            raise Underdetermined(f"bracket {n} of its table begins at {floor:g}, not at {caps[n - 2]:g}")
        if not 0.0 <= rate <= 1.0 or (n > 1 and rate < rates[n - 2]):
            raise Underdetermined(f"bracket {n} of its table has a maintenance rate of {rate:g}")


def _edges(values: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    floors, caps = [_of(v, FLOOR) for v in values], [_of(v, CAP) for v in values]
    for n in range(len(values)):
        if floors[n] is None:
            floors[n] = 0.0 if n == 0 else caps[n - 1]
    for n in range(len(values)):
        if caps[n] is None:
            caps[n] = floors[n + 1] if n + 1 < len(values) else math.inf
    if any(edge is None for edge in (*floors, *caps)):
        raise Underdetermined("its table of tiers has no floors or caps")
    return [float(f or 0.0) for f in floors], [float(c if c is not None else math.inf) for c in caps]


def _of(row: Mapping[str, Any], names: Sequence[str]) -> float | None:
    return Inputs(row).maybe(*names)


def checked(raw: object, number: int, where: str) -> Case:
    """One case of a file, or an error that says which is wrong."""
    if not isinstance(raw, dict):
        raise BadInput(f"{where}: case {number} is not an object with id, kind, inputs and expected")
    name = raw.get("id") or f"case {number}"
    for key, kind, said in (("kind", str, "text"), ("inputs", dict, "an object"), ("expected", dict, "an object")):
        if not isinstance(raw.get(key), kind):
            raise BadInput(f"{where}: {name} has no '{key}', or it is not {said}")
    if not raw["expected"]:
        raise BadInput(f"{where}: {name} expects nothing: write at least one value into 'expected'")
    tolerance = raw.get("tolerance", {})
    if not isinstance(tolerance, dict):
        raise BadInput(f'{where}: {name}: write the tolerance as {{"abs": 0.01}} or {{"rel": 1e-6}}')
    for key, value in tolerance.items():
        numbers = value.values() if isinstance(value, dict) else [value]
        if any(isinstance(v, int | float) and not 0.0 <= v < math.inf for v in numbers):
            raise BadInput(f"{where}: {name}: the tolerance {key} is {value}: write a finite number, 0 or more")
    return Case(
        id=str(name),
        venue=str(raw.get("venue") or "generic").lower(),
        contract=str(raw.get("contract") or "linear").lower(),
        kind=raw["kind"],
        inputs=raw["inputs"],
        expected=raw["expected"],
        tolerance=tolerance,
        source=str(raw.get("source") or ""),
    )
