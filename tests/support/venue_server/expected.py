"""What the store must hold after a fetch: worked out from the truth alone, table by table, every column.

Nothing here knows of wire formats or of the fetching code; it knows what each venue publishes and in which unit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from venue_server import okx
from venue_server.truth import HOUR, INTERVALS, Contract, Truth

from data.schema import TABLES, Kind

PUBLISHED_S = 60  # after the end of a snapshot's interval
SETTLED_MS = 10_000
_POLARS = {Kind.TIME: pl.Datetime("us"), Kind.TEXT: pl.String, Kind.REAL: pl.Float64, Kind.INT: pl.Int64}
STORED_AS = {"binance-coinm": "binance"}


def _frame(table: str, venue: str, c: Contract, stamps: Any, **columns: Any) -> pl.DataFrame:
    """A frame of the schema's columns; what is not given is null."""
    t, n = TABLES[table], len(stamps)
    given = {"venue": STORED_AS.get(venue, venue), "symbol": c.symbol, "ts": _times(stamps), **columns}
    out = []
    for col in t.columns:
        value = given.get(col.name)
        kind = _POLARS[col.kind]
        whole = isinstance(value, np.ndarray | pl.Series)
        series = pl.Series(col.name, value if whole else [value] * n)
        out.append(series.cast(kind) if n else pl.Series(col.name, [], kind))
    return pl.DataFrame(out).sort(t.key)


def _times(stamps: Any) -> pl.Series:
    return pl.Series(np.asarray(stamps) * 1000).cast(pl.Datetime("us"))


def _over(truth: Truth, step: int) -> int:
    """The last bar's open that is over for good."""
    return (truth.now - SETTLED_MS) // step * step - step


def candles(truth: Truth, venue: str, c: Contract, price: str, interval: str, since: int, until: int) -> pl.DataFrame:
    step = INTERVALS[interval]
    stamps = truth.grid(c, price, step, since, min(until - step, _over(truth, step)))
    b = truth.bars(c, price, step, stamps)
    scale = 1e8 if price == "premium" else 10
    columns: dict[str, Any] = {n: b[n] / scale for n in ("open", "high", "low", "close")}
    if price == "trade":
        columns |= _volumes(venue, c, b)
    return _frame("candles", venue, c, stamps, price=price, interval_s=step // 1000, **columns)


def _volumes(venue: str, c: Contract, b: Any) -> dict[str, Any]:
    size = float(c.size)
    if venue == "binance":
        takers = {"taker_buy_volume": b["taker"] / 1000, "taker_buy_quote_volume": b["taker_quote"] / 1000}
        return {"volume": b["volume"] / 1000, "quote_volume": b["quote"] / 1000, "trades": b["trades"], **takers}
    if venue == "binance-coinm":
        takers = {"taker_buy_volume": b["taker"] * 1.0, "taker_buy_quote_volume": b["taker"] * size}
        return {"volume": b["volume"] * 1.0, "quote_volume": b["volume"] * size, "trades": b["trades"], **takers}
    if venue == "bybit":
        if c.inverse:  # contracts of a dollar
            return {"volume": b["volume"] * 1.0, "quote_volume": b["volume"] * 1.0}
        return {"volume": b["volume"] / 1000, "quote_volume": b["quote"] / 1000}
    if venue == "okx":
        if c.inverse:
            return {"volume": b["volume"] / 10, "quote_volume": b["volume"] / 10 * size}
        return {"volume": b["taker"] / 1000, "quote_volume": b["quote"] / 1000}
    return {"volume": b["volume"] / 1000, "trades": b["trades"]}


def funding(truth: Truth, venue: str, c: Contract, since: int, until: int) -> pl.DataFrame:
    """Settlements and the hours between them; where a settlement is missing, those to the next one."""
    last = min(until - 1, truth.now - SETTLED_MS - 1)
    if venue == "hyperliquid":
        stamps = truth.grid(c, "funding", HOUR, since, last)
        hours = np.ones(len(stamps))
    else:
        stamps, hours = truth.settlements(c, since, last)
    r = truth.rates(c, stamps)
    late = truth.late(c, stamps) if venue.startswith("binance") or venue == "hyperliquid" else np.zeros_like(stamps)
    price = r["mark"] / 10 if venue.startswith("binance") else None
    raw, known = _times(stamps + late), _times(stamps)
    columns = {"raw_ts": raw, "rate": r["rate"] / 1e8, "interval_hours": hours, "price": price, "known_at": known}
    return _frame("funding", venue, c, stamps, **columns)


def _snapshot_times(
    truth: Truth, c: Contract, feed: str, interval: str, since: int, until: int
) -> tuple[Any, dict[str, Any]]:
    step = INTERVALS[interval]
    stamps = truth.grid(c, feed, step, since, min(until - step, _over(truth, step)))
    known = _times(stamps + step + PUBLISHED_S * 1000)
    return stamps, {"interval_s": step // 1000, "known_at": known}


def open_interest(truth: Truth, venue: str, c: Contract, interval: str, since: int, until: int) -> pl.DataFrame:
    stamps, columns = _snapshot_times(truth, c, "open_interest", interval, since, until)
    step, size = INTERVALS[interval], float(c.size)

    def told(name: str) -> Any:
        return truth.snapshot(c, f"open_interest {name}", step, stamps)

    quantity, value = told("quantity") / 1000, told("value") / 1000
    if venue == "binance-coinm":
        value = quantity * size
    elif venue == "bybit":
        value = None
    elif venue == "okx" and c.inverse:
        quantity = told("contracts") / 10
        value = quantity * size
    return _frame("open_interest", venue, c, stamps, quantity=quantity, value=value, **columns)


def ratios(truth: Truth, venue: str, c: Contract, kind: str, interval: str, since: int, until: int) -> pl.DataFrame:
    stamps, columns = _snapshot_times(truth, c, kind, interval, since, until)
    step = INTERVALS[interval]

    def told(name: str) -> Any:
        return truth.snapshot(c, f"{kind} {name}", step, stamps)

    taker = kind == "taker_volume"
    places = 1000 if taker else 10_000
    values = {"ratio": told("ratio") / 10_000, "long": told("long") / places, "short": told("short") / places}
    if venue == "bybit":
        long = (told("long") % 9_000 + 500) / 10_000
        short = (10_000 - (told("long") % 9_000 + 500)) / 10_000
        values = {"ratio": long / short, "long": long, "short": short}
    elif venue == "okx" and not taker:
        values = {"ratio": told("ratio") / 10_000}
    elif taker and venue in ("okx", "binance-coinm"):
        values["ratio"] = values["long"] / values["short"]
    return _frame("ratios", venue, c, stamps, kind=kind, **values, **columns)


def ratio_kinds(venue: str) -> tuple[str, ...]:
    if venue == "hyperliquid":
        return ()
    return ("accounts",) if venue == "bybit" else ("accounts", "taker_volume", "top_accounts", "top_positions")


def instruments(truth: Truth, venue: str, contracts: tuple[Contract, ...]) -> pl.DataFrame:
    """As each venue tells them: what `venue_server` writes on the wire, in the schema's units."""
    seen = np.array([truth.now // 1000 * 1000])
    out = []
    for c in contracts:
        least = {"binance": 100.0, "bybit": 5.0, "hyperliquid": 10.0}.get(venue) if not c.inverse else None
        size = 1.0 if venue in ("binance", "hyperliquid", "bybit") else float(c.size)
        lot = {"okx": 0.1 if c.inverse else round(0.1 * size, 10), "hyperliquid": 0.00001}.get(
            venue, 1.0 if c.inverse else 0.001
        )
        columns = {
            "valid_from": _times(seen),
            "known_at": _times(seen),
            "venue_symbol": _venue_symbol(venue, c),
            "base": c.base,
            "quote": c.quote,
            "settle": c.settle,
            "contract": "inverse" if c.inverse else "linear",
            "contract_size": size,
            "tick_size": None if venue == "hyperliquid" else 0.1,
            "lot_size": lot,
            "min_notional": least,
            "listed": None if venue == "hyperliquid" else _times(np.array([c.listed])),
            "delisted": _times(np.array([c.delisted])) if c.delisted else None,
        }
        out.append(_frame("instruments", venue, c, seen, **columns))
    return pl.concat(out).sort(TABLES["instruments"].key)


def _venue_symbol(venue: str, c: Contract) -> str:
    plain = f"{c.base}{c.quote}"
    return {
        "binance-coinm": f"{plain}_PERP",
        "okx": f"{c.base}-{c.quote}-SWAP",
        "hyperliquid": c.base,
    }.get(venue, plain)


def tiers(truth: Truth, venue: str, c: Contract) -> pl.DataFrame:
    """(floor, cap, rate, leverage, cum) of each bracket, in money; in coin on COIN-M and for inverse ones of Bybit."""
    lines: list[tuple[Any, ...]]
    if venue.startswith("binance"):
        lines = [(0, 5e4, 0.004, 125, 0), (5e4, 6e5, 0.005, 100, 50), (6e5, 3e6, 0.0065, 75, 950)]
    elif venue == "bybit":
        lines = [(0, 3e5, 0.0033, 150, 0), (3e5, 2e6, 0.005, 100, 510), (2e6, 2.6e6, 0.0056, 90, 1710)]
    elif venue == "okx":
        each = float(c.size) * (1.0 if c.inverse else float(okx.MARK))
        bounds = [0.0, 1000 * each, 5000 * each, 20_000 * each]
        rates, leverages = (0.004, 0.01, 0.015), (100, 50, 33.33)
        cums = [0.0]
        for i in (1, 2):
            cums.append(cums[-1] + bounds[i] * (rates[i] - rates[i - 1]))
        lines = list(zip(bounds, bounds[1:], rates, leverages, cums, strict=False))
    elif c.base == "BTC":
        lines = [(0, 1.5e8, 0.0125, 40, 0), (1.5e8, None, 0.025, 20, 1_875_000)]
    else:
        lines = [(0, None, 0.01, 50, 0)]
    seen = np.full(len(lines), truth.now // 1000 * 1000)
    names = ("floor", "cap", "mmr", "max_leverage", "cum")
    columns = {
        n: pl.Series([None if v is None else float(v) for v in col])
        for n, col in zip(names, zip(*lines, strict=True), strict=True)
    }
    number = np.arange(1, len(lines) + 1)
    return _frame("tiers", venue, c, seen, tier=number, valid_from=_times(seen), known_at=_times(seen), **columns)
