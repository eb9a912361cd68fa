"""Names that a function takes from outside: what they mean now, and what they are called in the text.

Numbers, texts and tuples of them become literals, `math` and `numpy` imports, plain functions their own source (and so
on for what those name). `module.thing` and `Class.thing` are followed to the thing. Whatever no text can stand for is
kept as an object.
"""

from __future__ import annotations

import ast
import builtins
import math
import types
from dataclasses import dataclass, field
from typing import Any

import numba

from backtest.decide.answers import bare, moved
from backtest.decide.check import Place, check
from backtest.decide.literals import Names, around, definition, is_library
from backtest.strategy import Strategy
from backtest.written import found
from data.errors import did_you_mean, near

NAME = "decide"
INNER = "_decide"  # where `decide` itself only guards
JIT = "_njit"
FINITE = "_finite"
AROUND = ("numba", "quiet")  # names of the loop that the text is put into
TAKEN = frozenset({NAME, INNER, JIT, FINITE, *AROUND, *dir(builtins)})
WHOLE = (int, round, math.floor, math.ceil, math.trunc)
"""They raise for NaN, inf and what no 64 bits hold; compiled, they would give any number."""
_FINITE = f"""
def {FINITE}(value):
    if not -9.2e18 < value < 9.2e18:
        raise ValueError('not a finite number')
    return value
"""


@dataclass
class Text:
    """Collects the text: lines above, functions, and the objects that no text can stand for."""

    above: dict[str, str] = field(default_factory=dict)  # name -> the statement that defines it
    functions: dict[str, tuple[ast.FunctionDef, str]] = field(default_factory=dict)  # name -> tree and file
    namespace: dict[str, Any] = field(default_factory=dict)
    originals: dict[str, object] = field(default_factory=dict)  # what the namespace stands for
    included: dict[int, tuple[str, object]] = field(default_factory=dict)  # by id: name in the text, and the object
    spelled: dict[str, str] = field(default_factory=dict)  # name in the text -> what the user wrote

    def add(self, tree: ast.FunctionDef, function: types.FunctionType, where: Place, name: str) -> None:
        """A function, and everything it names."""
        tree.name = name
        self.functions[name] = (tree, where.source.file)  # known before it is done: it may call itself
        _Outside(self, function, where, tree).visit(tree)

    def add_finite(self, where: Place, line: int) -> None:
        """The check of what becomes a whole number, as if it stood in a line of the user's."""
        if FINITE not in self.functions:
            tree = ast.parse(_FINITE).body[0]
            assert isinstance(tree, ast.FunctionDef)
            self.functions[FINITE] = (moved(tree, line), where.source.file)

    def name_of(self, wanted: str, value: object, avoid: Names, where: Place) -> str:
        """The name by which the text calls a value from outside. `avoid`: names that mean something else there."""
        if (line := definition(value)) is not None:
            return self._defined(wanted, line, avoid)
        if id(value) not in self.included:
            if isinstance(value, types.FunctionType):
                self._function(value, avoid, where)
            else:
                self._object(wanted, value, value, avoid)
        return self.included[id(value)][0]

    def _defined(self, wanted: str, line: str, avoid: Names) -> str:
        name = wanted
        while not self._free(name, avoid) and (name in avoid or self.above.get(name) != line.format(name)):
            name = _next(name)
        self.above[name] = line.format(name)
        return name

    def _function(self, function: types.FunctionType, avoid: Names, where: Place) -> None:
        source = found(function, None)
        has_defaults = function.__defaults__ or function.__kwdefaults__
        if source is None or not _is_undecorated(source[0]) or has_defaults:
            compiled = numba.njit(error_model="numpy", boundscheck=True)(function)
            self._object(function.__name__, function, compiled, avoid)
            return
        name = self._new(function.__name__, avoid)
        self.included[id(function)] = (name, function)
        inside = Place(f"{where.owner}, in {function.__name__}", source[1])
        check(source[0], inside)
        self.add(bare(source[0]), function, inside, name)

    def _object(self, wanted: str, value: object, stands_for_it: object, avoid: Names) -> None:
        self.keep(self._new(wanted, avoid), value, stands_for_it)

    def keep(self, name: str, value: object, stands_for_it: object) -> None:
        self.namespace[name], self.originals[name] = stands_for_it, value
        self.included[id(value)] = (name, value)

    def _new(self, wanted: str, avoid: Names) -> str:
        name = wanted if wanted.isidentifier() else "function"
        while not self._free(name, avoid):
            name = _next(name)
        return name

    def _free(self, name: str, avoid: Names) -> bool:
        return not any(name in names for names in (TAKEN, avoid, self.above, self.functions, self.namespace))

    def joined(self) -> tuple[str, tuple[tuple[str, int], ...]]:
        """The whole text, and where each of its lines comes from."""
        own = self.functions[NAME]
        text = [f"from numba import njit as {JIT}"] if len(self.functions) > 1 else []
        text += sorted(self.above.values(), key=lambda line: (not line.startswith(("import ", "from ")), line))
        places = [(own[1], own[0].lineno)] * len(text)
        helpers = [(name, made) for name, made in self.functions.items() if name != NAME]
        for name, (tree, file) in (*helpers, (NAME, own)):
            lines = ast.unparse(tree).splitlines()
            above = [""] if name == NAME else ["", f"@{JIT}(error_model='numpy', boundscheck=True)"]
            text += above + lines
            places += [(file, line) for line in (*[tree.lineno] * len(above), *_lines(tree, lines))]
        return "\n".join(text) + "\n", tuple(places)


def _is_undecorated(tree: ast.FunctionDef) -> bool:
    return all(isinstance(d, ast.Name) and d.id == "staticmethod" for d in tree.decorator_list)


def _next(name: str) -> str:
    stem, _, number = name.rpartition("_")
    return f"{stem}_{int(number) + 1}" if stem and number.isdigit() else f"{name}_2"


def _lines(tree: ast.FunctionDef, text: list[str]) -> list[int]:
    """For each line of unparsed text the line of the tree: both hold the same statements in the same order."""
    here = (n for n in ast.walk(tree) if isinstance(n, ast.stmt))
    there = (n for n in ast.walk(ast.parse("\n".join(text)).body[0]) if isinstance(n, ast.stmt))
    starts: dict[int, int] = {}
    for original, again in zip(here, there, strict=True):
        starts.setdefault(again.lineno, original.lineno)
    found = [tree.lineno]
    for number in range(1, len(text) + 1):
        found.append(starts.get(number, found[-1]))
    return found[1:]


class _Outside(ast.NodeTransformer):
    """Replaces each name from outside a function by the name that the text has for it."""

    def __init__(self, text: Text, function: types.FunctionType, where: Place, tree: ast.FunctionDef) -> None:
        self.text, self.where = text, where
        self.around = around(function)
        self.own = _bound(tree)
        self.named = self.own | {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.own:
            return node
        if node.id not in self.around:
            if not hasattr(builtins, node.id):
                raise self.where.refusal(node.lineno, f"`{node.id}` is not defined{self._hint(node.id)}")
            return node
        name = self._known(node.id, self.around[node.id], self.named - {node.id}, node)
        return ast.copy_location(ast.Name(name, node.ctx), node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        is_checked = len(node.args) == 1 and not node.keywords and any(self._means(node.func) is f for f in WHOLE)
        self.generic_visit(node)
        if is_checked:
            self.text.add_finite(self.where, node.lineno)
            node.args = [ast.copy_location(ast.Call(ast.Name(FINITE, ast.Load()), node.args, []), node)]
            ast.fix_missing_locations(node)
        return node

    def _means(self, function: ast.expr) -> object:
        found = self._reached(function)
        if found is _NOT_OUTSIDE and isinstance(function, ast.Name) and function.id not in self.own:
            return getattr(builtins, function.id, None)
        return found

    def _hint(self, name: str) -> str:
        if name in self.where.known:
            return ": name it as an argument of decide"
        close = near(name, [*self.own, *(n for n in self.around if not n.startswith("__"))])
        return f": did you mean {close[0]}?" if close else ""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """`module.thing` and `Class.thing` become the thing itself; math and numpy stay: the text imports them."""
        thing, root = self._reached(node), _root(node)
        if thing is _NOT_OUTSIDE:
            return self.generic_visit(node)
        if isinstance(thing, types.ModuleType):
            raise self.where.refusal(node.lineno, f"`{ast.unparse(node)}` is a module, which is no value")
        if is_library(self.around[root.id]):
            root.id = self._known(root.id, self.around[root.id], self.named - {root.id}, root)
            return node
        name = self._known(ast.unparse(node).replace(".", "_"), thing, self.named, node)
        return ast.copy_location(ast.Name(name, ast.Load()), node)

    def _known(self, wanted: str, value: object, avoid: Names, node: ast.Name | ast.Attribute) -> str:
        self._check_random(value, node)
        name = self.text.name_of(wanted, value, avoid, self.where)
        spelled = ast.unparse(node)
        if name in self.own:
            problem = f"`{name}` is a variable here and a function in {spelled}: call one of them something else"
            raise self.where.refusal(node.lineno, problem)
        self.text.spelled[name] = spelled
        return name

    def _reached(self, node: ast.expr) -> object:
        """What a name, or a name with dots, is outside of the function, as far as modules and classes lead to it."""
        if isinstance(node, ast.Name):
            return _NOT_OUTSIDE if node.id in self.own else self.around.get(node.id, _NOT_OUTSIDE)
        if not isinstance(node, ast.Attribute):
            return _NOT_OUTSIDE
        holder = self._reached(node.value)
        if not isinstance(holder, types.ModuleType | type):
            return _NOT_OUTSIDE
        if not hasattr(holder, node.attr):
            known = did_you_mean(node.attr, (n for n in dir(holder) if not n.startswith("_")))
            raise self.where.refusal(node.lineno, f"`{ast.unparse(node.value)}` has no {node.attr}: {known}")
        if isinstance(holder, type) and issubclass(holder, Strategy) and node.attr in holder.declared():
            problem = f"`{ast.unparse(node)}` is only the default: name {node.attr} as an argument of decide"
            raise self.where.refusal(node.lineno, problem)
        found = getattr(holder, node.attr)
        self._check_random(found, node)
        return found

    def _check_random(self, value: object, node: ast.Name | ast.Attribute) -> None:
        is_drawn = type(getattr(value, "__self__", None)).__name__ in ("Random", "RandomState", "Generator")
        if is_drawn or (isinstance(value, types.ModuleType) and value.__name__ in ("random", "numpy.random")):
            problem = "the same bar must get the same answer: draw random numbers in features(), from a seed"
            raise self.where.refusal(node.lineno, f"{ast.unparse(node)}: {problem}")


_NOT_OUTSIDE = object()


def _root(node: ast.expr) -> ast.Name:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node if isinstance(node, ast.Name) else ast.Name("")


def _bound(tree: ast.FunctionDef) -> Names:
    """Names that are given a value anywhere in a function, or in what it holds."""
    found = set()
    for part in ast.walk(tree):
        if isinstance(part, ast.arg):
            found.add(part.arg)
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            found.add(part.id)
        elif isinstance(part, ast.FunctionDef) and part is not tree:
            found.add(part.name)
    return frozenset(found)
