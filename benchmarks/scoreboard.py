"""What the strategies make, on markets that were used to choose nothing: `python benchmarks/scoreboard.py`.

    python benchmarks/scoreboard.py                        # the simulated market alone
    python benchmarks/scoreboard.py --db real.duckdb       # and the real files, where a store holds them
    python benchmarks/scoreboard.py --db real.duckdb --write

1. Every registered strategy runs with its default parameters, which were set from what is published before any of
   these runs, on every market that holds what it needs.
2. Daily returns are split into price, funding and costs (fees, spread, impact), each as a part of the equity at the
   start of its day; a year is 365 days of their mean. Days of the warm-up are left out.
3. The random baseline of a strategy is its own exposures at other times (`strategies.random_entry.rotated`), `DRAWS` of
   them; what counts is the daily return beyond their mean.
4. Intervals are of a stationary block bootstrap (Politis and Romano), blocks as long as Politis and White say.

Nothing is chosen by it and nothing is left out. `--write` puts the tables into docs/scoreboard.md.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from backtest.account import Account
from backtest.engine import simulate
from backtest.strategy import Strategy, warmup_bars
from backtest.strategy_lookup import available, load
from data import clock
from data.errors import BadInput
from data.market import Market, Points
from strategies.carry import Carry, account_for, hedged
from strategies.crowding_portfolio import CrowdingPortfolio
from strategies.parts import symbol_data
from strategies.random_entry import rotated

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scoreboard.md"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
SEEDS, DAYS, COINS = (9101, 9102, 9103, 9104), 180, 5
EQUITY = 100_000.0
DRAWS = 10
REPS = 2000
BASELINES = ("BuyAndHold", "RandomEntry")


@dataclass
class Case:
    """Markets that one table is about."""

    title: str
    about: str
    markets: list[Market]
    venue: str
    spot: str = "trade"  # what the spot leg of a carry is made of


@dataclass
class Line:
    name: str
    why_not: str = ""
    parts: dict[str, np.ndarray] = field(default_factory=dict)  # daily returns
    trades: int = 0
    in_market: float = 0.0
    drawdown: float = 0.0
    liquidations: int = 0


# ---- markets -------------------------------------------------------------------------------------------


def simulated(cache: Path | None) -> Case:
    markets = []
    for seed in SEEDS:
        began = time.perf_counter()
        markets.append(_simulated(seed, cache))
        print(f"  seed {seed}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    about = (
        f"{len(SEEDS)} seeds ({', '.join(map(str, SEEDS))}) of `unwind synth`, {DAYS} days each, {COINS} coins on one "
        "account, bars of 5 minutes, the rules of venue sim."
    )
    return Case("The simulated market", about, markets, "sim", "index")


def _simulated(seed: int, cache: Path | None) -> Market:
    from backtest.crowd.as_market import market_of
    from backtest.crowd.market import Simulated

    what = Simulated(days=DAYS, symbols=COINS, seed=seed)
    file = cache / f"{hashlib.sha256(repr(what).encode()).hexdigest()[:12]}.pickle" if cache else None
    if file is not None and file.exists():
        return pickle.loads(file.read_bytes())
    data: dict[str, Any] = {}
    for number in range(COINS):
        world = what.world(number)
        (history,) = list(what.run(number).parts(days=DAYS))
        one = market_of(history, world, what.start).resample("5m")
        data[one.symbols[0]] = symbol_data(one, one.symbols[0])
    made = Market.build("sim", data, one.interval, one.start, one.end)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(made))
    return made


def real(db: Path) -> Iterator[Case]:
    from data.store import Store

    store = Store(db, read_only=True)
    for coin in ("BTC", "SOL"):
        perp = f"{coin}/USDT:USDT"
        market = with_open_interest(store, store.market(perp, "1h", "2025-03-08", "2026-02-19", venue="binance"), coin)
        about = (
            "Binance, hours, 2025-03-08 to 2026-02-19, the crash of 2025-10-10 included. Open interest is that of "
            "Hyperliquid, the only one on file for this time. The spot leg of the carry is the mark."
        )
        yield Case(f"{coin}, with open interest", about, [market], "binance", "mark")
    market = store.market("BTC/USDT:USDT", "1h", "2019-09-10", "2026-02-19", venue="binance")
    yield Case(
        "BTC, 2019 to 2026", "Binance, hours. No open interest on file. The spot leg of the carry is the perpetual's own "
        "price, so it has no basis to lose or to win.", [market], "binance",
    )  # fmt: skip
    names = sorted(
        {r["symbol"] for r in store.query(MANY).to_pylist()}
    )  # those with hourly candles and three years of settlements
    market = store.market(names, "1h", "2023-06-01", "2026-02-19", venue="binance")
    yield Case(
        f"{len(names)} coins with funding", "Binance, hours, 2023-06-01 to 2026-02-19, one account. All of them still "
        "traded at the end: coins that died are not in it. The carry as above.", [market], "binance",
    )  # fmt: skip
    names = sorted({r["symbol"] for r in store.query(FOUR_HOURS).to_pylist()})
    market = store.market(names, "4h", "2023-01-01", "2026-03-16", venue="binance")
    yield Case(
        f"The {len(names)} symbols", "Binance, bars of 4 hours, 2023-01-01 to 2026-03-16, one account. All of them still "
        "traded in March 2026, which flatters whoever is long. For most of them funding is on file for the last two "
        "months alone: funding and its strategies are not to be judged here.", [market], "binance",
    )  # fmt: skip


MANY = """
    SELECT symbol FROM funding WHERE venue = 'binance' GROUP BY symbol HAVING min(ts) < TIMESTAMP '2023-06-01'
    AND count(*) > 2400
    INTERSECT SELECT symbol FROM candles WHERE venue = 'binance' AND price = 'trade' AND interval_s = 3600
"""
FOUR_HOURS = "SELECT DISTINCT symbol FROM candles WHERE venue = 'binance' AND price = 'trade' AND interval_s = 14400"


def with_open_interest(store: Any, market: Market, coin: str) -> Market:
    """Hyperliquid's, in coins. It is the mean of the hour that it is stamped at the open of, and known at its end, so
    it is divided by the mean price of that hour."""
    table = store.query(
        "SELECT epoch_ns(ts) AS ts, epoch_ns(known_at) AS known_at, value FROM open_interest WHERE venue = 'hyperliquid' "
        "AND symbol LIKE ? ORDER BY ts", [f"{coin}/%"],
    )  # fmt: skip
    ts, known, value = (np.asarray(table.column(n).to_numpy()) for n in ("ts", "known_at", "value"))
    bar = (ts - market.start) // market.interval
    inside = (bar >= 0) & (bar < len(market))
    ts, known, value, bar = ts[inside], known[inside], value[inside].astype(float), bar[inside]
    price = 0.25 * (market.open + market.high + market.low + market.close)[bar]
    points = Points(ts, known, market.interval, {"quantity": value / price, "value": value})
    symbol = market.symbols[0]
    data = {symbol: symbol_data(market, symbol, open_interest=points)}
    return Market.build(market.venue, data, market.interval, market.start, market.end)


# ---- runs ----------------------------------------------------------------------------------------------


def line(cls: type[Strategy], case: Case) -> Line:
    made = Line(cls.__name__)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("net", "price", "funding", "costs", "beyond", "random")}
    for market in case.markets:
        if (why := _why_not(cls, market)) is not None:
            return Line(cls.__name__, why)
        fit = hedged(market, case.spot) if cls is Carry else market
        account = account_for(fit, EQUITY) if cls is Carry else _account(cls)
        one = cls()
        warm = warmup_bars(one, fit)
        result = simulate(fit, one, venue=case.venue, account=account)
        own = daily(result, fit, warm)
        others = []
        if cls.__name__ not in BASELINES and len(result.run.fills):
            for draw in range(DRAWS):
                exposure = rotated(result, fit, 1000 + draw, warm)
                other = simulate(fit, exposure=exposure, venue=case.venue, account=account)
                others.append(daily(other, fit, warm)["net"])
        random = np.mean(others, axis=0) if others else np.full(len(own["net"]), np.nan)
        for name, values in (own | {"random": random, "beyond": own["net"] - random}).items():
            parts[name].append(values)
        found = result.measures
        made.trades += int(found["trades"]) if found["trades"] == found["trades"] else 0
        made.in_market += float(np.mean(result.run.series["gross"][warm:] > 0.0)) / len(case.markets)
        made.drawdown = max(made.drawdown, abs(found["max_drawdown"]))
        made.liquidations += len(result.run.liquidations)
    made.parts = {name: np.concatenate(values) for name, values in parts.items()}
    return made


def _account(cls: type[Strategy]) -> Account:
    return Account(equity=EQUITY, mode="cross", leverage=3.0) if cls is CrowdingPortfolio else Account(equity=EQUITY)


def _why_not(cls: type[Strategy], market: Market) -> str | None:
    from backtest.needs import check

    try:
        check(cls, market)
        if cls is CrowdingPortfolio and len(market.symbols) < cls().fewest:
            raise BadInput("ranks five coins or more")
    except BadInput as error:
        text = str(error).partition(":")[0]
        return text.removeprefix(f"{cls.__name__} ")
    return None


def daily(result: Any, market: Market, warm: int) -> dict[str, np.ndarray]:
    """Returns of whole UTC days after the warm-up, and what they are made of."""
    equity, n = result.run.series["equity"], len(market)
    day = market.ts // clock.DAY
    first_bar = np.flatnonzero(np.diff(day, prepend=day[0] - 1))
    ends = np.append(first_bar[1:], n) - 1
    start = np.concatenate(([result.start_equity], equity[ends[:-1]]))
    number = np.searchsorted(first_bar, np.arange(n), side="right") - 1
    base = np.where(start > 0.0, start, np.nan)

    def by_day(bars: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        return np.nan_to_num(np.bincount(number[bars], weights=amounts, minlength=len(ends)) / base)

    fills, paid = result.run.fills, result.run.fundings
    net = np.nan_to_num(equity[ends] / base - 1.0)
    costs = -by_day(fills["bar"], fills["fee"] + fills["slippage"])
    funding = by_day(paid["bar"], paid["amount"])
    whole = slice(int(number[min(warm, n - 1)]) + 1, None)
    parts = {"net": net, "costs": costs, "funding": funding, "price": net - costs - funding}
    return {name: values[whole] for name, values in parts.items()}


# ---- numbers -------------------------------------------------------------------------------------------


def interval(x: np.ndarray, seed: int = 1) -> tuple[float, float]:
    """95 % of the yearly mean of daily returns."""
    from arch.bootstrap import StationaryBootstrap, optimal_block_length

    if len(x) < 20 or not np.isfinite(x).all() or np.ptp(x) == 0.0:
        return float("nan"), float("nan")
    block = float(optimal_block_length(x)["stationary"].iloc[0])
    block = max(1.0, block) if np.isfinite(block) else 1.0
    found = StationaryBootstrap(block, x, seed=seed).conf_int(np.mean, reps=REPS, method="percentile")
    return 365.0 * float(found[0, 0]), 365.0 * float(found[1, 0])


def table(case: Case, lines: Sequence[Line]) -> str:
    head = ("strategy", "price", "funding", "costs", "net", "95 %", "trades", "in market", "drawdown", "liquidations",
            "random", "beyond it", "95 %")  # fmt: skip
    rows = [
        f"### {case.title}",
        "",
        *wrap(case.about, 118),
        "",
        "| " + " | ".join(head) + " |",
        "|---" + "|---:" * 12 + "|",
    ]
    rows += ["| " + " | ".join(_cells(one)) + " |" for one in lines if not one.why_not]
    if out := [one for one in lines if one.why_not]:
        whys = {one.why_not: [o.name for o in out if o.why_not == one.why_not] for one in out}
        text = "; ".join(f"{', '.join(names)} ({why})" for why, names in whys.items())
        rows += ["", *wrap(f"Not run: {text}.", 118)]
    return "\n".join(rows)


def _cells(one: Line) -> list[str]:
    a_year = {name: 365.0 * float(np.mean(values)) for name, values in one.parts.items()}
    text = {name: "-" if not np.isfinite(v) else f"{v:+.1%}" for name, v in a_year.items()}
    return [
        one.name, text["price"], text["funding"], text["costs"], f"**{text['net']}**", _span(interval(one.parts["net"])),
        f"{one.trades:,}", f"{one.in_market:.0%}", f"{one.drawdown:.1%}", f"{one.liquidations:,}", text["random"],
        text["beyond"], _span(interval(one.parts["beyond"])),
    ]  # fmt: skip


def _span(bounds: tuple[float, float]) -> str:
    return "-" if not np.isfinite(bounds[0]) else f"{bounds[0]:+.0%} to {bounds[1]:+.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--db", type=Path, help="a store with the real files (tests/real_data/import_all.py makes it)")
    parser.add_argument("--cache", type=Path, help="folder that keeps the simulated markets between runs")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scoreboard.md")
    given = parser.parse_args()
    names = sorted(available("strategies"), key=lambda n: (n in BASELINES, n))
    classes = [load(name, "strategies") for name in names]
    tables = []
    for case in (simulated(given.cache), *(real(given.db) if given.db else ())):
        began = time.perf_counter()
        tables.append(table(case, [line(cls, case) for cls in classes]))
        print(tables[-1], end="\n\n", flush=True)
        print(f"  {case.title}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    if given.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(tables) + f"\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
