"""From what is typed on a command line, or written in a file, to a strategy, an account and costs.

    strategy_of("FundingSqueeze", {"leverage": "3", "window": "7d"})     # texts become what each parameter is
    account_of({"equity": 50_000, "mode": "cross"})
    costs_of({"model": "fixed", "half_spread_bps": 3}, market)

Values come as texts or as what they are. A name that does not exist is answered with the nearest one that does.
"""

from __future__ import annotations

import contextlib
import inspect
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from backtest.written import quoted
from data.errors import BadInput, UnwindError, did_you_mean

if TYPE_CHECKING:
    from backtest.account import Account
    from backtest.costs import Costs
    from backtest.strategy import Parameter, Strategy
    from data.market import Market

FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def assigned(texts: Iterable[str] | None, option: str, example: str) -> dict[str, str]:
    """name=value, each name once."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, sign, value = (part.strip() for part in text.partition("="))
        if not (name and sign and value):
            raise BadInput(f"{option} {text}: write a name and a value, such as {option} {example}")
        if name in found:
            raise BadInput(f"{option} {name} is there twice: {found[name]} and {value}")
        found[name] = value
    return found


def strategy_class(name: str) -> type[Strategy]:
    """A strategy; of several with commas between them, one that trades them all on one account."""
    from backtest.cli.strategies import PACKAGE
    from backtest.strategy_lookup import load

    if "," in name:
        return _several([part.strip() for part in name.split(",") if part.strip()])
    return load(name, PACKAGE)


def _several(names: list[str]) -> type[Strategy]:
    """Strategies by their class's name, or by one of your own: squeeze=FundingSqueeze."""
    from backtest.together import together
    from strategies.carry import Carry

    found: dict[str, type[Strategy]] = {}
    for name in names:
        own, sign, wanted = name.partition("=")
        cls = strategy_class(wanted if sign else name)
        own = own.strip() if sign else cls.__name__
        if own in found:
            raise BadInput(f"two strategies are called {own}: give each a name, such as slow={cls.__name__}")
        if issubclass(cls, Carry):
            raise BadInput(
                "a carry trades two legs of a coin, and others only one of them: put them together in Python, where "
                "together(..., symbols=...) says who trades what"
            )
        found[own] = cls
    return type(together(found))


def strategy_of(cls: type[Strategy], values: Mapping[str, Any]) -> Strategy:
    """Of several strategies, a parameter is named with its strategy: ManagedTrend.leverage, ManagedTrend.weight."""
    known = cls.declared()
    if parts := getattr(cls, "parts", ()):
        values = {_of_part(parts, name): value for name, value in values.items()}
    return cls(**{name: typed(known[name], v) if name in known else v for name, v in values.items()})


@contextlib.contextmanager
def own_code(cls: type[Strategy]) -> Iterator[None]:
    """What fails in the lines of a strategy is said with the last of them that ran; UNWIND_DEBUG=1 shows the rest."""
    try:
        yield
    except UnwindError:
        raise
    except Exception as error:
        files = {inspect.getsourcefile(one) for one in [part.cls for part in getattr(cls, "parts", ())] or [cls]}
        ran = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files and f.lineno]
        if not ran:
            raise
        raise BadInput(f"{quoted(ran[-1].filename, ran[-1].lineno or 0)}\n{type(error).__name__}: {error}") from error


def _of_part(parts: Iterable[Any], name: str) -> str:
    own, dot, parameter = name.partition(".")
    names = [part.name for part in parts]
    if not dot:
        raise BadInput(f"{name} of which strategy? Write {names[0]}.{name}, or {names[-1]}.{name}")
    if own not in names:
        raise BadInput(f"there is no strategy {own} in this run: {did_you_mean(own, names)}")
    return f"{own}_{parameter}"


def typed(parameter: Parameter, value: Any) -> Any:
    """A text as what the parameter is. What does not fit stays as it is, for the parameter to refuse in its words."""
    if not isinstance(value, str) or parameter.kind is str:
        return value
    if parameter.kind is bool:
        return FLAGS.get(value.lower(), value)
    return number(value)


def number(text: str) -> Any:
    """A whole number, another number, or the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def literal(value: Any) -> Any:
    """A text as a number, a flag, nothing (none), or itself."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("none", ""):
        return None
    return FLAGS.get(value.lower(), number(value))


def account_of(values: Mapping[str, Any], base: Account | None = None) -> Account:
    """`base`: what holds where nothing is said."""
    from backtest.account import Account

    _check_names("an account", values, Account)
    given = {name: _as_declared(Account, name, literal(value)) for name, value in values.items()}
    if isinstance(given.get("pairs"), list):
        given["pairs"] = tuple(tuple(pair) if isinstance(pair, list) else pair for pair in given["pairs"])
    return replace(base or Account(), **given)


def costs_of(values: Mapping[str, Any], market: Market) -> Costs | None:
    """None: nothing was said, so what the market allows. `model` first, other names change it."""
    from backtest.costs import MODELS, Costs
    from backtest.terms import terms_of

    if not values:
        return None
    _check_names("costs", values, Costs)
    given = {name: _as_declared(Costs, name, literal(value)) for name, value in values.items()}
    if isinstance(values.get("model"), str):
        given["model"] = values["model"]  # "none" is one of them
    if "stress" in given:
        given["stress"] = _stress(given["stress"])
    usual = terms_of(market, None, None, None).costs
    models = {
        "none": Costs.none(),
        "fixed": Costs.fixed(usual.half_spread_bps),
        "impact": Costs.impact(),
        "depth": Costs.depth(),
    }
    model = given.pop("model", usual.model)
    if model not in models:
        raise BadInput(f"costs: model={model!r}: {did_you_mean(str(model), MODELS)}")
    return replace(models[model], **given)


def _stress(value: Any) -> Any:
    from backtest.costs import Stress

    if value is False or value is None:
        return None
    if isinstance(value, Mapping):
        _check_names("costs.stress", value, Stress)
        return Stress(**value)
    if value is True:
        return Stress()
    raise BadInput(f"costs: stress={value!r}: write false for a book that never thins, or its numbers as a table")


def _as_declared(cls: Any, name: str, value: Any) -> Any:
    """5 where 5.0 is meant: the same run has the same fingerprint, however the number was written."""
    kind = next(field.type for field in fields(cls) if field.name == name)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and str(kind).startswith("float") else value


def _check_names(owner: str, values: Mapping[str, Any], cls: Any) -> None:
    names = [field.name for field in fields(cls)]
    for name in values:
        if name not in names:
            raise BadInput(f"{owner} has no {name}: {did_you_mean(name, names)}")
