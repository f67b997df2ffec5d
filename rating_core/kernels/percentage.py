"""Charge model `percentage`: Σ over events clamp(quantity × percent + fixed, min, max) (S3.4).

The counter already knows how many events stand at the floor and at the ceiling, so the amount is
linear in four inputs: events between the bounds, their sum, events at the floor, at the ceiling.
What is free of the events and of the sum lies below a threshold of its input.
"""

from __future__ import annotations

from rating_core.catalog import Charge
from rating_core.jit import kernel
from rating_core.kernels.piece import NUMBER_UNIT, Piece, number, percent_price
from rating_core.kernels.tables import ChargeColumn, PieceColumn, PlanTables, Scratch, ScratchRow
from rating_core.limbs import Int64Array, add, clear, multiply_int64
from rating_core.units import INT64_MAX, SCALE_MAX

PERCENTAGE_INPUTS = 4
"""Input columns: between_events, between_sum (scale units), floor_events, ceiling_events."""


def percentage_pieces(charge: Charge, meter_scale: int) -> list[Piece]:
    """Return one piece an input: the amount of one event, or of one scale unit of the sum.

    ``free_events`` and ``free_amount`` are the thresholds of the first two: what is above costs,
    each by itself (S3.4).
    """
    unit = 10 ** (SCALE_MAX - meter_scale)
    fixed = number(charge.fixed_fee_per_event) * NUMBER_UNIT
    rate, free = percent_price(charge.percent), number(charge.free_amount)
    bounds = (charge.min_per_event, charge.max_per_event)
    floor, ceiling = (0 if bound is None else number(bound) * NUMBER_UNIT for bound in bounds)
    return [
        Piece(charge.free_events, fixed, -fixed * charge.free_events),
        Piece(min(free // unit, INT64_MAX), rate * unit, -rate * free),
        Piece(0, floor, 0),
        Piece(0, ceiling, 0),
    ]


@kernel
def percentage_amount(
    tables: PlanTables, charge: int, inputs: Int64Array, scratch: Scratch
) -> None:
    """Write fixed × events + percent × sum + min × floor + max × ceiling events, less what is free.

    A negative sum prices as 0 (S3.2).
    """
    value = scratch.rows[ScratchRow.VALUE]
    product = scratch.rows[ScratchRow.PRODUCT]
    column = tables.charges[charge, ChargeColumn.INPUT]
    piece = tables.charges[charge, ChargeColumn.PIECE_START]
    clear(value)
    for place in range(PERCENTAGE_INPUTS):
        record = tables.pieces[piece + place]
        if inputs[column + place] > record[PieceColumn.THRESHOLD]:
            slope = tables.limbs[record[PieceColumn.SLOPE]]
            multiply_int64(product, slope, inputs[column + place])
            add(value, product)
            add(value, tables.limbs[record[PieceColumn.OFFSET]])
