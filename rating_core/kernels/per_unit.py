"""Charge model `per_unit`: quantity × unit price (S3)."""

from __future__ import annotations

from fractions import Fraction

from rating_core.catalog import Charge
from rating_core.jit import kernel
from rating_core.kernels.piece import BELOW_ALL, NOTHING, Piece, piece_amount
from rating_core.kernels.tables import PlanTables, Scratch
from rating_core.limbs import Int64Array
from rating_core.units import INT64_MAX


def per_unit_pieces(charge: Charge, meter_scale: int) -> list[Piece]:
    """Return the pieces: nothing up to the included units, above them the price (S3.3)."""
    included = Fraction(charge.included_units) * 10**meter_scale
    price = Fraction(charge.unit_price) / 10**meter_scale
    threshold = min(included // 1, INT64_MAX)
    return [Piece(BELOW_ALL, NOTHING, NOTHING), Piece(threshold, price, -included * price)]


@kernel
def per_unit_amount(tables: PlanTables, charge: int, inputs: Int64Array, scratch: Scratch) -> None:
    """Write quantity × price."""
    piece_amount(tables, charge, inputs, scratch)
