"""Deliberate mistakes in the engine, and whether a comparison notices each.

    python tests/mutants/mutants.py               all of them: a table, exit 1 if one goes unnoticed
    python tests/mutants/mutants.py --only ID     those whose id begins so
    python tests/mutants/mutants.py --write       and put the table into docs/mutants.md

The packages are copied to a temporary folder, one text of one file is replaced there, and `detector.py`, a process of
its own without compilation, says what has changed. A text that is not found as often as it should be is an error: a
mutant that changes nothing proves nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "mutants.md"
BEGIN, END = "<!-- table: python tests/mutants/mutants.py --write -->\n", "<!-- end of table -->\n"

MARGIN, COSTS = "backtest/margin.py", "backtest/costs.py"
CASH, RUIN, ORDERS, EXTREMES, STEP, QUIET, DRIVE, RUN = (
    f"backtest/kernel/{name}.py" for name in ("cash", "ruin", "orders", "extremes", "step", "quiet", "drive", "run")
)


@dataclass(frozen=True)
class Mutant:
    """`what` is what it would mean for a trader."""

    id: str
    kind: str  # sign, edge, order, tier, cap, fee, stamp, price, rule, measure
    file: str
    old: str
    new: str
    what: str
    times: int = 1


@dataclass(frozen=True)
class Verdict:
    mutant: Mutant
    caught: tuple[str, ...]
    seconds: float


MUTANTS = (
    # margin: what `unwind verify` checks too
    Mutant(
        "tier-boundary",
        "tier",
        MARGIN,
        "notional > tiers[row, CAP] * CAP_REACHED",
        "notional >= tiers[row, CAP]",
        "a notional equal to a cap pays the rate of the next tier",
    ),
    Mutant(
        "tier-below",
        "tier",
        MARGIN,
        "        row += 1\n    return row",
        "        row += 1\n    return max(first, row - 1)",
        "maintenance is that of a smaller position",
    ),
    Mutant(
        "cum-ignored",
        "tier",
        MARGIN,
        "(tiers[row, MMR] + fee) - tiers[row, CUM])",
        "(tiers[row, MMR] + fee))",
        "all of a position pays the rate of its highest tier",
    ),
    Mutant(
        "closing-fee-ignored",
        "fee",
        MARGIN,
        "notional * (tiers[row, MMR] + fee)",
        "notional * tiers[row, MMR]",
        "OKX liquidates later than it does",
    ),
    Mutant(
        "cum-sign",
        "sign",
        MARGIN,
        "- balance - tiers[row, CUM])",
        "- balance + tiers[row, CUM])",
        "the liquidation price of a long in a higher tier is off",
    ),
    Mutant(
        "level-of-one-tier",
        "tier",
        MARGIN,
        "if row == last or n * q <= tiers[row, CAP]:",
        "if True:",
        "a short that grows into the next tier is liquidated too late",
    ),
    Mutant(
        "jump-missed",
        "tier",
        MARGIN,
        "        if n < near:\n            return near\n",
        "",
        "a whole rate that jumps at a boundary is not seen there",
    ),
    Mutant(
        "inverse-value",
        "sign",
        MARGIN,
        "return -1.0 / price if inverse",
        "return 1.0 / price if inverse",
        "longs in coin-margined contracts gain when the price falls",
    ),
    Mutant(
        "bankruptcy-sign",
        "sign",
        MARGIN,
        "n_entry - balance / s",
        "n_entry + balance / s",
        "the bankruptcy price lies on the wrong side of the entry",
    ),
    # costs and cash
    Mutant(
        "slippage-sign",
        "sign",
        CASH,
        "return reference * (1.0 + c) if dq > 0.0",
        "return reference * (1.0 + c) if dq < 0.0",
        "taking earns the spread",
    ),
    Mutant(
        "impact-of-inverse",
        "price",
        CASH,
        "abs(dq) if leg[k, KIND] == INVERSE else abs(dq) * reference",
        "abs(dq) * reference",
        "orders in coin-margined contracts move the market by their size times the price",
    ),
    Mutant(
        "impact-square-root",
        "price",
        COSTS,
        "else notional**delta",
        "else math.sqrt(notional)",
        "the exponent of impact is not the one given",
    ),
    Mutant(
        "impact-smaller",
        "price",
        COSTS,
        "impact = max(impact, a *",
        "impact = min(impact, a *",
        "the cheaper of the two laws of impact is paid",
    ),
    Mutant(
        "cost-uncapped",
        "cap",
        COSTS,
        "return min(WORST, half_spread + impact)",
        "return half_spread + impact",
        "a sale into an empty book brings less than nothing",
    ),
    Mutant(
        "margin-not-released",
        "rule",
        CASH,
        "        leg[k, MARGIN] -= free\n",
        "",
        "margin of what was closed stays locked",
    ),
    Mutant(
        "fee-of-margin",
        "fee",
        CASH,
        "fee = fee_rate * notional\n",
        "fee = fee_rate * notional / leverage\n",
        "the fee is a part of the margin, not of the notional",
    ),
    Mutant(
        "closing-is-free",
        "fee",
        CASH,
        "pay(acc, leg, k, bar, FEE_CASH, -fee, log)\n    write_fill",
        "pay(acc, leg, k, bar, FEE_CASH, -0.0, log)\n    write_fill",
        "only opening costs a fee",
    ),
    Mutant(
        "fee-uncapped",
        "cap",
        CASH,
        "fee = min(fee_rate * notional, max(0.0, acc[WALLET] - isolated_margins(acc, leg)))",
        "fee = fee_rate * notional",
        "a closing fee is taken from cash that is not there",
    ),
    Mutant(
        "entry-arithmetic",
        "price",
        CASH,
        "(q * leg[k, VE] + inc * v) / (q + inc)",
        "((q + inc) / (q / leg[k, VE] + inc / v) if inverse else (q * leg[k, VE] + inc * v) / (q + inc))",
        "the average entry of a coin-margined position is arithmetic",
    ),
    Mutant(
        "spot-profit-twice",
        "rule",
        CASH,
        "= 0.0 if leg[k, KIND] == SPOT else leg[k, VE]",
        "= leg[k, VE]",
        "spot counts only what it has gained since it was bought",
    ),
    Mutant(
        "gap-unpaid",
        "rule",
        CASH,
        "if free + profit < 0.0:",
        "if False:",
        "a stop beyond bankruptcy takes more than the margin of the position",
    ),
    Mutant(
        "empty-cross-wallet-unpaid",
        "rule",
        CASH,
        "        if short < 0.0:\n",
        "        if False:\n",
        "a stopped cross account may owe money",
    ),
    Mutant(
        "lots-up",
        "rule",
        CASH,
        "whole = np.floor(abs(x) / lot + 1e-9) * lot",
        "whole = np.ceil(abs(x) / lot - 1e-9) * lot",
        "orders are rounded up to lots",
    ),
    Mutant(
        "turnover-of-reference",
        "measure",
        CASH,
        "acc[TURNOVER] += abs(dq) * size_at(price, inverse)",
        "acc[TURNOVER] += abs(dq) * size_at(reference, inverse)",
        "turnover leaves slippage out",
    ),
    Mutant(
        "holding-one-more",
        "measure",
        CASH,
        "(bar - leg[k, ENTRY_BAR]) * bar_hours",
        "(bar - leg[k, ENTRY_BAR] + 1) * bar_hours",
        "trades last a bar longer",
    ),
    Mutant(
        "funding-in-no-trade",
        "measure",
        CASH,
        "        leg[k, TRADE_PROFIT] += amount\n",
        "        leg[k, TRADE_PROFIT] += amount * (kind != FUNDING_CASH)\n",
        "win rate and profit factor ignore funding",
    ),
    # liquidation
    Mutant(
        "edge-of-margin",
        "edge",
        RUIN,
        "return balance <= maintenance_of(",
        "return balance < maintenance_of(",
        "a leg whose margin just equals maintenance lives on",
    ),
    Mutant(
        "edge-of-account",
        "edge",
        RUIN,
        "return cross_balance(acc, leg, marks) <= cross",
        "return cross_balance(acc, leg, marks) < cross",
        "a cross account whose balance just equals maintenance lives on",
    ),
    Mutant(
        "bad-debt-unpaid",
        "cap",
        RUIN,
        "if rest < 0.0 or acc[RESIDUAL] == TAKEOVER or backstopped:",
        "if acc[RESIDUAL] == TAKEOVER and rest >= 0.0 or backstopped and rest >= 0.0:",
        "an isolated position may lose more than its margin",
    ),
    Mutant(
        "takeover-returned",
        "rule",
        RUIN,
        "if rest < 0.0 or acc[RESIDUAL] == TAKEOVER or backstopped:",
        "if rest < 0.0 or backstopped:",
        "Binance gives back what a liquidation leaves",
    ),
    Mutant(
        "backstop-ignored",
        "rule",
        RUIN,
        "if rest < 0.0 or acc[RESIDUAL] == TAKEOVER or backstopped:",
        "if rest < 0.0 or acc[RESIDUAL] == TAKEOVER:",
        "Hyperliquid gives back what its backstop would keep",
    ),
    Mutant(
        "backstop-ignored-cross",
        "rule",
        RUIN,
        "(acc[RESIDUAL] == TAKEOVER or backstopped) and rest > 0.0",
        "acc[RESIDUAL] == TAKEOVER and rest > 0.0",
        "the same for a cross account with several legs",
    ),
    Mutant(
        "cross-takeover-returned",
        "rule",
        RUIN,
        "(acc[RESIDUAL] == TAKEOVER or backstopped) and rest > 0.0",
        "backstopped and rest > 0.0",
        "a liquidated cross account keeps its rest",
    ),
    Mutant(
        "liquidation-fee-uncapped",
        "cap",
        RUIN,
        "fee = min(acc[LIQUIDATION_FEE] * abs(q) * size_at(price, inverse), max(0.0, left))",
        "fee = acc[LIQUIDATION_FEE] * abs(q) * size_at(price, inverse)",
        "the liquidation fee becomes bad debt",
    ),
    Mutant(
        "orders-survive",
        "rule",
        RUIN,
        "            cancel_orders(acc, leg, j, bar, LIQUIDATED_ORDER, log)\n",
        "            pass\n",
        "a liquidated leg is opened again by an order from before",
    ),
    Mutant(
        "orders-survive-cross",
        "rule",
        RUIN,
        "            cancel_orders(acc, leg, k, bar, LIQUIDATED_ORDER, log)\n",
        "            pass\n",
        "the same for a cross account with several legs",
    ),
    Mutant(
        "queued-orders-survive",
        "rule",
        RUIN,
        "for ahead in range(slots):",
        "for ahead in range(0):",
        "orders that are not due yet outlive a liquidation",
    ),
    Mutant(
        "tiers-down",
        "tier",
        RUIN,
        "down = 1 if how == REDUCE_TIER else 2",
        "down = 1",
        "Bybit brings a position down by one tier, not by two",
    ),
    Mutant(
        "reduction-fraction",
        "rule",
        RUIN,
        "kept = q * (1.0 - acc[REDUCTION_FRACTION])",
        "kept = q * acc[REDUCTION_FRACTION]",
        "Hyperliquid closes four fifths first and not one",
    ),
    Mutant(
        "reduction-again",
        "stamp",
        RUIN,
        " or leg[k, REDUCED] == bar:",
        ":",
        "the part that goes first goes again and again in one bar",
    ),
    Mutant(
        "all-after-reduction",
        "rule",
        RUIN,
        "        if not lone_breached(acc, leg, tie, k, mark):\n            return\n",
        "        break\n",
        "a reduction that was enough is followed by the rest of the position",
    ),
    Mutant(
        "reduction-fee-free",
        "fee",
        RUIN,
        "leg[k, MARGIN] += profit - fee",
        "leg[k, MARGIN] += profit",
        "the fee of a reduction is taken from free cash",
    ),
    Mutant(
        "collateral-in-full",
        "rule",
        RUIN,
        "part = acc[COLLATERAL] if leg[k, KIND] == SPOT else 1.0",
        "part = 1.0",
        "spot counts in full as collateral",
    ),
    Mutant(
        "cross-on-isolated",
        "rule",
        RUIN,
        "    total = acc[WALLET] - isolated_margins(acc, leg)\n",
        "    total = acc[WALLET]\n",
        "a cross account is kept alive by isolated margins",
    ),
    Mutant(
        "smallest-first",
        "order",
        RUIN,
        "            if m > most:",
        "            if best < 0 or m < most:",
        "the cross leg with the least maintenance is closed first",
    ),
    Mutant(
        "cross-loss-unpaid",
        "cap",
        RUIN,
        "if rest < 0.0 or ((acc[RESIDUAL]",
        "if ((acc[RESIDUAL]",
        "a cross account may lose more than its wallet",
    ),
    # orders
    Mutant(
        "delay-one-more",
        "stamp",
        ORDERS,
        "due = i + 1 + int(acc[DELAY])",
        "due = i + 2 + int(acc[DELAY])",
        "orders come a bar late",
    ),
    Mutant(
        "sized-at-open",
        "stamp",
        ORDERS,
        "size_at(leg[k, MARK_CLOSE], inverse) if target",
        "size_at(leg[k, MARK_OPEN], inverse) if target",
        "orders are sized with the open of the bar, not with its close",
    ),
    Mutant(
        "sized-by-wallet",
        "rule",
        ORDERS,
        "target * acc[EQUITY] /",
        "target * acc[WALLET] /",
        "unrealised profit does not count in the size of orders",
    ),
    Mutant(
        "leverage-below-one",
        "rule",
        ORDERS,
        "else max(1.0, abs(target))",
        "else abs(target)",
        "a position of half the equity sets all of it aside",
    ),
    Mutant(
        "tick-in-favour",
        "sign",
        ORDERS,
        "limit = tick_up(close * (1.0 + offset)",
        "limit = tick_down(close * (1.0 + offset)",
        "limit prices of sellers are rounded the wrong way",
    ),
    Mutant(
        "limit-lives-longer", "stamp", ORDERS, "due + ttl - 1.0 if", "due + ttl if", "limit orders live a bar too long"
    ),
    Mutant(
        "participation-ignored",
        "cap",
        ORDERS,
        "if acc[PARTICIPATION] <= 0.0:",
        "if True:",
        "orders larger than the volume are filled",
    ),
    Mutant(
        "participation-per-fill",
        "cap",
        ORDERS,
        "max(0.0, whole - leg[k, FILLED])",
        "whole",
        "each fill of a bar may take the whole share of the volume",
    ),
    Mutant(
        "min-notional-ignored",
        "cap",
        ORDERS,
        "if dq == 0.0 or abs(dq) * n < leg[k, MIN_NOTIONAL]:",
        "if dq == 0.0:",
        "orders below the minimum are filled",
    ),
    Mutant(
        "leverage-cap-ignored",
        "cap",
        ORDERS,
        "if leg[k, W_LEV] > tie[row, MAX_LEVERAGE]:",
        "if False:",
        "125x on a size that gets 20x",
    ),
    Mutant(
        "tier-of-margin",
        "tier",
        ORDERS,
        "int(leg[k, T_COUNT]), abs(after) * n)",
        "int(leg[k, T_COUNT]), abs(after) * n / leg[k, W_LEV])",
        "the leverage cap is looked up by margin, not by notional",
    ),
    Mutant(
        "spot-short",
        "rule",
        ORDERS,
        "if leg[k, KIND] == SPOT and after < -1e-12:",
        "if False:",
        "spot is sold that is not there",
    ),
    Mutant(
        "reject-ignored",
        "rule",
        ORDERS,
        "if acc[SHORTFALL] == REJECT:",
        "if False:",
        "an order beyond the account's leverage is cut where it should be refused",
    ),
    Mutant(
        "increases-first",
        "order",
        ORDERS,
        "    reduce_first(acc, leg, bar, log)\n    if scale_increases(acc, leg, bar, log):\n"
        "        refuse_doomed(acc, leg, tie, bar, log)\n        fill_increases(acc, leg, bar, log)\n",
        "    later = leg[:, O_DQ].copy()\n    less = later * leg[:, Q] < 0.0\n"
        "    leg[:, O_DQ] = np.where(less, 0.0, later)\n"
        "    if scale_increases(acc, leg, bar, log):\n        refuse_doomed(acc, leg, tie, bar, log)\n"
        "        fill_increases(acc, leg, bar, log)\n    leg[:, O_DQ] = np.where(less, later, leg[:, O_DQ])\n"
        "    reduce_first(acc, leg, bar, log)\n",
        "money that a reduction frees comes too late for the increases of the bar",
    ),
    Mutant(
        "scale-ignored",
        "cap",
        ORDERS,
        "    if factor < 1.0:\n",
        "    if False:\n",
        "orders that do not fit the margin are filled in full",
    ),
    Mutant(
        "cash-scale-ignored",
        "cap",
        ORDERS,
        "        factor = min(factor, max(0.0, cash / need_cash))\n",
        "        pass\n",
        "isolated margin is paid from unrealised profit",
    ),
    Mutant(
        "need-without-fee",
        "fee",
        ORDERS,
        " + leg[k, O_FEE])",
        ")",
        "the fee of an order that takes all cash is not there",
    ),
    Mutant(
        "price-of-smaller",
        "price",
        ORDERS,
        "    leg[k, O_DQ] = reduced + inc\n",
        "    leg[k, O_DQ] = reduced + inc\n    if leg[k, O_WHY] == MARKET_FILL:\n"
        "        leg[k, O_PRICE] = price_with_cost(acc, leg, k, leg[k, O_DQ], leg[k, O_REFERENCE])\n",
        "an order made smaller pays less impact than the order that was sent",
    ),
    Mutant(
        "pair-of-too-small",
        "rule",
        ORDERS,
        "            if flat_and_wanted:\n                leg[k, O_REFUSED] = 1.0\n",
        "            if flat_and_wanted:\n",
        "one leg of a carry trade is opened where the other is less than a lot",
    ),
    Mutant(
        "doomed-filled",
        "rule",
        ORDERS,
        "+ gained <= must:",
        "+ gained <= -1e300:",
        "positions are opened that are liquidated at once",
    ),
    Mutant(
        "doomed-cross-filled",
        "rule",
        ORDERS,
        "if some and balance <= needed:",
        "if False:",
        "the same in a cross account",
    ),
    Mutant(
        "pair-ignored",
        "rule",
        ORDERS,
        "if other < 0 or leg[other, O_REFUSED] == 0.0 or (",
        "if True or (",
        "one leg of a carry trade is opened without the other",
    ),
    Mutant(
        "taker-pays-maker",
        "fee",
        ORDERS,
        "leg[k, O_FEE] = acc[TAKER]",
        "leg[k, O_FEE] = acc[MAKER]",
        "market orders pay the maker fee",
    ),
    Mutant(
        "maker-pays-taker",
        "fee",
        ORDERS,
        "leg[k, O_FEE] = acc[MAKER]",
        "leg[k, O_FEE] = acc[TAKER]",
        "resting limits pay the taker fee",
    ),
    Mutant(
        "limit-ignored-at-open",
        "price",
        ORDERS,
        "if (dq > 0.0 and price > limit) or (dq < 0.0 and price < limit):",
        "if False:",
        "a limit order takes at any open",
    ),
    Mutant(
        "stops-swapped",
        "order",
        ORDERS,
        "= leg[k, W_STOP], leg[k, W_TAKE], leg[k, W_TRAIL]",
        "= leg[k, W_TAKE], leg[k, W_STOP], leg[k, W_TRAIL]",
        "stop-loss and take-profit change places",
    ),
    Mutant(
        "anchor-of-increase",
        "price",
        ORDERS,
        "        if flat:\n            leg[k, ANCHOR]",
        "        if True:\n            leg[k, ANCHOR]",
        "adding to a winner moves its trailing stop back",
    ),
    # inside a bar
    Mutant(
        "stop-before-liquidation",
        "order",
        EXTREMES,
        "d < nearest:\n                what, nearest, level = STOPPED",
        "d <= nearest:\n                what, nearest, level = STOPPED",
        "a stop at the liquidation price saves the rest of the margin",
    ),
    Mutant(
        "stop-before-limit",
        "order",
        EXTREMES,
        "d <= trade and d < nearest:\n            what, nearest, level = LIMITED",
        "d <= trade:\n            what, nearest, level = LIMITED",
        "a limit further away is filled before the stop",
    ),
    Mutant(
        "profit-before-stop",
        "order",
        EXTREMES,
        "now = first if turn == 0 else -first",
        "now = -first if turn == 0 else first",
        "a bar that reaches both is a win",
    ),
    Mutant(
        "limit-touched",
        "edge",
        EXTREMES,
        "return leg[k, W_LIMIT] + side * leg[k, TICK]",
        "return leg[k, W_LIMIT]",
        "limits are filled when touched, not traded through",
    ),
    Mutant(
        "better-path",
        "order",
        EXTREMES,
        "plan = UP_FIRST if up_first < down_first - TIE * acc[START]",
        "plan = UP_FIRST if up_first > down_first + TIE * acc[START]",
        "of two ways through a bar the kinder one is taken",
    ),
    Mutant(
        "worst-untested",
        "rule",
        EXTREMES,
        "        plan = WORST_OF_EACH\n",
        "        plan = NO_TEST\n",
        'path="worst" tests the account at the close alone',
    ),
    Mutant(
        "gap-through-stop",
        "price",
        EXTREMES,
        "return level if side * (level - opened) / opened >= d else opened * (1.0 + side * d)",
        "return level",
        "a stop beyond a gap is filled at its own price",
    ),
    Mutant(
        "stop-on-mark",
        "price",
        EXTREMES,
        "    return trade, mark\n\n\n@jit\ndef next_level",
        "    return mark, trade\n\n\n@jit\ndef next_level",
        "stops act on marks and liquidation on trades",
    ),
    Mutant(
        "profit-of-new",
        "rule",
        EXTREMES,
        "q * side > 0.0 and q * held > 0.0 and",
        "q * side > 0.0 and",
        "a position opened by a limit takes profit in the same bar",
    ),
    Mutant(
        "stop-again",
        "stamp",
        EXTREMES,
        "if trades and leg[k, NO_STOP] != bar:",
        "if trades:",
        "what a capped stop left is stopped again in the same bar",
    ),
    Mutant(
        "limit-after-stop",
        "rule",
        EXTREMES,
        "    q = leg[k, Q]\n    leg[k, W_KIND] = NONE\n    dq = capped",
        "    q = leg[k, Q]\n    dq = capped",
        "a stopped position is opened again by its own resting limit",
    ),
    Mutant(
        "stop-without-cost",
        "price",
        EXTREMES,
        "price = price_with_cost(acc, leg, k, dq, reference)",
        "price = reference",
        "stops are filled without spread and impact",
    ),
    # the clock
    Mutant(
        "funding-sign",
        "sign",
        STEP,
        "amount = -q * size_at(on",
        "amount = q * size_at(on",
        "longs are paid when the rate is positive",
    ),
    Mutant(
        "funding-at-mark",
        "price",
        STEP,
        "on = price if known else leg[k, MARK_OPEN]\n    amount",
        "on = leg[k, MARK_OPEN]\n    amount",
        "the settlement's own price is ignored",
    ),
    Mutant(
        "funding-from-wallet",
        "rule",
        STEP,
        "    if leg[k, MODE] == ISOLATED:\n        leg[k, MARGIN] += amount\n",
        "",
        "funding never brings a position closer to liquidation",
    ),
    Mutant(
        "settled-after-fill",
        "stamp",
        STEP,
        "    act(acc, leg, evs, i, 0.0, -1, log)\n    open_test(acc, leg, tie, i, log)\n    take_due(acc, leg, i)\n"
        "    open_orders(acc, leg, tie, i, log)\n",
        "    open_test(acc, leg, tie, i, log)\n    take_due(acc, leg, i)\n"
        "    open_orders(acc, leg, tie, i, log)\n    act(acc, leg, evs, i, 0.0, -1, log)\n",
        "a settlement at the open is paid by the position filled there",
    ),
    Mutant(
        "inside-before-fill",
        "stamp",
        STEP,
        "    act(acc, leg, evs, i, 0.0, -1, log)\n    open_test",
        "    act(acc, leg, evs, i, 0.0, -1, log)\n    act(acc, leg, evs, i, 1.0, -1, log)\n    open_test",
        "a settlement inside the bar is paid by the position of the bar before",
    ),
    Mutant(
        "orders-before-check",
        "order",
        STEP,
        "    open_test(acc, leg, tie, i, log)\n    take_due(acc, leg, i)\n    open_orders(acc, leg, tie, i, log)\n",
        "    take_due(acc, leg, i)\n    open_orders(acc, leg, tie, i, log)\n    open_test(acc, leg, tie, i, log)\n",
        "an order at the open escapes a liquidation by the gap",
    ),
    Mutant(
        "tiers-stale",
        "tier",
        STEP,
        "tables[at, 1] <= i:",
        "tables[at, 1] < i:",
        "a new tier table comes into force a bar late",
    ),
    Mutant(
        "expiry-late",
        "stamp",
        STEP,
        "leg[k, W_LAST] <= i:",
        "leg[k, W_LAST] < i:",
        "an expired limit is filled in the bar after",
    ),
    Mutant(
        "delisted-at-open",
        "stamp",
        STEP,
        "-leg[k, Q], leg[k, MARK_CLOSE], leg[k, MARK_CLOSE], acc[TAKER]",
        "-leg[k, Q], leg[k, MARK_OPEN], leg[k, MARK_OPEN], acc[TAKER]",
        "a delisted position is settled at the open of its last bar",
    ),
    Mutant(
        "interest-on-margin",
        "rule",
        STEP,
        "idle = max(0.0, acc[WALLET] - isolated_margins(acc, leg))",
        "idle = max(0.0, acc[WALLET])",
        "margin earns interest",
    ),
    Mutant(
        "ruin-missing",
        "rule",
        STEP,
        "if acc[RUINED] == 0.0 and equity <= DUST * acc[START]:",
        "if False:",
        "an account without equity trades on",
    ),
    Mutant(
        "ruined-orders-live",
        "rule",
        STEP,
        "            cancel_orders(acc, leg, k, i, RUINED_ORDER, log)\n",
        "            pass\n",
        "orders of a ruined account are filled",
    ),
    Mutant(
        "anchor-inside-bar",
        "stamp",
        STEP,
        "max(leg[k, ANCHOR], leg[k, CLOSE])",
        "max(leg[k, ANCHOR], leg[k, BAR + 1])",
        "a trailing stop follows highs, not closes",
    ),
    Mutant(
        "deleveraging-both-sides",
        "sign",
        STEP,
        "if q * fraction <= 0.0 or",
        "if q * fraction == 0.0 or",
        "deleveraging of longs closes shorts",
    ),
    Mutant(
        "deleveraging-fee",
        "fee",
        STEP,
        "-part, on, on, 0.0, acc[BAR_HOURS]",
        "-part, on, on, acc[TAKER], acc[BAR_HOURS]",
        "being deleveraged costs a fee",
    ),
    Mutant(
        "close-untested",
        "rule",
        STEP,
        "    account_at(acc, leg, tie, i, MARK_CLOSE, log)\n",
        "",
        "a cross account that ends a bar below maintenance lives on",
    ),
    Mutant(
        "day-end-late",
        "stamp",
        STEP,
        "acc, leg, tie, day_end[i], daily",
        "acc, leg, tie, i > 0 and day_end[i - 1], daily",
        "days end, and interest comes, a bar late",
    ),
    Mutant(
        "drawdown-of-start",
        "measure",
        STEP,
        "acc[MAX_DRAWDOWN] = 1.0 - equity / peak",
        "acc[MAX_DRAWDOWN] = 1.0 - equity / acc[START]",
        "drawdown is measured from the starting equity",
    ),
    Mutant(
        "level-armed-low",
        "price",
        STEP,
        "leg[k, LIQ_LOW] = at\n",
        "leg[k, LIQ_LOW] = 0.99 * at\n",
        "a quiet bar looks for a liquidation 1 % too low",
    ),
    Mutant(
        "ratio-of-wallet",
        "measure",
        STEP,
        "ratio_of(maintenance_of(acc, leg, tie, k, mark), balance)",
        "ratio_of(maintenance_of(acc, leg, tie, k, mark), leg[k, MARGIN])",
        "the margin ratio leaves unrealised profit out",
    ),
    # quiet bars
    Mutant(
        "quiet-short-levels",
        "edge",
        QUIET,
        "if (mark_low <= low) | (mark_high >= high) |",
        "if (mark_low <= low) |",
        "a short alone on its account is not liquidated in a quiet bar",
    ),
    Mutant(
        "quiet-stops",
        "edge",
        QUIET,
        "| (bars[b + @H_LOW] <= work[w + 5]) |",
        "|",
        "with several symbols, stops of longs sleep in quiet bars",
    ),
    Mutant(
        "quiet-account",
        "edge",
        QUIET,
        "if joint != 0.0 and stressed <= most and sizes > 0.0:",
        "if False:",
        "a cross account with several legs is not tested in quiet bars",
    ),
    Mutant(
        "quiet-trailing",
        "rule",
        QUIET,
        "down = max(down, anchor * (1.0 - trail))",
        "down = down",
        "trailing stops stand still in quiet bars",
    ),
    Mutant(
        "cancel-missed",
        "rule",
        QUIET,
        "target != hold and (target != 0.0 or waiting != 0.0)",
        "target != hold and target != 0.0",
        "a decision for 0 while flat leaves the working order",
        times=2,
    ),
    Mutant(
        "quiet-drawdown",
        "measure",
        QUIET,
        "                    worst = 1.0 - equity / peak\n",
        "                    worst = 1.0 - equity / start\n",
        "drawdowns of quiet bars are not against the peak",
    ),
    Mutant(
        "held-one-more",
        "stamp",
        QUIET,
        '"base + r - entered"',
        '"base + r - entered + 1.0"',
        "`decide` sees positions that are a bar older",
    ),
    Mutant(
        "ratio-without-cum",
        "tier",
        QUIET,
        "needed = size * leg[@RATE_NOW] - leg[@CUM_NOW]",
        "needed = size * leg[@RATE_NOW]",
        "`decide` sees a margin ratio that is too high",
    ),
    Mutant(
        "unrealised-of-start",
        "measure",
        QUIET,
        '"gain / equity"',
        '"gain / peak"',
        "`decide` sees profit as a part of the peak",
    ),
    # between bars
    Mutant(
        "warmup-one-more",
        "stamp",
        DRIVE,
        "if i < warmup[s] or",
        "if i <= warmup[s] or",
        "the first decision comes a bar late",
    ),
    Mutant(
        "decided-while-missing",
        "rule",
        DRIVE,
        "elif symbols == 1 and not there[i, 0]:",
        "elif False:",
        "decisions are made on bars that are not there",
    ),
    Mutant(
        "due-late",
        "stamp",
        DRIVE,
        "max(i + 1, int(acc[NEXT_DUE]))",
        "max(i + 1, int(acc[NEXT_DUE]) + 1)",
        "quiet bars run past the bar of a delayed order",
    ),
    Mutant(
        "events-slept-through",
        "stamp",
        RUN,
        '    marked[p.events["bar"]] = True\n',
        "",
        "settlements in quiet bars are not paid",
    ),
)


# ---- running -------------------------------------------------------------------------------------------------------


class Broken(Exception):
    """The list or the engine is not what it should be, in one line."""


def check(mutants: Sequence[Mutant]) -> None:
    """Every old text is where it should be, as often as it should be."""
    for mutant in mutants:
        found = (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old)
        if found != mutant.times:
            raise Broken(f"{mutant.id}: its text is {found} times in {mutant.file}, not {mutant.times}: write it anew")


@contextmanager
def worker() -> Iterator[tuple[IO[str], IO[str]]]:
    """A process that has seen the engine as it stands, and waits for mutants."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        for package in ("backtest", "data"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        path = os.pathsep.join([name, str(HERE.parent / "support")])
        env = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": path}
        command = [sys.executable, "-P", str(HERE / "detector.py"), name]
        with subprocess.Popen(
            command, env=env, cwd=name, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield process.stdin, process.stdout
            finally:
                process.kill()


def verdicts(mutants: Sequence[Mutant]) -> Iterator[Verdict]:
    """What was noticed of each, one after the other."""
    check(mutants)
    with worker() as (asked, answers):
        before = answer(answers)
        if before:
            raise Broken("\n".join(["the engine as it stands does not pass:", *before]))
        for mutant in mutants:
            asked.write(json.dumps({"file": mutant.file, "old": mutant.old, "new": mutant.new}) + "\n")
            asked.flush()
            said = answer(answers)
            yield Verdict(mutant, tuple(said["caught"]), said["seconds"])


def answer(answers: IO[str]) -> Any:
    line = answers.readline()
    if not line:
        raise Broken("the detector died; what it said is above")
    return json.loads(line)


# ---- table ---------------------------------------------------------------------------------------------------------


def table(found: Sequence[Verdict]) -> str:
    head = "| id | kind | what it would mean | noticed by | seconds |\n|---|---|---|---|---|\n"
    rows = [
        f"| {v.mutant.id} | {v.mutant.kind} | {v.mutant.what} | {seen} | {v.seconds:.2f} |\n"
        for v in found
        for seen in ["; ".join(v.caught) or "NOTHING"]
    ]
    return head + "".join(rows)


def write(found: Sequence[Verdict]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(found)}\n{END}{after}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Deliberate mistakes in the engine, and whether each is noticed.")
    parser.add_argument("--only", default="", metavar="ID", help="mutants whose id begins so")
    parser.add_argument("--write", action="store_true", help="put the table into docs/mutants.md")
    given = parser.parse_args(arguments)
    chosen = [m for m in MUTANTS if m.id.startswith(given.only)]
    if not chosen or (given.write and given.only):
        parser.error(f"no id begins with {given.only!r}" if not chosen else "--write is for the whole table")
    try:
        found = list(verdicts(chosen))
    except Broken as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(table(found), end="")  # noqa: T201
    survived = [v.mutant.id for v in found if not v.caught]
    print(f"{len(found) - len(survived)} of {len(found)} noticed", *survived)  # noqa: T201
    if given.write:
        write(found)
    return int(bool(survived))


if __name__ == "__main__":
    raise SystemExit(main())
