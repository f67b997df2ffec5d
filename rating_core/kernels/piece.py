"""Pieces: a charge's amount as a piecewise linear function of its quantity (S3.1, S3.2).

Included units and the lower bounds of tiers are folded into thresholds and offsets when a plan is
compiled: the kernel finds the piece that the quantity has entered and evaluates slope × quantity +
offset. Thresholds are whole meter units even where bounds are not: an integer is above a bound
exactly if it is above the bound's floor.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from rating_core.catalog import Charge
from rating_core.jit import kernel
from rating_core.kernels.tables import ChargeColumn, PieceColumn, PlanTables, Scratch, ScratchRow
from rating_core.limbs import Int64Array, add, multiply_int64
from rating_core.units import INT64_MAX, PERCENT_SCALE_MAX, SCALE_MAX, to_units

BELOW_ALL = -1
PIECE_UNIT = 10 ** (2 * SCALE_MAX)
"""Slopes and offsets are in units of 1 ÷ this: numbers of a plan, and products of two (S1.2)."""
NUMBER_UNIT = 10**SCALE_MAX


class Piece(NamedTuple):
    """Quantities above ``threshold`` cost slope × quantity + offset, until the next piece.

    ``threshold`` and the quantity are in the meter's scale units, ``slope`` and ``offset`` exact
    amounts of the currency in units of 1 ÷ `PIECE_UNIT`.
    """

    threshold: int
    slope: int
    offset: int

    def bound(self) -> Fraction:
        """Return what neither the amount nor an intermediate result can exceed."""
        return Fraction(abs(self.slope) * INT64_MAX + abs(self.offset), PIECE_UNIT)


class TierSpan(NamedTuple):
    """A tier's threshold, the greatest int64 quantity in scale units that does not enter it (S3.2).

    ``lower`` is its lower bound, exclusive, above ``included`` units; both, as its ``fee``, are in
    units of 10^-12.
    """

    threshold: int
    lower: int
    included: int
    fee: int


def number(value: Decimal) -> int:
    """Return a plan's number in units of 10^-12; ValueError if it has more decimals (S1.2)."""
    # most flat fees are 0
    return to_units(value, SCALE_MAX) if value else 0


def percent_price(percent: Decimal) -> int:
    """Return percent ÷ 100 in units of 10^-12."""
    unit: int = 10 ** (SCALE_MAX - PERCENT_SCALE_MAX - 2)
    return to_units(percent, PERCENT_SCALE_MAX) * unit


def tier_spans(charge: Charge, meter_scale: int) -> list[TierSpan]:
    """Return the tiers of ``charge`` with their lower bounds (S3.1)."""
    unit = 10 ** (SCALE_MAX - meter_scale)
    included = number(charge.included_units)
    spans = []
    lower = 0
    for tier in charge.tiers:
        threshold = min((lower + included) // unit, INT64_MAX)
        spans.append(TierSpan(threshold, lower, included, number(tier.flat_fee)))
        if tier.up_to is not None:
            lower = number(tier.up_to)
    return spans


def zero_piece(charge: Charge) -> Piece:
    """Return the piece of quantity 0 and below: nothing is entered (S3.2).

    With ``flat_fee_at_zero_usage`` it bills the first tier's flat fee.
    """
    if charge.flat_fee_at_zero_usage and charge.tiers:
        return Piece(BELOW_ALL, 0, number(charge.tiers[0].flat_fee) * NUMBER_UNIT)
    return Piece(BELOW_ALL, 0, 0)


@kernel
def entered_piece(tables: PlanTables, charge: int, quantity: int) -> int:
    """Return the row of the last piece whose threshold is below ``quantity`` (≥ 0)."""
    entered: int = tables.charges[charge, ChargeColumn.PIECE_START]
    for piece in range(entered + 1, tables.charges[charge, ChargeColumn.PIECE_END]):
        if quantity > tables.pieces[piece, PieceColumn.THRESHOLD]:
            entered = piece
    return entered


@kernel
def piece_amount(tables: PlanTables, charge: int, inputs: Int64Array, scratch: Scratch) -> None:
    """Write the piecewise linear amount of the charge's quantity; negative counts as 0 (S3.2)."""
    value = scratch.rows[ScratchRow.VALUE]
    quantity = max(inputs[tables.charges[charge, ChargeColumn.INPUT]], 0)
    piece = entered_piece(tables, charge, quantity)
    multiply_int64(value, tables.limbs[tables.pieces[piece, PieceColumn.SLOPE]], quantity)
    add(value, tables.limbs[tables.pieces[piece, PieceColumn.OFFSET]])
