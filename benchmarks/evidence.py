"""What open interest says of the next unwind: published findings, tried again on real and on simulated history.

    .venv/bin/python benchmarks/evidence.py FOLDER            all tables; FOLDER has the real market files
    .venv/bin/python benchmarks/evidence.py                   the simulated market alone
    .venv/bin/python benchmarks/evidence.py FOLDER --write    and the tables into docs/events.md, and the figures

1. (a) Does open interest over its mean of 30 days, before a fall, say how much of it the fall destroys? Worst 2 % of
   six-hour falls of each market, one a day, as in Elenikal's study; errors clustered by day.
2. (b) Does the price come back after a sigma move in which open interest was flushed, more than after the same move
   without? Events against matched moves, errors by day.
3. Detectors of cascades against the truth: thresholds from some seeds, marks from others, news apart.
4. The guessed cause against the true one; the track record of precedents; regimes.

The simulated venue has no more to say of real markets than its assumptions. It says whether the methods find what is
there: its truth is known.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from leverage_experiment import BLUE, GREEN, INK, MUTED, ORANGE, Panel, drawing

from backtest.crowd import truth as crowd_truth
from backtest.crowd.as_market import START, market_of
from backtest.crowd.machine import Machine
from backtest.crowd.world import World
from data import clock
from data.market import Market
from strategies import detectors, events
from strategies.events.series import Series
from strategies.events.studying import Paths, draws_of, interval
from strategies.regimes import Switch, regimes
from strategies.signals import SIGNALS, all_features
from strategies.signals.buildup import oi_build
from strategies.signals.funding import ends_of

DOCS = Path(__file__).resolve().parents[1] / "docs"
TRAIN, TEST = range(100, 103), range(200, 208)  # seeds; nothing was looked at on the second before the rules stood
DAYS = 180
FALL, AFTER, WORST, APART = 6, 24, 0.02, 24  # hours, part, hours
LEADS = (0.25, 0.5, 1.0, 2.0, 4.0, 24.0)  # hours after the event
Table = pd.DataFrame


# ---- markets ------------------------------------------------------------------------------------------------------


def simulated(seeds: Any) -> Iterator[tuple[Table, Market]]:
    """The cascades as they were, and the market as it could be seen."""
    for seed in seeds:
        world = World()
        history = Machine(world, seed).run(days=DAYS)
        yield rows_of(history), market_of(history, world)


def hyperliquid(folder: Path, symbol: str, bars: str) -> Market:
    """Hyperliquid's open interest in coins on Binance's bars.

    An hour's stamp is of its open and its value moves with the hour's prices: it is over the hour's mean price, and
    lies in the hour itself, which is right for a study and not for trading: it was known an hour later.
    """
    oi = pl.read_parquet(folder / "open_interest" / "hyperliquid_1h.parquet").filter(pl.col("symbol") == symbol)
    hourly = _candles(folder, "1h", symbol)
    mean = hourly[["open", "high", "low", "close"]].mean(axis=1).rename("mean")
    held = oi.to_pandas().set_index("ts").join(mean, how="inner")
    first, last = held.index.min(), held.index.max()
    points = pd.DataFrame(
        {"ts": held.index + pd.Timedelta("59min"), "quantity": (held["oi_usd"] / held["mean"]).to_numpy()}
    )
    candles = _candles(folder, bars, symbol)
    candles = candles[(candles.index >= first) & (candles.index <= last)]
    return Market.from_frames(candles, open_interest=points, symbol=f"{symbol}/USDT:USDT", venue="binance")


def panel(folder: Path) -> Market:
    """BTC by the hour with open interest and liquidations of Binance, as an aggregator has them."""
    frame = pl.read_parquet(folder / "liquidations" / "coinglass_btc_panel_1h.parquet").to_pandas().set_index("ts")
    names = {f"price_{p}": p for p in ("open", "high", "low", "close")}
    candles = frame[list(names)].rename(columns=names)
    candles["high"] = candles[["open", "high", "close"]].max(axis=1)
    candles["low"] = candles[["open", "low", "close"]].min(axis=1)
    inside = frame.index + pd.Timedelta("59min")
    points = pd.DataFrame({"ts": inside, "quantity": (frame["oi_close"] / frame["price_close"]).to_numpy()})
    forced = pd.concat([
        pd.DataFrame({"ts": inside, "position": side, "notional": frame[f"liquidation_{side}_usd"].to_numpy()})
        for side in ("long", "short")
    ])  # fmt: skip
    return Market.from_frames(
        candles, open_interest=points.dropna(), liquidations=forced.dropna(), symbol="BTC/USDT:USDT"
    )


def daily(folder: Path) -> Market:
    """BTC by the day, open interest of all venues as stamped at the day's open: the change of a day is the next stamp."""
    frame = (
        pl.read_parquet(folder / "open_interest" / "btc_all_venues_1d.parquet").to_pandas().set_index("ts").sort_index()
    )
    bars = (
        _candles(folder, "1h", "BTC")
        .resample("1D")
        .agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})
    )
    bars = bars[bars.index >= frame.index.min()].dropna()
    held = (frame["oi_usd"].shift(-1) / bars["close"]).dropna()
    points = pd.DataFrame({"ts": held.index + pd.Timedelta("23h"), "quantity": held.to_numpy()})
    return Market.from_frames(bars, open_interest=points, symbol="BTC/USDT:USDT", venue="all")


def _candles(folder: Path, bars: str, symbol: str) -> pd.DataFrame:
    frame = pl.read_parquet(folder / "candles" / f"binance_{bars}.parquet").filter(pl.col("symbol") == f"{symbol}USDT")
    made = frame.select("ts", "open", "high", "low", "close", "volume").to_pandas().set_index("ts").sort_index()
    return made[~made.index.duplicated()]


# ---- (a) build-up and what the next shock destroys ------------------------------------------------------------------


def falls(market: Market, name: str, hours: int = FALL) -> Table:
    """The worst falls of a market, one a day: leverage before them, open interest that went, how deep they were."""
    one = Series(market, market.symbols[0])
    step = clock.HOUR if market.interval < clock.DAY else clock.DAY
    span, month = max(hours * clock.HOUR // market.interval, 1), 30 * clock.DAY // market.interval
    close, held = one["close"], one.held
    build = np.asarray(oi_build(held, month))
    move, gone = (np.full(len(one), np.nan) for _ in range(2))
    move[span:] = 100.0 * np.log(close[span:] / close[:-span])
    gone[span:] = 100.0 * (held[span:] / held[:-span] - 1.0)
    known = np.isfinite(move) & np.isfinite(gone)
    known[span:] &= np.isfinite(build[:-span])
    known[:span] = False
    cut, rows, last = np.nanquantile(move[known], WORST), [], -(10**9)
    apart = max(APART * clock.HOUR // market.interval, 1) if step == clock.HOUR else 1
    for i in np.flatnonzero(known & (move <= cut)):
        if i - last >= apart:
            last = i
            depth = 100.0 * np.log(one["low"][i - span + 1 : i + 1].min() / close[i - span])
            rows.append((name, int(market.ts[i]) // clock.DAY, build[i - span], gone[i], depth, move[i]))
    return pd.DataFrame(rows, columns=["market", "day", "build", "gone", "depth", "move"])


def regressed(label: str, rows: Table) -> dict[str, Any]:
    """Of what went on leverage before, without and with the depth and the market; and of the depth itself."""
    dummies = {f"m{k}": (rows["market"] == m).astype(float) for k, m in enumerate(rows["market"].unique()[1:])}
    plain = events.clustered(rows["gone"], {"build": rows["build"]}, rows["day"])
    full = events.clustered(rows["gone"], {"build": rows["build"], "depth": rows["depth"], **dummies}, rows["day"])
    deep = events.clustered(rows["depth"], {"build": rows["build"], **dummies}, rows["day"])
    b = plain.loc["build"]
    return {
        "market": label, "falls": len(rows), "days": rows["day"].nunique(),
        "OI gone on build": f"{b['b']:+.1f} ({b['low']:+.1f} to {b['high']:+.1f})", "t": f"{b['t']:+.1f}",
        "with depth and market, t": f"{full.loc['build', 't']:+.1f}", "depth on build, t": f"{deep.loc['build', 't']:+.1f}",
    }  # fmt: skip


def finding_a(markets: Mapping[str, Market]) -> Table:
    parts = {name: falls(market, name) for name, market in markets.items()}
    made = [regressed(name, rows) for name, rows in parts.items() if len(rows) >= 15]
    return pd.DataFrame(made)


def pooled(label: str, parts: list[Table]) -> list[dict[str, Any]]:
    """Together, and by halves of the time."""
    rows = pd.concat(parts, ignore_index=True)
    middle = rows["day"].median()
    return [
        regressed(label, rows),
        regressed(f"{label}, first half", rows[rows["day"] <= middle]),
        regressed(f"{label}, second half", rows[rows["day"] > middle]),
    ]


# ---- (b) reversal after a flush --------------------------------------------------------------------------------------


def finding_b(
    label: str, markets: list[Market], rule: events.Unwind, placebo: events.SameMove, after: str
) -> list[dict[str, Any]]:
    """Events against the same move without the flush, both sides, pooled over markets; basis points."""
    around = events.Around(before="1h", after=after)
    groups: list[list[Any]] = [[], []]
    hours: Any = None
    for k, market in enumerate(markets):
        found = events.find(market, rule)
        drawn = placebo.times(market, found, 0) if len(found) else ()
        if not len(found) or not len(drawn):
            continue
        made = events.study(market, found, around=around, placebo=placebo)
        hours = made.table["hours"].to_numpy()
        for group, paths in zip(groups, (made.events, made.placebo), strict=True):
            assert paths is not None
            group.append((paths.values, paths.days + (k * 10**6 if label.startswith("simulated") else 0)))
    if hours is None:
        return []
    both = [Paths(np.concatenate([v for v, _ in g]), np.concatenate([d for _, d in g])) for g in groups]
    drawn_means = draws_of(both, 4000, 0)
    low, high = interval(drawn_means[0] - drawn_means[1], 0.9)
    out = []
    for lead in LEADS:
        place = np.flatnonzero(np.isclose(hours, lead))
        if not len(place):
            continue
        j = int(place[0])
        values, twins = both[0].values[:, j], both[1].values[:, j]
        y, x = np.concatenate((values, twins)), np.repeat([1.0, 0.0], [len(values), len(twins)])
        t = events.clustered(y, {"flush": x}, np.concatenate((both[0].days, both[1].days))).loc["flush", "t"]
        mean, other = np.nanmean(values), np.nanmean(twins)
        out.append({
            "market": label, "after": f"{lead:g} h", "events": int(np.isfinite(values).sum()),
            "days": len(np.unique(both[0].days)), "placebos": int(np.isfinite(twins).sum()),
            "flush, bp": f"{1e4 * mean:+.0f}", "no flush, bp": f"{1e4 * other:+.0f}",
            "difference, bp": f"{1e4 * (mean - other):+.0f} ({1e4 * low[j]:+.0f} to {1e4 * high[j]:+.0f})", "t": f"{t:+.1f}",
        })  # fmt: skip
    return out


# ---- detectors ---------------------------------------------------------------------------------------------------------


def tallied(tests: list[tuple[Table, Market]]) -> tuple[Table, Table]:
    """Thresholds from the seeds of TRAIN, marks from those of TEST: a row a detector and threshold; and the causes."""
    pools: dict[str, list[Any]] = {}
    for _, market in simulated(TRAIN):
        for name, values in all_features(market.resample("15m"), detectors.DETECTORS).items():
            pools.setdefault(name, []).append(values)
    levels = detectors.levels_of({name: np.concatenate(parts) for name, parts in pools.items()})
    total: dict[tuple[str, float], detectors.Tally] = {}
    causes: Table | None = None
    for cascades, market in tests:
        truth, bars = detectors.Truth.of_rows(cascades), market.resample("15m")
        for name, values in all_features(bars, detectors.DETECTORS).items():
            for level, tally in detectors.score(values, ends_of(bars), truth, levels[name]).items():
                total[name, level] = total.get((name, level), detectors.Tally()) + tally
        counts = events.agreement(events.find(market, SIMULATED_RULE), cascades)
        causes = counts if causes is None else causes + counts
    table = pd.DataFrame([{"detector": n, "threshold": level, **t.row()} for (n, level), t in total.items()])
    assert causes is not None
    return table, causes


def rows_of(history: Any) -> Table:
    """Cascades as the store has them."""
    found = crowd_truth.cascades(history)
    minute = START + (history.first + np.stack((found.start, found.end))) * clock.MINUTE
    cause = np.where(found.news, "news", "endogenous")
    return pd.DataFrame({
        "ts": minute[0].view("datetime64[ns]"), "until": minute[1].view("datetime64[ns]"),
        "label": np.char.add(cause, np.where(found.side > 0, " long", " short")),
    })  # fmt: skip


SIMULATED_RULE = events.Unwind(horizon="30m", flush=0.02, apart="2h")
SIMULATED_TWIN = events.SameMove(SIMULATED_RULE, kept=0.005)
REAL_RULE = events.Unwind(horizon="1h", window="7d", sigmas=3.0, move=0.005, flush=0.02, apart="12h")
REAL_TWIN = events.SameMove(REAL_RULE, kept=0.01)


def detector_lines(table: Table) -> list[str]:
    shown = table.assign(
        threshold=table["threshold"].map("{:.3g}".format),
        recall=[f"{c}/{n} ({r:.0%})" for c, n, r in zip(table["caught"], table["cascades"], table["recall"], strict=True)],
        covered=table["covered"].map("{:.0%}".format), precision=table["precision"].map("{:.0%}".format),
        chance=table["base_precision"].map("{:.0%}".format), p=table["p"].map("{:.3f}".format),
        false=table["false_a_month"].map("{:.1f}".format), lead=table["lead_h"].map("{:.1f}".format),
        news=[f"{c}/{n} ({r:.0%})" for c, n, r in zip(table["news_caught"], table["news"], table["news_recall"], strict=True)],
        news_chance=table["news_p"].map("{:.2f}".format),
    )  # fmt: skip
    names = {
        "detector": "detector", "threshold": "threshold", "covered": "time in alarm", "recall": "caught", "p": "by luck",
        "precision": "precision", "chance": "at random", "false": "false a month", "lead": "lead, h", "news": "news caught",
        "news_chance": "by luck ",
    }  # fmt: skip
    return markdown(shown[list(names)].rename(columns=names))


# ---- the rest ----------------------------------------------------------------------------------------------------------


def records(markets: Mapping[str, Market]) -> Table:
    """The track record of precedents, a day ahead."""
    rows = []
    for name, market in markets.items():
        table = events.track_record(market).table
        for outcome, words in (("return", "return"), ("fall", "deepest fall"), ("oi", "least open interest")):
            r = table.loc[outcome]
            right = f"{r['right']:.0%} ± {r['right_error']:.0%} ({r['right_plain']:.0%})" if outcome == "return" else ""
            rows.append({
                "market": name, "outcome": words, "forecasts": f"{r['rows']:.0f}", "apart": f"{r['independent']:.0f}",
                "sign right (plain)": right, "rank correlation (plain)": f"{r['rank_correlation']:+.2f} ({r['rank_correlation_plain']:+.2f})",
                "in the 80 % band (plain)": f"{r['in_band']:.0%} ({r['in_band_plain']:.0%})",
                "mean error over plain": f"{r['error'] / r['error_plain']:.2f}",
            })  # fmt: skip
    return pd.DataFrame(rows)


def regime_rows(markets: Mapping[str, Market]) -> Table:
    """Is the next bar wilder where the filtered probability says so?"""
    rows = []
    for name, market in markets.items():
        made = regimes(market, Switch(window="90d", every="15d", starts=2))
        state, r = made.state[:-1], np.abs(np.diff(np.log(np.asarray(market.close))))
        quiet, wild = (r[state == k] for k in (0.0, 1.0))
        rows.append({
            "market": name, "fits": len(made.fits), "bars": int(np.isfinite(state).sum()),
            "in the wild state": f"{(state == 1.0).sum() / max(np.isfinite(state).sum(), 1):.0%}",
            "size of the next return, quiet": f"{1e4 * np.nanmean(quiet):.0f} bp", "wild": f"{1e4 * np.nanmean(wild):.0f} bp",
        })  # fmt: skip
    return pd.DataFrame(rows)


def leads(markets: Mapping[str, Market]) -> Table:
    """Granger tests both ways and the response of the price to unexpected open interest, hourly."""
    rows = []
    for name, market in markets.items():
        one = Series(market, market.symbols[0])
        r = np.diff(np.log(one["close"]), prepend=np.nan)
        surprise = np.asarray(SIGNALS["unexpected_oi"].function(one.held, 720, 1))
        jumps = np.abs(r)
        there, back = (
            events.granger(a, b, 6)["p"].iloc[-1] for a, b in ((np.abs(surprise), jumps), (jumps, np.abs(surprise)))
        )
        made = events.local_projections(r, surprise, horizons=24, lags=4)
        cells = {
            f"after {h} h": "{:+.3f} ({:+.3f} to {:+.3f})".format(*made.loc[h, ["response", "low", "high"]])
            for h in (0, 1, 6, 24)
        }
        rows.append(
            {
                "market": name,
                "hours": made.attrs["n"],
                "OI surprise leads the size of moves, p": f"{there:.3f}",
                "the other way, p": f"{back:.3f}",
                **cells,
            }
        )
    return pd.DataFrame(rows)


# ---- tables and figures ------------------------------------------------------------------------------------------------


def markdown(table: Table) -> list[str]:
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|" + "---|" * len(table.columns)]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]


def detector_figure(table: Table) -> str:
    """Caught against time in alarm; on the diagonal a detector knows nothing."""
    marks = [(v, f"{v:.0%}") for v in (0.0, 0.25, 0.5, 0.75, 1.0)]
    panels = []
    best = ["oi_build", "volatility_ratio", "absorption_down", "liquidation_excitation"]
    for k, (column, title) in enumerate(
        (("recall", "Cascades from within, caught"), ("news_recall", "News cascades, caught"))
    ):
        one = Panel((70 + 440 * k, 80, 340, 300), (0.0, 1.0), (0.0, 1.0))
        one.frame(title, marks, marks, "part of time in alarm")
        one.curve([(0.0, 0.0), (1.0, 1.0)], MUTED, 1.2, "4 3")
        for name, colour in zip(best, (BLUE, ORANGE, GREEN, INK), strict=True):
            rows = table[table["detector"] == name].sort_values("covered")
            one.curve(list(zip(rows["covered"], rows[column], strict=True)), colour)
            one.note(80 + 440 * k, 98 + 17 * best.index(name), name, colour)
        panels.append(one)
    caption = (
        f"Simulated market, {len(TEST)} seeds of {DAYS} days; alarms last a day. Dashed: what luck would catch.",
        "Right: news comes from outside, so nothing should lie well above the dashed line.",
    )
    return drawing(920, 490, "What detectors catch, and what they cannot", caption, panels)


def keep(page: Path, tables: Mapping[str, list[str]]) -> None:
    made = page.read_text(encoding="utf-8")
    for name, lines in tables.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        head, rest = made.split(begin)
        made = f"{head}{begin}\n" + "\n".join(lines) + f"\n{end}{rest.split(end)[1]}"
    page.write_text(made, encoding="utf-8")


def real_tables(folder: Path) -> dict[str, list[str]]:
    symbols = ("BTC", "ETH", "SOL", "DOGE")
    hourly = {f"{s}, Hyperliquid": hyperliquid(folder, s, "1h") for s in symbols}
    parts = [falls(market, name) for name, market in hourly.items()]
    rows = [regressed(str(p["market"].iloc[0]), p) for p in parts] + pooled("these four", parts)
    rows.append(regressed("BTC, Coinglass panel", falls(panel(folder), "panel")))
    days = falls(daily(folder), "BTC, all venues, daily", 24)
    rows += pooled("BTC, all venues, daily", [days])
    flush = []
    for label, markets in (
        ("real, hourly (4 symbols)", list(hourly.values())),
        ("real, 5-minute prices (BTC, SOL)", [hyperliquid(folder, s, "5m") for s in ("BTC", "SOL")]),
    ):
        flush += finding_b(label, markets, REAL_RULE, REAL_TWIN, "1d")
    return {
        "a-real": markdown(pd.DataFrame(rows)),
        "b-real": markdown(pd.DataFrame(flush)),
        "precedents-real": markdown(records(hourly)),
        "regimes-real": markdown(regime_rows({n: m.resample("4h") for n, m in hourly.items()})),
        "leads-real": markdown(leads(hourly)),
    }


def simulated_tables() -> tuple[dict[str, list[str]], Table]:
    tests = list(simulated(TEST))
    minute = {f"seed {seed}": market for seed, (_, market) in zip(TEST, tests, strict=True)}
    hourly = {name: market.resample("1h") for name, market in minute.items()}
    parts = [
        falls(market, name).assign(day=lambda f, k=k: f["day"] + k * 10**5)
        for k, (name, market) in enumerate(hourly.items())
    ]
    rows = [regressed(f"simulated, {len(parts)} seeds", pd.concat(parts, ignore_index=True))]
    some = dict(list(hourly.items())[:3])
    table, causes = tallied(tests)
    return {
        "a-simulated": markdown(pd.DataFrame(rows)),
        "b-simulated": markdown(pd.DataFrame(finding_b("simulated", [m.resample("5m") for m in minute.values()], SIMULATED_RULE, SIMULATED_TWIN, "4h"))),
        "detectors": detector_lines(table),
        "causes": markdown(causes.rename_axis("guessed").reset_index().rename(columns={n: f"truly {n}" for n in causes.columns})),
        "precedents-simulated": markdown(records(some)),
    }, table  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="real market files; without it the simulated market alone")
    parser.add_argument("--write", action="store_true", help="the tables into docs/events.md, and the figure")
    parser.add_argument("--real-only", action="store_true", help="leave the simulated market out")
    args = parser.parse_args()
    made: dict[str, list[str]] = real_tables(args.folder) if args.folder else {}
    marks: Table | None = None
    if not args.real_only:
        tables, marks = simulated_tables()
        made |= tables
    for name, lines in made.items():
        print(f"\n{name}\n" + "\n".join(lines))
    if args.write:
        keep(DOCS / "events.md", made)
        if marks is not None:
            (DOCS / "figures" / "events_detectors.svg").write_text(detector_figure(marks), encoding="utf-8")


if __name__ == "__main__":
    main()
