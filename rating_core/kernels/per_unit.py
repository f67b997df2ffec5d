"""Charge model `per_unit`: quantity × unit price (S3)."""

from __future__ import annotations

from rating_core.catalog import Charge
from rating_core.jit import kernel
from rating_core.kernels.piece import BELOW_ALL, Piece, number, piece_amount
from rating_core.kernels.tables import PlanTables, Scratch
from rating_core.limbs import Int64Array
from rating_core.units import INT64_MAX, SCALE_MAX


def per_unit_pieces(charge: Charge, meter_scale: int) -> list[Piece]:
    """Return the pieces: nothing up to the included units, above them the price (S3.3)."""
    unit = 10 ** (SCALE_MAX - meter_scale)
    included, price = number(charge.included_units), number(charge.unit_price)
    threshold = min(included // unit, INT64_MAX)
    return [Piece(BELOW_ALL, 0, 0), Piece(threshold, price * unit, -included * price)]


@kernel
def per_unit_amount(tables: PlanTables, charge: int, inputs: Int64Array, scratch: Scratch) -> None:
    """Write quantity × price."""
    piece_amount(tables, charge, inputs, scratch)
