"""What `decide` may not hold: things that numba would compile to something other than the Python that stands there.

1. Statements without a meaning for one bar's decision (files, imports, exceptions that are caught), and those that
   numba takes now and then (`match`, `:=`, generators).
2. A variable that has no value on some path. Python raises there; numba goes on with 0.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from backtest.written import Written, quoted
from data.errors import BadInput

_TRY = "it cannot catch exceptions: test the value first, as in `if x > 0.0:`"
_LOOP_ELSE = "it cannot use `else` after a loop: write what follows it below the loop"
REFUSED: dict[type[ast.AST], str] = {
    ast.Try: _TRY,
    ast.TryStar: _TRY,
    ast.With: "it cannot use `with`",
    ast.AsyncWith: "it cannot use `with`",
    ast.AsyncFor: "it cannot use `async`",
    ast.Await: "it cannot use `await`",
    ast.AsyncFunctionDef: "it cannot use `async`",
    ast.Import: "it cannot import: write the import above the class",
    ast.ImportFrom: "it cannot import: write the import above the class",
    ast.Global: "it cannot change a global: it answers from its arguments alone",
    ast.Nonlocal: "it cannot change what is outside of it: it answers from its arguments alone",
    ast.Yield: "it cannot yield: it returns one number",
    ast.YieldFrom: "it cannot yield: it returns one number",
    ast.NamedExpr: "it cannot use `:=`: give the variable its value on a line of its own",
    ast.Match: "it cannot use `match`: write `if` and `elif`",
    ast.GeneratorExp: "it cannot use a generator: write a loop",
    ast.ClassDef: "it cannot define a class",
    ast.Delete: "it cannot delete a variable",
}


@dataclass(frozen=True)
class Place:
    """Where a function is written, for messages."""

    owner: str
    source: Written
    known: tuple[str, ...] = ()  # what `decide` might name as an argument

    def refusal(self, line: int, problem: str) -> BadInput:
        return BadInput(f"{quoted(self.source.file, line, self.source)}\n{self.owner}: {problem}")


def check(function: ast.FunctionDef, where: Place) -> None:
    """Refuse what cannot be compiled as it stands."""
    for node in ast.walk(function):
        if problem := REFUSED.get(type(node)):
            raise where.refusal(getattr(node, "lineno", function.lineno), problem)
    for inner in ast.walk(function):
        if isinstance(inner, ast.FunctionDef):
            _check_assigned(inner, where)


# ---- variables without a value -------------------------------------------------------------------

Names = frozenset[str]
_Reached = Names | None  # names that have a value here; None: never reached
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass
class _Loop:
    breaks: list[Names] = field(default_factory=list)


@dataclass
class _Flow:
    """Walks statements in order, carrying the names that have a value whatever path was taken."""

    where: Place
    variables: Names  # the function's own
    loops: list[_Loop] = field(default_factory=list)

    def block(self, statements: list[ast.stmt], have: _Reached) -> _Reached:
        for statement in statements:
            if have is None:
                return None
            have = self.statement(statement, have)
        return have

    def statement(self, node: ast.stmt, have: Names) -> _Reached:
        if isinstance(node, ast.If):
            return self._branches(node, have)
        if isinstance(node, ast.For | ast.While):
            return self._loop(node, have)
        if isinstance(node, ast.FunctionDef):
            return have | {node.name}
        have = self._used(node, have)
        if isinstance(node, ast.Break) and self.loops:
            self.loops[-1].breaks.append(have)
        return None if isinstance(node, ast.Return | ast.Raise | ast.Break | ast.Continue) else have

    def _branches(self, node: ast.If, have: Names) -> _Reached:
        have = self._used(node.test, have)
        return _either(self.block(node.body, have), self.block(node.orelse, have))

    def _loop(self, node: ast.For | ast.While, have: Names) -> _Reached:
        if node.orelse:
            raise self.where.refusal(node.lineno, _LOOP_ELSE)
        have = self._used(node.iter if isinstance(node, ast.For) else node.test, have)
        self.loops.append(_Loop())
        targets = _stored(node.target) if isinstance(node, ast.For) else frozenset()
        self.block(node.body, have | targets)
        after: _Reached = None if _is_always(node) else have
        for names in self.loops.pop().breaks:
            after = _either(after, names)
        return after

    def _used(self, node: ast.AST, have: Names) -> Names:
        """Check what an expression or simple statement reads; add what it assigns."""
        for name in _loaded(node):
            if name.id in self.variables and name.id not in have:
                advice = f"give {name.id} a value before the paths part"
                raise self.where.refusal(name.lineno, f"`{name.id}` has no value on some path to here: {advice}")
        return have | _stored(node)


def _check_assigned(function: ast.FunctionDef, where: Place) -> None:
    arguments = function.args
    named = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    declared = {
        n.target.id for n in ast.walk(function) if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }
    variables = frozenset(declared).union(*(_stored(s) for s in function.body)) - named
    _Flow(where, variables).block(function.body, frozenset(named))


def _either(a: _Reached, b: _Reached) -> _Reached:
    if a is None or b is None:
        return b if a is None else a
    return a & b


def _is_always(node: ast.For | ast.While) -> bool:
    return isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and bool(node.test.value)


def _stored(node: ast.AST) -> Names:
    """The variables of the function itself that a statement or expression gives a value, at any depth."""
    if isinstance(node, ast.FunctionDef):
        return frozenset({node.name})
    if isinstance(node, (ast.Lambda, *_COMPREHENSIONS)) or (isinstance(node, ast.AnnAssign) and node.value is None):
        return frozenset()
    own = {node.id} if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else set()
    return frozenset(own).union(*(_stored(child) for child in ast.iter_child_nodes(node)))


def _loaded(node: ast.AST) -> list[ast.Name]:
    """The names that a statement or expression reads."""
    if isinstance(node, ast.FunctionDef | ast.Lambda):
        return []
    found = [name for child in ast.iter_child_nodes(node) for name in _loaded(child)]
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        found.append(node)
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        found.append(node.target)
    if isinstance(node, _COMPREHENSIONS):
        bound = frozenset().union(*(_stored(generator.target) for generator in node.generators))
        found = [name for name in found if name.id not in bound]
    return found
