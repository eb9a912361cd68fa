"""What each argument of a strategy's `decide` is: a feature, a parameter or a state."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Literal

import numpy as np

from backtest.strategy import STATE, Strategy
from backtest.written import Written
from data.errors import BadInput, did_you_mean, near

Kind = Literal["feature", "parameter", "state", "inside", "written"]
"""`inside` is for strategies made of several: what the loop itself works on. `written`: a feature that they fill."""


@dataclass(frozen=True)
class Binding:
    """What `decide` takes. The tuples are in the order in which it names things."""

    owner: str  # name of the strategy
    function: FunctionType
    order: tuple[tuple[Kind, str], ...]  # one for each argument
    types: tuple[type, ...]  # of each argument, where the plain function is called: parameters keep theirs
    known: tuple[str, ...] = ()  # all that it might have named
    written: Written | None = None  # the function's source as it was when the class was made
    looked_up: tuple[tuple[Kind, str], ...] = ()  # features and parameters that it finds by itself, by their places

    def _of(self, kind: Kind) -> tuple[str, ...]:
        return tuple(name for k, name in (*self.order, *self.looked_up) if k == kind)

    @property
    def features(self) -> tuple[str, ...]:
        both = (*self.order, *self.looked_up)
        return tuple(name for k, name in both if k in ("feature", "written"))

    @property
    def parameters(self) -> tuple[str, ...]:
        return self._of("parameter")

    @property
    def state(self) -> tuple[str, ...]:
        return self._of("state")

    @property
    def inside(self) -> tuple[str, ...]:
        return self._of("inside")

    @property
    def arguments(self) -> tuple[str, ...]:
        return tuple(name for _, name in self.order)

    def plain(self, given: Iterable[float]) -> list[Any]:
        """Arguments for the plain function. numpy's floats divide by zero as compiled ones do."""
        kinds = zip(self.types, given, strict=True)
        return [x if kind is object else (np.float64 if kind is float else kind)(x) for kind, x in kinds]


def bind(strategy: Strategy | type[Strategy], feature_names: Iterable[str]) -> Binding:
    """Find what each argument of `decide` is.

    A name is one thing only: a feature called like a parameter or a state is refused, used or not (a parameter called
    like a state is refused where the class is made).
    """
    cls = strategy if isinstance(strategy, type) else type(strategy)
    features = tuple(feature_names)
    _check_features(cls, features)
    function = getattr(cls, "decide", None)
    if not isinstance(function, FunctionType):
        raise BadInput(f"{cls.__name__} has no decide: write it as a plain function below @staticmethod")
    order = tuple((_kind(cls, name, features), name) for name in _arguments(cls, function))
    known = (*features, *(p.name for p in cls.declared().values() if p.kind is not str), *STATE)
    types = tuple(_type(cls, kind, name) for kind, name in order)
    return Binding(cls.__name__, function, order, types, known, _written(cls, function), tuple(cls._looked_up))


def _check_features(cls: type[Strategy], features: tuple[str, ...]) -> None:
    for name in features:
        other = "a parameter" if name in cls.declared() else "what the engine gives decide" if name in STATE else ""
        if other:
            raise BadInput(f"{cls.__name__}: the feature {name} is also the name of {other}: call it something else")


def _arguments(cls: type[Strategy], function: Callable[..., Any]) -> tuple[str, ...]:
    for name, argument in inspect.signature(function).parameters.items():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            stars = "*" if argument.kind == argument.VAR_POSITIONAL else "**"
            raise BadInput(f"{cls.__name__}.decide takes {stars}{name}: name each feature, parameter or state it uses")
        if argument.kind == argument.KEYWORD_ONLY:
            raise BadInput(f"{cls.__name__}.decide: {name} comes after a *: leave the * out")
        if argument.default is not argument.empty:
            declared = f"declare {name} in the class and write decide(..., {name})"
            raise BadInput(f"{cls.__name__}.decide: {name}={argument.default!r} is a default: {declared}")
    return tuple(inspect.signature(function).parameters)


def _type(cls: type[Strategy], kind: Kind, name: str) -> type:
    if kind == "inside":
        return object  # as it is
    return cls.declared()[name].kind if kind == "parameter" else float


def _kind(cls: type[Strategy], name: str, features: tuple[str, ...]) -> Kind:
    if name in cls._inside:
        return "inside"
    if name in features:
        return "feature"
    if name in STATE:
        return "state"
    if name not in cls.declared():
        raise BadInput(f"{cls.__name__}.decide names {name}, {_unknown(cls, name, features)}")
    parameter = cls.declared()[name]
    if parameter.kind is str:
        use = f"use {name} in features() and name what that returns"
        raise BadInput(
            f"{cls.__name__}.decide names {name}, a text ({parameter.default!r}): decide takes numbers; {use}"
        )
    return "parameter"


def _unknown(cls: type[Strategy], name: str, features: tuple[str, ...]) -> str:
    from data.market import FIELDS

    nothing = "no feature, parameter or state"
    choices = (*features, *cls.declared(), *STATE)
    if name == "self":
        return "but sees only features, parameters and state: leave self out and name what it uses"
    if isinstance(plain := vars(cls).get(name), bool | int | float):
        typed = f"{name}: {type(plain).__name__} = {plain!r}"
        return f"which has no type, so it is no parameter: write {typed} (or import the file again, if that is new)"
    if name in FIELDS and not near(name, choices):
        return f'{nothing}: return it from features(), as {{"{name}": market.{name}}}'
    return f"{nothing}: {did_you_mean(name, choices)}"


def _written(cls: type[Strategy], function: FunctionType) -> Written | None:
    """The source noted by the class that holds this function."""
    for base in cls.__mro__:
        own = vars(base).get("decide")
        if own is not None and getattr(own, "__func__", own) is function:
            noted = vars(base).get("_written")
            return noted if isinstance(noted, Written) else None
    return None
