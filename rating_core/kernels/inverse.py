"""The inverse of a charge: the largest quantity whose rounded amount is within a limit (S11.2).

Within a piece the amount never falls, and what rounding makes of it never does either: one division
finds the last quantity that a limit affords. Pieces may fall below one another (volume, stairstep),
so the first one that exceeds the limit, in order of quantity, ends the search.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rating_core.int128 import add_wide, divide_pair, multiply_add, shift_left_wide
from rating_core.jit import inlined, kernel
from rating_core.kernels.lookup import WordView, prefetch, word_at, word_view
from rating_core.limbs import (
    INT64_GREATEST,
    Int64Array,
    add,
    divide,
    increment,
    is_negative,
    multiply,
    multiply_int64,
    to_int64,
)

UNBOUNDED = -1
"""Instead of a line: no line exceeds the limit."""
NOTHING = -2
"""Instead of a line: not even no usage is affordable, or the counter's own amount unknown."""
_NONE = -1
PREFETCH_HEADS = 24
PREFETCH_LINES = 12
"""Rows ahead for which a plan's head, and then the line found there, are asked for."""
COUNTED_PIECES = 16
"""Up to so many pieces are counted; above, a binary search is shorter."""
SHIFT_MASK = 63
TIES_TO_EVEN_BIT = 6
TIES_TO_EVEN = 1 << TIES_TO_EVEN_BIT
PACKAGE_LINE = 128
GENERAL_LINE = 256


class HeadWord(IntEnum):
    """First words of a plan's head; two words a piece follow.

    First, of all pieces, the rounded amount at the end of each, less 1, at most the greatest int64:
    a limit up to that ends there. Then, of all pieces, the last quantity of each.
    """

    FIRST_LINE = 0
    PIECES = 1
    """Number of pieces; negative where the amount falls from one piece to another."""


HEADER = len(HeadWord)


class InverseColumn(IntEnum):
    """Columns of a line, which describes one piece of a charge in the 64 bytes of a cache line.

    The last quantity that a limit affords is (limit × unit + offset) ÷ divisor, cut; for a package
    charge that is the number of blocks, and another line makes quantities of them alike. The
    offset holds what rounding adds; the divisor, the amount of one unit, is shifted to fill 64
    bits. A line that 64 and 128 bits cannot hold names rows of limbs instead.
    """

    START = 0
    """The last quantity before the piece, the least int64 if there is none."""
    UNIT = 1
    DIVISOR = 2
    """0 where the amount does not rise within the piece."""
    RECIPROCAL = 3
    OFFSET_HIGH = 4
    OFFSET_LOW = 5
    """Of a general line: the first of its rows of limbs, `LimbRow`."""
    SHIFT = 6
    """The shift of the divisor, or the divisor's size in limbs, and the flags of the line."""
    BLOCK_LINE = 7
    """Of a package charge: the line that makes quantities of numbers of blocks."""


LINE_WORDS = len(InverseColumn)


class LimbRow(IntEnum):
    """Rows of limbs of a general line, from the one that it names."""

    UNIT = 0
    OFFSET = 1
    DIVISOR = 2


class InverseTables(NamedTuple):
    """One charge position of all plans: ``starts[plan]`` is the first word of its head.

    ``heads`` and ``lines`` are flat, and a line is named by its first word; ``limbs`` holds the
    numbers of general lines.
    """

    starts: Int64Array
    heads: Int64Array
    lines: Int64Array
    limbs: Int64Array


@inlined
def _limit(amount: int, budget: int) -> int:
    """Return the greatest rounded amount that a budget pays for: an int64, as all amounts (S1.2).

    ``amount`` ≥ 0 is what the counter costs before.
    """
    return amount + min(budget, INT64_GREATEST - amount)


@inlined
def _first_below(words: WordView, place: int, count: int, limit: int) -> int:
    """Return how many of ``count`` words from ``place`` on, which never fall, are below ``limit``.

    No branch depends on the limit, up to `COUNTED_PIECES`.
    """
    found = 0
    if count <= COUNTED_PIECES:
        for each in range(place, place + count):
            found += 1 if word_at(words, each) < limit else 0
        return found
    while count > 0:
        half = count >> 1
        if word_at(words, place + found + half) < limit:
            found += half + 1
            count -= half + 1
        else:
            count = half
    return found


@inlined
def _first_beyond(words: WordView, place: int, count: int, before: int, limit: int) -> int:
    """Return the first of ``count`` pieces that ends at ``before`` or later, beyond ``limit``."""
    found = 0
    while found < count and (
        word_at(words, place + count + found) < before or word_at(words, place + found) < limit
    ):
        found += 1
    return found


@kernel
def exceeding_lines(
    tables: InverseTables,
    plan_index: Int64Array,
    plan: int,
    before: Int64Array,
    amounts: Int64Array,
    budgets: Int64Array,
    lines: Int64Array,
) -> None:
    """Write the line that ends what each budget affords, or `UNBOUNDED`, or `NOTHING`.

    ``amounts`` are the rounded amounts of ``before``. ``plan`` ≥ 0 is the plan of all rows; below
    0, ``plan_index`` names it. Each must have a head.
    """
    last = len(before) - 1
    starts, heads = word_view(tables.starts), word_view(tables.heads)
    for row in range(len(before)):
        if plan >= 0:
            head = word_at(starts, plan)
        else:
            head = word_at(starts, plan_index[row])
            prefetch(heads, word_at(starts, plan_index[min(row + PREFETCH_HEADS, last)]))
        amount, budget = amounts[row], budgets[row]
        pieces = word_at(heads, head + HeadWord.PIECES)
        limit = _limit(max(amount, 0), budget)
        if pieces < 0:
            pieces = -pieces
            piece = _first_beyond(heads, head + HEADER, pieces, before[row], limit)
        else:
            piece = _first_below(heads, head + HEADER, pieces, limit)
        line = word_at(heads, head + HeadWord.FIRST_LINE) + LINE_WORDS * piece
        line = UNBOUNDED if piece == pieces else line
        lines[row] = NOTHING if amount < 0 or budget < 0 else line


@inlined
def _line_quantity(words: WordView, line: int, limit: int) -> int:
    """Return the last quantity of a line that ``limit`` affords, −1 where none is.

    The amount at the end of its piece exceeds the limit, so the quotient is below 2^63.
    """
    flags = word_at(words, line + InverseColumn.SHIFT)
    high, low = multiply_add(
        word_at(words, line + InverseColumn.UNIT),
        limit,
        word_at(words, line + InverseColumn.OFFSET_HIGH),
        word_at(words, line + InverseColumn.OFFSET_LOW),
    )
    high, low = add_wide(high, low, 0, (flags >> TIES_TO_EVEN_BIT) & ~limit & 1)
    if high < 0:
        return _NONE
    high, low = shift_left_wide(high, low, flags & SHIFT_MASK)
    divisor = word_at(words, line + InverseColumn.DIVISOR)
    quotient, _ = divide_pair(high, low, divisor, word_at(words, line + InverseColumn.RECIPROCAL))
    return quotient


@kernel
def affordable_quantities(
    tables: InverseTables,
    before: Int64Array,
    amounts: Int64Array,
    budgets: Int64Array,
    quantities: Int64Array,
    unbounded: npt.NDArray[np.bool_],
) -> int:
    """Turn ``quantities``, what `exceeding_lines` found, into what each budget affords (S11.2).

    Return how many rows are left to `general_quantities`: those hold −1 − their line.
    """
    deferred = 0
    last = len(before) - 1
    words = word_view(tables.lines)
    for row in range(len(before)):
        prefetch(words, max(quantities[min(row + PREFETCH_LINES, last)], 0))
        counter, line = before[row], quantities[row]
        unbounded[row] = line == UNBOUNDED
        if line < 0:
            quantities[row] = INT64_GREATEST - max(counter, 0) if line == UNBOUNDED else 0
            continue
        reached = max(counter, word_at(words, line + InverseColumn.START))
        if word_at(words, line + InverseColumn.DIVISOR) != 0:
            flags = word_at(words, line + InverseColumn.SHIFT)
            if flags & GENERAL_LINE:
                quantities[row] = -1 - line
                deferred += 1
                continue
            quantity = _line_quantity(words, line, _limit(amounts[row], budgets[row]))
            if flags & PACKAGE_LINE:
                block_line = word_at(words, line + InverseColumn.BLOCK_LINE)
                quantity = _line_quantity(words, block_line, quantity)
            reached = max(reached, quantity)
        if counter < 0 and reached >= INT64_GREATEST + counter:
            # the greatest quantity there is ends before the budget does
            quantities[row] = INT64_GREATEST
            unbounded[row] = True
        else:
            quantities[row] = reached - counter
    return deferred


@kernel
def _general_quantity(tables: InverseTables, line: int, limit: int, scratch: Int64Array) -> int:
    """Return the last quantity of a general line that ``limit`` affords, −1 where none is.

    ``scratch`` is two rows of limbs. As in `_line_quantity`, the quantity fits int64.
    """
    value, quotient = scratch[0], scratch[1]
    flags = tables.lines[line + InverseColumn.SHIFT]
    row = tables.lines[line + InverseColumn.OFFSET_LOW]
    multiply_int64(value, tables.limbs[row + LimbRow.UNIT], limit)
    add(value, tables.limbs[row + LimbRow.OFFSET])
    if (flags >> TIES_TO_EVEN_BIT) & ~limit & 1:
        increment(value)
    if is_negative(value):
        return _NONE
    divide(value, tables.limbs[row + LimbRow.DIVISOR], flags & SHIFT_MASK, quotient)
    if flags & PACKAGE_LINE:
        line = tables.lines[line + InverseColumn.BLOCK_LINE]
        row = tables.lines[line + InverseColumn.OFFSET_LOW]
        size = tables.lines[line + InverseColumn.SHIFT] & SHIFT_MASK
        multiply(value, quotient, tables.limbs[row + LimbRow.UNIT])
        add(value, tables.limbs[row + LimbRow.OFFSET])
        divide(value, tables.limbs[row + LimbRow.DIVISOR], size, quotient)
    quantity, _ = to_int64(quotient, False)
    return quantity


@kernel
def general_quantities(
    tables: InverseTables,
    before: Int64Array,
    amounts: Int64Array,
    budgets: Int64Array,
    quantities: Int64Array,
    unbounded: npt.NDArray[np.bool_],
    scratch: Int64Array,
) -> None:
    """Write what `affordable_quantities` has left; ``scratch`` is two rows of limbs."""
    for row in range(len(before)):
        if quantities[row] >= 0:
            continue
        counter, line = before[row], -1 - quantities[row]
        limit = _limit(amounts[row], budgets[row])
        quantity = _general_quantity(tables, line, limit, scratch)
        reached = max(counter, tables.lines[line + InverseColumn.START], quantity)
        unbounded[row] = counter < 0 and reached >= INT64_GREATEST + counter
        quantities[row] = INT64_GREATEST if unbounded[row] else reached - counter
