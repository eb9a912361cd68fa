"""A market taken apart again, so that another one can be built of it: with a spot leg, or with another's open interest.

    Market.build(venue, {symbol: symbol_data(market, symbol)}, market.interval, market.start, market.end)

What each bar knew is given back as known just before its close, so nothing is known earlier than it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from data.align import Bars
from data.errors import BadInput
from data.market import Flow, Points, Settlements, SymbolData
from data.schema import Ratio
from strategies.building import Array

if TYPE_CHECKING:
    from data.market import Market

Price = Literal["index", "mark", "trade"]
RATIOS = {
    Ratio.ACCOUNTS: "ratio_accounts",
    Ratio.TOP_ACCOUNTS: "ratio_top_accounts",
    Ratio.TOP_POSITIONS: "ratio_top_positions",
    Ratio.TAKER_VOLUME: "taker_ratio",
}


def symbol_data(market: Market, symbol: str, **instead: Any) -> SymbolData:
    """Everything that a market holds of one symbol; `instead` replaces fields of `SymbolData`."""
    one = market[symbol]
    held = set(one.held)
    made: dict[str, Any] = {
        "candles": _candles(one),
        "marks": (_bars(one, "mark_open", "mark_high", "mark_low", "mark_close"),) if "mark_close" in held else (),
        "index": (_flat(one, one.index),) if "index" in held else (),
        "premium": (_flat(one, one.premium),) if "premium" in held else (),
        "funding": _funding(one),
        "open_interest": _points(one, quantity="open_interest", value="open_interest_value"),
        "depth": _points(one, bid_1pct="bid_depth_1pct", ask_1pct="ask_depth_1pct"),
        "ratios": {kind: p for kind, name in RATIOS.items() if (p := _points(one, ratio=name)) is not None},
        "liquidations": _liquidations(one) if "liq_long" in held else None,
        "tiers": _tiers(one),
        "instrument": dict(one.instrument()) or None,
    }
    return SymbolData(**made | instead)


def with_candles(market: Market, symbol: str, price: str) -> SymbolData:
    """A spot leg: candles of the index, the mark or the perpetual, its depth, and nothing that only contracts have."""
    one = market[symbol]
    if price not in ("index", "mark", "trade") or (price == "index" and "index" not in one.held):
        has = "the market holds no index; " if price == "index" else ""
        raise BadInput(f'price={price!r}: {has}write "index", "mark" or "trade"')
    if price == "index":
        close = np.asarray(one.index)
        before = np.concatenate((close[:1], close[:-1]))
        opened = np.where(np.isnan(before), close, before)
        high, low = np.maximum(opened, close), np.minimum(opened, close)
    else:
        fields = ("open", "high", "low", "close") if price == "trade" else MARK
        opened, high, low, close = (np.asarray(getattr(one, name)) for name in fields)
    keep = one.present & np.isfinite(opened + high + low + close)
    candles = _candles(one, keep, opened, high, low, close)
    terms = {k: v for k, v in one.instrument().items() if k in ("tick_size", "lot_size", "min_notional")}
    depth = _points(one, bid_1pct="bid_depth_1pct", ask_1pct="ask_depth_1pct")
    return SymbolData(candles=candles, depth=depth, instrument=terms | {"contract": "spot"})


MARK = ("mark_open", "mark_high", "mark_low", "mark_close")


def _candles(one: Market, keep: Any = None, *prices: Array) -> Bars:
    keep = one.present if keep is None else keep
    prices = prices or tuple(np.asarray(getattr(one, n)) for n in ("open", "high", "low", "close"))
    sizes = {n: np.asarray(getattr(one, n))[keep] for n in ("volume", "quote_volume", "taker_buy_volume")}
    sizes = {n: a for n, a in sizes.items() if n in one.held}
    return Bars(one.interval, one.ts[keep], *(p[keep] for p in prices), **sizes)


def _bars(one: Market, *names: str) -> Bars:
    arrays = [np.asarray(getattr(one, name)) for name in names]
    keep = np.isfinite(sum(arrays))
    return Bars(one.interval, one.ts[keep], *(a[keep] for a in arrays))


def _flat(one: Market, values: Array) -> Bars:
    keep = np.isfinite(values)
    return Bars(one.interval, one.ts[keep], *(values[keep] for _ in range(4)))


def _points(one: Market, **names: str) -> Points | None:
    values = {key: np.asarray(getattr(one, name)) for key, name in names.items() if name in one.held}
    seen = one.ts + one.interval - 1
    return Points(seen, seen, one.interval, values) if values else None


def _liquidations(one: Market) -> Flow:
    known = np.isfinite(one.liq_long + one.liq_short)
    seen = (one.ts + one.interval - 1)[known]
    edges = np.flatnonzero(np.diff(known.astype(np.int8), prepend=0, append=0))
    ends = np.append(one.ts, one.end)
    spans = [(int(ends[a]), int(ends[b])) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return Flow(seen, seen, one.liq_long[known], one.liq_short[known], spans=spans)


def _funding(one: Market) -> Settlements | None:
    rows = one.settlements
    if not len(rows):
        return None
    names = ("ts", "raw_ts", "known_at", "rate", "interval_hours", "price")
    return Settlements(*(rows[name].copy() for name in names))


def _tiers(one: Market) -> Any:
    rows = one.tiers
    if not len(rows):
        return None
    names = [name for name in rows.dtype.names or () if name != "symbol"]
    table = np.zeros(len(rows), dtype=[(name, rows.dtype[name]) for name in names])
    for name in names:
        table[name] = rows[name]
    return table
