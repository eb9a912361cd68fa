"""The twelve facts on real data: `python benchmarks/real_facts.py FOLDER`, with the folder of real market files.

Prints, for each number of `backtest.crowd.facts`, its value on the whole of each real tape, then over pieces of 90 days
(the 5 %, 50 % and 95 % quantiles, and the part of them inside the band), then what does not fit on a tape: open
interest of other sources, funding by year, liquidations by month. The bands are judged as those of simulated markets
are. Nothing is asserted.

What the files are, found by measuring them:

1. Hyperliquid's open interest is the mean of the hour that it is stamped at the open of (its change follows the
   returns of both hours, with weights that rise and fall like a triangle). Divided by the price of any one moment it
   gives coins that move against the price; the mean price of the hour is taken, and its changes are the returns.
2. The panel's open interest is that of Binance's BTCUSDT alone (they agree at every hour that both files have), known
   at the end of its hour. So, it seems, are its liquidations; Binance publishes at most one a second, which others
   found to be an undercount of 2 to 3 times.
3. The daily open interest of all venues is up to two days late in 2025 (the fall of 10 October stands at the 13th), so
   it is good for the size of falls and not for correlations.

There are no lists of real cascades: the 24 hours a year with the deepest falls, a day apart, stand for them. Whether
news set them off is not known, depth is in no file, and no file has liquidations by the minute: for these the bands
rest on what was published.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from backtest.crowd import facts
from backtest.crowd.facts import DAY, HOUR, Cascades, Floats, Ints, Tape

PIECE = 90 * DAY
MAJORS = ("BTC", "ETH", "SOL")
MIDS = ("1000PEPE", "ADA", "APT", "ARB", "ATOM", "AVAX", "BNB", "DOGE", "FIL", "INJ", "LINK", "LTC", "OP", "SUI", "XRP")
INTERVALS = (1.0, 2.0, 4.0, 8.0)  # hours between settlements; others are gaps of the file


class Source(NamedTuple):
    """Arrays on one grid, and which facts may be read off them."""

    label: str
    symbol: str
    step_s: int
    start: int  # seconds since 1970, of the first step
    close: Floats
    facts: tuple[int, ...]
    low: Floats  # lowest return inside the step, to find falls
    open_interest: Floats
    liq_long: Floats
    liq_short: Floats
    settled: Ints
    rate: Floats
    hours: Floats


# --- reading -------------------------------------------------------------------------------------


def seconds(frame: pl.DataFrame) -> Ints:
    return frame["ts"].dt.epoch("s").to_numpy().astype(np.int64)


def on_grid(ts: Ints, values: Floats, start: int, step_s: int, length: int) -> Floats:
    """NaN where the file has no row."""
    grid, place = np.full(length, np.nan), (ts - start) // step_s
    inside = (place >= 0) & (place < length)
    grid[place[inside]] = values[inside]
    return grid


def settlements(folder: Path, symbol: str) -> tuple[Ints, Floats, Floats]:
    """(seconds, rate, hours since the one before), where that is an interval that the venue uses."""
    frame = (
        pl.read_parquet(folder / "funding" / "binance.parquet").filter(pl.col("symbol") == f"{symbol}USDT").sort("ts")
    )
    ts, rate = seconds(frame), frame["funding_rate"].to_numpy()
    hours = np.round(np.append(np.nan, np.diff(ts) / HOUR), 2)
    usual = np.isin(hours, INTERVALS)
    return ts[usual], rate[usual], hours[usual]


def candles(folder: Path, name: str, step_s: int, symbol: str, which: tuple[int, ...]) -> Source:
    """Closes, and funding where the span has some."""
    frame = (
        pl.read_parquet(folder / "candles" / f"binance_{name}.parquet")
        .filter(pl.col("symbol") == f"{symbol}USDT")
        .sort("ts")
    )
    ts = seconds(frame)
    start, length = int(ts[0]), int((ts[-1] - ts[0]) // step_s) + 1
    paid, rate, hours = settlements(folder, symbol)
    inside = (paid >= start) & (paid < start + length * step_s)
    close = on_grid(ts, frame["close"].to_numpy(), start, step_s, length)
    none = facts.nothing()
    return Source(
        f"{symbol} {name}",
        symbol,
        step_s,
        start,
        close,
        which,
        none,
        none,
        none,
        none,
        (paid[inside] - start) // step_s,
        rate[inside],
        hours[inside],
    )


def hyperliquid(folder: Path, symbol: str) -> Source:
    """Hourly means: of open interest as filed, of the price from the hour's four prices."""
    frame = (
        pl.read_parquet(folder / "open_interest" / "hyperliquid_1h.parquet")
        .filter(pl.col("symbol") == symbol)
        .sort("ts")
    )
    bars = (
        pl.read_parquet(folder / "candles" / "binance_1h.parquet")
        .filter(pl.col("symbol") == f"{symbol}USDT")
        .sort("ts")
    )
    ts, opened = seconds(frame), seconds(bars)
    start, length = int(ts[0]), int((ts[-1] - ts[0]) // HOUR) + 1
    price = on_grid(
        opened,
        bars.select(pl.mean_horizontal("open", "high", "low", "close")).to_series().to_numpy(),
        start,
        HOUR,
        length,
    )
    low = on_grid(opened, np.log(bars["low"].to_numpy() / bars["open"].to_numpy()), start, HOUR, length)
    value = on_grid(ts, frame["oi_usd"].to_numpy(), start, HOUR, length)
    none = facts.nothing()
    return Source(
        f"{symbol} HL",
        symbol,
        HOUR,
        start,
        price,
        (5, 9),
        low,
        value / price,
        none,
        none,
        none.astype(np.int64),
        none,
        none,
    )


def panel(folder: Path) -> Source:
    """BTC on Binance, with what was liquidated."""
    frame = pl.read_parquet(folder / "liquidations" / "coinglass_btc_panel_1h.parquet").sort("ts")
    ts = seconds(frame)
    start, length = int(ts[0]), int((ts[-1] - ts[0]) // HOUR) + 1
    columns = {name: on_grid(ts, frame[name].to_numpy(), start, HOUR, length) for name in frame.columns[2:]}
    close, none = columns["price_close"], facts.nothing()
    low = np.log(columns["price_low"] / columns["price_open"])
    longs, shorts = columns["liquidation_long_usd"], columns["liquidation_short_usd"]
    return Source(
        "BTC panel",
        "BTC",
        HOUR,
        start,
        close,
        (5, 8, 9, 11),
        low,
        columns["oi_close"] / close,
        longs,
        shorts,
        none.astype(np.int64),
        none,
        none,
    )


def sources(folder: Path) -> list[Source]:
    """Finest grid first; the hourly candles give what needs years."""
    minute, five, hourly = (2, 4), (1, 2, 4), (1, 2, 3, 4, 6, 7)
    found = [candles(folder, "1m", 60, symbol, minute) for symbol in ("BTC", "ETH")]
    found += [candles(folder, "5m", 300, symbol, five) for symbol in ("BTC", "SOL")]
    found += [candles(folder, "1h", HOUR, symbol, hourly) for symbol in (*MAJORS, *MIDS)]
    found += [hyperliquid(folder, symbol) for symbol in (*MAJORS, "DOGE")]
    return [*found, panel(folder)]


# --- tapes ---------------------------------------------------------------------------------------


def part(values: Floats, begin: int, end: int) -> Floats:
    return values[begin:end] if len(values) else values


def falls(low: Floats, per_year: int, step_s: int) -> Cascades:
    """The deepest bars, a day apart, as cascades of one bar."""
    allowed, apart = max(round(per_year * len(low) * step_s / facts.YEAR), facts.FEWEST), DAY // step_s
    chosen: list[int] = []
    for place in np.argsort(np.where(np.isfinite(low), low, 0.0), kind="stable"):
        if len(chosen) < allowed and all(abs(int(place) - other) >= apart for other in chosen):
            chosen.append(int(place))
    start = np.sort(np.array(chosen, dtype=np.int64))
    return Cascades(start, start + 1, np.ones(len(start), np.int64), np.zeros(len(start), np.bool_))


def tape(source: Source, begin: int = 0, end: int | None = None) -> Tape:
    """A piece of a source; falls are found within the piece."""
    last = len(source.close) if end is None else end
    inside = (source.settled >= begin) & (source.settled < last)
    low = part(source.low, begin, last)
    return Tape(
        step_s=source.step_s,
        close=source.close[begin:last],
        open_interest=part(source.open_interest, begin, last),
        liq_long=part(source.liq_long, begin, last),
        liq_short=part(source.liq_short, begin, last),
        settled=source.settled[inside] - begin,
        rate=source.rate[inside],
        hours=source.hours[inside],
        cascades=falls(low, facts.CASCADES_A_YEAR, source.step_s) if len(low) else facts.no_cascades(),
    )


def numbers(source: Source, one: Tape) -> dict[str, float]:
    """What may be read off this source; NaN for the rest."""
    return {
        name: value if fact.number in source.facts else math.nan
        for fact in facts.FACTS
        for name, value in fact.numbers(one)
    }


def pieces(source: Source) -> list[Tape]:
    """Whole 90 days from the first midnight; a shorter source is one piece."""
    midnight = -source.start % DAY // source.step_s
    length = PIECE // source.step_s
    begins = range(midnight, len(source.close) - length + 1, length)
    return [tape(source, begin, begin + length) for begin in begins] or [tape(source, midnight)]


def measured_pieces(found: Sequence[Source], symbols: Sequence[str]) -> list[dict[str, float]]:
    return [numbers(source, one) for source in found if source.symbol in symbols for one in pieces(source)]


# --- tables --------------------------------------------------------------------------------------


def quantiles(values: Sequence[float]) -> str:
    there = facts.known(np.array(values, dtype=np.float64))
    if len(there) == 0:
        return f"{'-':>4}{'':27}"
    low, middle, high = np.quantile(there, [0.05, 0.5, 0.95])
    return f"{len(there):4d}{low:9.3g}{middle:9.3g}{high:9.3g}"


def share(check: facts.Check) -> str:
    return f"{check.inside:7.2f}" if check.tapes else f"{'':7}"


def print_pieces(found: Sequence[Source]) -> None:
    majors, mids = measured_pieces(found, MAJORS), measured_pieces(found, MIDS)
    print(
        f"\nPieces of 90 days: number, 5 %, 50 %, 95 %{'':11}{'majors':31}{'inside':>7}  {'mid-caps':31}{'inside':>7}"
    )
    for verdict, other in zip(facts.judge(majors), facts.judge(mids), strict=True):
        print(f"{verdict.fact}. {verdict.title}")
        for check, mid in zip(verdict.checks, other.checks, strict=True):
            band = check.band
            major_values, mid_values = ([one[band.name] for one in group] for group in (majors, mids))
            told = "      " if not check.tapes else "holds " if check.holds else "MISSES"
            print(
                f"  {band.name:28}{band.low:8.3g}..{band.high:<7.3g}{told} {quantiles(major_values)}{share(check)}"
                f"  {quantiles(mid_values)}{share(mid)}"
            )


def print_wholes(found: Sequence[Source]) -> None:
    print("\nWhole tapes")
    for source in found:
        if source.symbol in (*MAJORS, "DOGE"):
            told = {name: value for name, value in numbers(source, tape(source)).items() if not math.isnan(value)}
            print(f"  {source.label}: " + "; ".join(f"{name} {value:.3g}" for name, value in told.items()))


# --- what does not fit on a tape -----------------------------------------------------------------


def print_stamps(folder: Path) -> None:
    """Which 5-minute returns are in an hourly change of Hyperliquid's open interest: of a snapshot, one hour's, all alike."""
    print(
        "\nHyperliquid, weight of returns in the change of value, quarters of an hour from 60 minutes before the stamp"
    )
    for symbol in ("BTC", "SOL"):
        five, oi = candles(folder, "5m", 300, symbol, ()), hyperliquid(folder, symbol)
        value = oi.open_interest * oi.close
        change, stamps = np.diff(np.log(value)), oi.start + HOUR * np.arange(1, len(value))
        logs = np.log(five.close)
        place = ((stamps - five.start) // 300)[:, None] + np.arange(-13, 24)[None, :]
        inside = (
            (place.min(axis=1) >= 0) & (place.max(axis=1) < len(logs)) & np.isfinite(change) & (np.abs(change) < 0.1)
        )
        returns = np.diff(logs[np.where(inside[:, None], place, 0)], axis=1)[inside]
        weight = np.linalg.lstsq(np.column_stack([returns, np.ones(len(returns))]), change[inside], rcond=None)[0][:-1]
        print(f"  {symbol}: " + " ".join(f"{one:.2f}" for one in weight.reshape(-1, 3).mean(axis=1)))


def correlations(coins: Floats, price: Floats) -> str:
    r = np.diff(np.log(price))
    both = (facts.rank_correlation(np.diff(np.log(x)), r) for x in (coins, coins * price))
    return "coins {:+.2f}, value {:+.2f}".format(*both)


def print_open_interest(folder: Path, found: Sequence[Source]) -> None:
    print("\nOpen interest and return, rank correlation by horizon")
    for source in found:
        if 5 in source.facts:
            cells = [
                f"{hours} h {correlations(source.open_interest[::hours], source.close[::hours])}" for hours in (1, 4, 6)
            ]
            print(f"  {source.label}: " + "; ".join(cells))
    frame = pl.read_parquet(folder / "open_interest" / "binance_4h.parquet").sort("ts")
    ranked = []
    for _, rows in frame.group_by("symbol", maintain_order=True):
        held, value = rows["sum_open_interest"].to_numpy(), rows["sum_open_interest_value"].to_numpy()
        if len(held) > 160:  # a month of four hours; the measure itself asks for more
            r, coins, worth = (facts.ranks(np.diff(np.log(x))) for x in (value / held, held, value))
            ranked.append((float(np.corrcoef(coins, r)[0, 1]), float(np.corrcoef(worth, r)[0, 1])))
    for column, name in enumerate(("coins", "value")):
        print(
            f"  Binance, 4 h, {len(ranked)} symbols, one month, {name}: "
            + quantiles([row[column] for row in ranked])[4:]
        )


def funding_row(label: str, rate: Floats, hours: Floats) -> str:
    rate_8h = facts.eight_hours(rate, hours)
    floor, deviation, spread = facts.share_at_floor(rate, hours), facts.deviation_bps(rate_8h), facts.range_bps(rate_8h)
    return f"  {label:18}{len(rate):6d}  at the floor {floor:5.2f}  deviation {deviation:6.2f}  range {spread:6.2f}"


def print_funding(folder: Path) -> None:
    print("\nFunding by year, bps of 8 h")
    every = pl.read_parquet(folder / "funding" / "hyperliquid_1h.parquet").sort("ts")
    for symbol in MAJORS:
        paid, rate, hours = settlements(folder, symbol)
        frame = every.filter(pl.col("symbol") == symbol)
        hourly, hourly_rate = seconds(frame), frame["funding_rate"].to_numpy()
        for label, ts, rates, spans in (
            (symbol, paid, rate, hours),
            (f"{symbol} HL", hourly, hourly_rate, np.ones(len(hourly))),
        ):
            years = ts.astype("datetime64[s]").astype("datetime64[Y]")
            for year in np.unique(years):
                print(funding_row(f"{label} {year}", rates[years == year], spans[years == year]))


def print_other_intervals(folder: Path) -> None:
    print("\nFunding by interval, all symbols of Binance with 150 settlements or more: median over symbols")
    symbols = pl.read_parquet(folder / "funding" / "binance.parquet")["symbol"].unique().sort()
    by_interval: dict[float, list[tuple[float, float, float]]] = {}
    for symbol in symbols:
        _, rate, hours = settlements(folder, symbol.removesuffix("USDT"))
        for interval in (1.0, 4.0, 8.0):
            r, h = rate[hours == interval], hours[hours == interval]
            if len(r) >= 150:
                rate_8h = facts.eight_hours(r, h)
                row = (facts.share_at_floor(r, h), facts.deviation_bps(rate_8h), facts.range_bps(rate_8h))
                by_interval.setdefault(interval, []).append(row)
    for interval, rows in sorted(by_interval.items()):
        floor, deviation, spread = np.median(np.array(rows), axis=0)
        print(
            f"  {interval:.0f} h, {len(rows):3d} symbols: at the floor {floor:.2f}, deviation {deviation:.1f}, range {spread:.1f}"
        )


def print_liquidations(source: Source) -> None:
    print("\nLiquidated a day by month, % of open interest: longs, shorts")
    months = (source.start + HOUR * np.arange(len(source.close))).astype("datetime64[s]").astype("datetime64[M]")
    for month in np.unique(months):
        one = months == month
        held = np.nanmean(source.open_interest[one] * source.close[one])
        amounts = [np.nansum(side[one]) / one.sum() * 24 / held * 100 for side in (source.liq_long, source.liq_short)]
        print(f"  {month}  {amounts[0]:.2f}  {amounts[1]:.2f}   ({one.sum()} hours)")


def print_crash(found: Sequence[Source]) -> None:
    print("\nHyperliquid, 2025-10-10, coins held by hour from 18:00, of those at 18:00")
    for source in found:
        if source.label.endswith("HL"):
            first = (int(np.datetime64("2025-10-10T18:00", "s").astype(np.int64)) - source.start) // HOUR
            held = source.open_interest[first : first + 8] / source.open_interest[first]
            print(f"  {source.symbol:5}" + " ".join(f"{one:.2f}" for one in held))


def print_venues(folder: Path) -> None:
    print("\nBTC, all venues by day: largest falls of the value over three days")
    frame = pl.read_parquet(folder / "open_interest" / "btc_all_venues_1d.parquet").sort("ts")
    value, days = frame["oi_usd"].to_numpy(), frame["ts"].dt.date().to_list()
    fall = value[3:] / value[:-3] - 1.0
    shown: list[int] = []
    for place in np.argsort(fall):
        if len(shown) < 8 and all(abs(int(place) - other) > 7 for other in shown):
            shown.append(int(place))
            print(f"  until {days[int(place) + 3]}: {fall[place]:+.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    found = sources(folder)
    print_pieces(found)
    print_wholes(found)
    print_stamps(folder)
    print_open_interest(folder, found)
    print_funding(folder)
    print_other_intervals(folder)
    print_liquidations(found[-1])
    print_crash(found)
    print_venues(folder)


if __name__ == "__main__":
    main()
