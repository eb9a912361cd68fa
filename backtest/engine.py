"""`simulate()` and `measure()`: validate, make arrays, call the loops, label the result.

    result = simulate(market, Fade(entry_z=2.5), account=Account(leverage=3))
    result = simulate(market, exposure=series)                       # orders only where its value changes
    table = measure(market, [Fade(entry_z=z) for z in grid])         # measures alone, one row a set

`simulate` keeps every row and series of one run. `measure` keeps none: what it adds up while it walks is all there is,
so memory does not grow with the number of sets. Both walk the same loops.

1. `prepare` makes arrays of market, venue, account and costs. 2. Features are asked for once for each set of the
parameters that they are made from. 3. The strategy's quiet loop is found or compiled. 4. The loops walk. 5. What they
leave is labelled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.account import LONGEST_DELAY, PATHS, Account
from backtest.compiled import announce
from backtest.costs import Costs
from backtest.given import stamps
from backtest.kernel import layout as at
from backtest.kernel import loop, run
from backtest.prepare import CONVENTIONS, CROSS, INVERSE, Decisions, Prepared, prepare
from backtest.records import Refusal, Run
from backtest.strategy import ABSURD, HOLD, Strategy, warmup_bars
from backtest.venue import Venue
from data import clock
from data.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from backtest.decide import Binding
    from backtest.result import Result
    from data.market import Market

Floats = npt.NDArray[np.float64]
Progress = Callable[[int], None]

RESERVED = ("stop_loss", "take_profit", "trailing_stop", "limit_offset", "limit_ttl", "delay")
"""In the order of layout.R_*."""

BIGGEST_QUIET_RUN = 5_000_000  # bars x symbols that are walked without a word about progress
HOUR = 3_600_000_000_000
MOST_AT_A_TIME = 128  # sets that a thread walks together: their states stay in its cache


def simulate(
    market: Market,
    strategy: Strategy | type[Strategy] | None = None,
    *,
    exposure: Any = None,
    venue: Venue | str | None = None,
    account: Account | None = None,
    costs: Costs | None = None,
    detail: Market | None = None,
    adl: Sequence[Sequence[Any]] | None = None,
    warmup: int | str | None = None,
    jit: bool = True,
    progress: bool | Progress | None = None,
) -> Result:
    """One simulation, with every row and series.

    strategy   an instance, or a class for its defaults
    exposure   instead of one: your own targets, a number a bar (and symbol); it trades where the value changes
    venue      a profile, its name, or None: that of the market's venue
    costs      None: `Costs.impact()` where the market holds volume, else half a spread alone
    detail     finer bars of the same symbols, walked inside the bars
    adl        recorded deleveraging: (time, symbol, "long" or "short", fraction, price or None)
    warmup     bars or a duration without decisions; None: what the strategy declares
    jit        False: `decide` runs as plain Python, for a debugger; the same results but for the last digit of `**` and
               of functions such as exp
    """
    if (strategy is None) == (exposure is None):
        raise BadInput("give a strategy or exposure=..., and not both")
    _check_market(market, "market")
    if detail is not None:
        _check_market(detail, "detail")
    announce()
    terms = _terms(market, venue, account, costs)
    one = _instance(strategy) if strategy is not None else None
    with ThreadPoolExecutor(1) as pool:  # the market is made ready while the strategy says what it sees
        making = pool.submit(prepare, market, terms.venue, terms.account, terms.costs, detail=detail, adl=adl)
        if one is not None:
            job = _job(market, [one], several=len(market.symbols) > 1, jit=jit, warmup=warmup)
        else:
            job = _following(market, _targets(market, exposure), jit=jit, warmup=warmup)
        prepared, notes = making.result()
    parameters = dict(one.parameters) if one is not None else {}
    stage = run.stage(prepared, market.interval / HOUR, job.delay)
    with _Shown(progress, prepared) as step:
        found, features = _walked(stage, job, market, step)
    band = _band(prepared, market, job) if _is_joint(prepared) else None
    return _labelled(
        market, terms, prepared, found, [*terms.notes, *notes], parameters, job.source, features, job, band, detail, adl
    )


def measure(
    market: Market,
    strategies: Iterable[Strategy],
    *,
    venue: Venue | str | None = None,
    account: Account | None = None,
    costs: Costs | None = None,
    detail: Market | None = None,
    threads: int | None = None,
    at_a_time: int | None = None,
) -> pd.DataFrame:
    """The measures of many parameter sets of one strategy, one row a set, in their order.

    The same numbers as `simulate(...).metrics`, on any number of threads. `at_a_time`: how many sets a thread walks
    together.
    """
    import pandas as pd

    from backtest.metrics import NAMES

    if isinstance(strategies, Strategy | type):
        raise BadInput("measure takes a list of strategies: write [Fade(entry_z=2.0), Fade(entry_z=2.5)]")
    _check_market(market, "market")
    for name, number in (("threads", threads), ("at_a_time", at_a_time)):
        if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
            raise BadInput(f"{name}={number!r}: write a whole number from 1 up")
    sets = [_instance(s) for s in strategies]
    if not sets:
        raise BadInput("no parameter sets: give at least one strategy")
    announce()
    if len({type(s) for s in sets}) > 1:
        names = sorted({type(s).__name__ for s in sets})
        raise BadInput(f"sets of several strategies ({', '.join(names)}): measure one at a time")
    terms = _terms(market, venue, account, costs)
    job = _job(market, sets, several=len(market.symbols) > 1, jit=True, warmup=None)
    prepared, _ = prepare(market, terms.venue, terms.account, terms.costs, detail=detail)
    stage = run.stage(prepared, market.interval / HOUR, job.delay)
    table = np.empty((len(sets), len(NAMES)))
    threads = threads or _cores()
    chunk = at_a_time or max(1, min(MOST_AT_A_TIME, -(-len(sets) // threads)))
    parts = [slice(low, min(low + chunk, len(sets))) for low in range(0, len(sets), chunk)]

    def walk(part: slice) -> None:
        some = job.sets.part(part)
        state = run.begin(stage, some, keep=False)
        try:
            run.walk(stage, some, job.loop, state)
        except run.BadDecision as bad:
            raise _explained(bad, market, job, part.start) from None
        table[part] = measured(stage, state, market.interval, len(prepared.bars))

    if threads == 1 or len(parts) == 1:
        for part in parts:
            walk(part)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(walk, parts))
    frame = pd.DataFrame(table, columns=list(NAMES))
    parameters = pd.DataFrame([s.parameters for s in sets])
    if len(parameters.columns) > 1:
        frame.index = pd.MultiIndex.from_frame(parameters)
    elif len(parameters.columns) == 1:
        frame.index = pd.Index(parameters.iloc[:, 0])
    return frame


def run_prepared(prepared: Prepared, decisions: Decisions, *, jit: bool = True) -> Run:
    """One simulation of a stream of decisions, from arrays to rows and series."""
    stage = run.stage(prepared)
    sets = decided(decisions, prepared.warmup)
    state = run.begin(stage, sets, keep=True)
    quiet = loop.exposure_loop(several=prepared.k > 1, jit=jit)
    try:
        kept = run.walk(stage, sets, quiet, state)
    except run.BadDecision as bad:
        raise BadInput(f"bar {bad.bar}, symbol {bad.symbol}: the target is {bad.value}, which is no exposure") from None
    return run.as_run(state, kept)


def decided(decisions: Decisions, warmup: int = 0) -> run.Sets:
    """A stream of decisions as the one set of a run."""
    columns = [decisions.target]
    reserved = _nothing_reserved(1)
    for row, name in enumerate(RESERVED):
        values = getattr(decisions, name, None)
        if values is not None:
            reserved[0, row, 1] = len(columns)
            columns.append(values)
    return run.Sets(
        features=np.ascontiguousarray(np.stack(columns), dtype=np.float64),
        columns=np.zeros((1, 1)),
        parameters=np.zeros((1, 0)),
        reserved=reserved,
        warmup=np.array([warmup], dtype=np.int64),
    )


# ---- terms -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Terms:
    venue: Venue
    account: Account
    costs: Costs
    notes: tuple[str, ...] = ()


def _check_market(market: Any, name: str) -> None:
    if not hasattr(market, "features_view"):
        kind = type(market).__name__
        raise BadInput(f"{name} is a {kind}, no Market: build one with Store.market(...) or Market.from_frames(...)")


def _terms(market: Market, venue: Venue | str | None, account: Account | None, costs: Costs | None) -> _Terms:
    notes: list[str] = []
    if venue is not None and not isinstance(venue, Venue | str):
        raise BadInput(f'venue={venue!r}: write a name such as "binance", or a Venue(...)')
    profile = venue if isinstance(venue, Venue) else _profile(market, venue, notes)
    if account is not None and not isinstance(account, Account):
        raise BadInput(f"account={account!r}: write Account(equity=10_000, leverage=3), say")
    if costs is None:
        held = set(market.held) & {"volume", "quote_volume"}
        costs = Costs.impact() if held else Costs.fixed(Costs.impact().half_spread_bps)
    if not isinstance(costs, Costs):
        raise BadInput(f"costs={costs!r}: write Costs.impact(), Costs.fixed(2) or Costs.none()")
    return _Terms(profile, account or Account(), costs, tuple(notes))


def _profile(market: Market, name: str | None, notes: list[str]) -> Venue:
    from backtest.venue import venue as named

    contract: Any = "inverse" if _contract(market) == "inverse" else None
    if name is not None:
        return named(name, contract)
    try:
        return named(market.venue, contract)
    except BadInput:
        notes.append(
            f"no profile of a venue called {market.venue!r}: the rules of Binance hold; give venue=... for others"
        )
        return named("binance", contract)


def _contract(market: Market) -> str:
    """What the first symbol is: by its terms, else by its name (BTC/USD:BTC is paid in its base)."""
    symbol = market.symbols[0]
    terms = market.instrument(symbol).get("contract")
    if terms:
        return str(terms)
    base, _, rest = symbol.partition("/")
    return "inverse" if ":" in rest and rest.split(":")[1].split("-")[0] == base else "linear"


def _instance(strategy: Strategy | type[Strategy]) -> Strategy:
    if isinstance(strategy, type) and issubclass(strategy, Strategy):
        return strategy()
    if isinstance(strategy, Strategy):
        return strategy
    raise BadInput(f"{strategy!r} is no strategy: give a Strategy, or your own numbers as exposure=...")


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---- what is to be walked --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    sets: run.Sets
    loop: loop.Loop
    strategies: tuple[Strategy, ...] = ()
    binding: Binding | None = None
    source: str = ""  # hash of what decides
    delay: int = 0  # the longest that a strategy asks for
    names: tuple[str, ...] = ()  # of the columns of features
    data: str = ""  # hash of what was given besides the market


def _nothing_reserved(sets: int) -> Floats:
    reserved = np.full((sets, len(RESERVED), 2), -1.0)
    reserved[:, :, 0] = np.nan
    return reserved


class _Columns:
    """Arrays of features, each once."""

    def __init__(self, n: int, k: int) -> None:
        self.shape = (n, k)
        self.arrays: list[Floats] = []
        self.names: list[str] = []
        self.known: dict[tuple[int, str], int] = {}

    def of(self, group: int, name: str, values: Floats) -> int:
        key = (group, name)
        if key not in self.known:
            self.known[key] = len(self.arrays)
            wide = values if values.ndim == 2 else values[:, None]
            self.arrays.append(np.broadcast_to(wide, self.shape))
            self.names.append(name)
        return self.known[key]

    def stacked(self) -> Floats:
        out = np.empty((len(self.arrays), *self.shape))
        for row, values in enumerate(self.arrays):
            out[row] = values
        return out


def _job(market: Market, strategies: Sequence[Strategy], *, several: bool, jit: bool, warmup: int | str | None) -> _Job:
    from backtest.decide import bind, compilable, compile_decide
    from backtest.features import features_of, reserved_of

    view = market.features_view()
    columns = _Columns(len(market), len(market.symbols))
    groups: list[tuple[frozenset[str], Strategy, dict[str, Floats]]] = []
    binding: Binding | None = None
    table: list[list[float]] = []
    numbers: list[list[float]] = []
    reserved = _nothing_reserved(len(strategies))
    longest = 0
    for row, one in enumerate(strategies):
        group, features = _features(groups, one, view, features_of, len(strategies) > 1)
        if binding is None:
            binding = bind(one, features)
        elif missing := [name for name in binding.features if name not in features]:
            raise BadInput(f"{type(one).__name__}.features gives no {', '.join(missing)} for {one!r}")
        table.append([float(columns.of(group, name, features[name])) for name in binding.features])
        numbers.append([float(one.parameters[name]) for name in binding.parameters])
        for name, value in reserved_of(one, features).items():
            place = RESERVED.index(name)
            if isinstance(value, float):
                reserved[row, place, 0] = value
            else:
                reserved[row, place, 1] = columns.of(group, name, value)
            if name == "delay":
                longest = max(longest, int(np.nanmax(np.append(value, 0.0))))
                if longest > LONGEST_DELAY:
                    raise BadInput(f"{type(one).__name__}: a delay of {longest:,} bars, more than {LONGEST_DELAY:,}")
    assert binding is not None
    source = compilable(binding)
    trails = any(reserved[:, at.R_TRAIL, 0] == reserved[:, at.R_TRAIL, 0]) or bool(
        (reserved[:, at.R_TRAIL, 1] >= 0).any()
    )
    made = _loop(binding, source, compile_decide, several=several, trails=trails, jit=jit)
    bars = [warmup_bars(one, market) if warmup is None else _warmup(market, warmup) for one in strategies]
    return _Job(
        sets=run.Sets(
            features=columns.stacked(),
            columns=np.array(table, dtype=np.float64).reshape(len(strategies), -1),
            parameters=np.array(numbers, dtype=np.float64).reshape(len(strategies), -1),
            reserved=reserved,
            warmup=np.array(bars, dtype=np.int64),
        ),
        loop=made,
        strategies=tuple(strategies),
        binding=binding,
        source=source.content,
        delay=longest,
        names=tuple(columns.names),
    )


def _features(
    groups: list[tuple[frozenset[str], Strategy, dict[str, Floats]]], one: Strategy, view: Market, ask: Any, kept: bool
) -> tuple[int, dict[str, Floats]]:
    """Features of a strategy: those of an earlier one that agrees in the parameters they were made from."""
    for number, (used, other, made) in enumerate(groups):
        if all(one.parameters[name] == other.parameters[name] for name in used):
            return number, made
    arrays, used = ask(one, view)
    if kept:  # the next set may be asked before these are read, and the user may fill one array again and again
        arrays = {name: values.copy() for name, values in arrays.items()}
    groups.append((used, one, arrays))
    return len(groups) - 1, arrays


def _loop(binding: Binding, source: Any, compile_decide: Any, *, several: bool, trails: bool, jit: bool) -> loop.Loop:
    if not jit or not loop.compiles():
        return loop.loop_of(binding.order, "", several=several, trails=trails, jit=False, decide=_plainly(binding))
    if source.cacheable:
        try:
            return loop.loop_of(binding.order, source.text, several=several, trails=trails)
        except Exception:
            compile_decide(binding, source)  # says what is wrong in the user's words
            raise
    return loop.loop_of(binding.order, "", several=several, trails=trails, decide=compile_decide(binding, source))


def _plainly(binding: Binding) -> Callable[..., float]:
    """`decide` as it stands, on numpy's numbers, which divide by zero as compiled ones do; what it cannot answer is
    marked as in compiled code, and explained afterwards."""
    from backtest.strategy import MISSING, RAISED

    def decide(*given: float) -> float:
        try:
            with np.errstate(all="ignore"):
                answer = binding.function(*binding.plain(given))
            return MISSING if answer is None else float(answer)
        except Exception:  # noqa: BLE001 - run again, and shown, by `explain`
            return RAISED

    return decide


def _warmup(market: Market, warmup: int | str) -> int:
    bars = _bars(market, warmup)
    if bars >= len(market):
        raise BadInput(f"the warm-up of {bars:,} bars leaves none of {len(market):,} to trade in: widen the market")
    return bars


def _bars(market: Market, warmup: int | str) -> int:
    """Part of a bar is a bar."""
    if isinstance(warmup, str):
        return -(-clock.duration(warmup) // market.interval)
    if not isinstance(warmup, int | np.integer) or isinstance(warmup, bool) or not 0 <= warmup < 2**62:
        raise BadInput(f'warmup={warmup!r}: write a number of bars, 0 or more, or a duration such as "3d"')
    return int(warmup)


# ---- your own numbers ------------------------------------------------------------------------------


def _following(market: Market, targets: Floats, *, jit: bool, warmup: int | str | None) -> _Job:
    """Orders where a target is another than the last one decided: bars that are not there, or before the first
    decision, have none."""
    first = 0 if warmup is None else _warmup(market, warmup)
    decided_at = np.array(market.present, dtype=bool).reshape(targets.shape)
    decided_at[:first] = False
    wanted = np.full(targets.shape, HOLD)
    for j in range(targets.shape[1]):
        bars = np.flatnonzero(decided_at[:, j])
        given = targets[bars, j]
        changed = given != np.concatenate([[0.0], given[:-1]])
        wanted[bars[changed], j] = given[changed]
    sets = decided(Decisions(wanted), first)
    quiet = loop.exposure_loop(several=targets.shape[1] > 1, jit=jit)
    digest = hashlib.sha256(np.ascontiguousarray(targets).tobytes()).hexdigest()
    return _Job(sets=sets, loop=quiet, names=("exposure",), data=digest)


def _targets(market: Market, exposure: Any) -> Floats:
    """Exposure as an (n, k) array: aligned by label where it has labels, by place where it has none."""
    n, k = len(market), len(market.symbols)
    index = getattr(exposure, "index", None)
    if index is not None and not callable(index):
        _check_index(market, index)
    names = getattr(exposure, "columns", None)
    if names is not None:
        exposure = _in_order(market, exposure, list(names))
    values = _numbers(exposure)
    if values.ndim == 0:
        values = np.full((n, k), float(values))
    if len(values) != n:
        raise BadInput(f"exposure has {len(values):,} values, the market {n:,} bars")
    wide = values[:, None] if values.ndim == 1 else values
    if wide.ndim != 2 or wide.shape[1] not in (1, k) or (wide.shape[1] == 1 < k):
        raise BadInput(
            f"exposure is {values.shape}, and the market has {n:,} bars of {k} symbols: give a column for each"
        )
    bad = np.argwhere(~(np.abs(wide) <= ABSURD))
    if len(bad):
        bar, column = (int(x) for x in bad[0])
        value, where = wide[bar, column], f"exposure of {market.symbols[column]} at {_when(market, bar)}"
        if np.isnan(value):
            raise BadInput(f"{where} is NaN: write 0 to be flat")
        raise BadInput(f"{where} is {value:g}: a target is a multiple of equity, such as -1.5")
    return wide


def _numbers(exposure: Any) -> Floats:
    try:
        raw = np.asarray(exposure)
        if raw.dtype.kind not in "fiubO":
            raise TypeError(raw.dtype)
        return raw.astype(np.float64)
    except (TypeError, ValueError):
        kind = type(exposure).__name__
        raise BadInput(
            f"exposure is a {kind} that is no array of numbers: give a number a bar, or a column a symbol"
        ) from None


def _check_index(market: Market, index: Any) -> None:
    if not hasattr(index, "tz"):
        if list(index) != list(range(len(index))):
            raise BadInput("the index of exposure is no time: give it the market's index, or pass exposure.to_numpy()")
        return
    found = stamps(index)
    if len(found) != len(market):
        raise BadInput(
            f"exposure has {len(found):,} bars, the market {len(market):,} of {market.interval_label}: "
            "reindex it to the market's bars"
        )
    off = np.flatnonzero(found != market.ts)
    if len(off):
        bar = int(off[0])
        raise BadInput(
            f"exposure is stamped {clock.iso(int(found[bar]))} where the market's bar opens at {_when(market, bar)}: "
            "give it the market's index"
        )


def _in_order(market: Market, frame: Any, names: list[Any]) -> Any:
    for name in names:
        if str(name) not in market.symbols:
            raise BadInput(f"exposure has a column {name!r}: {did_you_mean(str(name), market.symbols)}")
    missing = [s for s in market.symbols if s not in names]
    if missing:
        raise BadInput(f"exposure has no column for {', '.join(missing)}")
    return frame[list(market.symbols)]


def _when(market: Market, bar: int) -> str:
    return clock.iso(int(market.start + bar * market.interval))


# ---- walking ---------------------------------------------------------------------------------------


def _walked(stage: run.Stage, job: _Job, market: Market, progress: Progress | None) -> tuple[Run, str]:
    """The run, and the hash of the features, which another thread makes meanwhile."""
    state = run.begin(stage, job.sets, keep=True)
    with ThreadPoolExecutor(1) as pool:
        features = pool.submit(_hash_of_features, job)
        try:
            kept = run.walk(stage, job.sets, job.loop, state, progress=progress)
        except run.BadDecision as bad:
            raise _explained(bad, market, job, 0) from None
    return run.as_run(state, kept), features.result()


def _hash_of_features(job: _Job) -> str:
    """Of what a strategy's features gave; "" for given exposure, which has a hash of its own."""
    if job.data:
        return ""
    found = hashlib.sha256(repr(job.names).encode())
    for array in (job.sets.features, job.sets.columns, job.sets.reserved):
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _explained(bad: run.BadDecision, market: Market, job: _Job, first: int) -> BadInput:
    """The error of a decision that is none, with the values that it was made from."""
    from backtest.decide import explain

    where = _when(market, bad.bar)
    if len(market.symbols) > 1:
        where += f" ({market.symbols[bad.symbol]})"
    if job.binding is None:
        return BadInput(f"exposure at {where} is {bad.value}: a target is a multiple of equity, such as -1.5")
    number = first + bad.number
    sets = job.sets
    given = {}
    columns = iter(sets.columns[number])
    numbers = iter(sets.parameters[number])
    for kind, name in job.binding.order:
        if kind == "feature":
            given[name] = float(sets.features[int(next(columns)), bad.bar, bad.symbol])
        elif kind == "parameter":
            given[name] = float(next(numbers))
        else:
            given[name] = bad.state[name]
    return explain(job.binding, given, where, bad.value)


def _is_joint(prepared: Prepared) -> bool:
    return int(np.count_nonzero(prepared.contracts.mode == CROSS)) > 1


def _band(prepared: Prepared, market: Market, job: _Job) -> dict[str, Any] | None:
    """What the other readings of bars with several cross legs would have given; None where all agree."""
    found: dict[str, dict[str, float]] = {}
    for path, name in enumerate(PATHS):
        stage = run.stage(replace(prepared, path=path), market.interval / HOUR, job.delay)
        state = run.begin(stage, job.sets, keep=False)
        run.walk(stage, job.sets, job.loop, state)
        acc = state.acc[0]
        found[name] = {"equity": float(acc[at.EQUITY]), "liquidations": float(acc[at.LIQUIDATIONS])}
    first = found[PATHS[0]]
    return None if all(other == first for other in found.values()) else found


class _Shown:
    """Progress: a bar for long runs at a terminal, a callable of the caller's, or nothing."""

    def __init__(self, wanted: bool | Progress | None, prepared: Prepared) -> None:
        self.wanted, self.many, self.total = wanted, prepared.n * prepared.k, prepared.n
        self.bar: Any = None

    def __enter__(self) -> Progress | None:
        if callable(self.wanted):
            return self.wanted
        if self.wanted is False or (self.wanted is None and self.many < BIGGEST_QUIET_RUN):
            return None
        from tqdm.auto import tqdm

        bar = self.bar = tqdm(
            total=self.total, unit=" bars", unit_scale=True, disable=None if self.wanted is None else False
        )

        def move(done: int) -> None:
            bar.update(done - bar.n)

        return move

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


# ---- measures of a walk that kept nothing ----------------------------------------------------------


def measured(stage: run.Stage, state: run.State, interval: int, n: int) -> Floats:
    """The measures of each set, in the order of metrics.NAMES, from what the loops added up."""
    from backtest import metrics

    out = np.empty((len(state.acc), len(metrics.NAMES)))
    for row in range(len(state.acc)):
        found = _measures(state.acc[row], state.daily[row], float(stage.acc[at.START]), interval, n)
        out[row] = [found[name] for name in metrics.NAMES]
    return out


def _measures(acc: Floats, days: Floats, start: float, interval: int, n: int) -> dict[str, float]:
    from backtest import metrics

    daily = days[: int(acc[at.DAYS])]
    equity, loss = float(acc[at.EQUITY]), float(acc[at.MAX_DRAWDOWN])
    total = equity / start - 1.0
    annual = metrics.annual_return(total, n * interval / clock.DAY)
    longest = acc[at.MAX_DURATION]
    if equity < acc[at.PEAK]:
        longest = max(longest, n - 1 - acc[at.PEAK_BAR])
    trades, gained, lost = acc[at.TRADES], acc[at.GROSS_PROFIT], acc[at.GROSS_LOSS]
    nan = float("nan")
    by_day = metrics.from_daily(daily, start, metrics.returns_a_year(interval))
    names = ("volatility", "sharpe", "sortino", "var_95", "es_95", "skew", "kurtosis")
    found = dict(zip(names, by_day, strict=True)) | {
        "total_return": total,
        "annual_return": annual,
        "calmar": metrics.calmar(annual, loss, len(daily)),
        "max_drawdown": loss,
        "max_drawdown_days": float(longest) * interval / clock.DAY,
        "time_under_water": float(acc[at.UNDER]) / n,
        "time_in_market": float(acc[at.IN_MARKET]) / n,
        "exposure": float(acc[at.EXPOSURE_SUM]) / len(daily),
        "turnover": float(acc[at.TURNOVER]) / float(daily.mean()) if daily.mean() > 0.0 else nan,
        "trades": float(trades),
        "win_rate": float(acc[at.WINS] / trades) if trades else nan,
        "profit_factor": float(gained / lost) if lost > 0.0 else (float("inf") if gained > 0.0 else nan),
        "avg_holding_hours": float(acc[at.HOLDING] / trades) if trades else nan,
        "fees": float(acc[at.FEES]),
        "funding": float(acc[at.FUNDING]),
        "slippage": float(acc[at.SLIPPAGE]),
        "liquidations": float(acc[at.LIQUIDATIONS]),
        "liquidation_loss": float(acc[at.LIQUIDATION_LOSS]),
        "bad_debt": float(acc[at.BAD_DEBT]),
        "min_margin_distance": float(acc[at.MARGIN_DISTANCE]) if np.isfinite(acc[at.MARGIN_DISTANCE]) else nan,
        "ruined": float(acc[at.RUINED]),
        "refused": float(acc[at.REFUSED]),
        "scaled": float(acc[at.SCALED]),
        "ambiguous": float(acc[at.AMBIGUOUS]),
    }
    if acc[at.FILLS] == 0.0:
        found.update(dict.fromkeys(metrics.OF_TRADING, nan))
    return found


# ---- the result ------------------------------------------------------------------------------------


def _labelled(
    market: Market,
    terms: _Terms,
    prepared: Prepared,
    found: Run,
    notes: Sequence[str],
    parameters: Mapping[str, Any],
    source: str,
    features: str,
    job: _Job,
    band: Mapping[str, Any] | None,
    detail: Market | None,
    adl: Sequence[Sequence[Any]] | None,
) -> Result:
    from backtest.result import Result, digest, plain, versions

    assumptions = [note for note in notes if note.partition(":")[0] in CONVENTIONS]
    warnings = [note for note in notes if note.partition(":")[0] not in CONVENTIONS]
    account = {f.name: getattr(terms.account, f.name) for f in fields(terms.account)}
    costs = {f.name: getattr(terms.costs, f.name) for f in fields(terms.costs)}
    return Result(
        run=found,
        ts=market.ts,
        interval=market.interval,
        symbols=market.symbols,
        kinds=prepared.contracts.kind,
        currency=_currency(market, prepared),
        start_equity=terms.account.equity,
        venue=terms.venue.name,
        account=account,
        costs=costs,
        parameters=dict(parameters),
        warnings=tuple(_run_warnings(market, found, band) + warnings),
        fingerprint={
            "data": market.hash,
            "exposure": job.data,
            "detail": detail.hash if detail is not None else "",
            "adl": plain([list(row) for row in adl]) if adl is not None else [],
            "warmup": int(job.sets.warmup[0]),
            "strategy": source,
            "features": features,
            "venue": digest(terms.venue),
            "account": plain(account),
            "costs": plain(costs),
            "parameters": plain(dict(parameters)),
            "versions": dict(versions()),
        },
        band=dict(band) if band is not None else None,
        assumptions=tuple(assumptions),
        marks=prepared.bars.mark_close if (prepared.contracts.kind == INVERSE).any() else None,
    )


def _currency(market: Market, prepared: Prepared) -> str:
    from backtest.preparing.contracts import currency

    return str(currency(market))


def _run_warnings(market: Market, found: Run, band: Mapping[str, Any] | None) -> list[str]:
    said = []
    if found.ruined_bar >= 0:
        said.append(f"ruined at {_when(market, found.ruined_bar)}: nothing was traded from there")
    if len(found.refused):
        kinds, counts = np.unique(found.refused["why"], return_counts=True)
        words = ", ".join(
            f"{int(many):,} {Refusal(int(kind)).name.lower().replace('_', ' ')}"
            for kind, many in zip(kinds, counts, strict=True)
        )
        said.append(f"orders refused or given up: {words}")
    below = np.flatnonzero(found.series["wallet"] < 0.0)
    if len(below):
        said.append(
            f"the wallet was below zero at {len(below):,} closes, first at {_when(market, int(below[0]))}: "
            "open profit or spot stood behind it, and no interest was charged on what was lent"
        )
    if found.ambiguous:
        said.append(f"{found.ambiguous:,} bars reached levels of both sides: the adverse one was taken first")
    if band is not None:
        words = ", ".join(f"{name} {values['equity']:,.2f}" for name, values in band.items())
        said.append(f"the path inside the bars matters for this account: last equity {words}")
    return said
