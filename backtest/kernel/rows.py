# mypy: allow-untyped-calls, allow-untyped-decorators, allow-subclassing-any
"""Arrays as the loops see them: an address and a shape.

A numpy array in compiled code is nine words and an owner whose references are counted, and an index may be negative.
All that costs more than a slow bar does. `Rows` is three or four words, counts nothing and indexes forwards only. It
does not keep its array alive: whoever makes one holds the array. Functions of the kernel are written for arrays and
take either; in plain Python they get arrays.
"""

from __future__ import annotations

import operator
from typing import Any

import numba
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_getattr_generic, models, register_model

from backtest.jit import jit


class Rows(types.Type):
    """Of one, two or three dimensions, C order; `turned`, of two: the first index is the one that lies close."""

    def __init__(self, dtype: Any, ndim: int, turned: bool = False) -> None:
        self.dtype, self.ndim, self.turned = dtype, ndim, turned
        super().__init__(name=f"Rows({dtype}, {ndim}, {turned})")


@register_model(Rows)
class RowsModel(models.StructModel):
    def __init__(self, dmm: Any, fe_type: Rows) -> None:
        members = [("data", types.CPointer(fe_type.dtype)), ("shape", types.UniTuple(types.intp, fe_type.ndim))]
        super().__init__(dmm, fe_type, members)


def _whole_index(rows: Any, index: Any) -> int:
    """How many dimensions an index names; 0: not an index of these rows."""
    if not isinstance(rows, Rows):
        return 0
    parts = index.types if isinstance(index, types.Tuple | types.UniTuple) else (index,)
    if rows.turned and len(parts) != rows.ndim:
        return 0
    return len(parts) if len(parts) <= rows.ndim and all(isinstance(p, types.Integer) for p in parts) else 0


def _index_type(count: int) -> Any:
    return types.intp if count == 1 else types.UniTuple(types.intp, count)


@infer_global(operator.getitem)
class Get(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        rows, index = args
        count = _whole_index(rows, index)
        if count:
            found = rows.dtype if count == rows.ndim else Rows(rows.dtype, rows.ndim - count)
            return signature(found, rows, _index_type(count))
        return None


@infer_global(operator.setitem)
class Set(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        rows, index, _value = args
        if rows is not None and _whole_index(rows, index) == getattr(rows, "ndim", -1):
            return signature(types.none, rows, _index_type(rows.ndim), rows.dtype)
        return None


@infer_global(len)
class Length(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        return signature(types.intp, args[0]) if isinstance(args[0], Rows) else None


@infer_getattr
class Attributes(AttributeTemplate):
    key = Rows

    def resolve_shape(self, rows: Rows) -> Any:
        return types.UniTuple(types.intp, rows.ndim)


def _parts(context: Any, builder: Any, kind: Rows, value: Any) -> tuple[Any, list[Any]]:
    made = cgutils.create_struct_proxy(kind)(context, builder, value=value)
    return made.data, cgutils.unpack_tuple(builder, made.shape, kind.ndim)


def _address(context: Any, builder: Any, sig: Any, args: Any) -> tuple[Any, list[Any]]:
    """Where the item or the sub-rows of an index begin, and the lengths that are left."""
    kind = sig.args[0]
    data, shape = _parts(context, builder, kind, args[0])
    index = [args[1]] if sig.args[1] is types.intp else cgutils.unpack_tuple(builder, args[1])
    if kind.turned:
        index, shape = index[::-1], shape[::-1]
    place = index[0]
    for j in range(1, kind.ndim):
        place = builder.mul(place, shape[j], flags=["nsw"])
        if j < len(index):
            place = builder.add(place, index[j], flags=["nsw"])
    return builder.gep(data, [place], inbounds=True), shape[len(index) :]


@lower_builtin(operator.getitem, Rows, types.Integer)
@lower_builtin(operator.getitem, Rows, types.BaseTuple)
def _get(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    at, rest = _address(context, builder, sig, args)
    if not rest:
        return context.unpack_value(builder, sig.return_type, at)
    return _made(context, builder, sig.return_type, at, rest)


@lower_builtin(operator.setitem, Rows, types.Integer, types.Any)
@lower_builtin(operator.setitem, Rows, types.BaseTuple, types.Any)
def _set(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    at, _ = _address(context, builder, sig, args)
    context.pack_value(builder, sig.args[0].dtype, args[2], at)
    return context.get_dummy_value()


@lower_builtin(len, Rows)
def _length(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _parts(context, builder, sig.args[0], args[0])[1][0]


@lower_getattr_generic(Rows)
def _attribute(context: Any, builder: Any, kind: Rows, value: Any, name: str) -> Any:
    made = cgutils.create_struct_proxy(kind)(context, builder, value=value)
    return getattr(made, name)


def _made(context: Any, builder: Any, kind: Rows, at: Any, shape: list[Any]) -> Any:
    made = cgutils.create_struct_proxy(kind)(context, builder)
    made.data = at
    made.shape = context.make_tuple(builder, types.UniTuple(types.intp, kind.ndim), shape)
    return made._getvalue()


def _maker(turned: bool) -> Any:
    @intrinsic
    def rows_at(typingctx: Any, address: Any, like: Any, shape: Any) -> Any:
        kind = Rows(like.dtype, len(shape), turned)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            at = builder.inttoptr(args[0], context.get_value_type(types.CPointer(kind.dtype)))
            lengths = cgutils.unpack_tuple(builder, args[2])
            return _made(context, builder, kind, at, lengths[::-1] if turned else lengths)

        return kind(types.intp, like, shape), codegen

    return rows_at


rows_at: Any = _maker(turned=False)
turned_at: Any = _maker(turned=True)


@jit
def bare(array: Any) -> Any:
    """The rows of an array."""
    return rows_at(array.ctypes.data, array, array.shape)


@jit
def bare_row(array: Any, s: int) -> Any:
    """The rows of one part of an array."""
    return rows_at(array.ctypes.data + s * array.strides[0], array, array.shape[1:])


@jit
def turned_row(array: Any, s: int) -> Any:
    """The same, transposed."""
    return turned_at(array.ctypes.data + s * array.strides[0], array, array.shape[1:])


@jit
def flat(array: Any) -> Any:
    """All items of an array, in one row."""
    return rows_at(array.ctypes.data, array, (array.size,))


def _same(array: Any) -> Any:
    return array


def _part(array: Any, s: int) -> Any:
    return array[s]


def _turned(array: Any, s: int) -> Any:
    return array[s].T


def _flat(array: Any) -> Any:
    return array.reshape(-1)


PLAIN: dict[str, Any] = {"bare": _same, "bare_row": _part, "turned_row": _turned, "flat": _flat}
"""The same in plain Python, where arrays do."""

if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
    globals().update(PLAIN)
