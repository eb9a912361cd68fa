"""Kinds of worked cases about funding, mark prices, deleveraging, insurance and sides: by the functions of
`backtest.rules`, with values of positions from `backtest.margin`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from backtest import rules
from backtest.worked import (
    ENTRY,
    LEVERAGE,
    MARGIN,
    MARK,
    MAX_LEVERAGE,
    MMR,
    QUANTITY,
    SYMBOL,
    WALLET,
    Case,
    Inputs,
    Leg,
    Underdetermined,
    bankruptcy_price,
    leg_of,
)

Values = dict[str, Any]

RATE = ("funding_rate", "rate", "last_funding", "last_funding_rate")
RATE_8H = ("funding_rate_8h", "rate_8h")
HOURLY = ("hyperliquid", "dydx")
SETTLED_ON = (
    "mark_price",
    "mark",
    "mark_open",
    "spot_at_funding",
    "oracle_price",
    "oracle",
    "index_price",
    "index",
    "price",
)
PREMIUM = ("avg_premium", "average_premium", "premium_index", "premium", "premium_rate", "avg_premium_index")
INTERVAL = ("interval_h", "interval_hours", "funding_interval_hours", "funding_interval", "n_hours", "period_h")


# --- funding -------------------------------------------------------------------------------------------------------


def funding_rate(case: Case) -> Values:
    read = case.read
    premium = _premium(case, read)
    damper = read.maybe("damper")
    used = rules.DAMPER if damper is None else damper
    interest = _interest(read)
    hours = read.maybe(*INTERVAL) or 8.0
    low, high = _limits(read)
    given = rules.INTEREST if interest is None else interest
    values: Values = {"premium": premium, "premium_index": premium, "avg_premium": premium, "interest": given}
    match case.venue:
        case "hyperliquid":
            rate = rules.clamp(rules.hyperliquid_funding_rate_8h(premium, given, used), low, high)
            return values | {"funding_rate_8h": rate, "funding_rate": rate, "funding_rate_1h": rate / 8.0}
        case "dydx":
            rate = rules.dydx_funding_rate(premium, _or(interest, 0.0))
            return values | {"funding_rate": rate, "funding_rate_1h": rate, "funding_rate_8h": 8.0 * rate}
        case "deribit":
            cap = _or(read.maybe("cap"), math.inf)
            rate = rules.deribit_funding_rate_8h(premium, 0.00025 if damper is None else damper, cap)
        case "okx":
            rate = rules.okx_funding_rate(premium, _or(interest, 0.0), low, high)
        case "bitmex":
            initial, kept = read.maybe("initial_margin", "imr", "im"), read.maybe("maintenance_margin", "mm", *MMR)
            rate = rules.clamp(rules.bitmex_funding_rate(premium, given, initial, kept), low, high)
        case "bybit":
            rate = rules.bybit_funding_rate(premium, interest, used, hours, low, high)
        case _:
            as_of = read.date("as_of", "date")
            rate = rules.binance_funding_rate(premium, given, used, hours, low, high, as_of)
    return values | {"funding_rate": rate, "funding_rate_8h": rate}


def _premium(case: Case, read: Inputs) -> float:
    if (given := read.maybe(*PREMIUM)) is not None:
        return given
    if samples := read.numbers("premiums", "samples", "premium_samples", "premium_indices", *PREMIUM):
        hourly = (read.maybe(*INTERVAL) or 8.0) <= 1.0
        return rules.average_premium(samples, case.venue in ("binance", "bybit", "generic") and not hourly)
    index = read.number("index", "index_price", "oracle", "oracle_price", "spot", "spot_price")
    bid, ask = read.maybe("impact_bid", "impact_bid_price"), read.maybe("impact_ask", "impact_ask_price")
    if bid is not None or ask is not None:
        if read.any("hip3") and bid is not None and ask is not None:
            return rules.hip3_premium(bid, ask, index)
        return rules.premium_index(bid, ask, index)
    middle = read.maybe("mark_price", "mark", "mid", "mid_price")
    if middle is None:
        bid, ask = read.number("best_bid", "bid"), read.number("best_ask", "ask")
        middle = (bid + ask) / 2.0
    return (middle - index) / index


def _interest(read: Inputs) -> float | None:
    if (given := read.maybe("interest", "interest_rate", "i")) is not None:
        return given
    quote, base = read.maybe("quote_rate", "funding_quote_rate"), read.maybe("base_rate", "funding_base_rate")
    return rules.bitmex_interest(quote, base) if quote is not None and base is not None else None


def _limits(read: Inputs) -> tuple[float, float]:
    cap = read.maybe("cap", "funding_cap")
    high = read.maybe("upper", "upper_limit", "cap_high", "high", "upper_funding_rate")
    low = read.maybe("lower", "lower_limit", "floor", "low", "lower_funding_rate")
    top = cap if high is None else high
    if top is None:
        return (-math.inf if low is None else low), math.inf
    return (-top if low is None else low), top


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def funding_cap(case: Case) -> Values:
    read = case.read
    initial, kept = read.maybe("imf", "imr", "im", "initial_margin"), read.maybe(*MMR, "mm", "maintenance_margin")
    if case.venue == "hyperliquid":
        hourly = rules.HYPERLIQUID_HOURLY_CAP
        return {"cap": hourly, "cap_1h": hourly, "cap_8h": 8.0 * hourly}
    if case.venue == "dydx":
        if initial is None or kept is None:
            raise Underdetermined("its inputs need imf and mmf")
        cap = rules.dydx_funding_cap_8h(initial, kept)
        return {"cap": cap, "cap_8h": cap, "cap_1h": cap / 8.0}
    if case.venue == "bitmex" and initial is not None and kept is not None:
        cap = 0.75 * (initial - kept)
    elif kept is not None:
        cap = rules.binance_funding_cap(kept, _or(read.maybe("multiple", "multiplier", "mult", "factor"), 0.75))
    else:
        raise Underdetermined("its inputs name no margin rates from which a cap would follow")
    values: Values = {"cap": cap, "cap_8h": cap, "floor": -cap}
    if (rate := read.maybe(*RATE)) is not None:
        values |= {"funding_rate": rules.clamp(rate, -cap, cap), "capped": rules.clamp(rate, -cap, cap)}
    return values


def funding_payment(case: Case) -> Values:
    read = case.read
    leg = leg_of(case, read)
    value = leg.notional(read.number(*SETTLED_ON, *ENTRY))
    per_8h, own = read.maybe(*RATE_8H), read.maybe(*RATE)
    hours = read.maybe("hours", "time_h", "interval_h")
    values: Values = {"value": value, "mark_value": value}
    if own is None and per_8h is None:
        raise Underdetermined("its inputs have no funding rate")
    if per_8h is not None:
        hourly = rules.funding_paid(value, per_8h / 8.0, leg.side)
        values |= {"payment_per_hour": hourly, "payment_8h": 8.0 * hourly}
        settled = hourly * (1.0 if case.venue in HOURLY and hours is None else _or(hours, 8.0))
    else:
        settled = rules.funding_paid(value, float(own or 0.0), leg.side)
        if case.venue == "deribit":
            settled *= _or(read.maybe("time_fraction"), _or(hours, 8.0) / 8.0)
        if case.venue in HOURLY:
            values["payment_per_hour"] = settled
    values |= {
        "payment": settled,
        "funding_paid": settled,
        "payment_paid": settled,
        "payment_paid_by_long": settled * leg.side,
        "payment_received_by_short": settled * leg.side,
        "funding_received": -settled,
        "funding": -settled,
    }
    return values | _with_exit(read, leg, settled)


def _with_exit(read: Inputs, leg: Leg, paid: float) -> Values:
    entry, last = read.maybe(*ENTRY), read.maybe("exit_price", "close_price", "close_rate")
    if entry is None:
        return {}
    values: Values = {"entry_value": leg.notional(entry)}
    if last is not None:
        gross = leg.profit(entry, last)
        values |= {"pnl": gross, "net": gross - paid, "net_pnl": gross - paid}
    return values


def funding_window(case: Case) -> Values:
    """What a position gets (positive) or pays over the settlements that it meets."""
    read = case.read
    leg = leg_of(case, read)
    opened, closed = read.moment("open", "opened", "open_time"), read.moment("close", "closed", "close_time")
    grace = read.maybe("entry_grace_seconds", "grace_seconds") or 0.0
    met, total = 0, 0.0
    for raw in read.rows("rates", "settlements", "fundings"):
        if not isinstance(raw, Mapping):
            raise Underdetermined("its settlements are not objects with a time, a rate and a price")
        row = Inputs(raw)
        if rules.pays(opened, closed, row.moment("ts", "time", "timestamp", "calc_time", "date"), grace):
            met += 1
            total -= rules.funding_paid(leg.notional(row.number(*SETTLED_ON)), row.number(*RATE), leg.side)
    return {"funding": total, "funding_fee": total, "funding_fees": total, "funding_paid": -total, "settlements": met}


# --- prices --------------------------------------------------------------------------------------------------------


def mark_price(case: Case) -> Values:
    read = case.read
    index, third = read.maybe("index", "index_price", "oracle", "oracle_price"), read.maybe(*LAST)
    first, second = _price1(read, index), _price2(read, index)
    values = {
        name: value
        for name, value in (("price1", first), ("fair_price", first), ("price2", second))
        if value is not None
    }
    marks = read.numbers("prices", "components")
    gap, widest = read.maybe("delta", "gap", "delta_p"), read.maybe("max_delta", "largest_gap", "max_delta_p")
    if marks:
        values["mark_price"] = rules.median_price(*marks)
    elif index is not None and third is not None and gap is not None and widest is not None:
        values["mark_price"] = rules.bybit_blended_mark(third, index, gap, widest)
    elif first is not None and second is not None and third is not None:
        values["mark_price"] = rules.median_price(first, second, third)
    elif case.venue == "okx" and second is not None:
        values["mark_price"] = second
    elif case.venue == "bitmex" and first is not None:
        values["mark_price"] = first
    if not values:
        raise Underdetermined("its inputs hold no funding with its time, no basis and no three prices")
    return values


LAST = ("contract_price", "last_price", "last", "price3")


def _price1(read: Inputs, index: float | None) -> float | None:
    if (given := read.maybe("price1")) is not None:
        return given
    rate, hours = read.maybe(*RATE), read.maybe("hours_to_funding", "hours_until_funding", "time_until_funding_h")
    if index is None or rate is None or hours is None:
        return None
    return rules.price_from_funding(index, rate, hours, _or(read.maybe("period_h", "period", *INTERVAL), 8.0))


def _price2(read: Inputs, index: float | None) -> float | None:
    if (given := read.maybe("price2")) is not None:
        return given
    basis = _basis(read, index)
    return rules.price_from_basis(index, basis) if index is not None and basis is not None else None


def _basis(read: Inputs, index: float | None) -> float | None:
    if (given := read.maybe("avg_basis", "average_basis", "basis", "ma_basis")) is not None:
        return given
    if samples := read.numbers("basis_samples", "bases", "basis"):
        return sum(samples) / len(samples)
    bid, ask = read.maybe("best_bid", "bid", "bid1"), read.maybe("best_ask", "ask", "ask1")
    if bid is None or ask is None or index is None:
        return None
    return (bid + ask) / 2.0 - index


def impact_margin_notional(case: Case) -> Values:
    read = case.read
    if case.venue == "hyperliquid":
        name = re.split(r"[/\-:]", read.text("coin", *SYMBOL).upper())[0]
        imn = rules.HYPERLIQUID_IMPACT.get(name, rules.HYPERLIQUID_IMPACT_OTHERS)
    else:
        rate = read.maybe("imr", "imf", "initial_margin_rate", "initial_margin_fraction")
        rate = 1.0 / read.number(*MAX_LEVERAGE, *LEVERAGE) if rate is None else rate
        usual = rules.DYDX_IMPACT_MARGIN if case.venue == "dydx" else rules.BINANCE_IMPACT_MARGIN
        imn = rules.impact_notional(_or(read.maybe("impact_margin", "margin"), usual), rate)
    return {"imn": imn, "impact_margin_notional": imn, "impact_notional": imn}


# --- deleveraging and insurance ------------------------------------------------------------------------------------

CANDIDATES = ("longs", "shorts", "candidates", "counterparties", "positions", "accounts", "queue", "opposing")


def adl(case: Case) -> Values:
    read = case.read
    if rows := [row for row in read.rows(*CANDIDATES) if isinstance(row, Mapping)]:
        return _queue(case, read, rows)
    if read.has("deposit") or (case.venue == "dydx" and read.has(*MARGIN)):
        return _underwater(case, read)
    score = _score(case, read)
    return {"score": score, "rank_score": score, "leverage_pnl": score, "ranking": score, "adl_score": score} | (
        _binance_parts(read) if case.venue == "binance" else {}
    )


def _queue(case: Case, read: Inputs, rows: list[Mapping[str, Any]]) -> Values:
    found = []
    for number, row in enumerate(rows, start=1):
        one = Inputs(row)
        name = one.any("account", "id", "user", "name", "trader")
        score = one.maybe("rank_score", "score", "pnl_ranking", "ranking", "leverage_pnl")
        if score is None and (rank := one.maybe("rank", "position_in_queue")) is not None:
            score = -rank
        if score is None:
            score = _score(case, one)
        found.append(rules.Candidate(str(number if name is None else name), abs(one.number(*QUANTITY)), score))
    size = abs(read.number("liquidated_size", "liquidated_qty", "liquidated_quantity", *QUANTITY))
    closed = rules.adl_queue(size, found)
    left = {c.account: c.quantity - closed.get(c.account, 0.0) for c in found}
    return {
        "closed": closed,
        "price": _adl_price(case, read),
        "remaining": left,
        "unfilled": size - sum(closed.values()),
    }


def _adl_price(case: Case, read: Inputs) -> float | None:
    """Where the venue's profile says that deleveraging is settled."""
    where = case.profile.adl.price if case.profile is not None else "bankruptcy"
    if where == "mark" and not read.any("fund_depleted"):
        names: tuple[str, ...] = ("mark_price", "mark")
    elif where == "previous_mark":
        names = ("previous_mark", "previous_mark_price", "mark_price")
    else:
        names = ("bankruptcy_price", "bust_price")
    if (given := read.maybe(*names)) is not None:
        return given
    entry, leverage = read.maybe(*ENTRY), read.maybe(*LEVERAGE)
    if where == "bankruptcy" and entry is not None and leverage is not None:
        leg = Leg(read.side(), 1.0, case.inverse)
        return bankruptcy_price(leg, entry, leg.notional(entry) / leverage)
    return None


def _underwater(case: Case, read: Inputs) -> Values:
    """A position that is worth less than nothing, closed at its bankruptcy price."""
    leg, entry, mark = leg_of(case, read), read.number(*ENTRY), read.number(*MARK)
    deposit = read.number(*MARGIN, *WALLET)
    values: Values = {"equity": deposit + leg.profit(entry, mark)}
    bust = bankruptcy_price(leg, entry, deposit)
    values["bankruptcy_price"] = values["price"] = bust
    if bust is not None:
        lost = leg.profit(entry, bust)
        values |= {"pnl_closed": lost, "pnl_counterparty": -lost, "equity_after": deposit + lost}
    return values


def _score(case: Case, read: Inputs) -> float:
    if case.venue == "hyperliquid":
        mark, entry = read.number(*MARK), read.number(*ENTRY)
        value = read.number("account_value", "equity")
        notional = read.maybe("notional", "position_value")
        size = leg_of(case, read).notional(mark) if notional is None else notional
        return rules.hyperliquid_adl_score(mark, entry, size, value, read.side())
    if case.venue == "binance" and not read.has("bankruptcy_price", "effective_leverage"):
        return _binance_parts(read)["leverage_pnl"]
    if (profit := read.maybe("pnl_percentage", "pnl_pct", "profit")) is not None:
        return rules.leveraged(profit, read.number("effective_leverage", *LEVERAGE))
    leg = leg_of(case, read)
    mark, entry, bust = (_signed_value(leg, read.number(*names)) for names in (MARK, ENTRY, ("bankruptcy_price",)))
    return rules.bitmex_adl_score(mark, entry, bust)


def _signed_value(leg: Leg, price: float) -> float:
    return leg.s * leg.notional(price) / leg.quantity


def _binance_parts(read: Inputs) -> dict[str, float]:
    unrealized = read.number(
        "unrealized", "unrealised", "unrealized_pnl", "unrealised_pnl", "upnl", "unrealized_profit"
    )
    wallet, kept = read.number(*WALLET), read.number("maintenance_margin", "mm", "maintenance")
    balance = wallet + unrealized
    return {
        "pnl_pct": max(0.0, unrealized) / max(1.0, wallet),
        "margin_ratio": kept / balance if balance > 0.0 else 0.0,
        "leverage_pnl": rules.binance_adl_score(unrealized, wallet, kept),
    }


def adl_trigger(case: Case) -> Values:
    read = case.read
    if case.venue == "okx" or read.has("reserve_8h_avg"):
        average = read.number(
            "reserve_8h_avg", "average_reserve", "reserve_avg", "avg_reserve", "reserve_8h_peak", "peak"
        )
        threshold = rules.okx_adl_threshold(average)
        values: Values = {"threshold": threshold}
        if (now := read.maybe("reserve", "current_reserve", "balance", "reserve_now")) is not None:
            values["triggered"] = now < threshold or now <= 0.0
        return values
    if case.venue == "bybit":
        return _bybit_trigger(read)
    raise Underdetermined(f"no published rule says when {case.venue} begins to deleverage")


def _bybit_trigger(read: Inputs) -> Values:
    balance = read.number("balance", "pool_balance", "insurance_balance", "insurance_fund_balance")
    drawdown = read.maybe("pnl_ratio", "drawdown", "drawdown_ratio", "pnl_drawdown")
    if drawdown is None:
        highest = read.number("max_balance", "max_balance_8h", "max_pool_balance_8h", "max_pool_balance")
        drawdown = rules.bybit_drawdown(read.number("pnl", "symbol_pnl"), read.number("max_pnl", "max_pnl_8h"), highest)
    threshold = _or(read.maybe("adl_trigger_threshold", "threshold", "trigger_threshold"), 10_000.0)
    trigger = _or(read.maybe("insurance_pnl_ratio", "trigger_ratio", "trigger"), -0.3)
    stop = _or(read.maybe("adl_stop_ratio", "stop_ratio", "stop"), -0.25)
    begun = rules.bybit_adl_triggered(balance, drawdown, threshold, trigger)
    stopped = rules.bybit_adl_stopped(balance, drawdown, stop)
    values: Values = {"pnl_ratio": drawdown, "drawdown": drawdown, "drawdown_ratio": drawdown}
    return values | {"triggered": begun, "adl": begun, "stopped": stopped, "stop": stopped}


def insurance(case: Case) -> Values:
    read = case.read
    leg = leg_of(case, read)
    fill = read.maybe("fill", "fill_price", "execution_price", "close_price")
    bust = read.maybe("bankruptcy_price", "bust_price")
    if bust is not None and fill is not None:
        return _fund(rules.insurance_change(leg.side, leg.quantity, bust, fill, leg.inverse))
    deposit, entry = read.number(*MARGIN, *WALLET), read.number(*ENTRY)
    mark, rate = read.maybe(*MARK), read.maybe(*MMR)
    values: Values = {"bankruptcy_price": bankruptcy_price(leg, entry, deposit)}
    if mark is not None:
        values |= {"equity": deposit + leg.profit(entry, mark), "pnl": leg.profit(entry, mark)}
    if rate is not None:
        # The requirement as the position was opened, which is how venues tell it in examples; at the mark beside it.
        values["mmr"] = values["maintenance_margin"] = leg.notional(entry) * rate
        values["mmr_at_oracle"] = leg.notional(mark) * rate if mark is not None else None
    if fill is not None:
        change = rules.dydx_insurance_change(deposit, leg.signed, entry, fill)
        values |= _fund(change) | {"loss": -leg.profit(entry, fill), "equity_after": deposit + leg.profit(entry, fill)}
    return values


def _fund(change: float) -> Values:
    pays, gets = max(0.0, -change), max(0.0, change)
    return {
        "insurance_change": change,
        "insurance_pays": pays,
        "insurance_loss": pays,
        "insurance_receives": gets,
        "insurance_gets": gets,
        "insurance_fee": gets,
        "surplus": gets,
    }


# --- sides ---------------------------------------------------------------------------------------------------------


def liquidation_side(case: Case) -> Values:
    read = case.read
    raw = read.any("raw")
    fields = dict(raw) if isinstance(raw, Mapping) else dict(re.findall(r"(\w+)\s*[=:]\s*\"?(\w+)", str(raw or "")))
    fields |= {name: value for name, value in read.raw.items() if name != "raw" and isinstance(value, str)}
    if not fields and isinstance(raw, str):
        fields = {"side": raw}
    try:
        side = rules.liquidated_position(case.venue, {name: str(value) for name, value in fields.items()})
    except KeyError:
        raise Underdetermined(f"{raw!r} names no side") from None
    return {"liquidated_position": side, "position": side, "side": side, "liquidated": side, "position_side": side}


KINDS = {
    "funding_rate": funding_rate,
    "funding_cap": funding_cap,
    "funding_payment": funding_payment,
    "funding_window": funding_window,
    "mark_price": mark_price,
    "impact_margin_notional": impact_margin_notional,
    "adl": adl,
    "adl_trigger": adl_trigger,
    "insurance": insurance,
    "liquidation_side": liquidation_side,
}
