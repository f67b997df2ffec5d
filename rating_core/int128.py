"""Words of 64 bits and pairs of them: what int64 cannot hold, without allocating (S1.2).

A word is an int64 read as its bit pattern; where a function says unsigned, the pattern stands for
0 … 2^64 − 1. A pair (high, low) is a 128-bit integer; its low word is unsigned, its high word
carries the sign. Words stay int64 in every signature, because Numba turns a mix of int64 and uint64
into binary fractions.

Each primitive is a Python function, the twin, with an overload on LLVM's integers that compiled
code gets instead. The twins compute with Python's integers and mask, so that with
``NUMBA_DISABLE_JIT=1`` and warnings as errors every wrap that is not asked for by name is found.
Division multiplies by a reciprocal that is computed beforehand: LLVM's own 128-bit division calls a
function that is not there.
"""

# ruff: noqa: ARG005 - Numba reads the argument names of lambdas that ignore them
from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from numba import types as numba_types
from numba.extending import intrinsic, overload

from rating_core.jit import inlined

types: Any = numba_types
"""Numba's types have no static ones."""

WORD_BITS = 64
WORD = 1 << WORD_BITS
MASK = WORD - 1
_SIGN = WORD >> 1
_I64 = ir.IntType(WORD_BITS)
_I128 = ir.IntType(2 * WORD_BITS)
_PAIR = types.UniTuple(types.int64, 2)

F = TypeVar("F", bound=Callable[..., object])
_Emit = Callable[[Any, list[Any]], list[Any]]
"""Writes LLVM code: from a builder and arguments (i64) to results (i64 each)."""


def signed_word(value: int) -> int:
    """Return the int64 whose bit pattern is ``value`` modulo 2^64."""
    value &= MASK
    return value - WORD if value >= _SIGN else value


def unsigned_word(word: int) -> int:
    """Return the bit pattern of ``word`` as a Python integer from 0 to 2^64 − 1."""
    return int(word) & MASK


def words_of(value: int, count: int) -> list[int]:
    """Return ``value`` modulo 2^(64 × count) as words, the lowest first."""
    return [signed_word(value >> (WORD_BITS * place)) for place in range(count)]


def pair_value(high: int, low: int) -> int:
    """Return the signed 128-bit integer of a pair as a Python integer."""
    return (int(high) << WORD_BITS) + unsigned_word(low)


def _pair(value: int) -> tuple[int, int]:
    low, high = words_of(value, 2)
    return high, low


def _bits(high: int, low: int) -> int:
    """Return the unsigned 128-bit integer of a pair."""
    return (unsigned_word(high) << WORD_BITS) + unsigned_word(low)


def _compiled(result: Any, arity: int, emit: _Emit) -> Callable[[F], F]:
    """Decorate a twin of ``arity`` words with the LLVM code that ``emit`` writes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
        values = emit(builder, arguments)
        if len(values) == 1:
            return values[0]
        return context.make_tuple(builder, signature.return_type, values)

    code = result(*[types.int64] * arity), generate
    inline: Any = None
    if arity == 2:
        two: Any = intrinsic(lambda _, x, y: code)
        inline = lambda x, y: lambda x, y: two(x, y)  # noqa: E731, PLW0108 - Numba wants the same names, and no annotations, in both
    elif arity == 3:
        three: Any = intrinsic(lambda _, x, y, z: code)
        inline = lambda x, y, z: lambda x, y, z: three(x, y, z)  # noqa: E731, PLW0108 - Numba wants the same names, and no annotations, in both
    else:
        four: Any = intrinsic(lambda _, w, x, y, z: code)
        inline = lambda w, x, y, z: lambda w, x, y, z: four(w, x, y, z)  # noqa: E731, PLW0108 - Numba wants the same names, and no annotations, in both

    def decorate(twin: F) -> F:
        overload(twin, inline="always")(inline)
        return twin

    return decorate


def _join(builder: Any, high: Any, low: Any) -> Any:
    """Return the i128 of two words."""
    upper = builder.shl(builder.zext(high, _I128), ir.Constant(_I128, WORD_BITS))
    return builder.or_(upper, builder.zext(low, _I128))


def _split(builder: Any, value: Any) -> list[Any]:
    """Return the words of an i128, high first."""
    upper = builder.lshr(value, ir.Constant(_I128, WORD_BITS))
    return [builder.trunc(upper, _I64), builder.trunc(value, _I64)]


def _product(builder: Any, x: Any, y: Any) -> Any:
    return builder.mul(builder.zext(x, _I128), builder.zext(y, _I128))


# --- words ---


@_compiled(types.int64, 2, lambda b, v: [b.add(*v)])
def wrap_add(x: int, y: int) -> int:
    """Return x + y modulo 2^64."""
    return signed_word(int(x) + int(y))


@_compiled(types.int64, 2, lambda b, v: [b.sub(*v)])
def wrap_sub(x: int, y: int) -> int:
    """Return x − y modulo 2^64."""
    return signed_word(int(x) - int(y))


@_compiled(types.int64, 2, lambda b, v: [b.mul(*v)])
def wrap_mul(x: int, y: int) -> int:
    """Return x × y modulo 2^64."""
    return signed_word(int(x) * int(y))


@_compiled(types.int64, 2, lambda b, v: [b.shl(*v)])
def wrap_shift(x: int, count: int) -> int:
    """Return x × 2^count modulo 2^64, 0 ≤ count < 64."""
    return signed_word(int(x) << int(count))


@_compiled(types.int64, 2, lambda b, v: [b.lshr(*v)])
def unsigned_shift(x: int, count: int) -> int:
    """Return the unsigned x ÷ 2^count, cut, 0 ≤ count < 64."""
    return signed_word(unsigned_word(x) >> int(count))


@_compiled(types.boolean, 2, lambda b, v: [b.icmp_unsigned("<", *v)])
def unsigned_less(x: int, y: int) -> bool:
    """Return whether x < y, both unsigned."""
    return unsigned_word(x) < unsigned_word(y)


@_compiled(types.int64, 2, lambda b, v: _split(b, _product(b, *v))[:1])
def multiply_high(x: int, y: int) -> int:
    """Return the high word of the unsigned product x × y."""
    return signed_word(unsigned_word(x) * unsigned_word(y) >> WORD_BITS)


@_compiled(_PAIR, 2, lambda b, v: _split(b, _product(b, *v)))
def multiply_wide(x: int, y: int) -> tuple[int, int]:
    """Return the product x × y of unsigned words as a pair; its high word is unsigned too."""
    return _pair(unsigned_word(x) * unsigned_word(y))


@_compiled(_PAIR, 2, lambda b, v: _split(b, b.mul(b.sext(v[0], _I128), b.sext(v[1], _I128))))
def multiply_signed(x: int, y: int) -> tuple[int, int]:
    """Return the product x × y of int64 as a pair, signed."""
    return _pair(int(x) * int(y))


# --- pairs (high, low) ---


@_compiled(_PAIR, 4, lambda b, v: _split(b, b.add(_product(b, v[0], v[1]), _join(b, v[2], v[3]))))
def multiply_add(x: int, y: int, high: int, low: int) -> tuple[int, int]:
    """Return x × y + (high, low) modulo 2^128, x and y unsigned words."""
    return _pair(unsigned_word(x) * unsigned_word(y) + _bits(high, low))


@_compiled(_PAIR, 4, lambda b, v: _split(b, b.add(_join(b, v[0], v[1]), _join(b, v[2], v[3]))))
def add_wide(x_high: int, x_low: int, y_high: int, y_low: int) -> tuple[int, int]:
    """Return the sum of two pairs modulo 2^128, signed or unsigned."""
    return _pair(_bits(x_high, x_low) + _bits(y_high, y_low))


@_compiled(_PAIR, 4, lambda b, v: _split(b, b.sub(_join(b, v[0], v[1]), _join(b, v[2], v[3]))))
def subtract_wide(x_high: int, x_low: int, y_high: int, y_low: int) -> tuple[int, int]:
    """Return the difference of two pairs modulo 2^128, signed or unsigned."""
    return _pair(_bits(x_high, x_low) - _bits(y_high, y_low))


@_compiled(_PAIR, 2, lambda b, v: _split(b, b.neg(_join(b, *v))))
def negate_wide(high: int, low: int) -> tuple[int, int]:
    """Return the opposite of a pair modulo 2^128; −2^127 has none and stays."""
    return _pair(-_bits(high, low))


@_compiled(
    types.boolean,
    4,
    lambda b, v: [b.icmp_signed("<", _join(b, v[0], v[1]), _join(b, v[2], v[3]))],
)
def less_wide(x_high: int, x_low: int, y_high: int, y_low: int) -> bool:
    """Return whether the first pair is below the second, both signed."""
    return pair_value(x_high, x_low) < pair_value(y_high, y_low)


@_compiled(
    types.boolean,
    4,
    lambda b, v: [b.icmp_unsigned("<", _join(b, v[0], v[1]), _join(b, v[2], v[3]))],
)
def unsigned_less_wide(x_high: int, x_low: int, y_high: int, y_low: int) -> bool:
    """Return whether the first pair is below the second, both unsigned."""
    return _bits(x_high, x_low) < _bits(y_high, y_low)


@_compiled(_PAIR, 3, lambda b, v: _split(b, b.shl(_join(b, v[0], v[1]), b.zext(v[2], _I128))))
def shift_left_wide(high: int, low: int, count: int) -> tuple[int, int]:
    """Return a pair × 2^count modulo 2^128, 0 ≤ count < 128."""
    return _pair(_bits(high, low) << int(count))


@_compiled(_PAIR, 3, lambda b, v: _split(b, b.ashr(_join(b, v[0], v[1]), b.zext(v[2], _I128))))
def shift_right_wide(high: int, low: int, count: int) -> tuple[int, int]:
    """Return a signed pair ÷ 2^count, towards −∞, 0 ≤ count < 128."""
    return _pair(pair_value(high, low) >> int(count))


@_compiled(_PAIR, 3, lambda b, v: _split(b, b.lshr(_join(b, v[0], v[1]), b.zext(v[2], _I128))))
def unsigned_shift_right_wide(high: int, low: int, count: int) -> tuple[int, int]:
    """Return an unsigned pair ÷ 2^count, cut, 0 ≤ count < 128."""
    return _pair(_bits(high, low) >> int(count))


# --- division by reciprocals ---


def word_reciprocal(divisor: int) -> tuple[int, int]:
    """Return (reciprocal, shift) for `divide_word`, 1 ≤ divisor < 2^63."""
    shift = (divisor - 1).bit_length()
    return signed_word(-(-(1 << (shift + 63)) // divisor)), shift


@inlined
def divide_word(x: int, reciprocal: int, shift: int) -> int:
    """Return x ÷ divisor, cut, for 0 ≤ x < 2^63 and the pair of `word_reciprocal`.

    The reciprocal is 2^(63 + shift) ÷ divisor rounded up, by less than one part in 2^63 of x.
    """
    return unsigned_shift(multiply_high(reciprocal, wrap_shift(x, 1)), shift)


def wide_reciprocal(divisor: int) -> tuple[int, int, int]:
    """Return (normalised divisor, reciprocal, shift) for `divide_wide`, 1 ≤ divisor < 2^64.

    The normalised divisor is divisor × 2^shift with its highest bit set, the reciprocal
    (2^128 − 1) ÷ normalised − 2^64, cut.
    """
    shift = WORD_BITS - divisor.bit_length()
    normalised = divisor << shift
    reciprocal = ((1 << 128) - 1) // normalised - WORD
    return signed_word(normalised), signed_word(reciprocal), shift


@inlined
def divide_pair(high: int, low: int, divisor: int, reciprocal: int) -> tuple[int, int]:
    """Return (quotient, remainder) of an unsigned pair by a normalised divisor, high < divisor.

    All words are unsigned. One estimate from the reciprocal, two corrections: Möller and Granlund,
    "Improved division by invariant integers", algorithm 4.
    """
    quotient, fraction = multiply_add(reciprocal, high, high, low)
    quotient = wrap_add(quotient, 1)
    remainder = wrap_sub(low, wrap_mul(quotient, divisor))
    if unsigned_less(fraction, remainder):
        quotient = wrap_sub(quotient, 1)
        remainder = wrap_add(remainder, divisor)
    if not unsigned_less(remainder, divisor):
        quotient = wrap_add(quotient, 1)
        remainder = wrap_sub(remainder, divisor)
    return quotient, remainder


@inlined
def divide_wide(
    high: int, low: int, divisor: int, reciprocal: int, shift: int
) -> tuple[int, int, int]:
    """Return (high, low, remainder): an unsigned pair ÷ a divisor by its `wide_reciprocal`.

    ``divisor`` is the normalised one; quotient and remainder are those of the divisor itself.
    """
    upper = unsigned_shift_right_wide(0, high, WORD_BITS - shift)[1]
    middle, lower = shift_left_wide(high, low, shift)
    quotient_high, rest = divide_pair(upper, middle, divisor, reciprocal)
    quotient_low, rest = divide_pair(rest, lower, divisor, reciprocal)
    return quotient_high, quotient_low, unsigned_shift(rest, shift)
