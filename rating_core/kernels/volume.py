"""Charge model `volume`: all units at the price of the tier that the quantity reaches (S3)."""

from __future__ import annotations

from fractions import Fraction

from rating_core.catalog import Charge
from rating_core.jit import kernel
from rating_core.kernels.piece import Piece, piece_amount, tier_spans, zero_piece
from rating_core.kernels.tables import PlanTables, Scratch
from rating_core.limbs import Int64Array


def volume_pieces(charge: Charge, meter_scale: int) -> list[Piece]:
    """Return one piece a tier: its price for all units above the included ones, and its fee."""
    pieces = [zero_piece(charge)]
    for span in tier_spans(charge, meter_scale):
        price = Fraction(span.tier.unit_price) / 10**meter_scale
        offset = Fraction(span.tier.flat_fee) - span.included * price
        pieces.append(Piece(span.threshold, price, offset))
    return pieces


@kernel
def volume_amount(tables: PlanTables, charge: int, inputs: Int64Array, scratch: Scratch) -> None:
    """Write quantity × the reached tier's price + its flat fee."""
    piece_amount(tables, charge, inputs, scratch)
