"""Kinds of worked cases that are about margin: what the loops compute, by the functions of `backtest.margin`.

One function a kind: a case in, values by name out. A value that the inputs do not determine is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backtest import margin, rules
from backtest.profiles import okx_tier
from backtest.venue import maintenance_amounts
from backtest.worked import (
    ADDED,
    CUM,
    ENTRY,
    EQUITY,
    FUNDING_TAKEN,
    LEVERAGE,
    MARGIN,
    MARK,
    MAX_LEVERAGE,
    MMR,
    MODE,
    OTHER_MAINTENANCE,
    OTHER_UNREALIZED,
    OTHERS,
    QUANTITY,
    SYMBOL,
    TAKER,
    TIERS,
    TOTAL_MAINTENANCE,
    WALLET,
    Case,
    Inputs,
    Leg,
    Table,
    Underdetermined,
    bankruptcy_price,
    leg_of,
    notional_of,
    table_of,
    tiers_of,
)

Values = dict[str, Any]

INITIAL_RATE = ("margin_init", "imr", "imf", "initial_margin_rate", "initial_margin_fraction", "im_rate")
NEARLY = 1e-12  # equality liquidates; decimal inputs meet it to rounding only


def liquidated(balance: float, maintenance: float) -> bool:
    return balance <= maintenance + NEARLY * max(abs(balance), abs(maintenance))


# --- liquidation price ---------------------------------------------------------------------------------------------


def liq_price(case: Case) -> Values:
    read = case.read
    if (legs := _hedge_legs(case, read)) is not None:
        return _hedged(case, read, legs)
    target, others = _target(case, read)
    if case.venue == "bybit" and not others and not is_cross(target):
        return _bybit(case, target)
    if case.venue == "bybit" and case.inverse and target.has("account_balance"):
        return _bybit_inverse_cross(case, target)
    return _one_price(case, target, others)


def _one_price(case: Case, read: Inputs, others: Sequence[Inputs]) -> Values:
    leg, table = leg_of(case, read, any_size=True), table_of(case, read)
    rest = _rest(case, read, others) if is_cross(read) else Rest(0.0, 0.0)
    anchor, balance = _balance(case, read, leg, table, rest)
    mark = read.maybe(*MARK)
    if (total := read.maybe(*TOTAL_MAINTENANCE)) is not None:
        rest = Rest(total - table.maintenance(leg.notional(anchor)), rest.unrealized)
    values: Values = {"tmm_other": rest.maintenance, "upnl_other": rest.unrealized, "margin_used": balance}
    price = table.liquidation_price(leg, anchor, balance - rest.maintenance, mark)
    values["liq_price"] = price
    values["bankruptcy_price"] = bankruptcy_price(leg, anchor, balance)
    if price is not None:
        row = table.tier(leg.notional(price))
        values |= _of_row(table, row, "_at_liquidation")
        values["equity_at_liq"] = balance + leg.profit(anchor, price)
    entry = read.maybe(*ENTRY)
    if read.has("raw_usd"):
        mark = _mark_of_value(read, leg) if mark is None else mark
        values["margin_used"] = read.number("raw_usd") + leg.side * leg.notional(mark)
    if mark is not None and entry is not None:
        values["unrealized_pnl"] = leg.profit(entry, mark)
    return values


def _of_row(table: Table, row: int, ending: str = "") -> Values:
    return {
        f"tier{ending}": row + 1,
        f"mmr{ending}": float(table.rows[row, margin.MMR]),
        f"maint_amount{ending}": float(table.rows[row, margin.CUM]),
    }


def is_cross(read: Inputs) -> bool:
    """By name, else by what the inputs speak of."""
    if mode := read.text(*MODE):
        return "cross" in mode
    return read.has(*OTHERS, *OTHER_MAINTENANCE, *OTHER_UNREALIZED) or (read.has(*WALLET) and not read.has(*MARGIN))


def _target(case: Case, read: Inputs) -> tuple[Inputs, list[Inputs]]:
    """The position that is asked about, with what the account says, and the others."""
    positions = [p for p in read.rows("positions") if isinstance(p, Mapping)]
    others = [Inputs(o) for o in read.rows(*OTHERS) if isinstance(o, Mapping)]
    if not positions or read.has(*ENTRY):
        return read, others
    symbol = read.text(*SYMBOL)
    first = next((p for p in positions if symbol and Inputs(p).text(*SYMBOL) == symbol), positions[0])
    account = {name: value for name, value in read.raw.items() if name not in ("positions", *SYMBOL)}
    return Inputs({**account, **first}), others + [Inputs({**_shared(read), **p}) for p in positions if p is not first]


def _shared(read: Inputs) -> dict[str, Any]:
    """What all positions of an account may have in common."""
    return {name: value for name in (*TIERS, "tier_rule") if (value := read.any(name)) is not None}


class Rest:
    """What the other positions of a cross account need and make."""

    def __init__(self, maintenance: float, unrealized: float) -> None:
        self.maintenance, self.unrealized = maintenance, unrealized


def _rest(case: Case, read: Inputs, others: Sequence[Inputs]) -> Rest:
    maintenance, unrealized = read.maybe(*OTHER_MAINTENANCE), read.maybe(*OTHER_UNREALIZED)
    if maintenance is None:
        maintenance = sum(_maintenance_of(case, other) for other in others)
    if unrealized is None:
        counted = read.has(*EQUITY, "quote_balance", "raw_usd", "margin_available")  # it is in the balance already
        unrealized = 0.0 if counted else sum(_unrealized_of(case, other) for other in others)
    return Rest(maintenance, unrealized)


def _maintenance_of(case: Case, read: Inputs) -> float:
    given = read.maybe("maintenance_margin", "maintenance", "mm", "tmm")
    if given is not None:
        return given
    return table_of(case, read).maintenance(notional_of(case, read, *MARK, *ENTRY))


def _unrealized_of(case: Case, read: Inputs) -> float:
    given = read.maybe("unrealized", "unrealised", "unrealized_pnl", "unrealised_pnl", "upnl")
    if given is not None:
        return given
    mark = read.maybe(*MARK)
    return leg_of(case, read).profit(read.number(*ENTRY), mark) if mark is not None else 0.0


def _balance(case: Case, read: Inputs, leg: Leg, table: Table, rest: Rest) -> tuple[float, float]:
    """A price, and what the position has behind it there; of a cross account, the others' profit included."""
    if read.has("raw_usd"):
        entry = read.maybe(*ENTRY) or _mark_of_value(read, leg)
        return entry, read.number("raw_usd") + leg.side * leg.notional(entry)
    if (available := read.maybe("margin_available")) is not None:
        mark = read.number(*MARK)
        return mark, available + table.maintenance(leg.notional(mark)) + rest.maintenance
    if (equity := read.maybe(*EQUITY)) is not None:
        return read.number(*MARK, *ENTRY), equity
    if (quote := read.maybe("quote_balance")) is not None:
        mark = read.number(*MARK)
        return mark, quote + leg.side * leg.notional(mark)
    if is_cross(read):
        return read.number(*ENTRY), read.number(*WALLET) + rest.unrealized
    entry = read.number(*ENTRY, *MARK)
    return entry, _isolated_margin(read, leg, entry) + _extra(read)


def _mark_of_value(read: Inputs, leg: Leg) -> float:
    return read.number("position_value", "notional") / leg.quantity


def _isolated_margin(read: Inputs, leg: Leg, price: float) -> float:
    given = read.maybe(*MARGIN, *WALLET)
    return given if given is not None else leg.notional(price) / read.number(*LEVERAGE)


def _extra(read: Inputs) -> float:
    return (read.maybe(*ADDED) or 0.0) - (read.maybe(*FUNDING_TAKEN) or 0.0)


# --- Bybit, two vintages -------------------------------------------------------------------------------------------


def _bybit(case: Case, read: Inputs) -> Values:
    """Isolated: maintenance at entry value until 2025, at the liquidation price since."""
    leg, table, entry = leg_of(case, read, any_size=True), table_of(case, read).without_fee(), read.number(*ENTRY)
    initial = _isolated_margin(read, leg, entry)
    extra = _extra(read)
    values: Values = {"bankruptcy_price": bankruptcy_price(leg, entry, initial + extra), "initial_margin": initial}
    if _at_mark(read):
        extra = rules.bybit_added_margin(extra, leg.side, read.maybe(*TAKER) or 0.0, leg.inverse)
        values["liq_price"] = table.liquidation_price(leg, entry, initial + extra)
    else:
        kept = table.maintenance(leg.notional(entry))
        values["liq_price"] = rules.bybit_liquidation_price_2024(
            leg.quantity, entry, initial + extra, kept, leg.side, leg.inverse
        )
        values["maintenance_margin"] = kept
    return values


def _at_mark(read: Inputs) -> bool:
    """Which vintage of Bybit's rules: as the case says, else by its date."""
    if said := read.text("maintenance_value_at", "value_at"):
        return said == "mark"
    return rules.bybit_uses_mark(read.date("as_of", "date"))


def _bybit_inverse_cross(case: Case, read: Inputs) -> Values:
    leg = leg_of(case, read)
    levels = rules.bybit_inverse_cross_2020(
        leg.quantity,
        read.number(*ENTRY),
        read.number(*WALLET),
        leg.side,
        read.number(*MMR),
        read.number(*TAKER),
        read.maybe("order_margin") or 0.0,
    )
    return {"bankruptcy_price": levels.bankruptcy, "liq_price": levels.liquidation}


# --- hedge mode ----------------------------------------------------------------------------------------------------


def _hedge_legs(case: Case, read: Inputs) -> list[Inputs] | None:
    """Both sides of one symbol on one cross account; None where the case has no such pair."""
    pair = [(name, read.any(name)) for name in ("long", "short")]
    if all(isinstance(leg, Mapping) for _, leg in pair):
        return [Inputs({"side": name, **_shared(read), **leg}) for name, leg in pair]
    positions = [Inputs({**_shared(read), **p}) for p in read.rows("positions", "legs") if isinstance(p, Mapping)]
    hedged = read.text("position_mode", "hedge_mode", "mode").startswith("hedge") or read.any("hedge_mode") is True
    one_symbol = len({p.text(*SYMBOL) for p in positions}) == 1 and positions[0].text(*SYMBOL) != ""
    both = {p.side() for p in positions} == {1, -1}
    return positions if len(positions) == 2 and both and (hedged or one_symbol) else None


def _hedged(case: Case, read: Inputs, legs: Sequence[Inputs]) -> Values:
    others = [Inputs(o) for o in read.rows(*OTHERS) if isinstance(o, Mapping)]
    rest = _rest(case, read, others)
    balance = read.number(*WALLET) + rest.unrealized - rest.maintenance
    both = [_hedge_leg(case, one) for one in legs]
    return {
        "liq_price": rules.hedge_liquidation_price(balance, both, case.inverse),
        "tmm_other": rest.maintenance,
        "upnl_other": rest.unrealized,
    }


def _hedge_leg(case: Case, read: Inputs) -> rules.HedgeLeg:
    leg, table, entry = leg_of(case, read), table_of(case, read), read.number(*ENTRY)
    row = table.tier(leg.notional(entry))
    rate, amount = float(table.rows[row, margin.MMR]), float(table.rows[row, margin.CUM])
    return rules.HedgeLeg(leg.side, leg.quantity, entry, rate + table.fee, amount)


# --- bankruptcy ----------------------------------------------------------------------------------------------------


def bankruptcy(case: Case) -> Values:
    read = case.read
    if (account := dydx_account(read)) is not None:
        return {
            "bankruptcy_quote": account.bankruptcy_quote(read.number("close_delta", "delta", "delta_size")),
            "equity": account.equity,
            "maintenance_margin": account.maintenance,
        }
    if case.venue == "bybit" and case.inverse and read.has("account_balance"):
        return _bybit_inverse_cross(case, read)
    target, others = _target(case, read)
    leg, anchor = leg_of(case, target, any_size=True), target.number(*ENTRY, *MARK)
    if (equity := target.maybe(*EQUITY)) is not None:
        anchor, balance = target.number(*MARK, *ENTRY), equity
    elif is_cross(target):
        rest = _rest_unrealized(case, target, others)
        balance = target.number(*WALLET, *MARGIN) + rest
    else:
        balance = _isolated_margin(target, leg, anchor)
    balance += _extra(target) + (target.maybe("available_balance") or 0.0)
    return {"bankruptcy_price": bankruptcy_price(leg, anchor, balance), "initial_margin": balance}


def _rest_unrealized(case: Case, read: Inputs, others: Sequence[Inputs]) -> float:
    given = read.maybe(*OTHER_UNREALIZED)
    return given if given is not None else sum(_unrealized_of(case, other) for other in others)


def dydx_account(read: Inputs) -> rules.DydxAccount | None:
    positions = [Inputs(p) for p in read.rows("positions") if isinstance(p, Mapping)]
    if not read.has("quote_balance") or not positions:
        return None
    held = tuple(rules.DydxPosition(p.number(*QUANTITY), p.number(*MARK), p.number(*MMR)) for p in positions)
    return rules.DydxAccount(read.number("quote_balance"), held)


def liquidation_limit_price(case: Case) -> Values:
    read = case.read
    account = dydx_account(read)
    if account is None:
        raise Underdetermined("its inputs have no quote_balance with positions: only dYdX has such an order")
    price = account.fillable_price(
        _or(read.maybe("bankruptcy_adjustment", "ba"), 1.0), _or(read.maybe("spread_to_mmr", "smmr"), 1.5)
    )
    return {"fillable_price": price, "equity": account.equity, "maintenance_margin": account.maintenance}


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


# --- margins -------------------------------------------------------------------------------------------------------


def maintenance_margin(case: Case) -> Values:
    read = case.read
    if read.has("slope"):
        return _deribit(case, read)
    if (account := dydx_account(read)) is not None:
        return {"maintenance_margin": account.maintenance, "equity": account.equity}
    if case.venue == "bybit":
        return _bybit_margins(case, read)
    table, notional = table_of(case, read), notional_of(case, read, *MARK, *ENTRY)
    row = table.tier(notional)
    values: Values = {"maintenance_margin": table.without_fee().maintenance(notional), "notional": notional}
    values |= _of_row(table, row)
    values["required"] = table.maintenance(notional)
    if (posted := read.maybe(*MARGIN)) is not None:
        balance = posted + _unrealized_of(case, read) if read.has(*ENTRY) else posted
        values |= {"margin_balance": balance, "margin_ratio": balance / values["required"]}
    return values


def position_margin(case: Case) -> Values:
    read = case.read
    if read.has("slope"):
        return _deribit(case, read)
    if case.venue == "bybit":
        return _bybit_margins(case, read)
    return initial_margin(case) | maintenance_margin(case)


def _deribit(case: Case, read: Inputs) -> Values:
    size = abs(read.number("size", "qty", "quantity", "qty_usd", "contracts"))
    price = read.maybe("index", "index_price", *MARK)
    if case.inverse:
        if read.has("qty_usd", "contracts"):
            size /= read.number("index", "index_price", *MARK)
        price = 1.0
    base, slope = read.number("base", "base_rate", "im_base", "mm_base"), read.number("slope")
    amount = rules.deribit_margin(size, base, slope, _or(price, 1.0))
    return {"margin": amount, "initial_margin": amount, "maintenance_margin": amount, "rate": base + size * slope}


def _bybit_margins(case: Case, read: Inputs) -> Values:
    table = table_of(case, read).without_fee()
    entry, mark, leverage = read.maybe(*ENTRY), read.maybe(*MARK), read.maybe(*LEVERAGE)
    at = mark if _at_mark(read) and mark is not None else entry if entry is not None else mark
    if at is None:
        value = notional_of(case, read, *MARK, *ENTRY)
    else:
        value = notional_of(case, read, *(MARK if at is mark else ENTRY))
    row, kept = table.tier(value), table.maintenance(value)
    values: Values = {"notional": value, **_of_row(table, row)}
    if leverage is None or entry is None:
        return values | {"maintenance_margin": kept}
    leg = leg_of(case, read)
    rate, amount = float(table.rows[row, margin.MMR]), float(table.rows[row, margin.CUM])
    fee_rate = read.maybe(*TAKER) or 0.0
    both = rules.bybit_position_margin(
        leg.quantity, entry, value, leverage, leg.side, rate, amount, fee_rate, leg.inverse
    )
    values |= {
        "position_im": both.initial,
        "position_mm": kept + both.fee_to_close,
        "initial_margin": both.initial,
        "maintenance_margin": kept + both.fee_to_close,
        "fee_to_close": both.fee_to_close,
        "bankruptcy_price": bankruptcy_price(leg, entry, leg.notional(entry) / leverage),
    }
    if not is_cross(read):
        values["liq_price"] = _bybit(case, read)["liq_price"]
    return values


def initial_margin(case: Case) -> Values:
    read = case.read
    if read.has("slope"):
        return _deribit(case, read)
    value = notional_of(case, read, *MARK, *ENTRY)
    rate, leverage = read.maybe(*INITIAL_RATE, "base_imf"), read.maybe(*LEVERAGE)
    if rate is not None and read.has("open_notional"):
        lower, upper = (
            read.number("lower_cap", "open_notional_lower_cap"),
            read.number("upper_cap", "open_notional_upper_cap"),
        )
        rate = rules.dydx_imf(rate, read.number("open_notional"), lower, upper)
    part = (1.0 if rate is None else rate) / (1.0 if leverage is None else leverage)
    if rate is None and leverage is None:
        highest = read.number(*LEVERAGE, *MAX_LEVERAGE)
        part = 1.0 / highest
    values: Values = {"initial_margin": value * part, "notional": value, "imf": rate}
    entry, fee = read.maybe(*ENTRY), read.maybe(*TAKER)
    if leverage is not None and fee is not None and read.has(*QUANTITY):
        leg = leg_of(case, read)
        price = entry if entry is not None else read.number(*MARK)
        bust = bankruptcy_price(leg, price, leg.notional(price) / leverage)
        opening, closing = value * fee, (leg.notional(bust) * fee if bust is not None else 0.0)
        values |= {"fee_to_open": opening, "fee_to_close": closing, "order_cost": value * part + opening + closing}
        values["bankruptcy_price"] = bust
    return values


def maint_amount(case: Case) -> Values:
    read = case.read
    if given := read.any(*TIERS, "rows"):
        return bracket_values(case, given if not read.has("rows") else read.raw)
    before = read.maybe("cum_prev", "prev_cum", "cum_previous", "maint_amount_prev") or 0.0
    rate = read.number("mmr_n", "mmr", "rate")
    step = rate - read.number("mmr_prev", "prev_mmr", "mmr_n_1", "mmr_previous")
    return {"maint_amount": read.number("floor", "notional_floor", "floor_n") * step + before}


def bracket_table(case: Case) -> Values:
    if case.read.has("rows", *TIERS):
        return bracket_values(case, case.read.any(*TIERS) or case.read.raw)
    if case.venue == "okx":
        return {f"tier{k}": list(okx_tier(k)) for k in (1, *range(9, 100))}
    raise Underdetermined("its inputs have no rows of a table")


def bracket_values(case: Case, given: Any) -> Values:
    """Amounts found anew: those that the table may print are what is checked."""
    tiers = tiers_of(case, given)
    cums = maintenance_amounts([t.floor for t in tiers], [t.mmr for t in tiers])
    return {
        "cum": cums,
        "maint_amount": cums,
        "mmr": [t.mmr for t in tiers],
        "floor": [t.floor for t in tiers],
        "cap": [t.cap for t in tiers],
        "max_leverage": [t.max_leverage for t in tiers],
    }


# --- accounts and profit -------------------------------------------------------------------------------------------


def account_risk(case: Case) -> Values:
    read = case.read
    if (account := dydx_account(read)) is not None:
        return _judged(case, account.equity, account.maintenance)
    stated, kept = read.maybe(*EQUITY, "margin_balance"), read.maybe("maintenance_margin", *OTHER_MAINTENANCE)
    if stated is not None and kept is not None:
        return _judged(case, stated, kept)
    listed = [Inputs({**_shared(read), **p}) for p in read.rows("positions") if isinstance(p, Mapping)]
    positions = listed or [read]
    given = read.maybe(*WALLET, *MARGIN) if is_cross(read) else read.maybe(*MARGIN, *WALLET)
    if given is None:
        leg = leg_of(case, positions[0])
        given = leg.notional(positions[0].number(*ENTRY)) / read.number(*LEVERAGE)
    unrealized = sum(_unrealized_of(case, p) for p in positions)
    kept = sum(_maintenance_of(case, Inputs({**_rates(read), **p.raw})) for p in positions)
    return _judged(case, given + _extra(read) + unrealized, kept) | {"unrealized": unrealized, "wallet_balance": given}


def _rates(read: Inputs) -> dict[str, Any]:
    return {name: value for name in (*MMR, *CUM, *TAKER) if (value := read.any(name)) is not None}


def _judged(case: Case, balance: float, maintenance: float) -> Values:
    backstop = case.profile.liquidation.backstop if case.profile is not None else 0.0
    return {
        "backstop": balance < backstop * maintenance,
        "margin_balance": balance,
        "equity": balance,
        "maintenance_margin": maintenance,
        "margin_ratio": maintenance / balance if balance > 0.0 else None,
        "liquidated": liquidated(balance, maintenance),
    }


def pnl(case: Case) -> Values:
    read = case.read
    leg, entry = leg_of(case, read), read.number(*ENTRY)
    last = read.number("close_rate", "exit_price", "close_price", *MARK)
    fee = read.maybe("fee_rate", "taker", "taker_fee", "commission_rate") or 0.0
    gross = leg.profit(entry, last)
    opening, closing = leg.notional(entry) * fee, leg.notional(last) * fee
    net = gross - opening - closing + (read.maybe("funding", "funding_fees", "funding_received") or 0.0)
    values: Values = {
        "unrealised": gross,
        "realised": gross,
        "gross_pnl": gross,
        "commission": opening,
        "closing_commission": closing,
        "fees": opening + closing,
        "net_pnl": net,
        "entry_value": leg.notional(entry),
    }
    if (leverage := read.maybe(*LEVERAGE)) is not None:
        values["roe"] = gross / (leg.notional(entry) / leverage)
    return values


KINDS = {
    "liq_price": liq_price,
    "bankruptcy_price": bankruptcy,
    "liquidation_limit_price": liquidation_limit_price,
    "maintenance_margin": maintenance_margin,
    "maint_amount": maint_amount,
    "position_margin": position_margin,
    "initial_margin": initial_margin,
    "account_risk": account_risk,
    "bracket_table": bracket_table,
    "pnl": pnl,
}
