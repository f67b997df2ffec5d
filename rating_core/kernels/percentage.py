"""Charge model `percentage`: Σ over events clamp(quantity × percent + fixed, min, max) (S3.4).

The counter already knows how many events stand at the floor and at the ceiling, so the amount is
linear in four inputs: events between the bounds, their sum, events at the floor, at the ceiling.
"""

from __future__ import annotations

from rating_core.catalog import Charge
from rating_core.jit import kernel
from rating_core.kernels.piece import (
    BELOW_ALL,
    NUMBER_UNIT,
    Piece,
    number,
    percent_price,
)
from rating_core.kernels.tables import ChargeColumn, PieceColumn, PlanTables, Scratch, ScratchRow
from rating_core.limbs import Int64Array, add, clear, multiply_int64
from rating_core.units import SCALE_MAX

PERCENTAGE_INPUTS = 4
"""Input columns: between_events, between_sum (scale units), floor_events, ceiling_events."""


def percentage_pieces(charge: Charge, meter_scale: int) -> list[Piece]:
    """Return one piece an input: the amount of one event, or of one scale unit of the sum."""
    fixed = number(charge.fixed_fee_per_event) * NUMBER_UNIT
    rate = percent_price(charge.percent) * 10 ** (SCALE_MAX - meter_scale)
    bounds = (charge.min_per_event, charge.max_per_event)
    floor, ceiling = (0 if bound is None else number(bound) * NUMBER_UNIT for bound in bounds)
    return [Piece(BELOW_ALL, amount, 0) for amount in (fixed, rate, floor, ceiling)]


@kernel
def percentage_amount(
    tables: PlanTables, charge: int, inputs: Int64Array, scratch: Scratch
) -> None:
    """Write fixed × events + percent × sum + min × floor + max × ceiling events.

    A negative sum prices as 0 (S3.2).
    """
    value = scratch.rows[ScratchRow.VALUE]
    product = scratch.rows[ScratchRow.PRODUCT]
    column = tables.charges[charge, ChargeColumn.INPUT]
    piece = tables.charges[charge, ChargeColumn.PIECE_START]
    clear(value)
    for place in range(PERCENTAGE_INPUTS):
        slope = tables.limbs[tables.pieces[piece + place, PieceColumn.SLOPE]]
        multiply_int64(product, slope, max(inputs[column + place], 0))
        add(value, product)
