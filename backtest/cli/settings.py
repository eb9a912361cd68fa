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
    from backtest.cli.strategies import PACKAGE
    from backtest.strategy_lookup import load

    return load(name, PACKAGE)


def strategy_of(cls: type[Strategy], values: Mapping[str, Any]) -> Strategy:
    known = cls.declared()
    return cls(**{name: typed(known[name], v) if name in known else v for name, v in values.items()})


@contextlib.contextmanager
def own_code(cls: type[Strategy]) -> Iterator[None]:
    """What fails in the lines of a strategy is said with the last of them that ran; UNWIND_DEBUG=1 shows the rest."""
    try:
        yield
    except UnwindError:
        raise
    except Exception as error:
        file = inspect.getsourcefile(cls)
        ran = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file and f.lineno]
        if file is None or not ran:
            raise
        raise BadInput(f"{quoted(file, ran[-1])}\n{type(error).__name__}: {error}") from error


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
