"""Words and pairs of words against Python's own integers, compiled and as plain Python."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from rating_core import int128
from rating_core.int128 import MASK, WORD, pair_value, signed_word, unsigned_word, words_of
from rating_core.jit import kernel
from rating_core.units import INT64_MAX, INT64_MIN

COUNT = 400
EDGES = [0, 1, 2, WORD - 1, WORD - 2, WORD >> 1, (WORD >> 1) - 1, (WORD >> 1) + 1, 1 << 32]


@kernel
def _words(x: int, y: int, count: int) -> tuple[int, int, int, int, int, bool, int]:
    return (
        int128.wrap_add(x, y),
        int128.wrap_sub(x, y),
        int128.wrap_mul(x, y),
        int128.wrap_shift(x, count),
        int128.unsigned_shift(x, count),
        int128.unsigned_less(x, y),
        int128.multiply_high(x, y),
    )


@kernel
def _products(x: int, y: int, high: int, low: int) -> tuple[tuple[int, int], ...]:
    return (
        int128.multiply_wide(x, y),
        int128.multiply_signed(x, y),
        int128.multiply_add(x, y, high, low),
    )


@kernel
def _pairs(
    x_high: int, x_low: int, y_high: int, y_low: int, count: int
) -> tuple[tuple[int, int], ...]:
    return (
        int128.add_wide(x_high, x_low, y_high, y_low),
        int128.subtract_wide(x_high, x_low, y_high, y_low),
        int128.negate_wide(x_high, x_low),
        int128.shift_left_wide(x_high, x_low, count),
        int128.shift_right_wide(x_high, x_low, count),
        int128.unsigned_shift_right_wide(x_high, x_low, count),
    )


@kernel
def _orders(x_high: int, x_low: int, y_high: int, y_low: int) -> tuple[bool, bool]:
    return (
        int128.less_wide(x_high, x_low, y_high, y_low),
        int128.unsigned_less_wide(x_high, x_low, y_high, y_low),
    )


@kernel
def _divide_word(x: int, reciprocal: int, shift: int) -> int:
    return int128.divide_word(x, reciprocal, shift)


@kernel
def _divide_wide(
    high: int, low: int, divisor: int, reciprocal: int, shift: int
) -> tuple[int, int, int]:
    return int128.divide_wide(high, low, divisor, reciprocal, shift)


def _drawn(seed: int, bits: int) -> list[int]:
    """Return unsigned integers of all lengths up to ``bits``, edges of words among them."""
    draw = Random(seed)
    values = [draw.getrandbits(draw.randint(1, bits)) for _ in range(COUNT)]
    return values + [edge for edge in EDGES if edge.bit_length() <= bits]


def _shuffled(seed: int, bits: int) -> list[int]:
    values = _drawn(seed, bits)
    Random(seed).shuffle(values)
    return values


def _wide(value: int) -> tuple[int, int]:
    low, high = words_of(value, 2)
    return high, low


def test_words_hold_the_integers_they_are_made_of() -> None:
    """Bit patterns come back, of one word and of several, signed and unsigned."""
    for value in _drawn(1, 64):
        assert unsigned_word(signed_word(value)) == value
        assert INT64_MIN <= signed_word(value) <= INT64_MAX
    for value in _drawn(2, 127):
        assert pair_value(*_wide(value)) == value
        assert pair_value(*_wide(-value)) == -value
    assert words_of(-1, 3) == [-1, -1, -1]


def test_operations_on_words() -> None:
    """Sums, differences, products and shifts wrap at 2^64, and only there; orders are unsigned."""
    for index, (x, y) in enumerate(zip(_drawn(3, 64), _shuffled(4, 64), strict=True)):
        count = index % 64
        got = _words(signed_word(x), signed_word(y), count)
        want = (x + y, x - y, x * y, x << count, x >> count, x < y, x * y >> 64)
        for result, expected in zip(got, want, strict=True):
            assert int(result) & MASK == int(expected) & MASK


def test_products_of_words() -> None:
    """Products have 128 bits, unsigned and signed; adding a pair to one wraps at 2^128."""
    for x, y, z in zip(_drawn(5, 64), _shuffled(6, 64), _drawn(7, 128), strict=False):
        one, other = signed_word(x), signed_word(y)
        wide, signed, added = _products(one, other, *_wide(z))
        assert wide == _wide(x * y)
        assert signed == _wide(one * other)
        assert added == _wide(x * y + z)


def test_operations_on_pairs() -> None:
    """Sums, differences, opposites and shifts of pairs, signed and unsigned, wrap at 2^128."""
    for index, (x, y) in enumerate(zip(_drawn(8, 128), _shuffled(9, 128), strict=True)):
        count = index % 128
        signed = pair_value(*_wide(x))
        got = _pairs(*_wide(x), *_wide(y), count)
        want = (x + y, x - y, -x, x << count, signed >> count, x >> count)
        assert got == tuple(_wide(value) for value in want)


def test_orders_of_pairs() -> None:
    """Pairs compare by sign, high word and low word; unsigned ones by their bits."""
    values = _drawn(10, 128)
    neighbours = [(value, value + step) for value in values for step in (-1, 0, 1) if value]
    for x, y in [*zip(values, _shuffled(11, 128), strict=True), *neighbours]:
        y &= (1 << 128) - 1
        signed = pair_value(*_wide(x)) < pair_value(*_wide(y))
        assert _orders(*_wide(x), *_wide(y)) == (signed, x < y)


def test_division_of_words_by_reciprocals() -> None:
    """A product with a reciprocal gives the exact quotient, around multiples of the divisor too."""
    for divisor in _drawn(12, 63):
        if divisor == 0:
            continue
        reciprocal, shift = int128.word_reciprocal(divisor)
        last = INT64_MAX // divisor * divisor
        near = [0, 1, divisor - 1, divisor, divisor + 1, 2 * divisor - 1, last - 1, last, INT64_MAX]
        for x in near:
            if 0 <= x <= INT64_MAX:
                assert _divide_word(x, reciprocal, shift) == x // divisor, (x, divisor)


def test_division_of_pairs_by_reciprocals() -> None:
    """Quotient and remainder of 128 by 64 bits are exact, around multiples of the divisor too."""
    for divisor, value in zip(_drawn(13, 64), _shuffled(14, 128), strict=False):
        if divisor == 0:
            continue
        constants = int128.wide_reciprocal(divisor)
        last = ((1 << 128) - 1) // divisor * divisor
        for x in (value, 0, divisor - 1, divisor, last - 1, last, (1 << 128) - 1):
            high, low, rest = _divide_wide(*_wide(x), *constants)
            quotient = (unsigned_word(high) << 64) + unsigned_word(low)
            assert (quotient, unsigned_word(rest)) == divmod(x, divisor), (x, divisor)


@pytest.mark.parametrize(
    "function",
    [int128.wrap_add, int128.multiply_high, int128.less_wide, int128.shift_left_wide],
    ids=lambda function: function.__name__,
)
def test_twins_are_plain_functions(function: Callable[..., object]) -> None:
    """A primitive called from Python is its twin: no compiler is involved."""
    assert type(function).__name__ == "function"


def test_words_without_compiled_code(pass_without_compiled_code) -> None:
    """As plain Python with warnings as errors the same tests pass: the twins are exact."""
    pass_without_compiled_code(__file__)
