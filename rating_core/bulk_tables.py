"""Lines of charges to the tables of `fast64` and `fast128`: here bounds are proved, once.

The tables hold binary fractions, rounded up. A guard is the greatest quantity up to which their
errors cannot reach the next multiple of 1 ÷ denominator, so that cutting still gives the amount.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rating_core.charge_line import ABSENT, Blocks, ChargeLine, greatest_quantity
from rating_core.int128 import MASK, WORD, WORD_BITS
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


class _Fixed(NamedTuple):
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
    up_slope, rest = divmod(slope << (bits - shift), denominator)
    up_offset, offset_rest = divmod(offset << bits, denominator)
    top, slope_error = unit - 1, 0
    if rest:
        up_slope += 1
        slope_error = (denominator - rest) << shift
    if offset_rest:
        up_offset += 1
        top -= denominator - offset_rest
    if not slope_error:
        return _Fixed(up_slope, up_offset, INT64_GREATEST if top >= 0 else BELOW_ALL)
    exact = greatest_quantity(top, slope_error, blocks)
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


def _slope_shift(slope: int, denominator: int) -> int | None:
    """Return the least shift with which ``slope`` is below 2^64 in units of 2^-64."""
    # ceil(slope × 2^(64 − shift) ÷ denominator) < 2^64, within one of a difference of lengths
    shift = max(0, slope.bit_length() - denominator.bit_length())
    while -(-(slope << WORD_BITS) // (denominator << shift)) >= WORD:
        shift += 1
    return shift if shift <= SHIFT_MASK else None


def row64(line: ChargeLine, shape: Shape64) -> list[int]:
    """Return the unsigned words of the charge's row in a `Table64` of that shape."""
    shift = _slope_shift(max([piece.slope for piece in line.pieces]), line.denominator)
    # at least 1, because the slope of q itself, 1, is not below 2^64 in units of 2^-64
    block_shift = _slope_shift(line.blocks.slope, line.blocks.block) if line.blocks else 1
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
    words.insert(shape.head, head & MASK)
    for part in fixed + [fixed[-1]] * (shape.thresholds + 1 - len(fixed)):
        words += (part.slope, part.offset & MASK, part.offset >> WORD_BITS & MASK)
    if shape.tie:
        words.append(-(-WORD // line.denominator) if line.half_even else 0)
    if shape.block:
        offset = counted.offset
        words += (counted.slope, offset & MASK, offset >> WORD_BITS & MASK, block_shift)
    return words + [0] * (shape.stride - len(words))


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
    """Return the unsigned words of the charge's row in a `Table128`."""
    fixed = [
        _fixed(piece.slope, piece.offset, line.denominator, 128, 0, line.blocks)
        for piece in line.pieces
    ]
    guard = _guard(line, [part.exact for part in fixed])
    tie = -(-_WIDE // line.denominator) if line.half_even else 0
    words = [
        tie >> WORD_BITS,
        tie & MASK,
        int(line.signed),
        len(line.pieces),
        int(line.blocks is not None),
    ]
    words += [0] * (fast128.HEADER - 1 - len(words))
    if line.blocks is not None:
        counted = _block_line(line.blocks, 128, 0)
        guard = min(guard, counted.exact, line.blocks.greatest(INT64_GREATEST))
        words += _piece128(BELOW_ALL, INT64_GREATEST, counted)
    for piece, part in zip(line.pieces, fixed, strict=True):
        words += _piece128(piece.threshold, piece.limit, part)
    return [guard & MASK, *words]


def _piece128(threshold: int, limit: int, line: _Fixed) -> tuple[int, ...]:
    """Return the words of a piece, as `Piece128` names them."""
    slope, offset = line.slope, line.offset
    return (
        threshold & MASK,
        limit & MASK,
        slope >> 2 * WORD_BITS & MASK,
        slope >> WORD_BITS & MASK,
        slope & MASK,
        offset >> 2 * WORD_BITS & MASK,
        offset >> WORD_BITS & MASK,
        offset & MASK,
    )


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


def row_shape(tiers: int) -> Shape64:
    """Return the layout of rows for plans of so many tiers, without ties and blocks."""
    return _shape(tiers - 1, ties=False, blocks=False)


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
    """Return unsigned words as an array of int64 that begins at a cache line."""
    room = np.zeros(len(words) + fast64.LINE_WORDS, dtype=np.uint64)
    skipped = -room.ctypes.data // 8 % fast64.LINE_WORDS
    room[skipped : skipped + len(words)] = np.array(words, dtype=np.uint64)
    return room[skipped : skipped + len(words)].view(np.int64)


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
