"""Charge model `stairstep`: the flat fee of the tier that the quantity reaches (S3)."""

from __future__ import annotations

from rating_core.catalog import Charge
from rating_core.jit import kernel
from rating_core.kernels.piece import NUMBER_UNIT, Piece, entered_piece, tier_spans, zero_piece
from rating_core.kernels.tables import ChargeColumn, PieceColumn, PlanTables, Scratch, ScratchRow
from rating_core.limbs import Int64Array, assign


def stairstep_pieces(charge: Charge, meter_scale: int) -> list[Piece]:
    """Return one piece a tier, of slope 0: its flat fee."""
    return [
        zero_piece(charge),
        *(
            Piece(span.threshold, 0, span.fee * NUMBER_UNIT)
            for span in tier_spans(charge, meter_scale)
        ),
    ]


@kernel
def stairstep_amount(tables: PlanTables, charge: int, inputs: Int64Array, scratch: Scratch) -> None:
    """Write the flat fee of the reached tier; a negative quantity reaches none (S3.2)."""
    quantity = max(inputs[tables.charges[charge, ChargeColumn.INPUT]], 0)
    piece = entered_piece(tables, charge, quantity)
    offset = tables.limbs[tables.pieces[piece, PieceColumn.OFFSET]]
    assign(scratch.rows[ScratchRow.VALUE], offset)
