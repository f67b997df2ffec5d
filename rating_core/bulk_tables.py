"""Lines of charges to the tables of `fast64` and `fast128`: here bounds are proved, once.

The tables hold binary fractions, rounded up. A guard is the greatest quantity up to which their
errors cannot reach the next multiple of 1 ÷ denominator, so that cutting still gives the amount.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rating_core.charge_line import ABSENT, Blocks, ChargeLine, greatest_quantity
from rating_core.int128 import WORD, signed_word, words_of
from rating_core.kernels import fast64, fast128
from rating_core.kernels.fast64 import (
    GUARD_MASK,
    REFUSES_NEGATIVE,
    SHIFT_MASK,
    SHORT,
    TOP_KEYS,
    Shape64,
    Table64,
)
from rating_core.kernels.fast128 import Table128
from rating_core.kernels.piece import BELOW_ALL
from rating_core.limbs import INT64_GREATEST, Int64Array

_WIDE = 1 << 128
_TABLE_WORDS_FREE = 1 << 17
_PADDING_MAX = 4
"""A table may be padded to so many times the size of its plans, or to `_TABLE_WORDS_FREE`."""


@dataclass(frozen=True, slots=True)
class _Fixed:
    """A line in units of 2^-bits, slope and offset rounded up, and where that is exact.

    ``exact`` is the greatest quantity up to which the errors cannot reach the next integer.
    """

    slope: int
    offset: int
    exact: int


def _fixed(
    slope: int, offset: int, denominator: int, bits: int, shift: int, blocks: Blocks | None
) -> _Fixed:
    """Return (slope × (q << shift) + offset) ÷ denominator in units of 2^-bits."""
    unit = 1 << bits
    scaled = slope << (bits - shift)
    up_slope, up_offset = -(-scaled // denominator), -(-offset * unit // denominator)
    slope_error = (up_slope * denominator - scaled) << shift
    offset_error = up_offset * denominator - offset * unit
    exact = greatest_quantity(unit - 1 - offset_error, slope_error, blocks)
    return _Fixed(up_slope, up_offset, exact)


def _guard(line: ChargeLine, caps: Sequence[int]) -> int:
    """Return the greatest quantity such that each up to it is within the cap of its piece."""
    guard = BELOW_ALL
    ends = [*(piece.threshold for piece in line.pieces[1:]), INT64_GREATEST]
    for end, cap in zip(ends, caps, strict=True):
        if cap < end:
            return max(guard, cap)
        guard = end
    return guard


def _block_line(blocks: Blocks | None, bits: int, shift: int) -> _Fixed:
    """Return the started blocks as a line in units of 2^-bits; without blocks, q itself."""
    if blocks is None:
        return _Fixed(1 << (bits - shift), 0, INT64_GREATEST)
    return _fixed(blocks.slope, blocks.block - 1 - blocks.offset, blocks.block, bits, shift, None)


def _slope_shift(slopes: Sequence[int], denominator: int) -> int | None:
    """Return the least shift with which all slopes are below 2^64 in units of 2^-64."""
    for shift in range(SHIFT_MASK + 1):
        if -(-(max(slopes) << (64 - shift)) // denominator) < WORD:
            return shift
    return None


def row64(line: ChargeLine, shape: Shape64) -> list[int]:
    """Return the words of the charge's row in a `Table64` of that shape."""
    shift = _slope_shift([piece.slope for piece in line.pieces], line.denominator)
    # at least 1, because the slope of q itself, 1, is not below 2^64 in units of 2^-64
    block_shift = _slope_shift([line.blocks.slope], line.blocks.block) if line.blocks else 1
    fits = len(line.pieces) <= shape.thresholds + 1
    if not fits or shift is None or block_shift is None:
        line, shift, block_shift, fits = ABSENT, 0, 1, False
    fixed = [
        _fixed(piece.slope, piece.offset, line.denominator, 64, shift, line.blocks)
        for piece in line.pieces
    ]
    counted = _block_line(line.blocks, 64, block_shift)
    caps = [min(piece.limit, part.exact) for piece, part in zip(line.pieces, fixed, strict=True)]
    room = (WORD - 1) >> shift
    guard = min(_guard(line, caps), room if line.blocks is None else line.blocks.greatest(room))
    if shape.block:
        guard = min(guard, counted.exact, (WORD - 1) >> block_shift)
    head = (min(guard + 1, GUARD_MASK) if fits else 0) & GUARD_MASK | shift
    head = head | REFUSES_NEGATIVE if line.signed else head
    words = _level_words([piece.threshold for piece in line.pieces[1:]], shape)
    words.insert(shape.head, head)
    for part in fixed + [fixed[-1]] * (shape.thresholds + 1 - len(fixed)):
        words += [part.slope, *words_of(part.offset, 2)]
    if shape.tie:
        words.append(-(-WORD // line.denominator) if line.half_even else 0)
    if shape.block:
        words += [counted.slope, *words_of(counted.offset, 2), block_shift]
    words += [0] * (shape.stride - len(words))
    return [signed_word(word) for word in words]


def _level_words(thresholds: list[int], shape: Shape64) -> list[int]:
    """Return the thresholds as `fast64.entered` searches them, the highest level first."""
    level = thresholds + [INT64_GREATEST] * (shape.thresholds - len(thresholds))
    if shape.levels == 1:
        return level
    words: list[int] = []
    for depth in range(shape.levels - 1, -1, -1):
        above = level[SHORT - 1 :: SHORT]
        lowest = depth == shape.levels - 1
        size = SHORT * (len(level) // SHORT + 1) if lowest else _level_room(depth)
        words = level + [INT64_GREATEST] * (size - len(level)) + words
        level = above
    return words


def _level_room(depth: int) -> int:
    """Return the thresholds that a level above the lowest one has room for, 0 the highest."""
    return TOP_KEYS if depth == 0 else SHORT * (_level_room(depth - 1) + 1)


def row128(line: ChargeLine) -> list[int]:
    """Return the words of the charge's row in a `Table128`."""
    fixed = [
        _fixed(piece.slope, piece.offset, line.denominator, 128, 0, line.blocks)
        for piece in line.pieces
    ]
    guard = _guard(line, [part.exact for part in fixed])
    tie_low, tie_high = words_of(-(-_WIDE // line.denominator) if line.half_even else 0, 2)
    words = [tie_high, tie_low, int(line.signed), len(line.pieces), int(line.blocks is not None)]
    words += [0] * (fast128.HEADER - 1 - len(words))
    if line.blocks is not None:
        counted = _block_line(line.blocks, 128, 0)
        guard = min(guard, counted.exact, line.blocks.greatest(INT64_GREATEST))
        words += [BELOW_ALL, INT64_GREATEST, *_three(counted)]
    for piece, part in zip(line.pieces, fixed, strict=True):
        words += [piece.threshold, piece.limit, *_three(part)]
    return [guard, *words]


def _three(line: _Fixed) -> list[int]:
    return [*words_of(line.slope, 3)[::-1], *words_of(line.offset, 3)[::-1]]


def _shape(thresholds: int, ties: bool, blocks: bool) -> Shape64:
    """Return the layout of rows with so many thresholds and these optional words."""
    levels, size, rest, head = 1, thresholds, thresholds, thresholds
    if thresholds > SHORT:
        size, head = SHORT * (thresholds // SHORT + 1), TOP_KEYS
        while rest > _level_room(0):
            rest //= SHORT
            size += _level_room(levels - 1)
            levels += 1
    piece = size + 1
    tie = piece + fast64.PIECE_WORDS * (thresholds + 1)
    block = tie + ties
    end = block + (fast64.BLOCK_WORDS if blocks else 0)
    stride = end + -end % fast64.LINE_WORDS
    return Shape64(
        stride, levels, thresholds, head, piece, tie if ties else 0, block if blocks else 0
    )


def _shape_of(lines: Sequence[ChargeLine]) -> Shape64:
    """Return a layout for all lines, or for all but a few long ones that would pad it too much."""
    ties = any(line.half_even for line in lines)
    blocks = any(line.blocks is not None for line in lines)
    counts = [len(line.pieces) - 1 for line in lines]
    own = sum(_shape(count, ties, blocks).stride for count in counts)
    allowed = max(_TABLE_WORDS_FREE, _PADDING_MAX * own)
    for count in sorted(set(counts), reverse=True):
        shape = _shape(count, ties, blocks)
        if shape.stride * len(lines) <= allowed:
            return shape
    return _shape(0, ties, blocks)


def _at_line(words: Sequence[int]) -> Int64Array:
    """Return words as an array that begins at a cache line."""
    room = np.zeros(len(words) + fast64.LINE_WORDS, dtype=np.int64)
    skipped = -room.ctypes.data // 8 % fast64.LINE_WORDS
    room[skipped : skipped + len(words)] = words
    return room[skipped : skipped + len(words)]


def table64(lines: Sequence[ChargeLine]) -> Table64:
    """Return one row a line; a line too long for the table has a guard of 0 (S1.2)."""
    shape = _shape_of(lines)
    words: list[int] = []
    for line in lines:
        words += row64(line, shape)
    return Table64(_at_line(words), shape)


def table128(lines: Sequence[ChargeLine]) -> Table128:
    """Return one row a line, each as long as its pieces."""
    words: list[int] = []
    starts = []
    for line in lines:
        starts.append(len(words))
        words += row128(line)
    return Table128(_at_line(words), np.array(starts, dtype=np.int64))
