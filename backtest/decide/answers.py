"""`decide` made to answer with a number whatever happens: a transformation of its syntax tree.

Its own `raise`, `assert` and missing returns become answers where they stand. What is raised elsewhere (in a function
that it calls, by an index that does not exist) is caught around the whole, where there is anything that could raise:
that costs nothing a bar, but 0.1 s when it is compiled.
"""

from __future__ import annotations

import ast

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


_RAISING = (ast.Subscript, ast.List, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def may_raise(function: ast.FunctionDef) -> bool:
    """Whether compiled code could raise in an answering `decide`, functions that it calls aside."""
    return any(
        isinstance(part, _RAISING)
        or (isinstance(part, ast.Constant) and not isinstance(part.value, int | float))
        or (isinstance(part, ast.FunctionDef | ast.Lambda) and part is not function)
        for part in ast.walk(function)
    )


def guard(function: ast.FunctionDef, name: str) -> ast.FunctionDef:
    """A function `name` that calls another one of the same arguments and answers for what that raises."""
    arguments = ", ".join(argument.arg for argument in function.args.args)
    call = f"try:\n  return {function.name}({arguments})\n except Exception:\n  return {RAISED!r}"
    guarding = ast.parse(f"def {name}({arguments}):\n {call}").body[0]
    assert isinstance(guarding, ast.FunctionDef)
    for part in ast.walk(guarding):
        if hasattr(part, "lineno"):
            part.lineno = part.end_lineno = function.lineno  # type: ignore[attr-defined]
    return guarding
