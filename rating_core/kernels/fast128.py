"""Amounts in 128 bits: what `fast64` cannot vouch for, with fractions of 2^-128 (S1.3, S3).

The same linear functions with twice the fraction: slope and offset are three words each, in units
of 2^-128 and rounded up, and the sum's highest word is the amount. Its error stays below
2^-128 × (q + 1), so with denominators below 2^64 every int64 quantity is exact. All arithmetic is
modulo 2^192: intermediate terms may wrap, the sum is known to lie in [0, 2^191).

Each piece has a limit of its own, the greatest quantity whose amounts fit int64: beyond it the row
is out of range (S1.2), for certain. What even this fraction cannot prove is left to the pipeline.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from rating_core.int128 import add_wide, multiply_add, unsigned_less_wide, wrap_add, wrap_mul
from rating_core.jit import inlined, kernel
from rating_core.kernels.fast64 import PlanIndex, Table64, vouched
from rating_core.kernels.lookup import WordView, word_at, word_view
from rating_core.limbs import INT64_LEAST, Int64Array

OUT_OF_RANGE_AMOUNT = INT64_LEAST
"""What stands in a column for an amount that does not fit int64 (S1.2): −2^63, never an amount."""


class Word128(IntEnum):
    """First words of a row of `Table128`."""

    GUARD = 0
    """Greatest quantity for which the row decides; −1 where there is none."""
    TIE_HIGH = 1
    TIE_LOW = 2
    """At `half_even` 2^128 ÷ D, rounded up; otherwise 0."""
    SIGNED = 3
    """1 where negative quantities are refused (S3.4); elsewhere they price as 0 (S3.2)."""
    PIECES = 4
    BLOCKS = 5
    """1 if a piece follows that turns the quantity into started blocks."""


class Piece128(IntEnum):
    """Words of a piece, one cache line: above the threshold, up to the limit."""

    THRESHOLD = 0
    LIMIT = 1
    SLOPE = 2
    """Three words, the highest first."""
    OFFSET = 5
    """Three words, the highest first."""


HEADER = 8
"""Words before the first piece, a cache line: those of `Word128` and padding."""
PIECE_WORDS = 8


class Table128(NamedTuple):
    """Rows of varying length in one flat array; ``starts[plan]`` is the first word of a row."""

    words: Int64Array
    starts: Int64Array


@inlined
def _linear(view: WordView, piece: int, quantity: int) -> tuple[int, int, int]:
    """Return slope × quantity + offset as three words, the highest first, modulo 2^192."""
    slope, offset = piece + Piece128.SLOPE, piece + Piece128.OFFSET
    carry, low = multiply_add(word_at(view, slope + 2), quantity, 0, word_at(view, offset + 2))
    high, middle = multiply_add(word_at(view, slope + 1), quantity, 0, carry)
    high, middle = add_wide(high, middle, word_at(view, offset), word_at(view, offset + 1))
    return wrap_add(high, wrap_mul(word_at(view, slope), quantity)), middle, low


@inlined
def amount128(view: WordView, base: int, quantity: int) -> tuple[int, bool]:
    """Return the amount of the row at word ``base`` or `OUT_OF_RANGE_AMOUNT`; whether proved."""
    if quantity < 0:
        if word_at(view, base + Word128.SIGNED) == 1:
            return OUT_OF_RANGE_AMOUNT, True
        quantity = 0
    if quantity > word_at(view, base + Word128.GUARD):
        return 0, False
    blocks = base + HEADER
    first = blocks + PIECE_WORDS * word_at(view, base + Word128.BLOCKS)
    found, count = 0, word_at(view, base + Word128.PIECES)
    while count > 1:
        half = count >> 1
        place = first + PIECE_WORDS * (found + half)
        found += half if quantity > word_at(view, place + Piece128.THRESHOLD) else 0
        count -= half
    piece = first + PIECE_WORDS * found
    if quantity > word_at(view, piece + Piece128.LIMIT):
        return OUT_OF_RANGE_AMOUNT, True
    if blocks != first:
        quantity = _linear(view, blocks, quantity)[0]
    amount, middle, low = _linear(view, piece, quantity)
    tie_high, tie_low = word_at(view, base + Word128.TIE_HIGH), base + Word128.TIE_LOW
    if unsigned_less_wide(middle, low, tie_high, word_at(view, tie_low)):
        amount -= amount & 1
    return amount, True


@kernel
def finish_rows(
    table: Table64,
    wide: Table128,
    plan_index: PlanIndex,
    fixed_plan: int,
    quantities: Int64Array,
    out: Int64Array,
) -> int:
    """Write the amounts of the rows whose 64-bit guard does not hold; return how many stay open.

    The plan of a row is ``plan_index[row]``, or ``fixed_plan`` where that is ≥ 0. Open rows get 0.
    """
    narrow, shape = word_view(table.words), table.shape
    view, starts = word_view(wide.words), wide.starts
    still_open = 0
    for row in range(len(quantities)):
        plan = fixed_plan if fixed_plan >= 0 else int(plan_index[row])
        if not vouched(word_at(narrow, plan * shape.stride + shape.head), quantities[row]):
            out[row], proved = amount128(view, starts[plan], quantities[row])
            still_open += not proved
    return still_open


@kernel
def open_rows(
    table: Table64,
    wide: Table128,
    plan_index: PlanIndex,
    fixed_plan: int,
    quantities: Int64Array,
    rows: Int64Array,
) -> None:
    """Write to ``rows`` the rows that `finish_rows` left open, as many as it counted."""
    narrow, shape = word_view(table.words), table.shape
    view, starts = word_view(wide.words), wide.starts
    count = 0
    for row in range(len(quantities)):
        plan = fixed_plan if fixed_plan >= 0 else int(plan_index[row])
        if not vouched(word_at(narrow, plan * shape.stride + shape.head), quantities[row]):
            _, proved = amount128(view, starts[plan], quantities[row])
            if not proved:
                rows[count] = row
                count += 1
