"""The text of `decide` that is compiled: the user's own, made to answer with a number whatever happens.

1. Take the source that was noted when the class was made; refuse what would compile to something else.
2. `raise`, an assert that fails and what called functions raise become `return RAISED`; `return`, `return None` and
   falling off the end become `return MISSING`. Docstring, annotations and decorators go.
3. Every name from outside gets a line of its own above: numbers, texts and tuples of them as literals, `math` and
   `numpy` as imports, plain functions as their own source, compiled as it stands (and so on for what they name).
   Anything else (compiled functions, arrays, functions without source) goes into a namespace beside the text, and then
   the text alone does not say everything: it cannot be cached on disk. A `decide` without source is one of these.
4. Each line of the text knows the file and line it came from, so that compilers and tracebacks name the user's.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from backtest.decide.answers import answering, guard, may_raise
from backtest.decide.binding import Binding
from backtest.decide.check import Place, check
from backtest.decide.literals import content, identity
from backtest.decide.names import INNER, NAME, Text
from backtest.written import found


@dataclass(frozen=True, eq=False)
class Source:
    """Python text that defines `decide`, and what it needs besides."""

    text: str
    arguments: tuple[str, ...]
    lines: tuple[tuple[str, int], ...]  # file and line of each line of the text
    namespace: Mapping[str, Any]
    spelled: Mapping[str, str]  # names of the text from outside -> what the user wrote
    key: str  # of everything that makes the compiled code what it is
    content: str  # of everything that makes the decisions what they are: the same in every process

    @property
    def cacheable(self) -> bool:
        """Whether the text is all there is. If not, `key` holds in this process only, while what it names lives."""
        return not self.namespace

    def where(self, line: int) -> tuple[str, int]:
        """The user's file and line of a line of the text, counted from 1."""
        return self.lines[min(max(line, 1), len(self.lines)) - 1]

    @property
    def files(self) -> frozenset[str]:
        return frozenset(file for file, _ in self.lines)

    def function(self) -> Any:
        """`decide` of this text, as plain Python that stands on the user's own lines."""
        globals_: dict[str, Any] = {"__name__": __name__, "__builtins__": builtins, **self.namespace}
        for statement in ast.parse(self.text).body:
            file = self.where(statement.lineno)[0]
            for part in ast.walk(statement):
                if isinstance(part, ast.stmt | ast.expr | ast.arg | ast.keyword | ast.ExceptHandler):
                    part.lineno = part.end_lineno = self.where(part.lineno)[1]
                    part.col_offset = part.end_col_offset = 0
            exec(compile(ast.Module([statement], []), file, "exec", dont_inherit=True), globals_)
        return globals_[NAME]


def compilable(binding: Binding) -> Source:
    """The text of a bound `decide`.

    If its source cannot be found, as for a lambda or an exec without a file, the text calls the function itself, which
    numba compiles as it stands: a variable without a value is 0 there, and so on.
    """
    text = Text()
    if (source := found(binding.function, binding.written)) is not None:
        tree, where = source[0], Place(f"{binding.owner}.decide", source[1], binding.known)
        check(tree, where)
        text.add(answering(tree), binding.function, where, NAME)
        _guard(text, binding)
        return _made(text, binding)
    code = binding.function.__code__
    text.keep(INNER, binding.function, numba.njit(error_model="numpy", boundscheck=True)(binding.function))
    made = guard(NAME, INNER, binding.arguments, code.co_firstlineno, has_source=False)
    text.functions[NAME] = (made, code.co_filename)
    return _made(text, binding)


def _guard(text: Text, binding: Binding) -> None:
    tree, file = text.functions[NAME]
    if len(text.functions) > 1 or text.namespace or may_raise(tree):
        tree.name = INNER
        text.functions |= {INNER: (tree, file), NAME: (guard(NAME, INNER, binding.arguments, tree.lineno), file)}


def _made(text: Text, binding: Binding) -> Source:
    joined, lines = text.joined()
    parts = [joined, repr(binding.order), numba.__version__, np.__version__, platform.python_version()]
    parts += [f"{name}={identity(text.originals[name])}" for name in sorted(text.namespace)]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    made_of = [joined, repr(binding.order)]
    made_of += [f"{name}={content(text.originals[name])}" for name in sorted(text.namespace)]
    whole = hashlib.sha256("\0".join(made_of).encode()).hexdigest()
    return Source(joined, binding.arguments, lines, text.namespace, text.spelled, key, whole)
