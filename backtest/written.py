"""What a user wrote: the source of a function, in a file, a notebook cell or anything else that linecache knows.

`written` takes it when a class is made, since the file may be edited afterwards. `node` parses it, and only gives it
back if it compiles to the very function: text that has moved or changed since is nobody's source.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import copy
import dis
import functools
import hashlib
import inspect
import itertools
import linecache
import operator
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

_FUTURE = functools.reduce(
    operator.or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)
_JUMPS = frozenset({*dis.hasjrel, *dis.hasjabs})
_PYTEST = "@py"  # names that pytest makes when it rewrites the asserts of a test module


@dataclass(frozen=True)
class Written:
    """Lines of a file, indented as they stand there."""

    file: str
    line: int  # of the first one
    text: str

    def quoted(self, line: int) -> str:
        """One line of it, by its number in the file."""
        lines = self.text.splitlines()
        return lines[line - self.line].strip() if 0 <= line - self.line < len(lines) else ""


def written(function: object) -> Written | None:
    """The source of a function as it is now; None if there is none."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return None
    linecache.checkcache(code.co_filename)
    try:
        lines, first = inspect.getsourcelines(code)
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):
        return None
    return Written(code.co_filename, first, "".join(lines))


def node(function: FunctionType, source: Written | None) -> ast.FunctionDef | None:
    """The function's syntax tree, with the line numbers of its file; None if this is not its source."""
    if source is None or (tree := _parsed(source)) is None or tree.name != function.__name__:
        return None
    rewritten = any(name.startswith(_PYTEST) for name in function.__code__.co_names + function.__code__.co_varnames)
    return tree if rewritten or _same(function.__code__, _compiled(tree, function.__code__, source.file)) else None


def found(function: FunctionType, noted: Written | None) -> tuple[ast.FunctionDef, Written] | None:
    """A function's syntax tree and source: as noted, as it is now, or from wherever it is in its file."""
    for source in itertools.chain((noted, written(function)), _of_that_name(function)):  # the last only if it must
        tree = node(function, source)
        if tree is not None and source is not None:
            return tree, source
    return None


def _of_that_name(function: FunctionType) -> Iterator[Written]:
    """Functions of the same name in the same file; a reload may have left this one with another's line numbers."""
    file = function.__code__.co_filename
    lines = linecache.getlines(file, function.__globals__)
    with contextlib.suppress(SyntaxError):
        for part in ast.walk(ast.parse("".join(lines))):
            if isinstance(part, ast.FunctionDef) and part.name == function.__name__:
                first = min([part.lineno, *(d.lineno for d in part.decorator_list)])
                yield Written(file, first, "".join(lines[first - 1 : part.end_lineno]))


def _parsed(source: Written) -> ast.FunctionDef | None:
    indented = source.text[:1].isspace()
    try:
        body: list[ast.stmt] = ast.parse("if 1:\n" * indented + source.text).body
    except SyntaxError:
        return None
    first = body[0] if body else None
    if indented and isinstance(first, ast.If):
        first = first.body[0]
    if not isinstance(first, ast.FunctionDef):
        return None
    ast.increment_lineno(first, source.line - 1 - indented)
    return first


def _compiled(tree: ast.FunctionDef, like: CodeType, file: str) -> CodeType | None:
    """The code of a function, made where the names that `like` takes from around it are those of a function too."""
    bare = copy.deepcopy(tree)
    bare.decorator_list, bare.name = [], "_itself"  # its own name is no variable of the function around it
    outer = ast.parse("def _around():\n" + "".join(f"    {name} = None\n" for name in like.co_freevars) + "    pass")
    around = outer.body[0]
    assert isinstance(around, ast.FunctionDef)
    around.body.append(bare)
    flags = like.co_flags & _FUTURE
    try:
        code: CodeType = compile(ast.fix_missing_locations(outer), file, "exec", flags=flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    for _ in range(2):
        code = next(c for c in reversed(code.co_consts) if isinstance(c, CodeType))
    return code


def _same(a: CodeType, b: CodeType | None) -> bool:
    """The same instructions on the same names and constants, wherever they are written."""
    named = ("co_varnames", "co_freevars", "co_cellvars", "co_argcount", "co_kwonlyargcount", "co_posonlyargcount")
    if b is None or any(getattr(a, name) != getattr(b, name) for name in named):
        return False
    steps, others = _steps(a), _steps(b)
    return len(steps) == len(others) and all(
        x[0] == y[0] and (_same(x[1], y[1]) if isinstance(x[1], CodeType) else repr(x[1]) == repr(y[1]))
        for x, y in zip(steps, others, strict=True)
    )


def _steps(code: CodeType) -> list[tuple[str, Any]]:
    """Instructions with what they act on, but for how a call is prepared: that hangs on the imports of the file."""
    return [
        ("LOAD_ATTR" if step.opname == "LOAD_METHOD" else step.opname, _acted_on(step))
        for step in dis.get_instructions(code)
        if step.opname not in ("PUSH_NULL", "PRECALL", "EXTENDED_ARG")
    ]


def _acted_on(step: dis.Instruction) -> Any:
    if step.opcode in _JUMPS:
        return None
    if isinstance(step.argval, str):  # a class inside holds the names of what is around it
        return step.argval.rpartition(".<locals>.")[2]
    return step.argval


# ---- names of places -----------------------------------------------------------------------------


def place(file: str, line: int) -> str:
    """A line as a reader finds it: strategies/fade.py:12, or Cell In[3]:12."""
    return f"{_cell(file) or _short(file)}:{line}"


def quoted(file: str, line: int, source: Written | None = None) -> str:
    """`place`, with the line itself."""
    text = source.quoted(line) if source is not None and source.file == file else ""
    text = text or linecache.getline(file, line).strip()
    return f"{place(file, line)}: `{text}`" if text else place(file, line)


def _cell(file: str) -> str:
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    named = shell.compile.format_code_name(file) if shell is not None else None
    return " ".join(named) if named else ""


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name or file


def function_of(text: str, name: str, home: str, **known: Any) -> Any:
    """The function `name` of a text made by a program, with a source of its own, as if it stood in a file.

    `home`: the module that it belongs to; `known`: what its lines may name.
    """
    file = f"<{home}.{name} {hashlib.sha256(text.encode()).hexdigest()[:8]}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {**known, "__name__": home}
    exec(compile(text, file, "exec", dont_inherit=True), namespace)
    return namespace[name]
