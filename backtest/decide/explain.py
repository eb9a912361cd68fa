"""Why `decide` gave no target: the plain function is run again, with the same arguments, and watched."""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from typing import Any

import numpy as np

from backtest.decide.binding import Binding
from backtest.strategy import ABSURD, HOLD, MISSING, RAISED
from backtest.written import quoted
from data.errors import BadInput

_PATHS = "every path of decide must return a number or HOLD"
_NAN = "declare a warmup, or return HOLD while it is NaN"


def explain(binding: Binding, arguments: Mapping[str, float], bar: str, outcome: float) -> BadInput:
    """The error to raise when a compiled `decide` answered `outcome`: NaN, inf, RAISED, MISSING or beyond ABSURD.

    `arguments`: what it was called with, by name. `bar`: the bar's time, and its symbol where there are several.
    """
    plain = binding.plain([arguments[name] for name in binding.arguments])
    given = dict(zip(binding.arguments, plain, strict=True))
    reason = _reason(binding, given, outcome)
    values = ", ".join(f"{name}={_shown(value)}" for name, value in given.items()) or "no arguments"
    return BadInput(f"{binding.owner}.decide at {bar} {reason}\nwith {values}")


def _shown(value: Any) -> str:
    """As the user would have typed it."""
    if isinstance(value, tuple | list):
        return repr(type(value)(x.item() if isinstance(x, np.generic) else x for x in value))
    return repr(value.item() if isinstance(value, np.generic) else value)


def _reason(binding: Binding, given: Mapping[str, Any], outcome: float) -> str:
    try:
        with np.errstate(all="ignore"):
            answer: Any = binding.function(*given.values())
    except Exception as error:  # noqa: BLE001 - whatever a user's code raises is the answer
        return _raised(binding, error)
    if isinstance(answer, np.generic):
        answer = answer.item()
    if answer is None:
        return f"returned None: {_PATHS}"
    if isinstance(answer, str | complex) or not isinstance(answer, bool | int | float | np.number | np.bool_):
        return f"returned {_shown(answer)}, {type(answer).__name__}: {_PATHS}"
    number = float(answer)
    if problem := _problem(number, given):
        return f"returned {problem}"
    return f"{_compiled(outcome)} when compiled, but returned {number!r} as plain Python: what else does it depend on?"


def _problem(number: float, given: Mapping[str, Any]) -> str:
    if math.isnan(number):
        missing = [name for name, value in given.items() if isinstance(value, float) and math.isnan(value)]
        return f"NaN ({', '.join(missing)} is NaN: {_NAN})" if missing else "NaN"
    if math.isinf(number):
        return f"{number}"
    if number != HOLD and abs(number) > ABSURD:
        return f"{number!r}: a target is a multiple of equity, such as -1.5"
    return ""


def _compiled(outcome: float) -> str:
    return {RAISED: "raised an exception", MISSING: "returned None"}.get(outcome, f"returned {outcome!r}")


def _raised(binding: Binding, error: Exception) -> str:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is ours
    own = [frame for frame in frames if frame.filename == binding.function.__code__.co_filename]
    if not frames:  # it could not even be called
        return f"raised {text}"
    frame = (own or frames)[-1]
    return f"raised {text} ({quoted(frame.filename, frame.lineno or 0, binding.written)})"
