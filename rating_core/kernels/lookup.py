"""Reading tables of words and copying bytes: prefetch, counting thresholds without a branch.

As in `int128`: Python twins, and overloads on LLVM's instructions for compiled code.
"""

# ruff: noqa: ARG005 - Numba reads the argument names of lambdas that ignore them
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from rating_core.int128 import types

LANES = 8
"""Words that are compared at once: a cache line of them."""
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_BYTE = ir.IntType(8)

WordView = Any
"""What `word_view` returns: an array for Python, an int64 for Numba."""


def _address(builder: Any, arguments: list[Any], pointee: Any) -> Any:
    """Return a pointer to a word, from a view and the word's place."""
    words = builder.inttoptr(arguments[0], _I64.as_pointer())
    return builder.bitcast(builder.gep(words, [arguments[1]]), pointee.as_pointer())


def _emit_view(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
    words = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.ptrtoint(words.data, _I64)


def _emit_prefetch(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
    address = _address(builder, arguments, _BYTE)
    arguments_type = [_BYTE.as_pointer(), _I32, _I32, _I32]
    function = builder.module.declare_intrinsic(
        "llvm.prefetch", [_BYTE.as_pointer()], ir.FunctionType(ir.VoidType(), arguments_type)
    )
    read, keep, data = (ir.Constant(_I32, value) for value in (0, 3, 1))
    builder.call(function, [address, read, keep, data])
    return context.get_dummy_value()


def _emit_count(_: Any, builder: Any, __: Any, arguments: list[Any]) -> Any:
    lanes = ir.VectorType(_I64, LANES)
    thresholds = builder.load(_address(builder, arguments, lanes), align=8)
    unset = ir.Constant(lanes, ir.Undefined)
    first = builder.insert_element(unset, arguments[2], ir.Constant(_I32, 0))
    same = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    quantity = builder.shuffle_vector(first, unset, same)
    above = builder.icmp_signed(">", quantity, thresholds)
    bits = builder.zext(builder.bitcast(above, ir.IntType(LANES)), _I64)
    counted = builder.sub(builder.shl(ir.Constant(_I64, 1), arguments[3]), ir.Constant(_I64, 1))
    bits = builder.and_(bits, counted)
    return builder.call(builder.module.declare_intrinsic("llvm.ctpop", [_I64]), [bits])


def _emit_copy(_: Any, builder: Any, __: Any, arguments: list[Any]) -> Any:
    out, position, source, begin, length = arguments
    flag = ir.IntType(1)
    bytes_type = _BYTE.as_pointer()
    target, origin = (
        builder.inttoptr(builder.add(view, place), bytes_type)
        for view, place in ((out, position), (source, begin))
    )
    copy = builder.module.declare_intrinsic("llvm.memcpy", [bytes_type, bytes_type, _I64])
    builder.call(copy, [target, origin, length, ir.Constant(flag, 0)])
    return builder.add(position, length)


def _emit_word(_: Any, builder: Any, __: Any, arguments: list[Any]) -> Any:
    return builder.load(_address(builder, arguments, _I64))


_word = types.int64
_view: Any = intrinsic(lambda _, words: (_word(words), _emit_view))
_prefetch: Any = intrinsic(lambda _, view, place: (types.void(_word, _word), _emit_prefetch))
_count: Any = intrinsic(lambda _, view, place, quantity, count: (_word(*[_word] * 4), _emit_count))
_copy: Any = intrinsic(
    lambda _, out, position, source, begin, length: (_word(*[_word] * 5), _emit_copy)
)
_load: Any = intrinsic(lambda _, view, place: (_word(_word, _word), _emit_word))


def word_view(words: NDArray[Any]) -> WordView:
    """Return ``words`` to read from while the array lives: its address in compiled code.

    Functions that take an address need no reference counting, which costs more than an amount.
    Arrays of two dimensions are read row by row.
    """
    return words.reshape(-1)


def prefetch(view: WordView, place: int) -> None:
    """Ask for the cache line of word ``place``; it will be read soon."""


def word_at(view: WordView, place: int) -> int:
    """Return word ``place`` ≥ 0, which must be there: compiled code does not check."""
    return int(view[place])


def copy_bytes(out: WordView, position: int, source: WordView, begin: int, length: int) -> int:
    """Copy ``length`` bytes between views of uint8 arrays; return where the copy ends.

    All of them must be there in both: compiled code does not check. The two must not overlap.
    """
    end = position + length
    out[position:end] = source[begin : begin + length]
    return end


def count_above(view: WordView, place: int, quantity: int, count: int) -> int:
    """Return how many of ``count`` ≤ `LANES` thresholds from word ``place`` on it exceeds.

    All `LANES` words must be there: compiled code reads them at once.
    """
    return int((view[place : place + count] < quantity).sum())


overload(word_view, inline="always")(
    lambda words: lambda words: _view(words)  # noqa: PLW0108 - an overload returns a function with these argument names, an intrinsic is none
)
overload(prefetch, inline="always")(
    lambda view, place: lambda view, place: _prefetch(view, place)  # noqa: PLW0108 - an overload returns a function with these argument names, an intrinsic is none
)
overload(word_at, inline="always")(
    lambda view, place: lambda view, place: _load(view, place)  # noqa: PLW0108 - an overload returns a function with these argument names, an intrinsic is none
)
overload(copy_bytes, inline="always")(
    lambda out, position, source, begin, length: (
        lambda out, position, source, begin, length: _copy(  # noqa: PLW0108 - an overload returns a function with these argument names, an intrinsic is none
            out, position, source, begin, length
        )
    )
)
overload(count_above, inline="always")(
    lambda view, place, quantity, count: (
        lambda view, place, quantity, count: _count(  # noqa: PLW0108 - an overload returns a function with these argument names, an intrinsic is none
            view, place, quantity, count
        )
    )
)
