"""Amounts in 64 bits: one multiplication a row where bounds prove that it is exact (S1.3, S3).

All steps of a charge up to its rounded amount are one linear function on each piece of quantities.
In units of 10^-scale it is floor(slope × q + offset), with the rounding mode folded into the
offset; slope and offset are multiples of 1 ÷ D. The table holds both in units of 2^-64, rounded up:

    amount = high word of (slope × (q × 2^shift) + offset)

The two errors together stay below 2^-64 × (q × 2^shift + 1). As long as that is below 1 ÷ D they
cannot lift the sum over the next integer, so the amount is exact. The row's guard is the quantity
from which on this, or that every amount fits int64, is not certain: there `fast128` decides.
At `half_even` a tie is a sum whose fraction is nothing but error, below 1 ÷ D: one less if odd.

A row of the table is one charge of one plan: a head word, the thresholds of its pieces, then three
words a piece: slope, low and high word of the offset. In tables that need them follow a word for
ties at `half_even`, and four that turn a quantity into started blocks of a `package` charge. Rows
begin at cache lines and are as short as can be, because memory is what limits many plans.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rating_core.int128 import (
    multiply_add,
    unsigned_less,
    unsigned_shift,
    wrap_add,
    wrap_mul,
    wrap_shift,
    wrap_sub,
)
from rating_core.jit import inlined, kernel
from rating_core.kernels.lookup import (
    LANES,
    WordView,
    count_above,
    prefetch,
    word_at,
    word_view,
)
from rating_core.limbs import INT64_GREATEST, INT64_LEAST, Int64Array

PlanIndex = npt.NDArray[np.int32] | npt.NDArray[np.int64]

LINE_WORDS = 8
"""Words of a cache line."""
PREFETCH_ROWS = 24
PREFETCH_LINES = 6
"""Lines of a row to ask for; of longer rows the piece may lie anywhere."""
SHORT = 8
"""Most thresholds that are simply counted; more of them are searched by eights."""
_HALF = 32
_LOW_HALF = (1 << _HALF) - 1

HEAD_WORDS = 1
REFUSES_NEGATIVE = INT64_LEAST
"""Bit of the head: negative quantities are refused (S3.4); elsewhere they price as 0 (S3.2)."""
GUARD_MASK = INT64_GREATEST - 63
"""Bits of the head: the guard, a multiple of 64; 0 where no quantity is certain."""
SHIFT_MASK = 63
"""Bits of the head: the shift of quantities."""
PIECE_WORDS = 3
BLOCK_WORDS = 4


class Shape64(NamedTuple):
    """How the rows of a table are laid out, in words.

    With ``levels`` = 1 the ``thresholds`` of a row stand side by side. With more it is the depth of
    a search by groups of `SHORT`: a level holds the last threshold of each group of the level below
    but the last, the lowest level all thresholds; groups are filled up with the greatest int64.
    ``piece`` is the place of a row's first piece; ``tie`` and ``block`` are those of the optional
    words, 0 in tables without.
    """

    stride: int
    levels: int
    thresholds: int
    piece: int
    tie: int
    block: int


class Table64(NamedTuple):
    """Rows of ``shape.stride`` words in one flat array that begins at a cache line."""

    words: Int64Array
    shape: Shape64


@inlined
def entered(view: WordView, place: int, shape: Shape64, quantity: int) -> int:
    """Return how many of the rising thresholds from ``place`` on ``quantity`` exceeds.

    No branch depends on the quantity.
    """
    found = 0
    if shape.levels == 1:
        counted = 0
        while counted + LANES <= shape.thresholds:
            found += count_above(view, place + counted, quantity)
            counted += LANES
        for single in range(counted, shape.thresholds):
            found += 1 if quantity > word_at(view, place + single) else 0
        return found
    size = SHORT
    for _ in range(shape.levels):
        group = place + found * SHORT
        found = found * SHORT + count_above(view, group, quantity)
        found += count_above(view, group + LANES, quantity)
        place += size
        # the highest level has one group of SHORT thresholds, so SHORT + 1 groups stand below it
        size = SHORT * (SHORT + 1) if size == SHORT else size * SHORT
    return found


@inlined
def vouched(head: int, quantity: int) -> bool:
    """Return whether the row of that head is exact at ``quantity``; refused ones are not."""
    exact: bool = unsigned_less(max(quantity, head & REFUSES_NEGATIVE), head & GUARD_MASK)
    return exact


@inlined
def amount64(view: WordView, base: int, shape: Shape64, quantity: int) -> int:
    """Return the amount of the row at word ``base``, right where it is `vouched` for."""
    head = word_at(view, base)
    value = max(quantity, 0)
    place = base + shape.piece + PIECE_WORDS * entered(view, base + HEAD_WORDS, shape, value)
    if shape.block > 0:
        block = base + shape.block
        value = wrap_shift(value, word_at(view, block + 3))
        value, _ = multiply_add(
            word_at(view, block), value, word_at(view, block + 2), word_at(view, block + 1)
        )
    value = wrap_shift(value, head & SHIFT_MASK)
    amount, fraction = multiply_add(
        word_at(view, place), value, word_at(view, place + 2), word_at(view, place + 1)
    )
    if shape.tie > 0 and unsigned_less(fraction, word_at(view, base + shape.tie)):
        amount -= amount & 1
    return amount


@kernel
def rate_plans(
    table: Table64, plan_index: PlanIndex, quantities: Int64Array, out: Int64Array
) -> bool:
    """Write the amounts of rows of many plans; return whether some guard did not hold.

    Rows ahead are prefetched: the table of many plans lies outside the near caches.
    """
    view, shape = word_view(table.words), table.shape
    row_count = len(quantities)
    asked = min(shape.stride, PREFETCH_LINES * LINE_WORDS)
    failed = False
    for row in range(row_count):
        ahead = int(plan_index[min(row + PREFETCH_ROWS, row_count - 1)]) * shape.stride
        for line in range(0, asked, LINE_WORDS):
            prefetch(view, ahead + line)
        base = int(plan_index[row]) * shape.stride
        failed |= not vouched(word_at(view, base), quantities[row])
        out[row] = amount64(view, base, shape, quantities[row])
    return failed


@kernel
def rate_plan(table: Table64, plan: int, quantities: Int64Array, out: Int64Array) -> bool:
    """Write the amounts of rows of one plan; return whether some guard did not hold."""
    view, shape = word_view(table.words), table.shape
    base = plan * shape.stride
    head = word_at(view, base)
    failed = False
    for row in range(len(quantities)):
        failed |= not vouched(head, quantities[row])
        out[row] = amount64(view, base, shape, quantities[row])
    return failed


@inlined
def _bound(view: WordView, base: int, shape: Shape64, number: int) -> int:
    """Return threshold ``number``, from 1 on, or one that no quantity exceeds."""
    if number > shape.thresholds:
        return INT64_GREATEST
    bound: int = word_at(view, base + HEAD_WORDS + number - 1)
    return bound


@inlined
def _piece(view: WordView, base: int, shape: Shape64, number: int) -> tuple[int, int, int]:
    """Return slope, low and high word of the offset of a piece, or of the last one."""
    place = base + shape.piece + PIECE_WORDS * min(number, shape.thresholds)
    return word_at(view, place), word_at(view, place + 1), word_at(view, place + 2)


@kernel
def rate_short_plan(table: Table64, plan: int, quantities: Int64Array, out: Int64Array) -> bool:
    """Do as `rate_plan` in a table of at most `SHORT` thresholds, for a charge without blocks.

    LLVM turns this loop into vector instructions, eight rows at a time. These know no product of
    128 bits, so it is put together from halves of 32, and pieces are chosen by selection.
    """
    shape, base = table.shape, plan * table.shape.stride
    view = word_view(table.words)
    head = word_at(view, base)
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
        value = wrap_shift(value, shift)
        upper, lower = unsigned_shift(slope, _HALF), slope & _LOW_HALF
        value_upper, value_lower = unsigned_shift(value, _HALF), value & _LOW_HALF
        first = wrap_add(wrap_mul(lower, value_lower), low & _LOW_HALF)
        cross_1 = wrap_mul(lower, value_upper)
        cross_2 = wrap_mul(upper, value_lower)
        middle = unsigned_shift(first, _HALF) + unsigned_shift(low, _HALF)
        middle += (cross_1 & _LOW_HALF) + (cross_2 & _LOW_HALF)
        carry = unsigned_shift(cross_1, _HALF) + unsigned_shift(cross_2, _HALF)
        carry += unsigned_shift(middle, _HALF)
        amount = wrap_add(wrap_add(wrap_mul(upper, value_upper), high), carry)
        fraction = wrap_add(wrap_shift(middle, _HALF), first & _LOW_HALF)
        if unsigned_less(fraction, tie):
            amount = wrap_sub(amount, amount & 1)
        out[row] = amount
    return failed


@kernel
def names_plans(plan_index: PlanIndex, plan_count: int) -> bool:
    """Return whether every index is from 0 to ``plan_count`` − 1."""
    outside = 0
    for row in range(len(plan_index)):
        outside |= plan_index[row] | (plan_count - 1 - plan_index[row])
    return outside >= 0
