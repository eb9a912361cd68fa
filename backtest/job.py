"""What the loops walk: features, columns and numbers of one or many parameter sets, and the loop compiled for them.

job_of(market, strategies)      features are asked for once for each set of the parameters that they are made from
following(market, targets)      your own numbers instead of a strategy
decided(decisions)              the same from arrays that are ready
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.account import LONGEST_DELAY
from backtest.given import stamps
from backtest.kernel import layout as at
from backtest.kernel import loop, run
from backtest.prepare import Decisions
from backtest.strategy import ABSURD, HOLD, STOPS, Strategy, Value, warmup_bars
from data import clock
from data.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from backtest.decide import Binding
    from backtest.decide.source import Source
    from data.market import Market

Floats = npt.NDArray[np.float64]

RESERVED = ("stop_loss", "take_profit", "trailing_stop", "limit_offset", "limit_ttl", "delay")
"""In the order of layout.R_*."""


@dataclass(frozen=True)
class Job:
    sets: run.Sets
    loop: loop.Loop
    strategies: tuple[Strategy, ...] = ()
    binding: Binding | None = None
    source: str = ""  # hash of what decides
    delay: int = 0  # the longest that a strategy asks for
    names: tuple[str, ...] = ()  # of the columns of features
    data: str = ""  # hash of what was given besides the market

    @property
    def books(self) -> tuple[int, int]:
        """Numbers that the strategy keeps of a symbol: always, and for each order that may wait."""
        return self.strategies[0]._books if self.strategies else (0, 0)

    @property
    def written(self) -> list[int]:
        """Columns of features that `decide` writes."""
        if self.binding is None:
            return []
        names, written = self.binding.features, {name for kind, name in self.binding.looked_up if kind == "written"}
        return [int(self.sets.columns[0, j]) for j, name in enumerate(names) if name in written]


Made = tuple[Strategy, dict[str, Floats], frozenset[str]]  # its features, and the parameters that they are made from


def nothing_reserved(sets: int) -> Floats:
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


def job_of(
    market: Market,
    strategies: Sequence[Strategy],
    *,
    several: bool,
    jit: bool,
    warmup: int | str | None = None,
    history: Market | None = None,
    made: Made | None = None,
    sources: dict[Binding, Source] | None = None,
    most: int | None = None,
) -> Job:
    """`history`: the same market with bars before it, which features may look back to. Warm-up shrinks by them.

    `made`: features that were asked for already, of a strategy of this class on that market. `sources`: texts of
    `decide` that were found already: a text is looked for once, as long as they are kept. `most`: bytes of features
    after which the rest of the sets is left for another job.
    """
    from backtest.decide import bind, compilable, compile_decide
    from backtest.features import reserved_of

    seen = market if history is None else history
    lead = _lead(market, history)
    groups = _Groups(seen.features_view(), lead, kept=len(strategies) > 1)
    if made is not None:
        groups.add(*made)
    columns = _Columns(len(market), len(market.symbols))
    binding: Binding | None = None
    table: list[list[float]] = []
    numbers: list[list[float]] = []
    reserved = nothing_reserved(len(strategies))
    longest = 0
    named: tuple[str, ...] = ()
    declared = [(place, name) for place, name in enumerate(RESERVED) if name in strategies[0].declared()]
    of_group: dict[int, tuple[list[float], dict[int, int]]] = {}  # columns of its features, and of reserved ones
    for row, one in enumerate(strategies):
        if most is not None and row and groups.bytes >= most:
            strategies, reserved = strategies[:row], reserved[:row]
            break
        given = one.parameters
        group, features = groups.of(one, given)
        if group not in of_group:
            binding = binding or bind(one, features)
            if missing := [name for name in binding.features if name not in features]:
                raise BadInput(f"{type(one).__name__}.features gives no {', '.join(missing)} for {one!r}")
            used = [float(columns.of(group, name, features[name])) for name in binding.features]
            arrays = {name: value for name, value in reserved_of(one, features).items() if not isinstance(value, float)}
            of_group[group] = used, {RESERVED.index(n): columns.of(group, n, value) for n, value in arrays.items()}
            if "delay" in arrays:
                longest = max(longest, _whole_delay(one, float(np.nanmax(np.append(arrays["delay"], 0.0)))))
        assert binding is not None
        used, columns_reserved = of_group[group]
        table.append(used)
        named = named or binding.parameters
        numbers.append([float(given[name]) for name in named])
        for place, column in columns_reserved.items():
            reserved[row, place, 1] = column
        for place, name in declared:
            value = float(given[name])
            reserved[row, place, 0] = np.nan if value == 0.0 and name in STOPS else value
            if name == "delay":
                longest = max(longest, _whole_delay(one, value))
    assert binding is not None
    sources = {} if sources is None else sources
    if binding not in sources:
        sources[binding] = compilable(binding)
    source = sources[binding]
    trails = any(reserved[:, at.R_TRAIL, 0] == reserved[:, at.R_TRAIL, 0]) or bool(
        (reserved[:, at.R_TRAIL, 1] >= 0).any()
    )
    walking = _loop(binding, source, compile_decide, several=several, trails=trails, jit=jit)
    bars = _warmups(strategies, market, lead) if warmup is None else [_warmup(market, warmup)] * len(strategies)
    return Job(
        sets=run.Sets(
            features=columns.stacked(),
            columns=np.array(table, dtype=np.float64).reshape(len(strategies), -1),
            parameters=np.array(numbers, dtype=np.float64).reshape(len(strategies), -1),
            reserved=reserved,
            warmup=np.array(bars, dtype=np.int64),
        ),
        loop=walking,
        strategies=tuple(strategies),
        binding=binding,
        source=source.content,
        delay=longest,
        names=tuple(columns.names),
    )


def _lead(market: Market, history: Market | None) -> int:
    """Bars of the history before the market begins."""
    if history is None:
        return 0
    lead = len(history) - len(market)
    same = history.interval == market.interval and history.symbols == market.symbols and history.end == market.end
    if not same or lead < 0:
        raise BadInput("history is no market that ends with this one: cut both from one, to the same end")
    return lead


def _whole_delay(one: Strategy, bars: float) -> int:
    if bars > LONGEST_DELAY:
        raise BadInput(f"{type(one).__name__}: a delay of {int(bars):,} bars, more than {LONGEST_DELAY:,}")
    return int(bars)


class _Groups:
    """Features, asked for once for each set of the parameters that they are made from."""

    def __init__(self, view: Market, lead: int, *, kept: bool) -> None:
        self.view, self.lead, self.kept = view, lead, kept
        self.made: list[dict[str, Floats]] = []
        self.bytes = 0
        self.known: dict[tuple[str, ...], dict[tuple[Value, ...], int]] = {}  # names, values -> number

    def of(self, one: Strategy, given: dict[str, Value]) -> tuple[int, dict[str, Floats]]:
        """Number and features of a strategy: those of an earlier one that agrees in what they were made from."""
        for names, numbers in self.known.items():
            number = numbers.get(tuple([given[name] for name in names]))
            if number is not None:
                return number, self.made[number]
        return self._asked(one)

    def _asked(self, one: Strategy) -> tuple[int, dict[str, Floats]]:
        from backtest.features import features_of

        return self.add(one, *features_of(one, self.view))

    def add(self, one: Strategy, arrays: dict[str, Floats], used: frozenset[str]) -> tuple[int, dict[str, Floats]]:
        given = one.parameters
        if self.lead:
            arrays = {name: values[self.lead :] for name, values in arrays.items()}
        if (
            self.kept
        ):  # the next set may be asked before these are read, and the user may fill one array again and again
            arrays = {name: values.copy() for name, values in arrays.items()}
        self.bytes += sum(values.nbytes for values in arrays.values())
        names = tuple(sorted(used))
        number = len(self.made)
        self.made.append(arrays)
        self.known.setdefault(names, {})[tuple([given[name] for name in names])] = number
        return number, arrays


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


def _warmups(strategies: Sequence[Strategy], market: Market, lead: int) -> list[int]:
    """Those that the strategies declare; each length is read once."""
    known: dict[str, int] = {}
    found = []
    for one in strategies:
        declared = one.warmup
        key = repr(declared)
        if key not in known:
            known[key] = max(warmup_bars(one, market) - lead, 0)
        found.append(known[key])
    return found


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


def decided(decisions: Decisions, warmup: int = 0) -> run.Sets:
    """A stream of decisions as the one set of a run."""
    columns = [decisions.target]
    reserved = nothing_reserved(1)
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


# ---- your own numbers ------------------------------------------------------------------------------


def following(market: Market, targets: Floats, *, jit: bool, warmup: int | str | None) -> Job:
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
    return Job(sets=sets, loop=quiet, names=("exposure",), data=digest)


def targets_of(market: Market, exposure: Any) -> Floats:
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
        value, where = wide[bar, column], f"exposure of {market.symbols[column]} at {when(market, bar)}"
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
            f"exposure is stamped {clock.iso(int(found[bar]))} where the market's bar opens at {when(market, bar)}: "
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


def when(market: Market, bar: int) -> str:
    return clock.iso(int(market.start + bar * market.interval))


# ---- a decision that is none -----------------------------------------------------------------------


def explained(bad: run.BadDecision, market: Market, job: Job, first: int) -> BadInput:
    """The error of a decision that is none, with the values that it was made from."""
    from backtest.decide import explain

    where = when(market, bad.bar)
    if len(market.symbols) > 1:
        where += f" ({market.symbols[bad.symbol]})"
    if job.binding is None:
        return BadInput(f"exposure at {where} is {bad.value}: a target is a multiple of equity, such as -1.5")
    number = first + bad.number
    sets = job.sets
    given: dict[str, float] = {}
    columns = iter(sets.columns[number])
    numbers = iter(sets.parameters[number])
    for kind, name in (*job.binding.order, *job.binding.looked_up):
        if kind in ("feature", "written"):
            given[name] = float(sets.features[int(next(columns)), bad.bar, bad.symbol])
        elif kind == "parameter":
            given[name] = float(next(numbers))
        elif kind == "state":
            given[name] = bad.state[name]
    if job.binding.inside:
        from backtest.together import explained_of

        mark = float(np.asarray(market.close).reshape(len(market), -1)[bad.bar, bad.symbol])
        return explained_of(type(job.strategies[number]), bad, given | bad.state, where, mark)
    return explain(job.binding, given, where, bad.value)
