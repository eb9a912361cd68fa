"""The strategy seam: to implement a strategy, subclass `Strategy` and write `decide`, and `features` if it needs any.

    class Fade(Strategy):
        window: str = "3d"                      # parameters: int, float, bool or str, each with a default
        entry_z: float = 2.0

        def features(self, market):             # arrays of one value a bar (n,), or a bar and a symbol (n, k)
            return {"z": zscore(market.funding_8h, market.bars(self.window))}

        @staticmethod
        def decide(position, z, entry_z):       # scalars, by name: features, parameters and STATE; once a bar
            return -1.0 if z > entry_z else HOLD

    Fade(entry_z=2.5).replace(window="1w").parameters

What it may say besides, and what others may ask of it: `ranges` (values worth trying, for sweeps), `needs` (fields that
its market has to hold), `max_exposure` (the most that it ever asks for), `warmup`.

A strategy is a value: it cannot be changed, and two with the same class and parameters are equal.

Where the rest is: `backtest.features` asks a strategy for its features; `backtest.needs` says what a market lacks for
it; `backtest.decide` binds, compiles and explains `decide`; `backtest.strategy_lookup` finds strategies by name.
"""

from __future__ import annotations

import inspect
import math
import numbers
from abc import ABCMeta
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, dataclass_transform

import numpy as np

from backtest.written import Written, written
from data import clock
from data.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from data.market import Market

HOLD = 1e300
"""What `decide` returns to leave things as they are. Finite, so that NaN stays an error."""
RAISED = 2e300
"""What a compiled `decide` returns where the plain one raises."""
MISSING = 3e300
"""What a compiled `decide` returns where the plain one returns None."""
ABSURD = 1e6
"""A target beyond this multiple of equity is a mistake, whatever the venue."""

STATE = (
    "position",
    "entry_price",
    "bars_held",
    "unrealized",
    "equity",
    "drawdown",
    "margin_ratio",
    "bars_since_liquidation",
)
"""What `decide` may name besides features and parameters."""
STOPS = ("stop_loss", "take_profit", "trailing_stop")
RESERVED = (*STOPS, "limit_offset", "limit_ttl", "delay")
"""Names the engine reads itself: a parameter, or a feature of one value a bar. Stops: 0 is none."""
BARS = ("limit_ttl", "delay")

Value = bool | int | float | str
Ranges = Mapping[str, tuple[Value, ...]]
KINDS: Mapping[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
_WANTED = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}


class Parameter:
    """One declared field of a strategy. Reading it from a strategy that is tracked is noted there."""

    def __init__(self, owner: str, name: str, kind: type, default: Value) -> None:
        self.name, self.kind = name, kind
        self.is_duration = False
        self.default = self.check(owner, default)
        self.is_duration = isinstance(default, str) and _is_duration(default)

    def __get__(self, strategy: Strategy | None, owner: type | None = None) -> Value:
        if strategy is None:
            return self.default
        if strategy._reads is not None:
            strategy._reads.add(self.name)
        return strategy._values.get(self.name, self.default)  # a reloaded class may have gained a parameter

    def __set__(self, strategy: Strategy, value: object) -> NoReturn:
        raise AttributeError(f"a strategy cannot be changed: write replace({self.name}={value!r})")

    def __repr__(self) -> str:
        return f"{self.name}: {self.kind.__name__} = {self.default!r}"

    def check(self, owner: str, value: object) -> Value:
        """The value as this parameter's type, or BadInput."""
        made = _converted(self.kind, value)
        if made is None or made != made:
            raise BadInput(f"{owner}: {self.name}={value!r}: write {_WANTED[self.kind]}")
        if self.is_duration and not _is_duration(str(made)):
            raise BadInput(f"{owner}: {self.name}={value!r} is no duration: write 4h, 3d or 2w")
        if self.name in RESERVED and (problem := _reserved_problem(self.name, made)):
            raise BadInput(f"{owner}: {self.name}={value!r}: {problem}")
        return made


def _converted(kind: type, value: object) -> Value | None:
    if kind is bool:
        return bool(value) if isinstance(value, bool | np.bool_) else None
    if kind is str:
        return str(value) if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    if kind is float:
        return float(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    return int(float(value)) if float(value).is_integer() else None


def _is_duration(text: str) -> bool:
    try:
        clock.duration(text)
    except BadInput:
        return False
    return True


def _reserved_problem(name: str, value: Value) -> str:
    if isinstance(value, str | bool) or not math.isfinite(value):
        return "write a finite number"
    if name in BARS and (value < 0 or value != int(value)):
        return "write a whole number of bars, 0 or more"
    if name in STOPS and value < 0:
        return "write a fraction of the entry price, such as 0.05, or 0 for none"
    return ""


class _Declaring(ABCMeta):
    """The class of strategies: keeps parameters what they are, also where a reload writes into a class."""

    def __setattr__(cls, name: str, value: object) -> None:
        if name in getattr(cls, "_declared", ()) and not isinstance(value, Parameter):
            change = f"{cls.__name__}({name}={value!r})"
            raise AttributeError(f"{cls.__name__}.{name} is a parameter: write {change}, or a subclass")
        super().__setattr__(name, value)
        if name == "_declared" and isinstance(value, Mapping):
            for parameter in value.values():
                super().__setattr__(parameter.name, parameter)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Strategy(metaclass=_Declaring):
    """Base of every strategy; the module's docstring shows one."""

    decide: ClassVar[Callable[..., float]]
    ranges: ClassVar[Ranges] = MappingProxyType({})
    """Values worth trying, by parameter, in order: the grid of a sweep. A subclass adds to those of its base."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Fields of `data.market` without which features mean nothing; open interest in coins or in money is one."""
    _declared: ClassVar[Mapping[str, Parameter]] = MappingProxyType({})
    _written: ClassVar[Written | None] = None  # the source of `decide`, as it was when the class was made
    _reads: ClassVar[set[str] | None] = None  # a tracked copy has a set of its own
    _values: ClassVar[Mapping[str, Value]]
    _inside: ClassVar[tuple[str, ...]] = ()  # what else `decide` takes: see backtest.together
    _looked_up: ClassVar[tuple[tuple[Any, str], ...]] = ()  # what it finds by itself: kind and name, in order
    _books: ClassVar[tuple[int, int]] = (0, 0)  # numbers that it keeps of a symbol: always, and for each waiting order

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _check_decide(cls)
        declared = {n: p for base in reversed(cls.__mro__[1:]) for n, p in vars(base).get("_declared", {}).items()}
        declared |= _own_parameters(cls, declared)
        cls._declared = MappingProxyType(declared)
        cls.ranges = _ranges(cls)
        cls.__signature__ = inspect.Signature(  # what help and completion show
            [inspect.Parameter(p.name, inspect.Parameter.KEYWORD_ONLY, default=p.default) for p in declared.values()]
        )

    def __init__(self, *unnamed: Any, **parameters: Any) -> None:
        cls = type(self)
        if unnamed:
            example = next(iter(cls._declared), "entry_z")
            raise BadInput(f"{cls.__name__}: name the parameters: {cls.__name__}({example}={unnamed[0]!r})")
        for name in parameters:
            if name not in cls._declared:
                raise _unknown(cls, name)
        given = {n: p.check(cls.__name__, parameters.get(n, p.default)) for n, p in cls._declared.items()}
        self.__dict__["_values"] = given

    @property
    def warmup(self) -> int | str | tuple[int | str, ...]:
        """How long features need before they mean something: bars, or a duration; several: the longest of them.

        The account stays flat until then. Override it with a class attribute or a property.
        """
        return 0

    @property
    def max_exposure(self) -> float:
        """The most that targets ever add up to, over all symbols and whatever their signs, as a multiple of equity."""
        return math.inf

    def features(self, market: Market) -> Mapping[str, Any]:
        """Arrays of one value a bar, by name, computed from the market and the parameters."""
        return {}

    @classmethod
    def declared(cls) -> Mapping[str, Parameter]:
        """The parameters of the class, in the order in which they were written."""
        return cls._declared

    @property
    def parameters(self) -> dict[str, Value]:
        values = self._values
        if self._reads is None and values.keys() == self._declared.keys():
            return dict(values)
        return {name: getattr(self, name) for name in self._declared}  # tracked, or of a class that was reloaded

    def replace(self, **changes: Any) -> Self:
        """The same strategy with other values."""
        return type(self)(**(self.parameters | changes))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a strategy cannot be changed ({name}): write replace(...), or return it from features()")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a strategy cannot be changed ({name})")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Strategy) and type(self) is type(other) and self.parameters == other.parameters

    def __hash__(self) -> int:
        known = self.__dict__.get("_hash")
        if known is None or known[0] is not self._declared:  # a reload may have declared more
            known = self._declared, hash((type(self), tuple(self.parameters.items())))
            self.__dict__["_hash"] = known
        return int(known[1])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in self.parameters.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), dict(self._values))


def _rebuilt(cls: type[Strategy], values: dict[str, Value]) -> Strategy:
    return cls(**values)


def tracked(strategy: Strategy) -> tuple[Strategy, set[str]]:
    """A copy of a strategy, and the set in which it notes the parameters that are read from it."""
    copy, reads = strategy.replace(), set[str]()
    copy.__dict__["_reads"] = reads
    return copy, reads


def warmup_bars(strategy: Strategy, market: Market) -> int:
    """The declared warm-up in bars of this market; part of a bar is a bar."""
    declared = strategy.warmup
    parts = declared if isinstance(declared, tuple) else (declared,)
    return max((_bars_of(part, type(strategy).__name__, market) for part in parts), default=0)


def _bars_of(declared: int | str, owner: str, market: Market) -> int:
    if isinstance(declared, str):
        if not _is_duration(declared):
            raise BadInput(f"{owner}.warmup={declared!r}: write bars, such as 200, or a duration, such as '3d'")
        return -(-clock.duration(declared) // market.interval)
    bars = _converted(int, declared)
    if not isinstance(bars, int) or bars < 0:
        raise BadInput(f"{owner}.warmup={declared!r}: write bars, such as 200, or a duration, such as '3d'")
    return bars


# ---- the class body ------------------------------------------------------------------------------


def _own_parameters(cls: type[Strategy], inherited: Mapping[str, Parameter]) -> dict[str, Parameter]:
    made = {}
    for name, annotation in inspect.get_annotations(cls).items():
        if name.startswith("_") or _is_classvar(annotation):
            continue
        if name not in vars(cls):
            raise BadInput(f"{cls.__name__}.{name} has no default: write {name}: float = 1.0, or what suits it")
        kind = _kind(cls, name, annotation)
        _check_name(cls, name, kind)
        made[name] = Parameter(cls.__name__, name, kind, vars(cls)[name])
    for name, value in vars(cls).items():
        if name in made or isinstance(value, Parameter):
            continue
        if name in inherited:  # another default for a parameter of the base
            made[name] = Parameter(cls.__name__, name, inherited[name].kind, value)
        elif name in RESERVED:
            raise BadInput(f"{cls.__name__}.{name} has no type: write {name}: float = {value!r}")
    return made


def _kind(cls: type, name: str, annotation: object) -> type:
    if isinstance(annotation, str):  # from __future__ import annotations
        annotation = annotation.strip("'\" ")
        annotation = KINDS.get(annotation, annotation)
    if annotation not in KINDS.values():
        shown = getattr(annotation, "__name__", annotation)
        raise BadInput(f"{cls.__name__}.{name}: {shown}: a parameter is an int, float, bool or str")
    assert isinstance(annotation, type)
    return annotation


def _is_classvar(annotation: object) -> bool:
    if isinstance(annotation, str):
        return annotation.split("[")[0].split(".")[-1].strip() == "ClassVar"
    return annotation is ClassVar or getattr(annotation, "__origin__", None) is ClassVar


def _check_name(cls: type, name: str, kind: type) -> None:
    if name in STATE:
        raise BadInput(f"{cls.__name__}.{name}: decide gets the account's {name} by that name; call it something else")
    if name in vars(Strategy) and name != "warmup":
        raise BadInput(f"{cls.__name__}.{name}: every strategy has a {name} already; call it something else")
    if (name in BARS and kind is not int) or (name in RESERVED and kind in (str, bool)):
        wanted = "int" if name in BARS else "float"
        raise BadInput(f"{cls.__name__}.{name}: {kind.__name__}: the engine reads it: write {name}: {wanted} = ...")


def _ranges(cls: type[Strategy]) -> Ranges:
    """Those of the bases and its own, each value as its parameter's type."""
    found: dict[str, tuple[Value, ...]] = {}
    for base in reversed(cls.__mro__):
        own = vars(base).get("ranges", {})
        if not isinstance(own, Mapping):
            raise BadInput(f'{cls.__name__}.ranges: write a dict of values to try, such as {{"entry_z": (1.5, 2.0)}}')
        for name, values in own.items():
            if name not in cls._declared:
                raise _unknown(cls, name)
            if not isinstance(values, list | tuple) or not values:
                raise BadInput(f"{cls.__name__}.ranges: {name}: write the values to try, such as (1.5, 2.0, 2.5)")
            found[name] = tuple(cls._declared[name].check(f"{cls.__name__}.ranges", value) for value in values)
    return MappingProxyType(found)


def _check_decide(cls: type[Strategy]) -> None:
    decide = vars(cls).get("decide")
    if decide is None:
        return
    if not isinstance(decide, staticmethod):
        raise BadInput(f"{cls.__name__}.decide: write @staticmethod above it: it sees only what its arguments name")
    cls._written = written(decide.__func__)


def _unknown(cls: type[Strategy], name: str) -> BadInput:
    plain = inspect.getattr_static(cls, name, None)
    if isinstance(plain, int | float | str) and not name.startswith("_"):
        typed = f"{name}: {type(plain).__name__} = {plain!r}"
        return BadInput(f"{cls.__name__}.{name} has no type, so it is no parameter: write {typed}")
    return BadInput(f"{cls.__name__} has no parameter {name}: {did_you_mean(name, cls._declared)}")
