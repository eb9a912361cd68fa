"""Numba's version of `decide`, and what numba says when there is none, in words about the user's own line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from backtest.decide.binding import Binding
from backtest.decide.source import Source, compilable
from backtest.strategy import RAISED
from backtest.written import quoted
from data.errors import BadInput

Compiled = Callable[..., float]

_NUMBERS = (numba.types.Float, numba.types.Integer, numba.types.Boolean)

_COMPILED: dict[str, Compiled] = {}  # by key of the source


def compile_decide(binding: Binding, source: Source | None = None) -> Compiled:
    """`decide` for float64 arguments in the order of the binding; it returns a float64, RAISED and MISSING among them.

    `source`: what `compilable` gave for this binding, if it was asked already. Without any source the function itself
    is compiled: what it raises then comes out as the exception that it is, and one that may return None is refused.
    """
    source = compilable(binding) if source is None else source
    if source is None:
        return _compiled(binding, None, binding.function)
    if source.key not in _COMPILED or not source.cacheable:
        _COMPILED[source.key] = _compiled(binding, source, source.function())
    return _COMPILED[source.key]


def _compiled(binding: Binding, source: Source | None, function: Any) -> Compiled:
    wanted = tuple(numba.float64 for _ in binding.order)
    try:
        compiled: Any = numba.njit(error_model="numpy")(function)
        if compiled is function:  # NUMBA_DISABLE_JIT=1
            return _caught(function)
        compiled.compile(wanted)
        returned = compiled.overloads[wanted].signature.return_type
        if returned != numba.float64 and isinstance(returned, _NUMBERS):
            compiled = numba.njit(numba.float64(*wanted), error_model="numpy")(function)
    except Exception as error:  # noqa: BLE001 - numba fails with errors of many kinds, its own and others
        raise _refusal(binding, source, error) from None
    if not isinstance(returned, _NUMBERS):
        raise _no_number(binding, str(returned))
    return compiled  # type: ignore[no-any-return]


def _caught(function: Compiled) -> Compiled:
    """Without numba: a plain function that answers as a compiled one does."""

    def decide(*arguments: float) -> float:
        try:
            return float(function(*arguments))
        except Exception:  # noqa: BLE001 - whatever it is, `explain` finds it again
            return RAISED

    return decide


# ---- what went wrong -----------------------------------------------------------------------------


def _no_number(binding: Binding, returned: str) -> BadInput:
    what = _type(returned)
    advice = "every path must return a number or HOLD"
    return BadInput(
        f"{quoted(*_definition(binding), binding.written)}\n{binding.owner}.decide returns {what}: {advice}"
    )


def _refusal(binding: Binding, source: Source | None, error: Exception) -> BadInput:
    text = str(error)
    files = source.files if source is not None else frozenset({binding.function.__code__.co_filename})
    place = _place(text, error, files) or _definition(binding)
    problem = f"cannot be compiled: {_words(text, dict(source.spelled) if source is not None else {})}"
    for kind, where in re.findall(
        r"Return of: .*?, type '(.+?)', location:(.+?)(?=Return of|During|$)", text, re.DOTALL
    ):
        if (what := _type(kind)) not in _FINE:
            problem = f"returns {what}: every path must return a number or HOLD"
            place = _place(where, error, files) or place
    return BadInput(f"{quoted(*place, binding.written)}\n{binding.owner}.decide {problem}")


def _definition(binding: Binding) -> tuple[str, int]:
    code = binding.function.__code__
    below_decorators = min((n for _, _, n in code.co_lines() if n and n > code.co_firstlineno), default=0)
    return code.co_filename, below_decorators or code.co_firstlineno


def _place(text: str, error: Exception, files: frozenset[str]) -> tuple[str, int] | None:
    """The innermost line of the user's that an error of numba names."""
    named = re.findall(r'File "(.+?)", line (\d+)|(?:at|from|defined at) (\S.*?) \((\d+)\)', text)
    found = [(a or c, int(b or d)) for a, b, c, d in named]
    location: Any = getattr(error, "loc", None)
    if location is not None and location.line:
        found.append((str(location.filename), int(location.line)))
    own = ((file, line) for name, line in found for file in files if _is_same_file(name, file))
    return next(own, None)


def _is_same_file(a: str, b: str) -> bool:
    """Numba may name a file by its path from the current folder."""
    return a == b or Path(a).absolute().resolve() == Path(b).absolute().resolve()


_OPERATORS = {
    "add": "+",
    "iadd": "+=",
    "sub": "-",
    "isub": "-=",
    "mul": "*",
    "imul": "*=",
    "truediv": "/",
    "itruediv": "/=",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "neg": "-",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "eq": "==",
    "ne": "!=",
    "and_": "&",
    "or_": "|",
    "xor": "^",
    "invert": "~",
    "contains": "in",
    "getitem": "[...]",
    "setitem": "[...] =",
    "is_": "is",
}
_USABLE = "numbers, tuples of numbers, numpy arrays, functions of math and numpy, plain functions of your own"


def _words(text: str, spelled: dict[str, str]) -> str:
    """What numba says, without its inner life."""
    if found := re.search(r"Untyped global name '(.+?)':.*?<class '(.+?)'>", text):
        return f"`{spelled.get(found[1], found[1])}` is a {_class(found[2])}; decide can use {_USABLE}"
    if found := re.search(r"Cannot unify (.+?) and (.+?) for '([^'.]+)", text):
        name = "what it returns" if found[3].startswith("$") else f"`{found[3]}`"
        return f"{name} is {_type(found[1])} on one path and {_type(found[2])} on another"
    if found := re.search(r"Unknown attribute '(.+?)' of type (.+)", text):
        return f"{_type(found[2])} has no `.{found[1]}` there"
    if found := re.search(r"No implementation of function (.+?) found for signature:\s+>>> (\w+)\((.*)\)", text):
        return _call(found[2], _split(found[3]), text)
    if found := re.search(r"Invalid use of (\S+) with parameters", text):
        return f"{_type(found[1])} cannot be called"
    said = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Failed in ")]
    first = re.sub(r"\s*Raised from .*| \(?<[^>]*>.*", "", said[0]) if said else "numba does not say why"
    return first[:200]


def _call(name: str, arguments: list[str], text: str) -> str:
    types = [_type(a) for a in arguments]
    if name in ("getitem", "static_getitem") and types[:1] == ["a number"]:
        return "a number has no [...]: decide sees one bar; what it needs of earlier ones is a feature"
    if name in _OPERATORS:
        return f"`{_OPERATORS[name]}` does not go with {' and '.join(types)}"
    reasons = re.findall(r"TypingError: (.+)", text)
    because = f" ({reasons[0].strip()})" if reasons else ""
    return f"{name}() does not take {', '.join(types) or 'nothing'}{because}"


def _split(arguments: str) -> list[str]:
    """Arguments of a signature; commas inside brackets are not between them."""
    parts, depth = [""], 0
    for letter in arguments:
        depth += (letter in "([{<") - (letter in ")]}>")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


_TYPES = (
    (r"(float|Literal\[float\]).*", "a number"),
    (r"(u?int|Literal\[int\]).*", "a whole number"),
    (r"(bool|Literal\[bool\]).*", "True or False"),
    (r"(unicode|Literal\[str\]|\[unichr).*", "a text"),
    (r"complex.*", "a complex number"),
    (r"none|Literal\[none\].*", "None"),
    (r"(OptionalType|Optional|\?).*", "a number on one path and None on another"),
    (r"(Uni)?Tuple.*|Literal.*Tuple.*", "a tuple"),
    (r"(reflected )?list.*|List.*", "a list"),
    (r"Dict.*|Literal.*Dict.*", "a dict"),
    (r"(reflected )?set.*", "a set"),
    (r"array.*", "an array"),
    (r"Module\(<module '(.+?)'.*", r"the module \1"),
    (r"(type\(CPUDispatcher|Function|first-class function).*", "a function"),
)


_FINE = ("a number", "a whole number", "True or False")


def _type(name: str) -> str:
    keyword, _, rest = name.partition("=") if re.match(r"[a-z_]+=", name) else ("", "", name)
    for pattern, words in _TYPES:
        if match := re.fullmatch(pattern, rest.strip(), re.DOTALL):
            return (f"{keyword}=" if keyword else "") + match.expand(words)
    return name


def _class(name: str) -> str:
    return "function that is not plain Python" if "function" in name else name.rpartition(".")[2]
