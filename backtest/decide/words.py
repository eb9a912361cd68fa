"""What numba says of code that it cannot compile, in the words of someone who does not know numba."""

from __future__ import annotations

import re
from collections.abc import Mapping

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


def words(text: str, spelled: Mapping[str, str]) -> str:
    """What numba says, without its inner life."""
    if found := re.search(r"Untyped global name '(.+?)':.*?<class '(.+?)'>", text):
        return f"`{spelled.get(found[1], found[1])}` is a {_class(found[2])}; decide can use {_USABLE}"
    if found := re.search(r"Cannot unify (.+?) and (.+?) for '([^'.]+)", text):
        name = "what it returns" if found[3].startswith("$") else f"`{found[3]}`"
        return f"{name} is {type_name(found[1])} on one path and {type_name(found[2])} on another"
    if found := re.search(r"Unknown attribute '(.+?)' of type (.+)", text):
        return f"{type_name(found[2])} has no `.{found[1]}` there"
    if found := re.search(r"No implementation of function (.+?) found for signature:\s+>>> (\w+)\((.*)\)", text):
        return _call(found[2], _split(found[3]), text)
    if found := re.search(r"Invalid use of (\S+) with parameters", text):
        return f"{type_name(found[1])} cannot be called"
    said = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Failed in ")]
    first = re.sub(r"\s*Raised from .*| \(?<[^>]*>.*", "", said[0]) if said else "numba does not say why"
    return first[:200]


def _call(name: str, arguments: list[str], text: str) -> str:
    types = [type_name(a) for a in arguments]
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


FINE = ("a number", "a whole number", "True or False")


def type_name(name: str) -> str:
    keyword, _, rest = name.partition("=") if re.match(r"[a-z_]+=", name) else ("", "", name)
    for pattern, words in _TYPES:
        if match := re.fullmatch(pattern, rest.strip(), re.DOTALL):
            return (f"{keyword}=" if keyword else "") + match.expand(words)
    return name


def _class(name: str) -> str:
    return "function that is not plain Python" if "function" in name else name.rpartition(".")[2]
