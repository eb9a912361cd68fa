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
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest import trials
from backtest.account import PATHS, Account
from backtest.compiled import announce
from backtest.costs import Costs
from backtest.job import Job, decided, explained, following, job_of, targets_of, when
from backtest.kernel import layout as at
from backtest.kernel import loop, run
from backtest.prepare import CONVENTIONS, CROSS, Decisions, Prepared, prepare
from backtest.progress import bar
from backtest.records import Refusal, Run
from backtest.strategy import Strategy
from backtest.terms import Terms, check_market, instance, terms_of
from backtest.together import Together
from backtest.venue import Venue
from data.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

    from backtest.attribution import Attribution
    from backtest.result import Result
    from data.market import Market

Progress = Callable[[int], None]

BIGGEST_QUIET_RUN = 5_000_000  # bars x symbols that are walked without a word about progress
HOUR = 3_600_000_000_000


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
    history: Market | None = None,
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
    history    the same market with bars before it, for features to look back to; the warm-up shrinks by them
    jit        False: `decide` runs as plain Python, for a debugger; the same results but for the last digit of `**` and
               of functions such as exp
    """
    if (strategy is None) == (exposure is None):
        raise BadInput("give a strategy or exposure=..., and not both")
    check_market(market, "market")
    if detail is not None:
        check_market(detail, "detail")
    announce()
    terms = terms_of(market, venue, account, costs)
    one = instance(strategy) if strategy is not None else None
    with ThreadPoolExecutor(1) as pool:  # the market is made ready while the strategy says what it sees
        making = pool.submit(prepare, market, terms.venue, terms.account, terms.costs, detail=detail, adl=adl)
        if one is not None:
            job = job_of(market, [one], several=len(market.symbols) > 1, jit=jit, warmup=warmup, history=history)
        else:
            job = following(market, targets_of(market, exposure), jit=jit, warmup=warmup)
        prepared, notes = making.result()
    parameters = dict(one.parameters) if one is not None else {}
    stage = run.stage(prepared, market.interval / HOUR, job.delay, job.books)
    with _Shown(progress, prepared) as step:
        found, features = _walked(stage, job, market, step)
    parted = _attributed(market, job, prepared, found) if isinstance(one, Together) else None
    band = _band(prepared, market, job) if _is_joint(prepared) else None
    result = _labelled(
        market, terms, prepared, found, [*terms.notes, *notes], parameters, job.source, features, job, band, detail,
        adl, parted,
    )  # fmt: skip
    trials.note_run(market, result, one, job.source)
    return result


def measure(
    market: Market,
    strategies: Iterable[Strategy],
    *,
    venue: Venue | str | None = None,
    account: Account | None = None,
    costs: Costs | None = None,
    detail: Market | None = None,
    history: Market | None = None,
    threads: int | None = None,
    at_a_time: int | None = None,
) -> pd.DataFrame:
    """The measures of many parameter sets of one strategy, one row a set, in their order.

    The same numbers as `simulate(...).metrics`, on any number of threads. `at_a_time`: how many sets a thread walks
    together.
    """
    import pandas as pd

    from backtest.batch import Batch, checked_sets
    from backtest.metrics import NAMES

    check_market(market, "market")
    for name, number in (("threads", threads), ("at_a_time", at_a_time)):
        if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
            raise BadInput(f"{name}={number!r}: write a whole number from 1 up")
    sets = checked_sets(strategies)
    batch = Batch(market, venue=venue, account=account, costs=costs, detail=detail, history=history)
    walked = batch.walk(sets, threads=threads, at_a_time=at_a_time, sketched=bool(market.register))
    trials.note(batch, sets, walked)
    frame = pd.DataFrame(walked.table, columns=list(NAMES))
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


# ---- walking ---------------------------------------------------------------------------------------


def _walked(stage: run.Stage, job: Job, market: Market, progress: Progress | None) -> tuple[Run, str]:
    """The run, and the hash of the features, which another thread makes meanwhile."""
    state = run.begin(stage, job.sets, keep=True)
    with ThreadPoolExecutor(1) as pool:
        features = pool.submit(_hash_of_features, job)
        try:
            kept = run.walk(stage, job.sets, job.loop, state, progress=progress)
        except run.BadDecision as bad:
            raise explained(bad, market, job, 0) from None
    return run.as_run(state, kept), features.result()


def _attributed(market: Market, job: Job, prepared: Prepared, found: Run) -> Attribution:
    """What each of several strategies made, from what each wanted."""
    from backtest.attributing import attribute

    one = job.strategies[0]
    assert isinstance(one, Together)
    wants = job.sets.features[job.written]
    return attribute(tuple(part.name for part in one.parts), market.symbols, market.ts, prepared, found, wants)


def _hash_of_features(job: Job) -> str:
    """Of what a strategy's features gave; "" for given exposure, which has a hash of its own."""
    if job.data:
        return ""
    found = hashlib.sha256(repr(job.names).encode())
    read = np.setdiff1d(np.arange(len(job.sets.features)), job.written)
    given = [job.sets.features[column] for column in read] if job.written else [job.sets.features]
    for array in (*given, job.sets.columns, job.sets.reserved):
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _is_joint(prepared: Prepared) -> bool:
    return int(np.count_nonzero(prepared.contracts.mode == CROSS)) > 1


def _band(prepared: Prepared, market: Market, job: Job) -> dict[str, Any] | None:
    """What the other readings of bars with several cross legs would have given; None where all agree."""
    found: dict[str, dict[str, float]] = {}
    for path, name in enumerate(PATHS):
        stage = run.stage(replace(prepared, path=path), market.interval / HOUR, job.delay, job.books)
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
        shown = self.bar = bar(self.total, "bars", self.wanted)

        def move(done: int) -> None:
            shown.update(done - shown.n)

        return move

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


# ---- the result ------------------------------------------------------------------------------------


def _labelled(
    market: Market,
    terms: Terms,
    prepared: Prepared,
    found: Run,
    notes: Sequence[str],
    parameters: Mapping[str, Any],
    source: str,
    features: str,
    job: Job,
    band: Mapping[str, Any] | None,
    detail: Market | None,
    adl: Sequence[Sequence[Any]] | None,
    parted: Attribution | None,
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
        marks=prepared.bars.mark_close,
        attribution=parted,
    )


def _currency(market: Market, prepared: Prepared) -> str:
    from backtest.preparing.contracts import currency

    return str(currency(market))


def _run_warnings(market: Market, found: Run, band: Mapping[str, Any] | None) -> list[str]:
    said = []
    if found.ruined_bar >= 0:
        said.append(f"ruined at {when(market, found.ruined_bar)}: nothing was traded from there")
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
            f"the wallet was below zero at {len(below):,} closes, first at {when(market, int(below[0]))}: "
            "open profit or spot stood behind it, and no interest was charged on what was lent"
        )
    if found.ambiguous:
        said.append(f"{found.ambiguous:,} bars reached levels of both sides: the adverse one was taken first")
    if band is not None:
        words = ", ".join(f"{name} {values['equity']:,.2f}" for name, values in band.items())
        said.append(f"the path inside the bars matters for this account: last equity {words}")
    return said
