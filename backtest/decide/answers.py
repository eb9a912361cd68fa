"""`decide` made to answer with a number whatever happens: a transformation of its syntax tree.

Its own `raise`, `assert` and missing returns become answers where they stand. What is raised elsewhere (in a function
that it calls, by an index that does not exist) is caught around the whole, where there is anything that could raise:
that costs nothing a bar, but 0.1 s when it is compiled.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from backtest.strategy import MISSING, RAISED


def _number(value: float) -> ast.Constant:
    return ast.Constant(value)


class _Answers(ast.NodeTransformer):
    """Makes every end of `decide` return a number. Functions inside it are left alone."""

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        return ast.copy_location(ast.Return(_number(RAISED)), node)

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        failed = ast.Return(_number(RAISED))
        return ast.copy_location(ast.If(ast.UnaryOp(ast.Not(), node.test), [failed], []), node)

    def visit_Return(self, node: ast.Return) -> ast.stmt:
        return ast.copy_location(ast.Return(_answer(node.value)), node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
        return bare(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        return _unannotated(node)


def _answer(value: ast.expr | None) -> ast.expr:
    if value is None or (isinstance(value, ast.Constant) and value.value is None):
        return _number(MISSING)
    if isinstance(value, ast.IfExp):
        return ast.copy_location(ast.IfExp(value.test, _answer(value.body), _answer(value.orelse)), value)
    return value


class _Unannotated(ast.NodeTransformer):
    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        return _unannotated(node)


def _unannotated(node: ast.AnnAssign) -> ast.stmt:
    made = ast.Pass() if node.value is None else ast.Assign([node.target], node.value)
    return ast.copy_location(made, node)


def bare(function: ast.FunctionDef) -> ast.FunctionDef:
    """Without docstring, annotations and decorators."""
    arguments = function.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if argument is not None:
            argument.annotation = None
    function.decorator_list, function.returns = [], None
    function.body = [_Unannotated().visit(statement) for statement in _without_docstring(function.body)]
    return function


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return (body[1:] or [ast.copy_location(ast.Pass(), first)]) if is_docstring else body


def answering(function: ast.FunctionDef) -> ast.FunctionDef:
    last, end = function.body[-1], function.end_lineno or function.lineno
    bare(function)
    function.body = [_Answers().visit(statement) for statement in function.body]
    if not isinstance(last, ast.Return | ast.Raise):
        function.body.append(ast.Return(_number(MISSING), lineno=end, col_offset=0))
    function.args.args, function.args.posonlyargs = [*function.args.posonlyargs, *function.args.args], []
    return ast.fix_missing_locations(function)


_RAISING = (ast.Subscript, ast.List, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp, ast.Lambda)
_HARMLESS = ("abs", "min", "max", "float", "bool", "range")


def may_raise(function: ast.FunctionDef) -> bool:
    """Whether compiled code could raise in an answering `decide`; what it calls of the user's own aside."""
    return any(
        isinstance(part, _RAISING)
        or (isinstance(part, ast.Call) and not _is_harmless(part))
        or (isinstance(part, ast.Constant) and not isinstance(part.value, int | float))
        or (isinstance(part, ast.FunctionDef) and part is not function)
        for part in ast.walk(function)
    )


def _is_harmless(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Attribute):
        return isinstance(call.func.value, ast.Name) and call.func.value.id == "math"
    return isinstance(call.func, ast.Name) and call.func.id in _HARMLESS and len(call.args) < 3


_GUARD = """
def {name}({arguments}):
    try:
        return {inner}({arguments})
    except Exception:
        return {RAISED!r}
"""
_GUARD_WITHOUT_SOURCE = """
def {name}({arguments}):
    try:
        answer = {inner}({arguments})
    except Exception:
        return {RAISED!r}
    if answer is None:
        return {MISSING!r}
    return answer + 0.0
"""


def guard(name: str, inner: str, arguments: Iterable[str], line: int, *, has_source: bool = True) -> ast.FunctionDef:
    """A function that calls another one of the same arguments and answers for what that raises."""
    text = _GUARD if has_source else _GUARD_WITHOUT_SOURCE
    values = {"name": name, "inner": inner, "arguments": ", ".join(arguments), "RAISED": RAISED, "MISSING": MISSING}
    made = ast.parse(text.format(**values)).body[0]
    assert isinstance(made, ast.FunctionDef)
    return moved(made, line)


def moved(function: ast.FunctionDef, line: int) -> ast.FunctionDef:
    """As if all of it stood in one line."""
    for part in ast.walk(function):
        if isinstance(part, ast.stmt | ast.expr | ast.arg | ast.keyword | ast.ExceptHandler):
            part.lineno = part.end_lineno = line
            part.col_offset = part.end_col_offset = 0
    return function
