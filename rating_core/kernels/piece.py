"""Pieces: a charge's amount as a piecewise linear function of its quantity (S3.1, S3.2).

Included units and the lower bounds of tiers are folded into thresholds and offsets when a plan is
compiled: the kernel finds the piece that the quantity has entered and evaluates slope × quantity +
offset. Thresholds are whole meter units even where bounds are not: an integer is above a bound
exactly if it is above the bound's floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from rating_core.catalog import Charge, Tier
from rating_core.jit import kernel
from rating_core.kernels.tables import ChargeColumn, PieceColumn, PlanTables, Scratch, ScratchRow
from rating_core.limbs import Int64Array, add, multiply_int64
from rating_core.units import INT64_MAX

NOTHING = Fraction(0)
BELOW_ALL = -1


@dataclass(frozen=True, slots=True)
class Piece:
    """Quantities above ``threshold`` cost slope × quantity + offset, until the next piece.

    ``threshold`` and the quantity are in the meter's scale units, ``slope`` and ``offset`` exact
    amounts of the currency.
    """

    threshold: int
    slope: Fraction
    offset: Fraction

    def bound(self) -> Fraction:
        """Return what neither the amount nor an intermediate result can exceed."""
        return abs(self.slope) * INT64_MAX + abs(self.offset)


@dataclass(frozen=True, slots=True)
class TierSpan:
    """A tier with its lower bound, exclusive, above included units, in the meter's scale units."""

    tier: Tier
    lower: Fraction
    included: Fraction

    @property
    def threshold(self) -> int:
        """The largest int64 quantity that does not enter the tier (S3.2)."""
        return min((self.lower + self.included) // 1, INT64_MAX)


def tier_spans(charge: Charge, meter_scale: int) -> list[TierSpan]:
    """Return the tiers of ``charge`` with their lower bounds (S3.1)."""
    unit = 10**meter_scale
    included = Fraction(charge.included_units) * unit
    spans = []
    lower = NOTHING
    for tier in charge.tiers:
        spans.append(TierSpan(tier, lower, included))
        if tier.up_to is not None:
            lower = Fraction(tier.up_to) * unit
    return spans


def zero_piece(charge: Charge) -> Piece:
    """Return the piece of quantity 0 and below: nothing is entered (S3.2).

    With ``flat_fee_at_zero_usage`` it bills the first tier's flat fee.
    """
    fee = charge.tiers[0].flat_fee if charge.flat_fee_at_zero_usage and charge.tiers else 0
    return Piece(BELOW_ALL, NOTHING, Fraction(fee))


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
