"""Several strategies on one account: one margin, one netted position a symbol, and a book for each of them.

    both = together({"squeeze": FundingSqueeze(entry_z=2.5), "trend": ManagedTrend}, weights={"trend": 0.5})
    result = simulate(market, both)
    result.attribution.table                       # what each of them made, part by part: see backtest.attribution

`together` makes a strategy like any other: it sweeps, is compiled, is counted as one trial, and can be sent to other
processes. Its parameters are those of its parts, by their names: squeeze_entry_z, trend_leverage, trend_weight.

1. Each part sees its own book: `position`, `entry_price`, `bars_held`, `unrealized` are those of what it holds itself,
   divided by its weight; `equity`, `drawdown`, `margin_ratio`, `bars_since_liquidation` are those of the account.
2. Its target, times its weight, is a quantity that it wants at the mark of this close. HOLD leaves its quantity as it
   is, not its exposure: what it wanted last where that is still to come, else what it holds.
3. The account's target is the sum. What wants opposite ways meets inside, at the open at which the order would fill,
   without costs; only the difference goes to the venue. How that is shared out is in `backtest.books`.
4. Its own stops are looked at by its own entry at each close: where one is reached its target is 0, whatever it says.

`decide` of the result is written here, as text that calls those of the parts.
"""

from __future__ import annotations

import inspect
import keyword
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from backtest import books
from backtest.features import features_of, reserved_of
from backtest.kernel.layout import KEEP, LIQ_BAR
from backtest.needs import check as check_needs
from backtest.strategy import ABSURD, HOLD, STATE, STOPS, Strategy, Value, warmup_bars
from backtest.written import function_of
from data.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from backtest.kernel.run import BadDecision
    from data.market import Market

Floats = npt.NDArray[np.float64]
MOST = 32


@dataclass(frozen=True)
class Part:
    """One of the strategies: what it is called, its class, and the symbols it trades (none named: all)."""

    name: str
    cls: type[Strategy]
    symbols: tuple[str, ...] = ()

    @property
    def weight(self) -> str:
        return f"{self.name}_weight"

    def own(self, name: str) -> str:
        """What a parameter of this strategy is called in the whole."""
        return f"{self.name}_{name}"

    def called(self, i: int, name: str) -> str:
        """What an argument of its `decide` is called in that of the whole, where it is strategy number i."""
        return self.own(name) if name in self.cls.declared() else f"seen_{i}_{name}"

    @property
    def takes(self) -> tuple[str, ...]:
        """The arguments of its `decide`."""
        return tuple(inspect.signature(self.cls.decide).parameters)

    @property
    def stops(self) -> tuple[str, ...]:
        return tuple(name for name in STOPS if name in self.cls.declared())


class Together(Strategy):
    """What `together` makes are subclasses of this."""

    parts: ClassVar[tuple[Part, ...]] = ()

    @property
    def warmup(self) -> tuple[int | str, ...]:
        """The longest: nobody trades before all can. With `simulate(warmup=0)` each begins when it can itself."""
        found: list[int | str] = []
        for one in self.strategies:
            found += one.warmup if isinstance(one.warmup, tuple) else (one.warmup,)
        return tuple(found)

    @property
    def max_exposure(self) -> float:
        return sum(w * one.max_exposure for w, one in zip(self.weights, self.strategies, strict=True))

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """The parts, with their parameters."""
        return tuple(
            part.cls(**{name: self.parameters[part.own(name)] for name in part.cls.declared()}) for part in self.parts
        )

    @property
    def weights(self) -> tuple[float, ...]:
        return tuple(float(self.parameters[part.weight]) for part in self.parts)

    def features(self, market: Market) -> dict[str, Any]:
        k = len(market.symbols)
        out: dict[str, Any] = {"opened": np.asarray(market.open, dtype=np.float64)}
        for i, part in enumerate(self.parts):
            _check_weight(part, float(getattr(self, part.weight)))
            seen, columns = _seen(part, market)
            one = part.cls(**{name: self._values[part.own(name)] for name in part.cls.declared()})
            arrays, used = features_of(one, seen)
            for name in used:
                getattr(self, part.own(name))  # noted: the features of the whole are made from it, too
            _check_one(part, one, arrays)
            ready = np.zeros((len(market), k))
            ready[min(warmup_bars(one, seen), len(market)) :, columns] = 1.0
            out |= {f"ready_{i}": _shaped(ready), f"want_{i}": _shaped(np.full((len(market), k), np.nan))}
            for name in part.takes:
                if name in arrays:
                    out[part.called(i, name)] = _wide(arrays[name], columns, k)
        return out


def together(
    strategies: Mapping[str, Strategy | type[Strategy]],
    weights: Mapping[str, float] | None = None,
    *,
    symbols: Mapping[str, Iterable[str]] | None = None,
) -> Together:
    """Several strategies as one.

    strategies   instances, or classes for their defaults, by the names that they are told apart by
    weights      what the targets of each are multiplied by; 1 where nothing is said
    symbols      for those that trade some of the market's symbols only: which ones
    """
    _check_names(strategies, weights or {}, "weights")
    _check_names(strategies, symbols or {}, "symbols")
    parts, values = [], dict[str, Value]()
    for name, given in strategies.items():
        one = given() if isinstance(given, type) and issubclass(given, Strategy) else given
        if not isinstance(one, Strategy):
            raise BadInput(f"{name}: {given!r} is no strategy: give a Strategy, or a class of one")
        asked = (symbols or {}).get(name, ())
        part = Part(name, type(one), (asked,) if isinstance(asked, str) else tuple(asked))
        parts.append(part)
        values |= {part.own(own): value for own, value in one.parameters.items()}
        values[part.weight] = float((weights or {}).get(name, 1.0))
        _check_weight(part, float(values[part.weight]))
    return _class_of(tuple(parts))(**values)


def _check_names(strategies: Mapping[str, Any], others: Mapping[str, Any], what: str) -> None:
    if not isinstance(strategies, Mapping) or not strategies or len(strategies) > MOST:
        raise BadInput(f'give strategies by name, such as {{"squeeze": FundingSqueeze, "trend": ManagedTrend}}, '
                       f"up to {MOST} of them")  # fmt: skip
    for name in strategies:
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
            raise BadInput(f"{name!r} cannot name a strategy: its parameters are name_parameter, so write a plain word")
    for name in others:
        if name not in strategies:
            raise BadInput(f"{what}: there is no strategy {name}: {did_you_mean(name, strategies)}")


def _check_weight(part: Part, weight: float) -> None:
    if not (weight > 0.0 and math.isfinite(weight)):
        raise BadInput(
            f"{part.weight}={weight:g}: a weight multiplies targets: write a number above 0, or leave it out"
        )


def _check_one(part: Part, one: Strategy, arrays: Mapping[str, Floats]) -> None:
    """Refuse what one account cannot do for several strategies at once."""
    from backtest.decide import bind

    bind(one, arrays)  # what is wrong with it is said in its own words
    for name, value in reserved_of(one, arrays).items():
        if name in STOPS:
            if not isinstance(value, float):
                raise BadInput(
                    f"{part.name}: {name} is a feature: together, stops are looked at by each strategy's own entry, "
                    "and have to be parameters"
                )
        elif name == "limit_offset" and np.any(np.asarray(value) >= 0.0):
            raise BadInput(f"{part.name} places limit orders ({name}): what several strategies want is netted into one "
                           "market order; run it alone, or without limits")  # fmt: skip
        elif name == "delay" and np.any(np.asarray(value) > 0.0):
            raise BadInput(f"{part.name} has a delay of its own: orders of one account go out together; give "
                           "Account(delay=...) instead")  # fmt: skip


def _seen(part: Part, market: Market) -> tuple[Market, list[int]]:
    """What a strategy sees of the market, and in which columns of the whole that is."""
    wanted = part.symbols or market.symbols
    for symbol in wanted:
        if symbol not in market.symbols:
            raise BadInput(f"{part.name} trades {symbol}, which the market does not hold: "
                           f"{did_you_mean(symbol, market.symbols)}")  # fmt: skip
    seen = market.select(wanted) if part.symbols else market
    check_needs(part.cls, seen)
    return seen, [market.symbols.index(symbol) for symbol in seen.symbols]


def _wide(values: Floats, columns: Sequence[int], k: int) -> Floats:
    """A feature of some symbols as one of all; NaN where the strategy does not trade."""
    if list(columns) == list(range(k)):
        return values
    wide = np.full((len(values), k), np.nan)
    wide[:, columns] = values if values.ndim == 2 else values[:, None]
    return wide


def _shaped(values: Floats) -> Floats:
    return values[:, 0] if values.shape[1] == 1 else values


# ---- the class -----------------------------------------------------------------------------------


@cache
def _class_of(parts: tuple[Part, ...]) -> type[Together]:
    """The same parts make the same class."""
    annotations: dict[str, type] = {}
    body: dict[str, Any] = {}
    for part in parts:
        for name, parameter in part.cls.declared().items():
            _declare(annotations, body, part.own(name), parameter.kind, parameter.default)
        _declare(annotations, body, part.weight, float, 1.0)
    names = " and ".join(part.cls.__name__ for part in parts)
    body |= {
        "__annotations__": annotations,
        "__doc__": f"{names} on one account.",
        "__module__": __name__,
        "needs": tuple(dict.fromkeys(need for part in parts if not part.symbols for need in part.cls.needs)),
        "decide": staticmethod(_decide(parts)),
        "parts": parts,
        "_inside": INSIDE,
        "_looked_up": _looked_up(parts),
        "_books": books.numbers(len(parts)),
        "__reduce__": _reduced,
    }
    make: Any = type(Strategy)
    made: type[Together] = make("With".join(part.cls.__name__ for part in parts), (Together,), body)
    return made


def _declare(annotations: dict[str, type], body: dict[str, Any], name: str, kind: type, default: Value) -> None:
    if name in body:
        raise BadInput(f"two strategies would have a parameter {name}: call one of them something else")
    annotations[name], body[name] = kind, default


def _reduced(strategy: Any) -> tuple[Any, ...]:
    """For other processes: the class is made there again."""
    return _remade, (type(strategy).parts, dict(strategy.parameters))


def _remade(parts: tuple[Part, ...], parameters: dict[str, Any]) -> Together:
    return _class_of(parts)(**parameters)


# ---- decide --------------------------------------------------------------------------------------

INSIDE = (
    "leg", "acc", "features", "columns", "parameters", "whole", "place", "symbol", "symbols", "bar", "mark", "close",
)  # fmt: skip
ACCOUNT = ("equity", "drawdown", "margin_ratio")

BEGIN = """
def decide({arguments}):
{values}
    start = first_number(acc, symbol, symbols)
    bring_up(leg, acc, start, symbol, symbols, {count}, bar, opened, mark, close)
    unit = abs(mark)
    liquidated = leg[{liquidated} * symbols + symbol]
    since_liquidation = bar - liquidated if liquidated >= 0.0 else 1e9
"""
ASK = """
    held_{i} = leg[start + {held} * symbols]
    last_{i} = latest_want(leg, acc, start, symbols, {count}, {i})
    basis_{i} = leg[start + {basis} * symbols]
    position_{i} = held_{i} * unit / equity / {weight}
    entry_{i} = NAN
    bars_{i} = 0.0
    gain_{i} = 0.0
    if held_{i} != 0.0:
        entry_{i} = basis_{i} if mark > 0.0 else -1.0 / basis_{i}
        bars_{i} = bar - leg[start + {since} * symbols] + 1.0
        gain_{i} = held_{i} * (mark - basis_{i}) / equity / {weight}
    target_{i} = HOLD
    if ready_{i} > 0.0:
        leg[start + {asked} * symbols] = {i}.0
        if stopped(held_{i}, entry_{i}, leg[start + {best} * symbols], close, {stops}):
            target_{i} = 0.0
        else:
            target_{i} = decide_{i}({given})
        if target_{i} != HOLD and not abs(target_{i}) <= ABSURD:
            return target_{i}
    decided_{i} = target_{i} != HOLD and (target_{i} != 0.0 or last_{i} != 0.0)
    part_{i} = target_{i} * {weight} if decided_{i} else last_{i} * unit / equity
"""
END = """
    if not ({any_decided}):
        return HOLD
    total = {total}
    if abs(total) <= 1e-12 * ({gross}):
        total = 0.0
    waiting = slot_for(leg, acc, start, symbols, {count}, bar)
"""
WANT = """
    wanted_{i} = part_{i} * equity / unit if decided_{i} else last_{i}
    leg[waiting + {next} * symbols] = wanted_{i}
    if acc[KEEP] != 0.0:
        features[int(columns[{column}]) * whole + place] = wanted_{i}
"""
RETURN = """
    return total
"""


def _looked_up(parts: Sequence[Part]) -> tuple[tuple[str, str], ...]:
    """Features and parameters, in the order of their columns. They are too many to be arguments."""
    found: dict[tuple[str, str], None] = {("written", f"want_{i}"): None for i in range(len(parts))}
    found[("feature", "opened")] = None
    for i, part in enumerate(parts):
        found |= {("feature", f"ready_{i}"): None, ("parameter", part.weight): None}
        for name in (*part.takes, *part.stops):
            if name not in STATE:
                kind = "parameter" if name in part.cls.declared() else "feature"
                found[(kind, part.called(i, name))] = None
    return tuple(found)


def _decide(parts: Sequence[Part]) -> Any:
    """One function that keeps the books, asks each strategy, and nets what they want."""
    count, numbered = len(parts), range(len(parts))
    named = {name for part in parts for name in part.takes}
    arguments = [*INSIDE, "equity", *(name for name in ACCOUNT[1:] if name in named)]
    values, places = [], {"parameter": 0, "feature": count}
    for kind, name in _looked_up(parts):
        if kind == "written":
            continue
        where = f"parameters[{places[kind]}]"
        if kind == "feature":
            where = f"features[int(columns[{places[kind]}]) * whole + place]"
        values.append(f"    {name} = {where}")
        places[kind] += 1
    head = {"arguments": ", ".join(arguments), "values": "\n".join(values), "count": count, "liquidated": LIQ_BAR}
    text = BEGIN.format(**head) + "".join(_ask(i, part, count) for i, part in enumerate(parts))
    text += END.format(
        any_decided=" or ".join(f"decided_{i}" for i in numbered),
        total=" + ".join(f"part_{i}" for i in numbered),
        gross=" + ".join(f"abs(part_{i})" for i in numbered),
        count=count,
    )
    text += "".join(WANT.format(i=i, next=1 + i, column=i) for i in numbered) + RETURN
    lines = "\n".join(line for line in text.splitlines() if line.strip()) + "\n"
    known = {f"decide_{i}": part.cls.decide for i, part in enumerate(parts)}
    used: tuple[Any, ...] = (books.first_number, books.bring_up, books.latest_want, books.slot_for, books.stopped)
    own = {f.__name__: f for f in used}
    return function_of(lines, "decide", __name__, HOLD=HOLD, ABSURD=ABSURD, NAN=math.nan, KEEP=KEEP, **own, **known)


def _ask(i: int, part: Part, count: int) -> str:
    seen = {
        "position": f"position_{i}",
        "entry_price": f"entry_{i}",
        "bars_held": f"bars_{i}",
        "unrealized": f"gain_{i}",
        "bars_since_liquidation": "since_liquidation",
    }
    given = [seen.get(name, name) if name in STATE else part.called(i, name) for name in part.takes]
    return ASK.format(
        i=i,
        count=count,
        held=_number(i, books.HELD),
        basis=_number(i, books.BASIS),
        best=_number(i, books.BEST),
        since=_number(i, books.SINCE),
        asked=books.ASKED,
        weight=part.weight,
        stops=", ".join(part.own(name) if name in part.stops else "0.0" for name in STOPS),
        given=", ".join(given),
    )


def _number(i: int, which: int) -> int:
    return books.HEAD + i * books.FIELDS + which


def explained_of(cls: Any, bad: BadDecision, given: Mapping[str, float], where: str, price: float) -> BadInput:
    """The error of the strategy that was asked last, in its own words, with what it saw."""
    from backtest.decide import bind, explain

    i = int(bad.books[books.ASKED])
    part: Part = cls.parts[i]
    held, basis, since = (float(bad.books[_number(i, f)]) for f in (books.HELD, books.BASIS, books.SINCE))
    weight, equity = given[part.weight], given["equity"]
    mark = -1.0 / price if basis < 0.0 else price
    seen = {
        **{name: given[name] for name in STATE if name in given},
        "position": held * abs(mark) / equity / weight,
        "entry_price": math.nan if held == 0.0 else (basis if basis > 0.0 else -1.0 / basis),
        "bars_held": bad.bar - since + 1.0 if held else 0.0,
        "unrealized": held * (mark - basis) / equity / weight if held else 0.0,
    }
    for name in part.takes:
        if name not in STATE:
            seen[name] = given[part.called(i, name)]
    features = [name for name in part.takes if name not in STATE and name not in part.cls.declared()]
    return BadInput(f"{part.name}: {explain(bind(part.cls, features), seen, where, bad.value)}")
