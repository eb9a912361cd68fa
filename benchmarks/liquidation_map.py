"""How good the liquidation map is: `python benchmarks/liquidation_map.py [FOLDER]`. Prints the tables of its page.

1. Against truth. Simulated venues (the default world, 90 days, a look every 5 days from day 30) know every account's
   level. Seeds 1 to 4 are for looking: the mixture of leverage and its half-life are measured on them. Seeds 101 to 108
   are for judging: nothing is chosen on them.
2. Afterwards. What was liquidated in the next day and week against what the map had there, same seeds.
3. By the hour. How much of each hour's liquidations follows from the hour's move alone, and how much the map adds, of
   simulated venues and, with FOLDER (real market files), of BTC on Binance: fitted on the first half, judged on the
   second; intervals by resampling days.

Nothing is asserted.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from backtest.crowd import facts
from backtest.crowd import ladder_errors as le
from backtest.crowd.facts import Floats
from backtest.crowd.kernel import layout as at
from backtest.crowd.ladder import (
    LONG,
    SEEN,
    SHORT,
    TEXTBOOK,
    Levels,
    LiquidationMap,
    Mixture,
    Observed,
    liquidation_maps,
    liquidation_path,
    observed_of,
)
from backtest.crowd.machine import History, Machine
from backtest.crowd.world import World
from backtest.venue import venue

LOOKING, JUDGING = range(1, 5), range(101, 109)
DAYS, EVERY, FIRST_LOOK = 90, 5, 30
HALF_LIVES = (3.0, 6.0, 12.0, 24.0, 48.0, 96.0)
EDGES = (1.0, 1.6, 2.4, 3.5, 4.5, 6.0, 8.0, 11.0, 15.0, 22.0, 35.0, 150.0)
SEEN_ALL = Levels()
KNOWN = Levels(levered=1.0, tiers=venue("sim").tiers_for("BTC"), position=20_000.0)
MMR = 0.004
RESAMPLES = 2_000
HOUR = 3_600_000_000_000


# --- simulated venues ----------------------------------------------------------------------------


class Run(NamedTuple):
    history: History
    seen: Observed
    ends: list[int]  # of the looks, nanoseconds
    steps: list[int]  # rows of the history
    truth: list[LiquidationMap]
    halves: list[tuple[LiquidationMap, LiquidationMap]]
    accounts: list[Floats]  # at each look: coins, level, entry, of the crowd


def run(seed: int) -> Run:
    machine, parts = Machine(World(), seed=seed), []
    truth, halves, accounts, steps = [], [], [], []
    for day in range(EVERY, DAYS + 1, EVERY):
        parts.append(machine.run(days=EVERY))
        if day >= FIRST_LOOK:
            truth.append(le.true_map(machine))
            halves.append((half(machine, 0), half(machine, 1)))
            a = machine.accounts
            crowd = (a[at.KIND] == at.RETAIL) & (a[at.LIQ] > 0.0)
            accounts.append(a[:, crowd][[at.Q, at.LIQ, at.ENTRY]])
            steps.append(sum(len(part) for part in parts))
    history = joined(parts)
    minutes = history.step_minutes
    ends = [round((history.first + n) * minutes * 60e9) for n in steps]
    return Run(history, observed_of(history), ends, steps, truth, halves, accounts)


def half(machine: Machine, which: int) -> LiquidationMap:
    """Every other account: two such halves differ by chance alone."""
    other = machine.copy()
    other.accounts[at.LIQ, which::2] = np.nan
    return le.true_map(other)


def joined(parts: Sequence[History]) -> History:
    names = ("bars", "events", "settled", "rate", "hours", "price", "news")
    whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return replace(parts[0], **whole)


def measured(runs: Sequence[Run]) -> Mixture:
    """Leverage of the crowd, from entries and levels of the accounts at all looks."""
    leverage, weight = [], []
    for one in runs:
        for q, level, entry in one.accounts:
            side = np.sign(q)
            leverage.append(1.0 / np.clip(side * (1.0 - level / entry * (1.0 - side * MMR)), 1e-3, None))
            weight.append(np.abs(q) * entry / (np.abs(q) * entry).sum())
    lev, part = np.concatenate(leverage), np.concatenate(weight)
    inside = [(lev >= low) & (lev < high) for low, high in itertools.pairwise(EDGES)]
    shares = tuple(
        (float(np.average(lev[some], weights=part[some])), float(part[some].sum())) for some in inside if some.any()
    )
    return Mixture(shares, spread=0.12)


def maps_of(one: Run, leverage: Mixture, levels: Levels, *, flat: bool = False) -> list[LiquidationMap]:
    seen = one.seen
    if flat:
        seen = seen._replace(open_interest=np.full(len(seen.close), np.nanmean(seen.open_interest)))
    return liquidation_maps(seen, [np.datetime64(end, "ns") for end in one.ends], leverage=leverage, levels=levels)


def every_error(runs: Sequence[Run], maps: Sequence[Sequence[LiquidationMap]]) -> list[le.MapErrors]:
    return [
        side
        for one, made in zip(runs, maps, strict=True)
        for estimated, truth in zip(made, one.truth, strict=True)
        for side in le.errors(estimated, truth)
    ]


def row(label: str, found: Sequence[le.MapErrors]) -> str:
    ratios = np.array([one.ratio for one in found])
    cells = []
    for column in ratios.T:
        typical = np.nanmedian(np.abs(np.log(np.maximum(column, 1e-3))))
        cells.append(f"{np.nanmedian(column):.2f} ({math.exp(typical):.1f}x)")
    shape = [np.nanmedian([getattr(one, name) for one in found]) for name in ("overlap", "rank", "distance", "missed")]
    told = [
        f"{shape[0]:.2f}",
        "-" if math.isnan(shape[1]) else f"{shape[1]:+.2f}",
        f"{shape[2] * 100:.1f} %",
        f"{shape[3]:.0%}",
    ]
    return f"| {label} | " + " | ".join(cells + told) + " |"


def coins_of(one: Run) -> list[tuple[float, float]]:
    """Open interest at each look, longs and shorts of the crowd."""
    out = []
    for step in one.steps:
        bars = one.history.bars[:step]
        share = bars[:, at.SHARE_LONG]
        share = share[np.isfinite(share)][-1]
        held = bars[-1, at.OI]
        out.append((held * min(share / (1.0 - share), 1.0), held * min((1.0 - share) / share, 1.0)))
    return out


def against_truth(looking: Sequence[Run], judging: Sequence[Run], known: Mixture) -> None:
    with_known = [maps_of(one, known, KNOWN) for one in judging]
    others = with_known[1:] + with_known[:1]
    placebo = [
        [other.moved(t.price) for other, t in zip(made, one.truth, strict=True)]
        for made, one in zip(others, judging, strict=True)
    ]

    def at_price(leverage: Mixture, levels: Levels) -> list[list[LiquidationMap]]:
        return [
            [
                le.map_at_price(t.price, coins, leverage, levels)
                for t, coins in zip(one.truth, coins_of(one), strict=True)
            ]
            for one in judging
        ]

    uniform = [
        [le.uniform_map(t.price, one.history.bars[n - 1, at.OI]) for t, n in zip(one.truth, one.steps, strict=True)]
        for one in judging
    ]
    halves = [side for one in judging for a, b in one.halves for side in le.errors(a, b)]
    lists = {
        "map, the crowd's own mixture": with_known,
        "the same with open interest held constant": [maps_of(one, known, KNOWN, flat=True) for one in judging],
        "the crowd's own mixture, no history": at_price(known, KNOWN),
        "placebo: the map of another run": placebo,
        "map, default mixture": [maps_of(one, SEEN, SEEN_ALL) for one in judging],
        "default mixture, no history": at_price(SEEN, SEEN_ALL),
        "map, textbook tiers": [maps_of(one, replace(TEXTBOOK, half_life=known.half_life), KNOWN) for one in judging],
        "textbook tiers at the price": at_price(TEXTBOOK, KNOWN),
        "uniform": uniform,
    }
    print(f"\nAgainst truth: {len(judging)} runs, {len(judging[0].truth)} looks each, both sides; medians")
    print("| map | within 2 % | 5 % | 10 % | 20 % | overlap | rank | moved | missed |")
    print("|---|---|---|---|---|---|---|---|---|")
    for label, maps in lists.items():
        print(row(label, every_error(judging, maps)))
    print(row("one half of the accounts for the other", halves))


# --- afterwards ----------------------------------------------------------------------------------


class After(NamedTuple):
    realised: list[float]
    met: dict[str, list[float]]
    overlap: dict[str, list[float]]


def afterwards(judging: Sequence[Run], known: Mixture, hours: int) -> None:
    names = ("map, the crowd's own mixture", "the crowd's own mixture, no history", "map, default mixture")
    after = After([], {name: [] for name in (*names, "move x open interest")}, {name: [] for name in names})
    for one in judging:
        coins = coins_of(one)
        sets = (
            maps_of(one, known, KNOWN),
            [le.map_at_price(t.price, c, known, KNOWN) for t, c in zip(one.truth, coins, strict=True)],
            maps_of(one, SEEN, SEEN_ALL),
        )
        for k, step in enumerate(one.steps):
            end = step + hours * 60
            if end <= len(one.history):
                look_after(one, after, step, end, dict(zip(names, [maps[k] for maps in sets], strict=True)))
    realised = np.array(after.realised)
    print(f"\nLiquidated in the next {hours} h where the price went (moves of 1 % or more): {len(realised)} cases")
    print("| estimate | over what was liquidated, median | rank correlation over cases | overlap by level, median |")
    print("|---|---|---|---|")
    for name, met in after.met.items():
        values = np.array(met)
        ratio = np.median(values[realised > 0] / realised[realised > 0]) if name in after.overlap else math.nan
        shape = np.nanmedian(after.overlap[name]) if name in after.overlap else math.nan
        print(f"| {name} | {ratio:.2f} | {spearman(values, realised):+.2f} | {shape:.2f} |")


def look_after(one: Run, after: After, step: int, end: int, maps: dict[str, LiquidationMap]) -> None:
    bars, events = one.history.bars[step:end], one.history.events
    price = float(one.history.bars[step - 1, at.M_CLOSE])
    first = one.history.first
    inside = (events[:, at.E_STEP] >= first + step) & (events[:, at.E_STEP] < first + end)
    forced = events[inside & (events[:, at.E_KIND] == at.LIQUIDATION_EVENT)]
    for side, sign in ((LONG, 1.0), (SHORT, -1.0)):
        reached = bars[:, at.M_LOW].min() if side == LONG else bars[:, at.M_HIGH].max()
        move = abs(math.log(reached / price))
        if sign * (price - reached) <= 0.0 or move < 0.01:
            continue
        mine = forced[forced[:, at.E_QUANTITY] * sign > 0.0]
        notional = np.abs(mine[:, at.E_QUANTITY]) * mine[:, at.E_MARK]
        bins = math.ceil(move / 0.005)
        away = sign * np.log(price / mine[:, at.E_MARK]) / 0.005
        there = (away >= 0) & (away < bins)
        true = np.bincount(away[there].astype(np.int64), notional[there], bins)
        after.realised.append(float(true.sum()))
        after.met["move x open interest"].append(move * float(one.history.bars[step - 1, at.OI]) * price)
        for name, made in maps.items():
            estimated = made.ladder(math.expm1(bins * 0.005))[2 + side]
            after.met[name].append(
                float(made.within(1.0 - math.exp(-move) if side == LONG else math.expm1(move))[side])
            )
            after.overlap[name].append(le.overlap(estimated[:bins], true) if true.sum() > 0.0 else math.nan)


# --- by the hour ---------------------------------------------------------------------------------


class Hours(NamedTuple):
    """One side, one element an hour."""

    day: Floats
    forced: Floats
    move: Floats  # log, from the last close to the extreme
    held: Floats  # open interest, quote currency, an hour before
    volatility: Floats
    met: dict[str, Floats]


FLOOR, MOVE_FLOOR, MET_FLOOR = 1e4, 2e-4, 1e5  # in logarithms: a quiet hour is not minus infinity


class Variant(NamedTuple):
    leverage: Mixture
    levels: Levels
    flat: bool = False  # open interest held constant


def variants(known: Mixture | None) -> dict[str, Variant]:
    out = {} if known is None else {"map, the crowd's own mixture": Variant(known, KNOWN)}
    return {
        **out,
        "map": Variant(SEEN, SEEN_ALL),
        "map, open interest held constant": Variant(SEEN, SEEN_ALL, True),
        "map, textbook tiers": Variant(TEXTBOOK, SEEN_ALL),
    }


def by_hour(seen: Observed, forced: tuple[Floats, Floats], scale: float, known: Mixture | None) -> tuple[Hours, Hours]:
    returns = np.append(np.nan, np.diff(np.log(seen.close)))
    spread = np.array([np.nanstd(returns[max(0, i - 24) : i]) if i > 24 else np.nan for i in range(len(returns))])
    held = np.append(np.nan, (seen.open_interest * seen.close)[:-1])
    before = np.append(np.nan, seen.close[:-1])
    flat = seen._replace(
        open_interest=np.where(np.isfinite(seen.open_interest), np.nanmean(seen.open_interest), np.nan)
    )
    paths = {
        name: liquidation_path(flat if one.flat else seen, leverage=one.leverage, levels=one.levels)
        for name, one in variants(known).items()
    }
    sides = []
    for side in (LONG, SHORT):
        move = np.log(before / seen.low) if side == LONG else np.log(seen.high / before)
        met = {name: (p.long_triggered, p.short_triggered)[side] / scale for name, p in paths.items()}
        day = (seen.ts // (24 * HOUR)).astype(np.float64)
        sides.append(Hours(day, forced[side] / scale, np.maximum(move, 0.0), held / scale, spread, met))
    return sides[0], sides[1]


def part(hours: Hours, rows: Floats) -> Hours:
    some = Hours(*(column[rows] for column in hours[:5]), {name: met[rows] for name, met in hours.met.items()})
    good = np.isfinite(np.column_stack((*some[:5], *some.met.values()))).all(axis=1) & (some.volatility > 0.0)
    return Hours(*(column[good] for column in some[:5]), {name: met[good] for name, met in some.met.items()})


def designs(hours: Hours) -> dict[str, Floats]:
    f, one = np.log(hours.move + MOVE_FLOOR), np.ones(len(hours.move))
    base = np.column_stack((one, f, f**2, f**3, np.log(hours.held), np.log(hours.volatility)))
    out = {"|move| x open interest": np.column_stack((one, np.log(hours.move * hours.held + FLOOR)))}
    out["move, open interest, volatility (A)"] = base
    for name, met in hours.met.items():
        out[f"{name}, alone"] = np.column_stack((one, np.log(met + MET_FLOOR)))
        out[f"A and {name}"] = np.column_stack((base, np.log(met + MET_FLOOR)))
    return out


def judged(first: Hours, second: Hours) -> dict[str, tuple[float, float, Floats]]:
    """R2 on the second half with coefficients of the first; rank correlation; squared errors."""
    target, wanted = np.log(first.forced + FLOOR), np.log(second.forced + FLOOR)
    out = {}
    fitted, held = designs(first), designs(second)
    for name, columns in fitted.items():
        weights = np.linalg.lstsq(columns, target, rcond=None)[0]
        told = held[name] @ weights
        wrong = (wanted - told) ** 2
        out[name] = (1.0 - wrong.sum() / ((wanted - wanted.mean()) ** 2).sum(), spearman(told, wanted), wrong)
    return out


def gain(second: Hours, base: Floats, other: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """95 % interval of the gain in R2, days resampled."""
    wanted = np.log(second.forced + FLOOR)
    spread = (wanted - wanted.mean()) ** 2
    _, place = np.unique(second.day, return_inverse=True)
    days = int(place.max()) + 1
    sums = np.array([np.bincount(place, column, days) for column in (base - other, spread)])
    picks = rng.integers(0, days, (RESAMPLES, days))
    values = sums[0][picks].sum(axis=1) / sums[1][picks].sum(axis=1)
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def print_hours(label: str, sides: Sequence[tuple[Hours, Hours]]) -> None:
    """(first, second) of longs and of shorts."""
    rng = np.random.default_rng(5)
    print(f"\n{label}")
    print(
        "| what explains the hour's liquidations | longs: R2 | rank | gain over A | shorts: R2 | rank | gain over A |"
    )
    print("|---|---|---|---|---|---|---|")
    found = [judged(*pair) for pair in sides]
    for name in found[0]:
        cells = []
        for one, (_, second) in zip(found, sides, strict=True):
            base, (r2, corr, wrong) = one["move, open interest, volatility (A)"][2], one[name]
            low, high = gain(second, base, wrong, rng)
            told = f"{r2 - one['move, open interest, volatility (A)'][0]:+.3f} ({low:+.3f} to {high:+.3f})"
            cells += [f"{r2:.3f}", f"{corr:.3f}", told if name.startswith("A and") else "-"]
        print(f"| {name} | " + " | ".join(cells) + " |")
    for side, one, (_, second) in zip(("longs", "shorts"), found, sides, strict=True):
        flat, full = one["A and map, open interest held constant"], one["A and map"]
        low, high = gain(second, flat[2], full[2], rng)
        print(f"  what open interest itself adds, {side}: {full[0] - flat[0]:+.4f} ({low:+.4f} to {high:+.4f})")
    for name in sides[0][0].met:
        scales = [[h.forced.sum() / h.met[name].sum() for h in pair] for pair in sides]
        print(
            f"  realised over {name}: longs {scales[0][0]:.2f}, then {scales[0][1]:.2f}; shorts {scales[1][0]:.2f}, then {scales[1][1]:.2f}"
        )


def simulated_hours(looking: Sequence[Run], judging: Sequence[Run], known: Mixture) -> None:
    sides: list[list[list[Hours]]] = [[[], []], [[], []]]
    for group, runs in enumerate((looking, judging)):
        for number, one in enumerate(runs):
            bars = one.history.bars[: len(one.seen.close) * 60].reshape(-1, 60, at.COLUMNS)
            forced = (bars[:, :, at.LIQ_LONG].sum(axis=1), bars[:, :, at.LIQ_SHORT].sum(axis=1))
            for side, hours in enumerate(by_hour(one.seen, forced, 1.0, known)):
                kept = part(hours, np.arange(len(hours.move)) >= 24 * 10)
                sides[side][group].append(kept._replace(day=kept.day + 1_000 * number))
    merged = [[together(group) for group in side] for side in sides]
    print_hours("By the hour, simulated: fitted on the runs for looking", [(a, b) for a, b in merged])


def together(parts: Sequence[Hours]) -> Hours:
    columns = [np.concatenate([one[k] for one in parts]) for k in range(5)]
    return Hours(*columns, {name: np.concatenate([one.met[name] for one in parts]) for name in parts[0].met})


def spearman(x: Floats, y: Floats) -> float:
    return float(np.corrcoef(facts.ranks(x), facts.ranks(y))[0, 1])


# --- real prints ---------------------------------------------------------------------------------


def panel(folder: Path) -> tuple[Observed, tuple[Floats, Floats]]:
    """BTC on Binance by the hour; the open interest is known at the end of its hour."""
    frame = pl.read_parquet(folder / "liquidations" / "coinglass_btc_panel_1h.parquet").sort("ts")
    ts = frame["ts"].cast(pl.Datetime("ns")).dt.epoch("ns").to_numpy() // HOUR * HOUR
    grid = np.arange(ts[0], ts[-1] + HOUR, HOUR)

    def laid(name: str) -> Floats:
        out = np.full(len(grid), np.nan)
        out[(ts - ts[0]) // HOUR] = frame[name].to_numpy()
        return out

    high, low, close = (laid(f"price_{name}") for name in ("high", "low", "close"))
    nobody = np.full(len(grid), np.nan)
    tables = ((-(2**63), venue("binance").tiers_for("BTC")),)
    seen = Observed(1.0, grid, high, low, close, laid("oi_close") / close, nobody, tables)
    return seen, (laid("liquidation_long_usd"), laid("liquidation_short_usd"))


def real_hours(folder: Path) -> None:
    seen, forced = panel(folder)
    n = np.arange(len(seen.close))
    first, second = (n >= 24 * 20) & (n < len(n) // 2), n >= len(n) // 2
    halves = [(part(hours, first), part(hours, second)) for hours in by_hour(seen, forced, 1.0, None)]
    day = np.datetime64(int(seen.ts[len(n) // 2]), "ns").astype("datetime64[D]")
    print_hours(f"By the hour, BTC on Binance: fitted before {day}, judged from then on", halves)
    ahead(seen, forced, len(n) // 2)


def ahead(seen: Observed, forced: tuple[Floats, Floats], middle: int) -> None:
    """What is near against what is liquidated in the next day, whichever way the price then goes."""
    path = liquidation_path(seen, distances=(0.02, 0.05))
    print(
        "\nThe next 24 h, BTC on Binance, R2 of the log on the second half: open interest and volatility; with the map"
    )
    returns = np.append(np.nan, np.diff(np.log(seen.close)))
    for side, near in ((LONG, path.long_near), (SHORT, path.short_near)):
        total = np.array([np.nansum(forced[side][i + 1 : i + 25]) for i in range(len(seen.close))])
        rows = np.arange(24 * 20, len(seen.close) - 25, 24)
        spread = np.array([np.nanstd(returns[i - 23 : i + 1]) for i in rows])
        base = np.column_stack((np.ones(len(rows)), np.log(seen.open_interest * seen.close)[rows], np.log(spread)))
        more = np.column_stack((base, np.log(near[rows] + MET_FLOOR)))
        wanted, good = np.log(total[rows] + FLOOR), np.isfinite(more).all(axis=1)
        early, late = good & (rows < middle - 24), good & (rows >= middle)
        told = []
        for columns in (base, more):
            weights = np.linalg.lstsq(columns[early], wanted[early], rcond=None)[0]
            wrong = ((wanted[late] - columns[late] @ weights) ** 2).sum()
            told.append(1.0 - wrong / ((wanted[late] - wanted[late].mean()) ** 2).sum())
        print(f"  {'longs' if side == LONG else 'shorts'}: {told[0]:.3f}, {told[1]:.3f} ({late.sum()} days)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="real market files")
    parser.add_argument("--real-only", action="store_true")
    given = parser.parse_args()
    if not given.real_only:
        looking, judging = [run(seed) for seed in LOOKING], [run(seed) for seed in JUDGING]
        mixture = measured(looking)
        whole = math.fsum(share for _, share in mixture.shares)
        print("the crowd's own mixture:", [(round(lev, 1), round(share / whole, 3)) for lev, share in mixture.shares])
        tried = {}
        for hours in HALF_LIVES:
            found = every_error(looking, [maps_of(one, replace(mixture, half_life=hours), KNOWN) for one in looking])
            tried[hours] = float(np.median([one.distance for one in found]))
        best = min(tried, key=lambda hours: tried[hours])
        print("half-lives tried (shape moved):", {h: round(v, 4) for h, v in tried.items()}, "taken:", best)
        known = replace(mixture, half_life=best)
        against_truth(looking, judging, known)
        for hours in (24, 168):
            afterwards(judging, known, hours)
        simulated_hours(looking, judging, known)
    if given.folder is not None:
        real_hours(given.folder)


if __name__ == "__main__":
    main()
