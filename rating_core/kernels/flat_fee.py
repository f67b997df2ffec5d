"""Charge model `flat_fee`: a fixed amount, once a period (S3)."""

from __future__ import annotations

from rating_core.catalog import Charge
from rating_core.jit import kernel
from rating_core.kernels.piece import BELOW_ALL, NUMBER_UNIT, Piece, number
from rating_core.kernels.tables import ChargeColumn, PieceColumn, PlanTables, Scratch, ScratchRow
from rating_core.limbs import Int64Array, assign


def flat_fee_pieces(
    charge: Charge,
    meter_scale: int,  # noqa: ARG001 - one signature for all models
) -> list[Piece]:
    """Return the one piece of a flat fee, its amount."""
    return [Piece(BELOW_ALL, 0, number(charge.amount) * NUMBER_UNIT)]


@kernel
def flat_fee_amount(
    tables: PlanTables,
    charge: int,
    inputs: Int64Array,  # noqa: ARG001 - one signature for all models
    scratch: Scratch,
) -> None:
    """Write the fee, whatever the usage."""
    piece = tables.charges[charge, ChargeColumn.PIECE_START]
    offset = tables.limbs[tables.pieces[piece, PieceColumn.OFFSET]]
    assign(scratch.rows[ScratchRow.VALUE], offset)
