"""Amounts of one plan in 64 bits, several rows at once.

LLVM turns these loops into vector instructions, where the processor has them eight rows at a time.
They know no product of 128 bits, so it is put together from halves of 32, and pieces are chosen by
selection. Rows and tables are those of `fast64`.
"""

from __future__ import annotations

from rating_core.int128 import (
    unsigned_less,
    unsigned_shift,
    wrap_add,
    wrap_mul,
    wrap_shift,
    wrap_sub,
)
from rating_core.jit import inlined, kernel
from rating_core.kernels.fast64 import (
    GUARD_MASK,
    PIECE_WORDS,
    REFUSES_NEGATIVE,
    SHIFT_MASK,
    Shape64,
    Table64,
)
from rating_core.kernels.lookup import WordView, word_at, word_view
from rating_core.limbs import INT64_GREATEST, Int64Array

HALF_BITS = 32
_LOW_HALF = (1 << HALF_BITS) - 1
PACKAGE_THRESHOLDS = 3
"""Most thresholds of a charge that `rate_package_plan` prices."""


@inlined
def _by_halves(x: int, y: int, high: int, low: int) -> tuple[int, int]:
    """Return x × y + (high, low) modulo 2^128, as `multiply_add` does."""
    upper, lower = unsigned_shift(x, HALF_BITS), x & _LOW_HALF
    y_upper, y_lower = unsigned_shift(y, HALF_BITS), y & _LOW_HALF
    first = wrap_add(wrap_mul(lower, y_lower), low & _LOW_HALF)
    cross_1 = wrap_mul(lower, y_upper)
    cross_2 = wrap_mul(upper, y_lower)
    middle = unsigned_shift(first, HALF_BITS) + unsigned_shift(low, HALF_BITS)
    middle += (cross_1 & _LOW_HALF) + (cross_2 & _LOW_HALF)
    carry = unsigned_shift(cross_1, HALF_BITS) + unsigned_shift(cross_2, HALF_BITS)
    carry += unsigned_shift(middle, HALF_BITS)
    result = wrap_add(wrap_add(wrap_mul(upper, y_upper), high), carry)
    return result, wrap_add(wrap_shift(middle, HALF_BITS), first & _LOW_HALF)


@inlined
def _by_half(x: int, y: int, high: int, low: int) -> tuple[int, int]:
    """Return the same where 0 ≤ y < 2^32: two products instead of four."""
    y &= _LOW_HALF
    first = wrap_add(wrap_mul(x & _LOW_HALF, y), low & _LOW_HALF)
    # at most (2^32 − 1)^2 + 2 × (2^32 − 1) = 2^64 − 1, unsigned
    second = wrap_add(wrap_mul(unsigned_shift(x, HALF_BITS), y), unsigned_shift(low, HALF_BITS))
    second = wrap_add(second, unsigned_shift(first, HALF_BITS))
    result = wrap_add(high, unsigned_shift(second, HALF_BITS))
    return result, wrap_add(wrap_shift(second, HALF_BITS), first & _LOW_HALF)


@inlined
def _bound(view: WordView, base: int, shape: Shape64, number: int) -> int:
    """Return threshold ``number``, from 1 on, or one that no quantity exceeds."""
    if number > shape.thresholds:
        return INT64_GREATEST
    bound: int = word_at(view, base + number - 1)
    return bound


@inlined
def _piece(view: WordView, base: int, shape: Shape64, number: int) -> tuple[int, int, int]:
    """Return slope, low and high word of the offset of a piece, or of the last one."""
    place = base + shape.piece + PIECE_WORDS * min(number, shape.thresholds)
    return word_at(view, place), word_at(view, place + 1), word_at(view, place + 2)


@kernel
def rate_short_plan(table: Table64, plan: int, quantities: Int64Array, out: Int64Array) -> bool:
    """Do as `rate_plan` in a table of at most `SHORT` thresholds, for a charge without blocks.

    Every row takes the same selections, whichever piece it has entered.
    """
    shape, base = table.shape, plan * table.shape.stride
    view = word_view(table.words)
    head = word_at(view, base + shape.head)
    guard, least, shift = head & GUARD_MASK, head & REFUSES_NEGATIVE, head & SHIFT_MASK
    tie = word_at(view, base + shape.tie) if shape.tie > 0 else 0
    bound_1 = _bound(view, base, shape, 1)
    bound_2 = _bound(view, base, shape, 2)
    bound_3 = _bound(view, base, shape, 3)
    bound_4 = _bound(view, base, shape, 4)
    bound_5 = _bound(view, base, shape, 5)
    bound_6 = _bound(view, base, shape, 6)
    bound_7 = _bound(view, base, shape, 7)
    bound_8 = _bound(view, base, shape, 8)
    slope_0, low_0, high_0 = _piece(view, base, shape, 0)
    slope_1, low_1, high_1 = _piece(view, base, shape, 1)
    slope_2, low_2, high_2 = _piece(view, base, shape, 2)
    slope_3, low_3, high_3 = _piece(view, base, shape, 3)
    slope_4, low_4, high_4 = _piece(view, base, shape, 4)
    slope_5, low_5, high_5 = _piece(view, base, shape, 5)
    slope_6, low_6, high_6 = _piece(view, base, shape, 6)
    slope_7, low_7, high_7 = _piece(view, base, shape, 7)
    slope_8, low_8, high_8 = _piece(view, base, shape, 8)
    failed = False
    for row in range(len(quantities)):
        value = max(quantities[row], least)
        failed |= not unsigned_less(value, guard)
        slope, low, high = slope_0, low_0, high_0
        if value > bound_1:
            slope, low, high = slope_1, low_1, high_1
        if value > bound_2:
            slope, low, high = slope_2, low_2, high_2
        if value > bound_3:
            slope, low, high = slope_3, low_3, high_3
        if value > bound_4:
            slope, low, high = slope_4, low_4, high_4
        if value > bound_5:
            slope, low, high = slope_5, low_5, high_5
        if value > bound_6:
            slope, low, high = slope_6, low_6, high_6
        if value > bound_7:
            slope, low, high = slope_7, low_7, high_7
        if value > bound_8:
            slope, low, high = slope_8, low_8, high_8
        amount, fraction = _by_halves(slope, wrap_shift(value, shift), high, low)
        if unsigned_less(fraction, tie):
            amount = wrap_sub(amount, amount & 1)
        out[row] = amount
    return failed


@kernel
def rate_package_plan(
    table: Table64, plan: int, greatest: int, quantities: Int64Array, out: Int64Array
) -> bool:
    """Do as `rate_plan` for a charge with blocks and at most `PACKAGE_THRESHOLDS` thresholds.

    ``greatest`` is the last quantity whose blocks, shifted by the head's shift, stay below 2^32:
    beyond it a row counts as one whose guard does not hold.
    """
    shape, base = table.shape, plan * table.shape.stride
    view = word_view(table.words)
    head = word_at(view, base + shape.head)
    guard, least, shift = head & GUARD_MASK, head & REFUSES_NEGATIVE, head & SHIFT_MASK
    guard = min(guard, greatest)
    tie = word_at(view, base + shape.tie) if shape.tie > 0 else 0
    block = base + shape.block
    block_slope, block_shift = word_at(view, block), word_at(view, block + 3)
    block_low, block_high = word_at(view, block + 1), word_at(view, block + 2)
    bound_1 = _bound(view, base, shape, 1)
    bound_2 = _bound(view, base, shape, 2)
    bound_3 = _bound(view, base, shape, 3)
    slope_0, low_0, high_0 = _piece(view, base, shape, 0)
    slope_1, low_1, high_1 = _piece(view, base, shape, 1)
    slope_2, low_2, high_2 = _piece(view, base, shape, 2)
    slope_3, low_3, high_3 = _piece(view, base, shape, 3)
    failed = False
    for row in range(len(quantities)):
        value = max(quantities[row], least)
        failed |= not unsigned_less(value, guard)
        slope, low, high = slope_0, low_0, high_0
        if value > bound_1:
            slope, low, high = slope_1, low_1, high_1
        if value > bound_2:
            slope, low, high = slope_2, low_2, high_2
        if value > bound_3:
            slope, low, high = slope_3, low_3, high_3
        blocks, _ = _by_halves(block_slope, wrap_shift(value, block_shift), block_high, block_low)
        amount, fraction = _by_half(slope, wrap_shift(blocks, shift), high, low)
        if unsigned_less(fraction, tie):
            amount = wrap_sub(amount, amount & 1)
        out[row] = amount
    return failed
