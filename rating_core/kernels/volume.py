"""Charge model `volume`: all units at the price of the tier that the quantity reaches (S3)."""

from __future__ import annotations

from rating_core.catalog import Charge
from rating_core.jit import kernel
from rating_core.kernels.piece import (
    NUMBER_UNIT,
    Piece,
    number,
    piece_amount,
    tier_spans,
    zero_piece,
)
from rating_core.kernels.tables import PlanTables, Scratch
from rating_core.limbs import Int64Array
from rating_core.units import SCALE_MAX


def volume_pieces(charge: Charge, meter_scale: int) -> list[Piece]:
    """Return one piece a tier: its price for all units above the included ones, and its fee."""
    pieces = [zero_piece(charge)]
    unit = 10 ** (SCALE_MAX - meter_scale)
    for span, tier in zip(tier_spans(charge, meter_scale), charge.tiers, strict=True):
        price = number(tier.unit_price)
        offset = span.fee * NUMBER_UNIT - span.included * price
        pieces.append(Piece(span.threshold, price * unit, offset))
    return pieces


@kernel
def volume_amount(tables: PlanTables, charge: int, inputs: Int64Array, scratch: Scratch) -> None:
    """Write quantity × the reached tier's price + its flat fee."""
    piece_amount(tables, charge, inputs, scratch)
