"""Quiet bars: a loop made for each strategy, with its `decide` inside.

A quiet bar is one in which nothing happens but `decide`: no settlement, no order, no level met. The loop starts at a
bar whose mechanics are done, decides, and goes on to the next bars while they stay quiet; it stops at the first bar
that must be slow (`drive` then calls `step.slow_bar` for it). It sees the bars of one block as rows (`layout.HOT`), so
that a bar is one cache line, and keeps what it adds up in locals.

Its text is plain: the same text runs compiled (pointers) and in plain Python (flat arrays). Arguments of `decide` that
are states are worked out only where they are named. While flat, the states are constants, and the loop does nothing but
`decide`.

    bars        hot rows, flat: [(bar * k + symbol) * HOT + column]
    features    flat: [column * whole + bar * k + symbol], of the whole market
    columns     which column each feature argument is
    leg         flat: [column * k + symbol]
    work        scratch of the loop for several symbols, WORK numbers a symbol
    skip        1: bar r has decided already, in the block before
"""

from __future__ import annotations

from collections.abc import Sequence

from backtest.kernel import layout

INTEGERS = 6  # of the arguments of `quiet`; the others are float64 arrays
WORK = 13
"""Numbers of an open leg: symbol, q, basis, liquidation low and high, trade low and high, its part in a joint cross
balance, rate, cum, tier bounds, its part in the cross balance if it is a contract. Behind them, one number a symbol:
those that are flat and there."""

FLAT = {
    "position": "0.0",
    "entry_price": "nan",
    "bars_held": "0.0",
    "unrealized": "0.0",
    "margin_ratio": "0.0",
}

Order = Sequence[tuple[str, str]]

INSIDE = {  # what a `decide` of several strategies takes: it keeps books, and looks features up itself
    "leg": "leg",
    "acc": "acc",
    "features": "features",
    "columns": "columns",
    "parameters": "parameters",
    "whole": "whole",
    "symbols": "symbols",
    "bar": "base + r",
}
INSIDE_ONE = INSIDE | {
    "symbol": "0",
    "place": "base + r",
    "mark": "bars[r * @HOT + @H_VALUE]",
    "close": "bars[r * @HOT + @H_CLOSE]",
}
INSIDE_SEVERAL = INSIDE | {
    "symbol": "k",
    "place": "base * symbols + row + k",
    "mark": "bars[(row + k) * @HOT + @H_VALUE]",
    "close": "bars[(row + k) * @HOT + @H_CLOSE]",
}


def text(order: Order, *, several: bool, trails: bool) -> str:
    """The loop for a `decide` that takes these (kind, name) arguments, in this order."""
    lines = (_several if several else _one)(order, trails)
    return _numbered("\n".join(lines))


def _numbered(code: str) -> str:
    """Names of columns become their numbers: the loop has no globals but `decide`."""
    import re

    def number(match: re.Match[str]) -> str:
        return str(getattr(layout, match.group(1)))

    return re.sub(r"@([A-Z_]+)", number, code)


def _loads(order: Order) -> list[str]:
    features = sum(kind == "feature" for kind, _ in order)
    columns = [f"    f{i} = int(columns[{i}]) * whole + base * symbols" for i in range(features)]
    values = [f"    p{i} = parameters[{i}]" for i, _ in enumerate(n for k, n in order if k == "parameter")]
    return columns + values


def _call(order: Order, states: dict[str, str], row: str) -> str:
    """The call of decide: features from a row, parameters from locals, states as given."""
    features, parameters, given = 0, 0, []
    for kind, name in order:
        if kind == "feature":
            given.append(f"features[f{features} + {row}]")
            features += 1
        elif kind == "parameter":
            given.append(f"p{parameters}")
            parameters += 1
        else:
            given.append(states[name])
    return f"decide({', '.join(given)})"


def _named(order: Order) -> set[str]:
    return {name for kind, name in order if kind == "state"}


HEAD = """def quiet(r, end, base, whole, symbols, skip, bars, features, columns, parameters, leg, acc, work):
    nan = float("nan")
    inf = float("inf")
    hold = 1e300
    code = @QUIET_END"""

MEASURE = """
            if equity >= peak:
                if base + r - peak_bar > 1.0 and base + r - peak_bar > longest:
                    longest = base + r - peak_bar
                peak = equity
                peak_bar = base + r
                lowest = equity * (1.0 - worst)
            else:
                under += 1.0
                if equity < lowest:
                    worst = 1.0 - equity / peak
                    lowest = equity"""

LOCALS = """
    equity = acc[@EQUITY]
    peak = acc[@PEAK]
    peak_bar = acc[@PEAK_BAR]
    lowest = acc[@FLOOR_EQUITY]
    worst = acc[@MAX_DRAWDOWN]
    longest = acc[@MAX_DURATION]
    under = acc[@UNDER]
    start = r"""

SAVE = """
    acc[@EQUITY] = equity
    acc[@PEAK] = peak
    acc[@PEAK_BAR] = peak_bar
    acc[@FLOOR_EQUITY] = lowest
    acc[@MAX_DRAWDOWN] = worst
    acc[@MAX_DURATION] = longest
    acc[@UNDER] = under
    acc[@CODE] = code
    return r"""


NOTHING_TO_MEET = [
    "        if q == 0.0 and leg[@W_KIND] != 2.0:",
    "            low, high, down, up = -inf, inf, -inf, inf",
]


def _one(order: Order, trails: bool) -> list[str]:
    named = _named(order)
    flat = (
        FLAT
        | INSIDE_ONE
        | {
            "equity": "equity",
            "drawdown": "drawdown",
            "bars_since_liquidation": "(base + r - liquidated if liquidated >= 0.0 else 1e9)",
        }
    )
    held = INSIDE_ONE | {
        "position": "q * abs(value) / equity",
        "entry_price": "entry",
        "bars_held": "base + r - entered",
        "unrealized": "gain / equity",
        "equity": "equity",
        "drawdown": "1.0 - equity / peak",
        "margin_ratio": "ratio",
        "bars_since_liquidation": "(base + r - liquidated if liquidated >= 0.0 else 1e9)",
    }
    out = [HEAD + LOCALS, *_loads(order), "    q = leg[@Q]"]
    if "bars_since_liquidation" in named:
        out.append("    liquidated = leg[@LIQ_BAR]")
    if "drawdown" in named:
        out.append("    drawdown = 1.0 - equity / peak")
    keeps_books = any(kind == "inside" for kind, _ in order)  # a large `decide`: one place that calls it will do
    out += [
        "    if False:" if keeps_books else "    if q == 0.0 and leg[@W_KIND] != 2.0:",
        "        waiting = acc[@QUEUED] + leg[@W_KIND]",
        "        r += skip",
        "        while True:",
        f"            target = {_call(order, flat, 'r')}",
        "            r += 1",
        "            if target != hold and (target != 0.0 or waiting != 0.0):",
        "                code = @QUIET_ORDER",
        "                leg[@TARGET] = target",
        "                break",
        "            if r >= end:",
        "                break",
        "        if equity >= peak:",
        "            if r - 1 > start:",
        "                peak_bar = base + r - 1.0",
        "        else:",
        "            under += r - 1 - start",
        "    else:",
        "        basis = leg[@CASH_BASIS]",
        "        wallet = acc[@WALLET]",
        "        low, high = leg[@LIQ_LOW], leg[@LIQ_HIGH]",
        "        down, up = leg[@TRADE_LOW], leg[@TRADE_HIGH]",
        "        nearest_low, nearest_high = inf, 0.0",
        *NOTHING_TO_MEET * keeps_books,
        "        value = bars[r * @HOT + @H_VALUE] if skip == 0 else 0.0",
    ]
    if "entry_price" in named:
        out.append("        entry = leg[@ENTRY_PRICE] if q != 0.0 else nan")
    if "bars_held" in named:
        out.append("        entered = leg[@ENTRY_BAR] - 1.0 if q != 0.0 else base + r")
    if trails:
        out += [
            "        trail, anchor = leg[@TRAIL], leg[@ANCHOR]",
        ]
    out += ["        while True:", "            if skip == 0:"]
    if "unrealized" in named:
        out.append("                gain = q * (value - leg[@VE]) if q != 0.0 else 0.0")
    if "margin_ratio" in named:
        out += [
            "                size = abs(q * value)",
            "                ratio = 0.0",
            "                if q != 0.0:",
            "                    behind = leg[@BALANCE] + q * (value - basis)",
            "                    needed = size * leg[@RATE_NOW] - leg[@CUM_NOW]",
            "                    ratio = max(0.0, needed) / behind if behind > 0.0 else inf",
        ]
    if "bars_held" in named:
        out += ["                if q == 0.0:", "                    entered = base + r"]
    out += [
        f"                target = {_call(order, held, 'r')}",
        "                if target != hold:",
        "                    code = @QUIET_ORDER",
        "                    leg[@TARGET] = target",
        "                    r += 1",
        "                    break",
        "            skip = 0",
        "            r += 1",
        "            if r >= end:",
        "                break",
        "            b = r * @HOT",
        "            mark_low = bars[b + @H_MARK_LOW]",
        "            mark_high = bars[b + @H_MARK_HIGH]",
        "            if (mark_low <= low) | (mark_high >= high) | (bars[b + @H_LOW] <= down)"
        " | (bars[b + @H_HIGH] >= up):",
        "                code = @QUIET_HIT",
        "                break",
    ]
    if "margin_ratio" in named:
        out += [
            "            size = abs(q * bars[b + @H_VALUE])",
            "            if q != 0.0 and (size <= leg[@N_LOW] or size > leg[@N_HIGH]):",
            "                code = @QUIET_HIT",
            "                break",
        ]
    out += [
        "            value = bars[b + @H_VALUE]",
        "            equity = wallet + q * (value - basis)",
        "            if mark_low < nearest_low:",
        "                nearest_low = mark_low",
        "            if mark_high > nearest_high:",
        "                nearest_high = mark_high",
        MEASURE[1:],
    ]
    if trails:
        out += [
            "            if q != 0.0:",
            "                close = bars[b + @H_CLOSE]",
            "                if q > 0.0 and close > anchor:",
            "                    anchor = close",
            "                    if trail > 0.0:",
            "                        down = max(down, anchor * (1.0 - trail))",
            "                elif q < 0.0 and close < anchor:",
            "                    anchor = close",
            "                    if trail > 0.0:",
            "                        up = min(up, anchor * (1.0 + trail))",
        ]
    if trails:
        out.append("        leg[@ANCHOR], leg[@TRADE_LOW], leg[@TRADE_HIGH] = anchor, down, up")
    out += [
        "        if q != 0.0:",
        "            passed = r - 1 - start",
        "            acc[@IN_MARKET] += passed",
        "            if passed > 0:",
        "                distance = inf",
        "                if q > 0.0 and low > -inf:",
        "                    distance = (nearest_low - low) / nearest_low",
        "                elif q < 0.0 and high < inf:",
        "                    distance = (high - nearest_high) / nearest_high",
        "                acc[@MARGIN_DISTANCE] = min(acc[@MARGIN_DISTANCE], distance)",
    ]
    return [*out, SAVE[1:]]


def _several(order: Order, trails: bool) -> list[str]:
    """Many symbols on one collateral: the bar of every open leg, then `decide` of every symbol, the flat ones first.

    Who is flat and there stands still while it is quiet: a listing or a delisting makes a bar slow.

    A cross account stays quiet while it would stand even with every leg at its own adverse extreme, on the maintenance
    of the tiers that its legs are in. Where it might not, the slow bar finds out.
    """
    named = _named(order)
    flat = (
        FLAT
        | INSIDE_SEVERAL
        | {
            "equity": "equity",
            "drawdown": "1.0 - equity / peak",
            "bars_since_liquidation": "(base + r - liquidated if liquidated >= 0.0 else 1e9)",
        }
    )
    held = INSIDE_SEVERAL | {
        "position": "q * abs(value) / equity",
        "entry_price": "leg[@ENTRY_PRICE * symbols + k]",
        "bars_held": "base + r - leg[@ENTRY_BAR * symbols + k] + 1.0",
        "unrealized": "q * (value - leg[@VE * symbols + k]) / equity",
        "equity": "equity",
        "drawdown": "1.0 - equity / peak",
        "margin_ratio": "ratio",
        "bars_since_liquidation": "(base + r - liquidated if liquidated >= 0.0 else 1e9)",
    }
    out = [
        HEAD + LOCALS,
        *_loads(order),
        SEVERAL_SETUP[1:],
        "    while True:",
        "        row = r * symbols",
        "        if skip == 0:",
        "            for j in range(first_flat, first_flat + flats):",
        "                k = int(work[j])",
    ]
    if "bars_since_liquidation" in named:
        out.append("                liquidated = leg[@LIQ_BAR * symbols + k]")
    out += [
        f"                target = {_call(order, flat, 'row + k')}",
        "                if target != hold and (target != 0.0 or waiting != 0.0):",
        "                    leg[@TARGET * symbols + k] = target",
        "                    code = @QUIET_ORDER",
        "            for j in range(legs):",
        "                k = int(work[j * 13])",
        "                q = work[j * 13 + 1]",
        "                if q == 0.0 or bars[(row + k) * @HOT + @H_PRESENT] == 0.0:",
        "                    continue",
        "                value = bars[(row + k) * @HOT + @H_VALUE]",
    ]
    if "bars_since_liquidation" in named:
        out.append("                liquidated = leg[@LIQ_BAR * symbols + k]")
    if "margin_ratio" in named:
        out.append(SEVERAL_RATIO[1:])
    out += [
        f"                target = {_call(order, held, 'row + k')}",
        "                if target != hold:",
        "                    leg[@TARGET * symbols + k] = target",
        "                    code = @QUIET_ORDER",
        SEVERAL_BAR[1:],
    ]
    if trails:
        out.append(SEVERAL_TRAIL[1:])
    return [
        *out,
        MEASURE[1:].replace("\n            ", "\n        ").replace("            ", "        ", 1),
        SEVERAL_END[1:] + SAVE,
    ]


SEVERAL_SETUP = """
    wallet = acc[@WALLET]
    joint = acc[@JOINT_NOW]
    free = acc[@CROSS_BALANCE]
    cross_ratio = acc[@CROSS_RATIO]
    waiting = acc[@QUEUED]
    legs = 0
    held = 0
    first_flat = 13 * symbols
    flats = 0
    for k in range(symbols):
        leg[@TARGET * symbols + k] = hold
        if leg[@Q * symbols + k] == 0.0 and bars[((r + skip) * symbols + k) * @HOT + @H_PRESENT] != 0.0:
            work[first_flat + flats] = k
            flats += 1
        waiting += leg[@W_KIND * symbols + k]
        if leg[@Q * symbols + k] != 0.0 or leg[@W_KIND * symbols + k] == 2.0:
            w = legs * 13
            work[w] = k
            work[w + 1] = leg[@Q * symbols + k]
            work[w + 2] = leg[@CASH_BASIS * symbols + k]
            work[w + 3] = leg[@LIQ_LOW * symbols + k]
            work[w + 4] = leg[@LIQ_HIGH * symbols + k]
            work[w + 5] = leg[@TRADE_LOW * symbols + k]
            work[w + 6] = leg[@TRADE_HIGH * symbols + k]
            work[w + 7] = leg[@CROSS_PART * symbols + k] * joint
            work[w + 8] = leg[@RATE_NOW * symbols + k]
            work[w + 9] = leg[@CUM_NOW * symbols + k]
            work[w + 10] = leg[@N_LOW * symbols + k]
            work[w + 11] = leg[@N_HIGH * symbols + k]
            work[w + 12] = leg[@CROSS_PART * symbols + k] if leg[@IS_CONTRACT * symbols + k] != 0.0 else 0.0
            legs += 1
            if leg[@Q * symbols + k] != 0.0:
                held += 1
    distance = inf"""

SEVERAL_RATIO = """
                ratio = cross_ratio
                if leg[@IS_CROSS * symbols + k] == 0.0:
                    behind = leg[@BALANCE * symbols + k] + q * (value - leg[@CASH_BASIS * symbols + k])
                    needed = max(0.0, abs(q * value) * leg[@RATE_NOW * symbols + k] - leg[@CUM_NOW * symbols + k])
                    ratio = needed / behind if behind > 0.0 else inf"""

SEVERAL_BAR = """
        skip = 0
        r += 1
        if code == @QUIET_ORDER or r >= end:
            break
        total = wallet
        stressed = free
        balance = free
        most = 0.0
        needed = 0.0
        sizes = 0.0
        near = distance
        for j in range(legs):
            w = j * 13
            b = (r * symbols + int(work[w])) * @HOT
            mark_low = bars[b + @H_MARK_LOW]
            mark_high = bars[b + @H_MARK_HIGH]
            if (mark_low <= work[w + 3]) | (mark_high >= work[w + 4]) | (bars[b + @H_LOW] <= work[w + 5]) | (
                bars[b + @H_HIGH] >= work[w + 6]
            ):
                code = @QUIET_HIT
                break
            q = work[w + 1]
            if q == 0.0:
                continue
            value = bars[b + @H_VALUE]
            size = abs(q * value)
            if (size <= work[w + 10]) | (size > work[w + 11]):
                code = @QUIET_HIT
                break
            gain = q * (value - work[w + 2])
            total += gain
            if q > 0.0 and work[w + 3] > -inf:
                near = min(near, (mark_low - work[w + 3]) / mark_low)
            elif q < 0.0 and work[w + 4] < inf:
                near = min(near, (work[w + 4] - mark_high) / mark_high)
            part = work[w + 7]
            if part != 0.0:
                worst_value = mark_low if q > 0.0 else mark_high
                largest = mark_high
                if value < 0.0:
                    worst_value = -1.0 / worst_value
                    largest = 1.0 / mark_low
                stressed += part * q * (worst_value - work[w + 2])
                largest *= abs(q)
                if largest > work[w + 11]:
                    code = @QUIET_HIT
                    break
                most += max(0.0, largest * work[w + 8] - work[w + 9])
            if work[w + 12] != 0.0:
                balance += gain
                needed += max(0.0, size * work[w + 8] - work[w + 9])
                sizes += size
            else:
                balance += part * gain
        if code == @QUIET_HIT:
            break
        if joint != 0.0 and stressed <= most and sizes > 0.0:
            code = @QUIET_HIT
            break
        if sizes > 0.0:
            cross_ratio = needed / balance if balance > 0.0 else inf
            if joint != 0.0:
                near = min(near, (balance - needed) / sizes)
        distance = near
        equity = total
        if held > 0:
            acc[@IN_MARKET] += 1.0"""

SEVERAL_TRAIL = """
        for j in range(legs):
            w = j * 13
            q = work[w + 1]
            k = int(work[w])
            b = (r * symbols + k) * @HOT
            if q != 0.0 and bars[b + @H_PRESENT] != 0.0:
                trail = leg[@TRAIL * symbols + k]
                close = bars[b + @H_CLOSE]
                if q > 0.0 and close > leg[@ANCHOR * symbols + k]:
                    leg[@ANCHOR * symbols + k] = close
                    if trail > 0.0:
                        work[w + 5] = max(work[w + 5], close * (1.0 - trail))
                        leg[@TRADE_LOW * symbols + k] = work[w + 5]
                elif q < 0.0 and close < leg[@ANCHOR * symbols + k]:
                    leg[@ANCHOR * symbols + k] = close
                    if trail > 0.0:
                        work[w + 6] = min(work[w + 6], close * (1.0 + trail))
                        leg[@TRADE_HIGH * symbols + k] = work[w + 6]"""

SEVERAL_END = """
    acc[@MARGIN_DISTANCE] = min(acc[@MARGIN_DISTANCE], distance)
    acc[@CROSS_RATIO] = cross_ratio"""
