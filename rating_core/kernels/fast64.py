"""Amounts in 64 bits: one multiplication a row where bounds prove that it is exact (S1.3, S3).

All steps of a charge up to its rounded amount are one linear function on each piece of quantities.
In units of 10^-scale it is floor(slope × q + offset), with the rounding mode folded into the
offset; slope and offset are multiples of 1 ÷ D. The table holds both in units of 2^-64, rounded up:

    amount = high word of (slope × (q × 2^shift) + offset)

The two errors together stay below 2^-64 × (q × 2^shift + 1). As long as that is below 1 ÷ D they
cannot lift the sum over the next integer, so the amount is exact. The row's guard is the quantity
from which on this, or that every amount fits int64, is not certain: there `fast128` decides.
At `half_even` a tie is a sum whose fraction is nothing but error, below 1 ÷ D: one less if odd.

A row of the table is one charge of one plan: the thresholds of its pieces, a head word, then three
words a piece: slope, low and high word of the offset. In tables that need them follow a word for
ties at `half_even`, and four that turn a quantity into started blocks of a `package` charge. Rows
begin at cache lines, so that eight thresholds are one load and one comparison, and are as short as
can be, because memory is what limits many plans. Of all rows of one plan, `vector64` rates several
at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rating_core.int128 import (
    multiply_add,
    unsigned_less,
    wrap_shift,
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
SHORT = LANES
"""Most thresholds that are simply counted; more of them are searched by eights."""
TOP_KEYS = SHORT - 1
"""Thresholds in the first line of a search; the head is the line's last word."""

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

    With ``levels`` = 1 the ``thresholds`` of a row, at most `SHORT`, stand side by side. With more
    it is the depth of a search by groups of `SHORT`: a level holds the last threshold of each group
    of the level below but the last, the highest at most `TOP_KEYS`, the lowest all thresholds;
    groups are filled up with the greatest int64. ``head`` and ``piece`` are the places of a row's
    head and first piece; ``tie`` and ``block`` those of the optional words, 0 in tables without.
    """

    stride: int
    levels: int
    thresholds: int
    head: int
    piece: int
    tie: int
    block: int


class Table64(NamedTuple):
    """Rows of ``shape.stride`` words in one flat array that begins at a cache line."""

    words: Int64Array
    shape: Shape64


@inlined
def entered(view: WordView, base: int, levels: int, thresholds: int, quantity: int) -> int:
    """Return how many of the rising thresholds of the row at word ``base`` ``quantity`` exceeds.

    No branch depends on the quantity. ``levels`` ought to be a constant where it can be.
    """
    if levels == 1:
        return count_above(view, base, quantity, thresholds)
    found = count_above(view, base, quantity, TOP_KEYS)
    place, room = base + SHORT, TOP_KEYS
    for _ in range(levels - 1):
        found = found * SHORT + count_above(view, place + found * SHORT, quantity, SHORT)
        room = SHORT * (room + 1)
        place += room
    return found


@inlined
def vouched(head: int, quantity: int) -> bool:
    """Return whether the row of that head is exact at ``quantity``; refused ones are not."""
    exact: bool = unsigned_less(max(quantity, head & REFUSES_NEGATIVE), head & GUARD_MASK)
    return exact


@inlined
def amount64(view: WordView, base: int, shape: Shape64, levels: int, quantity: int) -> int:
    """Return the amount of the row at word ``base``, right where it is `vouched` for."""
    head = word_at(view, base + shape.head)
    value = max(quantity, 0)
    found = entered(view, base, levels, shape.thresholds, value)
    place = base + shape.piece + PIECE_WORDS * found
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


@inlined
def _rate_plans(
    table: Table64, levels: int, plan_index: PlanIndex, quantities: Int64Array, out: Int64Array
) -> bool:
    view, shape = word_view(table.words), table.shape
    row_count = len(quantities)
    asked = min(shape.stride, PREFETCH_LINES * LINE_WORDS)
    failed = False
    for row in range(row_count):
        ahead = int(plan_index[min(row + PREFETCH_ROWS, row_count - 1)]) * shape.stride
        for line in range(0, asked, LINE_WORDS):
            prefetch(view, ahead + line)
        base = int(plan_index[row]) * shape.stride
        failed |= not vouched(word_at(view, base + shape.head), quantities[row])
        out[row] = amount64(view, base, shape, levels, quantities[row])
    return failed


@kernel
def rate_plans(
    table: Table64, plan_index: PlanIndex, quantities: Int64Array, out: Int64Array
) -> bool:
    """Write the amounts of rows of many plans; return whether some guard did not hold.

    Rows ahead are prefetched: the table of many plans lies outside the near caches. There is a loop
    for each usual depth of the search, because one for all has branches for a row.
    """
    levels = table.shape.levels
    if levels == 1:
        return _rate_plans(table, 1, plan_index, quantities, out)
    if levels == 2:
        return _rate_plans(table, 2, plan_index, quantities, out)
    return _rate_plans(table, levels, plan_index, quantities, out)


@inlined
def _rate_plan(
    table: Table64, levels: int, plan: int, quantities: Int64Array, out: Int64Array
) -> bool:
    view, shape = word_view(table.words), table.shape
    base = plan * shape.stride
    head = word_at(view, base + shape.head)
    failed = False
    for row in range(len(quantities)):
        failed |= not vouched(head, quantities[row])
        out[row] = amount64(view, base, shape, levels, quantities[row])
    return failed


@kernel
def rate_plan(table: Table64, plan: int, quantities: Int64Array, out: Int64Array) -> bool:
    """Write the amounts of rows of one plan; return whether some guard did not hold."""
    levels = table.shape.levels
    if levels == 1:
        return _rate_plan(table, 1, plan, quantities, out)
    if levels == 2:
        return _rate_plan(table, 2, plan, quantities, out)
    return _rate_plan(table, levels, plan, quantities, out)


@kernel
def names_plans(plan_index: PlanIndex, plan_count: int) -> bool:
    """Return whether every index is from 0 to ``plan_count`` − 1."""
    outside = 0
    for row in range(len(plan_index)):
        outside |= plan_index[row] | (plan_count - 1 - plan_index[row])
    return outside >= 0
