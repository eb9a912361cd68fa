"""Conditions on parameters, as `--where` takes them: fast < slow and entry_z - exit_z >= 0.5.

    allows = condition("fast < slow", Trend.declared())
    allows({"fast": "3d", "slow": "14d"})         # True: durations are compared by their length

Names are the strategy's parameters; numbers, texts, comparisons, and, or, not, in, + - * / and brackets. Nothing else
is evaluated: no call, no attribute.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from data import clock
from data.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from backtest.strategy import Parameter, Value

COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,  # codespell:ignore notin
}
RECKON: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
EXAMPLE = "write a condition on parameters, such as fast < slow"


def condition(text: str, declared: Mapping[str, Parameter]) -> Callable[[dict[str, Value]], bool]:
    """Of a set's parameters; what is wrong with the text is said now, not in the first set."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise BadInput(f"--where {text}: {error.msg}: {EXAMPLE}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in declared:
            raise BadInput(f"--where {text}: there is no parameter {node.id}: {did_you_mean(node.id, declared)}")

    def allows(values: dict[str, Value]) -> bool:
        try:
            return bool(_value(tree, values))
        except (TypeError, ZeroDivisionError) as error:
            raise BadInput(f"--where {text}: {error}: {EXAMPLE}") from None
        except _Other as other:
            raise BadInput(f"--where {text}: {ast.unparse(other.node)} is not known here: {EXAMPLE}") from None

    allows({name: parameter.default for name, parameter in declared.items()})
    return allows


class _Other(Exception):
    def __init__(self, node: ast.AST) -> None:
        super().__init__()
        self.node = node


def _value(node: ast.AST, values: Mapping[str, Value]) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return _plain(value)
        case ast.Name(id=name):
            return _plain(values[name])
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, values) for part in parts)
        case ast.BoolOp(op=ast.Or(), values=parts):
            return any(_value(part, values) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return not _value(inner, values)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner, values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in RECKON:
            return _reckoned(type(op), _value(left, values), _value(right, values))
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(part, values) for part in parts]
        case ast.Compare(left=left, ops=ops, comparators=others):
            terms = [_value(term, values) for term in (left, *others)]
            return all(_compared(op, a, b, node) for op, a, b in zip(ops, terms[:-1], terms[1:], strict=True))
        case _:
            raise _Other(node)


def _compared(op: ast.cmpop, a: Any, b: Any, node: ast.AST) -> bool:
    if type(op) not in COMPARE:
        raise _Other(node)
    if {type(a), type(b)} & {_Length} and {type(a), type(b)} & {int, float, bool}:
        raise TypeError("a duration is compared with a number")
    return bool(COMPARE[type(op)](a, b))


def _reckoned(op: type[ast.operator], a: Any, b: Any) -> Any:
    """Twice a duration is one; a duration over another is a number."""
    result = RECKON[op](a, b)
    lengths = isinstance(a, _Length) + isinstance(b, _Length)
    return _Length(result) if lengths == 1 or (lengths == 2 and op in (ast.Add, ast.Sub)) else result


class _Length(int):
    """Nanoseconds, so that 3d is not taken for a number."""


def _plain(value: Value) -> Value:
    """A duration as its length."""
    if not isinstance(value, str):
        return value
    try:
        return _Length(clock.duration(value))
    except BadInput:
        return value
