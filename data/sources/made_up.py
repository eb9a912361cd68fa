"""A small made-up market, for examples and tests. Nothing in it ever happened.

`made_up(symbols=2, days=30, seed=7)` yields one `Batch` a symbol, with every table that a perpetual has. The
same arguments give the same numbers. It tells the story that Unwind is about: leverage builds up on one side,
funding gets dear, then the crowd is forced out. How one symbol is made, on a grid of ten seconds:

1. `crowding`: unwinds are placed in the span; the first throws out longs, the second shorts. Before each, a
   crowd builds up over days; at it, a pulse of an hour.
2. `prices`: the index drifts with the crowd, falls (or jumps) in the pulse in uneven steps, and takes part of
   it back; the premium follows the crowd and breaks against it in the pulse; trade = index x (1 + premium),
   mark follows it smoothly.
3. Funding is the venue's formula on that premium: its weighted mean, by minutes, since the settlement before,
   plus the clamped interest rate. The second symbol goes from 8-hour to 4-hour settlements halfway.
4. Open interest grows with the crowd and is flushed by the pulse; liquidations come with moves against the
   side they hit and, in a pulse, add up to a share of the flushed open interest; volume holds them all.
5. Ratios, order book depth, dated tiers, the terms of the contract, and the truth (`truth`: when each phase
   was).

This is no model of a venue: it has no traders, no book and no liquidation engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from data.clock import DAY, HOUR, MINUTE, MS, SECOND, duration
from data.errors import BadInput
from data.rows import Batch, Origin, Rows, recipe_of
from data.schema import Feed, Position, Price, PriceKind, Ratio
from data.sources.made_up_path import (
    COINS,
    PER_MINUTE,
    START,
    STEP,
    Array,
    Coin,
    Path,
    Span,
    Times,
    prices,
    remember,
    shocks,
    ticks,
    unwinds,
)

VENUE = "made-up"
VERSION = 1  # goes up when the numbers change
SNAPSHOT = 5 * MINUTE


def made_up(symbols: int = 2, days: int = 30, seed: int = 7, interval: str = "1m") -> Iterator[Batch]:
    """A seeded market of venue `made-up`, one batch a symbol, `days` from 2024-03-01 on."""
    if not 1 <= symbols <= len(COINS):
        raise BadInput(f"symbols={symbols}: the made-up market has 1 to {len(COINS)} symbols")
    if days < 1:
        raise BadInput(f"days={days}: the made-up market needs at least one day")
    bar = duration(interval)
    if bar % MINUTE or DAY % bar:
        raise BadInput(f"interval={interval!r}: take whole minutes that divide a day, such as 1m or 1h")
    span = Span(START, days, bar, unwinds(days))
    common = shocks(np.random.default_rng([seed, 0]), len(span.steps))
    for number, coin in enumerate(COINS[:symbols]):
        rng = np.random.default_rng([seed, number + 1])
        arguments = f"{VENUE} {coin.base} days={days} seed={seed} interval={interval}"
        origin = Origin(
            source=VENUE,
            name=arguments,
            sha256=hashlib.sha256(arguments.encode()).hexdigest(),
            recipe=recipe_of(VENUE, VERSION),
            covers=(span.start, span.end),
            symbols=(coin.symbol,),
            venue=VENUE,
        )
        yield Batch(_tables(coin, span, common, rng, switches=number == 1), (origin,))


def _tables(coin: Coin, span: Span, common: Array, rng: np.random.Generator, switches: bool) -> tuple[Rows, ...]:
    path = prices(coin, span, common, rng)
    interest = _open_interest(coin, span, path, rng)
    hits = _liquidations(coin, span, path, interest, rng)
    trades = _trade_candles(coin, span, path, hits, rng)

    def rows(table: str, columns: Mapping[str, Any], **constants: Any) -> Rows:
        import polars as pl

        return Rows(table, pl.DataFrame(dict(columns)), {"venue": VENUE, "symbol": coin.symbol, **constants})

    def candles(price: Price, columns: Mapping[str, Any]) -> Rows:
        return rows("candles", columns, price=price.value, interval_s=span.bar // SECOND)

    every = SNAPSHOT // SECOND
    return (
        rows("instruments", _instrument(coin, span)),
        rows("tiers", _tiers(coin, span)),
        candles(Price.TRADE, trades),
        candles(Price.MARK, _ohlc(span, path.mark)),
        candles(Price.INDEX, _ohlc(span, path.index)),
        candles(Price.PREMIUM, _ohlc(span, np.round(path.premium, 8))),
        rows("funding", _funding(span, path, rng, switches)),
        rows("open_interest", interest, interval_s=every),
        rows("liquidations", hits, price_kind=PriceKind.AVERAGE.value, feed=Feed.COMPLETE.value),
        *(
            rows("ratios", columns, kind=kind.value, interval_s=every)
            for kind, columns in _ratios(span, path, trades, rng).items()
        ),
        rows("depth", _depth(coin, span, path, rng), interval_s=every),
        rows("truth", _truth(span), kind="phase"),
    )


def _ohlc(span: Span, path: Array) -> dict[str, Any]:
    """Bars of the path; each opens one step after the last close."""
    bars = path.reshape(-1, span.bar // STEP)
    return {
        "ts": _times(np.arange(span.start, span.end, span.bar, dtype=np.int64)),
        "open": bars[:, 0].copy(),
        "high": bars.max(axis=1),
        "low": bars.min(axis=1),
        "close": bars[:, -1].copy(),
    }


def _trade_candles(
    coin: Coin, span: Span, path: Path, hits: Mapping[str, Any], rng: np.random.Generator
) -> dict[str, Any]:
    columns = _ohlc(span, path.trade)
    count, bar_days = len(columns["open"]), span.bar / DAY
    middle = (columns["open"] + columns["high"] + columns["low"] + columns["close"]) / 4.0
    ranges = (columns["high"] - columns["low"]) / middle
    busy = ranges / np.median(ranges)
    usual = coin.volume * bar_days / middle * 0.7
    volume = usual * (0.3 + 0.7 * busy) * rng.lognormal(0.0, 0.4, count)
    where = (hits["ts"].astype("int64") - span.start) // span.bar
    bought = hits["position"] == Position.SHORT.value  # a liquidated short is bought back
    forced = np.bincount(where, weights=hits["quantity"], minlength=count)
    forced_bought = np.bincount(where[bought], weights=hits["quantity"][bought], minlength=count)
    move = (columns["close"] - columns["open"]) / (middle * ranges.mean())
    share = 1.0 / (1.0 + np.exp(-0.6 * np.clip(move, -3.0, 3.0) + 0.1 * rng.standard_normal(count)))
    total = ticks(volume + forced, coin.lot)
    taken = np.minimum(ticks(volume * share + forced_bought, coin.lot), total)
    return columns | {
        "volume": total,
        "quote_volume": np.round(total * middle, 2),
        "trades": np.maximum(1, total * middle / 2_500.0).astype(np.int64),
        "taker_buy_volume": taken,
        "taker_buy_quote_volume": np.round(taken * middle, 2),
    }


def _funding(span: Span, path: Path, rng: np.random.Generator, switches: bool) -> dict[str, Any]:
    """Settlements: (weighted mean premium + clamp(0.01 % - it, +-0.05 %)) x hours / 8."""
    eight, four = 8 * HOUR, 4 * HOUR
    change = span.start + max(1, span.days * DAY // 2 // eight) * eight
    if switches:
        parts = np.arange(span.start, change, eight), np.arange(change, span.end, four)
        stamps = np.concatenate(parts)
        hours = np.where(stamps <= change, 8, 4)
    else:
        stamps = np.arange(span.start, span.end, eight)
        hours = np.full(len(stamps), 8)
    minutes = np.round(path.premium[PER_MINUTE - 1 :: PER_MINUTE], 8)
    mean = np.full(len(stamps), 0.0001)  # at the start there is nothing to average
    for i, (at, length) in enumerate(zip(stamps[1:], hours[1:], strict=True), start=1):
        last = (at - span.start) // MINUTE
        window = minutes[max(0, last - length * 60) : last]
        mean[i] = np.average(window, weights=np.arange(1, len(window) + 1))
    rate = np.clip(mean + np.clip(0.0001 - mean, -0.0005, 0.0005), -0.02, 0.02) * hours / 8
    return {
        "ts": _times(stamps),
        "raw_ts": _times(stamps + rng.integers(0, 12, len(stamps)) * MS),
        "rate": np.round(rate, 8),
        "interval_hours": hours.astype(np.float64),
        "price": path.mark[(stamps - span.start) // STEP],
    }


def _open_interest(coin: Coin, span: Span, path: Path, rng: np.random.Generator) -> dict[str, Any]:
    stamps, at = _snapshots(span)
    wander = 0.035 * remember(rng.standard_normal(len(at)), 2 * 288)
    size = coin.open_interest / coin.price * (1.0 + 0.65 * np.abs(path.crowd[at])) * np.exp(wander)
    quantity = ticks(size, coin.lot)
    return {"ts": stamps, "quantity": quantity, "value": np.round(quantity * path.mark[at], 2)}


def _liquidations(
    coin: Coin, span: Span, path: Path, interest: Mapping[str, Any], rng: np.random.Generator
) -> dict[str, Any]:
    """Events: few in calm, more after a move against a side, very many in a pulse."""
    minutes = np.arange(0, len(path.index), PER_MINUTE)
    log_price = np.log(path.mark[minutes])
    back = np.concatenate([np.zeros(min(15, len(minutes))), log_price[15:] - log_price[:-15]])
    pressure = np.clip(np.abs(back) / (np.std(back) + 1e-12), 0.0, 6.0)
    pulse = path.pulse[minutes]
    count = rng.poisson(0.02 + 0.05 * pressure**2 + 12.0 * pulse)
    minute = np.repeat(np.arange(len(minutes)), count)
    when = np.sort(minute * MINUTE + rng.integers(0, MINUTE // MS, len(minute)) * MS)
    minute = when // MINUTE
    down = np.where(pulse[minute] > 0.02, _direction(span, minute), -np.sign(back[minute]))
    down = np.where(down == 0.0, 1.0, down)
    # A liquidation in a hundred goes against the last quarter of an hour.
    long = np.where(rng.random(len(minute)) < 0.01, -down, down) > 0
    price = path.trade[when // STEP]
    notional = 4_000.0 * (coin.open_interest / 1e9) ** 0.5 * (1.0 + rng.pareto(1.6, len(minute)))
    notional *= _share_of_flush(span, interest, minute, pulse, notional)
    quantity = np.maximum(ticks(notional / price, coin.lot), coin.lot)
    return {
        "ts": _times(span.start + when),
        "position": np.where(long, Position.LONG.value, Position.SHORT.value),
        "price": price,
        "quantity": quantity,
        "notional": np.round(quantity * price, 2),
        "event_id": np.arange(1, len(when) + 1).astype(str),
    }


def _direction(span: Span, minute: Times) -> Array:
    """+1 while an unwind throws out longs, -1 while it throws out shorts."""
    t = span.start + minute * MINUTE
    side = np.zeros(len(minute))
    for u in span.unwinds:
        side[(t >= u.at) & (t < u.ends)] = u.side
    return side


def _share_of_flush(span: Span, interest: Mapping[str, Any], minute: Times, pulse: Array, notional: Array) -> Array:
    """What to multiply each event with, so that a pulse liquidates 30 % of the open interest it flushes."""
    t = span.start + minute * MINUTE
    stamps = interest["ts"].astype("int64")
    factor = np.ones(len(minute))
    for u in span.unwinds:
        inside = (t >= u.at) & (t < u.ends) & (pulse[minute] > 0.02)
        before, after = np.searchsorted(stamps, [u.at, u.ends])
        if not inside.any() or after >= len(stamps):
            continue
        flushed = interest["quantity"][before] - interest["quantity"][after]
        money = flushed * interest["value"][after] / interest["quantity"][after]
        factor[inside] = max(1.0, 0.3 * money / notional[inside].sum())
    return factor


def _ratios(span: Span, path: Path, trades: Mapping[str, Any], rng: np.random.Generator) -> dict[Ratio, dict[str, Any]]:
    stamps, at = _snapshots(span)
    found = {}
    for kind, usual, lean in (
        (Ratio.ACCOUNTS, 0.56, 0.14),
        (Ratio.TOP_ACCOUNTS, 0.54, 0.08),
        (Ratio.TOP_POSITIONS, 0.52, -0.05),
    ):
        wander = 0.015 * remember(rng.standard_normal(len(at)), 72)
        long = np.round(np.clip(usual + lean * path.crowd[at] + wander, 0.05, 0.95), 4)
        short = np.round(1.0 - long, 4)
        found[kind] = {"ts": stamps, "ratio": np.round(long / short, 4), "long": long, "short": short}
    if span.bar <= SNAPSHOT:
        found[Ratio.TAKER_VOLUME] = _taker_ratio(span, trades)
    return found


def _taker_ratio(span: Span, trades: Mapping[str, Any]) -> dict[str, Any]:
    """Buys over sells of the five minutes before each snapshot."""
    per = SNAPSHOT // span.bar
    buys = trades["taker_buy_volume"].reshape(-1, per).sum(axis=1)[:-1]
    sells = trades["volume"].reshape(-1, per).sum(axis=1)[:-1] - buys
    stamps = _snapshots(span)[0][1:]
    safe = np.where(sells > 0, sells, np.nan)
    return {"ts": stamps, "ratio": np.round(buys / safe, 4), "long": buys, "short": sells}


def _depth(coin: Coin, span: Span, path: Path, rng: np.random.Generator) -> dict[str, Any]:
    """Size within 1 to 5 percent on either side, cumulative; a pulse thins it to a fifth."""
    stamps, at = _snapshots(span)
    percents = np.array([-5.0, -4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    one = 0.004 * coin.volume / (1.0 + 4.0 * path.pulse[at])
    side = np.exp(0.15 * remember(rng.standard_normal(2 * len(at)), 12)).reshape(2, -1)
    bids, asks = one * side[0], one * side[1]
    within = np.where(percents < 0, bids[:, None], asks[:, None]) * np.abs(percents) ** 0.7
    near = path.trade[at][:, None] * (1.0 + percents / 200.0)
    quantity = ticks(within / near, coin.lot)
    return {
        "ts": np.repeat(stamps, len(percents)),
        "percent": np.tile(percents, len(at)),
        "quantity": quantity.ravel(),
        "notional": np.round(quantity * near, 2).ravel(),
    }


def _tiers(coin: Coin, span: Span) -> dict[str, Any]:
    """Five brackets from the start; from two thirds on they are tighter: half the size, a fifth more margin."""
    size = coin.open_interest / 1.8e9
    floors = np.array([0.0, 3e5, 3e6, 3e7, 1e8]) * max(0.05, size)
    rates = np.array([0.004, 0.005, 0.01, 0.025, 0.05])
    most = np.array([125.0, 100.0, 50.0, 20.0, 10.0])
    seen = (span.start, span.start + span.days * 2 // 3 * DAY)
    tables = [(seen[0], floors, rates, most)]
    if seen[1] > seen[0]:
        tables.append((seen[1], floors / 2, rates * 1.2, np.array([100.0, 75.0, 40.0, 20.0, 8.0])))
    columns: dict[str, list[Any]] = {}
    for at, low, mmr, leverage in tables:
        cum = np.concatenate([[0.0], np.cumsum(low[1:] * np.diff(mmr))])
        caps = [*low[1:].tolist(), 1e9 * max(0.05, size)]
        for name, values in (
            ("valid_from", [at] * 5),
            ("tier", [1, 2, 3, 4, 5]),
            ("floor", low.tolist()),
            ("cap", caps),
            ("mmr", mmr.tolist()),
            ("max_leverage", leverage.tolist()),
            ("cum", cum.tolist()),
        ):
            columns.setdefault(name, []).extend(values)
    return columns | {"valid_from": _times(np.array(columns["valid_from"], dtype=np.int64))}


def _instrument(coin: Coin, span: Span) -> dict[str, Any]:
    first = _times(np.array([span.start], dtype=np.int64))
    return {
        "valid_from": first,
        "venue_symbol": [f"{coin.base}USDT"],
        "base": [coin.base],
        "quote": ["USDT"],
        "settle": ["USDT"],
        "contract": ["linear"],
        "contract_size": [1.0],
        "tick_size": [coin.tick],
        "lot_size": [coin.lot],
        "min_notional": [5.0],
        "listed": first,
    }


def _truth(span: Span) -> dict[str, Any]:
    phases = [
        phase
        for u in span.unwinds
        for phase in (
            ("build-up", u.begins, u.at, u.side),
            ("unwind", u.at, u.ends, u.side),
            ("recovery", u.ends, u.recovered, u.side),
        )
    ]
    labels, begins, ends, sides = zip(*phases, strict=True)
    return {
        "ts": _times(np.array(begins, dtype=np.int64)),
        "until": _times(np.array(ends, dtype=np.int64)),
        "label": list(labels),
        "value": [float(s) for s in sides],
    }


def _snapshots(span: Span) -> tuple[Any, Times]:
    """The times of the 5-minute snapshots, and the steps they are taken at."""
    stamps = np.arange(span.start, span.end, SNAPSHOT, dtype=np.int64)
    return _times(stamps), (stamps - span.start) // STEP


def _times(ns: Times) -> npt.NDArray[np.datetime64]:
    return ns.astype("datetime64[ns]")
