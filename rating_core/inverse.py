"""What a budget affords: the inverse of a charge's price, in closed form (S11.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rating_core.bulk import BulkPlans, rate_chunk
from rating_core.bulk_columns import check_columns
from rating_core.charge_line import Blocks, ChargeLine, Linear
from rating_core.counter_rows import counter_rows, once_a_charge, plain
from rating_core.int128 import WORD, wide_reciprocal, words_of
from rating_core.kernels.fast64 import PlanIndex
from rating_core.kernels.inverse import (
    GENERAL_LINE,
    LINE_WORDS,
    PACKAGE_LINE,
    TIES_TO_EVEN,
    InverseColumn,
    InverseTables,
    affordable_quantities,
    exceeding_lines,
    general_quantities,
)
from rating_core.limbs import LIMB_BITS, Int64Array, limb_rows, limb_width
from rating_core.threads import check_threads, run_chunks
from rating_core.units import INT64_MAX, INT64_MIN

_OFFSET_LIMIT = 1 << 125


@dataclass(frozen=True, slots=True)
class _Division:
    """x = (limit × unit + offset + tie) ÷ divisor, cut; ``tie`` counts for even limits only."""

    unit: int
    offset: int
    divisor: int
    tie: int

    def fits_words(self) -> bool:
        """Return whether 64-bit factors and a 128-bit sum hold it."""
        return max(self.unit, self.divisor) <= INT64_MAX and abs(self.offset) < _OFFSET_LIMIT

    def for_limbs(self) -> _Division:
        """Return the same division with the highest limb of its divisor full, as `divide` wants."""
        shift = -self.divisor.bit_length() % LIMB_BITS
        # the bits below the shift are full, so that a tie of 1 carries into those above
        offset = (self.offset + 1 << shift) - 1
        return _Division(self.unit << shift, offset, self.divisor << shift, self.tie)

    def bound(self) -> int:
        """Return what no intermediate result exceeds; blocks are fewer than 2^64 × a quantity."""
        return self.unit * INT64_MAX + abs(self.offset) + self.divisor * WORD


def _inverted(slope: int, offset: int, denominator: int, *, half_even: bool) -> _Division:
    """Return how a limit becomes the last x with floor((slope × x + offset) ÷ D) within it.

    That is slope × x + offset < (limit + 1) × D; at `half_even`, where an amount of limit + 1 that
    is odd and a tie becomes the limit, also equal to it (S1.3).
    """
    room = denominator - 1 - offset
    common = gcd(slope, denominator)
    tie = (room + 1) // common - room // common if half_even else 0
    return _Division(denominator // common, room // common, slope // common, tie)


_NO_DIVISION = _Division(0, 0, 0, 0)
"""Of a piece whose amount does not rise: past its start nothing is affordable, or all of it."""


@dataclass(slots=True)
class _TableBuilder:
    """Heads and lines as they grow, and the integers that general lines name by row."""

    starts: list[int] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    limbs: list[int] = field(default_factory=list)
    bound: int = INT64_MAX

    def add_charge(self, line: ChargeLine) -> None:
        """Append the head of a charge, and a line for each of its pieces."""
        self.starts.append(len(self.heads))
        spans = _spans(line)
        amounts = [_amount(line, piece, end) for piece, _, end in spans]
        beginnings = [_amount(line, piece, max(start + 1, 0)) for piece, start, _ in spans]
        falls = any(after < end for end, after in zip(amounts, beginnings[1:], strict=False))
        self.heads += [len(self.lines), -len(spans) if falls else len(spans)]
        self.heads += [min(amount - 1, INT64_MAX) for amount in amounts]
        self.heads += [end for _, _, end in spans]
        self.heads += [0] * (-len(self.heads) % LINE_WORDS)
        general = 0 if _fits_words(line) else GENERAL_LINE
        block_line = len(self.lines) + LINE_WORDS * len(spans)
        for piece, start, _ in spans:
            flags = general if line.blocks is None else general | PACKAGE_LINE
            self._add_line(start, _limit_to_value(line, piece), flags, block_line)
        if line.blocks is not None:
            self._add_line(0, _count_to_quantity(line.blocks), general, 0)

    def _add_line(self, start: int, division: _Division, flags: int, block_line: int) -> None:
        record = dict.fromkeys(InverseColumn, 0)
        if division.divisor:
            record |= self._general(division) if flags & GENERAL_LINE else _words(division)
        record[InverseColumn.START] = start
        record[InverseColumn.BLOCK_LINE] = block_line
        record[InverseColumn.SHIFT] |= flags | (TIES_TO_EVEN if division.tie else 0)
        self.lines += record.values()

    def _general(self, division: _Division) -> dict[InverseColumn, int]:
        division = division.for_limbs()
        row = len(self.limbs)
        self.limbs += [division.unit, division.offset, division.divisor]
        self.bound = max(self.bound, division.bound())
        return {
            InverseColumn.OFFSET_LOW: row,
            InverseColumn.DIVISOR: 1,
            InverseColumn.SHIFT: division.divisor.bit_length() // LIMB_BITS,
        }

    def tables(self) -> InverseTables:
        """Return what was added as arrays."""
        return InverseTables(
            np.array(self.starts, dtype=np.int64),
            np.array(self.heads, dtype=np.int64),
            np.array(self.lines, dtype=np.int64),
            limb_rows(self.limbs, limb_width(self.bound)),
        )


class _Span(NamedTuple):
    """The quantities after ``start`` up to ``end``; without a piece they have no price (S1.2)."""

    piece: Linear | None
    start: int
    end: int


def _spans(line: ChargeLine) -> list[_Span]:
    """Return the pieces of a charge from end to end, each up to its limit and then beyond it."""
    starts = [INT64_MIN, *(piece.threshold for piece in line.pieces[1:])]
    spans = []
    for piece, start, end in zip(line.pieces, starts, [*starts[1:], INT64_MAX], strict=True):
        last = min(max(piece.limit, start), end)
        if start < last:
            spans.append(_Span(piece, start, last))
        if last < end:
            spans.append(_Span(None, last, end))
    return spans


def _limit_to_value(line: ChargeLine, piece: Linear | None) -> _Division:
    """Return how a limit becomes the last value of the piece's quantity, or blocks, within it."""
    if piece is None or piece.slope == 0:
        return _NO_DIVISION
    return _inverted(piece.slope, piece.offset, line.denominator, half_even=line.half_even)


def _count_to_quantity(blocks: Blocks) -> _Division:
    """Return how a number of blocks becomes the last quantity that starts no more (S3)."""
    room = blocks.block - 1 - blocks.offset
    return _inverted(blocks.slope, room, blocks.block, half_even=False)


def _fits_words(line: ChargeLine) -> bool:
    """Return whether all divisions of a charge fit 64 and 128 bits; else all its lines are general.

    So one row of a charge never needs both kinds.
    """
    divisions = [_limit_to_value(line, piece) for piece in line.pieces]
    if line.blocks is not None:
        divisions.append(_count_to_quantity(line.blocks))
    return _started(line, INT64_MAX) <= INT64_MAX and all(each.fits_words() for each in divisions)


def _words(division: _Division) -> dict[InverseColumn, int]:
    """Return a division as columns of words."""
    divisor, reciprocal, shift = wide_reciprocal(division.divisor)
    offset_low, offset_high = words_of(division.offset, 2)
    return {
        InverseColumn.UNIT: division.unit,
        InverseColumn.DIVISOR: divisor,
        InverseColumn.RECIPROCAL: reciprocal,
        InverseColumn.OFFSET_HIGH: offset_high,
        InverseColumn.OFFSET_LOW: offset_low,
        InverseColumn.SHIFT: shift,
    }


def _started(line: ChargeLine, quantity: int) -> int:
    """Return what the pieces are functions of: the quantity, or the blocks that it starts."""
    blocks = line.blocks
    if blocks is None:
        return quantity
    return -((blocks.offset - blocks.slope * quantity) // blocks.block)


def _amount(line: ChargeLine, piece: Linear | None, quantity: int) -> int:
    """Return the rounded amount at a quantity of the piece, beyond int64 where it has no price."""
    if piece is None:
        return INT64_MAX + 1
    exact = piece.slope * _started(line, quantity) + piece.offset
    amount, rest = divmod(exact, line.denominator)
    if line.half_even and rest == 0:
        amount -= amount & 1
    return max(amount, 0)


def inverse_tables(lines: Sequence[ChargeLine]) -> InverseTables:
    """Return the tables of the charges that ``lines`` are, one a plan."""
    builder = _TableBuilder()
    for line in lines:
        builder.add_charge(line)
    return builder.tables()


@once_a_charge
def _tables(bulk: BulkPlans, charge: int) -> InverseTables:
    return inverse_tables(bulk.positions[charge].lines)


class AffordableQuantities(NamedTuple):
    """What each budget affords (n int64), and where nothing exceeds the budget (n bool)."""

    quantities: Int64Array
    unbounded: npt.NDArray[np.bool_]


def max_quantity(
    bulk: BulkPlans,
    plan_index: PlanIndex | int,
    charge: int,
    counter_before: Int64Array,
    budget: Int64Array,
    *,
    threads: int = 1,
) -> AffordableQuantities:
    """Return the largest q such that every q' ≤ q costs at most the budget, n rows (S11.2).

    q' costs round(F(before + q')) − round(F(before)), F the final amount of the charge at position
    ``charge`` of each row's plan. ``plan_index`` is n int32 or int64, or one plan for all rows;
    ``counter_before`` (any sign) is n int64 in the meter's scale units, ``budget`` n int64 in units
    of 10^-scale. Where nothing exceeds the budget, q is 2^63 − 1 − before, flagged as unbounded: so
    it is for a flat fee and a free last tier.

    Every q' ≤ q has a price: what `rate_delta` calls out of range is not affordable, so that q ends
    before the first quantity of which an amount does not fit int64, also where only the model's
    amount does not, before a discount or a maximum (S1.2). A budget below 0 affords nothing, nor
    does one beyond a counter whose own amount is out of range: q is 0. Below a negative counter, q
    is at most 2^63 − 1.

    Raises TypeError for other types, ValueError for other shapes, for plans and charges that do not
    exist, and for `percentage`, whose price does not follow from one counter (S3.4).
    """
    row_count = check_columns(counter_before=counter_before, budget=budget)
    check_threads(threads)
    rows = counter_rows(bulk, plan_index, charge, row_count)
    tables = _tables(bulk, rows.charge)
    quantities = np.empty(row_count, dtype=np.int64)
    unbounded = np.empty(row_count, dtype=np.bool_)

    def invert(start: int, end: int) -> None:
        before = plain(counter_before[start:end])
        plans = rows.plans(start, end)
        amounts = np.empty(end - start, dtype=np.int64)
        rate_chunk(bulk, rows.charge, before, plans, rows.plan, amounts)
        # one signature, so that the kernels are compiled once
        plans = plans.astype(np.int64, copy=False)
        asked = (before, amounts, plain(budget[start:end]))
        found, flags = quantities[start:end], unbounded[start:end]
        exceeding_lines(tables, plans, rows.plan, *asked, found)
        if affordable_quantities(tables, *asked, found, flags):
            scratch = np.zeros((2, tables.limbs.shape[1]), dtype=np.int64)
            general_quantities(tables, *asked, found, flags, scratch)

    run_chunks(invert, row_count, threads)
    return AffordableQuantities(quantities, unbounded)
