"""Charge model `package`: price per started block of units (S3)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from rating_core.catalog import Charge
from rating_core.jit import kernel
from rating_core.kernels.piece import Piece
from rating_core.kernels.tables import ChargeColumn, PlanTables, Scratch, ScratchRow
from rating_core.limbs import (
    LIMB_BITS,
    Int64Array,
    clear,
    divide,
    increment,
    is_negative,
    is_zero,
    multiply,
    multiply_int64,
    subtract,
)
from rating_core.units import INT64_MAX


@dataclass(frozen=True, slots=True)
class Blocks:
    """Started blocks of q scale units: ceil((slope × q − offset) ÷ block), all integers.

    ``block`` fills its highest limb to bit 29, as `divide` needs it.
    """

    slope: int
    offset: int
    block: int

    @property
    def bound(self) -> int:
        """What the numerator cannot exceed at any int64 quantity."""
        return self.slope * INT64_MAX + self.offset

    @property
    def count_max(self) -> int:
        """The most blocks that an int64 quantity starts."""
        return self.slope * INT64_MAX // self.block + 1


def package_blocks(charge: Charge, meter_scale: int) -> Blocks:
    """Return the blocks of ``charge`` above its included units (S3.3)."""
    included = Fraction(charge.included_units) * 10**meter_scale
    size = Fraction(charge.package_size) * 10**meter_scale
    slope = lcm(included.denominator, size.denominator)
    block = int(size * slope)
    shift = -block.bit_length() % LIMB_BITS
    return Blocks(slope << shift, int(included * slope) << shift, block << shift)


def package_pieces(
    charge: Charge,  # noqa: ARG001 - one signature for all models
    meter_scale: int,  # noqa: ARG001 - one signature for all models
) -> list[Piece]:
    """Return no piece: a package charge is not linear in its quantity."""
    return []


@kernel
def package_amount(tables: PlanTables, charge: int, inputs: Int64Array, scratch: Scratch) -> None:
    """Write ceil(quantity ÷ size) × price; a negative quantity starts no block (S3.2)."""
    value = scratch.rows[ScratchRow.VALUE]
    rest = scratch.rows[ScratchRow.REMAINDER]
    blocks = scratch.rows[ScratchRow.QUOTIENT]
    record = tables.charges[charge]
    quantity = max(inputs[record[ChargeColumn.INPUT]], 0)
    multiply_int64(rest, tables.limbs[record[ChargeColumn.BLOCK_SLOPE]], quantity)
    subtract(rest, tables.limbs[record[ChargeColumn.BLOCK_OFFSET]])
    if is_negative(rest):
        clear(value)
        return
    block = tables.limbs[record[ChargeColumn.BLOCK]]
    divide(rest, block, record[ChargeColumn.BLOCK_SIZE], blocks)
    if not is_zero(rest):
        increment(blocks)
    multiply(value, blocks, tables.limbs[record[ChargeColumn.BLOCK_PRICE]])
