"""Says whether an engine is another one: the worker that `mutants.py` starts in a copy of the packages.

    python detector.py FOLDER      lines of JSON in, lines of JSON out

The first answer is about the engine as it stands: nothing may be said of it. Then each line names a file, an old text
and a new one; the answer is what the detector saw of the engine with it, and the file is put back.

    by hand     edges where two numbers are equal, and prices that decide which of two comes first: kernel and reference
    verify      worked cases of venues (for what `backtest.margin` changes)
    reference   kernel and reference on drawn markets, row by row
    states      the same, where decisions look at every state
    measures    what the loops add up, and `backtest.metrics` on their own rows

Compilation is off, so the modules are read again for each mutant, in milliseconds. The reference is read once.
"""

from __future__ import annotations

import importlib
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import engine_markets as made_up  # of tests/support; the packages are those of the copy
import numpy as np

from backtest import metrics, reference
from backtest.prepare import MARKET, REDUCE, REJECT, TAKEOVER, Decisions, Prepared, Taking
from backtest.records import Run
from data.clock import HOUR

RECIPES = 260  # drawn markets; all of them are run with each mutant until one differs
LOOKING = 130
INTERVAL = 6 * HOUR  # four bars a day: what `engine_markets` takes for days
LONGEST = 20.0  # seconds for one mutant: one that does not end is caught
FRESH = (
    "backtest.kernel",
    "backtest.margin",
    "backtest.costs",
    "backtest.engine",
    "backtest.job",
    "backtest.batch",
    "backtest.rules",
    "backtest.worked",
    "backtest.worked_margin",
    "backtest.worked_rules",
    "backtest.verify",
)
"""Read again for every mutant."""
STATES = (
    "position",
    "entry_price",
    "bars_held",
    "unrealized",
    "equity",
    "drawdown",
    "margin_ratio",
    "bars_since_liquidation",
)
DECIDE = """
def decide(target, position, entry_price, bars_held, unrealized, equity, drawdown, margin_ratio, since):
    if target != 1e300:
        return target
    if position == 0.0:
        if since == 2.0:
            return 0.5
        return 0.4 if 5.1 < equity % 10.0 < 5.5 or drawdown > 0.45 else 1e300
    if margin_ratio > 0.5 or 1.5 < entry_price % 10.0 < 2.0:
        return 0.5 * position
    if unrealized < -0.2 or (drawdown > 0.25 and bars_held > 4.0):
        return 0.0
    return 0.6 * position if bars_held == 3.0 or abs(position) > 20.0 or since == 4.0 else 1e300
"""
"""One decision on every state."""

Case = tuple[str, Prepared, Decisions]


# ---- what is run ---------------------------------------------------------------------------------------------------


def drawn(seed: int) -> made_up.Recipe:
    """A recipe with about half of everything on."""
    draw = random.Random(seed)

    def on(chance: float = 0.5) -> bool:
        return draw.random() < chance

    return made_up.Recipe(
        seed=seed,
        bars=draw.choice([12, 20, 30]),
        symbols=draw.choice([1, 1, 2, 2, 3]),
        kinds=draw.choice(["linear", "inverse", "carry", "any"]),
        modes=draw.choice(["isolated", "cross", "mixed"]),
        leverage=draw.choice([0.0, 3.0, 10.0, 25.0]),
        violence=draw.choice([0.01, 0.03, 0.06, 0.12]),
        calm_mark=on(),
        gaps=on(),
        missing=on(),
        delisted=on(),
        funding=on(),
        deleveraging=on(),
        maintenance=on(0.8),
        whole_tiers=on(),
        dated_tiers=on(),
        lots=on(),
        small_orders=on(),
        costs=on(),
        fees=on(),
        stops=on(),
        limits=on(),
        participation=draw.choice([0.0, 0.2]),
        delay=draw.choice([0, 0, 1]),
        warmup=draw.choice([0, 0, 3]),
        detail=draw.choice([0, 0, 3]),
        reduction=draw.choice([0, 1, 2, 3]),
        residual=draw.choice([0, 1]),
        shortfall=draw.choice([0, 1]),
        path=draw.choice([0, 0, 1, 2]),
        pairs=on(),
        collateral=draw.choice([0.0, 0.5, 0.95]),
        cash_rate=draw.choice([0.0, 0.05]),
        equity=draw.choice([100.0, 10_000.0]),
    )


def flat_bars(*bars: float | tuple[float, float, float, float]) -> Any:
    """Bars that stand still at a price, but where all four are given."""
    return made_up.bars_of([bar if isinstance(bar, tuple) else (bar,) * 4 for bar in bars])


TIER = (0.0, 1e15, 0.0625, 125.0, 0.0)
"""10 units at 100 with a margin of 100 are breached at exactly 96: 100 - 40 = 960 / 16."""


def by_hand() -> Iterator[Case]:
    yield from at_equality()
    yield from between_levels()
    yield from of_an_account()


def at_equality() -> Iterator[Case]:
    """Two numbers that are one."""
    one, two = made_up.prepared, made_up.decisions
    held = [1.0, None, None, None]
    base = {"tiers": [TIER], "leverage": 10.0}
    yield "margin is maintenance inside", one(flat_bars(100, 100, (100, 100, 96, 100), 110), **base), two(held)
    yield "margin is above maintenance", one(flat_bars(100, 100, (100, 100, 96.001, 100), 110), **base), two(held)
    left = [1.0, 0.0, None, None]  # an order to close is due at the open that liquidates
    yield "margin is maintenance at the open", one(flat_bars(100, 100, 96, 110), **base), two(left)
    cross = {**base, "mode": made_up.CROSS, "equity": 100.0}
    left = [10.0, 0.0, None, None]
    yield "cross balance is maintenance at the open", one(flat_bars(100, 100, 96, 110), **cross), two(left)
    stopped = {**base, "residual": TAKEOVER, "liquidation_fee": 0.01, "taker": 0.0005}
    yield (
        "stop and liquidation at one price",
        one(flat_bars(100, 100, (100, 100, 96, 100), 110), **stopped),
        two(held, stop_loss=0.04),
    )
    tiers = [(0.0, 1000.0, 0.01, 20.0, 0.0), (1000.0, 1e15, 0.05, 5.0, 40.0)]
    yield "notional is a cap", one(flat_bars(100, 100, 97, 100), tiers=tiers, leverage=10.0), two(held)
    for low, name in ((94.5, "a limit is touched"), (94.0, "a limit is traded through")):
        bars = flat_bars(100, 100, (100, 100, low, 100), 100)
        far = two([0.5, None, None, None], limit_offset=0.055, limit_ttl=2.0)
        yield name, one(bars, leverage=1.0, tick=0.5, lot=0.1), far


def between_levels() -> Iterator[Case]:
    """Which of two levels, or of two laws, holds."""
    one, two = made_up.prepared, made_up.decisions
    held = [1.0, None, None, None]
    both = flat_bars(100, 100, (100, 130, 90, 100), 100)
    yield "stop and take-profit in one bar", one(both, leverage=1.0), two(held, stop_loss=0.05, take_profit=0.05)
    whole = [(0.0, 1000.0, 0.01, 20.0, 0.0), (1000.0, 1e15, 0.25, 5.0, 0.0)]
    rising = flat_bars(100, 100, (100, 100.5, 100, 100), 100)
    short = two([-0.999, None, None, None])
    yield "a whole rate jumps at a cap", one(rising, tiers=whole, leverage=5.0, whole_tiers=True), short
    climbing = flat_bars(100, 100, 110, 120, (120, 120, 115, 118), 118)
    yield "a trailing stop follows", one(climbing, leverage=1.0), two([1.0] + [None] * 5, trailing_stop=0.03)
    empty = np.full((4, 1), 0.6)
    yield (
        "an empty book",
        one(flat_bars(100, 100, 100, 100), leverage=1.0, taking=Taking(empty, empty, empty, 0.5)),
        two([0.1, 0.0, None, None]),
    )


def of_an_account() -> Iterator[Case]:
    one, two = made_up.prepared, made_up.decisions
    too_much = two([3.0, None, None])
    for shortfall in (REJECT, REDUCE):
        yield (
            f"more than its leverage, {shortfall}",
            one(flat_bars(1, 1, 1), leverage=2.0, shortfall=shortfall),
            too_much,
        )
    pair = np.full((5, 2, 4), 100.0)
    pair[2:] = 90.5
    gap = {"tiers": [TIER], "leverage": 10.0, "equity": 100.0, "backstop": 2.0 / 3.0, "mode": made_up.CROSS}
    legs = two([[6.0, 4.0]] + [[None, None]] * 4)
    for residual in (TAKEOVER, MARKET):
        yield f"a gap over the backstop, {residual}", one(made_up.bars_of(pair), **gap, residual=residual), legs
    pair[2:] = 94.0
    for residual in (TAKEOVER, MARKET):
        yield f"a fall to the backstop, {residual}", one(made_up.bars_of(pair), **gap, residual=residual), legs
    lost = np.full((5, 2, 4), 100.0)
    lost[2:, 0] = 80.0
    far = np.array([[np.nan, 0.3]] * 5)
    yield (
        "an order of a ruined account",
        one(made_up.bars_of(lost), tiers=[TIER], leverage=10.0, residual=TAKEOVER),
        two([[10.0, 0.1]] + [[None, None]] * 4, limit_offset=far),
    )


def by_hand_looking() -> Iterator[Case]:
    """1,500 in the second tier ask for 405 and not for 600; there are 900."""
    tiers = [(0.0, 500.0, 0.01, 20.0, 0.0), (500.0, 1e15, 0.4, 2.0, 195.0)]
    bars = flat_bars(*[100] * 6)
    yield (
        "maintenance of a higher tier",
        made_up.prepared(bars, tiers=tiers, leverage=1.0 / 0.6),
        made_up.decisions([1.5] + [None] * 5),
    )


# ---- one engine ----------------------------------------------------------------------------------------------------


class Engine:
    """The modules as they are on disk now."""

    def __init__(self) -> None:
        for name in [n for n in sys.modules if n in FRESH or n.startswith(FRESH[0] + ".")]:
            del sys.modules[name]
            parent, _, own = name.rpartition(".")
            vars(sys.modules.get(parent, sys)).pop(own, None)
        importlib.invalidate_caches()
        self.job: Any = importlib.import_module("backtest.job")
        self.batch: Any = importlib.import_module("backtest.batch")
        self.run: Any = importlib.import_module("backtest.kernel.run")
        self.loop: Any = importlib.import_module("backtest.kernel.loop")
        self.run.block_bars = lambda *_: 7  # several blocks in the shortest run

    def simulated(self, p: Prepared, d: Decisions, quiet: Any = None) -> Run:
        stage, sets = self.run.stage(p), self.job.decided(d, p.warmup)
        state = self.run.begin(stage, sets, keep=True)
        quiet = quiet or self.loop.exposure_loop(several=p.k > 1, jit=False)
        run: Run = self.run.as_run(state, self.run.walk(stage, sets, quiet, state))
        return run

    def looking(self, p: Prepared, d: Decisions) -> Run:
        """Decisions on states."""
        order = (("feature", "target"), *(("state", name) for name in STATES))
        return self.simulated(p, d, self.loop.loop_of(order, DECIDE, several=p.k > 1, trails=True, jit=False))

    def measured(self, p: Prepared, d: Decisions) -> Any:
        """Without rows."""
        stage, sets = self.run.stage(p, INTERVAL / HOUR), self.job.decided(d, p.warmup)
        state = self.run.begin(stage, sets, keep=False)
        self.run.walk(stage, sets, self.loop.exposure_loop(several=p.k > 1, jit=False), state)
        return self.batch.measured(stage, state, INTERVAL, p.n)[0]


def looked(p: Prepared, d: Decisions) -> Run:
    """The same decisions for the reference."""
    space: dict[str, Callable[..., float]] = {}
    exec(DECIDE, space)

    def decide(bar: int, symbol: int, state: dict[str, float]) -> float:
        return space["decide"](d.target[bar, symbol], *(state[name] for name in STATES))

    return reference.run(p, decide, d)


def measures_of(run: Run, p: Prepared) -> Any:
    ts = np.arange(p.n, dtype=np.int64) * INTERVAL
    return np.array(list(metrics.measures(run, ts, INTERVAL, p.contracts.kind, p.equity).values()))


class Detector:
    """What the reference says of every case, and whether an engine says so too."""

    def __init__(self) -> None:
        self.hand = [(name, p, d, reference.run(p, d)) for name, p, d in by_hand()]
        self.hand_looking = [(name, p, d, looked(p, d)) for name, p, d in by_hand_looking()]
        markets = [(seed, *made_up.made(drawn(seed))) for seed in range(RECIPES)]
        self.drawn = [(seed, p, d, reference.run(p, d)) for seed, p, d in markets]
        self.looking = [(seed, p, d, looked(p, d)) for seed, p, d in markets[:LOOKING]]

    def found(self, margin: bool) -> list[str]:
        """The first difference; and of the worked cases where they may notice too."""
        new = Engine()
        worked = self.worked() if margin else ""
        first = next((what for stage in self.stages(new) for what in stage), "")
        return [what for what in (worked, first) if what]

    def standing(self) -> list[str]:
        """Every difference of the engine as it stands."""
        worked = self.worked()
        return [what for stage in self.stages(Engine()) for what in stage] + [worked] * bool(worked)

    def stages(self, new: Engine) -> list[Iterator[str]]:
        """In the order of what is read first: cases that were made for something, then drawn ones."""
        return [
            different("by hand", self.hand, new.simulated),
            different("by hand", self.hand_looking, new.looking),
            different("reference", self.drawn, new.simulated),
            self.added_up(new),
            different("states", self.looking, new.looking),
        ]

    def worked(self) -> str:
        verify: Any = importlib.import_module("backtest.verify")
        failed = [o.id for o in verify.run(verify.load()) if o.status == "fail"]
        return f"verify: {len(failed)} cases, {failed[0]}" if failed else ""

    def added_up(self, new: Engine) -> Iterator[str]:
        for seed, p, d, _ in self.drawn:
            try:
                got, expected = new.measured(p, d), measures_of(new.simulated(p, d), p)
            except ZeroDivisionError as error:
                yield f"measures: {seed}: {error}"
                continue
            near = np.isclose(got, expected, rtol=1e-9, atol=1e-9 * p.equity * AMOUNT + 1e-9, equal_nan=True)
            if not near.all():
                yield f"measures: {seed}: {metrics.NAMES[int(np.argmin(near))]}"


def different(name: str, cases: Iterable[Any], simulated: Callable[[Prepared, Decisions], Run]) -> Iterator[str]:
    for case, p, d, expected in cases:
        if seen := made_up.differences(simulated(p, d), expected, p):
            yield f"{name}: {case}: {seen[0].partition(':')[0]}"


AMOUNT = np.array([measure.unit == "money" for measure in metrics.MEASURES], dtype=float)


class TooLong(Exception):
    """It does not end."""


def stop(number: int, frame: FrameType | None) -> None:
    raise TooLong


def judged(detector: Detector, file: str) -> list[str]:
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        return detector.found(margin=file == "backtest/margin.py")
    except TooLong:
        return ["does not end"]
    except Exception as error:  # noqa: BLE001 - an engine that breaks is no longer the same
        return [f"breaks: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main(folder: Path) -> None:
    np.seterr(all="ignore")
    signal.signal(signal.SIGALRM, stop)
    detector = Detector()
    print(json.dumps(detector.standing()), flush=True)  # noqa: T201
    for line in sys.stdin:
        start = time.perf_counter()
        task = json.loads(line)
        path = folder / task["file"]
        right = path.read_text(encoding="utf-8")
        path.write_text(right.replace(task["old"], task["new"]), encoding="utf-8")
        try:
            caught = judged(detector, task["file"])
        finally:
            path.write_text(right, encoding="utf-8")
        print(json.dumps({"caught": caught, "seconds": time.perf_counter() - start}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
